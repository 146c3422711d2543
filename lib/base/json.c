/* SPDX-License-Identifier: MIT */
/*
 * JSON by recursive descent, one function per kind of value. The children of an open array or
 * object wait on one stack and are copied to the arena when it closes, which makes them
 * consecutive. Everything is bounded by the length of the text: a node costs at least two
 * characters. Depth is bounded so that the recursion fits the smallest stacks in use.
 */
#include "json.h"

#include <math.h>
#include <string.h>

#include "arena.h"
#include "compiler.h"
#include "map.h"
#include "text.h"
#include "utf8.h"

#define MAX_BYTES ((size_t)1 << 28)
#define MAX_NODES ((size_t)1 << 25)
#define MAX_DEPTH 256
#define LINEAR_KEYS 8 /* objects up to this size look for duplicate keys by comparing all pairs */

struct llrti_json_doc {
    llrti_mem *mem;
    llrti_arena arena;
    llrti_json root;
};

typedef struct parser {
    const char *text;
    size_t n, at;
    uint32_t depth;
    bool is_python; /* Infinity and NaN are fine */
    size_t n_node;
    llrti_json_doc *doc;
    LLRTI_VEC(llrti_json) stack;
    llrt_error *err;
} parser;

static llrt_status fail_at(parser *p, size_t at, const char *what)
{
    size_t line = 1, column = 1;
    char found[LLRTI_TEXT_QUOTE_SIZE] = "the end of the text";
    for (size_t i = 0; i < at && i < p->n; i++) {
        column++;
        if (p->text[i] == '\n') {
            line++;
            column = 1;
        }
    }
    if (at < p->n) {
        const size_t left = p->n - at;
        llrti_text_quote(found, sizeof found, p->text + at, left < 12 ? left : 12);
    }
    const llrt_status status =
        llrti_fail(p->err, LLRT_ERR_FORMAT, "JSON, line %zu, column %zu: found %s, expected %s",
                   line, column, found, what);
    llrti_error_position(p->err, (int64_t)at);
    return status;
}

static llrt_status fail_nomem(parser *p, size_t size)
{
    return llrti_fail_nomem(p->err, "a JSON text", size);
}

static void skip_space(parser *p)
{
    while (p->at < p->n) {
        const char c = p->text[p->at];
        if (c != ' ' && c != '\n' && c != '\t' && c != '\r') return;
        p->at++;
    }
}

static int peek(const parser *p)
{
    return p->at < p->n ? (uint8_t)p->text[p->at] : -1;
}

static bool take_hex(parser *p, uint32_t *out)
{
    uint32_t value = 0;
    if (p->n - p->at < 4) return false;
    for (int i = 0; i < 4; i++) {
        const char c = p->text[p->at + (size_t)i];
        uint32_t digit;
        if (c >= '0' && c <= '9') {
            digit = (uint32_t)(c - '0');
        } else if (c >= 'a' && c <= 'f') {
            digit = (uint32_t)(c - 'a' + 10);
        } else if (c >= 'A' && c <= 'F') {
            digit = (uint32_t)(c - 'A' + 10);
        } else {
            return false;
        }
        value = value << 4 | digit;
    }
    p->at += 4;
    *out = value;
    return true;
}

/* What follows "\u", with its second half when it is the first of a surrogate pair. */
static llrt_status parse_unicode_escape(parser *p, char **to)
{
    const size_t begin = p->at - 2;
    uint32_t code_point, low;
    if (!take_hex(p, &code_point)) return fail_at(p, begin, "four hexadecimal digits after \\u");
    if (code_point - 0xd800u < 0x400u) {
        if (p->n - p->at < 2 || p->text[p->at] != '\\' || p->text[p->at + 1] != 'u') {
            return fail_at(p, begin, "a surrogate pair, not half of one");
        }
        p->at += 2;
        if (!take_hex(p, &low) || low - 0xdc00u >= 0x400u) {
            return fail_at(p, begin, "a surrogate pair, not half of one");
        }
        code_point = 0x10000 + ((code_point - 0xd800) << 10) + (low - 0xdc00);
    }
    const size_t used = llrti_utf8_encode(code_point, *to);
    if (used == 0) return fail_at(p, begin, "a surrogate pair, not half of one");
    *to += used;
    return LLRT_OK;
}

static llrt_status parse_escape(parser *p, char **to)
{
    static const char from[] = "\"\\/bfnrt", value[] = "\"\\/\b\f\n\r\t";
    p->at++; /* the backslash */
    const int c = peek(p);
    p->at++;
    if (c == 'u') return parse_unicode_escape(p, to);
    const char *known = c > 0 ? strchr(from, c) : NULL;
    if (!known) return fail_at(p, p->at - 2, "an escape sequence of JSON");
    *(*to)++ = value[known - from];
    return LLRT_OK;
}

/* The end of a string whose first character is at p->at, or the text's end; escapes are skipped. */
static size_t find_quote(const parser *p)
{
    size_t at = p->at;
    while (at < p->n && p->text[at] != '"') at += p->text[at] == '\\' && at + 1 < p->n ? 2 : 1;
    return at;
}

/* A string; p->at is behind its opening quote. Escapes only shorten, so its length here is
 * enough. */
static llrt_status parse_string(parser *p, const char **out, uint32_t *n_out)
{
    const size_t end = find_quote(p);
    if (end >= p->n) return fail_at(p, p->n, "the closing quote of a string");
    char *data = llrti_arena_alloc(&p->doc->arena, end - p->at + 1, 1);
    if (!data) return fail_nomem(p, end - p->at + 1);
    char *to = data;
    while (p->at < end) {
        size_t run = p->at;
        bool is_ascii = true;
        while (run < end && p->text[run] != '\\' && (uint8_t)p->text[run] >= 0x20) {
            is_ascii &= (uint8_t)p->text[run] < 0x80;
            run++;
        }
        const size_t n = run - p->at;
        if (!is_ascii) {
            const size_t valid = llrti_utf8_valid_prefix(p->text + p->at, n);
            if (valid < n) return fail_at(p, p->at + valid, "valid UTF-8 in a string");
        }
        if (n) memcpy(to, p->text + p->at, n);
        to += n;
        p->at = run;
        if (run == end) break;
        if (p->text[run] != '\\') return fail_at(p, run, "no control characters in a string");
        LLRTI_TRY(parse_escape(p, &to));
    }
    *to = 0;
    p->at = end + 1;
    *out = data;
    *n_out = (uint32_t)(to - data);
    return LLRT_OK;
}

static llrt_status parse_number(parser *p, llrti_json *node)
{
    const size_t begin = p->at;
    bool is_integer = true;
    if (peek(p) == '-') p->at++;
    if (peek(p) == '0') {
        p->at++;
    } else {
        if (peek(p) < '1' || peek(p) > '9') return fail_at(p, begin, "a value");
        while (peek(p) >= '0' && peek(p) <= '9') p->at++;
    }
    if (peek(p) == '.') {
        is_integer = false;
        p->at++;
        if (peek(p) < '0' || peek(p) > '9') return fail_at(p, p->at, "a digit after the point");
        while (peek(p) >= '0' && peek(p) <= '9') p->at++;
    }
    if (peek(p) == 'e' || peek(p) == 'E') {
        is_integer = false;
        p->at++;
        if (peek(p) == '-' || peek(p) == '+') p->at++;
        if (peek(p) < '0' || peek(p) > '9') return fail_at(p, p->at, "a digit in the exponent");
        while (peek(p) >= '0' && peek(p) <= '9') p->at++;
    }
    if (is_integer && llrti_text_parse_int64(p->text + begin, p->at - begin, &node->value.i)) {
        node->type = LLRTI_JSON_INT;
        return LLRT_OK;
    }
    node->type = LLRTI_JSON_DOUBLE;
    if (!llrti_text_parse_double(p->text + begin, p->at - begin, &node->value.d) ||
        isinf(node->value.d)) {
        return fail_at(p, begin, "a number within the range of a double");
    }
    return LLRT_OK;
}

static llrt_status parse_word(parser *p, const char *word)
{
    const size_t n = strlen(word);
    if (p->n - p->at < n || memcmp(p->text + p->at, word, n) != 0) {
        return fail_at(p, p->at, "a value");
    }
    p->at += n;
    return LLRT_OK;
}

static llrt_status fail_duplicate(parser *p, const llrti_json *member)
{
    char name[LLRTI_TEXT_QUOTE_SIZE];
    const llrt_status status =
        llrti_fail_field(p->err, LLRT_ERR_FORMAT, member->key,
                         "JSON: found the key %s twice in one object, expected it once",
                         llrti_text_quote(name, sizeof name, member->key, member->n_key));
    llrti_error_position(p->err, (int64_t)p->at - 1);
    return status;
}

static llrt_status check_keys(parser *p, const llrti_json *members, uint32_t n)
{
    if (n <= LINEAR_KEYS) {
        for (uint32_t i = 1; i < n; i++) {
            for (uint32_t j = 0; j < i; j++) {
                if (members[i].n_key == members[j].n_key &&
                    memcmp(members[i].key, members[j].key, members[i].n_key) == 0) {
                    return fail_duplicate(p, &members[i]);
                }
            }
        }
        return LLRT_OK;
    }
    llrti_map map;
    llrti_map_init(&map, p->doc->mem, LLRT_MEMORY_HOST);
    llrt_status status = LLRT_OK;
    if (!llrti_map_reserve(&map, n)) status = fail_nomem(p, llrti_map_bytes(n));
    for (uint32_t i = 0; i < n && status == LLRT_OK; i++) {
        bool is_new;
        (void)llrti_map_put(&map, members[i].key, members[i].n_key, i, &is_new); /* reserved */
        if (!is_new) status = fail_duplicate(p, &members[i]);
    }
    llrti_map_free(&map);
    return status;
}

static llrt_status parse_value(parser *p, llrti_json *node);

/* The children of the array or object that `close` ends; p->at is behind its opening bracket. */
static llrt_status parse_children(parser *p, llrti_json *node, char close)
{
    const size_t base = p->stack.n;
    if (++p->depth > MAX_DEPTH) return fail_at(p, p->at - 1, "at most 256 levels of nesting");
    skip_space(p);
    bool is_first = true;
    while (is_first ? peek(p) != close : peek(p) == ',') {
        llrti_json child;
        memset(&child, 0, sizeof child);
        if (!is_first) p->at++;
        is_first = false;
        if (close == '}') {
            skip_space(p);
            if (peek(p) != '"') return fail_at(p, p->at, "a key in double quotes");
            p->at++;
            LLRTI_TRY(parse_string(p, &child.key, &child.n_key));
            skip_space(p);
            if (peek(p) != ':') return fail_at(p, p->at, "\":\"");
            p->at++;
        }
        skip_space(p);
        LLRTI_TRY(parse_value(p, &child));
        if (!llrti_vec_reserve(p->doc->mem, &p->stack, p->stack.n + 1, LLRT_MEMORY_HOST)) {
            return fail_nomem(p, (p->stack.n + 1) * sizeof child);
        }
        p->stack.data[p->stack.n++] = child;
        skip_space(p);
    }
    if (peek(p) != close)
        return fail_at(p, p->at, close == '}' ? "\",\" or \"}\"" : "\",\" or \"]\"");
    p->at++;
    p->depth--;
    node->n = (uint32_t)(p->stack.n - base);
    if (node->n == 0) return LLRT_OK;
    if (close == '}') LLRTI_TRY(check_keys(p, p->stack.data + base, node->n));
    const size_t size = node->n * sizeof(llrti_json);
    llrti_json *children = llrti_arena_alloc(&p->doc->arena, size, sizeof(void *));
    if (!children) return fail_nomem(p, size);
    memcpy(children, p->stack.data + base, size);
    p->stack.n = base;
    node->value.first = children;
    return LLRT_OK;
}

/* Infinity, -Infinity, NaN. */
static llrt_status parse_non_finite(parser *p, llrti_json *node)
{
    const bool is_negative = peek(p) == '-';
    p->at += is_negative;
    node->type = LLRTI_JSON_DOUBLE;
    if (peek(p) == 'N' && !is_negative) {
        node->value.d = NAN;
        return parse_word(p, "NaN");
    }
    node->value.d = is_negative ? -INFINITY : INFINITY;
    return parse_word(p, "Infinity");
}

static bool is_non_finite(const parser *p)
{
    const char c = peek(p);
    return c == 'I' || c == 'N' || (c == '-' && p->n - p->at > 1 && p->text[p->at + 1] == 'I');
}

static llrt_status parse_value(parser *p, llrti_json *node)
{
    if (++p->n_node > MAX_NODES) return fail_at(p, p->at, "at most 2^25 values");
    switch (peek(p)) {
    case '{':
        node->type = LLRTI_JSON_OBJECT;
        p->at++;
        return parse_children(p, node, '}');
    case '[':
        node->type = LLRTI_JSON_ARRAY;
        p->at++;
        return parse_children(p, node, ']');
    case '"':
        node->type = LLRTI_JSON_STRING;
        p->at++;
        return parse_string(p, &node->value.s, &node->n);
    case 't':
    case 'f':
        node->type = LLRTI_JSON_BOOL;
        node->value.b = peek(p) == 't';
        return parse_word(p, node->value.b ? "true" : "false");
    case 'n':
        node->type = LLRTI_JSON_NULL;
        return parse_word(p, "null");
    default:
        return p->is_python && is_non_finite(p) ? parse_non_finite(p, node) : parse_number(p, node);
    }
}

static llrt_status parse(llrti_mem *mem, const char *text, size_t n, bool is_python,
                         llrti_json_doc **out, llrt_error *err)
{
    *out = NULL;
    if (n > MAX_BYTES) {
        return llrti_fail(err, LLRT_ERR_FORMAT, "JSON: found %zu bytes, expected at most %zu", n,
                          MAX_BYTES);
    }
    llrti_json_doc *doc = llrti_calloc(mem, 1, sizeof *doc, LLRT_MEMORY_HOST);
    if (!doc) return llrti_fail_nomem(err, "a JSON text", sizeof *doc);
    doc->mem = mem;
    llrti_arena_init(&doc->arena, mem, LLRT_MEMORY_HOST);
    parser p = {.text = text, .n = n, .is_python = is_python, .doc = doc, .err = err};
    skip_space(&p);
    llrt_status status = parse_value(&p, &doc->root);
    if (status == LLRT_OK) {
        skip_space(&p);
        if (p.at < n) status = fail_at(&p, p.at, "nothing behind the value");
    }
    llrti_vec_free(mem, &p.stack);
    if (status < 0) {
        llrti_json_free(doc);
        return status;
    }
    *out = doc;
    return LLRT_OK;
}

llrt_status llrti_json_parse(llrti_mem *mem, const char *text, size_t n, llrti_json_doc **out,
                             llrt_error *err)
{
    return parse(mem, text, n, false, out, err);
}

llrt_status llrti_json_parse_python(llrti_mem *mem, const char *text, size_t n,
                                    llrti_json_doc **out, llrt_error *err)
{
    return parse(mem, text, n, true, out, err);
}

const llrti_json *llrti_json_root(const llrti_json_doc *doc)
{
    return doc ? &doc->root : NULL;
}

void llrti_json_free(llrti_json_doc *doc)
{
    if (!doc) return;
    llrti_arena_free(&doc->arena);
    llrti_free(doc->mem, doc);
}

const llrti_json *llrti_json_get(const llrti_json *node, const char *key)
{
    if (!node || node->type != LLRTI_JSON_OBJECT) return NULL;
    const size_t n = strlen(key);
    for (uint32_t i = 0; i < node->n; i++) {
        const llrti_json *member = &node->value.first[i];
        if (member->n_key == n && memcmp(member->key, key, n) == 0) return member;
    }
    return NULL;
}

const llrti_json *llrti_json_at(const llrti_json *node, uint32_t index)
{
    if (!node || node->type != LLRTI_JSON_ARRAY || index >= node->n) return NULL;
    return &node->value.first[index];
}

int64_t llrti_json_int(const llrti_json *node, int64_t otherwise)
{
    return node && node->type == LLRTI_JSON_INT ? node->value.i : otherwise;
}

double llrti_json_double(const llrti_json *node, double otherwise)
{
    if (node && node->type == LLRTI_JSON_DOUBLE) return node->value.d;
    return node && node->type == LLRTI_JSON_INT ? (double)node->value.i : otherwise;
}

bool llrti_json_bool(const llrti_json *node, bool otherwise)
{
    return node && node->type == LLRTI_JSON_BOOL ? node->value.b : otherwise;
}

const char *llrti_json_string(const llrti_json *node, const char *otherwise)
{
    return node && node->type == LLRTI_JSON_STRING ? node->value.s : otherwise;
}
