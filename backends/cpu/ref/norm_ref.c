/* SPDX-License-Identifier: MIT */
/*
 * Reference kernels of the norms: the specification of ops.h in plain C.
 */
#include <assert.h>

#include "cpu_math.h"
#include "ops.h"

void llrtk_rms_norm_f32_ref(size_t n_row, size_t n, const float *x, const float *w, float offset,
                            float eps, float *y)
{
    assert(n > 0);
    for (size_t row = 0; row < n_row; row++, x += n, y += n) {
        float lane[16] = {0};
        for (size_t i = 0; i < n; i++) lane[i % 16] = fmaf(x[i], x[i], lane[i % 16]);
        const float inv = 1.0f / sqrtf(llrti_math_sum16(lane) / (float)n + eps);
        for (size_t i = 0; i < n; i++) y[i] = w ? (x[i] * inv) * (w[i] + offset) : x[i] * inv;
    }
}

void llrtk_layer_norm_f32_ref(size_t n_row, size_t n, const float *x, const float *w,
                              const float *bias, float eps, float *y)
{
    assert(n > 0);
    for (size_t row = 0; row < n_row; row++, x += n, y += n) {
        float lane[16] = {0}, square[16] = {0};
        for (size_t i = 0; i < n; i++) lane[i % 16] += x[i];
        const float mean = llrti_math_sum16(lane) / (float)n;
        for (size_t i = 0; i < n; i++) {
            const float d = x[i] - mean;
            square[i % 16] = fmaf(d, d, square[i % 16]);
        }
        const float inv = 1.0f / sqrtf(llrti_math_sum16(square) / (float)n + eps);
        for (size_t i = 0; i < n; i++) {
            const float t = (x[i] - mean) * inv;
            if (w)
                y[i] = bias ? fmaf(t, w[i], bias[i]) : t * w[i];
            else
                y[i] = bias ? t + bias[i] : t;
        }
    }
}
