/* SPDX-License-Identifier: MIT */
/*
 * The memory plan against hooks that count: every class after opening, the peak of opening, sessions, for
 * option sets that move every number; and what is refused because of it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "engine_support.h"

typedef struct option_set {
    const char *name;
    uint32_t n_ctx, n_step_tok, n_step_seq, n_step_out, n_thread;
    uint64_t kv_tok, kv_bytes, kv_window_tok, n_snapshot;
    uint32_t n_adapter, adapter_rank, with_squares;
    llrt_type kv_type;
    llrt_precision precision;
    llrt_weights weights;
    const char *isa;
    uint32_t metadata_only;
} option_set;

static const option_set sets[] = {
    {.name = "defaults", .n_thread = 0},
    {.name = "small step",
     .n_ctx = 100,
     .n_step_tok = 1,
     .n_step_seq = 1,
     .n_step_out = 1,
     .n_thread = 1,
     .kv_type = LLRT_TYPE_F32,
     .precision = LLRT_PRECISION_F32},
    {.name = "large pool",
     .n_ctx = 512,
     .kv_tok = 10000,
     .n_step_tok = 64,
     .n_step_seq = 64,
     .n_step_out = 64,
     .n_thread = 3,
     .kv_type = LLRT_TYPE_Q8_0},
    {.name = "pool in bytes",
     .kv_bytes = 700000,
     .kv_type = LLRT_TYPE_BF16,
     .n_thread = 2,
     .precision = LLRT_PRECISION_PORTABLE},
    {.name = "reference kernels", .isa = "ref", .n_ctx = 64, .n_thread = 4, .n_step_out = 3},
    {.name = "mapped weights", .weights = LLRT_WEIGHTS_MAPPED, .n_thread = 2, .n_step_tok = 33},
    {.name = "metadata only", .metadata_only = 1},
    {.name = "windows and snapshots",
     .n_step_seq = 2,
     .n_thread = 2,
     .kv_tok = 4000,
     .kv_window_tok = 1000,
     .n_snapshot = 11},
    {.name = "adapters", .n_thread = 2, .n_adapter = 3, .adapter_rank = 17},
    {.name = "squares", .n_thread = 2, .with_squares = 1},
    {.name = "avx2, wide outputs",
     .isa = "avx2",
     .n_step_tok = 512,
     .n_step_out = 512,
     .n_thread = 2},
};

static llrt_engine_options options_of(const option_set *set)
{
    llrt_engine_options o;
    llrt_engine_options_init(&o, sizeof o);
    o.n_ctx = set->n_ctx;
    o.kv_tok = set->kv_tok;
    o.kv_bytes = set->kv_bytes;
    o.kv_window_tok = set->kv_window_tok;
    o.n_snapshot = set->n_snapshot;
    if (set->n_step_tok) o.n_step_tok = set->n_step_tok;
    if (set->n_step_seq) o.n_step_seq = set->n_step_seq;
    if (set->n_step_out) o.n_step_out = set->n_step_out;
    o.n_thread = set->n_thread;
    o.kv_type = set->kv_type ? set->kv_type : LLRT_TYPE_F16;
    o.precision = set->precision;
    o.weights = set->weights;
    o.isa = set->isa;
    o.metadata_only = set->metadata_only;
    o.n_adapter = set->n_adapter;
    o.adapter_rank = set->adapter_rank;
    o.with_squares = set->with_squares;
    return o;
}

static void compare(const char *path, const option_set *set, const llrt_source *source)
{
    llrt_engine_options o = options_of(set);
    class_heap heap;
    const llrt_allocator hooks = class_hooks(&heap);
    llrt_plan plan = {.struct_size = sizeof plan};
    llrt_engine *engine;
    o.allocator = &hooks;
    o.source = source;
    if (set->isa && strcmp(set->isa, "avx2") == 0) {
        llrt_error err = LLRT_ERROR_INIT;
        if (llrt_engine_plan(path, &o, &plan, &err) == LLRT_ERR_UNSUPPORTED) {
            print_message("skipped: %s: %s\n", set->name, err.text);
            return;
        }
    }
    check(llrt_engine_plan(path, &o, &plan, &err));
    assert_int_equal(atomic_load(&heap.n_live), 0);
    assert_true(atomic_load(&heap.peak) < (size_t)64 << 20);
    const llrt_allocator again = class_hooks(&heap);
    o.allocator = &again;
    check(llrt_engine_open(path, &o, &engine, &err));
    uint64_t total = 0;
    for (int k = 0; k < LLRT_MEMORY_COUNT; k++) {
        uint64_t planned = plan.host[k];
        for (uint32_t d = 0; d < plan.n_device; d++) planned += plan.device[d].bytes[k];
        if (planned != atomic_load(&heap.live[k]))
            print_error("%s, class %d: planned %llu, found %zu\n", set->name, k,
                        (unsigned long long)planned, atomic_load(&heap.live[k]));
        assert_int_equal(planned, atomic_load(&heap.live[k]));
        total += planned;
    }
    assert_int_equal(total, plan.host_total);
    if (plan.host_peak != atomic_load(&heap.peak))
        print_error("%s: peak planned %llu, found %zu\n", set->name,
                    (unsigned long long)plan.host_peak, atomic_load(&heap.peak));
    assert_int_equal(plan.host_peak, atomic_load(&heap.peak));
    const llrt_engine_stats stats = stats_of(engine);
    for (int k = 0; k < LLRT_MEMORY_COUNT; k++)
        assert_int_equal(stats.live[k], atomic_load(&heap.live[k]));
    assert_int_equal(stats.n_page * 64, plan.kv_tok);
    assert_int_equal(stats.n_window_page * 64, plan.kv_window_tok);
    assert_int_equal(stats.n_state, plan.n_state);
    if (!set->metadata_only) {
        llrt_session *const a = new_session(engine);
        assert_int_equal(atomic_load(&heap.live[LLRT_MEMORY_SESSION]), plan.session);
        llrt_session *const b = new_session(engine);
        assert_int_equal(atomic_load(&heap.total), total + 2 * plan.session);
        llrt_session_free(a);
        llrt_session_free(b);
    }
    if (set->kv_bytes) {
        llrt_model_info info = {.struct_size = sizeof info};
        check(llrt_engine_info(engine, &info, &err));
        assert_true(atomic_load(&heap.live[LLRT_MEMORY_KV]) <= set->kv_bytes);
        /* Windows need no more than their sessions hold. */
        if (info.n_kv_window_byte < info.n_kv_byte)
            assert_true(atomic_load(&heap.live[LLRT_MEMORY_KV]) > set->kv_bytes / 2);
    }
    llrt_engine_close(engine);
    assert_int_equal(atomic_load(&heap.n_live), 0);
}

static void test_plan_equals_counted_bytes(void **state)
{
    (void)state;
    static const tiny_shape shapes[] = {{"llama", 0}, {"llama", 70}, {"gemma2", 70}, {"mamba2", 0}};
    for (size_t k = 0; k < sizeof shapes / sizeof shapes[0]; k++) {
        tiny_source tiny;
        tiny_init_of(&tiny, &shapes[k], 1);
        for (size_t i = 0; i < sizeof sets / sizeof sets[0]; i++)
            compare("tiny.gguf", &sets[i], &tiny.source);
        tiny_free(&tiny);
    }
}

static void test_plan_of_the_demo_model(void **state)
{
    (void)state;
    char path[512];
    if (!demo_path(path, sizeof path, "llrt-demo.gguf")) skip();
    for (size_t i = 0; i < sizeof sets / sizeof sets[0]; i++) {
        option_set set = sets[i];
        if (set.kv_bytes) set.kv_bytes = 9000000;
        compare(path, &set, NULL);
    }
}

/* What the file holds in another arrangement is put together exactly as planned, and not mapped. */
static void test_folders_with_rearranged_weights(void **state)
{
    (void)state;
    static const struct {
        const char *name, *weight, *how;
    } folders[] = {
        {"gpt2", "attn.c_attn.weight", "transposed"},
        {"mixtral", "block_sparse_moe.experts.@.w1.weight", "in several tensors"},
        {"gpt_oss", "mlp.experts.gate_up_proj", "transposed"},
        {"gpt_oss_mxfp4", "mlp.experts.gate_up_proj_blocks", "in another arrangement"},
        {"deepseek_v2", "self_attn.q_proj.weight", "in another arrangement"},
        {"qwen3_5", "self_attn.q_proj.weight", "in another arrangement"},
    };
    const char *const data = test_data_folder();
    if (!data) skip();
    for (size_t i = 0; i < sizeof folders / sizeof folders[0]; i++) {
        char path[512];
        snprintf(path, sizeof path, "%s/numeric/architectures/%s", data, folders[i].name);
        const option_set set = {.name = folders[i].name, .n_ctx = 8, .n_thread = 2};
        compare(path, &set, NULL);
        llrt_engine_options o = options_of(&set);
        llrt_engine *engine;
        llrt_error e = LLRT_ERROR_INIT;
        o.weights = LLRT_WEIGHTS_MAPPED;
        assert_int_equal(llrt_engine_open(path, &o, &engine, &e), LLRT_ERR_UNSUPPORTED);
        if (!strstr(e.field, folders[i].weight) || !strstr(e.text, folders[i].how))
            fail_msg("%s: '%s', %s", folders[i].name, e.field, e.text);
    }
}

/* Experts, latents, windows, recurrent layers alone and between attention, and models without logits. */
static void test_plan_of_each_kind(void **state)
{
    static const char *const kinds[] = {"mistral",     "gemma3",  "mixtral", "qwen3_moe", "gpt_oss",
                                        "deepseek_v2", "qwen3_5", "mamba2",  "modernbert"};
    const char *const data = test_data_folder();
    (void)state;
    if (!data) skip();
    for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++)
        for (size_t i = 0; i < sizeof sets / sizeof sets[0]; i++) {
            char path[512];
            if (sets[i].weights || sets[i].kv_bytes) continue; /* test_folders_..., demo model */
            snprintf(path, sizeof path, "%s/numeric/architectures/%s", data, kinds[k]);
            compare(path, &sets[i], NULL);
        }
}

static void test_budget_refuses_before_loading(void **state)
{
    (void)state;
    tiny_source tiny;
    tiny_init(&tiny, 1);
    llrt_engine_options o = test_options(&tiny);
    llrt_plan plan = {.struct_size = sizeof plan};
    llrt_engine *engine;
    llrt_error e = LLRT_ERROR_INIT;
    char number[32];
    check(llrt_engine_plan("tiny.gguf", &o, &plan, &err));
    o.memory_budget = plan.host_peak - 1;
    assert_int_equal(llrt_engine_open("tiny.gguf", &o, &engine, &e), LLRT_ERR_BUDGET);
    snprintf(number, sizeof number, "%llu", (unsigned long long)plan.host_peak);
    assert_non_null(strstr(e.text, number));
    snprintf(number, sizeof number, "%llu", (unsigned long long)plan.host_peak - 1);
    assert_non_null(strstr(e.text, number));
    o.memory_budget = plan.host_peak;
    check(llrt_engine_open("tiny.gguf", &o, &engine, &err));
    llrt_engine_close(engine);
    o.memory_budget = 0;
    o.kv_tok = (uint64_t)1 << 29; /* far more than any machine has free here */
    o.n_ctx = 1 << 20;
    check(llrt_engine_plan("tiny.gguf", &o, &plan, &err));
    o.memory_budget = (uint64_t)1 << 30;
    check_fails(LLRT_ERR_BUDGET, llrt_engine_open("tiny.gguf", &o, &engine, &err));
    o.kv_tok = 0;
    o.kv_bytes = 16;
    check_fails(LLRT_ERR_ARGUMENT, llrt_engine_plan("tiny.gguf", &o, &plan, &err));
    tiny_free(&tiny);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plan_equals_counted_bytes),
        cmocka_unit_test(test_plan_of_the_demo_model),
        cmocka_unit_test(test_folders_with_rearranged_weights),
        cmocka_unit_test(test_plan_of_each_kind),
        cmocka_unit_test(test_budget_refuses_before_loading),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
