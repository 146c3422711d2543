/* SPDX-License-Identifier: MIT */
/*
 * A part of a model for tests: a program of a few operators whose inputs the test gives, run on three sequences in steps of
 * any composition, with recurrent states and snapshots of them. The definition (values, operators, tensors, inputs) is made
 * once and opened with any number of workers, level, precision and weight policy. Include after cmocka.h.
 */
#ifndef CPU_PART_H
#define CPU_PART_H

#include "cpu_fixture.h"
#include "isa.h"

enum { PART_SEQ = 3, PART_INPUT = 6, PART_PAGE = 8, PART_SLOTS = PART_SEQ * (2 + PART_PAGE) };

static const uint32_t part_length[PART_SEQ] = {201, 64, 37};

struct part_run;

typedef struct part {
    cpu_model m; /* values, operators, tensors and their description; never opened itself */
    llrt_state_desc state[4];
    uint32_t input[PART_INPUT], output[1];
    float *x[PART_SEQ][PART_INPUT]; /* (length, row width) */
    llrt_runtime_limits limits;
    uint64_t seed;
    /* of the sequences, NULL: none */
    const uint32_t *adapter[PART_SEQ];
    const float *adapter_scale[PART_SEQ];
    uint32_t n_adapter[PART_SEQ];
    void (*prepare)(struct part_run *r); /* called for each runtime; may be NULL */
} part;

typedef struct part_config {
    uint32_t n_worker;
    const char *isa;
    llrt_precision precision;
    llrt_weights weights;
} part_config;

/* One opened model and the sequences' progress. */
typedef struct part_run {
    part *p;
    cpu_host h;
    void *model, *runtime;
    uint32_t n_done[PART_SEQ], slot[PART_SEQ];
    float *y[PART_SEQ]; /* (length, row width of the output) */
} part_run;

static inline part *part_new(uint64_t seed)
{
    part *const p = calloc(1, sizeof *p);
    assert_non_null(p);
    p->seed = seed;
    p->limits = (llrt_runtime_limits){.struct_size = sizeof p->limits,
                                      .n_row = 320,
                                      .n_seq = PART_SEQ,
                                      .n_out = 320,
                                      .n_state = PART_SLOTS};
    return p;
}

static inline size_t part_width(const part *p, uint32_t value)
{
    return (size_t)p->m.value[value].n_head * p->m.value[value].width;
}

/* A value that the test gives: scale * uniform + offset for each sequence. */
static inline uint32_t part_input(part *p, uint32_t n_head, uint32_t width, float scale,
                                  float offset)
{
    const uint32_t v = cpu_add_value(&p->m, LLRT_ROWS_TOKEN, n_head, width);
    const uint32_t i = p->m.program.n_input++;
    assert_true(i < PART_INPUT);
    p->input[i] = v;
    for (uint32_t s = 0; s < PART_SEQ; s++)
        p->x[s][i] = cpu_floats(&p->seed, (size_t)part_length[s] * n_head * width, scale, offset);
    return v;
}

/* A tensor (k, m, n); n 0: two dimensions. Returns its index. */
static inline uint32_t part_tensor(part *p, const char *name, llrt_type type, uint64_t k,
                                   uint64_t m, uint64_t n, float scale, float offset)
{
    const uint32_t i = p->m.desc.n_tensor++;
    const uint64_t rows = m * (n ? n : 1);
    assert_true(i < CPU_MAX_TENSOR);
    p->m.tensor[i] = cpu_tensor_make(name, type, k, rows,
                                     cpu_floats(&p->seed, (size_t)(k * rows), scale, offset));
    p->m.tensor[i].desc.n_dim = n ? 3 : m > 1 ? 2 : 1;
    p->m.tensor[i].desc.dim[1] = m;
    p->m.tensor[i].desc.dim[2] = n ? n : 1;
    p->m.tensor_desc[i] = p->m.tensor[i].desc;
    return i;
}

static inline llrt_op *part_op(part *p, llrt_op_kind kind, const uint32_t *in, uint32_t n_in,
                               uint32_t out)
{
    llrt_op *const op = cpu_add_op(&p->m, kind, LLRT_NONE, LLRT_NONE, out);
    op->n_in = n_in;
    for (uint32_t i = 0; i < n_in; i++) op->in[i] = in[i];
    return op;
}

static inline uint32_t part_state(part *p, uint32_t n_float)
{
    p->state[p->m.desc.n_state] = (llrt_state_desc){.n_float = n_float};
    return p->m.desc.n_state++;
}

/* The description, complete. The last operator's output is what is read. */
static inline llrt_model_desc part_desc(part *p, const part_config *c)
{
    llrt_program *const g = &p->m.program;
    llrt_model_desc d = p->m.desc;
    p->output[0] = p->m.op[g->n_op - 1].out;
    g->value = p->m.value;
    g->op = p->m.op;
    g->input = p->input;
    g->output = p->output;
    g->n_output = 1;
    g->logits = LLRT_NONE;
    d.struct_size = sizeof d;
    d.n_program = 1;
    d.tensor = p->m.tensor_desc;
    d.program = g;
    d.state = p->state;
    d.kv_type = LLRT_TYPE_F32;
    d.precision = c->precision;
    d.weights = c->weights;
    d.isa = c->isa;
    return d;
}

static inline void part_fill(part_run *r, const part_config *c)
{
    llrt_error err = LLRT_ERROR_INIT;
    for (uint32_t i = 0; i < r->p->m.desc.n_tensor; i++) {
        if (c->weights == LLRT_WEIGHTS_REPACKED)
            cpu_tensor_put(&r->h.table, r->model, i, &r->p->m.tensor[i]);
        else
            assert_int_equal(r->h.table.weight_map(r->model, i, r->p->m.tensor[i].bytes, &err),
                             LLRT_OK);
    }
    if (r->h.table.model_finish(r->model, &err) < 0) fail_msg("%s", err.text);
}

static inline part_run *part_open(part *p, const part_config *c)
{
    llrt_error err = LLRT_ERROR_INIT;
    part_run *const r = calloc(1, sizeof *r);
    assert_non_null(r);
    const llrt_model_desc d = part_desc(p, c);
    r->p = p;
    cpu_host_open(&r->h, c->n_worker);
    if (r->h.table.model_create(&r->h.host, &d, &r->model, &err) < 0) fail_msg("%s", err.text);
    part_fill(r, c);
    if (r->h.table.runtime_create(r->model, &p->limits, &r->runtime, &err) < 0)
        fail_msg("%s", err.text);
    for (uint32_t s = 0; s < PART_SEQ; s++) {
        const size_t n = part_length[s] * part_width(p, p->output[0]);
        r->y[s] = malloc((n + 1) * sizeof *r->y[s]);
        assert_non_null(r->y[s]);
        r->slot[s] = LLRT_NONE;
    }
    if (p->prepare) p->prepare(r);
    return r;
}

static inline void part_close(part_run *r)
{
    r->h.table.runtime_free(r->runtime);
    r->h.table.model_free(r->model);
    cpu_host_close(&r->h);
    for (uint32_t s = 0; s < PART_SEQ; s++) free(r->y[s]);
    free(r);
}

static inline void part_free(part *p)
{
    for (uint32_t i = 0; i < p->m.desc.n_tensor; i++) cpu_tensor_free(&p->m.tensor[i]);
    for (uint32_t s = 0; s < PART_SEQ; s++)
        for (uint32_t i = 0; i < PART_INPUT; i++) free(p->x[s][i]);
    free(p);
}

/* Slot of the snapshot at the end of a page of a sequence. */
static inline uint32_t part_snapshot(uint32_t seq, uint32_t page)
{
    return 2 * PART_SEQ + seq * PART_PAGE + page;
}

typedef struct part_step_data {
    llrt_step_desc step;
    llrt_step_seq seq[PART_SEQ];
    uint32_t order[PART_SEQ]; /* sequences of the entries */
    uint32_t state_at[PART_SEQ][PART_PAGE], out_row[320];
    float *input[PART_INPUT];
    const float *input_list[PART_INPUT];
} part_step_data;

/* A step of count[s] rows of sequence s. States go to the other slot of the sequence's two, and to the snapshots. */
static inline part_step_data *part_describe(const part_run *r, const uint32_t *count)
{
    const part *const p = r->p;
    part_step_data *const d = calloc(1, sizeof *d);
    assert_non_null(d);
    d->step.struct_size = sizeof d->step;
    for (uint32_t s = 0; s < PART_SEQ; s++) {
        if (count[s] == 0) continue;
        for (uint32_t k = 0; k < PART_PAGE; k++) d->state_at[s][k] = part_snapshot(s, k);
        d->order[d->step.n_seq] = s;
        d->seq[d->step.n_seq++] =
            (llrt_step_seq){.row_begin = d->step.n_row,
                            .n_row = count[s],
                            .pos_begin = (int32_t)r->n_done[s],
                            .n_page = (r->n_done[s] + count[s] + LLRT_PAGE_TOK - 1) / LLRT_PAGE_TOK,
                            .n_adapter = p->n_adapter[s],
                            .adapter = p->adapter[s],
                            .adapter_scale = p->adapter_scale[s],
                            .state_in = r->slot[s],
                            .state_out = r->slot[s] == 2 * s ? 2 * s + 1 : 2 * s,
                            .state_at = d->state_at[s]};
        d->step.n_row += count[s];
    }
    for (uint32_t i = 0; i < p->m.program.n_input; i++) {
        const size_t width = part_width(p, p->input[i]);
        d->input[i] = malloc((d->step.n_row * width + 1) * sizeof *d->input[i]);
        assert_non_null(d->input[i]);
        d->input_list[i] = d->input[i];
        for (uint32_t k = 0; k < d->step.n_seq; k++) {
            const uint32_t s = d->order[k];
            memcpy(d->input[i] + d->seq[k].row_begin * width, p->x[s][i] + r->n_done[s] * width,
                   count[s] * width * sizeof *d->input[i]);
        }
    }
    for (uint32_t i = 0; i < d->step.n_row && i < 320; i++) d->out_row[i] = i;
    d->step.n_out = d->step.n_row;
    d->step.out_row = d->out_row;
    d->step.seq = d->seq;
    d->step.input = d->input_list;
    return d;
}

static inline void part_step_free(part_step_data *d)
{
    for (uint32_t i = 0; i < PART_INPUT; i++) free(d->input[i]);
    free(d);
}

/* Runs the step; when it works reads the outputs and moves on. */
static inline llrt_status part_submit(part_run *r, part_step_data *d, llrt_error *err)
{
    const size_t width = part_width(r->p, r->p->output[0]);
    llrt_status status = r->h.table.step_submit(r->runtime, &d->step, err);
    if (status == LLRT_OK) status = r->h.table.step_wait(r->runtime, err);
    if (status < 0) return status;
    for (uint32_t k = 0; k < d->step.n_seq; k++) {
        const uint32_t s = d->order[k];
        status = r->h.table.value_read(r->runtime, r->p->output[0], d->seq[k].row_begin,
                                       d->seq[k].n_row, r->y[s] + r->n_done[s] * width, err);
        if (status < 0) return status;
        r->n_done[s] += d->seq[k].n_row;
        r->slot[s] = d->seq[k].state_out;
    }
    return LLRT_OK;
}

static inline void part_step(part_run *r, uint32_t a, uint32_t b, uint32_t c)
{
    const uint32_t count[PART_SEQ] = {a, b, c};
    llrt_error err = LLRT_ERROR_INIT;
    part_step_data *const d = part_describe(r, count);
    if (part_submit(r, d, &err) < 0) fail_msg("%s", err.text);
    part_step_free(d);
}

/* Each sequence alone, in chunks. */
static inline void part_run_alone(part_run *r, uint32_t chunk)
{
    for (uint32_t s = 0; s < PART_SEQ; s++)
        while (r->n_done[s] < part_length[s]) {
            const uint32_t n = LLRTI_MIN(chunk, part_length[s] - r->n_done[s]);
            part_step(r, s == 0 ? n : 0, s == 1 ? n : 0, s == 2 ? n : 0);
        }
}

/* All together, in steps of ever-changing composition. */
static inline void part_run_mixed(part_run *r)
{
    static const uint32_t wish[][PART_SEQ] = {{1, 3, 0},  {7, 1, 5},  {1, 1, 1},
                                              {64, 0, 2}, {0, 20, 0}, {90, 30, 9}};
    for (uint32_t turn = 0; r->n_done[0] < part_length[0] || r->n_done[1] < part_length[1] ||
                            r->n_done[2] < part_length[2];
         turn++) {
        uint32_t n[PART_SEQ], sum = 0;
        for (uint32_t s = 0; s < PART_SEQ; s++) {
            n[s] = LLRTI_MIN(wish[turn % LLRTI_COUNT(wish)][s], part_length[s] - r->n_done[s]);
            sum += n[s];
        }
        if (sum) part_step(r, n[0], n[1], n[2]);
    }
}

static inline void part_assert_same(const part_run *a, const part_run *b, const char *what)
{
    const size_t width = part_width(a->p, a->p->output[0]);
    for (uint32_t s = 0; s < PART_SEQ; s++)
        for (size_t i = 0; i < part_length[s] * width; i++)
            if (memcmp(&a->y[s][i], &b->y[s][i], sizeof(float)) != 0)
                fail_msg("%s: sequence %u, row %zu, element %zu: %.9g and %.9g", what, s, i / width,
                         i % width, (double)a->y[s][i], (double)b->y[s][i]);
}

/*
 * The bits of one worker on the reference kernels, token by token, whatever the workers, chunks, company, level
 * and weight policy. Levels are compared only where the precision promises it.
 */
static inline void part_check_same_bits(part *p, llrt_precision precision)
{
    static const uint32_t chunk[] = {1, 7, 64, 300};
    const part_config plain = {.n_worker = 1, .isa = "ref", .precision = precision};
    part_run *const expected = part_open(p, &plain);
    part_run_alone(expected, 1);
    for (uint32_t level = 0; llrti_isa_level(level); level++)
        for (uint32_t n_worker = 1; n_worker <= 4; n_worker++) {
            const part_config c = {.n_worker = n_worker,
                                   .isa = llrti_isa_level(level),
                                   .precision = precision,
                                   .weights = (level + n_worker) % 3 == 0 ? LLRT_WEIGHTS_MAPPED
                                                                          : LLRT_WEIGHTS_REPACKED};
            char what[80];
            snprintf(what, sizeof what, "%s, %u workers", c.isa, n_worker);
            part_run *const alone = part_open(p, &c), *const mixed = part_open(p, &c);
            part_run_alone(alone, chunk[(n_worker + level) % 4]);
            part_assert_same(expected, alone, what);
            part_run_mixed(mixed);
            part_assert_same(expected, mixed, what);
            part_close(alone);
            part_close(mixed);
        }
    part_close(expected);
}

/* What plan says is what is requested, by class; and a step requests nothing. */
static inline void part_check_plan(part *p, const part_config *c)
{
    llrt_memory_use a = {.struct_size = sizeof a}, b = {.struct_size = sizeof b};
    llrt_error err = LLRT_ERROR_INIT;
    cpu_host h;
    const llrt_model_desc d = part_desc(p, c);
    cpu_host_open(&h, c->n_worker);
    if (h.table.plan(&h.host, &d, &p->limits, &a, &b, &err) < 0) fail_msg("%s", err.text);
    for (int k = 0; k < LLRT_MEMORY_COUNT; k++) assert_int_equal(h.live[k], 0);
    cpu_host_close(&h);
    part_run *const r = part_open(p, c);
    for (int k = 0; k < LLRT_MEMORY_COUNT; k++)
        assert_int_equal(r->h.live[k], a.bytes[k] + b.bytes[k]);
    const uint64_t n_alloc = r->h.n_alloc;
    part_step(r, LLRTI_MIN(p->limits.n_row, 3), 0, 0);
    assert_int_equal(r->h.n_alloc, n_alloc);
    part_close(r);
}

/* Each allocation failing in turn: an error, and nothing is left behind. */
static inline void part_check_no_memory(part *p)
{
    const part_config c = {.n_worker = 2};
    const llrt_model_desc d = part_desc(p, &c);
    for (uint64_t fail_at = 1;; fail_at++) {
        llrt_error err = LLRT_ERROR_INIT;
        part_run r = {.p = p};
        cpu_host_open(&r.h, 2);
        r.h.fail_at = fail_at;
        llrt_status status = r.h.table.model_create(&r.h.host, &d, &r.model, &err);
        if (status == LLRT_OK) {
            part_fill(&r, &c);
            status = r.h.table.runtime_create(r.model, &p->limits, &r.runtime, &err);
        }
        if (status < 0) assert_int_equal(status, LLRT_ERR_NOMEM);
        if (r.runtime) r.h.table.runtime_free(r.runtime);
        if (r.model) r.h.table.model_free(r.model);
        cpu_host_close(&r.h);
        if (status == LLRT_OK) break;
    }
}

/* model_create fails and says so: `word` is in the text. */
static inline void part_check_refused(part *p, llrt_status expected, const char *word)
{
    const part_config c = {.n_worker = 1};
    llrt_error err = LLRT_ERROR_INIT;
    cpu_host h;
    void *model = p;
    const llrt_model_desc d = part_desc(p, &c);
    cpu_host_open(&h, 1);
    const llrt_status status = h.table.model_create(&h.host, &d, &model, &err);
    if (status != expected || !strstr(err.text, word))
        fail_msg("status %d and \"%s\", expected %d and \"%s\"", status, err.text, expected, word);
    assert_null(model);
    cpu_host_close(&h);
}

/* Random damage to operators, values, states, tensors and limits: a plan or an error with a text; the sanitizers watch. */
static inline void part_check_damage(const part *p, uint64_t seed)
{
    const part_config c = {.n_worker = 1};
    part *const d = malloc(sizeof *d);
    uint32_t n_planned = 0, n_refused = 0;
    cpu_host h;
    assert_non_null(d);
    cpu_host_open(&h, 1);
    for (int round = 0; round < 4000; round++) {
        llrt_memory_use a = {.struct_size = sizeof a}, b = {.struct_size = sizeof b};
        llrt_error err = LLRT_ERROR_INIT;
        *d = *p;
        for (uint32_t k = 0; k <= cpu_random(&seed) % 3; k++) {
            llrt_op *const op = &d->m.op[cpu_random(&seed) % d->m.program.n_op];
            llrt_tensor_desc *const t = &d->m.tensor_desc[cpu_random(&seed) % d->m.desc.n_tensor];
            llrt_value *const v = &d->m.value[cpu_random(&seed) % d->m.program.n_value];
            const uint32_t n = cpu_random(&seed) % 3 ? cpu_random(&seed) % 40 : cpu_random(&seed);
            const uint32_t at = cpu_random(&seed);
            switch (cpu_random(&seed) % 9) {
            case 0:
                op->weight[at % 8] = n;
                break;
            case 1:
                op->in[at % 6] = n;
                break;
            case 2:
                op->n_in = n % 8;
                break;
            case 3:
                v->width = n % 4096;
                break;
            case 4:
                v->n_head = n % 4096;
                break;
            case 5:
                t->dim[at % 3] = n;
                break;
            case 6:
                memcpy(op->u.reserved + at % 12 * 4, &n, 4);
                break;
            case 7:
                d->state[at % 4].n_float = n;
                break;
            default:
                memcpy((char *)&d->limits + 4 + at % (sizeof d->limits / 4 - 1) * 4, &n, 4);
                break;
            }
        }
        const llrt_model_desc desc = part_desc(d, &c);
        const llrt_status status = h.table.plan(&h.host, &desc, &d->limits, &a, &b, &err);
        n_planned += status == LLRT_OK;
        n_refused += status < 0;
        if (status < 0) assert_true(err.text[0] != 0);
        for (int k = 0; k < LLRT_MEMORY_COUNT; k++) assert_int_equal(h.live[k], 0);
    }
    assert_true(n_planned > 40 && n_refused > 400);
    cpu_host_close(&h);
    free(d);
}

static inline int part_fuse(void *ctx)
{
    return --*(int *)ctx < 0;
}

/* Cancelled at each of its polls, a step leaves everything as it was: run again it gives the same bits. One worker. */
static inline void part_check_cancel(part *p)
{
    const part_config c = {.n_worker = 1};
    part_run *const expected = part_open(p, &c), *const found = part_open(p, &c);
    uint32_t n_cancelled = 0;
    part_run_alone(expected, 300);
    for (uint32_t s = 0; s < PART_SEQ; s++) {
        part_step(found, s == 0 ? 20 : 0, s == 1 ? 20 : 0, s == 2 ? 20 : 0);
        const uint32_t rest = part_length[s] - 20;
        const uint32_t count[PART_SEQ] = {s == 0 ? rest : 0, s == 1 ? rest : 0, s == 2 ? rest : 0};
        part_step_data *const d = part_describe(found, count);
        for (int n_poll = 0;; n_poll++) {
            llrt_error err = LLRT_ERROR_INIT;
            int left = n_poll;
            d->step.poll_cancel = part_fuse;
            d->step.poll_ctx = &left;
            const llrt_status status = part_submit(found, d, &err);
            if (status == LLRT_OK) break;
            assert_int_equal(status, LLRT_ERR_CANCELLED);
            n_cancelled++;
        }
        part_step_free(d);
    }
    assert_true(n_cancelled >= PART_SEQ);
    part_assert_same(expected, found, "after a cancel");
    part_close(expected);
    part_close(found);
}

#endif
