/* SPDX-License-Identifier: MIT */
/*
 * UTF-8: every code point there and back, every malformed form refused, malformed input divided
 * as the Unicode standard recommends (chapter 3, "U+FFFD Substitution of Maximal Subparts").
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "utf8.h"

static void test_every_code_point_survives(void **state)
{
    for (uint32_t cp = 0; cp < 0x110800; cp++) {
        char bytes[4];
        uint32_t back;
        const size_t n = llrti_utf8_encode(cp, bytes);
        if ((cp >= 0xd800 && cp < 0xe000) || cp > 0x10ffff) {
            assert_int_equal(n, 0);
            continue;
        }
        assert_int_equal(n, cp < 0x80 ? 1 : cp < 0x800 ? 2 : cp < 0x10000 ? 3 : 4);
        assert_int_equal(llrti_utf8_decode(bytes, n, &back), n);
        assert_int_equal(back, cp);
        assert_int_equal(llrti_utf8_length((uint8_t)bytes[0]), n);
        assert_true(llrti_utf8_is_valid(bytes, n));
        if (n > 1) assert_int_equal(llrti_utf8_incomplete_tail(bytes, n - 1), n - 1);
        assert_int_equal(llrti_utf8_incomplete_tail(bytes, n), 0);
    }
}

/* Pieces as lengths; a negative one is malformed. */
static void check_pieces(const char *text, size_t n, const int *pieces, size_t n_piece)
{
    size_t at = 0;
    for (size_t i = 0; i < n_piece; i++) {
        uint32_t cp;
        const size_t used = llrti_utf8_decode(text + at, n - at, &cp);
        assert_int_equal(used, pieces[i] < 0 ? -pieces[i] : pieces[i]);
        assert_int_equal(cp == LLRTI_UTF8_INVALID, pieces[i] < 0);
        at += used;
    }
    assert_int_equal(at, n);
}

static void test_malformed_input_divides_into_maximal_subparts(void **state)
{
    /* Tables 3-8 to 3-11 of the standard. */
    const int a[] = {-1, -1, -1, -1, -1, -1, -1, -1, 1};
    check_pieces("\xc0\xaf\xe0\x80\xbf\xf0\x81\x82\x41", 9, a, 9);
    check_pieces("\xed\xa0\x80\xed\xbf\xbf\xed\xaf\x41", 9, a, 9);
    const int b[] = {-1, -1, -1, -1, -1, 1, -1, -1, 1};
    check_pieces("\xf4\x91\x92\x93\xff\x41\x80\xbf\x42", 9, b, 9);
    const int c[] = {-2}; /* truncated sequences */
    check_pieces("\xe1\x80", 2, c, 1);
    const int d[] = {-2, -1, -3, -2, 1};
    check_pieces("\xe1\x80\xe2\xf0\x91\x92\xf1\xbf\x41", 9, d, 5);
}

static void test_valid_prefix(void **state)
{
    const char *text = "plain ASCII text, gr\xc3\xbc\xc3\x9f"
                       "e, \xf0\x9f\x98\x80!";
    const size_t n = strlen(text);
    assert_true(llrti_utf8_is_valid(text, n));
    assert_true(llrti_utf8_is_valid("", 0));
    for (size_t cut = 0; cut <= n; cut++) {
        const size_t prefix = llrti_utf8_valid_prefix(text, cut);
        assert_int_equal(prefix + llrti_utf8_incomplete_tail(text, cut), cut);
    }
    char bad[64];
    for (size_t at = 0; at < 40; at++) {
        memset(bad, 'x', sizeof bad);
        bad[at] = '\xff';
        assert_int_equal(llrti_utf8_valid_prefix(bad, 40), at);
    }
}

static void test_tail_that_can_not_be_completed_is_none(void **state)
{
    assert_int_equal(llrti_utf8_incomplete_tail("\xff", 1), 0);
    assert_int_equal(llrti_utf8_incomplete_tail("\x80\x80\x80", 3), 0);
    assert_int_equal(llrti_utf8_incomplete_tail("\xe0\x80", 2), 0);
    assert_int_equal(llrti_utf8_incomplete_tail("\xf0\x9f\x98", 3), 3);
    assert_int_equal(llrti_utf8_incomplete_tail("", 0), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_code_point_survives),
        cmocka_unit_test(test_malformed_input_divides_into_maximal_subparts),
        cmocka_unit_test(test_valid_prefix),
        cmocka_unit_test(test_tail_that_can_not_be_completed_is_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
