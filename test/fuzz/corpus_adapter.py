#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Seeds of fuzz_adapter: LoRA adapters of both kinds, whole and wrong in every way that is refused."""
import json
import pathlib
import sys

from make_corpus import SEPARATOR, gguf, meta, safetensors

CONFIG = {"peft_type": "LORA", "r": 2, "lora_alpha": 3}
Q = "base_model.model.model.layers.0.self_attn.q_proj.lora_"


def tensors(*entries):
    """(name, shape) -> a safetensors file of zeros."""
    header, at = {}, 0
    for name, shape in entries:
        n = 4
        for d in shape:
            n *= d
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [at, at + n]}
        at += n
    return safetensors(header, bytes(at))


def peft(config, *entries):
    text = config if isinstance(config, bytes) else json.dumps(config).encode()
    return SEPARATOR.join([text, tensors(*(entries or PAIR))])


PAIR = ((Q + "A.weight", (2, 3)), (Q + "B.weight", (4, 2)))


def adapter(extra=(), a=("x.weight.lora_a", 0, (3, 2), None, bytes(24)), b=("x.weight.lora_b", 0, (2, 4), None, bytes(32)),
            kind="lora", alpha=None):
    metas = [meta("general.type", 8, "adapter"), meta("general.architecture", 8, "llama"), meta("adapter.type", 8, kind),
             alpha or meta("adapter.lora.alpha", 6, 1.0), *extra]
    return gguf(metas, [a, b])


def seeds():
    yield "peft", peft(CONFIG)
    yield "peft_default", peft(CONFIG, (Q + "A.default.weight", (2, 3)), (Q + "B.default.weight", (4, 2)))
    yield "peft_patterns", peft({**CONFIG, "use_rslora": True, "rank_pattern": {"k_proj": 8, "q_proj": 2},
                                 "alpha_pattern": {"^model\\.layers.0.self_attn.q_proj": 16, "(a|b)": 1}})
    yield "peft_pattern_class", peft({**CONFIG, "rank_pattern": {"(q|k)_proj": 2}})
    options = {"use_dora": True, "modules_to_save": ["x"], "bias": "all", "lora_bias": True, "init_lora_weights": "pissa",
               "rank_pattern": [1], "alpha_pattern": {"q_proj": "x"}, "r": 0, "lora_alpha": 1e300, "peft_type": "IA3",
               "target_parameters": {"a": 1}, "layer_replication": 1, "use_qalora": 0.5, "trainable_token_indices": ""}
    for key, value in options.items():
        yield "option_" + key, peft({**CONFIG, key: value})
    for key in CONFIG:
        yield "without_" + key, peft({k: v for k, v in CONFIG.items() if k != key})
        yield "null_" + key, peft({**CONFIG, key: None})
    yield "rank_pattern_low", peft({**CONFIG, "rank_pattern": {"q_proj": -1}})
    yield "bad_json", peft(b"{")
    yield "bad_root", peft(b"[]")
    names = ["base_model.model.e.lora_embedding_A", "base_model.model.q.lora_magnitude_vector", "lm_head.weight",
             "base_model.model.lora_A.weight", Q + "A.default.weight", "base_model.model.k.lora_A.weight",
             "base_model.model.k.lora_B.weight"]
    for i, name in enumerate(names):
        yield f"name_{i}", peft(CONFIG, *PAIR, (name, (2, 3)))
    yield "ranks", peft(CONFIG, (Q + "A.weight", (2, 3)), (Q + "B.weight", (4, 3)))
    yield "rank", peft(CONFIG, (Q + "A.weight", (3, 3)), (Q + "B.weight", (4, 3)))
    yield "vector", peft(CONFIG, (Q + "A.weight", (3,)), (Q + "B.weight", (4, 3)))
    yield "empty_matrix", peft(CONFIG, (Q + "A.weight", (0, 3)), (Q + "B.weight", (4, 0)))
    yield "nothing", SEPARATOR.join([json.dumps(CONFIG).encode(), safetensors({})])
    yield "not_tensors", SEPARATOR.join([json.dumps(CONFIG).encode(), b"GGUF"])
    yield "alone", tensors(*PAIR)
    yield "gguf", adapter()
    yield "gguf_half", adapter(a=("x.weight.lora_a", 1, (3, 2), None, bytes(12)))
    yield "gguf_q8", adapter(a=("x.weight.lora_a", 8, (32, 2), None, bytes(68)))
    yield "gguf_i32", adapter(a=("x.weight.lora_a", 26, (3, 2), None, bytes(24)))
    yield "gguf_alpha_0", adapter(alpha=meta("adapter.lora.alpha", 6, 0.0))
    yield "gguf_alpha_u32", adapter(alpha=meta("adapter.lora.alpha", 4, 1))
    yield "gguf_alpha_inf", adapter(alpha=meta("adapter.lora.alpha", 6, float("inf")))
    yield "gguf_kind", adapter(kind="ia3")
    yield "gguf_alora", adapter([meta("adapter.alora.invocation_tokens", 9, [1], 4)])
    yield "gguf_embedding", adapter(a=("token_embd.weight.lora_a", 0, (3, 2), None, bytes(24)))
    yield "gguf_bare", adapter(a=("x.lora_a", 0, (3, 2), None, bytes(24)))
    yield "gguf_pair", adapter(a=("y.weight.lora_a", 0, (3, 2), None, bytes(24)))
    yield "gguf_split", adapter([meta("split.count", 2, 2), meta("split.no", 2, 0)])
    yield "gguf_model", gguf([meta("general.type", 8, "model")], [("w", 0, (4, 2), None, bytes(32))])
    yield "gguf_plain", gguf([meta("general.architecture", 8, "llama")], [("w", 0, (4, 2), None, bytes(32))])
    yield "gguf_type", gguf([meta("general.type", 4, 1)], [("w", 0, (4, 2), None, bytes(32))])
    yield "other", b"something else"
    yield "none", b""


def main():
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in seeds():
        (folder / name).write_bytes(data)


if __name__ == "__main__":
    main()
