/* SPDX-License-Identifier: MIT */
/*
 * The hostile test backend for tests of the CPU backend: it computes every operator by code of its own, from the same statement of
 * the arithmetic, so both must give the same bits. Include after cmocka.h.
 */
#ifndef CPU_HOSTILE_H
#define CPU_HOSTILE_H

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

#include <llrt/backend.h>

/* Fills the table and returns the plug-in, for dlclose; NULL when LLRT_TEST_HOSTILE doesn't name it. */
static inline void *cpu_hostile_open(llrt_backend *table)
{
    const char *const path = getenv("LLRT_TEST_HOSTILE");
    if (!path) return NULL;
    void *const plug_in = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!plug_in) fail_msg("%s", dlerror());
    void *const symbol = dlsym(plug_in, LLRT_BACKEND_ENTRY);
    llrt_backend_entry_fn entry;
    memcpy(&entry, &symbol, sizeof entry);
    assert_non_null(symbol);
    memset(table, 0, sizeof *table);
    table->struct_size = sizeof *table;
    assert_int_equal(entry(LLRT_BACKEND_VERSION, table, NULL), LLRT_OK);
    return plug_in;
}

#endif
