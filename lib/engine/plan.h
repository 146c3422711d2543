/* SPDX-License-Identifier: MIT */
/*
 * The memory plan: what opening an engine will request, by class, to the byte. See plan.c.
 */
#ifndef LLRTI_PLAN_H
#define LLRTI_PLAN_H

#include <llrt/engine.h>

struct llrt_engine;

/** Sizes the pool and fills engine->plan from what has been parsed so far. */
llrt_status llrti_plan_make(struct llrt_engine *engine, llrt_error *err);
/** LLRT_ERR_BUDGET when the plan exceeds the budget or the free memory, with both numbers. */
llrt_status llrti_plan_check(const struct llrt_engine *engine, llrt_error *err);

#endif
