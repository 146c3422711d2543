/* SPDX-License-Identifier: MIT */
/*
 * The kernels of vector.def against ref: lengths around the 16 lanes and the four vectors side by side, unaligned rows.
 */
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

typedef struct vecmat_bench {
    llrti_vecmat_fn *run;
    size_t k, n;
    float *x, *w, *y;
} vecmat_bench;

static void call_vecmat(void *ctx)
{
    const vecmat_bench *const b = ctx;
    b->run(b->k, b->n, b->x, b->w, b->n, b->y);
}

static void check_vecmat(check_run *run, const void *ctx)
{
    static const size_t bench_shape[][2] = {{4096, 16}, {16, 4096}, {4096, 8}};
    llrti_vecmat_fn *const kernel = *(llrti_vecmat_fn *const *)ctx;
    const size_t n_shape = run->is_bench ? 3 : N_LENGTH;
    for (size_t i = 0; i < n_shape; i++)
        for (int pattern = 0; pattern < (run->is_bench ? 1 : CHECK_N_FILL); pattern++) {
            const size_t n = run->is_bench ? bench_shape[i][1] : lengths[i];
            const size_t k = run->is_bench ? bench_shape[i][0] : lengths[(i * 5 + 3) % N_LENGTH];
            const size_t stride = run->is_bench ? n : n + i % 3, skew = check_random(run) % 16 * 4;
            const size_t n_w = (k - 1) * stride + n;
            float *const x = check_alloc(run, k * sizeof *x, skew);
            float *const w = check_alloc(run, n_w * sizeof *x, (skew + 20) % 64);
            float *const expected = check_alloc(run, n * sizeof *x, 0);
            float *const found = check_alloc(run, n * sizeof *x, (skew + 28) % 64);
            check_fill(run, pattern, x, k);
            check_fill(run, CHECK_FILL_MIXED, w, n_w);
            if (run->is_bench) {
                vecmat_bench b = {kernel, k, n, x, w, found};
                check_bench(run,
                            i == 0   ? "4096x16"
                            : i == 1 ? "16x4096"
                                     : "4096x8",
                            (double)(k * n), "multiply-adds", call_vecmat, &b);
            } else {
                llrtk_vecmat_f32_ref(k, n, x, w, stride, expected);
                kernel(k, n, x, w, stride, found);
                check_same(run, expected, found, n, "y");
            }
            check_free(run, x);
            check_free(run, w);
            check_free(run, expected);
            check_free(run, found);
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
