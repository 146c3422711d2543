/* SPDX-License-Identifier: MIT */
/*
 * Checks of a model description by the hostile test backend.
 *
 * Everything include/llrt/backend.h says about descriptions is tested before anything is allocated:
 * known types and operators, shapes that fit each other, values that are written once and before
 * they are read, layers that ascend, inputs and outputs that exist. What a backend may refuse is
 * LLRT_ERR_UNSUPPORTED; what the library may never send is a violation.
 */
#include "hostile.h"

#include <math.h>
#include <string.h>

static llrt_status check_tensor(const llrt_tensor_desc *t, uint32_t i, llrt_error *err)
{
    if (!t->name || !t->name[0]) return hostile_violation(err, "tensor %u has no name", i);
    const hostile_type *const type = hostile_type_find(t->type);
    if (!type)
        return hostile_fail(err, LLRT_ERR_UNSUPPORTED, "tensor %s: element type %u", t->name,
                            t->type);
    if (t->n_dim < 1 || t->n_dim > 4)
        return hostile_violation(err, "tensor %s has %u dimensions", t->name, t->n_dim);
    uint64_t total = 1;
    for (uint32_t d = 0; d < 4; d++) {
        if (t->dim[d] == 0 || (d >= t->n_dim && t->dim[d] != 1))
            return hostile_violation(err, "tensor %s: dim[%u] is %llu", t->name, d,
                                     (unsigned long long)t->dim[d]);
        if (t->dim[d] > (1ull << 40) / total)
            return hostile_fail(err, LLRT_ERR_UNSUPPORTED, "tensor %s is too large", t->name);
        total *= t->dim[d];
    }
    if (t->dim[0] % type->block)
        return hostile_violation(err, "tensor %s: rows of %llu are no whole number of blocks",
                                 t->name, (unsigned long long)t->dim[0]);
    return LLRT_OK;
}

typedef struct checker {
    const llrt_model_desc *desc;
    const llrt_program *program;
    uint32_t i_program, i_op;
    const llrt_op *op;
    llrt_error *err;
} checker;

static llrt_status violate(const checker *c, const char *what)
{
    return hostile_violation(c->err, "program %u, operator %u (kind %u): %s", c->i_program, c->i_op,
                             c->op ? c->op->kind : 0, what);
}

static const llrt_value *input_of(const checker *c, uint32_t i)
{
    return &c->program->value[c->op->in[i]];
}

static const llrt_value *output_of(const checker *c)
{
    return &c->program->value[c->op->out];
}

static const llrt_tensor_desc *weight_of(const checker *c, uint32_t i)
{
    return c->op->weight[i] == LLRT_NONE ? NULL : &c->desc->tensor[c->op->weight[i]];
}

static bool is_same_shape(const llrt_value *a, const llrt_value *b)
{
    return a->rows == b->rows && hostile_width(a) == hostile_width(b);
}

static bool is_vector(const llrt_tensor_desc *t, uint64_t n)
{
    return t->dim[0] == n && t->dim[1] == 1 && t->dim[2] == 1 && t->dim[3] == 1;
}

static bool is_matrix(const llrt_tensor_desc *t, uint64_t n_in, uint64_t n_out)
{
    return t->dim[0] == n_in && t->dim[1] == n_out && t->dim[2] == 1 && t->dim[3] == 1;
}

static uint32_t inputs_of(const llrt_model_desc *desc, const llrt_op *op)
{
    switch (op->kind) {
    case LLRT_OP_EMBED:
        return 0;
    case LLRT_OP_ADD:
    case LLRT_OP_MUL:
    case LLRT_OP_SIGMOID_GATE:
    case LLRT_OP_GLU:
    case LLRT_OP_EXPERTS:
        return 2;
    case LLRT_OP_ATTENTION:
        return op->u.attention.kv < desc->n_kv && desc->kv[op->u.attention.kv].v_in_k ? 2 : 3;
    case LLRT_OP_SSM_SCAN:
        return 4;
    case LLRT_OP_GATED_DELTA:
        return 5;
    default:
        return 1;
    }
}

static uint32_t weights_of(llrt_op_kind kind)
{
    switch (kind) {
    case LLRT_OP_EMBED:
    case LLRT_OP_POSITION:
    case LLRT_OP_TOKEN_TYPE:
    case LLRT_OP_RMS_NORM:
    case LLRT_OP_ATTENTION:
    case LLRT_OP_HEAD_LINEAR:
        return 1;
    case LLRT_OP_LAYER_NORM:
    case LLRT_OP_LINEAR:
    case LLRT_OP_HEAD:
    case LLRT_OP_SHORT_CONV:
    case LLRT_OP_GATED_DELTA:
        return 2;
    case LLRT_OP_SSM_SCAN:
        return 3;
    case LLRT_OP_EXPERTS:
        return 7;
    default:
        return 0;
    }
}

static bool is_stack(const llrt_tensor_desc *t, uint64_t n_in, uint64_t n_out, uint64_t n)
{
    return t && t->dim[0] == n_in && t->dim[1] == n_out && t->dim[2] == n && t->dim[3] == 1;
}

static llrt_status check_attention(const checker *c)
{
    const llrt_op *const op = c->op;
    if (op->u.attention.kv >= c->desc->n_kv) return violate(c, "kv slot out of range");
    const llrt_kv_desc *const kv = &c->desc->kv[op->u.attention.kv];
    const llrt_value *const q = input_of(c, 0), *const out = output_of(c);
    if (op->u.attention.mask > LLRT_MASK_FULL)
        return hostile_fail(c->err, LLRT_ERR_UNSUPPORTED, "attention mask %u",
                            op->u.attention.mask);
    if (q->width != kv->k_dim || q->n_head % kv->n_head) return violate(c, "shape of q");
    if (hostile_width(input_of(c, 1)) != (size_t)kv->n_head * kv->k_dim)
        return violate(c, "shape of k");
    if (!kv->v_in_k && hostile_width(input_of(c, 2)) != (size_t)kv->n_head * kv->v_dim)
        return violate(c, "shape of v");
    if (hostile_width(out) != (size_t)q->n_head * kv->v_dim) return violate(c, "shape of out");
    for (uint32_t i = 0; i < op->n_in; i++)
        if (input_of(c, i)->rows != LLRT_ROWS_TOKEN) return violate(c, "rows of an input");
    if (out->rows != LLRT_ROWS_TOKEN) return violate(c, "rows of out");
    if (!isfinite(op->u.attention.scale) || !(op->u.attention.soft_cap >= 0))
        return violate(c, "scale or soft cap");
    if (weight_of(c, 0) && !is_vector(weight_of(c, 0), q->n_head))
        return violate(c, "shape of the sinks");
    for (uint32_t i = 0; op->u.attention.slope && i < q->n_head; i++)
        if (!isfinite(op->u.attention.slope[i])) return violate(c, "slope");
    if (kv->group == LLRT_KV_GROUP_WINDOW && !op->u.attention.window &&
        op->u.attention.mask == LLRT_MASK_CAUSAL)
        return violate(c, "no window, but the slot's pages are given up");
    for (uint32_t i = 0; i < c->i_op; i++)
        if (c->program->op[i].kind == LLRT_OP_ATTENTION &&
            c->program->op[i].u.attention.kv == op->u.attention.kv)
            return violate(c, "kv slot is written twice");
    return LLRT_OK;
}

/* One for all heads, or one for each. */
static bool is_norm_weight(const llrt_tensor_desc *w, const llrt_value *v)
{
    return !w || is_vector(w, v->width) || is_vector(w, hostile_width(v));
}

static llrt_status check_weighted(const checker *c)
{
    const llrt_op *const op = c->op;
    const llrt_value *const out = output_of(c);
    const llrt_tensor_desc *const w = weight_of(c, 0), *const bias = weight_of(c, 1);
    switch (op->kind) {
    case LLRT_OP_EMBED:
        if (!w || w->dim[0] != hostile_width(out)) return violate(c, "shape of the weight");
        if (out->rows != LLRT_ROWS_TOKEN) return violate(c, "rows of out");
        break;
    case LLRT_OP_POSITION:
    case LLRT_OP_TOKEN_TYPE:
        if (!w || w->dim[0] != hostile_width(out) || !is_same_shape(input_of(c, 0), out))
            return violate(c, "shapes");
        if (out->rows != LLRT_ROWS_TOKEN) return violate(c, "rows of out");
        break;
    case LLRT_OP_RMS_NORM:
    case LLRT_OP_LAYER_NORM:
        if (!is_same_shape(input_of(c, 0), out) || input_of(c, 0)->width != out->width)
            return violate(c, "shapes");
        if (!is_norm_weight(w, out) || !is_norm_weight(bias, out))
            return violate(c, "shape of a weight");
        if (!(op->u.norm.eps >= 0)) return violate(c, "eps");
        break;
    case LLRT_OP_HEAD_LINEAR:
        if (!is_stack(w, input_of(c, 0)->width, out->width, out->n_head) ||
            input_of(c, 0)->n_head != out->n_head)
            return violate(c, "shape of the weight");
        if (input_of(c, 0)->rows != out->rows) return violate(c, "rows");
        break;
    default: /* LINEAR, HEAD */
        if (!w || !is_matrix(w, hostile_width(input_of(c, 0)), hostile_width(out)))
            return violate(c, "shape of the weight");
        if (bias && !is_vector(bias, hostile_width(out))) return violate(c, "shape of the bias");
        if (input_of(c, 0)->rows != out->rows) return violate(c, "rows");
        break;
    }
    return LLRT_OK;
}

static llrt_status check_router(const checker *c, uint64_t n_expert)
{
    const llrt_op *const op = c->op;
    const uint32_t n_group = op->u.experts.n_group < 1 ? 1 : op->u.experts.n_group;
    const uint32_t n_used = n_group > 1 ? op->u.experts.n_group_used : 1;
    if (op->u.experts.router > LLRT_ROUTER_SIGMOID)
        return hostile_fail(c->err, LLRT_ERR_UNSUPPORTED, "router %u", op->u.experts.router);
    if (op->u.experts.act > LLRT_ACT_TANH)
        return hostile_fail(c->err, LLRT_ERR_UNSUPPORTED, "activation %u", op->u.experts.act);
    if (n_expert % n_group || n_used < 1 || n_used > n_group)
        return violate(c, "groups of experts");
    if (op->u.experts.is_group_sum > 1 ||
        (op->u.experts.is_group_sum && n_group > 1 && n_expert / n_group < 2))
        return violate(c, "sum of a group's two best");
    if (op->u.experts.n_used < 1 || op->u.experts.n_used > 64 ||
        op->u.experts.n_used > n_expert / n_group * n_used)
        return violate(c, "number of experts used");
    if (op->u.experts.is_normalized > 1 || !isfinite(op->u.experts.scale) ||
        !(op->u.experts.limit >= 0) || !isfinite(op->u.experts.offset))
        return violate(c, "numbers of the experts");
    return LLRT_OK;
}

static llrt_status check_experts(const checker *c)
{
    const llrt_value *const x = input_of(c, 0), *const out = output_of(c);
    const uint64_t n = hostile_width(input_of(c, 1));
    const llrt_tensor_desc *const gate = weight_of(c, 0), *const up = weight_of(c, 1);
    const llrt_tensor_desc *const down = weight_of(c, 2), *const gate_bias = weight_of(c, 3);
    const llrt_tensor_desc *const up_bias = weight_of(c, 4), *const down_bias = weight_of(c, 5);
    if (x->rows != out->rows || input_of(c, 1)->rows != out->rows) return violate(c, "rows");
    if (!up || !is_stack(up, hostile_width(x), up->dim[1], n) ||
        (gate && !is_stack(gate, hostile_width(x), up->dim[1], n)) ||
        !is_stack(down, up->dim[1], hostile_width(out), n))
        return violate(c, "shape of a weight");
    if ((gate_bias && (!gate || !is_matrix(gate_bias, up->dim[1], n))) ||
        (up_bias && !is_matrix(up_bias, up->dim[1], n)) ||
        (down_bias && !is_matrix(down_bias, hostile_width(out), n)) ||
        (weight_of(c, 6) && !is_vector(weight_of(c, 6), n)))
        return violate(c, "shape of a bias");
    return check_router(c, n);
}

/* The state of an operator: there, of the right size, and no other operator's of the program. */
static llrt_status check_state(const checker *c, uint32_t state, uint64_t n_float)
{
    if (state >= c->desc->n_state) return violate(c, "state out of range");
    if (c->desc->state[state].n_float != n_float) return violate(c, "size of the state");
    for (uint32_t i = 0; i < c->i_op; i++) {
        const llrt_op *const op = &c->program->op[i];
        if ((op->kind == LLRT_OP_SHORT_CONV && op->u.conv.state == state) ||
            ((op->kind == LLRT_OP_GATED_DELTA || op->kind == LLRT_OP_SSM_SCAN) &&
             op->u.scan.state == state))
            return violate(c, "state is written twice");
    }
    return LLRT_OK;
}

static llrt_status check_recurrent(const checker *c)
{
    const llrt_op *const op = c->op;
    const llrt_value *const out = output_of(c), *const x = input_of(c, 0);
    const llrt_tensor_desc *const w = weight_of(c, 0), *const second = weight_of(c, 1);
    if (out->rows != LLRT_ROWS_TOKEN) return violate(c, "rows of out");
    for (uint32_t i = 0; i < op->n_in; i++)
        if (input_of(c, i)->rows != LLRT_ROWS_TOKEN) return violate(c, "rows of an input");
    if (op->kind == LLRT_OP_SHORT_CONV) {
        const size_t n = hostile_width(out);
        if (hostile_width(x) != n || !w || !is_matrix(w, w->dim[0], n) ||
            (second && !is_vector(second, n)))
            return violate(c, "shapes");
        return check_state(c, op->u.conv.state, (w->dim[0] - 1) * n);
    }
    if (op->u.scan.is_log_a > 1 || op->u.scan.is_tiled > 1) return violate(c, "flags");
    if (op->kind == LLRT_OP_GATED_DELTA) {
        const llrt_value *const v = input_of(c, 2);
        if (input_of(c, 1)->n_head != x->n_head || input_of(c, 1)->width != x->width ||
            v->n_head % x->n_head || hostile_width(input_of(c, 3)) != v->n_head ||
            hostile_width(input_of(c, 4)) != v->n_head || hostile_width(out) != hostile_width(v))
            return violate(c, "shapes");
        if (!w || !second || !is_vector(w, v->n_head) || !is_vector(second, v->n_head))
            return violate(c, "shape of a weight");
        return check_state(c, op->u.scan.state, (uint64_t)hostile_width(v) * x->width);
    }
    const llrt_value *const b = input_of(c, 2);
    if (hostile_width(input_of(c, 1)) != x->n_head || input_of(c, 3)->n_head != b->n_head ||
        input_of(c, 3)->width != b->width || x->n_head % b->n_head ||
        hostile_width(out) != hostile_width(x))
        return violate(c, "shapes");
    if (!w || !second || !weight_of(c, 2) || !is_vector(w, x->n_head) ||
        !is_vector(second, x->n_head) || !is_vector(weight_of(c, 2), x->n_head))
        return violate(c, "shape of a weight");
    if (!(op->u.scan.dt_min <= op->u.scan.dt_max)) return violate(c, "bounds of t");
    return check_state(c, op->u.scan.state, (uint64_t)hostile_width(x) * b->width);
}

static llrt_status check_plain(const checker *c)
{
    const llrt_op *const op = c->op;
    const llrt_value *const out = output_of(c), *const x = input_of(c, 0);
    size_t sum = 0;
    switch (op->kind) {
    case LLRT_OP_GATHER:
        if (x->rows != LLRT_ROWS_TOKEN || out->rows != LLRT_ROWS_OUT) return violate(c, "rows");
        if (hostile_width(x) != hostile_width(out)) return violate(c, "shapes");
        break;
    case LLRT_OP_SLICE:
        if (x->rows != out->rows || op->u.slice.begin + hostile_width(out) > hostile_width(x))
            return violate(c, "slice out of range");
        break;
    case LLRT_OP_CONCAT:
        for (uint32_t i = 0; i < op->n_in; i++) {
            sum += hostile_width(input_of(c, i));
            if (input_of(c, i)->rows != out->rows) return violate(c, "rows");
            if (out->n_head > 1 && input_of(c, i)->n_head != out->n_head)
                return violate(c, "number of heads");
        }
        if (sum != hostile_width(out)) return violate(c, "shapes");
        break;
    case LLRT_OP_ROPE:
        if (!is_same_shape(x, out) || x->width != out->width) return violate(c, "shapes");
        if (op->u.rope.n_rot % 2 || op->u.rope.n_rot > x->width || !op->u.rope.inv_freq)
            return violate(c, "n_rot or inv_freq");
        if (op->u.rope.pairs > LLRT_ROPE_HALVES || out->rows != LLRT_ROWS_TOKEN)
            return violate(c, "kind of pairs or rows");
        for (uint32_t i = 0; op->u.rope.axis && i < op->u.rope.n_rot / 2; i++)
            if (op->u.rope.axis[i] > 2) return violate(c, "axis");
        break;
    default: /* element by element */
        for (uint32_t i = 0; i < op->n_in; i++)
            if (!is_same_shape(input_of(c, i), out)) return violate(c, "shapes");
        if ((op->kind == LLRT_OP_GLU || op->kind == LLRT_OP_ACTIVATE) &&
            op->u.act.act > LLRT_ACT_TANH)
            return hostile_fail(c->err, LLRT_ERR_UNSUPPORTED, "activation %u", op->u.act.act);
        if (op->kind == LLRT_OP_GLU && (!(op->u.act.limit >= 0) || !isfinite(op->u.act.offset)))
            return violate(c, "limit or offset");
        break;
    }
    return LLRT_OK;
}

/* By the library before the step, or by an operator before the present one. */
static bool is_written(const checker *c, uint32_t value)
{
    for (uint32_t i = 0; i < c->program->n_input; i++)
        if (c->program->input[i] == value) return true;
    for (uint32_t i = 0; i < c->i_op; i++)
        if (c->program->op[i].out == value) return true;
    return false;
}

static llrt_status check_op(const checker *c)
{
    const llrt_op *const op = c->op;
    if (op->kind == 0 || op->kind > LLRT_OP_HEAD_LINEAR)
        return hostile_fail(c->err, LLRT_ERR_UNSUPPORTED, "operator %u", op->kind);
    if (op->kind == LLRT_OP_CONCAT ? op->n_in < 1 || op->n_in > 6
                                   : op->n_in != inputs_of(c->desc, op))
        return violate(c, "number of inputs");
    if (c->i_op && op->layer < op[-1].layer) return violate(c, "layers don't ascend");
    for (uint32_t i = 0; i < 6; i++) {
        if (i >= op->n_in ? op->in[i] != LLRT_NONE : op->in[i] >= c->program->n_value)
            return violate(c, "index of an input");
        if (i < op->n_in && !is_written(c, op->in[i]))
            return violate(c, "a value is read before it is written");
    }
    if (op->out >= c->program->n_value) return violate(c, "index of the output");
    if (is_written(c, op->out)) return violate(c, "a value is written twice");
    for (uint32_t i = 0; i < 8; i++)
        if (op->weight[i] != LLRT_NONE &&
            (i >= weights_of(op->kind) || op->weight[i] >= c->desc->n_tensor))
            return violate(c, "index of a weight");
    switch (op->kind) {
    case LLRT_OP_ATTENTION:
        return check_attention(c);
    case LLRT_OP_EXPERTS:
        return check_experts(c);
    case LLRT_OP_SHORT_CONV:
    case LLRT_OP_GATED_DELTA:
    case LLRT_OP_SSM_SCAN:
        return check_recurrent(c);
    default:
        return weights_of(op->kind) ? check_weighted(c) : check_plain(c);
    }
}

static llrt_status check_program(checker *c)
{
    const llrt_program *const p = c->program;
    for (uint32_t i = 0; i < p->n_value; i++) {
        const llrt_value *const v = &p->value[i];
        if (v->rows > LLRT_ROWS_OUT || v->n_head == 0 || v->width == 0)
            return hostile_violation(c->err, "program %u, value %u has no shape", c->i_program, i);
    }
    for (uint32_t i = 0; i < p->n_input; i++) {
        if (p->input[i] >= p->n_value || p->value[p->input[i]].rows != LLRT_ROWS_TOKEN)
            return hostile_violation(c->err, "program %u, input %u", c->i_program, i);
        for (uint32_t j = 0; j < i; j++)
            if (p->input[j] == p->input[i])
                return hostile_violation(c->err, "program %u, input %u twice", c->i_program, i);
    }
    for (c->i_op = 0; c->i_op < p->n_op; c->i_op++) {
        c->op = &p->op[c->i_op];
        HOSTILE_TRY(check_op(c));
    }
    for (uint32_t i = 0; i < p->n_output; i++)
        if (p->output[i] >= p->n_value || !is_written(c, p->output[i]))
            return hostile_violation(c->err, "program %u, output %u", c->i_program, i);
    if (p->logits != LLRT_NONE && (p->logits >= p->n_value || !is_written(c, p->logits) ||
                                   p->value[p->logits].rows != LLRT_ROWS_OUT))
        return hostile_violation(c->err, "program %u: logits", c->i_program);
    return LLRT_OK;
}

llrt_status hostile_check_model(const llrt_model_desc *desc, llrt_error *err)
{
    if (desc->struct_size < sizeof *desc) return hostile_violation(err, "model_desc.struct_size");
    if (desc->n_device != 1)
        return hostile_fail(err, LLRT_ERR_UNSUPPORTED, "%u devices; this backend takes one",
                            desc->n_device);
    if (desc->device[0] > 1) return hostile_violation(err, "device %u of 2", desc->device[0]);
    if (desc->kv_type != LLRT_TYPE_F32 && desc->kv_type != LLRT_TYPE_F16 &&
        desc->kv_type != LLRT_TYPE_BF16 && desc->kv_type != LLRT_TYPE_Q8_0)
        return hostile_fail(err, LLRT_ERR_UNSUPPORTED, "kv type %u", desc->kv_type);
    if (desc->precision > LLRT_PRECISION_PORTABLE || desc->weights > LLRT_WEIGHTS_MAPPED)
        return hostile_violation(err, "precision or weight policy");
    if (desc->isa && strcmp(desc->isa, "ref") != 0)
        return hostile_fail(err, LLRT_ERR_UNSUPPORTED, "instruction set '%s'; there is only 'ref'",
                            desc->isa);
    for (uint32_t i = 0; i < desc->n_tensor; i++)
        HOSTILE_TRY(check_tensor(&desc->tensor[i], i, err));
    for (uint32_t i = 0; i < desc->n_kv; i++) {
        const llrt_kv_desc *const kv = &desc->kv[i];
        if (!kv->n_head || !kv->k_dim || !kv->v_dim || kv->v_in_k > 1 ||
            (kv->v_in_k && kv->v_dim > kv->k_dim))
            return hostile_violation(err, "kv slot %u has no shape", i);
        if (kv->group >= LLRT_KV_GROUP_COUNT)
            return hostile_violation(err, "kv slot %u: group %u", i, kv->group);
    }
    checker c = {.desc = desc, .err = err};
    for (c.i_program = 0; c.i_program < desc->n_program; c.i_program++) {
        c.program = &desc->program[c.i_program];
        c.op = NULL;
        HOSTILE_TRY(check_program(&c));
    }
    return LLRT_OK;
}
