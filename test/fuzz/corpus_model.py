#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Seeds of the model target: corpus_model.py FOLDER

One tiny model of every family in either kind of file (width 4, zeros), with the options that
change what is built, and files that lack something.
"""
import json
import pathlib
import sys

from make_corpus import SEPARATOR, entry, gguf, meta, safetensors

D, HEADS, KV, FF, VOCAB, LAYERS, POSITIONS = 4, 2, 1, 6, 5, 2, 8
DECODER = {
    "gguf": {"embed": "token_embd", "norm": "output_norm", "head": "output", "n1": "blk.{}.attn_norm", "q": "blk.{}.attn_q",
             "k": "blk.{}.attn_k", "v": "blk.{}.attn_v", "o": "blk.{}.attn_output", "n2": "blk.{}.ffn_norm",
             "gate": "blk.{}.ffn_gate", "up": "blk.{}.ffn_up", "down": "blk.{}.ffn_down", "qn": "blk.{}.attn_q_norm",
             "kn": "blk.{}.attn_k_norm"},
    "hf": {"embed": "model.embed_tokens", "norm": "model.norm", "head": "lm_head", "n1": "model.layers.{}.input_layernorm",
           "q": "model.layers.{}.self_attn.q_proj", "k": "model.layers.{}.self_attn.k_proj",
           "v": "model.layers.{}.self_attn.v_proj", "o": "model.layers.{}.self_attn.o_proj",
           "n2": "model.layers.{}.post_attention_layernorm", "gate": "model.layers.{}.mlp.gate_proj",
           "up": "model.layers.{}.mlp.up_proj", "down": "model.layers.{}.mlp.down_proj",
           "qn": "model.layers.{}.self_attn.q_norm", "kn": "model.layers.{}.self_attn.k_norm"},
}
GPT2 = {
    "gguf": ("token_embd", "position_embd", "output_norm", "blk.{}.attn_norm", "blk.{}.ffn_norm", "blk.{}.attn_qkv",
             "blk.{}.attn_output", "blk.{}.ffn_up", "blk.{}.ffn_down"),
    "hf": ("wte", "wpe", "ln_f", "h.{}.ln_1", "h.{}.ln_2", "h.{}.attn.c_attn", "h.{}.attn.c_proj", "h.{}.mlp.c_fc",
           "h.{}.mlp.c_proj"),
}


def decoder(kind, family, bias=False):
    """(name, dims with the row length first) of every tensor."""
    n = DECODER[kind]
    head = D // HEADS
    out = [(n["embed"] + ".weight", (D, VOCAB)), (n["norm"] + ".weight", (D,)), (n["head"] + ".weight", (D, VOCAB))]
    for i in range(LAYERS):
        name = {k: v.format(i) for k, v in n.items()}
        matrices = {"q": (D, D), "k": (D, head * KV), "v": (D, head * KV), "o": (D, D), "gate": (D, FF), "up": (D, FF),
                    "down": (FF, D)}
        out += [(name[k] + ".weight", (D,)) for k in ("n1", "n2")]
        out += [(name[k] + ".weight", dims) for k, dims in matrices.items()]
        biased = "qkv" if family == "qwen2" else matrices if bias else ()
        out += [(name[k] + ".bias", (matrices[k][1],)) for k in biased]
        if family == "qwen3":
            out += [(name[k] + ".weight", (head,)) for k in ("qn", "kn")]
    return out


def gpt2(kind):
    embed, position, norm, n1, n2, qkv, o, up, down = GPT2[kind]
    out = [(embed + ".weight", (D, VOCAB)), (position + ".weight", (D, POSITIONS)), (norm + ".weight", (D,)),
           (norm + ".bias", (D,))]
    for i in range(LAYERS):
        for name in (n1, n2):
            out += [(name.format(i) + suffix, (D,)) for suffix in (".weight", ".bias")]
        for name, d_in, d_out in ((qkv, D, 3 * D), (o, D, D), (up, D, FF), (down, FF, D)):
            out += [(name.format(i) + ".weight", (d_in, d_out) if kind == "gguf" else (d_out, d_in)),
                    (name.format(i) + ".bias", (d_out,))]
    return out


def count(dims):
    n = 1
    for d in dims:
        n *= d
    return n


def gguf_model(family, tensors, extra=(), further=(), metas=(), without=None):
    key = lambda name: f"{family}.{name}"
    further_metas = list(metas)
    metas = [meta("general.architecture", 8, family), meta("general.name", 8, "seed"), meta(key("block_count"), 4, LAYERS),
             meta(key("context_length"), 4, POSITIONS), meta(key("embedding_length"), 4, D),
             meta(key("feed_forward_length"), 4, FF), meta(key("attention.head_count"), 4, HEADS),
             meta(key("attention.head_count_kv"), 4, KV), meta(key("attention.layer_norm_rms_epsilon"), 6, 1e-5),
             meta(key("rope.freq_base"), 6, 10000.0)]
    metas = [m for m in metas if not without or m[8:8 + len(without) + 4] != without.encode() + b"\4\0\0\0"]
    metas += [meta(key(name), kind, v) for name, kind, v in extra] + further_metas
    blocks = [(name, 0, dims, None, bytes(4 * count(dims))) for name, dims in tensors]
    return gguf(metas, blocks + list(further))


def hf_model(family, tensors, **options):
    sizes = {"model_type": family, "hidden_size": D, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS,
             "num_key_value_heads": KV, "intermediate_size": FF, "vocab_size": VOCAB, "head_dim": D // HEADS,
             "max_position_embeddings": POSITIONS, "tie_word_embeddings": False}
    header, at = {}, 0
    for name, dims in tensors:
        n = 4 * count(dims)
        header[name] = entry("F32", dims[::-1], at, at + n)
        at += n
    return json.dumps({**sizes, **options}).encode() + SEPARATOR + safetensors(header, bytes(at))


def seeds():
    for family in ("llama", "qwen2", "qwen3"):
        yield f"{family}_gguf", gguf_model(family, decoder("gguf", family))
    for family in ("llama", "mistral", "qwen2", "qwen3"):
        yield f"{family}_hf", hf_model(family, decoder("hf", family), sliding_window=3, use_sliding_window=True,
                                       max_window_layers=1)
    yield "gpt2_gguf", gguf_model("gpt2", gpt2("gguf"))
    yield "gpt2_hf", hf_model("gpt2", gpt2("hf"), tie_word_embeddings=True)
    llama = decoder("gguf", "llama")
    yield "biases_gguf", gguf_model("llama", decoder("gguf", "llama", True))
    yield "biases_hf", hf_model("llama", decoder("hf", "llama", True), attention_bias=True, mlp_bias=True)
    yield "tied_gguf", gguf_model("llama", [t for t in llama if t[0] != "output.weight"])
    yield "missing_gguf", gguf_model("llama", llama[:-1])
    yield "window_gguf", gguf_model("llama", llama, [("attention.sliding_window", 4, 3)])
    for kind, v in ((0, 2), (1, 2), (2, 2), (3, -2), (5, 2), (6, 2.0), (7, 1), (8, "2"), (10, 2), (11, -2), (12, 2.5)):
        name = "attention.head_count"
        array = meta(f"llama.{name}_kv", 9, [v, v], kind)
        yield f"array{kind}_gguf", gguf_model("llama", llama, metas=[array], without=f"llama.{name}_kv")
    for kind, name, v in ((6, "rope.scaling.yarn_log_multiplier", 0.1), (8, "rope.scaling.type", "x"),
                          (4, "expert_count", 2), (7, "attention.causal", 0), (6, "rope.scale_linear", 2.0)):
        yield f"option_{name}", gguf_model("llama", llama, [("rope.scaling.factor", 6, 2.0), (name, kind, v)])
    factors = ("rope_freqs.weight", 0, (1,), None, b"\0\0\0@")
    yield "rope_freqs", gguf_model("llama", llama, (), [factors])
    yield "yarn_gguf", gguf_model("llama", llama, [("rope.scaling.type", 8, "yarn"), ("rope.scaling.factor", 6, 4.0),
                                                   ("rope.scaling.original_context_length", 4, 2)])
    long = [(f"rope_factors_{n}.weight", 0, (1,), None, b"\0\0\0@") for n in ("long", "short")]
    yield "longrope_gguf", gguf_model("llama", llama, [("rope.scaling.type", 8, "longrope")], long)
    llama = decoder("hf", "llama")
    for kind in ("linear", "dynamic", "llama3", "yarn", "longrope"):
        options = {"rope_type": kind, "factor": 4.0, "original_max_position_embeddings": 4, "low_freq_factor": 1.0,
                   "high_freq_factor": 4.0, "short_factor": [1.0], "long_factor": [2.0], "beta_fast": 32, "beta_slow": 1,
                   "mscale": 0.7, "mscale_all_dim": 1.0, "truncate": False}
        yield f"{kind}_hf", hf_model("llama", llama, rope_scaling=options)
        yield f"{kind}_new_hf", hf_model("llama", llama, rope_parameters={**options, "rope_theta": 5e5})
    yield "layer_types_hf", hf_model("qwen2", decoder("hf", "qwen2"), use_sliding_window=True, sliding_window=3,
                                     layer_types=["full_attention", "sliding_attention"])
    for name, options in {"act": {"hidden_act": "gelu"}, "act_bad": {"hidden_act": "x"}, "unknown": {"model_type": "x"},
                          "gptq": {"quantization_config": {"quant_method": "gptq"}}, "heads": {"num_attention_heads": 3},
                          "zero": {"hidden_size": 0}, "string": {"rms_norm_eps": "x"}}.items():
        yield f"{name}_hf", hf_model("llama", llama, **options)


def main():
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in seeds():
        (folder / name).write_bytes(data)


if __name__ == "__main__":
    main()
