/* SPDX-License-Identifier: MIT */
/*
 * Files of LoRA adapters: both kinds give the same list of changes; every option that would change
 * the arithmetic and every tensor that is no part of a pair is refused by name; nothing leaks.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "adapter_file.h"
#include "adapter_support.h"
#include "half.h"

#define CONFIG(more) "{\"peft_type\":\"LORA\",\"r\":2,\"lora_alpha\":3" more "}"

typedef struct opened {
    llrti_mem mem;
    test_heap heap;
    memory_files files;
    llrt_source source;
    llrti_adapter_file *file;
} opened;

static llrt_status open_adapter(opened *o, const char *path, const char *config, const void *data,
                                size_t n, llrt_error *err)
{
    const llrt_error fresh = LLRT_ERROR_INIT;
    *err = fresh;
    test_mem_init(&o->mem, &o->heap);
    memory_files_init(&o->files, &o->source);
    if (config) memory_files_add_text(&o->files, "l/adapter_config.json", config);
    if (data)
        memory_files_add(&o->files, config ? "l/adapter_model.safetensors" : "l.gguf", data, n);
    return llrti_adapter_file_open(&o->mem, path, &o->source, &o->file, err);
}

static void close_adapter(opened *o)
{
    llrti_adapter_file_close(o->file);
    assert_int_equal(o->heap.n_live, 0);
    assert_int_equal(o->files.n_open, 0);
}

static const float ones[64] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};

/* A PEFT file with one pair of rank `rank` for `module`. */
static void *one_pair(const char *module, uint32_t rank, size_t *n)
{
    st_writer w = {0};
    char name[160];
    snprintf(name, sizeof name, "base_model.model.%s.lora_A.weight", module);
    st_add(&w, name, rank, 3, ones);
    snprintf(name, sizeof name, "base_model.model.%s.lora_B.weight", module);
    st_add(&w, name, 4, rank, ones);
    return st_finish(&w, n);
}

static void expect_factor(const char *config, const char *module, uint32_t rank, float factor)
{
    opened o;
    llrt_error err;
    size_t n;
    void *const data = one_pair(module, rank, &n);
    const llrt_status status = open_adapter(&o, "l", config, data, n, &err);
    if (status < 0) print_error("%s: %s\n", config, err.text);
    assert_int_equal(status, LLRT_OK);
    assert_int_equal(o.file->changes.n, 1);
    assert_string_equal(o.file->changes.data[0].name, module);
    assert_int_equal(o.file->changes.data[0].rank, rank);
    assert_true(o.file->changes.data[0].factor == factor);
    close_adapter(&o);
    free(data);
}

static void test_factors_of_peft(void **state)
{
    static const char q1[] = "model.layers.1.self_attn.q_proj";
    (void)state;
    expect_factor(CONFIG(""), q1, 2, 1.5f);
    expect_factor(CONFIG(",\"use_rslora\":true"), q1, 2, (float)(3 / 1.4142135623730951));
    expect_factor(CONFIG(",\"lora_bias\":false,\"modules_to_save\":null,\"use_dora\":false,"
                         "\"bias\":\"none\",\"init_lora_weights\":true,\"rank_pattern\":{}"),
                  q1, 2, 1.5f);
    expect_factor(CONFIG(",\"rank_pattern\":{\"q_proj\":4}"), q1, 4, 0.75f);
    expect_factor(CONFIG(",\"rank_pattern\":{\"k_proj\":4,\"layers.1.self_attn.q_proj\":8}"), q1, 8,
                  0.375f);
    expect_factor(CONFIG(",\"alpha_pattern\":{\"q_proj\":8}"), q1, 2, 4.0f);
    /* From a dot on only; anchored to the beginning; escaped dots. */
    expect_factor(CONFIG(",\"alpha_pattern\":{\"_proj\":8}"), q1, 2, 1.5f);
    expect_factor(CONFIG(",\"alpha_pattern\":{\"^layers.1.self_attn.q_proj\":8}"), q1, 2, 1.5f);
    expect_factor(CONFIG(",\"alpha_pattern\":{\"^model\\\\.layers\\\\.1\\\\.self_attn\\\\.q_proj\":"
                         "8}"),
                  q1, 2, 4.0f);
    expect_factor(CONFIG(",\"alpha_pattern\":{\"self.attn.q_proj\":8}"), q1, 2, 4.0f);
    expect_factor(CONFIG(",\"alpha_pattern\":{\"self\\\\.attn.q_proj\":8}"), q1, 2, 1.5f);
}

static void expect_refusal(const char *config, llrt_status status, const char *field,
                           const char *text)
{
    opened o;
    llrt_error err;
    size_t n;
    void *const data = one_pair("m.q_proj", 2, &n);
    const llrt_status found = open_adapter(&o, "l/", config, data, n, &err);
    if (found != status || !strstr(err.text, text))
        print_error("%s: %s: %s\n", config, llrt_status_name(found), err.text);
    assert_int_equal(found, status);
    assert_null(o.file);
    assert_string_equal(err.file, "l/adapter_config.json");
    assert_string_equal(err.field, field);
    assert_non_null(strstr(err.text, text));
    close_adapter(&o);
    free(data);
}

static void test_options_that_are_refused(void **state)
{
    static const struct {
        const char *config, *field, *text;
        llrt_status status;
    } cases[] = {
        {"[]", "", "an object", LLRT_ERR_FORMAT},
        {"{\"r\":2}", "peft_type", "missing", LLRT_ERR_FORMAT},
        {"{\"peft_type\":\"LOHA\"}", "peft_type", "LOHA", LLRT_ERR_UNSUPPORTED},
        {"{\"peft_type\":\"LORA\",\"lora_alpha\":3}", "r", "missing", LLRT_ERR_FORMAT},
        {"{\"peft_type\":\"LORA\",\"r\":0,\"lora_alpha\":3}", "r", "found 0", LLRT_ERR_FORMAT},
        {"{\"peft_type\":\"LORA\",\"r\":\"2\"}", "r", "a text", LLRT_ERR_FORMAT},
        {"{\"peft_type\":\"LORA\",\"r\":2}", "lora_alpha", "missing", LLRT_ERR_FORMAT},
        {"{\"peft_type\":\"LORA\",\"r\":2,\"lora_alpha\":1e300}", "lora_alpha", "range",
         LLRT_ERR_FORMAT},
        {CONFIG(",\"use_dora\":true"), "use_dora", "DoRA", LLRT_ERR_UNSUPPORTED},
        {CONFIG(",\"bias\":\"lora_only\""), "bias", "lora_only", LLRT_ERR_UNSUPPORTED},
        {CONFIG(",\"modules_to_save\":[\"lm_head\"]"), "modules_to_save", "whole",
         LLRT_ERR_UNSUPPORTED},
        {CONFIG(",\"target_parameters\":[\"experts.gate\"]"), "target_parameters", "parameters",
         LLRT_ERR_UNSUPPORTED},
        {CONFIG(",\"trainable_token_indices\":[1]"), "trainable_token_indices", "embeddings",
         LLRT_ERR_UNSUPPORTED},
        {CONFIG(",\"lora_bias\":true"), "lora_bias", "biases", LLRT_ERR_UNSUPPORTED},
        {CONFIG(",\"layer_replication\":[[0,2]]"), "layer_replication", "layers",
         LLRT_ERR_UNSUPPORTED},
        {CONFIG(",\"init_lora_weights\":\"pissa_niter_4\""), "init_lora_weights", "pissa_niter_4",
         LLRT_ERR_UNSUPPORTED},
        {CONFIG(",\"rank_pattern\":[1]"), "rank_pattern", "an array", LLRT_ERR_FORMAT},
        {CONFIG(",\"rank_pattern\":{\"q_proj\":-1}"), "rank_pattern", "found -1", LLRT_ERR_FORMAT},
        {CONFIG(",\"alpha_pattern\":{\"q_proj\":\"x\"}"), "alpha_pattern", "a number",
         LLRT_ERR_FORMAT},
        {CONFIG(",\"rank_pattern\":{\"(q|k)_proj\":4}"), "rank_pattern", "(q|k)_proj",
         LLRT_ERR_UNSUPPORTED},
        {"{\"r\":", "", "", LLRT_ERR_FORMAT},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        expect_refusal(cases[i].config, cases[i].status, cases[i].field, cases[i].text);
}

/* A tensor beside a good pair. */
static void expect_tensor_refusal(const char *name, uint32_t n_row, uint32_t width,
                                  llrt_status status, const char *text)
{
    st_writer w = {0};
    opened o;
    llrt_error err;
    size_t n;
    st_add(&w, "base_model.model.q.lora_A.weight", 2, 3, ones);
    st_add(&w, "base_model.model.q.lora_B.weight", 4, 2, ones);
    st_add(&w, name, n_row, width, ones);
    void *const data = st_finish(&w, &n);
    const llrt_status found = open_adapter(&o, "l", CONFIG(""), data, n, &err);
    if (found != status || !strstr(err.text, text))
        print_error("%s: %s: %s\n", name, llrt_status_name(found), err.text);
    assert_int_equal(found, status);
    assert_non_null(strstr(err.text, text));
    assert_string_equal(err.file, "l/adapter_model.safetensors");
    close_adapter(&o);
    free(data);
}

static void test_tensors_that_are_refused(void **state)
{
    (void)state;
    expect_tensor_refusal("base_model.model.e.lora_embedding_A", 2, 3, LLRT_ERR_UNSUPPORTED,
                          "embeddings");
    expect_tensor_refusal("base_model.model.q.lora_magnitude_vector.weight", 1, 3,
                          LLRT_ERR_UNSUPPORTED, "DoRA");
    expect_tensor_refusal("base_model.model.lm_head.weight", 2, 3, LLRT_ERR_UNSUPPORTED,
                          "expected only");
    expect_tensor_refusal("k.lora_A.weight", 2, 3, LLRT_ERR_UNSUPPORTED, "expected only");
    expect_tensor_refusal("base_model.model..lora_A.weight", 2, 3, LLRT_ERR_UNSUPPORTED,
                          "expected only");
    expect_tensor_refusal("base_model.model.lora_A.weight", 2, 3, LLRT_ERR_UNSUPPORTED,
                          "expected only");
    expect_tensor_refusal("base_model.model.q.lora_A.default.weight", 2, 3, LLRT_ERR_FORMAT,
                          "again");
    expect_tensor_refusal("base_model.model.k.lora_A.weight", 2, 3, LLRT_ERR_FORMAT, "no lora_B");
    expect_tensor_refusal("base_model.model.k.lora_B.weight", 4, 2, LLRT_ERR_FORMAT, "no lora_A");
    expect_tensor_refusal("base_model.model.k.lora_B.weight", 1, 4, LLRT_ERR_FORMAT, "no lora_A");
}

static void expect_shape_refusal(uint32_t rank_a, uint32_t rank_b, const char *text)
{
    st_writer w = {0};
    opened o;
    llrt_error err;
    size_t n;
    st_add(&w, "base_model.model.q.lora_A.weight", rank_a, 3, ones);
    st_add(&w, "base_model.model.q.lora_B.weight", 4, rank_b, ones);
    void *const data = st_finish(&w, &n);
    assert_int_equal(open_adapter(&o, "l", CONFIG(""), data, n, &err), LLRT_ERR_FORMAT);
    if (!strstr(err.text, text)) print_error("%s\n", err.text);
    assert_non_null(strstr(err.text, text));
    close_adapter(&o);
    free(data);
}

static void test_ranks_are_checked(void **state)
{
    (void)state;
    expect_shape_refusal(2, 3, "found rank 3, expected 2");
    expect_shape_refusal(3, 3, "found rank 3, expected 2 as adapter_config.json says");
    expect_shape_refusal(1, 2, "expected a matrix"); /* a vector here */
}

static void test_both_kinds_give_the_same_changes(void **state)
{
    (void)state;
    net m;
    net_lora lora;
    size_t n;
    llrt_error err;
    net_init(&m, 3);
    lora_init(&lora, &m, 4, 2, 3.0f);
    for (int is_gguf = 0; is_gguf < 2; is_gguf++) {
        opened o;
        void *const data = is_gguf ? lora_gguf(&lora, "llama", &n) : lora_safetensors(&lora, &n);
        assert_int_equal(
            open_adapter(&o, is_gguf ? "l.gguf" : "l", is_gguf ? NULL : CONFIG(""), data, n, &err),
            LLRT_OK);
        assert_int_equal(o.file->changes.n, lora.n);
        assert_string_equal(o.file->architecture, is_gguf ? "llama" : "");
        for (size_t i = 0; i < lora.n; i++) {
            const llrti_adapter_change *const c = &o.file->changes.data[i];
            const net_weight *const w = lora.change[i].weight;
            const char *const name = is_gguf ? w->gguf : w->hf;
            float a[2 * 64], b[2 * 64];
            assert_int_equal(strlen(c->name) + 7, strlen(name));
            assert_memory_equal(c->name, name, strlen(c->name));
            assert_int_equal(c->rank, 2);
            assert_true(c->factor == 1.5f);
            assert_int_equal(llrti_adapter_file_read(o.file, c->a, a, &err), LLRT_OK);
            assert_int_equal(llrti_adapter_file_read(o.file, c->b, b, &err), LLRT_OK);
            assert_memory_equal(a, lora.change[i].a, 2 * w->d_in * sizeof *a);
            if (!is_gguf || w->n_head == 0)
                assert_memory_equal(b, lora.change[i].b, 2 * w->d_out * sizeof *b);
        }
        close_adapter(&o);
        free(data);
    }
    lora_free(&lora);
    net_free(&m);
}

static void test_half_precision_is_read(void **state)
{
    (void)state;
    gguf_writer w;
    opened o;
    llrt_error err;
    size_t n;
    uint16_t a[6], b[8];
    float out[8];
    for (int i = 0; i < 6; i++) a[i] = llrti_float_to_f16((float)i - 2.5f);
    for (int i = 0; i < 8; i++) b[i] = llrti_float_to_bf16((float)i * 0.5f);
    gw_init(&w);
    gw_string(&w, "general.type", "adapter");
    gw_string(&w, "adapter.type", "lora");
    gw_f32(&w, "adapter.lora.alpha", 0);
    gw_tensor(&w, "x.weight.lora_b", LLRT_TYPE_BF16, 2, (const uint64_t[2]){2, 4}, b, sizeof b);
    gw_tensor(&w, "x.weight.lora_a", LLRT_TYPE_F16, 2, (const uint64_t[2]){3, 2}, a, sizeof a);
    void *const data = gw_finish(&w, &n);
    assert_int_equal(open_adapter(&o, "l.gguf", NULL, data, n, &err), LLRT_OK);
    const llrti_adapter_change *const c = &o.file->changes.data[0];
    assert_true(c->factor == 1.0f); /* alpha 0 */
    assert_int_equal(llrti_adapter_file_read(o.file, c->a, out, &err), LLRT_OK);
    for (int i = 0; i < 6; i++) assert_true(out[i] == (float)i - 2.5f);
    assert_int_equal(llrti_adapter_file_read(o.file, c->b, out, &err), LLRT_OK);
    for (int i = 0; i < 8; i++) assert_true(out[i] == (float)i * 0.5f);
    close_adapter(&o);
    free(data);
}

enum { NO_TYPE = 1, NO_ALPHA = 2, ALORA = 4, EMBEDDING = 8, BARE = 16 };

static void expect_gguf_refusal(const char *type, const char *kind, int how, llrt_status status,
                                const char *text)
{
    gguf_writer w;
    opened o;
    llrt_error err;
    size_t n;
    gw_init(&w);
    if (type) gw_string(&w, "general.type", type);
    gw_string(&w, "adapter.type", kind);
    if (how & NO_ALPHA)
        gw_u32(&w, "adapter.lora.alpha", 1);
    else
        gw_f32(&w, "adapter.lora.alpha", 1);
    if (how & ALORA) gw_i32s(&w, "adapter.alora.invocation_tokens", (const int32_t[1]){1}, 1);
    const char *const names[2] = {how & EMBEDDING ? "token_embd.weight.lora_a"
                                  : how & BARE    ? "x.lora_a"
                                                  : "x.weight.lora_a",
                                  "x.weight.lora_b"};
    gw_tensor(&w, names[0], 0, 2, (const uint64_t[2]){3, 2}, ones, 24);
    gw_tensor(&w, names[1], 0, 2, (const uint64_t[2]){2, 4}, ones, 32);
    void *const data = gw_finish(&w, &n);
    const llrt_status found = open_adapter(&o, "l.gguf", NULL, data, n, &err);
    if (found != status || !strstr(err.text, text)) print_error("%s: %s\n", text, err.text);
    assert_int_equal(found, status);
    assert_non_null(strstr(err.text, text));
    assert_string_equal(err.file, "l.gguf");
    close_adapter(&o);
    free(data);
}

static void test_gguf_files_that_are_refused(void **state)
{
    (void)state;
    expect_gguf_refusal(NULL, "lora", 0, LLRT_ERR_FORMAT, "no adapter");
    expect_gguf_refusal("model", "lora", 0, LLRT_ERR_UNSUPPORTED, "\"model\"");
    expect_gguf_refusal("adapter", "ia3", 0, LLRT_ERR_UNSUPPORTED, "ia3");
    expect_gguf_refusal("adapter", "lora", NO_ALPHA, LLRT_ERR_FORMAT, "u32");
    expect_gguf_refusal("adapter", "lora", ALORA, LLRT_ERR_UNSUPPORTED, "invocation");
    expect_gguf_refusal("adapter", "lora", EMBEDDING, LLRT_ERR_UNSUPPORTED, "embeddings");
    expect_gguf_refusal("adapter", "lora", BARE, LLRT_ERR_UNSUPPORTED, "expected only");
}

static void test_files_that_are_not_there(void **state)
{
    (void)state;
    opened o;
    llrt_error err;
    size_t n;
    void *const data = one_pair("q", 2, &n);
    assert_int_equal(open_adapter(&o, "nothing", NULL, NULL, 0, &err), LLRT_ERR_NOT_FOUND);
    assert_string_equal(err.file, "nothing/adapter_model.safetensors");
    close_adapter(&o);
    assert_int_equal(open_adapter(&o, "l.gguf", NULL, data, n, &err), LLRT_ERR_NOT_FOUND);
    assert_string_equal(err.file, "adapter_config.json");
    close_adapter(&o);
    assert_int_equal(open_adapter(&o, "l.gguf", NULL, "something else", 14, &err), LLRT_ERR_FORMAT);
    close_adapter(&o);
    /* The matrices named themselves. */
    assert_int_equal(open_adapter(&o, "l/adapter_model.safetensors", CONFIG(""), data, n, &err),
                     LLRT_OK);
    close_adapter(&o);
    free(data);
}

static void test_every_allocation_may_fail(void **state)
{
    (void)state;
    net m;
    net_lora lora;
    size_t n;
    net_init(&m, 3);
    lora_init(&lora, &m, 4, 2, 3.0f);
    for (int is_gguf = 0; is_gguf < 2; is_gguf++) {
        void *const data = is_gguf ? lora_gguf(&lora, "llama", &n) : lora_safetensors(&lora, &n);
        llrt_status status = LLRT_ERR_NOMEM;
        for (size_t at = 1; status != LLRT_OK; at++) {
            opened o;
            llrt_error err = LLRT_ERROR_INIT;
            test_mem_init(&o.mem, &o.heap);
            o.heap.fail_at = at;
            memory_files_init(&o.files, &o.source);
            memory_files_add_text(&o.files, "l/adapter_config.json", CONFIG(""));
            memory_files_add(&o.files, is_gguf ? "l/x.gguf" : "l/adapter_model.safetensors", data,
                             n);
            status = llrti_adapter_file_open(&o.mem, is_gguf ? "l/x.gguf" : "l", &o.source, &o.file,
                                             &err);
            assert_true(status == LLRT_OK || status == LLRT_ERR_NOMEM);
            close_adapter(&o);
            assert_true(at < 10000);
        }
        free(data);
    }
    lora_free(&lora);
    net_free(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_factors_of_peft),
        cmocka_unit_test(test_options_that_are_refused),
        cmocka_unit_test(test_tensors_that_are_refused),
        cmocka_unit_test(test_ranks_are_checked),
        cmocka_unit_test(test_both_kinds_give_the_same_changes),
        cmocka_unit_test(test_half_precision_is_read),
        cmocka_unit_test(test_gguf_files_that_are_refused),
        cmocka_unit_test(test_files_that_are_not_there),
        cmocka_unit_test(test_every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
