/* SPDX-License-Identifier: MIT */
/*
 * Status codes and the error record.
 *
 * A function that can fail returns a llrt_status and takes a caller-owned
 * `llrt_error *` as its last parameter, which may be NULL. Handles store no
 * error text, so nothing races. Values are never reused; new codes may appear,
 * so test for `< 0`, not for the codes of today.
 */
#ifndef LLRT_STATUS_H
#define LLRT_STATUS_H

#include "base.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef int32_t llrt_status;

/* clang-format off */
/** Every code: X(name, value, one sentence). */
#define LLRT_STATUS_MAP(X)                                                                         \
    X(OK,                   0, "success")                                                          \
    X(ERR_ARGUMENT,        -1, "an argument or option is out of its range; the call did nothing")  \
    X(ERR_NOMEM,           -2, "an allocation failed; nothing leaked, handles stay usable")        \
    X(ERR_IO,              -3, "reading or writing a file failed or came up short")                \
    X(ERR_FORMAT,          -4, "a file or text is malformed; the error names the field")           \
    X(ERR_UNSUPPORTED,     -5, "the input is valid but asks for what this build does not have")    \
    X(ERR_NOT_FOUND,       -6, "a file, tensor, device or name does not exist")                    \
    X(ERR_CANCELLED,       -7, "the call was cancelled; the handle stays usable")                  \
    X(ERR_BUSY,            -8, "another thread is inside a call on this handle")                   \
    X(ERR_CONTEXT_FULL,    -9, "the session's context is full; nothing changed")                   \
    X(ERR_POOL_FULL,      -10, "the engine's KV pool is full; nothing changed")                    \
    X(ERR_BUDGET,         -11, "the memory plan exceeds the budget or the machine's memory")            \
    X(ERR_MISMATCH,       -12, "the data belongs to another model or other limits")                \
    X(ERR_FORKED,         -13, "the handle was made before fork(2) and can't be used in the child") \
    X(ERR_DEVICE,         -14, "a device call failed; the handle stays usable")                    \
    X(ERR_DEVICE_LOST,    -15, "the device is lost; only a new process recovers it")               \
    X(ERR_VERSION,        -16, "header, library and plug-in versions do not fit together")         \
    X(ERR_BUFFER,         -17, "the caller's buffer is too small; the needed size was returned")   \
    X(ERR_STATE,          -18, "the call is not legal in the handle's present state")              \
    X(ERR_INTERNAL,       -19, "a defect in llrt; please report it")
/* clang-format on */

#define LLRTI_STATUS_ENUM(name, value, text) LLRT_##name = value,
enum { LLRT_STATUS_MAP(LLRTI_STATUS_ENUM) LLRTI_STATUS_END = 1 };
#undef LLRTI_STATUS_ENUM

#define LLRT_ERROR_TEXT_SIZE 512
#define LLRT_ERROR_NAME_SIZE 256

/**
 * What went wrong, for a person and for a program. Owned by the caller; set up
 * with LLRT_ERROR_INIT. A failing call fills it, a succeeding call leaves it as it is.
 */
typedef struct llrt_error {
    /** sizeof(llrt_error), by LLRT_ERROR_INIT; with 0 nothing is written */
    uint32_t struct_size;
    llrt_status status; /**< what the call returned */
    /** byte, line, token or entry the text speaks of; -1 when none */
    int64_t position;
    char text[LLRT_ERROR_TEXT_SIZE];  /**< one sentence, UTF-8: what was found, what was expected */
    char file[LLRT_ERROR_NAME_SIZE];  /**< the file concerned, or "" */
    char field[LLRT_ERROR_NAME_SIZE]; /**< the metadata key, tensor or option concerned, or "" */
} llrt_error;

#define LLRT_ERROR_INIT                                                                            \
    {                                                                                              \
        (uint32_t)sizeof(llrt_error), 0, -1, "", "", ""                                            \
    }

/**
 * The name of a status, such as "LLRT_ERR_NOMEM"; "LLRT_ERR_?" for a number this library does not
 * know. Any thread.
 */
LLRT_API const char *llrt_status_name(llrt_status status);

/** One sentence about a status. Any thread. */
LLRT_API const char *llrt_status_text(llrt_status status);

#ifdef __cplusplus
}
#endif
#endif
