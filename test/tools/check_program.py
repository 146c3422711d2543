#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Check the contract of the llrt program: flags, exit statuses, what goes to stdout.   check_program.py PATH_OF_LLRT"""
import json
import pathlib
import struct
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
MODEL = ROOT / "examples/models/llrt-demo.gguf"
PROMPT = "Once upon a time"
LLRT = sys.argv[1]


def llrt(*args, stdin="", status=0):
    r = subprocess.run([LLRT, *map(str, args)], input=stdin, capture_output=True, text=True)
    assert r.returncode == status, f"llrt {args}: status {r.returncode}, expected {status}\n{r.stdout}{r.stderr}"
    return r


def one_clear_line(r):
    assert r.stdout == "" and r.stderr.startswith("llrt: ") and r.stderr.count("\n") == 1, (r.stdout, r.stderr)


def main():
    text = llrt("run", MODEL, PROMPT, "-n", 24, "--temp", 0).stdout
    assert text and llrt("run", MODEL, PROMPT, "-n", 24, "--temp", 0, "-t", 1).stdout == text
    assert llrt("run", MODEL, "-", "-n", 24, "--temp", 0, stdin=PROMPT).stdout == text
    with_stats = llrt("run", MODEL, PROMPT, "-n", 24, "--temp", 0, "--stats")
    assert with_stats.stdout == text and "tokens/s" in with_stats.stderr
    a, b = (llrt("run", MODEL, PROMPT, "-n", 24, "--temp", 1, "--seed", s).stdout for s in (1, 2))
    assert a == llrt("run", MODEL, PROMPT, "-n", 24, "--temp", 1, "--seed", 1).stdout and a != b

    for args in (["run"], ["run", MODEL, "--tmp", "0"], ["run", MODEL, PROMPT, "-n", "x"], ["run", "no-such-file.gguf", PROMPT],
                 ["run", MODEL, PROMPT, "--kv", "f8"], ["run", MODEL, PROMPT, "--isa", "sse9"], ["nonsense"],
                 ["run", MODEL, PROMPT, "--device", "cuda:9"], ["logits", MODEL], ["logits", MODEL, "--tokens", "99999999", "-o", "/dev/null"],
                 ["tokenize", ROOT / "README.md", "x"], ["run", ROOT / "README.md", "x"], ["perplexity", MODEL, "-f", "no-such-text"]):
        one_clear_line(llrt(*args, status=2))
    for name in ("run", "chat", "bench", "perplexity", "logits", "tokenize", "inspect", "plan", "devices", "quantize", "imatrix", "embed"):
        assert llrt(name, "--help").stdout.startswith(f"usage: llrt {name}")

    ids = llrt("tokenize", MODEL, PROMPT, "--ids").stdout.strip()
    assert all(part.isdigit() for part in ids.split(","))
    with tempfile.TemporaryDirectory() as work:
        out = pathlib.Path(work) / "logits.f32"
        llrt("logits", MODEL, "--tokens", ids, "-o", out)
        n_vocab = json.loads(llrt("inspect", MODEL, "-o", "json").stdout)["n_vocab"]
        values = struct.unpack(f"<{out.stat().st_size // 4}f", out.read_bytes())
        assert len(values) == n_vocab * len(ids.split(","))
        reference = json.loads((ROOT / "examples/models/llrt-demo.reference.json").read_text())["sequences"][0]["tokens"]
        llrt("logits", MODEL, "--tokens", ",".join(map(str, reference)), "-o", out, "--precision", "f32")
        got = struct.unpack(f"<{out.stat().st_size // 4}f", out.read_bytes())
        raw = (ROOT / "examples/models/llrt-demo.reference.f32").read_bytes()[: len(got) * 4]
        want = struct.unpack(f"<{len(got)}f", raw)
        worst = max(abs(x - y) for x, y in zip(got, want))
        # The reference multiplies in float32 as well; sums in another order differ by a few units in the last place.
        assert worst <= 1e-4 * max(map(abs, want)), worst
        text_file = pathlib.Path(work) / "text"
        text_file.write_text((PROMPT + " there was a brave fox who lived near the sea. ") * 60)
        assert "perplexity" in llrt("perplexity", MODEL, "-f", text_file, "-c", 128).stdout
    with tempfile.TemporaryDirectory() as work:
        folder = pathlib.Path(work)
        small, same = folder / "small.gguf", folder / "same.gguf"
        flags = ["--tensor", "blk.0.*=Q6_K", "--tensor=token_embd=Q8_0"]
        assert llrt("quantize", MODEL, small, "q4_k_m", *flags, "-t", 2).stderr == ""
        lines = llrt("quantize", MODEL, same, "Q4_K_M", *flags, "-t", 1, "-v").stderr.splitlines()
        assert "blk.0.attn_q.weight: F16 -> Q6_K" in lines, lines
        assert small.read_bytes() == same.read_bytes() and len(list(folder.iterdir())) == 2
        assert small.stat().st_size < MODEL.stat().st_size
        llrt("quantize", small, folder / "again.gguf", "Q4_0", "--allow-requantize")
        (folder / "again.gguf").unlink()
        assert llrt("run", small, PROMPT, "-n", 8, "--temp", 0).stdout
        for args in ([MODEL, small], [MODEL, small, "Q9"], [MODEL, small, "Q4_0", "--tensor", "x"],
                     [MODEL, small, "Q4_0", "--tensor", "nothing*=Q8_0"],
                     [MODEL, small, "Q4_0", "--imatrix", "no-such-file"], [small, folder / "again.gguf", "Q4_0"],
                     [ROOT / "README.md", small, "Q4_0"], [MODEL, folder / "no/such/folder.gguf", "Q4_0"]):
            before = small.read_bytes()
            one_clear_line(llrt("quantize", *args, status=2))
            assert small.read_bytes() == before and len(list(folder.iterdir())) == 2
    folder = json.loads(llrt("inspect", ROOT / "test/arch/fixtures/gemma", "-o", "json").stdout)
    assert folder["n_layer"] > 0 and folder["n_vocab"] > 0
    tensors = json.loads(llrt("inspect", MODEL, "--tensors", "-o", "json").stdout)["tensors"]
    assert any(t["name"] == "token_embd.weight" for t in tensors)
    plan = json.loads(llrt("plan", MODEL, "-c", 256, "-o", "json").stdout)
    assert plan["n_ctx"] == 256 and plan["devices"][0]["weights"] > 0
    rows = json.loads(llrt("bench", MODEL, "-p", 32, "-n", 8, "-r", 2, "-o", "json").stdout)
    assert [(r["n_prompt"], r["n_gen"]) for r in rows] == [(32, 0), (0, 8)]
    assert all(len(r["samples_ts"]) == 2 and r["avg_ts"] > 0 and "stddev_ts" in r and r["n_depth"] == 0 for r in rows)
    assert llrt("bench", MODEL, "-p", 16, "-n", 0, "-r", 1, "-b", 3, "-d", 20, "-o", "csv").stdout.count("\n") == 2
    for kv in ("f32", "f16", "bf16", "q8_0"):
        llrt("run", MODEL, PROMPT, "-n", 4, "--kv", kv)
    mapped = llrt("run", MODEL, PROMPT, "-n", 24, "--temp", 0, "--weights", "mapped").stdout
    assert mapped == text, "mapped weights give the same text"
    assert llrt("devices").stdout.startswith("cpu")
    chat = llrt("chat", MODEL, "--temp", 0, stdin="What is llrt?\n")
    assert "library" in chat.stdout or "llrt" in chat.stdout, chat.stdout
    print("program contract: fine")


if __name__ == "__main__":
    main()
