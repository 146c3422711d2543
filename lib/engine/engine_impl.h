/* SPDX-License-Identifier: MIT */
/*
 * The inside of llrt_engine. What is set up by opening is constant afterwards; what changes while
 * sessions compute is under `lock`: the pool, the queue of work, the counters.
 *
 * Life: the caller of open holds one reference, every session one. With the last one the engine shuts
 * down; its own block, which holds the counters of all its memory, goes when the tokenizer's last user went, too.
 *
 * The runtimes of the stages are used by one thread at a time: whoever has set `is_leading` (step.c).
 */
#ifndef LLRTI_ENGINE_IMPL_H
#define LLRTI_ENGINE_IMPL_H

#include <llrt/session.h>

#include "backends.h"
#include "error.h"
#include "meta_text.h"
#include "model.h"
#include "placement.h"
#include "pool.h"
#include "step.h"
#include "workers.h"

struct llrt_engine {
    llrti_mem mem;
    size_t block_bytes; /* of this struct */
    atomic_uint n_ref;
    uint64_t process;
    llrt_logger logger; /* log is NULL when silent */
    llrt_engine_options
        options; /* pointers in it are valid during opening only, but for parallel_for's and source's */
    llrt_source source; /* copy of the caller's, when there is one */

    llrti_model_file *file;
    llrti_model *model; /* NULL only with metadata_only */
    llrt_tokenizer *tokenizer;
    llrti_meta_text meta_text;
    llrt_host host;
    llrti_backends backends;
    llrti_placement stages;
    llrti_workers *workers;
    uint8_t fingerprint[16];
    uint32_t n_ctx, n_page;
    uint32_t n_window_page, n_state; /* slots of what pages own; 0: the model has no such layers */
    uint32_t n_window_spare, n_state_spare; /* of them, what only steps are lent */
    uint32_t window;                        /* positions that windowed layers look back at most */
    size_t page_bytes[LLRT_KV_GROUP_COUNT]; /* canonical bytes of a whole page of each group */
    size_t n_state_float;                   /* numbers of a recurrent state, all layers */
    uint32_t n_vocab, d_model;              /* widths of logits and hidden rows */
    llrt_plan plan;
    uint64_t load_ns;
    bool is_planning; /* only the plan is wanted */
    bool is_ready;    /* weights are in, runtimes exist */
    bool has_locks;

    llrti_mutex lock;
    llrti_cond idle;    /* nobody is leading; for those who wait in llrti_step_acquire */
    llrti_cond arrival; /* work came in; for a leader that waits for company */
    llrti_pool pool;
    llrti_step step;
    uint8_t *adapter_slot; /* (n_adapter) 1: taken */
    uint32_t *squared;     /* (n_squared) weights of the model that squares are summed for */
    uint32_t n_squared;
    uint32_t *tap_layer; /* (n_tap of the model) */
    uint32_t n_session;
    uint64_t n_step, n_tok_computed, n_tok_reused;
};

/** LLRT_ERR_FORKED in a child of the process that opened the engine. */
llrt_status llrti_engine_check(const llrt_engine *engine, llrt_error *err);

void llrti_engine_ref(llrt_engine *engine);
void llrti_engine_unref(llrt_engine *engine);

/** A line to the engine's logger, if it wants that level. */
void llrti_engine_log(const llrt_engine *engine, llrt_log_level level, const char *format, ...)
    LLRTI_PRINTF(3, 4);

#endif
