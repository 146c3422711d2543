/* SPDX-License-Identifier: MIT */
/*
 * Steps: the work of several sessions, computed together. A computing call puts one llrti_work per
 * session into the engine's queue and waits; one of the waiting threads leads. See step.c.
 */
#ifndef LLRTI_STEP_H
#define LLRTI_STEP_H

#include <llrt/backend.h>
#include <llrt/session.h>

#include "os.h"
#include "sampler_impl.h"

struct llrt_engine;

/** What is read of the rows a work wants. */
typedef enum llrti_reading {
    LLRTI_READ_ROWS,   /* logits, hidden states and taps: rows.h */
    LLRTI_READ_POOLED, /* hidden states, into the session's embedding */
    LLRTI_READ_SCORE,
    LLRTI_READ_NOTHING /* the session's own tokens and positions are computed again (rewind.c) */
} llrti_reading;

/** One computing call: lives on its thread's stack while it waits. */
typedef struct llrti_call {
    uint32_t n_left;  /* works not finished */
    llrti_cond *wake; /* what its thread waits on: that of its first session */
} llrti_call;

/**
 * One session's part of a call; lies in the session. Set by the calling thread before submission, under the
 * engine's lock from then until it is finished.
 */
typedef struct llrti_work {
    struct llrti_work *next; /* in the queue */
    llrti_call *call;
    llrt_session *session;

    size_t begin, n_tok, n_done; /* position of the first row in the session; rows; complete ones */
    size_t n_reusable;           /* rows from here on must be computed */
    size_t n_reused;             /* rows that were taken over */
    const float *embeddings;     /* borrowed from the caller, NULL: tokens */
    const uint8_t *token_types;  /* borrowed, NULL: 0 */
    llrt_logits logits;
    const uint32_t *rows; /* LLRT_LOGITS_LISTED, borrowed */
    size_t n_rows, next_row;
    size_t n_read; /* rows of logits the session has got */
    llrti_reading reading;
    float *score;    /* (n_label) where a score goes */
    bool is_sampled; /* the last row's logits are for a sampler */
    bool has_select; /* and `select` says what to choose from them */
    llrt_select select;
    llrt_select_result result;

    uint32_t copy_from;   /* page to copy to the last one before writing, or LLRTI_PAGE_NONE */
    uint32_t copy_window; /* and its part of the windowed layers, or LLRTI_SLOT_NONE */
    bool is_copied;
    bool is_one_step;   /* all rows must be computed in the same step */
    bool is_kept;       /* ids and positions, which the session keeps, say all about the input */
    bool is_span;       /* and see each other in both directions */
    uint32_t state_out; /* where the step in flight leaves the state, or LLRTI_SLOT_NONE */
    bool is_in_step;
    uint32_t step_row, step_out, step_select, step_read; /* part of the step in flight */
    llrt_status status;                                  /* 1 until finished */
    llrt_error err;
} llrti_work;

typedef struct llrti_step {
    void *block; /* all tables below */
    int32_t *token;
    llrt_step_seq *seq;
    uint32_t *out_row;
    llrt_select *select;
    llrt_select_result *result;
    llrti_work **work;
    uint32_t n_row, n_work, n_out, n_select; /* of the step in flight */
    const float *embedding;
    int32_t *position;   /* (n_step_tok, 3) */
    uint8_t *token_type; /* (n_step_tok) */
    bool needs_head;     /* some work of the step wants what comes after the hidden states */
    bool has_position, has_token_type; /* some work of the step does not go by places, zeros */
    llrti_work *first, *last;          /* the queue */
    uint32_t n_queued, n_waiting_idle;
    bool is_leading;
} llrti_step;

/** Bytes llrti_step_create requests, of class HOST. */
size_t llrti_step_bytes(const struct llrt_engine *engine);
llrt_status llrti_step_create(struct llrt_engine *engine, llrt_error *err);
void llrti_step_free(struct llrt_engine *engine);

/**
 * Computes works[0..n), whose sessions belong to the calling thread, and returns when each is finished; its status is in
 * the work. Others' work may be computed by the calling thread meanwhile.
 */
void llrti_step_compute(struct llrt_engine *engine, llrti_work **works, uint32_t n);

/** The caller wants logits of the last row (a sampler may want them besides). */
bool llrti_step_wants_last_row(const llrti_work *work);

/** Waits until no step is in flight and keeps others from starting one, for the use of runtimes between steps. */
void llrti_step_acquire(struct llrt_engine *engine);
void llrti_step_release(struct llrt_engine *engine);

#endif
