/* SPDX-License-Identifier: MIT */
/*
 * What the hostile test backend keeps from one step to the next, and the calls that touch it
 * between steps: pages, state slots, adapters, sums of squares.
 *
 * A position of a page counts as written per slot, because two programs may fill different slots of
 * one page; a page can be read or copied where any slot has been written, as its other slots may
 * belong to a program that never ran. Everything is checked before anything is changed.
 */
#include "hostile.h"

#include <string.h>

/* ---- Pages ---- */

static uint64_t first_bits(uint32_t n)
{
    return n >= 64 ? ~(uint64_t)0 : ((uint64_t)1 << n) - 1;
}

static llrt_status check_page(const hostile_runtime *r, uint32_t group, uint32_t page,
                              uint32_t n_tok, llrt_error *err)
{
    if (group >= LLRT_KV_GROUP_COUNT)
        return hostile_violation(err, "page group %u of %d", group, LLRT_KV_GROUP_COUNT);
    if (page >= r->limits.n_page[group])
        return hostile_violation(err, "page %u of %u", page, r->limits.n_page[group]);
    if (n_tok > LLRT_PAGE_TOK) return hostile_violation(err, "%u positions of a page", n_tok);
    return LLRT_OK;
}

static llrt_status check_source(const hostile_runtime *r, uint32_t group, uint32_t page,
                                uint32_t n_tok, llrt_error *err)
{
    const hostile_model *const m = r->model;
    HOSTILE_TRY(check_page(r, group, page, n_tok, err));
    uint64_t written = m->n_slot[group] ? 0 : ~(uint64_t)0;
    for (uint32_t i = 0; i < m->n_kv; i++)
        if (m->kv[i].group == group) written |= *hostile_written(r, page, i);
    if ((written & first_bits(n_tok)) != first_bits(n_tok))
        return hostile_violation(err, "page %u: not all of its first %u positions are written",
                                 page, n_tok);
    return LLRT_OK;
}

static void copy_page(hostile_runtime *r, uint32_t group, uint32_t to, uint32_t from,
                      uint32_t n_tok)
{
    const hostile_model *const m = r->model;
    hostile_region *const region = &r->memory[HOSTILE_PAGES + group];
    hostile_region_open(region);
    if (region->size)
        hostile_poison(region->base + to * m->page_bytes[group], m->page_bytes[group]);
    for (uint32_t i = 0; i < m->n_kv; i++) {
        if (m->kv[i].group != group) continue;
        const size_t k = hostile_k_bytes(m, i), v = hostile_v_bytes(m, i);
        memcpy(hostile_page(r, to, i), hostile_page(r, from, i), n_tok * k);
        memcpy(hostile_page(r, to, i) + LLRT_PAGE_TOK * k,
               hostile_page(r, from, i) + LLRT_PAGE_TOK * k, n_tok * v);
        *hostile_written(r, to, i) = *hostile_written(r, from, i) & first_bits(n_tok);
    }
    hostile_region_close(region);
}

llrt_status hostile_page_copy(void *handle, uint32_t group, uint32_t to, uint32_t from,
                              uint32_t n_tok, llrt_error *err)
{
    hostile_runtime *const r = hostile_enter_between(handle, err);
    if (!r) return LLRT_ERR_INTERNAL;
    llrt_status status = check_source(r, group, from, n_tok, err);
    if (status == LLRT_OK) status = check_page(r, group, to, n_tok, err);
    if (status == LLRT_OK && to == from) status = hostile_violation(err, "page_copy onto itself");
    if (status == LLRT_OK) copy_page(r, group, to, from, n_tok);
    hostile_leave(r);
    return status;
}

static size_t canonical_size(const hostile_model *m, uint32_t group, uint32_t n_tok)
{
    size_t size = 0;
    for (uint32_t i = 0; i < m->n_kv; i++)
        if (m->kv[i].group == group)
            size += n_tok * (hostile_k_bytes(m, i) + hostile_v_bytes(m, i));
    return size;
}

/* Moves the canonical form between a page and host memory; one of `out`, `in` is NULL. */
static void move_page(hostile_runtime *r, uint32_t group, uint32_t page, uint32_t n_tok,
                      unsigned char *out, const unsigned char *in)
{
    const hostile_model *const m = r->model;
    hostile_region *const region = &r->memory[HOSTILE_PAGES + group];
    size_t at = 0;
    hostile_region_open(region);
    if (in && region->size)
        hostile_poison(region->base + page * m->page_bytes[group], m->page_bytes[group]);
    for (uint32_t i = 0; i < 2 * m->n_kv; i++) { /* keys, then values of each slot */
        const uint32_t kv = i / 2;
        if (m->kv[kv].group != group) continue;
        const size_t k = hostile_k_bytes(m, kv);
        const size_t n = n_tok * (i % 2 ? hostile_v_bytes(m, kv) : k);
        unsigned char *const p = hostile_page(r, page, kv) + (i % 2 ? LLRT_PAGE_TOK * k : 0);
        if (out && n) memcpy(out + at, p, n);
        if (in && n) memcpy(p, in + at, n);
        if (in) *hostile_written(r, page, kv) = first_bits(n_tok);
        at += n;
    }
    hostile_region_close(region);
}

llrt_status hostile_page_read(void *handle, uint32_t group, uint32_t page, uint32_t n_tok, void *to,
                              size_t size, llrt_error *err)
{
    hostile_runtime *const r = hostile_enter_between(handle, err);
    if (!r) return LLRT_ERR_INTERNAL;
    llrt_status status = check_source(r, group, page, n_tok, err);
    if (status == LLRT_OK && size < canonical_size(r->model, group, n_tok))
        status = hostile_violation(err, "page_read of %u positions into %zu bytes", n_tok, size);
    if (status == LLRT_OK) move_page(r, group, page, n_tok, to, NULL);
    hostile_leave(r);
    return status;
}

llrt_status hostile_page_write(void *handle, uint32_t group, uint32_t page, uint32_t n_tok,
                               const void *from, size_t size, llrt_error *err)
{
    hostile_runtime *const r = hostile_enter_between(handle, err);
    if (!r) return LLRT_ERR_INTERNAL;
    llrt_status status = check_page(r, group, page, n_tok, err);
    if (status == LLRT_OK && size != canonical_size(r->model, group, n_tok))
        status = hostile_violation(err, "page_write of %u positions from %zu bytes", n_tok, size);
    if (status == LLRT_OK) move_page(r, group, page, n_tok, NULL, from);
    hostile_leave(r);
    return status;
}

/* ---- States ---- */

static llrt_status check_slot(const hostile_runtime *r, uint32_t slot, size_t n, llrt_error *err)
{
    if (slot >= r->limits.n_state)
        return hostile_violation(err, "state slot %u of %u", slot, r->limits.n_state);
    if (n != r->model->state_floats)
        return hostile_violation(err, "%zu numbers of a state slot, which has %zu", n,
                                 r->model->state_floats);
    return LLRT_OK;
}

/*
 * Slots are moved whole; which of their states a program has written is left to the reader's step.
 */
llrt_status hostile_state_read(void *handle, uint32_t slot, float *to, size_t n, llrt_error *err)
{
    hostile_runtime *const r = hostile_enter_between(handle, err);
    if (!r) return LLRT_ERR_INTERNAL;
    llrt_status status = check_slot(r, slot, n, err);
    bool is_written = r->model->n_state == 0;
    for (uint32_t i = 0; status == LLRT_OK && i < r->model->n_state; i++)
        is_written |= r->state_position[slot * r->model->n_state + i] != HOSTILE_STATE_POISON;
    if (status == LLRT_OK && !is_written)
        status = hostile_violation(err, "state slot %u was not written", slot);
    if (status == LLRT_OK && n) {
        hostile_region_open(&r->memory[HOSTILE_STATES]);
        memcpy(to, hostile_state_of(r, slot, 0), n * sizeof *to);
        hostile_region_close(&r->memory[HOSTILE_STATES]);
    }
    hostile_leave(r);
    return status;
}

llrt_status hostile_state_write(void *handle, uint32_t slot, const float *from, size_t n,
                                llrt_error *err)
{
    hostile_runtime *const r = hostile_enter_between(handle, err);
    if (!r) return LLRT_ERR_INTERNAL;
    const llrt_status status = check_slot(r, slot, n, err);
    if (status == LLRT_OK && n) {
        hostile_region_open(&r->memory[HOSTILE_STATES]);
        memcpy(hostile_state_of(r, slot, 0), from, n * sizeof *from);
        hostile_region_close(&r->memory[HOSTILE_STATES]);
        for (uint32_t i = 0; i < r->model->n_state; i++)
            r->state_position[slot * r->model->n_state + i] = HOSTILE_STATE_ANY;
    }
    hostile_leave(r);
    return status;
}

/* ---- Adapters ---- */

static llrt_status check_parts(const hostile_runtime *r, uint32_t slot,
                               const llrt_adapter_part *part, uint32_t n_part, llrt_error *err)
{
    const hostile_model *const m = r->model;
    if (slot >= r->limits.n_adapter)
        return hostile_violation(err, "adapter slot %u of %u", slot, r->limits.n_adapter);
    if (n_part && !part) return hostile_violation(err, "adapter parts are missing");
    for (uint32_t i = 0; i < n_part; i++) {
        const uint32_t t = part[i].tensor;
        if (t >= m->n_tensor || !m->tensor[t].is_adaptable)
            return hostile_violation(err, "adapter part %u: tensor %u is no linear's", i, t);
        if (part[i].rank < 1 || part[i].rank > r->limits.adapter_rank)
            return hostile_violation(err, "adapter part %u: rank %u, at most %u", i, part[i].rank,
                                     r->limits.adapter_rank);
        if (!part[i].a || !part[i].b)
            return hostile_violation(err, "adapter part %u has no factors", i);
        for (uint32_t j = 0; j < i; j++)
            if (part[j].tensor == t)
                return hostile_violation(err, "adapter part %u: tensor %u comes twice", i, t);
    }
    return LLRT_OK;
}

llrt_status hostile_adapter_put(void *handle, uint32_t slot, const llrt_adapter_part *part,
                                uint32_t n_part, llrt_error *err)
{
    hostile_runtime *const r = hostile_enter_between(handle, err);
    if (!r) return LLRT_ERR_INTERNAL;
    const hostile_model *const m = r->model;
    const llrt_status status = check_parts(r, slot, part, n_part, err);
    if (status == LLRT_OK) {
        uint32_t *const rank = r->adapter_rank + (size_t)slot * m->n_tensor;
        hostile_region *const region = &r->memory[HOSTILE_ADAPTERS];
        const size_t slot_bytes = m->adapter_floats * r->limits.adapter_rank * sizeof(float);
        hostile_region_open(region);
        if (slot_bytes) hostile_poison(region->base + slot * slot_bytes, slot_bytes);
        memset(rank, 0, m->n_tensor * sizeof *rank);
        for (uint32_t i = 0; i < n_part; i++) {
            const llrt_tensor_desc *const d = &m->tensor[part[i].tensor].desc;
            const size_t n_a = (size_t)d->dim[0] * part[i].rank;
            float *const to = hostile_adapter_of(r, slot, part[i].tensor);
            memcpy(to, part[i].a, n_a * sizeof *to);
            memcpy(to + n_a, part[i].b, (size_t)d->dim[1] * part[i].rank * sizeof *to);
            rank[part[i].tensor] = part[i].rank;
        }
        hostile_region_close(region);
    }
    hostile_leave(r);
    return status;
}

/* ---- Sums of squares ---- */

llrt_status hostile_squares_read(void *handle, uint32_t tensor, double *sum, uint64_t *count,
                                 llrt_error *err)
{
    hostile_runtime *const r = hostile_enter_between(handle, err);
    if (!r) return LLRT_ERR_INTERNAL;
    const hostile_model *const m = r->model;
    llrt_status status = LLRT_OK;
    if (!r->limits.with_squares)
        status = hostile_violation(err, "squares_read without with_squares");
    else if (tensor >= m->n_tensor || !m->tensor[tensor].is_measured)
        status = hostile_violation(err, "squares_read: tensor %u is no linear's", tensor);
    if (status == LLRT_OK) {
        const llrt_tensor_desc *const d = &m->tensor[tensor].desc;
        hostile_region_open(&r->memory[HOSTILE_SQUARES]);
        memcpy(sum, hostile_squares(r, tensor), (size_t)(d->dim[0] * d->dim[2]) * sizeof *sum);
        memcpy(count, hostile_counts(r, tensor), (size_t)d->dim[2] * sizeof *count);
        hostile_region_close(&r->memory[HOSTILE_SQUARES]);
    }
    hostile_leave(r);
    return status;
}

void hostile_squares_reset(void *handle)
{
    hostile_runtime *const r = hostile_enter_between(handle, NULL);
    if (!r) return;
    hostile_region *const region = &r->memory[HOSTILE_SQUARES];
    hostile_region_open(region);
    if (region->size) memset(region->base, 0, region->size);
    hostile_region_close(region);
    hostile_leave(r);
}
