/* SPDX-License-Identifier: MIT */
/*
 * Scaled sums and rows times a matrix in 16 lanes. Four rows or four vectors of columns run side by side, so that
 * the fused multiply-adds of one don't wait for each other. A file for one ISA includes its simd_<isa>.h and this.
 */
#include <string.h>

#include "cpu_math.h"
#include "ops.h"
#include "tile.h"

void KERNEL(axpy_f32)(size_t n, float c, const float *x, float *y)
{
    size_t i = 0;
    for (; i + 16 <= n; i += 16) v_store(y + i, v_fma(v_set(c), v_load(x + i), v_load(y + i)));
    for (; i < n; i++) y[i] = fmaf(c, x[i], y[i]);
}

/*
 * `rows` rows times `groups` vectors of columns, in as many chains of fused multiply-adds. The last column vector has n
 * columns; where a whole vector would reach beyond the matrix it is put together from n.
 */
static LLRTK_INLINE void multiply_tile(const llrti_rowmat_args *a, size_t row, size_t column,
                                       const int rows, const int groups)
{
    const float *const x = a->x + row * a->x_stride;
    const size_t n = a->n - column, step = a->w_stride;
    v16 sum[4][4];
    LLRTK_UNROLL
    for (int r = 0; r < rows; r++) {
        LLRTK_UNROLL
        for (int g = 0; g < groups; g++) sum[r][g] = v_set(0.0f);
    }
    const float *w = a->w + column;
    /* Rows of w from which a whole vector lies inside of it. */
    const size_t over = n < 16 ? (16 - n + step - 1) / step : 0;
    const size_t n_whole = over < a->k ? a->k - over : 0;
    for (size_t i = 0; i < n_whole; i++, w += step) {
        LLRTK_UNROLL
        for (int g = 0; g < groups; g++) {
            const v16 wi = v_load(w + 16 * g);
            LLRTK_UNROLL
            for (int r = 0; r < rows; r++)
                sum[r][g] = v_fma(v_set(x[(size_t)r * a->x_stride + i]), wi, sum[r][g]);
        }
    }
    for (size_t i = n_whole; i < a->k; i++, w += step) { /* one vector of few columns */
        const v16 wi = v_load_part(w, n);
        LLRTK_UNROLL
        for (int r = 0; r < rows; r++)
            sum[r][0] = v_fma(v_set(x[(size_t)r * a->x_stride + i]), wi, sum[r][0]);
    }
    LLRTK_UNROLL
    for (int r = 0; r < rows; r++) {
        float *const y = a->y + (row + (size_t)r) * a->y_stride + column;
        if (n < 16) {
            float part[16];
            v_store(part, sum[r][0]);
            memcpy(y, part, n * sizeof *y);
            continue;
        }
        LLRTK_UNROLL
        for (int g = 0; g < groups; g++) v_store(y + 16 * g, sum[r][g]);
    }
}

void KERNEL(rowmat_f32)(const llrti_rowmat_args *a)
{
    size_t row = 0;
    for (; row + 4 <= a->n_row; row += 4)
        for (size_t j = 0; j < a->n; j += 16) multiply_tile(a, row, j, 4, 1);
    for (; row < a->n_row; row++) {
        size_t j = 0;
        for (; j + 64 <= a->n; j += 64) multiply_tile(a, row, j, 1, 4);
        for (; j < a->n; j += 16) multiply_tile(a, row, j, 1, 1);
    }
}
