/* SPDX-License-Identifier: MIT */
/*
 * Models as a whole: folders and what lies in them, split GGUF files, sources that are no file
 * system and misbehave, mapping, fingerprints, closing early.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "gguf_writer.h"
#include "memory_files.h"
#include "model_file.h"
#include "source_impl.h"
#include "test_support.h"
#include "types.h"

#if !defined(_WIN32)
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#endif

static const char header[] = "{\"a\":{\"dtype\":\"I8\",\"shape\":[4],\"data_offsets\":[0,4]}}";

/* A safetensors file with that header in a static buffer. */
static const uint8_t *small_safetensors(size_t *n)
{
    static uint8_t data[8 + sizeof header - 1 + 4];
    *n = sizeof data;
    memset(data, 0, sizeof data);
    data[0] = sizeof header - 1;
    memcpy(data + 8, header, sizeof header - 1);
    memcpy(data + 8 + sizeof header - 1, "wxyz", 4);
    return data;
}

static uint8_t *small_gguf(uint16_t no, uint16_t count, int32_t total, const char *tensor,
                           size_t *n)
{
    gguf_writer w;
    const uint64_t dim[] = {4};
    gw_init(&w);
    gw_string(&w, "general.architecture", "llama");
    if (count) {
        gw_u16(&w, "split.no", no);
        gw_u16(&w, "split.count", count);
        gw_i32(&w, "split.tensors.count", total);
    }
    char values[17];
    snprintf(values, sizeof values, "%-16s", tensor);
    gw_tensor(&w, tensor, LLRTI_TYPE_F32, 1, dim, values, 16);
    return gw_finish(&w, n);
}

static void test_folders_need_a_config_and_weights(void **state)
{
    llrti_mem mem;
    test_heap heap;
    llrt_source source;
    memory_files files;
    llrti_model_file *file;
    llrt_error err = LLRT_ERROR_INIT;
    size_t n;
    test_mem_init(&mem, &heap);
    memory_files_init(&files, &source);
    llrti_model_file_options options = {.source = &source};
    assert_int_equal(llrti_model_file_open(&mem, "m", &options, &file, &err), LLRT_ERR_NOT_FOUND);
    assert_string_equal(err.file, "m");
    options.vocab_only = true;
    assert_int_equal(llrti_model_file_open(&mem, "m", &options, &file, &err), LLRT_ERR_NOT_FOUND);
    memory_files_add_text(&files, "m/tokenizer_config.json", "{\"x\":1}");
    memory_files_add_text(&files, "m/tokenizer.json", "the tokenizer");
    assert_int_equal(llrti_model_file_open(&mem, "m", &options, &file, &err), LLRT_OK);
    assert_non_null(llrti_model_file_json(file, "tokenizer_config.json"));
    char *text;
    assert_int_equal(llrti_model_file_read_side(file, &mem, "tokenizer.json", &text, &n, &err),
                     LLRT_OK);
    assert_int_equal(n, 13);
    assert_string_equal(text, "the tokenizer");
    llrti_free(&mem, text);
    assert_int_equal(llrti_model_file_read_side(file, &mem, "vocab.txt", &text, &n, &err),
                     LLRT_ERR_NOT_FOUND);
    assert_null(text);
    assert_string_equal(err.file, "m/vocab.txt");
    llrti_model_file_close(file);
    options.vocab_only = false;
    const uint8_t *data = small_safetensors(&n);
    memory_files_add(&files, "m/model.safetensors", data, n);
    assert_int_equal(llrti_model_file_open(&mem, "m", &options, &file, &err), LLRT_ERR_NOT_FOUND);
    memory_files_add_text(&files, "m/config.json", "{\"a\":}");
    assert_int_equal(llrti_model_file_open(&mem, "m", &options, &file, &err), LLRT_ERR_FORMAT);
    assert_string_equal(err.file, "m/config.json");
    files.file[files.n_file - 1].data = "{}";
    files.file[files.n_file - 1].n = 2;
    assert_int_equal(llrti_model_file_open(&mem, "m", &options, &file, &err), LLRT_OK);
    assert_int_equal(llrti_model_file_n_tensor(file), 1);
    llrti_model_file_close(file);
    /* Who only looks gets the directory of what is there. */
    options.vocab_only = true;
    for (int is_inspecting = 0; is_inspecting < 2; is_inspecting++) {
        options.is_inspecting = is_inspecting;
        assert_int_equal(llrti_model_file_open(&mem, "m", &options, &file, &err), LLRT_OK);
        assert_int_equal(llrti_model_file_n_tensor(file), is_inspecting);
        llrti_model_file_close(file);
    }
    options.vocab_only = options.is_inspecting = false;
    files.file[2].name = "m/other";
    assert_int_equal(llrti_model_file_open(&mem, "m", &options, &file, &err), LLRT_ERR_NOT_FOUND);
    assert_int_equal(heap.n_live, 0);
    assert_int_equal(files.n_open, 0);
}

static void test_bad_paths(void **state)
{
    llrti_mem mem;
    test_heap heap;
    llrti_model_file *file;
    llrt_error err = LLRT_ERROR_INIT;
    test_mem_init(&mem, &heap);
    assert_int_equal(llrti_model_file_open(&mem, NULL, NULL, &file, &err), LLRT_ERR_ARGUMENT);
    assert_string_equal(err.field, "path");
    assert_int_equal(llrti_model_file_open(&mem, "", NULL, &file, &err), LLRT_ERR_NOT_FOUND);
    assert_int_equal(llrti_model_file_open(&mem, "no/such/model.gguf", NULL, &file, &err),
                     LLRT_ERR_NOT_FOUND);
    assert_string_equal(err.file, "no/such/model.gguf");
    assert_int_equal(llrti_model_file_open(&mem, ".", NULL, &file, &err), LLRT_ERR_NOT_FOUND);
    assert_string_equal(err.file, "./config.json");
    char longest[6000];
    memset(longest, 'p', sizeof longest - 1);
    longest[sizeof longest - 1] = 0;
    assert_int_equal(llrti_model_file_open(&mem, longest, NULL, &file, &err), LLRT_ERR_ARGUMENT);
    longest[4090] = 0; /* fits alone, but not with "/config.json" */
    assert_true(llrti_model_file_open(&mem, longest, NULL, &file, &err) < 0);
    assert_int_equal(heap.n_live, 0);
}

typedef struct split_model {
    memory_files files;
    llrt_source source;
    uint8_t *part[3];
} split_model;

static void make_split(split_model *s)
{
    size_t n[3];
    memory_files_init(&s->files, &s->source);
    s->part[0] = small_gguf(0, 3, 3, "first", &n[0]);
    s->part[1] = small_gguf(1, 3, 3, "second", &n[1]);
    s->part[2] = small_gguf(2, 3, 3, "third", &n[2]);
    memory_files_add(&s->files, "d/m-00001-of-00003.gguf", s->part[0], n[0]);
    memory_files_add(&s->files, "d/m-00002-of-00003.gguf", s->part[1], n[1]);
    memory_files_add(&s->files, "d/m-00003-of-00003.gguf", s->part[2], n[2]);
}

static llrt_status open_split(split_model *s, const char *path, bool vocab_only,
                              llrti_model_file **out, llrti_mem *mem, llrt_error *err)
{
    const llrt_error fresh = LLRT_ERROR_INIT;
    *err = fresh;
    const llrti_model_file_options options = {
        .source = &s->source, .vocab_only = vocab_only, .is_inspecting = vocab_only};
    return llrti_model_file_open(mem, path, &options, out, err);
}

static void test_split_files_are_one_model(void **state)
{
    split_model s;
    llrti_mem mem;
    test_heap heap;
    llrti_model_file *file;
    llrt_error err;
    char text[16];
    const char *first = "d/m-00001-of-00003.gguf";
    test_mem_init(&mem, &heap);
    make_split(&s);
    if (open_split(&s, first, false, &file, &mem, &err) < 0) fail_msg("%s", err.text);
    assert_int_equal(llrti_model_file_n_tensor(file), 3);
    assert_int_equal(llrti_model_file_n_meta(file), 4); /* the first file's */
    char *side;
    size_t n_side;
    assert_int_equal(llrti_model_file_read_side(file, &mem, "tokenizer.json", &side, &n_side, &err),
                     LLRT_ERR_NOT_FOUND);
    const llrti_tensor *third = llrti_model_file_find_tensor(file, "third");
    assert_int_equal(third->file, 2);
    assert_int_equal(llrti_model_file_read(file, third, 0, text, 5, &err), LLRT_OK);
    assert_memory_equal(text, "third", 5);
    llrti_model_file_close(file);
    /* a vocabulary needs the first file alone, and who only looks sees what is there */
    for (s.files.n_file = 1; s.files.n_file <= 3; s.files.n_file++) {
        assert_int_equal(open_split(&s, first, true, &file, &mem, &err), LLRT_OK);
        assert_int_equal(llrti_model_file_n_tensor(file), s.files.n_file);
        llrti_model_file_close(file);
    }
    s.files.n_file = 3;
    assert_int_equal(open_split(&s, "d/m-00002-of-00003.gguf", true, &file, &mem, &err), LLRT_OK);
    assert_int_equal(llrti_model_file_n_tensor(file), 1);
    llrti_model_file_close(file);
    s.files.n_file = 1;
    assert_int_equal(open_split(&s, first, false, &file, &mem, &err), LLRT_ERR_NOT_FOUND);
    assert_string_equal(err.file, "d/m-00002-of-00003.gguf");
    s.files.n_file = 3;
    assert_int_equal(open_split(&s, "d/m-00002-of-00003.gguf", false, &file, &mem, &err),
                     LLRT_ERR_ARGUMENT);
    assert_string_equal(err.field, "split.no");
    /* parts in the wrong order, with other counts, with a tensor twice, with one missing */
    const memory_file good[3] = {s.files.file[0], s.files.file[1], s.files.file[2]};
    s.files.file[1].data = good[2].data;
    s.files.file[1].n = good[2].n;
    assert_int_equal(open_split(&s, first, false, &file, &mem, &err), LLRT_ERR_FORMAT);
    assert_string_equal(err.file, "d/m-00002-of-00003.gguf");
    assert_string_equal(err.field, "split.no");
    assert_non_null(strstr(err.text, "found split 2 of 3, expected split 1 of 3"));
    size_t n;
    uint8_t *other = small_gguf(1, 4, 3, "second", &n);
    s.files.file[1].data = other;
    s.files.file[1].n = n;
    assert_int_equal(open_split(&s, first, false, &file, &mem, &err), LLRT_ERR_FORMAT);
    free(other);
    other = small_gguf(1, 3, 3, "first", &n);
    s.files.file[1].data = other;
    s.files.file[1].n = n;
    assert_int_equal(open_split(&s, first, false, &file, &mem, &err), LLRT_ERR_FORMAT);
    assert_string_equal(err.file, "d/m-00002-of-00003.gguf");
    assert_string_equal(err.field, "first");
    free(other);
    s.files.file[1] = good[1];
    other = small_gguf(0, 3, 4, "first", &n);
    s.files.file[0].data = other;
    s.files.file[0].n = n;
    assert_int_equal(open_split(&s, first, false, &file, &mem, &err), LLRT_ERR_FORMAT);
    assert_string_equal(err.field, "split.tensors.count");
    free(other);
    for (int i = 0; i < 3; i++) free(s.part[i]);
    assert_int_equal(heap.n_live, 0);
    assert_int_equal(s.files.n_open, 0);
}

static void test_split_open_survives_allocation_failures(void **state)
{
    split_model s;
    make_split(&s);
    llrt_status status = LLRT_ERR_NOMEM;
    for (size_t fail_at = 1; status != LLRT_OK; fail_at++) {
        llrti_mem mem;
        test_heap heap;
        llrti_model_file *file;
        llrt_error err;
        test_mem_init(&mem, &heap);
        heap.fail_at = fail_at;
        status = open_split(&s, "d/m-00001-of-00003.gguf", false, &file, &mem, &err);
        if (status < 0) assert_int_equal(status, LLRT_ERR_NOMEM);
        llrti_model_file_close(file);
        assert_int_equal(heap.n_live, 0);
        assert_int_equal(s.files.n_open, 0);
    }
    for (int i = 0; i < 3; i++) free(s.part[i]);
}

static void test_failing_sources_give_errors(void **state)
{
    llrti_mem mem;
    test_heap heap;
    llrt_source source;
    memory_files files;
    llrti_model_file *file;
    size_t n;
    uint8_t *data = small_gguf(0, 0, 0, "t", &n);
    test_mem_init(&mem, &heap);
    const llrt_status statuses[] = {LLRT_ERR_IO, LLRT_ERR_CANCELLED, 5};
    for (int i = 0; i < 3; i++) {
        llrt_status status = LLRT_ERR_IO;
        for (int fail_read = 1; status != LLRT_OK; fail_read++) {
            llrt_error err = LLRT_ERROR_INIT;
            memory_files_init(&files, &source);
            memory_files_add(&files, "m.gguf", data, n);
            files.fail_read = fail_read;
            files.fail_status = statuses[i];
            const llrti_model_file_options options = {.source = &source};
            status = llrti_model_file_open(&mem, "m.gguf", &options, &file, &err);
            if (status != LLRT_OK) {
                assert_int_equal(status, i == 2 ? LLRT_ERR_IO : statuses[i]);
                assert_int_equal(err.status, status);
                assert_non_null(strstr(err.text, "read_at callback returned"));
                assert_string_equal(err.file, "m.gguf");
            }
            llrti_model_file_close(file);
            assert_int_equal(files.n_open, 0);
        }
    }
    llrt_error err = LLRT_ERROR_INIT;
    const llrti_model_file_options options = {.source = &source};
    files.open_status = LLRT_ERR_DEVICE;
    assert_int_equal(llrti_model_file_open(&mem, "m.gguf", &options, &file, &err), LLRT_ERR_DEVICE);
    assert_non_null(strstr(err.text, "open callback returned -14 (LLRT_ERR_DEVICE)"));
    assert_int_equal(heap.n_live, 0);
    free(data);
}

static void test_incomplete_sources_are_refused(void **state)
{
    llrti_mem mem;
    llrt_source source, copy;
    llrt_error err = LLRT_ERROR_INIT;
    memory_files files;
    llrti_mem_init(&mem, NULL);
    llrt_source_init(&source, sizeof source);
    assert_int_equal(source.struct_size, sizeof source);
    assert_int_equal(llrti_source_copy(&copy, &source, &mem, &err), LLRT_ERR_ARGUMENT);
    memory_files_init(&files, &source);
    assert_int_equal(llrti_source_copy(&copy, &source, &mem, &err), LLRT_OK);
    source.close = NULL;
    assert_int_equal(llrti_source_copy(&copy, &source, &mem, &err), LLRT_ERR_ARGUMENT);
    assert_non_null(strstr(err.text, "close"));
    memory_files_init(&files, &source);
    source.struct_size = 0;
    assert_int_equal(llrti_source_copy(&copy, &source, &mem, &err), LLRT_ERR_ARGUMENT);
    assert_string_equal(err.field, "source.struct_size");
    source.struct_size = offsetof(llrt_source, map); /* an older caller */
    source.map = (const void *(*)(void *, void *))(uintptr_t)1;
    assert_int_equal(llrti_source_copy(&copy, &source, &mem, &err), LLRT_OK);
    assert_null(copy.map);
    struct {
        llrt_source source;
        char later[16];
    } newer;
    memset(&newer, 0, sizeof newer);
    memory_files_init(&files, &newer.source);
    newer.source.struct_size = sizeof newer;
    assert_int_equal(llrti_source_copy(&copy, &newer.source, &mem, &err), LLRT_OK);
    newer.later[3] = 1;
    assert_int_equal(llrti_source_copy(&copy, &newer.source, &mem, &err), LLRT_ERR_VERSION);
}

static llrt_status fingerprint_of(const char *name, const void *data, size_t n, uint8_t out[16])
{
    llrti_mem mem;
    llrt_source source;
    llrti_model_file *file;
    const llrt_blob blob = {data, n};
    llrti_mem_init(&mem, NULL);
    llrt_source_init_memory(&source, sizeof source, &blob);
    const llrti_model_file_options options = {.source = &source};
    assert_int_equal(llrti_model_file_open(&mem, name, &options, &file, NULL), LLRT_OK);
    const llrt_status status = llrti_model_file_fingerprint(file, out, NULL);
    uint8_t later[16];
    llrti_model_file_release(file);
    llrti_model_file_release(file);
    assert_int_equal(llrti_model_file_fingerprint(file, later, NULL), LLRT_OK);
    assert_memory_equal(out, later, 16);
    llrt_error err = LLRT_ERROR_INIT;
    char byte;
    const llrti_tensor *tensor = llrti_model_file_tensor(file, 0);
    assert_int_equal(llrti_model_file_read(file, tensor, 0, &byte, 1, &err), LLRT_ERR_STATE);
    llrti_model_file_close(file);
    return status;
}

static void test_fingerprints_tell_models_apart(void **state)
{
    size_t n;
    uint8_t *data = small_gguf(0, 0, 0, "tensor", &n);
    uint8_t first[16], other[16];
    assert_int_equal(fingerprint_of("a.gguf", data, n, first), LLRT_OK);
    assert_int_equal(fingerprint_of("b.gguf", data, n, other), LLRT_OK);
    assert_memory_equal(first, other, 16); /* the name does not matter */
    data[n - 1] ^= 1;                      /* a weight */
    assert_int_equal(fingerprint_of("a.gguf", data, n, other), LLRT_OK);
    assert_memory_not_equal(first, other, 16);
    data[n - 1] ^= 1;
    data[24 + 8 + 20 + 4 + 8] ^= 1; /* a letter of the architecture */
    assert_int_equal(fingerprint_of("a.gguf", data, n, other), LLRT_OK);
    assert_memory_not_equal(first, other, 16);
    free(data);
}

#if !defined(_WIN32)
static void test_disk_folder_and_mapping(void **state)
{
    llrti_mem mem;
    test_heap heap;
    llrti_model_file *file;
    llrt_error err = LLRT_ERROR_INIT;
    size_t n;
    const void *map;
    test_mem_init(&mem, &heap);
    mkdir("test_model_folder", 0700);
    const uint8_t *data = small_safetensors(&n);
    assert_int_equal(test_write_file("test_model_folder/model.safetensors", data, n), 0);
    assert_int_equal(test_write_file("test_model_folder/config.json", "{\"a\":1}", 7), 0);
    const char *const paths[] = {"test_model_folder", "test_model_folder//",
                                 "test_model_folder/model.safetensors"};
    for (int i = 0; i < 3; i++) {
        if (llrti_model_file_open(&mem, paths[i], NULL, &file, &err) < 0) fail_msg("%s", err.text);
        const llrti_tensor *a = llrti_model_file_find_tensor(file, "a");
        assert_int_equal(llrti_model_file_map(file, a, &map, &err), LLRT_OK);
        assert_memory_equal(map, "wxyz", 4);
        assert_int_equal(
            llrti_json_int(llrti_json_get(llrti_model_file_json(file, "config.json"), "a"), 0), 1);
        llrti_model_file_close(file);
    }
    assert_int_equal(heap.n_live, 0);
    remove("test_model_folder/model.safetensors");
    remove("test_model_folder/config.json");
    rmdir("test_model_folder");
}

static void test_descriptor_source(void **state)
{
    llrti_mem mem;
    llrt_source source;
    llrti_model_file *file;
    llrt_error err = LLRT_ERROR_INIT;
    size_t n;
    char text[4];
    uint8_t *data = small_gguf(0, 0, 0, "t", &n);
    llrti_mem_init(&mem, NULL);
    assert_int_equal(test_write_file("test_fd.gguf", data, n), 0);
    const int fd = open("test_fd.gguf", O_RDONLY);
    llrt_source_init_fd(&source, sizeof source, fd);
    const llrti_model_file_options options = {.source = &source};
    assert_int_equal(llrti_model_file_open(&mem, "named.gguf", &options, &file, &err), LLRT_OK);
    assert_int_equal(
        llrti_model_file_read(file, llrti_model_file_tensor(file, 0), 0, text, 1, &err), LLRT_OK);
    assert_int_equal(text[0], 't');
    llrti_model_file_close(file);
    assert_int_equal(lseek(fd, 0, SEEK_CUR), 0);
    close(fd);
    assert_int_equal(llrti_model_file_open(&mem, "named.gguf", &options, &file, &err), LLRT_ERR_IO);
    assert_string_equal(err.file, "named.gguf");
    remove("test_fd.gguf");
    free(data);
}
#endif

static void test_models_of_others_open(void **state)
{
    static const struct {
        const char *path;
        uint32_t n_tensor;
        llrti_file_kind kind;
    } cases[] = {
        {"models/stories260K/stories260Ktok512.gguf", 48, LLRTI_FILE_GGUF},
        {"models/llama-2-tiny-random/llama-2-tiny-random.gguf", 12, LLRTI_FILE_GGUF},
        {"numeric/architectures/llama", 22, LLRTI_FILE_SAFETENSORS},
        {"numeric/architectures/llama_sharded", 22, LLRTI_FILE_SAFETENSORS},
        {"numeric/architectures/gpt2", 30, LLRTI_FILE_SAFETENSORS},
        {"numeric/architectures/gpt_oss_mxfp4", 41, LLRTI_FILE_SAFETENSORS},
    };
    const char *folder = test_data_folder();
    if (!folder) skip();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char path[1024];
        llrti_mem mem;
        test_heap heap;
        llrti_model_file *file;
        llrt_error err = LLRT_ERROR_INIT;
        uint8_t fingerprint[16];
        test_mem_init(&mem, &heap);
        snprintf(path, sizeof path, "%s/%s", folder, cases[i].path);
        if (llrti_model_file_open(&mem, path, NULL, &file, &err) < 0)
            fail_msg("%s: %s", path, err.text);
        assert_int_equal(llrti_model_file_kind(file), cases[i].kind);
        assert_int_equal(llrti_model_file_n_tensor(file), cases[i].n_tensor);
        assert_int_equal(llrti_model_file_fingerprint(file, fingerprint, &err), LLRT_OK);
        llrti_model_file_close(file);
        assert_int_equal(heap.n_live, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_folders_need_a_config_and_weights),
        cmocka_unit_test(test_bad_paths),
        cmocka_unit_test(test_split_files_are_one_model),
        cmocka_unit_test(test_split_open_survives_allocation_failures),
        cmocka_unit_test(test_failing_sources_give_errors),
        cmocka_unit_test(test_incomplete_sources_are_refused),
        cmocka_unit_test(test_fingerprints_tell_models_apart),
#if !defined(_WIN32)
        cmocka_unit_test(test_disk_folder_and_mapping),
        cmocka_unit_test(test_descriptor_source),
#endif
        cmocka_unit_test(test_models_of_others_open),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
