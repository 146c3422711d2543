/* SPDX-License-Identifier: MIT */
/*
 * The transcendental functions of the CPU kernels, as sequences of float operations.
 *
 * Every ISA level runs the same sequence in its lanes, so the scalar code here is the specification of
 * each lane: the same operations, fused where fmaf is written and nowhere else, in this order. Only
 * IEEE add, multiply, divide, fused multiply-add, compare-and-select and integer operations on the bits are used,
 * so every platform gives the same bits under round-to-nearest with subnormals on.
 *
 *   exp      6th degree on |r| <= ln2/2, scaled in two exact-exponent steps: gradual underflow, inf above 88.73; 1 ulp
 *   tanh     odd polynomial below 0.625, (1 - e) / (1 + e) with e = exp(-2|x|) above; 2 ulp
 *   erf      odd polynomial below 0.9375, 1 - exp(polynomial) above; 2 ulp
 *   sigmoid  1 / (1 + exp(-x))
 *   softplus max(x, 0) + log1p(e), e = exp(-|x|), by 2 atanh(e / (2 + e)): an odd polynomial; 4 ulp
 *
 * "a < b ? a : b" keeps NaN: minps/maxps with the operands in the order given in the comments do the same.
 * sincos is double arithmetic, needed once per (row, pair) of a step and never vectorised by hand.
 */
#ifndef LLRTI_CPU_MATH_H
#define LLRTI_CPU_MATH_H

#include <math.h>
#include <stdint.h>

#include "half.h"

/* 1.5 * 2^23: adding it rounds a float to the nearest integer, ties to even, which then sits in the low bits. */
#define LLRTI_MATH_MAGIC 12582912.0f
#define LLRTI_MATH_MAGIC_BITS 0x4b400000u

#define LLRTI_EXP_LOW -104.0f
#define LLRTI_EXP_HIGH 89.0f
#define LLRTI_EXP_LOG2E 0x1.715476p+0f
#define LLRTI_EXP_LN2_HIGH 0x1.62e400p-1f /* 15 significant bits: n * this is exact */
#define LLRTI_EXP_LN2_LOW 0x1.7f7d1cp-20f
#define LLRTI_EXP_C2 0x1p-1f
#define LLRTI_EXP_C3 0x1.5554dcp-3f
#define LLRTI_EXP_C4 0x1.55551ap-5f
#define LLRTI_EXP_C5 0x1.120bacp-7f
#define LLRTI_EXP_C6 0x1.6d1146p-10f

static inline float llrti_math_exp(float x)
{
    x = LLRTI_EXP_LOW > x ? LLRTI_EXP_LOW : x;   /* maxps(LOW, x) */
    x = LLRTI_EXP_HIGH < x ? LLRTI_EXP_HIGH : x; /* minps(HIGH, x) */
    const float t = fmaf(x, LLRTI_EXP_LOG2E, LLRTI_MATH_MAGIC);
    const float n = t - LLRTI_MATH_MAGIC;
    float r = fmaf(n, -LLRTI_EXP_LN2_HIGH, x);
    r = fmaf(n, -LLRTI_EXP_LN2_LOW, r);
    float p = fmaf(LLRTI_EXP_C6, r, LLRTI_EXP_C5);
    p = fmaf(p, r, LLRTI_EXP_C4);
    p = fmaf(p, r, LLRTI_EXP_C3);
    p = fmaf(p, r, LLRTI_EXP_C2);
    p = fmaf(p, r, 1.0f);
    p = fmaf(p, r, 1.0f);
    /* p * 2^n, as p * 2^h * 2^(n - h) with h = floor(n / 2): the first product is exact */
    const uint32_t k = llrti_float_bits(t) - LLRTI_MATH_MAGIC_BITS; /* n, two's complement */
    const uint32_t h = (k >> 1) | (k & 0x80000000u); /* arithmetic shift right by 1 */
    p *= llrti_bits_float((h + 127u) << 23);
    return p * llrti_bits_float((k - h + 127u) << 23);
}

static inline float llrti_math_sigmoid(float x)
{
    return 1.0f / (1.0f + llrti_math_exp(-x));
}

#define LLRTI_TANH_SPLIT 0.625f
#define LLRTI_TANH_C0 -0x1.555556p-2f
#define LLRTI_TANH_C1 0x1.1110e4p-3f
#define LLRTI_TANH_C2 -0x1.ba0718p-5f
#define LLRTI_TANH_C3 0x1.648e8ep-6f
#define LLRTI_TANH_C4 -0x1.10bbf4p-7f
#define LLRTI_TANH_C5 0x1.2977d8p-9f

static inline float llrti_math_tanh(float x)
{
    const float a = llrti_bits_float(llrti_float_bits(x) & 0x7fffffffu);
    const float y = x * x;
    float p = fmaf(LLRTI_TANH_C5, y, LLRTI_TANH_C4);
    p = fmaf(p, y, LLRTI_TANH_C3);
    p = fmaf(p, y, LLRTI_TANH_C2);
    p = fmaf(p, y, LLRTI_TANH_C1);
    p = fmaf(p, y, LLRTI_TANH_C0);
    const float low = fmaf(x * y, p, x);
    const float e = llrti_math_exp(-2.0f * a);
    const float high = (1.0f - e) / (1.0f + e);
    const float signed_high =
        llrti_bits_float(llrti_float_bits(high) | (llrti_float_bits(x) & 0x80000000u));
    return a < LLRTI_TANH_SPLIT ? low : signed_high;
}

#define LLRTI_ERF_SPLIT 0.9375f
#define LLRTI_ERF_TOP 4.0f /* erf rounds to 1 from 3.92 on */
#define LLRTI_ERF_C0 0x1.06eba8p-3f
#define LLRTI_ERF_C1 -0x1.812742p-2f
#define LLRTI_ERF_C2 0x1.ce2ddap-4f
#define LLRTI_ERF_C3 -0x1.b80a72p-6f
#define LLRTI_ERF_C4 0x1.549f5ep-8f
#define LLRTI_ERF_C5 -0x1.a8d37ep-11f
#define LLRTI_ERF_C6 0x1.581b9ap-14f
#define LLRTI_ERFC_C0 -0x1.25709ep-11f
#define LLRTI_ERFC_C1 -0x1.2065acp+0f
#define LLRTI_ERFC_C2 -0x1.46cd08p-1f
#define LLRTI_ERFC_C3 -0x1.a97a64p-4f
#define LLRTI_ERFC_C4 0x1.764058p-6f
#define LLRTI_ERFC_C5 -0x1.c910c4p-9f
#define LLRTI_ERFC_C6 0x1.536cb8p-12f
#define LLRTI_ERFC_C7 -0x1.c8f3cep-17f

static inline float llrti_math_erf(float x)
{
    const float a = llrti_bits_float(llrti_float_bits(x) & 0x7fffffffu);
    const float y = x * x;
    float p = fmaf(LLRTI_ERF_C6, y, LLRTI_ERF_C5);
    p = fmaf(p, y, LLRTI_ERF_C4);
    p = fmaf(p, y, LLRTI_ERF_C3);
    p = fmaf(p, y, LLRTI_ERF_C2);
    p = fmaf(p, y, LLRTI_ERF_C1);
    p = fmaf(p, y, LLRTI_ERF_C0);
    const float low = fmaf(x, p, x);
    const float t = LLRTI_ERF_TOP < a ? LLRTI_ERF_TOP : a; /* minps(TOP, a) */
    float q = fmaf(LLRTI_ERFC_C7, t, LLRTI_ERFC_C6);
    q = fmaf(q, t, LLRTI_ERFC_C5);
    q = fmaf(q, t, LLRTI_ERFC_C4);
    q = fmaf(q, t, LLRTI_ERFC_C3);
    q = fmaf(q, t, LLRTI_ERFC_C2);
    q = fmaf(q, t, LLRTI_ERFC_C1);
    q = fmaf(q, t, LLRTI_ERFC_C0);
    const float high = 1.0f - llrti_math_exp(q);
    const float signed_high =
        llrti_bits_float(llrti_float_bits(high) | (llrti_float_bits(x) & 0x80000000u));
    return a < LLRTI_ERF_SPLIT ? low : signed_high;
}

/* 2 atanh(s) = s * (2 + 2/3 s^2 + 2/5 s^4 + ...), |s| <= 1/3: what follows the term of s^15 is below 2^-27 of it. */
#define LLRTI_SOFTPLUS_C7 ((float)(2.0 / 15))
#define LLRTI_SOFTPLUS_C6 ((float)(2.0 / 13))
#define LLRTI_SOFTPLUS_C5 ((float)(2.0 / 11))
#define LLRTI_SOFTPLUS_C4 ((float)(2.0 / 9))
#define LLRTI_SOFTPLUS_C3 ((float)(2.0 / 7))
#define LLRTI_SOFTPLUS_C2 ((float)(2.0 / 5))
#define LLRTI_SOFTPLUS_C1 ((float)(2.0 / 3))

static inline float llrti_math_softplus(float x)
{
    const float a = llrti_bits_float(llrti_float_bits(x) & 0x7fffffffu);
    const float e = llrti_math_exp(-a);
    const float s = e / (2.0f + e);
    const float y = s * s;
    float p = fmaf(LLRTI_SOFTPLUS_C7, y, LLRTI_SOFTPLUS_C6);
    p = fmaf(p, y, LLRTI_SOFTPLUS_C5);
    p = fmaf(p, y, LLRTI_SOFTPLUS_C4);
    p = fmaf(p, y, LLRTI_SOFTPLUS_C3);
    p = fmaf(p, y, LLRTI_SOFTPLUS_C2);
    p = fmaf(p, y, LLRTI_SOFTPLUS_C1);
    p = fmaf(p, y, 2.0f);
    const float r = s * p;
    return (x > 0.0f ? x : 0.0f) + r;
}

/** Sums 16 virtual lanes: lane i with i + 8, then 4, 2, 1. Every ISA level adds in this order. */
static inline float llrti_math_sum16(const float lane[16])
{
    float s[8];
    for (int i = 0; i < 8; i++) s[i] = lane[i] + lane[i + 8];
    for (int i = 0; i < 4; i++) s[i] += s[i + 4];
    s[0] += s[2];
    s[1] += s[3];
    return s[0] + s[1];
}

/* ---- Activations: the lanes of LLRT_OP_GLU and LLRT_OP_ACTIVATE ----------------------------- */

#define LLRTI_GELU_SQRT_HALF 0x1.6a09e6p-1f /* sqrt(1/2) */
#define LLRTI_GELU_SQRT_2_PI 0x1.988454p-1f /* sqrt(2/pi) */
#define LLRTI_GELU_CUBE 0x1.6e4e26p-5f      /* 0.044715 */
#define LLRTI_GELU_QUICK 0x1.b3b646p+0f     /* 1.702 */

static inline float llrti_math_silu(float x)
{
    return x / (1.0f + llrti_math_exp(-x));
}

static inline float llrti_math_gelu(float x)
{
    const float h = 0.5f * x;
    return fmaf(h, llrti_math_erf(x * LLRTI_GELU_SQRT_HALF), h);
}

static inline float llrti_math_gelu_tanh(float x)
{
    const float h = 0.5f * x;
    const float u = fmaf(x * x, LLRTI_GELU_CUBE, 1.0f);
    return fmaf(h, llrti_math_tanh((x * LLRTI_GELU_SQRT_2_PI) * u), h);
}

static inline float llrti_math_relu(float x)
{
    return 0.0f > x ? 0.0f : x; /* maxps(0, x) */
}

static inline float llrti_math_relu2(float x)
{
    const float r = llrti_math_relu(x);
    return r * r;
}

static inline float llrti_math_gelu_quick(float x)
{
    return x / (1.0f + llrti_math_exp(-(x * LLRTI_GELU_QUICK)));
}

/** Sine and cosine of a finite angle below 2^31 or so; within 2^-50 absolute for the angles of rope. */
void llrti_math_sincos(double angle, double *sine, double *cosine);

#endif
