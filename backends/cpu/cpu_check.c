/* SPDX-License-Identifier: MIT */
/*
 * Program check, see cpu_check.h. One function per kind of operator states its shapes; the rules every operator
 * shares (indices, written once, written before read) come first. `first` of a value is LLRT_NONE until
 * something writes it.
 */
#include "cpu_check.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "error.h"

#define MAX_WIDTH (1u << 24) /* of a row: far above any model, far below overflow */

typedef struct checker {
    llrti_cpu_model *model;
    llrti_cpu_program *program;
    uint32_t index, op_index;
    const llrt_op *op;
    float *number; /* room for copies of lists, from here on */
    uint8_t *axis;
    llrt_error *err;
} checker;

const char *llrti_cpu_check_op_name(llrt_op_kind kind)
{
    static const char *const name[] = {
        "?",       "EMBED",      "POSITION",    "TOKEN_TYPE", "GATHER",
        "SLICE",   "CONCAT",     "ADD",         "MUL",        "SIGMOID_GATE",
        "SCALE",   "SOFT_CAP",   "RMS_NORM",    "LAYER_NORM", "LINEAR",
        "ROPE",    "ATTENTION",  "GLU",         "ACTIVATE",   "HEAD",
        "EXPERTS", "SHORT_CONV", "GATED_DELTA", "SSM_SCAN",   "HEAD_LINEAR"};
    return kind < LLRTI_COUNT(name) ? name[kind] : "?";
}

static llrt_status fail_op(const checker *c, llrt_status status, const char *format, ...)
    LLRTI_PRINTF(3, 4);

static llrt_status fail_op(const checker *c, llrt_status status, const char *format, ...)
{
    char text[320];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return llrti_fail(c->err, status, "program %u, op %u (%s, number %u): %s", c->index,
                      c->op_index, llrti_cpu_check_op_name(c->op->kind), c->op->kind, text);
}

static const llrti_cpu_value *input(const checker *c, uint32_t i)
{
    return &c->program->value[c->op->in[i]];
}

static const llrti_cpu_value *output(const checker *c)
{
    return &c->program->value[c->op->out];
}

static llrt_status check_shape(const checker *c, const char *what, const llrti_cpu_value *found,
                               llrt_rows rows, uint64_t n_head, uint64_t width)
{
    if (found->rows == rows && found->n_head == n_head && found->width == width) return LLRT_OK;
    return fail_op(
        c, LLRT_ERR_ARGUMENT,
        "%s has rows of kind %u and %u heads of %u elements, expected kind %u and %llu of %llu",
        what, found->rows, found->n_head, found->width, rows, (unsigned long long)n_head,
        (unsigned long long)width);
}

static llrt_status check_row_width(const checker *c, const char *what, const llrti_cpu_value *found,
                                   llrt_rows rows, uint64_t row_width)
{
    if (found->rows == rows && found->row_width == row_width) return LLRT_OK;
    return fail_op(c, LLRT_ERR_ARGUMENT,
                   "%s has rows of kind %u and %zu elements, expected kind %u and %llu", what,
                   found->rows, found->row_width, rows, (unsigned long long)row_width);
}

static llrt_status check_same_shape(const checker *c, const char *what, const llrti_cpu_value *a)
{
    return check_shape(c, what, a, output(c)->rows, output(c)->n_head, output(c)->width);
}

static llrt_status check_number(const checker *c, const char *what, float found, float low)
{
    if (isfinite(found) && found >= low) return LLRT_OK;
    return fail_op(c, LLRT_ERR_ARGUMENT, "%s is %g, expected a number of at least %g", what,
                   (double)found, (double)low);
}

/* The weight in slot i, or NULL in *out when the op has none there and may do without. */
static llrt_status find_weight(const checker *c, uint32_t i, bool is_optional,
                               llrti_cpu_weight **out)
{
    const uint32_t w = c->op->weight[i];
    *out = NULL;
    if (w == LLRT_NONE && is_optional) return LLRT_OK;
    if (w >= c->model->n_weight)
        return fail_op(c, LLRT_ERR_ARGUMENT, "weight %u is tensor %u, expected one below %u", i, w,
                       c->model->n_weight);
    if (c->model->weight[w].is_transposed && c->op->kind != LLRT_OP_SHORT_CONV)
        return fail_op(c, LLRT_ERR_UNSUPPORTED, "tensor '%s' is a SHORT_CONV's as well",
                       c->model->weight[w].name);
    *out = &c->model->weight[w];
    return LLRT_OK;
}

static llrt_status check_vector(const checker *c, uint32_t i, bool is_optional, uint64_t n)
{
    llrti_cpu_weight *w;
    LLRTI_TRY(find_weight(c, i, is_optional, &w));
    if (!w) return LLRT_OK;
    if (w->k != n || w->m != 1)
        return fail_op(c, LLRT_ERR_ARGUMENT, "tensor '%s' is %llu x %llu, expected %llu elements",
                       w->name, (unsigned long long)w->k, (unsigned long long)w->m,
                       (unsigned long long)n);
    w->is_vector = true;
    return LLRT_OK;
}

static llrt_status check_matrix(const checker *c, uint64_t k, uint64_t m, llrti_cpu_weight **out)
{
    llrti_cpu_weight *w;
    LLRTI_TRY(find_weight(c, 0, false, &w));
    if (w->k != k || (m && w->m != m))
        return fail_op(c, LLRT_ERR_ARGUMENT, "tensor '%s' is %llu x %llu, expected %llu x %llu",
                       w->name, (unsigned long long)w->k, (unsigned long long)w->m,
                       (unsigned long long)k, (unsigned long long)(m ? m : w->m));
    *out = w;
    return LLRT_OK;
}

static llrt_status check_embed(checker *c)
{
    llrti_cpu_program *const p = c->program;
    llrti_cpu_weight *w;
    LLRTI_TRY(check_number(c, "the factor", c->op->u.scale.factor, -INFINITY));
    if (output(c)->rows != LLRT_ROWS_TOKEN)
        return fail_op(c, LLRT_ERR_ARGUMENT, "its output has rows of kind %u, expected token rows",
                       output(c)->rows);
    LLRTI_TRY(check_matrix(c, output(c)->row_width, 0, &w));
    w->is_matrix = true;
    if (p->has_embed && p->d_embed != output(c)->row_width)
        return fail_op(c, LLRT_ERR_ARGUMENT, "width %zu, but an EMBED before it has %u",
                       output(c)->row_width, p->d_embed);
    p->n_token = p->has_embed ? LLRTI_MIN(p->n_token, w->m) : w->m;
    p->has_embed = true;
    p->d_embed = (uint32_t)output(c)->row_width;
    return LLRT_OK;
}

static llrt_status check_position(checker *c)
{
    llrti_cpu_weight *w;
    const int64_t offset = c->op->u.position.offset;
    LLRTI_TRY(check_same_shape(c, "its input", input(c, 0)));
    if (output(c)->rows != LLRT_ROWS_TOKEN)
        return fail_op(c, LLRT_ERR_ARGUMENT, "its output has rows of kind %u, expected token rows",
                       output(c)->rows);
    LLRTI_TRY(check_matrix(c, output(c)->row_width, 0, &w));
    w->is_vector = true;
    const int64_t n_position = (int64_t)LLRTI_MIN(w->m, (uint64_t)1 << 40);
    c->program->pos_low = LLRTI_MAX(c->program->pos_low, -offset);
    c->program->pos_high = LLRTI_MIN(c->program->pos_high, n_position - offset);
    return LLRT_OK;
}

static llrt_status check_token_type(checker *c)
{
    llrti_cpu_weight *w;
    LLRTI_TRY(check_same_shape(c, "its input", input(c, 0)));
    if (output(c)->rows != LLRT_ROWS_TOKEN)
        return fail_op(c, LLRT_ERR_ARGUMENT, "its output has rows of kind %u, expected token rows",
                       output(c)->rows);
    LLRTI_TRY(check_matrix(c, output(c)->row_width, 0, &w));
    w->is_vector = true;
    uint64_t *const n_type = &c->program->n_token_type;
    *n_type = *n_type ? LLRTI_MIN(*n_type, w->m) : w->m;
    return LLRT_OK;
}

static llrt_status check_slice(checker *c)
{
    const size_t begin = c->op->u.slice.begin, n = input(c, 0)->row_width;
    if (output(c)->rows != input(c, 0)->rows || begin > n || output(c)->row_width > n - begin)
        return fail_op(
            c, LLRT_ERR_ARGUMENT,
            "elements %zu to %zu of rows of %zu, expected a range inside and the same kind of rows",
            begin, begin + output(c)->row_width, n);
    return LLRT_OK;
}

static llrt_status check_concat(checker *c)
{
    size_t sum = 0;
    for (uint32_t i = 0; i < c->op->n_in; i++) {
        if (input(c, i)->rows != output(c)->rows)
            return fail_op(c, LLRT_ERR_ARGUMENT, "input %u has rows of kind %u, expected %u", i,
                           input(c, i)->rows, output(c)->rows);
        sum += input(c, i)->row_width;
        if (output(c)->n_head > 1 && input(c, i)->n_head != output(c)->n_head)
            return fail_op(c, LLRT_ERR_ARGUMENT, "input %u has %u heads, the output %u", i,
                           input(c, i)->n_head, output(c)->n_head);
    }
    if (sum != output(c)->row_width)
        return fail_op(c, LLRT_ERR_ARGUMENT,
                       "the inputs have %zu elements together, the output %zu", sum,
                       output(c)->row_width);
    return LLRT_OK;
}

/* A vector for all heads, or one after the other for each. */
static llrt_status check_norm_weight(const checker *c, uint32_t i)
{
    const uint64_t width = output(c)->width, n_head = output(c)->n_head;
    llrti_cpu_weight *w;
    LLRTI_TRY(find_weight(c, i, true, &w));
    if (!w) return LLRT_OK;
    if (w->m != 1 || (w->k != width && w->k != width * n_head))
        return fail_op(c, LLRT_ERR_ARGUMENT,
                       "tensor '%s' is %llu x %llu, expected %llu elements, or as many for each of "
                       "%llu heads",
                       w->name, (unsigned long long)w->k, (unsigned long long)w->m,
                       (unsigned long long)width, (unsigned long long)n_head);
    w->is_vector = true;
    return LLRT_OK;
}

static llrt_status check_norm(checker *c)
{
    LLRTI_TRY(check_same_shape(c, "its input", input(c, 0)));
    LLRTI_TRY(check_number(c, "eps", c->op->u.norm.eps, 0));
    LLRTI_TRY(check_norm_weight(c, 0));
    if (c->op->kind == LLRT_OP_LAYER_NORM) return check_norm_weight(c, 1);
    return check_number(c, "the weight's offset", c->op->u.norm.weight_offset, -INFINITY);
}

static llrt_status check_linear(checker *c)
{
    llrti_cpu_weight *w;
    if (output(c)->rows != input(c, 0)->rows)
        return fail_op(c, LLRT_ERR_ARGUMENT, "its input has rows of kind %u, its output of kind %u",
                       input(c, 0)->rows, output(c)->rows);
    LLRTI_TRY(check_matrix(c, input(c, 0)->row_width, output(c)->row_width, &w));
    w->is_matrix = w->is_linear = w->is_product = true;
    return check_vector(c, 1, true, output(c)->row_width);
}

/* The set with the op's angles: one that another op has, or a new one. */
static uint32_t find_rope(checker *c)
{
    llrti_cpu_program *const p = c->program;
    const uint32_t n_rot = c->op->u.rope.n_rot, half = n_rot / 2;
    const float *const from = c->op->u.rope.inv_freq;
    const uint8_t *const axis = c->op->u.rope.axis;
    for (uint32_t set = 0; set < p->n_rope; set++) {
        const llrti_cpu_rope *const r = &p->rope[set];
        if (r->n_rot == n_rot && r->magnitude == c->op->u.rope.magnitude &&
            memcmp(r->inv_freq, from, half * sizeof *from) == 0 && !r->axis == !axis &&
            (!axis || memcmp(r->axis, axis, half) == 0))
            return set;
    }
    p->rope[p->n_rope] = (llrti_cpu_rope){n_rot, c->op->u.rope.magnitude, c->number, NULL};
    memcpy(c->number, from, half * sizeof *from);
    c->number += half;
    if (axis) {
        p->rope[p->n_rope].axis = memcpy(c->axis, axis, half);
        c->axis += half;
    }
    return p->n_rope++;
}

static llrt_status check_rope(checker *c)
{
    const uint32_t n_rot = c->op->u.rope.n_rot;
    llrti_cpu_program *const p = c->program;
    LLRTI_TRY(check_same_shape(c, "its input", input(c, 0)));
    if (output(c)->rows != LLRT_ROWS_TOKEN)
        return fail_op(c, LLRT_ERR_ARGUMENT, "its input has rows of kind %u, expected token rows",
                       output(c)->rows);
    if (c->op->u.rope.pairs > LLRT_ROPE_HALVES)
        return fail_op(c, LLRT_ERR_UNSUPPORTED, "pairing %u, known are 0 and 1",
                       c->op->u.rope.pairs);
    if (n_rot == 0 || n_rot % 2 || n_rot > output(c)->width)
        return fail_op(c, LLRT_ERR_ARGUMENT, "n_rot is %u, expected an even number from 2 to %u",
                       n_rot, output(c)->width);
    LLRTI_TRY(check_number(c, "the magnitude", c->op->u.rope.magnitude, -INFINITY));
    if (!c->op->u.rope.inv_freq) return fail_op(c, LLRT_ERR_ARGUMENT, "inv_freq is NULL");
    for (uint32_t i = 0; i < n_rot / 2; i++) {
        LLRTI_TRY(check_number(c, "inv_freq", c->op->u.rope.inv_freq[i], -INFINITY));
        if (c->op->u.rope.axis && c->op->u.rope.axis[i] >= LLRTI_CPU_N_AXIS)
            return fail_op(c, LLRT_ERR_ARGUMENT, "axis %u of pair %u, expected one below %d",
                           c->op->u.rope.axis[i], i, LLRTI_CPU_N_AXIS);
    }
    const uint32_t set = find_rope(c);
    p->op[c->op_index].rope = set;
    p->op[c->op_index].op.u.rope.inv_freq = p->rope[set].inv_freq;
    p->op[c->op_index].op.u.rope.axis = p->rope[set].axis;
    return LLRT_OK;
}

/* Notes which positions' pages the operator reads, for the check of a step. */
static void note_reach(const checker *c, const llrt_kv_desc *d)
{
    const uint32_t window = c->op->u.attention.window;
    llrti_cpu_reach *const reach = &c->program->reach[d->group];
    const uint32_t n_before = window ? window - 1 : UINT32_MAX;
    if (c->op->u.attention.mask == LLRT_MASK_FULL) c->program->has_full_mask = true;
    reach->n_before = reach->is_used ? LLRTI_MAX(reach->n_before, n_before) : n_before;
    reach->is_used = true;
}

static llrt_status check_slopes(checker *c, uint32_t n_head)
{
    const float *const from = c->op->u.attention.slope;
    if (!from) return LLRT_OK;
    for (uint32_t i = 0; i < n_head; i++) LLRTI_TRY(check_number(c, "a slope", from[i], -INFINITY));
    memcpy(c->number, from, n_head * sizeof *from);
    c->program->op[c->op_index].op.u.attention.slope = c->number;
    c->number += n_head;
    return LLRT_OK;
}

static llrt_status check_attention(checker *c)
{
    const uint32_t kv = c->op->u.attention.kv;
    if (kv >= c->model->n_kv)
        return fail_op(c, LLRT_ERR_ARGUMENT, "kv slot %u, expected one below %u", kv,
                       c->model->n_kv);
    if (c->op->u.attention.mask > LLRT_MASK_FULL)
        return fail_op(c, LLRT_ERR_UNSUPPORTED, "mask %u, known are 0 and 1",
                       c->op->u.attention.mask);
    const llrt_kv_desc *const d = &c->model->kv[kv].desc;
    const uint32_t n_head = output(c)->n_head, n_in = d->v_in_k ? 2 : 3;
    if (c->op->n_in != n_in)
        return fail_op(c, LLRT_ERR_ARGUMENT, "%u inputs, expected %u for kv slot %u, %s",
                       c->op->n_in, n_in, kv, d->v_in_k ? "whose V is in K" : "which has a V");
    if (n_head % d->n_head)
        return fail_op(c, LLRT_ERR_ARGUMENT, "%u query heads, expected a multiple of %u", n_head,
                       d->n_head);
    LLRTI_TRY(check_shape(c, "q", input(c, 0), LLRT_ROWS_TOKEN, n_head, d->k_dim));
    LLRTI_TRY(check_shape(c, "k", input(c, 1), LLRT_ROWS_TOKEN, d->n_head, d->k_dim));
    if (!d->v_in_k)
        LLRTI_TRY(check_shape(c, "v", input(c, 2), LLRT_ROWS_TOKEN, d->n_head, d->v_dim));
    LLRTI_TRY(check_shape(c, "its output", output(c), LLRT_ROWS_TOKEN, n_head, d->v_dim));
    LLRTI_TRY(check_number(c, "the soft cap", c->op->u.attention.soft_cap, 0));
    LLRTI_TRY(check_number(c, "the scale", c->op->u.attention.scale, -INFINITY));
    LLRTI_TRY(check_vector(c, 0, true, n_head));
    LLRTI_TRY(check_slopes(c, n_head));
    note_reach(c, d);
    return LLRT_OK;
}

/* A weight of one matrix per expert or head. */
static llrt_status check_slices(const checker *c, uint32_t i, uint64_t k, uint64_t m, uint64_t n)
{
    llrti_cpu_weight *w;
    LLRTI_TRY(find_weight(c, i, false, &w));
    if (w->k != k || w->slice_m != m || w->n_slice != n)
        return fail_op(c, LLRT_ERR_ARGUMENT,
                       "tensor '%s' is %llu x %llu x %llu, expected %llu x %llu x %llu", w->name,
                       (unsigned long long)w->k, (unsigned long long)w->slice_m,
                       (unsigned long long)w->n_slice, (unsigned long long)k, (unsigned long long)m,
                       (unsigned long long)n);
    w->is_product = true;
    if (n == 1)
        w->is_matrix = true;
    else
        w->is_sliced = true;
    return LLRT_OK;
}

/* A weight of m rows of k that is read as floats; with k 1 its dimensions may be in any order. */
static llrt_status check_table(const checker *c, uint32_t i, bool is_optional, uint64_t k,
                               uint64_t m)
{
    llrti_cpu_weight *w;
    LLRTI_TRY(find_weight(c, i, is_optional, &w));
    if (!w) return LLRT_OK;
    const bool fits = k == 1 ? w->k <= m && w->m <= m && w->k * w->m == m : w->k == k && w->m == m;
    if (!fits)
        return fail_op(c, LLRT_ERR_ARGUMENT, "tensor '%s' is %llu x %llu, expected %llu x %llu",
                       w->name, (unsigned long long)w->k, (unsigned long long)w->m,
                       (unsigned long long)k, (unsigned long long)m);
    w->is_vector = true;
    return LLRT_OK;
}

static llrt_status check_head_linear(const checker *c)
{
    const uint32_t n_head = output(c)->n_head;
    LLRTI_TRY(
        check_shape(c, "its input", input(c, 0), output(c)->rows, n_head, input(c, 0)->width));
    if (n_head > 1u << 16)
        return fail_op(c, LLRT_ERR_ARGUMENT, "%u heads, expected at most %u", n_head, 1u << 16);
    return check_slices(c, 0, input(c, 0)->width, output(c)->width, n_head);
}

static llrt_status check_router(const checker *c, uint32_t n_expert)
{
    const uint32_t n_used = c->op->u.experts.n_used, n_group = c->op->u.experts.n_group;
    const uint32_t n_group_used = c->op->u.experts.n_group_used;
    uint32_t n_choice = n_expert;
    if (c->op->u.experts.router > LLRT_ROUTER_SIGMOID)
        return fail_op(c, LLRT_ERR_UNSUPPORTED, "router %u, known are 0 to %d",
                       c->op->u.experts.router, LLRT_ROUTER_SIGMOID);
    if (n_group > 1) {
        if (n_expert % n_group || n_group_used < 1 || n_group_used > n_group)
            return fail_op(c, LLRT_ERR_ARGUMENT,
                           "%u of %u groups of %u experts, expected equal groups and 1 of them up "
                           "to all",
                           n_group_used, n_group, n_expert);
        if (c->op->u.experts.is_group_sum && n_expert / n_group < 2)
            return fail_op(c, LLRT_ERR_ARGUMENT,
                           "sums of the two best of groups of %u expert, expected two or more",
                           n_expert / n_group);
        n_choice = n_expert / n_group * n_group_used;
    }
    if (n_used < 1 || n_used > LLRTI_CPU_MAX_USED || n_used > n_choice)
        return fail_op(c, LLRT_ERR_ARGUMENT, "%u experts per row, expected 1 to %u", n_used,
                       LLRTI_MIN(n_choice, (uint32_t)LLRTI_CPU_MAX_USED));
    return check_number(c, "the weights' scale", c->op->u.experts.scale, -INFINITY);
}

static llrt_status check_experts(const checker *c)
{
    const bool has_gate = c->op->weight[0] != LLRT_NONE;
    const size_t d_in = input(c, 0)->row_width, n_expert = input(c, 1)->row_width;
    llrti_cpu_weight *up;
    LLRTI_TRY(check_row_width(c, "x", input(c, 0), output(c)->rows, d_in));
    LLRTI_TRY(check_row_width(c, "the router's logits", input(c, 1), output(c)->rows, n_expert));
    if (n_expert > 1u << 16)
        return fail_op(c, LLRT_ERR_ARGUMENT, "%zu experts, expected at most %u", n_expert,
                       1u << 16);
    LLRTI_TRY(check_router(c, (uint32_t)n_expert));
    LLRTI_TRY(find_weight(c, 1, false, &up));
    const uint64_t d_ff = up->slice_m;
    if (d_ff > MAX_WIDTH)
        return fail_op(c, LLRT_ERR_ARGUMENT,
                       "tensor '%s': %llu rows per expert, expected at most %u", up->name,
                       (unsigned long long)d_ff, MAX_WIDTH);
    if (has_gate) LLRTI_TRY(check_slices(c, 0, d_in, d_ff, n_expert));
    LLRTI_TRY(check_slices(c, 1, d_in, d_ff, n_expert));
    LLRTI_TRY(check_slices(c, 2, d_ff, output(c)->row_width, n_expert));
    if (!has_gate && c->op->weight[3] != LLRT_NONE)
        return fail_op(c, LLRT_ERR_ARGUMENT, "weight 3, a bias of gates, without weight 0, gates");
    LLRTI_TRY(check_table(c, 3, true, d_ff, n_expert));
    LLRTI_TRY(check_table(c, 4, true, d_ff, n_expert));
    LLRTI_TRY(check_table(c, 5, true, output(c)->row_width, n_expert));
    LLRTI_TRY(check_table(c, 6, true, 1, n_expert));
    LLRTI_TRY(check_number(c, "the limit", c->op->u.experts.limit, 0));
    LLRTI_TRY(check_number(c, "the offset", c->op->u.experts.offset, -INFINITY));
    if (!has_gate && (c->op->u.experts.limit != 0 || c->op->u.experts.offset != 0))
        return fail_op(c, LLRT_ERR_ARGUMENT, "a limit or offset without gates");
    if (c->op->u.experts.act >= LLRTI_OPS_N_ACT)
        return fail_op(c, LLRT_ERR_UNSUPPORTED, "activation %u, known are 0 to %d",
                       c->op->u.experts.act, LLRTI_OPS_N_ACT - 1);
    return LLRT_OK;
}

/* The operator's state, which no other one of the program has. */
static llrt_status check_state(const checker *c, uint32_t state, uint64_t n_float)
{
    if (state >= c->model->n_state)
        return fail_op(c, LLRT_ERR_ARGUMENT, "state %u, expected one below %u", state,
                       c->model->n_state);
    if (c->model->state[state].n_float != n_float)
        return fail_op(c, LLRT_ERR_ARGUMENT, "state %u has %zu elements, expected %llu", state,
                       c->model->state[state].n_float, (unsigned long long)n_float);
    if (c->program->has_state[state])
        return fail_op(c, LLRT_ERR_ARGUMENT, "state %u is another operator's already", state);
    c->program->has_state[state] = 1;
    c->program->is_recurrent = true;
    return LLRT_OK;
}

static llrt_status check_conv(const checker *c)
{
    const uint64_t n_channel = output(c)->row_width;
    llrti_cpu_weight *w;
    LLRTI_TRY(check_shape(c, "its output", output(c), LLRT_ROWS_TOKEN, output(c)->n_head,
                          output(c)->width));
    LLRTI_TRY(check_row_width(c, "x", input(c, 0), LLRT_ROWS_TOKEN, n_channel));
    LLRTI_TRY(find_weight(c, 0, false, &w));
    if (w->m != n_channel || w->k < 2 || w->k > LLRTI_CPU_MAX_TRANSPOSED)
        return fail_op(c, LLRT_ERR_ARGUMENT, "tensor '%s' is %llu x %llu, expected 2 to %d x %llu",
                       w->name, (unsigned long long)w->k, (unsigned long long)w->m,
                       LLRTI_CPU_MAX_TRANSPOSED, (unsigned long long)n_channel);
    if (w->is_vector && !w->is_transposed)
        return fail_op(c, LLRT_ERR_UNSUPPORTED, "tensor '%s' is another operator's as well",
                       w->name);
    w->is_vector = w->is_transposed = true;
    LLRTI_TRY(check_table(c, 1, true, 1, n_channel));
    return check_state(c, c->op->u.conv.state, (w->k - 1) * n_channel);
}

static llrt_status check_delta(const checker *c)
{
    const llrti_cpu_value *const q = input(c, 0), *const v = input(c, 2);
    LLRTI_TRY(check_shape(c, "q", q, LLRT_ROWS_TOKEN, q->n_head, q->width));
    LLRTI_TRY(check_shape(c, "k", input(c, 1), LLRT_ROWS_TOKEN, q->n_head, q->width));
    LLRTI_TRY(check_shape(c, "v", v, LLRT_ROWS_TOKEN, v->n_head, v->width));
    LLRTI_TRY(check_row_width(c, "a", input(c, 3), LLRT_ROWS_TOKEN, v->n_head));
    LLRTI_TRY(check_row_width(c, "beta", input(c, 4), LLRT_ROWS_TOKEN, v->n_head));
    LLRTI_TRY(check_row_width(c, "its output", output(c), LLRT_ROWS_TOKEN, v->row_width));
    if (v->n_head % q->n_head)
        return fail_op(c, LLRT_ERR_ARGUMENT, "%u heads of v, expected a multiple of q's %u",
                       v->n_head, q->n_head);
    LLRTI_TRY(check_table(c, 0, false, 1, v->n_head));
    LLRTI_TRY(check_table(c, 1, false, 1, v->n_head));
    return check_state(c, c->op->u.scan.state, (uint64_t)v->row_width * q->width);
}

static llrt_status check_scan(const checker *c)
{
    const llrti_cpu_value *const x = input(c, 0), *const b = input(c, 2);
    const float low = c->op->u.scan.dt_min, high = c->op->u.scan.dt_max;
    LLRTI_TRY(check_shape(c, "x", x, LLRT_ROWS_TOKEN, x->n_head, x->width));
    LLRTI_TRY(check_row_width(c, "dt", input(c, 1), LLRT_ROWS_TOKEN, x->n_head));
    LLRTI_TRY(check_shape(c, "B", b, LLRT_ROWS_TOKEN, b->n_head, b->width));
    LLRTI_TRY(check_shape(c, "C", input(c, 3), LLRT_ROWS_TOKEN, b->n_head, b->width));
    LLRTI_TRY(check_row_width(c, "its output", output(c), LLRT_ROWS_TOKEN, x->row_width));
    if (x->n_head % b->n_head)
        return fail_op(c, LLRT_ERR_ARGUMENT, "%u heads of x, expected a multiple of B's %u",
                       x->n_head, b->n_head);
    for (uint32_t i = 0; i < 3; i++) LLRTI_TRY(check_table(c, i, false, 1, x->n_head));
    if (!(low <= high))
        return fail_op(c, LLRT_ERR_ARGUMENT, "t from %g to %g, expected ascending bounds",
                       (double)low, (double)high);
    return check_state(c, c->op->u.scan.state, (uint64_t)x->row_width * b->width);
}

static llrt_status check_kind(checker *c)
{
    switch (c->op->kind) {
    case LLRT_OP_EXPERTS:
        return check_experts(c);
    case LLRT_OP_HEAD_LINEAR:
        return check_head_linear(c);
    case LLRT_OP_SHORT_CONV:
        return check_conv(c);
    case LLRT_OP_GATED_DELTA:
        return check_delta(c);
    case LLRT_OP_SSM_SCAN:
        return check_scan(c);
    case LLRT_OP_EMBED:
        return check_embed(c);
    case LLRT_OP_POSITION:
        return check_position(c);
    case LLRT_OP_TOKEN_TYPE:
        return check_token_type(c);
    case LLRT_OP_GATHER:
        if (input(c, 0)->rows != LLRT_ROWS_TOKEN)
            return fail_op(c, LLRT_ERR_ARGUMENT,
                           "its input has rows of kind %u, expected token rows", input(c, 0)->rows);
        return check_shape(c, "its output", output(c), LLRT_ROWS_OUT, input(c, 0)->n_head,
                           input(c, 0)->width);
    case LLRT_OP_SLICE:
        return check_slice(c);
    case LLRT_OP_CONCAT:
        return check_concat(c);
    case LLRT_OP_ADD:
    case LLRT_OP_MUL:
    case LLRT_OP_SIGMOID_GATE:
    case LLRT_OP_GLU:
        LLRTI_TRY(check_row_width(c, "a", input(c, 0), output(c)->rows, output(c)->row_width));
        LLRTI_TRY(check_row_width(c, "b", input(c, 1), output(c)->rows, output(c)->row_width));
        break;
    case LLRT_OP_SOFT_CAP:
        if (c->op->u.scale.factor == 0) return fail_op(c, LLRT_ERR_ARGUMENT, "the cap is 0");
        LLRTI_TRY(check_number(c, "the cap", c->op->u.scale.factor, 0));
        return check_row_width(c, "its input", input(c, 0), output(c)->rows, output(c)->row_width);
    case LLRT_OP_SCALE:
        LLRTI_TRY(check_number(c, "the factor", c->op->u.scale.factor, -INFINITY));
        return check_row_width(c, "its input", input(c, 0), output(c)->rows, output(c)->row_width);
    case LLRT_OP_ACTIVATE:
        LLRTI_TRY(
            check_row_width(c, "its input", input(c, 0), output(c)->rows, output(c)->row_width));
        break;
    case LLRT_OP_RMS_NORM:
    case LLRT_OP_LAYER_NORM:
        return check_norm(c);
    case LLRT_OP_LINEAR:
    case LLRT_OP_HEAD:
        return check_linear(c);
    case LLRT_OP_ROPE:
        return check_rope(c);
    case LLRT_OP_ATTENTION:
        return check_attention(c);
    default:
        return fail_op(c, LLRT_ERR_UNSUPPORTED, "the CPU backend knows no such operator");
    }
    const bool has_act = c->op->kind == LLRT_OP_GLU || c->op->kind == LLRT_OP_ACTIVATE;
    if (has_act && c->op->u.act.act >= LLRTI_OPS_N_ACT)
        return fail_op(c, LLRT_ERR_UNSUPPORTED, "activation %u, known are 0 to %d",
                       c->op->u.act.act, LLRTI_OPS_N_ACT - 1);
    if (c->op->kind == LLRT_OP_GLU) {
        LLRTI_TRY(check_number(c, "the limit", c->op->u.act.limit, 0));
        return check_number(c, "the offset", c->op->u.act.offset, -INFINITY);
    }
    return LLRT_OK;
}

/* Number of inputs the kind takes; 0 means 1 to 6 of them, and EMBED has none. */
static llrt_status check_inputs(const checker *c)
{
    static const uint8_t binary[] = {LLRT_OP_ADD, LLRT_OP_MUL, LLRT_OP_SIGMOID_GATE, LLRT_OP_GLU};
    uint32_t low = 1, high = 1;
    for (size_t i = 0; i < LLRTI_COUNT(binary); i++)
        if (c->op->kind == binary[i]) low = high = 2;
    if (c->op->kind == LLRT_OP_EMBED) low = high = 0;
    if (c->op->kind == LLRT_OP_ATTENTION) low = 2, high = 3; /* its slot says which */
    if (c->op->kind == LLRT_OP_CONCAT) high = (uint32_t)LLRTI_COUNT(c->op->in);
    if (c->op->kind == LLRT_OP_EXPERTS) low = high = 2;
    if (c->op->kind == LLRT_OP_SSM_SCAN) low = high = 4;
    if (c->op->kind == LLRT_OP_GATED_DELTA) low = high = 5;
    if (c->op->n_in < low || c->op->n_in > high)
        return fail_op(c, LLRT_ERR_ARGUMENT, "%u inputs, expected %u to %u", c->op->n_in, low,
                       high);
    for (uint32_t i = 0; i < c->op->n_in; i++) {
        if (c->op->in[i] >= c->program->n_value)
            return fail_op(c, LLRT_ERR_ARGUMENT, "input %u is value %u, expected one below %u", i,
                           c->op->in[i], c->program->n_value);
        if (input(c, i)->first == LLRT_NONE)
            return fail_op(c, LLRT_ERR_ARGUMENT, "input %u, value %u, is read before it is written",
                           i, c->op->in[i]);
    }
    if (c->op->out >= c->program->n_value)
        return fail_op(c, LLRT_ERR_ARGUMENT, "the output is value %u, expected one below %u",
                       c->op->out, c->program->n_value);
    if (output(c)->first != LLRT_NONE)
        return fail_op(c, LLRT_ERR_ARGUMENT, "value %u is written a second time", c->op->out);
    return LLRT_OK;
}

static llrt_status check_values(const checker *c, const llrt_program *source)
{
    for (uint32_t i = 0; i < source->n_value; i++) {
        const llrt_value *const v = &source->value[i];
        const uint64_t row = (uint64_t)v->n_head * v->width;
        if (v->rows > LLRT_ROWS_OUT)
            return llrti_fail(c->err, LLRT_ERR_UNSUPPORTED,
                              "program %u, value %u: rows of kind %u, known are 0 and 1", c->index,
                              i, v->rows);
        if (row == 0 || row > MAX_WIDTH)
            return llrti_fail(
                c->err, LLRT_ERR_ARGUMENT,
                "program %u, value %u: %u heads of %u elements, expected 1 to %u elements together",
                c->index, i, v->n_head, v->width, MAX_WIDTH);
        c->program->value[i] =
            (llrti_cpu_value){v->rows, v->n_head, v->width, (size_t)row, LLRT_NONE, 0};
    }
    for (uint32_t i = 0; i < source->n_input; i++) {
        const uint32_t v = source->input[i];
        if (v >= source->n_value || c->program->value[v].first != LLRT_NONE ||
            c->program->value[v].rows != LLRT_ROWS_TOKEN)
            return llrti_fail(c->err, LLRT_ERR_ARGUMENT,
                              "program %u, input %u is value %u, expected a value of token rows "
                              "below %u, each once",
                              c->index, i, v, source->n_value);
        c->program->value[v].first = 0;
        c->program->input[i] = v;
    }
    return LLRT_OK;
}

static llrt_status check_outputs(const checker *c, const llrt_program *source)
{
    for (uint32_t i = 0; i <= source->n_output; i++) {
        const bool is_logits = i == source->n_output;
        const uint32_t v = is_logits ? source->logits : source->output[i];
        if (is_logits && v == LLRT_NONE) break;
        if (v >= source->n_value || c->program->value[v].first == LLRT_NONE)
            return llrti_fail(c->err, LLRT_ERR_ARGUMENT,
                              "program %u: output %u is value %u, which nothing writes", c->index,
                              i, v);
        if (is_logits && c->program->value[v].rows != LLRT_ROWS_OUT)
            return llrti_fail(
                c->err, LLRT_ERR_ARGUMENT,
                "program %u: the logits, value %u, have rows of kind %u, expected wanted rows",
                c->index, v, c->program->value[v].rows);
        if (!is_logits) c->program->output[i] = v;
        c->program->value[v].last = source->n_op;
    }
    return LLRT_OK;
}

llrt_status llrti_cpu_check_program(llrti_cpu_model *model, uint32_t index,
                                    const llrt_program *source, llrt_error *err)
{
    llrti_cpu_program *const p = &model->program[index];
    checker c = {model, p, index, 0, NULL, p->number, p->axis, err};
    p->n_value = source->n_value;
    p->n_op = source->n_op;
    p->n_input = source->n_input;
    p->n_output = source->n_output;
    p->logits = source->logits;
    p->pos_high = INT32_MAX;
    LLRTI_TRY(check_values(&c, source));
    for (uint32_t i = 0; i < source->n_op; i++) {
        c.op_index = i;
        c.op = &source->op[i];
        LLRTI_TRY(check_inputs(&c));
        p->op[i].op = *c.op;
        p->op[i].time = i;
        LLRTI_TRY(check_kind(&c));
        p->value[c.op->out].first = i;
    }
    return check_outputs(&c, source);
}

static bool is_linear(const llrti_cpu_op *op)
{
    return op->op.kind == LLRT_OP_LINEAR || op->op.kind == LLRT_OP_HEAD;
}

void llrti_cpu_check_group(llrti_cpu_model *model, llrti_cpu_program *program)
{
    const uint32_t reach =
        16; /* how far ahead of a leader its followers may lie: past the norms and ropes of Q and K */
    for (uint32_t i = 0; i < program->n_op; i++) {
        llrti_cpu_op *const leader = &program->op[i];
        if (!is_linear(leader) || leader->time != i) continue;
        const llrti_linear *const w = &model->weight[leader->op.weight[0]].linear;
        leader->n_group = 1;
        leader->group[0] = i;
        for (uint32_t j = i + 1; j < program->n_op && j - i <= reach; j++) {
            llrti_cpu_op *const other = &program->op[j];
            if (leader->n_group == LLRTI_LINEAR_MAX_WEIGHT) break;
            if (!is_linear(other) || other->time != j || other->op.in[0] != leader->op.in[0])
                continue;
            const llrti_linear *const x = &model->weight[other->op.weight[0]].linear;
            if (x->act != w->act || x->k != w->k) continue;
            other->time = i;
            leader->group[leader->n_group++] = j;
        }
    }
    for (uint32_t i = 0; i < program->n_op; i++) {
        const llrti_cpu_op *const op = &program->op[i];
        llrti_cpu_value *const out = &program->value[op->op.out];
        out->first = op->time;
        out->last = LLRTI_MAX(out->last, op->time);
        for (uint32_t k = 0; k < op->op.n_in; k++) {
            llrti_cpu_value *const in = &program->value[op->op.in[k]];
            in->last = LLRTI_MAX(in->last, op->time);
        }
    }
}
