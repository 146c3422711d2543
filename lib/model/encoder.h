/* SPDX-License-Identifier: MIT */
/*
 * What encoders have beyond the common decoder: an end without logits, and the head of a
 * cross-encoder, a score made from the hidden state of the first token.
 */
#ifndef LLRTI_ENCODER_H
#define LLRTI_ENCODER_H

#include "decoder.h"

/** score = out( norm( act( dense(hidden) ) ) ); parts that the file lacks are left out. */
typedef struct llrti_score_head {
    llrti_name dense, norm, out;
    llrt_activation act;
    llrti_bias dense_bias;
} llrti_score_head;

/**
 * The file has a head that scores texts: config.json names a model for sequence classification; of
 * a GGUF the tensors are looked for.
 */
bool llrti_encoder_has_score(llrti_builder *b, const llrti_score_head *head);

/**
 * Ends the program: x, gathered and normalised when `norm`, are the hidden states; a score if the
 * file has a head for it.
 */
void llrti_encoder_finish(llrti_builder *b, const llrti_decoder *d, uint32_t x, bool norm,
                          const llrti_score_head *head);

#endif
