/* SPDX-License-Identifier: MIT */
/*
 * Reference kernels of the recurrent operators, token after token.
 */
#include <assert.h>

#include "cpu_math.h"
#include "ops.h"

void llrtk_delta_decay_f32_ref(size_t n_head, const float *x, const float *w, const float *bias,
                               bool is_log, float *decay)
{
    for (size_t h = 0; h < n_head; h++) {
        const float a = is_log ? -llrti_math_exp(w[h]) : w[h];
        decay[h] = llrti_math_exp(a * llrti_math_softplus(x[h] + bias[h]));
    }
}

void llrtk_scan_decay_f32_ref(size_t n_head, const llrti_scan_step *step)
{
    for (size_t h = 0; h < n_head; h++) {
        const float a = step->is_log ? -llrti_math_exp(step->w[h]) : step->w[h];
        float t = llrti_math_softplus(step->x[h] + step->bias[h]);
        t = t < step->t_min ? step->t_min : t;
        t = t > step->t_max ? step->t_max : t;
        step->t[h] = t;
        step->decay[h] = llrti_math_exp(t * a);
    }
}

/* Channel c of token i of what came before and x, counted from the first row of history. */
static float earlier(const llrti_conv_args *a, size_t i, size_t c)
{
    const size_t n = a->n_tap - 1;
    return i < n ? a->history[i * a->history_stride + c] : a->x[(i - n) * a->x_stride + c];
}

void llrtk_conv_f32_ref(const llrti_conv_args *a)
{
    assert(a->n_tap >= 1);
    for (size_t t = 0; t < a->n_tok; t++)
        for (size_t c = 0; c < a->n_channel; c++) {
            float sum = a->bias ? a->bias[c] : 0.0f;
            for (size_t j = 0; j < a->n_tap; j++)
                sum = fmaf(a->w[j * a->w_stride + c], earlier(a, t + j, c), sum);
            a->out[t * a->out_stride + c] = sum;
        }
}

void llrtk_delta_f32_ref(const llrti_scan_args *a)
{
    for (size_t t = 0; t < a->n_tok; t++) {
        const float *const q = a->q + t * a->qk_stride, *const k = a->k + t * a->qk_stride;
        const float *const in = t ? a->state : a->in;
        const float decay = a->decay[t * a->decay_stride], beta = a->gate[t * a->gate_stride];
        for (size_t e = 0; e < a->n_col; e++) {
            float kv = 0.0f, sum = 0.0f;
            for (size_t i = 0; i < a->n_row; i++) {
                const float s = in[i * a->state_stride + e] * decay;
                a->state[i * a->state_stride + e] = s;
                kv = fmaf(k[i], s, kv);
            }
            const float delta = (a->x[t * a->x_stride + e] - kv) * beta;
            for (size_t i = 0; i < a->n_row; i++) {
                float *const s = &a->state[i * a->state_stride + e];
                *s = fmaf(k[i], delta, *s);
                sum = fmaf(q[i], *s, sum);
            }
            a->out[t * a->out_stride + e] = sum;
        }
    }
}

void llrtk_scan_f32_ref(const llrti_scan_args *a)
{
    for (size_t t = 0; t < a->n_tok; t++) {
        const float *const q = a->q + t * a->qk_stride, *const k = a->k + t * a->qk_stride;
        const float *const in = t ? a->state : a->in;
        const float decay = a->decay[t * a->decay_stride], step = a->gate[t * a->gate_stride];
        for (size_t e = 0; e < a->n_col; e++) {
            const float x = a->x[t * a->x_stride + e], tx = step * x;
            float sum = 0.0f;
            for (size_t i = 0; i < a->n_row; i++) {
                const float s = fmaf(k[i], tx, in[i * a->state_stride + e] * decay);
                a->state[i * a->state_stride + e] = s;
                sum = fmaf(q[i], s, sum);
            }
            a->out[t * a->out_stride + e] = fmaf(a->d, x, sum);
        }
    }
}
