/* SPDX-License-Identifier: MIT */
/*
 * Executing a step: checks its description, runs the program's operators, then select.
 */
#ifndef LLRTI_CPU_STEP_H
#define LLRTI_CPU_STEP_H

#include "cpu_runtime.h"

/* Does all of the work. A bad description fails and starts nothing; what happens while executing is wait's to report. */
llrt_status llrti_cpu_step_submit(llrti_cpu_runtime *rt, const llrt_step_desc *step,
                                  llrt_error *err);
llrt_status llrti_cpu_step_wait(llrti_cpu_runtime *rt, llrt_error *err);

#endif
