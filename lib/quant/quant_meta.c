/* SPDX-License-Identifier: MIT */
/* Metadata lists; see quant_meta.h. A list has tens of entries, so finding is a walk. */
#include "quant_meta.h"

#include <string.h>

void llrti_quant_meta_init(llrti_quant_meta *metas, llrti_mem *mem)
{
    memset(metas, 0, sizeof *metas);
    metas->mem = mem;
    llrti_arena_init(&metas->arena, mem, LLRT_MEMORY_HOST);
}

void llrti_quant_meta_free(llrti_quant_meta *metas)
{
    llrti_vec_free(metas->mem, &metas->list);
    llrti_arena_free(&metas->arena);
}

llrti_meta *llrti_quant_meta_find(llrti_quant_meta *metas, const char *key)
{
    for (size_t i = 0; i < metas->list.n; i++)
        if (strcmp(metas->list.data[i].key, key) == 0) return &metas->list.data[i];
    return NULL;
}

void llrti_quant_meta_add(llrti_quant_meta *metas, const llrti_meta *meta)
{
    llrti_meta *const known = llrti_quant_meta_find(metas, meta->key);
    if (known) {
        const char *const key = known->key;
        *known = *meta;
        known->key = key;
        return;
    }
    const char *const key = llrti_arena_strndup(&metas->arena, meta->key, strlen(meta->key));
    if (!key || !llrti_vec_reserve(metas->mem, &metas->list, metas->list.n + 1, LLRT_MEMORY_HOST)) {
        metas->is_short = true;
        return;
    }
    metas->list.data[metas->list.n] = *meta;
    metas->list.data[metas->list.n++].key = key;
}

void llrti_quant_meta_u32(llrti_quant_meta *metas, const char *key, uint32_t value)
{
    const llrti_meta meta = {.key = key, .type = LLRTI_META_U32, .n = 1, .value.u = value};
    llrti_quant_meta_add(metas, &meta);
}

void llrti_quant_meta_f32(llrti_quant_meta *metas, const char *key, float value)
{
    const llrti_meta meta = {.key = key, .type = LLRTI_META_F32, .n = 1, .value.f = (double)value};
    llrti_quant_meta_add(metas, &meta);
}

void llrti_quant_meta_bool(llrti_quant_meta *metas, const char *key, bool value)
{
    const llrti_meta meta = {.key = key, .type = LLRTI_META_BOOL, .n = 1, .value.u = value};
    llrti_quant_meta_add(metas, &meta);
}

void llrti_quant_meta_string(llrti_quant_meta *metas, const char *key, const char *text, size_t n)
{
    llrti_meta meta = {.key = key, .type = LLRTI_META_STRING, .n = 1};
    meta.value.s = (llrti_string){llrti_arena_strndup(&metas->arena, text, n), n};
    if (!meta.value.s.data) {
        metas->is_short = true;
        return;
    }
    llrti_quant_meta_add(metas, &meta);
}

void *llrti_quant_meta_array(llrti_quant_meta *metas, const char *key, llrti_meta_type element,
                             size_t n)
{
    const size_t size = element == LLRTI_META_STRING ? sizeof(llrti_string)
                        : element == LLRTI_META_BOOL || element == LLRTI_META_U8 ? 1
                                                                                 : 4;
    size_t n_byte = 0;
    void *const array = llrti_mul_size(n, size, &n_byte)
                            ? llrti_arena_alloc(&metas->arena, n_byte ? n_byte : 1, 16)
                            : NULL;
    const llrti_meta meta = {
        .key = key, .type = LLRTI_META_ARRAY, .element = element, .n = n, .value.array = array};
    if (array)
        llrti_quant_meta_add(metas, &meta);
    else
        metas->is_short = true;
    return array;
}
