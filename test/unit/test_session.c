/* SPDX-License-Identifier: MIT */
/*
 * Sessions: whatever way tokens get into one, the logits are those of a fresh session, bit for bit; failing
 * calls change nothing; decoding allocates nothing, neither through our hooks nor behind them (malloc
 * and mmap of the process are counted here).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "engine_support.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define IS_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) ||                         \
    __has_feature(memory_sanitizer)
#define IS_SANITIZED 1
#endif
#endif

#if defined(__GLIBC__) && !defined(IS_SANITIZED)
#define CAN_INTERPOSE 1
#include <errno.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

void *__libc_malloc(size_t n);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *ptr, size_t n);
void *__libc_memalign(size_t align, size_t n);

static atomic_size_t n_system_call;

void *malloc(size_t n)
{
    atomic_fetch_add(&n_system_call, 1);
    return __libc_malloc(n);
}

void *calloc(size_t n, size_t size)
{
    atomic_fetch_add(&n_system_call, 1);
    return __libc_calloc(n, size);
}

void *realloc(void *ptr, size_t n)
{
    atomic_fetch_add(&n_system_call, 1);
    return __libc_realloc(ptr, n);
}

int posix_memalign(void **out, size_t align, size_t n)
{
    atomic_fetch_add(&n_system_call, 1);
    *out = __libc_memalign(align, n);
    return *out ? 0 : ENOMEM;
}

void *aligned_alloc(size_t align, size_t n)
{
    atomic_fetch_add(&n_system_call, 1);
    return __libc_memalign(align, n);
}

void *mmap(void *at, size_t n, int protection, int flags, int fd, off_t offset)
{
    atomic_fetch_add(&n_system_call, 1);
    return (void *)syscall(SYS_mmap, at, n, protection, flags, fd, offset);
}
#endif

typedef struct fixture {
    tiny_source tiny;
    llrt_engine *engine;
} fixture;

static int set_up_of(void **state, const char *architecture, uint32_t window)
{
    const tiny_shape shape = {architecture, window};
    fixture *const f = malloc(sizeof *f);
    tiny_init_of(&f->tiny, &shape, 7);
    f->engine = open_tiny(&f->tiny);
    *state = f;
    return 0;
}

static int set_up(void **state)
{
    return set_up_of(state, "llama", 0);
}

static int set_up_recurrent(void **state)
{
    return set_up_of(state, "mamba2", 0);
}

static int set_up_windowed(void **state)
{
    return set_up_of(state, "gemma2", 70);
}

static int tear_down(void **state)
{
    fixture *const f = *state;
    llrt_engine_close(f->engine);
    tiny_free(&f->tiny);
    free(f);
    return 0;
}

/* Logits of the last token, by a session that shares nothing with others. */
static void fresh_logits(llrt_engine *engine, const int32_t *tokens, size_t n, float *out)
{
    static uint64_t salt = 1000;
    llrt_session_options o;
    llrt_session *s;
    llrt_session_options_init(&o, sizeof o);
    o.salt = salt++;
    check(llrt_session_create(engine, &o, &s, &err));
    check(llrt_session_append(s, tokens, n, LLRT_LOGITS_LAST, &err));
    memcpy(out, last_logits(s), TINY_VOCAB * sizeof *out);
    llrt_session_free(s);
}

static void assert_same(const float *a, const float *b, size_t n)
{
    assert_memory_equal(a, b, n * sizeof *a);
}

static void test_append_in_pieces_gives_the_same_bits(void **state)
{
    fixture *const f = *state;
    int32_t text[200];
    float wanted[TINY_VOCAB];
    make_text(1, text, 200, TINY_VOCAB);
    fresh_logits(f->engine, text, 200, wanted);
    for (size_t piece = 1; piece < 200; piece = piece * 3 + 1) {
        llrt_session *const s = new_session(f->engine);
        for (size_t i = 0; i < 200; i += piece) {
            const size_t n = piece < 200 - i ? piece : 200 - i;
            check(llrt_session_append(s, text + i, n, LLRT_LOGITS_LAST, &err));
            assert_int_equal(llrt_session_n_tok(s), i + n);
        }
        assert_same(wanted, last_logits(s), TINY_VOCAB);
        assert_memory_equal(llrt_session_tokens(s), text, sizeof text);
        llrt_session_free(s);
    }
}

static void test_rows_all_and_listed(void **state)
{
    fixture *const f = *state;
    int32_t text[70];
    float *const all = malloc(70 * TINY_VOCAB * sizeof *all);
    const uint32_t rows[] = {0, 3, 17, 18, 63, 64, 69};
    make_text(2, text, 70, TINY_VOCAB);
    llrt_session *const s = new_session(f->engine);
    /* 70 rows wanted, 16 per step at most */
    check(llrt_session_append(s, text, 70, LLRT_LOGITS_ALL, &err));
    assert_int_equal(llrt_session_n_logits(s), 70);
    for (int32_t i = 0; i < 70; i++) {
        const float *row;
        check(llrt_session_logits(s, i, &row, &err));
        memcpy(all + i * (int)TINY_VOCAB, row, TINY_VOCAB * sizeof *all);
    }
    llrt_session *const t = new_session(f->engine);
    llrt_input input;
    llrt_input_init(&input, sizeof input);
    input.tokens = text;
    input.n_tok = 70;
    input.logits = LLRT_LOGITS_LISTED;
    input.rows = rows;
    input.n_row = 7;
    check(llrt_session_append_input(t, &input, &err));
    assert_int_equal(llrt_session_n_logits(t), 7);
    for (int32_t i = 0; i < 7; i++) {
        const float *row;
        check(llrt_session_logits(t, i, &row, &err));
        assert_same(all + rows[i] * TINY_VOCAB, row, TINY_VOCAB);
    }
    const float *row;
    check_fails(LLRT_ERR_STATE, llrt_session_logits(t, 7, &row, &err));
    check_fails(LLRT_ERR_STATE, llrt_session_logits(t, -2, &row, &err));
    check_fails(LLRT_ERR_STATE, llrt_session_hidden(t, 0, &row, &err));
    float last[TINY_VOCAB];
    fresh_logits(f->engine, text, 70, last);
    assert_same(last, all + 69 * TINY_VOCAB, TINY_VOCAB);
    check(llrt_session_append(t, text, 1, LLRT_LOGITS_NONE, &err));
    assert_int_equal(llrt_session_n_logits(t), 0);
    check_fails(LLRT_ERR_STATE, llrt_session_logits(t, -1, &row, &err));
    llrt_session_free(s);
    llrt_session_free(t);
    free(all);
}

static void test_hidden_rows(void **state)
{
    fixture *const f = *state;
    llrt_session_options o;
    llrt_session *s;
    int32_t text[20];
    const float *a, *b;
    float first[28];
    make_text(3, text, 20, TINY_VOCAB);
    llrt_session_options_init(&o, sizeof o);
    o.with_hidden = 1;
    check(llrt_session_create(f->engine, &o, &s, &err));
    check(llrt_session_append(s, text, 20, LLRT_LOGITS_LAST, &err));
    check(llrt_session_hidden(s, -1, &a, &err));
    memcpy(first, a, sizeof first);
    check(llrt_session_rewind(s, 0, &err));
    check(llrt_session_append(s, text, 20, LLRT_LOGITS_ALL, &err));
    check(llrt_session_hidden(s, 19, &b, &err));
    assert_same(first, b, 28);
    check(llrt_session_hidden(s, 18, &b, &err));
    assert_memory_not_equal(first, b, sizeof first);
    llrt_session_free(s);
}

static void test_embedding_rows(void **state)
{
    fixture *const f = *state;
    float rows[3 * 28], wanted[TINY_VOCAB], got[TINY_VOCAB];
    int32_t text[130];
    uint64_t seed = 5;
    llrt_input input;
    make_text(4, text, 130, TINY_VOCAB);
    for (size_t i = 0; i < 3 * 28; i++)
        rows[i] = (float)(next_random(&seed) >> 8) * 0x1p-24f - 0.5f;
    llrt_input_init(&input, sizeof input);
    input.embeddings = rows;
    input.n_tok = 3;
    for (int round = 0; round < 2; round++) {
        llrt_session *const s = new_session(f->engine);
        check(llrt_session_append(s, text, 5, LLRT_LOGITS_NONE, &err));
        check(llrt_session_append_input(s, &input, &err));
        assert_int_equal(llrt_session_tokens(s)[4], text[4]);
        assert_int_equal(llrt_session_tokens(s)[5], -1);
        const uint64_t before = stats_of(f->engine).n_tok_reused;
        check(llrt_session_append(s, text, 130, LLRT_LOGITS_LAST, &err));
        /* Nothing after an embedding row is shared. */
        assert_int_equal(stats_of(f->engine).n_tok_reused, before);
        memcpy(round ? got : wanted, last_logits(s), sizeof got);
        if (round == 0) {
            check(llrt_session_rewind(s, 5, &err));
            check(llrt_session_append_input(s, &input, &err));
            check(llrt_session_append(s, text, 130, LLRT_LOGITS_LAST, &err));
            assert_same(wanted, last_logits(s), TINY_VOCAB);
        }
        llrt_session_free(s);
    }
    assert_same(wanted, got, TINY_VOCAB);
    rows[0] += 1.0f;
    llrt_session *const s = new_session(f->engine);
    check(llrt_session_append(s, text, 5, LLRT_LOGITS_NONE, &err));
    check(llrt_session_append_input(s, &input, &err));
    check(llrt_session_append(s, text, 130, LLRT_LOGITS_LAST, &err));
    assert_memory_not_equal(wanted, last_logits(s), sizeof wanted);
    llrt_session_free(s);
}

static void test_rewind_and_continue(void **state)
{
    fixture *const f = *state;
    static const size_t cuts[] = {0, 1, 63, 64, 65, 100, 128, 149, 150};
    int32_t text[150], other[150];
    float wanted[TINY_VOCAB];
    make_text(5, text, 150, TINY_VOCAB);
    llrt_session *const s = new_session(f->engine);
    check(llrt_session_append(s, text, 150, LLRT_LOGITS_NONE, &err));
    for (size_t i = 0; i < sizeof cuts / sizeof cuts[0]; i++) {
        check(llrt_session_rewind(s, cuts[i], &err));
        assert_int_equal(llrt_session_n_tok(s), cuts[i]);
        make_text(6 + i, other, 150, TINY_VOCAB);
        memcpy(other, text, cuts[i] * sizeof *text);
        const size_t n = cuts[i] + 20 < 150 ? cuts[i] + 20 : cuts[i] + 1;
        int32_t *const whole = other;
        if (n > 150) continue;
        check(llrt_session_append(s, whole + cuts[i], n - cuts[i], LLRT_LOGITS_LAST, &err));
        fresh_logits(f->engine, whole, n, wanted);
        assert_same(wanted, last_logits(s), TINY_VOCAB);
        check(llrt_session_rewind(s, cuts[i], &err));
        check(llrt_session_sync(s, text, 150, LLRT_LOGITS_LAST, NULL, &err));
        fresh_logits(f->engine, text, 150, wanted);
        assert_same(wanted, last_logits(s), TINY_VOCAB);
    }
    check_fails(LLRT_ERR_ARGUMENT, llrt_session_rewind(s, 151, &err));
    assert_int_equal(llrt_session_n_tok(s), 150);
    llrt_session_free(s);
}

static void test_fork_shares_pages_and_diverges(void **state)
{
    fixture *const f = *state;
    int32_t text[300];
    float wanted[TINY_VOCAB];
    make_text(20, text, 300, TINY_VOCAB);
    llrt_session *const a = new_session(f->engine), *b, *c;
    check(llrt_session_append(a, text, 100, LLRT_LOGITS_LAST, &err));
    const uint64_t used = stats_of(f->engine).n_page_used;
    check(llrt_session_fork(a, &b, &err));
    check(llrt_session_fork(b, &c, &err));
    assert_int_equal(stats_of(f->engine).n_page_used, used); /* nothing copied */
    assert_int_equal(llrt_session_n_tok(c), 100);
    check(llrt_session_append(a, text + 100, 10, LLRT_LOGITS_LAST, &err));
    assert_int_equal(stats_of(f->engine).n_page_used, used + 1); /* the partly filled page */
    check(llrt_session_append(b, text + 200, 50, LLRT_LOGITS_LAST, &err));
    check(llrt_session_append(c, text + 100, 10, LLRT_LOGITS_LAST, &err));
    fresh_logits(f->engine, text, 110, wanted);
    assert_same(wanted, last_logits(a), TINY_VOCAB);
    assert_same(wanted, last_logits(c), TINY_VOCAB);
    int32_t other[150];
    memcpy(other, text, 100 * sizeof *text);
    memcpy(other + 100, text + 200, 50 * sizeof *text);
    fresh_logits(f->engine, other, 150, wanted);
    assert_same(wanted, last_logits(b), TINY_VOCAB);
    /* The fork outlives its origin; a page of one owner is written in place. */
    llrt_session_free(a);
    llrt_session_free(c);
    check(llrt_session_append(b, text, 7, LLRT_LOGITS_LAST, &err));
    int32_t longer[157];
    memcpy(longer, other, sizeof other);
    memcpy(longer + 150, text, 7 * sizeof *text);
    fresh_logits(f->engine, longer, 157, wanted);
    assert_same(wanted, last_logits(b), TINY_VOCAB);
    llrt_session_free(b);
    assert_int_equal(stats_of(f->engine).n_page_used, 0);
}

static void test_sync(void **state)
{
    fixture *const f = *state;
    int32_t text[200];
    float wanted[TINY_VOCAB];
    size_t reused;
    make_text(30, text, 200, TINY_VOCAB);
    llrt_session *const s = new_session(f->engine);
    check(llrt_session_sync(s, text, 90, LLRT_LOGITS_LAST, &reused, &err));
    assert_int_equal(reused, 0);
    check(llrt_session_sync(s, text, 90, LLRT_LOGITS_LAST, &reused, &err));
    assert_int_equal(reused, 89);
    text[70] = (text[70] + 1) % (int32_t)TINY_VOCAB;
    check(llrt_session_sync(s, text, 200, LLRT_LOGITS_LAST, &reused, &err));
    assert_int_equal(reused, 70);
    fresh_logits(f->engine, text, 200, wanted);
    assert_same(wanted, last_logits(s), TINY_VOCAB);
    check(llrt_session_sync(s, text, 40, LLRT_LOGITS_LAST, &reused, &err));
    assert_int_equal(reused, 39);
    assert_int_equal(llrt_session_n_tok(s), 40);
    fresh_logits(f->engine, text, 40, wanted);
    assert_same(wanted, last_logits(s), TINY_VOCAB);
    /* Refused before anything changes. */
    int32_t *const many = calloc(TINY_CTX + 1, sizeof *many);
    check_fails(LLRT_ERR_CONTEXT_FULL,
                llrt_session_sync(s, many, TINY_CTX + 1, LLRT_LOGITS_LAST, NULL, &err));
    many[3] = -5;
    check_fails(LLRT_ERR_ARGUMENT, llrt_session_sync(s, many, 10, LLRT_LOGITS_LAST, NULL, &err));
    assert_int_equal(llrt_session_n_tok(s), 40);
    assert_same(wanted, last_logits(s), TINY_VOCAB);
    free(many);
    llrt_session_free(s);
}

static void test_failing_appends_change_nothing(void **state)
{
    fixture *const f = *state;
    int32_t *const text = malloc((TINY_CTX + 1) * sizeof *text);
    float wanted[TINY_VOCAB];
    llrt_error e = LLRT_ERROR_INIT;
    make_text(40, text, TINY_CTX + 1, TINY_VOCAB);
    llrt_session *const s = new_session(f->engine);
    check(llrt_session_append(s, text, 10, LLRT_LOGITS_LAST, &err));
    fresh_logits(f->engine, text, 10, wanted);
    check_fails(LLRT_ERR_CONTEXT_FULL,
                llrt_session_append(s, text, TINY_CTX - 9, LLRT_LOGITS_LAST, &err));
    check_fails(LLRT_ERR_ARGUMENT, llrt_session_append(s, text, 0, LLRT_LOGITS_LAST, &err));
    check_fails(LLRT_ERR_ARGUMENT, llrt_session_append(s, NULL, 3, LLRT_LOGITS_LAST, &err));
    check_fails(LLRT_ERR_ARGUMENT, llrt_session_append(s, text, 3, 9, &err));
    text[4] = (int32_t)TINY_VOCAB;
    assert_int_equal(llrt_session_append(s, text, 10, LLRT_LOGITS_LAST, &e), LLRT_ERR_ARGUMENT);
    assert_int_equal(e.position, 4);
    const uint32_t rows[] = {3, 3};
    llrt_input input;
    llrt_input_init(&input, sizeof input);
    input.tokens = text;
    input.n_tok = 4;
    input.logits = LLRT_LOGITS_LISTED;
    input.rows = rows;
    input.n_row = 2;
    check_fails(LLRT_ERR_ARGUMENT, llrt_session_append_input(s, &input, &err));
    assert_int_equal(llrt_session_n_tok(s), 10);
    assert_same(wanted, last_logits(s), TINY_VOCAB);
    make_text(40, text, TINY_CTX + 1, TINY_VOCAB);
    check(llrt_session_append(s, text + 10, TINY_CTX - 10, LLRT_LOGITS_LAST, &err));
    check_fails(LLRT_ERR_CONTEXT_FULL, llrt_session_append(s, text, 1, LLRT_LOGITS_LAST, &err));
    fresh_logits(f->engine, text, TINY_CTX, wanted);
    assert_same(wanted, last_logits(s), TINY_VOCAB);
    llrt_session_free(s);
    free(text);
}

static void test_full_pool(void **state)
{
    fixture *const f = *state;
    llrt_engine_options o = test_options(&f->tiny);
    int32_t text[300];
    float wanted[TINY_VOCAB], kept[TINY_VOCAB];
    make_text(50, text, 300, TINY_VOCAB);
    o.kv_tok = 256; /* 4 pages */
    llrt_engine *const engine = open_tiny_with(&f->tiny, &o);
    llrt_session *const a = new_session(engine), *const b = new_session(engine);
    check(llrt_session_append(a, text, 150, LLRT_LOGITS_LAST, &err)); /* 3 pages */
    check(llrt_session_append(b, text + 150, 30, LLRT_LOGITS_LAST, &err));
    memcpy(kept, last_logits(b), sizeof kept);
    check_fails(LLRT_ERR_POOL_FULL, llrt_session_append(b, text, 60, LLRT_LOGITS_LAST, &err));
    assert_int_equal(llrt_session_n_tok(b), 30);
    assert_same(kept, last_logits(b), TINY_VOCAB);
    check_fails(LLRT_ERR_POOL_FULL, llrt_session_append(a, text, 100, LLRT_LOGITS_NONE, &err));
    /* In place, although the index knows the page: there is no other to copy it to. */
    check(llrt_session_append(b, text + 180, 34, LLRT_LOGITS_LAST, &err)); /* 64: indexed */
    check(llrt_session_rewind(b, 40, &err));
    check(llrt_session_append(b, text, 3, LLRT_LOGITS_LAST, &err));
    int32_t other[43];
    memcpy(other, text + 150, 40 * sizeof *text);
    memcpy(other + 40, text, 3 * sizeof *text);
    fresh_logits(f->engine, other, 43, wanted);
    assert_same(wanted, last_logits(b), TINY_VOCAB);
    llrt_session_free(a);
    check(llrt_session_append(b, text, 100, LLRT_LOGITS_LAST, &err));
    llrt_session_free(b);
    assert_int_equal(stats_of(engine).n_page_used, 0);
    llrt_engine_close(engine);
}

static void test_prefixes_are_found_and_stored_once(void **state)
{
    fixture *const f = *state;
    int32_t text[250];
    float wanted[TINY_VOCAB];
    make_text(60, text, 250, TINY_VOCAB);
    fresh_logits(f->engine, text, 250, wanted);
    llrt_session *const a = new_session(f->engine), *const b = new_session(f->engine);
    check(llrt_session_append(a, text, 250, LLRT_LOGITS_LAST, &err));
    llrt_engine_stats before = stats_of(f->engine);
    check(llrt_session_append(b, text, 250, LLRT_LOGITS_LAST, &err));
    llrt_engine_stats after = stats_of(f->engine);
    assert_int_equal(after.n_tok_reused - before.n_tok_reused, 192);
    assert_int_equal(after.n_tok_computed - before.n_tok_computed, 58);
    assert_int_equal(after.n_page_used - before.n_page_used, 1);
    assert_same(wanted, last_logits(a), TINY_VOCAB);
    assert_same(wanted, last_logits(b), TINY_VOCAB);
    /* Exactly full pages: the last token is computed all the same. */
    check(llrt_session_rewind(b, 0, &err));
    check(llrt_session_append(b, text, 128, LLRT_LOGITS_LAST, &err));
    fresh_logits(f->engine, text, 128, wanted);
    assert_same(wanted, last_logits(b), TINY_VOCAB);
    /* All rows wanted: nothing is taken over, yet the pages end up shared. */
    llrt_session *const c = new_session(f->engine);
    before = stats_of(f->engine);
    check(llrt_session_append(c, text, 128, LLRT_LOGITS_ALL, &err));
    after = stats_of(f->engine);
    assert_int_equal(after.n_tok_computed - before.n_tok_computed, 128);
    assert_int_equal(after.n_page_used, before.n_page_used);
    /* Another salt shares nothing. */
    llrt_session_options o;
    llrt_session *d;
    llrt_session_options_init(&o, sizeof o);
    o.salt = 99;
    check(llrt_session_create(f->engine, &o, &d, &err));
    before = stats_of(f->engine);
    check(llrt_session_append(d, text, 128, LLRT_LOGITS_LAST, &err));
    assert_int_equal(stats_of(f->engine).n_tok_reused, before.n_tok_reused);
    llrt_session_free(a);
    llrt_session_free(b);
    llrt_session_free(c);
    llrt_session_free(d);
    /* Pages that nobody holds are still found. */
    llrt_session *const g = new_session(f->engine);
    before = stats_of(f->engine);
    assert_int_equal(before.n_page_used, 0);
    assert_true(before.n_page_cached > 0);
    check(llrt_session_append(g, text, 250, LLRT_LOGITS_LAST, &err));
    assert_int_equal(stats_of(f->engine).n_tok_reused - before.n_tok_reused, 192);
    fresh_logits(f->engine, text, 250, wanted);
    assert_same(wanted, last_logits(g), TINY_VOCAB);
    llrt_session_free(g);
}

static void test_decode_allocates_nothing(void **state)
{
    fixture *const f = *state;
    class_heap heap;
    const llrt_allocator hooks = class_hooks(&heap);
    llrt_engine_options o = test_options(&f->tiny);
    llrt_sampler *sampler;
    int32_t text[200];
    make_text(70, text, 200, TINY_VOCAB);
    o.allocator = &hooks;
    o.kv_type = LLRT_TYPE_Q8_0;
    llrt_engine *const engine = open_tiny_with(&f->tiny, &o);
    llrt_session *const s = new_session(engine);
    llrt_session *const pair[2] = {new_session(engine), new_session(engine)};
    check(llrt_sampler_create(TINY_VOCAB, NULL, &sampler, &err));
    const size_t n_call = atomic_load(&heap.n_call);
#if defined(CAN_INTERPOSE)
    const size_t n_system = atomic_load(&n_system_call);
#endif
    for (size_t i = 0; i < 200; i++) {
        llrt_error err = LLRT_ERROR_INIT;
        if (llrt_session_append(s, text + i, 1, LLRT_LOGITS_LAST, &err) != LLRT_OK) fail();
        llrt_step_entry entries[2];
        for (int k = 0; k < 2; k++) {
            llrt_step_entry_init(&entries[k], sizeof entries[k]);
            entries[k].session = pair[k];
            entries[k].input.tokens = text + (i + (size_t)k) % 200;
            entries[k].input.n_tok = 1;
            entries[k].sampler = k ? sampler : NULL;
        }
        if (llrt_engine_step(engine, entries, 2, sizeof entries[0], &err) != LLRT_OK) fail();
    }
    assert_int_equal(atomic_load(&heap.n_call), n_call);
#if defined(CAN_INTERPOSE)
    assert_int_equal(atomic_load(&n_system_call), n_system);
    void *volatile block = malloc(1); /* the counter counts */
    free(block);
    assert_int_equal(atomic_load(&n_system_call), n_system + 1);
#else
    print_message("skipped: malloc and mmap are not interposed in this build\n");
#endif
    llrt_session_free(s);
    llrt_session_free(pair[0]);
    llrt_session_free(pair[1]);
    llrt_sampler_free(sampler);
    llrt_engine_close(engine);
    assert_int_equal(atomic_load(&heap.n_live), 0);
}

static void test_allocation_failures(void **state)
{
    fixture *const f = *state;
    class_heap heap;
    const llrt_allocator hooks = class_hooks(&heap);
    llrt_engine_options o = test_options(&f->tiny);
    int32_t text[40];
    float wanted[TINY_VOCAB];
    make_text(80, text, 40, TINY_VOCAB);
    fresh_logits(f->engine, text, 40, wanted);
    o.allocator = &hooks;
    llrt_engine *const engine = open_tiny_with(&f->tiny, &o);
    const size_t floor = atomic_load(&heap.n_live);
    llrt_status status = LLRT_ERR_NOMEM;
    size_t n = 0;
    for (n = 1; status != LLRT_OK && n < 100; n++) {
        llrt_session *s = NULL;
        atomic_store(&heap.n_call, 0);
        atomic_store(&heap.fail_at, n);
        status = llrt_session_create(engine, NULL, &s, NULL);
        if (status == LLRT_OK) /* 40 rows: more than there is room for */
            status = llrt_session_append(s, text, 40, LLRT_LOGITS_ALL, NULL);
        atomic_store(&heap.fail_at, 0);
        assert_true(status == LLRT_OK || status == LLRT_ERR_NOMEM);
        if (s) {
            if (status != LLRT_OK) assert_int_equal(llrt_session_n_tok(s), 0);
            if (status != LLRT_OK) check(llrt_session_append(s, text, 40, LLRT_LOGITS_LAST, &err));
            assert_same(wanted, last_logits(s), TINY_VOCAB);
        }
        llrt_session_free(s);
        assert_int_equal(atomic_load(&heap.n_live), floor);
    }
    assert_true(n > 3);
    llrt_engine_close(engine);
}

/* ---- Cancelling ---- */

typedef struct canceller {
    llrt_session *session;
    llrt_engine *engine;
    atomic_int is_done;
} canceller;

static void cancel_when_running(void *arg)
{
    canceller *const c = arg;
    const uint64_t before = stats_of(c->engine).n_step;
    while (!atomic_load(&c->is_done)) {
        if (stats_of(c->engine).n_step >= before + 3) llrt_session_cancel(c->session);
        llrti_thread_yield();
    }
}

static void test_cancel_in_the_middle_of_a_prompt(void **state)
{
    fixture *const f = *state;
    llrt_engine_options o = test_options(&f->tiny);
    enum { N = 20000 };
    int32_t *const text = malloc(N * sizeof *text);
    float wanted[TINY_VOCAB], got[TINY_VOCAB];
    make_text(90, text, N, TINY_VOCAB);
    o.n_ctx = N;
    o.n_step_tok = 16;
    llrt_engine *const engine = open_tiny_with(&f->tiny, &o);
    llrt_session *const s = new_session(engine);
    llrt_session_cancel(s); /* without a call in progress: no effect */
    check(llrt_session_append(s, text, 1, LLRT_LOGITS_LAST, &err));
    check(llrt_session_rewind(s, 0, &err));
    canceller c = {s, engine, 0};
    llrti_thread thread;
    assert_true(llrti_thread_create(&thread, cancel_when_running, &c, "canceller"));
    check_fails(LLRT_ERR_CANCELLED, llrt_session_append(s, text, N, LLRT_LOGITS_LAST, &err));
    atomic_store(&c.is_done, 1);
    llrti_thread_join(&thread);
    const size_t n = llrt_session_n_tok(s);
    assert_true(n > 0 && n < N);
    check(llrt_session_append(s, text + n, 5, LLRT_LOGITS_LAST, &err));
    memcpy(got, last_logits(s), sizeof got);
    llrt_session *const t = new_session(engine);
    check(llrt_session_append(t, text, n + 5, LLRT_LOGITS_LAST, &err));
    memcpy(wanted, last_logits(t), sizeof wanted);
    assert_same(wanted, got, TINY_VOCAB);
    llrt_session_free(s);
    llrt_session_free(t);
    llrt_engine_close(engine);
    free(text);
}

static void test_a_second_thread_is_refused(void **state)
{
    fixture *const f = *state;
    llrt_engine_options o = test_options(&f->tiny);
    enum { N = 20000 };
    int32_t *const text = malloc(N * sizeof *text);
    make_text(91, text, N, TINY_VOCAB);
    o.n_ctx = N;
    o.n_step_tok = 16;
    llrt_engine *const engine = open_tiny_with(&f->tiny, &o);
    llrt_session *const s = new_session(engine);
    canceller c = {s, engine, 0};
    llrti_thread thread;
    assert_true(llrti_thread_create(&thread, cancel_when_running, &c, "canceller"));
    llrt_step_entry entries[2];
    for (int k = 0; k < 2; k++) {
        llrt_step_entry_init(&entries[k], sizeof entries[k]);
        entries[k].session = s; /* twice */
        entries[k].input.tokens = text;
        entries[k].input.n_tok = N;
    }
    llrt_error e = LLRT_ERROR_INIT;
    assert_int_equal(llrt_engine_step(engine, entries, 2, sizeof entries[0], &e),
                     LLRT_ERR_CANCELLED);
    assert_int_equal(e.position, 0);
    assert_int_equal(entries[1].status, LLRT_ERR_ARGUMENT);
    atomic_store(&c.is_done, 1);
    llrti_thread_join(&thread);
    llrt_session_free(s);
    llrt_engine_close(engine);
    free(text);
}

static void test_options_are_checked(void **state)
{
    fixture *const f = *state;
    llrt_session_options o;
    llrt_session *s;
    llrt_session_options_init(&o, sizeof o);
    o.n_ctx = TINY_CTX + 1;
    check_fails(LLRT_ERR_ARGUMENT, llrt_session_create(f->engine, &o, &s, &err));
    assert_null(s);
    o.n_ctx = 3;
    check(llrt_session_create(f->engine, &o, &s, &err));
    assert_int_equal(llrt_session_n_ctx(s), 3);
    assert_ptr_equal(llrt_session_engine(s), f->engine);
    const int32_t text[4] = {1, 2, 3, 4};
    check_fails(LLRT_ERR_CONTEXT_FULL, llrt_session_append(s, text, 4, 0, &err));
    check(llrt_session_append(s, text, 3, 0, &err));
    llrt_session_free(s);
    struct {
        llrt_session_options o;
        uint64_t more;
    } longer;
    memset(&longer, 0, sizeof longer);
    llrt_session_options_init(&longer.o, sizeof longer);
    check(llrt_session_create(f->engine, &longer.o, &s, &err));
    llrt_session_free(s);
    longer.more = 1;
    check_fails(LLRT_ERR_VERSION, llrt_session_create(f->engine, &longer.o, &s, &err));
    llrt_session_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_append_in_pieces_gives_the_same_bits),
        cmocka_unit_test(test_rows_all_and_listed),
        cmocka_unit_test(test_hidden_rows),
        cmocka_unit_test(test_embedding_rows),
        cmocka_unit_test(test_rewind_and_continue),
        cmocka_unit_test(test_fork_shares_pages_and_diverges),
        cmocka_unit_test(test_sync),
        cmocka_unit_test(test_failing_appends_change_nothing),
        cmocka_unit_test(test_full_pool),
        cmocka_unit_test(test_prefixes_are_found_and_stored_once),
        cmocka_unit_test(test_decode_allocates_nothing),
        cmocka_unit_test(test_allocation_failures),
        cmocka_unit_test(test_cancel_in_the_middle_of_a_prompt),
        cmocka_unit_test(test_a_second_thread_is_refused),
        cmocka_unit_test(test_options_are_checked),
    };
    /* Where a state can't be cut, the same tokens cost more room and more computing to go back to. */
    const struct CMUnitTest recurrent[] = {
        cmocka_unit_test(test_append_in_pieces_gives_the_same_bits),
        cmocka_unit_test(test_rows_all_and_listed),
        cmocka_unit_test(test_hidden_rows),
        cmocka_unit_test(test_embedding_rows),
        cmocka_unit_test(test_rewind_and_continue),
        cmocka_unit_test(test_fork_shares_pages_and_diverges),
        cmocka_unit_test(test_failing_appends_change_nothing),
        cmocka_unit_test(test_prefixes_are_found_and_stored_once),
        cmocka_unit_test(test_decode_allocates_nothing),
        cmocka_unit_test(test_allocation_failures),
        cmocka_unit_test(test_cancel_in_the_middle_of_a_prompt),
        cmocka_unit_test(test_a_second_thread_is_refused),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down) +
           cmocka_run_group_tests_name("windowed", tests, set_up_windowed, tear_down) +
           cmocka_run_group_tests_name("recurrent", recurrent, set_up_recurrent, tear_down);
}
