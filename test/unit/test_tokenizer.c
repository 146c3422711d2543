/* SPDX-License-Identifier: MIT */
/*
 * The tokenizer's calls as such: arguments, buffers, options, failing allocations, threads'
 * worth of reuse, and that the work of encoding grows linearly with the text.
 */
#include "tokenizer_fixture.h"

#include "tokenizer_impl.h"

static gguf_writer writer;

static llrt_tokenizer *open_small(void)
{
    write_small_spm(&writer, &(small_options){.model = "llama"});
    end_gguf(&writer);
    return open_bytes(writer.data, writer.n);
}

static const char json_text[] =
    "{\"normalizer\":{\"type\":\"NFC\"},\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_"
    "space\":true},"
    "\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1,\"\xc4\xa0\":2,\"ab\":3,\"\xc4\xa0"
    "a\":4},"
    "\"merges\":[\"a b\",\"\xc4\xa0 "
    "a\"]},\"added_tokens\":[{\"id\":5,\"content\":\"<x>\",\"special\":true},"
    "{\"id\":6,\"content\":\"<y>\",\"special\":true,\"normalized\":true}]}";

static void test_arguments(void **state)
{
    llrt_tokenizer *const t = open_small(), *none;
    llrt_error err = LLRT_ERROR_INIT;
    int32_t id;
    char text[4];
    size_t n = 9;
    assert_int_equal(llrt_tokenizer_encode(NULL, "a", 1, 0, &id, 1, &n, &err), LLRT_ERR_ARGUMENT);
    assert_int_equal(n, 0);
    assert_int_equal(llrt_tokenizer_encode(t, NULL, 1, 0, &id, 1, &n, &err), LLRT_ERR_ARGUMENT);
    assert_int_equal(llrt_tokenizer_encode(t, "a", 1, 0, NULL, 1, &n, &err), LLRT_ERR_ARGUMENT);
    assert_int_equal(llrt_tokenizer_encode(t, "a", 1, 0, &id, 1, NULL, &err), LLRT_ERR_ARGUMENT);
    assert_int_equal(llrt_tokenizer_encode(t, "a", 1, 8, &id, 1, &n, &err), LLRT_ERR_ARGUMENT);
    assert_string_equal(err.field, "flags");
    if (sizeof(size_t) > 4)
        assert_int_equal(llrt_tokenizer_encode(t, "a", (size_t)1 << 31, 0, &id, 1, &n, &err),
                         LLRT_ERR_ARGUMENT);
    assert_int_equal(llrt_tokenizer_decode(t, &id, 1, 32, text, 4, &n, &err), LLRT_ERR_ARGUMENT);
    const int32_t bad[] = {TOKEN_A, -1};
    assert_int_equal(llrt_tokenizer_decode(t, bad, 2, 0, text, 4, &n, &err), LLRT_ERR_ARGUMENT);
    assert_int_equal(err.position, 1);
    assert_int_equal(llrt_tokenizer_open(NULL, NULL, &none, &err), LLRT_ERR_ARGUMENT);
    assert_int_equal(llrt_tokenizer_open("/nowhere/tokenizer.json", NULL, &none, &err),
                     LLRT_ERR_NOT_FOUND);
    assert_string_equal(err.file, "/nowhere/tokenizer.json");
    assert_int_equal(llrt_tokenizer_open_memory("", 0, NULL, &none, &err), LLRT_ERR_FORMAT);
    assert_null(none);
    assert_int_equal(llrt_tokenizer_n_vocab(NULL), 0);
    assert_int_equal(llrt_tokenizer_find(t, NULL, 0), LLRT_TOKEN_NONE);
    llrt_tokenizer_free(NULL);
    llrt_tokenizer_free(t);
}

static void test_small_buffers(void **state)
{
    llrt_tokenizer *const t = open_small();
    llrt_error err = LLRT_ERROR_INIT;
    int32_t ids[4] = {-7, -7, -7, -7};
    char text[4] = "....";
    size_t n;
    assert_int_equal(llrt_tokenizer_encode(t, "a ab b", 6, 0, NULL, 0, &n, &err), LLRT_ERR_BUFFER);
    assert_int_equal(n, 4);
    assert_int_equal(llrt_tokenizer_encode(t, "a ab b", 6, 0, ids, 3, &n, &err), LLRT_ERR_BUFFER);
    assert_int_equal(n, 4);
    assert_int_equal(ids[3], -7);
    assert_int_equal(llrt_tokenizer_encode(t, "a ab b", 6, 0, ids, 4, &n, &err), 0);
    assert_int_equal(llrt_tokenizer_decode(t, ids, 4, 0, text, 3, &n, &err), LLRT_ERR_BUFFER);
    assert_int_equal(n, 6);
    assert_int_equal(text[3], '.');
    llrt_tokenizer_free(t);
}

static void test_options(void **state)
{
    llrt_tokenizer *t;
    llrt_error err = LLRT_ERROR_INIT;
    struct {
        llrt_tokenizer_options options;
        uint64_t later;
    } longer;
    memset(&longer, 0, sizeof longer);
    llrt_tokenizer_options_init(&longer.options, sizeof longer);
    assert_int_equal(longer.options.struct_size, sizeof longer);
    assert_int_equal(
        llrt_tokenizer_open_memory(json_text, strlen(json_text), &longer.options, &t, &err), 0);
    llrt_tokenizer_free(t);
    longer.later = 1;
    assert_int_equal(
        llrt_tokenizer_open_memory(json_text, strlen(json_text), &longer.options, &t, &err),
        LLRT_ERR_VERSION);
    llrt_tokenizer_options_init(&longer.options, sizeof longer.options);
    longer.options.reserved = 1;
    assert_int_equal(
        llrt_tokenizer_open_memory(json_text, strlen(json_text), &longer.options, &t, &err),
        LLRT_ERR_ARGUMENT);
    longer.options.struct_size = 0;
    assert_int_equal(
        llrt_tokenizer_open_memory(json_text, strlen(json_text), &longer.options, &t, &err),
        LLRT_ERR_ARGUMENT);
}

/* Fails the 1st, 2nd, 3rd ... allocation of open, encode and a stream until all succeeds. */
static void sweep(const void *data, size_t n_data, const char *text, size_t n_text)
{
    bool is_done = false;
    for (size_t fail_at = 1; !is_done; fail_at++) {
        test_allocator counter = {.fail_at = fail_at};
        const llrt_allocator hooks = {test_alloc_hook, test_free_hook, &counter};
        llrt_tokenizer_options options;
        llrt_tokenizer *t;
        llrt_token_stream *stream;
        llrt_error err = LLRT_ERROR_INIT;
        size_t n;
        assert_in_range(fail_at, 1, 10000);
        llrt_tokenizer_options_init(&options, sizeof options);
        options.allocator = &hooks;
        llrt_status status = llrt_tokenizer_open_memory(data, n_data, &options, &t, &err);
        if (status == LLRT_OK) {
            int32_t *const ids = malloc((n_text + 16) * sizeof *ids);
            assert_non_null(ids);
            status = llrt_tokenizer_encode(t, text, n_text, 3, ids, n_text + 16, &n, &err);
            free(ids);
            if (status == LLRT_OK) {
                status = llrt_token_stream_create(t, 0, &stream, &err);
                if (status == LLRT_OK) llrt_token_stream_free(stream);
            }
            /* The cache of words is optional: without memory encoding succeeds. */
            is_done = status == LLRT_OK && counter.n_alloc < fail_at;
            llrt_tokenizer_free(t);
        } else {
            assert_null(t);
        }
        if (status != LLRT_OK) assert_int_equal(status, LLRT_ERR_NOMEM);
        if (status != LLRT_OK) assert_int_equal(err.status, LLRT_ERR_NOMEM);
        assert_int_equal(counter.n_live, 0);
    }
}

static void test_failing_allocations(void **state)
{
    static char text[40000];
    memset(text, 'a', sizeof text);
    memcpy(text, "e\xcc\x81 ab <x> <y> \xe2\x96\x81", 18);
    write_small_spm(&writer, &(small_options){.model = "llama"});
    end_gguf(&writer);
    sweep(writer.data, writer.n, text, sizeof text);
    sweep(writer.data, writer.n, "a ab", 4);
    sweep(json_text, strlen(json_text), text, sizeof text);
}

static void test_memory_is_counted_and_returned(void **state)
{
    test_allocator counter = {0};
    const llrt_allocator hooks = {test_alloc_hook, test_free_hook, &counter};
    llrt_tokenizer_options options;
    llrt_tokenizer_options_init(&options, sizeof options);
    options.allocator = &hooks;
    llrt_tokenizer *t;
    assert_int_equal(llrt_tokenizer_open_memory(json_text, strlen(json_text), &options, &t, NULL),
                     0);
    const size_t live = counter.n_live;
    for (int i = 0; i < 100; i++) CHECK_IDS(t, "ab<x>", LLRT_ENCODE_PARSE_SPECIAL, 2, 3, 5);
    assert_int_equal(counter.n_live, live);
    llrt_tokenizer_free(t);
    assert_int_equal(counter.n_live, 0);
}

static uint64_t count_work(const llrt_tokenizer *t, const char *unit, size_t n_text)
{
    char *const text = malloc(n_text);
    int32_t *const ids = malloc((n_text + 16) * sizeof *ids);
    uint64_t n_op = 0;
    llrti_id_sink sink = {ids, n_text + 16, 0};
    assert_non_null(text);
    assert_non_null(ids);
    for (size_t i = 0; i < n_text; i++) text[i] = unit[i % strlen(unit)];
    assert_int_equal(llrti_tokenizer_encode_counted(t, text, n_text, 3, &sink, &n_op, NULL), 0);
    free(text);
    free(ids);
    return n_op;
}

static void test_work_grows_linearly(void **state)
{
    static const char *const units[] = {"a",      "ab",           "<",    "<x",
                                        "a a b ", "\xe4\xb8\xad", "\xff", "\n "};
    llrt_tokenizer *const tokenizers[] = {open_small(), open_json_text(json_text)};
    for (size_t k = 0; k < 2; k++) {
        for (size_t i = 0; i < LLRTI_COUNT(units); i++) {
            /* Two per byte and level of the heap, and a few for matching and look-ups. */
            const size_t n = (size_t)1 << 19;
            const uint64_t n_op = count_work(tokenizers[k], units[i], n);
            if (n_op > (uint64_t)n * (2 * 19 + 8))
                fail_msg("unit %zu of tokenizer %zu: %llu", i, k, (unsigned long long)n_op);
        }
        llrt_tokenizer_free(tokenizers[k]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_arguments),
        cmocka_unit_test(test_small_buffers),
        cmocka_unit_test(test_options),
        cmocka_unit_test(test_failing_allocations),
        cmocka_unit_test(test_memory_is_counted_and_returned),
        cmocka_unit_test(test_work_grows_linearly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
