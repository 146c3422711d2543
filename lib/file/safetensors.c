/* SPDX-License-Identifier: MIT */
/*
 * safetensors, strictly: the header's JSON is bounded, has no duplicate keys and nothing but
 * strings in __metadata__; every tensor has a known dtype, a shape, and offsets that are exactly
 * as far apart as dtype and shape say; the tensors together cover the data without gap or
 * overlap. These are the rules of the reference implementation, which make a file mean one thing
 * only.
 */
#include "safetensors.h"

#include <string.h>

#include "text.h"
#include "types.h"

#define MAX_HEADER ((uint64_t)100000000) /* the reference implementation's bound */
#define MAX_SHARDS 65536u

bool llrti_safetensors_is_head(const uint8_t *head, size_t n, uint64_t size)
{
    uint64_t n_header = 0;
    if (n < 9 || head[8] != '{') return false;
    for (int i = 7; i >= 0; i--) n_header = n_header << 8 | head[i];
    return n_header >= 2 && n_header <= size - 8;
}

static llrt_status fail_member(llrt_error *err, const char *tensor, const char *found,
                               const char *expected)
{
    return llrti_fail_field(err, LLRT_ERR_FORMAT, tensor, "found %s, expected %s", found, expected);
}

/* An array element as a non-negative integer; false when it is anything else. */
static bool as_size(const llrti_json *node, uint64_t *out)
{
    *out = 0;
    if (!node || node->type != LLRTI_JSON_INT || node->value.i < 0) return false;
    *out = (uint64_t)node->value.i;
    return true;
}

static llrt_status read_shape(const llrti_json *shape, llrti_tensor *tensor, llrt_error *err)
{
    if (!shape || shape->type != LLRTI_JSON_ARRAY) {
        return fail_member(err, tensor->name, "no array \"shape\"", "an array of integers");
    }
    tensor->n_dim = shape->n ? shape->n : 1;
    for (int i = 0; i < 4; i++) tensor->dim[i] = 1;
    for (uint32_t i = 0; i < shape->n; i++) {
        const uint32_t at = shape->n - 1 - i; /* the last is the contiguous one */
        uint64_t size;
        if (!as_size(llrti_json_at(shape, i), &size)) {
            return fail_member(err, tensor->name, "a shape with an entry that is no size",
                               "integers from 0 to 2^63-1");
        }
        uint64_t *const dim = &tensor->dim[at < 3 ? at : 3];
        if (size && *dim > (uint64_t)INT64_MAX / size) {
            return fail_member(err, tensor->name, "a shape whose product overflows",
                               "fewer than 2^63 values");
        }
        *dim *= size;
    }
    return LLRT_OK;
}

static llrt_status read_type(const llrti_json *dtype, llrti_tensor *tensor, llrt_error *err)
{
    char quoted[LLRTI_TEXT_QUOTE_SIZE];
    if (!dtype || dtype->type != LLRTI_JSON_STRING) {
        return fail_member(err, tensor->name, "no string \"dtype\"", "a type such as \"BF16\"");
    }
    const llrti_type_info *type = llrti_type_find_name(dtype->value.s, dtype->n);
    if (!type || type->block != 1) {
        return llrti_fail_field(err, LLRT_ERR_UNSUPPORTED, tensor->name,
                                "found the dtype %s, expected one of F64, F32, F16, BF16, I64, "
                                "I32, I16, I8, U8, BOOL and the like",
                                llrti_text_quote(quoted, sizeof quoted, dtype->value.s, dtype->n));
    }
    tensor->type = type->type;
    return LLRT_OK;
}

static llrt_status read_tensor(const llrti_json *entry, uint64_t data_at, uint64_t n_data,
                               llrti_tensor *tensor, llrt_error *err)
{
    uint64_t begin, end;
    if (entry->type != LLRTI_JSON_OBJECT) {
        return fail_member(err, tensor->name, "a value that is no object",
                           "dtype, shape and data_offsets");
    }
    LLRTI_TRY(read_type(llrti_json_get(entry, "dtype"), tensor, err));
    LLRTI_TRY(read_shape(llrti_json_get(entry, "shape"), tensor, err));
    LLRTI_TRY(llrti_directory_measure(tensor, err));
    const llrti_json *offsets = llrti_json_get(entry, "data_offsets");
    if (!offsets || offsets->n != 2 || !as_size(llrti_json_at(offsets, 0), &begin) ||
        !as_size(llrti_json_at(offsets, 1), &end)) {
        return fail_member(err, tensor->name, "no \"data_offsets\" of two integers",
                           "[begin, end]");
    }
    if (begin > end || end > n_data) {
        return llrti_fail_field(err, LLRT_ERR_FORMAT, tensor->name,
                                "found the data_offsets [%llu, %llu], expected them in order and "
                                "at most %llu, the size of the data",
                                (unsigned long long)begin, (unsigned long long)end,
                                (unsigned long long)n_data);
    }
    if (end - begin != tensor->n_byte) {
        return llrti_fail_field(err, LLRT_ERR_FORMAT, tensor->name,
                                "found data_offsets %llu bytes apart, expected %llu from dtype %s "
                                "and shape",
                                (unsigned long long)(end - begin),
                                (unsigned long long)tensor->n_byte, llrti_type_name(tensor->type));
    }
    tensor->offset = data_at + begin;
    return LLRT_OK;
}

static llrt_status check_metadata(const llrti_json *entry, llrt_error *err)
{
    bool ok = entry->type == LLRTI_JSON_OBJECT;
    for (uint32_t i = 0; ok && i < entry->n; i++) {
        ok = entry->value.first[i].type == LLRTI_JSON_STRING;
    }
    if (ok) return LLRT_OK;
    return fail_member(err, "__metadata__", "a value that is no string", "an object of strings");
}

/* All tensors of the header into `all`, whose names stay in the JSON document. */
static llrt_status read_entries(const llrti_json *root, uint64_t data_at, uint64_t n_data,
                                uint32_t file_index, llrti_tensor *all, size_t *n_all,
                                llrt_error *err)
{
    *n_all = 0;
    if (root->type != LLRTI_JSON_OBJECT) {
        return fail_member(err, "header", "a value that is no object", "an object");
    }
    for (uint32_t i = 0; i < root->n; i++) {
        const llrti_json *entry = &root->value.first[i];
        if (entry->n_key == 12 && memcmp(entry->key, "__metadata__", 12) == 0) {
            LLRTI_TRY(check_metadata(entry, err));
            continue;
        }
        const llrt_status status = llrti_directory_check_name(entry->key, entry->n_key,
                                                              LLRTI_NAME_LIMIT, "tensor name", err);
        if (status < 0) {
            llrti_error_field(err, "header");
            return status;
        }
        llrti_tensor *tensor = &all[(*n_all)++];
        memset(tensor, 0, sizeof *tensor);
        tensor->name = entry->key;
        tensor->file = file_index;
        LLRTI_TRY(read_tensor(entry, data_at, n_data, tensor, err));
    }
    return LLRT_OK;
}

static llrt_status add_tensors(const llrti_tensor *all, size_t n, const llrti_map *wanted,
                               llrti_directory *directory, uint32_t *n_other, llrt_error *err)
{
    LLRTI_TRY(llrti_directory_reserve(directory, 0, n, err));
    for (size_t i = 0; i < n; i++) {
        llrti_tensor tensor = all[i];
        const size_t n_name = strlen(tensor.name);
        if (wanted && llrti_map_get(wanted, tensor.name, n_name) != tensor.file) {
            (*n_other)++;
            continue;
        }
        tensor.name = llrti_arena_strndup(&directory->arena, tensor.name, n_name);
        if (!tensor.name) return llrti_fail_nomem(err, "a tensor's name", n_name + 1);
        LLRTI_TRY(llrti_directory_add_tensor(directory, &tensor, err));
    }
    return LLRT_OK;
}

static llrt_status read_header_size(const llrti_source_file *file, uint64_t *n_header,
                                    llrt_error *err)
{
    uint8_t head[8];
    *n_header = 0;
    if (file->size < 8) {
        return llrti_fail_field(err, LLRT_ERR_FORMAT, "header length",
                                "found a file of %llu bytes, expected at least 8",
                                (unsigned long long)file->size);
    }
    LLRTI_TRY(llrti_source_read(file, 0, head, 8, err));
    for (int i = 7; i >= 0; i--) *n_header = *n_header << 8 | head[i];
    const uint64_t limit = LLRTI_MIN(MAX_HEADER, file->size - 8);
    if (*n_header < 2 || *n_header > limit) {
        return llrti_fail_field(err, LLRT_ERR_FORMAT, "header length",
                                "found %llu, expected 2 to %llu in a file of %llu bytes",
                                (unsigned long long)*n_header, (unsigned long long)limit,
                                (unsigned long long)file->size);
    }
    return LLRT_OK;
}

llrt_status llrti_safetensors_read(const llrti_source_file *file, uint32_t file_index,
                                   const llrti_map *wanted, llrti_directory *directory,
                                   uint32_t *n_other, llrti_hash128 *hash, llrt_error *err)
{
    llrti_mem *mem = directory->mem;
    char *text = NULL;
    llrti_json_doc *doc = NULL;
    llrti_tensor *all = NULL;
    llrt_status status;
    uint64_t n_header;
    *n_other = 0;
    LLRTI_TRY_GOTO(status, read_header_size(file, &n_header, err));
    text = llrti_alloc(mem, (size_t)n_header, LLRT_MEMORY_HOST);
    if (!text) {
        status = llrti_fail_nomem(err, "a safetensors header", (size_t)n_header);
        goto fail;
    }
    LLRTI_TRY_GOTO(status, llrti_source_read(file, 8, text, (size_t)n_header, err));
    if (text[0] != '{') {
        status = fail_member(err, "header", "a header that does not begin with {", "JSON");
        goto fail;
    }
    *hash = llrti_hash_bytes(text, (size_t)n_header, 0);
    status = llrti_json_parse(mem, text, (size_t)n_header, &doc, err);
    llrti_free(mem, text);
    text = NULL;
    if (status < 0) {
        llrti_error_field(err, "header");
        goto fail;
    }
    const llrti_json *root = llrti_json_root(doc);
    size_t n_all;
    all = llrti_calloc(mem, root->n, sizeof *all, LLRT_MEMORY_HOST);
    if (!all) {
        status = llrti_fail_nomem(err, "a tensor directory", root->n * sizeof *all);
        goto fail;
    }
    const uint64_t data_at = 8 + n_header;
    LLRTI_TRY_GOTO(status,
                   read_entries(root, data_at, file->size - data_at, file_index, all, &n_all, err));
    LLRTI_TRY_GOTO(status,
                   llrti_directory_check_layout(mem, all, n_all, data_at, file->size, true, err));
    LLRTI_TRY_GOTO(status, add_tensors(all, n_all, wanted, directory, n_other, err));

fail:
    if (status < 0) llrti_error_file(err, file->name);
    llrti_free(mem, all);
    llrti_json_free(doc);
    llrti_free(mem, text);
    return status;
}

/* ---- index ---- */

/* A shard lies beside its index: a name that leads elsewhere is refused. */
static bool is_plain_name(const char *name, size_t n)
{
    if (n == 0 || n > LLRTI_NAME_LIMIT || memchr(name, 0, n) || name[0] == '.') return false;
    for (size_t i = 0; i < n; i++) {
        if (name[i] == '/' || name[i] == '\\' || name[i] == ':') return false;
    }
    return true;
}

static llrt_status add_shard(llrti_mem *mem, const llrti_json *entry,
                             llrti_safetensors_index *index, llrt_error *err)
{
    char quoted[LLRTI_TEXT_QUOTE_SIZE];
    LLRTI_TRY(
        llrti_directory_check_name(entry->key, entry->n_key, LLRTI_NAME_LIMIT, "tensor name", err));
    if (entry->type != LLRTI_JSON_STRING || !is_plain_name(entry->value.s, entry->n)) {
        const bool is_string = entry->type == LLRTI_JSON_STRING;
        return llrti_fail_field(
            err, LLRT_ERR_FORMAT, entry->key,
            "found %s, expected the name of a file beside the index",
            is_string ? llrti_text_quote(quoted, sizeof quoted, entry->value.s, entry->n)
                      : "a value that is no string");
    }
    bool is_new;
    if (!llrti_vec_reserve(mem, &index->names, index->names.n + 1, LLRT_MEMORY_HOST) ||
        llrti_map_put(&index->files, entry->value.s, entry->n, (uint32_t)index->names.n, &is_new) <
            0) {
        return llrti_fail_nomem(err, "the list of shards", index->names.n * sizeof(char *));
    }
    if (is_new) index->names.data[index->names.n++] = entry->value.s;
    if (index->names.n > MAX_SHARDS) {
        return llrti_fail_field(err, LLRT_ERR_FORMAT, "weight_map", "found more than %u files",
                                MAX_SHARDS);
    }
    const uint32_t file = llrti_map_get(&index->files, entry->value.s, entry->n);
    if (llrti_map_put(&index->wanted, entry->key, entry->n_key, file, NULL) < 0) {
        return llrti_fail_nomem(err, "the list of tensors", llrti_map_bytes(index->wanted.n + 1));
    }
    return LLRT_OK;
}

llrt_status llrti_safetensors_index_parse(llrti_mem *mem, const char *text, size_t n,
                                          llrti_safetensors_index *out, llrt_error *err)
{
    memset(out, 0, sizeof *out);
    llrti_map_init(&out->files, mem, LLRT_MEMORY_HOST);
    llrti_map_init(&out->wanted, mem, LLRT_MEMORY_HOST);
    llrt_status status;
    LLRTI_TRY_GOTO(status, llrti_json_parse(mem, text, n, &out->doc, err));
    const llrti_json *map = llrti_json_get(llrti_json_root(out->doc), "weight_map");
    if (!map || map->type != LLRTI_JSON_OBJECT || map->n == 0) {
        status = fail_member(err, "weight_map", "no object with entries",
                             "tensor names with the file of each");
        goto fail;
    }
    for (uint32_t i = 0; i < map->n; i++) {
        status = add_shard(mem, &map->value.first[i], out, err);
        if (status < 0) {
            llrti_error_field(err, "weight_map");
            goto fail;
        }
    }
    return LLRT_OK;

fail:
    llrti_safetensors_index_free(mem, out);
    return status;
}

llrt_status llrti_safetensors_index_check(const llrti_safetensors_index *index,
                                          const llrti_directory *directory, llrt_error *err)
{
    const llrti_json *map = llrti_json_get(llrti_json_root(index->doc), "weight_map");
    for (uint32_t i = 0; i < map->n; i++) {
        const llrti_json *entry = &map->value.first[i];
        if (llrti_directory_find_tensor(directory, entry->key)) continue;
        return llrti_fail_field(err, LLRT_ERR_FORMAT, entry->key,
                                "found no tensor of this name in %s, where the index expects it",
                                entry->value.s);
    }
    return LLRT_OK;
}

void llrti_safetensors_index_free(llrti_mem *mem, llrti_safetensors_index *index)
{
    llrti_map_free(&index->wanted);
    llrti_map_free(&index->files);
    llrti_vec_free(mem, &index->names);
    llrti_json_free(index->doc);
    index->doc = NULL;
}
