/* SPDX-License-Identifier: MIT */
/*
 * GPT-OSS: a window on every second layer, a sink per head, biases everywhere, experts of a clamped
 * gated unit, yarn whose borders are not rounded. Safetensors files hold gate and up of the experts
 * in alternating columns of matrices that are turned round, or as MXFP4 blocks and scales whose
 * rows alternate; GGUF files have them apart.
 */
#include "families.h"
#include "moe.h"

/* The gate is act(min(g, 7)), up is clamped to 7 and shifted by 1; the reference code's numbers. */
#define LIMIT 7.0
#define ALPHA 1.702 /* the activation's gain: GELU_QUICK */
#define OFFSET 1.0f

static const llrti_name router = {"blk.#.ffn_gate_inp", "layers.#.mlp.router"};
static const llrti_name gate = {"blk.#.ffn_gate_exps.weight", "layers.#.mlp.experts.gate_up_proj"};
static const llrti_name up = {"blk.#.ffn_up_exps.weight", "layers.#.mlp.experts.gate_up_proj"};
static const llrti_name down = {"blk.#.ffn_down_exps.weight", "layers.#.mlp.experts.down_proj"};
static const llrti_name gate_bias = {"blk.#.ffn_gate_exps.bias",
                                     "layers.#.mlp.experts.gate_up_proj_bias"};
static const llrti_name up_bias = {"blk.#.ffn_up_exps.bias",
                                   "layers.#.mlp.experts.gate_up_proj_bias"};
static const llrti_name down_bias = {"blk.#.ffn_down_exps.bias",
                                     "layers.#.mlp.experts.down_proj_bias"};
static const llrti_name gate_blocks = {"blk.#.ffn_gate_exps.weight",
                                       "layers.#.mlp.experts.gate_up_proj_blocks"};
static const llrti_name up_blocks = {"blk.#.ffn_up_exps.weight",
                                     "layers.#.mlp.experts.gate_up_proj_blocks"};
static const llrti_name down_blocks = {"blk.#.ffn_down_exps.weight",
                                       "layers.#.mlp.experts.down_proj_blocks"};
static const llrti_name gate_up_scales = {NULL, "layers.#.mlp.experts.gate_up_proj_scales"};
static const llrti_name down_scales = {NULL, "layers.#.mlp.experts.down_proj_scales"};

static const llrti_hparam alpha = {NULL, "swiglu_alpha", 0, 1e6};
static const llrti_hparam limit = {NULL, "swiglu_limit", 1e-3, 1e6};

/* The matrices, in whichever of the three arrangements. */
static void bind_matrices(llrti_builder *b, const llrti_moe *m, llrti_experts *e)
{
    const uint32_t n = m->n_expert, d = m->d_model, d_ff = m->d_ff;
    if (b->hp.is_gguf) {
        e->gate = llrti_build_stack(b, &gate, n, d, d_ff, LLRTI_WEIGHT_PLAIN);
        e->up = llrti_build_stack(b, &up, n, d, d_ff, LLRTI_WEIGHT_PLAIN);
        e->down = llrti_build_stack(b, &down, n, d_ff, d, LLRTI_WEIGHT_PLAIN);
    } else if (llrti_build_has(b, &down_blocks, "") || llrti_build_has(b, &gate_blocks, "")) {
        llrti_part half = {n, d, d_ff, 0, 2, 2 * d_ff, d};
        const llrti_part all = {n, d_ff, d, 0, 1, d, d_ff};
        e->gate = llrti_build_mxfp4(b, &gate_blocks, &gate_up_scales, &half);
        half.begin = 1;
        e->up = llrti_build_mxfp4(b, &up_blocks, &gate_up_scales, &half);
        e->down = llrti_build_mxfp4(b, &down_blocks, &down_scales, &all);
    } else {
        const llrti_weight_flags flags = LLRTI_WEIGHT_PLAIN | LLRTI_WEIGHT_TRANSPOSED;
        llrti_part half = {n, d, d_ff, 0, 2, d, 2 * d_ff};
        e->gate = llrti_build_part(b, &gate, &half, flags);
        half.begin = 1;
        e->up = llrti_build_part(b, &up, &half, flags);
        e->down = llrti_build_stack(b, &down, n, d_ff, d, flags);
    }
}

static void bind_biases(llrti_builder *b, const llrti_moe *m, llrti_experts *e)
{
    const uint32_t every = b->hp.is_gguf ? 1 : 2;
    llrti_part half = {.n = m->n_expert, .d_out = m->d_ff, .step = every};
    const llrti_part all = {.n = m->n_expert, .d_out = m->d_model, .step = 1, .n_col = m->d_model};
    half.n_col = every * m->d_ff;
    e->gate_bias = llrti_build_biases(b, &gate_bias, &half, LLRTI_WEIGHT_PLAIN);
    half.begin = every - 1;
    e->up_bias = llrti_build_biases(b, &up_bias, &half, LLRTI_WEIGHT_PLAIN);
    e->down_bias = llrti_build_biases(b, &down_bias, &all, LLRTI_WEIGHT_PLAIN);
}

static uint32_t feed(llrti_builder *b, const void *ctx, uint32_t x)
{
    const llrti_moe *const m = ctx;
    llrti_experts e = m->how;
    const uint32_t weight = llrti_build_matrix(b, &router, m->d_model, m->n_expert, 0);
    const uint32_t bias = llrti_build_vector(b, &router, ".bias", m->n_expert, 0);
    const uint32_t logits = llrti_build_linear(b, x, weight, bias, 1, m->n_expert);
    e.choice_bias = LLRT_NONE;
    bind_matrices(b, m, &e);
    bind_biases(b, m, &e);
    return llrti_build_experts(b, x, logits, &e);
}

/* Where config.json says nothing about rotation, it is that of the published models. */
static void read_rope(llrti_builder *b, llrti_decoder *d)
{
    static const llrti_hparam any = {NULL, "rope_parameters|rope_scaling", 0, 0};
    if (!llrti_build_ok(b) || b->hp.is_gguf || llrti_hparams_has(&b->hp, &any)) return;
    const llrti_rope_scaling published = {
        .kind = LLRTI_ROPE_YARN,
        .n_rot = d->head_dim,
        .n_ctx = b->n_ctx,
        .n_ctx_original = 4096,
        .base = llrti_hparams_f64_or(&b->hp, LLRTI_HP(ROPE_BASE), 150000),
        .factor = 32,
        .beta_fast = 32,
        .beta_slow = 1,
        .extrapolation = 1,
        .extra_factor = 1};
    llrti_rope_from_scaling(&b->hp, b->arena, &published, LLRT_ROPE_HALVES, &d->rope);
}

static void read_experts(llrti_builder *b, const llrti_decoder *d, llrti_moe *moe)
{
    llrti_moe_read(
        b, d,
        &(llrti_moe_defaults){.n_expert = 128, .n_used = 4, .router = LLRT_ROUTER_SOFTMAX_CHOSEN},
        moe);
    moe->how.router = LLRT_ROUTER_SOFTMAX_CHOSEN;
    moe->how.is_normalized = false;
    moe->how.act = LLRT_ACT_GELU_QUICK;
    moe->how.limit = (float)llrti_hparams_f64_or(&b->hp, &limit, LIMIT);
    moe->how.offset = OFFSET;
    if (llrti_hparams_f64_or(&b->hp, &alpha, ALPHA) != ALPHA)
        llrti_hparams_fail(&b->hp, LLRT_ERR_UNSUPPORTED, &alpha, "only 1.702 is supported");
    if (llrti_build_ok(b) && d->act != LLRT_ACT_SILU)
        llrti_hparams_fail(&b->hp, LLRT_ERR_UNSUPPORTED, LLRTI_HP(ACT),
                           "only silu is supported for this architecture");
}

void llrti_family_gpt_oss(llrti_builder *b)
{
    llrti_decoder d;
    llrti_moe moe;
    b->hf_prefix = "model.";
    llrti_decoder_read_as(b, &d,
                          &(llrti_decoder_defaults){.head_dim = 64,
                                                    .n_kv_head = 8,
                                                    .gguf_pairs = LLRT_ROPE_HALVES,
                                                    .hf_pairs = LLRT_ROPE_HALVES,
                                                    .rope_base = 150000,
                                                    .rope = {.is_untruncated = true},
                                                    .norm_eps = 1e-5,
                                                    .has_experts = true,
                                                    .quant_method = "mxfp4"});
    read_rope(b, &d);
    if (b->hp.is_gguf || llrti_hparams_bool_or(&b->hp, LLRTI_HP(ATTENTION_BIAS), true))
        d.qkv_bias = d.out_bias = LLRTI_BIAS_REQUIRED;
    d.has_sinks = true;
    d.name[LLRTI_DECODER_MLP_NORM].gguf = "blk.#.post_attention_norm";
    const bool is_none = llrti_hparams_is_null(&b->hp, LLRTI_HP(WINDOW));
    const uint32_t window = llrti_hparams_u32_or(&b->hp, LLRTI_HP(WINDOW), is_none ? 0 : 128);
    llrti_decoder_read_pattern(b, &d, window, 2);
    read_experts(b, &d, &moe);
    d.feed = feed;
    d.feed_ctx = &moe;
    llrti_decoder_emit(b, &d);
}
