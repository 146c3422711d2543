/* SPDX-License-Identifier: MIT */
/*
 * A session whose layers keep every position can be cut anywhere. With windows the parts before the
 * cut must still be there; a recurrent state is only there at the ends of pages (and at the
 * session's end), so to go back into a page its beginning is computed again, from the kept token
 * ids and into a fresh page.
 *
 * While that is computed the session is that shorter one, and what it had is put aside: the last
 * pages of its table, which the computing does not reach, the page it replaces, its state. On
 * failure they come back.
 */
#include "rewind.h"

#include "position.h"
#include "state.h"
#include "window.h"

/* Under the lock; n_tok is at most what the session has. */
static bool can_cut(const llrt_session *s, size_t n_tok)
{
    if (n_tok == s->n_tok || n_tok == 0) return true;
    const llrt_engine *const engine = s->engine;
    const uint32_t n_page = (uint32_t)(n_tok / LLRT_PAGE_TOK);
    if (engine->model->is_bidirectional) return false;
    if (llrti_state_has(engine) && (n_tok % LLRT_PAGE_TOK != 0 || !llrti_state_is_at(s, n_page) ||
                                    !llrti_state_has_room(s, n_page)))
        return false;
    return llrti_window_can_seek(s, n_tok) && llrti_window_has_room(s, n_tok);
}

static void cut(llrt_session *s, size_t n_tok)
{
    if (n_tok == s->n_tok) return;
    llrti_state_seek(s, (uint32_t)(n_tok / LLRT_PAGE_TOK));
    llrti_window_seek(s, n_tok);
    s->n_tok = n_tok;
    llrti_session_trim(s, llrti_session_pages(n_tok));
}

/* The furthest position up to n_tok that can be cut to. */
static size_t find_cut(const llrt_session *s, size_t n_tok)
{
    while (!can_cut(s, n_tok)) n_tok = (n_tok - 1) / LLRT_PAGE_TOK * LLRT_PAGE_TOK;
    return n_tok;
}

static void forget_embeddings(llrt_session *s)
{
    llrti_position_forget(s);
    if (s->first_embedding != LLRTI_NO_EMBEDDING && s->first_embedding >= s->n_tok)
        s->first_embedding = LLRTI_NO_EMBEDDING;
    s->lost_end = LLRTI_MIN(s->lost_end, s->n_tok);
}

size_t llrti_rewind_reach(const llrt_session *s, size_t n_tok)
{
    llrti_mutex_lock(&s->engine->lock);
    const size_t found = find_cut(s, n_tok);
    llrti_mutex_unlock(&s->engine->lock);
    return found;
}

void llrti_rewind_cut(llrt_session *s, size_t n_tok)
{
    llrti_mutex_lock(&s->engine->lock);
    cut(s, find_cut(s, n_tok));
    llrti_mutex_unlock(&s->engine->lock);
    forget_embeddings(s);
}

/* ---- Refusals ---- */

static llrt_status fail_reach(size_t n_tok, const char *why, const char *which, size_t instead,
                              llrt_error *err)
{
    llrti_fail(err, LLRT_ERR_STATE, "position %zu is out of reach, %s; the %s is %zu", n_tok, why,
               which, instead);
    llrti_error_position(err, (int64_t)instead);
    return LLRT_ERR_STATE;
}

/*
 * With a recurrent state only the ends of pages that have a snapshot count: others are computed
 * from there.
 */
static llrt_status fail_windows(const llrt_session *s, size_t n_tok, llrt_error *err)
{
    size_t earliest = llrti_window_earliest(s);
    if (llrti_state_has(s->engine)) {
        uint32_t n_page = llrti_session_pages(earliest);
        while ((size_t)n_page * LLRT_PAGE_TOK < s->n_tok && !llrti_state_is_at(s, n_page)) n_page++;
        earliest = LLRTI_MIN((size_t)n_page * LLRT_PAGE_TOK, s->n_tok);
    }
    return fail_reach(n_tok, "windowed layers have given up what is before it",
                      "earliest position beside 0", earliest, err);
}

static llrt_status fail_state(const llrt_session *s, size_t n_tok, llrt_error *err)
{
    return fail_reach(n_tok, "the state at the end of the page before it is not kept any more",
                      "next position before it", find_cut(s, n_tok), err);
}

static llrt_status fail_whole(const llrt_session *s, size_t n_tok, llrt_error *err)
{
    return llrti_fail(err, LLRT_ERR_STATE,
                      "the model reads its input as a whole: a session of %zu tokens can't be "
                      "shortened to %zu, only emptied",
                      s->n_tok, n_tok);
}

static llrt_status fail_room(size_t n_tok, llrt_error *err)
{
    return llrti_fail(err, LLRT_ERR_POOL_FULL,
                      "what going back to position %zu needs is promised to calls in progress",
                      n_tok);
}

/* ---- Computing ---- */

typedef struct aside {
    size_t n_tok;
    uint32_t n_page, state, window_begin, window_end;
    uint32_t page, window_page; /* of the page that is computed again */
} aside;

/* Lets go of the parts [begin, end) of the table that are not among those put aside. */
static void release_parts(llrt_session *s, uint32_t begin, uint32_t end, const aside *old)
{
    for (; begin < end; begin++) {
        if (begin >= old->window_begin && begin < old->window_end) continue;
        llrti_slots_idle_release(&s->engine->pool.window, s->window_page[begin]);
        s->window_page[begin] = LLRTI_SLOT_NONE;
    }
}

/* Holds the parts that computing from page `slot` on needs, beside those put aside. */
static bool hold_parts(llrt_session *s, uint32_t slot, const aside *old)
{
    if (!s->window_page) return true;
    llrti_slots *const slots = &s->engine->pool.window;
    const uint32_t need = llrti_window_need_from(s->engine, (size_t)slot * LLRT_PAGE_TOK);
    uint32_t first = slot;
    for (; first > need; first--) {
        if (first - 1 >= old->window_begin && first - 1 < old->window_end) continue;
        const uint32_t part = llrti_slots_of(slots, s->page[first - 1]);
        if (!llrti_slots_idle_hold(slots, part)) {
            release_parts(s, first, slot, old);
            return false;
        }
        s->window_page[first - 1] = part;
    }
    s->window_begin = LLRTI_MIN(first, old->window_begin);
    s->window_end = slot;
    return true;
}

/*
 * Under the lock: the session becomes what it was at page `slot`; false when there is no room, and
 * nothing changed.
 */
static bool step_back(llrt_session *s, uint32_t slot, aside *old)
{
    llrti_slots *const states = &s->engine->pool.state;
    const uint32_t state = slot ? llrti_slots_of(states, s->page[slot - 1]) : LLRTI_SLOT_NONE;
    *old = (aside){s->n_tok,      s->n_page,     s->state,       s->window_begin,
                   s->window_end, s->page[slot], LLRTI_SLOT_NONE};
    if (state != LLRTI_SLOT_NONE && !llrti_slots_idle_hold(states, state)) return false;
    if (!hold_parts(s, slot, old)) {
        if (state != LLRTI_SLOT_NONE) llrti_slots_idle_release(states, state);
        return false;
    }
    if (s->window_page) {
        old->window_page = s->window_page[slot];
        s->window_page[slot] = LLRTI_SLOT_NONE;
    }
    s->state = state;
    s->n_page = slot;
    s->n_tok = (size_t)slot * LLRT_PAGE_TOK;
    return true;
}

/* Under the lock, after a failure: everything as it was. */
static void restore(llrt_session *s, uint32_t slot, const aside *old)
{
    llrti_slots *const states = &s->engine->pool.state;
    if (s->window_page) {
        /* Down to `slot` by hand: what was put aside lies there in the table. */
        for (uint32_t i = LLRTI_MAX(slot, s->window_begin); i < s->window_end; i++)
            llrti_slots_idle_release(&s->engine->pool.window, s->window_page[i]);
        release_parts(s, s->window_begin, LLRTI_MIN(slot, s->window_end), old);
        s->window_page[slot] = old->window_page;
    }
    while (s->n_page > slot) llrti_pool_release(&s->engine->pool, s->page[--s->n_page]);
    if (s->state != LLRTI_SLOT_NONE) llrti_slots_idle_release(states, s->state);
    s->page[slot] = old->page;
    s->n_tok = old->n_tok;
    s->n_page = old->n_page;
    s->state = old->state;
    s->window_begin = old->window_begin;
    s->window_end = old->window_end;
}

/* Under the lock, after success: lets go of what was put aside. */
static void forget(llrt_session *s, uint32_t slot, const aside *old)
{
    llrti_slots *const windows = &s->engine->pool.window;
    for (uint32_t i = old->window_end; s->window_page && i > old->window_begin; i--) {
        const uint32_t at = i - 1;
        if (at > slot) {
            llrti_slots_idle_release(windows, s->window_page[at]);
            s->window_page[at] = LLRTI_SLOT_NONE;
        } else if (at == slot) {
            llrti_slots_idle_release(windows, old->window_page);
        }
    }
    for (uint32_t i = old->n_page; i > slot; i--)
        llrti_pool_release(&s->engine->pool, i - 1 > slot ? s->page[i - 1] : old->page);
    if (old->state != LLRTI_SLOT_NONE) llrti_slots_idle_release(&s->engine->pool.state, old->state);
}

static llrt_status compute_page(llrt_session *s, size_t n_tok, llrt_error *err)
{
    llrt_engine *const engine = s->engine;
    const uint32_t slot = (uint32_t)(n_tok / LLRT_PAGE_TOK);
    const size_t begin = (size_t)slot * LLRT_PAGE_TOK;
    const llrt_input input = {
        .struct_size = (uint32_t)sizeof input,
        .logits = LLRT_LOGITS_NONE,
        .tokens = s->tokens + begin,
        .n_tok = n_tok - begin,
    };
    aside old;
    llrti_mutex_lock(&engine->lock);
    const bool is_back = step_back(s, slot, &old);
    llrti_mutex_unlock(&engine->lock);
    if (!is_back) return fail_room(n_tok, err);
    llrt_status status = llrti_session_make_work(s, &input, false, LLRTI_READ_NOTHING, err);
    if (status == LLRT_OK) {
        llrti_work *works[1] = {&s->work};
        llrti_step_compute(engine, works, 1);
        status = s->work.status;
        if (status < 0) llrti_error_copy(err, &s->work.err);
    }
    llrti_mutex_lock(&engine->lock);
    if (status < 0)
        restore(s, slot, &old);
    else
        forget(s, slot, &old);
    llrti_mutex_unlock(&engine->lock);
    return status;
}

/* That all is kept that computing the page up to n_tok needs. */
static llrt_status check_span(const llrt_session *s, size_t n_tok, llrt_error *err)
{
    const size_t begin = n_tok / LLRT_PAGE_TOK * LLRT_PAGE_TOK;
    if (begin >= s->lost_end || n_tok <= s->first_embedding) return LLRT_OK;
    return fail_reach(n_tok,
                      "the page before it would be computed again, and not all of its input is "
                      "kept (embedding rows, token types, bidirectional tokens)",
                      "next position before it", begin, err);
}

llrt_status llrti_rewind(llrt_session *s, size_t n_tok, llrt_error *err)
{
    llrt_engine *const engine = s->engine;
    const size_t begin = n_tok / LLRT_PAGE_TOK * LLRT_PAGE_TOK;
    llrt_status status = LLRT_OK;
    if (n_tok > s->n_tok) {
        return llrti_fail(err, LLRT_ERR_ARGUMENT, "found %zu, the session has %zu tokens", n_tok,
                          s->n_tok);
    }
    if (n_tok == s->n_tok) return LLRT_OK;
    llrti_mutex_lock(&engine->lock);
    /* To compute from the page's beginning, the session must be able to go back there. */
    const bool is_computing = llrti_state_has(engine) && n_tok != begin;
    if (engine->model->is_bidirectional && n_tok)
        status = fail_whole(s, n_tok, err);
    else if (!llrti_window_can_seek(s, is_computing ? begin : n_tok))
        status = fail_windows(s, n_tok, err);
    else if (!llrti_state_is_at(s, (uint32_t)(begin / LLRT_PAGE_TOK)))
        status = fail_state(s, n_tok, err);
    else if (!is_computing && !can_cut(s, n_tok))
        status = fail_room(n_tok, err);
    else if (!is_computing)
        cut(s, n_tok);
    llrti_mutex_unlock(&engine->lock);
    LLRTI_TRY(status);
    if (is_computing) {
        LLRTI_TRY(check_span(s, n_tok, err));
        LLRTI_TRY(compute_page(s, n_tok, err));
    }
    forget_embeddings(s);
    return LLRT_OK;
}
