/* SPDX-License-Identifier: MIT */
/*
 * Llama 1, 2 and 3, and what is built like it: Mistral (a Llama with a sliding window).
 *
 * GGUF files hold Llama's q and k with their rows permuted, so that the rotated pairs are
 * neighbours; Hugging Face checkpoints rotate halves. Biases: a GGUF has them or not, config.json
 * says. A GGUF of a Mistral or Mixtral calls itself "llama".
 */
#include "families.h"
#include "moe.h"

static void read_common(llrti_builder *b, llrti_decoder *d)
{
    b->hf_prefix = "model.";
    llrti_decoder_read_as(b, d,
                          &(llrti_decoder_defaults){.gguf_pairs = LLRT_ROPE_ADJACENT,
                                                    .hf_pairs = LLRT_ROPE_HALVES,
                                                    .has_experts = b->hp.is_gguf});
    if (b->hp.is_gguf) {
        d->qkv_bias = d->out_bias = d->mlp_bias = LLRTI_BIAS_PRESENT;
        return;
    }
    if (llrti_hparams_bool_or(&b->hp, LLRTI_HP(ATTENTION_BIAS), false))
        d->qkv_bias = d->out_bias = LLRTI_BIAS_REQUIRED;
    if (llrti_hparams_bool_or(&b->hp, LLRTI_HP(MLP_BIAS), false)) d->mlp_bias = LLRTI_BIAS_REQUIRED;
}

void llrti_family_llama(llrti_builder *b)
{
    llrti_decoder d;
    llrti_moe moe;
    read_common(b, &d);
    if (b->hp.is_gguf) {
        llrti_decoder_set_window(b, &d, llrti_decoder_window(b));
        llrti_moe_read_mixtral(b, &d, &moe);
    }
    llrti_decoder_emit(b, &d);
}

void llrti_family_mistral(llrti_builder *b)
{
    llrti_decoder d;
    b->gguf_architecture = "llama";
    read_common(b, &d);
    llrti_decoder_set_window(b, &d, llrti_decoder_window(b));
    llrti_decoder_emit(b, &d);
}
