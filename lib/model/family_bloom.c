/* SPDX-License-Identifier: MIT */
/*
 * BLOOM: ALiBi in place of positions, a normalised embedding, layer norms, biases, q, k and v of
 * each head together (GGUF files: all of q, then k, then v).
 */
#include "decoder.h"
#include "families.h"

void llrti_family_bloom(llrti_builder *b)
{
    static const char *const names[LLRTI_DECODER_COUNT] = {
        [LLRTI_DECODER_EMBED] = "word_embeddings",
        [LLRTI_DECODER_EMBED_NORM] = "word_embeddings_layernorm",
        [LLRTI_DECODER_NORM] = "ln_f",
        [LLRTI_DECODER_ATTN_NORM] = "h.#.input_layernorm",
        [LLRTI_DECODER_QKV] = "h.#.self_attention.query_key_value",
        [LLRTI_DECODER_ATTN_OUT] = "h.#.self_attention.dense",
        [LLRTI_DECODER_MLP_NORM] = "h.#.post_attention_layernorm",
        [LLRTI_DECODER_UP] = "h.#.mlp.dense_h_to_4h",
        [LLRTI_DECODER_DOWN] = "h.#.mlp.dense_4h_to_h",
    };
    static const llrti_hparam post_norm = {NULL, "apply_residual_connection_post_layernorm", 0, 0};
    static const llrti_decoder_defaults defaults = {.has_no_rope = true,
                                                    .is_layer_norm = true,
                                                    .norm_eps = 1e-5,
                                                    .act = "gelu_pytorch_tanh",
                                                    .ff_factor = 4};
    llrti_decoder d;
    b->hf_prefix = "transformer.";
    llrti_decoder_read_as(b, &d, &defaults);
    llrti_decoder_refuse_unless(b, &post_norm, false,
                                "residual streams of normalised values are not supported");
    if (!llrti_build_ok(b)) return;
    llrti_decoder_rename(&d, names);
    d.is_tied = d.has_embed_norm = true;
    d.has_gate = false;
    d.qkv = b->hp.is_gguf ? LLRTI_QKV_JOINED : LLRTI_QKV_GROUPED;
    d.qkv_bias = d.out_bias = d.mlp_bias = LLRTI_BIAS_REQUIRED;
    d.slope = llrti_decoder_alibi(b, d.n_head);
    llrti_decoder_emit(b, &d);
}
