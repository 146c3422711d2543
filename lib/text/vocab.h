/* SPDX-License-Identifier: MIT */
/*
 * The vocabulary of a tokenizer: text, type and score of every id, and the way back from text.
 *
 * `text` is what decoding writes: raw bytes, with the byte alphabet of byte-level vocabularies
 * and the escaped space of SentencePiece resolved. The map holds the tokens that ordinary text
 * may become (normal, unused, user-defined); control, unknown and byte tokens are not in it, so
 * untrusted text can't produce them. Ids from n_vocab up to n are helpers of a kind (single
 * characters that only occur within longer tokens) and never leave the library.
 *
 * Filled by a loader on one thread, then constant.
 */
#ifndef LLRTI_VOCAB_H
#define LLRTI_VOCAB_H

#include <llrt/tokenizer.h>

#include "alloc.h"
#include "map.h"

/** Most ids a vocabulary may have: far above any model, and small enough for 32-bit arithmetic. */
#define LLRTI_VOCAB_MAX ((uint32_t)1 << 26)

typedef struct llrti_vocab_entry {
    uint32_t at, n; /* in `text` */
    float score;
    uint8_t type;   /* llrt_token_type; 0: not set yet */
    uint8_t is_end; /* generation ends with it */
    uint8_t reserved[2];
} llrti_vocab_entry;

typedef struct llrti_vocab {
    llrti_mem *mem;
    llrti_vocab_entry *entry;
    char *text;
    uint32_t n_vocab, n, n_entry; /* n_entry: room */
    size_t n_text, text_capacity;
    uint32_t n_text_max; /* bytes of the longest token */
    llrti_map map;
    int32_t byte_id[256]; /* the token for one byte, LLRT_TOKEN_NONE where there is none */
} llrti_vocab;

void llrti_vocab_init(llrti_vocab *vocab, llrti_mem *mem);
/** Room for n_id ids, all of them unset, and for n_text bytes in total, which later sets must not
 * exceed. */
llrt_status llrti_vocab_reserve(llrti_vocab *vocab, size_t n_id, size_t n_text, llrt_error *err);
/** Sets an id below n_vocab; copies the text. An id set before is replaced (its old text is not
 * reused). */
void llrti_vocab_set(llrti_vocab *vocab, uint32_t id, const char *text, size_t n_text,
                     llrt_token_type type, float score);
/** Builds the map: normal tokens first, of equal texts the lowest id. Unset ids become unused ones
 * without text. */
llrt_status llrti_vocab_index(llrti_vocab *vocab, bool with_unused, llrt_error *err);
/** Adds a helper id for a piece of the text of token `of`; -1 when there is no memory. */
int32_t llrti_vocab_add_helper(llrti_vocab *vocab, uint32_t of, uint32_t at, uint32_t n);

/** The id of these bytes among what text may become, helpers included, or LLRT_TOKEN_NONE. */
static inline int32_t llrti_vocab_find(const llrti_vocab *vocab, const char *text, size_t n)
{
    return (int32_t)llrti_map_get(&vocab->map, text, n); /* LLRTI_MAP_NONE is -1 */
}

static inline const char *llrti_vocab_text(const llrti_vocab *vocab, uint32_t id, size_t *n)
{
    *n = vocab->entry[id].n;
    return vocab->text + vocab->entry[id].at;
}

void llrti_vocab_free(llrti_vocab *vocab);

#endif
