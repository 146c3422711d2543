/* SPDX-License-Identifier: MIT */
/*
 * Linear layers: the layout of a weight matrix, packed activations, the product.
 *
 *   out (n_row, m) = x (n_row, k) * w^T (k, m) + bias (m)
 *
 * A llrti_linear says how one weight (m rows of k, as in the file) is stored and multiplied. It is plain data, chosen once by
 * llrti_linear_init from type, shape, precision and weight policy; the owner allocates `bytes` for it and sets
 * `data`, or for LLRT_WEIGHTS_MAPPED sets `data` to the first row in the mapping. The use of a step:
 *
 *   1. act_bytes and act_pack turn rows of floats into the packed form of one llrti_linear_act kind and one k;
 *      every weight of the same `act` and k can share it (Q, K, V; gate, up). Packing depends on each row alone.
 *   2. run multiplies up to 4 weights with one packed activation, run_batch any number of pairs of a weight and a
 *      packed activation, spread over the host's workers.
 *
 * A result depends on (weight, row, ISA, precision) and on nothing else: not on n_row, workers, policy or the
 * other weights of the job. No function allocates; scratch comes from the caller. Everything but put is read-only
 * on the llrti_linear, from any thread; put may be called from several threads for different rows.
 */
#ifndef LLRTI_LINEAR_H
#define LLRTI_LINEAR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <llrt/backend.h>

#include "gemm.h"

/* Form of packed activations. */
typedef uint32_t llrti_linear_act;
enum { LLRTI_LINEAR_ACT_F32 = 0, LLRTI_LINEAR_ACT_BF16 = 1, LLRTI_LINEAR_ACT_Q8 = 2 };

/* How the weight is kept. ROWS: the file's bytes, in `data` or in the mapping. Others: 16-row groups, see gemm.h. */
typedef uint32_t llrti_linear_storage;
enum {
    LLRTI_LINEAR_ROWS = 0,
    LLRTI_LINEAR_F32 = 1,
    LLRTI_LINEAR_F16 = 2, /* [k][16] */
    LLRTI_LINEAR_BF16 = 3,
    LLRTI_LINEAR_Q8 = 4,
    LLRTI_LINEAR_Q4 = 5
};

typedef struct llrti_linear_desc {
    llrt_type type;
    uint64_t k, m; /* row length (d_in) and number of rows (d_out) */
    llrt_precision precision;
    llrt_weights weights;
} llrti_linear_desc;

typedef struct llrti_linear {
    /* set by init */
    const llrti_gemm_kernels *kernels;
    llrt_type type;
    llrti_linear_storage storage;
    llrti_linear_act act; /* the packed form it multiplies with */
    uint32_t is_mapped;   /* data is the file's mapping; bytes is 0 */
    size_t k, m;
    size_t k_pad;       /* k rounded up to what the kernels of `act` need */
    size_t row_bytes;   /* of a row in the file */
    size_t group_bytes; /* of 16 stored rows */
    size_t bytes;       /* to allocate for data, aligned to LLRTI_LINEAR_ALIGN */
    /* set by the owner */
    void *data;
} llrti_linear;

#define LLRTI_LINEAR_ALIGN 64
#define LLRTI_LINEAR_MAX_WEIGHT 4

/*
 * Chooses the format. `kernels` is retained. LLRT_ERR_UNSUPPORTED: no such type; LLRT_ERR_FORMAT: k is 0, m is 0, k
 * is no number of whole blocks, or the size overflows. data is NULL afterwards.
 */
llrt_status llrti_linear_init(llrti_linear *linear, const llrti_linear_desc *desc,
                              const llrti_gemm_kernels *kernels, llrt_error *err);

/*
 * Takes n_row rows in the file's layout, from any row on; whole groups of 16 are the fast case. Not for mapped weights.
 * Each row once before run or get_row.
 */
void llrti_linear_put(const llrti_linear *linear, size_t row_begin, size_t n_row, const void *rows);

/* Row `row` (< m) as k floats: exactly the values of the file's format. For embeddings. */
void llrti_linear_get_row(const llrti_linear *linear, size_t row, float *out);

/* Bytes of n_row packed rows of k values, to be aligned to 64. */
size_t llrti_linear_act_bytes(llrti_linear_act act, size_t k, size_t n_row);

typedef struct llrti_linear_input {
    llrti_linear_act act;
    const llrti_gemm_kernels *kernels;
    const float *x;  /* (n_row, k), row i at x + i * x_stride */
    size_t x_stride; /* floats */
    size_t k, n_row;
    void *packed; /* act_bytes */
} llrti_linear_input;

/* Panels that the input makes: the unit of act_pack. */
size_t llrti_linear_act_panels(const llrti_linear_input *input);

/* Packs panels [panel_begin, panel_end) of the input; different panels from different threads are fine. */
void llrti_linear_act_pack(const llrti_linear_input *input, size_t panel_begin, size_t panel_end);

/* Columns of a panel: rows of the input that are packed together. */
size_t llrti_linear_act_columns(const llrti_gemm_kernels *kernels, llrti_linear_act act);

/* Where row `row`, the first of its panel, begins in the packed form: bytes. */
size_t llrti_linear_act_offset(llrti_linear_act act, size_t k, size_t row);

/* Packs the whole input with host->parallel_for (directly when it is small). */
void llrti_linear_act_pack_all(const llrt_host *host, const llrti_linear_input *input);

/* Bytes of scratch for each worker, whatever the weights; a multiple of 64. */
size_t llrti_linear_scratch_bytes(void);

/* A product of up to 4 weights of one `act` and one k with one packed activation. */
typedef struct llrti_linear_job {
    uint32_t n_weight;
    uint32_t reserved;
    const llrti_linear *weight[LLRTI_LINEAR_MAX_WEIGHT];
    const float *bias[LLRTI_LINEAR_MAX_WEIGHT]; /* (m) or NULL */
    float *out
        [LLRTI_LINEAR_MAX_WEIGHT]; /* (n_row, m), row i at out + i * out_stride; not the packed input */
    size_t out_stride[LLRTI_LINEAR_MAX_WEIGHT]; /* floats */
    const void *packed;
    size_t n_row;
    void *scratch; /* host->n_worker * llrti_linear_scratch_bytes(), aligned to 64 */
    int (*poll_cancel)(void *ctx); /* may be NULL; called from any worker every few milliseconds */
    void *poll_ctx;
} llrti_linear_job;

/* One product of a batch. */
typedef struct llrti_linear_item {
    const llrti_linear *weight; /* its format */
    const void *data;           /* its rows: weight->data, or where a slice of that format is */
    const float *bias;          /* (m) or NULL */
    float *out;         /* (n_row, m), row i at out + i * out_stride; not the packed input */
    size_t out_stride;  /* floats */
    const void *packed; /* n_row rows in the form of weight->act */
    size_t n_row;       /* may be 0 */
    /* set by the run */
    uint32_t task_begin, n_chunk, group_per_task;
    size_t chunk, k_block;
} llrti_linear_item;

/* Products of any weights and inputs, computed in one parallel loop. */
typedef struct llrti_linear_batch {
    llrti_linear_item *item;
    uint32_t n_item;
    uint32_t reserved;
    void *scratch; /* as the job's, and the rest too */
    int (*poll_cancel)(void *ctx);
    void *poll_ctx;
} llrti_linear_batch;

/* As llrti_linear_run. A product's result does not depend on the others. */
llrt_status llrti_linear_run_batch(const llrt_host *host, const llrti_linear_batch *batch);

/* Computes the job. LLRT_OK, or LLRT_ERR_CANCELLED (out is undefined then). Calls host->parallel_for, so not from inside one. */
llrt_status llrti_linear_run(const llrt_host *host, const llrti_linear_job *job);

#endif
