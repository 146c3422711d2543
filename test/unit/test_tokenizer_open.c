/* SPDX-License-Identifier: MIT */
/*
 * The ways to open a tokenizer: a tokenizer.json, a folder and a GGUF, from callbacks and from
 * the file system, and what the other files of a folder contribute.
 */
#include "tokenizer_fixture.h"

static const char tokenizer_json[] =
    "{\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false},\"model\":{\"vocab\":"
    "{\"a\":0,\"b\":1,\"ab\":2},\"merges\":[\"a b\"]},\"added_tokens\":["
    "{\"id\":3,\"content\":\"<s>\",\"special\":true},{\"id\":4,\"content\":\"<stop>\",\"special\":"
    "true},"
    "{\"id\":5,\"content\":\"</s>\",\"special\":true}]}";

typedef struct part {
    const char *name;
    const void *data;
    size_t n;
} part;

typedef struct archive {
    const part *parts;
    size_t n_part;
    int n_open; /* files opened and not yet closed */
    llrt_status read_status;
} archive;

static llrt_status open_part(void *ctx, const char *name, void **file, uint64_t *size,
                             llrt_error *err)
{
    archive *const a = ctx;
    for (size_t i = 0; i < a->n_part; i++) {
        if (strcmp(a->parts[i].name, name) != 0) continue;
        *file = (void *)(uintptr_t)&a->parts[i];
        *size = a->parts[i].n;
        a->n_open++;
        return LLRT_OK;
    }
    return LLRT_ERR_NOT_FOUND;
}

static archive *reading;

static llrt_status read_part(void *ctx, void *file, uint64_t offset, void *to, size_t n,
                             llrt_error *err)
{
    const part *const p = file;
    assert_true(offset + n <= p->n);
    memcpy(to, (const char *)p->data + offset, n);
    return reading->read_status;
}

static void close_part(void *ctx, void *file)
{
    ((archive *)ctx)->n_open--;
}

static llrt_status open_from(archive *a, const char *path, llrt_tokenizer **out, llrt_error *err)
{
    llrt_source source;
    llrt_tokenizer_options options;
    llrt_source_init(&source, sizeof source);
    source.ctx = a;
    source.open = open_part;
    source.read_at = read_part;
    source.close = close_part;
    llrt_tokenizer_options_init(&options, sizeof options);
    options.source = &source;
    reading = a;
    const llrt_status status = llrt_tokenizer_open(path, &options, out, err);
    assert_int_equal(a->n_open, 0);
    return status;
}

#define TEXT(name, text)                                                                           \
    {                                                                                              \
        name, text, sizeof(text) - 1                                                               \
    }

static void test_json_file(void **state)
{
    static const part parts[] = {TEXT("m/tokenizer.json", tokenizer_json)};
    archive a = {parts, 1, 0, LLRT_OK};
    llrt_tokenizer *t;
    llrt_error err = LLRT_ERROR_INIT;
    assert_int_equal(open_from(&a, "m/tokenizer.json", &t, &err), LLRT_OK);
    assert_int_equal(llrt_tokenizer_n_vocab(t), 6);
    CHECK_IDS(t, "abb", 0, 2, 1);
    assert_int_equal(llrt_tokenizer_special(t, LLRT_SPECIAL_BOS), 3); /* by their usual names */
    assert_int_equal(llrt_tokenizer_special(t, LLRT_SPECIAL_EOS), 5);
    llrt_tokenizer_free(t);
    assert_int_equal(open_from(&a, "m/other.json", &t, &err), LLRT_ERR_NOT_FOUND);
    assert_null(t);
    assert_string_equal(err.file, "m/other.json");
    err = (llrt_error)LLRT_ERROR_INIT;
    a.read_status = LLRT_ERR_IO;
    assert_int_equal(open_from(&a, "m/tokenizer.json", &t, &err), LLRT_ERR_IO);
    assert_string_equal(err.file, "m/tokenizer.json");
}

static void test_folder(void **state)
{
    static const part parts[] = {
        TEXT("m/tokenizer.json", tokenizer_json),
        TEXT("m/config.json", "{\"vocab_size\":8,\"eos_token_id\":5}"),
        TEXT("m/generation_config.json", "{\"eos_token_id\":[4,5,900]}"),
        TEXT("m/tokenizer_config.json",
             "{\"eos_token\":{\"content\":\"<stop>\"},\"pad_token\":\"</s>\"}"),
    };
    archive a = {parts, 4, 0, LLRT_OK};
    llrt_tokenizer *t;
    llrt_error err = LLRT_ERROR_INIT;
    assert_int_equal(open_from(&a, "m", &t, &err), LLRT_OK);
    assert_int_equal(llrt_tokenizer_n_vocab(t), 8); /* as many as the model has rows */
    assert_int_equal(llrt_tokenizer_special(t, LLRT_SPECIAL_EOS), 4);
    assert_int_equal(llrt_tokenizer_special(t, LLRT_SPECIAL_PAD), 5);
    assert_true(llrt_tokenizer_is_end(t, 4));
    assert_true(llrt_tokenizer_is_end(t, 5));
    assert_false(llrt_tokenizer_is_end(t, 7));
    CHECK_TEXT(t, LLRT_DECODE_SPECIAL, "ab<stop>", 2, 4, 7);
    llrt_tokenizer_free(t);
}

static void test_folder_without_tokenizer(void **state)
{
    static const part parts[] = {TEXT("m/config.json", "{}"), TEXT("n/config.json", "{}"),
                                 TEXT("n/tokenizer.json", "{\"model\":{\"type\":\"WordPiece\"}}")};
    archive a = {parts, 3, 0, LLRT_OK};
    llrt_tokenizer *t;
    llrt_error err = LLRT_ERROR_INIT;
    assert_int_equal(open_from(&a, "m", &t, &err), LLRT_ERR_NOT_FOUND);
    assert_int_equal(open_from(&a, "n", &t, &err), LLRT_ERR_UNSUPPORTED);
    assert_string_equal(err.file, "n/tokenizer.json");
    assert_string_equal(err.text, "found \"WordPiece\", known is BPE");
}

static gguf_writer writer;

static void test_gguf(void **state)
{
    write_small_spm(&writer, &(small_options){.model = "llama"});
    end_gguf(&writer);
    const part parts[] = {{"v.gguf", writer.data, writer.n},
                          {"half.gguf", writer.data, writer.n / 2}};
    archive a = {parts, 2, 0, LLRT_OK};
    llrt_tokenizer *t;
    llrt_error err = LLRT_ERROR_INIT;
    assert_int_equal(open_from(&a, "v.gguf", &t, &err), LLRT_OK);
    assert_int_equal(llrt_tokenizer_n_vocab(t), N_SMALL);
    llrt_tokenizer_free(t);
    assert_int_equal(open_from(&a, "half.gguf", &t, &err), LLRT_ERR_FORMAT);
    assert_string_equal(err.file, "half.gguf");
}

static void test_file_system(void **state)
{
    static const char name[] = "test_tokenizer_open.tmp.json";
    FILE *const file = fopen(name, "wb");
    llrt_tokenizer *t;
    llrt_error err = LLRT_ERROR_INIT;
    assert_non_null(file);
    assert_int_equal(fwrite(tokenizer_json, 1, sizeof tokenizer_json - 1, file),
                     sizeof tokenizer_json - 1);
    fclose(file);
    const llrt_status status = llrt_tokenizer_open(name, NULL, &t, &err);
    remove(name);
    assert_int_equal(status, LLRT_OK);
    CHECK_IDS(t, "ab", 0, 2);
    llrt_tokenizer_free(t);
}

static void test_source_without_callbacks(void **state)
{
    llrt_source source;
    llrt_tokenizer_options options;
    llrt_tokenizer *t;
    llrt_source_init(&source, sizeof source);
    llrt_tokenizer_options_init(&options, sizeof options);
    options.source = &source;
    assert_int_equal(llrt_tokenizer_open("x.json", &options, &t, NULL), LLRT_ERR_ARGUMENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_json_file),
        cmocka_unit_test(test_folder),
        cmocka_unit_test(test_folder_without_tokenizer),
        cmocka_unit_test(test_gguf),
        cmocka_unit_test(test_file_system),
        cmocka_unit_test(test_source_without_callbacks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
