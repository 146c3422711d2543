/* SPDX-License-Identifier: MIT */
/*
 * Positions that a caller gives tokens for rotation (llrt_input.positions), and how tokens after
 * them go on. A session keeps them from the first token that was given one; before it, and in
 * sessions that never were, a token's position is its place. Owner of the session only.
 */
#ifndef LLRTI_POSITION_H
#define LLRTI_POSITION_H

#include "session_impl.h"

#define LLRTI_NO_POSITION SIZE_MAX
#define LLRTI_POSITION_MAX (INT32_C(1) << 30)

/** Numbers kept for each token: its three positions, and the largest up to it. */
#define LLRTI_POSITION_KEPT 4

/** What an input says about positions and token types is in range. */
llrt_status llrti_position_check(const llrt_session *session, const llrt_input *input,
                                 llrt_error *err);
/**
 * Keeps positions of the n_tok tokens that are to follow: those given, or continued ones. Does
 * nothing in a session without any. Allocates when they are the first ones.
 */
llrt_status llrti_position_take(llrt_session *session, const llrt_input *input, llrt_error *err);
/** Forgets positions from the session's n_tok on. */
void llrti_position_forget(llrt_session *session);
/** (n, 3) positions of tokens [begin, begin + n). */
void llrti_position_fill(const llrt_session *session, size_t begin, size_t n, int32_t *to);
/** For a fork: the positions of `from`, which has as many tokens. */
llrt_status llrti_position_copy(llrt_session *session, const llrt_session *from, llrt_error *err);

/** Room for the positions of a session's context, class SESSION. */
llrt_status llrti_position_allocate(const llrt_session *session, int32_t **out, llrt_error *err);
/** Keeps the three positions given as those of token i; all from `first` on are set in order. */
void llrti_position_set(int32_t *kept, size_t first, size_t i, const int32_t position[3]);

static inline bool llrti_position_is_used(const llrt_session *session)
{
    return session->first_position != LLRTI_NO_POSITION;
}

#endif
