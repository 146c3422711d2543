/* SPDX-License-Identifier: MIT */
/*
 * Filling a caller's llrt_error. Every function accepts NULL for `err` and
 * returns the status it was given, so a failure is one statement:
 *
 *     return llrti_fail(err, LLRT_ERR_FORMAT, "found version %u, expected 2 or 3", v);
 *
 * Whoever knows the file or the field adds it on the way out with
 * llrti_error_file / llrti_error_field, which keep what a deeper layer has set.
 */
#ifndef LLRTI_ERROR_H
#define LLRTI_ERROR_H

#include <llrt/status.h>

#include "compiler.h"

/** Sets status and text (printf format), clears file and field, position -1. Returns `status`. */
llrt_status llrti_fail(llrt_error *err, llrt_status status, const char *format, ...)
    LLRTI_PRINTF(3, 4);

/** The same with the name of the field (metadata key, tensor, option). */
llrt_status llrti_fail_field(llrt_error *err, llrt_status status, const char *field,
                             const char *format, ...) LLRTI_PRINTF(4, 5);

/** LLRT_ERR_NOMEM with a text that names what could not be allocated and its size in bytes. */
llrt_status llrti_fail_nomem(llrt_error *err, const char *what, size_t size);

/** Adds the file name when none is set yet. Returns the error's status. */
void llrti_error_file(llrt_error *err, const char *file);

/** Adds the field name when none is set yet. */
void llrti_error_field(llrt_error *err, const char *field);

/** Sets the position (byte offset, line, token index ...) when none is set yet. */
void llrti_error_position(llrt_error *err, int64_t position);

/** Copies one record to another that may have another struct_size; NULLs are fine. */
void llrti_error_copy(llrt_error *to, const llrt_error *from);

/** Forwards a failure of `call` to the enclosing function's caller. For functions without
 * cleanup. */
#define LLRTI_TRY(call)                                                                            \
    do {                                                                                           \
        const llrt_status llrti_try_status = (call);                                               \
        if (LLRTI_UNLIKELY(llrti_try_status < 0)) return llrti_try_status;                         \
    } while (0)

/** Forwards a failure to the label `fail` with the status in `variable`. For functions with
 * cleanup. */
#define LLRTI_TRY_GOTO(variable, call)                                                             \
    do {                                                                                           \
        (variable) = (call);                                                                       \
        if (LLRTI_UNLIKELY((variable) < 0)) goto fail;                                             \
    } while (0)

#endif
