/* SPDX-License-Identifier: MIT */
/*
 * Gemma 1, 2 and 3. All of them multiply the embedding with the square root of the width, add 1 to
 * the weights of their norms (GGUF files have it added already), rotate halves and use the
 * embedding as head. Gemma 2 and 3 normalise before and after either half of a layer and have
 * windows in most layers; Gemma 2 caps scores and logits, Gemma 3 normalises the heads of q and k
 * and rotates windowed layers by a base of their own.
 */
#include <math.h>

#include "decoder.h"
#include "families.h"
#include "half.h"

static const llrti_hparam query_scalar = {NULL, "query_pre_attn_scalar", 1e-6, 1e9};
static const llrti_hparam attention_scale = {"attention.scale", NULL, 1e-9, 1e9};
static const llrti_hparam attention_cap = {"attn_logit_softcapping", "attn_logit_softcapping", 0,
                                           1e6};
static const llrti_hparam logit_cap = {"final_logit_softcapping", "final_logit_softcapping", 0,
                                       1e6};

/* A cap; null in config.json is none, and it is `otherwise` that leaving it out stands for. */
static float read_cap(llrti_builder *b, const llrti_hparam *key, double otherwise)
{
    const bool is_none = b->hp.is_gguf || llrti_hparams_is_null(&b->hp, key);
    return (float)llrti_hparams_f64_or(&b->hp, key, is_none ? 0 : otherwise);
}

/*
 * The square root of the width, in the element type of a safetensors file's embedding, as the
 * training code has it. A GGUF in which that is something else says so if llrt wrote it; of others
 * nobody knows what they were before they were quantised, and there it is exact.
 */
static float embedding_factor(llrti_builder *b, const llrti_decoder *d)
{
    static const llrti_hparam scale = {"embedding_scale", NULL, 1e-9, 1e9};
    static const char *const names[] = {"model.embed_tokens.weight", "embed_tokens.weight",
                                        "language_model.model.embed_tokens.weight",
                                        "model.language_model.embed_tokens.weight"};
    const float exact = sqrtf((float)d->d_model);
    float factor = exact;
    if (b->hp.is_gguf) return (float)llrti_hparams_f64_or(&b->hp, &scale, exact);
    for (size_t i = 0; i < LLRTI_COUNT(names); i++) {
        const llrti_tensor *const tensor = llrti_model_file_find_tensor(b->hp.file, names[i]);
        if (!tensor) continue;
        if (tensor->type == LLRT_TYPE_BF16)
            factor = llrti_bf16_to_float(llrti_float_to_bf16(exact));
        else if (tensor->type == LLRT_TYPE_F16)
            factor = llrti_f16_to_float(llrti_float_to_f16(exact));
        break;
    }
    if (factor != exact) llrti_facts_f64(b->hp.facts, scale.gguf, factor, true);
    return factor;
}

/* What the three have in common. */
static void read_common(llrti_builder *b, llrti_decoder *d, double rope_base, uint32_t n_kv_head)
{
    static const llrti_hparam both_ways = {NULL, "use_bidirectional_attention", 0, 0};
    static const llrti_hparam act = {NULL, "hidden_activation", 0, 0};
    const llrti_decoder_defaults defaults = {.head_dim = 256,
                                             .gguf_pairs = LLRT_ROPE_HALVES,
                                             .hf_pairs = LLRT_ROPE_HALVES,
                                             .rope_base = rope_base,
                                             .n_head = 8,
                                             .n_kv_head = n_kv_head,
                                             .has_vocab_default = true,
                                             .act = "gelu_pytorch_tanh"};
    llrti_decoder_read_as(b, d, &defaults);
    /* "hidden_act" says gelu in files whose model has the approximation; it is not used. */
    if (!llrti_hparams_has(&b->hp, &act)) d->act = LLRT_ACT_GELU_TANH;
    llrti_decoder_refuse_unless(b, &both_ways, false,
                                "attention that is not causal is not supported");
    d->is_tied = true;
    d->norm_offset = b->hp.is_gguf ? 0.0f : 1.0f;
    d->embed_scale = embedding_factor(b, d);
    if (!llrti_build_ok(b)) return;
    if (llrti_hparams_bool_or(&b->hp, LLRTI_HP(ATTENTION_BIAS), false))
        d->qkv_bias = d->out_bias = LLRTI_BIAS_REQUIRED;
}

/*
 * Norms on both sides of both halves, and the factor on scores. GGUF files don't say the latter;
 * it is that of a head but in the largest model, which is known by its number of layers.
 */
static void read_later(llrti_builder *b, llrti_decoder *d, uint32_t n_layer_of_largest)
{
    static const char *const names[LLRTI_DECODER_COUNT] = {
        [LLRTI_DECODER_ATTN_POST_NORM] = "layers.#.post_attention_layernorm",
        [LLRTI_DECODER_MLP_NORM] = "layers.#.pre_feedforward_layernorm"};
    llrti_decoder_rename(d, names);
    d->has_attn_post_norm = d->has_mlp_post_norm = true;
    if (!b->hp.is_gguf) {
        d->attention_scale =
            (float)(1.0 / sqrt(llrti_hparams_f64_or(&b->hp, &query_scalar, 256.0)));
        return;
    }
    const double per_head =
        d->n_layer == n_layer_of_largest ? (double)d->d_model / d->n_head : d->head_dim;
    d->attention_scale =
        (float)llrti_hparams_f64_or(&b->hp, &attention_scale, 1.0 / sqrt(per_head));
}

void llrti_family_gemma(llrti_builder *b)
{
    llrti_decoder d;
    b->hf_prefix = "model.";
    read_common(b, &d, 10000.0, 0);
    llrti_decoder_emit(b, &d);
}

void llrti_family_gemma2(llrti_builder *b)
{
    llrti_decoder d;
    b->hf_prefix = "model.";
    read_common(b, &d, 10000.0, 4);
    read_later(b, &d, 46);
    d.attention_soft_cap = read_cap(b, &attention_cap, 50.0);
    d.logit_soft_cap = read_cap(b, &logit_cap, 30.0);
    llrti_decoder_read_pattern(b, &d, llrti_decoder_window(b), 2);
    llrti_decoder_emit(b, &d);
}

/* The text model of a checkpoint that sees images as well: its options and names are one deeper. */
static void enter_text_model(llrti_builder *b)
{
    static const llrti_name embed = {NULL, "/language_model.model.embed_tokens"};
    const llrti_json *const text = llrti_json_get(b->hp.config, "text_config");
    b->hf_prefix = "model.";
    if (b->hp.is_gguf || !text || text->type != LLRTI_JSON_OBJECT) return;
    b->hp.config = text;
    b->model->n_ctx_train = llrti_hparams_u32_or(&b->hp, LLRTI_HP(N_CTX), 131072);
    b->hf_prefix =
        llrti_build_has(b, &embed, ".weight") ? "language_model.model." : "model.language_model.";
}

void llrti_family_gemma3(llrti_builder *b)
{
    static const llrti_hparam local_base = {
        "rope.freq_base_swa", "rope_parameters.sliding_attention.rope_theta|rope_local_base_freq",
        1, 1e15};
    llrti_decoder d;
    enter_text_model(b);
    b->hp.rope_section = "full_attention";
    read_common(b, &d, 1e6, 4);
    b->hp.rope_section = NULL;
    read_later(b, &d, 62);
    d.has_qk_norm = true;
    d.attention_soft_cap = read_cap(b, &attention_cap, 0);
    d.logit_soft_cap = read_cap(b, &logit_cap, 0);
    llrti_decoder_read_pattern(b, &d, llrti_decoder_window(b), 6);
    const double base = llrti_hparams_f64_or(&b->hp, &local_base, 10000.0);
    llrti_rope_make(&b->hp, b->arena, d.head_dim, base, LLRT_ROPE_HALVES, &d.local_rope);
    for (uint32_t i = 0; llrti_build_ok(b) && i < d.n_layer; i++)
        if (d.window[i]) d.layer_rope[i] = LLRTI_LAYER_ROPE_LOCAL;
    llrti_decoder_emit(b, &d);
}
