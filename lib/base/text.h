/* SPDX-License-Identifier: MIT */
/*
 * Bounded strings, and numbers to and from text whatever locale the host has set.
 * A llrti_text writes into a buffer of the caller, always keeps it NUL-terminated, and cuts between
 * UTF-8 characters when it is full. Any thread.
 */
#ifndef LLRTI_TEXT_H
#define LLRTI_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "compiler.h"

typedef struct llrti_text {
    char *data;
    size_t n, capacity; /* capacity includes the NUL and is not 0 */
    bool is_cut;        /* something did not fit; nothing more is added */
} llrti_text;

void llrti_text_init(llrti_text *text, char *buffer, size_t capacity);
void llrti_text_add(llrti_text *text, const char *string);
void llrti_text_add_n(llrti_text *text, const char *bytes, size_t n);
void llrti_text_add_format(llrti_text *text, const char *format, ...) LLRTI_PRINTF(2, 3);
/** In double quotes, at most 64 bytes of it, control characters and invalid UTF-8 as \xNN: for
 * names from files. */
void llrti_text_add_quoted(llrti_text *text, const char *bytes, size_t n);

/** snprintf that cuts between UTF-8 characters and returns what it wrote. */
size_t llrti_text_format(char *buffer, size_t capacity, const char *format, ...) LLRTI_PRINTF(3, 4);
/** Quoted as above into a buffer; returns it, for use as a %s argument. 272 bytes hold any
 * result. */
const char *llrti_text_quote(char *buffer, size_t capacity, const char *bytes, size_t n);
#define LLRTI_TEXT_QUOTE_SIZE 272

/** All n bytes are one decimal integer in range, "-" allowed, "+" not. */
bool llrti_text_parse_int64(const char *text, size_t n, int64_t *out);
bool llrti_text_parse_uint64(const char *text, size_t n, uint64_t *out);
/**
 * All n bytes are one number: digits, optional fraction and exponent, "-" or "+" in front.
 * Correctly rounded. False for anything else, also for "inf" and "nan"; too large a number gives
 * an infinity.
 */
bool llrti_text_parse_double(const char *text, size_t n, double *out);
/** Shortest text that reads back as the same double ("0.1", "1e+30", "nan", "-inf"). Returns its
 * length, at most 25. */
size_t llrti_text_print_double(char out[32], double value);

#endif
