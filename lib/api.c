/* SPDX-License-Identifier: MIT */
/*
 * Version, status names and build information: the functions of the public API
 * that belong to no handle. Everything here is constant and callable from any thread.
 */
#include <llrt/status.h>

#include <utf8proc.h>

uint32_t llrt_version(void)
{
    return LLRT_VERSION;
}
