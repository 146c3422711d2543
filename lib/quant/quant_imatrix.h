/* SPDX-License-Identifier: MIT */
/*
 * Importance matrices: for each weight matrix, the mean square of every input column over some
 * text. Two kinds of file are read: the GGUF kind (general.type "imatrix", tensors NAME.in_sum2 and
 * NAME.counts) and the older one without a header (entries of name, number of calls, values).
 * Everything is checked: sizes against the file, values to be finite and not negative. Immutable
 * after opening; any thread.
 */
#ifndef LLRTI_QUANT_IMATRIX_H
#define LLRTI_QUANT_IMATRIX_H

#include <llrt/source.h>

#include "alloc.h"
#include "hash.h"

typedef struct llrti_quant_imatrix llrti_quant_imatrix;

/**
 * Reads a file of either kind through `source` (NULL: the file system).
 * @return LLRT_OK, LLRT_ERR_NOT_FOUND, LLRT_ERR_FORMAT, LLRT_ERR_IO, LLRT_ERR_NOMEM
 */
llrt_status llrti_quant_imatrix_open(llrti_mem *mem, const char *path, const llrt_source *source,
                                     llrti_quant_imatrix **out, llrt_error *err);
void llrti_quant_imatrix_close(llrti_quant_imatrix *imatrix); /* NULL is fine */

/** Values of the tensor `name`, *n of them (experts one after the other); NULL when it has none. */
const float *llrti_quant_imatrix_find(const llrti_quant_imatrix *imatrix, const char *name,
                                      size_t *n);
uint32_t llrti_quant_imatrix_n_entry(const llrti_quant_imatrix *imatrix);
uint32_t llrti_quant_imatrix_n_chunk(const llrti_quant_imatrix *imatrix); /* 0: not said */
/** Of names and values, whichever kind of file they came from. */
llrti_hash128 llrti_quant_imatrix_hash(const llrti_quant_imatrix *imatrix);

#endif
