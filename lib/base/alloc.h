/* SPDX-License-Identifier: MIT */
/*
 * Memory of a handle: the caller's hooks (or malloc and 2 MiB-aligned anonymous
 * memory), with the live and peak bytes of every class counted. The memory plan is
 * held to these counters, so nothing in the library allocates in any other way.
 *
 * A llrti_mem is shared by everything that belongs to one handle; it is
 * reference-free: the handle that owns it outlives its users. All functions are
 * safe from any thread.
 */
#ifndef LLRTI_ALLOC_H
#define LLRTI_ALLOC_H

#include <stdatomic.h>
#include <stdbool.h>

#include <llrt/base.h>

#define LLRTI_BULK_ALIGN ((size_t)2 << 20)
#define LLRTI_CACHE_LINE 64

typedef struct llrti_mem {
    llrt_allocator hooks;
    atomic_size_t live[LLRT_MEMORY_COUNT]; /* bytes requested and not yet freed */
    atomic_size_t peak[LLRT_MEMORY_COUNT];
    atomic_size_t total_live, total_peak;
} llrti_mem;

/** Uses `hooks`, or the default allocator when `hooks` is NULL or has no alloc. */
void llrti_mem_init(llrti_mem *mem, const llrt_allocator *hooks);

/**
 * The default hooks: malloc for small blocks, anonymous memory with huge pages for aligned bulk.
 */
llrt_allocator llrti_default_allocator(void);

/** `size` bytes, aligned to 64, uninitialised; NULL when there is no memory. size 0 gives a unique
 * pointer. A small
 *  header (LLRTI_ALLOC_HEADER bytes) in front remembers size and kind and is counted as well. */
void *llrti_alloc(llrti_mem *mem, size_t size, llrt_memory kind);
/* zeroed, overflow-checked */
void *llrti_calloc(llrti_mem *mem, size_t count, size_t size, llrt_memory kind);
/** Grows or shrinks keeping contents and kind; on failure NULL, the old block stays. ptr may be
 * NULL. */
void *llrti_realloc(llrti_mem *mem, void *ptr, size_t size, llrt_memory kind);
/* NULL is fine; llrti_alloc/calloc/realloc blocks only */
void llrti_free(llrti_mem *mem, void *ptr);
char *llrti_strdup(llrti_mem *mem, const char *text, llrt_memory kind);
/* adds the NUL */
char *llrti_strndup(llrti_mem *mem, const char *text, size_t n, llrt_memory kind);

#define LLRTI_ALLOC_HEADER 64

/** Bulk blocks: no header, the caller remembers size, align and kind. */
void *llrti_bulk_alloc(llrti_mem *mem, size_t size, size_t align, llrt_memory kind);
void llrti_bulk_free(llrti_mem *mem, void *ptr, size_t size, size_t align, llrt_memory kind);

size_t llrti_mem_live(const llrti_mem *mem, llrt_memory kind);
size_t llrti_mem_peak(const llrti_mem *mem, llrt_memory kind);

/** Arithmetic on untrusted sizes: false on overflow (then *out is SIZE_MAX). */
bool llrti_mul_size(size_t a, size_t b, size_t *out);
bool llrti_add_size(size_t a, size_t b, size_t *out);
/** Rounds up to a multiple of `to` (not zero); false on overflow. */
bool llrti_round_up_size(size_t a, size_t to, size_t *out);

/**
 * A growing array of plain elements:  LLRTI_VEC(int32_t) v = {0};
 * `llrti_vec_reserve` returns false when there is no memory and leaves the array as it was.
 */
#define LLRTI_VEC(type)                                                                            \
    struct {                                                                                       \
        type *data;                                                                                \
        size_t n, capacity;                                                                        \
    }
#define llrti_vec_reserve(mem, v, count, kind)                                                     \
    llrti_vec_reserve_((mem), (void **)&(v)->data, &(v)->capacity, (count), sizeof *(v)->data,     \
                       (kind))
#define llrti_vec_free(mem, v)                                                                     \
    (llrti_free((mem), (v)->data), (v)->data = NULL, (v)->n = (v)->capacity = 0)
bool llrti_vec_reserve_(llrti_mem *mem, void **data, size_t *capacity, size_t count, size_t size,
                        llrt_memory kind);

#endif
