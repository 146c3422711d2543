/* SPDX-License-Identifier: MIT */
/*
 * Fuzz target: opens a tokenizer from arbitrary bytes and uses it on arbitrary text.
 *
 * Input: two bytes length of the text, one byte of switches, the text, then a GGUF, a
 * tokenizer.json or the four JSON files of a folder, separated by "\n#file\n". Switches: bits 0
 * and 1 encode flags, bit 2 decode flag, bits 3 to 7 when not 0 the allocation that fails; 31
 * there instead means that a single file is opened by its path. Without a file two built-in
 * tokenizers are used, for which text must come back as it was; with all switches set and a length
 * divisible by 16 on the text repeated until it is long enough for the cache of words. Whatever
 * happens, no memory may be left and streams give valid UTF-8 only.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <llrt/tokenizer.h>

#include "fuzz_support.h"
#include "utf8.h"

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "fuzz_tokenizer: line %d: %s\n", __LINE__, #condition);                \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

/* Memory is bounded, so that a file can't ask for more than its size justifies without notice. */
#define MAX_LIVE ((size_t)256 << 20)

typedef struct budget {
    size_t n_alloc, fail_at, live;
} budget;

static void *take(void *ctx, size_t size, size_t align, llrt_memory kind)
{
    budget *const b = ctx;
    void *ptr = NULL;
    if (++b->n_alloc == b->fail_at || size > MAX_LIVE - b->live) return NULL;
    if (posix_memalign(&ptr, align, size ? size : 1) != 0) return NULL;
    b->live += size;
    return ptr;
}

static void give(void *ctx, void *ptr, size_t size, size_t align, llrt_memory kind)
{
    ((budget *)ctx)->live -= size;
    free(ptr);
}

static void check_stream(llrt_tokenizer *t, const int32_t *ids, size_t n_id,
                         llrt_decode_flags flags, const char *whole, size_t n_whole)
{
    llrt_token_stream *stream;
    if (llrt_token_stream_create(t, flags, &stream, NULL) < 0) return;
    const bool is_valid = llrti_utf8_is_valid(whole, n_whole);
    size_t at = 0;
    for (size_t i = 0; i <= n_id; i++) {
        const char *text;
        size_t n;
        const llrt_status status = i < n_id
                                       ? llrt_token_stream_push(stream, ids[i], &text, &n, NULL)
                                       : llrt_token_stream_flush(stream, &text, &n, NULL);
        CHECK(status == LLRT_OK && llrti_utf8_is_valid(text, n));
        if (is_valid) CHECK(n <= n_whole - at && memcmp(text, whole + at, n) == 0);
        at += n;
    }
    if (is_valid) CHECK(at == n_whole);
    llrt_token_stream_free(stream);
}

/* Encodes and decodes; with `is_exact` the text must come back. */
static void use(llrt_tokenizer *t, const char *text, size_t n_text, uint8_t switches, bool is_exact)
{
    size_t n_id = 0, n_again = 0, n_whole = 0, n_back = 0;
    const llrt_decode_flags flags = switches >> 2 & 1u;
    llrt_status status =
        llrt_tokenizer_encode(t, text, n_text, switches & 3u, NULL, 0, &n_id, NULL);
    CHECK(status == (n_id ? LLRT_ERR_BUFFER : LLRT_OK) || status == LLRT_ERR_NOMEM);
    if (status == LLRT_ERR_NOMEM) return;
    int32_t *const ids = malloc((n_id + 1) * sizeof *ids);
    CHECK(ids);
    status = llrt_tokenizer_encode(t, text, n_text, switches & 3u, ids, n_id, &n_again, NULL);
    CHECK(status == LLRT_ERR_NOMEM || (status == LLRT_OK && n_again == n_id));
    if (status == LLRT_OK) {
        status = llrt_tokenizer_decode(t, ids, n_id, flags, NULL, 0, &n_whole, NULL);
        CHECK(status == (n_whole ? LLRT_ERR_BUFFER : LLRT_OK));
        char *const whole = malloc(n_whole + 1);
        CHECK(whole);
        CHECK(llrt_tokenizer_decode(t, ids, n_id, flags, whole, n_whole, &n_back, NULL) == LLRT_OK);
        CHECK(n_back == n_whole);
        if (is_exact) CHECK(n_whole == n_text && memcmp(whole, text, n_text) == 0);
        check_stream(t, ids, n_id, flags, whole, n_whole);
        free(whole);
    }
    free(ids);
}

static void inspect(const llrt_tokenizer *t)
{
    const uint32_t n = llrt_tokenizer_n_vocab(t);
    CHECK(n > 0 && llrt_tokenizer_kind(t)[0]);
    for (int32_t i = 0; i < 8; i++) {
        const int32_t id = llrt_tokenizer_special(t, i);
        CHECK(id == LLRT_TOKEN_NONE || (uint32_t)id < n);
    }
    for (uint32_t id = 0; id < n && id < 600; id++) {
        llrt_token_info info = {.struct_size = sizeof info};
        CHECK(llrt_tokenizer_token_info(t, (int32_t)id, &info, NULL) == LLRT_OK);
        CHECK(info.is_end == (uint32_t)llrt_tokenizer_is_end(t, (int32_t)id));
        const int32_t found = llrt_tokenizer_find(t, info.text, info.n_text);
        CHECK(found == LLRT_TOKEN_NONE || (uint32_t)found < n);
    }
}

/* A tokenizer.json with all 256 bytes, in one of the two ways there are to write them. */
static size_t write_builtin(char *out, size_t room, bool is_spm)
{
    size_t n = (size_t)snprintf(
        out, room,
        is_spm ? "{\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Prepend\","
                 "\"prepend\":\"\\u2581\"},"
                 "{\"type\":\"Replace\",\"pattern\":{\"String\":\" "
                 "\"},\"content\":\"\\u2581\"}]},\"decoder\":"
                 "{\"type\":\"Strip\",\"content\":\" "
                 "\",\"start\":1,\"stop\":0},\"model\":{\"byte_fallback\":true,"
                 "\"merges\":[\"a b\",\"\\u2581 "
                 "ab\"],\"vocab\":{\"a\":256,\"b\":257,\"\\u2581\":258,\"ab\":259,"
                 "\"\\u2581ab\":260"
               : "{\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false},\"model\":"
                 "{\"merges\":"
                 "[\"a b\",\"\\u0120 ab\"],\"vocab\":{\"ab\":256,\"\\u0120ab\":257");
    for (uint32_t byte = 0, next = 256; byte < 256; byte++) {
        const bool is_plain = (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte != 0xad);
        const uint32_t c = is_plain ? byte : next++;
        n += is_spm ? (size_t)snprintf(out + n, room - n, ",\"<0x%02X>\":%u", byte, byte)
                    : (size_t)snprintf(out + n, room - n, ",\"\\u%04x\":%u", c, byte);
    }
    n += (size_t)snprintf(out + n, room - n, "}}}");
    CHECK(n < room);
    return n;
}

typedef struct job {
    const void *file;
    size_t n_file;
    const char *text;
    size_t n_text;
    uint8_t switches;
} job;

#define BY_PATH 31 /* in place of the allocation that fails */

static llrt_status open_job(const job *j, fuzz_parts *parts, const llrt_allocator *hooks,
                            llrt_tokenizer **out, llrt_error *err)
{
    static const char *const names[] = {"m/tokenizer.json", "m/config.json",
                                        "m/generation_config.json", "m/tokenizer_config.json"};
    llrt_tokenizer_options options;
    llrt_source source;
    llrt_tokenizer_options_init(&options, sizeof options);
    options.allocator = hooks;
    fuzz_divide(parts, j->file, j->n_file);
    if (parts->n_part == 1 && j->switches >> 3 != BY_PATH)
        return llrt_tokenizer_open_memory(j->file, j->n_file, &options, out, err);
    for (size_t i = 0; i < parts->n_part; i++) parts->part[i].name = i < 4 ? names[i] : NULL;
    fuzz_source(parts, &source);
    options.source = &source;
    if (parts->n_part > 1) return llrt_tokenizer_open("m", &options, out, err);
    const bool is_gguf = j->n_file >= 4 && memcmp(j->file, "GGUF", 4) == 0;
    parts->part[0].name = is_gguf ? "t.gguf" : "t.json";
    return llrt_tokenizer_open(parts->part[0].name, &options, out, err);
}

static void open_and_use(const job *j)
{
    const uint8_t fail_at = j->switches >> 3;
    budget b = {.fail_at = fail_at == BY_PATH ? 0 : fail_at};
    const llrt_allocator hooks = {take, give, &b};
    llrt_tokenizer *t;
    llrt_error err = LLRT_ERROR_INIT;
    fuzz_parts parts;
    const llrt_status status = open_job(j, &parts, &hooks, &t, &err);
    CHECK((t != NULL) == (status == LLRT_OK) && (status == LLRT_OK || err.text[0]));
    if (t) {
        use(t, j->text, j->n_text, j->switches, false);
        inspect(t);
        llrt_tokenizer_free(t);
    }
    CHECK(b.live == 0 && parts.n_open == 0);
}

static bool has_block(const char *text, size_t n, const char *what, size_t n_what)
{
    for (size_t i = 0; i + n_what <= n; i++)
        if (memcmp(text + i, what, n_what) == 0) return true;
    return false;
}

/* Opened once: for these inputs the text is what varies. */
typedef struct builtin {
    llrt_tokenizer *tokenizer;
    budget budget;
    size_t n_live; /* of the tokenizer alone */
} builtin;

static llrt_tokenizer *open_builtin(builtin *b, bool is_spm)
{
    char json[8192];
    const llrt_allocator hooks = {take, give, &b->budget};
    llrt_tokenizer_options options;
    if (b->tokenizer) return b->tokenizer;
    llrt_tokenizer_options_init(&options, sizeof options);
    options.allocator = &hooks;
    const size_t n = write_builtin(json, sizeof json, is_spm);
    CHECK(llrt_tokenizer_open_memory(json, n, &options, &b->tokenizer, NULL) == LLRT_OK);
    inspect(b->tokenizer);
    b->n_live = b->budget.live;
    return b->tokenizer;
}

#define LONG_TEXT ((size_t)33 << 10)

/* The text again and again, until the cache of words is used. */
static void use_long(const llrt_tokenizer *t, const char *text, size_t n_text)
{
    char *const whole = malloc(2 * LONG_TEXT), *const back = whole + LONG_TEXT;
    int32_t *const ids = malloc(LONG_TEXT * sizeof *ids);
    size_t n_id, n_back;
    CHECK(whole && ids);
    for (size_t i = 0; i < LONG_TEXT; i++) whole[i] = text[i % n_text];
    CHECK(llrt_tokenizer_encode(t, whole, LONG_TEXT, 0, ids, LONG_TEXT, &n_id, NULL) == LLRT_OK);
    CHECK(llrt_tokenizer_decode(t, ids, n_id, 0, back, LONG_TEXT, &n_back, NULL) == LLRT_OK);
    CHECK(n_back == LONG_TEXT && memcmp(whole, back, LONG_TEXT) == 0);
    free(ids);
    free(whole);
}

static void use_builtins(const char *text, size_t n_text, uint8_t switches)
{
    static builtin byte_level, spm;
    llrt_tokenizer *const t = open_builtin(&byte_level, false);
    if (switches == 0xff && n_text > 0 && n_text % 16 == 0) { /* rarely: it takes long */
        use_long(t, text, n_text);
    } else {
        use(t, text, n_text, switches & 3u, true);
        /* SentencePiece can't tell U+2581 from a space. */
        if (!has_block(text, n_text, "\xe2\x96\x81", 3))
            use(open_builtin(&spm, true), text, n_text, switches & 3u, true);
        CHECK(spm.budget.live == spm.n_live);
    }
    CHECK(byte_level.budget.live == byte_level.n_live);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 3) return 0;
    size_t n_text = data[0] | (size_t)data[1] << 8;
    const uint8_t switches = data[2];
    data += 3;
    size -= 3;
    if (n_text > size) n_text = size;
    const char *const text = (const char *)data;
    if (size > n_text) {
        open_and_use(&(job){data + n_text, size - n_text, text, n_text, switches});
    } else {
        use_builtins(text, n_text, switches);
    }
    return 0;
}
