/* SPDX-License-Identifier: MIT */
/*
 * The kernels of vector.def against ref: lengths around the 16 lanes and the four vectors side by side, unaligned rows.
 */
#include <stdio.h>

#include "checkkern.h"
#include "ops.h"

static const size_t lengths[] = {1, 7, 15, 16, 17, 31, 48, 63, 64, 65, 80, 101, 130, 257};
#define N_LENGTH (sizeof lengths / sizeof lengths[0])

typedef struct axpy_bench {
    llrti_axpy_fn *run;
    float *x, *y;
} axpy_bench;

static void call_axpy(void *ctx)
{
    const axpy_bench *const b = ctx;
    b->run(4096, 0.3f, b->x, b->y);
}

static void check_axpy(check_run *run, const void *ctx)
{
    llrti_axpy_fn *const kernel = *(llrti_axpy_fn *const *)ctx;
    for (size_t i = 0; i < N_LENGTH; i++)
        for (int pattern = 0; pattern < CHECK_N_FILL; pattern++) {
            const size_t n = run->is_bench ? 4096 : lengths[i], skew = check_random(run) % 16 * 4;
            float *const x = check_alloc(run, n * sizeof *x, skew);
            float *const expected = check_alloc(run, n * sizeof *x, 0);
            float *const found = check_alloc(run, n * sizeof *x, (skew + 28) % 64);
            const float c = check_uniform(run, -2, 2);
            check_fill(run, pattern, x, n);
            check_fill(run, CHECK_FILL_MIXED, expected, n);
            for (size_t k = 0; k < n; k++) found[k] = expected[k];
            if (run->is_bench) {
                axpy_bench b = {kernel, x, found};
                check_bench(run, "4096", 4096, "values", call_axpy, &b);
            } else {
                llrtk_axpy_f32_ref(n, c, x, expected);
                kernel(n, c, x, found);
                check_same(run, expected, found, n, "y");
            }
            check_free(run, x);
            check_free(run, expected);
            check_free(run, found);
            if (run->is_bench) return;
        }
}

typedef struct rowmat_bench {
    llrti_rowmat_fn *run;
    llrti_rowmat_args a;
} rowmat_bench;

static void call_rowmat(void *ctx)
{
    const rowmat_bench *const b = ctx;
    b->run(&b->a);
}

/* Rows are apart by different strides; what lies between those of y must stay. */
static void check_rowmat_shape(check_run *run, llrti_rowmat_fn *kernel, const size_t shape[3],
                               int pattern)
{
    const size_t n_row = shape[0], k = shape[1], n = shape[2], pad = check_random(run) % 3;
    const size_t skew = check_random(run) % 16 * 4;
    const size_t n_w = (k - 1) * (n + pad) + n, n_y = n_row * (n + 2);
    float *const x = check_alloc(run, n_row * (k + 1) * sizeof *x, skew);
    float *const w = check_alloc(run, n_w * sizeof *x, (skew + 20) % 64);
    float *const expected = check_alloc(run, n_y * sizeof *x, 0);
    float *const found = check_alloc(run, n_y * sizeof *x, (skew + 28) % 64);
    check_fill(run, pattern, x, n_row * (k + 1));
    check_fill(run, CHECK_FILL_MIXED, w, n_w);
    for (size_t i = 0; i < n_y; i++) expected[i] = found[i] = -7;
    rowmat_bench b = {kernel,
                      {.n_row = n_row,
                       .k = k,
                       .n = n,
                       .x = x,
                       .w = w,
                       .y = expected,
                       .x_stride = k + 1,
                       .w_stride = n + pad,
                       .y_stride = n + 2}};
    if (!run->is_bench) llrtk_rowmat_f32_ref(&b.a);
    b.a.y = found;
    if (run->is_bench) {
        char name[48];
        snprintf(name, sizeof name, "%zux%zux%zu", n_row, k, n);
        check_bench(run, name, (double)(n_row * k * n), "multiply-adds", call_rowmat, &b);
    } else {
        kernel(&b.a);
        check_same(run, expected, found, n_y, "y");
    }
    check_free(run, x);
    check_free(run, w);
    check_free(run, expected);
    check_free(run, found);
}

static void check_rowmat(check_run *run, const void *ctx)
{
    static const size_t bench[][3] = {
        {1, 4096, 16}, {1, 16, 4096}, {1, 4096, 8}, {64, 4096, 16}, {64, 16, 4096}};
    llrti_rowmat_fn *const kernel = *(llrti_rowmat_fn *const *)ctx;
    for (size_t i = 0; run->is_bench && i < sizeof bench / sizeof bench[0]; i++)
        check_rowmat_shape(run, kernel, bench[i], CHECK_FILL_RANDOM);
    for (size_t i = 0; !run->is_bench && i < N_LENGTH; i++)
        for (size_t k = 0; k < N_LENGTH; k += 1 + i % 3)
            for (int pattern = 0; pattern < CHECK_N_FILL; pattern++) {
                const size_t shape[3] = {1 + (i + k) % 9, lengths[k], lengths[i]};
                check_rowmat_shape(run, kernel, shape, pattern);
            }
}

void check_vector(check_run *run)
{
#define X(type, slot, symbol, isa, is_exact)                                                       \
    {                                                                                              \
        llrti_##type##_fn *const kernel = symbol;                                                  \
        check_kernel(run, #symbol, LLRTI_ISA_##isa, check_##type, &kernel);                        \
    }
#include "vector.def"
#undef X
}
