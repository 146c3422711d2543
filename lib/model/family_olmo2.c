/* SPDX-License-Identifier: MIT */
/*
 * OLMo 2 and 3: norms after either half of a layer instead of before it, and q and k normalised
 * over all their heads together. OLMo 3 has windows in three layers of four, which rotate without
 * the scaling that the others have.
 */
#include "decoder.h"
#include "families.h"

static void read_common(llrti_builder *b, llrti_decoder *d)
{
    static const llrti_decoder_defaults defaults = {
        .gguf_pairs = LLRT_ROPE_HALVES, .hf_pairs = LLRT_ROPE_HALVES, .norm_eps = 1e-5};
    b->hf_prefix = "model.";
    llrti_decoder_read_as(b, d, &defaults);
    d->has_attn_norm = d->has_mlp_norm = false;
    d->has_attn_post_norm = d->has_mlp_post_norm = true;
    d->has_qk_norm = d->is_qk_norm_row = true;
    if (llrti_hparams_bool_or(&b->hp, LLRTI_HP(ATTENTION_BIAS), false))
        d->qkv_bias = d->out_bias = LLRTI_BIAS_REQUIRED;
}

static void read_windows(llrti_builder *b, llrti_decoder *d)
{
    llrti_decoder_read_pattern(b, d, llrti_decoder_window(b), 4);
    const double base = llrti_hparams_f64_or(&b->hp, LLRTI_HP(ROPE_BASE), 10000.0);
    llrti_rope_make(&b->hp, b->arena, d->head_dim, base, LLRT_ROPE_HALVES, &d->local_rope);
    for (uint32_t i = 0; llrti_build_ok(b) && i < d->n_layer; i++)
        if (d->window[i]) d->layer_rope[i] = LLRTI_LAYER_ROPE_LOCAL;
}

void llrti_family_olmo2(llrti_builder *b)
{
    llrti_decoder d;
    read_common(b, &d);
    /* A GGUF with windows is an OLMo 3. */
    if (b->hp.is_gguf && llrti_hparams_has(&b->hp, LLRTI_HP(WINDOW))) read_windows(b, &d);
    llrti_decoder_emit(b, &d);
}

void llrti_family_olmo3(llrti_builder *b)
{
    llrti_decoder d;
    b->gguf_architecture = "olmo2";
    read_common(b, &d);
    read_windows(b, &d);
    llrti_decoder_emit(b, &d);
}
