/* SPDX-License-Identifier: MIT */
/*
 * Dequantisation (ref, to which checkkern holds the others) against numbers made elsewhere: a k-quant GGUF with
 * its dequantised values, bit for bit, and blocks of a reference quantiser with the floats they came from, within the
 * error each format makes. Needs the folder of test data. (peer_dequant compares all formats with another library.)
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "alloc.h"
#include "json.h"
#include "linear.h"
#include "model_file.h"
#include "quant_blocks.h"

/* The whole file, or NULL. */
static uint8_t *read_file(const char *name, size_t *size)
{
    const char *const data = getenv("LLRT_TEST_DATA");
    char path[1024];
    snprintf(path, sizeof path, "%s/numeric/%s", data ? data : ".", name);
    FILE *const file = fopen(path, "rb");
    if (file == NULL) return NULL;
    fseek(file, 0, SEEK_END);
    *size = (size_t)ftell(file);
    rewind(file);
    uint8_t *const bytes = malloc(*size + 1);
    assert_non_null(bytes);
    assert_int_equal(fread(bytes, 1, *size, file), *size);
    fclose(file);
    return bytes;
}

static void dequantise(const quant_block *f, const uint8_t *rows, size_t k, size_t m, float *out)
{
    llrti_gemm_kernels ref;
    llrti_gemm_init(&ref, 0);
    llrti_linear linear;
    const llrti_linear_desc desc = {f->type, k, m, LLRT_PRECISION_F32, LLRT_WEIGHTS_MAPPED};
    assert_int_equal(llrti_linear_init(&linear, &desc, &ref, NULL), LLRT_OK);
    linear.data = (void *)(uintptr_t)rows;
    for (size_t i = 0; i < m; i++) llrti_linear_get_row(&linear, i, out + i * k);
}

static void test_k_quants_equal_the_reference(void **state)
{
    size_t size;
    char *const text = (char *)read_file("neural_api_quant/tiny_kquant_ref.json", &size);
    if (text == NULL) {
        print_message("numeric/neural_api_quant not found under LLRT_TEST_DATA\n");
        skip();
    }
    llrti_mem mem;
    llrti_mem_init(&mem, NULL);
    llrti_json_doc *doc;
    llrt_error err = LLRT_ERROR_INIT;
    assert_int_equal(llrti_json_parse(&mem, text, size, &doc, &err), LLRT_OK);
    const llrti_json *const expected = llrti_json_get(llrti_json_root(doc), "dequant");
    char path[1024];
    snprintf(path, sizeof path, "%s/numeric/neural_api_quant/tiny_kquant.gguf",
             getenv("LLRT_TEST_DATA"));
    llrti_model_file *file;
    assert_int_equal(llrti_model_file_open(&mem, path, NULL, &file, &err), LLRT_OK);
    uint32_t n_compared = 0;
    for (uint32_t t = 0; t < llrti_model_file_n_tensor(file); t++) {
        const llrti_tensor *const tensor = llrti_model_file_tensor(file, t);
        for (size_t i = 0; i < N_QUANT_BLOCKS; i++) {
            const quant_block *const f = &quant_blocks[i];
            if (f->type != tensor->type || f->values != 256) continue;
            char name[16];
            snprintf(name, sizeof name, "Q%c_K", f->name[1]);
            const llrti_json *const values = llrti_json_get(expected, name);
            assert_non_null(values);
            const size_t bytes = values->n / 256 * f->bytes;
            uint8_t *const rows = malloc(bytes);
            float *const found = malloc(values->n * sizeof(float));
            assert_int_equal(llrti_model_file_read(file, tensor, 0, rows, bytes, &err), LLRT_OK);
            dequantise(f, rows, 256, values->n / 256, found);
            for (uint32_t v = 0; v < values->n; v++) {
                const float e = (float)llrti_json_double(llrti_json_at(values, v), NAN);
                if (found[v] != e)
                    fail_msg("%s value %u is %a, expected %a", name, (unsigned)v, found[v], e);
            }
            n_compared++;
            free(rows);
            free(found);
        }
    }
    assert_int_equal(n_compared, 4);
    llrti_model_file_close(file);
    llrti_json_free(doc);
    free(text);
}

/* Inputs are uniform in [-1, 1]: the error is that of steps of 2 / (2^bits - 1), with half again for the coarser scales. */
static void test_quantised_floats_come_back(void **state)
{
    static const struct {
        const char *name;
        int k, bits;
    } cases[] = {{"q4_0", 64, 4},  {"q4_1", 64, 4},   {"q5_0", 64, 5},  {"q5_1", 64, 5},
                 {"q8_0", 64, 8},  {"iq4_nl", 64, 4}, {"q2_k", 512, 2}, {"q3_k", 512, 3},
                 {"q4_k", 512, 4}, {"q5_k", 512, 5},  {"q6_k", 512, 6}};
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        for (int im = 0; im < 2; im++) {
            char name[128];
            size_t size, n_bytes;
            snprintf(name, sizeof name, "ggml_quants/%s_%d_%s_input.bin", cases[c].name, cases[c].k,
                     im ? "im" : "noim");
            uint8_t *const input = read_file(name, &size);
            if (input == NULL) {
                print_message("numeric/ggml_quants not found under LLRT_TEST_DATA\n");
                skip();
            }
            snprintf(name, sizeof name, "ggml_quants/%s_%d_%s_expected.bin", cases[c].name,
                     cases[c].k, im ? "im" : "noim");
            uint8_t *const blocks = read_file(name, &n_bytes);
            assert_non_null(blocks);
            const size_t n = size / sizeof(float), k = (size_t)cases[c].k;
            const quant_block *const f = quant_block_find(cases[c].name);
            assert_int_equal(n / f->values * f->bytes, n_bytes);
            float *const found = malloc(size);
            dequantise(f, blocks, k, n / k, found);
            double sum = 0;
            for (size_t i = 0; i < n; i++) {
                float x;
                memcpy(&x, input + i * sizeof x, sizeof x);
                sum += ((double)x - found[i]) * ((double)x - found[i]);
            }
            const double step = 2.0 / ((1 << cases[c].bits) - 1), rms = sqrt(sum / (double)n);
            if (rms > 1.5 * step / sqrt(12))
                fail_msg("%s: rms error %g for steps of %g", name, rms, step);
            free(input);
            free(blocks);
            free(found);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_k_quants_equal_the_reference),
        cmocka_unit_test(test_quantised_floats_come_back),
    };
    return cmocka_run_group_tests_name("dequant", tests, NULL, NULL);
}
