/* SPDX-License-Identifier: MIT */
/*
 * The searches the block quantisers are made of: given a few values and how much each matters,
 * find a scale (and an offset) and integer codes with little weighted error. Which candidates are
 * tried, in which order, and how float operations are associated are those of the tools that made
 * most GGUF files in circulation, so that the same model gives the same bytes. Pure; any thread.
 */
#ifndef LLRTI_QUANT_SEARCH_H
#define LLRTI_QUANT_SEARCH_H

#include <stdbool.h>
#include <stdint.h>

#include "half.h"

/** A group whose largest magnitude is below this is all zeros. */
#define LLRTI_QUANT_ZERO 1e-15f
#define LLRTI_QUANT_GROUP 32 /* most values in a group */

/** Rounds to the nearest integer, ties to even; magnitudes from 4194303 on (and NaN) give that. */
static inline int llrti_quant_round(float x)
{
    const float most = 4194303.0f;
    x = x < most ? x : most;
    x = x > -most ? x : -most;
    /* Adding 1.5 * 2^23 leaves the integer in the low bits of the mantissa. */
    return (int)(llrti_float_bits(x + 12582912.0f) & 0x7fffffu) - 0x400000;
}

static inline int llrti_quant_clamp(int x, int least, int most)
{
    return x < least ? least : x > most ? most : x;
}

/** False when a search met values whose sums overflow float32. */
bool llrti_quant_is_finite(const float *scale, int n);

/** The value of largest magnitude (the first of equals), 0 when there is none but zeros. */
float llrti_quant_peak(const float *x, int n);

/**
 * x[i] ~ scale * (code[i] - half), codes 0 .. 2 * half - 1.
 * @param weight (n) or NULL: x squared
 * @return the scale; it has the sign opposite to that of the peak
 */
float llrti_quant_fit_signed(const float *x, const float *weight, int n, int half, uint8_t *code);

/** The same from one first guess that is improved code by code; weights are x squared. */
float llrti_quant_fit_stepwise(const float *x, int n, int half, uint8_t *code);

/** How llrti_quant_fit_offset looks for a scale: (first + i * step + most) / range, i <= n. */
typedef struct llrti_quant_grid {
    float first, step;
    int n;
    bool is_absolute; /* compares sums of |error| rather than of its square */
} llrti_quant_grid;

/**
 * x[i] ~ scale * code[i] - *minus, codes 0 .. most, *minus >= 0.
 * @return the scale, 0 when all values are the same
 */
float llrti_quant_fit_offset(const float *x, const float *weight, int n, int most,
                             const llrti_quant_grid *grid, uint8_t *code, float *minus);

/** x[i] ~ scale * code[i] for x[i] >= 0, codes 0 .. most. */
float llrti_quant_fit_positive(const float *x, const float *weight, int n, int most, uint8_t *code);

/** Index of the nearest of 16 ascending values; of two equally near the upper one. */
int llrti_quant_nearest(const int8_t value[16], float x);

#endif
