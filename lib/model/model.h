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

#include "facts.h"
#include "model_file.h"

/** Programs of a model at most: the whole of it, and what ends at its hidden states. */
#define LLRTI_PROGRAM_MAX 2

/** How the hidden states of a text become one vector. */
typedef enum llrti_pooling {
    LLRTI_POOLING_NONE, /* the file does not say */
    LLRTI_POOLING_MEAN, /* of all tokens */
    LLRTI_POOLING_FIRST,
    LLRTI_POOLING_LAST,
    LLRTI_POOLING_MAX /* of each component */
} llrti_pooling;

/** How a GGUF holds a weight of a folder, where that is not as it is read from the folder. */
typedef struct llrti_gguf_form {
    /* Row i there (element i of a vector) is row row[i] of the weight; NULL: row i. */
    const uint32_t *row;
    const uint32_t *column; /* (dim[0]) the same for the elements of every row */
    uint32_t row_elements;  /* a vector is in rows of so many; 0: in one */
    bool is_negated_exp;    /* x is there as -exp(x) */
} llrti_gguf_form;

/**
 * A weight of the model: what the backend is told, and where its bytes are.
 *
 * The weight's rows come in slices of slice_rows; row r of slice i, element k of it, is
 *
 *   as it is     at file row  i * slice_step + row_begin + r * row_step,
 *                   column    col_begin + k * col_step
 *   transposed   at file row  i * slice_step + k,
 *                   column    row_begin + r * row_step
 *
 * of `tensor`, or with i = 0 of part[i] when every slice is a tensor of its own. weight.h reads
 * them. With `scales`, `tensor` holds the blocks of MXFP4 numbers as safetensors files have them:
 * a row is its blocks' 16 bytes, values 2j and 2j + 1 in byte j.
 */
typedef struct llrti_model_weight {
    llrt_tensor_desc desc;           /* as the backend sees it */
    const llrti_tensor *tensor;      /* in the file (the first of several); borrowed from it */
    const llrti_tensor *const *part; /* (n_part) tensors that are stacked; NULL: only `tensor` */
    const llrti_tensor *scales;      /* a byte for each block; NULL: none */
    /* What GGUF files call it (".weight" or ".bias" included); NULL: not, or not as one tensor. */
    const char *gguf_name;
    const char *hf_name; /* the same for safetensors files, with the prefix of a whole model */
    /*
     * Not 0: a GGUF holds the rows of each of so many heads in another order: row 2 i + j of a head
     * is row i + j * n / 2 of its n rows in a safetensors file.
     */
    uint32_t n_permuted_head;
    bool is_rearranged;          /* the two kinds of file differ in more than that */
    const llrti_gguf_form *form; /* known only when facts are noted; NULL: there is nothing to do */
    uint32_t n_part;
    bool is_transposed; /* as the matrices of GPT-2 checkpoints are */
    uint64_t slice_rows, slice_step, row_begin, row_step, col_begin, col_step;
    uint64_t row_elements; /* of a file row */
} llrti_model_weight;

typedef struct llrti_model {
    llrti_mem *mem;
    const char *architecture; /* the family's name for it, such as "llama" */
    const char *name;         /* from the metadata, or "" */
    uint32_t n_layer, n_head, n_kv_head, head_dim, d_model, d_ff, n_vocab;
    uint32_t n_ctx_train; /* 0 when the file does not say */
    uint32_t window; /* sliding window of its attention layers, 0: none, or not in all of them */
    uint32_t
        kv_window;     /* positions that slots of LLRT_KV_GROUP_WINDOW look back at most, 0: none */
    bool can_generate; /* has logits */
    bool can_embed;    /* has a program that ends at the hidden states */
    bool is_bidirectional; /* attention sees what comes after: a text is computed in one step */
    llrti_pooling pooling; /* what the model was trained with */
    uint32_t n_label;      /* width of the score, 0: none */
    uint32_t n_token_type; /* token types it knows, 0: none */
    uint32_t n_ctx;        /* the context it was built for */
    uint32_t n_ctx_max; /* positions that exist at most (learned ones); UINT32_MAX: no such limit */
    uint32_t n_unused;  /* tensors of the file that nothing uses */
    const char *unused; /* the first of them, borrowed from the file; NULL: none */
    uint32_t n_weight, n_kv, n_state, n_tap;
    const llrti_model_weight *weight;
    const llrt_kv_desc *kv;
    const llrt_state_desc *state;
    /**
     * program[0] is the whole model. One that has logits or a score also has program[1], the
     * prefix of it that ends at the hidden states; values have the same numbers in both.
     */
    uint32_t n_program;
    const llrt_program *program;
    /*
     * Values of the programs, all of LLRT_ROWS_OUT and program outputs in this order; LLRT_NONE:
     * there is none.
     */
    uint32_t logits;     /* (n_vocab); not in program[1] */
    uint32_t score;      /* (n_label) of a cross-encoder; not in program[1] */
    uint32_t hidden;     /* (d_model) after the last norm */
    const uint32_t *tap; /* (n_tap) what each layer asked for left behind (d_model) */
} llrti_model;

typedef struct llrti_model_options {
    uint32_t n_ctx; /* as llrti_model_create's */
    uint32_t n_tap; /* layers whose output is wanted beside the model's, ascending */
    const uint32_t *tap_layer;
} llrti_model_options;

/**
 * Builds the model for a context of n_ctx tokens per session (0: the smaller of n_ctx_train and
 * 8192; length-dependent rope scalings are resolved with it). `file` is retained. Errors name
 * file and field: unknown architecture (the text lists the known ones), missing or mis-shaped
 * tensors, hyper-parameters that are missing, NaN, zero, too large or contradictory.
 */
llrt_status llrti_model_create(llrti_mem *mem, const llrti_model_file *file, uint32_t n_ctx,
                               llrti_model **out, llrt_error *err);
/** The same with taps. LLRT_ERR_ARGUMENT for layers that don't exist or don't ascend. */
llrt_status llrti_model_create_tapped(llrti_mem *mem, const llrti_model_file *file,
                                      const llrti_model_options *options, llrti_model **out,
                                      llrt_error *err);
/** As llrti_model_create for a folder, noting in `facts` what a GGUF of the model would say. */
llrt_status llrti_model_describe(llrti_mem *mem, const llrti_model_file *file, llrti_facts *facts,
                                 llrti_model **out, llrt_error *err);
void llrti_model_free(llrti_model *model); /* NULL is fine */

/**
 * One stage of a model that is cut over several devices: programs over its own weights, kv slots,
 * states and values.
 */
typedef struct llrti_stage {
    /*
     * As many as the model has. Inputs and outputs: what crosses the cuts; the last stage's
     * outputs are the model's. Only in the last stage do the programs differ.
     */
    llrt_program program[LLRTI_PROGRAM_MAX];
    uint32_t n_program, n_weight, n_kv, n_state, n_tap;
    const uint32_t *weight; /* (n_weight) the model's weights; ops index this list's positions */
    const llrt_tensor_desc *tensor; /* (n_weight) */
    const llrt_kv_desc *kv;         /* (n_kv) */
    const uint32_t *kv_index;       /* (n_kv) index into the model's kv list */
    const llrt_state_desc *state;   /* (n_state) */
    const uint32_t *state_index;    /* (n_state) index into the model's state list */
    /* Values of the last stage, LLRT_NONE (and no taps) in others. */
    uint32_t logits, hidden, score;
    const uint32_t *tap; /* (n_tap) */
} llrti_stage;

/**
 * Cuts the programs after given layers: stage i runs layers [layer_end[i-1], layer_end[i]);
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
