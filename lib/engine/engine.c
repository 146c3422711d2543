/* SPDX-License-Identifier: MIT */
/*
 * Opening and closing of engines, and what can be asked of one. Opening is two halves: prepare
 * parses the file, builds model, tokenizer and stages, and makes the memory plan; build allocates
 * what was planned and loads. llrt_engine_plan is the first half alone.
 *
 * Whatever opening has done when it fails, llrti_engine_unref undoes: every part accepts that it
 * was never made. See engine_impl.h for how an engine lives and ends.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "adapter_impl.h"
#include "embedding_impl.h"
#include "engine_impl.h"
#include "loader.h"
#include "options.h"
#include "plan.h"
#include "session_impl.h"
#include "squares.h"
#include "struct_copy.h"
#include "tokenizer_impl.h"
#include "types.h"

#define LOG_BYTES 512

void llrti_engine_log(const llrt_engine *engine, llrt_log_level level, const char *format, ...)
{
    if (!engine->logger.log || level > engine->logger.max_level) return;
    char line[LOG_BYTES];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    engine->logger.log(engine->logger.ctx, level, line);
}

llrt_status llrti_engine_check(const llrt_engine *engine, llrt_error *err)
{
    if (!engine) return llrti_fail(err, LLRT_ERR_ARGUMENT, "the engine is NULL");
    if (engine->process == llrti_process_id()) return LLRT_OK;
    return llrti_fail(err, LLRT_ERR_FORKED,
                      "the engine was opened before fork(2) and can't be used in the child");
}

/* ---- What backends are given ---- */

static void *host_alloc(void *ctx, size_t size, size_t align, llrt_memory kind)
{
    llrt_engine *const engine = ctx;
    if (kind < 0 || kind >= LLRT_MEMORY_COUNT) return NULL;
    return llrti_bulk_alloc(&engine->mem, size, align, kind);
}

static void host_free(void *ctx, void *ptr, size_t size, size_t align, llrt_memory kind)
{
    llrt_engine *const engine = ctx;
    llrti_bulk_free(&engine->mem, ptr, size, align, kind);
}

static void host_log(void *ctx, llrt_log_level level, const char *text)
{
    llrti_engine_log(ctx, level, "%s", text);
}

static void host_parallel_for(void *ctx, uint32_t n_task,
                              void (*task)(void *arg, uint32_t task, uint32_t worker), void *arg)
{
    const llrt_engine *const engine = ctx;
    llrti_workers_run(engine->workers, n_task, task, arg);
}

/* ---- Life ---- */

/*
 * The block holds the counters of its own memory, so it is allocated by a borrowed set and then
 * counted by hand.
 */
static llrt_engine *create_block(const llrt_allocator *hooks)
{
    llrti_mem boot;
    llrti_mem_init(&boot, hooks);
    llrt_engine *const engine =
        llrti_bulk_alloc(&boot, sizeof *engine, LLRTI_CACHE_LINE, LLRT_MEMORY_HOST);
    if (!engine) return NULL;
    memset(engine, 0, sizeof *engine);
    llrti_mem_init(&engine->mem, hooks);
    atomic_store(&engine->mem.live[LLRT_MEMORY_HOST], sizeof *engine);
    atomic_store(&engine->mem.peak[LLRT_MEMORY_HOST], sizeof *engine);
    atomic_store(&engine->mem.total_live, sizeof *engine);
    atomic_store(&engine->mem.total_peak, sizeof *engine);
    atomic_init(&engine->n_ref, 1);
    engine->process = llrti_process_id();
    engine->block_bytes = sizeof *engine;
    return engine;
}

static void free_block(void *ctx)
{
    llrt_engine *const engine = ctx;
    llrti_mem boot;
    llrti_mem_init(&boot, &engine->mem.hooks);
    llrti_bulk_free(&boot, engine, engine->block_bytes, LLRTI_CACHE_LINE, LLRT_MEMORY_HOST);
}

static void shut_down(llrt_engine *engine)
{
    llrti_placement_free_all(engine);
    llrti_squares_free(engine);
    llrti_free(&engine->mem, engine->tap_layer);
    llrti_adapter_free_slots(engine);
    llrti_step_free(engine);
    llrti_pool_free(&engine->mem, &engine->pool);
    llrti_workers_free(engine->workers);
    llrti_backends_close(&engine->backends);
    llrti_meta_text_free(&engine->mem, &engine->meta_text);
    llrti_model_free(engine->model);
    llrti_model_file_close(engine->file);
    if (engine->has_locks) {
        llrti_cond_free(&engine->arrival);
        llrti_cond_free(&engine->idle);
        llrti_mutex_free(&engine->lock);
    }
    if (engine->tokenizer) {
        /* A token stream may outlive the engine, and with it the memory counters. */
        llrti_tokenizer_on_release(engine->tokenizer, free_block, engine);
        llrti_tokenizer_unref(engine->tokenizer);
    } else {
        free_block(engine);
    }
}

void llrti_engine_ref(llrt_engine *engine)
{
    atomic_fetch_add_explicit(&engine->n_ref, 1, memory_order_relaxed);
}

void llrti_engine_unref(llrt_engine *engine)
{
    if (atomic_fetch_sub_explicit(&engine->n_ref, 1, memory_order_acq_rel) == 1) shut_down(engine);
}

void llrt_engine_close(llrt_engine *engine)
{
    /* In a child of the process the threads are gone and the memory is the parent's business. */
    if (llrti_engine_check(engine, NULL) == LLRT_OK) llrti_engine_unref(engine);
}

/* ---- Opening ---- */

static llrt_status create_locks(llrt_engine *engine, llrt_error *err)
{
    if (!llrti_mutex_init(&engine->lock)) return llrti_fail_nomem(err, "a lock", 0);
    if (!llrti_cond_init(&engine->idle)) {
        llrti_mutex_free(&engine->lock);
        return llrti_fail_nomem(err, "a condition variable", 0);
    }
    if (!llrti_cond_init(&engine->arrival)) {
        llrti_cond_free(&engine->idle);
        llrti_mutex_free(&engine->lock);
        return llrti_fail_nomem(err, "a condition variable", 0);
    }
    engine->has_locks = true;
    return LLRT_OK;
}

/* The list of layers is the caller's. */
static llrt_status keep_taps(llrt_engine *engine, llrt_error *err)
{
    const uint32_t n = engine->options.n_tap;
    if (n == 0) return LLRT_OK;
    engine->tap_layer = llrti_alloc(&engine->mem, n * sizeof *engine->tap_layer, LLRT_MEMORY_HOST);
    if (!engine->tap_layer)
        return llrti_fail_nomem(err, "the list of taps", n * sizeof *engine->tap_layer);
    memcpy(engine->tap_layer, engine->options.tap_layer, n * sizeof *engine->tap_layer);
    return LLRT_OK;
}

static llrt_status create_model(llrt_engine *engine, llrt_error *err)
{
    llrt_engine_options *const o = &engine->options;
    const llrti_model_options options = {o->n_ctx, o->n_tap, o->tap_layer};
    LLRTI_TRY(llrti_model_create_tapped(&engine->mem, engine->file, &options, &engine->model, err));
    LLRTI_TRY(keep_taps(engine, err));
    const llrti_model *const model = engine->model;
    engine->n_ctx = model->n_ctx;
    engine->n_vocab = model->n_vocab;
    engine->d_model = model->d_model;
    LLRTI_TRY(llrti_options_step(o, model->is_bidirectional, engine->n_ctx, err));
    /* Rows without logits are small, and a text that is read as a whole wants them all at once. */
    if (!model->can_generate) o->n_step_out = o->n_step_tok;
    return LLRT_OK;
}

static llrt_status create_pool(llrt_engine *engine, llrt_error *err)
{
    /*
     * A windowed part belongs to a page: with as many parts as pages whoever has the page can have
     * it.
     */
    const llrti_slots_options window = {
        .n_slot = engine->n_window_page,
        .n_page = engine->n_page,
        .n_spare = engine->n_window_spare,
        .is_metered = engine->n_window_page < engine->n_page,
    };
    const llrti_slots_options state = {
        .n_slot = engine->n_state,
        .n_page = engine->n_page,
        .n_spare = engine->n_state_spare,
        .is_metered = true,
        .is_ranked = true,
    };
    llrti_pool *const pool = &engine->pool;
    LLRTI_TRY(llrti_pool_create(&engine->mem, pool, engine->n_page, err));
    LLRTI_TRY(llrti_slots_create(&engine->mem, &pool->window, &window, err));
    return llrti_slots_create(&engine->mem, &pool->state, &state, err);
}

/* With metadata_only a file is to be looked at: what it lacks for computing is no failure. */
static llrt_status forgive(const llrt_engine *engine, llrt_status status, const char *what,
                           const llrt_error *found, llrt_error *err)
{
    const bool is_inspecting = engine->options.metadata_only != 0;
    if (status == LLRT_OK) return LLRT_OK;
    if (is_inspecting && status != LLRT_ERR_NOMEM && status != LLRT_ERR_IO &&
        status != LLRT_ERR_ARGUMENT) {
        llrti_engine_log(engine, LLRT_LOG_WARN, "no %s: %s", what, found->text);
        return LLRT_OK;
    }
    llrti_error_copy(err, found);
    return status;
}

static llrt_status read_file(llrt_engine *engine, const char *path, llrt_error *err)
{
    const llrti_model_file_options options = {
        .source = engine->options.source ? &engine->source : NULL,
        .logger = engine->logger.log ? &engine->logger : NULL,
        .vocab_only = engine->options.metadata_only != 0,
        .is_inspecting = engine->options.metadata_only != 0,
    };
    llrt_error e = LLRT_ERROR_INIT;
    LLRTI_TRY(llrti_model_file_open(&engine->mem, path, &options, &engine->file, err));
    LLRTI_TRY(forgive(engine, create_model(engine, &e), "model", &e, err));
    const llrt_status status =
        llrti_tokenizer_create(&engine->mem, engine->file, &engine->tokenizer, &e);
    if (status != LLRT_ERR_NOT_FOUND) LLRTI_TRY(forgive(engine, status, "tokenizer", &e, err));
    return llrti_meta_text_create(&engine->mem, engine->file, &engine->meta_text, err);
}

static llrt_status take_options(llrt_engine *engine, const llrt_engine_options *options,
                                llrt_error *err)
{
    LLRTI_TRY(llrti_options_engine(options, &engine->options, err));
    llrt_engine_options *const o = &engine->options;
    if (o->logger) engine->logger = *o->logger;
    if (o->source) {
        LLRTI_TRY(llrti_struct_copy_in(&engine->source, sizeof engine->source, o->source,
                                       "llrt_source", err));
        if (!engine->source.open || !engine->source.read_at || !engine->source.close) {
            return llrti_fail_field(err, LLRT_ERR_ARGUMENT, "source",
                                    "open, read_at and close must be set");
        }
    }
    engine->host = (llrt_host){
        .struct_size = (uint32_t)sizeof engine->host,
        .n_worker = o->n_thread,
        .ctx = engine,
        .alloc = host_alloc,
        .free = host_free,
        .log = host_log,
        .parallel_for = host_parallel_for,
    };
    return LLRT_OK;
}

static llrt_status prepare(llrt_engine *engine, const char *path,
                           const llrt_engine_options *options, llrt_error *err)
{
    LLRTI_TRY(create_locks(engine, err));
    LLRTI_TRY(take_options(engine, options, err));
    LLRTI_TRY(read_file(engine, path, err));
    if (!engine->options.metadata_only) {
        LLRTI_TRY(llrti_placement_place(engine, err));
        LLRTI_TRY(llrti_model_file_fingerprint(engine->file, engine->fingerprint, err));
    }
    return llrti_plan_make(engine, err);
}

static llrt_status create_engine(const char *path, const llrt_engine_options *options,
                                 bool is_planning, llrt_engine **out, llrt_error *err)
{
    *out = NULL;
    if (!path) return llrti_fail(err, LLRT_ERR_ARGUMENT, "path is NULL");
    /*
     * The allocator is needed before anything is checked; its field is within every size there ever
     * was.
     */
    llrt_engine_options checked;
    LLRTI_TRY(llrti_options_engine(options, &checked, err));
    if (checked.allocator && (!checked.allocator->alloc || !checked.allocator->free)) {
        return llrti_fail_field(err, LLRT_ERR_ARGUMENT, "allocator",
                                "alloc and free must both be set");
    }
    llrt_engine *const engine = create_block(checked.allocator);
    if (!engine) return llrti_fail_nomem(err, "an engine", sizeof *engine);
    engine->is_planning = is_planning;
    const llrt_status status = prepare(engine, path, options, err);
    if (status < 0) {
        llrti_engine_unref(engine);
        return status;
    }
    *out = engine;
    return LLRT_OK;
}

static llrt_status build(llrt_engine *engine, llrt_error *err)
{
    const llrt_engine_options *const o = &engine->options;
    LLRTI_TRY(llrti_plan_check(engine, err));
    LLRTI_TRY(llrti_workers_create(&engine->mem, o->n_thread, o->parallel_for, o->parallel_ctx,
                                   &engine->workers, err));
    LLRTI_TRY(create_pool(engine, err));
    LLRTI_TRY(llrti_step_create(engine, err));
    LLRTI_TRY(llrti_adapter_create_slots(engine, err));
    LLRTI_TRY(llrti_squares_create(engine, err));
    LLRTI_TRY(llrti_placement_create_cross(engine, err));
    LLRTI_TRY(llrti_loader_run(engine, err));
    if (o->weights == LLRT_WEIGHTS_REPACKED) llrti_model_file_release(engine->file);
    LLRTI_TRY(llrti_placement_create_runtimes(engine, err));
    engine->is_ready = true;
    return LLRT_OK;
}

llrt_status llrt_engine_open(const char *path, const llrt_engine_options *options,
                             llrt_engine **out, llrt_error *err)
{
    if (!out) return llrti_fail(err, LLRT_ERR_ARGUMENT, "out is NULL");
    *out = NULL;
    const uint64_t begin = llrti_clock_ns();
    llrt_engine *engine;
    LLRTI_TRY(create_engine(path, options, false, &engine, err));
    if (!engine->options.metadata_only) {
        const llrt_status status = build(engine, err);
        if (status < 0) {
            llrti_engine_unref(engine);
            return status;
        }
    }
    /* The caller's structs are borrowed during the call only. */
    llrt_engine_options *const o = &engine->options;
    o->isa = o->plugin_dir = NULL;
    o->placement = NULL;
    o->tap_layer = NULL;
    o->allocator = NULL;
    o->logger = NULL;
    o->source = NULL;
    engine->load_ns = llrti_clock_ns() - begin;
    *out = engine;
    return LLRT_OK;
}

llrt_status llrt_engine_plan(const char *path, const llrt_engine_options *options, llrt_plan *plan,
                             llrt_error *err)
{
    llrt_engine *engine;
    if (!plan) return llrti_fail(err, LLRT_ERR_ARGUMENT, "plan is NULL");
    LLRTI_TRY(create_engine(path, options, true, &engine, err));
    const llrt_status status =
        llrti_struct_copy_out(plan, &engine->plan, sizeof engine->plan, "llrt_plan", err);
    llrti_engine_unref(engine);
    return status;
}

/* ---- Questions ---- */

/* The type that most bytes of the weights have. */
static const char *main_type(const llrt_engine *engine, uint64_t *n_parameter, uint64_t *n_byte)
{
    uint64_t most = 0;
    uint32_t type = LLRT_TYPE_F32;
    const uint32_t n = llrti_model_file_n_tensor(engine->file);
    *n_parameter = *n_byte = 0;
    for (uint32_t i = 0; i < n; i++) {
        const llrti_tensor *const t = llrti_model_file_tensor(engine->file, i);
        *n_parameter += t->dim[0] * t->dim[1] * t->dim[2] * t->dim[3];
        *n_byte += t->n_byte;
    }
    for (uint32_t k = 0; k < 64; k++) {
        uint64_t sum = 0;
        for (uint32_t i = 0; i < n; i++) {
            const llrti_tensor *const t = llrti_model_file_tensor(engine->file, i);
            if (t->type == k) sum += t->n_byte;
        }
        if (sum > most) {
            most = sum;
            type = k;
        }
    }
    return llrti_type_name(type);
}

static const char *architecture_of(const llrt_engine *engine)
{
    if (engine->model) return engine->model->architecture;
    for (size_t i = 0; i < engine->meta_text.entries.n; i++) {
        const llrt_meta *const meta = &engine->meta_text.entries.data[i];
        if (strcmp(meta->key, "general.architecture") == 0 ||
            strcmp(meta->key, "config.json:model_type") == 0)
            return meta->value;
    }
    return "";
}

llrt_status llrt_engine_info(const llrt_engine *engine, llrt_model_info *info, llrt_error *err)
{
    LLRTI_TRY(llrti_engine_check(engine, err));
    if (!info) return llrti_fail(err, LLRT_ERR_ARGUMENT, "info is NULL");
    llrt_model_info own = {.struct_size = (uint32_t)sizeof own, .name = ""};
    own.architecture = architecture_of(engine);
    own.type_name = main_type(engine, &own.n_parameter, &own.n_weight_byte);
    own.has_tokenizer = engine->tokenizer != NULL;
    own.n_ctx = engine->n_ctx;
    const llrti_model *const model = engine->model;
    if (model) {
        own.n_ctx_train = model->n_ctx_train;
        own.name = model->name;
        own.n_layer = model->n_layer;
        own.n_head = model->n_head;
        own.n_kv_head = model->n_kv_head;
        own.head_dim = model->head_dim;
        own.d_model = model->d_model;
        own.d_ff = model->d_ff;
        own.n_vocab = model->n_vocab;
        own.can_generate = model->can_generate;
        own.window = model->window;
        own.can_embed = model->can_embed;
        own.pooling = model->can_embed ? llrti_embedding_default(model) : LLRT_POOLING_DEFAULT;
        own.n_label = model->n_label;
        own.n_token_type = model->n_token_type;
        for (uint32_t i = 0; i < model->n_kv; i++) {
            const size_t n = llrti_placement_kv_bytes(engine->options.kv_type, &model->kv[i], 1);
            own.n_kv_byte += n;
            if (model->kv[i].group == LLRT_KV_GROUP_WINDOW) own.n_kv_window_byte += n;
        }
        for (uint32_t i = 0; i < model->n_state; i++)
            own.n_state_byte += model->state[i].n_float * sizeof(float);
        own.is_bidirectional = model->is_bidirectional;
    } else if (engine->tokenizer) {
        own.n_vocab = llrt_tokenizer_n_vocab(engine->tokenizer);
    }
    return llrti_struct_copy_out(info, &own, sizeof own, "llrt_model_info", err);
}

llrt_status llrt_engine_meta(const llrt_engine *engine, uint32_t index, llrt_meta *meta,
                             llrt_error *err)
{
    LLRTI_TRY(llrti_engine_check(engine, err));
    if (!meta) return llrti_fail(err, LLRT_ERR_ARGUMENT, "meta is NULL");
    if (index >= engine->meta_text.entries.n) {
        return llrti_fail(err, LLRT_ERR_NOT_FOUND, "entry %u of %zu", index,
                          engine->meta_text.entries.n);
    }
    return llrti_struct_copy_out(meta, &engine->meta_text.entries.data[index], sizeof *meta,
                                 "llrt_meta", err);
}

llrt_status llrt_engine_tensor(const llrt_engine *engine, uint32_t index, llrt_tensor_info *info,
                               llrt_error *err)
{
    LLRTI_TRY(llrti_engine_check(engine, err));
    if (!info) return llrti_fail(err, LLRT_ERR_ARGUMENT, "info is NULL");
    const uint32_t n = llrti_model_file_n_tensor(engine->file);
    if (index >= n) return llrti_fail(err, LLRT_ERR_NOT_FOUND, "tensor %u of %u", index, n);
    const llrti_tensor *const t = llrti_model_file_tensor(engine->file, index);
    llrt_tensor_info own = {
        .struct_size = (uint32_t)sizeof own,
        .n_dim = t->n_dim,
        .name = t->name,
        .type_name = llrti_type_name(t->type),
        .type = t->type,
        .file = t->file,
        .offset = t->offset,
        .n_byte = t->n_byte,
    };
    memcpy(own.dim, t->dim, sizeof own.dim);
    return llrti_struct_copy_out(info, &own, sizeof own, "llrt_tensor_info", err);
}

llrt_tokenizer *llrt_engine_tokenizer(const llrt_engine *engine)
{
    return engine ? engine->tokenizer : NULL;
}

llrt_status llrt_engine_get_stats(const llrt_engine *engine, llrt_engine_stats *stats,
                                  llrt_error *err)
{
    LLRTI_TRY(llrti_engine_check(engine, err));
    if (!stats) return llrti_fail(err, LLRT_ERR_ARGUMENT, "stats is NULL");
    llrt_engine *const e = (llrt_engine *)(uintptr_t)engine; /* only to lock it */
    llrt_engine_stats own = {.struct_size = (uint32_t)sizeof own};
    llrti_mutex_lock(&e->lock);
    own.n_session = e->n_session;
    own.n_step = e->n_step;
    own.n_tok_computed = e->n_tok_computed;
    own.n_tok_reused = e->n_tok_reused;
    own.n_page = e->pool.n_page;
    own.n_page_used = e->pool.n_page - e->pool.n_free - e->pool.n_cached;
    own.n_page_cached = e->pool.n_cached;
    const llrti_slots *const window = &e->pool.window, *const state = &e->pool.state;
    own.n_window_page = window->n_slot;
    own.n_window_page_used = window->n_slot - window->n_free - window->n_kept;
    own.n_window_page_cached = window->n_kept;
    own.n_window_page_evicted = window->n_evicted;
    own.n_state = state->n_slot;
    own.n_state_used = state->n_slot - state->n_free - state->n_kept;
    own.n_state_cached = state->n_kept;
    own.n_state_evicted = state->n_evicted;
    llrti_mutex_unlock(&e->lock);
    for (int k = 0; k < LLRT_MEMORY_COUNT; k++) {
        own.live[k] = llrti_mem_live(&engine->mem, k);
        own.peak[k] = llrti_mem_peak(&engine->mem, k);
    }
    own.load_ns = engine->load_ns;
    return llrti_struct_copy_out(stats, &own, sizeof own, "llrt_engine_stats", err);
}
