/* SPDX-License-Identifier: MIT */
/*
 * Adapters. A slot has room for a part of every linear: for a weight of d_in x d_out, a transposed to (d_in, rank) and b to
 * (rank, d_out), so that lanes own outputs; `adapter_rank` says which rank a slot has for a weight, 0 for no part.
 *
 * Applying takes the sequences' first adapters, then their second ones, and so on: x a^T for all rows, then the
 * product of that with b, added to the output. A row's sums depend on nothing but the row, whatever rows are taken
 * together.
 */
#include "cpu_adapters.h"

#include <math.h>
#include <string.h>

#include "compiler.h"
#include "cpu_layout.h"
#include "error.h"

enum { ROWS = 4, COLUMNS = 256 }; /* of a piece of the output: its sums stay in the first cache */

static uint32_t *find_rank(const llrti_cpu_runtime *rt, uint32_t slot, uint32_t weight)
{
    return &rt->adapter_rank[(size_t)slot * rt->model->n_weight + weight];
}

/* The part of a weight in a slot: a (d_in, rank); b (rank, d_out) comes d_in * limits.adapter_rank floats later. */
static float *find_part(const llrti_cpu_runtime *rt, uint32_t slot, uint32_t weight)
{
    const size_t rank = rt->limits.adapter_rank;
    return rt->adapter +
           rank * (slot * rt->model->adapter_floats + rt->model->weight[weight].adapter_at);
}

/* ---- Slots ---------------------------------------------------------------------------------- */

static llrt_status check_part(const llrti_cpu_runtime *rt, const llrt_adapter_part *part,
                              uint32_t i, llrt_error *err)
{
    const llrti_cpu_model *const m = rt->model;
    const uint32_t tensor = part[i].tensor;
    if (tensor >= m->n_weight)
        return llrti_fail(err, LLRT_ERR_ARGUMENT,
                          "adapter part %u is for tensor %u, expected one below %u", i, tensor,
                          m->n_weight);
    const char *const name = m->weight[tensor].name;
    if (!m->weight[tensor].is_linear)
        return llrti_fail_field(err, LLRT_ERR_ARGUMENT, name,
                                "adapter part %u is for tensor '%s', which is no linear's matrix",
                                i, name);
    if (part[i].rank < 1 || part[i].rank > rt->limits.adapter_rank)
        return llrti_fail_field(err, LLRT_ERR_ARGUMENT, name,
                                "adapter part %u, for tensor '%s', has rank %u, expected 1 to %u",
                                i, name, part[i].rank, rt->limits.adapter_rank);
    if (!part[i].a || !part[i].b)
        return llrti_fail_field(err, LLRT_ERR_ARGUMENT, name,
                                "adapter part %u, for tensor '%s', lacks a or b", i, name);
    for (uint32_t k = 0; k < i; k++)
        if (part[k].tensor == tensor)
            return llrti_fail_field(err, LLRT_ERR_ARGUMENT, name,
                                    "adapter parts %u and %u are both for tensor '%s'", k, i, name);
    return LLRT_OK;
}

/* (n_row, n_column) to (n_column, n_row). */
static void transpose(const float *from, size_t n_row, size_t n_column, float *to)
{
    for (size_t i = 0; i < n_row; i++)
        for (size_t k = 0; k < n_column; k++) to[k * n_row + i] = from[i * n_column + k];
}

llrt_status llrti_cpu_adapters_put(llrti_cpu_runtime *rt, uint32_t slot,
                                   const llrt_adapter_part *part, uint32_t n_part, llrt_error *err)
{
    if (rt->is_in_flight) return llrti_fail(err, LLRT_ERR_STATE, "a step is in flight");
    if (slot >= rt->limits.n_adapter || (n_part && !part))
        return llrti_fail(err, LLRT_ERR_ARGUMENT,
                          "%u parts for adapter slot %u, expected a slot below %u and a list",
                          n_part, slot, rt->limits.n_adapter);
    for (uint32_t i = 0; i < n_part; i++) LLRTI_TRY(check_part(rt, part, i, err));
    memset(find_rank(rt, slot, 0), 0, rt->model->n_weight * sizeof(uint32_t));
    for (uint32_t i = 0; i < n_part; i++) {
        const llrti_cpu_weight *const w = &rt->model->weight[part[i].tensor];
        const size_t d_in = (size_t)w->k, d_out = (size_t)w->m;
        float *const a = find_part(rt, slot, part[i].tensor);
        transpose(part[i].a, part[i].rank, d_in, a);
        transpose(part[i].b, d_out, part[i].rank, a + d_in * rt->limits.adapter_rank);
        *find_rank(rt, slot, part[i].tensor) = part[i].rank;
    }
    return LLRT_OK;
}

/* ---- Steps ---------------------------------------------------------------------------------- */

llrt_status llrti_cpu_adapters_check(llrti_cpu_runtime *rt, const llrt_step_desc *step,
                                     llrt_error *err)
{
    rt->max_adapter = 0;
    for (uint32_t i = 0; i < step->n_seq; i++) {
        const llrt_step_seq *const s = &step->seq[i];
        if (s->n_adapter > rt->limits.n_adapter ||
            (s->n_adapter && (!s->adapter || !s->adapter_scale)))
            return llrti_fail(err, LLRT_ERR_ARGUMENT,
                              "sequence %u has %u adapters, expected at most %u, with scales", i,
                              s->n_adapter, rt->limits.n_adapter);
        for (uint32_t k = 0; k < s->n_adapter; k++) {
            if (s->adapter[k] >= rt->limits.n_adapter || !isfinite(s->adapter_scale[k]))
                return llrti_fail(err, LLRT_ERR_ARGUMENT,
                                  "sequence %u: adapter %u is slot %u with scale %g, expected a "
                                  "slot below %u and a finite scale",
                                  i, k, s->adapter[k], (double)s->adapter_scale[k],
                                  rt->limits.n_adapter);
            for (uint32_t j = 0; j < k; j++)
                if (s->adapter[j] == s->adapter[k])
                    return llrti_fail(err, LLRT_ERR_ARGUMENT,
                                      "sequence %u: adapters %u and %u are both slot %u", i, j, k,
                                      s->adapter[k]);
        }
        rt->max_adapter = LLRTI_MAX(rt->max_adapter, s->n_adapter);
    }
    return LLRT_OK;
}

bool llrti_cpu_adapters_measure(const llrti_cpu_program *p, const llrt_op *op,
                                const llrt_runtime_limits *limits, size_t *area)
{
    size_t used = 0, at;
    if (limits->n_adapter == 0 || (op->kind != LLRT_OP_LINEAR && op->kind != LLRT_OP_HEAD))
        return true;
    const size_t n_row = p->value[op->out].rows == LLRT_ROWS_OUT ? limits->n_out : limits->n_row;
    if (!llrti_cpu_layout_append(&used, n_row, limits->adapter_rank * sizeof(float), &at))
        return false;
    *area = LLRTI_MAX(*area, used);
    return true;
}

/* The `index`-th adapters of all sequences. */
typedef struct adapter_job {
    const llrt_op *op;
    uint32_t weight, index;
    size_t n_row, d_in, d_out;
    const float *x;
    float *out, *low; /* low: (n_row, limits.adapter_rank), x a^T */
    bool is_out_rows;
} adapter_job;

/* Rank of the part that applies to a sequence, 0 for none. */
static uint32_t rank_for(const llrti_cpu_runtime *rt, const adapter_job *job, uint32_t seq)
{
    const llrt_step_seq *const s = &rt->step->seq[seq];
    return job->index < s->n_adapter ? *find_rank(rt, s->adapter[job->index], job->weight) : 0;
}

static uint32_t seq_of(const llrti_cpu_runtime *rt, const adapter_job *job, size_t row)
{
    return rt->row[job->is_out_rows ? rt->step->out_row[row] : row].seq;
}

/* End of the rows from `row` on that are of one sequence, at most `max`. */
static size_t same_seq_end(const llrti_cpu_runtime *rt, const adapter_job *job, size_t row,
                           size_t max)
{
    const uint32_t seq = seq_of(rt, job, row);
    size_t end = row + 1;
    while (end < max && seq_of(rt, job, end) == seq) end++;
    return end;
}

static void lower_rows(llrti_cpu_runtime *rt, const void *arg, size_t begin, size_t end,
                       uint32_t worker)
{
    const adapter_job *const job = arg;
    for (size_t row = begin, next; row < end; row = next) {
        const uint32_t seq = seq_of(rt, job, row), rank = rank_for(rt, job, seq);
        next = same_seq_end(rt, job, row, end);
        if (rank == 0) continue;
        const llrti_rowmat_args a = {
            .n_row = next - row,
            .k = job->d_in,
            .n = rank,
            .x = job->x + row * job->d_in,
            .w = find_part(rt, rt->step->seq[seq].adapter[job->index], job->weight),
            .y = job->low + row * rt->limits.adapter_rank,
            .x_stride = job->d_in,
            .w_stride = rank,
            .y_stride = rt->limits.adapter_rank,
        };
        rt->model->ops.rowmat(&a);
    }
}

/* Units: blocks of columns, the rows of each in turn. */
static void raise_rows(llrti_cpu_runtime *rt, const void *arg, size_t begin, size_t end,
                       uint32_t worker)
{
    const adapter_job *const job = arg;
    float sum[ROWS * COLUMNS];
    for (size_t unit = begin; unit < end;) {
        const size_t column = unit / job->n_row * COLUMNS, row = unit % job->n_row;
        const size_t row_end = LLRTI_MIN(job->n_row, row + LLRTI_MIN(end - unit, (size_t)ROWS));
        const size_t n_row = same_seq_end(rt, job, row, row_end) - row;
        const size_t n = LLRTI_MIN(job->d_out - column, (size_t)COLUMNS);
        const llrt_step_seq *const seq = &rt->step->seq[seq_of(rt, job, row)];
        const uint32_t rank = rank_for(rt, job, seq_of(rt, job, row));
        unit += n_row;
        if (rank == 0) continue;
        const float *const part = find_part(rt, seq->adapter[job->index], job->weight);
        const llrti_rowmat_args a = {
            .n_row = n_row,
            .k = rank,
            .n = n,
            .x = job->low + row * rt->limits.adapter_rank,
            .w = part + job->d_in * rt->limits.adapter_rank + column,
            .y = sum,
            .x_stride = rt->limits.adapter_rank,
            .w_stride = job->d_out,
            .y_stride = COLUMNS,
        };
        rt->model->ops.rowmat(&a);
        for (size_t i = 0; i < n_row; i++)
            rt->model->ops.axpy(n, seq->adapter_scale[job->index], sum + i * COLUMNS,
                                job->out + (row + i) * job->d_out + column);
    }
}

void llrti_cpu_adapters_apply(llrti_cpu_runtime *rt, const llrt_op *op)
{
    const llrti_cpu_weight *const w = &rt->model->weight[op->weight[0]];
    adapter_job job = {
        .op = op,
        .weight = op->weight[0],
        .n_row = llrti_cpu_runtime_rows(rt, op->out),
        .d_in = (size_t)w->k,
        .d_out = (size_t)w->m,
        .x = llrti_cpu_runtime_value(rt, op->in[0]),
        .out = llrti_cpu_runtime_value(rt, op->out),
        .low = (float *)(void *)(rt->scratch + rt->layout.area),
        .is_out_rows = rt->program->value[op->out].rows == LLRT_ROWS_OUT,
    };
    const size_t n_block = (job.d_out + COLUMNS - 1) / COLUMNS;
    for (job.index = 0; job.index < rt->max_adapter; job.index++) {
        uint32_t rank = 0;
        for (uint32_t i = 0; i < rt->step->n_seq; i++)
            rank = LLRTI_MAX(rank, rank_for(rt, &job, i));
        if (rank == 0) continue;
        llrti_cpu_runtime_split(rt, job.n_row, ROWS, job.d_in * rank / 4 + 1, lower_rows, &job);
        llrti_cpu_runtime_split(rt, job.n_row * n_block, ROWS, COLUMNS * (rank / 4 + 1), raise_rows,
                                &job);
    }
}
