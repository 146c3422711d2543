/* SPDX-License-Identifier: MIT */
/*
 * Memory: what is counted is what is requested, hooks see consistent sizes, failures leave
 * everything as it was, size arithmetic notices overflow.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "arena.h"
#include "test_support.h"

static void test_live_and_peak_follow_requests(void **state)
{
    llrti_mem mem;
    test_heap heap;
    test_mem_init(&mem, &heap);
    void *a = llrti_alloc(&mem, 100, LLRT_MEMORY_HOST);
    void *b = llrti_calloc(&mem, 10, 20, LLRT_MEMORY_KV);
    assert_non_null(a);
    assert_non_null(b);
    assert_int_equal((uintptr_t)a % 64, 0);
    for (int i = 0; i < 200; i++) assert_int_equal(((char *)b)[i], 0);
    assert_int_equal(llrti_mem_live(&mem, LLRT_MEMORY_HOST), 100 + LLRTI_ALLOC_HEADER);
    assert_int_equal(llrti_mem_live(&mem, LLRT_MEMORY_KV), 200 + LLRTI_ALLOC_HEADER);
    assert_int_equal(heap.live, 300 + 2 * LLRTI_ALLOC_HEADER);
    llrti_free(&mem, a);
    assert_int_equal(llrti_mem_live(&mem, LLRT_MEMORY_HOST), 0);
    assert_int_equal(llrti_mem_peak(&mem, LLRT_MEMORY_HOST), 100 + LLRTI_ALLOC_HEADER);
    llrti_free(&mem, b);
    llrti_free(&mem, NULL);
    assert_int_equal(heap.n_live, 0);
    assert_int_equal(heap.live, 0);
    assert_int_equal(atomic_load(&mem.total_live), 0);
    assert_int_equal(atomic_load(&mem.total_peak), 300 + 2 * LLRTI_ALLOC_HEADER);
}

static void test_size_zero_gives_unique_pointers(void **state)
{
    llrti_mem mem;
    llrti_mem_init(&mem, NULL);
    void *a = llrti_alloc(&mem, 0, LLRT_MEMORY_HOST), *b = llrti_alloc(&mem, 0, LLRT_MEMORY_HOST);
    assert_non_null(a);
    assert_non_null(b);
    assert_ptr_not_equal(a, b);
    llrti_free(&mem, a);
    llrti_free(&mem, b);
}

static void test_realloc_keeps_contents_and_old_block_on_failure(void **state)
{
    llrti_mem mem;
    test_heap heap;
    test_mem_init(&mem, &heap);
    char *a = llrti_realloc(&mem, NULL, 8, LLRT_MEMORY_STATE);
    memcpy(a, "1234567", 8);
    a = llrti_realloc(&mem, a, 4000, LLRT_MEMORY_HOST);
    assert_string_equal(a, "1234567");
    assert_int_equal(llrti_mem_live(&mem, LLRT_MEMORY_STATE), 4000 + LLRTI_ALLOC_HEADER);
    heap.fail_at = heap.n_call + 1;
    assert_null(llrti_realloc(&mem, a, 8000, LLRT_MEMORY_HOST));
    assert_string_equal(a, "1234567");
    a = llrti_realloc(&mem, a, 3, LLRT_MEMORY_HOST);
    assert_memory_equal(a, "123", 3);
    llrti_free(&mem, a);
    assert_int_equal(heap.live, 0);
}

static void test_bulk_is_aligned_and_counted_without_header(void **state)
{
    llrti_mem mem;
    llrti_mem_init(&mem, NULL);
    const size_t size = 3u << 20;
    char *p = llrti_bulk_alloc(&mem, size, LLRTI_BULK_ALIGN, LLRT_MEMORY_WEIGHTS);
    assert_non_null(p);
    assert_int_equal((uintptr_t)p % LLRTI_BULK_ALIGN, 0);
    assert_int_equal(llrti_mem_live(&mem, LLRT_MEMORY_WEIGHTS), size);
    memset(p, 1, size);
    llrti_bulk_free(&mem, p, size, LLRTI_BULK_ALIGN, LLRT_MEMORY_WEIGHTS);
    assert_int_equal(llrti_mem_live(&mem, LLRT_MEMORY_WEIGHTS), 0);
    p = llrti_bulk_alloc(&mem, 100, 4096, LLRT_MEMORY_SCRATCH);
    assert_int_equal((uintptr_t)p % 4096, 0);
    llrti_bulk_free(&mem, p, 100, 4096, LLRT_MEMORY_SCRATCH);
    llrti_bulk_free(&mem, NULL, 5, 64, LLRT_MEMORY_SCRATCH);
    assert_int_equal(atomic_load(&mem.total_live), 0);
}

static void test_overflow_is_refused(void **state)
{
    llrti_mem mem;
    size_t out;
    llrti_mem_init(&mem, NULL);
    assert_true(llrti_mul_size(3, 5, &out) && out == 15);
    assert_true(llrti_mul_size(SIZE_MAX, 1, &out) && out == SIZE_MAX);
    assert_true(llrti_mul_size(SIZE_MAX, 0, &out) && out == 0);
    assert_false(llrti_mul_size(SIZE_MAX / 2, 3, &out));
    assert_true(llrti_add_size(SIZE_MAX - 1, 1, &out));
    assert_false(llrti_add_size(SIZE_MAX, 1, &out));
    assert_int_equal(out, SIZE_MAX);
    assert_true(llrti_round_up_size(65, 64, &out) && out == 128);
    assert_true(llrti_round_up_size(64, 64, &out) && out == 64);
    assert_true(llrti_round_up_size(0, 64, &out) && out == 0);
    assert_false(llrti_round_up_size(SIZE_MAX - 5, 64, &out));
    assert_null(llrti_alloc(&mem, SIZE_MAX - 8, LLRT_MEMORY_HOST));
    assert_null(llrti_calloc(&mem, SIZE_MAX / 2, 3, LLRT_MEMORY_HOST));
    assert_null(llrti_strndup(&mem, "", SIZE_MAX, LLRT_MEMORY_HOST));
}

static void test_text_copies(void **state)
{
    llrti_mem mem;
    test_heap heap;
    test_mem_init(&mem, &heap);
    char *a = llrti_strdup(&mem, "abc", LLRT_MEMORY_HOST);
    char *b = llrti_strndup(&mem, "abcdef", 4, LLRT_MEMORY_HOST);
    assert_string_equal(a, "abc");
    assert_string_equal(b, "abcd");
    llrti_free(&mem, a);
    llrti_free(&mem, b);
    heap.fail_at = heap.n_call + 1;
    assert_null(llrti_strdup(&mem, "abc", LLRT_MEMORY_HOST));
    assert_int_equal(heap.n_live, 0);
}

static void test_vector_grows_and_survives_failure(void **state)
{
    llrti_mem mem;
    test_heap heap;
    LLRTI_VEC(uint32_t) v = {0};
    test_mem_init(&mem, &heap);
    for (uint32_t i = 0; i < 1000; i++) {
        assert_true(llrti_vec_reserve(&mem, &v, v.n + 1, LLRT_MEMORY_HOST));
        v.data[v.n++] = i;
    }
    assert_true(heap.n_call < 20);
    heap.fail_at = heap.n_call + 1;
    assert_false(llrti_vec_reserve(&mem, &v, 100000, LLRT_MEMORY_HOST));
    assert_false(llrti_vec_reserve(&mem, &v, SIZE_MAX / 2, LLRT_MEMORY_HOST));
    for (uint32_t i = 0; i < 1000; i++) assert_int_equal(v.data[i], i);
    llrti_vec_free(&mem, &v);
    assert_int_equal(heap.n_live, 0);
}

static void test_arena_blocks_are_aligned_and_do_not_overlap(void **state)
{
    llrti_mem mem;
    test_heap heap;
    llrti_arena arena;
    unsigned char *block[400];
    test_mem_init(&mem, &heap);
    llrti_arena_init(&arena, &mem, LLRT_MEMORY_HOST);
    for (size_t i = 0; i < 400; i++) {
        const size_t align = (size_t)1 << i % 7;
        block[i] = llrti_arena_alloc(&arena, i * i % 977, align);
        assert_non_null(block[i]);
        assert_int_equal((uintptr_t)block[i] % align, 0);
        memset(block[i], (int)(i & 255), i * i % 977);
    }
    for (size_t i = 0; i < 400; i++) {
        for (size_t k = 0; k < i * i % 977; k++) assert_int_equal(block[i][k], i & 255);
    }
    assert_true(heap.n_call < 100);
    assert_null(llrti_arena_alloc(&arena, SIZE_MAX - 10, 1));
    assert_null(llrti_arena_strndup(&arena, "", SIZE_MAX));
    heap.fail_at = heap.n_call + 1;
    assert_null(llrti_arena_alloc(&arena, 10u << 20, 8));
    assert_string_equal(llrti_arena_strndup(&arena, "hello", 4), "hell");
    llrti_arena_free(&arena);
    assert_int_equal(heap.n_live, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_live_and_peak_follow_requests),
        cmocka_unit_test(test_size_zero_gives_unique_pointers),
        cmocka_unit_test(test_realloc_keeps_contents_and_old_block_on_failure),
        cmocka_unit_test(test_bulk_is_aligned_and_counted_without_header),
        cmocka_unit_test(test_overflow_is_refused),
        cmocka_unit_test(test_text_copies),
        cmocka_unit_test(test_vector_grows_and_survives_failure),
        cmocka_unit_test(test_arena_blocks_are_aligned_and_do_not_overlap),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
