/* SPDX-License-Identifier: MIT */
/*
 * The kernels of kv.def against ref: every kind, head sizes that end inside a block, one token and many, at the ends of a
 * tile. What the kernel must not touch keeps its old bytes, because the whole tile is compared.
 */
#include <string.h>

#include "checkkern.h"
#include "half.h"
#include "ops.h"

static const size_t dims[] = {1, 3, 15, 16, 17, 32, 33, 40, 64, 80, 96, 128, 129};
static const struct {
    size_t pos, n_tok;
} ranges[] = {{0, 1}, {63, 1}, {0, 64}, {17, 1}, {5, 33}, {32, 32}};

typedef struct kv_case {
    llrti_kv_store_fn *run, *ref;
} kv_case;

/* Everything of one call; buffers for the largest kind. */
typedef struct store {
    size_t dim, x_stride, pos, n_tok, data_bytes, scale_bytes;
    float *x;
    void *data[2], *scale[2];
} store;

static store make_store(check_run *run, size_t dim, size_t pos, size_t n_tok, int pattern)
{
    store s = {.dim = dim, .x_stride = dim + check_random(run) % 5, .pos = pos, .n_tok = n_tok};
    s.data_bytes = LLRT_PAGE_TOK * dim * sizeof(float);
    s.scale_bytes = LLRT_PAGE_TOK * ((dim + 31) / 32) * sizeof(uint16_t);
    const size_t n = (n_tok - 1) * s.x_stride + dim;
    s.x = check_alloc(run, n * sizeof(float), check_random(run) % 16 * 4);
    check_fill(run, pattern < CHECK_N_FILL ? pattern : CHECK_FILL_MIXED, s.x, n);
    for (size_t i = 0; pattern == CHECK_N_FILL && i < n;
         i++) /* any bits, to round every exponent */
        if (check_random(run) % 2) {
            const float any = llrti_bits_float(check_random(run));
            if (any == any) s.x[i] = any;
        }
    for (int i = 0; i < 2; i++) {
        s.data[i] = check_alloc(run, s.data_bytes, 0);
        s.scale[i] = check_alloc(run, s.scale_bytes, 0);
    }
    return s;
}

static void free_store(check_run *run, const store *s)
{
    check_free(run, s->x);
    for (int i = 0; i < 2; i++) {
        check_free(run, s->data[i]);
        check_free(run, s->scale[i]);
    }
}

typedef struct bench {
    llrti_kv_store_fn *run;
    store s;
} bench;

static void call_bench(void *ctx)
{
    const bench *const b = ctx;
    b->run(b->s.x, b->s.x_stride, b->s.n_tok, b->s.dim, b->s.pos, b->s.data[0], b->s.scale[0]);
}

static void check_case(check_run *run, const void *ctx)
{
    const kv_case *const c = ctx;
    if (run->is_bench) {
        bench b = {c->run, make_store(run, 128, 0, 64, CHECK_FILL_RANDOM)};
        check_bench(run, "64x128", 64 * 128, "values", call_bench, &b);
        free_store(run, &b.s);
        return;
    }
    for (size_t i = 0; i < sizeof dims / sizeof dims[0]; i++)
        for (size_t r = 0; r < sizeof ranges / sizeof ranges[0]; r++)
            for (int pattern = 0; pattern <= CHECK_N_FILL; pattern++) {
                const store s = make_store(run, dims[i], ranges[r].pos, ranges[r].n_tok, pattern);
                c->ref(s.x, s.x_stride, s.n_tok, s.dim, s.pos, s.data[0], s.scale[0]);
                c->run(s.x, s.x_stride, s.n_tok, s.dim, s.pos, s.data[1], s.scale[1]);
                check_same_bytes(run, s.data[0], s.data[1], s.data_bytes, "data");
                check_same_bytes(run, s.scale[0], s.scale[1], s.scale_bytes, "scales");
                free_store(run, &s);
            }
}

void check_kv(check_run *run)
{
    llrti_ops ref;
    llrti_ops_init(&ref, LLRTI_ISA_REF);
#define X(type, slot, symbol, isa, is_exact)                                                       \
    {                                                                                              \
        const kv_case c = {symbol, ref.slot};                                                      \
        check_kernel(run, #symbol, LLRTI_ISA_##isa, check_case, &c);                               \
    }
#include "kv.def"
#undef X
}
