/* SPDX-License-Identifier: MIT */
/*
 * llrt_tokenizer: bytes to token ids and back. Immutable after opening, so any
 * number of threads may use one handle at once; usable without an engine. Text
 * is pointer and length, never assumed to be valid UTF-8 or NUL-terminated.
 *
 * llrt_token_stream decodes token by token and never gives out half a character.
 */
#ifndef LLRT_TOKENIZER_H
#define LLRT_TOKENIZER_H

#include "source.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct llrt_tokenizer llrt_tokenizer;
typedef struct llrt_token_stream llrt_token_stream;

#define LLRT_TOKEN_NONE (-1)

typedef int32_t llrt_token_type;
enum {
    LLRT_TOKEN_NORMAL = 1,
    LLRT_TOKEN_UNKNOWN = 2,
    LLRT_TOKEN_CONTROL = 3,      /**< has a meaning, no text: bos, eos, <|im_start|> ... */
    LLRT_TOKEN_USER_DEFINED = 4, /**< always matched whole */
    LLRT_TOKEN_UNUSED = 5,
    LLRT_TOKEN_BYTE = 6 /**< stands for one byte */
};

typedef int32_t llrt_special;
enum {
    LLRT_SPECIAL_BOS = 0, /**< beginning of a sequence */
    LLRT_SPECIAL_EOS = 1, /**< end of a sequence */
    LLRT_SPECIAL_EOT = 2, /**< end of a turn in a chat */
    LLRT_SPECIAL_UNK = 3,
    LLRT_SPECIAL_SEP = 4,
    LLRT_SPECIAL_PAD = 5,
    LLRT_SPECIAL_CLS = 6,
    LLRT_SPECIAL_MASK = 7
};

typedef uint32_t llrt_encode_flags;
enum {
    LLRT_ENCODE_ADD_SPECIAL = 1, /**< add bos/eos as the model was trained with */
    /** text such as "<|im_start|>" becomes the control token; for trusted text only */
    LLRT_ENCODE_PARSE_SPECIAL = 2
};

typedef uint32_t llrt_decode_flags;
enum {
    LLRT_DECODE_SPECIAL = 1, /**< write control tokens as their text instead of leaving them out */
    /** the ids go on from earlier text: a SentencePiece space at the start stays */
    LLRT_DECODE_CONTINUE = 2
};

typedef struct llrt_tokenizer_options {
    uint32_t struct_size;
    uint32_t reserved;               /**< 0 */
    const llrt_allocator *allocator; /**< copied; NULL: the default */
    const llrt_logger *logger;       /**< copied; NULL: silent */
    const llrt_source *source;       /**< borrowed during the call; NULL: the file system */
} llrt_tokenizer_options;

/**
 * One token. `text` points into the tokenizer and lives as long as it; it holds raw bytes, `n_text`
 * of them.
 */
typedef struct llrt_token_info {
    uint32_t struct_size;
    llrt_token_type type;
    float score;     /**< merge priority or log probability, 0 where the kind has none */
    uint32_t is_end; /**< 1 when generation ends with this token (eos, eot ...) */
    /** as in the vocabulary: the bytes that decoding writes, or a control token's name */
    const char *text;
    size_t n_text;
} llrt_token_info;

/** Fills the defaults for a struct of the caller's size. */
LLRT_API void llrt_tokenizer_options_init(llrt_tokenizer_options *options, size_t struct_size);

/**
 * Opens a tokenizer: a .gguf file (also one without tensors), a tokenizer.json, or
 * a Hugging Face folder that has one.
 * @param path    name on the file system or in options->source
 * @param options borrowed, NULL: defaults
 * @param out     NULL on failure
 * @return LLRT_OK, LLRT_ERR_NOT_FOUND, LLRT_ERR_IO, LLRT_ERR_FORMAT (malformed; the error names the
 *     field), LLRT_ERR_UNSUPPORTED (a tokenizer kind this build does not have, named),
 *     LLRT_ERR_ARGUMENT, LLRT_ERR_NOMEM
 */
LLRT_API llrt_status llrt_tokenizer_open(const char *path, const llrt_tokenizer_options *options,
                                         llrt_tokenizer **out, llrt_error *err);

/** The same from the bytes of one GGUF or tokenizer.json file, borrowed during the call. */
LLRT_API llrt_status llrt_tokenizer_open_memory(const void *data, size_t size,
                                                const llrt_tokenizer_options *options,
                                                llrt_tokenizer **out, llrt_error *err);

/**
 * Text to token ids.
 * @param tokens  room for `capacity` ids, may be NULL when capacity is 0
 * @param n_token out: the number of ids the text has, also when they did not fit
 * @return LLRT_OK; LLRT_ERR_BUFFER (nothing useful written: call again with *n_token);
 *     LLRT_ERR_NOMEM; LLRT_ERR_ARGUMENT (more than 2^30 bytes)
 * @note n_text + 16 ids are enough unless the tokenizer normalizes to a form that is longer than
 *     the text.
 */
LLRT_API llrt_status llrt_tokenizer_encode(const llrt_tokenizer *tokenizer, const char *text,
                                           size_t n_text, llrt_encode_flags flags, int32_t *tokens,
                                           size_t capacity, size_t *n_token, llrt_error *err);

/**
 * Token ids to text: exactly the bytes, which need not be valid UTF-8 when the ids end within a
 * character. No NUL is added. Where encoding puts a space in front of a text (SentencePiece),
 * decoding drops it again.
 * @param n_text out: the number of bytes, also when they did not fit
 * @return LLRT_OK; LLRT_ERR_BUFFER; LLRT_ERR_ARGUMENT (an id outside the vocabulary; the error's
 *     position is its index)
 */
LLRT_API llrt_status llrt_tokenizer_decode(const llrt_tokenizer *tokenizer, const int32_t *tokens,
                                           size_t n_token, llrt_decode_flags flags, char *text,
                                           size_t capacity, size_t *n_text, llrt_error *err);

/** Number of ids, 0 up to this number minus one. */
LLRT_API uint32_t llrt_tokenizer_n_vocab(const llrt_tokenizer *tokenizer);

/** The id of a special token, LLRT_TOKEN_NONE when the model has none. */
LLRT_API int32_t llrt_tokenizer_special(const llrt_tokenizer *tokenizer, llrt_special which);

/** The id whose vocabulary text is exactly these bytes, or LLRT_TOKEN_NONE. */
LLRT_API int32_t llrt_tokenizer_find(const llrt_tokenizer *tokenizer, const char *text,
                                     size_t n_text);

/**
 * Describes one token; set info->struct_size first. LLRT_ERR_ARGUMENT for an id outside the
 * vocabulary.
 */
LLRT_API llrt_status llrt_tokenizer_token_info(const llrt_tokenizer *tokenizer, int32_t token,
                                               llrt_token_info *info, llrt_error *err);

/** 1 when generation ends with this token. */
LLRT_API int llrt_tokenizer_is_end(const llrt_tokenizer *tokenizer, int32_t token);

/**
 * Kind and pre-tokenizer in words, such as "bpe llama-bpe" or "spm"; lives as long as the
 * tokenizer.
 */
LLRT_API const char *llrt_tokenizer_kind(const llrt_tokenizer *tokenizer);

/**
 * Ends the caller's use of the handle. NULL is fine. An engine's own tokenizer lives until the
 * engine goes.
 */
LLRT_API void llrt_tokenizer_free(llrt_tokenizer *tokenizer);

/**
 * Starts an incremental decoder, which keeps the tokenizer alive. One thread at a time.
 * @return LLRT_OK, LLRT_ERR_NOMEM
 */
LLRT_API llrt_status llrt_token_stream_create(llrt_tokenizer *tokenizer, llrt_decode_flags flags,
                                              llrt_token_stream **out, llrt_error *err);

/**
 * Adds a token and gives out the text that is now certain: whole UTF-8 characters only, the rest is
 * kept back. A byte sequence that can't become valid any more comes out as U+FFFD. Concatenated,
 * the pieces and the flush equal llrt_tokenizer_decode of all tokens where that is valid UTF-8.
 * @param text   out: points into the stream, valid until its next call; not NUL-terminated
 * @param n_text out: bytes, may be 0
 * @return LLRT_OK, LLRT_ERR_ARGUMENT (not in the vocabulary; nothing changed), LLRT_ERR_NOMEM
 */
LLRT_API llrt_status llrt_token_stream_push(llrt_token_stream *stream, int32_t token,
                                            const char **text, size_t *n_text, llrt_error *err);

/**
 * Gives out what was kept back (as U+FFFD where it is no whole character) and resets the stream.
 */
LLRT_API llrt_status llrt_token_stream_flush(llrt_token_stream *stream, const char **text,
                                             size_t *n_text, llrt_error *err);

LLRT_API void llrt_token_stream_free(llrt_token_stream *stream);

#ifdef __cplusplus
}
#endif
#endif
