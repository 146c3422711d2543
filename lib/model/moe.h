/* SPDX-License-Identifier: MIT */
/*
 * The feed-forward part of mixtures of experts: a router, experts whose weights are stacked or
 * apart, and perhaps experts that every token takes. A family reads it (llrti_moe_read), changes
 * what is different about it, and has it emitted as the feed-forward part of a decoder's layers.
 *
 *   y = experts( x, router(x) )
 *       [ + down( act( gate x ) * up x ) [ * sigmoid( shared_router x ) ] ]
 */
#ifndef LLRTI_MOE_H
#define LLRTI_MOE_H

#include "decoder.h"

/** Its tensors. GGUF names are the same in all families. */
typedef enum llrti_moe_part {
    LLRTI_MOE_ROUTER,
    LLRTI_MOE_GATE,
    LLRTI_MOE_UP,
    LLRTI_MOE_DOWN,
    LLRTI_MOE_GATE_UP,      /* one tensor: of each expert the gate's rows, then up's */
    LLRTI_MOE_DOWN_STACKED, /* down's name beside GATE_UP */
    LLRTI_MOE_CHOICE_BIAS,
    LLRTI_MOE_SHARED_GATE,
    LLRTI_MOE_SHARED_UP,
    LLRTI_MOE_SHARED_DOWN,
    LLRTI_MOE_SHARED_ROUTER,
    LLRTI_MOE_COUNT
} llrti_moe_part;

typedef struct llrti_moe {
    uint32_t d_model, d_ff, n_expert;
    uint32_t shared_d_ff;   /* 0: no shared experts */
    llrti_experts how;      /* its weights are bound layer by layer */
    bool has_choice_bias;   /* a number per expert that counts for choosing only */
    bool has_shared_router; /* what the shared expert gives is multiplied by a sigmoid */
    llrti_name name[LLRTI_MOE_COUNT];
    const uint8_t *is_dense; /* (n_layer) 1: the layer has the decoder's own feed-forward part */
} llrti_moe;

/** What a family's configuration class falls back to. */
typedef struct llrti_moe_defaults {
    uint32_t n_expert, n_used; /* where config.json doesn't say; n_used 0: it must */
    bool is_optional;          /* a file may say that there are no experts, or nothing */
    uint32_t d_ff;             /* 0: config.json has no width of experts but the decoder's */
    llrt_router router;
    bool is_normalized, is_gguf_normalized;
    double scale; /* 0: 1 */
} llrti_moe_defaults;

/**
 * Reads numbers and router options and checks them against each other; names are those of Qwen's
 * safetensors files. Where experts are optional and there are none, n_expert is 0.
 */
void llrti_moe_read(llrti_builder *b, const llrti_decoder *d, const llrti_moe_defaults *defaults,
                    llrti_moe *moe);
/** Notes for GGUF files what their defaults leave to the family: router and normalising. */
void llrti_moe_note(llrti_builder *b, const llrti_moe *moe);
/** Reads groups of experts; call it before emitting. n_group 0 in the file: none. */
void llrti_moe_read_groups(llrti_builder *b, llrti_moe *moe, uint32_t n_group, uint32_t n_used);

/** Mixtral's, with its names, and attached; a GGUF's Llama need not have experts. */
void llrti_moe_read_mixtral(llrti_builder *b, llrti_decoder *d, llrti_moe *moe);

/** Makes it the feed-forward part of the decoder's layers, if there are experts. */
void llrti_moe_attach(const llrti_moe *moe, llrti_decoder *d);
/** Leaves to the decoder what Qwen's config.json says: layers listed, all but every n-th. */
void llrti_moe_read_dense(llrti_builder *b, const llrti_decoder *d, llrti_moe *moe);
/** Leaves the first n layers to the decoder. */
void llrti_moe_set_dense(llrti_builder *b, const llrti_decoder *d, llrti_moe *moe, uint32_t n);

/** What the experts add for x, which is normalised already. */
uint32_t llrti_moe_feed(llrti_builder *b, const llrti_moe *moe, uint32_t x);

#endif
