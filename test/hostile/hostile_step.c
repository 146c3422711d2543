/* SPDX-License-Identifier: MIT */
/*
 * Steps of the hostile test backend: the checks of what a step borrows, the operators one by one
 * in the order of the program, selection.
 *
 * Runs on the runtime's own thread with all regions open. Every value is filled with NaN before the
 * first operator, so that a row nobody computed shows up in the result. Rows are computed one after the other;
 * nothing is shared between them, which makes the results independent of what else is in the step.
 */
#include "hostile.h"

#include <math.h>
#include <string.h>

typedef struct run {
    hostile_runtime *r;
    const hostile_model *m;
    const llrt_program *p;
    const llrt_step_desc *s;
    llrt_error *err;
} run;

/* ---- What a step borrows ---- */

static uint64_t mix(uint64_t h, const void *data, size_t n)
{
    const unsigned char *const p = data;
    for (size_t i = 0; p && i < n; i++) h = (h ^ p[i]) * 0x100000001b3ull;
    return h;
}

static uint32_t embedded_rows(const llrt_step_desc *s)
{
    uint32_t n = 0;
    for (uint32_t i = 0; s->token && i < s->n_row; i++) n += s->token[i] == -1;
    return n;
}

/* Elements of a row of `embedding`: the width of the first EMBED; 0 without one. */
static size_t embedding_width(const llrt_program *p)
{
    for (uint32_t i = 0; i < p->n_op; i++)
        if (p->op[i].kind == LLRT_OP_EMBED) return hostile_width(&p->value[p->op[i].out]);
    return 0;
}

uint64_t hostile_step_checksum(const hostile_runtime *r)
{
    const llrt_step_desc *const s = &r->step;
    const llrt_program *const p = &r->model->program[s->program].p;
    uint64_t h = 0xcbf29ce484222325ull;
    h = mix(h, s->token, s->n_row * sizeof *s->token);
    if (s->embedding)
        h = mix(h, s->embedding, embedded_rows(s) * embedding_width(p) * sizeof(float));
    h = mix(h, s->seq, s->n_seq * sizeof *s->seq);
    for (uint32_t i = 0; i < s->n_seq; i++)
        h = mix(h, s->seq[i].page[0], s->seq[i].n_page * sizeof(uint32_t));
    h = mix(h, s->out_row, s->n_out * sizeof *s->out_row);
    for (uint32_t i = 0; i < p->n_input; i++)
        h = mix(h, s->input[i], s->n_row * hostile_width(&p->value[p->input[i]]) * sizeof(float));
    h = mix(h, s->select, s->n_select * sizeof *s->select);
    for (uint32_t i = 0; i < s->n_select; i++) {
        const llrt_select *const e = &s->select[i];
        h = mix(h, e->bias_token, e->n_bias * sizeof *e->bias_token);
        h = mix(h, e->bias, e->n_bias * sizeof *e->bias);
        h = mix(h, e->penalty_token, e->n_penalty * sizeof *e->penalty_token);
        h = mix(h, e->penalty_count, e->n_penalty * sizeof *e->penalty_count);
        h = mix(h, e->subtract_token, e->n_subtract * sizeof *e->subtract_token);
        h = mix(h, e->subtract, e->n_subtract * sizeof *e->subtract);
    }
    return h;
}

/* Pages that a sequence writes to must be in no other list of the step, and only once in its own. */
static llrt_status check_exclusive(const run *x, uint32_t i_seq, uint32_t i_page)
{
    const uint32_t page = x->s->seq[i_seq].page[0][i_page];
    for (uint32_t i = 0; i < x->s->n_seq; i++)
        for (uint32_t j = 0; j < x->s->seq[i].n_page; j++)
            if (x->s->seq[i].page[0][j] == page && (i != i_seq || j != i_page))
                return hostile_violation(x->err, "page %u is written to and shared", page);
    return LLRT_OK;
}

static llrt_status check_pages(const run *x, uint32_t i_seq)
{
    const llrt_step_seq *const q = &x->s->seq[i_seq];
    const uint32_t begin = (uint32_t)q->pos_begin, end = begin + q->n_row;
    const uint32_t n_page = (end + LLRT_PAGE_TOK - 1) / LLRT_PAGE_TOK;
    if (x->m->n_kv == 0) return LLRT_OK;
    if (!q->page[0] || q->n_page < n_page)
        return hostile_violation(x->err, "sequence %u: %u pages for %u positions", i_seq, q->n_page,
                                 end);
    for (uint32_t i = 0; i < q->n_page; i++)
        if (q->page[0][i] >= x->r->limits.n_page[0])
            return hostile_violation(x->err, "sequence %u: page %u of %u", i_seq, q->page[0][i],
                                     x->r->limits.n_page[0]);
    for (uint32_t i = begin / LLRT_PAGE_TOK; i < n_page; i++)
        HOSTILE_TRY(check_exclusive(x, i_seq, i));
    return LLRT_OK;
}

/* Positions before the step must have been written; a window of every attention allows holes before it. */
static llrt_status check_history(const run *x, uint32_t i_seq)
{
    const llrt_step_seq *const q = &x->s->seq[i_seq];
    uint32_t from = (uint32_t)q->pos_begin;
    for (uint32_t i = 0; i < x->p->n_op; i++) {
        const llrt_op *const op = &x->p->op[i];
        if (op->kind != LLRT_OP_ATTENTION) continue;
        const uint32_t window = op->u.attention.window;
        const uint32_t first =
            window && (uint32_t)q->pos_begin + 1 > window ? (uint32_t)q->pos_begin + 1 - window : 0;
        if (first < from) from = first;
    }
    for (uint32_t p = from; p < (uint32_t)q->pos_begin; p++)
        if (!(x->r->written[q->page[0][p / LLRT_PAGE_TOK]] >> (p % LLRT_PAGE_TOK) & 1))
            return hostile_violation(x->err, "sequence %u: position %u is not in page %u", i_seq, p,
                                     q->page[0][p / LLRT_PAGE_TOK]);
    return LLRT_OK;
}

/* What is at and after the step's positions belongs to a past that was cut off: it becomes poison. */
static void clear_positions(const run *x, const llrt_step_seq *q)
{
    const hostile_model *const m = x->m;
    for (uint32_t p = (uint32_t)q->pos_begin, n = LLRT_PAGE_TOK - p % LLRT_PAGE_TOK, i;
         m->n_kv && p < (uint32_t)q->pos_begin + q->n_row; p += n, n = LLRT_PAGE_TOK) {
        const uint32_t page = q->page[0][p / LLRT_PAGE_TOK], at = p % LLRT_PAGE_TOK;
        x->r->written[page] &= ((uint64_t)1 << at) - 1;
        for (i = 0; i < m->n_kv; i++) {
            const size_t k = m->kv[i].n_head * hostile_kv_bytes(m->kv_type, m->kv[i].k_dim);
            const size_t v = m->kv[i].n_head * hostile_kv_bytes(m->kv_type, m->kv[i].v_dim);
            unsigned char *const base = hostile_page(x->r, page, i);
            hostile_poison(base + at * k, (LLRT_PAGE_TOK - at) * k);
            hostile_poison(base + LLRT_PAGE_TOK * k + at * v, (LLRT_PAGE_TOK - at) * v);
        }
    }
}

static void mark_positions(const run *x, const llrt_step_seq *q)
{
    for (uint32_t p = (uint32_t)q->pos_begin; x->m->n_kv && p < (uint32_t)q->pos_begin + q->n_row;
         p++)
        x->r->written[q->page[0][p / LLRT_PAGE_TOK]] |= (uint64_t)1 << (p % LLRT_PAGE_TOK);
}

static llrt_status check_tokens(const run *x)
{
    const llrt_step_desc *const s = x->s;
    for (uint32_t i = 0; i < x->p->n_op; i++) {
        const llrt_op *const op = &x->p->op[i];
        if (op->kind != LLRT_OP_EMBED) continue;
        if (!s->token) return hostile_violation(x->err, "no tokens");
        const uint64_t n_vocab = x->m->tensor[op->weight[0]].n_row;
        for (uint32_t t = 0; t < s->n_row; t++)
            if (s->token[t] < -1 || (s->token[t] >= 0 && (uint64_t)s->token[t] >= n_vocab))
                return hostile_violation(x->err, "token %d of %llu in row %u", s->token[t],
                                         (unsigned long long)n_vocab, t);
        if (embedded_rows(s) && !s->embedding)
            return hostile_violation(x->err, "rows of embeddings, but no embeddings");
    }
    return LLRT_OK;
}

static llrt_status check_borrowed(const run *x)
{
    const llrt_step_desc *const s = x->s;
    uint32_t row = 0;
    for (uint32_t i = 0; i < s->n_seq; i++) {
        const llrt_step_seq *const q = &s->seq[i];
        if (q->row_begin != row || q->n_row == 0 || q->n_row > s->n_row - row)
            return hostile_violation(x->err, "sequence %u: rows %u + %u of %u", i, q->row_begin,
                                     q->n_row, s->n_row);
        if (q->pos_begin < 0 || q->n_row > (uint32_t)(INT32_MAX - q->pos_begin))
            return hostile_violation(x->err, "sequence %u: position %d", i, q->pos_begin);
        row += q->n_row;
        HOSTILE_TRY(check_pages(x, i));
    }
    if (row != s->n_row) return hostile_violation(x->err, "%u of %u rows covered", row, s->n_row);
    for (uint32_t i = 0; i < s->n_seq; i++)
        if (x->m->n_kv) HOSTILE_TRY(check_history(x, i));
    for (uint32_t i = 0; i < s->n_out; i++)
        if (s->out_row[i] >= s->n_row || (i && s->out_row[i] <= s->out_row[i - 1]))
            return hostile_violation(x->err, "wanted row %u is %u", i, s->out_row[i]);
    return check_tokens(x);
}

/* ---- Operators ---- */

static bool is_cancelled(const run *x)
{
    return x->s->poll_cancel && x->s->poll_cancel(x->s->poll_ctx) != 0;
}

static size_t rows_of(const run *x, uint32_t value)
{
    return x->p->value[value].rows == LLRT_ROWS_OUT ? x->s->n_out : x->s->n_row;
}

static float *row_of(const run *x, uint32_t value, size_t row)
{
    return hostile_value(x->r, x->s->program, value) + row * hostile_width(&x->p->value[value]);
}

static int32_t position_of(const run *x, size_t row)
{
    for (uint32_t i = 0; i < x->s->n_seq; i++) {
        const llrt_step_seq *const q = &x->s->seq[i];
        if (row < (size_t)q->row_begin + q->n_row)
            return q->pos_begin + (int32_t)(row - q->row_begin);
    }
    return 0;
}

static void run_embed(const run *x, const llrt_op *op)
{
    const size_t n = hostile_width(&x->p->value[op->out]);
    const float *given = x->s->embedding;
    for (size_t i = 0; i < x->s->n_row; i++) {
        float *const out = row_of(x, op->out, i);
        if (x->s->token[i] < 0) {
            memcpy(out, given, n * sizeof *out);
            given += n;
            continue;
        }
        hostile_tensor_row(x->m, op->weight[0], (uint64_t)x->s->token[i], out);
        for (size_t j = 0; j < n; j++) out[j] *= op->u.scale.factor;
    }
}

static llrt_status run_position(const run *x, const llrt_op *op)
{
    const size_t n = hostile_width(&x->p->value[op->out]);
    float *const w = hostile_temporary(x->r, 0);
    for (size_t i = 0; i < x->s->n_row; i++) {
        const int64_t p = (int64_t)position_of(x, i) + op->u.position.offset;
        if (p < 0 || (uint64_t)p >= x->m->tensor[op->weight[0]].n_row)
            return hostile_violation(x->err, "position %lld of the learned ones", (long long)p);
        hostile_tensor_row(x->m, op->weight[0], (uint64_t)p, w);
        const float *const in = row_of(x, op->in[0], i);
        for (size_t j = 0; j < n; j++) row_of(x, op->out, i)[j] = in[j] + w[j];
    }
    return LLRT_OK;
}

/* GATHER, SLICE, CONCAT */
static void run_move(const run *x, const llrt_op *op)
{
    const size_t n = hostile_width(&x->p->value[op->out]);
    for (size_t i = 0; i < rows_of(x, op->out); i++) {
        float *out = row_of(x, op->out, i);
        if (op->kind == LLRT_OP_GATHER) {
            memcpy(out, row_of(x, op->in[0], x->s->out_row[i]), n * sizeof *out);
        } else if (op->kind == LLRT_OP_SLICE) {
            memcpy(out, row_of(x, op->in[0], i) + op->u.slice.begin, n * sizeof *out);
        } else {
            for (uint32_t j = 0; j < op->n_in; j++) {
                const size_t part = hostile_width(&x->p->value[op->in[j]]);
                memcpy(out, row_of(x, op->in[j], i), part * sizeof *out);
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
        return hostile_activate(op->u.act.act, a) * b;
    default:
        return hostile_activate(op->u.act.act, a);
    }
}

static void run_elements(const run *x, const llrt_op *op)
{
    const size_t n = hostile_width(&x->p->value[op->out]);
    for (size_t i = 0; i < rows_of(x, op->out); i++) {
        const float *const a = row_of(x, op->in[0], i);
        const float *const b = op->n_in > 1 ? row_of(x, op->in[1], i) : a;
        float *const out = row_of(x, op->out, i);
        for (size_t j = 0; j < n; j++) out[j] = element(op, a[j], b[j]);
    }
}

/* Norms and rope: over each head of each row. */
static void run_heads(const run *x, const llrt_op *op)
{
    const llrt_value *const v = &x->p->value[op->out];
    const float *w = NULL, *bias = NULL;
    if (op->kind != LLRT_OP_ROPE && op->weight[0] != LLRT_NONE) {
        hostile_tensor_row(x->m, op->weight[0], 0, hostile_temporary(x->r, 0));
        w = hostile_temporary(x->r, 0);
    }
    if (op->kind == LLRT_OP_LAYER_NORM && op->weight[1] != LLRT_NONE) {
        hostile_tensor_row(x->m, op->weight[1], 0, hostile_temporary(x->r, 1));
        bias = hostile_temporary(x->r, 1);
    }
    for (size_t i = 0; i < rows_of(x, op->out); i++) {
        const int32_t position = op->kind == LLRT_OP_ROPE ? position_of(x, i) : 0;
        for (size_t h = 0; h < v->n_head; h++) {
            const float *const in = row_of(x, op->in[0], i) + h * v->width;
            float *const out = row_of(x, op->out, i) + h * v->width;
            if (op->kind == LLRT_OP_ROPE)
                hostile_rope(op, in, out, v->width, position);
            else if (op->kind == LLRT_OP_RMS_NORM)
                hostile_rms_norm(in, w, out, v->width, op);
            else
                hostile_layer_norm(in, w, bias, out, v->width, op->u.norm.eps);
        }
    }
}

/* Whether a weight multiplies through 8-bit activations at this precision. */
static bool is_int8(const run *x, const hostile_tensor *t)
{
    return x->m->precision != LLRT_PRECISION_F32 &&
           (t->desc.type == LLRT_TYPE_Q8_0 || t->desc.type == LLRT_TYPE_Q4_0);
}

static llrt_status run_linear(const run *x, const llrt_op *op)
{
    const hostile_tensor *const t = &x->m->tensor[op->weight[0]];
    const size_t k = (size_t)t->desc.dim[0];
    float *const w = hostile_temporary(x->r, 0), *bias = NULL;
    if (op->weight[1] != LLRT_NONE) {
        bias = hostile_temporary(x->r, 1);
        hostile_tensor_row(x->m, op->weight[1], 0, bias);
    }
    for (size_t o = 0; o < t->n_row; o++) {
        if (o % 16 == 0 && is_cancelled(x)) return LLRT_ERR_CANCELLED;
        const unsigned char *const bytes = hostile_tensor_bytes(x->m, op->weight[0], o);
        hostile_row_widen(t->type, bytes, w, k);
        for (size_t i = 0; i < rows_of(x, op->out); i++) {
            const float *const in = row_of(x, op->in[0], i);
            float sum =
                is_int8(x, t) ? hostile_dot_int8(t->type, bytes, in, k) : hostile_dot(w, in, k);
            if (bias) sum += bias[o];
            row_of(x, op->out, i)[o] = sum;
        }
    }
    return LLRT_OK;
}

static void append_kv(const run *x, const llrt_op *op, const llrt_step_seq *q)
{
    const uint32_t slot = op->u.attention.kv;
    const llrt_kv_desc *const kv = &x->m->kv[slot];
    const size_t kb = hostile_kv_bytes(x->m->kv_type, kv->k_dim);
    const size_t vb = hostile_kv_bytes(x->m->kv_type, kv->v_dim);
    for (uint32_t i = 0; i < q->n_row; i++) {
        const uint32_t p = (uint32_t)q->pos_begin + i, at = p % LLRT_PAGE_TOK;
        unsigned char *const base = hostile_page(x->r, q->page[0][p / LLRT_PAGE_TOK], slot);
        unsigned char *const values = base + LLRT_PAGE_TOK * kv->n_head * kb;
        for (uint32_t h = 0; h < kv->n_head; h++) {
            hostile_kv_store(x->m->kv_type, row_of(x, op->in[1], q->row_begin + i) + h * kv->k_dim,
                             base + (at * kv->n_head + h) * kb, kv->k_dim);
            hostile_kv_store(x->m->kv_type, row_of(x, op->in[2], q->row_begin + i) + h * kv->v_dim,
                             values + (at * kv->n_head + h) * vb, kv->v_dim);
        }
    }
}

static void attend_row(const run *x, const llrt_op *op, const llrt_step_seq *q, uint32_t i)
{
    const uint32_t slot = op->u.attention.kv, p = (uint32_t)q->pos_begin + i;
    const uint32_t window = op->u.attention.window;
    const llrt_kv_desc *const kv = &x->m->kv[slot];
    const llrt_value *const qv = &x->p->value[op->in[0]];
    const size_t kb = hostile_kv_bytes(x->m->kv_type, kv->k_dim);
    const size_t vb = hostile_kv_bytes(x->m->kv_type, kv->v_dim);
    const uint32_t first = window && p + 1 > window ? p + 1 - window : 0;
    for (uint32_t h = 0; h < qv->n_head; h++) {
        const uint32_t kv_head = h / (qv->n_head / kv->n_head);
        hostile_attention a = {
            .op = op,
            .q = row_of(x, op->in[0], q->row_begin + i) + (size_t)h * kv->k_dim,
            .out = row_of(x, op->out, q->row_begin + i) + (size_t)h * kv->v_dim,
            .k_dim = kv->k_dim,
            .v_dim = kv->v_dim,
            .kv_type = x->m->kv_type,
            .k_stride = kv->n_head * kb,
            .v_stride = kv->n_head * vb,
            .row = hostile_temporary(x->r, 2),
            .tile = hostile_temporary(x->r, 3),
        };
        hostile_attention_begin(&a);
        for (uint32_t tile = first / LLRT_PAGE_TOK; tile <= p / LLRT_PAGE_TOK; tile++) {
            const unsigned char *const base = hostile_page(x->r, q->page[0][tile], slot);
            const uint32_t start = tile * LLRT_PAGE_TOK;
            a.k = base + kv_head * kb;
            a.v = base + LLRT_PAGE_TOK * kv->n_head * kb + kv_head * vb;
            a.begin = first > start ? first - start : 0;
            a.end = p - start < LLRT_PAGE_TOK ? p - start + 1 : LLRT_PAGE_TOK;
            hostile_attention_tile(&a);
        }
        hostile_attention_end(&a);
    }
}

static llrt_status run_attention(const run *x, const llrt_op *op)
{
    for (uint32_t i = 0; i < x->s->n_seq; i++) append_kv(x, op, &x->s->seq[i]);
    for (uint32_t i = 0; i < x->s->n_seq; i++)
        for (uint32_t j = 0; j < x->s->seq[i].n_row; j++) {
            if (is_cancelled(x)) return LLRT_ERR_CANCELLED;
            attend_row(x, op, &x->s->seq[i], j);
        }
    return LLRT_OK;
}

static llrt_status run_op(const run *x, const llrt_op *op)
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
    case LLRT_OP_RMS_NORM:
    case LLRT_OP_LAYER_NORM:
    case LLRT_OP_ROPE:
        run_heads(x, op);
        return LLRT_OK;
    case LLRT_OP_LINEAR:
    case LLRT_OP_HEAD:
        return run_linear(x, op);
    case LLRT_OP_ATTENTION:
        return run_attention(x, op);
    default:
        run_elements(x, op);
        return LLRT_OK;
    }
}

llrt_status hostile_step_run(hostile_runtime *r, llrt_error *err)
{
    run x = {r, r->model, &r->model->program[r->step.program].p, &r->step, err};
    hostile_poison(r->scratch.base, r->scratch.size);
    HOSTILE_TRY(check_borrowed(&x));
    for (uint32_t i = 0; i < x.s->n_seq; i++) clear_positions(&x, &x.s->seq[i]);
    for (uint32_t i = 0; i < x.p->n_input; i++) {
        const uint32_t value = x.p->input[i];
        memcpy(hostile_value(r, x.s->program, value), x.s->input[i],
               x.s->n_row * hostile_width(&x.p->value[value]) * sizeof(float));
    }
    for (uint32_t i = 0; i < x.p->n_op; i++) {
        llrt_status status = is_cancelled(&x) ? LLRT_ERR_CANCELLED : run_op(&x, &x.p->op[i]);
        if (status == LLRT_ERR_CANCELLED) hostile_fail(err, status, "the step was cancelled");
        if (status < 0) return status;
    }
    for (uint32_t i = 0; i < x.s->n_seq; i++) mark_positions(&x, &x.s->seq[i]);
    return LLRT_OK;
}

/* ---- Selection ---- */

static llrt_status check_ids(const int32_t *token, const void *other, uint32_t n, size_t n_vocab,
                             llrt_error *err)
{
    if (n && (!token || !other))
        return hostile_violation(err, "a list of a select entry is missing");
    for (uint32_t i = 0; i < n; i++)
        if (token[i] < 0 || (size_t)token[i] >= n_vocab)
            return hostile_violation(err, "id %d of %zu in a select entry", token[i], n_vocab);
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t j = 0; j < i; j++)
            if (token[i] == token[j])
                return hostile_violation(err, "id %d twice in a select entry", token[i]);
    return LLRT_OK;
}

/* Better: the larger logit, then the smaller id. */
static bool is_better(const float *logit, uint32_t a, uint32_t b)
{
    return logit[a] > logit[b] || (logit[a] == logit[b] && a < b);
}

/* Keeps the worst of the heap's n ids on top. */
static void sift(const float *logit, uint32_t *heap, uint32_t n, uint32_t at)
{
    for (;;) {
        uint32_t worst = at;
        for (uint32_t child = 2 * at + 1; child <= 2 * at + 2 && child < n; child++)
            if (is_better(logit, heap[worst], heap[child])) worst = child;
        if (worst == at) return;
        const uint32_t id = heap[at];
        heap[at] = heap[worst];
        heap[worst] = id;
        at = worst;
    }
}

static void pick_best(const float *logit, size_t n_vocab, uint32_t *heap, uint32_t n_best,
                      llrt_select_result *result)
{
    uint32_t n = 0;
    for (uint32_t id = 0; id < n_vocab; id++) {
        if (logit[id] == -INFINITY) continue; /* excluded */
        if (n < n_best) {
            heap[n++] = id;
            if (n == n_best)
                for (uint32_t i = n; i-- > 0;) sift(logit, heap, n, i);
        } else if (is_better(logit, id, heap[0])) {
            heap[0] = id;
            sift(logit, heap, n, 0);
        }
    }
    for (uint32_t i = n; i-- > 0;) sift(logit, heap, n, i);
    result->n = n;
    for (uint32_t left = n; left-- > 0;) {
        result->token[left] = (int32_t)heap[0];
        result->logit[left] = logit[heap[0]];
        heap[0] = heap[left];
        sift(logit, heap, left, 0);
    }
}

static llrt_status select_one(hostile_runtime *r, const llrt_select *e, llrt_select_result *result,
                              llrt_error *err)
{
    const llrt_program *const p = &r->model->program[r->step.program].p;
    const size_t n = hostile_width(&p->value[p->logits]);
    if (e->out_row >= r->step.n_out || e->n_best < 1 || e->n_best > LLRT_SELECT_MAX)
        return hostile_violation(err, "select: row %u of %u, %u candidates", e->out_row,
                                 r->step.n_out, e->n_best);
    if (!result->token || !result->logit) return hostile_violation(err, "select: no room");
    HOSTILE_TRY(check_ids(e->bias_token, e->bias, e->n_bias, n, err));
    HOSTILE_TRY(check_ids(e->penalty_token, e->penalty_count, e->n_penalty, n, err));
    HOSTILE_TRY(check_ids(e->subtract_token, e->subtract, e->n_subtract, n, err));
    for (uint32_t i = 1; i < e->n_bias; i++)
        if (e->bias_token[i] < e->bias_token[i - 1])
            return hostile_violation(err, "select: ids of the bias don't ascend");
    float *const logit = hostile_temporary(r, 0);
    memcpy(logit, hostile_value(r, r->step.program, p->logits) + e->out_row * n, n * sizeof *logit);
    for (size_t i = 0; i < n; i++) logit[i] = hostile_clean(logit[i]);
    result->raw_log_sum_exp = hostile_log_sum_exp(logit, n);
    for (uint32_t i = 0; i < e->n_bias; i++) {
        float *const l = &logit[e->bias_token[i]];
        *l = hostile_clean(*l + e->bias[i]);
    }
    for (uint32_t i = 0; i < e->n_penalty; i++) {
        float *const l = &logit[e->penalty_token[i]];
        const float scaled = hostile_clean(*l > 0 ? *l / e->repetition : *l * e->repetition);
        *l = hostile_clean(scaled - (e->frequency * (float)e->penalty_count[i] + e->presence));
    }
    for (uint32_t i = 0; i < e->n_subtract; i++) {
        float *const l = &logit[e->subtract_token[i]];
        *l = hostile_clean(*l - e->subtract[i]);
    }
    for (size_t i = 0; e->allowed && i < n; i++)
        if (!(e->allowed[i / 32] >> (i % 32) & 1)) logit[i] = -INFINITY;
    result->log_sum_exp = hostile_log_sum_exp(logit, n);
    uint32_t *const heap = (uint32_t *)(void *)(r->scratch.base + r->pick_at);
    pick_best(logit, n, heap, e->n_best < n ? e->n_best : (uint32_t)n, result);
    return LLRT_OK;
}

llrt_status hostile_step_select(hostile_runtime *r, llrt_error *err)
{
    if (r->step.n_select && r->model->program[r->step.program].p.logits == LLRT_NONE)
        return hostile_violation(err, "select in a program without logits");
    for (uint32_t i = 0; i < r->step.n_select; i++)
        HOSTILE_TRY(select_one(r, &r->step.select[i], &r->step.result[i], err));
    return LLRT_OK;
}
