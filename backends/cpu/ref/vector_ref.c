/* SPDX-License-Identifier: MIT */
/*
 * Reference kernels of scaled sums and of a vector times a matrix.
 */
#include "cpu_math.h"
#include "ops.h"

void llrtk_axpy_f32_ref(size_t n, float c, const float *x, float *y)
{
    for (size_t i = 0; i < n; i++) y[i] = fmaf(c, x[i], y[i]);
}

void llrtk_vecmat_f32_ref(size_t k, size_t n, const float *x, const float *w, size_t stride,
                          float *y)
{
    for (size_t j = 0; j < n; j++) {
        float sum = 0.0f;
        for (size_t i = 0; i < k; i++) sum = fmaf(x[i], w[i * stride + j], sum);
        y[j] = sum;
    }
}
