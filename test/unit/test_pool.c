/* SPDX-License-Identifier: MIT */
/*
 * The books of the page pool: references, the order of eviction, all or nothing, and the bytes it says it takes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "pool.h"
#include "prefix.h"
#include "test_support.h"

static void make_tokens(int32_t *tokens, int32_t first)
{
    for (int32_t i = 0; i < LLRT_PAGE_TOK; i++) tokens[i] = first + i;
}

static void test_bytes_are_those_requested(void **state)
{
    (void)state;
    static const uint32_t sizes[] = {1, 2, 16, 17, 1000};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        llrti_mem mem;
        test_heap heap;
        llrti_pool pool;
        test_mem_init(&mem, &heap);
        assert_int_equal(llrti_pool_create(&mem, &pool, sizes[i], NULL), LLRT_OK);
        assert_int_equal(heap.live, llrti_pool_bytes(sizes[i]));
        llrti_pool_free(&mem, &pool);
        assert_int_equal(heap.n_live, 0);
        for (size_t k = 1; k <= 3; k++) {
            test_mem_init(&mem, &heap);
            heap.fail_at = k;
            assert_int_equal(llrti_pool_create(&mem, &pool, sizes[i], NULL), LLRT_ERR_NOMEM);
            assert_int_equal(heap.n_live, 0);
        }
    }
}

static void test_take_is_all_or_nothing(void **state)
{
    (void)state;
    llrti_mem mem;
    test_heap heap;
    llrti_pool pool;
    uint32_t pages[8];
    test_mem_init(&mem, &heap);
    assert_int_equal(llrti_pool_create(&mem, &pool, 5, NULL), LLRT_OK);
    assert_true(llrti_pool_take(&pool, 3, pages));
    assert_false(llrti_pool_take(&pool, 3, pages + 3));
    assert_int_equal(pool.n_free, 2);
    assert_true(llrti_pool_take(&pool, 2, pages + 3));
    assert_true(llrti_pool_take(&pool, 0, pages));
    assert_false(llrti_pool_take(&pool, 1, pages));
    for (int i = 0; i < 5; i++)
        for (int k = 0; k < i; k++) assert_int_not_equal(pages[i], pages[k]);
    llrti_pool_hold(&pool, pages[2]);
    assert_true(llrti_pool_is_shared(&pool, pages[2]));
    llrti_pool_release(&pool, pages[2]);
    assert_false(llrti_pool_is_shared(&pool, pages[2]));
    for (int i = 0; i < 5; i++) llrti_pool_release(&pool, pages[i]);
    assert_int_equal(pool.n_free, 5);
    llrti_pool_free(&mem, &pool);
}

static void test_oldest_cached_page_is_evicted_first(void **state)
{
    (void)state;
    llrti_mem mem;
    test_heap heap;
    llrti_pool pool;
    uint32_t pages[4], taken[4];
    int32_t tokens[LLRT_PAGE_TOK];
    test_mem_init(&mem, &heap);
    assert_int_equal(llrti_pool_create(&mem, &pool, 4, NULL), LLRT_OK);
    assert_true(llrti_pool_take(&pool, 4, pages));
    for (int i = 0; i < 4; i++) {
        make_tokens(tokens, i * 100);
        assert_int_equal(llrti_prefix_add(&pool, pages[i], LLRTI_PAGE_NONE, 0, tokens), pages[i]);
        assert_true(llrti_pool_is_shared(&pool, pages[i])); /* the index has it as well */
    }
    llrti_pool_release(&pool, pages[2]);
    llrti_pool_release(&pool, pages[0]);
    llrti_pool_release(&pool, pages[3]);
    llrti_pool_release(&pool, pages[1]);
    assert_int_equal(pool.n_cached, 4);
    llrti_pool_hold(&pool, pages[0]); /* used again: now the newest */
    llrti_pool_release(&pool, pages[0]);
    assert_true(llrti_pool_take(&pool, 3, taken));
    assert_int_equal(taken[0], pages[2]);
    assert_int_equal(taken[1], pages[3]);
    assert_int_equal(taken[2], pages[1]);
    assert_int_equal(pool.n_cached, 1);
    make_tokens(tokens, 200);
    assert_int_equal(llrti_prefix_find(&pool, LLRTI_PAGE_NONE, 0, tokens), LLRTI_PAGE_NONE);
    make_tokens(tokens, 0);
    assert_int_equal(llrti_prefix_find(&pool, LLRTI_PAGE_NONE, 0, tokens), pages[0]);
    llrti_pool_free(&mem, &pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bytes_are_those_requested),
        cmocka_unit_test(test_take_is_all_or_nothing),
        cmocka_unit_test(test_oldest_cached_page_is_evicted_first),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
