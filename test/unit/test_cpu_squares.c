/* SPDX-License-Identifier: MIT */
/*
 * Sums of squares: exactly the sums in double over the rows in order, of each matrix's own rows, however the rows were
 * cut into steps and tasks; and what is refused.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "cpu_part.h"

enum { N_HEAD = 3, WIDTH = 100, D_IN = N_HEAD * WIDTH, N_EXPERT = 4 };

/* Tensors. */
enum { LINEAR, HEADS, UP, DOWN, BIAS };

/*
 * A linear, a linear per head and experts of the same x, all added up. Row t goes to expert t % 4. The experts' up is the
 * identity and their activation relu, so that down is given max(x, 0).
 */
static part *make_part(void)
{
    part *const p = part_new(41);
    const uint32_t x[2] = {part_input(p, N_HEAD, WIDTH, 1, 0), part_input(p, 1, N_EXPERT, 0, 0)};
    uint32_t y[3];
    for (uint32_t s = 0; s < PART_SEQ; s++)
        for (uint32_t t = 0; t < part_length[s]; t++) p->x[s][1][t * N_EXPERT + t % N_EXPERT] = 1;
    for (int i = 0; i < 3; i++) y[i] = cpu_add_value(&p->m, LLRT_ROWS_TOKEN, N_HEAD, WIDTH);
    llrt_op *op = part_op(p, LLRT_OP_LINEAR, x, 1, y[0]);
    op->weight[0] = part_tensor(p, "linear", LLRT_TYPE_F32, D_IN, D_IN, 0, 0.1f, 0);
    op = part_op(p, LLRT_OP_HEAD_LINEAR, x, 1, y[1]);
    op->weight[0] = part_tensor(p, "heads", LLRT_TYPE_F32, WIDTH, WIDTH, N_HEAD, 0.1f, 0);
    op = part_op(p, LLRT_OP_EXPERTS, x, 2, y[2]);
    op->weight[1] = part_tensor(p, "up", LLRT_TYPE_F32, D_IN, D_IN, N_EXPERT, 0, 0);
    op->weight[2] = part_tensor(p, "down", LLRT_TYPE_F32, D_IN, D_IN, N_EXPERT, 0.1f, 0);
    op->u.experts.n_used = 1;
    op->u.experts.scale = 1;
    op->u.experts.act = LLRT_ACT_RELU;
    float *const up = p->m.tensor[UP].value;
    for (size_t i = 0; i < (size_t)N_EXPERT * D_IN; i++) up[i * D_IN + i % D_IN] = 1;
    memcpy(p->m.tensor[UP].bytes, up, (size_t)N_EXPERT * D_IN * D_IN * sizeof *up);
    part_tensor(p, "bias", LLRT_TYPE_F32, D_IN, 1, 0, 1, 0);
    part_op(p, LLRT_OP_CONCAT, y, 3, cpu_add_value(&p->m, LLRT_ROWS_TOKEN, 3, D_IN));
    p->limits.with_squares = 1;
    return p;
}

static void check_sums(part_run *r, uint32_t tensor, uint32_t n_slice, uint32_t k,
                       const double *expected, const uint64_t *expected_count)
{
    double *const sum = malloc((size_t)n_slice * k * sizeof *sum);
    uint64_t count[N_EXPERT];
    llrt_error err = LLRT_ERROR_INIT;
    assert_non_null(sum);
    if (r->h.table.squares_read(r->runtime, tensor, sum, count, &err) < 0) fail_msg("%s", err.text);
    for (uint32_t i = 0; i < n_slice; i++) {
        assert_int_equal(count[i], expected_count[i]);
        for (uint32_t e = 0; e < k; e++)
            if (memcmp(&sum[i * k + e], &expected[i * k + e], sizeof *sum) != 0)
                fail_msg("tensor %u, matrix %u, input %u: %.17g, expected %.17g", tensor, i, e,
                         sum[i * k + e], expected[i * k + e]);
    }
    free(sum);
}

static void test_sums_are_exact(void **state)
{
    static const uint32_t chunk[] = {1, 5, 64, 201};
    part *const p = make_part();
    static const double nothing[D_IN];
    static const uint64_t no_rows[N_HEAD];
    static double x[D_IN], of_expert[N_EXPERT][D_IN], positive[N_EXPERT][D_IN];
    uint64_t n_head_rows[N_HEAD] = {0}, n_expert_rows[N_EXPERT] = {0};
    memset(x, 0, sizeof x);
    memset(of_expert, 0, sizeof of_expert);
    memset(positive, 0, sizeof positive);
    for (uint32_t s = 0; s < PART_SEQ; s++)
        for (uint32_t t = 0; t < part_length[s]; t++) {
            n_expert_rows[t % N_EXPERT]++;
            for (uint32_t i = 0; i < N_HEAD; i++) n_head_rows[i]++;
            for (uint32_t k = 0; k < D_IN; k++) {
                const double v = p->x[s][0][t * D_IN + k];
                x[k] += v * v;
                of_expert[t % N_EXPERT][k] += v * v;
                positive[t % N_EXPERT][k] += v > 0 ? v * v : 0;
            }
        }
    for (uint32_t i = 0; i < LLRTI_COUNT(chunk); i++) {
        part_run *const r = part_open(p, &(part_config){.n_worker = 1 + i});
        for (int turn = 0; turn < 2; turn++) { /* again after a reset */
            memset(r->n_done, 0, sizeof r->n_done);
            part_run_alone(r, chunk[i]);
            check_sums(r, LINEAR, 1, D_IN, x, n_head_rows);
            check_sums(r, HEADS, N_HEAD, WIDTH, x, n_head_rows);
            check_sums(r, UP, N_EXPERT, D_IN, of_expert[0], n_expert_rows);
            check_sums(r, DOWN, N_EXPERT, D_IN, positive[0], n_expert_rows);
            r->h.table.squares_reset(r->runtime);
        }
        check_sums(r, LINEAR, 1, D_IN, nothing, no_rows);
        check_sums(r, HEADS, N_HEAD, WIDTH, nothing, no_rows);
        part_close(r);
    }
    part_free(p);
}

static void test_what_is_refused(void **state)
{
    part *const p = make_part();
    static double sum[N_EXPERT * D_IN];
    uint64_t count[N_EXPERT];
    llrt_error err = LLRT_ERROR_INIT;
    part_run *r = part_open(p, &(part_config){.n_worker = 1});
    const llrt_backend *table = &r->h.table;
    assert_int_equal(table->squares_read(r->runtime, 5, sum, count, &err), LLRT_ERR_ARGUMENT);
    assert_int_equal(table->squares_read(r->runtime, BIAS, sum, count, &err), LLRT_ERR_ARGUMENT);
    assert_non_null(strstr(err.text, "bias"));
    assert_int_equal(table->squares_read(r->runtime, LINEAR, NULL, count, &err), LLRT_ERR_ARGUMENT);
    assert_int_equal(table->squares_read(r->runtime, LINEAR, sum, NULL, &err), LLRT_ERR_ARGUMENT);
    const uint32_t rows[PART_SEQ] = {1, 0, 0};
    part_step_data *const d = part_describe(r, rows);
    assert_int_equal(table->step_submit(r->runtime, &d->step, &err), LLRT_OK);
    assert_int_equal(table->squares_read(r->runtime, LINEAR, sum, count, &err), LLRT_ERR_STATE);
    assert_int_equal(table->step_wait(r->runtime, &err), LLRT_OK);
    part_step_free(d);
    part_close(r);
    p->limits.with_squares = 0;
    r = part_open(p, &(part_config){.n_worker = 1});
    part_step(r, 3, 0, 0);
    r->h.table.squares_reset(r->runtime);
    assert_int_equal(r->h.table.squares_read(r->runtime, LINEAR, sum, count, &err), LLRT_ERR_STATE);
    part_close(r);
    part_free(p);
}

static void test_plan(void **state)
{
    part *const p = make_part();
    for (uint32_t with = 0; with < 2; with++) {
        p->limits.with_squares = with;
        part_check_plan(p, &(part_config){.n_worker = 2});
    }
    part_free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sums_are_exact),
        cmocka_unit_test(test_what_is_refused),
        cmocka_unit_test(test_plan),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
