/* SPDX-License-Identifier: MIT */
/*
 * A random walk of sessions over texts with common beginnings: they append, go back, fork, are
 * saved and loaded, are cancelled and freed, in an engine whose pools are as small as wanted.
 * Whatever was done before, logits are those of an engine that has room for everything and computes
 * each text alone, and refused calls change nothing.
 */
#ifndef SESSION_WALK_H
#define SESSION_WALK_H

#include "engine_support.h"
#include "memory_stream.h"
#include "session_impl.h"

enum { WALK_TEXTS = 6, WALK_TOKENS = 330, WALK_SESSIONS = 7 };

typedef struct walk {
    llrt_engine *engine;
    int32_t text[WALK_TEXTS][WALK_TOKENS];
    uint32_t n_vocab;
    float *wanted; /* (WALK_TEXTS, WALK_TOKENS, n_vocab) logits after each token of each text */
    llrt_session *session[WALK_SESSIONS];
    uint32_t of[WALK_SESSIONS]; /* the text it holds the beginning of */
    memory_stream saved;
    uint32_t saved_text;
    size_t n_saved;
    uint64_t seed;
    /* The call to parallel_for, counted down, at which a session is cancelled; 0: none. */
    uint32_t cancel_in;
    llrt_session *cancelled;
    /* Calls without room, cancelled ones, rewinds out of reach, done, appends. */
    uint32_t n_full, n_cancelled, n_refused, n_back, n_done;
} walk;

/* The engine's parallel_for: one thread, and a place to cancel from in the middle of a step. */
static inline void walk_parallel(void *ctx, uint32_t n, void (*body)(void *arg, uint32_t index),
                                 void *arg)
{
    walk *const w = ctx;
    if (w->cancel_in && --w->cancel_in == 0) llrt_session_cancel(w->cancelled);
    for (uint32_t i = 0; i < n; i++) body(arg, i);
}

static inline void walk_arm(walk *w, int i)
{
    w->cancelled = w->session[i];
    w->cancel_in = next_random(&w->seed) % 2 ? 0 : 1 + next_random(&w->seed) % 25;
}

static inline llrt_engine_options walk_options(walk *w, const tiny_source *tiny)
{
    llrt_engine_options o = test_options(tiny);
    o.parallel_for = walk_parallel;
    o.parallel_ctx = w;
    return o;
}

/* Tokens that two texts have in common at the beginning. */
static inline size_t walk_common(const walk *w, uint32_t a, uint32_t b)
{
    size_t n = 0;
    while (n < WALK_TOKENS && w->text[a][n] == w->text[b][n]) n++;
    return n;
}

static inline float *walk_wanted(const walk *w, uint32_t text, size_t token)
{
    return w->wanted + (text * (size_t)WALK_TOKENS + token) * w->n_vocab;
}

/* Computes what is wanted and closes the engine. */
static inline void walk_make(walk *w, llrt_engine *alone)
{
    static const size_t common[WALK_TEXTS] = {0, 64, 100, 128, 200, 0};
    w->n_vocab = vocab_of(alone);
    for (uint32_t i = 0; i < WALK_TEXTS; i++) {
        make_text(40 + i, w->text[i], WALK_TOKENS, w->n_vocab);
        memcpy(w->text[i], w->text[0], common[i] * sizeof w->text[0][0]);
    }
    w->wanted = malloc((size_t)WALK_TEXTS * WALK_TOKENS * w->n_vocab * sizeof *w->wanted);
    for (uint32_t i = 0; i < WALK_TEXTS; i++) {
        llrt_session_options o;
        llrt_session *s;
        llrt_session_options_init(&o, sizeof o);
        o.salt = i + 1;
        check(llrt_session_create(alone, &o, &s, &err));
        check(llrt_session_append(s, w->text[i], WALK_TOKENS, LLRT_LOGITS_ALL, &err));
        for (int32_t k = 0; k < WALK_TOKENS; k++) {
            const float *row;
            check(llrt_session_logits(s, k, &row, &err));
            memcpy(walk_wanted(w, i, (size_t)k), row, w->n_vocab * sizeof *row);
        }
        llrt_session_free(s);
    }
    llrt_engine_close(alone);
}

static inline void walk_free(walk *w)
{
    free(w->wanted);
    free(w->saved.data);
}

static inline void walk_check(const walk *w, int i)
{
    llrt_session *const s = w->session[i];
    const size_t n = llrt_session_n_tok(s);
    assert_memory_equal(llrt_session_tokens(s), w->text[w->of[i]], n * sizeof(int32_t));
    assert_memory_equal(last_logits(s), walk_wanted(w, w->of[i], n - 1),
                        w->n_vocab * sizeof(float));
}

/* What the books of the pool say while nobody is in a call. */
static inline void walk_check_books(const walk *w)
{
    const llrti_pool *const pool = &w->engine->pool;
    for (int k = 0; k < 2; k++) {
        const llrti_slots *const slots = k ? &pool->state : &pool->window;
        uint32_t n_held = 0;
        assert_int_equal(slots->n_promised + slots->n_lent, 0);
        for (uint32_t i = 0; i < slots->n_slot; i++) {
            assert_int_equal(slots->slot[i].n_call, 0);
            n_held += slots->slot[i].n_idle > 0;
        }
        assert_int_equal(slots->n_paid, n_held);
        assert_int_equal(slots->n_free + slots->n_kept + n_held, slots->n_slot);
    }
    for (int i = 0; i < WALK_SESSIONS; i++) {
        const llrt_session *const s = w->session[i];
        if (!s) continue;
        assert_false(s->is_in_call);
        assert_int_equal(s->n_page, llrti_session_pages(s->n_tok));
        for (uint32_t k = 0; s->window_page && k < llrti_session_pages(s->options.n_ctx); k++) {
            const bool is_held = k >= s->window_begin && k < s->window_end;
            assert_int_equal(s->window_page[k] != LLRTI_SLOT_NONE, is_held);
            if (is_held)
                assert_int_equal(s->window_page[k], llrti_slots_of(&pool->window, s->page[k]));
        }
        if (pool->state.n_slot) assert_int_equal(s->state != LLRTI_SLOT_NONE, s->n_tok > 0);
    }
}

/* A call that may find no room: then nothing has changed. */
static inline bool walk_is_done(walk *w, int i, llrt_status status, size_t n_before)
{
    w->cancel_in = 0;
    if (status == LLRT_OK) return true;
    if (status == LLRT_ERR_CANCELLED) {
        assert_ptr_equal(w->cancelled, w->session[i]);
        assert_true(llrt_session_n_tok(w->session[i]) >= n_before);
        w->n_cancelled++;
        return false;
    }
    assert_int_equal(status, LLRT_ERR_POOL_FULL);
    assert_int_equal(llrt_session_n_tok(w->session[i]), n_before);
    w->n_full++;
    return false;
}

static inline void walk_append(walk *w, int i)
{
    llrt_session *const s = w->session[i];
    const size_t at = llrt_session_n_tok(s);
    size_t n =
        next_random(&w->seed) % 3 ? 1 + next_random(&w->seed) % 5 : 1 + next_random(&w->seed) % 200;
    if (n > WALK_TOKENS - at) n = WALK_TOKENS - at;
    if (n == 0) return;
    if (!walk_is_done(
            w, i, llrt_session_append(s, w->text[w->of[i]] + at, n, LLRT_LOGITS_LAST, NULL), at))
        return;
    w->n_done++;
    walk_check(w, i);
}

static inline void walk_rewind(walk *w, int i)
{
    llrt_session *const s = w->session[i];
    const size_t at = llrt_session_n_tok(s);
    const size_t back = next_random(&w->seed) % 2 ? next_random(&w->seed) % 66
                                                  : next_random(&w->seed) % (WALK_TOKENS + 1);
    const size_t to = back > at ? 0 : at - back;
    llrt_error e = LLRT_ERROR_INIT;
    walk_arm(w, i);
    const llrt_status status = llrt_session_rewind(s, to, &e);
    if (status < 0) assert_int_equal(llrt_session_n_tok(s), at);
    w->cancel_in = status == LLRT_ERR_STATE ? 0 : w->cancel_in;
    if (status == LLRT_ERR_STATE) {
        assert_int_equal(llrt_session_n_tok(s), at);
        assert_true(e.position >= 0 && (size_t)e.position <= at);
        w->n_refused++;
        /* The position that is named instead can be reached. */
        const llrt_status instead = llrt_session_rewind(s, (size_t)e.position, NULL);
        if (walk_is_done(w, i, instead, at))
            assert_int_equal(llrt_session_n_tok(s), (size_t)e.position);
    } else if (walk_is_done(w, i, status, at)) {
        assert_int_equal(llrt_session_n_tok(s), to);
        w->n_back++;
    }
    /* On with another text that has the same beginning. */
    const uint32_t other = next_random(&w->seed) % WALK_TEXTS;
    if (walk_common(w, other, w->of[i]) >= llrt_session_n_tok(s)) w->of[i] = other;
}

static inline void walk_sync(walk *w, int i)
{
    llrt_session *const s = w->session[i];
    const size_t at = llrt_session_n_tok(s), n = 1 + next_random(&w->seed) % WALK_TOKENS;
    const uint32_t text = next_random(&w->seed) % WALK_TEXTS;
    size_t n_reused;
    const llrt_status status =
        llrt_session_sync(s, w->text[text], n, LLRT_LOGITS_LAST, &n_reused, NULL);
    if (status == LLRT_OK) {
        w->of[i] = text;
        assert_int_equal(llrt_session_n_tok(s), n);
        assert_true(n_reused < n);
        walk_check(w, i);
        return;
    }
    assert_int_equal(status, LLRT_ERR_POOL_FULL); /* it may have gone back before that */
    assert_true(llrt_session_n_tok(s) <= at);
    w->n_full++;
}

static inline void walk_fork(walk *w, int i)
{
    const int to = (int)(next_random(&w->seed) % WALK_SESSIONS);
    if (to == i) return;
    llrt_session_free(w->session[to]);
    check(llrt_session_fork(w->session[i], &w->session[to], &err));
    w->of[to] = w->of[i];
}

static inline void walk_save(walk *w, int i)
{
    llrt_session *const s = w->session[i];
    const size_t at = llrt_session_n_tok(s);
    if (next_random(&w->seed) % 2 || w->n_saved == 0) {
        w->saved.n = 0;
        check(llrt_session_save_to(s, write_memory, &w->saved, &err));
        w->n_saved = at;
        w->saved_text = w->of[i];
        return;
    }
    w->saved.at = 0;
    if (!walk_is_done(w, i, llrt_session_load_from(s, read_memory, &w->saved, NULL), at)) return;
    assert_int_equal(w->saved.at, w->saved.n);
    assert_int_equal(llrt_session_n_tok(s), w->n_saved);
    w->of[i] = w->saved_text;
}

/* Several sessions in one step. */
static inline void walk_step(walk *w)
{
    llrt_step_entry e[WALK_SESSIONS];
    int who[WALK_SESSIONS];
    size_t at[WALK_SESSIONS], n = 0;
    for (int i = 0; i < WALK_SESSIONS; i++) {
        at[n] = llrt_session_n_tok(w->session[i]);
        size_t count = next_random(&w->seed) % 4 ? 1 : 1 + next_random(&w->seed) % 90;
        if (count > WALK_TOKENS - at[n]) count = WALK_TOKENS - at[n];
        if (count == 0) continue;
        llrt_step_entry_init(&e[n], sizeof e[n]);
        e[n].session = w->session[i];
        e[n].input.tokens = w->text[w->of[i]] + at[n];
        e[n].input.n_tok = count;
        who[n++] = i;
    }
    walk_arm(w, (int)(next_random(&w->seed) % WALK_SESSIONS));
    llrt_engine_step(w->engine, e, n, sizeof e[0], NULL);
    for (size_t k = 0; k < n; k++)
        if (walk_is_done(w, who[k], e[k].status, at[k])) walk_check(w, who[k]);
}

static inline void walk_run(walk *w, int n_step)
{
    w->n_full = w->n_cancelled = w->n_refused = w->n_back = w->n_done = 0;
    for (int i = 0; i < WALK_SESSIONS; i++) {
        w->session[i] = new_session(w->engine);
        w->of[i] = 0;
    }
    for (int step = 0; step < n_step; step++) {
        const int i = (int)(next_random(&w->seed) % WALK_SESSIONS);
        switch (next_random(&w->seed) % 12) {
        case 0:
        case 1:
        case 2:
            walk_rewind(w, i);
            break;
        case 3:
            walk_fork(w, i);
            break;
        case 4:
            walk_sync(w, i);
            break;
        case 5:
            walk_save(w, i);
            break;
        case 6:
            llrt_session_free(w->session[i]);
            w->session[i] = new_session(w->engine);
            break;
        case 7:
            walk_step(w);
            break;
        default:
            walk_append(w, i);
        }
        walk_check_books(w);
    }
    for (int i = 0; i < WALK_SESSIONS; i++) {
        llrt_session_free(w->session[i]);
        w->session[i] = NULL;
    }
    walk_check_books(w);
    const llrt_engine_stats stats = stats_of(w->engine);
    print_message(
        "%u appends, %u without room, %u cancelled, %u rewinds, %u out of reach; %llu of %llu "
        "tokens reused, %llu parts and %llu states evicted\n",
        w->n_done, w->n_full, w->n_cancelled, w->n_back, w->n_refused,
        (unsigned long long)stats.n_tok_reused,
        (unsigned long long)(stats.n_tok_reused + stats.n_tok_computed),
        (unsigned long long)stats.n_window_page_evicted, (unsigned long long)stats.n_state_evicted);
    assert_int_equal(stats.n_page_used, 0);
    assert_int_equal(stats.n_window_page_used, 0);
    assert_int_equal(stats.n_state_used, 0);
}

#endif
