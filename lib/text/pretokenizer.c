/* SPDX-License-Identifier: MIT */
/*
 * Scanners for the pre-tokenization rules. Each comment gives the regular expression that
 * the scanner stands for; alternatives are tried in order, and a scanner
 * returns where the first one that matches ends. White space before a word is the part that
 * needs care: of a run of white space, the last character is left to what follows,
 * because \s+(?!\S) must not end before a non-space.
 *
 * Linear: a run that is looked at is consumed, but for its last character or the part after
 * its last newline, which is looked at once more.
 */
#include "pretokenizer.h"

#include <string.h>

#include "compiler.h"
#include "unicode_class.h"

enum {
    L = LLRTI_CLASS_LETTER,
    N = LLRTI_CLASS_NUMBER,
    S = LLRTI_CLASS_SPACE,
    M = LLRTI_CLASS_MARK,
    NL = LLRTI_CLASS_NEWLINE
};

/* Bytes of the run of characters from `at` whose class has (or, with `none_of`, lacks) a bit of
 * `mask`. */
static size_t skip_any(const char *text, size_t n, size_t at, uint32_t mask)
{
    while (at < n) {
        size_t length;
        if (!(llrti_unicode_class_at(text + at, n - at, &length) & mask)) break;
        at += length;
    }
    return at;
}

static size_t skip_none(const char *text, size_t n, size_t at, uint32_t mask)
{
    while (at < n) {
        size_t length;
        if (llrti_unicode_class_at(text + at, n - at, &length) & mask) break;
        at += length;
    }
    return at;
}

/* \s+(?!\S)|\s+ on a text that begins with white space. */
static size_t scan_space(const char *text, size_t n)
{
    size_t at = 0, last = 0;
    while (at < n) {
        size_t length;
        if (!(llrti_unicode_class_at(text + at, n - at, &length) & S)) break;
        last = at;
        at += length;
    }
    return at < n && last > 0 ? last : at;
}

/* Length of 's 't 're 've 'm 'll 'd at text[0], else 0. */
static size_t scan_contraction(const char *text, size_t n, bool is_caseless)
{
    if (n < 2 || text[0] != '\'') return 0;
    const char fold = is_caseless ? 0x20 : 0;
    const char a = (char)(text[1] | fold);
    if (a == 's' || a == 't' || a == 'm' || a == 'd') return 2;
    if (n < 3) return 0;
    /* U+017F, the long s, is an s to a caseless regex. */
    if (is_caseless && (uint8_t)text[1] == 0xc5 && (uint8_t)text[2] == 0xbf) return 3;
    const char b = (char)(text[2] | fold);
    if ((a == 'r' || a == 'v') && b == 'e') return 3;
    return a == 'l' && b == 'l' ? 3 : 0;
}

/* 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+ */
static size_t scan_gpt2(const char *text, size_t n, uint32_t arg)
{
    const size_t contraction = scan_contraction(text, n, false);
    if (contraction) return contraction;
    size_t length, at = text[0] == ' ' && n > 1 ? 1 : 0;
    const uint32_t class = llrti_unicode_class_at(text + at, n - at, &length);
    if (class & L) return skip_any(text, n, at + length, L);
    if (class & N) return skip_any(text, n, at + length, N);
    if (!(class & S)) return skip_none(text, n, at + length, L | N | S);
    return scan_space(text, n);
}

enum { SCAN_TRIPLES = 1, SCAN_MARKS = 2 };

/*
 * (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|
 * \s*[\r\n]+|\s+(?!\S)|\s+
 * SCAN_TRIPLES: \p{N}{1,3}, else \p{N}. SCAN_MARKS: \p{M} counts as a letter where letters are
 * joined and where signs exclude them.
 */
static size_t scan_cl100k(const char *text, size_t n, uint32_t arg)
{
    const size_t contraction = scan_contraction(text, n, true);
    if (contraction) return contraction;
    const uint32_t letters = arg & SCAN_MARKS ? (uint32_t)L | M : (uint32_t)L;
    size_t length, next_length = 0;
    const uint32_t class = llrti_unicode_class_at(text, n, &length);
    if (class & letters) return skip_any(text, n, length, letters);
    uint32_t next = 0;
    if (length < n) next = llrti_unicode_class_at(text + length, n - length, &next_length);
    if (!(class & (NL | N)) && (next & letters))
        return skip_any(text, n, length + next_length, letters);
    if (class & N) {
        if (!(arg & SCAN_TRIPLES) || !(next & N)) return length;
        size_t at = length + next_length;
        if (at < n && (llrti_unicode_class_at(text + at, n - at, &length) & N)) at += length;
        return at;
    }
    size_t at = 0;
    if (!(class & S))
        at = length;
    else if (text[0] == ' ' && length < n && !(next & (letters | N | S)))
        at = length + next_length;
    if (at) {
        at = skip_none(text, n, at, letters | N | S);
        return skip_any(text, n, at, NL);
    }
    size_t end = 0;
    for (at = 0; at < n; at += length) {
        const uint32_t c = llrti_unicode_class_at(text + at, n - at, &length);
        if (!(c & S)) break;
        if (c & NL) end = at + length;
    }
    return end ? end : scan_space(text, n);
}

/* Digits: runs of \p{N} (each alone with arg 1) and what is between them. */
static size_t scan_digits(const char *text, size_t n, uint32_t arg)
{
    size_t length;
    if (!(llrti_unicode_class_at(text, n, &length) & N)) return skip_none(text, n, length, N);
    return arg ? length : skip_any(text, n, length, N);
}

/* Punctuation: \p{P} and ASCII signs, alone (arg 0) or in runs (arg 1), and what is between. */
static size_t scan_punctuation(const char *text, size_t n, uint32_t arg)
{
    const uint32_t mask = LLRTI_CLASS_PUNCT | LLRTI_CLASS_ASCII_PUNCT;
    size_t length;
    if (!(llrti_unicode_class_at(text, n, &length) & mask)) return skip_none(text, n, length, mask);
    return arg ? skip_any(text, n, length, mask) : length;
}

/* [\p{P}\$\+<=>\^~\|]+ and what is between: like punctuation in runs, but the grave accent is
 * none. */
static bool is_default_punctuation(const char *text, size_t n, size_t *length)
{
    const uint32_t class = llrti_unicode_class_at(text, n, length);
    return (class & (LLRTI_CLASS_PUNCT | LLRTI_CLASS_ASCII_PUNCT)) && text[0] != '`';
}

static size_t scan_default_punctuation(const char *text, size_t n, uint32_t arg)
{
    size_t length;
    const bool kind = is_default_punctuation(text, n, &length);
    size_t at = length;
    for (; at < n; at += length)
        if (is_default_punctuation(text + at, n - at, &length) != kind) break;
    return at;
}

/* [0-9][0-9][0-9] and what is between. */
static size_t scan_triples(const char *text, size_t n, uint32_t arg)
{
    size_t run = 0;
    for (size_t at = 0; at < n; at++) {
        run = text[at] >= '0' && text[at] <= '9' ? run + 1 : 0;
        if (run == 3) return at == 2 ? 3 : at - 2;
    }
    return n;
}

const char llrti_pretokenizer_gpt2_regex[] =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

#define HEAD "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?"
#define TAIL "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"

static const struct known_regex {
    const char *name, *regex;
    llrti_pretokenizer_stage stage;
    bool is_naming; /* a chain of this one alone goes by the name */
} known_regexes[] = {
    {"gpt-2", llrti_pretokenizer_gpt2_regex, {scan_gpt2, 0}, true},
    {"llama-bpe", HEAD "\\p{L}+|\\p{N}{1,3}" TAIL, {scan_cl100k, SCAN_TRIPLES}, true},
    {"qwen2", HEAD "\\p{L}+|\\p{N}" TAIL, {scan_cl100k, 0}, true},
    {"qwen35",
     HEAD
     "[\\p{L}\\p{M}]+|\\p{N}| ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
     {scan_cl100k, SCAN_MARKS},
     true},
    {"three digits", "[0-9][0-9][0-9]", {scan_triples, 0}, false},
};

static const struct known_name {
    const char *name;
    llrti_pretokenizer chain;
} known_names[] = {
    {"gpt-2", {{{scan_gpt2, 0}}, 1, "gpt-2", false, false}},
    {"llama-bpe", {{{scan_cl100k, SCAN_TRIPLES}}, 1, "llama-bpe", true, true}},
    {"llama3", {{{scan_cl100k, SCAN_TRIPLES}}, 1, "llama-bpe", true, true}},
    {"llama-v3", {{{scan_cl100k, SCAN_TRIPLES}}, 1, "llama-bpe", true, true}},
    {"qwen2", {{{scan_cl100k, 0}}, 1, "qwen2", false, false}},
    {"qwen35", {{{scan_cl100k, SCAN_MARKS}}, 1, "qwen35", false, false}},
    {"default",
     {{{scan_default_punctuation, 0}, {scan_gpt2, 0}, {scan_digits, 0}, {scan_triples, 0}},
      4,
      "default",
      false,
      false}},
};

const char *llrti_pretokenizer_names(void)
{
    return "default, gpt-2, llama-bpe (llama3, llama-v3), qwen2, qwen35";
}

const char *llrti_pretokenizer_regex_names(void)
{
    return "those of gpt-2, llama-bpe (cl100k), qwen2, qwen35 and [0-9][0-9][0-9]";
}

bool llrti_pretokenizer_by_name(const char *name, size_t n_name, llrti_pretokenizer *out)
{
    for (size_t i = 0; i < LLRTI_COUNT(known_names); i++) {
        const struct known_name *const known = &known_names[i];
        if (strlen(known->name) != n_name || memcmp(known->name, name, n_name) != 0) continue;
        *out = known->chain;
        return true;
    }
    return false;
}

static bool add_stage(llrti_pretokenizer *to, llrti_pretokenizer_stage stage, const char *name)
{
    if (to->n_stage == LLRTI_PRETOKENIZER_STAGES) return false;
    to->name = to->n_stage == 0 ? name : "";
    to->stage[to->n_stage++] = stage;
    return true;
}

bool llrti_pretokenizer_add_regex(llrti_pretokenizer *to, const char *regex, size_t n_regex)
{
    for (size_t i = 0; i < LLRTI_COUNT(known_regexes); i++) {
        const struct known_regex *const known = &known_regexes[i];
        if (strlen(known->regex) != n_regex || memcmp(known->regex, regex, n_regex) != 0) continue;
        return add_stage(to, known->stage, known->is_naming ? known->name : "");
    }
    return false;
}

bool llrti_pretokenizer_add_digits(llrti_pretokenizer *to, bool is_individual)
{
    return add_stage(to, (llrti_pretokenizer_stage){scan_digits, is_individual}, "");
}

bool llrti_pretokenizer_add_punctuation(llrti_pretokenizer *to, bool is_contiguous)
{
    return add_stage(to, (llrti_pretokenizer_stage){scan_punctuation, is_contiguous}, "");
}
