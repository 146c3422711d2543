/* SPDX-License-Identifier: MIT */
/*
 * Incremental decoding. The stream keeps the bytes (at most three) that begin a character which
 * later tokens may complete; everything else goes out at once, malformed bytes as U+FFFD, one for
 * each maximal part of a character. The output buffer is made at creation for the longest
 * token, so a push allocates nothing. One thread at a time; holds a reference to its tokenizer.
 */
#include "tokenizer_impl.h"

#include <string.h>

#include "error.h"
#include "utf8.h"

struct llrt_token_stream {
    llrt_tokenizer *tokenizer;
    llrt_decode_flags flags;
    bool is_start;   /* no byte has been written since creation or the last flush */
    uint32_t n_kept; /* at most 3 */
    size_t n_in;     /* room of `in`; `out` has three times that */
    char *in, *out;  /* behind the struct */
};

llrt_status llrt_token_stream_create(llrt_tokenizer *tokenizer, llrt_decode_flags flags,
                                     llrt_token_stream **out, llrt_error *err)
{
    if (!out) return llrti_fail(err, LLRT_ERR_ARGUMENT, "found a NULL pointer for out");
    *out = NULL;
    if (!tokenizer) return llrti_fail(err, LLRT_ERR_ARGUMENT, "found a NULL tokenizer");
    LLRTI_TRY(llrti_tokenizer_check_flags(flags, err));
    /* The longest token after kept bytes, and each of its bytes as a three-byte U+FFFD. */
    const size_t n_in = (size_t)tokenizer->vocab.n_text_max + 4;
    size_t size;
    if (!llrti_mul_size(n_in, 4, &size) || !llrti_add_size(size, sizeof **out, &size))
        return llrti_fail_nomem(err, "a token stream", SIZE_MAX);
    llrt_token_stream *const stream = llrti_alloc(tokenizer->mem, size, LLRT_MEMORY_HOST);
    if (!stream) return llrti_fail_nomem(err, "a token stream", size);
    memset(stream, 0, sizeof *stream);
    stream->tokenizer = tokenizer;
    stream->flags = flags;
    stream->is_start = tokenizer->is_stripping_space && !(flags & LLRT_DECODE_CONTINUE);
    stream->n_in = n_in;
    stream->in = (char *)(stream + 1);
    stream->out = stream->in + n_in;
    llrti_tokenizer_ref(tokenizer);
    *out = stream;
    return LLRT_OK;
}

/* Writes in[0..n) to out as valid UTF-8; returns the bytes written. */
static size_t write_valid(llrt_token_stream *stream, size_t n)
{
    const char *const in = stream->in;
    size_t n_out = 0;
    for (size_t at = 0; at < n;) {
        const size_t valid = llrti_utf8_valid_prefix(in + at, n - at);
        memcpy(stream->out + n_out, in + at, valid);
        n_out += valid;
        at += valid;
        if (at == n) break;
        uint32_t code_point;
        at += llrti_utf8_decode(in + at, n - at, &code_point);
        n_out += llrti_utf8_encode(LLRTI_UTF8_REPLACEMENT, stream->out + n_out);
    }
    return n_out;
}

llrt_status llrt_token_stream_push(llrt_token_stream *stream, int32_t token, const char **text,
                                   size_t *n_text, llrt_error *err)
{
    if (!stream || !text || !n_text)
        return llrti_fail(err, LLRT_ERR_ARGUMENT, "found a NULL pointer");
    *text = stream->out;
    *n_text = 0;
    LLRTI_TRY(llrti_tokenizer_check_id(stream->tokenizer, token, -1, err));
    size_t n;
    const char *piece = llrti_tokenizer_piece(stream->tokenizer, token, stream->flags, &n);
    if (n == 0) return LLRT_OK;
    if (stream->is_start) {
        stream->is_start = false;
        if (piece[0] == ' ') {
            piece++;
            n--;
        }
    }
    memcpy(stream->in + stream->n_kept, piece, n);
    n += stream->n_kept;
    const size_t kept = n ? llrti_utf8_incomplete_tail(stream->in, n) : 0;
    *n_text = write_valid(stream, n - kept);
    memmove(stream->in, stream->in + n - kept, kept);
    stream->n_kept = (uint32_t)kept;
    return LLRT_OK;
}

llrt_status llrt_token_stream_flush(llrt_token_stream *stream, const char **text, size_t *n_text,
                                    llrt_error *err)
{
    if (!stream || !text || !n_text)
        return llrti_fail(err, LLRT_ERR_ARGUMENT, "found a NULL pointer");
    *text = stream->out;
    *n_text = write_valid(stream, stream->n_kept);
    stream->n_kept = 0;
    stream->is_start =
        stream->tokenizer->is_stripping_space && !(stream->flags & LLRT_DECODE_CONTINUE);
    return LLRT_OK;
}

void llrt_token_stream_free(llrt_token_stream *stream)
{
    if (!stream) return;
    llrt_tokenizer *const tokenizer = stream->tokenizer;
    llrti_free(tokenizer->mem, stream);
    llrti_tokenizer_unref(tokenizer);
}
