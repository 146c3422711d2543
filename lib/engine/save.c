/* SPDX-License-Identifier: MIT */
/*
 * Saved sessions. All numbers little-endian:
 *
 *     0   "LLRTSESS"
 *     8   u32 version (2)          12  u32 tokens per page (64)
 *    16   u32 kv type              20  u32 parts that follow: 1 a state, 2 a snapshot, 4 positions
 *    24   u64 tokens               32  u64 bytes of keys and values per page
 *    40   u64 bytes of keys and values per page of windowed layers
 *    48   u64 numbers of a recurrent state
 *    56   u32 first page whose part of windowed layers is there
 *    60   u32 tokens in front of the first that its id does not describe
 *    64   fingerprint of the model, or of model and adapters (16 bytes)
 *    80   hash of the bytes before (16)
 *    96   token ids (i32 each, -1: an embedding row)
 *         positions: u32 first token that was given one, then of each from it on three i32
 *         pages in order, each in the canonical layout of backend.h, for all kv slots that keep
 *         every position; the last holds only its used positions
 *         pages from the first windowed one on, likewise, for the slots of windowed layers
 *         the state after the last token: all layers' in order, float32
 *         a snapshot: the state at the end of the last complete page, when tokens follow it
 *         hash of everything before (16)
 *
 * Stages hold consecutive kv slots and states, so their parts follow one another and the file does
 * not depend on where a model was cut. Version 1 knew neither windows nor states.
 *
 * Loading writes into fresh pages and slots and swaps them in when the last hash was right, so a
 * failure leaves the session as it was. Loaded pages do not go into the prefix index: they may come
 * from another instruction set or precision, and what a file says must not reach other sessions.
 */
#include <string.h>

#include "options.h"
#include "position.h"
#include "rewind.h"
#include "state.h"
#include "window.h"

#define MAGIC "LLRTSESS"
#define VERSION 2u
#define HEADER_BYTES 96u
#define FINGERPRINT_AT 64u
#define HASH_AT 80u
#define HASH_SEED UINT64_C(0x53455353)
#define TOKENS_PER_READ 1024u

enum { HAS_STATE = 1, HAS_SNAPSHOT = 2, HAS_POSITIONS = 4 };

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

static void make_header(const llrt_session *session, uint32_t parts, uint8_t header[HEADER_BYTES])
{
    const llrt_engine *const engine = session->engine;
    memset(header, 0, HEADER_BYTES);
    memcpy(header, MAGIC, 8);
    put_u32(header + 8, VERSION);
    put_u32(header + 12, LLRT_PAGE_TOK);
    put_u32(header + 16, engine->options.kv_type);
    put_u32(header + 20, parts);
    put_u64(header + 24, session->n_tok);
    put_u64(header + 32, engine->page_bytes[LLRT_KV_GROUP_FULL]);
    put_u64(header + 40, engine->page_bytes[LLRT_KV_GROUP_WINDOW]);
    put_u64(header + 48, engine->n_state_float);
    put_u32(header + 56, session->window_begin);
    put_u32(header + 60, (uint32_t)LLRTI_MIN(session->first_embedding, session->n_tok));
    llrti_adapter_fingerprint(session->adapters, engine->fingerprint, header + FINGERPRINT_AT);
    llrti_hash_store(llrti_hash_bytes(header, HASH_AT, HASH_SEED), header + HASH_AT);
}

static size_t part_bytes(const llrti_engine_stage *stage, uint32_t group, uint32_t n_tok)
{
    return stage->page_bytes[group] / LLRT_PAGE_TOK * n_tok;
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

static llrt_status put_positions(stream *s, const llrt_session *session, llrt_error *err)
{
    uint8_t bytes[12];
    if (!llrti_position_is_used(session)) return LLRT_OK;
    put_u32(bytes, (uint32_t)session->first_position);
    LLRTI_TRY(put_bytes(s, bytes, 4, err));
    for (size_t i = session->first_position; i < session->n_tok; i++) {
        int32_t position[3];
        llrti_position_fill(session, i, 1, position);
        for (int k = 0; k < 3; k++) put_u32(bytes + 4 * k, (uint32_t)position[k]);
        LLRTI_TRY(put_bytes(s, bytes, sizeof bytes, err));
    }
    return LLRT_OK;
}

/* Room for the largest part of a page or state. */
static llrt_status take_buffer(llrt_engine *engine, void **out, llrt_error *err)
{
    size_t most = 1;
    for (uint32_t i = 0; i < engine->stages.n; i++) {
        const llrti_engine_stage *const stage = &engine->stages.at[i];
        for (uint32_t g = 0; g < LLRT_KV_GROUP_COUNT; g++)
            most = LLRTI_MAX(most, stage->page_bytes[g]);
        most = LLRTI_MAX(most, stage->n_state_float * sizeof(float));
    }
    *out = llrti_alloc(&engine->mem, most, LLRT_MEMORY_SESSION);
    return *out ? LLRT_OK : llrti_fail_nomem(err, "a page for a session file", most);
}

/* ---- Saving ---- */

static llrt_status put_page(stream *s, llrt_engine *engine, uint32_t group, uint32_t page,
                            uint32_t n_tok, void *buffer, llrt_error *err)
{
    for (uint32_t i = 0; i < engine->stages.n; i++) {
        const llrti_engine_stage *const at = &engine->stages.at[i];
        const size_t n = part_bytes(at, group, n_tok);
        if (n == 0) continue;
        llrti_step_acquire(engine);
        const llrt_status status =
            at->backend->page_read(at->runtime, group, page, n_tok, buffer, n, err);
        llrti_step_release(engine);
        LLRTI_TRY(status);
        LLRTI_TRY(put_bytes(s, buffer, n, err));
    }
    return LLRT_OK;
}

static llrt_status put_state(stream *s, llrt_engine *engine, uint32_t slot, float *buffer,
                             llrt_error *err)
{
    for (uint32_t i = 0; i < engine->stages.n; i++) {
        const llrti_engine_stage *const at = &engine->stages.at[i];
        const size_t n = at->n_state_float;
        if (n == 0) continue;
        llrti_step_acquire(engine);
        const llrt_status status = at->backend->state_read(at->runtime, slot, buffer, n, err);
        llrti_step_release(engine);
        LLRTI_TRY(status);
        for (size_t k = 0; k < n; k++) {
            uint32_t bits;
            memcpy(&bits, &buffer[k], sizeof bits);
            put_u32((uint8_t *)&buffer[k], bits);
        }
        LLRTI_TRY(put_bytes(s, buffer, n * sizeof *buffer, err));
    }
    return LLRT_OK;
}

/*
 * The snapshot at the end of the last complete page, held while it is saved; LLRTI_SLOT_NONE: there
 * is none.
 */
static uint32_t hold_snapshot(llrt_session *session)
{
    llrti_slots *const slots = &session->engine->pool.state;
    uint32_t slot = LLRTI_SLOT_NONE;
    const uint32_t n_page = (uint32_t)(session->n_tok / LLRT_PAGE_TOK);
    if (n_page == 0 || session->n_tok % LLRT_PAGE_TOK == 0) return slot;
    llrti_mutex_lock(&session->engine->lock);
    slot = llrti_slots_of(slots, session->page[n_page - 1]);
    if (slot != LLRTI_SLOT_NONE && !llrti_slots_idle_hold(slots, slot)) slot = LLRTI_SLOT_NONE;
    llrti_mutex_unlock(&session->engine->lock);
    return slot;
}

static llrt_status save_pages(llrt_session *session, stream *s, void *buffer, llrt_error *err)
{
    llrt_engine *const engine = session->engine;
    for (uint32_t i = 0; i < session->n_page; i++) {
        LLRTI_TRY(put_page(s, engine, LLRT_KV_GROUP_FULL, session->page[i],
                           tokens_in_page(session->n_tok, i), buffer, err));
    }
    for (uint32_t i = session->window_begin; i < session->window_end; i++) {
        LLRTI_TRY(put_page(s, engine, LLRT_KV_GROUP_WINDOW, session->window_page[i],
                           tokens_in_page(session->n_tok, i), buffer, err));
    }
    return LLRT_OK;
}

static llrt_status save_entered(llrt_session *session, stream *s, llrt_error *err)
{
    llrt_engine *const engine = session->engine;
    uint8_t header[HEADER_BYTES], hash[16];
    void *buffer;
    LLRTI_TRY(take_buffer(engine, &buffer, err));
    const uint32_t snapshot = hold_snapshot(session);
    const bool has_state = session->state != LLRTI_SLOT_NONE;
    llrt_status status = LLRT_OK;
    llrti_hash_begin(&s->hasher, HASH_SEED);
    make_header(session,
                (llrti_position_is_used(session) ? HAS_POSITIONS : 0u) |
                    (has_state ? HAS_STATE : 0u) |
                    (snapshot != LLRTI_SLOT_NONE ? HAS_SNAPSHOT : 0u),
                header);
    LLRTI_TRY_GOTO(status, put_bytes(s, header, sizeof header, err));
    LLRTI_TRY_GOTO(status, put_tokens(s, session, err));
    LLRTI_TRY_GOTO(status, put_positions(s, session, err));
    LLRTI_TRY_GOTO(status, save_pages(session, s, buffer, err));
    if (has_state) LLRTI_TRY_GOTO(status, put_state(s, engine, session->state, buffer, err));
    if (snapshot != LLRTI_SLOT_NONE)
        LLRTI_TRY_GOTO(status, put_state(s, engine, snapshot, buffer, err));
    llrti_hash_store(llrti_hash_end(&s->hasher), hash);
    status = s->write(s->ctx, hash, sizeof hash, err);
fail:
    if (snapshot != LLRTI_SLOT_NONE) {
        llrti_mutex_lock(&engine->lock);
        llrti_slots_idle_release(&engine->pool.state, snapshot);
        llrti_mutex_unlock(&engine->lock);
    }
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

/* What a load gathers before it takes effect. */
typedef struct loaded {
    size_t n_tok, first_embedding, first_position;
    uint32_t n_page, window_begin, window_end, parts;
    int32_t *tokens, *position;
    uint32_t *page, *window_page; /* as many as tokens need */
    uint32_t state, snapshot;
    void *buffer;
} loaded;

static llrt_status check_number(const char *field, uint64_t found, uint64_t least, uint64_t most,
                                llrt_error *err)
{
    if (found >= least && found <= most) return LLRT_OK;
    return llrti_fail_field(err, LLRT_ERR_FORMAT, field, "found %llu, expected %llu to %llu",
                            (unsigned long long)found, (unsigned long long)least,
                            (unsigned long long)most);
}

/* That there are the parts a session of this engine with so many tokens has. */
static llrt_status check_parts(const llrt_engine *engine, const uint8_t *header, loaded *in,
                               llrt_error *err)
{
    const bool has_state = engine->n_state_float && in->n_tok;
    const bool can_snap = has_state && in->n_tok > LLRT_PAGE_TOK && in->n_tok % LLRT_PAGE_TOK;
    in->parts = get_u32(header + 20);
    in->window_begin = get_u32(header + 56);
    LLRTI_TRY(check_number("parts", in->parts & ~(uint32_t)(HAS_SNAPSHOT | HAS_POSITIONS),
                           has_state ? HAS_STATE : 0, has_state ? HAS_STATE : 0, err));
    LLRTI_TRY(check_number("parts", in->parts & HAS_SNAPSHOT, 0, can_snap ? HAS_SNAPSHOT : 0, err));
    const uint32_t n_page = llrti_session_pages(in->n_tok);
    const bool has_window = engine->window > 0;
    LLRTI_TRY(check_number(
        "window_begin", in->window_begin,
        has_window ? llrti_window_keep_from(engine, in->n_tok) : 0,
        has_window ? LLRTI_MIN(llrti_window_need_from(engine, in->n_tok), n_page) : 0, err));
    in->window_end = in->window_begin;
    in->first_embedding = get_u32(header + 60);
    return check_number("n_described", in->first_embedding, 0, in->n_tok, err);
}

static llrt_status check_sizes(const llrt_engine *engine, const uint8_t *header, llrt_error *err)
{
    const uint64_t full = get_u64(header + 32), window = get_u64(header + 40);
    if (get_u32(header + 12) != LLRT_PAGE_TOK || full != engine->page_bytes[LLRT_KV_GROUP_FULL] ||
        window != engine->page_bytes[LLRT_KV_GROUP_WINDOW]) {
        return llrti_fail_field(err, LLRT_ERR_MISMATCH, "page",
                                "found pages of %u tokens and %llu + %llu bytes, expected %d and "
                                "%zu + %zu",
                                get_u32(header + 12), (unsigned long long)full,
                                (unsigned long long)window, LLRT_PAGE_TOK,
                                engine->page_bytes[LLRT_KV_GROUP_FULL],
                                engine->page_bytes[LLRT_KV_GROUP_WINDOW]);
    }
    if (get_u64(header + 48) != engine->n_state_float) {
        return llrti_fail_field(err, LLRT_ERR_MISMATCH, "state",
                                "found states of %llu numbers, expected %zu",
                                (unsigned long long)get_u64(header + 48), engine->n_state_float);
    }
    return LLRT_OK;
}

static llrt_status check_header(const llrt_session *session, const uint8_t *header, loaded *in,
                                llrt_error *err)
{
    const llrt_engine *const engine = session->engine;
    uint8_t hash[16];
    llrti_hash_store(llrti_hash_bytes(header, HASH_AT, HASH_SEED), hash);
    if (memcmp(hash, header + HASH_AT, 16) != 0)
        return llrti_fail_field(err, LLRT_ERR_FORMAT, "header", "the header is damaged");
    uint8_t fingerprint[16];
    llrti_adapter_fingerprint(session->adapters, engine->fingerprint, fingerprint);
    if (memcmp(header + FINGERPRINT_AT, fingerprint, 16) != 0) {
        const bool is_plain = memcmp(header + FINGERPRINT_AT, engine->fingerprint, 16) == 0;
        return llrti_fail_field(err, LLRT_ERR_MISMATCH, "fingerprint", "the session was saved %s",
                                is_plain            ? "without the adapters this one has"
                                : session->adapters ? "with another model or other adapters"
                                                    : "with another model or with adapters");
    }
    if (get_u32(header + 16) != engine->options.kv_type) {
        return llrti_fail_field(err, LLRT_ERR_MISMATCH, "kv_type",
                                "the session was saved with KV type %u, the engine has %u",
                                get_u32(header + 16), engine->options.kv_type);
    }
    LLRTI_TRY(check_sizes(engine, header, err));
    const uint64_t n = get_u64(header + 24);
    if (n > session->options.n_ctx) {
        return llrti_fail(err, LLRT_ERR_CONTEXT_FULL,
                          "the saved session has %llu tokens, the context is %u",
                          (unsigned long long)n, session->options.n_ctx);
    }
    in->n_tok = (size_t)n;
    return check_parts(engine, header, in, err);
}

/* The version decides how long the header is, so it is looked at first. */
static llrt_status get_header(const llrt_session *session, stream *s, loaded *in, llrt_error *err)
{
    uint8_t header[HEADER_BYTES];
    const size_t n_first = 12;
    LLRTI_TRY(get_bytes(s, header, n_first, err));
    if (memcmp(header, MAGIC, 8) != 0)
        return llrti_fail_field(err, LLRT_ERR_FORMAT, "magic", "this is no saved session");
    if (get_u32(header + 8) != VERSION) {
        return llrti_fail_field(err, LLRT_ERR_MISMATCH, "version",
                                "the session was saved in version %u of the format, this library "
                                "reads version %u",
                                get_u32(header + 8), VERSION);
    }
    LLRTI_TRY(get_bytes(s, header + n_first, sizeof header - n_first, err));
    return check_header(session, header, in, err);
}

static llrt_status get_tokens(stream *s, const llrt_engine *engine, loaded *in, llrt_error *err)
{
    uint8_t bytes[4 * TOKENS_PER_READ];
    if (in->first_embedding == in->n_tok) in->first_embedding = LLRTI_NO_EMBEDDING;
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
            if (id == UINT32_MAX && in->first_embedding > i + k) {
                return llrti_fail_field(err, LLRT_ERR_FORMAT, "tokens",
                                        "token %zu is an embedding row, but the header says that "
                                        "its id describes it",
                                        i + k);
            }
            in->tokens[i + k] = id == UINT32_MAX ? -1 : (int32_t)id;
        }
    }
    return LLRT_OK;
}

static llrt_status get_positions(stream *s, const llrt_session *session, loaded *in,
                                 llrt_error *err)
{
    uint8_t bytes[12];
    in->first_position = LLRTI_NO_POSITION;
    if (!(in->parts & HAS_POSITIONS)) return LLRT_OK;
    LLRTI_TRY(get_bytes(s, bytes, 4, err));
    const size_t first = get_u32(bytes);
    LLRTI_TRY(check_number("first_position", first, LLRTI_MIN(in->first_embedding, in->n_tok),
                           in->n_tok ? in->n_tok - 1 : 0, err));
    LLRTI_TRY(llrti_position_allocate(session, &in->position, err));
    in->first_position = first;
    for (size_t i = first; i < in->n_tok; i++) {
        int32_t position[3];
        LLRTI_TRY(get_bytes(s, bytes, sizeof bytes, err));
        for (int k = 0; k < 3; k++) {
            const uint32_t found = get_u32(bytes + 4 * k);
            LLRTI_TRY(check_number("positions", found, 0, LLRTI_POSITION_MAX + LLRTI_CTX_MAX, err));
            position[k] = (int32_t)found;
        }
        llrti_position_set(in->position, first, i, position);
    }
    return LLRT_OK;
}

static llrt_status get_page(stream *s, llrt_engine *engine, uint32_t group, uint32_t page,
                            uint32_t n_tok, void *buffer, llrt_error *err)
{
    for (uint32_t i = 0; i < engine->stages.n; i++) {
        const llrti_engine_stage *const at = &engine->stages.at[i];
        const size_t n = part_bytes(at, group, n_tok);
        if (n == 0) continue;
        LLRTI_TRY(get_bytes(s, buffer, n, err));
        llrti_step_acquire(engine);
        const llrt_status status =
            at->backend->page_write(at->runtime, group, page, n_tok, buffer, n, err);
        llrti_step_release(engine);
        LLRTI_TRY(status);
    }
    return LLRT_OK;
}

static llrt_status get_state(stream *s, llrt_engine *engine, uint32_t slot, float *buffer,
                             llrt_error *err)
{
    for (uint32_t i = 0; i < engine->stages.n; i++) {
        const llrti_engine_stage *const at = &engine->stages.at[i];
        const size_t n = at->n_state_float;
        if (n == 0) continue;
        LLRTI_TRY(get_bytes(s, buffer, n * sizeof *buffer, err));
        for (size_t k = 0; k < n; k++) {
            const uint32_t bits = get_u32((const uint8_t *)&buffer[k]);
            memcpy(&buffer[k], &bits, sizeof bits);
        }
        llrti_step_acquire(engine);
        const llrt_status status = at->backend->state_write(at->runtime, slot, buffer, n, err);
        llrti_step_release(engine);
        LLRTI_TRY(status);
    }
    return LLRT_OK;
}

static llrt_status get_contents(stream *s, llrt_engine *engine, const loaded *in, llrt_error *err)
{
    for (uint32_t i = 0; i < in->n_page; i++) {
        LLRTI_TRY(get_page(s, engine, LLRT_KV_GROUP_FULL, in->page[i], tokens_in_page(in->n_tok, i),
                           in->buffer, err));
    }
    for (uint32_t i = in->window_begin; i < in->window_end; i++) {
        LLRTI_TRY(get_page(s, engine, LLRT_KV_GROUP_WINDOW, in->window_page[i],
                           tokens_in_page(in->n_tok, i), in->buffer, err));
    }
    if (in->parts & HAS_STATE) LLRTI_TRY(get_state(s, engine, in->state, in->buffer, err));
    if (in->parts & HAS_SNAPSHOT) LLRTI_TRY(get_state(s, engine, in->snapshot, in->buffer, err));
    uint8_t hash[16], found[16];
    llrti_hash_store(llrti_hash_end(&s->hasher), hash);
    LLRTI_TRY(s->read(s->ctx, found, sizeof found, err));
    if (memcmp(hash, found, sizeof hash) != 0)
        return llrti_fail_field(err, LLRT_ERR_FORMAT, "checksum", "the saved session is damaged");
    return LLRT_OK;
}

/* A fresh slot, held outside of a call; the promise has been made. */
static uint32_t take_slot(llrti_slots *slots, uint32_t *promise)
{
    const uint32_t slot = llrti_slots_take(slots, promise);
    llrti_slots_leave(slots, slot);
    return slot;
}

/* Under the lock. */
static bool take_everything(llrti_pool *pool, loaded *in)
{
    const uint32_t n_page = llrti_session_pages(in->n_tok);
    const uint32_t n_window = pool->window.n_slot ? n_page - in->window_begin : 0;
    const uint32_t n_state = (in->parts & HAS_STATE) + (in->parts & HAS_SNAPSHOT) / HAS_SNAPSHOT;
    uint32_t window_promise = 0, state_promise = 0;
    if (n_page > pool->n_free + pool->n_cached || n_state > llrti_slots_room(&pool->state) ||
        !llrti_slots_promise(&pool->window, &window_promise, n_window, 0))
        return false;
    llrti_slots_promise(&pool->state, &state_promise, n_state, 0);
    llrti_pool_take(pool, n_page, in->page);
    in->n_page = n_page;
    while (window_promise) {
        const uint32_t i = in->window_end++;
        in->window_page[i] = take_slot(&pool->window, &window_promise);
        llrti_slots_give(&pool->window, in->window_page[i], in->page[i]);
    }
    if (state_promise) in->state = take_slot(&pool->state, &state_promise);
    if (state_promise) in->snapshot = take_slot(&pool->state, &state_promise);
    return true;
}

static llrt_status take_pages(llrt_engine *engine, loaded *in, llrt_error *err)
{
    llrti_mutex_lock(&engine->lock);
    const uint32_t available = engine->pool.n_free + engine->pool.n_cached;
    const bool is_taken = take_everything(&engine->pool, in);
    llrti_mutex_unlock(&engine->lock);
    if (is_taken) return LLRT_OK;
    return llrti_fail(
        err, LLRT_ERR_POOL_FULL,
        "%u pages are needed and what windowed and recurrent layers keep beside them, "
        "%u pages are not held by sessions",
        llrti_session_pages(in->n_tok), available);
}

static void release_everything(llrt_engine *engine, const loaded *in)
{
    llrti_pool *const pool = &engine->pool;
    uint32_t n = in->n_page;
    llrti_mutex_lock(&engine->lock);
    for (uint32_t i = in->window_begin; i < in->window_end; i++)
        llrti_slots_idle_release(&pool->window, in->window_page[i]);
    if (in->state != LLRTI_SLOT_NONE) llrti_slots_idle_release(&pool->state, in->state);
    if (in->snapshot != LLRTI_SLOT_NONE) llrti_slots_idle_release(&pool->state, in->snapshot);
    while (n) llrti_pool_release(pool, in->page[--n]);
    llrti_mutex_unlock(&engine->lock);
}

static void swap_in(llrt_session *session, const loaded *in)
{
    llrti_pool *const pool = &session->engine->pool;
    const uint32_t n_full = (uint32_t)(in->n_tok / LLRT_PAGE_TOK);
    llrti_rewind_cut(session, 0);
    if (in->n_tok) memcpy(session->tokens, in->tokens, in->n_tok * sizeof *in->tokens);
    if (in->n_page) memcpy(session->page, in->page, in->n_page * sizeof *in->page);
    llrti_mutex_lock(&session->engine->lock);
    for (uint32_t i = in->window_begin; i < in->window_end; i++)
        session->window_page[i] = in->window_page[i];
    session->window_begin = in->window_begin;
    session->window_end = in->window_end;
    session->state = in->state;
    if (in->snapshot != LLRTI_SLOT_NONE) {
        llrti_slots_give(&pool->state, in->snapshot, in->page[n_full - 1]);
        llrti_slots_idle_release(&pool->state, in->snapshot);
    } else if (in->state != LLRTI_SLOT_NONE && in->n_tok % LLRT_PAGE_TOK == 0) {
        llrti_slots_give(&pool->state, in->state, in->page[n_full - 1]);
    }
    session->n_page = in->n_page;
    session->n_tok = in->n_tok;
    llrti_mutex_unlock(&session->engine->lock);
    session->first_embedding = in->first_embedding;
    session->lost_end = in->first_embedding == LLRTI_NO_EMBEDDING ? 0 : in->n_tok;
    session->first_position = in->first_position;
    if (in->position) {
        llrti_free(&session->engine->mem, session->position);
        session->position = in->position;
    }
    session->n_logits = 0;
}

static llrt_status load_entered(llrt_session *session, stream *s, llrt_error *err)
{
    llrt_engine *const engine = session->engine;
    loaded in;
    memset(&in, 0, sizeof in);
    in.state = in.snapshot = LLRTI_SLOT_NONE;
    llrti_hash_begin(&s->hasher, HASH_SEED);
    LLRTI_TRY(get_header(session, s, &in, err));
    const size_t n_page = llrti_session_pages(in.n_tok);
    llrt_status status = LLRT_OK;
    in.tokens = llrti_alloc(&engine->mem, in.n_tok * sizeof *in.tokens, LLRT_MEMORY_SESSION);
    in.page = llrti_alloc(&engine->mem, 2 * n_page * sizeof *in.page, LLRT_MEMORY_SESSION);
    if (!in.tokens || !in.page) {
        status = llrti_fail_nomem(err, "the tokens of a saved session", in.n_tok * 4);
        goto fail;
    }
    in.window_page = in.page + n_page;
    LLRTI_TRY_GOTO(status, take_buffer(engine, &in.buffer, err));
    LLRTI_TRY_GOTO(status, get_tokens(s, engine, &in, err));
    LLRTI_TRY_GOTO(status, get_positions(s, session, &in, err));
    LLRTI_TRY_GOTO(status, take_pages(engine, &in, err));
    LLRTI_TRY_GOTO(status, get_contents(s, engine, &in, err));
    swap_in(session, &in);
    in.n_page = 0;
    in.position = NULL;
fail:
    if (in.n_page) release_everything(engine, &in);
    llrti_free(&engine->mem, in.buffer);
    llrti_free(&engine->mem, in.page);
    llrti_free(&engine->mem, in.position);
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
