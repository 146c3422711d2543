/* SPDX-License-Identifier: MIT */
/*
 * The CPU backend's entry, for the library that has it built in. What it implements is <llrt/backend.h>; it has one
 * device, "cpu", and does a step's work in step_submit.
 */
#ifndef LLRTI_CPU_BACKEND_H
#define LLRTI_CPU_BACKEND_H

#include <llrt/backend.h>

/** An llrt_backend_entry_fn. */
llrt_status llrti_cpu_backend_entry(uint32_t version, llrt_backend *table, llrt_error *err);

#endif
