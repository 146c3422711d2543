/* SPDX-License-Identifier: MIT */
/*
 * Loading of backend tables. A plug-in is a shared library that exports LLRT_BACKEND_ENTRY; it is looked
 * for only under the one name that a device asks for, so nothing else in the folder is opened. A table
 * that lacks a slot is refused here: no call site tests for NULL.
 */
#include "backends.h"

#include <string.h>

#include "error.h"
#include "os.h"
#include "text.h"

#define NAME_MAX_BYTES 32
#define PATH_BYTES 1024

#if defined(_WIN32)
#define PLUGIN_FORMAT "%s/libllrt-%.*s.dll"
#elif defined(__APPLE__)
#define PLUGIN_FORMAT "%s/libllrt-%.*s.dylib"
#else
#define PLUGIN_FORMAT "%s/libllrt-%.*s.so"
#endif

/* Slots that a backend may leave out: what its models never need, or what it does not offer. */

static llrt_status no_state_read(void *runtime, uint32_t slot, float *to, size_t n, llrt_error *err)
{
    return llrti_fail(err, LLRT_ERR_UNSUPPORTED, "the backend keeps no recurrent states");
}

static llrt_status no_state_write(void *runtime, uint32_t slot, const float *from, size_t n,
                                  llrt_error *err)
{
    return llrti_fail(err, LLRT_ERR_UNSUPPORTED, "the backend keeps no recurrent states");
}

static llrt_status no_adapter_put(void *runtime, uint32_t slot, const llrt_adapter_part *part,
                                  uint32_t n_part, llrt_error *err)
{
    return llrti_fail(err, LLRT_ERR_UNSUPPORTED, "the backend has no adapters");
}

static llrt_status no_squares_read(void *runtime, uint32_t tensor, double *sum, uint64_t *count,
                                   llrt_error *err)
{
    return llrti_fail(err, LLRT_ERR_UNSUPPORTED, "the backend sums no squares");
}

static void no_squares_reset(void *runtime)
{
}

static void fill_absent(llrt_backend *table)
{
    if (!table->state_read) table->state_read = no_state_read;
    if (!table->state_write) table->state_write = no_state_write;
    if (!table->adapter_put) table->adapter_put = no_adapter_put;
    if (!table->squares_read) table->squares_read = no_squares_read;
    if (!table->squares_reset) table->squares_reset = no_squares_reset;
}

static llrt_status check_table(const llrt_backend *table, const char *name, size_t n_name,
                               llrt_error *err)
{
    const bool is_complete =
        table->struct_size >= LLRT_BACKEND_V1_SIZE && table->name && table->device_count &&
        table->device_info && table->plan && table->model_create && table->weight_put &&
        table->weight_map && table->model_finish && table->model_free && table->runtime_create &&
        table->runtime_free && table->step_submit && table->step_wait && table->value_read &&
        table->page_copy && table->page_read && table->page_write;
    if (!is_complete || table->version != LLRT_BACKEND_VERSION) {
        return llrti_fail(
            err, LLRT_ERR_VERSION,
            "backend %.*s: its table has version %u and %u bytes, expected version %d "
            "with every function set",
            (int)n_name, name, table->version, table->struct_size, LLRT_BACKEND_VERSION);
    }
    if (strlen(table->name) != n_name || memcmp(table->name, name, n_name) != 0) {
        return llrti_fail(err, LLRT_ERR_VERSION, "backend %.*s calls itself \"%.64s\"", (int)n_name,
                          name, table->name);
    }
    return LLRT_OK;
}

static llrt_status open_plugin(llrti_backend_slot *slot, const char *plugin_dir, const char *name,
                               size_t n_name, llrt_backend_entry_fn *entry, llrt_error *err)
{
    char path[PATH_BYTES], folder[PATH_BYTES];
    if (!plugin_dir) {
        LLRTI_TRY(llrti_library_folder(folder, sizeof folder, err));
        plugin_dir = folder;
    }
    llrti_text text;
    llrti_text_init(&text, path, sizeof path);
    llrti_text_add_format(&text, PLUGIN_FORMAT, plugin_dir, (int)n_name, name);
    if (text.is_cut) {
        return llrti_fail_field(err, LLRT_ERR_ARGUMENT, "plugin_dir",
                                "the path is longer than %d bytes", PATH_BYTES - 1);
    }
    LLRTI_TRY(llrti_library_open(path, &slot->library, err));
    void *const symbol = llrti_library_symbol(slot->library, LLRT_BACKEND_ENTRY);
    if (!symbol) {
        llrti_fail(err, LLRT_ERR_VERSION, "the library exports no %s", LLRT_BACKEND_ENTRY);
        llrti_error_file(err, path);
        return LLRT_ERR_VERSION;
    }
    memcpy(entry, &symbol, sizeof *entry);
    return LLRT_OK;
}

static bool is_name(const char *name, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const char c = name[i];
        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_')) return false;
    }
    return n > 0 && n <= NAME_MAX_BYTES;
}

llrt_status llrti_backends_load(llrti_backends *backends, const char *plugin_dir, const char *name,
                                size_t n_name, const llrt_backend **out, llrt_error *err)
{
    *out = NULL;
    for (uint32_t i = 0; i < backends->n; i++) {
        const char *const known = backends->slot[i].table.name;
        if (strlen(known) == n_name && memcmp(known, name, n_name) == 0) {
            *out = &backends->slot[i].table;
            return LLRT_OK;
        }
    }
    if (!is_name(name, n_name)) {
        return llrti_fail_field(err, LLRT_ERR_NOT_FOUND, "device",
                                "found \"%.*s\", expected a device such as \"cpu\" or \"cuda:0\"",
                                (int)LLRTI_MIN(n_name, 64), name);
    }
    if (backends->n == LLRTI_BACKEND_MAX)
        return llrti_fail(err, LLRT_ERR_ARGUMENT, "more than %d backends", LLRTI_BACKEND_MAX);
    llrti_backend_slot *const slot = &backends->slot[backends->n];
    memset(slot, 0, sizeof *slot);
    llrt_backend_entry_fn entry = NULL;
    for (const llrti_builtin_backend *b = llrti_builtin_backends; b->name; b++)
        if (strlen(b->name) == n_name && memcmp(b->name, name, n_name) == 0) entry = b->entry;
    llrt_status status = LLRT_OK;
    if (!entry) LLRTI_TRY_GOTO(status, open_plugin(slot, plugin_dir, name, n_name, &entry, err));
    slot->table.struct_size = (uint32_t)sizeof slot->table;
    LLRTI_TRY_GOTO(status, entry(LLRT_BACKEND_VERSION, &slot->table, err));
    LLRTI_TRY_GOTO(status, check_table(&slot->table, name, n_name, err));
    fill_absent(&slot->table);
    backends->n++;
    *out = &slot->table;
    return LLRT_OK;
fail:
    llrti_library_close(slot->library);
    memset(slot, 0, sizeof *slot);
    return status;
}

llrt_status llrti_backends_find(llrti_backends *backends, const char *plugin_dir,
                                const char *device, const llrt_backend **out, uint32_t *index,
                                llrt_device_info *info, llrt_error *err)
{
    const char *const colon = strchr(device, ':');
    const size_t n_name = colon ? (size_t)(colon - device) : strlen(device);
    uint64_t wanted = 0;
    if (colon &&
        (!llrti_text_parse_uint64(colon + 1, strlen(colon + 1), &wanted) || wanted > UINT32_MAX)) {
        return llrti_fail_field(err, LLRT_ERR_NOT_FOUND, "device",
                                "found \"%.64s\", expected a number after the colon", device);
    }
    LLRTI_TRY(llrti_backends_load(backends, plugin_dir, device, n_name, out, err));
    uint32_t n_device = 0;
    LLRTI_TRY((*out)->device_count(&n_device, err));
    if (wanted >= n_device) {
        return llrti_fail_field(err, LLRT_ERR_NOT_FOUND, "device",
                                "found \"%.64s\", but backend %s has %u devices", device,
                                (*out)->name, n_device);
    }
    *index = (uint32_t)wanted;
    memset(info, 0, sizeof *info);
    info->struct_size = (uint32_t)sizeof *info;
    return (*out)->device_info(*index, info, err);
}

void llrti_backends_close(llrti_backends *backends)
{
    for (uint32_t i = 0; i < backends->n; i++) llrti_library_close(backends->slot[i].library);
    backends->n = 0;
}
