/* SPDX-License-Identifier: MIT */
/*
 * Weight formats to float32 on 512-bit vectors: 32 values are unpacked to bytes (dequant_x86.h), widened
 * and multiplied by sixteens. The same bits as ref.
 */
#if !defined(__AVX512F__) || !defined(__AVX512BW__)
#error "compile with the flags of avx512"
#endif
#include <immintrin.h>
#include <string.h>

#include "tile.h"

#define DEQUANT(format) llrtk_dequant_##format##_f32_avx512

/* 16 signed bytes to float. */
static LLRTK_INLINE __m512 widen(__m128i bytes)
{
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(bytes));
}

/* 16 signed bytes times a scale. */
static LLRTK_INLINE void scale_16(__m128i q, float scale, float *to)
{
    _mm512_storeu_ps(to, _mm512_mul_ps(widen(q), _mm512_set1_ps(scale)));
}

/* 16 signed bytes times a scale, plus an offset: two roundings. */
static LLRTK_INLINE void affine_16(__m128i q, float scale, float offset, float *to)
{
    const __m512 product = _mm512_mul_ps(widen(q), _mm512_set1_ps(scale));
    _mm512_storeu_ps(to, _mm512_add_ps(product, _mm512_set1_ps(offset)));
}

#include "dequant_x86.h"
