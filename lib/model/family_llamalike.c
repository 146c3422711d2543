/* SPDX-License-Identifier: MIT */
/*
 * Llamas with one thing different: SmolLM 3 rotates nothing in every fourth layer, InternLM 2 keeps
 * q, k and v of a group together and has names of its own. GGUF files hold both as they hold a
 * Llama: q and k permuted, separate.
 */
#include "decoder.h"
#include "families.h"

void llrti_family_smollm3(llrti_builder *b)
{
    static const llrti_hparam list = {NULL, "no_rope_layers", 0, 1};
    static const llrti_hparam interval = {NULL, "no_rope_layer_interval", 1, 4096};
    static const llrti_hparam use_window = {NULL, "use_sliding_window", 0, 0};
    static const llrti_decoder_defaults defaults = {
        .gguf_pairs = LLRT_ROPE_ADJACENT, .hf_pairs = LLRT_ROPE_HALVES, .rope_base = 2e6};
    llrti_hparams *const hp = &b->hp;
    llrti_decoder d;
    b->hf_prefix = "model.";
    llrti_decoder_read_as(b, &d, &defaults);
    d.is_tied = true;
    if (llrti_hparams_bool_or(hp, LLRTI_HP(ATTENTION_BIAS), false))
        d.qkv_bias = d.out_bias = LLRTI_BIAS_REQUIRED;
    if (llrti_hparams_bool_or(hp, LLRTI_HP(MLP_BIAS), false)) d.mlp_bias = LLRTI_BIAS_REQUIRED;
    const uint32_t every = llrti_hparams_u32_or(hp, &interval, 4);
    const bool has_list = llrti_hparams_n_element(hp, &list) > 0;
    /* In the list, 1 stands for a layer that rotates. */
    for (uint32_t i = 0; llrti_build_ok(b) && i < d.n_layer; i++)
        if (has_list ? llrti_hparams_f64_at(hp, &list, i) == 0 : (i + 1) % every == 0)
            d.layer_rope[i] = LLRTI_LAYER_ROPE_NONE;
    if (llrti_hparams_bool_or(hp, &use_window, false)) {
        if (llrti_build_ok(b) && !has_list)
            llrti_hparams_fail(hp, LLRT_ERR_UNSUPPORTED, &use_window,
                               "windows are supported with a list of no_rope_layers only");
        llrti_decoder_read_layer_types(b, &d);
    }
    llrti_decoder_emit(b, &d);
}

void llrti_family_internlm2(llrti_builder *b)
{
    static const char *const names[LLRTI_DECODER_COUNT] = {
        [LLRTI_DECODER_EMBED] = "tok_embeddings",
        [LLRTI_DECODER_HEAD] = "/output",
        [LLRTI_DECODER_ATTN_NORM] = "layers.#.attention_norm",
        [LLRTI_DECODER_QKV] = "layers.#.attention.wqkv",
        [LLRTI_DECODER_ATTN_OUT] = "layers.#.attention.wo",
        [LLRTI_DECODER_MLP_NORM] = "layers.#.ffn_norm",
        [LLRTI_DECODER_GATE] = "layers.#.feed_forward.w1",
        [LLRTI_DECODER_UP] = "layers.#.feed_forward.w3",
        [LLRTI_DECODER_DOWN] = "layers.#.feed_forward.w2",
    };
    static const llrti_hparam bias = {NULL, "bias", 0, 0};
    llrti_decoder d;
    b->hf_prefix = "model.";
    llrti_decoder_read(b, &d, 0, LLRT_ROPE_ADJACENT);
    llrti_decoder_rename(&d, names);
    d.qkv_bias = d.out_bias = LLRTI_BIAS_PRESENT;
    if (!b->hp.is_gguf) {
        d.qkv = LLRTI_QKV_GROUPED;
        d.is_qkv_apart = true;
        d.qkv_bias = d.out_bias =
            llrti_hparams_bool_or(&b->hp, &bias, true) ? LLRTI_BIAS_REQUIRED : LLRTI_BIAS_NONE;
    }
    llrti_decoder_emit(b, &d);
}
