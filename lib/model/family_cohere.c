/* SPDX-License-Identifier: MIT */
/*
 * Cohere's Command R ("cohere", in GGUF files "command-r") and Command R7B ("cohere2"): both
 * halves of a layer in parallel behind one layer norm without bias, neighbours rotated in either
 * kind of file, the embedding as head with a factor on the logits. Cohere 2 has windows in three
 * layers of four and rotates only there.
 */
#include "decoder.h"
#include "families.h"

static void read_common(llrti_builder *b, llrti_decoder *d)
{
    static const llrti_hparam logit_scale = {"logit_scale", "logit_scale", 1e-9, 1e9};
    static const llrti_hparam qk_norm = {NULL, "use_qk_norm", 0, 0};
    static const llrti_name q_norm = {"blk.0.attn_q_norm", NULL};
    static const llrti_decoder_defaults defaults = {.gguf_pairs = LLRT_ROPE_ADJACENT,
                                                    .hf_pairs = LLRT_ROPE_ADJACENT,
                                                    .is_layer_norm = true,
                                                    .norm_eps = 1e-5};
    b->hf_prefix = "model.";
    llrti_decoder_read_as(b, d, &defaults);
    d->has_qk_norm = d->is_qk_norm_own = b->hp.is_gguf
                                             ? llrti_build_has(b, &q_norm, ".weight")
                                             : llrti_hparams_bool_or(&b->hp, &qk_norm, false);
    d->norm_bias = LLRTI_BIAS_NONE;
    d->is_parallel = d->is_tied = true;
    d->has_mlp_norm = false;
    d->logit_scale =
        (float)llrti_hparams_f64_or(&b->hp, &logit_scale, b->hp.is_gguf ? 1.0 : 0.0625);
    d->qkv_bias = d->out_bias = LLRTI_BIAS_PRESENT;
    if (!b->hp.is_gguf)
        d->qkv_bias = d->out_bias = llrti_hparams_bool_or(&b->hp, LLRTI_HP(ATTENTION_BIAS), false)
                                        ? LLRTI_BIAS_REQUIRED
                                        : LLRTI_BIAS_NONE;
}

void llrti_family_cohere(llrti_builder *b)
{
    llrti_decoder d;
    read_common(b, &d);
    llrti_decoder_emit(b, &d);
}

void llrti_family_cohere2(llrti_builder *b)
{
    llrti_decoder d;
    read_common(b, &d);
    llrti_decoder_read_pattern(b, &d, llrti_decoder_window(b), 4);
    for (uint32_t i = 0; llrti_build_ok(b) && i < d.n_layer; i++)
        if (!d.window[i]) d.layer_rope[i] = LLRTI_LAYER_ROPE_NONE;
    llrti_decoder_emit(b, &d);
}
