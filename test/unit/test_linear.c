/* SPDX-License-Identifier: MIT */
/*
 * Linear layers on every instruction set level of this machine: results against sums in double, and the promise that
 * they depend on weight and row alone: the same bits for any number of rows, workers and order of tasks, for
 * repacked and mapped weights, alone or in a job of several; on every level too where the arithmetic is portable.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "half.h"
#include "isa.h"
#include "linear.h"
#include "quant_blocks.h"

enum { MAX_WORKER = 5 };

static uint64_t random_state;

static uint32_t random_bits(void)
{
    uint64_t z = (random_state += 0x9e3779b97f4a7c15u);
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return (uint32_t)((z ^ z >> 31) >> 32);
}

/* Tasks in descending order, workers in turn: any order must do. */
static void run_tasks(void *ctx, uint32_t n, void (*task)(void *arg, uint32_t i, uint32_t worker),
                      void *arg)
{
    const uint32_t n_worker = *(const uint32_t *)ctx;
    for (uint32_t i = n; i-- > 0;) task(arg, i, i % n_worker);
}

typedef struct fixture {
    const quant_block *format;
    size_t k, m, row_bytes;
    uint8_t *rows;  /* misaligned by one byte */
    float *weights; /* (m, k), by the ref kernels */
    float *x, *bias;
    size_t n_row;
} fixture;

static void *allocate(size_t size)
{
    void *const p = aligned_alloc(64, (size + 127) / 64 * 64);
    assert_non_null(p);
    memset(p, 0xff, (size + 127) / 64 * 64);
    return p;
}

/* Blocks as a quantiser would make them: small scales. */
static void calm_scales(const quant_block *f, uint8_t *blocks, size_t n_block)
{
    for (size_t b = 0; b < n_block; b++) {
        uint8_t *const block = blocks + b * f->bytes;
        for (int i = 0; i < 2; i++) {
            if (f->half[i] < 0) continue;
            const uint16_t half =
                llrti_float_to_f16(((float)(random_bits() % 2001) - 1000) * 1e-5f);
            memcpy(block + f->half[i], &half, 2);
        }
        if (f->type == LLRT_TYPE_MXFP4) block[0] = (uint8_t)(120 + random_bits() % 8);
        if (f->type == LLRT_TYPE_BF16) {
            const uint16_t half =
                llrti_float_to_bf16(((float)(random_bits() % 2001) - 1000) * 1e-3f);
            memcpy(block, &half, 2);
        }
        if (f->type == LLRT_TYPE_F32) {
            const float value = ((float)(random_bits() % 2001) - 1000) * 1e-3f;
            memcpy(block, &value, 4);
        }
    }
}

static fixture make_fixture(const quant_block *format, size_t k, size_t m, size_t n_row)
{
    fixture f = {format, k, m, k / format->values * format->bytes, NULL, NULL, NULL, NULL, n_row};
    f.rows = (uint8_t *)allocate(f.row_bytes * m + 1) + 1;
    for (size_t i = 0; i < f.row_bytes * m; i++) f.rows[i] = (uint8_t)random_bits();
    calm_scales(format, f.rows, k / format->values * m);
    f.x = allocate(n_row * k * sizeof(float));
    for (size_t i = 0; i < n_row * k; i++) f.x[i] = ((float)(random_bits() % 4001) - 2000) * 1e-3f;
    f.bias = allocate(m * sizeof(float));
    for (size_t i = 0; i < m; i++) f.bias[i] = (float)(random_bits() % 100);
    f.weights = allocate(m * k * sizeof(float));
    return f;
}

static void free_fixture(fixture *f)
{
    free(f->rows - 1);
    free(f->x);
    free(f->bias);
    free(f->weights);
}

typedef struct setting {
    const llrti_gemm_kernels *kernels;
    llrt_precision precision;
    llrt_weights weights;
    uint32_t n_worker;
} setting;

static llrti_linear make_linear(const fixture *f, const setting *s)
{
    llrti_linear linear;
    const llrti_linear_desc desc = {f->format->type, f->k, f->m, s->precision, s->weights};
    llrt_error err = LLRT_ERROR_INIT;
    assert_int_equal(llrti_linear_init(&linear, &desc, s->kernels, &err), LLRT_OK);
    assert_int_equal(linear.row_bytes, f->row_bytes);
    if (s->weights == LLRT_WEIGHTS_MAPPED) {
        linear.data = f->rows;
        return linear;
    }
    linear.data = allocate(linear.bytes);
    for (size_t r = (f->m - 1) / 64 * 64 + 64; r > 0; r -= 64) { /* pieces in descending order */
        const size_t begin = r - 64, n = f->m - begin < 64 ? f->m - begin : 64;
        llrti_linear_put(&linear, begin, n, f->rows + begin * f->row_bytes);
    }
    return linear;
}

static void free_linear(const llrti_linear *linear)
{
    if (!linear->is_mapped) free(linear->data);
}

static int never(void *ctx)
{
    return 0;
}

/* Rows [begin, begin + n) through the layer, with bias; out rows have a stride of m + 3. */
static void compute(const fixture *f, const setting *s, const llrti_linear *linear, size_t begin,
                    size_t n, float *out)
{
    uint32_t n_worker = s->n_worker;
    const llrt_host host = {.struct_size = sizeof host,
                            .n_worker = n_worker,
                            .ctx = &n_worker,
                            .parallel_for = run_tasks};
    void *const packed = allocate(llrti_linear_act_bytes(linear->act, f->k, n));
    void *const scratch = allocate(llrti_linear_scratch_bytes() * n_worker);
    const llrti_linear_input input = {linear->act, s->kernels, f->x + begin * f->k, f->k, f->k,
                                      n,           packed};
    llrti_linear_act_pack_all(&host, &input);
    const llrti_linear_job job = {.n_weight = 1,
                                  .weight = {linear},
                                  .bias = {f->bias},
                                  .out = {out},
                                  .out_stride = {f->m + 3},
                                  .packed = packed,
                                  .n_row = n,
                                  .scratch = scratch,
                                  .poll_cancel = never};
    assert_int_equal(llrti_linear_run(&host, &job), LLRT_OK);
    free(packed);
    free(scratch);
}

static float *new_output(const fixture *f)
{
    float *const out = allocate(f->n_row * (f->m + 3) * sizeof(float));
    for (size_t i = 0; i < f->n_row * (f->m + 3); i++) out[i] = -77.0f;
    return out;
}

static void assert_same(const fixture *f, const float *a, const float *b, size_t row, size_t n,
                        const char *what)
{
    for (size_t r = 0; r < n; r++) {
        const size_t at = (row + r) * (f->m + 3);
        if (memcmp(a + at, b + r * (f->m + 3), f->m * sizeof(float)))
            fail_msg("%s: %s k %zu m %zu row %zu differs", what, f->format->name, f->k, f->m,
                     row + r);
        for (size_t i = f->m; i < f->m + 3; i++) assert_true(b[r * (f->m + 3) + i] == -77.0f);
    }
}

/* The error the precision allows: activations to 8 bits per 32 or to bf16, weights to bf16, sums in float. */
static void assert_close(const fixture *f, const llrti_linear *linear, const float *out)
{
    for (size_t r = 0; r < f->n_row; r++) {
        for (size_t i = 0; i < f->m; i++) {
            double sum = f->bias[i], magnitude = fabs(sum), quantised = 0;
            for (size_t k = 0; k < f->k; k++) {
                const double w = f->weights[i * f->k + k], p = w * f->x[r * f->k + k];
                sum += p;
                magnitude += fabs(p);
                quantised += fabs(w) * 2.0 / 127 / 2; /* |x| is at most 2 */
            }
            double bound = (double)(f->k + 2) * 0x1p-23 * (magnitude + quantised);
            if (linear->act == LLRTI_LINEAR_ACT_Q8) bound += quantised * 1.01;
            if (linear->act == LLRTI_LINEAR_ACT_BF16) bound += 0x1p-7 * magnitude;
            const double error = fabs(out[r * (f->m + 3) + i] - sum);
            if (!(error <= bound))
                fail_msg(
                    "%s act %u isa %x k %zu m %zu: row %zu output %zu is %g, expected %g within %g",
                    f->format->name, linear->act, linear->kernels->isa, f->k, f->m, r, i,
                    out[r * (f->m + 3) + i], sum, bound);
        }
    }
}

/* One level, one precision: `reference` is the result of the first setting tried. */
static void check_setting(const fixture *f, const llrti_gemm_kernels *kernels,
                          llrt_precision precision, float *out)
{
    setting s = {kernels, precision, LLRT_WEIGHTS_REPACKED, 1};
    llrti_linear linear = make_linear(f, &s);
    compute(f, &s, &linear, 0, f->n_row, out);
    for (size_t i = 0; i < f->m; i += 1 + i / 3) { /* rows read back exactly */
        float *const row = allocate(f->k * sizeof(float));
        llrti_linear_get_row(&linear, i, row);
        assert_memory_equal(row, f->weights + i * f->k, f->k * sizeof(float));
        free(row);
    }
    assert_close(f, &linear, out);
    float *const other = new_output(f);
    for (s.n_worker = 2; s.n_worker <= MAX_WORKER; s.n_worker += 3) {
        compute(f, &s, &linear, 0, f->n_row, other);
        assert_same(f, out, other, 0, f->n_row, "workers");
    }
    s.n_worker = 2;
    for (size_t r = 0; r < f->n_row; r += 1 + r / 2) {
        compute(f, &s, &linear, r, 1, other);
        assert_same(f, out, other, r, 1, "one row");
        const size_t n = f->n_row - r < 7 ? f->n_row - r : 7;
        compute(f, &s, &linear, r, n, other);
        assert_same(f, out, other, r, n, "some rows");
    }
    free_linear(&linear);
    s.weights = LLRT_WEIGHTS_MAPPED;
    linear = make_linear(f, &s);
    for (s.n_worker = 1; s.n_worker <= MAX_WORKER; s.n_worker += 2) {
        compute(f, &s, &linear, 0, f->n_row, other);
        assert_same(f, out, other, 0, f->n_row, "mapped");
        compute(f, &s, &linear, f->n_row - 1, 1, other);
        assert_same(f, out, other, f->n_row - 1, 1, "mapped, one row");
    }
    float *const row = allocate(f->k * sizeof(float));
    llrti_linear_get_row(&linear, f->m - 1, row);
    assert_memory_equal(row, f->weights + (f->m - 1) * f->k, f->k * sizeof(float));
    free(row);
    free(other);
}

static void check_fixture(fixture *f)
{
    llrti_gemm_kernels ref;
    llrti_gemm_init(&ref, 0);
    const setting plain = {&ref, LLRT_PRECISION_F32, LLRT_WEIGHTS_MAPPED, 1};
    const llrti_linear linear = make_linear(f, &plain);
    for (size_t i = 0; i < f->m; i++) llrti_linear_get_row(&linear, i, f->weights + i * f->k);
    for (llrt_precision p = LLRT_PRECISION_AUTO; p <= LLRT_PRECISION_PORTABLE; p++) {
        float *const first = new_output(f), *const out = new_output(f);
        for (uint32_t level = 0; llrti_isa_level(level); level++) {
            uint32_t flags;
            assert_int_equal(llrti_isa_select(llrti_isa_level(level), &flags, NULL), LLRT_OK);
            llrti_gemm_kernels kernels;
            llrti_gemm_init(&kernels, flags);
            check_setting(f, &kernels, p, level ? out : first);
            const bool is_portable = p != LLRT_PRECISION_AUTO || f->format->type == LLRT_TYPE_F32 ||
                                     f->format->type == LLRT_TYPE_Q8_0 ||
                                     f->format->type == LLRT_TYPE_Q4_0;
            if (level && is_portable)
                assert_same(f, first, out, 0, f->n_row, llrti_isa_level(level));
        }
        free(first);
        free(out);
    }
}

static void test_every_format_and_shape(void **state)
{
    static const size_t shapes[][3] = {/* blocks of k (of 1 value: values), m, rows */
                                       {1, 1, 1},
                                       {1, 16, 2},
                                       {2, 17, 6},
                                       {3, 70, 13},
                                       {5, 33, 7}};
    random_state = 1;
    for (size_t t = 0; t < N_QUANT_BLOCKS; t++) {
        for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
            fixture f = make_fixture(&quant_blocks[t], shapes[s][0] * quant_blocks[t].values,
                                     shapes[s][1], shapes[s][2]);
            check_fixture(&f);
            free_fixture(&f);
        }
    }
}

/* Row lengths that are no multiple of anything, and one beyond a converted tile. */
static void test_odd_and_long_rows(void **state)
{
    static const size_t lengths[] = {6, 8, 12, 31, 33, 65, 1029};
    random_state = 2;
    for (size_t t = 0; t < 3; t++) {
        for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
            fixture f = make_fixture(&quant_blocks[t], lengths[i], 19, 8);
            check_fixture(&f);
            free_fixture(&f);
        }
    }
    static const char *const names[] = {"q8_0", "q4_0", "q4_k"};
    for (size_t t = 0; t < 3; t++) {
        fixture f = make_fixture(quant_block_find(names[t]), 1280, 21, 9);
        check_fixture(&f);
        free_fixture(&f);
    }
}

/* More columns than a task takes, and K long enough to be walked in several passes. */
static void test_blocks_of_columns_and_of_k(void **state)
{
    random_state = 3;
    uint32_t flags;
    assert_int_equal(llrti_isa_select(NULL, &flags, NULL), LLRT_OK);
    llrti_gemm_kernels kernels;
    llrti_gemm_init(&kernels, flags);
    static const char *const names[] = {"q8_0", "q4_0", "bf16", "f32", "q6_k"};
    for (size_t t = 0; t < 5; t++) {
        const bool is_long = t % 2 == 0;
        fixture f = make_fixture(quant_block_find(names[t]), is_long ? 16384 : 256, 40,
                                 is_long ? 14 : 1040);
        setting s = {&kernels, LLRT_PRECISION_AUTO, LLRT_WEIGHTS_REPACKED, 3};
        const llrti_linear linear = make_linear(&f, &s);
        float *const out = new_output(&f), *const other = new_output(&f);
        compute(&f, &s, &linear, 0, f.n_row, out);
        for (size_t r = 0; r < f.n_row; r += 1 + f.n_row / 17) {
            compute(&f, &s, &linear, r, 1, other);
            assert_same(&f, out, other, r, 1, "one row");
        }
        free(out);
        free(other);
        free_linear(&linear);
        free_fixture(&f);
    }
}

static void test_jobs_of_several_weights(void **state)
{
    random_state = 4;
    fixture f[3] = {make_fixture(quant_block_find("q8_0"), 96, 40, 11),
                    make_fixture(quant_block_find("q8_0"), 96, 7, 11),
                    make_fixture(quant_block_find("q4_0"), 96, 33, 11)};
    uint32_t flags, n_worker = 2;
    assert_int_equal(llrti_isa_select(NULL, &flags, NULL), LLRT_OK);
    llrti_gemm_kernels kernels;
    llrti_gemm_init(&kernels, flags);
    const setting s = {&kernels, LLRT_PRECISION_AUTO, LLRT_WEIGHTS_REPACKED, n_worker};
    const llrt_host host = {.struct_size = sizeof host,
                            .n_worker = n_worker,
                            .ctx = &n_worker,
                            .parallel_for = run_tasks};
    void *const packed = allocate(llrti_linear_act_bytes(LLRTI_LINEAR_ACT_Q8, 96, 11));
    void *const scratch = allocate(llrti_linear_scratch_bytes() * n_worker);
    const llrti_linear_input input = {LLRTI_LINEAR_ACT_Q8, &kernels, f[0].x, 96, 96, 11, packed};
    llrti_linear_act_pack_all(&host, &input);
    llrti_linear linear[3];
    llrti_linear_job job = {.n_weight = 3, .packed = packed, .n_row = 11, .scratch = scratch};
    for (size_t i = 0; i < 3; i++) {
        linear[i] = make_linear(&f[i], &s);
        job.weight[i] = &linear[i];
        job.bias[i] = f[i].bias;
        job.out[i] = new_output(&f[i]);
        job.out_stride[i] = f[i].m + 3;
    }
    assert_int_equal(llrti_linear_run(&host, &job), LLRT_OK);
    for (size_t i = 0; i < 3; i++) {
        memcpy(f[i].x, f[0].x, 11 * 96 * sizeof(float));
        float *const alone = new_output(&f[i]);
        compute(&f[i], &s, &linear[i], 0, 11, alone);
        assert_same(&f[i], alone, job.out[i], 0, 11, "job");
        free(alone);
    }
    for (size_t i = 0; i < 3; i++) {
        free(job.out[i]);
        free_linear(&linear[i]);
        free_fixture(&f[i]);
    }
    free(packed);
    free(scratch);
}

/* Rows that come in pieces of any size and order, as slices of a larger tensor do, are stored as if all came at once. */
static void test_rows_may_come_in_any_pieces(void **state)
{
    static const size_t sizes[] = {5, 3, 20, 16, 1, 40, 7, 64, 2};
    random_state = 6;
    uint32_t flags;
    assert_int_equal(llrti_isa_select(NULL, &flags, NULL), LLRT_OK);
    llrti_gemm_kernels kernels;
    llrti_gemm_init(&kernels, flags);
    for (size_t t = 0; t < N_QUANT_BLOCKS; t++)
        for (size_t m = 1; m < 140; m += 23)
            for (int precision = LLRT_PRECISION_AUTO; precision <= LLRT_PRECISION_F32;
                 precision++) {
                const size_t n_block = quant_blocks[t].values == 1 ? 101 : 3;
                fixture f = make_fixture(&quant_blocks[t], n_block * quant_blocks[t].values, m, 1);
                const setting s = {&kernels, (llrt_precision)precision, LLRT_WEIGHTS_REPACKED, 1};
                const llrti_linear whole = make_linear(&f, &s);
                llrti_linear pieces = whole;
                pieces.data = allocate(whole.bytes);
                for (int turn = 0; turn < 2; turn++) /* every second piece, then the others */
                    for (size_t row = 0, i = m, n; row < m; row += n, i++) {
                        n = sizes[i % (sizeof sizes / sizeof *sizes)];
                        if (n > m - row) n = m - row;
                        if ((i + (size_t)turn) % 2)
                            llrti_linear_put(&pieces, row, n, f.rows + row * f.row_bytes);
                    }
                if (memcmp(whole.data, pieces.data, whole.bytes))
                    fail_msg("%s, %zu rows: the pieces differ", f.format->name, m);
                free_linear(&whole);
                free_linear(&pieces);
                free_fixture(&f);
            }
}

/* Products of many shapes and forms of input in one batch, some without rows, some of slices: each as if alone. */
static void test_batches_of_any_products(void **state)
{
    enum { N = 23 };
    static const char *const names[] = {"q8_0", "f32", "bf16", "q4_0", "q6_k"};
    random_state = 7;
    uint32_t flags;
    assert_int_equal(llrti_isa_select(NULL, &flags, NULL), LLRT_OK);
    llrti_gemm_kernels kernels;
    llrti_gemm_init(&kernels, flags);
    for (uint32_t n_worker = 1; n_worker <= 4; n_worker += 3) {
        const llrt_host host = {.struct_size = sizeof host,
                                .n_worker = n_worker,
                                .ctx = &n_worker,
                                .parallel_for = run_tasks};
        const setting s = {&kernels, LLRT_PRECISION_AUTO, LLRT_WEIGHTS_REPACKED, n_worker};
        fixture f[N];
        llrti_linear linear[N];
        llrti_linear_item item[N];
        void *packed[N], *const scratch = allocate(llrti_linear_scratch_bytes() * n_worker);
        for (size_t i = 0; i < N; i++) {
            f[i] = make_fixture(quant_block_find(names[i % 5]), 256 * (1 + i % 3), 1 + i * 37 % 150,
                                1 + i * 11 % 70);
            linear[i] = make_linear(&f[i], &s);
            const size_t n_row = i % 6 == 4 ? 0 : f[i].n_row;
            packed[i] = allocate(llrti_linear_act_bytes(linear[i].act, f[i].k, f[i].n_row));
            const llrti_linear_input input = {linear[i].act, &kernels,   f[i].x,   f[i].k,
                                              f[i].k,        f[i].n_row, packed[i]};
            llrti_linear_act_pack_all(&host, &input);
            item[i] = (llrti_linear_item){.weight = &linear[i],
                                          .data = linear[i].data,
                                          .bias = f[i].bias,
                                          .out = new_output(&f[i]),
                                          .out_stride = f[i].m + 3,
                                          .packed = packed[i],
                                          .n_row = n_row};
        }
        const llrti_linear_batch batch = {.item = item, .n_item = N, .scratch = scratch};
        assert_int_equal(llrti_linear_run_batch(&host, &batch), LLRT_OK);
        for (size_t i = 0; i < N; i++) {
            float *const alone = new_output(&f[i]);
            if (item[i].n_row) compute(&f[i], &s, &linear[i], 0, f[i].n_row, alone);
            assert_same(&f[i], alone, item[i].out, 0, f[i].n_row, "batch");
            free(alone);
            free(item[i].out);
            free(packed[i]);
            free_linear(&linear[i]);
            free_fixture(&f[i]);
        }
        free(scratch);
    }
}

static int cancel_third(void *ctx)
{
    return ++*(int *)ctx >= 3;
}

static void test_cancel_ends_the_job(void **state)
{
    random_state = 5;
    fixture f = make_fixture(quant_block_find("bf16"), 64, 400, 20);
    uint32_t flags, n_worker = 2;
    assert_int_equal(llrti_isa_select(NULL, &flags, NULL), LLRT_OK);
    llrti_gemm_kernels kernels;
    llrti_gemm_init(&kernels, flags);
    const setting s = {&kernels, LLRT_PRECISION_AUTO, LLRT_WEIGHTS_REPACKED, n_worker};
    const llrti_linear linear = make_linear(&f, &s);
    const llrt_host host = {.struct_size = sizeof host,
                            .n_worker = n_worker,
                            .ctx = &n_worker,
                            .parallel_for = run_tasks};
    void *const packed = allocate(llrti_linear_act_bytes(linear.act, f.k, f.n_row));
    void *const scratch = allocate(llrti_linear_scratch_bytes() * n_worker);
    const llrti_linear_input input = {linear.act, &kernels, f.x, f.k, f.k, f.n_row, packed};
    llrti_linear_act_pack_all(&host, &input);
    int polled = 0;
    llrti_linear_job job = {.n_weight = 1,
                            .weight = {&linear},
                            .out = {new_output(&f)},
                            .out_stride = {f.m + 3},
                            .packed = packed,
                            .n_row = f.n_row,
                            .scratch = scratch,
                            .poll_cancel = cancel_third,
                            .poll_ctx = &polled};
    assert_int_equal(llrti_linear_run(&host, &job), LLRT_ERR_CANCELLED);
    assert_int_equal(polled, 3); /* nobody goes on working, or polling */
    free(job.out[0]);
    free(packed);
    free(scratch);
    free_linear(&linear);
    free_fixture(&f);
}

static void test_bad_descriptions_are_refused(void **state)
{
    static const struct {
        llrti_linear_desc desc;
        llrt_status status;
    } cases[] = {
        {{LLRT_TYPE_F32, 0, 4, 0, 0}, LLRT_ERR_FORMAT},
        {{LLRT_TYPE_F32, 4, 0, 0, 0}, LLRT_ERR_FORMAT},
        {{LLRT_TYPE_Q8_0, 33, 4, 0, 0}, LLRT_ERR_FORMAT},
        {{LLRT_TYPE_Q4_K, 128, 4, 0, 0}, LLRT_ERR_FORMAT},
        {{24, 32, 4, 0, 0}, LLRT_ERR_UNSUPPORTED}, /* I8 */
        {{9999, 32, 4, 0, 0}, LLRT_ERR_UNSUPPORTED},
        {{LLRT_TYPE_F32, (uint64_t)1 << 62, 4, 0, 0}, LLRT_ERR_FORMAT},
        {{LLRT_TYPE_F32, (uint64_t)1 << 40, (uint64_t)1 << 40, 0, 0}, LLRT_ERR_FORMAT},
        {{LLRT_TYPE_Q8_0, (uint64_t)1 << 40, (uint64_t)1 << 40, 0, 1}, LLRT_ERR_FORMAT},
        {{LLRT_TYPE_BF16, UINT64_MAX, UINT64_MAX, 0, 0}, LLRT_ERR_FORMAT},
    };
    llrti_gemm_kernels kernels;
    llrti_gemm_init(&kernels, 0);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        llrti_linear linear;
        llrt_error err = LLRT_ERROR_INIT;
        assert_int_equal(llrti_linear_init(&linear, &cases[i].desc, &kernels, &err),
                         cases[i].status);
        assert_true(err.text[0] != '\0');
    }
}

static void test_levels_have_names(void **state)
{
    uint32_t flags;
    llrt_error err = LLRT_ERROR_INIT;
    assert_int_equal(llrti_isa_select("ref", &flags, &err), LLRT_OK);
    assert_int_equal(flags, 0);
    assert_string_equal(llrti_isa_name(flags), "ref");
    assert_string_equal(llrti_isa_level(0), "ref");
    for (uint32_t i = 0; llrti_isa_level(i); i++) {
        assert_int_equal(llrti_isa_select(llrti_isa_level(i), &flags, &err), LLRT_OK);
        assert_string_equal(llrti_isa_name(flags), llrti_isa_level(i));
        assert_int_equal(flags & ~llrti_isa_detect(), 0);
    }
    assert_int_equal(llrti_isa_select("", &flags, &err), LLRT_OK);
    assert_int_equal(flags, llrti_isa_detect());
    assert_int_equal(llrti_isa_select("sse9", &flags, &err), LLRT_ERR_UNSUPPORTED);
    assert_non_null(strstr(err.text, "sse9"));
    assert_non_null(strstr(err.text, "ref"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_format_and_shape),
        cmocka_unit_test(test_odd_and_long_rows),
        cmocka_unit_test(test_blocks_of_columns_and_of_k),
        cmocka_unit_test(test_jobs_of_several_weights),
        cmocka_unit_test(test_rows_may_come_in_any_pieces),
        cmocka_unit_test(test_batches_of_any_products),
        cmocka_unit_test(test_cancel_ends_the_job),
        cmocka_unit_test(test_bad_descriptions_are_refused),
        cmocka_unit_test(test_levels_have_names),
    };
    return cmocka_run_group_tests_name("linear", tests, NULL, NULL);
}
