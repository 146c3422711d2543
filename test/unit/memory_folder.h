/* SPDX-License-Identifier: MIT */
/*
 * A folder in memory as a llrt_source: files by name, copied. For tests that need config.json beside a
 * safetensors file. Not for several threads while files are added.
 */
#ifndef MEMORY_FOLDER_H
#define MEMORY_FOLDER_H

#include <stdlib.h>
#include <string.h>

#include <llrt/source.h>

#define FOLDER_MAX 8

typedef struct folder_file {
    char name[64];
    unsigned char *data;
    size_t n;
} folder_file;

typedef struct folder_source {
    llrt_source source;
    folder_file file[FOLDER_MAX];
    size_t n_file;
} folder_source;

static inline llrt_status folder_open(void *ctx, const char *name, void **file, uint64_t *size,
                                      llrt_error *err)
{
    folder_source *const folder = ctx;
    (void)err;
    for (size_t i = 0; i < folder->n_file; i++) {
        if (strcmp(folder->file[i].name, name) != 0) continue;
        *file = &folder->file[i];
        *size = folder->file[i].n;
        return LLRT_OK;
    }
    return LLRT_ERR_NOT_FOUND;
}

static inline llrt_status folder_read(void *ctx, void *file, uint64_t offset, void *to, size_t n,
                                      llrt_error *err)
{
    const folder_file *const f = file;
    (void)ctx;
    (void)err;
    if (offset > f->n || n > f->n - offset) return LLRT_ERR_IO;
    memcpy(to, f->data + offset, n);
    return LLRT_OK;
}

static inline void folder_close(void *ctx, void *file)
{
    (void)ctx;
    (void)file;
}

/* The struct must stay where it is: the source points to it. */
static inline void folder_init(folder_source *folder)
{
    memset(folder, 0, sizeof *folder);
    folder->source.struct_size = sizeof folder->source;
    folder->source.ctx = folder;
    folder->source.open = folder_open;
    folder->source.read_at = folder_read;
    folder->source.close = folder_close;
}

static inline void folder_add(folder_source *folder, const char *name, const void *data, size_t n)
{
    folder_file *const f = &folder->file[folder->n_file++];
    strncpy(f->name, name, sizeof f->name - 1);
    f->data = malloc(n ? n : 1);
    if (!f->data) abort();
    memcpy(f->data, data, n);
    f->n = n;
}

static inline void folder_free(folder_source *folder)
{
    for (size_t i = 0; i < folder->n_file; i++) free(folder->file[i].data);
    folder->n_file = 0;
}

#endif
