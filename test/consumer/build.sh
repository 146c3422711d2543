#!/bin/sh
# SPDX-License-Identifier: MIT
# Build and run programs against an installed llrt, the way its users do.
#   build.sh pkg-config|cmake|readme|examples PREFIX WORKDIR MODEL
# pkg-config and cmake: consumer.c as C99 and as C++11, against the shared and against the static library.
# readme: the C program in README.md, run from the checkout. examples: examples/*.c.
set -eu
kind=$1 prefix=$2 work=$3 model=$4
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
libdir=$(dirname "$(find "$prefix" -name libllrt.a | head -n 1)")
export PKG_CONFIG_PATH="$libdir/pkgconfig" LD_LIBRARY_PATH="$libdir"
mkdir -p "$work"
warn="-Wall -Wextra -Werror -pedantic"
shared="$(pkg-config --cflags --libs llrt)"
# The archive itself in place of -lllrt, then what it needs.
static="-DLLRT_STATIC $(pkg-config --cflags llrt) $libdir/libllrt.a $(pkg-config --static --libs llrt | sed 's/-lllrt//')"

not_linked() {
    if ldd "$1" | grep libllrt; then
        echo "$1 was to be static and links the shared library" >&2
        exit 1
    fi
}

# shellcheck disable=SC2086
case $kind in
    pkg-config)
        cc -std=c99 $warn "$here/consumer.c" -o "$work/c99_shared" $shared
        c++ -std=c++11 $warn -x c++ "$here/consumer.c" -x none -o "$work/cxx11_shared" $shared
        cc -std=c99 $warn "$here/consumer.c" -o "$work/c99_static" $static
        c++ -std=c++11 $warn -x c++ "$here/consumer.c" -x none -o "$work/cxx11_static" $static
        not_linked "$work/c99_static"
        not_linked "$work/cxx11_static"
        for program in c99_shared cxx11_shared c99_static cxx11_static; do "$work/$program" "$model"; done ;;
    cmake)
        rm -rf "$work/cmake"
        cmake -G Ninja -S "$here" -B "$work/cmake" -DCMAKE_PREFIX_PATH="$prefix"
        cmake --build "$work/cmake"
        not_linked "$work/cmake/consumer_c_static"
        not_linked "$work/cmake/consumer_cxx_static"
        for program in consumer_c_shared consumer_cxx_shared consumer_c_static consumer_cxx_static; do
            "$work/cmake/$program" "$model"
        done ;;
    readme)
        awk '/^```c$/{on=1; next} /^```$/{on=0} on' "$root/README.md" > "$work/story.c"
        cc -std=c99 $warn "$work/story.c" -o "$work/story" $shared
        cd "$root"
        text=$("$work/story")
        [ -n "$text" ] || { echo "the program in README.md printed nothing" >&2; exit 1; } ;;
    examples)
        for name in minimal embed_many; do
            cc -std=c99 $warn "$root/examples/$name.c" -o "$work/$name" $shared
            text=$("$work/$name" "$model")
            [ -n "$text" ] || { echo "$name printed nothing" >&2; exit 1; }
        done ;;
    *) echo "usage: build.sh pkg-config|cmake|readme|examples PREFIX WORKDIR MODEL" >&2; exit 2 ;;
esac
