/* SPDX-License-Identifier: MIT */
/*
 * Reads rows of a weight wherever its file has them: as they are, turned round, out of several
 * tensors, every second one, or put together from blocks and scales. See llrti_model_weight. Any
 * thread.
 */
#ifndef LLRTI_WEIGHT_H
#define LLRTI_WEIGHT_H

#include "model.h"

/** Rows of the weight, all further dimensions counted through. */
uint64_t llrti_weight_rows(const llrti_model_weight *weight);

/** The file holds the whole weight as the backend wants it: it can be used from a mapping. */
bool llrti_weight_is_direct(const llrti_model_weight *weight);

/** Bytes of scratch that reading any n_row rows (1 or more) takes; may be 0. */
size_t llrti_weight_scratch(const llrti_model_weight *weight, uint64_t n_row);

/** Rows [row, row + n_row) into `to`, in the layout of desc.type. */
llrt_status llrti_weight_read(const llrti_model_file *file, const llrti_model_weight *weight,
                              uint64_t row, uint64_t n_row, void *to, void *scratch,
                              llrt_error *err);

#endif
