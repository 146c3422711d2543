/* SPDX-License-Identifier: MIT */
/*
 * Mixtures: which type each tensor gets when a model is quantised to "Q4_K_M" and the like. The
 * rules are those that files of these names are made by elsewhere: tensors that suffer most (the
 * head, attention values, the feed-forward part's way down, first and last layers) get more bits.
 * A tensor whose rows are no whole number of blocks gets the next type up with smaller blocks. Pure
 * but for the sorting of the caller's array; any thread.
 */
#ifndef LLRTI_QUANT_MIX_H
#define LLRTI_QUANT_MIX_H

#include "alloc.h"
#include "error.h"
#include "model_file.h"

/** Mixtures by name, and plain types by theirs. */
typedef struct llrti_quant_mix {
    const char *name;
    uint32_t type;      /* of most tensors */
    uint32_t file_type; /* general.file_type of such files */
} llrti_quant_mix;

/** Names are compared without regard to case. NULL when unknown. */
const llrti_quant_mix *llrti_quant_mix_find(const char *name, size_t n);
/** All names in one line. */
const char *llrti_quant_mix_names(void);

/** What the rules look at beside a tensor's name, shape and place. */
typedef struct llrti_quant_shape {
    const char *architecture;
    uint32_t n_layer, n_head, n_kv_head, n_expert; /* 0: unknown or none */
    bool has_importance;
} llrti_quant_shape;

/**
 * Decides the type of every tensor of a file.
 * @param tensor  (n) with the types they have now; not changed
 * @param is_pure no mixture: every matrix gets mix->type
 * @param type    (n) out; a tensor that isn't a matrix to be quantised keeps its own
 * @return LLRT_OK, LLRT_ERR_NOMEM
 */
llrt_status llrti_quant_mix_choose(llrti_mem *mem, const llrti_quant_mix *mix,
                                   const llrti_quant_shape *shape, bool is_pure,
                                   const llrti_tensor *tensor, size_t n, uint32_t *type,
                                   llrt_error *err);

/** The type that rows of n values get when `type` was chosen: itself where they fit. */
uint32_t llrti_quant_mix_fit(uint32_t type, uint64_t n);

/** The tensor is a matrix that formats with blocks may hold: no norm, bias, router, table. */
bool llrti_quant_mix_is_matrix(const llrti_tensor *tensor);

#endif
