/* SPDX-License-Identifier: MIT */
/*
 * 8-bit activations times Q8 weights with AMX: see gemm_q_amx.h. The same bits as ref.
 */
#if !defined(__AMX_INT8__) && !defined(__AMXINT8__)
#error "compile with the flags of amx"
#endif
#include <assert.h>

#include "amx_tiles.h"
#include "tile.h"

#define BITS 8
#define GEMM_ONE_COLUMN llrtk_gemm_q8_q8_f32_32x6_avx512vnni

#include "gemm_q_amx.h"

void llrtk_gemm_q8_q8_f32_64x32_amx(const llrti_gemm_args *a)
{
    run_amx(a);
}
