/* SPDX-License-Identifier: MIT */
/*
 * Embeddings: one vector for a text, from the hidden states of its tokens; and scores of
 * cross-encoders. For models made for it (BERT, ModernBERT, XLM-RoBERTa ...) and for generation
 * models, whose hidden states after the last norm are taken.
 *
 * Models that read a text in both directions compute it in one step: the engine's n_step_tok is the
 * longest text. Others take longer ones in several steps; how they are cut changes no bit.
 */
#ifndef LLRT_EMBEDDING_H
#define LLRT_EMBEDDING_H

#include "session.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct llrt_embedding_options {
    uint32_t struct_size;
    llrt_pooling pooling;   /**< default LLRT_POOLING_DEFAULT: what the model was made for */
    uint32_t is_normalized; /**< 1 (default): the vector is divided by its length */
    /**
     * only the first n_dim elements, for models trained for that; default 0: all. It is cut before
     * it is normalised
     */
    uint32_t n_dim;
    /** (n_tok) for models that know several (the two texts of a pair), borrowed; default NULL: 0 */
    const uint8_t *token_types;
} llrt_embedding_options;

LLRT_API void llrt_embedding_options_init(llrt_embedding_options *options, size_t struct_size);

/**
 * The embedding of a text. The session is emptied first and holds the text's tokens afterwards.
 * @param tokens  (n_tok) borrowed, with the special tokens the model wants
 * @param options borrowed, NULL: defaults
 * @param out     (n) the first n_dim (or all d_model) elements are filled
 * @return LLRT_OK
 *   LLRT_ERR_UNSUPPORTED: the model has no hidden states
 *   LLRT_ERR_BUFFER: n is too small; the text names the size
 *   LLRT_ERR_ARGUMENT: an option out of range, no tokens, a token outside the vocabulary, or a text
 *     that does not fit into a step of a model that needs it to (field n_step_tok)
 *   LLRT_ERR_CONTEXT_FULL, LLRT_ERR_POOL_FULL, LLRT_ERR_CANCELLED, LLRT_ERR_BUSY, LLRT_ERR_NOMEM,
 *   LLRT_ERR_DEVICE, LLRT_ERR_FORKED
 */
LLRT_API llrt_status llrt_session_embed(llrt_session *session, const int32_t *tokens, size_t n_tok,
                                        const llrt_embedding_options *options, float *out, size_t n,
                                        llrt_error *err);

/**
 * Scores of a text by a model with a head for classification: one per label, as the head gives
 * them. Like llrt_session_embed otherwise; of the options only token_types counts.
 * @param out (n) the first n_label (of llrt_model_info) elements are filled
 * @return as llrt_session_embed; LLRT_ERR_UNSUPPORTED when the model gives no scores
 */
LLRT_API llrt_status llrt_session_score(llrt_session *session, const int32_t *tokens, size_t n_tok,
                                        const llrt_embedding_options *options, float *out, size_t n,
                                        llrt_error *err);

#ifdef __cplusplus
}
#endif
#endif
