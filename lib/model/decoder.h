/* SPDX-License-Identifier: MIT */
/*
 * The decoder that most families share: embedding, then layers of attention with rotary positions
 * and a feed-forward part, then norm and head. A family reads the sizes (llrti_decoder_read), says
 * in the fields of llrti_decoder what is different about it, and emits all of it or its parts.
 *
 * As read, a decoder is a Llama: an rms norm before either half of a layer, separate q, k and v, a
 * gated feed-forward part, one rope for all layers, no biases, no windows, no factors.
 */
#ifndef LLRTI_DECODER_H
#define LLRTI_DECODER_H

#include "builder.h"

typedef enum llrti_bias {
    LLRTI_BIAS_NONE,
    LLRTI_BIAS_REQUIRED,
    LLRTI_BIAS_PRESENT /* used when the file has it */
} llrti_bias;

/** The decoder's tensors, by what they do. */
typedef enum llrti_decoder_part {
    LLRTI_DECODER_EMBED,
    LLRTI_DECODER_EMBED_NORM,
    LLRTI_DECODER_NORM, /* before the head */
    LLRTI_DECODER_HEAD,
    LLRTI_DECODER_ATTN_NORM,
    LLRTI_DECODER_QKV,
    LLRTI_DECODER_Q,
    LLRTI_DECODER_K,
    LLRTI_DECODER_V,
    LLRTI_DECODER_Q_NORM,
    LLRTI_DECODER_K_NORM,
    LLRTI_DECODER_ATTN_OUT,
    LLRTI_DECODER_ATTN_POST_NORM,
    LLRTI_DECODER_MLP_NORM,
    LLRTI_DECODER_GATE,
    LLRTI_DECODER_UP,
    LLRTI_DECODER_DOWN,
    LLRTI_DECODER_MLP_POST_NORM,
    LLRTI_DECODER_SINKS, /* complete, without a suffix */
    LLRTI_DECODER_COUNT
} llrti_decoder_part;

/** How q, k and v are stored. */
typedef enum llrti_qkv {
    LLRTI_QKV_SEPARATE,
    LLRTI_QKV_JOINED, /* one matrix: all of q, all of k, all of v */
    LLRTI_QKV_GROUPED /* one matrix: per kv head its q heads, then k, then v */
} llrti_qkv;

/** Which rotation a layer has. */
typedef enum llrti_layer_rope {
    LLRTI_LAYER_ROPE_MAIN,
    LLRTI_LAYER_ROPE_LOCAL,
    LLRTI_LAYER_ROPE_NONE
} llrti_layer_rope;

typedef struct llrti_decoder {
    uint32_t n_layer, d_model, n_head, n_kv_head, head_dim, v_dim, d_ff;
    bool has_vocab_default;
    llrti_name name[LLRTI_DECODER_COUNT];
    /* Norms. */
    bool is_layer_norm; /* layer norms in place of rms norms */
    llrti_bias norm_bias;
    float norm_eps, norm_offset; /* norm_offset is added to the weights of rms norms */
    bool has_attn_norm, has_attn_post_norm, has_mlp_norm, has_mlp_post_norm;
    bool lacks_first_norm; /* layer 0 has no norm before its attention */
    bool has_embed_norm;   /* the embedding is normalised */
    /* Norms are of sums, as in the first transformers: x = norm(x + attention(x)), mlp alike. */
    bool is_sum_normed;
    /*
     * Both halves of a layer see its input: x + attention(norm x) + mlp(norm x). Without
     * has_mlp_norm they share the norm.
     */
    bool is_parallel;
    /* Attention. */
    llrti_qkv qkv;
    /* What GGUF files do to safetensors' rows: of q and k, permute them; of q, k and v in one, not. */
    bool has_permuted_qk, has_same_qkv;
    bool is_qkv_apart; /* GGUF files have q, k and v apart where a checkpoint has them grouped */
    llrti_bias qkv_bias, out_bias;
    bool has_qk_norm;    /* q and k are normalised before the rotation: each head, or */
    bool is_qk_norm_row; /* all heads of a token together, or */
    bool is_qk_norm_own; /* each head, by weights of its own */
    bool has_sinks;      /* a score per head that takes part in the softmax */
    llrt_mask mask;
    const float *slope; /* (n_head) ALiBi; NULL: none */
    llrti_rope rope, local_rope;
    uint8_t *layer_rope; /* (n_layer) llrti_layer_rope; in the arena */
    uint32_t *window;    /* (n_layer) window of each layer's attention, 0: none; in the arena */
    float attention_scale, attention_soft_cap; /* 0: 1 / sqrt(head_dim), no cap */
    /* Feed-forward part. */
    bool has_gate;          /* act(gate) * up, else act(up) */
    bool is_gate_up_joined; /* the matrix "up" holds the gate's rows, then up's */
    llrti_bias mlp_bias;
    llrt_activation act;
    /* Another feed-forward part, given what is normalised already; NULL: this one. */
    uint32_t (*feed)(llrti_builder *b, const void *ctx, uint32_t x);
    const void *feed_ctx;
    const uint8_t *keeps_own_feed; /* (n_layer) 1: a layer does without it; NULL: none does */
    /* Factors; 0: 1. */
    float embed_scale;
    float residual_scale; /* of what either half adds to x */
    float logit_scale;
    float logit_soft_cap; /* 0: none */
    llrti_bias head_bias;
    bool is_tied; /* config.json that doesn't say: the head is the embedding */
} llrti_decoder;

/** What a family's configuration class falls back to, and what its files are like. */
typedef struct llrti_decoder_defaults {
    uint32_t head_dim;          /* where config.json doesn't say; 0: d_model / n_head */
    uint32_t n_head, n_kv_head; /* where config.json doesn't say; 0: it must, or n_head */
    bool has_vocab_default;     /* a vocab_size that config.json leaves out is the embedding's */
    llrt_rope_pairs gguf_pairs, hf_pairs;
    double rope_base; /* 0: 10000 */
    double rope_part; /* rotated part of a head; 0: all */
    bool has_no_rope;
    bool is_encoder; /* attention sees the whole text */
    bool is_layer_norm;
    double norm_eps;          /* config.json; 0: 1e-6 */
    const char *act;          /* NULL: silu */
    bool has_experts;         /* the family reads them */
    const char *quant_method; /* a quantisation of the checkpoint that it reads; NULL: none */
    llrti_rope_defaults rope; /* what else holds for the rotation: base, part and pairs are above */
    uint32_t ff_factor;       /* d_ff is this times d_model when not stated; 0: it must be */
} llrti_decoder_defaults;

/** Reads the sizes, epsilon, activation and rope and refuses what contradicts itself. */
void llrti_decoder_read_as(llrti_builder *b, llrti_decoder *d,
                           const llrti_decoder_defaults *defaults);
/** The same with the defaults of a Llama: halves are rotated in safetensors files. */
void llrti_decoder_read(llrti_builder *b, llrti_decoder *d, uint32_t head_dim_default,
                        llrt_rope_pairs gguf_pairs);

/** Other names in safetensors files; NULL leaves a part's name as it is. */
void llrti_decoder_rename(llrti_decoder *d, const char *const hf[LLRTI_DECODER_COUNT]);

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
/**
 * Windows as Qwen's files state them: only with use_sliding_window, and then from layer
 * max_window_layers on, or as layer_types says.
 */
void llrti_decoder_read_late_windows(llrti_builder *b, llrti_decoder *d);
/**
 * Windows by the file's pattern (every n-th layer has none; n is `otherwise` where it doesn't say),
 * or by layer_types when there is one. `window` is what the others have.
 */
void llrti_decoder_read_pattern(llrti_builder *b, llrti_decoder *d, uint32_t window,
                                uint32_t otherwise);

/**
 * The same from a GGUF that has a list at `key` with a flag for each layer, set where it has the
 * window. False when it has none: nothing is done.
 */
bool llrti_decoder_read_flags(llrti_builder *b, llrti_decoder *d, const llrti_hparam *key,
                              uint32_t window);

/** The tensors' common names and a Llama's arrangement, for families that read the sizes. */
void llrti_decoder_init(llrti_decoder *d);

/** The whole program. */
void llrti_decoder_emit(llrti_builder *b, const llrti_decoder *d);

/*
 * Its parts, for families that arrange them otherwise. x is the residual stream; attention and mlp
 * return what to add to it, their norms and factors included.
 */
uint32_t llrti_decoder_attention(llrti_builder *b, const llrti_decoder *d, uint32_t x);
uint32_t llrti_decoder_mlp(llrti_builder *b, const llrti_decoder *d, uint32_t x);
/** The part's norm of x, d_model wide. */
uint32_t llrti_decoder_norm(llrti_builder *b, const llrti_decoder *d, uint32_t x,
                            llrti_decoder_part part);
/** Token embedding, normalised if has_embed_norm; sets model->n_vocab. */
uint32_t llrti_decoder_embed(llrti_builder *b, const llrti_decoder *d);
/** All layers; returns the residual stream after the last. */
uint32_t llrti_decoder_layers(llrti_builder *b, const llrti_decoder *d, uint32_t x);
/**
 * Gathers the wanted rows, normalises and multiplies with the head (or the embedding when tied).
 */
void llrti_decoder_finish(llrti_builder *b, const llrti_decoder *d, uint32_t x);

/**
 * Slopes of ALiBi (Press et al. 2022, with the paper's rule for numbers of heads that are no power
 * of two), in the arena.
 */
float *llrti_decoder_alibi(llrti_builder *b, uint32_t n_head);

/** The activation config.json names; a failure when it is unknown. */
llrt_activation llrti_decoder_activation(llrti_builder *b, const char *otherwise);
/** The one that `key` names. */
llrt_activation llrti_decoder_activation_of(llrti_builder *b, const llrti_hparam *key,
                                            const char *otherwise);

/**
 * Refuses options that change the arithmetic and are not built, such as a quantisation of the
 * checkpoint or experts.
 */
void llrti_decoder_refuse(llrti_builder *b);
/** The same but for what `defaults` says that the family reads. */
void llrti_decoder_refuse_but(llrti_builder *b, const llrti_decoder_defaults *defaults);
/** Refuses a boolean option unless it is `expected`, which it is when the file doesn't say. */
void llrti_decoder_refuse_unless(llrti_builder *b, const llrti_hparam *key, bool expected,
                                 const char *what);

#endif
