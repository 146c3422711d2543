/* SPDX-License-Identifier: MIT */
/*
 * Adapters: from a file's changes to parts for the backends, slots, and the sets that sessions
 * attach. Opening one is
 *
 *   read the file's directory, match every change with a weight, check ranks      (no memory kept)
 *   take a slot
 *   read the matrices, arrange them as the model's file has its rows, hash them
 *   between steps: adapter_put in every stage
 *
 * so what is wrong with a file is found before anything is touched. Factors (alpha / rank) are
 * multiplied into b: parts of one adapter may have different ones, a step has one scale for all.
 *
 * The hash covers weights, shapes and elements: an adapter that is closed and loaded again finds
 * the prefixes it computed, and fits the sessions saved with it.
 */
#include "adapter_impl.h"

#include <math.h>
#include <string.h>

#include "adapter_file.h"
#include "products.h"
#include "session_impl.h"
#include "struct_copy.h"
#include "text.h"

#define HASH_SEED UINT64_C(0x6c6f7261)

static const llrt_adapter_options option_defaults = {
    .struct_size = (uint32_t)sizeof(llrt_adapter_options),
};

void llrt_adapter_options_init(llrt_adapter_options *options, size_t struct_size)
{
    llrti_struct_copy_init(options, struct_size, &option_defaults, sizeof option_defaults);
}

/* ---- Slots ---- */

size_t llrti_adapter_slot_bytes(const llrt_engine *engine)
{
    const uint32_t n = engine->options.n_adapter;
    return n ? n + LLRTI_ALLOC_HEADER : 0;
}

llrt_status llrti_adapter_create_slots(llrt_engine *engine, llrt_error *err)
{
    const uint32_t n = engine->options.n_adapter;
    if (n == 0) return LLRT_OK;
    engine->adapter_slot = llrti_calloc(&engine->mem, n, 1, LLRT_MEMORY_HOST);
    if (!engine->adapter_slot) return llrti_fail_nomem(err, "adapter slots", n);
    return LLRT_OK;
}

void llrti_adapter_free_slots(llrt_engine *engine)
{
    llrti_free(&engine->mem, engine->adapter_slot);
    engine->adapter_slot = NULL;
}

static llrt_status take_slot(llrt_engine *engine, uint32_t *out, llrt_error *err)
{
    const uint32_t n = engine->options.n_adapter;
    uint32_t slot = 0;
    llrti_mutex_lock(&engine->lock);
    while (slot < n && engine->adapter_slot[slot]) slot++;
    if (slot < n) engine->adapter_slot[slot] = 1;
    llrti_mutex_unlock(&engine->lock);
    *out = slot;
    if (slot < n) return LLRT_OK;
    return llrti_fail_field(err, LLRT_ERR_STATE, "n_adapter",
                            "all %u adapters the engine was opened for are in use: close one, or "
                            "open the engine with a larger n_adapter",
                            n);
}

static void give_slot(llrt_engine *engine, uint32_t slot)
{
    llrti_mutex_lock(&engine->lock);
    engine->adapter_slot[slot] = 0;
    llrti_mutex_unlock(&engine->lock);
}

/* ---- Matching ---- */

/* An adapter while it is loaded: one entry for each change of the file. */
typedef struct loading {
    llrt_engine *engine;
    const llrti_adapter_file *file;
    uint32_t *weight;         /* (n) of the model */
    llrt_adapter_part *part;  /* (n) `tensor` is set stage by stage */
    llrt_adapter_part *given; /* (n) to one stage */
    float *elements;
    size_t n, n_element;
    uint32_t rank;
} loading;

/* True when `full` is `name` and ".weight". */
static bool is_name(const char *full, const char *name)
{
    const size_t n = strlen(name);
    return strncmp(full, name, n) == 0 && strcmp(full + n, ".weight") == 0;
}

/* An adapter of a model without its head calls "layers.0..." what is "model.layers.0..." with it. */
static bool is_hf_name(const char *full, const char *name)
{
    const char *const dot = strchr(full, '.');
    return is_name(full, name) || (dot && is_name(dot + 1, name));
}

static uint32_t find_weight(const llrti_model *model, llrti_file_kind kind, const char *name)
{
    const bool is_gguf = kind == LLRTI_FILE_GGUF;
    for (uint32_t i = 0; i < model->n_weight; i++) {
        const llrti_model_weight *const w = &model->weight[i];
        if (is_gguf ? w->gguf_name && is_name(w->gguf_name, name)
                    : w->hf_name && is_hf_name(w->hf_name, name))
            return i;
    }
    return strcmp(name, is_gguf ? "output" : "lm_head") == 0 ? llrti_products_head(model)
                                                             : LLRT_NONE;
}

static llrt_status check_width(const llrti_tensor *tensor, uint64_t found, uint64_t expected,
                               const char *what, llrt_error *err)
{
    if (found == expected) return LLRT_OK;
    return llrti_fail_field(err, LLRT_ERR_MISMATCH, tensor->name,
                            "tensor '%s': found %llu %s, the model's weight has %llu", tensor->name,
                            (unsigned long long)found, what, (unsigned long long)expected);
}

/* The weight is one tensor of the file as it stands there. */
static bool is_whole(const llrti_model_weight *w)
{
    const llrti_tensor *const t = w->tensor;
    return w->n_part == 0 && !w->scales &&
           w->desc.dim[0] * w->desc.dim[1] == t->dim[0] * t->dim[1] * t->dim[2] * t->dim[3];
}

static llrt_status match_change(loading *l, size_t i, llrt_error *err)
{
    const llrti_model *const model = l->engine->model;
    const llrti_adapter_change *const change = &l->file->changes.data[i];
    const uint32_t weight = find_weight(model, l->file->kind, change->name);
    const char *const name = change->a->name;
    if (weight == LLRT_NONE) {
        return llrti_fail_field(err, LLRT_ERR_MISMATCH, name,
                                "tensor '%s': the model (%s) has no weight '%s.weight'", name,
                                model->architecture, change->name);
    }
    const llrti_model_weight *const w = &model->weight[weight];
    if (!llrti_products_is_plain(llrti_products_use(model, weight)) || w->desc.n_dim != 2) {
        return llrti_fail_field(err, LLRT_ERR_UNSUPPORTED, name,
                                "tensor '%s': adapters can change plain linear layers, which '%s' "
                                "is not",
                                name, w->desc.name);
    }
    if (!is_whole(w)) {
        return llrti_fail_field(err, LLRT_ERR_UNSUPPORTED, name,
                                "tensor '%s': the model does not use weight '%s' as one matrix",
                                name, w->desc.name);
    }
    if (w->is_rearranged && l->file->kind != llrti_model_file_kind(l->engine->file)) {
        return llrti_fail_field(
            err, LLRT_ERR_UNSUPPORTED, name,
            "tensor '%s': the model's file arranges this weight in its own way; "
            "an adapter for it must be of the same kind, GGUF or PEFT",
            name);
    }
    LLRTI_TRY(check_width(change->a, change->a->dim[0], w->desc.dim[0], "inputs", err));
    LLRTI_TRY(check_width(change->b, change->b->dim[1], w->desc.dim[1], "outputs", err));
    if (change->rank > l->engine->options.adapter_rank) {
        return llrti_fail_field(err, LLRT_ERR_STATE, "adapter_rank",
                                "tensor '%s' has rank %u, the engine was opened for %u: open it "
                                "with a larger adapter_rank",
                                name, change->rank, l->engine->options.adapter_rank);
    }
    for (size_t k = 0; k < i; k++) {
        if (l->weight[k] != weight) continue;
        return llrti_fail_field(err, LLRT_ERR_FORMAT, name,
                                "tensors '%s' and '%s' change the same weight",
                                l->file->changes.data[k].a->name, name);
    }
    l->weight[i] = weight;
    l->rank = LLRTI_MAX(l->rank, change->rank);
    l->n_element += (size_t)(w->desc.dim[0] + w->desc.dim[1]) * change->rank;
    return LLRT_OK;
}

/* A GGUF names its architecture; another one that happens to have such tensors is a mistake. */
static llrt_status check_architecture(const loading *l, llrt_error *err)
{
    const char *const found = l->file->architecture;
    const llrti_model_file *const file = l->engine->file;
    char quoted[LLRTI_TEXT_QUOTE_SIZE];
    if (!found[0] || llrti_model_file_kind(file) != LLRTI_FILE_GGUF) return LLRT_OK;
    const llrti_meta *const meta = llrti_model_file_find_meta(file, "general.architecture");
    if (!meta || meta->type != LLRTI_META_STRING ||
        (meta->value.s.n == strlen(found) &&
         memcmp(meta->value.s.data, found, meta->value.s.n) == 0))
        return LLRT_OK;
    return llrti_fail_field(err, LLRT_ERR_MISMATCH, "general.architecture",
                            "'general.architecture': found %s, the model has \"%s\"",
                            llrti_text_quote(quoted, sizeof quoted, found, strlen(found)),
                            l->engine->model->architecture);
}

/* ---- Reading ---- */

/*
 * Rows of b from the order of one kind of file to the other's, in place, head by head: in a GGUF
 * row 2 i + j of a head is what a safetensors file has at i + j * n / 2. `spare` holds a head.
 */
static void permute_rows(float *b, size_t n_row, size_t rank, uint32_t n_head, bool is_to_gguf,
                         float *spare)
{
    const size_t n = n_row / n_head, half = n / 2;
    for (uint32_t head = 0; head < n_head; head++) {
        float *const rows = b + head * n * rank;
        memcpy(spare, rows, n * rank * sizeof *rows);
        for (size_t i = 0; i < half; i++) {
            for (size_t j = 0; j < 2; j++) {
                const size_t gguf = 2 * i + j, hf = i + j * half;
                memcpy(rows + (is_to_gguf ? gguf : hf) * rank,
                       spare + (is_to_gguf ? hf : gguf) * rank, rank * sizeof *rows);
            }
        }
    }
}

static llrt_status arrange(const loading *l, const llrti_model_weight *w, float *b, size_t rank,
                           llrt_error *err)
{
    llrti_mem *const mem = &l->engine->mem;
    const llrti_file_kind kind = llrti_model_file_kind(l->engine->file);
    if (w->n_permuted_head == 0 || kind == l->file->kind) return LLRT_OK;
    const size_t n_row = (size_t)w->desc.dim[1], n = n_row / w->n_permuted_head;
    if (n % 2 != 0 || n * w->n_permuted_head != n_row) {
        return llrti_fail(err, LLRT_ERR_INTERNAL, "weight '%s': %zu rows of %u heads", w->desc.name,
                          n_row, w->n_permuted_head);
    }
    float *const spare = llrti_alloc(mem, n * rank * sizeof *spare, LLRT_MEMORY_LOADING);
    if (!spare) return llrti_fail_nomem(err, "rows of an adapter", n * rank * sizeof *spare);
    permute_rows(b, n_row, rank, w->n_permuted_head, kind == LLRTI_FILE_GGUF, spare);
    llrti_free(mem, spare);
    return LLRT_OK;
}

static llrt_status check_finite(const llrti_tensor *tensor, const float *x, size_t n,
                                llrt_error *err)
{
    for (size_t i = 0; i < n; i++) {
        if (isfinite(x[i])) continue;
        return llrti_fail_field(err, LLRT_ERR_FORMAT, tensor->name,
                                "tensor '%s': element %zu is not finite", tensor->name, i);
    }
    return LLRT_OK;
}

/* Elements of every change, and the hash over them. */
static llrt_status read_parts(loading *l, llrti_hash128 *hash, llrt_error *err)
{
    float *next = l->elements;
    llrti_hasher hasher;
    llrti_hash_begin(&hasher, HASH_SEED);
    for (size_t i = 0; i < l->n; i++) {
        const llrti_adapter_change *const change = &l->file->changes.data[i];
        const llrti_model_weight *const w = &l->engine->model->weight[l->weight[i]];
        const size_t n_a = (size_t)w->desc.dim[0] * change->rank;
        const size_t n_b = (size_t)w->desc.dim[1] * change->rank;
        float *const a = next, *const b = next + n_a;
        next += n_a + n_b;
        LLRTI_TRY(llrti_adapter_file_read(l->file, change->a, a, err));
        LLRTI_TRY(llrti_adapter_file_read(l->file, change->b, b, err));
        for (size_t k = 0; k < n_b; k++) b[k] *= change->factor;
        LLRTI_TRY(check_finite(change->a, a, n_a, err));
        LLRTI_TRY(check_finite(change->b, b, n_b, err));
        LLRTI_TRY(arrange(l, w, b, change->rank, err));
        l->part[i] = (llrt_adapter_part){.rank = change->rank, .a = a, .b = b};
        const uint32_t head[2] = {l->weight[i], change->rank};
        llrti_hash_update(&hasher, head, sizeof head);
        llrti_hash_update(&hasher, a, (n_a + n_b) * sizeof *a);
    }
    *hash = llrti_hash_end(&hasher);
    return LLRT_OK;
}

/* ---- Putting ---- */

static llrt_status put_stage(loading *l, uint32_t stage, uint32_t slot, llrt_error *err)
{
    const llrti_engine_stage *const at = &l->engine->stages.at[stage];
    uint32_t n = 0;
    for (size_t i = 0; i < l->n; i++) {
        const uint32_t tensor = llrti_products_tensor(&l->engine->stages.cut[stage], l->weight[i]);
        if (tensor == LLRT_NONE) continue;
        l->given[n] = l->part[i];
        l->given[n++].tensor = tensor;
    }
    LLRTI_TRY(at->backend->adapter_put(at->runtime, slot, NULL, 0, err));
    return n ? at->backend->adapter_put(at->runtime, slot, l->given, n, err) : LLRT_OK;
}

static llrt_status put_parts(loading *l, uint32_t slot, llrt_error *err)
{
    llrt_engine *const engine = l->engine;
    llrt_status status = LLRT_OK;
    llrti_step_acquire(engine);
    for (uint32_t i = 0; i < engine->stages.n && status == LLRT_OK; i++)
        status = put_stage(l, i, slot, err);
    llrti_step_release(engine);
    return status;
}

/* ---- Life ---- */

static llrt_status allocate(loading *l, llrt_error *err)
{
    llrti_mem *const mem = &l->engine->mem;
    l->n = l->file->changes.n;
    l->weight = llrti_calloc(mem, l->n, sizeof *l->weight, LLRT_MEMORY_LOADING);
    l->part = llrti_calloc(mem, l->n, sizeof *l->part, LLRT_MEMORY_LOADING);
    l->given = llrti_calloc(mem, l->n, sizeof *l->given, LLRT_MEMORY_LOADING);
    if (l->weight && l->part && l->given) return LLRT_OK;
    return llrti_fail_nomem(err, "the parts of an adapter", l->n * sizeof *l->part);
}

static llrt_status load(loading *l, llrt_adapter *adapter, llrt_error *err)
{
    llrt_engine *const engine = l->engine;
    LLRTI_TRY(check_architecture(l, err));
    LLRTI_TRY(allocate(l, err));
    for (size_t i = 0; i < l->n; i++) LLRTI_TRY(match_change(l, i, err));
    l->elements =
        llrti_alloc(&engine->mem, l->n_element * sizeof *l->elements, LLRT_MEMORY_LOADING);
    if (!l->elements)
        return llrti_fail_nomem(err, "an adapter", l->n_element * sizeof *l->elements);
    LLRTI_TRY(read_parts(l, &adapter->hash, err));
    adapter->n_weight = (uint32_t)l->n;
    adapter->rank = l->rank;
    adapter->n_parameter = l->n_element;
    LLRTI_TRY(take_slot(engine, &adapter->slot, err));
    const llrt_status status = put_parts(l, adapter->slot, err);
    if (status < 0) give_slot(engine, adapter->slot);
    return status;
}

static llrt_status open_adapter(llrt_engine *engine, const char *path, const llrt_source *source,
                                llrt_adapter **out, llrt_error *err)
{
    llrti_mem *const mem = &engine->mem;
    llrti_adapter_file *file = NULL;
    loading l = {.engine = engine};
    llrt_adapter *const adapter = llrti_calloc(mem, 1, sizeof *adapter, LLRT_MEMORY_HOST);
    if (!adapter) return llrti_fail_nomem(err, "an adapter", sizeof *adapter);
    atomic_init(&adapter->n_ref, 1);
    adapter->engine = engine;
    llrt_status status = llrti_adapter_file_open(mem, path, source, &file, err);
    if (status == LLRT_OK) {
        l.file = file;
        status = load(&l, adapter, err);
        if (status == LLRT_ERR_MISMATCH || status == LLRT_ERR_UNSUPPORTED ||
            status == LLRT_ERR_FORMAT)
            llrti_error_file(err, file->tensors.name);
    }
    llrti_free(mem, l.elements);
    llrti_free(mem, l.given);
    llrti_free(mem, l.part);
    llrti_free(mem, l.weight);
    llrti_adapter_file_close(file);
    if (status < 0) {
        llrti_free(mem, adapter);
        return status;
    }
    llrti_engine_ref(engine);
    *out = adapter;
    return LLRT_OK;
}

llrt_status llrt_adapter_open(llrt_engine *engine, const char *path,
                              const llrt_adapter_options *options, llrt_adapter **out,
                              llrt_error *err)
{
    llrt_adapter_options o = option_defaults;
    llrt_source source;
    if (!out) return llrti_fail(err, LLRT_ERR_ARGUMENT, "out is NULL");
    *out = NULL;
    LLRTI_TRY(llrti_engine_check(engine, err));
    if (!path) return llrti_fail(err, LLRT_ERR_ARGUMENT, "path is NULL");
    if (options)
        LLRTI_TRY(llrti_struct_copy_in(&o, sizeof o, options, "llrt_adapter_options", err));
    if (o.reserved)
        return llrti_fail_field(err, LLRT_ERR_ARGUMENT, "reserved", "found %u, expected 0",
                                o.reserved);
    if (o.source) LLRTI_TRY(llrti_source_copy(&source, o.source, &engine->mem, err));
    if (!engine->is_ready) {
        return llrti_fail(err, LLRT_ERR_STATE,
                          "the engine was opened with metadata_only and can't compute");
    }
    if (engine->options.n_adapter == 0) {
        return llrti_fail_field(err, LLRT_ERR_STATE, "n_adapter",
                                "the engine has no room for adapters: open it with n_adapter and "
                                "adapter_rank");
    }
    return open_adapter(engine, path, o.source ? &source : NULL, out, err);
}

llrt_status llrt_adapter_get_info(const llrt_adapter *adapter, llrt_adapter_info *info,
                                  llrt_error *err)
{
    if (!adapter) return llrti_fail(err, LLRT_ERR_ARGUMENT, "the adapter is NULL");
    if (!info) return llrti_fail(err, LLRT_ERR_ARGUMENT, "info is NULL");
    LLRTI_TRY(llrti_engine_check(adapter->engine, err));
    const llrt_adapter_info own = {
        .struct_size = (uint32_t)sizeof own,
        .n_weight = adapter->n_weight,
        .rank = adapter->rank,
        .n_parameter = adapter->n_parameter,
    };
    return llrti_struct_copy_out(info, &own, sizeof own, "llrt_adapter_info", err);
}

static void unref_adapter(llrt_adapter *adapter)
{
    if (atomic_fetch_sub_explicit(&adapter->n_ref, 1, memory_order_acq_rel) != 1) return;
    llrt_engine *const engine = adapter->engine;
    give_slot(engine, adapter->slot);
    llrti_free(&engine->mem, adapter);
    llrti_engine_unref(engine);
}

void llrt_adapter_close(llrt_adapter *adapter)
{
    /* In a child of the process nothing is ours. */
    if (adapter && llrti_engine_check(adapter->engine, NULL) == LLRT_OK) unref_adapter(adapter);
}

/* ---- Sets ---- */

llrti_adapter_set *llrti_adapter_set_ref(llrti_adapter_set *set)
{
    if (set) atomic_fetch_add_explicit(&set->n_ref, 1, memory_order_relaxed);
    return set;
}

void llrti_adapter_set_unref(llrt_engine *engine, llrti_adapter_set *set)
{
    if (!set || atomic_fetch_sub_explicit(&set->n_ref, 1, memory_order_acq_rel) != 1) return;
    for (uint32_t i = 0; i < set->n; i++) unref_adapter(set->adapter[i]);
    llrti_free(&engine->mem, set);
}

uint64_t llrti_adapter_salt(const llrti_adapter_set *set, uint64_t salt)
{
    if (!set) return salt;
    const uint64_t both[3] = {salt, set->hash.lo, set->hash.hi};
    return llrti_hash_bytes(both, sizeof both, HASH_SEED).lo;
}

void llrti_adapter_fingerprint(const llrti_adapter_set *set, const uint8_t model[16],
                               uint8_t out[16])
{
    uint8_t both[32];
    memcpy(out, model, 16);
    if (!set) return;
    memcpy(both, model, 16);
    llrti_hash_store(set->hash, both + 16);
    llrti_hash_store(llrti_hash_bytes(both, sizeof both, HASH_SEED), out);
}

static llrt_status check_adapters(const llrt_session *session, llrt_adapter *const *adapters,
                                  const float *scales, size_t n, llrt_error *err)
{
    const char *wrong = NULL;
    size_t at = 0;
    if (n && !adapters) return llrti_fail(err, LLRT_ERR_ARGUMENT, "adapters is NULL");
    for (size_t i = 0; i < n && !wrong; i++) {
        at = i;
        if (!adapters[i]) {
            wrong = "the adapter is NULL";
        } else if (adapters[i]->engine != session->engine) {
            wrong = "the adapter is of another engine";
        } else if (scales && !isfinite(scales[i])) {
            wrong = "the scale is not finite";
        }
        for (size_t k = 0; k < i && !wrong; k++)
            if (adapters[k] == adapters[i]) wrong = "the adapter occurs twice";
    }
    if (!wrong) return LLRT_OK;
    llrti_fail_field(err, LLRT_ERR_ARGUMENT, "adapters", "adapter %zu: %s", at, wrong);
    llrti_error_position(err, (int64_t)at);
    return LLRT_ERR_ARGUMENT;
}

static llrt_status create_set(llrt_engine *engine, llrt_adapter *const *adapters,
                              const float *scales, size_t n, llrti_adapter_set **out,
                              llrt_error *err)
{
    *out = NULL;
    if (n == 0) return LLRT_OK;
    const size_t bytes =
        sizeof(llrti_adapter_set) + n * (sizeof(llrt_adapter *) + sizeof(uint32_t) + sizeof(float));
    llrti_adapter_set *const set = llrti_alloc(&engine->mem, bytes, LLRT_MEMORY_SESSION);
    if (!set) return llrti_fail_nomem(err, "a set of adapters", bytes);
    llrti_hasher hasher;
    memset(set, 0, sizeof *set);
    atomic_init(&set->n_ref, 1);
    set->n = (uint32_t)n;
    set->adapter = (llrt_adapter **)(void *)(set + 1);
    set->slot = (uint32_t *)(void *)(set->adapter + n);
    set->scale = (float *)(void *)(set->slot + n);
    llrti_hash_begin(&hasher, HASH_SEED);
    for (size_t i = 0; i < n; i++) {
        set->adapter[i] = adapters[i];
        set->slot[i] = adapters[i]->slot;
        set->scale[i] = scales ? scales[i] : 1.0f;
        atomic_fetch_add_explicit(&adapters[i]->n_ref, 1, memory_order_relaxed);
        llrti_hash_update(&hasher, &adapters[i]->hash, sizeof adapters[i]->hash);
        llrti_hash_update(&hasher, &set->scale[i], sizeof set->scale[i]);
    }
    set->hash = llrti_hash_end(&hasher);
    *out = set;
    return LLRT_OK;
}

static bool is_same_set(const llrti_adapter_set *a, const llrti_adapter_set *b)
{
    if (!a || !b) return a == b;
    return a->n == b->n && memcmp(a->slot, b->slot, a->n * sizeof *a->slot) == 0 &&
           memcmp(a->scale, b->scale, a->n * sizeof *a->scale) == 0;
}

static llrt_status set_entered(llrt_session *session, llrt_adapter *const *adapters,
                               const float *scales, size_t n, llrt_error *err)
{
    llrt_engine *const engine = session->engine;
    llrti_adapter_set *set;
    LLRTI_TRY(check_adapters(session, adapters, scales, n, err));
    LLRTI_TRY(create_set(engine, adapters, scales, n, &set, err));
    const bool is_same = is_same_set(set, session->adapters);
    if (is_same || session->n_tok > 0) {
        llrti_adapter_set_unref(engine, set);
        if (is_same) return LLRT_OK;
        return llrti_fail(err, LLRT_ERR_STATE,
                          "the session holds %zu tokens computed with other adapters: rewind it to "
                          "0 first",
                          session->n_tok);
    }
    llrti_adapter_set *const old = session->adapters;
    session->adapters = set;
    session->salt = llrti_adapter_salt(set, session->options.salt);
    llrti_adapter_set_unref(engine, old);
    return LLRT_OK;
}

llrt_status llrt_session_set_adapters(llrt_session *session, llrt_adapter *const *adapters,
                                      const float *scales, size_t n, llrt_error *err)
{
    LLRTI_TRY(llrti_session_enter(session, err));
    const llrt_status status = set_entered(session, adapters, scales, n, err);
    llrti_session_leave(session);
    return status;
}
