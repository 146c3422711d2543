/* SPDX-License-Identifier: MIT */
/*
 * Tokens that are matched in the text as a whole, before anything is cut or merged: control
 * and user-defined tokens of a GGUF, added_tokens of a tokenizer.json. The leftmost match
 * wins, of several there the longest. Special ones count only for trusted text.
 *
 * Patterns are sorted, so a match narrows a range of them byte by byte. Filled by a loader,
 * constant after `finish`; any thread may match.
 */
#ifndef LLRTI_ADDED_TOKENS_H
#define LLRTI_ADDED_TOKENS_H

#include <llrt/tokenizer.h>

#include "alloc.h"

enum {
    LLRTI_ADDED_SPECIAL = 1,    /* only with LLRT_ENCODE_PARSE_SPECIAL */
    LLRTI_ADDED_LSTRIP = 2,     /* takes the white space before it */
    LLRTI_ADDED_RSTRIP = 4,     /* takes the white space after it */
    LLRTI_ADDED_SINGLE_WORD = 8 /* not beside a word character */
};

typedef struct llrti_added_token {
    const char *text; /* must stay as long as the set; with is_owner a block of the set's */
    uint32_t n;
    int32_t id;
    uint32_t flags;
} llrti_added_token;

typedef struct llrti_added_tokens {
    llrti_mem *mem;
    bool is_owner; /* the patterns' text is freed with the set */
    LLRTI_VEC(llrti_added_token) list;
    uint32_t first[257]; /* range of the patterns that begin with a byte */
    uint8_t is_first[256];
} llrti_added_tokens;

typedef struct llrti_added_match {
    size_t start,
        end; /* of the text taken, with stripped white space; end of text when there is no match */
    int32_t id; /* LLRT_TOKEN_NONE: no match */
} llrti_added_match;

void llrti_added_tokens_init(llrti_added_tokens *set, llrti_mem *mem);
/** Adds a pattern; empty ones are ignored. False without memory: the text stays the caller's. */
bool llrti_added_tokens_add(llrti_added_tokens *set, llrti_added_token token);
/** Sorts; of equal patterns the one with the lowest id stays. */
void llrti_added_tokens_finish(llrti_added_tokens *set);
/** The id of the pattern with exactly this text, or LLRT_TOKEN_NONE. */
int32_t llrti_added_tokens_find(const llrti_added_tokens *set, const char *text, size_t n);
/** The next match in text[from..n). *n_op grows by the work done. */
llrti_added_match llrti_added_tokens_next(const llrti_added_tokens *set, const char *text, size_t n,
                                          size_t from, bool with_special, uint64_t *n_op);
void llrti_added_tokens_free(llrti_added_tokens *set);

#endif
