/* SPDX-License-Identifier: MIT */
/*
 * Weight formats to float32 on 256-bit vectors: 32 values are unpacked to bytes (dequant_x86.h), widened
 * and multiplied by eights. The same bits as ref.
 */
#if !defined(__AVX2__) || !defined(__F16C__)
#error "compile with the flags of avx2"
#endif
#include <immintrin.h>
#include <string.h>

#include "tile.h"

#define DEQUANT(format) llrtk_dequant_##format##_f32_avx2

/* 8 signed bytes to float. */
static LLRTK_INLINE __m256 widen(__m128i bytes)
{
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes));
}

/* 16 signed bytes times a scale. */
static LLRTK_INLINE void scale_16(__m128i q, float scale, float *to)
{
    const __m256 s = _mm256_set1_ps(scale);
    _mm256_storeu_ps(to, _mm256_mul_ps(widen(q), s));
    _mm256_storeu_ps(to + 8, _mm256_mul_ps(widen(_mm_unpackhi_epi64(q, q)), s));
}

/* 16 signed bytes times a scale, plus an offset: two roundings. */
static LLRTK_INLINE void affine_16(__m128i q, float scale, float offset, float *to)
{
    const __m256 s = _mm256_set1_ps(scale), o = _mm256_set1_ps(offset);
    _mm256_storeu_ps(to, _mm256_add_ps(_mm256_mul_ps(widen(q), s), o));
    _mm256_storeu_ps(to + 8, _mm256_add_ps(_mm256_mul_ps(widen(_mm_unpackhi_epi64(q, q)), s), o));
}

#include "dequant_x86.h"

void llrtk_dequant_f16_f32_avx2(const void *src, float *dst, size_t n)
{
    const uint8_t *p = src;
    size_t i = 0;
    for (; i + 8 <= n; i += 8)
        _mm256_storeu_ps(dst + i, _mm256_cvtph_ps(_mm_loadu_si128((const void *)(p + 2 * i))));
    if (i < n) llrtk_dequant_f16_f32_ref(p + 2 * i, dst + i, n - i);
}

void llrtk_dequant_bf16_f32_avx2(const void *src, float *dst, size_t n)
{
    const uint8_t *p = src;
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        const __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128((const void *)(p + 2 * i)));
        _mm256_storeu_ps(dst + i, _mm256_castsi256_ps(_mm256_slli_epi32(wide, 16)));
    }
    if (i < n) llrtk_dequant_bf16_f32_ref(p + 2 * i, dst + i, n - i);
}
