/* SPDX-License-Identifier: MIT */
/*
 * Loading a saved session from any bytes. The first byte of the input says what is put right first, so that
 * what lies behind checksums is reached: 1 the constant header fields and the model's fingerprint, 2 the header's hash,
 * 4 the hash at the end, 8 the fingerprint alone. Whatever happens the session stays usable; what loads is saved again as the same bytes.
 */
#include "fuzz_support.h"

#include <stdio.h>

#define print_message(...) ((void)0)
#define print_error(...) fprintf(stderr, __VA_ARGS__)
#define fail() abort()
#define assert_true(x) FUZZ_CHECK(x)
#include "../unit/engine_support.h"

#include "session_impl.h"

#define HEADER_BYTES 96u
#define HASH_SEED UINT64_C(0x53455353) /* of save.c's hashes: part of the file format */

typedef struct stream {
    uint8_t *data;
    size_t n, at;
    bool is_same; /* what is written is what was read */
} stream;

static llrt_status read_stream(void *ctx, void *to, size_t n, llrt_error *err)
{
    stream *const s = ctx;
    if (n > s->n - s->at) return llrti_fail(err, LLRT_ERR_FORMAT, "the data ends");
    memcpy(to, s->data + s->at, n);
    s->at += n;
    return LLRT_OK;
}

static llrt_status compare_stream(void *ctx, const void *from, size_t n, llrt_error *err)
{
    stream *const s = ctx;
    (void)err;
    FUZZ_CHECK(n <= s->n - s->at);
    s->is_same = s->is_same && memcmp(s->data + s->at, from, n) == 0;
    s->at += n;
    return LLRT_OK;
}

static void put_right(const llrt_engine *engine, stream *s, uint8_t what)
{
    if (s->n < HEADER_BYTES) return;
    if (what & 1) {
        const uint32_t fields[4] = {2, LLRT_PAGE_TOK, engine->options.kv_type, 0};
        const uint64_t sizes[4] = {engine->page_bytes[0], engine->page_bytes[1],
                                   engine->n_state_float, 0};
        memcpy(s->data, "LLRTSESS", 8);
        memcpy(s->data + 8, fields, sizeof fields);
        memcpy(s->data + 32, sizes, sizeof sizes);
    }
    if (what & 9) memcpy(s->data + 64, engine->fingerprint, 16);
    if (what & 2) llrti_hash_store(llrti_hash_bytes(s->data, 80, HASH_SEED), s->data + 80);
    if (what & 4) {
        uint64_t n_tok;
        memcpy(&n_tok, s->data + 24, 8);
        if (n_tok > TINY_CTX) return;
        const size_t n =
            HEADER_BYTES + (size_t)n_tok * (4 + (size_t)engine->page_bytes[0] / LLRT_PAGE_TOK);
        if (n + 16 <= s->n) llrti_hash_store(llrti_hash_bytes(s->data, n, HASH_SEED), s->data + n);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static tiny_source tiny; /* one engine for all inputs */
    static llrt_engine *engine;
    static llrt_session *session;
    const int32_t token = 3;
    if (!engine) {
        tiny_init(&tiny, 5);
        llrt_engine_options o = test_options(&tiny);
        o.n_thread = 1;
        engine = open_tiny_with(&tiny, &o);
        session = new_session(engine);
    }
    if (size == 0) return 0;
    stream s = {.data = malloc(size), .n = size - 1, .is_same = true};
    FUZZ_CHECK(s.data);
    memcpy(s.data, data + 1, size - 1);
    put_right(engine, &s, data[0]);
    check(llrt_session_rewind(session, 0, &err));
    check(llrt_session_append(session, &token, 1, LLRT_LOGITS_LAST, &err));
    llrt_error e = LLRT_ERROR_INIT;
    const llrt_status status = llrt_session_load_from(session, read_stream, &s, &e);
    if (status == LLRT_OK) {
        s.at = 0;
        check(llrt_session_save_to(session, compare_stream, &s, &err));
        FUZZ_CHECK(s.is_same);
    } else {
        FUZZ_CHECK(e.text[0] && llrt_session_n_tok(session) == 1);
        FUZZ_CHECK(llrt_session_n_logits(session) == 1);
    }
    if (llrt_session_n_tok(session) < TINY_CTX)
        check(llrt_session_append(session, &token, 1, LLRT_LOGITS_LAST, &err));
    free(s.data);
    return 0;
}
