/* SPDX-License-Identifier: MIT */
/*
 * StableLM: a Llama with layer norms, a quarter of a head rotated, and in some sizes biases on q, k
 * and v or halves of a layer in parallel behind one norm.
 */
#include "decoder.h"
#include "families.h"

void llrti_family_stablelm(llrti_builder *b)
{
    static const llrti_hparam qkv_bias = {NULL, "use_qkv_bias", 0, 0};
    static const llrti_hparam qk_norm = {NULL, "qk_layernorm", 0, 0};
    static const llrti_hparam parallel = {NULL, "use_parallel_residual", 0, 0};
    static const llrti_name q_norm = {"blk.0.attn_q_norm", NULL};
    static const llrti_decoder_defaults defaults = {.gguf_pairs = LLRT_ROPE_HALVES,
                                                    .hf_pairs = LLRT_ROPE_HALVES,
                                                    .rope_part = 0.25,
                                                    .is_layer_norm = true,
                                                    .norm_eps = 1e-5};
    llrti_decoder d;
    b->hf_prefix = "model.";
    llrti_decoder_read_as(b, &d, &defaults);
    if (llrti_hparams_bool_or(&b->hp, &qk_norm, false) ||
        (b->hp.is_gguf && llrti_build_has(b, &q_norm, ".weight")))
        llrti_build_fail(b, LLRT_ERR_UNSUPPORTED, "qk_layernorm",
                         "'qk_layernorm': normalised queries and keys are not supported here");
    if (b->hp.is_gguf) {
        /* The file of a parallel model has no second norm. */
        const llrti_name *const second = &d.name[LLRTI_DECODER_MLP_NORM];
        d.is_parallel =
            !llrti_build_has(b, second, ".weight") && !llrti_build_has(b, second, ".bias");
        d.qkv_bias = LLRTI_BIAS_PRESENT;
    } else {
        d.is_parallel = llrti_hparams_bool_or(&b->hp, &parallel, false);
        d.qkv_bias =
            llrti_hparams_bool_or(&b->hp, &qkv_bias, false) ? LLRTI_BIAS_REQUIRED : LLRTI_BIAS_NONE;
    }
    d.has_mlp_norm = !d.is_parallel;
    llrti_decoder_emit(b, &d);
}
