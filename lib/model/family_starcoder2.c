/* SPDX-License-Identifier: MIT */
/*
 * StarCoder 2: layer norms, biases, a feed-forward part without a gate, a window on request.
 */
#include "decoder.h"
#include "families.h"

void llrti_family_starcoder2(llrti_builder *b)
{
    static const char *const names[LLRTI_DECODER_COUNT] = {
        [LLRTI_DECODER_UP] = "layers.#.mlp.c_fc",
        [LLRTI_DECODER_DOWN] = "layers.#.mlp.c_proj",
    };
    static const llrti_hparam use_bias = {NULL, "use_bias", 0, 0};
    static const llrti_decoder_defaults defaults = {.gguf_pairs = LLRT_ROPE_HALVES,
                                                    .hf_pairs = LLRT_ROPE_HALVES,
                                                    .is_layer_norm = true,
                                                    .norm_eps = 1e-5,
                                                    .act = "gelu_pytorch_tanh"};
    llrti_decoder d;
    b->hf_prefix = "model.";
    llrti_decoder_read_as(b, &d, &defaults);
    llrti_decoder_rename(&d, names);
    d.is_tied = true;
    d.has_gate = false;
    d.qkv_bias = d.out_bias = d.mlp_bias = LLRTI_BIAS_PRESENT;
    if (!b->hp.is_gguf)
        d.qkv_bias = d.out_bias = d.mlp_bias =
            llrti_hparams_bool_or(&b->hp, &use_bias, true) ? LLRTI_BIAS_REQUIRED : LLRTI_BIAS_NONE;
    llrti_decoder_set_window(b, &d, llrti_hparams_u32_or(&b->hp, LLRTI_HP(WINDOW), 0));
    llrti_decoder_emit(b, &d);
}
