/* SPDX-License-Identifier: MIT */
/*
 * 8-bit activations times Q8 or Q4 weights on 256-bit vectors: the body shared by the AVX2 and AVX-VNNI
 * files, which differ in the dot product of four. Included once by a file that defines
 *
 *   BITS                         8 or 4
 *   weights, prepare(raw)        what dot_add takes, made once per weight vector
 *   dot_init(minus_sum)          the accumulators' start
 *   dot_add(dot, weights, v)     += products of 8 outputs x 4 k
 *   dot_finish(dot, minus_sum)   to 8 int32; minus_sum: where the number lies
 *
 * Half a group (8 outputs) at a time: 6 dot products and 6 sums fill the registers.
 */
#ifndef LLRTI_GEMM_Q_YMM_H
#define LLRTI_GEMM_Q_YMM_H

enum {
    BLOCK_BYTES = BITS * 64,
    PAIR_BYTES = BITS == 8 ? LLRTI_GEMM_Q8_BYTES : LLRTI_GEMM_Q4_BYTES
};

static LLRTK_INLINE __m256i broadcast(const uint8_t *x)
{
    int32_t four;
    memcpy(&four, x, sizeof four);
    return _mm256_set1_epi32(four);
}

static LLRTK_INLINE void dot_block(__m256i dot[6], const uint8_t *w, const uint8_t *x, const int N)
{
    LLRTK_UNROLL for (int j = 0; j < N; j++) dot[j] = dot_init(broadcast(x + 36 * N + 4 * j));
#if BITS == 8
    LLRTK_UNROLL for (int k = 0; k < 8; k++)
    {
        const weights q = prepare(_mm256_loadu_si256((const void *)(w + k * 64)));
        LLRTK_UNROLL for (int j = 0; j < N; j++) dot[j] =
            dot_add(dot[j], q, broadcast(x + 4 * (k * N + j)));
    }
#else
    const __m256i low = _mm256_set1_epi8(15);
    LLRTK_UNROLL for (int k = 0; k < 4; k++)
    {
        const __m256i both = _mm256_loadu_si256((const void *)(w + k * 64));
        const weights q0 = prepare(_mm256_and_si256(both, low));
        const weights q1 = prepare(_mm256_and_si256(_mm256_srli_epi16(both, 4), low));
        LLRTK_UNROLL for (int j = 0; j < N; j++)
        {
            dot[j] = dot_add(dot[j], q0, broadcast(x + 4 * (2 * k * N + j)));
            dot[j] = dot_add(dot[j], q1, broadcast(x + 4 * ((2 * k + 1) * N + j)));
        }
    }
#endif
}

static LLRTK_INLINE void half_tile(const llrti_gemm_args *a, const uint8_t *w, float *c,
                                   const int half, const int N)
{
    const uint8_t *x = a->x;
    __m256 sum[6];
    LLRTK_UNROLL for (int j = 0; j < N; j++) sum[j] =
        a->accumulate ? _mm256_loadu_ps(c + (size_t)j * a->c_stride + half * 8)
                      : _mm256_setzero_ps();
    for (size_t pair = a->k / 64; pair; pair--) {
        for (int b = 0; b < 2; b++) {
            __m256i dot[6];
            dot_block(dot, w + b * BLOCK_BYTES + half * 32, x, N);
            const void *const scales = w + 2 * BLOCK_BYTES + b * 32 + half * 16;
            const __m256 d = _mm256_cvtph_ps(_mm_loadu_si128(scales));
            LLRTK_UNROLL for (int j = 0; j < N; j++)
            {
                const __m256 s = _mm256_castsi256_ps(broadcast(x + 32 * N + 4 * j));
                const __m256 value = _mm256_cvtepi32_ps(dot_finish(dot[j], x + 36 * N + 4 * j));
                sum[j] = _mm256_fmadd_ps(_mm256_mul_ps(d, s), value, sum[j]);
            }
            x += LLRTI_GEMM_Q_ACT_BYTES * N;
        }
        w += PAIR_BYTES;
    }
    LLRTK_UNROLL for (int j = 0; j < N; j++)
        _mm256_storeu_ps(c + (size_t)j * a->c_stride + half * 8, sum[j]);
}

static LLRTK_INLINE void tile(const llrti_gemm_args *a, const uint8_t *w, float *c, const int G,
                              const int N)
{
    (void)G;
    half_tile(a, w, c, 0, N);
    half_tile(a, w, c, 1, N);
}

LLRTK_TILES(1)

#endif
