/* SPDX-License-Identifier: MIT */
/*
 * float32 product, 16 x 6 outputs per tile: 12 accumulators, 2 weight vectors, 1 broadcast: 15 of 16 registers. With
 * few columns a tile takes more groups, so that enough sums are in flight. c = fma(w, x, c), ascending k, as ref.
 */
#if !defined(__AVX2__) || !defined(__FMA__)
#error "compile with the flags of avx2"
#endif
#include <assert.h>
#include <immintrin.h>

#include "tile.h"

static LLRTK_INLINE void tile(const llrti_gemm_args *a, const uint8_t *w, float *c, const int G,
                              const int N)
{
    const size_t stride = a->w_stride;
    const float *x = a->x;
    __m256 sum[8][6]; /* half groups */
    LLRTK_UNROLL for (int h = 0; h < 2 * G; h++)
    {
        LLRTK_UNROLL for (int j = 0; j < N; j++) sum[h][j] =
            a->accumulate ? _mm256_loadu_ps(c + (size_t)j * a->c_stride + h * 8)
                          : _mm256_setzero_ps();
    }
    for (size_t k = a->k; k; k--) {
        LLRTK_UNROLL for (int g = 0; g < G; g++)
        {
            const float *const p = (const float *)(const void *)(w + (size_t)g * stride);
            if (N == 1) _mm_prefetch((const char *)p + 2048, _MM_HINT_T0);
            const __m256 q0 = _mm256_loadu_ps(p), q1 = _mm256_loadu_ps(p + 8);
            LLRTK_UNROLL for (int j = 0; j < N; j++)
            {
                const __m256 v = _mm256_broadcast_ss(x + j);
                sum[2 * g][j] = _mm256_fmadd_ps(q0, v, sum[2 * g][j]);
                sum[2 * g + 1][j] = _mm256_fmadd_ps(q1, v, sum[2 * g + 1][j]);
            }
        }
        w += 64;
        x += N;
    }
    LLRTK_UNROLL for (int h = 0; h < 2 * G; h++)
    {
        LLRTK_UNROLL for (int j = 0; j < N; j++)
            _mm256_storeu_ps(c + (size_t)j * a->c_stride + h * 8, sum[h][j]);
    }
}

LLRTK_TILES(1)
LLRTK_TILES3(2)
LLRTK_TILE(4, 1)

void llrtk_gemm_f32_f32_f32_16x6_avx2(const llrti_gemm_args *a)
{
    static llrtk_tile_table tiles = {LLRTK_TILE_ROW(1),
                                     {tile_2x1, tile_2x2, tile_2x3, NULL, NULL, NULL},
                                     {tile_4x1, NULL, NULL, NULL, NULL, NULL}};
    assert(a->n_group >= 1 && a->n_col >= 1 && a->n_col <= LLRTI_GEMM_NR);
    llrtk_run_tiles(a, tiles);
}
