/* SPDX-License-Identifier: MIT */
/*
 * The recurrent state of sessions. It can't be shortened, so it is kept in slots that are written
 * once (slots.h: pool.state), each with the state of all layers at one position; the same number in
 * every stage.
 *
 *   session->state         at n_tok; LLRTI_SLOT_NONE at 0, where it is all zeros
 *   pool.state.of_page[p]  at the end of page p: a snapshot, until room is needed
 *
 * A step reads the session's state and writes the one that follows to a fresh slot, and snapshots
 * of the page ends it passes to others, as far as there is room. When it has succeeded the session
 * moves on; else those slots are free again and nothing has changed. A slot at a page end is the
 * session's and the page's at once.
 *
 * All functions are called under the engine's lock and do nothing for models without recurrent
 * layers.
 */
#ifndef LLRTI_STATE_H
#define LLRTI_STATE_H

#include "session_impl.h"

/** States a session holds at most at once: the one it has and the one that follows. */
#define LLRTI_STATE_LIVE 2u

/** Snapshots an engine keeps when it is not told: one per page, but no more than these bytes. */
#define LLRTI_STATE_DEFAULT_BYTES (UINT64_C(512) << 20)
#define LLRTI_STATE_DEFAULT_LEAST 16u

static inline bool llrti_state_has(const llrt_engine *engine)
{
    return engine->pool.state.n_slot > 0;
}

/** The state at the end of the session's first n_page pages exists (that of none always does). */
bool llrti_state_is_at(const llrt_session *session, uint32_t n_page);

/* ---- In a call, as window.h's ---- */

bool llrti_state_promise(llrti_work *work);
void llrti_state_unpromise(llrti_work *work);
void llrti_state_enter(llrti_work *work);
/** Slots for what the next n_row rows leave. */
void llrti_state_take(llrti_work *work, uint32_t n_row);
/** The step failed: they are free again. */
void llrti_state_drop(llrti_work *work);
/** The step of n_row rows, which are not yet counted in n_tok, succeeded. */
void llrti_state_advance(llrti_work *work, uint32_t n_row);
/** The session's page `slot` is about to be replaced by an equal one. */
void llrti_state_replace(llrt_session *session, uint32_t slot, uint32_t page);
void llrti_state_leave(llrt_session *session);

/* ---- In a call or outside ---- */

/** Outside: there is room to hold the state at the end of the session's first n_page pages. */
bool llrti_state_has_room(const llrt_session *session, uint32_t n_page);
/** The session's state becomes the one at the end of its first n_page pages, which exists. */
void llrti_state_seek(llrt_session *session, uint32_t n_page);

#endif
