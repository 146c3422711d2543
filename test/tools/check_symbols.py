#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Gate: the shared library exports exactly test/abi/llrt.symbols, each with its version; the static
archive defines nothing outside the prefixes llrt_, llrti_ and llrtk_; every exported function is in a public header and the
reverse; the stripped library is below 2 MB.

    check_symbols.py BUILD_DIR [--update]
"""
import pathlib
import re
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
LIST = ROOT / "test/abi/llrt.symbols"
MOST_BYTES = 2_000_000


def main():
    build = pathlib.Path(sys.argv[1])
    shared, static = build / "libllrt.so", build / "libllrt.a"
    out = subprocess.run(["nm", "-D", "--defined-only", shared], capture_output=True, text=True, check=True).stdout
    exported = sorted(line.split()[-1] for line in out.splitlines() if line.split()[-2] in "TDBRVW")
    if "--update" in sys.argv:
        LIST.write_text("\n".join(exported) + "\n")
    errors = []
    expected = LIST.read_text().split()
    errors += [f"exported but not in {LIST.name}: {s}" for s in exported if s not in expected]
    errors += [f"in {LIST.name} but not exported: {s}" for s in expected if s not in exported]
    declared = set()
    for header in (ROOT / "include/llrt").glob("*.h"):
        declared |= set(re.findall(r"^LLRT_API\b[^;]*?\b(llrt_\w+)\(", header.read_text(), re.M))
    functions = {s.split("@")[0] for s in exported}
    errors += [f"exported but in no header: {s}" for s in sorted(functions - declared)]
    errors += [f"declared but not exported: {s}" for s in sorted(declared - functions)]
    out = subprocess.run(["nm", "-g", "--defined-only", static], capture_output=True, text=True, check=True).stdout
    for line in out.splitlines():
        parts = line.split()
        if len(parts) == 3 and not re.match(r"llrt(i|k)?_", parts[2]):
            errors.append(f"{static.name} defines {parts[2]}")
    with tempfile.NamedTemporaryFile() as stripped:
        subprocess.run(["strip", "-o", stripped.name, shared], check=True)
        size = pathlib.Path(stripped.name).stat().st_size
    if size >= MOST_BYTES:
        errors.append(f"stripped library: {size} bytes, must be below {MOST_BYTES}")
    print("\n".join(errors) if errors else f"symbols: {len(exported)} exported, stripped library {size} bytes")
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
