/* SPDX-License-Identifier: MIT */
/*
 * Pair table and merging. The table is open addressing with linear probing at a
 * load of at most one half; the seed differs per table, so a file can't choose its collisions.
 *
 * Merging of a long word: `next`/`prev` link the symbols that are still there, the heap holds
 * candidates {rank, position, left id, right id}. A candidate is stale, and dropped when it
 * comes up, unless the symbols at its position still are that pair. Each merge removes one
 * candidate and adds two at most, so 2n slots always suffice.
 */
#include "bpe.h"

#include <assert.h>
#include <string.h>

#include "error.h"

/* Below this many symbols scanning beats the heap (both are linear for a bounded word length). */
#define SHORT_WORD 48
#define NO_RANK UINT32_MAX

void llrti_bpe_init(llrti_bpe *bpe, llrti_mem *mem)
{
    memset(bpe, 0, sizeof *bpe);
    bpe->mem = mem;
}

llrt_status llrti_bpe_reserve(llrti_bpe *bpe, size_t n, llrt_error *err)
{
    size_t n_slot = 16;
    if (n > (size_t)1 << 29)
        return llrti_fail(err, LLRT_ERR_FORMAT, "found %zu merges, expected at most 2^29", n);
    while (n_slot < 2 * n) n_slot *= 2;
    bpe->pair = llrti_alloc(bpe->mem, n_slot * sizeof *bpe->pair, LLRT_MEMORY_HOST);
    if (!bpe->pair) return llrti_fail_nomem(err, "the merges", n_slot * sizeof *bpe->pair);
    memset(bpe->pair, 0xff, n_slot * sizeof *bpe->pair);
    bpe->mask = (uint32_t)(n_slot - 1);
    bpe->seed = (uint64_t)(uintptr_t)bpe->pair * 0x9e3779b97f4a7c15u;
    return LLRT_OK;
}

static inline uint32_t hash_key(const llrti_bpe *bpe, uint64_t key)
{
    uint64_t h = key ^ bpe->seed;
    h = (h ^ h >> 32) * 0xd6e8feb86659fd93u;
    h = (h ^ h >> 32) * 0xd6e8feb86659fd93u;
    return (uint32_t)(h >> 32);
}

static inline const llrti_bpe_pair *find_pair(const llrti_bpe *bpe, int32_t left, int32_t right)
{
    const uint64_t key = (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
    for (uint32_t at = hash_key(bpe, key);; at++) {
        const llrti_bpe_pair *const pair = &bpe->pair[at & bpe->mask];
        if (pair->key == key) return pair;
        if (pair->key == UINT64_MAX) return NULL;
    }
}

void llrti_bpe_add(llrti_bpe *bpe, int32_t left, int32_t right, uint32_t rank, int32_t id)
{
    const uint64_t key = (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
    assert(left >= 0 && right >= 0 && bpe->n <= bpe->mask / 2);
    for (uint32_t at = hash_key(bpe, key);; at++) {
        llrti_bpe_pair *const pair = &bpe->pair[at & bpe->mask];
        if (pair->key == UINT64_MAX) {
            *pair = (llrti_bpe_pair){key, rank, id};
            bpe->n++;
            return;
        }
        if (pair->key == key) {
            if (rank < pair->rank) *pair = (llrti_bpe_pair){key, rank, id};
            return;
        }
    }
}

void llrti_bpe_free(llrti_bpe *bpe)
{
    llrti_free(bpe->mem, bpe->pair);
    bpe->pair = NULL;
}

void llrti_bpe_scratch_init(llrti_bpe_scratch *scratch, llrti_mem *mem)
{
    memset(scratch, 0, sizeof *scratch);
    scratch->mem = mem;
}

int32_t *llrti_bpe_scratch_symbols(llrti_bpe_scratch *scratch, size_t n)
{
    if (n > scratch->n_symbol) {
        llrti_free(scratch->mem, scratch->symbol);
        scratch->n_symbol = 0;
        scratch->symbol = llrti_alloc(scratch->mem, n * sizeof *scratch->symbol, LLRT_MEMORY_HOST);
        if (scratch->symbol) scratch->n_symbol = n;
    }
    return scratch->symbol;
}

void llrti_bpe_scratch_free(llrti_bpe_scratch *scratch)
{
    llrti_free(scratch->mem, scratch->merge);
    llrti_free(scratch->mem, scratch->symbol);
    llrti_free(scratch->mem, scratch->cache);
}

static void merge_short(const llrti_bpe *bpe, llrti_bpe_scratch *scratch, int32_t *symbol,
                        size_t *n_symbol)
{
    uint32_t rank[SHORT_WORD];
    int32_t id[SHORT_WORD];
    size_t n = *n_symbol;
    scratch->n_op += n;
    for (size_t i = 0; i + 1 < n; i++) {
        const llrti_bpe_pair *const pair = find_pair(bpe, symbol[i], symbol[i + 1]);
        rank[i] = pair ? pair->rank : NO_RANK;
        id[i] = pair ? pair->id : 0;
    }
    while (n > 1) {
        size_t best = 0;
        for (size_t i = 1; i + 1 < n; i++)
            if (rank[i] < rank[best]) best = i;
        if (rank[best] == NO_RANK) break;
        symbol[best] = id[best];
        n--;
        memmove(symbol + best + 1, symbol + best + 2, (n - best - 1) * sizeof *symbol);
        if (best + 1 < n) {
            memmove(rank + best + 1, rank + best + 2, (n - best - 2) * sizeof *rank);
            memmove(id + best + 1, id + best + 2, (n - best - 2) * sizeof *id);
        }
        for (size_t i = best ? best - 1 : 0; i <= best && i + 1 < n; i++) {
            const llrti_bpe_pair *const pair = find_pair(bpe, symbol[i], symbol[i + 1]);
            rank[i] = pair ? pair->rank : NO_RANK;
            id[i] = pair ? pair->id : 0;
            scratch->n_op++;
        }
    }
    *n_symbol = n;
}

typedef struct candidate {
    uint32_t rank, at;
    int32_t left, right;
} candidate;

typedef struct heap {
    candidate *item;
    size_t n;
    uint64_t n_op;
} heap;

static inline bool comes_before(const candidate *a, const candidate *b)
{
    return a->rank != b->rank ? a->rank < b->rank : a->at < b->at;
}

static void push_pair(heap *h, const llrti_bpe *bpe, const int32_t *symbol, uint32_t at,
                      uint32_t next)
{
    const llrti_bpe_pair *const pair = find_pair(bpe, symbol[at], symbol[next]);
    h->n_op++;
    if (!pair) return;
    const candidate c = {pair->rank, at, symbol[at], symbol[next]};
    size_t i = h->n++;
    while (i > 0) {
        const size_t parent = (i - 1) / 2;
        if (!comes_before(&c, &h->item[parent])) break;
        h->item[i] = h->item[parent];
        i = parent;
        h->n_op++;
    }
    h->item[i] = c;
}

static candidate pop(heap *h)
{
    const candidate top = h->item[0], last = h->item[--h->n];
    size_t i = 0;
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= h->n) break;
        if (child + 1 < h->n && comes_before(&h->item[child + 1], &h->item[child])) child++;
        if (!comes_before(&h->item[child], &last)) break;
        h->item[i] = h->item[child];
        i = child;
        h->n_op++;
    }
    h->item[i] = last;
    return top;
}

#define NO_SYMBOL UINT32_MAX

static llrt_status merge_long(const llrti_bpe *bpe, llrti_bpe_scratch *scratch, int32_t *symbol,
                              size_t *n_symbol, llrt_error *err)
{
    const size_t n = *n_symbol;
    size_t size;
    if (n >= NO_SYMBOL || !llrti_mul_size(n, 2 * sizeof(candidate) + 2 * sizeof(uint32_t), &size))
        return llrti_fail_nomem(err, "the merging of a long word", SIZE_MAX);
    if (size > scratch->n_merge) {
        llrti_free(scratch->mem, scratch->merge);
        scratch->n_merge = 0;
        scratch->merge = llrti_alloc(scratch->mem, size, LLRT_MEMORY_HOST);
        if (!scratch->merge) return llrti_fail_nomem(err, "the merging of a long word", size);
        scratch->n_merge = size;
    }
    heap h = {scratch->merge, 0, 0};
    uint32_t *const next = (uint32_t *)(h.item + 2 * n), *const prev = next + n;
    for (uint32_t i = 0; i < n; i++) {
        prev[i] = i ? i - 1 : NO_SYMBOL;
        next[i] = i + 1 < n ? i + 1 : NO_SYMBOL;
    }
    for (uint32_t i = 0; i + 1 < n; i++) push_pair(&h, bpe, symbol, i, i + 1);
    while (h.n > 0) {
        const candidate c = pop(&h);
        const uint32_t right = symbol[c.at] == c.left ? next[c.at] : NO_SYMBOL;
        if (right == NO_SYMBOL || symbol[right] != c.right) continue;
        symbol[c.at] = find_pair(bpe, c.left, c.right)->id;
        symbol[right] = LLRT_TOKEN_NONE; /* no candidate names it: it is gone */
        next[c.at] = next[right];
        if (next[right] != NO_SYMBOL) {
            prev[next[right]] = c.at;
            push_pair(&h, bpe, symbol, c.at, next[c.at]);
        }
        if (prev[c.at] != NO_SYMBOL) push_pair(&h, bpe, symbol, prev[c.at], c.at);
    }
    size_t kept = 0;
    for (uint32_t i = 0; i != NO_SYMBOL; i = next[i]) symbol[kept++] = symbol[i];
    *n_symbol = kept;
    scratch->n_op += h.n_op + n;
    return LLRT_OK;
}

llrt_status llrti_bpe_merge(const llrti_bpe *bpe, llrti_bpe_scratch *scratch, int32_t *symbol,
                            size_t *n, llrt_error *err)
{
    if (*n < 2 || bpe->n == 0) return LLRT_OK;
    if (*n > SHORT_WORD) return merge_long(bpe, scratch, symbol, n, err);
    merge_short(bpe, scratch, symbol, n);
    return LLRT_OK;
}

/* A direct-mapped cache: 4096 lines of 64 bytes stay within a core's own L2. */
#define CACHE_LINES 4096

typedef struct cache_line {
    uint8_t n_word, n_id; /* n_word 0: empty */
    char word[LLRTI_WORD_CACHE_BYTES];
    int32_t id[LLRTI_WORD_CACHE_IDS];
} cache_line;

struct llrti_word_cache {
    cache_line line[CACHE_LINES];
};

void llrti_bpe_scratch_add_cache(llrti_bpe_scratch *scratch)
{
    scratch->cache = llrti_calloc(scratch->mem, 1, sizeof *scratch->cache, LLRT_MEMORY_HOST);
}

static inline uint32_t hash_word(const char *word, size_t n)
{
    uint64_t h = n * 0x9e3779b97f4a7c15u, v = 0;
    for (; n > 8; word += 8, n -= 8) {
        memcpy(&v, word, 8);
        h = (h ^ v) * 0xd6e8feb86659fd93u;
        h ^= h >> 32;
    }
    v = 0;
    memcpy(&v, word, n);
    h = (h ^ v) * 0xd6e8feb86659fd93u;
    return (uint32_t)(h >> 40) % CACHE_LINES;
}

bool llrti_word_cache_get(const llrti_word_cache *cache, const char *word, size_t n,
                          llrti_id_sink *sink)
{
    if (!cache || n == 0 || n > LLRTI_WORD_CACHE_BYTES) return false;
    const cache_line *const line = &cache->line[hash_word(word, n)];
    if (line->n_word != n || memcmp(line->word, word, n) != 0) return false;
    if (sink->capacity - LLRTI_MIN(sink->n, sink->capacity) >= LLRTI_WORD_CACHE_IDS) {
        memcpy(sink->id + sink->n, line->id, sizeof line->id); /* surplus is overwritten later */
        sink->n += line->n_id;
    } else {
        for (size_t i = 0; i < line->n_id; i++) llrti_id_sink_add(sink, line->id[i]);
    }
    return true;
}

void llrti_word_cache_put(llrti_word_cache *cache, const char *word, size_t n, const int32_t *id,
                          size_t n_id)
{
    if (!cache || n == 0 || n > LLRTI_WORD_CACHE_BYTES || n_id > LLRTI_WORD_CACHE_IDS) return;
    cache_line *const line = &cache->line[hash_word(word, n)];
    line->n_word = (uint8_t)n;
    line->n_id = (uint8_t)n_id;
    memcpy(line->word, word, n);
    memcpy(line->id, id, n_id * sizeof *id);
}
