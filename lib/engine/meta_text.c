/* SPDX-License-Identifier: MIT */
/*
 * Rendering of metadata values. Long arrays are cut after SHOWN elements, strings are given whole
 * unless they are elements of an array. Everything lies in one arena that goes with the engine.
 */
#include "meta_text.h"

#include <string.h>

#include "error.h"
#include "text.h"

#define SHOWN 8u
#define LINE_BYTES 1024
#define KEY_BYTES 512
#define DEPTH_MAX 16

static const char *const type_names[] = {"u8",   "i8",     "u16",   "i16", "u32", "i32", "f32",
                                         "bool", "string", "array", "u64", "i64", "f64"};

static llrt_status add_entry(llrti_mem *mem, llrti_meta_text *out, const char *key,
                             const char *type, const char *value, size_t n_value,
                             uint32_t n_element, llrt_error *err)
{
    llrt_meta entry = {.struct_size = (uint32_t)sizeof entry, .n_element = n_element};
    entry.key = llrti_arena_strndup(&out->arena, key, strlen(key));
    entry.type = llrti_arena_strndup(&out->arena, type, strlen(type));
    entry.value = llrti_arena_strndup(&out->arena, value, n_value);
    if (!entry.key || !entry.type || !entry.value ||
        !llrti_vec_reserve(mem, &out->entries, out->entries.n + 1, LLRT_MEMORY_HOST))
        return llrti_fail_nomem(err, "metadata", n_value);
    out->entries.data[out->entries.n++] = entry;
    return LLRT_OK;
}

static void add_number(llrti_text *text, llrti_meta_type type, uint64_t u, int64_t i, double f)
{
    char number[32];
    switch (type) {
    case LLRTI_META_F32:
    case LLRTI_META_F64:
        llrti_text_print_double(number, f);
        llrti_text_add(text, number);
        break;
    case LLRTI_META_BOOL:
        llrti_text_add(text, u ? "true" : "false");
        break;
    case LLRTI_META_I8:
    case LLRTI_META_I16:
    case LLRTI_META_I32:
    case LLRTI_META_I64:
        llrti_text_add_format(text, "%lld", (long long)i);
        break;
    default:
        llrti_text_add_format(text, "%llu", (unsigned long long)u);
    }
}

/* The shortest decimal that reads back as the same float, instead of the double's 17 digits. */
static double shorten(float x)
{
    char digits[40];
    double y = x;
    for (int n = 6; n <= 9; n++) {
        llrti_text_format(digits, sizeof digits, "%.*e", n, (double)x);
        if (!llrti_text_parse_double(digits, strlen(digits), &y)) return x;
        if ((float)y == x) return y;
    }
    return x;
}

static void add_element(llrti_text *text, const llrti_meta *meta, uint64_t index)
{
    const unsigned char *const at = meta->value.array;
    uint64_t u = 0;
    int64_t i = 0;
    double f = 0;
    if (meta->element == LLRTI_META_STRING) {
        const llrti_string *const s = (const llrti_string *)meta->value.array + index;
        llrti_text_add_quoted(text, s->data, s->n);
        return;
    }
    static const uint8_t sizes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
    const uint32_t size = sizes[meta->element];
    for (uint32_t k = 0; k < size; k++) u |= (uint64_t)at[index * size + k] << (8 * k);
    if (size > 0) i = (int64_t)(u << (64 - 8 * size)) >> (64 - 8 * size);
    if (meta->element == LLRTI_META_F32) {
        const uint32_t bits = (uint32_t)u;
        float x;
        memcpy(&x, &bits, sizeof x);
        f = shorten(x);
    } else if (meta->element == LLRTI_META_F64) {
        memcpy(&f, &u, sizeof f);
    }
    add_number(text, meta->element, u, i, f);
}

static llrt_status add_gguf(llrti_mem *mem, llrti_meta_text *out, const llrti_meta *meta,
                            llrt_error *err)
{
    char line[LINE_BYTES], type[32];
    llrti_text text;
    llrti_text_init(&text, line, sizeof line);
    if (meta->type == LLRTI_META_STRING) {
        return add_entry(mem, out, meta->key, "string", meta->value.s.data, meta->value.s.n, 1,
                         err);
    }
    if (meta->type != LLRTI_META_ARRAY) {
        const double f =
            meta->type == LLRTI_META_F32 ? shorten((float)meta->value.f) : meta->value.f;
        add_number(&text, meta->type, meta->value.u, meta->value.i, f);
        return add_entry(mem, out, meta->key, type_names[meta->type], line, text.n, 1, err);
    }
    llrti_text_add(&text, "[");
    for (uint64_t i = 0; i < meta->n && i < SHOWN; i++) {
        if (i) llrti_text_add(&text, ", ");
        add_element(&text, meta, i);
    }
    llrti_text_add(&text, meta->n > SHOWN ? ", ...]" : "]");
    llrti_text_format(type, sizeof type, "array of %s", type_names[meta->element]);
    const uint32_t n = meta->n > UINT32_MAX ? UINT32_MAX : (uint32_t)meta->n;
    return add_entry(mem, out, meta->key, type, line, text.n, n, err);
}

static const char *json_type_name(const llrti_json *node)
{
    static const char *const names[] = {"null", "bool", "i64", "f64", "string", "array", "object"};
    return names[node->type];
}

static void add_scalar(llrti_text *text, const llrti_json *node)
{
    switch (node->type) {
    case LLRTI_JSON_BOOL:
        llrti_text_add(text, node->value.b ? "true" : "false");
        break;
    case LLRTI_JSON_INT:
        add_number(text, LLRTI_META_I64, 0, node->value.i, 0);
        break;
    case LLRTI_JSON_DOUBLE:
        add_number(text, LLRTI_META_F64, 0, 0, node->value.d);
        break;
    case LLRTI_JSON_STRING:
        llrti_text_add_quoted(text, node->value.s, node->n);
        break;
    case LLRTI_JSON_ARRAY:
        llrti_text_add_format(text, "[%u]", node->n);
        break;
    case LLRTI_JSON_OBJECT:
        llrti_text_add_format(text, "{%u}", node->n);
        break;
    default:
        llrti_text_add(text, "null");
    }
}

static llrt_status add_json(llrti_mem *mem, llrti_meta_text *out, const char *key,
                            const llrti_json *node, int depth, llrt_error *err)
{
    char line[LINE_BYTES], name[KEY_BYTES];
    llrti_text text;
    llrti_text_init(&text, line, sizeof line);
    if (node->type == LLRTI_JSON_OBJECT && depth < DEPTH_MAX) {
        for (uint32_t i = 0; i < node->n; i++) {
            const llrti_json *const member = &node->value.first[i];
            llrti_text_format(name, sizeof name, "%s%s%s", key, depth ? "." : ":", member->key);
            LLRTI_TRY(add_json(mem, out, name, member, depth + 1, err));
        }
        return LLRT_OK;
    }
    if (node->type == LLRTI_JSON_STRING)
        return add_entry(mem, out, key, "string", node->value.s, node->n, 1, err);
    if (node->type != LLRTI_JSON_ARRAY) {
        add_scalar(&text, node);
        return add_entry(mem, out, key, json_type_name(node), line, text.n, 1, err);
    }
    llrti_text_add(&text, "[");
    for (uint32_t i = 0; i < node->n && i < SHOWN; i++) {
        if (i) llrti_text_add(&text, ", ");
        add_scalar(&text, &node->value.first[i]);
    }
    llrti_text_add(&text, node->n > SHOWN ? ", ...]" : "]");
    char type[32];
    llrti_text_format(type, sizeof type, "array of %s",
                      node->n ? json_type_name(&node->value.first[0]) : "nothing");
    return add_entry(mem, out, key, type, line, text.n, node->n, err);
}

llrt_status llrti_meta_text_create(llrti_mem *mem, const llrti_model_file *file,
                                   llrti_meta_text *out, llrt_error *err)
{
    static const char *const names[] = {"config.json", "generation_config.json",
                                        "tokenizer_config.json"};
    llrti_arena_init(&out->arena, mem, LLRT_MEMORY_HOST);
    const uint32_t n = llrti_model_file_n_meta(file);
    for (uint32_t i = 0; i < n; i++)
        LLRTI_TRY(add_gguf(mem, out, llrti_model_file_meta(file, i), err));
    for (size_t i = 0; i < LLRTI_COUNT(names); i++) {
        const llrti_json *const json = llrti_model_file_json(file, names[i]);
        if (json) LLRTI_TRY(add_json(mem, out, names[i], json, 0, err));
    }
    return LLRT_OK;
}

void llrti_meta_text_free(llrti_mem *mem, llrti_meta_text *text)
{
    if (text->arena.mem) llrti_arena_free(&text->arena);
    llrti_vec_free(mem, &text->entries);
}
