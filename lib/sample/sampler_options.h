/* SPDX-License-Identifier: MIT */
/*
 * Options of a sampler: taking them over from a caller's struct of any size, and checking them.
 * Stateless; any thread.
 */
#ifndef LLRTI_SAMPLER_OPTIONS_H
#define LLRTI_SAMPLER_OPTIONS_H

#include <llrt/sampler.h>

/** Tokens that a history of "all tokens accepted" keeps. */
#define LLRTI_SAMPLER_HISTORY 65536

/**
 * Copies `from` (NULL: the defaults) over the defaults and checks every option; the error names
 * the first bad one.
 */
llrt_status llrti_sampler_options_take(uint32_t n_vocab, const llrt_sampler_options *from,
                                       llrt_sampler_options *out, llrt_error *err);

#endif
