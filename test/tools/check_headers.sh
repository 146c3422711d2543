#!/bin/sh
# SPDX-License-Identifier: MIT
# Gate: every public header compiles alone as C99 and as C++11 without a warning, and so does the program in llrt.h.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for header in "$root"/include/llrt/*.h; do
    name=$(basename "$header")
    printf '#include <llrt/%s>\nextern int header_test;\n' "$name" > "$work/t.c"
    for compiler in gcc clang; do
        "$compiler" -std=c99 -Wall -Wextra -Wundef -pedantic -Werror -I"$root/include" -c "$work/t.c" -o "$work/t.o"
        "$compiler" -x c++ -std=c++11 -Wall -Wextra -Wundef -pedantic -Werror -I"$root/include" -c "$work/t.c" -o "$work/t.o"
    done
done
awk '/^ \*     #include <llrt\/llrt.h>/{on=1} on{ if ($0 !~ /^ \*(     |$)/) exit; sub(/^ \*( {5})?/, ""); print }' \
    "$root/include/llrt/llrt.h" > "$work/intro.c"
cc -std=c99 -Wall -Wextra -Werror -I"$root/include" -c "$work/intro.c" -o "$work/intro.o"
echo "headers: fine"
