#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Print the version that include/llrt/version.h states."""
import pathlib
import re

text = (pathlib.Path(__file__).resolve().parents[2] / "include/llrt/version.h").read_text()
print(".".join(re.search(rf"#define LLRT_VERSION_{p} (\d+)", text).group(1) for p in ("MAJOR", "MINOR", "PATCH")))
