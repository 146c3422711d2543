/* SPDX-License-Identifier: MIT */
/*
 * llrt_session: one timeline of tokens with its KV state. Computing calls return when the work is
 * done.
 *
 * One thread at a time: a second one gets LLRT_ERR_BUSY; only llrt_session_cancel is for any
 * thread. Different sessions of one engine may be used from different threads at once; the engine
 * merges their work into common steps by itself. A session keeps its engine alive.
 *
 * Every failing call leaves the session usable. "Nothing changed" is said where it holds; otherwise
 * llrt_session_n_tok tells how many tokens are complete.
 *
 * After creation, decoding (one token at a time, logits of the last) allocates nothing.
 */
#ifndef LLRT_SESSION_H
#define LLRT_SESSION_H

#include "engine.h"
#include "sampler.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct llrt_session llrt_session;

/** Which rows of a call's tokens logits (and hidden states) are wanted for. */
typedef uint32_t llrt_logits;
enum {
    LLRT_LOGITS_NONE = 0,
    LLRT_LOGITS_LAST = 1, /**< of the last token: what sampling needs */
    LLRT_LOGITS_ALL = 2,
    LLRT_LOGITS_LISTED = 3 /**< of the rows listed */
};

typedef struct llrt_session_options {
    uint32_t struct_size;
    uint32_t n_ctx; /**< most tokens; default 0: the engine's n_ctx, which is also the most */
    /** rows of logits room is kept for; default 1; more are allocated when a call asks for them */
    uint32_t n_logits;
    /** 1: keep hidden states (after the last norm) of the wanted rows as well */
    uint32_t with_hidden;
    /** sessions share cached prefixes only with sessions of equal salt; default 0 */
    uint64_t salt;
} llrt_session_options;

/** Input of one session, set up with llrt_input_init. */
typedef struct llrt_input {
    uint32_t struct_size;
    llrt_logits logits;      /**< default LLRT_LOGITS_LAST */
    const int32_t *tokens;   /**< (n_tok) ids, borrowed; NULL: embeddings */
    const float *embeddings; /**< (n_tok, d_model) rows instead of tokens, borrowed */
    size_t n_tok;
    const uint32_t *rows; /**< LLRT_LOGITS_LISTED: (n_row) indices below n_tok, ascending */
    size_t n_row;
    /**
     * (n_tok, n_position) what rotations go by instead of the place in the session, 0 to 2^30 - 1,
     * borrowed. NULL: as places, or behind given ones from the largest so far on. Masks, windows
     * and learned positions always go by the place
     */
    const int32_t *positions;
    uint32_t n_position; /**< numbers for each token: 1 or 3 */
    /**
     * 1: the tokens of this input see each other in both directions (an image); they are computed
     * in one step, so n_tok may not exceed the engine's n_step_tok
     */
    uint32_t is_bidirectional;
    const uint8_t *token_types; /**< (n_tok) for models that know several, borrowed; NULL: 0 */
} llrt_input;

/** One session's part of a step. Set up with llrt_step_entry_init. */
typedef struct llrt_step_entry {
    uint32_t struct_size;
    llrt_status status; /**< out: of this entry alone */
    llrt_session *session;
    /** may be NULL; samples from the last token's logits (which the session then need not keep) */
    llrt_sampler *sampler;
    int32_t token; /**< out: what the sampler chose, LLRT_TOKEN_NONE without one */
    uint32_t reserved;
    llrt_input input; /**< last, so that it can grow */
} llrt_step_entry;

/** Writes n bytes of a saved session; anything but LLRT_OK ends the save with that status. */
typedef llrt_status (*llrt_write)(void *ctx, const void *data, size_t n, llrt_error *err);
/** Reads exactly n bytes of a saved session, in order. */
typedef llrt_status (*llrt_read)(void *ctx, void *data, size_t n, llrt_error *err);

LLRT_API void llrt_session_options_init(llrt_session_options *options, size_t struct_size);
LLRT_API void llrt_input_init(llrt_input *input, size_t struct_size);
LLRT_API void llrt_step_entry_init(llrt_step_entry *entry, size_t struct_size);

/**
 * Creates an empty session. Takes no page of the pool yet.
 * @return LLRT_OK, LLRT_ERR_ARGUMENT, LLRT_ERR_NOMEM, LLRT_ERR_STATE (the engine has metadata
 *     only), LLRT_ERR_FORKED
 */
LLRT_API llrt_status llrt_session_create(llrt_engine *engine, const llrt_session_options *options,
                                         llrt_session **out, llrt_error *err);

/**
 * Adds tokens at the end and computes them.
 * @param tokens borrowed
 * @return LLRT_OK
 *   LLRT_ERR_CONTEXT_FULL: more tokens than the context has room for; nothing changed
 *   LLRT_ERR_POOL_FULL: other sessions hold the pages, or what windowed or recurrent layers keep
 *     (kv_window_tok, n_snapshot); nothing changed; free or rewind one
 *   LLRT_ERR_ARGUMENT: a token outside the vocabulary (position: its index), n_tok 0; nothing
 *   changed LLRT_ERR_CANCELLED: the tokens of the steps completed so far stay LLRT_ERR_BUSY,
 *   LLRT_ERR_NOMEM, LLRT_ERR_DEVICE, LLRT_ERR_FORKED
 */
LLRT_API llrt_status llrt_session_append(llrt_session *session, const int32_t *tokens, size_t n_tok,
                                         llrt_logits logits, llrt_error *err);

/**
 * The same with everything an input can say: embedding rows, listed rows, positions. Tokens whose
 * ids don't say all (embedding rows, given positions or types, bidirectional ones) and what follows
 * them share no pages with other sessions.
 */
LLRT_API llrt_status llrt_session_append_input(llrt_session *session, const llrt_input *input,
                                               llrt_error *err);

/**
 * Makes the session hold exactly these tokens: keeps what it can of the common prefix, appends the
 * rest. Always possible: where llrt_session_rewind would refuse, it goes back further, if need be
 * to the beginning, and computes again. At least the last token is computed, so that its logits
 * exist.
 * @param n_reused out, may be NULL: tokens that were not computed again
 * @return as llrt_session_append; on CONTEXT_FULL and ARGUMENT nothing changed
 */
LLRT_API llrt_status llrt_session_sync(llrt_session *session, const int32_t *tokens, size_t n_tok,
                                       llrt_logits logits, size_t *n_reused, llrt_error *err);

/**
 * Logits of wanted row `row` of the last computing call (0 is its first wanted row; -1 its last).
 * @param out (n_vocab) float32, owned by the session, valid until its next computing call
 * @return LLRT_OK, LLRT_ERR_STATE when that row was not asked for
 */
LLRT_API llrt_status llrt_session_logits(llrt_session *session, int32_t row, const float **out,
                                         llrt_error *err);

/**
 * Hidden states of a wanted row: (d_model) float32 after the last norm. Needs the option
 * with_hidden.
 */
LLRT_API llrt_status llrt_session_hidden(llrt_session *session, int32_t row, const float **out,
                                         llrt_error *err);

/**
 * What a layer left behind for a wanted row: (d_model) float32, before the last norm. The layer is
 * one of those the engine was opened with (tap_layer), else LLRT_ERR_STATE.
 */
LLRT_API llrt_status llrt_session_tap(llrt_session *session, uint32_t layer, int32_t row,
                                      const float **out, llrt_error *err);

/** Rows of logits (or hidden states, of models without logits) the last computing call left. */
LLRT_API size_t llrt_session_n_logits(const llrt_session *session);

/**
 * Shortens the session to its first n_tok tokens.
 *
 * Models whose layers keep all positions go back anywhere. Others go back to 0 and
 *   windowed layers     by 64 tokens from the longest the session has been; further while nobody
 *                       else needed the room of what was before the window
 *   recurrent layers    to where a state is kept (every 64 tokens as long as there is room, see
 *                       n_snapshot) and up to 63 tokens on from there, which are computed again:
 *                       then the call may be cancelled and finds the pool full like an append
 *   whole inputs        (is_bidirectional) nowhere else
 * llrt_session_sync goes to the same tokens whatever is kept.
 *
 * @return LLRT_OK
 *   LLRT_ERR_ARGUMENT: the session has fewer tokens
 *   LLRT_ERR_STATE: what was before n_tok is not kept, or embedding rows, bidirectional tokens or
 *     tokens with types would have to be computed again; the error's position is one that can be
 *     reached instead: the earliest for windowed layers, else the next before n_tok
 *   LLRT_ERR_POOL_FULL, LLRT_ERR_CANCELLED, LLRT_ERR_BUSY, LLRT_ERR_DEVICE, LLRT_ERR_FORKED
 *   On failure the session is unchanged.
 */
LLRT_API llrt_status llrt_session_rewind(llrt_session *session, size_t n_tok, llrt_error *err);

/**
 * A second session with the same tokens, sharing pages and state: nothing is copied but a last,
 * partly filled page at its next append.
 */
LLRT_API llrt_status llrt_session_fork(llrt_session *session, llrt_session **out, llrt_error *err);

/**
 * Writes tokens and state to a file (which appears only when complete) or to a callback. Of
 * windowed layers the window and up to a page more is saved, of recurrent ones the state and the
 * one at the end of the last complete page: a loaded session can go back that far.
 * @return LLRT_OK, LLRT_ERR_IO, LLRT_ERR_BUSY, LLRT_ERR_NOMEM
 */
LLRT_API llrt_status llrt_session_save(llrt_session *session, const char *path, llrt_error *err);
LLRT_API llrt_status llrt_session_save_to(llrt_session *session, llrt_write write, void *ctx,
                                          llrt_error *err);

/**
 * Replaces the session's tokens and state by saved ones of the same model and KV type.
 * @return LLRT_OK; LLRT_ERR_MISMATCH (another model, KV type or version of the format: the text says which);
 *     LLRT_ERR_FORMAT (damaged); LLRT_ERR_CONTEXT_FULL, LLRT_ERR_POOL_FULL, LLRT_ERR_IO,
 *     LLRT_ERR_NOT_FOUND. On failure the session is unchanged.
 */
LLRT_API llrt_status llrt_session_load(llrt_session *session, const char *path, llrt_error *err);
LLRT_API llrt_status llrt_session_load_from(llrt_session *session, llrt_read read, void *ctx,
                                            llrt_error *err);

/**
 * Ends the computing call in progress, which returns LLRT_ERR_CANCELLED within 50 ms on a CPU. Any
 * thread. No effect without one.
 */
LLRT_API void llrt_session_cancel(llrt_session *session);

/** Complete tokens. */
LLRT_API size_t llrt_session_n_tok(const llrt_session *session);

/** The token ids held, owned by the session, valid until it changes; -1 for embedding rows. */
LLRT_API const int32_t *llrt_session_tokens(const llrt_session *session);

/** Most tokens the session can hold. */
LLRT_API size_t llrt_session_n_ctx(const llrt_session *session);

/** The engine it belongs to, borrowed. */
LLRT_API llrt_engine *llrt_session_engine(const llrt_session *session);

/** NULL is fine. Not while a call on it is in progress. */
LLRT_API void llrt_session_free(llrt_session *session);

/**
 * Advances several sessions at once, each by its own input: prompts and single tokens mixed.
 * Weights are read once for all of them. An entry that fails has its own status and changes nothing
 * for the others. A session may occur once.
 * @param entries    array of n entries, `entry_size` bytes apart (sizeof of the caller's
 *     llrt_step_entry)
 * @return LLRT_OK when every entry's status is LLRT_OK, else the first failing entry's status (its
 *     index is the error's position)
 */
LLRT_API llrt_status llrt_engine_step(llrt_engine *engine, llrt_step_entry *entries, size_t n,
                                      size_t entry_size, llrt_error *err);

#ifdef __cplusplus
}
#endif
#endif
