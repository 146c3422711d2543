/* SPDX-License-Identifier: MIT */
/*
 * Reference counts and the two lists of pages nobody holds: free ones (a stack) and cached ones (a queue,
 * least recently used first). Everything is constant time; see pool.h for the states.
 */
#include "pool.h"

#include <assert.h>
#include <string.h>

#include "error.h"
#include "prefix.h"

static uint32_t bucket_count(uint32_t n_page)
{
    uint32_t n = 16;
    while (n < n_page && n < UINT32_C(1) << 31) n *= 2;
    return n;
}

size_t llrti_pool_bytes(uint32_t n_page)
{
    return n_page * sizeof(llrti_page) + (size_t)n_page * LLRT_PAGE_TOK * sizeof(int32_t) +
           bucket_count(n_page) * sizeof(uint32_t) + 3 * LLRTI_ALLOC_HEADER;
}

llrt_status llrti_pool_create(llrti_mem *mem, llrti_pool *pool, uint32_t n_page, llrt_error *err)
{
    memset(pool, 0, sizeof *pool);
    pool->n_page = pool->n_free = n_page;
    pool->n_bucket = bucket_count(n_page);
    pool->oldest = pool->newest = LLRTI_PAGE_NONE;
    pool->next_uid = 1;
    pool->page = llrti_calloc(mem, n_page, sizeof *pool->page, LLRT_MEMORY_HOST);
    pool->token =
        llrti_alloc(mem, (size_t)n_page * LLRT_PAGE_TOK * sizeof *pool->token, LLRT_MEMORY_HOST);
    pool->bucket = llrti_alloc(mem, pool->n_bucket * sizeof *pool->bucket, LLRT_MEMORY_HOST);
    if (!pool->page || !pool->token || !pool->bucket) {
        llrti_pool_free(mem, pool);
        return llrti_fail_nomem(err, "the page table of the KV pool", llrti_pool_bytes(n_page));
    }
    for (uint32_t i = 0; i < pool->n_bucket; i++) pool->bucket[i] = LLRTI_PAGE_NONE;
    for (uint32_t i = 0; i < n_page; i++)
        pool->page[i].next = i + 1 < n_page ? i + 1 : LLRTI_PAGE_NONE;
    pool->free_first = n_page ? 0 : LLRTI_PAGE_NONE;
    return LLRT_OK;
}

void llrti_pool_free(llrti_mem *mem, llrti_pool *pool)
{
    llrti_free(mem, pool->page);
    llrti_free(mem, pool->token);
    llrti_free(mem, pool->bucket);
    llrti_slots_free(mem, &pool->window);
    llrti_slots_free(mem, &pool->state);
    memset(pool, 0, sizeof *pool);
}

/* What the page owns goes with its contents. */
static void drop_owned(llrti_pool *pool, uint32_t page)
{
    llrti_slots_drop(&pool->window, page);
    llrti_slots_drop(&pool->state, page);
}

static void unlink_cached(llrti_pool *pool, uint32_t page)
{
    llrti_page *const p = &pool->page[page];
    if (p->prev == LLRTI_PAGE_NONE)
        pool->oldest = p->next;
    else
        pool->page[p->prev].next = p->next;
    if (p->next == LLRTI_PAGE_NONE)
        pool->newest = p->prev;
    else
        pool->page[p->next].prev = p->prev;
    pool->n_cached--;
}

bool llrti_pool_take(llrti_pool *pool, uint32_t n, uint32_t *pages)
{
    if (n > pool->n_free + pool->n_cached) return false;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t page = pool->free_first;
        if (page != LLRTI_PAGE_NONE) {
            pool->free_first = pool->page[page].next;
            pool->n_free--;
        } else {
            page = pool->oldest;
            unlink_cached(pool, page);
            llrti_prefix_remove(pool, page);
            drop_owned(pool, page);
        }
        pool->page[page].n_ref = 1;
        pages[i] = page;
    }
    return true;
}

void llrti_pool_hold(llrti_pool *pool, uint32_t page)
{
    llrti_page *const p = &pool->page[page];
    if (p->n_ref++ == 0) {
        assert(p->uid != 0);
        unlink_cached(pool, page);
        llrti_slots_rank(&pool->window, page, true);
        llrti_slots_rank(&pool->state, page, true);
    }
}

void llrti_pool_release(llrti_pool *pool, uint32_t page)
{
    llrti_page *const p = &pool->page[page];
    assert(p->n_ref > 0);
    if (--p->n_ref > 0) return;
    if (p->uid == 0) {
        drop_owned(pool, page);
        p->next = pool->free_first;
        pool->free_first = page;
        pool->n_free++;
        return;
    }
    p->prev = pool->newest;
    p->next = LLRTI_PAGE_NONE;
    if (pool->newest == LLRTI_PAGE_NONE)
        pool->oldest = page;
    else
        pool->page[pool->newest].next = page;
    pool->newest = page;
    pool->n_cached++;
    llrti_slots_rank(&pool->window, page, false);
    llrti_slots_rank(&pool->state, page, false);
}

bool llrti_pool_is_shared(const llrti_pool *pool, uint32_t page)
{
    return pool->page[page].n_ref > 1 || pool->page[page].uid != 0;
}
