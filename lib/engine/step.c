/* SPDX-License-Identifier: MIT */
/*
 * Merging of work into steps. There is no scheduler thread:
 *
 *   a call queues its works and waits
 *     nobody leads?  -> it leads: composes a step from the queue, computes it without the lock,
 *                       hands results out, again until its own works are finished; then wakes another
 *     somebody leads -> it sleeps until its works are finished or it is woken to lead
 *
 * Composition: single tokens first (they go into every step), then what is left of the rows is shared evenly
 * among longer inputs; those that got a part move to the end of the queue. Limits are rows, sequences
 * and wanted rows. How work falls into steps changes no result: the backend computes every row by itself.
 *
 * What becomes of pages, and of what is kept beside them, is pages.c's: they are reserved before the first row is
 * computed, so a call fails for lack of them before anything has changed.
 *
 * A cancelled session is polled by the backend; the step ends, the session's work is taken out and the
 * others' step is composed anew. A thread that waits for another's step looks at its own flags
 * every CANCEL_POLL_NS, so that cancelling needs no lock and may be done from a signal handler.
 *
 * Lock: everything here is under engine->lock, except run_step, which reads tables that stay
 * constant while is_leading is set, and the sessions in them, whose owners wait.
 */
#include "step.h"

#include <assert.h>
#include <string.h>

#include "engine_impl.h"
#include "pages.h"
#include "position.h"
#include "rows.h"
#include "session_impl.h"

#define CANCEL_POLL_NS UINT64_C(10000000)
#define RUNNING 1 /* status of a work that is not finished */

/* ---- Tables ---- */

typedef struct table_layout {
    size_t token, position, token_type, seq, out_row, select, result, work, all;
} table_layout;

static size_t place(size_t *at, size_t count, size_t size)
{
    const size_t begin = (*at + LLRTI_CACHE_LINE - 1) / LLRTI_CACHE_LINE * LLRTI_CACHE_LINE;
    *at = begin + count * size;
    return begin;
}

static table_layout layout_of(const llrt_engine *engine)
{
    const llrt_engine_options *const o = &engine->options;
    table_layout t = {0};
    t.token = place(&t.all, o->n_step_tok, sizeof(int32_t));
    t.position = place(&t.all, (size_t)o->n_step_tok * 3, sizeof(int32_t));
    t.token_type = place(&t.all, o->n_step_tok, sizeof(uint8_t));
    t.seq = place(&t.all, o->n_step_seq, sizeof(llrt_step_seq));
    t.out_row = place(&t.all, o->n_step_out, sizeof(uint32_t));
    t.select = place(&t.all, o->n_step_seq, sizeof(llrt_select));
    t.result = place(&t.all, o->n_step_seq, sizeof(llrt_select_result));
    t.work = place(&t.all, o->n_step_seq, sizeof(llrti_work *));
    return t;
}

size_t llrti_step_bytes(const llrt_engine *engine)
{
    return layout_of(engine).all + LLRTI_ALLOC_HEADER;
}

llrt_status llrti_step_create(llrt_engine *engine, llrt_error *err)
{
    const table_layout t = layout_of(engine);
    llrti_step *const step = &engine->step;
    char *const block = llrti_alloc(&engine->mem, t.all, LLRT_MEMORY_HOST);
    if (!block) return llrti_fail_nomem(err, "the tables of a step", t.all);
    step->block = block;
    step->token = (int32_t *)(void *)(block + t.token);
    step->position = (int32_t *)(void *)(block + t.position);
    step->token_type = (uint8_t *)(block + t.token_type);
    step->seq = (llrt_step_seq *)(void *)(block + t.seq);
    step->out_row = (uint32_t *)(void *)(block + t.out_row);
    step->select = (llrt_select *)(void *)(block + t.select);
    step->result = (llrt_select_result *)(void *)(block + t.result);
    step->work = (llrti_work **)(void *)(block + t.work);
    return LLRT_OK;
}

void llrti_step_free(llrt_engine *engine)
{
    llrti_free(&engine->mem, engine->step.block);
    engine->step.block = NULL;
}

static bool is_cancelled(const llrti_work *work)
{
    return atomic_load_explicit(&work->session->is_cancelled, memory_order_relaxed) != 0;
}

/* ---- The queue ---- */

static void push_work(llrti_step *step, llrti_work *work)
{
    work->next = NULL;
    if (step->last)
        step->last->next = work;
    else
        step->first = work;
    step->last = work;
    step->n_queued++;
}

static void unlink_work(llrti_step *step, llrti_work *work)
{
    llrti_work *before = NULL;
    for (llrti_work *w = step->first; w != work; w = w->next) before = w;
    if (before)
        before->next = work->next;
    else
        step->first = work->next;
    if (step->last == work) step->last = before;
    step->n_queued--;
}

/* Takes a work out of the queue with its final status. */
static void finish_work(llrt_engine *engine, llrti_work *work, llrt_status status,
                        const llrt_error *err)
{
    unlink_work(&engine->step, work);
    llrti_pages_end(work);
    work->status = status;
    if (status < 0 && err) llrti_error_copy(&work->err, err);
    if (--work->call->n_left == 0) llrti_cond_signal(work->call->wake);
}

static void finish_cancelled(llrt_engine *engine, llrti_work *work)
{
    llrt_error err = LLRT_ERROR_INIT;
    llrti_fail(&err, LLRT_ERR_CANCELLED, "cancelled after %zu of %zu tokens", work->n_done,
               work->n_tok);
    finish_work(engine, work, LLRT_ERR_CANCELLED, &err);
}

/* ---- Composing ---- */

bool llrti_step_wants_last_row(const llrti_work *work)
{
    return work->logits == LLRT_LOGITS_LAST || work->logits == LLRT_LOGITS_ALL ||
           (work->logits == LLRT_LOGITS_LISTED && work->n_rows > 0 &&
            work->rows[work->n_rows - 1] + (size_t)1 == work->n_tok);
}

/* Wanted rows among the next n_row rows: those to be read, and one more for the sampler alone. */
static uint32_t count_read(const llrti_work *work, size_t n_row)
{
    const size_t end = work->n_done + n_row;
    size_t n = 0;
    if (work->logits == LLRT_LOGITS_ALL) n = n_row;
    if (work->logits == LLRT_LOGITS_LAST) n = end == work->n_tok;
    if (work->logits == LLRT_LOGITS_LISTED)
        while (work->next_row + n < work->n_rows && work->rows[work->next_row + n] < end) n++;
    return (uint32_t)n;
}

static uint32_t count_out(const llrti_work *work, size_t n_row)
{
    const bool is_extra =
        work->is_sampled && work->n_done + n_row == work->n_tok && !llrti_step_wants_last_row(work);
    return count_read(work, n_row) + is_extra;
}

/* Rows of the work that fit into what is left of a step; may be 0. */
static uint32_t fit_rows(const llrti_work *work, uint32_t max_row, uint32_t max_out)
{
    const size_t left = work->n_tok - work->n_done;
    if (work->is_one_step) {
        const bool does_fit =
            left <= llrti_pages_fit(work, max_row) && count_out(work, left) <= max_out;
        return does_fit ? (uint32_t)left : 0;
    }
    size_t n = LLRTI_MIN(left, llrti_pages_fit(work, max_row));
    if (work->logits == LLRT_LOGITS_ALL) n = LLRTI_MIN(n, max_out);
    if (work->logits == LLRT_LOGITS_LISTED && work->n_rows - work->next_row > max_out)
        n = LLRTI_MIN(n, work->rows[work->next_row + max_out] - work->n_done);
    if (n < left) {
        /* End on a page: it is complete, indexed and ready for others. */
        const size_t end = (work->begin + work->n_done + n) / LLRT_PAGE_TOK * LLRT_PAGE_TOK;
        if (end > work->begin + work->n_done) n = end - work->begin - work->n_done;
    }
    if (n == left && count_out(work, n) > max_out) n--;
    return (uint32_t)n;
}

/* Positions and token types of the work's next rows, when somebody in the queue has given ones. */
static void describe_rows(const llrti_step *step, const llrti_work *work, uint32_t n_row)
{
    if (step->has_position)
        llrti_position_fill(work->session, work->begin + work->n_done, n_row,
                            step->position + (size_t)step->n_row * 3);
    if (!step->has_token_type) return;
    uint8_t *const type = step->token_type + step->n_row;
    if (work->token_types)
        memcpy(type, work->token_types + work->n_done, n_row);
    else
        memset(type, 0, n_row);
}

static void add_to_step(llrt_engine *engine, llrti_work *work, uint32_t n_row)
{
    llrti_step *const step = &engine->step;
    const llrt_session *const s = work->session;
    const size_t begin = work->n_done, position = work->begin + begin;
    llrti_pages_take(work, n_row);
    work->is_in_step = true;
    work->step_row = n_row;
    work->step_read = count_read(work, n_row);
    work->step_out = step->n_out;
    step->seq[step->n_work] = (llrt_step_seq){
        .row_begin = step->n_row,
        .n_row = n_row,
        .pos_begin = (int32_t)position,
        .flags = work->is_span ? LLRT_SEQ_BIDIRECTIONAL : 0,
        .n_page = llrti_session_pages(position + n_row),
        .page = {s->page, s->window_page},
        .state_in = s->state,
        .state_out = work->state_out,
        .state_at = s->state_at,
        .n_adapter = s->adapters ? s->adapters->n : 0,
        .adapter = s->adapters ? s->adapters->slot : NULL,
        .adapter_scale = s->adapters ? s->adapters->scale : NULL,
    };
    memcpy(step->token + step->n_row, s->tokens + position, n_row * sizeof *step->token);
    if (work->embeddings) step->embedding = work->embeddings + begin * engine->d_model;
    describe_rows(step, work, n_row);
    for (uint32_t i = 0; i < work->step_read; i++) {
        const size_t row = work->logits == LLRT_LOGITS_ALL ? i
                           : work->logits == LLRT_LOGITS_LISTED
                               ? work->rows[work->next_row + i] - begin
                               : n_row - 1;
        step->out_row[step->n_out++] = step->n_row + (uint32_t)row;
    }
    step->needs_head |= count_out(work, n_row) > 0 && work->reading != LLRTI_READ_POOLED &&
                        (work->reading == LLRTI_READ_SCORE || engine->model->can_generate);
    if (count_out(work, n_row) > work->step_read)
        step->out_row[step->n_out++] = step->n_row + n_row - 1;
    if (work->has_select && begin + n_row == work->n_tok) {
        work->step_select = step->n_select;
        step->select[step->n_select] = work->select;
        step->select[step->n_select].out_row = step->n_out - 1;
        step->result[step->n_select++] = work->result;
    }
    step->n_row += n_row;
    step->work[step->n_work++] = work;
}

static void add_whole(llrt_engine *engine, llrti_work *work)
{
    const llrt_engine_options *const o = &engine->options;
    const uint32_t n = fit_rows(work, o->n_step_tok, o->n_step_out);
    if (n) add_to_step(engine, work, n);
}

/* Fills the step's tables from the queue; false when nothing is to be done. */
static bool compose_step(llrt_engine *engine)
{
    llrti_step *const step = &engine->step;
    const llrt_engine_options *const o = &engine->options;
    step->n_row = step->n_work = step->n_out = step->n_select = 0;
    step->embedding = NULL;
    step->needs_head = step->has_position = step->has_token_type = false;
    uint32_t n_long = 0;
    for (llrti_work *w = step->first, *next; w; w = next) {
        next = w->next;
        w->is_in_step = false;
        if (is_cancelled(w)) {
            finish_cancelled(engine, w);
            continue;
        }
        llrti_pages_reuse(w);
        step->has_position |= llrti_position_is_used(w->session);
        step->has_token_type |= w->token_types != NULL;
        n_long += w->n_tok - w->n_done > 1;
    }
    /* Work of one step would starve if others always came first. */
    if (step->first && step->first->is_one_step) add_whole(engine, step->first);
    for (llrti_work *w = step->first; w; w = w->next) {
        if (w->is_in_step || w->n_tok - w->n_done != 1 || step->n_work == o->n_step_seq) continue;
        if (w->embeddings && step->embedding) continue;
        if (fit_rows(w, o->n_step_tok - step->n_row, o->n_step_out - step->n_out) == 1)
            add_to_step(engine, w, 1);
    }
    for (llrti_work *w = step->first; w; w = w->next) {
        const uint32_t n_seq_left = o->n_step_seq - step->n_work;
        const uint32_t rows_left = o->n_step_tok - step->n_row;
        if (w->n_tok - w->n_done <= 1 || n_seq_left == 0 || rows_left == 0) continue;
        const uint32_t sharers = LLRTI_MIN(n_long, n_seq_left);
        n_long--;
        if (w->is_in_step || (w->embeddings && step->embedding)) continue;
        const uint32_t share = w->is_one_step ? rows_left : LLRTI_MAX(rows_left / sharers, 1);
        const uint32_t n = fit_rows(w, share, o->n_step_out - step->n_out);
        if (n) add_to_step(engine, w, n);
    }
    return step->n_work > 0;
}

/* ---- Computing, without the lock ---- */

static int poll_works(void *ctx)
{
    const llrti_step *const step = ctx;
    for (uint32_t i = 0; i < step->n_work; i++)
        if (is_cancelled(step->work[i])) return 1;
    return 0;
}

static llrt_status run_stage(llrt_engine *engine, uint32_t i, llrt_error *err)
{
    llrti_step *const step = &engine->step;
    const llrti_engine_stage *const stage = &engine->stages.at[i];
    const bool is_last = i + 1 == engine->stages.n;
    /* The second program is the first without what comes after the hidden states. */
    const uint32_t which = !step->needs_head && engine->stages.cut[i].n_program > 1;
    const llrt_program *const program = &engine->stages.cut[i].program[which];
    const llrt_step_desc desc = {
        .struct_size = (uint32_t)sizeof desc,
        .program = which,
        .n_row = step->n_row,
        .n_seq = step->n_work,
        .n_out = step->n_out,
        .n_select = is_last ? step->n_select : 0,
        .token = step->token,
        .embedding = step->embedding,
        .position = step->has_position ? step->position : NULL,
        .token_type = step->has_token_type ? step->token_type : NULL,
        .seq = step->seq,
        .out_row = step->out_row,
        .input = i ? (const float *const *)engine->stages.at[i - 1].cross : NULL,
        .select = step->select,
        .result = step->result,
        .poll_cancel = poll_works,
        .poll_ctx = step,
    };
    LLRTI_TRY(stage->backend->step_submit(stage->runtime, &desc, err));
    LLRTI_TRY(stage->backend->step_wait(stage->runtime, err));
    for (uint32_t k = 0; !is_last && k < program->n_output; k++) {
        LLRTI_TRY(stage->backend->value_read(stage->runtime, program->output[k], 0, step->n_row,
                                             stage->cross[k], err));
    }
    return LLRT_OK;
}

static llrt_status run_step(llrt_engine *engine, llrti_work **culprit, llrt_error *err)
{
    llrti_step *const step = &engine->step;
    *culprit = NULL;
    for (uint32_t i = 0; i < step->n_work; i++) {
        const llrt_status status = llrti_pages_copy(step->work[i], err);
        if (status < 0) {
            *culprit = step->work[i];
            return status;
        }
    }
    for (uint32_t i = 0; i < engine->stages.n; i++) LLRTI_TRY(run_stage(engine, i, err));
    for (uint32_t i = 0; i < step->n_work; i++) {
        llrti_work *const work = step->work[i];
        LLRTI_TRY(llrti_rows_read(engine, work, count_out(work, work->step_row), err));
    }
    return LLRT_OK;
}

/* ---- Handing out ---- */

static void advance_work(llrt_engine *engine, llrti_work *work)
{
    if (work->has_select && work->n_done + work->step_row == work->n_tok)
        work->result = engine->step.result[work->step_select];
    work->n_done += work->step_row;
    work->next_row += work->logits == LLRT_LOGITS_LISTED ? work->step_read : 0;
    work->n_read += work->step_read;
    llrti_pages_advance(work);
    unlink_work(&engine->step, work); /* to the end: others come first in the next step */
    push_work(&engine->step, work);
    if (work->n_done == work->n_tok) finish_work(engine, work, LLRT_OK, NULL);
}

static void hand_out(llrt_engine *engine, llrt_status status, llrti_work *culprit,
                     const llrt_error *err)
{
    llrti_step *const step = &engine->step;
    bool has_cancelled = false;
    for (uint32_t i = 0; i < step->n_work; i++) {
        llrti_work *const work = step->work[i];
        if (status < 0) llrti_pages_retreat(work);
        if (status == LLRT_ERR_CANCELLED) has_cancelled |= is_cancelled(work);
    }
    for (uint32_t i = 0; i < step->n_work; i++) {
        llrti_work *const work = step->work[i];
        work->is_in_step = false;
        if (status == LLRT_OK)
            advance_work(engine, work);
        else if (status == LLRT_ERR_CANCELLED && (is_cancelled(work) || !has_cancelled))
            finish_cancelled(engine, work);
        else if (status != LLRT_ERR_CANCELLED && (!culprit || culprit == work))
            finish_work(engine, work, status, err);
    }
    if (status == LLRT_OK) {
        engine->n_step++;
        engine->n_tok_computed += step->n_row;
    }
}

/* Gives up leading: first to those who need the runtimes between steps, then to a call with work. */
static void stop_leading(llrt_engine *engine)
{
    engine->step.is_leading = false;
    if (engine->step.n_waiting_idle)
        llrti_cond_broadcast(&engine->idle);
    else if (engine->step.first)
        llrti_cond_signal(engine->step.first->call->wake);
}

static void wait_for_company(llrt_engine *engine)
{
    const uint64_t end = llrti_clock_ns() + engine->options.merge_delay_ns;
    for (uint64_t now = llrti_clock_ns(); now < end; now = llrti_clock_ns()) {
        const uint32_t most = LLRTI_MIN(engine->options.n_step_seq, engine->n_session);
        if (engine->step.n_queued >= most) return;
        llrti_cond_wait_for(&engine->arrival, &engine->lock, LLRTI_MIN(end - now, CANCEL_POLL_NS));
    }
}

static void lead(llrt_engine *engine, const llrti_call *call)
{
    engine->step.is_leading = true;
    if (engine->options.merge_delay_ns) wait_for_company(engine);
    while (call->n_left && !engine->step.n_waiting_idle) {
        if (!compose_step(engine)) break;
        llrt_error err = LLRT_ERROR_INIT;
        llrti_work *culprit;
        llrti_mutex_unlock(&engine->lock);
        const llrt_status status = run_step(engine, &culprit, &err);
        llrti_mutex_lock(&engine->lock);
        hand_out(engine, status, culprit, &err);
    }
    stop_leading(engine);
}

static void drop_cancelled(llrt_engine *engine, llrti_work **works, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        if (works[i]->status == RUNNING && !works[i]->is_in_step && is_cancelled(works[i]))
            finish_cancelled(engine, works[i]);
}

void llrti_step_compute(llrt_engine *engine, llrti_work **works, uint32_t n)
{
    llrti_call call = {0, n ? &works[0]->session->wake : NULL};
    llrti_mutex_lock(&engine->lock);
    for (uint32_t i = 0; i < n; i++) {
        llrti_work *const work = works[i];
        work->call = &call;
        work->copy_from = LLRTI_PAGE_NONE;
        work->copy_window = work->state_out = LLRTI_SLOT_NONE;
        work->is_copied = work->is_in_step = false;
        work->status = llrti_pages_reserve(work, &work->err);
        if (work->status < 0) continue;
        work->status = RUNNING;
        call.n_left++;
        push_work(&engine->step, work);
    }
    llrti_cond_signal(&engine->arrival);
    while (call.n_left) {
        if (engine->step.is_leading || engine->step.n_waiting_idle) {
            llrti_cond_wait_for(call.wake, &engine->lock, CANCEL_POLL_NS);
            drop_cancelled(engine, works, n); /* but those in another thread's step */
        } else {
            lead(engine, &call);
        }
    }
    llrti_mutex_unlock(&engine->lock);
}

void llrti_step_acquire(llrt_engine *engine)
{
    llrti_mutex_lock(&engine->lock);
    engine->step.n_waiting_idle++;
    while (engine->step.is_leading) llrti_cond_wait(&engine->idle, &engine->lock);
    engine->step.n_waiting_idle--;
    engine->step.is_leading = true;
    llrti_mutex_unlock(&engine->lock);
}

void llrti_step_release(llrt_engine *engine)
{
    llrti_mutex_lock(&engine->lock);
    stop_leading(engine);
    llrti_mutex_unlock(&engine->lock);
}
