/* SPDX-License-Identifier: MIT */
/*
 * The safetensors reader on headers written here, and on files nobody here wrote: shapes, types,
 * every rule of the format, sharded models, without a leak.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "memory_files.h"
#include "model_file.h"
#include "test_support.h"
#include "types.h"

/* A file of a header and n_data bytes 0, 1, 2 ...; the caller frees it. */
static uint8_t *make_file(const char *header, size_t n_data, size_t *n)
{
    const size_t n_header = strlen(header);
    *n = 8 + n_header + n_data;
    uint8_t *data = malloc(*n);
    for (int i = 0; i < 8; i++) data[i] = (uint8_t)((uint64_t)n_header >> 8 * i);
    memcpy(data + 8, header, n_header);
    for (size_t i = 0; i < n_data; i++) data[8 + n_header + i] = (uint8_t)i;
    return data;
}

static llrt_status open_bytes(const void *data, size_t n, llrt_error *err)
{
    llrti_mem mem;
    test_heap heap;
    llrt_source source;
    memory_files files;
    const llrt_error fresh = LLRT_ERROR_INIT;
    test_mem_init(&mem, &heap);
    memory_files_init(&files, &source);
    memory_files_add(&files, "m/x.safetensors", data, n);
    memory_files_add_text(&files, "m/config.json", "{}");
    const llrti_model_file_options options = {.source = &source};
    llrti_model_file *file;
    *err = fresh;
    const llrt_status status = llrti_model_file_open(&mem, "m/x.safetensors", &options, &file, err);
    if (status < 0) {
        assert_null(file);
        assert_int_equal(err->status, status);
        assert_string_equal(err->file, "m/x.safetensors");
        assert_true(strlen(err->text) > 0);
    }
    llrti_model_file_close(file);
    assert_int_equal(heap.n_live, 0);
    assert_int_equal(files.n_open, 0);
    return status;
}

#define USUAL                                                                                      \
    "{\"__metadata__\":{\"format\":\"pt\"},"                                                       \
    "\"a\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[0,24]},"                           \
    "\"b.weight\":{\"dtype\":\"BF16\",\"shape\":[4],\"data_offsets\":[24,32]}}  "

static void test_tensors_are_found_and_read(void **state)
{
    static const char header[] =
        "{\"scalar\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,4]},"
        "\"matrix\":{\"dtype\":\"F16\",\"shape\":[2,3],\"data_offsets\":[4,16]},"
        "\"six\":{\"dtype\":\"U8\",\"shape\":[2,1,3,1,2,5],\"data_offsets\":[16,76]},"
        "\"empty\":{\"dtype\":\"F32\",\"shape\":[0,7],\"data_offsets\":[76,76]},"
        "\"fp8\":{\"dtype\":\"F8_E4M3\",\"shape\":[4],\"data_offsets\":[76,80]}}";
    size_t n;
    uint8_t *data = make_file(header, 80, &n);
    llrti_mem mem;
    llrt_source source;
    memory_files files;
    llrti_model_file *file;
    llrt_error err = LLRT_ERROR_INIT;
    uint8_t out[16];
    llrti_mem_init(&mem, NULL);
    memory_files_init(&files, &source);
    memory_files_add(&files, "x.safetensors", data, n);
    memory_files_add_text(&files, "config.json", "{\"model_type\":\"llama\"}");
    const llrti_model_file_options options = {.source = &source};
    assert_int_equal(llrti_model_file_open(&mem, "x.safetensors", &options, &file, &err), LLRT_OK);
    assert_int_equal(llrti_model_file_kind(file), LLRTI_FILE_SAFETENSORS);
    assert_int_equal(llrti_model_file_n_meta(file), 0);
    assert_int_equal(llrti_model_file_n_tensor(file), 5);
    const llrti_json *config = llrti_model_file_json(file, "config.json");
    assert_string_equal(llrti_json_string(llrti_json_get(config, "model_type"), ""), "llama");
    assert_null(llrti_model_file_json(file, "generation_config.json"));
    assert_null(llrti_model_file_json(file, "no.json"));
    const llrti_tensor *t = llrti_model_file_find_tensor(file, "scalar");
    assert_int_equal(t->n_dim, 1);
    assert_int_equal(t->dim[0], 1);
    t = llrti_model_file_find_tensor(file, "matrix");
    assert_int_equal(t->type, LLRTI_TYPE_F16);
    assert_int_equal(t->n_dim, 2);
    assert_int_equal(t->dim[0], 3); /* the row length */
    assert_int_equal(t->dim[1], 2);
    assert_int_equal(llrti_model_file_read(file, t, 2, out, 4, &err), LLRT_OK);
    assert_memory_equal(out, "\6\7\10\11", 4);
    t = llrti_model_file_find_tensor(file, "six");
    assert_int_equal(t->n_dim, 6);
    assert_int_equal(t->dim[0], 5);
    assert_int_equal(t->dim[1], 2);
    assert_int_equal(t->dim[2], 1);
    assert_int_equal(t->dim[3], 6);
    t = llrti_model_file_find_tensor(file, "empty");
    assert_int_equal(t->n_byte, 0);
    assert_int_equal(llrti_model_file_read(file, t, 0, out, 0, &err), LLRT_OK);
    t = llrti_model_file_find_tensor(file, "fp8");
    assert_int_equal(llrti_model_file_read(file, t, 0, out, 1, &err), LLRT_ERR_UNSUPPORTED);
    assert_string_equal(err.field, "fp8");
    assert_non_null(strstr(err.text, "F8_E4M3"));
    const void *map;
    assert_int_equal(llrti_model_file_map(file, t, &map, &err), LLRT_ERR_UNSUPPORTED);
    t = llrti_model_file_find_tensor(file, "matrix");
    assert_int_equal(llrti_model_file_map(file, t, &map, &err), LLRT_ERR_UNSUPPORTED);
    assert_non_null(strstr(err.text, "in memory"));
    llrti_model_file_close(file);
    assert_int_equal(files.n_open, 0);
    assert_int_equal(atomic_load(&mem.total_live), 0);
    free(data);
}

static void test_truncation_at_every_byte_is_an_error(void **state)
{
    size_t n;
    llrt_error err;
    uint8_t *data = make_file(USUAL, 32, &n);
    assert_int_equal(open_bytes(data, n, &err), LLRT_OK);
    for (size_t cut = 0; cut < n; cut++) {
        uint8_t *part = malloc(cut ? cut : 1);
        memcpy(part, data, cut);
        assert_int_equal(open_bytes(part, cut, &err), LLRT_ERR_FORMAT);
        if (err.field[0] == 0) fail_msg("cut at byte %zu: no field: %s", cut, err.text);
        free(part);
    }
    free(data);
}

static void test_mutations_never_crash_or_leak(void **state)
{
    size_t n;
    llrt_error err;
    uint8_t *data = make_file(USUAL, 32, &n);
    const uint8_t values[] = {0, '"', '[', '9', '}', ',', 0x80, 0xff};
    for (size_t at = 0; at < n; at++) {
        const uint8_t old = data[at];
        for (size_t i = 0; i < sizeof values; i++) {
            data[at] = values[i];
            open_bytes(data, n, &err);
        }
        data[at] = old;
    }
    free(data);
}

#define T(body) "{\"t\":" body "}"

static const struct {
    const char *header;
    size_t n_data;
    llrt_status status;
    const char *field, *text;
} malformed[] = {
    {"[]", 0, LLRT_ERR_FORMAT, "header", "begin with {"},
    {" {}", 0, LLRT_ERR_FORMAT, "header", "begin with {"},
    {"{]", 0, LLRT_ERR_FORMAT, "header", "JSON, line 1, column 2"},
    {"{}x", 0, LLRT_ERR_FORMAT, "header", "nothing behind"},
    {"{}", 0, LLRT_ERR_FORMAT, "header", "no tensors"},
    {"{}", 4, LLRT_ERR_FORMAT, "data_offsets", "end of the file"},
    {"{\"__metadata__\":1}", 0, LLRT_ERR_FORMAT, "__metadata__", "an object of strings"},
    {"{\"__metadata__\":{\"a\":1}}", 0, LLRT_ERR_FORMAT, "__metadata__", "an object of strings"},
    {T("1"), 0, LLRT_ERR_FORMAT, "t", "no object"},
    {T("{}"), 0, LLRT_ERR_FORMAT, "t", "dtype"},
    {T("{\"dtype\":7}"), 0, LLRT_ERR_FORMAT, "t", "dtype"},
    {T("{\"dtype\":\"F31\"}"), 0, LLRT_ERR_UNSUPPORTED, "t", "\"F31\""},
    {T("{\"dtype\":\"Q4_0\"}"), 0, LLRT_ERR_UNSUPPORTED, "t", "\"Q4_0\""},
    {T("{\"dtype\":\"F32\"}"), 0, LLRT_ERR_FORMAT, "t", "shape"},
    {T("{\"dtype\":\"F32\",\"shape\":4}"), 0, LLRT_ERR_FORMAT, "t", "shape"},
    {T("{\"dtype\":\"F32\",\"shape\":[-1]}"), 0, LLRT_ERR_FORMAT, "t", "no size"},
    {T("{\"dtype\":\"F32\",\"shape\":[1.0]}"), 0, LLRT_ERR_FORMAT, "t", "no size"},
    {T("{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296]}"), 0, LLRT_ERR_FORMAT, "t", "2^63"},
    {T("{\"dtype\":\"I8\",\"shape\":[4294967296,2147483648]}"), 0, LLRT_ERR_FORMAT, "t", "2^63"},
    {T("{\"dtype\":\"F64\",\"shape\":[4611686018427387904,4,1,1,1]}"), 0, LLRT_ERR_FORMAT, "t",
     "overflow"},
    {T("{\"dtype\":\"F32\",\"shape\":[1]}"), 4, LLRT_ERR_FORMAT, "t", "data_offsets"},
    {T("{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0]}"), 4, LLRT_ERR_FORMAT, "t",
     "data_offsets"},
    {T("{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,\"4\"]}"), 4, LLRT_ERR_FORMAT, "t",
     "data_offsets"},
    {T("{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[-4,0]}"), 4, LLRT_ERR_FORMAT, "t",
     "data_offsets"},
    {T("{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,0]}"), 4, LLRT_ERR_FORMAT, "t",
     "in order"},
    {T("{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}"), 4, LLRT_ERR_FORMAT, "t",
     "at most 4"},
    {T("{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[9223372036854775807,"
       "9223372036854775807]}"),
     4, LLRT_ERR_FORMAT, "t", "at most 4"},
    {T("{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,4]}"), 4, LLRT_ERR_FORMAT, "t",
     "4 bytes apart, expected 8"},
    {T("{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}"), 8, LLRT_ERR_FORMAT, "t",
     "belong to no tensor"},
    {T("{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}"), 8, LLRT_ERR_FORMAT,
     "data_offsets", "end of the file"},
    {"{\"t\":{\"dtype\":\"I8\",\"shape\":[4],\"data_offsets\":[0,4]},"
     "\"u\":{\"dtype\":\"I8\",\"shape\":[4],\"data_offsets\":[2,6]}}",
     6, LLRT_ERR_FORMAT, "u", "overlaps the tensor t"},
    {"{\"t\":{\"dtype\":\"I8\",\"shape\":[1],\"data_offsets\":[0,1]},"
     "\"t\":{\"dtype\":\"I8\",\"shape\":[1],\"data_offsets\":[0,1]}}",
     1, LLRT_ERR_FORMAT, "t", "\"t\" twice"},
    {"{\"\":{}}", 0, LLRT_ERR_FORMAT, "header", "0 bytes"},
    {"{\"a\\u0000\":{}}", 0, LLRT_ERR_FORMAT, "header", "without NUL"},
};

static void test_malformed_headers_are_refused_by_name(void **state)
{
    for (size_t i = 0; i < sizeof malformed / sizeof malformed[0]; i++) {
        llrt_error err;
        size_t n;
        uint8_t *data = make_file(malformed[i].header, malformed[i].n_data, &n);
        const llrt_status status = open_bytes(data, n, &err);
        const char *field = malformed[i].field;
        if (status != malformed[i].status || strcmp(err.field, field) != 0 ||
            !strstr(err.text, malformed[i].text)) {
            fail_msg("case %zu: found %d, field \"%s\": %s", i, (int)status, err.field, err.text);
        }
        free(data);
    }
}

static void test_absurd_header_lengths_are_refused(void **state)
{
    const uint64_t lengths[] = {0,         1,          100,           (uint64_t)1 << 32,
                                INT64_MAX, UINT64_MAX, UINT64_MAX - 7};
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        uint8_t data[32] = {0};
        llrt_error err;
        for (int k = 0; k < 8; k++) data[k] = (uint8_t)(lengths[i] >> 8 * k);
        memcpy(data + 8, "{}", 2);
        assert_int_equal(open_bytes(data, sizeof data, &err), LLRT_ERR_FORMAT);
        assert_string_equal(err.field, "header length");
    }
}

/* ---- sharded ---- */

typedef struct sharded {
    memory_files files;
    llrt_source source;
    uint8_t *first, *second;
} sharded;

static void make_sharded(sharded *s, const char *index)
{
    size_t n_first, n_second;
    memory_files_init(&s->files, &s->source);
    s->first = make_file("{\"a\":{\"dtype\":\"I8\",\"shape\":[4],\"data_offsets\":[0,4]},"
                         "\"extra\":{\"dtype\":\"I8\",\"shape\":[2],\"data_offsets\":[4,6]}}",
                         6, &n_first);
    s->second =
        make_file("{\"b\":{\"dtype\":\"I8\",\"shape\":[3],\"data_offsets\":[0,3]}}", 3, &n_second);
    memory_files_add_text(&s->files, "m/config.json", "{}");
    memory_files_add(&s->files, "m/one.safetensors", s->first, n_first);
    memory_files_add(&s->files, "m/two.safetensors", s->second, n_second);
    memory_files_add_text(&s->files, "m/model.safetensors.index.json", index);
}

static void log_line(void *ctx, llrt_log_level level, const char *text)
{
    assert_int_equal(level, LLRT_LOG_WARN);
    assert_non_null(strstr(text, "m/one.safetensors: 1 tensors"));
    (*(int *)ctx)++;
}

#define INDEX(map) "{\"metadata\":{\"total_size\":7},\"weight_map\":" map "}"
#define GOOD_INDEX INDEX("{\"b\":\"two.safetensors\",\"a\":\"one.safetensors\"}")

static void test_sharded_models_are_one(void **state)
{
    const char *const paths[] = {"m", "m/", "m/model.safetensors.index.json"};
    for (int i = 0; i < 3; i++) {
        sharded s;
        llrti_mem mem;
        test_heap heap;
        llrti_model_file *file;
        llrt_error err = LLRT_ERROR_INIT;
        int n_line = 0;
        uint8_t out[4];
        test_mem_init(&mem, &heap);
        make_sharded(&s, GOOD_INDEX);
        const llrt_logger logger = {log_line, &n_line, LLRT_LOG_WARN};
        const llrti_model_file_options options = {.source = &s.source, .logger = &logger};
        if (llrti_model_file_open(&mem, paths[i], &options, &file, &err) < 0)
            fail_msg("%s", err.text);
        assert_int_equal(llrti_model_file_n_tensor(file), 2);
        assert_int_equal(n_line, 1); /* "extra" is not in the index */
        const llrti_tensor *b = llrti_model_file_find_tensor(file, "b");
        assert_int_equal(llrti_model_file_read(file, b, 1, out, 2, &err), LLRT_OK);
        assert_memory_equal(out, "\1\2", 2);
        llrti_model_file_close(file);
        assert_int_equal(heap.n_live, 0);
        assert_int_equal(s.files.n_open, 0);
        free(s.first);
        free(s.second);
    }
}

static void test_bad_indexes_are_refused_by_name(void **state)
{
    static const struct {
        const char *index;
        llrt_status status;
        const char *file, *field, *text;
    } cases[] = {
        {"[", LLRT_ERR_FORMAT, "m/model.safetensors.index.json", "", "JSON"},
        {"{}", LLRT_ERR_FORMAT, "m/model.safetensors.index.json", "weight_map", "no object"},
        {INDEX("{}"), LLRT_ERR_FORMAT, "m/model.safetensors.index.json", "weight_map", "entries"},
        {INDEX("{\"a\":1}"), LLRT_ERR_FORMAT, "m/model.safetensors.index.json", "a", "no string"},
        {INDEX("{\"a\":\"../one.safetensors\"}"), LLRT_ERR_FORMAT, "m/model.safetensors.index.json",
         "a", "beside the index"},
        {INDEX("{\"a\":\"/etc/passwd\"}"), LLRT_ERR_FORMAT, "m/model.safetensors.index.json", "a",
         "beside the index"},
        {INDEX("{\"a\":\"x\\\\one\"}"), LLRT_ERR_FORMAT, "m/model.safetensors.index.json", "a",
         "beside the index"},
        {INDEX("{\"a\":\"none.safetensors\"}"), LLRT_ERR_NOT_FOUND, "m/none.safetensors", "", ""},
        {INDEX("{\"a\":\"two.safetensors\"}"), LLRT_ERR_FORMAT, "m/model.safetensors.index.json",
         "a", "no tensor of this name in two.safetensors"},
        {INDEX("{\"c\":\"one.safetensors\"}"), LLRT_ERR_FORMAT, "m/model.safetensors.index.json",
         "c", "no tensor of this name"},
        {INDEX("{\"\":\"one.safetensors\"}"), LLRT_ERR_FORMAT, "m/model.safetensors.index.json",
         "weight_map", "0 bytes"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        sharded s;
        llrti_mem mem;
        test_heap heap;
        llrti_model_file *file;
        llrt_error err = LLRT_ERROR_INIT;
        test_mem_init(&mem, &heap);
        make_sharded(&s, cases[i].index);
        const llrti_model_file_options options = {.source = &s.source};
        const llrt_status status = llrti_model_file_open(&mem, "m", &options, &file, &err);
        if (status != cases[i].status || strcmp(err.file, cases[i].file) != 0 ||
            strcmp(err.field, cases[i].field) != 0 || !strstr(err.text, cases[i].text)) {
            fail_msg("case %zu: %d, %s, %s: %s", i, (int)status, err.file, err.field, err.text);
        }
        assert_int_equal(heap.n_live, 0);
        assert_int_equal(s.files.n_open, 0);
        free(s.first);
        free(s.second);
    }
}

static void test_allocation_failures_are_errors(void **state)
{
    sharded s;
    make_sharded(&s, GOOD_INDEX);
    llrt_status status = LLRT_ERR_NOMEM;
    size_t fail_at = 1;
    for (; status != LLRT_OK; fail_at++) {
        llrti_mem mem;
        test_heap heap;
        llrti_model_file *file;
        llrt_error err = LLRT_ERROR_INIT;
        test_mem_init(&mem, &heap);
        heap.fail_at = fail_at;
        const llrti_model_file_options options = {.source = &s.source};
        status = llrti_model_file_open(&mem, "m", &options, &file, &err);
        if (status != LLRT_OK) {
            assert_int_equal(status, LLRT_ERR_NOMEM);
            assert_int_equal(err.status, LLRT_ERR_NOMEM);
        }
        llrti_model_file_close(file);
        assert_int_equal(heap.n_live, 0);
        assert_int_equal(s.files.n_open, 0);
    }
    assert_true(fail_at > 15);
    free(s.first);
    free(s.second);
}

static void test_files_of_others_open(void **state)
{
    static const struct {
        const char *name;
        uint32_t n_tensor;
        const char *tensor;
        uint32_t n_dim;
        uint64_t dim[4];
        uint32_t type;
    } cases[] = {
        {"checkpoint-studio_diff_new", 5, "model.norm.weight", 1, {8, 1, 1, 1}, LLRTI_TYPE_F32},
        {"checkpoint-studio_diff_old", 5, "lm_head.weight", 2, {2, 2, 1, 1}, LLRTI_TYPE_F16},
        {"checkpoint-studio_tiny", 7, "lm_head.weight", 2, {4, 2, 1, 1}, LLRTI_TYPE_I32},
        {"heinrich_tiny", 3, "model.embed", 2, {8, 16, 1, 1}, LLRTI_TYPE_F32},
        {"jfk-codes", 1, "codes", 3, {828, 2, 1, 1}, LLRTI_TYPE_I64},
        {"tensor-1d-int32", 1, "embedding", 1, {3, 1, 1, 1}, LLRTI_TYPE_I32},
        {"tensor-2d-float64", 1, "embedding", 2, {3, 2, 1, 1}, LLRTI_TYPE_F64},
        {"tensor-3d-float32", 1, "embedding", 3, {3, 2, 2, 1}, LLRTI_TYPE_F32},
        {"tensor-4d-float32", 1, "embedding", 4, {3, 1, 3, 2}, LLRTI_TYPE_F32},
        {"voices", 2, "mask", 3, {33, 982, 1, 1}, LLRTI_TYPE_U8},
    };
    const char *folder = test_data_folder();
    if (!folder) skip();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char path[1024];
        llrti_mem mem;
        llrti_model_file *file;
        llrt_error err = LLRT_ERROR_INIT;
        llrti_mem_init(&mem, NULL);
        snprintf(path, sizeof path, "%s/conformance/safetensors_valid/%s.safetensors", folder,
                 cases[i].name);
        const llrti_model_file_options options = {.vocab_only = true}; /* no config.json there */
        if (llrti_model_file_open(&mem, path, &options, &file, &err) < 0) {
            fail_msg("%s: %s", path, err.text);
        }
        assert_int_equal(llrti_model_file_n_tensor(file), cases[i].n_tensor);
        const llrti_tensor *t = llrti_model_file_find_tensor(file, cases[i].tensor);
        assert_non_null(t);
        assert_int_equal(t->n_dim, cases[i].n_dim);
        assert_memory_equal(t->dim, cases[i].dim, sizeof t->dim);
        assert_int_equal(t->type, cases[i].type);
        llrti_model_file_close(file);
        assert_int_equal(atomic_load(&mem.total_live), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tensors_are_found_and_read),
        cmocka_unit_test(test_truncation_at_every_byte_is_an_error),
        cmocka_unit_test(test_mutations_never_crash_or_leak),
        cmocka_unit_test(test_malformed_headers_are_refused_by_name),
        cmocka_unit_test(test_absurd_header_lengths_are_refused),
        cmocka_unit_test(test_sharded_models_are_one),
        cmocka_unit_test(test_bad_indexes_are_refused_by_name),
        cmocka_unit_test(test_allocation_failures_are_errors),
        cmocka_unit_test(test_files_of_others_open),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
