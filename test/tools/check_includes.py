#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Gate: includes go the way the layers are drawn in doc/design.md, and file names are unique.

include/llrt     -> the C standard library, include/llrt
lib/base         -> <llrt/base.h>, <llrt/status.h>, utf8proc, lib/base
lib              -> <llrt/...>, lib/base, lib; no intrinsics, no CUDA
backends/X       -> <llrt/{base,status,tensor,device,backend}.h>, lib/base, backends/X
examples, bindings -> <llrt/...> and their own folder
"""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', re.M)
BACKEND_PUBLIC = {f"llrt/{n}.h" for n in ("base", "status", "tensor", "device", "backend")}
BASE_PUBLIC = {"llrt/base.h", "llrt/status.h"}
FORBIDDEN_IN_LIB = re.compile(r"(intrin\.h$|arm_neon|arm_sve|cuda|cublas)")


def sources(folder):
    for path in sorted((ROOT / folder).rglob("*")):
        if path.suffix in (".c", ".h", ".cu", ".cuh", ".def", ".inc") and path.is_file():
            yield path


def main():
    errors = []
    by_name = {}
    for top in ("include", "lib", "backends", "examples", "bindings", "test"):
        for path in sources(top):
            by_name.setdefault(path.name, []).append(path.relative_to(ROOT))
    for name, paths in sorted(by_name.items()):
        public_pair = len(paths) == 2 and {p.parts[0] for p in paths} == {"include", "lib"}
        if len(paths) > 1 and not public_pair:
            errors.append(f"{name}: the name is used {len(paths)} times: {', '.join(map(str, paths))}")

    def names(folder):
        return {p.name for p in sources(folder)}

    base, lib = names("lib/base"), names("lib")
    for path in [*sources("include"), *sources("lib"), *sources("backends"), *sources("examples"), *sources("bindings")]:
        rel = path.relative_to(ROOT)
        for kind, what in INCLUDE.findall(path.read_text()):
            top, name = rel.parts[0], what.rsplit("/", 1)[-1]
            ok = True
            if top == "include":
                ok = (kind == "<" and "/" not in what and not what.startswith("llrt")) or (ROOT / "include/llrt" / what).exists()
            elif rel.parts[:2] == ("lib", "base"):
                ok = what in BASE_PUBLIC or (kind == '"' and what in base) or (kind == "<" and not what.startswith("llrt/"))
            elif top == "lib":
                ok = (kind == "<" and not FORBIDDEN_IN_LIB.search(what)) or what in lib
            elif top == "backends":
                own = names(f"backends/{rel.parts[1]}")
                if kind == "<":
                    ok = what in BACKEND_PUBLIC or not what.startswith("llrt/")
                else:
                    ok = name in own or what in base
            else:
                ok = kind == "<" or name in {p.name for p in path.parent.iterdir()}
            if not ok:
                errors.append(f"{rel}: may not include {what}")
    print("\n".join(errors) if errors else "includes: fine")
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
