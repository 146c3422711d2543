/* SPDX-License-Identifier: MIT */
/*
 * Pages are reserved for the whole input, so a call fails for lack of them before anything has
 * changed; what is needed beside them (parts of windowed layers, states) is promised at the same
 * time. A page that is shared or indexed is copied before it is written to. Pages completed by a
 * step go into the prefix index; when an equal page is there already, it takes the new one's place.
 *
 * A session can go on from the end of a page when the parts of the windows before it and the state
 * there exist: only such ends are offered for reuse, though the pages before them may be found.
 */
#include "pages.h"

#include <assert.h>

#include "prefix.h"
#include "state.h"
#include "window.h"

static bool is_reusing(const llrti_work *work)
{
    const llrt_session *const s = work->session;
    return !work->embeddings && !work->is_one_step && s->first_embedding == LLRTI_NO_EMBEDDING &&
           s->n_tok % LLRT_PAGE_TOK == 0;
}

static uint32_t find_page(const llrt_session *s, uint32_t parent, uint32_t slot)
{
    return llrti_prefix_find(&s->engine->pool, parent, s->salt,
                             s->tokens + (size_t)slot * LLRT_PAGE_TOK);
}

static uint32_t parent_of(const llrt_session *s, uint32_t slot)
{
    return slot ? s->page[slot - 1] : LLRTI_PAGE_NONE;
}

/*
 * Pages up to the furthest end the session can go on from without computing; what it has when
 * nothing is found. *n_cached: how many of them nobody holds.
 */
static uint32_t find_known(const llrti_work *work, uint32_t *n_cached)
{
    const llrt_session *const s = work->session;
    const llrt_engine *const engine = s->engine;
    const llrti_pool *const pool = &engine->pool;
    const uint32_t begin = (uint32_t)(s->n_tok / LLRT_PAGE_TOK);
    uint32_t parent = parent_of(s, begin), best = begin, n = 0;
    uint32_t first = s->window_begin; /* parts are there from this page on without a gap */
    *n_cached = 0;
    if (!is_reusing(work)) return begin;
    size_t n_done = work->n_done;
    for (uint32_t slot = begin; n_done + LLRT_PAGE_TOK <= work->n_reusable; slot++) {
        const uint32_t found = find_page(s, parent, slot);
        if (found == LLRTI_PAGE_NONE) break;
        n += pool->page[found].n_ref == 0;
        n_done += LLRT_PAGE_TOK;
        parent = found;
        if (llrti_slots_of(&pool->window, found) == LLRTI_SLOT_NONE) first = slot + 1;
        const bool has_window =
            !engine->window ||
            first <= llrti_window_need_from(engine, (size_t)(slot + 1) * LLRT_PAGE_TOK);
        const bool has_state =
            !llrti_state_has(engine) || llrti_slots_of(&pool->state, found) != LLRTI_SLOT_NONE;
        if (!has_window || !has_state) continue;
        best = slot + 1;
        *n_cached = n;
    }
    return best;
}

/* Takes over the known pages up to n_page. */
static void adopt(llrti_work *work, uint32_t n_page)
{
    llrt_session *const s = work->session;
    llrt_engine *const engine = s->engine;
    const uint32_t begin = (uint32_t)(s->n_tok / LLRT_PAGE_TOK);
    if (n_page <= begin) return;
    llrti_window_trim(s, begin);
    for (uint32_t slot = begin; slot < n_page; slot++) {
        const uint32_t found = find_page(s, parent_of(s, slot), slot);
        llrti_pool_hold(&engine->pool, found);
        if (slot < s->n_page)
            llrti_pool_release(&engine->pool, s->page[slot]);
        else
            s->n_page = slot + 1;
        s->page[slot] = found;
    }
    const size_t n_tok = (size_t)(n_page - begin) * LLRT_PAGE_TOK;
    s->n_tok += n_tok;
    work->n_done += n_tok;
    work->n_reused += n_tok;
    engine->n_tok_reused += n_tok;
    llrti_window_seek(s, s->n_tok);
    llrti_state_seek(s, n_page);
}

void llrti_pages_reuse(llrti_work *work)
{
    uint32_t n_cached;
    adopt(work, find_known(work, &n_cached));
}

static llrt_status fail_slots(const llrti_slots *slots, const char *what, llrt_error *err)
{
    return llrti_fail(err, LLRT_ERR_POOL_FULL,
                      "%s: of the pool's %u, %u are held by sessions and %u promised to calls in "
                      "progress, too many for one call more",
                      what, slots->n_slot, slots->n_paid, slots->n_promised);
}

static llrt_status promise_slots(llrti_work *work, bool is_copying, llrt_error *err)
{
    llrt_session *const s = work->session;
    llrti_pool *const pool = &s->engine->pool;
    if (!llrti_window_promise(work, is_copying))
        return fail_slots(&pool->window, "pages of windowed layers", err);
    if (!llrti_state_promise(work)) {
        llrti_slots_unpromise(&pool->window, &s->window_promise, s->window_promise);
        return fail_slots(&pool->state, "recurrent states", err);
    }
    s->is_in_call = true;
    llrti_window_enter(work, is_copying);
    llrti_state_enter(work);
    return LLRT_OK;
}

llrt_status llrti_pages_reserve(llrti_work *work, llrt_error *err)
{
    llrt_session *const s = work->session;
    llrti_pool *const pool = &s->engine->pool;
    uint32_t n_cached;
    const uint32_t n_known = find_known(work, &n_cached);
    const uint32_t missing =
        llrti_session_pages(work->begin + work->n_tok) - LLRTI_MAX(s->n_page, n_known);
    const uint32_t available = pool->n_free + pool->n_cached - n_cached;
    const uint32_t slot = (uint32_t)(s->n_tok / LLRT_PAGE_TOK);
    const bool is_inside = s->n_tok % LLRT_PAGE_TOK != 0;
    bool is_copying = is_inside && llrti_pool_is_shared(pool, s->page[slot]);
    /* When there is no page to copy it to and only the index knows it, the index forgets it. */
    const bool is_forgetting = is_copying && missing + 1 > available && missing <= available &&
                               pool->page[s->page[slot]].n_ref == 1;
    is_copying = is_copying && !is_forgetting;
    if (missing + is_copying > available) {
        return llrti_fail(err, LLRT_ERR_POOL_FULL,
                          "%u pages of %d tokens are needed, %u of the pool's %u are not held by "
                          "sessions",
                          missing + is_copying, LLRT_PAGE_TOK, available, pool->n_page);
    }
    LLRTI_TRY(promise_slots(work, is_copying, err));
    if (is_forgetting) llrti_prefix_remove(pool, s->page[slot]);
    /*
     * Written in place, a page has no snapshot: where there are states, a session is inside of a
     * page only while it is filled for the first time (rewind.c).
     */
    assert(!is_inside || is_copying ||
           llrti_slots_of(&pool->state, s->page[slot]) == LLRTI_SLOT_NONE);
    adopt(work, n_known);
    llrti_pool_take(pool, missing, s->page + s->n_page);
    s->n_page += missing;
    if (is_copying) {
        work->copy_from = s->page[slot];
        llrti_pool_take(pool, 1, &s->page[slot]);
        llrti_window_copy(work, slot);
    }
    return LLRT_OK;
}

/* ---- Steps ---- */

uint32_t llrti_pages_fit(const llrti_work *work, uint32_t max_row)
{
    return LLRTI_MIN(max_row, llrti_window_fit(work));
}

void llrti_pages_take(llrti_work *work, uint32_t n_row)
{
    llrti_window_take(work, llrti_session_pages(work->session->n_tok + n_row));
    llrti_state_take(work, n_row);
}

static llrt_status copy_group(llrt_engine *engine, uint32_t group, uint32_t to, uint32_t from,
                              uint32_t n_tok, llrt_error *err)
{
    for (uint32_t i = 0; i < engine->stages.n; i++) {
        const llrti_engine_stage *const stage = &engine->stages.at[i];
        if (stage->page_bytes[group] == 0) continue;
        LLRTI_TRY(stage->backend->page_copy(stage->runtime, group, to, from, n_tok, err));
    }
    return LLRT_OK;
}

llrt_status llrti_pages_copy(llrti_work *work, llrt_error *err)
{
    const llrt_session *const s = work->session;
    const uint32_t n_tok = (uint32_t)(s->n_tok % LLRT_PAGE_TOK);
    const size_t slot = s->n_tok / LLRT_PAGE_TOK;
    if (work->copy_from == LLRTI_PAGE_NONE || work->is_copied) return LLRT_OK;
    LLRTI_TRY(
        copy_group(s->engine, LLRT_KV_GROUP_FULL, s->page[slot], work->copy_from, n_tok, err));
    if (work->copy_window != LLRTI_SLOT_NONE) {
        LLRTI_TRY(copy_group(s->engine, LLRT_KV_GROUP_WINDOW, s->window_page[slot],
                             work->copy_window, n_tok, err));
    }
    work->is_copied = true;
    return LLRT_OK;
}

void llrti_pages_settle(llrti_work *work)
{
    llrt_session *const s = work->session;
    llrti_pool *const pool = &s->engine->pool;
    const uint32_t slot = (uint32_t)(s->n_tok / LLRT_PAGE_TOK);
    if (work->copy_from == LLRTI_PAGE_NONE) return;
    if (work->copy_window != LLRTI_SLOT_NONE) llrti_window_settle(work, slot, work->is_copied);
    if (work->is_copied) {
        llrti_pool_release(pool, work->copy_from);
    } else {
        llrti_pool_release(pool, s->page[slot]);
        s->page[slot] = work->copy_from;
    }
    work->copy_from = LLRTI_PAGE_NONE;
    work->is_copied = false;
}

static void index_pages(llrt_session *s, size_t from_tok)
{
    llrti_pool *const pool = &s->engine->pool;
    const uint32_t end = (uint32_t)(s->n_tok / LLRT_PAGE_TOK);
    if (s->engine->model->is_bidirectional) return;
    for (uint32_t slot = (uint32_t)(from_tok / LLRT_PAGE_TOK); slot < end; slot++) {
        if (s->first_embedding < (size_t)(slot + 1) * LLRT_PAGE_TOK) return;
        const uint32_t known = llrti_prefix_add(pool, s->page[slot], parent_of(s, slot), s->salt,
                                                s->tokens + (size_t)slot * LLRT_PAGE_TOK);
        if (known == s->page[slot]) continue;
        llrti_pool_hold(pool, known);
        llrti_window_replace(s, slot, known);
        llrti_state_replace(s, slot, known);
        llrti_pool_release(pool, s->page[slot]);
        s->page[slot] = known;
    }
}

void llrti_pages_advance(llrti_work *work)
{
    llrt_session *const s = work->session;
    const size_t before = s->n_tok;
    llrti_pages_settle(work);
    llrti_state_advance(work, work->step_row);
    s->n_tok += work->step_row;
    index_pages(s, before);
    llrti_window_advance(work);
}

void llrti_pages_retreat(llrti_work *work)
{
    if (work->is_copied) llrti_pages_settle(work);
    llrti_state_drop(work);
}

void llrti_pages_end(llrti_work *work)
{
    llrt_session *const s = work->session;
    llrti_pages_settle(work);
    llrti_session_trim(s, llrti_session_pages(s->n_tok));
    llrti_window_leave(s);
    llrti_state_leave(s);
    s->is_in_call = false;
}
