/* SPDX-License-Identifier: MIT */
/*
 * The backends that are linked into this library. The one place in lib/ that names them; everything
 * else reaches a backend through the table its entry fills. Constant.
 */
#include "backends.h"

/* Defined in backends/cpu/. */
llrt_status llrti_cpu_backend_entry(uint32_t version, llrt_backend *table, llrt_error *err);

const llrti_builtin_backend llrti_builtin_backends[] = {
    {"cpu", llrti_cpu_backend_entry},
    {NULL, NULL},
};
