/* SPDX-License-Identifier: MIT */
/*
 * Enumeration of devices: those of the built-in backends, then those of the plug-ins in a folder, in the order of
 * their names. Plug-ins are loaded only until the wanted number is reached, and unloaded again. A
 * plug-in that doesn't load or has no device is passed over: it is no business of who looks for others.
 */
#include <llrt/device.h>

#include <string.h>

#include "backends.h"
#include "error.h"
#include "os.h"
#include "struct_copy.h"

#define FOLDER_BYTES 1024
#define PREFIX "libllrt-"

#if defined(_WIN32)
#define SUFFIX ".dll"
#elif defined(__APPLE__)
#define SUFFIX ".dylib"
#else
#define SUFFIX ".so"
#endif

typedef struct search {
    const char *after; /* names up to this one have been seen */
    char next[64];     /* the smallest name behind it, "" when there is none */
} search;

static int look_at(void *ctx, const char *file)
{
    search *const s = ctx;
    const size_t n = strlen(file), n_prefix = sizeof PREFIX - 1, n_suffix = sizeof SUFFIX - 1;
    char name[sizeof s->next];
    if (n <= n_prefix + n_suffix || n - n_prefix - n_suffix >= sizeof name ||
        memcmp(file, PREFIX, n_prefix) != 0 || memcmp(file + n - n_suffix, SUFFIX, n_suffix) != 0)
        return 0;
    memcpy(name, file + n_prefix, n - n_prefix - n_suffix);
    name[n - n_prefix - n_suffix] = 0;
    if (strcmp(name, s->after) > 0 && (!s->next[0] || strcmp(name, s->next) < 0))
        memcpy(s->next, name, sizeof name);
    return 0;
}

/* Counts *left down by the backend's devices; fills `info` when the wanted one is among them. */
static llrt_status try_backend(const char *plugin_dir, const char *name, uint32_t *left,
                               llrt_device_info *info, bool *is_found, llrt_error *err)
{
    llrti_backends backends;
    backends.n = 0;
    const llrt_backend *table;
    uint32_t n = 0;
    *is_found = false;
    llrt_status status =
        llrti_backends_load(&backends, plugin_dir, name, strlen(name), &table, err);
    if (status == LLRT_OK && table->device_count(&n, err) < 0) n = 0;
    if (status == LLRT_OK && *left < n) {
        *is_found = true;
        memset(info, 0, sizeof *info);
        info->struct_size = (uint32_t)sizeof *info;
        status = table->device_info(*left, info, err);
    } else {
        *left -= n;
        status = LLRT_OK;
    }
    llrti_backends_close(&backends);
    return status;
}

llrt_status llrt_device_get(const char *plugin_dir, uint32_t index, llrt_device_info *info,
                            llrt_error *err)
{
    char folder[FOLDER_BYTES], name[64] = "";
    llrt_device_info found;
    bool is_found = false;
    uint32_t left = index;
    if (!info) return llrti_fail(err, LLRT_ERR_ARGUMENT, "info is NULL");
    for (const llrti_builtin_backend *b = llrti_builtin_backends; b->name && !is_found; b++)
        LLRTI_TRY(try_backend(plugin_dir, b->name, &left, &found, &is_found, err));
    if (!is_found && !plugin_dir) {
        plugin_dir = folder;
        LLRTI_TRY(llrti_library_folder(folder, sizeof folder, err));
    }
    while (!is_found) {
        search s = {.after = name, .next = ""};
        LLRTI_TRY(llrti_folder_each(plugin_dir, look_at, &s, err));
        if (!s.next[0])
            return llrti_fail(err, LLRT_ERR_NOT_FOUND, "there is no device number %u", index);
        memcpy(name, s.next, sizeof name);
        LLRTI_TRY(try_backend(plugin_dir, name, &left, &found, &is_found, err));
    }
    return llrti_struct_copy_out(info, &found, sizeof found, "llrt_device_info", err);
}
