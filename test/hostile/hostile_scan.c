/* SPDX-License-Identifier: MIT */
/*
 * The recurrent operators of the hostile test backend: short convolution, gated delta rule, state-
 * space scan.
 *
 * Each walks the rows of a sequence in order with the state in the sequence's slot state_out, which
 * begins as a copy of state_in or zeros, and copies it out wherever the step asks for the state at
 * the end of a page. hostile_step.c has checked the slots. Runs on the runtime's own thread with
 * all regions open.
 */
#include "hostile.h"

#include <math.h>
#include <string.h>

static float *begin_state(const hostile_run *x, const llrt_step_seq *q, uint32_t state)
{
    float *const s = hostile_state_of(x->r, q->state_out, state);
    const size_t size = x->m->state[state].n_float * sizeof *s;
    if (q->state_in == LLRT_NONE)
        memset(s, 0, size);
    else
        memcpy(s, hostile_state_of(x->r, q->state_in, state), size);
    return s;
}

/* After row i of the sequence. */
static void keep_state(const hostile_run *x, const llrt_step_seq *q, uint32_t state, uint32_t i)
{
    const uint32_t next = (uint32_t)q->pos_begin + i + 1;
    if (!q->state_at || next % LLRT_PAGE_TOK) return;
    const uint32_t slot = q->state_at[next / LLRT_PAGE_TOK - 1];
    if (slot == LLRT_NONE || slot == q->state_out) return;
    memcpy(hostile_state_of(x->r, slot, state), hostile_state_of(x->r, q->state_out, state),
           x->m->state[state].n_float * sizeof(float));
}

/* state: (K - 1, channels), oldest row first; moves on by one row. */
static void convolve(const hostile_run *x, const llrt_op *op, float *state, const float *in,
                     float *out)
{
    const size_t n = hostile_width(&x->p->value[op->out]);
    const size_t n_tap = (size_t)x->m->tensor[op->weight[0]].desc.dim[0];
    float *const w = hostile_temporary(x->r, 0), *const bias = hostile_temporary(x->r, 1);
    if (op->weight[1] != LLRT_NONE) hostile_tensor_row(x->m, op->weight[1], 0, bias);
    for (size_t c = 0; c < n; c++) {
        hostile_tensor_row(x->m, op->weight[0], c, w);
        float sum = op->weight[1] != LLRT_NONE ? bias[c] : 0.0f;
        for (size_t j = 0; j + 1 < n_tap; j++) sum = fmaf(w[j], state[j * n + c], sum);
        out[c] = fmaf(w[n_tap - 1], in[c], sum);
    }
    if (n_tap < 2) return;
    memmove(state, state + n, (n_tap - 2) * n * sizeof *state);
    memcpy(state + (n_tap - 2) * n, in, n * sizeof *state);
}

static float decay_of(const hostile_run *x, const llrt_op *op, size_t head)
{
    float *const w = hostile_temporary(x->r, 0);
    hostile_tensor_row(x->m, op->weight[0], 0, w);
    return op->u.scan.is_log_a ? -hostile_exp(w[head]) : w[head];
}

static float number_of(const hostile_run *x, uint32_t tensor, size_t i)
{
    float *const w = hostile_temporary(x->r, 0);
    hostile_tensor_row(x->m, tensor, 0, w);
    return w[i];
}

/* One token, all heads; row: index of the token in the step. */
static void apply_delta(const hostile_run *x, const llrt_op *op, float *state, size_t row)
{
    const llrt_value *const qv = &x->p->value[op->in[0]], *const vv = &x->p->value[op->in[2]];
    const size_t n_k = qv->n_head, n_v = vv->n_head, k_dim = qv->width, v_dim = vv->width;
    const float *const a = hostile_row(x, op->in[3], row);
    const float *const beta = hostile_row(x, op->in[4], row);
    for (size_t h = 0; h < n_v; h++, state += k_dim * v_dim) {
        const size_t of = op->u.scan.is_tiled ? h % n_k : h / (n_v / n_k);
        const float *const q = hostile_row(x, op->in[0], row) + of * k_dim;
        const float *const k = hostile_row(x, op->in[1], row) + of * k_dim;
        const float *const v = hostile_row(x, op->in[2], row) + h * v_dim;
        float *const out = hostile_row(x, op->out, row) + h * v_dim;
        const float t = hostile_softplus(a[h] + number_of(x, op->weight[1], h));
        const float g = hostile_exp(decay_of(x, op, h) * t);
        for (size_t i = 0; i < k_dim * v_dim; i++) state[i] *= g;
        for (size_t e = 0; e < v_dim; e++) {
            float known = 0, sum = 0;
            for (size_t d = 0; d < k_dim; d++) known = fmaf(k[d], state[d * v_dim + e], known);
            const float delta = (v[e] - known) * beta[h];
            for (size_t d = 0; d < k_dim; d++) {
                float *const s = &state[d * v_dim + e];
                *s = fmaf(k[d], delta, *s);
                sum = fmaf(q[d], *s, sum);
            }
            out[e] = sum;
        }
    }
}

static void apply_scan(const hostile_run *x, const llrt_op *op, float *state, size_t row)
{
    const llrt_value *const xv = &x->p->value[op->in[0]], *const bv = &x->p->value[op->in[2]];
    const size_t width = xv->width, d_state = bv->width;
    for (size_t h = 0; h < xv->n_head; h++, state += d_state * width) {
        const size_t group = h / (xv->n_head / bv->n_head);
        const float *const in = hostile_row(x, op->in[0], row) + h * width;
        const float *const b = hostile_row(x, op->in[2], row) + group * d_state;
        const float *const c = hostile_row(x, op->in[3], row) + group * d_state;
        float *const out = hostile_row(x, op->out, row) + h * width;
        const float skip = number_of(x, op->weight[1], h);
        float t =
            hostile_softplus(hostile_row(x, op->in[1], row)[h] + number_of(x, op->weight[2], h));
        if (t < op->u.scan.dt_min) t = op->u.scan.dt_min;
        if (t > op->u.scan.dt_max) t = op->u.scan.dt_max;
        const float decay = hostile_exp(t * decay_of(x, op, h));
        for (size_t p = 0; p < width; p++) {
            const float step = t * in[p];
            float sum = 0;
            for (size_t n = 0; n < d_state; n++) {
                float *const s = &state[n * width + p];
                const float kept = *s * decay;
                *s = fmaf(b[n], step, kept);
                sum = fmaf(c[n], *s, sum);
            }
            out[p] = fmaf(skip, in[p], sum);
        }
    }
}

llrt_status hostile_scan_run(const hostile_run *x, const llrt_op *op)
{
    const bool is_conv = op->kind == LLRT_OP_SHORT_CONV;
    const uint32_t state = is_conv ? op->u.conv.state : op->u.scan.state;
    for (uint32_t i = 0; i < x->s->n_seq; i++) {
        const llrt_step_seq *const q = &x->s->seq[i];
        float *const s = begin_state(x, q, state);
        for (uint32_t j = 0; j < q->n_row; j++) {
            const size_t row = q->row_begin + j;
            if (hostile_is_cancelled(x)) return LLRT_ERR_CANCELLED;
            if (is_conv)
                convolve(x, op, s, hostile_row(x, op->in[0], row), hostile_row(x, op->out, row));
            else if (op->kind == LLRT_OP_GATED_DELTA)
                apply_delta(x, op, s, row);
            else
                apply_scan(x, op, s, row);
            keep_state(x, q, state, j);
        }
    }
    return LLRT_OK;
}
