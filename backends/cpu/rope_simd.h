/* SPDX-License-Identifier: MIT */
/*
 * Rope in 16 lanes. Halves: 16 pairs are two plain vectors. Adjacent: 8 pairs are one vector, multiplied by each
 * cosine twice, and the vector with the pairs swapped by each sine twice; even lanes subtract, odd ones add.
 * A file for one ISA includes its simd_<isa>.h and this.
 */
#include <assert.h>
#include <string.h>

#include "cpu_math.h"
#include "ops.h"

static inline void rotate(float c, float s, float a, float b, float *ya, float *yb)
{
    const float bs = b * s, as = a * s;
    *ya = fmaf(a, c, -bs);
    *yb = fmaf(b, c, as);
}

void KERNEL(rope_adjacent_f32)(size_t n_head, size_t width, size_t n_rot, const float *table,
                               const float *x, float *y)
{
    assert(n_rot % 2 == 0 && n_rot <= width);
    const size_t half = n_rot / 2;
    for (size_t head = 0; head < n_head; head++, x += width, y += width) {
        size_t i = 0;
        for (; i + 8 <= half; i += 8) {
            const v16 a = v_load(x + 2 * i);
            const v16 other = v_mul(v_swap_pairs(a), v_load_twice(table + half + i));
            v_store(y + 2 * i, v_fmaddsub(a, v_load_twice(table + i), other));
        }
        for (; i < half; i++)
            rotate(table[i], table[half + i], x[2 * i], x[2 * i + 1], &y[2 * i], &y[2 * i + 1]);
        if (x != y) memcpy(y + n_rot, x + n_rot, (width - n_rot) * sizeof *y);
    }
}

void KERNEL(rope_halves_f32)(size_t n_head, size_t width, size_t n_rot, const float *table,
                             const float *x, float *y)
{
    assert(n_rot % 2 == 0 && n_rot <= width);
    const size_t half = n_rot / 2;
    for (size_t head = 0; head < n_head; head++, x += width, y += width) {
        size_t i = 0;
        for (; i + 16 <= half; i += 16) {
            const v16 c = v_load(table + i), s = v_load(table + half + i);
            const v16 a = v_load(x + i), b = v_load(x + half + i);
            v_store(y + i, v_fms(a, c, v_mul(b, s)));
            v_store(y + half + i, v_fma(b, c, v_mul(a, s)));
        }
        for (; i < half; i++)
            rotate(table[i], table[half + i], x[i], x[half + i], &y[i], &y[half + i]);
        if (x != y) memcpy(y + n_rot, x + n_rot, (width - n_rot) * sizeof *y);
    }
}
