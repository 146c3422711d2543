/* SPDX-License-Identifier: MIT */
/*
 * parallel_for. One 64-bit word, `claim`, holds the number of the call in its upper and
 * the tasks not yet claimed in its lower half:
 *
 *   run        writes task, arg, n_task; stores claim = (call + 1, n_task)
 *   anyone     compare-and-swap claim -> claim - 1 while the lower half is not 0
 *   run        returns when `n_done` has reached n_task
 *
 * Whoever has claimed a task holds back the return of run, so task, arg and n_task can't change
 * under it; whoever has not never looks at them. A late thread therefore does no harm, and run
 * waits for tasks in progress only, never for a thread that sleeps.
 *
 * A worker that finds nothing spins for a while and then parks: it counts itself in `n_parked`,
 * looks at claim once more and sleeps. run stores claim, then looks at n_parked. Both are
 * sequentially consistent, so one of the two sees the other. The waiting caller parks in the
 * same way through `is_waiting`. Where the pool is larger than the processors given to it,
 * spinning would only keep others from working, so it parks at once.
 *
 * A lent pool is asked to run one body per worker, each of which claims tasks until none is left.
 */
#include "workers.h"

#include <stdatomic.h>
#include <string.h>

#include "compiler.h"
#include "error.h"

/* An operator of a small model takes 5 to 50 us and the gap between two is about 1 us, so a spin
 * of 50 us bridges the gaps of a step; waking a parked thread costs 5 to 10 us on Linux. */
#define SPIN_NS 50000u
#define MAX_WORKER 1024u
#define LOW 0xffffffffu

typedef struct worker_thread {
    llrti_thread thread;
    llrti_workers *pool;
    uint32_t index;
} worker_thread;

struct llrti_workers {
    _Alignas(LLRTI_CACHE_LINE) _Atomic uint64_t claim;
    _Alignas(LLRTI_CACHE_LINE) atomic_uint n_done;
    _Alignas(LLRTI_CACHE_LINE) llrti_task task; /* these three are constant while tasks are left */
    void *arg;
    uint32_t n_task;

    _Alignas(LLRTI_CACHE_LINE) llrti_mem *mem;
    llrti_lent_parallel_for lent;
    void *lent_ctx;
    uint64_t process, spin_ns;
    uint32_t n_worker, n_thread;
    llrti_mutex mutex;
    llrti_cond wake, done;
    atomic_uint n_parked;
    atomic_bool is_waiting, is_stopping;
    worker_thread threads[];
};

/* Claims and runs tasks until none is left. */
static void work(llrti_workers *pool, uint32_t worker)
{
    uint64_t claim = atomic_load_explicit(&pool->claim, memory_order_acquire);
    while (claim & LOW) {
        if (!atomic_compare_exchange_weak_explicit(&pool->claim, &claim, claim - 1,
                                                   memory_order_acq_rel, memory_order_acquire)) {
            continue;
        }
        const uint32_t n_task = pool->n_task;
        pool->task(pool->arg, n_task - (uint32_t)(claim & LOW), worker);
        /* n_task was read before: after the last increment the caller may begin its next call. */
        if (atomic_fetch_add(&pool->n_done, 1) + 1 == n_task && atomic_load(&pool->is_waiting)) {
            llrti_mutex_lock(&pool->mutex);
            llrti_cond_signal(&pool->done);
            llrti_mutex_unlock(&pool->mutex);
        }
        claim = atomic_load_explicit(&pool->claim, memory_order_acquire);
    }
}

static bool has_work(llrti_workers *pool)
{
    return (atomic_load(&pool->claim) & LOW) != 0 || atomic_load(&pool->is_stopping);
}

static bool is_done(llrti_workers *pool, uint32_t n_task)
{
    return atomic_load(&pool->n_done) == n_task;
}

/* Waits for work: spins, then parks. */
static void wait_for_work(llrti_workers *pool)
{
    if (pool->spin_ns) {
        const uint64_t until = llrti_clock_ns() + pool->spin_ns;
        do {
            for (int i = 0; i < 32; i++) {
                if (has_work(pool)) return;
                llrti_cpu_relax();
            }
        } while (llrti_clock_ns() < until);
    }
    llrti_mutex_lock(&pool->mutex);
    atomic_fetch_add(&pool->n_parked, 1);
    while (!has_work(pool)) llrti_cond_wait(&pool->wake, &pool->mutex);
    atomic_fetch_sub(&pool->n_parked, 1);
    llrti_mutex_unlock(&pool->mutex);
}

static void wait_for_done(llrti_workers *pool, uint32_t n_task)
{
    if (is_done(pool, n_task)) return;
    if (pool->spin_ns) {
        const uint64_t until = llrti_clock_ns() + pool->spin_ns;
        do {
            for (int i = 0; i < 32; i++) {
                if (is_done(pool, n_task)) return;
                llrti_cpu_relax();
            }
        } while (llrti_clock_ns() < until);
    }
    llrti_mutex_lock(&pool->mutex);
    atomic_store(&pool->is_waiting, true);
    while (!is_done(pool, n_task)) llrti_cond_wait(&pool->done, &pool->mutex);
    atomic_store(&pool->is_waiting, false);
    llrti_mutex_unlock(&pool->mutex);
}

static void thread_run(void *arg)
{
    const worker_thread *self = arg;
    llrti_workers *pool = self->pool;
    while (!atomic_load(&pool->is_stopping)) {
        wait_for_work(pool);
        work(pool, self->index);
    }
}

static void lent_body(void *arg, uint32_t index)
{
    work(arg, index);
}

size_t llrti_workers_bytes(uint32_t n_worker)
{
    if (n_worker == 0) n_worker = LLRTI_MIN(llrti_cpu_count(), MAX_WORKER);
    return sizeof(llrti_workers) + (n_worker - 1) * sizeof(worker_thread) + LLRTI_ALLOC_HEADER;
}

llrt_status llrti_workers_create(llrti_mem *mem, uint32_t n_worker, llrti_lent_parallel_for lent,
                                 void *lent_ctx, llrti_workers **out, llrt_error *err)
{
    *out = NULL;
    const uint32_t n_cpu = llrti_cpu_count();
    if (n_worker > MAX_WORKER) {
        return llrti_fail_field(err, LLRT_ERR_ARGUMENT, "n_thread", "found %u, expected 0 to %u",
                                (unsigned)n_worker, MAX_WORKER);
    }
    if (n_worker == 0) n_worker = LLRTI_MIN(n_cpu, MAX_WORKER);
    const size_t size = llrti_workers_bytes(n_worker) - LLRTI_ALLOC_HEADER;
    llrti_workers *pool = llrti_calloc(mem, 1, size, LLRT_MEMORY_HOST);
    if (!pool) return llrti_fail_nomem(err, "the worker threads", size);
    pool->mem = mem;
    pool->lent = lent;
    pool->lent_ctx = lent_ctx;
    pool->process = llrti_process_id();
    pool->spin_ns = n_worker <= n_cpu ? SPIN_NS : 0;
    pool->n_worker = n_worker;
    atomic_init(&pool->claim, 0);
    atomic_init(&pool->n_done, 0);
    atomic_init(&pool->n_parked, 0);
    atomic_init(&pool->is_waiting, false);
    atomic_init(&pool->is_stopping, false);
    if (!llrti_mutex_init(&pool->mutex)) goto no_mutex;
    if (!llrti_cond_init(&pool->wake)) goto no_wake;
    if (!llrti_cond_init(&pool->done)) goto no_done;
    for (uint32_t i = 0; i + 1 < n_worker && !lent; i++) {
        worker_thread *thread = &pool->threads[i];
        thread->pool = pool;
        thread->index = i + 1;
        if (!llrti_thread_create(&thread->thread, thread_run, thread, "llrt-worker")) {
            llrti_workers_free(pool);
            return llrti_fail_field(err, LLRT_ERR_NOMEM, "n_thread",
                                    "the system refused to start thread %u of %u", i + 2, n_worker);
        }
        pool->n_thread++;
    }
    *out = pool;
    return LLRT_OK;

no_done:
    llrti_cond_free(&pool->wake);
no_wake:
    llrti_mutex_free(&pool->mutex);
no_mutex:
    llrti_free(mem, pool);
    return llrti_fail(err, LLRT_ERR_NOMEM, "no system resources for a lock");
}

static void wake_workers(llrti_workers *pool, uint32_t n_task)
{
    const uint32_t n_parked = atomic_load(&pool->n_parked);
    if (n_parked == 0) return;
    llrti_mutex_lock(&pool->mutex);
    if (n_task - 1 < n_parked) { /* the caller takes one task itself */
        for (uint32_t i = 0; i + 1 < n_task; i++) llrti_cond_signal(&pool->wake);
    } else {
        llrti_cond_broadcast(&pool->wake);
    }
    llrti_mutex_unlock(&pool->mutex);
}

void llrti_workers_run(llrti_workers *workers, uint32_t n_task, llrti_task task, void *arg)
{
    if (n_task == 0) return;
    if (n_task == 1 || workers->n_worker == 1) {
        for (uint32_t i = 0; i < n_task; i++) task(arg, i, 0);
        return;
    }
    workers->task = task;
    workers->arg = arg;
    workers->n_task = n_task;
    atomic_store(&workers->n_done, 0);
    const uint64_t call = atomic_load_explicit(&workers->claim, memory_order_relaxed) >> 32;
    atomic_store(&workers->claim, (call + 1) << 32 | n_task);
    if (workers->lent) {
        workers->lent(workers->lent_ctx, LLRTI_MIN(n_task, workers->n_worker), lent_body, workers);
        work(workers, 0); /* nothing is left when the host's pool keeps its promise */
    } else {
        wake_workers(workers, n_task);
        work(workers, 0);
    }
    wait_for_done(workers, n_task);
}

uint32_t llrti_workers_count(const llrti_workers *workers)
{
    return workers->n_worker;
}

void llrti_workers_free(llrti_workers *workers)
{
    if (!workers) return;
    /* After fork the threads are not in the child, and the locks may be held by nobody. */
    if (llrti_process_id() == workers->process) {
        llrti_mutex_lock(&workers->mutex);
        atomic_store(&workers->is_stopping, true);
        llrti_cond_broadcast(&workers->wake);
        llrti_mutex_unlock(&workers->mutex);
        for (uint32_t i = 0; i < workers->n_thread; i++) {
            llrti_thread_join(&workers->threads[i].thread);
        }
        llrti_cond_free(&workers->done);
        llrti_cond_free(&workers->wake);
        llrti_mutex_free(&workers->mutex);
    }
    llrti_free(workers->mem, workers);
}
