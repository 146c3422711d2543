#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Seeds of the session target: corpus_session.py FOLDER

Files of the format that lib/engine/save.c describes, for the target's tiny models: 3 layers of 2 heads of
6 + 6 values in float32, without and with windows of 33 in two of them, and 3 layers of Mamba 2. The first byte tells
the target what to put right: hashes can't be computed here.
"""
import pathlib
import struct
import sys

LAYER_BYTES = 2 * (6 + 6) * 4
STATE = 3 * ((4 - 1) * 44 + 4 * 5 * 6)
PLAIN, WINDOWED, RECURRENT = 0, 16, 32


def values(n):
    return b"".join(struct.pack("<f", 0.01 * (i % 50)) for i in range(n))


def session(n_tok, tokens=None, version=2, page_tok=64, kv=0, page_bytes=None, magic=b"LLRTSESS", model=PLAIN,
            parts=None, first=0, reserved=0):
    ids = tokens if tokens is not None else [(7 * i) % 61 for i in range(n_tok)]
    full, window, state = {PLAIN: (3, 0, 0), WINDOWED: (1, 2, 0), RECURRENT: (0, 0, STATE)}[model]
    if parts is None:
        parts = 0 if not (state and n_tok) else 3 if n_tok > 64 and n_tok % 64 else 1
    sizes = (64 * full * LAYER_BYTES if page_bytes is None else page_bytes, 64 * window * LAYER_BYTES, state)
    header = magic + struct.pack("<IIIIQQQQII", version, page_tok, kv, parts, n_tok, *sizes, first, reserved)
    kept = max(n_tok - 64 * first, 0)
    n_value = (full * n_tok + window * kept) * LAYER_BYTES // 4 + (parts % 2 + parts // 2 % 2) * state
    return header + bytes(32) + struct.pack(f"<{len(ids)}i", *ids) + values(n_value) + bytes(16)


def main():
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    all_right = 7
    seeds = {
        "empty": (all_right, session(0)), "one": (all_right, session(1)), "page": (all_right, session(64)),
        "more": (all_right, session(70)), "embedding": (all_right, session(3, [5, -1, 6])),
        "bad_token": (all_right, session(3, [5, 61, 6])), "bad_token2": (all_right, session(3, [5, -2, 6])),
        "bad_hash": (3, session(3)), "bad_header": (1, session(3)), "bad_magic": (0, session(3, magic=b"LLRTSESX")),
        "bad_version": (0, session(3, version=1)), "bad_kv": (10, session(3, kv=8)), "bad_page": (10, session(3, page_tok=32)),
        "bad_page_bytes": (10, session(3, page_bytes=1)),
        "bad_model": (2, session(3)), "bad_reserved": (10, session(3, reserved=1)),
        "bad_parts": (all_right, session(3, parts=1)), "bad_first": (all_right, session(3, first=1)),
        "bad_state_size": (10, session(3)[:48] + b"\1" + session(3)[49:]),
        "cut": (all_right, session(5)[:-40]), "cut_header": (0, session(1)[:50]),
        "long": (3, session(0)[:24] + struct.pack("<Q", 1 << 40) + session(0)[32:]),
        "context": (3, session(0)[:24] + struct.pack("<Q", 513) + session(0)[32:]), "nothing": (0, b""),
        "window": (all_right | WINDOWED, session(70, model=WINDOWED)),
        "window_kept": (all_right | WINDOWED, session(200, model=WINDOWED, first=2)),
        "window_missing": (all_right | WINDOWED, session(200, model=WINDOWED, first=3)),
        "window_cut": (all_right | WINDOWED, session(200, model=WINDOWED, first=2)[:-900]),
        "state_empty": (all_right | RECURRENT, session(0, model=RECURRENT)),
        "state": (all_right | RECURRENT, session(5, model=RECURRENT)),
        "state_page": (all_right | RECURRENT, session(64, model=RECURRENT)),
        "state_snapshot": (all_right | RECURRENT, session(70, model=RECURRENT)),
        "state_alone": (all_right | RECURRENT, session(70, model=RECURRENT, parts=1)),
        "state_missing": (all_right | RECURRENT, session(70, model=RECURRENT, parts=0)),
        "state_no_page": (all_right | RECURRENT, session(64, model=RECURRENT, parts=3)),
        "state_cut": (all_right | RECURRENT, session(70, model=RECURRENT)[:-20]),
    }
    for name, (what, data) in seeds.items():
        (folder / name).write_bytes(bytes([what]) + data)


if __name__ == "__main__":
    main()
