/* SPDX-License-Identifier: MIT */
/*
 * For fuzz targets: several files in one input, separated by "\n#file\n", behind a llrt_source;
 * and a check that ends the run at once.
 */
#ifndef FUZZ_SUPPORT_H
#define FUZZ_SUPPORT_H

#include <llrt/source.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define FUZZ_CHECK(condition)                                                                      \
    do {                                                                                           \
        if (!(condition)) abort();                                                                 \
    } while (0)

#define FUZZ_MAX_PART 6

typedef struct fuzz_part {
    const char *name; /* given by the target; NULL: not there */
    const uint8_t *data;
    size_t n;
} fuzz_part;

typedef struct fuzz_parts {
    fuzz_part part[FUZZ_MAX_PART];
    size_t n_part;
    int n_open;
} fuzz_parts;

/* Divides the input; the last part takes whatever is left. */
static inline void fuzz_divide(fuzz_parts *parts, const uint8_t *data, size_t size)
{
    static const char separator[] = "\n#file\n";
    const size_t n_separator = sizeof separator - 1;
    memset(parts, 0, sizeof *parts);
    size_t begin = 0;
    for (size_t at = 0; at + n_separator <= size && parts->n_part + 1 < FUZZ_MAX_PART; at++) {
        if (data[at] != '\n' || memcmp(data + at, separator, n_separator) != 0) continue;
        parts->part[parts->n_part].data = data + begin;
        parts->part[parts->n_part++].n = at - begin;
        begin = at + n_separator;
        at = begin - 1;
    }
    parts->part[parts->n_part].data = data + begin;
    parts->part[parts->n_part++].n = size - begin;
}

static inline llrt_status fuzz_open(void *ctx, const char *name, void **file, uint64_t *size,
                                    llrt_error *err)
{
    fuzz_parts *parts = ctx;
    (void)err;
    for (size_t i = 0; i < parts->n_part; i++) {
        if (!parts->part[i].name || strcmp(parts->part[i].name, name) != 0) continue;
        *file = &parts->part[i];
        *size = parts->part[i].n;
        parts->n_open++;
        return LLRT_OK;
    }
    return LLRT_ERR_NOT_FOUND;
}

static inline llrt_status fuzz_read_at(void *ctx, void *file, uint64_t offset, void *to, size_t n,
                                       llrt_error *err)
{
    const fuzz_part *part = file;
    (void)ctx, (void)err;
    FUZZ_CHECK(offset <= part->n && n <= part->n - offset); /* never asked beyond the size */
    memcpy(to, part->data + offset, n);
    return LLRT_OK;
}

static inline void fuzz_close(void *ctx, void *file)
{
    (void)file;
    ((fuzz_parts *)ctx)->n_open--;
}

static inline const void *fuzz_map(void *ctx, void *file)
{
    (void)ctx;
    return ((const fuzz_part *)file)->data;
}

static inline void fuzz_source(fuzz_parts *parts, llrt_source *source)
{
    memset(source, 0, sizeof *source);
    source->struct_size = (uint32_t)sizeof *source;
    source->ctx = parts;
    source->open = fuzz_open;
    source->read_at = fuzz_read_at;
    source->close = fuzz_close;
    source->map = fuzz_map;
}

#endif
