/* SPDX-License-Identifier: MIT */
/*
 * What many tests need: an allocator that counts and can be told to fail, the folder
 * of test data nobody here wrote, and files in memory. Everything is static inline; a test
 * includes this after cmocka.h.
 */
#ifndef TEST_SUPPORT_H
#define TEST_SUPPORT_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "alloc.h"
#include "error.h"
#include "os.h"

/* Counts blocks and bytes; request number fail_at (from 1) and, with is_sticky, all later ones
 * return NULL. */
typedef struct test_heap {
    size_t n_call, fail_at, n_live, live;
    int is_sticky;
} test_heap;

static inline void *test_heap_alloc(void *ctx, size_t size, size_t align, llrt_memory kind)
{
    test_heap *heap = ctx;
    (void)kind;
    heap->n_call++;
    if (heap->fail_at &&
        (heap->n_call == heap->fail_at || (heap->is_sticky && heap->n_call > heap->fail_at))) {
        return NULL;
    }
    void *ptr = llrti_heap_alloc(size, align);
    if (ptr) {
        heap->n_live++;
        heap->live += size;
    }
    return ptr;
}

static inline void test_heap_free(void *ctx, void *ptr, size_t size, size_t align, llrt_memory kind)
{
    test_heap *heap = ctx;
    (void)align, (void)kind;
    heap->n_live--;
    heap->live -= size;
    llrti_heap_free(ptr);
}

static inline void test_mem_init(llrti_mem *mem, test_heap *heap)
{
    memset(heap, 0, sizeof *heap);
    const llrt_allocator hooks = {test_heap_alloc, test_heap_free, heap};
    llrti_mem_init(mem, &hooks);
}

/* The folder of shared test data, or NULL: the test then skips with a line that says why. */
static inline const char *test_data_folder(void)
{
    const char *folder = getenv("LLRT_TEST_DATA");
    if (folder && *folder && llrti_path_is_dir(folder)) return folder;
    print_message("skipped: the folder of shared test data (LLRT_TEST_DATA) is not here\n");
    return NULL;
}

/*
 * The larger number, or NaN when one is: unlike fmax it lets no NaN pass for a small difference (and GCC 12 for aarch64
 * doesn't fail over loops of it).
 */
static inline double test_larger(double a, double b)
{
    return a == a && !(b <= a) ? b : a;
}

/* A whole file of the test data; the caller frees it. NULL when it is not there. */
static inline char *test_read_file(const char *path, size_t *n)
{
    *n = 0;
    FILE *f = fopen(path, "rb");
    if (!f) return NULL;
    fseek(f, 0, SEEK_END);
    const long size = ftell(f);
    rewind(f);
    char *data = malloc((size_t)size + 1);
    if (data) {
        *n = fread(data, 1, (size_t)size, f);
        data[*n] = 0;
    }
    fclose(f);
    return data;
}

static inline int test_write_file(const char *path, const void *data, size_t n)
{
    FILE *f = fopen(path, "wb");
    if (!f) return -1;
    const size_t put = fwrite(data, 1, n, f);
    return fclose(f) == 0 && put == n ? 0 : -1;
}

#endif
