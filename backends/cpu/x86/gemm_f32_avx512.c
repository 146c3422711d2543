/* SPDX-License-Identifier: MIT */
/*
 * float32 product, 64 x 6 outputs per tile: 24 accumulators, 4 weight vectors, activations as broadcast operands.
 * One weight vector is one k of a group. c = fma(w, x, c) for ascending k, as ref.
 */
#ifndef __AVX512F__
#error "compile with the flags of avx512"
#endif
#include <assert.h>
#include <immintrin.h>

#include "tile.h"

static LLRTK_INLINE void tile(const llrti_gemm_args *a, const uint8_t *w, float *c, const int G,
                              const int N)
{
    const size_t stride = a->w_stride;
    const float *x = a->x;
    __m512 sum[4][6];
    LLRTK_UNROLL for (int g = 0; g < G; g++)
    {
        LLRTK_UNROLL for (int j = 0; j < N; j++) sum[g][j] =
            a->accumulate ? _mm512_loadu_ps(c + (size_t)j * a->c_stride + g * 16)
                          : _mm512_setzero_ps();
    }
    for (size_t k = a->k; k; k--) {
        __m512 q[4];
        LLRTK_UNROLL for (int g = 0; g < G; g++)
        {
            q[g] = _mm512_loadu_ps((const float *)(const void *)(w + (size_t)g * stride));
            if (N == 1) _mm_prefetch((const char *)w + (size_t)g * stride + 2048, _MM_HINT_T0);
        }
        LLRTK_UNROLL for (int j = 0; j < N; j++)
        {
            const __m512 v = _mm512_set1_ps(x[j]);
            LLRTK_UNROLL for (int g = 0; g < G; g++) sum[g][j] =
                _mm512_fmadd_ps(q[g], v, sum[g][j]);
        }
        w += 64;
        x += N;
    }
    LLRTK_UNROLL for (int g = 0; g < G; g++)
    {
        LLRTK_UNROLL for (int j = 0; j < N; j++)
            _mm512_storeu_ps(c + (size_t)j * a->c_stride + g * 16, sum[g][j]);
    }
}

LLRTK_TILES(1)
LLRTK_TILES(2)
LLRTK_TILES(4)

void llrtk_gemm_f32_f32_f32_64x6_avx512(const llrti_gemm_args *a)
{
    static llrtk_tile_table tiles = {LLRTK_TILE_ROW(1), LLRTK_TILE_ROW(2), LLRTK_TILE_ROW(4)};
    assert(a->n_group >= 1 && a->n_col >= 1 && a->n_col <= LLRTI_GEMM_NR);
    llrtk_run_tiles(a, tiles);
}
