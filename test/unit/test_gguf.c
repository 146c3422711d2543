/* SPDX-License-Identifier: MIT */
/*
 * The GGUF reader on files built here byte by byte: what is read, and for every way a file can
 * be wrong the status and a message that names the field, without a leak.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>

#include "gguf_writer.h"
#include "memory_files.h"
#include "model_file.h"
#include "rng.h"
#include "test_support.h"
#include "types.h"

/* Opens bytes through the public memory source; checks that a failure leaks nothing and speaks. */
static llrt_status open_bytes(const void *data, size_t n, bool vocab_only, llrt_error *err)
{
    llrti_mem mem;
    test_heap heap;
    llrt_source source;
    const llrt_blob blob = {data, n};
    const llrt_error fresh = LLRT_ERROR_INIT;
    test_mem_init(&mem, &heap);
    llrt_source_init_memory(&source, sizeof source, &blob);
    const llrti_model_file_options options = {.source = &source, .vocab_only = vocab_only};
    llrti_model_file *file;
    *err = fresh;
    const llrt_status status = llrti_model_file_open(&mem, "test.gguf", &options, &file, err);
    if (status < 0) {
        assert_null(file);
        assert_int_equal(err->status, status);
        assert_string_equal(err->file, "test.gguf");
        assert_true(strlen(err->text) > 0);
    } else {
        assert_int_equal(status, LLRT_OK);
        llrti_model_file_close(file);
    }
    assert_int_equal(heap.n_live, 0);
    return status;
}

static const float weights[64];

static void add_usual(gguf_writer *w)
{
    const uint64_t dim[] = {8, 4}, one[] = {32};
    const char *const tokens[] = {"<s>", "", "\xe2\x96\x81hello", "a\x01"};
    const float scores[] = {0, -1.5f, NAN, 3};
    gw_string(w, "general.architecture", "llama");
    gw_u32(w, "llama.block_count", 2);
    gw_bool(w, "tokenizer.ggml.add_bos_token", 1);
    gw_strings(w, "tokenizer.ggml.tokens", tokens, 4);
    gw_f32s(w, "tokenizer.ggml.scores", scores, 4);
    gw_tensor(w, "token_embd.weight", LLRTI_TYPE_F32, 2, dim, weights, 128);
    gw_tensor(w, "blk.0.norm", LLRTI_TYPE_Q8_0, 1, one, weights, 34);
}

static void test_every_metadata_type_is_read(void **state)
{
    gguf_writer w;
    gw_init(&w);
    gw_scalar(&w, "u8", 0, 200, 1);
    gw_scalar(&w, "i8", 1, 200, 1);
    gw_scalar(&w, "u16", 2, 60000, 2);
    gw_scalar(&w, "i16", 3, 60000, 2);
    gw_scalar(&w, "u32", 4, 4000000000u, 4);
    gw_scalar(&w, "i32", 5, 4000000000u, 4);
    gw_f32(&w, "f32", 0.1f);
    gw_bool(&w, "bool", 1);
    gw_string(&w, "string", "value");
    gw_scalar(&w, "u64", 10, UINT64_MAX, 8);
    gw_scalar(&w, "i64", 11, UINT64_MAX - 4, 8);
    gw_scalar(&w, "f64", 12, 0x3fb999999999999au, 8); /* 0.1 */
    const int32_t ints[] = {-1, 2, INT32_MIN};
    gw_i32s(&w, "ints", ints, 3);
    gw_array(&w, "bools", 7, 3);
    gw_put(&w.metas, "\0\1\1", 3);
    const char *const strings[] = {"", "x", "yz"};
    gw_strings(&w, "strings", strings, 3);
    gw_array(&w, "empty", 12, 0);
    gw_strings(&w, "no strings", strings, 0);
    size_t n;
    uint8_t *data = gw_finish(&w, &n);
    llrti_mem mem;
    llrt_source source;
    const llrt_blob blob = {data, n};
    llrti_model_file *file;
    llrti_mem_init(&mem, NULL);
    llrt_source_init_memory(&source, sizeof source, &blob);
    const llrti_model_file_options options = {.source = &source, .vocab_only = true};
    assert_int_equal(llrti_model_file_open(&mem, "x", &options, &file, NULL), LLRT_OK);
    memset(data, 0xee, n); /* nothing points into the source */
    assert_int_equal(llrti_model_file_kind(file), LLRTI_FILE_GGUF);
    assert_string_equal(llrti_model_file_path(file), "x");
    assert_int_equal(llrti_model_file_n_meta(file), 17);
    assert_string_equal(llrti_model_file_meta(file, 0)->key, "u8");
    assert_null(llrti_model_file_meta(file, 17));
    assert_null(llrti_model_file_find_meta(file, "absent"));
#define META(key) llrti_model_file_find_meta(file, key)->value
    assert_int_equal(META("u8").u, 200);
    assert_int_equal(META("i8").i, -56);
    assert_int_equal(META("u16").u, 60000);
    assert_int_equal(META("i16").i, -5536);
    assert_int_equal(META("u32").u, 4000000000u);
    assert_int_equal(META("i32").i, -294967296);
    assert_true(META("f32").f == (double)0.1f);
    assert_int_equal(META("bool").u, 1);
    assert_int_equal(META("string").s.n, 5);
    assert_memory_equal(META("string").s.data, "value", 5);
    assert_true(META("u64").u == UINT64_MAX);
    assert_true(META("i64").i == -5);
    assert_true(META("f64").f == 0.1);
    assert_int_equal(llrti_model_file_find_meta(file, "ints")->type, LLRTI_META_ARRAY);
    assert_int_equal(llrti_model_file_find_meta(file, "ints")->element, LLRTI_META_I32);
    assert_int_equal(llrti_model_file_find_meta(file, "ints")->n, 3);
    assert_memory_equal(META("ints").array, ints, 12);
    assert_memory_equal(META("bools").array, "\0\1\1", 3);
    const llrti_string *read = META("strings").array;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(read[i].n, strlen(strings[i]));
        assert_memory_equal(read[i].data, strings[i], read[i].n);
    }
    assert_int_equal(llrti_model_file_find_meta(file, "empty")->n, 0);
    assert_int_equal(llrti_model_file_find_meta(file, "no strings")->n, 0);
    llrti_model_file_close(file);
    assert_int_equal(atomic_load(&mem.total_live), 0);
    free(data);
}

static void test_tensors_are_found_and_read(void **state)
{
    for (int version = 2; version <= 3; version++) {
        for (uint32_t alignment = 8; alignment <= 4096; alignment *= 8) {
            gguf_writer w;
            gw_init(&w);
            w.version = (uint32_t)version;
            w.alignment = alignment;
            gw_u32(&w, "general.alignment", alignment);
            const uint64_t dim[] = {8, 4, 2, 3}, one[] = {64};
            uint8_t values[8 * 4 * 2 * 3 * 2], blocks[68];
            for (size_t i = 0; i < sizeof values; i++) values[i] = (uint8_t)i;
            for (size_t i = 0; i < sizeof blocks; i++) blocks[i] = (uint8_t)(200 + i);
            gw_tensor(&w, "a", LLRTI_TYPE_BF16, 4, dim, values, sizeof values);
            gw_tensor(&w, "b", LLRTI_TYPE_Q8_0, 1, one, blocks, sizeof blocks);
            size_t n;
            uint8_t *data = gw_finish(&w, &n);
            llrti_mem mem;
            llrt_source source;
            const llrt_blob blob = {data, n};
            llrti_model_file *file;
            llrti_mem_init(&mem, NULL);
            llrt_source_init_memory(&source, sizeof source, &blob);
            const llrti_model_file_options options = {.source = &source};
            assert_int_equal(llrti_model_file_open(&mem, "x", &options, &file, NULL), LLRT_OK);
            assert_int_equal(llrti_model_file_n_tensor(file), 2);
            const llrti_tensor *a = llrti_model_file_tensor(file, 0);
            const llrti_tensor *b = llrti_model_file_find_tensor(file, "b");
            assert_null(llrti_model_file_tensor(file, 2));
            assert_null(llrti_model_file_find_tensor(file, "c"));
            assert_string_equal(a->name, "a");
            assert_int_equal(a->n_dim, 4);
            assert_int_equal(a->dim[3], 3);
            assert_int_equal(a->n_byte, sizeof values);
            assert_int_equal(b->n_dim, 1);
            assert_int_equal(b->dim[1], 1);
            assert_int_equal(b->n_byte, 68);
            assert_int_equal(b->offset % alignment, 0);
            uint8_t out[400];
            llrt_error err = LLRT_ERROR_INIT;
            assert_int_equal(llrti_model_file_read(file, a, 0, out, sizeof values, &err), LLRT_OK);
            assert_memory_equal(out, values, sizeof values);
            assert_int_equal(llrti_model_file_read(file, b, 60, out, 8, &err), LLRT_OK);
            assert_memory_equal(out, blocks + 60, 8);
            assert_int_equal(llrti_model_file_read(file, b, 60, out, 9, &err), LLRT_ERR_ARGUMENT);
            assert_string_equal(err.field, "b");
            const void *map;
            assert_int_equal(llrti_model_file_map(file, b, &map, &err), LLRT_OK);
            assert_memory_equal(map, blocks, sizeof blocks);
            llrti_model_file_close(file);
            free(data);
        }
    }
}

static void test_truncation_at_every_byte_is_an_error(void **state)
{
    gguf_writer w;
    llrt_error err;
    gw_init(&w);
    add_usual(&w);
    size_t n;
    uint8_t *data = gw_finish(&w, &n);
    assert_int_equal(open_bytes(data, n, false, &err), LLRT_OK);
    for (size_t cut = 0; cut < n; cut++) {
        uint8_t *part = malloc(cut ? cut : 1); /* of its exact size, for the sanitizers */
        memcpy(part, data, cut);
        assert_int_equal(open_bytes(part, cut, false, &err), LLRT_ERR_FORMAT);
        if (err.field[0] == 0) fail_msg("cut at byte %zu: no field: %s", cut, err.text);
        free(part);
    }
    free(data);
}

static void test_mutations_never_crash_or_leak(void **state)
{
    gguf_writer w;
    llrt_error err;
    llrti_rng rng;
    gw_init(&w);
    add_usual(&w);
    size_t n, n_refused = 0;
    uint8_t *data = gw_finish(&w, &n);
    llrti_rng_seed(&rng, 1);
    const uint8_t values[] = {0, 1, 0x7f, 0x80, 0xff};
    for (size_t at = 0; at < n; at++) {
        const uint8_t old = data[at];
        for (size_t i = 0; i < sizeof values; i++) {
            data[at] = values[i];
            n_refused += open_bytes(data, n, false, &err) < 0;
        }
        data[at] = old;
    }
    assert_true(n_refused > 500);
    for (int i = 0; i < 5000; i++) { /* several bytes at once */
        uint8_t *copy = malloc(n);
        memcpy(copy, data, n);
        for (int k = 0; k < 4; k++) copy[llrti_rng_next(&rng) % n] = (uint8_t)llrti_rng_next(&rng);
        open_bytes(copy, n, i & 1, &err);
        free(copy);
    }
    free(data);
}

/* Each case builds a file; what it must lead to stands in the table. */
#define DIM1(x)                                                                                    \
    (const uint64_t[])                                                                             \
    {                                                                                              \
        x                                                                                          \
    }
#define DIM2(x, y)                                                                                 \
    (const uint64_t[])                                                                             \
    {                                                                                              \
        x, y                                                                                       \
    }

static void raw_key(gguf_writer *w, uint64_t n_key, const char *bytes, size_t n)
{
    gw_put_number(&w->metas, n_key, 8);
    gw_put(&w->metas, bytes, n);
    gw_put_number(&w->metas, 0, 4);
    gw_put_number(&w->metas, 0, 1);
    w->n_meta++;
}

static void bad_version_1(gguf_writer *w)
{
    w->version = 1;
}
static void bad_version_0(gguf_writer *w)
{
    w->version = 0;
}
static void bad_version_4(gguf_writer *w)
{
    w->version = 4;
}
static void bad_version_swapped(gguf_writer *w)
{
    w->version = 0x03000000;
}
static void bad_magic_old(gguf_writer *w)
{
    w->magic = "tjgg";
}
static void bad_magic_ggml(gguf_writer *w)
{
    w->magic = "lmgg";
}
static void bad_magic_zip(gguf_writer *w)
{
    w->magic = "PK\x03\x04";
}
static void bad_magic_any(gguf_writer *w)
{
    w->magic = "abcd";
}
static void bad_count_tensor(gguf_writer *w)
{
    w->n_tensor = UINT64_MAX;
}
static void bad_count_tensor_one(gguf_writer *w)
{
    w->n_tensor++;
}
static void bad_count_meta(gguf_writer *w)
{
    w->n_meta = (uint64_t)1 << 40;
}
static void bad_count_meta_one(gguf_writer *w)
{
    w->n_meta++;
}
static void bad_key_length(gguf_writer *w)
{
    raw_key(w, UINT64_MAX, "k", 1);
}
static void bad_key_empty(gguf_writer *w)
{
    raw_key(w, 0, "", 0);
}
static void bad_key_nul(gguf_writer *w)
{
    raw_key(w, 3, "a\0b", 3);
}
static void bad_key_utf8(gguf_writer *w)
{
    raw_key(w, 2, "\xc0\x80", 2);
}
static void bad_key_twice(gguf_writer *w)
{
    gw_u32(w, "llama.block_count", 3);
}
static void bad_type(gguf_writer *w)
{
    gw_scalar(w, "some.key", 13, 0, 8);
}
static void bad_type_huge(gguf_writer *w)
{
    gw_scalar(w, "some.key", UINT32_MAX, 0, 8);
}
static void bad_bool(gguf_writer *w)
{
    gw_scalar(w, "some.key", 7, 2, 1);
}
static void bad_string_length(gguf_writer *w)
{
    gw_scalar(w, "some.key", 8, (uint64_t)1 << 63, 8);
}
static void bad_array_length(gguf_writer *w)
{
    gw_array(w, "some.key", 4, UINT64_MAX / 4 + 2);
}
static void bad_array_strings(gguf_writer *w)
{
    gw_array(w, "some.key", 8, UINT64_MAX / 16 + 2);
}
static void bad_array_nested(gguf_writer *w)
{
    gw_array(w, "some.key", 9, 1);
}
static void bad_array_type(gguf_writer *w)
{
    gw_array(w, "some.key", 77, 1);
}
static void bad_array_bool(gguf_writer *w)
{
    gw_array(w, "some.key", 7, 2);
    gw_put(&w->metas, "\1\7", 2);
}
static void bad_alignment_zero(gguf_writer *w)
{
    gw_u32(w, "general.alignment", 0);
}
static void bad_alignment_odd(gguf_writer *w)
{
    gw_u32(w, "general.alignment", 24);
}
static void bad_alignment_huge(gguf_writer *w)
{
    gw_u32(w, "general.alignment", 1u << 31);
}
static void bad_alignment_type(gguf_writer *w)
{
    gw_string(w, "general.alignment", "32");
}
static void bad_split_type(gguf_writer *w)
{
    gw_string(w, "split.count", "two");
}
static void bad_split_negative(gguf_writer *w)
{
    gw_i32(w, "split.count", -2);
}
static void bad_split_name(gguf_writer *w)
{
    gw_u16(w, "split.count", 2);
}
static void bad_split_no(gguf_writer *w)
{
    gw_u16(w, "split.count", 2);
    gw_u16(w, "split.no", 1);
}
static void bad_dims_0(gguf_writer *w)
{
    gw_tensor_entry(w, "t", 0, 0, DIM1(1), 0);
}
static void bad_dims_5(gguf_writer *w)
{
    gw_tensor_entry(w, "t", 0, 5, (const uint64_t[]){1, 1, 1, 1, 1}, 0);
}
static void bad_dim_zero(gguf_writer *w)
{
    gw_tensor_entry(w, "t", 0, 2, DIM2(0, 4), 256);
}
static void bad_dim_negative(gguf_writer *w)
{
    gw_tensor_entry(w, "t", 0, 1, DIM1(UINT64_MAX), 256);
}
static void bad_size_overflow(gguf_writer *w)
{
    gw_tensor_entry(w, "t", 0, 2, DIM2((uint64_t)1 << 33, (uint64_t)1 << 33), 256);
}
static void bad_size_wraps_to_small(gguf_writer *w)
{
    gw_tensor_entry(w, "t", 0, 2, DIM2((uint64_t)1 << 62, 4), 256); /* 2^66 bytes: 0 modulo 2^64 */
}
static void bad_block(gguf_writer *w)
{
    gw_tensor_entry(w, "t", LLRTI_TYPE_Q4_K, 1, DIM1(128), 256);
}
static void bad_tensor_type_known(gguf_writer *w)
{
    gw_tensor_entry(w, "t", 16, 1, DIM1(256), 256);
}
static void bad_tensor_type_gone(gguf_writer *w)
{
    gw_tensor_entry(w, "t", 4, 1, DIM1(256), 256);
}
static void bad_tensor_type_unknown(gguf_writer *w)
{
    gw_tensor_entry(w, "t", 999, 1, DIM1(256), 256);
}
static void bad_tensor_type_private(gguf_writer *w)
{
    gw_tensor_entry(w, "t", LLRTI_TYPE_U8, 1, DIM1(256), 256);
}
static void bad_offset_far(gguf_writer *w)
{
    gw_tensor_entry(w, "t", 0, 1, DIM1(1), (uint64_t)1 << 40);
}
static void bad_offset_wraps(gguf_writer *w)
{
    gw_tensor_entry(w, "t", 0, 1, DIM1(1), UINT64_MAX - 31);
}
static void bad_offset_unaligned(gguf_writer *w)
{
    gw_tensor_entry(w, "t", 0, 1, DIM1(1), 4);
}
static void bad_end(gguf_writer *w)
{
    gw_tensor_entry(w, "t", 0, 1, DIM1(1000), 160);
}
static void bad_overlap(gguf_writer *w)
{
    gw_tensor_entry(w, "t", 0, 1, DIM1(8), 96);
}
static void bad_same_place(gguf_writer *w)
{
    gw_tensor_entry(w, "zz", 0, 2, DIM2(8, 4), 0);
}
static void bad_tensor_twice(gguf_writer *w)
{
    gw_tensor_entry(w, "blk.0.norm", 0, 1, DIM1(1), 192);
}
static void bad_tensor_name_empty(gguf_writer *w)
{
    gw_tensor_entry(w, "", 0, 1, DIM1(1), 192);
}
static void bad_tensor_name_long(gguf_writer *w)
{
    char name[301];
    memset(name, 'n', 300);
    name[300] = 0;
    gw_tensor_entry(w, name, 0, 1, DIM1(1), 192);
}

static const struct {
    void (*build)(gguf_writer *w);
    llrt_status status;
    const char *field, *text; /* the message contains this text */
} malformed[] = {
    {bad_version_1, LLRT_ERR_UNSUPPORTED, "version", "version 1"},
    {bad_version_0, LLRT_ERR_UNSUPPORTED, "version", "version 0"},
    {bad_version_4, LLRT_ERR_UNSUPPORTED, "version", "version 4, expected 2 or 3"},
    {bad_version_swapped, LLRT_ERR_UNSUPPORTED, "version", "byte-swapped"},
    {bad_magic_old, LLRT_ERR_UNSUPPORTED, "magic", "GGJT"},
    {bad_magic_ggml, LLRT_ERR_UNSUPPORTED, "magic", "GGML"},
    {bad_magic_zip, LLRT_ERR_UNSUPPORTED, "magic", "PyTorch"},
    {bad_magic_any, LLRT_ERR_FORMAT, "magic", "\"abcd"},
    {bad_count_tensor, LLRT_ERR_FORMAT, "tensor_count", "18446744073709551615"},
    {bad_count_tensor_one, LLRT_ERR_FORMAT, "tensor 2", "expected"},
    {bad_count_meta, LLRT_ERR_FORMAT, "metadata_kv_count", "1099511627776"},
    {bad_count_meta_one, LLRT_ERR_FORMAT, "tensor 0", "bytes of tensor name"},
    {bad_key_length, LLRT_ERR_FORMAT, "metadata entry 5",
     "18446744073709551615 bytes of metadata key"},
    {bad_key_empty, LLRT_ERR_FORMAT, "metadata entry 5", "0 bytes"},
    {bad_key_nul, LLRT_ERR_FORMAT, "metadata entry 5", "a\\x00b"},
    {bad_key_utf8, LLRT_ERR_FORMAT, "metadata entry 5", "\\xc0\\x80"},
    {bad_key_twice, LLRT_ERR_FORMAT, "llama.block_count", "twice"},
    {bad_type, LLRT_ERR_FORMAT, "some.key", "metadata type 13"},
    {bad_type_huge, LLRT_ERR_FORMAT, "some.key", "4294967295"},
    {bad_bool, LLRT_ERR_FORMAT, "some.key", "expected 0 or 1"},
    {bad_string_length, LLRT_ERR_FORMAT, "some.key", "9223372036854775808 bytes of a string"},
    {bad_array_length, LLRT_ERR_FORMAT, "some.key", "4611686018427387905 values"},
    {bad_array_strings, LLRT_ERR_FORMAT, "some.key", "1152921504606846977 values"},
    {bad_array_nested, LLRT_ERR_UNSUPPORTED, "some.key", "array of arrays"},
    {bad_array_type, LLRT_ERR_FORMAT, "some.key", "element type 77"},
    {bad_array_bool, LLRT_ERR_FORMAT, "some.key", "the byte 7"},
    {bad_alignment_zero, LLRT_ERR_FORMAT, "general.alignment", "found 0"},
    {bad_alignment_odd, LLRT_ERR_FORMAT, "general.alignment", "found 24"},
    {bad_alignment_huge, LLRT_ERR_FORMAT, "general.alignment", "found 2147483648"},
    {bad_alignment_type, LLRT_ERR_FORMAT, "general.alignment", "type string, expected u32"},
    {bad_split_type, LLRT_ERR_FORMAT, "split.count", "expected an integer"},
    {bad_split_negative, LLRT_ERR_FORMAT, "split.count", "found -2"},
    {bad_split_name, LLRT_ERR_FORMAT, "split.count", "-00001-of-00002.gguf"},
    {bad_split_no, LLRT_ERR_ARGUMENT, "split.no", "open the first file"},
    {bad_dims_0, LLRT_ERR_FORMAT, "t", "0 dimensions"},
    {bad_dims_5, LLRT_ERR_FORMAT, "t", "5 dimensions"},
    {bad_dim_zero, LLRT_ERR_FORMAT, "t", "found 0 as dimension 0"},
    {bad_dim_negative, LLRT_ERR_FORMAT, "t", "found -1 as dimension 0"},
    {bad_size_overflow, LLRT_ERR_FORMAT, "t", "below 2^63 bytes"},
    {bad_size_wraps_to_small, LLRT_ERR_FORMAT, "t", "below 2^63 bytes"},
    {bad_block, LLRT_ERR_FORMAT, "t",
     "rows of 128 values of type Q4_K, expected a multiple of 256"},
    {bad_tensor_type_known, LLRT_ERR_UNSUPPORTED, "t", "IQ2_XXS"},
    {bad_tensor_type_gone, LLRT_ERR_UNSUPPORTED, "t", "Q4_2"},
    {bad_tensor_type_unknown, LLRT_ERR_UNSUPPORTED, "t", "type 999"},
    {bad_tensor_type_private, LLRT_ERR_UNSUPPORTED, "t", "does not know"},
    {bad_offset_far, LLRT_ERR_FORMAT, "t", "1099511627776"},
    {bad_offset_wraps, LLRT_ERR_FORMAT, "t", "expected at most"},
    {bad_offset_unaligned, LLRT_ERR_FORMAT, "t", "multiple of 32"},
    {bad_end, LLRT_ERR_FORMAT, "t", "end of the file"},
    {bad_overlap, LLRT_ERR_FORMAT, "t", "overlaps the tensor token_embd.weight"},
    {bad_same_place, LLRT_ERR_FORMAT, "zz", "overlaps"},
    {bad_tensor_twice, LLRT_ERR_FORMAT, "blk.0.norm", "two tensors"},
    {bad_tensor_name_empty, LLRT_ERR_FORMAT, "tensor 2", "0 bytes"},
    {bad_tensor_name_long, LLRT_ERR_FORMAT, "tensor 2", "300 bytes"},
};

static void test_malformed_files_are_refused_by_name(void **state)
{
    for (size_t i = 0; i < sizeof malformed / sizeof malformed[0]; i++) {
        gguf_writer w;
        llrt_error err;
        gw_init(&w);
        add_usual(&w);
        malformed[i].build(&w);
        size_t n;
        uint8_t *data = gw_finish(&w, &n);
        const llrt_status status = open_bytes(data, n, false, &err);
        if (status != malformed[i].status || strcmp(err.field, malformed[i].field) != 0 ||
            !strstr(err.text, malformed[i].text)) {
            fail_msg("case %zu: found %d, field \"%s\": %s\n  expected %d, field \"%s\", \"%s\"", i,
                     (int)status, err.field, err.text, (int)malformed[i].status, malformed[i].field,
                     malformed[i].text);
        }
        free(data);
    }
}

static void test_no_tensors_is_a_vocabulary(void **state)
{
    gguf_writer w;
    llrt_error err;
    gw_init(&w);
    gw_string(&w, "general.architecture", "llama");
    size_t n;
    uint8_t *data = gw_finish(&w, &n);
    assert_int_equal(open_bytes(data, n, true, &err), LLRT_OK);
    assert_int_equal(open_bytes(data, n, false, &err), LLRT_ERR_FORMAT);
    assert_string_equal(err.field, "tensor_count");
    assert_int_equal(open_bytes("", 0, true, &err), LLRT_ERR_FORMAT);
    free(data);
}

/* Arrays and strings longer than the reader's window, and one that straddles its end. */
static void test_long_values_are_whole(void **state)
{
    for (size_t pad = 65400; pad < 65700; pad += 13) {
        gguf_writer w;
        gw_init(&w);
        char *text = malloc(pad + 1);
        memset(text, 't', pad);
        text[pad] = 0;
        gw_string(&w, "pad", text);
        gw_u32(&w, "after", 0x12345678);
        gw_array(&w, "numbers", 4, 50000);
        for (uint32_t i = 0; i < 50000; i++) gw_put_number(&w.metas, i * 2654435761u, 4);
        gw_string(&w, "last", "end");
        size_t n;
        uint8_t *data = gw_finish(&w, &n);
        llrti_mem mem;
        llrt_source source;
        const llrt_blob blob = {data, n};
        llrti_model_file *file;
        llrti_mem_init(&mem, NULL);
        llrt_source_init_memory(&source, sizeof source, &blob);
        const llrti_model_file_options options = {.source = &source, .vocab_only = true};
        assert_int_equal(llrti_model_file_open(&mem, "x", &options, &file, NULL), LLRT_OK);
        assert_int_equal(META("pad").s.n, pad);
        assert_memory_equal(META("pad").s.data, text, pad);
        assert_int_equal(META("after").u, 0x12345678);
        const uint8_t *bytes = META("numbers").array;
        for (uint32_t i = 0; i < 50000; i++) {
            uint32_t value;
            memcpy(&value, bytes + 4 * i, 4);
            assert_int_equal(value, i * 2654435761u);
        }
        assert_memory_equal(META("last").s.data, "end", 3);
        llrti_model_file_close(file);
        free(data);
        free(text);
    }
}

static void test_allocation_failures_are_errors(void **state)
{
    gguf_writer w;
    gw_init(&w);
    add_usual(&w);
    size_t n;
    uint8_t *data = gw_finish(&w, &n);
    for (int is_sticky = 0; is_sticky < 2; is_sticky++) {
        llrt_status status = LLRT_ERR_NOMEM;
        size_t fail_at = 1;
        for (; status != LLRT_OK; fail_at++) {
            llrti_mem mem;
            test_heap heap;
            llrt_source source;
            llrt_error err = LLRT_ERROR_INIT;
            const llrt_blob blob = {data, n};
            test_mem_init(&mem, &heap);
            heap.fail_at = fail_at;
            heap.is_sticky = is_sticky;
            llrt_source_init_memory(&source, sizeof source, &blob);
            const llrti_model_file_options options = {.source = &source};
            llrti_model_file *file;
            status = llrti_model_file_open(&mem, "x", &options, &file, &err);
            if (status != LLRT_OK) {
                assert_int_equal(status, LLRT_ERR_NOMEM);
                assert_int_equal(err.status, LLRT_ERR_NOMEM);
                assert_true(strlen(err.text) > 0);
            }
            llrti_model_file_close(file);
            assert_int_equal(heap.n_live, 0);
        }
        assert_true(fail_at > 8);
    }
    free(data);
}

static void test_legacy_files_are_refused_by_name(void **state)
{
    static const struct {
        const char *file;
        llrt_status status;
        const char *text;
    } cases[] = {
        {"gguf_legacy/ggml-vocab-falcon.v2.gguf", LLRT_OK, ""},
        {"gguf_legacy/ggml-vocab-llama.FUGG.gguf", LLRT_ERR_UNSUPPORTED, "magic written backwards"},
        {"gguf_legacy/ggml-vocab-llama.ggjt.bin", LLRT_ERR_UNSUPPORTED, "GGJT"},
        {"gguf_legacy/ggml-vocab-llama.v1-early.gguf", LLRT_ERR_UNSUPPORTED, "version 1"},
        {"gguf_legacy/ggml-vocab-llama.v1.gguf", LLRT_ERR_UNSUPPORTED, "version 1"},
        {"gguf_legacy/ggml-vocab.ggjt-old.bin", LLRT_ERR_UNSUPPORTED, "GGJT"},
        {"gguf_tiny/empty.gguf", LLRT_OK, ""},
        {"gguf_tiny/tiny.gguf", LLRT_ERR_FORMAT,
         "end of the file"}, /* a directory without its data */
    };
    const char *folder = test_data_folder();
    if (!folder) skip();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char path[1024];
        llrti_mem mem;
        test_heap heap;
        llrt_error err = LLRT_ERROR_INIT;
        llrti_model_file *file;
        const llrti_model_file_options options = {.vocab_only = true};
        snprintf(path, sizeof path, "%s/conformance/%s", folder, cases[i].file);
        test_mem_init(&mem, &heap);
        const llrt_status status = llrti_model_file_open(&mem, path, &options, &file, &err);
        if (status != cases[i].status || !strstr(err.text, cases[i].text)) {
            fail_msg("%s: found %d: %s", path, (int)status, err.text);
        }
        if (status < 0) assert_string_equal(err.file, path);
        llrti_model_file_close(file);
        assert_int_equal(heap.n_live, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_metadata_type_is_read),
        cmocka_unit_test(test_tensors_are_found_and_read),
        cmocka_unit_test(test_truncation_at_every_byte_is_an_error),
        cmocka_unit_test(test_mutations_never_crash_or_leak),
        cmocka_unit_test(test_malformed_files_are_refused_by_name),
        cmocka_unit_test(test_no_tensors_is_a_vocabulary),
        cmocka_unit_test(test_long_values_are_whole),
        cmocka_unit_test(test_allocation_failures_are_errors),
        cmocka_unit_test(test_legacy_files_are_refused_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
