/* SPDX-License-Identifier: MIT */
/*
 * The row quantisers: bytes against fixtures that another project's quantiser wrote (with and
 * without importance), and what must hold for any values: errors within each format's step,
 * weights that are obeyed, scales that stay finite or are reported.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "blocks.h"
#include "quant_rows.h"
#include "quant_search.h"
#include "test_support.h"
#include "types.h"

static const uint32_t all_types[] = {
    LLRTI_TYPE_F16,  LLRTI_TYPE_BF16, LLRTI_TYPE_Q8_0,   LLRTI_TYPE_Q4_0,   LLRTI_TYPE_Q4_1,
    LLRTI_TYPE_Q5_0, LLRTI_TYPE_Q5_1, LLRTI_TYPE_Q2_K,   LLRTI_TYPE_Q3_K,   LLRTI_TYPE_Q4_K,
    LLRTI_TYPE_Q5_K, LLRTI_TYPE_Q6_K, LLRTI_TYPE_IQ4_NL, LLRTI_TYPE_IQ4_XS, LLRTI_TYPE_MXFP4};

/* ---- fixtures ---- */

/* The generator that the fixtures' importance was drawn with. */
static uint32_t mulberry32(uint32_t *state)
{
    *state += 0x6D2B79F5u;
    uint32_t t = *state;
    t = (t ^ (t >> 15)) * (t | 1u);
    t ^= t + (t ^ (t >> 7)) * (t | 61u);
    return t ^ (t >> 14);
}

static uint8_t *read_fixture(const char *folder, const char *type, int n, int is_weighted,
                             const char *what, size_t *size)
{
    char path[1024];
    snprintf(path, sizeof path, "%s/numeric/ggml_quants/%s_%d_%s_%s.bin", folder, type, n,
             is_weighted ? "im" : "noim", what);
    uint8_t *const data = (uint8_t *)test_read_file(path, size);
    assert_non_null(data);
    return data;
}

static void check_fixture(const char *folder, const char *name, uint32_t type, int n,
                          int is_weighted)
{
    enum { N_ROW = 2, MOST = 512 };
    float weight[MOST];
    uint32_t state = 2;
    for (int i = 0; i < n; i++)
        weight[i] = fabsf((float)mulberry32(&state) / 4294967296.0f * 2.0f - 1.0f) + 1e-3f;
    size_t n_input, n_expected, n_row_byte;
    uint8_t *const input = read_fixture(folder, name, n, is_weighted, "input", &n_input);
    uint8_t *const expected = read_fixture(folder, name, n, is_weighted, "expected", &n_expected);
    assert_int_equal(n_input, (size_t)n * N_ROW * sizeof(float));
    assert_true(llrti_type_row_bytes(type, (uint64_t)n, &n_row_byte));
    assert_int_equal(n_expected, N_ROW * n_row_byte);
    uint8_t *const row = malloc(n_row_byte);
    assert_non_null(row);
    for (int r = 0; r < N_ROW; r++) {
        float x[MOST];
        memcpy(x, input + (size_t)r * (size_t)n * sizeof(float), (size_t)n * sizeof(float));
        llrti_quant_rows_find(type)(x, is_weighted ? weight : NULL, (size_t)n, row);
        assert_memory_equal(row, expected + (size_t)r * n_row_byte, n_row_byte);
    }
    free(row);
    free(input);
    free(expected);
}

static void test_bytes_equal_those_of_the_fixtures(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        uint32_t type;
        int n;
    } cases[] = {{"q4_0", LLRTI_TYPE_Q4_0, 64},  {"q4_1", LLRTI_TYPE_Q4_1, 64},
                 {"q5_0", LLRTI_TYPE_Q5_0, 64},  {"q5_1", LLRTI_TYPE_Q5_1, 64},
                 {"q8_0", LLRTI_TYPE_Q8_0, 64},  {"iq4_nl", LLRTI_TYPE_IQ4_NL, 64},
                 {"q2_k", LLRTI_TYPE_Q2_K, 512}, {"q3_k", LLRTI_TYPE_Q3_K, 512},
                 {"q4_k", LLRTI_TYPE_Q4_K, 512}, {"q5_k", LLRTI_TYPE_Q5_K, 512},
                 {"q6_k", LLRTI_TYPE_Q6_K, 512}};
    const char *const folder = test_data_folder();
    if (!folder) skip();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (int is_weighted = 0; is_weighted < 2; is_weighted++)
            check_fixture(folder, cases[i].name, cases[i].type, cases[i].n, is_weighted);
}

/* ---- properties ---- */

enum { N = 1024 };

static void fill(float *x, uint32_t seed, float factor)
{
    for (int i = 0; i < N; i++)
        x[i] = factor * ((float)(mulberry32(&seed) >> 8) / 8388608.0f - 1.0f);
}

/* Quantises a row of N values and widens it again. */
static void round_trip(uint32_t type, const float *x, const float *weight, float *out)
{
    uint8_t row[N * 4];
    memset(row, 0xa5, sizeof row);
    llrti_quant_rows_find(type)(x, weight, N, row);
    assert_true(llrti_quant_rows_is_finite(type, row, N));
    llrti_blocks_find(type)(row, out, N);
}

/*
 * Most error of a value when x lies within +-most: half a step of the codes, plus what rounding the
 * scales adds. Formats with an offset span the range in 2^bits - 1 steps, those without it twice
 * the peak in 2^bits; searched scales may cut the peak, by a step at most. The 4-bit tables have
 * uneven steps: the widest is 24 of 127 (and 4 of 12 for MXFP4, whose scale is a power of two).
 */
static float error_bound(uint32_t type, float most)
{
    switch (type) {
    case LLRTI_TYPE_F16:
        return most / 2048.0f;
    case LLRTI_TYPE_BF16:
        return most / 256.0f;
    case LLRTI_TYPE_Q8_0:
        return most / 127.0f / 2.0f + most / 2048.0f;
    case LLRTI_TYPE_Q4_0:
        return most / 8.0f; /* the other end of the range is cut by a whole step */
    case LLRTI_TYPE_Q5_0:
        return most / 16.0f;
    case LLRTI_TYPE_Q4_1:
        return most / 15.0f + most / 1024.0f;
    case LLRTI_TYPE_Q5_1:
        return most / 31.0f + most / 1024.0f;
    case LLRTI_TYPE_Q2_K:
        return 2.0f * most / 3.0f;
    case LLRTI_TYPE_Q3_K:
        return most / 4.0f * 1.25f;
    case LLRTI_TYPE_Q4_K:
        return 2.0f * most / 15.0f;
    case LLRTI_TYPE_Q5_K:
        return 2.0f * most / 31.0f;
    case LLRTI_TYPE_Q6_K:
        return most / 32.0f * 1.25f;
    case LLRTI_TYPE_IQ4_NL:
    case LLRTI_TYPE_IQ4_XS:
        return most * 24.0f / 113.0f;
    default:
        return most / 4.0f; /* MXFP4: 1 of 6 either way, the scale up to twice too large */
    }
}

static void test_errors_stay_within_a_step(void **state)
{
    (void)state;
    float x[N], out[N];
    for (size_t t = 0; t < sizeof all_types / sizeof *all_types; t++) {
        for (uint32_t seed = 1; seed < 12; seed++) {
            const float most = ldexpf(1.0f, (int)seed - 4);
            fill(x, seed, most);
            round_trip(all_types[t], x, NULL, out);
            const float bound = error_bound(all_types[t], most);
            for (int i = 0; i < N; i++) {
                if (fabsf(out[i] - x[i]) <= bound) continue;
                fail_msg("%s: found %g for %g, expected at most %g away",
                         llrti_type_name(all_types[t]), (double)out[i], (double)x[i],
                         (double)bound);
            }
        }
    }
}

static void test_zeros_stay_zeros(void **state)
{
    (void)state;
    float x[N] = {0}, weight[N], out[N];
    for (int i = 0; i < N; i++) weight[i] = 1.0f;
    for (size_t t = 0; t < sizeof all_types / sizeof *all_types; t++) {
        round_trip(all_types[t], x, NULL, out);
        for (int i = 0; i < N; i++) assert_true(out[i] == 0.0f);
        round_trip(all_types[t], x, weight, out);
        for (int i = 0; i < N; i++) assert_true(out[i] == 0.0f);
    }
}

/* 1 / scale overflows for such values; no code may come from converting an infinity. */
static void test_subnormal_values_are_taken(void **state)
{
    (void)state;
    float x[N], weight[N], out[N];
    fill(x, 5, 1e-39f);
    fill(weight, 6, 1.0f);
    for (int i = 0; i < N; i++) weight[i] = fabsf(weight[i]);
    for (size_t t = 0; t < sizeof all_types / sizeof *all_types; t++) {
        round_trip(all_types[t], x, NULL, out);
        for (int i = 0; i < N; i++) assert_true(fabsf(out[i]) <= 1e-6f);
        round_trip(all_types[t], x, weight, out);
        for (int i = 0; i < N; i++) assert_true(fabsf(out[i]) <= 1e-6f);
    }
}

/* A column that matters a thousand times more than the others is met better. */
static void test_important_columns_are_met_better(void **state)
{
    (void)state;
    static const uint32_t searched[] = {LLRTI_TYPE_Q4_0,   LLRTI_TYPE_Q4_1,  LLRTI_TYPE_Q5_0,
                                        LLRTI_TYPE_Q5_1,   LLRTI_TYPE_Q2_K,  LLRTI_TYPE_Q3_K,
                                        LLRTI_TYPE_Q4_K,   LLRTI_TYPE_Q5_K,  LLRTI_TYPE_Q6_K,
                                        LLRTI_TYPE_IQ4_NL, LLRTI_TYPE_IQ4_XS};
    float x[N], weight[N], plain[N], weighted[N];
    for (int i = 0; i < N; i++) weight[i] = i % 16 == 3 ? 1000.0f : 1.0f;
    for (size_t t = 0; t < sizeof searched / sizeof *searched; t++) {
        double error[2] = {0, 0};
        for (uint32_t seed = 1; seed <= 8; seed++) {
            fill(x, seed, 1.0f);
            round_trip(searched[t], x, NULL, plain);
            round_trip(searched[t], x, weight, weighted);
            for (int i = 3; i < N; i += 16) {
                error[0] += (double)(plain[i] - x[i]) * (double)(plain[i] - x[i]);
                error[1] += (double)(weighted[i] - x[i]) * (double)(weighted[i] - x[i]);
            }
        }
        assert_true(error[1] < 0.8 * error[0]);
    }
}

static void test_rows_do_not_depend_on_each_other(void **state)
{
    (void)state;
    float x[N];
    uint8_t whole[N * 4], part[N * 4];
    fill(x, 9, 0.05f);
    for (size_t t = 0; t < sizeof all_types / sizeof *all_types; t++) {
        const llrti_quant_row quantise = llrti_quant_rows_find(all_types[t]);
        size_t n_part;
        assert_true(llrti_type_row_bytes(all_types[t], 256, &n_part));
        quantise(x, NULL, N, whole);
        for (size_t i = 0; i < N / 256; i++) quantise(x + 256 * i, NULL, 256, part + n_part * i);
        assert_memory_equal(whole, part, n_part * (N / 256));
    }
}

static void test_scales_beyond_f16_are_reported(void **state)
{
    (void)state;
    float x[N];
    uint8_t row[N * 4];
    for (size_t t = 0; t < sizeof all_types / sizeof *all_types; t++) {
        const uint32_t type = all_types[t];
        const bool has_range = type == LLRTI_TYPE_BF16 || type == LLRTI_TYPE_MXFP4;
        fill(x, 3, 1e20f);
        llrti_quant_rows_find(type)(x, NULL, N, row);
        assert_int_equal(llrti_quant_rows_is_finite(type, row, N), has_range);
    }
    for (int i = 0; i < N; i++) x[i] = 3.38e38f;
    llrti_quant_rows_find(LLRTI_TYPE_BF16)(x, NULL, N, row);
    assert_true(llrti_quant_rows_is_finite(LLRTI_TYPE_BF16, row, N));
    x[N - 1] = 3.4028235e38f; /* rounds up to infinity */
    llrti_quant_rows_find(LLRTI_TYPE_BF16)(x, NULL, N, row);
    assert_false(llrti_quant_rows_is_finite(LLRTI_TYPE_BF16, row, N));
}

static void test_plain_floats_are_kept(void **state)
{
    (void)state;
    float x[N], out[N];
    fill(x, 4, 1.0f);
    round_trip(LLRTI_TYPE_F32, x, NULL, out);
    assert_memory_equal(x, out, sizeof x);
}

static void test_types_without_a_quantiser_are_unknown(void **state)
{
    (void)state;
    assert_null(llrti_quant_rows_find(LLRTI_TYPE_I32));
    assert_null(llrti_quant_rows_find(9));
    assert_null(llrti_blocks_find(LLRTI_TYPE_I8));
}

static void test_rounding_is_to_even_and_bounded(void **state)
{
    (void)state;
    assert_int_equal(llrti_quant_round(2.5f), 2);
    assert_int_equal(llrti_quant_round(3.5f), 4);
    assert_int_equal(llrti_quant_round(-0.5f), 0);
    assert_int_equal(llrti_quant_round(-1.75f), -2);
    assert_int_equal(llrti_quant_round(1e30f), 4194303);
    assert_int_equal(llrti_quant_round(-INFINITY), -4194303);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bytes_equal_those_of_the_fixtures),
        cmocka_unit_test(test_errors_stay_within_a_step),
        cmocka_unit_test(test_zeros_stay_zeros),
        cmocka_unit_test(test_subnormal_values_are_taken),
        cmocka_unit_test(test_important_columns_are_met_better),
        cmocka_unit_test(test_rows_do_not_depend_on_each_other),
        cmocka_unit_test(test_scales_beyond_f16_are_reported),
        cmocka_unit_test(test_plain_floats_are_kept),
        cmocka_unit_test(test_types_without_a_quantiser_are_unknown),
        cmocka_unit_test(test_rounding_is_to_even_and_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
