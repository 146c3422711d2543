/* SPDX-License-Identifier: MIT */
/*
 * Sixteen float lanes in one AVX-512 register, for the kernels in *_simd.h. Every operation is exactly
 * the one named, lane by lane, so that a kernel gives the bits of its scalar reference.
 *
 *   v16 floats, i16 their bits as integers, m16 one flag per lane
 *   v_max(a, b) is a > b ? a : b, v_min(a, b) is a < b ? a : b, also for NaN and zeros of either sign
 *   v_sum adds as llrti_math_sum16 does
 */
#ifndef LLRTI_SIMD_AVX512_H
#define LLRTI_SIMD_AVX512_H

#if !defined(__AVX512F__) || !defined(__AVX512BW__) || !defined(__AVX512DQ__) ||                   \
    !defined(__AVX512VL__)
#error "compile with the flags of the avx512 level"
#endif

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#include "turn_x86.h"

#define KERNEL(name) llrtk_##name##_avx512

/* Lane groups of 16 that a block of n_query rows keeps in registers: 24 of the 32 at most. */
#define SIMD_GROUPS(n_query) 4

typedef __m512 v16;
typedef __m512i i16;
typedef __mmask16 m16;

static inline v16 v_set(float x)
{
    return _mm512_set1_ps(x);
}
static inline v16 v_load(const float *p)
{
    return _mm512_loadu_ps(p);
}
static inline void v_store(float *p, v16 a)
{
    _mm512_storeu_ps(p, a);
}
/* The first n < 16 floats, zeros above. */
static inline v16 v_load_part(const float *p, size_t n)
{
    return _mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1u), p);
}
static inline v16 v_add(v16 a, v16 b)
{
    return _mm512_add_ps(a, b);
}
static inline v16 v_sub(v16 a, v16 b)
{
    return _mm512_sub_ps(a, b);
}
static inline v16 v_mul(v16 a, v16 b)
{
    return _mm512_mul_ps(a, b);
}
static inline v16 v_div(v16 a, v16 b)
{
    return _mm512_div_ps(a, b);
}
static inline v16 v_fma(v16 a, v16 b, v16 c)
{
    return _mm512_fmadd_ps(a, b, c);
}
static inline v16 v_fms(v16 a, v16 b, v16 c)
{
    return _mm512_fmsub_ps(a, b, c);
}
/* a * b - c in even lanes, a * b + c in odd ones. */
static inline v16 v_fmaddsub(v16 a, v16 b, v16 c)
{
    return _mm512_fmaddsub_ps(a, b, c);
}
static inline v16 v_max(v16 a, v16 b)
{
    return _mm512_max_ps(a, b);
}
static inline v16 v_min(v16 a, v16 b)
{
    return _mm512_min_ps(a, b);
}
static inline m16 v_less(v16 a, v16 b)
{
    return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ);
}
static inline v16 v_select(m16 m, v16 a, v16 b)
{
    return _mm512_mask_blend_ps(m, b, a);
}
/* Lanes begin <= i < end; any numbers. */
static inline m16 m_range(int begin, int end)
{
    const uint32_t below = end <= 0 ? 0 : end >= 16 ? 0xffffu : (1u << end) - 1u;
    const uint32_t skip = begin <= 0 ? 0 : begin >= 16 ? 0xffffu : (1u << begin) - 1u;
    return (m16)(below & ~skip);
}
static inline i16 v_bits(v16 a)
{
    return _mm512_castps_si512(a);
}
static inline v16 i_floats(i16 a)
{
    return _mm512_castsi512_ps(a);
}
static inline i16 i_set(uint32_t x)
{
    return _mm512_set1_epi32((int)x);
}
static inline i16 i_add(i16 a, i16 b)
{
    return _mm512_add_epi32(a, b);
}
static inline i16 i_sub(i16 a, i16 b)
{
    return _mm512_sub_epi32(a, b);
}
static inline i16 i_and(i16 a, i16 b)
{
    return _mm512_and_si512(a, b);
}
static inline i16 i_or(i16 a, i16 b)
{
    return _mm512_or_si512(a, b);
}
/* Arithmetic shift right by one. */
static inline i16 i_half(i16 a)
{
    return _mm512_srai_epi32(a, 1);
}
static inline i16 i_shift_23(i16 a)
{
    return _mm512_slli_epi32(a, 23);
}
static inline float v_sum(v16 a)
{
    const __m256 b = _mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1));
    const __m128 c = _mm_add_ps(_mm256_castps256_ps128(b), _mm256_extractf128_ps(b, 1));
    const __m128 d = _mm_add_ps(c, _mm_movehl_ps(c, c));
    return _mm_cvtss_f32(_mm_add_ss(d, _mm_movehdup_ps(d)));
}
static inline float v_largest(v16 a)
{
    return _mm512_reduce_max_ps(a);
}
static inline v16 v_swap_pairs(v16 a)
{
    return _mm512_permute_ps(a, 0xb1);
}
/* p[0] p[0] p[1] p[1] ... p[7] p[7] */
static inline v16 v_load_twice(const float *p)
{
    const __m512i index = _mm512_set_epi32(7, 7, 6, 6, 5, 5, 4, 4, 3, 3, 2, 2, 1, 1, 0, 0);
    return _mm512_permutexvar_ps(index, _mm512_castps256_ps512(_mm256_loadu_ps(p)));
}

/* ---- Sixteen elements of the KV types ---- */

static inline float f16_widen(uint16_t h)
{
    return _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(h)));
}
static inline v16 v_load_f16(const uint16_t *p)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)p));
}
static inline v16 v_load_bf16(const uint16_t *p)
{
    const __m512i wide =
        _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)(const void *)p));
    return _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16));
}
static inline v16 v_load_i8(const int8_t *p)
{
    return _mm512_cvtepi32_ps(
        _mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)(const void *)p)));
}
static inline void v_store_f16(uint16_t *p, v16 a)
{
    _mm256_storeu_si256((__m256i *)(void *)p,
                        _mm512_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
static inline void v_store_bf16(uint16_t *p, v16 a)
{
    const __m512i u = _mm512_castps_si512(a), high = _mm512_srli_epi32(u, 16);
    const __m512i odd = _mm512_and_si512(high, _mm512_set1_epi32(1));
    const __m512i rounded = _mm512_srli_epi32(
        _mm512_add_epi32(u, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff))), 16);
    const __mmask16 is_nan = _mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q);
    const __m512i x = _mm512_mask_or_epi32(rounded, is_nan, high, _mm512_set1_epi32(0x40));
    _mm256_storeu_si256((__m256i *)(void *)p, _mm512_cvtepi32_epi16(x));
}
/* The low bytes of 16 integers. */
static inline void i_store_bytes(int8_t *p, i16 a)
{
    _mm_storeu_si128((__m128i *)(void *)p, _mm512_cvtepi32_epi8(a));
}

#endif
