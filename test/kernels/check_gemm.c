/* SPDX-License-Identifier: MIT */
/*
 * The matrix product kernels of gemm.def.
 *
 * Every kernel, whatever its ISA, must give the same bits for a column alone and among others, for a group alone
 * and among others, and for K in one piece and in two: that is what makes results independent of batch, threads
 * and chunks. Exact kernels must equal ref as well; bf16 stays within a bound taken in double.
 */
#include <string.h>

#include "checkkern.h"
#include "gemm.h"
#include "half.h"

enum {
    F32,
    BF16,
    Q8,
    Q4,
    MR = LLRTI_GEMM_MR,
    MAX_NR = LLRTI_GEMM_AMX_NR,
    MAX_GROUP = LLRTI_GEMM_MAX_GROUP
};

typedef struct kernel_case {
    int kind;
    int is_exact;
    int is_amx; /* panels of up to 32 columns, each column's 32 k together */
    llrti_gemm_fn *run, *ref;
} kernel_case;

typedef struct inputs {
    int kind, is_amx;
    uint32_t nr; /* columns of a full panel */
    size_t k;    /* of the whole range */
    size_t w_stride, n_row;
    uint8_t *w;     /* MAX_GROUP groups */
    uint8_t *x;     /* nr columns packed together */
    uint8_t *x_ref; /* the same in ref's order */
    uint8_t *x_alone[MAX_NR];
    float *rows; /* (nr, k) */
} inputs;

static size_t unit_of(const kernel_case *kc)
{
    return kc->kind == F32 ? 1 : kc->kind == BF16 ? (kc->is_amx ? 32 : 2) : 64;
}

static size_t weight_bytes(int kind, size_t k)
{
    return kind == F32    ? k * MR * 4
           : kind == BF16 ? k * MR * 2
                          : k / 64 * (kind == Q8 ? LLRTI_GEMM_Q8_BYTES : LLRTI_GEMM_Q4_BYTES);
}

static size_t column_bytes(int kind, size_t k)
{
    return kind == F32 ? k * 4 : kind == BF16 ? k * 2 : k / 32 * LLRTI_GEMM_Q_ACT_BYTES;
}

static void pack_ref(int kind, const float *rows, size_t k, uint32_t n_col, void *to)
{
    if (kind == F32)
        llrtk_act_f32_ref(rows, k, k, k, n_col, to);
    else if (kind == BF16)
        llrtk_act_bf16_ref(rows, k, k, k, n_col, to);
    else
        llrtk_act_q8_ref(rows, k, k, k, n_col, to);
}

/* In the kernel's order: that of AMX is put together from columns packed alone. */
static void pack_columns(const inputs *in, uint32_t n_col, uint8_t *to)
{
    if (!in->is_amx || in->kind == F32) {
        pack_ref(in->kind, in->rows, in->k, n_col, to);
        return;
    }
    const size_t block = column_bytes(in->kind, 32 * in->k) / in->k,
                 values = in->kind == BF16 ? 64 : 32;
    for (size_t b = 0; b < in->k / 32; b++) {
        for (size_t j = 0; j < n_col; j++) {
            uint8_t *const at = to + b * n_col * block;
            memcpy(at + j * values, in->x_alone[j] + b * block, values);
            for (size_t i = values; i < block; i += 4)
                memcpy(at + i * n_col + j * 4, in->x_alone[j] + b * block + i, 4);
        }
    }
}

/* Random 8-bit or 4-bit weights; with a fill other than random, extreme ones. */
static void fill_quantised(check_run *run, const inputs *in, int fill, uint8_t *group)
{
    const size_t pair = in->kind == Q8 ? LLRTI_GEMM_Q8_BYTES : LLRTI_GEMM_Q4_BYTES;
    for (size_t p = 0; p < in->k / 64; p++) {
        uint8_t *const at = group + p * pair;
        for (size_t i = 0; i < pair - 64; i++) {
            const uint32_t r = check_random(run);
            at[i] = (uint8_t)(fill == CHECK_FILL_RANDOM  ? r
                              : fill == CHECK_FILL_LARGE ? 0
                              : r & 1                    ? 0xff
                                                         : 0);
        }
        for (size_t i = 0; i < 32; i++) {
            uint16_t scale = llrti_float_to_f16(check_uniform(run, -0.1f, 0.1f));
            if (fill == CHECK_FILL_TINY)
                scale = (uint16_t)(check_random(run) & 0x83ff); /* subnormal */
            memcpy(at + pair - 64 + i * 2, &scale, 2);
        }
    }
}

static void make_inputs(check_run *run, inputs *in, const kernel_case *kc, size_t k, int fill)
{
    const int kind = kc->kind;
    in->kind = kind;
    in->is_amx = kc->is_amx;
    in->nr = kc->is_amx ? LLRTI_GEMM_AMX_NR : LLRTI_GEMM_NR;
    in->k = k;
    in->w_stride = (weight_bytes(kind, k) + 63) / 64 * 64 + 64;
    in->w = check_alloc(run, in->w_stride * MAX_GROUP, 0);
    in->x = check_alloc(run, column_bytes(kind, k) * in->nr, 4);
    in->x_ref = check_alloc(run, column_bytes(kind, k) * in->nr, 4);
    in->rows = check_alloc(run, in->nr * k * sizeof(float), 0);
    check_fill(run, fill, in->rows, in->nr * k);
    if (fill == CHECK_FILL_LARGE) { /* every product of the same sign: the largest sums */
        for (size_t i = 0; i < in->nr * k; i++) in->rows[i] = i / k % 2 ? -1e4f : 1e4f;
    }
    for (uint32_t j = 0; j < in->nr; j++) {
        in->x_alone[j] = check_alloc(run, column_bytes(kind, k), 4);
        pack_ref(kind, in->rows + j * k, k, 1, in->x_alone[j]);
    }
    pack_ref(kind, in->rows, k, in->nr, in->x_ref);
    pack_columns(in, in->nr, in->x);
    for (uint32_t g = 0; g < MAX_GROUP; g++) {
        uint8_t *const group = in->w + g * in->w_stride;
        if (kind == F32 || kind == BF16) {
            float *const values = check_alloc(run, MR * k * sizeof(float), 0);
            check_fill(run, fill, values, MR * k);
            if (kind == F32)
                memcpy(group, values, MR * k * sizeof(float));
            else
                llrtk_panel_bf16_ref(values, k, group, k);
            check_free(run, values);
        } else {
            fill_quantised(run, in, fill, group);
        }
    }
}

static void free_inputs(check_run *run, inputs *in)
{
    check_free(run, in->w);
    check_free(run, in->x);
    check_free(run, in->x_ref);
    check_free(run, in->rows);
    for (uint32_t j = 0; j < in->nr; j++) check_free(run, in->x_alone[j]);
}

static llrti_gemm_args args_of(const inputs *in, uint32_t n_group, uint32_t n_col, float *c,
                               size_t c_stride)
{
    return (llrti_gemm_args){.w = in->w,
                             .w_stride = in->w_stride,
                             .x = in->x,
                             .k = in->k,
                             .c = c,
                             .c_stride = c_stride,
                             .n_group = n_group,
                             .n_col = n_col};
}

/* The exact sums and error bounds of a column of a group, from the packed bf16 values. */
static void bound_bf16(const inputs *in, uint32_t group, uint32_t column, const float *start,
                       double *sum, double *bound)
{
    const uint16_t *const w = (const void *)(in->w + group * in->w_stride),
                          *const x = (const void *)in->x_alone[column];
    for (uint32_t i = 0; i < MR; i++) {
        double s = start ? start[i] : 0, magnitude = start ? (s < 0 ? -s : s) : 0;
        for (size_t k = 0; k < in->k; k++) {
            const double p = (double)llrti_bf16_to_float(w[(k / 2 * MR + i) * 2 + k % 2]) *
                             llrti_bf16_to_float(x[k]);
            s += p;
            magnitude += p < 0 ? -p : p;
        }
        sum[i] = s;
        /* one rounding per product, and operands and results below 2^-126 count as zero */
        bound[i] = 2 * (double)(in->k + 1) * (0x1p-24 * magnitude + 0x1p-126);
    }
}

static void check_shape(check_run *run, const kernel_case *kc, const inputs *in)
{
    const size_t stride = MAX_GROUP * MR + 3;
    const uint32_t nr = in->nr;
    float *const whole = check_alloc(run, nr * stride * sizeof(float), 4);
    float *const other = check_alloc(run, nr * stride * sizeof(float), 4);
    float *const start = check_alloc(run, nr * stride * sizeof(float), 0);
    for (uint32_t accumulate = 0; accumulate < 2; accumulate++) {
        check_fill(run, CHECK_FILL_MIXED, start, nr * stride);
        memcpy(whole, start, nr * stride * sizeof(float));
        llrti_gemm_args args = args_of(in, MAX_GROUP, nr, whole, stride);
        args.accumulate = accumulate;
        kc->run(&args);

        if (kc->is_exact) {
            memcpy(other, start, nr * stride * sizeof(float));
            args.c = other;
            args.x = in->x_ref;
            kc->ref(&args);
            check_same(run, other, whole, nr * stride, "against ref");
        } else {
            for (uint32_t j = 0; j < nr; j++) {
                for (uint32_t g = 0; g < MAX_GROUP; g++) {
                    double sum[MR], bound[MR];
                    const size_t at = j * stride + g * MR;
                    bound_bf16(in, g, j, accumulate ? start + at : NULL, sum, bound);
                    check_close(run, sum, bound, whole + at, MR, "against double");
                }
            }
        }
        /* fewer groups and columns */
        for (uint32_t n_group = 1; n_group <= MAX_GROUP; n_group++) {
            for (uint32_t j = 0; j < nr; j++) {
                memcpy(other, start, nr * stride * sizeof(float));
                args = args_of(in, n_group, 1, other + j * stride, stride);
                args.x = in->x_alone[j];
                args.accumulate = accumulate;
                kc->run(&args);
                check_same(run, whole + j * stride, other + j * stride, (size_t)n_group * MR,
                           "one column");
            }
        }
        for (uint32_t n_col = 1; n_col <= nr; n_col += n_col < 6 ? 1 : 5) {
            uint8_t *const x = check_alloc(run, column_bytes(in->kind, in->k) * n_col, 8);
            pack_columns(in, n_col, x);
            for (uint32_t g = 0; g < MAX_GROUP; g++) {
                memcpy(other, start, nr * stride * sizeof(float));
                args = args_of(in, MAX_GROUP - g, n_col, other + g * MR, stride);
                args.w = in->w + g * in->w_stride;
                args.x = x;
                args.accumulate = accumulate;
                kc->run(&args);
                for (uint32_t j = 0; j < n_col; j++)
                    check_same(run, whole + j * stride + g * MR, other + j * stride + g * MR,
                               (size_t)(MAX_GROUP - g) * MR, "some columns");
            }
            check_free(run, x);
        }
        /* K in two pieces */
        const size_t unit = unit_of(kc);
        const size_t first = in->k / 2 / unit * unit;
        if (first) {
            memcpy(other, start, nr * stride * sizeof(float));
            args = args_of(in, MAX_GROUP, nr, other, stride);
            args.accumulate = accumulate;
            args.k = first;
            kc->run(&args);
            args.w = in->w + weight_bytes(in->kind, first);
            args.x = in->x + column_bytes(in->kind, first) * nr;
            args.k = in->k - first;
            args.accumulate = 1;
            kc->run(&args);
            check_same(run, whole, other, nr * stride, "K in two pieces");
        }
    }
    check_free(run, whole);
    check_free(run, other);
    check_free(run, start);
}

typedef struct timed {
    const kernel_case *kc;
    llrti_gemm_args args;
    size_t n_panel, c_panel, x_panel;
} timed;

static void run_timed(void *ctx)
{
    const timed *const t = ctx;
    for (size_t p = 0; p < t->n_panel; p++) {
        llrti_gemm_args args = t->args;
        args.x = (const uint8_t *)args.x + p * t->x_panel;
        args.c += p * t->c_panel;
        t->kc->run(&args);
    }
}

/* 64 rows x 4096 x 96 columns, everything in L2; then one column. */
static void bench(check_run *run, const kernel_case *kc)
{
    enum { K = 4096, N = 96, ROWS = MAX_GROUP * MR };
    inputs in;
    make_inputs(run, &in, kc, K, CHECK_FILL_RANDOM);
    const size_t x_panel = column_bytes(kc->kind, K) * in.nr;
    uint8_t *const x = check_alloc(run, x_panel * (N / in.nr), 0);
    for (size_t p = 0; p < N / in.nr; p++) memcpy(x + p * x_panel, in.x, x_panel);
    float *const c = check_alloc(run, N * ROWS * sizeof(float), 0);
    timed t = {kc, args_of(&in, MAX_GROUP, in.nr, c, ROWS), N / in.nr, in.nr * ROWS, x_panel};
    t.args.x = x;
    check_bench(run, "64x4096x96", 2.0 * ROWS * K * N, "OP", run_timed, &t);
    t = (timed){kc, args_of(&in, MAX_GROUP, 1, c, ROWS), 1, 0, 0};
    t.args.x = in.x_alone[0];
    check_bench(run, "64x4096x1", (double)weight_bytes(kc->kind, K) * MAX_GROUP, "B", run_timed,
                &t);
    check_free(run, x);
    check_free(run, c);
    free_inputs(run, &in);
}

static void check_one(check_run *run, const void *ctx)
{
    static const size_t units[] = {1, 2, 3, 7, 8, 13, 31};
    const kernel_case *const kc = ctx;
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        for (int fill = 0; fill < CHECK_N_FILL; fill++) {
            inputs in;
            make_inputs(run, &in, kc, units[i] * unit_of(kc), fill);
            check_shape(run, kc, &in);
            free_inputs(run, &in);
        }
    }
    if (run->is_bench) bench(run, kc);
}

#define CASE(slot, kind_, ref_)                                                                    \
    static void case_##slot(check_run *run, const char *name, uint32_t isa, int exact,             \
                            llrti_gemm_fn *fn)                                                     \
    {                                                                                              \
        const kernel_case kc = {kind_, exact, (isa & LLRTI_ISA_AMX) != 0, fn, ref_};               \
        check_kernel(run, name, isa, check_one, &kc);                                              \
    }
CASE(gemm_f32, F32, llrtk_gemm_f32_f32_f32_ref)
CASE(gemm_bf16, BF16, llrtk_gemm_bf16_bf16_f32_ref)
CASE(gemm_q8, Q8, llrtk_gemm_q8_q8_f32_ref)
CASE(gemm_q4, Q4, llrtk_gemm_q8_q4_f32_ref)

void check_gemm(check_run *run)
{
#define LLRTI_GEMM_KERNEL(slot, symbol, isa, exact) case_##slot(run, #symbol, isa, exact, symbol);
#include "gemm.def"
#undef LLRTI_GEMM_KERNEL
}
