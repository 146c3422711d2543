/* SPDX-License-Identifier: MIT */
/*
 * Stages, sides and the script of net_drive.h. Everything a step borrows lies in the script and is
 * the same for all sides.
 */
#include <dlfcn.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "net_drive.h"

llrt_backend drive_hostile;
void *drive_plug_in;

int drive_load(void **state)
{
    const char *const path = getenv("LLRT_TEST_HOSTILE");
    drive_plug_in = dlopen(path ? path : "./libllrt-hostile.so", RTLD_NOW | RTLD_LOCAL);
    if (!drive_plug_in) {
        print_error("%s\n", dlerror());
        return -1;
    }
    void *const symbol = dlsym(drive_plug_in, LLRT_BACKEND_ENTRY);
    llrt_backend_entry_fn entry;
    memcpy(&entry, &symbol, sizeof entry);
    drive_hostile.struct_size = sizeof drive_hostile;
    return symbol && entry(LLRT_BACKEND_VERSION, &drive_hostile, NULL) == LLRT_OK ? 0 : -1;
}

int drive_unload(void **state)
{
    return dlclose(drive_plug_in);
}

/* ---- Stages ---- */

void put_weights(const llrt_backend *backend, void *model, const net *n)
{
    llrt_error err = LLRT_ERROR_INIT;
    for (uint32_t i = n->n_tensor; i-- > 0;) {
        const uint64_t rows = net_rows(n, i);
        for (uint64_t r = (rows - 1) / 64 * 64 + 64; r > 0; r -= 64) {
            const uint64_t begin = r - 64, count = rows - begin < 64 ? rows - begin : 64;
            if (backend->weight_put(model, i, begin, count, n->data[i] + begin * n->row_bytes[i],
                                    &err) < 0)
                fail_msg("%s: %s", n->tensor_name[i], err.text);
        }
    }
}

static void open_stage(stage *s, const llrt_host *host, const net *n, llrt_model_desc *desc)
{
    llrt_error err = LLRT_ERROR_INIT;
    llrt_runtime_limits limits = {.struct_size = sizeof limits,
                                  .n_row = DRIVE_ROWS,
                                  .n_seq = 3,
                                  .n_out = DRIVE_ROWS,
                                  .n_page = {DRIVE_PAGES},
                                  .n_state = n->n_state ? DRIVE_STATES : 0,
                                  .n_adapter = DRIVE_ADAPTERS,
                                  .adapter_rank = DRIVE_RANK,
                                  .with_squares = 1};
    for (uint32_t i = 0; i < n->n_kv; i++)
        if (n->kv[i].group == LLRT_KV_GROUP_WINDOW) limits.n_page[1] = DRIVE_WINDOW;
    desc->program = &s->program;
    if (s->backend->model_create(host, desc, &s->model, &err) < 0)
        fail_msg("%s: %s", n->name, err.text);
    put_weights(s->backend, s->model, n);
    if (s->backend->model_finish(s->model, &err) < 0) fail_msg("%s", err.text);
    if (s->backend->runtime_create(s->model, &limits, &s->runtime, &err) < 0)
        fail_msg("%s", err.text);
}

static bool writes(const llrt_program *p, uint32_t value)
{
    for (uint32_t i = 0; i < p->n_op; i++)
        if (p->op[i].out == value) return true;
    return false;
}

static void add_once(uint32_t *list, uint32_t *n, uint32_t value)
{
    for (uint32_t i = 0; i < *n; i++)
        if (list[i] == value) return;
    list[(*n)++] = value;
}

/* Divides the program before operator `at`: what crosses is an output below and an input above. */
static void divide(side *s, uint32_t at)
{
    const llrt_program whole = s->n->program;
    llrt_program *const low = &s->stage[0].program, *const high = &s->stage[1].program;
    *low = *high = whole;
    low->n_op = at;
    high->op += at;
    high->n_op -= at;
    low->logits = LLRT_NONE;
    low->n_output = high->n_output = high->n_input = 0;
    for (uint32_t i = 0; i < whole.n_output; i++) {
        stage *const owner = &s->stage[writes(low, whole.output[i]) ? 0 : 1];
        owner->output[owner->program.n_output++] = whole.output[i];
    }
    for (uint32_t i = 0; i < high->n_op; i++)
        for (uint32_t j = 0; j < high->op[i].n_in; j++) {
            if (writes(high, high->op[i].in[j])) continue;
            add_once(s->stage[0].output, &low->n_output, high->op[i].in[j]);
            add_once(s->stage[1].input, &high->n_input, high->op[i].in[j]);
        }
    low->output = s->stage[0].output;
    high->output = s->stage[1].output;
    high->input = s->stage[1].input;
}

void side_open(side *s, const llrt_backend *const backend[2], const uint32_t device[2],
               const llrt_host *host, const net *n, const llrt_model_desc *desc, uint32_t cut)
{
    memset(s, 0, sizeof *s);
    s->n = n;
    uint32_t at = 0;
    while (cut && at < n->program.n_op && n->op[at].layer < cut) at++;
    if (cut)
        divide(s, at);
    else
        s->stage[0].program = n->program;
    for (; s->n_stage < (cut ? 2 : 1); s->n_stage++) {
        llrt_model_desc d = *desc;
        s->stage[s->n_stage].backend = backend[s->n_stage];
        d.device = &device[s->n_stage];
        open_stage(&s->stage[s->n_stage], host, n, &d);
    }
}

void side_close(side *s)
{
    for (; s->n_stage > 0; s->n_stage--) {
        const stage *const g = &s->stage[s->n_stage - 1];
        g->backend->runtime_free(g->runtime);
        g->backend->model_free(g->model);
    }
}

int side_owner(const side *s, uint32_t value)
{
    return writes(&s->stage[0].program, value) ? 0 : 1;
}

bool stage_multiplies(const stage *s, uint32_t tensor, bool is_any)
{
    for (uint32_t i = 0; i < s->program.n_op; i++) {
        const llrt_op *const op = &s->program.op[i];
        const bool is_plain = op->kind == LLRT_OP_LINEAR || op->kind == LLRT_OP_HEAD;
        if ((is_plain || (is_any && op->kind == LLRT_OP_HEAD_LINEAR)) && op->weight[0] == tensor)
            return true;
        for (int w = 0; is_any && op->kind == LLRT_OP_EXPERTS && w < 3; w++)
            if (op->weight[w] == tensor) return true;
    }
    return false;
}

/* ---- Steps ---- */

static size_t width_of(const net *n, uint32_t value)
{
    return (size_t)n->value[value].n_head * n->value[value].width;
}

static void execute(const stage *s, const llrt_step_desc *step)
{
    llrt_error err = LLRT_ERROR_INIT;
    if (s->backend->step_submit(s->runtime, step, &err) < 0 ||
        s->backend->step_wait(s->runtime, &err) < 0)
        fail_msg("%s: %s", s->backend->name, err.text);
}

static float *read_value(const side *s, uint32_t value, const llrt_step_desc *step, size_t *size)
{
    llrt_error err = LLRT_ERROR_INIT;
    const stage *const g = &s->stage[side_owner(s, value)];
    const uint32_t rows = s->n->value[value].rows == LLRT_ROWS_OUT ? step->n_out : step->n_row;
    *size = rows * width_of(s->n, value) * sizeof(float);
    float *const to = malloc(*size);
    if (g->backend->value_read(g->runtime, value, 0, rows, to, &err) < 0) fail_msg("%s", err.text);
    return to;
}

void side_step(side *s, const llrt_step_desc *step, outcome *out)
{
    float *between[8] = {NULL};
    const float *input[8];
    memset(out, 0, sizeof *out);
    for (int i = 0; i < s->n_stage; i++) {
        const stage *const g = &s->stage[i];
        llrt_step_desc d = *step;
        for (uint32_t j = 0; j < g->program.n_input; j++) {
            size_t size;
            input[j] = between[j] = read_value(s, g->program.input[j], step, &size);
        }
        d.input = input;
        if (i < s->n_stage - 1) d.n_select = d.n_out = 0;
        for (int j = 0; j < 2; j++) {
            out->result[j].token = out->token[j];
            out->result[j].logit = out->logit[j];
        }
        d.result = out->result;
        execute(g, &d);
    }
    for (uint32_t i = 0; i < s->n->program.n_output; i++) {
        out->value[i] = read_value(s, s->n->output[i], step, &out->size[i]);
        double sum = 0;
        for (size_t j = 0; j < out->size[i] / sizeof(float); j++)
            sum += fabs((double)out->value[i][j]);
        assert_true(sum > 0 && sum < 1e30); /* not NaN, not empty */
    }
    for (int i = 0; i < 8; i++) free(between[i]);
}

void outcome_free(outcome *out)
{
    for (int i = 0; i < 4; i++) free(out->value[i]);
    memset(out, 0, sizeof *out);
}

void outcome_compare(const net *n, const outcome *a, const outcome *b, const llrt_step_desc *step,
                     const char *what)
{
    for (uint32_t i = 0; i < n->program.n_output; i++) {
        assert_int_equal(a->size[i], b->size[i]);
        for (size_t j = 0; j < a->size[i] / sizeof(float); j++)
            if (memcmp(&a->value[i][j], &b->value[i][j], sizeof(float)) != 0)
                fail_msg("%s: output %u, element %zu: %a and %a", what, i, j,
                         (double)a->value[i][j], (double)b->value[i][j]);
    }
    for (uint32_t i = 0; i < step->n_select; i++) {
        const llrt_select_result *const x = &a->result[i], *const y = &b->result[i];
        assert_int_equal(x->n, y->n);
        assert_memory_equal(x->token, y->token, x->n * sizeof *x->token);
        assert_memory_equal(x->logit, y->logit, x->n * sizeof *x->logit);
        assert_true(x->log_sum_exp == y->log_sum_exp);
        assert_true(x->raw_log_sum_exp == y->raw_log_sum_exp);
    }
}

/* ---- What lies between steps ---- */

static size_t page_size(const net *n, llrt_type kv_type, uint32_t group, uint32_t n_tok)
{
    size_t size = 0;
    for (uint32_t i = 0; i < n->n_kv; i++) {
        const llrt_kv_desc *const kv = &n->kv[i];
        if (kv->group != group) continue;
        size_t one = net_kv_bytes(kv_type, kv->k_dim);
        if (!kv->v_in_k) one += net_kv_bytes(kv_type, kv->v_dim);
        size += one * n_tok * kv->n_head;
    }
    return size;
}

static void compare_page(side *a, side *b, llrt_type kv_type, uint32_t group, uint32_t page,
                         uint32_t n_tok)
{
    const size_t size = page_size(a->n, kv_type, group, n_tok);
    const stage *const g[2] = {&a->stage[0], &b->stage[0]};
    unsigned char *const bytes[2] = {malloc(size), malloc(size)};
    llrt_error err = LLRT_ERROR_INIT;
    if (size == 0 || a->n_stage > 1 || b->n_stage > 1) goto end;
    for (int i = 0; i < 2; i++)
        if (g[i]->backend->page_read(g[i]->runtime, group, page, n_tok, bytes[i], size, &err) < 0)
            fail_msg("%s", err.text);
    assert_memory_equal(bytes[0], bytes[1], size);
    for (int i = 0; i < 2; i++) /* crosswise: the layout is canonical */
        if (g[i]->backend->page_write(g[i]->runtime, group, page, n_tok, bytes[1 - i], size, &err) <
            0)
            fail_msg("%s", err.text);
end:
    free(bytes[0]);
    free(bytes[1]);
}

static void compare_states(side *a, side *b, uint32_t slot)
{
    size_t n = 0;
    const stage *const g[2] = {&a->stage[0], &b->stage[0]};
    llrt_error err = LLRT_ERROR_INIT;
    for (uint32_t i = 0; i < a->n->n_state; i++) n += a->n->state[i].n_float;
    float *const state[2] = {malloc(n * sizeof(float)), malloc(n * sizeof(float))};
    if (n && a->n_stage == 1 && b->n_stage == 1) {
        for (int i = 0; i < 2; i++)
            if (g[i]->backend->state_read(g[i]->runtime, slot, state[i], n, &err) < 0)
                fail_msg("%s", err.text);
        assert_memory_equal(state[0], state[1], n * sizeof(float));
        for (int i = 0; i < 2; i++)
            if (g[i]->backend->state_write(g[i]->runtime, slot, state[1 - i], n, &err) < 0)
                fail_msg("%s", err.text);
    }
    free(state[0]);
    free(state[1]);
}

void side_squares(const side *s, uint32_t tensor, double *sum, uint64_t *count)
{
    const llrt_tensor_desc *const t = &s->n->tensor[tensor];
    const size_t n = t->dim[0] * t->dim[2];
    llrt_error err = LLRT_ERROR_INIT;
    memset(sum, 0, n * sizeof *sum);
    memset(count, 0, t->dim[2] * sizeof *count);
    for (int i = 0; i < s->n_stage; i++) {
        const stage *const g = &s->stage[i];
        if (!stage_multiplies(g, tensor, true)) continue;
        if (g->backend->squares_read(g->runtime, tensor, sum, count, &err) < 0)
            fail_msg("%s", err.text);
        return; /* no weight of the nets is multiplied by in two layers */
    }
}

static void compare_squares(side *a, side *b, uint32_t tensor, const char *what)
{
    const llrt_tensor_desc *const t = &a->n->tensor[tensor];
    const size_t n = t->dim[0] * t->dim[2];
    double *const sum = malloc(2 * n * sizeof *sum);
    uint64_t *const count = malloc(2 * t->dim[2] * sizeof *count);
    side_squares(a, tensor, sum, count);
    side_squares(b, tensor, sum + n, count + t->dim[2]);
    for (size_t i = 0; i < n; i++)
        if (sum[i] != sum[n + i])
            fail_msg("%s: squares of %s, element %zu: %a and %a", what, t->name, i, sum[i],
                     sum[n + i]);
    assert_memory_equal(count, count + t->dim[2], t->dim[2] * sizeof *count);
    free(sum);
    free(count);
}

void side_compare(side *a, side *b, const script *x, llrt_type kv_type, const char *what)
{
    for (int i = 0; i < 2; i++) {
        const timeline *const t = &x->t[i];
        for (uint32_t p = 0; p < (t->n + 63) / 64; p++) {
            const uint32_t n_tok = t->n - p * 64 < 64 ? t->n - p * 64 : 64;
            compare_page(a, b, kv_type, LLRT_KV_GROUP_FULL, t->page[0][p], n_tok);
            if (t->table[1][p] != LLRT_NONE)
                compare_page(a, b, kv_type, LLRT_KV_GROUP_WINDOW, t->table[1][p], n_tok);
            if (t->at[p] != LLRT_NONE && t->n >= (p + 1) * 64) compare_states(a, b, t->at[p]);
        }
        if (t->n) compare_states(a, b, t->state);
    }
    for (uint32_t i = 0; i < a->n->n_tensor; i++) compare_squares(a, b, i, what);
}

/* ---- Script ---- */

/* Rows of the first and of the second sequence, and where they begin when they don't go on. */
typedef struct chunk {
    uint32_t a, b;
    bool is_bidirectional;
    uint32_t rewind_a; /* not 0: the first sequence goes back to here */
} chunk;

static const chunk chunks[] = {{1, 0, false, 0}, {63, 0, false, 0},  {7, 60, false, 0},
                               {50, 1, true, 0}, {1, 1, false, 0},   {1, 20, false, 0},
                               {9, 1, false, 0}, {60, 0, false, 0},  {5, 1, true, 0},
                               {1, 0, false, 0}, {40, 0, false, 128}};
static const chunk whole_chunks[] = {
    {1, 0, false, 0}, {64, 0, false, 0}, {70, 0, false, 0}, {30, 40, false, 0}, {65, 3, false, 0}};

static void fill_timeline(timeline *t, const net *n, int which, uint64_t *seed)
{
    t->embedding = malloc(DRIVE_TOKENS * NET_WIDTH * sizeof *t->embedding);
    for (uint32_t i = 0; i < DRIVE_TOKENS; i++) {
        t->token[i] = (int32_t)(net_random(seed) % NET_VOCAB);
        t->type[i] = (uint8_t)(net_random(seed) % 3);
        t->end[i] = i + 1;
        for (int j = 0; j < 3; j++) t->position[3 * i + j] = (int32_t)(net_random(seed) % 300);
        if (i % 17 == 5 && which == 0) t->token[i] = -1;
    }
    for (uint32_t i = 0; i < DRIVE_TOKENS * NET_WIDTH; i++)
        t->embedding[i] = (float)(net_random(seed) % 2001) / 1000.0f - 1.0f;
    for (uint32_t i = 0; i < 4; i++) { /* windowed pages go round */
        static const uint32_t pages[2][4] = {{7, 2, 9, 4}, {0, 11, 3, 8}};
        t->page[0][i] = pages[which][i];
        t->page[1][i] = n->is_whole || i < 3 ? (uint32_t)which * 3 + i % 3 : (uint32_t)which * 3;
        t->at[i] = which == 0 && i == 0 ? LLRT_NONE : 4 + (uint32_t)which * 4 + i;
    }
    t->state = LLRT_NONE;
    t->n_adapter = which ? 1 : 2;
    t->adapter[0] = which ? 0 : 2;
    t->adapter[1] = 0;
    t->adapter_scale[0] = which ? -0.75f : 0.5f;
    t->adapter_scale[1] = 1.25f;
}

/* The linear that a choice of experts hangs on. */
static bool is_router(const net *n, uint32_t tensor)
{
    for (uint32_t i = 0; i < n->program.n_op; i++)
        for (uint32_t j = 0; n->op[i].kind == LLRT_OP_EXPERTS && j < i; j++)
            if (n->op[j].out == n->op[i].in[1] && n->op[j].weight[0] == tensor) return true;
    return false;
}

/*
 * Adapter 0 changes every linear, 2 every other one; 1 is empty. Routers stay as they are, as their
 * twins would no longer score the same.
 */
static void fill_adapters(script *s, uint64_t *seed)
{
    const net *const n = s->n;
    const stage whole = {.program = n->program};
    size_t size = 0;
    for (uint32_t i = 0; i < n->n_tensor; i++)
        size += (size_t)(n->tensor[i].dim[0] + n->tensor[i].dim[1]) * DRIVE_RANK * 2;
    float *f = s->factors = malloc(size * sizeof *f);
    for (size_t i = 0; i < size; i++)
        f[i] = ((float)(net_random(seed) % 2001) / 1000.0f - 1.0f) * 0.1f;
    for (uint32_t slot = 0; slot < DRIVE_ADAPTERS; slot += 2)
        for (uint32_t i = 0, k = 0; i < n->n_tensor; i++) {
            if (!stage_multiplies(&whole, i, false) || is_router(n, i) || (k++ % 2 && slot))
                continue;
            const uint32_t rank = 1 + (i + slot) % DRIVE_RANK;
            llrt_adapter_part *const p = &s->part[slot][s->n_part[slot]++];
            *p = (llrt_adapter_part){i, rank, f, f + n->tensor[i].dim[0] * rank};
            f += (n->tensor[i].dim[0] + n->tensor[i].dim[1]) * rank;
        }
}

void script_create(script *s, const net *n)
{
    uint64_t seed = 77;
    memset(s, 0, sizeof *s);
    s->n = n;
    for (int i = 0; i < 2; i++) fill_timeline(&s->t[i], n, i, &seed);
    fill_adapters(s, &seed);
    s->embedding = malloc(DRIVE_ROWS * NET_WIDTH * sizeof *s->embedding);
}

void script_free(script *s)
{
    free(s->t[0].embedding);
    free(s->t[1].embedding);
    free(s->factors);
    free(s->embedding);
}

void side_adapt(side *s, const script *x)
{
    llrt_error err = LLRT_ERROR_INIT;
    for (int i = 0; i < s->n_stage; i++)
        for (uint32_t slot = 0; slot < DRIVE_ADAPTERS; slot++) {
            const stage *const g = &s->stage[i];
            llrt_adapter_part part[NET_MAX];
            uint32_t n = 0;
            for (uint32_t p = 0; p < x->n_part[slot]; p++)
                if (stage_multiplies(g, x->part[slot][p].tensor, false))
                    part[n++] = x->part[slot][p];
            if (g->backend->adapter_put(g->runtime, slot, part, n, &err) < 0)
                fail_msg("%s", err.text);
        }
}

/* Rows of one sequence, from row `row` of the step on. */
static void add_sequence(script *s, int which, uint32_t n_row, bool is_bidirectional, uint32_t row)
{
    timeline *const t = &s->t[which];
    const net *const n = s->n;
    const uint32_t width = n->value[n->op[0].out].width;
    const uint32_t end = t->n + n_row, window = net_window(n, LLRT_KV_GROUP_WINDOW);
    uint32_t given = 0;
    for (uint32_t i = 0; i < row; i++) given += s->token[i] < 0;
    for (uint32_t i = 0; i < n_row; i++) {
        const uint32_t at = t->n + i;
        s->token[row + i] = t->token[at];
        s->type[row + i] = t->type[at];
        memcpy(&s->position[3 * (row + i)], &t->position[3 * at], 3 * sizeof *s->position);
        t->end[at] = is_bidirectional ? end : at + 1;
        if (t->token[at] < 0)
            memcpy(s->embedding + given++ * width, t->embedding + at * NET_WIDTH,
                   width * sizeof(float));
    }
    for (uint32_t p = 0; p < 4; p++) {
        const bool is_past = !n->is_whole && (p + 1) * 64 + window <= t->n + 1;
        t->table[0][p] = t->page[0][p];
        t->table[1][p] = is_past ? LLRT_NONE : t->page[1][p];
        t->state_at[p] = n->n_state ? t->at[p] : LLRT_NONE;
    }
    const uint32_t other = (uint32_t)which * 2 + (t->state == (uint32_t)which * 2);
    llrt_step_seq *const q = &s->seq[s->step.n_seq++];
    *q = (llrt_step_seq){.row_begin = row,
                         .n_row = n_row,
                         .pos_begin = (int32_t)t->n,
                         .flags = is_bidirectional ? LLRT_SEQ_BIDIRECTIONAL : 0,
                         .n_page = (end + 63) / 64,
                         .n_adapter = t->n_adapter,
                         .page = {t->table[0], t->table[1]},
                         .state_in = t->n ? t->state : LLRT_NONE,
                         .state_out = n->n_state ? other : LLRT_NONE,
                         .state_at = t->state_at,
                         .adapter = t->adapter,
                         .adapter_scale = t->adapter_scale};
    if (net_window(n, LLRT_KV_GROUP_WINDOW) == 0) q->page[1] = NULL;
    if (n->n_state) t->state = other;
    s->first[which] = t->n;
    t->n = end;
}

static void add_select(script *s)
{
    static const int32_t bias_token[] = {3, 40}, penalty_token[] = {9, 5, 1};
    static const float bias[] = {0.5f, -2.0f};
    static const uint32_t count[] = {1, 4, 2};
    static const uint32_t allowed[] = {0xfffffff0u, 0xff00ffffu, 0xffffffffu, 0xffffffffu,
                                       0xffffffffu};
    const llrt_select_wants both = LLRT_SELECT_LOG_SUM_EXP | LLRT_SELECT_RAW_LOG_SUM_EXP;
    s->select[0] = (llrt_select){.out_row = 0, .n_best = 64, .repetition = 1, .wants = both};
    s->select[1] = (llrt_select){.out_row = 0,
                                 .n_best = 17,
                                 .n_bias = 2,
                                 .n_penalty = 3,
                                 .n_subtract = 2,
                                 .wants = both,
                                 .repetition = 1.25f,
                                 .frequency = 0.1f,
                                 .presence = 0.3f,
                                 .bias_token = bias_token,
                                 .bias = bias,
                                 .penalty_token = penalty_token,
                                 .penalty_count = count,
                                 .subtract_token = bias_token,
                                 .subtract = bias,
                                 .allowed = allowed};
    s->step.n_select = 2;
    s->step.select = s->select;
}

static const chunk *chunk_at(const script *s, uint32_t i)
{
    const size_t n = s->n->is_whole ? sizeof whole_chunks / sizeof *whole_chunks
                                    : sizeof chunks / sizeof *chunks;
    if (i >= n) return NULL;
    return s->n->is_whole ? &whole_chunks[i] : &chunks[i];
}

bool script_is_rewinding(const script *s)
{
    const chunk *const c = chunk_at(s, s->i_step);
    return c && c->rewind_a;
}

bool script_next(script *s)
{
    const chunk *const c = chunk_at(s, s->i_step++);
    if (!c) return false;
    memset(&s->step, 0, sizeof s->step);
    if (c->rewind_a) {
        s->t[0].n = c->rewind_a;
        s->t[0].state = s->t[0].at[c->rewind_a / 64 - 1];
    }
    for (int i = 0; i < 2 && s->n->is_whole; i++) s->t[i].n = 0;
    if (c->a) add_sequence(s, 0, c->a, c->is_bidirectional, 0);
    if (c->b) add_sequence(s, 1, c->b, false, c->a);
    s->step.struct_size = sizeof s->step;
    s->step.n_row = c->a + c->b;
    for (uint32_t r = 0; r < s->step.n_row; r += 3) s->out_row[s->step.n_out++] = r;
    s->step.token = s->token;
    s->step.seq = s->seq;
    s->step.out_row = s->out_row;
    s->step.embedding = s->embedding;
    s->step.position = s->position;
    s->step.token_type = s->type;
    add_select(s);
    return true;
}
