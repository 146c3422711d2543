#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Seeds of the session target: corpus_session.py FOLDER

Files of the format that lib/engine/save.c describes, for the target's tiny model (3 layers of 2 heads of
6 + 6 values in float32). The first byte tells the target what to put right: hashes can't be computed here.
"""
import pathlib
import struct
import sys

TOK_BYTES = 3 * 2 * (6 + 6) * 4


def session(n_tok, tokens=None, version=1, page_tok=64, kv=0, page_bytes=64 * TOK_BYTES, magic=b"LLRTSESS"):
    ids = tokens if tokens is not None else [(7 * i) % 61 for i in range(n_tok)]
    header = magic + struct.pack("<IIIIQQ", version, page_tok, kv, 0, n_tok, page_bytes) + bytes(16)
    values = b"".join(struct.pack("<f", 0.01 * (i % 50)) for i in range(n_tok * TOK_BYTES // 4))
    return header + bytes(16) + struct.pack(f"<{len(ids)}i", *ids) + values + bytes(16)


def main():
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    all_right = 7
    seeds = {
        "empty": (all_right, session(0)), "one": (all_right, session(1)), "page": (all_right, session(64)),
        "more": (all_right, session(70)), "embedding": (all_right, session(3, [5, -1, 6])),
        "bad_token": (all_right, session(3, [5, 61, 6])), "bad_token2": (all_right, session(3, [5, -2, 6])),
        "bad_hash": (3, session(3)), "bad_header": (1, session(3)), "bad_magic": (0, session(3, magic=b"LLRTSESX")),
        "bad_version": (0, session(3, version=2)), "bad_kv": (10, session(3, kv=8)), "bad_page": (10, session(3, page_tok=32)),
        "bad_page_bytes": (10, session(3, page_bytes=1)),
        "bad_model": (2, session(3)), "bad_reserved": (10, session(3)[:20] + b"\1" + session(3)[21:]),
        "cut": (all_right, session(5)[:-40]), "cut_header": (0, session(1)[:50]),
        "long": (3, session(0)[:24] + struct.pack("<Q", 1 << 40) + session(0)[32:]),
        "context": (3, session(0)[:24] + struct.pack("<Q", 513) + session(0)[32:]), "nothing": (0, b""),
    }
    for name, (what, data) in seeds.items():
        (folder / name).write_bytes(bytes([what]) + data)


if __name__ == "__main__":
    main()
