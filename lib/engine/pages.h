/* SPDX-License-Identifier: MIT */
/*
 * The pages of work: taking over those that hold the next tokens already, reserving what a call
 * needs before its first row is computed, copying a page before it is written to, indexing what was
 * completed. All functions are called under the engine's lock, but llrti_pages_copy by the leader
 * without it.
 */
#ifndef LLRTI_PAGES_H
#define LLRTI_PAGES_H

#include "session_impl.h"

/**
 * Reserves pages for the whole input, and promises of what its steps hold beside; the session is
 * then in the call. LLRT_ERR_POOL_FULL: nothing has changed.
 */
llrt_status llrti_pages_reserve(llrti_work *work, llrt_error *err);
/** Takes over pages that hold the next tokens already, if there are any. */
void llrti_pages_reuse(llrti_work *work);
/** Rows of the next max_row that can be computed now at once; at least one. */
uint32_t llrti_pages_fit(const llrti_work *work, uint32_t max_row);
/** Takes what the next n_row rows need beside their pages. */
void llrti_pages_take(llrti_work *work, uint32_t n_row);
/** Copies the page that is to be written to, if it is shared. */
llrt_status llrti_pages_copy(llrti_work *work, llrt_error *err);
/** Settles that copy: the old page goes when it was copied, comes back when it was not. */
void llrti_pages_settle(llrti_work *work);
/** The step of step_row rows succeeded: the session moves on and what it completed is indexed. */
void llrti_pages_advance(llrti_work *work);
/** It failed: what was taken for it is given back. */
void llrti_pages_retreat(llrti_work *work);
/** The work is finished: gives up what is not the session's; the session has left the call. */
void llrti_pages_end(llrti_work *work);

#endif
