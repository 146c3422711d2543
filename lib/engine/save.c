/* SPDX-License-Identifier: MIT */
/*
 * Saved sessions. All numbers little-endian:
 *
 *     0   "LLRTSESS"
 *     8   u32 version (1)          12  u32 tokens per page (64)
 *    16   u32 kv type              20  u32 0
 *    24   u64 tokens               32  u64 bytes of keys and values per page
 *    40   fingerprint of the model (16 bytes)
 *    56   hash of the bytes before (16)
 *    72   token ids (i32 each, -1: an embedding row)
 *         pages in order, each in the canonical layout of backend.h, for all kv slots of the model;
 *         the last holds only its used positions
 *         hash of everything before (16)
 *
 * Stages hold consecutive kv slots, so their parts of a page follow one another and the file does not
 * depend on where a model was cut.
 *
 * Loading writes into fresh pages and swaps them in when the last hash was right, so a failure leaves
 * the session as it was. Loaded pages do not go into the prefix index: they may come from another
 * instruction set or precision, and what a file says must not reach other sessions.
 */
#include <string.h>

#include "session_impl.h"

#define MAGIC "LLRTSESS"
#define VERSION 1u
#define HEADER_BYTES 72u
#define HASH_AT 56u
#define HASH_SEED UINT64_C(0x53455353)
#define TOKENS_PER_READ 1024u

typedef struct stream {
    llrt_write write;
    llrt_read read;
    void *ctx;
    llrti_hasher hasher;
} stream;

static void put_u32(uint8_t *to, uint32_t x)
{
    for (int i = 0; i < 4; i++) to[i] = (uint8_t)(x >> (8 * i));
}

static void put_u64(uint8_t *to, uint64_t x)
{
    for (int i = 0; i < 8; i++) to[i] = (uint8_t)(x >> (8 * i));
}

static uint32_t get_u32(const uint8_t *from)
{
    return (uint32_t)from[0] | (uint32_t)from[1] << 8 | (uint32_t)from[2] << 16 |
           (uint32_t)from[3] << 24;
}

static uint64_t get_u64(const uint8_t *from)
{
    return get_u32(from) | (uint64_t)get_u32(from + 4) << 32;
}

static llrt_status put_bytes(stream *s, const void *data, size_t n, llrt_error *err)
{
    llrti_hash_update(&s->hasher, data, n);
    return s->write(s->ctx, data, n, err);
}

static llrt_status get_bytes(stream *s, void *data, size_t n, llrt_error *err)
{
    LLRTI_TRY(s->read(s->ctx, data, n, err));
    llrti_hash_update(&s->hasher, data, n);
    return LLRT_OK;
}

static void make_header(const llrt_session *session, uint8_t header[HEADER_BYTES])
{
    const llrt_engine *const engine = session->engine;
    memset(header, 0, HEADER_BYTES);
    memcpy(header, MAGIC, 8);
    put_u32(header + 8, VERSION);
    put_u32(header + 12, LLRT_PAGE_TOK);
    put_u32(header + 16, engine->options.kv_type);
    put_u64(header + 24, session->n_tok);
    put_u64(header + 32, engine->page_bytes);
    memcpy(header + 40, engine->fingerprint, 16);
    llrti_hash_store(llrti_hash_bytes(header, HASH_AT, HASH_SEED), header + HASH_AT);
}

static size_t part_bytes(const llrt_engine *engine, uint32_t stage, uint32_t n_tok)
{
    return engine->stages.at[stage].page_bytes / LLRT_PAGE_TOK * n_tok;
}

static uint32_t tokens_in_page(size_t n_tok, size_t page)
{
    return (uint32_t)LLRTI_MIN((size_t)LLRT_PAGE_TOK, n_tok - page * LLRT_PAGE_TOK);
}

static llrt_status put_tokens(stream *s, const llrt_session *session, llrt_error *err)
{
    uint8_t bytes[4 * TOKENS_PER_READ];
    for (size_t i = 0; i < session->n_tok; i += TOKENS_PER_READ) {
        const size_t n = LLRTI_MIN((size_t)TOKENS_PER_READ, session->n_tok - i);
        for (size_t k = 0; k < n; k++) put_u32(bytes + 4 * k, (uint32_t)session->tokens[i + k]);
        LLRTI_TRY(put_bytes(s, bytes, 4 * n, err));
    }
    return LLRT_OK;
}

static llrt_status read_page(llrt_engine *engine, uint32_t stage, uint32_t page, uint32_t n_tok,
                             void *to, llrt_error *err)
{
    const llrti_engine_stage *const at = &engine->stages.at[stage];
    llrti_step_acquire(engine);
    const llrt_status status = at->backend->page_read(at->runtime, LLRT_KV_GROUP_FULL, page, n_tok,
                                                      to, part_bytes(engine, stage, n_tok), err);
    llrti_step_release(engine);
    return status;
}

static llrt_status write_page(llrt_engine *engine, uint32_t stage, uint32_t page, uint32_t n_tok,
                              const void *from, llrt_error *err)
{
    const llrti_engine_stage *const at = &engine->stages.at[stage];
    llrti_step_acquire(engine);
    const llrt_status status = at->backend->page_write(at->runtime, LLRT_KV_GROUP_FULL, page, n_tok,
                                                       from, part_bytes(engine, stage, n_tok), err);
    llrti_step_release(engine);
    return status;
}

/* Room for the largest part of a page. */
static llrt_status take_buffer(llrt_engine *engine, void **out, llrt_error *err)
{
    size_t most = 1;
    for (uint32_t i = 0; i < engine->stages.n; i++)
        most = LLRTI_MAX(most, engine->stages.at[i].page_bytes);
    *out = llrti_alloc(&engine->mem, most, LLRT_MEMORY_SESSION);
    return *out ? LLRT_OK : llrti_fail_nomem(err, "a page for a session file", most);
}

static llrt_status save_entered(llrt_session *session, stream *s, llrt_error *err)
{
    llrt_engine *const engine = session->engine;
    uint8_t header[HEADER_BYTES], hash[16];
    void *buffer;
    LLRTI_TRY(take_buffer(engine, &buffer, err));
    llrt_status status = LLRT_OK;
    llrti_hash_begin(&s->hasher, HASH_SEED);
    make_header(session, header);
    LLRTI_TRY_GOTO(status, put_bytes(s, header, sizeof header, err));
    LLRTI_TRY_GOTO(status, put_tokens(s, session, err));
    for (uint32_t i = 0; i < session->n_page; i++) {
        const uint32_t n_tok = tokens_in_page(session->n_tok, i);
        for (uint32_t k = 0; k < engine->stages.n; k++) {
            if (engine->stages.at[k].page_bytes == 0) continue;
            LLRTI_TRY_GOTO(status, read_page(engine, k, session->page[i], n_tok, buffer, err));
            LLRTI_TRY_GOTO(status, put_bytes(s, buffer, part_bytes(engine, k, n_tok), err));
        }
    }
    llrti_hash_store(llrti_hash_end(&s->hasher), hash);
    status = s->write(s->ctx, hash, sizeof hash, err);
fail:
    llrti_free(&engine->mem, buffer);
    return status;
}

llrt_status llrt_session_save_to(llrt_session *session, llrt_write write, void *ctx,
                                 llrt_error *err)
{
    stream s = {.write = write, .ctx = ctx};
    if (!write) return llrti_fail(err, LLRT_ERR_ARGUMENT, "write is NULL");
    LLRTI_TRY(llrti_session_enter(session, err));
    const llrt_status status = save_entered(session, &s, err);
    llrti_session_leave(session);
    return status;
}

static llrt_status write_file(void *ctx, const void *data, size_t n, llrt_error *err)
{
    return llrti_out_file_write(ctx, data, n, err);
}

llrt_status llrt_session_save(llrt_session *session, const char *path, llrt_error *err)
{
    llrti_out_file file;
    if (!path) return llrti_fail(err, LLRT_ERR_ARGUMENT, "path is NULL");
    if (session) LLRTI_TRY(llrti_engine_check(session->engine, err));
    LLRTI_TRY(llrti_out_file_open(path, &file, err));
    llrt_status status = llrt_session_save_to(session, write_file, &file, err);
    if (status == LLRT_OK) status = llrti_out_file_commit(&file, err);
    if (status < 0) llrti_out_file_discard(&file);
    return status;
}

/* ---- Loading ---- */

static llrt_status check_header(const llrt_session *session, const uint8_t *header, size_t *n_tok,
                                llrt_error *err)
{
    const llrt_engine *const engine = session->engine;
    uint8_t hash[16];
    if (memcmp(header, MAGIC, 8) != 0)
        return llrti_fail_field(err, LLRT_ERR_FORMAT, "magic", "this is no saved session");
    if (get_u32(header + 8) != VERSION) {
        return llrti_fail_field(err, LLRT_ERR_MISMATCH, "version", "found version %u, expected %u",
                                get_u32(header + 8), VERSION);
    }
    llrti_hash_store(llrti_hash_bytes(header, HASH_AT, HASH_SEED), hash);
    if (memcmp(hash, header + HASH_AT, 16) != 0)
        return llrti_fail_field(err, LLRT_ERR_FORMAT, "header", "the header is damaged");
    if (memcmp(header + 40, engine->fingerprint, 16) != 0) {
        return llrti_fail_field(err, LLRT_ERR_MISMATCH, "fingerprint",
                                "the session was saved with another model");
    }
    if (get_u32(header + 16) != engine->options.kv_type) {
        return llrti_fail_field(err, LLRT_ERR_MISMATCH, "kv_type",
                                "the session was saved with KV type %u, the engine has %u",
                                get_u32(header + 16), engine->options.kv_type);
    }
    if (get_u32(header + 12) != LLRT_PAGE_TOK || get_u64(header + 32) != engine->page_bytes) {
        return llrti_fail_field(err, LLRT_ERR_MISMATCH, "page",
                                "found pages of %u tokens and %llu bytes, expected %d and %zu",
                                get_u32(header + 12), (unsigned long long)get_u64(header + 32),
                                LLRT_PAGE_TOK, engine->page_bytes);
    }
    if (get_u32(header + 20) != 0) {
        return llrti_fail_field(err, LLRT_ERR_FORMAT, "reserved", "found %u, expected 0",
                                get_u32(header + 20));
    }
    const uint64_t n = get_u64(header + 24);
    if (n > session->options.n_ctx) {
        return llrti_fail(err, LLRT_ERR_CONTEXT_FULL,
                          "the saved session has %llu tokens, the context is %u",
                          (unsigned long long)n, session->options.n_ctx);
    }
    *n_tok = (size_t)n;
    return LLRT_OK;
}

/* What a load gathers before it takes effect. */
typedef struct loaded {
    size_t n_tok, first_embedding;
    uint32_t n_page;
    int32_t *tokens;
    uint32_t *page;
    void *buffer;
} loaded;

static llrt_status get_tokens(stream *s, const llrt_engine *engine, loaded *in, llrt_error *err)
{
    uint8_t bytes[4 * TOKENS_PER_READ];
    in->first_embedding = LLRTI_NO_EMBEDDING;
    for (size_t i = 0; i < in->n_tok; i += TOKENS_PER_READ) {
        const size_t n = LLRTI_MIN((size_t)TOKENS_PER_READ, in->n_tok - i);
        LLRTI_TRY(get_bytes(s, bytes, 4 * n, err));
        for (size_t k = 0; k < n; k++) {
            const uint32_t id = get_u32(bytes + 4 * k);
            if (id >= engine->n_vocab && id != UINT32_MAX) {
                return llrti_fail_field(err, LLRT_ERR_FORMAT, "tokens",
                                        "found token %u, expected less than %u", id,
                                        engine->n_vocab);
            }
            if (id == UINT32_MAX && in->first_embedding == LLRTI_NO_EMBEDDING)
                in->first_embedding = i + k;
            in->tokens[i + k] = id == UINT32_MAX ? -1 : (int32_t)id;
        }
    }
    return LLRT_OK;
}

static llrt_status get_pages(stream *s, llrt_engine *engine, const loaded *in, llrt_error *err)
{
    for (uint32_t i = 0; i < in->n_page; i++) {
        const uint32_t n_tok = tokens_in_page(in->n_tok, i);
        for (uint32_t k = 0; k < engine->stages.n; k++) {
            if (engine->stages.at[k].page_bytes == 0) continue;
            LLRTI_TRY(get_bytes(s, in->buffer, part_bytes(engine, k, n_tok), err));
            LLRTI_TRY(write_page(engine, k, in->page[i], n_tok, in->buffer, err));
        }
    }
    uint8_t hash[16], found[16];
    llrti_hash_store(llrti_hash_end(&s->hasher), hash);
    LLRTI_TRY(s->read(s->ctx, found, sizeof found, err));
    if (memcmp(hash, found, sizeof hash) != 0)
        return llrti_fail_field(err, LLRT_ERR_FORMAT, "checksum", "the saved session is damaged");
    return LLRT_OK;
}

static llrt_status take_pages(llrt_engine *engine, loaded *in, llrt_error *err)
{
    const uint32_t n = llrti_session_pages(in->n_tok);
    llrti_mutex_lock(&engine->lock);
    const uint32_t available = engine->pool.n_free + engine->pool.n_cached;
    if (llrti_pool_take(&engine->pool, n, in->page)) in->n_page = n;
    llrti_mutex_unlock(&engine->lock);
    if (in->n_page == n) return LLRT_OK;
    return llrti_fail(err, LLRT_ERR_POOL_FULL, "%u pages are needed, %u are not held by sessions",
                      n, available);
}

static void release_pages(llrt_engine *engine, const uint32_t *page, uint32_t n)
{
    llrti_mutex_lock(&engine->lock);
    while (n) llrti_pool_release(&engine->pool, page[--n]);
    llrti_mutex_unlock(&engine->lock);
}

static void swap_in(llrt_session *session, const loaded *in)
{
    llrti_session_cut(session, 0);
    if (in->n_tok) memcpy(session->tokens, in->tokens, in->n_tok * sizeof *in->tokens);
    if (in->n_page) memcpy(session->page, in->page, in->n_page * sizeof *in->page);
    llrti_mutex_lock(&session->engine->lock);
    session->n_page = in->n_page;
    session->n_tok = in->n_tok;
    llrti_mutex_unlock(&session->engine->lock);
    session->first_embedding = in->first_embedding;
    session->n_logits = 0;
}

static llrt_status load_entered(llrt_session *session, stream *s, llrt_error *err)
{
    llrt_engine *const engine = session->engine;
    uint8_t header[HEADER_BYTES];
    loaded in;
    memset(&in, 0, sizeof in);
    llrti_hash_begin(&s->hasher, HASH_SEED);
    LLRTI_TRY(get_bytes(s, header, sizeof header, err));
    LLRTI_TRY(check_header(session, header, &in.n_tok, err));
    const uint32_t n_page = llrti_session_pages(in.n_tok);
    llrt_status status = LLRT_OK;
    in.tokens = llrti_alloc(&engine->mem, in.n_tok * sizeof *in.tokens, LLRT_MEMORY_SESSION);
    in.page = llrti_alloc(&engine->mem, n_page * sizeof *in.page, LLRT_MEMORY_SESSION);
    if (!in.tokens || !in.page) {
        status = llrti_fail_nomem(err, "the tokens of a saved session", in.n_tok * 4);
        goto fail;
    }
    LLRTI_TRY_GOTO(status, take_buffer(engine, &in.buffer, err));
    LLRTI_TRY_GOTO(status, get_tokens(s, engine, &in, err));
    LLRTI_TRY_GOTO(status, take_pages(engine, &in, err));
    LLRTI_TRY_GOTO(status, get_pages(s, engine, &in, err));
    swap_in(session, &in);
    in.n_page = 0;
fail:
    if (in.n_page) release_pages(engine, in.page, in.n_page);
    llrti_free(&engine->mem, in.buffer);
    llrti_free(&engine->mem, in.page);
    llrti_free(&engine->mem, in.tokens);
    return status;
}

llrt_status llrt_session_load_from(llrt_session *session, llrt_read read, void *ctx,
                                   llrt_error *err)
{
    stream s = {.read = read, .ctx = ctx};
    if (!read) return llrti_fail(err, LLRT_ERR_ARGUMENT, "read is NULL");
    LLRTI_TRY(llrti_session_enter(session, err));
    const llrt_status status = load_entered(session, &s, err);
    llrti_session_leave(session);
    return status;
}

typedef struct in_file {
    llrti_file file;
    uint64_t at, size;
} in_file;

static llrt_status read_file(void *ctx, void *data, size_t n, llrt_error *err)
{
    in_file *const in = ctx;
    if (n > in->size - in->at) {
        llrti_fail(err, LLRT_ERR_FORMAT, "the file ends after %llu bytes, %zu more were expected",
                   (unsigned long long)in->size, n - (size_t)(in->size - in->at));
        llrti_error_position(err, (int64_t)in->at);
        return LLRT_ERR_FORMAT;
    }
    LLRTI_TRY(llrti_file_read_at(in->file, in->at, data, n, err));
    in->at += n;
    return LLRT_OK;
}

llrt_status llrt_session_load(llrt_session *session, const char *path, llrt_error *err)
{
    in_file in = {{-1}, 0, 0};
    if (!path) return llrti_fail(err, LLRT_ERR_ARGUMENT, "path is NULL");
    if (session) LLRTI_TRY(llrti_engine_check(session->engine, err));
    LLRTI_TRY(llrti_file_open(path, &in.file, &in.size, err));
    const llrt_status status = llrt_session_load_from(session, read_file, &in, err);
    llrti_file_close(&in.file);
    if (status < 0) llrti_error_file(err, path);
    return status;
}
