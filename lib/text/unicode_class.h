/* SPDX-License-Identifier: MIT */
/*
 * Character classes that pre-tokenizers and added tokens ask for, as bits: one table
 * look-up for ASCII, utf8proc's categories for the rest. Text need not be valid
 * UTF-8: each byte that begins no character counts as a character of its own without
 * any class, like a symbol. Stateless; any thread.
 */
#ifndef LLRTI_UNICODE_CLASS_H
#define LLRTI_UNICODE_CLASS_H

#include <stddef.h>
#include <stdint.h>

enum {
    LLRTI_CLASS_LETTER = 1,       /* categories L* */
    LLRTI_CLASS_NUMBER = 2,       /* categories N* */
    LLRTI_CLASS_SPACE = 4,        /* property White_Space */
    LLRTI_CLASS_MARK = 8,         /* categories M* */
    LLRTI_CLASS_PUNCT = 16,       /* categories P* */
    LLRTI_CLASS_NEWLINE = 32,     /* CR and LF */
    LLRTI_CLASS_ASCII_PUNCT = 64, /* ASCII signs of any category, such as + and ` */
    LLRTI_CLASS_WORD = 128        /* letters, marks, digits, connectors: what \w means in a regex */
};

extern const uint8_t llrti_unicode_class_ascii[128];

/** Class bits of a code point from 128 up. */
uint32_t llrti_unicode_class_of(uint32_t code_point);

/** Class bits of a character that begins with a byte from 128 up; *n_char gets its length. n is not
 * 0. */
uint32_t llrti_unicode_class_long(const char *text, size_t n, size_t *n_char);

/** Class bits of the character at text[0], *n_char gets its length. n is not 0. */
static inline uint32_t llrti_unicode_class_at(const char *text, size_t n, size_t *n_char)
{
    const uint8_t first = (uint8_t)text[0];
    if (first < 128) {
        *n_char = 1;
        return llrti_unicode_class_ascii[first];
    }
    return llrti_unicode_class_long(text, n, n_char);
}

#endif
