/* SPDX-License-Identifier: MIT */
/*
 * Mixtral: a Mistral whose feed-forward part is a mixture of experts, with weights normalised over
 * the chosen ones. Its GGUF files call themselves "llama".
 */
#include "families.h"
#include "moe.h"

void llrti_family_mixtral(llrti_builder *b)
{
    llrti_decoder d;
    llrti_moe moe;
    b->hf_prefix = "model.";
    b->gguf_architecture = "llama";
    llrti_decoder_read_as(b, &d,
                          &(llrti_decoder_defaults){.n_kv_head = 8,
                                                    .hf_pairs = LLRT_ROPE_HALVES,
                                                    .rope_base = 1e6,
                                                    .norm_eps = 1e-5,
                                                    .has_experts = true});
    /* null and nothing both mean that there is no window. */
    llrti_decoder_set_window(b, &d, llrti_hparams_u32_or(&b->hp, LLRTI_HP(WINDOW), 0));
    llrti_moe_read_mixtral(b, &d, &moe);
    llrti_decoder_emit(b, &d);
}
