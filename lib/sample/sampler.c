/* SPDX-License-Identifier: MIT */
/*
 * The sampler handle. It is one block of memory: the struct, then every buffer at an offset that
 * depends only on options and vocabulary, so a clone is a copy of the block with the pointers set
 * anew.
 *
 * A sample goes prepare -> select -> stages on the best candidates; when those are not sufficient,
 * all logits are sorted and the stages run on all of them. Memory for that (28 bytes per token
 * instead of 4) is only taken when the options can need it.
 *
 * History: the last `window` tokens lie contiguous at the end of a buffer twice as large, which
 * is moved to the front when it is full.
 */
#include "sampler_impl.h"

#include <assert.h>
#include <stdatomic.h>
#include <string.h>

#include "alloc.h"
#include "dry.h"
#include "error.h"
#include "mathf.h"
#include "sampler_options.h"
#include "stages.h"

struct llrt_sampler {
    llrti_mem mem;
    atomic_flag busy;
    size_t size; /* of the block */
    uint32_t n_vocab;
    bool can_sort;                /* memory for all candidates is there */
    bool is_front_used;           /* the last finish failed for want of candidates */
    llrt_sampler_options options; /* lists and allocator are NULL: their contents are below */
    llrti_stage_state state;
    uint64_t seed;

    uint32_t n_best; /* of the last prepare */
    bool has_changes;
    void *scratch; /* of select */
    llrti_select_result result;
    llrt_candidate *candidates;
    uint64_t *keys[2];

    uint32_t n_bias;
    int32_t *bias_token; /* (n_bias) distinct, ascending */
    float *bias;

    uint32_t penalty_window, dry_window, window, n_history;
    int32_t *history; /* (2 * window) the last n_history tokens, n_history <= 2 * window */
    llrti_token_map penalties;
    llrti_token_map dry;
    uint32_t *dry_lengths; /* (dry_window) */
    float *dry_penalties;  /* (dry_window) */
    uint32_t *breakers;    /* bit per token, or NULL */

    size_t n_logprob;
    llrt_logprob *logprobs; /* (1 + n_logprobs) */
};

/* ---- Memory ---- */

/* Hands out consecutive parts of a block; without a block only counts. */
typedef struct carver {
    char *block;
    size_t used;
} carver;

static void *carve(carver *c, size_t count, size_t size)
{
    /* Counts are at most 2^25 and sizes at most 64: no overflow in 64 bits, and 32-bit systems
     * have an allocation that fails. */
    void *const part = c->block ? c->block + c->used : NULL;
    const uint64_t n =
        ((uint64_t)count * size + LLRTI_CACHE_LINE - 1) / LLRTI_CACHE_LINE * LLRTI_CACHE_LINE;
    c->used = n > SIZE_MAX - c->used ? SIZE_MAX : c->used + (size_t)n;
    return part;
}

static void carve_map(carver *c, llrti_token_map *map, uint32_t capacity)
{
    const uint32_t n_slot = llrti_token_map_slots(capacity);
    map->mask = n_slot - 1;
    map->token = carve(c, capacity, sizeof *map->token);
    map->value = carve(c, capacity, sizeof *map->value);
    map->slot = carve(c, n_slot, sizeof *map->slot);
}

/* Sets the pointers of `s` to places in `block` (NULL: none) and returns the size of the block. */
static size_t lay_out(llrt_sampler *s, void *block)
{
    carver c = {block, 0};
    carve(&c, 1, sizeof *s);
    const size_t n_front = LLRTI_MIN(s->n_vocab, LLRTI_SELECT_MAX);
    const size_t n_candidate = s->can_sort ? s->n_vocab : n_front;
    s->scratch = carve(&c, 1, llrti_select_scratch_size(s->n_vocab));
    s->result.token = carve(&c, n_front, sizeof *s->result.token);
    s->result.logit = carve(&c, n_front, sizeof *s->result.logit);
    s->candidates = carve(&c, n_candidate, sizeof *s->candidates);
    for (int i = 0; i < 2; i++) s->keys[i] = carve(&c, n_candidate, sizeof *s->keys[i]);
    s->bias_token = carve(&c, s->options.n_logit_bias, sizeof *s->bias_token);
    s->bias = carve(&c, s->options.n_logit_bias, sizeof *s->bias);
    s->history = carve(&c, 2 * (size_t)s->window, sizeof *s->history);
    carve_map(&c, &s->penalties, s->penalty_window);
    carve_map(&c, &s->dry, s->dry_window);
    s->dry_lengths = carve(&c, s->dry_window, sizeof *s->dry_lengths);
    s->dry_penalties = carve(&c, s->dry_window, sizeof *s->dry_penalties);
    s->breakers = s->options.n_dry_breaker
                      ? carve(&c, ((size_t)s->n_vocab + 31) / 32, sizeof *s->breakers)
                      : NULL;
    s->logprobs = carve(&c, (size_t)s->options.n_logprobs + 1, sizeof *s->logprobs);
    return c.used;
}

static llrt_status allocate(const llrt_allocator *hooks, size_t size, llrt_sampler **out,
                            llrt_error *err)
{
    llrti_mem mem;
    llrti_mem_init(&mem, hooks);
    llrt_sampler *const s = llrti_alloc(&mem, size, LLRT_MEMORY_HOST);
    if (!s) return llrti_fail_nomem(err, "the sampler", size);
    memset(s, 0, size);
    s->mem = mem;
    s->size = size;
    atomic_flag_clear(&s->busy);
    *out = s;
    return LLRT_OK;
}

/*
 * Adds up entries of the same token and leaves out what adds nothing. Insertion into a sorted
 * list would be quadratic, so the entries are sorted as keys first, equal tokens by position.
 */
static void take_biases(llrt_sampler *s, const llrt_logit_bias *from, uint32_t n, uint64_t *keys,
                        uint64_t *other)
{
    for (uint32_t i = 0; i < n; i++) keys[i] = (uint64_t)(uint32_t)from[i].token << 32 | i;
    llrti_select_sort(keys, other, n, true);
    s->n_bias = 0;
    for (uint32_t i = 0; i < n;) {
        const int32_t token = (int32_t)(uint32_t)(keys[i] >> 32);
        float sum = 0.0f;
        for (; i < n && (int32_t)(uint32_t)(keys[i] >> 32) == token; i++)
            sum += from[(uint32_t)keys[i]].bias;
        /* Sums of finite numbers may leave the range at either end. */
        if (sum > 0x1.fffffep127f) sum = 0x1.fffffep127f;
        if (sum != sum) sum = -LLRTI_INFINITY_F;
        if (sum == 0.0f) continue;
        s->bias_token[s->n_bias] = token;
        s->bias[s->n_bias++] = sum;
    }
}

static void start_state(llrt_sampler *s)
{
    llrti_rng_seed(&s->state.rng, s->seed);
    s->state.mu = 2.0 * (double)s->options.mirostat_tau;
}

static llrt_status create(uint32_t n_vocab, const llrt_sampler_options *options, bool can_sort,
                          llrt_sampler **out, llrt_error *err)
{
    if (!out) return llrti_fail_field(err, LLRT_ERR_ARGUMENT, "out", "out is NULL");
    *out = NULL;
    llrt_sampler plan;
    memset(&plan, 0, sizeof plan);
    LLRTI_TRY(llrti_sampler_options_take(n_vocab, options, &plan.options, err));
    const llrt_sampler_options *const o = &plan.options;
    plan.n_vocab = n_vocab;
    plan.can_sort = can_sort || LLRTI_MIN(llrti_stages_reach(o), n_vocab) > LLRTI_SELECT_MAX;
    if (o->repetition_penalty != 1.0f || o->frequency_penalty != 0.0f ||
        o->presence_penalty != 0.0f)
        plan.penalty_window =
            o->penalty_last_n < 0 ? LLRTI_SAMPLER_HISTORY : (uint32_t)o->penalty_last_n;
    if (o->dry_multiplier > 0.0f)
        plan.dry_window = o->dry_last_n < 0 ? LLRTI_SAMPLER_HISTORY : (uint32_t)o->dry_last_n;
    plan.window = LLRTI_MAX(plan.penalty_window, plan.dry_window);

    llrt_sampler *s = NULL;
    LLRTI_TRY(allocate(o->allocator, lay_out(&plan, NULL), &s, err));
    s->n_vocab = plan.n_vocab;
    s->can_sort = plan.can_sort;
    s->options = plan.options;
    s->penalty_window = plan.penalty_window;
    s->dry_window = plan.dry_window;
    s->window = plan.window;
    lay_out(s, s);
    for (uint32_t i = 0; i < o->n_dry_breaker; i++)
        s->breakers[(uint32_t)o->dry_breaker[i] / 32] |= 1u << ((uint32_t)o->dry_breaker[i] % 32);
    if (o->n_logit_bias) {
        /*
         * n_logit_bias <= n_vocab; a temporary pair of key lists, since few samplers have many
         * biases.
         */
        uint64_t *const keys =
            llrti_alloc(&s->mem, 2 * (size_t)o->n_logit_bias * sizeof *keys, LLRT_MEMORY_HOST);
        if (!keys) {
            llrt_sampler_free(s);
            return llrti_fail_nomem(err, "sorting logit_bias",
                                    2 * (size_t)o->n_logit_bias * sizeof *keys);
        }
        take_biases(s, o->logit_bias, o->n_logit_bias, keys, keys + o->n_logit_bias);
        llrti_free(&s->mem, keys);
    }
    s->options.logit_bias = NULL;
    s->options.dry_breaker = NULL;
    s->options.allocator = NULL;
    s->state.options = &s->options;
    s->seed = s->options.seed;
    start_state(s);
    *out = s;
    return LLRT_OK;
}

llrt_status llrt_sampler_create(uint32_t n_vocab, const llrt_sampler_options *options,
                                llrt_sampler **out, llrt_error *err)
{
    return create(n_vocab, options, false, out, err);
}

llrt_status llrti_sampler_create_full(uint32_t n_vocab, const llrt_sampler_options *options,
                                      llrt_sampler **out, llrt_error *err)
{
    return create(n_vocab, options, true, out, err);
}

llrt_status llrt_sampler_clone(const llrt_sampler *sampler, llrt_sampler **out, llrt_error *err)
{
    if (!out) return llrti_fail_field(err, LLRT_ERR_ARGUMENT, "out", "out is NULL");
    *out = NULL;
    LLRTI_TRY(llrti_sampler_begin(sampler, err));
    llrt_sampler *copy = NULL;
    const llrt_status status = allocate(&sampler->mem.hooks, sampler->size, &copy, err);
    if (status == LLRT_OK) {
        const size_t front = offsetof(llrt_sampler, n_vocab);
        memcpy((char *)copy + front, (const char *)sampler + front, sampler->size - front);
        lay_out(copy, copy);
        copy->state.options = &copy->options;
        *out = copy;
    }
    llrti_sampler_end(sampler);
    return status;
}

void llrt_sampler_free(llrt_sampler *sampler)
{
    if (!sampler) return;
    llrti_mem mem = sampler->mem; /* the counters must outlive the block */
    llrti_free(&mem, sampler);
}

/* ---- State ---- */

llrt_status llrti_sampler_begin(const llrt_sampler *sampler, llrt_error *err)
{
    if (!sampler) return llrti_fail_field(err, LLRT_ERR_ARGUMENT, "sampler", "sampler is NULL");
    llrt_sampler *const s =
        (llrt_sampler *)(uintptr_t)sampler; /* the flag is not part of the value */
    if (atomic_flag_test_and_set_explicit(&s->busy, memory_order_acquire))
        return llrti_fail(err, LLRT_ERR_BUSY, "another thread is using this sampler");
    return LLRT_OK;
}

void llrti_sampler_end(const llrt_sampler *sampler)
{
    llrt_sampler *const s = (llrt_sampler *)(uintptr_t)sampler;
    atomic_flag_clear_explicit(&s->busy, memory_order_release);
}

static void accept_token(llrt_sampler *s, int32_t token)
{
    if (s->window == 0) return;
    if (s->n_history == 2 * s->window) {
        memmove(s->history, s->history + s->window, s->window * sizeof *s->history);
        s->n_history = s->window;
    }
    if (s->penalty_window) {
        if (s->n_history >= s->penalty_window) {
            const int32_t oldest = s->history[s->n_history - s->penalty_window];
            uint32_t *const count = llrti_token_map_at(&s->penalties, oldest);
            if (--*count == 0) llrti_token_map_remove(&s->penalties, oldest);
        }
        ++*llrti_token_map_at(&s->penalties, token);
    }
    s->history[s->n_history++] = token;
}

llrt_status llrt_sampler_accept(llrt_sampler *sampler, int32_t token, llrt_error *err)
{
    LLRTI_TRY(llrti_sampler_begin(sampler, err));
    llrt_status status = LLRT_OK;
    if (token >= 0 && (uint32_t)token < sampler->n_vocab)
        accept_token(sampler, token);
    else
        status =
            llrti_fail_field(err, LLRT_ERR_ARGUMENT, "token", "token is %ld, expected 0 to %lu",
                             (long)token, (unsigned long)sampler->n_vocab - 1);
    llrti_sampler_end(sampler);
    return status;
}

void llrt_sampler_reset(llrt_sampler *sampler)
{
    if (llrti_sampler_begin(sampler, NULL) < 0) return;
    sampler->n_history = 0;
    llrti_token_map_clear(&sampler->penalties);
    sampler->n_logprob = 0;
    start_state(sampler);
    llrti_sampler_end(sampler);
}

void llrt_sampler_set_seed(llrt_sampler *sampler, uint64_t seed)
{
    if (llrti_sampler_begin(sampler, NULL) < 0) return;
    sampler->seed = seed;
    llrti_rng_seed(&sampler->state.rng, seed);
    llrti_sampler_end(sampler);
}

uint32_t llrt_sampler_n_vocab(const llrt_sampler *sampler)
{
    return sampler ? sampler->n_vocab : 0;
}

const llrt_logprob *llrt_sampler_logprobs(const llrt_sampler *sampler, size_t *n)
{
    if (n) *n = sampler ? sampler->n_logprob : 0;
    return sampler && sampler->n_logprob ? sampler->logprobs : NULL;
}

llrti_rng llrti_sampler_rng(const llrt_sampler *sampler)
{
    return sampler->state.rng;
}

double llrti_sampler_mu(const llrt_sampler *sampler)
{
    return sampler->state.mu;
}

/* ---- Sampling ---- */

void llrti_sampler_prepare(llrt_sampler *s, llrti_select_params *params)
{
    const llrt_sampler_options *o = &s->options;
    memset(params, 0, sizeof *params);
    params->n_bias = s->n_bias;
    params->bias_token = s->bias_token;
    params->bias = s->bias;
    params->repetition = o->repetition_penalty;
    params->frequency = o->frequency_penalty;
    params->presence = o->presence_penalty;
    params->n_penalty = s->penalties.n;
    params->penalty_token = s->penalties.token;
    params->penalty_count = s->penalties.value;
    if (s->dry_window) {
        const llrti_dry_options dry = {o->dry_multiplier, o->dry_base,
                                       (uint32_t)o->dry_allowed_length, s->breakers};
        const uint32_t n = LLRTI_MIN(s->n_history, s->dry_window);
        llrti_dry_find(&dry, s->history + (s->n_history - n), n, s->dry_lengths, &s->dry,
                       s->dry_penalties);
        params->n_subtract = s->dry.n;
        params->subtract_token = s->dry.token;
        params->subtract = s->dry_penalties;
    }
    s->has_changes = params->n_bias || params->n_penalty || params->n_subtract;
    s->n_best = LLRTI_MIN(llrti_stages_reach(o), LLRTI_SELECT_MAX);
    if (!s->has_changes) s->n_best = LLRTI_MAX(s->n_best, o->n_logprobs);
    s->n_best = LLRTI_MIN(s->n_best, s->n_vocab);
    s->is_front_used = false;
    params->n_best = s->n_best;
    params->want_log_sum_exp = llrti_stages_want_total(o);
    params->want_raw_log_sum_exp = o->n_logprobs > 0 && !s->has_changes;
}

bool llrti_sampler_needs_logits(const llrt_sampler *s)
{
    if (s->options.n_logprobs && s->has_changes) return true;
    return s->n_best < s->n_vocab && !llrti_stages_may_use_front(&s->options);
}

/* Runs the stages before the draw on the result of a selection; false when it is not sufficient. */
static bool truncate_front(const llrt_sampler *s, const llrti_select_result *result,
                           llrti_stage_state *state, llrti_candidates *set)
{
    if (result->n == 0 || result->n > s->n_best) return false;
    *set =
        (llrti_candidates){.at = s->candidates, .n = result->n, .keys = {s->keys[0], s->keys[1]}};
    set->is_complete = result->n < s->n_best || s->n_best == s->n_vocab;
    for (uint32_t i = 0; i < result->n; i++) {
        if ((uint32_t)result->token[i] >= s->n_vocab) return false; /* a backend's mistake */
        set->at[i].token = result->token[i];
        set->at[i].logit = result->logit[i];
    }
    if (llrti_stages_want_total(&s->options)) {
        set->total = llrti_exp(result->log_sum_exp - (double)result->logit[0]);
        set->is_total_known = true;
    }
    if (s->options.stage) {
        if (!set->is_complete) return false;
        llrti_stages_custom(&s->options, s->n_vocab, set);
        if (set->n == 0) return false;
    }
    return llrti_stages_truncate(state, set);
}

/* The same on all logits. LLRT_ERR_ARGUMENT when no candidate is left. */
static llrt_status truncate_all(const llrt_sampler *s, const float *logits,
                                const llrti_select_params *params, llrti_stage_state *state,
                                llrti_candidates *set)
{
    assert(s->can_sort);
    llrti_select_result sums;
    const float *const changed = llrti_select_apply(logits, s->n_vocab, params, s->scratch, &sums);
    *set = (llrti_candidates){
        .at = s->candidates, .is_complete = true, .keys = {s->keys[0], s->keys[1]}};
    for (uint32_t i = 0; i < s->n_vocab; i++)
        if (changed[i] > -LLRTI_INFINITY_F)
            set->keys[0][set->n++] = llrti_select_key(changed[i], i);
    if (set->n == 0) return LLRT_ERR_ARGUMENT;
    llrti_select_sort(set->keys[0], set->keys[1], set->n, true);
    for (uint32_t i = 0; i < set->n; i++) {
        set->at[i].token = llrti_select_key_token(set->keys[0][i]);
        set->at[i].logit = llrti_select_key_logit(set->keys[0][i]);
    }
    if (llrti_stages_want_total(&s->options)) {
        set->total = llrti_exp(sums.log_sum_exp - (double)set->at[0].logit);
        set->is_total_known = true;
    }
    if (s->options.stage) {
        llrti_stages_custom(&s->options, s->n_vocab, set);
        if (set->n == 0) return LLRT_ERR_ARGUMENT;
    }
    const bool is_done = llrti_stages_truncate(state, set);
    assert(is_done); /* the set is complete */
    return is_done ? LLRT_OK : LLRT_ERR_INTERNAL;
}

/* `best` are the best of the unchanged logits. */
static void store_logprobs(llrt_sampler *s, int32_t token, float logit,
                           const llrti_select_result *best)
{
    const double sum = best->raw_log_sum_exp;
    s->logprobs[0] = (llrt_logprob){token, (float)((double)logit - sum)};
    s->n_logprob = 1;
    for (uint32_t i = 0; i < best->n && i < s->options.n_logprobs; i++)
        s->logprobs[s->n_logprob++] =
            (llrt_logprob){best->token[i], (float)((double)best->logit[i] - sum)};
}

static void store_logprobs_of_row(llrt_sampler *s, int32_t token, const float *logits)
{
    const llrti_select_params params = {
        .n_best = s->options.n_logprobs, .repetition = 1.0f, .want_raw_log_sum_exp = true};
    llrti_select(logits, s->n_vocab, &params, s->scratch, &s->result);
    store_logprobs(s, token, llrti_select_clean(logits[token]), &s->result);
}

bool llrti_sampler_finish(llrt_sampler *s, const llrti_select_result *result, int32_t *token)
{
    if (s->options.n_logprobs && s->has_changes) return false;
    llrti_candidates set;
    if (!truncate_front(s, result, &s->state, &set)) {
        s->is_front_used = true;
        return false;
    }
    *token = set.at[llrti_stages_draw(&s->state, &set)].token;
    if (s->options.n_logprobs) {
        uint32_t i = 0;
        while (i < result->n && result->token[i] != *token) i++;
        /* Only a custom stage can name a token that was none of the candidates. */
        store_logprobs(s, *token, i < result->n ? result->logit[i] : -LLRTI_INFINITY_F, result);
    }
    accept_token(s, *token);
    return true;
}

/* Candidates before the draw, by the front when it is sufficient. */
static llrt_status truncate_row(const llrt_sampler *s, const float *logits,
                                const llrti_select_params *params, bool use_front,
                                llrti_stage_state *state, llrti_candidates *set, llrt_error *err)
{
    llrt_status status = LLRT_ERR_ARGUMENT;
    if (use_front) {
        llrti_select_result result = s->result;
        llrti_select(logits, s->n_vocab, params, s->scratch, &result);
        if (truncate_front(s, &result, state, set)) return LLRT_OK;
        if (result.n == 0 || !s->can_sort) goto none_left;
    }
    if (s->can_sort) status = truncate_all(s, logits, params, state, set);
    if (status != LLRT_ERR_ARGUMENT) return status;
none_left:
    return llrti_fail_field(
        err, LLRT_ERR_ARGUMENT, "logits",
        "no token is left to choose from: all logits are -infinity, NaN or forbidden");
}

/* The sampler is begun. */
static llrt_status sample_row(llrt_sampler *s, const float *logits, const uint32_t *allowed,
                              bool use_front, int32_t *token, llrt_error *err)
{
    llrti_select_params params;
    llrti_sampler_prepare(s, &params);
    params.allowed = allowed;
    llrti_candidates set;
    LLRTI_TRY(truncate_row(s, logits, &params, use_front, &s->state, &set, err));
    *token = set.at[llrti_stages_draw(&s->state, &set)].token;
    if (s->options.n_logprobs) store_logprobs_of_row(s, *token, logits);
    accept_token(s, *token);
    return LLRT_OK;
}

/* The front of n_best candidates is worth a try. */
static bool may_use_front(const llrt_sampler *s)
{
    return llrti_stages_may_use_front(&s->options) || s->n_vocab <= LLRTI_SELECT_MAX;
}

llrt_status llrti_sampler_sample_full(llrt_sampler *s, const float *logits, const uint32_t *allowed,
                                      int32_t *token, llrt_error *err)
{
    const bool use_front = !s->can_sort || (may_use_front(s) && !s->is_front_used);
    return sample_row(s, logits, allowed, use_front, token, err);
}

llrt_status llrti_sampler_sample_sorted(llrt_sampler *s, const float *logits,
                                        const uint32_t *allowed, int32_t *token, llrt_error *err)
{
    return sample_row(s, logits, allowed, false, token, err);
}

llrt_status llrt_sampler_sample(llrt_sampler *sampler, const float *logits, int32_t *token,
                                llrt_error *err)
{
    if (!logits || !token)
        return llrti_fail_field(err, LLRT_ERR_ARGUMENT, logits ? "token" : "logits", "%s is NULL",
                                logits ? "token" : "logits");
    LLRTI_TRY(llrti_sampler_begin(sampler, err));
    llrt_status status = LLRT_OK;
    llrti_select_params params;
    llrti_sampler_prepare(sampler, &params);
    bool is_done = false;
    if (!llrti_sampler_needs_logits(sampler)) {
        llrti_select(logits, sampler->n_vocab, &params, sampler->scratch, &sampler->result);
        is_done = llrti_sampler_finish(sampler, &sampler->result, token);
    }
    if (!is_done) status = llrti_sampler_sample_full(sampler, logits, NULL, token, err);
    llrti_sampler_end(sampler);
    return status;
}

llrt_status llrt_sampler_distribution(llrt_sampler *sampler, const float *logits,
                                      llrt_candidate *candidates, size_t *n, llrt_error *err)
{
    if (n) *n = 0;
    if (!logits || !candidates || !n)
        return llrti_fail(err, LLRT_ERR_ARGUMENT, "logits, candidates or n is NULL");
    LLRTI_TRY(llrti_sampler_begin(sampler, err));
    llrti_select_params params;
    llrti_sampler_prepare(sampler, &params);
    llrti_stage_state state = sampler->state; /* XTC's number is drawn from a copy */
    llrti_candidates set;
    const bool use_front = !sampler->can_sort || may_use_front(sampler);
    const llrt_status status = truncate_row(sampler, logits, &params, use_front, &state, &set, err);
    if (status == LLRT_OK) {
        llrti_stages_probabilities(&state, &set);
        memcpy(candidates, set.at, set.n * sizeof *candidates);
        *n = set.n;
    }
    llrti_sampler_end(sampler);
    return status;
}
