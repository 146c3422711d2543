/* SPDX-License-Identifier: MIT */
/*
 * 8-bit activations times Q8 weights, 8 x 6 outputs at a time, 256-bit vectors.
 *
 * vpmaddubsw multiplies unsigned by signed and saturates its sums of two, so the weights' sign is moved to the
 * activations: |w| <= 128 and |x| <= 127 give sums of two of at most 2 * 128 * 127 = 32512, which fit.
 * After a block of 32, c = fma(w_scale * x_scale, (float)dot, c), as ref.
 */
#ifndef __AVX2__
#error "compile with the flags of avx2"
#endif
#include <assert.h>
#include <immintrin.h>
#include <string.h>

#include "tile.h"

#define BITS 8

typedef struct weights {
    __m256i value, magnitude;
} weights;

static LLRTK_INLINE weights prepare(__m256i raw)
{
    const __m256i value = _mm256_xor_si256(raw, _mm256_set1_epi8(-128));
    return (weights){value, _mm256_abs_epi8(value)};
}

static LLRTK_INLINE __m256i dot_init(__m256i minus_sum)
{
    (void)minus_sum;
    return _mm256_setzero_si256();
}

static LLRTK_INLINE __m256i dot_add(__m256i dot, weights q, __m256i v)
{
    const __m256i twos = _mm256_maddubs_epi16(q.magnitude, _mm256_sign_epi8(v, q.value));
    return _mm256_add_epi32(dot, _mm256_madd_epi16(twos, _mm256_set1_epi16(1)));
}

static LLRTK_INLINE __m256i dot_finish(__m256i dot, const uint8_t *minus_sum)
{
    (void)minus_sum;
    return dot;
}

#include "gemm_q_ymm.h"

void llrtk_gemm_q8_q8_f32_16x6_avx2(const llrti_gemm_args *a)
{
    static llrtk_tile_table tiles = {LLRTK_TILE_ROW(1)};
    assert(a->n_group >= 1 && a->n_col >= 1 && a->n_col <= LLRTI_GEMM_NR && a->k % 64 == 0);
    llrtk_run_tiles(a, tiles);
}
