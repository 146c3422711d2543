/* SPDX-License-Identifier: MIT */
/*
 * Reference kernels of attention: one tile of LLRT_PAGE_TOK positions for several queries, and the merge of two tiles.
 * The operations and their order are those that ops.h states; positions a query does not see are never touched.
 */
#include <assert.h>

#include "cpu_math.h"
#include "ops.h"

typedef float load_fn(const void *data, const void *scale, size_t index, size_t scale_index);

static float load_f32(const void *data, const void *scale, size_t index, size_t scale_index)
{
    return ((const float *)data)[index];
}

static float load_f16(const void *data, const void *scale, size_t index, size_t scale_index)
{
    return llrti_f16_to_float(((const uint16_t *)data)[index]);
}

static float load_bf16(const void *data, const void *scale, size_t index, size_t scale_index)
{
    return llrti_bf16_to_float(((const uint16_t *)data)[index]);
}

static float load_q8_0(const void *data, const void *scale, size_t index, size_t scale_index)
{
    const float d = llrti_f16_to_float(((const uint16_t *)scale)[scale_index]);
    return d * (float)((const int8_t *)data)[index];
}

/* Scores of one query: p[j] for begin <= j < end. */
static void score(const llrti_attention_tile *tile, uint32_t query, load_fn *load, float *p)
{
    const float *const q = tile->q + (size_t)query * tile->k_dim;
    for (size_t j = tile->begin[query]; j < tile->end[query]; j++) p[j] = 0;
    for (size_t d = 0; d < tile->k_dim; d++)
        for (size_t j = tile->begin[query]; j < tile->end[query]; j++) {
            const float k = load(tile->kv.k, tile->kv.k_scale, d * LLRT_PAGE_TOK + j,
                                 d / LLRTI_KV_BLOCK * LLRT_PAGE_TOK + j);
            p[j] = fmaf(q[d], k, p[j]);
        }
    for (size_t j = tile->begin[query]; j < tile->end[query]; j++) {
        p[j] *= tile->scale;
        if (tile->soft_cap != 0) p[j] = tile->soft_cap * llrti_math_tanh(p[j] / tile->soft_cap);
        if (tile->slope)
            p[j] = fmaf(tile->slope[query], (float)(tile->distance[query] + (int32_t)j), p[j]);
    }
}

static float load_value(const llrti_attention_tile *tile, load_fn *load, size_t j, size_t e)
{
    const size_t block = e / LLRTI_KV_BLOCK;
    const size_t n_block = (tile->v_dim + LLRTI_KV_BLOCK - 1) / LLRTI_KV_BLOCK;
    if (tile->v_in_k)
        return load(tile->kv.k, tile->kv.k_scale, e * LLRT_PAGE_TOK + j, block * LLRT_PAGE_TOK + j);
    return load(tile->kv.v, tile->kv.v_scale, j * tile->v_dim + e, j * n_block + block);
}

static void attend(const llrti_attention_tile *tile, uint32_t query, load_fn *load)
{
    const size_t begin = tile->begin[query], end = tile->end[query], v_dim = tile->v_dim;
    float *const p = tile->score + (size_t)query * LLRT_PAGE_TOK;
    float *const out = tile->out + query * v_dim;
    score(tile, query, load, p);

    float max = p[begin];
    for (size_t j = begin + 1; j < end; j++) max = p[j] > max ? p[j] : max;
    float lane[16] = {0};
    for (size_t j = begin; j < end; j++) {
        p[j] = llrti_math_exp(p[j] - max);
        lane[j % 16] += p[j];
    }
    tile->max[query] = max;
    tile->sum[query] = llrti_math_sum16(lane);

    for (size_t e = 0; e < v_dim; e++) out[e] = 0;
    for (size_t j = begin; j < end; j++)
        for (size_t e = 0; e < v_dim; e++)
            out[e] = fmaf(p[j], load_value(tile, load, j, e), out[e]);
}

#define TILE(kind)                                                                                 \
    void llrtk_attention_tile_f32_##kind##_f32_ref(const llrti_attention_tile *tile)               \
    {                                                                                              \
        assert(tile->n_query <= LLRTI_ATTENTION_MAX_QUERY);                                        \
        for (uint32_t i = 0; i < tile->n_query; i++)                                               \
            if (tile->begin[i] < tile->end[i]) attend(tile, i, load_##kind);                       \
    }

TILE(f32)
TILE(f16)
TILE(bf16)
TILE(q8_0)

void llrtk_attention_merge_f32_ref(size_t v_dim, float max, float sum, const float *out,
                                   float *acc_max, float *acc_sum, float *acc)
{
    const float m = max > *acc_max ? max : *acc_max;
    const float a = llrti_math_exp(*acc_max - m), b = llrti_math_exp(max - m);
    *acc_sum = fmaf(*acc_sum, a, sum * b);
    for (size_t e = 0; e < v_dim; e++) acc[e] = fmaf(acc[e], a, out[e] * b);
    *acc_max = m;
}
