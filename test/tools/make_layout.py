#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Write test/abi/layout.c: size and member offsets of every public struct, pinned for 64-bit machines.

Run it only when a struct has grown at its end on purpose; CI compiles the file, so an accidental change does not build.
"""
import pathlib
import re
import subprocess
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
STRUCT = re.compile(r"^typedef struct (llrt_\w+) \{\n(.*?)^\} \1;", re.M | re.S)


def members(body):
    body = re.sub(r"/\*.*?\*/", "", body, flags=re.S)
    names, depth, statement = [], 0, ""
    for c in body:
        depth += (c == "{") - (c == "}")
        if c == ";" and depth == 0:
            pointer = re.search(r"\(\*(\w+)\)\s*\(", statement)
            if pointer:
                names.append(pointer.group(1))
            else:
                statement = re.sub(r"\{.*\}", " ", statement, flags=re.S)
                names += re.findall(r"(\w+)\s*(?:\[[^\]]*\])*\s*(?=,|$)", statement.strip())
            statement = ""
        else:
            statement += c
    return names


def main():
    structs = {}
    for header in sorted((ROOT / "include/llrt").glob("*.h")):
        for name, body in STRUCT.findall(header.read_text()):
            structs[name] = members(body)
    includes = "#include <llrt/llrt.h>\n#include <llrt/api.h>\n#include <llrt/backend.h>\n"
    probe = includes + "#include <stdio.h>\nint main(void)\n{\n"
    for name, fields in structs.items():
        probe += f'    printf("{name} %zu\\n", sizeof({name}));\n'
        for field in fields:
            probe += f'    printf("{name}.{field} %zu\\n", offsetof({name}, {field}));\n'
    with tempfile.TemporaryDirectory() as work:
        source = pathlib.Path(work) / "probe.c"
        source.write_text(probe + "    return 0;\n}\n")
        subprocess.run(["cc", f"-I{ROOT}/include", source, "-o", source.with_suffix("")], check=True)
        lines = subprocess.run([source.with_suffix("")], check=True, capture_output=True, text=True).stdout.splitlines()
    out = ("/* SPDX-License-Identifier: MIT */\n/*\n * Sizes and offsets of the public structs, pinned: a change that breaks "
           "compiled programs does not build.\n * Written by test/tools/make_layout.py.\n */\n" + includes +
           "\n#if UINTPTR_MAX == 0xffffffffffffffffu\n#define SIZE(type, size) _Static_assert(sizeof(type) == (size), #type)\n"
           "#define AT(type, member, offset) _Static_assert(offsetof(type, member) == (offset), #type \".\" #member)\n\n")
    for line in lines:
        what, value = line.split()
        if "." in what:
            out += f"AT({what.replace('.', ', ')}, {value});\n"
        else:
            out += f"SIZE({what}, {value});\n"
    path = ROOT / "test/abi/layout.c"
    path.write_text(out + "#endif\n\nint main(void)\n{\n    return 0;\n}\n")
    subprocess.run(["clang-format", "-i", path], check=True)


if __name__ == "__main__":
    main()
