/* SPDX-License-Identifier: MIT */
/*
 * Whole programs on the CPU backend: against a forward pass in double, and the promise of the same bits: whatever the
 * workers, chunks, company, level or state of the host's floating-point unit.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "cpu_fixture.h"
#include "cpu_fpenv.h"
#include "isa.h"

enum { N_LONG = 290 }; /* five pages */

static void compare_with_double(const cpu_config *c, uint32_t n)
{
    cpu_model *const m = cpu_model_open(c);
    cpu_seq s = cpu_seq_make(m, 0, n);
    cpu_seq_run(m, &s, 64);
    double *const expected = cpu_double_forward(m, s.token, n);
    double top = 0, error = 0;
    for (size_t i = 0; i < (size_t)n * c->n_vocab; i++) {
        assert_true(isfinite(s.logits[i]));
        top = fmax(top, fabs(expected[i]));
        error = fmax(error, fabs(expected[i] - (double)s.logits[i]));
    }
    if (error > 1e-5 * top) fail_msg("largest error %g, largest logit %g", error, top);
    free(expected);
    cpu_seq_free(&s);
    cpu_model_close(m);
}

static void test_equals_forward_pass_in_double(void **state)
{
    cpu_config c = cpu_config_small();
    compare_with_double(&c, 200);
    c.pairs = LLRT_ROPE_ADJACENT;
    c.window = 33;
    c.soft_cap = 5;
    c.n_worker = 3;
    compare_with_double(&c, 200);
    c.is_grouped = 1;
    c.limits.n_page[1] = 17;
    compare_with_double(&c, 200);
    c.is_grouped = 0;
    c.weight_type = LLRT_TYPE_F16;
    c.n_kv_head = 6;
    c.isa = "ref";
    compare_with_double(&c, 100);
    c.weight_type = LLRT_TYPE_Q8_0;
    c.weights = LLRT_WEIGHTS_MAPPED;
    c.isa = NULL;
    c.n_kv_head = 1;
    compare_with_double(&c, 150);
}

static void assert_same_logits(const cpu_model *m, const cpu_seq *a, const cpu_seq *b,
                               const char *what)
{
    assert_int_equal(a->n_tok, b->n_tok);
    for (size_t i = 0; i < (size_t)a->n_tok * m->c.n_vocab; i++)
        if (memcmp(&a->logits[i], &b->logits[i], sizeof(float)) != 0)
            fail_msg("%s: position %zu, token %zu: %.9g and %.9g", what, i / m->c.n_vocab,
                     i % m->c.n_vocab, (double)a->logits[i], (double)b->logits[i]);
}

/* Three sequences in steps of ever-changing composition. */
static void run_mixed(cpu_model *m, cpu_seq seq[3])
{
    static const uint32_t wish[][3] = {{1, 64, 0}, {7, 1, 33}, {1, 1, 1},
                                       {64, 0, 2}, {0, 5, 0},  {130, 3, 9}};
    llrt_error err = LLRT_ERROR_INIT;
    for (uint32_t turn = 0;; turn++) {
        uint32_t count[3], sum = 0;
        for (int i = 0; i < 3; i++) {
            count[i] = LLRTI_MIN(wish[turn % LLRTI_COUNT(wish)][i], seq[i].n_tok - seq[i].n_done);
            sum += count[i];
        }
        if (seq[0].n_done == seq[0].n_tok && seq[1].n_done == seq[1].n_tok &&
            seq[2].n_done == seq[2].n_tok)
            return;
        if (sum && cpu_seq_step(m, seq, count, 3, &err) < 0) fail_msg("%s", err.text);
    }
}

/* Every way to compute gives the bits of one worker, token by token. */
static void check_same_bits(const cpu_config *base)
{
    static const uint32_t length[3] = {N_LONG, 150, 70};
    static const uint32_t chunk[] = {1, 7, 64, N_LONG};
    cpu_model *const m = cpu_model_open(base);
    cpu_seq expected[3];
    for (uint32_t i = 0; i < 3; i++) {
        expected[i] = cpu_seq_make(m, i, length[i]);
        cpu_seq_run(m, &expected[i], 1);
    }
    for (uint32_t n_worker = 1; n_worker <= 4; n_worker++) {
        cpu_config c = *base;
        c.n_worker = n_worker;
        cpu_model *const other = cpu_model_open(&c);
        for (size_t k = n_worker == 1; k < LLRTI_COUNT(chunk); k++) {
            cpu_seq found = cpu_seq_make(other, 0, length[0]);
            char what[64];
            snprintf(what, sizeof what, "%u workers, chunks of %u", n_worker, chunk[k]);
            cpu_seq_run(other, &found, chunk[k]);
            assert_same_logits(m, &expected[0], &found, what);
            cpu_seq_free(&found);
        }
        cpu_seq mixed[3];
        for (uint32_t i = 0; i < 3; i++) mixed[i] = cpu_seq_make(other, i, length[i]);
        run_mixed(other, mixed);
        for (uint32_t i = 0; i < 3; i++) {
            assert_same_logits(m, &expected[i], &mixed[i], "three sequences mixed");
            cpu_seq_free(&mixed[i]);
        }
        cpu_model_close(other);
    }
    for (uint32_t i = 0; i < 3; i++) cpu_seq_free(&expected[i]);
    cpu_model_close(m);
}

static void test_same_bits_for_every_kv_type(void **state)
{
    static const llrt_type type[] = {LLRT_TYPE_F32, LLRT_TYPE_F16, LLRT_TYPE_BF16, LLRT_TYPE_Q8_0};
    for (size_t i = 0; i < LLRTI_COUNT(type); i++) {
        cpu_config c = cpu_config_small();
        c.kv_type = type[i];
        c.window = i % 2 ? 90 : 0;
        check_same_bits(&c);
    }
    for (size_t i = 0; i < LLRTI_COUNT(type); i += 3) { /* pages before the window are absent */
        cpu_config c = cpu_config_small();
        c.kv_type = type[i];
        c.is_grouped = 1;
        c.window = 50;
        c.limits.n_page[1] = 30;
        check_same_bits(&c);
    }
}

static void test_same_bits_for_every_precision_and_level(void **state)
{
    static const llrt_precision precision[] = {LLRT_PRECISION_AUTO, LLRT_PRECISION_PORTABLE};
    for (size_t i = 0; i < LLRTI_COUNT(precision); i++)
        for (uint32_t level = 1; llrti_isa_level(level); level++) {
            cpu_config c = cpu_config_small();
            c.precision = precision[i];
            c.isa = llrti_isa_level(level);
            c.weight_type = i ? LLRT_TYPE_BF16 : LLRT_TYPE_Q8_0;
            c.kv_type = LLRT_TYPE_F16;
            c.n_layer = 1;
            check_same_bits(&c);
        }
}

/* F32 and portable arithmetic give the same bits on every level; in other precisions levels may differ. */
static void test_levels_agree(void **state)
{
    static const llrt_type type[] = {LLRT_TYPE_F32, LLRT_TYPE_F16, LLRT_TYPE_BF16, LLRT_TYPE_Q8_0};
    for (size_t t = 0; t < LLRTI_COUNT(type); t++)
        for (int is_portable = 0; is_portable < 2; is_portable++) {
            cpu_config c = cpu_config_small();
            c.weight_type = c.kv_type = type[t];
            c.precision = is_portable ? LLRT_PRECISION_PORTABLE : LLRT_PRECISION_F32;
            c.isa = "ref";
            cpu_model *const m = cpu_model_open(&c);
            cpu_seq expected = cpu_seq_make(m, 0, 140);
            cpu_seq_run(m, &expected, 64);
            for (uint32_t level = 1; llrti_isa_level(level); level++) {
                c.isa = llrti_isa_level(level);
                cpu_model *const other = cpu_model_open(&c);
                cpu_seq found = cpu_seq_make(other, 0, 140);
                cpu_seq_run(other, &found, 64);
                assert_same_logits(m, &expected, &found, c.isa);
                cpu_seq_free(&found);
                cpu_model_close(other);
            }
            cpu_seq_free(&expected);
            cpu_model_close(m);
        }
}

/* Long contexts at decode: tiles are computed apart, in more than one round. */
static void test_same_bits_with_tiles_in_rounds(void **state)
{
    cpu_config c = cpu_config_small();
    c.n_kv_head = 3;
    c.n_layer = 1;
    c.limits.n_page[0] = 40;
    cpu_model *const m = cpu_model_open(&c);
    cpu_seq expected = cpu_seq_make(m, 0, 460);
    cpu_seq_run(m, &expected, 64);
    for (uint32_t n_worker = 2; n_worker <= 4; n_worker++) {
        c.n_worker = n_worker;
        cpu_model *const other = cpu_model_open(&c);
        cpu_seq found = cpu_seq_make(other, 0, 460);
        cpu_seq_run(other, &found, 5);
        assert_same_logits(m, &expected, &found, "tiles apart");
        cpu_seq_free(&found);
        cpu_model_close(other);
    }
    cpu_seq_free(&expected);
    cpu_model_close(m);
}

/* An output that later operators read as well can still be read after the step. */
static void test_outputs_outlive_their_readers(void **state)
{
    const cpu_config c = cpu_config_small();
    cpu_model *const m = cpu_model_open(&c);
    llrt_error err = LLRT_ERROR_INIT;
    cpu_seq s = cpu_seq_make(m, 0, 50);
    const uint32_t logits = m->program.logits, n = 50;
    float *const hidden = malloc((size_t)n * c.d_model * sizeof *hidden);
    assert_non_null(hidden);
    assert_int_equal(cpu_seq_step(m, &s, &n, 1, &err), LLRT_OK);
    assert_int_equal(m->h.table.value_read(m->runtime, m->output[0], 0, n, hidden, &err), LLRT_OK);
    m->program.logits = m->output[0]; /* the value that the forward pass returns */
    double *const expected = cpu_double_forward(m, s.token, n);
    double top = 0;
    for (size_t i = 0; i < (size_t)n * c.d_model; i++) top = fmax(top, fabs(expected[i]));
    for (size_t i = 0; i < (size_t)n * c.d_model; i++)
        assert_true(fabs(expected[i] - (double)hidden[i]) <= 1e-5 * top);
    m->program.logits = logits;
    free(expected);
    free(hidden);
    cpu_seq_free(&s);
    cpu_model_close(m);
}

static void test_same_bits_repacked_and_mapped(void **state)
{
    cpu_config c = cpu_config_small();
    c.weight_type = LLRT_TYPE_Q8_0;
    c.precision = LLRT_PRECISION_AUTO;
    cpu_model *const m = cpu_model_open(&c);
    c.weights = LLRT_WEIGHTS_MAPPED;
    cpu_model *const other = cpu_model_open(&c);
    cpu_seq expected = cpu_seq_make(m, 0, 100), found = cpu_seq_make(other, 0, 100);
    cpu_seq_run(m, &expected, 64);
    cpu_seq_run(other, &found, 33);
    assert_same_logits(m, &expected, &found, "mapped weights");
    cpu_seq_free(&expected);
    cpu_seq_free(&found);
    cpu_model_close(m);
    cpu_model_close(other);
}

static void test_host_with_flush_to_zero(void **state)
{
#if defined(__x86_64__)
    cpu_config c = cpu_config_small();
    c.n_worker = 2;
    cpu_model *const m = cpu_model_open(&c);
    cpu_seq expected = cpu_seq_make(m, 0, 100), found = cpu_seq_make(m, 1, 100);
    memcpy(found.token, expected.token, 100 * sizeof(int32_t));
    cpu_seq_run(m, &expected, 64);
    const unsigned csr = _mm_getcsr(),
                   strange = 0x1f80 | 0x8040 | 0x4000; /* flush, denormals are zero, round up */
    _mm_setcsr(strange);
    cpu_seq_run(m, &found, 7);
    const unsigned after = _mm_getcsr();
    _mm_setcsr(csr);
    assert_int_equal(after & ~0x3fu, strange);
    assert_same_logits(m, &expected, &found, "host with flush to zero");
    cpu_seq_free(&expected);
    cpu_seq_free(&found);
    cpu_model_close(m);
#else
    print_message("skipped: the test sets MXCSR, which this architecture has not\n");
    skip();
#endif
}

/* Embedding rows replace tokens, unscaled; a page copied, or written out and taken in, continues with the same bits. */
static void test_pages_and_embeddings(void **state)
{
    static const llrt_type type[] = {LLRT_TYPE_F32, LLRT_TYPE_F16, LLRT_TYPE_BF16, LLRT_TYPE_Q8_0};
    for (size_t t = 0; t < LLRTI_COUNT(type); t++) {
        cpu_config c = cpu_config_small();
        c.kv_type = type[t];
        cpu_model *const m = cpu_model_open(&c);
        llrt_error err = LLRT_ERROR_INIT;
        cpu_seq a = cpu_seq_make(m, 0, 100), b = cpu_seq_make(m, 1, 100);
        const uint32_t split = 90, tail = split % LLRT_PAGE_TOK;
        memcpy(b.token, a.token, 100 * sizeof *a.token);
        cpu_seq_run(m, &a, 64);
        size_t head = 0; /* bytes of a token in the canonical layout */
        if (type[t] == LLRT_TYPE_Q8_0)
            head = 34 + 34;
        else
            head = (c.k_dim + c.v_dim) * (type[t] == LLRT_TYPE_F32 ? 4 : 2);
        const size_t tok_bytes = head * c.n_kv_head * c.n_layer;
        uint8_t *const buffer = malloc(tok_bytes * LLRT_PAGE_TOK);
        assert_non_null(buffer);
        assert_int_equal(
            m->h.table.page_copy(m->runtime, 0, b.page[0], a.page[0], LLRT_PAGE_TOK, &err),
            LLRT_OK);
        assert_int_equal(
            m->h.table.page_read(m->runtime, 0, a.page[1], tail, buffer, tok_bytes * tail, &err),
            LLRT_OK);
        assert_int_equal(
            m->h.table.page_write(m->runtime, 0, b.page[1], tail, buffer, tok_bytes * tail, &err),
            LLRT_OK);
        b.n_done = split;
        memcpy(b.logits, a.logits, split * c.n_vocab * sizeof(float));
        cpu_seq_run(m, &b, 3);
        assert_same_logits(m, &a, &b, "copied pages");
        assert_int_equal(
            m->h.table.page_copy(m->runtime, 0, b.page[1], b.page[0], LLRT_PAGE_TOK, &err),
            LLRT_OK);
        assert_int_equal(m->h.table.page_copy(m->runtime, 0, b.page[1], a.page[1], tail, &err),
                         LLRT_OK);
        b.n_done = split;
        cpu_seq_run(m, &b, 100);
        assert_same_logits(m, &a, &b, "a part of a page copied");

        /* row 1 of three as an embedding: the embedding matrix' row times the factor */
        float embedding[256];
        int32_t token[3] = {a.token[0], -1, a.token[2]};
        for (uint32_t i = 0; i < c.d_model; i++)
            embedding[i] = m->tensor[0].value[(size_t)a.token[1] * c.d_model + i] * 1.5f;
        const llrt_step_seq entry = {.n_row = 3, .n_page = 1, .page = {b.page}};
        const uint32_t out_row[1] = {2};
        float logits[256];
        const llrt_step_desc step = {.struct_size = sizeof step,
                                     .n_row = 3,
                                     .n_seq = 1,
                                     .n_out = 1,
                                     .token = token,
                                     .embedding = embedding,
                                     .seq = &entry,
                                     .out_row = out_row};
        assert_int_equal(m->h.table.step_submit(m->runtime, &step, &err), LLRT_OK);
        assert_int_equal(m->h.table.step_wait(m->runtime, &err), LLRT_OK);
        assert_int_equal(m->h.table.value_read(m->runtime, m->program.logits, 0, 1, logits, &err),
                         LLRT_OK);
        assert_memory_equal(logits, a.logits + 2 * c.n_vocab, c.n_vocab * sizeof(float));
        free(buffer);
        cpu_seq_free(&a);
        cpu_seq_free(&b);
        cpu_model_close(m);
    }
}

static void test_select_takes_the_best(void **state)
{
    cpu_config c = cpu_config_small();
    c.n_worker = 2;
    cpu_model *const m = cpu_model_open(&c);
    llrt_error err = LLRT_ERROR_INIT;
    int32_t token[5] = {1, 2, 3, 4, 5}, best[2][5];
    float logit[2][5], logits[2][256];
    const llrt_step_seq entry = {
        .row_begin = 0, .n_row = 5, .pos_begin = 0, .n_page = 1, .page = {(const uint32_t[]){3}}};
    const uint32_t out_row[2] = {1, 4};
    const llrt_select select[2] = {
        {.out_row = 1, .n_best = 5, .repetition = 1, .wants = LLRT_SELECT_LOG_SUM_EXP},
        {.out_row = 0, .n_best = 3, .repetition = 1, .wants = LLRT_SELECT_LOG_SUM_EXP}};
    llrt_select_result result[2] = {{.token = best[0], .logit = logit[0]},
                                    {.token = best[1], .logit = logit[1]}};
    const llrt_step_desc step = {.struct_size = sizeof step,
                                 .n_row = 5,
                                 .n_seq = 1,
                                 .n_out = 2,
                                 .n_select = 2,
                                 .token = token,
                                 .seq = &entry,
                                 .out_row = out_row,
                                 .select = select,
                                 .result = result};
    assert_int_equal(m->h.table.step_submit(m->runtime, &step, &err), LLRT_OK);
    assert_int_equal(m->h.table.step_wait(m->runtime, &err), LLRT_OK);
    assert_int_equal(m->h.table.value_read(m->runtime, m->program.logits, 0, 2, logits[0], &err),
                     LLRT_OK);
    memmove(logits[1], logits[0] + c.n_vocab, c.n_vocab * sizeof(float));
    for (int i = 0; i < 2; i++) {
        const float *const row = logits[select[i].out_row];
        double sum = 0;
        assert_int_equal(result[i].n, select[i].n_best);
        for (uint32_t v = 0; v < c.n_vocab; v++) sum += exp((double)row[v] - (double)logit[i][0]);
        assert_true(fabs(log(sum) + (double)logit[i][0] - result[i].log_sum_exp) < 1e-5);
        for (uint32_t k = 0; k < result[i].n; k++) {
            uint32_t n_above = 0;
            for (uint32_t v = 0; v < c.n_vocab; v++) n_above += row[v] > logit[i][k];
            assert_int_equal(n_above, k);
            assert_true(row[best[i][k]] == logit[i][k]);
        }
    }
    cpu_model_close(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_equals_forward_pass_in_double),
        cmocka_unit_test(test_same_bits_for_every_kv_type),
        cmocka_unit_test(test_same_bits_for_every_precision_and_level),
        cmocka_unit_test(test_levels_agree),
        cmocka_unit_test(test_same_bits_with_tiles_in_rounds),
        cmocka_unit_test(test_outputs_outlive_their_readers),
        cmocka_unit_test(test_same_bits_repacked_and_mapped),
        cmocka_unit_test(test_host_with_flush_to_zero),
        cmocka_unit_test(test_pages_and_embeddings),
        cmocka_unit_test(test_select_takes_the_best),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
