/* SPDX-License-Identifier: MIT */
/*
 * Mixtures of experts; see moe.h. Experts' weights are found in the first of three arrangements
 * that the file has: gate and up in one stacked tensor, one stacked tensor each, one tensor for
 * each expert.
 */
#include "moe.h"

#include <string.h>

static const llrti_name common_name[LLRTI_MOE_COUNT] = {
    [LLRTI_MOE_ROUTER] = {"blk.#.ffn_gate_inp", "layers.#.mlp.gate"},
    [LLRTI_MOE_GATE] = {"blk.#.ffn_gate_exps", "layers.#.mlp.experts.@.gate_proj"},
    [LLRTI_MOE_UP] = {"blk.#.ffn_up_exps", "layers.#.mlp.experts.@.up_proj"},
    [LLRTI_MOE_DOWN] = {"blk.#.ffn_down_exps", "layers.#.mlp.experts.@.down_proj"},
    /* These are complete. */
    [LLRTI_MOE_GATE_UP] = {"blk.#.ffn_gate_up_exps.weight", "layers.#.mlp.experts.gate_up_proj"},
    [LLRTI_MOE_DOWN_STACKED] = {"blk.#.ffn_down_exps.weight", "layers.#.mlp.experts.down_proj"},
    [LLRTI_MOE_CHOICE_BIAS] = {"blk.#.exp_probs_b.bias",
                               "layers.#.mlp.gate.e_score_correction_bias"},
    [LLRTI_MOE_SHARED_GATE] = {"blk.#.ffn_gate_shexp", "layers.#.mlp.shared_expert.gate_proj"},
    [LLRTI_MOE_SHARED_UP] = {"blk.#.ffn_up_shexp", "layers.#.mlp.shared_expert.up_proj"},
    [LLRTI_MOE_SHARED_DOWN] = {"blk.#.ffn_down_shexp", "layers.#.mlp.shared_expert.down_proj"},
    [LLRTI_MOE_SHARED_ROUTER] = {"blk.#.ffn_gate_inp_shexp", "layers.#.mlp.shared_expert_gate"},
};

/* The names of old GGUF files, in which experts are apart. */
static const llrti_name old_gate = {"blk.#.ffn_gate.@", NULL}, old_up = {"blk.#.ffn_up.@", NULL},
                        old_down = {"blk.#.ffn_down.@", NULL};

static const llrti_hparam n_expert = {"expert_count",
                                      "num_local_experts|num_experts|n_routed_experts", 0, 1 << 16};
static const llrti_hparam n_used = {"expert_used_count", "num_experts_per_tok", 1, 64};
static const llrti_hparam expert_d_ff = {"expert_feed_forward_length", "moe_intermediate_size", 1,
                                         1 << 24};
static const llrti_hparam normalize = {"expert_weights_norm", "norm_topk_prob", 0, 0};
static const llrti_hparam scale = {"expert_weights_scale", "routed_scaling_factor", 0, 1e6};
static const llrti_hparam gating = {"expert_gating_func", NULL, 0, 3};
static const llrti_hparam sparse_step = {NULL, "decoder_sparse_step", 1, 4096};
static const llrti_hparam dense_layers = {NULL, "mlp_only_layers", 0, 4096};
static const llrti_hparam groups = {"expert_group_count", "n_group", 0, 1 << 16};
static const llrti_hparam groups_used = {"expert_group_used_count", "topk_group", 0, 1 << 16};

static void read_router(llrti_builder *b, const llrti_moe_defaults *defaults, llrti_experts *how)
{
    llrti_hparams *const hp = &b->hp;
    how->router = defaults->router;
    how->is_normalized = llrti_hparams_bool_or(
        hp, &normalize, hp->is_gguf ? defaults->is_gguf_normalized : defaults->is_normalized);
    how->scale = (float)llrti_hparams_f64_or(
        hp, &scale, defaults->scale > 0 && !hp->is_gguf ? defaults->scale : 1);
    if (how->scale == 0) how->scale = 1; /* what GGUF files write for none */
    switch (llrti_hparams_u32_or(hp, &gating, 0)) {
    case 0: /* not stated */
        break;
    case 1:
        how->router = LLRT_ROUTER_SOFTMAX;
        break;
    case 2:
        how->router = LLRT_ROUTER_SIGMOID;
        break;
    default:
        how->router = LLRT_ROUTER_SOFTMAX_CHOSEN;
        break;
    }
    /* Weights that are a softmax over the chosen add up to 1 already. */
    if (how->router == LLRT_ROUTER_SOFTMAX_CHOSEN) how->is_normalized = false;
}

void llrti_moe_read(llrti_builder *b, const llrti_decoder *d, const llrti_moe_defaults *defaults,
                    llrti_moe *moe)
{
    llrti_hparams *const hp = &b->hp;
    memset(moe, 0, sizeof *moe);
    memcpy(moe->name, common_name, sizeof moe->name);
    moe->d_model = d->d_model;
    moe->how.act = d->act;
    const bool is_null = llrti_hparams_is_null(hp, &n_expert);
    const uint32_t otherwise = hp->is_gguf || is_null ? 0 : defaults->n_expert;
    moe->n_expert = llrti_hparams_u32_or(hp, &n_expert, otherwise);
    if (llrti_build_ok(b) && moe->n_expert == 0 && !defaults->is_optional)
        llrti_hparams_fail(hp, LLRT_ERR_FORMAT, &n_expert,
                           "found no experts, expected the number of them");
    if (!llrti_build_ok(b) || moe->n_expert == 0) return;
    moe->d_ff = d->d_ff;
    if (hp->is_gguf || defaults->d_ff)
        moe->d_ff = llrti_hparams_u32_or(hp, &expert_d_ff, hp->is_gguf ? d->d_ff : defaults->d_ff);
    llrti_facts_u32(hp->facts, expert_d_ff.gguf, moe->d_ff, true); /* GGUFs of GPT-OSS need it */
    moe->how.n_used = defaults->n_used && !hp->is_gguf
                          ? llrti_hparams_u32_or(hp, &n_used, defaults->n_used)
                          : llrti_hparams_u32(hp, &n_used);
    read_router(b, defaults, &moe->how);
    if (llrti_build_ok(b) && moe->how.n_used > moe->n_expert)
        llrti_hparams_fail(hp, LLRT_ERR_FORMAT, &n_used,
                           "found %u experts for each token, expected at most %u, which is how "
                           "many there are",
                           (unsigned)moe->how.n_used, (unsigned)moe->n_expert);
}

void llrti_moe_note(llrti_builder *b, const llrti_moe *moe)
{
    const llrt_router router = moe->how.router;
    const uint32_t function = router == LLRT_ROUTER_SOFTMAX   ? 1
                              : router == LLRT_ROUTER_SIGMOID ? 2
                                                              : 3;
    llrti_facts_u32(b->hp.facts, gating.gguf, function, true);
    llrti_facts_bool(b->hp.facts, normalize.gguf, moe->how.is_normalized);
}

void llrti_moe_read_groups(llrti_builder *b, llrti_moe *moe, uint32_t n_group_default,
                           uint32_t n_used_default)
{
    llrti_hparams *const hp = &b->hp;
    if (!llrti_build_ok(b) || moe->n_expert == 0) return;
    const uint32_t n = llrti_hparams_u32_or(hp, &groups, hp->is_gguf ? 0 : n_group_default);
    if (n <= 1 || !llrti_build_ok(b)) return;
    const uint32_t used = llrti_hparams_u32_or(hp, &groups_used, hp->is_gguf ? n : n_used_default);
    const uint32_t size = moe->n_expert / n, least = moe->how.is_group_sum ? 2 : 1;
    if (moe->n_expert % n || size < least)
        llrti_hparams_fail(hp, LLRT_ERR_FORMAT, &groups,
                           "found %u groups, expected a divisor of the %u experts with %u or more "
                           "in a group",
                           (unsigned)n, (unsigned)moe->n_expert, (unsigned)least);
    else if (used == 0 || used > n || (uint64_t)used * size < moe->how.n_used)
        llrti_hparams_fail(hp, LLRT_ERR_FORMAT, &groups_used,
                           "found %u of %u groups of %u experts, expected room for %u experts",
                           (unsigned)used, (unsigned)n, (unsigned)size, (unsigned)moe->how.n_used);
    moe->how.n_group = n;
    moe->how.n_group_used = used;
}

void llrti_moe_set_dense(llrti_builder *b, const llrti_decoder *d, llrti_moe *moe, uint32_t n)
{
    if (!llrti_build_ok(b)) return;
    uint8_t *const table = llrti_arena_alloc(b->arena, d->n_layer, 1);
    if (!table) {
        b->hp.status = llrti_fail_nomem(b->hp.err, "layer table", d->n_layer);
        return;
    }
    for (uint32_t i = 0; i < d->n_layer; i++) table[i] = i < n || moe->n_expert == 0;
    moe->is_dense = table;
}

void llrti_moe_read_dense(llrti_builder *b, const llrti_decoder *d, llrti_moe *moe)
{
    const uint32_t step = llrti_hparams_u32_or(&b->hp, &sparse_step, 1);
    const uint32_t n = llrti_hparams_n_element(&b->hp, &dense_layers);
    if (!llrti_build_ok(b)) return;
    uint8_t *const table = llrti_arena_alloc(b->arena, d->n_layer, 1);
    if (!table) {
        b->hp.status = llrti_fail_nomem(b->hp.err, "layer table", d->n_layer);
        return;
    }
    for (uint32_t i = 0; i < d->n_layer; i++) table[i] = (i + 1) % step != 0;
    for (uint32_t i = 0; i < n && llrti_build_ok(b); i++) {
        const uint32_t layer = (uint32_t)llrti_hparams_f64_at(&b->hp, &dense_layers, i);
        if (layer < d->n_layer) table[layer] = 1;
    }
    moe->is_dense = table;
}

static uint32_t feed_layer(llrti_builder *b, const void *ctx, uint32_t x)
{
    return llrti_moe_feed(b, ctx, x);
}

void llrti_moe_attach(const llrti_moe *moe, llrti_decoder *d)
{
    if (moe->n_expert == 0) return;
    d->feed = feed_layer;
    d->feed_ctx = moe;
    d->keeps_own_feed = moe->is_dense;
}

void llrti_moe_read_mixtral(llrti_builder *b, llrti_decoder *d, llrti_moe *moe)
{
    llrti_moe_read(
        b, d, &(llrti_moe_defaults){.n_expert = 8, .n_used = 2, .is_optional = b->hp.is_gguf}, moe);
    moe->how.is_normalized = true; /* no file says otherwise */
    moe->d_ff = d->d_ff;
    moe->name[LLRTI_MOE_ROUTER].hf = "layers.#.block_sparse_moe.gate";
    moe->name[LLRTI_MOE_GATE].hf = "layers.#.block_sparse_moe.experts.@.w1";
    moe->name[LLRTI_MOE_UP].hf = "layers.#.block_sparse_moe.experts.@.w3";
    moe->name[LLRTI_MOE_DOWN].hf = "layers.#.block_sparse_moe.experts.@.w2";
    llrti_moe_attach(moe, d);
}

/* Gate, up and down of all experts. */
static void bind_experts(llrti_builder *b, const llrti_moe *m, llrti_experts *e)
{
    const uint32_t n = m->n_expert, d_in = m->d_model, d_ff = m->d_ff;
    llrti_part half = {n, d_in, d_ff, 0, 1, 2 * d_ff, d_in};
    /* Folders with one tensor for all experts are known by either of theirs. */
    if (llrti_build_has(b, &m->name[LLRTI_MOE_GATE_UP], "") ||
        (!b->hp.is_gguf && llrti_build_has(b, &m->name[LLRTI_MOE_DOWN_STACKED], ""))) {
        const llrti_name *const both = &m->name[LLRTI_MOE_GATE_UP];
        const bool is_gguf = b->hp.is_gguf;
        const llrti_name gate = {is_gguf ? both->gguf : "blk.#.ffn_gate_exps.weight", both->hf};
        const llrti_name up = {is_gguf ? both->gguf : "blk.#.ffn_up_exps.weight", both->hf};
        e->gate = llrti_build_part(b, &gate, &half, LLRTI_WEIGHT_PLAIN);
        half.begin = d_ff;
        e->up = llrti_build_part(b, &up, &half, LLRTI_WEIGHT_PLAIN);
        e->down = llrti_build_stack(b, &m->name[LLRTI_MOE_DOWN_STACKED], n, d_ff, d_in,
                                    LLRTI_WEIGHT_PLAIN);
        return;
    }
    /* Any of the old names decides, so that the one that is missing beside it is asked for by its own. */
    const bool is_old = llrti_build_has(b, &old_gate, ".weight") ||
                        llrti_build_has(b, &old_up, ".weight") ||
                        llrti_build_has(b, &old_down, ".weight");
    e->gate = llrti_build_stack(b, is_old ? &old_gate : &m->name[LLRTI_MOE_GATE], n, d_in, d_ff, 0);
    e->up = llrti_build_stack(b, is_old ? &old_up : &m->name[LLRTI_MOE_UP], n, d_in, d_ff, 0);
    e->down = llrti_build_stack(b, is_old ? &old_down : &m->name[LLRTI_MOE_DOWN], n, d_ff, d_in, 0);
}

static uint32_t project(llrti_builder *b, const llrti_name *name, uint32_t x, uint32_t d_out)
{
    const uint32_t weight = llrti_build_matrix(b, name, llrti_build_width(b, x), d_out, 0);
    return llrti_build_linear(b, x, weight, LLRT_NONE, 1, d_out);
}

/*
 * The expert that every token takes. With a router of its own it is a mixture of one: its weight is
 * the sigmoid of the router's logit.
 */
static uint32_t feed_shared(llrti_builder *b, const llrti_moe *m, uint32_t x)
{
    const llrti_name *const gate = &m->name[LLRTI_MOE_SHARED_GATE];
    const llrti_name *const up = &m->name[LLRTI_MOE_SHARED_UP];
    const llrti_name *const down = &m->name[LLRTI_MOE_SHARED_DOWN];
    if (!m->has_shared_router) {
        const uint32_t gated = project(b, gate, x, m->shared_d_ff);
        const uint32_t inner =
            llrti_build_glu(b, gated, project(b, up, x, m->shared_d_ff), m->how.act);
        return project(b, down, inner, m->d_model);
    }
    const llrti_experts one = {.gate = llrti_build_stack(b, gate, 1, m->d_model, m->shared_d_ff, 0),
                               .up = llrti_build_stack(b, up, 1, m->d_model, m->shared_d_ff, 0),
                               .down = llrti_build_stack(b, down, 1, m->shared_d_ff, m->d_model, 0),
                               .gate_bias = LLRT_NONE,
                               .up_bias = LLRT_NONE,
                               .down_bias = LLRT_NONE,
                               .choice_bias = LLRT_NONE,
                               .n_used = 1,
                               .router = LLRT_ROUTER_SIGMOID,
                               .act = m->how.act};
    const llrti_name *const router = &m->name[LLRTI_MOE_SHARED_ROUTER];
    /* GGUF files hold the router's only row as a vector. */
    const uint32_t weight = llrti_build_matrix(b, router, m->d_model, 1, 0);
    return llrti_build_experts(b, x, llrti_build_linear(b, x, weight, LLRT_NONE, 1, 1), &one);
}

uint32_t llrti_moe_feed(llrti_builder *b, const llrti_moe *m, uint32_t x)
{
    llrti_experts e = m->how;
    e.gate_bias = e.up_bias = e.down_bias = e.choice_bias = LLRT_NONE;
    const uint32_t logits = project(b, &m->name[LLRTI_MOE_ROUTER], x, m->n_expert);
    bind_experts(b, m, &e);
    if (m->has_choice_bias)
        e.choice_bias =
            llrti_build_vector(b, &m->name[LLRTI_MOE_CHOICE_BIAS], "", m->n_expert,
                               LLRTI_WEIGHT_PLAIN | (b->hp.is_gguf ? LLRTI_WEIGHT_OPTIONAL : 0u));
    const uint32_t y = llrti_build_experts(b, x, logits, &e);
    return m->shared_d_ff ? llrti_build_add(b, y, feed_shared(b, m, x)) : y;
}
