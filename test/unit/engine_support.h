/* SPDX-License-Identifier: MIT */
/*
 * What the tests of engines and sessions share: a tiny Llama built in memory (odd sizes, random weights from a
 * fixed seed), the demo model of the tree, hooks that count bytes by class, and check(), which fails a
 * test with the error's text. Everything is static inline; include it after cmocka.h.
 */
#ifndef ENGINE_SUPPORT_H
#define ENGINE_SUPPORT_H

#include <stdatomic.h>

#include <llrt/llrt.h>

#include "gguf_writer.h"
#include "test_support.h"

#define TINY_VOCAB 61u
#define TINY_CTX 512u

/* Fails the test when a call does not return LLRT_OK. */
#define check(call)                                                                                \
    do {                                                                                           \
        llrt_error err = LLRT_ERROR_INIT;                                                          \
        const llrt_status check_status = (call);                                                   \
        if (check_status != LLRT_OK) {                                                             \
            print_error("%s:%d: %s: %s [%s] [%s]\n", __FILE__, __LINE__,                           \
                        llrt_status_name(check_status), err.text, err.file, err.field);            \
            fail();                                                                                \
        }                                                                                          \
    } while (0)

/* Fails the test when a call does not return `wanted`; leaves the error in *e. */
#define check_fails(wanted, call)                                                                  \
    do {                                                                                           \
        llrt_error err = LLRT_ERROR_INIT;                                                          \
        const llrt_status check_status = (call);                                                   \
        if (check_status != (wanted)) {                                                            \
            print_error("%s:%d: found %s, expected %s: %s\n", __FILE__, __LINE__,                  \
                        llrt_status_name(check_status), llrt_status_name(wanted), err.text);       \
            fail();                                                                                \
        }                                                                                          \
        assert_true(err.text[0] != 0);                                                             \
    } while (0)

static inline uint32_t next_random(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return (uint32_t)((z ^ z >> 31) >> 32);
}

static inline void add_random_tensor(gguf_writer *w, uint64_t *seed, const char *name, uint64_t d0,
                                     uint64_t d1)
{
    const uint64_t dim[2] = {d0, d1};
    const size_t n = (size_t)(d0 * d1);
    float *const data = malloc(n * sizeof *data);
    for (size_t i = 0; i < n; i++)
        data[i] = d1 == 1 ? 1.0f + (float)(next_random(seed) >> 8) * 0x1p-27f
                          : ((float)(next_random(seed) >> 8) * 0x1p-23f - 1.0f) * 0.4f;
    gw_tensor(w, name, 0, d1 == 1 ? 1 : 2, dim, data, n * sizeof *data);
    free(data);
}

typedef struct tiny_shape {
    const char *architecture; /* "llama", "gemma2": every second layer has no window, or "mamba2" */
    uint32_t window;          /* 0: none */
} tiny_shape;

/* Three layers of Mamba 2: 4 heads of 6 in 2 groups, 5 numbers of state, 4 taps. */
static inline void *tiny_mamba(uint64_t seed, size_t *n)
{
    enum { D = 28, INNER = 24, HEAD = 4, GROUP = 2, STATE = 5, TAP = 4, LAYER = 3 };
    enum { CHANNEL = INNER + 2 * GROUP * STATE };
    static const struct {
        const char *name;
        uint32_t d0, d1;
    } layer[] = {{"attn_norm.weight", D, 1},
                 {"ssm_in.weight", D, INNER + CHANNEL + HEAD},
                 {"ssm_conv1d.weight", TAP, CHANNEL},
                 {"ssm_conv1d.bias", CHANNEL, 1},
                 {"ssm_dt.bias", HEAD, 1},
                 {"ssm_d", HEAD, 1},
                 {"ssm_norm.weight", INNER, 1},
                 {"ssm_out.weight", INNER, D}};
    static const float a[HEAD] = {-0.02f, -0.1f, -0.3f, -1.0f};
    static const uint64_t n_head = HEAD;
    gguf_writer w;
    char name[64];
    gw_init(&w);
    gw_string(&w, "general.architecture", "mamba2");
    gw_u32(&w, "mamba2.context_length", TINY_CTX);
    gw_u32(&w, "mamba2.embedding_length", D);
    gw_u32(&w, "mamba2.block_count", LAYER);
    gw_u32(&w, "mamba2.ssm.inner_size", INNER);
    gw_u32(&w, "mamba2.ssm.time_step_rank", HEAD);
    gw_u32(&w, "mamba2.ssm.group_count", GROUP);
    gw_u32(&w, "mamba2.ssm.state_size", STATE);
    gw_u32(&w, "mamba2.ssm.conv_kernel", TAP);
    gw_f32(&w, "mamba2.attention.layer_norm_rms_epsilon", 1e-5f);
    add_random_tensor(&w, &seed, "token_embd.weight", D, TINY_VOCAB);
    add_random_tensor(&w, &seed, "output_norm.weight", D, 1);
    for (int l = 0; l < LAYER; l++) {
        snprintf(name, sizeof name, "blk.%d.ssm_a", l);
        gw_tensor(&w, name, 0, 1, &n_head, a, sizeof a);
        for (size_t i = 0; i < sizeof layer / sizeof layer[0]; i++) {
            snprintf(name, sizeof name, "blk.%d.%s", l, layer[i].name);
            add_random_tensor(&w, &seed, name, layer[i].d0, layer[i].d1);
        }
    }
    return gw_finish(&w, n);
}

/* A model of 3 layers, 4 heads on 2, whose sizes are no multiples of anything; `seed` makes another model. */
static inline void *tiny_model_of(const tiny_shape *shape, uint64_t seed, size_t *n)
{
    enum { D = 28, HEAD = 4, KV = 2, HEAD_DIM = 6, FF = 37, LAYER = 3 };
    static const struct {
        const char *name;
        uint32_t d0, d1;
    } layer[] = {{"attn_norm", D, 1},
                 {"attn_q", D, HEAD * HEAD_DIM},
                 {"attn_k", D, KV * HEAD_DIM},
                 {"attn_v", D, KV * HEAD_DIM},
                 {"attn_output", HEAD * HEAD_DIM, D},
                 {"ffn_norm", D, 1},
                 {"ffn_gate", D, FF},
                 {"ffn_up", D, FF},
                 {"ffn_down", FF, D},
                 {"post_attention_norm", D, 1},
                 {"post_ffw_norm", D, 1}};
    const struct {
        const char *key;
        uint32_t value;
    } number[] = {{"context_length", TINY_CTX},
                  {"embedding_length", D},
                  {"block_count", LAYER},
                  {"feed_forward_length", FF},
                  {"attention.head_count", HEAD},
                  {"attention.head_count_kv", KV},
                  {"attention.key_length", HEAD_DIM},
                  {"attention.value_length", HEAD_DIM},
                  {"rope.dimension_count", HEAD_DIM},
                  {"vocab_size", TINY_VOCAB},
                  {"attention.sliding_window", shape->window}};
    const bool is_gemma = strcmp(shape->architecture, "gemma2") == 0;
    if (strcmp(shape->architecture, "mamba2") == 0) return tiny_mamba(seed, n);
    gguf_writer w;
    char name[96];
    gw_init(&w);
    gw_string(&w, "general.architecture", shape->architecture);
    gw_string(&w, "general.name", "tiny");
    for (size_t i = 0; i < sizeof number / sizeof number[0] - !shape->window; i++) {
        snprintf(name, sizeof name, "%s.%s", shape->architecture, number[i].key);
        gw_u32(&w, name, number[i].value);
    }
    snprintf(name, sizeof name, "%s.attention.layer_norm_rms_epsilon", shape->architecture);
    gw_f32(&w, name, 1e-5f);
    add_random_tensor(&w, &seed, "token_embd.weight", D, TINY_VOCAB);
    add_random_tensor(&w, &seed, "output_norm.weight", D, 1);
    if (!is_gemma) add_random_tensor(&w, &seed, "output.weight", D, TINY_VOCAB);
    for (int l = 0; l < LAYER; l++) {
        for (size_t i = 0; i < sizeof layer / sizeof layer[0] - (is_gemma ? 0 : 2); i++) {
            snprintf(name, sizeof name, "blk.%d.%s.weight", l, layer[i].name);
            add_random_tensor(&w, &seed, name, layer[i].d0, layer[i].d1);
        }
    }
    return gw_finish(&w, n);
}

static inline void *tiny_model(uint64_t seed, size_t *n)
{
    const tiny_shape shape = {"llama", 0};
    return tiny_model_of(&shape, seed, n);
}

typedef struct tiny_source {
    llrt_blob blob;
    llrt_source source;
} tiny_source;

/* The caller frees with tiny_free. */
static inline void tiny_init(tiny_source *tiny, uint64_t seed)
{
    tiny->blob.data = tiny_model(seed, &tiny->blob.size);
    llrt_source_init_memory(&tiny->source, sizeof tiny->source, &tiny->blob);
}

static inline void tiny_init_of(tiny_source *tiny, const tiny_shape *shape, uint64_t seed)
{
    tiny->blob.data = tiny_model_of(shape, seed, &tiny->blob.size);
    llrt_source_init_memory(&tiny->source, sizeof tiny->source, &tiny->blob);
}

static inline void tiny_free(tiny_source *tiny)
{
    free((void *)(uintptr_t)tiny->blob.data);
}

/* Defaults of tests: little of everything, two threads. */
static inline llrt_engine_options test_options(const tiny_source *tiny)
{
    llrt_engine_options o;
    llrt_engine_options_init(&o, sizeof o);
    o.n_thread = 2;
    o.kv_type = LLRT_TYPE_F32;
    o.n_step_tok = 128;
    if (tiny) o.source = &tiny->source;
    return o;
}

static inline llrt_engine *open_tiny_with(const tiny_source *tiny, const llrt_engine_options *o)
{
    llrt_engine *engine = NULL;
    (void)tiny;
    check(llrt_engine_open("tiny.gguf", o, &engine, &err));
    return engine;
}

static inline llrt_engine *open_tiny(const tiny_source *tiny)
{
    const llrt_engine_options o = test_options(tiny);
    return open_tiny_with(tiny, &o);
}

static inline llrt_session *new_session(llrt_engine *engine)
{
    llrt_session *session = NULL;
    check(llrt_session_create(engine, NULL, &session, &err));
    return session;
}

/* Token i of text number `text`. */
static inline int32_t text_token(uint64_t text, size_t i, uint32_t n_vocab)
{
    uint64_t state = text * UINT64_C(1000003) + i;
    return (int32_t)(next_random(&state) % n_vocab);
}

static inline void make_text(uint64_t text, int32_t *tokens, size_t n, uint32_t n_vocab)
{
    for (size_t i = 0; i < n; i++) tokens[i] = text_token(text, i, n_vocab);
}

static inline const float *last_logits(llrt_session *session)
{
    const float *row = NULL;
    check(llrt_session_logits(session, -1, &row, &err));
    return row;
}

static inline uint32_t vocab_of(llrt_engine *engine)
{
    llrt_model_info info = {.struct_size = sizeof info};
    check(llrt_engine_info(engine, &info, &err));
    return info.n_vocab;
}

static inline llrt_engine_stats stats_of(llrt_engine *engine)
{
    llrt_engine_stats stats = {.struct_size = sizeof stats};
    check(llrt_engine_get_stats(engine, &stats, &err));
    return stats;
}

/* Path of the demo model that is part of the tree; NULL when the tests are run without it. */
static inline const char *demo_path(char *buffer, size_t n, const char *file)
{
    const char *const folder = getenv("LLRT_TEST_MODELS");
    if (!folder || !*folder) {
        print_message("skipped: LLRT_TEST_MODELS is not set\n");
        return NULL;
    }
    snprintf(buffer, n, "%s/%s", folder, file);
    return buffer;
}

/* Hooks that count by class, and may fail; safe from any thread. */
typedef struct class_heap {
    atomic_size_t live[LLRT_MEMORY_COUNT], total, peak, n_call, n_live, fail_at;
    atomic_int is_sticky;
} class_heap;

static inline void *class_alloc(void *ctx, size_t size, size_t align, llrt_memory kind)
{
    class_heap *const heap = ctx;
    const size_t call = atomic_fetch_add(&heap->n_call, 1) + 1, at = atomic_load(&heap->fail_at);
    if (at && (call == at || (call > at && atomic_load(&heap->is_sticky)))) return NULL;
    void *const ptr = llrti_heap_alloc(size, align);
    if (!ptr) return NULL;
    atomic_fetch_add(&heap->n_live, 1);
    atomic_fetch_add(&heap->live[kind], size);
    const size_t now = atomic_fetch_add(&heap->total, size) + size;
    size_t peak = atomic_load(&heap->peak);
    while (peak < now && !atomic_compare_exchange_weak(&heap->peak, &peak, now)) {}
    return ptr;
}

static inline void class_free(void *ctx, void *ptr, size_t size, size_t align, llrt_memory kind)
{
    class_heap *const heap = ctx;
    (void)align;
    atomic_fetch_sub(&heap->n_live, 1);
    atomic_fetch_sub(&heap->live[kind], size);
    atomic_fetch_sub(&heap->total, size);
    llrti_heap_free(ptr);
}

static inline llrt_allocator class_hooks(class_heap *heap)
{
    memset(heap, 0, sizeof *heap);
    const llrt_allocator hooks = {class_alloc, class_free, heap};
    return hooks;
}

#endif
