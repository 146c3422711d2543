/* SPDX-License-Identifier: MIT */
/*
 * Converting tensors: rows are read from a model file, rearranged, widened, checked, quantised on
 * all worker threads and written in order. What happens to a row depends on nothing but the row.
 */
#ifndef LLRTI_QUANT_RUN_H
#define LLRTI_QUANT_RUN_H

#include <llrt/quantize.h>

#include "gguf_write.h"
#include "model.h"
#include "workers.h"

/** Where the rows of one tensor of the result come from. */
typedef struct llrti_quant_item {
    const llrti_model_weight *weight; /* rows of the source; borrowed */
    const float *value;               /* with weight NULL: the values themselves */
    /*
     * Not 0: in each run of head_dim rows (elements, where there is one row) the first n_rot are
     * reordered so that i and i + n_rot / 2 become neighbours.
     */
    uint32_t head_dim, n_rot;
    float offset; /* added to every value */
    /* Of each column, for each of n_importance / row length matrices; NULL: none. */
    const float *importance;
    size_t n_importance;
} llrti_quant_item;

/**
 * Converts and writes all tensors of the writer's content.
 * @param item (content->n_tensor)
 * @return LLRT_OK, LLRT_ERR_FORMAT (values that are no numbers, or too large for the type; names
 *   tensor, row and column), LLRT_ERR_IO, LLRT_ERR_NOMEM, LLRT_ERR_CANCELLED
 */
llrt_status llrti_quant_run(llrti_mem *mem, const llrti_model_file *file, llrti_workers *workers,
                            const llrti_quant_item *item, llrti_gguf_writer *writer,
                            llrt_progress progress, void *progress_ctx, llrt_error *err);

#endif
