/* SPDX-License-Identifier: MIT */
/*
 * Phi. Phi 1 and 2: layer norms, biases everywhere, both halves of a layer in parallel behind one
 * norm, part of a head rotated. Phi 3 and 4: a Llama whose q, k and v are one matrix, as gate and
 * up are, with a window, part of a head rotated, and longrope. A GGUF calls Phi 1 and 2 "phi2".
 */
#include "decoder.h"
#include "families.h"

void llrti_family_phi(llrti_builder *b)
{
    static const char *const names[LLRTI_DECODER_COUNT] = {
        [LLRTI_DECODER_NORM] = "final_layernorm",
        [LLRTI_DECODER_ATTN_OUT] = "layers.#.self_attn.dense",
        [LLRTI_DECODER_UP] = "layers.#.mlp.fc1",
        [LLRTI_DECODER_DOWN] = "layers.#.mlp.fc2",
    };
    static const llrti_hparam qk_norm = {NULL, "qk_layernorm", 0, 0};
    static const llrti_decoder_defaults defaults = {.gguf_pairs = LLRT_ROPE_HALVES,
                                                    .hf_pairs = LLRT_ROPE_HALVES,
                                                    .rope_part = 0.5,
                                                    .is_layer_norm = true,
                                                    .norm_eps = 1e-5,
                                                    .act = "gelu_new"};
    llrti_decoder d;
    b->hf_prefix = "model.";
    llrti_decoder_read_as(b, &d, &defaults);
    llrti_decoder_refuse_unless(b, &qk_norm, false,
                                "normalised queries and keys are not supported here");
    llrti_decoder_rename(&d, names);
    d.is_parallel = true;
    d.has_mlp_norm = d.has_gate = false;
    /* Older GGUF files have q, k and v in one. */
    if (b->hp.is_gguf && llrti_build_has(b, &d.name[LLRTI_DECODER_QKV], ".weight"))
        d.qkv = LLRTI_QKV_JOINED;
    d.has_same_qkv = true;
    d.qkv_bias = d.out_bias = d.mlp_bias = d.head_bias = LLRTI_BIAS_REQUIRED;
    llrti_decoder_emit(b, &d);
}

void llrti_family_phi3(llrti_builder *b)
{
    static const char *const names[LLRTI_DECODER_COUNT] = {
        [LLRTI_DECODER_UP] = "layers.#.mlp.gate_up_proj",
    };
    llrti_decoder d;
    b->hf_prefix = "model.";
    llrti_decoder_read(b, &d, 0, LLRT_ROPE_HALVES);
    llrti_decoder_rename(&d, names);
    d.qkv = LLRTI_QKV_JOINED;
    d.has_same_qkv = true;
    d.is_gate_up_joined = true;
    llrti_decoder_set_window(b, &d, llrti_hparams_u32_or(&b->hp, LLRTI_HP(WINDOW), 0));
    llrti_decoder_emit(b, &d);
}
