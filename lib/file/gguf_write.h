/* SPDX-License-Identifier: MIT */
/*
 * The GGUF writer: version 3, little-endian. Metadata and the tensor directory are given whole,
 * then each tensor's bytes in that order, in pieces of any size. The file grows under a temporary
 * name and takes its place only at the end, so that a failure, a cancel or a crash leaves what was
 * there before. One thread.
 */
#ifndef LLRTI_GGUF_WRITE_H
#define LLRTI_GGUF_WRITE_H

#include "error.h"
#include "model_file.h"
#include "os.h"

/** What a file is to say. Tensors need name, type, n_dim and dim; n_byte and offset are set here. */
typedef struct llrti_gguf_content {
    const llrti_meta *meta;
    size_t n_meta;
    llrti_tensor *tensor;
    size_t n_tensor;
    uint32_t alignment; /* a power of two; when it is not 32, `meta` has general.alignment */
} llrti_gguf_content;

/**
 * Checks names, types and shapes, sets the tensors' n_byte and their offset from the beginning of
 * the file, and makes everything in front of the first tensor, padding included.
 * @param head  out: a new HOST block of *n_head bytes
 * @param n_all out: size of the whole file
 * @return LLRT_OK, LLRT_ERR_ARGUMENT (a name twice or too long, a shape that does not fit the
 *   type), LLRT_ERR_NOMEM
 */
llrt_status llrti_gguf_write_head(llrti_mem *mem, const llrti_gguf_content *content, uint8_t **head,
                                  size_t *n_head, uint64_t *n_all, llrt_error *err);

typedef struct llrti_gguf_writer {
    llrti_out_file file; /* its handle is -1 when closed */
    const llrti_gguf_content *content;
    size_t next;     /* tensor that is being written */
    uint64_t n_done; /* bytes of it that are */
} llrti_gguf_writer;

/** Creates the temporary file and writes the head. `content` is retained until commit or discard. */
llrt_status llrti_gguf_write_open(llrti_gguf_writer *writer, const char *path,
                                  const llrti_gguf_content *content, const uint8_t *head,
                                  size_t n_head, llrt_error *err);
/** The next n bytes of the current tensor; after its last one the next tensor is the current. */
llrt_status llrti_gguf_write_data(llrti_gguf_writer *writer, const void *data, size_t n,
                                  llrt_error *err);
/** Puts the file in its place. LLRT_ERR_INTERNAL when tensors are missing. Closes in any case. */
llrt_status llrti_gguf_write_commit(llrti_gguf_writer *writer, llrt_error *err);
/** Removes what was written; does nothing after a commit. */
void llrti_gguf_write_discard(llrti_gguf_writer *writer);

#endif
