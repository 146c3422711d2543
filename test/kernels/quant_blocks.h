/* SPDX-License-Identifier: MIT */
/*
 * The weight formats for tests: values and bytes of a block, and where its float16 fields lie, so that
 * random bytes can be made into blocks without NaN and infinity.
 */
#ifndef QUANT_BLOCKS_H
#define QUANT_BLOCKS_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <llrt/tensor.h>

typedef struct quant_block {
    const char *name;
    llrt_type type;
    size_t values, bytes;
    int half[2]; /* offsets of float16 fields, -1: none */
} quant_block;

static const quant_block quant_blocks[] = {
    {"f32", LLRT_TYPE_F32, 1, 4, {-1, -1}},          {"f16", LLRT_TYPE_F16, 1, 2, {0, -1}},
    {"bf16", LLRT_TYPE_BF16, 1, 2, {-1, -1}},        {"q4_0", LLRT_TYPE_Q4_0, 32, 18, {0, -1}},
    {"q4_1", LLRT_TYPE_Q4_1, 32, 20, {0, 2}},        {"q5_0", LLRT_TYPE_Q5_0, 32, 22, {0, -1}},
    {"q5_1", LLRT_TYPE_Q5_1, 32, 24, {0, 2}},        {"q8_0", LLRT_TYPE_Q8_0, 32, 34, {0, -1}},
    {"q2_k", LLRT_TYPE_Q2_K, 256, 84, {80, 82}},     {"q3_k", LLRT_TYPE_Q3_K, 256, 110, {108, -1}},
    {"q4_k", LLRT_TYPE_Q4_K, 256, 144, {0, 2}},      {"q5_k", LLRT_TYPE_Q5_K, 256, 176, {0, 2}},
    {"q6_k", LLRT_TYPE_Q6_K, 256, 210, {208, -1}},   {"iq4_nl", LLRT_TYPE_IQ4_NL, 32, 18, {0, -1}},
    {"iq4_xs", LLRT_TYPE_IQ4_XS, 256, 136, {0, -1}}, {"mxfp4", LLRT_TYPE_MXFP4, 32, 17, {-1, -1}},
};

enum { N_QUANT_BLOCKS = sizeof quant_blocks / sizeof *quant_blocks };

static inline const quant_block *quant_block_find(const char *name)
{
    for (size_t i = 0; i < N_QUANT_BLOCKS; i++) {
        if (strcmp(quant_blocks[i].name, name) == 0) return &quant_blocks[i];
    }
    return NULL;
}

/* Clears a bit of the exponent where all are set; other values, subnormals too, stay. Likewise for bf16 and float32. */
static inline void quant_block_tame(const quant_block *f, uint8_t *blocks, size_t n_block)
{
    for (size_t b = 0; b < n_block; b++) {
        uint8_t *const block = blocks + b * f->bytes;
        for (int i = 0; i < 2; i++) {
            if (f->half[i] >= 0 && (block[f->half[i] + 1] & 0x7c) == 0x7c)
                block[f->half[i] + 1] &= 0xbf;
        }
        if (f->type == LLRT_TYPE_BF16 && (block[1] & 0x7f) == 0x7f) block[1] &= 0xbf;
        if (f->type == LLRT_TYPE_F32 && (block[3] & 0x7f) == 0x7f) block[3] &= 0xbf;
    }
}

#endif
