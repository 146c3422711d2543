/* SPDX-License-Identifier: MIT */
/*
 * The dequant slots in plain C: the arithmetic is that of lib/base/blocks.c, which draws the formats and
 * is the specification.
 */
#include "blocks.h"
#include "gemm.h"

void llrtk_dequant_f16_f32_ref(const void *src, float *dst, size_t n)
{
    llrti_blocks_widen_f16(src, dst, n);
}

void llrtk_dequant_bf16_f32_ref(const void *src, float *dst, size_t n)
{
    llrti_blocks_widen_bf16(src, dst, n);
}

void llrtk_dequant_q4_0_f32_ref(const void *src, float *dst, size_t n)
{
    llrti_blocks_widen_q4_0(src, dst, n);
}

void llrtk_dequant_q4_1_f32_ref(const void *src, float *dst, size_t n)
{
    llrti_blocks_widen_q4_1(src, dst, n);
}

void llrtk_dequant_q5_0_f32_ref(const void *src, float *dst, size_t n)
{
    llrti_blocks_widen_q5_0(src, dst, n);
}

void llrtk_dequant_q5_1_f32_ref(const void *src, float *dst, size_t n)
{
    llrti_blocks_widen_q5_1(src, dst, n);
}

void llrtk_dequant_q8_0_f32_ref(const void *src, float *dst, size_t n)
{
    llrti_blocks_widen_q8_0(src, dst, n);
}

void llrtk_dequant_q2_k_f32_ref(const void *src, float *dst, size_t n)
{
    llrti_blocks_widen_q2_k(src, dst, n);
}

void llrtk_dequant_q3_k_f32_ref(const void *src, float *dst, size_t n)
{
    llrti_blocks_widen_q3_k(src, dst, n);
}

void llrtk_dequant_q4_k_f32_ref(const void *src, float *dst, size_t n)
{
    llrti_blocks_widen_q4_k(src, dst, n);
}

void llrtk_dequant_q5_k_f32_ref(const void *src, float *dst, size_t n)
{
    llrti_blocks_widen_q5_k(src, dst, n);
}

void llrtk_dequant_q6_k_f32_ref(const void *src, float *dst, size_t n)
{
    llrti_blocks_widen_q6_k(src, dst, n);
}

void llrtk_dequant_iq4_nl_f32_ref(const void *src, float *dst, size_t n)
{
    llrti_blocks_widen_iq4_nl(src, dst, n);
}

void llrtk_dequant_iq4_xs_f32_ref(const void *src, float *dst, size_t n)
{
    llrti_blocks_widen_iq4_xs(src, dst, n);
}

void llrtk_dequant_mxfp4_f32_ref(const void *src, float *dst, size_t n)
{
    llrti_blocks_widen_mxfp4(src, dst, n);
}
