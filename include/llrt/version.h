/* SPDX-License-Identifier: MIT */
/*
 * Version of the library. This header is the only source of the version: the
 * build system reads the three numbers from here, and the shared library's
 * SONAME carries LLRT_VERSION_MAJOR.
 *
 * A program compares what it was compiled with against what it runs with:
 *
 *     if (llrt_version() < LLRT_VERSION) { ... the library is too old ... }
 */
#ifndef LLRT_VERSION_H
#define LLRT_VERSION_H

#define LLRT_VERSION_MAJOR 0
#define LLRT_VERSION_MINOR 1
#define LLRT_VERSION_PATCH 0

/** The version this header belongs to, as one number that grows with it. */
#define LLRT_VERSION (LLRT_VERSION_MAJOR * 1000000 + LLRT_VERSION_MINOR * 1000 + LLRT_VERSION_PATCH)

#endif
