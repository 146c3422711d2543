/* SPDX-License-Identifier: MIT */
/*
 * Copying pages and turning them into the canonical layout and back. One walk over slots, tokens and heads
 * serves reading and writing; bytes move unchanged, so a page that is written out and taken in has the same bits.
 */
#include "cpu_pages.h"

#include <string.h>

#include "alloc.h"
#include "compiler.h"
#include "error.h"

enum { Q8_0_BYTES = 2 + LLRTI_KV_BLOCK };

static size_t canonical_head(uint32_t kv_kind, size_t dim)
{
    if (kv_kind == LLRTI_KV_Q8_0) return (dim + LLRTI_KV_BLOCK - 1) / LLRTI_KV_BLOCK * Q8_0_BYTES;
    return dim * llrti_cpu_kv_element(kv_kind);
}

static size_t canonical_bytes(const llrti_cpu_model *m, uint32_t group, uint32_t n_tok)
{
    size_t sum = 0;
    for (uint32_t i = 0; i < m->n_kv; i++) {
        const llrt_kv_desc *const d = &m->kv[i].desc;
        if (d->group != group) continue;
        size_t head = canonical_head(m->kv_kind, d->k_dim);
        if (!d->v_in_k) head += canonical_head(m->kv_kind, d->v_dim);
        sum += n_tok * d->n_head * head;
    }
    return sum;
}

static llrt_status check_page(const llrti_cpu_runtime *rt, uint32_t group, uint32_t page,
                              uint32_t n_tok, llrt_error *err)
{
    if (rt->is_in_flight) return llrti_fail(err, LLRT_ERR_STATE, "a step is in flight");
    if (group >= LLRT_KV_GROUP_COUNT)
        return llrti_fail(err, LLRT_ERR_ARGUMENT, "page group %u, expected one below %d", group,
                          LLRT_KV_GROUP_COUNT);
    if (page >= rt->limits.n_page[group] || n_tok > LLRT_PAGE_TOK)
        return llrti_fail(
            err, LLRT_ERR_ARGUMENT,
            "%u positions of page %u of group %u, expected at most %d of a page below %u", n_tok,
            page, group, LLRT_PAGE_TOK, rt->limits.n_page[group]);
    return LLRT_OK;
}

static void copy_tile(uint32_t kv_kind, const llrti_cpu_kv *kv, const llrti_kv_tile *to,
                      const llrti_kv_tile *from, uint32_t n_tok)
{
    const size_t element = llrti_cpu_kv_element(kv_kind);
    const size_t k_block = (kv->v - kv->k_scale) / (LLRT_PAGE_TOK * 2),
                 v_scale_bytes = kv->tile_bytes - kv->v_scale;
    for (size_t d = 0; d < kv->desc.k_dim; d++)
        memcpy((char *)to->k + d * LLRT_PAGE_TOK * element,
               (const char *)from->k + d * LLRT_PAGE_TOK * element, n_tok * element);
    for (size_t d = 0; d < k_block; d++)
        memcpy((char *)to->k_scale + d * LLRT_PAGE_TOK * 2,
               (const char *)from->k_scale + d * LLRT_PAGE_TOK * 2, n_tok * 2);
    if (kv->desc.v_in_k) return;
    memcpy(to->v, from->v, n_tok * kv->desc.v_dim * element);
    memcpy(to->v_scale, from->v_scale, v_scale_bytes / LLRT_PAGE_TOK * n_tok);
}

llrt_status llrti_cpu_pages_copy(llrti_cpu_runtime *rt, uint32_t group, uint32_t to, uint32_t from,
                                 uint32_t n_tok, llrt_error *err)
{
    const llrti_cpu_model *const m = rt->model;
    LLRTI_TRY(check_page(rt, group, to, n_tok, err));
    LLRTI_TRY(check_page(rt, group, from, n_tok, err));
    const size_t bytes = m->page_bytes[group];
    if (to == from || bytes == 0) return LLRT_OK;
    if (n_tok == LLRT_PAGE_TOK) {
        char *const pages = rt->kv + rt->layout.group[group];
        memcpy(pages + to * bytes, pages + from * bytes, bytes);
        return LLRT_OK;
    }
    for (uint32_t i = 0; i < m->n_kv; i++) {
        const llrti_cpu_kv *const kv = &m->kv[i];
        if (kv->desc.group != group) continue;
        for (uint32_t head = 0; head < kv->desc.n_head; head++) {
            const llrti_kv_tile a = llrti_cpu_runtime_tile(rt, kv, from, head);
            const llrti_kv_tile b = llrti_cpu_runtime_tile(rt, kv, to, head);
            copy_tile(m->kv_kind, kv, &b, &a, n_tok);
        }
    }
    return LLRT_OK;
}

static void move(void *page, void *canonical, size_t n, bool is_write)
{
    if (is_write)
        memcpy(page, canonical, n);
    else
        memcpy(canonical, page, n);
}

/* One token's elements of one head: element e is at data + e * stride, the scale of block b at scale + b * scale_stride. */
static char *move_head(uint32_t kv_kind, size_t dim, char *data, size_t stride, char *scale,
                       size_t scale_stride, char *at, bool is_write)
{
    const size_t element = llrti_cpu_kv_element(kv_kind);
    if (kv_kind != LLRTI_KV_Q8_0) {
        for (size_t e = 0; e < dim; e++)
            move(data + e * stride, at + e * element, element, is_write);
        return at + dim * element;
    }
    for (size_t e = 0; e < dim; e += LLRTI_KV_BLOCK, at += Q8_0_BYTES) {
        const size_t n = LLRTI_MIN(dim - e, (size_t)LLRTI_KV_BLOCK);
        move(scale + e / LLRTI_KV_BLOCK * scale_stride, at, 2, is_write);
        for (size_t i = 0; i < n; i++) move(data + (e + i) * stride, at + 2 + i, 1, is_write);
        if (!is_write) memset(at + 2 + n, 0, LLRTI_KV_BLOCK - n);
    }
    return at;
}

static void move_page(const llrti_cpu_runtime *rt, uint32_t group, uint32_t page, uint32_t n_tok,
                      char *at, bool is_write)
{
    const llrti_cpu_model *const m = rt->model;
    const size_t element = llrti_cpu_kv_element(m->kv_kind);
    for (uint32_t i = 0; i < m->n_kv; i++) {
        const llrti_cpu_kv *const kv = &m->kv[i];
        const llrt_kv_desc *const d = &kv->desc;
        const size_t v_block = (d->v_dim + LLRTI_KV_BLOCK - 1) / LLRTI_KV_BLOCK;
        if (d->group != group) continue;
        for (size_t t = 0; t < n_tok; t++)
            for (uint32_t head = 0; head < d->n_head; head++) {
                const llrti_kv_tile tile = llrti_cpu_runtime_tile(rt, kv, page, head);
                at = move_head(m->kv_kind, d->k_dim, (char *)tile.k + t * element,
                               LLRT_PAGE_TOK * element, (char *)tile.k_scale + t * 2,
                               LLRT_PAGE_TOK * 2, at, is_write);
            }
        if (d->v_in_k) continue;
        for (size_t t = 0; t < n_tok; t++)
            for (uint32_t head = 0; head < d->n_head; head++) {
                const llrti_kv_tile tile = llrti_cpu_runtime_tile(rt, kv, page, head);
                at = move_head(m->kv_kind, d->v_dim, (char *)tile.v + t * d->v_dim * element,
                               element, (char *)tile.v_scale + t * v_block * 2, 2, at, is_write);
            }
    }
}

static llrt_status check_buffer(const llrti_cpu_runtime *rt, uint32_t group, uint32_t n_tok,
                                const void *buffer, size_t size, llrt_error *err)
{
    const size_t expected = canonical_bytes(rt->model, group, n_tok);
    if (size == expected && (buffer || !size)) return LLRT_OK;
    return llrti_fail(err, LLRT_ERR_ARGUMENT,
                      "a buffer of %zu bytes for %u positions of group %u, expected %zu", size,
                      n_tok, group, expected);
}

llrt_status llrti_cpu_pages_read(llrti_cpu_runtime *rt, uint32_t group, uint32_t page,
                                 uint32_t n_tok, void *to, size_t size, llrt_error *err)
{
    LLRTI_TRY(check_page(rt, group, page, n_tok, err));
    LLRTI_TRY(check_buffer(rt, group, n_tok, to, size, err));
    if (size) move_page(rt, group, page, n_tok, to, false);
    return LLRT_OK;
}

llrt_status llrti_cpu_pages_write(llrti_cpu_runtime *rt, uint32_t group, uint32_t page,
                                  uint32_t n_tok, const void *from, size_t size, llrt_error *err)
{
    void *source;
    LLRTI_TRY(check_page(rt, group, page, n_tok, err));
    LLRTI_TRY(check_buffer(rt, group, n_tok, from, size, err));
    memcpy(&source, &from, sizeof source); /* only read: is_write */
    if (size) move_page(rt, group, page, n_tok, source, true);
    return LLRT_OK;
}
