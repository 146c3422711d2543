/* SPDX-License-Identifier: MIT */
/*
 * The recurrent operators in 16 lanes; columns and channels beyond a multiple of 16 one by one, by the same operations.
 *
 * A block of columns goes through all tokens before the next block starts, so its part of the state stays in the cache.
 * Each column's sum over the state's rows is one chain of fused multiply-adds; GROUPS chains run side by side to hide
 * their latency, as many as leave the registers room. The delta rule reads the state twice per token: the decayed
 * value is computed anew the second time rather than stored, which gives the same bits.
 * A file for one ISA includes its simd_<isa>.h and this.
 */
#include <assert.h>

#include "ops.h"
#include "simd_math.h"
#include "tile.h"

#if defined(__AVX512F__)
enum { GROUPS = 4 };
#else
enum { GROUPS = 2 };
#endif

static inline v16 v_rate(v16 w, bool is_log)
{
    return is_log ? v_negate(v_exp(w)) : w;
}

void KERNEL(delta_decay_f32)(size_t n_head, const float *x, const float *w, const float *bias,
                             bool is_log, float *decay)
{
    size_t h = 0;
    for (; h + 16 <= n_head; h += 16) {
        const v16 t = v_softplus(v_add(v_load(x + h), v_load(bias + h)));
        v_store(decay + h, v_exp(v_mul(v_rate(v_load(w + h), is_log), t)));
    }
    for (; h < n_head; h++) {
        const float a = is_log ? -llrti_math_exp(w[h]) : w[h];
        decay[h] = llrti_math_exp(a * llrti_math_softplus(x[h] + bias[h]));
    }
}

void KERNEL(scan_decay_f32)(size_t n_head, const llrti_scan_step *step)
{
    const v16 low = v_set(step->t_min), high = v_set(step->t_max);
    size_t h = 0;
    for (; h + 16 <= n_head; h += 16) {
        v16 t = v_softplus(v_add(v_load(step->x + h), v_load(step->bias + h)));
        t = v_select(v_less(t, low), low, t);
        t = v_select(v_less(high, t), high, t);
        v_store(step->t + h, t);
        v_store(step->decay + h, v_exp(v_mul(t, v_rate(v_load(step->w + h), step->is_log))));
    }
    for (; h < n_head; h++) {
        const float a = step->is_log ? -llrti_math_exp(step->w[h]) : step->w[h];
        float t = llrti_math_softplus(step->x[h] + step->bias[h]);
        t = t < step->t_min ? step->t_min : t;
        t = t > step->t_max ? step->t_max : t;
        step->t[h] = t;
        step->decay[h] = llrti_math_exp(t * a);
    }
}

/* Token i of what came before and x, counted from the first row of history. */
static inline const float *earlier(const llrti_conv_args *a, size_t i)
{
    const size_t n = a->n_tap - 1;
    return i < n ? a->history + i * a->history_stride : a->x + (i - n) * a->x_stride;
}

void KERNEL(conv_f32)(const llrti_conv_args *a)
{
    assert(a->n_tap >= 1);
    for (size_t t = 0; t < a->n_tok; t++) {
        float *const out = a->out + t * a->out_stride;
        size_t c = 0;
        for (; c + 16 <= a->n_channel; c += 16) {
            v16 sum = a->bias ? v_load(a->bias + c) : v_set(0.0f);
            for (size_t j = 0; j < a->n_tap; j++)
                sum = v_fma(v_load(a->w + j * a->w_stride + c), v_load(earlier(a, t + j) + c), sum);
            v_store(out + c, sum);
        }
        for (; c < a->n_channel; c++) {
            float sum = a->bias ? a->bias[c] : 0.0f;
            for (size_t j = 0; j < a->n_tap; j++)
                sum = fmaf(a->w[j * a->w_stride + c], earlier(a, t + j)[c], sum);
            out[c] = sum;
        }
    }
}

static LLRTK_INLINE void delta_block(const llrti_scan_args *a, size_t column, const int groups)
{
    float *const state = a->state + column;
    const size_t stride = a->state_stride;
    for (size_t t = 0; t < a->n_tok; t++) {
        const float *const q = a->q + t * a->qk_stride, *const k = a->k + t * a->qk_stride;
        const float *const x = a->x + t * a->x_stride + column;
        const float *const in = t ? state : a->in + column;
        float *const out = a->out + t * a->out_stride + column;
        const v16 decay = v_set(a->decay[t * a->decay_stride]);
        const v16 beta = v_set(a->gate[t * a->gate_stride]);
        v16 sum[GROUPS], delta[GROUPS];
        LLRTK_UNROLL
        for (int g = 0; g < groups; g++) sum[g] = v_set(0.0f);
        for (size_t i = 0; i < a->n_row; i++) {
            const v16 ki = v_set(k[i]);
            LLRTK_UNROLL
            for (int g = 0; g < groups; g++)
                sum[g] = v_fma(ki, v_mul(v_load(in + i * stride + 16 * g), decay), sum[g]);
        }
        LLRTK_UNROLL
        for (int g = 0; g < groups; g++) {
            delta[g] = v_mul(v_sub(v_load(x + 16 * g), sum[g]), beta);
            sum[g] = v_set(0.0f);
        }
        for (size_t i = 0; i < a->n_row; i++) {
            const v16 ki = v_set(k[i]), qi = v_set(q[i]);
            LLRTK_UNROLL
            for (int g = 0; g < groups; g++) {
                const v16 s = v_fma(ki, delta[g], v_mul(v_load(in + i * stride + 16 * g), decay));
                v_store(state + i * stride + 16 * g, s);
                sum[g] = v_fma(qi, s, sum[g]);
            }
        }
        LLRTK_UNROLL
        for (int g = 0; g < groups; g++) v_store(out + 16 * g, sum[g]);
    }
}

static void delta_column(const llrti_scan_args *a, size_t e)
{
    const size_t stride = a->state_stride;
    for (size_t t = 0; t < a->n_tok; t++) {
        const float *const q = a->q + t * a->qk_stride, *const k = a->k + t * a->qk_stride;
        const float *const in = t ? a->state : a->in;
        const float decay = a->decay[t * a->decay_stride];
        float kv = 0.0f, sum = 0.0f;
        for (size_t i = 0; i < a->n_row; i++) kv = fmaf(k[i], in[i * stride + e] * decay, kv);
        const float delta = (a->x[t * a->x_stride + e] - kv) * a->gate[t * a->gate_stride];
        for (size_t i = 0; i < a->n_row; i++) {
            const float s = fmaf(k[i], delta, in[i * stride + e] * decay);
            a->state[i * stride + e] = s;
            sum = fmaf(q[i], s, sum);
        }
        a->out[t * a->out_stride + e] = sum;
    }
}

void KERNEL(delta_f32)(const llrti_scan_args *a)
{
    size_t e = 0;
    for (; e + 16 * GROUPS <= a->n_col; e += 16 * GROUPS) delta_block(a, e, GROUPS);
    for (; e + 16 <= a->n_col; e += 16) delta_block(a, e, 1);
    for (; e < a->n_col; e++) delta_column(a, e);
}

static LLRTK_INLINE void scan_block(const llrti_scan_args *a, size_t column, const int groups)
{
    float *const state = a->state + column;
    const size_t stride = a->state_stride;
    for (size_t t = 0; t < a->n_tok; t++) {
        const float *const q = a->q + t * a->qk_stride, *const k = a->k + t * a->qk_stride;
        const float *const x = a->x + t * a->x_stride + column;
        const float *const in = t ? state : a->in + column;
        float *const out = a->out + t * a->out_stride + column;
        const v16 decay = v_set(a->decay[t * a->decay_stride]);
        const v16 step = v_set(a->gate[t * a->gate_stride]);
        v16 sum[GROUPS], tx[GROUPS];
        LLRTK_UNROLL
        for (int g = 0; g < groups; g++) {
            tx[g] = v_mul(step, v_load(x + 16 * g));
            sum[g] = v_set(0.0f);
        }
        for (size_t i = 0; i < a->n_row; i++) {
            const v16 ki = v_set(k[i]), qi = v_set(q[i]);
            LLRTK_UNROLL
            for (int g = 0; g < groups; g++) {
                const v16 s = v_fma(ki, tx[g], v_mul(v_load(in + i * stride + 16 * g), decay));
                v_store(state + i * stride + 16 * g, s);
                sum[g] = v_fma(qi, s, sum[g]);
            }
        }
        LLRTK_UNROLL
        for (int g = 0; g < groups; g++)
            v_store(out + 16 * g, v_fma(v_set(a->d), v_load(x + 16 * g), sum[g]));
    }
}

static void scan_column(const llrti_scan_args *a, size_t e)
{
    const size_t stride = a->state_stride;
    for (size_t t = 0; t < a->n_tok; t++) {
        const float *const q = a->q + t * a->qk_stride, *const k = a->k + t * a->qk_stride;
        const float *const in = t ? a->state : a->in;
        const float x = a->x[t * a->x_stride + e], decay = a->decay[t * a->decay_stride];
        const float tx = a->gate[t * a->gate_stride] * x;
        float sum = 0.0f;
        for (size_t i = 0; i < a->n_row; i++) {
            const float s = fmaf(k[i], tx, in[i * stride + e] * decay);
            a->state[i * stride + e] = s;
            sum = fmaf(q[i], s, sum);
        }
        a->out[t * a->out_stride + e] = fmaf(a->d, x, sum);
    }
}

void KERNEL(scan_f32)(const llrti_scan_args *a)
{
    size_t e = 0;
    for (; e + 16 * GROUPS <= a->n_col; e += 16 * GROUPS) scan_block(a, e, GROUPS);
    for (; e + 16 <= a->n_col; e += 16) scan_block(a, e, 1);
    for (; e < a->n_col; e++) scan_column(a, e);
}
