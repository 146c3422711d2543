#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Hold llrt's quantiser against another one on the same model: types, bytes, perplexity.

    compare_quantize.py --llrt build/examples/llrt --peer "PROGRAM llama-quantize" [--types Q4_K_M,Q3_K_L]
                        [--imatrix FILE] [--text TEXT [-c 512]] MODEL.gguf ...

The peer is a command that is called as  PEER [--imatrix FILE] MODEL OUT TYPE. For each model and type a line says how
many tensors have another type than the peer's and how many blocks of each type are the same bytes; with --text also the
perplexity of both files, as llrt computes it. Exit status 1: a type differs, or perplexities by more than 0.5 %.
"""
import argparse
import pathlib
import re
import shlex
import struct
import subprocess
import sys
import tempfile

# type number: name, values and bytes of a block
TYPES = {0: ("F32", 1, 4), 1: ("F16", 1, 2), 2: ("Q4_0", 32, 18), 3: ("Q4_1", 32, 20), 6: ("Q5_0", 32, 22), 7: ("Q5_1", 32, 24),
         8: ("Q8_0", 32, 34), 10: ("Q2_K", 256, 84), 11: ("Q3_K", 256, 110), 12: ("Q4_K", 256, 144), 13: ("Q5_K", 256, 176),
         14: ("Q6_K", 256, 210), 20: ("IQ4_NL", 32, 18), 23: ("IQ4_XS", 256, 136), 30: ("BF16", 1, 2), 39: ("MXFP4", 32, 17)}
ALL = "F16,BF16,Q8_0,Q4_0,Q4_1,Q5_0,Q5_1,Q2_K,Q3_K_S,Q3_K_M,Q3_K_L,Q4_K_S,Q4_K_M,Q5_K_S,Q5_K_M,Q6_K,IQ4_NL,IQ4_XS,MXFP4_MOE"
SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def number(self, form):
        value = struct.unpack_from("<" + form, self.data, self.at)[0]
        self.at += struct.calcsize("<" + form)
        return value

    def string(self):
        n = self.number("Q")
        self.at += n
        return self.data[self.at - n: self.at]

    def value(self, kind):
        if kind == 8:
            return self.string()
        if kind == 9:
            element, n = self.number("I"), self.number("Q")
            return [self.value(element) for _ in range(n)]
        return self.number(SCALARS[kind])


def tensors_of(path):
    """Name -> (type, shape, bytes)."""
    r = Reader(pathlib.Path(path).read_bytes())
    assert r.data[:4] == b"GGUF", path
    r.at = 8
    n_tensor, n_meta = r.number("Q"), r.number("Q")
    metas = {}
    for _ in range(n_meta):
        key = r.string()
        metas[key] = r.value(r.number("I"))
    entries = []
    for _ in range(n_tensor):
        name = r.string().decode()
        shape = [r.number("Q") for _ in range(r.number("I"))]
        entries.append((name, shape, r.number("I"), r.number("Q")))
    alignment = metas.get(b"general.alignment", 32)
    begin = -(-r.at // alignment) * alignment
    out = {}
    for name, shape, kind, offset in entries:
        n = 1
        for d in shape:
            n *= d
        _, block, size = TYPES[kind]
        out[name] = kind, shape, r.data[begin + offset: begin + offset + n // block * size]
    return out


def compare(ours, theirs):
    """Number of tensors that differ in type or shape, and (same, all) blocks by type."""
    assert ours.keys() == theirs.keys(), ours.keys() ^ theirs.keys()
    n_other, blocks = 0, {}
    for name, (kind, shape, data) in ours.items():
        if (kind, shape) != theirs[name][:2]:
            print(f"    {name}: {TYPES[kind][0]} {shape}, the peer has {TYPES[theirs[name][0]][0]} {theirs[name][1]}")
            n_other += 1
            continue
        size, other = TYPES[kind][2], theirs[name][2]
        n = len(data) // size
        same = n if data == other else sum(data[i: i + size] == other[i: i + size] for i in range(0, len(data), size))
        before = blocks.get(TYPES[kind][0], (0, 0))
        blocks[TYPES[kind][0]] = before[0] + same, before[1] + n
    return n_other, blocks


def perplexity(options, path):
    out = subprocess.run([options.llrt, "perplexity", path, "-f", options.text, "-c", options.c], check=True, capture_output=True, text=True)
    return float(re.findall(r"^perplexity ([\d.]+)", out.stdout, re.M)[0])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--llrt", required=True)
    parser.add_argument("--peer", required=True)
    parser.add_argument("--types", default=ALL)
    parser.add_argument("--imatrix", default=None)
    parser.add_argument("--text", default=None)
    parser.add_argument("-c", default="512")
    options = parser.parse_args()
    imatrix = ["--imatrix", options.imatrix] if options.imatrix else []
    status = 0
    for model in options.models:
        for kind in options.types.split(","):
            with tempfile.TemporaryDirectory() as work:
                ours, theirs = f"{work}/ours.gguf", f"{work}/theirs.gguf"
                subprocess.run([options.llrt, "quantize", model, ours, kind, *imatrix], check=True, capture_output=True)
                subprocess.run([*shlex.split(options.peer), *imatrix, model, theirs, kind], check=True, capture_output=True)
                n_other, blocks = compare(tensors_of(ours), tensors_of(theirs))
                line = f"{pathlib.Path(model).name} {kind}: {n_other} types differ; the same: "
                line += ", ".join(f"{name} {same}/{n}" for name, (same, n) in blocks.items())
                if options.text:
                    a, b = perplexity(options, ours), perplexity(options, theirs)
                    line += f"; perplexity {a:.4f}, the peer's {b:.4f} ({100 * (a / b - 1):+.3f} %)"
                    status |= abs(a / b - 1) > 0.005
                print(line, flush=True)
                status |= n_other > 0
    return status


if __name__ == "__main__":
    sys.exit(main())
