/* SPDX-License-Identifier: MIT */
/*
 * Attention tiles in 16 lanes.
 *
 * A lane of the scores is a position, a lane of the output an element of V, so both products are plain chains of
 * fused multiply-adds in the order of the definition, without a horizontal sum. Queries are taken in blocks of 6, 4, 2, 1,
 * which share every load of K and V; a block holds SIMD_GROUPS vectors of sums per query in registers, enough to
 * hide the latency of the multiply-add.
 *
 *   few queries (decode)    K and V are widened in registers as they are read: each byte is read once
 *   more (prefill)          a tile that is not float32 is widened into `work` first, K and then V
 *
 * Where V is the beginning of K, its lanes lie across those of K: it is transposed into `work`, once for all queries.
 *
 * Positions a query does not see get the weight 0 in `score`, so that the sum of weights can run over whole
 * vectors; products with V skip them: those that all queries of a block see are done together, what one sees
 * before or after them alone. Lanes of unseen positions hold garbage, which never leaves its lane.
 * A file for one ISA includes its simd_<isa>.h and this.
 */
#include <assert.h>

#include "ops.h"
#include "simd_math.h"

#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#elif defined(__GNUC__)
#define UNROLL _Pragma("GCC unroll 16")
#else
#define UNROLL
#endif
#if defined(__GNUC__)
#define INLINE static inline __attribute__((always_inline))
#else
#define INLINE static __forceinline
#endif

enum { MAX_BLOCK = 6, MAX_GROUPS = 4 };

/*
 * Up to how many queries a tile is widened while it is read, once per block of queries. Measured with 64 x 128 on a Sapphire
 * Rapids core: widening a tile into `work` costs 0.8 us (Q8_0: 1.3), widening it again for a block 0.1 us (Q8_0: 0.6).
 */
enum { ON_THE_FLY_16 = 32, ON_THE_FLY_Q8_0 = 12 };

/* A block of queries: the rows of each. */
typedef struct block {
    const float *q[MAX_BLOCK];
    float *p[MAX_BLOCK]; /* 64 scores, then weights */
    float *out[MAX_BLOCK];
    int begin[MAX_BLOCK], end[MAX_BLOCK];
} block;

/* Where K or V of a tile is read: its own memory, or the widened copy in `work`. */
typedef struct source {
    const void *data;
    const uint16_t *scale;
} source;

/* 16 elements from `index` on, not scaled. */
INLINE v16 load_16(int kind, const void *data, size_t index)
{
    switch (kind) {
    case LLRTI_KV_F32:
        return v_load((const float *)data + index);
    case LLRTI_KV_F16:
        return v_load_f16((const uint16_t *)data + index);
    case LLRTI_KV_BF16:
        return v_load_bf16((const uint16_t *)data + index);
    default:
        return v_load_i8((const int8_t *)data + index);
    }
}

static inline float load_1(int kind, const source *from, size_t index, size_t scale_index)
{
    switch (kind) {
    case LLRTI_KV_F32:
        return ((const float *)from->data)[index];
    case LLRTI_KV_F16:
        return llrti_f16_to_float(((const uint16_t *)from->data)[index]);
    case LLRTI_KV_BF16:
        return llrti_bf16_to_float(((const uint16_t *)from->data)[index]);
    default:
        return llrti_f16_to_float(from->scale[scale_index]) *
               (float)((const int8_t *)from->data)[index];
    }
}

INLINE size_t element_bytes(int kind)
{
    return kind == LLRTI_KV_F32 ? 4 : kind == LLRTI_KV_Q8_0 ? 1 : 2;
}

/* ---- Scores ---- */

/* p[j] of n_query queries for n_group * 16 positions from j on. */
INLINE void score_block(int kind, int n_query, int n_group, const source *k, size_t k_dim,
                        const block *b, size_t j)
{
    v16 sum[MAX_BLOCK][MAX_GROUPS], scale[MAX_GROUPS];
    UNROLL
    for (int i = 0; i < n_query; i++) {
        UNROLL
        for (int g = 0; g < n_group; g++) sum[i][g] = v_set(0);
    }
    for (size_t d0 = 0; d0 < k_dim; d0 += LLRTI_KV_BLOCK) {
        const size_t d1 = k_dim - d0 < LLRTI_KV_BLOCK ? k_dim : d0 + LLRTI_KV_BLOCK;
        if (kind == LLRTI_KV_Q8_0) {
            UNROLL
            for (int g = 0; g < n_group; g++)
                scale[g] =
                    v_load_f16(k->scale + d0 / LLRTI_KV_BLOCK * LLRT_PAGE_TOK + j + (size_t)g * 16);
        }
        for (size_t d = d0; d < d1; d++) {
            UNROLL
            for (int g = 0; g < n_group; g++) {
                v16 x = load_16(kind, k->data, d * LLRT_PAGE_TOK + j + (size_t)g * 16);
                if (kind == LLRTI_KV_Q8_0) x = v_mul(scale[g], x);
                UNROLL
                for (int i = 0; i < n_query; i++)
                    sum[i][g] = v_fma(v_set(b->q[i][d]), x, sum[i][g]);
            }
        }
    }
    UNROLL
    for (int i = 0; i < n_query; i++) {
        UNROLL
        for (int g = 0; g < n_group; g++) v_store(b->p[i] + j + (size_t)g * 16, sum[i][g]);
    }
}

INLINE void score_queries(int kind, int n_query, const source *k, size_t k_dim, const block *b)
{
    int begin = LLRT_PAGE_TOK, end = 0;
    for (int i = 0; i < n_query; i++) {
        begin = b->begin[i] < begin ? b->begin[i] : begin;
        end = b->end[i] > end ? b->end[i] : end;
    }
    int g = begin / 16;
    const int last = (end + 15) / 16;
    for (; g + SIMD_GROUPS(n_query) <= last; g += SIMD_GROUPS(n_query))
        score_block(kind, n_query, SIMD_GROUPS(n_query), k, k_dim, b, (size_t)g * 16);
    for (; g < last; g++) score_block(kind, n_query, 1, k, k_dim, b, (size_t)g * 16);
}

/* ---- Weights ---- */

/* Scores to weights, zeros where nothing is seen; returns the largest score and the sum of the weights. */
static inline void weigh(const llrti_attention_tile *tile, uint32_t query, float *max, float *sum)
{
    float *const p = tile->score + (size_t)query * LLRT_PAGE_TOK;
    const int begin = tile->begin[query], end = tile->end[query];
    v16 largest = v_set(-INFINITY), lane = v_set(0);
    for (int g = begin / 16; g * 16 < end; g++) {
        v16 s = v_mul(v_load(p + g * 16), v_set(tile->scale));
        if (tile->soft_cap != 0)
            s = v_mul(v_set(tile->soft_cap), v_tanh(v_div(s, v_set(tile->soft_cap))));
        if (tile->slope) {
            float far[16];
            for (int j = 0; j < 16; j++) far[j] = (float)(tile->distance[query] + g * 16 + j);
            s = v_fma(v_set(tile->slope[query]), v_load(far), s);
        }
        s = v_select(m_range(begin - g * 16, end - g * 16), s, v_set(-INFINITY));
        largest = v_max(s, largest);
        v_store(p + g * 16, s);
    }
    float m = v_largest(largest);
    if (m == 0) /* the definition keeps the first of equal scores, and zeros have two signs */
        for (int j = end - 1; j >= begin; j--) m = p[j] == 0 ? p[j] : m;
    for (int g = begin / 16; g * 16 < end; g++) {
        const v16 e = v_exp(v_sub(v_load(p + g * 16), v_set(m)));
        const v16 seen = v_select(m_range(begin - g * 16, end - g * 16), e, v_set(0));
        lane = v_add(lane, seen);
        v_store(p + g * 16, seen);
    }
    *max = m;
    *sum = v_sum(lane);
}

/* ---- Values ---- */

/* out[e .. e + 16 n_group) of n_query queries, continued with positions [begin, end). */
INLINE void value_block(int kind, int n_query, int n_group, const source *v, size_t v_dim,
                        const block *b, int begin, int end, size_t e)
{
    v16 sum[MAX_BLOCK][MAX_GROUPS], scale = v_set(0);
    const size_t n_scale = (v_dim + LLRTI_KV_BLOCK - 1) / LLRTI_KV_BLOCK;
    UNROLL
    for (int i = 0; i < n_query; i++) {
        UNROLL
        for (int g = 0; g < n_group; g++) sum[i][g] = v_load(b->out[i] + e + (size_t)g * 16);
    }
    for (size_t j = (size_t)begin; j < (size_t)end; j++) {
        UNROLL
        for (int g = 0; g < n_group; g++) {
            const size_t at = e + (size_t)g * 16;
            v16 x = load_16(kind, v->data, j * v_dim + at);
            if (kind == LLRTI_KV_Q8_0) { /* several groups start at a whole block: two to a scale */
                if (g % 2 == 0)
                    scale = v_set(f16_widen(v->scale[j * n_scale + at / LLRTI_KV_BLOCK]));
                x = v_mul(scale, x);
            }
            UNROLL
            for (int i = 0; i < n_query; i++) sum[i][g] = v_fma(v_set(b->p[i][j]), x, sum[i][g]);
        }
    }
    UNROLL
    for (int i = 0; i < n_query; i++) {
        UNROLL
        for (int g = 0; g < n_group; g++) v_store(b->out[i] + e + (size_t)g * 16, sum[i][g]);
    }
}

INLINE void value_range(int kind, int n_query, const source *v, size_t v_dim, const block *b,
                        int begin, int end)
{
    const size_t n_scale = (v_dim + LLRTI_KV_BLOCK - 1) / LLRTI_KV_BLOCK;
    const size_t many = SIMD_GROUPS(n_query) * 16;
    if (begin >= end) return;
    size_t e = 0;
    for (; e + many <= v_dim; e += many)
        value_block(kind, n_query, SIMD_GROUPS(n_query), v, v_dim, b, begin, end, e);
    for (; e + 16 <= v_dim; e += 16) value_block(kind, n_query, 1, v, v_dim, b, begin, end, e);
    for (; e < v_dim; e++)
        for (int i = 0; i < n_query; i++) {
            float sum = b->out[i][e];
            for (size_t j = (size_t)begin; j < (size_t)end; j++)
                sum = fmaf(b->p[i][j],
                           load_1(kind, v, j * v_dim + e, j * n_scale + e / LLRTI_KV_BLOCK), sum);
            b->out[i][e] = sum;
        }
}

INLINE void value_queries(int kind, int n_query, const source *v, size_t v_dim, const block *b)
{
    int begin = 0, end = LLRT_PAGE_TOK; /* seen by all */
    for (int i = 0; i < n_query; i++) {
        begin = b->begin[i] > begin ? b->begin[i] : begin;
        end = b->end[i] < end ? b->end[i] : end;
        for (size_t e = 0; e < v_dim; e++) b->out[i][e] = 0;
    }
    if (begin > end) begin = end;
    for (int i = 0; n_query > 1 && i < n_query; i++) {
        const block one = {.p = {b->p[i]}, .out = {b->out[i]}};
        value_range(kind, 1, v, v_dim, &one, b->begin[i], begin < b->end[i] ? begin : b->end[i]);
    }
    value_range(kind, n_query, v, v_dim, b, begin, end);
    for (int i = 0; n_query > 1 && i < n_query; i++) {
        const block one = {.p = {b->p[i]}, .out = {b->out[i]}};
        value_range(kind, 1, v, v_dim, &one, end > b->begin[i] ? end : b->begin[i], b->end[i]);
    }
}

/* ---- Tiles ---- */

/* Calls of score_queries and value_queries with constant sizes; `n` is 6, 4, 2 or 1. */
#define DEFINE_BLOCKS(kind, number)                                                                \
    static void score_##kind(int n, const source *k, size_t k_dim, const block *b)                 \
    {                                                                                              \
        if (n == 6)                                                                                \
            score_queries(number, 6, k, k_dim, b);                                                 \
        else if (n == 4)                                                                           \
            score_queries(number, 4, k, k_dim, b);                                                 \
        else if (n == 2)                                                                           \
            score_queries(number, 2, k, k_dim, b);                                                 \
        else                                                                                       \
            score_queries(number, 1, k, k_dim, b);                                                 \
    }                                                                                              \
    static void value_##kind(int n, const source *v, size_t v_dim, const block *b)                 \
    {                                                                                              \
        if (n == 6)                                                                                \
            value_queries(number, 6, v, v_dim, b);                                                 \
        else if (n == 4)                                                                           \
            value_queries(number, 4, v, v_dim, b);                                                 \
        else if (n == 2)                                                                           \
            value_queries(number, 2, v, v_dim, b);                                                 \
        else                                                                                       \
            value_queries(number, 1, v, v_dim, b);                                                 \
    }

DEFINE_BLOCKS(f32, LLRTI_KV_F32)
DEFINE_BLOCKS(f16, LLRTI_KV_F16)
DEFINE_BLOCKS(bf16, LLRTI_KV_BF16)
DEFINE_BLOCKS(q8_0, LLRTI_KV_Q8_0)

typedef void block_fn(int n, const source *from, size_t dim, const block *b);

/* Runs fn over the queries that see anything, in blocks. */
static void run_blocks(const llrti_attention_tile *tile, block_fn *fn, const source *from,
                       size_t dim)
{
    uint8_t active[LLRTI_ATTENTION_MAX_QUERY];
    int n_active = 0;
    for (uint32_t i = 0; i < tile->n_query; i++)
        if (tile->begin[i] < tile->end[i]) active[n_active++] = (uint8_t)i;
    for (int at = 0, n; at < n_active; at += n) {
        const int left = n_active - at;
        n = left >= 6 ? 6 : left >= 4 ? 4 : left >= 2 ? 2 : 1;
        block b;
        for (int i = 0; i < n; i++) {
            const size_t query = active[at + i];
            b.q[i] = tile->q + query * tile->k_dim;
            b.p[i] = tile->score + query * LLRT_PAGE_TOK;
            b.out[i] = tile->out + query * tile->v_dim;
            b.begin[i] = tile->begin[query];
            b.end[i] = tile->end[query];
        }
        fn(n, from, dim, &b);
    }
}

/* Widens K, [k_dim][64], to float32. */
INLINE void widen_k(int kind, const source *k, size_t k_dim, float *to)
{
    for (size_t d = 0; d < k_dim; d++) {
        const size_t block_row = d / LLRTI_KV_BLOCK * LLRT_PAGE_TOK;
        for (size_t j = 0; j < LLRT_PAGE_TOK; j += 16) {
            v16 x = load_16(kind, k->data, d * LLRT_PAGE_TOK + j);
            if (kind == LLRTI_KV_Q8_0) x = v_mul(v_load_f16(k->scale + block_row + j), x);
            v_store(to + d * LLRT_PAGE_TOK + j, x);
        }
    }
}

/* Widens V, [64][v_dim], to float32: rows [begin, end). */
INLINE void widen_v(int kind, const source *v, size_t v_dim, size_t begin, size_t end, float *to)
{
    const size_t n_scale = (v_dim + LLRTI_KV_BLOCK - 1) / LLRTI_KV_BLOCK;
    for (size_t j = begin; j < end; j++) {
        size_t e = 0;
        for (; e + 16 <= v_dim; e += 16) {
            v16 x = load_16(kind, v->data, j * v_dim + e);
            if (kind == LLRTI_KV_Q8_0)
                x = v_mul(v_set(f16_widen(v->scale[j * n_scale + e / LLRTI_KV_BLOCK])), x);
            v_store(to + j * v_dim + e, x);
        }
        for (; e < v_dim; e++)
            to[j * v_dim + e] = load_1(kind, v, j * v_dim + e, j * n_scale + e / LLRTI_KV_BLOCK);
    }
}

/*
 * V from K, [k_dim][64], to float32 rows [64][v_dim]: positions [begin, end), and whole groups of eight around them. 16 elements
 * are widened at a time, then turned in squares of 8.
 */
INLINE void turn_v(int kind, const source *k, size_t v_dim, size_t begin, size_t end, float *to)
{
    float strip[16 * LLRT_PAGE_TOK];
    for (size_t e0 = 0; e0 < v_dim; e0 += 16) {
        const size_t n = v_dim - e0 < 16 ? v_dim - e0 : 16;
        const source from = {(const char *)k->data + e0 * LLRT_PAGE_TOK * element_bytes(kind),
                             k->scale + e0 / LLRTI_KV_BLOCK * LLRT_PAGE_TOK};
        widen_k(kind, &from, n, strip);
        for (size_t j = begin / 8 * 8; j < end; j += 8) {
            size_t e = 0;
            for (; e + 8 <= n; e += 8)
                turn_8x8(strip + e * LLRT_PAGE_TOK + j, LLRT_PAGE_TOK, to + j * v_dim + e0 + e,
                         v_dim);
            for (; e < n; e++)
                for (size_t i = 0; i < 8; i++)
                    to[(j + i) * v_dim + e0 + e] = strip[e * LLRT_PAGE_TOK + j + i];
        }
    }
}

INLINE void run_tile(const llrti_attention_tile *tile, int kind, block_fn *score, block_fn *value)
{
    assert(tile->n_query <= LLRTI_ATTENTION_MAX_QUERY);
    const source k = {tile->kv.k, tile->kv.k_scale}, v = {tile->kv.v, tile->kv.v_scale};
    const source work = {tile->work, NULL};
    const uint32_t on_the_fly = kind == LLRTI_KV_Q8_0 ? ON_THE_FLY_Q8_0 : ON_THE_FLY_16;
    const int is_widened = kind != LLRTI_KV_F32 && tile->n_query > on_the_fly;
    uint32_t begin = LLRT_PAGE_TOK, end = 0;
    for (uint32_t i = 0; i < tile->n_query; i++) {
        if (tile->begin[i] >= tile->end[i]) continue;
        begin = tile->begin[i] < begin ? tile->begin[i] : begin;
        end = tile->end[i] > end ? tile->end[i] : end;
    }
    if (begin >= end) return;
    if (is_widened) {
        widen_k(kind, &k, tile->k_dim, tile->work);
        run_blocks(tile, score_f32, &work, tile->k_dim);
    } else {
        run_blocks(tile, score, &k, tile->k_dim);
    }
    for (uint32_t i = 0; i < tile->n_query; i++)
        if (tile->begin[i] < tile->end[i]) weigh(tile, i, &tile->max[i], &tile->sum[i]);
    if (tile->v_in_k) {
        turn_v(kind, &k, tile->v_dim, begin, end, tile->work);
        run_blocks(tile, value_f32, &work, tile->v_dim);
    } else if (is_widened) {
        widen_v(kind, &v, tile->v_dim, begin, end, tile->work);
        run_blocks(tile, value_f32, &work, tile->v_dim);
    } else {
        run_blocks(tile, value, &v, tile->v_dim);
    }
}

#define TILE(kind, number)                                                                         \
    void KERNEL(attention_tile_f32_##kind##_f32)(const llrti_attention_tile *tile)                 \
    {                                                                                              \
        run_tile(tile, number, score_##kind, value_##kind);                                        \
    }

TILE(f32, LLRTI_KV_F32)
TILE(f16, LLRTI_KV_F16)
TILE(bf16, LLRTI_KV_BF16)
TILE(q8_0, LLRTI_KV_Q8_0)

void KERNEL(attention_merge_f32)(size_t v_dim, float max, float sum, const float *out,
                                 float *acc_max, float *acc_sum, float *acc)
{
    const float m = max > *acc_max ? max : *acc_max;
    const float a = llrti_math_exp(*acc_max - m), b = llrti_math_exp(max - m);
    *acc_sum = fmaf(*acc_sum, a, sum * b);
    size_t e = 0;
    for (; e + 16 <= v_dim; e += 16)
        v_store(acc + e, v_fma(v_load(acc + e), v_set(a), v_mul(v_load(out + e), v_set(b))));
    for (; e < v_dim; e++) acc[e] = fmaf(acc[e], a, out[e] * b);
    *acc_max = m;
}
