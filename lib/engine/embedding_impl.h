/* SPDX-License-Identifier: MIT */
/*
 * The inside of embeddings: hidden states are added up as steps compute them, so that a long text
 * needs no more room than a short one. See embedding.c.
 */
#ifndef LLRTI_EMBEDDING_IMPL_H
#define LLRTI_EMBEDDING_IMPL_H

#include <llrt/embedding.h>

#include "session_impl.h"

/** Rows read from a backend at once. */
#define LLRTI_EMBEDDING_BATCH 16u

/** What becomes one vector; of class SESSION, made at the first embedding. */
typedef struct llrti_pooled {
    llrt_pooling kind;
    size_t n_row; /* taken in so far */
    double *sum;  /* (d_model) */
    float *row;   /* (LLRTI_EMBEDDING_BATCH, d_model) */
} llrti_pooled;

/** Takes in the rows that the last step computed for a work. By the leader, between steps. */
llrt_status llrti_embedding_read(llrt_engine *engine, const llrti_work *work, llrt_error *err);

/** What the model's texts are pooled with when the caller does not say. */
llrt_pooling llrti_embedding_default(const llrti_model *model);

#endif
