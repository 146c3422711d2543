# SPDX-License-Identifier: MIT
"""Seeds of the model target: one tiny model of each family with experts, latents or states, in either kind of file.

A model is a line of options and a line of tensors, "name:8x4" with the row length first; '#' stands for both layers, '@' for
four experts, ".weight" is added to names that don't end in ".bias" or '!', a 'u' behind the shape means bytes.
"""
import json

from make_corpus import SEPARATOR, entry, gguf, meta, safetensors

SIZES = {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1, "intermediate_size": 12,
         "vocab_size": 11, "max_position_embeddings": 16, "num_experts_per_tok": 2, "moe_intermediate_size": 5}
GGUF_SIZES = {"block_count": 2, "context_length": 16, "embedding_length": 8, "feed_forward_length": 12, "attention.head_count": 2,
              "attention.head_count_kv": 1, "attention.layer_norm_rms_epsilon": 1e-5, "expert_used_count": 2}
ENDS = "model.embed_tokens:8x11 model.norm:8 lm_head:8x11 "
NORMS = "model.layers.#.input_layernorm:8 model.layers.#.post_attention_layernorm:8 "
QKVO = ("model.layers.#.self_attn.q_proj:8x8 model.layers.#.self_attn.k_proj:8x4 model.layers.#.self_attn.v_proj:8x4 "
        "model.layers.#.self_attn.o_proj:8x8 ")
QKV_BIAS = ("model.layers.#.self_attn.q_proj.bias:8 model.layers.#.self_attn.k_proj.bias:4 "
            "model.layers.#.self_attn.v_proj.bias:4 ")
EXPERTS = ("model.layers.#.mlp.gate:8x4 model.layers.#.mlp.experts.@.gate_proj:8x5 model.layers.#.mlp.experts.@.up_proj:8x5 "
           "model.layers.#.mlp.experts.@.down_proj:5x8 ")
DENSE = "model.layers.#.mlp.gate_proj:8x12 model.layers.#.mlp.up_proj:8x12 model.layers.#.mlp.down_proj:12x8 "
SHARED = ("model.layers.#.mlp.shared_expert.gate_proj:8x6 model.layers.#.mlp.shared_expert.up_proj:8x6 "
          "model.layers.#.mlp.shared_expert.down_proj:6x8 model.layers.#.mlp.shared_expert_gate:8x1 ")
OSS = ("model.layers.#.self_attn.sinks!:2 model.layers.#.self_attn.o_proj.bias:8 model.layers.#.mlp.router:8x4 "
       "model.layers.#.mlp.router.bias:4 model.layers.#.mlp.experts.gate_up_proj_bias!:24x4 "
       "model.layers.#.mlp.experts.down_proj_bias!:8x4 model.layers.#.mlp.experts.gate_up_proj!:24x8x4 "
       "model.layers.#.mlp.experts.down_proj!:8x12x4 ")
MLA = ("model.layers.#.self_attn.q_a_proj:8x7 model.layers.#.self_attn.q_a_layernorm:7 model.layers.#.self_attn.q_b_proj:7x16 "
       "model.layers.#.self_attn.kv_a_proj_with_mqa:8x7 model.layers.#.self_attn.kv_a_layernorm:5 "
       "model.layers.#.self_attn.kv_b_proj:5x18 model.layers.#.self_attn.o_proj:6x8 model.layers.#.mlp.shared_experts.gate_proj:8x5 "
       "model.layers.#.mlp.shared_experts.up_proj:8x5 model.layers.#.mlp.shared_experts.down_proj:5x8 ")
HYBRID = ("model.layers.1.self_attn.q_proj:8x16 model.layers.1.self_attn.k_proj:8x4 model.layers.1.self_attn.v_proj:8x4 "
          "model.layers.1.self_attn.o_proj:8x8 model.layers.1.self_attn.q_norm:4 model.layers.1.self_attn.k_norm:4 "
          "model.layers.0.linear_attn.conv1d:4x1x28 model.layers.0.linear_attn.dt_bias!:4 model.layers.0.linear_attn.A_log!:4 "
          "model.layers.0.linear_attn.norm:3 model.layers.0.linear_attn.out_proj:12x8 ")
MAMBA = ("backbone.embeddings:8x11 backbone.norm_f:8 backbone.layers.#.norm:8 backbone.layers.#.mixer.in_proj:8x30 "
         "backbone.layers.#.mixer.conv1d:3x1x20 backbone.layers.#.mixer.conv1d.bias:20 backbone.layers.#.mixer.dt_bias!:2 "
         "backbone.layers.#.mixer.A_log!:2 backbone.layers.#.mixer.D!:2 backbone.layers.#.mixer.norm:8 "
         "backbone.layers.#.mixer.out_proj:8x8 ")
BLOCKS = ("model.layers.#.mlp.experts.gate_up_proj_blocks!:16x1x64x4u model.layers.#.mlp.experts.gate_up_proj_scales!:1x64x4u "
          "model.layers.#.mlp.experts.down_proj_blocks!:16x1x32x4u model.layers.#.mlp.experts.down_proj_scales!:1x32x4u ")
G_ENDS = "token_embd:8x11 output_norm:8 output:8x11 "
G_QKVO = "blk.#.attn_q:8x8 blk.#.attn_k:8x4 blk.#.attn_v:8x4 blk.#.attn_output:8x8 "
G_NORMS = "blk.#.attn_norm:8 blk.#.ffn_norm:8 "
G_EXPERTS = "blk.#.ffn_gate_inp:8x4 blk.#.ffn_gate_exps:8x5x4 blk.#.ffn_up_exps:8x5x4 blk.#.ffn_down_exps:5x8x4 "
LATENT = {"kv_lora_rank": 5, "qk_nope_head_dim": 6, "qk_rope_head_dim": 2, "v_head_dim": 3, "q_lora_rank": 7, "n_routed_experts": 4,
          "n_shared_experts": 1, "n_group": 2, "topk_group": 1, "first_k_dense_replace": 0}
DELTA = {"head_dim": 4, "linear_num_key_heads": 2, "linear_num_value_heads": 4, "linear_key_head_dim": 4,
         "linear_value_head_dim": 3, "full_attention_interval": 2, "partial_rotary_factor": 0.5, "num_experts": 4,
         "shared_expert_intermediate_size": 6}
HF = {
    "mixtral": ({"num_local_experts": 4, "intermediate_size": 5, "sliding_window": 3}, ENDS + NORMS + QKVO +
                "model.layers.#.block_sparse_moe.gate:8x4 model.layers.#.block_sparse_moe.experts.@.w1:8x5 "
                "model.layers.#.block_sparse_moe.experts.@.w3:8x5 model.layers.#.block_sparse_moe.experts.@.w2:5x8"),
    "qwen2_moe": ({"num_experts": 4, "shared_expert_intermediate_size": 6}, ENDS + NORMS + QKVO + QKV_BIAS + EXPERTS + SHARED),
    "gpt_oss": ({"num_local_experts": 4, "head_dim": 4, "sliding_window": 3}, ENDS + NORMS + QKVO + QKV_BIAS + OSS),
    "deepseek_v2": ({**LATENT, "topk_method": "group_limited_greedy"}, ENDS + NORMS + MLA + EXPERTS),
    "deepseek_v3": (LATENT, ENDS + NORMS + MLA + EXPERTS + "model.layers.#.mlp.gate.e_score_correction_bias!:4"),
    "qwen3_next": (DELTA, ENDS + NORMS + HYBRID + EXPERTS + SHARED + "model.layers.0.linear_attn.in_proj_qkvz:8x40 "
                   "model.layers.0.linear_attn.in_proj_ba:8x8"),
    "qwen3_5_moe_text": ({**DELTA, "rope_parameters": {"mrope_section": [1, 0, 0]}}, ENDS + NORMS + HYBRID + EXPERTS + SHARED +
                         "model.layers.0.linear_attn.in_proj_qkv:8x28 model.layers.0.linear_attn.in_proj_z:8x12 "
                         "model.layers.0.linear_attn.in_proj_a:8x4 model.layers.0.linear_attn.in_proj_b:8x4"),
    "mamba2": ({"num_heads": 2, "head_dim": 4, "expand": 1, "n_groups": 2, "state_size": 3, "conv_kernel": 3,
                "tie_word_embeddings": True, "time_step_limit": [0.1, 2.0]}, MAMBA),
}
WIDE = ENDS.replace("8", "32") + NORMS.replace("8", "32") + (QKVO + QKV_BIAS).replace("8x8", "32x32").replace(
    "8x4", "32x16").replace("bias:8", "bias:32").replace("bias:4", "bias:16") + OSS.replace("24x", "64x").replace(
        "8x4", "32x4").replace("bias:8", "bias:32").split("model.layers.#.mlp.experts.gate_up_proj!")[0] + BLOCKS
GGUF = {
    "qwen2moe": ({"expert_count": 4, "expert_feed_forward_length": 5, "expert_shared_feed_forward_length": 6}, G_ENDS + G_NORMS +
                 G_QKVO + G_EXPERTS + "blk.#.attn_q.bias:8 blk.#.attn_k.bias:4 blk.#.attn_v.bias:4 blk.#.ffn_gate_shexp:8x6 "
                 "blk.#.ffn_up_shexp:8x6 blk.#.ffn_down_shexp:6x8 blk.#.ffn_gate_inp_shexp:8"),
    "llama": ({"expert_count": 4}, G_ENDS + G_NORMS + G_QKVO + "blk.#.ffn_gate_inp:8x4 blk.#.ffn_gate.@:8x12 blk.#.ffn_up.@:8x12 "
              "blk.#.ffn_down.@:12x8"),
    "deepseek2": ({"expert_count": 4, "expert_feed_forward_length": 5, "expert_gating_func": 2, "expert_group_count": 2,
                   "expert_group_used_count": 1, "attention.kv_lora_rank": 5, "rope.dimension_count": 2,
                   "attention.key_length_mla": 8, "attention.value_length_mla": 3, "rope.scaling.type": "yarn",
                   "rope.scaling.factor": 4.0, "rope.scaling.original_context_length": 4,
                   "rope.scaling.yarn_log_multiplier": 0.1}, G_ENDS + G_NORMS + G_EXPERTS + "blk.#.attn_q:8x16 "
                  "blk.#.attn_kv_a_mqa:8x7 blk.#.attn_kv_a_norm:5 blk.#.attn_output:6x8 blk.#.attn_k_b:6x5x2 blk.#.attn_v_b:5x3x2 "
                  "blk.#.exp_probs_b.bias:4"),
    "mamba2": ({"ssm.conv_kernel": 3, "ssm.inner_size": 8, "ssm.state_size": 3, "ssm.time_step_rank": 2, "ssm.group_count": 2},
               G_ENDS + "blk.#.attn_norm:8 blk.#.ssm_in:8x30 blk.#.ssm_conv1d:3x20 blk.#.ssm_dt.bias:2 blk.#.ssm_a!:1x2 "
               "blk.#.ssm_d!:1x2 blk.#.ssm_norm:4x2 blk.#.ssm_out:8x8"),
}


def tensors(line):
    """(name, dims, bytes per element) of every tensor."""
    out = []
    for word in line.split():
        name, shape = word.split(":")
        size = 1 if shape.endswith("u") else 4
        dims = tuple(int(d) for d in shape.rstrip("u").split("x"))
        name = name[:-1] if name.endswith("!") else name if name.endswith(".bias") else name + ".weight"
        for i in range(2 if "#" in name else 1):
            for k in range(4 if "@" in name else 1):
                out.append((name.replace("#", str(i)).replace("@", str(k)), dims, size))
    return out


def count(dims):
    n = 1
    for d in dims:
        n *= d
    return n


def hf_model(family, options, line):
    header, at = {}, 0
    for name, dims, size in tensors(line):
        n = size * count(dims)
        header[name] = entry("U8" if size == 1 else "F32", dims[::-1], at, at + n)
        at += n
    return json.dumps({"model_type": family, **SIZES, **options}).encode() + SEPARATOR + safetensors(header, bytes(at))


def gguf_model(family, options, line):
    metas = [meta("general.architecture", 8, family)]
    for key, v in {**GGUF_SIZES, **options}.items():
        kind = 8 if isinstance(v, str) else 6 if isinstance(v, float) else 4
        metas.append(meta(f"{family}.{key}", kind, v))
    return gguf(metas, [(name, 0, dims, None, bytes(4 * count(dims))) for name, dims, _ in tensors(line)])


def seeds():
    for family, (options, line) in HF.items():
        yield f"{family}_hf", hf_model(family, options, line)
        if family.startswith(("gpt_oss", "deepseek_v2", "mamba2")):
            yield f"{family}_short_hf", hf_model(family, options, " ".join(line.split()[:-1]))
    blocks = {"num_local_experts": 4, "head_dim": 16, "hidden_size": 32, "intermediate_size": 32,
              "quantization_config": {"quant_method": "mxfp4"}}
    yield "gpt_oss_blocks_hf", hf_model("gpt_oss", blocks, WIDE)
    nested = {"text_config": {**SIZES, **DELTA, "num_experts": 0}}
    dense = HF["qwen3_5_moe_text"][1].replace(EXPERTS, DENSE).replace(SHARED, "")
    yield "qwen3_5_hf", hf_model("qwen3_5", nested, dense.replace("model.", "model.language_model."))
    for name, options in {"groups": {"n_group": 3}, "rank": {"q_lora_rank": None}, "used": {"num_experts_per_tok": 9},
                          "yarn": {"rope_scaling": {"type": "yarn", "factor": 4, "original_max_position_embeddings": 4,
                                                    "mscale": 1.0, "mscale_all_dim": 1.0}}}.items():
        yield f"deepseek_{name}_hf", hf_model("deepseek_v3", {**LATENT, **options}, HF["deepseek_v3"][1])
    for family, (options, line) in GGUF.items():
        yield f"{family}_sparse_gguf", gguf_model(family, options, line)
