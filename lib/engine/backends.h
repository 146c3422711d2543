/* SPDX-License-Identifier: MIT */
/*
 * Backends by name: the ones that were built in, and plug-ins loaded when a device of theirs is asked for.
 * A llrti_backends belongs to one engine (or one enumeration) and is used by one thread.
 */
#ifndef LLRTI_BACKENDS_H
#define LLRTI_BACKENDS_H

#include <llrt/backend.h>

#include "alloc.h"

#define LLRTI_BACKEND_MAX 8

typedef struct llrti_builtin_backend {
    const char *name;
    llrt_backend_entry_fn entry;
} llrti_builtin_backend;

/** Made by the build: what is linked into this library, ended by an entry without a name. */
extern const llrti_builtin_backend llrti_builtin_backends[];

typedef struct llrti_backend_slot {
    llrt_backend table;
    void *library; /* NULL: built in */
} llrti_backend_slot;

typedef struct llrti_backends {
    uint32_t n;
    llrti_backend_slot slot[LLRTI_BACKEND_MAX];
} llrti_backends;

/**
 * Finds "cpu" or "name:index", loading `plugin_dir`/libllrt-name when it is not built in. plugin_dir NULL: the folder
 * of this library.
 * @param info filled for the device; struct_size is set here
 * @return LLRT_OK; LLRT_ERR_NOT_FOUND (no such backend or device); LLRT_ERR_VERSION (the plug-in doesn't fit)
 */
llrt_status llrti_backends_find(llrti_backends *backends, const char *plugin_dir,
                                const char *device, const llrt_backend **out, uint32_t *index,
                                llrt_device_info *info, llrt_error *err);

/** Loads backend `name` without looking at its devices. */
llrt_status llrti_backends_load(llrti_backends *backends, const char *plugin_dir, const char *name,
                                size_t n_name, const llrt_backend **out, llrt_error *err);

/** Unloads the plug-ins; no model of theirs may be left. */
void llrti_backends_close(llrti_backends *backends);

#endif
