/* SPDX-License-Identifier: MIT */
/*
 * Rows of float32 to the files' weight formats, with and without an importance matrix. The one
 * place in lib/ that computes on tensors: it runs when files are made, never in a step, its result
 * is a file format whose bytes are agreed on (so no backend may do it in another way), and scalar
 * code on all cores is fast enough for that.
 *
 * A row's bytes depend on the row and its weights alone: the same on every platform, for every
 * division of a tensor among threads. Formats are drawn in blocks.c. Pure; any thread.
 */
#ifndef LLRTI_QUANT_ROWS_H
#define LLRTI_QUANT_ROWS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/**
 * Quantises one row of n values, a whole number of blocks.
 * @param x      finite values
 * @param weight (n) importance of each column, finite and not negative, or NULL
 * @param dst    the row's bytes (llrti_type_row_bytes), no alignment needed
 */
typedef void (*llrti_quant_row)(const float *x, const float *weight, size_t n, uint8_t *dst);

/** The function for a type of types.h; NULL for types that nothing is quantised to. */
llrti_quant_row llrti_quant_rows_find(uint32_t type);

/** True when no scale (or value of F16, BF16) among n values of the type is infinite or NaN. */
bool llrti_quant_rows_is_finite(uint32_t type, const uint8_t *row, size_t n);

/* By family: quant_small.c, quant_k.c, quant_iq4.c. */
void llrti_quant_small_f32(const float *x, const float *weight, size_t n, uint8_t *dst);
void llrti_quant_small_f16(const float *x, const float *weight, size_t n, uint8_t *dst);
void llrti_quant_small_bf16(const float *x, const float *weight, size_t n, uint8_t *dst);
void llrti_quant_small_q8_0(const float *x, const float *weight, size_t n, uint8_t *dst);
void llrti_quant_small_q4_0(const float *x, const float *weight, size_t n, uint8_t *dst);
void llrti_quant_small_q4_1(const float *x, const float *weight, size_t n, uint8_t *dst);
void llrti_quant_small_q5_0(const float *x, const float *weight, size_t n, uint8_t *dst);
void llrti_quant_small_q5_1(const float *x, const float *weight, size_t n, uint8_t *dst);
void llrti_quant_small_mxfp4(const float *x, const float *weight, size_t n, uint8_t *dst);
void llrti_quant_k_q2(const float *x, const float *weight, size_t n, uint8_t *dst);
void llrti_quant_k_q3(const float *x, const float *weight, size_t n, uint8_t *dst);
void llrti_quant_k_q4(const float *x, const float *weight, size_t n, uint8_t *dst);
void llrti_quant_k_q5(const float *x, const float *weight, size_t n, uint8_t *dst);
void llrti_quant_k_q6(const float *x, const float *weight, size_t n, uint8_t *dst);
void llrti_quant_iq4_nl(const float *x, const float *weight, size_t n, uint8_t *dst);
void llrti_quant_iq4_xs(const float *x, const float *weight, size_t n, uint8_t *dst);

#endif
