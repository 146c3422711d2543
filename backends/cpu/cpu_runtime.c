/* SPDX-License-Identifier: MIT */
/*
 * Runtime: planning the scratch, the three blocks, parallel loops, reading values.
 *
 * Values get places in the order of their writers' time, each at the lowest offset that overlaps no
 * value alive then; a value is alive from the time it is written to the time of its last reader, both included, so an
 * op's output never lies on its inputs. Programs share the region; only one runs at a time.
 */
#include "cpu_runtime.h"

#include <string.h>

#include "alloc.h"
#include "cpu_adapters.h"
#include "cpu_experts.h"
#include "cpu_fpenv.h"
#include "cpu_layout.h"
#include "cpu_recurrent.h"
#include "cpu_squares.h"
#include "error.h"
#include "select.h"

static size_t pad64(size_t n)
{
    return (n + 63) & ~(size_t)63;
}

/* ---- Places of values ----------------------------------------------------------------------- */

static bool value_bytes(const llrti_cpu_value *v, const llrt_runtime_limits *limits, size_t *out)
{
    const size_t n_row = v->rows == LLRT_ROWS_OUT ? limits->n_out : limits->n_row;
    return llrti_mul_size(v->row_width * sizeof(float), n_row, out) &&
           llrti_round_up_size(*out, 64, out);
}

static bool overlaps_in_time(const llrti_cpu_value *a, const llrti_cpu_value *b)
{
    return a->first <= b->last && b->first <= a->last;
}

/*
 * The lowest offset at which value i overlaps no value of lower index in `order` that lives at the same time. The
 * places tried are 0 and the ends of those values: repeat until a place has no collision.
 */
static bool place_value(const llrti_cpu_program *p, const llrt_runtime_limits *limits,
                        const size_t *offset, uint32_t value, size_t size, size_t *out)
{
    size_t at = 0;
    for (bool moved = true; moved;) {
        moved = false;
        for (uint32_t j = 0; j < p->n_value; j++) {
            const llrti_cpu_value *const other = &p->value[j];
            size_t other_size;
            if (offset[j] == SIZE_MAX || j == value || !overlaps_in_time(&p->value[value], other))
                continue;
            if (!value_bytes(other, limits, &other_size)) return false;
            if (at < offset[j] + other_size && offset[j] < at + size) {
                at = offset[j] + other_size;
                moved = true;
            }
        }
    }
    *out = at;
    return at <= SIZE_MAX - size;
}

/* Region of one program's values. `offset` is (n_value). */
static bool place_values(const llrti_cpu_program *p, const llrt_runtime_limits *limits,
                         size_t *offset, size_t *bytes)
{
    for (uint32_t i = 0; i < p->n_value; i++) offset[i] = SIZE_MAX;
    *bytes = 0;
    for (uint32_t k = 0; k < p->n_input + p->n_op; k++) {
        const uint32_t v = k < p->n_input ? p->input[k] : p->op[k - p->n_input].op.out;
        size_t size;
        if (!value_bytes(&p->value[v], limits, &size) ||
            !place_value(p, limits, offset, v, size, &offset[v]))
            return false;
        *bytes = LLRTI_MAX(*bytes, offset[v] + size);
    }
    return true;
}

/* ---- Sizes ---------------------------------------------------------------------------------- */

static size_t area_floats(const llrti_cpu_layout *l)
{
    const size_t n = LLRTI_ATTENTION_MAX_QUERY, k = l->k_dim, v = l->v_dim;
    return n * k + 2 * n * v + n * LLRT_PAGE_TOK + LLRT_PAGE_TOK * LLRTI_MAX(k, v) + 4 * n;
}

llrti_cpu_attention_area llrti_cpu_runtime_area(const llrti_cpu_runtime *rt, uint32_t worker)
{
    const size_t n = LLRTI_ATTENTION_MAX_QUERY, k = rt->layout.k_dim, v = rt->layout.v_dim;
    llrti_cpu_attention_area a;
    a.q =
        (float *)(void *)(rt->scratch + rt->layout.attention + worker * rt->layout.attention_bytes);
    a.out = a.q + n * k;
    a.acc = a.out + n * v;
    a.score = a.acc + n * v;
    a.work = a.score + n * LLRT_PAGE_TOK;
    a.max = a.work + LLRT_PAGE_TOK * LLRTI_MAX(k, v);
    a.sum = a.max + n;
    a.acc_max = a.sum + n;
    a.acc_sum = a.acc_max + n;
    return a;
}

/* Largest packed input, number of rotation sets and their width, largest vocabulary. */
static bool measure_program(const llrti_cpu_model *m, const llrti_cpu_program *p,
                            const llrt_runtime_limits *limits, size_t *packed, size_t *area,
                            size_t *n_rope, size_t *max_rot, size_t *n_vocab)
{
    for (uint32_t i = 0; i < p->n_op; i++) {
        const llrti_cpu_op *const op = &p->op[i];
        if (!llrti_cpu_experts_measure(m, p, &op->op, limits, packed, area) ||
            !llrti_cpu_recurrent_measure(p, &op->op, limits, area) ||
            !llrti_cpu_adapters_measure(p, &op->op, limits, area))
            return false;
        if (op->n_group == 0) continue;
        const llrti_linear *const w = &m->weight[op->op.weight[0]].linear;
        const size_t n_row =
            p->value[op->op.in[0]].rows == LLRT_ROWS_OUT ? limits->n_out : limits->n_row;
        size_t bound;
        if (!llrti_mul_size(w->k + 256, n_row + LLRTI_GEMM_NR, &bound) || bound > SIZE_MAX / 64)
            return false;
        *packed = LLRTI_MAX(*packed, llrti_linear_act_bytes(w->act, w->k, n_row));
    }
    *n_rope = LLRTI_MAX(*n_rope, p->n_rope);
    for (uint32_t i = 0; i < p->n_rope; i++) *max_rot = LLRTI_MAX(*max_rot, p->rope[i].n_rot);
    if (p->logits != LLRT_NONE) *n_vocab = LLRTI_MAX(*n_vocab, p->value[p->logits].row_width);
    return true;
}

/* Tables of the HOST block: the struct, then these. */
typedef struct host_layout {
    size_t value_offset, row, seq_block, slot_use, adapter_rank, bytes;
} host_layout;

static bool measure_host(const llrti_cpu_model *m, const llrt_runtime_limits *limits,
                         host_layout *h)
{
    size_t at;
    h->bytes = 0;
    return llrti_cpu_layout_append(&h->bytes, 1, sizeof(llrti_cpu_runtime), &at) &&
           llrti_cpu_layout_append(&h->bytes, m->n_value, sizeof(size_t), &h->value_offset) &&
           llrti_cpu_layout_append(&h->bytes, limits->n_row, sizeof(llrti_cpu_row), &h->row) &&
           llrti_cpu_layout_append(&h->bytes, (size_t)limits->n_seq + 1, sizeof(uint32_t),
                                   &h->seq_block) &&
           llrti_cpu_layout_append(&h->bytes, limits->n_state, 1, &h->slot_use) &&
           llrti_cpu_layout_append(&h->bytes, limits->n_adapter, m->n_weight * sizeof(uint32_t),
                                   &h->adapter_rank);
}

static bool measure(const llrti_cpu_model *m, const llrt_runtime_limits *limits,
                    llrti_cpu_layout *l)
{
    const size_t n_worker = m->host->n_worker;
    size_t packed = 0, area = 0, n_rope = 0, max_rot = 0, n_vocab = 0;
    for (uint32_t i = 0; i < m->n_kv; i++) {
        l->k_dim = LLRTI_MAX(l->k_dim, (m->kv[i].desc.k_dim + 15) & ~15u);
        l->v_dim = LLRTI_MAX(l->v_dim, (m->kv[i].desc.v_dim + 15) & ~15u);
    }
    for (uint32_t i = 0; i < m->n_program; i++)
        if (!measure_program(m, &m->program[i], limits, &packed, &area, &n_rope, &max_rot,
                             &n_vocab))
            return false;
    l->linear_bytes = llrti_linear_scratch_bytes();
    l->rope_floats = max_rot * limits->n_row;
    l->select_bytes = n_vocab ? pad64(llrti_select_scratch_size((uint32_t)n_vocab)) : 0;
    if (m->n_kv) {
        l->attention_bytes = area_floats(l) * sizeof(float);
        l->slot_floats = (size_t)LLRTI_ATTENTION_MAX_QUERY * (l->v_dim + 2);
        if (n_worker > 1) {
            l->n_acc = 2 * n_worker;
            l->n_slot = 8 * n_worker;
        }
    }
    size_t total = l->value_bytes;
    if (!llrti_cpu_layout_append(&total, 1, packed, &l->packed) ||
        !llrti_cpu_layout_append(&total, n_worker, l->linear_bytes, &l->linear) ||
        !llrti_cpu_layout_append(&total, l->rope_floats * n_rope, sizeof(float), &l->rope) ||
        !llrti_cpu_layout_append(&total, n_worker, l->attention_bytes, &l->attention) ||
        !llrti_cpu_layout_append(&total, l->n_slot + l->n_acc, l->slot_floats * sizeof(float),
                                 &l->slot) ||
        !llrti_cpu_layout_append(&total, n_worker, l->select_bytes, &l->select) ||
        !llrti_cpu_layout_append(&total, 1, area, &l->area) ||
        !llrti_cpu_layout_append(&total, limits->with_squares ? m->n_square : 0, sizeof(double),
                                 &l->square) ||
        !llrti_cpu_layout_append(&total, limits->with_squares ? m->n_count : 0, sizeof(uint64_t),
                                 &l->count) ||
        !llrti_mul_size(m->slot_floats * sizeof(float), limits->n_state, &l->state_bytes) ||
        !llrti_mul_size(m->adapter_floats, limits->n_adapter, &l->adapter_bytes) ||
        !llrti_mul_size(l->adapter_bytes, limits->adapter_rank * sizeof(float),
                        &l->adapter_bytes) ||
        !llrti_round_up_size(total, 64, &l->scratch_bytes))
        return false;

    for (uint32_t i = 0; i < LLRT_KV_GROUP_COUNT; i++)
        if (!llrti_cpu_layout_append(&l->kv_bytes, limits->n_page[i], m->page_bytes[i],
                                     &l->group[i]))
            return false;
    return true;
}

static llrt_status check_limits(const llrti_cpu_model *m, const llrt_runtime_limits *limits,
                                llrt_error *err)
{
    if (!limits || limits->struct_size < sizeof *limits)
        return llrti_fail(err, LLRT_ERR_ARGUMENT, "the limits have size %u, expected %zu",
                          limits ? limits->struct_size : 0, sizeof *limits);
    if (limits->n_adapter > 1u << 16 || limits->adapter_rank > 1u << 16 ||
        (limits->n_adapter && !limits->adapter_rank) || limits->n_state > 1u << 24)
        return llrti_fail(err, LLRT_ERR_ARGUMENT,
                          "limits of %u adapters of rank %u, %u state slots: expected at most 2^16 "
                          "adapters, a rank of 1 to 2^16 and at most 2^24 slots",
                          limits->n_adapter, limits->adapter_rank, limits->n_state);
    if (limits->n_row < 1 || limits->n_row > 1u << 24 || limits->n_seq < 1 ||
        limits->n_seq > 1u << 24 || limits->n_out > 1u << 24)
        return llrti_fail(err, LLRT_ERR_ARGUMENT,
                          "limits of %u rows, %u sequences, %u wanted rows: expected at least one "
                          "(wanted rows: 0), and at most 2^24",
                          limits->n_row, limits->n_seq, limits->n_out);
    for (uint32_t i = 0; i < LLRT_KV_GROUP_COUNT; i++)
        if (m->page_bytes[i] && limits->n_page[i] < 1)
            return llrti_fail(err, LLRT_ERR_ARGUMENT,
                              "a limit of 0 pages of group %u, which has kv slots", i);
    return LLRT_OK;
}

llrt_status llrti_cpu_runtime_measure(const llrti_cpu_model *m, const llrt_runtime_limits *limits,
                                      llrti_cpu_layout *l, size_t *value_offset, llrt_error *err)
{
    host_layout h;
    memset(l, 0, sizeof *l);
    LLRTI_TRY(check_limits(m, limits, err));
    bool is_ok = measure_host(m, limits, &h);
    l->host_bytes = h.bytes;
    for (uint32_t i = 0; i < m->n_program && is_ok; i++) {
        size_t bytes;
        is_ok =
            place_values(&m->program[i], limits, value_offset + m->program[i].value_index, &bytes);
        if (is_ok) l->value_bytes = LLRTI_MAX(l->value_bytes, bytes);
    }
    if (is_ok && measure(m, limits, l)) return LLRT_OK;
    return llrti_fail(err, LLRT_ERR_ARGUMENT,
                      "limits of %u rows, %u wanted rows, %u and %u pages: their size overflows",
                      limits->n_row, limits->n_out, limits->n_page[0], limits->n_page[1]);
}

/* ---- Parallel loops ------------------------------------------------------------------------- */

typedef struct wrapped_task {
    void (*task)(void *arg, uint32_t task, uint32_t worker);
    void *arg;
} wrapped_task;

static void run_wrapped(void *arg, uint32_t task, uint32_t worker)
{
    const wrapped_task *const w = arg;
    const uint64_t saved = llrti_fpenv_enter();
    w->task(w->arg, task, worker);
    llrti_fpenv_leave(saved);
}

/* The llrt_host.parallel_for that linears get: as the host's, in our floating-point environment. */
static void parallel_for(void *ctx, uint32_t n_task,
                         void (*task)(void *arg, uint32_t task, uint32_t worker), void *arg)
{
    const llrt_host *const host = ctx;
    wrapped_task w = {task, arg};
    if (n_task == 1)
        task(arg, 0, 0);
    else if (n_task > 1)
        host->parallel_for(host->ctx, n_task, run_wrapped, &w);
}

static void *host_alloc(void *ctx, size_t size, size_t align, llrt_memory kind)
{
    const llrt_host *const host = ctx;
    return host->alloc(host->ctx, size, align, kind);
}

static void host_free(void *ctx, void *ptr, size_t size, size_t align, llrt_memory kind)
{
    const llrt_host *const host = ctx;
    host->free(host->ctx, ptr, size, align, kind);
}

static void host_log(void *ctx, llrt_log_level level, const char *text)
{
    const llrt_host *const host = ctx;
    if (host->log) host->log(host->ctx, level, text);
}

bool llrti_cpu_runtime_poll(llrti_cpu_runtime *rt)
{
    if (atomic_load_explicit(&rt->is_cancelled, memory_order_relaxed)) return true;
    if (!rt->step->poll_cancel || !rt->step->poll_cancel(rt->step->poll_ctx)) return false;
    atomic_store_explicit(&rt->is_cancelled, 1, memory_order_relaxed);
    return true;
}

typedef struct split_job {
    llrti_cpu_runtime *rt;
    llrti_cpu_body body;
    const void *arg;
    size_t n, part;
} split_job;

static void run_part(void *arg, uint32_t task, uint32_t worker)
{
    const split_job *const job = arg;
    const size_t begin = task * job->part, end = LLRTI_MIN(begin + job->part, job->n);
    if (!llrti_cpu_runtime_poll(job->rt)) job->body(job->rt, job->arg, begin, end, worker);
}

void llrti_cpu_runtime_split(llrti_cpu_runtime *rt, size_t n, size_t grain, size_t work,
                             llrti_cpu_body body, const void *arg)
{
    /* One task per 16 Ki of work, when handing it over costs less than a tenth of it; at most 4 per worker, unless parts
     * would become so long that cancelling waits for them (milliseconds on the reference kernels). */
    const size_t min_work = 16384, max_work = (size_t)1 << 19;
    const size_t total = LLRTI_MAX(n, 1) * LLRTI_MAX(work, 1);
    size_t n_task =
        rt->host.n_worker > 1 ? LLRTI_MIN(total / min_work, (size_t)rt->host.n_worker * 4) : 1;
    n_task = LLRTI_MAX(n_task, total / max_work);
    if (n == 0) return;
    size_t part = n_task > 1 ? (n + n_task - 1) / n_task : n;
    part = (part + grain - 1) / grain * grain;
    split_job job = {rt, body, arg, n, part};
    rt->host.parallel_for(rt->host.ctx, (uint32_t)((n + part - 1) / part), run_part, &job);
}

/* ---- Life cycle ----------------------------------------------------------------------------- */

llrt_status llrti_cpu_runtime_create(llrti_cpu_model *m, const llrt_runtime_limits *limits,
                                     llrti_cpu_runtime **out, llrt_error *err)
{
    const llrt_host *const host = m->host;
    host_layout h;
    *out = NULL;
    if (!m->is_finished)
        return llrti_fail(err, LLRT_ERR_STATE, "model_finish comes before runtime_create");
    LLRTI_TRY(check_limits(m, limits, err));
    if (!measure_host(m, limits, &h))
        return llrti_fail(err, LLRT_ERR_ARGUMENT, "limits of %u rows: their size overflows",
                          limits->n_row);
    llrti_cpu_runtime *const rt =
        host->alloc(host->ctx, h.bytes, LLRTI_CACHE_LINE, LLRT_MEMORY_HOST);
    if (!rt) return llrti_fail_nomem(err, "the runtime's tables", h.bytes);
    memset(rt, 0, h.bytes);
    rt->layout.host_bytes = h.bytes;
    rt->value_offset = (size_t *)(void *)((char *)rt + h.value_offset);
    rt->row = (llrti_cpu_row *)(void *)((char *)rt + h.row);
    rt->seq_block = (uint32_t *)(void *)((char *)rt + h.seq_block);
    rt->slot_use = (uint8_t *)rt + h.slot_use;
    rt->adapter_rank = (uint32_t *)(void *)((char *)rt + h.adapter_rank);
    rt->model = m;
    rt->limits = *limits;
    rt->host = *host;
    memcpy(&rt->host.ctx, &host, sizeof host); /* the wrappers only read it */
    rt->host.struct_size = sizeof rt->host;
    rt->host.alloc = host_alloc;
    rt->host.free = host_free;
    rt->host.log = host_log;
    rt->host.parallel_for = parallel_for;

    llrt_status status = llrti_cpu_runtime_measure(m, limits, &rt->layout, rt->value_offset, err);
    rt->layout.host_bytes = h.bytes;
    if (status < 0) goto fail;
    const llrti_cpu_layout *const layout = &rt->layout;
    if (layout->scratch_bytes) {
        rt->scratch =
            host->alloc(host->ctx, layout->scratch_bytes, LLRTI_BULK_ALIGN, LLRT_MEMORY_SCRATCH);
        if (!rt->scratch) {
            status = llrti_fail_nomem(err, "the scratch memory of a step", layout->scratch_bytes);
            goto fail;
        }
    }
    if (layout->kv_bytes) {
        rt->kv = host->alloc(host->ctx, layout->kv_bytes, LLRTI_BULK_ALIGN, LLRT_MEMORY_KV);
        if (!rt->kv) {
            status = llrti_fail_nomem(err, "the pages of the KV pool", layout->kv_bytes);
            goto fail;
        }
    }
    if (limits->with_squares) {
        rt->square = (double *)(void *)(rt->scratch + layout->square);
        rt->square_count = (uint64_t *)(void *)(rt->scratch + layout->count);
        llrti_cpu_squares_reset(rt);
    }
    if (layout->adapter_bytes) {
        rt->adapter =
            host->alloc(host->ctx, layout->adapter_bytes, LLRTI_BULK_ALIGN, LLRT_MEMORY_WEIGHTS);
        if (!rt->adapter) {
            status = llrti_fail_nomem(err, "the slots of adapters", layout->adapter_bytes);
            goto fail;
        }
    }
    if (layout->state_bytes) {
        rt->state =
            host->alloc(host->ctx, layout->state_bytes, LLRTI_BULK_ALIGN, LLRT_MEMORY_STATE);
        if (!rt->state) {
            status = llrti_fail_nomem(err, "the slots of recurrent states", layout->state_bytes);
            goto fail;
        }
    }
    *out = rt;
    return LLRT_OK;
fail:
    llrti_cpu_runtime_free(rt);
    return status;
}

void llrti_cpu_runtime_free(llrti_cpu_runtime *rt)
{
    if (!rt) return;
    const llrt_host *const host = rt->model->host;
    if (rt->adapter)
        host->free(host->ctx, rt->adapter, rt->layout.adapter_bytes, LLRTI_BULK_ALIGN,
                   LLRT_MEMORY_WEIGHTS);
    if (rt->state)
        host->free(host->ctx, rt->state, rt->layout.state_bytes, LLRTI_BULK_ALIGN,
                   LLRT_MEMORY_STATE);
    if (rt->kv)
        host->free(host->ctx, rt->kv, rt->layout.kv_bytes, LLRTI_BULK_ALIGN, LLRT_MEMORY_KV);
    if (rt->scratch)
        host->free(host->ctx, rt->scratch, rt->layout.scratch_bytes, LLRTI_BULK_ALIGN,
                   LLRT_MEMORY_SCRATCH);
    host->free(host->ctx, rt, rt->layout.host_bytes, LLRTI_CACHE_LINE, LLRT_MEMORY_HOST);
}

llrt_status llrti_cpu_runtime_read(llrti_cpu_runtime *rt, uint32_t value, uint32_t row_begin,
                                   uint32_t n_row, float *to, llrt_error *err)
{
    if (!rt->has_result) return llrti_fail(err, LLRT_ERR_STATE, "no step has been completed");
    const llrti_cpu_program *const p = &rt->model->program[rt->last_program];
    bool is_output = value == p->logits && value != LLRT_NONE;
    for (uint32_t i = 0; i < p->n_output; i++) is_output = is_output || p->output[i] == value;
    if (!is_output)
        return llrti_fail(err, LLRT_ERR_ARGUMENT, "value %u is no output of program %u", value,
                          rt->last_program);
    const llrti_cpu_value *const v = &p->value[value];
    const uint32_t n = v->rows == LLRT_ROWS_OUT ? rt->last_n_out : rt->last_n_row;
    if (row_begin > n || n_row > n - row_begin || (n_row && !to))
        return llrti_fail(err, LLRT_ERR_ARGUMENT, "rows %u to %llu of value %u, which has %u",
                          row_begin, (unsigned long long)row_begin + n_row, value, n);
    const char *const from = rt->scratch + rt->value_offset[p->value_index + value];
    if (n_row)
        memcpy(to, from + row_begin * v->row_width * sizeof(float),
               n_row * v->row_width * sizeof(float));
    return LLRT_OK;
}
