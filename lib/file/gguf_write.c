/* SPDX-License-Identifier: MIT */
/*
 * Writing GGUF files. The head is measured first and then stored into one block of exactly that
 * size; `put` and `measure` are one function with and without a target, so that the two can't
 * disagree.
 */
#include "gguf_write.h"

#include <assert.h>
#include <string.h>

#include "directory.h"
#include "half.h"
#include "map.h"
#include "types.h"

#define VERSION 3

/* Bytes so far; stored as well when there is a target. */
typedef struct sink {
    uint8_t *to;
    size_t n;
    bool is_too_large;
} sink;

static void put(sink *s, const void *data, size_t n)
{
    if (s->to && n) memcpy(s->to + s->n, data, n);
    if (!llrti_add_size(s->n, n, &s->n)) s->is_too_large = true;
}

static void put_number(sink *s, uint64_t value, size_t n)
{
    uint8_t bytes[8];
    for (size_t i = 0; i < n; i++) bytes[i] = (uint8_t)(value >> 8 * i);
    put(s, bytes, n);
}

static void put_string(sink *s, const char *data, size_t n)
{
    put_number(s, n, 8);
    put(s, data, n);
}

static size_t value_size(llrti_meta_type type)
{
    static const uint8_t sizes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
    return (size_t)type < LLRTI_COUNT(sizes) ? sizes[type] : 0;
}

static void put_value(sink *s, const llrti_meta *meta)
{
    switch (meta->type) {
    case LLRTI_META_STRING:
        put_string(s, meta->value.s.data, meta->value.s.n);
        break;
    case LLRTI_META_F32:
        put_number(s, llrti_float_bits((float)meta->value.f), 4);
        break;
    case LLRTI_META_F64: {
        uint64_t bits;
        memcpy(&bits, &meta->value.f, sizeof bits);
        put_number(s, bits, 8);
        break;
    }
    case LLRTI_META_ARRAY:
        put_number(s, meta->element, 4);
        put_number(s, meta->n, 8);
        if (meta->element == LLRTI_META_STRING) {
            const llrti_string *const strings = meta->value.array;
            for (uint64_t i = 0; i < meta->n; i++) put_string(s, strings[i].data, strings[i].n);
        } else {
            put(s, meta->value.array, (size_t)meta->n * value_size(meta->element));
        }
        break;
    default: /* integers and bool; negative ones are stored as their low bytes */
        put_number(s, meta->value.u, value_size(meta->type));
        break;
    }
}

static void put_head(sink *s, const llrti_gguf_content *content, uint64_t n_data_offset)
{
    put(s, "GGUF", 4);
    put_number(s, VERSION, 4);
    put_number(s, content->n_tensor, 8);
    put_number(s, content->n_meta, 8);
    for (size_t i = 0; i < content->n_meta; i++) {
        const llrti_meta *const meta = &content->meta[i];
        put_string(s, meta->key, strlen(meta->key));
        put_number(s, meta->type, 4);
        put_value(s, meta);
    }
    for (size_t i = 0; i < content->n_tensor; i++) {
        const llrti_tensor *const tensor = &content->tensor[i];
        put_string(s, tensor->name, strlen(tensor->name));
        put_number(s, tensor->n_dim, 4);
        for (uint32_t k = 0; k < tensor->n_dim; k++) put_number(s, tensor->dim[k], 8);
        put_number(s, tensor->type, 4);
        put_number(s, tensor->offset - n_data_offset, 8);
    }
    static const uint8_t zeros[64] = {0};
    while (s->n % content->alignment) {
        const size_t n = content->alignment - s->n % content->alignment;
        put(s, zeros, LLRTI_MIN(n, sizeof zeros));
    }
}

/* ---- checks ---- */

static llrt_status check_meta(const llrti_meta *meta, llrt_error *err)
{
    const llrti_meta_type type = meta->type == LLRTI_META_ARRAY ? meta->element : meta->type;
    size_t n_byte;
    if ((type == LLRTI_META_STRING || value_size(type)) &&
        llrti_mul_size((size_t)meta->n, LLRTI_MAX(value_size(type), 1u), &n_byte))
        return LLRT_OK;
    return llrti_fail_field(err, LLRT_ERR_ARGUMENT, meta->key,
                            "a value of type %s can't be written", llrti_meta_type_name(type));
}

static llrt_status check_names(llrti_mem *mem, const llrti_gguf_content *content, llrt_error *err)
{
    llrti_map known;
    llrt_status status = LLRT_OK;
    const size_t n = content->n_meta + content->n_tensor;
    llrti_map_init(&known, mem, LLRT_MEMORY_HOST);
    if (!llrti_map_reserve(&known, n))
        status = llrti_fail_nomem(err, "the names of a file", llrti_map_bytes(n));
    for (size_t i = 0; i < n && status == LLRT_OK; i++) {
        if (i == content->n_meta) { /* keys and tensors may share names */
            llrti_map_free(&known);
            if (!llrti_map_reserve(&known, content->n_tensor)) {
                status = llrti_fail_nomem(err, "the names of a file", llrti_map_bytes(n));
                break;
            }
        }
        const bool is_meta = i < content->n_meta;
        const char *const name =
            is_meta ? content->meta[i].key : content->tensor[i - content->n_meta].name;
        const size_t n_name = strlen(name), limit = is_meta ? LLRTI_KEY_LIMIT : LLRTI_NAME_LIMIT;
        bool is_new = true;
        status = llrti_directory_check_name(name, n_name, limit,
                                            is_meta ? "metadata key" : "tensor name", err);
        if (status == LLRT_OK) status = llrti_map_put(&known, name, n_name, 0, &is_new);
        if (status == LLRT_OK && !is_new)
            status =
                llrti_fail_field(err, LLRT_ERR_ARGUMENT, name, "found the name %s twice", name);
    }
    llrti_map_free(&known);
    return status;
}

static llrt_status fail_large(llrt_error *err)
{
    return llrti_fail(err, LLRT_ERR_ARGUMENT, "the file would be larger than memory can address");
}

/* Sizes and offsets, which begin at 0 until the size of the head is known. */
static llrt_status place_tensors(const llrti_gguf_content *content, uint64_t begin, uint64_t *end,
                                 llrt_error *err)
{
    uint64_t at = begin;
    for (size_t i = 0; i < content->n_tensor; i++) {
        llrti_tensor *const tensor = &content->tensor[i];
        if (tensor->n_dim == 0 || tensor->n_dim > 4)
            return llrti_fail_field(err, LLRT_ERR_ARGUMENT, tensor->name,
                                    "found %u dimensions, expected 1 to 4",
                                    (unsigned)tensor->n_dim);
        const llrt_status status = llrti_directory_measure(tensor, err);
        if (status < 0) {
            llrti_error_field(err, tensor->name);
            return status;
        }
        tensor->offset = at;
        const uint64_t pad = content->alignment - 1;
        if (tensor->n_byte > INT64_MAX - pad || at > INT64_MAX - pad - tensor->n_byte)
            return fail_large(err);
        at = (at + tensor->n_byte + pad) & ~pad;
    }
    *end = at;
    return LLRT_OK;
}

llrt_status llrti_gguf_write_head(llrti_mem *mem, const llrti_gguf_content *content, uint8_t **head,
                                  size_t *n_head, uint64_t *n_all, llrt_error *err)
{
    *head = NULL;
    *n_head = 0;
    *n_all = 0;
    assert(content->alignment && (content->alignment & (content->alignment - 1)) == 0);
    for (size_t i = 0; i < content->n_meta; i++) LLRTI_TRY(check_meta(&content->meta[i], err));
    LLRTI_TRY(check_names(mem, content, err));
    LLRTI_TRY(place_tensors(content, 0, n_all, err));
    sink measure = {0};
    put_head(&measure, content, 0);
    if (measure.is_too_large) return fail_large(err);
    LLRTI_TRY(place_tensors(content, measure.n, n_all, err));
    uint8_t *const data = llrti_alloc(mem, measure.n, LLRT_MEMORY_HOST);
    if (!data) return llrti_fail_nomem(err, "the head of a file", measure.n);
    sink store = {.to = data};
    put_head(&store, content, measure.n);
    assert(store.n == measure.n);
    *head = data;
    *n_head = store.n;
    return LLRT_OK;
}

/* ---- the file ---- */

static void skip_empty(llrti_gguf_writer *writer)
{
    while (writer->next < writer->content->n_tensor &&
           writer->content->tensor[writer->next].n_byte == 0)
        writer->next++;
}

llrt_status llrti_gguf_write_open(llrti_gguf_writer *writer, const char *path,
                                  const llrti_gguf_content *content, const uint8_t *head,
                                  size_t n_head, llrt_error *err)
{
    memset(writer, 0, sizeof *writer);
    writer->file.handle = -1;
    writer->content = content;
    LLRTI_TRY(llrti_out_file_open(path, &writer->file, err));
    const llrt_status status = llrti_out_file_write(&writer->file, head, n_head, err);
    if (status < 0) llrti_gguf_write_discard(writer);
    skip_empty(writer);
    return status;
}

static llrt_status write_padding(llrti_gguf_writer *writer, uint64_t n_byte, llrt_error *err)
{
    static const uint8_t zeros[256] = {0};
    const uint32_t alignment = writer->content->alignment;
    size_t n = (size_t)(alignment - n_byte % alignment) % alignment;
    while (n) {
        const size_t part = LLRTI_MIN(n, sizeof zeros);
        LLRTI_TRY(llrti_out_file_write(&writer->file, zeros, part, err));
        n -= part;
    }
    return LLRT_OK;
}

llrt_status llrti_gguf_write_data(llrti_gguf_writer *writer, const void *data, size_t n,
                                  llrt_error *err)
{
    const uint8_t *from = data;
    while (n) {
        if (writer->next >= writer->content->n_tensor)
            return llrti_fail(err, LLRT_ERR_INTERNAL, "data after the last tensor");
        const llrti_tensor *const tensor = &writer->content->tensor[writer->next];
        const uint64_t left = tensor->n_byte - writer->n_done;
        const size_t part = (size_t)LLRTI_MIN(left, (uint64_t)n);
        LLRTI_TRY(llrti_out_file_write(&writer->file, from, part, err));
        writer->n_done += part;
        from += part;
        n -= part;
        if (writer->n_done < tensor->n_byte) continue;
        LLRTI_TRY(write_padding(writer, tensor->n_byte, err));
        writer->next++;
        writer->n_done = 0;
        skip_empty(writer);
    }
    return LLRT_OK;
}

llrt_status llrti_gguf_write_commit(llrti_gguf_writer *writer, llrt_error *err)
{
    if (writer->next < writer->content->n_tensor) {
        const char *const name = writer->content->tensor[writer->next].name;
        llrti_gguf_write_discard(writer);
        return llrti_fail_field(err, LLRT_ERR_INTERNAL, name, "tensor '%s' is not complete", name);
    }
    return llrti_out_file_commit(&writer->file, err);
}

void llrti_gguf_write_discard(llrti_gguf_writer *writer)
{
    llrti_out_file_discard(&writer->file);
}
