/* SPDX-License-Identifier: MIT */
/*
 * The kernels of rope.def against ref: widths around the lanes, partial rotation, one head and several, in place and not.
 */
#include <math.h>

#include "checkkern.h"
#include "ops.h"

static const struct {
    size_t width, n_rot;
} shapes[] = {{2, 2},   {7, 2},   {16, 16}, {18, 18},  {32, 32},   {34, 34}, {40, 24}, {64, 64},
              {66, 62}, {80, 32}, {96, 96}, {101, 38}, {128, 128}, {128, 0}, {256, 64}};

typedef struct rope_case {
    llrti_rope_fn *run, *ref;
} rope_case;

typedef struct bench {
    llrti_rope_fn *run;
    float *x, *table, *y;
} bench;

static void call_bench(void *ctx)
{
    const bench *const b = ctx;
    b->run(32, 128, 128, b->table, b->x, b->y);
}

static void check_case(check_run *run, const void *ctx)
{
    const rope_case *const c = ctx;
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++)
        for (int pattern = 0; pattern < CHECK_N_FILL; pattern++) {
            const size_t n_head = run->is_bench ? 32 : i % 4 + 1;
            const size_t width = run->is_bench ? 128 : shapes[i].width;
            const size_t n_rot = run->is_bench ? 128 : shapes[i].n_rot;
            const size_t n = n_head * width, skew = check_random(run) % 16 * 4;
            float *const x = check_alloc(run, n * sizeof *x, skew);
            float *const table = check_alloc(run, n_rot * sizeof *x, (skew + 4) % 64);
            float *const expected = check_alloc(run, n * sizeof *x, 0);
            float *const found = check_alloc(run, n * sizeof *x, (skew + 36) % 64);
            check_fill(run, pattern, x, n);
            check_fill(run, CHECK_FILL_RANDOM, table, n_rot);
            if (run->is_bench) {
                bench b = {c->run, x, table, found};
                check_bench(run, "32x128", 32 * 128, "values", call_bench, &b);
            } else {
                c->ref(n_head, width, n_rot, table, x, expected);
                c->run(n_head, width, n_rot, table, x, found);
                check_same(run, expected, found, n, "y");
                c->run(n_head, width, n_rot, table, x, x);
                check_same(run, expected, x, n, "y in place");
            }
            check_free(run, x);
            check_free(run, table);
            check_free(run, expected);
            check_free(run, found);
            if (run->is_bench) return;
        }
}

void check_rope(check_run *run)
{
    llrti_ops ref;
    llrti_ops_init(&ref, LLRTI_ISA_REF);
#define X(type, slot, symbol, isa, is_exact)                                                       \
    {                                                                                              \
        const rope_case c = {symbol, ref.slot};                                                    \
        check_kernel(run, #symbol, LLRTI_ISA_##isa, check_case, &c);                               \
    }
#include "rope.def"
#undef X
}
