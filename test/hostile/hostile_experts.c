/* SPDX-License-Identifier: MIT */
/*
 * Mixture of experts on the hostile test backend: scores, choice, weights, and the chosen
 * experts' layers, one row after the other.
 *
 * Every step is written down in the order that defines its result: sums over experts ascend, sums
 * over the chosen go in the order of the choice, which is also the order in which their outputs are
 * added. Runs on the runtime's own thread with all regions open.
 */
#include "hostile.h"

#include <math.h>
#include <string.h>

/* Rows of temporary memory. */
enum { ROW_WEIGHT, ROW_BIAS, ROW_SCORE, ROW_CHOICE, ROW_HIDDEN, ROW_UP, ROW_OUT, ROW_GROUP };

#define USED_MAX 64

typedef struct choice {
    uint32_t n, expert[USED_MAX];
    float weight[USED_MAX];
} choice;

/* A weight or bias of an expert layer; LLRT_NONE where the operator has none. */
enum { GATE, UP, DOWN, GATE_BIAS, UP_BIAS, DOWN_BIAS, CHOICE_BIAS };

static void compute_scores(const llrt_op *op, const float *logit, float *score, uint32_t n)
{
    float max = -INFINITY, sum = 0;
    switch (op->u.experts.router) {
    case LLRT_ROUTER_SIGMOID:
        for (uint32_t i = 0; i < n; i++) score[i] = hostile_sigmoid(logit[i]);
        return;
    case LLRT_ROUTER_SOFTMAX_CHOSEN:
        memcpy(score, logit, n * sizeof *score);
        return;
    default:
        for (uint32_t i = 0; i < n; i++)
            if (logit[i] > max) max = logit[i];
        for (uint32_t i = 0; i < n; i++) score[i] = hostile_exp(logit[i] - max);
        for (uint32_t i = 0; i < n; i++) sum += score[i];
        for (uint32_t i = 0; i < n; i++) score[i] /= sum;
        return;
    }
}

/*
 * Index of the largest of n numbers that is not taken, the lower one of equals. Taking it is done
 * by the caller, who sets is_taken.
 */
static uint32_t find_largest(const float *x, uint32_t n, const bool *is_taken)
{
    uint32_t best = LLRT_NONE;
    for (uint32_t i = 0; i < n; i++)
        if (!is_taken[i] && (best == LLRT_NONE || x[i] > x[best])) best = i;
    return best;
}

/*
 * Marks as taken all experts whose group is not among the best. `group` is room for n_group
 * numbers.
 */
static void drop_groups(const llrt_op *op, const float *by, uint32_t n, float *group,
                        bool *is_taken)
{
    const uint32_t n_group = op->u.experts.n_group, size = n / n_group;
    bool *const is_kept = is_taken + n;
    for (uint32_t g = 0; g < n_group; g++) {
        float first = -INFINITY, second = -INFINITY;
        for (uint32_t i = g * size; i < (g + 1) * size; i++) {
            if (by[i] > first) {
                second = first;
                first = by[i];
            } else if (by[i] > second) {
                second = by[i];
            }
        }
        const float sum = first + second;
        group[g] = !op->u.experts.is_group_sum ? first : sum != sum ? -INFINITY : sum;
        is_kept[g] = false;
    }
    for (uint32_t k = 0; k < op->u.experts.n_group_used; k++)
        is_kept[find_largest(group, n_group, is_kept)] = true;
    for (uint32_t i = 0; i < n; i++) is_taken[i] = !is_kept[i / size];
}

static void choose(const hostile_run *x, const llrt_op *op, const float *logit, uint32_t n,
                   choice *c)
{
    float *const score = hostile_temporary(x->r, ROW_SCORE);
    float *const by = hostile_temporary(x->r, ROW_CHOICE);
    float *const group = hostile_temporary(x->r, ROW_GROUP);
    /* flags of the experts, then of the groups: at most 2 n bytes in a row of n floats */
    bool *const is_taken = (bool *)(void *)hostile_temporary(x->r, ROW_HIDDEN);
    compute_scores(op, logit, score, n);
    memcpy(by, score, n * sizeof *by);
    if (op->weight[CHOICE_BIAS] != LLRT_NONE) {
        float *const bias = hostile_temporary(x->r, ROW_BIAS);
        hostile_tensor_row(x->m, op->weight[CHOICE_BIAS], 0, bias);
        for (uint32_t i = 0; i < n; i++) by[i] += bias[i];
    }
    for (uint32_t i = 0; i < n; i++) {
        if (by[i] != by[i]) by[i] = -INFINITY;
        is_taken[i] = false;
    }
    if (op->u.experts.n_group > 1) drop_groups(op, by, n, group, is_taken);
    c->n = op->u.experts.n_used;
    for (uint32_t k = 0; k < c->n; k++) {
        c->expert[k] = find_largest(by, n, is_taken);
        is_taken[c->expert[k]] = true;
        c->weight[k] = score[c->expert[k]];
    }
}

static void weigh(const llrt_op *op, choice *c)
{
    float sum = 0;
    if (op->u.experts.router == LLRT_ROUTER_SOFTMAX_CHOSEN) {
        const float first = c->weight[0];
        for (uint32_t k = 0; k < c->n; k++) {
            c->weight[k] = hostile_exp(c->weight[k] - first);
            sum += c->weight[k];
        }
        for (uint32_t k = 0; k < c->n; k++) c->weight[k] /= sum;
    }
    if (op->u.experts.is_normalized) {
        sum = 0;
        for (uint32_t k = 0; k < c->n; k++) sum += c->weight[k];
        if (op->u.experts.router == LLRT_ROUTER_SIGMOID) sum += 1e-20f;
        for (uint32_t k = 0; k < c->n; k++) c->weight[k] /= sum;
    }
    for (uint32_t k = 0; k < c->n; k++) c->weight[k] *= op->u.experts.scale;
}

/* One of an expert's three linears with its bias, for one row. */
static llrt_status multiply(const hostile_run *x, const llrt_op *op, uint32_t which,
                            uint32_t expert, const float *in, float *out)
{
    const uint32_t tensor = op->weight[which], bias = op->weight[which + GATE_BIAS];
    const size_t n_out = (size_t)x->m->tensor[tensor].desc.dim[1];
    float *const w = hostile_temporary(x->r, ROW_WEIGHT);
    float *const b = hostile_temporary(x->r, ROW_BIAS);
    if (bias != LLRT_NONE) hostile_tensor_row(x->m, bias, expert, b);
    for (size_t o = 0; o < n_out; o++) {
        const uint64_t row = expert * (uint64_t)n_out + o;
        if (o % 64 == 0 && hostile_is_cancelled(x)) return LLRT_ERR_CANCELLED;
        hostile_tensor_row(x->m, tensor, row, w);
        out[o] = hostile_product(x, tensor, row, w, in);
        if (bias != LLRT_NONE) out[o] += b[o];
    }
    hostile_measure(x, tensor, expert, in);
    return LLRT_OK;
}

/* Output of one expert for one row, in ROW_OUT. */
static llrt_status run_expert(const hostile_run *x, const llrt_op *op, uint32_t expert,
                              const float *in)
{
    const size_t d_ff = (size_t)x->m->tensor[op->weight[UP]].desc.dim[1];
    float *const hidden = hostile_temporary(x->r, ROW_HIDDEN);
    float *const up = hostile_temporary(x->r, ROW_UP);
    const bool is_gated = op->weight[GATE] != LLRT_NONE;
    if (is_gated) HOSTILE_TRY(multiply(x, op, GATE, expert, in, hidden));
    HOSTILE_TRY(multiply(x, op, UP, expert, in, up));
    for (size_t i = 0; i < d_ff; i++)
        hidden[i] = is_gated ? hostile_glu(op->u.experts.act, op->u.experts.limit,
                                           op->u.experts.offset, hidden[i], up[i])
                             : hostile_activate(op->u.experts.act, up[i]);
    return multiply(x, op, DOWN, expert, hidden, hostile_temporary(x->r, ROW_OUT));
}

llrt_status hostile_experts_run(const hostile_run *x, const llrt_op *op)
{
    const uint32_t n_expert = (uint32_t)hostile_width(&x->p->value[op->in[1]]);
    const size_t d_out = hostile_width(&x->p->value[op->out]);
    const float *const y = hostile_temporary(x->r, ROW_OUT);
    for (size_t i = 0; i < hostile_rows(x, op->out); i++) {
        const float *const in = hostile_row(x, op->in[0], i);
        float *const out = hostile_row(x, op->out, i);
        choice c;
        choose(x, op, hostile_row(x, op->in[1], i), n_expert, &c);
        weigh(op, &c);
        for (size_t o = 0; o < d_out; o++) out[o] = 0;
        for (uint32_t k = 0; k < c.n; k++) {
            HOSTILE_TRY(run_expert(x, op, c.expert[k], in));
            for (size_t o = 0; o < d_out; o++) out[o] = fmaf(c.weight[k], y[o], out[o]);
        }
    }
    return LLRT_OK;
}
