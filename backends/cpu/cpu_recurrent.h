/* SPDX-License-Identifier: MIT */
/*
 * Operators that carry a state from token to token (SHORT_CONV, GATED_DELTA, SSM_SCAN), and the slots their states
 * live in.
 */
#ifndef LLRTI_CPU_RECURRENT_H
#define LLRTI_CPU_RECURRENT_H

#include "cpu_runtime.h"

/* Raises *area to what the op needs with these limits. False: a size overflows. Other ops need nothing. */
bool llrti_cpu_recurrent_measure(const llrti_cpu_program *program, const llrt_op *op,
                                 const llrt_runtime_limits *limits, size_t *area);

/* Checks the slots that a step names; those it writes are named once. */
llrt_status llrti_cpu_recurrent_check(llrti_cpu_runtime *rt, const llrt_step_desc *step,
                                      const llrti_cpu_program *program, llrt_error *err);

/* States that no operator of the program carries on: they go to the new slots as they are. */
void llrti_cpu_recurrent_keep(llrti_cpu_runtime *rt);
void llrti_cpu_recurrent_conv(llrti_cpu_runtime *rt, const llrt_op *op);
void llrti_cpu_recurrent_delta(llrti_cpu_runtime *rt, const llrt_op *op);
void llrti_cpu_recurrent_scan(llrti_cpu_runtime *rt, const llrt_op *op);

llrt_status llrti_cpu_recurrent_read(llrti_cpu_runtime *rt, uint32_t slot, float *to, size_t n,
                                     llrt_error *err);
llrt_status llrti_cpu_recurrent_write(llrti_cpu_runtime *rt, uint32_t slot, const float *from,
                                      size_t n, llrt_error *err);

#endif
