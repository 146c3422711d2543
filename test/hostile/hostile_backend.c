/* SPDX-License-Identifier: MIT */
/*
 * The hostile test backend: a plug-in made from <llrt/backend.h> alone that does everything
 * a backend may do and nothing it need not, to show that the library relies on the contract only.
 *
 *   memory      weights, pages and values are in regions that fault on access while no call of
 *               this backend has them open; models and runtimes are scrambled addresses, useless as
 *               pointers
 *   time        step_submit only queues; a thread of the runtime executes, and reads what it
 *               borrows late; a checksum tells when that changed before step_wait
 *   poison      new pages, states, values and scratch are filled with NaN, and so is what a failed
 *               step would have written; what was not declared as an output can't be read
 *   contract    rows of weights, order of calls, one caller at a time, page tables, positions that
 *               were never written, state slots, adapters, selection lists: a breach is
 *               LLRT_ERR_INTERNAL with a text that begins "contract:"
 *
 * The arithmetic is that of the CPU backend's reference kernels, bit for bit. There are two
 * devices, "hostile:0" and "hostile:1", so that a program can run in two stages. Linux and other
 * POSIX systems only. All memory comes from the llrt_host, so plans and allocation failures are
 * exact.
 */
#include "hostile.h"

#include <fenv.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define MODEL_MAGIC 0x48534d31u
#define RUNTIME_MAGIC 0x48535231u

/* Makes an address non-canonical, so that nobody can use a handle as a pointer. */
#define SCRAMBLE ((uintptr_t)0xdead000000000000ull)

/* ---- Errors ---- */

llrt_status hostile_fail(llrt_error *err, llrt_status status, const char *format, ...)
{
    if (!err || err->struct_size < sizeof *err) return status;
    va_list args;
    va_start(args, format);
    vsnprintf(err->text, sizeof err->text, format, args);
    va_end(args);
    err->status = status;
    err->position = -1;
    err->file[0] = err->field[0] = 0;
    return status;
}

static void copy_error(llrt_error *to, const llrt_error *from)
{
    if (to && to->struct_size >= sizeof *to) {
        const uint32_t size = to->struct_size;
        *to = *from;
        to->struct_size = size;
    }
}

static void complain(const llrt_host *host, const char *text)
{
    if (host->log) host->log(host->ctx, LLRT_LOG_ERROR, text);
}

/* ---- Device memory ---- */

static size_t page_size(void)
{
    return (size_t)sysconf(_SC_PAGESIZE);
}

size_t hostile_region_round(size_t size)
{
    const size_t page = page_size();
    return (size + page - 1) / page * page;
}

void hostile_poison(void *to, size_t size)
{
    memset(to, 0xff, size);
}

llrt_status hostile_region_create(const llrt_host *host, hostile_region *region, size_t size,
                                  llrt_memory kind, llrt_error *err)
{
    memset(region, 0, sizeof *region);
    region->kind = kind;
    pthread_mutex_init(&region->lock, NULL);
    size = hostile_region_round(size);
    if (size == 0) return LLRT_OK;
    region->base = host->alloc(host->ctx, size, page_size(), kind);
    if (!region->base)
        return hostile_fail(err, LLRT_ERR_NOMEM, "no %zu bytes of device memory", size);
    region->size = size;
    hostile_poison(region->base, size);
    if (mprotect(region->base, size, PROT_NONE) == 0) return LLRT_OK;
    return hostile_fail(err, LLRT_ERR_DEVICE, "device memory can't be protected");
}

void hostile_region_free(const llrt_host *host, hostile_region *region)
{
    if (region->base) {
        mprotect(region->base, region->size, PROT_READ | PROT_WRITE);
        host->free(host->ctx, region->base, region->size, page_size(), region->kind);
    }
    pthread_mutex_destroy(&region->lock);
}

void hostile_region_open(hostile_region *region)
{
    pthread_mutex_lock(&region->lock);
    if (region->n_open++ == 0 && region->size)
        mprotect(region->base, region->size, PROT_READ | PROT_WRITE);
    pthread_mutex_unlock(&region->lock);
}

void hostile_region_close(hostile_region *region)
{
    pthread_mutex_lock(&region->lock);
    if (--region->n_open == 0 && region->size) mprotect(region->base, region->size, PROT_NONE);
    pthread_mutex_unlock(&region->lock);
}

/* ---- Handles ---- */

static void *scramble(void *pointer)
{
    return (void *)((uintptr_t)pointer ^ SCRAMBLE);
}

static hostile_model *as_model(void *handle, llrt_error *err)
{
    hostile_model *const model = scramble(handle);
    if (handle && model->magic == MODEL_MAGIC) return model;
    hostile_violation(err, "not a model");
    return NULL;
}

static hostile_runtime *as_runtime(void *handle, llrt_error *err)
{
    hostile_runtime *const runtime = scramble(handle);
    if (handle && runtime->magic == RUNTIME_MAGIC) return runtime;
    hostile_violation(err, "not a runtime");
    return NULL;
}

/*
 * Calls of one model or runtime come one at a time. Returns false when another one is in progress.
 */
static bool enter(atomic_int *n_inside, llrt_error *err)
{
    if (atomic_fetch_add(n_inside, 1) == 0) return true;
    atomic_fetch_sub(n_inside, 1);
    hostile_violation(err, "two calls for one object at the same time");
    return false;
}

static void leave(atomic_int *n_inside)
{
    atomic_fetch_sub(n_inside, 1);
}

/* ---- Devices ---- */

static llrt_status device_count(uint32_t *n, llrt_error *err)
{
    *n = 2;
    return LLRT_OK;
}

static llrt_status device_info(uint32_t device, llrt_device_info *info, llrt_error *err)
{
    if (device > 1) return hostile_violation(err, "device %u of 2", device);
    if (info->struct_size < sizeof *info) return hostile_violation(err, "device_info.struct_size");
    info->kind = LLRT_DEVICE_OTHER;
    snprintf(info->name, sizeof info->name, "hostile:%u", device);
    snprintf(info->description, sizeof info->description, "test device, scalar float32, ref");
    info->memory_total = info->memory_free = 0;
    return LLRT_OK;
}

/* ---- Models ---- */

/* Hands out pieces of one block; with a NULL base it only counts. */
typedef struct pile {
    unsigned char *base;
    size_t used;
} pile;

static void *take(pile *p, size_t n, size_t size)
{
    p->used = (p->used + 15) & ~(size_t)15;
    void *const at = p->base ? p->base + p->used : NULL;
    p->used += n * size;
    return at;
}

static size_t tensor_rows(const llrt_tensor_desc *t)
{
    return (size_t)(t->dim[1] * t->dim[2] * t->dim[3]);
}

static size_t row_groups(size_t n_row)
{
    return (n_row + LLRT_WEIGHT_ROWS - 1) / LLRT_WEIGHT_ROWS;
}

/* Whether an operator multiplies by a tensor; `is_plain`: by LINEAR or HEAD. */
static bool is_multiplied(const llrt_model_desc *desc, uint32_t tensor, bool is_plain)
{
    for (uint32_t i = 0; i < desc->n_program; i++)
        for (uint32_t o = 0; o < desc->program[i].n_op; o++) {
            const llrt_op *const op = &desc->program[i].op[o];
            if ((op->kind == LLRT_OP_LINEAR || op->kind == LLRT_OP_HEAD) && op->weight[0] == tensor)
                return true;
            if (!is_plain && op->kind == LLRT_OP_HEAD_LINEAR && op->weight[0] == tensor)
                return true;
            for (int w = 0; w < 3 && !is_plain && op->kind == LLRT_OP_EXPERTS; w++)
                if (op->weight[w] == tensor) return true;
        }
    return false;
}

static void copy_tensors(hostile_model *m, const llrt_model_desc *desc, pile *p)
{
    hostile_tensor *const tensor = take(p, desc->n_tensor, sizeof *tensor);
    size_t at = 0;
    for (uint32_t i = desc->n_tensor; i-- > 0;) { /* last first: the file's order means nothing */
        const llrt_tensor_desc *const d = &desc->tensor[i];
        const size_t n_row = tensor_rows(d);
        atomic_uchar *const is_put = take(p, row_groups(n_row), sizeof *is_put);
        const hostile_type *const type = hostile_type_find(d->type);
        const size_t row_bytes = (size_t)d->dim[0] / type->block * type->block_bytes;
        const bool is_plain = is_multiplied(desc, i, true), is_any = is_multiplied(desc, i, false);
        if (tensor) {
            hostile_tensor *const t = &tensor[i];
            memset(t, 0, sizeof *t);
            t->desc = *d;
            t->desc.name = NULL;
            snprintf(t->name, sizeof t->name, "%s", d->name);
            t->type = type;
            t->row_bytes = row_bytes;
            t->n_row = n_row;
            t->at = at;
            t->is_put = is_put;
            t->is_adaptable = is_plain;
            t->is_measured = is_any;
            t->adapter_at = m->adapter_floats;
            t->squares_at = m->n_square;
            t->count_at = m->n_count;
            for (size_t g = 0; g < row_groups(n_row); g++) atomic_init(&is_put[g], 0);
        }
        if (desc->weights != LLRT_WEIGHTS_MAPPED) at += n_row * row_bytes;
        if (d->dim[0] > m->widest) m->widest = (size_t)d->dim[0];
        if (is_plain) m->adapter_floats += (size_t)(d->dim[0] + d->dim[1]);
        if (is_any) {
            m->n_square += (size_t)(d->dim[0] * d->dim[2]);
            m->n_count += (size_t)d->dim[2];
        }
    }
    m->tensor = tensor;
    m->weights_bytes = at;
}

static const void *copy_list(const void *from, size_t size, pile *p)
{
    if (!from) return NULL;
    void *const copy = take(p, 1, size);
    if (copy) memcpy(copy, from, size);
    return copy;
}

/* What an operator points to. `op` is NULL when only sizes are wanted. */
static void copy_lists(llrt_op *op, const llrt_op *from, const llrt_value *value, pile *p)
{
    if (from->kind == LLRT_OP_ROPE) {
        const size_t half = from->u.rope.n_rot / 2;
        const float *const inv_freq = copy_list(from->u.rope.inv_freq, half * sizeof(float), p);
        const uint8_t *const axis = copy_list(from->u.rope.axis, half, p);
        if (!op) return;
        op->u.rope.inv_freq = inv_freq;
        op->u.rope.axis = axis;
    } else if (from->kind == LLRT_OP_ATTENTION) {
        const float *const slope =
            copy_list(from->u.attention.slope, value[from->in[0]].n_head * sizeof(float), p);
        if (op) op->u.attention.slope = slope;
    }
}

static void copy_programs(hostile_model *m, const llrt_model_desc *desc, pile *p)
{
    hostile_program *const program = take(p, desc->n_program, sizeof *program);
    for (uint32_t i = 0; i < desc->n_program; i++) {
        const llrt_program *const d = &desc->program[i];
        llrt_value *const value = take(p, d->n_value, sizeof *value);
        llrt_op *const op = take(p, d->n_op, sizeof *op);
        uint32_t *const input = take(p, d->n_input, sizeof *input);
        uint32_t *const output = take(p, d->n_output, sizeof *output);
        for (uint32_t v = 0; v < d->n_value; v++)
            if (hostile_width(&d->value[v]) > m->widest) m->widest = hostile_width(&d->value[v]);
        for (uint32_t o = 0; o < d->n_op; o++) {
            const llrt_op *const from = &d->op[o];
            if (op) op[o] = *from;
            copy_lists(op ? &op[o] : NULL, from, d->value, p);
        }
        if (!program) continue;
        if (d->n_value) memcpy(value, d->value, d->n_value * sizeof *value);
        if (d->n_input) memcpy(input, d->input, d->n_input * sizeof *input);
        if (d->n_output) memcpy(output, d->output, d->n_output * sizeof *output);
        program[i] = (hostile_program){*d, value, op, input, output};
        program[i].p.value = value;
        program[i].p.op = op;
        program[i].p.input = input;
        program[i].p.output = output;
    }
    m->program = program;
}

static void copy_slots(hostile_model *m, const llrt_model_desc *desc, pile *p)
{
    m->kv = take(p, desc->n_kv, sizeof *m->kv);
    m->kv_at = take(p, desc->n_kv, sizeof *m->kv_at);
    m->kv_index = take(p, desc->n_kv, sizeof *m->kv_index);
    for (uint32_t i = 0; i < desc->n_kv; i++) {
        const llrt_kv_desc *const kv = &desc->kv[i];
        if (m->kv) {
            m->kv[i] = *kv;
            m->kv_at[i] = m->page_bytes[kv->group];
            m->kv_index[i] = m->n_slot[kv->group];
        }
        size_t bytes = hostile_kv_bytes(desc->kv_type, kv->k_dim);
        if (!kv->v_in_k) bytes += hostile_kv_bytes(desc->kv_type, kv->v_dim);
        m->page_bytes[kv->group] += (size_t)LLRT_PAGE_TOK * kv->n_head * bytes;
        m->n_slot[kv->group]++;
        if (kv->k_dim > m->widest) m->widest = kv->k_dim;
        if (kv->v_dim > m->widest) m->widest = kv->v_dim;
    }
    m->state = take(p, desc->n_state, sizeof *m->state);
    m->state_at = take(p, desc->n_state, sizeof *m->state_at);
    for (uint32_t i = 0; i < desc->n_state; i++) {
        if (m->state) {
            m->state[i] = desc->state[i];
            m->state_at[i] = m->state_floats;
        }
        m->state_floats += desc->state[i].n_float;
    }
}

/* Lays a model out. With p->base NULL only sizes are computed, into a scratch model. */
static void lay_out_model(hostile_model *m, const llrt_model_desc *desc, pile *p)
{
    m->n_tensor = desc->n_tensor;
    m->n_program = desc->n_program;
    m->n_kv = desc->n_kv;
    m->n_state = desc->n_state;
    m->device = desc->device[0];
    m->kv_type = desc->kv_type;
    m->precision = desc->precision;
    m->weights = desc->weights;
    m->widest = 1;
    copy_tensors(m, desc, p);
    copy_programs(m, desc, p);
    copy_slots(m, desc, p);
}

static llrt_status model_create(const llrt_host *host, const llrt_model_desc *desc, void **out,
                                llrt_error *err)
{
    *out = NULL;
    if (host->struct_size < sizeof *host) return hostile_violation(err, "host.struct_size");
    HOSTILE_TRY(hostile_check_model(desc, err));
    hostile_model count = {0};
    pile p = {NULL, 0};
    take(&p, 1, sizeof count);
    lay_out_model(&count, desc, &p);
    const size_t size = p.used;
    hostile_model *const m = host->alloc(host->ctx, size, 64, LLRT_MEMORY_HOST);
    if (!m) return hostile_fail(err, LLRT_ERR_NOMEM, "no %zu bytes for a model", size);
    memset(m, 0, sizeof *m);
    p = (pile){(unsigned char *)m, 0};
    take(&p, 1, sizeof *m);
    lay_out_model(m, desc, &p);
    m->magic = MODEL_MAGIC;
    m->host = host;
    m->host_bytes = size;
    const llrt_status status =
        hostile_region_create(host, &m->memory, m->weights_bytes, LLRT_MEMORY_WEIGHTS, err);
    if (status < 0) {
        hostile_region_free(host, &m->memory);
        host->free(host->ctx, m, size, 64, LLRT_MEMORY_HOST);
        return status;
    }
    *out = scramble(m);
    return LLRT_OK;
}

static void destroy_model(hostile_model *m)
{
    const llrt_host *const host = m->host;
    m->magic = 0;
    hostile_region_free(host, &m->memory);
    host->free(host->ctx, m, m->host_bytes, 64, LLRT_MEMORY_HOST);
}

static void model_free(void *handle)
{
    if (!handle) return;
    hostile_model *const m = as_model(handle, NULL);
    if (!m) return;
    if (atomic_load(&m->n_inside)) complain(m->host, "contract: model_free during another call");
    if (atomic_load(&m->n_runtime)) {
        complain(m->host, "contract: model_free before runtime_free");
        atomic_store(&m->is_abandoned, true);
        return;
    }
    destroy_model(m);
}

static llrt_status check_put(const hostile_model *m, uint32_t tensor, bool is_mapped,
                             llrt_error *err)
{
    if (tensor >= m->n_tensor)
        return hostile_violation(err, "tensor %u of %u", tensor, m->n_tensor);
    if (atomic_load(&m->is_finished))
        return hostile_violation(err, "weights of %s after model_finish", m->tensor[tensor].name);
    if ((m->weights == LLRT_WEIGHTS_MAPPED) != is_mapped)
        return hostile_violation(err, "weight_%s against the weight policy",
                                 is_mapped ? "map" : "put");
    return LLRT_OK;
}

static llrt_status weight_put(void *handle, uint32_t tensor, uint64_t row_begin, uint64_t n_row,
                              const void *data, llrt_error *err)
{
    hostile_model *const m = as_model(handle, err);
    if (!m) return LLRT_ERR_INTERNAL;
    HOSTILE_TRY(check_put(m, tensor, false, err));
    hostile_tensor *const t = &m->tensor[tensor];
    if (row_begin % LLRT_WEIGHT_ROWS || n_row == 0 || row_begin >= t->n_row ||
        n_row > t->n_row - row_begin)
        return hostile_violation(err, "rows %llu + %llu of %s, which has %zu",
                                 (unsigned long long)row_begin, (unsigned long long)n_row, t->name,
                                 t->n_row);
    if (n_row % LLRT_WEIGHT_ROWS && row_begin + n_row != t->n_row)
        return hostile_violation(err, "%llu rows of %s end inside a group",
                                 (unsigned long long)n_row, t->name);
    for (size_t g = row_begin / LLRT_WEIGHT_ROWS; g * LLRT_WEIGHT_ROWS < row_begin + n_row; g++)
        if (atomic_exchange(&t->is_put[g], 1))
            return hostile_violation(err, "rows from %zu of %s come twice", g * LLRT_WEIGHT_ROWS,
                                     t->name);
    hostile_region_open(&m->memory);
    memcpy(m->memory.base + t->at + row_begin * t->row_bytes, data, n_row * t->row_bytes);
    hostile_region_close(&m->memory);
    return LLRT_OK;
}

static llrt_status weight_map(void *handle, uint32_t tensor, const void *data, llrt_error *err)
{
    hostile_model *const m = as_model(handle, err);
    if (!m) return LLRT_ERR_INTERNAL;
    HOSTILE_TRY(check_put(m, tensor, true, err));
    hostile_tensor *const t = &m->tensor[tensor];
    if (!data || t->mapped) return hostile_violation(err, "%s is mapped twice", t->name);
    t->mapped = data;
    for (size_t g = 0; g < row_groups(t->n_row); g++) atomic_store(&t->is_put[g], 1);
    return LLRT_OK;
}

static llrt_status model_finish(void *handle, llrt_error *err)
{
    hostile_model *const m = as_model(handle, err);
    if (!m || !enter(&m->n_inside, err)) return LLRT_ERR_INTERNAL;
    llrt_status status = LLRT_OK;
    if (atomic_load(&m->is_finished)) status = hostile_violation(err, "model_finish twice");
    for (uint32_t i = 0; i < m->n_tensor && status == LLRT_OK; i++)
        for (size_t g = 0; g < row_groups(m->tensor[i].n_row) && status == LLRT_OK; g++)
            if (!atomic_load(&m->tensor[i].is_put[g]))
                status = hostile_violation(err, "model_finish without rows from %zu of %s",
                                           g * LLRT_WEIGHT_ROWS, m->tensor[i].name);
    if (status == LLRT_OK) atomic_store(&m->is_finished, true);
    leave(&m->n_inside);
    return status;
}

const unsigned char *hostile_tensor_bytes(const hostile_model *model, uint32_t tensor, uint64_t row)
{
    const hostile_tensor *const t = &model->tensor[tensor];
    const unsigned char *const base = t->mapped ? t->mapped : model->memory.base + t->at;
    return base + row * t->row_bytes;
}

void hostile_tensor_row(const hostile_model *model, uint32_t tensor, uint64_t row, float *to)
{
    const hostile_tensor *const t = &model->tensor[tensor];
    hostile_row_widen(t->type, hostile_tensor_bytes(model, tensor, row), to,
                      (size_t)t->desc.dim[0]);
}

/* ---- Runtimes ---- */

/* The programs of a description or of a model: they lie `stride` bytes apart. */
typedef struct program_list {
    const llrt_program *first;
    size_t stride;
    uint32_t n;
} program_list;

static const llrt_program *program_at(const program_list *list, uint32_t i)
{
    return (const llrt_program *)(const void *)((const char *)list->first + i * list->stride);
}

/*
 * Everything of a runtime in host memory; also computes the offsets in scratch. Returns the bytes
 * of scratch.
 */
static size_t lay_out_runtime(hostile_runtime *r, const hostile_model *m, const program_list *list,
                              const llrt_runtime_limits *limits, pile *p)
{
    const size_t widest = limits->adapter_rank > m->widest ? limits->adapter_rank : m->widest;
    size_t n_value = 0, most = 0;
    for (uint32_t i = 0; i < list->n; i++) n_value += program_at(list, i)->n_value;
    r->value_at = take(p, n_value, sizeof *r->value_at);
    r->value_base = take(p, list->n, sizeof *r->value_base);
    for (int g = 0; g < LLRT_KV_GROUP_COUNT; g++)
        r->written[g] = take(p, (size_t)limits->n_page[g] * m->n_slot[g], sizeof **r->written);
    r->state_position = take(p, (size_t)limits->n_state * m->n_state, sizeof *r->state_position);
    r->adapter_rank = take(p, (size_t)limits->n_adapter * m->n_tensor, sizeof *r->adapter_rank);
    n_value = 0;
    for (uint32_t i = 0; i < list->n; i++) { /* only one program runs at a time */
        const llrt_program *const program = program_at(list, i);
        size_t at = 0;
        if (r->value_base) r->value_base[i] = n_value;
        for (uint32_t v = 0; v < program->n_value; v++, n_value++) {
            const llrt_value *const value = &program->value[v];
            const size_t rows = value->rows == LLRT_ROWS_OUT ? limits->n_out : limits->n_row;
            if (r->value_at) r->value_at[n_value] = at;
            at += rows * hostile_width(value) * sizeof(float);
        }
        if (at > most) most = at;
    }
    for (size_t i = 0; i < HOSTILE_TEMPORARY; i++) {
        most = (most + 63) & ~(size_t)63;
        r->row_at[i] = most;
        most += (widest + HOSTILE_BLOCK_MAX) * sizeof(float);
    }
    r->pick_at = most;
    return most + widest * sizeof(uint32_t);
}

/* Device memory of a runtime, and the class it is asked for in. */
static void measure_runtime(const hostile_model *m, const llrt_runtime_limits *limits,
                            size_t scratch, size_t size[HOSTILE_MEMORY_COUNT])
{
    for (int g = 0; g < LLRT_KV_GROUP_COUNT; g++)
        size[HOSTILE_PAGES + g] = limits->n_page[g] * m->page_bytes[g];
    size[HOSTILE_STATES] = limits->n_state * m->state_floats * sizeof(float);
    size[HOSTILE_ADAPTERS] =
        (size_t)limits->n_adapter * limits->adapter_rank * m->adapter_floats * sizeof(float);
    size[HOSTILE_SQUARES] =
        limits->with_squares ? m->n_square * sizeof(double) + m->n_count * sizeof(uint64_t) : 0;
    size[HOSTILE_SCRATCH] = scratch;
}

static const llrt_memory memory_kind[HOSTILE_MEMORY_COUNT] = {
    LLRT_MEMORY_KV,      LLRT_MEMORY_KV,      LLRT_MEMORY_STATE,
    LLRT_MEMORY_WEIGHTS, LLRT_MEMORY_SCRATCH, LLRT_MEMORY_SCRATCH};

static llrt_status check_limits(const llrt_runtime_limits *limits, llrt_error *err)
{
    if (limits->struct_size < sizeof *limits)
        return hostile_violation(err, "runtime_limits.struct_size");
    if (!limits->n_row || !limits->n_seq)
        return hostile_violation(err, "limits: %u rows, %u sequences", limits->n_row,
                                 limits->n_seq);
    if (limits->with_squares > 1 || (limits->n_adapter && !limits->adapter_rank))
        return hostile_violation(err, "limits: with_squares %u, %u adapters of rank %u",
                                 limits->with_squares, limits->n_adapter, limits->adapter_rank);
    return LLRT_OK;
}

static llrt_status plan(const llrt_host *host, const llrt_model_desc *desc,
                        const llrt_runtime_limits *limits, llrt_memory_use *model_use,
                        llrt_memory_use *runtime_use, llrt_error *err)
{
    HOSTILE_TRY(hostile_check_model(desc, err));
    hostile_model m = {0};
    pile p = {NULL, 0};
    take(&p, 1, sizeof m);
    lay_out_model(&m, desc, &p);
    if (model_use) {
        memset(model_use->bytes, 0, sizeof model_use->bytes);
        model_use->loading_peak = model_use->driver_estimate = 0;
        model_use->bytes[LLRT_MEMORY_HOST] = p.used;
        model_use->bytes[LLRT_MEMORY_WEIGHTS] = hostile_region_round(m.weights_bytes);
    }
    if (!runtime_use) return LLRT_OK;
    HOSTILE_TRY(check_limits(limits, err));
    hostile_runtime r = {0};
    p = (pile){NULL, 0};
    take(&p, 1, sizeof r);
    const program_list list = {desc->program, sizeof *desc->program, desc->n_program};
    const size_t scratch = lay_out_runtime(&r, &m, &list, limits, &p);
    size_t bytes[HOSTILE_MEMORY_COUNT];
    measure_runtime(&m, limits, scratch, bytes);
    memset(runtime_use->bytes, 0, sizeof runtime_use->bytes);
    runtime_use->loading_peak = runtime_use->driver_estimate = 0;
    runtime_use->bytes[LLRT_MEMORY_HOST] = p.used;
    for (int i = 0; i < HOSTILE_MEMORY_COUNT; i++)
        runtime_use->bytes[memory_kind[i]] += hostile_region_round(bytes[i]);
    return LLRT_OK;
}

/* The runtime's thread: waits for a step, runs it, reports. */
static void *work(void *arg)
{
    hostile_runtime *const r = arg;
    fesetenv(FE_DFL_ENV); /* the creator may have set flush-to-zero, which threads inherit */
    pthread_mutex_lock(&r->lock);
    for (;;) {
        while (r->state != HOSTILE_QUEUED && !r->is_ending)
            pthread_cond_wait(&r->changed, &r->lock);
        if (r->state != HOSTILE_QUEUED) break;
        pthread_mutex_unlock(&r->lock);
        hostile_region_open(&r->model->memory);
        for (int i = 0; i < HOSTILE_MEMORY_COUNT; i++) hostile_region_open(&r->memory[i]);
        const llrt_status status = hostile_step_run(r, &r->err);
        for (int i = 0; i < HOSTILE_MEMORY_COUNT; i++) hostile_region_close(&r->memory[i]);
        hostile_region_close(&r->model->memory);
        pthread_mutex_lock(&r->lock);
        r->status = status;
        r->state = HOSTILE_DONE;
        pthread_cond_broadcast(&r->changed);
    }
    pthread_mutex_unlock(&r->lock);
    return NULL;
}

static llrt_status start_thread(hostile_runtime *r, llrt_error *err)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    r->has_thread = pthread_create(&r->thread, NULL, work, r) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (r->has_thread) return LLRT_OK;
    return hostile_fail(err, LLRT_ERR_DEVICE, "the device's thread can't be started");
}

static void destroy_runtime(hostile_runtime *r)
{
    hostile_model *const m = r->model;
    const llrt_host *const host = m->host;
    if (r->has_thread) {
        pthread_mutex_lock(&r->lock);
        r->is_ending = true;
        pthread_cond_broadcast(&r->changed);
        pthread_mutex_unlock(&r->lock);
        pthread_join(r->thread, NULL);
    }
    for (int i = 0; i < HOSTILE_MEMORY_COUNT; i++) hostile_region_free(host, &r->memory[i]);
    pthread_cond_destroy(&r->changed);
    pthread_mutex_destroy(&r->lock);
    r->magic = 0;
    host->free(host->ctx, r, r->host_bytes, 64, LLRT_MEMORY_HOST);
    if (atomic_fetch_sub(&m->n_runtime, 1) == 1 && atomic_load(&m->is_abandoned)) destroy_model(m);
}

static void clear_squares(hostile_runtime *r)
{
    hostile_region *const region = &r->memory[HOSTILE_SQUARES];
    hostile_region_open(region);
    if (region->size) memset(region->base, 0, region->size);
    hostile_region_close(region);
}

static llrt_status runtime_create(void *handle, const llrt_runtime_limits *limits, void **out,
                                  llrt_error *err)
{
    *out = NULL;
    hostile_model *const m = as_model(handle, err);
    if (!m) return LLRT_ERR_INTERNAL;
    HOSTILE_TRY(check_limits(limits, err));
    const llrt_host *const host = m->host;
    const program_list list = {&m->program[0].p, sizeof m->program[0], m->n_program};
    hostile_runtime count = {0};
    pile p = {NULL, 0};
    take(&p, 1, sizeof count);
    const size_t scratch = lay_out_runtime(&count, m, &list, limits, &p);
    const size_t size = p.used;
    hostile_runtime *const r = host->alloc(host->ctx, size, 64, LLRT_MEMORY_HOST);
    if (!r) return hostile_fail(err, LLRT_ERR_NOMEM, "no %zu bytes for a runtime", size);
    memset(r, 0, size);
    p = (pile){(unsigned char *)r, 0};
    take(&p, 1, sizeof *r);
    lay_out_runtime(r, m, &list, limits, &p);
    r->magic = RUNTIME_MAGIC;
    r->model = m;
    r->limits = *limits;
    r->host_bytes = size;
    r->err = (llrt_error)LLRT_ERROR_INIT;
    pthread_mutex_init(&r->lock, NULL);
    pthread_cond_init(&r->changed, NULL);
    atomic_fetch_add(&m->n_runtime, 1);
    for (size_t i = 0; i < (size_t)limits->n_state * m->n_state; i++)
        r->state_position[i] = HOSTILE_STATE_POISON;
    size_t bytes[HOSTILE_MEMORY_COUNT];
    measure_runtime(m, limits, scratch, bytes);
    llrt_status status = LLRT_OK;
    for (int i = 0; i < HOSTILE_MEMORY_COUNT; i++) { /* all are made, so that all can be freed */
        const llrt_status made = hostile_region_create(
            host, &r->memory[i], status < 0 ? 0 : bytes[i], memory_kind[i], err);
        if (status == LLRT_OK) status = made;
    }
    if (status == LLRT_OK) clear_squares(r);
    if (status == LLRT_OK) status = start_thread(r, err);
    if (status < 0) {
        destroy_runtime(r);
        return status;
    }
    *out = scramble(r);
    return LLRT_OK;
}

static void runtime_free(void *handle)
{
    if (!handle) return;
    hostile_runtime *const r = as_runtime(handle, NULL);
    if (!r) return;
    if (atomic_load(&r->n_inside)) complain(r->model->host, "contract: runtime_free during a call");
    pthread_mutex_lock(&r->lock);
    if (r->state != HOSTILE_IDLE)
        complain(r->model->host, "contract: runtime_free with a step in flight");
    while (r->state == HOSTILE_QUEUED) pthread_cond_wait(&r->changed, &r->lock);
    pthread_mutex_unlock(&r->lock);
    destroy_runtime(r);
}

float *hostile_value(const hostile_runtime *r, uint32_t program, uint32_t value)
{
    const size_t at = r->value_at[r->value_base[program] + value];
    return (float *)(void *)(r->memory[HOSTILE_SCRATCH].base + at);
}

float *hostile_temporary(const hostile_runtime *r, uint32_t i)
{
    return (float *)(void *)(r->memory[HOSTILE_SCRATCH].base + r->row_at[i]);
}

unsigned char *hostile_page(const hostile_runtime *r, uint32_t page, uint32_t kv)
{
    const uint32_t group = r->model->kv[kv].group;
    return r->memory[HOSTILE_PAGES + group].base + page * r->model->page_bytes[group] +
           r->model->kv_at[kv];
}

uint64_t *hostile_written(const hostile_runtime *r, uint32_t page, uint32_t kv)
{
    const uint32_t group = r->model->kv[kv].group;
    return &r->written[group][(size_t)page * r->model->n_slot[group] + r->model->kv_index[kv]];
}

float *hostile_state_of(const hostile_runtime *r, uint32_t slot, uint32_t state)
{
    const size_t at = slot * r->model->state_floats + r->model->state_at[state];
    return (float *)(void *)r->memory[HOSTILE_STATES].base + at;
}

float *hostile_adapter_of(const hostile_runtime *r, uint32_t slot, uint32_t tensor)
{
    const hostile_model *const m = r->model;
    const size_t at = slot * m->adapter_floats + m->tensor[tensor].adapter_at;
    return (float *)(void *)r->memory[HOSTILE_ADAPTERS].base + at * r->limits.adapter_rank;
}

double *hostile_squares(const hostile_runtime *r, uint32_t tensor)
{
    return (double *)(void *)r->memory[HOSTILE_SQUARES].base + r->model->tensor[tensor].squares_at;
}

uint64_t *hostile_counts(const hostile_runtime *r, uint32_t tensor)
{
    const double *const end =
        (const double *)(void *)r->memory[HOSTILE_SQUARES].base + r->model->n_square;
    return (uint64_t *)(void *)end + r->model->tensor[tensor].count_at;
}

size_t hostile_k_bytes(const hostile_model *m, uint32_t kv)
{
    return m->kv[kv].n_head * hostile_kv_bytes(m->kv_type, m->kv[kv].k_dim);
}

size_t hostile_v_bytes(const hostile_model *m, uint32_t kv)
{
    return m->kv[kv].v_in_k ? 0 : m->kv[kv].n_head * hostile_kv_bytes(m->kv_type, m->kv[kv].v_dim);
}

/* ---- Steps ---- */

/*
 * What can be said without following a pointer into what the step borrows; the rest is checked
 * late.
 */
static llrt_status check_step(const hostile_runtime *r, const llrt_step_desc *s, llrt_error *err)
{
    if (s->struct_size < sizeof *s) return hostile_violation(err, "step_desc.struct_size");
    if (!atomic_load(&r->model->is_finished))
        return hostile_violation(err, "a step before model_finish");
    if (s->program >= r->model->n_program)
        return hostile_violation(err, "program %u of %u", s->program, r->model->n_program);
    const llrt_runtime_limits *const l = &r->limits;
    if (!s->n_row || s->n_row > l->n_row || !s->n_seq || s->n_seq > l->n_seq || s->n_out > l->n_out)
        return hostile_violation(err, "%u rows, %u sequences, %u wanted; limits %u, %u, %u",
                                 s->n_row, s->n_seq, s->n_out, l->n_row, l->n_seq, l->n_out);
    if (!s->seq || (s->n_out && !s->out_row) || (s->n_select && (!s->select || !s->result)) ||
        (r->model->program[s->program].p.n_input && !s->input))
        return hostile_violation(err, "a list of the step is missing");
    return LLRT_OK;
}

static llrt_status step_submit(void *handle, const llrt_step_desc *step, llrt_error *err)
{
    hostile_runtime *const r = as_runtime(handle, err);
    if (!r || !enter(&r->n_inside, err)) return LLRT_ERR_INTERNAL;
    pthread_mutex_lock(&r->lock);
    llrt_status status = LLRT_OK;
    if (r->state != HOSTILE_IDLE)
        status = hostile_violation(err, "step_submit with a step in flight");
    if (status == LLRT_OK) status = check_step(r, step, err);
    if (status == LLRT_OK) {
        r->step = *step;
        r->has_values = false;
        r->checksum = hostile_step_checksum(r);
        r->state = HOSTILE_QUEUED;
        pthread_cond_broadcast(&r->changed);
    }
    pthread_mutex_unlock(&r->lock);
    leave(&r->n_inside);
    return status;
}

static llrt_status finish_step(hostile_runtime *r, llrt_error *err)
{
    if (hostile_step_checksum(r) != r->checksum)
        return hostile_violation(err, "what a step borrows was changed while it was in flight");
    if (r->status < 0) {
        copy_error(err, &r->err);
        return r->status;
    }
    fenv_t saved;
    fegetenv(&saved);
    fesetenv(FE_DFL_ENV);
    hostile_region_open(&r->memory[HOSTILE_SCRATCH]);
    const llrt_status status = hostile_step_select(r, err);
    hostile_region_close(&r->memory[HOSTILE_SCRATCH]);
    fesetenv(&saved);
    return status;
}

static llrt_status step_wait(void *handle, llrt_error *err)
{
    hostile_runtime *const r = as_runtime(handle, err);
    if (!r || !enter(&r->n_inside, err)) return LLRT_ERR_INTERNAL;
    pthread_mutex_lock(&r->lock);
    llrt_status status = LLRT_OK;
    if (r->state == HOSTILE_IDLE) status = hostile_violation(err, "step_wait without a step");
    while (r->state == HOSTILE_QUEUED) pthread_cond_wait(&r->changed, &r->lock);
    if (status == LLRT_OK) {
        status = finish_step(r, err);
        r->has_values = status == LLRT_OK;
        r->done_program = r->step.program;
        r->done_row = r->step.n_row;
        r->done_out = r->step.n_out;
        r->state = HOSTILE_IDLE;
        memset(&r->step, 0, sizeof r->step);
    }
    pthread_mutex_unlock(&r->lock);
    leave(&r->n_inside);
    return status;
}

/* Entry of the calls that are legal between steps only. Pair with leave. */
hostile_runtime *hostile_enter_between(void *handle, llrt_error *err)
{
    hostile_runtime *const r = as_runtime(handle, err);
    if (!r || !enter(&r->n_inside, err)) return NULL;
    pthread_mutex_lock(&r->lock);
    const bool is_idle = r->state == HOSTILE_IDLE;
    pthread_mutex_unlock(&r->lock);
    if (is_idle) return r;
    leave(&r->n_inside);
    hostile_violation(err, "a call that is legal between steps only came with a step in flight");
    return NULL;
}

void hostile_leave(hostile_runtime *r)
{
    leave(&r->n_inside);
}

static llrt_status read_value(hostile_runtime *r, uint32_t value, uint32_t row_begin,
                              uint32_t n_row, float *to, llrt_error *err)
{
    if (!r->has_values) return hostile_violation(err, "value_read without a completed step");
    const llrt_program *const p = &r->model->program[r->done_program].p;
    bool is_output = false;
    for (uint32_t i = 0; i < p->n_output; i++) is_output |= p->output[i] == value;
    if (!is_output) return hostile_violation(err, "value %u is not an output", value);
    const uint32_t rows = p->value[value].rows == LLRT_ROWS_OUT ? r->done_out : r->done_row;
    if (row_begin > rows || n_row > rows - row_begin)
        return hostile_violation(err, "rows %u + %u of %u", row_begin, n_row, rows);
    const size_t width = hostile_width(&p->value[value]);
    hostile_region_open(&r->memory[HOSTILE_SCRATCH]);
    memcpy(to, hostile_value(r, r->done_program, value) + row_begin * width,
           n_row * width * sizeof(float));
    hostile_region_close(&r->memory[HOSTILE_SCRATCH]);
    return LLRT_OK;
}

static llrt_status value_read(void *handle, uint32_t value, uint32_t row_begin, uint32_t n_row,
                              float *to, llrt_error *err)
{
    hostile_runtime *const r = hostile_enter_between(handle, err);
    if (!r) return LLRT_ERR_INTERNAL;
    const llrt_status status = read_value(r, value, row_begin, n_row, to, err);
    leave(&r->n_inside);
    return status;
}

/* ---- The table ---- */

LLRT_API llrt_status llrt_backend_entry(uint32_t version, llrt_backend *table, llrt_error *err);

LLRT_API llrt_status llrt_backend_entry(uint32_t version, llrt_backend *table, llrt_error *err)
{
    static const llrt_backend all = {
        .version = LLRT_BACKEND_VERSION,
        .name = "hostile",
        .device_count = device_count,
        .device_info = device_info,
        .plan = plan,
        .model_create = model_create,
        .weight_put = weight_put,
        .weight_map = weight_map,
        .model_finish = model_finish,
        .model_free = model_free,
        .runtime_create = runtime_create,
        .runtime_free = runtime_free,
        .step_submit = step_submit,
        .step_wait = step_wait,
        .value_read = value_read,
        .page_copy = hostile_page_copy,
        .page_read = hostile_page_read,
        .page_write = hostile_page_write,
        .state_read = hostile_state_read,
        .state_write = hostile_state_write,
        .adapter_put = hostile_adapter_put,
        .squares_read = hostile_squares_read,
        .squares_reset = hostile_squares_reset,
    };
    if (version < LLRT_BACKEND_VERSION)
        return hostile_fail(err, LLRT_ERR_VERSION, "table version %u is too old", version);
    const size_t room = table->struct_size < sizeof all ? table->struct_size : sizeof all;
    memcpy(table, &all, room);
    table->struct_size = (uint32_t)room;
    return LLRT_OK;
}
