/* SPDX-License-Identifier: MIT */
/*
 * float32 product, 16 x 6 outputs per tile: 24 of 32 registers hold sums, 4 a k of the group. With one column a tile
 * takes more groups, so that enough sums are in flight. c = fma(w, x, c) for ascending k, as ref.
 */
#ifndef __ARM_NEON
#error "compile with the flags of neon"
#endif
#include <arm_neon.h>
#include <assert.h>

#include "tile.h"

static LLRTK_INLINE void tile(const llrti_gemm_args *a, const uint8_t *w, float *c, const int G,
                              const int N)
{
    const size_t stride = a->w_stride;
    const float *x = a->x;
    float32x4_t sum[16][6]; /* quarter groups */
    LLRTK_UNROLL for (int h = 0; h < 4 * G; h++)
    {
        LLRTK_UNROLL for (int j = 0; j < N; j++) sum[h][j] =
            a->accumulate ? vld1q_f32(c + (size_t)j * a->c_stride + h * 4) : vdupq_n_f32(0.0f);
    }
    for (size_t k = a->k; k; k--) {
        LLRTK_UNROLL for (int g = 0; g < G; g++)
        {
            const float *const p = (const float *)(const void *)(w + (size_t)g * stride);
            const float32x4_t q0 = vld1q_f32(p), q1 = vld1q_f32(p + 4), q2 = vld1q_f32(p + 8),
                              q3 = vld1q_f32(p + 12);
            LLRTK_UNROLL for (int j = 0; j < N; j++)
            {
                const float32x4_t v = vld1q_dup_f32(x + j);
                sum[4 * g][j] = vfmaq_f32(sum[4 * g][j], q0, v);
                sum[4 * g + 1][j] = vfmaq_f32(sum[4 * g + 1][j], q1, v);
                sum[4 * g + 2][j] = vfmaq_f32(sum[4 * g + 2][j], q2, v);
                sum[4 * g + 3][j] = vfmaq_f32(sum[4 * g + 3][j], q3, v);
            }
        }
        w += 64;
        x += N;
    }
    LLRTK_UNROLL for (int h = 0; h < 4 * G; h++)
    {
        LLRTK_UNROLL for (int j = 0; j < N; j++)
            vst1q_f32(c + (size_t)j * a->c_stride + h * 4, sum[h][j]);
    }
}

LLRTK_TILES(1)
LLRTK_TILES3(2)
LLRTK_TILE(4, 1)

void llrtk_gemm_f32_f32_f32_16x6_neon(const llrti_gemm_args *a)
{
    static llrtk_tile_table tiles = {LLRTK_TILE_ROW(1),
                                     {tile_2x1, tile_2x2, tile_2x3, NULL, NULL, NULL},
                                     {tile_4x1, NULL, NULL, NULL, NULL, NULL}};
    assert(a->n_group >= 1 && a->n_col >= 1 && a->n_col <= LLRTI_GEMM_NR);
    llrtk_run_tiles(a, tiles);
}
