#!/bin/sh
# SPDX-License-Identifier: MIT
# Runs peer_dequant ($1) under the loader and libraries of an unpacked llama.cpp ($PEER_DIR, default ~/.cache/llrt-peer).
system=${PEER_DIR:-$HOME/.cache/llrt-peer}/root
dir=$system/usr/lib/x86_64-linux-gnu
if [ ! -x "$dir/ld-linux-x86-64.so.2" ]; then
    echo "peer_dequant skipped: no peer under $dir"
    exit 77
fi
exec "$dir/ld-linux-x86-64.so.2" --library-path "$dir" "$1"
