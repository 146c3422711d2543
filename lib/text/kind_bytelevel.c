/* SPDX-License-Identifier: MIT */
/*
 * Byte-level BPE (GPT-2 and what followed): every byte is a symbol, so any bytes
 * can be encoded and come back as they were.
 *
 * Files write the bytes of a token in an alphabet of 256 printable characters: the 188 bytes
 * that print in Latin-1 stand for themselves, the others for U+0100 and up in order. The
 * alphabet is resolved when the vocabulary is loaded; afterwards only raw bytes are handled.
 */
#include "tokenizer_impl.h"

#include <string.h>

#include "utf8.h"

static bool is_plain_byte(uint32_t c)
{
    return (c >= 0x21 && c <= 0x7e) || (c >= 0xa1 && c <= 0xac) || (c >= 0xae && c <= 0xff);
}

/* The byte a character of the alphabet stands for, -1 outside of it. */
static int alphabet_byte(uint32_t c)
{
    if (c < 0x100) return is_plain_byte(c) ? (int)c : -1;
    if (c <= 0x120) return (int)(c - 0x100);        /* 00..20 */
    if (c <= 0x142) return (int)(c - 0x121 + 0x7f); /* 7f..a0 */
    return c == 0x143 ? 0xad : -1;
}

size_t llrti_bytelevel_decode(const char *text, size_t n, char *out)
{
    size_t n_out = 0;
    for (size_t at = 0; at < n;) {
        uint32_t c;
        at += llrti_utf8_decode(text + at, n - at, &c);
        const int byte = c == LLRTI_UTF8_INVALID ? -1 : alphabet_byte(c);
        if (byte < 0) {
            memmove(out, text, n);
            return n;
        }
        out[n_out++] = (char)byte;
    }
    return n_out;
}

void llrti_bytelevel_find_bytes(llrt_tokenizer *tokenizer)
{
    for (int byte = 0; byte < 256; byte++) {
        const char text = (char)byte;
        tokenizer->vocab.byte_id[byte] = llrti_vocab_find(&tokenizer->vocab, &text, 1);
    }
}

static llrt_status encode_word(llrti_encoder *encoder, const char *word, size_t n, llrt_error *err)
{
    const llrt_tokenizer *const tokenizer = encoder->tokenizer;
    if (llrti_word_cache_get(encoder->bpe.cache, word, n, &encoder->sink)) return LLRT_OK;
    if (tokenizer->pretokenizer.is_ignoring_merges) {
        const int32_t id = llrti_vocab_find(&tokenizer->vocab, word, n);
        if (id != LLRT_TOKEN_NONE) {
            llrti_id_sink_add(&encoder->sink, id);
            llrti_word_cache_put(encoder->bpe.cache, word, n, &id, 1);
            return LLRT_OK;
        }
    }
    int32_t few[64];
    int32_t *const symbol =
        n <= LLRTI_COUNT(few) ? few : llrti_bpe_scratch_symbols(&encoder->bpe, n);
    if (!symbol) return llrti_fail_nomem(err, "a long word", n * sizeof *symbol);
    const int32_t unknown = tokenizer->special[LLRT_SPECIAL_UNK];
    size_t n_symbol = 0;
    for (size_t i = 0; i < n; i++) {
        int32_t id = tokenizer->vocab.byte_id[(uint8_t)word[i]];
        if (id == LLRT_TOKEN_NONE) id = unknown;
        if (id != LLRT_TOKEN_NONE) symbol[n_symbol++] = id;
    }
    LLRTI_TRY(llrti_bpe_merge(&tokenizer->bpe, &encoder->bpe, symbol, &n_symbol, err));
    for (size_t i = 0; i < n_symbol; i++) llrti_id_sink_add(&encoder->sink, symbol[i]);
    llrti_word_cache_put(encoder->bpe.cache, word, n, symbol, n_symbol);
    return LLRT_OK;
}

static llrt_status encode_stage(llrti_encoder *encoder, uint32_t depth, const char *text, size_t n,
                                llrt_error *err)
{
    const llrti_pretokenizer *const chain = &encoder->tokenizer->pretokenizer;
    if (depth == chain->n_stage) return encode_word(encoder, text, n, err);
    const llrti_pretokenizer_stage stage = chain->stage[depth];
    while (n > 0) {
        const size_t piece = stage.scan(text, n, stage.arg);
        LLRTI_TRY(encode_stage(encoder, depth + 1, text, piece, err));
        text += piece;
        n -= piece;
    }
    return LLRT_OK;
}

static llrt_status encode_text(llrti_encoder *encoder, const char *text, size_t n, llrt_error *err)
{
    return encode_stage(encoder, 0, text, n, err);
}

const llrti_tokenizer_kind llrti_kind_bytelevel = {"bpe", encode_text};
