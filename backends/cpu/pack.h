/* SPDX-License-Identifier: MIT */
/*
 * Weight rows of a file to 16-row groups (layouts in gemm.h), and a single row back to float.
 * Used while loading and, for mapped weights, for every tile. Rows beyond n_row and values beyond k become zero
 * weights. Plain C: 4-byte moves already keep up with memory.
 */
#ifndef LLRTI_PACK_H
#define LLRTI_PACK_H

#include <stddef.h>
#include <stdint.h>

/* Rows in the file's layout, of any alignment. */
typedef struct llrti_pack_rows {
    const uint8_t *row;
    size_t stride; /* bytes */
    size_t n_row;  /* 1 to 16 */
    size_t k;      /* values; whole blocks */
} llrti_pack_rows;

/* [k_pad][16] of 32-bit or 16-bit elements. */
void llrti_pack_u32(const llrti_pack_rows *rows, void *dst, size_t k_pad);
void llrti_pack_u16(const llrti_pack_rows *rows, void *dst, size_t k_pad);
/* [k_pad / 2][16][2] of 16-bit elements; k_pad is even. */
void llrti_pack_u16_pairs(const llrti_pack_rows *rows, void *dst, size_t k_pad);
/* Q8_0 blocks to Q8, Q4_0 blocks to Q4, up to the next multiple of 64. */
void llrti_pack_q8(const llrti_pack_rows *rows, void *dst);
void llrti_pack_q4(const llrti_pack_rows *rows, void *dst);

/* k values of row `lane` of a group to float, exactly as the row's dequantisation. */
void llrti_pack_get_f32(const void *group, uint32_t lane, size_t k, float *out);
void llrti_pack_get_f16(const void *group, uint32_t lane, size_t k, float *out);
void llrti_pack_get_bf16(const void *group, uint32_t lane, size_t k, float *out);
void llrti_pack_get_q8(const void *group, uint32_t lane, size_t k, float *out);
void llrti_pack_get_q4(const void *group, uint32_t lane, size_t k, float *out);

#endif
