/* SPDX-License-Identifier: MIT */
/*
 * Pre-tokenizers: cutting text into the pieces that are tokenized on their own.
 *
 * Each rule that models use is a hand-written scanner, not a regex engine: given the rest
 * of a text it returns the length of the next piece. A pre-tokenizer is a chain of
 * up to LLRTI_PRETOKENIZER_STAGES scanners, each cutting the pieces of the one before.
 * Known ones are found by the name GGUF files give them or by the exact regex that a
 * tokenizer.json has. Every scanner is linear over a whole text. Constant; any thread.
 */
#ifndef LLRTI_PRETOKENIZER_H
#define LLRTI_PRETOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LLRTI_PRETOKENIZER_STAGES 8

/** Length of the first piece of text[0..n), 1 to n; n is not 0. What lies beyond n does not exist
 * for it. */
typedef size_t (*llrti_pretokenizer_scan)(const char *text, size_t n, uint32_t arg);

typedef struct llrti_pretokenizer_stage {
    llrti_pretokenizer_scan scan;
    uint32_t arg;
} llrti_pretokenizer_stage;

typedef struct llrti_pretokenizer {
    llrti_pretokenizer_stage stage[LLRTI_PRETOKENIZER_STAGES];
    uint32_t n_stage;
    const char *name;        /* what it is known as, "" for a chain without a name; constant */
    bool is_ignoring_merges; /* a piece that is a token as a whole is taken before any merge */
    bool is_adding_bos;      /* a GGUF that does not say so adds bos */
} llrti_pretokenizer;

/** By the value of tokenizer.ggml.pre. False when unknown. */
bool llrti_pretokenizer_by_name(const char *name, size_t n_name, llrti_pretokenizer *out);

/** Appends the stage of a Split with this regex (behaviour Isolated). False when unknown or the
 * chain is full. */
bool llrti_pretokenizer_add_regex(llrti_pretokenizer *to, const char *regex, size_t n_regex);

/** Appends tokenizer.json's Digits and Punctuation. False when the chain is full. */
bool llrti_pretokenizer_add_digits(llrti_pretokenizer *to, bool is_individual);
bool llrti_pretokenizer_add_punctuation(llrti_pretokenizer *to, bool is_contiguous);

/** The known names in one line, for error messages; and the regexes' names. Constant. */
const char *llrti_pretokenizer_names(void);
const char *llrti_pretokenizer_regex_names(void);

/** The regex GPT-2 uses, which tokenizer.json's ByteLevel implies. */
extern const char llrti_pretokenizer_gpt2_regex[];

#endif
