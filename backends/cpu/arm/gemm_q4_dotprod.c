/* SPDX-License-Identifier: MIT */
/*
 * 8-bit activations times Q4 weights, 8 x 6 outputs at a time, on NEON with the dot product.
 *
 * One sdot per 4 outputs and 4 k.
 * After a block of 32, c = fma(w_scale * x_scale, (float)dot, c), as ref.
 */
#ifndef __ARM_FEATURE_DOTPROD
#error "compile with the flags of dotprod"
#endif
#include <arm_neon.h>
#include <assert.h>
#include <string.h>

#include "tile.h"

#define BITS 4

static LLRTK_INLINE int32x4_t dot_add(int32x4_t dot, int8x16_t q, int8x16_t v)
{
    return vdotq_s32(dot, q, v);
}

#include "gemm_q_neon.h"

void llrtk_gemm_q8_q4_f32_16x6_dotprod(const llrti_gemm_args *a)
{
    static llrtk_tile_table tiles = {LLRTK_TILE_ROW(1)};
    assert(a->n_group >= 1 && a->n_col >= 1 && a->n_col <= LLRTI_GEMM_NR && a->k % 64 == 0);
    llrtk_run_tiles(a, tiles);
}
