/* SPDX-License-Identifier: MIT */
/*
 * The sampler as the engine's step uses it, so that `select` can run where the logits are:
 *
 *     llrti_sampler_begin            LLRT_ERR_BUSY when another thread has it
 *     llrti_sampler_prepare          what to change and how many candidates to take
 *     (select on the backend)        skipped when llrti_sampler_needs_logits
 *     llrti_sampler_finish           true: the token
 *     llrti_sampler_sample_full      otherwise, with the row of logits
 *     llrti_sampler_end
 *
 * llrt_sampler_sample does just that on the CPU. The token, the generator afterwards and the
 * log-probabilities are the same whichever of the two functions gives them (test_sampler.c
 * compares them bit for bit). Between begin and end the sampler belongs to the caller, on any one
 * thread at a time; a custom stage is called in finish or sample_full.
 */
#ifndef LLRTI_SAMPLER_IMPL_H
#define LLRTI_SAMPLER_IMPL_H

#include <llrt/sampler.h>

#include "rng.h"
#include "select.h"

llrt_status llrti_sampler_begin(const llrt_sampler *sampler, llrt_error *err);
void llrti_sampler_end(const llrt_sampler *sampler);

/**
 * The selection to make. The lists in *params point into the sampler and stay valid until it
 * accepts a token. The caller adds a mask if it has one (then the same one for sample_full).
 */
void llrti_sampler_prepare(llrt_sampler *sampler, llrti_select_params *params);

/** After prepare: no selection can be sufficient, go to sample_full at once. */
bool llrti_sampler_needs_logits(const llrt_sampler *sampler);

/**
 * Chooses from the result of the prepared selection and accepts the token. False, with nothing
 * changed, when the candidates are not sufficient or there are none.
 */
bool llrti_sampler_finish(llrt_sampler *sampler, const llrti_select_result *result, int32_t *token);

/**
 * Chooses from the logits (n_vocab, unchanged) and accepts the token.
 * @param allowed bit mask of select, or NULL
 * @return LLRT_OK; LLRT_ERR_ARGUMENT when no token is left: all logits are -infinity or NaN, or
 * forbidden
 */
llrt_status llrti_sampler_sample_full(llrt_sampler *sampler, const float *logits,
                                      const uint32_t *allowed, int32_t *token, llrt_error *err);

/** llrt_sampler_create that always takes the memory for sorting all logits. */
llrt_status llrti_sampler_create_full(uint32_t n_vocab, const llrt_sampler_options *options,
                                      llrt_sampler **out, llrt_error *err);
/**
 * As sample_full, but always by sorting all logits: what the tests compare with. Needs
 * llrti_sampler_create_full.
 */
llrt_status llrti_sampler_sample_sorted(llrt_sampler *sampler, const float *logits,
                                        const uint32_t *allowed, int32_t *token, llrt_error *err);

/** The generator and mirostat's mu, for tests and session files. */
llrti_rng llrti_sampler_rng(const llrt_sampler *sampler);
double llrti_sampler_mu(const llrt_sampler *sampler);

#endif
