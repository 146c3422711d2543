/* SPDX-License-Identifier: MIT */
/*
 * Worker threads of an engine: one primitive, parallel_for.
 *
 * `n_worker - 1` threads plus the calling one claim task indices from a shared
 * counter. Between calls the threads spin for a short while and then park, so a
 * chain of small operators costs a microsecond each and an idle engine costs nothing.
 * A host may lend its own parallel_for instead; then no thread is started.
 * One call at a time per pool: the engine's step leader is the only caller.
 */
#ifndef LLRTI_WORKERS_H
#define LLRTI_WORKERS_H

#include "alloc.h"
#include "os.h"

typedef struct llrti_workers llrti_workers;

/** The host's pool: runs body(arg, i) once for every i < n, in any order and on any threads, and
 * returns when all are done. */
typedef void (*llrti_lent_parallel_for)(void *ctx, uint32_t n,
                                        void (*body)(void *arg, uint32_t index), void *arg);

typedef void (*llrti_task)(void *arg, uint32_t task, uint32_t worker);

/** n_worker 0 takes the processors of the affinity mask. `lent` may be NULL. */
llrt_status llrti_workers_create(llrti_mem *mem, uint32_t n_worker, llrti_lent_parallel_for lent,
                                 void *lent_ctx, llrti_workers **out, llrt_error *err);
/** Runs task(arg, i, w) for all i < n_task; w < n_worker is unique among the tasks running at one
 * moment. */
void llrti_workers_run(llrti_workers *workers, uint32_t n_task, llrti_task task, void *arg);
uint32_t llrti_workers_count(const llrti_workers *workers);
/** Bytes llrti_workers_create requests, of class HOST, for the memory plan. */
size_t llrti_workers_bytes(uint32_t n_worker);
void llrti_workers_free(llrti_workers *workers); /* joins the threads; NULL is fine */

#endif
