/* SPDX-License-Identifier: MIT */
/*
 * Adapters on engines: attached ones compute what merged weights do, whichever kind of file model and
 * adapter are of; company in a step changes no bit; the rules of attaching; prefixes, forks and
 * saved sessions; room; opening and closing while others compute.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "adapter_support.h"

#define N_TEXT 100
#define CONFIG "{\"peft_type\":\"LORA\",\"r\":%u,\"lora_alpha\":%g}"

/* Sources of the same model in both kinds of file, and of a few adapters. */
typedef struct fixture {
    net model;
    memory_files files;
    llrt_source source;
    char config[128];
    void *owned[12];
    size_t n_owned;
    int32_t text[N_TEXT];
} fixture;

static void add_file(fixture *f, const char *name, void *data, size_t n)
{
    f->owned[f->n_owned++] = data;
    memory_files_add(&f->files, name, data, n);
}

static void add_model(fixture *f, const net *m, const char *gguf, const char *folder_file,
                      const char *config_file)
{
    size_t n;
    void *data = net_gguf(m, &n);
    add_file(f, gguf, data, n);
    data = net_safetensors(m, &n);
    add_file(f, folder_file, data, n);
    memory_files_add_text(&f->files, config_file, net_config);
}

static void add_adapter(fixture *f, const net_lora *lora, const char *gguf, const char *folder_file,
                        const char *config_file)
{
    size_t n;
    void *data = lora_gguf(lora, "llama", &n);
    add_file(f, gguf, data, n);
    if (!folder_file) return;
    data = lora_safetensors(lora, &n);
    add_file(f, folder_file, data, n);
    snprintf(f->config, sizeof f->config, CONFIG, lora->rank, lora->alpha);
    memory_files_add_text(&f->files, config_file, f->config);
}

static void init(fixture *f, uint64_t seed)
{
    memset(f, 0, sizeof *f);
    memory_files_init(&f->files, &f->source);
    net_init(&f->model, seed);
    make_text(seed, f->text, N_TEXT, TINY_VOCAB);
}

static void done(fixture *f)
{
    for (size_t i = 0; i < f->n_owned; i++) free(f->owned[i]);
    net_free(&f->model);
}

static llrt_engine_options adapter_options(const fixture *f, uint32_t n_adapter, uint32_t rank)
{
    llrt_engine_options o = test_options(NULL);
    o.source = &f->source;
    o.precision = LLRT_PRECISION_F32;
    o.n_adapter = n_adapter;
    o.adapter_rank = rank;
    o.kv_tok = 4096;
    return o;
}

static llrt_engine *open_engine(const fixture *f, const char *path, uint32_t n_adapter,
                                uint32_t rank)
{
    const llrt_engine_options o = adapter_options(f, n_adapter, rank);
    llrt_engine *engine = NULL;
    check(llrt_engine_open(path, &o, &engine, &err));
    return engine;
}

static llrt_adapter *open_adapter(const fixture *f, llrt_engine *engine, const char *path)
{
    llrt_adapter_options o;
    llrt_adapter *adapter = NULL;
    llrt_adapter_options_init(&o, sizeof o);
    o.source = &f->source;
    check(llrt_adapter_open(engine, path, &o, &adapter, &err));
    return adapter;
}

static llrt_session *session_with(llrt_engine *engine, llrt_adapter *const *adapters,
                                  const float *scales, size_t n)
{
    llrt_session *const session = new_session(engine);
    check(llrt_session_set_adapters(session, adapters, scales, n, &err));
    return session;
}

/* Logits of all rows of the fixture's text. */
static float *all_logits(fixture *f, llrt_engine *engine, llrt_adapter *const *adapters,
                         const float *scales, size_t n)
{
    float *const out = malloc(N_TEXT * TINY_VOCAB * sizeof *out);
    llrt_session *const session = session_with(engine, adapters, scales, n);
    const float *row = NULL;
    check(llrt_session_append(session, f->text, N_TEXT, LLRT_LOGITS_ALL, &err));
    check(llrt_session_logits(session, 0, &row, &err));
    memcpy(out, row, N_TEXT * TINY_VOCAB * sizeof *out);
    llrt_session_free(session);
    return out;
}

/* The largest difference, relative to the largest value. */
static double difference(const float *a, const float *b, size_t n)
{
    double most = 0, largest = 0;
    for (size_t i = 0; i < n; i++) {
        most = test_larger(most, fabs((double)a[i] - b[i]));
        largest = test_larger(largest, fabs((double)b[i]));
    }
    return most / largest;
}

static void expect_near(const float *found, const float *expected, const char *what)
{
    const double d = difference(found, expected, (size_t)N_TEXT * TINY_VOCAB);
    if (d > 1e-5) print_error("%s: difference %g\n", what, d);
    assert_true(d <= 1e-5);
}

static void test_attached_equals_merged(void **state)
{
    (void)state;
    static const char *const models[] = {"m.gguf", "m"}, *const merged[] = {"x.gguf", "x"};
    static const char *const adapters[] = {"l.gguf", "l"};
    fixture f;
    net other;
    net_lora lora;
    init(&f, 11);
    net_init(&other, 11);
    lora_init(&lora, &f.model, 12, 5, 7.0f);
    lora_merge(&lora, &other, 1.0);
    add_model(&f, &f.model, "m.gguf", "m/model.safetensors", "m/config.json");
    add_model(&f, &other, "x.gguf", "x/model.safetensors", "x/config.json");
    add_adapter(&f, &lora, "l.gguf", "l/adapter_model.safetensors", "l/adapter_config.json");
    for (int kind = 0; kind < 2; kind++) {
        llrt_engine *const reference = open_engine(&f, merged[kind], 0, 0);
        float *const expected = all_logits(&f, reference, NULL, NULL, 0);
        llrt_engine *const engine = open_engine(&f, models[kind], 2, 5);
        float *const plain = all_logits(&f, engine, NULL, NULL, 0);
        assert_true(difference(plain, expected, (size_t)N_TEXT * TINY_VOCAB) > 0.1);
        for (int i = 0; i < 2; i++) {
            llrt_adapter *const adapter = open_adapter(&f, engine, adapters[i]);
            llrt_adapter_info info = {.struct_size = sizeof info};
            check(llrt_adapter_get_info(adapter, &info, &err));
            assert_int_equal(info.n_weight, lora.n);
            assert_int_equal(info.rank, 5);
            float *const found = all_logits(&f, engine, &adapter, NULL, 1);
            expect_near(found, expected, adapters[i]);
            llrt_adapter_close(adapter);
            free(found);
        }
        free(plain);
        free(expected);
        llrt_engine_close(engine);
        llrt_engine_close(reference);
    }
    net_free(&other);
    lora_free(&lora);
    done(&f);
}

static void test_stages_give_the_same_bits(void **state)
{
    (void)state;
    fixture f;
    net_lora lora;
    init(&f, 21);
    lora_init(&lora, &f.model, 22, 4, 4.0f);
    add_model(&f, &f.model, "m.gguf", "m/model.safetensors", "m/config.json");
    add_adapter(&f, &lora, "l.gguf", NULL, NULL);
    float *logits[2];
    for (int i = 0; i < 2; i++) {
        static const llrt_placement stages[2] = {{"cpu", 1}, {"cpu", 2}};
        llrt_engine_options o = adapter_options(&f, 1, 4);
        llrt_engine *engine = NULL;
        if (i) {
            o.placement = stages;
            o.n_placement = 2;
        }
        check(llrt_engine_open("m.gguf", &o, &engine, &err));
        llrt_adapter *const adapter = open_adapter(&f, engine, "l.gguf");
        logits[i] = all_logits(&f, engine, &adapter, NULL, 1);
        llrt_adapter_close(adapter);
        llrt_engine_close(engine);
    }
    assert_memory_equal(logits[0], logits[1], N_TEXT * TINY_VOCAB * sizeof *logits[0]);
    free(logits[0]);
    free(logits[1]);
    lora_free(&lora);
    done(&f);
}

static void test_several_with_scales(void **state)
{
    (void)state;
    fixture f;
    net other;
    net_lora lora[2];
    init(&f, 31);
    net_init(&other, 31);
    const float scales[2] = {0.5f, -1.25f};
    for (uint32_t i = 0; i < 2; i++) {
        lora_init(&lora[i], &f.model, 32 + i, 3 + i, 4.0f);
        lora_merge(&lora[i], &other, scales[i]);
    }
    add_model(&f, &f.model, "m.gguf", "m/model.safetensors", "m/config.json");
    add_model(&f, &other, "x.gguf", "x/model.safetensors", "x/config.json");
    add_adapter(&f, &lora[0], "a.gguf", NULL, NULL);
    add_adapter(&f, &lora[1], "b.gguf", NULL, NULL);
    llrt_engine *const reference = open_engine(&f, "x.gguf", 0, 0);
    llrt_engine *const engine = open_engine(&f, "m.gguf", 2, 4);
    llrt_adapter *adapters[2] = {open_adapter(&f, engine, "a.gguf"),
                                 open_adapter(&f, engine, "b.gguf")};
    float *const expected = all_logits(&f, reference, NULL, NULL, 0);
    float *const found = all_logits(&f, engine, adapters, scales, 2);
    expect_near(found, expected, "two adapters");
    free(found);
    free(expected);
    llrt_adapter_close(adapters[0]);
    llrt_adapter_close(adapters[1]);
    llrt_engine_close(reference);
    llrt_engine_close(engine);
    for (int i = 0; i < 2; i++) lora_free(&lora[i]);
    net_free(&other);
    done(&f);
}

enum { N_MIXED = 16 };

/* One adapter with the matrices of lora but b scaled, so that each is another one. */
static void add_variant(fixture *f, const net_lora *lora, uint32_t i, char name[16])
{
    net_lora copy = *lora;
    copy.alpha = 1.0f + (float)i;
    snprintf(name, 16, "v%u.gguf", i);
    size_t n;
    void *const data = lora_gguf(&copy, "llama", &n);
    memory_files_add(&f->files, name, data, n);
    f->owned[f->n_owned++] = data;
}

static void test_sixteen_in_one_step(void **state)
{
    (void)state;
    fixture f;
    net_lora lora;
    char name[2][16];
    init(&f, 41);
    lora_init(&lora, &f.model, 42, 8, 1.0f);
    add_model(&f, &f.model, "m.gguf", "m/model.safetensors", "m/config.json");
    for (uint32_t i = 0; i < 2; i++) add_variant(&f, &lora, i, name[i]);
    llrt_engine *const engine = open_engine(&f, "m.gguf", N_MIXED, 8);
    llrt_adapter *adapters[N_MIXED];
    llrt_session *sessions[N_MIXED];
    llrt_step_entry entries[N_MIXED];
    float *alone[N_MIXED];
    for (int i = 0; i < N_MIXED; i++) {
        const float scale = 0.1f * (float)(i + 1);
        adapters[i] = open_adapter(&f, engine, name[i % 2]);
        alone[i] = all_logits(&f, engine, &adapters[i], &scale, 1);
        sessions[i] = session_with(engine, &adapters[i], &scale, 1);
        check(llrt_session_append(sessions[i], f.text, 40 + (size_t)i, LLRT_LOGITS_NONE, &err));
    }
    const uint64_t before = stats_of(engine).n_step;
    for (int i = 0; i < N_MIXED; i++) {
        llrt_step_entry_init(&entries[i], sizeof entries[i]);
        entries[i].session = sessions[i];
        entries[i].input.tokens = f.text + 40 + i;
        entries[i].input.n_tok = 3;
        entries[i].input.logits = LLRT_LOGITS_ALL;
    }
    check(llrt_engine_step(engine, entries, N_MIXED, sizeof entries[0], &err));
    assert_true(stats_of(engine).n_step - before < N_MIXED);
    for (int i = 0; i < N_MIXED; i++) {
        const float *row = NULL;
        check(llrt_session_logits(sessions[i], 0, &row, &err));
        assert_memory_equal(row, alone[i] + (size_t)(40 + i) * TINY_VOCAB,
                            3 * TINY_VOCAB * sizeof *row);
        for (int k = 0; k < i; k++)
            assert_memory_not_equal(alone[i], alone[k], TINY_VOCAB * sizeof *alone[i]);
    }
    for (int i = 0; i < N_MIXED; i++) {
        llrt_adapter_close(adapters[i]);
        llrt_session_free(sessions[i]);
        free(alone[i]);
    }
    llrt_engine_close(engine);
    lora_free(&lora);
    done(&f);
}

/* A model, an adapter of rank 4 and one of rank 9, in an engine for two of rank 4. */
typedef struct small {
    fixture f;
    net_lora lora;
    llrt_engine *engine;
} small;

static int set_up(void **state)
{
    small *const s = malloc(sizeof *s);
    net_lora wide;
    init(&s->f, 51);
    lora_init(&s->lora, &s->f.model, 52, 4, 4.0f);
    lora_init(&wide, &s->f.model, 53, 9, 4.0f);
    add_model(&s->f, &s->f.model, "m.gguf", "m/model.safetensors", "m/config.json");
    add_adapter(&s->f, &s->lora, "l.gguf", "l/adapter_model.safetensors", "l/adapter_config.json");
    add_adapter(&s->f, &wide, "wide.gguf", NULL, NULL);
    lora_free(&wide);
    s->engine = open_engine(&s->f, "m.gguf", 2, 4);
    *state = s;
    return 0;
}

static int tear_down(void **state)
{
    small *const s = *state;
    llrt_engine_close(s->engine);
    lora_free(&s->lora);
    done(&s->f);
    free(s);
    return 0;
}

static void test_attaching_needs_an_empty_session(void **state)
{
    small *const s = *state;
    llrt_adapter *const a = open_adapter(&s->f, s->engine, "l.gguf");
    llrt_session *const session = new_session(s->engine);
    const float half = 0.5f;
    check(llrt_session_append(session, s->f.text, 3, LLRT_LOGITS_LAST, &err));
    check_fails(LLRT_ERR_STATE, llrt_session_set_adapters(session, &a, NULL, 1, &err));
    check(llrt_session_set_adapters(session, NULL, NULL, 0, &err)); /* as it is */
    check(llrt_session_rewind(session, 0, &err));
    check(llrt_session_set_adapters(session, &a, NULL, 1, &err));
    check(llrt_session_append(session, s->f.text, 3, LLRT_LOGITS_LAST, &err));
    check(llrt_session_set_adapters(session, &a, NULL, 1, &err)); /* the same */
    check_fails(LLRT_ERR_STATE, llrt_session_set_adapters(session, &a, &half, 1, &err));
    check_fails(LLRT_ERR_STATE, llrt_session_set_adapters(session, NULL, NULL, 0, &err));
    assert_int_equal(llrt_session_n_tok(session), 3);
    llrt_session_free(session);
    llrt_adapter_close(a);
}

static void test_bad_arguments(void **state)
{
    small *const s = *state;
    llrt_engine *const other = open_engine(&s->f, "m.gguf", 1, 4);
    llrt_adapter *const a = open_adapter(&s->f, s->engine, "l.gguf"), *const foreign = open_adapter(
                                                                          &s->f, other, "l.gguf");
    llrt_session *const session = new_session(s->engine);
    llrt_error e = LLRT_ERROR_INIT;
    const float scales[2] = {1, NAN};
    llrt_adapter *const twice[2] = {a, a}, *const none[2] = {a, NULL}, *const far[2] = {a, foreign};
    assert_int_equal(llrt_session_set_adapters(session, twice, NULL, 2, &e), LLRT_ERR_ARGUMENT);
    assert_int_equal(e.position, 1);
    check_fails(LLRT_ERR_ARGUMENT, llrt_session_set_adapters(session, none, NULL, 2, &err));
    check_fails(LLRT_ERR_ARGUMENT, llrt_session_set_adapters(session, far, NULL, 2, &err));
    check_fails(LLRT_ERR_ARGUMENT, llrt_session_set_adapters(session, &a, scales + 1, 1, &err));
    check_fails(LLRT_ERR_ARGUMENT, llrt_session_set_adapters(session, NULL, NULL, 1, &err));
    check_fails(LLRT_ERR_ARGUMENT, llrt_session_set_adapters(NULL, &a, NULL, 1, &err));
    llrt_session_free(session);
    llrt_adapter_close(a);
    llrt_engine_close(other);
    llrt_adapter_close(foreign); /* the last user of its engine */
    llrt_adapter_close(NULL);
}

static void test_room_is_given_back(void **state)
{
    small *const s = *state;
    llrt_adapter_options o;
    llrt_error e = LLRT_ERROR_INIT;
    llrt_adapter *a = open_adapter(&s->f, s->engine, "l.gguf");
    llrt_adapter *const b = open_adapter(&s->f, s->engine, "l"), *c = NULL;
    llrt_session *const session = session_with(s->engine, &a, NULL, 1);
    llrt_adapter_options_init(&o, sizeof o);
    o.source = &s->f.source;
    assert_int_equal(llrt_adapter_open(s->engine, "l.gguf", &o, &c, &e), LLRT_ERR_STATE);
    assert_string_equal(e.field, "n_adapter");
    assert_null(c);
    llrt_adapter_close(a); /* the session still computes with it */
    check_fails(LLRT_ERR_STATE, llrt_adapter_open(s->engine, "l.gguf", &o, &c, &err));
    check(llrt_session_append(session, s->f.text, 3, LLRT_LOGITS_LAST, &err));
    llrt_session_free(session);
    a = open_adapter(&s->f, s->engine, "l.gguf");
    llrt_adapter_close(a);
    llrt_adapter_close(b);
}

static void test_engines_without_room(void **state)
{
    small *const s = *state;
    llrt_engine *const none = open_engine(&s->f, "m.gguf", 0, 0);
    llrt_engine_options options = adapter_options(&s->f, 0, 0);
    llrt_adapter_options o;
    llrt_error e = LLRT_ERROR_INIT;
    llrt_adapter *a = NULL;
    llrt_engine *engine = NULL;
    llrt_adapter_options_init(&o, sizeof o);
    o.source = &s->f.source;
    assert_int_equal(llrt_adapter_open(none, "l.gguf", &o, &a, &e), LLRT_ERR_STATE);
    assert_string_equal(e.field, "n_adapter");
    assert_int_equal(llrt_adapter_open(s->engine, "wide.gguf", &o, &a, &e), LLRT_ERR_STATE);
    assert_string_equal(e.field, "adapter_rank");
    assert_non_null(strstr(e.text, "rank 9"));
    llrt_engine_close(none);
    options.n_adapter = 3;
    assert_int_equal(llrt_engine_open("m.gguf", &options, &engine, &e), LLRT_ERR_ARGUMENT);
    assert_string_equal(e.field, "adapter_rank");
    options.n_adapter = 100000;
    options.adapter_rank = 8;
    assert_int_equal(llrt_engine_open("m.gguf", &options, &engine, &e), LLRT_ERR_ARGUMENT);
    assert_string_equal(e.field, "n_adapter");
}

/* Refused for what it is in relation to the model. */
static void expect_mismatch(small *s, const net_lora *lora, const char *architecture,
                            llrt_status status, const char *text)
{
    size_t n;
    void *const data = lora_gguf(lora, architecture, &n);
    const size_t n_file = s->f.files.n_file;
    llrt_adapter_options o;
    llrt_error e = LLRT_ERROR_INIT;
    llrt_adapter *a;
    memory_files_add(&s->f.files, "bad.gguf", data, n);
    llrt_adapter_options_init(&o, sizeof o);
    o.source = &s->f.source;
    const llrt_status found = llrt_adapter_open(s->engine, "bad.gguf", &o, &a, &e);
    if (found != status || !strstr(e.text, text))
        print_error("%s: %s\n", llrt_status_name(found), e.text);
    assert_int_equal(found, status);
    assert_non_null(strstr(e.text, text));
    assert_string_equal(e.file, "bad.gguf");
    s->f.files.n_file = n_file;
    free(data);
}

static void test_adapters_of_other_models(void **state)
{
    small *const s = *state;
    net_weight other = *s->lora.change[0].weight;
    net_lora lora = {.n = 1, .alpha = 1, .rank = 4};
    const float zeros[4 * 64] = {0};
    lora.change[0] = (net_change){&other, 4, (float *)(uintptr_t)zeros, (float *)(uintptr_t)zeros};
    expect_mismatch(s, &lora, "gemma", LLRT_ERR_MISMATCH, "\"gemma\"");
    strcpy(other.gguf, "blk.7.attn_q.weight");
    expect_mismatch(s, &lora, "llama", LLRT_ERR_MISMATCH, "no weight 'blk.7.attn_q.weight'");
    strcpy(other.gguf, "blk.1.attn_q.weight");
    other.d_in++;
    expect_mismatch(s, &lora, "llama", LLRT_ERR_MISMATCH, "found 29 inputs");
    other.d_in--;
    other.d_out += other.n_head;
    expect_mismatch(s, &lora, "llama", LLRT_ERR_MISMATCH, "outputs");
    other.n_head = 0;
    strcpy(other.gguf, "blk.0.attn_norm.weight");
    expect_mismatch(s, &lora, "llama", LLRT_ERR_UNSUPPORTED, "plain linear");
}

static void test_elements_must_be_finite(void **state)
{
    small *const s = *state;
    float *const a = s->lora.change[1].a, kept = a[5];
    a[5] = INFINITY;
    expect_mismatch(s, &s->lora, "llama", LLRT_ERR_FORMAT, "element 5");
    a[5] = kept;
}

static void test_prefixes_are_shared_by_equal_sets_only(void **state)
{
    small *const s = *state;
    llrt_adapter *const a = open_adapter(&s->f, s->engine, "l.gguf");
    const float half = 0.5f;
    struct {
        llrt_adapter *const *adapters;
        const float *scale;
        uint64_t n_reused;
    } cases[] = {{&a, NULL, 0}, {NULL, NULL, 0}, {&a, &half, 0}, {&a, NULL, 64}, {NULL, NULL, 64}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        llrt_session *const session =
            session_with(s->engine, cases[i].adapters, cases[i].scale, cases[i].adapters != NULL);
        const uint64_t before = stats_of(s->engine).n_tok_reused;
        check(llrt_session_append(session, s->f.text, N_TEXT, LLRT_LOGITS_LAST, &err));
        assert_int_equal(stats_of(s->engine).n_tok_reused - before, cases[i].n_reused);
        llrt_session_free(session);
    }
    llrt_adapter_close(a);
    /* Loaded again it is the same one. */
    llrt_adapter *const again = open_adapter(&s->f, s->engine, "l.gguf");
    llrt_session *const session = session_with(s->engine, &again, NULL, 1);
    const uint64_t before = stats_of(s->engine).n_tok_reused;
    check(llrt_session_append(session, s->f.text, N_TEXT, LLRT_LOGITS_LAST, &err));
    assert_int_equal(stats_of(s->engine).n_tok_reused - before, 64);
    llrt_session_free(session);
    llrt_adapter_close(again);
}

static void test_forks_inherit(void **state)
{
    small *const s = *state;
    llrt_adapter *const a = open_adapter(&s->f, s->engine, "l.gguf");
    float *const expected = all_logits(&s->f, s->engine, &a, NULL, 1);
    llrt_session *const session = session_with(s->engine, &a, NULL, 1), *fork = NULL;
    check(llrt_session_append(session, s->f.text, 30, LLRT_LOGITS_LAST, &err));
    check(llrt_session_fork(session, &fork, &err));
    llrt_session_free(session);
    llrt_adapter_close(a);
    check(llrt_session_append(fork, s->f.text + 30, 5, LLRT_LOGITS_LAST, &err));
    assert_memory_equal(last_logits(fork), expected + 34 * TINY_VOCAB,
                        TINY_VOCAB * sizeof *expected);
    llrt_session_free(fork);
    free(expected);
}

typedef struct bytes {
    uint8_t data[1 << 18];
    size_t n, at;
} bytes;

static llrt_status write_bytes(void *ctx, const void *data, size_t n, llrt_error *err)
{
    bytes *const b = ctx;
    (void)err;
    assert_true(b->n + n <= sizeof b->data);
    memcpy(b->data + b->n, data, n);
    b->n += n;
    return LLRT_OK;
}

static llrt_status read_bytes(void *ctx, void *data, size_t n, llrt_error *err)
{
    bytes *const b = ctx;
    (void)err;
    assert_true(b->at + n <= b->n);
    memcpy(data, b->data + b->at, n);
    b->at += n;
    return LLRT_OK;
}

static void test_saved_sessions_remember(void **state)
{
    small *const s = *state;
    static bytes with, without;
    llrt_adapter *const a = open_adapter(&s->f, s->engine, "l.gguf");
    llrt_session *const session = session_with(s->engine, &a, NULL, 1);
    llrt_session *const plain = new_session(s->engine);
    with.n = without.n = 0;
    check(llrt_session_append(session, s->f.text, 30, LLRT_LOGITS_LAST, &err));
    check(llrt_session_append(plain, s->f.text, 30, LLRT_LOGITS_LAST, &err));
    check(llrt_session_save_to(session, write_bytes, &with, &err));
    check(llrt_session_save_to(plain, write_bytes, &without, &err));
    with.at = without.at = 0;
    check_fails(LLRT_ERR_MISMATCH, llrt_session_load_from(plain, read_bytes, &with, &err));
    check_fails(LLRT_ERR_MISMATCH, llrt_session_load_from(session, read_bytes, &without, &err));
    with.at = without.at = 0;
    check(llrt_session_rewind(session, 0, &err));
    check(llrt_session_load_from(session, read_bytes, &with, &err));
    check(llrt_session_load_from(plain, read_bytes, &without, &err));
    float *const expected = all_logits(&s->f, s->engine, &a, NULL, 1);
    check(llrt_session_append(session, s->f.text + 30, 1, LLRT_LOGITS_LAST, &err));
    assert_memory_equal(last_logits(session), expected + 30 * TINY_VOCAB,
                        TINY_VOCAB * sizeof *expected);
    free(expected);
    llrt_session_free(session);
    llrt_session_free(plain);
    llrt_adapter_close(a);
}

/* Opening fails for every allocation in turn, and leaves nothing behind. */
static void test_every_allocation_may_fail(void **state)
{
    small *const s = *state;
    class_heap heap;
    const llrt_allocator hooks = class_hooks(&heap);
    llrt_engine_options options = adapter_options(&s->f, 1, 4);
    llrt_engine *engine = NULL;
    llrt_adapter_options o;
    options.allocator = &hooks;
    check(llrt_engine_open("m.gguf", &options, &engine, &err));
    llrt_adapter_options_init(&o, sizeof o);
    o.source = &s->f.source;
    const size_t before = atomic_load(&heap.n_live);
    llrt_status status = LLRT_ERR_NOMEM;
    for (size_t at = 1; status != LLRT_OK; at++) {
        llrt_adapter *a = NULL;
        llrt_session *session = NULL;
        llrt_error e = LLRT_ERROR_INIT;
        atomic_store(&heap.n_call, 0);
        atomic_store(&heap.fail_at, at);
        status = llrt_adapter_open(engine, at % 2 ? "l.gguf" : "l", &o, &a, &e);
        if (status == LLRT_OK) status = llrt_session_create(engine, NULL, &session, &e);
        if (status == LLRT_OK) status = llrt_session_set_adapters(session, &a, NULL, 1, &e);
        atomic_store(&heap.fail_at, 0);
        assert_true(status == LLRT_OK || status == LLRT_ERR_NOMEM);
        llrt_session_free(session);
        llrt_adapter_close(a);
        assert_int_equal(atomic_load(&heap.n_live), before);
        assert_true(at < 10000);
    }
    llrt_engine_close(engine);
}

/* ---- Under load ---- */

enum { N_RUNNER = 3, N_ROUND = 12 };

typedef struct runner {
    small *s;
    llrt_engine *engine;
    llrt_adapter *adapter; /* NULL: none */
    const float *expected; /* (N_TEXT, TINY_VOCAB) */
    atomic_int *n_left;
    int n_wrong;
} runner;

/* Computes the text again and again, in pieces, and compares. */
static void run_texts(void *arg)
{
    runner *const r = arg;
    const fixture *const f = &r->s->f;
    for (int round = 0; round < N_ROUND; round++) {
        llrt_session_options o;
        llrt_session *session = NULL;
        llrt_session_options_init(&o, sizeof o);
        o.salt = (uint64_t)round + 1;
        if (llrt_session_create(r->engine, &o, &session, NULL) < 0 ||
            llrt_session_set_adapters(session, &r->adapter, NULL, r->adapter != NULL, NULL) < 0 ||
            llrt_session_append(session, f->text, 70, LLRT_LOGITS_NONE, NULL) < 0) {
            r->n_wrong++;
        } else {
            for (size_t i = 70; i < 80; i++) {
                const float *row = NULL;
                if (llrt_session_append(session, f->text + i, 1, LLRT_LOGITS_LAST, NULL) < 0 ||
                    llrt_session_logits(session, -1, &row, NULL) < 0 ||
                    memcmp(row, r->expected + i * TINY_VOCAB, TINY_VOCAB * sizeof *row) != 0)
                    r->n_wrong++;
            }
        }
        llrt_session_free(session);
    }
    atomic_fetch_sub(r->n_left, 1);
}

static void test_hot_swap_under_load(void **state)
{
    small *const s = *state;
    llrt_engine *const engine = open_engine(&s->f, "m.gguf", N_RUNNER + 1, 9);
    static const char *const names[N_RUNNER] = {NULL, "l.gguf", "wide.gguf"};
    runner r[N_RUNNER];
    float *expected[N_RUNNER];
    llrti_thread thread[N_RUNNER];
    atomic_int n_left;
    atomic_init(&n_left, N_RUNNER);
    for (int i = 0; i < N_RUNNER; i++) {
        llrt_adapter *const a = names[i] ? open_adapter(&s->f, engine, names[i]) : NULL;
        expected[i] = all_logits(&s->f, engine, &a, NULL, a != NULL);
        r[i] = (runner){s, engine, a, expected[i], &n_left, 0};
    }
    for (int i = 0; i < N_RUNNER; i++)
        assert_true(llrti_thread_create(&thread[i], run_texts, &r[i], "runner"));
    /* Meanwhile one slot changes hands, used or not. */
    uint32_t n_swap = 0;
    do {
        const int which = 1 + (int)(n_swap % 2);
        llrt_adapter *const a = open_adapter(&s->f, engine, names[which]);
        llrt_session *const session = session_with(engine, &a, NULL, 1);
        if (n_swap % 3) llrt_adapter_close(a);
        check(llrt_session_append(session, s->f.text, 3, LLRT_LOGITS_ALL, &err));
        const float *row = NULL;
        check(llrt_session_logits(session, 0, &row, &err));
        assert_memory_equal(row, expected[which], 3 * TINY_VOCAB * sizeof *row);
        llrt_session_free(session);
        if (n_swap % 3 == 0) llrt_adapter_close(a);
        n_swap++;
    } while (atomic_load(&n_left) > 0);
    for (int i = 0; i < N_RUNNER; i++) {
        llrti_thread_join(&thread[i]);
        assert_int_equal(r[i].n_wrong, 0);
        llrt_adapter_close(r[i].adapter);
        free(expected[i]);
    }
    print_message("%u swaps\n", n_swap);
    llrt_engine_close(engine);
}

int main(void)
{
#define WITH_SMALL(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_attached_equals_merged),
        cmocka_unit_test(test_stages_give_the_same_bits),
        cmocka_unit_test(test_several_with_scales),
        cmocka_unit_test(test_sixteen_in_one_step),
        WITH_SMALL(test_attaching_needs_an_empty_session),
        WITH_SMALL(test_bad_arguments),
        WITH_SMALL(test_room_is_given_back),
        WITH_SMALL(test_engines_without_room),
        WITH_SMALL(test_adapters_of_other_models),
        WITH_SMALL(test_elements_must_be_finite),
        WITH_SMALL(test_prefixes_are_shared_by_equal_sets_only),
        WITH_SMALL(test_forks_inherit),
        WITH_SMALL(test_saved_sessions_remember),
        WITH_SMALL(test_every_allocation_may_fail),
        WITH_SMALL(test_hot_swap_under_load),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
