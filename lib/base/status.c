/* SPDX-License-Identifier: MIT */
/*
 * Names and sentences of the status codes, both expanded from LLRT_STATUS_MAP so
 * that a code can't be added without them. Constant; any thread.
 */
#include <llrt/status.h>

const char *llrt_status_name(llrt_status status)
{
    switch (status) {
#define STATUS_CASE(name, value, text)                                                             \
    case value:                                                                                    \
        return "LLRT_" #name;
        LLRT_STATUS_MAP(STATUS_CASE)
#undef STATUS_CASE
    default:
        return "LLRT_ERR_?";
    }
}

const char *llrt_status_text(llrt_status status)
{
    switch (status) {
#define STATUS_CASE(name, value, text)                                                             \
    case value:                                                                                    \
        return text;
        LLRT_STATUS_MAP(STATUS_CASE)
#undef STATUS_CASE
    default:
        return "a status this version of the library does not know";
    }
}
