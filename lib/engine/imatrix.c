/* SPDX-License-Identifier: MIT */
/*
 * Writing importance matrices, as llama.cpp's quantiser reads them:
 *
 *   GGUF     general.type "imatrix", imatrix.datasets (strings), imatrix.chunk_count and
 *            imatrix.chunk_size (u32); for each weight NAME.in_sum2 (columns, matrices) and
 *            NAME.counts (1, matrices), both F32, by name
 *   before   u32 number of weights; for each u32 length and name, u32 calls, u32 values and as many
 *            F32: the mean square of each column times the calls (1 for matrices without rows);
 *            then u32 chunks, u32 length and name of the text. Little-endian.
 *
 * The sums are doubles until they are written.
 */
#include <llrt/imatrix.h>

#include <string.h>

#include "engine_impl.h"
#include "gguf_write.h"
#include "os.h"
#include "sort.h"
#include "struct_copy.h"
#include "text.h"

#define NAME_BYTES 256

/* A weight with its sums, of class LOADING. */
typedef struct entry {
    llrt_squares_info info;
    double *sum;     /* (n_matrix, n_column) */
    uint64_t *count; /* (n_matrix) */
} entry;

typedef struct matrix {
    llrti_mem *mem;
    const llrt_imatrix_options *options;
    entry *entry;
    size_t n;
} matrix;

static const llrt_imatrix_options option_defaults = {
    .struct_size = (uint32_t)sizeof(llrt_imatrix_options),
    .chunk_size = 512,
};

void llrt_imatrix_options_init(llrt_imatrix_options *options, size_t struct_size)
{
    llrti_struct_copy_init(options, struct_size, &option_defaults, sizeof option_defaults);
}

/* ---- Collecting ---- */

static void free_matrix(matrix *m)
{
    for (size_t i = 0; m->entry && i < m->n; i++) {
        llrti_free(m->mem, m->entry[i].sum);
        llrti_free(m->mem, m->entry[i].count);
    }
    llrti_free(m->mem, m->entry);
}

static llrt_status read_entry(llrt_engine *engine, uint32_t index, entry *e, llrt_error *err)
{
    const size_t n_column = (size_t)e->info.n_column;
    size_t n_sum;
    const bool fits = llrti_mul_size(e->info.n_matrix, n_column, &n_sum);
    e->sum = fits ? llrti_calloc(&engine->mem, n_sum, sizeof *e->sum, LLRT_MEMORY_LOADING) : NULL;
    e->count = llrti_calloc(&engine->mem, e->info.n_matrix, sizeof *e->count, LLRT_MEMORY_LOADING);
    if (!e->sum || !e->count) return llrti_fail_nomem(err, "sums of squares", n_sum);
    return llrt_engine_squares(engine, index, e->sum, n_sum, e->count, e->info.n_matrix, err);
}

static bool has_rows(const entry *e)
{
    for (uint32_t i = 0; i < e->info.n_matrix; i++)
        if (e->count[i]) return true;
    return false;
}

static int compare_entries(const void *a, const void *b, void *ctx)
{
    (void)ctx;
    return strcmp(((const entry *)a)->info.name, ((const entry *)b)->info.name);
}

static llrt_status collect(llrt_engine *engine, matrix *m, llrt_error *err)
{
    m->entry = llrti_calloc(m->mem, engine->n_squared, sizeof *m->entry, LLRT_MEMORY_LOADING);
    if (!m->entry) return llrti_fail_nomem(err, "sums of squares", sizeof *m->entry);
    for (uint32_t i = 0; i < engine->n_squared; i++) {
        entry *const e = &m->entry[m->n];
        e->info.struct_size = (uint32_t)sizeof e->info;
        LLRTI_TRY(llrt_engine_squares_info(engine, i, &e->info, err));
        if (e->info.is_head && !m->options->with_head) continue;
        m->n++;
        LLRTI_TRY(read_entry(engine, i, e, err));
        if (has_rows(e)) continue;
        llrti_free(m->mem, e->sum);
        llrti_free(m->mem, e->count);
        memset(e, 0, sizeof *e);
        m->n--;
    }
    if (m->n == 0)
        return llrti_fail(err, LLRT_ERR_STATE, "nothing has been computed since the sums were 0");
    llrti_sort(m->entry, m->n, sizeof *m->entry, compare_entries, NULL);
    return LLRT_OK;
}

/* ---- GGUF ---- */

static llrti_meta string_meta(const char *key, const char *text)
{
    llrti_meta meta = {.key = key, .type = LLRTI_META_STRING, .n = 1};
    meta.value.s = (llrti_string){text, strlen(text)};
    return meta;
}

static llrti_meta u32_meta(const char *key, uint32_t value)
{
    llrti_meta meta = {.key = key, .type = LLRTI_META_U32, .n = 1};
    meta.value.u = value;
    return meta;
}

static void describe(const matrix *m, llrti_tensor *tensor, char (*name)[NAME_BYTES])
{
    for (size_t i = 0; i < m->n; i++) {
        const llrt_squares_info *const info = &m->entry[i].info;
        for (size_t k = 0; k < 2; k++) {
            llrti_text_format(name[2 * i + k], NAME_BYTES, "%s.%s", info->name,
                              k ? "counts" : "in_sum2");
            tensor[2 * i + k] = (llrti_tensor){
                .name = name[2 * i + k],
                .type = LLRT_TYPE_F32,
                .n_dim = 2,
                .dim = {k ? 1 : info->n_column, info->n_matrix, 1, 1},
            };
        }
    }
}

static llrt_status write_floats(llrti_gguf_writer *writer, const entry *e, float *buffer,
                                llrt_error *err)
{
    const size_t n = (size_t)e->info.n_column * e->info.n_matrix;
    for (size_t i = 0; i < n; i++) buffer[i] = (float)e->sum[i];
    LLRTI_TRY(llrti_gguf_write_data(writer, buffer, n * sizeof *buffer, err));
    for (uint32_t i = 0; i < e->info.n_matrix; i++) buffer[i] = (float)e->count[i];
    return llrti_gguf_write_data(writer, buffer, e->info.n_matrix * sizeof *buffer, err);
}

static llrt_status write_gguf(const matrix *m, const char *path, const llrti_gguf_content *content,
                              float *buffer, llrt_error *err)
{
    llrti_gguf_writer writer;
    uint8_t *head = NULL;
    size_t n_head;
    uint64_t n_all;
    LLRTI_TRY(llrti_gguf_write_head(m->mem, content, &head, &n_head, &n_all, err));
    llrt_status status = llrti_gguf_write_open(&writer, path, content, head, n_head, err);
    llrti_free(m->mem, head);
    if (status < 0) return status;
    for (size_t i = 0; i < m->n && status == LLRT_OK; i++)
        status = write_floats(&writer, &m->entry[i], buffer, err);
    if (status == LLRT_OK) status = llrti_gguf_write_commit(&writer, err);
    llrti_gguf_write_discard(&writer);
    return status;
}

static size_t largest_entry(const matrix *m)
{
    size_t most = 1;
    for (size_t i = 0; i < m->n; i++) {
        const size_t n = (size_t)m->entry[i].info.n_column * m->entry[i].info.n_matrix;
        most = LLRTI_MAX(most, LLRTI_MAX(n, m->entry[i].info.n_matrix));
    }
    return most;
}

static llrt_status save_gguf(const matrix *m, const char *path, llrt_error *err)
{
    const llrti_string dataset = {m->options->dataset, strlen(m->options->dataset)};
    llrti_meta datasets = {
        .key = "imatrix.datasets", .type = LLRTI_META_ARRAY, .element = LLRTI_META_STRING, .n = 1};
    datasets.value.array = &dataset;
    const llrti_meta metas[] = {string_meta("general.type", "imatrix"), datasets,
                                u32_meta("imatrix.chunk_count", m->options->n_chunk),
                                u32_meta("imatrix.chunk_size", m->options->chunk_size)};
    llrti_tensor *const tensor =
        llrti_calloc(m->mem, 2 * m->n, sizeof *tensor, LLRT_MEMORY_LOADING);
    char(*const name)[NAME_BYTES] = llrti_calloc(m->mem, 2 * m->n, NAME_BYTES, LLRT_MEMORY_LOADING);
    float *const buffer =
        llrti_calloc(m->mem, largest_entry(m), sizeof *buffer, LLRT_MEMORY_LOADING);
    llrt_status status;
    if (tensor && name && buffer) {
        describe(m, tensor, name);
        const llrti_gguf_content content = {
            .meta = metas,
            .n_meta = LLRTI_COUNT(metas),
            .tensor = tensor,
            .n_tensor = 2 * m->n,
            .alignment = 32,
        };
        status = write_gguf(m, path, &content, buffer, err);
    } else {
        status = llrti_fail_nomem(err, "an importance matrix", 2 * m->n * sizeof *tensor);
    }
    llrti_free(m->mem, buffer);
    llrti_free(m->mem, name);
    llrti_free(m->mem, tensor);
    return status;
}

/* ---- The format before ---- */

static llrt_status put_u32(llrti_out_file *file, uint32_t value, llrt_error *err)
{
    uint8_t bytes[4];
    for (int i = 0; i < 4; i++) bytes[i] = (uint8_t)(value >> (8 * i));
    return llrti_out_file_write(file, bytes, sizeof bytes, err);
}

static llrt_status put_text(llrti_out_file *file, const char *text, llrt_error *err)
{
    const size_t n = strlen(text);
    LLRTI_TRY(put_u32(file, (uint32_t)n, err));
    return llrti_out_file_write(file, text, n, err);
}

/* Values of one matrix, some at a time. */
static llrt_status put_means(llrti_out_file *file, const double *sum, size_t n, uint64_t count,
                             uint32_t n_call, llrt_error *err)
{
    uint8_t bytes[4 * 1024];
    size_t n_held = 0;
    for (size_t i = 0; i < n; i++) {
        const float value = (float)((count ? sum[i] / (double)count : 1.0) * n_call);
        uint32_t bits;
        memcpy(&bits, &value, sizeof bits);
        for (int k = 0; k < 4; k++) bytes[n_held++] = (uint8_t)(bits >> (8 * k));
        if (n_held < sizeof bytes && i + 1 < n) continue;
        LLRTI_TRY(llrti_out_file_write(file, bytes, n_held, err));
        n_held = 0;
    }
    return LLRT_OK;
}

static llrt_status put_entry(llrti_out_file *file, const entry *e, uint32_t chunk_size,
                             llrt_error *err)
{
    const size_t n_column = (size_t)e->info.n_column, n = n_column * e->info.n_matrix;
    uint64_t most = 0;
    for (uint32_t i = 0; i < e->info.n_matrix; i++) most = LLRTI_MAX(most, e->count[i]);
    /* Rounded up: a matrix that has seen anything must not count as one that has not. */
    const uint32_t n_call = (uint32_t)((most + chunk_size - 1) / chunk_size);
    LLRTI_TRY(put_text(file, e->info.name, err));
    LLRTI_TRY(put_u32(file, n_call, err));
    LLRTI_TRY(put_u32(file, (uint32_t)n, err));
    for (uint32_t i = 0; i < e->info.n_matrix; i++)
        LLRTI_TRY(put_means(file, e->sum + i * n_column, n_column, e->count[i], n_call, err));
    return LLRT_OK;
}

static llrt_status save_legacy(const matrix *m, const char *path, llrt_error *err)
{
    llrti_out_file file;
    LLRTI_TRY(llrti_out_file_open(path, &file, err));
    llrt_status status = put_u32(&file, (uint32_t)m->n, err);
    for (size_t i = 0; i < m->n && status == LLRT_OK; i++)
        status = put_entry(&file, &m->entry[i], m->options->chunk_size, err);
    if (status == LLRT_OK) status = put_u32(&file, m->options->n_chunk, err);
    if (status == LLRT_OK) status = put_text(&file, m->options->dataset, err);
    if (status == LLRT_OK) status = llrti_out_file_commit(&file, err);
    if (status < 0) llrti_out_file_discard(&file);
    return status;
}

llrt_status llrt_imatrix_save(llrt_engine *engine, const char *path,
                              const llrt_imatrix_options *options, llrt_error *err)
{
    llrt_imatrix_options o = option_defaults;
    llrt_squares_info first = {.struct_size = (uint32_t)sizeof first};
    LLRTI_TRY(llrt_engine_squares_info(engine, 0, &first, err));
    if (!path) return llrti_fail(err, LLRT_ERR_ARGUMENT, "path is NULL");
    if (options)
        LLRTI_TRY(llrti_struct_copy_in(&o, sizeof o, options, "llrt_imatrix_options", err));
    if (o.chunk_size == 0 || o.reserved)
        return llrti_fail_field(err, LLRT_ERR_ARGUMENT, o.reserved ? "reserved" : "chunk_size",
                                "found %u, expected %s", o.reserved ? o.reserved : o.chunk_size,
                                o.reserved ? "0" : "1 or more");
    if (!o.dataset) o.dataset = "";
    matrix m = {.mem = &engine->mem, .options = &o};
    llrt_status status = collect(engine, &m, err);
    if (status == LLRT_OK)
        status = o.is_legacy ? save_legacy(&m, path, err) : save_gguf(&m, path, err);
    if (status == LLRT_ERR_IO) llrti_error_file(err, path);
    free_matrix(&m);
    return status;
}
