/* SPDX-License-Identifier: MIT */
/*
 * The kernels of attention.def against ref: every KV kind, widths around the lanes and odd ones, numbers of queries around the
 * blocks, every shape of visible range (whole, causal, window, empty, random), with and without soft cap and slopes, with V
 * of its own or as the beginning of K. Positions that
 * no query sees are NaN in the tile, so that a kernel that lets one in is found.
 */
#include <stdio.h>
#include <string.h>

#include "checkkern.h"
#include "ops.h"

typedef struct tile_shape {
    uint32_t k_dim, v_dim, v_in_k;
} tile_shape;

static const tile_shape shapes[] = {{1, 1, 0},    {16, 16, 0},   {24, 40, 0},  {31, 33, 0},
                                    {64, 64, 0},  {80, 80, 0},   {72, 128, 0}, {128, 128, 0},
                                    {1, 1, 1},    {16, 16, 1},   {40, 7, 1},   {33, 31, 1},
                                    {100, 53, 1}, {129, 128, 1}, {576, 512, 1}};
static const uint32_t queries[] = {1, 2, 3, 4, 5, 6, 7, 8, 13, 32, 64};
enum { RANGE_WHOLE, RANGE_CAUSAL, RANGE_WINDOW, RANGE_RANDOM, RANGE_SHORT, N_RANGE };

typedef struct tile_case {
    int kind; /* LLRTI_KV_... */
    llrti_attention_tile_fn *run, *ref;
} tile_case;

typedef struct tile_data {
    llrti_attention_tile t;
    float slope[LLRTI_ATTENTION_MAX_QUERY];
    int32_t distance[LLRTI_ATTENTION_MAX_QUERY];
    float *q, *max[2], *sum[2], *out[2], *score, *work;
    uint8_t begin[LLRTI_ATTENTION_MAX_QUERY], end[LLRTI_ATTENTION_MAX_QUERY];
} tile_data;

static void make_ranges(check_run *run, tile_data *d, uint32_t n_query, int range)
{
    for (uint32_t i = 0; i < n_query; i++) {
        const uint32_t a = check_random(run) % 65, b = check_random(run) % 65;
        const uint32_t row = i * 64 / n_query;
        switch (range) {
        case RANGE_WHOLE:
            d->begin[i] = 0, d->end[i] = 64;
            break;
        case RANGE_CAUSAL:
            d->begin[i] = 0, d->end[i] = (uint8_t)(row + 1);
            break;
        case RANGE_WINDOW:
            d->begin[i] = (uint8_t)(row > 20 ? row - 20 : 0), d->end[i] = (uint8_t)(row + 1);
            break;
        case RANGE_SHORT:
            d->begin[i] = 0, d->end[i] = 5;
            break;
        default:
            d->begin[i] = (uint8_t)a, d->end[i] = (uint8_t)b;
            break; /* a third or so empty */
        }
    }
}

static bool is_seen(const tile_data *d, uint32_t n_query, uint32_t j)
{
    for (uint32_t i = 0; i < n_query; i++)
        if (d->begin[i] <= j && j < d->end[i]) return true;
    return false;
}

/* Stores random K and V at the positions that are seen; the rest stays as check_alloc left it, which is NaN. */
static void fill_tile(check_run *run, tile_data *d, int kind, int pattern)
{
    llrti_ops ref;
    llrti_ops_init(&ref, LLRTI_ISA_REF);
    const llrti_attention_tile *const t = &d->t;
    const size_t widest = t->k_dim > t->v_dim ? t->k_dim : t->v_dim;
    float *const row = check_alloc(run, widest * sizeof *row, 0);
    for (uint32_t j = 0; j < LLRT_PAGE_TOK; j++) {
        if (!is_seen(d, t->n_query, j)) continue;
        check_fill(run, pattern, row, t->k_dim);
        ref.kv_store_k[kind](row, t->k_dim, 1, t->k_dim, j, t->kv.k, t->kv.k_scale);
        if (t->v_in_k) continue;
        check_fill(run, pattern, row, t->v_dim);
        ref.kv_store_v[kind](row, t->v_dim, 1, t->v_dim, j, t->kv.v, t->kv.v_scale);
    }
    check_free(run, row);
}

static tile_data *make_tile(check_run *run, const tile_case *c, const tile_shape *shape,
                            uint32_t n_query, int range, int pattern)
{
    static const size_t element[LLRTI_KV_COUNT] = {4, 2, 2, 1};
    const uint32_t k_dim = shape->k_dim, v_dim = shape->v_dim;
    const size_t bytes = element[c->kind], n_stored = shape->v_in_k ? 0 : v_dim,
                 widest = k_dim > v_dim ? k_dim : v_dim;
    tile_data *const d = check_alloc(run, sizeof *d, 0);
    memset(d, 0, sizeof *d);
    make_ranges(run, d, n_query, range);
    for (uint32_t i = 0; i < n_query; i++) {
        d->slope[i] = check_random(run) % 8 ? check_uniform(run, 0, 0.5f) : 0;
        /* also so far away that not every distance is a float */
        d->distance[i] = (int32_t)(check_random(run) % 4 ? i : i + (check_random(run) >> 2));
        if (check_random(run) % 2) d->distance[i] = -d->distance[i];
    }
    d->q = check_alloc(run, (size_t)n_query * k_dim * sizeof(float), 4);
    d->score = check_alloc(run, (size_t)n_query * 64 * sizeof(float), 0);
    d->work = check_alloc(run, 64 * widest * sizeof(float), 0);
    for (int i = 0; i < 2; i++) {
        d->max[i] = check_alloc(run, n_query * sizeof(float), 12);
        d->sum[i] = check_alloc(run, n_query * sizeof(float), 8);
        d->out[i] = check_alloc(run, (size_t)n_query * v_dim * sizeof(float), 4);
    }
    check_fill(run, pattern, d->q, (size_t)n_query * k_dim);
    d->t = (llrti_attention_tile){
        .kv = {check_alloc(run, 64 * k_dim * bytes, 0),
               check_alloc(run, (k_dim + 31) / 32 * 64 * sizeof(uint16_t), 0),
               check_alloc(run, 64 * n_stored * bytes, 0),
               check_alloc(run, 64 * ((n_stored + 31) / 32) * sizeof(uint16_t), 0)},
        .k_dim = k_dim,
        .v_dim = v_dim,
        .v_in_k = shape->v_in_k,
        .n_query = n_query,
        .scale = 0.125f,
        .soft_cap = check_random(run) % 2 ? 30.0f : 0.0f,
        .q = d->q,
        .slope = check_random(run) % 2 ? d->slope : NULL,
        .distance = d->distance,
        .begin = d->begin,
        .end = d->end,
        .max = d->max[0],
        .sum = d->sum[0],
        .out = d->out[0],
        .score = d->score,
        .work = d->work};
    fill_tile(run, d, c->kind, pattern);
    return d;
}

static void free_tile(check_run *run, tile_data *d)
{
    check_free(run, d->t.kv.k);
    check_free(run, d->t.kv.k_scale);
    check_free(run, d->t.kv.v);
    check_free(run, d->t.kv.v_scale);
    check_free(run, d->q);
    check_free(run, d->score);
    check_free(run, d->work);
    for (int i = 0; i < 2; i++) {
        check_free(run, d->max[i]);
        check_free(run, d->sum[i]);
        check_free(run, d->out[i]);
    }
    check_free(run, d);
}

static void compare(check_run *run, const tile_case *c, tile_data *d)
{
    c->ref(&d->t);
    llrti_attention_tile t = d->t;
    t.max = d->max[1];
    t.sum = d->sum[1];
    t.out = d->out[1];
    c->run(&t);
    for (uint32_t i = 0; i < t.n_query; i++) {
        if (d->begin[i] >= d->end[i]) continue;
        check_same(run, d->max[0] + i, d->max[1] + i, 1, "max");
        check_same(run, d->sum[0] + i, d->sum[1] + i, 1, "sum");
        check_same(run, d->out[0] + (size_t)i * t.v_dim, d->out[1] + (size_t)i * t.v_dim, t.v_dim,
                   "out");
    }
}

typedef struct bench {
    const tile_case *c;
    const tile_data *d;
} bench;

static void call_bench(void *ctx)
{
    const bench *const b = ctx;
    b->c->run(&b->d->t);
}

static void run_bench(check_run *run, const tile_case *c)
{
    static const uint32_t counts[] = {1, 4, 8, 64};
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        char shape[64];
        for (size_t k = 0; k < 2; k++) {
            static const tile_shape form[] = {{128, 128, 0}, {576, 512, 1}};
            const uint32_t k_dim = form[k].k_dim, v_dim = form[k].v_dim;
            tile_data *const d =
                make_tile(run, c, &form[k], counts[i], RANGE_WHOLE, CHECK_FILL_RANDOM);
            d->t.soft_cap = 0;
            d->t.slope = NULL;
            bench b = {c, d};
            snprintf(shape, sizeof shape, "%u queries, 64x%u%s", counts[i], k_dim,
                     k ? ", V in K" : "");
            check_bench(run, shape, 2.0 * 64 * (k_dim + v_dim) * counts[i], "flop", call_bench, &b);
            free_tile(run, d);
        }
    }
}

static void check_tile(check_run *run, const void *ctx)
{
    const tile_case *const c = ctx;
    if (run->is_bench) {
        run_bench(run, c);
        return;
    }
    for (size_t s = 0; s < sizeof shapes / sizeof shapes[0]; s++)
        for (size_t n = 0; n < sizeof queries / sizeof queries[0]; n++)
            for (int range = 0; range < N_RANGE; range++) {
                const int pattern = (int)((s + n + (size_t)range) % CHECK_N_FILL);
                tile_data *const d = make_tile(run, c, &shapes[s], queries[n], range, pattern);
                compare(run, c, d);
                free_tile(run, d);
            }
}

static void check_merge(check_run *run, const void *ctx)
{
    llrti_attention_merge_fn *const kernel = *(llrti_attention_merge_fn *const *)ctx;
    static const size_t dims[] = {1, 15, 16, 17, 64, 80, 101, 128};
    for (size_t i = 0; i < sizeof dims / sizeof dims[0]; i++)
        for (int pattern = 0; pattern < CHECK_N_FILL; pattern++) {
            const size_t size = dims[i] * sizeof(float);
            float *const out = check_alloc(run, size, 4);
            float *const a = check_alloc(run, size, 8), *const b = check_alloc(run, size, 12);
            float state[2][2], tile[2];
            check_fill(run, pattern, out, dims[i]);
            check_fill(run, CHECK_FILL_RANDOM, a, dims[i]);
            memcpy(b, a, size);
            check_fill(run, pattern, tile, 2);
            check_fill(run, CHECK_FILL_RANDOM, state[0], 2);
            memcpy(state[1], state[0], sizeof state[0]);
            llrtk_attention_merge_f32_ref(dims[i], tile[0], tile[1], out, &state[0][0],
                                          &state[0][1], a);
            kernel(dims[i], tile[0], tile[1], out, &state[1][0], &state[1][1], b);
            check_same(run, a, b, dims[i], "acc");
            check_same(run, state[0], state[1], 2, "max and sum");
            check_free(run, out);
            check_free(run, a);
            check_free(run, b);
        }
}

static int kind_of(const char *slot)
{
    static const char *const names[LLRTI_KV_COUNT] = {"KV_F32", "KV_F16", "KV_BF16", "KV_Q8_0"};
    for (int i = 0; i < LLRTI_KV_COUNT; i++)
        if (strstr(slot, names[i])) return i;
    return 0;
}

static void check_attention_tile(check_run *run, const char *name, uint32_t isa, const char *slot,
                                 llrti_attention_tile_fn *kernel)
{
    llrti_ops ref;
    llrti_ops_init(&ref, LLRTI_ISA_REF);
    const tile_case c = {kind_of(slot), kernel, ref.attention_tile[kind_of(slot)]};
    check_kernel(run, name, isa, check_tile, &c);
}

static void check_attention_merge(check_run *run, const char *name, uint32_t isa, const char *slot,
                                  llrti_attention_merge_fn *kernel)
{
    if (!run->is_bench) check_kernel(run, name, isa, check_merge, &kernel);
}

void check_attention(check_run *run)
{
#define X(type, slot, symbol, isa, is_exact)                                                       \
    check_##type(run, #symbol, LLRTI_ISA_##isa, #slot, symbol);
#include "attention.def"
#undef X
}
