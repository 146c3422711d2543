#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Seeds of the model target: corpus_model.py FOLDER

One tiny model of every family in either kind of file (width 4, zeros), with the options that
change what is built, and files that lack something.
"""
import json
import pathlib
import sys

import corpus_families
from make_corpus import F32, SEPARATOR, entry, gguf, meta, safetensors

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


def checkpoints():
    """The tiny checkpoints that are compared with another implementation: one of each family."""
    for folder in sorted((pathlib.Path(__file__).parents[1] / "arch/fixtures").iterdir()):
        yield f"{folder.name}_hf", ((folder / "config.json").read_bytes() + SEPARATOR +
                                    (folder / "model.safetensors").read_bytes())


# Families whose GGUF is not arranged like their checkpoint: keys and tensors, ".weight" left out of names.
LAYER_EPS = ("attention.layer_norm_epsilon", 6, 1e-5)
ENDS = "token_embd:4x5 output_norm:4 output_norm.bias:4 "
QKVO = "blk.#.attn_q:4x4 blk.#.attn_k:4x2 blk.#.attn_v:4x2 blk.#.attn_output:4x4 "
JOINED = "blk.#.attn_qkv:4x8 blk.#.attn_output:4x4 "
GATED = "blk.#.ffn_gate:4x6 blk.#.ffn_up:4x6 blk.#.ffn_down:6x4 "
PLAIN = "blk.#.ffn_up:4x6 blk.#.ffn_up.bias:6 blk.#.ffn_down:6x4 blk.#.ffn_down.bias:4 "
NORM = "blk.#.attn_norm:4 blk.#.attn_norm.bias:4 "
BERT = ("token_embd:4x5 token_embd_norm:4 token_embd_norm.bias:4 position_embd:4x8 token_types:4x2 blk.#.attn_q:4x4 "
        "blk.#.attn_q.bias:4 blk.#.attn_k:4x4 blk.#.attn_k.bias:4 blk.#.attn_v:4x4 blk.#.attn_v.bias:4 "
        "blk.#.attn_output:4x4 blk.#.attn_output.bias:4 blk.#.attn_output_norm:4 blk.#.attn_output_norm.bias:4 "
        "blk.#.layer_output_norm:4 blk.#.layer_output_norm.bias:4 cls:4x4 cls.bias:4 cls.output:4x1 " + PLAIN)
GGUF_FAMILIES = {
    "gemma2": ("token_embd:4x5 output_norm:4 blk.#.attn_norm:4 blk.#.ffn_norm:4 blk.#.post_attention_norm:4 "
               "blk.#.post_ffw_norm:4 " + QKVO + GATED,
               [("attention.sliding_window", 4, 3), ("attn_logit_softcapping", 6, 50.0), ("final_logit_softcapping", 6, 30.0)]),
    "gemma3": ("token_embd:4x5 output_norm:4 blk.#.attn_norm:4 blk.#.ffn_norm:4 blk.#.post_attention_norm:4 "
               "blk.#.post_ffw_norm:4 blk.#.attn_q_norm:2 blk.#.attn_k_norm:2 " + QKVO + GATED,
               [("attention.sliding_window", 4, 3), ("attention.sliding_window_pattern", 4, 2)]),
    "phi3": ("token_embd:4x5 output_norm:4 blk.#.attn_norm:4 blk.#.ffn_norm:4 blk.#.ffn_up:4x12 blk.#.ffn_down:6x4 "
             + JOINED, [("rope.scaling.attn_factor", 6, 1.1)]),
    "olmo2": ("token_embd:4x5 output_norm:4 blk.#.attn_q_norm:4 blk.#.attn_k_norm:2 blk.#.post_attention_norm:4 "
              "blk.#.post_ffw_norm:4 " + QKVO + GATED, [("attention.sliding_window", 4, 3)]),
    "starcoder2": (ENDS + NORM + "blk.#.ffn_norm:4 blk.#.ffn_norm.bias:4 " + QKVO + PLAIN, [LAYER_EPS]),
    "falcon": (ENDS + NORM + "blk.#.attn_norm_2:4 blk.#.attn_norm_2.bias:4 " + JOINED + PLAIN, [LAYER_EPS]),
    "command-r": ("token_embd:4x5 output_norm:4 blk.#.attn_norm:4 blk.#.attn_q_norm:2x2 blk.#.attn_k_norm:2x1 " + QKVO + GATED,
                  [LAYER_EPS, ("logit_scale", 6, 0.1)]),
    "stablelm": (ENDS + NORM + QKVO + GATED, [LAYER_EPS]),
    "bert": (BERT, [LAYER_EPS, ("attention.causal", 7, 0), ("pooling_type", 4, 4), ("attention.head_count_kv", 4, 2)]),
    "modern-bert": ("token_embd:4x5 token_embd_norm:4 output_norm:4 blk.1.attn_norm:4 blk.#.ffn_norm:4 blk.#.ffn_up:4x12 "
                    "blk.#.ffn_down:6x4 cls:4x4 cls.norm:4 cls.output:4x2 " + JOINED,
                    [LAYER_EPS, ("attention.sliding_window", 4, 4)]),
}


LONG_ROPE = [(f"rope_factors_{n}.weight", 0, (1,), None, b"\0\0\0@") for n in ("long", "short")]


def listed(text):
    """(name, dims) of every tensor in a list, both layers."""
    for word in text.split():
        name, _, shape = word.partition(":")
        dims = tuple(int(d) for d in shape.split("x"))
        for layer in range(LAYERS if "#" in name else 1):
            yield name.replace("#", str(layer)) + ("" if name.endswith(".bias") else ".weight"), dims


def seeds():
    yield from checkpoints()
    bert = dict(checkpoints())["bert_score_hf"]
    for name, side in {"cls": '{"pooling_mode_cls_token":true}', "two": '{"pooling_mode_cls_token":true,'
                       '"pooling_mode_max_tokens":true}', "text": '{"pooling_mode_mean_tokens":1}', "broken": "{"}.items():
        yield f"pooling_{name}_hf", bert + SEPARATOR + side.encode()
    for family, (tensors, keys) in GGUF_FAMILIES.items():
        without = "bert.attention.head_count_kv" if family == "bert" else None
        yield f"{family}_gguf", gguf_model(family, list(listed(tensors)), keys, LONG_ROPE if family == "phi3" else (),
                                           without=without)
    for family in ("llama", "qwen2", "qwen3"):
        yield f"{family}_gguf", gguf_model(family, decoder("gguf", family))
    for family in ("llama", "mistral", "qwen2", "qwen3"):
        yield f"{family}_hf", hf_model(family, decoder("hf", family), sliding_window=3, use_sliding_window=True,
                                       max_window_layers=1)
    yield from corpus_families.seeds()
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
    yield "longrope_gguf", gguf_model("llama", llama, [("rope.scaling.type", 8, "longrope")], LONG_ROPE)
    llama = decoder("hf", "llama")
    for kind in ("linear", "dynamic", "llama3", "yarn", "longrope"):
        options = {"rope_type": kind, "factor": 4.0, "original_max_position_embeddings": 4, "low_freq_factor": 1.0,
                   "high_freq_factor": 4.0, "short_factor": [1.0], "long_factor": [2.0], "beta_fast": 32, "beta_slow": 1,
                   "mscale": 0.7, "mscale_all_dim": 1.0, "truncate": False}
        yield f"{kind}_hf", hf_model("llama", llama, rope_scaling=options)
        yield f"{kind}_new_hf", hf_model("llama", llama, rope_parameters={**options, "rope_theta": 5e5})
    yield "layer_types_hf", hf_model("qwen2", decoder("hf", "qwen2"), use_sliding_window=True, sliding_window=3,
                                     layer_types=["full_attention", "sliding_attention"])
    scaling = {"factor": 4.0, "original_max_position_embeddings": 4, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
    for name, options in {
            "llama3_between": {"rope_type": "llama3", **scaling, "original_max_position_embeddings": 8192,
                               "low_freq_factor": 0.5, "high_freq_factor": 5000.0},
            "llama3_order": {"rope_type": "llama3", **scaling, "high_freq_factor": 0.5},
            "yarn_beta": {"rope_type": "yarn", **scaling, "beta_fast": 0}, "yarn_derived": {"rope_type": "yarn", "beta_fast": 8},
            "factor_zero": {"rope_type": "linear", "factor": 0}, "factor_tiny": {"rope_type": "linear", "factor": 1e-300},
            "no_factor": {"rope_type": "linear"}, "long_short": {"rope_type": "longrope", **scaling, "short_factor": [1, 2]},
            "long_element": {"rope_type": "longrope", **scaling, "short_factor": ["x"], "long_factor": [1.0]},
            "long_none": {"rope_type": "longrope", **scaling, "short_factor": [None], "long_factor": [1.0]},
            "mrope": {"rope_type": "default", "mrope_section": [1, 1, 2]},
            "attention_zero": {"rope_type": "yarn", **scaling, "attention_factor": 0}, "type_number": {"rope_type": 3},
            "type_list": {"rope_type": ["linear"]}, "null": {"rope_type": None, "type": "linear", "factor": None}}.items():
        yield f"{name}_hf", hf_model("llama", llama, rope_scaling=options)
    # 16 elements a head, so that frequencies spread, and positions beyond the original context.
    wide = [(name, tuple(32 if d == D else 16 if d == D // HEADS else d for d in dims)) for name, dims in llama]
    for kind in ("dynamic", "llama3", "yarn"):
        options = {**scaling, "rope_type": kind, "original_max_position_embeddings": 1024}
        for n_ctx in (1024, 65536):
            yield f"{kind}_wide{n_ctx}_hf", hf_model("llama", wide, hidden_size=32, head_dim=16, rope_scaling=options,
                                                     max_position_embeddings=n_ctx)
    yield "layer_parameters_hf", hf_model("llama", llama, rope_parameters={"full_attention": {"rope_type": "default"}})
    yield "partial_hf", hf_model("llama", llama, partial_rotary_factor=0.3)
    yield "no_config_hf", b"[]" + hf_model("llama", llama)[2:].partition(b"}")[2]
    yield "config_list_hf", b"[]" + SEPARATOR + hf_model("llama", llama).partition(SEPARATOR)[2]
    qwen = decoder("hf", "qwen2")
    for name, options in {"types_short": {"layer_types": ["full_attention"]}, "types_window": {"layer_types": ["sliding_attention"] * 2,
                          "sliding_window": None}, "types_unknown": {"layer_types": ["full_attention", "linear_attention"]},
                          "types_number": {"layer_types": [1, 2]}}.items():
        yield f"{name}_hf", hf_model("qwen2", qwen, **{"use_sliding_window": True, "sliding_window": 3, **options})
    for name, tensor in {"freqs_length": ("rope_freqs.weight", 0, (3,), None, bytes(12)),
                         "freqs_zero": ("rope_freqs.weight", 0, (1,), None, bytes(4)),
                         "freqs_type": ("rope_freqs.weight", 1, (2,), None, bytes(4))}.items():
        yield name, gguf_model("llama", decoder("gguf", "llama"), (), [tensor])
    flat = decoder("gguf", "llama")
    for name, kind, v in (("rope.dimension_count", 4, 1), ("rope.dimension_count", 4, 99), ("attention.key_length", 4, 4096),
                          ("attention.clamp_kqv", 6, 1.0), ("attention.head_count", 4, 3), ("rope.scaling.type", 8, "longrope"),
                          ("rope.scaling.attn_factor", 6, 0.0), ("rope.scaling.yarn_ext_factor", 6, -1.0),
                          ("rope.scaling.type", 4, 7)):
        whole = gguf_model("llama", flat, [(name, kind, v)], without="llama." + name)
        yield f"with_{name}_{v}", whole
    for kind, v, tag in ((9, [2, 1], "differs"), (9, [2], "one"), (9, [], "none")):
        yield f"heads_{tag}", gguf_model("llama", flat, metas=[meta("llama.attention.head_count", kind, v, 4)],
                                         without="llama.attention.head_count")
    tensors, keys = GGUF_FAMILIES["olmo2"]
    for values, kind, tag in (([0, 1], 7, "windows"), ([1], 7, "windows_short"), ([1, 2], 4, "windows_number")):
        yield tag, gguf_model("olmo2", list(listed(tensors)), keys,
                              metas=[meta("olmo2.attention.sliding_window_pattern", 9, values, kind)])
    tensors, keys = GGUF_FAMILIES["modern-bert"]
    for act in ("silu", "step"):
        yield f"activation_{act}", gguf_model("modern-bert", list(listed(tensors)), [*keys, ("hidden_activation", 8, act)])
    yield "heads_text", gguf_model("llama", flat, metas=[meta("llama.block_count", 9, ["a", "b"], 8)], without="llama.block_count")
    yield "no_eps", gguf_model("llama", flat, without="llama.attention.layer_norm_rms_epsilon")
    yield "no_architecture", gguf((), [F32])
    yield "architecture_long", gguf([meta("general.architecture", 8, "x" * 70)], [F32])
    for kind, block, n, tag in ((24, 1, 1, "i8"), (2, 32, 18, "q4")):
        spoiled = [t for t in flat if t[0] != "blk.0.attn_q.weight"]
        size = D * D * n // block or n
        yield f"weight_{tag}", gguf_model("llama", spoiled, (), [("blk.0.attn_q.weight", kind, (D, D) if block == 1 else (32, 1),
                                                                   None, bytes(size))])
        norms = [t for t in flat if t[0] != "output_norm.weight"]
        yield f"norm_{tag}", gguf_model("llama", norms, (), [("output_norm.weight", kind, (D,) if block == 1 else (32,), None,
                                                                bytes(D if block == 1 else 18))])
    gpt = [t for t in gpt2("gguf") if t[0] != "blk.0.attn_qkv.weight"]
    yield "gpt2_narrow", gguf_model("gpt2", gpt, (), [("blk.0.attn_qkv.weight", 0, (D, D), None, bytes(4 * D * D))])
    yield "gpt2_heads_hf", hf_model("gpt2", gpt2("hf"), num_attention_heads=3)
    for name, options in {"act": {"hidden_act": "gelu"}, "act_bad": {"hidden_act": "x"}, "unknown": {"model_type": "x"},
                          "gptq": {"quantization_config": {"quant_method": "gptq"}}, "heads": {"num_attention_heads": 3},
                          "zero": {"hidden_size": 0}, "string": {"rms_norm_eps": "x"},
                          "object": {"num_hidden_layers": {}}, "null": {"head_dim": None, "sliding_window": None},
                          "no_type": {"model_type": None}, "act_number": {"hidden_act": 1}, "long_type": {"model_type": "x" * 80},
                          "kv": {"num_key_value_heads": 5}, "cross": {"add_cross_attention": True}}.items():
        yield f"{name}_hf", hf_model("llama", llama, **options)


def main():
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in seeds():
        (folder / name).write_bytes(data)


if __name__ == "__main__":
    main()
