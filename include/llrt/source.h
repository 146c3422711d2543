/* SPDX-License-Identifier: MIT */
/*
 * Where the bytes of a model come from. A path needs nothing of this; a program
 * that keeps its models in an archive, a database or in memory gives a llrt_source.
 *
 * A model may consist of several files (shards, config.json, tokenizer.json);
 * they are opened by name, relative to the name the model was opened under.
 */
#ifndef LLRT_SOURCE_H
#define LLRT_SOURCE_H

#include "status.h"

#ifdef __cplusplus
extern "C" {
#endif

/**
 * Read callbacks. `read_at` is called from several threads at once, also on one
 * file. All pointers are retained as long as the handle that was opened from
 * the source says (an engine: until llrt_engine_open returns, or until the engine is
 * closed with LLRT_WEIGHTS_MAPPED).
 */
typedef struct llrt_source {
    uint32_t struct_size; /**< sizeof(llrt_source), set by the init functions */
    void *ctx;            /**< passed through */
    /**
     * Opens the file `name` (UTF-8). Returns LLRT_ERR_NOT_FOUND when there is none: some files are
     * optional.
     */
    llrt_status (*open)(void *ctx, const char *name, void **file, uint64_t *size, llrt_error *err);
    /** Reads exactly n bytes at `offset`; fewer is a failure. Never asked beyond the size. */
    llrt_status (*read_at)(void *ctx, void *file, uint64_t offset, void *to, size_t n,
                           llrt_error *err);
    void (*close)(void *ctx, void *file);
    /**
     * Optional, may be NULL: the file's bytes in memory, valid until close. Enables
     * LLRT_WEIGHTS_MAPPED.
     */
    const void *(*map)(void *ctx, void *file);
} llrt_source;

/** A block of memory that holds one file; owned by the caller. */
typedef struct llrt_blob {
    const void *data;
    size_t size;
} llrt_blob;

/** A source over callbacks of the caller: zeroes the struct and sets its size. */
LLRT_API void llrt_source_init(llrt_source *source, size_t struct_size);

/**
 * One GGUF file behind an open file descriptor, which is borrowed and whose file position is not
 * used or moved.
 */
LLRT_API void llrt_source_init_fd(llrt_source *source, size_t struct_size, int fd);

/** One GGUF file in memory. `blob` and its bytes are borrowed as long as the source is in use. */
LLRT_API void llrt_source_init_memory(llrt_source *source, size_t struct_size,
                                      const llrt_blob *blob);

#ifdef __cplusplus
}
#endif
#endif
