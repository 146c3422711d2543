/* SPDX-License-Identifier: MIT */
/*
 * A step: its description is checked against limits and program, then each operator runs as one or two
 * parallel loops over rows or elements. How a loop is cut changes no result: rows are independent, and elements of
 * element-wise operators too.
 *
 * A linear's input is packed once for all linears that read it. Cancelling is polled by every part of every
 * loop; the operators after it do not start.
 */
#include "cpu_step.h"

#include <string.h>

#include "compiler.h"
#include "cpu_adapters.h"
#include "cpu_attention.h"
#include "cpu_experts.h"
#include "cpu_fpenv.h"
#include "cpu_math.h"
#include "cpu_recurrent.h"
#include "cpu_squares.h"
#include "error.h"
#include "select.h"

/* ---- Checks --------------------------------------------------------------------------------- */

/* All pages that attention reads or writes: those from the first position that the first row sees on. */
static llrt_status check_pages(const llrti_cpu_runtime *rt, const llrt_step_seq *s, uint32_t i,
                               const llrti_cpu_reach *reach, uint32_t group, llrt_error *err)
{
    const int64_t begin = s->pos_begin, n_before = reach->n_before;
    const int64_t low = begin > n_before ? begin - n_before : 0;
    const int64_t n_page = (begin + s->n_row + LLRT_PAGE_TOK - 1) / LLRT_PAGE_TOK;
    if (!reach->is_used) return LLRT_OK;
    if (!s->page[group] || s->n_page < n_page)
        return llrti_fail(err, LLRT_ERR_ARGUMENT,
                          "sequence %u has %u pages of group %u, expected at least %lld", i,
                          s->page[group] ? s->n_page : 0, group, (long long)n_page);
    for (int64_t k = low / LLRT_PAGE_TOK; k < n_page; k++)
        if (s->page[group][k] >= rt->limits.n_page[group])
            return llrti_fail(err, LLRT_ERR_ARGUMENT,
                              "sequence %u, page %lld of group %u is %u, expected one below %u", i,
                              (long long)k, group, s->page[group][k], rt->limits.n_page[group]);
    return LLRT_OK;
}

static llrt_status check_seq(const llrti_cpu_runtime *rt, const llrt_step_desc *step, uint32_t i,
                             const llrti_cpu_program *p, uint32_t row, llrt_error *err)
{
    const llrt_step_seq *const s = &step->seq[i];
    if (s->row_begin != row || s->n_row == 0 || s->n_row > step->n_row - row)
        return llrti_fail(err, LLRT_ERR_ARGUMENT,
                          "sequence %u has rows %u to %llu, expected to start at %u of %u", i,
                          s->row_begin, (unsigned long long)s->row_begin + s->n_row, row,
                          step->n_row);
    const int64_t begin = s->pos_begin, end = begin + s->n_row;
    if (begin < 0 || end > INT32_MAX || begin < p->pos_low || end > p->pos_high)
        return llrti_fail(err, LLRT_ERR_ARGUMENT,
                          "sequence %u has positions %lld to %lld, expected %lld to %lld", i,
                          (long long)begin, (long long)end - 1, (long long)LLRTI_MAX(p->pos_low, 0),
                          (long long)p->pos_high - 1);
    if (s->flags > LLRT_SEQ_BIDIRECTIONAL)
        return llrti_fail(err, LLRT_ERR_ARGUMENT, "sequence %u has flags %#x, known is %#x", i,
                          s->flags, LLRT_SEQ_BIDIRECTIONAL);
    if (p->has_full_mask && begin != 0)
        return llrti_fail(err, LLRT_ERR_ARGUMENT,
                          "sequence %u starts at position %lld, expected 0: program %u computes "
                          "whole sequences",
                          i, (long long)begin, step->program);
    for (uint32_t group = 0; group < LLRT_KV_GROUP_COUNT; group++)
        LLRTI_TRY(check_pages(rt, s, i, &p->reach[group], group, err));
    return LLRT_OK;
}

static llrt_status check_tokens(llrti_cpu_runtime *rt, const llrt_step_desc *step,
                                const llrti_cpu_program *p, llrt_error *err)
{
    uint32_t n_embedding = 0;
    if (!p->has_embed) return LLRT_OK;
    if (!step->token) return llrti_fail(err, LLRT_ERR_ARGUMENT, "the step has no tokens");
    for (uint32_t i = 0; i < step->n_row; i++) {
        const int32_t token = step->token[i];
        if (token == -1)
            rt->row[i].embedding = n_embedding++;
        else if (token < 0 || (uint64_t)token >= p->n_token)
            return llrti_fail(err, LLRT_ERR_ARGUMENT,
                              "row %u has token %d, expected one below %llu, or -1", i, token,
                              (unsigned long long)p->n_token);
    }
    if (n_embedding && !step->embedding)
        return llrti_fail(err, LLRT_ERR_ARGUMENT,
                          "%u rows have token -1, but there are no embeddings", n_embedding);
    return LLRT_OK;
}

static llrt_status check_token_types(const llrt_step_desc *step, const llrti_cpu_program *p,
                                     llrt_error *err)
{
    if (!p->n_token_type || !step->token_type) return LLRT_OK;
    for (uint32_t i = 0; i < step->n_row; i++)
        if (step->token_type[i] >= p->n_token_type)
            return llrti_fail(err, LLRT_ERR_ARGUMENT,
                              "row %u has token type %u, expected one below %llu", i,
                              step->token_type[i], (unsigned long long)p->n_token_type);
    return LLRT_OK;
}

static bool are_ids_below(const int32_t *id, uint32_t n, size_t n_vocab)
{
    for (uint32_t i = 0; i < n; i++)
        if (id[i] < 0 || (size_t)id[i] >= n_vocab) return false;
    return true;
}

static llrt_status check_select(const llrt_step_desc *step, const llrti_cpu_program *p, uint32_t i,
                                llrt_error *err)
{
    const llrt_select *const s = &step->select[i];
    const size_t n_vocab = p->value[p->logits].row_width;
    if (s->out_row >= step->n_out || s->n_best < 1 || s->n_best > LLRT_SELECT_MAX ||
        !step->result[i].token || !step->result[i].logit)
        return llrti_fail(
            err, LLRT_ERR_ARGUMENT,
            "select %u wants the best %u of wanted row %u, expected 1 to %d of a row below %u", i,
            s->n_best, s->out_row, LLRT_SELECT_MAX, step->n_out);
    if ((s->n_bias && (!s->bias_token || !s->bias)) ||
        (s->n_penalty && (!s->penalty_token || !s->penalty_count)) ||
        (s->n_subtract && (!s->subtract_token || !s->subtract)))
        return llrti_fail(err, LLRT_ERR_ARGUMENT, "select %u lacks a list", i);
    if (!are_ids_below(s->bias_token, s->n_bias, n_vocab) ||
        !are_ids_below(s->penalty_token, s->n_penalty, n_vocab) ||
        !are_ids_below(s->subtract_token, s->n_subtract, n_vocab))
        return llrti_fail(err, LLRT_ERR_ARGUMENT, "select %u names a token outside of 0 to %zu", i,
                          n_vocab - 1);
    return LLRT_OK;
}

static llrt_status check_step(llrti_cpu_runtime *rt, const llrt_step_desc *step, llrt_error *err)
{
    if (!step || step->struct_size < sizeof *step)
        return llrti_fail(err, LLRT_ERR_ARGUMENT, "the step has size %u, expected %zu",
                          step ? step->struct_size : 0, sizeof *step);
    if (step->program >= rt->model->n_program)
        return llrti_fail(err, LLRT_ERR_ARGUMENT, "program %u, expected one below %u",
                          step->program, rt->model->n_program);
    const llrti_cpu_program *const p = &rt->model->program[step->program];
    if (step->n_row < 1 || step->n_row > rt->limits.n_row || step->n_seq < 1 ||
        step->n_seq > rt->limits.n_seq || step->n_out > rt->limits.n_out || !step->seq ||
        (step->n_out && !step->out_row))
        return llrti_fail(
            err, LLRT_ERR_ARGUMENT,
            "%u rows of %u sequences with %u wanted rows, expected 1 to %u, 1 to %u and at most %u",
            step->n_row, step->n_seq, step->n_out, rt->limits.n_row, rt->limits.n_seq,
            rt->limits.n_out);
    uint32_t row = 0;
    for (uint32_t i = 0; i < step->n_seq; i++) {
        LLRTI_TRY(check_seq(rt, step, i, p, row, err));
        for (uint32_t k = 0; k < step->seq[i].n_row; k++) {
            rt->row[row].seq = i;
            rt->row[row++].position = step->seq[i].pos_begin + (int32_t)k;
        }
    }
    if (row != step->n_row)
        return llrti_fail(err, LLRT_ERR_ARGUMENT, "the sequences have %u rows, the step %u", row,
                          step->n_row);
    LLRTI_TRY(llrti_cpu_recurrent_check(rt, step, p, err));
    LLRTI_TRY(llrti_cpu_adapters_check(rt, step, err));
    LLRTI_TRY(check_tokens(rt, step, p, err));
    LLRTI_TRY(check_token_types(step, p, err));
    for (uint32_t i = 0; i < step->n_out; i++)
        if (step->out_row[i] >= step->n_row || (i && step->out_row[i] <= step->out_row[i - 1]))
            return llrti_fail(err, LLRT_ERR_ARGUMENT,
                              "wanted row %u is row %u of %u, expected ascending rows", i,
                              step->out_row[i], step->n_row);
    for (uint32_t i = 0; i < p->n_input; i++)
        if (!step->input || !step->input[i])
            return llrti_fail(err, LLRT_ERR_ARGUMENT, "the step lacks input %u of %u", i,
                              p->n_input);
    if (step->n_select && (p->logits == LLRT_NONE || !step->select || !step->result))
        return llrti_fail(err, LLRT_ERR_ARGUMENT,
                          "the step selects, but program %u has no logits or the step no lists",
                          step->program);
    for (uint32_t i = 0; i < step->n_select; i++) LLRTI_TRY(check_select(step, p, i, err));
    return LLRT_OK;
}

/* ---- Operators over rows -------------------------------------------------------------------- */

/* An operator's rows. */
typedef struct row_job {
    const llrti_cpu_op *op;
    const float *x;
    float *y;
    size_t x_width, y_width;
} row_job;

static void embed_rows(llrti_cpu_runtime *rt, const void *arg, size_t begin, size_t end,
                       uint32_t worker)
{
    const row_job *const job = arg;
    const llrti_linear *const w = &rt->model->weight[job->op->op.weight[0]].linear;
    const float factor = job->op->op.u.scale.factor;
    for (size_t i = begin; i < end; i++) {
        float *const y = job->y + i * job->y_width;
        const int32_t token = rt->step->token[i];
        if (token < 0) {
            memcpy(y, rt->step->embedding + rt->row[i].embedding * job->y_width,
                   job->y_width * sizeof *y);
            continue;
        }
        llrti_linear_get_row(w, (size_t)token, y);
        if (factor != 1) rt->model->ops.scale(job->y_width, y, factor, y);
    }
}

static void position_rows(llrti_cpu_runtime *rt, const void *arg, size_t begin, size_t end,
                          uint32_t worker)
{
    const row_job *const job = arg;
    const float *const table = rt->model->weight[job->op->op.weight[0]].vector;
    for (size_t i = begin; i < end; i++) {
        const int64_t position = (int64_t)rt->row[i].position + job->op->op.u.position.offset;
        rt->model->ops.add(job->y_width, job->x + i * job->y_width,
                           table + (size_t)position * job->y_width, job->y + i * job->y_width);
    }
}

static void token_type_rows(llrti_cpu_runtime *rt, const void *arg, size_t begin, size_t end,
                            uint32_t worker)
{
    const row_job *const job = arg;
    const float *const table = rt->model->weight[job->op->op.weight[0]].vector;
    for (size_t i = begin; i < end; i++) {
        const size_t type = rt->step->token_type ? rt->step->token_type[i] : 0;
        rt->model->ops.add(job->y_width, job->x + i * job->y_width, table + type * job->y_width,
                           job->y + i * job->y_width);
    }
}

static void gather_rows(llrti_cpu_runtime *rt, const void *arg, size_t begin, size_t end,
                        uint32_t worker)
{
    const row_job *const job = arg;
    for (size_t i = begin; i < end; i++)
        memcpy(job->y + i * job->y_width, job->x + rt->step->out_row[i] * job->y_width,
               job->y_width * sizeof(float));
}

static void slice_rows(llrti_cpu_runtime *rt, const void *arg, size_t begin, size_t end,
                       uint32_t worker)
{
    const row_job *const job = arg;
    for (size_t i = begin; i < end; i++)
        memcpy(job->y + i * job->y_width, job->x + i * job->x_width + job->op->op.u.slice.begin,
               job->y_width * sizeof(float));
}

static void concat_rows(llrti_cpu_runtime *rt, const void *arg, size_t begin, size_t end,
                        uint32_t worker)
{
    const row_job *const job = arg;
    const size_t n_head = rt->program->value[job->op->op.out].n_head;
    const size_t y_width = job->y_width / n_head;
    size_t at = 0;
    for (uint32_t k = 0; k < job->op->op.n_in; k++) {
        const size_t width = rt->program->value[job->op->op.in[k]].row_width / n_head;
        const float *const x = llrti_cpu_runtime_value(rt, job->op->op.in[k]);
        for (size_t i = begin * n_head; i < end * n_head; i++)
            memcpy(job->y + i * y_width + at, x + i * width, width * sizeof(float));
        at += width;
    }
}

/* A vector of a norm, (width) or (n_head, width); *stride is the floats from one head's to the next one's. */
static const float *find_norm_weight(const llrti_cpu_runtime *rt, uint32_t index, size_t width,
                                     size_t *stride)
{
    *stride = 0;
    if (index == LLRT_NONE) return NULL;
    const llrti_cpu_weight *const w = &rt->model->weight[index];
    if (w->k * w->m != width) *stride = width;
    return w->vector;
}

static void norm_rows(llrti_cpu_runtime *rt, const void *arg, size_t begin, size_t end,
                      uint32_t worker)
{
    const row_job *const job = arg;
    const llrt_op *const op = &job->op->op;
    const llrti_cpu_value *const v = &rt->program->value[op->out];
    const bool is_rms = op->kind == LLRT_OP_RMS_NORM;
    size_t w_stride, bias_stride;
    const float *const w = find_norm_weight(rt, op->weight[0], v->width, &w_stride);
    const float *const bias =
        find_norm_weight(rt, is_rms ? LLRT_NONE : op->weight[1], v->width, &bias_stride);
    const size_t n_row = (end - begin) * v->n_head;
    const size_t part = w_stride || bias_stride ? 1 : n_row; /* rows with the same vectors */
    for (size_t i = 0; i < n_row; i += part) {
        const float *const x = job->x + begin * job->y_width + i * v->width;
        float *const y = job->y + begin * job->y_width + i * v->width;
        const size_t head = i % v->n_head;
        const float *const head_w = w ? w + head * w_stride : NULL;
        if (is_rms)
            rt->model->ops.rms_norm(part, v->width, x, head_w, op->u.norm.weight_offset,
                                    op->u.norm.eps, y);
        else
            rt->model->ops.layer_norm(part, v->width, x, head_w,
                                      bias ? bias + head * bias_stride : NULL, op->u.norm.eps, y);
    }
}

static const float *find_table(const llrti_cpu_runtime *rt, uint32_t set)
{
    return (const float *)(const void *)(rt->scratch + rt->layout.rope) +
           set * rt->layout.rope_floats;
}

static void rope_rows(llrti_cpu_runtime *rt, const void *arg, size_t begin, size_t end,
                      uint32_t worker)
{
    const row_job *const job = arg;
    const llrti_cpu_value *const v = &rt->program->value[job->op->op.out];
    const uint32_t n_rot = job->op->op.u.rope.n_rot;
    const float *const table = find_table(rt, job->op->rope);
    llrti_rope_fn *const rope = rt->model->ops.rope[job->op->op.u.rope.pairs];
    for (size_t i = begin; i < end; i++)
        rope(v->n_head, v->width, n_rot, table + i * n_rot, job->x + i * job->y_width,
             job->y + i * job->y_width);
}

/* Cosines and sines of the rows' angles, for one set. */
static void fill_table(llrti_cpu_runtime *rt, const void *arg, size_t begin, size_t end,
                       uint32_t worker)
{
    const uint32_t set = *(const uint32_t *)arg;
    const llrti_cpu_rope *const rope = &rt->program->rope[set];
    const size_t half = rope->n_rot / 2;
    float *const table =
        (float *)(void *)(rt->scratch + rt->layout.rope) + set * rt->layout.rope_floats;
    for (size_t i = begin; i < end; i++)
        for (size_t k = 0; k < half; k++) {
            double sine, cosine;
            const size_t axis = rope->axis ? rope->axis[k] : 0;
            const int32_t position = rt->step->position
                                         ? rt->step->position[i * LLRTI_CPU_N_AXIS + axis]
                                         : rt->row[i].position;
            llrti_math_sincos((double)position * (double)rope->inv_freq[k], &sine, &cosine);
            table[i * rope->n_rot + k] = (float)(cosine * (double)rope->magnitude);
            table[i * rope->n_rot + half + k] = (float)(sine * (double)rope->magnitude);
        }
}

static void elements(llrti_cpu_runtime *rt, const void *arg, size_t begin, size_t end,
                     uint32_t worker)
{
    const row_job *const job = arg;
    const llrti_ops *const ops = &rt->model->ops;
    const llrt_op *const op = &job->op->op;
    const float *const a = job->x + begin;
    const float *const b = op->n_in > 1 ? llrti_cpu_runtime_value(rt, op->in[1]) + begin : NULL;
    float *const y = job->y + begin;
    const size_t n = end - begin;
    switch (op->kind) {
    case LLRT_OP_ADD:
        ops->add(n, a, b, y);
        break;
    case LLRT_OP_MUL:
        ops->mul(n, a, b, y);
        break;
    case LLRT_OP_SIGMOID_GATE:
        ops->sigmoid_gate(n, a, b, y);
        break;
    case LLRT_OP_SCALE:
        ops->scale(n, a, op->u.scale.factor, y);
        break;
    case LLRT_OP_SOFT_CAP:
        ops->soft_cap(n, a, op->u.scale.factor, y);
        break;
    case LLRT_OP_GLU:
        llrti_ops_glu(ops, op->u.act.act, op->u.act.limit, op->u.act.offset, n, a, b, y);
        break;
    default:
        ops->activate[op->u.act.act](n, a, y);
        break;
    }
}

/* ---- Linears -------------------------------------------------------------------------------- */

static void run_linear(llrti_cpu_runtime *rt, const llrti_cpu_op *leader)
{
    const llrti_cpu_model *const m = rt->model;
    const uint32_t x = leader->op.in[0];
    const size_t n_row = llrti_cpu_runtime_rows(rt, x);
    const llrti_linear *const first = &m->weight[leader->op.weight[0]].linear;
    void *const packed = rt->scratch + rt->layout.packed;
    if (n_row == 0 || leader->n_group == 0) return;
    if (rt->packed_value != x || rt->packed_act != first->act) {
        const llrti_linear_input input = {
            .act = first->act,
            .kernels = &m->gemm,
            .x = llrti_cpu_runtime_value(rt, x),
            .x_stride = first->k,
            .k = first->k,
            .n_row = n_row,
            .packed = packed,
        };
        llrti_linear_act_pack_all(&rt->host, &input);
        rt->packed_value = x;
        rt->packed_act = first->act;
    }
    llrti_linear_job job = {
        .n_weight = leader->n_group,
        .packed = packed,
        .n_row = n_row,
        .scratch = rt->scratch + rt->layout.linear,
        .poll_cancel = rt->step->poll_cancel,
        .poll_ctx = rt->step->poll_ctx,
    };
    for (uint32_t i = 0; i < leader->n_group; i++) {
        const llrt_op *const op = &rt->program->op[leader->group[i]].op;
        job.weight[i] = &m->weight[op->weight[0]].linear;
        job.bias[i] = op->weight[1] == LLRT_NONE ? NULL : m->weight[op->weight[1]].vector;
        job.out[i] = llrti_cpu_runtime_value(rt, op->out);
        job.out_stride[i] = rt->program->value[op->out].row_width;
    }
    if (llrti_linear_run(&rt->host, &job) < 0)
        atomic_store_explicit(&rt->is_cancelled, 1, memory_order_relaxed);
    for (uint32_t i = 0; i < leader->n_group; i++) {
        const llrt_op *const op = &rt->program->op[leader->group[i]].op;
        if (rt->max_adapter) llrti_cpu_adapters_apply(rt, op);
        if (rt->limits.with_squares) llrti_cpu_squares_add_input(rt, op);
    }
}

/* ---- The step ------------------------------------------------------------------------------- */

static void run_op(llrti_cpu_runtime *rt, const llrti_cpu_op *op)
{
    const llrti_cpu_value *const out = &rt->program->value[op->op.out];
    const uint32_t x = op->op.n_in ? op->op.in[0] : op->op.out;
    const size_t n_row = llrti_cpu_runtime_rows(rt, op->op.out), width = out->row_width;
    const row_job job = {op, llrti_cpu_runtime_value(rt, x),
                         llrti_cpu_runtime_value(rt, op->op.out), rt->program->value[x].row_width,
                         width};
    switch (op->op.kind) {
    case LLRT_OP_EMBED:
        llrti_cpu_runtime_split(rt, n_row, 1, width, embed_rows, &job);
        break;
    case LLRT_OP_POSITION:
        llrti_cpu_runtime_split(rt, n_row, 1, width, position_rows, &job);
        break;
    case LLRT_OP_TOKEN_TYPE:
        llrti_cpu_runtime_split(rt, n_row, 1, width, token_type_rows, &job);
        break;
    case LLRT_OP_GATHER:
        llrti_cpu_runtime_split(rt, n_row, 1, width / 4 + 1, gather_rows, &job);
        break;
    case LLRT_OP_SLICE:
        llrti_cpu_runtime_split(rt, n_row, 1, width / 4 + 1, slice_rows, &job);
        break;
    case LLRT_OP_CONCAT:
        llrti_cpu_runtime_split(rt, n_row, 1, width / 4 + 1, concat_rows, &job);
        break;
    case LLRT_OP_RMS_NORM:
    case LLRT_OP_LAYER_NORM:
        llrti_cpu_runtime_split(rt, n_row, 1, width, norm_rows, &job);
        break;
    case LLRT_OP_ROPE:
        llrti_cpu_runtime_split(rt, n_row, 1, width, rope_rows, &job);
        break;
    case LLRT_OP_LINEAR:
    case LLRT_OP_HEAD:
        run_linear(rt, op);
        break;
    case LLRT_OP_ATTENTION:
        llrti_cpu_attention_run(rt, op);
        break;
    case LLRT_OP_EXPERTS:
        llrti_cpu_experts_run(rt, &op->op);
        break;
    case LLRT_OP_HEAD_LINEAR:
        llrti_cpu_experts_run_heads(rt, &op->op);
        break;
    case LLRT_OP_SHORT_CONV:
        llrti_cpu_recurrent_conv(rt, &op->op);
        break;
    case LLRT_OP_GATED_DELTA:
        llrti_cpu_recurrent_delta(rt, &op->op);
        break;
    case LLRT_OP_SSM_SCAN:
        llrti_cpu_recurrent_scan(rt, &op->op);
        break;
    case LLRT_OP_GLU:
    case LLRT_OP_ACTIVATE:
    case LLRT_OP_SOFT_CAP:
    case LLRT_OP_SIGMOID_GATE:
        llrti_cpu_runtime_split(rt, n_row * width, 64, 4, elements, &job);
        break;
    default:
        llrti_cpu_runtime_split(rt, n_row * width, 64, 1, elements, &job);
        break;
    }
}

static void select_rows(llrti_cpu_runtime *rt, const void *arg, size_t begin, size_t end,
                        uint32_t worker)
{
    const llrti_cpu_value *const v = &rt->program->value[rt->program->logits];
    void *const scratch = rt->scratch + rt->layout.select + worker * rt->layout.select_bytes;
    for (size_t i = begin; i < end; i++) {
        const llrt_select *const s = &rt->step->select[i];
        llrt_select_result *const to = &rt->step->result[i];
        const llrti_select_params params = {
            .n_best = s->n_best,
            .n_bias = s->n_bias,
            .n_penalty = s->n_penalty,
            .n_subtract = s->n_subtract,
            .repetition = s->repetition,
            .frequency = s->frequency,
            .presence = s->presence,
            .want_log_sum_exp = (s->wants & LLRT_SELECT_LOG_SUM_EXP) != 0,
            .want_raw_log_sum_exp = (s->wants & LLRT_SELECT_RAW_LOG_SUM_EXP) != 0,
            .bias_token = s->bias_token,
            .bias = s->bias,
            .penalty_token = s->penalty_token,
            .penalty_count = s->penalty_count,
            .subtract_token = s->subtract_token,
            .subtract = s->subtract,
            .allowed = s->allowed,
        };
        llrti_select_result result = {.token = to->token, .logit = to->logit};
        if (llrti_cpu_runtime_poll(rt)) return;
        llrti_select(llrti_cpu_runtime_value(rt, rt->program->logits) + s->out_row * v->row_width,
                     (uint32_t)v->row_width, &params, scratch, &result);
        to->n = result.n;
        to->log_sum_exp = result.log_sum_exp;
        to->raw_log_sum_exp = result.raw_log_sum_exp;
    }
}

static void run_step(llrti_cpu_runtime *rt)
{
    const llrti_cpu_program *const p = rt->program;
    for (uint32_t i = 0; i < p->n_input; i++)
        memcpy(llrti_cpu_runtime_value(rt, p->input[i]), rt->step->input[i],
               rt->step->n_row * p->value[p->input[i]].row_width * sizeof(float));
    for (uint32_t set = 0; set < p->n_rope; set++)
        llrti_cpu_runtime_split(rt, rt->step->n_row, 1, (size_t)p->rope[set].n_rot * 8, fill_table,
                                &set);
    llrti_cpu_recurrent_keep(rt);
    for (uint32_t i = 0; i < p->n_op; i++) {
        if (llrti_cpu_runtime_poll(rt)) return;
        run_op(rt, &p->op[i]);
    }
    if (rt->step->n_select)
        llrti_cpu_runtime_split(rt, rt->step->n_select, 1, p->value[p->logits].row_width * 4,
                                select_rows, NULL);
}

llrt_status llrti_cpu_step_submit(llrti_cpu_runtime *rt, const llrt_step_desc *step,
                                  llrt_error *err)
{
    if (rt->is_in_flight) return llrti_fail(err, LLRT_ERR_STATE, "a step is in flight already");
    LLRTI_TRY(check_step(rt, step, err));
    const uint64_t saved = llrti_fpenv_enter();
    rt->step = step;
    rt->program = &rt->model->program[step->program];
    rt->packed_value = LLRT_NONE;
    rt->has_result = false;
    atomic_store(&rt->is_cancelled, 0);
    run_step(rt);
    llrti_fpenv_leave(saved);
    const bool is_cancelled = atomic_load(&rt->is_cancelled) != 0;
    rt->status = is_cancelled ? LLRT_ERR_CANCELLED : LLRT_OK;
    rt->last_program = step->program;
    rt->last_n_row = step->n_row;
    rt->last_n_out = step->n_out;
    rt->step = NULL;
    rt->is_in_flight = true;
    return LLRT_OK;
}

llrt_status llrti_cpu_step_wait(llrti_cpu_runtime *rt, llrt_error *err)
{
    if (!rt->is_in_flight) return llrti_fail(err, LLRT_ERR_STATE, "no step is in flight");
    rt->is_in_flight = false;
    rt->has_result = rt->status == LLRT_OK;
    if (rt->status < 0) return llrti_fail(err, rt->status, "the step was cancelled");
    return LLRT_OK;
}
