/* SPDX-License-Identifier: MIT */
/*
 * Qwen 2 and Qwen 3 as mixtures of experts, and OLMoE. Qwen 2 has biases on q, k and v and an
 * expert that every token takes, weighted by a sigmoid; Qwen 3 and OLMoE normalise q and k instead,
 * Qwen 3 head by head, OLMoE all heads of a token together. Single layers of Qwen's may be dense.
 */
#include "families.h"
#include "moe.h"

static const llrti_hparam shared_d_ff = {"expert_shared_feed_forward_length",
                                         "shared_expert_intermediate_size", 1, 1 << 24};
static const llrti_hparam qkv_bias = {NULL, "qkv_bias", 0, 0};

void llrti_family_qwen2_moe(llrti_builder *b)
{
    llrti_decoder d;
    llrti_moe moe;
    b->hf_prefix = "model.";
    llrti_decoder_read_as(b, &d,
                          &(llrti_decoder_defaults){.gguf_pairs = LLRT_ROPE_HALVES,
                                                    .hf_pairs = LLRT_ROPE_HALVES,
                                                    .has_experts = true});
    if (b->hp.is_gguf || llrti_hparams_bool_or(&b->hp, &qkv_bias, true))
        d.qkv_bias = LLRTI_BIAS_REQUIRED;
    llrti_decoder_read_late_windows(b, &d);
    llrti_moe_read(b, &d, &(llrti_moe_defaults){.n_expert = 60, .n_used = 4, .d_ff = 1408}, &moe);
    moe.shared_d_ff = b->hp.is_gguf ? llrti_hparams_u32_or(&b->hp, &shared_d_ff, d.d_ff)
                                    : llrti_hparams_u32_or(&b->hp, &shared_d_ff, 5632);
    moe.has_shared_router = true;
    llrti_moe_read_dense(b, &d, &moe);
    llrti_moe_attach(&moe, &d);
    llrti_decoder_emit(b, &d);
}

void llrti_family_qwen3_moe(llrti_builder *b)
{
    llrti_decoder d;
    llrti_moe moe;
    b->hf_prefix = "model.";
    llrti_decoder_read_as(b, &d,
                          &(llrti_decoder_defaults){.n_kv_head = 4,
                                                    .gguf_pairs = LLRT_ROPE_HALVES,
                                                    .hf_pairs = LLRT_ROPE_HALVES,
                                                    .has_experts = true});
    if (llrti_hparams_bool_or(&b->hp, LLRTI_HP(ATTENTION_BIAS), false))
        d.qkv_bias = d.out_bias = LLRTI_BIAS_REQUIRED;
    d.has_qk_norm = true;
    llrti_decoder_read_late_windows(b, &d);
    llrti_moe_read(b, &d,
                   &(llrti_moe_defaults){
                       .n_expert = 128, .n_used = 8, .d_ff = 768, .is_gguf_normalized = true},
                   &moe);
    llrti_moe_read_dense(b, &d, &moe);
    llrti_moe_attach(&moe, &d);
    llrti_decoder_emit(b, &d);
}

void llrti_family_olmoe(llrti_builder *b)
{
    llrti_decoder d;
    llrti_moe moe;
    b->hf_prefix = "model.";
    llrti_decoder_read_as(b, &d,
                          &(llrti_decoder_defaults){.gguf_pairs = LLRT_ROPE_HALVES,
                                                    .hf_pairs = LLRT_ROPE_HALVES,
                                                    .norm_eps = 1e-5,
                                                    .has_experts = true});
    if (llrti_hparams_bool_or(&b->hp, LLRTI_HP(ATTENTION_BIAS), false))
        d.qkv_bias = d.out_bias = LLRTI_BIAS_REQUIRED;
    d.has_qk_norm = d.is_qk_norm_row = true;
    llrti_moe_read(b, &d, &(llrti_moe_defaults){.n_expert = 64, .n_used = 8}, &moe);
    llrti_moe_attach(&moe, &d);
    llrti_decoder_emit(b, &d);
}
