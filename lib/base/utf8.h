/* SPDX-License-Identifier: MIT */
/*
 * UTF-8, one code point at a time. Input is never assumed to be valid: a malformed
 * sequence decodes to LLRTI_UTF8_INVALID and consumes its longest prefix that could have begun
 * a character (the Unicode standard's "maximal subpart"), so every tolerant reader in
 * the library counts the same number of replacement characters. Stateless; any thread.
 */
#ifndef LLRTI_UTF8_H
#define LLRTI_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LLRTI_UTF8_INVALID 0xffffffffu
#define LLRTI_UTF8_REPLACEMENT 0xfffdu

/** Decodes what begins at text[0]; n must not be 0. Returns the bytes consumed, 1 to 4. */
size_t llrti_utf8_decode(const char *text, size_t n, uint32_t *code_point);

/** Writes a code point; returns 1 to 4, or 0 for surrogates and numbers above 0x10ffff. */
size_t llrti_utf8_encode(uint32_t code_point, char out[4]);

/** Length of the longest prefix that is valid UTF-8; n when all of it is. */
size_t llrti_utf8_valid_prefix(const char *text, size_t n);
bool llrti_utf8_is_valid(const char *text, size_t n);

/** Bytes at the end (0 to 3) that begin a character which further bytes could still complete. */
size_t llrti_utf8_incomplete_tail(const char *text, size_t n);

/** Length of a sequence from its first byte: 1 to 4, 0 for a byte that cannot begin one. */
size_t llrti_utf8_length(uint8_t first);

#endif
