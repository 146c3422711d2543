/* SPDX-License-Identifier: MIT */
/*
 * Tensor element types: name, values per block, bytes per block. The numbers equal llrt_type of
 * <llrt/backend.h> and the type numbers in GGUF files, and never change. Types that llrt
 * can't compute with are listed too, so that a file is refused by the type's name;
 * numbers from 0x10000 on exist only for such types of safetensors files. Constant; any thread.
 */
#ifndef LLRTI_TYPES_H
#define LLRTI_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    LLRTI_TYPE_F32 = 0,
    LLRTI_TYPE_F16 = 1,
    LLRTI_TYPE_Q4_0 = 2,
    LLRTI_TYPE_Q4_1 = 3,
    LLRTI_TYPE_Q5_0 = 6,
    LLRTI_TYPE_Q5_1 = 7,
    LLRTI_TYPE_Q8_0 = 8,
    LLRTI_TYPE_Q2_K = 10,
    LLRTI_TYPE_Q3_K = 11,
    LLRTI_TYPE_Q4_K = 12,
    LLRTI_TYPE_Q5_K = 13,
    LLRTI_TYPE_Q6_K = 14,
    LLRTI_TYPE_IQ4_NL = 20,
    LLRTI_TYPE_IQ4_XS = 23,
    LLRTI_TYPE_I8 = 24,
    LLRTI_TYPE_I16 = 25,
    LLRTI_TYPE_I32 = 26,
    LLRTI_TYPE_I64 = 27,
    LLRTI_TYPE_F64 = 28,
    LLRTI_TYPE_BF16 = 30,
    LLRTI_TYPE_MXFP4 = 39,
    /* of safetensors only */
    LLRTI_TYPE_BOOL = 0x10000,
    LLRTI_TYPE_U8,
    LLRTI_TYPE_U16,
    LLRTI_TYPE_U32,
    LLRTI_TYPE_U64,
    LLRTI_TYPE_F8_E4M3,
    LLRTI_TYPE_F8_E5M2,
    LLRTI_TYPE_F8_E8M0,
    LLRTI_TYPE_F8_E4M3FNUZ,
    LLRTI_TYPE_F8_E5M2FNUZ,
    LLRTI_TYPE_C64
};

typedef struct llrti_type_info {
    uint32_t type;
    uint32_t block;       /* values per block; a row is a whole number of blocks */
    uint32_t block_bytes; /* bytes per block; 0 for types that files no longer carry */
    bool is_supported;    /* llrt can read its values */
    const char *name;     /* "Q4_K" */
} llrti_type_info;

/** NULL for a number nobody has given a meaning. */
const llrti_type_info *llrti_type_find(uint32_t type);
/** By name as in a safetensors header ("BF16", "F8_E4M3"); NULL when unknown. */
const llrti_type_info *llrti_type_find_name(const char *name, size_t n);
/** The name, or "unknown type". */
const char *llrti_type_name(uint32_t type);
bool llrti_type_is_supported(uint32_t type);
/** Bytes of a row of n values; false when n is no whole number of blocks, on overflow, or for an
 * unknown type. */
bool llrti_type_row_bytes(uint32_t type, uint64_t n, size_t *out);

#endif
