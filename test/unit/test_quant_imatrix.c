/* SPDX-License-Identifier: MIT */
/*
 * Importance matrices: both kinds of file give the same table, and every way such a file can be
 * damaged is an error that says what was found.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "gguf_writer.h"
#include "memory_files.h"
#include "quant_imatrix.h"
#include "test_support.h"

static const char name_a[] = "blk.0.attn_q.weight", name_b[] = "blk.0.ffn_down_exps.weight";

static void old_entry(gw_buffer *b, const char *name, uint32_t n_call, const float *value, size_t n)
{
    gw_put_number(b, strlen(name), 4);
    gw_put(b, name, strlen(name));
    gw_put_number(b, n_call, 4);
    gw_put_number(b, n, 4);
    for (size_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, &value[i], 4);
        gw_put_number(b, bits, 4);
    }
}

/* Two tensors: four columns seen twice; two experts of two columns, the second never seen. */
static gw_buffer old_file(void)
{
    static const float a[] = {2, 4, 6, 0}, c[] = {3, 5, 1, 1};
    gw_buffer b = {0};
    gw_put_number(&b, 2, 4);
    old_entry(&b, name_a, 2, a, 4);
    old_entry(&b, name_b, 1, c, 4);
    gw_put_number(&b, 7, 4); /* chunks */
    gw_put_number(&b, 1, 4);
    gw_put(&b, "x", 1);
    return b;
}

static void pair(gguf_writer *w, const char *name, const float *sums, uint64_t n_column,
                 const float *counts, uint64_t n_matrix)
{
    char full[64];
    const uint64_t dim[2] = {n_column, n_matrix}, one[2] = {1, n_matrix};
    snprintf(full, sizeof full, "%s.in_sum2", name);
    gw_tensor(w, full, 0, 2, dim, sums, (size_t)(n_column * n_matrix) * 4);
    snprintf(full, sizeof full, "%s.counts", name);
    gw_tensor(w, full, 0, 2, one, counts, (size_t)n_matrix * 4);
}

static gw_buffer new_file(void)
{
    static const float a[] = {4, 8, 12, 0}, c[] = {6, 10, 0, 0};
    static const float count_a[] = {4}, count_c[] = {2, 0};
    gguf_writer w;
    gw_init(&w);
    gw_string(&w, "general.type", "imatrix");
    gw_u32(&w, "imatrix.chunk_count", 7);
    pair(&w, name_a, a, 4, count_a, 1);
    pair(&w, name_b, c, 2, count_c, 2);
    gw_buffer b = {0};
    b.data = gw_finish(&w, &b.n);
    return b;
}

static llrt_status open_bytes(llrti_mem *mem, const void *data, size_t n, llrti_quant_imatrix **out,
                              llrt_error *err)
{
    memory_files files;
    llrt_source source;
    memory_files_init(&files, &source);
    memory_files_add(&files, "im", data, n);
    const llrt_status status = llrti_quant_imatrix_open(mem, "im", &source, out, err);
    assert_int_equal(files.n_open, 0);
    return status;
}

static void check_table(const llrti_quant_imatrix *m)
{
    static const float a[] = {1, 2, 3, 0}, c[] = {3, 5, 1, 1};
    size_t n;
    assert_int_equal(llrti_quant_imatrix_n_entry(m), 2);
    assert_int_equal(llrti_quant_imatrix_n_chunk(m), 7);
    const float *const found_a = llrti_quant_imatrix_find(m, name_a, &n);
    assert_int_equal(n, 4);
    assert_memory_equal(found_a, a, sizeof a);
    const float *const found_b = llrti_quant_imatrix_find(m, name_b, &n);
    assert_int_equal(n, 4);
    assert_memory_equal(found_b, c, sizeof c);
    assert_null(llrti_quant_imatrix_find(m, "blk.1.attn_q.weight", &n));
    assert_int_equal(n, 0);
}

static void test_both_kinds_give_the_same_table(void **state)
{
    (void)state;
    llrti_mem mem;
    test_heap heap;
    llrti_hash128 hash[2];
    gw_buffer files[2] = {old_file(), new_file()};
    test_mem_init(&mem, &heap);
    for (int i = 0; i < 2; i++) {
        llrti_quant_imatrix *m;
        assert_int_equal(open_bytes(&mem, files[i].data, files[i].n, &m, NULL), LLRT_OK);
        check_table(m);
        hash[i] = llrti_quant_imatrix_hash(m);
        llrti_quant_imatrix_close(m);
        free(files[i].data);
    }
    assert_true(llrti_hash_equal(hash[0], hash[1]));
    assert_int_equal(heap.n_live, 0);
}

static void test_every_cut_is_an_error(void **state)
{
    (void)state;
    llrti_mem mem;
    test_heap heap;
    gw_buffer files[2] = {old_file(), new_file()};
    test_mem_init(&mem, &heap);
    for (int i = 0; i < 2; i++) {
        const size_t n_needed = i == 0 ? files[i].n - 9 : files[i].n - 28; /* tail, padding */
        for (size_t n = 0; n < n_needed; n++) {
            llrti_quant_imatrix *m;
            llrt_error err = LLRT_ERROR_INIT;
            assert_int_equal(open_bytes(&mem, files[i].data, n, &m, &err), LLRT_ERR_FORMAT);
            assert_null(m);
            assert_string_equal(err.file, "im");
            assert_true(err.text[0] != 0);
        }
        free(files[i].data);
    }
    assert_int_equal(heap.n_live, 0);
}

static void expect_refusal(gw_buffer b, const char *field, const char *text)
{
    llrti_mem mem;
    test_heap heap;
    llrti_quant_imatrix *m;
    llrt_error err = LLRT_ERROR_INIT;
    test_mem_init(&mem, &heap);
    assert_int_equal(open_bytes(&mem, b.data, b.n, &m, &err), LLRT_ERR_FORMAT);
    assert_string_equal(err.field, field);
    assert_non_null(strstr(err.text, text));
    assert_int_equal(heap.n_live, 0);
    free(b.data);
}

static void test_values_that_are_no_importance_are_named(void **state)
{
    (void)state;
    const float bad[] = {-1.0f, NAN, INFINITY, 1e30f};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        const float a[] = {1, 2, bad[i], 4};
        gw_buffer b = {0};
        gw_put_number(&b, 1, 4);
        old_entry(&b, name_a, 1, a, 4);
        expect_refusal(b, name_a, "importance of column 2");
    }
}

static void test_tables_that_make_no_sense_are_named(void **state)
{
    (void)state;
    static const float a[] = {1, 2, 3, 4}, count[] = {1, 1};
    gw_buffer b = {0};
    gw_put_number(&b, 2, 4);
    old_entry(&b, name_a, 1, a, 4);
    old_entry(&b, name_a, 1, a, 4);
    expect_refusal(b, name_a, "twice");

    gguf_writer w;
    gw_init(&w);
    pair(&w, name_a, a, 4, count, 1);
    const uint64_t dim[2] = {2, 2};
    gw_tensor(&w, "x.in_sum2", 0, 2, dim, a, 16);
    b.data = gw_finish(&w, &b.n);
    expect_refusal(b, "x.counts", "missing");

    gw_init(&w);
    const uint64_t one[2] = {1, 1};
    gw_tensor(&w, "x.in_sum2", 0, 2, dim, a, 16);
    gw_tensor(&w, "x.counts", 0, 2, one, a, 4);
    b.data = gw_finish(&w, &b.n);
    expect_refusal(b, "x.counts", "found 1 counts, expected 2");

    gw_init(&w);
    gw_tensor(&w, "x.in_sum2", 1, 2, dim, a, 8);
    gw_tensor(&w, "x.counts", 0, 2, (const uint64_t[]){1, 2}, a, 8);
    b.data = gw_finish(&w, &b.n);
    expect_refusal(b, "x.in_sum2", "type F16");

    gw_init(&w);
    gw_tensor(&w, "blk.0.attn_q.weight", 0, 2, dim, a, 16);
    b.data = gw_finish(&w, &b.n);
    expect_refusal(b, ".in_sum2", "expected an importance matrix");
}

static void test_lack_of_memory_leaks_nothing(void **state)
{
    (void)state;
    gw_buffer files[2] = {old_file(), new_file()};
    for (int i = 0; i < 2; i++) {
        llrt_status status = LLRT_ERR_NOMEM;
        for (size_t at = 1; status != LLRT_OK; at++) {
            llrti_mem mem;
            test_heap heap;
            llrti_quant_imatrix *m;
            assert_true(at < 200);
            test_mem_init(&mem, &heap);
            heap.fail_at = at;
            status = open_bytes(&mem, files[i].data, files[i].n, &m, NULL);
            if (status != LLRT_OK) assert_int_equal(status, LLRT_ERR_NOMEM);
            llrti_quant_imatrix_close(m);
            assert_int_equal(heap.n_live, 0);
        }
        free(files[i].data);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_both_kinds_give_the_same_table),
        cmocka_unit_test(test_every_cut_is_an_error),
        cmocka_unit_test(test_values_that_are_no_importance_are_named),
        cmocka_unit_test(test_tables_that_make_no_sense_are_named),
        cmocka_unit_test(test_lack_of_memory_leaks_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
