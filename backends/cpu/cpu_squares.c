/* SPDX-License-Identifier: MIT */
/*
 * Sums of squares: a task owns columns and walks the rows.
 */
#include "cpu_squares.h"

#include <string.h>

#include "compiler.h"
#include "error.h"

enum { COLUMNS = 256 }; /* of a piece: its sums stay in the first cache */

typedef struct squares_job {
    const llrti_cpu_square_rows *rows;
    double *sum;
    size_t width;
} squares_job;

static void add_columns(llrti_cpu_runtime *rt, const void *arg, size_t begin, size_t end,
                        uint32_t worker)
{
    const squares_job *const job = arg;
    const llrti_cpu_square_rows *const r = job->rows;
    for (size_t column = begin * COLUMNS; column < job->width && column < end * COLUMNS;
         column += COLUMNS) {
        const size_t n = LLRTI_MIN(job->width - column, (size_t)COLUMNS);
        double *const sum = job->sum + column;
        for (size_t i = 0; i < r->n_row; i++) {
            const float *const x = r->x + (r->index ? r->index[i] : i) * r->stride + column;
            for (size_t k = 0; k < n; k++) sum[k] += (double)x[k] * (double)x[k];
        }
    }
}

void llrti_cpu_squares_add(llrti_cpu_runtime *rt, const llrti_cpu_square_rows *rows)
{
    const llrti_cpu_weight *const w = &rt->model->weight[rows->weight];
    const squares_job job = {.rows = rows,
                             .sum = rt->square + w->square_at + rows->slice * (size_t)w->k,
                             .width = rows->n_slice * (size_t)w->k};
    uint64_t *const count = rt->square_count + w->count_at + rows->slice;
    for (size_t i = 0; i < rows->n_slice; i++) count[i] += rows->n_row;
    llrti_cpu_runtime_split(rt, (job.width + COLUMNS - 1) / COLUMNS, 1, rows->n_row * COLUMNS,
                            add_columns, &job);
}

void llrti_cpu_squares_add_input(llrti_cpu_runtime *rt, const llrt_op *op)
{
    const llrti_cpu_weight *const w = &rt->model->weight[op->weight[0]];
    const llrti_cpu_square_rows rows = {
        .weight = op->weight[0],
        .n_slice = w->is_sliced ? (size_t)w->n_slice : 1,
        .n_row = llrti_cpu_runtime_rows(rt, op->out),
        .stride = rt->program->value[op->in[0]].row_width,
        .x = llrti_cpu_runtime_value(rt, op->in[0]),
    };
    llrti_cpu_squares_add(rt, &rows);
}

llrt_status llrti_cpu_squares_read(llrti_cpu_runtime *rt, uint32_t tensor, double *sum,
                                   uint64_t *count, llrt_error *err)
{
    const llrti_cpu_model *const m = rt->model;
    if (rt->is_in_flight) return llrti_fail(err, LLRT_ERR_STATE, "a step is in flight");
    if (!rt->limits.with_squares)
        return llrti_fail(err, LLRT_ERR_STATE, "the runtime was made without sums of squares");
    if (tensor >= m->n_weight || !sum || !count)
        return llrti_fail(err, LLRT_ERR_ARGUMENT,
                          "sums of squares of tensor %u, expected one below %u and two buffers",
                          tensor, m->n_weight);
    const llrti_cpu_weight *const w = &m->weight[tensor];
    const size_t n = w->is_sliced ? (size_t)w->n_slice : 1;
    if (!w->is_product)
        return llrti_fail_field(err, LLRT_ERR_ARGUMENT, w->name,
                                "tensor '%s' is no matrix of LINEAR, HEAD, HEAD_LINEAR or EXPERTS",
                                w->name);
    memcpy(sum, rt->square + w->square_at, n * (size_t)w->k * sizeof *sum);
    memcpy(count, rt->square_count + w->count_at, n * sizeof *count);
    return LLRT_OK;
}

void llrti_cpu_squares_reset(llrti_cpu_runtime *rt)
{
    if (!rt->limits.with_squares) return;
    memset(rt->square, 0, rt->model->n_square * sizeof *rt->square);
    memset(rt->square_count, 0, rt->model->n_count * sizeof *rt->square_count);
}
