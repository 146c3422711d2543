/* SPDX-License-Identifier: MIT */
/*
 * Each operator alone, run as a program of one operator through the backend's table, against plain loops in
 * double. Bounds are computed from the data: eps times the magnitudes that were added and multiplied. With LLRT_TEST_HOSTILE
 * also on the hostile backend, which must give the same bits.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "cpu_fixture.h"
#include "cpu_hostile.h"

#define EPS 0x1p-24 /* half a unit in the last place of 1 */

enum { N_ROW = 37 };

/* ---- Running one operator ------------------------------------------------------------------- */

typedef struct one_op {
    cpu_model m;
    uint32_t input[6], n_input;
    float *x[6];
    int32_t token[N_ROW], pos_begin;
    const int32_t *position;   /* (N_ROW, 3) of the step, or NULL */
    const uint8_t *token_type; /* (N_ROW) of the step, or NULL */
    float *y;                  /* of the output, after run_one */
    uint32_t n_out;
} one_op;

static uint64_t rng = 5;

static one_op *open_one(void)
{
    one_op *const o = calloc(1, sizeof *o);
    assert_non_null(o);
    for (int i = 0; i < N_ROW; i++) o->token[i] = i * 3 % 50;
    return o;
}

/* A value the program gets, filled with scale * uniform. */
static uint32_t add_input(one_op *o, uint32_t n_head, uint32_t width, float scale)
{
    const uint32_t v = cpu_add_value(&o->m, LLRT_ROWS_TOKEN, n_head, width);
    o->x[o->n_input] = cpu_floats(&rng, (size_t)N_ROW * n_head * width, scale, 0);
    o->input[o->n_input++] = v;
    return v;
}

static void add_tensor(one_op *o, llrt_op *op, int slot, llrt_type type, uint64_t k, uint64_t m,
                       float offset)
{
    const uint32_t i = o->m.desc.n_tensor++;
    o->m.tensor[i] = cpu_tensor_make("w", type, k, m, cpu_floats(&rng, (size_t)(k * m), 1, offset));
    o->m.tensor_desc[i] = o->m.tensor[i].desc;
    op->weight[slot] = i;
}

/* Runs the program in steps of at most `chunk` rows, on the CPU or another backend. */
static void run_on(one_op *o, const llrt_backend *table, llrt_type kv_type, uint32_t chunk)
{
    static const uint32_t device[1] = {0};
    cpu_model *const m = &o->m;
    llrt_error err = LLRT_ERROR_INIT;
    const uint32_t out = m->op[m->program.n_op - 1].out;
    const size_t width = (size_t)m->value[out].n_head * m->value[out].width;
    const llrt_runtime_limits limits = {sizeof limits, N_ROW, 1, N_ROW, {8}};
    const uint32_t page[4] = {6, 1, 7, 2};
    m->program.value = m->value;
    m->program.op = m->op;
    m->program.n_input = o->n_input;
    m->program.input = o->input;
    m->program.n_output = 1;
    m->program.output = &out;
    m->program.logits = LLRT_NONE;
    m->desc = (llrt_model_desc){.struct_size = sizeof m->desc,
                                .n_tensor = m->desc.n_tensor,
                                .n_program = 1,
                                .n_device = 1,
                                .device = device,
                                .n_kv = m->desc.n_kv,
                                .tensor = m->tensor_desc,
                                .program = &m->program,
                                .kv = m->kv,
                                .kv_type = kv_type,
                                .precision = LLRT_PRECISION_F32};
    cpu_host_open(&m->h, 2);
    if (table) m->h.table = *table;
    if (m->h.table.model_create(&m->h.host, &m->desc, &m->model, &err) < 0)
        fail_msg("%s", err.text);
    cpu_model_fill(m, m->model);
    assert_int_equal(m->h.table.runtime_create(m->model, &limits, &m->runtime, &err), LLRT_OK);
    free(o->y);
    o->y = malloc(N_ROW * width * sizeof *o->y);
    assert_non_null(o->y);
    o->n_out = 0;
    for (uint32_t row = 0; row < N_ROW; row += chunk) {
        const uint32_t n = LLRTI_MIN(chunk, N_ROW - row);
        uint32_t out_row[N_ROW], n_out = 0;
        const float *input[6];
        for (uint32_t i = 0; i < n; i += 2) out_row[n_out++] = i;
        for (uint32_t i = 0; i < o->n_input; i++) {
            const llrt_value v = m->value[o->input[i]];
            input[i] = o->x[i] + (size_t)row * v.n_head * v.width;
        }
        const llrt_step_seq seq = {
            .n_row = n, .pos_begin = o->pos_begin + (int32_t)row, .n_page = 4, .page = {page}};
        const llrt_step_desc step = {.struct_size = sizeof step,
                                     .n_row = n,
                                     .n_seq = 1,
                                     .n_out = n_out,
                                     .token = o->token + row,
                                     .position = o->position ? o->position + 3 * row : NULL,
                                     .token_type = o->token_type ? o->token_type + row : NULL,
                                     .seq = &seq,
                                     .out_row = out_row,
                                     .input = input};
        const uint32_t n_read = m->value[out].rows == LLRT_ROWS_OUT ? n_out : n;
        if (m->h.table.step_submit(m->runtime, &step, &err) < 0) fail_msg("%s", err.text);
        assert_int_equal(m->h.table.step_wait(m->runtime, &err), LLRT_OK);
        assert_int_equal(
            m->h.table.value_read(m->runtime, out, 0, n_read, o->y + o->n_out * width, &err),
            LLRT_OK);
        o->n_out += n_read;
    }
    m->h.table.runtime_free(m->runtime);
    m->h.table.model_free(m->model);
    cpu_host_close(&m->h);
}

/* Runs the program on N_ROW rows in steps of at most `chunk`; the last op's output is y. */
static void run_one(one_op *o, llrt_type kv_type, uint32_t chunk)
{
    llrt_backend table;
    void *const plug_in = cpu_hostile_open(&table);
    run_on(o, NULL, kv_type, chunk);
    if (!plug_in) return;
    float *const y = o->y;
    const llrt_op *const op = &o->m.op[o->m.program.n_op - 1];
    const size_t width = (size_t)o->m.value[op->out].n_head * o->m.value[op->out].width;
    o->y = NULL;
    run_on(o, &table, kv_type, chunk);
    if (memcmp(y, o->y, o->n_out * width * sizeof *y) != 0)
        fail_msg("op of kind %u: not the bits of the hostile backend", op->kind);
    free(y);
    dlclose(plug_in);
}

static void close_one(one_op *o)
{
    for (uint32_t i = 0; i < o->n_input; i++) free(o->x[i]);
    for (uint32_t i = 0; i < o->m.desc.n_tensor; i++) cpu_tensor_free(&o->m.tensor[i]);
    free(o->y);
    free(o);
}

static void expect(double expected, double bound, float found, const char *what, size_t at)
{
    if (!(fabs(expected - (double)found) <= bound))
        fail_msg("%s, element %zu: %.9g, expected %.9g within %.3g", what, at, (double)found,
                 expected, bound);
}

/* ---- Element by element --------------------------------------------------------------------- */

/* The activation in double, and in *bound the error its definition allows. */
static double activate(uint32_t act, double x, double *bound)
{
    double y = 0;
    *bound = 0;
    switch (act) {
    case LLRT_ACT_SILU:
        y = x / (1 + exp(-x));
        break;
    case LLRT_ACT_GELU:
        y = 0.5 * x * (1 + erf(x * sqrt(0.5)));
        *bound = 4 * EPS * fabs(x); /* 1 + erf cancels */
        break;
    case LLRT_ACT_GELU_TANH:
        y = 0.5 * x * (1 + tanh(sqrt(2 / acos(-1)) * (x + 0.044715 * x * x * x)));
        *bound = 8 * EPS * fabs(x);
        break;
    case LLRT_ACT_RELU:
        y = fmax(x, 0);
        break;
    case LLRT_ACT_RELU2:
        y = fmax(x, 0) * fmax(x, 0);
        break;
    case LLRT_ACT_GELU_QUICK:
        y = x / (1 + exp(-1.702 * x));
        break;
    case LLRT_ACT_SIGMOID:
        y = 1 / (1 + exp(-x));
        break;
    default:
        y = tanh(x);
        break;
    }
    *bound += (8 + 2 * fabs(x)) * EPS * fabs(y) + 1e-44; /* exp's argument is rounded */
    return y;
}

static void test_activations(void **state)
{
    for (uint32_t act = 0; act < 8; act++)
        for (int form = 0; form < 5; form++) { /* alone, gated, with limit, both, offset */
            static const float limits[] = {0, 0, 1.5f, 1.5f, 0}, offsets[] = {0, 0, 0, 1, -0.25f};
            one_op *const o = open_one();
            const int is_glu = form > 0;
            const double limit = form == 2 || form == 3 ? (double)limits[form] : INFINITY;
            const uint32_t n = form ? 133 : 1030, a = add_input(o, 1, n, act % 2 ? 3 : 20),
                           b = is_glu ? add_input(o, 1, n, 2) : LLRT_NONE;
            const uint32_t y = cpu_add_value(&o->m, LLRT_ROWS_TOKEN, 1, n);
            llrt_op *const op = cpu_add_op(&o->m, is_glu ? LLRT_OP_GLU : LLRT_OP_ACTIVATE, a, b, y);
            op->u.act.act = act;
            op->u.act.limit = limits[form];
            op->u.act.offset = offsets[form];
            run_one(o, LLRT_TYPE_F32, N_ROW);
            for (size_t i = 0; i < (size_t)N_ROW * n; i++) {
                double bound, gate = 1, gate_bound = 0;
                if (is_glu) {
                    gate = fmax(-limit, fmin(limit, (double)o->x[1][i])) + (double)offsets[form];
                    gate_bound = form >= 3 ? EPS * fabs(gate) : 0;
                }
                const double g = activate(act, fmin(limit, (double)o->x[0][i]), &bound),
                             e = g * gate;
                expect(e, bound * fabs(gate) + gate_bound * fabs(g) + EPS * fabs(e) + 1e-44,
                       o->y[i], is_glu ? "GLU" : "ACTIVATE", i);
            }
            close_one(o);
        }
}

static void test_arithmetic(void **state)
{
    static const llrt_op_kind kind[] = {LLRT_OP_ADD, LLRT_OP_MUL, LLRT_OP_SIGMOID_GATE,
                                        LLRT_OP_SCALE, LLRT_OP_SOFT_CAP};
    for (size_t k = 0; k < LLRTI_COUNT(kind); k++) {
        one_op *const o = open_one();
        const int is_binary = k < 3;
        const uint32_t a = add_input(o, 3, 41, 9),
                       b = is_binary ? add_input(o, 3, 41, 4) : LLRT_NONE;
        const uint32_t y = cpu_add_value(&o->m, LLRT_ROWS_TOKEN, 3, 41);
        llrt_op *const op = cpu_add_op(&o->m, kind[k], a, b, y);
        if (!is_binary) op->u.scale.factor = 2.7f;
        run_one(o, LLRT_TYPE_F32, N_ROW);
        for (size_t i = 0; i < N_ROW * 123; i++) {
            const double u = (double)o->x[0][i], v = is_binary ? (double)o->x[1][i] : (double)2.7f;
            double e = 0;
            if (kind[k] == LLRT_OP_ADD) e = u + v;
            if (kind[k] == LLRT_OP_MUL || kind[k] == LLRT_OP_SCALE) e = u * v;
            if (kind[k] == LLRT_OP_SIGMOID_GATE) e = u / (1 + exp(-v));
            if (kind[k] == LLRT_OP_SOFT_CAP) e = v * tanh(u / v);
            expect(e, (k == 2 || k == 4 ? 8 : 1) * EPS * fabs(e), o->y[i], "arithmetic", i);
        }
        close_one(o);
    }
}

/* ---- Rows ----------------------------------------------------------------------------------- */

static void test_norms(void **state)
{
    static const uint32_t width[] = {1, 15, 16, 17, 64, 131};
    for (size_t k = 0; k < LLRTI_COUNT(width); k++)
        for (int form = 0; form < 9; form++) {
            /* RMS: weight, none; layer: both, none, weight, bias; of each head: RMS, layer, layer's bias */
            one_op *const o = open_one();
            const uint32_t n = width[k], x = add_input(o, 2, n, 3),
                           y = cpu_add_value(&o->m, LLRT_ROWS_TOKEN, 2, n);
            const int is_layer = form >= 2 && form != 6,
                      has_w = form == 0 || form == 2 || form == 4 || form >= 6,
                      has_b = form == 2 || form == 5 || form >= 7;
            const uint32_t n_w = form == 6 || form == 7 ? 2 : 1, n_b = form >= 7 ? 2 : 1;
            llrt_op *const op = cpu_add_op(&o->m, is_layer ? LLRT_OP_LAYER_NORM : LLRT_OP_RMS_NORM,
                                           x, LLRT_NONE, y);
            op->u.norm.eps = 1e-5f;
            op->u.norm.weight_offset = is_layer ? 0 : 0.5f;
            if (has_w) add_tensor(o, op, 0, k % 2 ? LLRT_TYPE_F16 : LLRT_TYPE_F32, n * n_w, 1, 1);
            if (has_b) add_tensor(o, op, 1, k % 2 ? LLRT_TYPE_F32 : LLRT_TYPE_BF16, n * n_b, 1, 0);
            run_one(o, LLRT_TYPE_F32, N_ROW);
            for (size_t row = 0; row < N_ROW * 2; row++) {
                const float *const v = o->x[0] + row * n;
                double sum = 0, square = 0, magnitude = 0;
                for (uint32_t i = 0; i < n; i++)
                    sum += (double)v[i], magnitude += fabs((double)v[i]);
                const double mean = is_layer ? sum / n : 0;
                for (uint32_t i = 0; i < n; i++)
                    square += ((double)v[i] - mean) * ((double)v[i] - mean);
                const double inv = 1 / sqrt(square / n + (double)1e-5f);
                /* error of the mean, which every element and the variance take over */
                const double mean_error = is_layer ? (n / 16 + 6) * EPS * magnitude / n : 0;
                for (uint32_t i = 0; i < n; i++) {
                    const size_t head = row % 2, w_at = n_w > 1 ? head * n + i : i,
                                 b_at = n_b > 1 ? head * n + i : i;
                    const double w =
                        has_w ? (double)o->m.tensor[0].value[w_at] + (is_layer ? 0 : 0.5) : 1;
                    const double b = has_b ? (double)o->m.tensor[has_w].value[b_at] : 0,
                                 d = (double)v[i] - mean;
                    const double e = d * inv * w + b;
                    const double relative =
                        (n / 16 + 12) * EPS + mean_error * mean_error * inv * inv;
                    const double bound = fabs(d * inv * w) * relative +
                                         (mean_error + EPS * fabs(d)) * inv * fabs(w) +
                                         EPS * fabs(e);
                    expect(e, bound, o->y[row * n + i], is_layer ? "LAYER_NORM" : "RMS_NORM", i);
                }
            }
            close_one(o);
        }
}

static void test_rope(void **state)
{
    for (int form = 0; form < 4; form++) {
        one_op *const o = open_one();
        const uint32_t width = 24, n_rot = form < 2 ? 24 : 14, x = add_input(o, 3, width, 2);
        const uint32_t y = cpu_add_value(&o->m, LLRT_ROWS_TOKEN, 3, width);
        llrt_op *const op = cpu_add_op(&o->m, LLRT_OP_ROPE, x, LLRT_NONE, y);
        float freq[12];
        for (uint32_t i = 0; i < n_rot / 2; i++)
            freq[i] = powf(10000, -2.0f * (float)i / (float)n_rot);
        op->u.rope.pairs = form % 2;
        op->u.rope.n_rot = n_rot;
        op->u.rope.magnitude = 1.25f;
        op->u.rope.inv_freq = freq;
        o->pos_begin = 100;
        run_one(o, LLRT_TYPE_F32, 10);
        for (size_t row = 0; row < N_ROW; row++)
            for (size_t i = 0; i < 3 * width; i++) {
                const size_t e = i % width, half = n_rot / 2, at = row * 3 * width + i;
                const size_t pair = form % 2 ? e % half : e / 2, step = form % 2 ? half : 1;
                if (e >= n_rot) {
                    assert_true(o->y[at] == o->x[0][at]);
                    continue;
                }
                const double angle = (double)(100 + row) * (double)freq[pair];
                const int is_second = form % 2 ? e >= half : (int)(e % 2);
                const double a = (double)o->x[0][is_second ? at - step : at],
                             b = (double)o->x[0][is_second ? at : at + step];
                const double expected = 1.25 * (is_second ? b * cos(angle) + a * sin(angle)
                                                          : a * cos(angle) - b * sin(angle));
                expect(expected, 1.25 * 4 * EPS * (fabs(a) + fabs(b)), o->y[at], "ROPE", at);
            }
        close_one(o);
    }
}

/*
 * Positions of three numbers: with and without the step's own. Two rotations with equal angles but for their axes (the second has
 * others, or none) follow one another, so that the sum of their angles is found.
 */
static void test_rope_axes(void **state)
{
    static const uint8_t axis[2][5] = {{0, 2, 1, 1, 2}, {1, 0, 2, 1, 0}};
    int32_t position[N_ROW * 3];
    for (int32_t i = 0; i < N_ROW * 3; i++) position[i] = i * 37 % 101 - 20;
    for (int form = 0; form < 6; form++) {
        const int has_position = form < 4, has_second = form < 2;
        one_op *const o = open_one();
        const uint32_t width = 12, half = 5, x = add_input(o, 2, width, 2);
        const uint32_t y = cpu_add_value(&o->m, LLRT_ROWS_TOKEN, 2, width),
                       z = cpu_add_value(&o->m, LLRT_ROWS_TOKEN, 2, width);
        const float freq[5] = {1, 0.4f, 0.1f, 0.07f, 0.01f};
        for (int k = 0; k < 2; k++) {
            llrt_op *const op = cpu_add_op(&o->m, LLRT_OP_ROPE, k ? y : x, LLRT_NONE, k ? z : y);
            op->u.rope.pairs = form % 2;
            op->u.rope.n_rot = 2 * half;
            op->u.rope.magnitude = 1;
            op->u.rope.inv_freq = freq;
            if (k == 0 || has_second) op->u.rope.axis = axis[k];
        }
        o->position = has_position ? position : NULL;
        o->pos_begin = 3;
        run_one(o, LLRT_TYPE_F32, 10);
        for (size_t at = 0; at < (size_t)N_ROW * 2 * width; at++) {
            const size_t row = at / (2 * width), e = at % width;
            const size_t pair = form % 2 ? e % half : e / 2, step = form % 2 ? half : 1;
            if (e >= 2 * half) {
                assert_true(o->y[at] == o->x[0][at]);
                continue;
            }
            const double place = (double)(row + 3);
            const int32_t *const three = &position[3 * row];
            const double first = has_position ? three[axis[0][pair]] : place;
            const double second = has_position ? three[has_second ? axis[1][pair] : 0] : place;
            const double angle = (first + second) * (double)freq[pair];
            const int is_second = form % 2 ? e >= half : (int)(e % 2);
            const double a = (double)o->x[0][is_second ? at - step : at],
                         b = (double)o->x[0][is_second ? at : at + step];
            const double expected =
                is_second ? b * cos(angle) + a * sin(angle) : a * cos(angle) - b * sin(angle);
            expect(expected, 8 * EPS * (fabs(a) + fabs(b)), o->y[at], "ROPE with axes", at);
        }
        close_one(o);
    }
}

static void test_token_type(void **state)
{
    uint8_t type[N_ROW];
    for (int i = 0; i < N_ROW; i++) type[i] = (uint8_t)(i * 5 % 3);
    for (int has_types = 0; has_types < 2; has_types++) {
        one_op *const o = open_one();
        const uint32_t d = 52, x = add_input(o, 1, d, 1),
                       y = cpu_add_value(&o->m, LLRT_ROWS_TOKEN, 1, d);
        llrt_op *const op = cpu_add_op(&o->m, LLRT_OP_TOKEN_TYPE, x, LLRT_NONE, y);
        add_tensor(o, op, 0, LLRT_TYPE_F16, d, 3, 0);
        o->token_type = has_types ? type : NULL;
        run_one(o, LLRT_TYPE_F32, 9);
        for (size_t i = 0; i < (size_t)N_ROW * d; i++) {
            const size_t row = has_types ? type[i / d] : 0;
            const double e = (double)o->x[0][i] + (double)o->m.tensor[0].value[row * d + i % d];
            expect(e, EPS * fabs(e), o->y[i], "TOKEN_TYPE", i);
        }
        close_one(o);
    }
}

static void test_moving_rows(void **state)
{
    /* concat of three, then a slice that cuts through two of them, regrouped into heads, then the wanted rows */
    one_op *const o = open_one();
    uint32_t in[3] = {add_input(o, 1, 5, 1), add_input(o, 2, 4, 1), add_input(o, 1, 11, 1)};
    const uint32_t all = cpu_add_value(&o->m, LLRT_ROWS_TOKEN, 1, 24);
    llrt_op *op = cpu_add_op(&o->m, LLRT_OP_CONCAT, in[0], in[1], all);
    op->n_in = 3;
    op->in[2] = in[2];
    const uint32_t part = cpu_add_value(&o->m, LLRT_ROWS_TOKEN, 3, 4),
                   wanted = cpu_add_value(&o->m, LLRT_ROWS_OUT, 3, 4);
    cpu_add_op(&o->m, LLRT_OP_SLICE, all, LLRT_NONE, part)->u.slice.begin = 3;
    cpu_add_op(&o->m, LLRT_OP_GATHER, part, LLRT_NONE, wanted);
    run_one(o, LLRT_TYPE_F32, N_ROW);
    assert_int_equal(o->n_out, (N_ROW + 1) / 2);
    for (size_t k = 0; k < o->n_out; k++)
        for (size_t i = 0; i < 12; i++) {
            const size_t row = 2 * k, e = i + 3;
            const float expected = e < 5    ? o->x[0][row * 5 + e]
                                   : e < 13 ? o->x[1][row * 8 + e - 5]
                                            : o->x[2][row * 11 + e - 13];
            assert_true(o->y[k * 12 + i] == expected);
        }
    close_one(o);
}

static void test_joining_heads(void **state)
{
    one_op *const o = open_one();
    const uint32_t a = add_input(o, 3, 5, 1), b = add_input(o, 3, 2, 1);
    cpu_add_op(&o->m, LLRT_OP_CONCAT, a, b, cpu_add_value(&o->m, LLRT_ROWS_TOKEN, 3, 7));
    run_one(o, LLRT_TYPE_F32, N_ROW);
    for (size_t i = 0; i < N_ROW * 21; i++) {
        const size_t row = i / 21, head = i % 21 / 7, e = i % 7;
        const float expected =
            e < 5 ? o->x[0][row * 15 + head * 5 + e] : o->x[1][row * 6 + head * 2 + e - 5];
        assert_true(o->y[i] == expected);
    }
    close_one(o);
}

static void test_embed_and_position(void **state)
{
    static const llrt_type type[] = {LLRT_TYPE_F32, LLRT_TYPE_F16, LLRT_TYPE_BF16, LLRT_TYPE_Q8_0};
    for (size_t t = 0; t < LLRTI_COUNT(type); t++) {
        one_op *const o = open_one();
        const uint32_t d = 96, x = cpu_add_value(&o->m, LLRT_ROWS_TOKEN, 1, d),
                       y = cpu_add_value(&o->m, LLRT_ROWS_TOKEN, 1, d);
        llrt_op *op = cpu_add_op(&o->m, LLRT_OP_EMBED, LLRT_NONE, LLRT_NONE, x);
        op->u.scale.factor = 3;
        add_tensor(o, op, 0, type[t], d, 70, 0);
        op = cpu_add_op(&o->m, LLRT_OP_POSITION, x, LLRT_NONE, y);
        op->u.position.offset = 2;
        add_tensor(o, op, 0, type[t], d, 67, 0);
        o->pos_begin = 67 - 2 - N_ROW; /* the last row is the table's last */
        run_one(o, LLRT_TYPE_F32, 8);
        for (size_t i = 0; i < N_ROW * d; i++) {
            const size_t row = i / d, e = i % d;
            const double a = 3 * (double)o->m.tensor[0].value[(size_t)o->token[row] * d + e];
            const double b = (double)o->m.tensor[1].value[(67 - N_ROW + row) * d + e];
            expect(a + b, EPS * (fabs(a) + fabs(a + b)), o->y[i], "EMBED and POSITION", i);
        }
        close_one(o);
    }
}

static void test_linear(void **state)
{
    static const llrt_type type[] = {LLRT_TYPE_F32, LLRT_TYPE_F16, LLRT_TYPE_BF16, LLRT_TYPE_Q8_0};
    for (size_t t = 0; t < LLRTI_COUNT(type); t++) {
        one_op *const o = open_one();
        const uint32_t k = 160, n = 75, x = add_input(o, 5, 32, 1),
                       y = cpu_add_value(&o->m, LLRT_ROWS_TOKEN, 1, n);
        llrt_op *const op = cpu_add_op(&o->m, LLRT_OP_LINEAR, x, LLRT_NONE, y);
        add_tensor(o, op, 0, type[t], k, n, 0);
        add_tensor(o, op, 1, LLRT_TYPE_F32, n, 1, 0);
        run_one(o, LLRT_TYPE_F32, 9);
        for (size_t i = 0; i < N_ROW * n; i++) {
            double e = (double)o->m.tensor[1].value[i % n], magnitude = fabs(e);
            for (uint32_t j = 0; j < k; j++) {
                const double p =
                    (double)o->x[0][i / n * k + j] * (double)o->m.tensor[0].value[i % n * k + j];
                e += p;
                magnitude += fabs(p);
            }
            expect(e, (k + 1) * EPS * magnitude, o->y[i], "LINEAR", i);
        }
        close_one(o);
    }
}

/* ---- Attention ------------------------------------------------------------------------------ */

typedef struct attention_form {
    uint32_t n_head, n_kv_head, k_dim, v_dim, window, chunk;
    float soft_cap;
} attention_form;

static void check_attention(const attention_form *f, llrt_type type)
{
    one_op *const o = open_one();
    const uint32_t q = add_input(o, f->n_head, f->k_dim, 3),
                   k = add_input(o, f->n_kv_head, f->k_dim, 1);
    const uint32_t v = add_input(o, f->n_kv_head, f->v_dim, 1),
                   y = cpu_add_value(&o->m, LLRT_ROWS_TOKEN, f->n_head, f->v_dim);
    llrt_op *const op = cpu_add_op(&o->m, LLRT_OP_ATTENTION, q, k, y);
    op->n_in = 3;
    op->in[2] = v;
    op->u.attention.scale = 0.4f;
    op->u.attention.window = f->window;
    op->u.attention.soft_cap = f->soft_cap;
    o->m.desc.n_kv = 1;
    o->m.kv[0] = (llrt_kv_desc){f->n_kv_head, f->k_dim, f->v_dim, 0};
    run_one(o, type, f->chunk);

    double *const kd = malloc(N_ROW * f->n_kv_head * f->k_dim * sizeof *kd);
    double *const vd = malloc(N_ROW * f->n_kv_head * f->v_dim * sizeof *vd);
    assert_non_null(kd);
    assert_non_null(vd);
    for (size_t i = 0; i < N_ROW * f->n_kv_head; i++) {
        cpu_round_kv(type, o->x[1] + i * f->k_dim, f->k_dim, kd + i * f->k_dim);
        cpu_round_kv(type, o->x[2] + i * f->v_dim, f->v_dim, vd + i * f->v_dim);
    }
    for (uint32_t row = 0; row < N_ROW; row++)
        for (uint32_t head = 0; head < f->n_head; head++) {
            const uint32_t first = f->window && row + 1 > f->window ? row + 1 - f->window : 0;
            const uint32_t kv_head = head / (f->n_head / f->n_kv_head);
            double p[N_ROW], top = -INFINITY, sum = 0, error = 0;
            for (uint32_t j = first; j <= row; j++) {
                double s = 0, magnitude = 0;
                for (uint32_t e = 0; e < f->k_dim; e++) {
                    const double product =
                        (double)o->x[0][(row * f->n_head + head) * f->k_dim + e] *
                        kd[(j * f->n_kv_head + kv_head) * f->k_dim + e];
                    s += product;
                    magnitude += fabs(product);
                }
                s *= (double)0.4f;
                error = fmax(error, ((f->k_dim + 8) * magnitude * 0.4 + fabs(s)) * EPS);
                if (f->soft_cap > 0) s = (double)f->soft_cap * tanh(s / (double)f->soft_cap);
                p[j] = s;
                top = fmax(top, s);
            }
            for (uint32_t j = first; j <= row; j++) sum += p[j] = exp(p[j] - top);
            /* every weight is off by twice the scores' error, and sums of up to N_ROW terms follow */
            const double relative = 2 * error + (N_ROW + 24) * EPS;
            for (uint32_t e = 0; e < f->v_dim; e++) {
                double expected = 0, magnitude = 0;
                for (uint32_t j = first; j <= row; j++) {
                    const double product =
                        p[j] / sum * vd[(j * f->n_kv_head + kv_head) * f->v_dim + e];
                    expected += product;
                    magnitude += fabs(product);
                }
                const size_t at = (row * f->n_head + head) * f->v_dim + e;
                expect(expected, 2 * relative * magnitude, o->y[at], "ATTENTION", at);
            }
        }
    free(kd);
    free(vd);
    close_one(o);
}

static void test_attention(void **state)
{
    static const attention_form form[] = {
        {1, 1, 8, 8, 0, N_ROW, 0}, {8, 2, 33, 40, 0, N_ROW, 0}, {6, 6, 16, 7, 5, 4, 0},
        {70, 1, 65, 5, 0, 10, 0},  {4, 4, 32, 64, 1, 1, 0},     {9, 3, 20, 20, 17, 6, 2.5f},
    };
    static const llrt_type type[] = {LLRT_TYPE_F32, LLRT_TYPE_F16, LLRT_TYPE_BF16, LLRT_TYPE_Q8_0};
    for (size_t i = 0; i < LLRTI_COUNT(form); i++)
        for (size_t t = 0; t < LLRTI_COUNT(type); t++) check_attention(&form[i], type[t]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_activations),
        cmocka_unit_test(test_arithmetic),
        cmocka_unit_test(test_norms),
        cmocka_unit_test(test_rope),
        cmocka_unit_test(test_rope_axes),
        cmocka_unit_test(test_token_type),
        cmocka_unit_test(test_moving_rows),
        cmocka_unit_test(test_joining_heads),
        cmocka_unit_test(test_embed_and_position),
        cmocka_unit_test(test_linear),
        cmocka_unit_test(test_attention),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
