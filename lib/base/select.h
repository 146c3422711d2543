/* SPDX-License-Identifier: MIT */
/*
 * The `select` operator on a row of logits in host memory: changes logits, takes the best
 * candidates and the logarithm of the sum of exponentials. The CPU backend and
 * the sampler both use it, so what one computes the other can continue, bit for bit.
 *
 * Every logit is first cleaned: NaN becomes -infinity, +infinity the largest float, -0 becomes 0.
 * Then, in this order: bias added, penalties, subtraction, mask; after each the result is cleaned
 * again. A token whose logit is -infinity in the end is no candidate. Order: logit descending,
 * then id ascending.
 *
 * log_sum_exp: with m the largest logit, element i is added to lane i % 16. Lanes are summed in
 * float over blocks of 1024 elements, blocks in double, lanes as a tree of halves; the result is m
 * + log(sum).
 *
 * The result is a function of the input alone. Nothing is allocated; the caller lends scratch,
 * which one call at a time may use.
 */
#ifndef LLRTI_SELECT_H
#define LLRTI_SELECT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LLRTI_SELECT_MAX 1024

/**
 * The fields are those of llrt_select and two more. All pointers borrowed; ids in [0, n_vocab).
 * A penalised logit is divided (above 0) or multiplied (else) by `repetition`, then reduced by
 * frequency * count + presence.
 */
typedef struct llrti_select_params {
    uint32_t n_best; /* 0 (only sums) to LLRTI_SELECT_MAX */
    uint32_t n_bias, n_penalty, n_subtract;
    float repetition, frequency, presence; /* 1, 0, 0 without penalties */
    bool want_log_sum_exp, want_raw_log_sum_exp;
    const int32_t *bias_token; /* (n_bias) distinct */
    const float *bias;
    const int32_t *penalty_token; /* (n_penalty) distinct */
    const uint32_t *penalty_count;
    const int32_t *subtract_token; /* (n_subtract) distinct */
    const float *subtract;
    const uint32_t *allowed; /* bit (id % 32) of word id / 32, others become -infinity; or NULL */
} llrti_select_params;

typedef struct llrti_select_result {
    uint32_t n;     /* candidates */
    int32_t *token; /* room for n_best, given by the caller */
    float *logit;
    double log_sum_exp;     /* of the changed logits; -infinity when all are; 0 when not wanted */
    double raw_log_sum_exp; /* of the cleaned logits before any change; 0 when not wanted */
} llrti_select_result;

/** Bytes of scratch for a vocabulary; 64-byte alignment is best, 8 is needed. */
size_t llrti_select_scratch_size(uint32_t n_vocab);

/** logits: (n_vocab), not changed. */
void llrti_select(const float *logits, uint32_t n_vocab, const llrti_select_params *params,
                  void *scratch, llrti_select_result *result);

/** What a logit counts as: see the top. */
float llrti_select_clean(float logit);

/**
 * The first half: writes the changed logits to the front of `scratch` and returns them, padded
 * with -infinity. The sums wanted go to `result`, whose n becomes 0.
 */
const float *llrti_select_apply(const float *logits, uint32_t n_vocab,
                                const llrti_select_params *params, void *scratch,
                                llrti_select_result *result);

/**
 * Sort keys: ascending keys are candidates in order. llrti_select_sort leaves the keys sorted in
 * `keys`; both arrays have n entries. With `is_by_id` they come in with ascending ids, which saves
 * half of the work.
 */
uint64_t llrti_select_key(float logit, uint32_t token);
float llrti_select_key_logit(uint64_t key);
static inline int32_t llrti_select_key_token(uint64_t key)
{
    return (int32_t)(uint32_t)key;
}
void llrti_select_sort(uint64_t *keys, uint64_t *other, size_t n, bool is_by_id);

#endif
