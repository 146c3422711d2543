/* SPDX-License-Identifier: MIT */
/*
 * llrt_generate: prompt, then token after token through a step with the caller's sampler, text
 * through a token stream and a search for stop strings.
 *
 *   token -> token stream (whole characters) -> held text -> callback
 *
 * Text that may be the beginning of a stop string is held back until it is certain not to be one.
 * Stop strings are whole UTF-8 and so are the pieces, so every cut falls between characters.
 *
 * The session stays entered for the whole call; the callback runs on the caller's thread without a
 * lock.
 */
#include <llrt/generate.h>

#include <string.h>

#include "rewind.h"
#include "session_impl.h"
#include "struct_copy.h"
#include "utf8.h"

#define STOP_MAX 64u
#define STOP_BYTES_MAX 1024u
#define HELD_BYTES 4096u

static const llrt_generate_options generate_defaults = {
    .struct_size = (uint32_t)sizeof(llrt_generate_options),
};

void llrt_generate_options_init(llrt_generate_options *options, size_t struct_size)
{
    llrti_struct_copy_init(options, struct_size, &generate_defaults, sizeof generate_defaults);
}

typedef struct generation {
    llrt_session *session;
    llrt_engine *engine;
    llrt_sampler *sampler;
    llrt_generate_options options;
    llrt_generate_result result;
    llrt_token_stream *stream;
    LLRTI_VEC(char) held;
    size_t stop_bytes[STOP_MAX];
    int32_t *prompt;
    size_t n_prompt;
    bool is_continuing; /* no prompt: the last token held is computed again */
} generation;

/* ---- Text ---- */

static void emit(generation *g, const char *text, size_t n)
{
    if (n == 0 || !g->options.on_text || g->result.finish == LLRT_FINISH_CALLBACK) return;
    if (g->options.on_text(g->options.ctx, text, n) != 0) g->result.finish = LLRT_FINISH_CALLBACK;
}

static void drop_front(generation *g, size_t n)
{
    memmove(g->held.data, g->held.data + n, g->held.n - n);
    g->held.n -= n;
}

/* First stop string in the held text, by position, then by number. */
static bool find_stop(const generation *g, size_t *at, uint32_t *index)
{
    for (size_t p = 0; p < g->held.n; p++) {
        for (uint32_t i = 0; i < g->options.n_stop; i++) {
            if (g->stop_bytes[i] > g->held.n - p) continue;
            if (memcmp(g->held.data + p, g->options.stop[i], g->stop_bytes[i]) != 0) continue;
            *at = p;
            *index = i;
            return true;
        }
    }
    return false;
}

/* Where the longest end of the held text begins that a stop string begins with. */
static size_t find_beginning(const generation *g)
{
    for (size_t p = 0; p < g->held.n; p++) {
        const size_t n = g->held.n - p;
        for (uint32_t i = 0; i < g->options.n_stop; i++)
            if (n < g->stop_bytes[i] && memcmp(g->held.data + p, g->options.stop[i], n) == 0)
                return p;
    }
    return g->held.n;
}

static llrt_status add_text(generation *g, const char *text, size_t n, llrt_error *err)
{
    if (g->options.n_stop == 0) {
        emit(g, text, n);
        return LLRT_OK;
    }
    if (!llrti_vec_reserve(&g->engine->mem, &g->held, g->held.n + n, LLRT_MEMORY_SESSION))
        return llrti_fail_nomem(err, "text", g->held.n + n);
    if (n) memcpy(g->held.data + g->held.n, text, n);
    g->held.n += n;
    size_t at;
    uint32_t index;
    if (find_stop(g, &at, &index)) {
        g->result.finish = LLRT_FINISH_STOP;
        g->result.stop_index = (int32_t)index;
        emit(g, g->held.data, at);
        g->held.n = 0;
        return LLRT_OK;
    }
    const size_t sure = find_beginning(g);
    emit(g, g->held.data, sure);
    drop_front(g, sure);
    return LLRT_OK;
}

static llrt_status add_token(generation *g, int32_t token, llrt_error *err)
{
    const char *text;
    size_t n;
    if (!g->stream) return LLRT_OK;
    LLRTI_TRY(llrt_token_stream_push(g->stream, token, &text, &n, err));
    return add_text(g, text, n, err);
}

/* The end of the text: what was kept back comes out. */
static llrt_status end_text(generation *g, llrt_error *err)
{
    const char *text;
    size_t n;
    const llrt_finish finish = g->result.finish;
    if (!g->stream || finish == LLRT_FINISH_STOP || finish == LLRT_FINISH_CALLBACK ||
        finish == LLRT_FINISH_CANCELLED)
        return LLRT_OK;
    LLRTI_TRY(llrt_token_stream_flush(g->stream, &text, &n, err));
    LLRTI_TRY(add_text(g, text, n, err));
    if (g->result.finish == finish) emit(g, g->held.data, g->held.n);
    g->held.n = 0;
    return LLRT_OK;
}

/* ---- Preparation ---- */

static llrt_status check_options(generation *g, llrt_error *err)
{
    const llrt_generate_options *const o = &g->options;
    if (o->n_stop > STOP_MAX || (o->n_stop && !o->stop)) {
        return llrti_fail_field(err, LLRT_ERR_ARGUMENT, "n_stop",
                                "found %u, expected at most %u with stop set", o->n_stop, STOP_MAX);
    }
    for (uint32_t i = 0; i < o->n_stop; i++) {
        const size_t n = o->stop[i] ? strlen(o->stop[i]) : 0;
        if (n < 1 || n > STOP_BYTES_MAX || !llrti_utf8_is_valid(o->stop[i], n)) {
            llrti_fail_field(err, LLRT_ERR_ARGUMENT, "stop",
                             "found %zu bytes, expected 1 to %u bytes of valid UTF-8", n,
                             STOP_BYTES_MAX);
            llrti_error_position(err, i);
            return LLRT_ERR_ARGUMENT;
        }
        g->stop_bytes[i] = n;
    }
    if (o->n_prompt_token && !o->prompt_tokens)
        return llrti_fail_field(err, LLRT_ERR_ARGUMENT, "prompt_tokens", "it is NULL");
    return LLRT_OK;
}

static llrt_status encode_prompt(generation *g, const char *prompt, size_t n_prompt,
                                 llrt_error *err)
{
    llrt_encode_flags flags = 0;
    if (g->session->n_tok == 0) flags |= LLRT_ENCODE_ADD_SPECIAL;
    if (g->options.parse_special) flags |= LLRT_ENCODE_PARSE_SPECIAL;
    if (n_prompt > SIZE_MAX / 8) return llrti_fail_nomem(err, "a prompt", n_prompt);
    size_t room = n_prompt + 16;
    llrt_status status = LLRT_ERR_BUFFER;
    /* A second round only where normalization made the text longer. */
    for (int round = 0; round < 2 && status == LLRT_ERR_BUFFER; round++) {
        llrti_free(&g->engine->mem, g->prompt);
        g->prompt = llrti_alloc(&g->engine->mem, room * sizeof *g->prompt, LLRT_MEMORY_SESSION);
        if (!g->prompt) return llrti_fail_nomem(err, "a prompt", room * sizeof *g->prompt);
        status = llrt_tokenizer_encode(g->engine->tokenizer, prompt ? prompt : "", n_prompt, flags,
                                       g->prompt, room, &g->n_prompt, err);
        room = g->n_prompt;
    }
    return status;
}

static llrt_status copy_prompt(generation *g, const int32_t *tokens, size_t n, llrt_error *err)
{
    g->prompt = llrti_alloc(&g->engine->mem, (n + 1) * sizeof *g->prompt, LLRT_MEMORY_SESSION);
    if (!g->prompt) return llrti_fail_nomem(err, "a prompt", n * sizeof *g->prompt);
    memcpy(g->prompt, tokens, n * sizeof *g->prompt);
    g->n_prompt = n;
    return LLRT_OK;
}

static llrt_status take_prompt(generation *g, const char *prompt, size_t n_prompt, llrt_error *err)
{
    const llrt_generate_options *const o = &g->options;
    llrt_session *const s = g->session;
    const bool is_empty = o->n_prompt_token == 0 && n_prompt == 0;
    if (n_prompt && !prompt)
        return llrti_fail_field(err, LLRT_ERR_ARGUMENT, "prompt", "it is NULL");
    if (is_empty && s->n_tok > 0) {
        const int32_t last = s->tokens[s->n_tok - 1];
        if (last < 0) {
            return llrti_fail(err, LLRT_ERR_STATE,
                              "the session ends with an embedding row: append a token to go on");
        }
        g->is_continuing = true;
        return copy_prompt(g, &last, 1, err);
    }
    if (o->n_prompt_token) return copy_prompt(g, o->prompt_tokens, o->n_prompt_token, err);
    if (!g->engine->tokenizer) {
        return llrti_fail(err, LLRT_ERR_STATE,
                          "the model has no tokenizer: give the prompt as tokens");
    }
    LLRTI_TRY(encode_prompt(g, prompt, n_prompt, err));
    if (g->n_prompt == 0) {
        return llrti_fail_field(err, LLRT_ERR_ARGUMENT, "prompt",
                                "the prompt is empty and the model begins with no token");
    }
    return LLRT_OK;
}

/*
 * Whether the answer goes on from earlier text, so that a space before its first word is part of
 * it.
 */
static bool has_text_before(const generation *g)
{
    if (g->session->n_tok > 0) return true;
    for (size_t i = 0; i < g->n_prompt; i++) {
        llrt_token_info info = {.struct_size = (uint32_t)sizeof info};
        if (llrt_tokenizer_token_info(g->engine->tokenizer, g->prompt[i], &info, NULL) == LLRT_OK &&
            info.type != LLRT_TOKEN_CONTROL)
            return true;
    }
    return false;
}

static llrt_status open_text(generation *g, llrt_error *err)
{
    const bool is_wanted = g->options.on_text || g->options.n_stop;
    if (!is_wanted) return LLRT_OK;
    if (!g->engine->tokenizer) {
        return llrti_fail(err, LLRT_ERR_STATE, "the model has no tokenizer and so gives no text");
    }
    if (g->options.n_stop &&
        !llrti_vec_reserve(&g->engine->mem, &g->held, HELD_BYTES, LLRT_MEMORY_SESSION))
        return llrti_fail_nomem(err, "text", HELD_BYTES);
    const llrt_decode_flags flags = (g->options.show_special ? LLRT_DECODE_SPECIAL : 0u) |
                                    (has_text_before(g) ? LLRT_DECODE_CONTINUE : 0u);
    return llrt_token_stream_create(g->engine->tokenizer, flags, &g->stream, err);
}

/* ---- The loop ---- */

static bool is_end(const generation *g, int32_t token)
{
    return !g->options.ignore_end && g->engine->tokenizer &&
           llrt_tokenizer_is_end(g->engine->tokenizer, token);
}

static llrt_status check_cancel(const generation *g, llrt_error *err)
{
    if (atomic_load(&g->session->is_cancelled) == 0) return LLRT_OK;
    return llrti_fail(err, LLRT_ERR_CANCELLED, "cancelled after %llu tokens",
                      (unsigned long long)g->result.n_generated);
}

static llrt_status append_tokens(generation *g, const int32_t *tokens, size_t n, int32_t *token,
                                 llrt_error *err)
{
    llrt_input input;
    llrt_input_init(&input, sizeof input);
    input.logits = LLRT_LOGITS_NONE;
    input.tokens = tokens;
    input.n_tok = n;
    LLRTI_TRY(check_cancel(g, err));
    return llrti_session_compute(g->session, &input, token ? g->sampler : NULL, token, err);
}

/* Handles a sampled token; sets the finish reason when it is the last. */
static llrt_status take_token(generation *g, int32_t token, llrt_error *err)
{
    g->result.n_generated++;
    if (is_end(g, token)) {
        g->result.finish = LLRT_FINISH_END;
        return LLRT_OK;
    }
    LLRTI_TRY(add_token(g, token, err));
    const llrt_session *const s = g->session;
    if (g->result.finish != LLRT_FINISH_NONE) return LLRT_OK;
    if (s->n_tok >= s->options.n_ctx)
        g->result.finish = LLRT_FINISH_CONTEXT;
    else if (g->options.max_tok && g->result.n_generated >= g->options.max_tok)
        g->result.finish = LLRT_FINISH_LENGTH;
    return LLRT_OK;
}

/*
 * Takes the session's last token back, to be computed again. Where recurrent or windowed layers
 * don't keep what that needs, more tokens are taken back and become the prompt.
 */
static llrt_status take_back(generation *g, llrt_error *err)
{
    llrt_session *const s = g->session;
    llrt_error e = LLRT_ERROR_INIT;
    const size_t n = s->n_tok;
    llrt_status status = llrti_rewind(s, n - 1, &e);
    const size_t begin = status == LLRT_ERR_STATE ? llrti_rewind_reach(s, n - 1) : n - 1;
    /* Appended again, tokens get the positions that follow, and no types. */
    const bool is_lost = s->first_embedding < n && (begin < s->lost_end || s->first_position < n);
    if (status == LLRT_ERR_STATE && !is_lost) {
        llrti_free(&g->engine->mem, g->prompt);
        g->prompt = NULL;
        LLRTI_TRY(copy_prompt(g, s->tokens + begin, n - begin, err));
        llrti_rewind_cut(s, begin);
        return LLRT_OK;
    }
    if (status < 0) llrti_error_copy(err, &e);
    return status;
}

static llrt_status run(generation *g, llrt_error *err)
{
    llrt_session *const s = g->session;
    const uint64_t begin = llrti_clock_ns();
    int32_t token = LLRT_TOKEN_NONE;
    if (g->is_continuing) LLRTI_TRY(take_back(g, err));
    llrt_status status = append_tokens(g, g->prompt, g->n_prompt, &token, err);
    g->result.n_reused = g->is_continuing ? 0 : s->work.n_reused;
    g->result.prompt_ns = llrti_clock_ns() - begin;
    while (status == LLRT_OK) {
        status = take_token(g, token, err);
        if (status < 0 || g->result.finish != LLRT_FINISH_NONE) break;
        status = append_tokens(g, &token, 1, &token, err);
    }
    /*
     * A token whose text was given out and that ended nothing belongs to the session: a further
     * call goes on after it.
     */
    const bool is_kept =
        g->result.finish == LLRT_FINISH_LENGTH || g->result.finish == LLRT_FINISH_CALLBACK;
    if (status == LLRT_OK && is_kept && s->n_tok < s->options.n_ctx &&
        atomic_load(&s->is_cancelled) == 0)
        status = append_tokens(g, &token, 1, NULL, err);
    if (status == LLRT_OK) status = end_text(g, err);
    if (status == LLRT_ERR_CANCELLED) g->result.finish = LLRT_FINISH_CANCELLED;
    g->result.generate_ns = llrti_clock_ns() - begin - g->result.prompt_ns;
    return status;
}

static llrt_status generate_entered(generation *g, const char *prompt, size_t n_prompt,
                                    llrt_error *err)
{
    llrt_sampler *own = NULL;
    llrt_status status = LLRT_OK;
    LLRTI_TRY(check_options(g, err));
    LLRTI_TRY_GOTO(status, take_prompt(g, prompt, n_prompt, err));
    LLRTI_TRY_GOTO(status, open_text(g, err));
    if (!g->sampler) {
        llrt_sampler_options options;
        llrt_sampler_options_init(&options, sizeof options);
        options.allocator = &g->engine->mem.hooks;
        LLRTI_TRY_GOTO(status, llrt_sampler_create(g->engine->n_vocab, &options, &own, err));
        g->sampler = own;
    }
    if (!g->is_continuing) {
        g->result.n_prompt = g->n_prompt;
        for (size_t i = 0; i < g->n_prompt; i++) {
            const int32_t token = g->prompt[i];
            if (token < 0 || (uint32_t)token >= llrt_sampler_n_vocab(g->sampler)) continue;
            LLRTI_TRY_GOTO(status, llrt_sampler_accept(g->sampler, token, err));
        }
    }
    LLRTI_TRY_GOTO(status, llrti_sampler_begin(g->sampler, err));
    status = run(g, err);
    llrti_sampler_end(g->sampler);
fail:
    llrt_sampler_free(own);
    llrt_token_stream_free(g->stream);
    llrti_vec_free(&g->engine->mem, &g->held);
    llrti_free(&g->engine->mem, g->prompt);
    return status;
}

llrt_status llrt_generate(llrt_session *session, llrt_sampler *sampler, const char *prompt,
                          size_t n_prompt, const llrt_generate_options *options,
                          llrt_generate_result *result, llrt_error *err)
{
    generation g;
    memset(&g, 0, sizeof g);
    g.options = generate_defaults;
    g.result.struct_size = (uint32_t)sizeof g.result;
    g.result.stop_index = -1;
    if (options) {
        LLRTI_TRY(llrti_struct_copy_in(&g.options, sizeof g.options, options,
                                       "llrt_generate_options", err));
    }
    LLRTI_TRY(llrti_session_enter(session, err));
    g.session = session;
    g.engine = session->engine;
    g.sampler = sampler;
    llrt_status status = generate_entered(&g, prompt, n_prompt, err);
    llrti_session_leave(session);
    if (result) {
        const llrt_status copied =
            llrti_struct_copy_out(result, &g.result, sizeof g.result, "llrt_generate_result", err);
        if (status == LLRT_OK) status = copied;
    }
    return status;
}
