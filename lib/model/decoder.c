/* SPDX-License-Identifier: MIT */
/*
 * The common decoder; see decoder.h. Tensor names of both kinds of file are stated here once:
 *
 *   x += out( attention( rope( q( norm x ) ), rope( k( norm x ) ), v( norm x ) ) )
 *   x += down( act( gate( norm x ) ) * up( norm x ) )
 */
#include "decoder.h"

#include <string.h>

#include "text.h"

static const llrti_name name_embed = {"token_embd", "embed_tokens"};
static const llrti_name name_norm = {"output_norm", "norm"};
static const llrti_name name_head = {"output", "/lm_head"};
static const llrti_name name_attn_norm = {"blk.#.attn_norm", "layers.#.input_layernorm"};
static const llrti_name name_q = {"blk.#.attn_q", "layers.#.self_attn.q_proj"};
static const llrti_name name_k = {"blk.#.attn_k", "layers.#.self_attn.k_proj"};
static const llrti_name name_v = {"blk.#.attn_v", "layers.#.self_attn.v_proj"};
static const llrti_name name_q_norm = {"blk.#.attn_q_norm", "layers.#.self_attn.q_norm"};
static const llrti_name name_k_norm = {"blk.#.attn_k_norm", "layers.#.self_attn.k_norm"};
static const llrti_name name_attn_out = {"blk.#.attn_output", "layers.#.self_attn.o_proj"};
static const llrti_name name_ffn_norm = {"blk.#.ffn_norm", "layers.#.post_attention_layernorm"};
static const llrti_name name_gate = {"blk.#.ffn_gate", "layers.#.mlp.gate_proj"};
static const llrti_name name_up = {"blk.#.ffn_up", "layers.#.mlp.up_proj"};
static const llrti_name name_down = {"blk.#.ffn_down", "layers.#.mlp.down_proj"};

static const llrti_hparam layer_types = {NULL, "layer_types", 0, 0};

llrt_activation llrti_decoder_activation(llrti_builder *b, const char *otherwise)
{
    static const struct {
        const char *name;
        llrt_activation act;
    } known[] = {
        {"silu", LLRT_ACT_SILU},
        {"swish", LLRT_ACT_SILU},
        {"gelu", LLRT_ACT_GELU},
        {"gelu_python", LLRT_ACT_GELU},
        {"gelu_new", LLRT_ACT_GELU_TANH},
        {"gelu_fast", LLRT_ACT_GELU_TANH},
        {"gelu_accurate", LLRT_ACT_GELU_TANH},
        {"gelu_pytorch_tanh", LLRT_ACT_GELU_TANH},
        {"quick_gelu", LLRT_ACT_GELU_QUICK},
        {"relu", LLRT_ACT_RELU},
        {"relu2", LLRT_ACT_RELU2},
        {"sigmoid", LLRT_ACT_SIGMOID},
        {"tanh", LLRT_ACT_TANH},
    };
    const llrti_string name = llrti_hparams_string_or(&b->hp, LLRTI_HP(ACT), otherwise);
    for (size_t i = 0; i < LLRTI_COUNT(known); i++)
        if (llrti_string_is(name, known[i].name)) return known[i].act;
    char quoted[LLRTI_TEXT_QUOTE_SIZE];
    llrti_hparams_fail(
        &b->hp, LLRT_ERR_UNSUPPORTED, LLRTI_HP(ACT),
        "activation %s is not known, expected silu, gelu, gelu_new, relu or another of %zu",
        llrti_text_quote(quoted, sizeof quoted, name.data, name.n), LLRTI_COUNT(known));
    return LLRT_ACT_SILU;
}

void llrti_decoder_refuse(llrti_builder *b)
{
    static const llrti_hparam quantisation = {NULL, "quantization_config|compression_config", 0, 0};
    static const llrti_hparam method = {NULL, "quantization_config.quant_method", 0, 0};
    static const llrti_hparam experts = {"expert_count",
                                         "num_local_experts|num_experts|n_routed_experts", 0, 1e6};
    static const llrti_hparam causal = {"attention.causal", "is_causal", 0, 0};
    static const llrti_hparam cross = {NULL, "add_cross_attention", 0, 0};
    static const llrti_hparam clamp = {"attention.clamp_kqv", "clip_qkv", 0, 1e9};
    llrti_hparams *const hp = &b->hp;
    if (llrti_hparams_has(hp, &quantisation)) {
        char quoted[LLRTI_TEXT_QUOTE_SIZE];
        const llrti_string name = llrti_hparams_string_or(hp, &method, "");
        llrti_hparams_fail(hp, LLRT_ERR_UNSUPPORTED, &quantisation,
                           "checkpoints quantised by %s are not supported, only F32, F16 and BF16",
                           llrti_text_quote(quoted, sizeof quoted, name.data, name.n));
    }
    if (llrti_hparams_u32_or(hp, &experts, 0) > 0)
        llrti_hparams_fail(hp, LLRT_ERR_UNSUPPORTED, &experts,
                           "a mixture of experts is not supported for this architecture");
    if (!llrti_hparams_bool_or(hp, &causal, true))
        llrti_hparams_fail(hp, LLRT_ERR_UNSUPPORTED, &causal,
                           "attention that is not causal is not supported for this architecture");
    if (llrti_hparams_bool_or(hp, &cross, false))
        llrti_hparams_fail(hp, LLRT_ERR_UNSUPPORTED, &cross, "cross attention is not supported");
    if (llrti_hparams_f64_or(hp, &clamp, 0) != 0)
        llrti_hparams_fail(hp, LLRT_ERR_UNSUPPORTED, &clamp,
                           "clamped queries and keys are not supported");
}

/* What is contradictory between the sizes. */
static void check_sizes(llrti_builder *b, llrti_decoder *d, bool has_head_dim)
{
    llrti_hparams *const hp = &b->hp;
    if (!has_head_dim && d->d_model % d->n_head)
        llrti_hparams_fail(hp, LLRT_ERR_FORMAT, LLRTI_HP(N_HEAD),
                           "found %u, expected a divisor of the embedding width %u",
                           (unsigned)d->n_head, (unsigned)d->d_model);
    if (d->n_head % d->n_kv_head)
        llrti_hparams_fail(hp, LLRT_ERR_FORMAT, LLRTI_HP(N_KV_HEAD),
                           "found %u, expected a divisor of the number of heads, which is %u",
                           (unsigned)d->n_kv_head, (unsigned)d->n_head);
    if ((uint64_t)d->n_head * LLRTI_MAX(d->head_dim, d->v_dim) > (uint64_t)1 << 24)
        llrti_hparams_fail(hp, LLRT_ERR_FORMAT, LLRTI_HP(N_HEAD),
                           "%u heads of %u elements are too many", (unsigned)d->n_head,
                           (unsigned)d->head_dim);
}

void llrti_decoder_read(llrti_builder *b, llrti_decoder *d, uint32_t head_dim_default,
                        llrt_rope_pairs gguf_pairs)
{
    llrti_hparams *const hp = &b->hp;
    memset(d, 0, sizeof *d);
    llrti_decoder_refuse(b);
    d->n_layer = llrti_hparams_u32(hp, LLRTI_HP(N_LAYER));
    d->d_model = llrti_hparams_u32(hp, LLRTI_HP(D_MODEL));
    d->d_ff = llrti_hparams_u32(hp, LLRTI_HP(D_FF));
    d->n_head = llrti_hparams_u32(hp, LLRTI_HP(N_HEAD));
    d->n_kv_head = llrti_hparams_u32_or(hp, LLRTI_HP(N_KV_HEAD), d->n_head);
    const bool has_default =
        head_dim_default && !hp->is_gguf && !llrti_hparams_is_null(hp, LLRTI_HP(HEAD_DIM));
    const uint32_t derived = has_default ? head_dim_default : d->d_model / d->n_head;
    const bool has_head_dim = llrti_hparams_has(hp, LLRTI_HP(HEAD_DIM)) || has_default;
    d->head_dim = llrti_hparams_u32_or(hp, LLRTI_HP(HEAD_DIM), LLRTI_MAX(derived, 1u));
    d->v_dim = llrti_hparams_u32_or(hp, LLRTI_HP(V_DIM), d->head_dim);
    d->norm_eps = (float)llrti_hparams_f64_or(hp, LLRTI_HP(RMS_EPS), 1e-6);
    if (hp->is_gguf && !llrti_hparams_has(hp, LLRTI_HP(RMS_EPS)))
        (void)llrti_hparams_f64(hp, LLRTI_HP(RMS_EPS));
    if (!llrti_build_ok(b)) return;
    check_sizes(b, d, has_head_dim);
    d->act = llrti_decoder_activation(b, "silu");
    llrti_rope_read(hp, b->arena, d->head_dim, b->n_ctx, gguf_pairs, &d->rope);
    if (!llrti_build_ok(b)) return;
    d->window = llrti_arena_alloc(b->arena, d->n_layer * sizeof *d->window, sizeof *d->window);
    if (!d->window) {
        hp->status = llrti_fail_nomem(hp->err, "layer table", d->n_layer * sizeof *d->window);
        return;
    }
    memset(d->window, 0, d->n_layer * sizeof *d->window);
    llrti_model *const m = b->model;
    m->n_layer = d->n_layer;
    m->d_model = d->d_model;
    m->d_ff = d->d_ff;
    m->n_head = d->n_head;
    m->n_kv_head = d->n_kv_head;
    m->head_dim = d->head_dim;
}

uint32_t llrti_decoder_window(llrti_builder *b)
{
    /* 4096 is what the configuration classes of Mistral and Qwen fall back to. */
    const bool is_none = b->hp.is_gguf || llrti_hparams_is_null(&b->hp, LLRTI_HP(WINDOW));
    return llrti_hparams_u32_or(&b->hp, LLRTI_HP(WINDOW), is_none ? 0 : 4096);
}

void llrti_decoder_set_window(llrti_builder *b, llrti_decoder *d, uint32_t window)
{
    if (!llrti_build_ok(b)) return;
    for (uint32_t i = 0; i < d->n_layer; i++) d->window[i] = window;
}

void llrti_decoder_read_layer_types(llrti_builder *b, llrti_decoder *d)
{
    if (!llrti_build_ok(b) || !llrti_hparams_has(&b->hp, &layer_types)) return;
    const uint32_t n = llrti_hparams_n_element(&b->hp, &layer_types);
    if (n != d->n_layer) {
        llrti_hparams_fail(&b->hp, LLRT_ERR_FORMAT, &layer_types,
                           "found %u elements, expected one for each of %u layers", (unsigned)n,
                           (unsigned)d->n_layer);
        return;
    }
    const uint32_t window = llrti_decoder_window(b);
    for (uint32_t i = 0; i < n && llrti_build_ok(b); i++) {
        const llrti_string type = llrti_hparams_string_at(&b->hp, &layer_types, i);
        char quoted[LLRTI_TEXT_QUOTE_SIZE];
        d->window[i] = 0;
        if (llrti_string_is(type, "sliding_attention") && window == 0)
            llrti_hparams_fail(
                &b->hp, LLRT_ERR_FORMAT, LLRTI_HP(WINDOW),
                "missing, expected the window of layer %u, which has sliding attention",
                (unsigned)i);
        else if (llrti_string_is(type, "sliding_attention"))
            d->window[i] = window;
        else if (!llrti_string_is(type, "full_attention"))
            llrti_hparams_fail(&b->hp, LLRT_ERR_UNSUPPORTED, &layer_types,
                               "layer %u: attention %s is not supported for this architecture",
                               (unsigned)i,
                               llrti_text_quote(quoted, sizeof quoted, type.data, type.n));
    }
}

static uint32_t bind_bias(llrti_builder *b, const llrti_name *name, llrti_bias bias, uint32_t n)
{
    if (bias == LLRTI_BIAS_NONE) return LLRT_NONE;
    return llrti_build_vector(b, name, ".bias", n,
                              bias == LLRTI_BIAS_PRESENT ? LLRTI_WEIGHT_OPTIONAL : 0);
}

/* x times the named matrix plus its bias, as n_head heads of `width`. */
static uint32_t project(llrti_builder *b, uint32_t x, const llrti_name *name, llrti_bias bias,
                        uint32_t n_head, uint32_t width)
{
    const uint32_t weight = llrti_build_matrix(b, name, llrti_build_width(b, x), n_head * width, 0);
    return llrti_build_linear(b, x, weight, bind_bias(b, name, bias, n_head * width), n_head,
                              width);
}

static uint32_t normalise(llrti_builder *b, uint32_t x, const llrti_name *name, uint32_t width,
                          float eps)
{
    return llrti_build_rms_norm(b, x, llrti_build_vector(b, name, ".weight", width, 0), eps, 0.0f);
}

uint32_t llrti_decoder_attention(llrti_builder *b, const llrti_decoder *d, uint32_t x)
{
    if (!llrti_build_ok(b)) return LLRT_NONE;
    const llrti_attention how = {.scale = d->attention_scale, .window = d->window[b->layer]};
    const uint32_t in = normalise(b, x, &name_attn_norm, d->d_model, d->norm_eps);
    uint32_t q = project(b, in, &name_q, d->qkv_bias, d->n_head, d->head_dim);
    uint32_t k = project(b, in, &name_k, d->qkv_bias, d->n_kv_head, d->head_dim);
    const uint32_t v = project(b, in, &name_v, d->qkv_bias, d->n_kv_head, d->v_dim);
    if (d->has_qk_norm) {
        q = normalise(b, q, &name_q_norm, d->head_dim, d->norm_eps);
        k = normalise(b, k, &name_k_norm, d->head_dim, d->norm_eps);
    }
    q = llrti_build_rope(b, q, &d->rope);
    k = llrti_build_rope(b, k, &d->rope);
    const uint32_t attended = llrti_build_attention(b, q, k, v, &how);
    return project(b, attended, &name_attn_out, d->out_bias, 1, d->d_model);
}

uint32_t llrti_decoder_mlp(llrti_builder *b, const llrti_decoder *d, uint32_t x)
{
    const uint32_t in = normalise(b, x, &name_ffn_norm, d->d_model, d->norm_eps);
    const uint32_t gate = project(b, in, &name_gate, d->mlp_bias, 1, d->d_ff);
    const uint32_t up = project(b, in, &name_up, d->mlp_bias, 1, d->d_ff);
    return project(b, llrti_build_glu(b, gate, up, d->act), &name_down, d->mlp_bias, 1, d->d_model);
}

uint32_t llrti_decoder_embed(llrti_builder *b, uint32_t d_model)
{
    /*
     * A GGUF may state a vocabulary size that its tensors were padded away from; the tensor
     * decides there.
     */
    const uint32_t n_vocab = b->hp.is_gguf ? 0 : llrti_hparams_u32(&b->hp, LLRTI_HP(N_VOCAB));
    const uint32_t weight = llrti_build_matrix(b, &name_embed, d_model, n_vocab, 0);
    const uint32_t out = llrti_build_embed(b, weight, 1.0f);
    b->model->n_vocab = llrti_build_rows_of(b, weight);
    return out;
}

uint32_t llrti_decoder_head_weight(llrti_builder *b, uint32_t d_model)
{
    const bool has_head = llrti_build_has(b, &name_head, ".weight");
    const bool is_tied =
        b->hp.is_gguf ? !has_head : llrti_hparams_bool_or(&b->hp, LLRTI_HP(TIED), !has_head);
    return llrti_build_matrix(b, is_tied ? &name_embed : &name_head, d_model, b->model->n_vocab, 0);
}

void llrti_decoder_finish(llrti_builder *b, const llrti_decoder *d, uint32_t x)
{
    const uint32_t hidden =
        normalise(b, llrti_build_gather(b, x), &name_norm, d->d_model, d->norm_eps);
    llrti_build_head(b, hidden, llrti_decoder_head_weight(b, d->d_model), LLRT_NONE);
}

void llrti_decoder_emit(llrti_builder *b, const llrti_decoder *d)
{
    if (!llrti_build_ok(b)) return;
    uint32_t x = llrti_decoder_embed(b, d->d_model);
    for (uint32_t i = 0; i < d->n_layer && llrti_build_ok(b); i++) {
        llrti_build_layer(b, i);
        x = llrti_build_add(b, x, llrti_decoder_attention(b, d, x));
        x = llrti_build_add(b, x, llrti_decoder_mlp(b, d, x));
        llrti_build_layer_output(b, x);
    }
    llrti_decoder_finish(b, d, x);
}
