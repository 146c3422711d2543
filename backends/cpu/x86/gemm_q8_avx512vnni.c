/* SPDX-License-Identifier: MIT */
/*
 * 8-bit activations times Q8 weights with vpdpbusd, 32 x 6 outputs per tile.
 *
 * Weights are unsigned (value + offset), so the integer accumulators of a block of 32 start at
 * -offset * sum(activations), offset 128 = 1 << 7; the dot product is then exact. Four k of a column are one
 * 32-bit broadcast. After a block, c = fma(w_scale * x_scale, (float)dot, c). Registers of the widest tile: 12
 * integer and 12 float accumulators, 2 weight vectors, 1 broadcast.
 */
#ifndef __AVX512VNNI__
#error "compile with the flags of avx512vnni"
#endif
#include <assert.h>
#include <immintrin.h>
#include <string.h>

#include "tile.h"

enum { OFFSET_SHIFT = 7, BLOCK_BYTES = 512, PAIR_BYTES = LLRTI_GEMM_Q8_BYTES };

static LLRTK_INLINE __m512i broadcast(const uint8_t *x)
{
    int32_t four;
    memcpy(&four, x, sizeof four);
    return _mm512_set1_epi32(four);
}

/* The integer dot products of a block of 32. */
static LLRTK_INLINE void dot_block(__m512i dot[4][6], const uint8_t *w, size_t stride,
                                   const uint8_t *x, const int G, const int N)
{
    LLRTK_UNROLL for (int j = 0; j < N; j++)
    {
        const __m512i start = _mm512_slli_epi32(broadcast(x + 36 * N + 4 * j), OFFSET_SHIFT);
        LLRTK_UNROLL for (int g = 0; g < G; g++) dot[g][j] = start;
    }
    LLRTK_UNROLL for (int k = 0; k < 8; k++)
    {
        __m512i q[4];
        LLRTK_UNROLL for (int g = 0; g < G; g++) q[g] =
            _mm512_loadu_si512(w + (size_t)g * stride + k * 64);
        LLRTK_UNROLL for (int j = 0; j < N; j++)
        {
            const __m512i v = broadcast(x + 4 * (k * N + j));
            LLRTK_UNROLL for (int g = 0; g < G; g++) dot[g][j] =
                _mm512_dpbusd_epi32(dot[g][j], q[g], v);
        }
    }
}

static LLRTK_INLINE void tile(const llrti_gemm_args *a, const uint8_t *w, float *c, const int G,
                              const int N)
{
    const size_t stride = a->w_stride;
    const uint8_t *x = a->x;
    __m512 sum[4][6];
    LLRTK_UNROLL for (int g = 0; g < G; g++)
    {
        LLRTK_UNROLL for (int j = 0; j < N; j++) sum[g][j] =
            a->accumulate ? _mm512_loadu_ps(c + (size_t)j * a->c_stride + g * 16)
                          : _mm512_setzero_ps();
    }
    for (size_t pair = a->k / 64; pair; pair--) {
        if (N == 1) {
            LLRTK_UNROLL for (int g = 0; g < G; g++)
            {
                for (int i = 0; i < PAIR_BYTES; i += 64)
                    _mm_prefetch((const char *)w + (size_t)g * stride + i + 4 * PAIR_BYTES,
                                 _MM_HINT_T0);
            }
        }
        for (int b = 0; b < 2; b++) {
            __m512i dot[4][6];
            dot_block(dot, w + b * BLOCK_BYTES, stride, x, G, N);
            __m512 d[4];
            LLRTK_UNROLL for (int g = 0; g < G; g++)
            {
                const void *const scales = w + (size_t)g * stride + 2 * BLOCK_BYTES + b * 32;
                d[g] = _mm512_cvtph_ps(_mm256_loadu_si256(scales));
            }
            LLRTK_UNROLL for (int j = 0; j < N; j++)
            {
                const __m512 s = _mm512_castsi512_ps(broadcast(x + 32 * N + 4 * j));
                LLRTK_UNROLL for (int g = 0; g < G; g++) sum[g][j] = _mm512_fmadd_ps(
                    _mm512_mul_ps(d[g], s), _mm512_cvtepi32_ps(dot[g][j]), sum[g][j]);
            }
            x += LLRTI_GEMM_Q_ACT_BYTES * N;
        }
        w += PAIR_BYTES;
    }
    LLRTK_UNROLL for (int g = 0; g < G; g++)
    {
        LLRTK_UNROLL for (int j = 0; j < N; j++)
            _mm512_storeu_ps(c + (size_t)j * a->c_stride + g * 16, sum[g][j]);
    }
}

LLRTK_TILES(1)
LLRTK_TILES(2)
LLRTK_TILES3(4)

void llrtk_gemm_q8_q8_f32_32x6_avx512vnni(const llrti_gemm_args *a)
{
    static llrtk_tile_table tiles = {
        LLRTK_TILE_ROW(1), LLRTK_TILE_ROW(2), {tile_4x1, tile_4x2, tile_4x3, NULL, NULL, NULL}};
    assert(a->n_group >= 1 && a->n_col >= 1 && a->n_col <= LLRTI_GEMM_NR && a->k % 64 == 0);
    llrtk_run_tiles(a, tiles);
}
