/* SPDX-License-Identifier: MIT */
/*
 * EXPERTS and HEAD_LINEAR: routing and sums against plain loops in double, products bit for bit against LINEARs of
 * the same matrices, and the same bits whatever the workers, chunks, company, level and weight policy.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "cpu_part.h"

#define EPS 0x1p-24

typedef struct shape {
    uint32_t n_expert, n_used, n_group, n_group_used, is_group_sum;
    llrt_router router;
    uint32_t is_normalized, has_bias, has_choice_bias, has_gate;
    float scale;
    llrt_activation act;
    float limit, offset;
    uint32_t d_in, d_ff, d_out;
    llrt_type type[3]; /* gate, up, down */
} shape;

static const shape plain = {.n_expert = 6,
                            .n_used = 2,
                            .has_gate = 1,
                            .scale = 1,
                            .act = LLRT_ACT_SILU,
                            .d_in = 64,
                            .d_ff = 50,
                            .d_out = 21};

/* Inputs: x, logits. Tensors: gate, up, down, their biases, the choice's bias; what is absent is left out. */
static part *make_experts(const shape *h)
{
    static const char *const name[] = {"gate", "up", "down", "gate_bias", "up_bias", "down_bias"};
    part *const p = part_new(17);
    const uint32_t in[2] = {part_input(p, 1, h->d_in, 1, 0), part_input(p, 1, h->n_expert, 3, 0)};
    const uint32_t out = cpu_add_value(&p->m, LLRT_ROWS_TOKEN, 1, h->d_out);
    llrt_op *const op = part_op(p, LLRT_OP_EXPERTS, in, 2, out);
    for (uint32_t i = h->has_gate ? 0 : 1; i < 3; i++) {
        const uint32_t k = i == 2 ? h->d_ff : h->d_in, m = i == 2 ? h->d_out : h->d_ff;
        op->weight[i] =
            part_tensor(p, name[i], h->type[i], k, m, h->n_expert, 1.7f / sqrtf((float)k), 0);
    }
    for (uint32_t i = h->has_gate ? 0 : 1; i < 3 && h->has_bias; i++)
        op->weight[3 + i] = part_tensor(p, name[3 + i], LLRT_TYPE_F32, i == 2 ? h->d_out : h->d_ff,
                                        h->n_expert, 0, 0.5f, 0);
    if (h->has_choice_bias)
        op->weight[6] = part_tensor(p, "choice", LLRT_TYPE_F32, h->n_expert, 1, 0, 0.5f, 0);
    op->u.experts.n_used = h->n_used;
    op->u.experts.router = h->router;
    op->u.experts.n_group = h->n_group;
    op->u.experts.n_group_used = h->n_group_used;
    op->u.experts.is_group_sum = h->is_group_sum;
    op->u.experts.is_normalized = h->is_normalized;
    op->u.experts.scale = h->scale;
    op->u.experts.act = h->act;
    op->u.experts.limit = h->limit;
    op->u.experts.offset = h->offset;
    return p;
}

static const float *tensor_of(const part *p, uint32_t slot)
{
    const uint32_t i = p->m.op[0].weight[slot];
    return i == LLRT_NONE ? NULL : p->m.tensor[i].value;
}

/* ---- Routing in double ---------------------------------------------------------------------- */

static void sort_descending(double *x, uint32_t n)
{
    for (uint32_t i = 1; i < n; i++)
        for (uint32_t j = i; j > 0 && x[j] > x[j - 1]; j--) {
            const double t = x[j];
            x[j] = x[j - 1];
            x[j - 1] = t;
        }
}

/* Experts of groups that are beaten get minus infinity. */
static void drop_groups(const shape *h, double *choice)
{
    const uint32_t size = h->n_expert / h->n_group;
    double score[32], sorted[32], members[64];
    for (uint32_t g = 0; g < h->n_group; g++) {
        memcpy(members, choice + g * size, size * sizeof *members);
        sort_descending(members, size);
        score[g] = sorted[g] = members[0] + (h->is_group_sum ? members[1] : 0);
    }
    sort_descending(sorted, h->n_group);
    for (uint32_t e = 0; e < h->n_expert; e++)
        if (score[e / size] < sorted[h->n_group_used - 1]) choice[e] = -INFINITY;
}

static void route(const shape *h, const float *logit, const float *bias, uint32_t *chosen,
                  double *weight)
{
    double score[64], choice[64], sum = 0;
    for (uint32_t e = 0; e < h->n_expert; e++) {
        score[e] = h->router == LLRT_ROUTER_SIGMOID   ? 1 / (1 + exp(-(double)logit[e]))
                   : h->router == LLRT_ROUTER_SOFTMAX ? exp(logit[e])
                                                      : logit[e];
        sum += score[e];
    }
    for (uint32_t e = 0; e < h->n_expert; e++) {
        if (h->router == LLRT_ROUTER_SOFTMAX) score[e] /= sum;
        choice[e] = score[e] + (bias ? bias[e] : 0);
    }
    if (h->n_group > 1) drop_groups(h, choice);
    sum = 0;
    for (uint32_t k = 0; k < h->n_used; k++) {
        uint32_t best = 0;
        for (uint32_t e = 1; e < h->n_expert; e++)
            if (choice[e] > choice[best]) best = e;
        chosen[k] = best;
        choice[best] = -INFINITY;
        weight[k] = h->router == LLRT_ROUTER_SOFTMAX_CHOSEN ? exp(logit[best]) : score[best];
        sum += weight[k];
    }
    for (uint32_t k = 0; k < h->n_used; k++) {
        if (h->is_normalized || h->router == LLRT_ROUTER_SOFTMAX_CHOSEN) weight[k] /= sum;
        weight[k] *= h->scale;
    }
}

/* ---- One expert in double ------------------------------------------------------------------- */

/* A number and a bound of its error. */
typedef struct bounded {
    double x, e;
} bounded;

static bounded dot(const float *w, const bounded *x, uint32_t n, const float *bias)
{
    bounded sum = {0, 0};
    double magnitude = 0;
    for (uint32_t i = 0; i < n; i++) {
        sum.x += w[i] * x[i].x;
        sum.e += fabs(w[i]) * x[i].e;
        magnitude += fabs(w[i] * x[i].x);
    }
    sum.e += n * EPS * magnitude;
    if (bias) sum.x += *bias;
    if (bias) sum.e += EPS * fabs(sum.x);
    return sum;
}

/* Values and slopes: both slopes are at most 1.13, that of relu's square 2 x. Errors of the functions: 8 units. */
static bounded activated(llrt_activation act, bounded a)
{
    const double x = a.x, r = fmax(x, 0);
    const double y = act == LLRT_ACT_SILU   ? x / (1 + exp(-x))
                     : act == LLRT_ACT_GELU ? 0.5 * x * (1 + erf(x / sqrt(2)))
                                            : r * r;
    const double slope = act == LLRT_ACT_RELU2 ? 2 * (r + a.e) : 1.13;
    return (bounded){y, slope * a.e + 8 * EPS * fmax(fabs(y), fabs(x))};
}

static void run_expert(const part *p, const shape *h, const float *x, uint32_t expert, bounded *out)
{
    bounded in[64], hidden[128];
    const float *const bias[3] = {tensor_of(p, 3), tensor_of(p, 4), tensor_of(p, 5)};
    for (uint32_t i = 0; i < h->d_in; i++) in[i] = (bounded){x[i], 0};
    for (uint32_t j = 0; j < h->d_ff; j++) {
        const size_t row = (size_t)expert * h->d_ff + j;
        bounded up =
            dot(tensor_of(p, 1) + row * h->d_in, in, h->d_in, bias[1] ? bias[1] + row : NULL);
        if (!h->has_gate) {
            hidden[j] = activated(h->act, up);
            continue;
        }
        bounded gate =
            dot(tensor_of(p, 0) + row * h->d_in, in, h->d_in, bias[0] ? bias[0] + row : NULL);
        if (h->limit != 0) {
            gate.x = fmin(gate.x, h->limit);
            up.x = fmax(fmin(up.x, h->limit), -h->limit);
        }
        up.x += h->offset;
        up.e += EPS * fabs(up.x);
        const bounded a = activated(h->act, gate);
        hidden[j].x = a.x * up.x;
        hidden[j].e = a.e * (fabs(up.x) + up.e) + fabs(a.x) * up.e + EPS * fabs(a.x * up.x);
    }
    for (uint32_t i = 0; i < h->d_out; i++) {
        const size_t row = (size_t)expert * h->d_out + i;
        out[i] =
            dot(tensor_of(p, 2) + row * h->d_ff, hidden, h->d_ff, bias[2] ? bias[2] + row : NULL);
    }
}

static void check_with_double(const shape *h)
{
    part *const p = make_experts(h);
    part_run *const r =
        part_open(p, &(part_config){.n_worker = 2, .precision = LLRT_PRECISION_F32});
    part_run_mixed(r);
    for (uint32_t s = 0; s < PART_SEQ; s++)
        for (uint32_t t = 0; t < part_length[s]; t++) {
            bounded y[64], sum[64];
            uint32_t chosen[16];
            double weight[16];
            memset(sum, 0, sizeof sum);
            route(h, p->x[s][1] + t * h->n_expert, tensor_of(p, 6), chosen, weight);
            for (uint32_t k = 0; k < h->n_used; k++) {
                /* an exp, a sum over the experts, one over the chosen, divisions */
                const double e_weight = (h->n_expert + h->n_used + 16) * EPS * fabs(weight[k]);
                run_expert(p, h, p->x[s][0] + t * h->d_in, chosen[k], y);
                for (uint32_t i = 0; i < h->d_out; i++) {
                    sum[i].x += weight[k] * y[i].x;
                    sum[i].e +=
                        fabs(weight[k]) * y[i].e + e_weight * fabs(y[i].x) + EPS * fabs(sum[i].x);
                }
            }
            for (uint32_t i = 0; i < h->d_out; i++) {
                const double found = r->y[s][t * h->d_out + i];
                if (!(fabs(found - sum[i].x) <= sum[i].e))
                    fail_msg(
                        "router %u, sequence %u, row %u, element %u: %g, expected %g within %g",
                        h->router, s, t, i, found, sum[i].x, sum[i].e);
                assert_true(sum[i].e < 1e-3 * (1 + fabs(sum[i].x))); /* it says something */
            }
        }
    part_close(r);
    part_free(p);
}

static void test_routers_and_sums(void **state)
{
    static const llrt_router router[] = {LLRT_ROUTER_SOFTMAX, LLRT_ROUTER_SOFTMAX_CHOSEN,
                                         LLRT_ROUTER_SIGMOID};
    for (uint32_t i = 0; i < 12; i++) {
        shape h = plain;
        h.router = router[i % 3];
        h.is_normalized = i / 3 % 2;
        h.has_choice_bias = i % 2;
        h.has_bias = i >= 6;
        h.n_used = 1 + i % 5;
        h.scale = i % 4 ? 1 : 2.5f;
        check_with_double(&h);
    }
}

static void test_groups(void **state)
{
    for (uint32_t i = 0; i < 8; i++) {
        shape h = plain;
        h.n_expert = 24;
        h.n_group = i < 4 ? 4 : i < 6 ? 12 : 24;
        h.n_group_used = i < 4 ? 1 + i % 3 : 5;
        h.is_group_sum = i % 2 && h.n_group < 24;
        h.router = i % 2 ? LLRT_ROUTER_SIGMOID : LLRT_ROUTER_SOFTMAX;
        h.has_choice_bias = h.is_normalized = i % 2;
        h.n_used = i < 6 ? 4 : 5;
        check_with_double(&h);
    }
}

static void test_activations(void **state)
{
    for (uint32_t i = 0; i < 6; i++) {
        static const llrt_activation act[] = {LLRT_ACT_SILU, LLRT_ACT_GELU, LLRT_ACT_RELU2};
        shape h = plain;
        h.act = act[i % 3];
        h.has_gate = i < 4;
        h.has_bias = i % 2;
        h.limit = h.has_gate && i % 2 ? 0.7f : 0;
        h.offset = h.has_gate && i % 2 ? 1 : 0;
        check_with_double(&h);
    }
}

/* Equal scores go to the lower index, NaN never wins. */
static void test_ties_and_nan(void **state)
{
    shape h = plain;
    h.n_used = 1;
    h.router = LLRT_ROUTER_SOFTMAX_CHOSEN;
    part *const p = make_experts(&h);
    for (uint32_t s = 0; s < PART_SEQ; s++)
        for (uint32_t t = 0; t < part_length[s]; t++) {
            float *const logit = p->x[s][1] + t * h.n_expert;
            for (uint32_t e = 0; e < h.n_expert; e++) logit[e] = e == 2 || e == 4 ? 1 : 0;
            if (t % 3 == 1) logit[0] = NAN;
            if (t % 3 == 2)
                for (uint32_t e = 0; e < h.n_expert; e++) logit[e] = e == 5 ? -INFINITY : NAN;
        }
    part_run *const r =
        part_open(p, &(part_config){.n_worker = 1, .precision = LLRT_PRECISION_F32});
    part_run_alone(r, 64);
    for (uint32_t t = 0; t < part_length[0]; t++) {
        bounded y[64];
        if (t % 3 == 2) { /* all are minus infinity: the first; its weight is NaN */
            assert_true(isnan(r->y[0][t * h.d_out]));
            continue;
        }
        run_expert(p, &h, p->x[0][0] + t * h.d_in, 2, y);
        for (uint32_t i = 0; i < h.d_out; i++)
            assert_true(fabs(y[i].x - (double)r->y[0][t * h.d_out + i]) <= y[i].e);
    }
    part_close(r);
    part_free(p);
}

/* ---- Bit for bit against linears ------------------------------------------------------------ */

/* A matrix of its own for slice `slice` of tensor `from`. */
static uint32_t slice_tensor(part *to, const part *from, uint32_t from_tensor, uint32_t slice)
{
    const cpu_tensor *const t = &from->m.tensor[from_tensor];
    const uint32_t i = to->m.desc.n_tensor++;
    const size_t rows = (size_t)t->desc.dim[1], k = (size_t)t->desc.dim[0];
    cpu_tensor *const s = &to->m.tensor[i];
    *s = *t;
    s->n_row = rows;
    s->desc.n_dim = 2;
    s->desc.dim[2] = 1;
    s->value = malloc(rows * k * sizeof *s->value);
    s->bytes = malloc(rows * t->row_bytes);
    assert_non_null(s->value);
    assert_non_null(s->bytes);
    memcpy(s->value, t->value + slice * rows * k, rows * k * sizeof *s->value);
    memcpy(s->bytes, t->bytes + slice * rows * t->row_bytes, rows * t->row_bytes);
    to->m.tensor_desc[i] = s->desc;
    return i;
}

static uint32_t slice_vector(part *to, const part *from, uint32_t from_tensor, uint32_t slice,
                             uint32_t n)
{
    const uint32_t i = part_tensor(to, "bias", LLRT_TYPE_F32, n, 1, 0, 1, 0);
    memcpy(to->m.tensor[i].value, from->m.tensor[from_tensor].value + slice * n, n * sizeof(float));
    memcpy(to->m.tensor[i].bytes, from->m.tensor[from_tensor].value + slice * n, n * sizeof(float));
    return i;
}

static uint32_t add_linear(part *to, const part *from, uint32_t slot, uint32_t expert, uint32_t x,
                           uint32_t width)
{
    const llrt_op *const experts = &from->m.op[0];
    const uint32_t out = cpu_add_value(&to->m, LLRT_ROWS_TOKEN, 1, width);
    llrt_op *const op = part_op(to, LLRT_OP_LINEAR, &x, 1, out);
    op->weight[0] = slice_tensor(to, from, experts->weight[slot], expert);
    if (experts->weight[3 + slot] != LLRT_NONE)
        op->weight[1] = slice_vector(to, from, experts->weight[3 + slot], expert, width);
    return out;
}

/* What each expert gives every row, side by side, by LINEAR and GLU. */
static part *make_linears(const part *from, const shape *h)
{
    part *const p = part_new(1);
    uint32_t y[6];
    const uint32_t x = part_input(p, 1, h->d_in, 1, 0);
    for (uint32_t s = 0; s < PART_SEQ; s++)
        memcpy(p->x[s][0], from->x[s][0], part_length[s] * h->d_in * sizeof(float));
    for (uint32_t e = 0; e < h->n_expert; e++) {
        const uint32_t in[2] = {add_linear(p, from, 0, e, x, h->d_ff),
                                add_linear(p, from, 1, e, x, h->d_ff)};
        const uint32_t hidden = cpu_add_value(&p->m, LLRT_ROWS_TOKEN, 1, h->d_ff);
        part_op(p, LLRT_OP_GLU, in, 2, hidden)->u.act.act = h->act;
        y[e] = add_linear(p, from, 2, e, hidden, h->d_out);
    }
    part_op(p, LLRT_OP_CONCAT, y, h->n_expert,
            cpu_add_value(&p->m, LLRT_ROWS_TOKEN, 1, h->n_expert * h->d_out));
    return p;
}

static void compare_with_linears(const shape *h, const part_config *c)
{
    part *const p = make_experts(h), *const q = make_linears(p, h);
    part_run *const r = part_open(p, c), *const linears = part_open(q, c);
    part_run_mixed(r);
    part_run_alone(linears, 100);
    for (uint32_t s = 0; s < PART_SEQ; s++)
        for (uint32_t t = 0; t < part_length[s]; t++) {
            uint32_t chosen[1];
            double weight[1];
            route(h, p->x[s][1] + t * h->n_expert, tensor_of(p, 6), chosen, weight);
            assert_true(weight[0] == 1);
            const float *const y = linears->y[s] + (t * h->n_expert + chosen[0]) * h->d_out;
            if (memcmp(y, r->y[s] + t * h->d_out, h->d_out * sizeof *y) != 0)
                fail_msg("types %u %u %u, precision %u, level %s: sequence %u, row %u differs",
                         h->type[0], h->type[1], h->type[2], c->precision, c->isa, s, t);
        }
    part_close(r);
    part_close(linears);
    part_free(p);
    part_free(q);
}

static void test_products_are_those_of_linears(void **state)
{
    static const llrt_type type[][3] = {
        {LLRT_TYPE_F32, LLRT_TYPE_F32, LLRT_TYPE_F32},
        {LLRT_TYPE_F16, LLRT_TYPE_F16, LLRT_TYPE_F16},
        {LLRT_TYPE_BF16, LLRT_TYPE_BF16, LLRT_TYPE_BF16},
        {LLRT_TYPE_Q8_0, LLRT_TYPE_Q8_0, LLRT_TYPE_Q8_0},
        {LLRT_TYPE_Q8_0, LLRT_TYPE_F32, LLRT_TYPE_F16}, /* gate and up want x packed differently */
    };
    for (size_t i = 0; i < LLRTI_COUNT(type); i++)
        for (uint32_t level = 0; llrti_isa_level(level); level++)
            for (llrt_precision precision = LLRT_PRECISION_AUTO;
                 precision <= LLRT_PRECISION_PORTABLE; precision++) {
                shape h = plain;
                memcpy(h.type, type[i], sizeof h.type);
                h.d_ff = type[i][2] == LLRT_TYPE_Q8_0 ? 96 : 50; /* slices begin inside groups */
                h.d_out = 40 + (uint32_t)i;
                h.n_used = 1;
                h.router = LLRT_ROUTER_SOFTMAX_CHOSEN;
                h.has_bias = (i + level) % 2;
                compare_with_linears(&h, &(part_config){.n_worker = 1 + level % 3,
                                                        .isa = llrti_isa_level(level),
                                                        .precision = precision,
                                                        .weights = level % 2 && precision
                                                                       ? LLRT_WEIGHTS_MAPPED
                                                                       : LLRT_WEIGHTS_REPACKED});
            }
}

static void test_same_bits(void **state)
{
    static const llrt_type type[] = {LLRT_TYPE_F32, LLRT_TYPE_BF16, LLRT_TYPE_Q8_0};
    for (uint32_t i = 0; i < 3; i++) {
        shape h = plain;
        h.n_expert = i == 1 ? 4 : 16;
        h.n_used = 1 + i * 2; /* up to 5 of 16: 320 rows are more than one wave */
        h.type[0] = h.type[1] = h.type[2] = type[i];
        h.d_ff = i == 2 ? 64 : 50;
        h.has_bias = i == 1;
        h.router = i;
        part *const p = make_experts(&h);
        part_check_same_bits(p, i ? LLRT_PRECISION_PORTABLE : LLRT_PRECISION_F32);
        part_free(p);
    }
}

/* ---- Heads ---------------------------------------------------------------------------------- */

static part *make_heads(llrt_type type, uint32_t n_head, uint32_t d_in, uint32_t d_out)
{
    part *const p = part_new(23);
    const uint32_t x = part_input(p, n_head, d_in, 1, 0);
    llrt_op *const op = part_op(p, LLRT_OP_HEAD_LINEAR, &x, 1,
                                cpu_add_value(&p->m, LLRT_ROWS_TOKEN, n_head, d_out));
    op->weight[0] = part_tensor(p, "heads", type, d_in, d_out, n_head, 0.2f, 0);
    return p;
}

/* Each head by SLICE and LINEAR, side by side again. */
static part *make_head_linears(const part *from, uint32_t n_head, uint32_t d_in, uint32_t d_out)
{
    part *const p = part_new(1);
    uint32_t y[6];
    const uint32_t x = part_input(p, n_head, d_in, 1, 0);
    for (uint32_t s = 0; s < PART_SEQ; s++)
        memcpy(p->x[s][0], from->x[s][0], part_length[s] * n_head * d_in * sizeof(float));
    for (uint32_t i = 0; i < n_head; i++) {
        const uint32_t head = cpu_add_value(&p->m, LLRT_ROWS_TOKEN, 1, d_in);
        part_op(p, LLRT_OP_SLICE, &x, 1, head)->u.slice.begin = i * d_in;
        y[i] = cpu_add_value(&p->m, LLRT_ROWS_TOKEN, 1, d_out);
        part_op(p, LLRT_OP_LINEAR, &head, 1, y[i])->weight[0] = slice_tensor(p, from, 0, i);
    }
    part_op(p, LLRT_OP_CONCAT, y, n_head, cpu_add_value(&p->m, LLRT_ROWS_TOKEN, 1, n_head * d_out));
    return p;
}

static void test_heads_are_linears(void **state)
{
    static const llrt_type type[] = {LLRT_TYPE_F32, LLRT_TYPE_F16, LLRT_TYPE_BF16, LLRT_TYPE_Q8_0};
    for (uint32_t i = 0; i < 4; i++)
        for (uint32_t level = 0; llrti_isa_level(level); level++) {
            const uint32_t n_head = i == 3 ? 1 : 3 + i, d_in = 64, d_out = 20 + 11 * i;
            part *const p = make_heads(type[i], n_head, d_in, d_out);
            part *const q = make_head_linears(p, n_head, d_in, d_out);
            const part_config c = {.n_worker = 1 + level % 4,
                                   .isa = llrti_isa_level(level),
                                   .weights =
                                       level % 2 ? LLRT_WEIGHTS_MAPPED : LLRT_WEIGHTS_REPACKED};
            part_run *const heads = part_open(p, &c), *const linears = part_open(q, &c);
            part_run_mixed(heads);
            part_run_alone(linears, 100);
            part_assert_same(heads, linears, "heads");
            part_close(heads);
            part_close(linears);
            if (level == 0) part_check_same_bits(p, LLRT_PRECISION_PORTABLE);
            part_free(p);
            part_free(q);
        }
}

/* ---- Memory, cancelling, refusals ----------------------------------------------------------- */

static void test_plan_memory_cancel_and_damage(void **state)
{
    for (uint32_t i = 0; i < 4; i++) {
        shape h = plain;
        h.n_used = 1 + i;
        h.type[0] = h.type[1] = h.type[2] = i % 2 ? LLRT_TYPE_BF16 : LLRT_TYPE_F32;
        part *const p = i == 3 ? make_heads(LLRT_TYPE_F16, 5, 48, 33) : make_experts(&h);
        for (uint32_t k = 0; k < 3; k++) {
            p->limits.n_row = 1 + 159 * k;
            part_check_plan(
                p, &(part_config){.n_worker = 1 + k,
                                  .weights = k == 2 ? LLRT_WEIGHTS_MAPPED : LLRT_WEIGHTS_REPACKED});
        }
        p->limits.n_row = 320;
        part_check_no_memory(p);
        part_check_cancel(p);
        part_check_damage(p, i);
        part_free(p);
    }
}

static void test_wrong_programs_are_refused(void **state)
{
    for (int wrong = 0;; wrong++) {
        shape h = plain;
        h.has_bias = h.has_choice_bias = 1;
        part *const p = make_experts(&h);
        llrt_op *const op = &p->m.op[0];
        const char *word = "EXPERTS";
        llrt_status status = LLRT_ERR_ARGUMENT;
        switch (wrong) {
        case 0:
            op->n_in = 1;
            break;
        case 1:
            op->u.experts.n_used = 0;
            word = "0 experts per row";
            break;
        case 2:
            op->u.experts.n_used = 7;
            word = "expected 1 to 6";
            break;
        case 3:
            op->u.experts.router = 3;
            status = LLRT_ERR_UNSUPPORTED;
            word = "router 3";
            break;
        case 4:
            op->u.experts.n_group = 4;
            word = "equal groups";
            break;
        case 5:
            op->u.experts.n_group = 3;
            op->u.experts.n_group_used = 0;
            word = "equal groups";
            break;
        case 6:
            op->u.experts.n_group = 6;
            op->u.experts.n_group_used = 3;
            op->u.experts.is_group_sum = 1;
            word = "two best";
            break;
        case 7:
            op->u.experts.n_group = 6;
            op->u.experts.n_group_used = 1;
            word = "expected 1 to 1";
            break;
        case 8:
            op->weight[2] = op->weight[0];
            word = "'gate'";
            break;
        case 9:
            p->m.tensor_desc[0].dim[2] = 3;
            word = "'gate' is 64 x 50 x 3, expected 64 x 50 x 6";
            break;
        case 10:
            op->weight[1] = LLRT_NONE;
            word = "weight 1";
            break;
        case 11:
            op->weight[0] = LLRT_NONE;
            word = "weight 3";
            break;
        case 12:
            op->weight[3] = op->weight[5];
            word = "'down_bias'";
            break;
        case 13:
            op->weight[6] = op->weight[3];
            word = "'gate_bias'";
            break;
        case 14:
            op->u.experts.act = 8;
            status = LLRT_ERR_UNSUPPORTED;
            word = "activation 8";
            break;
        case 15:
            op->u.experts.limit = -1;
            word = "limit";
            break;
        case 16:
            op->u.experts.offset = NAN;
            word = "offset";
            break;
        case 17:
            op->u.experts.scale = INFINITY;
            word = "scale";
            break;
        case 18:
            p->m.value[op->in[1]].rows = LLRT_ROWS_OUT;
            p->m.program.n_input = 1;
            word = "before it is written";
            break;
        case 19:
            op->kind = LLRT_OP_HEAD_LINEAR;
            op->n_in = 1;
            word = "HEAD_LINEAR";
            break;
        case 20:
            p->m.tensor_desc[0].type = 77;
            status = LLRT_ERR_UNSUPPORTED;
            word = "77";
            break;
        default:
            part_free(p);
            return;
        }
        part_check_refused(p, status, word);
        part_free(p);
    }
}

/* The same tensor as one matrix and as several: they may lie differently in memory. */
static void test_a_tensor_used_whole_and_in_slices_is_refused(void **state)
{
    part *const p = make_heads(LLRT_TYPE_F32, 3, 8, 5);
    const uint32_t x = part_input(p, 1, 8, 1, 0);
    part_op(p, LLRT_OP_LINEAR, &x, 1, cpu_add_value(&p->m, LLRT_ROWS_TOKEN, 1, 15))->weight[0] = 0;
    part_check_refused(p, LLRT_ERR_UNSUPPORTED, "heads");
    part_free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_routers_and_sums),
        cmocka_unit_test(test_groups),
        cmocka_unit_test(test_activations),
        cmocka_unit_test(test_ties_and_nan),
        cmocka_unit_test(test_products_are_those_of_linears),
        cmocka_unit_test(test_same_bits),
        cmocka_unit_test(test_heads_are_linears),
        cmocka_unit_test(test_plan_memory_cancel_and_damage),
        cmocka_unit_test(test_wrong_programs_are_refused),
        cmocka_unit_test(test_a_tensor_used_whole_and_in_slices_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
