/* SPDX-License-Identifier: MIT */
/*
 * Saved sessions: they go on with the same bits, in another engine, process or cut of the model; what
 * does not fit is named; damage anywhere is noticed and changes nothing.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "engine_support.h"
#include "hash.h"
#include "memory_stream.h"
#include "window.h"

#if !defined(_WIN32)
#include <sys/wait.h>
#include <unistd.h>
#endif

typedef struct fixture {
    tiny_source tiny;
    llrt_engine *engine;
    int32_t text[200];
    float wanted[TINY_VOCAB]; /* after 150 tokens and one more */
    memory_stream saved;      /* after 150 */
} fixture;

static int set_up_of(void **state, const char *architecture, uint32_t window)
{
    const tiny_shape shape = {architecture, window};
    fixture *const f = calloc(1, sizeof *f);
    tiny_init_of(&f->tiny, &shape, 12);
    f->engine = open_tiny(&f->tiny);
    make_text(1, f->text, 200, TINY_VOCAB);
    llrt_session *const s = new_session(f->engine);
    check(llrt_session_append(s, f->text, 150, LLRT_LOGITS_NONE, &err));
    check(llrt_session_save_to(s, write_memory, &f->saved, &err));
    check(llrt_session_append(s, f->text + 150, 1, LLRT_LOGITS_LAST, &err));
    memcpy(f->wanted, last_logits(s), sizeof f->wanted);
    llrt_session_free(s);
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
    free(f->saved.data);
    free(f);
    return 0;
}

static void assert_goes_on(const fixture *f, llrt_session *s)
{
    assert_int_equal(llrt_session_n_tok(s), 150);
    assert_memory_equal(llrt_session_tokens(s), f->text, 150 * sizeof *f->text);
    check(llrt_session_append(s, f->text + 150, 1, LLRT_LOGITS_LAST, &err));
    assert_memory_equal(last_logits(s), f->wanted, sizeof f->wanted);
}

static void test_load_goes_on_with_the_same_bits(void **state)
{
    fixture *const f = *state;
    llrt_session *const s = new_session(f->engine);
    check(llrt_session_append(s, f->text + 50, 90, LLRT_LOGITS_LAST, &err));
    f->saved.at = 0;
    check(llrt_session_load_from(s, read_memory, &f->saved, &err));
    assert_int_equal(f->saved.at, f->saved.n);
    const float *row;
    check_fails(LLRT_ERR_STATE, llrt_session_logits(s, -1, &row, &err));
    assert_goes_on(f, s);
    /* Saving again gives the same bytes. */
    memory_stream again = {0};
    check(llrt_session_rewind(s, 150, &err));
    check(llrt_session_save_to(s, write_memory, &again, &err));
    assert_int_equal(again.n, f->saved.n);
    assert_memory_equal(again.data, f->saved.data, again.n);
    free(again.data);
    llrt_session_free(s);
    assert_int_equal(stats_of(f->engine).n_page_used, 0);
}

/* Header, tokens, pages, of windowed layers those in reach, a state and the one at the last page's end, a hash. */
static void test_what_is_saved(void **state)
{
    fixture *const f = *state;
    const uint64_t first = f->engine->window ? llrti_window_keep_from(f->engine, 150) : 0;
    llrt_model_info info = {.struct_size = sizeof info};
    check(llrt_engine_info(f->engine, &info, &err));
    assert_int_equal(f->saved.n, 96 + 150 * (4 + info.n_kv_byte - info.n_kv_window_byte) +
                                     (150 - 64 * first) * info.n_kv_window_byte +
                                     2 * info.n_state_byte + 16);
}

static void test_going_back_after_loading(void **state)
{
    fixture *const f = *state;
    for (size_t to = 128; to < 150; to += 4) {
        llrt_session *const s = new_session(f->engine);
        f->saved.at = 0;
        check(llrt_session_load_from(s, read_memory, &f->saved, &err));
        check(llrt_session_rewind(s, to, &err));
        assert_int_equal(llrt_session_n_tok(s), to);
        check(llrt_session_append(s, f->text + to, 150 - to, LLRT_LOGITS_NONE, &err));
        assert_goes_on(f, s);
        llrt_session_free(s);
    }
}

static void test_older_version_is_refused_by_name(void **state)
{
    fixture *const f = *state;
    memory_stream m = {.data = malloc(f->saved.n), .n = f->saved.n};
    llrt_session *const s = new_session(f->engine);
    llrt_error e = LLRT_ERROR_INIT;
    memcpy(m.data, f->saved.data, m.n);
    m.data[8] = 1;
    assert_int_equal(llrt_session_load_from(s, read_memory, &m, &e), LLRT_ERR_MISMATCH);
    assert_string_equal(e.field, "version");
    assert_non_null(strstr(e.text, "version 1"));
    assert_non_null(strstr(e.text, "version 2"));
    llrt_session_free(s);
    free(m.data);
}

static void test_every_kv_type_and_cut(void **state)
{
    fixture *const f = *state;
    static const llrt_type types[] = {LLRT_TYPE_F32, LLRT_TYPE_F16, LLRT_TYPE_BF16, LLRT_TYPE_Q8_0};
    const llrt_placement cut[2] = {{"cpu", 1}, {"cpu", 2}};
    for (int i = 0; i < 4; i++) {
        llrt_engine_options o = test_options(&f->tiny);
        memory_stream m = {0};
        float wanted[TINY_VOCAB];
        o.kv_type = types[i];
        llrt_engine *const whole = open_tiny_with(&f->tiny, &o);
        o.placement = cut;
        o.n_placement = 2;
        o.n_thread = 1;
        llrt_engine *const staged = open_tiny_with(&f->tiny, &o);
        llrt_session *const a = new_session(whole), *const b = new_session(staged);
        check(llrt_session_append(a, f->text, 100, LLRT_LOGITS_NONE, &err));
        check(llrt_session_save_to(a, write_memory, &m, &err));
        check(llrt_session_append(a, f->text + 100, 20, LLRT_LOGITS_LAST, &err));
        memcpy(wanted, last_logits(a), sizeof wanted);
        check(llrt_session_load_from(b, read_memory, &m, &err));
        check(llrt_session_append(b, f->text + 100, 20, LLRT_LOGITS_LAST, &err));
        assert_memory_equal(wanted, last_logits(b), sizeof wanted);
        if (types[i] != LLRT_TYPE_F32) {
            llrt_session *const other = new_session(f->engine);
            m.at = 0;
            check_fails(LLRT_ERR_MISMATCH, llrt_session_load_from(other, read_memory, &m, &err));
            llrt_session_free(other);
        }
        llrt_session_free(a);
        llrt_session_free(b);
        llrt_engine_close(whole);
        llrt_engine_close(staged);
        free(m.data);
    }
}

static void test_across_processes(void **state)
{
#if defined(_WIN32)
    (void)state;
    skip();
#else
    fixture *const f = *state;
    char path[] = "/tmp/llrt-test-session-XXXXXX";
    const int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    const pid_t child = fork();
    if (child == 0) { /* an engine of its own, nothing of the parent's */
        llrt_engine *engine;
        llrt_session *s;
        const llrt_engine_options o = test_options(&f->tiny);
        int bad = llrt_engine_open("tiny.gguf", &o, &engine, NULL) != LLRT_OK ||
                  llrt_session_create(engine, NULL, &s, NULL) != LLRT_OK ||
                  llrt_session_append(s, f->text, 150, LLRT_LOGITS_NONE, NULL) != LLRT_OK ||
                  llrt_session_save(s, path, NULL) != LLRT_OK;
        _exit(bad);
    }
    int result = -1;
    assert_true(child > 0 && waitpid(child, &result, 0) == child);
    assert_int_equal(result, 0);
    llrt_session *const s = new_session(f->engine);
    check(llrt_session_load(s, path, &err));
    assert_goes_on(f, s);
    assert_int_equal(truncate(path, (off_t)f->saved.n - 5), 0);
    llrt_error e = LLRT_ERROR_INIT;
    assert_int_equal(llrt_session_load(s, path, &e), LLRT_ERR_FORMAT);
    assert_string_equal(e.file, path);
    assert_int_equal(llrt_session_n_tok(s), 151);
    unlink(path);
    check_fails(LLRT_ERR_NOT_FOUND, llrt_session_load(s, path, &err));
    check_fails(LLRT_ERR_NOT_FOUND, llrt_session_save(s, "/nonexistent/folder/file", &err));
    llrt_session_free(s);
#endif
}

static void test_what_does_not_fit_is_named(void **state)
{
    fixture *const f = *state;
    llrt_error e = LLRT_ERROR_INIT;
    tiny_source tiny;
    tiny_init(&tiny, 13);
    llrt_engine *const other = open_tiny(&tiny);
    llrt_session *const s = new_session(other);
    f->saved.at = 0;
    assert_int_equal(llrt_session_load_from(s, read_memory, &f->saved, &e), LLRT_ERR_MISMATCH);
    assert_string_equal(e.field, "fingerprint");
    llrt_session_free(s);
    llrt_engine_close(other);
    tiny_free(&tiny);
    llrt_session_options o;
    llrt_session *small;
    llrt_session_options_init(&o, sizeof o);
    o.n_ctx = 149;
    check(llrt_session_create(f->engine, &o, &small, &err));
    f->saved.at = 0;
    check_fails(LLRT_ERR_CONTEXT_FULL, llrt_session_load_from(small, read_memory, &f->saved, &err));
    llrt_session_free(small);
    /* A pool that has no room for it. */
    llrt_engine_options eo = test_options(&f->tiny);
    eo.kv_tok = 128;
    llrt_engine *const engine = open_tiny_with(&f->tiny, &eo);
    llrt_session *const t = new_session(engine);
    check(llrt_session_append(t, f->text, 20, LLRT_LOGITS_LAST, &err));
    f->saved.at = 0;
    check_fails(LLRT_ERR_POOL_FULL, llrt_session_load_from(t, read_memory, &f->saved, &err));
    assert_int_equal(llrt_session_n_tok(t), 20);
    assert_int_equal(llrt_session_n_logits(t), 1);
    llrt_session_free(t);
    llrt_engine_close(engine);
}

static void test_damage_is_noticed(void **state)
{
    fixture *const f = *state;
    memory_stream m = {.data = malloc(f->saved.n), .n = f->saved.n};
    float kept[TINY_VOCAB];
    llrt_session *const s = new_session(f->engine);
    check(llrt_session_append(s, f->text, 30, LLRT_LOGITS_LAST, &err));
    memcpy(kept, last_logits(s), sizeof kept);
    const uint64_t used = stats_of(f->engine).n_page_used;
    for (size_t at = 0; at < m.n; at += at < 800 ? 1 : 97) {
        memcpy(m.data, f->saved.data, m.n);
        m.data[at] ^= (uint8_t)(1u << at % 8);
        m.at = 0;
        const llrt_status status = llrt_session_load_from(s, read_memory, &m, NULL);
        assert_true(status == LLRT_ERR_FORMAT ||
                    (status == LLRT_ERR_MISMATCH && at >= 8 && at < 12));
        assert_int_equal(llrt_session_n_tok(s), 30);
    }
    memcpy(m.data, f->saved.data, m.n);
    for (size_t n = 0; n < f->saved.n; n += n < 800 ? 1 : 97) {
        m.at = 0;
        m.n = n;
        assert_int_equal(llrt_session_load_from(s, read_memory, &m, NULL), LLRT_ERR_FORMAT);
    }
    assert_memory_equal(kept, last_logits(s), sizeof kept);
    assert_int_equal(stats_of(f->engine).n_page_used, used);
    check(llrt_session_append(s, f->text + 30, 120, LLRT_LOGITS_NONE, &err));
    assert_goes_on(f, s);
    llrt_session_free(s);
    free(m.data);
}

/* A header that is wrong although its hash is right: what another program could write. */
static void test_header_fields_are_checked(void **state)
{
    enum { HASH_AT = 80 };
    static const struct {
        size_t at;
        const char *field;
        llrt_status status;
    } cases[] = {
        {12, "page", LLRT_ERR_MISMATCH},        {16, "kv_type", LLRT_ERR_MISMATCH},
        {20, "parts", LLRT_ERR_FORMAT},         {32, "page", LLRT_ERR_MISMATCH},
        {40, "page", LLRT_ERR_MISMATCH},        {48, "state", LLRT_ERR_MISMATCH},
        {56, "window_begin", LLRT_ERR_FORMAT},  {62, "n_described", LLRT_ERR_FORMAT},
        {64, "fingerprint", LLRT_ERR_MISMATCH},
    };
    fixture *const f = *state;
    memory_stream m = {.data = malloc(f->saved.n), .n = f->saved.n};
    llrt_session *const s = new_session(f->engine);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        llrt_error e = LLRT_ERROR_INIT;
        memcpy(m.data, f->saved.data, m.n);
        m.data[cases[i].at] ^= 0x41;
        llrti_hash_store(llrti_hash_bytes(m.data, HASH_AT, UINT64_C(0x53455353)), m.data + HASH_AT);
        m.at = 0;
        assert_int_equal(llrt_session_load_from(s, read_memory, &m, &e), cases[i].status);
        assert_string_equal(e.field, cases[i].field);
        assert_true(e.text[0] != 0);
        assert_int_equal(llrt_session_n_tok(s), 0);
    }
    llrt_session_free(s);
    free(m.data);
}

static void test_failing_writes_and_allocations(void **state)
{
    fixture *const f = *state;
    class_heap heap;
    const llrt_allocator hooks = class_hooks(&heap);
    llrt_engine_options o = test_options(&f->tiny);
    o.allocator = &hooks;
    llrt_engine *const engine = open_tiny_with(&f->tiny, &o);
    llrt_session *const s = new_session(engine);
    check(llrt_session_append(s, f->text, 150, LLRT_LOGITS_NONE, &err));
    memory_stream m = {0};
    for (m.fail_at = 1; m.fail_at < f->saved.n; m.fail_at += 501) {
        m.n = 0;
        check_fails(LLRT_ERR_IO, llrt_session_save_to(s, write_memory, &m, &err));
    }
    m.fail_at = 0;
    const size_t floor = atomic_load(&heap.n_live);
    size_t n[2] = {1, 1};
    for (int load = 0; load < 2; load++) {
        llrt_status status = LLRT_ERR_NOMEM;
        for (; status != LLRT_OK && n[load] < 50; n[load]++) {
            m.n = load ? m.n : 0;
            m.at = 0;
            atomic_store(&heap.n_call, 0);
            atomic_store(&heap.fail_at, n[load]);
            status = load ? llrt_session_load_from(s, read_memory, &m, NULL)
                          : llrt_session_save_to(s, write_memory, &m, NULL);
            atomic_store(&heap.fail_at, 0);
            assert_true(status == LLRT_OK || status == LLRT_ERR_NOMEM);
            assert_int_equal(atomic_load(&heap.n_live), floor);
            assert_int_equal(llrt_session_n_tok(s), 150);
        }
        assert_int_equal(status, LLRT_OK);
    }
    assert_true(n[0] > 2 && n[1] > 4);
    assert_goes_on(f, s);
    llrt_session_free(s);
    llrt_engine_close(engine);
    free(m.data);
}

static void test_embedding_rows_are_kept(void **state)
{
    fixture *const f = *state;
    float rows[2 * 28];
    llrt_input input;
    memory_stream m = {0};
    for (int i = 0; i < 2 * 28; i++) rows[i] = 0.01f * (float)(i - 20);
    llrt_input_init(&input, sizeof input);
    input.embeddings = rows;
    input.n_tok = 2;
    llrt_session *const a = new_session(f->engine), *const b = new_session(f->engine);
    check(llrt_session_append(a, f->text, 3, LLRT_LOGITS_NONE, &err));
    check(llrt_session_append_input(a, &input, &err));
    check(llrt_session_save_to(a, write_memory, &m, &err));
    check(llrt_session_load_from(b, read_memory, &m, &err));
    assert_int_equal(llrt_session_tokens(b)[2], f->text[2]);
    assert_int_equal(llrt_session_tokens(b)[3], -1);
    check(llrt_session_append(a, f->text, 100, LLRT_LOGITS_LAST, &err));
    check(llrt_session_append(b, f->text, 100, LLRT_LOGITS_LAST, &err));
    assert_memory_equal(last_logits(a), last_logits(b), sizeof f->wanted);
    llrt_session_free(a);
    llrt_session_free(b);
    free(m.data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_load_goes_on_with_the_same_bits),
        cmocka_unit_test(test_what_is_saved),
        cmocka_unit_test(test_going_back_after_loading),
        cmocka_unit_test(test_older_version_is_refused_by_name),
        cmocka_unit_test(test_every_kv_type_and_cut),
        cmocka_unit_test(test_across_processes),
        cmocka_unit_test(test_what_does_not_fit_is_named),
        cmocka_unit_test(test_damage_is_noticed),
        cmocka_unit_test(test_header_fields_are_checked),
        cmocka_unit_test(test_failing_writes_and_allocations),
        cmocka_unit_test(test_embedding_rows_are_kept),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down) +
           cmocka_run_group_tests_name("windowed", tests, set_up_windowed, tear_down) +
           cmocka_run_group_tests_name("recurrent", tests, set_up_recurrent, tear_down);
}
