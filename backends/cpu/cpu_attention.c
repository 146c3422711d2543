/* SPDX-License-Identifier: MIT */
/*
 * Attention over paged KV.
 *
 * The queries of one sequence and one KV head, flattened as row * group + head of the group, are cut into blocks of
 * up to LLRTI_ATTENTION_MAX_QUERY. A block walks the tiles (pages) its queries see; each tile gives every query
 * (max, sum, out) from its own start, and the results are merged from the lowest tile on. Where the cuts lie changes nothing:
 * a query's results per tile do not depend on its neighbours, and the order of merging is fixed.
 *
 *   whole    a task per block merges tile after tile; when all of a sequence's queries fit one block the
 *            same task first writes K and V of its head (nobody else reads them)
 *   apart    when there are fewer blocks than workers could use (decoding with a long context), tiles are
 *            computed by a task each, in rounds that fill the slots, and merged in order after each round
 */
#include "cpu_attention.h"

#include <string.h>

#include "compiler.h"
#include "cpu_math.h"

enum { MAX_QUERY = LLRTI_ATTENTION_MAX_QUERY };

typedef struct attention_job {
    llrti_cpu_runtime *rt;
    const llrt_op *op;
    const llrti_cpu_kv *kv;
    const float *q, *k, *v;
    const float *sink, *slope; /* per query head, or NULL */
    float *out;
    uint32_t group; /* query heads per KV head */
    uint32_t n_block;
    bool is_fused; /* the block's task writes K and V */
    uint32_t round_begin,
        round_tiles; /* apart: each block's tiles of this round, counted from its first */
} attention_job;

/* A block of queries. */
typedef struct query_block {
    const llrt_step_seq *seq;
    uint32_t head;     /* KV head */
    uint32_t begin, n; /* flattened queries */
    uint32_t tile_begin, tile_end;
} query_block;

/* The positions that one of the sequence sees: [first_seen, end_seen), both ascending with it. */
static uint32_t first_seen(const attention_job *job, uint32_t position)
{
    const uint32_t window = job->op->u.attention.window;
    const uint32_t n_before = job->op->u.attention.mask == LLRT_MASK_FULL ? window / 2 : window - 1;
    return window && position > n_before ? position - n_before : 0;
}

static uint32_t end_seen(const attention_job *job, const llrt_step_seq *seq, uint32_t position)
{
    const uint32_t window = job->op->u.attention.window;
    const uint32_t end = (uint32_t)seq->pos_begin + seq->n_row;
    if (job->op->u.attention.mask == LLRT_MASK_FULL)
        return window && window / 2 < end - 1 - position ? position + window / 2 + 1 : end;
    return seq->flags & LLRT_SEQ_BIDIRECTIONAL ? end : position + 1;
}

/* The page with the tile's positions. */
static uint32_t find_page(const attention_job *job, const llrt_step_seq *seq, uint32_t tile)
{
    return seq->page[job->kv->desc.group][tile];
}

static uint32_t blocks_per_head(const attention_job *job, const llrt_step_seq *seq)
{
    const uint64_t n = (uint64_t)seq->n_row * job->group;
    return (uint32_t)((n + MAX_QUERY - 1) / MAX_QUERY);
}

/* Block `index` of all; seq_block holds the running sums. A sequence's last blocks, the longest, come first. */
static query_block find_block(const attention_job *job, uint32_t index)
{
    const llrti_cpu_runtime *const rt = job->rt;
    uint32_t low = 0, high = rt->step->n_seq;
    while (high - low > 1) {
        const uint32_t middle = (low + high) / 2;
        if (rt->seq_block[middle] <= index)
            low = middle;
        else
            high = middle;
    }
    query_block b;
    b.seq = &rt->step->seq[low];
    const uint32_t per_head = blocks_per_head(job, b.seq), local = index - rt->seq_block[low];
    const uint32_t n_head = job->kv->desc.n_head;
    b.head = local % n_head;
    b.begin = (per_head - 1 - local / n_head) * MAX_QUERY;
    b.n = LLRTI_MIN(b.seq->n_row * job->group - b.begin, (uint32_t)MAX_QUERY);
    const uint32_t first = (uint32_t)b.seq->pos_begin + b.begin / job->group;
    const uint32_t last = (uint32_t)b.seq->pos_begin + (b.begin + b.n - 1) / job->group;
    b.tile_begin = first_seen(job, first) / LLRT_PAGE_TOK;
    b.tile_end = (end_seen(job, b.seq, last) - 1) / LLRT_PAGE_TOK + 1;
    return b;
}

static void store_head(const attention_job *job, const llrt_step_seq *seq, uint32_t head)
{
    const llrti_cpu_runtime *const rt = job->rt;
    const llrti_ops *const ops = &rt->model->ops;
    const llrt_kv_desc *const d = &job->kv->desc;
    const uint32_t kind = rt->model->kv_kind;
    const size_t k_row = (size_t)d->n_head * d->k_dim, v_row = (size_t)d->n_head * d->v_dim;
    for (uint32_t i = 0; i < seq->n_row;) {
        const uint32_t position = (uint32_t)seq->pos_begin + i, at = position % LLRT_PAGE_TOK;
        const uint32_t n = LLRTI_MIN(LLRT_PAGE_TOK - at, seq->n_row - i);
        const llrti_kv_tile tile = llrti_cpu_runtime_tile(
            rt, job->kv, find_page(job, seq, position / LLRT_PAGE_TOK), head);
        const size_t row = (size_t)seq->row_begin + i;
        ops->kv_store_k[kind](job->k + row * k_row + (size_t)head * d->k_dim, k_row, n, d->k_dim,
                              at, tile.k, tile.k_scale);
        if (!d->v_in_k)
            ops->kv_store_v[kind](job->v + row * v_row + (size_t)head * d->v_dim, v_row, n,
                                  d->v_dim, at, tile.v, tile.v_scale);
        i += n;
    }
}

static void store_part(llrti_cpu_runtime *rt, const void *arg, size_t begin, size_t end,
                       uint32_t worker)
{
    const attention_job *const job = arg;
    for (size_t i = begin; i < end; i++) {
        const uint32_t n_head = job->kv->desc.n_head;
        store_head(job, &rt->step->seq[i / n_head], (uint32_t)(i % n_head));
    }
}

/* The block's queries one after the other. */
static void gather_queries(const attention_job *job, const query_block *b, float *q)
{
    const size_t k_dim = job->kv->desc.k_dim, row_width = k_dim * job->group * job->kv->desc.n_head;
    for (uint32_t i = 0; i < b->n; i++) {
        const uint32_t flat = b->begin + i;
        const size_t row = (size_t)b->seq->row_begin + flat / job->group;
        const size_t head = (size_t)b->head * job->group + flat % job->group;
        memcpy(q + i * k_dim, job->q + row * row_width + head * k_dim, k_dim * sizeof *q);
    }
}

/* What each query sees of a tile. */
static void find_ranges(const attention_job *job, const query_block *b, uint32_t tile,
                        uint8_t *begin, uint8_t *end)
{
    const uint32_t low = tile * LLRT_PAGE_TOK, high = low + LLRT_PAGE_TOK;
    for (uint32_t i = 0; i < b->n; i++) {
        const uint32_t position = (uint32_t)b->seq->pos_begin + (b->begin + i) / job->group;
        const uint32_t from = LLRTI_MAX(first_seen(job, position), low),
                       to = LLRTI_MIN(end_seen(job, b->seq, position), high);
        const bool is_seen = from < to;
        begin[i] = (uint8_t)(is_seen ? from - low : 0);
        end[i] = (uint8_t)(is_seen ? to - low : 0);
    }
}

/*
 * Results of a block's queries: of one tile, or merged so far. Sum 0 means that nothing was merged yet (a tile's
 * sum is at least 1, or NaN).
 */
typedef struct accumulators {
    float *max, *sum, *out;
} accumulators;

static void run_tile(const attention_job *job, const query_block *b, uint32_t tile,
                     const llrti_cpu_attention_area *area, const uint8_t *begin, const uint8_t *end,
                     const accumulators *to)
{
    const llrti_cpu_runtime *const rt = job->rt;
    float slope[MAX_QUERY];
    int32_t distance[MAX_QUERY];
    for (uint32_t i = 0; job->slope && i < b->n; i++) {
        const uint32_t flat = b->begin + i;
        slope[i] = job->slope[b->head * job->group + flat % job->group];
        distance[i] =
            (int32_t)(tile * LLRT_PAGE_TOK) - b->seq->pos_begin - (int32_t)(flat / job->group);
    }
    const llrti_attention_tile args = {
        .kv = llrti_cpu_runtime_tile(rt, job->kv, find_page(job, b->seq, tile), b->head),
        .k_dim = job->kv->desc.k_dim,
        .v_dim = job->kv->desc.v_dim,
        .v_in_k = job->kv->desc.v_in_k,
        .n_query = b->n,
        .slope = job->slope ? slope : NULL,
        .distance = distance,
        .scale = job->op->u.attention.scale,
        .soft_cap = job->op->u.attention.soft_cap,
        .q = area->q,
        .begin = begin,
        .end = end,
        .max = to->max,
        .sum = to->sum,
        .out = to->out,
        .score = area->score,
        .work = area->work,
    };
    rt->model->ops.attention_tile[rt->model->kv_kind](&args);
}

static void merge_tile(const attention_job *job, uint32_t n, const uint8_t *begin,
                       const uint8_t *end, const accumulators *tile, const accumulators *acc)
{
    const size_t v_dim = job->kv->desc.v_dim;
    for (uint32_t i = 0; i < n; i++) {
        if (begin[i] >= end[i]) continue;
        if (acc->sum[i] == 0) {
            acc->max[i] = tile->max[i];
            acc->sum[i] = tile->sum[i];
            memcpy(acc->out + i * v_dim, tile->out + i * v_dim, v_dim * sizeof *tile->out);
        } else {
            job->rt->model->ops.attention_merge(v_dim, tile->max[i], tile->sum[i],
                                                tile->out + i * v_dim, &acc->max[i], &acc->sum[i],
                                                acc->out + i * v_dim);
        }
    }
}

/* What a query's accumulated output is multiplied by at the end; the sink joins the sum here. */
static float find_factor(float max, float sum, const float *sink)
{
    if (!sink) return 1.0f / sum;
    const float m = *sink > max ? *sink : max;
    const float a = llrti_math_exp(max - m), b = llrti_math_exp(*sink - m);
    return a / fmaf(sum, a, b);
}

static void finish_block(const attention_job *job, const query_block *b, const accumulators *acc)
{
    const size_t v_dim = job->kv->desc.v_dim, row_width = v_dim * job->group * job->kv->desc.n_head;
    for (uint32_t i = 0; i < b->n; i++) {
        const uint32_t flat = b->begin + i;
        const size_t row = (size_t)b->seq->row_begin + flat / job->group;
        const size_t head = (size_t)b->head * job->group + flat % job->group;
        const float factor =
            find_factor(acc->max[i], acc->sum[i], job->sink ? &job->sink[head] : NULL);
        job->rt->model->ops.scale(v_dim, acc->out + i * v_dim, factor,
                                  job->out + row * row_width + head * v_dim);
    }
}

/* ---- Whole blocks --------------------------------------------------------------------------- */

static void run_block(void *arg, uint32_t task, uint32_t worker)
{
    const attention_job *const job = arg;
    const query_block b = find_block(job, task);
    const llrti_cpu_attention_area area = llrti_cpu_runtime_area(job->rt, worker);
    const accumulators acc = {area.acc_max, area.acc_sum, area.acc},
                       result = {area.max, area.sum, area.out};
    uint8_t begin[MAX_QUERY], end[MAX_QUERY];
    if (llrti_cpu_runtime_poll(job->rt)) return;
    if (job->is_fused) store_head(job, b.seq, b.head);
    gather_queries(job, &b, area.q);
    memset(acc.sum, 0, b.n * sizeof *acc.sum);
    for (uint32_t tile = b.tile_begin; tile < b.tile_end; tile++) {
        if (llrti_cpu_runtime_poll(job->rt)) return;
        find_ranges(job, &b, tile, begin, end);
        run_tile(job, &b, tile, &area, begin, end, &result);
        merge_tile(job, b.n, begin, end, &result, &acc);
    }
    finish_block(job, &b, &acc);
}

/* ---- Tiles apart ---------------------------------------------------------------------------- */

/* Slot i: out (MAX_QUERY, v_dim), max (MAX_QUERY), sum (MAX_QUERY). */
static accumulators find_slot(const llrti_cpu_runtime *rt, size_t i)
{
    float *const slot = (float *)(void *)(rt->scratch + rt->layout.slot +
                                          i * rt->layout.slot_floats * sizeof(float));
    float *const max = slot + (size_t)MAX_QUERY * rt->layout.v_dim;
    return (accumulators){max, max + MAX_QUERY, slot};
}

static void run_apart(void *arg, uint32_t task, uint32_t worker)
{
    const attention_job *const job = arg;
    const query_block b = find_block(job, task / job->round_tiles);
    const uint32_t tile = b.tile_begin + job->round_begin + task % job->round_tiles;
    if (tile >= b.tile_end || llrti_cpu_runtime_poll(job->rt)) return;
    const llrti_cpu_attention_area area = llrti_cpu_runtime_area(job->rt, worker);
    const accumulators slot = find_slot(job->rt, task);
    uint8_t begin[MAX_QUERY], end[MAX_QUERY];
    gather_queries(job, &b, area.q);
    find_ranges(job, &b, tile, begin, end);
    run_tile(job, &b, tile, &area, begin, end, &slot);
}

static void merge_apart(void *arg, uint32_t task, uint32_t worker)
{
    const attention_job *const job = arg;
    const query_block b = find_block(job, task);
    const accumulators acc = find_slot(job->rt, job->rt->layout.n_slot + task);
    uint8_t begin[MAX_QUERY], end[MAX_QUERY];
    if (llrti_cpu_runtime_poll(job->rt)) return;
    if (job->round_begin == 0) memset(acc.sum, 0, b.n * sizeof *acc.sum);
    for (uint32_t i = 0; i < job->round_tiles; i++) {
        const uint32_t tile = b.tile_begin + job->round_begin + i;
        if (tile >= b.tile_end) break;
        const accumulators slot = find_slot(job->rt, (size_t)task * job->round_tiles + i);
        find_ranges(job, &b, tile, begin, end);
        merge_tile(job, b.n, begin, end, &slot, &acc);
    }
    const uint32_t done = b.tile_begin + job->round_begin + job->round_tiles;
    if (done >= b.tile_end && done - job->round_tiles < b.tile_end) finish_block(job, &b, &acc);
}

static void run_rounds(attention_job *job, uint32_t max_tiles)
{
    llrti_cpu_runtime *const rt = job->rt;
    job->round_tiles = LLRTI_MIN((uint32_t)rt->layout.n_slot / job->n_block, max_tiles);
    for (job->round_begin = 0; job->round_begin < max_tiles; job->round_begin += job->round_tiles) {
        if (llrti_cpu_runtime_poll(rt)) return;
        rt->host.parallel_for(rt->host.ctx, job->n_block * job->round_tiles, run_apart, job);
        rt->host.parallel_for(rt->host.ctx, job->n_block, merge_apart, job);
    }
}

void llrti_cpu_attention_run(llrti_cpu_runtime *rt, const llrti_cpu_op *op)
{
    const llrti_cpu_kv *const kv = &rt->model->kv[op->op.u.attention.kv];
    const llrt_step_desc *const step = rt->step;
    attention_job job = {
        .rt = rt,
        .op = &op->op,
        .kv = kv,
        .q = llrti_cpu_runtime_value(rt, op->op.in[0]),
        .k = llrti_cpu_runtime_value(rt, op->op.in[1]),
        .v = kv->desc.v_in_k ? NULL : llrti_cpu_runtime_value(rt, op->op.in[2]),
        .sink = op->op.weight[0] == LLRT_NONE ? NULL : rt->model->weight[op->op.weight[0]].vector,
        .slope = op->op.u.attention.slope,
        .out = llrti_cpu_runtime_value(rt, op->op.out),
        .group = rt->program->value[op->op.out].n_head / kv->desc.n_head,
    };
    uint32_t max_tiles = 0;
    job.is_fused = true;
    for (uint32_t i = 0; i < step->n_seq; i++) {
        const uint32_t n = blocks_per_head(&job, &step->seq[i]);
        rt->seq_block[i] = job.n_block;
        job.n_block += n * kv->desc.n_head;
        if (n > 1) job.is_fused = false;
    }
    rt->seq_block[step->n_seq] = job.n_block;
    for (uint32_t i = 0; i < step->n_seq; i++) {
        const query_block b = find_block(&job, rt->seq_block[i]);
        max_tiles = LLRTI_MAX(max_tiles, b.tile_end - b.tile_begin);
    }
    /* Below two blocks per worker the last ones leave workers idle; four tiles are worth a second phase. */
    const bool is_apart = rt->layout.n_slot && job.n_block < rt->layout.n_acc && max_tiles >= 4;
    if (is_apart) job.is_fused = false;
    if (!job.is_fused)
        llrti_cpu_runtime_split(rt, (size_t)step->n_seq * kv->desc.n_head, 1,
                                (size_t)step->n_row / step->n_seq *
                                    (kv->desc.k_dim + kv->desc.v_dim),
                                store_part, &job);
    if (is_apart)
        run_rounds(&job, max_tiles);
    else
        rt->host.parallel_for(rt->host.ctx, job.n_block, run_block, &job);
}
