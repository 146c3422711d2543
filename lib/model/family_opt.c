/* SPDX-License-Identifier: MIT */
/*
 * OPT: learned positions whose table begins two rows late, layer norms, biases, relu. The one size
 * that normalises after the halves of a layer and projects its embeddings (350M) is refused.
 */
#include "decoder.h"
#include "families.h"

#define FIRST_POSITION 2

static void refuse_options(llrti_builder *b, const llrti_decoder *d)
{
    static const llrti_hparam norm_before = {NULL, "do_layer_norm_before", 0, 0};
    static const llrti_hparam no_last_norm = {NULL, "_remove_final_layer_norm", 0, 0};
    static const llrti_hparam affine = {NULL, "layer_norm_elementwise_affine", 0, 0};
    static const llrti_hparam width = {NULL, "word_embed_proj_dim", 1, 1 << 20};
    llrti_decoder_refuse_unless(b, &norm_before, true,
                                "norms after attention and feed-forward part are not supported");
    llrti_decoder_refuse_unless(b, &no_last_norm, false,
                                "a model without last norm is not supported");
    llrti_decoder_refuse_unless(b, &affine, true, "norms without weights are not supported");
    const uint32_t found = llrti_hparams_u32_or(&b->hp, &width, d->d_model);
    if (found != d->d_model)
        llrti_hparams_fail(&b->hp, LLRT_ERR_UNSUPPORTED, &width,
                           "found %u: embeddings of another width than the layers', which is %u, "
                           "are not supported",
                           (unsigned)found, (unsigned)d->d_model);
}

void llrti_family_opt(llrti_builder *b)
{
    static const char *const names[LLRTI_DECODER_COUNT] = {
        [LLRTI_DECODER_NORM] = "final_layer_norm",
        [LLRTI_DECODER_ATTN_NORM] = "layers.#.self_attn_layer_norm",
        [LLRTI_DECODER_ATTN_OUT] = "layers.#.self_attn.out_proj",
        [LLRTI_DECODER_MLP_NORM] = "layers.#.final_layer_norm",
        [LLRTI_DECODER_UP] = "layers.#.fc1",
        [LLRTI_DECODER_DOWN] = "layers.#.fc2",
    };
    static const llrti_hparam has_bias = {NULL, "enable_bias", 0, 0};
    static const llrti_name position = {NULL, "embed_positions"};
    static const llrti_name old_name = {NULL, "/decoder.embed_tokens"};
    static const llrti_decoder_defaults defaults = {
        .has_no_rope = true, .is_layer_norm = true, .norm_eps = 1e-5, .act = "relu"};
    llrti_decoder d;
    b->hf_prefix = llrti_build_has(b, &old_name, ".weight") ? "decoder." : "model.decoder.";
    llrti_decoder_read_as(b, &d, &defaults);
    refuse_options(b, &d);
    llrti_decoder_rename(&d, names);
    d.is_tied = true;
    d.has_gate = false;
    if (llrti_hparams_bool_or(&b->hp, &has_bias, true))
        d.qkv_bias = d.out_bias = d.mlp_bias = LLRTI_BIAS_REQUIRED;
    const uint32_t n_ctx = llrti_hparams_u32(&b->hp, LLRTI_HP(N_CTX));
    if (!llrti_build_ok(b)) return;
    const uint32_t x = llrti_decoder_embed(b, &d);
    const uint32_t table = llrti_build_matrix(b, &position, d.d_model, n_ctx + FIRST_POSITION, 0);
    b->n_ctx_max = n_ctx;
    llrti_decoder_finish(
        b, &d, llrti_decoder_layers(b, &d, llrti_build_position(b, x, table, FIRST_POSITION)));
}
