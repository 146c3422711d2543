/* SPDX-License-Identifier: MIT */
/*
 * Mixtures: the type of every tensor, as files of these names have them elsewhere. The expected
 * types were read off files that llama-quantize made of models of the same shapes (8 layers, 8
 * heads over 2; and rows of 288 and 800, which are no multiples of 256).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "quant_mix.h"
#include "test_support.h"
#include "types.h"

enum { N_LAYER = 8, N_ROLE = 9, MOST = N_LAYER * N_ROLE + 3 };

typedef struct model {
    llrti_tensor tensor[MOST];
    char name[MOST][64];
    uint32_t type[MOST];
    size_t n;
    llrti_quant_shape shape;
} model;

static void add(model *m, const char *name, uint64_t d0, uint64_t d1, uint64_t d2)
{
    snprintf(m->name[m->n], sizeof m->name[m->n], "%s", name);
    m->tensor[m->n] = (llrti_tensor){.name = m->name[m->n],
                                     .n_dim = d2 > 1   ? 3
                                              : d1 > 1 ? 2
                                                       : 1,
                                     .dim = {d0, d1, d2, 1}};
    m->n++;
}

static void make(model *m, uint64_t d_model, uint64_t d_ff, uint32_t n_expert, bool is_tied)
{
    static const char *const roles[N_ROLE] = {"attn_norm", "attn_q",      "attn_k",
                                              "attn_v",    "attn_output", "ffn_gate",
                                              "ffn_up",    "ffn_down",    "ffn_gate_inp"};
    memset(m, 0, sizeof *m);
    m->shape = (llrti_quant_shape){"llama", N_LAYER, 8, 2, n_expert, false};
    for (int layer = N_LAYER - 1; layer >= 0; layer--) { /* order in the file must not matter */
        for (int r = 0; r < N_ROLE; r++) {
            char name[64];
            const bool is_ffn = r >= 5 && r <= 7, is_down = r == 7;
            if (r == 8 && !n_expert) continue;
            snprintf(name, sizeof name, "blk.%d.%s%s.weight", layer, roles[r],
                     is_ffn && n_expert ? "_exps" : "");
            add(m, name, is_down ? d_ff : d_model, r == 0 ? 1 : 64,
                is_ffn && n_expert ? n_expert : 1);
        }
    }
    add(m, "token_embd.weight", d_model, 512, 1);
    if (!is_tied) add(m, "output.weight", d_model, 512, 1);
    add(m, "output_norm.weight", d_model, 1, 1);
}

static void choose(model *m, const char *target, bool is_pure)
{
    llrti_mem mem;
    llrti_mem_init(&mem, NULL);
    const llrti_quant_mix *const mix = llrti_quant_mix_find(target, strlen(target));
    assert_non_null(mix);
    assert_int_equal(
        llrti_quant_mix_choose(&mem, mix, &m->shape, is_pure, m->tensor, m->n, m->type, NULL),
        LLRT_OK);
}

/* The types of a role over the layers, one letter each. */
static const char *types_of(const model *m, const char *role)
{
    static char text[N_LAYER + 1];
    static const struct {
        uint32_t type;
        char letter;
    } letters[] = {{LLRTI_TYPE_Q2_K, '2'},   {LLRTI_TYPE_Q3_K, '3'},   {LLRTI_TYPE_Q4_K, '4'},
                   {LLRTI_TYPE_Q5_K, '5'},   {LLRTI_TYPE_Q6_K, '6'},   {LLRTI_TYPE_Q8_0, '8'},
                   {LLRTI_TYPE_Q4_0, 'a'},   {LLRTI_TYPE_Q4_1, 'b'},   {LLRTI_TYPE_Q5_0, 'c'},
                   {LLRTI_TYPE_Q5_1, 'd'},   {LLRTI_TYPE_F16, 'h'},    {LLRTI_TYPE_F32, 'f'},
                   {LLRTI_TYPE_IQ4_NL, 'n'}, {LLRTI_TYPE_IQ4_XS, 'x'}, {LLRTI_TYPE_MXFP4, 'm'}};
    memset(text, 0, sizeof text);
    for (int layer = 0; layer < N_LAYER; layer++) {
        char name[64];
        snprintf(name, sizeof name, "blk.%d.%s.weight", layer, role);
        for (size_t i = 0; i < m->n; i++) {
            if (strcmp(m->name[i], name) != 0) continue;
            for (size_t k = 0; k < sizeof letters / sizeof *letters; k++)
                if (letters[k].type == m->type[i]) text[layer] = letters[k].letter;
        }
    }
    return text;
}

static uint32_t type_of(const model *m, const char *name)
{
    for (size_t i = 0; i < m->n; i++)
        if (strcmp(m->name[i], name) == 0) return m->type[i];
    fail_msg("no tensor %s", name);
    return 0;
}

static void test_mixtures_of_a_dense_model(void **state)
{
    (void)state;
    static const struct {
        const char *target, *q, *v, *out, *down;
        uint32_t head;
    } cases[] = {
        {"Q2_K", "22222222", "44444444", "33333333", "33333333", LLRTI_TYPE_Q6_K},
        {"Q2_K_S", "22222222", "44444444", "22222222", "42222222", LLRTI_TYPE_Q6_K},
        {"Q3_K_S", "33333333", "33333333", "33333333", "33333333", LLRTI_TYPE_Q6_K},
        {"Q3_K_M", "33333333", "55444444", "44444444", "44444444", LLRTI_TYPE_Q6_K},
        {"Q3_K_L", "33333333", "55555555", "55555555", "55555555", LLRTI_TYPE_Q6_K},
        {"Q4_0", "aaaaaaaa", "aaaaaaaa", "aaaaaaaa", "aaaaaaaa", LLRTI_TYPE_Q6_K},
        {"Q4_K_S", "44444444", "55554444", "44444444", "54444444", LLRTI_TYPE_Q6_K},
        {"Q4_K_M", "44444444", "64464466", "44444444", "64464466", LLRTI_TYPE_Q6_K},
        {"Q5_K_S", "55555555", "55555555", "55555555", "55555555", LLRTI_TYPE_Q6_K},
        {"Q5_K_M", "55555555", "65565566", "55555555", "65565566", LLRTI_TYPE_Q6_K},
        {"Q6_K", "66666666", "66666666", "66666666", "66666666", LLRTI_TYPE_Q6_K},
        {"Q8_0", "88888888", "88888888", "88888888", "88888888", LLRTI_TYPE_Q8_0},
        {"F16", "hhhhhhhh", "hhhhhhhh", "hhhhhhhh", "hhhhhhhh", LLRTI_TYPE_F16},
        {"IQ4_NL", "nnnnnnnn", "55555555", "nnnnnnnn", "5nnnnnnn", LLRTI_TYPE_Q6_K},
        {"IQ4_XS", "xxxxxxxx", "55555555", "xxxxxxxx", "5xxxxxxx", LLRTI_TYPE_Q6_K},
        {"MXFP4_MOE", "88888888", "88888888", "88888888", "88888888", LLRTI_TYPE_Q8_0},
    };
    static model m;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        make(&m, 512, 1536, 0, false);
        choose(&m, cases[i].target, false);
        assert_string_equal(types_of(&m, "attn_q"), cases[i].q);
        assert_string_equal(types_of(&m, "attn_v"), cases[i].v);
        assert_string_equal(types_of(&m, "attn_output"), cases[i].out);
        assert_string_equal(types_of(&m, "ffn_down"), cases[i].down);
        assert_string_equal(types_of(&m, "attn_norm"), "ffffffff");
        assert_int_equal(type_of(&m, "output.weight"), cases[i].head);
        assert_int_equal(type_of(&m, "output_norm.weight"), LLRTI_TYPE_F32);
    }
}

static void test_importance_changes_early_layers(void **state)
{
    (void)state;
    static model m;
    make(&m, 512, 1536, 0, false);
    m.shape.has_importance = true;
    choose(&m, "Q4_0", false);
    assert_string_equal(types_of(&m, "ffn_down"), "baaaaaaa");
    choose(&m, "Q5_0", false);
    assert_string_equal(types_of(&m, "ffn_down"), "dccccccc");
    choose(&m, "IQ4_XS", false);
    assert_string_equal(types_of(&m, "ffn_down"), "xxxxxxxx");
}

static void test_rows_that_do_not_fit_get_smaller_blocks(void **state)
{
    (void)state;
    static const struct {
        const char *target;
        uint32_t type; /* of rows of 288 */
    } cases[] = {{"Q2_K", LLRTI_TYPE_Q4_0},   {"Q3_K_S", LLRTI_TYPE_Q4_0},
                 {"Q4_K_S", LLRTI_TYPE_Q5_0}, {"Q5_K_S", LLRTI_TYPE_Q5_1},
                 {"Q6_K", LLRTI_TYPE_Q8_0},   {"IQ4_XS", LLRTI_TYPE_IQ4_NL},
                 {"Q4_1", LLRTI_TYPE_Q4_1}};
    static model m;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        make(&m, 288, 800, 0, true);
        choose(&m, cases[i].target, false);
        assert_int_equal(type_of(&m, "blk.5.attn_q.weight"), cases[i].type);
        assert_int_equal(type_of(&m, "token_embd.weight"), LLRTI_TYPE_Q8_0);
    }
    make(&m, 100, 100, 0, true); /* fits no block at all */
    choose(&m, "Q4_K_M", false);
    assert_int_equal(type_of(&m, "blk.0.ffn_up.weight"), LLRTI_TYPE_F16);
}

static void test_experts(void **state)
{
    (void)state;
    static model m;
    make(&m, 512, 256, 16, true);
    choose(&m, "MXFP4_MOE", false);
    assert_string_equal(types_of(&m, "ffn_up_exps"), "mmmmmmmm");
    assert_string_equal(types_of(&m, "attn_q"), "88888888");
    assert_string_equal(types_of(&m, "ffn_gate_inp"), "ffffffff");
    choose(&m, "Q4_K_M", false);
    assert_string_equal(types_of(&m, "ffn_down_exps"), "64464466");
    make(&m, 512, 256, 8, true);
    choose(&m, "Q4_K_M", false);
    assert_string_equal(types_of(&m, "attn_v"), "88888888");
    assert_string_equal(types_of(&m, "attn_k"), "88888888");
    assert_string_equal(types_of(&m, "attn_output"), "55555555");
}

static void test_pure_has_no_exceptions(void **state)
{
    (void)state;
    static model m;
    make(&m, 512, 1536, 0, false);
    choose(&m, "Q4_K_M", true);
    assert_string_equal(types_of(&m, "attn_v"), "44444444");
    assert_string_equal(types_of(&m, "attn_norm"), "ffffffff");
    assert_int_equal(type_of(&m, "output.weight"), LLRTI_TYPE_Q4_K);
    choose(&m, "MXFP4", true);
    assert_string_equal(types_of(&m, "ffn_down"), "mmmmmmmm");
}

static void test_names(void **state)
{
    (void)state;
    assert_int_equal(llrti_quant_mix_find("q4_k_m", 6)->file_type, 15);
    assert_int_equal(llrti_quant_mix_find("Q4_K", 4)->file_type, 15);
    assert_null(llrti_quant_mix_find("Q4_K_", 5));
    assert_null(llrti_quant_mix_find("", 0));
    assert_null(llrti_quant_mix_find("IQ2_XS", 6));
    assert_non_null(strstr(llrti_quant_mix_names(), "Q4_K_M"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mixtures_of_a_dense_model),
        cmocka_unit_test(test_importance_changes_early_layers),
        cmocka_unit_test(test_rows_that_do_not_fit_get_smaller_blocks),
        cmocka_unit_test(test_experts),
        cmocka_unit_test(test_pure_has_no_exceptions),
        cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
