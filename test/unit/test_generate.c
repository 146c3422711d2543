/* SPDX-License-Identifier: MIT */
/*
 * llrt_generate: the golden text of a published model, stop strings wherever the tokens fall, whole
 * characters, limits, what the session holds afterwards, cancelling.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "engine_support.h"
#include "json.h"
#include "utf8.h"

typedef struct sink {
    char text[65536];
    size_t n;
    size_t stop_after; /* the callback says stop when there is that much text */
    llrt_session *cancel;
    int n_call, is_broken;
} sink;

static int take(void *ctx, const char *text, size_t n)
{
    sink *const s = ctx;
    assert_true(n > 0 && s->n + n < sizeof s->text);
    s->is_broken |= !llrti_utf8_is_valid(text, n);
    memcpy(s->text + s->n, text, n);
    s->n += n;
    s->text[s->n] = 0;
    s->n_call++;
    if (s->cancel) llrt_session_cancel(s->cancel);
    return s->stop_after && s->n >= s->stop_after;
}

typedef struct fixture {
    llrt_engine *engine;
    llrt_sampler *greedy;
    sink sink;
    llrt_generate_options options;
    llrt_generate_result result;
} fixture;

static int set_up(void **state)
{
    char path[512];
    fixture *const f = calloc(1, sizeof *f);
    if (demo_path(path, sizeof path, "llrt-demo.gguf")) {
        llrt_sampler_options o;
        check(llrt_engine_open(path, NULL, &f->engine, &err));
        llrt_sampler_options_init(&o, sizeof o);
        o.temperature = 0;
        check(llrt_sampler_create(vocab_of(f->engine), &o, &f->greedy, &err));
    }
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    fixture *const f = *state;
    llrt_sampler_free(f->greedy);
    llrt_engine_close(f->engine);
    free(f);
    return 0;
}

static llrt_session *begin(fixture *f)
{
    memset(&f->sink, 0, sizeof f->sink);
    memset(&f->result, 0, sizeof f->result);
    f->result.struct_size = sizeof f->result;
    llrt_generate_options_init(&f->options, sizeof f->options);
    f->options.on_text = take;
    f->options.ctx = &f->sink;
    f->options.max_tok = 60;
    llrt_sampler_reset(f->greedy);
    return new_session(f->engine);
}

static llrt_status run(fixture *f, llrt_session *s, const char *prompt, llrt_error *err)
{
    return llrt_generate(s, f->greedy, prompt, strlen(prompt), &f->options, &f->result, err);
}

static const char *const story = "Once upon a time";

/* The text of 60 greedy tokens after `story`. */
static void plain_text(fixture *f, char *out, size_t n)
{
    llrt_session *const s = begin(f);
    check(run(f, s, story, &err));
    assert_true(f->sink.n + 1 < n);
    memcpy(out, f->sink.text, f->sink.n + 1);
    llrt_session_free(s);
}

static void test_golden_text_of_stories260k(void **state)
{
    (void)state;
    char path[512];
    size_t n;
    const char *const data = test_data_folder();
    if (!data) skip();
    snprintf(path, sizeof path, "%s/numeric/stories260K_golden.json", data);
    char *const json = test_read_file(path, &n);
    llrti_mem mem;
    llrti_json_doc *doc;
    assert_non_null(json);
    llrti_mem_init(&mem, NULL);
    check(llrti_json_parse(&mem, json, n, &doc, &err));
    const char *const wanted =
        llrti_json_string(llrti_json_get(llrti_json_root(doc), "expected_text"), NULL);
    const int64_t steps = llrti_json_int(llrti_json_get(llrti_json_root(doc), "steps"), 0);
    snprintf(path, sizeof path, "%s/models/stories260K/stories260Ktok512.gguf", data);
    static const char *const isas[] = {NULL, "ref", "avx2"};
    for (int i = 0; i < 3; i++) {
        llrt_engine_options o;
        llrt_sampler_options so;
        llrt_engine *engine;
        llrt_sampler *sampler;
        fixture f;
        llrt_engine_options_init(&o, sizeof o);
        o.n_ctx = 256; /* the file says 128 */
        o.isa = isas[i];
        llrt_error e = LLRT_ERROR_INIT;
        const llrt_status status = llrt_engine_open(path, &o, &engine, &e);
        if (status == LLRT_ERR_UNSUPPORTED && isas[i]) {
            print_message("skipped: %s: %s\n", isas[i], e.text);
            continue;
        }
        assert_int_equal(status, LLRT_OK);
        llrt_sampler_options_init(&so, sizeof so);
        so.temperature = 0;
        check(llrt_sampler_create(vocab_of(engine), &so, &sampler, &err));
        f.engine = engine;
        f.greedy = sampler;
        llrt_session *const s = begin(&f);
        f.options.max_tok = (uint64_t)steps;
        check(run(&f, s, "", &err));
        assert_int_equal(f.result.n_prompt, 1);
        assert_string_equal(f.sink.text, wanted);
        llrt_session_free(s);
        llrt_sampler_free(sampler);
        llrt_engine_close(engine);
    }
    llrti_json_free(doc);
    free(json);
}

static void test_limits_and_counts(void **state)
{
    fixture *const f = *state;
    if (!f->engine) skip();
    char text[8192];
    plain_text(f, text, sizeof text);
    llrt_session *const s = begin(f);
    f->options.max_tok = 30;
    check(run(f, s, story, &err));
    assert_int_equal(f->result.finish, LLRT_FINISH_LENGTH);
    assert_int_equal(f->result.n_generated, 30);
    assert_true(f->result.n_prompt > 2);
    assert_int_equal(f->result.stop_index, -1);
    assert_true(f->result.prompt_ns > 0 && f->result.generate_ns > 0);
    assert_int_equal(llrt_session_n_tok(s), f->result.n_prompt + 30);
    const size_t first = f->sink.n;
    /* Going on gives what one call would have given. */
    check(run(f, s, "", &err));
    assert_int_equal(f->result.n_prompt, 0);
    assert_true(f->sink.n > first);
    assert_string_equal(f->sink.text, text);
    assert_false(f->sink.is_broken);
    llrt_session_free(s);
}

/* Every part of the text as a stop string, so that it begins and ends within tokens. */
static void test_stop_strings_anywhere(void **state)
{
    fixture *const f = *state;
    if (!f->engine) skip();
    char text[8192], stop[64];
    plain_text(f, text, sizeof text);
    const size_t n_text = strlen(text);
    assert_true(n_text > 60);
    for (size_t at = 0; at < 60; at++) {
        for (size_t n = 1; n <= 13; n += 4) {
            if (!llrti_utf8_is_valid(text + at, n)) continue;
            memcpy(stop, text + at, n);
            stop[n] = 0;
            const char *const found = strstr(text, stop);
            const char *const stops[] = {"\x01 never", stop, "never \x02"};
            llrt_session *const s = begin(f);
            f->options.stop = stops;
            f->options.n_stop = 3;
            check(run(f, s, story, &err));
            assert_int_equal(f->result.finish, LLRT_FINISH_STOP);
            assert_int_equal(f->result.stop_index, 1);
            assert_int_equal(f->sink.n, (size_t)(found - text));
            assert_memory_equal(f->sink.text, text, f->sink.n);
            llrt_session_free(s);
        }
    }
    /* What only begins like a stop string comes out in the end. */
    const char *const almost[] = {"zzzz", text + n_text - 3, NULL};
    char longer[16];
    snprintf(longer, sizeof longer, "%s\x01", text + n_text - 3);
    llrt_session *const s = begin(f);
    const char *const stops[] = {almost[0], longer};
    f->options.stop = stops;
    f->options.n_stop = 2;
    check(run(f, s, story, &err));
    assert_int_equal(f->result.finish, LLRT_FINISH_LENGTH);
    assert_string_equal(f->sink.text, text);
    llrt_session_free(s);
}

static void test_context_end(void **state)
{
    fixture *const f = *state;
    if (!f->engine) skip();
    llrt_session_options o;
    llrt_session *s;
    llrt_session_free(begin(f));
    llrt_session_options_init(&o, sizeof o);
    o.n_ctx = 20;
    check(llrt_session_create(f->engine, &o, &s, &err));
    f->options.max_tok = 0;
    f->options.ignore_end = 1;
    check(run(f, s, story, &err));
    assert_int_equal(f->result.finish, LLRT_FINISH_CONTEXT);
    assert_int_equal(llrt_session_n_tok(s), 20);
    check_fails(LLRT_ERR_CONTEXT_FULL, run(f, s, story, &err));
    assert_int_equal(llrt_session_n_tok(s), 20);
    llrt_session_free(s);
}

static void test_callback_and_cancel(void **state)
{
    fixture *const f = *state;
    if (!f->engine) skip();
    char text[8192];
    plain_text(f, text, sizeof text);
    llrt_session *s = begin(f);
    f->sink.stop_after = 20;
    check(run(f, s, story, &err));
    assert_int_equal(f->result.finish, LLRT_FINISH_CALLBACK);
    assert_true(f->sink.n >= 20 && f->sink.n < 40);
    f->sink.stop_after = 0;
    f->options.max_tok = 60 - f->result.n_generated;
    check(run(f, s, "", &err));
    assert_string_equal(f->sink.text, text);
    llrt_session_free(s);
    s = begin(f);
    f->sink.cancel = s;
    check_fails(LLRT_ERR_CANCELLED, run(f, s, story, &err));
    assert_int_equal(f->result.finish, LLRT_FINISH_CANCELLED);
    assert_int_equal(f->sink.n_call, 1);
    llrt_session_free(s);
}

static void test_prompts(void **state)
{
    fixture *const f = *state;
    if (!f->engine) skip();
    char text[8192];
    plain_text(f, text, sizeof text);
    const llrt_tokenizer *const tokenizer = llrt_engine_tokenizer(f->engine);
    int32_t tokens[64];
    size_t n;
    check(llrt_tokenizer_encode(tokenizer, story, strlen(story), LLRT_ENCODE_ADD_SPECIAL, tokens,
                                64, &n, &err));
    llrt_session *s = begin(f);
    f->options.prompt_tokens = tokens;
    f->options.n_prompt_token = n;
    check(run(f, s, "", &err));
    assert_string_equal(f->sink.text, text);
    assert_int_equal(f->result.n_prompt, n);
    llrt_session_free(s);
    /* A default sampler, no options, no result. */
    s = begin(f);
    f->options.max_tok = 5;
    check(llrt_generate(s, NULL, story, strlen(story), &f->options, NULL, &err));
    assert_int_equal(llrt_session_n_tok(s), n + 5);
    llrt_session_free(s);
    s = begin(f);
    const char *const bad[] = {"ok", ""};
    f->options.stop = bad;
    f->options.n_stop = 2;
    llrt_error e = LLRT_ERROR_INIT;
    assert_int_equal(run(f, s, story, &e), LLRT_ERR_ARGUMENT);
    assert_string_equal(e.field, "stop");
    assert_int_equal(e.position, 1);
    f->options.n_stop = 65;
    check_fails(LLRT_ERR_ARGUMENT, run(f, s, story, &err));
    assert_int_equal(llrt_session_n_tok(s), 0);
    llrt_session_free(s);
}

static void test_model_without_tokenizer(void **state)
{
    fixture *const f = *state;
    if (!f->engine) skip();
    tiny_source tiny;
    tiny_init(&tiny, 1);
    llrt_engine *const engine = open_tiny(&tiny);
    llrt_session *const s = new_session(engine);
    const int32_t prompt[] = {1, 2, 3};
    llrt_generate_options o;
    llrt_generate_result r = {.struct_size = sizeof r};
    assert_null(llrt_engine_tokenizer(engine));
    check_fails(LLRT_ERR_STATE, llrt_generate(s, NULL, "text", 4, NULL, NULL, &err));
    llrt_generate_options_init(&o, sizeof o);
    o.prompt_tokens = prompt;
    o.n_prompt_token = 3;
    o.max_tok = 10;
    check(llrt_generate(s, NULL, NULL, 0, &o, &r, &err));
    assert_int_equal(r.n_generated, 10);
    assert_int_equal(llrt_session_n_tok(s), 13);
    o.on_text = take;
    check_fails(LLRT_ERR_STATE, llrt_generate(s, NULL, NULL, 0, &o, &r, &err));
    llrt_session_free(s);
    llrt_engine_close(engine);
    tiny_free(&tiny);
}

static void test_allocation_failures(void **state)
{
    fixture *const f = *state;
    char path[512];
    if (!demo_path(path, sizeof path, "llrt-demo.gguf")) skip();
    class_heap heap;
    const llrt_allocator hooks = class_hooks(&heap);
    llrt_engine_options o;
    llrt_engine *engine;
    llrt_engine_options_init(&o, sizeof o);
    o.allocator = &hooks;
    o.n_ctx = 128;
    check(llrt_engine_open(path, &o, &engine, &err));
    llrt_session *const s = new_session(engine);
    const size_t floor = atomic_load(&heap.n_live);
    const char *const stops[] = {"never seen"};
    llrt_status status = LLRT_ERR_NOMEM;
    size_t n = 1;
    llrt_session_free(begin(f));
    for (; status != LLRT_OK && n < 200; n++) {
        f->options.stop = stops;
        f->options.n_stop = 1;
        f->options.max_tok = 4;
        check(llrt_session_rewind(s, 0, &err));
        atomic_store(&heap.n_call, 0);
        atomic_store(&heap.fail_at, n);
        status = llrt_generate(s, NULL, story, strlen(story), &f->options, NULL, NULL);
        atomic_store(&heap.fail_at, 0);
        assert_true(status == LLRT_OK || status == LLRT_ERR_NOMEM);
        assert_int_equal(atomic_load(&heap.n_live), floor);
    }
    assert_int_equal(status, LLRT_OK);
    assert_true(n > 4);
    llrt_session_free(s);
    llrt_engine_close(engine);
    assert_int_equal(atomic_load(&heap.n_live), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden_text_of_stories260k),
        cmocka_unit_test(test_limits_and_counts),
        cmocka_unit_test(test_stop_strings_anywhere),
        cmocka_unit_test(test_context_end),
        cmocka_unit_test(test_callback_and_cancel),
        cmocka_unit_test(test_prompts),
        cmocka_unit_test(test_model_without_tokenizer),
        cmocka_unit_test(test_allocation_failures),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
