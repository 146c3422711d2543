/* SPDX-License-Identifier: MIT */
/*
 * Engine and session options: taking them over from a caller's struct of any size, defaults and ranges.
 * Every refusal names the field. Stateless; any thread.
 */
#ifndef LLRTI_OPTIONS_H
#define LLRTI_OPTIONS_H

#include <stdbool.h>

#include <llrt/backend.h>
#include <llrt/session.h>

/** Most of what an engine can be asked for; larger numbers are refused as mistakes. */
#define LLRTI_CTX_MAX (UINT32_C(1) << 24)
#define LLRTI_STEP_TOK_MAX (UINT32_C(1) << 16)
#define LLRTI_STEP_SEQ_MAX 1024u
#define LLRTI_THREAD_MAX 1024u
#define LLRTI_TAP_MAX 4096u
#define LLRTI_ADAPTER_MAX 1024u
#define LLRTI_ADAPTER_RANK_MAX 4096u
#define LLRTI_PAGE_MAX (UINT32_C(1) << 24)

/** `from` may be NULL. Zeroes that mean "default" are resolved where that needs no model. */
llrt_status llrti_options_engine(const llrt_engine_options *from, llrt_engine_options *out,
                                 llrt_error *err);
/** The rest, when the model is known: is_whole as llrti_model's is_bidirectional, n_ctx the engine's. */
llrt_status llrti_options_step(llrt_engine_options *options, bool is_whole, uint32_t n_ctx,
                               llrt_error *err);
/** Resolves n_ctx against the engine's. */
llrt_status llrti_options_session(const llrt_session_options *from, uint32_t engine_n_ctx,
                                  llrt_session_options *out, llrt_error *err);

#endif
