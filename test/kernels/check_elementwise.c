/* SPDX-License-Identifier: MIT */
/*
 * The kernels of elementwise.def against ref: lengths around the 16 lanes, random and worst-case values, besides
 * them all exponents with both signs, infinities and NaN, since the functions switch between branches; in place and not.
 */
#include <math.h>
#include <string.h>

#include "checkkern.h"
#include "half.h"
#include "ops.h"

static const size_t lengths[] = {1, 2, 7, 15, 16, 17, 31, 32, 33, 47, 64, 101, 1000, 4099};
#define N_LENGTH (sizeof lengths / sizeof lengths[0])

/* One pattern more than the frame has: any bits at all, and values near the branches of the functions. */
static void fill(check_run *run, int pattern, float *x, size_t n)
{
    static const float special[] = {0.0f,   -0.0f,  0.625f,  -0.625f,   0.9375f,     -4.0f,
                                    88.7f,  -88.7f, -103.9f, -104.5f,   INFINITY,    89.0f,
                                    1e-40f, 1e38f,  -1e38f,  -INFINITY, 0.62499994f, NAN};
    if (pattern < CHECK_N_FILL) {
        check_fill(run, pattern, x, n);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        const uint32_t bits = check_random(run);
        if (bits % 4 == 0)
            x[i] = special[bits / 4 % (sizeof special / sizeof special[0])];
        else if (bits % 4 == 1)
            x[i] = check_uniform(run, -12.0f, 12.0f);
        else
            x[i] = llrti_bits_float(check_random(run));
    }
}

typedef struct elements {
    size_t n;
    float *a, *b, *expected, *found;
} elements;

static elements make_elements(check_run *run, size_t n, int pattern)
{
    const size_t size = n * sizeof(float), skew = check_random(run) % 16 * 4;
    elements e = {.n = n};
    e.a = check_alloc(run, size, skew);
    e.b = check_alloc(run, size, (skew + 20) % 64);
    e.expected = check_alloc(run, size, 0);
    e.found = check_alloc(run, size, (skew + 12) % 64);
    fill(run, pattern, e.a, n);
    fill(run, pattern, e.b, n);
    return e;
}

static void free_elements(check_run *run, const elements *e)
{
    check_free(run, e->a);
    check_free(run, e->b);
    check_free(run, e->expected);
    check_free(run, e->found);
}

/* A kernel of any of the four types, and its reference. */
typedef struct kernel_pair {
    llrti_unary_fn *unary, *unary_ref;
    llrti_binary_fn *binary, *binary_ref;
    llrti_scale_fn *scale, *scale_ref;
    llrti_limit_fn *limit, *limit_ref;
} kernel_pair;

static void call(const kernel_pair *k, int is_ref, const elements *e, float *y)
{
    if (k->limit) (is_ref ? k->limit_ref : k->limit)(e->n, e->a, e->b, 7, 1, y, e->expected);
    if (k->unary) (is_ref ? k->unary_ref : k->unary)(e->n, e->a, y);
    if (k->binary) (is_ref ? k->binary_ref : k->binary)(e->n, e->a, e->b, y);
    if (k->scale) (is_ref ? k->scale_ref : k->scale)(e->n, e->a, 1.7f, y);
}

/* Limits have two outputs: each compared, into other arrays and in place, with limit, offset, both and neither. */
static void check_limits(check_run *run, const kernel_pair *k, size_t n, int pattern)
{
    static const float limit[] = {0, 0.75f, 7, 0}, offset[] = {0, 0, 1, -0.25f};
    for (size_t form = 0; form < sizeof limit / sizeof limit[0]; form++) {
        const elements e = make_elements(run, n, pattern), f = make_elements(run, n, pattern);
        k->limit_ref(n, e.a, e.b, limit[form], offset[form], e.expected, f.expected);
        k->limit(n, e.a, e.b, limit[form], offset[form], e.found, f.found);
        check_same(run, e.expected, e.found, n, "ya");
        check_same(run, f.expected, f.found, n, "yb");
        k->limit(n, e.a, e.b, limit[form], offset[form], e.a, e.b);
        check_same(run, e.expected, e.a, n, "ya in place");
        check_same(run, f.expected, e.b, n, "yb in place");
        free_elements(run, &e);
        free_elements(run, &f);
    }
}

typedef struct bench {
    const kernel_pair *pair;
    elements e;
} bench;

static void call_bench(void *ctx)
{
    const bench *const b = ctx;
    call(b->pair, 0, &b->e, b->e.found);
}

static void check_pair(check_run *run, const void *ctx)
{
    const kernel_pair *const k = ctx;
    if (run->is_bench) {
        bench b = {ctx, make_elements(run, 8192, CHECK_FILL_RANDOM)};
        check_bench(run, "8192", 8192, "values", call_bench, &b);
        free_elements(run, &b.e);
        return;
    }
    for (size_t i = 0; i < N_LENGTH; i++)
        for (int pattern = 0; pattern <= CHECK_N_FILL; pattern++) {
            if (k->limit) {
                check_limits(run, k, lengths[i], pattern);
                continue;
            }
            const elements e = make_elements(run, lengths[i], pattern);
            call(ctx, 1, &e, e.expected);
            call(ctx, 0, &e, e.found);
            check_same(run, e.expected, e.found, e.n, "y");
            call(ctx, 0, &e, e.a);
            check_same(run, e.expected, e.a, e.n, "y in place");
            free_elements(run, &e);
        }
}

void check_elementwise(check_run *run)
{
    llrti_ops ref;
    llrti_ops_init(&ref, LLRTI_ISA_REF);
#define X(type, slot, symbol, isa, is_exact)                                                       \
    {                                                                                              \
        const kernel_pair pair = {.type = symbol, .type##_ref = ref.slot};                         \
        check_kernel(run, #symbol, LLRTI_ISA_##isa, check_pair, &pair);                            \
    }
#include "elementwise.def"
#undef X
}
