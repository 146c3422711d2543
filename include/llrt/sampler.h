/* SPDX-License-Identifier: MIT */
/*
 * llrt_sampler: turns the logits of one position into the next token.
 * One thread at a time. The token is a function of logits, options, seed and the
 * tokens accepted so far, and of nothing else: the generator, exp and log are
 * llrt's own, so every platform draws the same token from the same logits.
 *
 * The stages run in this order; a stage whose option has its neutral value is skipped.
 *
 *   1. logit_bias                 added to the logits
 *   2. repetition, frequency and presence penalty over the last penalty_last_n tokens
 *   3. DRY                        penalises tokens that would continue a repetition
 *   4. custom stage (callback)    may change, reorder or drop candidates
 *   5. top_n_sigma                keeps logits within n standard deviations of the best
 *   6. top_k                      keeps the k best
 *   7. typical_p                  keeps the locally typical set
 *   8. top_p                      keeps the smallest set of that much probability
 *   9. min_p                      keeps tokens with at least that part of the best's probability
 *  10. XTC                        sometimes drops all but the least likely of the top choices
 *  11. temperature                divides the logits; 0 takes the best token, lowest id first
 *  12. the draw; with mirostat 2 its truncation and draw replace stages 5 to 10
 *
 * Candidates are ordered by logit, descending, equal logits by ascending id. A NaN logit counts as
 * -infinity, +infinity as the largest float. A token whose logit is -infinity is no candidate. Each
 * stage reckons with the probabilities of the candidates it is given, at temperature 1 and scaled
 * to a sum of 1. XTC takes one number from the generator per token and the draw another; greedy
 * choice draws none.
 *
 * A sampler takes about 4 bytes per token of the vocabulary and 100 KiB more; 28 bytes per token
 * when its options can need all candidates in order (no top_k, or one above 1024, a custom stage,
 * top_n_sigma, mirostat). Penalties or DRY over all tokens accepted take up to 2 MiB for their
 * history.
 */
#ifndef LLRT_SAMPLER_H
#define LLRT_SAMPLER_H

#include "status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct llrt_sampler llrt_sampler;

typedef struct llrt_logit_bias {
    int32_t token;
    float bias; /**< added to the logit; -INFINITY forbids the token */
} llrt_logit_bias;

typedef struct llrt_candidate {
    int32_t token;
    float logit;
} llrt_candidate;

/**
 * A stage of the caller's own. Works in place on `n` candidates in order and returns how many
 * are left at the front, at least 1; anything else keeps all. Called on the thread of the sampling
 * call. What it leaves is put in order again, without NaN and -infinity and ids that don't exist.
 * Its ids must be distinct.
 */
typedef size_t (*llrt_sampler_stage)(void *ctx, llrt_candidate *candidates, size_t n);

typedef struct llrt_sampler_options {
    uint32_t struct_size;
    uint32_t mirostat;          /**< 0 off, 2 version 2 */
    uint64_t seed;              /**< default 0 */
    float temperature;          /**< default 0.8; 0: greedy */
    int32_t top_k;              /**< default 40; 0 off */
    float top_p;                /**< default 0.95; 1 off */
    float min_p;                /**< default 0.05; 0 off */
    float typical_p;            /**< default 1: off */
    float top_n_sigma;          /**< default -1: off, as is 0 */
    float xtc_probability;      /**< default 0: off */
    float xtc_threshold;        /**< default 0.1; above 0.5 no two tokens can reach it: off */
    float repetition_penalty;   /**< default 1: off */
    float frequency_penalty;    /**< default 0: off */
    float presence_penalty;     /**< default 0: off */
    int32_t penalty_last_n;     /**< default 64; 0 off, -1 all tokens accepted, up to 65536 */
    float dry_multiplier;       /**< default 0: off */
    float dry_base;             /**< default 1.75 */
    int32_t dry_allowed_length; /**< default 2 */
    int32_t dry_last_n;         /**< default -1: all tokens accepted, up to 65536; 0 off */
    float mirostat_tau;         /**< default 5, the target surprise in bits */
    float mirostat_eta;         /**< default 0.1 */
    /**
     * default 0; up to 1024: log-probabilities of the best tokens to keep, see
     * llrt_sampler_logprobs
     */
    uint32_t n_logprobs;
    uint32_t n_min_keep;               /**< default 1: truncating stages leave at least this many */
    const llrt_logit_bias *logit_bias; /**< copied */
    uint32_t n_logit_bias;
    uint32_t n_dry_breaker;          /**< tokens at which DRY stops looking back */
    const int32_t *dry_breaker;      /**< copied */
    llrt_sampler_stage stage;        /**< default NULL */
    void *stage_ctx;                 /**< retained */
    const llrt_allocator *allocator; /**< copied; NULL: the default */
} llrt_sampler_options;

/**
 * log-probabilities are those of the logits the model gave (natural logarithm), before any stage.
 */
typedef struct llrt_logprob {
    int32_t token;
    float logprob;
} llrt_logprob;

LLRT_API void llrt_sampler_options_init(llrt_sampler_options *options, size_t struct_size);

/**
 * Creates a sampler for logits of `n_vocab` tokens. Allocates all it will ever need, so that
 * sampling allocates nothing.
 * @return LLRT_OK; LLRT_ERR_ARGUMENT (the error's field names the option, the text its range);
 *     LLRT_ERR_NOMEM
 */
LLRT_API llrt_status llrt_sampler_create(uint32_t n_vocab, const llrt_sampler_options *options,
                                         llrt_sampler **out, llrt_error *err);

/** A copy with the same options, history and generator state. */
LLRT_API llrt_status llrt_sampler_clone(const llrt_sampler *sampler, llrt_sampler **out,
                                        llrt_error *err);

/**
 * Chooses a token from `n_vocab` logits (float32, borrowed, not changed) and accepts it.
 * @return LLRT_OK; LLRT_ERR_ARGUMENT (all logits are -infinity or NaN); LLRT_ERR_BUSY
 */
LLRT_API llrt_status llrt_sampler_sample(llrt_sampler *sampler, const float *logits, int32_t *token,
                                         llrt_error *err);

/**
 * Tells the sampler of a token that came from elsewhere (the prompt, a forced token), for the
 * penalties.
 */
LLRT_API llrt_status llrt_sampler_accept(llrt_sampler *sampler, int32_t token, llrt_error *err);

/**
 * Log-probabilities of the last sampled position: the chosen token first, then the best ones in
 * order.
 * @param n out: 1 + n_logprobs at most, 0 before the first sample or when n_logprobs is 0
 */
LLRT_API const llrt_logprob *llrt_sampler_logprobs(const llrt_sampler *sampler, size_t *n);

/**
 * The probability distribution the draw would be made from: runs the stages on `logits` without
 * drawing, accepting or moving the generator (a stage that draws itself, XTC, uses the next number
 * without consuming it).
 * @param candidates room for n_vocab entries; out: token and probability (in `logit`), in order
 */
LLRT_API llrt_status llrt_sampler_distribution(llrt_sampler *sampler, const float *logits,
                                               llrt_candidate *candidates, size_t *n,
                                               llrt_error *err);

/**
 * Forgets the history and starts the generator again from the seed. Does nothing while another
 * thread is in a call.
 */
LLRT_API void llrt_sampler_reset(llrt_sampler *sampler);

/** Starts the generator from another seed, keeping the history; reset then returns to this seed. */
LLRT_API void llrt_sampler_set_seed(llrt_sampler *sampler, uint64_t seed);

LLRT_API uint32_t llrt_sampler_n_vocab(const llrt_sampler *sampler);

LLRT_API void llrt_sampler_free(llrt_sampler *sampler); /* NULL is fine */

#ifdef __cplusplus
}
#endif
#endif
