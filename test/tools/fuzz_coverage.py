#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Line coverage of every parser from the seed corpora of the fuzz targets alone.

    fuzz_coverage.py [BUILD_DIR] [--least PERCENT] [--extra FOLDER]

Builds the replay programs with clang's source-based coverage in BUILD_DIR (default: a temporary folder), runs each on
its corpus, on findings/<target> and on FOLDER/<target> where that exists, adds up what the targets reach together,
prints a table and exits 1 when a parser is below PERCENT (default 85). Exit 77: clang or its coverage tools are missing.
"""
import argparse
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
# What reads bytes from outside, and what is built from them.
PARSERS = """lib/base/json.c lib/base/utf8.c
    lib/file/adapter_file.c lib/file/directory.c lib/file/gguf.c lib/file/model_file.c lib/file/safetensors.c
    lib/text/added_tokens.c lib/text/bpe.c lib/text/kind_bytelevel.c lib/text/kind_spm.c lib/text/normalizer.c
    lib/text/pretokenizer.c lib/text/token_stream.c lib/text/tokenizer.c lib/text/tokenizer_gguf.c
    lib/text/tokenizer_json.c lib/text/tokenizer_open.c lib/text/tokenizer_pipeline.c lib/text/unicode_class.c
    lib/text/vocab.c
    lib/model/builder.c lib/model/cut.c lib/model/decoder.c lib/model/encoder.c lib/model/families.c
    lib/model/family_bert.c lib/model/family_bloom.c lib/model/family_cohere.c lib/model/family_falcon.c
    lib/model/family_gemma.c lib/model/family_glm.c lib/model/family_gpt2.c lib/model/family_gptneox.c
    lib/model/family_llama.c lib/model/family_llamalike.c lib/model/family_modernbert.c lib/model/family_olmo2.c
    lib/model/family_opt.c lib/model/family_phi.c lib/model/family_qwen.c lib/model/family_scaled.c
    lib/model/family_stablelm.c lib/model/family_starcoder2.c lib/model/hparams.c lib/model/model.c
    lib/model/pooling.c lib/model/rope.c
    lib/engine/save.c lib/quant/quant_imatrix.c""".split()
FLAGS = "-fprofile-instr-generate -fcoverage-mapping"


def tool(name):
    return next((p for p in (shutil.which(name + suffix) for suffix in ("-14", "", "-15", "-16", "-17", "-18")) if p), None)


def build(folder, targets):
    env = {**os.environ, "CC": tool("clang"), "LLVM_PROFILE_FILE": os.devnull}  # meson runs programs, too
    if not (folder / "build.ninja").exists():
        subprocess.run(["meson", "setup", str(folder), str(ROOT), "-Dbuildtype=plain", "-Doptimization=1", "-Dcli=disabled",
                        f"-Dc_args={FLAGS}", f"-Dc_link_args={FLAGS}"], env=env, check=True, stdout=subprocess.DEVNULL)
    programs = [f"test/fuzz/replay_{t}" for t in targets]
    subprocess.run(["ninja", "-C", str(folder), "-j2", "--quiet", "test/fuzz/corpus.stamp", *programs], env=env, check=True)
    return [folder / p for p in programs]


def replay(folder, program, target, extra):
    places = [folder / "test/fuzz/corpus" / target, ROOT / "test/fuzz/findings" / target]
    if extra:
        places.append(extra / target)
    profile = folder / f"{target}.profraw"
    result = subprocess.run([str(program), *(str(p) for p in places if p.is_dir())], stdout=subprocess.PIPE, text=True,
                            env={**os.environ, "LLVM_PROFILE_FILE": str(profile)}, check=True)
    print(f"{target}: {result.stdout.strip()}")
    return profile


def percentages(folder, programs, profiles):
    merged = folder / "all.profdata"
    subprocess.run([tool("llvm-profdata"), "merge", "-o", str(merged), *map(str, profiles)], check=True)
    objects = [str(programs[0])] + [x for p in programs[1:] for x in ("-object", str(p))]
    report = subprocess.run([tool("llvm-cov"), "export", "--summary-only", f"-instr-profile={merged}", *objects],
                            stdout=subprocess.PIPE, check=True, text=True).stdout
    files = json.loads(report)["data"][0]["files"]
    return {os.path.relpath(os.path.join(folder, f["filename"]), ROOT): f["summary"]["lines"] for f in files}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("build", nargs="?", type=pathlib.Path)
    parser.add_argument("--least", type=float, default=85.0)
    parser.add_argument("--extra", type=pathlib.Path)
    arguments = parser.parse_args()
    if not all(map(tool, ("clang", "llvm-profdata", "llvm-cov"))):
        print("skipped: clang, llvm-profdata and llvm-cov are needed")
        return 77
    targets = sorted(p.stem[len("fuzz_"):] for p in (ROOT / "test/fuzz").glob("fuzz_*.c"))
    with tempfile.TemporaryDirectory() as temporary:
        folder = (arguments.build or pathlib.Path(temporary)).resolve()
        programs = build(folder, targets)
        profiles = [replay(folder, p, t, arguments.extra) for p, t in zip(programs, targets)]
        lines = percentages(folder, programs, profiles)
    n_low = 0
    for name in PARSERS:
        summary = lines.get(name, {"count": 0, "covered": 0, "percent": 0.0})
        is_low = summary["percent"] < arguments.least
        n_low += is_low
        print(f"{name:34} {summary['covered']:5} of {summary['count']:5} lines {summary['percent']:6.1f} %"
              f"{'  below ' + format(arguments.least, 'g') + ' %' if is_low else ''}")
    print(f"{len(PARSERS) - n_low} of {len(PARSERS)} parsers have {arguments.least:g} % or more")
    return 1 if n_low else 0


if __name__ == "__main__":
    sys.exit(main())
