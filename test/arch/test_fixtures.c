/* SPDX-License-Identifier: MIT */
/*
 * Whole models against logits of independent implementations.
 *
 * The fixtures are tiny checkpoints with the logits of every position in float32 or float64; the
 * tolerance, 1e-5 of the largest logit, is what float32 sums of these sizes allow. Each runs on
 * every backend this program has (the CPU backend at each of its ISA levels, the hostile plug-
 * in), whole and cut into two stages, in one chunk and token by token. Two trained models follow,
 * against float32 engines: absolute bounds there. Environment: LLRT_TEST_DATA is the folder of
 * test data, LLRT_TEST_MODELS that of the demo model, LLRT_TEST_FIXTURES test/arch/fixtures,
 * LLRT_TEST_HOSTILE the plug-in.
 */
#include <dlfcn.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "run_model.h"
#include "test_support.h"

llrt_status llrti_cpu_backend_entry(uint32_t version, llrt_backend *table, llrt_error *err);

/* A backend at a level. */
typedef struct place {
    const char *name, *isa;
    const llrt_backend *backend;
} place;

#define MAX_PLACE 8
static llrt_backend cpu, hostile;
static place places[MAX_PLACE];
static size_t n_place;
static void *plug_in;

static int find_places(void **state)
{
    static const char *const levels[] = {"ref", "avx2", "avx512", "neon"};
    (void)state;
    cpu.struct_size = hostile.struct_size = sizeof cpu;
    if (llrti_cpu_backend_entry(LLRT_BACKEND_VERSION, &cpu, NULL) < 0) return -1;
    for (size_t i = 0; i < LLRTI_COUNT(levels); i++)
        places[n_place++] = (place){levels[i], levels[i], &cpu};
    places[n_place++] = (place){"best", NULL, &cpu};
    const char *const path = getenv("LLRT_TEST_HOSTILE");
    if (!path) {
        print_message("hostile backend left out: LLRT_TEST_HOSTILE is not set\n");
        return 0;
    }
    plug_in = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!plug_in) return -1;
    void *const symbol = dlsym(plug_in, LLRT_BACKEND_ENTRY);
    llrt_backend_entry_fn entry;
    memcpy(&entry, &symbol, sizeof entry);
    if (!symbol || entry(LLRT_BACKEND_VERSION, &hostile, NULL) < 0) return -1;
    places[n_place++] = (place){"hostile", "ref", &hostile};
    return 0;
}

static int forget_places(void **state)
{
    (void)state;
    if (plug_in) dlclose(plug_in);
    return 0;
}

/* What a model has to give: sequences, and for each the logits of every position. */
typedef struct expectation {
    uint32_t n_sequence, n_vocab; /* or the width of hidden states, or of a score */
    bool is_score;                /* of the first position only */
    struct {
        uint32_t n_tok, n_row; /* rows that are compared */
        int32_t token[512];
        bool has_type;
        uint8_t type[512];
        float *logits; /* (n_tok, n_vocab) */
        float *
            bits; /* the same as the first run gave them: all others must give these bits; NULL before it */
    } sequence[8];
} expectation;

static void free_expectation(expectation *e)
{
    for (uint32_t i = 0; i < e->n_sequence; i++) {
        free(e->sequence[i].logits);
        free(e->sequence[i].bits);
    }
    memset(e, 0, sizeof *e);
}

static void read_tokens(const llrti_json *list, expectation *e, uint32_t i)
{
    assert_true(list && list->n > 0 && list->n <= 512);
    e->sequence[i].n_tok = list->n;
    for (uint32_t k = 0; k < list->n; k++)
        e->sequence[i].token[k] = (int32_t)llrti_json_int(llrti_json_at(list, k), -1);
    e->sequence[i].n_row = e->is_score ? 1 : list->n;
}

static void read_types(const llrti_json *list, expectation *e, uint32_t i)
{
    if (!list) return;
    assert_int_equal(list->n, e->sequence[i].n_tok);
    e->sequence[i].has_type = true;
    for (uint32_t k = 0; k < list->n; k++)
        e->sequence[i].type[k] = (uint8_t)llrti_json_int(llrti_json_at(list, k), 0);
}

static llrti_json_doc *parse_file(llrti_mem *mem, const char *path)
{
    size_t n;
    llrti_json_doc *doc = NULL;
    llrt_error err = LLRT_ERROR_INIT;
    char *const text = test_read_file(path, &n);
    if (!text) return NULL;
    if (llrti_json_parse(mem, text, n, &doc, &err) < 0) fail_msg("%s: %s", path, err.text);
    free(text);
    return doc;
}

/* Logits as numbers in the JSON file, one flat list or rows of lists. */
static void read_numbers(const llrti_json *list, float *to, size_t n)
{
    size_t k = 0;
    for (uint32_t i = 0; i < list->n; i++) {
        const llrti_json *const item = llrti_json_at(list, i);
        const uint32_t n_inner = item->type == LLRTI_JSON_ARRAY ? item->n : 1;
        for (uint32_t j = 0; j < n_inner; j++) {
            assert_true(k < n);
            to[k++] = (float)llrti_json_double(
                item->type == LLRTI_JSON_ARRAY ? llrti_json_at(item, j) : item, NAN);
        }
    }
    assert_int_equal(k, n);
}

static bool read_json_reference(const char *path, uint32_t n_vocab, expectation *e)
{
    llrti_mem mem;
    llrti_mem_init(&mem, NULL);
    memset(e, 0, sizeof *e);
    llrti_json_doc *const doc = parse_file(&mem, path);
    if (!doc) return false;
    const llrti_json *const root = llrti_json_root(doc);
    const llrti_json *const sequences = llrti_json_get(root, "sequences");
    const llrti_json *const types = llrti_json_get(root, "token_types");
    const llrti_json *logits = llrti_json_get(root, "logits");
    if (!logits) logits = llrti_json_get(root, "hidden");
    if (!logits) {
        logits = llrti_json_get(root, "score");
        e->is_score = true;
    }
    assert_true(sequences && logits && sequences->n == logits->n && sequences->n <= 8);
    e->n_sequence = sequences->n;
    e->n_vocab = n_vocab;
    for (uint32_t i = 0; i < sequences->n; i++) {
        read_tokens(llrti_json_at(sequences, i), e, i);
        read_types(types ? llrti_json_at(types, i) : NULL, e, i);
        const size_t n = (size_t)e->sequence[i].n_row * n_vocab;
        e->sequence[i].logits = malloc(n * sizeof(float));
        assert_non_null(e->sequence[i].logits);
        read_numbers(llrti_json_at(logits, i), e->sequence[i].logits, n);
    }
    llrti_json_free(doc);
    return true;
}

/* Largest difference of any logit, and the largest logit there is. */
static double compare(const expectation *e, uint32_t i, const float *logits, double *largest)
{
    double worst = 0;
    *largest = 0;
    for (size_t k = 0; k < (size_t)e->sequence[i].n_row * e->n_vocab; k++) {
        const double difference = fabs((double)logits[k] - (double)e->sequence[i].logits[k]);
        if (!(difference <= worst)) worst = difference; /* a NaN stays */
        *largest = test_larger(*largest, fabs((double)e->sequence[i].logits[k]));
    }
    return worst;
}

/* The bound: `relative` to the largest logit of the sequence when not 0, else `absolute`. */
typedef struct bound {
    double relative, absolute;
} bound;

/* Keeps the first run's logits and holds every later one to their bits. */
static void check_bits(expectation *e, uint32_t i, float *logits, const char *what)
{
    float **const first = &e->sequence[i].bits;
    if (!*first) {
        *first = logits;
        return;
    }
    for (size_t k = 0; k < (size_t)e->sequence[i].n_row * e->n_vocab; k++)
        if (memcmp(&logits[k], &(*first)[k], sizeof(float)) != 0)
            fail_msg("%s, sequence %u: logit %zu is %a, the first run had %a", what, i, k,
                     (double)logits[k], (double)(*first)[k]);
    free(logits);
}

static void forget_bits(expectation *e)
{
    for (uint32_t i = 0; i < e->n_sequence; i++) {
        free(e->sequence[i].bits);
        e->sequence[i].bits = NULL;
    }
}

static void check_run(run_model *run, expectation *e, uint32_t chunk, bound limit, const char *what)
{
    llrt_error err = LLRT_ERROR_INIT;
    assert_int_equal(e->is_score ? run->model->n_label : run_model_width(run), e->n_vocab);
    double worst_share = 0;
    for (uint32_t i = 0; i < e->n_sequence; i++) {
        const uint32_t n = e->sequence[i].n_tok;
        float *const logits = malloc((size_t)n * e->n_vocab * sizeof(float));
        assert_non_null(logits);
        const run_text text = {.token = e->sequence[i].token,
                               .type = e->sequence[i].has_type ? e->sequence[i].type : NULL,
                               .n_tok = n,
                               .wants_score = e->is_score};
        if (run_model_run(run, &text, chunk, logits, &err) < 0)
            fail_msg("%s, sequence %u: %s", what, i, err.text);
        double largest;
        const double worst = compare(e, i, logits, &largest);
        const double allowed = limit.relative > 0 ? limit.relative * largest : limit.absolute;
        if (!(worst <= allowed))
            fail_msg("%s, sequence %u: off by %.3g, allowed are %.3g (largest logit %.3g)", what, i,
                     worst, allowed, largest);
        check_bits(e, i, logits, what);
        worst_share = test_larger(worst_share, worst / allowed);
    }
    print_message("  %-40s worst is %.3g of what is allowed\n", what, worst_share);
}

/* One model on one backend; false when this machine does not have the ISA level. */
static bool check_place(const char *path, const place *p, expectation *e, uint32_t n_stage,
                        bound limit)
{
    llrt_error err = LLRT_ERROR_INIT;
    run_model run;
    const run_options options = {.path = path,
                                 .backend = p->backend,
                                 .isa = p->isa,
                                 .precision = LLRT_PRECISION_F32,
                                 .kv_type = LLRT_TYPE_F32,
                                 .n_stage = n_stage};
    const llrt_status status = run_model_open(&run, &options, &err);
    if (status == LLRT_ERR_UNSUPPORTED && p->isa) {
        print_message("  %s: left out, %s\n", p->name, err.text);
        return false;
    }
    if (status < 0) fail_msg("%s on %s: %s", path, p->name, err.text);
    char what[80];
    const char *const slash = strrchr(path, '/');
    /* An encoder's text is computed in one step. */
    for (uint32_t chunk = 512; chunk; chunk = chunk == 512 && !run.model->is_bidirectional) {
        snprintf(what, sizeof what, "%.30s %s, %u stage%s, chunk %u", slash ? slash + 1 : path,
                 p->name, n_stage, n_stage > 1 ? "s" : "", chunk);
        check_run(&run, e, chunk, limit, what);
    }
    run_model_close(&run);
    return true;
}

static void check_everywhere(const char *path, expectation *e, bound limit)
{
    size_t n_run = 0;
    forget_bits(e);
    for (size_t i = 0; i < n_place; i++) {
        if (!check_place(path, &places[i], e, 1, limit)) continue;
        check_place(path, &places[i], e, 2, limit);
        n_run++;
    }
    assert_true(n_run > 0);
}

/* Logits of a position; for a model without them, elements of its hidden states. */
static uint32_t width_of(const char *path)
{
    llrti_mem mem;
    llrti_mem_init(&mem, NULL);
    llrti_model_file *file;
    llrti_model *model = NULL;
    llrt_error err = LLRT_ERROR_INIT;
    const llrti_model_file_options options = {0};
    if (llrti_model_file_open(&mem, path, &options, &file, &err) < 0 ||
        llrti_model_create(&mem, file, 0, &model, &err) < 0)
        fail_msg("%s: %s", path, err.text);
    const uint32_t n = model->score != LLRT_NONE    ? model->n_label
                       : model->logits != LLRT_NONE ? model->n_vocab
                                                    : model->d_model;
    llrti_model_free(model);
    llrti_model_file_close(file);
    assert_int_equal(mem.total_live, 0);
    return n;
}

static void check_fixture(const char *folder, const char *name, double relative)
{
    char path[512], reference[600];
    expectation e;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    snprintf(reference, sizeof reference, "%s/reference.json", path);
    assert_true(read_json_reference(reference, width_of(path), &e));
    check_everywhere(path, &e, (bound){.relative = relative});
    free_expectation(&e);
}

/* Checkpoints that nobody here made. */
static void check_foreign_fixture(const char *name, double relative)
{
    char folder[400];
    const char *const data = test_data_folder();
    if (!data) skip();
    snprintf(folder, sizeof folder, "%s/numeric/architectures", data);
    check_fixture(folder, name, relative);
}

/*
 * Checkpoints of this repository (test/tools/make_fixtures.py), with what another implementation
 * computes: families that are known from configuration only.
 */
static void test_own_fixtures(void **state)
{
    (void)state;
    static const char *const names[] = {"bert_score",
                                        "bloom",
                                        "cohere",
                                        "cohere2",
                                        "falcon_alibi",
                                        "falcon_groups",
                                        "gemma",
                                        "glm",
                                        "glm4",
                                        "gptj",
                                        "gptneox",
                                        "granite",
                                        "internlm2",
                                        "minicpm",
                                        "modernbert_score",
                                        "olmo3",
                                        "opt",
                                        "phi",
                                        "phi3_longrope",
                                        "smollm3",
                                        "stablelm",
                                        "xlmroberta_score"};
    const char *const folder = getenv("LLRT_TEST_FIXTURES");
    assert_non_null(folder);
    for (size_t i = 0; i < LLRTI_COUNT(names); i++) check_fixture(folder, names[i], 1e-5);
}

#define FIXTURE(name)                                                                              \
    static void test_##name(void **state)                                                          \
    {                                                                                              \
        (void)state;                                                                               \
        check_foreign_fixture(#name, 1e-5);                                                        \
    }
FIXTURE(llama)
FIXTURE(llama_sharded)
FIXTURE(mistral)
FIXTURE(qwen2)
FIXTURE(qwen3)
FIXTURE(gpt2)
FIXTURE(gemma2)
FIXTURE(gemma3)
FIXTURE(phi3)
FIXTURE(olmo2)
FIXTURE(starcoder2)
FIXTURE(falcon_mq)
FIXTURE(bert)
FIXTURE(modernbert)
FIXTURE(xlmroberta)
FIXTURE(mixtral)
FIXTURE(qwen3_moe)
FIXTURE(gpt_oss)
FIXTURE(gpt_oss_mxfp4)
FIXTURE(deepseek_v2)
FIXTURE(mamba2)

/*
 * Its reference is float32 through eight layers of a recurrence: a float64 evaluation of the same
 * checkpoint is up to 9.8e-6 of the largest logit away from it, a float32 one 1.4e-5.
 */
static void test_qwen3_5(void **state)
{
    (void)state;
    check_foreign_fixture("qwen3_5", 3e-5);
}

/*
 * The llama fixture as a GGUF: the same logits; with F16 weights up to 2^-11 for each of ten
 * products in a row.
 */
static void test_llama_gguf(void **state)
{
    (void)state;
    static const struct {
        const char *file;
        double relative;
    } files[] = {{"tiny_llama_f32.gguf", 1e-5}, {"tiny_llama_f16.gguf", 5e-3}};
    char path[512];
    expectation e;
    const char *const data = test_data_folder();
    if (!data) skip();
    snprintf(path, sizeof path, "%s/numeric/architectures/llama/reference.json", data);
    assert_true(read_json_reference(path, 11, &e));
    for (size_t i = 0; i < LLRTI_COUNT(files); i++) {
        snprintf(path, sizeof path, "%s/numeric/neural_api_quant/%s", data, files[i].file);
        check_everywhere(path, &e, (bound){.relative = files[i].relative});
    }
    free_expectation(&e);
}

/* Logits as raw float32, sequence after sequence. */
static void read_raw(const char *path, expectation *e)
{
    size_t n, at = 0;
    char *const raw = test_read_file(path, &n);
    assert_non_null(raw);
    for (uint32_t i = 0; i < e->n_sequence; i++) {
        const size_t bytes = (size_t)e->sequence[i].n_tok * e->n_vocab * sizeof(float);
        assert_true(at + bytes <= n);
        e->sequence[i].logits = malloc(bytes);
        assert_non_null(e->sequence[i].logits);
        memcpy(e->sequence[i].logits, raw + at, bytes);
        at += bytes;
    }
    assert_int_equal(at, n);
    free(raw);
}

/* A trained model against llama2.c, whose own arithmetic is float32 too. */
static void test_stories(void **state)
{
    (void)state;
    char path[512], side[512];
    expectation e = {.n_sequence = 1};
    llrti_mem mem;
    llrti_mem_init(&mem, NULL);
    const char *const data = test_data_folder();
    if (!data) skip();
    snprintf(path, sizeof path, "%s/models/stories260K/stories260Ktok512.gguf", data);
    snprintf(side, sizeof side, "%s/numeric/runc_logits/stories260K.json", data);
    llrti_json_doc *const doc = parse_file(&mem, side);
    assert_non_null(doc);
    e.n_vocab = (uint32_t)llrti_json_int(llrti_json_get(llrti_json_root(doc), "vocab"), 0);
    read_tokens(llrti_json_get(llrti_json_root(doc), "tokens"), &e, 0);
    llrti_json_free(doc);
    snprintf(side, sizeof side, "%s/numeric/runc_logits/stories260K.f32", data);
    read_raw(side, &e);
    check_everywhere(path, &e, (bound){.absolute = 2e-4});
    free_expectation(&e);
}

/* The demo model as F16 files against float32 logits of llama.cpp on the same weights. */
static void test_demo(void **state)
{
    (void)state;
    char path[600];
    size_t n;
    expectation e = {.n_vocab = 1664};
    llrti_mem mem;
    llrti_mem_init(&mem, NULL);
    const char *const models = getenv("LLRT_TEST_MODELS"), *const data = test_data_folder();
    assert_non_null(models); /* shipped with the project: never absent */
    snprintf(path, sizeof path, "%s/llrt-demo.reference.json", models);
    llrti_json_doc *const doc = parse_file(&mem, path);
    assert_non_null(doc);
    const llrti_json *const sequences = llrti_json_get(llrti_json_root(doc), "sequences");
    assert_true(sequences && sequences->n > 0 && sequences->n <= 8);
    e.n_sequence = sequences->n;
    for (uint32_t i = 0; i < sequences->n; i++)
        read_tokens(llrti_json_get(llrti_json_at(sequences, i), "tokens"), &e, i);
    llrti_json_free(doc);
    snprintf(path, sizeof path, "%s/llrt-demo.reference.f32", models);
    read_raw(path, &e);
    snprintf(path, sizeof path, "%s/llrt-demo.gguf", models);
    check_everywhere(path, &e, (bound){.absolute = 2e-4});
    snprintf(path, sizeof path, "%s/demo/hf/config.json", data ? data : "");
    char *const probe = data ? test_read_file(path, &n) : NULL;
    snprintf(path, sizeof path, "%s/demo/hf", data ? data : "");
    if (probe)
        check_everywhere(path, &e, (bound){.absolute = 2e-4});
    else
        print_message("left out: the demo model as a folder, no test data\n");
    free(probe);
    free_expectation(&e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_llama),         cmocka_unit_test(test_llama_sharded),
        cmocka_unit_test(test_mistral),       cmocka_unit_test(test_qwen2),
        cmocka_unit_test(test_qwen3),         cmocka_unit_test(test_gpt2),
        cmocka_unit_test(test_gemma2),        cmocka_unit_test(test_gemma3),
        cmocka_unit_test(test_phi3),          cmocka_unit_test(test_olmo2),
        cmocka_unit_test(test_starcoder2),    cmocka_unit_test(test_falcon_mq),
        cmocka_unit_test(test_bert),          cmocka_unit_test(test_modernbert),
        cmocka_unit_test(test_xlmroberta),    cmocka_unit_test(test_own_fixtures),
        cmocka_unit_test(test_llama_gguf),    cmocka_unit_test(test_mixtral),
        cmocka_unit_test(test_qwen3_moe),     cmocka_unit_test(test_gpt_oss),
        cmocka_unit_test(test_gpt_oss_mxfp4), cmocka_unit_test(test_deepseek_v2),
        cmocka_unit_test(test_mamba2),        cmocka_unit_test(test_qwen3_5),
        cmocka_unit_test(test_stories),       cmocka_unit_test(test_demo),
    };
    return cmocka_run_group_tests_name("architectures", tests, find_places, forget_places);
}
