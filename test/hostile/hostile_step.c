/* SPDX-License-Identifier: MIT */
/*
 * Steps of the hostile test backend: the checks of what a step borrows, the program from its first
 * operator to its last, selection.
 *
 * Runs on the runtime's own thread with all regions open. Every value is filled with NaN before the
 * first operator, so that a row nobody computed shows up in the result. Rows are computed one after
 * the other; nothing is shared between them, which makes the results independent of what else is in
 * the step.
 */
#include "hostile.h"

#include <math.h>
#include <string.h>

/* ---- What a step borrows ---- */

static uint64_t mix(uint64_t h, const void *data, size_t n)
{
    const unsigned char *const p = data;
    for (size_t i = 0; p && i < n; i++) h = (h ^ p[i]) * 0x100000001b3ull;
    return h;
}

static uint32_t embedded_rows(const llrt_step_desc *s)
{
    uint32_t n = 0;
    for (uint32_t i = 0; s->token && i < s->n_row; i++) n += s->token[i] == -1;
    return n;
}

/* Elements of a row of `embedding`: the width of the first EMBED; 0 without one. */
static size_t embedding_width(const llrt_program *p)
{
    for (uint32_t i = 0; i < p->n_op; i++)
        if (p->op[i].kind == LLRT_OP_EMBED) return hostile_width(&p->value[p->op[i].out]);
    return 0;
}

uint64_t hostile_step_checksum(const hostile_runtime *r)
{
    const llrt_step_desc *const s = &r->step;
    const llrt_program *const p = &r->model->program[s->program].p;
    uint64_t h = 0xcbf29ce484222325ull;
    h = mix(h, s->token, s->n_row * sizeof *s->token);
    if (s->embedding)
        h = mix(h, s->embedding, embedded_rows(s) * embedding_width(p) * sizeof(float));
    h = mix(h, s->seq, s->n_seq * sizeof *s->seq);
    for (uint32_t i = 0; i < s->n_seq; i++) {
        const llrt_step_seq *const q = &s->seq[i];
        for (int g = 0; g < LLRT_KV_GROUP_COUNT; g++)
            h = mix(h, q->page[g], q->n_page * sizeof(uint32_t));
        h = mix(h, q->state_at, q->n_page * sizeof *q->state_at);
        h = mix(h, q->adapter, q->n_adapter * sizeof *q->adapter);
        h = mix(h, q->adapter_scale, q->n_adapter * sizeof *q->adapter_scale);
    }
    h = mix(h, s->position, 3 * (size_t)s->n_row * sizeof *s->position);
    h = mix(h, s->token_type, s->n_row * sizeof *s->token_type);
    h = mix(h, s->out_row, s->n_out * sizeof *s->out_row);
    for (uint32_t i = 0; i < p->n_input; i++)
        h = mix(h, s->input[i], s->n_row * hostile_width(&p->value[p->input[i]]) * sizeof(float));
    h = mix(h, s->select, s->n_select * sizeof *s->select);
    for (uint32_t i = 0; i < s->n_select; i++) {
        const llrt_select *const e = &s->select[i];
        h = mix(h, e->bias_token, e->n_bias * sizeof *e->bias_token);
        h = mix(h, e->bias, e->n_bias * sizeof *e->bias);
        h = mix(h, e->penalty_token, e->n_penalty * sizeof *e->penalty_token);
        h = mix(h, e->penalty_count, e->n_penalty * sizeof *e->penalty_count);
        h = mix(h, e->subtract_token, e->n_subtract * sizeof *e->subtract_token);
        h = mix(h, e->subtract, e->n_subtract * sizeof *e->subtract);
    }
    return h;
}

/* ---- Pages ---- */

static bool is_attention(const llrt_op *op)
{
    return op->kind == LLRT_OP_ATTENTION;
}

/* The first position before `begin` that an attention reads. */
static uint32_t reach_of(const llrt_op *op, uint32_t begin)
{
    const uint32_t window = op->u.attention.window;
    return window && begin + 1 > window ? begin + 1 - window : 0;
}

/* The first position that the program needs of a group; false: it has no slot of the group. */
static bool find_reach(const hostile_run *x, const llrt_step_seq *q, uint32_t group,
                       uint32_t *reach)
{
    bool is_used = false;
    *reach = (uint32_t)q->pos_begin;
    for (uint32_t i = 0; i < x->p->n_op; i++) {
        const llrt_op *const op = &x->p->op[i];
        if (!is_attention(op) || x->m->kv[op->u.attention.kv].group != group) continue;
        const uint32_t first = reach_of(op, (uint32_t)q->pos_begin);
        if (first < *reach) *reach = first;
        is_used = true;
    }
    if (group == LLRT_KV_GROUP_FULL) *reach = 0;
    return is_used;
}

/*
 * Pages that a sequence writes to must be in no other list of the step, and only once in its own.
 */
static llrt_status check_exclusive(const hostile_run *x, uint32_t group, uint32_t i_seq,
                                   uint32_t i_page)
{
    const uint32_t page = x->s->seq[i_seq].page[group][i_page];
    for (uint32_t i = 0; i < x->s->n_seq; i++) {
        const llrt_step_seq *const q = &x->s->seq[i];
        for (uint32_t j = 0; q->page[group] && j < q->n_page; j++)
            if (q->page[group][j] == page && (i != i_seq || j != i_page))
                return hostile_violation(x->err, "page %u is written to and shared", page);
    }
    return LLRT_OK;
}

/* The table of one group: long enough, pages in range, LLRT_NONE only before the window. */
static llrt_status check_table(const hostile_run *x, uint32_t i_seq, uint32_t group)
{
    const llrt_step_seq *const q = &x->s->seq[i_seq];
    const uint32_t begin = (uint32_t)q->pos_begin, end = begin + q->n_row;
    const uint32_t n_page = (end + LLRT_PAGE_TOK - 1) / LLRT_PAGE_TOK;
    const uint32_t *const page = q->page[group];
    const uint32_t limit = x->r->limits.n_page[group];
    uint32_t reach;
    const bool is_used = find_reach(x, q, group, &reach);
    if (x->m->n_slot[group] == 0 || (!page && !is_used)) return LLRT_OK;
    if (!page || q->n_page < n_page)
        return hostile_violation(x->err, "sequence %u: %u pages for %u positions", i_seq, q->n_page,
                                 end);
    for (uint32_t i = 0; i < q->n_page; i++) {
        if (page[i] == LLRT_NONE && (i + 1) * LLRT_PAGE_TOK <= reach) continue;
        if (page[i] == LLRT_NONE && !is_used) continue;
        if (page[i] == LLRT_NONE)
            return hostile_violation(x->err, "sequence %u: no page %u of group %u", i_seq, i,
                                     group);
        if (page[i] >= limit)
            return hostile_violation(x->err, "sequence %u: page %u of %u", i_seq, page[i], limit);
    }
    for (uint32_t i = begin / LLRT_PAGE_TOK; is_used && i < n_page; i++)
        HOSTILE_TRY(check_exclusive(x, group, i_seq, i));
    return LLRT_OK;
}

/*
 * Every position that an attention reads from before the step must have been written in its slot;
 * where all are kept, all of them.
 */
static llrt_status check_history(const hostile_run *x, uint32_t i_seq)
{
    const llrt_step_seq *const q = &x->s->seq[i_seq];
    for (uint32_t i = 0; i < x->p->n_op; i++) {
        const llrt_op *const op = &x->p->op[i];
        if (!is_attention(op)) continue;
        const uint32_t kv = op->u.attention.kv, group = x->m->kv[kv].group;
        uint32_t p = group == LLRT_KV_GROUP_FULL ? 0 : reach_of(op, (uint32_t)q->pos_begin);
        for (; p < (uint32_t)q->pos_begin; p++) {
            const uint32_t page = q->page[group][p / LLRT_PAGE_TOK];
            if (!(*hostile_written(x->r, page, kv) >> (p % LLRT_PAGE_TOK) & 1))
                return hostile_violation(x->err, "sequence %u: position %u is not in page %u",
                                         i_seq, p, page);
        }
    }
    return LLRT_OK;
}

/*
 * What is at and after the step's positions belongs to a past that was cut off: in the slots of
 * this program it becomes poison.
 */
static void clear_positions(const hostile_run *x, const llrt_step_seq *q)
{
    for (uint32_t o = 0; o < x->p->n_op; o++) {
        if (!is_attention(&x->p->op[o])) continue;
        const uint32_t kv = x->p->op[o].u.attention.kv, group = x->m->kv[kv].group;
        const size_t k = hostile_k_bytes(x->m, kv), v = hostile_v_bytes(x->m, kv);
        uint32_t p = (uint32_t)q->pos_begin;
        while (p < (uint32_t)q->pos_begin + q->n_row) {
            const uint32_t page = q->page[group][p / LLRT_PAGE_TOK], at = p % LLRT_PAGE_TOK;
            unsigned char *const base = hostile_page(x->r, page, kv);
            *hostile_written(x->r, page, kv) &= ((uint64_t)1 << at) - 1;
            hostile_poison(base + at * k, (LLRT_PAGE_TOK - at) * k);
            hostile_poison(base + LLRT_PAGE_TOK * k + at * v, (LLRT_PAGE_TOK - at) * v);
            p += LLRT_PAGE_TOK - at;
        }
    }
}

static void mark_positions(const hostile_run *x, const llrt_step_seq *q)
{
    for (uint32_t o = 0; o < x->p->n_op; o++) {
        if (!is_attention(&x->p->op[o])) continue;
        const uint32_t kv = x->p->op[o].u.attention.kv;
        const uint32_t *const page = q->page[x->m->kv[kv].group];
        for (uint32_t i = 0; i < q->n_row; i++) {
            const uint32_t p = (uint32_t)q->pos_begin + i;
            *hostile_written(x->r, page[p / LLRT_PAGE_TOK], kv) |= (uint64_t)1
                                                                   << (p % LLRT_PAGE_TOK);
        }
    }
}

/* ---- States ---- */

static bool has_state(const llrt_op *op)
{
    return op->kind == LLRT_OP_SHORT_CONV || op->kind == LLRT_OP_GATED_DELTA ||
           op->kind == LLRT_OP_SSM_SCAN;
}

static uint32_t state_of(const llrt_op *op)
{
    return op->kind == LLRT_OP_SHORT_CONV ? op->u.conv.state : op->u.scan.state;
}

static bool has_states(const hostile_run *x)
{
    for (uint32_t i = 0; i < x->p->n_op; i++)
        if (has_state(&x->p->op[i])) return true;
    return false;
}

/*
 * The slots a sequence writes: number 0 is where it ends, the others are its page ends from the
 * first one on. false: there is no number `i`. *position is that of the token after; *slot may be
 * LLRT_NONE.
 */
static bool output_slot(const llrt_step_seq *q, uint32_t i, uint32_t *slot, uint32_t *position)
{
    *position = (uint32_t)q->pos_begin + q->n_row;
    *slot = q->state_out;
    if (i == 0) return true;
    const uint32_t page = (uint32_t)q->pos_begin / LLRT_PAGE_TOK + i - 1;
    if (!q->state_at || (page + 1) * LLRT_PAGE_TOK > *position) return false;
    *position = (page + 1) * LLRT_PAGE_TOK;
    *slot = page < q->n_page ? q->state_at[page] : LLRT_NONE;
    return true;
}

static llrt_status check_state_in(const hostile_run *x, uint32_t i_seq)
{
    const llrt_step_seq *const q = &x->s->seq[i_seq];
    if (q->state_in == LLRT_NONE) {
        if (q->pos_begin == 0) return LLRT_OK;
        return hostile_violation(x->err, "sequence %u: position %d without a state", i_seq,
                                 q->pos_begin);
    }
    if (q->state_in >= x->r->limits.n_state)
        return hostile_violation(x->err, "sequence %u: state slot %u of %u", i_seq, q->state_in,
                                 x->r->limits.n_state);
    for (uint32_t i = 0; i < x->p->n_op; i++) {
        if (!has_state(&x->p->op[i])) continue;
        const int32_t position =
            x->r->state_position[q->state_in * x->m->n_state + state_of(&x->p->op[i])];
        if (position == HOSTILE_STATE_POISON)
            return hostile_violation(x->err, "sequence %u: state slot %u was not written", i_seq,
                                     q->state_in);
        if (position != HOSTILE_STATE_ANY && position != q->pos_begin)
            return hostile_violation(x->err, "sequence %u: state slot %u is of position %d, not %d",
                                     i_seq, q->state_in, position, q->pos_begin);
    }
    return LLRT_OK;
}

/* A slot that is written is no sequence's state before the step, and nobody else writes it. */
static llrt_status check_output_slot(const hostile_run *x, uint32_t i_seq, uint32_t i_output)
{
    const llrt_step_seq *const q = &x->s->seq[i_seq];
    uint32_t slot, position, other, at;
    output_slot(q, i_output, &slot, &position);
    if (slot == LLRT_NONE && i_output) return LLRT_OK;
    if (slot >= x->r->limits.n_state)
        return hostile_violation(x->err, "sequence %u: state slot %u of %u", i_seq, slot,
                                 x->r->limits.n_state);
    for (uint32_t i = 0; i < x->s->n_seq; i++) {
        if (x->s->seq[i].state_in == slot)
            return hostile_violation(x->err, "state slot %u is read and written", slot);
        for (uint32_t j = 0; output_slot(&x->s->seq[i], j, &other, &at); j++) {
            const bool is_same_state = i == i_seq && at == position;
            if (other == slot && !is_same_state)
                return hostile_violation(x->err, "state slot %u is written twice", slot);
        }
    }
    return LLRT_OK;
}

static llrt_status check_states(const hostile_run *x)
{
    uint32_t slot, position;
    if (!has_states(x)) return LLRT_OK;
    for (uint32_t i = 0; i < x->s->n_seq; i++) {
        const llrt_step_seq *const q = &x->s->seq[i];
        const uint32_t end = (uint32_t)q->pos_begin + q->n_row;
        HOSTILE_TRY(check_state_in(x, i));
        if (q->state_at && q->n_page < (end + LLRT_PAGE_TOK - 1) / LLRT_PAGE_TOK)
            return hostile_violation(x->err, "sequence %u: %u pages for %u positions", i, q->n_page,
                                     end);
        for (uint32_t j = 0; output_slot(q, j, &slot, &position); j++)
            HOSTILE_TRY(check_output_slot(x, i, j));
    }
    return LLRT_OK;
}

/* What is in the slots that the step writes is lost at its beginning, and again when it fails. */
static void poison_states(const hostile_run *x)
{
    uint32_t slot, position;
    for (uint32_t i = 0; i < x->s->n_seq && has_states(x); i++)
        for (uint32_t j = 0; output_slot(&x->s->seq[i], j, &slot, &position); j++) {
            if (slot == LLRT_NONE) continue;
            hostile_poison(hostile_state_of(x->r, slot, 0), x->m->state_floats * sizeof(float));
            for (uint32_t k = 0; k < x->m->n_state; k++)
                x->r->state_position[slot * x->m->n_state + k] = HOSTILE_STATE_POISON;
        }
}

static void mark_states(const hostile_run *x, const llrt_step_seq *q)
{
    uint32_t slot, position;
    for (uint32_t i = 0; i < x->p->n_op; i++) {
        if (!has_state(&x->p->op[i])) continue;
        const uint32_t state = state_of(&x->p->op[i]);
        for (uint32_t j = 0; output_slot(q, j, &slot, &position); j++)
            if (slot != LLRT_NONE)
                x->r->state_position[slot * x->m->n_state + state] = (int32_t)position;
    }
}

/* ---- Everything ---- */

static llrt_status check_adapters(const hostile_run *x, uint32_t i_seq)
{
    const llrt_step_seq *const q = &x->s->seq[i_seq];
    if (q->n_adapter && (!q->adapter || !q->adapter_scale))
        return hostile_violation(x->err, "sequence %u: adapters are missing", i_seq);
    for (uint32_t i = 0; i < q->n_adapter; i++) {
        if (q->adapter[i] >= x->r->limits.n_adapter)
            return hostile_violation(x->err, "sequence %u: adapter slot %u of %u", i_seq,
                                     q->adapter[i], x->r->limits.n_adapter);
        for (uint32_t j = 0; j < i; j++)
            if (q->adapter[j] == q->adapter[i])
                return hostile_violation(x->err, "sequence %u: adapter slot %u twice", i_seq,
                                         q->adapter[i]);
    }
    return LLRT_OK;
}

/* What a program with such an operator asks of a sequence. */
static llrt_status check_mask(const hostile_run *x, uint32_t i_seq)
{
    const llrt_step_seq *const q = &x->s->seq[i_seq];
    if (q->flags & ~(llrt_seq_flags)LLRT_SEQ_BIDIRECTIONAL)
        return hostile_violation(x->err, "sequence %u: flags %u", i_seq, q->flags);
    for (uint32_t i = 0; i < x->p->n_op; i++)
        if (is_attention(&x->p->op[i]) && x->p->op[i].u.attention.mask == LLRT_MASK_FULL &&
            q->pos_begin != 0)
            return hostile_fail(x->err, LLRT_ERR_ARGUMENT,
                                "sequence %u: a whole sequence begins at position 0, not %d", i_seq,
                                q->pos_begin);
    return LLRT_OK;
}

static llrt_status check_types(const hostile_run *x, const llrt_op *op)
{
    const uint64_t n_type = x->m->tensor[op->weight[0]].n_row;
    for (uint32_t t = 0; x->s->token_type && t < x->s->n_row; t++)
        if (x->s->token_type[t] >= n_type)
            return hostile_violation(x->err, "token type %u of %llu in row %u", x->s->token_type[t],
                                     (unsigned long long)n_type, t);
    return LLRT_OK;
}

static llrt_status check_tokens(const hostile_run *x)
{
    const llrt_step_desc *const s = x->s;
    for (uint32_t i = 0; i < x->p->n_op; i++) {
        const llrt_op *const op = &x->p->op[i];
        if (op->kind == LLRT_OP_TOKEN_TYPE) HOSTILE_TRY(check_types(x, op));
        if (op->kind != LLRT_OP_EMBED) continue;
        if (!s->token) return hostile_violation(x->err, "no tokens");
        const uint64_t n_vocab = x->m->tensor[op->weight[0]].n_row;
        for (uint32_t t = 0; t < s->n_row; t++)
            if (s->token[t] < -1 || (s->token[t] >= 0 && (uint64_t)s->token[t] >= n_vocab))
                return hostile_violation(x->err, "token %d of %llu in row %u", s->token[t],
                                         (unsigned long long)n_vocab, t);
        if (embedded_rows(s) && !s->embedding)
            return hostile_violation(x->err, "rows of embeddings, but no embeddings");
    }
    return LLRT_OK;
}

static llrt_status check_borrowed(const hostile_run *x)
{
    const llrt_step_desc *const s = x->s;
    uint32_t row = 0;
    for (uint32_t i = 0; i < s->n_seq; i++) {
        const llrt_step_seq *const q = &s->seq[i];
        if (q->row_begin != row || q->n_row == 0 || q->n_row > s->n_row - row)
            return hostile_violation(x->err, "sequence %u: rows %u + %u of %u", i, q->row_begin,
                                     q->n_row, s->n_row);
        if (q->pos_begin < 0 || q->n_row > (uint32_t)(INT32_MAX - q->pos_begin))
            return hostile_violation(x->err, "sequence %u: position %d", i, q->pos_begin);
        row += q->n_row;
        HOSTILE_TRY(check_mask(x, i));
        for (uint32_t g = 0; g < LLRT_KV_GROUP_COUNT; g++) HOSTILE_TRY(check_table(x, i, g));
        HOSTILE_TRY(check_adapters(x, i));
    }
    if (row != s->n_row) return hostile_violation(x->err, "%u of %u rows covered", row, s->n_row);
    for (uint32_t i = 0; i < s->n_seq; i++) HOSTILE_TRY(check_history(x, i));
    HOSTILE_TRY(check_states(x));
    for (uint32_t i = 0; i < s->n_out; i++)
        if (s->out_row[i] >= s->n_row || (i && s->out_row[i] <= s->out_row[i - 1]))
            return hostile_violation(x->err, "wanted row %u is %u", i, s->out_row[i]);
    return check_tokens(x);
}

/* ---- Execution ---- */

static llrt_status run_program(const hostile_run *x)
{
    for (uint32_t i = 0; i < x->p->n_input; i++) {
        const uint32_t value = x->p->input[i];
        memcpy(hostile_value(x->r, x->s->program, value), x->s->input[i],
               x->s->n_row * hostile_width(&x->p->value[value]) * sizeof(float));
    }
    for (uint32_t i = 0; i < x->p->n_op; i++) {
        const llrt_status status =
            hostile_is_cancelled(x) ? LLRT_ERR_CANCELLED : hostile_op_run(x, &x->p->op[i]);
        if (status == LLRT_ERR_CANCELLED)
            return hostile_fail(x->err, status, "the step was cancelled");
        if (status < 0) return status;
    }
    return LLRT_OK;
}

llrt_status hostile_step_run(hostile_runtime *r, llrt_error *err)
{
    const hostile_run x = {r, r->model, &r->model->program[r->step.program].p, &r->step, err};
    hostile_poison(r->memory[HOSTILE_SCRATCH].base, r->memory[HOSTILE_SCRATCH].size);
    HOSTILE_TRY(check_borrowed(&x));
    for (uint32_t i = 0; i < x.s->n_seq; i++) clear_positions(&x, &x.s->seq[i]);
    poison_states(&x);
    const llrt_status status = run_program(&x);
    if (status < 0) {
        poison_states(&x);
        return status;
    }
    for (uint32_t i = 0; i < x.s->n_seq; i++) {
        mark_positions(&x, &x.s->seq[i]);
        mark_states(&x, &x.s->seq[i]);
    }
    return LLRT_OK;
}

/* ---- Selection ---- */

static llrt_status check_ids(const int32_t *token, const void *other, uint32_t n, size_t n_vocab,
                             llrt_error *err)
{
    if (n && (!token || !other))
        return hostile_violation(err, "a list of a select entry is missing");
    for (uint32_t i = 0; i < n; i++)
        if (token[i] < 0 || (size_t)token[i] >= n_vocab)
            return hostile_violation(err, "id %d of %zu in a select entry", token[i], n_vocab);
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t j = 0; j < i; j++)
            if (token[i] == token[j])
                return hostile_violation(err, "id %d twice in a select entry", token[i]);
    return LLRT_OK;
}

/* Better: the larger logit, then the smaller id. */
static bool is_better(const float *logit, uint32_t a, uint32_t b)
{
    return logit[a] > logit[b] || (logit[a] == logit[b] && a < b);
}

/* Keeps the worst of the heap's n ids on top. */
static void sift(const float *logit, uint32_t *heap, uint32_t n, uint32_t at)
{
    for (;;) {
        uint32_t worst = at;
        for (uint32_t child = 2 * at + 1; child <= 2 * at + 2 && child < n; child++)
            if (is_better(logit, heap[worst], heap[child])) worst = child;
        if (worst == at) return;
        const uint32_t id = heap[at];
        heap[at] = heap[worst];
        heap[worst] = id;
        at = worst;
    }
}

static void pick_best(const float *logit, size_t n_vocab, uint32_t *heap, uint32_t n_best,
                      llrt_select_result *result)
{
    uint32_t n = 0;
    for (uint32_t id = 0; id < n_vocab; id++) {
        if (logit[id] == -INFINITY) continue; /* excluded */
        if (n < n_best) {
            heap[n++] = id;
            if (n == n_best)
                for (uint32_t i = n; i-- > 0;) sift(logit, heap, n, i);
        } else if (is_better(logit, id, heap[0])) {
            heap[0] = id;
            sift(logit, heap, n, 0);
        }
    }
    for (uint32_t i = n; i-- > 0;) sift(logit, heap, n, i);
    result->n = n;
    for (uint32_t left = n; left-- > 0;) {
        result->token[left] = (int32_t)heap[0];
        result->logit[left] = logit[heap[0]];
        heap[0] = heap[left];
        sift(logit, heap, left, 0);
    }
}

static llrt_status select_one(hostile_runtime *r, const llrt_select *e, llrt_select_result *result,
                              llrt_error *err)
{
    const llrt_program *const p = &r->model->program[r->step.program].p;
    const size_t n = hostile_width(&p->value[p->logits]);
    if (e->out_row >= r->step.n_out || e->n_best < 1 || e->n_best > LLRT_SELECT_MAX)
        return hostile_violation(err, "select: row %u of %u, %u candidates", e->out_row,
                                 r->step.n_out, e->n_best);
    if (!result->token || !result->logit) return hostile_violation(err, "select: no room");
    HOSTILE_TRY(check_ids(e->bias_token, e->bias, e->n_bias, n, err));
    HOSTILE_TRY(check_ids(e->penalty_token, e->penalty_count, e->n_penalty, n, err));
    HOSTILE_TRY(check_ids(e->subtract_token, e->subtract, e->n_subtract, n, err));
    for (uint32_t i = 1; i < e->n_bias; i++)
        if (e->bias_token[i] < e->bias_token[i - 1])
            return hostile_violation(err, "select: ids of the bias don't ascend");
    float *const logit = hostile_temporary(r, 0);
    memcpy(logit, hostile_value(r, r->step.program, p->logits) + e->out_row * n, n * sizeof *logit);
    for (size_t i = 0; i < n; i++) logit[i] = hostile_clean(logit[i]);
    result->raw_log_sum_exp = hostile_log_sum_exp(logit, n);
    for (uint32_t i = 0; i < e->n_bias; i++) {
        float *const l = &logit[e->bias_token[i]];
        *l = hostile_clean(*l + e->bias[i]);
    }
    for (uint32_t i = 0; i < e->n_penalty; i++) {
        float *const l = &logit[e->penalty_token[i]];
        const float scaled = hostile_clean(*l > 0 ? *l / e->repetition : *l * e->repetition);
        *l = hostile_clean(scaled - (e->frequency * (float)e->penalty_count[i] + e->presence));
    }
    for (uint32_t i = 0; i < e->n_subtract; i++) {
        float *const l = &logit[e->subtract_token[i]];
        *l = hostile_clean(*l - e->subtract[i]);
    }
    for (size_t i = 0; e->allowed && i < n; i++)
        if (!(e->allowed[i / 32] >> (i % 32) & 1)) logit[i] = -INFINITY;
    result->log_sum_exp = hostile_log_sum_exp(logit, n);
    uint32_t *const heap = (uint32_t *)(void *)(r->memory[HOSTILE_SCRATCH].base + r->pick_at);
    pick_best(logit, n, heap, e->n_best < n ? e->n_best : (uint32_t)n, result);
    return LLRT_OK;
}

llrt_status hostile_step_select(hostile_runtime *r, llrt_error *err)
{
    if (r->step.n_select && r->model->program[r->step.program].p.logits == LLRT_NONE)
        return hostile_violation(err, "select in a program without logits");
    for (uint32_t i = 0; i < r->step.n_select; i++)
        HOSTILE_TRY(select_one(r, &r->step.select[i], &r->step.result[i], err));
    return LLRT_OK;
}
