/* SPDX-License-Identifier: MIT */
/*
 * Sums of squares of what each matrix is multiplied with, over all rows since the runtime was made or reset. A step that is
 * cancelled has added the rows it came to.
 */
#ifndef LLRTI_CPU_SQUARES_H
#define LLRTI_CPU_SQUARES_H

#include "cpu_runtime.h"

/*
 * Rows of `n_slice` matrices' inputs side by side, those of matrix `slice` of a weight first. The i-th row is at
 * x + index[i] * stride, or at x + i * stride.
 */
typedef struct llrti_cpu_square_rows {
    uint32_t weight;
    size_t slice, n_slice, n_row, stride;
    const float *x;
    const uint32_t *index; /* (n_row) or NULL */
} llrti_cpu_square_rows;

/*
 * Adds rows. Each sum is taken in the order of the rows, whatever the workers. Call it only with limits.with_squares.
 */
void llrti_cpu_squares_add(llrti_cpu_runtime *rt, const llrti_cpu_square_rows *rows);

/* The input of LINEAR, HEAD or HEAD_LINEAR. */
void llrti_cpu_squares_add_input(llrti_cpu_runtime *rt, const llrt_op *op);

/* (matrices of the tensor, inputs of each), (matrices of the tensor) */
llrt_status llrti_cpu_squares_read(llrti_cpu_runtime *rt, uint32_t tensor, double *sum,
                                   uint64_t *count, llrt_error *err);
void llrti_cpu_squares_reset(llrti_cpu_runtime *rt);

#endif
