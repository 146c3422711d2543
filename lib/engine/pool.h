/* SPDX-License-Identifier: MIT */
/*
 * The books of an engine's KV page pool: who holds which page. The bytes of the pages are in the backends'
 * runtimes, one part per stage under the same number: that of the group of layers that keep every position. A page can
 * own more (slots.h): its part in the group of windowed layers, and the recurrent state at its end.
 *
 * A page is in one of three states:
 *
 *        take                     llrti_prefix_add
 *   FREE ------> HELD (n_ref > 0) ----------------> HELD and indexed
 *     ^            |  last release                     |  last release
 *     +------------+                                   v
 *     +---------------------------------------------- CACHED (n_ref 0, indexed)
 *        evicted by a take, least recently used first
 *
 * Sessions release their pages from the end to the beginning, so a page is never evicted before the
 * pages that follow it. All functions are called under the engine's lock; only create allocates.
 */
#ifndef LLRTI_POOL_H
#define LLRTI_POOL_H

#include <llrt/backend.h>

#include "alloc.h"
#include "hash.h"
#include "slots.h"

#define LLRTI_PAGE_NONE UINT32_MAX

typedef struct llrti_page {
    uint64_t uid;        /* of an indexed page, never used again; 0: not indexed */
    uint64_t parent_uid; /* of the page before it, 0 for a first page */
    uint64_t salt;
    llrti_hash128 hash;
    uint32_t n_ref;
    uint32_t prev, next; /* in the free list (next only) or the list of cached pages */
    uint32_t chain;      /* next page of the same bucket */
} llrti_page;

typedef struct llrti_pool {
    uint32_t n_page, n_free, n_cached;
    uint32_t n_bucket; /* a power of two */
    uint32_t free_first;
    uint32_t oldest, newest; /* of the cached pages */
    uint64_t next_uid;
    llrti_page *page;          /* (n_page) */
    int32_t *token;            /* (n_page, LLRT_PAGE_TOK): ids of indexed pages */
    uint32_t *bucket;          /* (n_bucket): first page, or LLRTI_PAGE_NONE */
    llrti_slots window, state; /* what pages own; set up by the pool's owner, freed with it */
} llrti_pool;

/** Bytes llrti_pool_create requests, of class HOST. */
size_t llrti_pool_bytes(uint32_t n_page);
llrt_status llrti_pool_create(llrti_mem *mem, llrti_pool *pool, uint32_t n_page, llrt_error *err);
void llrti_pool_free(llrti_mem *mem, llrti_pool *pool); /* a zeroed pool is fine */

/** Takes n pages with one reference each, evicting cached ones; all or none. */
bool llrti_pool_take(llrti_pool *pool, uint32_t n, uint32_t *pages);
void llrti_pool_hold(llrti_pool *pool, uint32_t page);
void llrti_pool_release(llrti_pool *pool, uint32_t page);
/** True when a holder must not write to the page as it is. */
bool llrti_pool_is_shared(const llrti_pool *pool, uint32_t page);

#endif
