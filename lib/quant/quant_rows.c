/* SPDX-License-Identifier: MIT */
/* The table of row quantisers, and where the float16 scales of each block are. */
#include "quant_rows.h"

#include "compiler.h"
#include "types.h"

/* Blocks of `block` values in n_byte bytes with n_scale float16 numbers from byte `scale` on. */
typedef struct format {
    uint32_t type;
    llrti_quant_row quantise;
    uint8_t n_scale, scale;
    uint16_t exponent; /* of the 16-bit numbers that are checked */
} format;

#define F16_EXPONENT 0x7c00
#define BF16_EXPONENT 0x7f80

static const format table[] = {
    {LLRTI_TYPE_F32, llrti_quant_small_f32, 0, 0, 0},
    {LLRTI_TYPE_F16, llrti_quant_small_f16, 1, 0, F16_EXPONENT},
    {LLRTI_TYPE_BF16, llrti_quant_small_bf16, 1, 0, BF16_EXPONENT},
    {LLRTI_TYPE_Q8_0, llrti_quant_small_q8_0, 1, 0, F16_EXPONENT},
    {LLRTI_TYPE_Q4_0, llrti_quant_small_q4_0, 1, 0, F16_EXPONENT},
    {LLRTI_TYPE_Q4_1, llrti_quant_small_q4_1, 2, 0, F16_EXPONENT},
    {LLRTI_TYPE_Q5_0, llrti_quant_small_q5_0, 1, 0, F16_EXPONENT},
    {LLRTI_TYPE_Q5_1, llrti_quant_small_q5_1, 2, 0, F16_EXPONENT},
    {LLRTI_TYPE_MXFP4, llrti_quant_small_mxfp4, 0, 0, 0},
    {LLRTI_TYPE_Q2_K, llrti_quant_k_q2, 2, 80, F16_EXPONENT},
    {LLRTI_TYPE_Q3_K, llrti_quant_k_q3, 1, 108, F16_EXPONENT},
    {LLRTI_TYPE_Q4_K, llrti_quant_k_q4, 2, 0, F16_EXPONENT},
    {LLRTI_TYPE_Q5_K, llrti_quant_k_q5, 2, 0, F16_EXPONENT},
    {LLRTI_TYPE_Q6_K, llrti_quant_k_q6, 1, 208, F16_EXPONENT},
    {LLRTI_TYPE_IQ4_NL, llrti_quant_iq4_nl, 1, 0, F16_EXPONENT},
    {LLRTI_TYPE_IQ4_XS, llrti_quant_iq4_xs, 1, 0, F16_EXPONENT},
};

static const format *find(uint32_t type)
{
    for (size_t i = 0; i < LLRTI_COUNT(table); i++)
        if (table[i].type == type) return &table[i];
    return NULL;
}

llrti_quant_row llrti_quant_rows_find(uint32_t type)
{
    const format *const f = find(type);
    return f ? f->quantise : NULL;
}

bool llrti_quant_rows_is_finite(uint32_t type, const uint8_t *row, size_t n)
{
    const format *const f = find(type);
    const llrti_type_info *const info = llrti_type_find(type);
    if (!f || !info || f->n_scale == 0) return true;
    for (size_t block = 0; block < n / info->block; block++) {
        const uint8_t *const scale = row + block * info->block_bytes + f->scale;
        for (uint32_t i = 0; i < f->n_scale; i++) {
            const uint32_t bits = scale[2 * i] | (uint32_t)scale[2 * i + 1] << 8;
            if ((bits & f->exponent) == f->exponent) return false;
        }
    }
    return true;
}
