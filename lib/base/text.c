/* SPDX-License-Identifier: MIT */
/*
 * Bounded text and locale-independent numbers.
 *
 * Reading a double: up to 19 digits with a power of ten below 10^23 are exact in one division or
 * multiplication. Everything else is decided by integers: the number is written as a fraction of
 * two big integers, the fraction is scaled by a power of two to lie in [1, 2), its bits are
 * taken off one at a time, and what is left over decides the rounding. 768 digits are enough to
 * tell any decimal from the middle between two doubles; further ones only matter by not being
 * zero.
 *
 * Writing takes the fewest digits that read back as the same value; the digits come from snprintf,
 * the decimal point does not, because the host's locale may write another one.
 */
#include "text.h"

#include <float.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "utf8.h"

/* ---- bounded strings ---- */

void llrti_text_init(llrti_text *text, char *buffer, size_t capacity)
{
    text->data = buffer;
    text->n = 0;
    text->capacity = capacity;
    text->is_cut = false;
    buffer[0] = 0;
}

void llrti_text_add_n(llrti_text *text, const char *bytes, size_t n)
{
    if (text->is_cut) return;
    const size_t room = text->capacity - 1 - text->n;
    if (n > room) {
        n = room - llrti_utf8_incomplete_tail(bytes, room);
        text->is_cut = true;
    }
    if (n) memcpy(text->data + text->n, bytes, n);
    text->n += n;
    text->data[text->n] = 0;
}

void llrti_text_add(llrti_text *text, const char *string)
{
    llrti_text_add_n(text, string, strlen(string));
}

static size_t format_list(char *buffer, size_t capacity, bool *is_cut, const char *format,
                          va_list list)
{
    const int n = vsnprintf(buffer, capacity, format, list);
    *is_cut = n < 0 || (size_t)n >= capacity;
    if (n < 0) {
        buffer[0] = 0;
        return 0;
    }
    if ((size_t)n < capacity) return (size_t)n;
    const size_t end = capacity - 1 - llrti_utf8_incomplete_tail(buffer, capacity - 1);
    buffer[end] = 0;
    return end;
}

void llrti_text_add_format(llrti_text *text, const char *format, ...)
{
    if (text->is_cut) return;
    va_list list;
    va_start(list, format);
    text->n +=
        format_list(text->data + text->n, text->capacity - text->n, &text->is_cut, format, list);
    va_end(list);
}

void llrti_text_add_quoted(llrti_text *text, const char *bytes, size_t n)
{
    const size_t shown = n < 64 ? n : 64;
    llrti_text_add_n(text, "\"", 1);
    for (size_t at = 0; at < shown;) {
        uint32_t code_point;
        const size_t used = llrti_utf8_decode(bytes + at, n - at, &code_point);
        if (code_point == LLRTI_UTF8_INVALID || code_point < 0x20 || code_point == 0x7f) {
            for (size_t i = 0; i < used; i++) {
                llrti_text_add_format(text, "\\x%02x", (unsigned)(uint8_t)bytes[at + i]);
            }
        } else {
            llrti_text_add_n(text, bytes + at, used);
        }
        at += used;
    }
    llrti_text_add(text, n > shown ? "...\"" : "\"");
}

size_t llrti_text_format(char *buffer, size_t capacity, const char *format, ...)
{
    bool is_cut;
    va_list list;
    va_start(list, format);
    const size_t n = format_list(buffer, capacity, &is_cut, format, list);
    va_end(list);
    return n;
}

const char *llrti_text_quote(char *buffer, size_t capacity, const char *bytes, size_t n)
{
    llrti_text text;
    llrti_text_init(&text, buffer, capacity);
    llrti_text_add_quoted(&text, bytes, n);
    return buffer;
}

/* ---- integers ---- */

bool llrti_text_parse_uint64(const char *text, size_t n, uint64_t *out)
{
    uint64_t value = 0;
    *out = 0;
    if (n == 0) return false;
    for (size_t i = 0; i < n; i++) {
        const uint32_t digit = (uint32_t)(uint8_t)text[i] - '0';
        if (digit > 9 || value > (UINT64_MAX - digit) / 10) return false;
        value = value * 10 + digit;
    }
    *out = value;
    return true;
}

bool llrti_text_parse_int64(const char *text, size_t n, int64_t *out)
{
    uint64_t magnitude;
    const size_t sign = n && text[0] == '-';
    *out = 0;
    if (!llrti_text_parse_uint64(text + sign, n - sign, &magnitude)) return false;
    if (magnitude > (uint64_t)INT64_MAX + sign) return false;
    *out = sign ? -(int64_t)(magnitude - 1) - 1 : (int64_t)magnitude;
    if (sign && magnitude == 0) *out = 0;
    return true;
}

/* ---- reading doubles ---- */

#define MAX_DIGITS 768
#define MAX_LIMBS 140 /* 10^1115 has 3704 bits; 66 more are needed while dividing */

typedef struct big {
    uint32_t n;
    uint32_t limb[MAX_LIMBS]; /* least significant first, the last one is not 0 */
} big;

static void big_mul_add(big *b, uint32_t factor, uint32_t add)
{
    uint64_t carry = add;
    for (uint32_t i = 0; i < b->n; i++) {
        carry += (uint64_t)b->limb[i] * factor;
        b->limb[i] = (uint32_t)carry;
        carry >>= 32;
    }
    if (carry && b->n < MAX_LIMBS) b->limb[b->n++] = (uint32_t)carry;
}

static void big_mul_pow10(big *b, uint32_t exponent)
{
    for (; exponent >= 9; exponent -= 9) big_mul_add(b, 1000000000u, 0);
    for (; exponent; exponent--) big_mul_add(b, 10, 0);
}

static uint32_t big_bits(const big *b)
{
    uint32_t bits = (b->n - 1) * 32;
    for (uint32_t top = b->limb[b->n - 1]; top; top >>= 1) bits++;
    return bits;
}

static void big_shift(big *b, uint32_t bits)
{
    const uint32_t limbs = bits / 32, rest = bits % 32;
    if (b->n == 0) return;
    if (limbs) {
        memmove(b->limb + limbs, b->limb, b->n * sizeof b->limb[0]);
        memset(b->limb, 0, limbs * sizeof b->limb[0]);
        b->n += limbs;
    }
    if (rest == 0) return;
    uint32_t carry = 0;
    for (uint32_t i = limbs; i < b->n; i++) {
        const uint32_t limb = b->limb[i];
        b->limb[i] = limb << rest | carry;
        carry = limb >> (32 - rest);
    }
    if (carry) b->limb[b->n++] = carry;
}

static int big_compare(const big *a, const big *b)
{
    if (a->n != b->n) return a->n < b->n ? -1 : 1;
    for (uint32_t i = a->n; i-- > 0;) {
        if (a->limb[i] != b->limb[i]) return a->limb[i] < b->limb[i] ? -1 : 1;
    }
    return 0;
}

static void big_subtract(big *a, const big *b)
{
    uint64_t borrow = 0;
    for (uint32_t i = 0; i < a->n; i++) {
        const uint64_t take = (i < b->n ? b->limb[i] : 0) + borrow;
        borrow = a->limb[i] < take;
        a->limb[i] = (uint32_t)(a->limb[i] - take);
    }
    while (a->n && a->limb[a->n - 1] == 0) a->n--;
}

/* numerator / denominator, correctly rounded; neither is 0. */
static double big_divide(big *numerator, big *denominator)
{
    int exponent = (int)big_bits(numerator) - (int)big_bits(denominator);
    if (exponent > 0) big_shift(denominator, (uint32_t)exponent);
    if (exponent < 0) big_shift(numerator, (uint32_t)-exponent);
    if (big_compare(numerator, denominator) < 0) {
        big_shift(numerator, 1);
        exponent--;
    }
    /* Now the fraction is in [1, 2) and stands for the value times 2^-exponent. */
    if (exponent > 1023) return INFINITY;
    int n_bit = exponent >= -1022 ? 53 : 53 + 1022 + exponent;
    if (n_bit < 0) return 0;
    uint64_t mantissa = 0;
    for (int i = 0; i < n_bit; i++) {
        mantissa <<= 1;
        if (big_compare(numerator, denominator) >= 0) {
            big_subtract(numerator, denominator);
            mantissa |= 1;
        }
        big_shift(numerator, 1);
    }
    const int half = numerator->n ? big_compare(numerator, denominator) : -1;
    if (half > 0 || (half == 0 && (mantissa & 1))) mantissa++;
    return ldexp((double)mantissa, exponent - n_bit + 1);
}

typedef struct decimal {
    bool is_negative;
    int64_t exponent; /* the value is 0.d1d2d3... * 10^exponent */
    uint32_t n_digit;
    uint8_t digit[MAX_DIGITS + 1]; /* the first is not 0; one more stands for all that follow */
} decimal;

static void add_digit(decimal *d, uint8_t digit)
{
    if (d->n_digit == 0 && digit == 0) return;
    if (d->n_digit < MAX_DIGITS) {
        d->digit[d->n_digit++] = digit;
    } else if (digit) {
        d->digit[MAX_DIGITS] = 1;
    }
}

static bool scan_decimal(const char *text, size_t n, decimal *d)
{
    size_t at = 0;
    bool has_digit = false;
    d->is_negative = false;
    d->n_digit = 0;
    d->digit[MAX_DIGITS] = 0;
    int64_t exponent = 0;
    if (at < n && (text[at] == '-' || text[at] == '+')) d->is_negative = text[at++] == '-';
    for (; at < n && text[at] >= '0' && text[at] <= '9'; at++) {
        has_digit = true;
        add_digit(d, (uint8_t)(text[at] - '0'));
        if (d->n_digit) exponent++;
    }
    if (at < n && text[at] == '.') {
        for (at++; at < n && text[at] >= '0' && text[at] <= '9'; at++) {
            has_digit = true;
            add_digit(d, (uint8_t)(text[at] - '0'));
            if (d->n_digit == 0) exponent--;
        }
    }
    if (!has_digit) return false;
    if (at < n && (text[at] == 'e' || text[at] == 'E')) {
        at++;
        const bool is_negative = at < n && text[at] == '-';
        if (at < n && (text[at] == '-' || text[at] == '+')) at++;
        if (at == n) return false;
        int64_t power = 0;
        for (; at < n && text[at] >= '0' && text[at] <= '9'; at++) {
            if (power < 1000000000000) power = power * 10 + (text[at] - '0');
        }
        exponent += is_negative ? -power : power;
    }
    d->exponent = exponent;
    return at == n;
}

static double decimal_value(const decimal *d)
{
    static const double power_of_10[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                         1e8,  1e9,  1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
                                         1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
    if (d->n_digit == 0 || d->exponent < -330) return 0;
    if (d->exponent > 310) return INFINITY;
    if (d->n_digit <= 15) {
        uint64_t mantissa = 0;
        for (uint32_t i = 0; i < d->n_digit; i++) mantissa = mantissa * 10 + d->digit[i];
        const int64_t power = d->exponent - d->n_digit;
        if (power >= 0 && power <= 22) return (double)mantissa * power_of_10[power];
        if (power < 0 && power >= -22) return (double)mantissa / power_of_10[-power];
    }
    big numerator = {0}, denominator = {.n = 1, .limb = {1}};
    const uint32_t n = d->n_digit + (d->digit[MAX_DIGITS] ? 1 : 0);
    for (uint32_t i = 0; i < n; i++) big_mul_add(&numerator, 10, d->digit[i]);
    const int64_t power = d->exponent - n;
    if (power >= 0) {
        big_mul_pow10(&numerator, (uint32_t)power);
    } else {
        big_mul_pow10(&denominator, (uint32_t)-power);
    }
    return big_divide(&numerator, &denominator);
}

bool llrti_text_parse_double(const char *text, size_t n, double *out)
{
    decimal d;
    *out = 0;
    if (!scan_decimal(text, n, &d)) return false;
    const double value = decimal_value(&d);
    *out = d.is_negative ? -value : value;
    return true;
}

/* ---- writing doubles ---- */

size_t llrti_text_print_double(char out[32], double value)
{
    llrti_text text;
    llrti_text_init(&text, out, 32);
    if (isnan(value)) {
        llrti_text_add(&text, "nan");
        return text.n;
    }
    if (signbit(value)) {
        llrti_text_add(&text, "-");
        value = -value;
    }
    if (isinf(value) || value == 0) {
        llrti_text_add(&text, value == 0 ? "0" : "inf");
        return text.n;
    }
    char raw[48], digits[24];
    size_t n_digit = 0;
    int exponent = 0;
    for (int precision = 0; precision <= 16; precision++) {
        char plain[48];
        snprintf(raw, sizeof raw, "%.*e", precision, value);
        n_digit = 0;
        const char *at = raw; /* d<point>ddde+xx, where <point> is the locale's */
        for (; *at != 'e'; at++) {
            if (*at >= '0' && *at <= '9' && n_digit < 20) digits[n_digit++] = *at;
        }
        const bool is_negative = at[1] == '-';
        exponent = 0;
        for (at += 2; *at >= '0' && *at <= '9'; at++) exponent = exponent * 10 + (*at - '0');
        if (is_negative) exponent = -exponent;
        digits[n_digit] = 0;
        const size_t n =
            llrti_text_format(plain, sizeof plain, "%se%d", digits, exponent - (int)n_digit + 1);
        double back;
        if (llrti_text_parse_double(plain, n, &back) && back == value) break;
    }
    while (n_digit > 1 && digits[n_digit - 1] == '0') n_digit--;
    if (exponent >= -5 && exponent < 16) {
        const int n_whole = exponent + 1;
        if (n_whole <= 0) {
            llrti_text_add(&text, "0.");
            for (int i = n_whole; i < 0; i++) llrti_text_add(&text, "0");
            llrti_text_add_n(&text, digits, n_digit);
            return text.n;
        }
        for (int i = 0; i < n_whole; i++) {
            llrti_text_add_n(&text, (size_t)i < n_digit ? digits + i : "0", 1);
        }
        if (n_digit > (size_t)n_whole) {
            llrti_text_add(&text, ".");
            llrti_text_add_n(&text, digits + n_whole, n_digit - (size_t)n_whole);
        }
        return text.n;
    }
    llrti_text_add_n(&text, digits, 1);
    if (n_digit > 1) {
        llrti_text_add(&text, ".");
        llrti_text_add_n(&text, digits + 1, n_digit - 1);
    }
    llrti_text_add_format(&text, "e%c%02d", exponent < 0 ? '-' : '+',
                          exponent < 0 ? -exponent : exponent);
    return text.n;
}
