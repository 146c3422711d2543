#!/bin/sh
# SPDX-License-Identifier: MIT
# Fetch what cross builds need and Debian's cross compilers do not bring, without touching the system:
#   fetch_cross.sh arm64 DIR     libutf8proc and cmocka for arm64, unpacked under DIR
#   fetch_cross.sh utf8proc DIR  the source of utf8proc into DIR, where Meson's wrap looks for it
set -eu
what=$1 dir=$2
mkdir -p "$dir"
dir=$(cd "$dir" && pwd)
mirror=$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' 'Label: Debian' | head -n 1)
release=$(. /etc/os-release && echo "$VERSION_CODENAME")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/lists/partial"
common="-q -o Dir::Etc::sourcelist=$work/sources.list -o Dir::Etc::sourceparts=/dev/null -o Dir::State::Lists=$work/lists -o APT::Sandbox::User=root"
cd "$work"
case $what in
    arm64)
        [ -f "$dir/usr/include/utf8proc.h" ] && exit 0
        echo "deb $mirror $release main" > sources.list
        common="$common -o APT::Architecture=arm64 -o APT::Architectures=arm64"
        apt-get $common update >/dev/null
        apt-get $common download libutf8proc-dev libutf8proc2 libcmocka-dev libcmocka0 >/dev/null
        for package in *.deb; do dpkg -x "$package" "$dir"; done ;;
    utf8proc)
        ls "$dir"/utf8proc_*.orig.tar.gz >/dev/null 2>&1 && exit 0
        echo "deb-src $mirror $release main" > sources.list
        apt-get $common update >/dev/null
        apt-get $common source --download-only utf8proc >/dev/null
        cp utf8proc_*.orig.tar.gz "$dir" ;;
esac
