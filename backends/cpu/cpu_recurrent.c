/* SPDX-License-Identifier: MIT */
/*
 * Recurrent operators and state slots.
 *
 * A unit is what one task does: a sequence's tokens, in order, for a block of channels of a convolution or of columns of
 * one head's state; units share nothing. The state goes from state_in to state_out with the first token and is carried
 * on there; tokens are taken up to the next page end at a time, where a copy goes to the slot that state_at names.
 * Nothing is computed differently for where the cuts lie, so chunks and company show in no result.
 */
#include "cpu_recurrent.h"

#include <string.h>

#include "compiler.h"
#include "cpu_layout.h"
#include "error.h"

/* Columns of a unit: four vectors of 16, the most a kernel runs side by side; with 128 rows of state 32 KiB. */
#define UNIT_COLUMNS 64
#define UNIT_CHANNELS 256
/* Elements of state times tokens between two polls: milliseconds on the reference kernels. */
#define MAX_WORK 131072
/* Multiply-adds from which on tasks are handed out: about ten times what that costs. */
#define MIN_PARALLEL 32768

/* ---- Slots ---------------------------------------------------------------------------------- */

static float *find_state(const llrti_cpu_runtime *rt, uint32_t slot, uint32_t state)
{
    return rt->state + slot * rt->model->slot_floats + rt->model->state[state].offset;
}

/* Slot for the state at the end of the page of row `row` of the sequence, if that row is its last; else LLRT_NONE. */
static uint32_t slot_after(const llrt_step_seq *seq, uint32_t row)
{
    const uint32_t position = (uint32_t)seq->pos_begin + row;
    if (!seq->state_at || (position + 1) % LLRT_PAGE_TOK) return LLRT_NONE;
    return seq->state_at[position / LLRT_PAGE_TOK];
}

enum { UNUSED, READ, WRITTEN };

static llrt_status claim_slot(llrti_cpu_runtime *rt, uint32_t seq, uint32_t slot, const char *what,
                              llrt_error *err)
{
    if (slot >= rt->limits.n_state)
        return llrti_fail(err, LLRT_ERR_ARGUMENT,
                          "sequence %u: %s is state slot %u, expected one below %u", seq, what,
                          slot, rt->limits.n_state);
    if (rt->slot_use[slot] != UNUSED)
        return llrti_fail(err, LLRT_ERR_ARGUMENT,
                          "sequence %u: %s is state slot %u, which the step %s as well", seq, what,
                          slot, rt->slot_use[slot] == READ ? "reads" : "writes for another state");
    rt->slot_use[slot] = WRITTEN;
    return LLRT_OK;
}

static llrt_status claim_slots(llrti_cpu_runtime *rt, const llrt_step_seq *s, uint32_t i,
                               llrt_error *err)
{
    LLRTI_TRY(claim_slot(rt, i, s->state_out, "state_out", err));
    if (!s->state_at) return LLRT_OK;
    const uint64_t end = (uint64_t)s->pos_begin + s->n_row;
    if ((uint64_t)s->n_page * LLRT_PAGE_TOK < end)
        return llrti_fail(err, LLRT_ERR_ARGUMENT,
                          "sequence %u has %u pages, expected at least %llu", i, s->n_page,
                          (unsigned long long)((end + LLRT_PAGE_TOK - 1) / LLRT_PAGE_TOK));
    for (uint64_t page = (uint64_t)s->pos_begin / LLRT_PAGE_TOK; (page + 1) * LLRT_PAGE_TOK <= end;
         page++) {
        const uint32_t slot = s->state_at[page];
        const bool is_last = (page + 1) * LLRT_PAGE_TOK == end;
        if (slot != LLRT_NONE && !(is_last && slot == s->state_out))
            LLRTI_TRY(claim_slot(rt, i, slot, "state_at", err));
    }
    return LLRT_OK;
}

llrt_status llrti_cpu_recurrent_check(llrti_cpu_runtime *rt, const llrt_step_desc *step,
                                      const llrti_cpu_program *p, llrt_error *err)
{
    if (!p->is_recurrent) return LLRT_OK;
    memset(rt->slot_use, UNUSED, rt->limits.n_state);
    for (uint32_t i = 0; i < step->n_seq; i++) {
        const uint32_t slot = step->seq[i].state_in;
        if (slot == LLRT_NONE) continue;
        if (slot >= rt->limits.n_state)
            return llrti_fail(err, LLRT_ERR_ARGUMENT,
                              "sequence %u: state_in is state slot %u, expected one below %u", i,
                              slot, rt->limits.n_state);
        rt->slot_use[slot] = READ;
    }
    for (uint32_t i = 0; i < step->n_seq; i++) LLRTI_TRY(claim_slots(rt, &step->seq[i], i, err));
    return LLRT_OK;
}

void llrti_cpu_recurrent_keep(llrti_cpu_runtime *rt)
{
    if (!rt->program->is_recurrent) return;
    for (uint32_t s = 0; s < rt->model->n_state; s++) {
        const size_t bytes = rt->model->state[s].n_float * sizeof(float);
        if (rt->program->has_state[s]) continue;
        for (uint32_t i = 0; i < rt->step->n_seq; i++) {
            const llrt_step_seq *const seq = &rt->step->seq[i];
            float *const out = find_state(rt, seq->state_out, s);
            if (seq->state_in == LLRT_NONE)
                memset(out, 0, bytes);
            else
                memcpy(out, find_state(rt, seq->state_in, s), bytes);
            for (uint32_t row = 0; row < seq->n_row; row++) {
                const uint32_t slot = slot_after(seq, row);
                if (slot != LLRT_NONE && slot != seq->state_out)
                    memcpy(find_state(rt, slot, s), out, bytes);
            }
        }
    }
}

static llrt_status check_access(const llrti_cpu_runtime *rt, uint32_t slot, const void *data,
                                size_t n, llrt_error *err)
{
    size_t expected = 0;
    for (uint32_t i = 0; i < rt->model->n_state; i++) expected += rt->model->state[i].n_float;
    if (rt->is_in_flight) return llrti_fail(err, LLRT_ERR_STATE, "a step is in flight");
    if (slot >= rt->limits.n_state || n != expected || (n && !data))
        return llrti_fail(err, LLRT_ERR_ARGUMENT,
                          "%zu elements of state slot %u, expected %zu of a slot below %u", n, slot,
                          expected, rt->limits.n_state);
    return LLRT_OK;
}

llrt_status llrti_cpu_recurrent_read(llrti_cpu_runtime *rt, uint32_t slot, float *to, size_t n,
                                     llrt_error *err)
{
    LLRTI_TRY(check_access(rt, slot, to, n, err));
    for (uint32_t i = 0; i < rt->model->n_state; to += rt->model->state[i++].n_float)
        memcpy(to, find_state(rt, slot, i), rt->model->state[i].n_float * sizeof *to);
    return LLRT_OK;
}

llrt_status llrti_cpu_recurrent_write(llrti_cpu_runtime *rt, uint32_t slot, const float *from,
                                      size_t n, llrt_error *err)
{
    LLRTI_TRY(check_access(rt, slot, from, n, err));
    for (uint32_t i = 0; i < rt->model->n_state; from += rt->model->state[i++].n_float)
        memcpy(find_state(rt, slot, i), from, rt->model->state[i].n_float * sizeof *from);
    return LLRT_OK;
}

/* ---- Units ---------------------------------------------------------------------------------- */

static void run_units(llrti_cpu_runtime *rt, size_t n_unit, size_t work,
                      void (*unit)(void *arg, uint32_t unit, uint32_t worker), void *arg)
{
    if (work >= MIN_PARALLEL && n_unit > 1)
        rt->host.parallel_for(rt->host.ctx, (uint32_t)n_unit, unit, arg);
    else
        for (uint32_t i = 0; i < n_unit; i++) unit(arg, i, 0);
}

/* Tokens from row `row` of the sequence to the end of its page, or to the sequence's end. */
static uint32_t rows_of_page(const llrt_step_seq *seq, uint32_t row)
{
    const uint32_t left = LLRT_PAGE_TOK - ((uint32_t)seq->pos_begin + row) % LLRT_PAGE_TOK;
    return LLRTI_MIN(left, seq->n_row - row);
}

/* n rows of n_column floats of a strided matrix. */
static void copy_columns(float *to, const float *from, size_t n_row, size_t stride, size_t n_column)
{
    for (size_t i = 0; i < n_row; i++)
        memcpy(to + i * stride, from + i * stride, n_column * sizeof *to);
}

/* ---- Scans ---------------------------------------------------------------------------------- */

/* GATED_DELTA and SSM_SCAN: heads with a state of n_row x width each. */
typedef struct scan_job {
    llrti_cpu_runtime *rt;
    const llrt_op *op;
    llrti_scan_fn *kernel;
    const float *q, *k, *x, *gate; /* C, B, x, t for the state-space scan */
    float *decay, *t;              /* (n_row of the step, n_head) */
    float *out;
    const float *d; /* (n_head) or NULL */
    size_t n_head, n_qk_head, n_row, width, n_block;
    uint32_t state;
    bool is_tiled; /* head h goes with h % n_qk_head */
} scan_job;

static void decay_rows(llrti_cpu_runtime *rt, const void *arg, size_t begin, size_t end,
                       uint32_t worker)
{
    const scan_job *const job = arg;
    const llrti_cpu_weight *const w = rt->model->weight;
    const llrt_op *const op = job->op;
    const size_t n = job->n_head;
    const bool is_delta = op->kind == LLRT_OP_GATED_DELTA, is_log = op->u.scan.is_log_a != 0;
    const float *const x = llrti_cpu_runtime_value(rt, op->in[is_delta ? 3 : 1]);
    for (size_t i = begin; i < end; i++) {
        if (is_delta) {
            rt->model->ops.delta_decay(n, x + i * n, w[op->weight[0]].vector,
                                       w[op->weight[1]].vector, is_log, job->decay + i * n);
            continue;
        }
        const llrti_scan_step step = {.x = x + i * n,
                                      .w = w[op->weight[0]].vector,
                                      .bias = w[op->weight[2]].vector,
                                      .is_log = is_log,
                                      .t_min = op->u.scan.dt_min,
                                      .t_max = op->u.scan.dt_max,
                                      .t = job->t + i * n,
                                      .decay = job->decay + i * n};
        rt->model->ops.scan_decay(n, &step);
    }
}

static void scan_unit(void *arg, uint32_t unit, uint32_t worker)
{
    const scan_job *const job = arg;
    llrti_cpu_runtime *const rt = job->rt;
    const size_t per_seq = job->n_head * job->n_block;
    const llrt_step_seq *const seq = &rt->step->seq[unit / per_seq];
    const size_t head = unit % per_seq / job->n_block,
                 column = unit % per_seq % job->n_block * UNIT_COLUMNS;
    const size_t qk_head =
        job->is_tiled ? head % job->n_qk_head : head / (job->n_head / job->n_qk_head);
    const size_t at = head * job->n_row * job->width + column;
    const size_t row = seq->row_begin, width = job->width;
    llrti_scan_args a = {
        .n_row = job->n_row,
        .n_col = LLRTI_MIN(width - column, (size_t)UNIT_COLUMNS),
        .qk_stride = job->n_qk_head * job->n_row,
        .x_stride = job->n_head * width,
        .decay_stride = job->n_head,
        .gate_stride = job->n_head,
        .d = job->d ? job->d[head] : 0.0f,
        .state = find_state(rt, seq->state_out, job->state) + at,
        .state_stride = width,
        .out_stride = job->n_head * width,
    };
    const uint32_t max_tok = (uint32_t)LLRTI_MAX(MAX_WORK / (a.n_row * a.n_col), (size_t)1);
    a.in = a.state;
    if (seq->state_in != LLRT_NONE)
        a.in = find_state(rt, seq->state_in, job->state) + at;
    else
        for (size_t i = 0; i < job->n_row; i++)
            memset(a.state + i * width, 0, a.n_col * sizeof(float));
    for (uint32_t i = 0; i < seq->n_row; i += (uint32_t)a.n_tok) {
        if (llrti_cpu_runtime_poll(rt)) return;
        a.n_tok = LLRTI_MIN(rows_of_page(seq, i), max_tok);
        a.q = job->q + (row + i) * a.qk_stride + qk_head * job->n_row;
        a.k = job->k + (row + i) * a.qk_stride + qk_head * job->n_row;
        a.x = job->x + (row + i) * a.x_stride + head * width + column;
        a.decay = job->decay + (row + i) * job->n_head + head;
        a.gate = job->gate + (row + i) * job->n_head + head;
        a.out = job->out + (row + i) * a.out_stride + head * width + column;
        job->kernel(&a);
        a.in = a.state;
        const uint32_t slot = slot_after(seq, i + (uint32_t)a.n_tok - 1);
        if (slot != LLRT_NONE && slot != seq->state_out)
            copy_columns(find_state(rt, slot, job->state) + at, a.state, job->n_row, width,
                         a.n_col);
    }
}

static void run_scan(llrti_cpu_runtime *rt, scan_job *job)
{
    const size_t n_row = rt->step->n_row;
    job->decay = (float *)(void *)(rt->scratch + rt->layout.area);
    job->t = job->decay + n_row * job->n_head;
    if (!job->gate) job->gate = job->t;
    job->n_block = (job->width + UNIT_COLUMNS - 1) / UNIT_COLUMNS;
    llrti_cpu_runtime_split(rt, n_row, 1, job->n_head * 8, decay_rows, job);
    if (llrti_cpu_runtime_poll(rt)) return;
    run_units(rt, rt->step->n_seq * job->n_head * job->n_block,
              n_row * job->n_head * job->n_row * job->width, scan_unit, job);
}

void llrti_cpu_recurrent_delta(llrti_cpu_runtime *rt, const llrt_op *op)
{
    const llrti_cpu_value *const q = &rt->program->value[op->in[0]];
    const llrti_cpu_value *const v = &rt->program->value[op->in[2]];
    scan_job job = {.rt = rt,
                    .op = op,
                    .kernel = rt->model->ops.delta,
                    .q = llrti_cpu_runtime_value(rt, op->in[0]),
                    .k = llrti_cpu_runtime_value(rt, op->in[1]),
                    .x = llrti_cpu_runtime_value(rt, op->in[2]),
                    .gate = llrti_cpu_runtime_value(rt, op->in[4]),
                    .out = llrti_cpu_runtime_value(rt, op->out),
                    .n_head = v->n_head,
                    .n_qk_head = q->n_head,
                    .n_row = q->width,
                    .width = v->width,
                    .state = op->u.scan.state,
                    .is_tiled = op->u.scan.is_tiled != 0};
    run_scan(rt, &job);
}

void llrti_cpu_recurrent_scan(llrti_cpu_runtime *rt, const llrt_op *op)
{
    const llrti_cpu_value *const x = &rt->program->value[op->in[0]];
    const llrti_cpu_value *const b = &rt->program->value[op->in[2]];
    scan_job job = {.rt = rt,
                    .op = op,
                    .kernel = rt->model->ops.scan,
                    .q = llrti_cpu_runtime_value(rt, op->in[3]),
                    .k = llrti_cpu_runtime_value(rt, op->in[2]),
                    .x = llrti_cpu_runtime_value(rt, op->in[0]),
                    .out = llrti_cpu_runtime_value(rt, op->out),
                    .d = rt->model->weight[op->weight[1]].vector,
                    .n_head = x->n_head,
                    .n_qk_head = b->n_head,
                    .n_row = b->width,
                    .width = x->width,
                    .state = op->u.scan.state};
    run_scan(rt, &job);
}

/* ---- Convolution ---------------------------------------------------------------------------- */

typedef struct conv_job {
    llrti_cpu_runtime *rt;
    const llrt_op *op;
    const float *x, *w, *bias;
    float *out;
    size_t n_tap, n_channel, n_block;
} conv_job;

/*
 * The rows that the next token will look back to, after n_tok tokens: the last n_tap - 1 of what came before and x. `to` may
 * be `before`: a row is read before it is written.
 */
static void store_history(const conv_job *job, size_t n_tok, size_t n, const float *before,
                          const float *x, float *to)
{
    const size_t stride = job->n_channel, n_row = job->n_tap - 1;
    for (size_t i = 0; i < n_row; i++) {
        const size_t from = n_tok + i;
        const float *const row =
            from < n_row ? before + from * stride : x + (from - n_row) * stride;
        memmove(to + i * stride, row, n * sizeof *to);
    }
}

static void conv_unit(void *arg, uint32_t unit, uint32_t worker)
{
    const conv_job *const job = arg;
    llrti_cpu_runtime *const rt = job->rt;
    const llrt_step_seq *const seq = &rt->step->seq[unit / job->n_block];
    const uint32_t state = job->op->u.conv.state;
    const size_t channel = unit % job->n_block * UNIT_CHANNELS, stride = job->n_channel;
    const size_t n = LLRTI_MIN(stride - channel, (size_t)UNIT_CHANNELS), n_before = job->n_tap - 1;
    const float *const x = job->x + seq->row_begin * stride + channel;
    float *const out = job->out + seq->row_begin * stride + channel;
    float *const after = find_state(rt, seq->state_out, state) + channel;
    const float *before = after;
    if (seq->state_in != LLRT_NONE)
        before = find_state(rt, seq->state_in, state) + channel;
    else
        for (size_t i = 0; i < n_before; i++) memset(after + i * stride, 0, n * sizeof *after);
    llrti_conv_args a = {.n_channel = n,
                         .n_tap = job->n_tap,
                         .w = job->w + channel,
                         .bias = job->bias ? job->bias + channel : NULL,
                         .history = before,
                         .w_stride = stride,
                         .history_stride = stride,
                         .x_stride = stride,
                         .out_stride = stride};
    for (size_t i = 0; i < seq->n_row; i += a.n_tok) {
        if (llrti_cpu_runtime_poll(rt)) return;
        /* From the second part on all that is looked back to is in x: a part is longer than n_tap. */
        a.n_tok = LLRTI_MIN(seq->n_row - i, (size_t)LLRT_PAGE_TOK);
        a.x = x + i * stride;
        a.out = out + i * stride;
        if (i) a.history = a.x - n_before * stride;
        rt->model->ops.conv(&a);
    }
    for (uint32_t i = 0; i < seq->n_row; i++) {
        i += rows_of_page(seq, i) - 1;
        const uint32_t slot = slot_after(seq, i);
        if (slot != LLRT_NONE && slot != seq->state_out)
            store_history(job, (size_t)i + 1, n, before, x, find_state(rt, slot, state) + channel);
    }
    store_history(job, seq->n_row, n, before, x, after);
}

void llrti_cpu_recurrent_conv(llrti_cpu_runtime *rt, const llrt_op *op)
{
    const llrti_cpu_weight *const w = &rt->model->weight[op->weight[0]];
    const size_t n_channel = rt->program->value[op->out].row_width;
    conv_job job = {.rt = rt,
                    .op = op,
                    .x = llrti_cpu_runtime_value(rt, op->in[0]),
                    .w = w->vector,
                    .bias =
                        op->weight[1] == LLRT_NONE ? NULL : rt->model->weight[op->weight[1]].vector,
                    .out = llrti_cpu_runtime_value(rt, op->out),
                    .n_tap = (size_t)w->k,
                    .n_channel = n_channel,
                    .n_block = (n_channel + UNIT_CHANNELS - 1) / UNIT_CHANNELS};
    run_units(rt, rt->step->n_seq * job.n_block, rt->step->n_row * n_channel * job.n_tap, conv_unit,
              &job);
}

bool llrti_cpu_recurrent_measure(const llrti_cpu_program *p, const llrt_op *op,
                                 const llrt_runtime_limits *limits, size_t *area)
{
    if (op->kind != LLRT_OP_GATED_DELTA && op->kind != LLRT_OP_SSM_SCAN) return true;
    const uint32_t heads = op->in[op->kind == LLRT_OP_GATED_DELTA ? 2 : 0];
    size_t used = 0, at;
    if (!llrti_cpu_layout_append(&used, limits->n_row,
                                 (size_t)p->value[heads].n_head * 2 * sizeof(float), &at))
        return false;
    *area = LLRTI_MAX(*area, used);
    return true;
}
