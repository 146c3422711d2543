/* SPDX-License-Identifier: MIT */
/*
 * Numbers against the C library's conversions (in the "C" locale), also while the host has set a
 * locale with another decimal point; bounded strings.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rng.h"
#include "text.h"
#include "utf8.h"

static uint64_t bits_of(double x)
{
    uint64_t u;
    memcpy(&u, &x, 8);
    return u;
}

static void check_parse(const char *text)
{
    double x;
    assert_true(llrti_text_parse_double(text, strlen(text), &x));
    if (bits_of(x) != bits_of(strtod(text, NULL))) {
        fail_msg("%s: found %.17g, expected %.17g", text, x, strtod(text, NULL));
    }
}

static void test_doubles_read_as_strtod_reads_them(void **state)
{
    const char *cases[] = {"0",
                           "-0",
                           "0.0",
                           "-0e5",
                           "1",
                           "0.1",
                           "1e22",
                           "1e23",
                           "9007199254740993",
                           "9007199254740991.5",
                           "1.7976931348623157e308",
                           "1.7976931348623158e308",
                           "1.7976931348623159e308",
                           "1e309",
                           "1e99999",
                           "4.9406564584124654e-324",
                           "2.4703282292062327e-324",
                           "2.4703282292062328e-324",
                           "1e-400",
                           "2.2250738585072011e-308",
                           "2.2250738585072014e-308",
                           "-1e-324",
                           "1e-99999999999999999999",
                           "0e99999999999999999999",
                           "123456789012345678901234567890",
                           "0.000000000000000000000000000001",
                           "8.5899345930000000e9",
                           "1.00000000000000011102230246251565404236316680908203125",
                           "1.00000000000000011102230246251565404236316680908203124",
                           "1.00000000000000011102230246251565404236316680908203126",
                           ".5",
                           "5.",
                           "+3",
                           "007"};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) check_parse(cases[i]);
    /* A digit far behind a tie decides it. */
    char tie[2000] = "9007199254740993.";
    memset(tie + strlen(tie), '0', 1500);
    check_parse(tie);
    tie[1500] = '1';
    check_parse(tie);
    llrti_rng rng;
    llrti_rng_seed(&rng, 11);
    for (int i = 0; i < 100000; i++) {
        const uint64_t u = llrti_rng_next(&rng);
        double x;
        char text[64];
        memcpy(&x, &u, 8);
        if (!isfinite(x)) continue;
        snprintf(text, sizeof text, "%.*e", (int)(llrti_rng_next(&rng) % 22), x);
        check_parse(text);
    }
}

static void test_what_is_no_number_is_refused(void **state)
{
    const char *cases[] = {"",   " ",  "-",    "+",   ".",   "e5",  "1e",  "1e+",   "1.2.3",
                           "1 ", " 1", "0x10", "inf", "nan", "1,5", "--1", "1e5.0", "Infinity"};
    double x;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_false(llrti_text_parse_double(cases[i], strlen(cases[i]), &x));
    }
}

static void test_doubles_are_written_shortest_and_read_back(void **state)
{
    const struct {
        double value;
        const char *text;
    } cases[] = {{0, "0"},
                 {-0.0, "-0"},
                 {1, "1"},
                 {-1.5, "-1.5"},
                 {0.1, "0.1"},
                 {1e15, "1000000000000000"},
                 {1e16, "1e+16"},
                 {1e-5, "0.00001"},
                 {1e-6, "1e-06"},
                 {5e-324, "5e-324"},
                 {100, "100"},
                 {1.7976931348623157e308, "1.7976931348623157e+308"},
                 {NAN, "nan"},
                 {INFINITY, "inf"},
                 {-INFINITY, "-inf"},
                 {123456.789, "123456.789"},
                 {0.30000000000000004, "0.30000000000000004"}};
    char text[32];
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_int_equal(llrti_text_print_double(text, cases[i].value), strlen(cases[i].text));
        assert_string_equal(text, cases[i].text);
    }
    llrti_rng rng;
    llrti_rng_seed(&rng, 12);
    for (int i = 0; i < 30000; i++) {
        const uint64_t u = llrti_rng_next(&rng);
        double x;
        memcpy(&x, &u, 8);
        if (!isfinite(x)) continue;
        const size_t n = llrti_text_print_double(text, x);
        assert_true(n <= 25);
        assert_true(bits_of(strtod(text, NULL)) == u);
    }
}

static void test_the_host_locale_changes_nothing(void **state)
{
    const char *names[] = {"de_DE.UTF-8", "fr_FR.UTF-8", "de_DE", "nl_NL.UTF-8"};
    const char *set = NULL;
    for (size_t i = 0; i < 4 && !set; i++) set = setlocale(LC_ALL, names[i]);
    if (!set) {
        print_message("skipped: no locale with a decimal comma is installed\n");
        skip();
    }
    double x;
    char text[32];
    assert_true(llrti_text_parse_double("2.5", 3, &x) && x == 2.5);
    llrti_text_print_double(text, 2.5);
    assert_string_equal(text, "2.5");
    setlocale(LC_ALL, "C");
}

static void test_integers(void **state)
{
    int64_t i;
    uint64_t u;
    assert_true(llrti_text_parse_int64("-9223372036854775808", 20, &i) && i == INT64_MIN);
    assert_true(llrti_text_parse_int64("9223372036854775807", 19, &i) && i == INT64_MAX);
    assert_false(llrti_text_parse_int64("9223372036854775808", 19, &i));
    assert_false(llrti_text_parse_int64("-9223372036854775809", 20, &i));
    assert_true(llrti_text_parse_int64("-0", 2, &i) && i == 0);
    assert_false(llrti_text_parse_int64("", 0, &i));
    assert_false(llrti_text_parse_int64("-", 1, &i));
    assert_false(llrti_text_parse_int64("+1", 2, &i));
    assert_true(llrti_text_parse_uint64("18446744073709551615", 20, &u) && u == UINT64_MAX);
    assert_false(llrti_text_parse_uint64("18446744073709551616", 20, &u));
    assert_false(llrti_text_parse_uint64("12a", 3, &u));
}

static void test_bounded_text_is_cut_between_characters(void **state)
{
    char buffer[10];
    llrti_text text;
    llrti_text_init(&text, buffer, sizeof buffer);
    llrti_text_add(&text, "abc");
    llrti_text_add_format(&text, "%d", 42);
    assert_string_equal(buffer, "abc42");
    assert_false(text.is_cut);
    llrti_text_add(&text, "xy\xe2\x82\xac"
                          "z");
    assert_string_equal(buffer, "abc42xy");
    assert_true(text.is_cut);
    llrti_text_add(&text, "q");
    assert_string_equal(buffer, "abc42xy");
    assert_int_equal(llrti_text_format(buffer, sizeof buffer, "1234567\xe2\x82\xac"), 7);
    assert_string_equal(buffer, "1234567");
    char quoted[LLRTI_TEXT_QUOTE_SIZE];
    assert_string_equal(llrti_text_quote(quoted, sizeof quoted, "a\n\xff\xc3\xbc", 5),
                        "\"a\\x0a\\xff\xc3\xbc\"");
    char bad[100];
    memset(bad, 0xfe, sizeof bad);
    llrti_text_quote(quoted, sizeof quoted, bad, sizeof bad);
    assert_int_equal(strlen(quoted), 2 + 64 * 4 + 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_doubles_read_as_strtod_reads_them),
        cmocka_unit_test(test_what_is_no_number_is_refused),
        cmocka_unit_test(test_doubles_are_written_shortest_and_read_back),
        cmocka_unit_test(test_the_host_locale_changes_nothing),
        cmocka_unit_test(test_integers),
        cmocka_unit_test(test_bounded_text_is_cut_between_characters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
