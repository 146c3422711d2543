/* SPDX-License-Identifier: MIT */
/*
 * The hostile test backend against its own promises and against the CPU backend.
 *
 * The plug-in is loaded with dlopen through the public header. Small networks that use every operator are built
 * here by hand, with weights of every element type; the same steps run on both backends
 * through their tables, and logits, hidden values, pages and selections must agree bit for bit. The other half breaks
 * the contract of the table on purpose and expects to be told.
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

#include <llrt/backend.h>

#include "cpu_backend.h"
#include "isa.h"
#include "small_net.h"

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define __SANITIZE_THREAD__ 1
#endif
#endif

static llrt_backend hostile;
static void *plug_in;

static int load_plug_in(void **state)
{
    const char *const path = getenv("LLRT_TEST_HOSTILE");
    plug_in = dlopen(path ? path : "./libllrt-hostile.so", RTLD_NOW | RTLD_LOCAL);
    if (!plug_in) {
        print_error("%s\n", dlerror());
        return -1;
    }
    void *const symbol = dlsym(plug_in, LLRT_BACKEND_ENTRY);
    llrt_backend_entry_fn entry;
    memcpy(&entry, &symbol, sizeof entry);
    hostile.struct_size = sizeof hostile;
    return symbol && entry(LLRT_BACKEND_VERSION, &hostile, NULL) == LLRT_OK ? 0 : -1;
}

static int unload_plug_in(void **state)
{
    return dlclose(plug_in);
}

/* ---- The two backends agree ---- */

#define N_PAGE 12

typedef struct stage {
    const llrt_backend *backend;
    void *model, *runtime;
} stage;

static void open_stage(stage *s, const llrt_backend *backend, const llrt_host *host, const net *n,
                       const llrt_model_desc *desc)
{
    llrt_error err = LLRT_ERROR_INIT;
    const llrt_runtime_limits limits = {sizeof limits, 70, 3, 70, {N_PAGE}};
    s->backend = backend;
    if (backend->model_create(host, desc, &s->model, &err) < 0) fail_msg("%s", err.text);
    for (uint32_t i = n->n_tensor; i-- > 0;) { /* in pieces, last first */
        const uint64_t rows = n->tensor[i].dim[1];
        for (uint64_t r = (rows - 1) / 64 * 64 + 64; r > 0; r -= 64) {
            const uint64_t begin = r - 64, count = rows - begin < 64 ? rows - begin : 64;
            assert_int_equal(backend->weight_put(s->model, i, begin, count,
                                                 n->data[i] + begin * n->row_bytes[i], &err),
                             LLRT_OK);
        }
    }
    if (backend->model_finish(s->model, &err) < 0) fail_msg("%s", err.text);
    if (backend->runtime_create(s->model, &limits, &s->runtime, &err) < 0) fail_msg("%s", err.text);
}

static void close_stage(stage *s)
{
    s->backend->runtime_free(s->runtime);
    s->backend->model_free(s->model);
}

typedef struct outcome {
    float *value[4];
    size_t size[4];
    int32_t token[2][64];
    float logit[2][64];
    llrt_select_result result[2];
    unsigned char *page;
    size_t page_size;
} outcome;

static void run_step(const stage *s, const net *n, const llrt_step_desc *step, outcome *out)
{
    llrt_error err = LLRT_ERROR_INIT;
    llrt_step_desc d = *step;
    for (int i = 0; i < 2; i++) {
        out->result[i].token = out->token[i];
        out->result[i].logit = out->logit[i];
    }
    d.result = out->result;
    if (s->backend->step_submit(s->runtime, &d, &err) < 0) fail_msg("%s", err.text);
    if (s->backend->step_wait(s->runtime, &err) < 0) fail_msg("%s", err.text);
    for (uint32_t i = 0; i < n->program.n_output; i++) {
        const llrt_value *const v = &n->value[n->output[i]];
        const uint32_t rows = v->rows == LLRT_ROWS_OUT ? step->n_out : step->n_row;
        out->size[i] = (size_t)rows * v->n_head * v->width * sizeof(float);
        out->value[i] = malloc(out->size[i]);
        if (s->backend->value_read(s->runtime, n->output[i], 0, rows, out->value[i], &err) < 0)
            fail_msg("%s", err.text);
        double sum = 0;
        for (size_t j = 0; j < out->size[i] / sizeof(float); j++)
            sum += fabs((double)out->value[i][j]);
        assert_true(sum > 0 && sum < 1e30); /* not NaN, not empty */
    }
}

static void free_outcome(outcome *out)
{
    for (int i = 0; i < 4; i++) free(out->value[i]);
    memset(out, 0, sizeof *out);
}

static void compare_outcomes(const outcome *a, const outcome *b, const llrt_step_desc *step,
                             const char *what)
{
    for (int i = 0; i < 4; i++)
        for (size_t j = 0; j < a->size[i] / sizeof(float); j++)
            if (memcmp(&a->value[i][j], &b->value[i][j], sizeof(float)) != 0)
                fail_msg("%s: output %d, element %zu: %a and %a", what, i, j,
                         (double)a->value[i][j], (double)b->value[i][j]);
    for (uint32_t i = 0; i < step->n_select; i++) {
        const llrt_select_result *const x = &a->result[i], *const y = &b->result[i];
        assert_int_equal(x->n, y->n);
        assert_memory_equal(x->token, y->token, x->n * sizeof *x->token);
        assert_memory_equal(x->logit, y->logit, x->n * sizeof *x->logit);
        assert_true(x->log_sum_exp == y->log_sum_exp);
        assert_true(x->raw_log_sum_exp == y->raw_log_sum_exp);
    }
}

static size_t page_bytes(const net *n, llrt_type kv_type, uint32_t n_tok)
{
    size_t size = 0;
    for (uint32_t i = 0; i < n->n_kv; i++)
        size += (size_t)n_tok * n->kv[i].n_head *
                (net_kv_bytes(kv_type, n->kv[i].k_dim) + net_kv_bytes(kv_type, n->kv[i].v_dim));
    return size;
}

/* Page `page` of both as bytes. */
static void compare_pages(stage *s, const net *n, llrt_type kv_type, uint32_t page, uint32_t n_tok)
{
    const size_t size = page_bytes(n, kv_type, n_tok);
    unsigned char *const a = malloc(size), *const b = malloc(size);
    llrt_error err = LLRT_ERROR_INIT;
    for (int i = 0; i < 2; i++)
        if (s[i].backend->page_read(s[i].runtime, 0, page, n_tok, i ? b : a, size, &err) < 0)
            fail_msg("%s", err.text);
    assert_memory_equal(a, b, size);
    for (int i = 0; i < 2; i++) /* crosswise: the layout is canonical */
        if (s[i].backend->page_write(s[i].runtime, 0, page, n_tok, i ? a : b, size, &err) < 0)
            fail_msg("%s", err.text);
    free(a);
    free(b);
}

/* Two sequences in chunks of several sizes, one of them decoding token by token, then a copied page. */
static void run_steps(stage *s, const net *n, llrt_type kv_type, const char *what)
{
    static const struct {
        uint32_t a, b; /* rows of the first and of the second sequence */
    } plan[] = {{1, 0}, {63, 0}, {7, 60}, {50, 1}, {1, 1}, {1, 20}, {9, 1}};
    static const uint32_t page_a[] = {7, 2, 9}, page_b[] = {0, 11};
    int32_t token[70];
    uint32_t out_row[70], pos[2] = {0, 0};
    uint64_t seed = 77;
    for (size_t i = 0; i < sizeof plan / sizeof plan[0]; i++) {
        const uint32_t rows = plan[i].a + plan[i].b;
        llrt_step_seq seq[2] = {{.row_begin = 0,
                                 .n_row = plan[i].a,
                                 .pos_begin = (int32_t)pos[0],
                                 .n_page = 3,
                                 .page = {page_a}},
                                {.row_begin = plan[i].a,
                                 .n_row = plan[i].b,
                                 .pos_begin = (int32_t)pos[1],
                                 .n_page = 2,
                                 .page = {page_b}}};
        const int32_t bias_token[] = {3, 40}, penalty_token[] = {9, 5, 1};
        const float bias[] = {0.5f, -2.0f};
        const uint32_t count[] = {1, 4, 2};
        const uint32_t allowed[] = {0xfffffff0u, 0xff00ffffu, 0xffffffffu, 0xffffffffu,
                                    0xffffffffu};
        const llrt_select select[2] = {
            {.out_row = 0,
             .n_best = 64,
             .repetition = 1,
             .wants = LLRT_SELECT_LOG_SUM_EXP | LLRT_SELECT_RAW_LOG_SUM_EXP},
            {.out_row = 0,
             .n_best = 17,
             .n_bias = 2,
             .n_penalty = 3,
             .n_subtract = 2,
             .wants = LLRT_SELECT_LOG_SUM_EXP | LLRT_SELECT_RAW_LOG_SUM_EXP,
             .repetition = 1.25f,
             .frequency = 0.1f,
             .presence = 0.3f,
             .bias_token = bias_token,
             .bias = bias,
             .penalty_token = penalty_token,
             .penalty_count = count,
             .subtract_token = bias_token,
             .subtract = bias,
             .allowed = allowed}};
        uint32_t n_out = 0;
        for (uint32_t r = 0; r < rows; r++) {
            token[r] = (int32_t)(net_random(&seed) % NET_VOCAB);
            if (r % 3 == 0) out_row[n_out++] = r;
        }
        const llrt_step_desc step = {.struct_size = sizeof step,
                                     .n_row = rows,
                                     .n_seq = plan[i].b ? 2 : 1,
                                     .n_out = n_out,
                                     .n_select = 2,
                                     .token = token,
                                     .seq = seq,
                                     .out_row = out_row,
                                     .select = select};
        outcome out[2];
        memset(out, 0, sizeof out);
        for (int b = 0; b < 2; b++) run_step(&s[b], n, &step, &out[b]);
        compare_outcomes(&out[0], &out[1], &step, what);
        for (int b = 0; b < 2; b++) free_outcome(&out[b]);
        pos[0] += plan[i].a;
        pos[1] += plan[i].b;
    }
    if (n->n_kv == 0) return;
    compare_pages(s, n, kv_type, page_a[0], 64);
    compare_pages(s, n, kv_type, page_b[1], pos[1] - 64);
    for (int b = 0; b < 2; b++)
        assert_int_equal(s[b].backend->page_copy(s[b].runtime, 0, 5, page_a[1], 33, NULL), LLRT_OK);
    compare_pages(s, n, kv_type, 5, 33);
}

static void check_net(const net *n, const llrt_backend *cpu, llrt_type kv_type,
                      llrt_precision precision, const char *isa)
{
    static const uint32_t devices[2] = {0, 1};
    char what[128];
    counting_host host;
    counting_host_init(&host);
    llrt_model_desc desc = net_desc(n, kv_type, precision);
    stage s[2];
    snprintf(what, sizeof what, "%s, kv type %u, precision %u, %s", n->name, kv_type, precision,
             isa);
    desc.device = &devices[1];
    open_stage(&s[0], &hostile, &host.host, n, &desc);
    desc.device = &devices[0];
    desc.isa = isa;
    open_stage(&s[1], cpu, &host.host, n, &desc);
    run_steps(s, n, kv_type, what);
    close_stage(&s[1]);
    close_stage(&s[0]);
    assert_int_equal(host.total, 0);
}

static void test_same_bits_as_reference(void **state)
{
    static const llrt_type kv_types[] = {LLRT_TYPE_F32, LLRT_TYPE_F16, LLRT_TYPE_BF16,
                                         LLRT_TYPE_Q8_0};
    llrt_backend cpu = {.struct_size = sizeof cpu};
    assert_int_equal(llrti_cpu_backend_entry(LLRT_BACKEND_VERSION, &cpu, NULL), LLRT_OK);
    for (uint32_t kind = 0; kind < NET_KINDS; kind++) {
        net *const n = net_create(kind);
        for (size_t i = 0; i < 4; i++)
            check_net(n, &cpu, kv_types[i], i % 2 ? LLRT_PRECISION_PORTABLE : LLRT_PRECISION_F32,
                      "ref");
        net_free(n);
    }
}

/* float32 and portable arithmetic mean the same on every instruction set of this machine. */
static void test_same_bits_on_every_level(void **state)
{
    llrt_backend cpu = {.struct_size = sizeof cpu};
    const char *level;
    assert_int_equal(llrti_cpu_backend_entry(LLRT_BACKEND_VERSION, &cpu, NULL), LLRT_OK);
    for (uint32_t i = 1; (level = llrti_isa_level(i)) != NULL; i++)
        for (uint32_t kind = 0; kind < NET_KINDS; kind++) {
            net *const n = net_create(kind);
            check_net(n, &cpu, kind ? LLRT_TYPE_Q8_0 : LLRT_TYPE_BF16,
                      i % 2 ? LLRT_PRECISION_F32 : LLRT_PRECISION_PORTABLE, level);
            net_free(n);
        }
}

/* ---- Two stages ---- */

/* Runs 80 tokens in chunks of `chunk` through the stages; the last wanted row's logits. */
static void run_staged(const stage *s, int n_stage, uint32_t x, const net *n, uint32_t chunk,
                       float logit[NET_VOCAB])
{
    static const uint32_t page[] = {4, 8};
    float *const between = malloc(80 * 256 * sizeof *between);
    llrt_error err = LLRT_ERROR_INIT;
    for (uint32_t pos = 0; pos < 80; pos += chunk) {
        int32_t token[80];
        const uint32_t rows = 80 - pos < chunk ? 80 - pos : chunk, last = rows - 1;
        const llrt_step_seq seq = {
            .row_begin = 0, .n_row = rows, .pos_begin = (int32_t)pos, .n_page = 2, .page = {page}};
        const float *input[1] = {between};
        for (uint32_t i = 0; i < rows; i++) token[i] = (int32_t)((pos + i) * 37 % NET_VOCAB);
        for (int i = 0; i < n_stage; i++) {
            const bool is_last = i == n_stage - 1;
            const llrt_step_desc step = {.struct_size = sizeof step,
                                         .n_row = rows,
                                         .n_seq = 1,
                                         .n_out = is_last,
                                         .token = i ? NULL : token,
                                         .seq = &seq,
                                         .out_row = &last,
                                         .input = i ? input : NULL};
            if (hostile.step_submit(s[i].runtime, &step, &err) < 0) fail_msg("%s", err.text);
            if (hostile.step_wait(s[i].runtime, &err) < 0) fail_msg("%s", err.text);
            if (hostile.value_read(s[i].runtime, is_last ? n->output[0] : x, 0, is_last ? 1 : rows,
                                   is_last ? logit : between, &err) < 0)
                fail_msg("%s", err.text);
        }
    }
    free(between);
}

static void test_two_stages_equal_one(void **state)
{
    static const uint32_t devices[2] = {0, 1};
    counting_host host;
    counting_host_init(&host);
    net *const n = net_create(0);
    llrt_model_desc desc = net_desc(n, LLRT_TYPE_F16, LLRT_PRECISION_F32);
    stage whole, part[2];
    uint32_t cut = 0, x = 0;
    while (n->op[cut].layer < 1) cut++;
    for (uint32_t i = 0; i < 6; i++) /* all that crosses is the first operator's input */
        if (n->op[cut].in[i] != LLRT_NONE) x = n->op[cut].in[i];
    llrt_program half[2] = {n->program, n->program};
    half[0].n_op = cut;
    half[0].output = &x;
    half[0].n_output = 1;
    half[0].logits = LLRT_NONE;
    half[1].op += cut;
    half[1].n_op -= cut;
    half[1].input = &x;
    half[1].n_input = 1;
    desc.device = &devices[0];
    open_stage(&whole, &hostile, &host.host, n, &desc);
    for (int i = 0; i < 2; i++) {
        desc.device = &devices[i];
        desc.program = &half[i];
        open_stage(&part[i], &hostile, &host.host, n, &desc);
    }
    float one[NET_VOCAB], two[NET_VOCAB];
    run_staged(&whole, 1, x, n, 7, one);
    run_staged(part, 2, x, n, 33, two);
    assert_memory_equal(one, two, sizeof one);
    close_stage(&whole);
    close_stage(&part[0]);
    close_stage(&part[1]);
    assert_int_equal(host.total, 0);
    net_free(n);
}

/* ---- Contract ---- */

typedef struct bench {
    counting_host host;
    net *n;
    stage s;
} bench;

static void open_bench(bench *b)
{
    static const uint32_t device = 0;
    counting_host_init(&b->host);
    b->n = net_create(0);
    llrt_model_desc desc = net_desc(b->n, LLRT_TYPE_F16, LLRT_PRECISION_F32);
    desc.device = &device;
    open_stage(&b->s, &hostile, &b->host.host, b->n, &desc);
}

static void close_bench(bench *b)
{
    close_stage(&b->s);
    net_free(b->n);
    assert_int_equal(b->host.total, 0);
}

static const int32_t some_tokens[80] = {1, 2, 3, 4, 5, 6, 7, 8};

static llrt_step_desc plain_step(const llrt_step_seq *seq, const uint32_t *out_row)
{
    return (llrt_step_desc){.struct_size = sizeof(llrt_step_desc),
                            .n_row = seq->n_row,
                            .n_seq = 1,
                            .n_out = 1,
                            .token = some_tokens,
                            .seq = seq,
                            .out_row = out_row};
}

/* Submits and waits; the result of whichever fails. */
static llrt_status do_step(const bench *b, const llrt_step_desc *step, llrt_error *err)
{
    const llrt_status status = hostile.step_submit(b->s.runtime, step, err);
    return status < 0 ? status : hostile.step_wait(b->s.runtime, err);
}

static void expect_violation(llrt_status status, const llrt_error *err, const char *part)
{
    assert_int_equal(status, LLRT_ERR_INTERNAL);
    assert_non_null(strstr(err->text, "contract: "));
    if (!strstr(err->text, part)) fail_msg("'%s' does not mention '%s'", err->text, part);
}

static void test_steps_are_checked(void **state)
{
    bench b;
    open_bench(&b);
    llrt_error err = LLRT_ERROR_INIT;
    const uint32_t pages[2] = {1, 2}, wrong_page[1] = {N_PAGE}, twice[2] = {1, 1}, row0[1] = {0};
    const llrt_step_seq
        good = {.row_begin = 0, .n_row = 2, .pos_begin = 0, .n_page = 1, .page = {pages}},
        ahead = {.row_begin = 0, .n_row = 2, .pos_begin = 10, .n_page = 1, .page = {pages}};
    const llrt_step_seq
        outside = {.row_begin = 0, .n_row = 2, .pos_begin = 0, .n_page = 1, .page = {wrong_page}},
        shared = {.row_begin = 0, .n_row = 66, .pos_begin = 0, .n_page = 2, .page = {twice}};
    const llrt_step_seq
        gap = {.row_begin = 1, .n_row = 2, .pos_begin = 0, .n_page = 1, .page = {pages}},
        few = {.row_begin = 0, .n_row = 66, .pos_begin = 0, .n_page = 1, .page = {pages}};
    const uint32_t row9[1] = {9};
    const int32_t bad_token[2] = {1, NET_VOCAB};
    llrt_step_desc step = plain_step(&ahead, row0);
    expect_violation(do_step(&b, &step, &err), &err, "position 0 is not in page");
    step = plain_step(&outside, row0);
    expect_violation(do_step(&b, &step, &err), &err, "page 12 of 12");
    step = plain_step(&shared, row0);
    expect_violation(do_step(&b, &step, &err), &err, "shared");
    step = plain_step(&gap, row0);
    expect_violation(do_step(&b, &step, &err), &err, "rows 1 + 2");
    step = plain_step(&few, row0);
    expect_violation(do_step(&b, &step, &err), &err, "pages for 66");
    step = plain_step(&good, row9);
    expect_violation(do_step(&b, &step, &err), &err, "wanted row");
    step = plain_step(&good, row0);
    step.token = bad_token;
    expect_violation(do_step(&b, &step, &err), &err, "token 150 of 150");
    step = plain_step(&good, row0);
    step.n_row = 71;
    expect_violation(do_step(&b, &step, &err), &err, "limits");
    step = plain_step(&good, row0);
    assert_int_equal(do_step(&b, &step, &err), LLRT_OK); /* and nothing was broken */
    close_bench(&b);
}

static void test_order_of_calls_is_checked(void **state)
{
    bench b;
    open_bench(&b);
    llrt_error err = LLRT_ERROR_INIT;
    float *const to = malloc(70 * 512 * sizeof *to);
    const uint32_t pages[1] = {3}, row0[1] = {0};
    const llrt_step_seq seq = {
        .row_begin = 0, .n_row = 60, .pos_begin = 0, .n_page = 1, .page = {pages}};
    const llrt_step_desc step = plain_step(&seq, row0);
    void *const r = b.s.runtime;
    const uint32_t output = b.n->output[0];
    expect_violation(hostile.step_wait(r, &err), &err, "without a step");
    expect_violation(hostile.value_read(r, output, 0, 1, to, &err), &err, "without a completed");
    assert_int_equal(hostile.step_submit(r, &step, &err), LLRT_OK);
    expect_violation(hostile.step_submit(r, &step, &err), &err, "in flight");
    expect_violation(hostile.value_read(r, output, 0, 1, to, &err), &err, "in flight");
    expect_violation(hostile.page_copy(r, 0, 1, 3, 1, &err), &err, "in flight");
    assert_int_equal(hostile.step_wait(r, &err), LLRT_OK);
    assert_int_equal(hostile.value_read(r, output, 0, 1, to, &err), LLRT_OK);
    expect_violation(hostile.value_read(r, output, 0, 70, to, &err), &err, "rows");
    expect_violation(hostile.value_read(r, 0, 0, 1, to, &err), &err, "not an output");
    expect_violation(hostile.page_copy(r, 0, 1, 3, 61, &err), &err, "not all");
    expect_violation(hostile.page_read(r, 0, 4, 1, to, 100000, &err), &err, "not all");
    expect_violation(hostile.page_write(r, 0, 4, 1, to, 7, &err), &err, "page_write");
    expect_violation(hostile.page_copy(r, 0, N_PAGE, 3, 1, &err), &err, "page 12 of 12");
    free(to);
    close_bench(&b);
}

static void test_borrowed_memory_is_watched(void **state)
{
#if defined(__SANITIZE_THREAD__)
    print_message("the breach is a data race, which is what ThreadSanitizer would report\n");
    skip();
#endif
    bench b;
    open_bench(&b);
    llrt_error err = LLRT_ERROR_INIT;
    int32_t token[60] = {0};
    const uint32_t pages[1] = {3}, row0[1] = {0};
    const llrt_step_seq seq = {
        .row_begin = 0, .n_row = 60, .pos_begin = 0, .n_page = 1, .page = {pages}};
    llrt_step_desc step = plain_step(&seq, row0);
    step.token = token;
    assert_int_equal(hostile.step_submit(b.s.runtime, &step, &err), LLRT_OK);
    memset(&step, 0xee, sizeof step); /* the description itself is copied */
    token[59] = 1;
    expect_violation(hostile.step_wait(b.s.runtime, &err), &err, "changed");
    close_bench(&b);
}

static int say_yes(void *ctx)
{
    return ++*(int *)ctx > 5;
}

static void test_cancelled_step(void **state)
{
    bench b;
    open_bench(&b);
    llrt_error err = LLRT_ERROR_INIT;
    const uint32_t pages[1] = {3}, row0[1] = {0};
    const llrt_step_seq seq = {
        .row_begin = 0, .n_row = 60, .pos_begin = 0, .n_page = 1, .page = {pages}};
    llrt_step_desc step = plain_step(&seq, row0);
    int n = 0;
    step.poll_cancel = say_yes;
    step.poll_ctx = &n;
    assert_int_equal(do_step(&b, &step, &err), LLRT_ERR_CANCELLED);
    assert_int_equal(err.status, LLRT_ERR_CANCELLED);
    step.poll_cancel = NULL;
    assert_int_equal(do_step(&b, &step, &err), LLRT_OK);
    close_bench(&b);
}

static void test_weights_are_checked(void **state)
{
    static const uint32_t device = 1;
    llrt_error err = LLRT_ERROR_INIT;
    counting_host host;
    counting_host_init(&host);
    net *const n = net_create(0);
    llrt_model_desc desc = net_desc(n, LLRT_TYPE_F32, LLRT_PRECISION_F32);
    desc.device = &device;
    void *model;
    assert_int_equal(hostile.model_create(&host.host, &desc, &model, &err), LLRT_OK);
    expect_violation(hostile.weight_put(model, 0, 32, 64, n->data[0], &err), &err, "rows 32 + 64");
    expect_violation(hostile.weight_put(model, 0, 0, 65, n->data[0], &err), &err, "inside a group");
    expect_violation(hostile.weight_put(model, 0, 128, 64, n->data[0], &err), &err,
                     "which has 150");
    assert_int_equal(hostile.weight_put(model, 0, 0, 64, n->data[0], &err), LLRT_OK);
    expect_violation(hostile.weight_put(model, 0, 0, 64, n->data[0], &err), &err, "twice");
    expect_violation(hostile.weight_put(model, n->n_tensor, 0, 1, n->data[0], &err), &err,
                     "tensor");
    expect_violation(hostile.weight_map(model, 0, n->data[0], &err), &err, "policy");
    expect_violation(hostile.model_finish(model, &err), &err, "without rows");
    hostile.model_free(model);
    assert_int_equal(host.total, 0);
    net_free(n);
}

static void test_programs_are_checked(void **state)
{
    static const uint32_t device = 1;
    llrt_error err = LLRT_ERROR_INIT;
    counting_host host;
    counting_host_init(&host);
    net *const n = net_create(0);
    llrt_model_desc desc = net_desc(n, LLRT_TYPE_F32, LLRT_PRECISION_F32);
    desc.device = &device;
    void *model;
    const llrt_op first = n->op[0], second = n->op[1];
    n->op[1].in[0] = second.out;
    expect_violation(hostile.model_create(&host.host, &desc, &model, &err), &err, "before it is");
    n->op[1] = second;
    n->op[1].out = first.out;
    expect_violation(hostile.model_create(&host.host, &desc, &model, &err), &err, "twice");
    n->op[1] = second;
    n->op[1].kind = LLRT_OP_HEAD_LINEAR + 1;
    assert_int_equal(hostile.model_create(&host.host, &desc, &model, &err), LLRT_ERR_UNSUPPORTED);
    n->op[1] = second;
    n->op[1].weight[0] = n->n_tensor;
    expect_violation(hostile.model_create(&host.host, &desc, &model, &err), &err, "weight");
    n->op[1] = second;
    n->value[first.out].width++;
    expect_violation(hostile.model_create(&host.host, &desc, &model, &err), &err, "shape");
    n->value[first.out].width--;
    assert_int_equal(hostile.model_create(&host.host, &desc, &model, &err), LLRT_OK);
    hostile.model_free(model);
    assert_int_equal(host.total, 0);
    net_free(n);
}

static void test_plan_is_exact_and_allocations_may_fail(void **state)
{
    static const uint32_t device = 0;
    counting_host host;
    counting_host_init(&host);
    net *const n = net_create(1);
    llrt_model_desc desc = net_desc(n, LLRT_TYPE_Q8_0, LLRT_PRECISION_F32);
    desc.device = &device;
    const llrt_runtime_limits limits = {sizeof limits, 33, 2, 5, {7}};
    llrt_memory_use model_use = {sizeof model_use}, runtime_use = {sizeof runtime_use};
    llrt_error err = LLRT_ERROR_INIT;
    assert_int_equal(hostile.plan(&host.host, &desc, &limits, &model_use, &runtime_use, &err), 0);
    assert_int_equal(host.n_alloc, 0);
    void *model, *runtime;
    for (host.fail_at = 1;; host.fail_at++) {
        host.n_alloc = 0;
        llrt_status status = hostile.model_create(&host.host, &desc, &model, &err);
        if (status == LLRT_OK) {
            for (int k = 0; k < LLRT_MEMORY_COUNT; k++)
                assert_int_equal(host.bytes[k], model_use.bytes[k]);
            status = hostile.runtime_create(model, &limits, &runtime, &err);
            if (status == LLRT_OK) break;
            assert_null(runtime);
            hostile.model_free(model);
        }
        assert_int_equal(status, LLRT_ERR_NOMEM);
        assert_int_equal(host.total, 0);
    }
    assert_true(host.fail_at > 4);
    for (int k = 0; k < LLRT_MEMORY_COUNT; k++)
        assert_int_equal(host.bytes[k], model_use.bytes[k] + runtime_use.bytes[k]);
    hostile.runtime_free(runtime);
    hostile.model_free(model);
    assert_int_equal(host.total, 0);
    net_free(n);
}

static void test_table_versions(void **state)
{
    void *const symbol = dlsym(plug_in, LLRT_BACKEND_ENTRY);
    llrt_backend_entry_fn entry;
    memcpy(&entry, &symbol, sizeof entry);
    struct {
        llrt_backend table;
        uint64_t beyond;
    } wide;
    memset(&wide, 0x5a, sizeof wide);
    wide.table.struct_size = sizeof wide;
    assert_int_equal(entry(LLRT_BACKEND_VERSION + 1, &wide.table, NULL), LLRT_OK);
    assert_int_equal(wide.table.struct_size, LLRT_BACKEND_V1_SIZE);
    assert_int_equal(wide.beyond, 0x5a5a5a5a5a5a5a5aull);
    llrt_backend narrow;
    memset(&narrow, 0, sizeof narrow);
    narrow.struct_size = offsetof(llrt_backend, page_copy);
    assert_int_equal(entry(LLRT_BACKEND_VERSION, &narrow, NULL), LLRT_OK);
    assert_null(narrow.page_copy);
    assert_int_equal(entry(0, &narrow, NULL), LLRT_ERR_VERSION);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table_versions),
        cmocka_unit_test(test_programs_are_checked),
        cmocka_unit_test(test_weights_are_checked),
        cmocka_unit_test(test_steps_are_checked),
        cmocka_unit_test(test_order_of_calls_is_checked),
        cmocka_unit_test(test_borrowed_memory_is_watched),
        cmocka_unit_test(test_cancelled_step),
        cmocka_unit_test(test_plan_is_exact_and_allocations_may_fail),
        cmocka_unit_test(test_two_stages_equal_one),
        cmocka_unit_test(test_same_bits_as_reference),
        cmocka_unit_test(test_same_bits_on_every_level),
    };
    return cmocka_run_group_tests_name("hostile", tests, load_plug_in, unload_plug_in);
}
