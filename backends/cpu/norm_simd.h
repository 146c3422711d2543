/* SPDX-License-Identifier: MIT */
/*
 * Norms in 16 lanes, which are the 16 virtual lanes of the definition. Lanes past the end of a row add +0 to sums that
 * are never -0, which changes nothing. A file for one ISA includes its simd_<isa>.h and this.
 */
#include <assert.h>

#include "cpu_math.h"
#include "ops.h"

static inline v16 load_row(const float *x, size_t i, size_t n)
{
    return i + 16 <= n ? v_load(x + i) : v_load_part(x + i, n - i);
}

void KERNEL(rms_norm_f32)(size_t n_row, size_t n, const float *x, const float *w, float offset,
                          float eps, float *y)
{
    assert(n > 0);
    for (size_t row = 0; row < n_row; row++, x += n, y += n) {
        v16 lane = v_set(0);
        for (size_t i = 0; i < n; i += 16) {
            const v16 e = load_row(x, i, n);
            lane = v_fma(e, e, lane);
        }
        const float inv = 1.0f / sqrtf(v_sum(lane) / (float)n + eps);
        size_t i = 0;
        for (; w && i + 16 <= n; i += 16)
            v_store(y + i,
                    v_mul(v_mul(v_load(x + i), v_set(inv)), v_add(v_load(w + i), v_set(offset))));
        for (; !w && i + 16 <= n; i += 16) v_store(y + i, v_mul(v_load(x + i), v_set(inv)));
        for (; i < n; i++) y[i] = w ? (x[i] * inv) * (w[i] + offset) : x[i] * inv;
    }
}

/* t * w + bias of 16 elements from i on; w and bias may be NULL. */
static inline v16 shape(v16 t, const float *w, const float *bias, size_t i)
{
    if (w) return bias ? v_fma(t, v_load(w + i), v_load(bias + i)) : v_mul(t, v_load(w + i));
    return bias ? v_add(t, v_load(bias + i)) : t;
}

void KERNEL(layer_norm_f32)(size_t n_row, size_t n, const float *x, const float *w,
                            const float *bias, float eps, float *y)
{
    assert(n > 0);
    for (size_t row = 0; row < n_row; row++, x += n, y += n) {
        v16 lane = v_set(0), square = v_set(0);
        for (size_t i = 0; i < n; i += 16) lane = v_add(lane, load_row(x, i, n));
        const float mean = v_sum(lane) / (float)n;
        size_t i = 0;
        for (; i + 16 <= n; i += 16) {
            const v16 d = v_sub(v_load(x + i), v_set(mean));
            square = v_fma(d, d, square);
        }
        if (i < n) {
            const v16 d = v_select(m_range(0, (int)(n - i)),
                                   v_sub(v_load_part(x + i, n - i), v_set(mean)), v_set(0));
            square = v_fma(d, d, square);
        }
        const float inv = 1.0f / sqrtf(v_sum(square) / (float)n + eps);
        for (i = 0; i + 16 <= n; i += 16) {
            const v16 t = v_mul(v_sub(v_load(x + i), v_set(mean)), v_set(inv));
            v_store(y + i, shape(t, w, bias, i));
        }
        for (; i < n; i++) {
            const float t = (x[i] - mean) * inv;
            if (w)
                y[i] = bias ? fmaf(t, w[i], bias[i]) : t * w[i];
            else
                y[i] = bias ? t + bias[i] : t;
        }
    }
}
