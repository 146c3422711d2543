/* SPDX-License-Identifier: MIT */
/*
 * exp and log with the same bits on every platform: additions, multiplications,
 * divisions and integer operations of IEEE 754 in a fixed order, no fused multiply-add, no libm.
 * Files that use the inline function are compiled with -ffp-contract=off, as the whole tree is.
 *
 * Largest errors measured (test_mathf.c holds the functions to the bounds in brackets): expf 0.983
 * ulp over all floats [1], logf 0.5 ulp [0.501], exp 0.87 ulp and log 0.93 ulp over millions of
 * random points against long double [1.1]. exp and expf of what would be a subnormal give 0, so
 * that they don't depend on flush-to-zero modes.
 *
 * Pure functions; any thread.
 */
#ifndef LLRTI_MATHF_H
#define LLRTI_MATHF_H

#include <stddef.h>

#include "half.h"

#define LLRTI_INFINITY_F (llrti_bits_float(0x7f800000u))

/**
 * e^x, in a form compilers can vectorise: x = n ln 2 + r with |r| <= ln 2 / 2, a polynomial in
 * r whose largest relative error is 3.1e-9, and n added to the exponent. NaN gives NaN.
 */
static inline float llrti_expf(float x)
{
    const float lowest = -0x1.5d589ep6f; /* the largest below it gives a subnormal */
    const float highest = 0x1.62e43p6f;  /* the largest with a finite result is one ulp below */
    const float magic = 0x1.8p23f;       /* adding it rounds to an integer, kept in the low bits */
    const float clamped = x < lowest ? lowest : x > highest ? highest : x;
    const float shifted = clamped * 0x1.715476p0f + magic;
    const float n = shifted - magic;
    const float r = (clamped - n * 0.693359375f) - n * -0x1.bd0106p-13f;
    float p = 0x1.6a23c2p-10f;
    p = p * r + 0x1.123a22p-7f;
    p = p * r + 0x1.5558f4p-5f;
    p = p * r + 0x1.555492p-3f;
    p = p * r + 0x1.fffffcp-2f;
    p = 1.0f + (r + (r * r) * p);
    const float y = llrti_bits_float(llrti_float_bits(p) + (llrti_float_bits(shifted) << 23));
    return x < lowest ? 0.0f : x >= highest ? llrti_bits_float(0x7f800000u) : x == x ? y : x;
}

/** e^x. NaN gives NaN. */
double llrti_exp(double x);

/**
 * The natural logarithm. Negative numbers and NaN give NaN, 0 gives -infinity; subnormals are
 * exact.
 */
double llrti_log(double x);

static inline float llrti_logf(float x)
{
    return (float)llrti_log((double)x);
}

/**
 * Turns n logits into probabilities in place: exp(x - max) / sum, the sum in double from left to
 * right. NaN counts as -infinity. When none is above -infinity all become 0.
 */
void llrti_softmax(float *x, size_t n);

#endif
