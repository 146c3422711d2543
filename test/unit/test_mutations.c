/* SPDX-License-Identifier: MIT */
/*
 * Damaged models through the public API: a small valid GGUF file, the demo model and a small Hugging Face
 * folder, changed in thousands of ways that are the same at every run (every field of the header
 * set to wrong values, entries left out, doubled and retyped, every JSON value replaced, files cut and
 * bits flipped). Each is opened in every way there is. What must hold: the call succeeds and the model
 * computes, or it fails with a status, a sentence, the file's name and, where a field is at fault, the
 * field; nothing leaks, no file stays open, and no single request for memory is out of proportion.
 *
 * `test_mutations --list` prints every different message, to be read by a person.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>

#include "engine_support.h"
#include "gguf_fields.h"
#include "memory_files.h"

/* No file here is larger than the demo model's 7 MB, and no option asks for more than a few. */
#define MOST_BYTES ((size_t)64 << 20)

static bool is_listing;

/* ---- trying a damaged model ---- */

typedef struct watch {
    class_heap heap;
    size_t largest;
} watch;

static void *watched_alloc(void *ctx, size_t size, size_t align, llrt_memory kind)
{
    watch *const w = ctx;
    if (size > w->largest) w->largest = size;
    return size > MOST_BYTES ? NULL : class_alloc(&w->heap, size, align, kind);
}

static void watched_free(void *ctx, void *ptr, size_t size, size_t align, llrt_memory kind)
{
    class_free(&((watch *)ctx)->heap, ptr, size, align, kind);
}

typedef struct trial {
    const char *path;
    const char *what; /* the mutation, for messages */
    memory_files files;
    llrt_source source;
    size_t n_tried, n_refused;
    bool is_header_only; /* plan and metadata, no weights */
} trial;

static void trial_init(trial *t, const char *path)
{
    memset(t, 0, sizeof *t);
    t->path = path;
    memory_files_init(&t->files, &t->source);
}

static void judge(trial *t, const char *call, llrt_status status, const llrt_error *err,
                  const watch *w)
{
    const bool is_known = status == LLRT_OK || status == LLRT_ERR_FORMAT ||
                          status == LLRT_ERR_UNSUPPORTED || status == LLRT_ERR_NOT_FOUND ||
                          status == LLRT_ERR_ARGUMENT;
    const bool is_told = status == LLRT_OK ||
                         (err->status == status && err->text[0] && (err->file[0] || !t->path) &&
                          (err->field[0] || err->position >= 0 || status == LLRT_ERR_NOT_FOUND));
    const bool is_clean = atomic_load(&w->heap.n_live) == 0 && t->files.n_open == 0;
    if (is_listing && status < 0)
        printf("%s [%s] [%s] @%lld: %s\n", llrt_status_name(status), err->file, err->field,
               (long long)err->position, err->text);
    t->n_refused += status < 0;
    if (is_known && is_told && is_clean && w->largest <= MOST_BYTES) return;
    print_error(
        "%s after \"%s\": %s [%s] [%s] \"%s\", %zu blocks and %d files left, largest request "
        "%zu\n",
        call, t->what, llrt_status_name(status), err->file, err->field, err->text,
        atomic_load(&w->heap.n_live), t->files.n_open, w->largest);
    fail();
}

static void compute(llrt_engine *engine)
{
    llrt_session *session = NULL;
    const int32_t tokens[] = {1, 0, 2};
    if (llrt_session_create(engine, NULL, &session, NULL) < 0) return;
    (void)llrt_session_append(session, tokens, 3, LLRT_LOGITS_LAST, NULL);
    llrt_session_free(session);
}

static void try_engine(trial *t, uint32_t metadata_only)
{
    watch w = {.largest = 0};
    const llrt_allocator hooks = {watched_alloc, watched_free, &w};
    llrt_engine_options o;
    llrt_engine *engine = NULL;
    llrt_error err = LLRT_ERROR_INIT;
    llrt_engine_options_init(&o, sizeof o);
    o.n_thread = 1;
    o.n_ctx = 16;
    o.n_step_tok = 4;
    o.n_step_seq = o.n_step_out = 2;
    o.kv_tok = 64;
    o.metadata_only = metadata_only;
    o.source = &t->source;
    o.allocator = &hooks;
    const llrt_status status = llrt_engine_open(t->path, &o, &engine, &err);
    assert_true((status == LLRT_OK) == (engine != NULL));
    if (engine && !metadata_only) compute(engine);
    llrt_engine_close(engine);
    judge(t, metadata_only ? "reading metadata" : "opening", status, &err, &w);
    if (metadata_only) return;
    llrt_plan plan = {.struct_size = sizeof plan};
    w.largest = 0;
    err = (llrt_error)LLRT_ERROR_INIT;
    const llrt_status planned = llrt_engine_plan(t->path, &o, &plan, &err);
    judge(t, "planning", planned, &err, &w);
    if (status == LLRT_OK || planned < 0) assert_int_equal(status, planned);
}

static void use_tokenizer(const llrt_tokenizer *tokenizer)
{
    int32_t ids[64];
    char text[256];
    size_t n = 0, n_text;
    (void)llrt_tokenizer_encode(tokenizer, "ab <s> \xff b", 10, 3, ids, 64, &n, NULL);
    if (n <= 64)
        (void)llrt_tokenizer_decode(tokenizer, ids, n, 0, text, sizeof text, &n_text, NULL);
}

static void try_tokenizer(trial *t, const char *path, const void *data, size_t n)
{
    watch w = {.largest = 0};
    const llrt_allocator hooks = {watched_alloc, watched_free, &w};
    llrt_tokenizer_options o;
    llrt_tokenizer *tokenizer = NULL;
    llrt_error err = LLRT_ERROR_INIT;
    const char *const model = t->path;
    llrt_tokenizer_options_init(&o, sizeof o);
    o.allocator = &hooks;
    o.source = path ? &t->source : NULL;
    const llrt_status status = path ? llrt_tokenizer_open(path, &o, &tokenizer, &err)
                                    : llrt_tokenizer_open_memory(data, n, &o, &tokenizer, &err);
    assert_true((status == LLRT_OK) == (tokenizer != NULL));
    if (tokenizer) use_tokenizer(tokenizer);
    llrt_tokenizer_free(tokenizer);
    t->path = path;
    judge(t, "opening the tokenizer", status, &err, &w);
    t->path = model;
}

static void try_all(trial *t, const char *what)
{
    t->what = what;
    t->n_tried++;
    if (!t->is_header_only) try_engine(t, 0);
    try_engine(t, 1);
    try_tokenizer(t, t->path, NULL, 0);
}

static void conclude(const trial *t, const char *kind, size_t least)
{
    print_message("%s: %zu mutations, %zu refusals\n", kind, t->n_tried, t->n_refused);
    assert_true(t->n_tried >= least);
    assert_true(t->n_refused >= t->n_tried); /* of up to four calls for each */
}

/* ---- the small GGUF file ---- */

static void add_vocabulary(gguf_writer *w)
{
    static const char *const tokens[] = {
        "<unk>", "<s>", "</s>", "\xe2\x96\x81", "a", "b", "ab", "\xe2\x96\x81\x61", "<x>", "c"};
    static const float scores[] = {0, 0, 0, -1, -2, -3, -4, -5, 0, -6};
    static const int32_t types[] = {2, 3, 3, 1, 1, 1, 1, 1, 4, 1};
    gw_string(w, "tokenizer.ggml.model", "llama");
    gw_strings(w, "tokenizer.ggml.tokens", tokens, 10);
    gw_f32s(w, "tokenizer.ggml.scores", scores, 10);
    gw_i32s(w, "tokenizer.ggml.token_type", types, 10);
    gw_u32(w, "tokenizer.ggml.bos_token_id", 1);
    gw_u32(w, "tokenizer.ggml.eos_token_id", 2);
    gw_bool(w, "tokenizer.ggml.add_bos_token", 1);
}

/* A Llama of one layer with everything that is optional. */
static uint8_t *small_gguf(size_t *n)
{
    static const struct {
        const char *name;
        uint32_t d0, d1;
    } tensor[] = {
        {"token_embd", 8, 10},     {"output_norm", 8, 1},       {"output", 8, 10},
        {"blk.0.attn_norm", 8, 1}, {"blk.0.attn_q", 8, 8},      {"blk.0.attn_k", 8, 4},
        {"blk.0.attn_v", 8, 4},    {"blk.0.attn_output", 8, 8}, {"blk.0.ffn_norm", 8, 1},
        {"blk.0.ffn_gate", 8, 12}, {"blk.0.ffn_up", 8, 12},     {"blk.0.ffn_down", 12, 8}};
    gguf_writer w;
    uint64_t seed = 1;
    char name[64];
    gw_init(&w);
    gw_string(&w, "general.architecture", "llama");
    gw_string(&w, "general.name", "small");
    gw_u32(&w, "general.alignment", 32);
    gw_u32(&w, "llama.context_length", 64);
    gw_u32(&w, "llama.embedding_length", 8);
    gw_u32(&w, "llama.block_count", 1);
    gw_u32(&w, "llama.feed_forward_length", 12);
    gw_u32(&w, "llama.attention.head_count", 2);
    gw_u32(&w, "llama.attention.head_count_kv", 1);
    gw_u32(&w, "llama.attention.key_length", 4);
    gw_u32(&w, "llama.attention.value_length", 4);
    gw_u32(&w, "llama.attention.sliding_window", 32);
    gw_u32(&w, "llama.rope.dimension_count", 4);
    gw_f32(&w, "llama.rope.freq_base", 10000);
    gw_string(&w, "llama.rope.scaling.type", "yarn");
    gw_f32(&w, "llama.rope.scaling.factor", 2);
    gw_u32(&w, "llama.rope.scaling.original_context_length", 32);
    gw_u32(&w, "llama.vocab_size", 10);
    gw_f32(&w, "llama.attention.layer_norm_rms_epsilon", 1e-5f);
    add_vocabulary(&w);
    for (size_t i = 0; i < sizeof tensor / sizeof tensor[0]; i++) {
        snprintf(name, sizeof name, "%s.weight", tensor[i].name);
        add_random_tensor(&w, &seed, name, tensor[i].d0, tensor[i].d1);
    }
    return gw_finish(&w, n);
}

static void store(uint8_t *p, uint64_t value, size_t n)
{
    for (size_t i = 0; i < n; i++) p[i] = (uint8_t)(value >> 8 * i);
}

/* Replaces the only file of the trial. */
static void set_file(trial *t, const void *data, size_t n)
{
    t->files.n_file = 0;
    memory_files_add(&t->files, t->path, data, n);
}

static void try_gguf(trial *t, const uint8_t *data, size_t n, const char *what, size_t at)
{
    char line[96];
    /* Of the very size, so that reading beyond is an error that sanitizers see. */
    uint8_t *const copy = malloc(n ? n : 1);
    assert_non_null(copy);
    memcpy(copy, data, n);
    snprintf(line, sizeof line, "%s at byte %zu", what, at);
    set_file(t, copy, n);
    try_all(t, line);
    try_tokenizer(t, NULL, copy, n);
    free(copy);
}

static const uint64_t numbers[] = {0,
                                   1,
                                   2,
                                   3,
                                   5,
                                   7,
                                   8,
                                   9,
                                   12,
                                   13,
                                   24,
                                   0xff,
                                   0x10000,
                                   0x7fffffff,
                                   0x80000000,
                                   0xffffffff,
                                   UINT64_C(1) << 32,
                                   UINT64_C(1) << 40,
                                   UINT64_C(1) << 62,
                                   INT64_MAX,
                                   UINT64_C(1) << 63,
                                   UINT64_MAX - 31,
                                   UINT64_MAX};

static void set_number(trial *t, uint8_t *data, size_t n, const gf_field *f)
{
    const uint64_t old = gf_load(data + f->at, f->n);
    const uint64_t near_old[] = {old - 1, old + 1, old * 2, old | UINT64_C(1) << (8 * f->n - 1)};
    const size_t n_number = sizeof numbers / sizeof numbers[0];
    for (size_t i = 0; i < n_number + 4; i++) {
        const uint64_t value = i < n_number ? numbers[i] : near_old[i - n_number];
        if (f->n < 8 && value >> 8 * f->n && value != UINT64_MAX) continue;
        if (value == old) continue;
        store(data + f->at, value, f->n);
        try_gguf(t, data, n, "a number", f->at);
    }
    store(data + f->at, old, f->n);
}

static void set_float(trial *t, uint8_t *data, size_t n, const gf_field *f)
{
    const float values[] = {NAN,   INFINITY, -INFINITY, 0.0f,  -0.0f,   1e-45f,
                            -1.0f, 0.5f,     1.0f,      1e10f, 3.4e38f, -3.4e38f};
    const uint64_t old = gf_load(data + f->at, f->n);
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        uint32_t bits;
        memcpy(&bits, &values[i], 4);
        store(data + f->at, bits, f->n);
        try_gguf(t, data, n, "a float", f->at);
    }
    store(data + f->at, old, f->n);
}

static void set_text(trial *t, uint8_t *data, size_t n, const gf_field *f)
{
    static const uint8_t bytes[] = {0, 0x20, 'X', '"', 0x80, 0xff};
    const size_t places[] = {f->at, f->at + f->n / 2, f->at + f->n - 1};
    for (size_t k = 0; k < 3; k++) {
        const uint8_t old = data[places[k]];
        for (size_t i = 0; i < sizeof bytes; i++) {
            data[places[k]] = bytes[i];
            try_gguf(t, data, n, "a byte of text", places[k]);
        }
        data[places[k]] = old;
    }
}

static void test_every_field_of_a_gguf(void **state)
{
    (void)state;
    trial t;
    gf_map map;
    size_t n;
    uint8_t *const data = small_gguf(&n);
    trial_init(&t, "small.gguf");
    set_file(&t, data, n);
    try_all(&t, "nothing");
    assert_int_equal(t.n_refused, 0);
    gf_find(&map, data);
    for (size_t i = 0; i < map.n_field; i++) {
        const gf_field *const f = &map.field[i];
        if (f->kind == GF_TEXT || f->kind == GF_MAGIC)
            set_text(&t, data, n, f);
        else if (f->kind == GF_FLOAT)
            set_float(&t, data, n, f);
        else
            set_number(&t, data, n, f);
    }
    gf_free(&map);
    free(data);
    conclude(&t, "fields of a GGUF file", 1000);
}

static void test_every_cut_of_a_gguf(void **state)
{
    (void)state;
    trial t;
    size_t n;
    uint8_t *const data = small_gguf(&n);
    trial_init(&t, "small.gguf");
    /* The last tensor ends with the file, so that every cut takes something away. */
    for (size_t end = 0; end < n; end += end < 2200 ? 1 : 37)
        try_gguf(&t, data, end, "the end", end);
    free(data);
    conclude(&t, "cuts of a GGUF file", 1000);
}

static void test_flipped_bits_of_a_gguf(void **state)
{
    (void)state;
    trial t;
    gf_map map;
    uint64_t seed = 7;
    size_t n;
    uint8_t *const data = small_gguf(&n);
    trial_init(&t, "small.gguf");
    gf_find(&map, data);
    for (size_t at = 0; at < map.at; at++) {
        const uint8_t bit = (uint8_t)(1u << next_random(&seed) % 8);
        data[at] ^= bit;
        try_gguf(&t, data, n, "a bit", at);
        data[at] ^= bit;
    }
    print_message("bits of a GGUF file: %zu mutations, %zu refusals\n", t.n_tried, t.n_refused);
    assert_true(t.n_tried > 1000 && t.n_refused > t.n_tried / 2);
    gf_free(&map);
    free(data);
}

/* The file with [begin, end) of the header replaced, the counts changed and the data aligned again. */
static void try_splice(trial *t, const gf_map *map, size_t n, const gf_entry *e, size_t begin,
                       size_t end, const gw_buffer *with, int more)
{
    gw_buffer out = {0};
    const size_t data_at = (map->at + 31) / 32 * 32;
    gw_put(&out, map->data, begin);
    gw_put(&out, with->data, with->n);
    gw_put(&out, map->data + end, map->at - end);
    uint8_t *const count = out.data + (e->is_tensor ? 8 : 16);
    store(count, gf_load(count, 8) + (uint64_t)(int64_t)more, 8);
    while (out.n % 32) gw_put_number(&out, 0, 1);
    gw_put(&out, map->data + data_at, n - data_at);
    try_gguf(t, out.data, out.n, more < 0 ? "left out" : more ? "doubled" : "retyped", begin);
    free(out.data);
}

static void retype(trial *t, const gf_map *map, size_t n, const gf_entry *e)
{
    for (int i = 0; i < 10; i++) {
        static const uint8_t type[] = {0, 5, 6, 7, 8, 9, 9, 9, 11, 12};
        const double huge = 1e300;
        uint64_t bits;
        gw_buffer with = {0};
        memcpy(&bits, &huge, 8);
        gw_put_number(&with, type[i], 4);
        if (i == 4) gw_put_string(&with, "text");
        if (i == 5) { /* of strings */
            gw_put_number(&with, 8, 4);
            gw_put_number(&with, 2, 8);
            gw_put_string(&with, "a");
            gw_put_string(&with, "b");
        }
        if (i == 6 || i == 7) { /* of numbers: none, three */
            gw_put_number(&with, 4, 4);
            gw_put_number(&with, i == 6 ? 0 : 3, 8);
            for (uint32_t k = 0; i == 7 && k < 3; k++) gw_put_number(&with, k, 4);
        }
        if (i < 4) gw_put_number(&with, 1, i == 0 || i == 3 ? 1 : 4);
        if (i > 7) gw_put_number(&with, i == 8 ? UINT64_MAX : bits, 8);
        try_splice(t, map, n, e, e->value, e->end, &with, 0);
        free(with.data);
    }
}

static void test_every_entry_of_a_gguf(void **state)
{
    (void)state;
    trial t;
    gf_map map;
    size_t n;
    uint8_t *const data = small_gguf(&n);
    trial_init(&t, "small.gguf");
    gf_find(&map, data);
    for (size_t i = 0; i < map.n_entry; i++) {
        const gf_entry *const e = &map.entry[i];
        const gw_buffer nothing = {0}, again = {data + e->begin, e->end - e->begin, 0};
        try_splice(&t, &map, n, e, e->begin, e->end, &nothing, -1);
        try_splice(&t, &map, n, e, e->begin, e->begin, &again, 1);
        if (!e->is_tensor) retype(&t, &map, n, e);
    }
    gf_free(&map);
    free(data);
    conclude(&t, "entries of a GGUF file", 200);
}

/* ---- the demo model ---- */

static uint8_t *read_whole(const char *path, size_t *n)
{
    FILE *const f = fopen(path, "rb");
    assert_non_null(f);
    fseek(f, 0, SEEK_END);
    *n = (size_t)ftell(f);
    rewind(f);
    uint8_t *const data = malloc(*n ? *n : 1);
    assert_true(data && fread(data, 1, *n, f) == *n);
    fclose(f);
    return data;
}

static void test_demo_model(void **state)
{
    (void)state;
    char path[512];
    if (!demo_path(path, sizeof path, "llrt-demo.gguf")) skip();
    trial t;
    gf_map map;
    uint64_t seed = 11;
    size_t n;
    uint8_t *const data = read_whole(path, &n);
    trial_init(&t, "llrt-demo.gguf");
    t.is_header_only = true;
    gf_find(&map, data);
    for (int i = 0; i < 200; i++) {
        const size_t end =
            i < 100 ? map.at * (size_t)i / 100 : map.at + (n - map.at) * (size_t)(i - 100) / 100;
        set_file(&t, data, end);
        try_all(&t, "a cut of the demo model");
    }
    for (int i = 0; i < 300; i++) {
        const gf_field *const f = &map.field[next_random(&seed) % map.n_field];
        const size_t at = f->at + next_random(&seed) % f->n;
        const uint8_t old = data[at];
        data[at] = (uint8_t)next_random(&seed);
        set_file(&t, data, n);
        try_all(&t, "a byte of the demo model");
        data[at] = old;
    }
    gf_free(&map);
    free(data);
    print_message("the demo model: %zu mutations, %zu refusals\n", t.n_tried, t.n_refused);
    assert_true(t.n_refused > t.n_tried / 2);
}

/* ---- the small Hugging Face folder ---- */

static const char config_text[] =
    "{\"model_type\":\"llama\",\"architectures\":[\"LlamaForCausalLM\"],\"hidden_size\":8,"
    "\"intermediate_size\":12,\"num_hidden_layers\":1,\"num_attention_heads\":2,"
    "\"num_key_value_heads\":1,\"head_dim\":4,\"max_position_embeddings\":64,\"vocab_size\":12,"
    "\"rms_norm_eps\":1e-05,\"hidden_act\":\"silu\",\"rope_theta\":10000.0,"
    "\"attention_bias\":false,\"mlp_bias\":false,\"tie_word_embeddings\":false,"
    "\"sliding_window\":32,\"bos_token_id\":7,\"eos_token_id\":8,\"torch_dtype\":\"float32\","
    "\"rope_scaling\":{\"rope_type\":\"llama3\",\"factor\":8.0,\"low_freq_factor\":1.0,"
    "\"high_freq_factor\":4.0,\"original_max_position_embeddings\":32}}";

static const char tokenizer_text[] =
    "{\"version\":\"1.0\",\"added_tokens\":[{\"id\":7,\"content\":\"<s>\",\"special\":true,"
    "\"normalized\":false},{\"id\":8,\"content\":\"</s>\",\"special\":true,\"lstrip\":false}],"
    "\"normalizer\":{\"type\":\"NFC\"},\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":["
    "{\"type\":\"Digits\",\"individual_digits\":true},{\"type\":\"ByteLevel\",\"add_prefix_space\":"
    "false,\"use_regex\":true}]},\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":["
    "{\"SpecialToken\":{\"id\":\"<s>\",\"type_id\":0}},{\"Sequence\":{\"id\":\"A\",\"type_id\":0}}]"
    ","
    "\"special_tokens\":{\"<s>\":{\"id\":\"<s>\",\"ids\":[7],\"tokens\":[\"<s>\"]}}},"
    "\"decoder\":{\"type\":\"ByteLevel\"},\"model\":{\"type\":\"BPE\",\"unk_token\":null,"
    "\"byte_fallback\":false,\"ignore_merges\":false,\"vocab\":{\"a\":0,\"b\":1,\"ab\":2,"
    "\"\\u0120\":3,\"\\u0120a\":4,\"c\":5,\"\\u0120ab\":6},\"merges\":[\"a b\",\"\\u0120 a\","
    "[\"\\u0120a\",\"b\"]]}}";

static const char generation_text[] = "{\"bos_token_id\":7,\"eos_token_id\":[8,7]}";
static const char settings_text[] =
    "{\"bos_token\":\"<s>\",\"eos_token\":{\"content\":\"</s>\"},\"add_bos_token\":true}";

static const struct {
    const char *name;
    uint32_t d0, d1; /* d1 0: one dimension */
} hf_tensor[] = {{"model.embed_tokens.weight", 12, 8},
                 {"model.norm.weight", 8, 0},
                 {"lm_head.weight", 12, 8},
                 {"model.layers.0.input_layernorm.weight", 8, 0},
                 {"model.layers.0.self_attn.q_proj.weight", 8, 8},
                 {"model.layers.0.self_attn.k_proj.weight", 4, 8},
                 {"model.layers.0.self_attn.v_proj.weight", 4, 8},
                 {"model.layers.0.self_attn.o_proj.weight", 8, 8},
                 {"model.layers.0.post_attention_layernorm.weight", 8, 0},
                 {"model.layers.0.mlp.gate_proj.weight", 12, 8},
                 {"model.layers.0.mlp.up_proj.weight", 12, 8},
                 {"model.layers.0.mlp.down_proj.weight", 8, 12}};
#define N_HF (sizeof hf_tensor / sizeof hf_tensor[0])

enum { CONFIG, GENERATION, SETTINGS, TOKENIZER, INDEX, FIRST, SECOND, N_FILE };

static const char *const hf_names[N_FILE] = {
    "m/config.json",    "m/generation_config.json",       "m/tokenizer_config.json",
    "m/tokenizer.json", "m/model.safetensors.index.json", "m/one.safetensors",
    "m/two.safetensors"};

typedef struct folder {
    gw_buffer file[N_FILE];
    size_t n_header[N_FILE]; /* of safetensors: the JSON, at byte 8 */
} folder;

static void put_text(gw_buffer *b, const char *format, ...)
{
    char line[256];
    va_list args;
    va_start(args, format);
    const int n = vsnprintf(line, sizeof line, format, args);
    va_end(args);
    assert_true(n >= 0 && (size_t)n < sizeof line);
    gw_put(b, line, (size_t)n);
}

/* Tensors first .. last - 1 of the table; the offsets fit because everything is written anew. */
static void put_shard(folder *f, int which, size_t first, size_t last)
{
    gw_buffer header = {0};
    size_t at = 0;
    put_text(&header, "{\"__metadata__\":{\"format\":\"pt\"}");
    for (size_t i = first; i < last; i++) {
        const size_t n = hf_tensor[i].d0 * (hf_tensor[i].d1 ? hf_tensor[i].d1 : 1) * sizeof(float);
        put_text(&header, ",\"%s\":{\"dtype\":\"F32\",\"shape\":[%u", hf_tensor[i].name,
                 (unsigned)hf_tensor[i].d0);
        if (hf_tensor[i].d1) put_text(&header, ",%u", (unsigned)hf_tensor[i].d1);
        put_text(&header, "],\"data_offsets\":[%zu,%zu]}", at, at + n);
        at += n;
    }
    put_text(&header, "}");
    f->n_header[which] = header.n;
    gw_put_number(&f->file[which], header.n, 8);
    gw_put(&f->file[which], header.data, header.n);
    for (size_t i = 0; i < at; i++) gw_put_number(&f->file[which], i % 4 == 3 ? 0x3d : 0, 1);
    free(header.data);
}

static void folder_init(folder *f)
{
    memset(f, 0, sizeof *f);
    put_shard(f, FIRST, 0, N_HF / 2);
    put_shard(f, SECOND, N_HF / 2, N_HF);
    gw_put(&f->file[CONFIG], config_text, strlen(config_text));
    gw_put(&f->file[GENERATION], generation_text, strlen(generation_text));
    gw_put(&f->file[SETTINGS], settings_text, strlen(settings_text));
    gw_put(&f->file[TOKENIZER], tokenizer_text, strlen(tokenizer_text));
    put_text(&f->file[INDEX], "{\"metadata\":{\"total_size\":1},\"weight_map\":{");
    for (size_t i = 0; i < N_HF; i++)
        put_text(&f->file[INDEX], "%s\"%s\":\"%s\"", i ? "," : "", hf_tensor[i].name,
                 i < N_HF / 2 ? "one.safetensors" : "two.safetensors");
    put_text(&f->file[INDEX], "}}");
}

static void folder_free(folder *f)
{
    for (int i = 0; i < N_FILE; i++) free(f->file[i].data);
}

/* The folder with one file replaced; data NULL: without it. */
static void try_folder(trial *t, const folder *f, int which, const void *data, size_t n,
                       const char *what, size_t at)
{
    char line[128];
    void *const copy = malloc(n ? n : 1);
    assert_non_null(copy);
    if (data) memcpy(copy, data, n);
    t->files.n_file = 0;
    for (int i = 0; i < N_FILE; i++) {
        if (i != which)
            memory_files_add(&t->files, hf_names[i], f->file[i].data, f->file[i].n);
        else if (data)
            memory_files_add(&t->files, hf_names[i], copy, n);
    }
    snprintf(line, sizeof line, "%s at byte %zu of %s", what, at,
             which < N_FILE ? hf_names[which] : "nothing");
    try_all(t, line);
    if (which == TOKENIZER && data) try_tokenizer(t, NULL, copy, n);
    free(copy);
}

/* The file with [begin, end) replaced; a safetensors header's length is set again. */
static void try_edit(trial *t, const folder *f, int which, size_t begin, size_t end,
                     const char *with, const char *what)
{
    const gw_buffer *const file = &f->file[which];
    gw_buffer out = {0};
    gw_put(&out, file->data, begin);
    gw_put(&out, with, strlen(with));
    gw_put(&out, file->data + end, file->n - end);
    if (f->n_header[which]) store(out.data, f->n_header[which] + strlen(with) - (end - begin), 8);
    try_folder(t, f, which, out.data, out.n, what, begin);
    free(out.data);
}

/* End of the JSON value at `at`: text, number, word, array or object. */
static size_t value_end(const uint8_t *text, size_t at, size_t end)
{
    int depth = 0, is_text = 0;
    for (; at < end; at++) {
        const uint8_t c = text[at];
        if (is_text) {
            is_text = c != '"';
            continue;
        }
        is_text = c == '"';
        if ((c == ',' || c == '}' || c == ']') && depth == 0) break;
        depth += (c == '{' || c == '[') - (c == '}' || c == ']');
    }
    return at;
}

static const char *const json_values[] = {"null",
                                          "true",
                                          "0",
                                          "1",
                                          "2",
                                          "7",
                                          "-1",
                                          "0.5",
                                          "1e308",
                                          "-1e308",
                                          "1e-320",
                                          "2147483648",
                                          "4294967297",
                                          "9223372036854775807",
                                          "-9223372036854775808",
                                          "18446744073709551616",
                                          "NaN",
                                          "\"\"",
                                          "\"x\"",
                                          "\"../one.safetensors\"",
                                          "[]",
                                          "[0]",
                                          "[1,2,3]",
                                          "{}",
                                          "{\"type\":\"x\"}"};

/* Every value of the JSON text replaced by every other kind, left out with its key, and doubled. */
static void edit_json(trial *t, const folder *f, int which)
{
    const size_t from = f->n_header[which] ? 8 : 0;
    const size_t to = f->n_header[which] ? 8 + f->n_header[which] : f->file[which].n;
    const uint8_t *const text = f->file[which].data;
    char pair[1024];
    bool is_text = false;
    for (size_t at = from; at < to; at++) {
        if (text[at] == '"') is_text = !is_text;
        if (is_text || (text[at] != ':' && text[at] != '[')) continue;
        const size_t begin = at + 1, end = value_end(text, begin, to);
        for (size_t i = 0; i < sizeof json_values / sizeof json_values[0]; i++)
            try_edit(t, f, which, begin, end, json_values[i], json_values[i]);
        if (text[at] == '[') continue;
        size_t key = at - 1;
        while (key > from && text[key - 1] != '"') key--;
        key--;
        if (text[end] == ',') try_edit(t, f, which, key, end + 1, "", "left out");
        if (end - key + 2 > sizeof pair) continue;
        snprintf(pair, sizeof pair, "%.*s,", (int)(end - key), (const char *)text + key);
        try_edit(t, f, which, key, key, pair, "doubled");
    }
}

static void test_every_value_of_a_folder(void **state)
{
    (void)state;
    trial t;
    folder f;
    trial_init(&t, "m");
    folder_init(&f);
    try_folder(&t, &f, N_FILE, NULL, 0, "whole", 0);
    assert_int_equal(t.n_refused, 0);
    for (int i = 0; i < N_FILE; i++) {
        try_folder(&t, &f, i, NULL, 0, "missing", 0);
        try_folder(&t, &f, i, "", 0, "empty", 0);
        edit_json(&t, &f, i);
    }
    folder_free(&f);
    print_message("values of a folder: %zu mutations, %zu refusals\n", t.n_tried, t.n_refused);
    assert_true(t.n_tried > 1000 && t.n_refused > t.n_tried / 2);
}

static void test_bytes_of_a_folder(void **state)
{
    (void)state;
    trial t;
    folder f;
    uint64_t seed = 3;
    trial_init(&t, "m");
    folder_init(&f);
    for (int i = 0; i < N_FILE; i++) {
        gw_buffer *const file = &f.file[i];
        const size_t n = f.n_header[i] ? f.n_header[i] + 8 : file->n;
        for (size_t at = 0; at < n; at += 1 + n / 500) {
            const uint8_t old = file->data[at];
            try_folder(&t, &f, i, file->data, at, "the end", at);
            file->data[at] ^= (uint8_t)(1u << next_random(&seed) % 8);
            try_folder(&t, &f, i, file->data, file->n, "a bit", at);
            file->data[at] = (uint8_t)next_random(&seed);
            try_folder(&t, &f, i, file->data, file->n, "a byte", at);
            file->data[at] = old;
        }
        try_folder(&t, &f, i, file->data, file->n - 1, "the end", file->n - 1);
    }
    /* The length of a safetensors header. */
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        store(f.file[FIRST].data, numbers[i], 8);
        try_folder(&t, &f, FIRST, f.file[FIRST].data, f.file[FIRST].n, "the header's length", 0);
    }
    folder_free(&f);
    print_message("bytes of a folder: %zu mutations, %zu refusals\n", t.n_tried, t.n_refused);
    assert_true(t.n_tried > 1000 && t.n_refused > t.n_tried / 2);
}

/* ---- what other programs have written, before the format was fixed or half of it ---- */

static void test_legacy_files_are_named(void **state)
{
    (void)state;
    static const struct {
        const char *file, *field, *text;
        llrt_status status;
    } cases[] = {
        {"ggml-vocab-llama.v1.gguf", "version", "GGUF version 1", LLRT_ERR_UNSUPPORTED},
        {"ggml-vocab-llama.v1-early.gguf", "version", "GGUF version 1", LLRT_ERR_UNSUPPORTED},
        {"ggml-vocab-llama.FUGG.gguf", "magic", "magic written backwards", LLRT_ERR_UNSUPPORTED},
        {"ggml-vocab-llama.ggjt.bin", "magic", "GGJT", LLRT_ERR_UNSUPPORTED},
        {"ggml-vocab.ggjt-old.bin", "magic", "GGJT", LLRT_ERR_UNSUPPORTED},
        {"ggml-vocab-falcon.v2.gguf", "tensor_count", "no tensors", LLRT_ERR_FORMAT},
    };
    const char *const data = getenv("LLRT_TEST_DATA");
    if (!data || !*data) {
        print_message("skipped: LLRT_TEST_DATA is not set, conformance/gguf_legacy is in it\n");
        skip();
    }
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char path[512];
        watch w = {.largest = 0};
        const llrt_allocator hooks = {watched_alloc, watched_free, &w};
        llrt_engine_options o;
        llrt_engine *engine;
        llrt_error err = LLRT_ERROR_INIT;
        snprintf(path, sizeof path, "%s/conformance/gguf_legacy/%s", data, cases[i].file);
        FILE *const f = fopen(path, "rb");
        if (!f) {
            print_message("skipped: %s is not there\n", path);
            skip();
        }
        fclose(f);
        llrt_engine_options_init(&o, sizeof o);
        o.allocator = &hooks;
        const llrt_status status = llrt_engine_open(path, &o, &engine, &err);
        print_message("%s: %s\n", cases[i].file, err.text);
        assert_null(engine);
        assert_int_equal(status, cases[i].status);
        assert_int_equal(err.status, status);
        assert_string_equal(err.field, cases[i].field);
        assert_non_null(strstr(err.text, cases[i].text));
        assert_non_null(strstr(err.file, cases[i].file));
        assert_int_equal(atomic_load(&w.heap.n_live), 0);
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_field_of_a_gguf),
        cmocka_unit_test(test_every_cut_of_a_gguf),
        cmocka_unit_test(test_flipped_bits_of_a_gguf),
        cmocka_unit_test(test_every_entry_of_a_gguf),
        cmocka_unit_test(test_demo_model),
        cmocka_unit_test(test_every_value_of_a_folder),
        cmocka_unit_test(test_bytes_of_a_folder),
        cmocka_unit_test(test_legacy_files_are_named),
    };
    is_listing = argc > 1 && strcmp(argv[1], "--list") == 0;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
