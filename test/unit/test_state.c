/* SPDX-License-Identifier: MIT */
/*
 * Models with recurrent layers: to their users sessions of them are like any other; they go back to
 * the last snapshot and compute at most a page again, and give the same bits however little room
 * there is.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "engine_support.h"
#include "session_walk.h"
#include "state.h"

enum { N_TEXT = 300 };

/* With much room, little of everything, few snapshots, and cut in two. */
static void walk_rounds(const char *path, const tiny_source *tiny, uint32_t n_layer)
{
    walk w = {0};
    llrt_engine *engine;
    llrt_engine_options o = test_options(tiny);
    const llrt_placement cut[2] = {{"cpu", 1}, {"cpu", n_layer - 1}};
    o.n_ctx = TINY_CTX;
    check(llrt_engine_open(path, &o, &engine, &err));
    walk_make(&w, engine);
    for (int round = 0; round < 4; round++) {
        o = walk_options(&w, tiny);
        o.n_ctx = TINY_CTX;
        o.kv_tok = round == 0 ? 6400 : 1500;
        o.n_step_tok = round ? 50 + 64 * (uint32_t)round : 128;
        if (round == 1) o.n_step_seq = 3;
        if (round == 2) o.n_snapshot = 3, o.n_step_seq = 4;
        if (round == 3) {
            o.n_snapshot = 9;
            o.placement = cut;
            o.n_placement = 2;
        }
        check(llrt_engine_open(path, &o, &w.engine, &err));
        w.seed = (uint64_t)round;
        walk_run(&w, 1200);
        assert_true(w.n_done > 100 && w.n_back > 100 && w.n_cancelled > 5);
        if (round == 2) assert_true(w.n_full > 20 && stats_of(w.engine).n_state_evicted > 50);
        llrt_engine_close(w.engine);
    }
    walk_free(&w);
}

static void test_random_walks(void **state)
{
    (void)state;
    tiny_source tiny;
    const tiny_shape shape = {"mamba2", 0};
    tiny_init_of(&tiny, &shape, 30);
    walk_rounds("tiny.gguf", &tiny, 3);
    tiny_free(&tiny);
}

static void test_random_walks_of_a_hybrid(void **state)
{
    (void)state;
    char path[512];
    const char *const data = test_data_folder();
    if (!data) skip();
    snprintf(path, sizeof path, "%s/numeric/architectures/qwen3_5", data);
    if (!llrti_path_is_dir(path)) skip();
    walk_rounds(path, NULL, 8);
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
    const tiny_shape shape = {"mamba2", 0};
    tiny_init_of(&f->tiny, &shape, 31);
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

/* One state of its own, or its last page's; the others are snapshots. */
static void test_what_a_session_holds(void **state)
{
    const fixture *const f = *state;
    llrt_model_info info = {.struct_size = sizeof info};
    check(llrt_engine_info(f->engine, &info, &err));
    assert_int_equal(info.n_kv_byte, 0);
    assert_int_equal(info.n_state_byte, 3 * 4 * ((4 - 1) * 44 + 4 * 5 * 6));
    llrt_session_options o;
    llrt_session *s, *fork;
    llrt_session_options_init(&o, sizeof o);
    o.salt = 5;
    check(llrt_session_create(f->engine, &o, &s, &err));
    const uint64_t before = stats_of(f->engine).n_state_cached;
    assert_int_equal(stats_of(f->engine).n_state_used, 0);
    for (size_t i = 0; i < 200; i++) {
        check(llrt_session_append(s, f->text + i, 1, LLRT_LOGITS_NONE, &err));
        const llrt_engine_stats stats = stats_of(f->engine);
        assert_int_equal(stats.n_state_used, 1);
        assert_int_equal(stats.n_state_cached - before, i / 64);
    }
    check(llrt_session_fork(s, &fork, &err));
    assert_int_equal(stats_of(f->engine).n_state_used, 1);
    check(llrt_session_append(fork, f->text + 200, 1, LLRT_LOGITS_LAST, &err));
    check_at(f, fork);
    assert_int_equal(stats_of(f->engine).n_state_used, 2);
    llrt_session_free(s);
    llrt_session_free(fork);
    assert_int_equal(stats_of(f->engine).n_state_used, 0);
}

static void test_going_back_computes_at_most_a_page(void **state)
{
    const fixture *const f = *state;
    llrt_session *const s = new_session(f->engine);
    for (size_t to = 0; to < N_TEXT; to += 7) {
        check(llrt_session_append(s, f->text + llrt_session_n_tok(s),
                                  N_TEXT - llrt_session_n_tok(s), LLRT_LOGITS_LAST, &err));
        check_at(f, s);
        const uint64_t before = stats_of(f->engine).n_tok_computed;
        check(llrt_session_rewind(s, to, &err));
        assert_int_equal(llrt_session_n_tok(s), to);
        assert_int_equal(stats_of(f->engine).n_tok_computed - before, to % LLRT_PAGE_TOK);
        /* Still the logits that were asked for. */
        assert_memory_equal(last_logits(s), f->wanted[N_TEXT - 1], sizeof f->wanted[0]);
        check(llrt_session_append(s, f->text + to, 1, LLRT_LOGITS_LAST, &err));
        check_at(f, s);
    }
    llrt_session_free(s);
}

/* What a rewind refuses leaves the session as it was; sync goes further back instead. */
static void test_snapshots_that_went(void **state)
{
    const fixture *const f = *state;
    llrt_engine_options o = test_options(&f->tiny);
    o.n_snapshot = 1;
    o.n_step_seq = 1;
    llrt_engine *const engine = open_tiny_with(&f->tiny, &o);
    assert_int_equal(stats_of(engine).n_state, 1 + 2 + 1);
    llrt_session *const s = new_session(engine);
    check(llrt_session_append(s, f->text, N_TEXT, LLRT_LOGITS_LAST, &err));
    llrt_error e = LLRT_ERROR_INIT;
    assert_int_equal(llrt_session_rewind(s, 70, &e), LLRT_ERR_STATE);
    assert_int_equal(e.position, 0);
    assert_int_equal(llrt_session_n_tok(s), N_TEXT);
    check_at(f, s);
    size_t reused;
    check(llrt_session_sync(s, f->text, 71, LLRT_LOGITS_LAST, &reused, &err));
    assert_int_equal(reused, 0);
    check_at(f, s);
    check(llrt_session_sync(s, f->text, 72, LLRT_LOGITS_LAST, &reused, &err));
    assert_int_equal(reused, 71);
    check_at(f, s);
    llrt_session_free(s);
    llrt_engine_close(engine);
}

/*
 * Generating goes on where it ended, also when the last token must be computed again from far back.
 */
static void test_generating_in_parts(void **state)
{
    const fixture *const f = *state;
    llrt_engine_options o = test_options(&f->tiny);
    llrt_generate_options g;
    llrt_sampler_options so;
    llrt_sampler_options_init(&so, sizeof so);
    so.temperature = 0;
    llrt_generate_options_init(&g, sizeof g);
    for (int round = 0; round < 2; round++) {
        if (round == 1) o.n_snapshot = 1, o.n_step_seq = 1;
        llrt_engine *const engine = open_tiny_with(&f->tiny, &o);
        llrt_session *const whole = new_session(engine), *parts;
        llrt_sampler *sampler;
        check(llrt_sampler_create(TINY_VOCAB, &so, &sampler, &err));
        g.prompt_tokens = f->text;
        g.n_prompt_token = 150;
        g.max_tok = 60;
        check(llrt_generate(whole, sampler, NULL, 0, &g, NULL, &err));
        assert_int_equal(llrt_session_n_tok(whole), 210);
        int32_t wanted[210];
        memcpy(wanted, llrt_session_tokens(whole), sizeof wanted);
        llrt_session_free(whole);
        parts = new_session(engine);
        for (int i = 0; i < 6; i++) {
            g.max_tok = 10;
            check(llrt_generate(parts, sampler, NULL, 0, &g, NULL, &err));
            g.n_prompt_token = 0;
        }
        assert_int_equal(llrt_session_n_tok(parts), 210);
        assert_memory_equal(llrt_session_tokens(parts), wanted, sizeof wanted);
        llrt_sampler_free(sampler);
        llrt_session_free(parts);
        llrt_engine_close(engine);
    }
}

static void test_embedding_rows_are_not_computed_again(void **state)
{
    const fixture *const f = *state;
    float rows[2 * 28] = {0.25f};
    llrt_input input;
    llrt_session *const s = new_session(f->engine);
    llrt_input_init(&input, sizeof input);
    input.embeddings = rows;
    input.n_tok = 2;
    check(llrt_session_append(s, f->text, 70, LLRT_LOGITS_NONE, &err));
    check(llrt_session_append_input(s, &input, &err));
    check(llrt_session_append(s, f->text, 80, LLRT_LOGITS_LAST, &err));
    llrt_error e = LLRT_ERROR_INIT;
    assert_int_equal(llrt_session_rewind(s, 100, &e), LLRT_ERR_STATE);
    assert_int_equal(e.position, 64);
    assert_int_equal(llrt_session_n_tok(s), 152);
    /* What follows them in other pages is, from positions that go on behind theirs. */
    check(llrt_session_rewind(s, 128, &err)); /* a snapshot, though the page is not indexed */
    float wanted[TINY_VOCAB];
    check(llrt_session_append(s, f->text, 30, LLRT_LOGITS_LAST, &err));
    memcpy(wanted, last_logits(s), sizeof wanted);
    check(llrt_session_rewind(s, 140, &err));
    check(llrt_session_append(s, f->text + 12, 18, LLRT_LOGITS_LAST, &err));
    assert_memory_equal(last_logits(s), wanted, sizeof wanted);
    check(llrt_session_rewind(s, 64, &err));
    check(llrt_session_append(s, f->text + 64, 20, LLRT_LOGITS_LAST, &err));
    check_at(f, s);
    check(llrt_session_rewind(s, 70, &err));
    llrt_session_free(s);
}

static void test_full_pool_of_states(void **state)
{
    const fixture *const f = *state;
    enum { N = 6 };
    llrt_engine_options o = test_options(&f->tiny);
    llrt_session *s[N];
    o.n_snapshot = 1;
    o.n_step_seq = 2; /* beside the snapshot 5 states: 4 sessions and one that moves */
    o.kv_tok = 64 * 100;
    llrt_engine *const engine = open_tiny_with(&f->tiny, &o);
    for (int i = 0; i < N; i++) {
        s[i] = new_session(engine);
        const llrt_status status = llrt_session_append(s[i], f->text, 30, LLRT_LOGITS_LAST, NULL);
        assert_int_equal(status, i < 4 ? LLRT_OK : LLRT_ERR_POOL_FULL);
        assert_int_equal(llrt_session_n_tok(s[i]), i < 4 ? 30 : 0);
        if (i < 4) check_at(f, s[i]);
    }
    llrt_session_free(s[1]);
    check(llrt_session_append(s[4], f->text, 60, LLRT_LOGITS_LAST, &err));
    check_at(f, s[4]);
    check(llrt_session_append(s[0], f->text + 30, 60, LLRT_LOGITS_LAST, &err));
    check_at(f, s[0]);
    /* Going back needs a state more while it computes. */
    check_fails(LLRT_ERR_POOL_FULL, llrt_session_rewind(s[4], 50, &err));
    assert_int_equal(llrt_session_n_tok(s[4]), 60);
    check_at(f, s[4]);
    check(llrt_session_append(s[4], f->text + 60, 1, LLRT_LOGITS_LAST, &err));
    check_at(f, s[4]);
    for (int i = 0; i < N; i++)
        if (i != 1) llrt_session_free(s[i]);
    assert_int_equal(stats_of(engine).n_state_used, 0);
    llrt_engine_close(engine);
}

static void test_opening_survives_failing_allocations(void **state)
{
    const fixture *const f = *state;
    class_heap heap;
    llrt_status status = LLRT_ERR_NOMEM;
    for (size_t n = 1; status != LLRT_OK && n < 300; n++) {
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
        cmocka_unit_test(test_random_walks_of_a_hybrid),
        cmocka_unit_test(test_what_a_session_holds),
        cmocka_unit_test(test_going_back_computes_at_most_a_page),
        cmocka_unit_test(test_snapshots_that_went),
        cmocka_unit_test(test_generating_in_parts),
        cmocka_unit_test(test_embedding_rows_are_not_computed_again),
        cmocka_unit_test(test_full_pool_of_states),
        cmocka_unit_test(test_opening_survives_failing_allocations),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
