#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Compares llrt's token ids with Hugging Face's `tokenizers` on random strings.

    tokenizer_compare.py --lib libllrt.so [--count 10000] [--seed 1] FILE.gguf|tokenizer.json ...

For a tokenizer.json the reference is that file itself. For a GGUF a reference is put together
from its vocabulary and merges (for SentencePiece: merges derived from the scores) and the
pre-tokenizer's published regular expression, so that only the algorithms are shared by name.

A third of the strings contain bytes that are not valid UTF-8, which the reference cannot
take. For byte-level vocabularies its pre-tokenizer then sees U+FFFD in the place of each such byte
and its merging sees the real bytes; for SentencePiece each such byte is a private-use character, whose
four byte tokens stand for the one of the byte.

Exit status: 0 all equal, 1 a difference, 77 when the `tokenizers` module is missing.
"""
import argparse
import ctypes as C
import json
import random
import struct
import sys
import unicodedata

try:
    from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers
except ImportError:
    print("tokenizer_compare: the Python module `tokenizers` is missing, skipped")
    sys.exit(77)

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
CL100K = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}%s| ?[^\s\p{L}\p{N}]+[\r\n]*"
          r"|\s*[\r\n]+|\s+(?!\S)|\s+")
REGEX = {"gpt-2": GPT2, "llama-bpe": CL100K % "{1,3}", "qwen2": CL100K % ""}


class Error(C.Structure):
    _fields_ = [("struct_size", C.c_uint32), ("status", C.c_int32), ("position", C.c_int64),
                ("text", C.c_char * 512), ("file", C.c_char * 256), ("field", C.c_char * 256)]


class Llrt:
    def __init__(self, lib, path):
        self.lib, self.handle = lib, C.c_void_p()
        self.error = Error(C.sizeof(Error))
        self.check(lib.llrt_tokenizer_open(path.encode(), None, C.byref(self.handle), C.byref(self.error)))

    def check(self, status):
        if status < 0:
            raise SystemExit(f"tokenizer_compare: {self.error.text.decode()} ({self.error.field.decode()})")

    def encode(self, text, flags=0):
        room = 3 * len(text) + 16
        ids, n = (C.c_int32 * room)(), C.c_size_t()
        self.check(self.lib.llrt_tokenizer_encode(self.handle, text, C.c_size_t(len(text)), C.c_uint32(flags), ids,
                                                  C.c_size_t(room), C.byref(n), C.byref(self.error)))
        return ids[:n.value]

    def decode(self, ids):
        room = 1024 * len(ids) + 16
        text, n = C.create_string_buffer(room), C.c_size_t()
        self.check(self.lib.llrt_tokenizer_decode(self.handle, (C.c_int32 * len(ids))(*ids), C.c_size_t(len(ids)),
                                                  C.c_uint32(0), text, C.c_size_t(room), C.byref(n),
                                                  C.byref(self.error)))
        return text.raw[:n.value]


def read_gguf(path):
    data = open(path, "rb").read()
    at = 8
    scalar = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}

    def take(form):
        nonlocal at
        value = struct.unpack_from("<" + form, data, at)[0]
        at += struct.calcsize("<" + form)
        return value

    def value(kind):
        nonlocal at
        if kind == 8:
            n = take("Q")
            at += n
            return data[at - n:at]
        if kind == 9:
            element, n = take("I"), take("Q")
            return [value(element) for _ in range(n)]
        return take(scalar[kind])

    take("Q")
    n_key, meta = take("Q"), {}
    for _ in range(n_key):
        key = value(8).decode()
        meta[key] = value(take("I"))
    return meta


def byte_alphabet():
    plain = [b for b in range(256) if 0x21 <= b <= 0x7e or 0xa1 <= b <= 0xac or b >= 0xae]
    rest = [b for b in range(256) if b not in plain]
    return {**{b: chr(b) for b in plain}, **{b: chr(256 + i) for i, b in enumerate(rest)}}


ALPHABET = byte_alphabet()


def split_chars(text):
    """The characters of a byte string as (character or None, bytes); None for a byte outside of any."""
    out = []
    for ch in text.decode("utf-8", errors="surrogateescape"):
        invalid = 0xdc80 <= ord(ch) <= 0xdcff
        out.append((None, bytes([ord(ch) - 0xdc00])) if invalid else (ch, ch.encode()))
    return out


class ByteLevelReference:
    def __init__(self, meta):
        key = "tokenizer.ggml."
        tokens = [t.decode() for t in meta[key + "tokens"]]
        types = meta.get(key + "token_type") or [1] * len(tokens)
        vocab = {t: i for i, t in enumerate(tokens) if types[i] == 1}
        merges = [tuple(m.decode().split(" ")) for m in meta[key + "merges"]]
        merges = [m for m in merges if len(m) == 2]
        pre = meta.get(key + "pre", b"").decode()
        self.vocab = vocab
        self.model = models.BPE(vocab=vocab, merges=merges, ignore_merges=pre == "llama-bpe")
        self.pre = pre_tokenizers.Split(Regex(REGEX[pre]), "isolated")
        self.added = Tokenizer(models.BPE())
        self.user = sorted((tokens[i] for i in range(len(tokens)) if types[i] == 4), key=len, reverse=True)
        self.user_id = {tokens[i]: i for i in range(len(tokens)) if types[i] == 4}

    def encode(self, text):
        for token in self.user:
            at = text.find(token.encode())
            if at >= 0:
                return (self.encode(text[:at]) + [self.user_id[token]] + self.encode(text[at + len(token.encode()):]))
        chars, ids = split_chars(text), []
        if not chars:
            return ids
        seen = "".join(ch if ch is not None else "\ufffd" for ch, _ in chars)
        for _, (start, end) in self.pre.pre_tokenize_str(seen):
            word = b"".join(raw for _, raw in chars[start:end])
            ids += [t.id for t in self.model.tokenize("".join(ALPHABET[b] for b in word))]
        return ids


class SpmReference:
    PRIVATE = 0xF0000

    def __init__(self, meta):
        key = "tokenizer.ggml."
        tokens = [t.decode() for t in meta[key + "tokens"]]
        scores, types = meta[key + "scores"], meta[key + "token_type"]
        plain = {t: i for i, t in enumerate(tokens) if types[i] in (1, 4, 5)}
        merges = []
        for token, index in plain.items():
            for cut in range(1, len(token)):
                if token[:cut] in plain and token[cut:] in plain:
                    merges.append((-scores[index], plain[token[:cut]], token[:cut], token[cut:]))
        merges.sort()
        vocab = {t: i for i, t in enumerate(tokens)}
        self.byte = [vocab["<0x%02X>" % b] for b in range(256)]
        model = models.BPE(vocab=vocab, merges=[(a, b) for _, _, a, b in merges], unk_token="<unk>",
                           fuse_unk=True, byte_fallback=True)
        self.tokenizer = Tokenizer(model)
        self.tokenizer.normalizer = normalizers.Sequence(
            [normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])

    def encode(self, text):
        seen = "".join(ch if ch is not None else chr(self.PRIVATE + raw[0]) for ch, raw in split_chars(text))
        ids, out, at = self.tokenizer.encode(seen, add_special_tokens=False).ids, [], 0
        lead = [self.byte[0xF3], self.byte[0xB0]]
        while at < len(ids):
            if ids[at:at + 2] == lead and ids[at + 2] in (self.byte[0x82], self.byte[0x83]):
                high = 1 if ids[at + 2] == self.byte[0x83] else 0
                out.append(self.byte[(high << 6) + 0x80 + (self.byte.index(ids[at + 3]) - 0x80)])
                at += 4
            else:
                out.append(ids[at])
                at += 1
        return out


class JsonReference:
    def __init__(self, path):
        self.tokenizer = Tokenizer.from_file(path)
        # The library numbers added tokens anew when ids have gaps; the file's own numbers count.
        self.renumber = {}
        for token in json.load(open(path))["added_tokens"]:
            self.renumber[self.tokenizer.token_to_id(token["content"])] = token["id"]

    def encode(self, text):
        ids = self.tokenizer.encode(text.decode(), add_special_tokens=False).ids
        return [self.renumber.get(i, i) for i in ids]


ASSIGNED = [chr(c) for c in range(0x20, 0x30000)
            if unicodedata.category(chr(c)) not in ("Cn", "Cs", "Co") and c != 0x2581]
SCRIPTS = ["the quick brown fox jumps over 12 lazy dogs", "été à Noël, garçon naïve", "Привет, мир! Это тест 42",
           "Η γλώσσα μου έδωσαν ελληνική", "我想在apple工作1314151天～今天天气很好", "日本語のテキストとカタカナ、ひらがな",
           "안녕하세요 세계 여러분", "مرحبا بالعالم ١٢٣", "שלום עולם", "नमस्ते दुनिया १२३", "สวัสดีชาวโลก",
           "👍🏽👩‍❤️‍💋‍👨🏳️‍🌈", "e\u0301 n\u0303 \u1112\u1161\u11ab", "it's I'LL we've don'T he'd 'S ''s",
           "x = [1, 22, 333, 4444]; // ok?!\n\tif (a->b) { return; }\r\n", "   \u00a0\u3000 \t\n\n \r\n  "]


def random_text(rng):
    kind, n = rng.randrange(6), rng.randrange(0, 60)
    if kind == 0:
        return "".join(chr(rng.randrange(32, 127)) for _ in range(n))
    if kind == 1:
        return "".join(rng.choice(ASSIGNED) for _ in range(n))
    if kind == 2:
        return " ".join(rng.choice(rng.choice(SCRIPTS).split(" ")) for _ in range(n // 3))
    if kind == 3:
        return "".join(rng.choice(rng.choice(SCRIPTS)) for _ in range(n))
    if kind == 4:
        return "".join(rng.choice(" \n\t\r'1aZé中") for _ in range(n))
    parts = [rng.choice(SCRIPTS) for _ in range(n // 12 + 1)]
    return "".join(p[rng.randrange(len(p)):] for p in parts)


def random_bytes(rng, with_invalid):
    """A string without characters that this Python's Unicode version does not know: categories may differ there."""
    while True:
        text = mutated(rng, with_invalid)
        if not any(unicodedata.category(ch) == "Cn" for ch in text.decode(errors="ignore")):
            return text


def mutated(rng, with_invalid):
    text = random_text(rng).encode()
    if with_invalid and rng.randrange(3) == 0:
        text = bytearray(text)
        for _ in range(rng.randrange(1, 6)):
            at = rng.randrange(len(text) + 1)
            if rng.randrange(3) and at < len(text):
                text[at] = rng.randrange(256)
            else:
                text[at:at] = bytes([rng.randrange(128, 256)])
        text = bytes(text)
    return text


def reference_of(path):
    if path.endswith(".json"):
        return JsonReference(path), False, 2
    meta = read_gguf(path)
    spm = meta["tokenizer.ggml.model"] == b"llama"
    return (SpmReference if spm else ByteLevelReference)(meta), True, 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lib", required=True)
    parser.add_argument("--count", type=int, default=10000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("files", nargs="+")
    options = parser.parse_args()
    lib, failed = C.CDLL(options.lib), False
    for path in options.files:
        ours, (reference, with_invalid, flags) = Llrt(lib, path), reference_of(path)
        rng, n_equal, n_invalid, n_back, shown = random.Random(options.seed), 0, 0, 0, 0
        for _ in range(options.count):
            text = random_bytes(rng, with_invalid)
            try:
                text.decode()
            except UnicodeDecodeError:
                n_invalid += 1
            got, expected = ours.encode(text, flags), reference.encode(text)
            n_equal += got == expected
            n_back += ours.decode(got) == text
            if got != expected and shown < 5:
                shown += 1
                print(f"  {text!r}: expected {expected}, found {got}")
        print(f"{path}: {n_equal} of {options.count} equal ({n_invalid} with invalid bytes), "
              f"{n_back} decoded to the same bytes (seed {options.seed})")
        failed |= n_equal != options.count
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
