/* SPDX-License-Identifier: MIT */
/*
 * The prefix index: a hit needs equal tokens after equal tokens from the beginning, with equal salt; a random
 * walk of the index is compared with a plain list.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "engine_support.h"
#include "pool.h"
#include "prefix.h"

typedef struct fixture {
    llrti_mem mem;
    test_heap heap;
    llrti_pool pool;
} fixture;

static void begin(fixture *f, uint32_t n_page)
{
    test_mem_init(&f->mem, &f->heap);
    assert_int_equal(llrti_pool_create(&f->mem, &f->pool, n_page, NULL), LLRT_OK);
}

static void end(fixture *f)
{
    llrti_pool_free(&f->mem, &f->pool);
    assert_int_equal(f->heap.n_live, 0);
}

static void test_a_hit_needs_the_same_page_before(void **state)
{
    (void)state;
    fixture f;
    uint32_t p[4];
    int32_t a[LLRT_PAGE_TOK], b[LLRT_PAGE_TOK], c[LLRT_PAGE_TOK];
    begin(&f, 4);
    make_text(1, a, LLRT_PAGE_TOK, 1000);
    make_text(2, b, LLRT_PAGE_TOK, 1000);
    make_text(3, c, LLRT_PAGE_TOK, 1000);
    assert_true(llrti_pool_take(&f.pool, 4, p));
    assert_int_equal(llrti_prefix_add(&f.pool, p[0], LLRTI_PAGE_NONE, 5, a), p[0]);
    assert_int_equal(llrti_prefix_add(&f.pool, p[1], p[0], 5, b), p[1]);
    assert_int_equal(llrti_prefix_find(&f.pool, p[0], 5, b), p[1]);
    assert_int_equal(llrti_prefix_find(&f.pool, LLRTI_PAGE_NONE, 5, b), LLRTI_PAGE_NONE);
    assert_int_equal(llrti_prefix_find(&f.pool, p[1], 5, b), LLRTI_PAGE_NONE);
    assert_int_equal(llrti_prefix_find(&f.pool, LLRTI_PAGE_NONE, 6, a), LLRTI_PAGE_NONE);
    assert_int_equal(llrti_prefix_find(&f.pool, p[0], 5, c), LLRTI_PAGE_NONE);
    b[LLRT_PAGE_TOK - 1]++;
    assert_int_equal(llrti_prefix_find(&f.pool, p[0], 5, b), LLRTI_PAGE_NONE);
    b[LLRT_PAGE_TOK - 1]--;
    /* An equal page: the first one is the one to use. */
    assert_int_equal(llrti_prefix_add(&f.pool, p[2], p[0], 5, b), p[1]);
    assert_int_equal(f.pool.page[p[2]].uid, 0);
    /* The page before went: its number means nothing when it is used again. */
    llrti_prefix_remove(&f.pool, p[0]);
    assert_int_equal(llrti_prefix_find(&f.pool, p[0], 5, b), LLRTI_PAGE_NONE);
    assert_int_equal(llrti_prefix_add(&f.pool, p[3], p[0], 5, c), p[3]);
    assert_int_equal(f.pool.page[p[3]].uid, 0); /* after a page that is not indexed */
    assert_int_equal(llrti_prefix_add(&f.pool, p[0], LLRTI_PAGE_NONE, 5, a), p[0]);
    assert_int_equal(llrti_prefix_find(&f.pool, p[0], 5, b), LLRTI_PAGE_NONE);
    llrti_prefix_remove(&f.pool, p[3]);
    end(&f);
}

/* Random adds and removes, against a list that is searched through. */
static void test_random_walk(void **state)
{
    (void)state;
    enum { PAGES = 60, STEPS = 20000 };
    fixture f;
    uint32_t page[PAGES];
    uint32_t text[PAGES] = {0}; /* of an indexed page, + 1 */
    uint64_t seed = 11;
    begin(&f, PAGES);
    assert_true(llrti_pool_take(&f.pool, PAGES, page));
    for (int step = 0; step < STEPS; step++) {
        int32_t tokens[LLRT_PAGE_TOK];
        const uint32_t i = next_random(&seed) % PAGES, t = next_random(&seed) % 80;
        make_text(t, tokens, LLRT_PAGE_TOK, 50);
        uint32_t wanted = LLRTI_PAGE_NONE;
        for (uint32_t k = 0; k < PAGES; k++)
            if (text[k] == t + 1) wanted = page[k];
        assert_int_equal(llrti_prefix_find(&f.pool, LLRTI_PAGE_NONE, 0, tokens), wanted);
        if (text[i]) {
            llrti_prefix_remove(&f.pool, page[i]);
            text[i] = 0;
        } else {
            const uint32_t got = llrti_prefix_add(&f.pool, page[i], LLRTI_PAGE_NONE, 0, tokens);
            assert_int_equal(got, wanted == LLRTI_PAGE_NONE ? page[i] : wanted);
            if (got == page[i]) text[i] = t + 1;
        }
    }
    end(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_hit_needs_the_same_page_before),
        cmocka_unit_test(test_random_walk),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
