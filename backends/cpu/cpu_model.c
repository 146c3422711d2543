/* SPDX-License-Identifier: MIT */
/*
 * Creating a model: tables are measured from the description's counts and carved from one block, programs are
 * checked into them, matrices get their format, and all weights get a place in one block. Compiling and
 * allocating are apart, so that plan is the same code without the weights.
 * weight_put is called from several threads; a row is written by one of them, n_put is atomic.
 */
#include "cpu_model.h"

#include <string.h>

#include "alloc.h"
#include "cpu_check.h"
#include "cpu_fpenv.h"
#include "error.h"
#include "types.h"

#define MAX_COUNT (1u << 24) /* tensors, values, operators: keeps sums of tables inside size_t */

/* Hands out pieces of a block; with base NULL it only counts. */
typedef struct carver {
    char *base;
    size_t used;
} carver;

static void *carve(carver *c, size_t count, size_t size)
{
    c->used = (c->used + 63) & ~(size_t)63;
    void *const piece = c->base ? c->base + c->used : NULL;
    c->used += count * size;
    return piece;
}

/* Sizes of a program's copies of lists that its operators point to; check_program_counts bounds them. */
typedef struct list_counts {
    size_t n_rope, n_number, n_axis;
} list_counts;

static list_counts count_lists(const llrt_program *program)
{
    list_counts n = {0, 0, 0};
    for (uint32_t i = 0; i < program->n_op; i++) {
        const llrt_op *const op = &program->op[i];
        if (op->kind == LLRT_OP_ROPE) {
            n.n_rope++;
            n.n_number += op->u.rope.n_rot / 2;
            if (op->u.rope.axis) n.n_axis += op->u.rope.n_rot / 2;
        }
        if (op->kind == LLRT_OP_ATTENTION && op->u.attention.slope && op->out < program->n_value)
            n.n_number += program->value[op->out].n_head;
    }
    return n;
}

static llrt_status check_program_counts(const llrt_program *p, uint32_t i, llrt_error *err)
{
    if (p->n_value > MAX_COUNT || p->n_op > MAX_COUNT || p->n_input > p->n_value ||
        p->n_output > MAX_COUNT || !p->n_value || !p->n_op || !p->value || !p->op ||
        (p->n_input && !p->input) || (p->n_output && !p->output))
        return llrti_fail(err, LLRT_ERR_ARGUMENT,
                          "program %u: %u values, %u operators, %u inputs, %u outputs: a list "
                          "is absent or too long",
                          i, p->n_value, p->n_op, p->n_input, p->n_output);
    for (uint32_t k = 0; k < p->n_op; k++) {
        const llrt_op *const op = &p->op[k];
        if (op->kind == LLRT_OP_ROPE && op->u.rope.n_rot > 1u << 16)
            return llrti_fail(err, LLRT_ERR_ARGUMENT,
                              "program %u, op %u (ROPE): n_rot is %u, expected at most %u", i, k,
                              op->u.rope.n_rot, 1u << 16);
        if (op->kind == LLRT_OP_ATTENTION && op->out < p->n_value &&
            p->value[op->out].n_head > 1u << 16)
            return llrti_fail(err, LLRT_ERR_ARGUMENT,
                              "program %u, op %u (ATTENTION): %u heads, expected at most %u", i, k,
                              p->value[op->out].n_head, 1u << 16);
    }
    return LLRT_OK;
}

static llrt_status check_counts(const llrt_host *host, const llrt_model_desc *desc, llrt_error *err)
{
    if (!host || host->struct_size < sizeof *host || !host->alloc || !host->free ||
        !host->parallel_for || host->n_worker == 0)
        return llrti_fail(err, LLRT_ERR_ARGUMENT, "the host's services are incomplete");
    if (!desc || desc->struct_size < sizeof *desc)
        return llrti_fail(err, LLRT_ERR_ARGUMENT,
                          "the model's description has size %u, expected %zu",
                          desc ? desc->struct_size : 0, sizeof *desc);
    if (desc->n_device > 1 || (desc->n_device == 1 && (!desc->device || desc->device[0] != 0)))
        return llrti_fail(err, LLRT_ERR_UNSUPPORTED,
                          "the CPU backend has one device, 0; found %u devices, first %u",
                          desc->n_device, desc->device ? desc->device[0] : 0);
    if (desc->n_tensor > MAX_COUNT || desc->n_kv > MAX_COUNT || desc->n_program > 4096 ||
        (desc->n_tensor && !desc->tensor) || (desc->n_kv && !desc->kv) || !desc->n_program ||
        !desc->program || desc->n_state > MAX_COUNT || (desc->n_state && !desc->state))
        return llrti_fail(
            err, LLRT_ERR_ARGUMENT,
            "%u tensors, %u kv slots, %u states, %u programs: a list is absent or too long",
            desc->n_tensor, desc->n_kv, desc->n_state, desc->n_program);
    if (desc->precision > LLRT_PRECISION_PORTABLE || desc->weights > LLRT_WEIGHTS_MAPPED)
        return llrti_fail(err, LLRT_ERR_UNSUPPORTED, "precision %u, weight policy %u: unknown",
                          desc->precision, desc->weights);
    for (uint32_t i = 0; i < desc->n_program; i++)
        LLRTI_TRY(check_program_counts(&desc->program[i], i, err));
    return LLRT_OK;
}

/* The tables. With c->base NULL only counts. */
static llrti_cpu_model *carve_model(carver *c, const llrt_model_desc *desc)
{
    llrti_cpu_model *const m = carve(c, 1, sizeof *m);
    llrti_cpu_weight *const weight = carve(c, desc->n_tensor, sizeof *weight);
    llrti_cpu_program *const program = carve(c, desc->n_program, sizeof *program);
    llrti_cpu_kv *const kv = carve(c, desc->n_kv, sizeof *kv);
    llrti_cpu_state *const state = carve(c, desc->n_state, sizeof *state);
    size_t n_value = 0;
    for (uint32_t i = 0; i < desc->n_program; i++) n_value += desc->program[i].n_value;
    size_t *const place = carve(c, n_value, sizeof *place);
    for (uint32_t i = 0; i < desc->n_tensor; i++) {
        const char *const name = desc->tensor[i].name ? desc->tensor[i].name : "";
        const size_t n = strlen(name) + 1;
        char *const copy = carve(c, n, 1);
        if (!copy) continue;
        memcpy(copy, name, n);
        weight[i].name = copy;
    }
    for (uint32_t i = 0; i < desc->n_program; i++) {
        const llrt_program *const s = &desc->program[i];
        void *const value = carve(c, s->n_value, sizeof(llrti_cpu_value));
        void *const op = carve(c, s->n_op, sizeof(llrti_cpu_op));
        void *const input = carve(c, s->n_input, sizeof(uint32_t));
        void *const output = carve(c, s->n_output, sizeof(uint32_t));
        const list_counts n = count_lists(s);
        void *const rope = carve(c, n.n_rope, sizeof(llrti_cpu_rope));
        void *const number = carve(c, n.n_number, sizeof(float));
        void *const axis = carve(c, n.n_axis, 1);
        void *const has_state = carve(c, desc->n_state, 1);
        if (!m) continue;
        program[i] = (llrti_cpu_program){.value = value,
                                         .op = op,
                                         .input = input,
                                         .output = output,
                                         .rope = rope,
                                         .number = number,
                                         .axis = axis,
                                         .has_state = has_state};
    }
    if (!m) return NULL;
    m->weight = weight;
    m->program = program;
    m->kv = kv;
    m->state = state;
    m->place = place;
    return m;
}

static llrt_status take_tensors(llrti_cpu_model *m, const llrt_model_desc *desc, llrt_error *err)
{
    for (uint32_t i = 0; i < desc->n_tensor; i++) {
        const llrt_tensor_desc *const t = &desc->tensor[i];
        llrti_cpu_weight *const w = &m->weight[i];
        uint64_t m_rows = 1;
        if (t->n_dim < 1 || t->n_dim > 4)
            return llrti_fail_field(err, LLRT_ERR_ARGUMENT, w->name,
                                    "tensor '%s' has %u dimensions, expected 1 to 4", w->name,
                                    t->n_dim);
        for (uint32_t d = 0; d < t->n_dim; d++) {
            if (t->dim[d] == 0 || t->dim[d] > (uint64_t)1 << 40 ||
                (d && m_rows > ((uint64_t)1 << 40) / t->dim[d]))
                return llrti_fail_field(err, LLRT_ERR_ARGUMENT, w->name,
                                        "tensor '%s': dimension %u is %llu", w->name, d,
                                        (unsigned long long)t->dim[d]);
            if (d) m_rows *= t->dim[d];
        }
        w->type = t->type;
        w->k = t->dim[0];
        w->m = m_rows;
        w->slice_m = t->n_dim > 1 ? t->dim[1] : 1;
        w->n_slice = m_rows / w->slice_m;
    }
    return LLRT_OK;
}

/* Where a slot's tiles lie in the pages of its group: each part is a multiple of 64 bytes. */
static llrt_status take_slot(llrti_cpu_model *m, const llrt_kv_desc *d, uint32_t i, llrt_error *err)
{
    const size_t element = llrti_cpu_kv_element(m->kv_kind);
    llrti_cpu_kv *const kv = &m->kv[i];
    if (!d->n_head || !d->k_dim || !d->v_dim || d->n_head > 1u << 16 || d->k_dim > 1u << 14 ||
        d->v_dim > 1u << 14)
        return llrti_fail(err, LLRT_ERR_ARGUMENT, "kv slot %u: %u heads of %u and %u elements", i,
                          d->n_head, d->k_dim, d->v_dim);
    if (d->group >= LLRT_KV_GROUP_COUNT || d->v_in_k > 1)
        return llrti_fail(err, LLRT_ERR_UNSUPPORTED,
                          "kv slot %u: page group %u and v_in_k %u, known are 0 and 1", i, d->group,
                          d->v_in_k);
    if (d->v_in_k && d->v_dim > d->k_dim)
        return llrti_fail(err, LLRT_ERR_ARGUMENT,
                          "kv slot %u: V of %u elements in K, expected at most K's %u", i, d->v_dim,
                          d->k_dim);
    const size_t k_block = (d->k_dim + LLRTI_KV_BLOCK - 1) / LLRTI_KV_BLOCK;
    const size_t v_block = (d->v_dim + LLRTI_KV_BLOCK - 1) / LLRTI_KV_BLOCK;
    const bool has_scale = m->kv_kind == LLRTI_KV_Q8_0;
    kv->desc = *d;
    kv->k_scale = element * d->k_dim * LLRT_PAGE_TOK;
    kv->v = kv->k_scale + (has_scale ? k_block * LLRT_PAGE_TOK * 2 : 0);
    kv->v_scale = kv->v + (d->v_in_k ? 0 : element * d->v_dim * LLRT_PAGE_TOK);
    kv->tile_bytes = kv->v_scale + (has_scale && !d->v_in_k ? v_block * LLRT_PAGE_TOK * 2 : 0);
    size_t *const page_bytes = &m->page_bytes[d->group];
    kv->offset = *page_bytes;
    size_t bytes;
    if (!llrti_mul_size(kv->tile_bytes, d->n_head, &bytes) ||
        !llrti_add_size(*page_bytes, bytes, page_bytes))
        return llrti_fail(err, LLRT_ERR_ARGUMENT, "kv slot %u: the page's size overflows", i);
    return LLRT_OK;
}

static llrt_status take_kv(llrti_cpu_model *m, const llrt_model_desc *desc, llrt_error *err)
{
    switch (desc->kv_type) {
    case LLRT_TYPE_F32:
        m->kv_kind = LLRTI_KV_F32;
        break;
    case LLRT_TYPE_F16:
        m->kv_kind = LLRTI_KV_F16;
        break;
    case LLRT_TYPE_BF16:
        m->kv_kind = LLRTI_KV_BF16;
        break;
    case LLRT_TYPE_Q8_0:
        m->kv_kind = LLRTI_KV_Q8_0;
        break;
    default:
        return llrti_fail(err, LLRT_ERR_UNSUPPORTED, "KV type %s: expected F32, F16, BF16 or Q8_0",
                          llrti_type_name(desc->kv_type));
    }
    for (uint32_t i = 0; i < desc->n_kv; i++) LLRTI_TRY(take_slot(m, &desc->kv[i], i, err));
    return LLRT_OK;
}

static llrt_status take_states(llrti_cpu_model *m, const llrt_model_desc *desc, llrt_error *err)
{
    for (uint32_t i = 0; i < desc->n_state; i++) {
        const size_t n = desc->state[i].n_float;
        if (n == 0) return llrti_fail(err, LLRT_ERR_ARGUMENT, "state %u has no elements", i);
        m->state[i] = (llrti_cpu_state){n, m->slot_floats};
        if (n > SIZE_MAX / 8 - m->slot_floats)
            return llrti_fail(err, LLRT_ERR_ARGUMENT, "state %u: the slot's size overflows", i);
        m->slot_floats += (n + 15) & ~(size_t)15;
    }
    return LLRT_OK;
}

/* Format of a tensor's slices, and the bytes of all of them. */
static llrt_status place_slices(llrti_cpu_weight *w, const llrti_linear_desc *desc,
                                const llrti_gemm_kernels *gemm, size_t *bytes, llrt_error *err)
{
    llrti_linear_desc d = *desc;
    d.m = w->slice_m;
    LLRTI_TRY(llrti_linear_init(&w->linear, &d, gemm, err));
    if (w->is_matrix)
        return llrti_fail(err, LLRT_ERR_UNSUPPORTED,
                          "tensor '%s' is used by EXPERTS or HEAD_LINEAR and whole as well",
                          w->name);
    w->slice_bytes = w->linear.is_mapped ? w->linear.row_bytes * w->linear.m : w->linear.bytes;
    if (!llrti_mul_size(w->slice_bytes, (size_t)w->n_slice, bytes))
        return llrti_fail(err, LLRT_ERR_ARGUMENT, "tensor '%s': its size overflows", w->name);
    if (w->linear.is_mapped) *bytes = 0;
    return LLRT_OK;
}

/* Formats of the weights that something uses, and their places in the block. */
static llrt_status place_weights(llrti_cpu_model *m, const llrt_model_desc *desc, llrt_error *err)
{
    for (uint32_t i = 0; i < m->n_weight; i++) {
        llrti_cpu_weight *const w = &m->weight[i];
        llrti_linear_desc d = {w->type, w->k, w->m, desc->precision, desc->weights};
        llrt_status status = LLRT_OK;
        if (w->is_matrix || w->is_sliced) {
            size_t bytes = 0;
            if (w->is_sliced)
                status = place_slices(w, &d, &m->gemm, &bytes, err);
            else if ((status = llrti_linear_init(&w->linear, &d, &m->gemm, err)) == LLRT_OK)
                bytes = w->linear.bytes;
            w->matrix_offset = m->weight_bytes;
            if (status == LLRT_OK && (!llrti_round_up_size(bytes, 64, &bytes) ||
                                      !llrti_add_size(m->weight_bytes, bytes, &m->weight_bytes)))
                status =
                    llrti_fail(err, LLRT_ERR_ARGUMENT, "tensor '%s': its size overflows", w->name);
        }
        if (status == LLRT_OK && w->is_vector) {
            d.weights = LLRT_WEIGHTS_MAPPED;
            d.precision = LLRT_PRECISION_F32;
            status = llrti_linear_init(&w->reader, &d, &m->gemm, err);
            w->vector_offset = m->weight_bytes;
            size_t bytes;
            if (status == LLRT_OK && (!llrti_mul_size((size_t)w->k, (size_t)w->m, &bytes) ||
                                      !llrti_mul_size(bytes, sizeof(float), &bytes) ||
                                      !llrti_round_up_size(bytes, 64, &bytes) ||
                                      !llrti_add_size(m->weight_bytes, bytes, &m->weight_bytes)))
                status =
                    llrti_fail(err, LLRT_ERR_ARGUMENT, "tensor '%s': its size overflows", w->name);
        }
        if (status < 0) {
            llrti_error_field(err, w->name);
            return status;
        }
    }
    return LLRT_OK;
}

/* Places of what a runtime keeps per weight. The counts are bounded by the weights' own sizes. */
static void place_extras(llrti_cpu_model *m)
{
    for (uint32_t i = 0; i < m->n_weight; i++) {
        llrti_cpu_weight *const w = &m->weight[i];
        const size_t n_slice = w->is_sliced ? (size_t)w->n_slice : 1;
        w->adapter_at = m->adapter_floats;
        w->square_at = m->n_square;
        w->count_at = m->n_count;
        if (w->is_linear) m->adapter_floats += (size_t)(w->k + w->m);
        if (!w->is_product) continue;
        m->n_square += n_slice * (size_t)w->k;
        m->n_count += n_slice;
    }
}

llrt_status llrti_cpu_model_compile(const llrt_host *host, const llrt_model_desc *desc,
                                    llrti_cpu_model **out, llrt_error *err)
{
    carver counter = {NULL, 0};
    uint32_t isa;
    llrt_status status;
    *out = NULL;
    LLRTI_TRY(check_counts(host, desc, err));
    LLRTI_TRY(llrti_isa_select(desc->isa, &isa, err));
    carve_model(&counter, desc);

    carver real = {host->alloc(host->ctx, counter.used, LLRTI_CACHE_LINE, LLRT_MEMORY_HOST), 0};
    if (!real.base) return llrti_fail_nomem(err, "the model's tables", counter.used);
    memset(real.base, 0, counter.used);
    llrti_cpu_model *const m = carve_model(&real, desc);
    m->host = host;
    m->host_bytes = counter.used;
    m->n_weight = desc->n_tensor;
    m->n_program = desc->n_program;
    m->n_kv = desc->n_kv;
    m->n_state = desc->n_state;
    llrti_gemm_init(&m->gemm, isa);
    llrti_ops_init(&m->ops, isa);
    LLRTI_TRY_GOTO(status, take_tensors(m, desc, err));
    LLRTI_TRY_GOTO(status, take_kv(m, desc, err));
    LLRTI_TRY_GOTO(status, take_states(m, desc, err));
    for (uint32_t i = 0; i < desc->n_program; i++) {
        LLRTI_TRY_GOTO(status, llrti_cpu_check_program(m, i, &desc->program[i], err));
        m->program[i].value_index = m->n_value;
        m->n_value += m->program[i].n_value;
    }
    LLRTI_TRY_GOTO(status, place_weights(m, desc, err));
    place_extras(m);
    for (uint32_t i = 0; i < desc->n_program; i++) llrti_cpu_check_group(m, &m->program[i]);
    *out = m;
    return LLRT_OK;
fail:
    llrti_cpu_model_free(m);
    return status;
}

llrt_status llrti_cpu_model_allocate(llrti_cpu_model *m, llrt_error *err)
{
    if (m->weight_bytes) {
        m->weight_block =
            m->host->alloc(m->host->ctx, m->weight_bytes, LLRTI_BULK_ALIGN, LLRT_MEMORY_WEIGHTS);
        if (!m->weight_block) return llrti_fail_nomem(err, "the weights", m->weight_bytes);
    }
    for (uint32_t i = 0; i < m->n_weight; i++) {
        llrti_cpu_weight *const w = &m->weight[i];
        if ((w->is_matrix || w->is_sliced) && !w->linear.is_mapped)
            w->linear.data = (char *)m->weight_block + w->matrix_offset;
        if (w->is_vector) w->vector = (float *)(void *)((char *)m->weight_block + w->vector_offset);
    }
    return LLRT_OK;
}

static void read_vector(const llrti_cpu_weight *w, uint64_t row_begin, uint64_t n_row,
                        const void *data)
{
    llrti_linear reader = w->reader;
    memcpy(&reader.data, &data, sizeof data); /* read only, whatever the member says */
    for (uint64_t i = 0; i < n_row && !w->is_transposed; i++)
        llrti_linear_get_row(&reader, (size_t)i, w->vector + (row_begin + i) * w->k);
    for (uint64_t i = 0; i < n_row && w->is_transposed; i++) {
        float row[LLRTI_CPU_MAX_TRANSPOSED];
        llrti_linear_get_row(&reader, (size_t)i, row);
        for (size_t k = 0; k < w->k; k++) w->vector[k * w->m + row_begin + i] = row[k];
    }
}

/* Rows of the file to the slices they belong to. */
static void put_slices(const llrti_cpu_weight *w, uint64_t row_begin, uint64_t n_row,
                       const void *data)
{
    const char *from = data;
    llrti_linear slice = w->linear;
    for (uint64_t row = row_begin, n; row < row_begin + n_row; row += n) {
        const uint64_t index = row / w->slice_m, first = row % w->slice_m;
        n = LLRTI_MIN(w->slice_m - first, row_begin + n_row - row);
        slice.data = (char *)w->linear.data + index * w->slice_bytes;
        llrti_linear_put(&slice, (size_t)first, (size_t)n, from);
        from += n * w->linear.row_bytes;
    }
}

static llrt_status check_tensor(const llrti_cpu_model *m, uint32_t tensor, const void *data,
                                llrt_error *err)
{
    if (tensor >= m->n_weight)
        return llrti_fail(err, LLRT_ERR_ARGUMENT, "tensor %u, expected one below %u", tensor,
                          m->n_weight);
    if (m->is_finished) return llrti_fail(err, LLRT_ERR_STATE, "weights come before model_finish");
    if (!data)
        return llrti_fail(err, LLRT_ERR_ARGUMENT, "tensor '%s': no data", m->weight[tensor].name);
    return LLRT_OK;
}

llrt_status llrti_cpu_model_put(llrti_cpu_model *m, uint32_t tensor, uint64_t row_begin,
                                uint64_t n_row, const void *data, llrt_error *err)
{
    LLRTI_TRY(check_tensor(m, tensor, data, err));
    llrti_cpu_weight *const w = &m->weight[tensor];
    if (row_begin % LLRT_WEIGHT_ROWS || row_begin >= w->m || !n_row || n_row > w->m - row_begin ||
        (n_row % LLRT_WEIGHT_ROWS && row_begin + n_row != w->m))
        return llrti_fail_field(
            err, LLRT_ERR_ARGUMENT, w->name,
            "tensor '%s': %llu rows from %llu, expected whole parts of %d of its %llu rows",
            w->name, (unsigned long long)n_row, (unsigned long long)row_begin, LLRT_WEIGHT_ROWS,
            (unsigned long long)w->m);
    if ((w->is_matrix || w->is_sliced) && w->linear.is_mapped)
        return llrti_fail_field(err, LLRT_ERR_STATE, w->name, "tensor '%s' is to be mapped",
                                w->name);
    const uint64_t saved = llrti_fpenv_enter();
    if (w->is_matrix) llrti_linear_put(&w->linear, (size_t)row_begin, (size_t)n_row, data);
    if (w->is_sliced) put_slices(w, row_begin, n_row, data);
    if (w->is_vector) read_vector(w, row_begin, n_row, data);
    llrti_fpenv_leave(saved);
    atomic_fetch_add(&w->n_put, n_row);
    return LLRT_OK;
}

llrt_status llrti_cpu_model_map(llrti_cpu_model *m, uint32_t tensor, const void *data,
                                llrt_error *err)
{
    LLRTI_TRY(check_tensor(m, tensor, data, err));
    llrti_cpu_weight *const w = &m->weight[tensor];
    const uint64_t saved = llrti_fpenv_enter();
    if ((w->is_matrix || w->is_sliced) && w->linear.is_mapped)
        memcpy(&w->linear.data, &data, sizeof data);
    else if (w->is_matrix)
        llrti_linear_put(&w->linear, 0, (size_t)w->m, data);
    else if (w->is_sliced)
        put_slices(w, 0, w->m, data);
    if (w->is_vector) read_vector(w, 0, w->m, data);
    llrti_fpenv_leave(saved);
    atomic_fetch_add(&w->n_put, w->m);
    return LLRT_OK;
}

llrt_status llrti_cpu_model_finish(llrti_cpu_model *m, llrt_error *err)
{
    for (uint32_t i = 0; i < m->n_weight; i++) {
        llrti_cpu_weight *const w = &m->weight[i];
        const uint64_t n_put = atomic_load(&w->n_put);
        if ((w->is_matrix || w->is_sliced || w->is_vector) && n_put != w->m)
            return llrti_fail_field(err, LLRT_ERR_STATE, w->name,
                                    "tensor '%s': %llu rows were given, expected %llu", w->name,
                                    (unsigned long long)n_put, (unsigned long long)w->m);
    }
    m->is_finished = true;
    return LLRT_OK;
}

void llrti_cpu_model_free(llrti_cpu_model *m)
{
    if (!m) return;
    const llrt_host *const host = m->host;
    if (m->weight_block)
        host->free(host->ctx, m->weight_block, m->weight_bytes, LLRTI_BULK_ALIGN,
                   LLRT_MEMORY_WEIGHTS);
    host->free(host->ctx, m, m->host_bytes, LLRTI_CACHE_LINE, LLRT_MEMORY_HOST);
}
