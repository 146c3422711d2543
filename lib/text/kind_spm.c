/* SPDX-License-Identifier: MIT */
/*
 * SentencePiece's BPE with byte fallback (Llama 1 and 2, Mistral, Phi-3): symbols
 * begin as characters, the pair whose merge has the best score goes first, a character without a
 * token becomes the tokens of its bytes. A byte that belongs to no valid character is a
 * character of its own, so any bytes can be encoded and come back.
 *
 * A GGUF has scores and no merges; the pair table is made from them when loading: for each
 * token, every cut into two tokens is a pair whose rank is the token's score. Characters that
 * are no token but part of one get helper ids, so that pairs of them exist as well.
 *
 * In most vocabularies a space only begins a token. Then nothing merges across "x " and text is
 * cut there, which changes no id and makes words short.
 */
#include "tokenizer_impl.h"

#include <string.h>

#include "error.h"
#include "half.h"
#include "utf8.h"

/* A token longer than this would make building the pair table slow, and no vocabulary has one. */
#define MAX_MERGED_BYTES 1024

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int llrti_spm_byte(const char *text, size_t n)
{
    if (n != 6 || memcmp(text, "<0x", 3) != 0 || text[5] != '>') return -1;
    const int high = hex_digit(text[3]), low = hex_digit(text[4]);
    return high < 0 || low < 0 ? -1 : high << 4 | low;
}

/* Bytes of the character at text[0]; a byte that begins none is one. */
static inline size_t char_length(const char *text, size_t n)
{
    uint32_t c;
    if ((uint8_t)text[0] < 0x80) return 1;
    const size_t length = llrti_utf8_decode(text, n, &c);
    return c == LLRTI_UTF8_INVALID ? 1 : length;
}

/* A higher score is a lower rank; equal scores are equal ranks. The score is not NaN. */
static uint32_t rank_of(float score)
{
    const uint32_t bits = llrti_float_bits(score + 0.0f); /* -0 becomes 0 */
    const uint32_t ascending = bits & 0x80000000u ? ~bits : bits | 0x80000000u;
    return ~ascending;
}

typedef struct cut {
    int32_t left, right;
} cut;

/* The id of a part of token `of`, or a new helper when the part is a single character. */
static int32_t part_id(llrti_vocab *vocab, uint32_t of, uint32_t at, uint32_t n, bool *is_nomem)
{
    const char *const text = vocab->text + vocab->entry[of].at + at;
    int32_t id = llrti_vocab_find(vocab, text, n);
    if (id == LLRT_TOKEN_NONE && char_length(text, n) == n) {
        id = llrti_vocab_add_helper(vocab, of, at, n);
        *is_nomem |= id == LLRT_TOKEN_NONE;
    }
    return id;
}

/* Visits every cut of token `id`: counts them, and adds them to the table unless it only counts. */
static llrt_status visit_cuts(llrt_tokenizer *tokenizer, uint32_t id, bool is_adding, size_t *n_cut,
                              llrt_error *err)
{
    llrti_vocab *const vocab = &tokenizer->vocab;
    const uint32_t n = vocab->entry[id].n, start = vocab->entry[id].at;
    const uint32_t rank = rank_of(vocab->entry[id].score);
    for (uint32_t at = 0; at < n;) {
        const uint32_t left_n = at + (uint32_t)char_length(vocab->text + start + at, n - at);
        at = left_n;
        if (at >= n) break;
        bool is_nomem = false;
        const int32_t left = part_id(vocab, id, 0, left_n, &is_nomem);
        const int32_t right =
            left == LLRT_TOKEN_NONE ? left : part_id(vocab, id, left_n, n - left_n, &is_nomem);
        if (is_nomem) return llrti_fail_nomem(err, "the vocabulary's characters", n);
        if (right == LLRT_TOKEN_NONE) continue;
        ++*n_cut;
        if (is_adding) llrti_bpe_add(&tokenizer->bpe, left, right, rank, (int32_t)id);
    }
    return LLRT_OK;
}

static bool is_mergeable(const llrti_vocab *vocab, uint32_t id)
{
    const llrti_vocab_entry *const entry = &vocab->entry[id];
    return entry->n > 1 &&
           (entry->type == LLRT_TOKEN_NORMAL || entry->type == LLRT_TOKEN_USER_DEFINED ||
            entry->type == LLRT_TOKEN_UNUSED) &&
           llrti_vocab_find(vocab, vocab->text + entry->at, entry->n) == (int32_t)id;
}

llrt_status llrti_spm_build_pairs(llrt_tokenizer *tokenizer, llrt_error *err)
{
    llrti_vocab *const vocab = &tokenizer->vocab;
    size_t n_cut = 0, n_added = 0;
    for (uint32_t id = 0; id < vocab->n_vocab; id++) {
        if (!is_mergeable(vocab, id)) continue;
        if (vocab->entry[id].n > MAX_MERGED_BYTES)
            return llrti_fail(err, LLRT_ERR_UNSUPPORTED,
                              "found token %u of %u bytes, expected at most %d", id,
                              vocab->entry[id].n, MAX_MERGED_BYTES);
        LLRTI_TRY(visit_cuts(tokenizer, id, false, &n_cut, err));
    }
    LLRTI_TRY(llrti_bpe_reserve(&tokenizer->bpe, n_cut, err));
    for (uint32_t id = 0; id < vocab->n_vocab; id++)
        if (is_mergeable(vocab, id)) LLRTI_TRY(visit_cuts(tokenizer, id, true, &n_added, err));
    return LLRT_OK;
}

void llrti_spm_examine(llrt_tokenizer *tokenizer)
{
    const llrti_vocab *const vocab = &tokenizer->vocab;
    tokenizer->is_splitting_spaces = llrti_vocab_find(vocab, " ", 1) != LLRT_TOKEN_NONE;
    for (uint32_t id = 0; id < vocab->n_vocab; id++) {
        size_t n;
        const char *const text = llrti_vocab_text(vocab, id, &n);
        if (!is_mergeable(vocab, id)) continue;
        for (size_t i = 1; i < n; i++)
            if (text[i] == ' ' && text[i - 1] != ' ') tokenizer->is_splitting_spaces = false;
    }
    for (int byte = 0; byte < 256 && tokenizer->has_byte_fallback; byte++)
        if (tokenizer->vocab.byte_id[byte] == LLRT_TOKEN_NONE) tokenizer->has_byte_fallback = false;
}

/* Adds what stands for a character that is no token: its bytes, or the unknown token. */
static size_t add_unknown(const llrt_tokenizer *tokenizer, const char *text, size_t n,
                          int32_t *symbol, size_t n_symbol)
{
    if (tokenizer->has_byte_fallback) {
        for (size_t i = 0; i < n; i++)
            symbol[n_symbol++] = tokenizer->vocab.byte_id[(uint8_t)text[i]];
        return n_symbol;
    }
    const int32_t unknown = tokenizer->special[LLRT_SPECIAL_UNK];
    if (unknown == LLRT_TOKEN_NONE) return n_symbol;
    if (tokenizer->is_fusing_unknown && n_symbol > 0 && symbol[n_symbol - 1] == unknown)
        return n_symbol;
    symbol[n_symbol++] = unknown;
    return n_symbol;
}

static llrt_status encode_word(llrti_encoder *encoder, const char *word, size_t n, llrt_error *err)
{
    const llrt_tokenizer *const tokenizer = encoder->tokenizer;
    const llrti_vocab *const vocab = &tokenizer->vocab;
    if (llrti_word_cache_get(encoder->bpe.cache, word, n, &encoder->sink)) return LLRT_OK;
    if (tokenizer->pretokenizer.is_ignoring_merges) {
        const int32_t id = llrti_vocab_find(vocab, word, n);
        if (id != LLRT_TOKEN_NONE && (uint32_t)id < vocab->n_vocab) {
            llrti_id_sink_add(&encoder->sink, id);
            return LLRT_OK;
        }
    }
    int32_t few[64], bytes[8];
    int32_t *const symbol =
        n <= LLRTI_COUNT(few) ? few : llrti_bpe_scratch_symbols(&encoder->bpe, n);
    if (!symbol) return llrti_fail_nomem(err, "a long word", n * sizeof *symbol);
    size_t n_symbol = 0;
    for (size_t at = 0; at < n;) {
        const size_t length = char_length(word + at, n - at);
        const int32_t id = llrti_vocab_find(vocab, word + at, length);
        if (id != LLRT_TOKEN_NONE)
            symbol[n_symbol++] = id;
        else
            n_symbol = add_unknown(tokenizer, word + at, length, symbol, n_symbol);
        at += length;
    }
    encoder->bpe.n_op += n;
    LLRTI_TRY(llrti_bpe_merge(&tokenizer->bpe, &encoder->bpe, symbol, &n_symbol, err));
    bool is_cacheable = true;
    for (size_t i = 0; i < n_symbol; i++) {
        if ((uint32_t)symbol[i] < vocab->n_vocab) {
            llrti_id_sink_add(&encoder->sink, symbol[i]);
            continue;
        }
        is_cacheable = false; /* a helper that merged with nothing */
        size_t n_char;
        const char *const text = llrti_vocab_text(vocab, (uint32_t)symbol[i], &n_char);
        const size_t n_byte = add_unknown(tokenizer, text, n_char, bytes, 0);
        for (size_t k = 0; k < n_byte; k++) llrti_id_sink_add(&encoder->sink, bytes[k]);
    }
    if (is_cacheable) llrti_word_cache_put(encoder->bpe.cache, word, n, symbol, n_symbol);
    return LLRT_OK;
}

static llrt_status encode_text(llrti_encoder *encoder, const char *text, size_t n, llrt_error *err)
{
    const llrt_tokenizer *const tokenizer = encoder->tokenizer;
    const bool each = tokenizer->is_splitting_each_space;
    if (!each && !tokenizer->is_splitting_spaces) return encode_word(encoder, text, n, err);
    while (n > 0) {
        size_t end = 1;
        while (end < n && (text[end] != ' ' || (!each && text[end - 1] == ' '))) end++;
        LLRTI_TRY(encode_word(encoder, text, end, err));
        text += end;
        n -= end;
    }
    return LLRT_OK;
}

const llrti_tokenizer_kind llrti_kind_spm = {"spm", encode_text};
