#!/bin/sh
# SPDX-License-Identifier: MIT
# Build and run the consumer against an installed llrt, as C99 and C++11, shared and static, by pkg-config and by CMake.
#   build.sh PREFIX WORKDIR MODEL
set -eu
prefix=$1 work=$2 model=$3
here=$(cd "$(dirname "$0")" && pwd)
libdir=$(dirname "$(find "$prefix" -name libllrt.a | head -n 1)")
export PKG_CONFIG_PATH="$libdir/pkgconfig" LD_LIBRARY_PATH="$libdir"
mkdir -p "$work"
warn="-Wall -Wextra -Werror -pedantic"
cc -std=c99 $warn "$here/consumer.c" -o "$work/c99_shared" $(pkg-config --cflags --libs llrt)
c++ -std=c++11 $warn -x c++ "$here/consumer.c" -o "$work/cxx11_shared" $(pkg-config --cflags --libs llrt)
cc -std=c99 $warn -DLLRT_STATIC "$here/consumer.c" -o "$work/c99_static" $(pkg-config --cflags llrt) \
    -Wl,-Bstatic $(pkg-config --libs-only-L --libs-only-l llrt) -Wl,-Bdynamic $(pkg-config --static --libs llrt | sed 's/-lllrt//')
for program in c99_shared cxx11_shared c99_static; do "$work/$program" "$model"; done
if ldd "$work/c99_static" | grep libllrt; then echo "the static consumer links the shared library" >&2; exit 1; fi
cmake -S "$here" -B "$work/cmake" -DCMAKE_PREFIX_PATH="$prefix" >/dev/null
cmake --build "$work/cmake" >/dev/null
for program in consumer_c_shared consumer_cxx_shared consumer_c_static consumer_cxx_static; do "$work/cmake/$program" "$model"; done
