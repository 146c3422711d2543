/* SPDX-License-Identifier: MIT */
/*
 * The searches; see quant_search.h. Sums run in ascending order with every product and sum rounded
 * by itself (contraction is off for the whole library), which makes the codes the same on every
 * platform.
 */
#include "quant_search.h"

#include <math.h>
#include <string.h>

bool llrti_quant_is_finite(const float *scale, int n)
{
    for (int i = 0; i < n; i++)
        if (!isfinite(scale[i])) return false;
    return true;
}

float llrti_quant_peak(const float *x, int n)
{
    float peak = 0.0f, magnitude = 0.0f;
    for (int i = 0; i < n; i++) {
        if (fabsf(x[i]) > magnitude) {
            magnitude = fabsf(x[i]);
            peak = x[i];
        }
    }
    return peak;
}

/* Sums that give the best scale for fixed codes: xl / ll, with error x.x - xl * xl / ll. */
typedef struct fit {
    float xl, ll;
} fit;

static fit fit_of_signed(const float *x, const float *weight, int n, int half, float inverse)
{
    fit f = {0.0f, 0.0f};
    for (int i = 0; i < n; i++) {
        const float l =
            (float)llrti_quant_clamp(llrti_quant_round(inverse * x[i]), -half, half - 1);
        f.xl += weight[i] * x[i] * l;
        f.ll += weight[i] * l * l;
    }
    return f;
}

static void squares(const float *x, int n, float *out)
{
    for (int i = 0; i < n; i++) out[i] = x[i] * x[i];
}

float llrti_quant_fit_signed(const float *x, const float *weight, int n, int half, uint8_t *code)
{
    float own_weight[LLRTI_QUANT_GROUP];
    const float peak = llrti_quant_peak(x, n);
    if (fabsf(peak) < LLRTI_QUANT_ZERO) {
        memset(code, 0, (size_t)n);
        return 0.0f;
    }
    if (!weight) {
        squares(x, n, own_weight);
        weight = own_weight;
    }
    float inverse = (float)-half / peak;
    fit f = fit_of_signed(x, weight, n, half, inverse);
    float scale = f.ll != 0.0f ? f.xl / f.ll : 0.0f;
    float best = scale * f.xl;
    /* The peak at nine steps of a tenth below and above -half. */
    for (int step = -9; step <= 9; step++) {
        if (step == 0) continue;
        const float candidate = -((float)half + 0.1f * (float)step) / peak;
        f = fit_of_signed(x, weight, n, half, candidate);
        if (f.ll > 0.0f && f.xl * f.xl > best * f.ll) {
            inverse = candidate;
            scale = f.xl / f.ll;
            best = scale * f.xl;
        }
    }
    for (int i = 0; i < n; i++)
        code[i] =
            (uint8_t)(half + llrti_quant_clamp(llrti_quant_round(inverse * x[i]), -half, half - 1));
    return scale;
}

/* One round over all codes: each is moved where the others would have it if that helps. */
static bool improve_signed(const float *x, int n, int half, int *level, fit *sum)
{
    bool is_changed = false;
    for (int i = 0; i < n; i++) {
        const float weight = x[i] * x[i], old = (float)level[i];
        fit f = {sum->xl - weight * x[i] * old, 0.0f};
        if (!(f.xl > 0.0f)) continue;
        f.ll = sum->ll - weight * old * old;
        const int moved = llrti_quant_clamp(llrti_quant_round(x[i] * f.ll / f.xl), -half, half - 1);
        if (moved == level[i]) continue;
        f.xl += weight * x[i] * (float)moved;
        f.ll += weight * (float)moved * (float)moved;
        if (f.ll > 0.0f && f.xl * f.xl * sum->ll > sum->xl * sum->xl * f.ll) {
            level[i] = moved;
            *sum = f;
            is_changed = true;
        }
    }
    return is_changed;
}

float llrti_quant_fit_stepwise(const float *x, int n, int half, uint8_t *code)
{
    int level[LLRTI_QUANT_GROUP];
    const float peak = llrti_quant_peak(x, n);
    if (fabsf(peak) < LLRTI_QUANT_ZERO) {
        memset(code, 0, (size_t)n);
        return 0.0f;
    }
    const float inverse = (float)-half / peak;
    fit sum = {0.0f, 0.0f};
    for (int i = 0; i < n; i++) {
        level[i] = llrti_quant_clamp(llrti_quant_round(inverse * x[i]), -half, half - 1);
        const float weight = x[i] * x[i], l = (float)level[i];
        sum.xl += weight * x[i] * l;
        sum.ll += weight * l * l;
    }
    for (int round = 0; round < 5 && improve_signed(x, n, half, level, &sum); round++) {}
    for (int i = 0; i < n; i++) code[i] = (uint8_t)(level[i] + half);
    return sum.ll > 0.0f ? sum.xl / sum.ll : 0.0f;
}

/* ---- with an offset ---- */

typedef struct range {
    float least, most, sum_w, sum_wx;
} range;

static range range_of(const float *x, const float *weight, int n)
{
    range r = {x[0], x[0], weight[0], weight[0] * x[0]};
    for (int i = 1; i < n; i++) {
        if (x[i] < r.least) r.least = x[i];
        if (x[i] > r.most) r.most = x[i];
        r.sum_w += weight[i];
        r.sum_wx += weight[i] * x[i];
    }
    if (r.least > 0.0f) r.least = 0.0f;
    return r;
}

static float offset_error(const float *x, const float *weight, int n, const uint8_t *code,
                          float scale, float offset, bool is_absolute)
{
    float sum = 0.0f;
    for (int i = 0; i < n; i++) {
        const float error = scale * (float)code[i] + offset - x[i];
        sum += weight[i] * (is_absolute ? fabsf(error) : error * error);
    }
    return sum;
}

static void offset_codes(const float *x, int n, int most, float inverse, float least, uint8_t *code)
{
    for (int i = 0; i < n; i++)
        code[i] = (uint8_t)llrti_quant_clamp(llrti_quant_round(inverse * (x[i] - least)), 0, most);
}

/* The least-squares line through (code, x); its offset is kept from being positive. */
static bool fit_line(const float *x, const float *weight, int n, const uint8_t *code,
                     const range *r, float *scale, float *offset)
{
    float sum_l = 0.0f, sum_ll = 0.0f, sum_xl = 0.0f;
    for (int i = 0; i < n; i++) {
        const float l = (float)code[i], wl = weight[i] * l;
        sum_l += wl;
        sum_ll += wl * l;
        sum_xl += wl * x[i];
    }
    const float determinant = r->sum_w * sum_ll - sum_l * sum_l;
    if (!(determinant > 0.0f)) return false;
    *scale = (r->sum_w * sum_xl - r->sum_wx * sum_l) / determinant;
    *offset = (sum_ll * r->sum_wx - sum_l * sum_xl) / determinant;
    if (*offset > 0.0f) {
        *offset = 0.0f;
        *scale = sum_xl / sum_ll;
    }
    return true;
}

float llrti_quant_fit_offset(const float *x, const float *weight, int n, int most,
                             const llrti_quant_grid *grid, uint8_t *code, float *minus)
{
    const range r = range_of(x, weight, n);
    if (r.most <= r.least) {
        memset(code, 0, (size_t)n);
        *minus = -r.least;
        return 0.0f;
    }
    uint8_t candidate[LLRTI_QUANT_GROUP];
    const float first_inverse = (float)most / (r.most - r.least);
    float offset = r.least, scale = 1.0f / first_inverse;
    offset_codes(x, n, most, first_inverse, offset, code);
    float best = offset_error(x, weight, n, code, scale, offset, grid->is_absolute);
    for (int step = 0; step <= grid->n; step++) {
        const float inverse =
            (grid->first + grid->step * (float)step + (float)most) / (r.most - offset);
        float new_scale, new_offset;
        offset_codes(x, n, most, inverse, offset, candidate);
        if (!fit_line(x, weight, n, candidate, &r, &new_scale, &new_offset)) continue;
        const float error =
            offset_error(x, weight, n, candidate, new_scale, new_offset, grid->is_absolute);
        if (error < best) {
            memcpy(code, candidate, (size_t)n);
            best = error;
            scale = new_scale;
            offset = new_offset;
        }
    }
    *minus = -offset;
    return scale;
}

/* ---- scales and offsets of groups ---- */

static float positive_error(const float *x, const float *weight, int n, int most, float inverse)
{
    const float scale = 1.0f / inverse;
    float sum = 0.0f;
    for (int i = 0; i < n; i++) {
        const int l = llrti_quant_clamp(llrti_quant_round(inverse * x[i]), 0, most);
        const float error = x[i] - scale * (float)l;
        sum += weight[i] * error * error;
    }
    return sum;
}

static bool improve_positive(const float *x, const float *weight, int n, int most, uint8_t *code,
                             fit *sum)
{
    bool is_changed = false;
    for (int i = 0; i < n; i++) {
        const float old = (float)code[i];
        fit f = {sum->xl - weight[i] * x[i] * old, sum->ll - weight[i] * old * old};
        if (!(f.xl > 0.0f) || !(f.ll > 0.0f)) continue;
        const int moved = llrti_quant_clamp(llrti_quant_round(x[i] * f.ll / f.xl), 0, most);
        if (moved == code[i]) continue;
        f.xl += weight[i] * x[i] * (float)moved;
        f.ll += weight[i] * (float)moved * (float)moved;
        if (f.xl * f.xl * sum->ll > sum->xl * sum->xl * f.ll) {
            code[i] = (uint8_t)moved;
            *sum = f;
            is_changed = true;
        }
    }
    return is_changed;
}

float llrti_quant_fit_positive(const float *x, const float *weight, int n, int most, uint8_t *code)
{
    float peak = 0.0f;
    for (int i = 0; i < n; i++)
        if (x[i] > peak) peak = x[i];
    if (peak < LLRTI_QUANT_ZERO) {
        memset(code, 0, (size_t)n);
        return 0.0f;
    }
    float inverse = (float)most / peak;
    float best = positive_error(x, weight, n, most, inverse);
    for (int step = -4; step <= 4; step++) {
        if (step == 0) continue;
        const float candidate = (0.1f * (float)step + (float)most) / peak;
        const float error = positive_error(x, weight, n, most, candidate);
        if (error < best) {
            best = error;
            inverse = candidate;
        }
    }
    fit sum = {0.0f, 0.0f};
    for (int i = 0; i < n; i++) {
        code[i] = (uint8_t)llrti_quant_clamp(llrti_quant_round(inverse * x[i]), 0, most);
        const float l = (float)code[i];
        sum.xl += weight[i] * x[i] * l;
        sum.ll += weight[i] * l * l;
    }
    for (int round = 0; round < 5 && improve_positive(x, weight, n, most, code, &sum); round++) {}
    return sum.ll > 0.0f ? sum.xl / sum.ll : 0.0f;
}

int llrti_quant_nearest(const int8_t value[16], float x)
{
    if (x <= (float)value[0]) return 0;
    if (x >= (float)value[15]) return 15;
    int low = 0, high = 15;
    while (high - low > 1) {
        const int middle = (low + high) / 2;
        if (x < (float)value[middle])
            high = middle;
        else
            low = middle;
    }
    return x - (float)value[low] < (float)value[high] - x ? low : high;
}
