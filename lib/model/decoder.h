/* SPDX-License-Identifier: MIT */
/*
 * The decoder that most families share: embedding, then layers of pre-normed attention with
 * rotary positions and a pre-normed gated feed-forward part, then norm and head, with the tensor
 * names that GGUF and Hugging Face use for it. A family reads the sizes, changes what is
 * different about it, and emits all of it or its parts.
 */
#ifndef LLRTI_DECODER_H
#define LLRTI_DECODER_H

#include "builder.h"

typedef enum llrti_bias {
    LLRTI_BIAS_NONE,
    LLRTI_BIAS_REQUIRED,
    LLRTI_BIAS_PRESENT /* used when the file has it */
} llrti_bias;

typedef struct llrti_decoder {
    uint32_t n_layer, d_model, n_head, n_kv_head, head_dim, v_dim, d_ff;
    float norm_eps;
    llrti_bias qkv_bias, out_bias, mlp_bias;
    bool has_qk_norm; /* an rms norm over each head of q and k, before the rotation */
    llrt_activation act;
    llrti_rope rope;
    float attention_scale; /* 0: 1 / sqrt(head_dim) */
    uint32_t *window;      /* (n_layer) window of each layer's attention, 0: none; in the arena */
} llrti_decoder;

/**
 * Reads the sizes, epsilon, activation and rope and refuses what contradicts itself.
 * `head_dim_default` is for files that don't say: 0 means d_model / n_head. Biases are off,
 * windows are 0.
 */
void llrti_decoder_read(llrti_builder *b, llrti_decoder *d, uint32_t head_dim_default,
                        llrt_rope_pairs gguf_pairs);

/**
 * The window the file states: 0 for none, which config.json says with null; left out there it is
 * 4096.
 */
uint32_t llrti_decoder_window(llrti_builder *b);
/** Sets every layer's window. */
void llrti_decoder_set_window(llrti_builder *b, llrti_decoder *d, uint32_t window);
/**
 * Layers named "full_attention" in config.json's layer_types lose their window; other names are
 * refused.
 */
void llrti_decoder_read_layer_types(llrti_builder *b, llrti_decoder *d);

/** The whole program. */
void llrti_decoder_emit(llrti_builder *b, const llrti_decoder *d);

/*
 * Its parts, for families that arrange them otherwise. x is the residual stream; each returns what
 * to add to it.
 */
uint32_t llrti_decoder_attention(llrti_builder *b, const llrti_decoder *d, uint32_t x);
uint32_t llrti_decoder_mlp(llrti_builder *b, const llrti_decoder *d, uint32_t x);
/** Token embedding; sets model->n_vocab. */
uint32_t llrti_decoder_embed(llrti_builder *b, uint32_t d_model);
/**
 * Gathers the wanted rows, normalises and multiplies with the head (or the embedding when tied).
 */
void llrti_decoder_finish(llrti_builder *b, const llrti_decoder *d, uint32_t x);
/** The head's weight: its own, or the embedding's when the file ties the two. */
uint32_t llrti_decoder_head_weight(llrti_builder *b, uint32_t d_model);

/** The activation config.json names; a failure when it is unknown. */
llrt_activation llrti_decoder_activation(llrti_builder *b, const char *otherwise);

/**
 * Refuses options that change the arithmetic and are not built, such as a quantisation of the
 * checkpoint or experts.
 */
void llrti_decoder_refuse(llrti_builder *b);

#endif
