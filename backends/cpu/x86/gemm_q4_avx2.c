/* SPDX-License-Identifier: MIT */
/*
 * 8-bit activations times Q4 weights, 8 x 6 outputs at a time, 256-bit vectors.
 *
 * Weights are 0..15 (value + 8), activations at most 127 in magnitude: vpmaddubsw's sums of two are at
 * most 3810, and all eight of a block 30480, so a block is summed in 16 bits without overflow and widened once.
 * -8 * sum(activations) is added at the end.
 * After a block of 32, c = fma(w_scale * x_scale, (float)dot, c), as ref.
 */
#ifndef __AVX2__
#error "compile with the flags of avx2"
#endif
#include <assert.h>
#include <immintrin.h>
#include <string.h>

#include "tile.h"

#define BITS 4

typedef __m256i weights;

static LLRTK_INLINE weights prepare(__m256i raw)
{
    return raw;
}

static LLRTK_INLINE __m256i dot_init(__m256i minus_sum)
{
    (void)minus_sum;
    return _mm256_setzero_si256();
}

static LLRTK_INLINE __m256i dot_add(__m256i dot, weights q, __m256i v)
{
    return _mm256_add_epi16(dot, _mm256_maddubs_epi16(q, v));
}

static LLRTK_INLINE __m256i dot_finish(__m256i dot, const uint8_t *minus_sum)
{
    int32_t sum;
    memcpy(&sum, minus_sum, sizeof sum);
    return _mm256_add_epi32(_mm256_madd_epi16(dot, _mm256_set1_epi16(1)),
                            _mm256_set1_epi32(sum * 8));
}

#include "gemm_q_ymm.h"

void llrtk_gemm_q8_q4_f32_16x6_avx2(const llrti_gemm_args *a)
{
    static llrtk_tile_table tiles = {LLRTK_TILE_ROW(1)};
    assert(a->n_group >= 1 && a->n_col >= 1 && a->n_col <= LLRTI_GEMM_NR && a->k % 64 == 0);
    llrtk_run_tiles(a, tiles);
}
