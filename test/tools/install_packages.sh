#!/bin/sh
# SPDX-License-Identifier: MIT
# Install the Debian packages that are missing.  install_packages.sh build|test|full
set -eu
build="gcc libc6-dev meson ninja-build pkg-config python3 libutf8proc-dev libedit-dev"
test="g++ git clang clang-format libclang-rt-14-dev libcmocka-dev cmake pmccabe binutils zstd
    gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user gcc-mingw-w64-x86-64 abigail-tools"
full="valgrind gcovr llvm"
case ${1:-build} in
    build) wanted="$build" ;;
    test) wanted="$build $test" ;;
    full) wanted="$build $test $full" ;;
    *) echo "usage: install_packages.sh build|test|full" >&2; exit 2 ;;
esac
missing=
for package in $wanted; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing="$missing $package"
done
[ -z "$missing" ] && exit 0
echo "installing$missing" >&2
as_root=
[ "$(id -u)" = 0 ] || as_root=sudo
export DEBIAN_FRONTEND=noninteractive
$as_root apt-get update -q >&2
# shellcheck disable=SC2086
$as_root apt-get install -q -y --no-install-recommends $missing >&2
