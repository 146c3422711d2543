/* SPDX-License-Identifier: MIT */
/*
 * llrt_quantize as a whole: files whose tensors, metadata and logits are what they should be, from
 * GGUF files and from folders; the same bytes for any number of threads; and nothing left behind by
 * calls that fail, are cancelled or run out of memory.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "blocks.h"
#include "engine_support.h"
#include "family_files.h"
#include "memory_files.h"
#include "model_file.h"
#include "types.h"

#define OUT "test_quantize.tmp.gguf"

enum { D = 64, FF = 256, VOCAB = 96, N_LAYER = 2 };

typedef struct fixture {
    memory_files files;
    llrt_source source;
    uint8_t *model;
    size_t n_model;
    llrt_quantize_options options;
    llrti_mem mem; /* of files that are read back */
} fixture;

/* A small Llama; `poison` is put into one value of blk.1.ffn_up.weight. */
static uint8_t *make_model(float poison, uint32_t type, size_t *n)
{
    gguf_writer w;
    uint64_t seed = 5;
    gw_init(&w);
    gw_string(&w, "general.architecture", "llama");
    gw_string(&w, "general.name", "small");
    gw_u32(&w, "llama.context_length", 64);
    gw_u32(&w, "llama.embedding_length", D);
    gw_u32(&w, "llama.block_count", N_LAYER);
    gw_u32(&w, "llama.feed_forward_length", FF);
    gw_u32(&w, "llama.attention.head_count", 4);
    gw_u32(&w, "llama.attention.head_count_kv", 2);
    gw_u32(&w, "llama.rope.dimension_count", 16);
    gw_u32(&w, "llama.vocab_size", VOCAB);
    gw_f32(&w, "llama.attention.layer_norm_rms_epsilon", 1e-5f);
    gw_string(&w, "split.note", "dropped");
    add_random_tensor(&w, &seed, "token_embd.weight", D, VOCAB);
    add_random_tensor(&w, &seed, "output_norm.weight", D, 1);
    for (int layer = 0; layer < N_LAYER; layer++) {
        static const struct {
            const char *name;
            uint32_t d0, d1;
        } parts[] = {{"attn_norm", D, 1},  {"attn_q", D, D},      {"attn_k", D, D / 2},
                     {"attn_v", D, D / 2}, {"attn_output", D, D}, {"ffn_norm", D, 1},
                     {"ffn_gate", D, FF},  {"ffn_down", FF, D}};
        char name[64];
        for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
            snprintf(name, sizeof name, "blk.%d.%s.weight", layer, parts[i].name);
            add_random_tensor(&w, &seed, name, parts[i].d0, parts[i].d1);
        }
        float up[D * FF];
        const uint64_t dim[2] = {D, FF};
        for (int i = 0; i < D * FF; i++)
            up[i] = ((float)(next_random(&seed) >> 8) * 0x1p-23f - 1.0f) * 0.2f;
        if (layer == 1) up[3 * D + 7] = poison;
        snprintf(name, sizeof name, "blk.%d.ffn_up.weight", layer);
        /* With another type the bytes are those of some numbers of it. */
        size_t n_byte = 0;
        assert_true(llrti_type_row_bytes(type, D, &n_byte));
        if (type != LLRTI_TYPE_F32) memset(up, 0x11, sizeof up);
        gw_tensor(&w, name, type, 2, dim, up, n_byte * FF);
    }
    return gw_finish(&w, n);
}

static void use_model(fixture *f, uint8_t *model, size_t n)
{
    free(f->model);
    f->model = model;
    f->n_model = n;
    f->files.n_file = 0;
    memory_files_add(&f->files, "in.gguf", model, n);
}

static int set_up(void **state)
{
    fixture *const f = calloc(1, sizeof *f);
    size_t n;
    memory_files_init(&f->files, &f->source);
    use_model(f, make_model(0.1f, LLRTI_TYPE_F32, &n), 0);
    f->files.file[0].n = f->n_model = n;
    llrt_quantize_options_init(&f->options, sizeof f->options);
    f->options.source = &f->source;
    f->options.n_thread = 2;
    llrti_mem_init(&f->mem, NULL);
    remove(OUT);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    fixture *const f = *state;
    assert_int_equal(f->files.n_open, 0);
    free(f->model);
    free(f);
    remove(OUT);
    return 0;
}

static int count_results(void *ctx, const char *name)
{
    *(int *)ctx += strncmp(name, OUT, strlen(OUT)) == 0;
    return 0;
}

/* Files at the place of the result, under its own or a temporary name. */
static int n_result(void)
{
    int n = 0;
    assert_int_equal(llrti_folder_each(".", count_results, &n, NULL), LLRT_OK);
    return n;
}

static llrti_model_file *open_result(fixture *f)
{
    const llrti_model_file_options options = {0};
    llrti_model_file *file;
    llrt_error err = LLRT_ERROR_INIT;
    if (llrti_model_file_open(&f->mem, OUT, &options, &file, &err) < 0) fail_msg("%s", err.text);
    return file;
}

static uint32_t type_in(const llrti_model_file *file, const char *name)
{
    const llrti_tensor *const tensor = llrti_model_file_find_tensor(file, name);
    assert_non_null(tensor);
    return tensor->type;
}

/* ---- what is in the file ---- */

static void test_types_and_metadata(void **state)
{
    fixture *const f = *state;
    check(llrt_quantize("in.gguf", OUT, &f->options, &err));
    llrti_model_file *const file = open_result(f);
    assert_int_equal(type_in(file, "blk.0.ffn_down.weight"), LLRTI_TYPE_Q4_K);
    assert_int_equal(type_in(file, "blk.1.ffn_down.weight"), LLRTI_TYPE_Q6_K);
    assert_int_equal(type_in(file, "blk.0.attn_q.weight"), LLRTI_TYPE_Q5_0); /* rows of 64 */
    assert_int_equal(type_in(file, "token_embd.weight"), LLRTI_TYPE_Q8_0);
    assert_int_equal(type_in(file, "blk.0.attn_norm.weight"), LLRTI_TYPE_F32);
    const llrti_meta *meta = llrti_model_file_find_meta(file, "general.file_type");
    assert_int_equal(meta->value.u, 15);
    assert_int_equal(llrti_model_file_find_meta(file, "general.quantization_version")->value.u, 2);
    assert_int_equal(llrti_model_file_find_meta(file, "llama.block_count")->value.u, N_LAYER);
    assert_null(llrti_model_file_find_meta(file, "split.note"));
    meta = llrti_model_file_find_meta(file, "llrt.quantize.options");
    assert_int_equal(meta->value.s.n, 6);
    assert_memory_equal(meta->value.s.data, "Q4_K_M", 6);
    assert_int_equal(llrti_model_file_find_meta(file, "llrt.quantize.source")->value.s.n, 32);
    assert_non_null(llrti_model_file_find_meta(file, "llrt.quantize.version"));
    llrti_model_file_close(file);
}

/* Logits of a model after a few tokens. */
static void compute_logits(const char *path, const llrt_source *source, float out[VOCAB])
{
    static const int32_t tokens[] = {5, 17, 60, 2, 33, 90, 8};
    llrt_engine_options eo;
    llrt_engine *engine;
    llrt_session *session;
    const float *row;
    llrt_engine_options_init(&eo, sizeof eo);
    eo.source = source;
    eo.precision = LLRT_PRECISION_F32;
    eo.kv_type = LLRT_TYPE_F32;
    check(llrt_engine_open(path, &eo, &engine, &err));
    check(llrt_session_create(engine, NULL, &session, &err));
    check(llrt_session_append(session, tokens, 7, LLRT_LOGITS_LAST, &err));
    check(llrt_session_logits(session, -1, &row, &err));
    memcpy(out, row, VOCAB * sizeof *out);
    llrt_session_free(session);
    llrt_engine_close(engine);
}

static float distance(const float *a, const float *b)
{
    float most = 0, peak = 0;
    for (int i = 0; i < VOCAB; i++) {
        most = (float)test_larger((double)most, (double)fabsf(a[i] - b[i]));
        peak = (float)test_larger((double)peak, (double)fabsf(b[i]));
    }
    return most / peak;
}

static void test_logits_come_closer_with_more_bits(void **state)
{
    fixture *const f = *state;
    static const char *const targets[] = {"Q4_0", "Q5_0", "Q8_0", "F16", "F32"};
    float wanted[VOCAB], found[VOCAB], last = 10;
    compute_logits("in.gguf", &f->source, wanted);
    for (size_t i = 0; i < sizeof targets / sizeof *targets; i++) {
        f->options.target = targets[i];
        check(llrt_quantize("in.gguf", OUT, &f->options, &err));
        compute_logits(OUT, NULL, found);
        const float d = distance(found, wanted);
        assert_true(d < last);
        last = d;
    }
    assert_true(last == 0.0f);
}

static uint8_t *result_bytes(fixture *f, uint32_t n_thread, size_t *n)
{
    f->options.n_thread = n_thread;
    check(llrt_quantize("in.gguf", OUT, &f->options, &err));
    return (uint8_t *)test_read_file(OUT, n);
}

static void test_bytes_do_not_depend_on_threads(void **state)
{
    fixture *const f = *state;
    static const char *const targets[] = {"Q4_K_M", "Q3_K_L", "IQ4_XS", "Q8_0", "BF16"};
    for (size_t i = 0; i < sizeof targets / sizeof *targets; i++) {
        size_t n[3];
        f->options.target = targets[i];
        uint8_t *const a = result_bytes(f, 1, &n[0]), *const b = result_bytes(f, 3, &n[1]),
                       *const c = result_bytes(f, 3, &n[2]);
        assert_int_equal(n[0], n[1]);
        assert_int_equal(n[0], n[2]);
        assert_memory_equal(a, b, n[0]);
        assert_memory_equal(a, c, n[0]);
        free(a);
        free(b);
        free(c);
    }
}

static void test_overrides(void **state)
{
    fixture *const f = *state;
    const llrt_quantize_override overrides[] = {
        {"blk.*.attn_?", "q8_0"}, {"blk.1.*", "F16"}, {"token_embd.weight", "Q4_0"}};
    f->options.overrides = overrides;
    f->options.n_override = 3;
    check(llrt_quantize("in.gguf", OUT, &f->options, &err));
    llrti_model_file *const file = open_result(f);
    assert_int_equal(type_in(file, "blk.0.attn_v.weight"), LLRTI_TYPE_Q8_0);
    assert_int_equal(type_in(file, "blk.0.attn_output.weight"), LLRTI_TYPE_Q5_0);
    assert_int_equal(type_in(file, "blk.1.attn_v.weight"), LLRTI_TYPE_F16);
    assert_int_equal(type_in(file, "blk.1.attn_norm.weight"), LLRTI_TYPE_F32);
    assert_int_equal(type_in(file, "token_embd.weight"), LLRTI_TYPE_Q4_0);
    llrti_model_file_close(file);
}

static void test_requantising_is_asked_for(void **state)
{
    fixture *const f = *state;
    size_t n;
    uint8_t *const model = make_model(0, LLRTI_TYPE_Q8_0, &n);
    use_model(f, model, n);
    check_fails(LLRT_ERR_ARGUMENT, llrt_quantize("in.gguf", OUT, &f->options, &err));
    assert_int_equal(n_result(), 0);
    f->options.allow_requantize = 1;
    check(llrt_quantize("in.gguf", OUT, &f->options, &err));
    llrti_model_file *const file = open_result(f);
    assert_int_equal(type_in(file, "blk.1.ffn_up.weight"), LLRTI_TYPE_Q5_0);
    /* d = 0x1111 as float16, every value d * 0x11; both are exact in the new format's peak. */
    const llrti_tensor *const tensor = llrti_model_file_find_tensor(file, "blk.1.ffn_up.weight");
    uint8_t block[22];
    float value[32];
    assert_int_equal(llrti_model_file_read(file, tensor, 0, block, sizeof block, NULL), LLRT_OK);
    llrti_blocks_widen_q5_0(block, value, 32);
    const uint8_t old[34] = {0x11, 0x11, 0x11};
    float expected[32];
    llrti_blocks_widen_q8_0(old, expected, 32);
    assert_true(fabsf(value[0] - expected[0]) <= expected[0] / 16);
    llrti_model_file_close(file);
}

/* ---- importance ---- */

static void test_importance_of_another_model_is_refused(void **state)
{
    fixture *const f = *state;
    gw_buffer b = {0};
    gw_put_number(&b, 1, 4);
    gw_put_number(&b, 19, 4);
    gw_put(&b, "blk.0.attn_q.weight", 19);
    gw_put_number(&b, 1, 4);
    gw_put_number(&b, 3, 4);
    for (int i = 0; i < 3; i++) gw_put_number(&b, 0x3f800000, 4);
    memory_files_add(&f->files, "im", b.data, b.n);
    f->options.imatrix = "im";
    llrt_error err = LLRT_ERROR_INIT;
    assert_int_equal(llrt_quantize("in.gguf", OUT, &f->options, &err), LLRT_ERR_FORMAT);
    assert_string_equal(err.field, "blk.0.attn_q.weight");
    assert_non_null(strstr(err.text, "3 values"));
    f->options.imatrix = "nothing";
    assert_int_equal(llrt_quantize("in.gguf", OUT, &f->options, &err), LLRT_ERR_NOT_FOUND);
    assert_string_equal(err.file, "nothing");
    assert_int_equal(n_result(), 0);
    free(b.data);
}

static void test_importance_changes_what_it_names(void **state)
{
    fixture *const f = *state;
    gw_buffer b = {0};
    gw_put_number(&b, 1, 4);
    gw_put_number(&b, 19, 4);
    gw_put(&b, "blk.0.attn_q.weight", 19);
    gw_put_number(&b, 1, 4);
    gw_put_number(&b, D, 4);
    for (uint32_t i = 0; i < D; i++) gw_put_number(&b, 0x3f800000 + (i % 7) * 0x800000, 4);
    f->options.target = "IQ4_NL";
    check(llrt_quantize("in.gguf", OUT, &f->options, &err));
    llrti_model_file *file = open_result(f);
    uint8_t before[2][72], after[2][72];
    const char *const names[] = {"blk.0.attn_q.weight", "blk.1.attn_q.weight"};
    for (int i = 0; i < 2; i++)
        assert_int_equal(llrti_model_file_read(file, llrti_model_file_find_tensor(file, names[i]),
                                               0, before[i], 72, NULL),
                         LLRT_OK);
    llrti_model_file_close(file);
    memory_files_add(&f->files, "im", b.data, b.n);
    f->options.imatrix = "im";
    check(llrt_quantize("in.gguf", OUT, &f->options, &err));
    file = open_result(f);
    for (int i = 0; i < 2; i++)
        assert_int_equal(llrti_model_file_read(file, llrti_model_file_find_tensor(file, names[i]),
                                               0, after[i], 72, NULL),
                         LLRT_OK);
    assert_non_null(llrti_model_file_find_meta(file, "llrt.quantize.imatrix"));
    llrti_model_file_close(file);
    assert_memory_not_equal(before[0], after[0], 72);
    assert_memory_equal(before[1], after[1], 72);
    free(b.data);
}

/* ---- failures ---- */

static void test_values_that_are_no_numbers_are_named(void **state)
{
    fixture *const f = *state;
    const float bad[] = {NAN, INFINITY, -INFINITY};
    static const char *const targets[] = {"Q4_K_M", "F32", "BF16"};
    for (size_t i = 0; i < 9; i++) {
        size_t n;
        uint8_t *const model = make_model(bad[i % 3], LLRTI_TYPE_F32, &n);
        use_model(f, model, n);
        f->options.target = targets[i / 3];
        llrt_error err = LLRT_ERROR_INIT;
        assert_int_equal(llrt_quantize("in.gguf", OUT, &f->options, &err), LLRT_ERR_FORMAT);
        assert_string_equal(err.field, "blk.1.ffn_up.weight");
        assert_non_null(strstr(err.text, "row 3, column 7"));
        assert_string_equal(err.file, "in.gguf");
        assert_int_equal(n_result(), 0);
    }
    size_t n;
    uint8_t *const model = make_model(1e9f, LLRTI_TYPE_F32, &n);
    use_model(f, model, n);
    f->options.target = "Q4_0";
    llrt_error err = LLRT_ERROR_INIT;
    assert_int_equal(llrt_quantize("in.gguf", OUT, &f->options, &err), LLRT_ERR_FORMAT);
    assert_non_null(strstr(err.text, "1e+09"));
    assert_int_equal(n_result(), 0);
}

typedef struct cancelling {
    int n_call, cancel_at;
    double last;
} cancelling;

static int cancel(void *ctx, double done)
{
    cancelling *const c = ctx;
    assert_true(done >= c->last && done <= 1.0);
    c->last = done;
    return ++c->n_call == c->cancel_at;
}

static void test_cancelling_leaves_nothing(void **state)
{
    fixture *const f = *state;
    cancelling c = {0, 0, 0};
    f->options.progress = cancel;
    f->options.progress_ctx = &c;
    check(llrt_quantize("in.gguf", OUT, &f->options, &err));
    assert_true(c.last == 1.0);
    const int n_all = c.n_call;
    assert_true(n_all > 10);
    assert_int_equal(test_write_file(OUT, "old", 3), 0);
    for (int at = 1; at <= n_all; at++) {
        c = (cancelling){0, at, 0};
        check_fails(LLRT_ERR_CANCELLED, llrt_quantize("in.gguf", OUT, &f->options, &err));
        assert_int_equal(c.n_call, at);
        assert_int_equal(n_result(), 1);
    }
    size_t n;
    char *const old = test_read_file(OUT, &n);
    assert_string_equal(old, "old");
    free(old);
}

static void test_failing_reads_leave_nothing(void **state)
{
    fixture *const f = *state;
    f->options.n_thread = 1;
    check(llrt_quantize("in.gguf", OUT, &f->options, &err));
    const int n_all = f->files.n_read;
    remove(OUT);
    f->files.fail_status = LLRT_ERR_IO;
    for (int at = 1; at <= n_all; at++) {
        f->files.n_read = 0;
        f->files.fail_read = at;
        check_fails(LLRT_ERR_IO, llrt_quantize("in.gguf", OUT, &f->options, &err));
        assert_int_equal(n_result(), 0);
    }
    f->files.fail_read = 0;
}

static void test_lack_of_memory_leaves_nothing(void **state)
{
    fixture *const f = *state;
    test_heap heap;
    memset(&heap, 0, sizeof heap);
    const llrt_allocator hooks = {test_heap_alloc, test_heap_free, &heap};
    f->options.allocator = &hooks;
    f->options.n_thread = 1; /* the heap counts without locks */
    llrt_status status = LLRT_ERR_NOMEM;
    for (size_t at = 1; status != LLRT_OK; at++) {
        assert_true(at < 1000);
        heap.n_call = 0;
        heap.fail_at = at;
        status = llrt_quantize("in.gguf", OUT, &f->options, NULL);
        assert_int_equal(heap.n_live, 0);
        if (status == LLRT_OK) break;
        assert_int_equal(status, LLRT_ERR_NOMEM);
        assert_int_equal(n_result(), 0);
    }
}

static void expect_argument(fixture *f, const char *field)
{
    llrt_error err = LLRT_ERROR_INIT;
    assert_int_equal(llrt_quantize("in.gguf", OUT, &f->options, &err), LLRT_ERR_ARGUMENT);
    assert_string_equal(err.field, field);
    assert_true(err.text[0] != 0);
    assert_int_equal(n_result(), 0);
}

static void test_wrong_options_are_named(void **state)
{
    fixture *const f = *state;
    const llrt_quantize_options good = f->options;
    llrt_quantize_override o = {"blk.*", "Q4_K_M"};
    f->options.target = "Q4_K_X";
    expect_argument(f, "target");
    f->options.target = NULL;
    expect_argument(f, "target");
    f->options = good;
    f->options.n_thread = 100000;
    expect_argument(f, "n_thread");
    f->options = good;
    f->options.pure = 2;
    expect_argument(f, "pure");
    f->options = good;
    f->options.reserved = 1;
    expect_argument(f, "reserved");
    f->options = good;
    f->options.n_override = 1;
    expect_argument(f, "overrides");
    f->options.overrides = &o; /* a mixture is no type */
    expect_argument(f, "overrides");
    o = (llrt_quantize_override){"blk.9.*", "Q8_0"};
    expect_argument(f, "overrides");
    o = (llrt_quantize_override){"", "Q8_0"};
    expect_argument(f, "pattern");
    o = (llrt_quantize_override){"*attn_q", "Q4_K"}; /* rows of 64 */
    expect_argument(f, "blk.0.attn_q.weight");
    f->options = good;
    check_fails(LLRT_ERR_ARGUMENT, llrt_quantize(NULL, OUT, &f->options, &err));
    check_fails(LLRT_ERR_ARGUMENT, llrt_quantize("in.gguf", "", &f->options, &err));
    check_fails(LLRT_ERR_NOT_FOUND, llrt_quantize("no.gguf", OUT, &f->options, &err));
    check_fails(LLRT_ERR_NOT_FOUND,
                llrt_quantize("in.gguf", "no/folder/out.gguf", &f->options, &err));
}

/* ---- folders ---- */

/* Logits, or hidden states of a model that has none, after a few tokens; the caller frees them. */
static float *compute_row(const char *path, const llrt_source *source, uint32_t *n)
{
    static const int32_t tokens[] = {0, 7, 3, 10, 6, 2, 9, 5};
    llrt_engine_options eo;
    llrt_session_options so;
    llrt_engine *engine;
    llrt_session *session;
    llrt_model_info info = {.struct_size = sizeof info};
    llrt_engine_options_init(&eo, sizeof eo);
    llrt_session_options_init(&so, sizeof so);
    eo.source = source;
    eo.precision = LLRT_PRECISION_F32;
    eo.kv_type = LLRT_TYPE_F32;
    check(llrt_engine_open(path, &eo, &engine, &err));
    check(llrt_engine_info(engine, &info, &err));
    so.with_hidden = !info.can_generate;
    check(llrt_session_create(engine, &so, &session, &err));
    check(llrt_session_append(session, tokens, 8, LLRT_LOGITS_LAST, &err));
    const float *row;
    if (info.can_generate)
        check(llrt_session_logits(session, -1, &row, &err));
    else
        check(llrt_session_hidden(session, -1, &row, &err));
    *n = info.can_generate ? info.n_vocab : info.d_model;
    float *const copy = malloc(*n * sizeof *copy);
    memcpy(copy, row, *n * sizeof *copy);
    llrt_session_free(session);
    llrt_engine_close(engine);
    return copy;
}

/* Converts the model, from files (source NULL) or memory; what both give may differ by so much. */
static void convert(fixture *f, const char *path, const llrt_source *source, float tolerance)
{
    uint32_t n[2];
    f->options.source = source;
    f->options.target = "F32";
    check(llrt_quantize(path, OUT, &f->options, &err));
    float *const wanted = compute_row(path, source, &n[0]);
    float *const found = compute_row(OUT, NULL, &n[1]);
    assert_int_equal(n[0], n[1]);
    float peak = 0;
    for (uint32_t i = 0; i < n[0]; i++)
        peak = (float)test_larger((double)peak, (double)fabsf(wanted[i]));
    assert_true(peak > 0);
    for (uint32_t i = 0; i < n[0]; i++)
        if (!(fabsf(found[i] - wanted[i]) <= tolerance * peak))
            fail_msg("%s: found %g, expected %g", path, (double)found[i], (double)wanted[i]);
    free(wanted);
    free(found);
}

/* Interleaved heads sum their products in another order: a few units in the last place. */
#define SAME 2e-6f

static void test_folders_give_the_same_logits(void **state)
{
    static const struct {
        const char *name;
        float tolerance;
    } models[] = {{"llama", SAME},
                  {"llama_sharded", SAME},
                  {"mistral", SAME},
                  {"qwen2", SAME},
                  {"qwen3", SAME},
                  {"gpt2", SAME},
                  {"mixtral", SAME},
                  {"qwen3_moe", SAME},
                  {"gpt_oss", SAME},
                  {"olmo2", SAME},
                  {"phi3", SAME},
                  {"starcoder2", SAME},
                  {"bert", SAME},
                  {"deepseek_v2", SAME},
                  {"falcon_mq", SAME},
                  {"mamba2", SAME},
                  {"modernbert", SAME},
                  {"xlmroberta", SAME},
                  /*
                   * Tiled heads sum otherwise in each of 8 layers: 4.8e-6 was the most, while
                   * both are up to 1.1e-5 from the reference's logits.
                   */
                  {"qwen3_5", 1e-5f}};
    const char *const folder = test_data_folder();
    if (!folder) skip();
    for (size_t i = 0; i < LLRTI_COUNT(models); i++) {
        char path[1024];
        snprintf(path, sizeof path, "%s/numeric/architectures/%s", folder, models[i].name);
        convert(*state, path, NULL, models[i].tolerance);
    }
}

static void test_folders_of_the_tree_give_the_same_logits(void **state)
{
    static const char *const names[] = {"bert_score",
                                        "bloom",
                                        "cohere",
                                        "cohere2",
                                        "falcon_groups",
                                        "gemma",
                                        "glm4",
                                        "gptneox",
                                        "granite",
                                        "internlm2",
                                        "minicpm",
                                        "olmo3",
                                        "phi",
                                        "phi3_longrope",
                                        "smollm3",
                                        "stablelm",
                                        "modernbert_score",
                                        "xlmroberta_score"};
    const char *const folder = getenv("LLRT_TEST_FIXTURES");
    if (!folder) {
        print_message("skipped: the fixtures of the tree (LLRT_TEST_FIXTURES) are not here\n");
        skip();
    }
    for (size_t i = 0; i < LLRTI_COUNT(names); i++) {
        char path[1024];
        snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        convert(*state, path, NULL, SAME);
    }
}

/* A GGUF of Gemma can't say what multiplies scores, unless it follows from the sizes. */
static void test_gemma_with_the_usual_scores(void **state)
{
    fixture *const f = *state;
    static const char *const names[] = {"gemma2", "gemma3"};
    const char *const folder = test_data_folder();
    if (!folder) skip();
    for (size_t i = 0; i < LLRTI_COUNT(names); i++) {
        char path[1024];
        size_t n;
        snprintf(path, sizeof path, "%s/numeric/architectures/%s/config.json", folder, names[i]);
        char *const config = test_read_file(path, &n);
        assert_non_null(config);
        char *const scalar = strstr(config, "\"query_pre_attn_scalar\": 12");
        assert_non_null(scalar);
        memcpy(scalar, "\"query_pre_attn_scalar\":  6", 27); /* the width of a head */
        snprintf(path, sizeof path, "%s/numeric/architectures/%s/model.safetensors", folder,
                 names[i]);
        size_t n_weight;
        char *const weights = test_read_file(path, &n_weight);
        assert_non_null(weights);
        f->files.n_file = 0;
        memory_files_add(&f->files, "g/config.json", config, n);
        memory_files_add(&f->files, "g/model.safetensors", weights, n_weight);
        convert(f, "g/model.safetensors", &f->source, SAME);
        free(config);
        free(weights);
    }
}

/* Checkpoints of random weights, of families that the test data has none of. */
static const family_case random_models[] = {
    {"qwen3_next", "qwen3_next", false,
     HF_GROUPED "head_dim=4 linear_num_key_heads=2 linear_num_value_heads=4 "
                "linear_key_head_dim=4 linear_value_head_dim=3 full_attention_interval=2 "
                "partial_rotary_factor=0.5 num_experts=4 num_experts_per_tok=2 "
                "moe_intermediate_size=5 shared_expert_intermediate_size=6",
     HF_ENDS HF_NORM_IN HF_NORM_POST
     "model.layers.1.self_attn.q_proj:8x16 model.layers.1.self_attn.k_proj:8x4 "
     "model.layers.1.self_attn.v_proj:8x4 model.layers.1.self_attn.o_proj:8x8 "
     "model.layers.1.self_attn.q_norm:4 model.layers.1.self_attn.k_norm:4 "
     "model.layers.0.linear_attn.conv1d:4x1x28 model.layers.0.linear_attn.dt_bias!:4 "
     "model.layers.0.linear_attn.A_log!:4 model.layers.0.linear_attn.norm:3 "
     "model.layers.0.linear_attn.out_proj:12x8 model.layers.0.linear_attn.in_proj_qkvz:8x40 "
     "model.layers.0.linear_attn.in_proj_ba:8x8 model.layers.#.mlp.gate:8x4 "
     "model.layers.#.mlp.experts.@.gate_proj:8x5 model.layers.#.mlp.experts.@.up_proj:8x5 "
     "model.layers.#.mlp.experts.@.down_proj:5x8 model.layers.#.mlp.shared_expert.gate_proj:8x6 "
     "model.layers.#.mlp.shared_expert.up_proj:8x6 "
     "model.layers.#.mlp.shared_expert.down_proj:6x8 model.layers.#.mlp.shared_expert_gate:8x1"},
    /* In BF16 the factor on the embedding, the root of 8, is 2.828125. */
    {"gemma", "gemma", false, HF_GROUPED "head_dim=4",
     "model.embed_tokens:8x11h model.norm:8 " HF_QKVO HF_GATED HF_NORM_IN HF_NORM_POST},
    {"deepseek_v3", "deepseek_v3", false,
     HF_SIZES "qk_nope_head_dim=6 qk_rope_head_dim=2 v_head_dim=3 kv_lora_rank=5 q_lora_rank=7 "
              "n_routed_experts=4 num_experts_per_tok=2 moe_intermediate_size=5 "
              "first_k_dense_replace=1 n_group=2 topk_group=1",
     HF_ENDS HF_NORM_IN HF_NORM_POST
     "model.layers.#.self_attn.q_a_proj:8x7 model.layers.#.self_attn.q_a_layernorm:7 "
     "model.layers.#.self_attn.q_b_proj:7x16 model.layers.#.self_attn.kv_a_proj_with_mqa:8x7 "
     "model.layers.#.self_attn.kv_a_layernorm:5 model.layers.#.self_attn.kv_b_proj:5x18 "
     "model.layers.#.self_attn.o_proj:6x8 model.layers.0.mlp.gate_proj:8x12 "
     "model.layers.0.mlp.up_proj:8x12 model.layers.0.mlp.down_proj:12x8 "
     "model.layers.1.mlp.gate:8x4 model.layers.1.mlp.gate.e_score_correction_bias!:4 "
     "model.layers.1.mlp.experts.0.gate_proj:8x5 model.layers.1.mlp.experts.0.up_proj:8x5 "
     "model.layers.1.mlp.experts.0.down_proj:5x8 model.layers.1.mlp.experts.1.gate_proj:8x5 "
     "model.layers.1.mlp.experts.1.up_proj:8x5 model.layers.1.mlp.experts.1.down_proj:5x8 "
     "model.layers.1.mlp.experts.2.gate_proj:8x5 model.layers.1.mlp.experts.2.up_proj:8x5 "
     "model.layers.1.mlp.experts.2.down_proj:5x8 model.layers.1.mlp.experts.3.gate_proj:8x5 "
     "model.layers.1.mlp.experts.3.up_proj:8x5 model.layers.1.mlp.experts.3.down_proj:5x8 "
     "model.layers.1.mlp.shared_experts.gate_proj:8x5 "
     "model.layers.1.mlp.shared_experts.up_proj:8x5 "
     "model.layers.1.mlp.shared_experts.down_proj:5x8"},
};

/* The norm of a group of heads, as GGUF files mean it, is not that of the whole row. */
static const family_case grouped_mamba = {
    "mamba2", "mamba2", false,
    "vocab_size=11 hidden_size=8 num_hidden_layers=2 num_heads=2 head_dim=4 n_groups=2 "
    "state_size=3 expand=1 conv_kernel=4",
    "backbone.embeddings:8x11 backbone.norm_f:8 backbone.layers.#.norm:8 "
    "backbone.layers.#.mixer.in_proj:8x30 backbone.layers.#.mixer.conv1d:4x1x20 "
    "backbone.layers.#.mixer.conv1d.bias:20 backbone.layers.#.mixer.dt_bias!:2 "
    "backbone.layers.#.mixer.A_log!:2 backbone.layers.#.mixer.D!:2 "
    "backbone.layers.#.mixer.norm:8 backbone.layers.#.mixer.out_proj:8x8"};

/* Puts it into memory as "r/model.safetensors"; o holds it, o->bytes is to be freed. */
static void add_random_folder(fixture *f, const family_case *c, opened *o)
{
    static shape all[160];
    size_t n_byte, n_header = 8;
    uint64_t seed = 11;
    const size_t n = read_shapes(c->tensors, all, LLRTI_COUNT(all));
    put_json(o, c->arch, c->options);
    o->bytes = make_safetensors(all, n, &n_byte);
    for (int i = 0; i < 8; i++) n_header += (size_t)o->bytes[i] << 8 * i;
    for (size_t at = n_header; at < n_byte; at += sizeof(float)) {
        const float x = (float)(next_random(&seed) >> 8) * 0x1p-24f - 0.5f;
        uint32_t bits;
        memcpy(&bits, &x, sizeof bits);
        bits = (bits >> 16) * 0x10001u; /* one number of F32, or two of BF16 */
        memcpy(o->bytes + at, &bits, sizeof bits);
    }
    f->files.n_file = 0;
    memory_files_add_text(&f->files, "r/config.json", o->config);
    memory_files_add(&f->files, "r/model.safetensors", o->bytes, n_byte);
}

static void test_random_folders_give_the_same_logits(void **state)
{
    fixture *const f = *state;
    for (size_t i = 0; i < LLRTI_COUNT(random_models); i++) {
        opened o;
        add_random_folder(f, &random_models[i], &o);
        convert(f, "r/model.safetensors", &f->source, SAME);
        free(o.bytes);
    }
}

/* Shapes and numbers that other readers ask for, which llrt itself would take otherwise as well. */
static void test_forms_that_only_gguf_files_have(void **state)
{
    fixture *const f = *state;
    const char *const folder = test_data_folder();
    if (!folder) skip();
    char path[1024];
    f->options.source = NULL;
    f->options.target = "F32";
    snprintf(path, sizeof path, "%s/numeric/architectures/mamba2", folder);
    check(llrt_quantize(path, OUT, &f->options, &err));
    llrti_model_file *file = open_result(f);
    static const struct {
        const char *name;
        uint64_t dim[2];
    } shapes[] = {
        {"blk.1.ssm_a", {1, 2}}, {"blk.1.ssm_d", {1, 2}}, {"blk.1.ssm_norm.weight", {8, 1}}};
    for (size_t i = 0; i < LLRTI_COUNT(shapes); i++) {
        const llrti_tensor *const tensor = llrti_model_file_find_tensor(file, shapes[i].name);
        assert_non_null(tensor);
        assert_memory_equal(tensor->dim, shapes[i].dim, sizeof shapes[i].dim);
    }
    assert_int_equal(llrti_model_file_find_meta(file, "mamba2.context_length")->value.u, 1 << 20);
    llrti_model_file_close(file);
    snprintf(path, sizeof path, "%s/numeric/architectures/xlmroberta", folder);
    check(llrt_quantize(path, OUT, &f->options, &err));
    file = open_result(f);
    assert_int_equal(llrti_model_file_find_tensor(file, "position_embd.weight")->dim[1], 14);
    assert_int_equal(llrti_model_file_find_meta(file, "bert.context_length")->value.u, 14);
    const llrti_meta *const n_type =
        llrti_model_file_find_meta(file, "tokenizer.ggml.token_type_count");
    assert_non_null(n_type);
    assert_int_equal(n_type->value.u, 1);
    llrti_model_file_close(file);
    snprintf(path, sizeof path, "%s/numeric/architectures/deepseek_v2", folder);
    check(llrt_quantize(path, OUT, &f->options, &err));
    file = open_result(f);
    static const struct {
        const char *key;
        uint64_t value;
    } keys[] = {
        {"deepseek2.attention.head_count_kv", 1},    {"deepseek2.attention.key_length", 9},
        {"deepseek2.attention.value_length", 5},     {"deepseek2.attention.key_length_mla", 10},
        {"deepseek2.attention.value_length_mla", 6}, {"deepseek2.expert_gating_func", 1}};
    for (size_t i = 0; i < LLRTI_COUNT(keys); i++) {
        const llrti_meta *const meta = llrti_model_file_find_meta(file, keys[i].key);
        assert_non_null(meta);
        assert_int_equal(meta->value.u, keys[i].value);
    }
    llrti_model_file_close(file);
}

/* The same model as a folder and as a GGUF that somebody else's converter wrote. */
static void test_a_folder_becomes_the_gguf_it_belongs_to(void **state)
{
    fixture *const f = *state;
    const char *const folder = test_data_folder();
    if (!folder) skip();
    char path[1024];
    snprintf(path, sizeof path, "%s/demo/hf", folder);
    f->options.source = NULL;
    f->options.target = "F16";
    check(llrt_quantize(path, OUT, &f->options, &err));
    snprintf(path, sizeof path, "%s/demo/llrt-demo-f16.gguf", folder);
    const llrti_model_file_options how = {0};
    llrti_model_file *wanted, *const found = open_result(f);
    check(llrti_model_file_open(&f->mem, path, &how, &wanted, &err));
    assert_int_equal(llrti_model_file_n_tensor(found), llrti_model_file_n_tensor(wanted));
    for (uint32_t i = 0; i < llrti_model_file_n_tensor(wanted); i++) {
        const llrti_tensor *const a = llrti_model_file_tensor(wanted, i);
        const llrti_tensor *const b = llrti_model_file_find_tensor(found, a->name);
        assert_non_null(b);
        assert_int_equal(a->type, b->type);
        assert_memory_equal(a->dim, b->dim, sizeof a->dim);
        uint8_t *const data = malloc((size_t)a->n_byte * 2);
        check(llrti_model_file_read(wanted, a, 0, data, (size_t)a->n_byte, &err));
        check(llrti_model_file_read(found, b, 0, data + a->n_byte, (size_t)a->n_byte, &err));
        assert_memory_equal(data, data + a->n_byte, (size_t)a->n_byte);
        free(data);
    }
    static const char *const keys[] = {"tokenizer.ggml.tokens", "tokenizer.ggml.merges"};
    for (int k = 0; k < 2; k++) {
        const llrti_meta *const a = llrti_model_file_find_meta(wanted, keys[k]);
        const llrti_meta *const b = llrti_model_file_find_meta(found, keys[k]);
        assert_non_null(b);
        assert_int_equal(a->n, b->n);
        for (uint64_t i = 0; i < a->n; i++) {
            const llrti_string *const left = (const llrti_string *)a->value.array + i;
            const llrti_string *const right = (const llrti_string *)b->value.array + i;
            assert_int_equal(left->n, right->n);
            assert_memory_equal(left->data, right->data, left->n);
        }
    }
    llrti_model_file_close(wanted);
    llrti_model_file_close(found);
}

/* A folder in memory: the smallest Llama with somebody's tokenizer. */
static void add_folder(fixture *f, const char *folder, const char *tokenizer, char *data[3])
{
    static const char *const names[] = {"tf/config.json", "tf/model.safetensors",
                                        "tf/tokenizer.json"};
    char path[1024];
    f->files.n_file = 0;
    for (int i = 0; i < 3; i++) {
        size_t n;
        if (i < 2)
            snprintf(path, sizeof path, "%s/numeric/architectures/llama/%s", folder, names[i] + 3);
        else
            snprintf(path, sizeof path, "%s/tokenizers/%s/tokenizer.json", folder, tokenizer);
        data[i] = test_read_file(path, &n);
        if (data[i]) memory_files_add(&f->files, names[i], data[i], n);
    }
}

/* Byte-level with merges; SentencePiece, whose scores are made from merges. */
static void test_tokenizers_come_along(void **state)
{
    fixture *const f = *state;
    static const char *const names[] = {"gpt2", "llama2", "phi-3-mini"};
    static const char text[] = "The quick brown fox, 1234 times;  it's \n\n\tGr\xc3\xbc\xc3\x9f"
                               "e \xe6\x97\xa5\xe6\x9c\xac <s> endoftext!";
    const char *const folder = test_data_folder();
    if (!folder) skip();
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char *data[3];
        add_folder(f, folder, names[i], data);
        f->options.target = "F32";
        check(llrt_quantize("tf/model.safetensors", OUT, &f->options, &err));
        llrt_tokenizer_options from;
        llrt_tokenizer_options_init(&from, sizeof from);
        from.source = &f->source;
        llrt_tokenizer *a, *b;
        check(llrt_tokenizer_open("tf/tokenizer.json", &from, &a, &err));
        check(llrt_tokenizer_open(OUT, NULL, &b, &err));
        int32_t left[256], right[256];
        size_t n[2];
        check(llrt_tokenizer_encode(a, text, sizeof text - 1, 0, left, 256, &n[0], &err));
        check(llrt_tokenizer_encode(b, text, sizeof text - 1, 0, right, 256, &n[1], &err));
        assert_int_equal(n[0], n[1]);
        assert_true(n[0] > 20);
        assert_memory_equal(left, right, n[0] * sizeof *left);
        llrt_tokenizer_free(a);
        llrt_tokenizer_free(b);
        for (int k = 0; k < 3; k++) free(data[k]);
    }
}

/* Every allocation of a conversion fails once. */
static void sweep_conversion(fixture *f, const char *path)
{
    test_heap heap;
    memset(&heap, 0, sizeof heap);
    const llrt_allocator hooks = {test_heap_alloc, test_heap_free, &heap};
    f->options.allocator = &hooks;
    f->options.n_thread = 1;
    llrt_status status = LLRT_ERR_NOMEM;
    for (size_t at = 1; status != LLRT_OK; at++) {
        assert_true(at < 2000);
        heap.n_call = 0;
        heap.fail_at = at;
        status = llrt_quantize(path, OUT, &f->options, NULL);
        assert_int_equal(heap.n_live, 0);
        if (status == LLRT_OK) break;
        assert_int_equal(status, LLRT_ERR_NOMEM);
        assert_int_equal(n_result(), 0);
    }
}

static void test_converting_without_memory_leaves_nothing(void **state)
{
    fixture *const f = *state;
    const char *const folder = test_data_folder();
    if (!folder) skip();
    char *data[3];
    add_folder(f, folder, "none", data); /* without a tokenizer, to be quick */
    sweep_conversion(f, "tf/model.safetensors");
    for (int k = 0; k < 3; k++) free(data[k]);
}

/* The same where weights have forms of their own. */
static void test_converting_forms_without_memory_leaves_nothing(void **state)
{
    fixture *const f = *state;
    opened o;
    add_random_folder(f, &random_models[0], &o);
    sweep_conversion(f, "r/model.safetensors");
    free(o.bytes);
}

static void test_a_folder_that_gguf_cannot_express_is_refused(void **state)
{
    fixture *const f = *state;
    const char *const folder = test_data_folder();
    if (!folder) skip();
    char path[1024];
    llrt_error err = LLRT_ERROR_INIT;
    /* Its scores have a factor that no GGUF of this architecture states. */
    snprintf(path, sizeof path, "%s/numeric/architectures/gemma2", folder);
    f->options.source = NULL;
    assert_int_equal(llrt_quantize(path, OUT, &f->options, &err), LLRT_ERR_UNSUPPORTED);
    assert_string_equal(err.field, "model_type");
    assert_non_null(strstr(err.text, "'gemma2'"));
    assert_non_null(strstr(err.text, "attention of layer 0"));
    assert_int_equal(n_result(), 0);
}

static void test_norms_by_group_are_refused(void **state)
{
    fixture *const f = *state;
    llrt_error err = LLRT_ERROR_INIT;
    opened o;
    add_random_folder(f, &grouped_mamba, &o);
    assert_int_equal(llrt_quantize("r/model.safetensors", OUT, &f->options, &err),
                     LLRT_ERR_UNSUPPORTED);
    assert_non_null(strstr(err.text, "a norm of several groups of heads"));
    assert_int_equal(n_result(), 0);
    free(o.bytes);
}

#define T(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_types_and_metadata),
        T(test_logits_come_closer_with_more_bits),
        T(test_bytes_do_not_depend_on_threads),
        T(test_overrides),
        T(test_requantising_is_asked_for),
        T(test_importance_of_another_model_is_refused),
        T(test_importance_changes_what_it_names),
        T(test_values_that_are_no_numbers_are_named),
        T(test_cancelling_leaves_nothing),
        T(test_failing_reads_leave_nothing),
        T(test_lack_of_memory_leaves_nothing),
        T(test_wrong_options_are_named),
        T(test_folders_give_the_same_logits),
        T(test_folders_of_the_tree_give_the_same_logits),
        T(test_gemma_with_the_usual_scores),
        T(test_random_folders_give_the_same_logits),
        T(test_forms_that_only_gguf_files_have),
        T(test_a_folder_becomes_the_gguf_it_belongs_to),
        T(test_tokenizers_come_along),
        T(test_converting_without_memory_leaves_nothing),
        T(test_converting_forms_without_memory_leaves_nothing),
        T(test_a_folder_that_gguf_cannot_express_is_refused),
        T(test_norms_by_group_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
