/* SPDX-License-Identifier: MIT */
/*
 * IQ4_NL and IQ4_XS: codes are places in a table of 16 uneven values. Each group of 32 tries the
 * scales that put its peak at -120 .. -134 instead of the table's first value, -127, and keeps the
 * one with least weighted error. IQ4_XS rounds the eight scales of a block of 256 to six bits.
 */
#include <assert.h>
#include <math.h>

#include "blocks.h"
#include "quant_rows.h"
#include "quant_search.h"

#define GROUP 32
#define N_GROUP 8
#define N_TRY 7

static float mean_square2(const float *x, int n)
{
    float sum = 0.0f;
    for (int i = 0; i < n; i++) sum += x[i] * x[i];
    return sum * (2.0f / (float)n);
}

typedef struct fit {
    float xq, qq;
} fit;

static fit fit_of(const float *x, const float *weight, float inverse)
{
    fit f = {0.0f, 0.0f};
    for (int i = 0; i < GROUP; i++) {
        const int at = llrti_quant_nearest(llrti_blocks_iq4, inverse * x[i]);
        const float q = (float)llrti_blocks_iq4[at];
        f.xq += weight[i] * q * x[i];
        f.qq += weight[i] * q * q;
    }
    return f;
}

static float scale_of(const float *x, const float *importance, float spread)
{
    float weight[GROUP];
    const float peak = llrti_quant_peak(x, GROUP);
    if (fabsf(peak) < LLRTI_QUANT_ZERO) return 0.0f;
    for (int i = 0; i < GROUP; i++)
        weight[i] = importance ? importance[i] * sqrtf(spread + x[i] * x[i]) : x[i] * x[i];
    const float first = (float)llrti_blocks_iq4[0];
    fit f = fit_of(x, weight, 1.0f / (-peak / first));
    float d = f.xq / f.qq;
    float best = d * f.xq;
    for (int i = -N_TRY; i <= N_TRY; i++) {
        f = fit_of(x, weight, ((float)i + first) / peak);
        if (f.qq > 0.0f && f.xq * f.xq > best * f.qq) {
            d = f.xq / f.qq;
            best = d * f.xq;
        }
    }
    return d;
}

/* Codes of a group for a given scale, packed. */
static void pack(const float *x, float d, uint8_t *out)
{
    const float inverse = d != 0.0f ? 1.0f / d : 0.0f;
    for (int i = 0; i < GROUP / 2; i++) {
        const int low = llrti_quant_nearest(llrti_blocks_iq4, inverse * x[i]);
        const int high = llrti_quant_nearest(llrti_blocks_iq4, inverse * x[i + GROUP / 2]);
        out[i] = (uint8_t)(low | high << 4);
    }
}

static void store_u16(uint8_t *p, uint32_t value)
{
    p[0] = (uint8_t)value;
    p[1] = (uint8_t)(value >> 8);
}

void llrti_quant_iq4_nl(const float *x, const float *weight, size_t n, uint8_t *dst)
{
    assert(n % GROUP == 0);
    for (size_t i = 0; i < n; i += GROUP, dst += 18) {
        const float spread = weight ? mean_square2(x + i, GROUP) : 0.0f;
        const float d = scale_of(x + i, weight ? weight + i : NULL, spread);
        store_u16(dst, llrti_float_to_f16(d));
        pack(x + i, d, dst + 2);
    }
}

static void block_xs(const float *x, const float *importance, uint8_t *dst)
{
    float scale[N_GROUP];
    const float spread = importance ? mean_square2(x, N_GROUP * GROUP) : 0.0f;
    for (int j = 0; j < N_GROUP; j++)
        scale[j] = scale_of(x + GROUP * j, importance ? importance + GROUP * j : NULL, spread);
    const float d = llrti_quant_is_finite(scale, N_GROUP)
                        ? -llrti_quant_peak(scale, N_GROUP) / 32.0f
                        : NAN; /* which llrti_quant_rows_is_finite reports */
    const float inverse = d != 0.0f ? 1.0f / d : 0.0f;
    uint32_t high = 0;
    store_u16(dst, llrti_float_to_f16(d));
    for (int j = 0; j < N_GROUP; j++) {
        const int s = llrti_quant_clamp(llrti_quant_round(inverse * scale[j]), -32, 31);
        const uint32_t code = (uint32_t)(s + 32);
        if (j % 2 == 0)
            dst[4 + j / 2] = (uint8_t)(code & 15);
        else
            dst[4 + j / 2] |= (uint8_t)((code & 15) << 4);
        high |= (code >> 4) << 2 * j;
        pack(x + GROUP * j, d * (float)s, dst + 8 + 16 * j);
    }
    store_u16(dst + 2, high);
}

void llrti_quant_iq4_xs(const float *x, const float *weight, size_t n, uint8_t *dst)
{
    assert(n % (N_GROUP * GROUP) == 0);
    for (size_t i = 0; i < n; i += N_GROUP * GROUP, dst += 136)
        block_xs(x + i, weight ? weight + i : NULL, dst);
}
