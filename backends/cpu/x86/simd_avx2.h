/* SPDX-License-Identifier: MIT */
/*
 * Sixteen float lanes in two AVX2 registers, for the kernels in *_simd.h. Every operation is exactly
 * the one named, lane by lane, so that a kernel gives the bits of its scalar reference.
 *
 *   v16 floats, i16 their bits as integers, m16 one mask per lane; a has lanes 0 to 7, b 8 to 15
 *   v_max(a, b) is a > b ? a : b, v_min(a, b) is a < b ? a : b, also for NaN and zeros of either sign
 *   v_sum adds as llrti_math_sum16 does
 */
#ifndef LLRTI_SIMD_AVX2_H
#define LLRTI_SIMD_AVX2_H

#if !defined(__AVX2__) || !defined(__FMA__) || !defined(__F16C__)
#error "compile with the flags of the avx2 level"
#endif

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#include "turn_x86.h"
#include <string.h>

#define KERNEL(name) llrtk_##name##_avx2

/* Lane groups of 16 (two registers) that a block of n_query rows keeps in registers: 12 of the 16 at most. */
#define SIMD_GROUPS(n_query) ((n_query) == 1 ? 4 : (n_query) == 2 ? 2 : 1)

typedef struct v16 {
    __m256 a, b;
} v16;
typedef struct i16 {
    __m256i a, b;
} i16;
typedef v16 m16;

static inline v16 v_make(__m256 a, __m256 b)
{
    const v16 r = {a, b};
    return r;
}
static inline i16 i_make(__m256i a, __m256i b)
{
    const i16 r = {a, b};
    return r;
}
static inline v16 v_set(float x)
{
    return v_make(_mm256_set1_ps(x), _mm256_set1_ps(x));
}
static inline v16 v_load(const float *p)
{
    return v_make(_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8));
}
static inline void v_store(float *p, v16 x)
{
    _mm256_storeu_ps(p, x.a);
    _mm256_storeu_ps(p + 8, x.b);
}
/* The first n < 16 floats, zeros above. */
static inline v16 v_load_part(const float *p, size_t n)
{
    float buffer[16] = {0};
    memcpy(buffer, p, n * sizeof *p);
    return v_load(buffer);
}
static inline v16 v_add(v16 x, v16 y)
{
    return v_make(_mm256_add_ps(x.a, y.a), _mm256_add_ps(x.b, y.b));
}
static inline v16 v_sub(v16 x, v16 y)
{
    return v_make(_mm256_sub_ps(x.a, y.a), _mm256_sub_ps(x.b, y.b));
}
static inline v16 v_mul(v16 x, v16 y)
{
    return v_make(_mm256_mul_ps(x.a, y.a), _mm256_mul_ps(x.b, y.b));
}
static inline v16 v_div(v16 x, v16 y)
{
    return v_make(_mm256_div_ps(x.a, y.a), _mm256_div_ps(x.b, y.b));
}
static inline v16 v_fma(v16 x, v16 y, v16 z)
{
    return v_make(_mm256_fmadd_ps(x.a, y.a, z.a), _mm256_fmadd_ps(x.b, y.b, z.b));
}
static inline v16 v_fms(v16 x, v16 y, v16 z)
{
    return v_make(_mm256_fmsub_ps(x.a, y.a, z.a), _mm256_fmsub_ps(x.b, y.b, z.b));
}
/* x * y - z in even lanes, x * y + z in odd ones. */
static inline v16 v_fmaddsub(v16 x, v16 y, v16 z)
{
    return v_make(_mm256_fmaddsub_ps(x.a, y.a, z.a), _mm256_fmaddsub_ps(x.b, y.b, z.b));
}
static inline v16 v_max(v16 x, v16 y)
{
    return v_make(_mm256_max_ps(x.a, y.a), _mm256_max_ps(x.b, y.b));
}
static inline v16 v_min(v16 x, v16 y)
{
    return v_make(_mm256_min_ps(x.a, y.a), _mm256_min_ps(x.b, y.b));
}
static inline m16 v_less(v16 x, v16 y)
{
    return v_make(_mm256_cmp_ps(x.a, y.a, _CMP_LT_OQ), _mm256_cmp_ps(x.b, y.b, _CMP_LT_OQ));
}
static inline v16 v_select(m16 m, v16 x, v16 y)
{
    return v_make(_mm256_blendv_ps(y.a, x.a, m.a), _mm256_blendv_ps(y.b, x.b, m.b));
}
static inline i16 v_bits(v16 x)
{
    return i_make(_mm256_castps_si256(x.a), _mm256_castps_si256(x.b));
}
static inline v16 i_floats(i16 x)
{
    return v_make(_mm256_castsi256_ps(x.a), _mm256_castsi256_ps(x.b));
}
static inline i16 i_set(uint32_t x)
{
    return i_make(_mm256_set1_epi32((int)x), _mm256_set1_epi32((int)x));
}
static inline i16 i_add(i16 x, i16 y)
{
    return i_make(_mm256_add_epi32(x.a, y.a), _mm256_add_epi32(x.b, y.b));
}
static inline i16 i_sub(i16 x, i16 y)
{
    return i_make(_mm256_sub_epi32(x.a, y.a), _mm256_sub_epi32(x.b, y.b));
}
static inline i16 i_and(i16 x, i16 y)
{
    return i_make(_mm256_and_si256(x.a, y.a), _mm256_and_si256(x.b, y.b));
}
static inline i16 i_or(i16 x, i16 y)
{
    return i_make(_mm256_or_si256(x.a, y.a), _mm256_or_si256(x.b, y.b));
}
/* Arithmetic shift right by one. */
static inline i16 i_half(i16 x)
{
    return i_make(_mm256_srai_epi32(x.a, 1), _mm256_srai_epi32(x.b, 1));
}
static inline i16 i_shift_23(i16 x)
{
    return i_make(_mm256_slli_epi32(x.a, 23), _mm256_slli_epi32(x.b, 23));
}
/* Lanes begin <= i < end; any numbers. */
static inline m16 m_range(int begin, int end)
{
    const __m256i low = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    const __m256i high = _mm256_add_epi32(low, _mm256_set1_epi32(8));
    const __m256i b = _mm256_set1_epi32(begin - 1), e = _mm256_set1_epi32(end);
    const __m256i m0 = _mm256_and_si256(_mm256_cmpgt_epi32(low, b), _mm256_cmpgt_epi32(e, low));
    const __m256i m1 = _mm256_and_si256(_mm256_cmpgt_epi32(high, b), _mm256_cmpgt_epi32(e, high));
    return v_make(_mm256_castsi256_ps(m0), _mm256_castsi256_ps(m1));
}
static inline float v_sum(v16 x)
{
    const __m256 b = _mm256_add_ps(x.a, x.b);
    const __m128 c = _mm_add_ps(_mm256_castps256_ps128(b), _mm256_extractf128_ps(b, 1));
    const __m128 d = _mm_add_ps(c, _mm_movehl_ps(c, c));
    return _mm_cvtss_f32(_mm_add_ss(d, _mm_movehdup_ps(d)));
}
static inline float v_largest(v16 x)
{
    const __m256 b = _mm256_max_ps(x.a, x.b);
    const __m128 c = _mm_max_ps(_mm256_castps256_ps128(b), _mm256_extractf128_ps(b, 1));
    const __m128 d = _mm_max_ps(c, _mm_movehl_ps(c, c));
    return _mm_cvtss_f32(_mm_max_ss(d, _mm_movehdup_ps(d)));
}
static inline v16 v_swap_pairs(v16 x)
{
    return v_make(_mm256_permute_ps(x.a, 0xb1), _mm256_permute_ps(x.b, 0xb1));
}
/* p[0] p[0] p[1] p[1] ... p[7] p[7] */
static inline v16 v_load_twice(const float *p)
{
    const __m256 x = _mm256_loadu_ps(p);
    const __m256i low = _mm256_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3);
    const __m256i high = _mm256_setr_epi32(4, 4, 5, 5, 6, 6, 7, 7);
    return v_make(_mm256_permutevar8x32_ps(x, low), _mm256_permutevar8x32_ps(x, high));
}

/* ---- Sixteen elements of the KV types ---- */

static inline __m128i load_16_bytes(const void *p)
{
    return _mm_loadu_si128((const __m128i *)p);
}
static inline float f16_widen(uint16_t h)
{
    return _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(h)));
}
static inline v16 v_load_f16(const uint16_t *p)
{
    return v_make(_mm256_cvtph_ps(load_16_bytes(p)), _mm256_cvtph_ps(load_16_bytes(p + 8)));
}
static inline v16 v_load_bf16(const uint16_t *p)
{
    const __m256i x = _mm256_slli_epi32(_mm256_cvtepu16_epi32(load_16_bytes(p)), 16);
    const __m256i y = _mm256_slli_epi32(_mm256_cvtepu16_epi32(load_16_bytes(p + 8)), 16);
    return v_make(_mm256_castsi256_ps(x), _mm256_castsi256_ps(y));
}
static inline v16 v_load_i8(const int8_t *p)
{
    const __m128i x = load_16_bytes(p);
    return v_make(_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(x)),
                  _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_srli_si128(x, 8))));
}
static inline void v_store_f16(uint16_t *p, v16 x)
{
    _mm_storeu_si128((__m128i *)(void *)p, _mm256_cvtps_ph(x.a, _MM_FROUND_TO_NEAREST_INT));
    _mm_storeu_si128((__m128i *)(void *)(p + 8), _mm256_cvtps_ph(x.b, _MM_FROUND_TO_NEAREST_INT));
}
static inline __m256i round_to_bf16(__m256 x)
{
    const __m256i u = _mm256_castps_si256(x), high = _mm256_srli_epi32(u, 16);
    const __m256i odd = _mm256_and_si256(high, _mm256_set1_epi32(1));
    const __m256i rounded = _mm256_srli_epi32(
        _mm256_add_epi32(u, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff))), 16);
    const __m256i quiet = _mm256_or_si256(high, _mm256_set1_epi32(0x40));
    const __m256i is_nan = _mm256_castps_si256(_mm256_cmp_ps(x, x, _CMP_UNORD_Q));
    return _mm256_blendv_epi8(rounded, quiet, is_nan);
}
static inline void v_store_bf16(uint16_t *p, v16 x)
{
    const __m256i packed = _mm256_packus_epi32(round_to_bf16(x.a), round_to_bf16(x.b));
    _mm256_storeu_si256((__m256i *)(void *)p, _mm256_permute4x64_epi64(packed, 0xd8));
}
/* The low bytes of 16 integers. */
static inline void i_store_bytes(int8_t *p, i16 x)
{
    const __m256i low = _mm256_set1_epi32(0xff);
    const __m256i words = _mm256_permute4x64_epi64(
        _mm256_packus_epi32(_mm256_and_si256(x.a, low), _mm256_and_si256(x.b, low)), 0xd8);
    _mm_storeu_si128((__m128i *)(void *)p, _mm_packus_epi16(_mm256_castsi256_si128(words),
                                                            _mm256_extracti128_si256(words, 1)));
}

#endif
