/* SPDX-License-Identifier: MIT */
/*
 * llrt_tokenizer: life cycle, encode, decode and inspection. Loading is in
 * tokenizer_gguf.c and tokenizer_json.c, opening in tokenizer_open.c.
 *
 * A tokenizer is reference-counted because token streams and engines share it. One made by a
 * public open function owns its llrti_mem, which therefore lives inside the block it allocated.
 * Encoding allocates its scratch per call, so any number of threads may encode at once.
 */
#include "tokenizer_impl.h"

#include <string.h>

#include "error.h"
#include "text.h"

/* Counters of `from` go to `to`, which takes over its blocks. */
static void move_mem(llrti_mem *to, const llrti_mem *from)
{
    llrti_mem_init(to, &from->hooks);
    for (int kind = 0; kind < LLRT_MEMORY_COUNT; kind++) {
        atomic_store(&to->live[kind], atomic_load(&from->live[kind]));
        atomic_store(&to->peak[kind], atomic_load(&from->peak[kind]));
    }
    atomic_store(&to->total_live, atomic_load(&from->total_live));
    atomic_store(&to->total_peak, atomic_load(&from->total_peak));
}

llrt_status llrti_tokenizer_new(llrti_mem *mem, const llrt_allocator *hooks, llrt_tokenizer **out,
                                llrt_error *err)
{
    llrti_mem first;
    if (!mem) llrti_mem_init(&first, hooks);
    llrt_tokenizer *const t = llrti_calloc(mem ? mem : &first, 1, sizeof *t, LLRT_MEMORY_HOST);
    *out = t;
    if (!t) return llrti_fail_nomem(err, "a tokenizer", sizeof *t);
    if (!mem) move_mem(&t->own_mem, &first);
    t->mem = mem ? mem : &t->own_mem;
    atomic_init(&t->n_ref, 1);
    llrti_vocab_init(&t->vocab, t->mem);
    llrti_bpe_init(&t->bpe, t->mem);
    llrti_normalizer_init(&t->normalizer, t->mem);
    llrti_added_tokens_init(&t->added, t->mem);
    llrti_added_tokens_init(&t->added_normalized, t->mem);
    t->added_normalized.is_owner = true;
    for (size_t i = 0; i < LLRTI_COUNT(t->special); i++) t->special[i] = LLRT_TOKEN_NONE;
    return LLRT_OK;
}

static void destroy(llrt_tokenizer *t)
{
    void (*const on_release)(void *) = t->on_release;
    void *const ctx = t->on_release_ctx;
    llrti_vocab_free(&t->vocab);
    llrti_bpe_free(&t->bpe);
    llrti_normalizer_free(&t->normalizer);
    llrti_added_tokens_free(&t->added);
    llrti_added_tokens_free(&t->added_normalized);
    if (t->mem == &t->own_mem) {
        llrti_mem last;
        move_mem(&last, &t->own_mem);
        llrti_free(&last, t);
    } else {
        llrti_free(t->mem, t);
    }
    if (on_release) on_release(ctx);
}

void llrti_tokenizer_ref(llrt_tokenizer *tokenizer)
{
    atomic_fetch_add(&tokenizer->n_ref, 1);
}

void llrti_tokenizer_unref(llrt_tokenizer *tokenizer)
{
    if (tokenizer && atomic_fetch_sub(&tokenizer->n_ref, 1) == 1) destroy(tokenizer);
}

void llrti_tokenizer_on_release(llrt_tokenizer *tokenizer, void (*fn)(void *ctx), void *ctx)
{
    tokenizer->on_release = fn;
    tokenizer->on_release_ctx = ctx;
}

void llrt_tokenizer_free(llrt_tokenizer *tokenizer)
{
    if (tokenizer && tokenizer->mem == &tokenizer->own_mem) llrti_tokenizer_unref(tokenizer);
}

int32_t llrti_tokenizer_find_added(const llrt_tokenizer *tokenizer, const char *name, size_t n)
{
    const int32_t id = llrti_added_tokens_find(&tokenizer->added, name, n);
    if (id != LLRT_TOKEN_NONE) return id;
    const llrti_added_tokens *const set = &tokenizer->added_normalized; /* sorted by other text */
    for (size_t i = 0; i < set->list.n; i++) {
        size_t n_text;
        const uint32_t token = (uint32_t)set->list.data[i].id;
        const char *const text = llrti_vocab_text(&tokenizer->vocab, token, &n_text);
        if (n_text == n && memcmp(text, name, n) == 0) return (int32_t)token;
    }
    return LLRT_TOKEN_NONE;
}

void llrti_tokenizer_finish(llrt_tokenizer *t)
{
    /* Tokens that end an answer in the models that have them; those of `turn` end a chat's turn. */
    static const struct {
        const char *name;
        bool is_turn;
    } ends[] = {
        {"<|eot_id|>", true},
        {"<|im_end|>", true},
        {"<|end|>", true},
        {"<end_of_turn>", true},
        {"<|eom_id|>", false},
        {"<|endoftext|>", false},
        {"<|end_of_text|>", false},
        {"</s>", false},
        {"<|return|>", false},
        {"<|call|>", false},
        {"<end_of_utterance>", true},
        {"<eos>", false},
        {"<EOT>", true},
        {"<|END_OF_TURN_TOKEN|>", true},
    };
    for (size_t i = 0; i < LLRTI_COUNT(ends); i++) {
        const int32_t id = llrti_tokenizer_find_added(t, ends[i].name, strlen(ends[i].name));
        if (id == LLRT_TOKEN_NONE) continue;
        t->vocab.entry[id].is_end = 1;
        if (ends[i].is_turn && t->special[LLRT_SPECIAL_EOT] == LLRT_TOKEN_NONE)
            t->special[LLRT_SPECIAL_EOT] = id;
    }
    if (t->special[LLRT_SPECIAL_EOS] != LLRT_TOKEN_NONE)
        t->vocab.entry[t->special[LLRT_SPECIAL_EOS]].is_end = 1;
    if (t->special[LLRT_SPECIAL_EOT] != LLRT_TOKEN_NONE)
        t->vocab.entry[t->special[LLRT_SPECIAL_EOT]].is_end = 1;
    const char *const pre = t->kind == &llrti_kind_bytelevel ? t->pretokenizer.name : NULL;
    llrti_text_format(t->name, sizeof t->name, "%s%s%s", t->kind->name, pre && *pre ? " " : "",
                      pre ? pre : "");
}

/* A piece of normalized text without added tokens. */
static llrt_status encode_piece(llrti_encoder *e, const char *text, size_t n, bool is_first,
                                llrt_error *err)
{
    const llrti_space_prefix prefix = e->tokenizer->prefix_space;
    if (n == 0) return LLRT_OK;
    if (text[0] != ' ' &&
        (prefix == LLRTI_PREFIX_ALWAYS || (prefix == LLRTI_PREFIX_FIRST && is_first))) {
        if (!llrti_vec_reserve(e->bpe.mem, &e->prefixed, n + 1, LLRT_MEMORY_HOST))
            return llrti_fail_nomem(err, "a prefixed text", n + 1);
        e->prefixed.data[0] = ' ';
        memcpy(e->prefixed.data + 1, text, n);
        text = e->prefixed.data;
        n++;
    }
    return e->tokenizer->kind->encode(e, text, n, err);
}

/* A piece of the text as given, without the added tokens that are matched there. */
static llrt_status encode_segment(llrti_encoder *e, const char *text, size_t n, bool is_first,
                                  llrt_error *err)
{
    const llrt_tokenizer *const t = e->tokenizer;
    if (n == 0) return LLRT_OK;
    LLRTI_TRY(llrti_normalizer_run(&t->normalizer, &e->normal, &text, &n, err));
    for (size_t at = 0; at < n;) {
        const llrti_added_match match = llrti_added_tokens_next(
            &t->added_normalized, text, n, at, e->flags & LLRT_ENCODE_PARSE_SPECIAL, &e->bpe.n_op);
        LLRTI_TRY(encode_piece(e, text + at, match.start - at, is_first && at == 0, err));
        if (match.id != LLRT_TOKEN_NONE) llrti_id_sink_add(&e->sink, match.id);
        at = match.end;
    }
    return LLRT_OK;
}

/* The cache of words costs a quarter of a megabyte to clear, which pays from about here on. */
#define CACHE_FROM_BYTES 32768

static llrt_status encode_all(llrti_encoder *e, const char *text, size_t n, llrt_error *err)
{
    const llrt_tokenizer *const t = e->tokenizer;
    const bool with_affix = e->flags & LLRT_ENCODE_ADD_SPECIAL;
    if (n >= CACHE_FROM_BYTES) llrti_bpe_scratch_add_cache(&e->bpe);
    for (uint32_t i = 0; with_affix && i < t->n_before; i++)
        llrti_id_sink_add(&e->sink, t->before[i]);
    for (size_t at = 0; at < n;) {
        const llrti_added_match match = llrti_added_tokens_next(
            &t->added, text, n, at, e->flags & LLRT_ENCODE_PARSE_SPECIAL, &e->bpe.n_op);
        LLRTI_TRY(encode_segment(e, text + at, match.start - at, at == 0, err));
        if (match.id != LLRT_TOKEN_NONE) llrti_id_sink_add(&e->sink, match.id);
        at = match.end;
    }
    for (uint32_t i = 0; with_affix && i < t->n_after; i++)
        llrti_id_sink_add(&e->sink, t->after[i]);
    return LLRT_OK;
}

llrt_status llrti_tokenizer_encode_counted(const llrt_tokenizer *tokenizer, const char *text,
                                           size_t n_text, llrt_encode_flags flags,
                                           llrti_id_sink *sink, uint64_t *n_op, llrt_error *err)
{
    if (!tokenizer || (!text && n_text) || (!sink->id && sink->capacity))
        return llrti_fail(err, LLRT_ERR_ARGUMENT, "found a NULL pointer");
    if (n_text > (size_t)1 << 30)
        return llrti_fail_field(err, LLRT_ERR_ARGUMENT, "n_text",
                                "found %zu bytes, expected at most 2^30", n_text);
    if (flags & ~(llrt_encode_flags)(LLRT_ENCODE_ADD_SPECIAL | LLRT_ENCODE_PARSE_SPECIAL))
        return llrti_fail_field(err, LLRT_ERR_ARGUMENT, "flags", "found unknown flags 0x%x", flags);
    llrti_encoder e;
    memset(&e, 0, sizeof e);
    e.tokenizer = tokenizer;
    e.flags = flags;
    e.sink = *sink;
    llrti_bpe_scratch_init(&e.bpe, tokenizer->mem);
    llrti_normalizer_scratch_init(&e.normal, tokenizer->mem);
    const llrt_status status = encode_all(&e, text, n_text, err);
    llrti_bpe_scratch_free(&e.bpe);
    llrti_normalizer_scratch_free(&e.normal);
    llrti_vec_free(tokenizer->mem, &e.prefixed);
    if (n_op) *n_op = e.bpe.n_op;
    if (status == LLRT_OK) *sink = e.sink;
    return status;
}

llrt_status llrt_tokenizer_encode(const llrt_tokenizer *tokenizer, const char *text, size_t n_text,
                                  llrt_encode_flags flags, int32_t *tokens, size_t capacity,
                                  size_t *n_token, llrt_error *err)
{
    if (!n_token) return llrti_fail(err, LLRT_ERR_ARGUMENT, "found a NULL pointer for n_token");
    *n_token = 0;
    llrti_id_sink sink = {tokens, capacity, 0};
    LLRTI_TRY(llrti_tokenizer_encode_counted(tokenizer, text, n_text, flags, &sink, NULL, err));
    *n_token = sink.n;
    if (sink.n > capacity)
        return llrti_fail_field(err, LLRT_ERR_BUFFER, "capacity",
                                "found room for %zu ids, expected %zu", capacity, sink.n);
    return LLRT_OK;
}

const char *llrti_tokenizer_piece(const llrt_tokenizer *tokenizer, int32_t token,
                                  llrt_decode_flags flags, size_t *n)
{
    const llrti_vocab_entry *const entry = &tokenizer->vocab.entry[token];
    const bool is_text = entry->type == LLRT_TOKEN_NORMAL || entry->type == LLRT_TOKEN_BYTE ||
                         entry->type == LLRT_TOKEN_USER_DEFINED ||
                         (entry->type == LLRT_TOKEN_UNUSED && tokenizer->kind == &llrti_kind_spm);
    *n = is_text || (flags & LLRT_DECODE_SPECIAL) ? entry->n : 0;
    return tokenizer->vocab.text + entry->at;
}

llrt_status llrt_tokenizer_decode(const llrt_tokenizer *tokenizer, const int32_t *tokens,
                                  size_t n_token, llrt_decode_flags flags, char *text,
                                  size_t capacity, size_t *n_text, llrt_error *err)
{
    if (!n_text) return llrti_fail(err, LLRT_ERR_ARGUMENT, "found a NULL pointer for n_text");
    *n_text = 0;
    if (!tokenizer || (!tokens && n_token) || (!text && capacity))
        return llrti_fail(err, LLRT_ERR_ARGUMENT, "found a NULL pointer");
    LLRTI_TRY(llrti_tokenizer_check_flags(flags, err));
    bool is_start = tokenizer->is_stripping_space && !(flags & LLRT_DECODE_CONTINUE);
    size_t total = 0;
    for (size_t i = 0; i < n_token; i++) {
        LLRTI_TRY(llrti_tokenizer_check_id(tokenizer, tokens[i], (int64_t)i, err));
        size_t n;
        const char *piece = llrti_tokenizer_piece(tokenizer, tokens[i], flags, &n);
        if (is_start && n > 0) {
            is_start = false;
            if (piece[0] == ' ') {
                piece++;
                n--;
            }
        }
        if (total <= capacity && n > 0 && n <= capacity - total) memcpy(text + total, piece, n);
        if (!llrti_add_size(total, n, &total))
            return llrti_fail(err, LLRT_ERR_ARGUMENT, "found more text than memory can hold");
    }
    *n_text = total;
    if (total > capacity)
        return llrti_fail_field(err, LLRT_ERR_BUFFER, "capacity",
                                "found room for %zu bytes, expected %zu", capacity, total);
    return LLRT_OK;
}

llrt_status llrti_tokenizer_check_flags(llrt_decode_flags flags, llrt_error *err)
{
    if (!(flags & ~(llrt_decode_flags)(LLRT_DECODE_SPECIAL | LLRT_DECODE_CONTINUE))) return LLRT_OK;
    return llrti_fail_field(err, LLRT_ERR_ARGUMENT, "flags", "found unknown flags 0x%x", flags);
}

llrt_status llrti_tokenizer_check_id(const llrt_tokenizer *tokenizer, int32_t token,
                                     int64_t position, llrt_error *err)
{
    if (token >= 0 && (uint32_t)token < tokenizer->vocab.n_vocab) return LLRT_OK;
    const llrt_status status =
        llrti_fail_field(err, LLRT_ERR_ARGUMENT, "token", "found token %d, expected 0 to %u", token,
                         tokenizer->vocab.n_vocab - 1);
    llrti_error_position(err, position);
    return status;
}

uint32_t llrt_tokenizer_n_vocab(const llrt_tokenizer *tokenizer)
{
    return tokenizer ? tokenizer->vocab.n_vocab : 0;
}

int32_t llrt_tokenizer_special(const llrt_tokenizer *tokenizer, llrt_special which)
{
    if (!tokenizer || which < 0 || which > LLRT_SPECIAL_MASK) return LLRT_TOKEN_NONE;
    return tokenizer->special[which];
}

int32_t llrt_tokenizer_find(const llrt_tokenizer *tokenizer, const char *text, size_t n_text)
{
    if (!tokenizer || !text || n_text == 0) return LLRT_TOKEN_NONE;
    const int32_t id = llrti_vocab_find(&tokenizer->vocab, text, n_text);
    if (id != LLRT_TOKEN_NONE && (uint32_t)id < tokenizer->vocab.n_vocab) return id;
    if (n_text == 1 && tokenizer->vocab.byte_id[(uint8_t)text[0]] != LLRT_TOKEN_NONE)
        return tokenizer->vocab.byte_id[(uint8_t)text[0]];
    return llrti_tokenizer_find_added(tokenizer, text, n_text);
}

llrt_status llrt_tokenizer_token_info(const llrt_tokenizer *tokenizer, int32_t token,
                                      llrt_token_info *info, llrt_error *err)
{
    if (!tokenizer || !info) return llrti_fail(err, LLRT_ERR_ARGUMENT, "found a NULL pointer");
    LLRTI_TRY(llrti_tokenizer_check_id(tokenizer, token, -1, err));
    const llrti_vocab_entry *const entry = &tokenizer->vocab.entry[token];
    llrt_token_info full = {
        sizeof full, entry->type, entry->score, entry->is_end, tokenizer->vocab.text + entry->at,
        entry->n};
    const uint32_t size = info->struct_size;
    if (size < offsetof(llrt_token_info, type) || size > 4096)
        return llrti_fail_field(err, LLRT_ERR_ARGUMENT, "struct_size", "found %u, expected %zu",
                                size, sizeof full);
    full.struct_size = size;
    memcpy(info, &full, LLRTI_MIN(size, sizeof full));
    if (size > sizeof full) memset((char *)info + sizeof full, 0, size - sizeof full);
    return LLRT_OK;
}

int llrt_tokenizer_is_end(const llrt_tokenizer *tokenizer, int32_t token)
{
    return tokenizer && token >= 0 && (uint32_t)token < tokenizer->vocab.n_vocab &&
           tokenizer->vocab.entry[token].is_end;
}

const char *llrt_tokenizer_kind(const llrt_tokenizer *tokenizer)
{
    return tokenizer ? tokenizer->name : "";
}
