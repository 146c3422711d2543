/* SPDX-License-Identifier: MIT */
/*
 * A list of metadata that is being put together for a GGUF file. Setting a key that is there
 * replaces its value in place. Keys and values given are copied, but for the arrays of
 * llrti_quant_meta_add. Lack of memory is sticky: look at `is_short` once, at the end. One thread.
 */
#ifndef LLRTI_QUANT_META_H
#define LLRTI_QUANT_META_H

#include "arena.h"
#include "model_file.h"

typedef struct llrti_quant_meta {
    llrti_mem *mem;
    llrti_arena arena;
    LLRTI_VEC(llrti_meta) list;
    bool is_short; /* something could not be added */
} llrti_quant_meta;

void llrti_quant_meta_init(llrti_quant_meta *metas, llrti_mem *mem);
void llrti_quant_meta_free(llrti_quant_meta *metas);

/** NULL when the key is not there. Valid until the list changes. */
llrti_meta *llrti_quant_meta_find(llrti_quant_meta *metas, const char *key);
/** Adds or replaces an entry; its string or array is borrowed as long as the list is in use. */
void llrti_quant_meta_add(llrti_quant_meta *metas, const llrti_meta *meta);
void llrti_quant_meta_u32(llrti_quant_meta *metas, const char *key, uint32_t value);
void llrti_quant_meta_f32(llrti_quant_meta *metas, const char *key, float value);
void llrti_quant_meta_bool(llrti_quant_meta *metas, const char *key, bool value);
void llrti_quant_meta_string(llrti_quant_meta *metas, const char *key, const char *text, size_t n);
/** Uninitialised room for an array of n elements of a type (strings: llrti_string); NULL if none. */
void *llrti_quant_meta_array(llrti_quant_meta *metas, const char *key, llrti_meta_type element,
                             size_t n);

#endif
