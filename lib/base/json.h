/* SPDX-License-Identifier: MIT */
/*
 * A JSON reader (RFC 8259, strict): text to a tree in one arena. Depth, size and
 * number of nodes are bounded; duplicate keys are an error; numbers keep whether they
 * were written as an integer that fits int64. Errors carry line and column in their text and the
 * byte offset as position. Immutable after parsing.
 */
#ifndef LLRTI_JSON_H
#define LLRTI_JSON_H

#include "alloc.h"
#include "error.h"

typedef enum llrti_json_type {
    LLRTI_JSON_NULL,
    LLRTI_JSON_BOOL,
    LLRTI_JSON_INT,
    LLRTI_JSON_DOUBLE,
    LLRTI_JSON_STRING,
    LLRTI_JSON_ARRAY,
    LLRTI_JSON_OBJECT
} llrti_json_type;

/** A node. Strings are UTF-8 with escapes resolved, NUL-terminated, `n` bytes (they may contain
 * NUL). */
typedef struct llrti_json {
    llrti_json_type type;
    uint32_t n;      /* bytes, elements or members */
    const char *key; /* of an object's member, else NULL */
    uint32_t n_key;
    union {
        bool b;
        int64_t i;
        double d;
        const char *s;
        const struct llrti_json *first; /* first of n consecutive children */
    } value;
} llrti_json;

typedef struct llrti_json_doc llrti_json_doc;

llrt_status llrti_json_parse(llrti_mem *mem, const char *text, size_t n, llrti_json_doc **out,
                             llrt_error *err);
/** The same, but Infinity, -Infinity and NaN are numbers too, as Python's json module writes them. */
llrt_status llrti_json_parse_python(llrti_mem *mem, const char *text, size_t n,
                                    llrti_json_doc **out, llrt_error *err);
const llrti_json *llrti_json_root(const llrti_json_doc *doc);
void llrti_json_free(llrti_json_doc *doc); /* NULL is fine */

/** Member of an object by key, element of an array by index; NULL when absent or of another type.
 * `node` may be NULL. */
const llrti_json *llrti_json_get(const llrti_json *node, const char *key);
const llrti_json *llrti_json_at(const llrti_json *node, uint32_t index);
/** The value with a fall-back for a missing or null node or one of another type. */
int64_t llrti_json_int(const llrti_json *node, int64_t otherwise);
double llrti_json_double(const llrti_json *node, double otherwise); /* integers too */
bool llrti_json_bool(const llrti_json *node, bool otherwise);
const char *llrti_json_string(const llrti_json *node, const char *otherwise);

#endif
