/* SPDX-License-Identifier: MIT */
/*
 * Reference kernels of scaled sums and of rows times a matrix.
 */
#include "cpu_math.h"
#include "ops.h"

void llrtk_axpy_f32_ref(size_t n, float c, const float *x, float *y)
{
    for (size_t i = 0; i < n; i++) y[i] = fmaf(c, x[i], y[i]);
}

void llrtk_rowmat_f32_ref(const llrti_rowmat_args *a)
{
    for (size_t row = 0; row < a->n_row; row++)
        for (size_t j = 0; j < a->n; j++) {
            float sum = 0.0f;
            for (size_t i = 0; i < a->k; i++)
                sum = fmaf(a->x[row * a->x_stride + i], a->w[i * a->w_stride + j], sum);
            a->y[row * a->y_stride + j] = sum;
        }
}
