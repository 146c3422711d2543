/* SPDX-License-Identifier: MIT */
/*
 * Pooling of hidden states. Sums are kept in double and rows are added one by one in the order of the tokens, so how
 * a text falls into steps changes no bit; the rows themselves are the backend's. The mean, the length and the division
 * by it are in double as well and rounded once.
 */
#include "embedding_impl.h"

#include <math.h>
#include <string.h>

#include "rewind.h"
#include "struct_copy.h"

_Static_assert((int)LLRTI_POOLING_MEAN == LLRT_POOLING_MEAN &&
                   (int)LLRTI_POOLING_FIRST == LLRT_POOLING_CLS &&
                   (int)LLRTI_POOLING_LAST == LLRT_POOLING_LAST &&
                   (int)LLRTI_POOLING_MAX == LLRT_POOLING_MAX,
               "kinds of pooling are numbered alike");

static const llrt_embedding_options option_defaults = {
    .struct_size = (uint32_t)sizeof(llrt_embedding_options),
    .is_normalized = 1,
};

void llrt_embedding_options_init(llrt_embedding_options *options, size_t struct_size)
{
    llrti_struct_copy_init(options, struct_size, &option_defaults, sizeof option_defaults);
}

llrt_pooling llrti_embedding_default(const llrti_model *model)
{
    if (model->pooling != LLRTI_POOLING_NONE) return (llrt_pooling)model->pooling;
    /* A causal model's last token is the only one that has seen the text. */
    return model->is_bidirectional ? LLRT_POOLING_MEAN : LLRT_POOLING_LAST;
}

/* ---- Taking in rows ---- */

static void take_row(llrti_pooled *p, const float *row, size_t d_model)
{
    const bool is_first = p->n_row++ == 0;
    for (size_t i = 0; i < d_model; i++) {
        if (is_first || (p->kind == LLRT_POOLING_MAX && row[i] > p->sum[i]))
            p->sum[i] = row[i];
        else if (p->kind == LLRT_POOLING_MEAN)
            p->sum[i] += row[i];
    }
}

llrt_status llrti_embedding_read(llrt_engine *engine, const llrti_work *work, llrt_error *err)
{
    const llrti_engine_stage *const stage = &engine->stages.at[engine->stages.n - 1];
    const uint32_t hidden = engine->stages.cut[engine->stages.n - 1].hidden;
    llrti_pooled *const p = work->session->pooled;
    for (uint32_t i = 0; i < work->step_read; i += LLRTI_EMBEDDING_BATCH) {
        const uint32_t n = LLRTI_MIN(LLRTI_EMBEDDING_BATCH, work->step_read - i);
        LLRTI_TRY(
            stage->backend->value_read(stage->runtime, hidden, work->step_out + i, n, p->row, err));
        for (uint32_t k = 0; k < n; k++)
            take_row(p, p->row + (size_t)k * engine->d_model, engine->d_model);
    }
    return LLRT_OK;
}

/* ---- Embedding ---- */

static llrt_status check_options(const llrt_engine *engine, const llrt_embedding_options *from,
                                 llrt_embedding_options *o, llrt_error *err)
{
    *o = option_defaults;
    if (from) LLRTI_TRY(llrti_struct_copy_in(o, sizeof *o, from, "llrt_embedding_options", err));
    if (o->pooling > LLRT_POOLING_MAX) {
        return llrti_fail_field(err, LLRT_ERR_ARGUMENT, "pooling", "found %u, expected 0 to %u",
                                o->pooling, LLRT_POOLING_MAX);
    }
    if (o->is_normalized > 1) {
        return llrti_fail_field(err, LLRT_ERR_ARGUMENT, "is_normalized",
                                "found %u, expected 0 or 1", o->is_normalized);
    }
    if (o->n_dim > engine->d_model) {
        return llrti_fail_field(err, LLRT_ERR_ARGUMENT, "n_dim", "found %u, expected at most %u",
                                o->n_dim, engine->d_model);
    }
    if (o->pooling == LLRT_POOLING_DEFAULT) o->pooling = llrti_embedding_default(engine->model);
    if (o->n_dim == 0) o->n_dim = engine->d_model;
    return LLRT_OK;
}

static llrt_status check_room(size_t found, size_t needed, const float *out, llrt_error *err)
{
    if (!out) return llrti_fail(err, LLRT_ERR_ARGUMENT, "out is NULL");
    if (found >= needed) return LLRT_OK;
    return llrti_fail(err, LLRT_ERR_BUFFER, "found room for %zu elements, expected %zu", found,
                      needed);
}

static llrt_status ensure_pooled(llrt_session *session, llrt_error *err)
{
    llrt_engine *const engine = session->engine;
    const size_t d = engine->d_model;
    const size_t bytes =
        sizeof(llrti_pooled) + d * sizeof(double) + d * LLRTI_EMBEDDING_BATCH * sizeof(float);
    if (session->pooled) return LLRT_OK;
    llrti_pooled *const p = llrti_alloc(&engine->mem, bytes, LLRT_MEMORY_SESSION);
    if (!p) return llrti_fail_nomem(err, "room for an embedding", bytes);
    p->sum = (double *)(void *)(p + 1);
    p->row = (float *)(void *)(p->sum + d);
    session->pooled = p;
    return LLRT_OK;
}

/* The rows a kind of pooling needs. */
static void want_rows(llrt_input *input, llrt_pooling kind)
{
    static const uint32_t first = 0;
    switch (kind) {
    case LLRT_POOLING_LAST:
        input->logits = LLRT_LOGITS_LAST;
        break;
    case LLRT_POOLING_CLS:
        input->logits = LLRT_LOGITS_LISTED;
        input->rows = &first;
        input->n_row = 1;
        break;
    default:
        input->logits = LLRT_LOGITS_ALL;
    }
}

static llrt_status compute(llrt_session *session, const llrt_input *input, llrti_reading reading,
                           float *score, llrt_error *err)
{
    llrti_work *works[1] = {&session->work};
    llrti_rewind_cut(session, 0);
    LLRTI_TRY(llrti_session_make_work(session, input, false, reading, err));
    session->work.score = score;
    llrti_step_compute(session->engine, works, 1);
    return llrti_session_end_work(session, err);
}

static void finish(const llrti_pooled *p, const llrt_embedding_options *o, float *out)
{
    const double n = p->kind == LLRT_POOLING_MEAN ? (double)p->n_row : 1.0;
    double length = 0;
    for (size_t i = 0; i < o->n_dim; i++) length += p->sum[i] / n * (p->sum[i] / n);
    const double scale = o->is_normalized && length > 0 ? 1.0 / sqrt(length) : 1.0;
    for (size_t i = 0; i < o->n_dim; i++) out[i] = (float)(p->sum[i] / n * scale);
}

static llrt_status embed_entered(llrt_session *session, llrt_input *input,
                                 const llrt_embedding_options *options, float *out, size_t n,
                                 llrt_error *err)
{
    const llrt_engine *const engine = session->engine;
    llrt_embedding_options o;
    LLRTI_TRY(check_options(engine, options, &o, err));
    if (!engine->model->can_embed) {
        return llrti_fail(err, LLRT_ERR_UNSUPPORTED,
                          "a model of architecture %s gives no hidden "
                          "states",
                          engine->model->architecture);
    }
    LLRTI_TRY(check_room(n, o.n_dim, out, err));
    LLRTI_TRY(ensure_pooled(session, err));
    session->pooled->kind = o.pooling;
    session->pooled->n_row = 0;
    input->token_types = o.token_types;
    want_rows(input, o.pooling);
    LLRTI_TRY(compute(session, input, LLRTI_READ_POOLED, NULL, err));
    finish(session->pooled, &o, out);
    return LLRT_OK;
}

static llrt_status score_entered(llrt_session *session, llrt_input *input,
                                 const llrt_embedding_options *options, float *out, size_t n,
                                 llrt_error *err)
{
    const llrti_model *const model = session->engine->model;
    llrt_embedding_options o;
    LLRTI_TRY(check_options(session->engine, options, &o, err));
    if (model->n_label == 0) {
        return llrti_fail(err, LLRT_ERR_UNSUPPORTED,
                          "the model has no head for classification, so it gives no scores");
    }
    LLRTI_TRY(check_room(n, model->n_label, out, err));
    input->token_types = o.token_types;
    want_rows(input, model->is_bidirectional ? LLRT_POOLING_CLS : LLRT_POOLING_LAST);
    return compute(session, input, LLRTI_READ_SCORE, out, err);
}

typedef llrt_status (*reader)(llrt_session *session, llrt_input *input,
                              const llrt_embedding_options *options, float *out, size_t n,
                              llrt_error *err);

static llrt_status run(reader read, llrt_session *session, llrt_input *input,
                       const llrt_embedding_options *options, float *out, size_t n, llrt_error *err)
{
    LLRTI_TRY(llrti_session_enter(session, err));
    const llrt_status status = read(session, input, options, out, n, err);
    llrti_session_leave(session);
    return status;
}

llrt_status llrt_session_embed(llrt_session *session, const int32_t *tokens, size_t n_tok,
                               const llrt_embedding_options *options, float *out, size_t n,
                               llrt_error *err)
{
    llrt_input input = {.struct_size = (uint32_t)sizeof input, .tokens = tokens, .n_tok = n_tok};
    return run(embed_entered, session, &input, options, out, n, err);
}

llrt_status llrt_session_score(llrt_session *session, const int32_t *tokens, size_t n_tok,
                               const llrt_embedding_options *options, float *out, size_t n,
                               llrt_error *err)
{
    llrt_input input = {.struct_size = (uint32_t)sizeof input, .tokens = tokens, .n_tok = n_tok};
    return run(score_entered, session, &input, options, out, n, err);
}
