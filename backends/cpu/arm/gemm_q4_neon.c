/* SPDX-License-Identifier: MIT */
/*
 * 8-bit activations times Q4 weights, 8 x 6 outputs at a time, on NEON.
 *
 * Products of two neighbouring k are at most 128 * 127 each, so their 16-bit sum of at most 32512 fits; pairs of sums
 * are added up in 32 bits.
 * After a block of 32, c = fma(w_scale * x_scale, (float)dot, c), as ref.
 */
#ifndef __ARM_NEON
#error "compile with the flags of neon"
#endif
#include <arm_neon.h>
#include <assert.h>
#include <string.h>

#include "tile.h"

#define BITS 4

static LLRTK_INLINE int32x4_t dot_add(int32x4_t dot, int8x16_t q, int8x16_t v)
{
    const int16x8_t low = vmull_s8(vget_low_s8(q), vget_low_s8(v));
    const int16x8_t high = vmull_s8(vget_high_s8(q), vget_high_s8(v));
    return vpadalq_s16(dot, vpaddq_s16(low, high));
}

#include "gemm_q_neon.h"

void llrtk_gemm_q8_q4_f32_16x6_neon(const llrti_gemm_args *a)
{
    static llrtk_tile_table tiles = {LLRTK_TILE_ROW(1)};
    assert(a->n_group >= 1 && a->n_col >= 1 && a->n_col <= LLRTI_GEMM_NR && a->k % 64 == 0);
    llrtk_run_tiles(a, tiles);
}
