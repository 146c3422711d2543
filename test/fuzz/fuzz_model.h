/* SPDX-License-Identifier: MIT */
/*
 * What the two model targets have in common: open, look at everything, close, count.
 */
#ifndef FUZZ_MODEL_H
#define FUZZ_MODEL_H

#include "error.h"
#include "fuzz_support.h"
#include "model_file.h"

static inline uint64_t fuzz_touch(const void *data, size_t n)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < n; i++) sum += ((const uint8_t *)data)[i];
    return sum;
}

static inline uint64_t fuzz_touch_meta(const llrti_meta *meta)
{
    static const uint8_t bytes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
    if (meta->type == LLRTI_META_STRING) return fuzz_touch(meta->value.s.data, meta->value.s.n);
    if (meta->type != LLRTI_META_ARRAY) return meta->value.u;
    if (meta->element != LLRTI_META_STRING) {
        return fuzz_touch(meta->value.array, (size_t)meta->n * bytes[meta->element]);
    }
    const llrti_string *strings = meta->value.array;
    uint64_t sum = 0;
    for (uint64_t i = 0; i < meta->n; i++) sum += fuzz_touch(strings[i].data, strings[i].n);
    return sum;
}

static inline void fuzz_open_model(fuzz_parts *parts, const char *path, bool vocab_only)
{
    llrti_mem mem;
    llrt_source source;
    llrti_model_file *file;
    llrt_error err = LLRT_ERROR_INIT;
    volatile uint64_t sum = 0;
    llrti_mem_init(&mem, NULL);
    fuzz_source(parts, &source);
    const llrti_model_file_options options = {.source = &source, .vocab_only = vocab_only};
    const llrt_status status = llrti_model_file_open(&mem, path, &options, &file, &err);
    FUZZ_CHECK((status == LLRT_OK) == (file != NULL));
    if (status != LLRT_OK) {
        FUZZ_CHECK(status < 0 && err.status == status && err.text[0] && err.file[0]);
    } else {
        for (uint32_t i = 0; i < llrti_model_file_n_meta(file); i++) {
            const llrti_meta *meta = llrti_model_file_meta(file, i);
            FUZZ_CHECK(llrti_model_file_find_meta(file, meta->key) == meta);
            sum = sum + fuzz_touch_meta(meta);
        }
        for (uint32_t i = 0; i < llrti_model_file_n_tensor(file); i++) {
            const llrti_tensor *tensor = llrti_model_file_tensor(file, i);
            const void *map;
            FUZZ_CHECK(llrti_model_file_find_tensor(file, tensor->name) == tensor);
            if (llrti_model_file_map(file, tensor, &map, NULL) == LLRT_OK) {
                sum = sum + fuzz_touch(map, (size_t)tensor->n_byte);
            }
        }
        uint8_t fingerprint[16];
        FUZZ_CHECK(llrti_model_file_fingerprint(file, fingerprint, NULL) == LLRT_OK);
        sum = sum + (llrti_model_file_json(file, "config.json") != NULL);
        llrti_model_file_close(file);
    }
    FUZZ_CHECK(atomic_load(&mem.total_live) == 0 && parts->n_open == 0);
}

#endif
