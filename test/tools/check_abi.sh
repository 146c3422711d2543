#!/bin/sh
# SPDX-License-Identifier: MIT
# Gate: what compiled programs rely on in a libllrt.so with debug information is what test/abi/llrt.abi says; additions
# pass, changes and removals do not.   check_abi.sh LIBRARY [--update]
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
dump="$root/test/abi/llrt.abi"
if [ "${2-}" = --update ]; then
    abidw --headers-dir "$root/include/llrt" --drop-private-types --no-show-locs --no-comp-dir-path --no-corpus-path \
        --no-elf-needed --exported-interfaces-only "$1" | sed "s| path='[^']*/\([^/']*\)'| path='\1'|" > "$dump"
fi
abidiff --no-added-syms --no-show-locs --headers-dir2 "$root/include/llrt" --drop-private-types "$dump" "$1"
