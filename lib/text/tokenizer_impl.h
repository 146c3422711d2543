/* SPDX-License-Identifier: MIT */
/*
 * The inside of llrt_tokenizer: the pipeline that encode runs text through.
 *
 *   text -> added tokens cut out -> normalizer -> added tokens matched in normalized text
 *        -> prefix space -> kind (pre-tokenizer, merging) -> ids, between prefix and suffix
 *
 * A kind is one file behind llrti_tokenizer_kind: byte-level BPE (kind_bytelevel.c) and
 * SentencePiece's BPE (kind_spm.c). tokenizer_gguf.c and tokenizer_json.c fill the struct
 * from a file, `llrti_tokenizer_finish` completes it; from then on it is constant but for the
 * reference count, and any thread may use it.
 *
 * All lasting memory is of class HOST of one llrti_mem: the tokenizer's own (`own_mem`, handles
 * of the public open functions) or that of the engine it belongs to.
 */
#ifndef LLRTI_TOKENIZER_IMPL_H
#define LLRTI_TOKENIZER_IMPL_H

#include <stdatomic.h>

#include <llrt/tokenizer.h>

#include "added_tokens.h"
#include "bpe.h"
#include "json.h"
#include "model_file.h"
#include "normalizer.h"
#include "pretokenizer.h"
#include "vocab.h"

#define LLRTI_TOKENIZER_AFFIX 8 /* ids that add-special puts in front, and behind */

/** Working memory of one encode call. */
typedef struct llrti_encoder {
    const llrt_tokenizer *tokenizer;
    llrti_bpe_scratch bpe;
    llrti_normalizer_scratch normal;
    LLRTI_VEC(char) prefixed; /* a piece with a space put in front */
    llrti_id_sink sink;
    llrt_encode_flags flags;
} llrti_encoder;

typedef struct llrti_tokenizer_kind {
    const char *name; /* "bpe", "spm" */
    /** Ids of a piece of normalized text. LLRT_OK or LLRT_ERR_NOMEM. */
    llrt_status (*encode)(llrti_encoder *encoder, const char *text, size_t n, llrt_error *err);
} llrti_tokenizer_kind;

extern const llrti_tokenizer_kind llrti_kind_bytelevel;
extern const llrti_tokenizer_kind llrti_kind_spm;

typedef enum llrti_space_prefix { /* a space in front of text that has none there */
                                  LLRTI_PREFIX_NEVER,
                                  LLRTI_PREFIX_FIRST, /* only at the very start */
                                  LLRTI_PREFIX_ALWAYS /* also after each added token */
} llrti_space_prefix;

struct llrt_tokenizer {
    llrti_mem *mem;
    llrti_mem own_mem; /* in use when mem == &own_mem */
    atomic_uint n_ref;
    void (*on_release)(void *ctx); /* after the last reference went; may be NULL */
    void *on_release_ctx;

    const llrti_tokenizer_kind *kind;
    llrti_pretokenizer pretokenizer;
    llrti_vocab vocab;
    llrti_bpe bpe;
    llrti_normalizer normalizer;
    llrti_added_tokens added;            /* matched in the text as given */
    llrti_added_tokens added_normalized; /* matched in normalized text; owns its patterns' text */
    llrti_space_prefix prefix_space;
    bool is_stripping_space;  /* decoding drops one space at the start */
    bool is_splitting_spaces; /* spm: tokens have spaces only in front, so words are cut there */
    bool is_splitting_each_space; /* spm: each space begins a word of its own (Metaspace) */
    bool is_fusing_unknown;       /* neighbouring unknown characters give one unknown token */
    bool has_byte_fallback;       /* spm: a character without token becomes byte tokens */

    int32_t special[LLRT_SPECIAL_MASK + 1];
    int32_t before[LLRTI_TOKENIZER_AFFIX], after[LLRTI_TOKENIZER_AFFIX];
    uint32_t n_before, n_after;
    char name[64]; /* what llrt_tokenizer_kind returns */
};

/**
 * Creates the tokenizer of a model for an engine.
 * @param mem  retained; outlives the tokenizer (see llrti_tokenizer_on_release)
 * @param file borrowed; a GGUF, or a folder with tokenizer.json
 * @return LLRT_OK, LLRT_ERR_NOT_FOUND (the model has no tokenizer), otherwise as
 *   llrt_tokenizer_open
 * @note The caller holds one reference. llrt_tokenizer_free on it does nothing: the engine decides.
 */
llrt_status llrti_tokenizer_create(llrti_mem *mem, const llrti_model_file *file,
                                   llrt_tokenizer **out, llrt_error *err);
void llrti_tokenizer_ref(llrt_tokenizer *tokenizer);
void llrti_tokenizer_unref(llrt_tokenizer *tokenizer); /* NULL is fine */
/** Calls fn(ctx) after the last reference (the engine's or a token stream's) went and all memory
 * was given back. */
void llrti_tokenizer_on_release(llrt_tokenizer *tokenizer, void (*fn)(void *ctx), void *ctx);

/** llrt_tokenizer_encode into a sink, with a count of elementary operations (n_op may be NULL) for
 * tests of its growth. */
llrt_status llrti_tokenizer_encode_counted(const llrt_tokenizer *tokenizer, const char *text,
                                           size_t n_text, llrt_encode_flags flags,
                                           llrti_id_sink *sink, uint64_t *n_op, llrt_error *err);

/* For the loaders. */

/** An empty tokenizer in `mem`, or in one of its own made from `hooks` when mem is NULL. */
llrt_status llrti_tokenizer_new(llrti_mem *mem, const llrt_allocator *hooks, llrt_tokenizer **out,
                                llrt_error *err);
/** Fills it from GGUF metadata, or from the text of a tokenizer.json. On failure the caller frees
 * it. */
llrt_status llrti_tokenizer_load_gguf(llrt_tokenizer *tokenizer, const llrti_model_file *file,
                                      llrt_error *err);
llrt_status llrti_tokenizer_load_json(llrt_tokenizer *tokenizer, const char *text, size_t n,
                                      llrt_error *err);
/** What the other files of a Hugging Face folder say: special tokens, ends of generation,
 * vocabulary size. */
llrt_status llrti_tokenizer_load_config(llrt_tokenizer *tokenizer, const llrti_json *config,
                                        const llrti_json *generation,
                                        const llrti_json *tokenizer_config, llrt_error *err);
/** Ends of generation by well-known names, special ids that nothing named, the kind's name. */
void llrti_tokenizer_finish(llrt_tokenizer *tokenizer);
/** Token whose text is `name` among the added tokens, or LLRT_TOKEN_NONE. */
int32_t llrti_tokenizer_find_added(const llrt_tokenizer *tokenizer, const char *name, size_t n);

/* For decoding. */

/** Text that decoding writes for a valid id: *n bytes, 0 for a control token that is left out. */
const char *llrti_tokenizer_piece(const llrt_tokenizer *tokenizer, int32_t token,
                                  llrt_decode_flags flags, size_t *n);
llrt_status llrti_tokenizer_check_flags(llrt_decode_flags flags, llrt_error *err);
/** LLRT_ERR_ARGUMENT with the position when the id is outside the vocabulary. */
llrt_status llrti_tokenizer_check_id(const llrt_tokenizer *tokenizer, int32_t token,
                                     int64_t position, llrt_error *err);

/* The pipeline parts of a tokenizer.json (tokenizer_pipeline.c). */

/** Reads normalizer, pre_tokenizer and decoder; decides the kind. Before the vocabulary. */
llrt_status llrti_tokenizer_read_pipeline(llrt_tokenizer *tokenizer, const llrti_json *root,
                                          llrt_error *err);
/** Reads post_processor. After the vocabulary. */
llrt_status llrti_tokenizer_read_post(llrt_tokenizer *tokenizer, const llrti_json *root,
                                      llrt_error *err);

/* Byte-level vocabularies (kind_bytelevel.c). */

/** Resolves GPT-2's byte alphabet into out (room n). Text with a character outside the alphabet is
 * copied as it is. */
size_t llrti_bytelevel_decode(const char *text, size_t n, char *out);
/** Fills vocab.byte_id once the vocabulary is indexed. */
void llrti_bytelevel_find_bytes(llrt_tokenizer *tokenizer);

/* SentencePiece vocabularies (kind_spm.c). */

/** The byte of a token named "<0x0A>", or -1. */
int llrti_spm_byte(const char *text, size_t n);
/** Builds the pair table from the scores: every cut of a token into two tokens. */
llrt_status llrti_spm_build_pairs(llrt_tokenizer *tokenizer, llrt_error *err);
/** Finds out whether words may be cut at spaces. After the pair table. */
void llrti_spm_examine(llrt_tokenizer *tokenizer);

#endif
