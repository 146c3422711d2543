/* SPDX-License-Identifier: MIT */
/*
 * Which states a session holds, and when it is promised more. See state.h.
 */
#include "state.h"

#include <assert.h>

static llrti_slots *slots_of(const llrt_session *session)
{
    return &session->engine->pool.state;
}

static void let_go(llrt_session *s, uint32_t slot)
{
    if (slot == LLRTI_SLOT_NONE) return;
    if (s->is_in_call)
        llrti_slots_release(slots_of(s), &s->state_promise, slot);
    else
        llrti_slots_idle_release(slots_of(s), slot);
}

bool llrti_state_is_at(const llrt_session *s, uint32_t n_page)
{
    if (!llrti_state_has(s->engine) || n_page == 0) return true;
    return llrti_slots_of(slots_of(s), s->page[n_page - 1]) != LLRTI_SLOT_NONE;
}

static uint32_t state_at_end(const llrt_session *s, uint32_t n_page)
{
    return n_page ? llrti_slots_of(slots_of(s), s->page[n_page - 1]) : LLRTI_SLOT_NONE;
}

bool llrti_state_has_room(const llrt_session *s, uint32_t n_page)
{
    const llrti_slots *const slots = slots_of(s);
    const uint32_t state = state_at_end(s, n_page);
    if (state == LLRTI_SLOT_NONE || slots->slot[state].n_idle > 0) return true;
    return llrti_slots_room(slots) > 0 ||
           (s->state != LLRTI_SLOT_NONE && llrti_slots_is_alone(slots, s->state));
}

void llrti_state_seek(llrt_session *s, uint32_t n_page)
{
    const uint32_t state = state_at_end(s, n_page);
    if (!llrti_state_has(s->engine) || state == s->state) return;
    let_go(s, s->state); /* first, so that there is room; nothing is evicted by it */
    s->state = state;
    if (state == LLRTI_SLOT_NONE) return;
    if (s->is_in_call)
        llrti_slots_hold(slots_of(s), &s->state_promise, state);
    else
        llrti_slots_idle_hold(slots_of(s), state);
}

/* ---- In a call ---- */

bool llrti_state_promise(llrti_work *work)
{
    llrt_session *const s = work->session;
    if (!llrti_state_has(s->engine)) return true;
    const bool is_alone =
        s->state != LLRTI_SLOT_NONE && llrti_slots_is_alone(slots_of(s), s->state);
    return llrti_slots_promise(slots_of(s), &s->state_promise, LLRTI_STATE_LIVE, is_alone);
}

void llrti_state_unpromise(llrti_work *work)
{
    llrt_session *const s = work->session;
    llrti_slots_unpromise(slots_of(s), &s->state_promise, s->state_promise);
}

void llrti_state_enter(llrti_work *work)
{
    llrt_session *const s = work->session;
    if (s->state != LLRTI_SLOT_NONE) llrti_slots_enter(slots_of(s), &s->state_promise, s->state);
}

/*
 * Ends of pages strictly inside the next n_row rows: pages [*first, *end). The last row's state is
 * state_out.
 */
static void inner_ends(const llrt_session *s, uint32_t n_row, uint32_t *first, uint32_t *end)
{
    *first = (uint32_t)(s->n_tok / LLRT_PAGE_TOK);
    *end = (uint32_t)((s->n_tok + n_row - 1) / LLRT_PAGE_TOK);
}

void llrti_state_take(llrti_work *work, uint32_t n_row)
{
    llrt_session *const s = work->session;
    llrti_slots *const slots = slots_of(s);
    uint32_t first, end;
    if (!llrti_state_has(s->engine)) return;
    work->state_out = llrti_slots_take(slots, &s->state_promise);
    inner_ends(s, n_row, &first, &end);
    /* Later ones are worth more; the others must not evict them. */
    while (end > first && llrti_slots_spare(slots) > 0) {
        llrti_slots_lend(slots, &s->state_promise, &s->state_lent, 1);
        s->state_at[--end] = llrti_slots_take(slots, &s->state_promise);
    }
}

void llrti_state_drop(llrti_work *work)
{
    llrt_session *const s = work->session;
    uint32_t first, end;
    if (!llrti_state_has(s->engine) || work->state_out == LLRTI_SLOT_NONE) return;
    let_go(s, work->state_out);
    work->state_out = LLRTI_SLOT_NONE;
    inner_ends(s, work->step_row, &first, &end);
    for (; first < end; first++) {
        let_go(s, s->state_at[first]);
        s->state_at[first] = LLRTI_SLOT_NONE;
    }
    llrti_slots_repay(slots_of(s), &s->state_promise, &s->state_lent, s->state_lent);
}

void llrti_state_advance(llrti_work *work, uint32_t n_row)
{
    llrt_session *const s = work->session;
    llrti_slots *const slots = slots_of(s);
    uint32_t first, end;
    if (!llrti_state_has(s->engine)) return;
    inner_ends(s, n_row, &first, &end);
    for (; first < end; first++) {
        if (s->state_at[first] == LLRTI_SLOT_NONE) continue;
        llrti_slots_give(slots, s->state_at[first], s->page[first]);
        let_go(s, s->state_at[first]);
        s->state_at[first] = LLRTI_SLOT_NONE;
    }
    let_go(s, s->state);
    s->state = work->state_out;
    work->state_out = LLRTI_SLOT_NONE;
    if ((s->n_tok + n_row) % LLRT_PAGE_TOK == 0) llrti_slots_give(slots, s->state, s->page[end]);
    llrti_slots_repay(slots, &s->state_promise, &s->state_lent, s->state_lent);
}

void llrti_state_replace(llrt_session *s, uint32_t slot, uint32_t page)
{
    if (llrti_slots_of(slots_of(s), page) == LLRTI_SLOT_NONE)
        llrti_slots_move(slots_of(s), s->page[slot], page);
}

void llrti_state_leave(llrt_session *s)
{
    if (!llrti_state_has(s->engine)) return;
    if (s->state != LLRTI_SLOT_NONE) llrti_slots_leave(slots_of(s), s->state);
    llrti_slots_unpromise(slots_of(s), &s->state_promise, s->state_promise);
}
