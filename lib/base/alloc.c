/* SPDX-License-Identifier: MIT */
/*
 * Memory of a handle. Every request passes through one pair of functions, take and
 * give, which count it; small blocks carry a header of LLRTI_ALLOC_HEADER bytes with
 * their size and kind, so that free needs only the pointer. The counters are relaxed atomics:
 * they are sums, and order nothing. Safe from any thread.
 */
#include "alloc.h"

#include <string.h>

#include "os.h"

typedef struct block_header {
    size_t size; /* as asked for, without the header */
    llrt_memory kind;
} block_header;

_Static_assert(sizeof(block_header) <= LLRTI_ALLOC_HEADER, "the header must fit");

static void *default_alloc(void *ctx, size_t size, size_t align, llrt_memory kind)
{
    (void)ctx, (void)kind;
    if (align >= LLRTI_BULK_ALIGN) return llrti_pages_alloc(size, align);
    return llrti_heap_alloc(size, align);
}

static void default_free(void *ctx, void *ptr, size_t size, size_t align, llrt_memory kind)
{
    (void)ctx, (void)kind;
    if (align >= LLRTI_BULK_ALIGN) {
        llrti_pages_free(ptr, size, align);
    } else {
        llrti_heap_free(ptr);
    }
}

llrt_allocator llrti_default_allocator(void)
{
    const llrt_allocator hooks = {default_alloc, default_free, NULL};
    return hooks;
}

void llrti_mem_init(llrti_mem *mem, const llrt_allocator *hooks)
{
    mem->hooks = hooks && hooks->alloc ? *hooks : llrti_default_allocator();
    for (int i = 0; i < LLRT_MEMORY_COUNT; i++) {
        atomic_init(&mem->live[i], 0);
        atomic_init(&mem->peak[i], 0);
    }
    atomic_init(&mem->total_live, 0);
    atomic_init(&mem->total_peak, 0);
}

static void count_up(atomic_size_t *live, atomic_size_t *peak, size_t size)
{
    const size_t now = atomic_fetch_add_explicit(live, size, memory_order_relaxed) + size;
    size_t seen = atomic_load_explicit(peak, memory_order_relaxed);
    while (seen < now && !atomic_compare_exchange_weak_explicit(
                             peak, &seen, now, memory_order_relaxed, memory_order_relaxed)) {}
}

static void *take(llrti_mem *mem, size_t size, size_t align, llrt_memory kind)
{
    void *ptr = mem->hooks.alloc(mem->hooks.ctx, size, align, kind);
    if (!ptr) return NULL;
    count_up(&mem->live[kind], &mem->peak[kind], size);
    count_up(&mem->total_live, &mem->total_peak, size);
    return ptr;
}

static void give(llrti_mem *mem, void *ptr, size_t size, size_t align, llrt_memory kind)
{
    atomic_fetch_sub_explicit(&mem->live[kind], size, memory_order_relaxed);
    atomic_fetch_sub_explicit(&mem->total_live, size, memory_order_relaxed);
    if (mem->hooks.free) mem->hooks.free(mem->hooks.ctx, ptr, size, align, kind);
}

static block_header *header_of(void *ptr)
{
    return (block_header *)(void *)((char *)ptr - LLRTI_ALLOC_HEADER);
}

void *llrti_alloc(llrti_mem *mem, size_t size, llrt_memory kind)
{
    size_t whole;
    if (!llrti_add_size(size, LLRTI_ALLOC_HEADER, &whole)) return NULL;
    block_header *header = take(mem, whole, LLRTI_CACHE_LINE, kind);
    if (!header) return NULL;
    header->size = size;
    header->kind = kind;
    return (char *)header + LLRTI_ALLOC_HEADER;
}

void *llrti_calloc(llrti_mem *mem, size_t count, size_t size, llrt_memory kind)
{
    size_t whole;
    if (!llrti_mul_size(count, size, &whole)) return NULL;
    void *ptr = llrti_alloc(mem, whole, kind);
    if (ptr) memset(ptr, 0, whole);
    return ptr;
}

void *llrti_realloc(llrti_mem *mem, void *ptr, size_t size, llrt_memory kind)
{
    if (!ptr) return llrti_alloc(mem, size, kind);
    const block_header *header = header_of(ptr);
    void *moved = llrti_alloc(mem, size, header->kind);
    if (!moved) return NULL;
    memcpy(moved, ptr, header->size < size ? header->size : size);
    llrti_free(mem, ptr);
    return moved;
}

void llrti_free(llrti_mem *mem, void *ptr)
{
    if (!ptr) return;
    block_header *header = header_of(ptr);
    give(mem, header, header->size + LLRTI_ALLOC_HEADER, LLRTI_CACHE_LINE, header->kind);
}

char *llrti_strdup(llrti_mem *mem, const char *text, llrt_memory kind)
{
    return llrti_strndup(mem, text, strlen(text), kind);
}

char *llrti_strndup(llrti_mem *mem, const char *text, size_t n, llrt_memory kind)
{
    size_t whole;
    if (!llrti_add_size(n, 1, &whole)) return NULL;
    char *copy = llrti_alloc(mem, whole, kind);
    if (!copy) return NULL;
    if (n) memcpy(copy, text, n);
    copy[n] = 0;
    return copy;
}

void *llrti_bulk_alloc(llrti_mem *mem, size_t size, size_t align, llrt_memory kind)
{
    return take(mem, size, align, kind);
}

void llrti_bulk_free(llrti_mem *mem, void *ptr, size_t size, size_t align, llrt_memory kind)
{
    if (ptr) give(mem, ptr, size, align, kind);
}

size_t llrti_mem_live(const llrti_mem *mem, llrt_memory kind)
{
    return atomic_load_explicit(&mem->live[kind], memory_order_relaxed);
}

size_t llrti_mem_peak(const llrti_mem *mem, llrt_memory kind)
{
    return atomic_load_explicit(&mem->peak[kind], memory_order_relaxed);
}

bool llrti_mul_size(size_t a, size_t b, size_t *out)
{
    if (b && a > SIZE_MAX / b) {
        *out = SIZE_MAX;
        return false;
    }
    *out = a * b;
    return true;
}

bool llrti_add_size(size_t a, size_t b, size_t *out)
{
    if (a > SIZE_MAX - b) {
        *out = SIZE_MAX;
        return false;
    }
    *out = a + b;
    return true;
}

bool llrti_round_up_size(size_t a, size_t to, size_t *out)
{
    const size_t rest = a % to;
    if (rest) return llrti_add_size(a, to - rest, out);
    *out = a;
    return true;
}

bool llrti_vec_reserve_(llrti_mem *mem, void **data, size_t *capacity, size_t count, size_t size,
                        llrt_memory kind)
{
    if (count <= *capacity) return true;
    size_t bytes, wanted = *capacity + *capacity / 2;
    if (wanted < 8) wanted = 8;
    if (wanted < count) wanted = count;
    if (!llrti_mul_size(wanted, size, &bytes)) return false;
    void *moved = llrti_realloc(mem, *data, bytes, kind);
    if (!moved) return false;
    *data = moved;
    *capacity = wanted;
    return true;
}
