/* SPDX-License-Identifier: MIT */
/*
 * Sessions: creation, the checks in front of every computing call, what can be done without computing
 * (rewind, fork, logits). The computing itself is step.c's.
 *
 * A session is entered by setting is_busy; whoever finds it set gets LLRT_ERR_BUSY. Everything decoding needs
 * is allocated by creation; only more rows of logits than there is room for are allocated later, before
 * anything changes.
 */
#include "session_impl.h"

#include <assert.h>
#include <string.h>

#include "options.h"
#include "position.h"
#include "rewind.h"
#include "rows.h"
#include "select.h"
#include "state.h"
#include "struct_copy.h"
#include "window.h"

/* ---- Memory ---- */

static size_t round_line(size_t n)
{
    return (n + LLRTI_CACHE_LINE - 1) / LLRTI_CACHE_LINE * LLRTI_CACHE_LINE;
}

/* Tables with an entry per page: pages, their windowed parts, states of the step in flight. */
static uint32_t count_tables(const llrt_engine *engine)
{
    return 1u + (engine->n_window_page > 0) + (engine->n_state > 0);
}

static size_t block_bytes(const llrt_engine *engine, uint32_t n_ctx)
{
    return round_line(sizeof(llrt_session)) + round_line(n_ctx * sizeof(int32_t)) +
           count_tables(engine) * llrti_session_pages(n_ctx) * sizeof(uint32_t);
}

static uint32_t *clear_table(uint32_t *table, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) table[i] = LLRTI_SLOT_NONE;
    return table;
}

uint64_t llrti_session_default_bytes(const llrt_engine *engine)
{
    size_t rows;
    llrti_rows_bytes(engine, false, 1, &rows);
    return block_bytes(engine, engine->n_ctx) + rows + 2 * LLRTI_ALLOC_HEADER;
}

static llrt_status create_session(llrt_engine *engine, const llrt_session_options *options,
                                  llrt_session **out, llrt_error *err)
{
    const size_t bytes = block_bytes(engine, options->n_ctx);
    llrt_session *const s = llrti_alloc(&engine->mem, bytes, LLRT_MEMORY_SESSION);
    if (!s) return llrti_fail_nomem(err, "a session", bytes);
    memset(s, 0, sizeof *s);
    s->engine = engine;
    s->options = *options;
    s->salt = options->salt;
    s->first_embedding = LLRTI_NO_EMBEDDING;
    s->first_position = LLRTI_NO_POSITION;
    s->tokens = (int32_t *)(void *)((char *)s + round_line(sizeof *s));
    s->page =
        (uint32_t *)(void *)((char *)s->tokens + round_line(options->n_ctx * sizeof(int32_t)));
    const uint32_t n_page = llrti_session_pages(options->n_ctx);
    s->state = LLRTI_SLOT_NONE;
    if (engine->n_window_page) s->window_page = clear_table(s->page + n_page, n_page);
    if (engine->n_state)
        s->state_at = clear_table(s->page + (count_tables(engine) - 1) * n_page, n_page);
    atomic_init(&s->is_busy, 0);
    atomic_init(&s->is_cancelled, 0);
    if (!llrti_cond_init(&s->wake)) {
        llrti_free(&engine->mem, s);
        return llrti_fail_nomem(err, "a condition variable", 0);
    }
    const llrt_status status = llrti_rows_ensure(s, options->n_logits, err);
    if (status < 0) {
        llrti_cond_free(&s->wake);
        llrti_free(&engine->mem, s);
        return status;
    }
    llrti_engine_ref(engine);
    llrti_mutex_lock(&engine->lock);
    engine->n_session++;
    llrti_mutex_unlock(&engine->lock);
    *out = s;
    return LLRT_OK;
}

llrt_status llrt_session_create(llrt_engine *engine, const llrt_session_options *options,
                                llrt_session **out, llrt_error *err)
{
    if (!out) return llrti_fail(err, LLRT_ERR_ARGUMENT, "out is NULL");
    *out = NULL;
    LLRTI_TRY(llrti_engine_check(engine, err));
    if (!engine->is_ready) {
        return llrti_fail(err, LLRT_ERR_STATE,
                          "the engine was opened with metadata_only and can't compute");
    }
    llrt_session_options resolved;
    LLRTI_TRY(llrti_options_session(options, engine->n_ctx, &resolved, err));
    return create_session(engine, &resolved, out, err);
}

void llrti_session_trim(llrt_session *session, uint32_t n_page)
{
    llrti_window_trim(session, n_page);
    while (session->n_page > n_page)
        llrti_pool_release(&session->engine->pool, session->page[--session->n_page]);
}

void llrt_session_free(llrt_session *session)
{
    if (!session) return;
    llrt_engine *const engine = session->engine;
    if (llrti_engine_check(engine, NULL) < 0) return; /* a child of the process: nothing is ours */
    llrti_mutex_lock(&engine->lock);
    llrti_state_seek(session, 0);
    llrti_session_trim(session, 0);
    engine->n_session--;
    llrti_mutex_unlock(&engine->lock);
    llrti_adapter_set_unref(engine, session->adapters);
    llrti_cond_free(&session->wake);
    llrti_free(&engine->mem, session->position);
    llrti_free(&engine->mem, session->pooled);
    llrti_free(&engine->mem, session->logits);
    llrti_free(&engine->mem, session);
    llrti_engine_unref(engine);
}

/* ---- Entering ---- */

llrt_status llrti_session_enter(llrt_session *session, llrt_error *err)
{
    if (!session) return llrti_fail(err, LLRT_ERR_ARGUMENT, "the session is NULL");
    LLRTI_TRY(llrti_engine_check(session->engine, err));
    if (atomic_exchange_explicit(&session->is_busy, 1, memory_order_acquire) != 0) {
        return llrti_fail(err, LLRT_ERR_BUSY, "another thread is inside a call on this session");
    }
    atomic_store_explicit(&session->is_cancelled, 0, memory_order_relaxed);
    return LLRT_OK;
}

void llrti_session_leave(llrt_session *session)
{
    atomic_store_explicit(&session->is_busy, 0, memory_order_release);
}

void llrt_session_cancel(llrt_session *session)
{
    if (session) atomic_store(&session->is_cancelled, 1);
}

/* ---- Computing ---- */

static const llrt_input input_defaults = {
    .struct_size = (uint32_t)sizeof(llrt_input),
    .logits = LLRT_LOGITS_LAST,
};

void llrt_input_init(llrt_input *input, size_t struct_size)
{
    llrti_struct_copy_init(input, struct_size, &input_defaults, sizeof input_defaults);
}

void llrt_step_entry_init(llrt_step_entry *entry, size_t struct_size)
{
    const llrt_step_entry defaults = {.struct_size = (uint32_t)sizeof defaults,
                                      .input = input_defaults,
                                      .token = LLRT_TOKEN_NONE};
    llrti_struct_copy_init(entry, struct_size, &defaults, sizeof defaults);
}

static llrt_status check_tokens(const llrt_engine *engine, const int32_t *tokens, size_t n,
                                llrt_error *err)
{
    for (size_t i = 0; i < n; i++) {
        if (tokens[i] >= 0 && (uint32_t)tokens[i] < engine->n_vocab) continue;
        llrti_fail_field(err, LLRT_ERR_ARGUMENT, "tokens", "found token %d, expected 0 to %u",
                         tokens[i], engine->n_vocab - 1);
        llrti_error_position(err, (int64_t)i);
        return LLRT_ERR_ARGUMENT;
    }
    return LLRT_OK;
}

static llrt_status check_rows(const llrt_input *input, llrt_error *err)
{
    if (input->logits > LLRT_LOGITS_LISTED) {
        return llrti_fail_field(err, LLRT_ERR_ARGUMENT, "logits", "found %u, expected 0 to 3",
                                input->logits);
    }
    if (input->logits != LLRT_LOGITS_LISTED) return LLRT_OK;
    if (input->n_row && !input->rows)
        return llrti_fail_field(err, LLRT_ERR_ARGUMENT, "rows", "rows is NULL");
    for (size_t i = 0; i < input->n_row; i++) {
        if (input->rows[i] < input->n_tok && (i == 0 || input->rows[i] > input->rows[i - 1]))
            continue;
        llrti_fail_field(err, LLRT_ERR_ARGUMENT, "rows",
                         "found row %u, expected ascending rows below %zu", input->rows[i],
                         input->n_tok);
        llrti_error_position(err, (int64_t)i);
        return LLRT_ERR_ARGUMENT;
    }
    return LLRT_OK;
}

static llrt_status check_input(const llrt_session *session, const llrt_input *input, size_t n_held,
                               llrt_error *err)
{
    const size_t n = input->n_tok;
    if (n == 0) return llrti_fail_field(err, LLRT_ERR_ARGUMENT, "n_tok", "found 0 tokens");
    if (!input->tokens == !input->embeddings) {
        return llrti_fail_field(err, LLRT_ERR_ARGUMENT, "tokens",
                                "expected either tokens or embeddings, found %s",
                                input->tokens ? "both" : "neither");
    }
    LLRTI_TRY(check_rows(input, err));
    LLRTI_TRY(llrti_position_check(session, input, err));
    if (input->tokens) LLRTI_TRY(check_tokens(session->engine, input->tokens, n, err));
    if (n > session->options.n_ctx - n_held) {
        return llrti_fail(err, LLRT_ERR_CONTEXT_FULL,
                          "%zu tokens do not fit behind the %zu held, the context is %u", n, n_held,
                          session->options.n_ctx);
    }
    return LLRT_OK;
}

static size_t count_wanted(const llrt_input *input)
{
    switch (input->logits) {
    case LLRT_LOGITS_LAST:
        return 1;
    case LLRT_LOGITS_ALL:
        return input->n_tok;
    case LLRT_LOGITS_LISTED:
        return input->n_row;
    default:
        return 0;
    }
}

/* What is computed as a whole must fit into a step, and before it there must be nothing when the model
 * has no other way. */
static llrt_status check_whole(const llrt_session *session, const llrt_input *input,
                               size_t n_wanted, llrt_error *err)
{
    const llrt_engine_options *const o = &session->engine->options;
    const bool is_whole_text = session->engine->model->is_bidirectional;
    if (!is_whole_text && !input->is_bidirectional) return LLRT_OK;
    if (is_whole_text && session->n_tok > 0) {
        return llrti_fail(err, LLRT_ERR_STATE,
                          "the model reads its input as a whole, but the session holds %zu tokens: "
                          "rewind it to 0 first",
                          session->n_tok);
    }
    if (input->n_tok > o->n_step_tok) {
        return llrti_fail_field(err, LLRT_ERR_ARGUMENT, "n_step_tok",
                                "%zu tokens are to be computed in one step, the engine was opened "
                                "for %u",
                                input->n_tok, o->n_step_tok);
    }
    if (n_wanted <= o->n_step_out) return LLRT_OK;
    return llrti_fail_field(err, LLRT_ERR_ARGUMENT, "n_step_out",
                            "%zu rows are wanted of one step, the engine was opened for %u",
                            n_wanted, o->n_step_out);
}

/* There is something to be read of a wanted row. */
static bool gives_rows(const llrt_session *session, bool is_sampled)
{
    const llrti_model *const model = session->engine->model;
    return model->can_generate ||
           (!is_sampled && (session->options.with_hidden || model->n_tap > 0));
}

static bool is_described_by_ids(const llrt_input *input)
{
    return input->tokens && !input->positions && !input->token_types && !input->is_bidirectional;
}

llrt_status llrti_session_make_work(llrt_session *session, const llrt_input *input, bool is_sampled,
                                    llrti_reading reading, llrt_error *err)
{
    LLRTI_TRY(check_input(session, input, session->n_tok, err));
    const size_t n_wanted = count_wanted(input);
    LLRTI_TRY(check_whole(session, input, n_wanted + is_sampled, err));
    llrti_work *const work = &session->work;
    memset(work, 0, sizeof *work);
    work->session = session;
    work->begin = session->n_tok;
    work->n_tok = input->n_tok;
    work->embeddings = input->embeddings;
    work->logits = n_wanted ? input->logits : LLRT_LOGITS_NONE;
    work->rows = input->rows;
    work->n_rows = input->n_row;
    work->is_sampled = is_sampled;
    work->reading = reading;
    work->copy_from = LLRTI_PAGE_NONE;
    work->copy_window = work->state_out = LLRTI_SLOT_NONE;
    work->is_span = input->is_bidirectional != 0;
    work->is_one_step = work->is_span || session->engine->model->is_bidirectional;
    work->token_types = input->token_types;
    work->err = (llrt_error)LLRT_ERROR_INIT;
    const size_t n_room = n_wanted + (is_sampled && !llrti_step_wants_last_row(work));
    if (reading == LLRTI_READ_ROWS && n_room && !gives_rows(session, is_sampled)) {
        return llrti_fail(err, LLRT_ERR_STATE, "the model gives no logits%s",
                          is_sampled ? ""
                                     : ": create the session with_hidden to get hidden states");
    }
    if (reading == LLRTI_READ_ROWS) LLRTI_TRY(llrti_rows_ensure(session, n_room, err));
    work->n_reusable = input->n_tok - 1;
    if (work->logits == LLRT_LOGITS_ALL) work->n_reusable = 0;
    if (work->logits == LLRT_LOGITS_LISTED)
        work->n_reusable = LLRTI_MIN(work->n_reusable, input->rows[0]);
    work->is_kept = input->tokens && !input->token_types && !input->is_bidirectional;
    if (reading == LLRTI_READ_NOTHING) return LLRT_OK;
    LLRTI_TRY(llrti_position_take(session, input, err));
    if (!is_described_by_ids(input) && session->first_embedding == LLRTI_NO_EMBEDDING)
        session->first_embedding = session->n_tok;
    if (input->embeddings) {
        for (size_t i = 0; i < input->n_tok; i++) session->tokens[session->n_tok + i] = -1;
    } else {
        memmove(session->tokens + session->n_tok, input->tokens,
                input->n_tok * sizeof *input->tokens);
    }
    return LLRT_OK;
}

/* What a finished work leaves in the session. */
llrt_status llrti_session_end_work(llrt_session *session, llrt_error *err)
{
    const llrti_work *const work = &session->work;
    if (work->status != LLRT_ERR_POOL_FULL)
        session->n_logits = work->reading == LLRTI_READ_ROWS ? work->n_read : 0;
    if (session->first_embedding != LLRTI_NO_EMBEDDING &&
        session->first_embedding >= session->n_tok)
        session->first_embedding = LLRTI_NO_EMBEDDING;
    if (!work->is_kept && session->n_tok > work->begin) session->lost_end = session->n_tok;
    llrti_position_forget(session);
    if (work->status < 0) llrti_error_copy(err, &work->err);
    return work->status;
}

/* The sampler has been entered: says what select is to do. */
static void prepare_sampling(llrt_session *session, llrt_sampler *sampler)
{
    llrti_work *const work = &session->work;
    llrti_select_params p;
    memset(&p, 0, sizeof p);
    llrti_sampler_prepare(sampler, &p);
    if (llrti_sampler_needs_logits(sampler) || p.n_best == 0) return;
    work->has_select = true;
    work->select = (llrt_select){
        .wants = (p.want_log_sum_exp ? LLRT_SELECT_LOG_SUM_EXP : 0u) |
                 (p.want_raw_log_sum_exp ? LLRT_SELECT_RAW_LOG_SUM_EXP : 0u),
        .n_best = p.n_best,
        .n_bias = p.n_bias,
        .n_penalty = p.n_penalty,
        .n_subtract = p.n_subtract,
        .repetition = p.repetition,
        .frequency = p.frequency,
        .presence = p.presence,
        .bias_token = p.bias_token,
        .bias = p.bias,
        .penalty_token = p.penalty_token,
        .penalty_count = p.penalty_count,
        .subtract_token = p.subtract_token,
        .subtract = p.subtract,
        .allowed = p.allowed,
    };
    work->result = (llrt_select_result){
        .token = session->best_token,
        .logit = session->best_logit,
    };
}

static llrt_status finish_sampling(llrt_session *session, llrt_sampler *sampler, int32_t *token,
                                   llrt_error *err)
{
    const llrti_work *const work = &session->work;
    if (work->has_select) {
        const llrti_select_result result = {
            .n = work->result.n,
            .token = work->result.token,
            .logit = work->result.logit,
            .log_sum_exp = work->result.log_sum_exp,
            .raw_log_sum_exp = work->result.raw_log_sum_exp,
        };
        if (llrti_sampler_finish(sampler, &result, token)) return LLRT_OK;
    }
    /* The last row: behind those the caller asked for, or the last of them. */
    const size_t row = work->n_read - llrti_step_wants_last_row(work);
    return llrti_sampler_sample_full(sampler, session->logits + row * session->engine->n_vocab,
                                     NULL, token, err);
}

static llrt_status check_sampler(const llrt_engine *engine, const llrt_sampler *sampler,
                                 llrt_error *err)
{
    const uint32_t n = llrt_sampler_n_vocab(sampler);
    if (n == engine->n_vocab) return LLRT_OK;
    return llrti_fail_field(err, LLRT_ERR_ARGUMENT, "sampler",
                            "the sampler is for %u tokens, the model has %u", n, engine->n_vocab);
}

llrt_status llrti_session_compute(llrt_session *session, const llrt_input *input,
                                  llrt_sampler *sampler, int32_t *token, llrt_error *err)
{
    llrti_work *works[1] = {&session->work};
    if (sampler) LLRTI_TRY(check_sampler(session->engine, sampler, err));
    LLRTI_TRY(llrti_session_make_work(session, input, sampler != NULL, LLRTI_READ_ROWS, err));
    if (sampler) prepare_sampling(session, sampler);
    llrti_step_compute(session->engine, works, 1);
    LLRTI_TRY(llrti_session_end_work(session, err));
    return sampler ? finish_sampling(session, sampler, token, err) : LLRT_OK;
}

llrt_status llrt_session_append_input(llrt_session *session, const llrt_input *input,
                                      llrt_error *err)
{
    if (!input) return llrti_fail(err, LLRT_ERR_ARGUMENT, "the input is NULL");
    llrt_input own = input_defaults;
    LLRTI_TRY(llrti_struct_copy_in(&own, sizeof own, input, "llrt_input", err));
    LLRTI_TRY(llrti_session_enter(session, err));
    const llrt_status status = llrti_session_compute(session, &own, NULL, NULL, err);
    llrti_session_leave(session);
    return status;
}

llrt_status llrt_session_append(llrt_session *session, const int32_t *tokens, size_t n_tok,
                                llrt_logits logits, llrt_error *err)
{
    llrt_input input = input_defaults;
    input.tokens = tokens;
    input.n_tok = n_tok;
    input.logits = logits;
    if (logits == LLRT_LOGITS_LISTED) {
        return llrti_fail_field(err, LLRT_ERR_ARGUMENT, "logits",
                                "listed rows need llrt_session_append_input");
    }
    LLRTI_TRY(llrti_session_enter(session, err));
    const llrt_status status = llrti_session_compute(session, &input, NULL, NULL, err);
    llrti_session_leave(session);
    return status;
}

static llrt_status sync_entered(llrt_session *session, const llrt_input *input, size_t *n_reused,
                                llrt_error *err)
{
    LLRTI_TRY(check_input(session, input, 0, err));
    size_t common = 0;
    while (common < session->n_tok && common < input->n_tok &&
           session->tokens[common] == input->tokens[common])
        common++;
    common = LLRTI_MIN(common, session->first_embedding);
    if (session->engine->model->is_bidirectional) common = 0;
    if (common == input->n_tok) common--;
    /* With all rows wanted none can be taken over. */
    if (input->logits == LLRT_LOGITS_ALL) common = 0;
    if (count_wanted(input)) {
        const size_t n_row = input->logits == LLRT_LOGITS_ALL ? input->n_tok : 1;
        LLRTI_TRY(llrti_rows_ensure(session, n_row, err));
    }
    llrti_rewind_cut(session, common);
    llrt_input rest = *input;
    const size_t begin = session->n_tok; /* or less than what is common */
    rest.tokens += begin;
    rest.n_tok -= begin;
    LLRTI_TRY(llrti_session_make_work(session, &rest, false, LLRTI_READ_ROWS, err));
    llrti_work *works[1] = {&session->work};
    llrti_step_compute(session->engine, works, 1);
    *n_reused = begin + session->work.n_reused;
    return llrti_session_end_work(session, err);
}

llrt_status llrt_session_sync(llrt_session *session, const int32_t *tokens, size_t n_tok,
                              llrt_logits logits, size_t *n_reused, llrt_error *err)
{
    llrt_input input = input_defaults;
    size_t reused = 0;
    input.tokens = tokens;
    input.n_tok = n_tok;
    input.logits = logits;
    if (n_reused) *n_reused = 0;
    if (logits == LLRT_LOGITS_LISTED) {
        return llrti_fail_field(err, LLRT_ERR_ARGUMENT, "logits",
                                "listed rows need llrt_session_append_input");
    }
    LLRTI_TRY(llrti_session_enter(session, err));
    const llrt_status status = sync_entered(session, &input, &reused, err);
    llrti_session_leave(session);
    if (n_reused) *n_reused = reused;
    return status;
}

/* ---- Steps of several sessions ---- */

/* The input is an entry's last member; the least of it there ever was. */
#define INPUT_AT offsetof(llrt_step_entry, input)
#define INPUT_V1_SIZE offsetof(llrt_input, positions)

static llrt_status begin_entry(llrt_engine *engine, llrt_step_entry *entry, size_t room, void *call,
                               llrt_error *err)
{
    llrt_session *const session = entry->session;
    llrt_input input = input_defaults;
    if (!session) return llrti_fail(err, LLRT_ERR_ARGUMENT, "the session is NULL");
    if (session->engine != engine)
        return llrti_fail(err, LLRT_ERR_ARGUMENT, "the session is of another engine");
    if (entry->input.struct_size == 0) entry->input.struct_size = (uint32_t)room;
    if (entry->input.struct_size > room) {
        return llrti_fail_field(err, LLRT_ERR_ARGUMENT, "struct_size",
                                "found an input of %u bytes in an entry with room for %zu",
                                entry->input.struct_size, room);
    }
    LLRTI_TRY(llrti_struct_copy_in(&input, sizeof input, &entry->input, "llrt_input", err));
    const llrt_status entered = llrti_session_enter(session, err);
    if (entered < 0) {
        if (entered != LLRT_ERR_BUSY || atomic_load(&session->in_call) != call) return entered;
        return llrti_fail(err, LLRT_ERR_ARGUMENT, "the session occurs twice in the step");
    }
    atomic_store(&session->in_call, call);
    llrt_status status = LLRT_OK;
    if (entry->sampler) {
        LLRTI_TRY_GOTO(status, check_sampler(engine, entry->sampler, err));
        LLRTI_TRY_GOTO(status, llrti_sampler_begin(entry->sampler, err));
    }
    status = llrti_session_make_work(session, &input, entry->sampler != NULL, LLRTI_READ_ROWS, err);
    if (status == LLRT_OK) {
        if (entry->sampler) prepare_sampling(session, entry->sampler);
        return LLRT_OK;
    }
    if (entry->sampler) llrti_sampler_end(entry->sampler);
fail:
    atomic_store(&session->in_call, NULL);
    llrti_session_leave(session);
    return status;
}

static llrt_status end_entry(llrt_step_entry *entry, llrt_error *err)
{
    llrt_session *const session = entry->session;
    llrt_status status = llrti_session_end_work(session, err);
    if (entry->sampler) {
        if (status == LLRT_OK)
            status = finish_sampling(session, entry->sampler, &entry->token, err);
        llrti_sampler_end(entry->sampler);
    }
    atomic_store(&session->in_call, NULL);
    llrti_session_leave(session);
    return status;
}

/* Works are handed over in groups, so that the list fits on the stack. */
#define STEP_GROUP 256u

static llrt_status step_group(llrt_engine *engine, char *entries, size_t first, uint32_t n,
                              size_t entry_size, llrt_error *err)
{
    llrti_work *works[STEP_GROUP];
    uint32_t n_work = 0;
    llrt_status result = LLRT_OK;
    int64_t failed = -1;
    llrt_error first_err = LLRT_ERROR_INIT, e = LLRT_ERROR_INIT;
    for (uint32_t i = 0; i < n; i++) {
        llrt_step_entry *const entry = (llrt_step_entry *)(void *)(entries + i * entry_size);
        entry->token = LLRT_TOKEN_NONE;
        entry->status = begin_entry(engine, entry, entry_size - INPUT_AT, works, &e);
        if (entry->status == LLRT_OK) {
            works[n_work++] = &entry->session->work;
        } else if (failed < 0) {
            failed = (int64_t)i;
            first_err = e;
        }
    }
    llrti_step_compute(engine, works, n_work);
    for (uint32_t i = 0; i < n; i++) {
        llrt_step_entry *const entry = (llrt_step_entry *)(void *)(entries + i * entry_size);
        if (entry->status < 0) continue;
        entry->status = end_entry(entry, &e);
        if (entry->status < 0 && (failed < 0 || (int64_t)i < failed)) {
            failed = (int64_t)i;
            first_err = e;
        }
    }
    if (failed >= 0) {
        result = first_err.status;
        first_err.position = (int64_t)first + failed;
        llrti_error_copy(err, &first_err);
    }
    return result;
}

llrt_status llrt_engine_step(llrt_engine *engine, llrt_step_entry *entries, size_t n,
                             size_t entry_size, llrt_error *err)
{
    LLRTI_TRY(llrti_engine_check(engine, err));
    if (n && !entries) return llrti_fail(err, LLRT_ERR_ARGUMENT, "entries is NULL");
    if (entry_size < INPUT_AT + INPUT_V1_SIZE || entry_size % sizeof(void *) != 0) {
        return llrti_fail_field(err, LLRT_ERR_ARGUMENT, "entry_size",
                                "found %zu, expected sizeof(llrt_step_entry)", entry_size);
    }
    llrt_status result = LLRT_OK;
    for (size_t first = 0; first < n; first += STEP_GROUP) {
        llrt_error e = LLRT_ERROR_INIT;
        const uint32_t count = (uint32_t)LLRTI_MIN(n - first, STEP_GROUP);
        const llrt_status status =
            step_group(engine, (char *)entries + first * entry_size, first, count, entry_size, &e);
        if (status < 0 && result == LLRT_OK) {
            result = status;
            llrti_error_copy(err, &e);
        }
    }
    return result;
}

/* ---- Results ---- */

size_t llrt_session_n_tok(const llrt_session *session)
{
    return session->n_tok;
}

const int32_t *llrt_session_tokens(const llrt_session *session)
{
    return session->tokens;
}

size_t llrt_session_n_ctx(const llrt_session *session)
{
    return session->options.n_ctx;
}

llrt_engine *llrt_session_engine(const llrt_session *session)
{
    return session->engine;
}

/* ---- Without computing ---- */

llrt_status llrt_session_rewind(llrt_session *session, size_t n_tok, llrt_error *err)
{
    LLRTI_TRY(llrti_session_enter(session, err));
    const llrt_status status = llrti_rewind(session, n_tok, err);
    llrti_session_leave(session);
    return status;
}

/* What is kept beside the pages; always possible, since a session outside of calls holds it. */
static void share_owned(const llrt_session *session, llrt_session *copy)
{
    llrti_pool *const pool = &session->engine->pool;
    for (uint32_t i = session->window_begin; i < session->window_end; i++) {
        copy->window_page[i] = session->window_page[i];
        llrti_slots_idle_hold(&pool->window, copy->window_page[i]);
    }
    copy->window_begin = session->window_begin;
    copy->window_end = session->window_end;
    copy->state = session->state;
    if (copy->state != LLRTI_SLOT_NONE) llrti_slots_idle_hold(&pool->state, copy->state);
}

llrt_status llrt_session_fork(llrt_session *session, llrt_session **out, llrt_error *err)
{
    if (!out) return llrti_fail(err, LLRT_ERR_ARGUMENT, "out is NULL");
    *out = NULL;
    LLRTI_TRY(llrti_session_enter(session, err));
    llrt_engine *const engine = session->engine;
    llrt_status status = create_session(engine, &session->options, out, err);
    if (status == LLRT_OK) {
        status = llrti_position_copy(*out, session, err);
        if (status < 0) {
            llrt_session_free(*out);
            *out = NULL;
        }
    }
    if (status == LLRT_OK) {
        llrt_session *const copy = *out;
        memcpy(copy->tokens, session->tokens, session->n_tok * sizeof *copy->tokens);
        memcpy(copy->page, session->page, session->n_page * sizeof *copy->page);
        llrti_mutex_lock(&engine->lock);
        for (uint32_t i = 0; i < session->n_page; i++)
            llrti_pool_hold(&engine->pool, session->page[i]);
        share_owned(session, copy);
        llrti_mutex_unlock(&engine->lock);
        copy->n_page = session->n_page;
        copy->n_tok = session->n_tok;
        copy->first_embedding = session->first_embedding;
        copy->lost_end = session->lost_end;
        copy->adapters = llrti_adapter_set_ref(session->adapters);
        copy->salt = session->salt;
    }
    llrti_session_leave(session);
    return status;
}
