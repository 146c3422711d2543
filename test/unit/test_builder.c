/* SPDX-License-Identifier: MIT */
/*
 * The builder by itself, and the weights it makes: each way in which a file can hold a weight is
 * bound on a hand-made safetensors file, whose float32 tensors hold 0, 1, 2 ... in order, and read
 * back in pieces of every size; operators that don't fit are refused.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "builder.h"
#include "memory_files.h"
#include "test_support.h"
#include "types.h"
#include "weight.h"

/* A builder on a file with the tensors of TENSORS. */
typedef struct bench {
    llrti_mem mem;
    test_heap heap;
    memory_files files;
    llrt_source source;
    llrti_model_file *file;
    llrti_arena arena;
    llrti_model model;
    llrti_builder b;
    llrt_error err;
    uint8_t *bytes;
} bench;

/* name:type:shape; shapes are as in safetensors files, slowest dimension first. */
static const char *const TENSORS[][3] = {
    {"x.matrix.weight", "F32", "6,5"},  {"matrix.bias", "F32", "6"},
    {"many.0.up.weight", "F32", "4,5"}, {"many.1.up.weight", "F32", "4,5"},
    {"many.2.up.weight", "F32", "4,5"}, {"many.0.up.bias", "F32", "4"},
    {"many.1.up.bias", "F32", "4"},     {"many.2.up.bias", "F32", "4"},
    {"bad.0.weight", "F32", "4,5"},     {"bad.1.weight", "F16", "4,5"},
    {"odd.0.weight", "F32", "4,5"},     {"odd.1.weight", "F32", "4,6"},
    {"stack", "F32", "3,4,5"},          {"turned", "F32", "3,5,4"},
    {"pairs", "F32", "3,5,8"},          {"pairs_bias", "F32", "3,8"},
    {"halves", "F32", "3,8,5"},         {"kv_b", "F32", "18,5"},
    {"conv.weight", "F32", "6,1,4"},    {"grouped", "F32", "3,2"},
    {"blocks", "U8", "2,6,2,16"},       {"scales", "U8", "2,6,2"},
    {"short_scales", "U8", "2,6,1"},    {"float_blocks", "F32", "2,6,2,16"},
};

static size_t count_of(const char *shape)
{
    size_t n = 1;
    for (const char *p = shape; p; p = strchr(p, ',') ? strchr(p, ',') + 1 : NULL)
        n *= (size_t)strtoul(p, NULL, 10);
    return n;
}

static size_t size_of(const char *type)
{
    return strcmp(type, "U8") == 0 ? 1 : strcmp(type, "F16") == 0 ? 2 : 4;
}

static uint8_t *make_file(size_t *n)
{
    char json[8192];
    size_t at = (size_t)snprintf(json, sizeof json, "{"), data = 0;
    for (size_t i = 0; i < LLRTI_COUNT(TENSORS); i++) {
        const size_t bytes = count_of(TENSORS[i][2]) * size_of(TENSORS[i][1]);
        at += (size_t)snprintf(json + at, sizeof json - at,
                               "%s\"%s\":{\"dtype\":\"%s\",\"shape\":[%s],"
                               "\"data_offsets\":[%zu,%zu]}",
                               i ? "," : "", TENSORS[i][0], TENSORS[i][1], TENSORS[i][2], data,
                               data + bytes);
        data += bytes;
    }
    at += (size_t)snprintf(json + at, sizeof json - at, "}");
    uint8_t *const out = calloc(1, 8 + at + data);
    assert_non_null(out);
    for (int i = 0; i < 8; i++) out[i] = (uint8_t)(at >> 8 * i);
    memcpy(out + 8, json, at);
    uint8_t *to = out + 8 + at;
    for (size_t i = 0; i < LLRTI_COUNT(TENSORS); i++) {
        const size_t size = size_of(TENSORS[i][1]), count = count_of(TENSORS[i][2]);
        for (size_t k = 0; k < count; k++, to += size) {
            const float value = (float)k;
            if (size == 4) memcpy(to, &value, 4);
            if (size == 1) to[0] = (uint8_t)(37 * k + 11);
        }
    }
    *n = 8 + at + data;
    return out;
}

static int open_bench(void **state)
{
    bench *const t = calloc(1, sizeof *t);
    size_t n;
    if (!t) return -1;
    test_mem_init(&t->mem, &t->heap);
    memory_files_init(&t->files, &t->source);
    t->bytes = make_file(&n);
    memory_files_add_text(&t->files, "m/config.json", "{\"model_type\":\"test\"}");
    memory_files_add(&t->files, "m/model.safetensors", t->bytes, n);
    t->err = (llrt_error)LLRT_ERROR_INIT;
    const llrti_model_file_options options = {.source = &t->source};
    if (llrti_model_file_open(&t->mem, "m/model.safetensors", &options, &t->file, &t->err) < 0) {
        print_message("%s\n", t->err.text);
        return -1;
    }
    llrti_arena_init(&t->arena, &t->mem, LLRT_MEMORY_HOST);
    t->model =
        (llrti_model){.n_layer = 2, .logits = LLRT_NONE, .hidden = LLRT_NONE, .score = LLRT_NONE};
    t->b.mem = &t->mem;
    t->b.arena = &t->arena;
    t->b.model = &t->model;
    t->b.hf_prefix = "x.";
    llrti_map_init(&t->b.by_name, &t->mem, LLRT_MEMORY_HOST);
    *state = t;
    return llrti_hparams_init(&t->b.hp, t->file, &t->err) < 0 ? -1 : 0;
}

static int close_bench(void **state)
{
    bench *const t = *state;
    llrti_map_free(&t->b.by_name);
    llrti_vec_free(&t->mem, &t->b.weight);
    llrti_vec_free(&t->mem, &t->b.kv);
    llrti_vec_free(&t->mem, &t->b.state);
    llrti_vec_free(&t->mem, &t->b.value);
    llrti_vec_free(&t->mem, &t->b.op);
    llrti_arena_free(&t->arena);
    llrti_model_file_close(t->file);
    const bool is_clean = t->heap.n_live == 0;
    free(t->bytes);
    free(t);
    return is_clean ? 0 : -1;
}

/* Forgets a failure, so that one test can provoke several. */
static void clear(bench *t)
{
    t->b.hp.status = LLRT_OK;
    t->err = (llrt_error)LLRT_ERROR_INIT;
}

static void expect_failure(bench *t, llrt_status status, const char *text)
{
    if (t->b.hp.status != status || !strstr(t->err.text, text))
        fail_msg("found %s, '%s', expected %s, '%s'", llrt_status_name(t->b.hp.status), t->err.text,
                 llrt_status_name(status), text);
    clear(t);
}

/* The weight's rows in pieces of n rows, into one block (test owns it). */
static void *read_weight(const bench *t, const llrti_model_weight *w, uint64_t n)
{
    size_t row_bytes;
    llrt_error err = LLRT_ERROR_INIT;
    const uint64_t n_row = llrti_weight_rows(w);
    assert_true(llrti_type_row_bytes(w->desc.type, w->desc.dim[0], &row_bytes));
    uint8_t *const to = malloc((size_t)n_row * row_bytes);
    /* Exactly what is promised to be enough: a sanitizer sees a byte more. */
    void *const scratch = malloc(llrti_weight_scratch(w, n));
    assert_non_null(to);
    for (uint64_t row = 0; row < n_row; row += n)
        if (llrti_weight_read(t->file, w, row, LLRTI_MIN(n, n_row - row), to + row * row_bytes,
                              scratch, &err) < 0)
            fail_msg("%s", err.text);
    free(scratch);
    return to;
}

/* What element (slice, row, k) should be. */
typedef float (*expected_fn)(uint32_t slice, uint32_t row, uint32_t k);

static void check_weight(bench *t, uint32_t index, uint32_t d_in, uint32_t d_out, uint32_t n,
                         expected_fn expected)
{
    if (index == LLRT_NONE) fail_msg("%s", t->err.text);
    const llrti_model_weight *const w = &t->b.weight.data[index];
    assert_true(w->desc.dim[0] == d_in && w->desc.dim[1] * w->desc.dim[2] == d_out * n);
    for (uint64_t piece = 1; piece <= (uint64_t)d_out * n; piece++) {
        float *const found = read_weight(t, w, piece);
        for (uint32_t i = 0; i < d_out * n; i++)
            for (uint32_t k = 0; k < d_in; k++)
                if (found[i * d_in + k] != expected(i / d_out, i % d_out, k))
                    fail_msg("%s, pieces of %u, row %u, element %u: found %g, expected %g",
                             w->desc.name, (unsigned)piece, i, k, (double)found[i * d_in + k],
                             (double)expected(i / d_out, i % d_out, k));
        free(found);
    }
}

static float of_matrix(uint32_t slice, uint32_t row, uint32_t k)
{
    (void)slice;
    return (float)(row * 5 + k);
}

static float of_transposed(uint32_t slice, uint32_t row, uint32_t k)
{
    (void)slice;
    return (float)(k * 5 + row);
}

static float of_many(uint32_t slice, uint32_t row, uint32_t k)
{
    (void)slice;
    return (float)(row * 5 + k); /* every part counts from 0 */
}

static float of_stack(uint32_t slice, uint32_t row, uint32_t k)
{
    return (float)((slice * 4 + row) * 5 + k);
}

static float of_turned(uint32_t slice, uint32_t row, uint32_t k)
{
    return (float)((slice * 5 + k) * 4 + row);
}

static float of_odd_columns(uint32_t slice, uint32_t row, uint32_t k)
{
    return (float)((slice * 5 + k) * 8 + 2 * row + 1);
}

static float of_odd_biases(uint32_t slice, uint32_t row, uint32_t k)
{
    (void)row;
    return (float)(slice * 8 + 2 * k + 1);
}

static float of_numbered_biases(uint32_t slice, uint32_t row, uint32_t k)
{
    (void)slice;
    (void)row;
    return (float)k;
}

static float of_second_half(uint32_t slice, uint32_t row, uint32_t k)
{
    return (float)((slice * 8 + 4 + row) * 5 + k);
}

static float of_odd_rows(uint32_t slice, uint32_t row, uint32_t k)
{
    return (float)((slice * 8 + 1 + 2 * row) * 5 + k);
}

/* kv_b: 2 heads of 9 rows, of which 4 make k and 5 make v. */
static float of_k_b(uint32_t slice, uint32_t row, uint32_t k)
{
    return (float)((slice * 9 + k) * 5 + row);
}

static float of_v_b(uint32_t slice, uint32_t row, uint32_t k)
{
    return (float)((slice * 9 + 4 + row) * 5 + k);
}

static float of_conv(uint32_t slice, uint32_t row, uint32_t k)
{
    (void)slice;
    return (float)(row * 4 + k);
}

static float of_vector(uint32_t slice, uint32_t row, uint32_t k)
{
    (void)slice;
    (void)row;
    return (float)k;
}

static const llrti_name n_matrix = {"blk.#.matrix", "matrix"}, n_many = {"ups", "many.@.up"},
                        n_stack = {"stack", "stack"}, n_turned = {NULL, "turned"},
                        n_pairs = {NULL, "pairs"}, n_pairs_bias = {NULL, "pairs_bias"},
                        n_halves = {NULL, "halves"}, n_kv_b = {"kv_b", "kv_b"},
                        n_conv = {NULL, "conv"}, n_grouped = {NULL, "grouped"},
                        n_blocks = {"exps.weight", "blocks"}, n_scales = {NULL, "scales"};

enum { PLAIN = LLRTI_WEIGHT_PLAIN, TURNED = LLRTI_WEIGHT_TRANSPOSED };

static const llrti_model_weight *weight_at(const bench *t, uint32_t index)
{
    return &t->b.weight.data[index];
}

static void test_whole_tensors(void **state)
{
    bench *const t = *state;
    llrti_builder *const b = &t->b;
    llrti_build_layer(b, 1);
    const uint32_t matrix = llrti_build_matrix(b, &n_matrix, 5, 6, 0);
    check_weight(t, matrix, 5, 6, 1, of_matrix);
    assert_true(llrti_weight_is_direct(weight_at(t, matrix)));
    assert_string_equal(weight_at(t, matrix)->desc.name, "x.matrix.weight");
    assert_string_equal(weight_at(t, matrix)->gguf_name, "blk.1.matrix.weight");
    assert_int_equal(llrti_build_matrix(b, &n_matrix, 5, 6, 0), matrix);
    const uint32_t bias = llrti_build_vector(b, &n_matrix, ".bias", 6, 0);
    check_weight(t, bias, 6, 1, 1, of_vector);
    assert_string_equal(weight_at(t, bias)->gguf_name, "blk.1.matrix.bias");
    const uint32_t turned = llrti_build_matrix(b, &n_matrix, 6, 5, TURNED);
    check_weight(t, turned, 6, 5, 1, of_transposed);
    assert_false(llrti_weight_is_direct(weight_at(t, turned)));
    const uint32_t conv = llrti_build_matrix(b, &n_conv, 4, 6, LLRTI_WEIGHT_SQUEEZED);
    check_weight(t, conv, 4, 6, 1, of_conv);
    assert_true(llrti_weight_is_direct(weight_at(t, conv)) && !weight_at(t, conv)->gguf_name);
    const uint32_t flat =
        llrti_build_vector(b, &n_grouped, "", 6, LLRTI_WEIGHT_PLAIN | LLRTI_WEIGHT_FLAT);
    check_weight(t, flat, 6, 1, 1, of_vector);
    assert_int_equal(t->b.weight.n, 5);
}

static void test_stacked_tensors(void **state)
{
    bench *const t = *state;
    llrti_builder *const b = &t->b;
    const uint32_t many = llrti_build_stack(b, &n_many, 3, 5, 4, 0);
    check_weight(t, many, 5, 4, 3, of_many);
    assert_false(llrti_weight_is_direct(weight_at(t, many)));
    assert_true(weight_at(t, many)->desc.n_dim == 3 && weight_at(t, many)->desc.dim[2] == 3);
    assert_string_equal(weight_at(t, many)->desc.name, "many.@.up.weight");
    assert_string_equal(weight_at(t, many)->gguf_name, "ups.weight");
    /* All of them count as used. */
    assert_int_not_equal(llrti_map_get(&b->by_name, "many.2.up.weight", 16), LLRTI_MAP_NONE);
    const uint32_t stack = llrti_build_stack(b, &n_stack, 3, 5, 4, PLAIN);
    check_weight(t, stack, 5, 4, 3, of_stack);
    assert_true(llrti_weight_is_direct(weight_at(t, stack)));
    const uint32_t turned = llrti_build_stack(b, &n_turned, 3, 5, 4, PLAIN | TURNED);
    check_weight(t, turned, 5, 4, 3, of_turned);
    const llrti_part part = {.n = 3, .d_out = 4, .step = 1, .n_col = 4};
    check_weight(t, llrti_build_biases(b, &n_many, &part, 0), 4, 1, 3, of_numbered_biases);
}

static void test_parts_of_tensors(void **state)
{
    bench *const t = *state;
    llrti_builder *const b = &t->b;
    const llrti_part pairs = {3, 5, 4, 1, 2, 5, 8}, halves = {3, 5, 4, 4, 1, 8, 5};
    const llrti_part odd = {3, 5, 4, 1, 2, 8, 5}, k_b = {2, 4, 5, 0, 1, 9, 5};
    const llrti_part v_b = {2, 5, 5, 4, 1, 9, 5};
    check_weight(t, llrti_build_part(b, &n_pairs, &pairs, PLAIN | TURNED), 5, 4, 3, of_odd_columns);
    check_weight(t, llrti_build_biases(b, &n_pairs_bias, &pairs, PLAIN), 4, 1, 3, of_odd_biases);
    const uint32_t half = llrti_build_part(b, &n_halves, &halves, PLAIN);
    check_weight(t, half, 5, 4, 3, of_second_half);
    assert_false(llrti_weight_is_direct(weight_at(t, half)));
    assert_int_equal(llrti_build_part(b, &n_halves, &halves, PLAIN), half);
    check_weight(t, llrti_build_part(b, &n_halves, &odd, PLAIN), 5, 4, 3, of_odd_rows);
    const uint32_t k = llrti_build_part(b, &n_kv_b, &k_b, PLAIN | TURNED);
    check_weight(t, k, 4, 5, 2, of_k_b);
    const uint32_t v = llrti_build_part(b, &n_kv_b, &v_b, PLAIN);
    check_weight(t, v, 5, 5, 2, of_v_b);
    assert_int_not_equal(k, v);
    const uint32_t rows = llrti_build_part(b, &n_kv_b, &v_b, PLAIN | LLRTI_WEIGHT_AS_MATRIX);
    check_weight(t, rows, 5, 5, 2, of_v_b);
    assert_true(weight_at(t, rows)->desc.n_dim == 2 && weight_at(t, rows)->desc.dim[1] == 10);
}

/* Byte k of the U8 tensors. */
static unsigned byte_at(size_t k)
{
    return (uint8_t)(37 * k + 11);
}

static void test_blocks_of_mxfp4(void **state)
{
    bench *const t = *state;
    const llrti_part part = {2, 64, 3, 1, 2, 6, 64};
    const uint32_t index = llrti_build_mxfp4(&t->b, &n_blocks, &n_scales, &part);
    if (index == LLRT_NONE) fail_msg("%s", t->err.text);
    const llrti_model_weight *const w = weight_at(t, index);
    assert_true(w->desc.type == LLRT_TYPE_MXFP4 && w->desc.dim[0] == 64 && w->desc.dim[1] == 3);
    assert_string_equal(w->gguf_name, "exps.weight");
    for (uint64_t piece = 1; piece <= 6; piece++) {
        uint8_t *const found = read_weight(t, w, piece);
        for (uint32_t row = 0; row < 6; row++) {
            for (uint32_t i = 0; i < 2; i++) {
                const size_t block = ((row / 3) * 6 + 1 + 2 * (row % 3)) * 2 + i;
                const uint8_t *const at = found + (row * 2 + i) * 17;
                assert_int_equal(at[0], byte_at(block));
                for (uint32_t k = 0; k < 32; k++) {
                    /* The file has neighbours in a byte, GGUF values 16 apart. */
                    const unsigned expected = byte_at(block * 16 + k / 2) >> (k % 2 ? 4 : 0) & 15;
                    assert_int_equal(at[1 + k % 16] >> (k < 16 ? 0 : 4) & 15, expected);
                }
            }
        }
        free(found);
    }
}

static void test_malformed_parts(void **state)
{
    bench *const t = *state;
    llrti_builder *const b = &t->b;
    const llrti_name missing = {NULL, "many.@.down"}, bad = {NULL, "bad.@"}, odd = {NULL, "odd.@"};
    const llrti_name short_scales = {NULL, "short_scales"}, floats = {NULL, "float_blocks"};
    llrti_build_stack(b, &missing, 3, 5, 4, 0);
    expect_failure(t, LLRT_ERR_FORMAT, "'x.many.0.down.weight' is missing");
    llrti_build_stack(b, &n_many, 4, 5, 4, 0);
    expect_failure(t, LLRT_ERR_FORMAT, "'x.many.3.up.weight' is missing");
    llrti_build_stack(b, &n_many, 3, 5, 6, 0);
    expect_failure(t, LLRT_ERR_FORMAT, "'many.0.up.weight': found shape 5 x 4, expected 5 x 6");
    llrti_build_stack(b, &bad, 2, 5, 4, 0);
    expect_failure(t, LLRT_ERR_UNSUPPORTED, "'bad.1.weight': found element type F16, expected F32");
    llrti_build_stack(b, &odd, 2, 5, 4, 0);
    expect_failure(t, LLRT_ERR_FORMAT, "'odd.1.weight': found shape 6 x 4, expected 5 x 4");
    llrti_build_stack(b, &n_stack, 4, 5, 4, PLAIN);
    expect_failure(t, LLRT_ERR_FORMAT, "'stack': found shape 5 x 4 x 3, expected 5 x 4 x 4");
    const llrti_part part = {2, 64, 3, 1, 2, 6, 64}, few = {3, 64, 3, 1, 2, 6, 64};
    llrti_build_mxfp4(b, &n_blocks, &short_scales, &part);
    expect_failure(t, LLRT_ERR_FORMAT, "'short_scales': found shape 1 x 6 x 2, expected 2 x 6 x 2");
    llrti_build_mxfp4(b, &n_blocks, &n_scales, &few);
    expect_failure(t, LLRT_ERR_FORMAT, "'blocks': found shape 16 x 2 x 6 x 2");
    llrti_build_mxfp4(b, &floats, &n_scales, &part);
    expect_failure(t, LLRT_ERR_UNSUPPORTED, "'float_blocks': found element type F32, expected U8");
    llrti_build_part(b, &n_kv_b, &(llrti_part){2, 5, 5, 5, 1, 9, 5}, PLAIN);
    expect_failure(t, LLRT_ERR_INTERNAL, "reach beyond");
}

/* ---- Operators ---- */

/* A value of this shape: a part of the embedding's row of 5. */
static uint32_t value_of(llrti_builder *b, uint32_t n_head, uint32_t width)
{
    const uint32_t row = llrti_build_embed(b, llrti_build_matrix(b, &n_matrix, 5, 6, 0), 1.0f);
    const uint32_t many[6] = {row, row, row, row, row, row};
    return llrti_build_slice(b, llrti_build_concat(b, many, 6), 0, n_head, width);
}

static void test_attention_slots(void **state)
{
    bench *const t = *state;
    llrti_builder *const b = &t->b;
    const uint32_t q = value_of(b, 6, 5), k = value_of(b, 1, 5);
    static const float slopes[6] = {1};
    llrti_build_attention(b, q, k, k, &(llrti_attention){0});
    llrti_build_attention(b, q, k, k, &(llrti_attention){.window = 7, .slope = slopes});
    llrti_build_attention(b, q, k, k, &(llrti_attention){.window = 7, .mask = LLRT_MASK_FULL});
    const uint32_t sinks = llrti_build_vector(b, &n_matrix, ".bias", 6, 0);
    const uint32_t out = llrti_build_attention(
        b, q, k, LLRT_NONE, &(llrti_attention){.v_dim = 3, .has_sinks = true, .sinks = sinks});
    if (out == LLRT_NONE) fail_msg("%s", t->err.text);
    assert_int_equal(b->kv.n, 4);
    assert_true(b->kv.data[0].group == LLRT_KV_GROUP_FULL && b->kv.data[0].v_dim == 5);
    assert_int_equal(b->kv.data[1].group, LLRT_KV_GROUP_WINDOW);
    assert_int_equal(b->kv.data[2].group, LLRT_KV_GROUP_FULL); /* all of it is seen in one step */
    assert_true(b->kv.data[3].v_in_k && b->kv.data[3].v_dim == 3 && b->kv.data[3].k_dim == 5);
    const llrt_op *const op = &b->op.data[b->op.n - 1];
    assert_true(op->n_in == 2 && op->weight[0] == sinks && op[-1].weight[0] == LLRT_NONE);
    assert_true(op[-1].u.attention.mask == LLRT_MASK_FULL && op[-2].u.attention.slope == slopes);
    assert_true(b->value.data[out].n_head == 6 && b->value.data[out].width == 3);
    llrti_build_attention(b, q, k, LLRT_NONE, &(llrti_attention){.v_dim = 6});
    expect_failure(t, LLRT_ERR_INTERNAL, "shapes of q, k and v");
    llrti_build_attention(b, k, k, k, &(llrti_attention){.has_sinks = true, .sinks = sinks});
    expect_failure(t, LLRT_ERR_INTERNAL, "does not fit");
}

static void test_experts_fit_each_other(void **state)
{
    bench *const t = *state;
    llrti_builder *const b = &t->b;
    const llrti_part k_b = {2, 4, 5, 0, 1, 9, 5};
    const uint32_t x = value_of(b, 1, 5), logits = value_of(b, 1, 3);
    llrti_experts e = {.gate = llrti_build_stack(b, &n_stack, 3, 5, 4, PLAIN),
                       .up = llrti_build_stack(b, &n_many, 3, 5, 4, 0),
                       .down = llrti_build_stack(b, &n_turned, 3, 5, 4, PLAIN | TURNED),
                       .gate_bias = LLRT_NONE,
                       .up_bias = LLRT_NONE,
                       .down_bias = LLRT_NONE,
                       .choice_bias = LLRT_NONE,
                       .n_used = 2};
    llrti_build_experts(b, x, logits, &e);
    expect_failure(t, LLRT_ERR_INTERNAL, "do not fit each other"); /* down has rows of 5, not 4 */
    e.down = llrti_build_part(b, &n_kv_b, &k_b, PLAIN | TURNED);
    llrti_build_experts(b, x, logits, &e);
    expect_failure(t, LLRT_ERR_INTERNAL, "do not fit each other"); /* 2 of them */
    const llrti_part square = {3, 4, 4, 0, 2, 5, 8};
    e.down = llrti_build_part(b, &n_pairs, &square, PLAIN | TURNED);
    const uint32_t out = llrti_build_experts(b, x, logits, &e);
    if (out == LLRT_NONE) fail_msg("%s", t->err.text);
    assert_int_equal(b->value.data[out].width, 4);
    assert_true(b->op.data[out].u.experts.scale == 1.0f && b->op.data[out].u.experts.n_used == 2);
    static const uint32_t wrong[][3] = {{0, 0, 0}, {4, 0, 0}, {2, 2, 1}, {2, 3, 0}, {2, 3, 1}};
    for (size_t i = 0; i < LLRTI_COUNT(wrong); i++) {
        e.n_used = wrong[i][0];
        e.n_group = wrong[i][1];
        e.n_group_used = wrong[i][2];
        llrti_build_experts(b, x, logits, &e);
        expect_failure(t, LLRT_ERR_INTERNAL, "numbers of experts");
    }
}

static void test_states_are_counted(void **state)
{
    bench *const t = *state;
    llrti_builder *const b = &t->b;
    const uint32_t x = value_of(b, 1, 6), head = value_of(b, 6, 1), wide = value_of(b, 6, 4);
    const uint32_t k = value_of(b, 2, 3), bias = llrti_build_vector(b, &n_matrix, ".bias", 6, 0);
    const uint32_t conv = llrti_build_matrix(b, &n_conv, 4, 6, LLRTI_WEIGHT_SQUEEZED);
    llrti_build_layer(b, 1);
    llrti_build_short_conv(b, x, conv, LLRT_NONE);
    llrti_scan scan = {.in = {k, k, wide, head, x}, .a = bias, .dt_bias = bias};
    llrti_build_gated_delta(b, &scan);
    scan = (llrti_scan){
        .in = {wide, head, k, k}, .a = bias, .dt_bias = bias, .d = bias, .dt_max = INFINITY};
    const uint32_t out = llrti_build_ssm_scan(b, &scan);
    if (out == LLRT_NONE) fail_msg("%s", t->err.text);
    assert_int_equal(b->state.n, 3);
    assert_true(b->state.data[0].n_float == 3 * 6 && b->state.data[0].layer == 1);
    assert_true(b->state.data[1].n_float == 6 * 3 * 4 && b->state.data[2].n_float == 6 * 3 * 4);
    assert_true(b->op.data[out].u.scan.state == 2 && b->op.data[out].u.scan.dt_max == INFINITY);
    scan.in[2] = value_of(b, 4, 3);
    scan.in[3] = scan.in[2];
    llrti_build_ssm_scan(b, &scan);
    expect_failure(t, LLRT_ERR_INTERNAL, "shapes of x, dt, b and c"); /* 6 heads in 4 groups */
    llrti_build_short_conv(b, wide, conv, LLRT_NONE);
    expect_failure(t, LLRT_ERR_INTERNAL, "does not fit");
}

static void test_other_operators(void **state)
{
    bench *const t = *state;
    llrti_builder *const b = &t->b;
    const llrti_part v_b = {2, 5, 5, 4, 1, 9, 5};
    const uint32_t heads = value_of(b, 2, 5), row = value_of(b, 1, 5), six = value_of(b, 2, 3);
    const uint32_t w = llrti_build_part(b, &n_kv_b, &v_b, PLAIN);
    const uint32_t out = llrti_build_head_linear(b, heads, w);
    if (out == LLRT_NONE) fail_msg("%s", t->err.text);
    assert_true(b->value.data[out].n_head == 2 && b->value.data[out].width == 5);
    llrti_build_head_linear(b, value_of(b, 3, 5), w);
    expect_failure(t, LLRT_ERR_INTERNAL, "does not fit");
    const uint32_t both[2] = {heads, six};
    const uint32_t joined = llrti_build_concat_heads(b, both, 2);
    assert_true(b->value.data[joined].n_head == 2 && b->value.data[joined].width == 8);
    const uint32_t rows = llrti_build_concat(b, both, 2);
    assert_true(b->value.data[rows].n_head == 1 && b->value.data[rows].width == 16);
    llrti_build_token_type(b, row, llrti_build_matrix(b, &n_matrix, 5, 6, 0));
    assert_int_equal(t->model.n_token_type, 6);
    const uint32_t bias = llrti_build_vector(b, &n_matrix, ".bias", 6, 0);
    assert_int_not_equal(llrti_build_rms_norm(b, six, bias, 0, 0), LLRT_NONE); /* head by head */
    assert_int_not_equal(llrti_build_layer_norm(b, six, bias, bias, 0), LLRT_NONE);
    llrti_build_rms_norm(b, heads, bias, 0, 0);
    expect_failure(t, LLRT_ERR_INTERNAL, "does not fit");
    const uint32_t glu = llrti_build_glu_limited(b, six, six, LLRT_ACT_GELU_QUICK, 7, 1);
    assert_true(b->op.data[glu].u.act.limit == 7 && b->op.data[glu].u.act.offset == 1);
}

static void test_ends_of_the_program(void **state)
{
    bench *const t = *state;
    llrti_builder *const b = &t->b;
    const uint32_t row = value_of(b, 1, 5), w = llrti_build_matrix(b, &n_matrix, 5, 6, 0);
    llrti_build_hidden(b, row);
    expect_failure(t, LLRT_ERR_INTERNAL, "gather the wanted rows first");
    const uint32_t wanted = llrti_build_gather(b, row);
    llrti_build_score(b, wanted);
    expect_failure(t, LLRT_ERR_INTERNAL, "must be made from the hidden states");
    llrti_build_hidden(b, wanted);
    llrti_build_score(b, llrti_build_linear(b, wanted, w, LLRT_NONE, 1, 6));
    assert_true(t->model.n_label == 6 && t->model.hidden == wanted);
    const uint32_t logits = llrti_build_head(b, wanted, w, LLRT_NONE);
    llrti_build_logits(b, llrti_build_scale(b, logits, 0.5f));
    assert_int_equal(t->model.logits, logits + 1);
    llrti_build_logits(b, wanted);
    expect_failure(t, LLRT_ERR_INTERNAL, "can't be logits");
}

#define WITH_BENCH(test) cmocka_unit_test_setup_teardown(test, open_bench, close_bench)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_BENCH(test_whole_tensors),          WITH_BENCH(test_stacked_tensors),
        WITH_BENCH(test_parts_of_tensors),       WITH_BENCH(test_blocks_of_mxfp4),
        WITH_BENCH(test_malformed_parts),        WITH_BENCH(test_attention_slots),
        WITH_BENCH(test_experts_fit_each_other), WITH_BENCH(test_states_are_counted),
        WITH_BENCH(test_other_operators),        WITH_BENCH(test_ends_of_the_program),
    };
    return cmocka_run_group_tests_name("builder", tests, NULL, NULL);
}
