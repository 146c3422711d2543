/* SPDX-License-Identifier: MIT */
/*
 * Llamas with factors: Granite and MiniCPM multiply the embedding, what each half of a layer adds,
 * and (by division) the logits; Granite also says what multiplies scores. In GGUF files both are
 * built alike, with the names Granite gave the factors. Granite also comes with experts.
 */
#include <math.h>

#include "families.h"
#include "moe.h"

static const llrti_hparam embed_scale = {"embedding_scale", "embedding_multiplier|scale_emb", 1e-9,
                                         1e9};
static const llrti_hparam residual_scale = {"residual_scale", "residual_multiplier", 1e-9, 1e9};
static const llrti_hparam logit_divisor = {"logit_scale", "logits_scaling", 1e-9, 1e9};
static const llrti_hparam attention_scale = {"attention.scale", "attention_multiplier", 1e-9, 1e9};

static void read_llama(llrti_builder *b, llrti_decoder *d, bool has_experts)
{
    b->hf_prefix = "model.";
    llrti_decoder_read_as(b, d,
                          &(llrti_decoder_defaults){.gguf_pairs = LLRT_ROPE_ADJACENT,
                                                    .hf_pairs = LLRT_ROPE_HALVES,
                                                    .has_experts = has_experts});
    d->qkv_bias = d->out_bias = d->mlp_bias = LLRTI_BIAS_PRESENT;
    if (b->hp.is_gguf) return;
    d->qkv_bias = d->out_bias = llrti_hparams_bool_or(&b->hp, LLRTI_HP(ATTENTION_BIAS), false)
                                    ? LLRTI_BIAS_REQUIRED
                                    : LLRTI_BIAS_NONE;
    d->mlp_bias = llrti_hparams_bool_or(&b->hp, LLRTI_HP(MLP_BIAS), false) ? LLRTI_BIAS_REQUIRED
                                                                           : LLRTI_BIAS_NONE;
}

static void read_granite(llrti_builder *b, llrti_decoder *d, bool has_experts)
{
    read_llama(b, d, has_experts);
    d->embed_scale = (float)llrti_hparams_f64_or(&b->hp, &embed_scale, 1.0);
    d->residual_scale = (float)llrti_hparams_f64_or(&b->hp, &residual_scale, 1.0);
    d->logit_scale = (float)(1.0 / llrti_hparams_f64_or(&b->hp, &logit_divisor, 1.0));
    /* A GGUF that doesn't say has the usual factor, a config.json has 1. */
    d->attention_scale =
        (float)llrti_hparams_f64_or(&b->hp, &attention_scale, b->hp.is_gguf ? 0.0 : 1.0);
}

void llrti_family_granite(llrti_builder *b)
{
    llrti_decoder d;
    read_granite(b, &d, false);
    llrti_decoder_emit(b, &d);
}

/* The weights of experts are a softmax over the chosen ones. */
void llrti_family_granitemoe(llrti_builder *b)
{
    static const llrti_hparam shared_d_ff = {"expert_shared_feed_forward_length", NULL, 0, 1 << 24};
    llrti_decoder d;
    llrti_moe moe;
    read_granite(b, &d, true);
    llrti_moe_read(
        b, &d,
        &(llrti_moe_defaults){.n_expert = 8, .n_used = 2, .router = LLRT_ROUTER_SOFTMAX_CHOSEN},
        &moe);
    moe.shared_d_ff = llrti_hparams_u32_or(&b->hp, &shared_d_ff, 0);
    moe.name[LLRTI_MOE_ROUTER].hf = "layers.#.block_sparse_moe.router.layer";
    moe.name[LLRTI_MOE_GATE_UP].hf = "layers.#.block_sparse_moe.input_linear.weight";
    moe.name[LLRTI_MOE_DOWN_STACKED].hf = "layers.#.block_sparse_moe.output_linear.weight";
    llrti_moe_attach(&moe, &d);
    llrti_decoder_emit(b, &d);
}

void llrti_family_minicpm(llrti_builder *b)
{
    static const llrti_hparam depth = {NULL, "scale_depth", 1e-9, 1e9};
    static const llrti_hparam base_width = {NULL, "dim_model_base", 1, 1 << 20};
    llrti_decoder d;
    read_llama(b, &d, false);
    if (!llrti_build_ok(b)) return;
    const double root = sqrt((double)d.n_layer), width = d.d_model;
    d.is_tied = true;
    if (b->hp.is_gguf) {
        /* Older files don't say; these are the factors of the only sizes there were. */
        d.embed_scale = (float)llrti_hparams_f64_or(&b->hp, &embed_scale, 12.0);
        d.residual_scale = (float)llrti_hparams_f64_or(&b->hp, &residual_scale, 1.4 / root);
        d.logit_scale = (float)(1.0 / llrti_hparams_f64_or(&b->hp, &logit_divisor, width / 256));
    } else {
        d.embed_scale = (float)llrti_hparams_f64_or(&b->hp, &embed_scale, 1.0);
        d.residual_scale = (float)(llrti_hparams_f64_or(&b->hp, &depth, 1.0) / root);
        d.logit_scale = (float)(llrti_hparams_u32_or(&b->hp, &base_width, 1) / width);
        llrti_facts_f64(b->hp.facts, residual_scale.gguf, d.residual_scale, true);
        llrti_facts_f64(b->hp.facts, logit_divisor.gguf, 1.0 / d.logit_scale, true);
    }
    llrti_decoder_emit(b, &d);
}
