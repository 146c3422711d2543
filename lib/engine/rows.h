/* SPDX-License-Identifier: MIT */
/*
 * What a session gets of the rows it wanted: logits, hidden states, what tapped layers left behind. One block
 * holds them, each kind by itself; it grows when a call wants more rows than there is room for.
 */
#ifndef LLRTI_ROWS_H
#define LLRTI_ROWS_H

#include "session_impl.h"

/** Bytes of n rows; false on overflow. */
bool llrti_rows_bytes(const llrt_engine *engine, bool with_hidden, size_t n, size_t *out);
/** Room for n rows. Rows that are held stay: the call may yet fail with nothing changed. */
llrt_status llrti_rows_ensure(llrt_session *session, size_t n, llrt_error *err);

/**
 * Reads what the last step computed for a work: n_out wanted rows, of which the first n_read are the caller's and
 * one may be a sampler's. By the leader, between steps.
 */
llrt_status llrti_rows_read(llrt_engine *engine, const llrti_work *work, uint32_t n_out,
                            llrt_error *err);

#endif
