/* SPDX-License-Identifier: MIT */
/*
 * A model as data: hyper-parameters, weights by name, KV layers and the operator program. Built
 * from a llrti_model_file by the family that its architecture names; no weight is read here.
 *
 * A family is one file: a table of the names its architecture goes by, and a function that reads
 * the hyper-parameters, binds every weight it needs (checking presence, type and shape) and emits
 * operators through builder.h. Everything is allocated from the llrti_mem given (class HOST) and
 * immutable afterwards.
 */
#ifndef LLRTI_MODEL_H
#define LLRTI_MODEL_H

#include <llrt/backend.h>

#include "model_file.h"

/** A weight of the model: what the backend is told, and where its bytes are. */
typedef struct llrti_model_weight {
    llrt_tensor_desc desc;      /* as the backend sees it: dims after transposition */
    const llrti_tensor *tensor; /* in the file; borrowed from the model file */
    /* The file has d_in rows of d_out elements (dim[0] there is d_out), as GPT-2 checkpoints do. */
    bool is_transposed;
} llrti_model_weight;

typedef struct llrti_model {
    llrti_mem *mem;
    const char *architecture; /* the family's name for it, such as "llama" */
    const char *name;         /* from the metadata, or "" */
    uint32_t n_layer, n_head, n_kv_head, head_dim, d_model, d_ff, n_vocab;
    uint32_t n_ctx_train; /* 0 when the file does not say */
    uint32_t window;    /* sliding window of its attention layers, 0: none, or not in all of them */
    bool can_generate;  /* has logits */
    uint32_t n_ctx;     /* the context it was built for */
    uint32_t n_ctx_max; /* positions that exist at most (learned ones); UINT32_MAX: no such limit */
    uint32_t n_unused;  /* tensors of the file that nothing uses */
    const char *unused; /* the first of them, borrowed from the file; NULL: none */
    uint32_t n_weight, n_kv;
    const llrti_model_weight *weight;
    const llrt_kv_desc *kv;
    const llrt_program *program; /* the whole model: input tokens, outputs below */
    uint32_t logits;             /* value: (out rows, n_vocab) */
    uint32_t hidden; /* value: (out rows, d_model) after the last norm; both are program outputs */
} llrti_model;

/**
 * Builds the model for a context of n_ctx tokens per session (0: the smaller of n_ctx_train and
 * 8192; length-dependent rope scalings are resolved with it). `file` is retained. Errors name
 * file and field: unknown architecture (the text lists the known ones), missing or mis-shaped
 * tensors, hyper-parameters that are missing, NaN, zero, too large or contradictory.
 */
llrt_status llrti_model_create(llrti_mem *mem, const llrti_model_file *file, uint32_t n_ctx,
                               llrti_model **out, llrt_error *err);
void llrti_model_free(llrti_model *model); /* NULL is fine */

/**
 * One stage of a model that is cut over several devices: a program over its own weights, kv slots
 * and values.
 */
typedef struct llrti_stage {
    /* Inputs and outputs: what crosses the cuts; the last stage's outputs are the model's. */
    llrt_program program;
    uint32_t n_weight, n_kv;
    const uint32_t *weight; /* (n_weight) the model's weights; ops index this list's positions */
    const llrt_tensor_desc *tensor; /* (n_weight) */
    const llrt_kv_desc *kv;         /* (n_kv) */
    const uint32_t *kv_index;       /* (n_kv) index into the model's kv list */
    uint32_t logits, hidden;        /* values of the last stage, LLRT_NONE in others */
} llrti_stage;

/**
 * Cuts the program after given layers: stage i runs layers [layer_end[i-1], layer_end[i]);
 * layer_end[n-1] must be n_layer. What comes before the first layer belongs to the first stage,
 * what comes after the last to the last. The inputs of a stage are the outputs of the stage
 * before, in the same order. With n_stage 1 the stage is the whole model. Names and rope
 * frequencies are borrowed from the model. A weight used in several stages (a tied embedding) is
 * in each.
 */
llrt_status llrti_model_cut(llrti_mem *mem, const llrti_model *model, uint32_t n_stage,
                            const uint32_t *layer_end, llrti_stage **stages, llrt_error *err);
void llrti_stages_free(llrti_mem *mem, llrti_stage *stages, uint32_t n_stage);

/** Names of all architectures known, separated by ", ". */
const char *llrti_model_known(void);

#endif
