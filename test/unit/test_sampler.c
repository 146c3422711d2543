/* SPDX-License-Identifier: MIT */
/*
 * The sampler: published cases, a property test (the result from a few candidates equals the
 * result from all logits, bit for bit), references written here in double precision, and the
 * handle's rules.
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

#include "alloc.h"
#include "json.h"
#include "sampler_impl.h"

/* ---- Fixtures ---- */

static llrt_sampler_options default_options(void)
{
    llrt_sampler_options o;
    llrt_sampler_options_init(&o, sizeof o);
    return o;
}

/* Only the draw: every stage off, temperature 1. */
static llrt_sampler_options plain_options(void)
{
    llrt_sampler_options o = default_options();
    o.temperature = 1.0f;
    o.top_k = 0;
    o.top_p = 1.0f;
    o.min_p = 0.0f;
    return o;
}

static llrt_sampler *make(uint32_t n_vocab, const llrt_sampler_options *o)
{
    llrt_sampler *s = NULL;
    llrt_error err = LLRT_ERROR_INIT;
    if (llrt_sampler_create(n_vocab, o, &s, &err) != LLRT_OK)
        fail_msg("%s: %s", err.field, err.text);
    return s;
}

static int32_t sample(llrt_sampler *s, const float *logits)
{
    int32_t token = -1;
    llrt_error err = LLRT_ERROR_INIT;
    if (llrt_sampler_sample(s, logits, &token, &err) != LLRT_OK) fail_msg("%s", err.text);
    return token;
}

static double uniform(llrti_rng *rng)
{
    return llrti_rng_uniform(rng);
}

static uint32_t below(llrti_rng *rng, uint32_t n)
{
    return (uint32_t)(llrti_rng_next(rng) % n);
}

/* Roughly normal logits with `spread`; a few are higher. */
static void fill_logits(float *x, uint32_t n, double spread, llrti_rng *rng)
{
    for (uint32_t i = 0; i < n; i++) {
        const double u = uniform(rng) + uniform(rng) + uniform(rng) + uniform(rng) - 2;
        x[i] = (float)(spread * u + (below(rng, 500) == 0 ? 2 * spread : 0));
    }
}

/* ---- Published cases (llama.cpp's test-sampling) ---- */

typedef struct numbers {
    uint32_t n;
    double v[16];
} numbers;

static numbers read_numbers(const llrti_json *node)
{
    numbers r = {0};
    assert_true(node && node->type == LLRTI_JSON_ARRAY && node->n <= 16);
    for (; r.n < node->n; r.n++) r.v[r.n] = llrti_json_double(llrti_json_at(node, r.n), NAN);
    return r;
}

static double arg(const llrti_json *args, uint32_t i)
{
    return llrti_json_double(llrti_json_at(args, i), NAN);
}

/*
 * The cases of the functions that filter only list the probabilities that were there before, not
 * scaled to a sum of 1; those that remove by -infinity keep candidates of probability 0; ours is
 * always scaled, in order of probability, and without impossible tokens. So both sides are scaled,
 * sorted and stripped of zeros.
 */
static void check_distribution(const llrt_sampler_options *o, const numbers *probs,
                               const numbers *history, const numbers *expected)
{
    float logits[16];
    for (uint32_t i = 0; i < probs->n; i++) logits[i] = logf((float)probs->v[i]);
    llrt_sampler *s = make(probs->n, o);
    for (uint32_t i = 0; history && i < history->n; i++)
        assert_int_equal(llrt_sampler_accept(s, (int32_t)history->v[i], NULL), LLRT_OK);
    llrt_candidate got[16];
    size_t n;
    assert_int_equal(llrt_sampler_distribution(s, logits, got, &n, NULL), LLRT_OK);

    double sorted[16], sum = 0;
    for (uint32_t i = 0; i < expected->n; i++) {
        uint32_t at = i;
        sum += expected->v[i];
        for (; at > 0 && sorted[at - 1] < expected->v[i]; at--) sorted[at] = sorted[at - 1];
        sorted[at] = expected->v[i];
    }
    for (uint32_t i = 0; i < expected->n; i++) {
        const double p = i < n ? (double)got[i].logit : 0.0;
        if (fabs(p - sorted[i] / sum) >= 1e-5)
            fail_msg("entry %u: %g, expected %g", i, p, sorted[i] / sum);
    }
    for (size_t i = expected->n; i < n; i++)
        fail_msg("%zu candidates, expected %u", n, expected->n);
    /* Where the case lists all tokens by id, or in order, the ids are known too. */
    if (expected->n == probs->n && history)
        for (size_t i = 0; i < n; i++)
            assert_true(fabs((double)got[i].logit - expected->v[got[i].token]) < 1e-5);
    llrt_sampler_free(s);
}

/*
 * Logits log(0), log(1), ... log(n - 1); stages one after the other, with what the case's
 * authors expect of each.
 */
static void check_queue(const llrti_json *args)
{
    const int32_t n_vocab = (int32_t)arg(args, 0);
    const char *const queue = llrti_json_string(llrti_json_at(args, 1), "");
    const int32_t top_k = (int32_t)arg(args, 2);
    const float top_p = (float)arg(args, 3), min_p = (float)arg(args, 4);
    float *logits = malloc((size_t)n_vocab * sizeof *logits);
    llrt_candidate *got = malloc((size_t)n_vocab * sizeof *got);
    for (int32_t i = 0; i < n_vocab; i++) logits[i] = logf((float)i);
    int32_t least = 0, size = n_vocab;
    for (const char *stage = queue; *stage; stage++) {
        /*
         * One stage alone, on logits where what earlier stages dropped is -infinity: any order
         * can be run.
         */
        llrt_sampler_options o = plain_options();
        if (*stage == 'k') o.top_k = top_k;
        if (*stage == 'p') o.top_p = top_p;
        if (*stage == 'm') o.min_p = min_p;
        llrt_sampler *s = make((uint32_t)n_vocab, &o);
        size_t n;
        assert_int_equal(llrt_sampler_distribution(s, logits, got, &n, NULL), LLRT_OK);
        llrt_sampler_free(s);

        int32_t expected = 0;
        if (*stage == 'k') {
            expected = size < top_k ? size : top_k;
            least = least > n_vocab - top_k ? least : n_vocab - top_k;
        } else if (*stage == 'p') {
            const int32_t divisor = n_vocab * (n_vocab - 1) / 2 - least * (least - 1) / 2;
            const int32_t target = (int32_t)ceilf(top_p * (float)divisor);
            least = n_vocab;
            int32_t sum = 0;
            do {
                least--;
                expected++;
                sum += least;
            } while (sum < target);
            if (least == 1) {
                least--;
                expected++;
            }
        } else {
            expected = (int32_t)ceilf((1.0f - min_p) * (float)n_vocab);
            expected = expected < 1 ? 1 : expected;
            expected = expected > size ? size : expected;
            least = (int32_t)floorf(min_p * (float)n_vocab);
            least = least < 1 ? 1 : least;
            least = least < n_vocab - size ? n_vocab - size : least;
            least = least > n_vocab - 1 ? n_vocab - 1 : least;
        }
        size = expected;
        /* Token 0 has the logit -infinity. The cases count it; with us it is no candidate. */
        const bool counts_zero = least == 0 || (*stage == 'm' && expected == n_vocab);
        assert_int_equal(n, counts_zero ? expected - 1 : expected);
        assert_int_equal(got[0].token, n_vocab - 1);
        assert_int_equal(got[n - 1].token, counts_zero ? 1 : least);
        for (int32_t i = 0; i < got[n - 1].token; i++) logits[i] = -INFINITY;
    }
    free(logits);
    free(got);
}

static void check_case(const char *fn, const llrti_json *args)
{
    llrt_sampler_options o = plain_options();
    if (strcmp(fn, "test_sampler_queue") == 0) {
        check_queue(args);
        return;
    }
    const bool has_history = strcmp(fn, "test_penalties") == 0 || strcmp(fn, "test_dry") == 0;
    const numbers probs = read_numbers(llrti_json_at(args, 0));
    const numbers history = has_history ? read_numbers(llrti_json_at(args, 1)) : (numbers){0};
    const numbers expected = read_numbers(llrti_json_at(args, has_history ? 2 : 1));
    const uint32_t p = has_history ? 3 : 2;
    int32_t breakers[4];
    if (strcmp(fn, "test_temp") == 0) {
        o.temperature = (float)arg(args, p);
    } else if (strcmp(fn, "test_temp_ext") == 0) {
        assert_true(arg(args, p + 1) ==
                    0.0); /* both cases have a delta of 0: that is plain temperature */
        o.temperature = (float)arg(args, p);
    } else if (strcmp(fn, "test_top_k") == 0) {
        o.top_k = (int32_t)arg(args, p);
    } else if (strcmp(fn, "test_top_p") == 0) {
        o.top_p = (float)arg(args, p);
    } else if (strcmp(fn, "test_min_p") == 0) {
        o.min_p = (float)arg(args, p);
        if (o.min_p > 1.0f) {
            /*
             * The case allows 1.05 and keeps the best token. Our range ends at 1, which does the
             * same.
             */
            llrt_sampler *s;
            assert_int_equal(llrt_sampler_create(4, &o, &s, NULL), LLRT_ERR_ARGUMENT);
            o.min_p = 1.0f;
        }
    } else if (strcmp(fn, "test_xtc") == 0) {
        o.xtc_probability = 1.0f; /* the cases have 0.99 and a seed with which it happens */
        o.xtc_threshold = (float)arg(args, p + 1);
    } else if (strcmp(fn, "test_typical") == 0) {
        o.typical_p = (float)arg(args, p);
    } else if (strcmp(fn, "test_top_n_sigma") == 0) {
        o.top_n_sigma = (float)arg(args, p);
    } else if (strcmp(fn, "test_penalties") == 0) {
        o.penalty_last_n = (int32_t)history.n;
        o.repetition_penalty = (float)arg(args, p);
        o.frequency_penalty = (float)arg(args, p + 1);
        o.presence_penalty = (float)arg(args, p + 2);
    } else if (strcmp(fn, "test_dry") == 0) {
        o.dry_multiplier = (float)arg(args, p);
        o.dry_base = (float)arg(args, p + 1);
        o.dry_allowed_length = (int32_t)arg(args, p + 2);
        o.dry_last_n = (int32_t)arg(args, p + 3);
        const llrti_json *lists = llrti_json_at(args, p + 4);
        for (; o.n_dry_breaker < lists->n; o.n_dry_breaker++) {
            const llrti_json *list = llrti_json_at(lists, o.n_dry_breaker);
            assert_int_equal(list->n, 1); /* ours are single tokens, as those of the cases */
            breakers[o.n_dry_breaker] = (int32_t)arg(list, 0);
        }
        o.dry_breaker = breakers;
    } else {
        fail_msg("unknown function %s", fn);
    }
    check_distribution(&o, &probs, has_history ? &history : NULL, &expected);
}

static void test_published_cases(void **state)
{
    const char *const dir = getenv("LLRT_TEST_DATA");
    char path[1024];
    snprintf(path, sizeof path, "%s/numeric/llama.cpp_sampling_cases.json", dir ? dir : "");
    FILE *file = dir ? fopen(path, "rb") : NULL;
    if (!file) {
        print_message("test_published_cases: no %s\n", path);
        skip();
    }
    static char text[65536];
    const size_t size = fread(text, 1, sizeof text, file);
    fclose(file);
    llrti_mem mem;
    llrti_mem_init(&mem, NULL);
    llrti_json_doc *doc = NULL;
    assert_int_equal(llrti_json_parse(&mem, text, size, &doc, NULL), LLRT_OK);
    const llrti_json *cases = llrti_json_get(llrti_json_root(doc), "cases");
    assert_int_equal(cases->n, 65);
    for (uint32_t i = 0; i < cases->n; i++) {
        const llrti_json *one = llrti_json_at(cases, i);
        check_case(llrti_json_string(llrti_json_get(one, "fn"), ""), llrti_json_get(one, "args"));
    }
    llrti_json_free(doc);
}

/* ---- The property: a front of candidates and all logits give the same ---- */

static size_t shift_stage(void *ctx, llrt_candidate *c, size_t n)
{
    for (size_t i = 0; i < n; i++) c[i].logit -= (float)(c[i].token % 7) * *(float *)ctx;
    if (n > 3) c[2].logit = NAN;
    return n > 8 ? n - n / 8 : n;
}

static llrt_sampler_options random_options(llrti_rng *rng, llrt_logit_bias *bias, uint32_t n_vocab,
                                           float *stage_ctx)
{
    llrt_sampler_options o = plain_options();
    o.seed = llrti_rng_next(rng);
    o.temperature = below(rng, 5) == 0 ? 0.0f : (float)(0.1 + 2 * uniform(rng));
    if (below(rng, 2)) o.top_k = 1 + (int32_t)below(rng, below(rng, 4) ? 100 : 3000);
    if (below(rng, 2)) o.top_p = (float)uniform(rng);
    if (below(rng, 3) == 0) o.min_p = (float)(uniform(rng) * uniform(rng) * 0.3);
    if (below(rng, 6) == 0) o.typical_p = (float)uniform(rng);
    if (below(rng, 8) == 0) o.top_n_sigma = (float)(uniform(rng) * 4);
    if (below(rng, 5) == 0) o.mirostat = 2;
    o.mirostat_tau = (float)(1 + 8 * uniform(rng));
    if (below(rng, 4) == 0) {
        o.xtc_probability = (float)uniform(rng);
        o.xtc_threshold = (float)(uniform(rng) * 0.3);
    }
    if (below(rng, 4) == 0) o.n_min_keep = below(rng, 20);
    if (below(rng, 2)) o.n_logprobs = below(rng, 4) ? below(rng, 20) : below(rng, 1025);
    if (below(rng, 3) == 0) {
        o.repetition_penalty = (float)(0.8 + uniform(rng));
        o.frequency_penalty = (float)uniform(rng);
        o.presence_penalty = (float)uniform(rng);
        o.penalty_last_n = (int32_t)below(rng, 40) - 1;
    }
    if (below(rng, 3) == 0) {
        o.dry_multiplier = (float)uniform(rng);
        o.dry_last_n = (int32_t)below(rng, 50) - 1;
    }
    if (below(rng, 4) == 0) {
        o.n_logit_bias = 1 + below(rng, n_vocab < 30 ? n_vocab : 30);
        o.logit_bias = bias;
        for (uint32_t i = 0; i < o.n_logit_bias; i++) {
            bias[i].token = (int32_t)below(rng, n_vocab);
            bias[i].bias = below(rng, 4) ? (float)(uniform(rng) * 10 - 5) : -INFINITY;
        }
    }
    if (below(rng, 10) == 0) {
        o.stage = shift_stage;
        o.stage_ctx = stage_ctx;
    }
    return o;
}

static void assert_same_state(const llrt_sampler *a, const llrt_sampler *b)
{
    const llrti_rng ra = llrti_sampler_rng(a), rb = llrti_sampler_rng(b);
    assert_memory_equal(&ra, &rb, sizeof ra);
    const double ma = llrti_sampler_mu(a), mb = llrti_sampler_mu(b);
    assert_memory_equal(&ma, &mb, sizeof ma);
    size_t na, nb;
    const llrt_logprob *la = llrt_sampler_logprobs(a, &na), *lb = llrt_sampler_logprobs(b, &nb);
    assert_int_equal(na, nb);
    if (na) assert_memory_equal(la, lb, na * sizeof *la);
}

static void test_front_equals_all_logits(void **state)
{
    llrti_rng rng;
    llrti_rng_seed(&rng, 11);
    float *x = malloc(6000 * sizeof *x);
    void *scratch = malloc(llrti_select_scratch_size(6000));
    int32_t best_token[1024];
    float best_logit[1024], stage_ctx = 0.3f;
    llrt_logit_bias bias[30];
    int n_finished = 0, n_fallback = 0, n_partial = 0, n_needs = 0;
    for (int round = 0; round < 4000; round++) {
        const uint32_t n = below(&rng, 3) == 0 ? 1 + below(&rng, 50) : 1 + below(&rng, 6000);
        const llrt_sampler_options o = random_options(&rng, bias, n, &stage_ctx);
        llrt_sampler *front, *all, *whole = make(n, &o);
        assert_int_equal(llrti_sampler_create_full(n, &o, &front, NULL), LLRT_OK);
        assert_int_equal(llrti_sampler_create_full(n, &o, &all, NULL), LLRT_OK);
        for (int step = 0; step < 4; step++) {
            const double spread = 0.3 + 4 * uniform(&rng);
            fill_logits(x, n, spread, &rng);
            for (uint32_t i = 0; below(&rng, 3) == 0 && i < n; i++)
                if (below(&rng, 3) == 0) x[i] = below(&rng, 2) ? -INFINITY : NAN;
            if (below(&rng, 5) == 0)
                for (uint32_t i = 0; i < n; i++) x[i] = floorf(x[i]); /* ties */
            for (int i = 0; i < 12; i++) { /* a history with repetitions */
                const int32_t token = (int32_t)below(&rng, n < 5 ? n : 5);
                assert_int_equal(llrt_sampler_accept(front, token, NULL), LLRT_OK);
                assert_int_equal(llrt_sampler_accept(all, token, NULL), LLRT_OK);
                assert_int_equal(llrt_sampler_accept(whole, token, NULL), LLRT_OK);
            }
            llrti_select_params params;
            llrti_sampler_prepare(front, &params);
            llrti_select_result result = {.token = best_token, .logit = best_logit};
            llrti_select(x, n, &params, scratch, &result);
            int32_t a = -1, b = -1, c = -1;
            const bool needs_logits = llrti_sampler_needs_logits(front);
            const bool is_done = llrti_sampler_finish(front, &result, &a);
            assert_false(needs_logits && is_done);
            const llrt_status status = llrti_sampler_sample_sorted(all, x, NULL, &b, NULL);
            if (!is_done)
                assert_int_equal(llrti_sampler_sample_full(front, x, NULL, &a, NULL), status);
            assert_int_equal(llrt_sampler_sample(whole, x, &c, NULL), status);
            assert_int_equal(a, b);
            assert_int_equal(a, c);
            assert_same_state(front, all);
            assert_same_state(front, whole);
            n_finished += is_done;
            n_partial += is_done && result.n < n;
            n_fallback += !is_done;
            n_needs += needs_logits;
        }
        llrt_sampler_free(front);
        llrt_sampler_free(all);
        llrt_sampler_free(whole);
    }
    print_message("%d finished (%d of a part), %d not, %d of these known before\n", n_finished,
                  n_partial, n_fallback, n_needs);
    assert_true(n_partial > 2000 && n_fallback - n_needs > 100);
    free(x);
    free(scratch);
}

static void test_mask(void **state)
{
    float x[100];
    uint32_t allowed[4] = {0, 1u << 5, 0, 0};
    for (int i = 0; i < 100; i++) x[i] = (float)(i % 10);
    llrt_sampler_options o = plain_options();
    llrt_sampler *s = make(100, &o);
    int32_t token;
    assert_int_equal(llrti_sampler_begin(s, NULL), LLRT_OK);
    assert_int_equal(llrti_sampler_sample_full(s, x, allowed, &token, NULL), LLRT_OK);
    assert_int_equal(token, 37);
    allowed[1] = 0;
    assert_int_equal(llrti_sampler_sample_full(s, x, allowed, &token, NULL), LLRT_ERR_ARGUMENT);
    llrti_sampler_end(s);
    llrt_sampler_free(s);
}

/* ---- Draws ---- */

static void check_chi_square(llrt_sampler *s, const float *logits, uint32_t n, const double *p)
{
    const int n_draw = 200000;
    int *count = calloc(n, sizeof *count);
    for (int i = 0; i < n_draw; i++) count[sample(s, logits)]++;
    double chi = 0;
    int cells = -1;
    for (uint32_t i = 0; i < n; i++) {
        const double e = p[i] * n_draw;
        if (p[i] == 0) {
            assert_int_equal(count[i], 0);
            continue;
        }
        chi += (count[i] - e) * (count[i] - e) / e;
        cells++;
    }
    /* Wilson and Hilferty's approximation of the quantile at five standard deviations. */
    const double k = cells, q = k * pow(1 - 2 / (9 * k) + 5 * sqrt(2 / (9 * k)), 3);
    if (chi > q)
        fail_msg("chi square %g with %d degrees of freedom, expected at most %g", chi, cells, q);
    free(count);
}

static void test_draws_follow_the_distribution(void **state)
{
    llrti_rng rng;
    llrti_rng_seed(&rng, 21);
    for (int round = 0; round < 4; round++) {
        float x[40];
        double p[40] = {0}, sum = 0;
        fill_logits(x, 40, 1.0, &rng);
        llrt_sampler_options o = plain_options();
        o.seed = 100 + (uint64_t)round;
        o.temperature = 0.5f + (float)round * 0.4f;
        if (round == 2) o.top_k = 7;
        for (int i = 0; i < 40; i++) {
            int rank = 0;
            for (int j = 0; j < 40; j++) rank += x[j] > x[i];
            if (round == 2 && rank >= 7) continue;
            sum += p[i] = exp((double)x[i] / (double)o.temperature);
        }
        for (int i = 0; i < 40; i++) p[i] /= sum;
        llrt_sampler *s = make(40, &o);
        check_chi_square(s, x, 40, p);
        llrt_sampler_free(s);
    }
}

static void test_xtc_happens_with_its_probability(void **state)
{
    const float x[] = {2.0f, 1.9f, 1.8f, -3.0f};
    llrt_sampler_options o = plain_options();
    o.xtc_probability = 0.3f;
    o.temperature = 0.0f; /* so the token says whether the top was dropped */
    llrt_sampler *s = make(4, &o);
    const double p[] = {0.7, 0.0, 0.3, 0.0};
    check_chi_square(s, x, 4, p);
    llrt_sampler_free(s);
}

static void test_same_seed_same_tokens(void **state)
{
    enum { N = 3000, STEPS = 60 };
    llrti_rng rng;
    llrti_rng_seed(&rng, 31);
    static float x[STEPS][N];
    for (int i = 0; i < STEPS; i++) fill_logits(x[i], N, 3.0, &rng);
    llrt_sampler_options o = default_options();
    o.seed = 5;
    o.temperature = 1.5f;
    o.repetition_penalty = 1.2f;
    o.dry_multiplier = 0.8f;
    o.mirostat = 2;
    llrt_sampler *s = make(N, &o), *t = make(N, &o);
    int32_t first[STEPS];
    int n_other = 0;
    for (int i = 0; i < STEPS; i++) {
        first[i] = sample(s, x[i]);
        assert_int_equal(sample(t, x[i]), first[i]);
        if (i == STEPS / 2) { /* a clone goes on as its original does */
            llrt_sampler *clone;
            assert_int_equal(llrt_sampler_clone(t, &clone, NULL), LLRT_OK);
            llrt_sampler_free(t);
            t = clone;
        }
    }
    llrt_sampler_reset(s);
    for (int i = 0; i < STEPS; i++) assert_int_equal(sample(s, x[i]), first[i]);
    llrt_sampler_reset(s);
    llrt_sampler_set_seed(s, 6);
    for (int i = 0; i < STEPS; i++) n_other += sample(s, x[i]) != first[i];
    assert_true(n_other > STEPS / 4);
    llrt_sampler_set_seed(s, 5);
    llrt_sampler_reset(s);
    for (int i = 0; i < STEPS; i++) assert_int_equal(sample(s, x[i]), first[i]);
    llrt_sampler_free(s);
    llrt_sampler_free(t);
}

static void test_greedy_ties_and_odd_logits(void **state)
{
    llrt_sampler_options o = plain_options();
    o.temperature = 0.0f;
    llrt_sampler *s = make(5, &o);
    const float ties[] = {1.0f, 3.0f, 3.0f, 3.0f, 0.0f};
    assert_int_equal(sample(s, ties), 1);
    const float odd[] = {NAN, -INFINITY, -0.0f, 0.0f, NAN};
    assert_int_equal(sample(s, odd), 2);
    const float infinite[] = {1.0f, NAN, INFINITY, 3e38f, INFINITY};
    assert_int_equal(sample(s, infinite), 2);
    llrt_sampler_free(s);

    o.temperature = 1.0f;
    s = make(5, &o);
    int n[5] = {0};
    for (int i = 0; i < 2000; i++) n[sample(s, infinite)]++;
    assert_true(n[2] > 800 && n[4] > 800 && n[2] + n[4] == 2000);
    const float none[] = {NAN, -INFINITY, NAN, -INFINITY, -INFINITY};
    int32_t token = 7;
    llrt_error err = LLRT_ERROR_INIT;
    const llrti_rng before = llrti_sampler_rng(s);
    assert_int_equal(llrt_sampler_sample(s, none, &token, &err), LLRT_ERR_ARGUMENT);
    assert_string_equal(err.field, "logits");
    const llrti_rng after = llrti_sampler_rng(s);
    assert_memory_equal(&before, &after, sizeof before);
    llrt_candidate c[5];
    size_t n_candidate = 9;
    assert_int_equal(llrt_sampler_distribution(s, none, c, &n_candidate, NULL), LLRT_ERR_ARGUMENT);
    assert_int_equal(n_candidate, 0);
    assert_int_equal(llrt_sampler_sample(s, NULL, &token, NULL), LLRT_ERR_ARGUMENT);
    assert_int_equal(llrt_sampler_distribution(s, none, NULL, &n_candidate, NULL),
                     LLRT_ERR_ARGUMENT);
    assert_int_equal(llrt_sampler_sample(NULL, none, &token, NULL), LLRT_ERR_ARGUMENT);
    llrt_sampler_free(s);
    llrt_sampler_free(NULL);

    s = make(1, NULL);
    const float only = -5.0f;
    assert_int_equal(sample(s, &only), 0);
    assert_int_equal(llrt_sampler_n_vocab(s), 1);
    llrt_sampler_free(s);
}

static void test_smallest_and_largest_temperature(void **state)
{
    const float temperatures[] = {1e-45f, 1e-38f, 1e-30f, 1e30f, 3.4e38f};
    const float x[] = {1.0f, 2.0f, -3e38f, 3e38f, -INFINITY};
    for (int i = 0; i < 5; i++) {
        llrt_sampler_options o = plain_options();
        o.temperature = temperatures[i];
        llrt_sampler *s = make(5, &o);
        for (int k = 0; k < 100; k++) {
            const int32_t token = sample(s, x);
            assert_true(i < 3 ? token == 3 : token >= 0 && token < 4);
        }
        llrt_sampler_free(s);
    }
}

/* ---- Log-probabilities ---- */

static void test_logprobs(void **state)
{
    enum { N = 5000 };
    llrti_rng rng;
    llrti_rng_seed(&rng, 41);
    static float x[N];
    for (int round = 0; round < 20; round++) {
        fill_logits(x, N, 4.0, &rng);
        double max = -1e300, sum = 0;
        for (int i = 0; i < N; i++) max = (double)x[i] > max ? (double)x[i] : max;
        for (int i = 0; i < N; i++) sum += exp((double)x[i] - max);
        llrt_sampler_options o = round % 2 ? plain_options() : default_options();
        o.n_logprobs = round % 5 == 4 ? 1024 : 20;
        llrt_logit_bias bias = {(int32_t)below(&rng, N), 8.0f};
        if (round % 3 == 0) { /* they are of the model's logits, not of the changed ones */
            o.logit_bias = &bias;
            o.n_logit_bias = 1;
            o.repetition_penalty = 1.5f;
        }
        llrt_sampler *s = make(N, &o);
        size_t n = 1;
        assert_null(llrt_sampler_logprobs(s, &n));
        assert_int_equal(n, 0);
        for (int k = 0; k < 3; k++) {
            const int32_t token = sample(s, x);
            const llrt_logprob *l = llrt_sampler_logprobs(s, &n);
            assert_int_equal(n, 1 + o.n_logprobs);
            assert_int_equal(l[0].token, token);
            for (size_t i = 0; i < n; i++) {
                const double exact = (double)x[l[i].token] - max - log(sum);
                assert_true(fabs((double)l[i].logprob - exact) < 3e-6 + 1e-7 * fabs(exact));
                if (i > 1) assert_true(l[i - 1].logprob >= l[i].logprob);
            }
            int n_better = 0;
            for (int i = 0; i < N; i++) n_better += x[i] > x[l[n - 1].token];
            assert_int_equal(n_better, n - 2);
        }
        llrt_sampler_reset(s);
        llrt_sampler_logprobs(s, &n);
        assert_int_equal(n, 0);
        llrt_sampler_free(s);
    }
}

/* ---- DRY and penalties against the definition ---- */

static void test_dry_against_brute_force(void **state)
{
    llrti_rng rng;
    llrti_rng_seed(&rng, 51);
    for (int round = 0; round < 1500; round++) {
        enum { MAX = 400 };
        const uint32_t n_vocab = 2 + below(&rng, 6);
        const int32_t last_n = below(&rng, 3) ? -1 : (int32_t)below(&rng, 60);
        int32_t breaker = (int32_t)below(&rng, n_vocab), history[MAX];
        llrt_sampler_options o = plain_options();
        o.dry_multiplier = 0.5f + (float)uniform(&rng);
        o.dry_base = 1.0f + (float)uniform(&rng);
        o.dry_allowed_length = (int32_t)below(&rng, 5);
        o.dry_last_n = last_n;
        o.dry_breaker = &breaker;
        o.n_dry_breaker = below(&rng, 2);
        llrt_sampler *s = make(n_vocab, &o);
        const uint32_t n_all = below(&rng, MAX);
        const uint32_t period = 1 + below(&rng, 12);
        for (uint32_t i = 0; i < n_all; i++) { /* noisy repetitions */
            history[i] = i >= period && below(&rng, 10) ? history[i - period]
                                                        : (int32_t)below(&rng, n_vocab);
            assert_int_equal(llrt_sampler_accept(s, history[i], NULL), LLRT_OK);
        }
        const uint32_t n = last_n >= 0 && n_all > (uint32_t)last_n ? (uint32_t)last_n : n_all;
        const int32_t *h = history + (n_all - n);

        float x[8];
        double p[8], sum = 0;
        for (uint32_t token = 0; token < n_vocab; token++) {
            x[token] = (float)(uniform(&rng) * 4);
            int longest = -1;
            for (uint32_t j = 0; j < n; j++) {
                if (h[j] != (int32_t)token) continue;
                int length = 0; /* of the end of h[0, j) that is also the end of h[0, n) */
                while ((uint32_t)length < j &&
                       h[j - 1 - (uint32_t)length] == h[n - 1 - (uint32_t)length] &&
                       !(o.n_dry_breaker && h[n - 1 - (uint32_t)length] == breaker))
                    length++;
                if (length > longest) longest = length;
            }
            double logit = (double)x[token];
            if (longest >= o.dry_allowed_length && n > (uint32_t)o.dry_allowed_length &&
                !(o.n_dry_breaker && breaker == (int32_t)token))
                logit -= fmin((double)o.dry_multiplier *
                                  pow((double)o.dry_base, (double)(longest - o.dry_allowed_length)),
                              3.4e38);
            sum += p[token] = exp(logit);
        }
        if (sum > 1e-30) {
            llrt_candidate c[8];
            size_t n_candidate;
            assert_int_equal(llrt_sampler_distribution(s, x, c, &n_candidate, NULL), LLRT_OK);
            double got[8] = {0};
            for (size_t i = 0; i < n_candidate; i++) got[c[i].token] = (double)c[i].logit;
            for (uint32_t i = 0; i < n_vocab; i++)
                if (fabs(got[i] - p[i] / sum) > 1e-5)
                    fail_msg("token %u: %g, expected %g", i, got[i], p[i] / sum);
        }
        llrt_sampler_free(s);
    }
}

static void test_penalties_over_a_sliding_window(void **state)
{
    llrti_rng rng;
    llrti_rng_seed(&rng, 61);
    for (int round = 0; round < 60; round++) {
        enum { N = 30, LENGTH = 300 };
        llrt_sampler_options o = plain_options();
        o.repetition_penalty = 0.7f + (float)uniform(&rng);
        o.frequency_penalty = (float)uniform(&rng) - 0.3f;
        o.presence_penalty = (float)uniform(&rng) - 0.3f;
        o.penalty_last_n = round % 5 == 0 ? -1 : (int32_t)below(&rng, 50);
        if (round % 2) { /* DRY with a longer history that never finds anything */
            o.dry_multiplier = 1.0f;
            o.dry_allowed_length = 1000;
        }
        llrt_sampler *s = make(N, &o);
        int32_t history[LENGTH];
        for (int n = 0; n < LENGTH; n++) {
            float x[N];
            double p[N], sum = 0;
            for (int i = 0; i < N; i++) {
                x[i] = (float)(uniform(&rng) * 6 - 3);
                int count = 0;
                for (int j = 0; j < n; j++)
                    count += history[j] == i && (o.penalty_last_n < 0 || j >= n - o.penalty_last_n);
                double y = (double)x[i];
                if (count) {
                    y = y > 0 ? y / (double)o.repetition_penalty : y * (double)o.repetition_penalty;
                    y -= count * (double)o.frequency_penalty + (double)o.presence_penalty;
                }
                sum += p[i] = exp(y);
            }
            llrt_candidate c[N];
            size_t n_candidate;
            assert_int_equal(llrt_sampler_distribution(s, x, c, &n_candidate, NULL), LLRT_OK);
            assert_int_equal(n_candidate, N);
            for (int i = 0; i < N; i++)
                assert_true(fabs((double)c[i].logit - p[c[i].token] / sum) < 3e-6);
            history[n] = (int32_t)(below(&rng, 2) ? below(&rng, N) : below(&rng, 4));
            assert_int_equal(llrt_sampler_accept(s, history[n], NULL), LLRT_OK);
        }
        llrt_sampler_free(s);
    }
}

static void test_history_is_bounded(void **state)
{
    llrt_sampler_options o = plain_options();
    o.repetition_penalty = 1.1f;
    o.dry_multiplier = 1.0f;
    o.penalty_last_n = -1;
    llrt_sampler *s = make(100000, &o);
    for (int32_t i = 0; i < 300000; i++)
        assert_int_equal(llrt_sampler_accept(s, i % 100000, NULL), LLRT_OK);
    llrti_select_params params;
    llrti_sampler_prepare(s, &params);
    assert_int_equal(params.n_penalty, 65536);
    for (uint32_t i = 0; i < params.n_penalty; i++) {
        assert_int_equal(params.penalty_count[i], 1);
        assert_true(params.penalty_token[i] >= 100000 - 65536);
    }
    assert_int_equal(params.n_subtract, 0);
    llrt_sampler_free(s);
}

/* ---- Single stages ---- */

static void test_logit_bias(void **state)
{
    const llrt_logit_bias bias[] = {{3, 1.0f}, {1, -INFINITY}, {3, 1.5f}, {0, 5.0f}, {0, -5.0f}};
    llrt_sampler_options o = plain_options();
    o.logit_bias = bias;
    o.n_logit_bias = 4 + 1;
    llrt_sampler *s = make(5, &o);
    const float x[] = {0.0f, 9.0f, 1.0f, 0.0f, -1.0f};
    llrt_candidate c[5];
    size_t n;
    assert_int_equal(llrt_sampler_distribution(s, x, c, &n, NULL), LLRT_OK);
    assert_int_equal(n, 4);
    const double sum = exp(2.5) + exp(1.0) + 1 + exp(-1.0);
    const int32_t order[] = {3, 2, 0, 4};
    const double p[] = {exp(2.5) / sum, exp(1.0) / sum, 1 / sum, exp(-1.0) / sum};
    for (int i = 0; i < 4; i++) {
        assert_int_equal(c[i].token, order[i]);
        assert_true(fabs((double)c[i].logit - p[i]) < 1e-6);
    }
    llrt_sampler_free(s);
}

static void test_min_keep(void **state)
{
    const float x[] = {5.0f, 1.0f, 0.0f, -1.0f, -2.0f, -3.0f};
    for (int stage = 0; stage < 6; stage++) {
        llrt_sampler_options o = plain_options();
        o.n_min_keep = 3;
        if (stage == 0) o.top_k = 1;
        if (stage == 1) o.top_p = 0.0f;
        if (stage == 2) o.min_p = 1.0f;
        if (stage == 3) o.typical_p = 0.0f;
        if (stage == 4) o.top_n_sigma = 0.01f;
        if (stage == 5) o.mirostat = 2, o.mirostat_tau = 0.0f;
        llrt_sampler *s = make(6, &o);
        llrt_candidate c[6];
        size_t n;
        assert_int_equal(llrt_sampler_distribution(s, x, c, &n, NULL), LLRT_OK);
        assert_int_equal(n, 3);
        for (int i = 0; i < 3; i++) assert_int_equal(c[i].token, i);
        llrt_sampler_free(s);
    }
}

static void test_distribution_leaves_the_sampler_alone(void **state)
{
    const float x[] = {2.0f, 1.9f, 1.8f, 1.0f};
    llrt_sampler_options o = plain_options();
    o.xtc_probability = 0.5f;
    llrt_sampler *s = make(4, &o);
    int n_dropped = 0;
    for (int i = 0; i < 100; i++) {
        llrt_candidate a[4], b[4];
        size_t na, nb;
        assert_int_equal(llrt_sampler_distribution(s, x, a, &na, NULL), LLRT_OK);
        assert_int_equal(llrt_sampler_distribution(s, x, b, &nb, NULL), LLRT_OK);
        assert_int_equal(na, nb);
        assert_memory_equal(a, b, na * sizeof *a);
        const int32_t token = sample(s, x); /* uses the number that distribution looked at */
        bool is_in = false;
        for (size_t k = 0; k < na; k++) is_in = is_in || a[k].token == token;
        assert_true(is_in);
        n_dropped += na < 4;
    }
    assert_true(n_dropped > 25 && n_dropped < 75);
    llrt_sampler_free(s);
}

/* Mirostat 2 as its paper states it, in double precision, fed with the sampler's own draws. */
static void test_mirostat(void **state)
{
    enum { N = 2000 };
    llrti_rng rng;
    llrti_rng_seed(&rng, 71);
    static float x[N];
    llrt_sampler_options o = plain_options();
    o.mirostat = 2;
    o.mirostat_tau = 4.0f;
    llrt_sampler *s = make(N, &o);
    double mu = 8.0, total_surprise = 0;
    const int steps = 600;
    for (int step = 0; step < steps; step++) {
        fill_logits(x, N, 2.0, &rng);
        double sum = 0, kept = 0;
        for (int i = 0; i < N; i++) sum += exp((double)x[i]);
        int best = 0, n_kept = 0;
        for (int i = 0; i < N; i++) best = x[i] > x[best] ? i : best;
        for (int i = 0; i < N; i++) {
            const double p = exp((double)x[i]) / sum;
            if (i == best || -log2(p) <= mu) kept += p, n_kept++;
        }
        llrt_candidate c[N];
        size_t n;
        assert_int_equal(llrt_sampler_distribution(s, x, c, &n, NULL), LLRT_OK);
        assert_true(labs((long)n - n_kept) <= 1); /* a candidate on the edge may fall either way */
        const int32_t token = sample(s, x);
        const double p = exp((double)x[token]) / sum;
        assert_true(token == best || -log2(p) <= mu + 1e-4);
        const double surprise = -log2(p / kept);
        total_surprise += surprise;
        mu -= (double)o.mirostat_eta * (surprise - (double)o.mirostat_tau);
        assert_true(fabs(llrti_sampler_mu(s) - mu) < 2e-2);
        mu = llrti_sampler_mu(s);
    }
    assert_true(fabs(total_surprise / steps - 4.0) < 0.3); /* it does reach its target */
    llrt_sampler_reset(s);
    assert_true(llrti_sampler_mu(s) == 8.0);
    llrt_sampler_free(s);
}

static size_t bad_stage(void *ctx, llrt_candidate *c, size_t n)
{
    const int kind = *(int *)ctx;
    for (size_t i = 0; i < n; i++) {
        if (kind == 1) c[i].token = -5;
        if (kind == 2) c[i].logit = NAN;
        if (kind == 3) c[i].token = i == 3 ? 2 : INT32_MAX;
        if (kind == 4) c[i].logit = -c[i].logit;
    }
    return kind == 0 ? 0 : kind == 5 ? SIZE_MAX : kind == 6 ? 1 : n;
}

static void test_custom_stage(void **state)
{
    enum { N = 2000 };
    static float x[N];
    for (int i = 0; i < N; i++) x[i] = -(float)i;
    int kind;
    llrt_sampler_options o = plain_options();
    o.stage = bad_stage;
    o.stage_ctx = &kind;
    o.top_k = 3;
    llrt_sampler *s = make(N, &o);
    static llrt_candidate c[N];
    size_t n;
    for (kind = 0; kind < 7; kind++) {
        const llrt_status status = llrt_sampler_distribution(s, x, c, &n, NULL);
        int32_t token = -1;
        assert_int_equal(llrt_sampler_sample(s, x, &token, NULL), status);
        assert_int_equal(status, kind == 1 || kind == 2 ? LLRT_ERR_ARGUMENT : LLRT_OK);
        if (kind == 0 || kind == 5) assert_true(n == 3 && c[0].token == 0);
        if (kind == 3) assert_true(n == 1 && token == 2);
        if (kind == 4) assert_true(n == 3 && c[0].token == N - 1 && token >= N - 3);
        if (kind == 6) assert_true(n == 1 && token == 0);
    }
    llrt_sampler_free(s);
}

/* ---- The handle ---- */

static void test_options_are_checked(void **state)
{
    const struct {
        const char *name;
        size_t offset;
        float bad[4];
    } floats[] = {
#define F(field, ...)                                                                              \
    {                                                                                              \
#field, offsetof(llrt_sampler_options, field),                                             \
        {                                                                                          \
            NAN, INFINITY, __VA_ARGS__                                                             \
        }                                                                                          \
    }
        F(temperature, -1.0f, -1e-30f),
        F(top_p, -0.1f, 1.1f),
        F(min_p, -0.1f, 1.1f),
        F(typical_p, -0.1f, 1.1f),
        F(top_n_sigma, -INFINITY, NAN),
        F(xtc_probability, -0.1f, 1.1f),
        F(xtc_threshold, -0.1f, 1.1f),
        F(repetition_penalty, 0.0f, -1.0f),
        F(frequency_penalty, -INFINITY, NAN),
        F(presence_penalty, -INFINITY, NAN),
        F(dry_multiplier, -1.0f, NAN),
        F(dry_base, 0.9f, -1.0f),
        F(mirostat_tau, -1.0f, NAN),
        F(mirostat_eta, -1.0f, NAN),
#undef F
    };
    llrt_error err = LLRT_ERROR_INIT;
    llrt_sampler *s;
    for (size_t i = 0; i < sizeof floats / sizeof *floats; i++)
        for (int k = 0; k < 4; k++) {
            llrt_sampler_options o = default_options();
            memcpy((char *)&o + floats[i].offset, &floats[i].bad[k], sizeof(float));
            assert_int_equal(llrt_sampler_create(10, &o, &s, &err), LLRT_ERR_ARGUMENT);
            assert_string_equal(err.field, floats[i].name);
            assert_null(s);
        }
    const struct {
        const char *name;
        size_t offset;
        int32_t bad;
    } ints[] = {
#define I(field, bad) {#field, offsetof(llrt_sampler_options, field), bad}
        I(mirostat, 1),
        I(mirostat, 3),
        I(top_k, -1),
        I(penalty_last_n, -2),
        I(penalty_last_n, 65537),
        I(dry_last_n, -2),
        I(dry_last_n, 65537),
        I(dry_allowed_length, -1),
        I(n_logprobs, 1025),
        I(n_logit_bias, 11),
        I(n_dry_breaker, 11),
        I(struct_size, 0),
        I(struct_size, 3),
        I(struct_size, -1),
#undef I
    };
    for (size_t i = 0; i < sizeof ints / sizeof *ints; i++) {
        llrt_sampler_options o = default_options();
        memcpy((char *)&o + ints[i].offset, &ints[i].bad, sizeof(int32_t));
        assert_int_equal(llrt_sampler_create(10, &o, &s, &err), LLRT_ERR_ARGUMENT);
        assert_string_equal(err.field, ints[i].name);
    }
    const llrt_logit_bias biases[] = {{10, 0.0f}, {-1, 0.0f}, {0, NAN}, {0, INFINITY}};
    for (int i = 0; i < 5; i++) {
        llrt_sampler_options o = default_options();
        o.n_logit_bias = 1;
        o.logit_bias = i < 4 ? &biases[i] : NULL;
        assert_int_equal(llrt_sampler_create(10, &o, &s, &err), LLRT_ERR_ARGUMENT);
        assert_string_equal(err.field, "logit_bias");
    }
    const int32_t breakers[] = {10, -1};
    for (int i = 0; i < 3; i++) {
        llrt_sampler_options o = default_options();
        o.n_dry_breaker = 1;
        o.dry_breaker = i < 2 ? &breakers[i] : NULL;
        assert_int_equal(llrt_sampler_create(10, &o, &s, &err), LLRT_ERR_ARGUMENT);
        assert_string_equal(err.field, "dry_breaker");
    }
    assert_int_equal(llrt_sampler_create(0, NULL, &s, &err), LLRT_ERR_ARGUMENT);
    assert_string_equal(err.field, "n_vocab");
    assert_int_equal(llrt_sampler_create(UINT32_MAX, NULL, &s, &err), LLRT_ERR_ARGUMENT);
    assert_int_equal(llrt_sampler_create(10, NULL, NULL, &err), LLRT_ERR_ARGUMENT);
    s = make(10, NULL);
    assert_int_equal(llrt_sampler_accept(s, 10, &err), LLRT_ERR_ARGUMENT);
    assert_int_equal(llrt_sampler_accept(s, -1, &err), LLRT_ERR_ARGUMENT);
    llrt_sampler_free(s);
}

static void test_struct_sizes(void **state)
{
    llrt_sampler *s;
    struct {
        llrt_sampler_options o;
        uint64_t later[4];
    } big;
    llrt_sampler_options_init(&big.o, sizeof big);
    assert_int_equal(big.o.struct_size, sizeof big);
    assert_int_equal(big.later[3], 0);
    assert_int_equal(llrt_sampler_create(10, &big.o, &s, NULL), LLRT_OK);
    llrt_sampler_free(s);
    big.later[2] = 1;
    assert_int_equal(llrt_sampler_create(10, &big.o, &s, NULL), LLRT_ERR_VERSION);
    /* A caller that knew the struct up to the temperature. */
    const size_t small = offsetof(llrt_sampler_options, top_k);
    memset(&big, 0xff, sizeof big);
    llrt_sampler_options_init(&big.o, small);
    assert_int_equal(big.o.top_k, -1); /* not written */
    big.o.temperature = 0.0f;
    assert_int_equal(llrt_sampler_create(3, &big.o, &s, NULL), LLRT_OK);
    const float x[] = {1.0f, 3.0f, 2.0f};
    assert_int_equal(sample(s, x), 1);
    llrt_sampler_free(s);
    llrt_sampler_options_init(NULL, sizeof big);
    llrt_sampler_options_init(&big.o, 0);
}

static void test_busy(void **state)
{
    const float x[] = {1.0f, 3.0f, 2.0f};
    llrt_sampler *s = make(3, NULL), *copy = (void *)1;
    int32_t token;
    llrt_candidate c[3];
    size_t n;
    assert_int_equal(llrti_sampler_begin(s, NULL), LLRT_OK); /* as another thread within a call */
    assert_int_equal(llrt_sampler_sample(s, x, &token, NULL), LLRT_ERR_BUSY);
    assert_int_equal(llrt_sampler_accept(s, 0, NULL), LLRT_ERR_BUSY);
    assert_int_equal(llrt_sampler_clone(s, &copy, NULL), LLRT_ERR_BUSY);
    assert_null(copy);
    assert_int_equal(llrt_sampler_distribution(s, x, c, &n, NULL), LLRT_ERR_BUSY);
    llrt_sampler_reset(s);
    llrt_sampler_set_seed(s, 3);
    llrti_sampler_end(s);
    assert_int_equal(llrt_sampler_sample(s, x, &token, NULL), LLRT_OK);
    llrt_sampler_free(s);
}

typedef struct failing {
    int left, n_live, n_alloc;
} failing;

static void *failing_alloc(void *ctx, size_t size, size_t align, llrt_memory kind)
{
    failing *f = ctx;
    f->n_alloc++;
    if (f->left-- <= 0) return NULL;
    void *p = aligned_alloc(align, (size + align - 1) / align * align);
    f->n_live += p != NULL;
    return p;
}

static void failing_free(void *ctx, void *ptr, size_t size, size_t align, llrt_memory kind)
{
    ((failing *)ctx)->n_live--;
    free(ptr);
}

static void test_allocation_failures(void **state)
{
    failing f = {0};
    const llrt_allocator hooks = {failing_alloc, failing_free, &f};
    const llrt_logit_bias bias[] = {{3, 1.0f}, {1, 2.0f}};
    const int32_t breaker = 4;
    llrt_sampler_options o = plain_options();
    o.allocator = &hooks;
    o.logit_bias = bias;
    o.n_logit_bias = 2;
    o.repetition_penalty = 1.1f;
    o.dry_multiplier = 1.0f;
    o.dry_breaker = &breaker;
    o.n_dry_breaker = 1;
    o.n_logprobs = 5;
    llrt_sampler *s = NULL, *copy = NULL;
    llrt_status status = LLRT_ERR_NOMEM;
    int n_failed = 0;
    for (; status != LLRT_OK; n_failed++) {
        f.left = n_failed;
        status = llrt_sampler_create(2000, &o, &s, NULL);
        assert_true(status == LLRT_OK || (status == LLRT_ERR_NOMEM && f.n_live == 0 && s == NULL));
    }
    assert_true(n_failed >= 3);
    f.left = 0;
    assert_int_equal(llrt_sampler_clone(s, &copy, NULL), LLRT_ERR_NOMEM);
    assert_null(copy);
    f.left = 1;
    assert_int_equal(llrt_sampler_clone(s, &copy, NULL), LLRT_OK);

    /* Sampling allocates nothing, whatever path it takes. */
    llrti_rng rng;
    llrti_rng_seed(&rng, 81);
    static float x[2000];
    static llrt_candidate c[2000];
    size_t n;
    f.left = 0;
    f.n_alloc = 0;
    for (int i = 0; i < 50; i++) {
        fill_logits(x, 2000, 2.0, &rng);
        assert_int_equal(sample(s, x), sample(copy, x));
        assert_int_equal(llrt_sampler_distribution(s, x, c, &n, NULL), LLRT_OK);
    }
    llrt_sampler_reset(s);
    assert_int_equal(f.n_alloc, 0);
    llrt_sampler_free(s); /* a clone outlives its original */
    sample(copy, x);
    llrt_sampler_free(copy);
    assert_int_equal(f.n_live, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_published_cases),
        cmocka_unit_test(test_front_equals_all_logits),
        cmocka_unit_test(test_mask),
        cmocka_unit_test(test_draws_follow_the_distribution),
        cmocka_unit_test(test_xtc_happens_with_its_probability),
        cmocka_unit_test(test_same_seed_same_tokens),
        cmocka_unit_test(test_greedy_ties_and_odd_logits),
        cmocka_unit_test(test_smallest_and_largest_temperature),
        cmocka_unit_test(test_logprobs),
        cmocka_unit_test(test_dry_against_brute_force),
        cmocka_unit_test(test_penalties_over_a_sliding_window),
        cmocka_unit_test(test_history_is_bounded),
        cmocka_unit_test(test_logit_bias),
        cmocka_unit_test(test_min_keep),
        cmocka_unit_test(test_distribution_leaves_the_sampler_alone),
        cmocka_unit_test(test_mirostat),
        cmocka_unit_test(test_custom_stage),
        cmocka_unit_test(test_options_are_checked),
        cmocka_unit_test(test_struct_sizes),
        cmocka_unit_test(test_busy),
        cmocka_unit_test(test_allocation_failures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
