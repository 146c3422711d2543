/* SPDX-License-Identifier: MIT */
/*
 * The backend table between builds of different age: its offsets are pinned, plug-ins that are older or newer than
 * the library are used or refused by name, and no entry writes beyond the table it was given.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "backends.h"

/* Slot i stands at SLOT(i) for ever; new ones come after the last. */
#define SLOT(i) (16 + (i) * sizeof(void (*)(void)))
#define PIN(member, i) _Static_assert(offsetof(llrt_backend, member) == SLOT(i), #member)
#if UINTPTR_MAX == UINT64_MAX
_Static_assert(offsetof(llrt_backend, struct_size) == 0, "struct_size");
_Static_assert(offsetof(llrt_backend, version) == 4, "version");
_Static_assert(offsetof(llrt_backend, name) == 8, "name");
PIN(device_count, 0);
PIN(device_info, 1);
PIN(plan, 2);
PIN(model_create, 3);
PIN(weight_put, 4);
PIN(weight_map, 5);
PIN(model_finish, 6);
PIN(model_free, 7);
PIN(runtime_create, 8);
PIN(runtime_free, 9);
PIN(step_submit, 10);
PIN(step_wait, 11);
PIN(value_read, 12);
PIN(page_copy, 13);
PIN(page_read, 14);
PIN(page_write, 15);
PIN(state_read, 16);
PIN(state_write, 17);
PIN(adapter_put, 18);
PIN(squares_read, 19);
PIN(squares_reset, 20);
_Static_assert(LLRT_BACKEND_V1_SIZE == SLOT(21), "version 1");
#endif

static llrt_status load(llrti_backends *backends, const char *name, llrt_error *err)
{
    const llrt_backend *table = NULL;
    const llrt_status status =
        llrti_backends_load(backends, getenv("LLRT_TEST_TABLES"), name, strlen(name), &table, err);
    assert_true((status == LLRT_OK) == (table != NULL));
    if (table) {
        assert_string_equal(table->name, name);
        assert_true(table->struct_size >= LLRT_BACKEND_V1_SIZE);
        assert_true(table->struct_size <= sizeof *table);
    }
    return status;
}

static void test_tables_that_fit_are_used(void **state)
{
    static const char *const names[] = {"cpu", "table_fits", "table_newer"};
    (void)state;
    llrti_backends backends = {0};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        llrt_error err = LLRT_ERROR_INIT;
        assert_int_equal(load(&backends, names[i], &err), LLRT_OK);
        assert_int_equal(load(&backends, names[i], &err), LLRT_OK);
        assert_int_equal(backends.n, i + 1);
    }
    llrti_backends_close(&backends);
}

static void test_tables_that_do_not_fit_are_refused(void **state)
{
    static const char *const names[] = {"table_older", "table_version", "table_refuses",
                                        "table_hole", "table_misnamed"};
    (void)state;
    llrti_backends backends = {0};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        llrt_error err = LLRT_ERROR_INIT;
        assert_int_equal(load(&backends, names[i], &err), LLRT_ERR_VERSION);
        assert_true(err.text[0] != 0);
        assert_int_equal(backends.n, 0);
    }
}

/* The built-in entry in the hands of a library with a longer, or a shorter, table. */
static void test_an_entry_stays_within_the_table(void **state)
{
    (void)state;
    union {
        llrt_backend table;
        unsigned char bytes[sizeof(llrt_backend) + 64];
    } room;
    llrt_error err = LLRT_ERROR_INIT;
    const llrt_backend_entry_fn entry = llrti_builtin_backends[0].entry;
    memset(&room, 0xa5, sizeof room);
    room.table.struct_size = sizeof room;
    assert_int_equal(entry(LLRT_BACKEND_VERSION, &room.table, &err), LLRT_OK);
    assert_int_equal(room.table.struct_size, LLRT_BACKEND_V1_SIZE);
    for (size_t i = LLRT_BACKEND_V1_SIZE; i < sizeof room; i++)
        assert_int_equal(room.bytes[i], 0xa5);

    const size_t shorter = offsetof(llrt_backend, squares_reset);
    memset(&room, 0xa5, sizeof room);
    room.table.struct_size = (uint32_t)shorter;
    assert_int_equal(entry(LLRT_BACKEND_VERSION, &room.table, &err), LLRT_ERR_VERSION);
    for (size_t i = shorter; i < sizeof room; i++) assert_int_equal(room.bytes[i], 0xa5);
    assert_int_equal(entry(LLRT_BACKEND_VERSION - 1, &room.table, &err), LLRT_ERR_VERSION);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tables_that_fit_are_used),
        cmocka_unit_test(test_tables_that_do_not_fit_are_refused),
        cmocka_unit_test(test_an_entry_stays_within_the_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
