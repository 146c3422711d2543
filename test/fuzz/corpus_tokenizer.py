#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes the seed corpus of fuzz_tokenizer:  corpus_tokenizer.py OUT_DIR [DATA_DIR]

Seeds are small GGUF and tokenizer.json files of every shape the loaders know, with text that
reaches their special cases, and damaged versions of them. With the data folder its small
tokenizers are added.
"""
import json
import os
import struct
import sys

from make_corpus import SEPARATOR

OUT = sys.argv[1]
DATA = sys.argv[2] if len(sys.argv) > 2 else ""
TEXTS = ["", "ab ab  abc x", "a\n\n b 1234 it's We'LL \u00e9e\u0301 \u4e2d\u6587 \u0661 \U0001f44d!?` \u00a0\u3000 x",
         "<s>ab</s> <x> bb <user>", "a" * 200, "e\u0301\u0323\u0315\u0300 \u1112\u1161\u11ab",
         "\u2581a \u2581", "\r\n\t'S 'll 'lx '\u017f ''"]
RAW = [t.encode() for t in TEXTS] + [b"a\xff\xfeb\xe4\xb8 c\xf0\x9f", bytes(range(256))]
count = 0


def emit(text, switches, file):
    global count
    os.makedirs(OUT, exist_ok=True)
    with open(os.path.join(OUT, f"seed-{count:04d}"), "wb") as out:
        out.write(struct.pack("<HB", len(text), switches) + text + file)
    count += 1


def emit_all(file):
    for i, text in enumerate(RAW):
        emit(text, (3, 0, 7, 2)[i % 4], file)


def gguf(keys):
    def string(s):
        s = s.encode() if isinstance(s, str) else s
        return struct.pack("<Q", len(s)) + s

    def value(kind, v):
        if isinstance(v, list):
            return struct.pack("<IQ", kind, len(v)) + b"".join(value(kind, x) for x in v)
        if kind == 8:
            return string(v)
        return struct.pack({4: "<I", 5: "<i", 6: "<f", 7: "<?"}[kind], v)

    body = b""
    for key, (kind, v) in keys.items():
        body += string(key) + struct.pack("<I", 9 if isinstance(v, list) else kind) + value(kind, v)
    return b"GGUF" + struct.pack("<IQQ", 3, 0, len(keys)) + body


def spm_keys(**change):
    tokens = ["<unk>", "<s>", "</s>"] + ["<0x%02X>" % b for b in range(256)]
    tokens += ["\u2581", "a", "b", "ab", "\u2581a", "\u2581ab", "abc", "<user>", "a\u2581b", ""]
    types = [2, 3, 3] + [6] * 256 + [1] * 7 + [4, 1, 5]
    key = "tokenizer.ggml."
    keys = {"general.architecture": (8, "llama"), key + "model": (8, "llama"), key + "tokens": (8, tokens),
            key + "scores": (6, [0.0] * 259 + [-9.0, -9.0, -9.0, -1.0, -2.0, -3.0, -4.0, 0.0, -5.0, 0.0]),
            key + "token_type": (5, types), key + "add_bos_token": (7, True), key + "add_eos_token": (7, True),
            key + "bos_token_id": (4, 1), key + "padding_token_id": (4, 4294967295), key + "eom_token_id": (5, 2),
            key + "eot_token_id": (5, -1)}
    for name, item in change.items():
        keys.pop(key + name, None)
        if item is not None:
            keys[key + name] = item
    return keys


def bpe_keys(pre_name, **change):
    tokens = ["a", "b", "\u0120", "ab", "\u0120a", "\u0120ab", "c", "<|im_end|>", "<user>", "\u4e2d", "[PAD]", "\u010a"]
    key = "tokenizer.ggml."
    keys = {"general.architecture": (8, "llama"), key + "model": (8, "gpt2"), key + "tokens": (8, tokens),
            key + "token_type": (5, [1] * 7 + [3, 4, 1, 5, 1]),
            key + "merges": (8, ["a b", "\u0120 a", "\u0120 ab", "x y"]), key + "bos_token_id": (4, 7)}
    if pre_name:
        keys[key + "pre"] = (8, pre_name)
    for name, item in change.items():
        keys.pop(key + name, None)
        if item is not None:
            keys[key + name] = item
    return keys


VOCAB = {"a": 0, "b": 1, "\u0120": 2, "ab": 3, "\u0120a": 4, "c": 5, "\u4e2d": 6}
SPM_VOCAB = {"<unk>": 0, "<s>": 1, "\u2581": 2, "a": 3, "\u2581a": 4, "b": 5, "<0x41>": 6}
BYTES = {"type": "ByteLevel", "add_prefix_space": False}
ADDED = [{"id": 7, "content": "<|im_end|>", "special": True, "normalized": False},
         {"id": 8, "content": "<x>", "special": False, "lstrip": True, "rstrip": True},
         {"id": 10, "content": "bb", "special": False, "single_word": True, "normalized": False},
         {"id": 9, "content": "<s>", "special": True, "normalized": True}]
ESCAPE = {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "\u2581"},
                                              {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}]}
STRIP = {"type": "Sequence", "decoders": [
    {"type": "Replace", "pattern": {"String": "\u2581"}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"},
    {"type": "Strip", "content": " ", "start": 1, "stop": 0}]}
TEMPLATE = {"type": "Sequence", "processors": [BYTES, {
    "type": "TemplateProcessing",
    "single": [{"SpecialToken": {"id": "<s>"}}, {"Sequence": {"id": "A"}}, {"SpecialToken": {"id": "<s>"}}],
    "special_tokens": {"<s>": {"ids": [1]}}}]}
TAIL = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
HEAD = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?"


def split(regex, behavior="Isolated"):
    return {"type": "Split", "pattern": {"Regex": regex}, "behavior": behavior, "invert": False}


def model(**change):
    out = {"type": "BPE", "vocab": VOCAB, "merges": ["a b", ["\u0120", "a"]], "ignore_merges": True}
    out.update(change)
    return out


def document(**change):
    out = {"normalizer": None, "pre_tokenizer": BYTES, "decoder": BYTES, "post_processor": None,
           "added_tokens": ADDED, "model": model()}
    out.update(change)
    return json.dumps(out, ensure_ascii=False).encode()


def spm_document(**change):
    spm = {"vocab": SPM_VOCAB, "merges": ["\u2581 a"], "unk_token": "<unk>", "fuse_unk": True}
    spm.update(change.pop("model", {}))
    added = ADDED[:3] + [{**ADDED[3], "id": 1}]
    return document(**{"added_tokens": added, "normalizer": ESCAPE, "pre_tokenizer": None, "decoder": STRIP, "model": spm, **change})


def sequence(*parts):
    return {"type": "Sequence", "pretokenizers": list(parts)}


good = [gguf(spm_keys()), gguf(spm_keys(add_space_prefix=(7, False), remove_extra_whitespaces=(7, True))),
        gguf(bpe_keys("llama-bpe")), gguf(bpe_keys("qwen2")), gguf(bpe_keys(None)), gguf(bpe_keys("gpt-2")),
        gguf(bpe_keys("gpt-2", add_space_prefix=(7, True))), document(), spm_document(),
        document(pre_tokenizer={"type": "ByteLevel"}, post_processor=TEMPLATE),
        document(normalizer={"type": "NFC"}), document(normalizer={"type": "NFKD"}), document(normalizer={"type": "Sequence",
            "normalizers": [{"type": "NFD"}, {"type": "Replace", "pattern": {"String": "a"}, "content": "bb"}]}),
        document(pre_tokenizer=sequence(split(HEAD + r"\p{L}+|\p{N}{1,3}" + TAIL), {**BYTES, "use_regex": False})),
        document(pre_tokenizer=sequence(split(HEAD + r"\p{L}+|\p{N}" + TAIL), {**BYTES, "use_regex": False})),
        document(pre_tokenizer=sequence({"type": "Digits", "individual_digits": True},
                                        {"type": "Punctuation", "behavior": "Contiguous"}, split("[0-9][0-9][0-9]"),
                                        {"type": "Punctuation"}, BYTES)),
        spm_document(model={"byte_fallback": True}, post_processor=TEMPLATE),
        spm_document(model={"vocab": {**SPM_VOCAB, **{"<0x%02X>" % b: 300 + b for b in range(256)}},
                            "byte_fallback": True}),
        spm_document(pre_tokenizer={"type": "Metaspace", "prepend_scheme": "first"}, normalizer=None,
                     decoder={"type": "Metaspace"}),
        spm_document(pre_tokenizer={"type": "Metaspace", "add_prefix_space": True, "split": False}, normalizer=None,
                     model={"ignore_merges": True})]
bad = [gguf(spm_keys(model=None)), gguf(spm_keys(model=(8, "bert"))), gguf(spm_keys(model=(4, 1))),
       gguf(spm_keys(tokens=None)), gguf(spm_keys(scores=None)), gguf(spm_keys(scores=(6, [1.0]))),
       gguf(spm_keys(token_type=(5, [9] * 269))), gguf(spm_keys(bos_token_id=(4, 999))),
       gguf(spm_keys(bos_token_id=(8, "x"))), gguf(spm_keys(add_bos_token=(4, 1))), gguf(spm_keys(tokens=(4, [1]))),
       gguf(spm_keys(scores=(6, [float("nan")] * 269))), gguf(spm_keys(token_type=(5, [6] * 269))),
       gguf(bpe_keys("unheard-of")), gguf(bpe_keys("gpt-2", merges=None)), gguf(bpe_keys("gpt-2", pre=(4, 1))),
       gguf(bpe_keys("gpt-2", merges=(8, ["ab"]))), b"{", b"[]", b"{}",
       document(model={"type": "Unigram"}), document(model=model(vocab={})), document(model=model(vocab={"a": -1})),
       document(model=model(vocab={"a": 1, "b": 1})), document(model=model(merges=["a x"])),
       document(model=model(merges=["ab"])), document(model=model(merges=[3])), document(model=model(merges=None)),
       document(model=model(end_of_word_suffix="</w>")), document(added_tokens=[{"id": 3}]),
       document(added_tokens=[{"id": 1 << 40, "content": "x"}]), document(pre_tokenizer=None),
       document(pre_tokenizer=split(r"\w+")), document(pre_tokenizer=split("[0-9][0-9][0-9]", "Removed")),
       document(pre_tokenizer={"type": "Split", "behavior": "Isolated"}), document(pre_tokenizer={"type": "Whitespace"}),
       document(pre_tokenizer=sequence(*[{"type": "Digits"}] * 9)),
       document(pre_tokenizer=sequence({"type": "Digits"}, {"type": "ByteLevel"})),
       document(pre_tokenizer={"type": "Punctuation", "behavior": "Removed"}),
       document(normalizer={"type": "Lowercase"}), document(normalizer={"type": "Prepend"}),
       document(normalizer={"type": "Sequence", "normalizers": [{"type": "NFC"}] * 9}),
       document(normalizer={"type": "Replace", "pattern": {"Regex": "a"}, "content": "b"}),
       document(decoder={"type": "CTC"}), document(decoder={"type": "Strip", "content": "x", "start": 1, "stop": 0}),
       document(decoder={"type": "Replace", "pattern": {"String": "x"}, "content": " "}),
       document(post_processor={"type": "Other"}),
       document(post_processor={"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "q"}}],
                                "special_tokens": {"q": {"ids": [4000]}}}),
       document(post_processor={"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "q"}}] * 9,
                                "special_tokens": {"q": {"ids": [1]}}}),
       document(post_processor={"type": "TemplateProcessing", "single": [{"Other": 1}]}),
       spm_document(pre_tokenizer={"type": "Metaspace", "replacement": "_"}),
       spm_document(pre_tokenizer={"type": "Metaspace", "prepend_scheme": "?"}),
       spm_document(pre_tokenizer=sequence({"type": "Metaspace"}, {"type": "Digits"}))]
# Long enough for the heap; with switches 255 the target repeats a text until the cache of words is used.
for text in RAW + [b"ab abc a \xff \xe4\xb8\xad cab 12, it's  x\n" * 80, b"a" * 3000]:
    emit(text, 0, b"")
emit(b"ab abc a \xff \xe4\xb8\xad cab 12, it's  x sesquipedalian\nx x\n"[:48], 255, b"")
emit("".join(chr(c) for c in range(0x21, 0x2000, 7)).encode(), 0, b"")
# Words beyond the length that is scanned, with merges that compete.
PYRAMID = {"vocab": {"a": 0, "b": 1, "ab": 2, "aa": 3, "abab": 4, "aaaa": 5, "ba": 6},
           "merges": ["a b", "a a", "ab ab", "aa aa", "b a", "a b"]}
for text in (b"ab" * 200, b"aab" * 200, b"a" * 501, b"abba" * 100 + b" " + b"baab" * 60):
    emit(text, 0, document(model=model(**PYRAMID)))
    emit(text, 13 << 3, document(model=model(**PYRAMID)))
# Files by their path, and folders.
CONFIG = b'{"model_type":"llama","bos_token_id":9,"eos_token_id":[7,9],"vocab_size":40,"pad_token_id":1}'
SETTINGS = b'{"bos_token":"<s>","eos_token":{"content":"<|im_end|>"},"unk_token":null,"add_bos_token":true,"add_eos_token":true}'
for file in (good[0], document(), document()[:-30], b"{}", gguf(bpe_keys("gpt-2"))[:60]):
    emit(RAW[3], 31 << 3 | 3, file)
for parts in ([document(), CONFIG], [document(), CONFIG, b'{"eos_token_id":8,"bos_token_id":-1}', SETTINGS],
              [spm_document(), CONFIG, b"{}", SETTINGS], [document()[:50], CONFIG], [document(), b"{"], [b"{}", CONFIG],
              [document(), b'{"vocab_size":2,"bos_token_id":99}'], [document(), b'{"vocab_size":-1}', b"[]", b'{"eos_token":3}'],
              [document(), b'{"vocab_size":99999999999}', b'{"eos_token_id":["x",1.5]}', b'{"bos_token":"?","add_bos_token":1}']):
    emit(RAW[3], 3, SEPARATOR.join(parts))
    emit(RAW[3], 9 << 3 | 3, SEPARATOR.join(parts))
for file in good:
    emit_all(file)
    for fail_at in (1, 2, 3, 5, 8, 13, 21, 30):
        emit(RAW[2], 3 | fail_at << 3, file)
    for cut in (5, len(file) // 3, len(file) * 2 // 3, len(file) - 1):
        emit(RAW[1], 3, file[:cut])
for file in bad:
    emit(RAW[1], 3, file)
folder = os.path.join(DATA, "tokenizers/vectors/neural_api")
for name in sorted(os.listdir(folder)) if DATA and os.path.isdir(folder) else []:
    if name.endswith("_tokenizer.json"):
        emit(RAW[2], 3, open(os.path.join(folder, name), "rb").read())
print(f"{count} seeds in {OUT}")
