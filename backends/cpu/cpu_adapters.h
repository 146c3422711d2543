/* SPDX-License-Identifier: MIT */
/*
 * Adapters: low-rank changes of linears, kept in slots and added for the sequences that carry them.
 */
#ifndef LLRTI_CPU_ADAPTERS_H
#define LLRTI_CPU_ADAPTERS_H

#include "cpu_runtime.h"

/* Fills a slot, or empties it (n_part 0). When it fails the slot is as before. */
llrt_status llrti_cpu_adapters_put(llrti_cpu_runtime *rt, uint32_t slot,
                                   const llrt_adapter_part *part, uint32_t n_part, llrt_error *err);

/* Checks what the step's sequences carry and counts it in rt->max_adapter. */
llrt_status llrti_cpu_adapters_check(llrti_cpu_runtime *rt, const llrt_step_desc *step,
                                     llrt_error *err);

/* Raises *area to what applying adapters to the op needs. False: a size overflows. */
bool llrti_cpu_adapters_measure(const llrti_cpu_program *program, const llrt_op *op,
                                const llrt_runtime_limits *limits, size_t *area);

/* Adds the adapters' parts to the output of LINEAR or HEAD. Call it only when rt->max_adapter is not 0. */
void llrti_cpu_adapters_apply(llrti_cpu_runtime *rt, const llrt_op *op);

#endif
