/* SPDX-License-Identifier: MIT */
/*
 * The common decoder; see decoder.h. Tensor names of both kinds of file are stated here once:
 *
 *   x += post( out( attention( rope( q( norm x ) ), rope( k( norm x ) ), v( norm x ) ) ) )
 *   x += post( down( act( gate( norm x ) ) * up( norm x ) ) )
 */
#include "decoder.h"

#include <math.h>
#include <string.h>

#include "text.h"

static const llrti_name common_name[LLRTI_DECODER_COUNT] = {
    [LLRTI_DECODER_EMBED] = {"token_embd", "embed_tokens"},
    [LLRTI_DECODER_EMBED_NORM] = {"token_embd_norm", NULL},
    [LLRTI_DECODER_NORM] = {"output_norm", "norm"},
    [LLRTI_DECODER_HEAD] = {"output", "/lm_head"},
    [LLRTI_DECODER_ATTN_NORM] = {"blk.#.attn_norm", "layers.#.input_layernorm"},
    [LLRTI_DECODER_QKV] = {"blk.#.attn_qkv", "layers.#.self_attn.qkv_proj"},
    [LLRTI_DECODER_Q] = {"blk.#.attn_q", "layers.#.self_attn.q_proj"},
    [LLRTI_DECODER_K] = {"blk.#.attn_k", "layers.#.self_attn.k_proj"},
    [LLRTI_DECODER_V] = {"blk.#.attn_v", "layers.#.self_attn.v_proj"},
    [LLRTI_DECODER_Q_NORM] = {"blk.#.attn_q_norm", "layers.#.self_attn.q_norm"},
    [LLRTI_DECODER_K_NORM] = {"blk.#.attn_k_norm", "layers.#.self_attn.k_norm"},
    [LLRTI_DECODER_ATTN_OUT] = {"blk.#.attn_output", "layers.#.self_attn.o_proj"},
    [LLRTI_DECODER_ATTN_POST_NORM] = {"blk.#.post_attention_norm",
                                      "layers.#.post_attention_layernorm"},
    [LLRTI_DECODER_MLP_NORM] = {"blk.#.ffn_norm", "layers.#.post_attention_layernorm"},
    [LLRTI_DECODER_GATE] = {"blk.#.ffn_gate", "layers.#.mlp.gate_proj"},
    [LLRTI_DECODER_UP] = {"blk.#.ffn_up", "layers.#.mlp.up_proj"},
    [LLRTI_DECODER_DOWN] = {"blk.#.ffn_down", "layers.#.mlp.down_proj"},
    [LLRTI_DECODER_MLP_POST_NORM] = {"blk.#.post_ffw_norm", "layers.#.post_feedforward_layernorm"},
    [LLRTI_DECODER_SINKS] = {"blk.#.attn_sinks.weight", "layers.#.self_attn.sinks"},
};

static const llrti_hparam layer_types = {NULL, "layer_types", 0, 0};

llrt_activation llrti_decoder_activation_of(llrti_builder *b, const llrti_hparam *key,
                                            const char *otherwise)
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
    const llrti_string name = llrti_hparams_string_or(&b->hp, key, otherwise);
    for (size_t i = 0; i < LLRTI_COUNT(known); i++)
        if (llrti_string_is(name, known[i].name)) return known[i].act;
    char quoted[LLRTI_TEXT_QUOTE_SIZE];
    llrti_hparams_fail(
        &b->hp, LLRT_ERR_UNSUPPORTED, key,
        "activation %s is not known, expected silu, gelu, gelu_new, relu or another of %zu",
        llrti_text_quote(quoted, sizeof quoted, name.data, name.n), LLRTI_COUNT(known));
    return LLRT_ACT_SILU;
}

llrt_activation llrti_decoder_activation(llrti_builder *b, const char *otherwise)
{
    return llrti_decoder_activation_of(b, LLRTI_HP(ACT), otherwise);
}

void llrti_decoder_refuse_unless(llrti_builder *b, const llrti_hparam *key, bool expected,
                                 const char *what)
{
    if (llrti_hparams_bool_or(&b->hp, key, expected) != expected)
        llrti_hparams_fail(&b->hp, LLRT_ERR_UNSUPPORTED, key, "%s", what);
}

void llrti_decoder_refuse_but(llrti_builder *b, const llrti_decoder_defaults *defaults)
{
    static const llrti_hparam quantisation = {NULL, "quantization_config|compression_config", 0, 0};
    static const llrti_hparam method = {NULL, "quantization_config.quant_method", 0, 0};
    static const llrti_hparam experts = {"expert_count",
                                         "num_local_experts|num_experts|n_routed_experts", 0, 1e6};
    static const llrti_hparam causal = {"attention.causal", "is_causal", 0, 0};
    static const llrti_hparam cross = {NULL, "add_cross_attention", 0, 0};
    static const llrti_hparam clamp = {"attention.clamp_kqv", "clip_qkv", 0, 1e9};
    llrti_hparams *const hp = &b->hp;
    const bool is_encoder = defaults->is_encoder;
    const llrti_string name = llrti_hparams_string_or(hp, &method, "");
    if (llrti_hparams_has(hp, &quantisation) &&
        !(defaults->quant_method && llrti_string_is(name, defaults->quant_method))) {
        char quoted[LLRTI_TEXT_QUOTE_SIZE];
        llrti_hparams_fail(hp, LLRT_ERR_UNSUPPORTED, &quantisation,
                           "checkpoints quantised by %s are not supported, only F32, F16 and BF16",
                           llrti_text_quote(quoted, sizeof quoted, name.data, name.n));
    }
    if (!defaults->has_experts && llrti_hparams_u32_or(hp, &experts, 0) > 0)
        llrti_hparams_fail(hp, LLRT_ERR_UNSUPPORTED, &experts,
                           "a mixture of experts is not supported for this architecture");
    if (llrti_hparams_bool_or(hp, &causal, !is_encoder) == is_encoder)
        llrti_hparams_fail(hp, LLRT_ERR_UNSUPPORTED, &causal,
                           "attention that is %s is not supported for this architecture",
                           is_encoder ? "causal" : "not causal");
    llrti_decoder_refuse_unless(b, &cross, false, "cross attention is not supported");
    if (llrti_hparams_f64_or(hp, &clamp, 0) != 0)
        llrti_hparams_fail(hp, LLRT_ERR_UNSUPPORTED, &clamp,
                           "clamped queries and keys are not supported");
}

void llrti_decoder_refuse(llrti_builder *b)
{
    llrti_decoder_refuse_but(b, &(llrti_decoder_defaults){0});
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

static void read_sizes(llrti_builder *b, llrti_decoder *d, const llrti_decoder_defaults *defaults)
{
    llrti_hparams *const hp = &b->hp;
    d->n_layer = llrti_hparams_u32(hp, LLRTI_HP(N_LAYER));
    d->d_model = llrti_hparams_u32(hp, LLRTI_HP(D_MODEL));
    d->d_ff = defaults->ff_factor
                  ? llrti_hparams_u32_or(hp, LLRTI_HP(D_FF), defaults->ff_factor * d->d_model)
                  : llrti_hparams_u32(hp, LLRTI_HP(D_FF));
    d->has_vocab_default = defaults->has_vocab_default;
    d->n_head = defaults->n_head && !hp->is_gguf
                    ? llrti_hparams_u32_or(hp, LLRTI_HP(N_HEAD), defaults->n_head)
                    : llrti_hparams_u32(hp, LLRTI_HP(N_HEAD));
    d->n_kv_head =
        llrti_hparams_u32_or(hp, LLRTI_HP(N_KV_HEAD),
                             defaults->n_kv_head && !hp->is_gguf ? defaults->n_kv_head : d->n_head);
    const bool has_default =
        defaults->head_dim && !hp->is_gguf && !llrti_hparams_is_null(hp, LLRTI_HP(HEAD_DIM));
    const uint32_t derived = has_default ? defaults->head_dim : d->d_model / d->n_head;
    const bool has_head_dim = llrti_hparams_has(hp, LLRTI_HP(HEAD_DIM)) || has_default;
    d->head_dim = llrti_hparams_u32_or(hp, LLRTI_HP(HEAD_DIM), LLRTI_MAX(derived, 1u));
    d->v_dim = llrti_hparams_u32_or(hp, LLRTI_HP(V_DIM), d->head_dim);
    const llrti_hparam *const eps =
        defaults->is_layer_norm ? LLRTI_HP(NORM_EPS) : LLRTI_HP(RMS_EPS);
    d->norm_eps =
        (float)(hp->is_gguf ? llrti_hparams_f64(hp, eps)
                            : llrti_hparams_f64_or(
                                  hp, eps, defaults->norm_eps > 0 ? defaults->norm_eps : 1e-6));
    if (llrti_build_ok(b)) check_sizes(b, d, has_head_dim);
}

/* n zero bytes that live as long as the model. */
static void *layer_table(llrti_builder *b, size_t n)
{
    void *const table = llrti_arena_alloc(b->arena, n, sizeof(uint32_t));
    if (table)
        memset(table, 0, n);
    else
        b->hp.status = llrti_fail_nomem(b->hp.err, "layer table", n);
    return table;
}

void llrti_decoder_init(llrti_decoder *d)
{
    memset(d, 0, sizeof *d);
    memcpy(d->name, common_name, sizeof d->name);
    d->has_attn_norm = d->has_mlp_norm = d->has_gate = true;
}

void llrti_decoder_read_as(llrti_builder *b, llrti_decoder *d,
                           const llrti_decoder_defaults *defaults)
{
    llrti_hparams *const hp = &b->hp;
    llrti_decoder_init(d);
    d->is_layer_norm = defaults->is_layer_norm;
    if (d->is_layer_norm) d->norm_bias = LLRTI_BIAS_REQUIRED;
    llrti_decoder_refuse_but(b, defaults);
    if (defaults->is_encoder) d->mask = LLRT_MASK_FULL;
    read_sizes(b, d, defaults);
    if (!llrti_build_ok(b)) return;
    d->act = llrti_decoder_activation(b, defaults->act ? defaults->act : "silu");
    llrti_rope_defaults rope = defaults->rope;
    rope.gguf_pairs = defaults->gguf_pairs;
    rope.hf_pairs = defaults->hf_pairs;
    rope.base = defaults->rope_base;
    rope.part = defaults->rope_part;
    d->has_permuted_qk = defaults->gguf_pairs == LLRT_ROPE_ADJACENT &&
                         defaults->hf_pairs == LLRT_ROPE_HALVES && !defaults->has_no_rope;
    if (!defaults->has_no_rope)
        llrti_rope_read_as(hp, b->arena, d->head_dim, b->n_ctx, &rope, &d->rope);
    if (!llrti_build_ok(b)) return;
    d->window = layer_table(b, d->n_layer * sizeof *d->window);
    if (!llrti_build_ok(b)) return;
    d->layer_rope = layer_table(b, d->n_layer * sizeof *d->layer_rope);
    if (!llrti_build_ok(b)) return;
    if (defaults->has_no_rope) memset(d->layer_rope, LLRTI_LAYER_ROPE_NONE, d->n_layer);
    llrti_model *const m = b->model;
    m->n_layer = d->n_layer;
    m->d_model = d->d_model;
    m->d_ff = d->d_ff;
    m->n_head = d->n_head;
    m->n_kv_head = d->n_kv_head;
    m->head_dim = d->head_dim;
}

void llrti_decoder_read(llrti_builder *b, llrti_decoder *d, uint32_t head_dim_default,
                        llrt_rope_pairs gguf_pairs)
{
    llrti_decoder_read_as(b, d,
                          &(llrti_decoder_defaults){.head_dim = head_dim_default,
                                                    .gguf_pairs = gguf_pairs,
                                                    .hf_pairs = LLRT_ROPE_HALVES});
}

void llrti_decoder_rename(llrti_decoder *d, const char *const hf[LLRTI_DECODER_COUNT])
{
    for (int i = 0; i < LLRTI_DECODER_COUNT; i++)
        if (hf[i]) d->name[i].hf = hf[i];
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

static void read_layer_types(llrti_builder *b, llrti_decoder *d, uint32_t window)
{
    if (!llrti_build_ok(b) || !llrti_hparams_has(&b->hp, &layer_types)) return;
    const uint32_t n = llrti_hparams_n_element(&b->hp, &layer_types);
    if (n != d->n_layer) {
        llrti_hparams_fail(&b->hp, LLRT_ERR_FORMAT, &layer_types,
                           "found %u elements, expected one for each of %u layers", (unsigned)n,
                           (unsigned)d->n_layer);
        return;
    }
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

void llrti_decoder_read_layer_types(llrti_builder *b, llrti_decoder *d)
{
    read_layer_types(b, d, llrti_decoder_window(b));
}

void llrti_decoder_read_late_windows(llrti_builder *b, llrti_decoder *d)
{
    static const llrti_hparam use_window = {NULL, "use_sliding_window", 0, 0};
    static const llrti_hparam first_layer = {NULL, "max_window_layers", 0, 4096};
    if (!llrti_hparams_bool_or(&b->hp, &use_window, false)) return;
    const uint32_t window = llrti_decoder_window(b);
    const uint32_t first = llrti_hparams_u32_or(&b->hp, &first_layer, 28);
    if (!llrti_build_ok(b)) return;
    for (uint32_t i = first; i < d->n_layer; i++) d->window[i] = window;
    llrti_decoder_read_layer_types(b, d);
}

bool llrti_decoder_read_flags(llrti_builder *b, llrti_decoder *d, const llrti_hparam *key,
                              uint32_t window)
{
    const uint32_t n = b->hp.is_gguf ? llrti_hparams_n_element(&b->hp, key) : 0;
    if (n == 0 || !llrti_build_ok(b)) return false;
    if (n != d->n_layer)
        llrti_hparams_fail(&b->hp, LLRT_ERR_FORMAT, key,
                           "found %u elements, expected one for each of %u layers", (unsigned)n,
                           (unsigned)d->n_layer);
    for (uint32_t i = 0; i < n && llrti_build_ok(b); i++)
        d->window[i] = llrti_hparams_bool_at(&b->hp, key, i) ? window : 0;
    return true;
}

void llrti_decoder_read_pattern(llrti_builder *b, llrti_decoder *d, uint32_t window,
                                uint32_t otherwise)
{
    static const llrti_hparam pattern = {"attention.sliding_window_pattern",
                                         "sliding_window_pattern|_sliding_window_pattern", 1, 4096};
    if (llrti_decoder_read_flags(b, d, &pattern, window)) return;
    const uint32_t every = llrti_hparams_u32_or(&b->hp, &pattern, otherwise);
    if (!llrti_build_ok(b)) return;
    for (uint32_t i = 0; i < d->n_layer; i++) d->window[i] = (i + 1) % every ? window : 0;
    read_layer_types(b, d, window);
}

float *llrti_decoder_alibi(llrti_builder *b, uint32_t n_head)
{
    if (!llrti_build_ok(b)) return NULL;
    float *const slope = llrti_arena_alloc(b->arena, n_head * sizeof *slope, 16);
    if (!slope) {
        b->hp.status = llrti_fail_nomem(b->hp.err, "slopes", n_head * sizeof *slope);
        return NULL;
    }
    uint32_t power = 1;
    while (power <= n_head / 2) power *= 2;
    for (uint32_t i = 0; i < n_head; i++)
        slope[i] = (float)(i < power ? pow(2.0, -8.0 * (i + 1) / power)
                                     : pow(2.0, -4.0 * (2 * (i - power) + 1) / power));
    return slope;
}

static uint32_t bind_bias(llrti_builder *b, const llrti_name *name, llrti_bias bias, uint32_t n)
{
    if (bias == LLRTI_BIAS_NONE) return LLRT_NONE;
    return llrti_build_vector(b, name, ".bias", n,
                              bias == LLRTI_BIAS_PRESENT ? LLRTI_WEIGHT_OPTIONAL : 0);
}

/* Rows of q, k and v that a group has, and of all three. */
static uint32_t group_rows(const llrti_decoder *d, uint32_t n_row[3])
{
    n_row[0] = d->n_head / d->n_kv_head * d->head_dim;
    n_row[1] = d->head_dim;
    n_row[2] = d->v_dim;
    return n_row[0] + n_row[1] + n_row[2];
}

/* Where rows that a GGUF has as all of q, then k, then v, are among rows kept by group. */
static void note_groups(llrti_builder *b, const llrti_decoder *d, uint32_t weight, uint32_t bias)
{
    uint32_t n_row[3], n = 0, begin = 0;
    const uint32_t stride = group_rows(d, n_row);
    uint32_t *const order = llrti_build_order(b, stride * d->n_kv_head);
    if (!order) return;
    for (int part = 0; part < 3; begin += n_row[part++])
        for (uint32_t group = 0; group < d->n_kv_head; group++)
            for (uint32_t i = 0; i < n_row[part]; i++) order[n++] = group * stride + begin + i;
    const llrti_gguf_form form = {.row = order};
    llrti_build_gguf_form(b, weight, &form);
    llrti_build_gguf_form(b, bias, &form);
}

/* x times the part's matrix plus its bias, as n_head heads of `width`. */
static uint32_t project(llrti_builder *b, const llrti_decoder *d, uint32_t x,
                        llrti_decoder_part part, llrti_bias bias, uint32_t n_head, uint32_t width)
{
    const llrti_name *const name = &d->name[part];
    const uint32_t weight = llrti_build_matrix(b, name, llrti_build_width(b, x), n_head * width, 0);
    if (part == LLRTI_DECODER_QKV) llrti_build_arranged(b, weight, 0, !d->has_same_qkv);
    if (d->has_permuted_qk && (part == LLRTI_DECODER_Q || part == LLRTI_DECODER_K))
        llrti_build_arranged(b, weight, part == LLRTI_DECODER_Q ? d->n_head : d->n_kv_head, false);
    const uint32_t vector = bind_bias(b, name, bias, n_head * width);
    if (part == LLRTI_DECODER_QKV && d->qkv == LLRTI_QKV_GROUPED && d->n_kv_head > 1)
        note_groups(b, d, weight, vector);
    return llrti_build_linear(b, x, weight, vector, n_head, width);
}

/*
 * The part's norm of x, with weights of `width` elements. Some of the oldest checkpoints call weight
 * and bias of their layer norms gamma and beta.
 */
static uint32_t normalise(llrti_builder *b, const llrti_decoder *d, uint32_t x,
                          llrti_decoder_part part, uint32_t width)
{
    const llrti_name *const name = &d->name[part];
    const llrti_weight_flags flags = d->is_qk_norm_own ? LLRTI_WEIGHT_FLAT : 0;
    const bool is_old = d->is_layer_norm && !b->hp.is_gguf && llrti_build_has(b, name, ".gamma");
    const uint32_t weight =
        llrti_build_vector(b, name, is_old ? ".gamma" : ".weight", width, flags);
    if (!d->is_layer_norm) return llrti_build_rms_norm(b, x, weight, d->norm_eps, d->norm_offset);
    const uint32_t bias = is_old ? llrti_build_vector(b, name, ".beta", width, 0)
                                 : bind_bias(b, name, d->norm_bias, width);
    return llrti_build_layer_norm(b, x, weight, bias, d->norm_eps);
}

uint32_t llrti_decoder_norm(llrti_builder *b, const llrti_decoder *d, uint32_t x,
                            llrti_decoder_part part)
{
    return normalise(b, d, x, part, d->d_model);
}

/*
 * n pieces of x, `width` elements each, one every `stride` from `begin` on, side by side. An
 * operator takes six values at most, so many pieces are put together in a tree.
 */
static uint32_t collect(llrti_builder *b, uint32_t x, uint32_t begin, uint32_t stride, uint32_t n,
                        uint32_t width)
{
    uint32_t piece[6], at = 0;
    if (n == 1 || !llrti_build_ok(b)) return llrti_build_slice(b, x, begin, 1, width);
    const uint32_t n_piece = LLRTI_MIN(n, 6u);
    for (uint32_t i = 0; i < n_piece; i++) {
        const uint32_t share = n / n_piece + (i < n % n_piece);
        piece[i] = collect(b, x, begin + at * stride, stride, share, width);
        at += share;
    }
    return llrti_build_concat(b, piece, n_piece);
}

/* q, k and v out of one matrix. */
static void split_qkv(llrti_builder *b, const llrti_decoder *d, uint32_t in, uint32_t qkv[3])
{
    const uint32_t n_group = d->n_kv_head, n_q = d->n_head * d->head_dim,
                   n_k = n_group * d->head_dim, n_v = n_group * d->v_dim;
    uint32_t all = project(b, d, in, LLRTI_DECODER_QKV, d->qkv_bias, 1, n_q + n_k + n_v);
    /* With facts to note the rows count as ordered as they are in a GGUF. */
    if (d->qkv == LLRTI_QKV_GROUPED && n_group > 1 && !b->hp.facts) {
        const uint32_t stride = (n_q + n_k + n_v) / n_group, per_q = n_q / n_group;
        const uint32_t q = collect(b, all, 0, stride, n_group, per_q);
        const uint32_t k = collect(b, all, per_q, stride, n_group, d->head_dim);
        const uint32_t v = collect(b, all, per_q + d->head_dim, stride, n_group, d->v_dim);
        qkv[0] = llrti_build_slice(b, q, 0, d->n_head, d->head_dim);
        qkv[1] = llrti_build_slice(b, k, 0, n_group, d->head_dim);
        qkv[2] = llrti_build_slice(b, v, 0, n_group, d->v_dim);
        return;
    }
    qkv[0] = llrti_build_slice(b, all, 0, d->n_head, d->head_dim);
    qkv[1] = llrti_build_slice(b, all, n_q, n_group, d->head_dim);
    qkv[2] = llrti_build_slice(b, all, n_q + n_k, n_group, d->v_dim);
}

/* q, k and v apart, as a GGUF has them, of a matrix that has them grouped. */
static void separate_qkv(llrti_builder *b, const llrti_decoder *d, uint32_t in, uint32_t qkv[3])
{
    static const llrti_decoder_part parts[3] = {LLRTI_DECODER_Q, LLRTI_DECODER_K, LLRTI_DECODER_V};
    uint32_t n_row[3];
    llrti_part part = {.n = d->n_kv_head,
                       .d_in = d->d_model,
                       .step = 1,
                       .n_row = group_rows(d, n_row),
                       .n_col = d->d_model};
    if (d->qkv_bias == LLRTI_BIAS_REQUIRED)
        llrti_facts_problem(b->hp.facts, "biases of q, k and v in one");
    for (int i = 0; i < 3; part.begin += n_row[i++]) {
        const llrti_name name = {d->name[parts[i]].gguf, d->name[LLRTI_DECODER_QKV].hf};
        part.d_out = n_row[i];
        const uint32_t weight = llrti_build_part(b, &name, &part, LLRTI_WEIGHT_AS_MATRIX);
        qkv[i] = llrti_build_linear(b, in, weight, LLRT_NONE, i ? d->n_kv_head : d->n_head,
                                    i < 2 ? d->head_dim : d->v_dim);
    }
}

/* q or k of its own matrix, normalised as a row when the family does so. */
static uint32_t project_heads(llrti_builder *b, const llrti_decoder *d, uint32_t in,
                              llrti_decoder_part part, llrti_decoder_part norm, uint32_t n_head)
{
    if (!d->has_qk_norm || !d->is_qk_norm_row)
        return project(b, d, in, part, d->qkv_bias, n_head, d->head_dim);
    const uint32_t width = n_head * d->head_dim;
    const uint32_t row = project(b, d, in, part, d->qkv_bias, 1, width);
    return llrti_build_slice(b, normalise(b, d, row, norm, width), 0, n_head, d->head_dim);
}

/* Attention over what is normalised already. */
static uint32_t attend(llrti_builder *b, const llrti_decoder *d, uint32_t in)
{
    uint32_t qkv[3];
    if (!llrti_build_ok(b)) return LLRT_NONE;
    llrti_attention how = {.scale = d->attention_scale,
                           .soft_cap = d->attention_soft_cap,
                           .window = d->window[b->layer],
                           .mask = d->mask,
                           .slope = d->slope,
                           .has_sinks = d->has_sinks};
    if (d->has_sinks)
        how.sinks =
            llrti_build_vector(b, &d->name[LLRTI_DECODER_SINKS], "", d->n_head, LLRTI_WEIGHT_PLAIN);
    if (d->qkv == LLRTI_QKV_SEPARATE) {
        qkv[0] = project_heads(b, d, in, LLRTI_DECODER_Q, LLRTI_DECODER_Q_NORM, d->n_head);
        qkv[1] = project_heads(b, d, in, LLRTI_DECODER_K, LLRTI_DECODER_K_NORM, d->n_kv_head);
        qkv[2] = project(b, d, in, LLRTI_DECODER_V, d->qkv_bias, d->n_kv_head, d->v_dim);
    } else if (d->is_qkv_apart && b->hp.facts) {
        separate_qkv(b, d, in, qkv);
    } else {
        split_qkv(b, d, in, qkv);
    }
    for (int i = 0; i < 2; i++) {
        if (d->has_qk_norm && !d->is_qk_norm_row)
            qkv[i] = normalise(b, d, qkv[i], i ? LLRTI_DECODER_K_NORM : LLRTI_DECODER_Q_NORM,
                               d->is_qk_norm_own ? llrti_build_width(b, qkv[i]) : d->head_dim);
        const uint8_t kind = d->layer_rope[b->layer];
        if (kind != LLRTI_LAYER_ROPE_NONE)
            qkv[i] = llrti_build_rope(b, qkv[i],
                                      kind == LLRTI_LAYER_ROPE_LOCAL ? &d->local_rope : &d->rope);
    }
    const uint32_t attended = llrti_build_attention(b, qkv[0], qkv[1], qkv[2], &how);
    return project(b, d, attended, LLRTI_DECODER_ATTN_OUT, d->out_bias, 1, d->d_model);
}

static uint32_t feed(llrti_builder *b, const llrti_decoder *d, uint32_t in)
{
    uint32_t inner;
    if (!llrti_build_ok(b)) return LLRT_NONE;
    if (d->feed && !(d->keeps_own_feed && d->keeps_own_feed[b->layer]))
        return d->feed(b, d->feed_ctx, in);
    if (!d->has_gate) {
        inner = project(b, d, in, LLRTI_DECODER_UP, d->mlp_bias, 1, d->d_ff);
        inner = llrti_build_activate(b, inner, d->act);
    } else if (d->is_gate_up_joined) {
        const uint32_t both = project(b, d, in, LLRTI_DECODER_UP, d->mlp_bias, 1, 2 * d->d_ff);
        const uint32_t gate = llrti_build_slice(b, both, 0, 1, d->d_ff);
        inner = llrti_build_glu(b, gate, llrti_build_slice(b, both, d->d_ff, 1, d->d_ff), d->act);
    } else {
        const uint32_t gate = project(b, d, in, LLRTI_DECODER_GATE, d->mlp_bias, 1, d->d_ff);
        const uint32_t up = project(b, d, in, LLRTI_DECODER_UP, d->mlp_bias, 1, d->d_ff);
        inner = llrti_build_glu(b, gate, up, d->act);
    }
    return project(b, d, inner, LLRTI_DECODER_DOWN, d->mlp_bias, 1, d->d_model);
}

static uint32_t scaled(llrti_builder *b, uint32_t x, float factor)
{
    return factor == 0.0f || factor == 1.0f ? x : llrti_build_scale(b, x, factor);
}

static uint32_t after_attention(llrti_builder *b, const llrti_decoder *d, uint32_t y)
{
    if (d->has_attn_post_norm) y = normalise(b, d, y, LLRTI_DECODER_ATTN_POST_NORM, d->d_model);
    return scaled(b, y, d->residual_scale);
}

static uint32_t after_mlp(llrti_builder *b, const llrti_decoder *d, uint32_t y)
{
    if (d->has_mlp_post_norm) y = normalise(b, d, y, LLRTI_DECODER_MLP_POST_NORM, d->d_model);
    return scaled(b, y, d->residual_scale);
}

uint32_t llrti_decoder_attention(llrti_builder *b, const llrti_decoder *d, uint32_t x)
{
    if (d->has_attn_norm && !(d->lacks_first_norm && b->layer == 0))
        x = normalise(b, d, x, LLRTI_DECODER_ATTN_NORM, d->d_model);
    return after_attention(b, d, attend(b, d, x));
}

uint32_t llrti_decoder_mlp(llrti_builder *b, const llrti_decoder *d, uint32_t x)
{
    if (d->has_mlp_norm) x = normalise(b, d, x, LLRTI_DECODER_MLP_NORM, d->d_model);
    return after_mlp(b, d, feed(b, d, x));
}

static uint32_t parallel_layer(llrti_builder *b, const llrti_decoder *d, uint32_t x)
{
    const uint32_t in = normalise(b, d, x, LLRTI_DECODER_ATTN_NORM, d->d_model);
    const uint32_t mlp_in =
        d->has_mlp_norm ? normalise(b, d, x, LLRTI_DECODER_MLP_NORM, d->d_model) : in;
    const uint32_t both = llrti_build_add(b, after_attention(b, d, attend(b, d, in)),
                                          after_mlp(b, d, feed(b, d, mlp_in)));
    return llrti_build_add(b, x, both);
}

static uint32_t sum_normed_layer(llrti_builder *b, const llrti_decoder *d, uint32_t x)
{
    x = llrti_build_add(b, x, attend(b, d, x));
    x = normalise(b, d, x, LLRTI_DECODER_ATTN_POST_NORM, d->d_model);
    x = llrti_build_add(b, x, feed(b, d, x));
    return normalise(b, d, x, LLRTI_DECODER_MLP_POST_NORM, d->d_model);
}

uint32_t llrti_decoder_layers(llrti_builder *b, const llrti_decoder *d, uint32_t x)
{
    for (uint32_t i = 0; i < d->n_layer && llrti_build_ok(b); i++) {
        llrti_build_layer(b, i);
        if (d->is_parallel) {
            x = parallel_layer(b, d, x);
        } else if (d->is_sum_normed) {
            x = sum_normed_layer(b, d, x);
        } else {
            x = llrti_build_add(b, x, llrti_decoder_attention(b, d, x));
            x = llrti_build_add(b, x, llrti_decoder_mlp(b, d, x));
        }
        llrti_build_layer_output(b, x);
    }
    return x;
}

uint32_t llrti_decoder_embed(llrti_builder *b, const llrti_decoder *d)
{
    /*
     * A GGUF may state a vocabulary size that its tensors were padded away from; the tensor
     * decides there.
     */
    const bool is_stated =
        !b->hp.is_gguf && (!d->has_vocab_default || llrti_hparams_has(&b->hp, LLRTI_HP(N_VOCAB)));
    const uint32_t n_vocab = is_stated ? llrti_hparams_u32(&b->hp, LLRTI_HP(N_VOCAB)) : 0;
    const uint32_t weight =
        llrti_build_matrix(b, &d->name[LLRTI_DECODER_EMBED], d->d_model, n_vocab, 0);
    const uint32_t out =
        llrti_build_embed(b, weight, d->embed_scale == 0.0f ? 1.0f : d->embed_scale);
    b->model->n_vocab = llrti_build_rows_of(b, weight);
    return d->has_embed_norm ? llrti_decoder_norm(b, d, out, LLRTI_DECODER_EMBED_NORM) : out;
}

/* The head's name: its own, or the embedding's when the file ties the two. */
static const llrti_name *head_name(llrti_builder *b, const llrti_decoder *d)
{
    const bool has_head = llrti_build_has(b, &d->name[LLRTI_DECODER_HEAD], ".weight");
    const bool is_tied =
        b->hp.is_gguf ? !has_head
                      : llrti_hparams_bool_or(&b->hp, LLRTI_HP(TIED), d->is_tied || !has_head);
    return &d->name[is_tied ? LLRTI_DECODER_EMBED : LLRTI_DECODER_HEAD];
}

void llrti_decoder_finish(llrti_builder *b, const llrti_decoder *d, uint32_t x)
{
    const uint32_t hidden =
        normalise(b, d, llrti_build_gather(b, x), LLRTI_DECODER_NORM, d->d_model);
    const uint32_t n_vocab = b->model->n_vocab;
    const uint32_t weight = llrti_build_matrix(b, head_name(b, d), d->d_model, n_vocab, 0);
    const uint32_t bias = bind_bias(b, &d->name[LLRTI_DECODER_HEAD], d->head_bias, n_vocab);
    uint32_t logits = llrti_build_head(b, hidden, weight, bias);
    logits = scaled(b, logits, d->logit_scale);
    if (d->logit_soft_cap > 0) logits = llrti_build_soft_cap(b, logits, d->logit_soft_cap);
    llrti_build_logits(b, logits);
}

void llrti_decoder_emit(llrti_builder *b, const llrti_decoder *d)
{
    if (!llrti_build_ok(b)) return;
    llrti_decoder_finish(b, d, llrti_decoder_layers(b, d, llrti_decoder_embed(b, d)));
}
