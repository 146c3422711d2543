#!/usr/bin/env python3
"""Write test/arch/fixtures: tiny checkpoints of random weights with what Hugging Face transformers
computes with them (double precision, every position).

    python3 -m venv v && v/bin/pip install torch 'transformers==4.57.6'
    v/bin/python test/tools/make_fixtures.py test/arch/fixtures [NAME ...]

They are for families that are known from configuration only; what is known better is compared with
checkpoints that nobody here made. Families that transformers lacks are repacked from one that
computes the same: an InternLM 2 is a Llama with q, k and v of a group side by side, a MiniCPM is a
Granite whose factors have other names.
"""
import json
import math
import os
import re
import sys

import torch
import transformers as hf
from safetensors.torch import save_file

SIZES = dict(vocab_size=11, hidden_size=16, intermediate_size=12, num_hidden_layers=3,
             num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=16,
             bos_token_id=1, eos_token_id=2, pad_token_id=None)
N_TOK = 12


def sizes(**changes):
    return {key: value for key, value in {**SIZES, **changes}.items() if value != "drop"}


def internlm2(tensors, config):
    out = {}
    names = {"embed_tokens": "tok_embeddings", "lm_head": "output",
             "input_layernorm": "attention_norm", "post_attention_layernorm": "ffn_norm",
             "self_attn.o_proj": "attention.wo", "mlp.gate_proj": "feed_forward.w1",
             "mlp.up_proj": "feed_forward.w3", "mlp.down_proj": "feed_forward.w2"}
    n_group = config["num_key_value_heads"]
    for name, tensor in tensors.items():
        if "q_proj" in name:
            parts = [tensors[name.replace("q_proj", part)].chunk(n_group)
                     for part in ("q_proj", "k_proj", "v_proj")]
            name = name.replace("self_attn.q_proj", "attention.wqkv")
            tensor = torch.cat([part[g] for g in range(n_group) for part in parts])
        elif "k_proj" in name or "v_proj" in name:
            continue
        for old, new in names.items():
            name = name.replace(old, new)
        out[name] = tensor.contiguous()
    return out, {**config, "model_type": "internlm2", "bias": False}


def minicpm(tensors, config):
    return tensors, {**config, "model_type": "minicpm", "scale_emb": 5, "scale_depth": 1.4,
                     "dim_model_base": 4}


PLAIN = dict(num_key_value_heads="drop")  # configuration classes that don't know of kv heads
BERT = dict(**PLAIN, num_hidden_layers=2)
MODELS = {
    "gemma": (hf.GemmaConfig, hf.GemmaForCausalLM, sizes(head_dim=6)),
    "phi": (hf.PhiConfig, hf.PhiForCausalLM, sizes()),
    "phi3_longrope": (hf.Phi3Config, hf.Phi3ForCausalLM, sizes(
        original_max_position_embeddings=8,
        rope_scaling={"type": "longrope", "short_factor": [1.0, 1.1], "long_factor": [1.5, 2.0]})),
    "olmo3": (hf.Olmo3Config, hf.Olmo3ForCausalLM, sizes(num_hidden_layers=4, sliding_window=4)),
    "falcon_groups": (hf.FalconConfig, hf.FalconForCausalLM, sizes(
        **PLAIN, intermediate_size="drop", num_hidden_layers=2, num_attention_heads=8,
        num_kv_heads=4, new_decoder_architecture=True)),
    "falcon_alibi": (hf.FalconConfig, hf.FalconForCausalLM, sizes(
        **PLAIN, intermediate_size="drop", num_hidden_layers=2, multi_query=False,
        parallel_attn=False, bias=True, alibi=True)),
    "granite": (hf.GraniteConfig, hf.GraniteForCausalLM, sizes(
        embedding_multiplier=3.0, residual_multiplier=0.3, logits_scaling=4.0,
        attention_multiplier=0.2)),
    "minicpm": (hf.GraniteConfig, hf.GraniteForCausalLM, sizes(
        embedding_multiplier=5.0, residual_multiplier=1.4 / math.sqrt(3), logits_scaling=4.0,
        attention_multiplier=0.5, tie_word_embeddings=False), minicpm),
    "smollm3": (hf.SmolLM3Config, hf.SmolLM3ForCausalLM, sizes(num_hidden_layers=4)),
    "internlm2": (hf.LlamaConfig, hf.LlamaForCausalLM, sizes(), internlm2),
    "glm": (hf.GlmConfig, hf.GlmForCausalLM, sizes(head_dim=8, attention_bias=True)),
    "glm4": (hf.Glm4Config, hf.Glm4ForCausalLM, sizes(head_dim=8, num_hidden_layers=2)),
    "cohere": (hf.CohereConfig, hf.CohereForCausalLM, sizes(use_qk_norm=True)),
    "cohere2": (hf.Cohere2Config, hf.Cohere2ForCausalLM, sizes(
        num_hidden_layers=4, sliding_window=4)),
    "gptneox": (hf.GPTNeoXConfig, hf.GPTNeoXForCausalLM, sizes(**PLAIN, num_attention_heads=2)),
    "gptj": (hf.GPTJConfig, hf.GPTJForCausalLM, dict(
        vocab_size=11, n_embd=16, n_layer=2, n_head=2, rotary_dim=6, n_positions=16)),
    "opt": (hf.OPTConfig, hf.OPTForCausalLM, sizes(
        **PLAIN, intermediate_size="drop", ffn_dim=24, word_embed_proj_dim=16)),
    "stablelm": (hf.StableLmConfig, hf.StableLmForCausalLM, sizes(
        use_qkv_bias=True, partial_rotary_factor=0.5)),
    "bloom": (hf.BloomConfig, hf.BloomForCausalLM, dict(
        vocab_size=11, hidden_size=18, n_layer=2, n_head=3, seq_length=16)),
    "bert_score": (hf.BertConfig, hf.BertForSequenceClassification, sizes(**BERT, num_labels=1)),
    "xlmroberta_score": (hf.XLMRobertaConfig, hf.XLMRobertaForSequenceClassification, sizes(
        **{**BERT, "pad_token_id": 1}, type_vocab_size=1, num_labels=3)),
    "modernbert_score": (hf.ModernBertConfig, hf.ModernBertForSequenceClassification, sizes(
        **{**PLAIN, "pad_token_id": 0}, local_attention=4, global_attn_every_n_layers=2,
        num_labels=2)),
}


def randomise(model):
    with torch.no_grad():
        for name, tensor in model.named_parameters():
            is_norm = (re.search(r"(norm|ln_\w+|LayerNorm)\.weight$", name)
                       and model.config.model_type != "gemma")  # whose norms add 1
            spread = 0.3 if tensor.dim() > 1 else 0.2
            tensor.copy_(torch.randn_like(tensor) * spread + bool(is_norm))


def run(model, tokens, types):
    """Logits of every position, or the scores of a text."""
    extra = {"token_type_ids": torch.tensor([types])} if types else {}
    with torch.no_grad():
        out = model(torch.tensor([tokens]), **extra).logits[0].tolist()
    # Nine digits tell every float32 from its neighbours.
    if not isinstance(out[0], list):
        return [float(f"{x:.9g}") for x in out]
    return [[float(f"{x:.9g}") for x in row] for row in out]


def make(folder, name, config_class, model_class, values, repack=None):
    torch.manual_seed(sum(map(ord, name)))
    # The eager path adds the slopes of a Falcon twice; the other one is what it was trained with.
    config = config_class(**values, attn_implementation="sdpa" if "alibi" in name else "eager")
    model = model_class(config).eval()
    randomise(model)
    path = os.path.join(folder, name)
    os.makedirs(path, exist_ok=True)
    model.save_pretrained(path)
    if os.path.exists(os.path.join(path, "generation_config.json")):
        os.remove(os.path.join(path, "generation_config.json"))
    with open(os.path.join(path, "config.json")) as f:
        stored = json.load(f)
    stored.pop("transformers_version", None)
    if repack:
        tensors, stored = repack({k: v.clone() for k, v in model.state_dict().items()}, stored)
        save_file(tensors, os.path.join(path, "model.safetensors"))
    with open(os.path.join(path, "config.json"), "w") as f:
        json.dump(stored, f, indent=1)
        f.write("\n")
    model = model.double()
    # no token is the padding of an encoder
    sequences = [[(i * 7 + s * 3) % 8 + 3 for i in range(N_TOK)] for s in range(2)]
    is_score = "Sequence" in model_class.__name__
    types = [[0] * 4 + [1] * (N_TOK - 4)] * 2 if name.startswith("bert") else None
    reference = {"sequences": sequences, **({"token_types": types} if types else {})}
    reference["score" if is_score else "logits"] = [run(model, s, types and types[0])
                                                    for s in sequences]
    with open(os.path.join(path, "reference.json"), "w") as f:
        json.dump(reference, f, separators=(",", ":"))
        f.write("\n")


def main():
    folder, names = sys.argv[1], sys.argv[2:] or list(MODELS)
    for name in names:
        make(folder, name, *MODELS[name])


if __name__ == "__main__":
    main()
