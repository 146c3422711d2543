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
 * A tensor's name without ".weight" or ".bias", for both kinds of file; '#' stands for the layer.
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
    LLRTI_WEIGHT_PLAIN = 4 /* no ".weight" or ".bias" is added to the name */
};

typedef struct llrti_builder {
    llrti_hparams hp; /* with the sticky status */
    llrti_mem *mem;
    llrti_arena *arena;    /* of the model */
    llrti_model *model;    /* sizes of it are filled in by the family */
    const char *hf_prefix; /* "" unless the family sets it */
    uint32_t n_ctx;        /* the context the model is built for */
    uint32_t n_ctx_max;    /* families with learned positions lower it; UINT32_MAX */
    uint32_t layer;        /* layer that operators and '#' belong to; set by llrti_build_layer */
    LLRTI_VEC(llrti_model_weight) weight;
    LLRTI_VEC(llrt_kv_desc) kv;
    LLRTI_VEC(llrt_value) value;
    LLRTI_VEC(llrt_op) op;
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
/** Rows of a matrix bound before (dim[1]); 1 after a failure. */
uint32_t llrti_build_rows_of(const llrti_builder *b, uint32_t weight);

/* ---- Operators: each returns its output value ---- */

uint32_t llrti_build_embed(llrti_builder *b, uint32_t weight, float factor);
uint32_t llrti_build_position(llrti_builder *b, uint32_t x, uint32_t weight, int32_t offset);
uint32_t llrti_build_gather(llrti_builder *b, uint32_t x);
/** n_head * width elements of each row of x, from `begin` on. */
uint32_t llrti_build_slice(llrti_builder *b, uint32_t x, uint32_t begin, uint32_t n_head,
                           uint32_t width);
uint32_t llrti_build_concat(llrti_builder *b, const uint32_t *x, uint32_t n);
uint32_t llrti_build_add(llrti_builder *b, uint32_t x, uint32_t y);
uint32_t llrti_build_mul(llrti_builder *b, uint32_t x, uint32_t y);
uint32_t llrti_build_sigmoid_gate(llrti_builder *b, uint32_t x, uint32_t gate);
uint32_t llrti_build_scale(llrti_builder *b, uint32_t x, float factor);
uint32_t llrti_build_soft_cap(llrti_builder *b, uint32_t x, float cap);
uint32_t llrti_build_rms_norm(llrti_builder *b, uint32_t x, uint32_t weight, float eps,
                              float weight_offset);
uint32_t llrti_build_layer_norm(llrti_builder *b, uint32_t x, uint32_t weight, uint32_t bias,
                                float eps);
/** Output (n_head, width); the weight is bound with width(x) x (n_head * width). */
uint32_t llrti_build_linear(llrti_builder *b, uint32_t x, uint32_t weight, uint32_t bias,
                            uint32_t n_head, uint32_t width);
uint32_t llrti_build_rope(llrti_builder *b, uint32_t x, const llrti_rope *rope);

typedef struct llrti_attention {
    float scale;     /* 0: 1 / sqrt(width of a key) */
    float soft_cap;  /* 0: none */
    uint32_t window; /* 0: none */
} llrti_attention;

/** q (n_head), k and v (n_kv_head): appends a kv slot of this layer. */
uint32_t llrti_build_attention(llrti_builder *b, uint32_t q, uint32_t k, uint32_t v,
                               const llrti_attention *how);
uint32_t llrti_build_glu(llrti_builder *b, uint32_t gate, uint32_t up, llrt_activation act);
uint32_t llrti_build_activate(llrti_builder *b, uint32_t x, llrt_activation act);
/** The logits; with `hidden` (the value that was multiplied) they become the program's outputs. */
uint32_t llrti_build_head(llrti_builder *b, uint32_t hidden, uint32_t weight, uint32_t bias);

/** A value's elements per row. 0 after a failure. */
uint32_t llrti_build_width(const llrti_builder *b, uint32_t value);

#endif
