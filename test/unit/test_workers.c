/* SPDX-License-Identifier: MIT */
/*
 * parallel_for: every task runs once, worker numbers are unique at each moment, a call
 * returns only when all is done, whether the threads spin, sleep or belong to the host.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdatomic.h>
#include <stdlib.h>

#include "test_support.h"
#include "workers.h"

#if !defined(_WIN32)
#include <sys/wait.h>
#include <unistd.h>
#endif

#define MAX_TASK 300

typedef struct run_check {
    uint32_t count[MAX_TASK]; /* plain: the call's return orders them */
    uint32_t n_worker;
    atomic_int in_use[64], n_wrong;
} run_check;

static void check_task(void *arg, uint32_t task, uint32_t worker)
{
    run_check *check = arg;
    if (worker >= check->n_worker || atomic_fetch_add(&check->in_use[worker], 1) != 0) {
        atomic_fetch_add(&check->n_wrong, 1);
    }
    check->count[task]++;
    volatile uint32_t sink = 0;
    for (uint32_t i = 0; i < task % 7 * 50; i++) sink = sink + i;
    atomic_fetch_sub(&check->in_use[worker], 1);
}

static void run_many(llrti_workers *workers, uint32_t n_run)
{
    static run_check check;
    memset(&check, 0, sizeof check);
    check.n_worker = llrti_workers_count(workers);
    uint32_t expected[MAX_TASK] = {0};
    for (uint32_t run = 0; run < n_run; run++) {
        const uint32_t n = run * 31 % (MAX_TASK + 1);
        llrti_workers_run(workers, n, check_task, &check);
        for (uint32_t i = 0; i < n; i++) expected[i]++;
        if (run % 97 == 0) assert_memory_equal(check.count, expected, sizeof expected);
    }
    assert_memory_equal(check.count, expected, sizeof expected);
    assert_int_equal(atomic_load(&check.n_wrong), 0);
}

static void test_every_task_runs_once(void **state)
{
    for (uint32_t n = 1; n <= 6; n++) {
        llrti_mem mem;
        test_heap heap;
        llrti_workers *workers;
        test_mem_init(&mem, &heap);
        assert_int_equal(llrti_workers_create(&mem, n, NULL, NULL, &workers, NULL), LLRT_OK);
        assert_int_equal(llrti_workers_count(workers), n);
        assert_int_equal(heap.live, llrti_workers_bytes(n));
        run_many(workers, 1500);
        llrti_workers_free(workers);
        assert_int_equal(heap.n_live, 0);
    }
}

static void test_parked_threads_wake(void **state)
{
    llrti_mem mem;
    llrti_workers *workers;
    llrti_mem_init(&mem, NULL);
    assert_int_equal(llrti_workers_create(&mem, 2, NULL, NULL, &workers, NULL), LLRT_OK);
    for (int round = 0; round < 20; round++) {
        const uint64_t until = llrti_clock_ns() + 200000; /* longer than the spin */
        while (llrti_clock_ns() < until) {}
        run_many(workers, 20);
    }
    llrti_workers_free(workers);
}

/* Two tasks that need two threads; the pool's own takes so long that the caller goes to sleep. */
static void slow_task(void *arg, uint32_t task, uint32_t worker)
{
    atomic_int *n_started = arg;
    atomic_fetch_add(n_started, 1);
    while (atomic_load(n_started) < 2) llrti_thread_yield();
    const uint64_t until = llrti_clock_ns() + (worker ? 1000000 : 0);
    while (llrti_clock_ns() < until) {}
    atomic_fetch_add(n_started, 10);
}

static void test_caller_waits_for_a_slow_thread(void **state)
{
    for (uint32_t n = 2; n <= 4; n += 2) { /* with and without spinning on a small machine */
        llrti_mem mem;
        llrti_workers *workers;
        llrti_mem_init(&mem, NULL);
        assert_int_equal(llrti_workers_create(&mem, n, NULL, NULL, &workers, NULL), LLRT_OK);
        for (int round = 0; round < 30; round++) {
            atomic_int n_started = 0;
            llrti_workers_run(workers, 2, slow_task, &n_started);
            assert_int_equal(atomic_load(&n_started), 22);
        }
        llrti_workers_free(workers);
    }
}

#if !defined(_WIN32)
/* The threads are not in the child: freeing there must not wait for them. */
static void test_free_after_fork_does_not_hang(void **state)
{
    llrti_mem mem;
    llrti_workers *workers;
    llrti_mem_init(&mem, NULL);
    assert_int_equal(llrti_workers_create(&mem, 3, NULL, NULL, &workers, NULL), LLRT_OK);
    run_many(workers, 5);
    const pid_t child = fork();
    if (child == 0) {
        llrti_workers_free(workers);
        _exit(7);
    }
    int result = 0;
    assert_int_equal(waitpid(child, &result, 0), child);
    assert_true(WIFEXITED(result) && WEXITSTATUS(result) == 7);
    run_many(workers, 5);
    llrti_workers_free(workers);
}
#endif

static void test_pools_come_and_go(void **state)
{
    llrti_mem mem;
    llrti_mem_init(&mem, NULL);
    for (int i = 0; i < 200; i++) {
        llrti_workers *workers;
        assert_int_equal(llrti_workers_create(&mem, 3, NULL, NULL, &workers, NULL), LLRT_OK);
        if (i % 2) run_many(workers, 3);
        llrti_workers_free(workers);
    }
    llrti_workers_free(NULL);
    assert_int_equal(atomic_load(&mem.total_live), 0);
}

/* A host's pool that runs everything in reverse on the calling thread. */
static void lent_serial(void *ctx, uint32_t n, void (*body)(void *arg, uint32_t index), void *arg)
{
    (*(uint32_t *)ctx)++;
    while (n) body(arg, --n);
}

typedef struct lent_thread {
    llrti_thread thread;
    void (*body)(void *arg, uint32_t index);
    void *arg;
    uint32_t index;
} lent_thread;

static void lent_thread_run(void *arg)
{
    const lent_thread *t = arg;
    t->body(t->arg, t->index);
}

/* A host's pool with a thread for each body. */
static void lent_threads(void *ctx, uint32_t n, void (*body)(void *arg, uint32_t index), void *arg)
{
    lent_thread threads[16];
    (*(uint32_t *)ctx)++;
    assert_true(n <= 16);
    for (uint32_t i = 0; i < n; i++) {
        threads[i].body = body;
        threads[i].arg = arg;
        threads[i].index = i;
        assert_true(llrti_thread_create(&threads[i].thread, lent_thread_run, &threads[i], "lent"));
    }
    for (uint32_t i = 0; i < n; i++) llrti_thread_join(&threads[i].thread);
}

static void test_lent_pools(void **state)
{
    const llrti_lent_parallel_for lent[] = {lent_serial, lent_threads};
    for (int i = 0; i < 2; i++) {
        llrti_mem mem;
        llrti_workers *workers;
        uint32_t n_call = 0;
        llrti_mem_init(&mem, NULL);
        assert_int_equal(llrti_workers_create(&mem, 4, lent[i], &n_call, &workers, NULL), LLRT_OK);
        run_many(workers, 100);
        assert_true(n_call > 90);
        llrti_workers_free(workers);
    }
}

static void test_bad_counts_and_no_memory(void **state)
{
    llrti_mem mem;
    test_heap heap;
    llrti_workers *workers = (llrti_workers *)&mem;
    llrt_error err = LLRT_ERROR_INIT;
    test_mem_init(&mem, &heap);
    assert_int_equal(llrti_workers_create(&mem, 100000, NULL, NULL, &workers, &err),
                     LLRT_ERR_ARGUMENT);
    assert_string_equal(err.field, "n_thread");
    assert_null(workers);
    heap.fail_at = 1;
    assert_int_equal(llrti_workers_create(&mem, 2, NULL, NULL, &workers, &err), LLRT_ERR_NOMEM);
    heap.fail_at = 0;
    assert_int_equal(llrti_workers_create(&mem, 0, NULL, NULL, &workers, &err), LLRT_OK);
    assert_int_equal(llrti_workers_count(workers), llrti_cpu_count());
    llrti_workers_free(workers);
    assert_int_equal(heap.n_live, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_task_runs_once),
        cmocka_unit_test(test_parked_threads_wake),
        cmocka_unit_test(test_caller_waits_for_a_slow_thread),
#if !defined(_WIN32)
        cmocka_unit_test(test_free_after_fork_does_not_hang),
#endif
        cmocka_unit_test(test_pools_come_and_go),
        cmocka_unit_test(test_lent_pools),
        cmocka_unit_test(test_bad_counts_and_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
