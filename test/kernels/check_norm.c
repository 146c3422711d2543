/* SPDX-License-Identifier: MIT */
/*
 * The kernels of norm.def against ref: row lengths around the 16 lanes, one row and several, with and without weights, in
 * place and not, at unaligned addresses.
 */
#include "checkkern.h"
#include "ops.h"

static const size_t lengths[] = {1, 2, 7, 15, 16, 17, 31, 32, 33, 64, 101, 255, 768, 2048};
#define N_LENGTH (sizeof lengths / sizeof lengths[0])

typedef struct rows {
    size_t n_row, n;
    float *x, *w, *bias, *expected, *found;
} rows;

static rows make_rows(check_run *run, size_t n_row, size_t n, int pattern)
{
    const size_t size = n_row * n * sizeof(float);
    const size_t skew = check_random(run) % 16 * 4;
    rows r = {.n_row = n_row, .n = n};
    r.x = check_alloc(run, size, skew);
    r.w = check_alloc(run, n * sizeof(float), (skew + 20) % 64);
    r.bias = check_alloc(run, n * sizeof(float), (skew + 8) % 64);
    r.expected = check_alloc(run, size, 0);
    r.found = check_alloc(run, size, (skew + 12) % 64);
    check_fill(run, pattern, r.x, n_row * n);
    check_fill(run, CHECK_FILL_RANDOM, r.w, n);
    check_fill(run, CHECK_FILL_MIXED, r.bias, n);
    return r;
}

static void free_rows(check_run *run, const rows *r)
{
    check_free(run, r->x);
    check_free(run, r->w);
    check_free(run, r->bias);
    check_free(run, r->expected);
    check_free(run, r->found);
}

typedef struct rms_norm_bench {
    llrti_rms_norm_fn *run;
    rows r;
} rms_norm_bench;

static void call_rms_norm(void *ctx)
{
    const rms_norm_bench *const b = ctx;
    b->run(b->r.n_row, b->r.n, b->r.x, b->r.w, 0, 1e-5f, b->r.found);
}

static void check_rms_norm(check_run *run, const void *ctx)
{
    llrti_rms_norm_fn *const kernel = *(llrti_rms_norm_fn *const *)ctx;
    llrti_rms_norm_fn *const ref = llrtk_rms_norm_f32_ref;
    if (run->is_bench) {
        rms_norm_bench b = {kernel, make_rows(run, 64, 2048, CHECK_FILL_RANDOM)};
        check_bench(run, "64x2048", 64 * 2048, "values", call_rms_norm, &b);
        free_rows(run, &b.r);
        return;
    }
    for (size_t i = 0; i < N_LENGTH; i++)
        for (int pattern = 0; pattern < CHECK_N_FILL; pattern++)
            for (int kind = 0; kind < 3; kind++) {
                const rows r = make_rows(run, i % 3 + 1, lengths[i], pattern);
                const float *const w = kind ? r.w : NULL;
                const float offset = kind == 2 ? 1.0f : 0.0f;
                ref(r.n_row, r.n, r.x, w, offset, 1e-6f, r.expected);
                kernel(r.n_row, r.n, r.x, w, offset, 1e-6f, r.found);
                check_same(run, r.expected, r.found, r.n_row * r.n, "y");
                kernel(r.n_row, r.n, r.x, w, offset, 1e-6f, r.x);
                check_same(run, r.expected, r.x, r.n_row * r.n, "y in place");
                free_rows(run, &r);
            }
}

static void check_layer_norm(check_run *run, const void *ctx)
{
    llrti_layer_norm_fn *const kernel = *(llrti_layer_norm_fn *const *)ctx;
    llrti_layer_norm_fn *const ref = llrtk_layer_norm_f32_ref;
    if (run->is_bench) return;
    for (size_t i = 0; i < N_LENGTH; i++)
        for (int pattern = 0; pattern < CHECK_N_FILL; pattern++)
            for (int kind = 0; kind < 4; kind++) {
                const rows r = make_rows(run, i % 3 + 1, lengths[i], pattern);
                const float *const w = kind & 1 ? r.w : NULL, *const bias =
                                                                  kind & 2 ? r.bias : NULL;
                ref(r.n_row, r.n, r.x, w, bias, 1e-5f, r.expected);
                kernel(r.n_row, r.n, r.x, w, bias, 1e-5f, r.found);
                check_same(run, r.expected, r.found, r.n_row * r.n, "y");
                kernel(r.n_row, r.n, r.x, w, bias, 1e-5f, r.x);
                check_same(run, r.expected, r.x, r.n_row * r.n, "y in place");
                free_rows(run, &r);
            }
}

void check_norm(check_run *run)
{
#define X(type, slot, symbol, isa, is_exact)                                                       \
    {                                                                                              \
        llrti_##type##_fn *const kernel = symbol;                                                  \
        check_kernel(run, #symbol, LLRTI_ISA_##isa, check_##type, &kernel);                        \
    }
#include "norm.def"
#undef X
}
