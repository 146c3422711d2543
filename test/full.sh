#!/bin/sh
# SPDX-License-Identifier: MIT
# Install what is missing, build and run the "full" tier of the tests (see test/tools/run_tests.py).
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
sh "$root/test/tools/install_packages.sh" full
exec python3 "$root/test/tools/run_tests.py" full "$@"
