/* SPDX-License-Identifier: MIT */
/*
 * The ATTENTION operator: writes the step's K and V into their pages, then attends.
 */
#ifndef LLRTI_CPU_ATTENTION_H
#define LLRTI_CPU_ATTENTION_H

#include "cpu_runtime.h"

/* `op` is an ATTENTION of the step's program. After a cancel its output is undefined. */
void llrti_cpu_attention_run(llrti_cpu_runtime *rt, const llrti_cpu_op *op);

#endif
