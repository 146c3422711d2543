/* SPDX-License-Identifier: MIT */
/*
 * Selection against a plain reference: change every logit, sort all with a comparison function,
 * sum in long double.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rng.h"
#include "select.h"

typedef struct entry {
    float logit;
    int32_t token;
} entry;

static int compare_entries(const void *a, const void *b)
{
    const entry *x = a, *y = b;
    if (x->logit != y->logit) return x->logit > y->logit ? -1 : 1;
    return x->token < y->token ? -1 : x->token > y->token;
}

static float cleaned(float x)
{
    if (isnan(x)) return -INFINITY;
    if (x == INFINITY) return 3.40282347e38f;
    return x == 0.0f ? 0.0f : x;
}

static void change(float *x, const llrti_select_params *p, uint32_t n_vocab)
{
    for (uint32_t i = 0; i < n_vocab; i++) x[i] = cleaned(x[i]);
    for (uint32_t i = 0; i < p->n_bias; i++)
        x[p->bias_token[i]] = cleaned(x[p->bias_token[i]] + p->bias[i]);
    for (uint32_t i = 0; i < p->n_penalty; i++) {
        float *y = &x[p->penalty_token[i]];
        *y = cleaned(*y > 0 ? *y / p->repetition : *y * p->repetition);
        *y = cleaned(*y - ((float)p->penalty_count[i] * p->frequency + p->presence));
    }
    for (uint32_t i = 0; i < p->n_subtract; i++)
        x[p->subtract_token[i]] = cleaned(x[p->subtract_token[i]] - p->subtract[i]);
    for (uint32_t i = 0; p->allowed && i < n_vocab; i++)
        if (!(p->allowed[i / 32] >> (i % 32) & 1u)) x[i] = -INFINITY;
}

static long double exact_log_sum_exp(const float *x, uint32_t n)
{
    float max = -INFINITY;
    for (uint32_t i = 0; i < n; i++) max = x[i] > max ? x[i] : max;
    if (max == -INFINITY) return -INFINITY;
    long double sum = 0;
    for (uint32_t i = 0; i < n; i++) sum += expl((long double)x[i] - (long double)max);
    return (long double)max + logl(sum);
}

static void check(const float *logits, uint32_t n_vocab, const llrti_select_params *p)
{
    void *scratch = malloc(llrti_select_scratch_size(n_vocab));
    float *copy = malloc(n_vocab * sizeof *copy);
    entry *all = malloc(n_vocab * sizeof *all);
    int32_t *token = malloc((p->n_best + 1) * sizeof *token);
    float *logit = malloc((p->n_best + 1) * sizeof *logit);
    token[p->n_best] = -77; /* nothing is written past the room */
    llrti_select_result r = {.token = token, .logit = logit};
    llrti_select(logits, n_vocab, p, scratch, &r);

    for (uint32_t i = 0; i < n_vocab; i++) copy[i] = cleaned(logits[i]);
    if (p->want_raw_log_sum_exp) {
        const long double exact = exact_log_sum_exp(copy, n_vocab);
        if (isinf(exact))
            assert_true(r.raw_log_sum_exp == -(double)INFINITY);
        else
            assert_true(fabsl((long double)r.raw_log_sum_exp - exact) <=
                        2e-6L + 1e-15L * fabsl(exact));
    }
    change(copy, p, n_vocab);
    if (p->want_log_sum_exp) {
        const long double exact = exact_log_sum_exp(copy, n_vocab);
        if (isinf(exact))
            assert_true(r.log_sum_exp == -(double)INFINITY);
        else
            assert_true(fabsl((long double)r.log_sum_exp - exact) <= 2e-6L + 1e-15L * fabsl(exact));
    }
    uint32_t n = 0;
    for (uint32_t i = 0; i < n_vocab; i++)
        if (copy[i] > -INFINITY) all[n++] = (entry){copy[i], (int32_t)i};
    qsort(all, n, sizeof *all, compare_entries);
    const uint32_t expected = n < p->n_best ? n : p->n_best;
    assert_int_equal(r.n, expected);
    for (uint32_t i = 0; i < expected; i++) {
        assert_int_equal(token[i], all[i].token);
        assert_memory_equal(&logit[i], &all[i].logit, sizeof(float));
    }
    assert_int_equal(token[p->n_best], -77);
    free(scratch);
    free(copy);
    free(all);
    free(token);
    free(logit);
}

enum { N_PATTERN = 9 };

static void fill(float *x, uint32_t n, int pattern, llrti_rng *rng)
{
    for (uint32_t i = 0; i < n; i++) {
        const float u = (float)llrti_rng_uniform(rng), v = (float)llrti_rng_uniform(rng);
        switch (pattern) {
        case 0:
            x[i] = (u + v + u * v) * 6.0f - 9.0f;
            break;
        case 1:
            x[i] = 1.5f;
            break; /* all equal */
        case 2:
            x[i] = (float)i * 1e-3f;
            break; /* ascending */
        case 3:
            x[i] = -(float)i * 1e-3f;
            break; /* descending */
        case 4:
            x[i] = floorf(u * 4.0f) - 2.0f;
            break; /* many ties */
        case 5:
            x[i] = u < 0.5f ? NAN : u < 0.9f ? -INFINITY : v * 3.0f;
            break;
        case 6:
            x[i] = u < 0.01f ? INFINITY : u < 0.5f ? 0.0f : u < 0.6f ? -0.0f : -3e38f * v;
            break;
        case 7:
            x[i] = i % 512 == 3 ? 20.0f + u : u;
            break; /* all the best in the same lane */
        default:
            x[i] = i / 512 % 7 == 0 ? 5.0f + u : u;
            break; /* in runs */
        }
    }
}

static void test_patterns_and_sizes(void **state)
{
    const uint32_t sizes[] = {1,   2,    15,   16,   17,   31,    511,   512,
                              513, 1023, 1024, 1025, 5003, 32768, 128256};
    const uint32_t bests[] = {0, 1, 2, 40, 1023, 1024};
    llrti_rng rng;
    llrti_rng_seed(&rng, 3);
    float *x = malloc(128256 * sizeof *x);
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
        for (int pattern = 0; pattern < N_PATTERN; pattern++) {
            fill(x, sizes[s], pattern, &rng);
            for (size_t b = 0; b < sizeof bests / sizeof *bests; b++) {
                if (sizes[s] > 50000 && b % 2) continue;
                const llrti_select_params p = {.n_best = bests[b],
                                               .repetition = 1.0f,
                                               .want_log_sum_exp = true,
                                               .want_raw_log_sum_exp = b % 2 == 0};
                check(x, sizes[s], &p);
            }
        }
    free(x);
}

/* Distinct random tokens, unordered. */
static uint32_t pick(int32_t *to, uint32_t n, uint32_t n_vocab, llrti_rng *rng)
{
    uint32_t n_picked = 0;
    for (uint32_t i = 0; i < n; i++) {
        const int32_t token = (int32_t)(llrti_rng_next(rng) % n_vocab);
        bool is_new = true;
        for (uint32_t j = 0; j < n_picked; j++) is_new = is_new && to[j] != token;
        if (is_new) to[n_picked++] = token;
    }
    return n_picked;
}

static void test_changes(void **state)
{
    llrti_rng rng;
    llrti_rng_seed(&rng, 4);
    float x[3000], bias[50], subtract[50];
    int32_t bias_token[50], penalty_token[50], subtract_token[50];
    uint32_t count[50], allowed[94];
    for (int round = 0; round < 400; round++) {
        const uint32_t n = round % 3 == 0 ? 1 + (uint32_t)(llrti_rng_next(&rng) % 40)
                                          : 1 + (uint32_t)(llrti_rng_next(&rng) % 3000);
        fill(x, n, round % N_PATTERN, &rng);
        llrti_select_params p = {.n_best = 1 + (uint32_t)(llrti_rng_next(&rng) % 300),
                                 .repetition = 0.5f + (float)llrti_rng_uniform(&rng) * 2,
                                 .frequency = (float)llrti_rng_uniform(&rng) * 2 - 1,
                                 .presence = (float)llrti_rng_uniform(&rng),
                                 .want_log_sum_exp = true,
                                 .want_raw_log_sum_exp = true,
                                 .bias_token = bias_token,
                                 .bias = bias,
                                 .penalty_token = penalty_token,
                                 .penalty_count = count,
                                 .subtract_token = subtract_token,
                                 .subtract = subtract};
        p.n_bias = pick(bias_token, (uint32_t)(llrti_rng_next(&rng) % 50), n, &rng);
        p.n_penalty = pick(penalty_token, (uint32_t)(llrti_rng_next(&rng) % 50), n, &rng);
        p.n_subtract = pick(subtract_token, (uint32_t)(llrti_rng_next(&rng) % 50), n, &rng);
        for (int i = 0; i < 50; i++) {
            bias[i] = i % 10 == 9   ? -INFINITY
                      : i % 10 == 8 ? 3.4e38f
                                    : (float)llrti_rng_uniform(&rng) * 20 - 10;
            count[i] = 1 + (uint32_t)(llrti_rng_next(&rng) % 5);
            subtract[i] = i % 20 == 19 ? 3.4e38f : (float)llrti_rng_uniform(&rng) * 5;
        }
        for (int i = 0; i < 94; i++)
            allowed[i] = (uint32_t)(llrti_rng_next(&rng) & llrti_rng_next(&rng));
        if (round % 4 == 0) p.allowed = allowed;
        if (round % 40 == 0) memset(allowed, 0, sizeof allowed);
        check(x, n, &p);
    }
}

static void test_result_is_a_function_of_the_input(void **state)
{
    enum { N = 20011 };
    llrti_rng rng;
    llrti_rng_seed(&rng, 5);
    float *x = malloc((N + 1) * sizeof *x);
    char *scratch = malloc(llrti_select_scratch_size(N));
    int32_t token[2][1024];
    float logit[2][1024];
    llrti_select_result r[2];
    fill(x, N, 0, &rng);
    const llrti_select_params p = {
        .n_best = 1024, .repetition = 1.0f, .want_log_sum_exp = true, .want_raw_log_sum_exp = true};
    for (int i = 0; i < 2; i++) { /* other alignment, other rubbish in the scratch */
        r[i] = (llrti_select_result){.token = token[i], .logit = logit[i]};
        memset(scratch, i ? 0xff : 0x40, llrti_select_scratch_size(N));
        if (i) memmove(x + 1, x, N * sizeof *x);
        llrti_select(x + i, N, &p, scratch, &r[i]);
    }
    assert_int_equal(r[0].n, r[1].n);
    assert_memory_equal(token[0], token[1], sizeof token[0]);
    assert_memory_equal(logit[0], logit[1], sizeof logit[0]);
    assert_memory_equal(&r[0].log_sum_exp, &r[1].log_sum_exp, sizeof(double));
    assert_memory_equal(&r[0].log_sum_exp, &r[0].raw_log_sum_exp, sizeof(double));
    free(x);
    free(scratch);
}

static void test_keys_keep_the_order(void **state)
{
    const float x[] = {3.4e38f, 2.0f, 1.0f, 1e-40f, 0.0f, -1e-40f, -1.0f, -3.4e38f, -INFINITY};
    for (int i = 0; i < 9; i++) {
        const uint64_t key = llrti_select_key(x[i], 5);
        const float back = llrti_select_key_logit(key);
        assert_memory_equal(&back, &x[i], sizeof back);
        assert_int_equal(llrti_select_key_token(key), 5);
        if (i) assert_true(llrti_select_key(x[i - 1], UINT32_MAX) < llrti_select_key(x[i], 0));
    }
    llrti_rng rng;
    llrti_rng_seed(&rng, 6);
    static uint64_t keys[5000], other[5000];
    for (size_t n = 0; n < 5000; n = n * 2 + 1) {
        for (size_t i = 0; i < n; i++) keys[i] = llrti_rng_next(&rng) >> (n % 3 * 20);
        llrti_select_sort(keys, other, n, false);
        for (size_t i = 1; i < n; i++) assert_true(keys[i - 1] <= keys[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_patterns_and_sizes),
        cmocka_unit_test(test_changes),
        cmocka_unit_test(test_result_is_a_function_of_the_input),
        cmocka_unit_test(test_keys_keep_the_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
