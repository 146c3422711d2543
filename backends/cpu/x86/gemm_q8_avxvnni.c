/* SPDX-License-Identifier: MIT */
/*
 * 8-bit activations times Q8 weights, 8 x 6 outputs at a time, 256-bit vectors.
 *
 * vpdpbusd in its VEX form takes the unsigned weights as they are; the accumulators start at
 * -offset * sum(activations), offset 128 = 1 << 7.
 * After a block of 32, c = fma(w_scale * x_scale, (float)dot, c), as ref.
 */
#ifndef __AVXVNNI__
#error "compile with the flags of avxvnni"
#endif
#include <assert.h>
#include <immintrin.h>
#include <string.h>

#include "tile.h"

#define BITS 8

typedef __m256i weights;

static LLRTK_INLINE weights prepare(__m256i raw)
{
    return raw;
}

static LLRTK_INLINE __m256i dot_init(__m256i minus_sum)
{
    return _mm256_slli_epi32(minus_sum, 7);
}

static LLRTK_INLINE __m256i dot_add(__m256i dot, weights q, __m256i v)
{
    return _mm256_dpbusd_avx_epi32(dot, q, v);
}

static LLRTK_INLINE __m256i dot_finish(__m256i dot, const uint8_t *minus_sum)
{
    (void)minus_sum;
    return dot;
}

#include "gemm_q_ymm.h"

void llrtk_gemm_q8_q8_f32_16x6_avxvnni(const llrti_gemm_args *a)
{
    static llrtk_tile_table tiles = {LLRTK_TILE_ROW(1)};
    assert(a->n_group >= 1 && a->n_col >= 1 && a->n_col <= LLRTI_GEMM_NR && a->k % 64 == 0);
    llrtk_run_tiles(a, tiles);
}
