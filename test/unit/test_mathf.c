/* SPDX-License-Identifier: MIT */
/*
 * exp and log against libm in wider arithmetic. The float functions are compared at every 61st
 * float of their whole range (every float with LLRT_TEST_EXHAUSTIVE set at compile time), the
 * double ones at random points; the bounds are those stated in mathf.h.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <float.h>
#include <math.h>
#include <stdio.h>

#include "mathf.h"
#include "rng.h"

#ifdef LLRT_TEST_EXHAUSTIVE
#define STEP 1u
#else
#define STEP 61u
#endif

/* The distance in units of the last place of a float with the size of `exact`. */
static double ulp_float(float got, double exact)
{
    int e;
    frexp(exact, &e);
    return fabs((double)got - exact) / ldexp(1.0, e - 24);
}

static double ulp_double(double got, long double exact)
{
    int e;
    frexpl(exact, &e);
    return (double)(fabsl((long double)got - exact) / ldexpl(1.0L, e - 53));
}

static void test_expf(void **state)
{
    double worst = 0;
    float worst_at = 0;
    for (uint64_t u = 0; u <= UINT32_MAX; u += STEP) {
        const float x = llrti_bits_float((uint32_t)u), y = llrti_expf(x);
        if (x != x) {
            assert_true(y != y);
            continue;
        }
        const double exact = exp((double)x);
        if (exact < (double)FLT_MIN) {
            assert_true(y == 0.0f);
        } else if (exact > (double)FLT_MAX) {
            assert_true(y == INFINITY);
        } else {
            const double d = ulp_float(y, exact);
            if (d > worst) {
                worst = d;
                worst_at = x;
            }
        }
    }
    printf("expf: %.4f ulp at %a\n", worst, (double)worst_at);
    assert_true(worst <= 1.00);
}

static void test_expf_ends_of_range(void **state)
{
    assert_true(llrti_expf(0.0f) == 1.0f);
    assert_true(llrti_expf(-0.0f) == 1.0f);
    assert_true(llrti_expf(-INFINITY) == 0.0f);
    assert_true(llrti_expf(INFINITY) == INFINITY);
    const float ends[] = {0x1.62e42ep6f, 0x1.62e43p6f, -0x1.5d589cp6f, -0x1.5d589ep6f,
                          -0x1.5d58ap6f};
    for (int i = 0; i < 5; i++) {
        const double exact = exp((double)ends[i]);
        const float y = llrti_expf(ends[i]);
        if (exact > (double)FLT_MAX)
            assert_true(y == INFINITY);
        else if (exact < (double)FLT_MIN)
            assert_true(y == 0.0f);
        else
            assert_true(ulp_float(y, exact) <= 1.0);
    }
    /* Non-decreasing where the sampler compares weights: near 0, float by float. */
    float last = 0.0f;
    for (uint32_t u = llrti_float_bits(-2.0f); u >= llrti_float_bits(-1e-6f); u -= 7) {
        const float y = llrti_expf(llrti_bits_float(u));
        assert_true(y >= last);
        last = y;
    }
}

static void test_logf(void **state)
{
    double worst = 0;
    for (uint64_t u = 1; u < 0x7f800000u; u += STEP) {
        const float x = llrti_bits_float((uint32_t)u);
        const double exact = log((double)x);
        if (exact == 0.0) {
            assert_true(llrti_logf(x) == 0.0f);
            continue;
        }
        const double d = ulp_float(llrti_logf(x), exact);
        if (d > worst) worst = d;
    }
    printf("logf: %.6f ulp\n", worst);
    assert_true(worst <= 0.501);
    assert_true(llrti_logf(0.0f) == -INFINITY && llrti_logf(-0.0f) == -INFINITY);
    assert_true(llrti_logf(INFINITY) == INFINITY);
    assert_true(isnan(llrti_logf(-1.0f)) && isnan(llrti_logf(NAN)) && isnan(llrti_logf(-INFINITY)));
}

static void test_exp(void **state)
{
    llrti_rng rng;
    llrti_rng_seed(&rng, 1);
    double worst = 0;
    for (int i = 0; i < 2000000; i++) {
        const double u = llrti_rng_uniform(&rng) * 2 - 1;
        const double x = i % 4 == 0 ? u * 708 : i % 4 == 1 ? u * 20 : i % 4 == 2 ? u : u * 1e-3;
        const double d = ulp_double(llrti_exp(x), expl((long double)x));
        if (d > worst) worst = d;
    }
    printf("exp: %.4f ulp\n", worst);
    if (sizeof(long double) > sizeof(double)) assert_true(worst <= 1.1);
    assert_true(llrti_exp(0.0) == 1.0 && llrti_exp(-INFINITY) == 0.0 &&
                llrti_exp(INFINITY) == INFINITY);
    assert_true(llrti_exp(-800.0) == 0.0 && llrti_exp(800.0) == INFINITY && isnan(llrti_exp(NAN)));
    assert_true(llrti_exp(709.78) < INFINITY && llrti_exp(709.79) == INFINITY);
    assert_true(llrti_exp(-708.39) >= DBL_MIN && llrti_exp(-708.4) == 0.0);
}

static void test_log(void **state)
{
    llrti_rng rng;
    llrti_rng_seed(&rng, 2);
    double worst = 0;
    for (int i = 0; i < 2000000; i++) {
        double x;
        if (i % 2) { /* any exponent */
            const uint64_t bits = llrti_rng_next(&rng) >> 1;
            memcpy(&x, &bits, sizeof x);
            if (!(x > 0 && x <= DBL_MAX)) continue;
        } else { /* around 1 */
            x = 0.5 + 1.5 * llrti_rng_uniform(&rng);
        }
        const long double exact = logl((long double)x);
        if (exact == 0) continue;
        const double d = ulp_double(llrti_log(x), exact);
        if (d > worst) worst = d;
    }
    printf("log: %.4f ulp\n", worst);
    if (sizeof(long double) > sizeof(double)) assert_true(worst <= 1.1);
    assert_true(llrti_log(1.0) == 0.0 && llrti_log(0.0) == -INFINITY &&
                llrti_log(INFINITY) == INFINITY);
    assert_true(isnan(llrti_log(-1.0)) && isnan(llrti_log(NAN)));
    assert_true(ulp_double(llrti_log(4.9406564584124654e-324), logl(4.9406564584124654e-324L)) <=
                1.1);
}

static void test_softmax(void **state)
{
    float x[] = {1.0f, NAN, -INFINITY, 3.0f, 2.0f};
    llrti_softmax(x, 5);
    const double sum = exp(-2.0) + 1.0 + exp(-1.0);
    assert_true(fabs((double)x[0] - exp(-2.0) / sum) < 1e-7);
    assert_true(x[1] == 0.0f && x[2] == 0.0f);
    assert_true(fabs((double)x[3] - 1.0 / sum) < 1e-7);
    float none[] = {-INFINITY, NAN};
    llrti_softmax(none, 2);
    assert_true(none[0] == 0.0f && none[1] == 0.0f);
    float inf[] = {INFINITY, 1.0f, INFINITY};
    llrti_softmax(inf, 3);
    assert_true(inf[0] == 0.5f && inf[1] == 0.0f && inf[2] == 0.5f);
    llrti_softmax(NULL, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_expf), cmocka_unit_test(test_expf_ends_of_range),
        cmocka_unit_test(test_logf), cmocka_unit_test(test_exp),
        cmocka_unit_test(test_log),  cmocka_unit_test(test_softmax),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
