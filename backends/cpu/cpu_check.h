/* SPDX-License-Identifier: MIT */
/*
 * Checks a program and compiles it into tables that were allocated for it. A wrong program gives an error
 * that names the program, the op, what was found and what was expected; nothing here trusts an index.
 */
#ifndef LLRTI_CPU_CHECK_H
#define LLRTI_CPU_CHECK_H

#include "cpu_model.h"

/* "RMS_NORM"; "?" for a kind that isn't known. */
const char *llrti_cpu_check_op_name(llrt_op_kind kind);

/*
 * model: weights (shapes) and kv are set, matrices not yet chosen; marks the weights' uses. `index` is the
 * program's; its tables have room for the source's counts, and for copies of the lists its ops point to.
 */
llrt_status llrti_cpu_check_program(llrti_cpu_model *model, uint32_t index,
                                    const llrt_program *source, llrt_error *err);

/* After the matrices' formats are known: groups linears and computes the values' times. */
void llrti_cpu_check_group(llrti_cpu_model *model, llrti_cpu_program *program);

#endif
