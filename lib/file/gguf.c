/* SPDX-License-Identifier: MIT */
/*
 * GGUF, front to back through one window on the file:
 *
 *   "GGUF" u32 version, u64 n_tensor, u64 n_meta
 *   n_meta   x  string key, u32 type, value          string: u64 length, bytes
 *   n_tensor x  string name, u32 n_dim, u64 dim[n_dim], u32 type, u64 offset
 *   padding to general.alignment, tensor data
 *
 * Every count is compared with the bytes that are left in the file before anything is allocated
 * for it, and capped besides, so memory stays within a small factor of what the file really
 * holds. Values that are too long for the window (arrays, strings) are read straight to their
 * place.
 */
#include "gguf.h"

#include <string.h>

#include "half.h"
#include "text.h"
#include "types.h"

#define WINDOW ((size_t)64 << 10)
#define MAX_META 65536u
#define MAX_TENSOR ((uint64_t)1 << 20)
#define MAX_STRINGS ((uint64_t)1 << 24) /* of one array; the largest vocabularies have 2^18 */
#define MAX_VALUE ((uint64_t)1 << 29)   /* bytes of one string or array */
#define MAX_ALIGNMENT ((uint64_t)1 << 24)
#define LEAST_META_BYTES 13   /* length, type, a one-byte value, an empty key */
#define LEAST_TENSOR_BYTES 32 /* length, n_dim, one dim, type, offset, an empty name */

typedef struct cursor {
    const llrti_source_file *file;
    uint64_t at;        /* of the next byte to be given out */
    uint64_t window_at; /* the window holds [window_at, window_at + n_window) */
    size_t n_window;
    uint8_t *window;
    llrti_hasher hasher;
    uint64_t hashed_to; /* what was given out but not hashed yet is still in the window */
    llrt_error *err;
} cursor;

bool llrti_gguf_is_magic(const uint8_t *head, size_t n)
{
    return n >= 4 && memcmp(head, "GGUF", 4) == 0;
}

llrt_status llrti_gguf_refuse(const uint8_t *head, size_t n, llrt_error *err)
{
    static const struct {
        const char *magic, *what;
    } known[] = {
        {"FUGG", "a GGUF file with its magic written backwards, from before the format was fixed"},
        {"lmgg", "a GGML file, the unversioned format before GGUF"},
        {"fmgg", "a GGMF file, a format before GGUF"},
        {"tjgg", "a GGJT file, a format before GGUF"},
        {"algg", "a GGLA file, an adapter format before GGUF"},
        {"PK\x03\x04", "a zip archive, perhaps a PyTorch checkpoint"},
        {"vers", "a text, perhaps a Git LFS pointer: the model itself was not downloaded"},
    };
    char quoted[LLRTI_TEXT_QUOTE_SIZE];
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (n >= 4 && memcmp(head, known[i].magic, 4) == 0) {
            return llrti_fail_field(err, LLRT_ERR_UNSUPPORTED, "magic",
                                    "found %s, expected a GGUF or safetensors file", known[i].what);
        }
    }
    return llrti_fail_field(
        err, LLRT_ERR_FORMAT, "magic", "found a file that begins with %s, expected \"GGUF\"",
        llrti_text_quote(quoted, sizeof quoted, (const char *)head, n < 8 ? n : 8));
}

/* ---- bytes ---- */

static llrt_status fail_short(const cursor *c, uint64_t n, const char *what)
{
    const llrt_status status = llrti_fail(
        c->err, LLRT_ERR_FORMAT,
        "found the end of the file at byte %llu, expected %llu bytes of %s at byte %llu",
        (unsigned long long)c->file->size, (unsigned long long)n, what, (unsigned long long)c->at);
    llrti_error_position(c->err, (int64_t)c->at);
    return status;
}

static uint64_t bytes_left(const cursor *c)
{
    return c->file->size - c->at;
}

/* Hashing happens here in long runs: a vocabulary has half a million short strings. */
static void hash_given(cursor *c)
{
    if (c->hashed_to < c->at) {
        llrti_hash_update(&c->hasher, c->window + (c->hashed_to - c->window_at),
                          (size_t)(c->at - c->hashed_to));
    }
    c->hashed_to = c->at;
}

/* The next n bytes, n <= WINDOW; they stay in place until the next call. */
static llrt_status take(cursor *c, size_t n, const uint8_t **out, const char *what)
{
    *out = NULL;
    if (n > bytes_left(c)) return fail_short(c, n, what);
    if (c->at + n > c->window_at + c->n_window) {
        const uint64_t left = bytes_left(c);
        const size_t want = left < WINDOW ? (size_t)left : WINDOW;
        hash_given(c);
        c->n_window = 0;
        LLRTI_TRY(llrti_source_read(c->file, c->at, c->window, want, c->err));
        c->window_at = c->at;
        c->n_window = want;
    }
    *out = c->window + (c->at - c->window_at);
    c->at += n;
    return LLRT_OK;
}

/* The next n bytes to a place of their own; the caller has checked that they are in the file. */
static llrt_status take_to(cursor *c, void *to, size_t n)
{
    size_t done = 0;
    if (c->at < c->window_at + c->n_window) {
        const uint64_t held = c->window_at + c->n_window - c->at;
        done = held < n ? (size_t)held : n;
        if (done) memcpy(to, c->window + (c->at - c->window_at), done);
    }
    c->at += done;
    if (n - done >= WINDOW / 2) {
        hash_given(c);
        LLRTI_TRY(llrti_source_read(c->file, c->at, (char *)to + done, n - done, c->err));
        llrti_hash_update(&c->hasher, (char *)to + done, n - done);
        c->at += n - done;
        c->hashed_to = c->at;
        return LLRT_OK;
    }
    if (done == n) return LLRT_OK;
    const uint8_t *rest;
    LLRTI_TRY(take(c, n - done, &rest, "a value"));
    memcpy((char *)to + done, rest, n - done);
    return LLRT_OK;
}

static uint64_t load_le(const uint8_t *p, size_t n)
{
    uint64_t value = 0;
    while (n--) value = value << 8 | p[n];
    return value;
}

static llrt_status take_number(cursor *c, size_t n, uint64_t *out, const char *what)
{
    const uint8_t *bytes = NULL;
    *out = 0;
    LLRTI_TRY(take(c, n, &bytes, what));
    *out = load_le(bytes, n);
    return LLRT_OK;
}

static llrt_status take_u32(cursor *c, uint32_t *out, const char *what)
{
    uint64_t value;
    const llrt_status status = take_number(c, 4, &value, what);
    *out = (uint32_t)value;
    return status;
}

/* A length and that many bytes, copied to the arena with a NUL added. */
static llrt_status take_string(cursor *c, llrti_arena *arena, uint64_t limit, const char *what,
                               llrti_string *out)
{
    uint64_t n;
    LLRTI_TRY(take_number(c, 8, &n, what));
    if (n > bytes_left(c)) return fail_short(c, n, what);
    if (n > limit) {
        const llrt_status status =
            llrti_fail(c->err, LLRT_ERR_FORMAT, "found %llu bytes of %s, expected at most %llu",
                       (unsigned long long)n, what, (unsigned long long)limit);
        llrti_error_position(c->err, (int64_t)c->at);
        return status;
    }
    char *data = llrti_arena_alloc(arena, (size_t)n + 1, 1);
    if (!data) return llrti_fail_nomem(c->err, what, (size_t)n + 1);
    LLRTI_TRY(take_to(c, data, (size_t)n));
    data[n] = 0;
    out->data = data;
    out->n = (size_t)n;
    return LLRT_OK;
}

static llrt_status take_name(cursor *c, llrti_arena *arena, uint64_t limit, const char *what,
                             const char **out)
{
    llrti_string name;
    LLRTI_TRY(take_string(c, arena, limit, what, &name));
    const llrt_status status =
        llrti_directory_check_name(name.data, name.n, (size_t)limit, what, c->err);
    if (status < 0) llrti_error_position(c->err, (int64_t)(c->at - name.n));
    *out = name.data;
    return status;
}

/* Names an entry by its number where its own name could not be read. */
static void name_entry(const cursor *c, const char *kind, uint64_t index)
{
    char field[48];
    llrti_text_format(field, sizeof field, "%s %llu", kind, (unsigned long long)index);
    llrti_error_field(c->err, field);
}

/* ---- metadata ---- */

/* Bytes of a value of a fixed size, 0 for strings, arrays and numbers that mean nothing. */
static size_t value_bytes(uint32_t type)
{
    static const uint8_t bytes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
    return type < sizeof bytes ? bytes[type] : 0;
}

static llrt_status fail_bool(const cursor *c, unsigned found)
{
    return llrti_fail(c->err, LLRT_ERR_FORMAT, "found the byte %u for a bool, expected 0 or 1",
                      found);
}

static llrt_status read_scalar(cursor *c, llrti_meta *meta)
{
    uint64_t bits;
    LLRTI_TRY(take_number(c, value_bytes(meta->type), &bits, "a metadata value"));
    switch (meta->type) {
    case LLRTI_META_I8:
        meta->value.i = (int8_t)bits;
        break;
    case LLRTI_META_I16:
        meta->value.i = (int16_t)bits;
        break;
    case LLRTI_META_I32:
        meta->value.i = (int32_t)bits;
        break;
    case LLRTI_META_I64:
        meta->value.i = (int64_t)bits;
        break;
    case LLRTI_META_F32:
        meta->value.f = (double)llrti_bits_float((uint32_t)bits);
        break;
    case LLRTI_META_F64:
        memcpy(&meta->value.f, &bits, sizeof bits);
        break;
    case LLRTI_META_BOOL:
        if (bits > 1) return fail_bool(c, (unsigned)bits);
        meta->value.u = bits;
        break;
    default:
        meta->value.u = bits;
        break;
    }
    return LLRT_OK;
}

static llrt_status check_array(cursor *c, uint64_t n, uint64_t least_bytes, uint64_t limit)
{
    if (n > bytes_left(c) / least_bytes) {
        const llrt_status status =
            llrti_fail(c->err, LLRT_ERR_FORMAT,
                       "found an array of %llu values, but only %llu bytes are left in the file",
                       (unsigned long long)n, (unsigned long long)bytes_left(c));
        llrti_error_position(c->err, (int64_t)c->at);
        return status;
    }
    if (n > limit) {
        return llrti_fail(c->err, LLRT_ERR_FORMAT,
                          "found an array of %llu values, expected at most %llu",
                          (unsigned long long)n, (unsigned long long)limit);
    }
    return LLRT_OK;
}

static llrt_status read_string_array(cursor *c, llrti_arena *arena, llrti_meta *meta)
{
    LLRTI_TRY(check_array(c, meta->n, 8, MAX_STRINGS));
    const size_t n = (size_t)meta->n;
    llrti_string *strings = llrti_arena_alloc(arena, n * sizeof *strings, sizeof(void *));
    if (!strings) return llrti_fail_nomem(c->err, "an array of strings", n * sizeof *strings);
    for (size_t i = 0; i < n; i++) {
        LLRTI_TRY(take_string(c, arena, MAX_VALUE, "a string", &strings[i]));
    }
    meta->value.array = strings;
    return LLRT_OK;
}

static llrt_status read_array(cursor *c, llrti_arena *arena, llrti_meta *meta)
{
    uint32_t element;
    LLRTI_TRY(take_u32(c, &element, "an array's element type"));
    LLRTI_TRY(take_number(c, 8, &meta->n, "an array's length"));
    meta->element = (llrti_meta_type)element;
    if (element == LLRTI_META_STRING) return read_string_array(c, arena, meta);
    if (element == LLRTI_META_ARRAY) {
        return llrti_fail(c->err, LLRT_ERR_UNSUPPORTED,
                          "found an array of arrays, which llrt does not read");
    }
    const size_t size = value_bytes(element);
    if (size == 0) {
        return llrti_fail(c->err, LLRT_ERR_FORMAT,
                          "found the array element type %u, expected 0 to 12", (unsigned)element);
    }
    LLRTI_TRY(check_array(c, meta->n, size, MAX_VALUE / size));
    const size_t n_byte = (size_t)meta->n * size;
    uint8_t *data = llrti_arena_alloc(arena, n_byte, 8);
    if (!data) return llrti_fail_nomem(c->err, "an array", n_byte);
    LLRTI_TRY(take_to(c, data, n_byte));
    for (size_t i = 0; element == LLRTI_META_BOOL && i < n_byte; i++) {
        if (data[i] > 1) return fail_bool(c, data[i]);
    }
    meta->value.array = data;
    return LLRT_OK;
}

static llrt_status read_meta_value(cursor *c, llrti_arena *arena, llrti_meta *meta)
{
    uint32_t type;
    LLRTI_TRY(take_u32(c, &type, "a metadata type"));
    meta->type = (llrti_meta_type)type;
    meta->n = 1;
    if (type == LLRTI_META_STRING) {
        return take_string(c, arena, MAX_VALUE, "a string", &meta->value.s);
    }
    if (type == LLRTI_META_ARRAY) return read_array(c, arena, meta);
    if (value_bytes(type) == 0) {
        return llrti_fail(c->err, LLRT_ERR_FORMAT, "found the metadata type %u, expected 0 to 12",
                          (unsigned)type);
    }
    return read_scalar(c, meta);
}

static llrt_status read_metas(cursor *c, uint64_t n, llrti_directory *directory)
{
    for (uint64_t i = 0; i < n; i++) {
        llrti_meta meta;
        memset(&meta, 0, sizeof meta);
        llrt_status status =
            take_name(c, &directory->arena, LLRTI_KEY_LIMIT, "metadata key", &meta.key);
        if (status < 0) {
            name_entry(c, "metadata entry", i);
            return status;
        }
        status = read_meta_value(c, &directory->arena, &meta);
        if (status < 0) {
            llrti_error_field(c->err, meta.key);
            return status;
        }
        LLRTI_TRY(llrti_directory_add_meta(directory, &meta, c->err));
    }
    return LLRT_OK;
}

/* An unsigned number below `limit` from a key of any integer type; `absent` when the key is not
 * there. */
static llrt_status meta_number(const cursor *c, const llrti_directory *directory, const char *key,
                               uint64_t limit, uint64_t absent, uint64_t *out)
{
    const llrti_meta *meta = llrti_directory_find_meta(directory, key);
    *out = absent;
    if (!meta) return LLRT_OK;
    switch (meta->type) {
    case LLRTI_META_U8:
    case LLRTI_META_U16:
    case LLRTI_META_U32:
    case LLRTI_META_U64:
    case LLRTI_META_I8:
    case LLRTI_META_I16:
    case LLRTI_META_I32:
    case LLRTI_META_I64:
        break;
    default:
        return llrti_fail_field(c->err, LLRT_ERR_FORMAT, key,
                                "found a value of type %s, expected an integer",
                                llrti_meta_type_name(meta->type));
    }
    if (meta->value.u >= limit) { /* a negative number is a large one here */
        return llrti_fail_field(c->err, LLRT_ERR_FORMAT, key, "found %lld, expected 0 to %llu",
                                (long long)meta->value.i, (unsigned long long)limit - 1);
    }
    *out = meta->value.u;
    return LLRT_OK;
}

static llrt_status read_alignment(const cursor *c, const llrti_directory *directory,
                                  uint32_t *alignment)
{
    static const char key[] = "general.alignment";
    const llrti_meta *meta = llrti_directory_find_meta(directory, key);
    *alignment = 32;
    if (!meta) return LLRT_OK;
    if (meta->type != LLRTI_META_U32) {
        return llrti_fail_field(c->err, LLRT_ERR_FORMAT, key,
                                "found a value of type %s, expected u32",
                                llrti_meta_type_name(meta->type));
    }
    const uint64_t value = meta->value.u;
    if (value == 0 || (value & (value - 1)) || value > MAX_ALIGNMENT) {
        return llrti_fail_field(c->err, LLRT_ERR_FORMAT, key,
                                "found %llu, expected a power of two up to 2^24",
                                (unsigned long long)value);
    }
    *alignment = (uint32_t)value;
    return LLRT_OK;
}

/* ---- tensors ---- */

static llrt_status read_tensor(cursor *c, llrti_tensor *tensor)
{
    LLRTI_TRY(take_u32(c, &tensor->n_dim, "a tensor's number of dimensions"));
    if (tensor->n_dim == 0 || tensor->n_dim > 4) {
        return llrti_fail(c->err, LLRT_ERR_FORMAT, "found %u dimensions, expected 1 to 4",
                          (unsigned)tensor->n_dim);
    }
    for (uint32_t i = 0; i < 4; i++) tensor->dim[i] = 1;
    for (uint32_t i = 0; i < tensor->n_dim; i++) {
        LLRTI_TRY(take_number(c, 8, &tensor->dim[i], "a tensor's shape"));
        if (tensor->dim[i] == 0 || tensor->dim[i] > INT64_MAX) {
            return llrti_fail(c->err, LLRT_ERR_FORMAT,
                              "found %lld as dimension %u, expected at least 1",
                              (long long)tensor->dim[i], (unsigned)i);
        }
    }
    LLRTI_TRY(take_u32(c, &tensor->type, "a tensor's type"));
    LLRTI_TRY(take_number(c, 8, &tensor->offset, "a tensor's offset"));
    const llrti_type_info *type =
        tensor->type < LLRTI_TYPE_BOOL ? llrti_type_find(tensor->type) : NULL;
    if (!type) {
        return llrti_fail(c->err, LLRT_ERR_UNSUPPORTED,
                          "found the tensor type %u, which this version of llrt does not know",
                          (unsigned)tensor->type);
    }
    if (!type->is_supported) {
        return llrti_fail(c->err, LLRT_ERR_UNSUPPORTED,
                          "found the tensor type %u (%s), which llrt does not support",
                          (unsigned)tensor->type, type->name);
    }
    return llrti_directory_measure(tensor, c->err);
}

/* Offsets in the file are relative to data_offset, which is known only after the last entry. */
static llrt_status place_tensors(const cursor *c, const llrti_gguf_info *info,
                                 llrti_tensor *tensors, size_t n, llrti_mem *mem)
{
    if (info->data_offset > c->file->size) {
        return llrti_fail_field(
            c->err, LLRT_ERR_FORMAT, "tensor data",
            "found the end of the file at byte %llu, expected tensors from byte %llu",
            (unsigned long long)c->file->size, (unsigned long long)info->data_offset);
    }
    for (size_t i = 0; i < n; i++) {
        const uint64_t relative = tensors[i].offset;
        if (relative % info->alignment) {
            return llrti_fail_field(c->err, LLRT_ERR_FORMAT, tensors[i].name,
                                    "found the tensor's offset %llu, expected a multiple of %u",
                                    (unsigned long long)relative, (unsigned)info->alignment);
        }
        if (relative > c->file->size - info->data_offset) {
            return llrti_fail_field(c->err, LLRT_ERR_FORMAT, tensors[i].name,
                                    "found the tensor's offset %llu, expected at most %llu, the "
                                    "size of the data",
                                    (unsigned long long)relative,
                                    (unsigned long long)(c->file->size - info->data_offset));
        }
        tensors[i].offset = relative + info->data_offset;
    }
    return llrti_directory_check_layout(mem, tensors, n, info->data_offset, c->file->size, false,
                                        c->err);
}

static llrt_status read_tensors(cursor *c, uint64_t n, uint32_t file_index,
                                llrti_directory *directory, llrti_gguf_info *info)
{
    const size_t first = directory->tensors.n;
    for (uint64_t i = 0; i < n; i++) {
        llrti_tensor tensor;
        memset(&tensor, 0, sizeof tensor);
        tensor.file = file_index;
        llrt_status status =
            take_name(c, &directory->arena, LLRTI_NAME_LIMIT, "tensor name", &tensor.name);
        if (status < 0) {
            name_entry(c, "tensor", i);
            return status;
        }
        status = read_tensor(c, &tensor);
        if (status < 0) {
            llrti_error_field(c->err, tensor.name);
            return status;
        }
        LLRTI_TRY(llrti_directory_add_tensor(directory, &tensor, c->err));
    }
    info->n_header_byte = c->at;
    hash_given(c);
    info->hash = llrti_hash_end(&c->hasher);
    const uint64_t rest = c->at % info->alignment;
    info->data_offset = c->at + (rest ? info->alignment - rest : 0);
    if (n == 0) return LLRT_OK;
    return place_tensors(c, info, directory->tensors.data + first, (size_t)n, directory->mem);
}

/* ---- the whole ---- */

static llrt_status check_count(const cursor *c, const char *field, uint64_t n, uint64_t least_bytes,
                               uint64_t limit)
{
    if (n <= limit && n <= bytes_left(c) / least_bytes) return LLRT_OK;
    return llrti_fail_field(
        c->err, LLRT_ERR_FORMAT, field, "found %llu, expected at most %llu in a file of %llu bytes",
        (unsigned long long)n, (unsigned long long)LLRTI_MIN(limit, bytes_left(c) / least_bytes),
        (unsigned long long)c->file->size);
}

static llrt_status read_version(cursor *c, llrti_gguf_info *info)
{
    const uint8_t *magic;
    llrt_status status = take(c, 4, &magic, "the magic");
    if (status < 0) {
        llrti_error_field(c->err, "magic");
        return status;
    }
    if (!llrti_gguf_is_magic(magic, 4)) return llrti_gguf_refuse(magic, 4, c->err);
    status = take_u32(c, &info->version, "the version");
    if (status < 0) {
        llrti_error_field(c->err, "version");
        return status;
    }
    const uint32_t version = info->version;
    if (version == 2 || version == 3) return LLRT_OK;
    if (version == 1) {
        return llrti_fail_field(c->err, LLRT_ERR_UNSUPPORTED, "version",
                                "found GGUF version 1, expected 2 or 3: convert the model again");
    }
    if (version && (version & 0xffff) == 0) {
        return llrti_fail_field(c->err, LLRT_ERR_UNSUPPORTED, "version",
                                "found a byte-swapped (big-endian) GGUF file, expected a "
                                "little-endian one");
    }
    return llrti_fail_field(c->err, LLRT_ERR_UNSUPPORTED, "version",
                            "found GGUF version %u, expected 2 or 3", (unsigned)version);
}

static llrt_status read_all(cursor *c, uint32_t file_index, llrti_directory *metas,
                            llrti_directory *tensors, llrti_gguf_info *info)
{
    uint64_t n_tensor, n_meta;
    LLRTI_TRY(read_version(c, info));
    llrt_status status = take_number(c, 8, &n_tensor, "the number of tensors");
    if (status < 0) {
        llrti_error_field(c->err, "tensor_count");
        return status;
    }
    status = take_number(c, 8, &n_meta, "the number of metadata entries");
    if (status < 0) {
        llrti_error_field(c->err, "metadata_kv_count");
        return status;
    }
    LLRTI_TRY(check_count(c, "tensor_count", n_tensor, LEAST_TENSOR_BYTES, MAX_TENSOR));
    LLRTI_TRY(check_count(c, "metadata_kv_count", n_meta, LEAST_META_BYTES, MAX_META));
    LLRTI_TRY(llrti_directory_reserve(metas, (size_t)n_meta, 0, c->err));
    LLRTI_TRY(llrti_directory_reserve(tensors, 0, (size_t)n_tensor, c->err));
    LLRTI_TRY(read_metas(c, n_meta, metas));
    LLRTI_TRY(read_alignment(c, metas, &info->alignment));
    LLRTI_TRY(meta_number(c, metas, "split.count", 65536, 0, &info->split_count));
    LLRTI_TRY(meta_number(c, metas, "split.no", 65536, 0, &info->split_no));
    LLRTI_TRY(
        meta_number(c, metas, "split.tensors.count", MAX_TENSOR + 1, 0, &info->split_tensors));
    return read_tensors(c, n_tensor, file_index, tensors, info);
}

llrt_status llrti_gguf_read(const llrti_source_file *file, uint32_t file_index,
                            llrti_directory *metas, llrti_directory *tensors, llrti_gguf_info *info,
                            llrt_error *err)
{
    memset(info, 0, sizeof *info);
    cursor c = {.file = file, .err = err};
    llrti_hash_begin(&c.hasher, 0);
    c.window = llrti_alloc(metas->mem, WINDOW, LLRT_MEMORY_HOST);
    llrt_status status = LLRT_OK;
    if (!c.window) {
        status = llrti_fail_nomem(err, "reading a file's header", WINDOW);
    } else {
        status = read_all(&c, file_index, metas, tensors, info);
    }
    if (status < 0) llrti_error_file(err, file->name);
    llrti_free(metas->mem, c.window);
    return status;
}
