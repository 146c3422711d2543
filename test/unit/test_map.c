/* SPDX-License-Identifier: MIT */
/*
 * Hashes, map, sort and the table of tensor types: the small tools of lib/base.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "hash.h"
#include "map.h"
#include "rng.h"
#include "sort.h"
#include "test_support.h"
#include "types.h"

static void test_keyed_hash_is_siphash_1_3(void **state)
{
    /* hash() of CPython 3.11, which is SipHash-1-3, with PYTHONHASHSEED=0: a key of zeros. */
    const uint64_t key[2] = {0, 0};
    unsigned char bytes[64];
    for (int i = 0; i < 64; i++) bytes[i] = (unsigned char)i;
    assert_true(llrti_hash_keyed("a", 1, key) == 0x407448d2b89b1813u);
    assert_true(llrti_hash_keyed("abcdefg", 7, key) == 0x6db12aae9070f506u);
    assert_true(llrti_hash_keyed("abcdefgh", 8, key) == 0x3f7b849c0b8e35eau);
    assert_true(llrti_hash_keyed("The quick brown fox jumps over the lazy dog", 43, key) ==
                0x8df676d3d00c451eu);
    assert_true(llrti_hash_keyed(bytes, 64, key) == 0x75e05fd5bbc870c6u);
}

static void test_checksum_does_not_depend_on_division(void **state)
{
    uint8_t data[300];
    llrti_rng rng;
    llrti_rng_seed(&rng, 3);
    for (size_t i = 0; i < sizeof data; i++) data[i] = (uint8_t)llrti_rng_next(&rng);
    for (size_t n = 0; n <= sizeof data; n++) {
        const llrti_hash128 whole = llrti_hash_bytes(data, n, 5);
        llrti_hasher hasher;
        llrti_hash_begin(&hasher, 5);
        for (size_t at = 0; at < n;) {
            size_t step = llrti_rng_next(&rng) % 70;
            if (step > n - at) step = n - at;
            llrti_hash_update(&hasher, data + at, step);
            (void)llrti_hash_end(&hasher);
            at += step;
        }
        assert_true(llrti_hash_equal(llrti_hash_end(&hasher), whole));
    }
}

static int bit_count(uint64_t x)
{
    int n = 0;
    for (; x; x &= x - 1) n++;
    return n;
}

static void test_checksum_spreads_every_input_bit(void **state)
{
    uint8_t data[100] = {0};
    int least = 128, most = 0;
    const llrti_hash128 zero = llrti_hash_bytes(data, sizeof data, 0);
    for (size_t bit = 0; bit < 8 * sizeof data; bit++) {
        data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        const llrti_hash128 h = llrti_hash_bytes(data, sizeof data, 0);
        const int changed = bit_count(h.lo ^ zero.lo) + bit_count(h.hi ^ zero.hi);
        if (changed < least) least = changed;
        if (changed > most) most = changed;
        data[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    assert_true(least > 36 && most < 92); /* 64 +- 5 standard deviations */
    /* lengths, seeds and trailing zeros count */
    assert_false(llrti_hash_equal(zero, llrti_hash_bytes(data, 99, 0)));
    assert_false(llrti_hash_equal(zero, llrti_hash_bytes(data, 100, 1)));
    uint8_t out[16];
    const llrti_hash128 known = {0x0807060504030201u, 0x100f0e0d0c0b0a09u};
    llrti_hash_store(known, out);
    for (int i = 0; i < 16; i++) assert_int_equal(out[i], i + 1);
}

static void test_map_finds_what_was_put(void **state)
{
    llrti_mem mem;
    test_heap heap;
    llrti_map map;
    static char keys[5000][8];
    test_mem_init(&mem, &heap);
    llrti_map_init(&map, &mem, LLRT_MEMORY_HOST);
    assert_int_equal(llrti_map_get(&map, "x", 1), LLRTI_MAP_NONE);
    for (uint32_t i = 0; i < 5000; i++) {
        bool is_new;
        snprintf(keys[i], sizeof keys[i], "k%u", i);
        assert_int_equal(llrti_map_put(&map, keys[i], strlen(keys[i]), i, &is_new), LLRT_OK);
        assert_true(is_new);
    }
    bool is_new;
    assert_int_equal(llrti_map_put(&map, "k77", 3, 9, &is_new), LLRT_OK);
    assert_false(is_new);
    assert_int_equal(llrti_map_put(&map, NULL, 0, 123, &is_new), LLRT_OK);
    assert_int_equal(llrti_map_get(&map, "", 0), 123);
    for (uint32_t i = 0; i < 5000; i++) {
        assert_int_equal(llrti_map_get(&map, keys[i], strlen(keys[i])), i);
    }
    assert_int_equal(llrti_map_get(&map, "k5000", 5), LLRTI_MAP_NONE);
    assert_int_equal(llrti_map_get(&map, "k77\0", 4), LLRTI_MAP_NONE);
    assert_int_equal(map.n, 5001);
    llrti_map_free(&map);
    assert_int_equal(heap.n_live, 0);
    assert_true(llrti_map_reserve(&map, 1000));
    assert_int_equal(heap.live, llrti_map_bytes(1000));
    const size_t before = heap.n_call;
    for (uint32_t i = 0; i < 1000; i++) llrti_map_put(&map, keys[i], strlen(keys[i]), i, NULL);
    assert_int_equal(heap.n_call, before);
    heap.fail_at = before + 1;
    heap.is_sticky = 1;
    llrt_status status = LLRT_OK;
    uint32_t i = 1000;
    while (i < 5000 && status == LLRT_OK)
        status = llrti_map_put(&map, keys[i], strlen(keys[i]), i, NULL), i++;
    assert_int_equal(status, LLRT_ERR_NOMEM);
    assert_int_equal(llrti_map_get(&map, "k999", 4), 999);
    assert_false(llrti_map_reserve(&map, SIZE_MAX));
    llrti_map_free(&map);
    assert_int_equal(heap.n_live, 0);
}

typedef struct sort_item {
    uint32_t key;
    uint8_t tail[7];
} sort_item;

static size_t n_compare;

static int compare_items(const void *a, const void *b, void *ctx)
{
    const sort_item *x = a, *y = b;
    assert_ptr_equal(ctx, &n_compare);
    n_compare++;
    return x->key < y->key ? -1 : x->key > y->key;
}

/* Sorted, and every element is still whole and there: the tail repeats the key, sums agree. */
static void check_sort(sort_item *items, size_t n)
{
    uint64_t sum = 0, sum_after = 0;
    for (size_t i = 0; i < n; i++) {
        sum += (uint64_t)items[i].key * items[i].key + 1;
        memset(items[i].tail, (int)(items[i].key & 255), sizeof items[i].tail);
    }
    n_compare = 0;
    llrti_sort(items, n, sizeof *items, compare_items, &n_compare);
    for (size_t i = 0; i < n; i++) {
        sum_after += (uint64_t)items[i].key * items[i].key + 1;
        if (i) assert_true(items[i - 1].key <= items[i].key);
        assert_int_equal(items[i].tail[6], items[i].key & 255);
    }
    assert_true(sum == sum_after);
    size_t bound = 64;
    for (size_t left = n; left; left /= 2) bound += 4 * n;
    assert_true(n_compare <= bound);
}

static void test_sort_orders_every_pattern_in_n_log_n(void **state)
{
    static sort_item items[20000];
    llrti_rng rng;
    llrti_rng_seed(&rng, 9);
    for (size_t n = 0; n < 60; n++) {
        for (size_t i = 0; i < n; i++) items[i].key = (uint32_t)(llrti_rng_next(&rng) % (n + 1));
        check_sort(items, n);
    }
    const size_t n = 20000;
    for (int pattern = 0; pattern < 7; pattern++) {
        for (size_t i = 0; i < n; i++) {
            const uint32_t r = (uint32_t)llrti_rng_next(&rng), at = (uint32_t)i;
            const uint32_t keys[] = {
                r, at, (uint32_t)(n - i), 7, r % 10, at % 2, at < n / 2 ? at : (uint32_t)(n - i)};
            items[i].key = keys[pattern];
        }
        check_sort(items, n);
    }
    /* The adversary of M. D. McIlroy ("A Killer Adversary for Quicksort") is bounded by the heap:
     * sawtooth patterns of all periods stand in for it. */
    for (size_t period = 2; period < 200; period++) {
        for (size_t i = 0; i < 3000; i++) items[i].key = (uint32_t)(i % period * (i & 1 ? 1 : 977));
        check_sort(items, 3000);
    }
}

static void test_type_table(void **state)
{
    size_t n;
    assert_string_equal(llrti_type_name(12), "Q4_K");
    assert_string_equal(llrti_type_name(16), "IQ2_XXS");
    assert_string_equal(llrti_type_name(39), "MXFP4");
    assert_string_equal(llrti_type_name(41), "unknown type");
    assert_null(llrti_type_find(41));
    assert_null(llrti_type_find(LLRTI_TYPE_C64 + 1));
    assert_null(llrti_type_find(UINT32_MAX));
    for (uint32_t i = 0; i <= LLRTI_TYPE_C64; i++) {
        const llrti_type_info *info = llrti_type_find(i);
        if (!info) continue;
        assert_int_equal(info->type, i);
        assert_ptr_equal(llrti_type_find_name(info->name, strlen(info->name)), info);
    }
    assert_null(llrti_type_find_name("F33", 3));
    assert_null(llrti_type_find_name("F3", 2));
    assert_true(llrti_type_row_bytes(LLRTI_TYPE_Q4_K, 512, &n) && n == 288);
    assert_true(llrti_type_row_bytes(LLRTI_TYPE_MXFP4, 64, &n) && n == 34);
    assert_false(llrti_type_row_bytes(LLRTI_TYPE_Q4_K, 500, &n));
    assert_false(llrti_type_row_bytes(LLRTI_TYPE_F64, UINT64_MAX / 4, &n));
    assert_false(llrti_type_row_bytes(4, 32, &n));
    assert_true(llrti_type_is_supported(LLRTI_TYPE_BF16));
    assert_false(llrti_type_is_supported(LLRTI_TYPE_F8_E4M3));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_keyed_hash_is_siphash_1_3),
        cmocka_unit_test(test_checksum_does_not_depend_on_division),
        cmocka_unit_test(test_checksum_spreads_every_input_bit),
        cmocka_unit_test(test_map_finds_what_was_put),
        cmocka_unit_test(test_sort_orders_every_pattern_in_n_log_n),
        cmocka_unit_test(test_type_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
