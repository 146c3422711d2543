/* SPDX-License-Identifier: MIT */
/*
 * The ATTENTION operator alone, through the backend's table: every mask, window, sink and slope, V of its own and in K, against
 * plain loops in double over several pages; the promise of the same bits; and the pages of both groups in the
 * canonical layout.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "cpu_fixture.h"
#include "cpu_hostile.h"
#include "isa.h"

#define EPS 0x1p-24 /* half a unit in the last place of 1 */

enum { MAX_ROW = 210, MAX_HEAD = 80, N_PAGE = 9, N_TABLE = 4, N_COMPANY = 5 };

static const uint32_t first_device[1] = {0};
static const llrt_type kv_type[] = {LLRT_TYPE_F32, LLRT_TYPE_F16, LLRT_TYPE_BF16, LLRT_TYPE_Q8_0};

typedef struct form {
    uint32_t n_head, n_kv_head, k_dim, v_dim, v_in_k;
    llrt_mask mask;
    uint32_t window, is_bidirectional, n_row, chunk; /* rows of a step */
    uint32_t group;
    float soft_cap;
    int has_slope, has_sink;
} form;

typedef struct attention {
    form f;
    const llrt_backend *table; /* of another backend than the CPU's, or NULL */
    cpu_model m;
    uint32_t input[3], output[1];
    size_t width[4];   /* of a row of q, k, v and the output */
    float *x[3];       /* q, k, v: (n_row, width) */
    float *company[3]; /* the same of N_COMPANY rows of another sequence */
    float *y;          /* (n_row, width of the output) */
    float slope[MAX_HEAD];
} attention;

static attention *open_attention(const form *f, llrt_type type)
{
    uint64_t seed = 31;
    attention *const a = calloc(1, sizeof *a);
    assert_non_null(a);
    cpu_model *const m = &a->m;
    a->f = *f;
    a->width[0] = (size_t)f->n_head * f->k_dim;
    a->width[1] = (size_t)f->n_kv_head * f->k_dim;
    a->width[2] = (size_t)f->n_kv_head * f->v_dim;
    a->width[3] = (size_t)f->n_head * f->v_dim;
    for (int i = 0; i < 3; i++) {
        a->x[i] = cpu_floats(&seed, f->n_row * a->width[i], i ? 1 : 3, 0);
        a->company[i] = cpu_floats(&seed, N_COMPANY * a->width[i], 2, 0);
    }
    a->y = malloc(f->n_row * a->width[3] * sizeof *a->y);
    assert_non_null(a->y);
    for (uint32_t i = 0; i < f->n_head; i++) a->slope[i] = i % 4 == 3 ? 0 : 0.5f / (float)(i + 1);

    a->input[0] = cpu_add_value(m, LLRT_ROWS_TOKEN, f->n_head, f->k_dim);
    a->input[1] = cpu_add_value(m, LLRT_ROWS_TOKEN, f->n_kv_head, f->k_dim);
    if (!f->v_in_k) a->input[2] = cpu_add_value(m, LLRT_ROWS_TOKEN, f->n_kv_head, f->v_dim);
    a->output[0] = cpu_add_value(m, LLRT_ROWS_TOKEN, f->n_head, f->v_dim);
    llrt_op *const op = cpu_add_op(m, LLRT_OP_ATTENTION, a->input[0], a->input[1], a->output[0]);
    if (!f->v_in_k) op->in[op->n_in++] = a->input[2];
    op->u.attention.mask = f->mask;
    op->u.attention.scale = 0.4f;
    op->u.attention.soft_cap = f->soft_cap;
    op->u.attention.window = f->window;
    if (f->has_slope) op->u.attention.slope = a->slope;
    if (f->has_sink) {
        m->tensor[0] = cpu_tensor_make("sinks", LLRT_TYPE_BF16, f->n_head, 1,
                                       cpu_floats(&seed, f->n_head, 4, 0));
        m->tensor_desc[0] = m->tensor[0].desc;
        m->desc.n_tensor = 1;
        op->weight[0] = 0;
    }
    m->kv[0] = (llrt_kv_desc){f->n_kv_head, f->k_dim, f->v_dim, 0, f->group, f->v_in_k};
    m->program = (llrt_program){.n_value = m->program.n_value,
                                .n_op = 1,
                                .n_input = f->v_in_k ? 2 : 3,
                                .n_output = 1,
                                .value = m->value,
                                .op = m->op,
                                .input = a->input,
                                .output = a->output,
                                .logits = LLRT_NONE};
    m->desc = (llrt_model_desc){.struct_size = sizeof m->desc,
                                .n_tensor = m->desc.n_tensor,
                                .n_program = 1,
                                .n_device = 1,
                                .device = first_device,
                                .n_kv = 1,
                                .tensor = m->tensor_desc,
                                .program = &m->program,
                                .kv = m->kv,
                                .kv_type = type};
    return a;
}

static void close_attention(attention *a)
{
    for (int i = 0; i < 3; i++) {
        free(a->x[i]);
        free(a->company[i]);
    }
    for (uint32_t i = 0; i < a->m.desc.n_tensor; i++) cpu_tensor_free(&a->m.tensor[i]);
    free(a->y);
    free(a);
}

/* Scattered pages; in the window group none that no position from `begin` on sees. */
static void fill_table(const form *f, uint32_t begin, uint32_t table[N_TABLE])
{
    for (uint32_t i = 0; i < N_TABLE; i++) {
        table[i] = (4 * i + 3) % N_PAGE;
        if (f->group == LLRT_KV_GROUP_WINDOW && (i + 1) * LLRT_PAGE_TOK + f->window <= begin + 1)
            table[i] = LLRT_NONE;
    }
}

/* Rows [begin, begin + n) in one step, behind the company's rows if there are any. */
static void step_attention(attention *a, uint32_t begin, uint32_t n, uint32_t n_company)
{
    const form *const f = &a->f;
    llrt_error err = LLRT_ERROR_INIT;
    uint32_t table[N_TABLE];
    const uint32_t company_page[1] = {8};
    const float *input[3];
    float *buffer[3];
    fill_table(f, begin, table);
    for (uint32_t i = 0; i < a->m.program.n_input; i++) {
        const size_t bytes = a->width[i] * sizeof(float);
        buffer[i] = malloc((n + n_company) * bytes);
        assert_non_null(buffer[i]);
        memcpy(buffer[i], a->company[i], n_company * bytes);
        memcpy(buffer[i] + n_company * a->width[i], a->x[i] + begin * a->width[i], n * bytes);
        input[i] = buffer[i];
    }
    llrt_step_seq seq[2] = {
        {.row_begin = 0, .n_row = n_company, .pos_begin = 0, .n_page = 1},
        {.row_begin = n_company,
         .n_row = n,
         .pos_begin = (int32_t)begin,
         .flags = f->is_bidirectional ? LLRT_SEQ_BIDIRECTIONAL : 0,
         .n_page = N_TABLE},
    };
    seq[0].page[f->group] = company_page;
    seq[1].page[f->group] = table;
    const llrt_step_desc step = {.struct_size = sizeof step,
                                 .n_row = n + n_company,
                                 .n_seq = n_company ? 2 : 1,
                                 .seq = n_company ? seq : seq + 1,
                                 .input = input};
    if (a->m.h.table.step_submit(a->m.runtime, &step, &err) < 0) fail_msg("%s", err.text);
    assert_int_equal(a->m.h.table.step_wait(a->m.runtime, &err), LLRT_OK);
    assert_int_equal(a->m.h.table.value_read(a->m.runtime, a->output[0], n_company, n,
                                             a->y + begin * a->width[3], &err),
                     LLRT_OK);
    for (uint32_t i = 0; i < a->m.program.n_input; i++) free(buffer[i]);
}

static void run_attention(attention *a, uint32_t n_worker, uint32_t chunk, uint32_t n_company,
                          const char *isa)
{
    llrt_error err = LLRT_ERROR_INIT;
    cpu_model *const m = &a->m;
    llrt_runtime_limits limits = {
        .struct_size = sizeof limits, .n_row = MAX_ROW + N_COMPANY, .n_seq = 2};
    llrt_memory_use of_model = {.struct_size = sizeof of_model}, of_runtime = of_model;
    limits.n_page[a->f.group] = N_PAGE;
    m->desc.isa = isa;
    cpu_host_open(&m->h, n_worker);
    assert_int_equal(m->h.table.plan(&m->h.host, &m->desc, &limits, &of_model, &of_runtime, &err),
                     LLRT_OK);
    if (m->h.table.model_create(&m->h.host, &m->desc, &m->model, &err) < 0)
        fail_msg("%s", err.text);
    cpu_model_fill(m, m->model);
    if (m->h.table.runtime_create(m->model, &limits, &m->runtime, &err) < 0)
        fail_msg("%s", err.text);
    for (int i = 0; i < LLRT_MEMORY_COUNT; i++)
        assert_int_equal(m->h.live[i], of_model.bytes[i] + of_runtime.bytes[i]);
    for (uint32_t row = 0; row < a->f.n_row; row += chunk)
        step_attention(a, row, LLRTI_MIN(chunk, a->f.n_row - row), n_company);
    m->h.table.runtime_free(m->runtime);
    m->h.table.model_free(m->model);
    cpu_host_close(&m->h);
}

/* ---- In double ------------------------------------------------------------------------------ */

/* Does the token at p see the one at j, in steps of f->chunk rows? */
static int sees(const form *f, uint32_t p, uint32_t j)
{
    if (f->mask == LLRT_MASK_FULL)
        return !f->window || (uint32_t)abs((int)p - (int)j) <= f->window / 2;
    const int is_with_it = f->is_bidirectional && p / f->chunk == j / f->chunk;
    if (j > p && !is_with_it) return 0;
    return !f->window || (int)p - (int)j < (int)f->window;
}

/* What the KV type makes of all rows of K or V. */
static double *stored(const attention *a, int i, llrt_type type)
{
    const uint32_t dim = i == 1 ? a->f.k_dim : a->f.v_dim;
    double *const to = malloc(a->f.n_row * a->width[i] * sizeof *to);
    assert_non_null(to);
    for (size_t at = 0; at < a->f.n_row * a->width[i]; at += dim)
        cpu_round_kv(type, a->x[i] + at, dim, to + at);
    return to;
}

/* One query against K and V of its head, which have the given strides. */
static void expect_query(const attention *a, uint32_t row, uint32_t head, const double *k,
                         size_t k_stride, const double *v, size_t v_stride)
{
    const form *const f = &a->f;
    const float *const q = a->x[0] + row * a->width[0] + (size_t)head * f->k_dim;
    double p[MAX_ROW], top = -INFINITY, sum = 0, error = 0;
    for (uint32_t j = 0; j < f->n_row; j++) {
        double s = 0, magnitude = 0;
        if (!sees(f, row, j)) continue;
        for (uint32_t e = 0; e < f->k_dim; e++) {
            s += (double)q[e] * k[j * k_stride + e];
            magnitude += fabs((double)q[e] * k[j * k_stride + e]);
        }
        s *= (double)0.4f;
        error = fmax(error, ((f->k_dim + 8) * magnitude * 0.4 + fabs(s)) * EPS);
        if (f->soft_cap > 0) s = (double)f->soft_cap * tanh(s / (double)f->soft_cap);
        if (f->has_slope) s += (double)a->slope[head] * ((double)j - (double)row);
        p[j] = s;
        top = fmax(top, s);
    }
    const double sink = f->has_sink ? (double)a->m.tensor[0].value[head] : -INFINITY;
    top = fmax(top, sink);
    for (uint32_t j = 0; j < f->n_row; j++)
        if (sees(f, row, j)) sum += p[j] = exp(p[j] - top);
    sum += exp(sink - top);
    /* every weight is off by twice the scores' error (slopes add one at their end), and sums over the rows follow */
    const double relative = 2 * error + (f->n_row + 32 + (f->has_slope ? 2 * f->n_row : 0)) * EPS;
    for (uint32_t e = 0; e < f->v_dim; e++) {
        double expected = 0, magnitude = 0;
        for (uint32_t j = 0; j < f->n_row; j++) {
            if (!sees(f, row, j)) continue;
            expected += p[j] / sum * v[j * v_stride + e];
            magnitude += fabs(p[j] / sum * v[j * v_stride + e]);
        }
        const double found = (double)a->y[row * a->width[3] + (size_t)head * f->v_dim + e];
        if (!(fabs(expected - found) <= 2 * relative * magnitude + 1e-40))
            fail_msg("mask %u, window %u, row %u, head %u, element %u: %.9g, expected %.9g within "
                     "%.3g",
                     f->mask, f->window, row, head, e, found, expected, 2 * relative * magnitude);
    }
}

static void compare_with_double(const form *f, llrt_type type)
{
    attention *const a = open_attention(f, type);
    run_attention(a, 2, f->chunk, 0, NULL);
    double *const k = stored(a, 1, type), *const v = f->v_in_k ? NULL : stored(a, 2, type);
    for (uint32_t row = 0; row < f->n_row; row++)
        for (uint32_t head = 0; head < f->n_head; head++) {
            const uint32_t kv_head = head / (f->n_head / f->n_kv_head);
            const double *const head_k = k + (size_t)kv_head * f->k_dim;
            if (f->v_in_k)
                expect_query(a, row, head, head_k, a->width[1], head_k, a->width[1]);
            else
                expect_query(a, row, head, head_k, a->width[1], v + (size_t)kv_head * f->v_dim,
                             a->width[2]);
        }
    free(k);
    free(v);
    close_attention(a);
}

static const form forms[] = {
    /* V in K: few and many heads, odd widths, narrow and as wide as K */
    {.n_head = 5, .n_kv_head = 1, .k_dim = 40, .v_dim = 33, .v_in_k = 1, .n_row = 150, .chunk = 61},
    {.n_head = 70, .n_kv_head = 1, .k_dim = 36, .v_dim = 36, .v_in_k = 1, .n_row = 70, .chunk = 1},
    {.n_head = 4,
     .n_kv_head = 2,
     .k_dim = 64,
     .v_dim = 7,
     .v_in_k = 1,
     .window = 20,
     .group = 1,
     .n_row = 200,
     .chunk = 9,
     .has_sink = 1},
    /* whole sequences, with windows of odd and even size, of one, and far too wide */
    {.n_head = 4,
     .n_kv_head = 4,
     .k_dim = 16,
     .v_dim = 20,
     .mask = LLRT_MASK_FULL,
     .n_row = 190,
     .chunk = 190},
    {.n_head = 6,
     .n_kv_head = 2,
     .k_dim = 8,
     .v_dim = 8,
     .mask = LLRT_MASK_FULL,
     .window = 129,
     .n_row = 210,
     .chunk = 210},
    {.n_head = 2,
     .n_kv_head = 2,
     .k_dim = 17,
     .v_dim = 5,
     .mask = LLRT_MASK_FULL,
     .window = 6,
     .n_row = 140,
     .chunk = 140,
     .group = 1,
     .has_slope = 1},
    {.n_head = 1,
     .n_kv_head = 1,
     .k_dim = 8,
     .v_dim = 8,
     .mask = LLRT_MASK_FULL,
     .window = 1,
     .n_row = 70,
     .chunk = 70},
    {.n_head = 1,
     .n_kv_head = 1,
     .k_dim = 8,
     .v_dim = 8,
     .mask = LLRT_MASK_FULL,
     .window = UINT32_MAX,
     .n_row = 70,
     .chunk = 70,
     .is_bidirectional = 1},
    /* steps whose rows see each other */
    {.n_head = 6,
     .n_kv_head = 3,
     .k_dim = 24,
     .v_dim = 16,
     .is_bidirectional = 1,
     .n_row = 160,
     .chunk = 90},
    {.n_head = 2,
     .n_kv_head = 1,
     .k_dim = 24,
     .v_dim = 16,
     .is_bidirectional = 1,
     .window = 30,
     .group = 1,
     .n_row = 200,
     .chunk = 70,
     .soft_cap = 3,
     .has_slope = 1},
    /* slopes and sinks on causal attention */
    {.n_head = 8,
     .n_kv_head = 2,
     .k_dim = 32,
     .v_dim = 16,
     .n_row = 180,
     .chunk = 180,
     .has_slope = 1},
    {.n_head = 9,
     .n_kv_head = 3,
     .k_dim = 20,
     .v_dim = 28,
     .n_row = 150,
     .chunk = 7,
     .has_sink = 1},
    {.n_head = 8,
     .n_kv_head = 8,
     .k_dim = 16,
     .v_dim = 16,
     .window = 64,
     .group = 1,
     .n_row = 200,
     .chunk = 13,
     .has_sink = 1,
     .has_slope = 1,
     .soft_cap = 5},
};

static void test_equals_loops_in_double(void **state)
{
    for (size_t i = 0; i < LLRTI_COUNT(forms); i++)
        for (size_t t = 0; t < LLRTI_COUNT(kv_type); t++)
            compare_with_double(&forms[i], kv_type[t]);
}

/* ---- The same bits -------------------------------------------------------------------------- */

static void test_same_bits(void **state)
{
    for (size_t i = 0; i < LLRTI_COUNT(forms); i++) {
        const form *const f = &forms[i];
        const int is_free = f->mask == LLRT_MASK_CAUSAL && !f->is_bidirectional; /* to be cut */
        attention *const expected = open_attention(f, kv_type[i % 4]);
        attention *const found = open_attention(f, kv_type[i % 4]);
        const size_t bytes = f->n_row * found->width[3] * sizeof(float);
        run_attention(expected, 1, f->chunk, 0, "ref");
        for (uint32_t n_worker = 1; n_worker <= 4; n_worker++)
            for (uint32_t way = 0; way < 4; way++) {
                static const uint32_t chunk[] = {1, 50, 128, MAX_ROW};
                run_attention(found, n_worker, is_free ? chunk[way] : f->chunk,
                              way % 2 ? N_COMPANY : 0, NULL);
                if (memcmp(expected->y, found->y, bytes) != 0)
                    fail_msg("form %zu: other bits with %u workers in way %u", i, n_worker, way);
            }
        for (uint32_t level = 1; llrti_isa_level(level); level++) {
            run_attention(found, 2, f->chunk, 0, llrti_isa_level(level));
            if (memcmp(expected->y, found->y, bytes) != 0)
                fail_msg("form %zu: other bits on %s", i, llrti_isa_level(level));
        }
        close_attention(expected);
        close_attention(found);
    }
}

static void test_same_bits_as_hostile(void **state)
{
    llrt_backend table;
    void *const plug_in = cpu_hostile_open(&table);
    if (!plug_in) {
        print_message("skipped: LLRT_TEST_HOSTILE is not set\n");
        skip();
    }
    for (size_t i = 0; i < LLRTI_COUNT(forms); i++)
        for (size_t t = 0; t < LLRTI_COUNT(kv_type); t++) {
            const form *const f = &forms[i];
            attention *const a = open_attention(f, kv_type[t]);
            attention *const b = open_attention(f, kv_type[t]);
            b->table = &table;
            run_attention(a, 2, f->chunk, N_COMPANY, NULL);
            run_attention(b, 1, f->chunk, N_COMPANY, NULL);
            if (memcmp(a->y, b->y, f->n_row * a->width[3] * sizeof(float)) != 0)
                fail_msg("form %zu, KV type %zu: not the bits of the hostile backend", i, t);
            close_attention(a);
            close_attention(b);
        }
    dlclose(plug_in);
}

/* ---- Pages ---------------------------------------------------------------------------------- */

/* Slots of both groups in turn, with heads of odd widths. */
static const llrt_kv_desc slots[] = {{2, 5, 3, 0, 0, 0},
                                     {1, 40, 33, 1, 1, 1},
                                     {1, 33, 8, 2, 0, 0},
                                     {2, 4, 36, 3, 1, 0},
                                     {3, 6, 6, 4, 0, 1}};
enum { N_SLOT = 5, N_POS = 70, POOL_0 = 3, POOL_1 = 5 };

typedef struct paged {
    cpu_model m;
    uint32_t input[3 * N_SLOT], output[N_SLOT], n_input;
    float *x[3 * N_SLOT];
} paged;

/* Elements of one head in the canonical layout. */
static uint8_t *put_head(uint8_t *at, llrt_type type, const float *x, size_t n)
{
    if (type == LLRT_TYPE_F32) {
        memcpy(at, x, n * 4);
        return at + n * 4;
    }
    for (size_t i = 0; i < n && type != LLRT_TYPE_Q8_0; i++, at += 2) {
        const uint16_t half =
            type == LLRT_TYPE_F16 ? llrti_float_to_f16(x[i]) : llrti_float_to_bf16(x[i]);
        memcpy(at, &half, 2);
    }
    for (size_t i = 0; i < n && type == LLRT_TYPE_Q8_0; i += 32, at += 34) {
        const size_t end = LLRTI_MIN(i + 32, n);
        float top = 0;
        for (size_t j = i; j < end; j++) top = fmaxf(top, fabsf(x[j]));
        const float d = top / 127;
        const uint16_t half = llrti_float_to_f16(d);
        memset(at, 0, 34);
        memcpy(at, &half, 2);
        for (size_t j = i; j < end; j++) {
            const int8_t q = (int8_t)nearbyintf(x[j] * (1 / d));
            memcpy(at + 2 + j - i, &q, 1);
        }
    }
    return at;
}

/* Positions [begin, begin + n) of a group as the backend must write them; returns the bytes. */
static size_t put_page(const paged *p, uint32_t group, llrt_type type, uint32_t begin, uint32_t n,
                       uint8_t *to)
{
    uint8_t *at = to;
    uint32_t input = 0;
    for (size_t i = 0; i < N_SLOT; i++) {
        const llrt_kv_desc *const d = &slots[i];
        const float *const k = p->x[input + 1], *const v = d->v_in_k ? NULL : p->x[input + 2];
        input += d->v_in_k ? 2 : 3;
        if (d->group != group) continue;
        for (uint32_t t = begin * d->n_head; t < (begin + n) * d->n_head; t++)
            at = put_head(at, type, k + (size_t)t * d->k_dim, d->k_dim);
        for (uint32_t t = begin * d->n_head; v && t < (begin + n) * d->n_head; t++)
            at = put_head(at, type, v + (size_t)t * d->v_dim, d->v_dim);
    }
    return (size_t)(at - to);
}

static paged *open_paged(llrt_type type)
{
    uint64_t seed = 77;
    llrt_error err = LLRT_ERROR_INIT;
    paged *const p = calloc(1, sizeof *p);
    assert_non_null(p);
    cpu_model *const m = &p->m;
    const llrt_runtime_limits limits = {sizeof limits, N_POS, 1, 0, {POOL_0, POOL_1}};
    for (uint32_t i = 0; i < N_SLOT; i++) {
        const llrt_kv_desc *const d = &slots[i];
        const uint32_t begin = p->n_input, n = d->v_in_k ? 2 : 3;
        for (uint32_t k = 0; k < n; k++) {
            const uint32_t dim = k == 2 ? d->v_dim : d->k_dim;
            p->x[begin + k] = cpu_floats(&seed, (size_t)N_POS * d->n_head * dim, 3, 0);
            p->input[begin + k] = cpu_add_value(m, LLRT_ROWS_TOKEN, d->n_head, dim);
        }
        p->n_input += n;
        p->output[i] = cpu_add_value(m, LLRT_ROWS_TOKEN, d->n_head, d->v_dim);
        llrt_op *const op =
            cpu_add_op(m, LLRT_OP_ATTENTION, p->input[begin], p->input[begin + 1], p->output[i]);
        if (n == 3) op->in[op->n_in++] = p->input[begin + 2];
        op->u.attention.kv = i;
        op->u.attention.scale = 1;
        op->u.attention.window = d->group ? 100 : 0;
    }
    m->program.n_input = p->n_input;
    m->program.n_output = N_SLOT;
    m->program.value = m->value;
    m->program.op = m->op;
    m->program.input = p->input;
    m->program.output = p->output;
    m->program.logits = LLRT_NONE;
    m->desc = (llrt_model_desc){.struct_size = sizeof m->desc,
                                .n_program = 1,
                                .n_kv = N_SLOT,
                                .program = &m->program,
                                .kv = slots,
                                .kv_type = type};
    cpu_host_open(&m->h, 2);
    assert_int_equal(m->h.table.model_create(&m->h.host, &m->desc, &m->model, &err), LLRT_OK);
    assert_int_equal(m->h.table.model_finish(m->model, &err), LLRT_OK);
    assert_int_equal(m->h.table.runtime_create(m->model, &limits, &m->runtime, &err), LLRT_OK);
    return p;
}

static void close_paged(paged *p)
{
    p->m.h.table.runtime_free(p->m.runtime);
    p->m.h.table.model_free(p->m.model);
    cpu_host_close(&p->m.h);
    for (uint32_t i = 0; i < p->n_input; i++) free(p->x[i]);
    free(p);
}

static void step_paged(paged *p, const uint32_t *full, const uint32_t *window)
{
    llrt_error err = LLRT_ERROR_INIT;
    const llrt_step_seq seq = {.n_row = N_POS, .n_page = 2, .page = {full, window}};
    const llrt_step_desc step = {.struct_size = sizeof step,
                                 .n_row = N_POS,
                                 .n_seq = 1,
                                 .seq = &seq,
                                 .input = (const float *const *)(void *)p->x};
    if (p->m.h.table.step_submit(p->m.runtime, &step, &err) < 0) fail_msg("%s", err.text);
    assert_int_equal(p->m.h.table.step_wait(p->m.runtime, &err), LLRT_OK);
}

/* Pages of one group are read, written to others and copied in part; the other group's stay as they are. */
static void test_pages_of_groups(void **state)
{
    static const uint32_t full[2] = {2, 0}, window[2] = {1, 4}, n_spare[2] = {1, 2};
    uint8_t *const expected = malloc(1 << 17), *const found = malloc(1 << 17);
    assert_non_null(expected);
    assert_non_null(found);
    for (size_t t = 0; t < LLRTI_COUNT(kv_type); t++) {
        paged *const p = open_paged(kv_type[t]);
        const llrt_backend *const b = &p->m.h.table;
        void *const rt = p->m.runtime;
        llrt_error err = LLRT_ERROR_INIT;
        step_paged(p, full, window);
        for (int round = 0; round < 2; round++) /* the second finds what the first left */
            for (uint32_t group = 0; group < 2; group++) {
                const uint32_t *const table = group ? window : full;
                const uint32_t spare = n_spare[group]; /* in neither table */
                for (uint32_t i = 0; i < 2; i++) {
                    const uint32_t n = i ? N_POS - LLRT_PAGE_TOK : LLRT_PAGE_TOK;
                    const size_t size =
                        put_page(p, group, kv_type[t], i * LLRT_PAGE_TOK, n, expected);
                    assert_true(size <= 1 << 17);
                    assert_int_equal(b->page_read(rt, group, table[i], n, found, size, &err),
                                     LLRT_OK);
                    assert_memory_equal(found, expected, size);
                    assert_int_equal(b->page_read(rt, group, table[i], n, found, size + 1, &err),
                                     LLRT_ERR_ARGUMENT);
                }
                /* the whole first page to the spare one, then 3 positions of the second over it */
                const size_t size = put_page(p, group, kv_type[t], 0, LLRT_PAGE_TOK, expected);
                assert_int_equal(
                    b->page_write(rt, group, spare, LLRT_PAGE_TOK, expected, size, &err), LLRT_OK);
                assert_int_equal(b->page_copy(rt, group, spare, table[1], 3, &err), LLRT_OK);
                const size_t part = put_page(p, group, kv_type[t], LLRT_PAGE_TOK, 3, expected);
                assert_int_equal(b->page_read(rt, group, spare, 3, found, part, &err), LLRT_OK);
                assert_memory_equal(found, expected, part);
                assert_int_equal(b->page_copy(rt, group, table[0], spare, 0, &err), LLRT_OK);
                assert_int_equal(b->page_copy(rt, group, spare, table[0], 3, &err), LLRT_OK);
                put_page(p, group, kv_type[t], 0, LLRT_PAGE_TOK, expected);
                assert_int_equal(b->page_read(rt, group, spare, LLRT_PAGE_TOK, found, size, &err),
                                 LLRT_OK);
                assert_memory_equal(found, expected, size);
                assert_int_equal(b->page_copy(rt, group, spare, table[0], LLRT_PAGE_TOK, &err),
                                 LLRT_OK);
            }
        assert_int_equal(b->page_copy(rt, 2, 0, 1, 1, &err), LLRT_ERR_ARGUMENT);
        assert_int_equal(b->page_copy(rt, 0, POOL_0, 1, 1, &err), LLRT_ERR_ARGUMENT);
        assert_int_equal(b->page_copy(rt, 1, POOL_0, 1, 1, &err), LLRT_OK);
        assert_int_equal(b->page_copy(rt, 1, POOL_1, 1, 1, &err), LLRT_ERR_ARGUMENT);
        close_paged(p);
    }
    free(expected);
    free(found);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_equals_loops_in_double),
        cmocka_unit_test(test_same_bits),
        cmocka_unit_test(test_same_bits_as_hostile),
        cmocka_unit_test(test_pages_of_groups),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
