/* SPDX-License-Identifier: MIT */
/*
 * Reference kernels of rope, in both pairings.
 */
#include <assert.h>

#include "cpu_math.h"
#include "ops.h"

static void rotate(float c, float s, float a, float b, float *ya, float *yb)
{
    const float bs = b * s, as = a * s;
    *ya = fmaf(a, c, -bs);
    *yb = fmaf(b, c, as);
}

void llrtk_rope_adjacent_f32_ref(size_t n_head, size_t width, size_t n_rot, const float *table,
                                 const float *x, float *y)
{
    assert(n_rot % 2 == 0 && n_rot <= width);
    const size_t half = n_rot / 2;
    for (size_t head = 0; head < n_head; head++, x += width, y += width) {
        for (size_t i = 0; i < half; i++)
            rotate(table[i], table[half + i], x[2 * i], x[2 * i + 1], &y[2 * i], &y[2 * i + 1]);
        for (size_t i = n_rot; i < width; i++) y[i] = x[i];
    }
}

void llrtk_rope_halves_f32_ref(size_t n_head, size_t width, size_t n_rot, const float *table,
                               const float *x, float *y)
{
    assert(n_rot % 2 == 0 && n_rot <= width);
    const size_t half = n_rot / 2;
    for (size_t head = 0; head < n_head; head++, x += width, y += width) {
        for (size_t i = 0; i < half; i++)
            rotate(table[i], table[half + i], x[i], x[half + i], &y[i], &y[half + i]);
        for (size_t i = n_rot; i < width; i++) y[i] = x[i];
    }
}
