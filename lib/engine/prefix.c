/* SPDX-License-Identifier: MIT */
/*
 * A chained hash table over the pages of the pool; the chain links are in the pages, so nothing is
 * allocated. See prefix.h for what a hit means.
 */
#include "prefix.h"

#include <string.h>

#define HASH_SEED UINT64_C(0x6b767061676573)
#define TOKENS_BYTES (LLRT_PAGE_TOK * sizeof(int32_t))

static llrti_hash128 hash_page(const llrti_pool *pool, uint32_t parent, uint64_t salt,
                               const int32_t *tokens)
{
    uint64_t head[3] = {0, 0, salt};
    if (parent != LLRTI_PAGE_NONE) {
        head[0] = pool->page[parent].hash.lo;
        head[1] = pool->page[parent].hash.hi;
    }
    llrti_hasher hasher;
    llrti_hash_begin(&hasher, HASH_SEED);
    llrti_hash_update(&hasher, head, sizeof head);
    llrti_hash_update(&hasher, tokens, TOKENS_BYTES);
    return llrti_hash_end(&hasher);
}

static uint32_t find_hashed(const llrti_pool *pool, llrti_hash128 hash, uint64_t parent_uid,
                            uint64_t salt, const int32_t *tokens)
{
    uint32_t i = pool->bucket[hash.lo & (pool->n_bucket - 1)];
    for (; i != LLRTI_PAGE_NONE; i = pool->page[i].chain) {
        const llrti_page *const p = &pool->page[i];
        if (llrti_hash_equal(p->hash, hash) && p->parent_uid == parent_uid && p->salt == salt &&
            memcmp(pool->token + (size_t)i * LLRT_PAGE_TOK, tokens, TOKENS_BYTES) == 0)
            return i;
    }
    return LLRTI_PAGE_NONE;
}

static bool parent_of(const llrti_pool *pool, uint32_t parent, uint64_t *uid)
{
    *uid = parent == LLRTI_PAGE_NONE ? 0 : pool->page[parent].uid;
    return parent == LLRTI_PAGE_NONE || *uid != 0;
}

uint32_t llrti_prefix_find(const llrti_pool *pool, uint32_t parent, uint64_t salt,
                           const int32_t *tokens)
{
    uint64_t uid;
    if (!parent_of(pool, parent, &uid)) return LLRTI_PAGE_NONE;
    return find_hashed(pool, hash_page(pool, parent, salt, tokens), uid, salt, tokens);
}

uint32_t llrti_prefix_add(llrti_pool *pool, uint32_t page, uint32_t parent, uint64_t salt,
                          const int32_t *tokens)
{
    uint64_t uid;
    llrti_page *const p = &pool->page[page];
    if (p->uid != 0 || !parent_of(pool, parent, &uid)) return page;
    const llrti_hash128 hash = hash_page(pool, parent, salt, tokens);
    const uint32_t known = find_hashed(pool, hash, uid, salt, tokens);
    if (known != LLRTI_PAGE_NONE) return known;
    p->uid = pool->next_uid++;
    p->parent_uid = uid;
    p->salt = salt;
    p->hash = hash;
    memcpy(pool->token + (size_t)page * LLRT_PAGE_TOK, tokens, TOKENS_BYTES);
    uint32_t *const bucket = &pool->bucket[hash.lo & (pool->n_bucket - 1)];
    p->chain = *bucket;
    *bucket = page;
    return page;
}

void llrti_prefix_remove(llrti_pool *pool, uint32_t page)
{
    llrti_page *const p = &pool->page[page];
    if (p->uid == 0) return;
    uint32_t *link = &pool->bucket[p->hash.lo & (pool->n_bucket - 1)];
    while (*link != page) link = &pool->page[*link].chain;
    *link = p->chain;
    p->uid = 0;
}
