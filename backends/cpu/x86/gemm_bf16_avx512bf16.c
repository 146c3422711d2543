/* SPDX-License-Identifier: MIT */
/*
 * bfloat16 product, 64 x 6 outputs per tile: 24 accumulators, 4 weight vectors. One weight vector is a pair of
 * k of a group; a pair of one column is a 32-bit broadcast. One vdpbf16ps per pair, ascending.
 */
#if !defined(__AVX512BF16__)
#error "compile with the flags of avx512bf16"
#endif
#include <assert.h>
#include <immintrin.h>
#include <string.h>

#include "tile.h"

static LLRTK_INLINE __m512bh broadcast_pair(const uint8_t *x)
{
    int32_t pair;
    memcpy(&pair, x, sizeof pair);
    return (__m512bh)_mm512_set1_epi32(pair);
}

static LLRTK_INLINE void tile(const llrti_gemm_args *a, const uint8_t *w, float *c, const int G,
                              const int N)
{
    const size_t stride = a->w_stride;
    const uint8_t *x = a->x;
    __m512 sum[4][6];
    LLRTK_UNROLL for (int g = 0; g < G; g++)
    {
        LLRTK_UNROLL for (int j = 0; j < N; j++) sum[g][j] =
            a->accumulate ? _mm512_loadu_ps(c + (size_t)j * a->c_stride + g * 16)
                          : _mm512_setzero_ps();
    }
    for (size_t k = a->k / 2; k; k--) {
        __m512bh q[4];
        LLRTK_UNROLL for (int g = 0; g < G; g++)
        {
            q[g] = (__m512bh)_mm512_loadu_si512(w + (size_t)g * stride);
            if (N == 1) _mm_prefetch((const char *)w + (size_t)g * stride + 2048, _MM_HINT_T0);
        }
        LLRTK_UNROLL for (int j = 0; j < N; j++)
        {
            const __m512bh v = broadcast_pair(x + 4 * j);
            LLRTK_UNROLL for (int g = 0; g < G; g++) sum[g][j] =
                _mm512_dpbf16_ps(sum[g][j], q[g], v);
        }
        w += 64;
        x += 4 * N;
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

void llrtk_gemm_bf16_bf16_f32_64x6_avx512bf16(const llrti_gemm_args *a)
{
    static llrtk_tile_table tiles = {LLRTK_TILE_ROW(1), LLRTK_TILE_ROW(2), LLRTK_TILE_ROW(4)};
    assert(a->n_group >= 1 && a->n_col >= 1 && a->n_col <= LLRTI_GEMM_NR && a->k % 2 == 0);
    llrtk_run_tiles(a, tiles);
}
