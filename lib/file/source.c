/* SPDX-License-Identifier: MIT */
/*
 * The ready-made sources (file system, descriptor, memory) and the checked calls that the
 * readers use instead of the raw callbacks. A handle of the file-system source is a small block
 * that holds the file and, once asked for, its mapping; the other two need no memory: the
 * descriptor's handle is the descriptor, the block's handle is the block.
 */
#include <llrt/source.h>

#include <string.h>

#include "error.h"
#include "os.h"
#include "source_impl.h"

/* ---- file system ---- */

typedef struct disk_file {
    llrti_file file;
    uint64_t size;
    const void *mapping;
} disk_file;

static llrt_status disk_open(void *ctx, const char *name, void **file, uint64_t *size,
                             llrt_error *err)
{
    llrti_mem *mem = ctx;
    disk_file *disk = llrti_calloc(mem, 1, sizeof *disk, LLRT_MEMORY_HOST);
    if (!disk) return llrti_fail_nomem(err, "a file handle", sizeof *disk);
    const llrt_status status = llrti_file_open(name, &disk->file, &disk->size, err);
    if (status < 0) {
        llrti_free(mem, disk);
        return status;
    }
    *file = disk;
    *size = disk->size;
    return LLRT_OK;
}

static llrt_status disk_read_at(void *ctx, void *file, uint64_t offset, void *to, size_t n,
                                llrt_error *err)
{
    (void)ctx;
    return llrti_file_read_at(((const disk_file *)file)->file, offset, to, n, err);
}

static void disk_close(void *ctx, void *file)
{
    disk_file *disk = file;
    llrti_file_unmap(disk->mapping, disk->size);
    llrti_file_close(&disk->file);
    llrti_free(ctx, disk);
}

static const void *disk_map(void *ctx, void *file)
{
    (void)ctx;
    disk_file *disk = file;
    if (!disk->mapping && llrti_file_map(disk->file, disk->size, &disk->mapping, NULL) < 0) {
        return NULL;
    }
    return disk->mapping;
}

/* ---- descriptor ---- */

static llrt_status fd_open(void *ctx, const char *name, void **file, uint64_t *size,
                           llrt_error *err)
{
    (void)name;
    llrti_file borrowed;
    LLRTI_TRY(llrti_file_borrow((int)(intptr_t)ctx, &borrowed, size, err));
    *file = (void *)borrowed.handle;
    return LLRT_OK;
}

static llrt_status fd_read_at(void *ctx, void *file, uint64_t offset, void *to, size_t n,
                              llrt_error *err)
{
    (void)ctx;
    const llrti_file borrowed = {(intptr_t)file};
    return llrti_file_read_at(borrowed, offset, to, n, err);
}

static void fd_close(void *ctx, void *file)
{
    (void)ctx;
    llrti_file borrowed = {(intptr_t)file};
    llrti_file_return(&borrowed);
}

/* ---- memory ---- */

static llrt_status blob_open(void *ctx, const char *name, void **file, uint64_t *size,
                             llrt_error *err)
{
    (void)name;
    const llrt_blob *blob = ctx;
    if (!blob || (!blob->data && blob->size)) {
        return llrti_fail(err, LLRT_ERR_ARGUMENT, "found a block of memory without data");
    }
    *file = ctx;
    *size = blob->size;
    return LLRT_OK;
}

static llrt_status blob_read_at(void *ctx, void *file, uint64_t offset, void *to, size_t n,
                                llrt_error *err)
{
    (void)ctx;
    const llrt_blob *blob = file;
    if (offset > blob->size || n > blob->size - offset) {
        return llrti_fail(err, LLRT_ERR_IO, "found %zu bytes, expected %zu at offset %llu",
                          blob->size, n, (unsigned long long)offset);
    }
    if (n) memcpy(to, (const char *)blob->data + offset, n);
    return LLRT_OK;
}

static void blob_close(void *ctx, void *file)
{
    (void)ctx, (void)file;
}

static const void *blob_map(void *ctx, void *file)
{
    (void)ctx;
    return ((const llrt_blob *)file)->data;
}

/* ---- initialisers ---- */

/* Gives the caller's struct, whatever its size, the fields of `from` that it has. */
static void put_source(llrt_source *to, size_t struct_size, const llrt_source *from)
{
    llrt_source value = *from;
    value.struct_size = (uint32_t)struct_size;
    memset(to, 0, struct_size);
    memcpy(to, &value, struct_size < sizeof value ? struct_size : sizeof value);
}

void llrt_source_init(llrt_source *source, size_t struct_size)
{
    const llrt_source none = {0};
    put_source(source, struct_size, &none);
}

void llrt_source_init_fd(llrt_source *source, size_t struct_size, int fd)
{
    const llrt_source made = {
        .ctx = (void *)(intptr_t)fd, .open = fd_open, .read_at = fd_read_at, .close = fd_close};
    put_source(source, struct_size, &made);
}

void llrt_source_init_memory(llrt_source *source, size_t struct_size, const llrt_blob *blob)
{
    const llrt_source made = {.ctx = (void *)(uintptr_t)blob,
                              .open = blob_open,
                              .read_at = blob_read_at,
                              .close = blob_close,
                              .map = blob_map};
    put_source(source, struct_size, &made);
}

llrt_status llrti_source_copy(llrt_source *to, const llrt_source *from, llrti_mem *mem,
                              llrt_error *err)
{
    memset(to, 0, sizeof *to);
    if (!from) {
        const llrt_source disk = {.ctx = mem,
                                  .open = disk_open,
                                  .read_at = disk_read_at,
                                  .close = disk_close,
                                  .map = disk_map};
        put_source(to, sizeof *to, &disk);
        return LLRT_OK;
    }
    const size_t size = from->struct_size, least = offsetof(llrt_source, map);
    if (size < least || size > 4096) {
        return llrti_fail_field(err, LLRT_ERR_ARGUMENT, "source.struct_size",
                                "found %zu, expected %zu: set it with llrt_source_init", size,
                                sizeof *to);
    }
    for (size_t i = sizeof *to; i < size; i++) {
        if (((const char *)from)[i]) {
            return llrti_fail_field(err, LLRT_ERR_VERSION, "source.struct_size",
                                    "found a field this version of the library does not know");
        }
    }
    memcpy(to, from, size < sizeof *to ? size : sizeof *to);
    to->struct_size = (uint32_t)sizeof *to;
    if (!to->open || !to->read_at || !to->close) {
        return llrti_fail_field(err, LLRT_ERR_ARGUMENT, "source",
                                "found no %s callback, expected open, read_at and close",
                                !to->open      ? "open"
                                : !to->read_at ? "read_at"
                                               : "close");
    }
    return LLRT_OK;
}

/* ---- checked calls ---- */

/* What a callback returned, made safe: never positive, the error filled and naming the file. The
 * callback works on `own`, a record of the library's, because the caller's may be NULL or stale. */
static llrt_status finish(llrt_status status, const char *name, const char *what,
                          const llrt_error *own, llrt_error *err)
{
    if (status == LLRT_OK) return LLRT_OK;
    if (status < 0 && own->status == status) {
        llrti_error_copy(err, own);
    } else {
        const llrt_status found = status;
        if (status > 0) status = LLRT_ERR_IO;
        if (status == LLRT_ERR_NOT_FOUND)
            llrti_fail(err, status, "found no file of this name");
        else
            llrti_fail(err, status, "the source's %s callback returned %d (%s)", what, (int)found,
                       llrt_status_name(found));
    }
    llrti_error_file(err, name);
    return status;
}

llrt_status llrti_source_open(const llrt_source *source, const char *name, llrti_source_file *out,
                              llrt_error *err)
{
    llrt_error own = LLRT_ERROR_INIT;
    memset(out, 0, sizeof *out);
    out->name = name;
    const llrt_status status = finish(source->open(source->ctx, name, &out->file, &out->size, &own),
                                      name, "open", &own, err);
    if (status == LLRT_OK) out->source = source;
    return status;
}

llrt_status llrti_source_read(const llrti_source_file *file, uint64_t offset, void *to, size_t n,
                              llrt_error *err)
{
    if (!file->source) {
        const llrt_status status =
            llrti_fail(err, LLRT_ERR_STATE, "the file has been closed already");
        llrti_error_file(err, file->name);
        return status;
    }
    if (offset > file->size || n > file->size - offset) {
        const llrt_status status = llrti_fail(
            err, LLRT_ERR_IO, "found a file of %llu bytes, expected %llu bytes at offset %llu",
            (unsigned long long)file->size, (unsigned long long)n, (unsigned long long)offset);
        llrti_error_file(err, file->name);
        llrti_error_position(err, offset <= INT64_MAX ? (int64_t)offset : INT64_MAX);
        return status;
    }
    if (n == 0) return LLRT_OK;
    llrt_error own = LLRT_ERROR_INIT;
    const llrt_source *source = file->source;
    return finish(source->read_at(source->ctx, file->file, offset, to, n, &own), file->name,
                  "read_at", &own, err);
}

llrt_status llrti_source_map(const llrti_source_file *file, const void **out, llrt_error *err)
{
    *out =
        file->source && file->source->map ? file->source->map(file->source->ctx, file->file) : NULL;
    if (*out) return LLRT_OK;
    const llrt_status status =
        llrti_fail(err, LLRT_ERR_UNSUPPORTED, "the source can't give the file's bytes in memory");
    llrti_error_file(err, file->name);
    return status;
}

void llrti_source_close(llrti_source_file *file)
{
    if (file->source) file->source->close(file->source->ctx, file->file);
    file->source = NULL;
}

llrt_status llrti_source_read_whole(const llrt_source *source, llrti_mem *mem, const char *name,
                                    size_t limit, char **out, size_t *n, llrt_error *err)
{
    *out = NULL;
    *n = 0;
    llrti_source_file file;
    LLRTI_TRY(llrti_source_open(source, name, &file, err));
    llrt_status status = LLRT_OK;
    char *data = NULL;
    if (file.size > limit) {
        status = llrti_fail(err, LLRT_ERR_FORMAT, "found %llu bytes, expected at most %llu",
                            (unsigned long long)file.size, (unsigned long long)limit);
        goto fail;
    }
    data = llrti_alloc(mem, (size_t)file.size + 1, LLRT_MEMORY_HOST);
    if (!data) {
        status = llrti_fail_nomem(err, "a file's bytes", (size_t)file.size + 1);
        goto fail;
    }
    LLRTI_TRY_GOTO(status, llrti_source_read(&file, 0, data, (size_t)file.size, err));
    data[file.size] = 0;
    *out = data;
    *n = (size_t)file.size;
    llrti_source_close(&file);
    return LLRT_OK;

fail:
    llrti_error_file(err, name);
    llrti_free(mem, data);
    llrti_source_close(&file);
    return status;
}
