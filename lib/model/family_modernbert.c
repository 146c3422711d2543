/* SPDX-License-Identifier: MIT */
/*
 * ModernBERT: an encoder arranged like a decoder of today. Layer norms without bias before either
 * half of a layer (layer 0 takes the embedding's for its own), gate and up in one matrix, rotated
 * halves. Every third layer sees the whole text, the others a window around each token, and those
 * rotate by a base of their own.
 */
#include "encoder.h"
#include "families.h"

static const llrti_hparam local_window = {"attention.sliding_window", "local_attention", 2,
                                          1 << 30};
static const llrti_hparam global_every = {"attention.sliding_window_pattern",
                                          "global_attn_every_n_layers", 1, 4096};
static const llrti_hparam local_base = {
    "rope.freq_base_swa", "rope_parameters.sliding_attention.rope_theta|local_rope_theta", 1, 1e15};

static void read(llrti_builder *b, llrti_decoder *d)
{
    static const char *const names[LLRTI_DECODER_COUNT] = {
        [LLRTI_DECODER_EMBED] = "embeddings.tok_embeddings",
        [LLRTI_DECODER_EMBED_NORM] = "embeddings.norm",
        [LLRTI_DECODER_NORM] = "final_norm",
        [LLRTI_DECODER_ATTN_NORM] = "layers.#.attn_norm",
        [LLRTI_DECODER_QKV] = "layers.#.attn.Wqkv",
        [LLRTI_DECODER_ATTN_OUT] = "layers.#.attn.Wo",
        [LLRTI_DECODER_MLP_NORM] = "layers.#.mlp_norm",
        [LLRTI_DECODER_UP] = "layers.#.mlp.Wi",
        [LLRTI_DECODER_DOWN] = "layers.#.mlp.Wo",
    };
    static const llrti_hparam norm_bias = {NULL, "norm_bias", 0, 0};
    static const llrti_decoder_defaults defaults = {.gguf_pairs = LLRT_ROPE_HALVES,
                                                    .hf_pairs = LLRT_ROPE_HALVES,
                                                    .rope_base = 160000.0,
                                                    .is_encoder = true,
                                                    .is_layer_norm = true,
                                                    .norm_eps = 1e-5,
                                                    .act = "gelu"};
    static const llrti_hparam gguf_act = {"hidden_activation", NULL, 0, 0};
    llrti_hparams *const hp = &b->hp;
    b->hf_prefix = "model.";
    hp->rope_section = "full_attention";
    llrti_decoder_read_as(b, d, &defaults);
    hp->rope_section = NULL;
    llrti_decoder_rename(d, names);
    d->lacks_first_norm = d->has_embed_norm = true;
    d->qkv = LLRTI_QKV_JOINED;
    d->is_gate_up_joined = true;
    d->norm_bias = LLRTI_BIAS_PRESENT;
    if (hp->is_gguf) {
        d->act = llrti_decoder_activation_of(b, &gguf_act, defaults.act);
        return;
    }
    llrti_facts_string(hp->facts, gguf_act.gguf,
                       llrti_hparams_string_or(hp, LLRTI_HP(ACT), defaults.act));
    d->norm_bias =
        llrti_hparams_bool_or(hp, &norm_bias, false) ? LLRTI_BIAS_REQUIRED : LLRTI_BIAS_NONE;
    if (llrti_hparams_bool_or(hp, LLRTI_HP(ATTENTION_BIAS), false))
        d->qkv_bias = d->out_bias = LLRTI_BIAS_REQUIRED;
    if (llrti_hparams_bool_or(hp, LLRTI_HP(MLP_BIAS), false)) d->mlp_bias = LLRTI_BIAS_REQUIRED;
}

static void read_windows(llrti_builder *b, llrti_decoder *d)
{
    llrti_hparams *const hp = &b->hp;
    const uint32_t window = llrti_hparams_u32_or(hp, &local_window, 128);
    const bool has_list = llrti_decoder_read_flags(b, d, &global_every, window);
    const uint32_t every = has_list ? 1 : llrti_hparams_u32_or(hp, &global_every, 3);
    /* null stands for the base of the other layers */
    const double otherwise = llrti_hparams_is_null(hp, &local_base)
                                 ? llrti_hparams_f64_or(hp, LLRTI_HP(ROPE_BASE), 160000.0)
                                 : 10000.0;
    const double base = llrti_hparams_f64_or(hp, &local_base, otherwise);
    llrti_rope_make(hp, b->arena, d->head_dim, base, LLRT_ROPE_HALVES, &d->local_rope);
    for (uint32_t i = 0; llrti_build_ok(b) && i < d->n_layer; i++) {
        if (!has_list && i % every != 0) d->window[i] = window;
        if (d->window[i]) d->layer_rope[i] = LLRTI_LAYER_ROPE_LOCAL;
    }
}

void llrti_family_modernbert(llrti_builder *b)
{
    static const llrti_hparam pooling = {NULL, "classifier_pooling", 0, 0};
    static const llrti_hparam has_bias = {NULL, "classifier_bias", 0, 0};
    llrti_score_head head = {{"cls", "/head.dense"},
                             {"cls.norm", "/head.norm"},
                             {"cls.output", "/classifier"},
                             LLRT_ACT_GELU,
                             LLRTI_BIAS_NONE};
    llrti_decoder d;
    read(b, &d);
    read_windows(b, &d);
    if (!llrti_build_ok(b)) return;
    if (llrti_hparams_bool_or(&b->hp, &has_bias, false)) head.dense_bias = LLRTI_BIAS_REQUIRED;
    if (llrti_encoder_has_score(b, &head) &&
        !llrti_string_is(llrti_hparams_string_or(&b->hp, &pooling, "cls"), "cls"))
        llrti_hparams_fail(&b->hp, LLRT_ERR_UNSUPPORTED, &pooling,
                           "a classifier over the mean of all tokens is not supported, expected "
                           "\"cls\"");
    llrti_encoder_finish(b, &d, llrti_decoder_layers(b, &d, llrti_decoder_embed(b, &d)), true,
                         &head);
}
