/* SPDX-License-Identifier: MIT */
/*
 * Byte-pair merging against a naive reference that rescans the whole word for each merge, on
 * random tables and words on both sides of the switch from scanning to the heap; the growth of
 * the work on one-letter words; failing allocations; the cache of words.
 */
#include "tokenizer_fixture.h"

#include "bpe.h"

static uint64_t rng_state = 42;

static uint32_t next_random(uint32_t below)
{
    rng_state = rng_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(rng_state >> 33) % below;
}

typedef struct rule {
    int32_t left, right;
    uint32_t rank;
    int32_t id;
} rule;

/* Merges the leftmost pair of the lowest rank until none is left. */
static size_t merge_naively(const rule *rules, size_t n_rule, int32_t *symbol, size_t n)
{
    for (;;) {
        size_t best_at = 0;
        const rule *best = NULL;
        for (size_t i = 0; i + 1 < n; i++)
            for (size_t r = 0; r < n_rule; r++)
                if (rules[r].left == symbol[i] && rules[r].right == symbol[i + 1] &&
                    (!best || rules[r].rank < best->rank)) {
                    best = &rules[r];
                    best_at = i;
                }
        if (!best) return n;
        symbol[best_at] = best->id;
        n--;
        memmove(symbol + best_at + 1, symbol + best_at + 2, (n - best_at - 1) * sizeof *symbol);
    }
}

static void test_random_merges_equal_naive_ones(void **state)
{
    for (int round = 0; round < 400; round++) {
        llrti_mem mem;
        llrti_bpe bpe;
        llrti_bpe_scratch scratch;
        rule rules[40];
        size_t n_rule = 0;
        llrti_mem_init(&mem, NULL);
        llrti_bpe_init(&bpe, &mem);
        llrti_bpe_scratch_init(&scratch, &mem);
        assert_int_equal(llrti_bpe_reserve(&bpe, 40, NULL), 0);
        for (int i = 0; i < 40; i++) {
            const uint32_t n_known = (uint32_t)(6 + n_rule);
            const rule r = {(int32_t)next_random(n_known), (int32_t)next_random(n_known),
                            next_random(30), (int32_t)(6 + n_rule)};
            bool is_new = true;
            for (size_t k = 0; k < n_rule; k++)
                is_new &= rules[k].left != r.left || rules[k].right != r.right;
            if (!is_new) continue;
            rules[n_rule++] = r;
            llrti_bpe_add(&bpe, r.left, r.right, r.rank, r.id);
        }
        int32_t a[300], b[300];
        size_t n = next_random(300);
        for (size_t i = 0; i < n; i++) a[i] = b[i] = (int32_t)next_random(6);
        const size_t expected = merge_naively(rules, n_rule, b, n);
        assert_int_equal(llrti_bpe_merge(&bpe, &scratch, a, &n, NULL), 0);
        assert_int_equal(n, expected);
        assert_memory_equal(a, b, n * sizeof *a);
        llrti_bpe_scratch_free(&scratch);
        llrti_bpe_free(&bpe);
        assert_int_equal(llrti_mem_live(&mem, LLRT_MEMORY_HOST), 0);
    }
}

/* Operations to merge a word of n equal letters with tokens of 2, 4, 8 ... letters. */
static uint64_t count_one_letter(size_t n)
{
    llrti_mem mem;
    llrti_bpe bpe;
    llrti_bpe_scratch scratch;
    llrti_mem_init(&mem, NULL);
    llrti_bpe_init(&bpe, &mem);
    llrti_bpe_scratch_init(&scratch, &mem);
    assert_int_equal(llrti_bpe_reserve(&bpe, 5, NULL), 0);
    for (int32_t i = 0; i < 5; i++) llrti_bpe_add(&bpe, i, i, (uint32_t)i, i + 1);
    int32_t *const symbol = calloc(n, sizeof *symbol);
    assert_non_null(symbol);
    size_t n_symbol = n;
    assert_int_equal(llrti_bpe_merge(&bpe, &scratch, symbol, &n_symbol, NULL), 0);
    assert_int_equal(n_symbol, n / 32);
    const uint64_t n_op = scratch.n_op;
    free(symbol);
    llrti_bpe_scratch_free(&scratch);
    llrti_bpe_free(&bpe);
    return n_op;
}

static void test_work_grows_as_n_log_n(void **state)
{
    /* A pop moves through at most log2 n levels of the heap, and there are fewer than 2 n pops. */
    assert_true(count_one_letter(1 << 14) <= ((uint64_t)1 << 14) * 2 * 14);
    assert_true(count_one_letter(1 << 20) <= ((uint64_t)1 << 20) * 2 * 20);
}

static void test_lower_rank_of_equal_pairs_stays(void **state)
{
    llrti_mem mem;
    llrti_bpe bpe;
    llrti_bpe_scratch scratch;
    llrti_mem_init(&mem, NULL);
    llrti_bpe_init(&bpe, &mem);
    llrti_bpe_scratch_init(&scratch, &mem);
    assert_int_equal(llrti_bpe_reserve(&bpe, 2, NULL), 0);
    llrti_bpe_add(&bpe, 0, 1, 5, 7);
    llrti_bpe_add(&bpe, 0, 1, 3, 8);
    llrti_bpe_add(&bpe, 0, 1, 4, 9);
    int32_t symbol[2] = {0, 1};
    size_t n = 2;
    assert_int_equal(llrti_bpe_merge(&bpe, &scratch, symbol, &n, NULL), 0);
    assert_int_equal(n, 1);
    assert_int_equal(symbol[0], 8);
    llrti_bpe_free(&bpe);
}

static void test_no_memory(void **state)
{
    test_allocator counter = {0};
    const llrt_allocator hooks = {test_alloc_hook, test_free_hook, &counter};
    llrti_mem mem;
    llrti_bpe bpe;
    llrti_bpe_scratch scratch;
    llrti_mem_init(&mem, &hooks);
    llrti_bpe_init(&bpe, &mem);
    counter.fail_at = 1;
    assert_int_equal(llrti_bpe_reserve(&bpe, 4, NULL), LLRT_ERR_NOMEM);
    assert_int_equal(llrti_bpe_reserve(&bpe, 4, NULL), 0);
    llrti_bpe_add(&bpe, 0, 0, 0, 1);
    llrti_bpe_scratch_init(&scratch, &mem);
    int32_t symbol[100] = {0};
    size_t n = 100;
    counter.fail_at = counter.n_alloc + 1;
    assert_int_equal(llrti_bpe_merge(&bpe, &scratch, symbol, &n, NULL), LLRT_ERR_NOMEM);
    assert_int_equal(llrti_bpe_merge(&bpe, &scratch, symbol, &n, NULL), 0);
    assert_int_equal(n, 50);
    llrti_bpe_scratch_free(&scratch);
    llrti_bpe_free(&bpe);
    assert_int_equal(counter.n_live, 0);
}

static void test_word_cache(void **state)
{
    llrti_mem mem;
    llrti_bpe_scratch scratch;
    llrti_mem_init(&mem, NULL);
    llrti_bpe_scratch_init(&scratch, &mem);
    llrti_bpe_scratch_add_cache(&scratch);
    const int32_t ids[] = {1, 2, 3, 4, 5, 6, 7, 8, 9};
    int32_t out[4];
    llrti_id_sink sink = {out, 4, 0};
    assert_false(llrti_word_cache_get(scratch.cache, "word", 4, &sink));
    llrti_word_cache_put(scratch.cache, "word", 4, ids, 8);
    assert_true(llrti_word_cache_get(scratch.cache, "word", 4, &sink));
    assert_int_equal(sink.n, 8); /* counted beyond the capacity */
    assert_int_equal(out[3], 4);
    llrti_word_cache_put(scratch.cache, "many", 4, ids, 9);
    assert_false(llrti_word_cache_get(scratch.cache, "many", 4, &sink));
    assert_false(llrti_word_cache_get(NULL, "word", 4, &sink));
    llrti_bpe_scratch_free(&scratch);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_merges_equal_naive_ones),
        cmocka_unit_test(test_work_grows_as_n_log_n),
        cmocka_unit_test(test_lower_rank_of_equal_pairs_stays),
        cmocka_unit_test(test_no_memory),
        cmocka_unit_test(test_word_cache),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
