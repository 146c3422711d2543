/* SPDX-License-Identifier: MIT */
/*
 * The converting loop. Work goes in batches of a MiB of output: each task of a batch reads and
 * converts some rows into its place of the batch, then the calling thread writes the batch and
 * reports progress. A task's rows need scratch for their bytes and floats, which belongs to its
 * worker. Of several failures in a batch the one of the first row is reported, whichever thread was
 * faster.
 */
#include "quant_run.h"

#include <fenv.h>
#include <math.h>
#include <string.h>

#include "blocks.h"
#include "quant_rows.h"
#include "types.h"
#include "weight.h"

#define BATCH_BYTES                                                                                \
    ((size_t)1 << 20)     /* a fraction of a second of searching: a cancel is not kept waiting */
#define TASK_VALUES 65536 /* values a task converts: enough to make its overhead small */

typedef struct job {
    llrti_mem *mem;
    const llrti_model_file *file;
    llrti_workers *workers;
    llrti_gguf_writer *writer;
    uint8_t *batch;   /* output rows of a batch */
    uint8_t *raw;     /* (n_worker x n_raw) rows as the source has them */
    uint8_t *scratch; /* (n_worker x n_scratch) what reading them takes */
    float *value;     /* (n_worker x n_value) */
    size_t n_batch, n_raw, n_scratch, n_value;
    /* the tensor at hand */
    const llrti_quant_item *item;
    const llrti_tensor *tensor;
    uint64_t n_row;      /* of the tensor */
    size_t row_bytes;    /* of the result */
    size_t rows_at_once; /* of a task */
    uint64_t first, end; /* rows of the batch */
    /* the first failure of a batch */
    llrti_mutex mutex;
    bool has_mutex;
    llrt_status status;
    uint64_t failed_row;
    llrt_error *err;
} job;

/* ---- rows of the source ---- */

static const llrti_gguf_form *form_of(const llrti_quant_item *item)
{
    return item->weight ? item->weight->form : NULL;
}

/* The rows are reordered as the form says; a vector is one row. */
static const uint32_t *row_order(const llrti_quant_item *item)
{
    const llrti_gguf_form *const form = form_of(item);
    return form && item->weight->desc.n_dim > 1 ? form->row : NULL;
}

/* The same for the elements of each row. */
static const uint32_t *element_order(const llrti_quant_item *item)
{
    const llrti_gguf_form *const form = form_of(item);
    return !form ? NULL : item->weight->desc.n_dim > 1 ? form->column : form->row;
}

/* What becomes place `at` when heads are reordered. */
static uint64_t place_before(const llrti_quant_item *item, uint64_t at)
{
    const uint64_t in_head = at % item->head_dim;
    if (in_head >= item->n_rot) return at;
    return at - in_head + in_head % 2 * (item->n_rot / 2) + in_head / 2;
}

/* The row of the source that becomes row `row`. */
static uint64_t source_row(const job *j, uint64_t row)
{
    const uint32_t *const order = row_order(j->item);
    if (order) return order[row];
    return j->item->n_rot && j->n_row > 1 ? place_before(j->item, row) : row;
}

static uint64_t n_row_of(const llrti_tensor *tensor)
{
    return tensor->dim[1] * tensor->dim[2] * tensor->dim[3];
}

/* Rows [row, row + n) of the result as floats, read by way of `raw` and `scratch`. */
static llrt_status read_rows(const job *j, uint64_t row, size_t n, uint8_t *raw, uint8_t *scratch,
                             float *out, llrt_error *err)
{
    const size_t k = (size_t)j->tensor->dim[0];
    const llrti_model_weight *const weight = j->item->weight;
    if (!weight) {
        memcpy(out, j->item->value + row * k, n * k * sizeof *out);
        return LLRT_OK;
    }
    const bool is_in_order = !row_order(j->item) && (!j->item->n_rot || j->n_row == 1);
    const size_t at_once = is_in_order ? n : 1;
    const llrti_blocks_widen widen = llrti_blocks_find(weight->desc.type);
    for (size_t i = 0; i < n; i += at_once) {
        LLRTI_TRY(
            llrti_weight_read(j->file, weight, source_row(j, row + i), at_once, raw, scratch, err));
        widen(raw, out + i * k, at_once * k);
    }
    return LLRT_OK;
}

/* ---- a task ---- */

static llrt_status fail_value(const job *j, uint64_t row, size_t column, float value,
                              llrt_error *err)
{
    return llrti_fail_field(err, LLRT_ERR_FORMAT, j->tensor->name,
                            "tensor '%s': found %g at row %llu, column %zu, expected a finite "
                            "number",
                            j->tensor->name, (double)value, (unsigned long long)row, column);
}

static llrt_status fail_range(const job *j, uint64_t row, const float *x, llrt_error *err)
{
    float peak = 0.0f;
    for (uint64_t i = 0; i < j->tensor->dim[0]; i++) peak = fmaxf(peak, fabsf(x[i]));
    return llrti_fail_field(err, LLRT_ERR_FORMAT, j->tensor->name,
                            "tensor '%s': row %llu has values up to %g, which %s can't hold",
                            j->tensor->name, (unsigned long long)row, (double)peak,
                            llrti_type_name(j->tensor->type));
}

static llrt_status convert_row(const job *j, uint64_t row, float *x, uint8_t *out, llrt_error *err)
{
    const size_t k = (size_t)j->tensor->dim[0];
    const llrti_quant_item *const item = j->item;
    const float *importance = NULL;
    if (item->importance) {
        const uint64_t n_matrix = item->n_importance / k;
        importance = item->importance + row / (j->n_row / n_matrix) * k;
    }
    const llrti_gguf_form *const form = form_of(item);
    if (form && form->is_negated_exp)
        for (size_t i = 0; i < k; i++) x[i] = (float)-exp((double)x[i]);
    if (item->offset != 0.0f)
        for (size_t i = 0; i < k; i++) x[i] += item->offset;
    for (size_t i = 0; i < k; i++)
        if (!isfinite(x[i])) return fail_value(j, row, i, x[i], err);
    llrti_quant_rows_find(j->tensor->type)(x, importance, k, out);
    if (!llrti_quant_rows_is_finite(j->tensor->type, out, k)) return fail_range(j, row, x, err);
    return LLRT_OK;
}

static llrt_status convert_rows(const job *j, uint64_t row, size_t n, uint32_t worker,
                                uint64_t *failed, llrt_error *err)
{
    float *const value = j->value + worker * j->n_value;
    const size_t k = (size_t)j->tensor->dim[0];
    uint8_t *const raw = j->raw + worker * j->n_raw;
    uint8_t *const scratch = j->scratch ? j->scratch + worker * j->n_scratch : NULL;
    *failed = row;
    LLRTI_TRY(read_rows(j, row, n, raw, scratch, value, err));
    if (j->item->n_rot && j->n_row == 1) {
        memcpy(raw, value, k * sizeof *value);
        for (size_t i = 0; i < k; i++)
            memcpy(&value[i], raw + place_before(j->item, i) * sizeof *value, sizeof *value);
    }
    const uint32_t *const order = element_order(j->item);
    for (size_t i = 0; order && i < n; i++) {
        memcpy(raw, value + i * k, k * sizeof *value);
        for (size_t c = 0; c < k; c++)
            memcpy(&value[i * k + c], raw + order[c] * sizeof *value, sizeof *value);
    }
    for (size_t i = 0; i < n; i++) {
        uint8_t *const out = j->batch + (size_t)(row + i - j->first) * j->row_bytes;
        *failed = row + i;
        LLRTI_TRY(convert_row(j, row + i, value + i * k, out, err));
    }
    return LLRT_OK;
}

static void run_task(void *arg, uint32_t task, uint32_t worker)
{
    job *const j = arg;
    const uint64_t row = j->first + (uint64_t)task * j->rows_at_once;
    const size_t n = (size_t)LLRTI_MIN((uint64_t)j->rows_at_once, j->end - row);
    llrt_error err = LLRT_ERROR_INIT;
    uint64_t failed = row;
    /* The host may run us with other rounding or without subnormal numbers. */
    fenv_t host;
    const bool is_saved = fegetenv(&host) == 0 && fesetenv(FE_DFL_ENV) == 0;
    const llrt_status status = convert_rows(j, row, n, worker, &failed, &err);
    if (is_saved) fesetenv(&host);
    if (status == LLRT_OK) return;
    llrti_mutex_lock(&j->mutex);
    if (j->status == LLRT_OK || failed < j->failed_row) {
        j->status = status;
        j->failed_row = failed;
        llrti_error_copy(j->err, &err);
    }
    llrti_mutex_unlock(&j->mutex);
}

/* ---- a tensor ---- */

/* Bytes that need no arithmetic: integers. */
static llrt_status copy_tensor(job *j)
{
    const llrti_tensor *const from = j->item->weight->tensor;
    for (uint64_t at = 0; at < from->n_byte;) {
        const size_t n = (size_t)LLRTI_MIN(from->n_byte - at, (uint64_t)j->n_batch);
        LLRTI_TRY(llrti_model_file_read(j->file, from, at, j->batch, n, j->err));
        LLRTI_TRY(llrti_gguf_write_data(j->writer, j->batch, n, j->err));
        at += n;
    }
    return LLRT_OK;
}

/* The tensor stays what it is; its values are still looked at. */
static bool is_copied(const job *j)
{
    const llrti_quant_item *const item = j->item;
    return item->weight && llrti_weight_is_direct(item->weight) && !form_of(item) && !item->n_rot &&
           item->offset == 0.0f && item->weight->desc.type == j->tensor->type;
}

static llrt_status check_copied(const job *j, uint64_t row, size_t n, const uint8_t *raw,
                                float *value)
{
    const size_t k = (size_t)j->tensor->dim[0];
    const llrti_type_info *const info = llrti_type_find(j->tensor->type);
    if (info->block > 1) {
        for (size_t i = 0; i < n; i++)
            if (!llrti_quant_rows_is_finite(j->tensor->type, raw + i * j->row_bytes, k))
                return fail_value(j, row + i, 0, NAN, j->err);
        return LLRT_OK;
    }
    for (size_t i = 0; i < n; i++) {
        llrti_blocks_find(j->tensor->type)(raw + i * j->row_bytes, value, k);
        for (size_t c = 0; c < k; c++)
            if (!isfinite(value[c])) return fail_value(j, row + i, c, value[c], j->err);
    }
    return LLRT_OK;
}

/* Rows that fit a batch; the buffers have room for one row at least. */
static size_t rows_of_batch(const job *j)
{
    return (size_t)LLRTI_MIN(LLRTI_MAX(j->n_batch / j->row_bytes, (size_t)1), j->n_row);
}

static llrt_status copy_rows(job *j)
{
    const llrti_tensor *const from = j->item->weight->tensor;
    const size_t n_most = rows_of_batch(j);
    for (j->first = 0; j->first < j->n_row; j->first += n_most) {
        const size_t n = (size_t)LLRTI_MIN((uint64_t)n_most, j->n_row - j->first);
        LLRTI_TRY(llrti_model_file_read(j->file, from, j->first * j->row_bytes, j->batch,
                                        n * j->row_bytes, j->err));
        LLRTI_TRY(check_copied(j, j->first, n, j->batch, j->value));
        LLRTI_TRY(llrti_gguf_write_data(j->writer, j->batch, n * j->row_bytes, j->err));
    }
    return LLRT_OK;
}

typedef struct progress {
    llrt_progress report;
    void *ctx;
    double done, all; /* values */
} progress;

static llrt_status report(progress *p, double n, llrt_error *err)
{
    p->done += n;
    if (!p->report || p->report(p->ctx, p->all > 0 ? p->done / p->all : 1.0) == 0) return LLRT_OK;
    return llrti_fail(err, LLRT_ERR_CANCELLED, "the progress callback ended the conversion");
}

static llrt_status convert_tensor(job *j, progress *p)
{
    const uint64_t k = j->tensor->dim[0];
    const size_t n_most = rows_of_batch(j);
    for (j->first = 0; j->first < j->n_row; j->first = j->end) {
        j->end = LLRTI_MIN(j->first + n_most, j->n_row);
        const size_t n = (size_t)(j->end - j->first);
        const uint32_t n_task = (uint32_t)((n + j->rows_at_once - 1) / j->rows_at_once);
        llrti_workers_run(j->workers, n_task, run_task, j);
        if (j->status < 0) return j->status;
        LLRTI_TRY(llrti_gguf_write_data(j->writer, j->batch, n * j->row_bytes, j->err));
        LLRTI_TRY(report(p, (double)n * (double)k, j->err));
    }
    return LLRT_OK;
}

static llrt_status grow(job *j, void **buffer, size_t *n, size_t wanted, uint32_t count,
                        const char *what)
{
    size_t n_byte = SIZE_MAX;
    if (wanted <= *n && *buffer) return LLRT_OK;
    llrti_free(j->mem, *buffer);
    *n = 0;
    *buffer = llrti_mul_size(wanted, count, &n_byte)
                  ? llrti_alloc(j->mem, n_byte, LLRT_MEMORY_LOADING)
                  : NULL;
    if (!*buffer) return llrti_fail_nomem(j->err, what, n_byte);
    *n = wanted;
    return LLRT_OK;
}

/* Makes the buffers fit the tensor. */
static llrt_status reserve(job *j)
{
    const uint32_t n_worker = llrti_workers_count(j->workers);
    const uint64_t k = j->tensor->dim[0];
    const size_t n_value = (size_t)LLRTI_MAX(k, (uint64_t)TASK_VALUES);
    j->rows_at_once = (size_t)LLRTI_MAX(TASK_VALUES / LLRTI_MAX(k, 1u), 1u);
    const size_t n_scratch =
        j->item->weight
            ? llrti_weight_scratch(j->item->weight, LLRTI_MIN((uint64_t)j->rows_at_once, j->n_row))
            : 0;
    void *batch = j->batch, *raw = j->raw, *scratch = j->scratch, *value = j->value;
    size_t n_float = j->n_value * sizeof(float);
    llrt_status status =
        grow(j, &batch, &j->n_batch, LLRTI_MAX(BATCH_BYTES, j->row_bytes), 1, "converted rows");
    if (status == LLRT_OK)
        status = grow(j, &raw, &j->n_raw, n_value * sizeof(float), n_worker, "rows to convert");
    if (status == LLRT_OK && n_scratch)
        status = grow(j, &scratch, &j->n_scratch, (n_scratch + 63) & ~(size_t)63, n_worker,
                      "rows to convert");
    if (status == LLRT_OK)
        status = grow(j, &value, &n_float, n_value * sizeof(float), n_worker, "rows to convert");
    j->batch = batch;
    j->raw = raw;
    j->scratch = scratch;
    j->value = value;
    j->n_value = n_float / sizeof(float);
    return status;
}

static llrt_status run_tensor(job *j, const llrti_quant_item *item, const llrti_tensor *tensor,
                              progress *p)
{
    llrti_tensor flat = *tensor;
    const llrti_gguf_form *const form = form_of(item);
    if (form && form->row_elements) { /* the rows of a vector: their bytes are those of one */
        flat.dim[0] = n_row_of(tensor) * tensor->dim[0];
        flat.dim[1] = flat.dim[2] = flat.dim[3] = 1;
        tensor = &flat;
    }
    j->item = item;
    j->tensor = tensor;
    j->n_row = n_row_of(tensor);
    if (tensor->n_byte == 0) return LLRT_OK;
    if (!llrti_type_row_bytes(tensor->type, tensor->dim[0], &j->row_bytes))
        return llrti_fail_field(j->err, LLRT_ERR_INTERNAL, tensor->name, "row size");
    LLRTI_TRY(reserve(j));
    if (!is_copied(j)) return convert_tensor(j, p);
    LLRTI_TRY(llrti_blocks_find(tensor->type) ? copy_rows(j) : copy_tensor(j));
    return report(p, (double)tensor->dim[0] * (double)j->n_row, j->err);
}

llrt_status llrti_quant_run(llrti_mem *mem, const llrti_model_file *file, llrti_workers *workers,
                            const llrti_quant_item *item, llrti_gguf_writer *writer,
                            llrt_progress progress_fn, void *progress_ctx, llrt_error *err)
{
    job j = {.mem = mem, .file = file, .workers = workers, .writer = writer, .err = err};
    progress p = {progress_fn, progress_ctx, 0, 0};
    llrt_status status = LLRT_OK;
    const llrti_gguf_content *const content = writer->content;
    for (size_t i = 0; i < content->n_tensor; i++)
        p.all += (double)content->tensor[i].dim[0] * (double)n_row_of(&content->tensor[i]);
    j.has_mutex = llrti_mutex_init(&j.mutex);
    if (!j.has_mutex) return llrti_fail_nomem(err, "a mutex", sizeof j.mutex);
    status = report(&p, 0, err);
    for (size_t i = 0; i < content->n_tensor && status == LLRT_OK; i++)
        status = run_tensor(&j, &item[i], &content->tensor[i], &p);
    llrti_free(mem, j.batch);
    llrti_free(mem, j.raw);
    llrti_free(mem, j.scratch);
    llrti_free(mem, j.value);
    llrti_mutex_free(&j.mutex);
    return status;
}
