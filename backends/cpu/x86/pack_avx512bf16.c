/* SPDX-License-Identifier: MIT */
/*
 * Panels of bfloat16 with the processor's own conversion: 16 x 16 transposes of pairs from rows of floats,
 * and from float16 panels. vcvtneps2bf16 makes subnormal inputs zero, which ref keeps, so a stretch of K that holds any
 * goes through ref; float16 values are never subnormal floats. Otherwise the same bits as ref.
 */
#ifndef __AVX512BF16__
#error "compile with the flags of avx512bf16"
#endif
#include <immintrin.h>

#include "tile.h"

enum { MR = LLRTI_GEMM_MR };

static LLRTK_INLINE void transpose(__m512i r[16])
{
    __m512i t[16];
    LLRTK_UNROLL for (int i = 0; i < 8; i++)
    {
        t[2 * i] = _mm512_unpacklo_epi32(r[2 * i], r[2 * i + 1]);
        t[2 * i + 1] = _mm512_unpackhi_epi32(r[2 * i], r[2 * i + 1]);
    }
    LLRTK_UNROLL for (int i = 0; i < 4; i++)
    {
        r[4 * i] = _mm512_unpacklo_epi64(t[4 * i], t[4 * i + 2]);
        r[4 * i + 1] = _mm512_unpackhi_epi64(t[4 * i], t[4 * i + 2]);
        r[4 * i + 2] = _mm512_unpacklo_epi64(t[4 * i + 1], t[4 * i + 3]);
        r[4 * i + 3] = _mm512_unpackhi_epi64(t[4 * i + 1], t[4 * i + 3]);
    }
    LLRTK_UNROLL for (int i = 0; i < 4; i++)
    {
        t[i] = _mm512_shuffle_i32x4(r[i], r[4 + i], 0x88);
        t[4 + i] = _mm512_shuffle_i32x4(r[i], r[4 + i], 0xdd);
        t[8 + i] = _mm512_shuffle_i32x4(r[8 + i], r[12 + i], 0x88);
        t[12 + i] = _mm512_shuffle_i32x4(r[8 + i], r[12 + i], 0xdd);
    }
    LLRTK_UNROLL for (int i = 0; i < 4; i++)
    {
        r[i] = _mm512_shuffle_i32x4(t[i], t[8 + i], 0x88);
        r[4 + i] = _mm512_shuffle_i32x4(t[4 + i], t[12 + i], 0x88);
        r[8 + i] = _mm512_shuffle_i32x4(t[i], t[8 + i], 0xdd);
        r[12 + i] = _mm512_shuffle_i32x4(t[4 + i], t[12 + i], 0xdd);
    }
}

void llrtk_panel_bf16_avx512bf16(const float *src, size_t src_stride, void *dst, size_t k)
{
    enum { IS_SUBNORMAL = 0x20 };
    uint8_t *to = dst;
    size_t p = 0;
    for (; p + 32 <= k; p += 32, to += 32 * MR * 2) {
        __m512i r[16];
        __mmask16 subnormal = 0;
        LLRTK_UNROLL for (size_t i = 0; i < 16; i++)
        {
            const __m512 a = _mm512_loadu_ps(src + i * src_stride + p);
            const __m512 b = _mm512_loadu_ps(src + i * src_stride + p + 16);
            subnormal |=
                _mm512_fpclass_ps_mask(a, IS_SUBNORMAL) | _mm512_fpclass_ps_mask(b, IS_SUBNORMAL);
            r[i] = (__m512i)_mm512_cvtne2ps_pbh(b, a);
        }
        if (subnormal) {
            llrtk_panel_bf16_ref(src + p, src_stride, to, 32);
            continue;
        }
        transpose(r);
        LLRTK_UNROLL for (size_t i = 0; i < 16; i++) _mm512_storeu_si512(to + i * 64, r[i]);
    }
    if (p < k) llrtk_panel_bf16_ref(src + p, src_stride, to, k - p);
}

void llrtk_expand_f16_bf16_avx512bf16(const void *src, void *dst, size_t k)
{
    const uint8_t *from = src;
    uint8_t *to = dst;
    uint16_t order[32];
    for (uint16_t i = 0; i < 32; i++) order[i] = (uint16_t)(i / 2 + i % 2 * 16);
    const __m512i interleave = _mm512_loadu_si512(order);
    for (size_t p = 0; p < k / 2; p++, from += 64, to += 64) {
        const __m512 even = _mm512_cvtph_ps(_mm256_loadu_si256((const void *)from));
        const __m512 odd = _mm512_cvtph_ps(_mm256_loadu_si256((const void *)(from + 32)));
        const __m512i both = (__m512i)_mm512_cvtne2ps_pbh(odd, even);
        _mm512_storeu_si512(to, _mm512_permutexvar_epi16(interleave, both));
    }
}
