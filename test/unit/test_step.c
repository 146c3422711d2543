/* SPDX-License-Identifier: MIT */
/*
 * Steps of several sessions: whoever computes together, the results are those of computing alone, bit for
 * bit; failing and cancelled entries leave the others alone; threads on their own sessions are merged.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "engine_support.h"

enum { N_SESSION = 8, N_TEXT = 160 };

typedef struct fixture {
    tiny_source tiny;
    llrt_engine *engine;
    int32_t text[N_SESSION][N_TEXT];
    float wanted[N_SESSION][N_TEXT][TINY_VOCAB]; /* logits after each token */
} fixture;

static llrt_session *salted_session(llrt_engine *engine, uint64_t salt)
{
    llrt_session_options o;
    llrt_session *s = NULL;
    llrt_session_options_init(&o, sizeof o);
    o.salt = salt;
    check(llrt_session_create(engine, &o, &s, &err));
    return s;
}

static int set_up_of(void **state, const char *architecture, uint32_t window)
{
    const tiny_shape shape = {architecture, window};
    fixture *const f = malloc(sizeof *f);
    tiny_init_of(&f->tiny, &shape, 9);
    llrt_engine_options o = test_options(&f->tiny);
    o.kv_tok = N_SESSION * 2 * (N_TEXT + 64);
    f->engine = open_tiny_with(&f->tiny, &o);
    for (uint64_t i = 0; i < N_SESSION; i++) {
        make_text(100 + i, f->text[i], N_TEXT, TINY_VOCAB);
        llrt_session *const s = salted_session(f->engine, 1000 + i);
        for (size_t k = 0; k < N_TEXT; k++) {
            check(llrt_session_append(s, &f->text[i][k], 1, LLRT_LOGITS_LAST, &err));
            memcpy(f->wanted[i][k], last_logits(s), sizeof f->wanted[i][k]);
        }
        llrt_session_free(s);
    }
    *state = f;
    return 0;
}

static int set_up(void **state)
{
    return set_up_of(state, "llama", 0);
}

static int set_up_windowed(void **state)
{
    return set_up_of(state, "gemma2", 33);
}

static int set_up_recurrent(void **state)
{
    return set_up_of(state, "mamba2", 0);
}

static int tear_down(void **state)
{
    fixture *const f = *state;
    llrt_engine_close(f->engine);
    tiny_free(&f->tiny);
    free(f);
    return 0;
}

static void test_mixed_entries_equal_single_calls(void **state)
{
    fixture *const f = *state;
    uint64_t seed = 3;
    for (int round = 0; round < 20; round++) {
        llrt_session *s[N_SESSION];
        size_t at[N_SESSION] = {0};
        for (uint64_t i = 0; i < N_SESSION; i++)
            s[i] = salted_session(f->engine, 5000 + (uint64_t)round * N_SESSION + i);
        for (bool is_left = true; is_left;) {
            llrt_step_entry entries[N_SESSION];
            uint32_t who[N_SESSION], n = 0;
            is_left = false;
            for (uint32_t i = 0; i < N_SESSION; i++) {
                if (at[i] == N_TEXT) continue;
                is_left = true;
                if (next_random(&seed) % 3 == 0) continue;
                size_t count = next_random(&seed) % 2 ? 1 : 1 + next_random(&seed) % 90;
                if (count > N_TEXT - at[i]) count = N_TEXT - at[i];
                llrt_step_entry_init(&entries[n], sizeof entries[n]);
                entries[n].session = s[i];
                entries[n].input.tokens = f->text[i] + at[i];
                entries[n].input.n_tok = count;
                at[i] += count;
                who[n++] = i;
            }
            check(llrt_engine_step(f->engine, entries, n, sizeof entries[0], &err));
            for (uint32_t k = 0; k < n; k++) {
                assert_int_equal(entries[k].status, LLRT_OK);
                assert_int_equal(entries[k].token, LLRT_TOKEN_NONE);
                assert_memory_equal(last_logits(s[who[k]]), f->wanted[who[k]][at[who[k]] - 1],
                                    sizeof f->wanted[0][0]);
            }
        }
        for (int i = 0; i < N_SESSION; i++) llrt_session_free(s[i]);
    }
}

static void test_failing_entries_leave_the_others_alone(void **state)
{
    fixture *const f = *state;
    llrt_step_entry e[5];
    const int32_t bad[2] = {3, -7};
    tiny_source tiny;
    tiny_init(&tiny, 10);
    llrt_engine *const other = open_tiny(&tiny);
    llrt_session *const stranger = new_session(other);
    llrt_session *s[4];
    for (int i = 0; i < 4; i++) s[i] = salted_session(f->engine, 7000 + (uint64_t)i);
    for (int i = 0; i < 5; i++) {
        llrt_step_entry_init(&e[i], sizeof e[i]);
        e[i].session = i < 4 ? s[i] : stranger;
        e[i].input.tokens = f->text[i];
        e[i].input.n_tok = 50;
    }
    e[1].input.tokens = bad;
    e[1].input.n_tok = 2;
    e[2].input.n_tok = TINY_CTX + 1;
    llrt_error found = LLRT_ERROR_INIT;
    assert_int_equal(llrt_engine_step(f->engine, e, 5, sizeof e[0], &found), LLRT_ERR_ARGUMENT);
    assert_int_equal(found.position, 1);
    assert_int_equal(e[0].status, LLRT_OK);
    assert_int_equal(e[1].status, LLRT_ERR_ARGUMENT);
    assert_int_equal(e[2].status, LLRT_ERR_CONTEXT_FULL);
    assert_int_equal(e[3].status, LLRT_OK);
    assert_int_equal(e[4].status, LLRT_ERR_ARGUMENT);
    assert_int_equal(llrt_session_n_tok(s[1]), 0);
    assert_int_equal(llrt_session_n_tok(s[2]), 0);
    assert_memory_equal(last_logits(s[0]), f->wanted[0][49], sizeof f->wanted[0][0]);
    assert_memory_equal(last_logits(s[3]), f->wanted[3][49], sizeof f->wanted[0][0]);
    check_fails(LLRT_ERR_ARGUMENT, llrt_engine_step(f->engine, e, 1, 8, &err));
    check(llrt_engine_step(f->engine, NULL, 0, sizeof e[0], &err));
    for (int i = 0; i < 4; i++) llrt_session_free(s[i]);
    llrt_session_free(stranger);
    llrt_engine_close(other);
    tiny_free(&tiny);
}

/* Samplers in a step give the tokens that sampling from the logits gives. */
static void test_samplers_in_a_step(void **state)
{
    fixture *const f = *state;
    for (int kind = 0; kind < 5; kind++) {
        llrt_sampler_options o;
        llrt_sampler *in_step, *alone;
        llrt_sampler_options_init(&o, sizeof o);
        o.seed = 17;
        if (kind == 0) o.temperature = 0;
        if (kind == 2)
            o.top_k = 0, o.top_p = 1, o.min_p = 0, o.temperature = 3; /* all candidates */
        if (kind == 3) o.repetition_penalty = 1.3f, o.frequency_penalty = 0.2f, o.n_logprobs = 5;
        if (kind == 4) o.mirostat = 2;
        check(llrt_sampler_create(TINY_VOCAB, &o, &in_step, &err));
        check(llrt_sampler_create(TINY_VOCAB, &o, &alone, &err));
        llrt_session *const a = salted_session(f->engine, 9000 + (uint64_t)kind);
        llrt_session *const b = salted_session(f->engine, 9100 + (uint64_t)kind);
        int32_t next = f->text[0][0], wanted;
        for (int i = 0; i < 100; i++) {
            llrt_step_entry e;
            const int32_t input = next;
            llrt_step_entry_init(&e, sizeof e);
            e.session = a;
            e.input.tokens = &input;
            e.input.n_tok = 1;
            e.input.logits = i % 2 ? LLRT_LOGITS_NONE : LLRT_LOGITS_LAST;
            e.sampler = in_step;
            check(llrt_engine_step(f->engine, &e, 1, sizeof e, &err));
            assert_int_equal(llrt_session_n_logits(a), i % 2 ? 0 : 1);
            check(llrt_session_append(b, &input, 1, LLRT_LOGITS_LAST, &err));
            check(llrt_sampler_sample(alone, last_logits(b), &wanted, &err));
            assert_int_equal(e.token, wanted);
            next = wanted;
        }
        llrt_session_free(a);
        llrt_session_free(b);
        llrt_sampler_free(in_step);
        llrt_sampler_free(alone);
    }
    llrt_sampler *wrong;
    check(llrt_sampler_create(TINY_VOCAB + 1, NULL, &wrong, &err));
    llrt_session *const s = salted_session(f->engine, 9200);
    llrt_step_entry e;
    llrt_step_entry_init(&e, sizeof e);
    e.session = s;
    e.input.tokens = f->text[0];
    e.input.n_tok = 1;
    e.sampler = wrong;
    check_fails(LLRT_ERR_ARGUMENT, llrt_engine_step(f->engine, &e, 1, sizeof e, &err));
    assert_int_equal(llrt_session_n_tok(s), 0);
    llrt_session_free(s);
    llrt_sampler_free(wrong);
}

/* ---- Threads ---- */

typedef struct runner {
    fixture *f;
    llrt_engine *engine;
    uint32_t index;
    int n_bad;
} runner;

/* Prompts, single tokens, rewinds, forks, saves; every result is compared with the one computed alone. */
static void run_session(void *arg)
{
    runner *const r = arg;
    const fixture *const f = r->f;
    uint64_t seed = r->index;
    llrt_session *s = NULL;
    if (llrt_session_create(r->engine, NULL, &s, NULL) != LLRT_OK) {
        r->n_bad++;
        return;
    }
    size_t at = 0;
    for (int i = 0; i < 60; i++) {
        const uint32_t what = next_random(&seed) % 8;
        if (what == 0 || at == N_TEXT) {
            at = next_random(&seed) % (at + 1);
            r->n_bad += llrt_session_rewind(s, at, NULL) != LLRT_OK;
        } else if (what == 1) {
            llrt_session *copy = NULL;
            if (llrt_session_fork(s, &copy, NULL) != LLRT_OK) {
                r->n_bad++;
                continue;
            }
            llrt_session_free(s);
            s = copy;
        } else {
            size_t n = what < 5 ? 1 : 1 + next_random(&seed) % 100;
            const float *row;
            if (n > N_TEXT - at) n = N_TEXT - at;
            r->n_bad += llrt_session_append(s, f->text[r->index] + at, n, LLRT_LOGITS_LAST, NULL) !=
                        LLRT_OK;
            at += n;
            if (llrt_session_logits(s, -1, &row, NULL) != LLRT_OK ||
                memcmp(row, f->wanted[r->index][at - 1], sizeof f->wanted[0][0]) != 0)
                r->n_bad++;
        }
    }
    llrt_session_free(s);
}

static void run_threads(fixture *f, llrt_engine *engine)
{
    llrti_thread thread[N_SESSION];
    runner r[N_SESSION];
    for (uint32_t i = 0; i < N_SESSION; i++) {
        r[i] = (runner){f, engine, i, 0};
        assert_true(llrti_thread_create(&thread[i], run_session, &r[i], "runner"));
    }
    for (uint32_t i = 0; i < N_SESSION; i++) llrti_thread_join(&thread[i]);
    for (uint32_t i = 0; i < N_SESSION; i++) assert_int_equal(r[i].n_bad, 0);
    assert_int_equal(stats_of(engine).n_page_used, 0);
}

static void test_eight_threads_on_eight_sessions(void **state)
{
    fixture *const f = *state;
    llrt_engine_options o = test_options(&f->tiny);
    o.kv_tok = N_SESSION * 2 * (N_TEXT + 64);
    o.kv_window_tok = N_SESSION * 5 * 64; /* also with fewer sessions in a step */
    for (int round = 0; round < 3; round++) {
        if (round == 1) o.n_step_seq = 3;
        if (round == 2) o.n_step_out = 2, o.n_step_tok = 50;
        llrt_engine *const engine = open_tiny_with(&f->tiny, &o);
        run_threads(f, engine);
        llrt_engine_close(engine);
    }
}

static void test_waiting_for_company_merges(void **state)
{
    fixture *const f = *state;
    llrt_engine_options o = test_options(&f->tiny);
    o.kv_tok = N_SESSION * 2 * (N_TEXT + 64);
    o.merge_delay_ns = 2000000;
    llrt_engine *const engine = open_tiny_with(&f->tiny, &o);
    run_threads(f, engine);
    const llrt_engine_stats stats = stats_of(engine);
    print_message("%llu rows in %llu steps\n", (unsigned long long)stats.n_tok_computed,
                  (unsigned long long)stats.n_step);
    llrt_engine_close(engine);
}

typedef struct cancelled_runner {
    llrt_session *session;
    const int32_t *text;
    size_t n;
    llrt_status status;
    atomic_int is_done;
} cancelled_runner;

static void append_long(void *arg)
{
    cancelled_runner *const r = arg;
    r->status = llrt_session_append(r->session, r->text, r->n, LLRT_LOGITS_LAST, NULL);
    atomic_store(&r->is_done, 1);
}

/*
 * Of two long prompts in the same steps one is cancelled; the other's result is untouched. Its thread may start late,
 * and cancelling has no effect before its call, so it is done until the call has returned.
 */
static void test_cancelling_one_of_two(void **state)
{
    fixture *const f = *state;
    enum { N = 6000 };
    llrt_engine_options o = test_options(&f->tiny);
    int32_t *const text = malloc(2 * N * sizeof *text);
    float wanted[TINY_VOCAB];
    make_text(500, text, 2 * N, TINY_VOCAB);
    o.n_ctx = N;
    o.n_step_tok = 32;
    llrt_engine *const engine = open_tiny_with(&f->tiny, &o);
    llrt_session *const alone = salted_session(engine, 1);
    check(llrt_session_append(alone, text, N, LLRT_LOGITS_LAST, &err));
    memcpy(wanted, last_logits(alone), sizeof wanted);
    llrt_session_free(alone);
    llrt_session *const a = salted_session(engine, 2), *const b = salted_session(engine, 3);
    cancelled_runner ra = {a, text, N, 0, 0}, rb = {b, text + N, N, 0, 0};
    llrti_thread ta, tb;
    const uint64_t before = stats_of(engine).n_step;
    assert_true(llrti_thread_create(&ta, append_long, &ra, "a"));
    assert_true(llrti_thread_create(&tb, append_long, &rb, "b"));
    while (stats_of(engine).n_step < before + 20) llrti_thread_yield();
    while (!atomic_load(&rb.is_done)) {
        llrt_session_cancel(b);
        llrti_thread_yield();
    }
    llrti_thread_join(&tb);
    llrti_thread_join(&ta);
    assert_int_equal(ra.status, LLRT_OK);
    assert_int_equal(rb.status, LLRT_ERR_CANCELLED);
    assert_true(llrt_session_n_tok(b) < N);
    assert_memory_equal(wanted, last_logits(a), sizeof wanted);
    llrt_session_free(a);
    llrt_session_free(b);
    llrt_engine_close(engine);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mixed_entries_equal_single_calls),
        cmocka_unit_test(test_failing_entries_leave_the_others_alone),
        cmocka_unit_test(test_samplers_in_a_step),
        cmocka_unit_test(test_eight_threads_on_eight_sessions),
        cmocka_unit_test(test_waiting_for_company_merges),
        cmocka_unit_test(test_cancelling_one_of_two),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down) +
           cmocka_run_group_tests_name("windowed", tests, set_up_windowed, tear_down) +
           cmocka_run_group_tests_name("recurrent", tests, set_up_recurrent, tear_down);
}
