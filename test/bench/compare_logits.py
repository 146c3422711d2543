#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Hold llrt's logits against another engine's on the same file and tokens, position by position.

    compare_logits.py --llrt build/examples/llrt --peer "PROGRAM logits" --text TEXT [-n 256] MODEL.gguf ...

The peer is a command that is called as  PEER MODEL --tokens 1,2,3 -o FILE  and writes float32 logits, row-major
(n_tok, n_vocab). For each model and precision the mean KL divergence of llrt from the peer, its 99th percentile,
the top-1 agreement and the worst difference are printed; further lines give the divergence of precision auto from llrt's own f32 path.
Needs numpy.
"""
import argparse
import pathlib
import shlex
import subprocess
import tempfile

import numpy as np


def tokens_of(llrt, model, text, n):
    piece = pathlib.Path(text).read_text()[: 16 * n]
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as f:
        f.write(piece)
        f.flush()
        out = subprocess.run([llrt, "tokenize", model, "-f", f.name, "--ids"], check=True, capture_output=True, text=True)
    return ",".join(out.stdout.strip().split(",")[:n])


def logits_of(command, model, ids, n):
    with tempfile.NamedTemporaryFile(suffix=".f32") as f:
        subprocess.run([*command, model, "--tokens", ids, "-o", f.name], check=True, capture_output=True)
        return np.fromfile(f.name, dtype="<f4").reshape(n, -1).astype(np.float64)


def log_softmax(x):
    x = x - x.max(axis=1, keepdims=True)
    return x - np.log(np.exp(x).sum(axis=1, keepdims=True))


def report(name, reference, other):
    p, q = log_softmax(reference), log_softmax(other)
    kl = (np.exp(p) * (p - q)).sum(axis=1)
    top = (reference.argmax(axis=1) == other.argmax(axis=1)).mean()
    print(f"  {name:34} mean KLD {max(kl.mean(), 0):.2e}  p99 {np.percentile(kl, 99):.2e}  top-1 {100 * top:6.2f} %  "
          f"worst |diff| {np.abs(reference - other).max():.2e}", flush=True)
    return kl.mean()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--llrt", required=True)
    parser.add_argument("--peer", required=True)
    parser.add_argument("--text", required=True)
    parser.add_argument("-n", type=int, default=256)
    parser.add_argument("--isa", default=None)
    options = parser.parse_args()
    isa = ["--isa", options.isa] if options.isa else []
    for model in options.models:
        print(pathlib.Path(model).name)
        ids = tokens_of(options.llrt, model, options.text, options.n)
        n = ids.count(",") + 1
        peer = logits_of(shlex.split(options.peer), model, ids, n)
        f32 = logits_of([options.llrt, "logits", "--precision", "f32", *isa], model, ids, n)
        auto = logits_of([options.llrt, "logits", "--precision", "auto", *isa], model, ids, n)
        report("f32 from the peer", peer, f32)
        report("auto from the peer", peer, auto)
        report("auto from f32", f32, auto)


if __name__ == "__main__":
    main()
