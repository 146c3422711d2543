/* SPDX-License-Identifier: MIT */
/*
 * Selection in passes over the row that a compiler can vectorise:
 *
 *   1. Copy, clean, and the largest of every *strand*: 32 elements, 16 apart. A group of 512
 *      elements makes 16 strands side by side, so no pass has to add up across lanes.
 *   2. The few changed tokens are patched and the strands they are in looked at again.
 *   3. The sum of exponentials.
 *   4. Candidates. The n-th largest strand maximum is a lower bound of the n-th largest logit, so
 *      only strands that reach it are opened and only elements that reach it are kept, as keys in
 *      a buffer of KEPT. When it is full it is sorted and cut to n, and the n-th key becomes the
 *      bound; keys differ by id, so equal logits don't pass it for ever.
 *
 * Scratch: padded logits, strand maxima, keys for sorting.
 */
#include "select.h"

#include <assert.h>

#include "compiler.h"
#include "mathf.h"

enum {
    LANES = 16,
    STRAND = 32,
    GROUP = LANES * STRAND,
    SUM_BLOCK = 1024,
    KEPT = 4 * LLRTI_SELECT_MAX
};

static const float minus_infinity = -(float)(1e300 * 1e300), largest_float = 0x1.fffffep127f;

typedef struct layout {
    size_t n_padded, n_strand;
    float *logits, *strands;
    uint64_t *keys, *other;
} layout;

static size_t padded_size(uint32_t n_vocab)
{
    return ((size_t)n_vocab + SUM_BLOCK - 1) / SUM_BLOCK * SUM_BLOCK;
}

size_t llrti_select_scratch_size(uint32_t n_vocab)
{
    const size_t n = padded_size(n_vocab);
    return (n + n / STRAND) * sizeof(float) + 2 * KEPT * sizeof(uint64_t);
}

static layout scratch_layout(void *scratch, uint32_t n_vocab)
{
    layout l;
    l.n_padded = padded_size(n_vocab);
    l.n_strand = l.n_padded / STRAND;
    l.logits = scratch;
    l.strands = l.logits + l.n_padded;
    l.keys = (uint64_t *)(void *)(l.strands + l.n_strand);
    l.other = l.keys + KEPT;
    return l;
}

/* In this form NaN takes the constant of the first line. Adding 0 turns -0 into 0. */
static inline float clean(float x)
{
    x = x > minus_infinity ? x : minus_infinity;
    x = x < largest_float ? x : largest_float;
    return x + 0.0f;
}

float llrti_select_clean(float logit)
{
    return clean(logit);
}

/*
 * The strand maxima of one group, (STRAND, LANES) row-major, by halving the rows: loops that
 * vectorise.
 */
static void find_group_maxima(const float *LLRTI_RESTRICT x, float *LLRTI_RESTRICT out)
{
    float max[GROUP / 2];
    for (int i = 0; i < GROUP / 2; i++) max[i] = x[i] > x[i + GROUP / 2] ? x[i] : x[i + GROUP / 2];
    for (int half = GROUP / 4; half > LANES; half /= 2)
        for (int i = 0; i < half; i++) max[i] = max[i] > max[i + half] ? max[i] : max[i + half];
    for (int i = 0; i < LANES; i++) out[i] = max[i] > max[i + LANES] ? max[i] : max[i + LANES];
}

static void find_strand_maxima(const layout *l)
{
    for (size_t group = 0; group < l->n_padded / GROUP; group++)
        find_group_maxima(l->logits + group * GROUP, l->strands + group * LANES);
}

/* Group by group, so that the maxima are taken of what is still in the first-level cache. */
static void copy_clean(const float *LLRTI_RESTRICT from, uint32_t n_vocab, const layout *l)
{
    for (size_t begin = 0; begin < l->n_padded; begin += GROUP) {
        float *LLRTI_RESTRICT to = l->logits + begin;
        const size_t n = begin >= n_vocab ? 0 : LLRTI_MIN(n_vocab - begin, (size_t)GROUP);
        for (size_t i = 0; i < n; i++) to[i] = clean(from[begin + i]);
        for (size_t i = n; i < GROUP; i++) to[i] = minus_infinity;
        find_group_maxima(to, l->strands + begin / STRAND);
    }
}

static void refresh_strand(const layout *l, size_t token)
{
    const size_t group = token / GROUP, lane = token % LANES;
    const float *x = l->logits + group * GROUP + lane;
    float max = minus_infinity;
    for (size_t row = 0; row < STRAND; row++) max = x[row * LANES] > max ? x[row * LANES] : max;
    l->strands[group * LANES + lane] = max;
}

static float find_max(const layout *l)
{
    float max = minus_infinity;
    for (size_t i = 0; i < l->n_strand; i++) max = l->strands[i] > max ? l->strands[i] : max;
    return max;
}

static double log_sum_exp(const layout *l)
{
    const float max = find_max(l);
    if (max == minus_infinity) return (double)minus_infinity;
    double total[LANES] = {0};
    for (size_t begin = 0; begin < l->n_padded; begin += SUM_BLOCK) {
        const float *LLRTI_RESTRICT x = l->logits + begin;
        float sum[LANES] = {0}, y[SUM_BLOCK];
        for (int i = 0; i < SUM_BLOCK; i++) y[i] = llrti_expf(x[i] - max);
        for (int row = 0; row < SUM_BLOCK / LANES; row++)
            for (int lane = 0; lane < LANES; lane++) sum[lane] += y[row * LANES + lane];
        for (int lane = 0; lane < LANES; lane++) total[lane] += (double)sum[lane];
    }
    for (int half = LANES / 2; half > 0; half /= 2)
        for (int lane = 0; lane < half; lane++) total[lane] += total[lane + half];
    return (double)max + llrti_log(total[0]);
}

static bool has_changes(const llrti_select_params *p)
{
    return p->n_bias || p->n_penalty || p->n_subtract || p->allowed;
}

static void change_logits(const llrti_select_params *p, uint32_t n_vocab, const layout *l)
{
    float *x = l->logits;
    for (uint32_t i = 0; i < p->n_bias; i++) {
        assert((uint32_t)p->bias_token[i] < n_vocab);
        x[p->bias_token[i]] = clean(x[p->bias_token[i]] + p->bias[i]);
    }
    for (uint32_t i = 0; i < p->n_penalty; i++) {
        assert((uint32_t)p->penalty_token[i] < n_vocab);
        const float y = x[p->penalty_token[i]];
        const float scaled = clean(y > 0.0f ? y / p->repetition : y * p->repetition);
        const float reduction = (float)p->penalty_count[i] * p->frequency + p->presence;
        x[p->penalty_token[i]] = clean(scaled - reduction);
    }
    for (uint32_t i = 0; i < p->n_subtract; i++) {
        assert((uint32_t)p->subtract_token[i] < n_vocab);
        x[p->subtract_token[i]] = clean(x[p->subtract_token[i]] - p->subtract[i]);
    }
    if (p->allowed) {
        for (uint32_t i = 0; i < n_vocab; i++)
            if (!(p->allowed[i / 32] >> (i % 32) & 1u)) x[i] = minus_infinity;
        find_strand_maxima(l);
        return;
    }
    for (uint32_t i = 0; i < p->n_bias; i++) refresh_strand(l, (size_t)p->bias_token[i]);
    for (uint32_t i = 0; i < p->n_penalty; i++) refresh_strand(l, (size_t)p->penalty_token[i]);
    for (uint32_t i = 0; i < p->n_subtract; i++) refresh_strand(l, (size_t)p->subtract_token[i]);
}

const float *llrti_select_apply(const float *logits, uint32_t n_vocab,
                                const llrti_select_params *params, void *scratch,
                                llrti_select_result *result)
{
    const layout l = scratch_layout(scratch, n_vocab);
    copy_clean(logits, n_vocab, &l);
    result->n = 0;
    result->log_sum_exp = result->raw_log_sum_exp = 0.0;
    if (params->want_raw_log_sum_exp) result->raw_log_sum_exp = log_sum_exp(&l);
    if (has_changes(params)) {
        change_logits(params, n_vocab, &l);
        if (params->want_log_sum_exp) result->log_sum_exp = log_sum_exp(&l);
    } else if (params->want_log_sum_exp) {
        result->log_sum_exp =
            params->want_raw_log_sum_exp ? result->raw_log_sum_exp : log_sum_exp(&l);
    }
    return l.logits;
}

/* Unsigned integers that ascend as the floats descend. */
static inline uint32_t descending_bits(float x)
{
    const uint32_t u = llrti_float_bits(x);
    return u >> 31 ? u : ~u & 0x7fffffffu;
}

uint64_t llrti_select_key(float logit, uint32_t token)
{
    return (uint64_t)descending_bits(logit) << 32 | token;
}

float llrti_select_key_logit(uint64_t key)
{
    const uint32_t u = (uint32_t)(key >> 32);
    return llrti_bits_float(u >> 31 ? u : ~u & 0x7fffffffu);
}

static void sort_by_insertion(uint64_t *keys, size_t n)
{
    for (size_t i = 1; i < n; i++) {
        const uint64_t key = keys[i];
        size_t j = i;
        for (; j > 0 && keys[j - 1] > key; j--) keys[j] = keys[j - 1];
        keys[j] = key;
    }
}

/* Least significant byte first; bytes that are the same in all keys are skipped. */
void llrti_select_sort(uint64_t *keys, uint64_t *other, size_t n, bool is_by_id)
{
    if (n <= 48) {
        sort_by_insertion(keys, n);
        return;
    }
    const int first = is_by_id ? 4 : 0;
    uint32_t count[8][256];
    memset(count, 0, sizeof count);
    for (size_t i = 0; i < n; i++)
        for (int byte = first; byte < 8; byte++) count[byte][keys[i] >> (8 * byte) & 255u]++;
    uint64_t *from = keys, *to = other;
    for (int byte = first; byte < 8; byte++) {
        if (count[byte][keys[0] >> (8 * byte) & 255u] == n) continue;
        uint32_t begin[256], sum = 0;
        for (int digit = 0; digit < 256; digit++) {
            begin[digit] = sum;
            sum += count[byte][digit];
        }
        for (size_t i = 0; i < n; i++) to[begin[from[i] >> (8 * byte) & 255u]++] = from[i];
        uint64_t *const swap = from;
        from = to;
        to = swap;
    }
    if (from != keys) memcpy(keys, from, n * sizeof *keys);
}

/*
 * The k-th largest strand maximum as descending bits (k from 1, at most n_strand): by radix,
 * from the top byte.
 */
static uint32_t find_bound(const layout *l, uint32_t k)
{
    uint32_t prefix = 0, mask = 0;
    for (int shift = 24; shift >= 0; shift -= 8) {
        uint32_t count[256] = {0}, digit = 0;
        for (size_t i = 0; i < l->n_strand; i++) {
            const uint32_t bits = descending_bits(l->strands[i]);
            if ((bits & mask) == prefix) count[bits >> shift & 255u]++;
        }
        while (count[digit] < k) k -= count[digit++];
        prefix |= digit << shift;
        mask |= 255u << shift;
    }
    return prefix;
}

static uint32_t find_best(const layout *l, uint32_t n_best, llrti_select_result *result)
{
    const uint64_t forbidden = llrti_select_key(minus_infinity, 0);
    uint64_t bound = forbidden; /* keys below it are kept */
    if (n_best <= l->n_strand) {
        const uint64_t next = ((uint64_t)find_bound(l, n_best) + 1) << 32;
        if (next < bound) bound = next;
    }
    size_t n = 0;
    for (size_t strand = 0; strand < l->n_strand; strand++) {
        if (llrti_select_key(l->strands[strand], 0) >= bound) continue;
        const size_t begin = strand / LANES * GROUP + strand % LANES;
        for (size_t i = begin; i < begin + GROUP; i += LANES) {
            const uint64_t key = llrti_select_key(l->logits[i], (uint32_t)i);
            if (key >= bound) continue;
            if (n == KEPT) {
                llrti_select_sort(l->keys, l->other, n, false);
                n = n_best;
                bound = l->keys[n - 1];
                if (key >= bound) continue;
            }
            l->keys[n++] = key;
        }
    }
    llrti_select_sort(l->keys, l->other, n, false);
    if (n > n_best) n = n_best;
    for (size_t i = 0; i < n; i++) {
        result->token[i] = llrti_select_key_token(l->keys[i]);
        result->logit[i] = llrti_select_key_logit(l->keys[i]);
    }
    return (uint32_t)n;
}

void llrti_select(const float *logits, uint32_t n_vocab, const llrti_select_params *params,
                  void *scratch, llrti_select_result *result)
{
    llrti_select_apply(logits, n_vocab, params, scratch, result);
    uint32_t n_best = params->n_best < LLRTI_SELECT_MAX ? params->n_best : LLRTI_SELECT_MAX;
    if (n_best > n_vocab) n_best = n_vocab;
    if (n_best == 0) return;
    const layout l = scratch_layout(scratch, n_vocab);
    result->n = find_best(&l, n_best, result);
}
