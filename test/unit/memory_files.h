/* SPDX-License-Identifier: MIT */
/*
 * A llrt_source over a table of named files in memory, which counts what is open and can
 * fail a chosen call: what a program with its models in an archive would write.
 */
#ifndef MEMORY_FILES_H
#define MEMORY_FILES_H

#include <llrt/source.h>
#include <stdatomic.h>
#include <string.h>

typedef struct memory_file {
    const char *name;
    const void *data;
    size_t n;
} memory_file;

typedef struct memory_files {
    memory_file file[16];
    size_t n_file;
    atomic_int n_open;       /* files open now */
    atomic_int n_read;       /* files are read from several threads */
    int fail_read;           /* read_at number fail_read (from 1) fails without filling the error */
    llrt_status fail_status; /* what it returns */
    llrt_status open_status; /* not 0: open returns this without filling the error */
} memory_files;

static inline llrt_status memory_files_open(void *ctx, const char *name, void **file,
                                            uint64_t *size, llrt_error *err)
{
    memory_files *files = ctx;
    (void)err;
    if (files->open_status) return files->open_status;
    for (size_t i = 0; i < files->n_file; i++) {
        if (strcmp(files->file[i].name, name) != 0) continue;
        *file = &files->file[i];
        *size = files->file[i].n;
        files->n_open++;
        return LLRT_OK;
    }
    return LLRT_ERR_NOT_FOUND;
}

static inline llrt_status memory_files_read_at(void *ctx, void *file, uint64_t offset, void *to,
                                               size_t n, llrt_error *err)
{
    memory_files *files = ctx;
    const memory_file *f = file;
    (void)err;
    if (++files->n_read == files->fail_read) return files->fail_status;
    if (offset > f->n || n > f->n - offset) return LLRT_ERR_INTERNAL; /* must never be asked */
    memcpy(to, (const char *)f->data + offset, n);
    return LLRT_OK;
}

static inline void memory_files_close(void *ctx, void *file)
{
    (void)file;
    ((memory_files *)ctx)->n_open--;
}

static inline void memory_files_init(memory_files *files, llrt_source *source)
{
    memset(files, 0, sizeof *files);
    llrt_source_init(source, sizeof *source);
    source->ctx = files;
    source->open = memory_files_open;
    source->read_at = memory_files_read_at;
    source->close = memory_files_close;
}

static inline void memory_files_add(memory_files *files, const char *name, const void *data,
                                    size_t n)
{
    memory_file *file = &files->file[files->n_file++];
    file->name = name;
    file->data = data;
    file->n = n;
}

static inline void memory_files_add_text(memory_files *files, const char *name, const char *text)
{
    memory_files_add(files, name, text, strlen(text));
}

#endif
