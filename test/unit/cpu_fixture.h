/* SPDX-License-Identifier: MIT */
/*
 * What the tests of the CPU backend share: a host with workers whose memory is counted, filled with NaN and can be
 * told to fail; tensors from a seed; a small transformer as a program, built by hand, with its forward pass in
 * double as plain loops; sequences that live on scattered pages. Include after cmocka.h.
 */
#ifndef CPU_FIXTURE_H
#define CPU_FIXTURE_H

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "alloc.h"
#include "cpu_backend.h"
#include "error.h"
#include "half.h"
#include "workers.h"

/* ---- Host ----------------------------------------------------------------------------------- */

typedef struct cpu_host {
    llrti_mem mem; /* of the workers only */
    llrti_workers *workers;
    llrt_host host;
    llrt_backend table;
    uint64_t live[LLRT_MEMORY_COUNT];
    uint64_t n_alloc, fail_at; /* request number fail_at fails, from 1; 0: none */
} cpu_host;

static inline void *cpu_host_alloc(void *ctx, size_t size, size_t align, llrt_memory kind)
{
    cpu_host *const h = ctx;
    if (++h->n_alloc == h->fail_at) return NULL;
    void *const ptr = llrti_heap_alloc(size, align);
    assert_non_null(ptr);
    memset(ptr, 0xff, size); /* NaN in every float type: what is read without being written shows */
    h->live[kind] += size;
    return ptr;
}

static inline void cpu_host_release(void *ctx, void *ptr, size_t size, size_t align,
                                    llrt_memory kind)
{
    cpu_host *const h = ctx;
    h->live[kind] -= size;
    llrti_heap_free(ptr);
}

static inline void cpu_host_parallel(void *ctx, uint32_t n,
                                     void (*task)(void *, uint32_t, uint32_t), void *arg)
{
    cpu_host *const h = ctx;
    llrti_workers_run(h->workers, n, task, arg);
}

static inline void cpu_host_open(cpu_host *h, uint32_t n_worker)
{
    llrt_error err = LLRT_ERROR_INIT;
    memset(h, 0, sizeof *h);
    llrti_mem_init(&h->mem, NULL);
    assert_int_equal(llrti_workers_create(&h->mem, n_worker, NULL, NULL, &h->workers, &err),
                     LLRT_OK);
    h->host = (llrt_host){sizeof h->host, n_worker,         h, cpu_host_alloc, cpu_host_release,
                          NULL,           cpu_host_parallel};
    h->table.struct_size = sizeof h->table;
    assert_int_equal(llrti_cpu_backend_entry(LLRT_BACKEND_VERSION, &h->table, &err), LLRT_OK);
}

static inline void cpu_host_close(cpu_host *h)
{
    for (int i = 0; i < LLRT_MEMORY_COUNT; i++) assert_int_equal(h->live[i], 0);
    llrti_workers_free(h->workers);
}

/* ---- Random --------------------------------------------------------------------------------- */

static inline uint32_t cpu_random(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15ull;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return (uint32_t)((z ^ (z >> 31)) >> 32);
}

static inline float cpu_uniform(uint64_t *state)
{
    return (float)((double)cpu_random(state) / 2147483648.0 - 1.0);
}

static inline float *cpu_floats(uint64_t *state, size_t n, float scale, float offset)
{
    float *const x = malloc((n + 1) * sizeof *x);
    assert_non_null(x);
    for (size_t i = 0; i < n; i++) x[i] = cpu_uniform(state) * scale + offset;
    return x;
}

/* ---- Tensors -------------------------------------------------------------------------------- */

typedef struct cpu_tensor {
    llrt_tensor_desc desc;
    float *value;   /* what the bytes stand for */
    uint8_t *bytes; /* in the type of desc */
    size_t row_bytes;
    uint64_t n_row;
} cpu_tensor;

/* Encodes `value` and replaces it by what the encoding stands for. Takes `value`. */
static inline cpu_tensor cpu_tensor_make(const char *name, llrt_type type, uint64_t k, uint64_t m,
                                         float *value)
{
    cpu_tensor t = {{name, type, m > 1 ? 2 : 1, {k, m, 1, 1}}, value, NULL, 0, m};
    t.row_bytes = type == LLRT_TYPE_F32 ? k * 4 : type == LLRT_TYPE_Q8_0 ? k / 32 * 34 : k * 2;
    t.bytes = malloc(t.row_bytes * m);
    assert_non_null(t.bytes);
    for (uint64_t i = 0; i < k * m; i++) {
        uint16_t half = 0;
        if (type == LLRT_TYPE_F32) memcpy(t.bytes + i * 4, &value[i], 4);
        if (type == LLRT_TYPE_F16)
            value[i] = llrti_f16_to_float(half = llrti_float_to_f16(value[i]));
        if (type == LLRT_TYPE_BF16)
            value[i] = llrti_bf16_to_float(half = llrti_float_to_bf16(value[i]));
        if (type == LLRT_TYPE_F16 || type == LLRT_TYPE_BF16) memcpy(t.bytes + i * 2, &half, 2);
        if (type != LLRT_TYPE_Q8_0 || i % 32) continue;
        float top = 0;
        for (int j = 0; j < 32; j++) top = fmaxf(top, fabsf(value[i + j]));
        const uint16_t scale = llrti_float_to_f16(top / 127);
        const float d = llrti_f16_to_float(scale);
        memcpy(t.bytes + i / 32 * 34, &scale, 2);
        for (int j = 0; j < 32; j++) {
            const int8_t q = (int8_t)fmaxf(-127, fminf(127, d > 0 ? rintf(value[i + j] / d) : 0));
            memcpy(t.bytes + i / 32 * 34 + 2 + j, &q, 1);
            value[i + j] = d * (float)q;
        }
    }
    return t;
}

static inline void cpu_tensor_free(cpu_tensor *t)
{
    free(t->value);
    free(t->bytes);
}

/* Gives a tensor to a model, the last rows first. */
static inline void cpu_tensor_put(const llrt_backend *table, void *model, uint32_t index,
                                  const cpu_tensor *t)
{
    llrt_error err = LLRT_ERROR_INIT;
    for (uint64_t end = t->n_row; end > 0;) {
        const uint64_t begin = (end - 1) / LLRT_WEIGHT_ROWS * LLRT_WEIGHT_ROWS;
        const llrt_status status = table->weight_put(model, index, begin, end - begin,
                                                     t->bytes + begin * t->row_bytes, &err);
        if (status < 0) fail_msg("%s", err.text);
        end = begin;
    }
}

/* What a KV type makes of n values of one head. */
static inline void cpu_round_kv(llrt_type type, const float *x, size_t n, double *to)
{
    for (size_t i = 0; i < n; i++) {
        if (type == LLRT_TYPE_F32) to[i] = (double)x[i];
        if (type == LLRT_TYPE_F16) to[i] = (double)llrti_f16_to_float(llrti_float_to_f16(x[i]));
        if (type == LLRT_TYPE_BF16) to[i] = (double)llrti_bf16_to_float(llrti_float_to_bf16(x[i]));
        if (type != LLRT_TYPE_Q8_0 || i % 32) continue;
        float top = 0;
        const size_t end = LLRTI_MIN(i + 32, n);
        for (size_t j = i; j < end; j++) top = fmaxf(top, fabsf(x[j]));
        const float d = top / 127, inv = d > 0 ? 1 / d : 0;
        for (size_t j = i; j < end; j++)
            to[j] =
                (double)llrti_f16_to_float(llrti_float_to_f16(d)) * nearbyint((double)(x[j] * inv));
    }
}

/* ---- A small transformer -------------------------------------------------------------------- */

enum { CPU_MAX_TENSOR = 64, CPU_MAX_VALUE = 128, CPU_MAX_OP = 128, CPU_MAX_PAGE = 16 };

typedef struct cpu_config {
    uint32_t n_layer, n_head, n_kv_head, k_dim, v_dim, n_rot, d_model, d_ff, n_vocab, window;
    int is_grouped; /* odd layers have the window and their pages in the window group, the others none */
    float soft_cap;
    llrt_type weight_type, kv_type;
    llrt_precision precision;
    llrt_weights weights;
    const char *isa;
    uint32_t n_worker;
    llrt_rope_pairs pairs;
    llrt_runtime_limits limits;
} cpu_config;

static inline cpu_config cpu_config_small(void)
{
    return (cpu_config){.n_layer = 2,
                        .n_head = 6,
                        .n_kv_head = 2,
                        .k_dim = 20,
                        .v_dim = 16,
                        .n_rot = 16,
                        .d_model = 64,
                        .d_ff = 96,
                        .n_vocab = 130,
                        .weight_type = LLRT_TYPE_F32,
                        .kv_type = LLRT_TYPE_F32,
                        .precision = LLRT_PRECISION_F32,
                        .n_worker = 1,
                        .pairs = LLRT_ROPE_HALVES,
                        .limits = {sizeof(llrt_runtime_limits), 320, 4, 320, {24}}};
}

typedef struct cpu_model {
    cpu_config c;
    cpu_host h;
    cpu_tensor tensor[CPU_MAX_TENSOR];
    llrt_tensor_desc tensor_desc[CPU_MAX_TENSOR];
    llrt_value value[CPU_MAX_VALUE];
    llrt_op op[CPU_MAX_OP];
    uint32_t output[1];
    llrt_kv_desc kv[8];
    float inv_freq[64];
    llrt_program program;
    llrt_model_desc desc;
    void *model, *runtime;
} cpu_model;

static inline uint32_t cpu_add_value(cpu_model *m, llrt_rows rows, uint32_t n_head, uint32_t width)
{
    assert_true(m->program.n_value < CPU_MAX_VALUE);
    m->value[m->program.n_value] = (llrt_value){rows, n_head, width};
    return m->program.n_value++;
}

static inline llrt_op *cpu_add_op(cpu_model *m, llrt_op_kind kind, uint32_t a, uint32_t b,
                                  uint32_t out)
{
    assert_true(m->program.n_op < CPU_MAX_OP);
    llrt_op *const op = &m->op[m->program.n_op++];
    memset(op, 0, sizeof *op);
    op->kind = kind;
    op->n_in = (a != LLRT_NONE) + (b != LLRT_NONE);
    for (size_t i = 0; i < LLRTI_COUNT(op->in); i++) op->in[i] = LLRT_NONE;
    op->in[0] = a;
    op->in[1] = b;
    op->out = out;
    for (size_t i = 0; i < LLRTI_COUNT(op->weight); i++) op->weight[i] = LLRT_NONE;
    return op;
}

static inline uint32_t cpu_add_tensor(cpu_model *m, uint64_t *seed, llrt_type type, uint64_t k,
                                      uint64_t rows, float scale, float offset)
{
    static const char *const name[] = {"embed", "gain", "bias", "matrix"};
    const uint32_t i = m->desc.n_tensor++;
    assert_true(i < CPU_MAX_TENSOR);
    m->tensor[i] =
        cpu_tensor_make(name[i == 0        ? 0
                             : rows > 1    ? 3
                             : offset != 0 ? 1
                                           : 2],
                        type, k, rows, cpu_floats(seed, (size_t)(k * rows), scale, offset));
    m->tensor_desc[i] = m->tensor[i].desc;
    return i;
}

/* A linear of a new matrix, with a bias when has_bias. Returns the output. */
static inline uint32_t cpu_add_linear(cpu_model *m, uint64_t *seed, uint32_t x, uint32_t n_head,
                                      uint32_t width, int has_bias)
{
    const llrt_value in = m->value[x];
    const uint32_t out = cpu_add_value(m, in.rows, n_head, width);
    const uint32_t k = in.n_head * in.width;
    const uint32_t w = cpu_add_tensor(m, seed, m->c.weight_type, k, (uint64_t)n_head * width,
                                      1.7f / sqrtf((float)k), 0);
    llrt_op *const op = cpu_add_op(m, LLRT_OP_LINEAR, x, LLRT_NONE, out);
    op->weight[0] = w;
    if (has_bias)
        op->weight[1] =
            cpu_add_tensor(m, seed, LLRT_TYPE_F32, (uint64_t)n_head * width, 1, 0.3f, 0);
    return out;
}

static inline uint32_t cpu_add_norm(cpu_model *m, uint64_t *seed, uint32_t x)
{
    const uint32_t out = cpu_add_value(m, m->value[x].rows, m->value[x].n_head, m->value[x].width);
    llrt_op *const op = cpu_add_op(m, LLRT_OP_RMS_NORM, x, LLRT_NONE, out);
    op->weight[0] = cpu_add_tensor(m, seed, LLRT_TYPE_F32, m->value[x].width, 1, 0.4f, 1);
    op->u.norm.eps = 1e-5f;
    return out;
}

static inline uint32_t cpu_add_rope(cpu_model *m, uint32_t x)
{
    const uint32_t out = cpu_add_value(m, m->value[x].rows, m->value[x].n_head, m->value[x].width);
    llrt_op *const op = cpu_add_op(m, LLRT_OP_ROPE, x, LLRT_NONE, out);
    op->u.rope.pairs = m->c.pairs;
    op->u.rope.n_rot = m->c.n_rot;
    op->u.rope.magnitude = 1;
    op->u.rope.inv_freq = m->inv_freq;
    return out;
}

static inline uint32_t cpu_add_same(cpu_model *m, llrt_op_kind kind, uint32_t a, uint32_t b)
{
    const uint32_t out = cpu_add_value(m, m->value[a].rows, m->value[a].n_head, m->value[a].width);
    cpu_add_op(m, kind, a, b, out);
    return out;
}

/*
 * Per layer: norm, q, norm and rope of q's heads, k, norm and rope, v, attention, o, add, norm, gate, up, GLU, down, add; then
 * GATHER, norm, HEAD with the embedding's matrix. Q's operators stand between the linears that share an input.
 */
static inline void cpu_model_build(cpu_model *m, const cpu_config *c)
{
    uint64_t seed = 7;
    memset(m, 0, sizeof *m);
    m->c = *c;
    for (uint32_t i = 0; i < c->n_rot / 2; i++)
        m->inv_freq[i] = powf(1000, -2.0f * (float)i / (float)c->n_rot);
    const uint32_t embed =
        cpu_add_tensor(m, &seed, c->weight_type, c->d_model, c->n_vocab, 0.8f, 0);
    uint32_t x = cpu_add_value(m, LLRT_ROWS_TOKEN, 1, c->d_model);
    llrt_op *op = cpu_add_op(m, LLRT_OP_EMBED, LLRT_NONE, LLRT_NONE, x);
    op->weight[0] = embed;
    op->u.scale.factor = 1.5f;
    for (uint32_t layer = 0; layer < c->n_layer; layer++) {
        const int has_window = !c->is_grouped || layer % 2;
        m->kv[layer] = (llrt_kv_desc){c->n_kv_head, c->k_dim, c->v_dim, layer};
        if (c->is_grouped && has_window) m->kv[layer].group = LLRT_KV_GROUP_WINDOW;
        const uint32_t n = cpu_add_norm(m, &seed, x);
        const uint32_t q = cpu_add_rope(
            m, cpu_add_norm(m, &seed, cpu_add_linear(m, &seed, n, c->n_head, c->k_dim, 1)));
        const uint32_t k = cpu_add_rope(
            m, cpu_add_norm(m, &seed, cpu_add_linear(m, &seed, n, c->n_kv_head, c->k_dim, 1)));
        const uint32_t v = cpu_add_linear(m, &seed, n, c->n_kv_head, c->v_dim, 1);
        const uint32_t a = cpu_add_value(m, LLRT_ROWS_TOKEN, c->n_head, c->v_dim);
        op = cpu_add_op(m, LLRT_OP_ATTENTION, q, k, a);
        op->n_in = 3;
        op->in[2] = v;
        op->u.attention.kv = layer;
        op->u.attention.scale = 1 / sqrtf((float)c->k_dim);
        op->u.attention.soft_cap = c->soft_cap;
        op->u.attention.window = has_window ? c->window : 0;
        x = cpu_add_same(m, LLRT_OP_ADD, x, cpu_add_linear(m, &seed, a, 1, c->d_model, 0));
        const uint32_t f = cpu_add_norm(m, &seed, x);
        const uint32_t gate = cpu_add_linear(m, &seed, f, 1, c->d_ff, 0),
                       up = cpu_add_linear(m, &seed, f, 1, c->d_ff, 0);
        const uint32_t glu = cpu_add_same(m, LLRT_OP_GLU, gate, up); /* SiLU is 0 */
        x = cpu_add_same(m, LLRT_OP_ADD, x, cpu_add_linear(m, &seed, glu, 1, c->d_model, 0));
    }
    m->output[0] = x;
    const uint32_t wanted = cpu_add_value(m, LLRT_ROWS_OUT, 1, c->d_model);
    cpu_add_op(m, LLRT_OP_GATHER, x, LLRT_NONE, wanted);
    const uint32_t n = cpu_add_norm(m, &seed, wanted),
                   logits = cpu_add_value(m, LLRT_ROWS_OUT, 1, c->n_vocab);
    op = cpu_add_op(m, LLRT_OP_HEAD, n, LLRT_NONE, logits);
    op->weight[0] = embed;
    m->program.logits = logits;
    m->program.n_output = 1;
    m->program.output = m->output;
    m->program.value = m->value;
    m->program.op = m->op;
    m->desc.struct_size = sizeof m->desc;
    m->desc.n_program = 1;
    m->desc.n_kv = c->n_layer;
    m->desc.tensor = m->tensor_desc;
    m->desc.program = &m->program;
    m->desc.kv = m->kv;
    m->desc.kv_type = c->kv_type;
    m->desc.precision = c->precision;
    m->desc.weights = c->weights;
    m->desc.isa = c->isa;
}

static inline void cpu_model_fill(cpu_model *m, void *model)
{
    llrt_error err = LLRT_ERROR_INIT;
    for (uint32_t i = 0; i < m->desc.n_tensor; i++) {
        if (m->c.weights == LLRT_WEIGHTS_REPACKED)
            cpu_tensor_put(&m->h.table, model, i, &m->tensor[i]);
        else
            assert_int_equal(m->h.table.weight_map(model, i, m->tensor[i].bytes, &err), LLRT_OK);
    }
    if (m->h.table.model_finish(model, &err) < 0) fail_msg("%s", err.text);
}

static inline cpu_model *cpu_model_open(const cpu_config *c)
{
    llrt_error err = LLRT_ERROR_INIT;
    cpu_model *const m = malloc(sizeof *m);
    assert_non_null(m);
    cpu_model_build(m, c);
    cpu_host_open(&m->h, c->n_worker);
    if (m->h.table.model_create(&m->h.host, &m->desc, &m->model, &err) < 0)
        fail_msg("%s", err.text);
    cpu_model_fill(m, m->model);
    if (m->h.table.runtime_create(m->model, &c->limits, &m->runtime, &err) < 0)
        fail_msg("%s", err.text);
    return m;
}

static inline void cpu_model_close(cpu_model *m)
{
    m->h.table.runtime_free(m->runtime);
    m->h.table.model_free(m->model);
    cpu_host_close(&m->h);
    for (uint32_t i = 0; i < m->desc.n_tensor; i++) cpu_tensor_free(&m->tensor[i]);
    free(m);
}

/* ---- Sequences ------------------------------------------------------------------------------ */

typedef struct cpu_seq {
    uint32_t n_tok, n_done;
    int32_t *token;
    float *logits; /* (n_tok, n_vocab), filled as rows are computed */
    uint32_t page[CPU_MAX_PAGE], window_page[CPU_MAX_PAGE];
} cpu_seq;

/* Sequence `index` has its own tokens, and pages index, index + 4, ... counted from the back. */
static inline cpu_seq cpu_seq_make(const cpu_model *m, uint32_t index, uint32_t n_tok)
{
    uint64_t seed = 100 + index;
    cpu_seq s = {n_tok,
                 0,
                 malloc(n_tok * sizeof(int32_t)),
                 malloc((size_t)n_tok * m->c.n_vocab * sizeof(float)),
                 {0},
                 {0}};
    assert_non_null(s.token);
    assert_non_null(s.logits);
    for (uint32_t i = 0; i < n_tok; i++) s.token[i] = (int32_t)(cpu_random(&seed) % m->c.n_vocab);
    for (uint32_t i = 0; i < CPU_MAX_PAGE; i++)
        s.page[i] = (m->c.limits.n_page[0] * 2 - 1 - index - 4 * i) % m->c.limits.n_page[0];
    for (uint32_t i = 0; i < CPU_MAX_PAGE && m->c.is_grouped; i++)
        s.window_page[i] = (index + 4 * i) % m->c.limits.n_page[1];
    return s;
}

static inline void cpu_seq_free(cpu_seq *s)
{
    free(s->token);
    free(s->logits);
}

/* The table of the window group: no pages where no token from `begin` on sees anything. */
static inline const uint32_t *cpu_seq_window(const cpu_model *m, const cpu_seq *s, uint32_t begin,
                                             uint32_t table[CPU_MAX_PAGE])
{
    const uint32_t window = m->c.window, low = begin + 1 > window ? begin + 1 - window : 0;
    if (!m->c.is_grouped) return NULL;
    for (uint32_t i = 0; i < CPU_MAX_PAGE; i++)
        table[i] = window && (i + 1) * LLRT_PAGE_TOK <= low ? LLRT_NONE : s->window_page[i];
    return table;
}

/* One step: count[i] tokens of seq[i], where it is not 0; all rows wanted. */
static inline llrt_status cpu_seq_step(cpu_model *m, cpu_seq *seq, const uint32_t *count,
                                       uint32_t n, llrt_error *err)
{
    int32_t token[512];
    uint32_t out_row[512], table[8][CPU_MAX_PAGE];
    llrt_step_seq entry[8];
    llrt_step_desc step = {
        .struct_size = sizeof step, .token = token, .seq = entry, .out_row = out_row};
    for (uint32_t i = 0; i < n; i++) {
        if (count[i] == 0) continue;
        entry[step.n_seq++] = (llrt_step_seq){
            .row_begin = step.n_row,
            .n_row = count[i],
            .pos_begin = (int32_t)seq[i].n_done,
            .n_page = (seq[i].n_done + count[i] + LLRT_PAGE_TOK - 1) / LLRT_PAGE_TOK,
            .page = {seq[i].page, cpu_seq_window(m, &seq[i], seq[i].n_done, table[i])}};
        memcpy(token + step.n_row, seq[i].token + seq[i].n_done, count[i] * sizeof *token);
        step.n_row += count[i];
    }
    for (uint32_t i = 0; i < step.n_row; i++) out_row[i] = i;
    step.n_out = step.n_row;
    llrt_status status = m->h.table.step_submit(m->runtime, &step, err);
    if (status == LLRT_OK) status = m->h.table.step_wait(m->runtime, err);
    if (status < 0) return status;
    for (uint32_t i = 0, row = 0; i < n; i++) {
        status = m->h.table.value_read(m->runtime, m->program.logits, row, count[i],
                                       seq[i].logits + (size_t)seq[i].n_done * m->c.n_vocab, err);
        if (status < 0) return status;
        seq[i].n_done += count[i];
        row += count[i];
    }
    return LLRT_OK;
}

/* Computes a whole sequence in chunks. */
static inline void cpu_seq_run(cpu_model *m, cpu_seq *s, uint32_t chunk)
{
    llrt_error err = LLRT_ERROR_INIT;
    while (s->n_done < s->n_tok) {
        const uint32_t n = LLRTI_MIN(chunk, s->n_tok - s->n_done);
        if (cpu_seq_step(m, s, &n, 1, &err) < 0) fail_msg("%s", err.text);
    }
}

/* ---- The forward pass in double ------------------------------------------------------------- */

/* Results of every value for n rows: value[v] is (n, row width). The program must be one that cpu_model_build makes. */
typedef struct cpu_double {
    double *value[CPU_MAX_VALUE];
} cpu_double;

static inline void cpu_double_attention(const cpu_model *m, const llrt_op *op, double *const *value,
                                        uint32_t n)
{
    const llrt_kv_desc *const d = &m->kv[op->u.attention.kv];
    const uint32_t n_head = m->value[op->out].n_head, group = n_head / d->n_head;
    double *const score = malloc((n + 1) * sizeof *score);
    assert_non_null(score);
    for (uint32_t row = 0; row < n; row++)
        for (uint32_t head = 0; head < n_head; head++) {
            const uint32_t window = op->u.attention.window;
            const uint32_t first = window && row + 1 > window ? row + 1 - window : 0,
                           kv_head = head / group;
            const double *const q = value[op->in[0]] + ((size_t)row * n_head + head) * d->k_dim;
            double *const out = value[op->out] + ((size_t)row * n_head + head) * d->v_dim;
            double top = -INFINITY, sum = 0;
            for (uint32_t j = first; j <= row; j++) {
                const double *const k =
                    value[op->in[1]] + ((size_t)j * d->n_head + kv_head) * d->k_dim;
                double s = 0;
                for (uint32_t e = 0; e < d->k_dim; e++) s += q[e] * k[e];
                s *= (double)op->u.attention.scale;
                const double cap = (double)op->u.attention.soft_cap;
                score[j] = cap > 0 ? cap * tanh(s / cap) : s;
                top = fmax(top, score[j]);
            }
            for (uint32_t j = first; j <= row; j++) sum += score[j] = exp(score[j] - top);
            for (uint32_t e = 0; e < d->v_dim; e++) out[e] = 0;
            for (uint32_t j = first; j <= row; j++)
                for (uint32_t e = 0; e < d->v_dim; e++)
                    out[e] += score[j] / sum *
                              value[op->in[2]][((size_t)j * d->n_head + kv_head) * d->v_dim + e];
        }
    free(score);
}

static inline void cpu_double_op(const cpu_model *m, const llrt_op *op, double *const *value,
                                 const int32_t *token, uint32_t n)
{
    const llrt_value out = m->value[op->out];
    const size_t width = (size_t)out.n_head * out.width;
    const double *const a = op->n_in ? value[op->in[0]] : NULL, *const b = op->n_in > 1
                                                                               ? value[op->in[1]]
                                                                               : NULL;
    const float *const w = op->weight[0] == LLRT_NONE ? NULL : m->tensor[op->weight[0]].value;
    const float *const bias = op->weight[1] == LLRT_NONE ? NULL : m->tensor[op->weight[1]].value;
    double *const y = value[op->out];
    if (op->kind == LLRT_OP_ATTENTION) {
        cpu_double_attention(m, op, value, n);
        return;
    }
    for (uint32_t row = 0; row < n; row++)
        for (size_t i = 0; i < width; i++) {
            const size_t at = row * width + i, e = i % out.width, start = at - e;
            double s = 0;
            switch (op->kind) {
            case LLRT_OP_EMBED:
                y[at] = (double)w[(size_t)token[row] * width + i] * (double)op->u.scale.factor;
                break;
            case LLRT_OP_GATHER:
                y[at] = a[at];
                break;
            case LLRT_OP_ADD:
                y[at] = a[at] + b[at];
                break;
            case LLRT_OP_GLU:
                y[at] = a[at] / (1 + exp(-a[at])) * b[at];
                break;
            case LLRT_OP_RMS_NORM:
                for (size_t k = 0; k < out.width; k++) s += a[start + k] * a[start + k];
                y[at] = a[at] / sqrt(s / out.width + (double)op->u.norm.eps) * (double)w[e];
                break;
            case LLRT_OP_ROPE: {
                const uint32_t n_rot = op->u.rope.n_rot, half = n_rot / 2;
                const int is_halves = op->u.rope.pairs == LLRT_ROPE_HALVES;
                const size_t pair = is_halves ? e % half : e / 2,
                             is_second = is_halves ? e >= half : e % 2;
                const size_t step = is_halves ? half : 1;
                const double angle = row * (double)m->inv_freq[e < n_rot ? pair : 0];
                if (e >= n_rot)
                    y[at] = a[at];
                else if (is_second)
                    y[at] = a[at] * cos(angle) + a[at - step] * sin(angle);
                else
                    y[at] = a[at] * cos(angle) - a[at + step] * sin(angle);
                break;
            }
            default: { /* LINEAR, HEAD */
                const llrt_value in = m->value[op->in[0]];
                const size_t k_dim = (size_t)in.n_head * in.width;
                for (size_t k = 0; k < k_dim; k++)
                    s += a[row * k_dim + k] * (double)w[i * k_dim + k];
                y[at] = s + (bias ? (double)bias[i] : 0);
            }
            }
        }
}

/* Logits of every position, (n, n_vocab); the caller frees. */
static inline double *cpu_double_forward(const cpu_model *m, const int32_t *token, uint32_t n)
{
    double *value[CPU_MAX_VALUE] = {0};
    for (uint32_t v = 0; v < m->program.n_value; v++) {
        value[v] = malloc((size_t)n * m->value[v].n_head * m->value[v].width * sizeof(double));
        assert_non_null(value[v]);
    }
    for (uint32_t i = 0; i < m->program.n_op; i++) cpu_double_op(m, &m->op[i], value, token, n);
    double *const logits = value[m->program.logits];
    for (uint32_t v = 0; v < m->program.n_value; v++)
        if (v != m->program.logits) free(value[v]);
    return logits;
}

#endif
