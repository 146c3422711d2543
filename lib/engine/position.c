/* SPDX-License-Identifier: MIT */
/*
 * Positions of a session's tokens, kept as (n_ctx, 4): the fourth number is the largest up to that
 * token, so that a shortened session goes on from it without looking at those before.
 */
#include "position.h"

#include <string.h>

static llrt_status check_positions(const llrt_input *input, llrt_error *err)
{
    const uint32_t n = input->n_position;
    if (!input->positions) return LLRT_OK;
    if (n != 1 && n != 3) {
        return llrti_fail_field(err, LLRT_ERR_ARGUMENT, "n_position", "found %u, expected 1 or 3",
                                n);
    }
    for (size_t i = 0; i < input->n_tok * n; i++) {
        if (input->positions[i] >= 0 && input->positions[i] < LLRTI_POSITION_MAX) continue;
        llrti_fail_field(err, LLRT_ERR_ARGUMENT, "positions", "found position %d, expected 0 to %d",
                         input->positions[i], LLRTI_POSITION_MAX - 1);
        llrti_error_position(err, (int64_t)(i / n));
        return LLRT_ERR_ARGUMENT;
    }
    return LLRT_OK;
}

static llrt_status check_token_types(const llrt_session *session, const llrt_input *input,
                                     llrt_error *err)
{
    const uint32_t n_type = session->engine->model->n_token_type;
    if (!input->token_types) return LLRT_OK;
    if (n_type == 0) {
        return llrti_fail_field(err, LLRT_ERR_ARGUMENT, "token_types",
                                "the model knows no token types");
    }
    for (size_t i = 0; i < input->n_tok; i++) {
        if (input->token_types[i] < n_type) continue;
        llrti_fail_field(err, LLRT_ERR_ARGUMENT, "token_types", "found type %u, expected 0 to %u",
                         input->token_types[i], n_type - 1);
        llrti_error_position(err, (int64_t)i);
        return LLRT_ERR_ARGUMENT;
    }
    return LLRT_OK;
}

llrt_status llrti_position_check(const llrt_session *session, const llrt_input *input,
                                 llrt_error *err)
{
    if (input->is_bidirectional > 1) {
        return llrti_fail_field(err, LLRT_ERR_ARGUMENT, "is_bidirectional",
                                "found %u, expected 0 or 1", input->is_bidirectional);
    }
    LLRTI_TRY(check_positions(input, err));
    return check_token_types(session, input, err);
}

llrt_status llrti_position_allocate(const llrt_session *session, int32_t **out, llrt_error *err)
{
    const size_t n = (size_t)session->options.n_ctx * LLRTI_POSITION_KEPT;
    *out = llrti_alloc(&session->engine->mem, n * sizeof **out, LLRT_MEMORY_SESSION);
    return *out ? LLRT_OK : llrti_fail_nomem(err, "positions of tokens", n * sizeof **out);
}

void llrti_position_set(int32_t *kept, size_t first, size_t i, const int32_t position[3])
{
    int32_t *const to = kept + i * LLRTI_POSITION_KEPT;
    /* Before the first one positions are places, of which the last is the largest. */
    int32_t most = i > first ? to[-1] : (int32_t)i - 1;
    for (int k = 0; k < 3; k++) {
        to[k] = position[k];
        most = LLRTI_MAX(most, position[k]);
    }
    to[3] = most;
}

llrt_status llrti_position_take(llrt_session *session, const llrt_input *input, llrt_error *err)
{
    const size_t begin = session->n_tok;
    if (!input->positions && !llrti_position_is_used(session)) return LLRT_OK;
    if (!session->position) LLRTI_TRY(llrti_position_allocate(session, &session->position, err));
    if (!llrti_position_is_used(session)) session->first_position = begin;
    for (size_t i = 0; i < input->n_tok; i++) {
        const size_t at = begin + i;
        int32_t position[3];
        for (uint32_t k = 0; k < 3; k++) {
            if (input->positions)
                position[k] = input->positions[input->n_position == 3 ? 3 * i + k : i];
            else
                position[k] = session->position[at * LLRTI_POSITION_KEPT - 1] + 1;
        }
        llrti_position_set(session->position, session->first_position, at, position);
    }
    return LLRT_OK;
}

void llrti_position_forget(llrt_session *session)
{
    if (llrti_position_is_used(session) && session->first_position >= session->n_tok)
        session->first_position = LLRTI_NO_POSITION;
}

void llrti_position_fill(const llrt_session *session, size_t begin, size_t n, int32_t *to)
{
    for (size_t i = 0; i < n; i++) {
        const size_t at = begin + i;
        const bool is_place = at < session->first_position;
        for (size_t k = 0; k < 3; k++)
            to[3 * i + k] =
                is_place ? (int32_t)at : session->position[at * LLRTI_POSITION_KEPT + k];
    }
}

llrt_status llrti_position_copy(llrt_session *session, const llrt_session *from, llrt_error *err)
{
    if (!llrti_position_is_used(from)) return LLRT_OK;
    LLRTI_TRY(llrti_position_allocate(session, &session->position, err));
    const size_t begin = from->first_position * LLRTI_POSITION_KEPT;
    const size_t end = from->n_tok * LLRTI_POSITION_KEPT;
    memcpy(session->position + begin, from->position + begin,
           (end - begin) * sizeof *session->position);
    session->first_position = from->first_position;
    return LLRT_OK;
}
