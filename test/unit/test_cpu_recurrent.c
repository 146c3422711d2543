/* SPDX-License-Identifier: MIT */
/*
 * SHORT_CONV, GATED_DELTA and SSM_SCAN against plain loops in double that carry a bound of the error along, and what
 * state slots promise: the same bits however the tokens are cut, snapshots at page ends, nothing read is changed.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "cpu_math.h"
#include "cpu_part.h"

#define EPS 0x1p-24

/* ---- Convolution ---------------------------------------------------------------------------- */

enum { N_TAP = 4, N_CHANNEL = 301 };

static part *make_conv(bool has_bias)
{
    part *const p = part_new(3);
    const uint32_t x = part_input(p, 7, N_CHANNEL / 7, 1, 0);
    const uint32_t out = cpu_add_value(&p->m, LLRT_ROWS_TOKEN, 1, N_CHANNEL);
    llrt_op *const op = part_op(p, LLRT_OP_SHORT_CONV, &x, 1, out);
    op->weight[0] = part_tensor(p, "taps", LLRT_TYPE_F32, N_TAP, N_CHANNEL, 0, 1, 0);
    if (has_bias) op->weight[1] = part_tensor(p, "bias", LLRT_TYPE_F32, N_CHANNEL, 1, 0, 1, 0);
    op->u.conv.state = part_state(p, (N_TAP - 1) * N_CHANNEL);
    return p;
}

static void check_conv(part *p, const part_config *c)
{
    part_run *const r = part_open(p, c);
    part_run_mixed(r);
    const float *const w = p->m.tensor[0].value;
    const float *const bias = p->m.desc.n_tensor > 1 ? p->m.tensor[1].value : NULL;
    for (uint32_t s = 0; s < PART_SEQ; s++)
        for (uint32_t t = 0; t < part_length[s]; t++)
            for (uint32_t ch = 0; ch < N_CHANNEL; ch++) {
                double sum = bias ? bias[ch] : 0, magnitude = fabs(sum);
                for (uint32_t j = 0; j < N_TAP; j++) {
                    const int64_t from = (int64_t)t - N_TAP + 1 + j;
                    const double x = from < 0 ? 0 : p->x[s][0][from * N_CHANNEL + ch];
                    sum += (double)w[ch * N_TAP + j] * x;
                    magnitude += fabs((double)w[ch * N_TAP + j] * x);
                }
                const double error = fabs(sum - (double)r->y[s][t * N_CHANNEL + ch]);
                if (!(error <= (N_TAP + 1) * EPS * magnitude))
                    fail_msg("sequence %u, row %u, channel %u: error %g", s, t, ch, error);
            }
    part_close(r);
}

static void test_convolution(void **state)
{
    for (int has_bias = 0; has_bias < 2; has_bias++) {
        part *const p = make_conv(has_bias);
        check_conv(p, &(part_config){.n_worker = 1, .isa = "ref"});
        check_conv(p, &(part_config){.n_worker = 3});
        part_check_same_bits(p, LLRT_PRECISION_F32);
        part_free(p);
    }
}

/* ---- Scans ---------------------------------------------------------------------------------- */

typedef struct scan_shape {
    llrt_op_kind kind;
    uint32_t n_head, n_qk_head, n_row, width;
    uint32_t is_log, is_tiled;
    float dt_min, dt_max;
} scan_shape;

static const scan_shape shapes[] = {
    {LLRT_OP_GATED_DELTA, 6, 2, 20, 24, 1, 0, 0, 0},
    {LLRT_OP_GATED_DELTA, 4, 2, 13, 67, 0, 1, 0, 0},
    {LLRT_OP_GATED_DELTA, 3, 3, 32, 128, 1, 1, 0, 0},
    {LLRT_OP_SSM_SCAN, 6, 2, 20, 24, 1, 0, 0, INFINITY},
    {LLRT_OP_SSM_SCAN, 19, 1, 16, 64, 0, 0, 0.3f, 0.6f},
    {LLRT_OP_SSM_SCAN, 2, 2, 9, 131, 1, 0, 0.001f, 100.0f},
};

/* Inputs: q, k, v, a, beta; or x, dt, B, C. */
static part *make_scan(const scan_shape *h)
{
    part *const p = part_new(5);
    const bool is_delta = h->kind == LLRT_OP_GATED_DELTA;
    uint32_t in[5];
    const float k_scale = 1 / sqrtf((float)h->n_row); /* what a norm of k would leave */
    if (is_delta) {
        in[0] = part_input(p, h->n_qk_head, h->n_row, 1, 0);
        in[1] = part_input(p, h->n_qk_head, h->n_row, k_scale, 0);
        in[2] = part_input(p, h->n_head, h->width, 1, 0);
        in[3] = part_input(p, 1, h->n_head, 2, 0);
        in[4] = part_input(p, 1, h->n_head, 0.4f, 0.5f);
    } else {
        in[0] = part_input(p, h->n_head, h->width, 1, 0);
        in[1] = part_input(p, 1, h->n_head, 2, 0);
        in[2] = part_input(p, h->n_qk_head, h->n_row, 1, 0);
        in[3] = part_input(p, h->n_qk_head, h->n_row, 1, 0);
    }
    const uint32_t out = cpu_add_value(&p->m, LLRT_ROWS_TOKEN, h->n_head, h->width);
    llrt_op *const op = part_op(p, h->kind, in, is_delta ? 5 : 4, out);
    op->weight[0] = part_tensor(p, "A", LLRT_TYPE_F32, 1, h->n_head, 0, 0.5f, h->is_log ? 0 : -1);
    if (!is_delta) op->weight[1] = part_tensor(p, "D", LLRT_TYPE_F32, h->n_head, 1, 0, 1, 0);
    op->weight[is_delta ? 1 : 2] =
        part_tensor(p, "dt_bias", LLRT_TYPE_F32, h->n_head, 1, 0, 0.5f, 0);
    op->u.scan.state = part_state(p, h->n_head * h->n_row * h->width);
    op->u.scan.is_log_a = h->is_log;
    op->u.scan.is_tiled = h->is_tiled;
    op->u.scan.dt_min = h->dt_min;
    op->u.scan.dt_max = h->dt_max;
    return p;
}

static double softplus(double x)
{
    return fmax(x, 0) + log1p(exp(-fabs(x)));
}

/* Every 997th float of either sign, down to where the result is subnormal. */
static void test_softplus_to_4_ulp(void **state)
{
    for (uint32_t bits = 0; bits < 0xff800000u; bits += 997) {
        const float x = llrti_bits_float(bits);
        const double expected = softplus(x);
        int exponent;
        if (!isfinite(x) || expected < 0x1p-126) continue;
        frexp(expected, &exponent);
        if (!(fabs(llrti_math_softplus(x) - expected) <= ldexp(4, exponent - 24)))
            fail_msg("softplus(%.9g) is %.9g, expected %.9g", (double)x,
                     (double)llrti_math_softplus(x), expected);
    }
    assert_true(isnan(llrti_math_softplus(NAN)));
    assert_true(llrti_math_softplus(INFINITY) == INFINITY);
    assert_true(llrti_math_softplus(-INFINITY) == 0);
}

/* One column of one head: its state and a bound of the error of each element. */
typedef struct column {
    double s[64], e[64];
} column;

/* A number and a bound of its error. */
typedef struct bounded {
    double x, e;
} bounded;

/* x += a * b with one rounding; a is exact. */
static void add_product(bounded *sum, double a, double b, double e_b)
{
    sum->x += a * b;
    sum->e += fabs(a) * e_b + EPS * fabs(sum->x) * 1.01;
}

/* One token; returns the output. */
static bounded delta_token(const scan_shape *h, column *c, const float *q, const float *k, double v,
                           double decay, double e_decay, double beta)
{
    bounded kv = {0, 0}, out = {0, 0};
    for (uint32_t i = 0; i < h->n_row; i++) {
        c->e[i] = decay * c->e[i] + fabs(c->s[i]) * (e_decay + EPS * decay);
        c->s[i] *= decay;
        add_product(&kv, k[i], c->s[i], c->e[i]);
    }
    const double d = (v - kv.x) * beta, e_d = (kv.e + 2 * EPS * fabs(v - kv.x)) * fabs(beta);
    for (uint32_t i = 0; i < h->n_row; i++) {
        bounded s = {c->s[i], c->e[i]};
        add_product(&s, k[i], d, e_d);
        c->s[i] = s.x;
        c->e[i] = s.e;
        add_product(&out, q[i], s.x, s.e);
    }
    return out;
}

static bounded scan_token(const scan_shape *h, column *c, const float *q, const float *k, double x,
                          double decay, double e_decay, double t, double e_t, double d)
{
    bounded out = {0, 0};
    for (uint32_t i = 0; i < h->n_row; i++) {
        bounded s = {c->s[i] * decay, decay * c->e[i] + fabs(c->s[i]) * (e_decay + EPS * decay)};
        add_product(&s, k[i], t * x, fabs(x) * e_t + EPS * fabs(t * x));
        c->s[i] = s.x;
        c->e[i] = s.e;
        add_product(&out, q[i], s.x, s.e);
    }
    add_product(&out, d, x, 0);
    return out;
}

static void check_column(const part *p, const part_run *r, const scan_shape *h, uint32_t seq,
                         uint32_t head, uint32_t e)
{
    const bool is_delta = h->kind == LLRT_OP_GATED_DELTA;
    const uint32_t qk = h->is_tiled ? head % h->n_qk_head : head / (h->n_head / h->n_qk_head);
    const float *const *const x = (const float *const *)p->x[seq];
    const float *const w = p->m.tensor[0].value;
    const double a = h->is_log ? -exp(w[head]) : w[head];
    const double bias = p->m.tensor[is_delta ? 1 : 2].value[head];
    column c = {{0}, {0}};
    for (uint32_t t = 0; t < part_length[seq]; t++) {
        const float *const q = x[is_delta ? 0 : 3] + (t * h->n_qk_head + qk) * h->n_row;
        const float *const k = x[is_delta ? 1 : 2] + (t * h->n_qk_head + qk) * h->n_row;
        const double v = x[is_delta ? 2 : 0][(t * h->n_head + head) * h->width + e];
        double dt = softplus(x[is_delta ? 3 : 1][t * h->n_head + head] + bias);
        /* softplus to 4 ulp; its argument is rounded too: slope 1 */
        const double e_dt = 8 * EPS * dt + EPS * 4;
        if (!is_delta) dt = fmin(fmax(dt, h->dt_min), h->dt_max);
        const double decay = exp(a * dt);
        const double e_decay = decay * (fabs(a) * e_dt + 6 * EPS * fabs(a) * dt + 4 * EPS);
        const bounded out =
            is_delta
                ? delta_token(h, &c, q, k, v, decay, e_decay, x[4][t * h->n_head + head])
                : scan_token(h, &c, q, k, v, decay, e_decay, dt, e_dt, p->m.tensor[1].value[head]);
        const double found = r->y[seq][(t * h->n_head + head) * h->width + e];
        if (!(fabs(found - out.x) <= out.e))
            fail_msg("sequence %u, row %u, head %u, column %u: %g, expected %g within %g", seq, t,
                     head, e, found, out.x, out.e);
        if (t == 40 && out.e > 1e-3 * (1 + fabs(out.x))) fail_msg("the bound is %g", out.e);
    }
}

static void test_scans(void **state)
{
    for (size_t i = 0; i < LLRTI_COUNT(shapes); i++) {
        const scan_shape *const h = &shapes[i];
        part *const p = make_scan(h);
        part_run *const r = part_open(p, &(part_config){.n_worker = 2});
        part_run_mixed(r);
        for (uint32_t seq = 0; seq < PART_SEQ; seq++)
            for (uint32_t head = 0; head < h->n_head; head++)
                for (uint32_t e = 0; e < h->width; e += 1 + e / 5)
                    check_column(p, r, h, seq, head, e);
        part_close(r);
        part_check_same_bits(p, LLRT_PRECISION_F32);
        part_free(p);
    }
}

/* ---- Slots ---------------------------------------------------------------------------------- */

/* A convolution, then a scan over what it gives, and a state that nothing uses: three states in a slot. */
static part *make_hybrid(void)
{
    part *const p = part_new(9);
    const uint32_t x = part_input(p, 3, 24, 1, 0), dt = part_input(p, 1, 3, 1, 0);
    const uint32_t bc[2] = {part_input(p, 1, 10, 1, 0), part_input(p, 1, 10, 1, 0)};
    const uint32_t mixed = cpu_add_value(&p->m, LLRT_ROWS_TOKEN, 3, 24);
    llrt_op *op = part_op(p, LLRT_OP_SHORT_CONV, &x, 1, mixed);
    op->weight[0] = part_tensor(p, "taps", LLRT_TYPE_F32, 5, 72, 0, 1, 0);
    op->u.conv.state = part_state(p, 4 * 72);
    part_state(p, 7);
    const uint32_t in[4] = {mixed, dt, bc[0], bc[1]};
    op = part_op(p, LLRT_OP_SSM_SCAN, in, 4, cpu_add_value(&p->m, LLRT_ROWS_TOKEN, 3, 24));
    op->weight[0] = part_tensor(p, "A", LLRT_TYPE_F32, 3, 1, 0, 0.5f, -1);
    op->weight[1] = part_tensor(p, "D", LLRT_TYPE_F32, 3, 1, 0, 1, 0);
    op->weight[2] = part_tensor(p, "dt_bias", LLRT_TYPE_F32, 3, 1, 0, 1, 0);
    op->u.scan.dt_max = INFINITY;
    op->u.scan.state = part_state(p, 3 * 10 * 24);
    return p;
}

enum { HYBRID_FLOATS = 4 * 72 + 7 + 3 * 10 * 24 };

static void read_slot(part_run *r, uint32_t slot, float *to)
{
    llrt_error err = LLRT_ERROR_INIT;
    if (r->h.table.state_read(r->runtime, slot, to, HYBRID_FLOATS, &err) < 0)
        fail_msg("%s", err.text);
}

static void assert_same_state(part_run *a, uint32_t slot_a, part_run *b, uint32_t slot_b,
                              const char *what)
{
    float x[HYBRID_FLOATS], y[HYBRID_FLOATS];
    read_slot(a, slot_a, x);
    read_slot(b, slot_b, y);
    if (memcmp(x, y, sizeof x) != 0) fail_msg("%s: the states differ", what);
}

/* However the tokens were cut, the slots after them and at page ends hold what stopping there leaves. */
static void test_snapshots_at_page_ends(void **state)
{
    static const uint32_t chunk[] = {1, 7, 64, 201};
    part *const p = make_hybrid();
    part_run *const expected = part_open(p, &(part_config){.n_worker = 1});
    float stopped[3][HYBRID_FLOATS];
    for (uint32_t page = 0; page < 3; page++) {
        part_step(expected, 64, 0, 0);
        read_slot(expected, expected->slot[0], stopped[page]);
    }
    part_step(expected, part_length[0] - 192, 0, 0);
    for (size_t i = 0; i < LLRTI_COUNT(chunk); i++) {
        part_run *const r = part_open(p, &(part_config){.n_worker = 1 + (uint32_t)i});
        part_run_alone(r, chunk[i]);
        assert_same_state(expected, expected->slot[0], r, r->slot[0], "at the end");
        for (uint32_t page = 0; page < 3; page++) {
            float found[HYBRID_FLOATS];
            read_slot(r, part_snapshot(0, page), found);
            if (memcmp(stopped[page], found, sizeof found) != 0)
                fail_msg("chunks of %u, page %u: another state", chunk[i], page);
        }
        assert_same_state(r, r->slot[1], r, part_snapshot(1, 0), "the last row is at a page end");
        part_close(r);
    }
    part_close(expected);
    part_free(p);
}

/* Back to a snapshot: the same rows again give the same bits; what was read is as before. */
static void test_going_back_and_forking(void **state)
{
    part *const p = make_hybrid();
    part_run *const first = part_open(p, &(part_config){.n_worker = 2}), *const again = part_open(
                                                                             p, &(part_config){
                                                                                    .n_worker = 2});
    float before[HYBRID_FLOATS], after[HYBRID_FLOATS];
    part_run_alone(first, 50);
    part_run_alone(again, 99);
    read_slot(again, part_snapshot(0, 1), before);
    again->n_done[0] = 128;
    again->slot[0] = part_snapshot(0, 1);
    memset(again->y[0] + 128 * 72, 0, (part_length[0] - 128) * 72 * sizeof(float));
    part_step(again, 3, 0, 0);
    part_step(again, part_length[0] - 131, 0, 0);
    part_assert_same(first, again, "from a snapshot");
    read_slot(again, part_snapshot(0, 1), after);
    assert_memory_equal(before, after, sizeof before);

    /* two sequences from one state: the second takes the first's rows */
    const uint32_t count[PART_SEQ] = {10, 10, 0};
    llrt_error err = LLRT_ERROR_INIT;
    again->n_done[0] = 128;
    again->slot[0] = part_snapshot(0, 1);
    again->n_done[1] = 0;
    part_step_data *const d = part_describe(again, count);
    d->seq[1].pos_begin = 128;
    d->seq[1].n_page = 3;
    d->seq[1].state_in = part_snapshot(0, 1);
    for (uint32_t i = 0; i < p->m.program.n_input; i++) {
        const size_t n = 10 * part_width(p, p->input[i]);
        memcpy(d->input[i] + n, d->input[i], n * sizeof(float));
    }
    if (part_submit(again, d, &err) < 0) fail_msg("%s", err.text);
    assert_memory_equal(again->y[1], again->y[0] + 128 * 72, 10 * 72 * sizeof(float));
    assert_same_state(again, again->slot[0], again, again->slot[1], "forked");
    part_step_free(d);
    part_close(first);
    part_close(again);
    part_free(p);
}

static void test_slots_are_read_and_written(void **state)
{
    part *const p = make_hybrid();
    part_run *const r = part_open(p, &(part_config){.n_worker = 1}), *const other = part_open(
                                                                         p, &(part_config){
                                                                                .n_worker = 3});
    float data[HYBRID_FLOATS];
    llrt_error err = LLRT_ERROR_INIT;
    part_step(r, 70, 0, 0);
    read_slot(r, r->slot[0], data);
    for (int i = 0; i < 7; i++)
        assert_true(data[4 * 72 + i] == 0); /* the unused state, from NONE */
    data[4 * 72 + 3] = 5;
    assert_int_equal(other->h.table.state_write(other->runtime, 1, data, HYBRID_FLOATS, &err),
                     LLRT_OK);
    other->n_done[0] = 70;
    other->slot[0] = 1;
    part_step(r, 60, 0, 0);
    part_step(other, 60, 0, 0);
    assert_memory_equal(r->y[0] + 70 * 72, other->y[0] + 70 * 72, 60 * 72 * sizeof(float));
    read_slot(other, other->slot[0], data);
    assert_true(data[4 * 72 + 3] == 5); /* the unused state is handed on, and into the snapshot */
    read_slot(other, part_snapshot(0, 1), data);
    assert_true(data[4 * 72 + 3] == 5);

    assert_int_equal(r->h.table.state_read(r->runtime, PART_SLOTS, data, HYBRID_FLOATS, &err),
                     LLRT_ERR_ARGUMENT);
    assert_non_null(strstr(err.text, "30"));
    assert_int_equal(r->h.table.state_read(r->runtime, 0, data, HYBRID_FLOATS - 1, &err),
                     LLRT_ERR_ARGUMENT);
    assert_non_null(strstr(err.text, "1015"));
    assert_int_equal(r->h.table.state_write(r->runtime, 0, NULL, HYBRID_FLOATS, &err),
                     LLRT_ERR_ARGUMENT);
    const uint32_t count[PART_SEQ] = {1, 0, 0};
    part_step_data *const d = part_describe(r, count);
    assert_int_equal(r->h.table.step_submit(r->runtime, &d->step, &err), LLRT_OK);
    assert_int_equal(r->h.table.state_read(r->runtime, 0, data, HYBRID_FLOATS, &err),
                     LLRT_ERR_STATE);
    assert_int_equal(r->h.table.step_wait(r->runtime, &err), LLRT_OK);
    part_step_free(d);
    part_close(r);
    part_close(other);
    part_free(p);
}

/* ---- Refusals ------------------------------------------------------------------------------- */

static void test_wrong_slots_are_refused(void **state)
{
    part *const p = make_hybrid();
    part_run *const r = part_open(p, &(part_config){.n_worker = 1});
    part_step(r, 60, 10, 0);
    for (int wrong = 0; wrong < 9; wrong++) {
        const uint32_t count[PART_SEQ] = {100, 10, 0};
        const char *word = "state_out";
        llrt_error err = LLRT_ERROR_INIT;
        part_step_data *const d = part_describe(r, count);
        switch (wrong) {
        case 0:
            d->seq[0].state_out = LLRT_NONE;
            break;
        case 1:
            d->seq[1].state_out = PART_SLOTS;
            break;
        case 2:
            d->seq[1].state_out = d->seq[1].state_in;
            break;
        case 3:
            d->seq[1].state_out = d->seq[0].state_in;
            break;
        case 4:
            d->seq[1].state_out = d->seq[0].state_out;
            break;
        case 5:
            d->seq[0].state_in = PART_SLOTS;
            word = "state_in";
            break;
        case 6:
            d->state_at[0][1] = d->seq[0].state_out; /* the page ends before the last row */
            word = "state_at";
            break;
        case 7:
            d->state_at[0][1] = d->state_at[0][0];
            word = "state_at";
            break;
        default:
            d->seq[0].n_page = 2;
            word = "pages";
            break;
        }
        const llrt_status status = part_submit(r, d, &err);
        if (status != LLRT_ERR_ARGUMENT || !strstr(err.text, word))
            fail_msg("change %d: status %d, \"%s\"", wrong, status, err.text);
        part_step_free(d);
    }
    /* slots that no page end of the rows needs may be anything */
    const uint32_t count[PART_SEQ] = {100, 0, 0};
    llrt_error err = LLRT_ERROR_INIT;
    part_step_data *const d = part_describe(r, count);
    d->state_at[0][2] = 5000;
    d->state_at[0][1] = LLRT_NONE;
    d->seq[1].state_out = LLRT_NONE;
    assert_int_equal(part_submit(r, d, &err), LLRT_OK);
    part_step_free(d);
    part_close(r);
    part_free(p);
}

static void test_wrong_programs_are_refused(void **state)
{
    for (int wrong = 0;; wrong++) {
        part *const p = make_hybrid();
        llrt_op *const conv = &p->m.op[0], *const scan = &p->m.op[1];
        const char *word = "SHORT_CONV";
        llrt_status status = LLRT_ERR_ARGUMENT;
        switch (wrong) {
        case 0:
            conv->u.conv.state = 3;
            word = "state 3";
            break;
        case 1:
            conv->u.conv.state = 2;
            word = "elements";
            break;
        case 2:
            p->state[0].n_float = 0;
            word = "state 0";
            break;
        case 3:
            conv->weight[0] = LLRT_NONE;
            break;
        case 4:
            conv->weight[0] = 1;
            word = "'A'";
            break;
        case 5:
            conv->weight[1] = 2;
            word = "'D'";
            break;
        case 6:
            scan->n_in = 3;
            word = "SSM_SCAN";
            break;
        case 7:
            scan->in[1] = scan->in[0];
            word = "dt";
            break;
        case 8:
            scan->in[3] = scan->in[0];
            word = "C has";
            break;
        case 9:
            scan->weight[1] = LLRT_NONE;
            word = "SSM_SCAN";
            break;
        case 10:
            scan->u.scan.dt_min = NAN;
            word = "bounds";
            break;
        case 11:
            scan->u.scan.dt_min = 2;
            scan->u.scan.dt_max = 1;
            word = "bounds";
            break;
        case 12:
            scan->weight[2] = conv->weight[0];
            status = LLRT_ERR_UNSUPPORTED;
            word = "taps";
            break;
        case 13:
            p->m.value[scan->in[2]].n_head = p->m.value[scan->in[3]].n_head = 2;
            word = "multiple";
            break;
        case 14:
            scan->kind = LLRT_OP_GATED_DELTA;
            word = "GATED_DELTA";
            break;
        default:
            part_free(p);
            return;
        }
        part_check_refused(p, status, word);
        part_free(p);
    }
}

static void test_two_operators_of_one_state_are_refused(void **state)
{
    part *const p = make_conv(false);
    const uint32_t out = cpu_add_value(&p->m, LLRT_ROWS_TOKEN, 1, N_CHANNEL);
    llrt_op *const op = part_op(p, LLRT_OP_SHORT_CONV, &p->input[0], 1, out);
    op->weight[0] = 0;
    part_check_refused(p, LLRT_ERR_ARGUMENT, "another operator's");
    part_free(p);
}

static void test_plan_memory_cancel_and_damage(void **state)
{
    part *const p = make_hybrid(), *const delta = make_scan(&shapes[0]);
    for (uint32_t i = 0; i < 3; i++) {
        p->limits.n_state = PART_SLOTS + i;
        p->limits.n_row = 64 + 7 * i;
        part_check_plan(p, &(part_config){.n_worker = 1 + i});
    }
    p->limits.n_row = 320;
    part_check_no_memory(p);
    part_check_cancel(p);
    part_check_damage(p, 1);
    part_check_damage(delta, 2);
    part_free(delta);
    part_free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_convolution),
        cmocka_unit_test(test_softplus_to_4_ulp),
        cmocka_unit_test(test_scans),
        cmocka_unit_test(test_snapshots_at_page_ends),
        cmocka_unit_test(test_going_back_and_forking),
        cmocka_unit_test(test_slots_are_read_and_written),
        cmocka_unit_test(test_wrong_slots_are_refused),
        cmocka_unit_test(test_wrong_programs_are_refused),
        cmocka_unit_test(test_two_operators_of_one_state_are_refused),
        cmocka_unit_test(test_plan_memory_cancel_and_damage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
