/* SPDX-License-Identifier: MIT */
/*
 * GPT-NeoX (Pythia) and GPT-J: layer norms, biases, part of a head rotated, halves of a layer in
 * parallel. NeoX has a norm for either half, q, k and v of each head together (GGUF files: all of
 * q, then k, then v) and rotates halves; GPT-J has one norm, separate matrices, and rotates
 * neighbours.
 */
#include "decoder.h"
#include "families.h"

void llrti_family_gptneox(llrti_builder *b)
{
    static const char *const names[LLRTI_DECODER_COUNT] = {
        [LLRTI_DECODER_EMBED] = "embed_in",
        [LLRTI_DECODER_NORM] = "final_layer_norm",
        [LLRTI_DECODER_HEAD] = "/embed_out",
        [LLRTI_DECODER_QKV] = "layers.#.attention.query_key_value",
        [LLRTI_DECODER_ATTN_OUT] = "layers.#.attention.dense",
        [LLRTI_DECODER_UP] = "layers.#.mlp.dense_h_to_4h",
        [LLRTI_DECODER_DOWN] = "layers.#.mlp.dense_4h_to_h",
    };
    static const llrti_hparam parallel = {"use_parallel_residual", "use_parallel_residual", 0, 0};
    static const llrti_decoder_defaults defaults = {.gguf_pairs = LLRT_ROPE_HALVES,
                                                    .hf_pairs = LLRT_ROPE_HALVES,
                                                    .rope_part = 0.25,
                                                    .is_layer_norm = true,
                                                    .norm_eps = 1e-5,
                                                    .act = "gelu"};
    llrti_decoder d;
    b->hf_prefix = "gpt_neox.";
    llrti_decoder_read_as(b, &d, &defaults);
    llrti_decoder_rename(&d, names);
    d.is_parallel = llrti_hparams_bool_or(&b->hp, &parallel, true);
    llrti_facts_bool(b->hp.facts, parallel.gguf, d.is_parallel);
    d.has_gate = false;
    d.qkv = b->hp.is_gguf ? LLRTI_QKV_JOINED : LLRTI_QKV_GROUPED;
    d.mlp_bias = LLRTI_BIAS_REQUIRED;
    if (llrti_hparams_bool_or(&b->hp, LLRTI_HP(ATTENTION_BIAS), true))
        d.qkv_bias = d.out_bias = LLRTI_BIAS_REQUIRED;
    llrti_decoder_emit(b, &d);
}

void llrti_family_gptj(llrti_builder *b)
{
    static const char *const names[LLRTI_DECODER_COUNT] = {
        [LLRTI_DECODER_EMBED] = "wte",
        [LLRTI_DECODER_NORM] = "ln_f",
        [LLRTI_DECODER_ATTN_NORM] = "h.#.ln_1",
        [LLRTI_DECODER_Q] = "h.#.attn.q_proj",
        [LLRTI_DECODER_K] = "h.#.attn.k_proj",
        [LLRTI_DECODER_V] = "h.#.attn.v_proj",
        [LLRTI_DECODER_ATTN_OUT] = "h.#.attn.out_proj",
        [LLRTI_DECODER_UP] = "h.#.mlp.fc_in",
        [LLRTI_DECODER_DOWN] = "h.#.mlp.fc_out",
    };
    static const llrti_decoder_defaults defaults = {.gguf_pairs = LLRT_ROPE_ADJACENT,
                                                    .hf_pairs = LLRT_ROPE_ADJACENT,
                                                    .is_layer_norm = true,
                                                    .norm_eps = 1e-5,
                                                    .act = "gelu_new",
                                                    .ff_factor = 4};
    llrti_decoder d;
    b->hf_prefix = "transformer.";
    llrti_decoder_read_as(b, &d, &defaults);
    llrti_decoder_rename(&d, names);
    d.is_parallel = true;
    d.has_mlp_norm = d.has_gate = false;
    d.mlp_bias = d.head_bias = LLRTI_BIAS_REQUIRED;
    llrti_decoder_emit(b, &d);
}
