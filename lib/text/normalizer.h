/* SPDX-License-Identifier: MIT */
/*
 * Normalization of text before it is tokenized: a sequence of steps as tokenizer.json lists them
 * (Prepend, Replace of strings, NFC and the other Unicode forms), and SentencePiece's removal of
 * surplus spaces.
 *
 * SentencePiece vocabularies write a space as U+2581. With `is_folding_space` that character is
 * turned into a plain space everywhere, in the vocabulary, in these steps and in the text: the two
 * can't be told apart by such a tokenizer anyhow, and escaping becomes free.
 *
 * Bytes that are not valid UTF-8 pass through unchanged. Filled by a loader, then constant.
 */
#ifndef LLRTI_NORMALIZER_H
#define LLRTI_NORMALIZER_H

#include <llrt/status.h>

#include "alloc.h"

#define LLRTI_NORMALIZER_STEPS 8

typedef enum llrti_normalizer_kind {
    LLRTI_NORMALIZE_PREPEND, /* a in front of text that is not empty */
    LLRTI_NORMALIZE_REPLACE, /* every a by b */
    LLRTI_NORMALIZE_NFC,
    LLRTI_NORMALIZE_NFD,
    LLRTI_NORMALIZE_NFKC,
    LLRTI_NORMALIZE_NFKD,
    LLRTI_NORMALIZE_TRIM_SPACES /* runs of spaces become one, none at the ends */
} llrti_normalizer_kind;

typedef struct llrti_normalizer_step {
    llrti_normalizer_kind kind;
    char *a, *b; /* owned */
    size_t n_a, n_b;
} llrti_normalizer_step;

typedef struct llrti_normalizer {
    llrti_mem *mem;
    llrti_normalizer_step step[LLRTI_NORMALIZER_STEPS];
    uint32_t n_step;
    bool is_folding_space;
} llrti_normalizer;

/** Growing buffers of one encode call. */
typedef struct llrti_normalizer_scratch {
    llrti_mem *mem;
    LLRTI_VEC(char) text[2];
    LLRTI_VEC(int32_t) point; /* code points of a Unicode form */
    LLRTI_VEC(int32_t) order; /* space to sort marks in */
} llrti_normalizer_scratch;

void llrti_normalizer_init(llrti_normalizer *normalizer, llrti_mem *mem);
/** Appends a step; the strings are copied, folded when the normalizer folds, and may be NULL. */
llrt_status llrti_normalizer_add(llrti_normalizer *normalizer, llrti_normalizer_kind kind,
                                 const char *a, size_t n_a, const char *b, size_t n_b,
                                 llrt_error *err);
void llrti_normalizer_free(llrti_normalizer *normalizer);

void llrti_normalizer_scratch_init(llrti_normalizer_scratch *scratch, llrti_mem *mem);
void llrti_normalizer_scratch_free(llrti_normalizer_scratch *scratch);

/**
 * Normalizes text[0..*n): *text and *n become the result, which is the input itself or lies in
 * the scratch until its next use. LLRT_OK or LLRT_ERR_NOMEM.
 */
llrt_status llrti_normalizer_run(const llrti_normalizer *normalizer,
                                 llrti_normalizer_scratch *scratch, const char **text, size_t *n,
                                 llrt_error *err);

/** Turns every U+2581 of text[0..n) into a space, in place or elsewhere; returns the new length. */
size_t llrti_normalizer_fold(const char *text, size_t n, char *out);

#endif
