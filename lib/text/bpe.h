/* SPDX-License-Identifier: MIT */
/*
 * Byte-pair merging: a table from a pair of ids to the id of their merge and its rank, and
 * the greedy algorithm on it: of all neighbouring pairs that may be merged, the one of the
 * lowest rank goes first, of equal ranks the leftmost. SentencePiece's BPE is the
 * same with the rank made from the merged token's score.
 *
 * Short words are merged in place by scanning for the best pair; long ones with a heap over a
 * linked list, O(n log n) in the worst case. The table is constant after loading; a scratch
 * belongs to one call of encode.
 */
#ifndef LLRTI_BPE_H
#define LLRTI_BPE_H

#include <llrt/tokenizer.h>

#include "alloc.h"

typedef struct llrti_bpe_pair {
    uint64_t key; /* left << 32 | right; all ones: empty */
    uint32_t rank;
    int32_t id;
} llrti_bpe_pair;

typedef struct llrti_bpe {
    llrti_mem *mem;
    llrti_bpe_pair *pair;
    uint64_t seed;
    uint32_t n, mask; /* mask + 1 slots, a power of two */
} llrti_bpe;

/** Where ids go: counted always, stored while they fit. */
typedef struct llrti_id_sink {
    int32_t *id;
    size_t capacity, n;
} llrti_id_sink;

static inline void llrti_id_sink_add(llrti_id_sink *sink, int32_t id)
{
    if (sink->n < sink->capacity) sink->id[sink->n] = id;
    sink->n++;
}

typedef struct llrti_word_cache llrti_word_cache;

/** Working memory of one encode call, and a count of operations for tests of its growth. */
typedef struct llrti_bpe_scratch {
    llrti_mem *mem;
    void *merge; /* linked list and heap of a long word */
    size_t n_merge;
    int32_t *symbol; /* symbols of a long word */
    size_t n_symbol;
    llrti_word_cache *cache; /* NULL: none */
    uint64_t n_op;
} llrti_bpe_scratch;

void llrti_bpe_init(llrti_bpe *bpe, llrti_mem *mem);
/** Room for n pairs; once, before adding. */
llrt_status llrti_bpe_reserve(llrti_bpe *bpe, size_t n, llrt_error *err);
/** Adds a pair; one that is there already keeps the lower rank. No more than were reserved. */
void llrti_bpe_add(llrti_bpe *bpe, int32_t left, int32_t right, uint32_t rank, int32_t id);
void llrti_bpe_free(llrti_bpe *bpe);

void llrti_bpe_scratch_init(llrti_bpe_scratch *scratch, llrti_mem *mem);
/** Allocates the cache of words; without memory there is simply none. */
void llrti_bpe_scratch_add_cache(llrti_bpe_scratch *scratch);
/** Room for n symbols of a word. NULL without memory. */
int32_t *llrti_bpe_scratch_symbols(llrti_bpe_scratch *scratch, size_t n);
void llrti_bpe_scratch_free(llrti_bpe_scratch *scratch);

/** Merges symbol[0..*n) in place. LLRT_OK or LLRT_ERR_NOMEM. */
llrt_status llrti_bpe_merge(const llrti_bpe *bpe, llrti_bpe_scratch *scratch, int32_t *symbol,
                            size_t *n, llrt_error *err);

/** Words and ids up to these sizes are kept. Sized so that an entry is one cache line. */
#define LLRTI_WORD_CACHE_BYTES 30
#define LLRTI_WORD_CACHE_IDS 8

/** Adds the ids of a word seen before in this call to the sink. False when it is not known. */
bool llrti_word_cache_get(const llrti_word_cache *cache, const char *word, size_t n,
                          llrti_id_sink *sink);
/** Keeps the n_id ids of a word, if both are short. */
void llrti_word_cache_put(llrti_word_cache *cache, const char *word, size_t n, const int32_t *id,
                          size_t n_id);

#endif
