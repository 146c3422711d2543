/* SPDX-License-Identifier: MIT */
/*
 * Qwen 3 Next and Qwen 3.5, dense or as mixtures of experts: three layers of gated delta rule to
 * one of attention. Norms are zero-centred (their weights lack 1) in safetensors files, plain in
 * GGUF files.
 *
 *   attention  q comes with a gate per head, in the same matrix; out( attention * sigmoid(gate) )
 *   delta      q, k, v through a short convolution and silu, q and k of length 1;
 *              out( norm( delta rule( q, k, v, a, sigmoid b ) ) * silu(z) )
 *
 * Qwen 3 Next holds q, k, v and z of each key head together, and b and a; Qwen 3.5 has them apart.
 * Value heads that share a key head follow each other, except in GGUF files of Qwen 3.5, which lay
 * them out so that value head h goes with key head h % n_key_head.
 */
#include <math.h>

#include "families.h"
#include "moe.h"

#define UNIT_EPS 1e-6 /* added to the squared length of q and k; no file states it */

static const llrti_name name_qkv = {"blk.#.attn_qkv", "layers.#.linear_attn.in_proj_qkv"};
static const llrti_name name_z = {"blk.#.attn_gate", "layers.#.linear_attn.in_proj_z"};
static const llrti_name name_b = {"blk.#.ssm_beta", "layers.#.linear_attn.in_proj_b"};
static const llrti_name name_a = {"blk.#.ssm_alpha", "layers.#.linear_attn.in_proj_a"};
static const llrti_name name_qkvz = {"blk.#.ssm_in", "layers.#.linear_attn.in_proj_qkvz"};
static const llrti_name name_ba = {"blk.#.ssm_ba", "layers.#.linear_attn.in_proj_ba"};
static const llrti_name name_conv = {"blk.#.ssm_conv1d", "layers.#.linear_attn.conv1d"};
static const llrti_name name_dt = {"blk.#.ssm_dt.bias", "layers.#.linear_attn.dt_bias"};
static const llrti_name name_log_a = {"blk.#.ssm_a", "layers.#.linear_attn.A_log"};
static const llrti_name name_norm = {"blk.#.ssm_norm", "layers.#.linear_attn.norm"};
static const llrti_name name_out = {"blk.#.ssm_out", "layers.#.linear_attn.out_proj"};

static const llrti_hparam n_key_head = {"ssm.group_count", "linear_num_key_heads", 1, 1 << 14};
static const llrti_hparam n_value_head = {"ssm.time_step_rank", "linear_num_value_heads", 1,
                                          1 << 14};
static const llrti_hparam key_dim = {"ssm.state_size", "linear_key_head_dim", 1, 1 << 14};
static const llrti_hparam value_dim = {NULL, "linear_value_head_dim", 1, 1 << 14};
static const llrti_hparam inner_size = {"ssm.inner_size", NULL, 1, 1 << 24};
static const llrti_hparam n_tap = {"ssm.conv_kernel", "linear_conv_kernel_dim", 2, 1 << 10};
static const llrti_hparam interval = {"full_attention_interval", "full_attention_interval", 1,
                                      4096};
static const llrti_hparam layer_types = {NULL, "layer_types", 0, 0};
static const llrti_hparam n_next = {"nextn_predict_layers", NULL, 0, 4096};
static const llrti_hparam shared_d_ff = {"expert_shared_feed_forward_length",
                                         "shared_expert_intermediate_size", 1, 1 << 24};
static const llrti_hparam output_gate = {NULL, "attn_output_gate", 0, 0};

typedef struct hybrid {
    llrti_decoder d;
    llrti_moe moe;
    uint32_t n_k, n_v, dk, dv, n_tap; /* of the delta layers */
    bool is_joined;                   /* q, k, v and z of a key head are together */
    bool is_tiled;
    uint8_t *is_full; /* (n_layer) 1: attention */
} hybrid;

static void read_delta(llrti_builder *b, hybrid *h)
{
    llrti_hparams *const hp = &b->hp;
    h->n_tap = llrti_hparams_u32_or(hp, &n_tap, 4);
    if (hp->is_gguf) {
        h->n_k = llrti_hparams_u32(hp, &n_key_head);
        h->n_v = llrti_hparams_u32(hp, &n_value_head);
        h->dk = llrti_hparams_u32(hp, &key_dim);
        const uint32_t inner = llrti_hparams_u32(hp, &inner_size);
        h->dv = inner / h->n_v;
        if (llrti_build_ok(b) && inner % h->n_v)
            llrti_hparams_fail(hp, LLRT_ERR_FORMAT, &inner_size,
                               "found %u, expected a multiple of the %u value heads",
                               (unsigned)inner, (unsigned)h->n_v);
    } else {
        h->n_k = llrti_hparams_u32_or(hp, &n_key_head, 16);
        h->n_v = llrti_hparams_u32_or(hp, &n_value_head, 32);
        h->dk = llrti_hparams_u32_or(hp, &key_dim, 128);
        h->dv = llrti_hparams_u32_or(hp, &value_dim, 128);
        if ((uint64_t)h->n_v * h->dv <= inner_size.max)
            llrti_facts_u32(hp->facts, inner_size.gguf, h->n_v * h->dv, true);
    }
    if (llrti_build_ok(b) && h->n_v % h->n_k)
        llrti_hparams_fail(hp, LLRT_ERR_FORMAT, &n_value_head,
                           "found %u value heads, expected a multiple of the %u key heads",
                           (unsigned)h->n_v, (unsigned)h->n_k);
    if (llrti_build_ok(b) &&
        ((uint64_t)h->n_v * h->dv > 1 << 24 || (uint64_t)h->n_k * h->dk > 1 << 24 ||
         (uint64_t)h->n_v * h->dv * h->dk > 1 << 28))
        llrti_hparams_fail(hp, LLRT_ERR_FORMAT, &n_value_head, "%u value heads are too many",
                           (unsigned)h->n_v);
}

/* Which layers attend: those that layer_types names, or every n-th. */
static void read_layers(llrti_builder *b, hybrid *h)
{
    llrti_hparams *const hp = &b->hp;
    if (!llrti_build_ok(b)) return;
    const uint32_t n = h->d.n_layer, every = llrti_hparams_u32_or(hp, &interval, 4);
    h->is_full = llrti_arena_alloc(b->arena, n, 1);
    if (!h->is_full) {
        hp->status = llrti_fail_nomem(hp->err, "layer table", n);
        return;
    }
    for (uint32_t i = 0; i < n; i++) h->is_full[i] = (i + 1) % every == 0;
    if (!llrti_hparams_has(hp, &layer_types)) return;
    if (llrti_hparams_n_element(hp, &layer_types) != n)
        llrti_hparams_fail(hp, LLRT_ERR_FORMAT, &layer_types,
                           "found %u elements, expected one for each of %u layers",
                           (unsigned)llrti_hparams_n_element(hp, &layer_types), (unsigned)n);
    for (uint32_t i = 0; i < n && llrti_build_ok(b); i++) {
        const llrti_string type = llrti_hparams_string_at(hp, &layer_types, i);
        h->is_full[i] = llrti_string_is(type, "full_attention");
        if (!h->is_full[i] && !llrti_string_is(type, "linear_attention"))
            llrti_hparams_fail(hp, LLRT_ERR_UNSUPPORTED, &layer_types,
                               "layer %u: only linear_attention and full_attention are supported",
                               (unsigned)i);
    }
}

static void read_experts(llrti_builder *b, hybrid *h)
{
    static const llrti_moe_defaults defaults = {.n_expert = 512,
                                                .n_used = 10,
                                                .d_ff = 512,
                                                .is_normalized = true,
                                                .is_gguf_normalized = true};
    llrti_moe_read(b, &h->d, &defaults, &h->moe);
    h->moe.shared_d_ff = llrti_hparams_u32_or(&b->hp, &shared_d_ff, b->hp.is_gguf ? 0 : 512);
    h->moe.has_shared_router = true;
    llrti_moe_read_dense(b, &h->d, &h->moe);
    llrti_moe_attach(&h->moe, &h->d);
}

static uint32_t project(llrti_builder *b, uint32_t x, const llrti_name *name, uint32_t n_head,
                        uint32_t width)
{
    const uint32_t weight = llrti_build_matrix(b, name, llrti_build_width(b, x), n_head * width, 0);
    return llrti_build_linear(b, x, weight, LLRT_NONE, n_head, width);
}

/*
 * The order in which GGUF files of Qwen 3.5 have what is laid out by value head, `width` elements
 * each, after `begin` others: the first of every key head, then the second of every one, ... NULL:
 * as it is.
 */
static const uint32_t *tile(llrti_builder *b, const hybrid *h, uint32_t begin, uint32_t width)
{
    const uint32_t each = h->n_v / h->n_k;
    if (h->is_joined || each == 1) return NULL;
    uint32_t *const order = llrti_build_order(b, begin + h->n_v * width);
    if (!order) return NULL;
    for (uint32_t i = 0; i < begin; i++) order[i] = i;
    for (uint32_t head = 0; head < h->n_v; head++)
        for (uint32_t i = 0; i < width; i++)
            order[begin + head * width + i] =
                begin + (head % h->n_k * each + head / h->n_k) * width + i;
    return order;
}

/* The same for what is laid out by value head, after `begin` other rows. */
static uint32_t project_values(llrti_builder *b, const hybrid *h, uint32_t x,
                               const llrti_name *name, uint32_t begin, uint32_t width)
{
    const uint32_t n = begin + h->n_v * width;
    const uint32_t weight = llrti_build_matrix(b, name, llrti_build_width(b, x), n, 0);
    if (!h->is_joined && h->n_v != h->n_k) llrti_build_arranged(b, weight, 0, true);
    llrti_build_gguf_form(b, weight, &(llrti_gguf_form){.row = tile(b, h, begin, width)});
    return llrti_build_linear(b, x, weight, LLRT_NONE, 1, n);
}

/* The other way, where columns are laid out so. */
static uint32_t project_back(llrti_builder *b, const hybrid *h, uint32_t x)
{
    const uint32_t n = h->d.d_model;
    const uint32_t weight = llrti_build_matrix(b, &name_out, llrti_build_width(b, x), n, 0);
    if (!h->is_joined && h->n_v != h->n_k) llrti_build_arranged(b, weight, 0, true);
    llrti_build_gguf_form(b, weight, &(llrti_gguf_form){.column = tile(b, h, 0, h->dv)});
    return llrti_build_linear(b, x, weight, LLRT_NONE, 1, n);
}

/* Rows [begin, begin + d_out) of each of n groups of n_row rows. */
static uint32_t project_part(llrti_builder *b, uint32_t x, const llrti_name *name,
                             const llrti_part *part)
{
    llrti_part p = *part;
    p.d_in = p.n_col = llrti_build_width(b, x);
    p.step = 1;
    const uint32_t weight = llrti_build_part(b, name, &p, LLRTI_WEIGHT_AS_MATRIX);
    return llrti_build_linear(b, x, weight, LLRT_NONE, p.n, p.d_out);
}

static uint32_t normalise(llrti_builder *b, uint32_t x, const llrti_name *name, uint32_t width,
                          const llrti_decoder *d)
{
    const uint32_t weight = llrti_build_vector(b, name, ".weight", width, 0);
    return llrti_build_rms_norm(b, x, weight, d->norm_eps, d->norm_offset);
}

static uint32_t attend(llrti_builder *b, const hybrid *h, uint32_t x)
{
    const llrti_decoder *const d = &h->d;
    llrti_part part = {.n = d->n_head, .d_out = d->head_dim, .n_row = 2 * d->head_dim};
    const llrti_name *const name_q = &d->name[LLRTI_DECODER_Q];
    uint32_t q = project_part(b, x, name_q, &part);
    part.begin = d->head_dim;
    const uint32_t gate = project_part(b, x, name_q, &part);
    uint32_t k = project(b, x, &d->name[LLRTI_DECODER_K], d->n_kv_head, d->head_dim);
    const uint32_t v = project(b, x, &d->name[LLRTI_DECODER_V], d->n_kv_head, d->head_dim);
    q = normalise(b, q, &d->name[LLRTI_DECODER_Q_NORM], d->head_dim, d);
    k = normalise(b, k, &d->name[LLRTI_DECODER_K_NORM], d->head_dim, d);
    const uint32_t attended =
        llrti_build_attention(b, llrti_build_rope(b, q, &d->rope), llrti_build_rope(b, k, &d->rope),
                              v, &(llrti_attention){0});
    return project(b, llrti_build_sigmoid_gate(b, attended, gate), &d->name[LLRTI_DECODER_ATTN_OUT],
                   1, d->d_model);
}

/* x's q, k and v side by side, and z, a and b. */
static void project_delta(llrti_builder *b, const hybrid *h, uint32_t x, uint32_t *qkv, uint32_t *z,
                          uint32_t ab[2])
{
    const uint32_t each = h->n_v / h->n_k, per = each * h->dv; /* of the values of a key head */
    if (h->is_joined && !llrti_build_has(b, &name_qkv, ".weight")) {
        const uint32_t n_row = 2 * h->dk + 2 * per;
        const llrti_part part[4] = {
            {.n = h->n_k, .d_out = h->dk, .n_row = n_row},
            {.n = h->n_k, .d_out = h->dk, .n_row = n_row, .begin = h->dk},
            {.n = h->n_k, .d_out = per, .n_row = n_row, .begin = 2 * h->dk},
            {.n = h->n_k, .d_out = per, .n_row = n_row, .begin = 2 * h->dk + per}};
        uint32_t y[4];
        for (int i = 0; i < 4; i++) y[i] = project_part(b, x, &name_qkvz, &part[i]);
        *qkv = llrti_build_concat(b, y, 3);
        *z = y[3];
    } else {
        *qkv = project_values(b, h, x, &name_qkv, 2 * h->n_k * h->dk, h->dv);
        *z = project_values(b, h, x, &name_z, 0, h->dv);
    }
    if (h->is_joined) {
        llrti_part part = {.n = h->n_k, .d_out = each, .n_row = 2 * each};
        ab[1] = project_part(b, x, &name_ba, &part);
        part.begin = each;
        ab[0] = project_part(b, x, &name_ba, &part);
    } else {
        ab[0] = project_values(b, h, x, &name_a, 0, 1);
        ab[1] = project_values(b, h, x, &name_b, 0, 1);
    }
}

/* Heads of length 1, times `factor`: an rms norm is sqrt(width) too long. */
static uint32_t make_unit(llrti_builder *b, uint32_t x, uint32_t width, double factor)
{
    const uint32_t y = llrti_build_rms_norm(b, x, LLRT_NONE, (float)(UNIT_EPS / width), 0);
    return llrti_build_scale(b, y, (float)(factor / sqrt((double)width)));
}

static uint32_t run_delta(llrti_builder *b, const hybrid *h, uint32_t x)
{
    uint32_t qkv, z, ab[2];
    const uint32_t n_key = h->n_k * h->dk, n_channel = 2 * n_key + h->n_v * h->dv;
    project_delta(b, h, x, &qkv, &z, ab);
    const uint32_t taps =
        llrti_build_matrix(b, &name_conv, h->n_tap, n_channel, LLRTI_WEIGHT_SQUEEZED);
    llrti_build_gguf_form(b, taps, &(llrti_gguf_form){.row = tile(b, h, 2 * n_key, h->dv)});
    qkv = llrti_build_activate(b, llrti_build_short_conv(b, qkv, taps, LLRT_NONE), LLRT_ACT_SILU);
    const uint32_t q = llrti_build_slice(b, qkv, 0, h->n_k, h->dk);
    const uint32_t k = llrti_build_slice(b, qkv, n_key, h->n_k, h->dk);
    const llrti_scan scan = {
        .in = {make_unit(b, q, h->dk, 1 / sqrt((double)h->dk)), make_unit(b, k, h->dk, 1),
               llrti_build_slice(b, qkv, 2 * n_key, h->n_v, h->dv), ab[0],
               llrti_build_activate(b, ab[1], LLRT_ACT_SIGMOID)},
        .a = llrti_build_vector(b, &name_log_a, "", h->n_v, LLRTI_WEIGHT_PLAIN),
        .dt_bias = llrti_build_vector(b, &name_dt, "", h->n_v, LLRTI_WEIGHT_PLAIN),
        .is_log_a = !b->hp.is_gguf,
        .is_tiled = h->is_tiled};
    const uint32_t *const order = tile(b, h, 0, 1);
    llrti_build_gguf_form(b, scan.a, &(llrti_gguf_form){.row = order, .is_negated_exp = true});
    llrti_build_gguf_form(b, scan.dt_bias, &(llrti_gguf_form){.row = order});
    const uint32_t y = llrti_build_gated_delta(b, &scan);
    const uint32_t weight = llrti_build_vector(b, &name_norm, ".weight", h->dv, 0);
    const uint32_t normed = llrti_build_rms_norm(b, y, weight, h->d.norm_eps, 0);
    return project_back(b, h, llrti_build_glu(b, z, normed, LLRT_ACT_SILU));
}

/* The text part of a model of several kinds of input has a section of config.json to itself. */
static void enter_text_config(llrti_builder *b, bool *is_tied)
{
    static const llrti_hparam tied = {NULL, "tie_word_embeddings", 0, 0};
    static const llrti_name embed = {"token_embd", "model.language_model.embed_tokens"};
    *is_tied = llrti_hparams_bool_or(&b->hp, &tied, false);
    const llrti_json *const text = llrti_json_get(b->hp.config, "text_config");
    if (text && text->type == LLRTI_JSON_OBJECT) b->hp.config = text;
    b->hf_prefix = llrti_build_has(b, &embed, ".weight") ? "model.language_model." : "model.";
}

static void build(llrti_builder *b, bool is_next, bool has_experts)
{
    hybrid h = {.is_joined = is_next, .is_tiled = b->hp.is_gguf && !is_next};
    llrti_decoder *const d = &h.d;
    bool is_tied = false;
    if (!b->hp.is_gguf) enter_text_config(b, &is_tied);
    llrti_decoder_read_as(b, d,
                          &(llrti_decoder_defaults){.head_dim = 256,
                                                    .n_head = 16,
                                                    .n_kv_head = is_next || has_experts ? 2 : 4,
                                                    .gguf_pairs = LLRT_ROPE_HALVES,
                                                    .hf_pairs = LLRT_ROPE_HALVES,
                                                    .rope_part = 0.25,
                                                    .rope = {.has_sections = !is_next},
                                                    .has_experts = has_experts});
    llrti_decoder_refuse_unless(b, LLRTI_HP(ATTENTION_BIAS), false,
                                "biases of attention are not supported for this architecture");
    llrti_decoder_refuse_unless(b, &output_gate, true,
                                "attention without a gate is not supported for this architecture");
    const uint32_t n_extra = llrti_hparams_u32_or(&b->hp, &n_next, 0);
    if (n_extra < d->n_layer) d->n_layer -= n_extra; /* that predict further tokens */
    b->model->n_layer = d->n_layer;
    d->is_tied = is_tied;
    d->norm_offset = b->hp.is_gguf ? 0.0f : 1.0f;
    d->name[LLRTI_DECODER_MLP_NORM].gguf = "blk.#.post_attention_norm";
    read_delta(b, &h);
    read_layers(b, &h);
    if (has_experts) read_experts(b, &h);
    uint32_t x = llrti_decoder_embed(b, d);
    for (uint32_t i = 0; i < d->n_layer && llrti_build_ok(b); i++) {
        llrti_build_layer(b, i);
        const uint32_t in = normalise(b, x, &d->name[LLRTI_DECODER_ATTN_NORM], d->d_model, d);
        x = llrti_build_add(b, x, h.is_full[i] ? attend(b, &h, in) : run_delta(b, &h, in));
        x = llrti_build_add(b, x, llrti_decoder_mlp(b, d, x));
        llrti_build_layer_output(b, x);
    }
    llrti_decoder_finish(b, d, x);
}

void llrti_family_qwen3_next(llrti_builder *b)
{
    build(b, true, true);
}

void llrti_family_qwen3_5(llrti_builder *b)
{
    build(b, false, false);
}

void llrti_family_qwen3_5_moe(llrti_builder *b)
{
    build(b, false, true);
}
