#!/bin/sh
# SPDX-License-Identifier: MIT
# Install what is missing, build, and stream a story from the embedded demo model.
#   examples/demo.sh ["How the story begins"]
# The build goes to build/ in the checkout; LLRT_BUILD names another folder.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
build="${LLRT_BUILD:-$root/build}"
sh "$root/test/tools/install_packages.sh" build
[ -f "$build/build.ninja" ] || meson setup "$build" "$root" -Dtests=disabled >&2
ninja -C "$build" examples/llrt >&2
exec "$build/examples/llrt" run "$root/examples/models/llrt-demo.gguf" "${1:-Once upon a time}" --temp 0.7 --seed 7 -n 200 --stats
