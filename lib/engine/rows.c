/* SPDX-License-Identifier: MIT */
/*
 * Room for wanted rows, reading them from the last stage, and handing them to the caller. Models without
 * logits give hidden states only. See rows.h.
 */
#include "rows.h"

#include <string.h>

#include "embedding_impl.h"

/* ---- Room ---- */

/* Parts of the block in order: width of a row in each. */
typedef struct widths {
    size_t logits, hidden, tap; /* tap: of all tapped layers together */
} widths;

static widths widths_of(const llrt_engine *engine, bool with_hidden)
{
    return (widths){
        .logits = engine->model->can_generate ? engine->n_vocab : 0,
        .hidden = with_hidden ? engine->d_model : 0,
        .tap = (size_t)engine->model->n_tap * engine->d_model,
    };
}

bool llrti_rows_bytes(const llrt_engine *engine, bool with_hidden, size_t n, size_t *out)
{
    const widths w = widths_of(engine, with_hidden);
    return llrti_mul_size(n, (w.logits + w.hidden + w.tap) * sizeof(float), out);
}

/* Copies the rows of one part to its place in a larger block. */
static void move_part(float *to, const float *from, size_t n, size_t width)
{
    if (n && width) memcpy(to, from, n * width * sizeof *to);
}

llrt_status llrti_rows_ensure(llrt_session *session, size_t n, llrt_error *err)
{
    llrt_engine *const engine = session->engine;
    const bool with_hidden = session->options.with_hidden != 0;
    const widths w = widths_of(engine, with_hidden);
    size_t bytes;
    if (n <= session->n_logits_room) return LLRT_OK;
    float *const rows = llrti_rows_bytes(engine, with_hidden, n, &bytes)
                            ? llrti_alloc(&engine->mem, bytes, LLRT_MEMORY_SESSION)
                            : NULL;
    if (!rows) return llrti_fail_nomem(err, "rows of logits", bytes);
    float *const hidden = rows + n * w.logits, *const tap = hidden + n * w.hidden;
    if (session->n_logits) {
        move_part(rows, session->logits, session->n_logits, w.logits);
        move_part(hidden, session->hidden, session->n_logits, w.hidden);
        for (size_t k = 0; k < engine->model->n_tap; k++)
            move_part(tap + k * n * engine->d_model,
                      session->tap + k * session->n_logits_room * engine->d_model,
                      session->n_logits, engine->d_model);
    }
    llrti_free(&engine->mem, session->logits);
    session->logits = rows;
    session->hidden = with_hidden ? hidden : NULL;
    session->tap = tap;
    session->n_logits_room = n;
    return LLRT_OK;
}

/* ---- Reading ---- */

static llrt_status read_value(const llrt_engine *engine, uint32_t value, const llrti_work *work,
                              uint32_t n, float *to, llrt_error *err)
{
    const llrti_engine_stage *const stage = &engine->stages.at[engine->stages.n - 1];
    return stage->backend->value_read(stage->runtime, value, work->step_out, n, to, err);
}

llrt_status llrti_rows_read(llrt_engine *engine, const llrti_work *work, uint32_t n_out,
                            llrt_error *err)
{
    const llrti_stage *const cut = &engine->stages.cut[engine->stages.n - 1];
    const llrt_session *const s = work->session;
    if (n_out == 0) return LLRT_OK;
    if (work->reading == LLRTI_READ_POOLED) return llrti_embedding_read(engine, work, err);
    if (work->reading == LLRTI_READ_SCORE)
        return read_value(engine, cut->score, work, 1, work->score, err);
    /* A row that is for the sampler alone is read as well: what select gives may not be sufficient. */
    if (engine->model->can_generate)
        LLRTI_TRY(read_value(engine, cut->logits, work, n_out,
                             s->logits + work->n_read * engine->n_vocab, err));
    if (work->step_read == 0) return LLRT_OK;
    if (s->hidden)
        LLRTI_TRY(read_value(engine, cut->hidden, work, work->step_read,
                             s->hidden + work->n_read * engine->d_model, err));
    for (size_t k = 0; k < cut->n_tap; k++)
        LLRTI_TRY(read_value(engine, cut->tap[k], work, work->step_read,
                             s->tap + (k * s->n_logits_room + work->n_read) * engine->d_model,
                             err));
    return LLRT_OK;
}

/* ---- Handing out ---- */

static llrt_status find_row(const llrt_session *session, int32_t row, size_t *out, llrt_error *err)
{
    const size_t n = session->n_logits;
    *out = row == -1 ? n - 1 : (size_t)row;
    if (row >= -1 && n > 0 && *out < n) return LLRT_OK;
    return llrti_fail(err, LLRT_ERR_STATE, "row %d was not asked for: the last call left %zu rows",
                      row, n);
}

llrt_status llrt_session_logits(llrt_session *session, int32_t row, const float **out,
                                llrt_error *err)
{
    size_t at = 0;
    if (!out) return llrti_fail(err, LLRT_ERR_ARGUMENT, "out is NULL");
    *out = NULL;
    LLRTI_TRY(llrti_session_enter(session, err));
    llrt_status status = session->engine->model->can_generate
                             ? find_row(session, row, &at, err)
                             : llrti_fail(err, LLRT_ERR_STATE, "the model gives no logits");
    if (status == LLRT_OK) *out = session->logits + at * session->engine->n_vocab;
    llrti_session_leave(session);
    return status;
}

llrt_status llrt_session_hidden(llrt_session *session, int32_t row, const float **out,
                                llrt_error *err)
{
    size_t at = 0;
    if (!out) return llrti_fail(err, LLRT_ERR_ARGUMENT, "out is NULL");
    *out = NULL;
    LLRTI_TRY(llrti_session_enter(session, err));
    llrt_status status =
        session->options.with_hidden
            ? find_row(session, row, &at, err)
            : llrti_fail(err, LLRT_ERR_STATE, "the session was created without with_hidden");
    if (status == LLRT_OK) *out = session->hidden + at * session->engine->d_model;
    llrti_session_leave(session);
    return status;
}

static llrt_status find_tap(const llrt_engine *engine, uint32_t layer, size_t *out, llrt_error *err)
{
    for (uint32_t k = 0; k < engine->model->n_tap; k++) {
        *out = k;
        if (engine->tap_layer[k] == layer) return LLRT_OK;
    }
    return llrti_fail_field(err, LLRT_ERR_STATE, "tap_layer",
                            "layer %u is not tapped: list it when the engine is opened", layer);
}

llrt_status llrt_session_tap(llrt_session *session, uint32_t layer, int32_t row, const float **out,
                             llrt_error *err)
{
    size_t at = 0, k = 0;
    if (!out) return llrti_fail(err, LLRT_ERR_ARGUMENT, "out is NULL");
    *out = NULL;
    LLRTI_TRY(llrti_session_enter(session, err));
    const llrt_engine *const engine = session->engine;
    llrt_status status = find_tap(engine, layer, &k, err);
    if (status == LLRT_OK) status = find_row(session, row, &at, err);
    if (status == LLRT_OK)
        *out = session->tap + (k * session->n_logits_room + at) * engine->d_model;
    llrti_session_leave(session);
    return status;
}

size_t llrt_session_n_logits(const llrt_session *session)
{
    return session->n_logits;
}
