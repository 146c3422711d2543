/* SPDX-License-Identifier: MIT */
/*
 * Introsort: quicksort with the median of three as pivot, insertion sort for short
 * ranges, heapsort for a range that has been divided 2 log2(n) times. The pivot is moved to
 * the front, so nothing of the element size is held aside and nothing is allocated; the larger part
 * waits on a stack whose depth log2(n) bounds.
 */
#include "sort.h"

#include <stdint.h>
#include <string.h>

#define SHORT_RANGE 12

typedef struct sorter {
    char *data;
    size_t size;
    llrti_compare compare;
    void *ctx;
} sorter;

static int order(const sorter *s, size_t a, size_t b)
{
    return s->compare(s->data + a * s->size, s->data + b * s->size, s->ctx);
}

static void swap(const sorter *s, size_t a, size_t b)
{
    char *x = s->data + a * s->size, *y = s->data + b * s->size;
    size_t n = s->size;
    for (; n >= 8; n -= 8, x += 8, y += 8) {
        uint64_t u, v;
        memcpy(&u, x, 8);
        memcpy(&v, y, 8);
        memcpy(x, &v, 8);
        memcpy(y, &u, 8);
    }
    for (; n; n--, x++, y++) {
        const char c = *x;
        *x = *y;
        *y = c;
    }
}

static void insertion(const sorter *s, size_t begin, size_t end)
{
    for (size_t i = begin + 1; i < end; i++) {
        for (size_t j = i; j > begin && order(s, j - 1, j) > 0; j--) swap(s, j - 1, j);
    }
}

static void sift(const sorter *s, size_t begin, size_t root, size_t n)
{
    for (;;) {
        size_t child = 2 * root + 1;
        if (child >= n) return;
        if (child + 1 < n && order(s, begin + child, begin + child + 1) < 0) child++;
        if (order(s, begin + root, begin + child) >= 0) return;
        swap(s, begin + root, begin + child);
        root = child;
    }
}

static void heap(const sorter *s, size_t begin, size_t end)
{
    const size_t n = end - begin;
    for (size_t i = n / 2; i-- > 0;) sift(s, begin, i, n);
    for (size_t i = n; i-- > 1;) {
        swap(s, begin, begin + i);
        sift(s, begin, 0, i);
    }
}

/* Divides the range; the pivot ends up at the returned index. */
static size_t divide(const sorter *s, size_t begin, size_t end)
{
    const size_t middle = begin + (end - begin) / 2, last = end - 1;
    size_t low = begin, high = last; /* the median of three goes to the front */
    if (order(s, begin, last) > 0) {
        low = last;
        high = begin;
    }
    size_t median = middle;
    if (order(s, middle, low) < 0) median = low;
    if (order(s, middle, high) > 0) median = high;
    if (median != begin) swap(s, begin, median);
    size_t i = begin, j = end;
    for (;;) {
        do i++;
        while (i < end && order(s, i, begin) < 0);
        do j--;
        while (order(s, j, begin) > 0);
        if (i >= j) break;
        swap(s, i, j);
    }
    if (j != begin) swap(s, begin, j);
    return j;
}

void llrti_sort(void *data, size_t n, size_t size, llrti_compare compare, void *ctx)
{
    const sorter s = {data, size, compare, ctx};
    struct {
        size_t begin, end;
        int budget;
    } stack[64];
    if (n < 2 || size == 0) return;
    int depth = 0, budget = 0;
    for (size_t i = n; i; i /= 2) budget += 2;
    stack[depth].begin = 0;
    stack[depth].end = n;
    stack[depth++].budget = budget;
    while (depth) {
        size_t begin = stack[--depth].begin, end = stack[depth].end;
        budget = stack[depth].budget;
        while (end - begin > SHORT_RANGE) {
            if (budget-- == 0) {
                heap(&s, begin, end);
                begin = end;
                break;
            }
            const size_t pivot = divide(&s, begin, end);
            const int left_is_larger = pivot - begin > end - (pivot + 1);
            stack[depth].begin = left_is_larger ? begin : pivot + 1;
            stack[depth].end = left_is_larger ? pivot : end;
            stack[depth++].budget = budget;
            if (left_is_larger) {
                begin = pivot + 1;
            } else {
                end = pivot;
            }
        }
        if (end > begin) insertion(&s, begin, end);
    }
}
