/* SPDX-License-Identifier: MIT */
/*
 * The directory of a model: two growing arrays, each with a map from name to index, and the
 * checks that do not depend on the file format. Messages name the tensor or key in the error's
 * field.
 */
#include "directory.h"

#include <string.h>

#include "sort.h"
#include "text.h"
#include "types.h"
#include "utf8.h"

void llrti_directory_init(llrti_directory *directory, llrti_mem *mem)
{
    memset(directory, 0, sizeof *directory);
    directory->mem = mem;
    llrti_arena_init(&directory->arena, mem, LLRT_MEMORY_HOST);
    llrti_map_init(&directory->meta_map, mem, LLRT_MEMORY_HOST);
    llrti_map_init(&directory->tensor_map, mem, LLRT_MEMORY_HOST);
}

void llrti_directory_free(llrti_directory *directory)
{
    if (!directory->mem) return;
    llrti_map_free(&directory->tensor_map);
    llrti_map_free(&directory->meta_map);
    llrti_vec_free(directory->mem, &directory->tensors);
    llrti_vec_free(directory->mem, &directory->metas);
    llrti_arena_free(&directory->arena);
}

llrt_status llrti_directory_reserve(llrti_directory *directory, size_t n_meta, size_t n_tensor,
                                    llrt_error *err)
{
    n_meta += directory->metas.n;
    n_tensor += directory->tensors.n;
    if (!llrti_vec_reserve(directory->mem, &directory->metas, n_meta, LLRT_MEMORY_HOST) ||
        !llrti_map_reserve(&directory->meta_map, n_meta)) {
        return llrti_fail_nomem(err, "the metadata", n_meta * sizeof(llrti_meta));
    }
    if (!llrti_vec_reserve(directory->mem, &directory->tensors, n_tensor, LLRT_MEMORY_HOST) ||
        !llrti_map_reserve(&directory->tensor_map, n_tensor)) {
        return llrti_fail_nomem(err, "the tensor directory", n_tensor * sizeof(llrti_tensor));
    }
    return LLRT_OK;
}

llrt_status llrti_directory_add_meta(llrti_directory *directory, const llrti_meta *meta,
                                     llrt_error *err)
{
    LLRTI_TRY(llrti_directory_reserve(directory, 1, 0, err));
    bool is_new;
    (void)llrti_map_put(&directory->meta_map, meta->key, strlen(meta->key),
                        (uint32_t)directory->metas.n, &is_new); /* there is room */
    if (!is_new) {
        return llrti_fail_field(err, LLRT_ERR_FORMAT, meta->key,
                                "found the key twice, expected it once");
    }
    directory->metas.data[directory->metas.n++] = *meta;
    return LLRT_OK;
}

llrt_status llrti_directory_add_tensor(llrti_directory *directory, const llrti_tensor *tensor,
                                       llrt_error *err)
{
    LLRTI_TRY(llrti_directory_reserve(directory, 0, 1, err));
    bool is_new;
    (void)llrti_map_put(&directory->tensor_map, tensor->name, strlen(tensor->name),
                        (uint32_t)directory->tensors.n, &is_new);
    if (!is_new) {
        return llrti_fail_field(err, LLRT_ERR_FORMAT, tensor->name,
                                "found two tensors of this name, expected one");
    }
    directory->tensors.data[directory->tensors.n++] = *tensor;
    return LLRT_OK;
}

const llrti_meta *llrti_directory_find_meta(const llrti_directory *directory, const char *key)
{
    const uint32_t index = llrti_map_get(&directory->meta_map, key, strlen(key));
    return index == LLRTI_MAP_NONE ? NULL : &directory->metas.data[index];
}

const llrti_tensor *llrti_directory_find_tensor(const llrti_directory *directory, const char *name)
{
    const uint32_t index = llrti_map_get(&directory->tensor_map, name, strlen(name));
    return index == LLRTI_MAP_NONE ? NULL : &directory->tensors.data[index];
}

llrt_status llrti_directory_measure(llrti_tensor *tensor, llrt_error *err)
{
    const llrti_type_info *type = llrti_type_find(tensor->type);
    if (!type || type->block_bytes == 0) {
        return llrti_fail_field(err, LLRT_ERR_UNSUPPORTED, tensor->name,
                                "found tensor type %u (%s), which llrt can't read",
                                (unsigned)tensor->type, llrti_type_name(tensor->type));
    }
    if (tensor->dim[0] % type->block) {
        return llrti_fail_field(err, LLRT_ERR_FORMAT, tensor->name,
                                "found rows of %llu values of type %s, expected a multiple of %u",
                                (unsigned long long)tensor->dim[0], type->name,
                                (unsigned)type->block);
    }
    uint64_t n_byte = tensor->dim[0] / type->block;
    const uint64_t factor[4] = {type->block_bytes, tensor->dim[1], tensor->dim[2], tensor->dim[3]};
    bool is_empty = n_byte == 0;
    for (int i = 1; i < 4; i++) is_empty |= factor[i] == 0;
    for (int i = 0; i < 4 && !is_empty; i++) {
        if (n_byte > (uint64_t)INT64_MAX / factor[i]) {
            return llrti_fail_field(
                err, LLRT_ERR_FORMAT, tensor->name,
                "found the shape %llu x %llu x %llu x %llu of type %s, "
                "expected a size below 2^63 bytes",
                (unsigned long long)tensor->dim[0], (unsigned long long)tensor->dim[1],
                (unsigned long long)tensor->dim[2], (unsigned long long)tensor->dim[3], type->name);
        }
        n_byte *= factor[i];
    }
    tensor->n_byte = is_empty ? 0 : n_byte;
    return LLRT_OK;
}

static int compare_places(const void *a, const void *b, void *ctx)
{
    const llrti_tensor *tensors = ctx;
    const llrti_tensor *x = &tensors[*(const uint32_t *)a], *y = &tensors[*(const uint32_t *)b];
    if (x->offset != y->offset) return x->offset < y->offset ? -1 : 1;
    if (x->n_byte != y->n_byte) return x->n_byte < y->n_byte ? -1 : 1;
    return strcmp(x->name, y->name);
}

static llrt_status check_place(const llrti_tensor *tensor, const llrti_tensor *before,
                               uint64_t free_from, uint64_t end, bool is_packed, llrt_error *err)
{
    if (tensor->offset > end || tensor->n_byte > end - tensor->offset) {
        return llrti_fail_field(err, LLRT_ERR_FORMAT, tensor->name,
                                "found the tensor's %llu bytes at offset %llu, expected them to "
                                "end by byte %llu, the end of the file",
                                (unsigned long long)tensor->n_byte,
                                (unsigned long long)tensor->offset, (unsigned long long)end);
    }
    if (tensor->offset < free_from) {
        return llrti_fail_field(err, LLRT_ERR_FORMAT, tensor->name,
                                "found the tensor at offset %llu, expected %llu or more: it "
                                "overlaps %s%.200s",
                                (unsigned long long)tensor->offset, (unsigned long long)free_from,
                                before ? "the tensor " : "the header", before ? before->name : "");
    }
    if (is_packed && tensor->offset > free_from) {
        return llrti_fail_field(err, LLRT_ERR_FORMAT, tensor->name,
                                "found the tensor at offset %llu, expected %llu: the bytes "
                                "between belong to no tensor",
                                (unsigned long long)tensor->offset, (unsigned long long)free_from);
    }
    return LLRT_OK;
}

llrt_status llrti_directory_check_layout(llrti_mem *mem, const llrti_tensor *tensors, size_t n,
                                         uint64_t begin, uint64_t end, bool is_packed,
                                         llrt_error *err)
{
    uint32_t *order = llrti_alloc(mem, n * sizeof *order, LLRT_MEMORY_HOST);
    if (!order) return llrti_fail_nomem(err, "checking the tensors", n * sizeof *order);
    for (size_t i = 0; i < n; i++) order[i] = (uint32_t)i;
    llrti_sort(order, n, sizeof *order, compare_places, (void *)(uintptr_t)tensors);
    uint64_t free_from = begin;
    const llrti_tensor *before = NULL;
    llrt_status status = LLRT_OK;
    for (size_t i = 0; i < n && status == LLRT_OK; i++) {
        const llrti_tensor *tensor = &tensors[order[i]];
        status = check_place(tensor, before, free_from, end, is_packed, err);
        if (status == LLRT_OK) free_from = tensor->offset + tensor->n_byte;
        before = tensor;
    }
    if (status == LLRT_OK && is_packed && free_from != end) {
        status =
            llrti_fail_field(err, LLRT_ERR_FORMAT, "data_offsets",
                             "found the last tensor's end at byte %llu, expected %llu, the end of "
                             "the file",
                             (unsigned long long)free_from, (unsigned long long)end);
    }
    llrti_free(mem, order);
    return status;
}

llrt_status llrti_directory_check_name(const char *name, size_t n, size_t limit, const char *what,
                                       llrt_error *err)
{
    char quoted[LLRTI_TEXT_QUOTE_SIZE];
    if (n == 0 || n > limit) {
        return llrti_fail(err, LLRT_ERR_FORMAT, "found a %s of %llu bytes, expected 1 to %llu",
                          what, (unsigned long long)n, (unsigned long long)limit);
    }
    if (!memchr(name, 0, n) && llrti_utf8_is_valid(name, n)) return LLRT_OK;
    return llrti_fail(err, LLRT_ERR_FORMAT, "found the %s %s, expected UTF-8 without NUL", what,
                      llrti_text_quote(quoted, sizeof quoted, name, n));
}
