/* SPDX-License-Identifier: MIT */
/*
 * The inside of llrt_session. It belongs to the thread that holds `is_busy`; the page table and n_tok also
 * to the engine's lock, under which a leading thread advances them while the owner waits.
 *
 * page[i] holds the positions [i * LLRT_PAGE_TOK, ...); n_page == ceil(n_tok / LLRT_PAGE_TOK) between calls, more
 * while a call has pages reserved. One block holds struct, tokens and page tables; logits have one of
 * their own, since calls may ask for more rows.
 */
#ifndef LLRTI_SESSION_IMPL_H
#define LLRTI_SESSION_IMPL_H

#include "adapter_impl.h"

#define LLRTI_NO_EMBEDDING SIZE_MAX

struct llrt_session {
    llrt_engine *engine;
    atomic_int is_busy;
    atomic_int is_cancelled;
    llrti_cond wake;
    llrt_session_options options; /* resolved */
    llrti_adapter_set *adapters;  /* NULL: none */
    uint64_t salt;                /* of the prefix index: that of the options and the adapters */
    size_t n_tok;
    /*
     * The first token that its id does not describe (an embedding row, one with a given position or
     * type, or in a bidirectional span), or LLRTI_NO_EMBEDDING.
     */
    size_t lost_end; /* behind the last input of which not all is kept (embeddings, types) */
    size_t first_embedding;
    size_t first_position; /* the first token with a given position: position.h */
    int32_t *position;     /* NULL until there is one */
    uint32_t n_page;
    int32_t *tokens; /* (n_ctx) */
    uint32_t *page;  /* (n_ctx in pages) */

    /* What is kept beside pages: window.h, state.h. The promises are those of the call in progress. */
    bool is_in_call;
    uint32_t window_begin, window_end; /* pages whose parts of windowed layers it holds */
    uint32_t *window_page;             /* (n_ctx in pages) the parts; NULL without such layers */
    uint32_t window_promise, window_lent;
    uint32_t state;     /* the recurrent state at n_tok, LLRTI_SLOT_NONE at 0 */
    uint32_t *state_at; /* (n_ctx in pages) for the step in flight; NULL without recurrent layers */
    uint32_t state_promise, state_lent;

    /*
     * Rows of results, one block: (n_logits_room, n_vocab), then hidden (n_logits_room, d_model) when
     * wanted, then tap (n_tap, n_logits_room, d_model).
     */
    float *logits, *hidden, *tap;
    struct llrti_pooled *pooled; /* NULL until something is embedded */
    size_t n_logits_room, n_logits;
    _Atomic(void *)
        in_call; /* the step call that holds it, to notice a session that occurs twice */
    llrti_work work;
    int32_t best_token[LLRT_SELECT_MAX];
    float best_logit[LLRT_SELECT_MAX];
};

/** Bytes of class SESSION that a session with default options takes. */
uint64_t llrti_session_default_bytes(const llrt_engine *engine);

/** LLRT_ERR_FORKED, LLRT_ERR_BUSY; then the session is the caller's until llrti_session_leave, and not cancelled. */
llrt_status llrti_session_enter(llrt_session *session, llrt_error *err);
void llrti_session_leave(llrt_session *session);

/** Checks an input and makes the session's work of it, which is ready to be computed. Nothing else changes. */
llrt_status llrti_session_make_work(llrt_session *session, const llrt_input *input, bool is_sampled,
                                    llrti_reading reading, llrt_error *err);
/** What a finished work leaves in the session; its status. */
llrt_status llrti_session_end_work(llrt_session *session, llrt_error *err);
/** Releases pages from the end until n_page are left; under the engine's lock. */
void llrti_session_trim(llrt_session *session, uint32_t n_page);
/** Computes an input on an entered session. With a sampler (entered, too) *token is what it chose. */
llrt_status llrti_session_compute(llrt_session *session, const llrt_input *input,
                                  llrt_sampler *sampler, int32_t *token, llrt_error *err);

static inline uint32_t llrti_session_pages(size_t n_tok)
{
    return (uint32_t)((n_tok + LLRT_PAGE_TOK - 1) / LLRT_PAGE_TOK);
}

#endif
