/* SPDX-License-Identifier: MIT */
/*
 * Mixture of experts, and a linear for each head: many matrices of one tensor, each with its own rows.
 *
 * EXPERTS: every row chooses its experts; the pairs of a row and an expert are sorted by expert, rows ascending. All pairs
 * of an expert are multiplied together, so its weights are read once per step. Experts are taken in waves of as many
 * pairs as the hidden values have room for: packing, gates and ups, activation, downs are one parallel loop each per
 * wave, over all its experts, so that one row with a few experts keeps every worker busy. What each pair's down
 * projection gives is kept, and at the end each row adds its own in the order it chose them. A product depends on its row
 * and weight alone (linear.h), so company, waves and workers show in no result.
 *
 * HEAD_LINEAR: head i of each row times matrix i; packing and products are one loop each over all heads.
 */
#include "cpu_experts.h"

#include <string.h>

#include "compiler.h"
#include "cpu_layout.h"
#include "cpu_math.h"
#include "cpu_squares.h"

/* Pairs that a wave has room for at least, when there can be so many: a few rows are one wave. */
#define MIN_WAVE 256

/* An expert of a wave. */
typedef struct active_expert {
    uint32_t expert;
    uint32_t begin, n;    /* its pairs, counted from the step's first */
    uint32_t panel_begin; /* packed panels before its own in the wave */
    size_t packed;        /* bytes before its packed rows */
} active_expert;

/* Places in the area, and what they were made for. */
typedef struct experts_layout {
    size_t chosen, weight; /* (n_row, n_used) expert, its weight; best first */
    size_t place;          /* (n_row, n_used) pair of a row's choice */
    size_t row;            /* (n_pair) row of a pair */
    size_t begin;          /* (n_expert + 1) first pair of an expert */
    size_t active;         /* (n_active) experts of the wave */
    size_t item;           /* (2 * n_active) products */
    size_t gate, up;       /* (n_wave, d_ff) */
    size_t out;            /* (n_pair, d_out) */
    size_t score;          /* per worker (n_expert, 5) */
    size_t gather;         /* per worker: the rows of a panel */
    size_t bytes;
    size_t n_expert, n_used, n_row, n_pair, n_wave, n_active;
    size_t d_in, d_ff, d_out, gather_floats;
} experts_layout;

typedef struct experts_job {
    llrti_cpu_runtime *rt;
    const llrt_op *op;
    experts_layout l;
    size_t n_row; /* of the step */
    const float *x, *logits, *bias;
    float *to;
    uint32_t *chosen, *place, *row, *begin;
    float *weight, *gate, *up, *out;
    active_expert *active;
    llrti_linear_item *item;
    size_t n_active, n_panel, pair_begin, n_pair; /* of the wave */
    /* what is being packed */
    const llrti_linear *format;
    bool is_hidden;
} experts_job;

/* ---- Sizes ---------------------------------------------------------------------------------- */

static const llrti_cpu_weight *find_weight(const llrti_cpu_model *m, const llrt_op *op, uint32_t i)
{
    return op->weight[i] == LLRT_NONE ? NULL : &m->weight[op->weight[i]];
}

static size_t limit_rows(const llrti_cpu_program *p, const llrt_op *op,
                         const llrt_runtime_limits *limits)
{
    return p->value[op->out].rows == LLRT_ROWS_OUT ? limits->n_out : limits->n_row;
}

/* Packed rows of n matrices, n_row rows of k together: each begins on a multiple of 64 bytes. */
static bool packed_bytes(const llrti_linear *format, size_t n_row, size_t n, size_t *out)
{
    size_t bound;
    if (!llrti_mul_size(format->k + 256, n_row + LLRTI_GEMM_NR, &bound) || bound > SIZE_MAX / 64 ||
        n > SIZE_MAX / 128)
        return false;
    return llrti_add_size(llrti_linear_act_bytes(format->act, format->k, n_row), 64 * n, out);
}

static bool layout_experts(const llrti_cpu_model *m, const llrti_cpu_program *p, const llrt_op *op,
                           const llrt_runtime_limits *limits, experts_layout *l)
{
    const llrti_linear *const up = &m->weight[op->weight[1]].linear;
    const size_t n_worker = m->host->n_worker;
    *l = (experts_layout){.n_expert = p->value[op->in[1]].row_width,
                          .n_used = op->u.experts.n_used,
                          .n_row = limit_rows(p, op, limits),
                          .d_in = p->value[op->in[0]].row_width,
                          .d_ff = up->m,
                          .d_out = p->value[op->out].row_width};
    l->n_pair = l->n_row * l->n_used; /* both have small limits */
    l->n_wave = LLRTI_MIN(l->n_pair, LLRTI_MAX(l->n_row, (size_t)MIN_WAVE));
    l->n_active = LLRTI_MIN(l->n_wave, l->n_expert);
    size_t columns = llrti_linear_act_columns(&m->gemm, up->act);
    const llrti_cpu_weight *const gate = find_weight(m, op, 0);
    if (gate) columns = LLRTI_MAX(columns, llrti_linear_act_columns(&m->gemm, gate->linear.act));
    l->gather_floats = LLRTI_MIN(columns, LLRTI_MAX(l->n_row, 1)) * l->d_in;
    size_t *const total = &l->bytes;
    return llrti_cpu_layout_append(total, l->n_pair, sizeof(uint32_t), &l->chosen) &&
           llrti_cpu_layout_append(total, l->n_pair, sizeof(float), &l->weight) &&
           llrti_cpu_layout_append(total, l->n_pair, sizeof(uint32_t), &l->place) &&
           llrti_cpu_layout_append(total, l->n_pair, sizeof(uint32_t), &l->row) &&
           llrti_cpu_layout_append(total, l->n_expert + 1, sizeof(uint32_t), &l->begin) &&
           llrti_cpu_layout_append(total, l->n_active, sizeof(active_expert), &l->active) &&
           llrti_cpu_layout_append(total, 2 * l->n_active, sizeof(llrti_linear_item), &l->item) &&
           llrti_cpu_layout_append(total, l->n_wave, l->d_ff * sizeof(float), &l->gate) &&
           llrti_cpu_layout_append(total, l->n_wave, l->d_ff * sizeof(float), &l->up) &&
           llrti_cpu_layout_append(total, l->n_pair, l->d_out * sizeof(float), &l->out) &&
           llrti_cpu_layout_append(total, n_worker, l->n_expert * 5 * sizeof(float), &l->score) &&
           llrti_cpu_layout_append(total, n_worker, l->gather_floats * sizeof(float), &l->gather);
}

bool llrti_cpu_experts_measure(const llrti_cpu_model *m, const llrti_cpu_program *p,
                               const llrt_op *op, const llrt_runtime_limits *limits, size_t *packed,
                               size_t *area)
{
    size_t bytes, used = 0;
    if (op->kind == LLRT_OP_HEAD_LINEAR) {
        const llrti_linear *const format = &m->weight[op->weight[0]].linear;
        const size_t n_head = p->value[op->out].n_head;
        size_t rows;
        if (!llrti_mul_size(limit_rows(p, op, limits), n_head, &rows) ||
            !packed_bytes(format, rows, n_head, &bytes) ||
            !llrti_mul_size(n_head, sizeof(llrti_linear_item), &used))
            return false;
        *packed = LLRTI_MAX(*packed, bytes);
    } else if (op->kind == LLRT_OP_EXPERTS) {
        experts_layout l;
        if (!layout_experts(m, p, op, limits, &l)) return false;
        for (uint32_t i = 0; i < 3; i++) {
            const llrti_cpu_weight *const w = find_weight(m, op, i);
            if (!w) continue;
            if (!packed_bytes(&w->linear, l.n_wave, l.n_active, &bytes)) return false;
            *packed = LLRTI_MAX(*packed, bytes);
        }
        used = l.bytes;
    }
    *area = LLRTI_MAX(*area, used);
    return true;
}

/* ---- Routing -------------------------------------------------------------------------------- */

/* NaN never wins. */
static float comparable(float x)
{
    return x != x ? -INFINITY : x;
}

/* Scores of one row from its logits. */
static void score_experts(llrt_router router, size_t n, const float *logit, float *score)
{
    float max = logit[0], sum = 0.0f;
    switch (router) {
    case LLRT_ROUTER_SOFTMAX:
        for (size_t i = 1; i < n; i++) max = logit[i] > max ? logit[i] : max;
        for (size_t i = 0; i < n; i++) {
            score[i] = llrti_math_exp(logit[i] - max);
            sum += score[i];
        }
        for (size_t i = 0; i < n; i++) score[i] /= sum;
        break;
    case LLRT_ROUTER_SIGMOID:
        for (size_t i = 0; i < n; i++) score[i] = llrti_math_sigmoid(logit[i]);
        break;
    default:
        memcpy(score, logit, n * sizeof *score);
        break;
    }
}

/* Index of the largest of those whose mark is 0; the first of equals. One is there. */
static size_t find_best(const float *x, const float *mark, size_t n)
{
    size_t best = n;
    for (size_t i = 0; i < n; i++)
        if (mark[i] == 0.0f && (best == n || x[i] > x[best])) best = i;
    return best;
}

static float score_group(const float *choice, size_t n, bool is_sum)
{
    float first = choice[0], second = -INFINITY;
    for (size_t i = 1; i < n; i++) {
        if (choice[i] > first) {
            second = first;
            first = choice[i];
        } else if (choice[i] > second) {
            second = choice[i];
        }
    }
    return is_sum ? comparable(first + second) : first;
}

/* Marks the experts of all groups but the best. `work` has room for 2 numbers per group. */
static void mark_groups(const llrt_op *op, size_t n_expert, const float *choice, float *work,
                        float *mark)
{
    const size_t n_group = op->u.experts.n_group, size = n_expert / n_group;
    float *const score = work, *const kept = work + n_group;
    for (size_t g = 0; g < n_group; g++) {
        score[g] = score_group(choice + g * size, size, op->u.experts.is_group_sum != 0);
        kept[g] = 0.0f;
    }
    for (uint32_t i = 0; i < op->u.experts.n_group_used; i++)
        kept[find_best(score, kept, n_group)] = 1.0f;
    for (size_t i = 0; i < n_expert; i++) mark[i] = kept[i / size] == 0.0f ? 1.0f : 0.0f;
}

/* The weights of a row's choice: of the scores, or a softmax over the chosen logits. */
static void weigh_choice(const llrt_op *op, const float *logit, const float *score,
                         const uint32_t *chosen, float *weight)
{
    const size_t n = op->u.experts.n_used;
    const llrt_router router = op->u.experts.router;
    float sum = 0.0f;
    for (size_t i = 0; i < n; i++) {
        const uint32_t e = chosen[i];
        weight[i] = router == LLRT_ROUTER_SOFTMAX_CHOSEN
                        ? llrti_math_exp(logit[e] - logit[chosen[0]])
                        : score[e];
        sum += weight[i];
    }
    if (router == LLRT_ROUTER_SOFTMAX_CHOSEN)
        for (size_t i = 0; i < n; i++) weight[i] /= sum;
    if (op->u.experts.is_normalized) {
        sum = 0.0f;
        for (size_t i = 0; i < n; i++) sum += weight[i];
        if (router == LLRT_ROUTER_SIGMOID) sum += 1e-20f;
        for (size_t i = 0; i < n; i++) weight[i] /= sum;
    }
    for (size_t i = 0; i < n; i++) weight[i] *= op->u.experts.scale;
}

static void route_rows(llrti_cpu_runtime *rt, const void *arg, size_t begin, size_t end,
                       uint32_t worker)
{
    const experts_job *const job = arg;
    const size_t n = job->l.n_expert, n_used = job->l.n_used;
    char *const area = rt->scratch + rt->layout.area;
    float *const score = (float *)(void *)(area + job->l.score) + worker * n * 5;
    float *const choice = score + n, *const mark = choice + n, *const work = mark + n;
    for (size_t i = begin; i < end; i++) {
        const float *const logit = job->logits + i * n;
        uint32_t *const chosen = job->chosen + i * n_used;
        score_experts(job->op->u.experts.router, n, logit, score);
        for (size_t e = 0; e < n; e++)
            choice[e] = comparable(job->bias ? score[e] + job->bias[e] : score[e]);
        for (size_t e = 0; e < n; e++) mark[e] = 0.0f;
        if (job->op->u.experts.n_group > 1) mark_groups(job->op, n, choice, work, mark);
        for (size_t k = 0; k < n_used; k++) {
            const size_t best = find_best(choice, mark, n);
            mark[best] = 1.0f;
            chosen[k] = (uint32_t)best;
        }
        weigh_choice(job->op, logit, score, chosen, job->weight + i * n_used);
    }
}

/* Sorts the pairs by expert, rows ascending. */
static void sort_pairs(experts_job *job)
{
    const size_t n = job->n_row * job->l.n_used, n_expert = job->l.n_expert;
    memset(job->begin, 0, (n_expert + 1) * sizeof *job->begin);
    for (size_t i = 0; i < n; i++) job->begin[job->chosen[i] + 1]++;
    for (size_t e = 0; e < n_expert; e++) job->begin[e + 1] += job->begin[e];
    for (size_t i = 0; i < n; i++) {
        const uint32_t at = job->begin[job->chosen[i]]++;
        job->place[i] = at;
        job->row[at] = (uint32_t)(i / job->l.n_used);
    }
    for (size_t e = n_expert; e > 0; e--) job->begin[e] = job->begin[e - 1];
    job->begin[0] = 0;
}

/* ---- Waves ---------------------------------------------------------------------------------- */

/* The experts from *expert on whose pairs fit one wave; moves *expert behind them. */
static void start_wave(experts_job *job, size_t *expert)
{
    job->n_active = job->n_pair = 0;
    job->pair_begin = job->begin[*expert];
    for (; *expert < job->l.n_expert; ++*expert) {
        const uint32_t begin = job->begin[*expert], n = job->begin[*expert + 1] - begin;
        if (n == 0) continue;
        if (job->n_pair + n > job->l.n_wave) break;
        job->active[job->n_active++] =
            (active_expert){.expert = (uint32_t)*expert, .begin = begin, .n = n};
        job->n_pair += n;
    }
}

static bool are_adjacent(const uint32_t *row, size_t n)
{
    return row[n - 1] - row[0] == n - 1; /* they ascend */
}

/* Packs panels of the wave: rows of x, gathered, or the wave's own hidden rows. */
static void pack_panels(llrti_cpu_runtime *rt, const void *arg, size_t begin, size_t end,
                        uint32_t worker)
{
    const experts_job *const job = arg;
    const llrti_linear *const f = job->format;
    const size_t columns = llrti_linear_act_columns(&rt->model->gemm, f->act);
    float *const gather = (float *)(void *)(rt->scratch + rt->layout.area + job->l.gather) +
                          worker * job->l.gather_floats;
    size_t low = 0, high = job->n_active;
    while (high - low > 1) {
        const size_t middle = (low + high) / 2;
        if (job->active[middle].panel_begin <= begin)
            low = middle;
        else
            high = middle;
    }
    for (size_t panel = begin; panel < end; panel++) {
        while (low + 1 < job->n_active && job->active[low + 1].panel_begin <= panel) low++;
        const active_expert *const a = &job->active[low];
        const size_t first = (panel - a->panel_begin) * columns;
        const size_t n = LLRTI_MIN(a->n - first, columns);
        const uint32_t *const row = job->row + a->begin + first;
        const float *x = gather;
        if (job->is_hidden)
            x = job->gate + (a->begin + first - job->pair_begin) * f->k;
        else if (are_adjacent(row, n))
            x = job->x + row[0] * f->k;
        else
            for (size_t i = 0; i < n; i++)
                memcpy(gather + i * f->k, job->x + row[i] * f->k, f->k * sizeof *gather);
        const llrti_linear_input input = {
            .act = f->act,
            .kernels = &rt->model->gemm,
            .x = x,
            .x_stride = f->k,
            .k = f->k,
            .n_row = n,
            .packed = rt->scratch + rt->layout.packed + a->packed +
                      llrti_linear_act_offset(f->act, f->k, first),
        };
        llrti_linear_act_pack(&input, 0, 1);
    }
}

static void pack_wave(experts_job *job, const llrti_linear *format, bool is_hidden)
{
    llrti_cpu_runtime *const rt = job->rt;
    const size_t columns = llrti_linear_act_columns(&rt->model->gemm, format->act);
    size_t n_panel = 0, at = 0;
    job->format = format;
    job->is_hidden = is_hidden;
    for (size_t i = 0; i < job->n_active; i++) {
        active_expert *const a = &job->active[i];
        a->panel_begin = (uint32_t)n_panel;
        a->packed = at;
        n_panel += (a->n + columns - 1) / columns;
        at += llrti_linear_act_bytes(format->act, format->k, a->n);
    }
    llrti_cpu_runtime_split(rt, n_panel, 1,
                            format->k * LLRTI_MIN(columns, job->n_pair / job->n_active + 1),
                            pack_panels, job);
}

/* Adds a product for each expert of the wave to the list; returns its new length. `to` is of the wave's first pair. */
static uint32_t add_products(const experts_job *job, uint32_t n_item, uint32_t slot,
                             uint32_t bias_slot, float *to)
{
    const llrti_cpu_model *const m = job->rt->model;
    const llrti_cpu_weight *const w = &m->weight[job->op->weight[slot]];
    const llrti_cpu_weight *const bias = find_weight(m, job->op, bias_slot);
    for (size_t i = 0; i < job->n_active; i++) {
        const active_expert *const a = &job->active[i];
        job->item[n_item++] = (llrti_linear_item){
            .weight = &w->linear,
            .data = llrti_cpu_model_slice(w, a->expert),
            .bias = bias ? bias->vector + a->expert * w->linear.m : NULL,
            .out = to + (a->begin - job->pair_begin) * w->linear.m,
            .out_stride = w->linear.m,
            .packed = job->rt->scratch + job->rt->layout.packed + a->packed,
            .n_row = a->n,
        };
    }
    return n_item;
}

static void run_products(llrti_cpu_runtime *rt, llrti_linear_item *item, uint32_t n_item)
{
    const llrti_linear_batch batch = {.item = item,
                                      .n_item = n_item,
                                      .scratch = rt->scratch + rt->layout.linear,
                                      .poll_cancel = rt->step->poll_cancel,
                                      .poll_ctx = rt->step->poll_ctx};
    if (llrti_linear_run_batch(&rt->host, &batch) < 0)
        atomic_store_explicit(&rt->is_cancelled, 1, memory_order_relaxed);
}

/* gate = act(gate) * up with limit and offset, or gate = act(up). */
static void activate(llrti_cpu_runtime *rt, const void *arg, size_t begin, size_t end,
                     uint32_t worker)
{
    const experts_job *const job = arg;
    const llrti_ops *const ops = &rt->model->ops;
    const llrt_activation act = job->op->u.experts.act;
    float *const a = job->gate + begin, *const b = job->up + begin;
    if (job->op->weight[0] == LLRT_NONE)
        ops->activate[act](end - begin, b, a);
    else
        llrti_ops_glu(ops, act, job->op->u.experts.limit, job->op->u.experts.offset, end - begin, a,
                      b, a);
}

/* What the matrices of a weight's experts are given in this wave: rows of x, or the hidden rows. */
static void add_squares(const experts_job *job, uint32_t slot)
{
    const bool is_hidden = slot == 2;
    for (size_t i = 0; i < job->n_active; i++) {
        const active_expert *const a = &job->active[i];
        const llrti_cpu_square_rows rows = {
            .weight = job->op->weight[slot],
            .slice = a->expert,
            .n_slice = 1,
            .n_row = a->n,
            .stride = is_hidden ? job->l.d_ff : job->l.d_in,
            .x = is_hidden ? job->gate + (a->begin - job->pair_begin) * job->l.d_ff : job->x,
            .index = is_hidden ? NULL : job->row + a->begin,
        };
        if (rows.weight != LLRT_NONE) llrti_cpu_squares_add(job->rt, &rows);
    }
}

static void run_wave(experts_job *job)
{
    llrti_cpu_runtime *const rt = job->rt;
    const llrti_cpu_model *const m = rt->model;
    const llrti_cpu_weight *const gate = find_weight(m, job->op, 0),
                                  *const up = find_weight(m, job->op, 1),
                                  *const down = find_weight(m, job->op, 2);
    uint32_t n_item = 0;
    if (gate) {
        pack_wave(job, &gate->linear, false);
        n_item = add_products(job, n_item, 0, 3, job->gate);
        if (gate->linear.act != up->linear.act) { /* packed in another form: one after the other */
            run_products(rt, job->item, n_item);
            n_item = 0;
        }
    }
    if (n_item == 0) pack_wave(job, &up->linear, false);
    n_item = add_products(job, n_item, 1, 4, job->up);
    run_products(rt, job->item, n_item);
    if (llrti_cpu_runtime_poll(rt)) return;
    llrti_cpu_runtime_split(rt, job->n_pair * job->l.d_ff, 64, 4, activate, job);
    pack_wave(job, &down->linear, true);
    n_item = add_products(job, 0, 2, 5, job->out + job->pair_begin * job->l.d_out);
    run_products(rt, job->item, n_item);
    for (uint32_t i = 0; rt->limits.with_squares && i < 3; i++) add_squares(job, i);
}

/* ---- The operators -------------------------------------------------------------------------- */

static void add_rows(llrti_cpu_runtime *rt, const void *arg, size_t begin, size_t end,
                     uint32_t worker)
{
    const experts_job *const job = arg;
    const size_t d_out = job->l.d_out, n_used = job->l.n_used;
    for (size_t i = begin; i < end; i++) {
        float *const to = job->to + i * d_out;
        memset(to, 0, d_out * sizeof *to);
        for (size_t k = i * n_used; k < (i + 1) * n_used; k++)
            rt->model->ops.axpy(d_out, job->weight[k], job->out + job->place[k] * d_out, to);
    }
}

void llrti_cpu_experts_run(llrti_cpu_runtime *rt, const llrt_op *op)
{
    const llrti_cpu_weight *const bias = find_weight(rt->model, op, 6);
    experts_job job = {.rt = rt, .op = op, .n_row = llrti_cpu_runtime_rows(rt, op->out)};
    experts_layout *const l = &job.l;
    if (job.n_row == 0 || !layout_experts(rt->model, rt->program, op, &rt->limits, l)) return;
    char *const area = rt->scratch + rt->layout.area;
    job.x = llrti_cpu_runtime_value(rt, op->in[0]);
    job.logits = llrti_cpu_runtime_value(rt, op->in[1]);
    job.to = llrti_cpu_runtime_value(rt, op->out);
    job.bias = bias ? bias->vector : NULL;
    job.chosen = (uint32_t *)(void *)(area + l->chosen);
    job.place = (uint32_t *)(void *)(area + l->place);
    job.row = (uint32_t *)(void *)(area + l->row);
    job.begin = (uint32_t *)(void *)(area + l->begin);
    job.weight = (float *)(void *)(area + l->weight);
    job.gate = (float *)(void *)(area + l->gate);
    job.up = (float *)(void *)(area + l->up);
    job.out = (float *)(void *)(area + l->out);
    job.active = (active_expert *)(void *)(area + l->active);
    job.item = (llrti_linear_item *)(void *)(area + l->item);
    rt->packed_value = LLRT_NONE;
    llrti_cpu_runtime_split(rt, job.n_row, 1, l->n_expert * 8, route_rows, &job);
    if (llrti_cpu_runtime_poll(rt)) return;
    sort_pairs(&job);
    for (size_t expert = 0; expert < l->n_expert;) {
        start_wave(&job, &expert);
        if (job.n_active) run_wave(&job);
        if (llrti_cpu_runtime_poll(rt)) return;
    }
    llrti_cpu_runtime_split(rt, job.n_row, 1, l->d_out * l->n_used, add_rows, &job);
}

typedef struct heads_job {
    const llrti_linear *format;
    const float *x;
    size_t n_head, n_row, n_panel; /* panels of a head */
    size_t packed_bytes;           /* of a head */
} heads_job;

static void pack_heads(llrti_cpu_runtime *rt, const void *arg, size_t begin, size_t end,
                       uint32_t worker)
{
    const heads_job *const job = arg;
    const llrti_linear *const f = job->format;
    for (size_t i = begin; i < end; i++) {
        const size_t head = i / job->n_panel, panel = i % job->n_panel;
        const llrti_linear_input input = {
            .act = f->act,
            .kernels = &rt->model->gemm,
            .x = job->x + head * f->k,
            .x_stride = job->n_head * f->k,
            .k = f->k,
            .n_row = job->n_row,
            .packed = rt->scratch + rt->layout.packed + head * job->packed_bytes,
        };
        llrti_linear_act_pack(&input, panel, panel + 1);
    }
}

void llrti_cpu_experts_run_heads(llrti_cpu_runtime *rt, const llrt_op *op)
{
    const llrti_cpu_weight *const w = &rt->model->weight[op->weight[0]];
    const llrti_linear *const f = &w->linear;
    const size_t n_head = rt->program->value[op->out].n_head;
    const size_t n_row = llrti_cpu_runtime_rows(rt, op->out);
    const size_t columns = llrti_linear_act_columns(&rt->model->gemm, f->act);
    const heads_job job = {.format = f,
                           .x = llrti_cpu_runtime_value(rt, op->in[0]),
                           .n_head = n_head,
                           .n_row = n_row,
                           .n_panel = (n_row + columns - 1) / columns,
                           .packed_bytes = llrti_linear_act_bytes(f->act, f->k, n_row)};
    llrti_linear_item *const item = (llrti_linear_item *)(void *)(rt->scratch + rt->layout.area);
    float *const out = llrti_cpu_runtime_value(rt, op->out);
    if (n_row == 0) return;
    rt->packed_value = LLRT_NONE;
    llrti_cpu_runtime_split(rt, n_head * job.n_panel, 1, f->k * LLRTI_MIN(n_row, columns),
                            pack_heads, &job);
    for (size_t i = 0; i < n_head; i++)
        item[i] =
            (llrti_linear_item){.weight = f,
                                .data = llrti_cpu_model_slice(w, i),
                                .out = out + i * f->m,
                                .out_stride = n_head * f->m,
                                .packed = rt->scratch + rt->layout.packed + i * job.packed_bytes,
                                .n_row = n_row};
    if (!llrti_cpu_runtime_poll(rt)) run_products(rt, item, (uint32_t)n_head);
    if (rt->limits.with_squares) llrti_cpu_squares_add_input(rt, op);
}
