#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Gate: no file over 1500 lines, no function outside kernels over 150 lines, over complexity 30 or with more than 8 parameters.

Functions are measured by pmccabe. Kernels are the files of backends/*/{ref,x86,arm,kernels}.
"""
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
KERNEL = re.compile(r"^backends/[^/]+/(ref|x86|arm|kernels)/")
FUNCTION = re.compile(r"^[A-Za-z_][\w\s\*]*?\b(\w+)\(([^;{}]*?)\)\s*\{", re.M | re.S)
FUNCTION_TYPE = re.compile(r"\([^()]*\*[^()]*\)\s*\(([^()]*)\)")


def n_parameter(text):
    text = FUNCTION_TYPE.sub("f", re.sub(r"/\*.*?\*/", "", text, flags=re.S))
    return 0 if text.strip() in ("", "void") else text.count(",") + 1


def main():
    errors = []
    files = [p for top in ("include", "lib", "backends", "examples", "test")
             for p in sorted((ROOT / top).rglob("*")) if p.suffix in (".c", ".h", ".cu", ".py")]
    for path in files:
        rel = str(path.relative_to(ROOT))
        text = path.read_text()
        n = text.count("\n")
        if n > 1500:
            errors.append(f"{rel}: {n} lines, at most 1500")
        if path.suffix != ".c" or KERNEL.match(rel) or rel.startswith("test/"):
            continue
        for name, args in FUNCTION.findall(text):
            if n_parameter(args) > 8:
                errors.append(f"{rel}: {name} has {n_parameter(args)} parameters, at most 8")
    code = [str(p) for p in files if p.suffix == ".c" and not KERNEL.match(str(p.relative_to(ROOT)))
            and p.relative_to(ROOT).parts[0] != "test"]
    out = subprocess.run(["pmccabe", *code], capture_output=True, text=True, check=True).stdout
    for line in out.splitlines():
        modified, _, _, first, lines, place = line.split(None, 5)
        where = place.replace(str(ROOT) + "/", "")
        if int(lines) > 150:
            errors.append(f"{where}: {lines} lines, at most 150")
        if int(modified) > 30:
            errors.append(f"{where}: complexity {modified}, at most 30")
    print("\n".join(errors) if errors else "sizes: fine")
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
