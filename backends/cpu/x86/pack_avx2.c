/* SPDX-License-Identifier: MIT */
/*
 * Packing on 256-bit vectors: panels by 8 x 8 transposes, activations column by column. The same
 * bits as ref; rounding to bf16 is the integer form of half.h in every lane, so that subnormals are kept and the
 * rounding mode is not asked. Rounding to 8 bits relies on MXCSR's default, as every kernel does.
 */
#ifndef __AVX2__
#error "compile with the flags of avx2"
#endif
#include <assert.h>
#include <immintrin.h>
#include <string.h>

#include "tile.h"

enum { MR = LLRTI_GEMM_MR };

/* bf16 in the upper half of each lane, the lower half undefined. */
static LLRTK_INLINE __m256i round_bf16(__m256 x)
{
    const __m256i u = _mm256_castps_si256(x);
    const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(u, 16), _mm256_set1_epi32(1));
    const __m256i rounded = _mm256_add_epi32(_mm256_add_epi32(u, _mm256_set1_epi32(0x7fff)), odd);
    const __m256i quiet = _mm256_or_si256(u, _mm256_set1_epi32(0x400000));
    const __m256i is_nan = _mm256_castps_si256(_mm256_cmp_ps(x, x, _CMP_UNORD_Q));
    return _mm256_blendv_epi8(rounded, quiet, is_nan);
}

/* Pairs: even k in the lower, odd k in the upper half of each lane. */
static LLRTK_INLINE __m256i join(__m256i even, __m256i odd)
{
    return _mm256_blend_epi16(_mm256_srli_epi32(even, 16), odd, 0xaa);
}

/* 16 consecutive floats to 8 consecutive pairs. */
static LLRTK_INLINE __m256i pairs_of(const float *x)
{
    const __m256i a = _mm256_srli_epi32(round_bf16(_mm256_loadu_ps(x)), 16);
    const __m256i b = _mm256_srli_epi32(round_bf16(_mm256_loadu_ps(x + 8)), 16);
    return _mm256_permute4x64_epi64(_mm256_packus_epi32(a, b), 0xd8);
}

static LLRTK_INLINE void transpose(__m256 r[8])
{
    __m256 t[8], u[8];
    LLRTK_UNROLL for (int i = 0; i < 4; i++)
    {
        t[2 * i] = _mm256_unpacklo_ps(r[2 * i], r[2 * i + 1]);
        t[2 * i + 1] = _mm256_unpackhi_ps(r[2 * i], r[2 * i + 1]);
    }
    LLRTK_UNROLL for (int i = 0; i < 2; i++)
    {
        u[4 * i] = _mm256_shuffle_ps(t[4 * i], t[4 * i + 2], 0x44);
        u[4 * i + 1] = _mm256_shuffle_ps(t[4 * i], t[4 * i + 2], 0xee);
        u[4 * i + 2] = _mm256_shuffle_ps(t[4 * i + 1], t[4 * i + 3], 0x44);
        u[4 * i + 3] = _mm256_shuffle_ps(t[4 * i + 1], t[4 * i + 3], 0xee);
    }
    LLRTK_UNROLL for (int i = 0; i < 4; i++)
    {
        r[i] = _mm256_permute2f128_ps(u[i], u[4 + i], 0x20);
        r[4 + i] = _mm256_permute2f128_ps(u[i], u[4 + i], 0x31);
    }
}

void llrtk_expand_bf16_f32_avx2(const void *src, void *dst, size_t k)
{
    const uint8_t *from = src;
    float *to = dst;
    const __m256i upper = _mm256_set1_epi32((int)0xffff0000u);
    for (size_t p = 0; p < k / 2; p++, from += 64, to += 2 * MR) {
        for (int h = 0; h < 2; h++) {
            const __m256i pair = _mm256_loadu_si256((const void *)(from + h * 32));
            _mm256_storeu_ps(to + h * 8, _mm256_castsi256_ps(_mm256_slli_epi32(pair, 16)));
            _mm256_storeu_ps(to + MR + h * 8, _mm256_castsi256_ps(_mm256_and_si256(pair, upper)));
        }
    }
}

static LLRTK_INLINE __m256 load_f16(const uint8_t *p)
{
    return _mm256_cvtph_ps(_mm_loadu_si128((const void *)p));
}

void llrtk_expand_f16_f32_avx2(const void *src, void *dst, size_t k)
{
    const uint8_t *from = src;
    float *to = dst;
    for (size_t i = 0; i < k * MR; i += 8) _mm256_storeu_ps(to + i, load_f16(from + 2 * i));
}

void llrtk_expand_f16_bf16_avx2(const void *src, void *dst, size_t k)
{
    const uint8_t *from = src;
    uint8_t *to = dst;
    for (size_t p = 0; p < k / 2; p++, from += 64, to += 64) {
        for (int h = 0; h < 2; h++) {
            const __m256i even = round_bf16(load_f16(from + h * 16));
            const __m256i odd = round_bf16(load_f16(from + 32 + h * 16));
            _mm256_storeu_si256((void *)(to + h * 32), join(even, odd));
        }
    }
}

void llrtk_panel_f32_avx2(const float *src, size_t src_stride, void *dst, size_t k)
{
    float *to = dst;
    size_t p = 0;
    for (; p + 8 <= k; p += 8) {
        for (size_t h = 0; h < 2; h++) {
            __m256 r[8];
            LLRTK_UNROLL for (size_t i = 0; i < 8; i++) r[i] =
                _mm256_loadu_ps(src + (h * 8 + i) * src_stride + p);
            transpose(r);
            LLRTK_UNROLL for (size_t i = 0; i < 8; i++)
                _mm256_storeu_ps(to + (p + i) * MR + h * 8, r[i]);
        }
    }
    for (; p < k; p++) {
        for (size_t i = 0; i < MR; i++) to[p * MR + i] = src[i * src_stride + p];
    }
}

void llrtk_panel_bf16_avx2(const float *src, size_t src_stride, void *dst, size_t k)
{
    uint8_t *to = dst;
    size_t p = 0;
    for (; p + 16 <= k; p += 16) {
        for (size_t h = 0; h < 2; h++) {
            __m256 r[8];
            LLRTK_UNROLL for (size_t i = 0; i < 8; i++) r[i] =
                _mm256_castsi256_ps(pairs_of(src + (h * 8 + i) * src_stride + p));
            transpose(r);
            LLRTK_UNROLL for (size_t i = 0; i < 8; i++)
                _mm256_storeu_ps((float *)(void *)(to + (p / 2 + i) * MR * 4 + h * 32), r[i]);
        }
    }
    if (p < k) llrtk_panel_bf16_ref(src + p, src_stride, to + p * MR * 2, k - p);
}

/* Eight 32-bit words to every n_col-th word. */
static LLRTK_INLINE void scatter(uint8_t *to, uint32_t n_col, __m256i words)
{
    if (n_col == 1) {
        _mm256_storeu_si256((void *)to, words);
        return;
    }
    uint32_t word[8];
    _mm256_storeu_si256((void *)word, words);
    LLRTK_UNROLL for (size_t i = 0; i < 8; i++) memcpy(to + i * n_col * 4, &word[i], 4);
}

void llrtk_act_f32_avx2(const float *x, size_t x_stride, size_t k, size_t k_pad, uint32_t n_col,
                        void *dst)
{
    uint8_t *const to = dst;
    assert(k_pad == k);
    (void)k_pad;
    for (size_t j = 0; j < n_col; j++) {
        size_t p = 0;
        for (; p + 8 <= k; p += 8)
            scatter(to + (p * n_col + j) * 4, n_col,
                    _mm256_loadu_si256((const void *)(x + j * x_stride + p)));
        for (; p < k; p++) memcpy(to + (p * n_col + j) * 4, x + j * x_stride + p, 4);
    }
}

void llrtk_act_bf16_avx2(const float *x, size_t x_stride, size_t k, size_t k_pad, uint32_t n_col,
                         void *dst)
{
    uint8_t *const to = dst;
    const size_t whole = k / 16 * 16;
    for (size_t j = 0; j < n_col; j++) {
        for (size_t p = 0; p < whole; p += 16)
            scatter(to + (p / 2 * n_col + j) * 4, n_col, pairs_of(x + j * x_stride + p));
    }
    if (whole < k_pad)
        llrtk_act_bf16_ref(x + whole, x_stride, k - whole, k_pad - whole, n_col,
                           to + whole * n_col * 2);
}

static LLRTK_INLINE int32_t max_lane(__m256i v)
{
    __m128i m = _mm_max_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
    m = _mm_max_epi32(m, _mm_shuffle_epi32(m, 0x4e));
    m = _mm_max_epi32(m, _mm_shuffle_epi32(m, 0xb1));
    return _mm_cvtsi128_si32(m);
}

static LLRTK_INLINE int32_t sum_lanes(__m256i v)
{
    __m128i s = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
    s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0x4e));
    s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0xb1));
    return _mm_cvtsi128_si32(s);
}

/* A block of 32 of column j. */
static LLRTK_INLINE void quantise_block(const float *x, uint8_t *block, uint32_t n_col, size_t j)
{
    const __m256i magnitude = _mm256_set1_epi32(0x7fffffff);
    __m256 v[4];
    __m256i largest = _mm256_setzero_si256();
    LLRTK_UNROLL for (int i = 0; i < 4; i++)
    {
        v[i] = _mm256_loadu_ps(x + i * 8);
        largest = _mm256_max_epi32(largest, _mm256_and_si256(_mm256_castps_si256(v[i]), magnitude));
    }
    const int32_t max_bits = max_lane(largest);
    float scale = 0.0f, inverse = 0.0f, max;
    memcpy(&max, &max_bits, sizeof max);
    __m256i bytes = _mm256_setzero_si256();
    if (max_bits >= 0x7f800000) {
        const uint32_t nan = 0x7fc00000u;
        memcpy(&scale, &nan, sizeof scale);
    } else if (max_bits >= 0x0d800000) {
        scale = max / 127.0f;
        inverse = 127.0f / max;
        __m256i q[4];
        LLRTK_UNROLL for (int i = 0; i < 4; i++) q[i] =
            _mm256_cvtps_epi32(_mm256_mul_ps(v[i], _mm256_set1_ps(inverse)));
        const __m256i halves =
            _mm256_packs_epi16(_mm256_packs_epi32(q[0], q[1]), _mm256_packs_epi32(q[2], q[3]));
        bytes = _mm256_permutevar8x32_epi32(halves, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
    }
    const __m256i ones = _mm256_set1_epi8(1);
    const __m256i sums = _mm256_madd_epi16(_mm256_maddubs_epi16(ones, bytes), _mm256_set1_epi16(1));
    const int32_t minus_sum = -sum_lanes(sums);
    scatter(block + j * 4, n_col, bytes);
    memcpy(block + (32 * (size_t)n_col) + j * 4, &scale, 4);
    memcpy(block + (36 * (size_t)n_col) + j * 4, &minus_sum, 4);
}

void llrtk_act_q8_avx2(const float *x, size_t x_stride, size_t k, size_t k_pad, uint32_t n_col,
                       void *dst)
{
    assert(k_pad % 64 == 0);
    for (size_t b = 0; b < k_pad / 32; b++) {
        uint8_t *const block = (uint8_t *)dst + b * n_col * LLRTI_GEMM_Q_ACT_BYTES;
        for (size_t j = 0; j < n_col; j++) {
            const float *from = x + j * x_stride + b * 32;
            float partial[32] = {0};
            if (b * 32 + 32 > k) {
                if (b * 32 < k) memcpy(partial, from, (k - b * 32) * sizeof *partial);
                from = partial;
            }
            quantise_block(from, block, n_col, j);
        }
    }
}
