/* SPDX-License-Identifier: MIT */
/*
 * DeepSeek V2 and V3: multi-head latent attention and mixtures of experts with shared ones.
 *
 * A token's keys and values are made from one latent vector c (kv_rank) by matrices per head,
 * k = K[h] c and v = V[h] c, beside a rotated part that all heads share. Only c and the rotated
 * part are kept. Since q k = q K[h] c = (K[h]^T q) c, the query is carried into the latent space,
 * attention runs there with one key for all heads, and its result is carried back by V[h]: the
 * absorbed form, here always. K and V are slices of one tensor (kv_b), or two tensors in GGUF files
 * of today.
 */
#include <math.h>

#include "families.h"
#include "moe.h"

/* Norms of latent vectors have an epsilon of their own, which no file states. */
#define LATENT_EPS 1e-6f

static const llrti_name name_q_a = {"blk.#.attn_q_a", "layers.#.self_attn.q_a_proj"};
static const llrti_name name_q_a_norm = {"blk.#.attn_q_a_norm", "layers.#.self_attn.q_a_layernorm"};
static const llrti_name name_q_b = {"blk.#.attn_q_b", "layers.#.self_attn.q_b_proj"};
static const llrti_name name_kv_a = {"blk.#.attn_kv_a_mqa",
                                     "layers.#.self_attn.kv_a_proj_with_mqa"};
static const llrti_name name_kv_a_norm = {"blk.#.attn_kv_a_norm",
                                          "layers.#.self_attn.kv_a_layernorm"};
static const llrti_name name_kv_b = {"blk.#.attn_kv_b", NULL};
static const llrti_name name_k_b = {"blk.#.attn_k_b", "layers.#.self_attn.kv_b_proj"};
static const llrti_name name_v_b = {"blk.#.attn_v_b", "layers.#.self_attn.kv_b_proj"};

static const llrti_hparam q_rank = {"attention.q_lora_rank", "q_lora_rank", 0, 1 << 16};
static const llrti_hparam kv_rank = {"attention.kv_lora_rank", "kv_lora_rank", 1, 1 << 16};
static const llrti_hparam rope_dim = {"rope.dimension_count", "qk_rope_head_dim", 2, 1 << 14};
static const llrti_hparam nope_dim = {NULL, "qk_nope_head_dim", 1, 1 << 14};
static const llrti_hparam key_dim = {"attention.key_length_mla", NULL, 1, 1 << 14};
static const llrti_hparam old_key_dim = {"attention.key_length", NULL, 1, 1 << 14};
static const llrti_hparam v_dim = {"attention.value_length_mla", "v_head_dim", 1, 1 << 14};
static const llrti_hparam old_v_dim = {"attention.value_length", NULL, 1, 1 << 14};
static const llrti_hparam n_dense = {"leading_dense_block_count", "first_k_dense_replace", 0, 4096};
static const llrti_hparam n_shared = {"expert_shared_count", "n_shared_experts", 0, 4096};
static const llrti_hparam n_next = {"nextn_predict_layers", NULL, 0, 4096};
static const llrti_hparam sparse_step = {NULL, "moe_layer_freq", 1, 4096};
static const llrti_hparam method = {NULL, "topk_method", 0, 0};
static const llrti_hparam scoring = {NULL, "scoring_func", 0, 0};
static const llrti_hparam normalize = {NULL, "norm_topk_prob", 0, 0};
static const llrti_hparam is_interleaved = {NULL, "rope_interleave", 0, 0};

/* What the two versions differ in: the defaults of their configuration classes. */
typedef struct version {
    bool is_v3;
    uint32_t n_dense, n_shared;
    llrti_moe_defaults moe;
} version;

typedef struct latent {
    llrti_decoder d;
    llrti_moe moe;
    uint32_t q_rank, kv_rank, nope, rope, v;
    llrti_bias bias; /* of the latent projections and the output */
} latent;

static uint32_t read_or(llrti_builder *b, const llrti_hparam *key, uint32_t otherwise)
{
    if (b->hp.is_gguf) return llrti_hparams_u32(&b->hp, key);
    return llrti_hparams_u32_or(&b->hp, key, otherwise);
}

/* GGUF files mean the absorbed form by the plain keys, that of the checkpoint by those of their own. */
static void note_attention(llrti_builder *b, const latent *l)
{
    llrti_facts *const facts = b->hp.facts;
    llrti_facts_correct_u32(facts, LLRTI_HP(N_KV_HEAD)->gguf, 1);
    llrti_facts_u32(facts, old_key_dim.gguf, l->kv_rank + l->rope, true);
    llrti_facts_u32(facts, old_v_dim.gguf, l->kv_rank, true);
    llrti_facts_u32(facts, key_dim.gguf, l->nope + l->rope, true);
    llrti_facts_u32(facts, v_dim.gguf, l->v, true);
}

static void read_attention(llrti_builder *b, latent *l)
{
    llrti_hparams *const hp = &b->hp;
    const bool is_null = hp->is_gguf || llrti_hparams_is_null(hp, &q_rank);
    l->q_rank = llrti_hparams_u32_or(hp, &q_rank, is_null ? 0 : 1536);
    l->kv_rank = read_or(b, &kv_rank, 512);
    l->rope = read_or(b, &rope_dim, 64);
    if (hp->is_gguf) {
        const bool is_old = !llrti_hparams_has(hp, &key_dim);
        const uint32_t key = llrti_hparams_u32(hp, is_old ? &old_key_dim : &key_dim);
        l->v = llrti_hparams_u32(hp, is_old ? &old_v_dim : &v_dim);
        l->nope = key > l->rope ? key - l->rope : 0;
        if (llrti_build_ok(b) && l->nope == 0)
            llrti_hparams_fail(hp, LLRT_ERR_FORMAT, is_old ? &old_key_dim : &key_dim,
                               "found %u, expected more than the %u rotated elements",
                               (unsigned)key, (unsigned)l->rope);
    } else {
        l->nope = llrti_hparams_u32_or(hp, &nope_dim, 128);
        l->v = llrti_hparams_u32_or(hp, &v_dim, 128);
        if (llrti_hparams_bool_or(hp, LLRTI_HP(ATTENTION_BIAS), false))
            l->bias = LLRTI_BIAS_REQUIRED;
        note_attention(b, l);
    }
    llrt_rope_pairs pairs = LLRT_ROPE_ADJACENT;
    if (!llrti_hparams_bool_or(hp, &is_interleaved, true)) pairs = LLRT_ROPE_HALVES;
    const llrti_rope_defaults rope = {
        .gguf_pairs = LLRT_ROPE_ADJACENT, .hf_pairs = pairs, .has_score_factor = true};
    if (llrti_build_ok(b)) llrti_rope_read_as(hp, b->arena, l->rope, b->n_ctx, &rope, &l->d.rope);
}

static void read_sizes(llrti_builder *b, llrti_decoder *d)
{
    llrti_hparams *const hp = &b->hp;
    llrti_model *const m = b->model;
    const uint32_t n_extra = llrti_hparams_u32_or(hp, &n_next, 0);
    m->n_layer = llrti_hparams_u32(hp, LLRTI_HP(N_LAYER));
    if (n_extra && n_extra < m->n_layer) m->n_layer -= n_extra; /* that predict further tokens */
    m->d_model = d->d_model = llrti_hparams_u32(hp, LLRTI_HP(D_MODEL));
    m->n_head = m->n_kv_head = d->n_head = llrti_hparams_u32(hp, LLRTI_HP(N_HEAD));
    m->d_ff = d->d_ff = llrti_hparams_u32(hp, LLRTI_HP(D_FF));
    d->n_layer = m->n_layer;
    d->norm_eps = (float)(hp->is_gguf ? llrti_hparams_f64(hp, LLRTI_HP(RMS_EPS))
                                      : llrti_hparams_f64_or(hp, LLRTI_HP(RMS_EPS), 1e-6));
    d->act = llrti_decoder_activation(b, "silu");
}

/* How experts are chosen, by the names config.json has for it. */
static void read_choice(llrti_builder *b, const version *v, llrti_moe *moe)
{
    llrti_hparams *const hp = &b->hp;
    if (hp->is_gguf) {
        moe->has_choice_bias = moe->how.router == LLRT_ROUTER_SIGMOID;
        moe->how.is_group_sum = moe->has_choice_bias;
        llrti_moe_read_groups(b, moe, 0, 0);
        return;
    }
    const llrti_string how = llrti_hparams_string_or(hp, &method, v->is_v3 ? "noaux_tc" : "greedy");
    const llrti_string score =
        llrti_hparams_string_or(hp, &scoring, v->is_v3 ? "sigmoid" : "softmax");
    moe->has_choice_bias = moe->how.is_group_sum = v->is_v3;
    if (!llrti_string_is(score, v->is_v3 ? "sigmoid" : "softmax"))
        llrti_hparams_fail(hp, LLRT_ERR_UNSUPPORTED, &scoring, "only %s is supported",
                           v->is_v3 ? "sigmoid" : "softmax");
    else if (v->is_v3 ? llrti_string_is(how, "noaux_tc")
                      : llrti_string_is(how, "group_limited_greedy"))
        llrti_moe_read_groups(b, moe, v->is_v3 ? 8 : 1, v->is_v3 ? 4 : 1);
    else if (v->is_v3 || !llrti_string_is(how, "greedy"))
        llrti_hparams_fail(hp, LLRT_ERR_UNSUPPORTED, &method, "only %s is supported",
                           v->is_v3 ? "noaux_tc" : "greedy or group_limited_greedy");
    if (moe->n_expert) llrti_moe_note(b, moe);
    if (!v->is_v3)
        llrti_decoder_refuse_unless(b, &normalize, false,
                                    "normalised weights are not supported for this architecture");
}

static void read_experts(llrti_builder *b, const version *v, latent *l)
{
    llrti_hparams *const hp = &b->hp;
    llrti_moe *const moe = &l->moe;
    llrti_moe_read(b, &l->d, &v->moe, moe);
    const uint32_t dense = llrti_hparams_u32_or(hp, &n_dense, hp->is_gguf ? 0 : v->n_dense);
    const bool is_null = hp->is_gguf || llrti_hparams_is_null(hp, &n_shared);
    const uint32_t shared = llrti_hparams_u32_or(hp, &n_shared, is_null ? 0 : v->n_shared);
    if (llrti_hparams_u32_or(hp, &sparse_step, 1) != 1)
        llrti_hparams_fail(hp, LLRT_ERR_UNSUPPORTED, &sparse_step, "only 1 is supported");
    if (!llrti_build_ok(b)) return;
    if ((uint64_t)shared * moe->d_ff > (uint64_t)1 << 24)
        llrti_hparams_fail(hp, LLRT_ERR_FORMAT, &n_shared, "%u shared experts of %u are too many",
                           (unsigned)shared, (unsigned)moe->d_ff);
    moe->shared_d_ff = shared * moe->d_ff;
    moe->name[LLRTI_MOE_SHARED_GATE].hf = "layers.#.mlp.shared_experts.gate_proj";
    moe->name[LLRTI_MOE_SHARED_UP].hf = "layers.#.mlp.shared_experts.up_proj";
    moe->name[LLRTI_MOE_SHARED_DOWN].hf = "layers.#.mlp.shared_experts.down_proj";
    read_choice(b, v, moe);
    llrti_moe_set_dense(b, &l->d, moe, dense);
    llrti_moe_attach(moe, &l->d);
}

static uint32_t project(llrti_builder *b, uint32_t x, const llrti_name *name, llrti_bias bias,
                        uint32_t d_out)
{
    const uint32_t weight = llrti_build_matrix(b, name, llrti_build_width(b, x), d_out, 0);
    const uint32_t vector =
        bias == LLRTI_BIAS_REQUIRED ? llrti_build_vector(b, name, ".bias", d_out, 0) : LLRT_NONE;
    return llrti_build_linear(b, x, weight, vector, 1, d_out);
}

static uint32_t normalise(llrti_builder *b, uint32_t x, const llrti_name *name, float eps)
{
    const uint32_t n = llrti_build_width(b, x);
    return llrti_build_rms_norm(b, x, llrti_build_vector(b, name, ".weight", n, 0), eps, 0);
}

/* The rows of each head's query that begin at `begin`. */
static uint32_t project_query(llrti_builder *b, const latent *l, uint32_t x, uint32_t begin,
                              uint32_t n)
{
    const llrti_name *const name = l->q_rank ? &name_q_b : &l->d.name[LLRTI_DECODER_Q];
    const llrti_part part = {.n = l->d.n_head,
                             .d_in = llrti_build_width(b, x),
                             .d_out = n,
                             .begin = begin,
                             .step = 1,
                             .n_row = l->nope + l->rope,
                             .n_col = llrti_build_width(b, x)};
    const uint32_t weight = llrti_build_part(b, name, &part, LLRTI_WEIGHT_AS_MATRIX);
    return llrti_build_linear(b, x, weight, LLRT_NONE, l->d.n_head, n);
}

/* The matrices per head between latent space and keys (turned round), values. */
static uint32_t bind_k_b(llrti_builder *b, const latent *l)
{
    const llrti_part part = {l->d.n_head, l->nope, l->kv_rank, 0, 1, l->nope + l->v, l->kv_rank};
    if (b->hp.is_gguf && !llrti_build_has(b, &name_kv_b, ".weight"))
        return llrti_build_stack(b, &name_k_b, l->d.n_head, l->nope, l->kv_rank, 0);
    return llrti_build_part(b, b->hp.is_gguf ? &name_kv_b : &name_k_b, &part,
                            LLRTI_WEIGHT_TRANSPOSED);
}

static uint32_t bind_v_b(llrti_builder *b, const latent *l)
{
    const llrti_part part = {l->d.n_head, l->kv_rank, l->v, l->nope, 1, l->nope + l->v, l->kv_rank};
    if (b->hp.is_gguf && !llrti_build_has(b, &name_kv_b, ".weight"))
        return llrti_build_stack(b, &name_v_b, l->d.n_head, l->kv_rank, l->v, 0);
    return llrti_build_part(b, b->hp.is_gguf ? &name_kv_b : &name_v_b, &part, 0);
}

static uint32_t attend(llrti_builder *b, const latent *l, uint32_t x)
{
    const llrti_decoder *const d = &l->d;
    uint32_t q_in = x;
    if (l->q_rank)
        q_in =
            normalise(b, project(b, x, &name_q_a, l->bias, l->q_rank), &name_q_a_norm, LATENT_EPS);
    const uint32_t q_nope = project_query(b, l, q_in, 0, l->nope);
    const uint32_t q_rope = project_query(b, l, q_in, l->nope, l->rope);
    const uint32_t q[2] = {llrti_build_head_linear(b, q_nope, bind_k_b(b, l)),
                           llrti_build_rope(b, q_rope, &d->rope)};
    const uint32_t both = project(b, x, &name_kv_a, l->bias, l->kv_rank + l->rope);
    const uint32_t c = llrti_build_slice(b, both, 0, 1, l->kv_rank);
    const uint32_t k_rope = llrti_build_slice(b, both, l->kv_rank, 1, l->rope);
    const uint32_t k[2] = {normalise(b, c, &name_kv_a_norm, LATENT_EPS),
                           llrti_build_rope(b, k_rope, &d->rope)};
    const llrti_attention how = {
        .scale = (float)(d->rope.score_factor / sqrt((double)l->nope + l->rope)),
        .v_dim = l->kv_rank};
    const uint32_t attended = llrti_build_attention(
        b, llrti_build_concat_heads(b, q, 2), llrti_build_concat_heads(b, k, 2), LLRT_NONE, &how);
    const uint32_t values = llrti_build_head_linear(b, attended, bind_v_b(b, l));
    return project(b, values, &d->name[LLRTI_DECODER_ATTN_OUT], l->bias, d->d_model);
}

static void build(llrti_builder *b, const version *v)
{
    latent l = {.bias = LLRTI_BIAS_NONE};
    llrti_decoder *const d = &l.d;
    b->hf_prefix = "model.";
    b->gguf_architecture = "deepseek2";
    llrti_decoder_init(d);
    llrti_decoder_refuse_but(b, &(llrti_decoder_defaults){.has_experts = true});
    read_sizes(b, d);
    read_attention(b, &l);
    if (!llrti_build_ok(b)) return;
    b->model->head_dim = l.nope + l.rope;
    if ((uint64_t)d->n_head * (l.nope + l.rope + l.v + l.kv_rank) > (uint64_t)1 << 26)
        llrti_hparams_fail(&b->hp, LLRT_ERR_FORMAT, LLRTI_HP(N_HEAD), "%u heads are too many",
                           (unsigned)d->n_head);
    read_experts(b, v, &l);
    uint32_t x = llrti_decoder_embed(b, d);
    for (uint32_t i = 0; i < d->n_layer && llrti_build_ok(b); i++) {
        llrti_build_layer(b, i);
        const uint32_t in = normalise(b, x, &d->name[LLRTI_DECODER_ATTN_NORM], d->norm_eps);
        x = llrti_build_add(b, x, attend(b, &l, in));
        x = llrti_build_add(b, x, llrti_decoder_mlp(b, d, x));
        llrti_build_layer_output(b, x);
    }
    llrti_decoder_finish(b, d, x);
}

void llrti_family_deepseek2(llrti_builder *b)
{
    /* A GGUF says which router it has; V3 shares the name of V2 there. */
    static const version v2 = {
        .n_shared = 2, .moe = {.n_expert = 64, .is_optional = true, .d_ff = 1407, .scale = 1}};
    build(b, &v2);
}

void llrti_family_deepseek3(llrti_builder *b)
{
    static const version v3 = {.is_v3 = true,
                               .n_dense = 3,
                               .n_shared = 1,
                               .moe = {.n_expert = 256,
                                       .is_optional = true,
                                       .n_used = 8,
                                       .d_ff = 2048,
                                       .router = LLRT_ROUTER_SIGMOID,
                                       .is_normalized = true,
                                       .scale = 2.5}};
    build(b, &v3);
}
