/* SPDX-License-Identifier: MIT */
/*
 * The hostile test backend's own promises: every breach of the table's contract that it can notice
 * is committed here on purpose, and it must say so and carry on; plans are exact, allocations may
 * fail, steps may be cancelled.
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

#include "net_drive.h"

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define __SANITIZE_THREAD__ 1
#endif
#endif

enum { GATED, SLICED, REST, EXPERTS, RECURRENT, LATENT, ENCODER };

/* ---- A model with a past ---- */

/*
 * What a step borrows. The first sequence has 100 tokens behind it (pages 1 and 2, in the windowed
 * group 0 and 1; state slot 0, and slot 1 at the end of the first page) and adds 40; the second one
 * begins. In an encoder both begin.
 */
typedef struct request {
    llrt_step_desc step;
    llrt_step_seq seq[2];
    uint32_t page[2][LLRT_KV_GROUP_COUNT][4], state_at[2][4], adapter[2];
    float scale[2];
    int32_t token[80];
    uint8_t type[80];
    uint32_t out_row[1];
} request;

typedef struct bench {
    counting_host host;
    net *n;
    side s;
    void *runtime;
} bench;

static void fill_sequence(request *r, int i, uint32_t row, uint32_t n_row, int32_t position)
{
    r->seq[i] = (llrt_step_seq){.row_begin = row,
                                .n_row = n_row,
                                .pos_begin = position,
                                .n_page = ((uint32_t)position + n_row + 63) / 64,
                                .page = {r->page[i][0], r->page[i][1]},
                                .state_in = LLRT_NONE,
                                .state_out = i ? 4 : 2,
                                .state_at = r->state_at[i],
                                .adapter = r->adapter,
                                .adapter_scale = r->scale};
}

static void fill_request(const bench *b, request *r)
{
    memset(r, 0, sizeof *r);
    for (uint32_t p = 0; p < 4; p++) {
        r->page[0][0][p] = 1 + p;
        r->page[0][1][p] = p;
        r->page[1][0][p] = 8 + p;
        r->page[1][1][p] = p < 2 ? 4 + p : LLRT_NONE;
        r->state_at[0][p] = p == 0 ? 1 : p == 1 ? 3 : LLRT_NONE;
        r->state_at[1][p] = LLRT_NONE;
    }
    r->adapter[1] = 1;
    fill_sequence(r, 0, 0, 40, b->n->is_whole ? 0 : 100);
    fill_sequence(r, 1, 40, 3, 0);
    if (!b->n->is_whole) r->seq[0].state_in = 0;
    for (int i = 0; i < 80; i++) r->token[i] = i;
    r->step = (llrt_step_desc){.struct_size = sizeof r->step,
                               .n_row = 43,
                               .n_seq = 2,
                               .n_out = 1,
                               .token = r->token,
                               .token_type = r->type,
                               .seq = r->seq,
                               .out_row = r->out_row};
}

/* Submits and waits; the result of whichever fails. */
static llrt_status do_step(const bench *b, const llrt_step_desc *step, llrt_error *err)
{
    const llrt_status status = drive_hostile.step_submit(b->runtime, step, err);
    return status < 0 ? status : drive_hostile.step_wait(b->runtime, err);
}

/* Tokens of the first sequence alone, with the state from slot `in` to slot `out`. */
static void add_past(const bench *b, int32_t position, uint32_t n_row, uint32_t in, uint32_t out)
{
    request r;
    llrt_error err = LLRT_ERROR_INIT;
    fill_request(b, &r);
    fill_sequence(&r, 0, 0, n_row, position);
    r.seq[0].state_in = in;
    r.seq[0].state_out = out;
    r.step.n_row = n_row;
    r.step.n_seq = 1;
    if (do_step(b, &r.step, &err) < 0) fail_msg("%s", err.text);
}

static void open_bench(bench *b, uint32_t kind)
{
    static const uint32_t device[2] = {0, 0};
    const llrt_backend *const backend[2] = {&drive_hostile, NULL};
    counting_host_init(&b->host);
    b->n = net_create(kind, false);
    const llrt_model_desc desc = net_desc(b->n, LLRT_TYPE_F16, LLRT_PRECISION_F32);
    side_open(&b->s, backend, device, &b->host.host, b->n, &desc, 0);
    b->runtime = b->s.stage[0].runtime;
    if (b->n->is_whole) return;
    add_past(b, 0, 70, LLRT_NONE, 5);
    add_past(b, 70, 30, 5, 0);
}

static void close_bench(bench *b)
{
    side_close(&b->s);
    net_free(b->n);
    assert_int_equal(b->host.total, 0);
}

static void expect(llrt_status status, llrt_status expected, const llrt_error *err,
                   const char *part)
{
    assert_int_equal(status, expected);
    assert_int_equal(strncmp(err->text, "contract: ", 10) == 0, expected == LLRT_ERR_INTERNAL);
    if (!strstr(err->text, part)) fail_msg("'%s' does not mention '%s'", err->text, part);
}

static void expect_violation(llrt_status status, const llrt_error *err, const char *part)
{
    expect(status, LLRT_ERR_INTERNAL, err, part);
}

/* ---- Steps ---- */

#define BREACH(name, what)                                                                         \
    static void name(request *r)                                                                   \
    {                                                                                              \
        what;                                                                                      \
    }

BREACH(leave_gap, r->seq[0].row_begin = 1)
BREACH(leave_rows, r->step.n_row = 44)
BREACH(have_no_rows, r->seq[1].n_row = 0)
BREACH(go_before_zero, r->seq[1].pos_begin = -1)
BREACH(exceed_rows, r->step.n_row = 71)
BREACH(exceed_outputs, r->step.n_out = 71)
BREACH(want_row_outside, r->out_row[0] = 43)
BREACH(have_no_list, r->step.seq = NULL)
BREACH(take_other_program, r->step.program = 1)
BREACH(exceed_vocabulary, r->token[42] = NET_VOCAB)
BREACH(have_no_embedding, r->token[42] = -1)
BREACH(have_few_pages, r->seq[0].n_page = 2)
BREACH(have_no_table, r->seq[0].page[0] = NULL)
BREACH(forget_page, r->page[0][0][0] = LLRT_NONE)
BREACH(forget_written_page, r->page[0][0][2] = LLRT_NONE)
BREACH(exceed_pages, r->page[0][0][1] = DRIVE_PAGES)
BREACH(have_holes, r->page[0][0][0] = 7)
BREACH(jump_ahead, r->seq[1].pos_begin = 10)
BREACH(share_written_page, r->page[1][0][0] = 3)
BREACH(share_page_with_past, r->page[1][0][0] = 1)
BREACH(write_page_twice, r->page[0][0][2] = 2)
BREACH(have_no_window, r->seq[0].page[1] = NULL)
BREACH(forget_window, r->page[0][1][0] = LLRT_NONE)
BREACH(forget_written_window, r->page[0][1][2] = LLRT_NONE)
BREACH(exceed_window, r->page[0][1][2] = DRIVE_WINDOW)
BREACH(have_holes_in_window, r->page[0][1][0] = 5)
BREACH(share_window, r->page[1][1][0] = 2)
BREACH(have_flags, r->seq[1].flags = 2)
BREACH(exceed_adapters, r->seq[0].n_adapter = 1; r->adapter[0] = DRIVE_ADAPTERS)
BREACH(repeat_adapter, r->seq[0].n_adapter = 2; r->adapter[1] = 0)
BREACH(have_no_adapters, r->seq[0].n_adapter = 1; r->seq[0].adapter = NULL)
BREACH(have_no_scales, r->seq[0].n_adapter = 1; r->seq[0].adapter_scale = NULL)
BREACH(read_fresh_state, r->seq[0].state_in = 7)
BREACH(have_no_state, r->seq[0].state_in = LLRT_NONE)
BREACH(exceed_states, r->seq[0].state_in = DRIVE_STATES)
BREACH(read_early_state, r->seq[0].state_in = 1; r->state_at[0][0] = LLRT_NONE)
BREACH(read_late_state, r->seq[1].state_in = 0)
BREACH(write_no_state, r->seq[0].state_out = LLRT_NONE)
BREACH(exceed_written_states, r->state_at[0][1] = DRIVE_STATES)
BREACH(write_own_state, r->seq[0].state_out = 0)
BREACH(write_own_state_at_page, r->state_at[0][1] = 0)
BREACH(write_other_state, r->seq[1].state_out = 0)
BREACH(write_state_of_both, r->seq[1].state_out = 2)
BREACH(write_state_at_page_of_both, r->seq[1].state_out = 3)
BREACH(write_state_twice, r->state_at[0][1] = 2)
BREACH(begin_late, r->seq[1].pos_begin = 3)
BREACH(exceed_types, r->type[20] = 3)

static const struct breach {
    uint32_t kind;
    void (*commit)(request *r);
    const char *part;
    llrt_status status;
} breaches[] = {
    {EXPERTS, leave_gap, "rows 1 + 40", LLRT_ERR_INTERNAL},
    {EXPERTS, leave_rows, "43 of 44 rows", LLRT_ERR_INTERNAL},
    {EXPERTS, have_no_rows, "rows 40 + 0", LLRT_ERR_INTERNAL},
    {EXPERTS, go_before_zero, "position -1", LLRT_ERR_INTERNAL},
    {EXPERTS, exceed_rows, "limits", LLRT_ERR_INTERNAL},
    {EXPERTS, exceed_outputs, "limits", LLRT_ERR_INTERNAL},
    {EXPERTS, want_row_outside, "wanted row", LLRT_ERR_INTERNAL},
    {EXPERTS, have_no_list, "missing", LLRT_ERR_INTERNAL},
    {EXPERTS, take_other_program, "program 1 of 1", LLRT_ERR_INTERNAL},
    {EXPERTS, exceed_vocabulary, "token 150 of 150", LLRT_ERR_INTERNAL},
    {EXPERTS, have_no_embedding, "no embeddings", LLRT_ERR_INTERNAL},
    {EXPERTS, have_few_pages, "2 pages for 140", LLRT_ERR_INTERNAL},
    {EXPERTS, have_no_table, "pages for 140", LLRT_ERR_INTERNAL},
    {EXPERTS, forget_page, "no page 0 of group 0", LLRT_ERR_INTERNAL},
    {EXPERTS, forget_written_page, "no page 2 of group 0", LLRT_ERR_INTERNAL},
    {EXPERTS, exceed_pages, "page 12 of 12", LLRT_ERR_INTERNAL},
    {EXPERTS, have_holes, "position 0 is not in page 7", LLRT_ERR_INTERNAL},
    {EXPERTS, jump_ahead, "position 3 is not in page", LLRT_ERR_INTERNAL},
    {EXPERTS, share_written_page, "page 3 is written to and shared", LLRT_ERR_INTERNAL},
    {EXPERTS, share_page_with_past, "page 1 is written to and shared", LLRT_ERR_INTERNAL},
    {EXPERTS, write_page_twice, "page 2 is written to and shared", LLRT_ERR_INTERNAL},
    {EXPERTS, have_no_window, "pages for 140", LLRT_ERR_INTERNAL},
    {EXPERTS, forget_window, "no page 0 of group 1", LLRT_ERR_INTERNAL},
    {EXPERTS, forget_written_window, "no page 2 of group 1", LLRT_ERR_INTERNAL},
    {EXPERTS, exceed_window, "page 6 of 6", LLRT_ERR_INTERNAL},
    {EXPERTS, have_holes_in_window, "position 61 is not in page 5", LLRT_ERR_INTERNAL},
    {EXPERTS, share_window, "page 2 is written to and shared", LLRT_ERR_INTERNAL},
    {EXPERTS, have_flags, "flags 2", LLRT_ERR_INTERNAL},
    {EXPERTS, exceed_adapters, "adapter slot 3 of 3", LLRT_ERR_INTERNAL},
    {EXPERTS, repeat_adapter, "adapter slot 0 twice", LLRT_ERR_INTERNAL},
    {EXPERTS, have_no_adapters, "adapters are missing", LLRT_ERR_INTERNAL},
    {EXPERTS, have_no_scales, "adapters are missing", LLRT_ERR_INTERNAL},
    {RECURRENT, read_fresh_state, "state slot 7 was not written", LLRT_ERR_INTERNAL},
    {RECURRENT, have_no_state, "position 100 without a state", LLRT_ERR_INTERNAL},
    {RECURRENT, exceed_states, "state slot 12 of 12", LLRT_ERR_INTERNAL},
    {RECURRENT, read_early_state, "is of position 64, not 100", LLRT_ERR_INTERNAL},
    {RECURRENT, read_late_state, "is of position 100, not 0", LLRT_ERR_INTERNAL},
    {RECURRENT, write_no_state, "of 12", LLRT_ERR_INTERNAL},
    {RECURRENT, exceed_written_states, "state slot 12 of 12", LLRT_ERR_INTERNAL},
    {RECURRENT, write_own_state, "state slot 0 is read and written", LLRT_ERR_INTERNAL},
    {RECURRENT, write_own_state_at_page, "state slot 0 is read and written", LLRT_ERR_INTERNAL},
    {RECURRENT, write_other_state, "state slot 0 is read and written", LLRT_ERR_INTERNAL},
    {RECURRENT, write_state_of_both, "state slot 2 is written twice", LLRT_ERR_INTERNAL},
    {RECURRENT, write_state_at_page_of_both, "state slot 3 is written twice", LLRT_ERR_INTERNAL},
    {RECURRENT, write_state_twice, "state slot 2 is written twice", LLRT_ERR_INTERNAL},
    {ENCODER, begin_late, "begins at position 0, not 3", LLRT_ERR_ARGUMENT},
    {ENCODER, exceed_types, "token type 3 of 3", LLRT_ERR_INTERNAL},
};

/* After each breach the step as it should be is still computed, and gives what it gave before. */
static void test_steps_are_checked(void **state)
{
    static const uint32_t kinds[] = {EXPERTS, RECURRENT, ENCODER};
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        bench b;
        request r;
        float first[NET_VOCAB], again[NET_VOCAB];
        llrt_error err = LLRT_ERROR_INIT;
        open_bench(&b, kinds[k]);
        fill_request(&b, &r);
        const uint32_t logits = b.n->program.logits;
        assert_int_equal(do_step(&b, &r.step, &err), LLRT_OK);
        assert_int_equal(drive_hostile.value_read(b.runtime, logits, 0, 1, first, &err), LLRT_OK);
        for (size_t i = 0; i < sizeof breaches / sizeof *breaches; i++) {
            if (breaches[i].kind != kinds[k]) continue;
            fill_request(&b, &r);
            breaches[i].commit(&r);
            expect(do_step(&b, &r.step, &err), breaches[i].status, &err, breaches[i].part);
        }
        fill_request(&b, &r);
        assert_int_equal(do_step(&b, &r.step, &err), LLRT_OK);
        assert_int_equal(drive_hostile.value_read(b.runtime, logits, 0, 1, again, &err), LLRT_OK);
        assert_memory_equal(first, again, sizeof first);
        close_bench(&b);
    }
}

/* A position counts as written in the slots of the program that ran there, and no others. */
static void test_programs_share_pages(void **state)
{
    static const uint32_t device = 0;
    counting_host host;
    counting_host_init(&host);
    bench b = {.n = net_create(EXPERTS, false)};
    llrt_model_desc desc = net_desc(b.n, LLRT_TYPE_F32, LLRT_PRECISION_F32);
    llrt_program both[2] = {b.n->program, b.n->program};
    llrt_error err = LLRT_ERROR_INIT;
    while (b.n->op[both[1].n_op - 1].layer > 0) both[1].n_op--; /* the first layer alone */
    both[1].output = &b.n->op[both[1].n_op - 1].out;
    both[1].n_output = 1;
    both[1].logits = LLRT_NONE;
    desc.program = both;
    desc.n_program = 2;
    desc.device = &device;
    const llrt_runtime_limits limits = {sizeof limits, 70, 3, 70, {DRIVE_PAGES, DRIVE_WINDOW}};
    void *model;
    if (drive_hostile.model_create(&host.host, &desc, &model, &err) < 0) fail_msg("%s", err.text);
    put_weights(&drive_hostile, model, b.n);
    assert_int_equal(drive_hostile.model_finish(model, &err), LLRT_OK);
    assert_int_equal(drive_hostile.runtime_create(model, &limits, &b.runtime, &err), LLRT_OK);
    request r;
    fill_request(&b, &r);
    fill_sequence(&r, 0, 0, 10, 0);
    r.step.n_row = 10;
    r.step.n_seq = 1;
    assert_int_equal(do_step(&b, &r.step, &err), LLRT_OK); /* all slots */
    r.step.program = 1;
    assert_int_equal(do_step(&b, &r.step, &err), LLRT_OK); /* one of them again */
    fill_sequence(&r, 0, 0, 10, 10);
    assert_int_equal(do_step(&b, &r.step, &err), LLRT_OK); /* one of them further */
    r.step.program = 0;
    assert_int_equal(do_step(&b, &r.step, &err), LLRT_OK); /* all the others are still there */
    fill_sequence(&r, 0, 0, 10, 20);
    r.step.program = 1;
    assert_int_equal(do_step(&b, &r.step, &err), LLRT_OK);
    fill_sequence(&r, 0, 0, 10, 30);
    r.step.program = 0;
    expect_violation(do_step(&b, &r.step, &err), &err, "position 20 is not in page");
    drive_hostile.runtime_free(b.runtime);
    drive_hostile.model_free(model);
    assert_int_equal(host.total, 0);
    net_free(b.n);
}

/* ---- Between steps ---- */

static void test_order_of_calls_is_checked(void **state)
{
    bench b;
    request q;
    open_bench(&b, GATED);
    fill_request(&b, &q);
    llrt_error err = LLRT_ERROR_INIT;
    float *const to = malloc(70 * 512 * sizeof *to);
    double sum[256];
    uint64_t count[1];
    void *const r = b.runtime;
    const uint32_t output = b.n->output[0];
    expect_violation(drive_hostile.step_wait(r, &err), &err, "without a step");
    assert_int_equal(drive_hostile.step_submit(r, &q.step, &err), LLRT_OK);
    expect_violation(drive_hostile.step_submit(r, &q.step, &err), &err, "in flight");
    expect_violation(drive_hostile.value_read(r, output, 0, 1, to, &err), &err, "in flight");
    expect_violation(drive_hostile.page_copy(r, 0, 1, 3, 1, &err), &err, "in flight");
    expect_violation(drive_hostile.state_read(r, 0, to, 0, &err), &err, "in flight");
    expect_violation(drive_hostile.state_write(r, 0, to, 0, &err), &err, "in flight");
    expect_violation(drive_hostile.adapter_put(r, 0, NULL, 0, &err), &err, "in flight");
    expect_violation(drive_hostile.squares_read(r, 0, sum, count, &err), &err, "in flight");
    assert_int_equal(drive_hostile.step_wait(r, &err), LLRT_OK);
    assert_int_equal(drive_hostile.value_read(r, output, 0, 1, to, &err), LLRT_OK);
    expect_violation(drive_hostile.value_read(r, output, 0, 70, to, &err), &err, "rows");
    expect_violation(drive_hostile.value_read(r, 0, 0, 1, to, &err), &err, "not an output");
    expect_violation(drive_hostile.page_copy(r, 0, 7, 3, 61, &err), &err, "not all");
    expect_violation(drive_hostile.page_copy(r, 0, 3, 3, 1, &err), &err, "onto itself");
    expect_violation(drive_hostile.page_read(r, 0, 5, 1, to, 100000, &err), &err, "not all");
    expect_violation(drive_hostile.page_read(r, 0, 3, 1, to, 7, &err), &err, "page_read");
    expect_violation(drive_hostile.page_write(r, 0, 5, 1, to, 7, &err), &err, "page_write");
    expect_violation(drive_hostile.page_copy(r, 0, DRIVE_PAGES, 3, 1, &err), &err, "page 12 of 12");
    expect_violation(drive_hostile.page_copy(r, 1, 0, 1, 1, &err), &err, "page 1 of 0");
    expect_violation(drive_hostile.page_copy(r, 2, 0, 1, 1, &err), &err, "group 2");
    expect_violation(drive_hostile.page_copy(r, 0, 0, 1, 65, &err), &err, "65 positions");
    q.step.n_row = 71;
    expect_violation(drive_hostile.step_submit(r, &q.step, &err), &err, "limits");
    free(to);
    close_bench(&b);
}

static void test_state_slots_are_checked(void **state)
{
    bench b;
    open_bench(&b, RECURRENT);
    llrt_error err = LLRT_ERROR_INIT;
    size_t n = 0;
    for (uint32_t i = 0; i < b.n->n_state; i++) n += b.n->state[i].n_float;
    float *const to = malloc(n * sizeof *to), *const back = malloc(n * sizeof *back);
    expect_violation(drive_hostile.state_read(b.runtime, DRIVE_STATES, to, n, &err), &err,
                     "slot 12 of 12");
    expect_violation(drive_hostile.state_read(b.runtime, 0, to, n - 1, &err), &err, "numbers");
    expect_violation(drive_hostile.state_read(b.runtime, 7, to, n, &err), &err, "not written");
    expect_violation(drive_hostile.state_write(b.runtime, 7, to, n + 1, &err), &err, "numbers");
    expect_violation(drive_hostile.state_write(b.runtime, 12, to, n, &err), &err, "slot 12 of 12");
    assert_int_equal(drive_hostile.state_read(b.runtime, 0, to, n, &err), LLRT_OK);
    assert_int_equal(drive_hostile.state_write(b.runtime, 7, to, n, &err), LLRT_OK);
    assert_int_equal(drive_hostile.state_read(b.runtime, 7, back, n, &err), LLRT_OK);
    assert_memory_equal(to, back, n * sizeof *to);
    request r;
    fill_request(&b, &r);
    r.seq[0].state_in = 7; /* what came in counts as the state of any position */
    assert_int_equal(do_step(&b, &r.step, &err), LLRT_OK);
    free(to);
    free(back);
    close_bench(&b);
}

/* The last row at a page's end: the state goes to both slots, which may be one. */
static void test_states_at_page_ends(void **state)
{
    bench b;
    open_bench(&b, RECURRENT);
    llrt_error err = LLRT_ERROR_INIT;
    size_t n = 0;
    for (uint32_t i = 0; i < b.n->n_state; i++) n += b.n->state[i].n_float;
    float *const one = malloc(n * sizeof *one), *const two = malloc(n * sizeof *two);
    for (uint32_t same = 0; same < 2; same++) {
        request r;
        fill_request(&b, &r);
        r.seq[0].n_row = r.seq[1].row_begin = 28;
        r.step.n_row = 31;
        r.state_at[0][1] = same ? 2 : 3;
        if (do_step(&b, &r.step, &err) < 0) fail_msg("%s", err.text);
        assert_int_equal(drive_hostile.state_read(b.runtime, 2, one, n, &err), LLRT_OK);
        if (!same) assert_int_equal(drive_hostile.state_read(b.runtime, 3, two, n, &err), LLRT_OK);
        assert_memory_equal(one, two, n * sizeof *one);
    }
    free(one);
    free(two);
    close_bench(&b);
}

static void test_adapters_and_squares_are_checked(void **state)
{
    bench b;
    open_bench(&b, EXPERTS);
    llrt_error err = LLRT_ERROR_INIT;
    uint32_t linear = 0, norm = 0, router = 0;
    for (uint32_t i = 0; i < b.n->program.n_op; i++) {
        if (b.n->op[i].kind == LLRT_OP_LINEAR) linear = b.n->op[i].weight[0];
        if (b.n->op[i].kind == LLRT_OP_RMS_NORM) norm = b.n->op[i].weight[0];
        if (b.n->op[i].kind == LLRT_OP_EXPERTS) router = b.n->op[i].weight[1];
    }
    float *const f = calloc(512 * DRIVE_RANK, sizeof *f);
    const llrt_adapter_part good = {linear, 2, f, f};
    const struct {
        llrt_adapter_part part[2];
        uint32_t slot, n;
        const char *text;
    } wrong[] = {{{good}, DRIVE_ADAPTERS, 1, "slot 3 of 3"},
                 {{{norm, 2, f, f}}, 0, 1, "no linear's"},
                 {{{router, 2, f, f}}, 0, 1, "no linear's"},
                 {{{b.n->n_tensor, 2, f, f}}, 0, 1, "no linear's"},
                 {{{linear, 0, f, f}}, 0, 1, "rank 0"},
                 {{{linear, DRIVE_RANK + 1, f, f}}, 0, 1, "rank 5, at most 4"},
                 {{{linear, 2, NULL, f}}, 0, 1, "no factors"},
                 {{{linear, 2, f, NULL}}, 0, 1, "no factors"},
                 {{good, good}, 0, 2, "twice"}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        expect_violation(
            drive_hostile.adapter_put(b.runtime, wrong[i].slot, wrong[i].part, wrong[i].n, &err),
            &err, wrong[i].text);
    expect_violation(drive_hostile.adapter_put(b.runtime, 0, NULL, 1, &err), &err, "missing");
    assert_int_equal(drive_hostile.adapter_put(b.runtime, 0, &good, 1, &err), LLRT_OK);
    assert_int_equal(drive_hostile.adapter_put(b.runtime, 0, NULL, 0, &err), LLRT_OK);
    double *const sum = calloc(256 * 16, sizeof *sum);
    uint64_t count[16];
    expect_violation(drive_hostile.squares_read(b.runtime, norm, sum, count, &err), &err,
                     "no linear's");
    assert_int_equal(drive_hostile.squares_read(b.runtime, linear, sum, count, &err), LLRT_OK);
    assert_true(count[0] > 0 && sum[0] > 0);
    drive_hostile.squares_reset(b.runtime);
    assert_int_equal(drive_hostile.squares_read(b.runtime, linear, sum, count, &err), LLRT_OK);
    assert_true(count[0] == 0 && sum[0] == 0);
    llrt_runtime_limits limits = {sizeof limits, 7, 1, 7, {2, 2}};
    void *runtime;
    assert_int_equal(drive_hostile.runtime_create(b.s.stage[0].model, &limits, &runtime, &err),
                     LLRT_OK);
    expect_violation(drive_hostile.squares_read(runtime, linear, sum, count, &err), &err,
                     "without with_squares");
    drive_hostile.runtime_free(runtime);
    limits.n_adapter = 1;
    expect_violation(drive_hostile.runtime_create(b.s.stage[0].model, &limits, &runtime, &err),
                     &err, "1 adapters of rank 0");
    free(f);
    free(sum);
    close_bench(&b);
}

/* ---- Time ---- */

static void test_borrowed_memory_is_watched(void **state)
{
#if defined(__SANITIZE_THREAD__)
    print_message("the breach is a data race, which is what ThreadSanitizer would report\n");
    skip();
#endif
    bench b;
    open_bench(&b, RECURRENT);
    llrt_error err = LLRT_ERROR_INIT;
    for (int i = 0; i < 5; i++) {
        request r;
        fill_request(&b, &r);
        r.seq[0].n_adapter = 1;
        assert_int_equal(drive_hostile.step_submit(b.runtime, &r.step, &err), LLRT_OK);
        memset(&r.step, 0xee, sizeof r.step); /* the description itself is copied */
        switch (i) {
        case 0:
            r.token[42]++;
            break;
        case 1:
            r.page[0][0][0]++;
            break;
        case 2:
            r.state_at[0][1]++;
            break;
        case 3:
            r.scale[0]++;
            break;
        default:
            r.type[42]++;
            break;
        }
        expect_violation(drive_hostile.step_wait(b.runtime, &err), &err, "changed");
    }
    close_bench(&b);
}

static int say_yes(void *ctx)
{
    return ++*(int *)ctx > 5;
}

/* A step that ends early leaves poison where it would have written, and all else as it was. */
static void test_cancelled_step(void **state)
{
    bench b;
    open_bench(&b, RECURRENT);
    llrt_error err = LLRT_ERROR_INIT;
    size_t size = 0;
    for (uint32_t i = 0; i < b.n->n_state; i++) size += b.n->state[i].n_float;
    float *const to = malloc(size * sizeof *to), first[NET_VOCAB], again[NET_VOCAB];
    const uint32_t logits = b.n->program.logits;
    request r;
    fill_request(&b, &r);
    assert_int_equal(do_step(&b, &r.step, &err), LLRT_OK);
    assert_int_equal(drive_hostile.value_read(b.runtime, logits, 0, 1, first, &err), LLRT_OK);
    assert_int_equal(drive_hostile.state_read(b.runtime, 2, to, size, &err), LLRT_OK);
    int n = 0;
    r.step.poll_cancel = say_yes;
    r.step.poll_ctx = &n;
    assert_int_equal(do_step(&b, &r.step, &err), LLRT_ERR_CANCELLED);
    assert_int_equal(err.status, LLRT_ERR_CANCELLED);
    expect_violation(drive_hostile.value_read(b.runtime, logits, 0, 1, again, &err), &err,
                     "without a completed");
    for (uint32_t slot = 2; slot < 5; slot++)
        expect_violation(drive_hostile.state_read(b.runtime, slot, to, size, &err), &err,
                         "was not written");
    r.step.poll_cancel = NULL;
    assert_int_equal(do_step(&b, &r.step, &err), LLRT_OK);
    assert_int_equal(drive_hostile.value_read(b.runtime, logits, 0, 1, again, &err), LLRT_OK);
    assert_memory_equal(first, again, sizeof first);
    free(to);
    close_bench(&b);
}

/* ---- Models ---- */

/* The first operator of a kind. */
static llrt_op *find_op(net *n, llrt_op_kind kind)
{
    uint32_t i = 0;
    while (n->op[i].kind != kind) i++;
    return &n->op[i];
}

static llrt_op *find_second(net *n, llrt_op_kind kind)
{
    llrt_op *op = find_op(n, kind) + 1;
    while (op->kind != kind) op++;
    return op;
}

#define FIRST(kind) find_op(n, LLRT_OP_##kind)
#define FLAW(name, what)                                                                           \
    static void name(net *n)                                                                       \
    {                                                                                              \
        what;                                                                                      \
    }

FLAW(read_early, FIRST(RMS_NORM)->in[0] = FIRST(RMS_NORM)->out)
FLAW(write_twice, FIRST(RMS_NORM)->out = FIRST(EMBED)->out)
FLAW(invent_operator, FIRST(RMS_NORM)->kind = LLRT_OP_HEAD_LINEAR + 1)
FLAW(invent_weight, FIRST(RMS_NORM)->weight[0] = n->n_tensor)
FLAW(widen_value, n->value[FIRST(EMBED)->out].width++)
FLAW(descend, FIRST(HEAD)->layer = 0)
FLAW(misshape_norm, n->tensor[FIRST(RMS_NORM)->weight[0]].dim[0]++)
FLAW(drop_window, FIRST(ATTENTION)->u.attention.window = 0)
FLAW(invent_mask, FIRST(ATTENTION)->u.attention.mask = 2)
FLAW(invent_slot, FIRST(ATTENTION)->u.attention.kv = n->n_kv)
FLAW(share_slot, find_second(n, LLRT_OP_ATTENTION)->u.attention = FIRST(ATTENTION)->u.attention)
FLAW(misshape_sinks, FIRST(ATTENTION)->weight[0] = FIRST(RMS_NORM)->weight[0])
FLAW(invent_group, n->kv[0].group = LLRT_KV_GROUP_COUNT)
FLAW(widen_v_in_k, n->kv[0].v_dim = n->kv[0].k_dim + 1)
FLAW(add_v, FIRST(ATTENTION)->n_in = 3; FIRST(ATTENTION)->in[2] = FIRST(ATTENTION)->in[1])
FLAW(overflow_slope, n->slope[0] = INFINITY)
FLAW(invent_axis, n->axis[1] = 3)
FLAW(misshape_head_linear, n->tensor[FIRST(HEAD_LINEAR)->weight[0]].dim[2]--)
FLAW(limit_nothing, FIRST(GLU)->u.act.limit = -1)
FLAW(use_no_expert, FIRST(EXPERTS)->u.experts.n_used = 0)
FLAW(use_many_experts, FIRST(EXPERTS)->u.experts.n_used = 9)
FLAW(divide_experts, FIRST(EXPERTS)->u.experts.n_group = 3)
FLAW(use_no_group, FIRST(EXPERTS)->u.experts.n_group = 4)
FLAW(use_small_group, FIRST(EXPERTS)->u.experts.n_group = 8;
     FIRST(EXPERTS)->u.experts.n_group_used = 1)
FLAW(sum_single, use_small_group(n); FIRST(EXPERTS)->u.experts.n_group_used = 2;
     FIRST(EXPERTS)->u.experts.is_group_sum = 1)
FLAW(invent_router, FIRST(EXPERTS)->u.experts.router = 3)
FLAW(invent_activation, FIRST(EXPERTS)->u.experts.act = 8)
FLAW(scale_by_nothing, FIRST(EXPERTS)->u.experts.scale = NAN)
FLAW(drop_down, FIRST(EXPERTS)->weight[2] = LLRT_NONE)
FLAW(swap_experts, FIRST(EXPERTS)->weight[1] = FIRST(EXPERTS)->weight[2])
FLAW(bias_badly, FIRST(EXPERTS)->weight[4] = FIRST(RMS_NORM)->weight[0])
FLAW(bias_choice_badly, FIRST(EXPERTS)->weight[6] = FIRST(RMS_NORM)->weight[0])
FLAW(drop_gate, find_second(n, LLRT_OP_EXPERTS)->weight[0] = LLRT_NONE)
FLAW(invent_state, FIRST(SHORT_CONV)->u.conv.state = n->n_state)
FLAW(shrink_state, n->state[FIRST(SHORT_CONV)->u.conv.state].n_float--)
FLAW(share_state,
     find_second(n, LLRT_OP_GATED_DELTA)->u.scan.state = FIRST(GATED_DELTA)->u.scan.state)
FLAW(drop_taps, FIRST(SHORT_CONV)->weight[0] = LLRT_NONE)
FLAW(mix_heads, n->value[FIRST(GATED_DELTA)->in[2]].n_head = 3)
FLAW(drop_dt_bias, FIRST(GATED_DELTA)->weight[1] = LLRT_NONE)
FLAW(drop_input, FIRST(GATED_DELTA)->n_in = 4; FIRST(GATED_DELTA)->in[4] = LLRT_NONE)
FLAW(raise_flag, FIRST(GATED_DELTA)->u.scan.is_tiled = 2)
FLAW(swap_bounds, FIRST(SSM_SCAN)->u.scan.dt_min = 1; FIRST(SSM_SCAN)->u.scan.dt_max = 0)
FLAW(mix_groups, n->value[FIRST(SSM_SCAN)->in[2]].n_head = 3)
FLAW(narrow_types, n->tensor[FIRST(TOKEN_TYPE)->weight[0]].dim[0] = 32)

static const struct flaw {
    uint32_t kind;
    void (*commit)(net *n);
    const char *part;
    llrt_status status;
} flaws[] = {
    {GATED, read_early, "before it is", LLRT_ERR_INTERNAL},
    {GATED, write_twice, "twice", LLRT_ERR_INTERNAL},
    {GATED, invent_operator, "operator 25", LLRT_ERR_UNSUPPORTED},
    {GATED, invent_weight, "weight", LLRT_ERR_INTERNAL},
    {GATED, widen_value, "shape", LLRT_ERR_INTERNAL},
    {GATED, descend, "ascend", LLRT_ERR_INTERNAL},
    {RECURRENT, misshape_norm, "shape of a weight", LLRT_ERR_INTERNAL},
    {EXPERTS, drop_window, "no window", LLRT_ERR_INTERNAL},
    {GATED, invent_mask, "mask 2", LLRT_ERR_UNSUPPORTED},
    {GATED, invent_slot, "slot", LLRT_ERR_INTERNAL},
    {SLICED, share_slot, "kv slot is written twice", LLRT_ERR_INTERNAL},
    {EXPERTS, misshape_sinks, "sinks", LLRT_ERR_INTERNAL},
    {EXPERTS, invent_group, "group 2", LLRT_ERR_INTERNAL},
    {LATENT, widen_v_in_k, "no shape", LLRT_ERR_INTERNAL},
    {LATENT, add_v, "number of inputs", LLRT_ERR_INTERNAL},
    {LATENT, overflow_slope, "slope", LLRT_ERR_INTERNAL},
    {LATENT, invent_axis, "axis", LLRT_ERR_INTERNAL},
    {LATENT, misshape_head_linear, "shape of the weight", LLRT_ERR_INTERNAL},
    {EXPERTS, limit_nothing, "limit", LLRT_ERR_INTERNAL},
    {EXPERTS, use_no_expert, "number of experts", LLRT_ERR_INTERNAL},
    {EXPERTS, use_many_experts, "number of experts", LLRT_ERR_INTERNAL},
    {EXPERTS, divide_experts, "groups of experts", LLRT_ERR_INTERNAL},
    {EXPERTS, use_no_group, "groups of experts", LLRT_ERR_INTERNAL},
    {EXPERTS, use_small_group, "number of experts", LLRT_ERR_INTERNAL},
    {EXPERTS, sum_single, "two best", LLRT_ERR_INTERNAL},
    {EXPERTS, invent_router, "router 3", LLRT_ERR_UNSUPPORTED},
    {EXPERTS, invent_activation, "activation 8", LLRT_ERR_UNSUPPORTED},
    {EXPERTS, scale_by_nothing, "numbers", LLRT_ERR_INTERNAL},
    {EXPERTS, drop_down, "shape of a weight", LLRT_ERR_INTERNAL},
    {EXPERTS, swap_experts, "shape of a weight", LLRT_ERR_INTERNAL},
    {EXPERTS, bias_badly, "shape of a bias", LLRT_ERR_INTERNAL},
    {EXPERTS, bias_choice_badly, "shape of a bias", LLRT_ERR_INTERNAL},
    {EXPERTS, drop_gate, "shape of a bias", LLRT_ERR_INTERNAL},
    {RECURRENT, invent_state, "state out of range", LLRT_ERR_INTERNAL},
    {RECURRENT, shrink_state, "size of the state", LLRT_ERR_INTERNAL},
    {RECURRENT, share_state, "state is written twice", LLRT_ERR_INTERNAL},
    {RECURRENT, drop_taps, "shapes", LLRT_ERR_INTERNAL},
    {RECURRENT, mix_heads, "shapes", LLRT_ERR_INTERNAL},
    {RECURRENT, drop_dt_bias, "shape of a weight", LLRT_ERR_INTERNAL},
    {RECURRENT, drop_input, "number of inputs", LLRT_ERR_INTERNAL},
    {RECURRENT, raise_flag, "flags", LLRT_ERR_INTERNAL},
    {RECURRENT, swap_bounds, "bounds", LLRT_ERR_INTERNAL},
    {RECURRENT, mix_groups, "shapes", LLRT_ERR_INTERNAL},
    {ENCODER, narrow_types, "shapes", LLRT_ERR_INTERNAL},
};

static void test_programs_are_checked(void **state)
{
    static const uint32_t device = 1;
    llrt_error err = LLRT_ERROR_INIT;
    counting_host host;
    counting_host_init(&host);
    void *model;
    for (size_t i = 0; i < sizeof flaws / sizeof *flaws; i++) {
        net *const n = net_create(flaws[i].kind, false);
        llrt_model_desc desc = net_desc(n, LLRT_TYPE_F32, LLRT_PRECISION_F32);
        desc.device = &device;
        assert_int_equal(drive_hostile.model_create(&host.host, &desc, &model, &err), LLRT_OK);
        drive_hostile.model_free(model);
        flaws[i].commit(n);
        const llrt_status status = drive_hostile.model_create(&host.host, &desc, &model, &err);
        assert_int_equal(status, flaws[i].status);
        if (!strstr(err.text, flaws[i].part))
            fail_msg("'%s' does not mention '%s'", err.text, flaws[i].part);
        assert_int_equal(host.total, 0);
        net_free(n);
    }
}

static void test_weights_are_checked(void **state)
{
    static const uint32_t device = 1;
    llrt_error err = LLRT_ERROR_INIT;
    counting_host host;
    counting_host_init(&host);
    net *const n = net_create(0, false);
    llrt_model_desc desc = net_desc(n, LLRT_TYPE_F32, LLRT_PRECISION_F32);
    desc.device = &device;
    void *model;
    assert_int_equal(drive_hostile.model_create(&host.host, &desc, &model, &err), LLRT_OK);
    expect_violation(drive_hostile.weight_put(model, 0, 32, 64, n->data[0], &err), &err,
                     "rows 32 + 64");
    expect_violation(drive_hostile.weight_put(model, 0, 0, 65, n->data[0], &err), &err,
                     "inside a group");
    expect_violation(drive_hostile.weight_put(model, 0, 128, 64, n->data[0], &err), &err,
                     "which has 150");
    assert_int_equal(drive_hostile.weight_put(model, 0, 0, 64, n->data[0], &err), LLRT_OK);
    expect_violation(drive_hostile.weight_put(model, 0, 0, 64, n->data[0], &err), &err, "twice");
    expect_violation(drive_hostile.weight_put(model, n->n_tensor, 0, 1, n->data[0], &err), &err,
                     "tensor");
    expect_violation(drive_hostile.weight_map(model, 0, n->data[0], &err), &err, "policy");
    expect_violation(drive_hostile.model_finish(model, &err), &err, "without rows");
    drive_hostile.model_free(model);
    assert_int_equal(host.total, 0);
    net_free(n);
}

/* Rows of a tensor of three dimensions are counted through all of them. */
static void test_rows_are_counted_through(void **state)
{
    static const uint32_t device = 1;
    llrt_error err = LLRT_ERROR_INIT;
    counting_host host;
    counting_host_init(&host);
    net *const n = net_create(EXPERTS, false);
    llrt_model_desc desc = net_desc(n, LLRT_TYPE_F32, LLRT_PRECISION_F32);
    desc.device = &device;
    void *model;
    assert_int_equal(drive_hostile.model_create(&host.host, &desc, &model, &err), LLRT_OK);
    const uint32_t t = find_op(n, LLRT_OP_EXPERTS)->weight[1]; /* 64 rows of each of 8 */
    assert_int_equal(drive_hostile.weight_put(model, t, 64, 448, n->data[t], &err), LLRT_OK);
    expect_violation(drive_hostile.weight_put(model, t, 512, 1, n->data[t], &err), &err,
                     "which has 512");
    drive_hostile.model_free(model);
    assert_int_equal(host.total, 0);
    net_free(n);
}

static void check_plan(uint32_t kind)
{
    static const uint32_t device = 0;
    counting_host host;
    counting_host_init(&host);
    net *const n = net_create(kind, false);
    llrt_model_desc desc = net_desc(n, LLRT_TYPE_Q8_0, LLRT_PRECISION_F32);
    desc.device = &device;
    const llrt_runtime_limits limits = {sizeof limits, 33, 2, 5, {7, 3}, 5, 2, 6, 1};
    llrt_memory_use model_use = {sizeof model_use}, runtime_use = {sizeof runtime_use};
    llrt_error err = LLRT_ERROR_INIT;
    assert_int_equal(drive_hostile.plan(&host.host, &desc, &limits, &model_use, &runtime_use, &err),
                     0);
    assert_int_equal(host.n_alloc, 0);
    void *model, *runtime;
    for (host.fail_at = 1;; host.fail_at++) {
        host.n_alloc = 0;
        llrt_status status = drive_hostile.model_create(&host.host, &desc, &model, &err);
        if (status == LLRT_OK) {
            for (int k = 0; k < LLRT_MEMORY_COUNT; k++)
                assert_int_equal(host.bytes[k], model_use.bytes[k]);
            status = drive_hostile.runtime_create(model, &limits, &runtime, &err);
            if (status == LLRT_OK) break;
            assert_null(runtime);
            drive_hostile.model_free(model);
        }
        assert_int_equal(status, LLRT_ERR_NOMEM);
        assert_int_equal(host.total, 0);
    }
    assert_true(host.fail_at > 4);
    for (int k = 0; k < LLRT_MEMORY_COUNT; k++)
        assert_int_equal(host.bytes[k], model_use.bytes[k] + runtime_use.bytes[k]);
    drive_hostile.runtime_free(runtime);
    drive_hostile.model_free(model);
    assert_int_equal(host.total, 0);
    net_free(n);
}

static void test_plan_is_exact_and_allocations_may_fail(void **state)
{
    for (uint32_t kind = 0; kind < NET_KINDS; kind++) check_plan(kind);
}

static void test_table_versions(void **state)
{
    void *const symbol = dlsym(drive_plug_in, LLRT_BACKEND_ENTRY);
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
        cmocka_unit_test(test_rows_are_counted_through),
        cmocka_unit_test(test_steps_are_checked),
        cmocka_unit_test(test_programs_share_pages),
        cmocka_unit_test(test_order_of_calls_is_checked),
        cmocka_unit_test(test_state_slots_are_checked),
        cmocka_unit_test(test_states_at_page_ends),
        cmocka_unit_test(test_adapters_and_squares_are_checked),
        cmocka_unit_test(test_borrowed_memory_is_watched),
        cmocka_unit_test(test_cancelled_step),
        cmocka_unit_test(test_plan_is_exact_and_allocations_may_fail),
    };
    return cmocka_run_group_tests_name("hostile_contract", tests, drive_load, drive_unload);
}
