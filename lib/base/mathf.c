/* SPDX-License-Identifier: MIT */
/*
 * exp: x = n ln 2 + r, |r| <= ln 2 / 2; e^r by its series up to r^13 (the remainder is below
 * 5e-18), then n goes into the exponent.
 *
 * log: x = 2^k (1 + f) with 1 + f between sqrt(1/2) and sqrt(2). With s = f / (2 + f),
 * log(1 + f) = 2 (s + s^3/3 + s^5/5 ...) = f - s (f - R), R = 2 s^2/3 + 2 s^4/5 + ...
 * f is exact, so the error of the rest, at most a sixth of it, decides.
 */
#include "mathf.h"

static uint64_t double_bits(double x)
{
    uint64_t u;
    memcpy(&u, &x, sizeof u);
    return u;
}

static double bits_double(uint64_t u)
{
    double x;
    memcpy(&x, &u, sizeof x);
    return x;
}

/*
 * ln 2 in two parts; the first has 21 zero bits at its end, so that its product with an exponent
 * is exact.
 */
static const double ln2_high = 0x1.62e42feep-1;
static const double ln2_low = 0x1.a39ef35793c76p-33;

double llrti_exp(double x)
{
    if (x != x) return x;
    if (x < -0x1.6232bdd7abcd2p9) return 0.0;
    if (x > 0x1.62e42fefa39efp9) return bits_double(0x7ff0000000000000u);
    const double magic = 0x1.8p52;
    const double shifted = x * 0x1.71547652b82fep0 + magic;
    const double n = shifted - magic;
    const double high = x - n * ln2_high, low = n * ln2_low;
    const double r = high - low;
    static const double inverse_factorial[] = {1.0 / 2,        1.0 / 6,         1.0 / 24,
                                               1.0 / 120,      1.0 / 720,       1.0 / 5040,
                                               1.0 / 40320,    1.0 / 362880,    1.0 / 3628800,
                                               1.0 / 39916800, 1.0 / 479001600, 1.0 / 6227020800.0};
    double p = inverse_factorial[11];
    for (int i = 10; i >= 0; i--) p = p * r + inverse_factorial[i];
    /* `high - low` was rounded: what it lost goes back in at first order. */
    const double lost = (high - r) - low;
    p = 1.0 + (r + (r * r * p + lost));
    return bits_double(double_bits(p) + (double_bits(shifted) << 52));
}

double llrti_log(double x)
{
    if (!(x > 0.0))
        return x == 0.0 ? -bits_double(0x7ff0000000000000u) : bits_double(0x7ff8000000000000u);
    uint64_t u = double_bits(x);
    if (u == 0x7ff0000000000000u) return x;
    int32_t k = 0;
    if (u < 0x0010000000000000u) {
        u = double_bits(x * 0x1p54);
        k = -54;
    }
    /* The exponent of x / sqrt(1/2), so that the rest lies around 1. */
    const int32_t e = (int32_t)((u + (0x3ff0000000000000u - 0x3fe6a09e667f3bcdu)) >> 52) - 1023;
    k += e;
    const double f = bits_double(u - ((uint64_t)(int64_t)e << 52)) - 1.0;
    const double s = f / (2.0 + f), z = s * s;
    static const double inverse_odd[] = {2.0 / 3,  2.0 / 5,  2.0 / 7,  2.0 / 9,  2.0 / 11, 2.0 / 13,
                                         2.0 / 15, 2.0 / 17, 2.0 / 19, 2.0 / 21, 2.0 / 23};
    double p = inverse_odd[10];
    for (int i = 9; i >= 0; i--) p = p * z + inverse_odd[i];
    const double rest = s * (f - z * p);
    return (double)k * ln2_high - ((rest - (double)k * ln2_low) - f);
}

void llrti_softmax(float *x, size_t n)
{
    float max = -LLRTI_INFINITY_F;
    for (size_t i = 0; i < n; i++)
        if (x[i] > max) max = x[i];
    double sum = 0.0;
    for (size_t i = 0; i < n; i++) {
        /* The comparison keeps NaN, and the difference of two infinities, out of the sum. */
        x[i] = x[i] == max ? 1.0f : x[i] > -LLRTI_INFINITY_F ? llrti_expf(x[i] - max) : 0.0f;
        if (max == -LLRTI_INFINITY_F) x[i] = 0.0f;
        sum += (double)x[i];
    }
    if (!(sum > 0.0)) return;
    for (size_t i = 0; i < n; i++) x[i] = (float)((double)x[i] / sum);
}
