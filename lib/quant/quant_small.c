/* SPDX-License-Identifier: MIT */
/*
 * The formats of single values (F16, BF16) and of blocks of 32 with one scale: Q8_0, Q4_0, Q4_1,
 * Q5_0, Q5_1, MXFP4. Without weights a block's scale follows from its extremes; with weights the
 * searches of quant_search.c find it, each value weighted by importance * sqrt(mean square of the
 * row + its own square). Q8_0, MXFP4 and single values do not use weights.
 */
#include <assert.h>
#include <math.h>

#include "blocks.h"
#include "quant_rows.h"
#include "quant_search.h"

#define BLOCK 32

static const llrti_quant_grid offset_grid = {-0.9f, 0.05f, 36, false};

static void store_u16(uint8_t *p, uint16_t value)
{
    p[0] = (uint8_t)value;
    p[1] = (uint8_t)(value >> 8);
}

static void store_f16(uint8_t *p, float value)
{
    store_u16(p, llrti_float_to_f16(value));
}

void llrti_quant_small_f32(const float *x, const float *weight, size_t n, uint8_t *dst)
{
    for (size_t i = 0; i < n; i++) {
        const uint32_t bits = llrti_float_bits(x[i]);
        store_u16(dst + 4 * i, (uint16_t)bits);
        store_u16(dst + 4 * i + 2, (uint16_t)(bits >> 16));
    }
}

void llrti_quant_small_f16(const float *x, const float *weight, size_t n, uint8_t *dst)
{
    for (size_t i = 0; i < n; i++) store_f16(dst + 2 * i, x[i]);
}

void llrti_quant_small_bf16(const float *x, const float *weight, size_t n, uint8_t *dst)
{
    for (size_t i = 0; i < n; i++) store_u16(dst + 2 * i, llrti_float_to_bf16(x[i]));
}

void llrti_quant_small_q8_0(const float *x, const float *weight, size_t n, uint8_t *dst)
{
    assert(n % BLOCK == 0);
    for (; n; n -= BLOCK, x += BLOCK, dst += 34) {
        const float d = fabsf(llrti_quant_peak(x, BLOCK)) / 127.0f;
        const float inverse = d != 0.0f ? 1.0f / d : 0.0f;
        store_f16(dst, d);
        for (int i = 0; i < BLOCK; i++) {
            const float value = roundf(x[i] * inverse);
            const int code = value < 127.0f ? value > -127.0f ? (int)value : -127 : 127;
            dst[2 + i] = (uint8_t)(int8_t)code;
        }
    }
}

/* Low four bits of the codes: value i in the low half of byte i, value i + 16 in the high one. */
static void pack_low(const uint8_t *code, uint8_t *out)
{
    for (int i = 0; i < BLOCK / 2; i++)
        out[i] = (uint8_t)((code[i] & 15) | (code[i + BLOCK / 2] & 15) << 4);
}

/* The fifth bits: bit i is that of value i. */
static void pack_high(const uint8_t *code, uint8_t *out)
{
    uint32_t bits = 0;
    for (int i = 0; i < BLOCK; i++) bits |= (uint32_t)(code[i] >> 4) << i;
    store_u16(out, (uint16_t)bits);
    store_u16(out + 2, (uint16_t)(bits >> 16));
}

static float mean_square(const float *x, size_t n)
{
    float sum = 0.0f;
    for (size_t i = 0; i < n; i++) sum += x[i] * x[i];
    return sum / (float)n;
}

static void weigh(const float *x, const float *importance, float spread, float *out)
{
    for (int i = 0; i < BLOCK; i++) out[i] = importance[i] * sqrtf(spread + x[i] * x[i]);
}

/* The whole part within 0 .. most; 0 for NaN, which 0 times an infinite 1 / d gives. */
static uint8_t cut(float x, int most)
{
    return (uint8_t)(x > 0.0f ? x < (float)most ? (int)x : most : 0);
}

/* Codes 0 .. 2 * half - 1 of a block around zero; the peak is put at -half. */
static float centred(const float *x, const float *importance, float spread, int half, uint8_t *code)
{
    if (importance) {
        float weight[BLOCK];
        weigh(x, importance, spread, weight);
        return llrti_quant_fit_signed(x, weight, BLOCK, half, code);
    }
    const float d = llrti_quant_peak(x, BLOCK) / (float)-half;
    const float inverse = d != 0.0f ? 1.0f / d : 0.0f;
    for (int i = 0; i < BLOCK; i++) {
        code[i] = cut(x[i] * inverse + ((float)half + 0.5f), 2 * half - 1);
    }
    return d;
}

/* Codes 0 .. most above the least value, which comes back in *least. */
static float above(const float *x, const float *importance, float spread, int most, uint8_t *code,
                   float *least)
{
    if (importance) {
        float weight[BLOCK], minus;
        weigh(x, importance, spread, weight);
        const float d = llrti_quant_fit_offset(x, weight, BLOCK, most, &offset_grid, code, &minus);
        *least = -minus;
        return d;
    }
    float low = x[0], high = x[0];
    for (int i = 1; i < BLOCK; i++) {
        if (x[i] < low) low = x[i];
        if (x[i] > high) high = x[i];
    }
    const float d = (high - low) / (float)most;
    const float inverse = d != 0.0f ? 1.0f / d : 0.0f;
    for (int i = 0; i < BLOCK; i++) code[i] = cut((x[i] - low) * inverse + 0.5f, most);
    *least = low;
    return d;
}

void llrti_quant_small_q4_0(const float *x, const float *weight, size_t n, uint8_t *dst)
{
    uint8_t code[BLOCK];
    assert(n % BLOCK == 0);
    const float spread = weight ? mean_square(x, n) : 0.0f;
    for (size_t i = 0; i < n; i += BLOCK, dst += 18) {
        store_f16(dst, centred(x + i, weight ? weight + i : NULL, spread, 8, code));
        pack_low(code, dst + 2);
    }
}

void llrti_quant_small_q5_0(const float *x, const float *weight, size_t n, uint8_t *dst)
{
    uint8_t code[BLOCK];
    assert(n % BLOCK == 0);
    const float spread = weight ? mean_square(x, n) : 0.0f;
    for (size_t i = 0; i < n; i += BLOCK, dst += 22) {
        store_f16(dst, centred(x + i, weight ? weight + i : NULL, spread, 16, code));
        pack_high(code, dst + 2);
        pack_low(code, dst + 6);
    }
}

void llrti_quant_small_q4_1(const float *x, const float *weight, size_t n, uint8_t *dst)
{
    uint8_t code[BLOCK];
    float least;
    assert(n % BLOCK == 0);
    const float spread = weight ? mean_square(x, n) : 0.0f;
    for (size_t i = 0; i < n; i += BLOCK, dst += 20) {
        store_f16(dst, above(x + i, weight ? weight + i : NULL, spread, 15, code, &least));
        store_f16(dst + 2, least);
        pack_low(code, dst + 4);
    }
}

void llrti_quant_small_q5_1(const float *x, const float *weight, size_t n, uint8_t *dst)
{
    uint8_t code[BLOCK];
    float least;
    assert(n % BLOCK == 0);
    const float spread = weight ? mean_square(x, n) : 0.0f;
    for (size_t i = 0; i < n; i += BLOCK, dst += 24) {
        store_f16(dst, above(x + i, weight ? weight + i : NULL, spread, 31, code, &least));
        store_f16(dst + 2, least);
        pack_high(code, dst + 4);
        pack_low(code, dst + 8);
    }
}

/*
 * floor(log2(x)) with log2 rounded to float32 first, as other writers compute it: just below a
 * power of two the logarithm rounds up to the whole number. With x = 2^top * (1 - j / 2^24) the
 * distance is j * log2(e) / 2^24; half a step of float32 below `top` is what it has to stay under.
 */
static int floor_log2(float x)
{
    int top;
    const float fraction = frexpf(x, &top);   /* x = fraction * 2^top, 1/2 <= fraction < 1 */
    if (top == 0 || top == 1) return top - 1; /* steps are too fine there */
    const float j = (1.0f - fraction) * 16777216.0f;
    const int magnitude = top > 0 ? top - 1 : -top; /* in the binade that lies below `top` */
    int log = 0;
    while (magnitude >> (log + 1)) log++;
    const float half_step = ldexpf(1.0f, log); /* 2^(log - 23) / 2, in units of 2^-24 */
    return j * 1.44269504f <= half_step ? top : top - 1;
}

void llrti_quant_small_mxfp4(const float *x, const float *weight, size_t n, uint8_t *dst)
{
    assert(n % BLOCK == 0);
    for (; n; n -= BLOCK, x += BLOCK, dst += 17) {
        uint8_t code[BLOCK];
        const float peak = fabsf(llrti_quant_peak(x, BLOCK));
        const int e = peak > 0.0f ? llrti_quant_clamp(floor_log2(peak) + 125, 0, 254) : 0;
        const float half_d = ldexpf(1.0f, e - 128);
        for (int i = 0; i < BLOCK; i++) {
            float least = fabsf((float)llrti_blocks_e2m1[0] * half_d - x[i]);
            code[i] = 0;
            for (int k = 1; k < 16; k++) {
                const float error = fabsf((float)llrti_blocks_e2m1[k] * half_d - x[i]);
                if (error < least) {
                    least = error;
                    code[i] = (uint8_t)k;
                }
            }
        }
        dst[0] = (uint8_t)e;
        pack_low(code, dst + 1);
    }
}
