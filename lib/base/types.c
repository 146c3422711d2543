/* SPDX-License-Identifier: MIT */
/*
 * The table of tensor element types. Block sizes come from the GGUF format's
 * description and the safetensors format's list of dtypes. Numbers that GGUF once used and
 * withdrew keep their name, with a size of 0, so that old files are refused by name.
 */
#include "types.h"

#include <string.h>

#include "compiler.h"

static const llrti_type_info table[] = {
    {LLRTI_TYPE_F32, 1, 4, true, "F32"},
    {LLRTI_TYPE_F16, 1, 2, true, "F16"},
    {LLRTI_TYPE_Q4_0, 32, 18, true, "Q4_0"},
    {LLRTI_TYPE_Q4_1, 32, 20, true, "Q4_1"},
    {4, 32, 0, false, "Q4_2"},
    {5, 32, 0, false, "Q4_3"},
    {LLRTI_TYPE_Q5_0, 32, 22, true, "Q5_0"},
    {LLRTI_TYPE_Q5_1, 32, 24, true, "Q5_1"},
    {LLRTI_TYPE_Q8_0, 32, 34, true, "Q8_0"},
    {9, 32, 36, false, "Q8_1"},
    {LLRTI_TYPE_Q2_K, 256, 84, true, "Q2_K"},
    {LLRTI_TYPE_Q3_K, 256, 110, true, "Q3_K"},
    {LLRTI_TYPE_Q4_K, 256, 144, true, "Q4_K"},
    {LLRTI_TYPE_Q5_K, 256, 176, true, "Q5_K"},
    {LLRTI_TYPE_Q6_K, 256, 210, true, "Q6_K"},
    {15, 256, 292, false, "Q8_K"},
    {16, 256, 66, false, "IQ2_XXS"},
    {17, 256, 74, false, "IQ2_XS"},
    {18, 256, 98, false, "IQ3_XXS"},
    {19, 256, 50, false, "IQ1_S"},
    {LLRTI_TYPE_IQ4_NL, 32, 18, true, "IQ4_NL"},
    {21, 256, 110, false, "IQ3_S"},
    {22, 256, 82, false, "IQ2_S"},
    {LLRTI_TYPE_IQ4_XS, 256, 136, true, "IQ4_XS"},
    {LLRTI_TYPE_I8, 1, 1, true, "I8"},
    {LLRTI_TYPE_I16, 1, 2, true, "I16"},
    {LLRTI_TYPE_I32, 1, 4, true, "I32"},
    {LLRTI_TYPE_I64, 1, 8, true, "I64"},
    {LLRTI_TYPE_F64, 1, 8, true, "F64"},
    {29, 256, 56, false, "IQ1_M"},
    {LLRTI_TYPE_BF16, 1, 2, true, "BF16"},
    {31, 32, 0, false, "Q4_0_4_4"},
    {32, 32, 0, false, "Q4_0_4_8"},
    {33, 32, 0, false, "Q4_0_8_8"},
    {34, 256, 54, false, "TQ1_0"},
    {35, 256, 66, false, "TQ2_0"},
    {36, 32, 0, false, "IQ4_NL_4_4"},
    {37, 32, 0, false, "IQ4_NL_4_8"},
    {38, 32, 0, false, "IQ4_NL_8_8"},
    {LLRTI_TYPE_MXFP4, 32, 17, true, "MXFP4"},
    {40, 64, 36, false, "NVFP4"},
    {LLRTI_TYPE_BOOL, 1, 1, false, "BOOL"},
    {LLRTI_TYPE_U8, 1, 1, true, "U8"},
    {LLRTI_TYPE_U16, 1, 2, false, "U16"},
    {LLRTI_TYPE_U32, 1, 4, false, "U32"},
    {LLRTI_TYPE_U64, 1, 8, false, "U64"},
    {LLRTI_TYPE_F8_E4M3, 1, 1, false, "F8_E4M3"},
    {LLRTI_TYPE_F8_E5M2, 1, 1, false, "F8_E5M2"},
    {LLRTI_TYPE_F8_E8M0, 1, 1, false, "F8_E8M0"},
    {LLRTI_TYPE_F8_E4M3FNUZ, 1, 1, false, "F8_E4M3FNUZ"},
    {LLRTI_TYPE_F8_E5M2FNUZ, 1, 1, false, "F8_E5M2FNUZ"},
    {LLRTI_TYPE_C64, 1, 8, false, "C64"},
};

const llrti_type_info *llrti_type_find(uint32_t type)
{
    if (type <= 40) return &table[type]; /* the first 41 numbers have no gaps */
    const uint32_t index = type - LLRTI_TYPE_BOOL + 41;
    return type >= LLRTI_TYPE_BOOL && index < LLRTI_COUNT(table) ? &table[index] : NULL;
}

const llrti_type_info *llrti_type_find_name(const char *name, size_t n)
{
    for (size_t i = 0; i < LLRTI_COUNT(table); i++) {
        if (strlen(table[i].name) == n && memcmp(table[i].name, name, n) == 0) return &table[i];
    }
    return NULL;
}

const char *llrti_type_name(uint32_t type)
{
    const llrti_type_info *info = llrti_type_find(type);
    return info ? info->name : "unknown type";
}

bool llrti_type_is_supported(uint32_t type)
{
    const llrti_type_info *info = llrti_type_find(type);
    return info && info->is_supported;
}

bool llrti_type_row_bytes(uint32_t type, uint64_t n, size_t *out)
{
    const llrti_type_info *info = llrti_type_find(type);
    *out = 0;
    if (!info || info->block_bytes == 0 || n % info->block) return false;
    const uint64_t n_block = n / info->block;
    if (n_block > SIZE_MAX / info->block_bytes) return false;
    *out = (size_t)n_block * info->block_bytes;
    return true;
}
