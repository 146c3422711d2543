/* SPDX-License-Identifier: MIT */
/*
 * What a family builds a model with: weights by name in either kind of file, and operators over
 * values.
 *
 * A value is an index, handed on from operator to operator. Every call checks the shapes it is
 * given; failures are sticky (b->hp.status): after the first one every call does nothing and
 * returns LLRT_NONE, so a family is straight-line code without error handling and the caller
 * looks once. A weight that is missing, of an unusable type or of another shape is
 * LLRT_ERR_FORMAT and names the tensor as the file should have it; operators that don't fit each
 * other are a defect of the family (LLRT_ERR_INTERNAL).
 *
 * The builder belongs to llrti_model_create; what it collects becomes the model. One thread.
 */
#ifndef LLRTI_BUILDER_H
#define LLRTI_BUILDER_H

#include "arena.h"
#include "hparams.h"
#include "map.h"
#include "model.h"
#include "rope.h"

/**
 * A tensor's name without ".weight" or ".bias", for both kinds of file; '#' stands for the layer,
 * '@' for the number of an expert whose tensors are apart (llrti_build_part and its like).
 * Names of safetensors files are given without the prefix that b->hf_prefix holds ("model.");
 * both forms are found;
 * one that begins with '/' never has the prefix. NULL: this kind of file never has it.
 */
typedef struct llrti_name {
    const char *gguf, *hf;
} llrti_name;

typedef uint32_t llrti_weight_flags;
enum {
    LLRTI_WEIGHT_OPTIONAL = 1, /* missing is fine: LLRT_NONE comes back */
    LLRTI_WEIGHT_HF_IN_OUT =
        2, /* safetensors files hold this matrix as (d_in rows of d_out), GPT-2's "Conv1D" */
    LLRTI_WEIGHT_PLAIN = 4,      /* no ".weight" or ".bias" is added to the name */
    LLRTI_WEIGHT_TRANSPOSED = 8, /* (d_in rows of d_out) in either kind of file */
    LLRTI_WEIGHT_SQUEEZED = 16,  /* dimensions of 1 in the file don't count */
    LLRTI_WEIGHT_FLAT = 32,      /* a vector may be several rows in the file */
    LLRTI_WEIGHT_AS_MATRIX = 64  /* of llrti_build_part: slices become rows of one matrix */
};

/**
 * What is taken of a tensor (or of several, with '@' in the name) for a weight of several experts
 * or heads: n slices of n_row file rows of n_col elements each, one after the other. Of each slice
 * d_out rows are taken, from `begin` on every step-th, or columns when transposed; their elements
 * are d_in columns, or the first d_in rows.
 */
typedef struct llrti_part {
    uint32_t n, d_in, d_out;
    uint32_t begin, step; /* step 1: neighbours */
    uint32_t n_row, n_col;
} llrti_part;

typedef struct llrti_builder {
    llrti_hparams hp; /* with the sticky status */
    llrti_mem *mem;
    llrti_arena *arena;    /* of the model */
    llrti_model *model;    /* sizes of it are filled in by the family */
    const char *hf_prefix; /* "" unless the family sets it */
    /*
     * What GGUF files call this architecture, where that is neither its own name nor that of a
     * GGUF architecture with the same function; else NULL.
     */
    const char *gguf_architecture;
    uint32_t n_ctx;     /* the context the model is built for */
    uint32_t n_ctx_max; /* families with learned positions lower it; UINT32_MAX */
    uint32_t layer;     /* layer that operators and '#' belong to; set by llrti_build_layer */
    uint32_t n_tap;     /* layers whose output the model is to give */
    const uint32_t *tap_layer;
    uint32_t *tap; /* (n_tap) output of each, LLRT_NONE while unknown */
    LLRTI_VEC(llrti_model_weight) weight;
    LLRTI_VEC(llrt_kv_desc) kv;
    LLRTI_VEC(llrt_state_desc) state;
    LLRTI_VEC(llrt_value) value;
    LLRTI_VEC(llrt_op) op;
    size_t n_embed_op; /* operators of the program that ends at the hidden states */
    llrti_map by_name; /* file name of a tensor: index into weight */
} llrti_builder;

/** A family: the names it goes by, and the function that fills the model. */
typedef struct llrti_family {
    const char *name; /* as in general.architecture, or model_type when is_hf */
    bool is_gguf, is_hf;
    void (*build)(llrti_builder *b);
} llrti_family;

/** True while nothing has failed. */
static inline bool llrti_build_ok(const llrti_builder *b)
{
    return b->hp.status >= 0;
}

/** Everything from here on belongs to `layer`; what comes after the last layer stays with it. */
void llrti_build_layer(llrti_builder *b, uint32_t layer);

/** A failure that names a tensor or field. */
void llrti_build_fail(llrti_builder *b, llrt_status status, const char *field, const char *format,
                      ...) LLRTI_PRINTF(4, 5);

/* ---- Weights: an index, or LLRT_NONE ---- */

/** The file has "NAME.weight" (or ".bias"). */
bool llrti_build_has(llrti_builder *b, const llrti_name *name, const char *suffix);
/** "NAME.weight", (d_in x d_out); d_out 0: as the file has it. */
uint32_t llrti_build_matrix(llrti_builder *b, const llrti_name *name, uint32_t d_in, uint32_t d_out,
                            llrti_weight_flags flags);
/** "NAME" + suffix (".weight" or ".bias"), n values of type F32, F16 or BF16. */
uint32_t llrti_build_vector(llrti_builder *b, const llrti_name *name, const char *suffix,
                            uint32_t n, llrti_weight_flags flags);
/**
 * A weight of n experts or heads, each (d_in x d_out): (d_in x d_out x n), or with AS_MATRIX
 * (d_in x n * d_out). Weights that are turned round, n separate tensors, or every second row.
 */
uint32_t llrti_build_part(llrti_builder *b, const llrti_name *name, const llrti_part *part,
                          llrti_weight_flags flags);
/** The usual case: everything is taken. */
uint32_t llrti_build_stack(llrti_builder *b, const llrti_name *name, uint32_t n, uint32_t d_in,
                           uint32_t d_out, llrti_weight_flags flags);
/**
 * A vector of d_out elements for each of n experts, (d_out x n), from "NAME.bias": rows of n_col
 * elements, of which those at begin + i * step are taken. d_in and n_row don't count.
 */
uint32_t llrti_build_biases(llrti_builder *b, const llrti_name *name, const llrti_part *part,
                            llrti_weight_flags flags);
/**
 * llrti_build_part of MXFP4 numbers in two U8 tensors: blocks (16 x d_in / 32 x n_row x n), two
 * values in a byte, neighbours, the first in the low half; and a scale for each block (d_in / 32 x
 * n_row x n). The names are complete.
 */
uint32_t llrti_build_mxfp4(llrti_builder *b, const llrti_name *blocks, const llrti_name *scales,
                           const llrti_part *part);
/**
 * States how the two kinds of file differ about a matrix bound before, for adapters of the other
 * kind: n_permuted_head and is_rearranged of llrti_model_weight.
 */
void llrti_build_arranged(llrti_builder *b, uint32_t weight, uint32_t n_permuted_head,
                          bool is_rearranged);
/**
 * States how a GGUF holds a weight of a folder bound before. Copied, its lists are not:
 * llrti_build_order makes them. Without facts to note (b->hp.facts) both do nothing.
 */
void llrti_build_gguf_form(llrti_builder *b, uint32_t weight, const llrti_gguf_form *form);
/** A list of n places to be filled in, in the arena; NULL when none is needed, or after a failure. */
uint32_t *llrti_build_order(llrti_builder *b, uint32_t n);
/** Rows of a matrix bound before (dim[1]); 1 after a failure. */
uint32_t llrti_build_rows_of(const llrti_builder *b, uint32_t weight);

/* ---- Operators: each returns its output value ---- */

uint32_t llrti_build_embed(llrti_builder *b, uint32_t weight, float factor);
uint32_t llrti_build_position(llrti_builder *b, uint32_t x, uint32_t weight, int32_t offset);
/** x + the row of its token's type; `weight` (d_model x n_type). Sets model->n_token_type. */
uint32_t llrti_build_token_type(llrti_builder *b, uint32_t x, uint32_t weight);
uint32_t llrti_build_gather(llrti_builder *b, uint32_t x);
/** n_head * width elements of each row of x, from `begin` on. */
uint32_t llrti_build_slice(llrti_builder *b, uint32_t x, uint32_t begin, uint32_t n_head,
                           uint32_t width);
/** The rows of 1 to 6 values side by side, or of each head, of which all have as many. */
uint32_t llrti_build_concat(llrti_builder *b, const uint32_t *x, uint32_t n);
uint32_t llrti_build_concat_heads(llrti_builder *b, const uint32_t *x, uint32_t n);
uint32_t llrti_build_add(llrti_builder *b, uint32_t x, uint32_t y);
uint32_t llrti_build_mul(llrti_builder *b, uint32_t x, uint32_t y);
uint32_t llrti_build_sigmoid_gate(llrti_builder *b, uint32_t x, uint32_t gate);
uint32_t llrti_build_scale(llrti_builder *b, uint32_t x, float factor);
uint32_t llrti_build_soft_cap(llrti_builder *b, uint32_t x, float cap);
/** Weights of norms: (width of a head), or every head has its own, (n_head * width). */
uint32_t llrti_build_rms_norm(llrti_builder *b, uint32_t x, uint32_t weight, float eps,
                              float weight_offset);
uint32_t llrti_build_layer_norm(llrti_builder *b, uint32_t x, uint32_t weight, uint32_t bias,
                                float eps);
/** Output (n_head, width); the weight is bound with width(x) x (n_head * width). */
uint32_t llrti_build_linear(llrti_builder *b, uint32_t x, uint32_t weight, uint32_t bias,
                            uint32_t n_head, uint32_t width);
uint32_t llrti_build_rope(llrti_builder *b, uint32_t x, const llrti_rope *rope);

/** What is 0 is as in plain causal attention. */
typedef struct llrti_attention {
    float scale;     /* 0: 1 / sqrt(width of a key) */
    float soft_cap;  /* 0: none */
    uint32_t window; /* 0: none */
    llrt_mask mask;
    const float *slope; /* (n_head) ALiBi, in the arena; NULL: none */
    bool has_sinks;
    uint32_t sinks; /* weight: (n_head) */
    uint32_t v_dim; /* without v: its first v_dim elements of k */
} llrti_attention;

/**
 * q (n_head), k and v (n_kv_head): appends a kv slot of this layer. v LLRT_NONE: v is in k. The
 * slot is of LLRT_KV_GROUP_WINDOW when the attention is causal and has a window.
 */
uint32_t llrti_build_attention(llrti_builder *b, uint32_t q, uint32_t k, uint32_t v,
                               const llrti_attention *how);
uint32_t llrti_build_glu(llrti_builder *b, uint32_t gate, uint32_t up, llrt_activation act);
/** With a limit on gate and up and an offset to up; 0: none. */
uint32_t llrti_build_glu_limited(llrti_builder *b, uint32_t gate, uint32_t up, llrt_activation act,
                                 float limit, float offset);
uint32_t llrti_build_activate(llrti_builder *b, uint32_t x, llrt_activation act);
/** x (n_head, d_in) times each head's own matrix; weight (d_in x d_out x n_head). */
uint32_t llrti_build_head_linear(llrti_builder *b, uint32_t x, uint32_t weight);

/** What LLRT_OP_EXPERTS needs; LLRT_NONE for weights that aren't there. */
typedef struct llrti_experts {
    uint32_t gate, up, down, gate_bias, up_bias, down_bias, choice_bias;
    uint32_t n_used;
    llrt_router router;
    uint32_t n_group, n_group_used; /* 0: no groups */
    bool is_group_sum, is_normalized;
    float scale; /* 0: 1 */
    llrt_activation act;
    float limit, offset;
} llrti_experts;

/** x (d_in), logits (n_expert): (d_out). */
uint32_t llrti_build_experts(llrti_builder *b, uint32_t x, uint32_t logits,
                             const llrti_experts *how);
/** Appends a state of this layer. weight (K x channels), bias (channels) or LLRT_NONE. */
uint32_t llrti_build_short_conv(llrti_builder *b, uint32_t x, uint32_t weight, uint32_t bias);

/** Of both scans; inputs as LLRT_OP_GATED_DELTA and LLRT_OP_SSM_SCAN name them. */
typedef struct llrti_scan {
    uint32_t in[5];         /* q, k, v, a, beta; or x, dt, b, c */
    uint32_t a, d, dt_bias; /* weights (n_head); d of the state-space scan only */
    bool is_log_a, is_tiled;
    float dt_min, dt_max;
} llrti_scan;

/** Both append a state of this layer. */
uint32_t llrti_build_gated_delta(llrti_builder *b, const llrti_scan *scan);
uint32_t llrti_build_ssm_scan(llrti_builder *b, const llrti_scan *scan);

/* ---- The program's ends ---- */

/** x is what the layer at work leaves in the residual stream; call it at the end of each layer. */
void llrti_build_layer_output(llrti_builder *b, uint32_t x);
/**
 * The model's hidden states (after gathering): an output. Called by llrti_build_head; a family
 * without a head calls it itself. What comes after it is not in the program that ends there.
 */
void llrti_build_hidden(llrti_builder *b, uint32_t hidden);
/** The logits; with `hidden` (the value that was multiplied) they become the program's outputs. */
uint32_t llrti_build_head(llrti_builder *b, uint32_t hidden, uint32_t weight, uint32_t bias);
/** The logits are this value instead, made from the head's (scaled, capped). */
void llrti_build_logits(llrti_builder *b, uint32_t logits);
/** The score of a cross-encoder: an output. */
void llrti_build_score(llrti_builder *b, uint32_t score);

/** A value's elements per row. 0 after a failure. */
uint32_t llrti_build_width(const llrti_builder *b, uint32_t value);

#endif
