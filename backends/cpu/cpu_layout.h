/* SPDX-License-Identifier: MIT */
/*
 * Adding up the parts of a block of memory, with overflow checks: what plans and what allocates use the same sums.
 */
#ifndef LLRTI_CPU_LAYOUT_H
#define LLRTI_CPU_LAYOUT_H

#include "alloc.h"

/* Appends n * size bytes, aligned to 64, to *total; the place goes to *at. False: the sum overflows. */
static inline bool llrti_cpu_layout_append(size_t *total, size_t n, size_t size, size_t *at)
{
    size_t bytes;
    if (!llrti_mul_size(n, size, &bytes) || !llrti_round_up_size(*total, 64, at)) return false;
    return llrti_add_size(*at, bytes, total);
}

#endif
