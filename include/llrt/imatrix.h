/* SPDX-License-Identifier: MIT */
/*
 * Sums of squares of what a model's matrices are multiplied with, and the importance matrices that
 * are made of them: a quantiser keeps the columns that matter most more exactly. An engine opened
 * with_squares keeps the sums while sessions compute; any thread may read them at any time, which
 * waits for the step in progress.
 */
#ifndef LLRT_IMATRIX_H
#define LLRT_IMATRIX_H

#include "engine.h"

#ifdef __cplusplus
extern "C" {
#endif

/** A weight whose inputs are summed up. */
typedef struct llrt_squares_info {
    uint32_t struct_size;
    uint32_t n_matrix; /**< matrices in it: one, or one for each expert or head */
    uint64_t n_column; /**< inputs of each */
    /** as in GGUF files where it has a name there, else as in the model's; lives as long as the engine */
    const char *name;
    uint32_t
        is_head; /**< 1: its products are logits, so it sees only the rows they are wanted for */
    uint32_t reserved;
} llrt_squares_info;

/** What an importance matrix says beside the sums. */
typedef struct llrt_imatrix_options {
    uint32_t struct_size;
    uint32_t n_chunk;    /**< pieces of text that were computed */
    uint32_t chunk_size; /**< tokens of each; at least 1 */
    /** 1: the format before GGUF, which quantisers up to 2025 read */
    uint32_t is_legacy;
    uint32_t with_head;  /**< 1: the matrix of the head, too */
    uint32_t reserved;   /**< 0 */
    const char *dataset; /**< name of the text, borrowed; default NULL: "" */
} llrt_imatrix_options;

LLRT_API void llrt_imatrix_options_init(llrt_imatrix_options *options, size_t struct_size);

/**
 * Describes weight `index` of those that are summed up for; set info->struct_size first.
 * @return LLRT_OK, LLRT_ERR_NOT_FOUND past the last, LLRT_ERR_STATE (the engine was opened without
 *     with_squares), LLRT_ERR_ARGUMENT, LLRT_ERR_FORKED
 */
LLRT_API llrt_status llrt_engine_squares_info(const llrt_engine *engine, uint32_t index,
                                              llrt_squares_info *info, llrt_error *err);

/**
 * The sums of weight `index` since opening or llrt_engine_squares_reset.
 * @param sum   (n_sum) out: the first n_matrix * n_column are filled, matrix by matrix
 * @param count (n_count) out: rows that each of the n_matrix was multiplied with
 * @return as llrt_engine_squares_info; LLRT_ERR_BUFFER when there is too little room;
 *     LLRT_ERR_UNSUPPORTED: the backend sums nothing
 */
LLRT_API llrt_status llrt_engine_squares(llrt_engine *engine, uint32_t index, double *sum,
                                         size_t n_sum, uint64_t *count, size_t n_count,
                                         llrt_error *err);

/** Sets all sums and counts to 0. */
LLRT_API llrt_status llrt_engine_squares_reset(llrt_engine *engine, llrt_error *err);

/**
 * Writes the sums as an importance matrix, a GGUF or the older format; the file appears only when
 * it is complete. Weights that were multiplied with nothing are left out.
 * @param path    borrowed
 * @param options borrowed
 * @return LLRT_OK, LLRT_ERR_IO, LLRT_ERR_NOMEM, LLRT_ERR_ARGUMENT, and as llrt_engine_squares
 */
LLRT_API llrt_status llrt_imatrix_save(llrt_engine *engine, const char *path,
                                       const llrt_imatrix_options *options, llrt_error *err);

#ifdef __cplusplus
}
#endif
#endif
