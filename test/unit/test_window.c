/* SPDX-License-Identifier: MIT */
/*
 * Models with windowed layers: sessions hold the window and a page or two, go back as far as that
 * and what is cached reaches, and give the same bits however little room there is.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "engine_support.h"
#include "session_walk.h"
#include "window.h"

/* All layers windowed, or every second; windows that do and do not end with pages. */
static const tiny_shape shapes[] = {{"llama", 70}, {"gemma2", 70}, {"llama", 128}, {"gemma2", 1}};
enum { N_SHAPE = sizeof shapes / sizeof shapes[0], N_TEXT = 400 };

static void test_random_walks(void **state)
{
    (void)state;
    static const llrt_placement cut[2] = {{"cpu", 1}, {"cpu", 2}};
    for (int k = 0; k < N_SHAPE; k++) {
        tiny_source tiny;
        walk w = {0};
        tiny_init_of(&tiny, &shapes[k], 30);
        llrt_engine *const alone = open_tiny(&tiny);
        assert_int_equal(alone->window, shapes[k].window);
        walk_make(&w, alone);
        for (int round = 0; round < 3; round++) {
            llrt_engine_options o = walk_options(&w, &tiny);
            o.kv_tok = round == 0 ? 6400 : 1500;
            if (round == 1) o.n_step_seq = 3;
            if (round == 2) {
                o.kv_window_tok = 64 * (llrti_window_most(shapes[k].window) + 3);
                o.placement = cut;
                o.n_placement = 2;
            }
            o.n_step_tok = round ? 50 + 64 * (uint32_t)round : 128;
            w.engine = open_tiny_with(&tiny, &o);
            w.seed = (uint64_t)(k * 10 + round);
            walk_run(&w, 1200);
            assert_true(w.n_done > 100 && w.n_back > 50 && w.n_cancelled > 5);
            assert_true((w.n_full > 0) == (round > 0));
            llrt_engine_close(w.engine);
        }
        walk_free(&w);
        tiny_free(&tiny);
    }
}

typedef struct fixture {
    tiny_source tiny;
    llrt_engine *engine;
    int32_t text[N_TEXT];
    float wanted[N_TEXT][TINY_VOCAB];
} fixture;

static int set_up(void **state)
{
    fixture *const f = malloc(sizeof *f);
    tiny_init_of(&f->tiny, &shapes[1], 31);
    f->engine = open_tiny(&f->tiny);
    make_text(1, f->text, N_TEXT, TINY_VOCAB);
    llrt_session *const s = new_session(f->engine);
    for (int i = 0; i < N_TEXT; i++) {
        check(llrt_session_append(s, f->text + i, 1, LLRT_LOGITS_LAST, &err));
        memcpy(f->wanted[i], last_logits(s), sizeof f->wanted[i]);
    }
    llrt_session_free(s);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    fixture *const f = *state;
    llrt_engine_close(f->engine);
    tiny_free(&f->tiny);
    free(f);
    return 0;
}

static void check_at(const fixture *f, llrt_session *s)
{
    assert_memory_equal(last_logits(s), f->wanted[llrt_session_n_tok(s) - 1], sizeof f->wanted[0]);
}

static void test_a_session_holds_the_window_and_a_page(void **state)
{
    const fixture *const f = *state;
    llrt_session *const s = new_session(f->engine);
    for (size_t i = 0; i < N_TEXT; i++) {
        check(llrt_session_append(s, f->text + i, 1, LLRT_LOGITS_NONE, &err));
        const size_t kept = 70 + LLRT_PAGE_TOK, n = i + 1;
        const size_t first = n > kept ? (n - kept) / LLRT_PAGE_TOK : 0;
        const uint64_t used = stats_of(f->engine).n_window_page_used;
        assert_int_equal(used, i / LLRT_PAGE_TOK + 1 - first);
        assert_true(used <= llrti_window_most(70));
        assert_int_equal(stats_of(f->engine).n_page_used, i / LLRT_PAGE_TOK + 1);
    }
    llrt_session *fork;
    const uint64_t used = stats_of(f->engine).n_window_page_used;
    check(llrt_session_fork(s, &fork, &err));
    assert_int_equal(stats_of(f->engine).n_window_page_used, used);
    llrt_session_free(s);
    assert_int_equal(stats_of(f->engine).n_window_page_used, used);
    llrt_session_free(fork);
    assert_int_equal(stats_of(f->engine).n_window_page_used, 0);
}

/* Without the index nothing but room keeps what is behind the window. */
static void test_going_back(void **state)
{
    const fixture *const f = *state;
    llrt_engine_options o = test_options(&f->tiny);
    o.kv_window_tok = 64 * 6; /* one session's, and a little */
    llrt_engine *const engine = open_tiny_with(&f->tiny, &o);
    llrt_session *const s = new_session(engine);
    check(llrt_session_append(s, f->text, N_TEXT, LLRT_LOGITS_LAST, &err));
    check_at(f, s);
    llrt_error e = LLRT_ERROR_INIT;
    char number[32];
    assert_int_equal(llrt_session_rewind(s, 100, &e), LLRT_ERR_STATE);
    assert_int_equal(llrt_session_n_tok(s), N_TEXT);
    check_at(f, s);
    /* 6 of 7 pages have their parts: page 0 went. */
    assert_int_equal(e.position, 64 + 70 - 1);
    snprintf(number, sizeof number, "%d", 64 + 70 - 1);
    assert_non_null(strstr(e.text, number));
    check_fails(LLRT_ERR_STATE, llrt_session_rewind(s, 64 + 70 - 2, &err));
    check(llrt_session_rewind(s, 64 + 70 - 1, &err));
    check(llrt_session_append(s, f->text + 133, 20, LLRT_LOGITS_LAST, &err));
    check_at(f, s);
    check(llrt_session_rewind(s, 0, &err));
    /* A page back is always possible. */
    for (size_t n = 0; n < N_TEXT; n += 40) {
        check(llrt_session_append(s, f->text + n, 40, LLRT_LOGITS_NONE, &err));
        const size_t to = n + 40 > LLRT_PAGE_TOK ? n + 40 - LLRT_PAGE_TOK : 0;
        check(llrt_session_rewind(s, to, &err));
        check(llrt_session_append(s, f->text + to, n + 40 - to, LLRT_LOGITS_LAST, &err));
        check_at(f, s);
    }
    /* sync goes back as far as it must. */
    size_t reused;
    int32_t other[150];
    make_text(9, other, 150, TINY_VOCAB);
    memcpy(other, f->text, 120 * sizeof *other);
    check(llrt_session_sync(s, other, 150, LLRT_LOGITS_LAST, &reused, &err));
    assert_true(reused <= 120);
    check(llrt_session_sync(s, f->text, 150, LLRT_LOGITS_LAST, &reused, &err));
    check_at(f, s);
    llrt_session_free(s);
    llrt_engine_close(engine);
}

/* Only ends of pages with their windows are offered: pages alone are found, but of no use. */
static void test_prefixes_need_their_windows(void **state)
{
    const fixture *const f = *state;
    llrt_engine_options o = test_options(&f->tiny);
    o.kv_window_tok = 64 * 6;
    llrt_engine *const engine = open_tiny_with(&f->tiny, &o);
    llrt_session *s = new_session(engine);
    check(llrt_session_append(s, f->text, 300, LLRT_LOGITS_LAST, &err));
    llrt_session_free(s);
    assert_int_equal(stats_of(engine).n_page_cached, 4);
    assert_int_equal(stats_of(engine).n_window_page_cached, 4);
    s = new_session(engine);
    check(llrt_session_append(s, f->text, 300, LLRT_LOGITS_LAST, &err));
    check_at(f, s);
    assert_int_equal(stats_of(engine).n_tok_reused, 256);
    llrt_session_free(s);
    /* Another text takes all parts but the newest. */
    int32_t other[300];
    make_text(77, other, 300, TINY_VOCAB);
    s = new_session(engine);
    check(llrt_session_append(s, other, 300, LLRT_LOGITS_NONE, &err));
    llrt_session_free(s);
    s = new_session(engine);
    const uint64_t before = stats_of(engine).n_tok_reused;
    check(llrt_session_append(s, f->text, 300, LLRT_LOGITS_LAST, &err));
    check_at(f, s);
    assert_true(stats_of(engine).n_tok_reused - before < 256);
    llrt_session_free(s);
    llrt_engine_close(engine);
}

static void test_full_pool_of_windows(void **state)
{
    const fixture *const f = *state;
    enum { N = 8 };
    llrt_engine_options o = test_options(&f->tiny);
    llrt_session *s[N];
    int n_full = 0;
    o.kv_tok = 64 * 100;
    o.kv_window_tok = 64 * 13;
    llrt_engine *const engine = open_tiny_with(&f->tiny, &o);
    for (int i = 0; i < N; i++) {
        llrt_session_options so;
        llrt_session_options_init(&so, sizeof so);
        so.salt = (uint64_t)i + 1;
        check(llrt_session_create(engine, &so, &s[i], &err));
        const llrt_status status = llrt_session_append(s[i], f->text, 300, LLRT_LOGITS_LAST, NULL);
        n_full += status == LLRT_ERR_POOL_FULL;
        assert_int_equal(llrt_session_n_tok(s[i]), status == LLRT_OK ? 300 : 0);
        if (status == LLRT_OK) check_at(f, s[i]);
    }
    assert_true(n_full > 0 && n_full < N - 1);
    llrt_session_free(s[0]);
    check(llrt_session_append(s[N - 1], f->text, 300, LLRT_LOGITS_LAST, &err));
    check_at(f, s[N - 1]);
    for (int i = 1; i < N; i++) llrt_session_free(s[i]);
    llrt_engine_close(engine);
    o.kv_window_tok = 64 * 4;
    llrt_error e = LLRT_ERROR_INIT;
    llrt_engine *none;
    assert_int_equal(llrt_engine_open("tiny.gguf", &o, &none, &e), LLRT_ERR_ARGUMENT);
    assert_string_equal(e.field, "kv_window_tok");
}

/* Sixteen forks in one step, each copying its last page: what the defaults have room for. */
static void test_forks_in_one_step(void **state)
{
    const fixture *const f = *state;
    enum { N = 16 };
    llrt_step_entry e[N];
    llrt_engine_options o = test_options(&f->tiny);
    o.kv_tok = 64 * 1000;
    llrt_engine *const engine = open_tiny_with(&f->tiny, &o);
    llrt_session *const origin = new_session(engine), *s[N];
    check(llrt_session_append(origin, f->text, 340, LLRT_LOGITS_NONE, &err));
    for (int i = 0; i < N; i++) check(llrt_session_fork(origin, &s[i], &err));
    llrt_session_free(origin);
    for (size_t at = 340; at < N_TEXT; at++) {
        for (int i = 0; i < N; i++) {
            llrt_step_entry_init(&e[i], sizeof e[i]);
            e[i].session = s[i];
            e[i].input.tokens = f->text + at;
            e[i].input.n_tok = 1;
        }
        check(llrt_engine_step(engine, e, N, sizeof e[0], &err));
        for (int i = 0; i < N; i++) check_at(f, s[i]);
    }
    for (int i = 0; i < N; i++) llrt_session_free(s[i]);
    llrt_engine_close(engine);
}

static void test_opening_survives_failing_allocations(void **state)
{
    const fixture *const f = *state;
    class_heap heap;
    llrt_status status = LLRT_ERR_NOMEM;
    size_t n = 0;
    for (n = 1; status != LLRT_OK && n < 200; n++) {
        const llrt_allocator hooks = class_hooks(&heap);
        llrt_engine_options o = test_options(&f->tiny);
        llrt_engine *engine = NULL;
        o.allocator = &hooks;
        atomic_store(&heap.fail_at, n);
        status = llrt_engine_open("tiny.gguf", &o, &engine, NULL);
        assert_true(status == LLRT_OK || status == LLRT_ERR_NOMEM);
        llrt_engine_close(engine);
        assert_int_equal(atomic_load(&heap.n_live), 0);
    }
    assert_int_equal(status, LLRT_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_walks),
        cmocka_unit_test(test_a_session_holds_the_window_and_a_page),
        cmocka_unit_test(test_going_back),
        cmocka_unit_test(test_prefixes_need_their_windows),
        cmocka_unit_test(test_full_pool_of_windows),
        cmocka_unit_test(test_forks_in_one_step),
        cmocka_unit_test(test_opening_survives_failing_allocations),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
