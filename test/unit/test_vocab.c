/* SPDX-License-Identifier: MIT */
/* The vocabulary store: what its map holds, helper ids, sizes that are refused. */
#include "tokenizer_fixture.h"

#include "vocab.h"

static void test_map_holds_what_text_may_become(void **state)
{
    llrti_mem mem;
    llrti_vocab v;
    llrti_mem_init(&mem, NULL);
    llrti_vocab_init(&v, &mem);
    assert_int_equal(llrti_vocab_reserve(&v, 8, 32, NULL), 0);
    llrti_vocab_set(&v, 0, "ab", 2, LLRT_TOKEN_USER_DEFINED, 0);
    llrti_vocab_set(&v, 1, "ab", 2, LLRT_TOKEN_NORMAL, 1.5f);
    llrti_vocab_set(&v, 2, "ab", 2, LLRT_TOKEN_NORMAL, 0);
    llrti_vocab_set(&v, 3, "<s>", 3, LLRT_TOKEN_CONTROL, 0);
    llrti_vocab_set(&v, 4, "x", 1, LLRT_TOKEN_BYTE, 0);
    llrti_vocab_set(&v, 5, "pad", 3, LLRT_TOKEN_UNUSED, 0);
    llrti_vocab_set(&v, 6, "", 0, LLRT_TOKEN_NORMAL, 0);
    assert_int_equal(llrti_vocab_index(&v, false, NULL), 0);
    assert_int_equal(llrti_vocab_find(&v, "ab", 2), 1); /* normal before user-defined, lowest id */
    assert_int_equal(llrti_vocab_find(&v, "<s>", 3), LLRT_TOKEN_NONE);
    assert_int_equal(llrti_vocab_find(&v, "x", 1), LLRT_TOKEN_NONE);
    assert_int_equal(llrti_vocab_find(&v, "pad", 3), LLRT_TOKEN_NONE);
    assert_int_equal(v.entry[7].type, LLRT_TOKEN_UNUSED); /* never set */
    assert_int_equal(v.n_text_max, 3);
    assert_int_equal(llrti_vocab_add_helper(&v, 3, 1, 1), 8); /* beyond the room reserved */
    assert_int_equal(llrti_vocab_find(&v, "s", 1), 8);
    assert_int_equal(v.n_vocab, 8);
    size_t n;
    assert_memory_equal(llrti_vocab_text(&v, 8, &n), "s", 1);
    assert_int_equal(n, 1);
    llrti_vocab_free(&v);
    assert_int_equal(llrti_mem_live(&mem, LLRT_MEMORY_HOST), 0);
}

static void test_sizes_are_checked(void **state)
{
    llrti_mem mem;
    llrti_vocab v;
    llrti_mem_init(&mem, NULL);
    llrti_vocab_init(&v, &mem);
    assert_int_equal(llrti_vocab_reserve(&v, 0, 1, NULL), LLRT_ERR_FORMAT);
    assert_int_equal(llrti_vocab_reserve(&v, (size_t)LLRTI_VOCAB_MAX + 1, 1, NULL),
                     LLRT_ERR_FORMAT);
    if (sizeof(size_t) > 4)
        assert_int_equal(llrti_vocab_reserve(&v, 1, (size_t)UINT32_MAX + 1, NULL), LLRT_ERR_FORMAT);
    llrti_vocab_free(&v);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_map_holds_what_text_may_become),
        cmocka_unit_test(test_sizes_are_checked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
