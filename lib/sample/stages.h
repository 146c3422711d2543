/* SPDX-License-Identifier: MIT */
/*
 * The stages of a sampler that work on ordered candidates: top-n-sigma, top-k, typical, top-p,
 * min-p, XTC, temperature, mirostat and the draw.
 *
 * They may be given only the front of the candidates (`is_complete` false). A stage then does what
 * it can: it either cuts within the front, which makes the set complete, or leaves it. If in the
 * end the outcome depends on candidates that are not there, the run says so and has changed
 * neither generator nor mu. All sums are taken in order of the candidates, in double, of float
 * weights exp(logit - best logit), so a run over the front and one over all candidates give the
 * same bits. One thread at a time per set.
 */
#ifndef LLRTI_STAGES_H
#define LLRTI_STAGES_H

#include <stdbool.h>

#include <llrt/sampler.h>

#include "rng.h"

typedef struct llrti_candidates {
    llrt_candidate *at; /* in order */
    uint32_t n;
    bool is_complete; /* there are no others */
    bool is_total_known;
    double total;      /* sum of exp(logit - at[0].logit) over the whole set, when known */
    uint64_t *keys[2]; /* scratch for n keys each */
} llrti_candidates;

typedef struct llrti_stage_state {
    const llrt_sampler_options *options; /* validated */
    llrti_rng rng;
    double mu; /* of mirostat: the largest surprise in bits */
} llrti_stage_state;

/** The best token is all there is to know: temperature 0 and no stage that could drop it. */
bool llrti_stages_is_greedy(const llrt_sampler_options *options);
/**
 * The stages look at no more than this many candidates, whatever the logits; UINT32_MAX: can't
 * be said.
 */
uint32_t llrti_stages_reach(const llrt_sampler_options *options);
/** A front of some candidates may be sufficient, depending on the logits. */
bool llrti_stages_may_use_front(const llrt_sampler_options *options);
/** top-p will want the sum over all candidates. */
bool llrti_stages_want_total(const llrt_sampler_options *options);

/** Calls the custom stage on a complete set, cleans what it left and puts it in order. */
void llrti_stages_custom(const llrt_sampler_options *options, uint32_t n_vocab,
                         llrti_candidates *set);

/**
 * Runs the stages from top-n-sigma to XTC (or mirostat's truncation) on a set with n > 0. XTC
 * takes its number from state->rng. False when the set is not sufficient.
 */
bool llrti_stages_truncate(llrti_stage_state *state, llrti_candidates *set);

/** Draws from what llrti_stages_truncate left, updates mu; the index of the candidate. */
uint32_t llrti_stages_draw(llrti_stage_state *state, llrti_candidates *set);

/**
 * Replaces the logits by the probabilities that the draw would use; with temperature 0 only the
 * best stays.
 */
void llrti_stages_probabilities(const llrti_stage_state *state, llrti_candidates *set);

#endif
