/* SPDX-License-Identifier: MIT */
/*
 * Given positions, bidirectional spans: rotations go by differences of positions, so a shifted text gives
 * what the text gives, also where it goes on by itself; in a span of one position order has no meaning. Steps,
 * rewinding, forks and saved sessions change no bit.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "adapter_support.h"

enum { N_TEXT = 100, N_SPAN = 9, SHIFT = 1000 };

typedef struct fixture {
    net model;
    llrt_blob blob;
    llrt_source source;
    llrt_engine *engine;
    int32_t text[N_TEXT], shifted[N_TEXT];
    float plain[N_TEXT][TINY_VOCAB];
} fixture;

static llrt_engine *open_engine(const fixture *f, uint32_t n_step_tok)
{
    llrt_engine_options o = test_options(NULL);
    llrt_engine *engine = NULL;
    o.source = &f->source;
    o.precision = LLRT_PRECISION_F32;
    o.n_step_tok = n_step_tok;
    o.kv_tok = 4096;
    check(llrt_engine_open("m.gguf", &o, &engine, &err));
    return engine;
}

static int set_up(void **state)
{
    fixture *const f = malloc(sizeof *f);
    const float *row = NULL;
    net_init(&f->model, 5);
    f->blob.data = net_gguf(&f->model, &f->blob.size);
    llrt_source_init_memory(&f->source, sizeof f->source, &f->blob);
    make_text(9, f->text, N_TEXT, TINY_VOCAB);
    for (int i = 0; i < N_TEXT; i++) f->shifted[i] = i + SHIFT;
    f->engine = open_engine(f, 128);
    llrt_session *const session = new_session(f->engine);
    check(llrt_session_append(session, f->text, N_TEXT, LLRT_LOGITS_ALL, &err));
    check(llrt_session_logits(session, 0, &row, &err));
    memcpy(f->plain, row, sizeof f->plain);
    llrt_session_free(session);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    fixture *const f = *state;
    llrt_engine_close(f->engine);
    free((void *)(uintptr_t)f->blob.data);
    net_free(&f->model);
    free(f);
    return 0;
}

/* Appends text[begin, end) with positions, or without. */
static void append(fixture *f, llrt_session *session, size_t begin, size_t end,
                   const int32_t *positions)
{
    llrt_input input;
    llrt_input_init(&input, sizeof input);
    input.tokens = f->text + begin;
    input.n_tok = end - begin;
    input.positions = positions ? positions + begin : NULL;
    input.n_position = 1;
    check(llrt_session_append_input(session, &input, &err));
}

static double difference(const float *a, const float *b)
{
    double most = 0, largest = 0;
    for (size_t i = 0; i < TINY_VOCAB; i++) {
        most = test_larger(most, fabs((double)a[i] - b[i]));
        largest = test_larger(largest, fabs((double)b[i]));
    }
    return most / largest;
}

static void assert_same_row(llrt_session *session, const float *expected)
{
    assert_memory_equal(last_logits(session), expected, TINY_VOCAB * sizeof *expected);
}

static void test_places_are_the_default(void **state)
{
    fixture *const f = *state;
    int32_t places[N_TEXT], three[3 * N_TEXT];
    for (int i = 0; i < N_TEXT; i++)
        places[i] = three[3 * i] = three[3 * i + 1] = three[3 * i + 2] = i;
    llrt_session *session = new_session(f->engine);
    append(f, session, 0, 80, places);
    assert_same_row(session, f->plain[79]);
    append(f, session, 80, 90, NULL);
    assert_same_row(session, f->plain[89]);
    llrt_session_free(session);
    session = new_session(f->engine);
    llrt_input input;
    llrt_input_init(&input, sizeof input);
    input.tokens = f->text;
    input.n_tok = 80;
    input.positions = three;
    input.n_position = 3;
    check(llrt_session_append_input(session, &input, &err));
    assert_same_row(session, f->plain[79]);
    llrt_session_free(session);
}

static void test_a_shifted_text_is_the_same(void **state)
{
    fixture *const f = *state;
    llrt_session *const session = new_session(f->engine);
    append(f, session, 0, 70, f->shifted);
    assert_memory_not_equal(last_logits(session), f->plain[69], sizeof f->plain[69]);
    assert_true(difference(last_logits(session), f->plain[69]) < 1e-3);
    append(f, session, 70, 75, NULL); /* goes on at SHIFT + 70 */
    assert_true(difference(last_logits(session), f->plain[74]) < 1e-3);
    llrt_session_free(session);
    /* Places, then a jump: not the same. */
    llrt_session *const jump = new_session(f->engine);
    append(f, jump, 0, 40, NULL);
    append(f, jump, 40, 41, f->shifted);
    assert_true(difference(last_logits(jump), f->plain[40]) > 1e-2);
    llrt_session_free(jump);
}

/* What the whole text gives with positions from 30 on. */
static void jump_logits(fixture *f, llrt_engine *engine, float *out)
{
    llrt_session *const session = new_session(engine);
    append(f, session, 0, 30, NULL);
    append(f, session, 30, 80, f->shifted);
    append(f, session, 80, N_TEXT, NULL);
    memcpy(out, last_logits(session), TINY_VOCAB * sizeof *out);
    llrt_session_free(session);
}

static void test_steps_change_no_bit(void **state)
{
    fixture *const f = *state;
    llrt_engine *const small = open_engine(f, 7);
    float a[TINY_VOCAB], b[TINY_VOCAB];
    jump_logits(f, f->engine, a);
    jump_logits(f, small, b);
    assert_memory_equal(a, b, sizeof a);
    llrt_engine_close(small);
}

static void test_company_changes_no_bit(void **state)
{
    fixture *const f = *state;
    float expected[TINY_VOCAB];
    llrt_step_entry entries[2];
    llrt_session *const jump = new_session(f->engine), *const plain = new_session(f->engine);
    jump_logits(f, f->engine, expected);
    append(f, jump, 0, 30, NULL);
    append(f, plain, 0, 10, NULL);
    for (int i = 0; i < 2; i++) llrt_step_entry_init(&entries[i], sizeof entries[i]);
    entries[0].session = plain;
    entries[0].input.tokens = f->text + 10;
    entries[0].input.n_tok = 20;
    entries[1].session = jump;
    entries[1].input.tokens = f->text + 30;
    entries[1].input.n_tok = 50;
    entries[1].input.positions = f->shifted + 30;
    entries[1].input.n_position = 1;
    check(llrt_engine_step(f->engine, entries, 2, sizeof entries[0], &err));
    assert_same_row(plain, f->plain[29]);
    append(f, jump, 80, N_TEXT, NULL);
    assert_same_row(jump, expected);
    llrt_session_free(plain);
    llrt_session_free(jump);
}

typedef struct bytes {
    uint8_t data[1 << 18];
    size_t n, at;
} bytes;

static llrt_status write_bytes(void *ctx, const void *data, size_t n, llrt_error *err)
{
    bytes *const b = ctx;
    (void)err;
    assert_true(b->n + n <= sizeof b->data);
    memcpy(b->data + b->n, data, n);
    b->n += n;
    return LLRT_OK;
}

static llrt_status read_bytes(void *ctx, void *data, size_t n, llrt_error *err)
{
    bytes *const b = ctx;
    (void)err;
    assert_true(b->at + n <= b->n);
    memcpy(data, b->data + b->at, n);
    b->at += n;
    return LLRT_OK;
}

static void test_positions_are_kept(void **state)
{
    fixture *const f = *state;
    static bytes saved;
    float expected[TINY_VOCAB];
    llrt_session *const session = new_session(f->engine), *fork = NULL;
    llrt_session *const loaded = new_session(f->engine);
    jump_logits(f, f->engine, expected);
    append(f, session, 0, 30, NULL);
    append(f, session, 30, 80, f->shifted);
    append(f, session, 80, 90, NULL);
    check(llrt_session_fork(session, &fork, &err));
    saved.n = saved.at = 0;
    check(llrt_session_save_to(session, write_bytes, &saved, &err));
    check(llrt_session_load_from(loaded, read_bytes, &saved, &err));
    /* Back into the part that went on by itself, and into the given one. */
    check(llrt_session_rewind(session, 85, &err));
    append(f, session, 85, N_TEXT, NULL);
    assert_same_row(session, expected);
    check(llrt_session_rewind(session, 60, &err));
    append(f, session, 60, N_TEXT, NULL);
    assert_same_row(session, expected);
    append(f, fork, 90, N_TEXT, NULL);
    assert_same_row(fork, expected);
    append(f, loaded, 90, N_TEXT, NULL);
    assert_same_row(loaded, expected);
    /* Before the given ones places count again. */
    check(llrt_session_rewind(session, 20, &err));
    append(f, session, 20, 70, NULL);
    assert_same_row(session, f->plain[69]);
    llrt_session_free(loaded);
    llrt_session_free(fork);
    llrt_session_free(session);
}

static void test_nothing_is_shared(void **state)
{
    fixture *const f = *state;
    llrt_session *const session = new_session(f->engine);
    uint64_t before = stats_of(f->engine).n_tok_reused;
    append(f, session, 0, N_TEXT, f->shifted);
    assert_int_equal(stats_of(f->engine).n_tok_reused, before);
    llrt_session_free(session);
    /* And sync does not take tokens for what they were not. */
    llrt_session *const other = new_session(f->engine);
    size_t n_reused = 0;
    append(f, other, 0, 20, NULL);
    append(f, other, 20, 60, f->shifted);
    check(llrt_session_sync(other, f->text, 60, LLRT_LOGITS_LAST, &n_reused, &err));
    assert_int_equal(n_reused, 20);
    assert_same_row(other, f->plain[59]);
    llrt_session_free(other);
}

/* Rows of embeddings in some order, all at one position, then a token. */
static void span_logits(fixture *f, const int *order, uint32_t is_bidirectional, float *out)
{
    float rows[N_SPAN * NET_D];
    int32_t positions[N_SPAN];
    llrt_input input;
    llrt_session *const session = new_session(f->engine);
    for (int i = 0; i < N_SPAN; i++) {
        positions[i] = 5;
        memcpy(rows + i * NET_D, f->model.weight[0].data + f->text[20 + order[i]] * NET_D,
               NET_D * sizeof *rows);
    }
    append(f, session, 0, 5, NULL);
    llrt_input_init(&input, sizeof input);
    input.embeddings = rows;
    input.n_tok = N_SPAN;
    input.positions = positions;
    input.n_position = 1;
    input.is_bidirectional = is_bidirectional;
    input.logits = LLRT_LOGITS_NONE;
    check(llrt_session_append_input(session, &input, &err));
    assert_int_equal(llrt_session_tokens(session)[5], -1);
    append(f, session, 50, 51, NULL);
    memcpy(out, last_logits(session), TINY_VOCAB * sizeof *out);
    llrt_session_free(session);
}

static void test_order_means_nothing_in_a_span(void **state)
{
    fixture *const f = *state;
    static const int order[2][N_SPAN] = {{0, 1, 2, 3, 4, 5, 6, 7, 8}, {7, 3, 8, 0, 5, 1, 6, 4, 2}};
    float logits[2][2][TINY_VOCAB];
    for (uint32_t i = 0; i < 2; i++)
        for (uint32_t k = 0; k < 2; k++) span_logits(f, order[k], i, logits[i][k]);
    assert_true(difference(logits[0][0], logits[0][1]) > 1e-3); /* causal */
    assert_true(difference(logits[1][0], logits[1][1]) < 1e-5); /* bidirectional */
    assert_true(difference(logits[0][0], logits[1][0]) > 1e-3);
}

static void expect_refusal(fixture *f, const llrt_input *input, const char *field)
{
    llrt_session *const session = new_session(f->engine);
    llrt_error e = LLRT_ERROR_INIT;
    assert_int_equal(llrt_session_append_input(session, input, &e), LLRT_ERR_ARGUMENT);
    assert_string_equal(e.field, field);
    assert_int_equal(llrt_session_n_tok(session), 0);
    check(llrt_session_append(session, f->text, 70, LLRT_LOGITS_LAST, &err));
    assert_same_row(session, f->plain[69]);
    llrt_session_free(session);
}

static void test_bad_inputs_are_refused(void **state)
{
    fixture *const f = *state;
    llrt_input input;
    uint8_t types[N_TEXT] = {0};
    int32_t bad[N_TEXT] = {0, -1}, large[N_TEXT] = {1 << 30}, many[200];
    make_text(3, many, 200, TINY_VOCAB);
    llrt_input_init(&input, sizeof input);
    input.tokens = f->text;
    input.n_tok = 10;
    input.positions = f->shifted;
    input.n_position = 2;
    expect_refusal(f, &input, "n_position");
    input.n_position = 1;
    input.positions = bad;
    expect_refusal(f, &input, "positions");
    input.positions = large;
    expect_refusal(f, &input, "positions");
    input.positions = NULL;
    input.token_types = types;
    expect_refusal(f, &input, "token_types");
    input.token_types = NULL;
    input.is_bidirectional = 2;
    expect_refusal(f, &input, "is_bidirectional");
    input.is_bidirectional = 1;
    input.tokens = many;
    input.n_tok = 129;
    expect_refusal(f, &input, "n_step_tok");
    input.n_tok = 100;
    input.logits = LLRT_LOGITS_ALL;
    expect_refusal(f, &input, "n_step_out");
}

int main(void)
{
#define CASE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(test_places_are_the_default),
        CASE(test_a_shifted_text_is_the_same),
        CASE(test_steps_change_no_bit),
        CASE(test_company_changes_no_bit),
        CASE(test_positions_are_kept),
        CASE(test_nothing_is_shared),
        CASE(test_order_means_nothing_in_a_span),
        CASE(test_bad_inputs_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
