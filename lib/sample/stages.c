/* SPDX-License-Identifier: MIT */
/*
 * See stages.h. Each stage is one function that shortens the set. Weights are recomputed where they
 * are needed instead of stored: most sets have a few dozen candidates.
 */
#include "stages.h"

#include <float.h>

#include "mathf.h"
#include "select.h"

/* Below the smallest normal number a quotient may depend on the host's flush-to-zero mode. */
static bool is_zero_temperature(const llrt_sampler_options *o)
{
    return o->temperature < FLT_MIN;
}

static bool is_xtc_on(const llrt_sampler_options *o)
{
    /* Two tokens can't both have more than half of the probability. */
    return o->xtc_probability > 0.0f && o->xtc_threshold <= 0.5f && o->mirostat == 0;
}

static bool is_typical_on(const llrt_sampler_options *o)
{
    return o->typical_p < 1.0f && o->mirostat == 0;
}

static uint32_t min_keep(const llrt_sampler_options *o)
{
    return o->n_min_keep ? o->n_min_keep : 1;
}

static uint32_t top_k_limit(const llrt_sampler_options *o)
{
    if (o->top_k <= 0 || o->mirostat) return UINT32_MAX;
    return (uint32_t)o->top_k > min_keep(o) ? (uint32_t)o->top_k : min_keep(o);
}

bool llrti_stages_is_greedy(const llrt_sampler_options *o)
{
    return is_zero_temperature(o) && !is_typical_on(o) && !is_xtc_on(o) && !o->stage;
}

uint32_t llrti_stages_reach(const llrt_sampler_options *o)
{
    if (llrti_stages_is_greedy(o)) return 1;
    if (o->stage || o->mirostat || o->top_n_sigma > 0.0f) return UINT32_MAX;
    return top_k_limit(o);
}

bool llrti_stages_may_use_front(const llrt_sampler_options *o)
{
    if (llrti_stages_is_greedy(o)) return true;
    if (o->stage || o->mirostat || o->top_n_sigma > 0.0f) return false;
    if (top_k_limit(o) != UINT32_MAX) return true;
    return !is_typical_on(o) && (o->top_p < 1.0f || o->min_p > 0.0f);
}

bool llrti_stages_want_total(const llrt_sampler_options *o)
{
    return o->top_p < 1.0f && llrti_stages_reach(o) == UINT32_MAX && !o->stage && !o->mirostat &&
           !(o->top_n_sigma > 0.0f) && !is_typical_on(o);
}

static float weight_of(const llrti_candidates *set, uint32_t i)
{
    return llrti_expf(set->at[i].logit - set->at[0].logit);
}

static double sum_weights(const llrti_candidates *set, uint32_t n)
{
    double sum = 0.0;
    for (uint32_t i = 0; i < n; i++) sum += (double)weight_of(set, i);
    return sum;
}

static double find_total(llrti_candidates *set)
{
    if (!set->is_total_known) set->total = sum_weights(set, set->n);
    set->is_total_known = true;
    return set->total;
}

/* The first n candidates are the whole set from now on. */
static void keep_first(llrti_candidates *set, uint32_t n)
{
    set->n = n;
    set->is_complete = true;
    set->is_total_known = false;
}

/* Puts candidates in order and drops those that are none. */
static void sort_candidates(uint32_t n_vocab, llrti_candidates *set)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < set->n; i++) {
        const float logit = llrti_select_clean(set->at[i].logit);
        const int32_t token = set->at[i].token;
        if (logit == -LLRTI_INFINITY_F || token < 0 || (uint32_t)token >= n_vocab) continue;
        set->keys[0][n++] = llrti_select_key(logit, (uint32_t)token);
    }
    llrti_select_sort(set->keys[0], set->keys[1], n, false);
    for (uint32_t i = 0; i < n; i++) {
        set->at[i].token = llrti_select_key_token(set->keys[0][i]);
        set->at[i].logit = llrti_select_key_logit(set->keys[0][i]);
    }
    keep_first(set, n);
}

void llrti_stages_custom(const llrt_sampler_options *o, uint32_t n_vocab, llrti_candidates *set)
{
    const size_t left = o->stage(o->stage_ctx, set->at, set->n);
    if (left >= 1 && left < set->n) set->n = (uint32_t)left;
    sort_candidates(n_vocab, set);
}

/* Keeps logits within top_n_sigma standard deviations (of all candidates' logits) of the best. */
static bool apply_sigma(const llrt_sampler_options *o, llrti_candidates *set)
{
    if (!(o->top_n_sigma > 0.0f) || set->n < 2) return true;
    if (!set->is_complete) return false;
    double sum = 0.0, squares = 0.0;
    for (uint32_t i = 0; i < set->n; i++) sum += (double)set->at[i].logit;
    const double mean = sum / (double)set->n;
    for (uint32_t i = 0; i < set->n; i++) {
        const double d = (double)set->at[i].logit - mean;
        squares += d * d;
    }
    /* logit >= best - n * sigma, squared so that no root is needed. */
    const double n_sigma = (double)o->top_n_sigma,
                 limit = n_sigma * n_sigma * (squares / (double)set->n);
    uint32_t n = 1;
    for (; n < set->n; n++) {
        const double d = (double)set->at[0].logit - (double)set->at[n].logit;
        if (d * d > limit && n >= min_keep(o)) break;
    }
    if (n < set->n) keep_first(set, n);
    return true;
}

static void apply_top_k(const llrt_sampler_options *o, llrti_candidates *set)
{
    const uint32_t k = top_k_limit(o);
    if (k == UINT32_MAX) return;
    if (k <= set->n)
        keep_first(set, k);
    else if (!set->is_complete)
        set->is_total_known = false;
}

/*
 * The locally typical set (Meister et al., 2022): candidates whose surprise lies closest to the
 * entropy, until they have typical_p of the probability.
 */
static bool apply_typical(const llrt_sampler_options *o, llrti_candidates *set)
{
    if (!is_typical_on(o)) return true;
    if (!set->is_complete) return false;
    const double total = find_total(set), log_total = llrti_log(total);
    double entropy = 0.0;
    for (uint32_t i = 0; i < set->n; i++) {
        const double d = (double)set->at[i].logit - (double)set->at[0].logit;
        const double p = (double)weight_of(set, i) / total;
        if (p > 0.0) entropy += p * (log_total - d);
    }
    for (uint32_t i = 0; i < set->n; i++) {
        const double d = (double)set->at[i].logit - (double)set->at[0].logit;
        const double distance = (log_total - d) - entropy;
        const float key = (float)(distance < 0.0 ? -distance : distance);
        set->keys[0][i] =
            (uint64_t)llrti_float_bits(key) << 32 | i; /* floats from 0 on sort as integers */
    }
    llrti_select_sort(set->keys[0], set->keys[1], set->n, true);
    double sum = 0.0;
    uint32_t n = 0;
    while (n < set->n) {
        sum += (double)weight_of(set, (uint32_t)set->keys[0][n++]);
        if (sum >= (double)o->typical_p * total && n >= min_keep(o)) break;
    }
    for (uint32_t i = 0; i < n; i++) set->keys[0][i] &= 0xffffffffu;
    llrti_select_sort(set->keys[0], set->keys[1], n, false);
    for (uint32_t i = 0; i < n; i++) set->at[i] = set->at[set->keys[0][i]];
    keep_first(set, n);
    return true;
}

/* False only when the set isn't known well enough for min-p to settle it either. */
static bool apply_top_p(const llrt_sampler_options *o, llrti_candidates *set)
{
    if (!(o->top_p < 1.0f)) return true;
    if (!set->is_complete && !set->is_total_known) return false;
    const double target = (double)o->top_p * find_total(set);
    double sum = 0.0;
    for (uint32_t i = 0; i < set->n; i++) {
        sum += (double)weight_of(set, i);
        if (sum >= target && i + 1 >= min_keep(o)) {
            keep_first(set, i + 1);
            break;
        }
    }
    return true;
}

static void apply_min_p(const llrt_sampler_options *o, llrti_candidates *set)
{
    if (!(o->min_p > 0.0f)) return;
    for (uint32_t i = min_keep(o); i < set->n; i++) {
        if (weight_of(set, i) < o->min_p) {
            keep_first(set, i);
            break;
        }
    }
}

/*
 * Exclude top choices: with xtc_probability, drops all but the last of those with at least the
 * threshold.
 */
static bool apply_xtc(llrti_stage_state *state, llrti_candidates *set)
{
    const llrt_sampler_options *o = state->options;
    if (!is_xtc_on(o)) return true;
    if (!set->is_complete) return false;
    if (llrti_rng_uniform(&state->rng) >= (double)o->xtc_probability) return true;
    const double least = (double)o->xtc_threshold * find_total(set);
    uint32_t n_top = 0;
    while (n_top < set->n && (double)weight_of(set, n_top) >= least) n_top++;
    if (n_top < 2 || set->n - (n_top - 1) < min_keep(o)) return true;
    const uint32_t dropped = n_top - 1;
    for (uint32_t i = dropped; i < set->n; i++) set->at[i - dropped] = set->at[i];
    keep_first(set, set->n - dropped);
    return true;
}

/* The weight of a candidate at the draw. */
static float tempered_weight(const llrt_sampler_options *o, const llrti_candidates *set, uint32_t i)
{
    return llrti_expf((set->at[i].logit - set->at[0].logit) / o->temperature);
}

static double sum_tempered(const llrt_sampler_options *o, const llrti_candidates *set)
{
    double sum = 0.0;
    for (uint32_t i = 0; i < set->n; i++) sum += (double)tempered_weight(o, set, i);
    return sum;
}

/* Drops candidates with a surprise of more than mu bits: -log2(p) > mu. */
static bool apply_mirostat(const llrti_stage_state *state, llrti_candidates *set)
{
    if (!set->is_complete) return false;
    const double least =
        sum_tempered(state->options, set) * llrti_exp(-state->mu * 0x1.62e42fefa39efp-1);
    uint32_t n = 1;
    while (n < set->n && (n < min_keep(state->options) ||
                          (double)tempered_weight(state->options, set, n) >= least))
        n++;
    keep_first(set, n);
    return true;
}

bool llrti_stages_truncate(llrti_stage_state *state, llrti_candidates *set)
{
    const llrt_sampler_options *o = state->options;
    if (llrti_stages_is_greedy(o)) {
        keep_first(set, 1);
        return true;
    }
    if (o->mirostat) {
        if (is_zero_temperature(o)) keep_first(set, 1);
        return is_zero_temperature(o) || apply_mirostat(state, set);
    }
    if (!apply_sigma(o, set)) return false;
    apply_top_k(o, set);
    if (!apply_typical(o, set) || !apply_top_p(o, set)) return false;
    apply_min_p(o, set);
    return apply_xtc(state, set) && set->is_complete;
}

uint32_t llrti_stages_draw(llrti_stage_state *state, llrti_candidates *set)
{
    const llrt_sampler_options *o = state->options;
    if (is_zero_temperature(o)) return 0;
    const double total = sum_tempered(o, set), target = llrti_rng_uniform(&state->rng) * total;
    double sum = 0.0;
    uint32_t chosen = 0;
    float weight = 1.0f;
    for (uint32_t i = 0; i < set->n; i++) {
        const float w = tempered_weight(o, set, i);
        if (w == 0.0f) break; /* so are all that follow */
        chosen = i;
        weight = w;
        sum += (double)w;
        if (sum > target) break;
    }
    if (o->mirostat) {
        const double surprise =
            (llrti_log(total) - llrti_log((double)weight)) * 0x1.71547652b82fep0;
        state->mu -= (double)o->mirostat_eta * (surprise - (double)o->mirostat_tau);
    }
    return chosen;
}

void llrti_stages_probabilities(const llrti_stage_state *state, llrti_candidates *set)
{
    const llrt_sampler_options *o = state->options;
    if (is_zero_temperature(o)) {
        keep_first(set, 1);
        set->at[0].logit = 1.0f;
        return;
    }
    const double total = sum_tempered(o, set);
    /* From the back, since the first logit is what the others are measured against. */
    for (uint32_t i = set->n; i-- > 0;)
        set->at[i].logit = (float)((double)tempered_weight(o, set, i) / total);
}
