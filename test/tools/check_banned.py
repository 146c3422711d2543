#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Gate: calls the library must not make, and words that must not be in the tree.

The library ends no process, reads no environment, prints nothing and takes memory only from
its allocator; so these functions appear neither in the source of lib/ and backends/ nor among the undefined symbols of
the objects in a static archive given as argument (a sanitised build is exempt from that: it adds calls of its own).
"""
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
BANNED = """abort exit _exit _Exit quick_exit atexit getenv secure_getenv setenv putenv setlocale signal sigaction raise system popen
printf fprintf vprintf vfprintf puts fputs putchar perror fopen freopen fdopen tmpfile strdup strndup getline getdelim asprintf
vasprintf qsort qsort_r bsearch opendir scandir readdir rand srand random strtok localtime gmtime asctime ctime gets strcpy strcat
sprintf vsprintf malloc calloc realloc alloca longjmp setjmp""".split()
# The default allocator is the one place that may call malloc.
ALLOWED = {"lib/base/alloc.c": {"malloc"}, "lib/base/os_posix.c": {"malloc"}, "lib/base/os_win32.c": {"malloc"}}
SYMBOLS_FINE = {"malloc", "free", "posix_memalign", "aligned_alloc"}
# An absolute path is of one machine unless it begins with a folder that every Unix system has, or says that it is nowhere.
MACHINE_PATH = re.compile(r"(?:^|[\s(=,\[])[\"'`]?/(?!(?:bin|dev|etc|lib|nonexistent|nowhere|opt|proc|sbin|sys|tmp|usr|var)/)"
                          r"[a-z][\w.-]*/[\w.]")


def strip_comments_and_strings(text):
    return re.sub(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"', lambda m: "\n" * m.group(0).count("\n"), text, flags=re.S)


def check_source(errors):
    call = re.compile(r"(?<![\w.>])(" + "|".join(BANNED) + r")\s*\(")
    for top in ("lib", "backends"):
        for path in sorted((ROOT / top).rglob("*")):
            if path.suffix not in (".c", ".h", ".cu", ".cuh"):
                continue
            rel = str(path.relative_to(ROOT))
            for number, line in enumerate(strip_comments_and_strings(path.read_text()).splitlines(), 1):
                for name in call.findall(line):
                    if name not in ALLOWED.get(rel, ()):
                        errors.append(f"{rel}:{number}: {name}() is not for the library")


def check_archive(archive, errors):
    out = subprocess.run(["nm", "-u", archive], capture_output=True, text=True, check=True).stdout
    undefined = {line.split()[-1].split("@")[0] for line in out.splitlines() if line.strip().startswith("U ")}
    for name in sorted(undefined & set(BANNED) - SYMBOLS_FINE):
        errors.append(f"{archive}: refers to {name}")


def check_words(errors):
    files = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True).stdout.split("\n")
    for name in filter(None, files):
        path = ROOT / name
        if path.suffix in (".gguf", ".f32", ".bin") or not path.is_file() or path == pathlib.Path(__file__).resolve():
            continue
        try:
            text = path.read_text()
        except UnicodeDecodeError:
            continue
        for number, line in enumerate(text.splitlines(), 1):
            if MACHINE_PATH.search(line):
                errors.append(f"{name}:{number}: names a path of one machine")


def main():
    errors = []
    check_source(errors)
    for archive in sys.argv[1:]:
        check_archive(archive, errors)
    check_words(errors)
    print("\n".join(errors) if errors else "banned calls: none")
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
