/* SPDX-License-Identifier: MIT */
/*
 * Operators whose weight is several matrices: EXPERTS and HEAD_LINEAR.
 */
#ifndef LLRTI_CPU_EXPERTS_H
#define LLRTI_CPU_EXPERTS_H

#include "cpu_runtime.h"

/* Raises *packed and *area to what the op needs with these limits. False: a size overflows. Other ops need nothing. */
bool llrti_cpu_experts_measure(const llrti_cpu_model *model, const llrti_cpu_program *program,
                               const llrt_op *op, const llrt_runtime_limits *limits, size_t *packed,
                               size_t *area);

void llrti_cpu_experts_run(llrti_cpu_runtime *rt, const llrt_op *op);
void llrti_cpu_experts_run_heads(llrti_cpu_runtime *rt, const llrt_op *op);

#endif
