/* SPDX-License-Identifier: MIT */
/*
 * The kernels of recurrent.def against ref: widths around the 16 lanes and the vectors side by side, one token and several, the
 * state in place and from elsewhere, at unaligned addresses.
 */
#include <math.h>
#include <string.h>

#include "checkkern.h"
#include "ops.h"

static const size_t widths[] = {1, 7, 15, 16, 17, 31, 32, 33, 48, 64, 65, 80, 101, 128};
#define N_WIDTH (sizeof widths / sizeof widths[0])

/* ---- Decays --------------------------------------------------------------------------------- */

/* Inputs of one token's heads and two results of the same number. */
typedef struct heads {
    size_t n;
    float *x, *w, *bias, *expected, *found;
} heads;

static heads make_heads(check_run *run, size_t n, int pattern, size_t n_result)
{
    const size_t size = n * sizeof(float), skew = check_random(run) % 16 * 4;
    heads h = {.n = n};
    h.x = check_alloc(run, size, skew);
    h.w = check_alloc(run, size, (skew + 4) % 64);
    h.bias = check_alloc(run, size, (skew + 44) % 64);
    h.expected = check_alloc(run, size * n_result, 0);
    h.found = check_alloc(run, size * n_result, (skew + 20) % 64);
    check_fill(run, pattern, h.x, n);
    check_fill(run, CHECK_FILL_RANDOM, h.w, n);
    check_fill(run, CHECK_FILL_MIXED, h.bias, n);
    if (n > 2) h.x[n / 2] = NAN;
    if (n > 1) h.x[n - 1] = -INFINITY;
    return h;
}

static void free_heads(check_run *run, const heads *h)
{
    check_free(run, h->x);
    check_free(run, h->w);
    check_free(run, h->bias);
    check_free(run, h->expected);
    check_free(run, h->found);
}

static void check_delta_decay(check_run *run, llrti_delta_decay_fn *kernel)
{
    for (size_t i = 0; i < N_WIDTH; i++)
        for (int pattern = 0; pattern < CHECK_N_FILL; pattern++) {
            const heads h = make_heads(run, widths[i], pattern, 1);
            const bool is_log = (i + (size_t)pattern) % 2;
            llrtk_delta_decay_f32_ref(h.n, h.x, h.w, h.bias, is_log, h.expected);
            kernel(h.n, h.x, h.w, h.bias, is_log, h.found);
            check_same(run, h.expected, h.found, h.n, "decay");
            free_heads(run, &h);
        }
}

static void check_scan_decay(check_run *run, llrti_scan_decay_fn *kernel)
{
    for (size_t i = 0; i < N_WIDTH; i++)
        for (int pattern = 0; pattern < CHECK_N_FILL; pattern++) {
            const heads h = make_heads(run, widths[i], pattern, 2);
            llrti_scan_step step = {.x = h.x, .w = h.w, .bias = h.bias};
            step.is_log = (i + (size_t)pattern) % 2;
            step.t_min = i % 3 ? 0.0f : 0.2f;
            step.t_max = i % 4 ? INFINITY : 0.9f;
            step.t = h.expected;
            step.decay = h.expected + h.n;
            llrtk_scan_decay_f32_ref(h.n, &step);
            step.t = h.found;
            step.decay = h.found + h.n;
            kernel(h.n, &step);
            check_same(run, h.expected, h.found, 2 * h.n, "t and decay");
            free_heads(run, &h);
        }
}

/* ---- Convolution ---------------------------------------------------------------------------- */

static void call_conv(void *ctx)
{
    const void *const *const pair = ctx;
    (*(llrti_conv_fn *const *)pair[0])(pair[1]);
}

static void check_conv(check_run *run, llrti_conv_fn *kernel)
{
    for (size_t i = 0; i < N_WIDTH; i++)
        for (int pattern = 0; pattern < CHECK_N_FILL; pattern++) {
            const size_t n = run->is_bench ? 4096 : widths[i], stride = n + i % 3;
            const size_t n_tok = run->is_bench ? 64 : 1 + (i + (size_t)pattern) % 9;
            const size_t n_tap = run->is_bench ? 4 : 1 + i % 5, skew = check_random(run) % 16 * 4;
            float *const x = check_alloc(run, n_tok * stride * sizeof *x, skew);
            float *const w = check_alloc(run, n_tap * stride * sizeof *x, (skew + 4) % 64);
            float *const bias = check_alloc(run, n * sizeof *x, (skew + 12) % 64);
            float *const history = check_alloc(run, n_tap * stride * sizeof *x, (skew + 8) % 64);
            float *const expected = check_alloc(run, n_tok * n * sizeof *x, 0);
            float *const found = check_alloc(run, n_tok * n * sizeof *x, (skew + 24) % 64);
            check_fill(run, pattern, x, n_tok * stride);
            check_fill(run, CHECK_FILL_RANDOM, w, n_tap * stride);
            check_fill(run, CHECK_FILL_RANDOM, bias, n);
            check_fill(run, pattern, history, n_tap * stride);
            llrti_conv_args a = {.n_tok = n_tok,
                                 .n_channel = n,
                                 .n_tap = n_tap,
                                 .w = w,
                                 .bias = pattern % 2 ? bias : NULL,
                                 .history = history,
                                 .x = x,
                                 .out = expected,
                                 .w_stride = stride,
                                 .history_stride = stride,
                                 .x_stride = stride,
                                 .out_stride = n};
            if (!run->is_bench) llrtk_conv_f32_ref(&a);
            a.out = found;
            if (run->is_bench) {
                const void *pair[2] = {&kernel, &a};
                check_bench(run, "64x4096x4", 64 * 4096 * 4, "multiply-adds", call_conv, pair);
            } else {
                kernel(&a);
                check_same(run, expected, found, n_tok * n, "out");
            }
            check_free(run, x);
            check_free(run, w);
            check_free(run, bias);
            check_free(run, history);
            check_free(run, expected);
            check_free(run, found);
            if (run->is_bench) return;
        }
}

/* ---- Scans ---------------------------------------------------------------------------------- */

typedef struct scan_buffers {
    llrti_scan_args a;
    float *q, *k, *x, *gate, *decay, *in, *state[2], *out[2];
    size_t n_state, n_out;
} scan_buffers;

static scan_buffers make_scan(check_run *run, size_t n_tok, size_t n_row, size_t n_col, int pattern)
{
    const size_t pad = check_random(run) % 3, stride = n_col + pad;
    const size_t skew = check_random(run) % 16 * 4;
    scan_buffers s = {.n_state = (n_row - 1) * stride + n_col, .n_out = n_tok * stride};
    s.q = check_alloc(run, n_tok * (n_row + pad) * sizeof(float), skew);
    s.k = check_alloc(run, n_tok * (n_row + pad) * sizeof(float), (skew + 4) % 64);
    s.x = check_alloc(run, s.n_out * sizeof(float), (skew + 16) % 64);
    s.gate = check_alloc(run, n_tok * 3 * sizeof(float), skew);
    s.decay = check_alloc(run, n_tok * 2 * sizeof(float), skew);
    s.in = check_alloc(run, s.n_state * sizeof(float), (skew + 8) % 64);
    check_fill(run, CHECK_FILL_RANDOM, s.q, n_tok * (n_row + pad));
    check_fill(run, CHECK_FILL_RANDOM, s.k, n_tok * (n_row + pad));
    check_fill(run, pattern, s.x, s.n_out);
    check_fill(run, CHECK_FILL_RANDOM, s.gate, n_tok * 3);
    check_fill(run, CHECK_FILL_RANDOM, s.decay, n_tok * 2);
    check_fill(run, pattern, s.in, s.n_state);
    for (int i = 0; i < 2; i++) {
        s.state[i] = check_alloc(run, s.n_state * sizeof(float), i ? (skew + 20) % 64 : 0);
        s.out[i] = check_alloc(run, s.n_out * sizeof(float), i ? (skew + 40) % 64 : 0);
        /* What lies between columns must stay. */
        memcpy(s.state[i], s.in, s.n_state * sizeof(float));
        memcpy(s.out[i], s.x, s.n_out * sizeof(float));
    }
    s.a = (llrti_scan_args){.n_tok = n_tok,
                            .n_row = n_row,
                            .n_col = n_col,
                            .q = s.q,
                            .k = s.k,
                            .x = s.x,
                            .qk_stride = n_row + pad,
                            .x_stride = stride,
                            .decay = s.decay,
                            .gate = s.gate,
                            .decay_stride = 2,
                            .gate_stride = 3,
                            .d = check_uniform(run, -1, 1),
                            .in = s.in,
                            .state_stride = stride,
                            .out_stride = stride};
    return s;
}

static void free_scan(check_run *run, const scan_buffers *s)
{
    float *const all[] = {s->q,  s->k,        s->x,      s->gate,   s->decay,
                          s->in, s->state[0], s->out[0], s->out[1], s->state[1]};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) check_free(run, all[i]);
}

static void call_scan(void *ctx)
{
    const void *const *const pair = ctx;
    (*(llrti_scan_fn *const *)pair[0])(pair[1]);
}

static void check_scan(check_run *run, llrti_scan_fn *kernel, llrti_scan_fn *ref)
{
    if (run->is_bench) {
        scan_buffers s = make_scan(run, 64, 128, 64, CHECK_FILL_RANDOM);
        s.a.in = s.a.state = s.state[1];
        s.a.out = s.out[1];
        const void *pair[2] = {&kernel, &s.a};
        check_bench(run, "64x128x64", 64 * 128 * 64, "elements", call_scan, pair);
        free_scan(run, &s);
        return;
    }
    for (size_t i = 0; i < N_WIDTH; i++)
        for (int pattern = 0; pattern < CHECK_N_FILL; pattern++) {
            scan_buffers s = make_scan(run, 1 + (i + (size_t)pattern) % 4,
                                       widths[(i * 3 + 5) % N_WIDTH], widths[i], pattern);
            for (int turn = 0; turn < 2; turn++) { /* from elsewhere, then on in place */
                s.a.state = s.state[0];
                s.a.out = s.out[0];
                if (turn) s.a.in = s.state[0];
                ref(&s.a);
                s.a.state = s.state[1];
                s.a.out = s.out[1];
                if (turn) s.a.in = s.state[1];
                kernel(&s.a);
                check_same(run, s.out[0], s.out[1], s.n_out, "out");
                check_same(run, s.state[0], s.state[1], s.n_state, "state");
            }
            free_scan(run, &s);
        }
}

/* ---- The list ------------------------------------------------------------------------------- */

typedef struct kernel_case {
    llrti_ops ops; /* with the kernel in its slot */
    size_t slot;
} kernel_case;

static void check_slot(check_run *run, const llrti_ops *ops, size_t slot)
{
    if (slot == offsetof(llrti_ops, delta_decay) && !run->is_bench)
        check_delta_decay(run, ops->delta_decay);
    if (slot == offsetof(llrti_ops, scan_decay) && !run->is_bench)
        check_scan_decay(run, ops->scan_decay);
    if (slot == offsetof(llrti_ops, conv)) check_conv(run, ops->conv);
    if (slot == offsetof(llrti_ops, delta)) check_scan(run, ops->delta, llrtk_delta_f32_ref);
    if (slot == offsetof(llrti_ops, scan)) check_scan(run, ops->scan, llrtk_scan_f32_ref);
}

static void check_case(check_run *run, const void *ctx)
{
    const kernel_case *const c = ctx;
    check_slot(run, &c->ops, c->slot);
}

void check_recurrent(check_run *run)
{
#define X(type, member, symbol, isa, is_exact)                                                     \
    {                                                                                              \
        kernel_case c = {.slot = offsetof(llrti_ops, member)};                                     \
        c.ops.member = symbol;                                                                     \
        check_kernel(run, #symbol, LLRTI_ISA_##isa, check_case, &c);                               \
    }
#include "recurrent.def"
#undef X
}
