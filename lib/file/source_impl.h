/* SPDX-License-Identifier: MIT */
/*
 * Files of a llrt_source, with the rules every reader relies on: a failing callback
 * always leaves a negative status and a filled error that names the file, and nothing is
 * read beyond the size the source gave. Reading is safe from any thread.
 */
#ifndef LLRTI_SOURCE_IMPL_H
#define LLRTI_SOURCE_IMPL_H

#include <llrt/source.h>

#include "alloc.h"

typedef struct llrti_source_file {
    const llrt_source *source; /* NULL: closed */
    void *file;
    const char *name; /* kept by whoever opened it, as long as the file is open */
    uint64_t size;
} llrti_source_file;

/** Copies a caller's source of any struct_size; NULL gives the file system, whose handles come
 * from `mem`. */
llrt_status llrti_source_copy(llrt_source *to, const llrt_source *from, llrti_mem *mem,
                              llrt_error *err);

/** @return LLRT_OK, LLRT_ERR_NOT_FOUND, what the source's open returns */
llrt_status llrti_source_open(const llrt_source *source, const char *name, llrti_source_file *out,
                              llrt_error *err);
/** Exactly n bytes at `offset`; LLRT_ERR_IO when the file is too short for that. */
llrt_status llrti_source_read(const llrti_source_file *file, uint64_t offset, void *to, size_t n,
                              llrt_error *err);
/** The file's bytes in memory; LLRT_ERR_UNSUPPORTED when the source has no map. */
llrt_status llrti_source_map(const llrti_source_file *file, const void **out, llrt_error *err);
void llrti_source_close(llrti_source_file *file); /* closing twice is fine */

/** A whole file into a new HOST block with a NUL added; LLRT_ERR_FORMAT when it is larger than
 * `limit`. */
llrt_status llrti_source_read_whole(const llrt_source *source, llrti_mem *mem, const char *name,
                                    size_t limit, char **out, size_t *n, llrt_error *err);

#endif
