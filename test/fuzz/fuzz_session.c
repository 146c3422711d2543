/* SPDX-License-Identifier: MIT */
/*
 * Loading a saved session from any bytes. The first byte of the input says what is put right first,
 * so that what lies behind checksums is reached: 1 the constant header fields and the model's
 * fingerprint, 2 the header's hash, 4 the hash at the end, 8 the fingerprint alone; 16 it is a
 * session of a model with windows, 32 of one with recurrent layers. Whatever happens the session
 * stays usable; what loads is saved again as the same bytes.
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

static uint64_t number_at(const stream *s, size_t at, size_t n)
{
    uint64_t x = 0;
    memcpy(&x, s->data + at, n);
    return x;
}

static void put_right(const llrt_engine *engine, stream *s, uint8_t what)
{
    if (s->n < HEADER_BYTES) return;
    if (what & 1) {
        const uint32_t fields[3] = {2, LLRT_PAGE_TOK, engine->options.kv_type};
        const uint64_t sizes[3] = {engine->page_bytes[0], engine->page_bytes[1],
                                   engine->n_state_float};
        memcpy(s->data, "LLRTSESS", 8);
        memcpy(s->data + 8, fields, sizeof fields);
        memcpy(s->data + 32, sizes, sizeof sizes);
        memset(s->data + 60, 0, 4);
    }
    if (what & 9) memcpy(s->data + 64, engine->fingerprint, 16);
    if (what & 2) llrti_hash_store(llrti_hash_bytes(s->data, 80, HASH_SEED), s->data + 80);
    if (what & 4) {
        const uint64_t n_tok = number_at(s, 24, 8), parts = number_at(s, 20, 4);
        const uint64_t first = number_at(s, 56, 4) * LLRT_PAGE_TOK;
        if (n_tok > TINY_CTX || first > n_tok) return;
        const uint64_t n = HEADER_BYTES + n_tok * (4 + engine->page_bytes[0] / LLRT_PAGE_TOK) +
                           (n_tok - first) * (engine->page_bytes[1] / LLRT_PAGE_TOK) +
                           ((parts & 1) + (parts >> 1 & 1)) * engine->n_state_float * 4;
        if (n + 16 <= s->n)
            llrti_hash_store(llrti_hash_bytes(s->data, (size_t)n, HASH_SEED), s->data + n);
    }
}

enum { N_MODEL = 3 };

/* One engine and session per model for all inputs. */
static llrt_session *session_of(uint32_t model)
{
    static const tiny_shape shapes[N_MODEL] = {{"llama", 0}, {"gemma2", 33}, {"mamba2", 0}};
    static tiny_source tiny[N_MODEL];
    static llrt_session *session[N_MODEL];
    if (session[model]) return session[model];
    tiny_init_of(&tiny[model], &shapes[model], 5);
    llrt_engine_options o = test_options(&tiny[model]);
    o.n_thread = 1;
    return session[model] = new_session(open_tiny_with(&tiny[model], &o));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const int32_t token = 3;
    if (size == 0) return 0;
    stream s = {.data = malloc(size), .n = size - 1, .is_same = true};
    FUZZ_CHECK(s.data);
    memcpy(s.data, data + 1, size - 1);
    llrt_session *const session = session_of(data[0] / 16 % N_MODEL);
    put_right(llrt_session_engine(session), &s, data[0]);
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
