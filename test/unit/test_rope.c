/* SPDX-License-Identifier: MIT */
/*
 * Rope frequencies against the formulas of the papers, evaluated here another way round (in the exponent, per
 * wave length, per rotation count), and against published or hand-worked values. Options are read from hand-made
 * GGUF files and config.json folders in both spellings.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "gguf_writer.h"
#include "memory_files.h"
#include "rope.h"
#include "test_support.h"

#define PI 3.14159265358979323846

static llrti_rope_scaling plain(uint32_t n_rot, double base)
{
    return (llrti_rope_scaling){.n_rot = n_rot,
                                .base = base,
                                .factor = 1,
                                .extrapolation = 1,
                                .extra_factor = 1,
                                .truncate = true};
}

static float compute(const llrti_rope_scaling *s, float *inv_freq)
{
    llrt_error err = LLRT_ERROR_INIT;
    float magnitude = 0;
    if (llrti_rope_compute(s, inv_freq, &magnitude, &err) < 0) fail_msg("%s", err.text);
    return magnitude;
}

static void assert_near(double found, double expected, const char *what)
{
    if (!(fabs(found - expected) <= 2e-7 * fabs(expected)))
        fail_msg("%s: found %.10g, expected %.10g", what, found, expected);
}

static double pure(uint32_t i, uint32_t n_rot, double base)
{
    return exp(-log(base) * (2.0 * i / n_rot));
}

static void test_plain_and_linear(void **state)
{
    (void)state;
    float f[64];
    llrti_rope_scaling s = plain(128, 10000);
    assert_near(compute(&s, f), 1, "magnitude");
    assert_near(f[0], 1, "first");
    assert_near(f[32], 0.01, "middle: 10000^-0.5");
    for (uint32_t i = 0; i < 64; i++) assert_near(f[i], pure(i, 128, 10000), "plain");
    s.kind = LLRTI_ROPE_LINEAR;
    s.factor = 4;
    assert_near(compute(&s, f), 1, "magnitude");
    for (uint32_t i = 0; i < 64; i++) assert_near(f[i], pure(i, 128, 10000) / 4, "linear");
}

/* The base grows so that the longest wave stretches by the factor of the length. */
static void test_dynamic(void **state)
{
    (void)state;
    float f[32];
    llrti_rope_scaling s = plain(64, 10000);
    s.kind = LLRTI_ROPE_DYNAMIC;
    s.factor = 2;
    s.n_ctx_train = s.n_ctx = 2048;
    compute(&s, f);
    for (uint32_t i = 0; i < 32; i++)
        assert_near(f[i], pure(i, 64, 10000), "not beyond the trained length");
    s.n_ctx = 8192;
    compute(&s, f);
    const double alpha = 2.0 * 8192 / 2048 - 1;
    assert_near(f[0], 1, "the shortest wave stays");
    assert_near(f[31], pure(31, 64, 10000) / alpha, "the longest wave stretches by alpha");
    assert_near(f[10], exp(-(log(10000) + log(alpha) * 64 / 62) * 20 / 64), "between");
    s.n_rot = 2;
    compute(&s, f);
    assert_near(f[0], 1, "one pair");
}

/* Llama 3.1 and 3.2: classified by wave length against 8192 / 4 and 8192 / 1. */
static void test_llama3(void **state)
{
    (void)state;
    float f[64];
    llrti_rope_scaling s = plain(128, 500000);
    s.kind = LLRTI_ROPE_LLAMA3;
    s.factor = 8;
    s.low_freq = 1;
    s.high_freq = 4;
    s.n_ctx_original = 8192;
    s.n_ctx_train = 131072;
    assert_near(compute(&s, f), 1, "magnitude");
    uint32_t n_kept = 0, n_between = 0, n_divided = 0;
    for (uint32_t i = 0; i < 64; i++) {
        const double base = pure(i, 128, 500000), rotations = 8192 * base / (2 * PI);
        double expected;
        if (rotations > 4) {
            expected = base;
            n_kept++;
        } else if (rotations < 1) {
            expected = base / 8;
            n_divided++;
        } else {
            expected = base * (1.0 / 8 + (rotations - 1) / 3 * (7.0 / 8));
            n_between++;
        }
        assert_near(f[i], expected, "llama3");
    }
    assert_true(n_kept == 29 && n_between == 6 && n_divided == 29);
}

/* YaRN, eq. 17 to 23: gamma from the number of rotations, but with the ramp over dimensions. */
static void test_yarn(void **state)
{
    (void)state;
    float f[64];
    llrti_rope_scaling s = plain(128, 10000);
    s.kind = LLRTI_ROPE_YARN;
    s.factor = 16;
    s.beta_fast = 32;
    s.beta_slow = 1;
    s.n_ctx_original = 4096;
    assert_near(compute(&s, f), 0.1 * log(16) + 1, "magnitude of the paper, sqrt(1/t)");
    /* Llama 2 at 4096: published borders are dimensions 20 and 46 (of 64). */
    for (uint32_t i = 0; i < 64; i++) {
        const double base = pure(i, 128, 10000);
        const double gamma = i <= 20 ? 1 : i >= 46 ? 0 : 1 - (i - 20) / 26.0;
        assert_near(f[i], (1 - gamma) * base / 16 + gamma * base, "yarn");
    }
    s.truncate = false;
    compute(&s, f);
    const double low = 128 * log(4096 / (32 * 2 * PI)) / (2 * log(10000));
    const double high = 128 * log(4096 / (2 * PI)) / (2 * log(10000));
    const double keep = 1 - (30 - low) / (high - low);
    assert_near(f[30], pure(30, 128, 10000) * (keep + (1 - keep) / 16),
                "borders that are not whole");
    s.attention_factor = 1.25;
    assert_near(compute(&s, f), 1.25, "stated factor");
    s.attention_factor = 0;
    s.mscale = 0.707;
    s.mscale_all_dim = 1;
    assert_near(compute(&s, f), (0.0707 * log(16) + 1) / (0.1 * log(16) + 1),
                "mscale over mscale_all_dim");
    s.extra_factor = 2;
    s.mscale = 0;
    assert_near(compute(&s, f), 2 * (0.1 * log(16) + 1), "extra factor");
}

static void test_longrope(void **state)
{
    (void)state;
    float f[2], few[2] = {1, 2}, many[2] = {4, 8};
    llrti_rope_scaling s = plain(4, 10000);
    s.kind = LLRTI_ROPE_LONG;
    s.factor = 32;
    s.n_ctx_original = 4096;
    s.divisor = few;
    s.long_divisor = many;
    s.n_ctx = 4096;
    assert_near(compute(&s, f), sqrt(1 + 5.0 / 12), "log2(32) / log2(4096)");
    assert_near(f[1], 0.01 / 2, "short");
    s.n_ctx = 4097;
    compute(&s, f);
    assert_near(f[0], 0.25, "long");
    assert_near(f[1], 0.01 / 8, "long");
}

static void test_contradictions_are_refused(void **state)
{
    (void)state;
    float f[64], m;
    llrt_error err = LLRT_ERROR_INIT;
    const llrti_rope_scaling good = plain(64, 10000);
    llrti_rope_scaling bad[10];
    for (int i = 0; i < 10; i++) bad[i] = good;
    bad[0].n_rot = 0;
    bad[1].n_rot = 63;
    bad[2].base = NAN;
    bad[3].base = 0.5;
    bad[4].kind = LLRTI_ROPE_LINEAR, bad[4].factor = 0;
    bad[5].kind = LLRTI_ROPE_YARN; /* no original context */
    bad[6].kind = LLRTI_ROPE_LLAMA3, bad[6].n_ctx_original = 8192, bad[6].low_freq = 4,
    bad[6].high_freq = 4;
    bad[7].kind = LLRTI_ROPE_YARN, bad[7].n_ctx_original = 8192, bad[7].beta_fast = 0,
    bad[7].beta_slow = 1;
    bad[8].kind = LLRTI_ROPE_LINEAR, bad[8].factor = INFINITY;
    bad[9].extra_factor = NAN;
    for (int i = 0; i < 10; i++) {
        assert_int_equal(llrti_rope_compute(&bad[i], f, &m, &err), LLRT_ERR_FORMAT);
        assert_true(strncmp(err.text, "rope", 4) == 0);
    }
}

/* ---- Options in files ---- */

typedef struct opened {
    llrti_mem mem;
    test_heap heap;
    memory_files files;
    llrt_source source;
    llrti_model_file *file;
    llrti_arena arena;
    uint8_t *bytes;
} opened;

static llrt_status read_options(opened *o, const char *path, uint32_t head_dim, uint32_t n_ctx,
                                llrti_rope_scaling *s, llrt_error *err)
{
    llrti_hparams hp;
    test_mem_init(&o->mem, &o->heap);
    llrti_arena_init(&o->arena, &o->mem, LLRT_MEMORY_HOST);
    const llrti_model_file_options options = {.source = &o->source};
    if (llrti_model_file_open(&o->mem, path, &options, &o->file, err) < 0)
        fail_msg("%s", err->text);
    llrti_hparams_init(&hp, o->file, err);
    llrti_rope_read_scaling(&hp, &o->arena, head_dim, n_ctx, s);
    return hp.status;
}

static void close_options(opened *o)
{
    llrti_arena_free(&o->arena);
    llrti_model_file_close(o->file);
    assert_int_equal(o->heap.n_live, 0);
    assert_int_equal(o->files.n_open, 0);
    free(o->bytes);
}

static llrt_status read_config(opened *o, const char *config, llrti_rope_scaling *s,
                               llrt_error *err)
{
    static const char safetensors[] =
        "\x42\0\0\0\0\0\0\0"
        "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}            "
        "\0\0\0\0";
    memset(o, 0, sizeof *o);
    memory_files_init(&o->files, &o->source);
    memory_files_add_text(&o->files, "m/config.json", config);
    memory_files_add(&o->files, "m/model.safetensors", safetensors, 8 + 0x42 + 4);
    return read_options(o, "m/model.safetensors", 8, 100, s, err);
}

static void check_config(const char *config, llrti_rope_kind kind, double factor, uint32_t original)
{
    opened o;
    llrti_rope_scaling s;
    llrt_error err = LLRT_ERROR_INIT;
    if (read_config(&o, config, &s, &err) < 0) fail_msg("%s: %s", config, err.text);
    if (s.kind != kind || s.factor != factor || s.n_ctx_original != original)
        fail_msg("%s: found kind %d, factor %g, original %u", config, (int)s.kind, s.factor,
                 s.n_ctx_original);
    close_options(&o);
}

#define HEAD "{\"model_type\":\"llama\",\"max_position_embeddings\":64,"

static void test_spellings_of_config(void **state)
{
    (void)state;
    check_config(HEAD "\"rope_scaling\":null}", LLRTI_ROPE_PLAIN, 1, 0);
    check_config(HEAD "\"rope_scaling\":{\"rope_type\":\"default\"}}", LLRTI_ROPE_PLAIN, 1, 0);
    check_config(HEAD "\"rope_scaling\":{\"type\":\"linear\",\"factor\":4.0}}", LLRTI_ROPE_LINEAR,
                 4, 0);
    check_config(HEAD "\"rope_scaling\":{\"rope_type\":\"dynamic\",\"factor\":2}}",
                 LLRTI_ROPE_DYNAMIC, 2, 64);
    check_config(HEAD
                 "\"rope_scaling\":{\"rope_type\":\"llama3\",\"factor\":8,\"low_freq_factor\":1,"
                 "\"high_freq_factor\":4,\"original_max_position_embeddings\":32}}",
                 LLRTI_ROPE_LLAMA3, 8, 32);
    check_config(HEAD "\"rope_parameters\":{\"rope_type\":\"yarn\",\"rope_theta\":5.0,\"factor\":4,"
                      "\"original_max_position_embeddings\":16}}",
                 LLRTI_ROPE_YARN, 4, 16);
    check_config(HEAD
                 "\"rope_scaling\":{\"type\":\"yarn\",\"original_max_position_embeddings\":16}}",
                 LLRTI_ROPE_YARN, 4, 16);
    check_config(HEAD "\"original_max_position_embeddings\":16,\"rope_scaling\":{\"type\":\"su\","
                      "\"short_factor\":[1,1,1,2],\"long_factor\":[1,2,3,4.5]}}",
                 LLRTI_ROPE_LONG, 4, 16);
}

static void test_wrong_options_of_config(void **state)
{
    (void)state;
    static const struct {
        const char *config;
        llrt_status status;
        const char *field, *text;
    } cases[] = {
        {HEAD "\"rope_scaling\":{\"rope_type\":\"spiral\"}}", LLRT_ERR_UNSUPPORTED,
         "rope_scaling.rope_type", "\"spiral\" is unknown"},
        {HEAD "\"rope_scaling\":{\"rope_type\":\"linear\"}}", LLRT_ERR_FORMAT,
         "rope_scaling.factor", "missing"},
        {HEAD "\"rope_scaling\":{\"rope_type\":\"linear\",\"factor\":\"4\"}}", LLRT_ERR_FORMAT,
         "rope_scaling.factor", "found \"4\", expected a number"},
        {HEAD "\"rope_scaling\":{\"rope_type\":\"linear\",\"factor\":1e30}}", LLRT_ERR_FORMAT,
         "rope_scaling.factor", "found 1e+30"},
        {HEAD "\"rope_scaling\":{\"rope_type\":\"longrope\",\"factor\":4,\"short_factor\":[1,1,1],"
              "\"long_factor\":[1,1,1,1]}}",
         LLRT_ERR_FORMAT, "rope_scaling.short_factor", "found 3 values, expected a list of 4"},
        {HEAD
         "\"rope_scaling\":{\"rope_type\":\"longrope\",\"factor\":4,\"short_factor\":[1,1,1,0],"
         "\"long_factor\":[1,1,1,1]}}",
         LLRT_ERR_FORMAT, "rope_scaling.short_factor", "found 0"},
        {HEAD "\"partial_rotary_factor\":0.4}", LLRT_ERR_FORMAT, "head_dim",
         "found 3 rotated elements"},
        {HEAD "\"rope_theta\":0.0}", LLRT_ERR_FORMAT, "rope_theta", "found 0"},
        {HEAD "\"rope_scaling\":{\"rope_type\":\"default\",\"mrope_section\":[1,1,2]}}",
         LLRT_ERR_UNSUPPORTED, "rope_scaling.mrope_section", "sections"},
    };
    for (size_t i = 0; i < LLRTI_COUNT(cases); i++) {
        opened o;
        llrti_rope_scaling s;
        llrt_error err = LLRT_ERROR_INIT;
        assert_int_equal(read_config(&o, cases[i].config, &s, &err), cases[i].status);
        if (strcmp(err.field, cases[i].field) != 0 || !strstr(err.text, cases[i].text))
            fail_msg("%s: found '%s' about %s", cases[i].config, err.text, err.field);
        close_options(&o);
    }
}

static llrt_status read_gguf(opened *o, gguf_writer *w, llrti_rope_scaling *s, llrt_error *err)
{
    size_t n;
    memset(o, 0, sizeof *o);
    memory_files_init(&o->files, &o->source);
    o->bytes = gw_finish(w, &n);
    memory_files_add(&o->files, "m.gguf", o->bytes, n);
    return read_options(o, "m.gguf", 8, 100, s, err);
}

static void begin_gguf(gguf_writer *w)
{
    const uint64_t dim = 4;
    const float factors[4] = {1, 1, 2, 8};
    gw_init(w);
    gw_string(w, "general.architecture", "llama");
    gw_u32(w, "llama.context_length", 64);
    gw_f32(w, "llama.rope.freq_base", 500000.0f);
    gw_tensor(w, "rope_freqs.weight", 0, 1, &dim, factors, sizeof factors);
}

static void test_options_of_gguf(void **state)
{
    (void)state;
    gguf_writer w;
    opened o;
    llrti_rope_scaling s;
    llrt_error err = LLRT_ERROR_INIT;
    float f[4], m;
    begin_gguf(&w);
    assert_int_equal(read_gguf(&o, &w, &s, &err), LLRT_OK);
    assert_true(s.kind == LLRTI_ROPE_PLAIN && s.base == 500000 && s.n_rot == 8 && s.divisor);
    assert_int_equal(llrti_rope_compute(&s, f, &m, &err), LLRT_OK);
    assert_near(f[3], pure(3, 8, 500000) / 8, "rope_freqs divide");
    close_options(&o);

    begin_gguf(&w);
    gw_string(&w, "llama.rope.scaling.type", "yarn");
    gw_f32(&w, "llama.rope.scaling.factor", 4);
    gw_f32(&w, "llama.rope.scaling.attn_factor", 0.5f);
    gw_u32(&w, "llama.rope.scaling.original_context_length", 16);
    gw_u32(&w, "llama.rope.dimension_count", 8);
    assert_int_equal(read_gguf(&o, &w, &s, &err), LLRT_OK);
    assert_true(s.kind == LLRTI_ROPE_YARN && s.factor == 4 && s.n_ctx_original == 16 &&
                s.beta_fast == 32);
    assert_int_equal(llrti_rope_compute(&s, f, &m, &err), LLRT_OK);
    assert_near(m, 0.5 * (1 + 0.1 * log(4)), "attn_factor multiplies");
    close_options(&o);

    begin_gguf(&w);
    gw_f32(&w, "llama.rope.scale_linear", 2);
    assert_int_equal(read_gguf(&o, &w, &s, &err), LLRT_OK);
    assert_true(s.kind == LLRTI_ROPE_LINEAR && s.factor == 2);
    close_options(&o);
}

static void test_longrope_of_gguf(void **state)
{
    (void)state;
    const uint64_t dim = 4;
    const float few[4] = {1, 1, 1, 2}, many[4] = {1, 2, 3, 4};
    for (uint32_t original = 99; original <= 100; original++) {
        gguf_writer w;
        opened o;
        llrti_rope_scaling s;
        llrt_error err = LLRT_ERROR_INIT;
        float f[4], m;
        begin_gguf(&w);
        gw_string(&w, "llama.rope.scaling.type", "longrope");
        gw_f32(&w, "llama.rope.scaling.attn_factor", 1.25f);
        gw_u32(&w, "llama.rope.scaling.original_context_length", original);
        if (original == 99) gw_f32(&w, "llama.rope.scaling.factor", 2);
        gw_tensor(&w, "rope_factors_short.weight", 0, 1, &dim, few, sizeof few);
        gw_tensor(&w, "rope_factors_long.weight", 0, 1, &dim, many, sizeof many);
        assert_int_equal(read_gguf(&o, &w, &s, &err), LLRT_OK);
        assert_int_equal(llrti_rope_compute(&s, f, &m, &err), LLRT_OK);
        assert_near(f[3], pure(3, 8, 500000) / (original == 99 ? 8 : 2),
                    "opened for 100 positions");
        assert_near(m, 1.25, "attn_factor");
        close_options(&o);
    }
}

static void test_wrong_options_of_gguf(void **state)
{
    (void)state;
    for (int i = 0; i < 6; i++) {
        gguf_writer w;
        opened o;
        llrti_rope_scaling s;
        llrt_error err = LLRT_ERROR_INIT;
        const float bad[4] = {1, NAN, 1, 1};
        const uint64_t dim = 4, dim3 = 3;
        const char *field = "";
        if (i < 2) {
            gw_init(&w);
            gw_string(&w, "general.architecture", "llama");
            gw_tensor(&w, field = "rope_freqs.weight", 0, 1, i ? &dim3 : &dim, bad, i ? 12 : 16);
        } else {
            begin_gguf(&w);
        }
        if (i == 2) gw_string(&w, field = "llama.rope.scaling.type", "longrope");
        if (i == 3) gw_u32(&w, field = "llama.rope.dimension_count", 7);
        if (i == 4) gw_u32(&w, field = "llama.rope.dimension_count", 10);
        if (i == 5) gw_f32(&w, field = "llama.rope.scaling.factor", NAN);
        assert_int_equal(read_gguf(&o, &w, &s, &err), LLRT_ERR_FORMAT);
        assert_string_equal(err.field, field);
        close_options(&o);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain_and_linear),
        cmocka_unit_test(test_dynamic),
        cmocka_unit_test(test_llama3),
        cmocka_unit_test(test_yarn),
        cmocka_unit_test(test_longrope),
        cmocka_unit_test(test_contradictions_are_refused),
        cmocka_unit_test(test_spellings_of_config),
        cmocka_unit_test(test_wrong_options_of_config),
        cmocka_unit_test(test_options_of_gguf),
        cmocka_unit_test(test_longrope_of_gguf),
        cmocka_unit_test(test_wrong_options_of_gguf),
    };
    return cmocka_run_group_tests_name("rope", tests, NULL, NULL);
}
