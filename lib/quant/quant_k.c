/* SPDX-License-Identifier: MIT */
/*
 * The formats of 256 values with two levels of scales: Q2_K to Q6_K. A search gives each group of
 * 16 or 32 values its scale (and offset); those are rounded to a few bits of one float16 number
 * each; codes are then chosen again for the scales as they will be read.
 *
 * How much a value matters: with an importance matrix, importance * sqrt(spread + x^2), spread
 * being the mean square of the block (Q2_K) or twice that; Q6_K takes importance alone.
 */
#include <assert.h>
#include <math.h>
#include <string.h>

#include "quant_rows.h"
#include "quant_search.h"

#define BLOCK 256
#define MAX_GROUP 16

/* The grids that are searched without and with an importance matrix. */
static const llrti_quant_grid grid_q2 = {-0.5f, 0.1f, 15, true};
static const llrti_quant_grid grid_q4 = {-1.0f, 0.1f, 20, false};
static const llrti_quant_grid grid_q5 = {-0.5f, 0.1f, 15, false};
static const llrti_quant_grid grid_weighted = {-0.9f, 0.05f, 36, false};

/* A block cut into n groups of `size` values: real scales and offsets, and as they are stored. */
typedef struct groups {
    int n, size;
    float scale[MAX_GROUP], minus[MAX_GROUP];
    float weight[MAX_GROUP]; /* sum of the group's weights */
    uint8_t scale_code[MAX_GROUP], minus_code[MAX_GROUP];
    float d, dmin; /* what the codes are multiplied with, as read back from float16 */
} groups;

static float store_f16(uint8_t *p, float value)
{
    const uint16_t bits = llrti_float_to_f16(value);
    p[0] = (uint8_t)bits;
    p[1] = (uint8_t)(bits >> 8);
    return llrti_f16_to_float(bits);
}

/* What llrti_quant_rows_is_finite reports: values too large for the sums of a search. */
static void store_nan(uint8_t *p)
{
    p[0] = 0x00;
    p[1] = 0x7e;
}

static float square_sum(const float *x, int n)
{
    float sum = 0.0f;
    for (int i = 0; i < n; i++) sum += x[i] * x[i];
    return sum;
}

static float weigh(const float *x, const float *importance, float spread, int n, float *out)
{
    float sum = 0.0f;
    for (int i = 0; i < n; i++) {
        out[i] = importance[i] * sqrtf(spread + x[i] * x[i]);
        sum += out[i];
    }
    return sum;
}

/* Rounds non-negative group values to codes 0 .. most of one number, which comes back. */
static float code_by_peak(const float *value, int n, int most, uint8_t *code)
{
    float peak = 0.0f;
    for (int i = 0; i < n; i++)
        if (value[i] > peak) peak = value[i];
    const float inverse = peak > 0.0f ? (float)most / peak : 0.0f;
    for (int i = 0; i < n; i++)
        code[i] = (uint8_t)llrti_quant_clamp(llrti_quant_round(inverse * value[i]), 0, most);
    return peak / (float)most;
}

/* Scales and offsets to codes and their two numbers, not yet rounded to float16. */
static void code_scales(groups *g, bool is_weighted, int most)
{
    if (is_weighted) {
        g->d = llrti_quant_fit_positive(g->scale, g->weight, g->n, most, g->scale_code);
        g->dmin = llrti_quant_fit_positive(g->minus, g->weight, g->n, most, g->minus_code);
    } else {
        g->d = code_by_peak(g->scale, g->n, most, g->scale_code);
        g->dmin = code_by_peak(g->minus, g->n, most, g->minus_code);
    }
}

/* Codes for the scales as stored. A group whose scale is 0 keeps those of the search. */
static void recode_offset(const groups *g, const float *x, int most, uint8_t *code)
{
    for (int j = 0; j < g->n; j++, x += g->size, code += g->size) {
        const float d = g->d * (float)g->scale_code[j], m = g->dmin * (float)g->minus_code[j];
        if (d == 0.0f) continue;
        for (int i = 0; i < g->size; i++)
            code[i] = (uint8_t)llrti_quant_clamp(llrti_quant_round((x[i] + m) / d), 0, most);
    }
}

/* ---- Q2_K ---- */

/* Two low bits of 256 codes: byte 32 h + l holds those of 128 h + l + 0, 32, 64 and 96. */
static void pack_pairs(const uint8_t *code, uint8_t *out)
{
    for (int half = 0; half < 2; half++, code += 128, out += 32)
        for (int l = 0; l < 32; l++)
            out[l] = (uint8_t)((code[l] & 3) | (code[l + 32] & 3) << 2 | (code[l + 64] & 3) << 4 |
                               (code[l + 96] & 3) << 6);
}

static void block_q2(const float *x, const float *importance, uint8_t *dst)
{
    groups g = {.n = 16, .size = 16};
    uint8_t code[BLOCK];
    const float spread = importance ? square_sum(x, BLOCK) / (float)BLOCK : 0.0f;
    for (int j = 0; j < 16; j++) {
        float weight[16];
        const float *const group = x + 16 * j;
        if (importance)
            g.weight[j] = weigh(group, importance + 16 * j, spread, 16, weight);
        else
            for (int i = 0; i < 16; i++) weight[i] = fabsf(group[i]);
        g.scale[j] =
            llrti_quant_fit_offset(group, weight, 16, 3, importance ? &grid_weighted : &grid_q2,
                                   code + 16 * j, &g.minus[j]);
    }
    if (!llrti_quant_is_finite(g.scale, 16)) {
        store_nan(dst + 80);
        return;
    }
    code_scales(&g, importance != NULL, 15);
    g.d = store_f16(dst + 80, g.d);
    g.dmin = store_f16(dst + 82, g.dmin);
    for (int j = 0; j < 16; j++) dst[j] = (uint8_t)(g.scale_code[j] | g.minus_code[j] << 4);
    recode_offset(&g, x, 3, code);
    pack_pairs(code, dst + 16);
}

/* ---- Q3_K ---- */

/* Sixteen codes of six bits: low halves in 8 bytes, the two upper bits in 4. */
static void pack_six_q3(const uint8_t *code, uint8_t *out)
{
    memset(out, 0, 12);
    for (int j = 0; j < 16; j++) {
        out[j % 8] |= (uint8_t)((code[j] & 15) << (j < 8 ? 0 : 4));
        out[8 + j % 4] |= (uint8_t)((code[j] >> 4) << 2 * (j / 4));
    }
}

static void block_q3(const float *x, const float *importance, uint8_t *dst)
{
    groups g = {.n = 16, .size = 16};
    uint8_t code[BLOCK];
    const float spread = importance ? 2.0f * square_sum(x, BLOCK) / (float)BLOCK : 0.0f;
    for (int j = 0; j < 16; j++) {
        float weight[16];
        const float *const group = x + 16 * j;
        if (!importance) {
            g.scale[j] = llrti_quant_fit_stepwise(group, 16, 4, code + 16 * j);
            continue;
        }
        g.weight[j] = weigh(group, importance + 16 * j, spread, 16, weight);
        g.scale[j] = llrti_quant_fit_signed(group, weight, 16, 4, code + 16 * j);
    }
    if (!llrti_quant_is_finite(g.scale, 16)) {
        store_nan(dst + 108);
        return;
    }
    if (importance) {
        g.d = llrti_quant_fit_signed(g.scale, g.weight, 16, 32, g.scale_code);
    } else {
        const float peak = llrti_quant_peak(g.scale, 16);
        const float inverse = peak != 0.0f ? -32.0f / peak : 0.0f;
        for (int j = 0; j < 16; j++)
            g.scale_code[j] =
                (uint8_t)(32 + llrti_quant_clamp(llrti_quant_round(inverse * g.scale[j]), -32, 31));
        if (peak == 0.0f) memset(g.scale_code, 0, sizeof g.scale_code);
        g.d = peak != 0.0f ? 1.0f / inverse : 0.0f;
    }
    g.d = store_f16(dst + 108, g.d);
    pack_six_q3(g.scale_code, dst + 96);
    for (int j = 0; j < 16; j++) {
        const float d = g.d * (float)(g.scale_code[j] - 32);
        if (d == 0.0f) continue;
        for (int i = 16 * j; i < 16 * j + 16; i++)
            code[i] = (uint8_t)(4 + llrti_quant_clamp(llrti_quant_round(x[i] / d), -4, 3));
    }
    memset(dst, 0, 32);
    for (int i = 0; i < BLOCK; i++) dst[i % 32] |= (uint8_t)((code[i] >> 2) << i / 32);
    pack_pairs(code, dst + 32);
}

/* ---- Q4_K, Q5_K ---- */

/* Eight scales and eight offsets of six bits in 12 bytes. */
static void pack_six_q4(const uint8_t *scale, const uint8_t *minus, uint8_t *out)
{
    for (int j = 0; j < 4; j++) {
        out[j] = (uint8_t)(scale[j] | (scale[j + 4] >> 4) << 6);
        out[j + 4] = (uint8_t)(minus[j] | (minus[j + 4] >> 4) << 6);
        out[j + 8] = (uint8_t)((scale[j + 4] & 15) | (minus[j + 4] & 15) << 4);
    }
}

/* What both have in common: 8 groups of 32; writes d, dmin and the scales, leaves the codes. */
static void block_q45(const float *x, const float *importance, const llrti_quant_grid *grid,
                      int most, uint8_t *dst, uint8_t *code)
{
    groups g = {.n = 8, .size = 32};
    const float spread = importance ? 2.0f * square_sum(x, BLOCK) / (float)BLOCK : 0.0f;
    for (int j = 0; j < 8; j++) {
        float weight[32];
        const float *const group = x + 32 * j;
        if (importance) {
            g.weight[j] = weigh(group, importance + 32 * j, spread, 32, weight);
        } else {
            const float typical = sqrtf(square_sum(group, 32) / 32.0f);
            for (int i = 0; i < 32; i++) weight[i] = typical + fabsf(group[i]);
        }
        g.scale[j] =
            llrti_quant_fit_offset(group, weight, 32, most, grid, code + 32 * j, &g.minus[j]);
    }
    if (!llrti_quant_is_finite(g.scale, 8)) {
        memset(code, 0, BLOCK);
        store_nan(dst);
        return;
    }
    code_scales(&g, importance != NULL, 63);
    g.d = store_f16(dst, g.d);
    g.dmin = store_f16(dst + 2, g.dmin);
    pack_six_q4(g.scale_code, g.minus_code, dst + 4);
    recode_offset(&g, x, most, code);
}

/* Low four bits: byte 32 p + l holds those of 64 p + l and 64 p + l + 32. */
static void pack_halves(const uint8_t *code, uint8_t *out)
{
    for (int p = 0; p < 4; p++, code += 64, out += 32)
        for (int l = 0; l < 32; l++) out[l] = (uint8_t)((code[l] & 15) | (code[l + 32] & 15) << 4);
}

static void block_q4(const float *x, const float *importance, uint8_t *dst)
{
    uint8_t code[BLOCK];
    block_q45(x, importance, importance ? &grid_weighted : &grid_q4, 15, dst, code);
    pack_halves(code, dst + 16);
}

static void block_q5(const float *x, const float *importance, uint8_t *dst)
{
    uint8_t code[BLOCK];
    block_q45(x, importance, importance ? &grid_weighted : &grid_q5, 31, dst, code);
    memset(dst + 16, 0, 32);
    for (int i = 0; i < BLOCK; i++) dst[16 + i % 32] |= (uint8_t)((code[i] >> 4) << i / 32);
    pack_halves(code, dst + 48);
}

/* ---- Q6_K ---- */

static void pack_q6(const uint8_t *code, uint8_t *dst)
{
    uint8_t *low = dst, *high = dst + 128;
    for (int half = 0; half < 2; half++, code += 128, low += 64, high += 32) {
        for (int l = 0; l < 32; l++) {
            low[l] = (uint8_t)((code[l] & 15) | (code[l + 64] & 15) << 4);
            low[l + 32] = (uint8_t)((code[l + 32] & 15) | (code[l + 96] & 15) << 4);
            high[l] = (uint8_t)(code[l] >> 4 | (code[l + 32] >> 4) << 2 | (code[l + 64] >> 4) << 4 |
                                (code[l + 96] >> 4) << 6);
        }
    }
}

static void block_q6(const float *x, const float *importance, uint8_t *dst)
{
    float scale[16];
    uint8_t code[BLOCK];
    for (int j = 0; j < 16; j++)
        scale[j] = llrti_quant_fit_signed(x + 16 * j, importance ? importance + 16 * j : NULL, 16,
                                          32, code + 16 * j);
    if (!llrti_quant_is_finite(scale, 16)) {
        store_nan(dst + 208);
        return;
    }
    const float peak = llrti_quant_peak(scale, 16);
    if (fabsf(peak) < LLRTI_QUANT_ZERO) {
        memset(dst, 0, 210);
        return;
    }
    const float inverse = -128.0f / peak;
    const float d = store_f16(dst + 208, 1.0f / inverse);
    for (int j = 0; j < 16; j++) {
        const int s = llrti_quant_clamp(llrti_quant_round(inverse * scale[j]), -128, 127);
        const float step = d * (float)s;
        dst[192 + j] = (uint8_t)(int8_t)s;
        if (step == 0.0f) continue;
        for (int i = 16 * j; i < 16 * j + 16; i++)
            code[i] = (uint8_t)(32 + llrti_quant_clamp(llrti_quant_round(x[i] / step), -32, 31));
    }
    pack_q6(code, dst);
}

/* ---- rows ---- */

static void each_block(void (*block)(const float *, const float *, uint8_t *), size_t n_byte,
                       const float *x, const float *weight, size_t n, uint8_t *dst)
{
    assert(n % BLOCK == 0);
    for (size_t i = 0; i < n; i += BLOCK, dst += n_byte)
        block(x + i, weight ? weight + i : NULL, dst);
}

void llrti_quant_k_q2(const float *x, const float *weight, size_t n, uint8_t *dst)
{
    each_block(block_q2, 84, x, weight, n, dst);
}

void llrti_quant_k_q3(const float *x, const float *weight, size_t n, uint8_t *dst)
{
    each_block(block_q3, 110, x, weight, n, dst);
}

void llrti_quant_k_q4(const float *x, const float *weight, size_t n, uint8_t *dst)
{
    each_block(block_q4, 144, x, weight, n, dst);
}

void llrti_quant_k_q5(const float *x, const float *weight, size_t n, uint8_t *dst)
{
    each_block(block_q5, 176, x, weight, n, dst);
}

void llrti_quant_k_q6(const float *x, const float *weight, size_t n, uint8_t *dst)
{
    each_block(block_q6, 210, x, weight, n, dst);
}
