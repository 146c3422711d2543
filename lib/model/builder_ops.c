/* SPDX-License-Identifier: MIT */
/*
 * Emitting operators: each is checked against the shapes of its inputs and weights and lands in a
 * growing array. See builder.h for the rules of failures.
 */
#include <math.h>
#include <string.h>

#include "builder.h"

static void fail_nomem(llrti_builder *b, const char *what, size_t size)
{
    if (b->hp.status >= 0) b->hp.status = llrti_fail_nomem(b->hp.err, what, size);
}

static const llrt_value *value_of(const llrti_builder *b, uint32_t value)
{
    return &b->value.data[value];
}

static bool defect(llrti_builder *b, llrt_op_kind kind, const char *what)
{
    llrti_build_fail(b, LLRT_ERR_INTERNAL, b->hp.architecture,
                     "program of '%s', layer %u, operator kind %u: %s (a defect of this "
                     "architecture's description)",
                     b->hp.architecture, (unsigned)b->layer, (unsigned)kind, what);
    return false;
}

uint32_t llrti_build_width(const llrti_builder *b, uint32_t value)
{
    if (b->hp.status < 0 || value >= b->value.n) return 0;
    return b->value.data[value].n_head * b->value.data[value].width;
}

/* False after a failure, also when an input or weight is no index; then nothing may be emitted. */
static bool is_ready(llrti_builder *b, llrt_op_kind kind, const uint32_t *in, uint32_t n_in)
{
    if (b->hp.status < 0) return false;
    for (uint32_t i = 0; i < n_in; i++)
        if (in[i] >= b->value.n) return defect(b, kind, "an input is no value");
    return true;
}

static bool is_weight(llrti_builder *b, llrt_op_kind kind, uint32_t weight, uint64_t dim0,
                      uint64_t dim1)
{
    if (b->hp.status < 0) return false;
    if (weight == LLRT_NONE) return true;
    if (weight >= b->weight.n) return defect(b, kind, "a weight is no index");
    const llrt_tensor_desc *const desc = &b->weight.data[weight].desc;
    if ((dim0 && desc->dim[0] != dim0) || (dim1 && desc->dim[1] != dim1))
        return defect(b, kind, "a weight does not fit the values");
    return true;
}

/* Appends an operator and its output value of the given shape; NULL after a failure. */
static llrt_op *emit(llrti_builder *b, llrt_op_kind kind, const uint32_t *in, uint32_t n_in,
                     llrt_value out)
{
    if (b->hp.status < 0) return NULL;
    if (out.n_head == 0 || out.width == 0 || (uint64_t)out.n_head * out.width > (uint64_t)1 << 28) {
        defect(b, kind, "the output has no sensible shape");
        return NULL;
    }
    if (!llrti_vec_reserve(b->mem, &b->value, b->value.n + 1, LLRT_MEMORY_HOST) ||
        !llrti_vec_reserve(b->mem, &b->op, b->op.n + 1, LLRT_MEMORY_HOST)) {
        fail_nomem(b, "operator list", sizeof *b->op.data);
        return NULL;
    }
    llrt_op *const op = &b->op.data[b->op.n];
    memset(op, 0, sizeof *op);
    op->kind = kind;
    op->layer = b->layer;
    op->n_in = n_in;
    for (uint32_t i = 0; i < LLRTI_COUNT(op->in); i++) op->in[i] = i < n_in ? in[i] : LLRT_NONE;
    for (uint32_t i = 0; i < LLRTI_COUNT(op->weight); i++) op->weight[i] = LLRT_NONE;
    op->out = (uint32_t)b->value.n;
    b->value.data[b->value.n++] = out;
    b->op.n++;
    return op;
}

static uint32_t out_of(const llrt_op *op)
{
    return op ? op->out : LLRT_NONE;
}

uint32_t llrti_build_embed(llrti_builder *b, uint32_t weight, float factor)
{
    if (!is_weight(b, LLRT_OP_EMBED, weight, 0, 0)) return LLRT_NONE;
    if (weight == LLRT_NONE) return defect(b, LLRT_OP_EMBED, "no weight"), LLRT_NONE;
    const llrt_value out = {LLRT_ROWS_TOKEN, 1, (uint32_t)b->weight.data[weight].desc.dim[0]};
    llrt_op *const op = emit(b, LLRT_OP_EMBED, NULL, 0, out);
    if (!op) return LLRT_NONE;
    op->weight[0] = weight;
    op->u.scale.factor = factor;
    return op->out;
}

uint32_t llrti_build_position(llrti_builder *b, uint32_t x, uint32_t weight, int32_t offset)
{
    if (!is_ready(b, LLRT_OP_POSITION, &x, 1)) return LLRT_NONE;
    if (weight == LLRT_NONE) return defect(b, LLRT_OP_POSITION, "no weight"), LLRT_NONE;
    if (!is_weight(b, LLRT_OP_POSITION, weight, llrti_build_width(b, x), 0)) return LLRT_NONE;
    if (value_of(b, x)->rows != LLRT_ROWS_TOKEN)
        return defect(b, LLRT_OP_POSITION, "rows"), LLRT_NONE;
    llrt_op *const op = emit(b, LLRT_OP_POSITION, &x, 1, *value_of(b, x));
    if (!op) return LLRT_NONE;
    op->weight[0] = weight;
    op->u.position.offset = offset;
    return op->out;
}

uint32_t llrti_build_token_type(llrti_builder *b, uint32_t x, uint32_t weight)
{
    if (!is_ready(b, LLRT_OP_TOKEN_TYPE, &x, 1)) return LLRT_NONE;
    if (weight == LLRT_NONE) return defect(b, LLRT_OP_TOKEN_TYPE, "no weight"), LLRT_NONE;
    if (!is_weight(b, LLRT_OP_TOKEN_TYPE, weight, llrti_build_width(b, x), 0)) return LLRT_NONE;
    if (value_of(b, x)->rows != LLRT_ROWS_TOKEN)
        return defect(b, LLRT_OP_TOKEN_TYPE, "rows"), LLRT_NONE;
    llrt_op *const op = emit(b, LLRT_OP_TOKEN_TYPE, &x, 1, *value_of(b, x));
    if (!op) return LLRT_NONE;
    op->weight[0] = weight;
    b->model->n_token_type = llrti_build_rows_of(b, weight);
    return op->out;
}

uint32_t llrti_build_gather(llrti_builder *b, uint32_t x)
{
    if (!is_ready(b, LLRT_OP_GATHER, &x, 1)) return LLRT_NONE;
    llrt_value out = *value_of(b, x);
    if (out.rows != LLRT_ROWS_TOKEN) return defect(b, LLRT_OP_GATHER, "rows"), LLRT_NONE;
    out.rows = LLRT_ROWS_OUT;
    return out_of(emit(b, LLRT_OP_GATHER, &x, 1, out));
}

uint32_t llrti_build_slice(llrti_builder *b, uint32_t x, uint32_t begin, uint32_t n_head,
                           uint32_t width)
{
    if (!is_ready(b, LLRT_OP_SLICE, &x, 1)) return LLRT_NONE;
    if ((uint64_t)begin + (uint64_t)n_head * width > llrti_build_width(b, x))
        return defect(b, LLRT_OP_SLICE, "a slice beyond the row"), LLRT_NONE;
    llrt_op *const op =
        emit(b, LLRT_OP_SLICE, &x, 1, (llrt_value){value_of(b, x)->rows, n_head, width});
    if (op) op->u.slice.begin = begin;
    return out_of(op);
}

/* The values side by side: rows whole, or head by head. */
static uint32_t emit_concat(llrti_builder *b, const uint32_t *x, uint32_t n, bool is_by_head)
{
    uint64_t width = 0;
    if (!is_ready(b, LLRT_OP_CONCAT, x, n)) return LLRT_NONE;
    if (n < 1 || n > 6) return defect(b, LLRT_OP_CONCAT, "1 to 6 inputs"), LLRT_NONE;
    const llrt_value first = *value_of(b, x[0]);
    for (uint32_t i = 0; i < n; i++) {
        const llrt_value v = *value_of(b, x[i]);
        width += is_by_head ? v.width : (uint64_t)v.n_head * v.width;
        if (v.rows != first.rows || (is_by_head && v.n_head != first.n_head))
            return defect(b, LLRT_OP_CONCAT, "rows or heads differ"), LLRT_NONE;
    }
    if (width > UINT32_MAX) return defect(b, LLRT_OP_CONCAT, "too wide"), LLRT_NONE;
    const llrt_value out = {first.rows, is_by_head ? first.n_head : 1, (uint32_t)width};
    return out_of(emit(b, LLRT_OP_CONCAT, x, n, out));
}

uint32_t llrti_build_concat(llrti_builder *b, const uint32_t *x, uint32_t n)
{
    return emit_concat(b, x, n, false);
}

uint32_t llrti_build_concat_heads(llrti_builder *b, const uint32_t *x, uint32_t n)
{
    return emit_concat(b, x, n, true);
}

/* Operators on one or two values of the same shape, whose shape the result has. */
static llrt_op *emit_elementwise(llrti_builder *b, llrt_op_kind kind, uint32_t x, uint32_t y,
                                 uint32_t n_in)
{
    const uint32_t in[2] = {x, y};
    if (!is_ready(b, kind, in, n_in)) return NULL;
    const llrt_value *const a = value_of(b, x), *const c = value_of(b, n_in == 2 ? y : x);
    if (a->rows != c->rows || llrti_build_width(b, x) != (uint64_t)c->n_head * c->width) {
        defect(b, kind, "shapes differ");
        return NULL;
    }
    return emit(b, kind, in, n_in, *a);
}

uint32_t llrti_build_add(llrti_builder *b, uint32_t x, uint32_t y)
{
    return out_of(emit_elementwise(b, LLRT_OP_ADD, x, y, 2));
}

uint32_t llrti_build_mul(llrti_builder *b, uint32_t x, uint32_t y)
{
    return out_of(emit_elementwise(b, LLRT_OP_MUL, x, y, 2));
}

uint32_t llrti_build_sigmoid_gate(llrti_builder *b, uint32_t x, uint32_t gate)
{
    return out_of(emit_elementwise(b, LLRT_OP_SIGMOID_GATE, x, gate, 2));
}

uint32_t llrti_build_scale(llrti_builder *b, uint32_t x, float factor)
{
    llrt_op *const op = emit_elementwise(b, LLRT_OP_SCALE, x, x, 1);
    if (op) op->u.scale.factor = factor;
    return out_of(op);
}

uint32_t llrti_build_soft_cap(llrti_builder *b, uint32_t x, float cap)
{
    llrt_op *const op = emit_elementwise(b, LLRT_OP_SOFT_CAP, x, x, 1);
    if (op) op->u.scale.factor = cap;
    return out_of(op);
}

/* A norm's weight, of a head's width or of the whole row. */
static bool is_norm_weight(llrti_builder *b, llrt_op_kind kind, uint32_t x, uint32_t weight)
{
    if (b->hp.status < 0) return false;
    if (weight < b->weight.n && b->weight.data[weight].desc.dim[0] == llrti_build_width(b, x))
        return is_weight(b, kind, weight, 0, 1);
    return is_weight(b, kind, weight, value_of(b, x)->width, 1);
}

uint32_t llrti_build_rms_norm(llrti_builder *b, uint32_t x, uint32_t weight, float eps,
                              float weight_offset)
{
    if (!is_ready(b, LLRT_OP_RMS_NORM, &x, 1) || !is_norm_weight(b, LLRT_OP_RMS_NORM, x, weight))
        return LLRT_NONE;
    llrt_op *const op = emit_elementwise(b, LLRT_OP_RMS_NORM, x, x, 1);
    if (!op) return LLRT_NONE;
    op->weight[0] = weight;
    op->u.norm.eps = eps;
    op->u.norm.weight_offset = weight_offset;
    return op->out;
}

uint32_t llrti_build_layer_norm(llrti_builder *b, uint32_t x, uint32_t weight, uint32_t bias,
                                float eps)
{
    if (!is_ready(b, LLRT_OP_LAYER_NORM, &x, 1) ||
        !is_norm_weight(b, LLRT_OP_LAYER_NORM, x, weight) ||
        !is_norm_weight(b, LLRT_OP_LAYER_NORM, x, bias))
        return LLRT_NONE;
    llrt_op *const op = emit_elementwise(b, LLRT_OP_LAYER_NORM, x, x, 1);
    if (!op) return LLRT_NONE;
    op->weight[0] = weight;
    op->weight[1] = bias;
    op->u.norm.eps = eps;
    return op->out;
}

static llrt_op *emit_product(llrti_builder *b, llrt_op_kind kind, uint32_t x, uint32_t weight,
                             uint32_t bias, llrt_value out)
{
    const uint64_t d_out = (uint64_t)out.n_head * out.width;
    if (!is_ready(b, kind, &x, 1)) return NULL;
    if (weight == LLRT_NONE) return defect(b, kind, "no weight"), NULL;
    if (!is_weight(b, kind, weight, llrti_build_width(b, x), d_out) ||
        !is_weight(b, kind, bias, d_out, 1))
        return NULL;
    out.rows = value_of(b, x)->rows;
    llrt_op *const op = emit(b, kind, &x, 1, out);
    if (!op) return NULL;
    op->weight[0] = weight;
    op->weight[1] = bias;
    return op;
}

uint32_t llrti_build_linear(llrti_builder *b, uint32_t x, uint32_t weight, uint32_t bias,
                            uint32_t n_head, uint32_t width)
{
    return out_of(emit_product(b, LLRT_OP_LINEAR, x, weight, bias,
                               (llrt_value){LLRT_ROWS_TOKEN, n_head, width}));
}

uint32_t llrti_build_rope(llrti_builder *b, uint32_t x, const llrti_rope *rope)
{
    if (!is_ready(b, LLRT_OP_ROPE, &x, 1)) return LLRT_NONE;
    if (!rope->inv_freq || rope->n_rot % 2 || rope->n_rot > value_of(b, x)->width ||
        value_of(b, x)->rows != LLRT_ROWS_TOKEN)
        return defect(b, LLRT_OP_ROPE, "rotated elements"), LLRT_NONE;
    llrt_op *const op = emit_elementwise(b, LLRT_OP_ROPE, x, x, 1);
    if (!op) return LLRT_NONE;
    op->u.rope.pairs = rope->pairs;
    op->u.rope.n_rot = rope->n_rot;
    op->u.rope.magnitude = rope->magnitude;
    op->u.rope.inv_freq = rope->inv_freq;
    op->u.rope.axis = rope->axis;
    return op->out;
}

static bool check_attention(llrti_builder *b, const uint32_t in[3], uint32_t n_in,
                            const llrti_attention *how)
{
    const llrt_value q = *value_of(b, in[0]), k = *value_of(b, in[1]);
    const llrt_value v =
        n_in == 3 ? *value_of(b, in[2]) : (llrt_value){LLRT_ROWS_TOKEN, k.n_head, how->v_dim};
    if (q.width != k.width || k.n_head != v.n_head || q.n_head % k.n_head ||
        q.rows != LLRT_ROWS_TOKEN || k.rows != LLRT_ROWS_TOKEN || v.rows != LLRT_ROWS_TOKEN ||
        (n_in == 2 && (v.width == 0 || v.width > k.width)))
        return defect(b, LLRT_OP_ATTENTION, "shapes of q, k and v");
    if (how->has_sinks && how->sinks == LLRT_NONE)
        return defect(b, LLRT_OP_ATTENTION, "no weight for the sinks");
    return !how->has_sinks || is_weight(b, LLRT_OP_ATTENTION, how->sinks, q.n_head, 1);
}

uint32_t llrti_build_attention(llrti_builder *b, uint32_t q, uint32_t k, uint32_t v,
                               const llrti_attention *how)
{
    const uint32_t in[3] = {q, k, v}, n_in = v == LLRT_NONE && how->v_dim ? 2 : 3;
    if (!is_ready(b, LLRT_OP_ATTENTION, in, n_in) || !check_attention(b, in, n_in, how))
        return LLRT_NONE;
    if (!llrti_vec_reserve(b->mem, &b->kv, b->kv.n + 1, LLRT_MEMORY_HOST)) {
        fail_nomem(b, "kv list", sizeof *b->kv.data);
        return LLRT_NONE;
    }
    const llrt_value vk = *value_of(b, k);
    const uint32_t v_dim = n_in == 3 ? value_of(b, v)->width : how->v_dim;
    llrt_op *const op = emit(b, LLRT_OP_ATTENTION, in, n_in,
                             (llrt_value){LLRT_ROWS_TOKEN, value_of(b, q)->n_head, v_dim});
    if (!op) return LLRT_NONE;
    op->weight[0] = how->has_sinks ? how->sinks : LLRT_NONE;
    op->u.attention.kv = (uint32_t)b->kv.n;
    op->u.attention.mask = how->mask;
    op->u.attention.scale = how->scale != 0 ? how->scale : (float)(1.0 / sqrt((double)vk.width));
    op->u.attention.soft_cap = how->soft_cap;
    op->u.attention.window = how->window;
    op->u.attention.slope = how->slope;
    const bool is_windowed = how->mask == LLRT_MASK_CAUSAL && how->window > 0;
    b->kv.data[b->kv.n++] =
        (llrt_kv_desc){.n_head = vk.n_head,
                       .k_dim = vk.width,
                       .v_dim = v_dim,
                       .layer = b->layer,
                       .group = is_windowed ? LLRT_KV_GROUP_WINDOW : LLRT_KV_GROUP_FULL,
                       .v_in_k = n_in == 2};
    return op->out;
}

uint32_t llrti_build_glu_limited(llrti_builder *b, uint32_t gate, uint32_t up, llrt_activation act,
                                 float limit, float offset)
{
    llrt_op *const op = emit_elementwise(b, LLRT_OP_GLU, gate, up, 2);
    if (!op) return LLRT_NONE;
    op->u.act.act = act;
    op->u.act.limit = limit;
    op->u.act.offset = offset;
    return op->out;
}

uint32_t llrti_build_glu(llrti_builder *b, uint32_t gate, uint32_t up, llrt_activation act)
{
    return llrti_build_glu_limited(b, gate, up, act, 0, 0);
}

uint32_t llrti_build_activate(llrti_builder *b, uint32_t x, llrt_activation act)
{
    llrt_op *const op = emit_elementwise(b, LLRT_OP_ACTIVATE, x, x, 1);
    if (op) op->u.act.act = act;
    return out_of(op);
}

uint32_t llrti_build_head_linear(llrti_builder *b, uint32_t x, uint32_t weight)
{
    if (!is_ready(b, LLRT_OP_HEAD_LINEAR, &x, 1)) return LLRT_NONE;
    if (weight >= b->weight.n) return defect(b, LLRT_OP_HEAD_LINEAR, "no weight"), LLRT_NONE;
    const uint64_t *const dim = b->weight.data[weight].desc.dim;
    const llrt_value v = *value_of(b, x);
    if (dim[0] != v.width || dim[2] != v.n_head || dim[1] > UINT32_MAX)
        return defect(b, LLRT_OP_HEAD_LINEAR, "a weight does not fit the values"), LLRT_NONE;
    llrt_op *const op =
        emit(b, LLRT_OP_HEAD_LINEAR, &x, 1, (llrt_value){v.rows, v.n_head, (uint32_t)dim[1]});
    if (op) op->weight[0] = weight;
    return out_of(op);
}

/* The stack's shape is (d_in, d_out, n); d_out 0: any. */
static bool is_stack(llrti_builder *b, uint32_t weight, uint64_t d_in, uint64_t d_out, uint64_t n)
{
    if (weight < b->weight.n) {
        const uint64_t *const dim = b->weight.data[weight].desc.dim;
        if (dim[0] == d_in && (!d_out || dim[1] == d_out) && dim[2] == n) return true;
    }
    return defect(b, LLRT_OP_EXPERTS, "the experts' weights do not fit each other");
}

static bool check_experts(llrti_builder *b, uint64_t d_in, uint64_t n, const llrti_experts *e)
{
    const uint64_t n_group = e->n_group ? e->n_group : 1;
    if (!is_stack(b, e->up, d_in, 0, n)) return false;
    const uint64_t d_ff = b->weight.data[e->up].desc.dim[1];
    if (!is_stack(b, e->down, d_ff, 0, n)) return false;
    if (e->gate != LLRT_NONE && !is_stack(b, e->gate, d_in, d_ff, n)) return false;
    if (!is_weight(b, LLRT_OP_EXPERTS, e->gate_bias, d_ff, n) ||
        !is_weight(b, LLRT_OP_EXPERTS, e->up_bias, d_ff, n) ||
        !is_weight(b, LLRT_OP_EXPERTS, e->down_bias, b->weight.data[e->down].desc.dim[1], n) ||
        !is_weight(b, LLRT_OP_EXPERTS, e->choice_bias, n, 1))
        return false;
    const uint64_t n_used_group = n_group > 1 ? e->n_group_used : 1;
    if (e->n_used == 0 || e->n_used > 64 || n % n_group || n_used_group == 0 ||
        n_used_group > n_group || e->n_used > n / n_group * n_used_group ||
        (e->is_group_sum && n / n_group < 2))
        return defect(b, LLRT_OP_EXPERTS, "numbers of experts");
    return true;
}

uint32_t llrti_build_experts(llrti_builder *b, uint32_t x, uint32_t logits, const llrti_experts *e)
{
    const uint32_t in[2] = {x, logits};
    if (!is_ready(b, LLRT_OP_EXPERTS, in, 2)) return LLRT_NONE;
    if (!check_experts(b, llrti_build_width(b, x), llrti_build_width(b, logits), e))
        return LLRT_NONE;
    const llrt_rows rows = value_of(b, x)->rows;
    if (value_of(b, logits)->rows != rows) return defect(b, LLRT_OP_EXPERTS, "rows"), LLRT_NONE;
    const uint32_t d_out = (uint32_t)b->weight.data[e->down].desc.dim[1];
    llrt_op *const op = emit(b, LLRT_OP_EXPERTS, in, 2, (llrt_value){rows, 1, d_out});
    if (!op) return LLRT_NONE;
    const uint32_t weight[7] = {e->gate,    e->up,        e->down,       e->gate_bias,
                                e->up_bias, e->down_bias, e->choice_bias};
    memcpy(op->weight, weight, sizeof weight);
    op->u.experts.n_used = e->n_used;
    op->u.experts.router = e->router;
    op->u.experts.n_group = e->n_group;
    op->u.experts.n_group_used = e->n_group_used;
    op->u.experts.is_group_sum = e->is_group_sum;
    op->u.experts.is_normalized = e->is_normalized;
    op->u.experts.scale = e->scale != 0 ? e->scale : 1.0f;
    op->u.experts.act = e->act;
    op->u.experts.limit = e->limit;
    op->u.experts.offset = e->offset;
    return op->out;
}

/* A state of n floats for the layer at work; LLRT_NONE after a failure. */
static uint32_t add_state(llrti_builder *b, llrt_op_kind kind, uint64_t n)
{
    if (b->hp.status < 0) return LLRT_NONE;
    if (n == 0 || n > (uint64_t)1 << 28)
        return defect(b, kind, "the state has no sensible size"), LLRT_NONE;
    if (!llrti_vec_reserve(b->mem, &b->state, b->state.n + 1, LLRT_MEMORY_HOST)) {
        fail_nomem(b, "state list", sizeof *b->state.data);
        return LLRT_NONE;
    }
    b->state.data[b->state.n] = (llrt_state_desc){(uint32_t)n, b->layer};
    return (uint32_t)b->state.n++;
}

uint32_t llrti_build_short_conv(llrti_builder *b, uint32_t x, uint32_t weight, uint32_t bias)
{
    if (!is_ready(b, LLRT_OP_SHORT_CONV, &x, 1)) return LLRT_NONE;
    const uint32_t n = llrti_build_width(b, x);
    if (weight >= b->weight.n) return defect(b, LLRT_OP_SHORT_CONV, "no weight"), LLRT_NONE;
    if (!is_weight(b, LLRT_OP_SHORT_CONV, weight, 0, n) ||
        !is_weight(b, LLRT_OP_SHORT_CONV, bias, n, 1))
        return LLRT_NONE;
    if (value_of(b, x)->rows != LLRT_ROWS_TOKEN || b->weight.data[weight].desc.dim[0] < 2)
        return defect(b, LLRT_OP_SHORT_CONV, "rows or taps"), LLRT_NONE;
    const uint32_t state =
        add_state(b, LLRT_OP_SHORT_CONV, (b->weight.data[weight].desc.dim[0] - 1) * n);
    llrt_op *const op = emit(b, LLRT_OP_SHORT_CONV, &x, 1, (llrt_value){LLRT_ROWS_TOKEN, 1, n});
    if (!op) return LLRT_NONE;
    op->weight[0] = weight;
    op->weight[1] = bias;
    op->u.conv.state = state;
    return op->out;
}

/* Appends a scan with what both kinds have. */
static llrt_op *emit_scan(llrti_builder *b, llrt_op_kind kind, const llrti_scan *s, uint32_t n_in,
                          uint32_t n_head, llrt_value out)
{
    for (uint32_t i = 0; i < n_in; i++) {
        if (value_of(b, s->in[i])->rows == LLRT_ROWS_TOKEN) continue;
        defect(b, kind, "rows");
        return NULL;
    }
    if (s->a == LLRT_NONE || s->dt_bias == LLRT_NONE) {
        defect(b, kind, "no weight");
        return NULL;
    }
    if (!is_weight(b, kind, s->a, n_head, 1) || !is_weight(b, kind, s->dt_bias, n_head, 1))
        return NULL;
    return emit(b, kind, s->in, n_in, out);
}

uint32_t llrti_build_gated_delta(llrti_builder *b, const llrti_scan *s)
{
    const llrt_op_kind kind = LLRT_OP_GATED_DELTA;
    if (!is_ready(b, kind, s->in, 5)) return LLRT_NONE;
    const llrt_value q = *value_of(b, s->in[0]), k = *value_of(b, s->in[1]);
    const llrt_value v = *value_of(b, s->in[2]);
    if (q.n_head != k.n_head || q.width != k.width || v.n_head % k.n_head ||
        llrti_build_width(b, s->in[3]) != v.n_head || llrti_build_width(b, s->in[4]) != v.n_head)
        return defect(b, kind, "shapes of q, k, v, a and beta"), LLRT_NONE;
    const uint32_t state = add_state(b, kind, (uint64_t)v.n_head * k.width * v.width);
    if (state == LLRT_NONE) return LLRT_NONE;
    llrt_op *const op = emit_scan(b, kind, s, 5, v.n_head, v);
    if (!op) return LLRT_NONE;
    op->weight[0] = s->a;
    op->weight[1] = s->dt_bias;
    op->u.scan.state = state;
    op->u.scan.is_log_a = s->is_log_a;
    op->u.scan.is_tiled = s->is_tiled;
    return op->out;
}

uint32_t llrti_build_ssm_scan(llrti_builder *b, const llrti_scan *s)
{
    const llrt_op_kind kind = LLRT_OP_SSM_SCAN;
    if (!is_ready(b, kind, s->in, 4)) return LLRT_NONE;
    const llrt_value x = *value_of(b, s->in[0]), group = *value_of(b, s->in[2]);
    const llrt_value other = *value_of(b, s->in[3]);
    if (llrti_build_width(b, s->in[1]) != x.n_head || group.n_head != other.n_head ||
        group.width != other.width || x.n_head % group.n_head)
        return defect(b, kind, "shapes of x, dt, b and c"), LLRT_NONE;
    if (s->d == LLRT_NONE) return defect(b, kind, "no weight"), LLRT_NONE;
    if (!is_weight(b, kind, s->d, x.n_head, 1)) return LLRT_NONE;
    const uint32_t state = add_state(b, kind, (uint64_t)x.n_head * group.width * x.width);
    if (state == LLRT_NONE) return LLRT_NONE;
    llrt_op *const op = emit_scan(b, kind, s, 4, x.n_head, x);
    if (!op) return LLRT_NONE;
    op->weight[0] = s->a;
    op->weight[1] = s->d;
    op->weight[2] = s->dt_bias;
    op->u.scan.state = state;
    op->u.scan.is_log_a = s->is_log_a;
    op->u.scan.dt_min = s->dt_min;
    op->u.scan.dt_max = s->dt_max;
    return op->out;
}

/* ---- The program's ends ---- */

void llrti_build_layer_output(llrti_builder *b, uint32_t x)
{
    if (b->hp.status < 0) return;
    for (uint32_t i = 0; i < b->n_tap; i++)
        if (b->tap_layer[i] == b->layer) b->tap[i] = x;
}

/* Emits the wanted rows of what the tapped layers left behind. */
static void gather_taps(llrti_builder *b)
{
    for (uint32_t i = 0; i < b->n_tap && b->hp.status >= 0; i++) {
        const uint32_t layer = b->tap_layer[i];
        if (layer >= b->model->n_layer || (i && layer <= b->tap_layer[i - 1]))
            llrti_build_fail(b, LLRT_ERR_ARGUMENT, "tap_layer",
                             "found layer %u, expected ascending numbers below %u", (unsigned)layer,
                             (unsigned)b->model->n_layer);
        b->tap[i] = llrti_build_gather(b, b->tap[i]);
    }
}

void llrti_build_hidden(llrti_builder *b, uint32_t hidden)
{
    if (b->hp.status < 0) return;
    if (hidden >= b->value.n || value_of(b, hidden)->rows != LLRT_ROWS_OUT) {
        defect(b, LLRT_OP_GATHER, "gather the wanted rows first");
        return;
    }
    b->model->hidden = hidden;
    gather_taps(b);
    b->n_embed_op = b->op.n;
}

uint32_t llrti_build_head(llrti_builder *b, uint32_t hidden, uint32_t weight, uint32_t bias)
{
    const llrt_value out = {LLRT_ROWS_OUT, 1, llrti_build_rows_of(b, weight)};
    if (b->hp.status >= 0 && b->model->hidden != hidden) llrti_build_hidden(b, hidden);
    llrt_op *const op = emit_product(b, LLRT_OP_HEAD, hidden, weight, bias, out);
    if (!op) return LLRT_NONE;
    b->model->logits = op->out;
    return op->out;
}

void llrti_build_logits(llrti_builder *b, uint32_t logits)
{
    if (b->hp.status < 0) return;
    if (logits >= b->value.n || b->model->logits == LLRT_NONE ||
        llrti_build_width(b, logits) != llrti_build_width(b, b->model->logits))
        defect(b, LLRT_OP_HEAD, "these can't be logits");
    b->model->logits = logits;
}

void llrti_build_score(llrti_builder *b, uint32_t score)
{
    if (b->hp.status < 0) return;
    if (score >= b->value.n || b->model->hidden == LLRT_NONE || score < b->n_embed_op ||
        value_of(b, score)->rows != LLRT_ROWS_OUT) {
        defect(b, LLRT_OP_LINEAR, "the score must be made from the hidden states");
        return;
    }
    b->model->score = score;
    b->model->n_label = llrti_build_width(b, score);
}
