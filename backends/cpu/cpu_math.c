/* SPDX-License-Identifier: MIT */
/*
 * Sine and cosine for rope tables, in plain double operations without fused ones, so that every platform gives
 * the same bits. The angle is reduced by multiples of pi/2 whose three parts have
 * 33 bits or fewer each: with up to 2^20 quarter turns all products are exact; beyond, the
 * error grows like the spacing of the angle itself.
 * Then Taylor series on |r| <= pi/4, whose first dropped terms are below 2^-56.
 */
#include "cpu_math.h"

/* pi/2 = P1 + P2 + P3: the leading 33 bits, the next 33, the rest */
#define HALF_PI_1 0x1.921fb5440p+0
#define HALF_PI_2 0x1.0b4611a60p-34
#define HALF_PI_3 0x1.3198a2e037073p-69
#define TWO_OVER_PI 0x1.45f306dc9c883p-1
#define ROUND_MAGIC 0x1.8p52

static double sine_series(double r)
{
    const double y = r * r;
    double p = -1.0 / 1307674368000.0;
    p = 1.0 / 6227020800.0 + y * p;
    p = -1.0 / 39916800.0 + y * p;
    p = 1.0 / 362880.0 + y * p;
    p = -1.0 / 5040.0 + y * p;
    p = 1.0 / 120.0 + y * p;
    p = -1.0 / 6.0 + y * p;
    return r + r * (y * p);
}

static double cosine_series(double r)
{
    const double y = r * r;
    double p = 1.0 / 20922789888000.0;
    p = -1.0 / 87178291200.0 + y * p;
    p = 1.0 / 479001600.0 + y * p;
    p = -1.0 / 3628800.0 + y * p;
    p = 1.0 / 40320.0 + y * p;
    p = -1.0 / 720.0 + y * p;
    p = 1.0 / 24.0 + y * p;
    return 1.0 - 0.5 * y + (y * y) * p;
}

void llrti_math_sincos(double angle, double *sine, double *cosine)
{
    const double shifted = angle * TWO_OVER_PI + ROUND_MAGIC;
    const double n = shifted - ROUND_MAGIC;
    const double r = ((angle - n * HALF_PI_1) - n * HALF_PI_2) - n * HALF_PI_3;
    const double s = sine_series(r), c = cosine_series(r);
    uint64_t bits;
    memcpy(&bits, &shifted, sizeof bits);
    switch ((unsigned)bits & 3u) {
    case 0:
        *sine = s;
        *cosine = c;
        break;
    case 1:
        *sine = c;
        *cosine = -s;
        break;
    case 2:
        *sine = -s;
        *cosine = -c;
        break;
    default:
        *sine = -c;
        *cosine = s;
        break;
    }
}
