/* SPDX-License-Identifier: MIT */
/*
 * Embeddings of a causal model against the definition over its hidden states; the same bits for any way of
 * cutting a text into steps; encoders against hidden states of another implementation; what can't be had is
 * refused. Taps likewise.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "adapter_support.h"
#include "json.h"

enum { N_TEXT = 100 };

typedef struct fixture {
    net model;
    llrt_blob blob;
    llrt_source source;
    llrt_engine *engine;
    int32_t text[N_TEXT];
    float hidden[N_TEXT][NET_D];
} fixture;

static llrt_engine *open_engine(const fixture *f, uint32_t n_step_tok, uint32_t n_step_out,
                                uint32_t n_stage)
{
    static const llrt_placement stages[2] = {{"cpu", 2}, {"cpu", 1}};
    static const uint32_t taps[2] = {0, 2};
    llrt_engine_options o = test_options(NULL);
    llrt_engine *engine = NULL;
    o.source = &f->source;
    o.precision = LLRT_PRECISION_F32;
    o.n_step_tok = n_step_tok;
    o.n_step_out = n_step_out;
    o.placement = stages;
    o.n_placement = n_stage == 2 ? 2 : 0;
    o.tap_layer = taps;
    o.n_tap = 2;
    check(llrt_engine_open("m.gguf", &o, &engine, &err));
    return engine;
}

static llrt_session *session_with_hidden(llrt_engine *engine)
{
    llrt_session_options o;
    llrt_session *session = NULL;
    llrt_session_options_init(&o, sizeof o);
    o.with_hidden = 1;
    check(llrt_session_create(engine, &o, &session, &err));
    return session;
}

static int set_up(void **state)
{
    fixture *const f = malloc(sizeof *f);
    net_init(&f->model, 5);
    f->blob.data = net_gguf(&f->model, &f->blob.size);
    llrt_source_init_memory(&f->source, sizeof f->source, &f->blob);
    make_text(9, f->text, N_TEXT, TINY_VOCAB);
    f->engine = open_engine(f, 128, 16, 1);
    llrt_session *const session = session_with_hidden(f->engine);
    check(llrt_session_append(session, f->text, N_TEXT, LLRT_LOGITS_ALL, &err));
    for (int i = 0; i < N_TEXT; i++) {
        const float *row = NULL;
        check(llrt_session_hidden(session, i, &row, &err));
        memcpy(f->hidden[i], row, sizeof f->hidden[i]);
    }
    llrt_session_free(session);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    fixture *const f = *state;
    llrt_engine_close(f->engine);
    free((void *)(uintptr_t)f->blob.data);
    net_free(&f->model);
    free(f);
    return 0;
}

static void embed(llrt_engine *engine, const fixture *f, size_t n, llrt_pooling pooling,
                  uint32_t is_normalized, uint32_t n_dim, float *out)
{
    llrt_session *const session = new_session(engine);
    llrt_embedding_options o;
    llrt_embedding_options_init(&o, sizeof o);
    o.pooling = pooling;
    o.is_normalized = is_normalized;
    o.n_dim = n_dim;
    check(llrt_session_embed(session, f->text, n, &o, out, NET_D, &err));
    assert_int_equal(llrt_session_n_tok(session), n);
    assert_int_equal(llrt_session_n_logits(session), 0);
    llrt_session_free(session);
}

/* The definition, in double. */
static void pool(const fixture *f, size_t n, llrt_pooling pooling, double *out)
{
    for (int k = 0; k < NET_D; k++) {
        double sum = 0, most = f->hidden[0][k];
        for (size_t i = 0; i < n; i++) {
            sum += f->hidden[i][k];
            most = test_larger(most, f->hidden[i][k]);
        }
        out[k] = pooling == LLRT_POOLING_MEAN  ? sum / (double)n
                 : pooling == LLRT_POOLING_MAX ? most
                 : pooling == LLRT_POOLING_CLS ? f->hidden[0][k]
                                               : f->hidden[n - 1][k];
    }
}

static void test_pooling_is_as_defined(void **state)
{
    fixture *const f = *state;
    static const size_t lengths[] = {1, 17, N_TEXT};
    for (size_t i = 0; i < 3; i++) {
        for (llrt_pooling kind = LLRT_POOLING_MEAN; kind <= LLRT_POOLING_MAX; kind++) {
            float out[NET_D];
            double expected[NET_D], length = 0;
            pool(f, lengths[i], kind, expected);
            embed(f->engine, f, lengths[i], kind, 0, 0, out);
            for (int k = 0; k < NET_D; k++) assert_true(out[k] == (float)expected[k]);
            /* Cut, then normalised. */
            embed(f->engine, f, lengths[i], kind, 1, 10, out);
            for (int k = 0; k < 10; k++) length += expected[k] * expected[k];
            for (int k = 0; k < 10; k++)
                assert_true(fabs(out[k] - expected[k] / sqrt(length)) < 1e-7);
        }
    }
}

static void test_defaults(void **state)
{
    fixture *const f = *state;
    llrt_model_info info = {.struct_size = sizeof info};
    float out[NET_D], last[NET_D];
    double length = 0;
    llrt_session *const session = new_session(f->engine);
    check(llrt_engine_info(f->engine, &info, &err));
    assert_int_equal(info.can_embed, 1);
    assert_int_equal(info.pooling, LLRT_POOLING_LAST);
    assert_int_equal(info.n_label, 0);
    check(llrt_session_embed(session, f->text, 30, NULL, out, NET_D, &err));
    embed(f->engine, f, 30, LLRT_POOLING_LAST, 1, 0, last);
    assert_memory_equal(out, last, sizeof out);
    for (int k = 0; k < NET_D; k++) length += (double)out[k] * out[k];
    assert_true(fabs(length - 1) < 1e-6);
    /* Again on the same session, which is emptied. */
    check(llrt_session_embed(session, f->text, 20, NULL, out, NET_D, &err));
    embed(f->engine, f, 20, LLRT_POOLING_LAST, 1, 0, last);
    assert_memory_equal(out, last, sizeof out);
    /* And it still is a session. */
    check(llrt_session_append(session, f->text + 20, 1, LLRT_LOGITS_LAST, &err));
    assert_int_equal(llrt_session_n_logits(session), 1);
    llrt_session_free(session);
}

static void test_steps_and_stages_change_no_bit(void **state)
{
    fixture *const f = *state;
    float expected[NET_D], found[NET_D];
    static const struct {
        uint32_t n_step_tok, n_step_out, n_stage;
    } cases[] = {{128, 3, 1}, {5, 16, 1}, {1, 1, 1}, {64, 64, 2}};
    for (llrt_pooling kind = LLRT_POOLING_MEAN; kind <= LLRT_POOLING_MAX; kind++) {
        embed(f->engine, f, N_TEXT, kind, 1, 0, expected);
        for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
            llrt_engine *const engine =
                open_engine(f, cases[i].n_step_tok, cases[i].n_step_out, cases[i].n_stage);
            embed(engine, f, N_TEXT, kind, 1, 0, found);
            assert_memory_equal(found, expected, sizeof found);
            llrt_engine_close(engine);
        }
    }
}

typedef struct runner {
    fixture *f;
    const float *expected;
    int n_wrong;
} runner;

static void run_embedding(void *arg)
{
    runner *const r = arg;
    llrt_embedding_options o;
    llrt_embedding_options_init(&o, sizeof o);
    o.pooling = LLRT_POOLING_MEAN;
    for (int i = 0; i < 10; i++) {
        llrt_session *session = NULL;
        float out[NET_D];
        if (llrt_session_create(r->f->engine, NULL, &session, NULL) < 0 ||
            llrt_session_embed(session, r->f->text, N_TEXT, &o, out, NET_D, NULL) < 0 ||
            memcmp(out, r->expected, sizeof out) != 0)
            r->n_wrong++;
        llrt_session_free(session);
    }
}

/* Steps that some work wants logits of, and embeddings: the program with the head serves both. */
static void test_company_changes_no_bit(void **state)
{
    fixture *const f = *state;
    float expected[NET_D];
    llrti_thread thread;
    embed(f->engine, f, N_TEXT, LLRT_POOLING_MEAN, 1, 0, expected);
    runner r = {f, expected, 0};
    assert_true(llrti_thread_create(&thread, run_embedding, &r, "embedder"));
    for (int i = 0; i < 10; i++) {
        llrt_session *const session = session_with_hidden(f->engine);
        const float *row = NULL;
        check(llrt_session_append(session, f->text, 50, LLRT_LOGITS_ALL, &err));
        check(llrt_session_hidden(session, 49, &row, &err));
        assert_memory_equal(row, f->hidden[49], sizeof f->hidden[49]);
        llrt_session_free(session);
    }
    llrti_thread_join(&thread);
    assert_int_equal(r.n_wrong, 0);
}

static void test_what_is_refused(void **state)
{
    fixture *const f = *state;
    llrt_session *const session = new_session(f->engine);
    llrt_embedding_options o;
    float out[NET_D];
    llrt_error e = LLRT_ERROR_INIT;
    const int32_t bad[2] = {1, TINY_VOCAB};
    llrt_embedding_options_init(&o, sizeof o);
    check_fails(LLRT_ERR_BUFFER, llrt_session_embed(session, f->text, 5, &o, out, NET_D - 1, &err));
    check_fails(LLRT_ERR_ARGUMENT, llrt_session_embed(session, f->text, 5, &o, NULL, NET_D, &err));
    check_fails(LLRT_ERR_ARGUMENT, llrt_session_embed(session, f->text, 0, &o, out, NET_D, &err));
    check_fails(LLRT_ERR_ARGUMENT, llrt_session_embed(session, bad, 2, &o, out, NET_D, &err));
    check_fails(LLRT_ERR_UNSUPPORTED, llrt_session_score(session, f->text, 5, &o, out, 1, &err));
    o.pooling = 5;
    assert_int_equal(llrt_session_embed(session, f->text, 5, &o, out, NET_D, &e),
                     LLRT_ERR_ARGUMENT);
    assert_string_equal(e.field, "pooling");
    o.pooling = 0;
    o.n_dim = NET_D + 1;
    assert_int_equal(llrt_session_embed(session, f->text, 5, &o, out, NET_D, &e),
                     LLRT_ERR_ARGUMENT);
    assert_string_equal(e.field, "n_dim");
    llrt_session_free(session);
}

/* ---- Encoders, against hidden states computed by another implementation ---- */

enum { MOST_TOK = 64, MOST_WIDTH = 64 };

typedef struct reference {
    int32_t token[MOST_TOK];
    uint8_t type[MOST_TOK];
    uint32_t n, d;
    bool has_types;
    double hidden[MOST_TOK][MOST_WIDTH];
} reference;

static bool read_reference(const llrti_json *root, uint32_t index, reference *r)
{
    const llrti_json *const tokens = llrti_json_at(llrti_json_get(root, "sequences"), index);
    const llrti_json *const types = llrti_json_at(llrti_json_get(root, "token_types"), index);
    const llrti_json *const hidden = llrti_json_at(llrti_json_get(root, "hidden"), index);
    memset(r, 0, sizeof *r);
    if (!tokens || !hidden) return false;
    r->n = tokens->n;
    r->d = llrti_json_at(hidden, 0)->n;
    r->has_types = types != NULL;
    assert_true(r->n <= MOST_TOK && r->d <= MOST_WIDTH && hidden->n == r->n);
    for (uint32_t i = 0; i < r->n; i++) {
        r->token[i] = (int32_t)llrti_json_int(llrti_json_at(tokens, i), -1);
        r->type[i] = (uint8_t)llrti_json_int(llrti_json_at(types, i), 0);
        for (uint32_t k = 0; k < r->d; k++)
            r->hidden[i][k] = llrti_json_double(llrti_json_at(llrti_json_at(hidden, i), k), NAN);
    }
    return true;
}

static void expect_vector(const float *found, const double *expected, uint32_t d)
{
    double most = 0, largest = 0;
    for (uint32_t k = 0; k < d; k++) {
        most = test_larger(most, fabs(found[k] - expected[k]));
        largest = test_larger(largest, fabs(expected[k]));
    }
    if (most > 1e-5 * largest) print_error("difference %g of %g\n", most, largest);
    assert_true(most <= 1e-5 * largest);
}

static void compare_embeddings(llrt_engine *engine, const reference *r)
{
    llrt_session *const session = session_with_hidden(engine);
    double mean[MOST_WIDTH] = {0}, most[MOST_WIDTH];
    llrt_embedding_options o;
    float out[MOST_WIDTH];
    llrt_embedding_options_init(&o, sizeof o);
    o.is_normalized = 0;
    o.token_types = r->has_types ? r->type : NULL;
    memcpy(most, r->hidden[0], sizeof most);
    for (uint32_t i = 0; i < r->n; i++) {
        for (uint32_t k = 0; k < r->d; k++) {
            mean[k] += r->hidden[i][k] / r->n;
            most[k] = test_larger(most[k], r->hidden[i][k]);
        }
    }
    const double *const expected[] = {mean, r->hidden[0], r->hidden[r->n - 1], most};
    for (uint32_t kind = 0; kind < 4; kind++) {
        o.pooling = LLRT_POOLING_MEAN + kind;
        check(llrt_session_embed(session, r->token, r->n, &o, out, r->d, &err));
        expect_vector(out, expected[kind], r->d);
    }
    /* The rows themselves; a text is read as a whole. */
    llrt_input input;
    llrt_input_init(&input, sizeof input);
    input.tokens = r->token;
    input.n_tok = r->n;
    input.token_types = o.token_types;
    input.logits = LLRT_LOGITS_ALL;
    check(llrt_session_embed(session, r->token, 3, &o, out, r->d, &err));
    check_fails(LLRT_ERR_STATE,
                llrt_session_append(session, r->token + 3, 1, LLRT_LOGITS_NONE, &err));
    check(llrt_session_rewind(session, 0, &err));
    check(llrt_session_append_input(session, &input, &err));
    for (uint32_t i = 0; i < r->n; i++) {
        const float *row = NULL;
        check(llrt_session_hidden(session, (int32_t)i, &row, &err));
        expect_vector(row, r->hidden[i], r->d);
        check_fails(LLRT_ERR_STATE, llrt_session_logits(session, (int32_t)i, &row, &err));
    }
    llrt_session_free(session);
}

static void test_encoders_match_a_reference(void **state)
{
    static const char *const names[] = {"bert", "xlmroberta"};
    (void)state;
    const char *const data = test_data_folder();
    if (!data) skip();
    for (size_t m = 0; m < 2; m++) {
        char path[512];
        llrt_engine_options o = test_options(NULL);
        llrt_model_info info = {.struct_size = sizeof info};
        llrt_engine *engine = NULL;
        llrti_mem mem;
        llrti_json_doc *doc = NULL;
        reference r;
        size_t n;
        llrt_error e = LLRT_ERROR_INIT;
        llrti_mem_init(&mem, NULL);
        snprintf(path, sizeof path, "%s/numeric/architectures/%s/reference.json", data, names[m]);
        char *const text = test_read_file(path, &n);
        if (!text) skip();
        assert_int_equal(llrti_json_parse(&mem, text, n, &doc, &e), LLRT_OK);
        *strrchr(path, '/') = 0;
        o.precision = LLRT_PRECISION_F32;
        o.n_step_tok = 0;
        check(llrt_engine_open(path, &o, &engine, &err));
        check(llrt_engine_info(engine, &info, &err));
        assert_int_equal(info.can_embed, 1);
        assert_int_equal(info.is_bidirectional, 1);
        assert_int_equal(info.pooling, LLRT_POOLING_MEAN);
        uint32_t i = 0;
        while (read_reference(llrti_json_root(doc), i, &r)) {
            compare_embeddings(engine, &r);
            i++;
        }
        assert_true(i > 0);
        llrt_engine_close(engine);
        llrti_json_free(doc);
        free(text);
    }
}

/* Cross-encoders, whose checkpoints are part of the tree, against scores of transformers. */
static void test_scores_match_a_reference(void **state)
{
    static const char *const names[] = {"bert_score", "xlmroberta_score", "modernbert_score"};
    const char *const folder = getenv("LLRT_TEST_FIXTURES");
    (void)state;
    assert_non_null(folder); /* set by Meson: never absent */
    for (size_t m = 0; m < sizeof names / sizeof names[0]; m++) {
        char path[512];
        llrt_engine_options o = test_options(NULL);
        llrt_model_info info = {.struct_size = sizeof info};
        llrt_engine *engine = NULL;
        llrti_mem mem;
        llrti_json_doc *doc = NULL;
        size_t n;
        llrt_error e = LLRT_ERROR_INIT;
        llrti_mem_init(&mem, NULL);
        snprintf(path, sizeof path, "%s/%s/reference.json", folder, names[m]);
        char *const text = test_read_file(path, &n);
        assert_non_null(text);
        assert_int_equal(llrti_json_parse(&mem, text, n, &doc, &e), LLRT_OK);
        *strrchr(path, '/') = 0;
        o.precision = LLRT_PRECISION_F32;
        o.n_step_tok = 0;
        check(llrt_engine_open(path, &o, &engine, &err));
        check(llrt_engine_info(engine, &info, &err));
        assert_int_equal(info.can_generate, 0);
        assert_true(info.n_label > 0 && info.n_label <= MOST_WIDTH);
        llrt_session *const session = new_session(engine);
        const llrti_json *const root = llrti_json_root(doc);
        const llrti_json *const sequences = llrti_json_get(root, "sequences");
        assert_true(sequences && sequences->n > 0);
        for (uint32_t i = 0; i < sequences->n; i++) {
            const llrti_json *const tokens = llrti_json_at(sequences, i);
            const llrti_json *const types = llrti_json_at(llrti_json_get(root, "token_types"), i);
            const llrti_json *const score = llrti_json_at(llrti_json_get(root, "score"), i);
            llrt_embedding_options how;
            int32_t token[MOST_TOK];
            uint8_t type[MOST_TOK];
            float out[MOST_WIDTH];
            double expected[MOST_WIDTH];
            llrt_embedding_options_init(&how, sizeof how);
            assert_true(tokens && tokens->n <= MOST_TOK && score && score->n == info.n_label);
            for (uint32_t k = 0; k < tokens->n; k++) {
                token[k] = (int32_t)llrti_json_int(llrti_json_at(tokens, k), -1);
                type[k] = (uint8_t)llrti_json_int(llrti_json_at(types, k), 0);
            }
            for (uint32_t k = 0; k < score->n; k++)
                expected[k] = llrti_json_double(llrti_json_at(score, k), NAN);
            how.token_types = types ? type : NULL;
            check_fails(LLRT_ERR_BUFFER,
                        llrt_session_score(session, token, tokens->n, &how, out, 0, &err));
            check(llrt_session_score(session, token, tokens->n, &how, out, MOST_WIDTH, &err));
            expect_vector(out, expected, info.n_label);
        }
        llrt_session_free(session);
        llrt_engine_close(engine);
        llrti_json_free(doc);
        free(text);
    }
}

/* ---- Taps ---- */

/* The last layer's output, normalised as the model does it, is the hidden state. */
static void test_taps_are_before_the_last_norm(void **state)
{
    fixture *const f = *state;
    const float *const norm = net_find(&f->model, "output_norm")->data;
    llrt_session *const session = session_with_hidden(f->engine);
    check(llrt_session_append(session, f->text, 40, LLRT_LOGITS_ALL, &err));
    for (int i = 0; i < 40; i++) {
        const float *tap = NULL, *first = NULL;
        double mean = 0;
        check(llrt_session_tap(session, 2, i, &tap, &err));
        check(llrt_session_tap(session, 0, i, &first, &err));
        assert_memory_not_equal(tap, first, NET_D * sizeof *tap);
        for (int k = 0; k < NET_D; k++) mean += (double)tap[k] * tap[k] / NET_D;
        for (int k = 0; k < NET_D; k++)
            assert_true(fabs(tap[k] / sqrt(mean + 1e-5) * norm[k] - f->hidden[i][k]) < 1e-5);
    }
    llrt_session_free(session);
}

static void test_taps_are_the_same_everywhere(void **state)
{
    fixture *const f = *state;
    float taps[3][2][NET_D];
    for (uint32_t i = 0; i < 3; i++) {
        llrt_engine *const engine = open_engine(f, i == 1 ? 3 : 128, 16, i == 2 ? 2 : 1);
        llrt_session *const session = new_session(engine);
        const uint32_t rows[3] = {2, 30, 69};
        llrt_input input;
        llrt_input_init(&input, sizeof input);
        input.tokens = f->text;
        input.n_tok = 70;
        input.logits = LLRT_LOGITS_LISTED;
        input.rows = rows;
        input.n_row = 3;
        check(llrt_session_append_input(session, &input, &err));
        for (uint32_t k = 0; k < 2; k++) {
            const float *tap = NULL;
            check(llrt_session_tap(session, 2 * k, 1, &tap, &err));
            memcpy(taps[i][k], tap, sizeof taps[i][k]);
        }
        llrt_session_free(session);
        llrt_engine_close(engine);
    }
    assert_memory_equal(taps[0], taps[1], sizeof taps[0]);
    assert_memory_equal(taps[0], taps[2], sizeof taps[0]);
}

static void test_taps_that_are_not_there(void **state)
{
    fixture *const f = *state;
    static const uint32_t far[1] = {3}, turned[2] = {2, 1};
    llrt_engine_options o = test_options(NULL);
    llrt_engine *engine = NULL;
    const float *tap = NULL;
    llrt_error e = LLRT_ERROR_INIT;
    llrt_session *const session = new_session(f->engine);
    check_fails(LLRT_ERR_STATE, llrt_session_tap(session, 0, -1, &tap, &err));
    check(llrt_session_append(session, f->text, 3, LLRT_LOGITS_LAST, &err));
    check(llrt_session_tap(session, 0, -1, &tap, &err));
    assert_int_equal(llrt_session_tap(session, 1, -1, &tap, &e), LLRT_ERR_STATE);
    assert_string_equal(e.field, "tap_layer");
    check_fails(LLRT_ERR_STATE, llrt_session_tap(session, 0, 1, &tap, &err));
    llrt_session_free(session);
    o.source = &f->source;
    o.n_tap = 1;
    check_fails(LLRT_ERR_ARGUMENT, llrt_engine_open("m.gguf", &o, &engine, &err));
    o.tap_layer = far;
    check_fails(LLRT_ERR_ARGUMENT, llrt_engine_open("m.gguf", &o, &engine, &err));
    o.tap_layer = turned;
    o.n_tap = 2;
    check_fails(LLRT_ERR_ARGUMENT, llrt_engine_open("m.gguf", &o, &engine, &err));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pooling_is_as_defined),
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_steps_and_stages_change_no_bit),
        cmocka_unit_test(test_company_changes_no_bit),
        cmocka_unit_test(test_what_is_refused),
        cmocka_unit_test(test_encoders_match_a_reference),
        cmocka_unit_test(test_scores_match_a_reference),
        cmocka_unit_test(test_taps_are_before_the_last_norm),
        cmocka_unit_test(test_taps_are_the_same_everywhere),
        cmocka_unit_test(test_taps_that_are_not_there),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
