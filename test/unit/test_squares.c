/* SPDX-License-Identifier: MIT */
/*
 * Sums of squares through the public API: against the formula where it is simple (the first norm's output), the
 * same for any way of cutting the work and for two stages; importance matrices of both formats are read
 * back with the reader of models and by hand.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "adapter_support.h"
#include "memory_files.h"
#include "model_file.h"

#define N_TEXT 90
#define N_ROWS 7 /* weights with products in a layer of the tiny model */

typedef struct fixture {
    net model;
    llrt_blob blob;
    llrt_source source;
    int32_t text[N_TEXT];
} fixture;

static int set_up(void **state)
{
    fixture *const f = malloc(sizeof *f);
    net_init(&f->model, 5);
    f->blob.data = net_gguf(&f->model, &f->blob.size);
    llrt_source_init_memory(&f->source, sizeof f->source, &f->blob);
    make_text(9, f->text, N_TEXT, TINY_VOCAB);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    fixture *const f = *state;
    free((void *)(uintptr_t)f->blob.data);
    net_free(&f->model);
    free(f);
    return 0;
}

static llrt_engine *open_engine(const fixture *f, uint32_t n_step_tok, uint32_t n_stage)
{
    static const llrt_placement stages[2] = {{"cpu", 1}, {"cpu", 2}};
    llrt_engine_options o = test_options(NULL);
    llrt_engine *engine = NULL;
    o.source = &f->source;
    o.precision = LLRT_PRECISION_F32;
    o.with_squares = 1;
    o.n_step_tok = n_step_tok;
    o.placement = stages;
    o.n_placement = n_stage == 2 ? 2 : 0;
    check(llrt_engine_open("m.gguf", &o, &engine, &err));
    return engine;
}

static void compute(const fixture *f, llrt_engine *engine)
{
    llrt_session *const session = new_session(engine);
    check(llrt_session_append(session, f->text, N_TEXT, LLRT_LOGITS_LAST, &err));
    llrt_session_free(session);
}

/* The index of a weight by its name. */
static uint32_t find(llrt_engine *engine, const char *name, llrt_squares_info *info)
{
    for (uint32_t i = 0;; i++) {
        memset(info, 0, sizeof *info);
        info->struct_size = sizeof *info;
        check(llrt_engine_squares_info(engine, i, info, &err));
        if (strcmp(info->name, name) == 0) return i;
    }
}

static uint64_t read_sums(llrt_engine *engine, const char *name, double *sum)
{
    llrt_squares_info info;
    uint64_t count = 0;
    const uint32_t i = find(engine, name, &info);
    assert_true(info.n_matrix == 1 && info.n_column <= 64);
    check(llrt_engine_squares(engine, i, sum, 64, &count, 1, &err));
    return count;
}

/* The first attention's input is the norm of the embeddings: x / rms * w. */
static void expected_inputs(fixture *f, double *sum)
{
    const float *const embed = f->model.weight[0].data;
    const float *const norm = net_find(&f->model, "blk.0.attn_norm")->data;
    for (int k = 0; k < NET_D; k++) sum[k] = 0;
    for (int t = 0; t < N_TEXT; t++) {
        const float *const x = embed + f->text[t] * NET_D;
        double mean = 0;
        for (int k = 0; k < NET_D; k++) mean += (double)x[k] * x[k] / NET_D;
        for (int k = 0; k < NET_D; k++) {
            const double y = x[k] / sqrt(mean + 1e-5) * norm[k];
            sum[k] += y * y;
        }
    }
}

static void test_sums_are_those_of_the_inputs(void **state)
{
    fixture *const f = *state;
    llrt_engine *const engine = open_engine(f, 128, 1);
    double expected[NET_D], sum[64], other[64];
    compute(f, engine);
    expected_inputs(f, expected);
    assert_int_equal(read_sums(engine, "blk.0.attn_q.weight", sum), N_TEXT);
    for (int k = 0; k < NET_D; k++) assert_true(fabs(sum[k] / expected[k] - 1) < 1e-5);
    assert_int_equal(read_sums(engine, "blk.0.attn_v.weight", other), N_TEXT);
    assert_memory_equal(sum, other, NET_D * sizeof *sum);
    assert_int_equal(read_sums(engine, "blk.2.ffn_down.weight", other), N_TEXT);
    /* The head sees the wanted row only. */
    llrt_squares_info info;
    find(engine, "output.weight", &info);
    assert_int_equal(info.is_head, 1);
    assert_int_equal(read_sums(engine, "output.weight", other), 1);
    compute(f, engine); /* a page of the text is reused */
    assert_int_equal(read_sums(engine, "blk.0.attn_q.weight", other), N_TEXT + N_TEXT - 64);
    check(llrt_engine_squares_reset(engine, &err));
    assert_int_equal(read_sums(engine, "blk.0.attn_q.weight", other), 0);
    for (int k = 0; k < NET_D; k++) assert_true(other[k] == 0);
    llrt_engine_close(engine);
}

static void test_steps_and_stages_change_nothing(void **state)
{
    fixture *const f = *state;
    static const char *const names[] = {"blk.0.attn_k.weight", "blk.1.attn_output.weight",
                                        "blk.2.ffn_up.weight", "output.weight"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        double sum[3][64] = {{0}};
        for (uint32_t k = 0; k < 3; k++) {
            llrt_engine *const engine = open_engine(f, k == 1 ? 7 : 128, k == 2 ? 2 : 1);
            compute(f, engine);
            read_sums(engine, names[i], sum[k]);
            llrt_engine_close(engine);
        }
        assert_memory_equal(sum[0], sum[1], sizeof sum[0]);
        assert_memory_equal(sum[0], sum[2], sizeof sum[0]);
    }
}

static void test_what_can_not_be_read(void **state)
{
    fixture *const f = *state;
    llrt_engine *const engine = open_engine(f, 128, 1);
    llrt_engine_options o = test_options(NULL);
    llrt_engine *plain = NULL;
    llrt_squares_info info = {.struct_size = sizeof info};
    double sum[64];
    uint64_t count;
    llrt_error e = LLRT_ERROR_INIT;
    o.source = &f->source;
    check(llrt_engine_open("m.gguf", &o, &plain, &err));
    assert_int_equal(llrt_engine_squares_info(plain, 0, &info, &e), LLRT_ERR_STATE);
    assert_string_equal(e.field, "with_squares");
    check_fails(LLRT_ERR_STATE, llrt_engine_squares(plain, 0, sum, 64, &count, 1, &err));
    check_fails(LLRT_ERR_STATE, llrt_engine_squares_reset(plain, &err));
    check_fails(LLRT_ERR_STATE, llrt_imatrix_save(plain, "x", NULL, &err));
    const uint32_t n = NET_LAYER * N_ROWS + 1;
    check(llrt_engine_squares_info(engine, n - 1, &info, &err));
    check_fails(LLRT_ERR_NOT_FOUND, llrt_engine_squares_info(engine, n, &info, &err));
    check_fails(LLRT_ERR_NOT_FOUND, llrt_engine_squares(engine, n, sum, 64, &count, 1, &err));
    check_fails(LLRT_ERR_BUFFER, llrt_engine_squares(engine, 0, sum, 3, &count, 1, &err));
    check_fails(LLRT_ERR_BUFFER, llrt_engine_squares(engine, 0, sum, 64, &count, 0, &err));
    check_fails(LLRT_ERR_ARGUMENT, llrt_engine_squares(engine, 0, NULL, 64, &count, 1, &err));
    check_fails(LLRT_ERR_STATE, llrt_imatrix_save(engine, "x", NULL, &err)); /* nothing yet */
    llrt_engine_close(plain);
    llrt_engine_close(engine);
}

/* ---- Importance matrices ---- */

static const char *temporary_name(char *buffer, size_t n, const char *name)
{
    const char *const folder = getenv("TMPDIR");
    snprintf(buffer, n, "%s/llrt-%u-%s", folder && *folder ? folder : "/tmp",
             (unsigned)llrti_process_id(), name);
    return buffer;
}

static void save(llrt_engine *engine, const char *path, uint32_t is_legacy, uint32_t with_head)
{
    llrt_imatrix_options o;
    llrt_imatrix_options_init(&o, sizeof o);
    o.n_chunk = 3;
    o.chunk_size = 40;
    o.dataset = "text.txt";
    o.is_legacy = is_legacy;
    o.with_head = with_head;
    check(llrt_imatrix_save(engine, path, &o, &err));
}

static uint32_t read_u32(const uint8_t **at)
{
    const uint8_t *const p = *at;
    *at += 4;
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static void test_gguf_matrix_is_read_back(void **state)
{
    fixture *const f = *state;
    llrt_engine *const engine = open_engine(f, 128, 1);
    llrti_mem mem;
    test_heap heap;
    llrti_model_file *file = NULL;
    llrt_error err = LLRT_ERROR_INIT;
    char path[256];
    double sum[64];
    float found[64];
    compute(f, engine);
    temporary_name(path, sizeof path, "matrix.gguf");
    test_mem_init(&mem, &heap);
    for (uint32_t with_head = 0; with_head < 2; with_head++) {
        save(engine, path, 0, with_head);
        assert_int_equal(llrti_model_file_open(&mem, path, NULL, &file, &err), LLRT_OK);
        assert_int_equal(llrti_model_file_n_tensor(file), 2 * (NET_LAYER * N_ROWS + with_head));
        const llrti_meta *meta = llrti_model_file_find_meta(file, "general.type");
        assert_memory_equal(meta->value.s.data, "imatrix", 7);
        assert_int_equal(llrti_model_file_find_meta(file, "imatrix.chunk_count")->value.u, 3);
        assert_int_equal(llrti_model_file_find_meta(file, "imatrix.chunk_size")->value.u, 40);
        meta = llrti_model_file_find_meta(file, "imatrix.datasets");
        assert_int_equal(meta->n, 1);
        assert_memory_equal(((const llrti_string *)meta->value.array)->data, "text.txt", 8);
        const llrti_tensor *t = llrti_model_file_tensor(file, 0);
        assert_string_equal(t->name, "blk.0.attn_k.weight.in_sum2"); /* by name */
        read_sums(engine, "blk.0.attn_k.weight", sum);
        assert_int_equal(t->dim[0], NET_D);
        assert_int_equal(llrti_model_file_read(file, t, 0, found, NET_D * 4, &err), LLRT_OK);
        for (int k = 0; k < NET_D; k++) assert_true(found[k] == (float)sum[k]);
        t = llrti_model_file_find_tensor(file, "blk.0.attn_k.weight.counts");
        assert_int_equal(t->dim[0], 1);
        assert_int_equal(llrti_model_file_read(file, t, 0, found, 4, &err), LLRT_OK);
        assert_true(found[0] == N_TEXT);
        llrti_model_file_close(file);
    }
    assert_int_equal(heap.n_live, 0);
    remove(path);
    llrt_engine_close(engine);
}

static void test_older_matrix_is_read_back(void **state)
{
    fixture *const f = *state;
    llrt_engine *const engine = open_engine(f, 128, 1);
    char path[256];
    size_t n;
    double sum[64];
    compute(f, engine);
    temporary_name(path, sizeof path, "matrix.dat");
    save(engine, path, 1, 0);
    uint8_t *const data = (uint8_t *)test_read_file(path, &n);
    const uint8_t *at = data;
    const uint32_t n_entry = read_u32(&at);
    assert_int_equal(n_entry, NET_LAYER * N_ROWS);
    for (uint32_t i = 0; i < n_entry; i++) {
        char name[64] = {0};
        const uint32_t n_name = read_u32(&at);
        assert_true(n_name < sizeof name);
        memcpy(name, at, n_name);
        at += n_name;
        const uint64_t count = read_sums(engine, name, sum);
        assert_int_equal(read_u32(&at), 3); /* 90 rows of 40, rounded up */
        const uint32_t n_value = read_u32(&at);
        for (uint32_t k = 0; k < n_value; k++) {
            const uint32_t bits = read_u32(&at);
            float value;
            memcpy(&value, &bits, sizeof value);
            assert_true(value == (float)(sum[k] / (double)count * 3));
        }
    }
    assert_int_equal(read_u32(&at), 3);
    assert_int_equal(read_u32(&at), 8);
    assert_memory_equal(at, "text.txt", 8);
    assert_ptr_equal(at + 8, data + n);
    free(data);
    remove(path);
    llrt_engine_close(engine);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sums_are_those_of_the_inputs),
        cmocka_unit_test(test_steps_and_stages_change_nothing),
        cmocka_unit_test(test_what_can_not_be_read),
        cmocka_unit_test(test_gguf_matrix_is_read_back),
        cmocka_unit_test(test_older_matrix_is_read_back),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
