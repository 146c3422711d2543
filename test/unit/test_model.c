/* SPDX-License-Identifier: MIT */
/*
 * Models from hand-made files: what each family reads and emits, how names and options vary, and
 * that a file that lacks something or contradicts itself is refused with its field named. Tensors
 * are zeros; arithmetic is the business of the architecture fixtures.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "gguf_writer.h"
#include "memory_files.h"
#include "model.h"
#include "test_support.h"

/* A model on hand-made bytes, with everything counted. */
typedef struct opened {
    llrti_mem mem;
    test_heap heap;
    memory_files files;
    llrt_source source;
    llrti_model_file *file;
    llrti_model *model;
    uint8_t *bytes;
    llrt_error err;
} opened;

static const llrt_error no_error = LLRT_ERROR_INIT;

static llrt_status open_path(opened *o, const char *path, uint32_t n_ctx)
{
    test_mem_init(&o->mem, &o->heap);
    const llrti_model_file_options options = {.source = &o->source};
    o->err = no_error;
    if (llrti_model_file_open(&o->mem, path, &options, &o->file, &o->err) < 0)
        fail_msg("%s", o->err.text);
    return llrti_model_create(&o->mem, o->file, n_ctx, &o->model, &o->err);
}

static void close_model(opened *o)
{
    llrti_model_free(o->model);
    llrti_model_file_close(o->file);
    assert_int_equal(o->heap.n_live, 0);
    assert_int_equal(o->files.n_open, 0);
    free(o->bytes);
}

/* ---- GGUF files ---- */

/* What is to be different about the file. Keys and tensors are named in full. */
typedef struct change {
    const char *drop; /* key or tensor to leave out */
    const char *key;  /* key to write otherwise ... */
    uint32_t type;    /* ... with this GGUF type (4 u32, 6 f32, 8 string, 9 array of u32) */
    double number;
    const char *string;
    const char *reshape; /* tensor that gets these dimensions */
    uint64_t dim[2];
    const char *retype; /* tensor that gets type 24 (I8) */
    const char *add;    /* further tensor, a vector of 8 */
    uint32_t n_ctx;
} change;

typedef struct maker {
    gguf_writer w;
    const change *c;
    const char *arch;
} maker;

static bool is_same(const char *a, const char *b)
{
    return a && strcmp(a, b) == 0;
}

static void put_changed(maker *m, const char *key)
{
    const change *const c = m->c;
    if (c->type == 4) gw_u32(&m->w, key, (uint32_t)c->number);
    if (c->type == 5) gw_i32(&m->w, key, (int32_t)c->number);
    if (c->type == 6) gw_f32(&m->w, key, (float)c->number);
    if (c->type == 7) gw_bool(&m->w, key, c->number != 0);
    if (c->type == 8) gw_string(&m->w, key, c->string);
    if (c->type == 9) {
        gw_array(&m->w, key, 4, 2);
        gw_put_number(&m->w.metas, (uint64_t)c->number, 4);
        gw_put_number(&m->w.metas, (uint64_t)c->number + (c->string != NULL), 4);
    }
}

static void put_u32(maker *m, const char *suffix, uint32_t value)
{
    char key[128];
    snprintf(key, sizeof key, "%s.%s", m->arch, suffix);
    if (is_same(m->c->drop, key) || is_same(m->c->key, key)) return;
    gw_u32(&m->w, key, value);
}

static void put_f32(maker *m, const char *suffix, float value)
{
    char key[128];
    snprintf(key, sizeof key, "%s.%s", m->arch, suffix);
    if (is_same(m->c->drop, key) || is_same(m->c->key, key)) return;
    gw_f32(&m->w, key, value);
}

static void put_tensor(maker *m, const char *name, uint64_t d0, uint64_t d1)
{
    static const uint8_t zeros[16384];
    if (is_same(m->c->drop, name)) return;
    uint64_t dim[2] = {d0, d1};
    if (is_same(m->c->reshape, name)) memcpy(dim, m->c->dim, sizeof dim);
    const bool is_i8 = is_same(m->c->retype, name);
    const uint64_t n = dim[0] * (dim[1] ? dim[1] : 1) * (is_i8 ? 1 : 4);
    assert_true(n <= sizeof zeros);
    gw_tensor(&m->w, name, is_i8 ? 24 : 0, dim[1] ? 2 : 1, dim, zeros, n);
}

static void put_layer_tensor(maker *m, uint32_t layer, const char *name, uint64_t d0, uint64_t d1)
{
    char full[128];
    snprintf(full, sizeof full, "blk.%u.%s", layer, name);
    put_tensor(m, full, d0, d1);
}

/* Width 8, 2 heads over 1 of width 4 (6 in qwen3), feed-forward 12, vocabulary 11, 3 layers. */
static void put_decoder(maker *m)
{
    const bool is_qwen3 = strcmp(m->arch, "qwen3") == 0, is_qwen2 = strcmp(m->arch, "qwen2") == 0;
    const uint64_t head = is_qwen3 ? 6 : 4;
    put_u32(m, "attention.head_count_kv", 1);
    put_f32(m, "attention.layer_norm_rms_epsilon", 1e-5f);
    put_f32(m, "rope.freq_base", 10000);
    if (is_qwen3) put_u32(m, "attention.key_length", 6), put_u32(m, "attention.value_length", 6);
    put_tensor(m, "token_embd.weight", 8, 11);
    put_tensor(m, "output_norm.weight", 8, 0);
    put_tensor(m, "output.weight", 8, 11);
    for (uint32_t i = 0; i < 3; i++) {
        put_layer_tensor(m, i, "attn_norm.weight", 8, 0);
        put_layer_tensor(m, i, "attn_q.weight", 8, 2 * head);
        put_layer_tensor(m, i, "attn_k.weight", 8, head);
        put_layer_tensor(m, i, "attn_v.weight", 8, head);
        put_layer_tensor(m, i, "attn_output.weight", 2 * head, 8);
        put_layer_tensor(m, i, "ffn_norm.weight", 8, 0);
        put_layer_tensor(m, i, "ffn_gate.weight", 8, 12);
        put_layer_tensor(m, i, "ffn_up.weight", 8, 12);
        put_layer_tensor(m, i, "ffn_down.weight", 12, 8);
        if (is_qwen3) put_layer_tensor(m, i, "attn_q_norm.weight", 6, 0);
        if (is_qwen3) put_layer_tensor(m, i, "attn_k_norm.weight", 6, 0);
        if (is_qwen2) put_layer_tensor(m, i, "attn_q.bias", 8, 0);
        if (is_qwen2) put_layer_tensor(m, i, "attn_k.bias", 4, 0);
        if (is_qwen2) put_layer_tensor(m, i, "attn_v.bias", 4, 0);
    }
}

static void put_gpt2(maker *m)
{
    put_f32(m, "attention.layer_norm_epsilon", 1e-5f);
    put_tensor(m, "token_embd.weight", 8, 11);
    put_tensor(m, "position_embd.weight", 8, 16);
    put_tensor(m, "output_norm.weight", 8, 0);
    put_tensor(m, "output_norm.bias", 8, 0);
    for (uint32_t i = 0; i < 3; i++) {
        put_layer_tensor(m, i, "attn_norm.weight", 8, 0);
        put_layer_tensor(m, i, "attn_norm.bias", 8, 0);
        put_layer_tensor(m, i, "attn_qkv.weight", 8, 24);
        put_layer_tensor(m, i, "attn_qkv.bias", 24, 0);
        put_layer_tensor(m, i, "attn_output.weight", 8, 8);
        put_layer_tensor(m, i, "attn_output.bias", 8, 0);
        put_layer_tensor(m, i, "ffn_norm.weight", 8, 0);
        put_layer_tensor(m, i, "ffn_norm.bias", 8, 0);
        put_layer_tensor(m, i, "ffn_up.weight", 8, 12);
        put_layer_tensor(m, i, "ffn_up.bias", 12, 0);
        put_layer_tensor(m, i, "ffn_down.weight", 12, 8);
        put_layer_tensor(m, i, "ffn_down.bias", 8, 0);
    }
}

static llrt_status open_gguf(opened *o, const char *arch, const change *c)
{
    static const change none = {0};
    maker m = {.c = c ? c : &none, .arch = arch};
    size_t n;
    memset(o, 0, sizeof *o);
    memory_files_init(&o->files, &o->source);
    gw_init(&m.w);
    if (!is_same(m.c->drop, "general.architecture") && !is_same(m.c->key, "general.architecture"))
        gw_string(&m.w, "general.architecture", arch);
    gw_string(&m.w, "general.name", "hand-made");
    if (m.c->key) put_changed(&m, m.c->key);
    put_u32(&m, "block_count", 3);
    put_u32(&m, "context_length", 16);
    put_u32(&m, "embedding_length", 8);
    put_u32(&m, "feed_forward_length", 12);
    put_u32(&m, "attention.head_count", 2);
    if (strcmp(arch, "gpt2") == 0)
        put_gpt2(&m);
    else
        put_decoder(&m);
    if (m.c->add) put_tensor(&m, m.c->add, 8, 0);
    o->bytes = gw_finish(&m.w, &n);
    memory_files_add(&o->files, "m.gguf", o->bytes, n);
    return open_path(o, "m.gguf", m.c->n_ctx);
}

static void need_gguf(opened *o, const char *arch, const change *c)
{
    if (open_gguf(o, arch, c) < 0) fail_msg("%s: %s", arch, o->err.text);
}

/* ---- What every program must obey ---- */

static void check_program(const llrt_program *p, uint32_t n_weight, uint32_t n_kv)
{
    bool *const written = calloc(p->n_value, sizeof *written), *const kv =
                                                                   calloc(n_kv + 1, sizeof *kv);
    assert_non_null(written);
    for (uint32_t i = 0; i < p->n_input; i++) written[p->input[i]] = true;
    for (uint32_t i = 0; i < p->n_op; i++) {
        const llrt_op *const op = &p->op[i];
        assert_true(i == 0 || op->layer >= op[-1].layer);
        for (uint32_t k = 0; k < 6; k++) {
            assert_true(k < op->n_in ? op->in[k] < p->n_value : op->in[k] == LLRT_NONE);
            if (k < op->n_in) assert_true(written[op->in[k]]);
        }
        for (uint32_t k = 0; k < 8; k++)
            assert_true(op->weight[k] == LLRT_NONE || op->weight[k] < n_weight);
        assert_true(op->out < p->n_value && !written[op->out]);
        written[op->out] = true;
        if (op->kind == LLRT_OP_ATTENTION) {
            assert_true(op->u.attention.kv < n_kv && !kv[op->u.attention.kv]);
            kv[op->u.attention.kv] = true;
        }
    }
    for (uint32_t i = 0; i < p->n_value; i++)
        assert_true(written[i] && p->value[i].n_head && p->value[i].width);
    for (uint32_t i = 0; i < p->n_output; i++) assert_true(p->output[i] < p->n_value);
    for (uint32_t i = 0; i < n_kv; i++) assert_true(kv[i]);
    free(written);
    free(kv);
}

/* The program for embeddings is the same up to the hidden states. */
static void check_prefix(const llrti_model *m)
{
    const llrt_program *const p = &m->program[1];
    assert_int_equal(m->n_program, 2);
    assert_true(m->can_embed && m->score == LLRT_NONE && m->n_label == 0);
    check_program(p, m->n_weight, m->n_kv);
    assert_true(p->n_op < m->program->n_op && p->op == m->program->op);
    assert_true(p->n_output == 1 && p->output[0] == m->hidden && p->logits == LLRT_NONE);
    assert_int_equal(p->op[p->n_op - 1].out, m->hidden);
}

static void check_model(const llrti_model *m)
{
    check_program(m->program, m->n_weight, m->n_kv);
    check_prefix(m);
    assert_int_equal(m->program->n_input, 0);
    assert_int_equal(m->program->n_output, 2);
    assert_int_equal(m->program->output[0], m->logits);
    assert_int_equal(m->program->output[1], m->hidden);
    assert_int_equal(m->program->logits, m->logits);
    const llrt_value logits = m->program->value[m->logits], hidden = m->program->value[m->hidden];
    assert_true(logits.rows == LLRT_ROWS_OUT && logits.n_head == 1 && logits.width == m->n_vocab);
    assert_true(hidden.rows == LLRT_ROWS_OUT && hidden.n_head == 1 && hidden.width == m->d_model);
    assert_int_equal(m->program->op[m->program->n_op - 1].kind, LLRT_OP_HEAD);
    assert_int_equal(m->program->op[m->program->n_op - 3].kind, LLRT_OP_GATHER);
}

static const llrt_op *find_op(const llrti_model *m, llrt_op_kind kind, uint32_t layer)
{
    for (uint32_t i = 0; i < m->program->n_op; i++)
        if (m->program->op[i].kind == kind && m->program->op[i].layer == layer)
            return &m->program->op[i];
    fail_msg("no operator of kind %u in layer %u", kind, layer);
    return NULL;
}

static void test_llama_of_gguf(void **state)
{
    (void)state;
    opened o;
    need_gguf(&o, "llama", NULL);
    const llrti_model *const m = o.model;
    check_model(m);
    assert_string_equal(m->architecture, "llama");
    assert_string_equal(m->name, "hand-made");
    assert_true(m->n_layer == 3 && m->d_model == 8 && m->d_ff == 12 && m->n_head == 2 &&
                m->n_kv_head == 1);
    assert_true(m->head_dim == 4 && m->n_vocab == 11 && m->n_ctx_train == 16 && m->n_ctx == 16 &&
                m->window == 0);
    assert_true(m->n_kv == 3 && m->n_weight == 3 + 3 * 9 && m->n_unused == 0 && m->can_generate);
    assert_true(m->kv[2].n_head == 1 && m->kv[2].k_dim == 4 && m->kv[2].v_dim == 4 &&
                m->kv[2].layer == 2);
    const llrt_op *const rope = find_op(m, LLRT_OP_ROPE, 0), *const attention =
                                                                 find_op(m, LLRT_OP_ATTENTION, 1);
    assert_true(rope->u.rope.pairs == LLRT_ROPE_ADJACENT && rope->u.rope.n_rot == 4 &&
                rope->u.rope.magnitude == 1);
    assert_true(rope->u.rope.inv_freq[0] == 1.0f && rope->u.rope.inv_freq[1] == 0.01f);
    assert_true(attention->u.attention.scale == 0.5f && attention->u.attention.window == 0);
    assert_true(find_op(m, LLRT_OP_EMBED, 0)->weight[0] != find_op(m, LLRT_OP_HEAD, 2)->weight[0]);
    close_model(&o);
}

static void test_options_of_llama_gguf(void **state)
{
    (void)state;
    opened o;
    need_gguf(&o, "llama", &(change){.drop = "output.weight"});
    assert_int_equal(find_op(o.model, LLRT_OP_EMBED, 0)->weight[0],
                     find_op(o.model, LLRT_OP_HEAD, 2)->weight[0]);
    assert_int_equal(o.model->n_weight, 2 + 3 * 9);
    close_model(&o);
    need_gguf(&o, "llama",
              &(change){.key = "llama.attention.sliding_window", .type = 4, .number = 5});
    assert_int_equal(o.model->window, 5);
    assert_int_equal(find_op(o.model, LLRT_OP_ATTENTION, 2)->u.attention.window, 5);
    close_model(&o);
    need_gguf(&o, "llama", &(change){.add = "blk.1.attn_q.bias"});
    assert_int_equal(o.model->n_weight, 3 + 3 * 9 + 1);
    close_model(&o);
    need_gguf(&o, "llama", &(change){.add = "rope_freqs_of_another_kind.weight"});
    assert_int_equal(o.model->n_unused, 1);
    assert_string_equal(o.model->unused, "rope_freqs_of_another_kind.weight");
    close_model(&o);
    need_gguf(&o, "llama", &(change){.key = "llama.attention.head_count", .type = 9, .number = 2});
    assert_int_equal(o.model->n_head, 2); /* an array of equal numbers */
    close_model(&o);
    need_gguf(&o, "llama", &(change){.drop = "llama.context_length"});
    assert_true(o.model->n_ctx_train == 0 && o.model->n_ctx == 8192 &&
                o.model->n_ctx_max == UINT32_MAX);
    close_model(&o);
    need_gguf(&o, "llama", &(change){.n_ctx = 100});
    assert_true(o.model->n_ctx_train == 16 && o.model->n_ctx == 100);
    close_model(&o);
}

static void test_qwen_of_gguf(void **state)
{
    (void)state;
    opened o;
    need_gguf(&o, "qwen2", NULL);
    check_model(o.model);
    assert_int_equal(o.model->n_weight, 3 + 3 * 12);
    assert_int_equal(find_op(o.model, LLRT_OP_ROPE, 0)->u.rope.pairs, LLRT_ROPE_HALVES);
    const llrt_op *const q = find_op(o.model, LLRT_OP_LINEAR, 0);
    assert_string_equal(o.model->weight[q->weight[1]].desc.name, "blk.0.attn_q.bias");
    close_model(&o);
    need_gguf(&o, "qwen3", NULL);
    check_model(o.model);
    assert_true(o.model->head_dim == 6 && o.model->n_weight == 3 + 3 * 11);
    /* Each head is normalised before it is rotated. */
    const llrt_op *const rope = find_op(o.model, LLRT_OP_ROPE, 0);
    const llrt_value v = o.model->program->value[rope->in[0]];
    assert_true(v.n_head == 2 && v.width == 6);
    bool is_normed = false;
    for (const llrt_op *op = o.model->program->op; op < rope; op++)
        is_normed |= op->out == rope->in[0] && op->kind == LLRT_OP_RMS_NORM;
    assert_true(is_normed);
    close_model(&o);
}

static void test_gpt2_of_gguf(void **state)
{
    (void)state;
    opened o;
    need_gguf(&o, "gpt2", NULL);
    check_model(o.model);
    assert_int_equal(find_op(o.model, LLRT_OP_EMBED, 0)->weight[0],
                     find_op(o.model, LLRT_OP_HEAD, 2)->weight[0]);
    assert_int_equal(find_op(o.model, LLRT_OP_ACTIVATE, 0)->u.act.act, LLRT_ACT_GELU_TANH);
    for (uint32_t i = 0; i < o.model->n_weight; i++) assert_false(o.model->weight[i].is_transposed);
    assert_true(o.model->n_ctx_max == 16 && o.model->n_ctx == 16);
    close_model(&o);
    assert_int_equal(open_gguf(&o, "gpt2", &(change){.n_ctx = 17}), LLRT_ERR_ARGUMENT);
    assert_string_equal(o.err.field, "n_ctx");
    close_model(&o);
    need_gguf(&o, "gpt2", &(change){.drop = "gpt2.context_length"});
    assert_int_equal(o.model->n_ctx, 16); /* positions there are */
    close_model(&o);
}

static void test_malformed_gguf(void **state)
{
    (void)state;
    static const struct {
        const char *arch;
        change c;
        llrt_status status;
        const char *field, *text;
    } cases[] = {
        {"llama",
         {.drop = "general.architecture"},
         LLRT_ERR_FORMAT,
         "general.architecture",
         "missing"},
        {"llama",
         {.key = "general.architecture", .type = 4},
         LLRT_ERR_FORMAT,
         "general.architecture",
         "found 0"},
        {"llama",
         {.key = "general.architecture", .type = 8, .string = ""},
         LLRT_ERR_FORMAT,
         "general.architecture",
         "found \"\""},
        {"llama",
         {.key = "general.architecture", .type = 8, .string = "tetris"},
         LLRT_ERR_UNSUPPORTED,
         "general.architecture",
         "found \"tetris\", expected one of: llama, "},
        {"mistral", {0}, LLRT_ERR_UNSUPPORTED, "general.architecture", "found \"mistral\""},
        {"llama", {.drop = "llama.block_count"}, LLRT_ERR_FORMAT, "llama.block_count", "missing"},
        {"llama",
         {.key = "llama.block_count", .type = 4, .number = 0},
         LLRT_ERR_FORMAT,
         "llama.block_count",
         "found 0, expected an integer from 1 to 4096"},
        {"llama",
         {.key = "llama.block_count", .type = 4, .number = 4000000000.0},
         LLRT_ERR_FORMAT,
         "llama.block_count",
         "found 4000000000"},
        {"llama",
         {.key = "llama.block_count", .type = 8, .string = "three"},
         LLRT_ERR_FORMAT,
         "llama.block_count",
         "found \"three\""},
        {"llama",
         {.key = "llama.block_count", .type = 4, .number = 4},
         LLRT_ERR_FORMAT,
         "blk.3.attn_norm.weight",
         "missing"},
        {"llama",
         {.key = "llama.block_count", .type = 4, .number = 4096},
         LLRT_ERR_FORMAT,
         "blk.3.attn_norm.weight",
         "missing"},
        {"llama",
         {.drop = "llama.embedding_length"},
         LLRT_ERR_FORMAT,
         "llama.embedding_length",
         "missing"},
        {"llama",
         {.key = "llama.embedding_length", .type = 5, .number = -8},
         LLRT_ERR_FORMAT,
         "llama.embedding_length",
         "found -8"},
        {"llama",
         {.key = "llama.embedding_length", .type = 6, .number = 8.5},
         LLRT_ERR_FORMAT,
         "llama.embedding_length",
         "found 8.5, expected an integer"},
        {"llama",
         {.key = "llama.embedding_length", .type = 6, .number = NAN},
         LLRT_ERR_FORMAT,
         "llama.embedding_length",
         "found nan"},
        {"llama",
         {.key = "llama.embedding_length", .type = 4, .number = 16},
         LLRT_ERR_FORMAT,
         "token_embd.weight",
         "found shape 8 x 11, expected 16 x any"},
        {"llama",
         {.key = "llama.attention.head_count", .type = 4, .number = 3},
         LLRT_ERR_FORMAT,
         "llama.attention.head_count",
         "found 3, expected a divisor of the embedding width 8"},
        {"llama",
         {.key = "llama.attention.head_count", .type = 9, .number = 2, .string = "differ"},
         LLRT_ERR_UNSUPPORTED,
         "llama.attention.head_count",
         "vary by layer"},
        {"llama",
         {.key = "llama.attention.head_count_kv", .type = 4, .number = 3},
         LLRT_ERR_FORMAT,
         "llama.attention.head_count_kv",
         "found 3, expected a divisor"},
        {"llama",
         {.key = "llama.attention.head_count_kv", .type = 4, .number = 0},
         LLRT_ERR_FORMAT,
         "llama.attention.head_count_kv",
         "found 0"},
        {"llama",
         {.key = "llama.attention.head_count_kv", .type = 4, .number = 2},
         LLRT_ERR_FORMAT,
         "blk.0.attn_k.weight",
         "found shape 8 x 4, expected 8 x 8"},
        {"llama",
         {.key = "llama.attention.key_length", .type = 4, .number = 6},
         LLRT_ERR_FORMAT,
         "blk.0.attn_q.weight",
         "found shape 8 x 8, expected 8 x 12"},
        {"llama",
         {.key = "llama.attention.key_length", .type = 4, .number = 5},
         LLRT_ERR_FORMAT,
         "llama.rope.dimension_count",
         "found 5 rotated elements"},
        {"llama",
         {.key = "llama.attention.value_length", .type = 4, .number = 16385},
         LLRT_ERR_FORMAT,
         "llama.attention.value_length",
         "found 16385"},
        {"llama",
         {.drop = "llama.attention.layer_norm_rms_epsilon"},
         LLRT_ERR_FORMAT,
         "llama.attention.layer_norm_rms_epsilon",
         "missing"},
        {"llama",
         {.key = "llama.attention.layer_norm_rms_epsilon", .type = 6, .number = NAN},
         LLRT_ERR_FORMAT,
         "llama.attention.layer_norm_rms_epsilon",
         "found nan"},
        {"llama",
         {.key = "llama.attention.layer_norm_rms_epsilon", .type = 6, .number = -1e-5},
         LLRT_ERR_FORMAT,
         "llama.attention.layer_norm_rms_epsilon",
         "expected a number from 0 to 0.1"},
        {"llama",
         {.key = "llama.rope.freq_base", .type = 6, .number = INFINITY},
         LLRT_ERR_FORMAT,
         "llama.rope.freq_base",
         "found inf"},
        {"llama",
         {.key = "llama.rope.freq_base", .type = 6, .number = 0},
         LLRT_ERR_FORMAT,
         "llama.rope.freq_base",
         "found 0"},
        {"llama",
         {.key = "llama.context_length", .type = 4, .number = 0},
         LLRT_ERR_FORMAT,
         "llama.context_length",
         "found 0"},
        {"llama",
         {.key = "llama.expert_count", .type = 4, .number = 8},
         LLRT_ERR_FORMAT,
         "llama.expert_used_count",
         "missing"},
        {"llama",
         {.key = "llama.attention.causal", .type = 7, .number = 0},
         LLRT_ERR_UNSUPPORTED,
         "llama.attention.causal",
         "not causal"},
        {"llama",
         {.key = "llama.rope.scaling.type", .type = 8, .string = "spiral"},
         LLRT_ERR_UNSUPPORTED,
         "llama.rope.scaling.type",
         "\"spiral\" is unknown"},
        {"llama", {.drop = "token_embd.weight"}, LLRT_ERR_FORMAT, "token_embd.weight", "missing"},
        {"llama", {.drop = "output_norm.weight"}, LLRT_ERR_FORMAT, "output_norm.weight", "missing"},
        {"llama",
         {.drop = "blk.2.ffn_down.weight"},
         LLRT_ERR_FORMAT,
         "blk.2.ffn_down.weight",
         "missing"},
        {"llama",
         {.reshape = "output.weight", .dim = {8, 12}},
         LLRT_ERR_FORMAT,
         "output.weight",
         "found shape 8 x 12, expected 8 x 11"},
        {"llama",
         {.reshape = "output_norm.weight", .dim = {7, 0}},
         LLRT_ERR_FORMAT,
         "output_norm.weight",
         "found shape 7, expected 8"},
        {"llama",
         {.reshape = "blk.1.attn_norm.weight", .dim = {8, 2}},
         LLRT_ERR_FORMAT,
         "blk.1.attn_norm.weight",
         "found shape 8 x 2, expected 8"},
        {"llama",
         {.reshape = "blk.0.ffn_down.weight", .dim = {8, 12}},
         LLRT_ERR_FORMAT,
         "blk.0.ffn_down.weight",
         "found shape 8 x 12, expected 12 x 8"},
        {"llama",
         {.retype = "blk.0.attn_norm.weight"},
         LLRT_ERR_UNSUPPORTED,
         "blk.0.attn_norm.weight",
         "found element type I8"},
        {"llama",
         {.retype = "blk.0.attn_q.weight"},
         LLRT_ERR_UNSUPPORTED,
         "blk.0.attn_q.weight",
         "element type I8 is not supported"},
        {"qwen2", {.drop = "blk.0.attn_k.bias"}, LLRT_ERR_FORMAT, "blk.0.attn_k.bias", "missing"},
        {"qwen3",
         {.drop = "blk.1.attn_q_norm.weight"},
         LLRT_ERR_FORMAT,
         "blk.1.attn_q_norm.weight",
         "missing"},
        {"qwen3",
         {.reshape = "blk.1.attn_k_norm.weight", .dim = {4, 0}},
         LLRT_ERR_FORMAT,
         "blk.1.attn_k_norm.weight",
         "found shape 4, expected 6"},
        {"gpt2",
         {.drop = "position_embd.weight"},
         LLRT_ERR_FORMAT,
         "position_embd.weight",
         "missing"},
        {"gpt2",
         {.reshape = "blk.0.attn_qkv.weight", .dim = {24, 8}},
         LLRT_ERR_FORMAT,
         "blk.0.attn_qkv.weight",
         "found shape 24 x 8, expected 8 x 24"},
        {"gpt2",
         {.key = "gpt2.attention.head_count", .type = 4, .number = 3},
         LLRT_ERR_FORMAT,
         "gpt2.attention.head_count",
         "expected a divisor"},
        {"gpt2",
         {.key = "gpt2.attention.layer_norm_epsilon", .type = 6, .number = NAN},
         LLRT_ERR_FORMAT,
         "gpt2.attention.layer_norm_epsilon",
         "found nan"},
    };
    for (size_t i = 0; i < LLRTI_COUNT(cases); i++) {
        opened o;
        const llrt_status status = open_gguf(&o, cases[i].arch, &cases[i].c);
        if (status != cases[i].status || strcmp(o.err.field, cases[i].field) != 0 ||
            !strstr(o.err.text, cases[i].text) || strcmp(o.err.file, "m.gguf") != 0 || o.model)
            fail_msg("case %zu: found %s, '%s' about '%s' in '%s', expected %s, '%s' about '%s'", i,
                     llrt_status_name(status), o.err.text, o.err.field, o.err.file,
                     llrt_status_name(cases[i].status), cases[i].text, cases[i].field);
        close_model(&o);
    }
}

/* ---- Hugging Face folders ---- */

/*
 * Tensors of a safetensors file, all F32 zeros: "name:d0,d1;..." with the outermost dimension
 * first; '#' is each of two layers.
 */
static uint8_t *make_safetensors(const char *list, const char *prefix, size_t *n)
{
    char *const json = calloc(1, 16384);
    size_t at = 0, data = 0;
    assert_non_null(json);
    at += (size_t)snprintf(json, 16384, "{");
    for (const char *p = list; *p;) {
        const char *const colon = strchr(p, ':'), *const end = strchr(p, ';');
        const char *const hash = memchr(p, '#', (size_t)(colon - p));
        size_t count = 1;
        for (const char *d = colon + 1; d < end;
             d = strchr(d, ',') && strchr(d, ',') < end ? strchr(d, ',') + 1 : end)
            count *= (size_t)strtoul(d, NULL, 10);
        for (int layer = 0; layer < (hash ? 2 : 1); layer++) {
            const bool is_bare = strncmp(p, "lm_head", 7) == 0;
            at += (size_t)snprintf(json + at, 16384 - at, "%s\"%s%.*s", at > 1 ? "," : "",
                                   is_bare ? "" : prefix, (int)((hash ? hash : colon) - p), p);
            if (hash)
                at += (size_t)snprintf(json + at, 16384 - at, "%d%.*s", layer,
                                       (int)(colon - hash - 1), hash + 1);
            at += (size_t)snprintf(
                json + at, 16384 - at,
                "\":{\"dtype\":\"F32\",\"shape\":[%.*s],\"data_offsets\":[%zu,%zu]}",
                (int)(end - colon - 1), colon + 1, data, data + 4 * count);
            data += 4 * count;
        }
        p = end + 1;
    }
    at += (size_t)snprintf(json + at, 16384 - at, "}");
    while (at % 8) json[at++] = ' ';
    uint8_t *const out = calloc(1, 8 + at + data);
    assert_non_null(out);
    for (int i = 0; i < 8; i++) out[i] = (uint8_t)(at >> 8 * i);
    memcpy(out + 8, json, at);
    *n = 8 + at + data;
    free(json);
    return out;
}

#define LLAMA_TENSORS                                                                              \
    "embed_tokens.weight:11,8;norm.weight:8;layers.#.input_layernorm.weight:8;"                    \
    "layers.#.self_attn.q_proj.weight:8,8;layers.#.self_attn.k_proj.weight:4,8;"                   \
    "layers.#.self_attn.v_proj.weight:4,8;layers.#.self_attn.o_proj.weight:8,8;"                   \
    "layers.#.post_attention_layernorm.weight:8;layers.#.mlp.gate_proj.weight:12,8;"               \
    "layers.#.mlp.up_proj.weight:12,8;layers.#.mlp.down_proj.weight:8,12;"                         \
    "layers.#.self_attn.rotary_emb.inv_freq:2;"
#define HEAD_TENSOR "lm_head.weight:11,8;"
#define QKV_BIASES                                                                                 \
    "layers.#.self_attn.q_proj.bias:8;layers.#.self_attn.k_proj.bias:4;layers.#.self_attn.v_proj." \
    "bias:4;"
#define OTHER_BIASES                                                                               \
    "layers.#.self_attn.o_proj.bias:8;layers.#.mlp.gate_proj.bias:12;layers.#.mlp.up_proj.bias:"   \
    "12;"                                                                                          \
    "layers.#.mlp.down_proj.bias:8;"
#define QK_NORMS "layers.#.self_attn.q_norm.weight:4;layers.#.self_attn.k_norm.weight:4;"
#define GPT2_TENSORS                                                                               \
    "wte.weight:11,8;wpe.weight:16,8;ln_f.weight:8;ln_f.bias:8;h.#.ln_1.weight:8;h.#.ln_1.bias:8;" \
    "h.#.attn.c_attn.weight:8,24;h.#.attn.c_attn.bias:24;h.#.attn.c_proj.weight:8,8;"              \
    "h.#.attn.c_proj.bias:8;h.#.ln_2.weight:8;h.#.ln_2.bias:8;h.#.mlp.c_fc.weight:8,32;"           \
    "h.#.mlp.c_fc.bias:32;h.#.mlp.c_proj.weight:32,8;h.#.mlp.c_proj.bias:8;h.#.attn.bias:1,1,16,"  \
    "16;"

#define SIZES                                                                                      \
    "\"hidden_size\":8,\"num_hidden_layers\":2,\"num_attention_heads\":2,\"num_key_value_heads\":" \
    "1,"                                                                                           \
    "\"intermediate_size\":12,\"vocab_size\":11,\"max_position_embeddings\":16"
#define GPT2_SIZES                                                                                 \
    "{\"model_type\":\"gpt2\",\"n_embd\":8,\"n_layer\":2,\"n_head\":2,\"n_positions\":16,\"vocab_" \
    "size\":11"

static llrt_status open_hf(opened *o, const char *config, const char *tensors, const char *prefix)
{
    size_t n;
    memset(o, 0, sizeof *o);
    memory_files_init(&o->files, &o->source);
    o->bytes = make_safetensors(tensors, prefix, &n);
    memory_files_add_text(&o->files, "m/config.json", config);
    memory_files_add(&o->files, "m/model.safetensors", o->bytes, n);
    return open_path(o, "m/model.safetensors", 0);
}

static void need_hf(opened *o, const char *config, const char *tensors, const char *prefix)
{
    if (open_hf(o, config, tensors, prefix) < 0) fail_msg("%s: %s", config, o->err.text);
    check_model(o->model);
}

static void test_llama_of_folder(void **state)
{
    (void)state;
    opened o;
    need_hf(&o, "{\"model_type\":\"llama\"," SIZES "}", LLAMA_TENSORS HEAD_TENSOR, "model.");
    assert_true(o.model->n_weight == 3 + 2 * 9 && o.model->n_unused == 2);
    assert_int_equal(find_op(o.model, LLRT_OP_ROPE, 0)->u.rope.pairs, LLRT_ROPE_HALVES);
    close_model(&o);
    need_hf(&o, "{\"model_type\":\"llama\"," SIZES "}", LLAMA_TENSORS, ""); /* no prefix, tied */
    assert_int_equal(find_op(o.model, LLRT_OP_EMBED, 0)->weight[0],
                     find_op(o.model, LLRT_OP_HEAD, 1)->weight[0]);
    close_model(&o);
    need_hf(&o, "{\"model_type\":\"llama\",\"tie_word_embeddings\":true," SIZES "}",
            LLAMA_TENSORS HEAD_TENSOR, "model.");
    assert_int_equal(find_op(o.model, LLRT_OP_EMBED, 0)->weight[0],
                     find_op(o.model, LLRT_OP_HEAD, 1)->weight[0]);
    close_model(&o);
    need_hf(&o, "{\"model_type\":\"llama\",\"attention_bias\":true,\"mlp_bias\":true," SIZES "}",
            LLAMA_TENSORS HEAD_TENSOR QKV_BIASES OTHER_BIASES, "model.");
    assert_int_equal(o.model->n_weight, 3 + 2 * 16);
    close_model(&o);
    need_hf(&o, "{\"model_type\":\"llama\",\"hidden_act\":\"gelu_pytorch_tanh\"," SIZES "}",
            LLAMA_TENSORS HEAD_TENSOR, "model.");
    assert_int_equal(find_op(o.model, LLRT_OP_GLU, 1)->u.act.act, LLRT_ACT_GELU_TANH);
    close_model(&o);
}

static void check_windows(const char *config, const char *tensors, uint32_t first, uint32_t second)
{
    opened o;
    need_hf(&o, config, tensors, "model.");
    assert_int_equal(find_op(o.model, LLRT_OP_ATTENTION, 0)->u.attention.window, first);
    assert_int_equal(find_op(o.model, LLRT_OP_ATTENTION, 1)->u.attention.window, second);
    assert_int_equal(o.model->window, first == second ? first : 0);
    close_model(&o);
}

static void test_windows_of_folder(void **state)
{
    (void)state;
    const char *const llama = LLAMA_TENSORS HEAD_TENSOR, *const qwen2 =
                                                             LLAMA_TENSORS HEAD_TENSOR QKV_BIASES;
    check_windows("{\"model_type\":\"mistral\",\"sliding_window\":4," SIZES "}", llama, 4, 4);
    check_windows("{\"model_type\":\"mistral\",\"sliding_window\":null," SIZES "}", llama, 0, 0);
    check_windows("{\"model_type\":\"mistral\"," SIZES "}", llama, 4096, 4096);
    check_windows("{\"model_type\":\"llama\",\"sliding_window\":4," SIZES "}", llama, 0, 0);
    check_windows("{\"model_type\":\"qwen2\",\"sliding_window\":4," SIZES "}", qwen2, 0, 0);
    check_windows("{\"model_type\":\"qwen2\",\"sliding_window\":4,\"use_sliding_window\":true,"
                  "\"max_window_layers\":1," SIZES "}",
                  qwen2, 0, 4);
    check_windows(
        "{\"model_type\":\"qwen2\",\"sliding_window\":4,\"use_sliding_window\":true," SIZES "}",
        qwen2, 0, 0);
    check_windows("{\"model_type\":\"qwen2\",\"sliding_window\":4,\"use_sliding_window\":true,"
                  "\"layer_types\":[\"sliding_attention\",\"full_attention\"]," SIZES "}",
                  qwen2, 4, 0);
    check_windows("{\"model_type\":\"qwen3\",\"head_dim\":null,\"sliding_window\":7,\"use_sliding_"
                  "window\":true,"
                  "\"max_window_layers\":0," SIZES "}",
                  LLAMA_TENSORS HEAD_TENSOR QK_NORMS, 7, 7);
}

static void test_gpt2_of_folder(void **state)
{
    (void)state;
    opened o;
    static const char *const prefix[] = {"", "transformer."};
    for (int i = 0; i < 2; i++) {
        need_hf(&o, GPT2_SIZES "}", GPT2_TENSORS, prefix[i]);
        assert_int_equal(o.model->n_unused, 2); /* the masks */
        const llrt_op *const qkv = find_op(o.model, LLRT_OP_LINEAR, 1);
        const llrti_model_weight *const w = &o.model->weight[qkv->weight[0]];
        assert_true(w->is_transposed && w->desc.dim[0] == 8 && w->desc.dim[1] == 24 &&
                    w->tensor->dim[0] == 24);
        assert_false(o.model->weight[find_op(o.model, LLRT_OP_HEAD, 1)->weight[0]].is_transposed);
        close_model(&o);
    }
    need_hf(&o,
            GPT2_SIZES
            ",\"scale_attn_by_inverse_layer_idx\":true,\"activation_function\":\"relu\"}",
            GPT2_TENSORS, "");
    assert_true(find_op(o.model, LLRT_OP_ATTENTION, 1)->u.attention.scale == 0.25f);
    assert_int_equal(find_op(o.model, LLRT_OP_ACTIVATE, 0)->u.act.act, LLRT_ACT_RELU);
    close_model(&o);
}

static void test_malformed_folders(void **state)
{
    (void)state;
    static const struct {
        const char *config, *tensors;
        llrt_status status;
        const char *field, *text;
    } cases[] = {
        {"[]", LLAMA_TENSORS, LLRT_ERR_FORMAT, "config.json", "not a JSON object"},
        {"{}", LLAMA_TENSORS, LLRT_ERR_FORMAT, "model_type", "missing"},
        {"{\"model_type\":7}", LLAMA_TENSORS, LLRT_ERR_FORMAT, "model_type", "found 7"},
        {"{\"model_type\":\"tetris\"}", LLAMA_TENSORS, LLRT_ERR_UNSUPPORTED, "model_type",
         "expected one of: llama"},
        {"{\"model_type\":\"llama\"}", LLAMA_TENSORS, LLRT_ERR_FORMAT, "num_hidden_layers",
         "config.json: 'num_hidden_layers': missing"},
        {"{\"model_type\":\"llama\",\"tie_word_embeddings\":false," SIZES "}", LLAMA_TENSORS,
         LLRT_ERR_FORMAT, "lm_head.weight", "missing"},
        {"{\"model_type\":\"llama\",\"tie_word_embeddings\":\"no\"," SIZES "}", LLAMA_TENSORS,
         LLRT_ERR_FORMAT, "tie_word_embeddings", "found \"no\", expected a boolean"},
        {"{\"model_type\":\"llama\",\"attention_bias\":true," SIZES "}", LLAMA_TENSORS,
         LLRT_ERR_FORMAT, "model.layers.0.self_attn.q_proj.bias", "missing"},
        {"{\"model_type\":\"llama\",\"hidden_act\":\"swoosh\"," SIZES "}", LLAMA_TENSORS,
         LLRT_ERR_UNSUPPORTED, "hidden_act", "\"swoosh\" is not known"},
        {"{\"model_type\":\"llama\",\"quantization_config\":{\"quant_method\":\"gptq\"}," SIZES "}",
         LLAMA_TENSORS, LLRT_ERR_UNSUPPORTED, "quantization_config", "\"gptq\""},
        {"{\"model_type\":\"llama\",\"num_experts\":4," SIZES "}", LLAMA_TENSORS,
         LLRT_ERR_UNSUPPORTED, "num_experts", "experts"},
        {"{\"model_type\":\"llama\",\"head_dim\":6," SIZES "}", LLAMA_TENSORS, LLRT_ERR_FORMAT,
         "model.layers.0.self_attn.q_proj.weight", "found shape 8 x 8, expected 8 x 12"},
        {"{\"model_type\":\"llama\",\"rms_norm_eps\":\"small\"," SIZES "}", LLAMA_TENSORS,
         LLRT_ERR_FORMAT, "rms_norm_eps", "found \"small\""},
        {"{\"model_type\":\"mistral\",\"sliding_window\":-1," SIZES "}", LLAMA_TENSORS,
         LLRT_ERR_FORMAT, "sliding_window", "found -1"},
        {"{\"model_type\":\"qwen2\",\"use_sliding_window\":true,\"layer_types\":[\"full_"
         "attention\"]," SIZES "}",
         LLAMA_TENSORS QKV_BIASES, LLRT_ERR_FORMAT, "layer_types", "found 1 elements"},
        {"{\"model_type\":\"qwen2\",\"use_sliding_window\":true,\"layer_types\":[\"full_"
         "attention\","
         "\"linear_attention\"]," SIZES "}",
         LLAMA_TENSORS QKV_BIASES, LLRT_ERR_UNSUPPORTED, "layer_types",
         "attention \"linear_attention\""},
        {"{\"model_type\":\"qwen2\",\"use_sliding_window\":true,\"layer_types\":[\"full_"
         "attention\","
         "\"sliding_attention\"],\"sliding_window\":null," SIZES "}",
         LLAMA_TENSORS QKV_BIASES, LLRT_ERR_FORMAT, "sliding_window", "missing"},
        {"{\"model_type\":\"qwen3\"," SIZES "}", LLAMA_TENSORS QK_NORMS, LLRT_ERR_FORMAT,
         "model.layers.0.self_attn.q_proj.weight", "expected 8 x 256"},
        {GPT2_SIZES ",\"add_cross_attention\":true}", GPT2_TENSORS, LLRT_ERR_UNSUPPORTED,
         "add_cross_attention", "cross attention"},
        {GPT2_SIZES ",\"n_inner\":31}", GPT2_TENSORS, LLRT_ERR_FORMAT,
         "transformer.h.0.mlp.c_fc.weight", "is missing"},
    };
    for (size_t i = 0; i < LLRTI_COUNT(cases); i++) {
        opened o;
        const bool is_gpt2 = strncmp(cases[i].config, GPT2_SIZES, 20) == 0;
        const llrt_status status =
            open_hf(&o, cases[i].config, cases[i].tensors, is_gpt2 ? "" : "model.");
        const bool is_shape =
            i + 1 == LLRTI_COUNT(cases); /* found without its prefix, of the wrong shape */
        if (status != cases[i].status ||
            (is_shape
                 ? !strstr(o.err.text, "found shape 32 x 8, expected 31 x 8")
                 : strcmp(o.err.field, cases[i].field) != 0 || !strstr(o.err.text, cases[i].text)))
            fail_msg("case %zu: found %s, '%s' about '%s', expected %s, '%s' about '%s'", i,
                     llrt_status_name(status), o.err.text, o.err.field,
                     llrt_status_name(cases[i].status), cases[i].text, cases[i].field);
        close_model(&o);
    }
}

/* ---- Cutting ---- */

/*
 * Every operator of the model is in exactly one stage, with the same weights, kv slots and
 * sources.
 */
static void check_stages(const llrti_model *m, const llrti_stage *stages, uint32_t n_stage)
{
    uint32_t next = 0;
    for (uint32_t s = 0; s < n_stage; s++) {
        const llrti_stage *const stage = &stages[s];
        const llrt_program *const p = stage->program;
        check_program(p, stage->n_weight, stage->n_kv);
        for (uint32_t i = 0; i < p->n_op; i++, next++) {
            assert_true(next < m->program->n_op);
            const llrt_op *const a = &p->op[i], *const b = &m->program->op[next];
            assert_true(a->kind == b->kind && a->layer == b->layer && a->n_in == b->n_in);
            assert_memory_equal(&p->value[a->out], &m->program->value[b->out], sizeof(llrt_value));
            for (uint32_t k = 0; k < a->n_in; k++)
                assert_memory_equal(&p->value[a->in[k]], &m->program->value[b->in[k]],
                                    sizeof(llrt_value));
            for (uint32_t k = 0; k < 8; k++) {
                assert_true((a->weight[k] == LLRT_NONE) == (b->weight[k] == LLRT_NONE));
                if (a->weight[k] == LLRT_NONE) continue;
                assert_int_equal(stage->weight[a->weight[k]], b->weight[k]);
                assert_string_equal(stage->tensor[a->weight[k]].name,
                                    m->weight[b->weight[k]].desc.name);
            }
            if (a->kind == LLRT_OP_ATTENTION)
                assert_int_equal(stage->kv_index[a->u.attention.kv], b->u.attention.kv);
        }
        if (s == 0) assert_int_equal(p->n_input, 0);
        if (s + 1 == n_stage) break;
        assert_int_equal(p->n_output, stages[s + 1].program[0].n_input);
        assert_true(stage->logits == LLRT_NONE && p->logits == LLRT_NONE);
        for (uint32_t i = 0; i < p->n_output; i++)
            assert_memory_equal(&p->value[p->output[i]],
                                &stages[s + 1].program[0].value[stages[s + 1].program[0].input[i]],
                                sizeof(llrt_value));
    }
    assert_int_equal(next, m->program->n_op);
    const llrti_stage *const last = &stages[n_stage - 1];
    assert_int_equal(last->program[0].n_output, 2);
    assert_true(last->program[0].output[0] == last->logits &&
                last->program[0].output[1] == last->hidden);
    assert_int_equal(last->program[0].logits, last->logits);
    assert_int_equal(last->program[0].value[last->logits].width, m->n_vocab);
    for (uint32_t s = 0; s < n_stage; s++) {
        const llrt_program *const p = stages[s].program;
        assert_int_equal(stages[s].n_program, m->n_program);
        if (m->n_program < 2) continue;
        check_program(&p[1], stages[s].n_weight, stages[s].n_kv);
        if (s + 1 < n_stage) assert_memory_equal(&p[0], &p[1], sizeof *p);
    }
    if (m->n_program < 2) return;
    const llrt_program *const prefix = &last->program[1];
    assert_true(prefix->n_output == 1 && prefix->output[0] == last->hidden);
    assert_int_equal(prefix->op[prefix->n_op - 1].out, last->hidden);
}

static void test_cuts_cover_the_program(void **state)
{
    (void)state;
    static const char *const archs[] = {"llama", "qwen2", "qwen3", "gpt2"};
    static const uint32_t ends[][3] = {{3}, {1, 3}, {2, 3}, {1, 2, 3}};
    static const uint32_t n_stage[] = {1, 2, 2, 3};
    for (size_t a = 0; a < LLRTI_COUNT(archs); a++) {
        opened o;
        need_gguf(&o, archs[a], NULL);
        for (size_t i = 0; i < LLRTI_COUNT(ends); i++) {
            llrti_stage *stages;
            assert_int_equal(llrti_model_cut(&o.mem, o.model, n_stage[i], ends[i], &stages, &o.err),
                             LLRT_OK);
            check_stages(o.model, stages, n_stage[i]);
            for (uint32_t s = 1; s < n_stage[i]; s++)
                assert_int_equal(stages[s].program[0].n_input, 1);
            llrti_stages_free(&o.mem, stages, n_stage[i]);
        }
        close_model(&o);
    }
}

/* A value of layer 0 that only layer 2 reads passes through the stage of layer 1. */
static void test_values_pass_through_stages(void **state)
{
    (void)state;
    llrti_mem mem;
    llrti_mem_init(&mem, NULL);
    llrt_value value[5];
    llrt_op op[5] = {{0}};
    static const uint32_t in[5][2] = {
        {LLRT_NONE, LLRT_NONE}, {0, LLRT_NONE}, {1, LLRT_NONE}, {0, 2}, {3, LLRT_NONE}};
    static const llrt_op_kind kind[5] = {LLRT_OP_EMBED, LLRT_OP_SCALE, LLRT_OP_SCALE, LLRT_OP_ADD,
                                         LLRT_OP_GATHER};
    static const uint32_t layer[5] = {0, 0, 1, 2, 2}, output[2] = {4, 4}, ends[3] = {1, 2, 3};
    for (uint32_t i = 0; i < 5; i++) {
        value[i] = (llrt_value){i == 4, 1, 8 + (i < 4 ? i : 3)};
        op[i].kind = kind[i];
        op[i].layer = layer[i];
        op[i].out = i;
        op[i].n_in = (in[i][0] != LLRT_NONE) + (in[i][1] != LLRT_NONE);
        memset(op[i].in, 0xff, sizeof op[i].in);
        memset(op[i].weight, 0xff, sizeof op[i].weight);
        memcpy(op[i].in, in[i], sizeof in[i]);
    }
    const llrt_program program = {.n_value = 5,
                                  .n_op = 5,
                                  .n_output = 2,
                                  .value = value,
                                  .op = op,
                                  .output = output,
                                  .logits = 4};
    const llrti_model model = {.n_layer = 3,
                               .n_vocab = 11,
                               .n_program = 1,
                               .program = &program,
                               .logits = 4,
                               .hidden = 4,
                               .score = LLRT_NONE};
    llrti_stage *stages;
    assert_int_equal(llrti_model_cut(&mem, &model, 3, ends, &stages, NULL), LLRT_OK);
    check_stages(&model, stages, 3);
    assert_true(stages[0].program[0].n_output == 2 && stages[1].program[0].n_input == 2);
    assert_true(stages[1].program[0].n_output == 2 && stages[2].program[0].n_input == 2);
    assert_int_equal(stages[1].program[0].input[0], stages[1].program[0].output[0]);
    assert_int_equal(stages[1].program[0].n_value, 3);
    llrti_stages_free(&mem, stages, 3);
    assert_int_equal(mem.total_live, 0);
}

static void test_wrong_cuts_are_refused(void **state)
{
    (void)state;
    static const struct {
        uint32_t n, end[4];
    } cases[] = {{0, {3}}, {4, {1, 2, 3, 3}}, {2, {2, 2}}, {2, {0, 3}},
                 {1, {2}}, {1, {4}},          {2, {3, 3}}};
    opened o;
    need_gguf(&o, "llama", NULL);
    for (size_t i = 0; i < LLRTI_COUNT(cases); i++) {
        llrti_stage *stages = (llrti_stage *)&o;
        assert_int_equal(
            llrti_model_cut(&o.mem, o.model, cases[i].n, cases[i].end, &stages, &o.err),
            LLRT_ERR_ARGUMENT);
        assert_null(stages);
    }
    close_model(&o);
}

/* ---- Taps ---- */

static llrt_status open_tapped(opened *o, uint32_t n, const uint32_t *layer, llrti_model **tapped)
{
    const llrti_model_options options = {.n_tap = n, .tap_layer = layer};
    return llrti_model_create_tapped(&o->mem, o->file, &options, tapped, &o->err);
}

static void test_taps_are_outputs(void **state)
{
    (void)state;
    static const char *const archs[] = {"llama", "gpt2"};
    static const uint32_t layer[2] = {0, 2}, ends[2] = {1, 3};
    for (size_t a = 0; a < LLRTI_COUNT(archs); a++) {
        opened o;
        llrti_model *m;
        llrti_stage *stages;
        need_gguf(&o, archs[a], NULL);
        if (open_tapped(&o, 2, layer, &m) < 0) fail_msg("%s", o.err.text);
        check_program(m->program, m->n_weight, m->n_kv);
        check_program(&m->program[1], m->n_weight, m->n_kv);
        assert_true(m->n_tap == 2 && m->program->n_output == 4 && m->program[1].n_output == 3);
        for (uint32_t i = 0; i < 2; i++) {
            assert_int_equal(m->program->output[2 + i], m->tap[i]);
            assert_int_equal(m->program[1].output[1 + i], m->tap[i]);
            const llrt_op *const gather = &m->program->op[m->tap[i]];
            assert_int_equal(gather->kind, LLRT_OP_GATHER);
            /* What the layer leaves is what the next one takes; the last sum of the layer. */
            assert_int_equal(m->program->op[gather->in[0]].kind, LLRT_OP_ADD);
            assert_int_equal(m->program->op[gather->in[0]].layer, layer[i]);
            assert_true(layer[i] == 2 || m->program->op[gather->in[0] + 1].layer == layer[i] + 1);
        }
        assert_int_equal(llrti_model_cut(&o.mem, m, 2, ends, &stages, &o.err), LLRT_OK);
        assert_true(stages[0].n_tap == 0 && stages[1].n_tap == 2);
        assert_int_equal(stages[1].program[0].output[3], stages[1].tap[1]);
        assert_int_equal(stages[1].program[1].output[2], stages[1].tap[1]);
        llrti_stages_free(&o.mem, stages, 2);
        llrti_model_free(m);
        close_model(&o);
    }
}

static void test_taps_of_no_layer_are_refused(void **state)
{
    (void)state;
    static const uint32_t wrong[][2] = {{0, 3}, {1, 1}, {2, 0}};
    opened o;
    need_gguf(&o, "llama", NULL);
    for (size_t i = 0; i < LLRTI_COUNT(wrong); i++) {
        llrti_model *m;
        o.err = no_error;
        assert_int_equal(open_tapped(&o, 2, wrong[i], &m), LLRT_ERR_ARGUMENT);
        assert_string_equal(o.err.field, "tap_layer");
        assert_null(m);
    }
    close_model(&o);
}

/* ---- Lack of memory ---- */

static void test_every_allocation_can_fail(void **state)
{
    (void)state;
    static const uint32_t ends[] = {1, 3};
    opened o;
    need_gguf(&o, "qwen2", NULL);
    llrti_model_free(o.model);
    o.model = NULL;
    const size_t n_live = o.heap.n_live;
    bool is_done = false;
    size_t n = 0;
    while (!is_done) {
        llrti_model *model = NULL;
        llrti_stage *stages = NULL;
        o.heap.n_call = 0;
        o.heap.fail_at = ++n;
        llrt_status status = llrti_model_create(&o.mem, o.file, 0, &model, &o.err);
        if (status == LLRT_OK) status = llrti_model_cut(&o.mem, model, 2, ends, &stages, &o.err);
        o.heap.fail_at = 0;
        is_done = status == LLRT_OK && o.heap.n_call < n;
        if (!is_done) assert_int_equal(status, LLRT_ERR_NOMEM);
        llrti_stages_free(&o.mem, stages, 2);
        llrti_model_free(model);
        assert_int_equal(o.heap.n_live, n_live);
        assert_true(n < 1000);
    }
    assert_true(n > 20);
    close_model(&o);
}

static void test_free_of_null_is_fine(void **state)
{
    (void)state;
    llrti_mem mem;
    llrti_mem_init(&mem, NULL);
    llrti_model_free(NULL);
    llrti_stages_free(&mem, NULL, 3);
    assert_ptr_equal(strstr(llrti_model_known(), "llama, mistral, qwen2, qwen3, gpt2"),
                     llrti_model_known());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_llama_of_gguf),
        cmocka_unit_test(test_options_of_llama_gguf),
        cmocka_unit_test(test_qwen_of_gguf),
        cmocka_unit_test(test_gpt2_of_gguf),
        cmocka_unit_test(test_malformed_gguf),
        cmocka_unit_test(test_llama_of_folder),
        cmocka_unit_test(test_windows_of_folder),
        cmocka_unit_test(test_gpt2_of_folder),
        cmocka_unit_test(test_malformed_folders),
        cmocka_unit_test(test_cuts_cover_the_program),
        cmocka_unit_test(test_values_pass_through_stages),
        cmocka_unit_test(test_wrong_cuts_are_refused),
        cmocka_unit_test(test_taps_are_outputs),
        cmocka_unit_test(test_taps_of_no_layer_are_refused),
        cmocka_unit_test(test_every_allocation_can_fail),
        cmocka_unit_test(test_free_of_null_is_fine),
    };
    return cmocka_run_group_tests_name("model", tests, NULL, NULL);
}
