/* SPDX-License-Identifier: MIT */
/*
 * Token ids against vectors that others made with the original tokenizers, on the full
 * vocabularies of the data folder: llama.cpp's 46 cases for four families, transformers.js,
 * swift-transformers' multilingual baselines, neural-api's small tokenizers, ML.NET's long text;
 * the demo model, whose two forms must agree; and text of every script there and back again.
 * Without LLRT_TEST_DATA all of it is skipped by name.
 */
#include "tokenizer_fixture.h"

#include "json.h"

#define SPM "tokenizers/ggml-vocab/ggml-vocab-llama-spm.gguf"
#define GPT2 "tokenizers/ggml-vocab/ggml-vocab-gpt-2.gguf"
#define LLAMA3 "tokenizers/gguf/llama-3.gguf"
#define QWEN2 "tokenizers/gguf/qwen-2.5.gguf"

static const char *data_path(char *out, size_t n, const char *name)
{
    const char *const folder = getenv("LLRT_TEST_DATA");
    if (!folder) return NULL;
    snprintf(out, n, "%s/%s", folder, name);
    return out;
}

/* The bytes of a file with a NUL added, or NULL. */
static char *read_data(const char *name, size_t *n)
{
    char path[1024];
    FILE *const file = data_path(path, sizeof path, name) ? fopen(path, "rb") : NULL;
    if (!file) return NULL;
    fseek(file, 0, SEEK_END);
    const long size = ftell(file);
    fseek(file, 0, SEEK_SET);
    char *const text = malloc((size_t)size + 1);
    assert_non_null(text);
    *n = fread(text, 1, (size_t)size, file);
    text[*n] = 0;
    fclose(file);
    return text;
}

static void need(const char *name)
{
    char path[1024];
    FILE *const file = data_path(path, sizeof path, name) ? fopen(path, "rb") : NULL;
    if (!file) {
        print_message("skipped: %s is not in LLRT_TEST_DATA\n", name);
        skip();
    }
    fclose(file);
}

static llrt_tokenizer *open_data(const char *name)
{
    char path[1024];
    llrt_tokenizer *t = NULL;
    llrt_error err = LLRT_ERROR_INIT;
    if (llrt_tokenizer_open(data_path(path, sizeof path, name), NULL, &t, &err) < 0)
        fail_msg("%s: %s: %s", name, err.field, err.text);
    return t;
}

typedef struct ids {
    int32_t *id;
    size_t n;
} ids;

static ids encode(const llrt_tokenizer *t, const char *text, size_t n, llrt_encode_flags flags)
{
    ids out = {malloc((2 * n + 16) * sizeof(int32_t)), 0};
    assert_non_null(out.id);
    assert_int_equal(llrt_tokenizer_encode(t, text, n, flags, out.id, 2 * n + 16, &out.n, NULL), 0);
    return out;
}

static bool decodes_to(const llrt_tokenizer *t, ids in, const char *text, size_t n)
{
    size_t n_out = 0;
    char *const out = malloc(n + 1);
    assert_non_null(out);
    const llrt_status status = llrt_tokenizer_decode(t, in.id, in.n, 0, out, n, &n_out, NULL);
    const bool is_equal = status == LLRT_OK && n_out == n && memcmp(out, text, n) == 0;
    free(out);
    return is_equal;
}

/* llama.cpp's cases: texts between marker lines, ids one line each. */
static void check_ggml(const char *model, const char *vectors)
{
    static const char marker[] = "\n__ggml_vocab_test__\n";
    char name[128];
    size_t n_in, n_out, n_case = 0;
    need(model);
    llrt_tokenizer *const t = open_data(model);
    snprintf(name, sizeof name, "tokenizers/ggml-vocab/ggml-vocab-%s.gguf.inp", vectors);
    char *const in = read_data(name, &n_in);
    snprintf(name, sizeof name, "tokenizers/ggml-vocab/ggml-vocab-%s.gguf.out", vectors);
    char *const out = read_data(name, &n_out);
    assert_non_null(in);
    assert_non_null(out);
    char *text = in, *line = out;
    for (char *end; (end = strstr(text, marker)) != NULL; text = end + strlen(marker), n_case++) {
        const size_t n = (size_t)(end - text);
        const ids got = encode(t, text, n, 0);
        for (size_t i = 0; i < got.n; i++) assert_int_equal(got.id[i], strtol(line, &line, 10));
        assert_int_equal(*line, '\n'); /* no id is left over */
        line++;
        if (!decodes_to(t, got, text, n)) fail_msg("case %zu does not decode to itself", n_case);
        free(got.id);
    }
    assert_int_equal(n_case, 46);
    free(in);
    free(out);
    llrt_tokenizer_free(t);
}

static void test_ggml_vectors(void **state)
{
    check_ggml(SPM, "llama-spm");
    check_ggml(LLAMA3, "llama-bpe");
    check_ggml(QWEN2, "qwen2");
    check_ggml(GPT2, "gpt-2");
}

typedef struct vectors {
    llrti_mem mem;
    llrti_json_doc *doc;
    char *text;
} vectors;

static const llrti_json *open_vectors(vectors *v, const char *name)
{
    size_t n;
    llrt_error err = LLRT_ERROR_INIT;
    llrti_mem_init(&v->mem, NULL);
    v->text = read_data(name, &n);
    assert_non_null(v->text);
    if (llrti_json_parse(&v->mem, v->text, n, &v->doc, &err) < 0)
        fail_msg("%s: %s", name, err.text);
    return llrti_json_root(v->doc);
}

static void close_vectors(vectors *v)
{
    llrti_json_free(v->doc);
    free(v->text);
}

/* True when the ids of `text` are those listed; says so when not. */
static bool has_ids(const llrt_tokenizer *t, const llrti_json *text, const llrti_json *listed,
                    llrt_encode_flags flags)
{
    const ids got = encode(t, text->value.s, text->n, flags);
    bool is_equal = got.n == listed->n;
    for (size_t i = 0; is_equal && i < got.n; i++)
        is_equal = got.id[i] == llrti_json_int(&listed->value.first[i], -1);
    if (!is_equal) print_message("differs: %s\n", text->value.s);
    free(got.id);
    return is_equal;
}

static void check_transformers_js(const char *model, const char *file, const char *key,
                                  llrt_encode_flags flags, size_t n_expected, size_t n_but)
{
    char name[128];
    vectors v;
    need(model);
    llrt_tokenizer *const t = open_data(model);
    snprintf(name, sizeof name, "tokenizers/vectors/transformers_js/%s.json", file);
    const llrti_json *const cases = llrti_json_get(open_vectors(&v, name), key);
    size_t n_equal = 0;
    assert_non_null(cases);
    for (uint32_t i = 0; i < cases->n; i++)
        n_equal += has_ids(t, llrti_json_get(&cases->value.first[i], "text"),
                           llrti_json_get(&cases->value.first[i], "ids"), flags);
    assert_int_equal(cases->n, n_expected);
    assert_int_equal(n_equal, n_expected - n_but);
    close_vectors(&v);
    llrt_tokenizer_free(t);
}

static void test_transformers_js_vectors(void **state)
{
    check_transformers_js(SPM, "llama", "Xenova/llama-tokenizer", 3, 37, 0);
    /* This copy of the file has lost its two no-break-space tokens, so two cases can't come out. */
    check_transformers_js("tokenizers/llama2/tokenizer.json", "llama", "Xenova/llama-tokenizer", 3,
                          37, 2);
    check_transformers_js(LLAMA3, "llama", "Xenova/llama3-tokenizer", 2, 37, 0);
    check_transformers_js(LLAMA3, "llama", "Xenova/llama3-tokenizer-new", 3, 37, 0);
    check_transformers_js(QWEN2, "qwen2", "Xenova/Qwen1.5-0.5B-Chat", 3, 25, 0);
    check_transformers_js(GPT2, "gpt2", "Xenova/gpt2", 3, 26, 0);
    check_transformers_js("tokenizers/gpt2/tokenizer.json", "gpt2", "openai-community/gpt2", 3, 26,
                          0);
}

static void check_swift(const char *model, const char *baseline)
{
    char name[128];
    vectors inputs, expected;
    need(model);
    llrt_tokenizer *const t = open_data(model);
    snprintf(name, sizeof name,
             "tokenizers/vectors/swift_multilingual/baselines/%s_multilingual.json", baseline);
    const llrti_json *const in =
        open_vectors(&inputs, "tokenizers/vectors/swift_multilingual/inputs.json");
    const llrti_json *const out = llrti_json_get(open_vectors(&expected, name), "entries");
    assert_int_equal(in->n, 83);
    assert_int_equal(out->n, 83);
    for (uint32_t i = 0; i < 83; i++) {
        const llrti_json *const entry = &out->value.first[i];
        const llrti_json *const text = llrti_json_get(&in->value.first[i], "text");
        assert_string_equal(llrti_json_string(llrti_json_get(entry, "id"), ""),
                            llrti_json_string(llrti_json_get(&in->value.first[i], "id"), "?"));
        assert_true(has_ids(t, text, llrti_json_get(entry, "input_ids"), 3));
        const llrti_json *const back = llrti_json_get(entry, "decoded_skip_special");
        const ids got = encode(t, text->value.s, text->n, 3);
        assert_true(decodes_to(t, got, back->value.s, back->n));
        free(got.id);
    }
    close_vectors(&inputs);
    close_vectors(&expected);
    llrt_tokenizer_free(t);
}

static void test_swift_vectors(void **state)
{
    check_swift(SPM, "tinyllama");
    check_swift("tokenizers/llama2/tokenizer.json", "tinyllama");
    check_swift(GPT2, "gpt2");
    check_swift("tokenizers/gpt2/tokenizer.json", "gpt2");
    check_swift(QWEN2, "qwen2_5");
}

static void test_neural_api_vectors(void **state)
{
    static const char *const known[] = {
        "byte_level",       "metaspace",         "split_qwen2",      "split_cl100k",
        "metaspace_pretok", "bytelevel_noregex", "digits_bytelevel", "falcon_seq",
        "split_qwen35",     "split_qwen35_ascii"};
    vectors v;
    need("tokenizers/vectors/neural_api/hf_tokenizer_cases.json");
    const llrti_json *const root =
        open_vectors(&v, "tokenizers/vectors/neural_api/hf_tokenizer_cases.json");
    size_t n_case = 0;
    for (size_t k = 0; k < sizeof known / sizeof *known; k++) {
        const llrti_json *const group = llrti_json_get(root, known[k]);
        const llrti_json *const cases = llrti_json_get(group, "cases");
        char name[128];
        assert_non_null(cases);
        snprintf(name, sizeof name, "tokenizers/vectors/neural_api/%s",
                 llrti_json_string(llrti_json_get(group, "tokenizer"), ""));
        llrt_tokenizer *const t = open_data(name);
        for (uint32_t i = 0; i < cases->n; i++, n_case++) {
            const llrti_json *const one = &cases->value.first[i];
            const llrti_json *const text = llrti_json_get(one, "text");
            const llrti_json *const back = llrti_json_get(one, "decoded");
            assert_true(has_ids(t, text, llrti_json_get(one, "ids"), 3));
            const ids got = encode(t, text->value.s, text->n, 3);
            assert_true(decodes_to(t, got, back->value.s, back->n));
            free(got.id);
        }
        llrt_tokenizer_free(t);
    }
    assert_int_equal(n_case, 174);
    close_vectors(&v);
}

static void test_ml_net_vector(void **state)
{
    vectors v;
    size_t n;
    need(GPT2);
    llrt_tokenizer *const t = open_data(GPT2);
    const llrti_json *const expected =
        open_vectors(&v, "tokenizers/vectors/mlnet_tiktoken/tokens_gpt2.json");
    char *const text = read_data("tokenizers/vectors/mlnet_tiktoken/lib.rs.txt", &n);
    const llrti_json whole = {.type = LLRTI_JSON_STRING, .n = (uint32_t)n, .value.s = text};
    assert_true(has_ids(t, &whole, expected, 0));
    free(text);
    close_vectors(&v);
    llrt_tokenizer_free(t);
}

static void test_models_open(void **state)
{
    need("models/stories260K/stories260Ktok512.gguf");
    llrt_tokenizer *t = open_data("models/stories260K/stories260Ktok512.gguf");
    assert_int_equal(llrt_tokenizer_n_vocab(t), 512);
    assert_int_equal(llrt_tokenizer_special(t, LLRT_SPECIAL_PAD), LLRT_TOKEN_NONE);
    CHECK_IDS(t, "Once upon a time", LLRT_ENCODE_ADD_SPECIAL, 1, 403, 407, 261, 378);
    llrt_tokenizer_free(t);
    t = open_data("models/llama-2-tiny-random/llama-2-tiny-random.gguf");
    CHECK_IDS(t, "Hello world", LLRT_ENCODE_ADD_SPECIAL, 1, 15043, 3186);
    llrt_tokenizer_free(t);
    t = open_data("tokenizers/phi-3-mini/tokenizer.json");
    /* Its <|end|> takes the white space behind it. */
    CHECK_IDS(t, "<|user|>\nHi<|end|>\n", LLRT_ENCODE_PARSE_SPECIAL, 32010, 6324, 32007);
    assert_true(llrt_tokenizer_is_end(t, 32007));
    llrt_tokenizer_free(t);
}

/* Calls fn with each file of test text that is there; returns how many were. */
static size_t each_text(void (*fn)(const char *name, const char *text, size_t n, void *ctx),
                        void *ctx)
{
    static const char *const names[] = {
        "text/blns.json",
        "text/unicode/emoji-test.txt",
        "text/unicode/NormalizationTest-8.0.0.txt",
        "text/unicode_lipsum/Arabic-Lipsum.utf8.txt",
        "text/unicode_lipsum/Chinese-Lipsum.utf8.txt",
        "text/unicode_lipsum/Emoji-Lipsum.utf8.txt",
        "text/unicode_lipsum/Hebrew-Lipsum.utf8.txt",
        "text/unicode_lipsum/Hindi-Lipsum.utf8.txt",
        "text/unicode_lipsum/Japanese-Lipsum.utf8.txt",
        "text/unicode_lipsum/Korean-Lipsum.utf8.txt",
        "text/unicode_lipsum/Latin-Lipsum.utf8.txt",
        "text/unicode_lipsum/Russian-Lipsum.utf8.txt",
    };
    size_t n_found = 0;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        size_t n;
        char *const text = read_data(names[i], &n);
        if (!text) continue;
        fn(names[i], text, n, ctx);
        n_found++;
        free(text);
    }
    return n_found;
}

static void check_round_trip(const char *name, const char *text, size_t n, void *ctx)
{
    const ids got = encode(ctx, text, n, 0);
    if (!decodes_to(ctx, got, text, n)) fail_msg("%s does not decode to itself", name);
    free(got.id);
}

static void test_text_round_trips(void **state)
{
    static const char *const models[] = {SPM, GPT2, LLAMA3, QWEN2};
    need(LLAMA3);
    for (size_t i = 0; i < 4; i++) {
        llrt_tokenizer *const t = open_data(models[i]);
        assert_in_range(each_text(check_round_trip, t), 8, 100);
        llrt_tokenizer_free(t);
    }
}

static void check_same_ids(const char *name, const char *text, size_t n, void *ctx)
{
    llrt_tokenizer *const *const pair = ctx;
    const ids a = encode(pair[0], text, n, 3), b = encode(pair[1], text, n, 3);
    if (a.n != b.n || memcmp(a.id, b.id, a.n * sizeof *a.id) != 0) fail_msg("%s differs", name);
    free(a.id);
    free(b.id);
}

static void test_demo_model_has_one_tokenizer(void **state)
{
    static const char chat[] =
        "<|im_start|>user\nWhat's 2+2?<|im_end|>\n<tool_call>{\"name\": 1}</tool_call>";
    need("demo/llrt-demo-f16.gguf");
    llrt_tokenizer *const pair[2] = {open_data("demo/llrt-demo-f16.gguf"), open_data("demo/hf")};
    assert_in_range(each_text(check_same_ids, (void *)pair), 8, 100);
    check_same_ids("the chat", chat, strlen(chat), (void *)pair);
    assert_int_equal(llrt_tokenizer_n_vocab(pair[0]), llrt_tokenizer_n_vocab(pair[1]));
    for (int32_t id = 0; id < (int32_t)llrt_tokenizer_n_vocab(pair[0]); id++)
        assert_int_equal(llrt_tokenizer_is_end(pair[0], id), llrt_tokenizer_is_end(pair[1], id));
    assert_true(llrt_tokenizer_is_end(pair[0], llrt_tokenizer_find(pair[0], "<|im_end|>", 10)));
    llrt_tokenizer_free(pair[0]);
    llrt_tokenizer_free(pair[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ggml_vectors),
        cmocka_unit_test(test_transformers_js_vectors),
        cmocka_unit_test(test_swift_vectors),
        cmocka_unit_test(test_neural_api_vectors),
        cmocka_unit_test(test_ml_net_vector),
        cmocka_unit_test(test_models_open),
        cmocka_unit_test(test_text_round_trips),
        cmocka_unit_test(test_demo_model_has_one_tokenizer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
