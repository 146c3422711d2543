/* SPDX-License-Identifier: MIT */
/*
 * Transposing a square of floats, for simd_avx2.h and simd_avx512.h: with eight rows in eight 256-bit registers a
 * square takes 24 shuffles, and both levels have those.
 */
#ifndef LLRTI_TURN_X86_H
#define LLRTI_TURN_X86_H

#include <immintrin.h>
#include <stddef.h>

/* to[j][i] = from[i][j] for i, j < 8; strides in floats, no alignment. The squares may not overlap. */
static inline void turn_8x8(const float *from, size_t from_stride, float *to, size_t to_stride)
{
    __m256 pair[8], quad[8];
    for (size_t i = 0; i < 4; i++) { /* rows i and i + 4 side by side in halves */
        const float *const low = from + i * from_stride, *const high = low + 4 * from_stride;
        pair[i] =
            _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(low)), _mm_loadu_ps(high), 1);
        pair[i + 4] = _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(low + 4)),
                                           _mm_loadu_ps(high + 4), 1);
    }
    for (size_t half = 0; half < 8; half += 4) { /* columns 0 to 3, then 4 to 7 */
        const __m256 *const p = pair + half;
        const __m256 a = _mm256_unpacklo_ps(p[0], p[1]), b = _mm256_unpackhi_ps(p[0], p[1]);
        const __m256 c = _mm256_unpacklo_ps(p[2], p[3]), d = _mm256_unpackhi_ps(p[2], p[3]);
        quad[half] = _mm256_shuffle_ps(a, c, 0x44);
        quad[half + 1] = _mm256_shuffle_ps(a, c, 0xee);
        quad[half + 2] = _mm256_shuffle_ps(b, d, 0x44);
        quad[half + 3] = _mm256_shuffle_ps(b, d, 0xee);
    }
    for (size_t j = 0; j < 8; j++) _mm256_storeu_ps(to + j * to_stride, quad[j]);
}

#endif
