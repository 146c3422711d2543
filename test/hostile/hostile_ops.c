/* SPDX-License-Identifier: MIT */
/*
 * The operators of the hostile test backend, row by row, except the experts and the recurrent ones.
 *
 * Run on the runtime's own thread with all regions open; what they point at has been checked by
 * hostile_step.c. Arithmetic is in hostile_math.c; here is which row of what meets which.
 */
#include "hostile.h"

#include <math.h>
#include <string.h>

bool hostile_is_cancelled(const hostile_run *x)
{
    return x->s->poll_cancel && x->s->poll_cancel(x->s->poll_ctx) != 0;
}

size_t hostile_rows(const hostile_run *x, uint32_t value)
{
    return x->p->value[value].rows == LLRT_ROWS_OUT ? x->s->n_out : x->s->n_row;
}

float *hostile_row(const hostile_run *x, uint32_t value, size_t row)
{
    return hostile_value(x->r, x->s->program, value) + row * hostile_width(&x->p->value[value]);
}

const llrt_step_seq *hostile_seq(const hostile_run *x, size_t row)
{
    uint32_t i = 0;
    while (row >= (size_t)x->s->seq[i].row_begin + x->s->seq[i].n_row)
        i++; /* they cover all rows */
    return &x->s->seq[i];
}

static int32_t position_of(const hostile_run *x, size_t row)
{
    const llrt_step_seq *const q = hostile_seq(x, row);
    return q->pos_begin + (int32_t)(row - q->row_begin);
}

/* The row of tokens that a row of a value stands for. */
static size_t token_of(const hostile_run *x, uint32_t value, size_t row)
{
    return x->p->value[value].rows == LLRT_ROWS_OUT ? x->s->out_row[row] : row;
}

static void run_embed(const hostile_run *x, const llrt_op *op)
{
    const size_t n = hostile_width(&x->p->value[op->out]);
    const float *given = x->s->embedding;
    for (size_t i = 0; i < x->s->n_row; i++) {
        float *const out = hostile_row(x, op->out, i);
        if (x->s->token[i] < 0) {
            memcpy(out, given, n * sizeof *out);
            given += n;
            continue;
        }
        hostile_tensor_row(x->m, op->weight[0], (uint64_t)x->s->token[i], out);
        for (size_t j = 0; j < n; j++) out[j] *= op->u.scale.factor;
    }
}

static llrt_status run_position(const hostile_run *x, const llrt_op *op)
{
    const size_t n = hostile_width(&x->p->value[op->out]);
    float *const w = hostile_temporary(x->r, 0);
    for (size_t i = 0; i < x->s->n_row; i++) {
        const int64_t p = (int64_t)position_of(x, i) + op->u.position.offset;
        if (p < 0 || (uint64_t)p >= x->m->tensor[op->weight[0]].n_row)
            return hostile_violation(x->err, "position %lld of the learned ones", (long long)p);
        hostile_tensor_row(x->m, op->weight[0], (uint64_t)p, w);
        const float *const in = hostile_row(x, op->in[0], i);
        for (size_t j = 0; j < n; j++) hostile_row(x, op->out, i)[j] = in[j] + w[j];
    }
    return LLRT_OK;
}

static void run_token_type(const hostile_run *x, const llrt_op *op)
{
    const size_t n = hostile_width(&x->p->value[op->out]);
    float *const w = hostile_temporary(x->r, 0);
    for (size_t i = 0; i < x->s->n_row; i++) {
        hostile_tensor_row(x->m, op->weight[0], x->s->token_type ? x->s->token_type[i] : 0, w);
        const float *const in = hostile_row(x, op->in[0], i);
        float *const out = hostile_row(x, op->out, i);
        for (size_t j = 0; j < n; j++) out[j] = in[j] + w[j];
    }
}

/* GATHER, SLICE, CONCAT */
static void run_move(const hostile_run *x, const llrt_op *op)
{
    const size_t n = hostile_width(&x->p->value[op->out]);
    for (size_t i = 0; i < hostile_rows(x, op->out); i++) {
        float *out = hostile_row(x, op->out, i);
        if (op->kind == LLRT_OP_GATHER) {
            memcpy(out, hostile_row(x, op->in[0], x->s->out_row[i]), n * sizeof *out);
        } else if (op->kind == LLRT_OP_SLICE) {
            memcpy(out, hostile_row(x, op->in[0], i) + op->u.slice.begin, n * sizeof *out);
        } else {
            const size_t n_head = x->p->value[op->out].n_head;
            for (size_t k = 0; k < n_head * op->n_in; k++) {
                const uint32_t from = op->in[k % op->n_in];
                const size_t part = hostile_width(&x->p->value[from]) / n_head;
                memcpy(out, hostile_row(x, from, i) + k / op->n_in * part, part * sizeof *out);
                out += part;
            }
        }
    }
}

static float element(const llrt_op *op, float a, float b)
{
    switch (op->kind) {
    case LLRT_OP_ADD:
        return a + b;
    case LLRT_OP_MUL:
        return a * b;
    case LLRT_OP_SIGMOID_GATE:
        return a * hostile_sigmoid(b);
    case LLRT_OP_SCALE:
        return a * op->u.scale.factor;
    case LLRT_OP_SOFT_CAP:
        return op->u.scale.factor * hostile_tanh(a / op->u.scale.factor);
    case LLRT_OP_GLU:
        return hostile_glu(op->u.act.act, op->u.act.limit, op->u.act.offset, a, b);
    default:
        return hostile_activate(op->u.act.act, a);
    }
}

static void run_elements(const hostile_run *x, const llrt_op *op)
{
    const size_t n = hostile_width(&x->p->value[op->out]);
    for (size_t i = 0; i < hostile_rows(x, op->out); i++) {
        const float *const a = hostile_row(x, op->in[0], i);
        const float *const b = op->n_in > 1 ? hostile_row(x, op->in[1], i) : a;
        float *const out = hostile_row(x, op->out, i);
        for (size_t j = 0; j < n; j++) out[j] = element(op, a[j], b[j]);
    }
}

/* A norm's weight for all heads, or NULL; *stride: elements from one head's to the next. */
static const float *norm_weight(const hostile_run *x, const llrt_op *op, uint32_t i, size_t *stride)
{
    *stride = 0;
    if (op->weight[i] == LLRT_NONE) return NULL;
    const llrt_value *const v = &x->p->value[op->out];
    if (x->m->tensor[op->weight[i]].desc.dim[0] != v->width) *stride = v->width;
    hostile_tensor_row(x->m, op->weight[i], 0, hostile_temporary(x->r, i));
    return hostile_temporary(x->r, i);
}

static void run_norm(const hostile_run *x, const llrt_op *op)
{
    const llrt_value *const v = &x->p->value[op->out];
    const bool is_rms = op->kind == LLRT_OP_RMS_NORM;
    size_t w_stride, bias_stride = 0;
    const float *const w = norm_weight(x, op, 0, &w_stride);
    const float *const bias = is_rms ? NULL : norm_weight(x, op, 1, &bias_stride);
    for (size_t i = 0; i < hostile_rows(x, op->out); i++)
        for (size_t h = 0; h < v->n_head; h++) {
            const float *const in = hostile_row(x, op->in[0], i) + h * v->width;
            float *const out = hostile_row(x, op->out, i) + h * v->width;
            const float *const w_h = w ? w + h * w_stride : NULL;
            if (is_rms)
                hostile_rms_norm(in, w_h, out, v->width, op);
            else
                hostile_layer_norm(in, w_h, bias ? bias + h * bias_stride : NULL, out, v->width,
                                   op->u.norm.eps);
        }
}

static void run_rope(const hostile_run *x, const llrt_op *op)
{
    const llrt_value *const v = &x->p->value[op->out];
    for (size_t i = 0; i < x->s->n_row; i++) {
        const int32_t place = position_of(x, i), same[3] = {place, place, place};
        const int32_t *const position = x->s->position ? x->s->position + 3 * i : same;
        for (size_t h = 0; h < v->n_head; h++)
            hostile_rope(op, hostile_row(x, op->in[0], i) + h * v->width,
                         hostile_row(x, op->out, i) + h * v->width, v->width, position);
    }
}

/* Whether a weight multiplies through 8-bit activations at this precision. */
static bool is_int8(const hostile_run *x, const hostile_tensor *t)
{
    return x->m->precision != LLRT_PRECISION_F32 &&
           (t->desc.type == LLRT_TYPE_Q8_0 || t->desc.type == LLRT_TYPE_Q4_0);
}

float hostile_product(const hostile_run *x, uint32_t tensor, uint64_t row, const float *w,
                      const float *in)
{
    const hostile_tensor *const t = &x->m->tensor[tensor];
    const size_t k = (size_t)t->desc.dim[0];
    if (!is_int8(x, t)) return hostile_dot(w, in, k);
    return hostile_dot_int8(t->type, hostile_tensor_bytes(x->m, tensor, row), in, k);
}

void hostile_measure(const hostile_run *x, uint32_t tensor, uint64_t index, const float *in)
{
    if (!x->r->limits.with_squares) return;
    const size_t k = (size_t)x->m->tensor[tensor].desc.dim[0];
    double *const sum = hostile_squares(x->r, tensor) + index * k;
    for (size_t i = 0; i < k; i++) sum[i] += (double)in[i] * (double)in[i];
    hostile_counts(x->r, tensor)[index]++;
}

/* The parts that the adapters of a row's sequence have for a weight, one after the other. */
static void add_adapters(const hostile_run *x, const llrt_op *op, size_t row)
{
    const uint32_t tensor = op->weight[0];
    const llrt_step_seq *const q = hostile_seq(x, token_of(x, op->out, row));
    const llrt_tensor_desc *const d = &x->m->tensor[tensor].desc;
    const size_t k = (size_t)d->dim[0];
    const float *const in = hostile_row(x, op->in[0], row);
    float *const out = hostile_row(x, op->out, row), *const low = hostile_temporary(x->r, 0);
    for (uint32_t i = 0; i < q->n_adapter; i++) {
        const size_t rank = x->r->adapter_rank[(size_t)q->adapter[i] * x->m->n_tensor + tensor];
        if (rank == 0) continue;
        const float *const a = hostile_adapter_of(x->r, q->adapter[i], tensor);
        const float *const b = a + rank * k;
        for (size_t r = 0; r < rank; r++) low[r] = hostile_dot(a + r * k, in, k);
        for (size_t o = 0; o < d->dim[1]; o++)
            out[o] = fmaf(q->adapter_scale[i], hostile_dot(b + o * rank, low, rank), out[o]);
    }
}

/* LINEAR and HEAD: one matrix for the row; HEAD_LINEAR: one for each head. */
static llrt_status run_linear(const hostile_run *x, const llrt_op *op)
{
    const llrt_tensor_desc *const d = &x->m->tensor[op->weight[0]].desc;
    const size_t k = (size_t)d->dim[0], n_out = (size_t)d->dim[1], n_matrix = (size_t)d->dim[2];
    float *const w = hostile_temporary(x->r, 0), *bias = NULL;
    if (op->weight[1] != LLRT_NONE) {
        bias = hostile_temporary(x->r, 1);
        hostile_tensor_row(x->m, op->weight[1], 0, bias);
    }
    for (size_t o = 0; o < n_matrix * n_out; o++) {
        if (o % 16 == 0 && hostile_is_cancelled(x)) return LLRT_ERR_CANCELLED;
        hostile_tensor_row(x->m, op->weight[0], o, w);
        for (size_t i = 0; i < hostile_rows(x, op->out); i++) {
            const float *const in = hostile_row(x, op->in[0], i) + o / n_out * k;
            const float sum = hostile_product(x, op->weight[0], o, w, in);
            hostile_row(x, op->out, i)[o] = bias ? sum + bias[o] : sum;
        }
    }
    for (size_t i = 0; i < hostile_rows(x, op->out); i++) {
        for (size_t m = 0; m < n_matrix; m++)
            hostile_measure(x, op->weight[0], m, hostile_row(x, op->in[0], i) + m * k);
        if (op->kind != LLRT_OP_HEAD_LINEAR) add_adapters(x, op, i);
    }
    return LLRT_OK;
}

static void append_kv(const hostile_run *x, const llrt_op *op, const llrt_step_seq *q)
{
    const uint32_t slot = op->u.attention.kv;
    const llrt_kv_desc *const kv = &x->m->kv[slot];
    const size_t kb = hostile_kv_bytes(x->m->kv_type, kv->k_dim);
    const size_t vb = hostile_kv_bytes(x->m->kv_type, kv->v_dim);
    for (uint32_t i = 0; i < q->n_row; i++) {
        const uint32_t p = (uint32_t)q->pos_begin + i, at = p % LLRT_PAGE_TOK;
        unsigned char *const base = hostile_page(x->r, q->page[kv->group][p / LLRT_PAGE_TOK], slot);
        unsigned char *const values = base + LLRT_PAGE_TOK * kv->n_head * kb;
        for (uint32_t h = 0; h < kv->n_head; h++) {
            hostile_kv_store(x->m->kv_type,
                             hostile_row(x, op->in[1], q->row_begin + i) + h * kv->k_dim,
                             base + (at * kv->n_head + h) * kb, kv->k_dim);
            if (kv->v_in_k) continue;
            hostile_kv_store(x->m->kv_type,
                             hostile_row(x, op->in[2], q->row_begin + i) + h * kv->v_dim,
                             values + (at * kv->n_head + h) * vb, kv->v_dim);
        }
    }
}

/* The positions [*begin, *end) that a query at position p sees. */
static void find_visible(const llrt_op *op, const llrt_step_seq *q, uint32_t p, uint32_t *begin,
                         uint32_t *end)
{
    const uint32_t window = op->u.attention.window, half = window / 2;
    const uint32_t last = (uint32_t)q->pos_begin + q->n_row;
    if (op->u.attention.mask == LLRT_MASK_FULL) {
        *begin = window && p > half ? p - half : 0;
        *end = window && last - p > half + 1 ? p + half + 1 : last;
        return;
    }
    *begin = window && p + 1 > window ? p + 1 - window : 0;
    *end = q->flags & LLRT_SEQ_BIDIRECTIONAL ? last : p + 1;
}

static void attend_row(const hostile_run *x, const llrt_op *op, const llrt_step_seq *q, uint32_t i)
{
    const uint32_t slot = op->u.attention.kv, p = (uint32_t)q->pos_begin + i;
    const llrt_kv_desc *const kv = &x->m->kv[slot];
    const llrt_value *const qv = &x->p->value[op->in[0]];
    const size_t kb = hostile_kv_bytes(x->m->kv_type, kv->k_dim);
    const size_t vb = hostile_kv_bytes(x->m->kv_type, kv->v_dim);
    const float *const slope = op->u.attention.slope;
    float *sink = NULL;
    if (op->weight[0] != LLRT_NONE) {
        sink = hostile_temporary(x->r, 0);
        hostile_tensor_row(x->m, op->weight[0], 0, sink);
    }
    uint32_t first, last;
    find_visible(op, q, p, &first, &last);
    for (uint32_t h = 0; h < qv->n_head; h++) {
        const uint32_t kv_head = h / (qv->n_head / kv->n_head);
        hostile_attention a = {
            .op = op,
            .q = hostile_row(x, op->in[0], q->row_begin + i) + (size_t)h * kv->k_dim,
            .out = hostile_row(x, op->out, q->row_begin + i) + (size_t)h * kv->v_dim,
            .k_dim = kv->k_dim,
            .v_dim = kv->v_dim,
            .kv_type = x->m->kv_type,
            .k_stride = kv->n_head * kb,
            .v_stride = kv->n_head * (kv->v_in_k ? kb : vb),
            .row = hostile_temporary(x->r, 2),
            .tile = hostile_temporary(x->r, 3),
            .slope = slope ? &slope[h] : NULL,
            .sink = sink ? &sink[h] : NULL,
        };
        hostile_attention_begin(&a);
        for (uint32_t tile = first / LLRT_PAGE_TOK; tile <= (last - 1) / LLRT_PAGE_TOK; tile++) {
            const unsigned char *const base = hostile_page(x->r, q->page[kv->group][tile], slot);
            const uint32_t start = tile * LLRT_PAGE_TOK;
            a.k = base + kv_head * kb;
            a.v = kv->v_in_k ? a.k : base + LLRT_PAGE_TOK * kv->n_head * kb + kv_head * vb;
            a.begin = first > start ? first - start : 0;
            a.end = last - start < LLRT_PAGE_TOK ? last - start : LLRT_PAGE_TOK;
            a.distance = (int32_t)start - (int32_t)p;
            hostile_attention_tile(&a);
        }
        hostile_attention_end(&a);
    }
}

static llrt_status run_attention(const hostile_run *x, const llrt_op *op)
{
    for (uint32_t i = 0; i < x->s->n_seq; i++) append_kv(x, op, &x->s->seq[i]);
    for (uint32_t i = 0; i < x->s->n_seq; i++)
        for (uint32_t j = 0; j < x->s->seq[i].n_row; j++) {
            if (hostile_is_cancelled(x)) return LLRT_ERR_CANCELLED;
            attend_row(x, op, &x->s->seq[i], j);
        }
    return LLRT_OK;
}

llrt_status hostile_op_run(const hostile_run *x, const llrt_op *op)
{
    switch (op->kind) {
    case LLRT_OP_EMBED:
        run_embed(x, op);
        return LLRT_OK;
    case LLRT_OP_POSITION:
        return run_position(x, op);
    case LLRT_OP_GATHER:
    case LLRT_OP_SLICE:
    case LLRT_OP_CONCAT:
        run_move(x, op);
        return LLRT_OK;
    case LLRT_OP_TOKEN_TYPE:
        run_token_type(x, op);
        return LLRT_OK;
    case LLRT_OP_RMS_NORM:
    case LLRT_OP_LAYER_NORM:
        run_norm(x, op);
        return LLRT_OK;
    case LLRT_OP_ROPE:
        run_rope(x, op);
        return LLRT_OK;
    case LLRT_OP_LINEAR:
    case LLRT_OP_HEAD:
    case LLRT_OP_HEAD_LINEAR:
        return run_linear(x, op);
    case LLRT_OP_ATTENTION:
        return run_attention(x, op);
    case LLRT_OP_EXPERTS:
        return hostile_experts_run(x, op);
    case LLRT_OP_SHORT_CONV:
    case LLRT_OP_GATED_DELTA:
    case LLRT_OP_SSM_SCAN:
        return hostile_scan_run(x, op);
    default:
        run_elements(x, op);
        return LLRT_OK;
    }
}
