/* SPDX-License-Identifier: MIT */
/*
 * Rows of the files' weight formats widened to float32: what the CPU backend's reference kernels
 * call, and what the quantiser reads its input with. blocks.c draws the formats. Stateless; any
 * thread.
 */
#ifndef LLRTI_BLOCKS_H
#define LLRTI_BLOCKS_H

#include <stddef.h>
#include <stdint.h>

/** n values (a whole number of blocks) from `src`, which needs no alignment. */
typedef void (*llrti_blocks_widen)(const void *src, float *dst, size_t n);

/** The function for a type of types.h, NULL for types without one. */
llrti_blocks_widen llrti_blocks_find(uint32_t type);

void llrti_blocks_widen_f32(const void *src, float *dst, size_t n);
void llrti_blocks_widen_f16(const void *src, float *dst, size_t n);
void llrti_blocks_widen_bf16(const void *src, float *dst, size_t n);
void llrti_blocks_widen_q4_0(const void *src, float *dst, size_t n);
void llrti_blocks_widen_q4_1(const void *src, float *dst, size_t n);
void llrti_blocks_widen_q5_0(const void *src, float *dst, size_t n);
void llrti_blocks_widen_q5_1(const void *src, float *dst, size_t n);
void llrti_blocks_widen_q8_0(const void *src, float *dst, size_t n);
void llrti_blocks_widen_q2_k(const void *src, float *dst, size_t n);
void llrti_blocks_widen_q3_k(const void *src, float *dst, size_t n);
void llrti_blocks_widen_q4_k(const void *src, float *dst, size_t n);
void llrti_blocks_widen_q5_k(const void *src, float *dst, size_t n);
void llrti_blocks_widen_q6_k(const void *src, float *dst, size_t n);
void llrti_blocks_widen_iq4_nl(const void *src, float *dst, size_t n);
void llrti_blocks_widen_iq4_xs(const void *src, float *dst, size_t n);
void llrti_blocks_widen_mxfp4(const void *src, float *dst, size_t n);

/** The 16 values of IQ4_NL and IQ4_XS, and twice those of MXFP4. */
extern const int8_t llrti_blocks_iq4[16], llrti_blocks_e2m1[16];

#endif
