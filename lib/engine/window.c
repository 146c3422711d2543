/* SPDX-License-Identifier: MIT */
/*
 * Which parts a session holds, and when it is promised more. See window.h for what is kept.
 *
 * Between steps a session holds llrti_window_most() parts at most, and with that many it can
 * compute at least one row more, so that is what a call is promised. Steps with more rows are lent
 * what they need beside, as far as it goes.
 */
#include "window.h"

#include <assert.h>

static llrti_slots *slots_of(const llrt_session *session)
{
    return &session->engine->pool.window;
}

static bool has_windows(const llrt_session *session)
{
    return slots_of(session)->n_slot > 0;
}

uint32_t llrti_window_keep_from(const llrt_engine *engine, size_t n_tok)
{
    const size_t kept = (size_t)engine->window + LLRT_PAGE_TOK;
    return n_tok > kept ? (uint32_t)((n_tok - kept) / LLRT_PAGE_TOK) : 0;
}

uint32_t llrti_window_need_from(const llrt_engine *engine, size_t n_tok)
{
    const size_t end = n_tok + 1; /* the next token's own position is in its window */
    return end > engine->window ? (uint32_t)((end - engine->window) / LLRT_PAGE_TOK) : 0;
}

/* ---- Holding ---- */

static void let_go(llrt_session *s, uint32_t slot)
{
    if (s->is_in_call)
        llrti_slots_release(slots_of(s), &s->window_promise, s->window_page[slot]);
    else
        llrti_slots_idle_release(slots_of(s), s->window_page[slot]);
    s->window_page[slot] = LLRTI_SLOT_NONE;
}

static bool take_hold(llrt_session *s, uint32_t slot)
{
    const uint32_t part = llrti_slots_of(slots_of(s), s->page[slot]);
    if (s->is_in_call ? s->window_promise == 0 : !llrti_slots_idle_hold(slots_of(s), part))
        return false;
    if (s->is_in_call) llrti_slots_hold(slots_of(s), &s->window_promise, part);
    s->window_page[slot] = part;
    return true;
}

void llrti_window_trim(llrt_session *s, uint32_t n_page)
{
    while (s->window_end > n_page && s->window_end > s->window_begin) let_go(s, --s->window_end);
    if (s->window_end > n_page) s->window_begin = s->window_end = n_page;
}

/* Parts are there for [*from, n_page), *from being keep_from or where one is missing. */
static uint32_t find_parts(const llrt_session *s, uint32_t from, uint32_t n_page)
{
    uint32_t first = n_page;
    while (first > from && llrti_slots_of(slots_of(s), s->page[first - 1]) != LLRTI_SLOT_NONE)
        first--;
    return first;
}

void llrti_window_seek(llrt_session *s, size_t n_tok)
{
    if (!has_windows(s)) return;
    const uint32_t n_page = llrti_session_pages(n_tok);
    llrti_window_trim(s, n_page);
    const uint32_t first = find_parts(s, llrti_window_keep_from(s->engine, n_tok), n_page);
    while (s->window_begin < s->window_end && s->window_begin < first) let_go(s, s->window_begin++);
    if (s->window_begin == s->window_end) s->window_begin = s->window_end = n_page;
    /* Those before and behind what is held; what there is no room for is done without. */
    while (s->window_end < n_page && take_hold(s, s->window_end)) s->window_end++;
    while (s->window_begin > first && take_hold(s, s->window_begin - 1)) s->window_begin--;
}

bool llrti_window_can_seek(const llrt_session *s, size_t n_tok)
{
    if (!has_windows(s)) return true;
    const uint32_t from = llrti_window_need_from(s->engine, n_tok);
    const uint32_t n_page = llrti_session_pages(n_tok);
    return from >= n_page || find_parts(s, from, n_page) == from;
}

bool llrti_window_has_room(const llrt_session *s, size_t n_tok)
{
    if (!has_windows(s)) return true;
    const llrti_slots *const slots = slots_of(s);
    const uint32_t n_page = llrti_session_pages(n_tok);
    uint64_t wanted = 0, gained = 0;
    for (uint32_t i = llrti_window_need_from(s->engine, n_tok); i < n_page; i++)
        wanted += slots->slot[llrti_slots_of(slots, s->page[i])].n_idle == 0;
    for (uint32_t i = LLRTI_MAX(n_page, s->window_begin); i < s->window_end; i++)
        gained += llrti_slots_is_alone(slots, s->window_page[i]);
    return wanted <= gained + llrti_slots_room(slots);
}

size_t llrti_window_earliest(const llrt_session *s)
{
    if (!has_windows(s)) return 0;
    const uint32_t first = find_parts(s, 0, s->n_page);
    return first == 0 ? 0 : (size_t)first * LLRT_PAGE_TOK + s->engine->window - 1;
}

/* ---- In a call ---- */

bool llrti_window_promise(llrti_work *work, bool is_copying)
{
    llrt_session *const s = work->session;
    llrti_slots *const slots = slots_of(s);
    if (!has_windows(s)) return true;
    const uint32_t all = llrti_session_pages(work->begin + work->n_tok) -
                         llrti_window_keep_from(s->engine, work->begin);
    uint32_t cap = LLRTI_MIN(all, llrti_window_most(s->engine->window)), n_alone = 0;
    cap = LLRTI_MAX(cap, s->window_end - s->window_begin);
    if (work->is_one_step && slots->is_metered && all > cap + slots->n_spare) return false;
    for (uint32_t i = s->window_begin; i + is_copying < s->window_end; i++)
        n_alone += llrti_slots_is_alone(slots, s->window_page[i]);
    return llrti_slots_promise(slots, &s->window_promise, cap, n_alone);
}

void llrti_window_enter(llrti_work *work, bool is_copying)
{
    llrt_session *const s = work->session;
    if (!has_windows(s)) return;
    for (uint32_t i = s->window_begin; i + is_copying < s->window_end; i++)
        llrti_slots_enter(slots_of(s), &s->window_promise, s->window_page[i]);
}

static void take_part(llrt_session *s, uint32_t slot)
{
    s->window_page[slot] = llrti_slots_take(slots_of(s), &s->window_promise);
    llrti_slots_give(slots_of(s), s->window_page[slot], s->page[slot]);
}

void llrti_window_copy(llrti_work *work, uint32_t slot)
{
    llrt_session *const s = work->session;
    if (!has_windows(s)) return;
    assert(s->window_end == slot + 1);
    work->copy_window = s->window_page[slot];
    take_part(s, slot);
}

void llrti_window_settle(llrti_work *work, uint32_t slot, bool is_copied)
{
    llrt_session *const s = work->session;
    if (!has_windows(s)) return;
    if (is_copied) {
        llrti_slots_idle_release(slots_of(s), work->copy_window);
    } else {
        llrti_slots_release(slots_of(s), &s->window_promise, s->window_page[slot]);
        llrti_slots_enter(slots_of(s), &s->window_promise, work->copy_window);
        s->window_page[slot] = work->copy_window;
    }
    work->copy_window = LLRTI_SLOT_NONE;
}

uint32_t llrti_window_fit(const llrti_work *work)
{
    const llrt_session *const s = work->session;
    if (!has_windows(s)) return UINT32_MAX;
    const uint64_t n_page =
        (uint64_t)s->window_end + s->window_promise + llrti_slots_spare(slots_of(s));
    const uint64_t n_row = n_page * LLRT_PAGE_TOK - s->n_tok;
    return n_row < UINT32_MAX ? (uint32_t)n_row : UINT32_MAX;
}

void llrti_window_take(llrti_work *work, uint32_t n_page)
{
    llrt_session *const s = work->session;
    if (!has_windows(s) || n_page <= s->window_end) return;
    const uint32_t n = n_page - s->window_end;
    if (n > s->window_promise)
        llrti_slots_lend(slots_of(s), &s->window_promise, &s->window_lent, n - s->window_promise);
    while (s->window_end < n_page) take_part(s, s->window_end++);
}

void llrti_window_advance(llrti_work *work)
{
    llrt_session *const s = work->session;
    if (!has_windows(s)) return;
    const uint32_t from = llrti_window_keep_from(s->engine, s->n_tok);
    while (s->window_begin < s->window_end && s->window_begin < from) let_go(s, s->window_begin++);
    llrti_slots_repay(slots_of(s), &s->window_promise, &s->window_lent, s->window_lent);
}

void llrti_window_replace(llrt_session *s, uint32_t slot, uint32_t page)
{
    if (!has_windows(s) || slot < s->window_begin || slot >= s->window_end) return;
    const uint32_t part = llrti_slots_of(slots_of(s), page);
    if (part == LLRTI_SLOT_NONE) {
        llrti_slots_move(slots_of(s), s->page[slot], page);
        return;
    }
    llrti_slots_release(slots_of(s), &s->window_promise, s->window_page[slot]);
    llrti_slots_hold(slots_of(s), &s->window_promise, part);
    s->window_page[slot] = part;
}

void llrti_window_leave(llrt_session *s)
{
    if (!has_windows(s)) return;
    for (uint32_t i = s->window_begin; i < s->window_end; i++)
        llrti_slots_leave(slots_of(s), s->window_page[i]);
    llrti_slots_repay(slots_of(s), &s->window_promise, &s->window_lent, s->window_lent);
    llrti_slots_unpromise(slots_of(s), &s->window_promise, s->window_promise);
}
