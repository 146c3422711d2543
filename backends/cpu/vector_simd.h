/* SPDX-License-Identifier: MIT */
/*
 * Scaled sums and a vector times a matrix in 16 lanes. Four vectors of columns run side by side, so that the fused
 * multiply-adds of one don't wait for each other. A file for one ISA includes its simd_<isa>.h and this.
 */
#include <string.h>

#include "cpu_math.h"
#include "ops.h"

void KERNEL(axpy_f32)(size_t n, float c, const float *x, float *y)
{
    size_t i = 0;
    for (; i + 16 <= n; i += 16) v_store(y + i, v_fma(v_set(c), v_load(x + i), v_load(y + i)));
    for (; i < n; i++) y[i] = fmaf(c, x[i], y[i]);
}

void KERNEL(vecmat_f32)(size_t k, size_t n, const float *x, const float *w, size_t stride, float *y)
{
    size_t j = 0;
    for (; j + 64 <= n; j += 64) {
        v16 a = v_set(0.0f), b = a, c = a, d = a;
        const float *row = w + j;
        for (size_t i = 0; i < k; i++, row += stride) {
            const v16 s = v_set(x[i]);
            a = v_fma(s, v_load(row), a);
            b = v_fma(s, v_load(row + 16), b);
            c = v_fma(s, v_load(row + 32), c);
            d = v_fma(s, v_load(row + 48), d);
        }
        v_store(y + j, a);
        v_store(y + j + 16, b);
        v_store(y + j + 32, c);
        v_store(y + j + 48, d);
    }
    for (; j + 16 <= n; j += 16) {
        v16 a = v_set(0.0f);
        for (size_t i = 0; i < k; i++) a = v_fma(v_set(x[i]), v_load(w + i * stride + j), a);
        v_store(y + j, a);
    }
    if (j < n) {
        const size_t rest = n - j;
        float sum[16];
        v16 a = v_set(0.0f);
        for (size_t i = 0; i < k; i++)
            a = v_fma(v_set(x[i]), v_load_part(w + i * stride + j, rest), a);
        v_store(sum, a);
        memcpy(y + j, sum, rest * sizeof *y);
    }
}
