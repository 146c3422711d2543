/* SPDX-License-Identifier: MIT */
/*
 * Runs a model file on a backend table, without an engine: for tests that compare logits.
 *
 * Opens the file, builds the model, cuts it into stages, streams the weights into the backend
 * (turning round what the file holds transposed) and runs one sequence in chunks. Everything is
 * one thread, or `n_worker` of the library's own. A run_model is used by one thread; it owns all
 * it opened.
 */
#ifndef RUN_MODEL_H
#define RUN_MODEL_H

#include <llrt/backend.h>

#include "model.h"
#include "workers.h"

#define RUN_STAGE_MAX 8

typedef struct run_options {
    const char *path;
    const llrt_source *source; /* NULL: the file system */
    const llrt_backend *backend;
    const char *isa; /* NULL: the best */
    llrt_precision precision;
    llrt_type kv_type;
    uint32_t n_ctx;                 /* 0: the model's */
    uint32_t n_stage;               /* 0: 1 */
    uint32_t n_worker;              /* 0: 1 */
    uint32_t device[RUN_STAGE_MAX]; /* of each stage */
} run_options;

typedef struct run_stage {
    llrti_stage *stage;
    void *model, *runtime;
} run_stage;

typedef struct run_model {
    llrti_mem mem;
    llrti_workers *workers;
    llrt_host host;
    run_options options;
    llrti_model_file *file;
    llrti_model *model;
    llrti_stage *stages;
    uint32_t n_ctx;
    uint32_t state; /* slot that holds the state of the sequence at work */
    run_stage stage[RUN_STAGE_MAX];
} run_model;

/** On failure the struct is closed already. */
llrt_status run_model_open(run_model *run, const run_options *options, llrt_error *err);

typedef struct run_text {
    const int32_t *token; /* (n_tok) */
    const uint8_t *type;  /* (n_tok) or NULL */
    uint32_t n_tok;
    bool wants_score; /* of a cross-encoder, at every position */
} run_text;

/** Numbers that a position gives: logits, or hidden states of a model without them. */
uint32_t run_model_width(const run_model *run);

/**
 * Logits (hidden states, scores) of all positions of a fresh sequence, computed in chunks of
 * `chunk` tokens.
 * @param out (n_tok, run_model_width or n_label)
 */
llrt_status run_model_run(run_model *run, const run_text *text, uint32_t chunk, float *out,
                          llrt_error *err);
llrt_status run_model_logits(run_model *run, const int32_t *token, uint32_t n_tok, uint32_t chunk,
                             float *logits, llrt_error *err);

void run_model_close(run_model *run);

#endif
