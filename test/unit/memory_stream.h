/* SPDX-License-Identifier: MIT */
/*
 * Saved sessions in memory, for the callbacks of llrt_session_save_to and llrt_session_load_from.
 * Everything is static inline; the owner frees data.
 */
#ifndef MEMORY_STREAM_H
#define MEMORY_STREAM_H

#include <stdlib.h>
#include <string.h>

#include "error.h"

typedef struct memory_stream {
    uint8_t *data;
    size_t n, capacity, at;
    size_t fail_at; /* writing beyond fails */
} memory_stream;

static inline llrt_status write_memory(void *ctx, const void *data, size_t n, llrt_error *err)
{
    memory_stream *const m = ctx;
    if (m->fail_at && m->n + n > m->fail_at) return llrti_fail(err, LLRT_ERR_IO, "no space");
    if (m->n + n > m->capacity) {
        m->capacity = 2 * (m->n + n);
        m->data = realloc(m->data, m->capacity);
    }
    memcpy(m->data + m->n, data, n);
    m->n += n;
    return LLRT_OK;
}

static inline llrt_status read_memory(void *ctx, void *data, size_t n, llrt_error *err)
{
    memory_stream *const m = ctx;
    if (n > m->n - m->at) return llrti_fail(err, LLRT_ERR_FORMAT, "the data ends");
    memcpy(data, m->data + m->at, n);
    m->at += n;
    return LLRT_OK;
}

#endif
