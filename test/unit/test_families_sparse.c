/* SPDX-License-Identifier: MIT */
/*
 * Mixtures of experts, latent attention and recurrent models from hand-made files of both kinds:
 * every tensor is used, missed by name and refused in another shape, options that aren't built are
 * refused by theirs; then routers, cache slots, states, windows and rotations. Tensors are zeros;
 * arithmetic is the business of the architecture fixtures.
 */
#include "family_files.h"

#include <math.h>

#define EXPERTS                                                                                    \
    "model.layers.#.mlp.gate:8x4 model.layers.#.mlp.experts.@.gate_proj:8x5 "                      \
    "model.layers.#.mlp.experts.@.up_proj:8x5 model.layers.#.mlp.experts.@.down_proj:5x8 "
#define GG_EXPERTS                                                                                 \
    "blk.#.ffn_gate_inp:8x4 blk.#.ffn_gate_exps:8x5x4 blk.#.ffn_up_exps:8x5x4 "                    \
    "blk.#.ffn_down_exps:5x8x4 "
#define GG_MOE GG_RMS "expert_count=u4 expert_used_count=u2 expert_feed_forward_length=u5 "
#define QK_NORM "model.layers.#.self_attn.q_norm:4 model.layers.#.self_attn.k_norm:4 "
#define GG_QK_NORM "blk.#.attn_q_norm:4 blk.#.attn_k_norm:4 "
#define GG_QKV_BIAS "blk.#.attn_q.bias:8 blk.#.attn_k.bias:4 blk.#.attn_v.bias:4 "
#define MOE HF_GROUPED "num_experts=4 num_experts_per_tok=2 moe_intermediate_size=5 "

#define OSS_REST                                                                                   \
    "model.layers.#.self_attn.sinks!:2 model.layers.#.self_attn.o_proj.bias:8 "                    \
    "model.layers.#.mlp.router:8x4 model.layers.#.mlp.router.bias:4 "                              \
    "model.layers.#.mlp.experts.gate_up_proj_bias!:24x4 "                                          \
    "model.layers.#.mlp.experts.down_proj_bias!:8x4 "

/* Latents of 5, keys of 6 + 2 (rotated), values of 3. */
#define MLA                                                                                        \
    HF_SIZES "q_lora_rank=null kv_lora_rank=5 qk_nope_head_dim=6 qk_rope_head_dim=2 v_head_dim=3 " \
             "n_routed_experts=4 num_experts_per_tok=2 moe_intermediate_size=5 "                   \
             "first_k_dense_replace=1 n_shared_experts=2 "
#define MLA_ATTN                                                                                   \
    "model.layers.#.self_attn.kv_a_proj_with_mqa:8x7 model.layers.#.self_attn.kv_a_layernorm:5 "   \
    "model.layers.#.self_attn.kv_b_proj:5x18 model.layers.#.self_attn.o_proj:6x8 "
#define MLA_Q "model.layers.#.self_attn.q_proj:8x16 "
#define MLA_Q_LORA                                                                                 \
    "model.layers.#.self_attn.q_a_proj:8x7 model.layers.#.self_attn.q_a_layernorm:7 "              \
    "model.layers.#.self_attn.q_b_proj:7x16 "
#define MLA_MLP                                                                                    \
    "model.layers.0.mlp.gate_proj:8x12 model.layers.0.mlp.up_proj:8x12 "                           \
    "model.layers.0.mlp.down_proj:12x8 model.layers.1.mlp.gate:8x4 "                               \
    "model.layers.1.mlp.experts.@.gate_proj:8x5 model.layers.1.mlp.experts.@.up_proj:8x5 "         \
    "model.layers.1.mlp.experts.@.down_proj:5x8 "                                                  \
    "model.layers.1.mlp.shared_experts.gate_proj:8x10 "                                            \
    "model.layers.1.mlp.shared_experts.up_proj:8x10 "                                              \
    "model.layers.1.mlp.shared_experts.down_proj:10x8 "
#define GG_MLA                                                                                     \
    GG_SIZES "attention.layer_norm_rms_epsilon=f1e-5 attention.kv_lora_rank=u5 "                   \
             "rope.dimension_count=u2 leading_dense_block_count=u1 expert_count=u4 "               \
             "expert_used_count=u2 expert_feed_forward_length=u5 expert_shared_count=u2 "
#define GG_MLA_REST                                                                                \
    "blk.#.attn_kv_a_mqa:8x7 blk.#.attn_kv_a_norm:5 blk.#.attn_output:6x8 blk.0.ffn_gate:8x12 "    \
    "blk.0.ffn_up:8x12 blk.0.ffn_down:12x8 blk.1.ffn_gate_inp:8x4 blk.1.ffn_gate_exps:8x5x4 "      \
    "blk.1.ffn_up_exps:8x5x4 blk.1.ffn_down_exps:5x8x4 blk.1.ffn_gate_shexp:8x10 "                 \
    "blk.1.ffn_up_shexp:8x10 blk.1.ffn_down_shexp:10x8 "

/* Layer 0: delta rule, 2 key heads of 4, 4 value heads of 3; layer 1: gated attention. */
#define HYBRID                                                                                     \
    HF_GROUPED "head_dim=4 linear_num_key_heads=2 linear_num_value_heads=4 "                       \
               "linear_key_head_dim=4 linear_value_head_dim=3 full_attention_interval=2 "          \
               "partial_rotary_factor=0.5 "
#define HYBRID_ATTN                                                                                \
    "model.layers.1.self_attn.q_proj:8x16 model.layers.1.self_attn.k_proj:8x4 "                    \
    "model.layers.1.self_attn.v_proj:8x4 model.layers.1.self_attn.o_proj:8x8 "                     \
    "model.layers.1.self_attn.q_norm:4 model.layers.1.self_attn.k_norm:4 "
#define HYBRID_DELTA                                                                               \
    "model.layers.0.linear_attn.conv1d:4x1x28 model.layers.0.linear_attn.dt_bias!:4 "              \
    "model.layers.0.linear_attn.A_log!:4 model.layers.0.linear_attn.norm:3 "                       \
    "model.layers.0.linear_attn.out_proj:12x8 "
#define HYBRID_APART                                                                               \
    "model.layers.0.linear_attn.in_proj_qkv:8x28 model.layers.0.linear_attn.in_proj_z:8x12 "       \
    "model.layers.0.linear_attn.in_proj_a:8x4 model.layers.0.linear_attn.in_proj_b:8x4 "
#define GG_HYBRID                                                                                  \
    GG_RMS "attention.key_length=u4 attention.value_length=u4 ssm.group_count=u2 "                 \
           "ssm.time_step_rank=u4 ssm.state_size=u4 ssm.inner_size=u12 ssm.conv_kernel=u4 "        \
           "full_attention_interval=u2 rope.dimension_count=u2 "
#define GG_HYBRID_REST                                                                             \
    "blk.#.attn_norm:8 blk.#.post_attention_norm:8 blk.1.attn_q:8x16 blk.1.attn_k:8x4 "            \
    "blk.1.attn_v:8x4 blk.1.attn_output:8x8 blk.1.attn_q_norm:4 blk.1.attn_k_norm:4 "              \
    "blk.0.ssm_conv1d:4x28 blk.0.ssm_dt.bias:4 blk.0.ssm_a!:4 blk.0.ssm_norm:3 "                   \
    "blk.0.ssm_out:12x8 "
#define SHARED                                                                                     \
    "model.layers.#.mlp.shared_expert.gate_proj:8x6 model.layers.#.mlp.shared_expert.up_proj:8x6 " \
    "model.layers.#.mlp.shared_expert.down_proj:6x8 model.layers.#.mlp.shared_expert_gate:8x1 "
#define GG_SHARED                                                                                  \
    "blk.#.ffn_gate_shexp:8x6 blk.#.ffn_up_shexp:8x6 blk.#.ffn_down_shexp:6x8 "                    \
    "blk.#.ffn_gate_inp_shexp:8 "

static const family_case cases[] = {
    {"mixtral", "mixtral", false, HF_GROUPED "num_local_experts=4",
     HF_ENDS HF_NORM_IN HF_QKVO HF_NORM_POST
     "model.layers.#.block_sparse_moe.gate:8x4 model.layers.#.block_sparse_moe.experts.@.w1:8x12 "
     "model.layers.#.block_sparse_moe.experts.@.w3:8x12 "
     "model.layers.#.block_sparse_moe.experts.@.w2:12x8"},
    {"mixtral.gguf", "llama", true, GG_RMS "expert_count=u4 expert_used_count=u2",
     GG_ENDS GG_NORMS GG_QKVO "blk.#.ffn_gate_inp:8x4 blk.#.ffn_gate_exps:8x12x4 "
                              "blk.#.ffn_up_exps:8x12x4 blk.#.ffn_down_exps:12x8x4"},
    {"old mixtral.gguf", "llama", true, GG_RMS "expert_count=u4 expert_used_count=u2",
     GG_ENDS GG_NORMS GG_QKVO "blk.#.ffn_gate_inp:8x4 blk.#.ffn_gate.@:8x12 "
                              "blk.#.ffn_up.@:8x12 blk.#.ffn_down.@:12x8"},
    {"qwen2_moe", "qwen2_moe", false, MOE "shared_expert_intermediate_size=6",
     HF_ENDS HF_NORM_IN HF_QKVO HF_QKV_BIAS HF_NORM_POST EXPERTS SHARED},
    {"qwen2moe.gguf", "qwen2moe", true, GG_MOE "expert_shared_feed_forward_length=u6",
     GG_ENDS GG_NORMS GG_QKVO GG_QKV_BIAS GG_EXPERTS GG_SHARED},
    {"qwen3_moe", "qwen3_moe", false, MOE, HF_ENDS HF_NORM_IN HF_QKVO QK_NORM HF_NORM_POST EXPERTS},
    {"qwen3_moe fused", "qwen3_moe", false, MOE,
     HF_ENDS HF_NORM_IN HF_QKVO QK_NORM HF_NORM_POST
     "model.layers.#.mlp.gate:8x4 model.layers.#.mlp.experts.gate_up_proj!:8x10x4 "
     "model.layers.#.mlp.experts.down_proj!:5x8x4"},
    {"qwen3moe.gguf", "qwen3moe", true, GG_MOE, GG_ENDS GG_NORMS GG_QKVO GG_QK_NORM GG_EXPERTS},
    {"olmoe", "olmoe", false, HF_GROUPED "num_experts=4 num_experts_per_tok=2 intermediate_size=5",
     HF_ENDS HF_NORM_IN HF_QKVO HF_NORM_POST EXPERTS
     "model.layers.#.self_attn.q_norm:8 model.layers.#.self_attn.k_norm:4"},
    {"olmoe.gguf", "olmoe", true, GG_MOE,
     GG_ENDS GG_NORMS GG_QKVO GG_EXPERTS "blk.#.attn_q_norm:8 blk.#.attn_k_norm:4"},
    {"granitemoe", "granitemoe", false, HF_GROUPED "num_local_experts=4 intermediate_size=5",
     HF_ENDS HF_NORM_IN HF_QKVO HF_NORM_POST "model.layers.#.block_sparse_moe.router.layer:8x4 "
                                             "model.layers.#.block_sparse_moe.input_linear:8x10x4 "
                                             "model.layers.#.block_sparse_moe.output_linear:5x8x4"},
    {"granitemoe.gguf", "granitemoe", true, GG_MOE, GG_ENDS GG_NORMS GG_QKVO GG_EXPERTS},
    {"gpt_oss", "gpt_oss", false,
     HF_GROUPED "head_dim=4 num_local_experts=4 num_experts_per_tok=2 sliding_window=5",
     HF_ENDS HF_NORM_IN HF_QKVO HF_QKV_BIAS HF_NORM_POST OSS_REST
     "model.layers.#.mlp.experts.gate_up_proj!:24x8x4 "
     "model.layers.#.mlp.experts.down_proj!:8x12x4"},
    {"gpt_oss blocks", "gpt_oss", false,
     HF_GROUPED "head_dim=16 hidden_size=32 intermediate_size=32 num_local_experts=4 "
                "quantization_config={'quant_method':'mxfp4'}",
     "model.embed_tokens:32x11 model.norm:32 ?lm_head:32x11 model.layers.#.input_layernorm:32 "
     "model.layers.#.post_attention_layernorm:32 model.layers.#.self_attn.q_proj:32x32 "
     "model.layers.#.self_attn.k_proj:32x16 model.layers.#.self_attn.v_proj:32x16 "
     "model.layers.#.self_attn.o_proj:32x32 model.layers.#.self_attn.q_proj.bias:32 "
     "model.layers.#.self_attn.k_proj.bias:16 model.layers.#.self_attn.v_proj.bias:16 "
     "model.layers.#.self_attn.o_proj.bias:32 model.layers.#.self_attn.sinks!:2 "
     "model.layers.#.mlp.router:32x4 model.layers.#.mlp.router.bias:4 "
     "model.layers.#.mlp.experts.gate_up_proj_bias!:64x4 "
     "model.layers.#.mlp.experts.down_proj_bias!:32x4 "
     "model.layers.#.mlp.experts.gate_up_proj_blocks!:16x1x64x4u "
     "model.layers.#.mlp.experts.gate_up_proj_scales!:1x64x4u "
     "model.layers.#.mlp.experts.down_proj_blocks!:16x1x32x4u "
     "model.layers.#.mlp.experts.down_proj_scales!:1x32x4u"},
    {"gpt-oss.gguf", "gpt-oss", true,
     GG_RMS "expert_count=u4 expert_used_count=u2 expert_feed_forward_length=u12 "
            "attention.sliding_window=u5 attention.key_length=u4 attention.value_length=u4",
     GG_ENDS GG_QKVO GG_QKV_BIAS
     "blk.#.attn_norm:8 blk.#.post_attention_norm:8 blk.#.attn_output.bias:8 blk.#.attn_sinks:2 "
     "blk.#.ffn_gate_inp:8x4 blk.#.ffn_gate_inp.bias:4 blk.#.ffn_gate_exps:8x12x4 "
     "blk.#.ffn_up_exps:8x12x4 blk.#.ffn_down_exps:12x8x4 blk.#.ffn_gate_exps.bias:12x4 "
     "blk.#.ffn_up_exps.bias:12x4 blk.#.ffn_down_exps.bias:8x4"},
    {"deepseek_v2", "deepseek_v2", false, MLA,
     HF_ENDS HF_NORM_IN HF_NORM_POST MLA_Q MLA_ATTN MLA_MLP},
    {"deepseek_v2 with a rank of q", "deepseek_v2", false, MLA "q_lora_rank=7 attention_bias=true",
     HF_ENDS HF_NORM_IN HF_NORM_POST MLA_Q_LORA MLA_ATTN MLA_MLP
     "model.layers.#.self_attn.q_a_proj.bias:7 model.layers.#.self_attn.kv_a_proj_with_mqa.bias:7 "
     "model.layers.#.self_attn.o_proj.bias:8"},
    {"deepseek_v3", "deepseek_v3", false, MLA "q_lora_rank=7 n_group=2 topk_group=1",
     HF_ENDS HF_NORM_IN HF_NORM_POST MLA_Q_LORA MLA_ATTN MLA_MLP
     "model.layers.1.mlp.gate.e_score_correction_bias!:4"},
    {"deepseek2.gguf", "deepseek2", true,
     GG_MLA "attention.head_count_kv=u1 attention.key_length=u7 attention.value_length=u5 "
            "attention.key_length_mla=u8 attention.value_length_mla=u3",
     GG_ENDS GG_NORMS GG_MLA_REST "blk.#.attn_q:8x16 blk.#.attn_k_b:6x5x2 blk.#.attn_v_b:5x3x2"},
    {"old deepseek2.gguf", "deepseek2", true,
     GG_MLA "attention.key_length=u8 attention.value_length=u3 attention.q_lora_rank=u7 "
            "expert_gating_func=u2",
     GG_ENDS GG_NORMS GG_MLA_REST
     "blk.#.attn_q_a:8x7 blk.#.attn_q_a_norm:7 blk.#.attn_q_b:7x16 blk.#.attn_kv_b:5x18 "
     "?blk.1.exp_probs_b.bias:4"},
    {"qwen3_next", "qwen3_next", false,
     HYBRID "num_experts=4 num_experts_per_tok=2 moe_intermediate_size=5 "
            "shared_expert_intermediate_size=6",
     HF_ENDS HF_NORM_IN HF_NORM_POST HYBRID_ATTN HYBRID_DELTA EXPERTS SHARED
     "model.layers.0.linear_attn.in_proj_qkvz:8x40 model.layers.0.linear_attn.in_proj_ba:8x8"},
    {"qwen3next.gguf", "qwen3next", true,
     GG_HYBRID "expert_count=u4 expert_used_count=u2 expert_feed_forward_length=u5 "
               "expert_shared_feed_forward_length=u6",
     GG_ENDS GG_HYBRID_REST GG_EXPERTS GG_SHARED
     "blk.0.attn_qkv:8x28 blk.0.attn_gate:8x12 blk.0.ssm_ba:8x8"},
    {"old qwen3next.gguf", "qwen3next", true,
     GG_HYBRID "expert_count=u4 expert_used_count=u2 expert_feed_forward_length=u5 "
               "expert_shared_feed_forward_length=u6",
     GG_ENDS GG_HYBRID_REST GG_EXPERTS GG_SHARED "blk.0.ssm_in:8x40 blk.0.ssm_ba:8x8"},
    {"qwen3_5", "qwen3_5_text", false, HYBRID "rope_parameters={'mrope_section':[1,0,0]}",
     HF_ENDS HF_NORM_IN HF_NORM_POST HF_GATED HYBRID_ATTN HYBRID_DELTA HYBRID_APART},
    {"qwen35.gguf", "qwen35", true, GG_HYBRID "rope.dimension_sections=a1,0,0,0",
     GG_ENDS GG_HYBRID_REST GG_GATED "blk.0.attn_qkv:8x28 blk.0.attn_gate:8x12 "
                                     "blk.0.ssm_alpha:8x4 blk.0.ssm_beta:8x4"},
    {"qwen3_5_moe", "qwen3_5_moe_text", false,
     HYBRID "num_experts=4 num_experts_per_tok=2 moe_intermediate_size=5 "
            "shared_expert_intermediate_size=6",
     HF_ENDS HF_NORM_IN HF_NORM_POST HYBRID_ATTN HYBRID_DELTA HYBRID_APART EXPERTS SHARED},
    {"mamba2", "mamba2", false,
     "vocab_size=11 hidden_size=8 num_hidden_layers=2 num_heads=2 head_dim=4 expand=1 n_groups=2 "
     "state_size=3 conv_kernel=3 use_bias=true tie_word_embeddings=true",
     "backbone.embeddings:8x11 backbone.norm_f:8 backbone.layers.#.norm:8 "
     "backbone.layers.#.mixer.in_proj:8x30 backbone.layers.#.mixer.in_proj.bias:30 "
     "backbone.layers.#.mixer.conv1d:3x1x20 backbone.layers.#.mixer.conv1d.bias:20 "
     "backbone.layers.#.mixer.dt_bias!:2 backbone.layers.#.mixer.A_log!:2 "
     "backbone.layers.#.mixer.D!:2 backbone.layers.#.mixer.norm:8 "
     "backbone.layers.#.mixer.out_proj:8x8 backbone.layers.#.mixer.out_proj.bias:8"},
    {"mamba2.gguf", "mamba2", true,
     "block_count=u2 embedding_length=u8 feed_forward_length=u0 attention.head_count=u0 "
     "attention.layer_norm_rms_epsilon=f1e-5 ssm.conv_kernel=u3 ssm.inner_size=u8 "
     "ssm.state_size=u3 ssm.time_step_rank=u2 ssm.group_count=u2",
     "token_embd:8x11 output_norm:8 ?output:8x11 blk.#.attn_norm:8 blk.#.ssm_in:8x30 "
     "blk.#.ssm_conv1d:3x20 ?blk.#.ssm_conv1d.bias:20 blk.#.ssm_dt.bias:2 blk.#.ssm_a!:1x2 "
     "blk.#.ssm_d!:1x2 blk.#.ssm_norm:4x2 blk.#.ssm_out:8x8"},
};

static const family_case *find_case(const char *title)
{
    for (size_t i = 0; i < LLRTI_COUNT(cases); i++)
        if (strcmp(cases[i].title, title) == 0) return &cases[i];
    fail_msg("no case '%s'", title);
    return NULL;
}

static const llrti_model *need(opened *o, const char *title, const char *options)
{
    if (open_case(o, find_case(title), &(change){.options = options}) < 0)
        fail_msg("%s: %s", title, o->err.text);
    return o->model;
}

/* ---- Every family ---- */

static void test_every_tensor_is_used(void **state)
{
    (void)state;
    for (size_t i = 0; i < LLRTI_COUNT(cases); i++) {
        opened o;
        const llrti_model *const m = need(&o, cases[i].title, NULL);
        if (m->n_unused) fail_msg("%s: '%s' is not used", cases[i].title, m->unused);
        assert_true(m->n_layer == 2 && m->n_head == 2 && m->n_vocab == 11);
        assert_true(m->can_generate && m->can_embed && m->n_program == 2 && !m->is_bidirectional);
        close_case(&o);
    }
}

static void test_missing_tensors_are_named(void **state)
{
    (void)state;
    check_missing_tensors(cases, LLRTI_COUNT(cases), false);
}

static void test_misshapen_tensors_are_named(void **state)
{
    (void)state;
    check_misshapen_tensors(cases, LLRTI_COUNT(cases));
}

static void test_options_are_refused_by_name(void **state)
{
    (void)state;
    static const struct {
        const char *title, *options;
        llrt_status status;
        const char *field, *text;
    } refused[] = {
        {"mixtral", "num_local_experts=0", LLRT_ERR_FORMAT, "num_local_experts", "no experts"},
        {"mixtral", "num_experts_per_tok=5", LLRT_ERR_FORMAT, "num_experts_per_tok",
         "found 5 experts for each token, expected at most 4"},
        {"mixtral", "num_experts_per_tok=65", LLRT_ERR_FORMAT, "num_experts_per_tok", "found 65"},
        {"mixtral.gguf", "expert_used_count=", LLRT_ERR_FORMAT, "llama.expert_used_count",
         "missing"},
        {"qwen2_moe", "decoder_sparse_step=0", LLRT_ERR_FORMAT, "decoder_sparse_step", "found 0"},
        {"qwen3_moe", "mlp_only_layers=['one']", LLRT_ERR_FORMAT, "mlp_only_layers",
         "found \"one\""},
        {"qwen3moe.gguf", "expert_count=", LLRT_ERR_FORMAT, "qwen3moe.expert_count", "no experts"},
        {"qwen3moe.gguf", "expert_gating_func=u4", LLRT_ERR_FORMAT, "qwen3moe.expert_gating_func",
         "found 4"},
        {"olmoe", "clip_qkv=8.0", LLRT_ERR_UNSUPPORTED, "clip_qkv", "clamped"},
        {"gpt_oss", "swiglu_alpha=1.5", LLRT_ERR_UNSUPPORTED, "swiglu_alpha", "only 1.702"},
        {"gpt_oss", "swiglu_limit=0", LLRT_ERR_FORMAT, "swiglu_limit", "found 0"},
        {"gpt_oss", "hidden_act='gelu'", LLRT_ERR_UNSUPPORTED, "hidden_act", "only silu"},
        {"gpt_oss", "quantization_config={'quant_method':'gptq'}", LLRT_ERR_UNSUPPORTED,
         "quantization_config", "\"gptq\""},
        {"gpt_oss", "layer_types=['full_attention']", LLRT_ERR_FORMAT, "layer_types",
         "found 1 elements"},
        {"deepseek_v2", "moe_layer_freq=2", LLRT_ERR_UNSUPPORTED, "moe_layer_freq", "only 1"},
        {"deepseek_v2", "topk_method='noaux_tc'", LLRT_ERR_UNSUPPORTED, "topk_method",
         "greedy or group_limited_greedy"},
        {"deepseek_v2", "scoring_func='sigmoid'", LLRT_ERR_UNSUPPORTED, "scoring_func",
         "only softmax"},
        {"deepseek_v2", "norm_topk_prob=true", LLRT_ERR_UNSUPPORTED, "norm_topk_prob",
         "normalised weights"},
        {"deepseek_v2", "topk_method='group_limited_greedy' n_group=3 topk_group=1",
         LLRT_ERR_FORMAT, "n_group", "found 3 groups, expected a divisor of the 4 experts"},
        {"deepseek_v2",
         "topk_method='group_limited_greedy' n_group=2 topk_group=1 num_experts_per_tok=3",
         LLRT_ERR_FORMAT, "topk_group", "expected room for 3 experts"},
        {"deepseek_v3", "n_group=4", LLRT_ERR_FORMAT, "n_group", "2 or more in a group"},
        {"deepseek_v3", "topk_group=3", LLRT_ERR_FORMAT, "topk_group", "found 3 of 2 groups"},
        {"deepseek_v3", "topk_method='greedy'", LLRT_ERR_UNSUPPORTED, "topk_method",
         "only noaux_tc"},
        {"deepseek_v3", "qk_rope_head_dim=3", LLRT_ERR_FORMAT, "head_dim",
         "found 3 rotated elements"},
        {"deepseek2.gguf", "attention.key_length_mla=u2", LLRT_ERR_FORMAT,
         "deepseek2.attention.key_length_mla", "expected more than the 2 rotated elements"},
        {"deepseek2.gguf", "attention.kv_lora_rank=", LLRT_ERR_FORMAT,
         "deepseek2.attention.kv_lora_rank", "missing"},
        {"qwen3_next", "linear_num_value_heads=3", LLRT_ERR_FORMAT, "linear_num_value_heads",
         "found 3 value heads, expected a multiple of the 2"},
        {"qwen3_next", "attention_bias=true", LLRT_ERR_UNSUPPORTED, "attention_bias", "biases"},
        {"qwen3_5", "attn_output_gate=false", LLRT_ERR_UNSUPPORTED, "attn_output_gate",
         "without a gate"},
        {"qwen3_5", "layer_types=['linear_attention']", LLRT_ERR_FORMAT, "layer_types",
         "found 1 elements"},
        {"qwen3_5", "layer_types=['linear_attention','sliding_attention']", LLRT_ERR_UNSUPPORTED,
         "layer_types", "layer 1"},
        {"qwen3_5", "rope_parameters={'mrope_section':[1,1]}", LLRT_ERR_FORMAT,
         "rope_parameters.mrope_section", "found 2 values"},
        {"qwen3_5", "num_experts=4", LLRT_ERR_UNSUPPORTED, "num_experts", "experts"},
        {"qwen35.gguf", "ssm.inner_size=u13", LLRT_ERR_FORMAT, "qwen35.ssm.inner_size",
         "expected a multiple of the 4 value heads"},
        {"qwen35.gguf", "ssm.conv_kernel=u1", LLRT_ERR_FORMAT, "qwen35.ssm.conv_kernel", "found 1"},
        {"mamba2", "num_heads=3", LLRT_ERR_FORMAT, "num_heads",
         "found 3 heads of 4 elements, expected 8"},
        {"mamba2", "n_groups=3", LLRT_ERR_FORMAT, "n_groups", "expected a divisor of the 2"},
        {"mamba2", "time_step_limit=[0.1]", LLRT_ERR_FORMAT, "time_step_limit", "a list of 2"},
        {"mamba2", "time_step_limit=[0,NaN]", LLRT_ERR_FORMAT, "time_step_limit", "found nan"},
        {"mamba2", "expand=Infinity", LLRT_ERR_FORMAT, "expand", "found inf"},
        {"mamba2", "hidden_act='step'", LLRT_ERR_UNSUPPORTED, "hidden_act", "not known"},
        {"mamba2.gguf", "ssm.group_count=", LLRT_ERR_FORMAT, "mamba2.ssm.group_count", "missing"},
        {"mamba2.gguf", "ssm.state_size=u0", LLRT_ERR_FORMAT, "mamba2.ssm.state_size", "found 0"},
    };
    for (size_t i = 0; i < LLRTI_COUNT(refused); i++) {
        opened o;
        const llrt_status status =
            open_case(&o, find_case(refused[i].title), &(change){.options = refused[i].options});
        if (status != refused[i].status || strcmp(o.err.field, refused[i].field) != 0 ||
            !strstr(o.err.text, refused[i].text))
            fail_msg("%s, %s: %d, '%s', %s", refused[i].title, refused[i].options, status,
                     o.err.field, o.err.text);
        close_case(&o);
    }
}

/* ---- What they do ---- */

/* The last operator of a kind in a layer, or NULL. */
static const llrt_op *find_op(const llrti_model *m, llrt_op_kind kind, uint32_t layer)
{
    const llrt_op *found = NULL;
    for (uint32_t i = 0; i < m->program->n_op; i++)
        if (m->program->op[i].kind == kind && m->program->op[i].layer == layer)
            found = &m->program->op[i];
    return found;
}

/* The first one: a shared expert with a router comes after the experts. */
static const llrt_op *find_experts(const llrti_model *m, uint32_t layer)
{
    for (uint32_t i = 0; i < m->program->n_op; i++)
        if (m->program->op[i].kind == LLRT_OP_EXPERTS && m->program->op[i].layer == layer)
            return &m->program->op[i];
    return NULL;
}

static void test_routers(void **state)
{
    (void)state;
    enum { SOFTMAX, CHOSEN, SIGMOID };
    static const struct {
        const char *title, *options;
        uint32_t router, is_normalized, n_group, n_group_used, is_group_sum;
        double scale;
    } routers[] = {
        {"mixtral", NULL, SOFTMAX, 1, 0, 0, 0, 1},
        {"mixtral.gguf", NULL, SOFTMAX, 1, 0, 0, 0, 1},
        {"qwen2_moe", NULL, SOFTMAX, 0, 0, 0, 0, 1},
        {"qwen2moe.gguf", NULL, SOFTMAX, 0, 0, 0, 0, 1},
        {"qwen3_moe", NULL, SOFTMAX, 0, 0, 0, 0, 1},
        {"qwen3_moe", "norm_topk_prob=true", SOFTMAX, 1, 0, 0, 0, 1},
        {"qwen3moe.gguf", NULL, SOFTMAX, 1, 0, 0, 0, 1},
        {"qwen3moe.gguf", "expert_gating_func=u3", CHOSEN, 0, 0, 0, 0, 1},
        {"olmoe", "norm_topk_prob=false", SOFTMAX, 0, 0, 0, 0, 1},
        {"granitemoe", NULL, CHOSEN, 0, 0, 0, 0, 1},
        {"gpt_oss", NULL, CHOSEN, 0, 0, 0, 0, 1},
        {"gpt-oss.gguf", NULL, CHOSEN, 0, 0, 0, 0, 1},
        {"deepseek_v2", "routed_scaling_factor=1.5", SOFTMAX, 0, 0, 0, 0, 1.5},
        {"deepseek_v2", "topk_method='group_limited_greedy' n_group=2 topk_group=1", SOFTMAX, 0, 2,
         1, 0, 1},
        {"deepseek_v3", NULL, SIGMOID, 1, 2, 1, 1, 2.5},
        {"deepseek_v3", "norm_topk_prob=false n_group=1", SIGMOID, 0, 0, 0, 1, 2.5},
        {"deepseek2.gguf", "expert_weights_scale=f1.5", SOFTMAX, 0, 0, 0, 0, 1.5},
        {"old deepseek2.gguf",
         "expert_weights_norm=b1 expert_group_count=u2 expert_group_used_count=u1", SIGMOID, 1, 2,
         1, 1, 1},
        {"qwen3_next", NULL, SOFTMAX, 1, 0, 0, 0, 1},
        {"qwen3next.gguf", NULL, SOFTMAX, 1, 0, 0, 0, 1},
    };
    for (size_t i = 0; i < LLRTI_COUNT(routers); i++) {
        opened o;
        const llrti_model *const m = need(&o, routers[i].title, routers[i].options);
        const llrt_op *const op = find_experts(m, 1);
        assert_non_null(op);
        if (op->u.experts.router != routers[i].router ||
            op->u.experts.is_normalized != routers[i].is_normalized ||
            op->u.experts.n_group != routers[i].n_group ||
            op->u.experts.n_group_used != routers[i].n_group_used ||
            op->u.experts.is_group_sum != routers[i].is_group_sum ||
            fabs((double)op->u.experts.scale - routers[i].scale) > 1e-6)
            fail_msg("%s, %s: another router", routers[i].title, routers[i].options);
        assert_int_equal(op->u.experts.n_used, 2);
        close_case(&o);
    }
}

static void test_layers_without_experts(void **state)
{
    (void)state;
    static const char dense[] = "model.layers.0.mlp.gate_proj:8x12 model.layers.0.mlp.up_proj:8x12 "
                                "model.layers.0.mlp.down_proj:12x8 ";
    static const char *const options[] = {"mlp_only_layers=[0]", "decoder_sparse_step=2"};
    for (int i = 0; i < 2; i++) {
        opened o;
        if (open_case(&o, find_case("qwen3_moe"),
                      &(change){.options = options[i], .tensors = dense}) < 0)
            fail_msg("%s", o.err.text);
        assert_null(find_experts(o.model, 0));
        assert_non_null(find_op(o.model, LLRT_OP_GLU, 0));
        assert_non_null(find_experts(o.model, 1));
        assert_true(o.model->n_unused > 0); /* the experts of layer 0 */
        close_case(&o);
    }
    opened o;
    const llrti_model *const m = need(&o, "deepseek_v2", NULL);
    assert_null(find_experts(m, 0));
    assert_non_null(find_experts(m, 1));
    close_case(&o);
}

/* A shared expert with a router of its own is a mixture of one, weighted by a sigmoid. */
static void test_shared_experts(void **state)
{
    (void)state;
    static const char *const titles[] = {"qwen2_moe", "qwen2moe.gguf", "qwen3_next"};
    opened o;
    for (size_t i = 0; i < LLRTI_COUNT(titles); i++) {
        const llrti_model *const m = need(&o, titles[i], NULL);
        const llrt_op *const op = find_op(m, LLRT_OP_EXPERTS, 1);
        assert_ptr_not_equal(op, find_experts(m, 1));
        assert_true(op->u.experts.router == LLRT_ROUTER_SIGMOID && op->u.experts.n_used == 1);
        assert_int_equal(m->weight[op->weight[1]].desc.dim[2], 1);
        assert_int_equal(m->program->value[op->in[1]].width, 1);
        close_case(&o);
    }
    const llrti_model *const m = need(&o, "deepseek_v2", NULL);
    assert_ptr_equal(find_op(m, LLRT_OP_EXPERTS, 1), find_experts(m, 1));
    assert_int_equal(m->program->value[find_op(m, LLRT_OP_GLU, 1)->out].width, 10);
    close_case(&o);
}

static void test_gpt_oss_experts_and_sinks(void **state)
{
    (void)state;
    static const char *const titles[] = {"gpt_oss", "gpt_oss blocks", "gpt-oss.gguf"};
    for (size_t i = 0; i < LLRTI_COUNT(titles); i++) {
        opened o;
        const llrti_model *const m = need(&o, titles[i], i == 1 ? "sliding_window=5" : NULL);
        const llrt_op *const op = find_op(m, LLRT_OP_EXPERTS, 0);
        assert_true(op->u.experts.act == LLRT_ACT_GELU_QUICK && op->u.experts.limit == 7.0f &&
                    op->u.experts.offset == 1.0f);
        for (int k = 0; k < 6; k++) assert_int_not_equal(op->weight[k], LLRT_NONE);
        const llrti_model_weight *const gate = &m->weight[op->weight[0]];
        const llrti_model_weight *const up = &m->weight[op->weight[1]];
        assert_int_equal(gate->desc.type, i == 1 ? LLRT_TYPE_MXFP4 : LLRT_TYPE_F32);
        assert_int_equal(gate->is_transposed, i == 0);
        assert_true(gate->row_begin == 0 && up->row_begin == (i < 2) &&
                    up->row_step == 1 + (i < 2));
        assert_string_equal(gate->gguf_name, "blk.0.ffn_gate_exps.weight");
        assert_string_equal(up->gguf_name, "blk.0.ffn_up_exps.weight");
        assert_int_equal(find_op(m, LLRT_OP_ATTENTION, 0)->u.attention.window, 5);
        assert_int_equal(find_op(m, LLRT_OP_ATTENTION, 1)->u.attention.window, 0);
        assert_int_not_equal(find_op(m, LLRT_OP_ATTENTION, 1)->weight[0], LLRT_NONE);
        assert_true(m->kv[0].group == LLRT_KV_GROUP_WINDOW && m->kv[1].group == LLRT_KV_GROUP_FULL);
        assert_true(m->kv_window == 5 && m->window == 0);
        close_case(&o);
    }
}

static void test_latent_slots(void **state)
{
    (void)state;
    static const char *const titles[] = {"deepseek_v2", "deepseek_v2 with a rank of q",
                                         "deepseek_v3", "deepseek2.gguf", "old deepseek2.gguf"};
    for (size_t i = 0; i < LLRTI_COUNT(titles); i++) {
        opened o;
        const llrti_model *const m = need(&o, titles[i], NULL);
        assert_int_equal(m->n_kv, 2);
        for (uint32_t k = 0; k < 2; k++)
            assert_true(m->kv[k].n_head == 1 && m->kv[k].k_dim == 7 && m->kv[k].v_dim == 5 &&
                        m->kv[k].v_in_k == 1 && m->kv[k].group == LLRT_KV_GROUP_FULL);
        const llrt_op *const op = find_op(m, LLRT_OP_ATTENTION, 1);
        const llrt_value q = m->program->value[op->in[0]], out = m->program->value[op->out];
        assert_true(op->n_in == 2 && q.n_head == 2 && q.width == 7 && out.width == 5);
        assert_float_equal(op->u.attention.scale, 1 / sqrt(8.0), 1e-7);
        assert_int_equal(find_op(m, LLRT_OP_ROPE, 1)->u.rope.pairs, LLRT_ROPE_ADJACENT);
        const llrt_op *const back = find_op(m, LLRT_OP_HEAD_LINEAR, 1);
        const llrt_tensor_desc *const v_b = &m->weight[back->weight[0]].desc;
        assert_true(v_b->dim[0] == 5 && v_b->dim[1] == 3 && v_b->dim[2] == 2);
        close_case(&o);
    }
}

/* mscale_all_dim squared multiplies the scores; sine and cosine keep the rest. */
static void test_yarn_of_latent_attention(void **state)
{
    (void)state;
    static const struct {
        const char *title, *options;
        double scale, magnitude;
    } yarns[] = {
        {"deepseek_v3",
         "rope_scaling={'type':'yarn','factor':4,'original_max_position_embeddings':4,"
         "'mscale':1.0,'mscale_all_dim':1.0}",
         1.1386294361, 1},
        {"deepseek_v3",
         "rope_scaling={'type':'yarn','factor':4,'original_max_position_embeddings':4,"
         "'mscale':1.0,'mscale_all_dim':0.5}",
         1.0693147181, 1.1386294361 / 1.0693147181},
        {"deepseek_v3",
         "rope_scaling={'type':'yarn','factor':4,'original_max_position_embeddings':4}", 1,
         1.1386294361},
        {"deepseek2.gguf",
         "rope.scaling.type=syarn rope.scaling.factor=f4 "
         "rope.scaling.original_context_length=u4 rope.scaling.yarn_log_multiplier=f0.1",
         1.1386294361, 1},
    };
    for (size_t i = 0; i < LLRTI_COUNT(yarns); i++) {
        opened o;
        const llrti_model *const m = need(&o, yarns[i].title, yarns[i].options);
        assert_float_equal(find_op(m, LLRT_OP_ATTENTION, 0)->u.attention.scale,
                           yarns[i].scale * yarns[i].scale / sqrt(8.0), 1e-6);
        assert_float_equal(find_op(m, LLRT_OP_ROPE, 0)->u.rope.magnitude, yarns[i].magnitude, 1e-6);
        close_case(&o);
    }
}

static void test_states_of_hybrids(void **state)
{
    (void)state;
    static const struct {
        const char *title;
        uint32_t is_log_a, is_tiled;
        float norm_offset;
    } hybrids[] = {{"qwen3_next", 1, 0, 1},         {"qwen3next.gguf", 0, 0, 0},
                   {"old qwen3next.gguf", 0, 0, 0}, {"qwen3_5", 1, 0, 1},
                   {"qwen35.gguf", 0, 1, 0},        {"qwen3_5_moe", 1, 0, 1}};
    for (size_t i = 0; i < LLRTI_COUNT(hybrids); i++) {
        opened o;
        llrti_stage *stages;
        static const uint32_t ends[2] = {1, 2};
        const llrti_model *const m = need(&o, hybrids[i].title, NULL);
        assert_true(m->n_kv == 1 && m->n_state == 2 && m->kv[0].layer == 1);
        assert_true(m->state[0].n_float == 3 * 28 && m->state[1].n_float == 4 * 4 * 3);
        const llrt_op *const op = find_op(m, LLRT_OP_GATED_DELTA, 0);
        assert_true(op->u.scan.is_log_a == hybrids[i].is_log_a &&
                    op->u.scan.is_tiled == hybrids[i].is_tiled);
        assert_true(find_op(m, LLRT_OP_RMS_NORM, 1)->u.norm.weight_offset ==
                    hybrids[i].norm_offset);
        assert_non_null(find_op(m, LLRT_OP_SIGMOID_GATE, 1));
        /* The first product of layer 0 is q, k and v: by value head, which files order by kind. */
        for (uint32_t k = 0; k < m->program->n_op; k++)
            if (m->program->op[k].kind == LLRT_OP_LINEAR) {
                const uint32_t weight = m->program->op[k].weight[0];
                assert_int_equal(m->weight[weight].is_rearranged, i >= 3);
                break;
            }
        const llrt_op *const rope = find_op(m, LLRT_OP_ROPE, 1);
        assert_int_equal(rope->u.rope.n_rot, 2);
        assert_true((rope->u.rope.axis != NULL) == (i >= 3));
        /* States go with their layers. */
        assert_int_equal(llrti_model_cut(&o.mem, m, 2, ends, &stages, &o.err), LLRT_OK);
        assert_true(stages[0].n_state == 2 && stages[1].n_state == 0 && stages[0].n_kv == 0);
        assert_true(stages[0].state_index[1] == 1 && stages[0].state[1].n_float == 48);
        llrti_stages_free(&o.mem, stages, 2);
        close_case(&o);
    }
}

/* Of 12 pairs the second and third axis have every third, as far as their sections go. */
static void test_axes_of_sections(void **state)
{
    (void)state;
    static const uint8_t expected[12] = {0, 1, 2, 0, 1, 0, 0, 1, 0, 0, 0, 0};
    opened o;
    if (open_case(&o, find_case("qwen3_5"),
                  &(change){.options = "head_dim=24 partial_rotary_factor=1.0 "
                                       "layer_types=['full_attention','full_attention'] "
                                       "rope_parameters={'mrope_section':[8,3,1]}"}) >= 0)
        fail_msg("tensors of another width were taken");
    close_case(&o);
    static const family_case wide = {
        "wide", "qwen3_5_text", false,
        HYBRID "num_hidden_layers=1 head_dim=24 partial_rotary_factor=1.0 "
               "layer_types=['full_attention'] rope_parameters={'mrope_section':[8,3,1]}",
        HF_ENDS "model.layers.0.input_layernorm:8 model.layers.0.post_attention_layernorm:8 "
                "model.layers.0.self_attn.q_proj:8x96 model.layers.0.self_attn.k_proj:8x24 "
                "model.layers.0.self_attn.v_proj:8x24 model.layers.0.self_attn.o_proj:48x8 "
                "model.layers.0.self_attn.q_norm:24 model.layers.0.self_attn.k_norm:24 "
                "model.layers.0.mlp.gate_proj:8x12 model.layers.0.mlp.up_proj:8x12 "
                "model.layers.0.mlp.down_proj:12x8"};
    if (open_case(&o, &wide, NULL) < 0) fail_msg("%s", o.err.text);
    assert_memory_equal(find_op(o.model, LLRT_OP_ROPE, 0)->u.rope.axis, expected, 12);
    close_case(&o);
}

static void test_nested_text_model(void **state)
{
    (void)state;
    static const family_case nested = {
        "nested", "qwen3_5", false,
        "tie_word_embeddings=true text_config={'vocab_size':11,'hidden_size':8,"
        "'intermediate_size':12,'num_hidden_layers':1,'num_attention_heads':2,"
        "'num_key_value_heads':1,'head_dim':4,'partial_rotary_factor':0.5,"
        "'layer_types':['full_attention']}",
        "model.language_model.embed_tokens:8x11 model.language_model.norm:8 "
        "model.language_model.layers.0.input_layernorm:8 "
        "model.language_model.layers.0.post_attention_layernorm:8 "
        "model.language_model.layers.0.self_attn.q_proj:8x16 "
        "model.language_model.layers.0.self_attn.k_proj:8x4 "
        "model.language_model.layers.0.self_attn.v_proj:8x4 "
        "model.language_model.layers.0.self_attn.o_proj:8x8 "
        "model.language_model.layers.0.self_attn.q_norm:4 "
        "model.language_model.layers.0.self_attn.k_norm:4 "
        "model.language_model.layers.0.mlp.gate_proj:8x12 "
        "model.language_model.layers.0.mlp.up_proj:8x12 "
        "model.language_model.layers.0.mlp.down_proj:12x8 model.visual.patch_embed:3x2"};
    opened o;
    if (open_case(&o, &nested, NULL) < 0) fail_msg("%s", o.err.text);
    assert_int_equal(o.model->n_unused, 1); /* the vision part */
    assert_int_equal(find_op(o.model, LLRT_OP_EMBED, 0)->weight[0],
                     find_op(o.model, LLRT_OP_HEAD, 0)->weight[0]);
    close_case(&o);
}

static void test_layers_that_predict_further_tokens(void **state)
{
    (void)state;
    static const char *const titles[] = {"qwen35.gguf", "deepseek2.gguf"};
    for (size_t i = 0; i < LLRTI_COUNT(titles); i++) {
        opened o;
        const llrti_model *const m = need(&o, titles[i], "block_count=u3 nextn_predict_layers=u1");
        assert_int_equal(m->n_layer, 2);
        close_case(&o);
    }
}

static void test_mamba(void **state)
{
    (void)state;
    static const struct {
        const char *title, *options;
        float dt_min, dt_max;
        uint32_t is_log_a, n_norm_head;
    } mambas[] = {
        {"mamba2", NULL, 0, INFINITY, 1, 1},
        {"mamba2", "time_step_limit=[0.5,2.0]", 0.5f, 2, 1, 1},
        {"mamba2", "time_step_limit=[0.5,Infinity]", 0.5f, INFINITY, 1, 1},
        {"mamba2", "time_step_limit=[0.5,{'__float__':'Infinity'}]", 0.5f, INFINITY, 1, 1},
        {"mamba2.gguf", NULL, 0, INFINITY, 0, 2}};
    for (size_t i = 0; i < LLRTI_COUNT(mambas); i++) {
        opened o;
        const llrti_model *const m = need(&o, mambas[i].title, mambas[i].options);
        assert_true(m->n_kv == 0 && m->n_state == 4 && m->kv_window == 0 && m->head_dim == 4);
        assert_true(m->state[0].n_float == 2 * 20 && m->state[1].n_float == 2 * 3 * 4);
        assert_true(m->state[2].layer == 1);
        const llrt_op *const op = find_op(m, LLRT_OP_SSM_SCAN, 1);
        assert_true(op->u.scan.is_log_a == mambas[i].is_log_a && op->u.scan.state == 3);
        assert_true(op->u.scan.dt_min == mambas[i].dt_min && op->u.scan.dt_max == mambas[i].dt_max);
        /* The last operators of a layer are norm, product and sum. */
        const llrt_op *const out = find_op(m, LLRT_OP_LINEAR, 0);
        assert_int_equal(m->program->value[out->in[0]].n_head, mambas[i].n_norm_head);
        /* Tied, but for the GGUF, which has a head. */
        const bool is_tied =
            find_op(m, LLRT_OP_HEAD, 1)->weight[0] == find_op(m, LLRT_OP_EMBED, 0)->weight[0];
        assert_int_equal(is_tied, i < 4);
        close_case(&o);
    }
}

/* ---- Lack of memory ---- */

static void test_every_allocation_can_fail(void **state)
{
    (void)state;
    static const char *const titles[] = {"mixtral", "deepseek_v3", "qwen3_5_moe", "gpt_oss blocks"};
    for (size_t i = 0; i < LLRTI_COUNT(titles); i++) {
        opened o;
        need(&o, titles[i], NULL);
        check_allocations(&o);
        close_case(&o);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_tensor_is_used),
        cmocka_unit_test(test_missing_tensors_are_named),
        cmocka_unit_test(test_misshapen_tensors_are_named),
        cmocka_unit_test(test_options_are_refused_by_name),
        cmocka_unit_test(test_routers),
        cmocka_unit_test(test_layers_without_experts),
        cmocka_unit_test(test_shared_experts),
        cmocka_unit_test(test_gpt_oss_experts_and_sinks),
        cmocka_unit_test(test_latent_slots),
        cmocka_unit_test(test_yarn_of_latent_attention),
        cmocka_unit_test(test_states_of_hybrids),
        cmocka_unit_test(test_axes_of_sections),
        cmocka_unit_test(test_nested_text_model),
        cmocka_unit_test(test_layers_that_predict_further_tokens),
        cmocka_unit_test(test_mamba),
        cmocka_unit_test(test_every_allocation_can_fail),
    };
    return cmocka_run_group_tests_name("families_sparse", tests, NULL, NULL);
}
