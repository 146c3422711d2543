/* SPDX-License-Identifier: MIT */
/*
 * Errors and statuses: records are filled whole, cut between characters, and respect the size
 * the caller gave; every status has a name and a sentence.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "error.h"

#include <string.h>

#include "utf8.h"

static void test_fail_fills_and_clears(void **state)
{
    llrt_error err = LLRT_ERROR_INIT;
    assert_int_equal(llrti_fail_field(&err, LLRT_ERR_FORMAT, "a.key", "found %d", 7),
                     LLRT_ERR_FORMAT);
    assert_int_equal(err.status, LLRT_ERR_FORMAT);
    assert_string_equal(err.text, "found 7");
    assert_string_equal(err.field, "a.key");
    assert_string_equal(err.file, "");
    assert_int_equal(err.position, -1);
    llrti_error_file(&err, "one");
    llrti_error_file(&err, "two");
    llrti_error_field(&err, "other");
    llrti_error_position(&err, 5);
    llrti_error_position(&err, 6);
    assert_string_equal(err.file, "one");
    assert_string_equal(err.field, "a.key");
    assert_int_equal(err.position, 5);
    llrti_fail(&err, LLRT_ERR_IO, "next: %s", err.text); /* the argument lies in the record */
    assert_string_equal(err.text, "next: found 7");
    assert_string_equal(err.file, "");
    assert_string_equal(err.field, "");
    assert_int_equal(err.position, -1);
    llrti_fail_nomem(&err, "a table", 12);
    assert_int_equal(err.status, LLRT_ERR_NOMEM);
    assert_non_null(strstr(err.text, "a table"));
    assert_non_null(strstr(err.text, "12"));
}

static void test_null_is_fine(void **state)
{
    assert_int_equal(llrti_fail(NULL, LLRT_ERR_IO, "x"), LLRT_ERR_IO);
    assert_int_equal(llrti_fail_field(NULL, LLRT_ERR_IO, "f", "x"), LLRT_ERR_IO);
    assert_int_equal(llrti_fail_nomem(NULL, "x", 1), LLRT_ERR_NOMEM);
    llrti_error_file(NULL, "x");
    llrti_error_field(NULL, "x");
    llrti_error_position(NULL, 1);
    llrti_error_copy(NULL, NULL);
}

static void test_long_texts_are_cut_between_characters(void **state)
{
    llrt_error err = LLRT_ERROR_INIT;
    char text[2000];
    for (size_t lead = 0; lead < 3; lead++) {
        memset(text, 'x', lead);
        for (size_t i = lead; i + 3 < sizeof text; i += 3) memcpy(text + i, "\xe2\x82\xac", 3);
        text[lead + 3 * 600] = 0;
        llrti_fail_field(&err, LLRT_ERR_FORMAT, text, "%s", text);
        llrti_error_file(&err, text);
        assert_true(strlen(err.text) > LLRT_ERROR_TEXT_SIZE - 4);
        assert_true(strlen(err.file) > LLRT_ERROR_NAME_SIZE - 4);
        assert_true(llrti_utf8_is_valid(err.text, strlen(err.text)));
        assert_true(llrti_utf8_is_valid(err.file, strlen(err.file)));
        assert_true(llrti_utf8_is_valid(err.field, strlen(err.field)));
    }
}

static void test_shorter_records_are_respected(void **state)
{
    llrt_error err;
    memset(&err, 0x55, sizeof err);
    err.struct_size = 0;
    llrti_fail(&err, LLRT_ERR_IO, "text");
    assert_int_equal(err.status, 0x55555555);
    err.struct_size = offsetof(llrt_error, file);
    llrti_fail_field(&err, LLRT_ERR_IO, "field", "text");
    llrti_error_file(&err, "file");
    assert_int_equal(err.status, LLRT_ERR_IO);
    assert_string_equal(err.text, "text");
    assert_int_equal(err.file[0], 0x55);
    assert_int_equal(err.field[0], 0x55);
    llrt_error whole = LLRT_ERROR_INIT;
    llrti_fail_field(&whole, LLRT_ERR_BUSY, "f", "t");
    llrti_error_copy(&err, &whole);
    assert_int_equal(err.status, LLRT_ERR_BUSY);
    assert_string_equal(err.text, "t");
    assert_int_equal(err.field[0], 0x55);
    llrti_error_copy(&whole, &err);
    assert_string_equal(whole.field, "");
}

static void test_every_status_is_named(void **state)
{
    assert_int_equal(LLRT_OK, 0);
#define CHECK(name, value, text)                                                                   \
    assert_int_equal(LLRT_##name, value);                                                          \
    assert_string_equal(llrt_status_name(LLRT_##name), "LLRT_" #name);                             \
    assert_true(strlen(llrt_status_text(LLRT_##name)) > 0);
    LLRT_STATUS_MAP(CHECK)
#undef CHECK
    assert_string_equal(llrt_status_name(-9999), "LLRT_ERR_?");
    assert_non_null(llrt_status_text(77));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fail_fills_and_clears),
        cmocka_unit_test(test_null_is_fine),
        cmocka_unit_test(test_long_texts_are_cut_between_characters),
        cmocka_unit_test(test_shorter_records_are_respected),
        cmocka_unit_test(test_every_status_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
