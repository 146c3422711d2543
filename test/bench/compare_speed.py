#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Time llrt and another engine in turn on the same files: ABAB ..., medians and the ratio pair by pair.

    compare_speed.py --llrt build/examples/llrt --peer "PROGRAM llama-bench" [-p 512] [-n 64] [-t 2] [--pairs 10] MODEL.gguf ...

The peer is a command with llama-bench's flags (-m -p -n -t -r -o json) and output. For each model and test the medians, the
median ratio llrt/peer and a bootstrap interval of it (95 %) are printed. Holds the lock file of timed programs.
"""
import argparse
import fcntl
import json
import os
import pathlib
import random
import shlex
import statistics
import subprocess
import tempfile


def rates(command):
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return {(r["n_prompt"], r["n_gen"]): r["avg_ts"] for r in json.loads(out)}


def interval(ratios):
    medians = sorted(statistics.median(random.choices(ratios, k=len(ratios))) for _ in range(2000))
    return medians[50], medians[1949]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--llrt", required=True)
    parser.add_argument("--peer", required=True)
    parser.add_argument("-p", type=int, default=512)
    parser.add_argument("-n", type=int, default=64)
    parser.add_argument("-t", type=int, default=2)
    parser.add_argument("--pairs", type=int, default=10)
    options = parser.parse_args()
    random.seed(1)
    lock = open(os.path.join(tempfile.gettempdir(), "llrt-bench.lock"), "a")
    fcntl.flock(lock, fcntl.LOCK_EX)
    sizes = ["-p", str(options.p), "-n", str(options.n), "-t", str(options.t), "-r", "1", "-o", "json"]
    print("| model | test | llrt t/s | peer t/s | ratio | 95 % | pairs |\n|---|---|---:|---:|---:|---|---:|")
    for model in options.models:
        ours, theirs = [], []
        for _ in range(options.pairs):
            ours.append(rates([options.llrt, "bench", model, *sizes]))
            theirs.append(rates([*shlex.split(options.peer), "-m", model, *sizes]))
        for key in ours[0]:
            a, b = [r[key] for r in ours], [r[key] for r in theirs]
            ratios = [x / y for x, y in zip(a, b)]
            low, high = interval(ratios)
            test = f"pp{key[0]}" if key[0] else f"tg{key[1]}"
            print(f"| {pathlib.Path(model).name} | {test} | {statistics.median(a):.2f} ({min(a):.2f}-{max(a):.2f}) | "
                  f"{statistics.median(b):.2f} ({min(b):.2f}-{max(b):.2f}) | {statistics.median(ratios):.2f} | "
                  f"{low:.2f}-{high:.2f} | {options.pairs} |", flush=True)


if __name__ == "__main__":
    main()
