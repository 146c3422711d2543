/* SPDX-License-Identifier: MIT */
/*
 * Sorting in place without allocation: O(n log n) in the worst case, not stable
 * (let the comparison break ties when the order of equals matters). The result depends only
 * on input and comparison, so it is the same on every platform. Any thread.
 */
#ifndef LLRTI_SORT_H
#define LLRTI_SORT_H

#include <stddef.h>

/** Negative, zero or positive as a sorts before, with or after b. */
typedef int (*llrti_compare)(const void *a, const void *b, void *ctx);

void llrti_sort(void *data, size_t n, size_t size, llrti_compare compare, void *ctx);

#endif
