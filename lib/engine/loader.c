/* SPDX-License-Identifier: MIT */
/*
 * Loading: every weight is cut into chunks of whole rows, about CHUNK_BYTES each. The workers read
 * chunks into a staging buffer of their own and hand them to the backend, which rearranges them; so
 * reading and rearranging run on all processors and no more than one chunk per worker is held.
 *
 * Weights that the file holds in another way (turned round, in several tensors) are put together in
 * the staging buffer, whose second part is scratch for that. With mapped weights the backend gets
 * the address in the mapping and nothing is staged.
 *
 * Chunks go in batches, between which the opening thread reports progress: the callback runs on
 * that thread and may cancel. The first failure wins; the others see it and stop.
 */
#include "loader.h"

#include <stdatomic.h>
#include <string.h>

#include "engine_impl.h"
#include "types.h"
#include "weight.h"

/* Large enough that a read's fixed cost vanishes, small enough that a buffer per worker stays in the caches'
 * order of magnitude. */
#define CHUNK_BYTES ((size_t)4 << 20)
#define CHUNKS_PER_BATCH 16u

typedef struct weight_shape {
    uint64_t n_row;
    size_t row_bytes;
    uint64_t rows_per_chunk, n_chunk;
    size_t buffer_bytes; /* for one chunk */
} weight_shape;

typedef struct loader {
    llrt_engine *engine;
    uint32_t stage;
    unsigned char *staging; /* (n_worker, buffer_bytes) */
    size_t buffer_bytes;
    uint64_t *first_chunk; /* (n_weight + 1) of the stage */
    uint64_t batch_begin;
    atomic_bool has_failed;
    llrti_mutex lock; /* for the two below */
    llrt_status status;
    llrt_error err;
} loader;

static const llrti_model_weight *weight_of(const llrt_engine *engine, uint32_t stage, uint32_t i)
{
    return &engine->model->weight[engine->stages.cut[stage].weight[i]];
}

/* The model has checked shapes and types, so nothing overflows here. */
static weight_shape shape_of(const llrti_model_weight *weight)
{
    weight_shape s = {.n_row = llrti_weight_rows(weight)};
    llrti_type_row_bytes(weight->desc.type, weight->desc.dim[0], &s.row_bytes);
    uint64_t rows = s.row_bytes ? CHUNK_BYTES / s.row_bytes : 1;
    rows = rows / LLRT_WEIGHT_ROWS * LLRT_WEIGHT_ROWS;
    if (rows < LLRT_WEIGHT_ROWS) rows = LLRT_WEIGHT_ROWS;
    if (rows > s.n_row) rows = s.n_row;
    s.rows_per_chunk = rows;
    s.n_chunk = rows ? (s.n_row + rows - 1) / rows : 0;
    s.buffer_bytes = (size_t)rows * s.row_bytes + (rows ? llrti_weight_scratch(weight, rows) : 0);
    return s;
}

static size_t largest_buffer(const llrt_engine *engine, uint32_t *n_weight)
{
    size_t most = 0;
    *n_weight = 0;
    for (uint32_t s = 0; s < engine->stages.n; s++) {
        const uint32_t n = engine->stages.cut[s].n_weight;
        if (n > *n_weight) *n_weight = n;
        for (uint32_t i = 0; i < n; i++) {
            const weight_shape shape = shape_of(weight_of(engine, s, i));
            if (shape.buffer_bytes > most) most = shape.buffer_bytes;
        }
    }
    size_t rounded;
    llrti_round_up_size(most, LLRTI_CACHE_LINE, &rounded);
    return rounded;
}

size_t llrti_loader_bytes(const llrt_engine *engine)
{
    uint32_t n_weight;
    if (engine->options.weights == LLRT_WEIGHTS_MAPPED) return 0;
    const size_t buffer = largest_buffer(engine, &n_weight);
    return buffer * engine->options.n_thread + (n_weight + (size_t)1) * sizeof(uint64_t) +
           2 * LLRTI_ALLOC_HEADER;
}

static void fail_once(loader *l, llrt_status status, const llrt_error *err)
{
    llrti_mutex_lock(&l->lock);
    if (l->status == LLRT_OK) {
        l->status = status;
        l->err = *err;
    }
    llrti_mutex_unlock(&l->lock);
    atomic_store(&l->has_failed, true);
}

static void load_chunk(void *arg, uint32_t task, uint32_t worker)
{
    loader *const l = arg;
    if (atomic_load(&l->has_failed)) return;
    const uint64_t chunk = l->batch_begin + task;
    uint32_t low = 0, high = l->engine->stages.cut[l->stage].n_weight;
    while (high - low > 1) {
        const uint32_t middle = low + (high - low) / 2;
        if (l->first_chunk[middle] <= chunk)
            low = middle;
        else
            high = middle;
    }
    const llrti_model_weight *const weight = weight_of(l->engine, l->stage, low);
    const weight_shape shape = shape_of(weight);
    const uint64_t row = (chunk - l->first_chunk[low]) * shape.rows_per_chunk;
    const uint64_t n_row = LLRTI_MIN(shape.rows_per_chunk, shape.n_row - row);
    unsigned char *const buffer = l->staging + worker * l->buffer_bytes;
    const llrti_engine_stage *const stage = &l->engine->stages.at[l->stage];
    llrt_error err = LLRT_ERROR_INIT;
    llrt_status status = llrti_weight_read(l->engine->file, weight, row, n_row, buffer,
                                           buffer + (size_t)n_row * shape.row_bytes, &err);
    if (status == LLRT_OK)
        status = stage->backend->weight_put(stage->model, low, row, n_row, buffer, &err);
    if (status < 0) {
        llrti_error_field(&err, weight->desc.name);
        fail_once(l, status, &err);
    }
}

static llrt_status report(const llrt_engine *engine, uint64_t done, uint64_t all, llrt_error *err)
{
    const llrt_engine_options *const o = &engine->options;
    if (!o->progress) return LLRT_OK;
    if (o->progress(o->progress_ctx, all ? (double)done / (double)all : 1.0) == 0) return LLRT_OK;
    return llrti_fail(err, LLRT_ERR_CANCELLED, "the progress callback ended the loading");
}

static uint64_t count_chunks(loader *l, uint32_t stage, uint64_t *first)
{
    uint64_t n = 0;
    const uint32_t n_weight = l->engine->stages.cut[stage].n_weight;
    for (uint32_t i = 0; i < n_weight; i++) {
        if (first) first[i] = n;
        n += shape_of(weight_of(l->engine, stage, i)).n_chunk;
    }
    if (first) first[n_weight] = n;
    return n;
}

static llrt_status put_stage(loader *l, uint64_t *done, uint64_t all, llrt_error *err)
{
    const uint64_t n = count_chunks(l, l->stage, l->first_chunk);
    const uint32_t batch = CHUNKS_PER_BATCH + 4 * l->engine->options.n_thread;
    for (l->batch_begin = 0; l->batch_begin < n; l->batch_begin += batch) {
        const uint32_t n_task = (uint32_t)LLRTI_MIN(batch, n - l->batch_begin);
        llrti_workers_run(l->engine->workers, n_task, load_chunk, l);
        if (l->status < 0) {
            llrti_error_copy(err, &l->err);
            return l->status;
        }
        *done += n_task;
        LLRTI_TRY(report(l->engine, *done, all, err));
    }
    return LLRT_OK;
}

static llrt_status map_stage(loader *l, uint64_t *done, uint64_t all, llrt_error *err)
{
    const llrti_engine_stage *const stage = &l->engine->stages.at[l->stage];
    const uint32_t n = l->engine->stages.cut[l->stage].n_weight;
    for (uint32_t i = 0; i < n; i++) {
        const llrti_model_weight *const weight = weight_of(l->engine, l->stage, i);
        if (!llrti_weight_is_direct(weight)) {
            return llrti_fail_field(
                err, LLRT_ERR_UNSUPPORTED, weight->desc.name,
                "the file holds weight '%s' %s, so it can't be used from a mapping; open with "
                "repacked weights",
                weight->desc.name,
                weight->is_transposed ? "transposed"
                                      : "in another arrangement or in several tensors");
        }
        const void *data;
        llrt_status status = llrti_model_file_map(l->engine->file, weight->tensor, &data, err);
        if (status == LLRT_OK) status = stage->backend->weight_map(stage->model, i, data, err);
        if (status < 0) {
            llrti_error_field(err, weight->desc.name);
            return status;
        }
    }
    *done += count_chunks(l, l->stage, NULL);
    return report(l->engine, *done, all, err);
}

llrt_status llrti_loader_run(llrt_engine *engine, llrt_error *err)
{
    loader l = {.engine = engine};
    const bool is_mapped = engine->options.weights == LLRT_WEIGHTS_MAPPED;
    uint64_t all = 0, done = 0;
    uint32_t n_weight;
    l.buffer_bytes = largest_buffer(engine, &n_weight);
    l.err = (llrt_error)LLRT_ERROR_INIT;
    atomic_init(&l.has_failed, false);
    if (!llrti_mutex_init(&l.lock)) return llrti_fail_nomem(err, "a lock", 0);
    llrt_status status = LLRT_OK;
    if (!is_mapped) {
        const size_t staging = l.buffer_bytes * engine->options.n_thread;
        l.staging = llrti_alloc(&engine->mem, staging, LLRT_MEMORY_LOADING);
        l.first_chunk = llrti_alloc(&engine->mem, (n_weight + (size_t)1) * sizeof(uint64_t),
                                    LLRT_MEMORY_LOADING);
        if (!l.staging || !l.first_chunk) {
            status = llrti_fail_nomem(err, "the buffers for loading", staging);
            goto fail;
        }
    }
    for (uint32_t i = 0; i < engine->stages.n; i++) all += count_chunks(&l, i, NULL);
    LLRTI_TRY_GOTO(status, report(engine, 0, all, err));
    for (l.stage = 0; l.stage < engine->stages.n; l.stage++) {
        llrti_engine_stage *const stage = &engine->stages.at[l.stage];
        llrt_model_desc desc;
        llrti_placement_describe(engine, l.stage, &desc);
        LLRTI_TRY_GOTO(status,
                       stage->backend->model_create(&engine->host, &desc, &stage->model, err));
        LLRTI_TRY_GOTO(status,
                       is_mapped ? map_stage(&l, &done, all, err) : put_stage(&l, &done, all, err));
        LLRTI_TRY_GOTO(status, stage->backend->model_finish(stage->model, err));
    }
fail:
    llrti_free(&engine->mem, l.first_chunk);
    llrti_free(&engine->mem, l.staging);
    llrti_mutex_free(&l.lock);
    return status;
}
