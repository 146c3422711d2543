#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Write the seed corpora of the fuzz targets: make_corpus.py FOLDER [STAMP]

Every target has a function seeds_<target>() below that yields (name, bytes), or a program
corpus_<target>.py beside this one; its files go to FOLDER/<target>/. Everything is made here, is
small and the same at every run. STAMP is a file that is written last, for the build system.
"""
import json
import pathlib
import struct
import subprocess
import sys

SEPARATOR = b"\n#file\n"


# ---- GGUF ----

def string(text):
    data = text.encode() if isinstance(text, str) else text
    return struct.pack("<Q", len(data)) + data


FORMATS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<B", 10: "<Q", 11: "<q", 12: "<d"}


def value(kind, v):
    return string(v) if kind == 8 else struct.pack(FORMATS[kind], v)


def meta(key, kind, v, element=None):
    out = string(key) + struct.pack("<I", kind)
    if kind != 9:
        return out + value(kind, v)
    return out + struct.pack("<IQ", element, len(v)) + b"".join(value(element, x) for x in v)


def gguf(metas=(), tensors=(), version=3, magic=b"GGUF", alignment=32, counts=None):
    """tensors: (name, type, dims, offset or None, bytes)."""
    n_tensor, n_meta = counts or (len(tensors), len(metas))
    out = magic + struct.pack("<IQQ", version, n_tensor, n_meta) + b"".join(metas)
    data = b""
    for name, kind, dims, offset, content in tensors:
        data += b"\0" * (-len(data) % alignment)
        at = len(data) if offset is None else offset
        out += string(name) + struct.pack("<I", len(dims)) + b"".join(struct.pack("<Q", d) for d in dims)
        out += struct.pack("<IQ", kind, at)
        data += content
    if tensors:
        out += b"\0" * (-len(out) % alignment)
    return out + data


ARCH = meta("general.architecture", 8, "llama")
F32 = ("w", 0, (4, 2), None, bytes(32))


def seeds_gguf():
    scalars = [meta(f"k{k}", k, 1) for k in FORMATS]
    arrays = [meta(f"a{k}", 9, [0, 1, 1], k) for k in FORMATS] + [meta("as", 9, ["", "x", "yz"], 8)]
    blocks = [("q%d" % k, k, (b, 2), None, bytes(2 * n)) for k, b, n in (
        (1, 1, 2), (2, 32, 18), (3, 32, 20), (6, 32, 22), (7, 32, 24), (8, 32, 34), (10, 256, 84), (11, 256, 110),
        (12, 256, 144), (13, 256, 176), (14, 256, 210), (20, 32, 18), (23, 256, 136), (24, 1, 1), (28, 1, 8),
        (30, 1, 2), (39, 32, 17))]
    yield "scalars", gguf(scalars, [F32])
    yield "arrays", gguf(arrays, [F32])
    yield "blocks", gguf([ARCH], blocks)
    yield "version2", gguf([ARCH], [F32], version=2)
    yield "vocabulary", gguf([ARCH, meta("tokenizer.ggml.tokens", 9, ["<s>", "a", "b"], 8)])
    yield "aligned64", gguf([meta("general.alignment", 4, 64)], [F32, ("v", 1, (3,), None, bytes(6))], alignment=64)
    yield "long_values", gguf([meta("s", 8, "x" * 70000), meta("n", 9, [7] * 40000, 4), ARCH], [F32])
    for version in (0, 1, 4, 0x03000000):
        yield f"bad_version{version:x}", gguf([ARCH], [F32], version=version)
    for magic in (b"FUGG", b"lmgg", b"fmgg", b"tjgg", b"algg", b"PK\3\4", b"vers", b"GGU"):
        yield "bad_magic_" + magic.hex(), gguf([ARCH], [F32], magic=magic)
    bad_metas = {
        "type13": string("k") + struct.pack("<IQ", 13, 0), "bool2": meta("k", 7, 2), "empty_key": meta("", 0, 1),
        "nul_key": meta("a\0b", 0, 1), "key_utf8": meta(b"\xc0\x80", 0, 1), "nested": string("k") + struct.pack("<IIQ", 9, 9, 1),
        "element77": string("k") + struct.pack("<IIQ", 9, 77, 1), "array_bool": meta("k", 9, [1, 9], 7),
        "array_long": string("k") + struct.pack("<IIQ", 9, 4, 1 << 40), "strings_long": string("k") + struct.pack("<IIQ", 9, 8, 1 << 60),
        "string_long": string("k") + struct.pack("<IQ", 8, 1 << 63), "key_long": struct.pack("<Q", 1 << 40) + b"k",
        "alignment0": meta("general.alignment", 4, 0), "alignment24": meta("general.alignment", 4, 24),
        "alignment_type": meta("general.alignment", 8, "32"), "split_type": meta("split.count", 8, "2"),
        "split_negative": meta("split.count", 5, -1), "key_65k": meta("k" * 66000, 0, 1),
    }
    for name, bad in bad_metas.items():
        yield "bad_meta_" + name, gguf([ARCH, bad], [F32])
    yield "bad_meta_twice", gguf([ARCH, ARCH], [F32])
    bad_tensors = {
        "dims0": ("t", 0, (), 0, b""), "dims5": ("t", 0, (1, 1, 1, 1, 1), 0, b""), "dim0": ("t", 0, (0,), 0, b""),
        "dim_negative": ("t", 0, (1 << 63,), 0, b""), "overflow": ("t", 0, (1 << 33, 1 << 33), 0, b""),
        "block": ("t", 12, (100,), 0, b""), "iq2": ("t", 16, (256,), 0, b""), "q4_2": ("t", 4, (32,), 0, b""),
        "type999": ("t", 999, (1,), 0, b""), "far": ("t", 0, (1,), 1 << 40, b""), "unaligned": ("t", 0, (1,), 36, b"1234"),
        "end": ("t", 0, (1000,), 32, b""), "overlap": ("t", 0, (1,), 0, b""), "twice": ("w", 0, (1,), 32, b"1234"),
        "empty_name": ("", 0, (1,), 32, b"1234"), "long_name": ("n" * 300, 0, (1,), 32, b"1234"),
    }
    for name, bad in bad_tensors.items():
        yield "bad_tensor_" + name, gguf([ARCH], [F32, bad])
    yield "bad_counts_tensor", gguf([ARCH], [F32], counts=(1 << 40, 1))
    yield "bad_counts_meta", gguf([ARCH], [F32], counts=(1, 1 << 40))
    yield "no_data", gguf([ARCH], [("t", 0, (1,), 0, b"")])[:-5]
    whole = gguf([ARCH], [F32])
    for cut in (0, 3, 6, 12, 20, 40, len(whole) - 33, len(whole) - 1):
        yield f"cut{cut}", whole[:cut]

    def split(no, count, total, name):
        keys = [meta("split.no", 2, no), meta("split.count", 2, count), meta("split.tensors.count", 5, total)]
        return gguf([ARCH] + keys, [(name, 0, (4, 2), None, bytes(32))])
    yield "split", SEPARATOR.join([split(0, 3, 3, "a"), split(1, 3, 3, "b"), split(2, 3, 3, "c")])
    yield "split_missing", SEPARATOR.join([split(0, 3, 3, "a"), split(1, 3, 3, "b")])
    yield "split_order", SEPARATOR.join([split(0, 3, 3, "a"), split(2, 3, 3, "b"), split(1, 3, 3, "c")])
    yield "split_count", SEPARATOR.join([split(0, 3, 9, "a"), split(1, 3, 3, "b"), split(2, 3, 3, "c")])
    yield "split_twice", SEPARATOR.join([split(0, 3, 3, "a"), split(1, 3, 3, "a"), split(2, 3, 3, "c")])
    yield "split_second", split(1, 3, 3, "a")


# ---- safetensors ----

def safetensors(header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header, separators=(",", ":")).encode()
    return struct.pack("<Q", len(text)) + text + data


def entry(dtype="F32", shape=(2, 3), begin=0, end=24):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}


def seeds_safetensors():
    good = {"__metadata__": {"format": "pt"}, "a": entry(), "b": entry("BF16", (4,), 24, 32)}
    yield "good", safetensors(good, bytes(32))
    sizes = {"BOOL": 1, "U8": 1, "I8": 1, "F8_E5M2": 1, "F8_E4M3": 1, "I16": 2, "U16": 2, "F16": 2, "BF16": 2, "I32": 4,
             "U32": 4, "F32": 4, "F64": 8, "I64": 8, "U64": 8, "C64": 8, "F8_E8M0": 1}
    kinds, at = {}, 0
    for dtype, size in sizes.items():
        kinds["t" + dtype] = entry(dtype, (3,), at, at + 3 * size)
        at += 3 * size
    yield "types", safetensors(kinds, bytes(at))
    yield "shapes", safetensors({"s": entry("F32", (), 0, 4), "e": entry("F32", (0, 7), 4, 4),
                                 "six": entry("I8", (1, 2, 1, 2, 1, 2), 4, 12)}, bytes(12))
    yield "empty", safetensors({})
    bad = {
        "array": b"[]", "space": b" {}", "json": b"{]", "trailing": b"{}x", "metadata": {"__metadata__": 1},
        "metadata_int": {"__metadata__": {"a": 1}}, "number": {"t": 1}, "no_dtype": {"t": {}}, "dtype": {"t": {"dtype": "F31"}},
        "no_shape": {"t": {"dtype": "F32"}}, "shape": {"t": entry(shape=(-1,))}, "shape_float": {"t": entry(shape=(1.5,))},
        "overflow": {"t": entry(shape=(1 << 32, 1 << 32))}, "overflow5": {"t": entry(shape=(1 << 62, 4, 1, 1, 1))},
        "offsets": {"t": {"dtype": "F32", "shape": [1], "data_offsets": [0]}}, "order": {"t": entry(begin=24, end=0)},
        "beyond": {"t": entry(end=48, shape=(4, 3))}, "apart": {"t": entry(end=20)}, "gap": {"t": entry(begin=4, end=28)},
        "tail": {"t": entry(shape=(1,), end=4)}, "overlap": {"t": entry(), "u": entry("I8", (4,), 22, 26)},
        "twice": b'{"t":1,"t":1}', "name_empty": {"": {}}, "name_nul": {"a\0": {}},
    }
    for name, header in bad.items():
        yield "bad_" + name, safetensors(header, bytes(32))
    yield "bad_length", struct.pack("<Q", 1 << 62) + b"{}"
    yield "bad_short", b"\0\0\0"
    config = b'{"model_type":"llama","hidden_size":8,"rope_theta":10000.0,"tie":true,"x":null,"l":[1,2.5,"s"]}'
    one, two = safetensors({"a": entry()}, bytes(24)), safetensors({"b": entry(), "c": entry("I8", (1,), 24, 25)}, bytes(25))

    def index(places):
        return json.dumps({"metadata": {"total_size": 48}, "weight_map": places}).encode()
    places = {"a": "1.safetensors", "b": "2.safetensors"}
    yield "folder", SEPARATOR.join([config, one])
    yield "folder_empty", SEPARATOR.join([config, safetensors({})])
    yield "folder_config", SEPARATOR.join([b"{", one])
    yield "sharded", SEPARATOR.join([config, index(places), one, two])
    yield "sharded_missing", SEPARATOR.join([config, index({**places, "d": "2.safetensors"}), one, two])
    yield "sharded_file", SEPARATOR.join([config, index({**places, "d": "3.safetensors"}), one, two])
    yield "sharded_path", SEPARATOR.join([config, index({"a": "../1.safetensors"}), one, two])
    yield "sharded_type", SEPARATOR.join([config, index({"a": 1}), one, two])
    yield "sharded_name", SEPARATOR.join([config, index({"": "1.safetensors"}), one, two])
    yield "sharded_none", SEPARATOR.join([config, index({}), one, two])
    yield "sharded_json", SEPARATOR.join([config, b"{", one, two])
    yield "sharded_shard", SEPARATOR.join([config, index(places), one[:20], two])


# ---- JSON ----

def seeds_json():
    texts = {
        "kinds": '{"a":[1,-2.5e3,"x",true,false,null],"b":{"c":{}},"d":[]}',
        "escapes": r'["\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00\u0000"]',
        "utf8": '["grüße, 😀"]',
        "numbers": "[0,-0,1,10,123456789012345678901234567890,1.5,1e5,1E-5,1e+5,0.1e1,9223372036854775807,-9223372036854775808]",
        "hard_numbers": "[1.00000000000000011102230246251565404236316680908203125,4.9406564584124654e-324,2.2250738585072011e-308,"
                        "1e-400,1.7976931348623158e308,%s,0.%s1]" % ("9" * 800, "0" * 400),
        "many_keys": "{" + ",".join(f'"key{i}":{i}' for i in range(40)) + "}",
        "deep": "[" * 200 + "]" * 200, "too_deep": "[" * 300, "space": " \t\r\n[ 1 , 2 ] \n", "string": '"just text"',
        "bad_end": '["a', "bad_comma": "[1,]", "bad_colon": '{"a" 1}', "bad_key": "{1:2}", "bad_close": "[1}", "bad_object": '{"a":1]',
        "bad_word": "[nul]", "bad_escape": r'["\q"]', "bad_hex": r'["\u12g4"]', "bad_surrogate": r'["\ud800"]',
        "bad_surrogate2": r'["\ud800\u0041"]', "bad_low": r'["\udc00"]', "bad_number": "[01]", "bad_point": "[1.]", "bad_exponent": "[1e]",
        "bad_minus": "[-]", "bad_huge": "[1e400]", "bad_twice": '{"a":1,"a":2}', "bad_tail": "[] x", "bad_control": '["a\nb"]', "empty": "",
        "bad_many": "{" + ",".join(f'"key{i % 30}":{i}' for i in range(40)) + "}", "large": json.dumps([{"k": "v" * 50}] * 60),
    }
    for name, text in texts.items():
        yield name, text.encode()
    yield "bad_utf8", b'["\xff"]'
    yield "bad_utf8_cut", b'["\xe2\x82"]'


# ---- importance matrices ----

IM_NAMES = "blk.0.attn_q.weight", "blk.0.ffn_down_exps.weight"


def old_imatrix(entries, n_entry=None, tail=b""):
    """entries: (name, calls, values)."""
    out = struct.pack("<i", len(entries) if n_entry is None else n_entry)
    for name, calls, values in entries:
        data = name if isinstance(name, bytes) else name.encode()
        out += struct.pack("<i", len(data)) + data + struct.pack(f"<ii{len(values)}f", calls, len(values), *values)
    return out + tail


def new_imatrix(entries, metas=()):
    """entries: (name, columns, sums, counts)."""
    tensors = []
    for name, columns, sums, counts in entries:
        tensors.append((name + ".in_sum2", 0, (columns, len(sums) // columns), None, struct.pack(f"<{len(sums)}f", *sums)))
        if counts is not None:
            tensors.append((name + ".counts", 0, (1, len(counts)), None, struct.pack(f"<{len(counts)}f", *counts)))
    return gguf([meta("general.type", 8, "imatrix"), *metas], tensors)


def seeds_imatrix():
    a, b = (IM_NAMES[0], 2, [2.0, 4.0, 6.0, 0.0]), (IM_NAMES[1], 1, [3.0, 5.0, 1.0, 1.0])
    whole = old_imatrix([a, b], tail=struct.pack("<ii", 7, 4) + b"text")
    yield "old", whole
    yield "old_no_calls", old_imatrix([(IM_NAMES[0], 0, [1.0])])
    for n in (0, 3, 6, 20, 30, 40, 50):
        yield f"old_cut{n}", whole[:n]
    yield "bad_old_none", old_imatrix([], 0)
    yield "bad_old_many", old_imatrix([a], 1 << 20)
    yield "bad_old_count", old_imatrix([a], 2)
    yield "bad_old_twice", old_imatrix([a, a])
    yield "bad_old_utf8", old_imatrix([(b"\xff\xfe", 1, [1.0])])
    for name, x in ("nan", float("nan")), ("negative", -1.0), ("large", 1e30):
        yield "bad_old_" + name, old_imatrix([(IM_NAMES[0], 1, [1.0, x])])
    yield "bad_old_calls", old_imatrix([(IM_NAMES[0], -5, [1.0])])
    c, d = (IM_NAMES[0], 4, [4.0, 8.0, 12.0, 0.0], [4.0]), (IM_NAMES[1], 2, [6.0, 10.0, 0.0, 0.0], [2.0, 0.0])
    yield "new", new_imatrix([c, d], [meta("imatrix.chunk_count", 4, 7)])
    yield "new_chunks_text", new_imatrix([c], [meta("imatrix.chunk_count", 8, "7")])
    yield "bad_new_no_counts", new_imatrix([(IM_NAMES[0], 2, [1.0, 2.0], None)])
    yield "bad_new_counts", new_imatrix([(IM_NAMES[0], 2, [1.0, 2.0], [1.0, 1.0])])
    yield "bad_new_value", new_imatrix([(IM_NAMES[0], 2, [1.0, -2.0], [1.0])])
    yield "bad_new_none", gguf([meta("general.type", 8, "imatrix")], [F32])
    yield "bad_new_type", gguf([], [("w.in_sum2", 1, (2,), None, bytes(4)), ("w.counts", 0, (1,), None, bytes(4))])
    yield "bad_new_type2", gguf([], [("w.in_sum2", 0, (2,), None, bytes(8)), ("w.counts", 1, (1,), None, bytes(2))])


def main():
    folder = pathlib.Path(sys.argv[1])
    for function, seeds in list(globals().items()):
        if not function.startswith("seeds_"):
            continue
        target = folder / function[len("seeds_"):]
        target.mkdir(parents=True, exist_ok=True)
        for name, data in seeds():
            (target / name).write_bytes(data)
    for program in sorted(pathlib.Path(__file__).resolve().parent.glob("corpus_*.py")):
        subprocess.run([sys.executable, str(program), str(folder / program.stem[len("corpus_"):])], check=True)
    if len(sys.argv) > 2:
        pathlib.Path(sys.argv[2]).write_text("done\n")


if __name__ == "__main__":
    main()
