/* SPDX-License-Identifier: MIT */
/*
 * The table of functions for dlopen: complete, the same functions as the symbols, refused for versions it does
 * not know; and the two strings that belong to no handle.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include <llrt/llrt.h>

static void test_every_member_is_set(void **state)
{
    (void)state;
    const llrt_api *const api = llrt_get_api(LLRT_API_VERSION);
    assert_non_null(api);
    assert_int_equal(api->struct_size, sizeof *api);
    void (*member)(void);
    for (size_t at = sizeof(size_t); at < sizeof *api; at += sizeof member) {
        memcpy(&member, (const char *)api + at, sizeof member);
        assert_true(member != NULL);
    }
    assert_true(api->version == llrt_version);
    assert_true(api->engine_open == llrt_engine_open);
    assert_true(api->generate == llrt_generate);
    assert_true(api->session_free == llrt_session_free);
}

static void test_unknown_versions_are_refused(void **state)
{
    (void)state;
    assert_null(llrt_get_api(0));
    assert_null(llrt_get_api(LLRT_API_VERSION + 1));
}

static void test_version_and_build_info(void **state)
{
    (void)state;
    char version[32];
    snprintf(version, sizeof version, "llrt %d.%d.%d", LLRT_VERSION_MAJOR, LLRT_VERSION_MINOR,
             LLRT_VERSION_PATCH);
    assert_int_equal(llrt_version(), LLRT_VERSION);
    assert_non_null(strstr(llrt_build_info(), version));
    assert_non_null(strstr(llrt_build_info(), "Unicode"));
    assert_non_null(strstr(llrt_build_info(), "cpu"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_member_is_set),
        cmocka_unit_test(test_unknown_versions_are_refused),
        cmocka_unit_test(test_version_and_build_info),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
