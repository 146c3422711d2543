/* SPDX-License-Identifier: MIT */
/*
 * Going back: how far a session can be cut without computing, and the computing of what a recurrent
 * state lacks.
 */
#ifndef LLRTI_REWIND_H
#define LLRTI_REWIND_H

#include "session_impl.h"

/** llrt_session_rewind on an entered session. */
llrt_status llrti_rewind(llrt_session *session, size_t n_tok, llrt_error *err);

/**
 * The furthest position up to n_tok (which is at most what it has) that llrti_rewind_cut would cut
 * to now.
 */
size_t llrti_rewind_reach(const llrt_session *session, size_t n_tok);
/**
 * Cuts an entered session to the furthest position up to n_tok (which is at most what it has) that
 * can be gone back to without computing. 0 always can.
 */
void llrti_rewind_cut(llrt_session *session, size_t n_tok);

#endif
