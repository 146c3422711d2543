/* SPDX-License-Identifier: MIT */
/*
 * The transcendental functions of cpu_math.h in 16 lanes: the same operations in the same order, so
 * every lane has the bits of the scalar function. Included after one of simd_<isa>.h by the kernels in *_simd.h.
 */
#ifndef LLRTI_SIMD_MATH_H
#define LLRTI_SIMD_MATH_H

#include "cpu_math.h"

static inline v16 v_horner(v16 p, v16 x, float c)
{
    return v_fma(p, x, v_set(c));
}

static inline v16 v_abs(v16 x)
{
    return i_floats(i_and(v_bits(x), i_set(0x7fffffffu)));
}

static inline v16 v_negate(v16 x)
{
    /* flips the sign bit, as the scalar minus does */
    return i_floats(i_sub(v_bits(x), i_set(0x80000000u)));
}

/* `magnitude` with the sign of x. */
static inline v16 v_with_sign(v16 magnitude, v16 x)
{
    return i_floats(i_or(v_bits(magnitude), i_and(v_bits(x), i_set(0x80000000u))));
}

static inline v16 v_exp(v16 x)
{
    x = v_max(v_set(LLRTI_EXP_LOW), x);
    x = v_min(v_set(LLRTI_EXP_HIGH), x);
    const v16 t = v_fma(x, v_set(LLRTI_EXP_LOG2E), v_set(LLRTI_MATH_MAGIC));
    const v16 n = v_sub(t, v_set(LLRTI_MATH_MAGIC));
    v16 r = v_fma(n, v_set(-LLRTI_EXP_LN2_HIGH), x);
    r = v_fma(n, v_set(-LLRTI_EXP_LN2_LOW), r);
    v16 p = v_horner(v_set(LLRTI_EXP_C6), r, LLRTI_EXP_C5);
    p = v_horner(p, r, LLRTI_EXP_C4);
    p = v_horner(p, r, LLRTI_EXP_C3);
    p = v_horner(p, r, LLRTI_EXP_C2);
    p = v_horner(p, r, 1.0f);
    p = v_horner(p, r, 1.0f);
    const i16 k = i_sub(v_bits(t), i_set(LLRTI_MATH_MAGIC_BITS)), h = i_half(k);
    p = v_mul(p, i_floats(i_shift_23(i_add(h, i_set(127)))));
    return v_mul(p, i_floats(i_shift_23(i_add(i_sub(k, h), i_set(127)))));
}

static inline v16 v_one_plus_exp_minus(v16 x)
{
    return v_add(v_set(1.0f), v_exp(v_negate(x)));
}

static inline v16 v_sigmoid(v16 x)
{
    return v_div(v_set(1.0f), v_one_plus_exp_minus(x));
}

static inline v16 v_tanh(v16 x)
{
    const v16 a = v_abs(x), y = v_mul(x, x);
    v16 p = v_horner(v_set(LLRTI_TANH_C5), y, LLRTI_TANH_C4);
    p = v_horner(p, y, LLRTI_TANH_C3);
    p = v_horner(p, y, LLRTI_TANH_C2);
    p = v_horner(p, y, LLRTI_TANH_C1);
    p = v_horner(p, y, LLRTI_TANH_C0);
    const v16 low = v_fma(v_mul(x, y), p, x);
    const v16 e = v_exp(v_mul(v_set(-2.0f), a));
    const v16 high = v_div(v_sub(v_set(1.0f), e), v_add(v_set(1.0f), e));
    return v_select(v_less(a, v_set(LLRTI_TANH_SPLIT)), low, v_with_sign(high, x));
}

static inline v16 v_erf(v16 x)
{
    const v16 a = v_abs(x), y = v_mul(x, x);
    v16 p = v_horner(v_set(LLRTI_ERF_C6), y, LLRTI_ERF_C5);
    p = v_horner(p, y, LLRTI_ERF_C4);
    p = v_horner(p, y, LLRTI_ERF_C3);
    p = v_horner(p, y, LLRTI_ERF_C2);
    p = v_horner(p, y, LLRTI_ERF_C1);
    p = v_horner(p, y, LLRTI_ERF_C0);
    const v16 low = v_fma(x, p, x);
    const v16 t = v_min(v_set(LLRTI_ERF_TOP), a);
    v16 q = v_horner(v_set(LLRTI_ERFC_C7), t, LLRTI_ERFC_C6);
    q = v_horner(q, t, LLRTI_ERFC_C5);
    q = v_horner(q, t, LLRTI_ERFC_C4);
    q = v_horner(q, t, LLRTI_ERFC_C3);
    q = v_horner(q, t, LLRTI_ERFC_C2);
    q = v_horner(q, t, LLRTI_ERFC_C1);
    q = v_horner(q, t, LLRTI_ERFC_C0);
    const v16 high = v_sub(v_set(1.0f), v_exp(q));
    return v_select(v_less(a, v_set(LLRTI_ERF_SPLIT)), low, v_with_sign(high, x));
}

static inline v16 v_softplus(v16 x)
{
    const v16 e = v_exp(v_negate(v_abs(x)));
    const v16 s = v_div(e, v_add(v_set(2.0f), e));
    const v16 y = v_mul(s, s);
    v16 p = v_horner(v_set(LLRTI_SOFTPLUS_C7), y, LLRTI_SOFTPLUS_C6);
    p = v_horner(p, y, LLRTI_SOFTPLUS_C5);
    p = v_horner(p, y, LLRTI_SOFTPLUS_C4);
    p = v_horner(p, y, LLRTI_SOFTPLUS_C3);
    p = v_horner(p, y, LLRTI_SOFTPLUS_C2);
    p = v_horner(p, y, LLRTI_SOFTPLUS_C1);
    p = v_horner(p, y, 2.0f);
    const v16 zero = v_set(0.0f);
    return v_add(v_select(v_less(zero, x), x, zero), v_mul(s, p));
}

static inline v16 v_silu(v16 x)
{
    return v_div(x, v_one_plus_exp_minus(x));
}

static inline v16 v_gelu(v16 x)
{
    const v16 h = v_mul(v_set(0.5f), x);
    return v_fma(h, v_erf(v_mul(x, v_set(LLRTI_GELU_SQRT_HALF))), h);
}

static inline v16 v_gelu_tanh(v16 x)
{
    const v16 h = v_mul(v_set(0.5f), x);
    const v16 u = v_fma(v_mul(x, x), v_set(LLRTI_GELU_CUBE), v_set(1.0f));
    return v_fma(h, v_tanh(v_mul(v_mul(x, v_set(LLRTI_GELU_SQRT_2_PI)), u)), h);
}

static inline v16 v_relu(v16 x)
{
    return v_max(v_set(0.0f), x);
}

static inline v16 v_relu2(v16 x)
{
    const v16 r = v_relu(x);
    return v_mul(r, r);
}

static inline v16 v_gelu_quick(v16 x)
{
    return v_div(x, v_one_plus_exp_minus(v_mul(x, v_set(LLRTI_GELU_QUICK))));
}

#endif
