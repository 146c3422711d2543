/* SPDX-License-Identifier: MIT */
/*
 * GLM 4: gate and up in one matrix, half of a head rotated, neighbours in either kind of file.
 * "glm4" (the models of April 2025) normalises after either half of a layer as well; "glm" does
 * not.
 */
#include "decoder.h"
#include "families.h"

static void read_common(llrti_builder *b, llrti_decoder *d)
{
    static const char *const names[LLRTI_DECODER_COUNT] = {
        [LLRTI_DECODER_UP] = "layers.#.mlp.gate_up_proj",
        [LLRTI_DECODER_ATTN_POST_NORM] = "layers.#.post_self_attn_layernorm",
        [LLRTI_DECODER_MLP_POST_NORM] = "layers.#.post_mlp_layernorm",
    };
    static const llrti_decoder_defaults defaults = {.head_dim = 128,
                                                    .gguf_pairs = LLRT_ROPE_ADJACENT,
                                                    .hf_pairs = LLRT_ROPE_ADJACENT,
                                                    .rope_part = 0.5,
                                                    .norm_eps = 1.5625e-7};
    b->hf_prefix = "model.";
    llrti_decoder_read_as(b, d, &defaults);
    llrti_decoder_rename(d, names);
    d->is_gate_up_joined = true;
    d->qkv_bias = LLRTI_BIAS_PRESENT;
    if (!b->hp.is_gguf)
        d->qkv_bias = llrti_hparams_bool_or(&b->hp, LLRTI_HP(ATTENTION_BIAS), false)
                          ? LLRTI_BIAS_REQUIRED
                          : LLRTI_BIAS_NONE;
}

void llrti_family_glm(llrti_builder *b)
{
    llrti_decoder d;
    read_common(b, &d);
    llrti_decoder_emit(b, &d);
}

void llrti_family_glm4(llrti_builder *b)
{
    llrti_decoder d;
    read_common(b, &d);
    d.has_attn_post_norm = d.has_mlp_post_norm = true;
    llrti_decoder_emit(b, &d);
}
