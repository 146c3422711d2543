/* SPDX-License-Identifier: MIT */
/*
 * What the tokenizer tests share: a writer of vocabulary-only GGUF files into memory, a
 * small SentencePiece-like vocabulary, an allocator that counts and fails on demand, and
 * helpers that compare ids. Everything is static; include it once per test program.
 */
#ifndef TOKENIZER_FIXTURE_H
#define TOKENIZER_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <llrt/tokenizer.h>

typedef struct gguf_writer {
    uint8_t data[1 << 16];
    size_t n;
    uint64_t n_key;
} gguf_writer;

static inline void put_bytes(gguf_writer *w, const void *bytes, size_t n)
{
    assert_true(w->n + n <= sizeof w->data);
    memcpy(w->data + w->n, bytes, n);
    w->n += n;
}

static inline void put_int(gguf_writer *w, uint64_t value, size_t n_byte)
{
    for (size_t i = 0; i < n_byte; i++) {
        const uint8_t byte = (uint8_t)(value >> (8 * i));
        put_bytes(w, &byte, 1);
    }
}

static inline void put_string(gguf_writer *w, const char *text)
{
    put_int(w, strlen(text), 8);
    put_bytes(w, text, strlen(text));
}

static inline void put_key(gguf_writer *w, const char *key, uint32_t type)
{
    put_string(w, key);
    put_int(w, type, 4);
    w->n_key++;
}

static inline void begin_gguf(gguf_writer *w)
{
    w->n = 0;
    w->n_key = 0;
    put_bytes(w, "GGUF", 4);
    put_int(w, 3, 4);
    put_int(w, 0, 8);
    put_int(w, 0, 8); /* number of keys, set by end_gguf */
    put_key(w, "general.architecture", 8);
    put_string(w, "llama");
}

static inline void put_text(gguf_writer *w, const char *key, const char *text)
{
    put_key(w, key, 8);
    put_string(w, text);
}

static inline void put_u32(gguf_writer *w, const char *key, uint32_t value)
{
    put_key(w, key, 4);
    put_int(w, value, 4);
}

static inline void put_bool(gguf_writer *w, const char *key, int value)
{
    put_key(w, key, 7);
    put_int(w, (uint64_t)value, 1);
}

static inline void put_array(gguf_writer *w, const char *key, uint32_t element, uint64_t n)
{
    put_key(w, key, 9);
    put_int(w, element, 4);
    put_int(w, n, 8);
}

static inline void put_float(gguf_writer *w, float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    put_int(w, bits, 4);
}

static inline void end_gguf(gguf_writer *w)
{
    for (size_t i = 0; i < 8; i++) w->data[16 + i] = (uint8_t)(w->n_key >> (8 * i));
}

/* Ids of the small vocabulary: <unk> 0, <s> 1, </s> 2, <0x00> 3 ..., then these. */
enum {
    TOKEN_SPACE = 259,
    TOKEN_A,
    TOKEN_B,
    TOKEN_AB,
    TOKEN_SPACE_A,
    TOKEN_SPACE_AB,
    TOKEN_ABC, /* its c is no token of its own */
    TOKEN_USER,
    N_SMALL
};

typedef struct small_options {
    const char *model, *pre;
    int without_scores, without_tokens, bad_type, short_scores, nan_score;
    uint32_t bos; /* 0: as usual */
} small_options;

static inline void write_small_spm(gguf_writer *w, const small_options *options)
{
    static const char *const names[] = {"\xe2\x96\x81",
                                        "a",
                                        "b",
                                        "ab",
                                        "\xe2\x96\x81"
                                        "a",
                                        "\xe2\x96\x81"
                                        "ab",
                                        "abc",
                                        "<user>"};
    static const float scores[] = {-9, -9, -9, -1, -2, -3, -4, 0};
    begin_gguf(w);
    if (options->model) put_text(w, "tokenizer.ggml.model", options->model);
    if (options->pre) put_text(w, "tokenizer.ggml.pre", options->pre);
    if (!options->without_tokens) {
        put_array(w, "tokenizer.ggml.tokens", 8, N_SMALL);
        put_string(w, "<unk>");
        put_string(w, "<s>");
        put_string(w, "</s>");
        for (int byte = 0; byte < 256; byte++) {
            char name[16];
            snprintf(name, sizeof name, "<0x%02X>", (unsigned)byte);
            put_string(w, name);
        }
        for (size_t i = 0; i < 8; i++) put_string(w, names[i]);
    }
    if (!options->without_scores) {
        const uint64_t n = options->short_scores ? N_SMALL - 1 : N_SMALL;
        put_array(w, "tokenizer.ggml.scores", 6, n);
        for (uint64_t i = 0; i < n; i++) {
            const float nan_value = strtof("nan", NULL);
            put_float(w, options->nan_score && i == 260 ? nan_value
                         : i < 259                      ? 0
                                                        : scores[i - 259]);
        }
    }
    put_array(w, "tokenizer.ggml.token_type", 5, N_SMALL);
    for (uint32_t i = 0; i < N_SMALL; i++) {
        const uint32_t type = i == 0 ? 2 : i < 3 ? 3 : i < 259 ? 6 : i == TOKEN_USER ? 4 : 1;
        put_int(w, options->bad_type && i == 260 ? 9 : type, 4);
    }
    if (options->bos) put_u32(w, "tokenizer.ggml.bos_token_id", options->bos);
}

static inline llrt_tokenizer *open_bytes(const void *data, size_t n)
{
    llrt_tokenizer *tokenizer = NULL;
    llrt_error err = LLRT_ERROR_INIT;
    if (llrt_tokenizer_open_memory(data, n, NULL, &tokenizer, &err) < 0)
        fail_msg("%s: %s", err.field, err.text);
    return tokenizer;
}

static inline llrt_tokenizer *open_json_text(const char *json)
{
    return open_bytes(json, strlen(json));
}

/* Checks the ids of a text; `expected` ends with -1. */
static inline void check_ids_n(const llrt_tokenizer *tokenizer, const char *text, size_t n_text,
                               llrt_encode_flags flags, const int32_t *expected)
{
    int32_t ids[256];
    size_t n, n_expected = 0;
    assert_int_equal(llrt_tokenizer_encode(tokenizer, text, n_text, flags, ids, 256, &n, NULL), 0);
    while (expected[n_expected] != -1) n_expected++;
    if (n != n_expected || memcmp(ids, expected, n * sizeof *ids) != 0) {
        fprintf(stderr, "text \"%.*s\" gave", (int)n_text, text);
        for (size_t i = 0; i < n; i++) fprintf(stderr, " %d", ids[i]);
        fprintf(stderr, "\n");
        fail();
    }
}

#define CHECK_IDS(tokenizer, text, flags, ...)                                                     \
    check_ids_n(tokenizer, text, strlen(text), flags, (const int32_t[]){__VA_ARGS__, -1})

static inline void check_text(const llrt_tokenizer *tokenizer, const int32_t *ids, size_t n_id,
                              llrt_decode_flags flags, const char *expected)
{
    char text[512];
    size_t n;
    assert_int_equal(
        llrt_tokenizer_decode(tokenizer, ids, n_id, flags, text, sizeof text, &n, NULL), 0);
    assert_int_equal(n, strlen(expected));
    assert_memory_equal(text, expected, n);
}

#define CHECK_TEXT(tokenizer, flags, expected, ...)                                                \
    check_text(tokenizer, (const int32_t[]){__VA_ARGS__},                                          \
               sizeof((const int32_t[]){__VA_ARGS__}) / sizeof(int32_t), flags, expected)

/* Allocator that fails the allocation number `fail_at` (0: none) and counts what is live. */
typedef struct test_allocator {
    size_t n_alloc, fail_at, n_live;
} test_allocator;

static inline void *test_alloc_hook(void *ctx, size_t size, size_t align, llrt_memory kind)
{
    test_allocator *const a = ctx;
    (void)kind;
    if (++a->n_alloc == a->fail_at) return NULL;
    a->n_live++;
    void *ptr = NULL;
    const size_t room = (size + align - 1) / align * align;
    ptr = aligned_alloc(align, room ? room : align);
    return ptr;
}

static inline void test_free_hook(void *ctx, void *ptr, size_t size, size_t align, llrt_memory kind)
{
    test_allocator *const a = ctx;
    (void)size, (void)align, (void)kind;
    a->n_live--;
    free(ptr);
}

#endif
