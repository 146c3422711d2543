/* SPDX-License-Identifier: MIT */
/*
 * For tests that damage GGUF files: finds every field of a valid header (its place, width and
 * meaning) and every entry (begin and end), so that mutations hit what a parser looks at instead of
 * random bytes. Trusts the file: use it on files the test has written.
 */
#ifndef GGUF_FIELDS_H
#define GGUF_FIELDS_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef enum gf_kind {
    GF_MAGIC,   /* 4 bytes */
    GF_VERSION, /* u32 */
    GF_COUNT,   /* u64: of tensors, of entries, of array elements, length of a string */
    GF_TEXT,    /* bytes of a key, a name, a string */
    GF_TYPE,    /* u32: of a value, an array's elements, a tensor */
    GF_INT,     /* an integer or bool value */
    GF_FLOAT,   /* f32 or f64 */
    GF_N_DIM,   /* u32 */
    GF_DIM,     /* u64 */
    GF_OFFSET   /* u64 */
} gf_kind;

typedef struct gf_field {
    gf_kind kind;
    size_t at, n;
} gf_field;

/* An entry of the metadata (its value begins at `value`, with the type) or of the tensors. */
typedef struct gf_entry {
    int is_tensor;
    size_t begin, value, end;
} gf_entry;

typedef struct gf_map {
    const uint8_t *data;
    size_t at;
    gf_field *field;
    size_t n_field;
    gf_entry *entry;
    size_t n_entry;
} gf_map;

static inline uint64_t gf_load(const uint8_t *p, size_t n)
{
    uint64_t value = 0;
    while (n--) value = value << 8 | p[n];
    return value;
}

static inline uint64_t gf_add(gf_map *m, gf_kind kind, size_t n)
{
    if ((m->n_field & (m->n_field - 1)) == 0) {
        m->field = realloc(m->field, (m->n_field ? m->n_field * 2 : 1) * sizeof *m->field);
        if (!m->field) abort();
    }
    m->field[m->n_field++] = (gf_field){kind, m->at, n};
    m->at += n;
    return gf_load(m->data + m->at - n, n <= 8 ? n : 8);
}

static inline void gf_add_string(gf_map *m)
{
    const uint64_t n = gf_add(m, GF_COUNT, 8);
    if (n) gf_add(m, GF_TEXT, (size_t)n);
}

static inline void gf_add_value(gf_map *m, uint32_t type)
{
    static const uint8_t bytes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
    if (type == 8) {
        gf_add_string(m);
    } else if (type == 9) {
        const uint32_t element = (uint32_t)gf_add(m, GF_TYPE, 4);
        const uint64_t n = gf_add(m, GF_COUNT, 8);
        for (uint64_t i = 0; i < n; i++) gf_add_value(m, element);
    } else {
        gf_add(m, type == 6 || type == 12 ? GF_FLOAT : GF_INT, bytes[type]);
    }
}

/* Fills a zeroed map; m->at is the end of the header then. gf_free frees it. */
static inline void gf_find(gf_map *m, const uint8_t *data)
{
    memset(m, 0, sizeof *m);
    m->data = data;
    gf_add(m, GF_MAGIC, 4);
    gf_add(m, GF_VERSION, 4);
    const uint64_t n_tensor = gf_add(m, GF_COUNT, 8), n_meta = gf_add(m, GF_COUNT, 8);
    m->entry = calloc((size_t)(n_tensor + n_meta), sizeof *m->entry);
    if (!m->entry) abort();
    for (uint64_t i = 0; i < n_meta; i++) {
        gf_entry *const e = &m->entry[m->n_entry++];
        e->begin = m->at;
        gf_add_string(m);
        e->value = m->at;
        gf_add_value(m, (uint32_t)gf_add(m, GF_TYPE, 4));
        e->end = m->at;
    }
    for (uint64_t i = 0; i < n_tensor; i++) {
        gf_entry *const e = &m->entry[m->n_entry++];
        e->is_tensor = 1;
        e->begin = m->at;
        gf_add_string(m);
        e->value = m->at;
        const uint64_t n_dim = gf_add(m, GF_N_DIM, 4);
        for (uint64_t k = 0; k < n_dim; k++) gf_add(m, GF_DIM, 8);
        gf_add(m, GF_TYPE, 4);
        gf_add(m, GF_OFFSET, 8);
        e->end = m->at;
    }
}

static inline void gf_free(gf_map *m)
{
    free(m->field);
    free(m->entry);
}

#endif
