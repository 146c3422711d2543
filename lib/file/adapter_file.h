/* SPDX-License-Identifier: MIT */
/*
 * The files of a LoRA adapter: a PEFT folder (adapter_config.json beside adapter_model.safetensors)
 * or a GGUF whose general.type is "adapter". Either becomes one list of changes, each a pair of
 * matrices for one weight, which the file calls by the names of its own kind. What is no such pair
 * (DoRA, whole modules, biases, embeddings) is refused by name.
 *
 * Ranks and factors are checked here; whether the model has the weight, in that shape, is for those
 * to check who know the model. All memory is of class LOADING. Immutable after opening; one thread.
 */
#ifndef LLRTI_ADAPTER_FILE_H
#define LLRTI_ADAPTER_FILE_H

#include "directory.h"
#include "source_impl.h"

/** weight += factor * b a */
typedef struct llrti_adapter_change {
    const char
        *name; /* the weight's, without ".weight": "blk.0.attn_q", "model.layers.0.self..." */
    const llrti_tensor *a; /* (d_in x rank) */
    const llrti_tensor *b; /* (rank x d_out) */
    uint32_t rank;
    float factor;
} llrti_adapter_change;

typedef struct llrti_adapter_file {
    llrti_mem *mem;
    llrti_file_kind kind;
    llrt_source source;
    llrti_source_file tensors; /* the file with the matrices */
    llrti_directory directory;
    const char *architecture; /* of a GGUF; "" when it does not say */
    LLRTI_VEC(llrti_adapter_change) changes;
    llrti_map by_name; /* of the changes */
} llrti_adapter_file;

/**
 * Opens a folder, its adapter_model.safetensors, or a .gguf.
 * @param source NULL: the file system
 * @return LLRT_OK
 *   LLRT_ERR_NOT_FOUND, LLRT_ERR_IO: the file named in the error
 *   LLRT_ERR_FORMAT: the error names file, field, found, expected
 *   LLRT_ERR_UNSUPPORTED: an adapter that is more than pairs of matrices
 *   LLRT_ERR_NOMEM
 */
llrt_status llrti_adapter_file_open(llrti_mem *mem, const char *path, const llrt_source *source,
                                    llrti_adapter_file **out, llrt_error *err);
/** A matrix of the file as float32, all dim[0] * dim[1] elements. */
llrt_status llrti_adapter_file_read(const llrti_adapter_file *file, const llrti_tensor *tensor,
                                    float *to, llrt_error *err);
void llrti_adapter_file_close(llrti_adapter_file *file); /* NULL is fine */

#endif
