/* SPDX-License-Identifier: MIT */
/*
 * UTF-8 by the table of well-formed byte sequences (Unicode standard, table 3-7): the
 * first byte fixes the length and the range of the second byte, which is what
 * excludes overlong forms, surrogates and numbers above 0x10ffff. Reading stops at the first byte
 * that does not fit, so a malformed sequence consumes its maximal subpart.
 */
#include "utf8.h"

#include <string.h>

/* Range of the second byte for a first byte that begins a sequence of two to four. */
static void second_range(uint8_t first, uint8_t *low, uint8_t *high)
{
    *low = 0x80;
    *high = 0xbf;
    if (first == 0xe0) *low = 0xa0;
    if (first == 0xed) *high = 0x9f;
    if (first == 0xf0) *low = 0x90;
    if (first == 0xf4) *high = 0x8f;
}

size_t llrti_utf8_length(uint8_t first)
{
    if (first < 0x80) return 1;
    if (first < 0xc2) return 0;
    if (first < 0xe0) return 2;
    if (first < 0xf0) return 3;
    return first < 0xf5 ? 4 : 0;
}

/* Length of the part at text[0] that belongs together; *length is what the first byte promises. */
static size_t measure(const char *text, size_t n, size_t *length)
{
    *length = llrti_utf8_length((uint8_t)text[0]);
    if (*length < 2) return 1;
    uint8_t low, high;
    second_range((uint8_t)text[0], &low, &high);
    size_t used = 1;
    while (used < *length && used < n) {
        const uint8_t byte = (uint8_t)text[used];
        if (byte < low || byte > high) break;
        low = 0x80;
        high = 0xbf;
        used++;
    }
    return used;
}

size_t llrti_utf8_decode(const char *text, size_t n, uint32_t *code_point)
{
    size_t length;
    const size_t used = measure(text, n, &length);
    if (used != length) {
        *code_point = LLRTI_UTF8_INVALID;
        return used;
    }
    const uint8_t first = (uint8_t)text[0];
    uint32_t value = length == 1 ? first : first & (0xffu >> (length + 1));
    for (size_t i = 1; i < length; i++) value = value << 6 | ((uint8_t)text[i] & 0x3fu);
    *code_point = value;
    return used;
}

size_t llrti_utf8_encode(uint32_t code_point, char out[4])
{
    if (code_point < 0x80) {
        out[0] = (char)code_point;
        return 1;
    }
    if (code_point < 0x800) {
        out[0] = (char)(0xc0 | code_point >> 6);
        out[1] = (char)(0x80 | (code_point & 0x3f));
        return 2;
    }
    if (code_point - 0xd800u < 0x800u || code_point > 0x10ffff) return 0;
    if (code_point < 0x10000) {
        out[0] = (char)(0xe0 | code_point >> 12);
        out[1] = (char)(0x80 | (code_point >> 6 & 0x3f));
        out[2] = (char)(0x80 | (code_point & 0x3f));
        return 3;
    }
    out[0] = (char)(0xf0 | code_point >> 18);
    out[1] = (char)(0x80 | (code_point >> 12 & 0x3f));
    out[2] = (char)(0x80 | (code_point >> 6 & 0x3f));
    out[3] = (char)(0x80 | (code_point & 0x3f));
    return 4;
}

size_t llrti_utf8_valid_prefix(const char *text, size_t n)
{
    size_t at = 0;
    while (at < n) {
        if (at + 8 <= n) { /* most text is ASCII */
            uint64_t word;
            memcpy(&word, text + at, 8);
            if (!(word & 0x8080808080808080u)) {
                at += 8;
                continue;
            }
        }
        size_t length;
        const size_t used = measure(text + at, n - at, &length);
        if (used != length) break;
        at += used;
    }
    return at;
}

bool llrti_utf8_is_valid(const char *text, size_t n)
{
    return llrti_utf8_valid_prefix(text, n) == n;
}

size_t llrti_utf8_incomplete_tail(const char *text, size_t n)
{
    for (size_t back = 1; back <= 3 && back <= n; back++) {
        const uint8_t byte = (uint8_t)text[n - back];
        if ((byte & 0xc0) == 0x80) continue;
        size_t length;
        const size_t used = measure(text + (n - back), back, &length);
        return length > back && used == back ? back : 0;
    }
    return 0;
}
