/* SPDX-License-Identifier: MIT */
/* Matching of added tokens: leftmost and longest, special ones only on request, the strip and word
 * flags. */
#include "tokenizer_fixture.h"

#include "added_tokens.h"

static void check_next(const llrti_added_tokens *set, const char *text, size_t from,
                       bool with_special, size_t start, size_t end, int32_t id)
{
    uint64_t n_op = 0;
    const llrti_added_match m =
        llrti_added_tokens_next(set, text, strlen(text), from, with_special, &n_op);
    assert_int_equal(m.id, id);
    assert_int_equal(m.start, start);
    assert_int_equal(m.end, end);
}

static void add(llrti_added_tokens *set, const char *text, int32_t id, uint32_t flags)
{
    const llrti_added_token token = {text, (uint32_t)strlen(text), id, flags};
    assert_true(llrti_added_tokens_add(set, token));
}

static void test_matching(void **state)
{
    llrti_mem mem;
    llrti_added_tokens set;
    llrti_mem_init(&mem, NULL);
    llrti_added_tokens_init(&set, &mem);
    check_next(&set, "abc", 0, true, 3, 3, LLRT_TOKEN_NONE);
    add(&set, "", 99, 0);
    add(&set, "<a>", 1, 0);
    add(&set, "<a><b>", 2, 0);
    add(&set, "<a", 3, LLRTI_ADDED_SPECIAL);
    add(&set, "<a>", 7, 0); /* the lower id of equal texts stays */
    add(&set, "b", 4, LLRTI_ADDED_SINGLE_WORD);
    add(&set, "[M]", 5, LLRTI_ADDED_LSTRIP | LLRTI_ADDED_RSTRIP);
    llrti_added_tokens_finish(&set);
    check_next(&set, "x<a><b>", 0, false, 1, 7, 2);
    check_next(&set, "x<a><c>", 0, false, 1, 4, 1);
    check_next(&set, "x<a ", 0, false, 4, 4, LLRT_TOKEN_NONE);
    check_next(&set, "x<a ", 0, true, 1, 3, 3);
    check_next(&set, "ab b", 0, true, 3, 4, 4);
    check_next(&set, "b\xc3\xa9", 0, true, 3, 3, LLRT_TOKEN_NONE);
    check_next(&set, "x \xe3\x80\x80[M] \ny", 0, true, 1, 10, 5);
    check_next(&set, "   [M]", 2, true, 2, 6, 5); /* not before where it may begin */
    assert_int_equal(llrti_added_tokens_find(&set, "<a><b>", 6), 2);
    assert_int_equal(llrti_added_tokens_find(&set, "<a", 2), 3);
    assert_int_equal(llrti_added_tokens_find(&set, "<", 1), LLRT_TOKEN_NONE);
    llrti_added_tokens_free(&set);
    assert_int_equal(llrti_mem_live(&mem, LLRT_MEMORY_HOST), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_matching)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
