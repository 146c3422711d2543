/* SPDX-License-Identifier: MIT */
/*
 * The windowed part of sessions: layers with a window look back a limited number of positions, so
 * of their group a session holds only the parts of its last pages. A part belongs to a page of the
 * pool (slots.h: pool.window) and is shared and copied with it.
 *
 * A session of n tokens keeps the parts that reach into the last window + LLRT_PAGE_TOK positions:
 * what the next token needs and a page more, so that it can be rewound a little. What it gives up
 * stays as long as there is room.
 *
 *      page         0    1    2    3    4    5
 *      window_page  -    -    w7   w0   w3   -        window_begin 2, window_end 5
 *
 * All functions are called under the engine's lock and do nothing for models without such layers.
 */
#ifndef LLRTI_WINDOW_H
#define LLRTI_WINDOW_H

#include "session_impl.h"

/** Parts a session holds at most between steps: window and one page, wherever pages begin. */
static inline uint32_t llrti_window_most(uint32_t window)
{
    return (window + LLRT_PAGE_TOK - 1) / LLRT_PAGE_TOK + 2;
}

/**
 * First page whose part a session of n_tok tokens keeps, and the first without which it can't go
 * on.
 */
uint32_t llrti_window_keep_from(const llrt_engine *engine, size_t n_tok);
uint32_t llrti_window_need_from(const llrt_engine *engine, size_t n_tok);

/* ---- In a call ---- */

/**
 * Promises what the work will need at once, before anything changes; false when there is no room.
 * is_copying: its last page is shared and will be copied.
 */
bool llrti_window_promise(llrti_work *work, bool is_copying);
/** The held parts are now held in a call, but for a page's that is to be copied. */
void llrti_window_enter(llrti_work *work, bool is_copying);
/** Gives a page that was taken to be a copy its own part; work->copy_window keeps the old one. */
void llrti_window_copy(llrti_work *work, uint32_t slot);
/** The copy took place, or the old page comes back. */
void llrti_window_settle(llrti_work *work, uint32_t slot, bool is_copied);
/** Rows the work can compute in the next step: at least one. */
uint32_t llrti_window_fit(const llrti_work *work);
/** Takes parts for pages below n_page, which the session has. */
void llrti_window_take(llrti_work *work, uint32_t n_page);
/** After the session went on: gives up parts and promises that are not needed any more. */
void llrti_window_advance(llrti_work *work);
/** The session's page `slot`, whose part it holds, is about to be replaced by an equal one. */
void llrti_window_replace(llrt_session *session, uint32_t slot, uint32_t page);
/** Ends the call: what is held stays held. */
void llrti_window_leave(llrt_session *session);

/* ---- In a call or outside ---- */

/** Lets go of the parts of pages from n_page on; before the pages go. */
void llrti_window_trim(llrt_session *session, uint32_t n_page);
/**
 * Holds the parts that a session of n_tok tokens keeps, as far as its pages have them, and no
 * others.
 */
void llrti_window_seek(llrt_session *session, size_t n_tok);

/* ---- Outside ---- */

/** Every part that computing from n_tok on needs exists. */
bool llrti_window_can_seek(const llrt_session *session, size_t n_tok);
/** There is room to hold the parts for n_tok, n_tok being at most what the session has. */
bool llrti_window_has_room(const llrt_session *session, size_t n_tok);
/** The least position from which all up to the end can be gone back to. */
size_t llrti_window_earliest(const llrt_session *session);

#endif
