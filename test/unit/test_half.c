/* SPDX-License-Identifier: MIT */
/*
 * 16-bit floats: all 65536 values there and back, and rounding against the definition (the
 * nearest representable value, ties to the even one) by search in double precision.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>

#include "half.h"

static void test_every_f16_survives(void **state)
{
    for (uint32_t h = 0; h < 65536; h++) {
        const float x = llrti_f16_to_float((uint16_t)h);
        const uint32_t exponent = h >> 10 & 31, mantissa = h & 1023;
        if (exponent == 31 && mantissa) {
            assert_true(isnan(x));
            assert_true(isnan(llrti_f16_to_float(llrti_float_to_f16(x))));
            continue;
        }
        /* the value by the definition of the format */
        double value = exponent == 31 ? (double)INFINITY
                       : exponent     ? ldexp(1024 + mantissa, (int)exponent - 25)
                                      : ldexp(mantissa, -24);
        if (h & 0x8000) value = -value;
        assert_true((double)x == value);
        assert_int_equal(llrti_float_to_f16(x), h);
    }
}

static void test_every_bf16_survives(void **state)
{
    for (uint32_t h = 0; h < 65536; h++) {
        const float x = llrti_bf16_to_float((uint16_t)h);
        if (isnan(x)) {
            assert_true(isnan(llrti_bf16_to_float(llrti_float_to_bf16(x))));
        } else {
            assert_int_equal(llrti_float_to_bf16(x), h);
        }
    }
}

/* Between each two neighbours: below, at and above the middle. */
static void test_rounding_to_nearest_even(void **state)
{
    for (uint32_t h = 0; h < 0x7bff; h++) {
        const double a = (double)llrti_f16_to_float((uint16_t)h);
        const double b = (double)llrti_f16_to_float((uint16_t)(h + 1));
        const float middle = (float)((a + b) / 2);
        const uint16_t even = (uint16_t)(h & 1 ? h + 1 : h);
        assert_int_equal(llrti_float_to_f16(middle), even);
        assert_int_equal(llrti_float_to_f16(-middle), even | 0x8000);
        assert_int_equal(llrti_float_to_f16(nextafterf(middle, 0)), h);
        assert_int_equal(llrti_float_to_f16(nextafterf(middle, INFINITY)), h + 1);
    }
    for (uint32_t h = 0; h < 0x7f7f; h++) {
        const uint32_t middle = h << 16 | 0x8000;
        assert_int_equal(llrti_float_to_bf16(llrti_bits_float(middle)), h & 1 ? h + 1 : h);
        assert_int_equal(llrti_float_to_bf16(llrti_bits_float(middle - 1)), h);
        assert_int_equal(llrti_float_to_bf16(llrti_bits_float(middle + 1)), h + 1);
    }
}

static void test_overflow_and_underflow(void **state)
{
    assert_int_equal(llrti_float_to_f16(65519.996f), 0x7bff);
    assert_int_equal(llrti_float_to_f16(65520.0f), 0x7c00);
    assert_int_equal(llrti_float_to_f16(-1e30f), 0xfc00);
    assert_int_equal(llrti_float_to_f16(INFINITY), 0x7c00);
    assert_int_equal(llrti_float_to_f16(ldexpf(1, -25)), 0);
    assert_int_equal(llrti_float_to_f16(ldexpf(1.0001f, -25)), 1);
    assert_int_equal(llrti_float_to_f16(-0.0f), 0x8000);
    assert_int_equal(llrti_float_to_bf16(llrti_bits_float(0x7f7fffff)), 0x7f80);
    assert_true(isnan(llrti_bf16_to_float(llrti_float_to_bf16(llrti_bits_float(0x7f800001)))));
    assert_true(isnan(llrti_f16_to_float(llrti_float_to_f16(llrti_bits_float(0x7f800001)))));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_f16_survives),
        cmocka_unit_test(test_every_bf16_survives),
        cmocka_unit_test(test_rounding_to_nearest_even),
        cmocka_unit_test(test_overflow_and_underflow),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
