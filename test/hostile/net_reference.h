/* SPDX-License-Identifier: MIT */
/*
 * What a network of small_net.h means, in double precision: every operator from its formula in
 * backend.h, over a whole sequence at once, with libm and without pages, states, tiles or chunks.
 * The nets must be of float32 weights.
 */
#ifndef NET_REFERENCE_H
#define NET_REFERENCE_H

#include "small_net.h"

typedef struct reference_adapter {
    const llrt_adapter_part *part;
    uint32_t n_part;
    float scale;
} reference_adapter;

typedef struct reference_input {
    uint32_t n; /* tokens */
    const int32_t *token;
    const float *embedding;    /* (rows with token -1, width) */
    const int32_t *position;   /* (n, 3) for rotation */
    const uint8_t *token_type; /* (n) */
    const uint32_t *end;       /* (n): causal attention of a token sees what is before this one */
    const reference_adapter *adapter;
    uint32_t n_adapter;
} reference_input;

typedef struct reference {
    const net *n;
    double *value[NET_MAX];   /* (tokens, width); those of wanted rows are computed for all */
    double *square[NET_MAX];  /* by tensor: (dim[2], dim[0]), of operators over all tokens */
    uint64_t *count[NET_MAX]; /* (dim[2]) */
} reference;

void reference_create(reference *r, const net *n);
/** Computes the values anew and adds to the squares. */
void reference_run(reference *r, const reference_input *in);
void reference_free(reference *r);

#endif
