/* SPDX-License-Identifier: MIT */
/*
 * Filling llrt_error records. A record belongs to the caller and may be of an older, shorter
 * or a newer, longer version: a field is written only when it lies whole within
 * struct_size. Texts are built aside first, because the arguments may point into the record itself,
 * and are cut between UTF-8 characters. Any thread, one record at a time.
 */
#include "error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "utf8.h"

#define HAS_FIELD(err, field)                                                                      \
    ((err) && (err)->struct_size >= offsetof(llrt_error, field) + sizeof((err)->field))

static void copy_text(char *to, size_t capacity, const char *from)
{
    size_t n = strlen(from);
    if (n >= capacity) {
        n = capacity - 1;
        n -= llrti_utf8_incomplete_tail(from, n);
    }
    memmove(to, from, n);
    to[n] = 0;
}

static void fill(llrt_error *err, llrt_status status, const char *field, const char *text)
{
    char name[LLRT_ERROR_NAME_SIZE] = "";
    if (field) copy_text(name, sizeof name, field);
    if (HAS_FIELD(err, status)) err->status = status;
    if (HAS_FIELD(err, position)) err->position = -1;
    if (HAS_FIELD(err, text)) copy_text(err->text, sizeof err->text, text);
    if (HAS_FIELD(err, file)) err->file[0] = 0;
    if (HAS_FIELD(err, field)) memcpy(err->field, name, sizeof name);
}

static void fail_list(llrt_error *err, llrt_status status, const char *field, const char *format,
                      va_list list)
{
    char text[LLRT_ERROR_TEXT_SIZE];
    const int n = vsnprintf(text, sizeof text, format, list);
    if (n < 0) {
        copy_text(text, sizeof text, llrt_status_text(status));
    } else if ((size_t)n >= sizeof text) {
        const size_t end = sizeof text - 1;
        text[end - llrti_utf8_incomplete_tail(text, end)] = 0;
    }
    fill(err, status, field, text);
}

llrt_status llrti_fail(llrt_error *err, llrt_status status, const char *format, ...)
{
    if (err) {
        va_list list;
        va_start(list, format);
        fail_list(err, status, NULL, format, list);
        va_end(list);
    }
    return status;
}

llrt_status llrti_fail_field(llrt_error *err, llrt_status status, const char *field,
                             const char *format, ...)
{
    if (err) {
        va_list list;
        va_start(list, format);
        fail_list(err, status, field, format, list);
        va_end(list);
    }
    return status;
}

llrt_status llrti_fail_nomem(llrt_error *err, const char *what, size_t size)
{
    return llrti_fail(err, LLRT_ERR_NOMEM, "no memory for %s (%zu bytes)", what, size);
}

void llrti_error_file(llrt_error *err, const char *file)
{
    if (file && HAS_FIELD(err, file) && !err->file[0]) {
        copy_text(err->file, sizeof err->file, file);
    }
}

void llrti_error_field(llrt_error *err, const char *field)
{
    if (field && HAS_FIELD(err, field) && !err->field[0]) {
        copy_text(err->field, sizeof err->field, field);
    }
}

void llrti_error_position(llrt_error *err, int64_t position)
{
    if (HAS_FIELD(err, position) && err->position == -1) err->position = position;
}

void llrti_error_copy(llrt_error *to, const llrt_error *from)
{
    if (!to || !from || to == from) return;
    if (HAS_FIELD(to, status) && HAS_FIELD(from, status)) to->status = from->status;
    if (HAS_FIELD(to, position)) to->position = HAS_FIELD(from, position) ? from->position : -1;
    if (HAS_FIELD(to, text)) {
        copy_text(to->text, sizeof to->text, HAS_FIELD(from, text) ? from->text : "");
    }
    if (HAS_FIELD(to, file)) {
        copy_text(to->file, sizeof to->file, HAS_FIELD(from, file) ? from->file : "");
    }
    if (HAS_FIELD(to, field)) {
        copy_text(to->field, sizeof to->field, HAS_FIELD(from, field) ? from->field : "");
    }
}
