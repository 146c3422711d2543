/* SPDX-License-Identifier: MIT */
/*
 * Reading importance matrices. Both kinds of file end in one table of names and mean squares.
 */
#include "quant_imatrix.h"

#include <math.h>
#include <string.h>

#include "arena.h"
#include "directory.h"
#include "error.h"
#include "gguf.h"
#include "half.h"
#include "map.h"
#include "model_file.h"
#include "source_impl.h"
#include "text.h"
#include "types.h"

#define MAX_BYTES ((size_t)1 << 31) /* far above the matrices of any model */
#define MAX_ENTRY 65536
#define MAX_VALUE 1e24f /* sums of products with larger ones overflow float32 */

typedef struct entry {
    const char *name;
    float *value;
    size_t n;
} entry;

struct llrti_quant_imatrix {
    llrti_mem *mem;
    llrti_arena arena;
    llrti_map by_name;
    LLRTI_VEC(entry) entry;
    uint32_t n_chunk;
};

/* ---- the table ---- */

/* Checks values and adds them; name and values are in the arena. */
static llrt_status add_entry(llrti_quant_imatrix *m, const char *name, float *value, size_t n,
                             llrt_error *err)
{
    bool is_new = true;
    for (size_t i = 0; i < n; i++)
        if (!(value[i] >= 0.0f && value[i] <= MAX_VALUE))
            return llrti_fail_field(err, LLRT_ERR_FORMAT, name,
                                    "found %g as the importance of column %zu, expected a number "
                                    "from 0 to %g",
                                    (double)value[i], i, (double)MAX_VALUE);
    if (!llrti_vec_reserve(m->mem, &m->entry, m->entry.n + 1, LLRT_MEMORY_HOST) ||
        llrti_map_put(&m->by_name, name, strlen(name), (uint32_t)m->entry.n, &is_new) < 0)
        return llrti_fail_nomem(err, "the importance matrix", sizeof(entry));
    if (!is_new)
        return llrti_fail_field(err, LLRT_ERR_FORMAT, name, "found the tensor %s twice", name);
    m->entry.data[m->entry.n++] = (entry){name, value, n};
    return LLRT_OK;
}

static llrt_status new_values(llrti_quant_imatrix *m, size_t n, float **out, llrt_error *err)
{
    size_t n_byte = SIZE_MAX;
    *out =
        llrti_mul_size(n, sizeof(float), &n_byte) ? llrti_arena_alloc(&m->arena, n_byte, 16) : NULL;
    return *out ? LLRT_OK : llrti_fail_nomem(err, "the importance matrix", n_byte);
}

static uint32_t load_u32(const uint8_t *p)
{
    return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

/* In place: little-endian bytes to floats. */
static void load_floats(float *value, size_t n)
{
    for (size_t i = 0; i < n; i++)
        value[i] = llrti_bits_float(load_u32((const uint8_t *)&value[i]));
}

/* ---- the older kind ---- */

typedef struct cursor {
    const uint8_t *data;
    size_t n, at;
    llrt_error *err;
} cursor;

static llrt_status take_count(cursor *c, const char *what, uint32_t least, uint32_t most,
                              uint32_t *out)
{
    const size_t begin = c->at;
    if (c->n - c->at < 4)
        return llrti_fail(c->err, LLRT_ERR_FORMAT, "the file ends at byte %zu, expected %s there",
                          c->n, what);
    *out = load_u32(c->data + c->at);
    c->at += 4;
    if (*out >= least && *out <= most) return LLRT_OK;
    const llrt_status status =
        llrti_fail(c->err, LLRT_ERR_FORMAT, "found %d as %s, expected %u to %u", (int)*out, what,
                   (unsigned)least, (unsigned)most);
    llrti_error_position(c->err, (int64_t)begin);
    return status;
}

static llrt_status take_bytes(cursor *c, size_t n, const char *what, const uint8_t **out)
{
    if (n > c->n - c->at)
        return llrti_fail(c->err, LLRT_ERR_FORMAT,
                          "found %zu bytes after byte %zu, expected %zu bytes of %s", c->n - c->at,
                          c->at, n, what);
    *out = c->data + c->at;
    c->at += n;
    return LLRT_OK;
}

static llrt_status read_old_entry(llrti_quant_imatrix *m, cursor *c)
{
    uint32_t n_name, n_call, n_value;
    const uint8_t *bytes = NULL; /* gcc cannot see that a failure returns */
    float *value;
    LLRTI_TRY(take_count(c, "the length of a tensor's name", 1, LLRTI_NAME_LIMIT, &n_name));
    LLRTI_TRY(take_bytes(c, n_name, "a tensor's name", &bytes));
    const char *const name = llrti_arena_strndup(&m->arena, (const char *)bytes, n_name);
    if (!name) return llrti_fail_nomem(c->err, "the importance matrix", n_name);
    LLRTI_TRY(llrti_directory_check_name(name, n_name, LLRTI_NAME_LIMIT, "tensor name", c->err));
    LLRTI_TRY(take_count(c, "the number of calls", 0, INT32_MAX, &n_call));
    LLRTI_TRY(take_count(c, "the number of values", 1, INT32_MAX, &n_value));
    LLRTI_TRY(take_bytes(c, (size_t)n_value * 4, "values", &bytes));
    LLRTI_TRY(new_values(m, n_value, &value, c->err));
    memcpy(value, bytes, (size_t)n_value * 4);
    load_floats(value, n_value);
    for (uint32_t i = 0; n_call && i < n_value; i++) value[i] /= (float)n_call;
    return add_entry(m, name, value, n_value, c->err);
}

static llrt_status read_old(llrti_quant_imatrix *m, const char *data, size_t n, llrt_error *err)
{
    cursor c = {(const uint8_t *)data, n, 0, err};
    uint32_t n_entry;
    LLRTI_TRY(take_count(&c, "the number of tensors", 1, MAX_ENTRY, &n_entry));
    for (uint32_t i = 0; i < n_entry; i++) LLRTI_TRY(read_old_entry(m, &c));
    if (n - c.at >= 4) m->n_chunk = load_u32(c.data + c.at); /* what follows is of no use here */
    return LLRT_OK;
}

/* ---- the GGUF kind ---- */

static llrt_status read_tensor(llrti_quant_imatrix *m, const llrti_model_file *file,
                               const llrti_tensor *tensor, float **out, llrt_error *err)
{
    if (tensor->type != LLRTI_TYPE_F32)
        return llrti_fail_field(err, LLRT_ERR_FORMAT, tensor->name,
                                "found values of type %s, expected F32",
                                llrti_type_name(tensor->type));
    LLRTI_TRY(new_values(m, (size_t)(tensor->n_byte / 4), out, err));
    LLRTI_TRY(llrti_model_file_read(file, tensor, 0, *out, (size_t)tensor->n_byte, err));
    load_floats(*out, (size_t)(tensor->n_byte / 4));
    return LLRT_OK;
}

/* One pair NAME.in_sum2 (columns x matrices) and NAME.counts (matrices). */
static llrt_status read_pair(llrti_quant_imatrix *m, const llrti_model_file *file,
                             const llrti_tensor *sums, size_t n_name, llrt_error *err)
{
    float *value, *count;
    char counts[LLRTI_NAME_LIMIT + 16];
    llrti_text_format(counts, sizeof counts, "%.*s.counts", (int)n_name, sums->name);
    const llrti_tensor *const other = llrti_model_file_find_tensor(file, counts);
    const uint64_t n_column = sums->dim[0], n_matrix = sums->dim[1] * sums->dim[2] * sums->dim[3];
    if (!other)
        return llrti_fail_field(err, LLRT_ERR_FORMAT, counts,
                                "the tensor is missing, expected it beside %s", sums->name);
    if (other->dim[0] * other->dim[1] * other->dim[2] * other->dim[3] != n_matrix)
        return llrti_fail_field(
            err, LLRT_ERR_FORMAT, counts, "found %llu counts, expected %llu, one for each matrix",
            (unsigned long long)(other->dim[0] * other->dim[1] * other->dim[2] * other->dim[3]),
            (unsigned long long)n_matrix);
    LLRTI_TRY(read_tensor(m, file, sums, &value, err));
    LLRTI_TRY(read_tensor(m, file, other, &count, err));
    for (uint64_t k = 0; k < n_matrix; k++) {
        /* A matrix that met no input says nothing: all columns count alike. */
        for (uint64_t i = 0; i < n_column; i++) {
            float *const v = &value[k * n_column + i];
            *v = count[k] > 0.0f ? *v / count[k] : 1.0f;
        }
    }
    const char *const name = llrti_arena_strndup(&m->arena, sums->name, n_name);
    if (!name) return llrti_fail_nomem(err, "the importance matrix", n_name);
    return add_entry(m, name, value, (size_t)(n_column * n_matrix), err);
}

static llrt_status read_gguf(llrti_quant_imatrix *m, const llrti_model_file *file, llrt_error *err)
{
    static const char suffix[] = ".in_sum2";
    const size_t n_suffix = sizeof suffix - 1;
    const llrti_meta *const chunks = llrti_model_file_find_meta(file, "imatrix.chunk_count");
    if (chunks && (chunks->type == LLRTI_META_U32 || chunks->type == LLRTI_META_I32))
        m->n_chunk = (uint32_t)chunks->value.u;
    const uint32_t n = llrti_model_file_n_tensor(file);
    for (uint32_t i = 0; i < n; i++) {
        const llrti_tensor *const tensor = llrti_model_file_tensor(file, i);
        const size_t n_name = strlen(tensor->name);
        if (n_name <= n_suffix || strcmp(tensor->name + n_name - n_suffix, suffix) != 0) continue;
        LLRTI_TRY(read_pair(m, file, tensor, n_name - n_suffix, err));
    }
    if (m->entry.n) return LLRT_OK;
    return llrti_fail_field(err, LLRT_ERR_FORMAT, suffix,
                            "found no tensor of sums among %u, expected an importance matrix",
                            (unsigned)n);
}

/* ---- either ---- */

static llrt_status read_file(llrti_quant_imatrix *m, const char *path, const llrt_source *source,
                             llrt_error *err)
{
    llrt_source full;
    llrti_source_file head;
    uint8_t magic[4] = {0};
    LLRTI_TRY(llrti_source_copy(&full, source, m->mem, err));
    LLRTI_TRY(llrti_source_open(&full, path, &head, err));
    llrt_status status = LLRT_OK;
    if (head.size >= sizeof magic) status = llrti_source_read(&head, 0, magic, sizeof magic, err);
    llrti_source_close(&head);
    if (status < 0) return status;
    if (llrti_gguf_is_magic(magic, sizeof magic)) {
        const llrti_model_file_options options = {.source = source};
        llrti_model_file *file = NULL;
        LLRTI_TRY(llrti_model_file_open(m->mem, path, &options, &file, err));
        status = read_gguf(m, file, err);
        llrti_model_file_close(file);
        return status;
    }
    char *data = NULL;
    size_t n = 0;
    LLRTI_TRY(llrti_source_read_whole(&full, m->mem, path, MAX_BYTES, &data, &n, err));
    status = read_old(m, data, n, err);
    llrti_free(m->mem, data);
    return status;
}

llrt_status llrti_quant_imatrix_open(llrti_mem *mem, const char *path, const llrt_source *source,
                                     llrti_quant_imatrix **out, llrt_error *err)
{
    *out = NULL;
    llrti_quant_imatrix *const m = llrti_calloc(mem, 1, sizeof *m, LLRT_MEMORY_HOST);
    if (!m) return llrti_fail_nomem(err, "the importance matrix", sizeof *m);
    m->mem = mem;
    llrti_arena_init(&m->arena, mem, LLRT_MEMORY_HOST);
    llrti_map_init(&m->by_name, mem, LLRT_MEMORY_HOST);
    const llrt_status status = read_file(m, path, source, err);
    if (status < 0) {
        llrti_error_file(err, path);
        llrti_quant_imatrix_close(m);
        return status;
    }
    *out = m;
    return LLRT_OK;
}

void llrti_quant_imatrix_close(llrti_quant_imatrix *imatrix)
{
    if (!imatrix) return;
    llrti_mem *const mem = imatrix->mem;
    llrti_map_free(&imatrix->by_name);
    llrti_vec_free(mem, &imatrix->entry);
    llrti_arena_free(&imatrix->arena);
    llrti_free(mem, imatrix);
}

const float *llrti_quant_imatrix_find(const llrti_quant_imatrix *imatrix, const char *name,
                                      size_t *n)
{
    const uint32_t at = llrti_map_get(&imatrix->by_name, name, strlen(name));
    *n = at == LLRTI_MAP_NONE ? 0 : imatrix->entry.data[at].n;
    return at == LLRTI_MAP_NONE ? NULL : imatrix->entry.data[at].value;
}

uint32_t llrti_quant_imatrix_n_entry(const llrti_quant_imatrix *imatrix)
{
    return (uint32_t)imatrix->entry.n;
}

uint32_t llrti_quant_imatrix_n_chunk(const llrti_quant_imatrix *imatrix)
{
    return imatrix->n_chunk;
}

llrti_hash128 llrti_quant_imatrix_hash(const llrti_quant_imatrix *imatrix)
{
    llrti_hash128 all = {0, 0};
    for (size_t i = 0; i < imatrix->entry.n; i++) { /* in no order: the sum */
        const entry *const e = &imatrix->entry.data[i];
        llrti_hasher hasher;
        llrti_hash_begin(&hasher, 0);
        llrti_hash_update(&hasher, e->name, strlen(e->name) + 1);
        for (size_t k = 0; k < e->n; k++) {
            const uint32_t bits = llrti_float_bits(e->value[k]);
            const uint8_t bytes[4] = {(uint8_t)bits, (uint8_t)(bits >> 8), (uint8_t)(bits >> 16),
                                      (uint8_t)(bits >> 24)};
            llrti_hash_update(&hasher, bytes, sizeof bytes);
        }
        const llrti_hash128 one = llrti_hash_end(&hasher);
        all.lo += one.lo;
        all.hi += one.hi;
    }
    return all;
}
