/* SPDX-License-Identifier: MIT */
/*
 * Writes GGUF files in memory for tests: metadata and tensors in any order, then gw_finish.
 * Nothing is checked, because malformed files are what most tests want: header fields can be
 * overridden, raw bytes can be added to the metadata (gw_raw) and the directory
 * (gw_tensor_entry) with the counts following. Memory is malloc's; running out ends the test.
 */
#ifndef GGUF_WRITER_H
#define GGUF_WRITER_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef struct gw_buffer {
    uint8_t *data;
    size_t n, capacity;
} gw_buffer;

typedef struct gguf_writer {
    gw_buffer metas, entries, tensors;
    uint32_t version, alignment;
    uint64_t n_meta, n_tensor;
    const char *magic;
    size_t n_pad; /* bytes after the directory when is_unpadded */
    int is_unpadded;
} gguf_writer;

static inline void gw_put(gw_buffer *b, const void *data, size_t n)
{
    if (b->n + n > b->capacity) {
        b->capacity = (b->n + n) * 2 + 64;
        b->data = realloc(b->data, b->capacity);
        if (!b->data) abort();
    }
    if (n) memcpy(b->data + b->n, data, n);
    b->n += n;
}

static inline void gw_put_number(gw_buffer *b, uint64_t value, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const uint8_t byte = (uint8_t)(value >> 8 * i);
        gw_put(b, &byte, 1);
    }
}

static inline void gw_put_string(gw_buffer *b, const char *text)
{
    gw_put_number(b, strlen(text), 8);
    gw_put(b, text, strlen(text));
}

static inline void gw_init(gguf_writer *w)
{
    memset(w, 0, sizeof *w);
    w->version = 3;
    w->alignment = 32;
    w->magic = "GGUF";
}

/* Key and type of an entry whose value the caller adds with gw_put_...(&w->metas, ...). */
static inline void gw_key(gguf_writer *w, const char *key, uint32_t type)
{
    gw_put_string(&w->metas, key);
    gw_put_number(&w->metas, type, 4);
    w->n_meta++;
}

/* Any scalar: the type's number in the file, the value's bits, its size in bytes. */
static inline void gw_scalar(gguf_writer *w, const char *key, uint32_t type, uint64_t bits,
                             size_t n)
{
    gw_key(w, key, type);
    gw_put_number(&w->metas, bits, n);
}

static inline void gw_u32(gguf_writer *w, const char *key, uint32_t value)
{
    gw_scalar(w, key, 4, value, 4);
}

static inline void gw_i32(gguf_writer *w, const char *key, int32_t value)
{
    gw_scalar(w, key, 5, (uint32_t)value, 4);
}

static inline void gw_u16(gguf_writer *w, const char *key, uint16_t value)
{
    gw_scalar(w, key, 2, value, 2);
}

static inline void gw_f32(gguf_writer *w, const char *key, float value)
{
    uint32_t bits;
    memcpy(&bits, &value, 4);
    gw_scalar(w, key, 6, bits, 4);
}

static inline void gw_bool(gguf_writer *w, const char *key, int value)
{
    gw_scalar(w, key, 7, value != 0, 1);
}

static inline void gw_string(gguf_writer *w, const char *key, const char *value)
{
    gw_key(w, key, 8);
    gw_put_string(&w->metas, value);
}

/* The head of an array: element type and count; its elements follow with gw_put_... */
static inline void gw_array(gguf_writer *w, const char *key, uint32_t element, uint64_t n)
{
    gw_key(w, key, 9);
    gw_put_number(&w->metas, element, 4);
    gw_put_number(&w->metas, n, 8);
}

static inline void gw_strings(gguf_writer *w, const char *key, const char *const *values, size_t n)
{
    gw_array(w, key, 8, n);
    for (size_t i = 0; i < n; i++) gw_put_string(&w->metas, values[i]);
}

static inline void gw_f32s(gguf_writer *w, const char *key, const float *values, size_t n)
{
    gw_array(w, key, 6, n);
    for (size_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, &values[i], 4);
        gw_put_number(&w->metas, bits, 4);
    }
}

static inline void gw_i32s(gguf_writer *w, const char *key, const int32_t *values, size_t n)
{
    gw_array(w, key, 5, n);
    for (size_t i = 0; i < n; i++) gw_put_number(&w->metas, (uint32_t)values[i], 4);
}

/* A directory entry alone; the offset counts from the beginning of the data. */
static inline void gw_tensor_entry(gguf_writer *w, const char *name, uint32_t type, uint32_t n_dim,
                                   const uint64_t *dim, uint64_t offset)
{
    gw_put_string(&w->entries, name);
    gw_put_number(&w->entries, n_dim, 4);
    for (uint32_t i = 0; i < n_dim; i++) gw_put_number(&w->entries, dim[i], 8);
    gw_put_number(&w->entries, type, 4);
    gw_put_number(&w->entries, offset, 8);
    w->n_tensor++;
}

/* A tensor with its bytes; dim[0] is the row length. */
static inline void gw_tensor(gguf_writer *w, const char *name, uint32_t type, uint32_t n_dim,
                             const uint64_t *dim, const void *data, size_t n)
{
    while (w->tensors.n % w->alignment) gw_put_number(&w->tensors, 0, 1);
    gw_tensor_entry(w, name, type, n_dim, dim, w->tensors.n);
    gw_put(&w->tensors, data, n);
}

/* The file's bytes, to be freed by the caller; the writer is emptied. */
static inline uint8_t *gw_finish(gguf_writer *w, size_t *n)
{
    gw_buffer out = {0};
    gw_put(&out, w->magic, 4);
    gw_put_number(&out, w->version, 4);
    gw_put_number(&out, w->n_tensor, 8);
    gw_put_number(&out, w->n_meta, 8);
    gw_put(&out, w->metas.data, w->metas.n);
    gw_put(&out, w->entries.data, w->entries.n);
    if (w->is_unpadded) {
        for (size_t i = 0; i < w->n_pad; i++) gw_put_number(&out, 0, 1);
    } else if (w->n_tensor) {
        while (out.n % w->alignment) gw_put_number(&out, 0, 1);
    }
    gw_put(&out, w->tensors.data, w->tensors.n);
    free(w->metas.data);
    free(w->entries.data);
    free(w->tensors.data);
    gw_init(w);
    *n = out.n;
    return out.data;
}

#endif
