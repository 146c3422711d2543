/* SPDX-License-Identifier: MIT */
/*
 * A backend plug-in with a table and nothing behind it, for test_backend_table.c. Built once per kind, which the
 * macro TABLE_KIND names, with the backend's own name in TABLE_NAME:
 *
 *   0  fits                          3  version 2, though asked for 1
 *   1  older: the last slot missing  4  refuses the version
 *   2  newer: one slot more, which it fills only where the library's table has room
 *   5  a slot is NULL                6  calls itself by another name
 */
#include <llrt/backend.h>

#include <string.h>

#define NAME_TEXT_(x) #x
#define NAME_TEXT(x) NAME_TEXT_(x)

typedef struct newer_table {
    llrt_backend first;
    void (*further)(void);
} newer_table;

static llrt_status count_devices(uint32_t *n, llrt_error *err)
{
    (void)err;
    *n = 1;
    return LLRT_OK;
}

static llrt_status describe_device(uint32_t device, llrt_device_info *info, llrt_error *err)
{
    (void)device, (void)err;
    strcpy(info->name, NAME_TEXT(TABLE_NAME) ":0");
    return LLRT_OK;
}

static void further(void)
{
}

/* Stands in slots that nobody calls. */
static llrt_status refuse(void)
{
    return LLRT_ERR_UNSUPPORTED;
}

static void fill_rest(llrt_backend *table)
{
    void (*const any)(void) = (void (*)(void))refuse;
    char *const slots = (char *)table + offsetof(llrt_backend, plan);
    for (size_t i = 0; i < LLRT_BACKEND_V1_SIZE - offsetof(llrt_backend, plan); i += sizeof any)
        memcpy(slots + i, &any, sizeof any);
}

LLRT_API llrt_status llrt_backend_entry(uint32_t version, llrt_backend *table, llrt_error *err);

LLRT_API llrt_status llrt_backend_entry(uint32_t version, llrt_backend *table, llrt_error *err)
{
    newer_table all = {
        .first = {.version = TABLE_KIND == 3 ? 2 : LLRT_BACKEND_VERSION,
                  .name = TABLE_KIND == 6 ? "other" : NAME_TEXT(TABLE_NAME),
                  .device_count = count_devices,
                  .device_info = describe_device},
        .further = further,
    };
    size_t size = TABLE_KIND == 2 ? sizeof all : LLRT_BACKEND_V1_SIZE;
    if (TABLE_KIND == 1) size = offsetof(llrt_backend, squares_reset);
    if (TABLE_KIND == 4 || version < LLRT_BACKEND_VERSION) {
        if (err) strcpy(err->text, "the table is too new");
        return LLRT_ERR_VERSION;
    }
    fill_rest(&all.first);
    if (TABLE_KIND == 5) all.first.weight_map = NULL;
    if (size > table->struct_size) size = table->struct_size;
    all.first.struct_size = (uint32_t)size;
    memcpy(table, &all, size);
    return LLRT_OK;
}
