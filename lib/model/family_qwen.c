/* SPDX-License-Identifier: MIT */
/*
 * Qwen 2 and Qwen 3 (dense). Qwen 2 has biases on q, k and v and on nothing else; Qwen 3 has none
 * and normalises each head of q and k instead. Both rotate halves in either kind of file. A
 * sliding window counts only when use_sliding_window says so, and then from layer
 * max_window_layers on (or as layer_types lists).
 */
#include "decoder.h"
#include "families.h"

void llrti_family_qwen2(llrti_builder *b)
{
    llrti_decoder d;
    b->hf_prefix = "model.";
    llrti_decoder_read(b, &d, 0, LLRT_ROPE_HALVES);
    d.qkv_bias = LLRTI_BIAS_REQUIRED;
    llrti_decoder_read_late_windows(b, &d);
    llrti_decoder_emit(b, &d);
}

void llrti_family_qwen3(llrti_builder *b)
{
    llrti_decoder d;
    b->hf_prefix = "model.";
    llrti_decoder_read(b, &d, 128,
                       LLRT_ROPE_HALVES); /* 128 is what its configuration class falls back to */
    if (llrti_hparams_bool_or(&b->hp, LLRTI_HP(ATTENTION_BIAS), false))
        d.qkv_bias = d.out_bias = LLRTI_BIAS_REQUIRED;
    d.has_qk_norm = true;
    llrti_decoder_read_late_windows(b, &d);
    llrti_decoder_emit(b, &d);
}
