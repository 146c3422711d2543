/* SPDX-License-Identifier: MIT */
/*
 * Builds the networks of small_net.h. Matrices take the element types in turn, norms and biases are
 * float32; quantised blocks are pseudo-random bytes whose float16 scales are small positive
 * numbers.
 */
#include "small_net.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

uint64_t net_random(uint64_t *seed)
{
    *seed = *seed * 6364136223846793005ull + 1442695040888963407ull;
    return *seed >> 33;
}

static float random_float(uint64_t *seed)
{
    return (float)((double)(net_random(seed) % 2000001) / 1000000.0 - 1.0);
}

/* Block size, bytes, and where the float16 scales of a block are (-1: none). */
static const struct {
    llrt_type type;
    uint32_t block, bytes;
    int scale[2];
} formats[] = {
    {LLRT_TYPE_F32, 1, 4, {-1, -1}},       {LLRT_TYPE_F16, 1, 2, {-1, -1}},
    {LLRT_TYPE_BF16, 1, 2, {-1, -1}},      {LLRT_TYPE_Q4_0, 32, 18, {0, -1}},
    {LLRT_TYPE_Q4_1, 32, 20, {0, 2}},      {LLRT_TYPE_Q5_0, 32, 22, {0, -1}},
    {LLRT_TYPE_Q5_1, 32, 24, {0, 2}},      {LLRT_TYPE_Q8_0, 32, 34, {0, -1}},
    {LLRT_TYPE_Q2_K, 256, 84, {80, 82}},   {LLRT_TYPE_Q3_K, 256, 110, {108, -1}},
    {LLRT_TYPE_Q4_K, 256, 144, {0, 2}},    {LLRT_TYPE_Q5_K, 256, 176, {0, 2}},
    {LLRT_TYPE_Q6_K, 256, 210, {208, -1}}, {LLRT_TYPE_IQ4_NL, 32, 18, {0, -1}},
    {LLRT_TYPE_IQ4_XS, 256, 136, {0, -1}}, {LLRT_TYPE_MXFP4, 32, 17, {-1, -1}},
};
#define N_FORMAT (sizeof formats / sizeof formats[0])

static void fill_block(unsigned char *b, size_t format, uint64_t *seed)
{
    for (uint32_t i = 0; i < formats[format].bytes; i++) b[i] = (unsigned char)net_random(seed);
    const float x = random_float(seed) * 0.1f;
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    switch (formats[format].type) {
    case LLRT_TYPE_F32:
        memcpy(b, &x, 4);
        return;
    case LLRT_TYPE_BF16:
        memcpy(b, (unsigned char *)&u + 2, 2);
        return;
    case LLRT_TYPE_F16:
        b[1] = (unsigned char)((b[1] & 0x83) | 0x28);
        return;
    case LLRT_TYPE_MXFP4:
        b[0] = (unsigned char)(118 + b[0] % 4);
        return;
    default:
        break;
    }
    for (int i = 0; i < 2; i++) {
        const int at = formats[format].scale[i];
        if (at < 0) continue;
        b[at + 1] = formats[format].block == 256 ? 0x06 : 0x14; /* 2^-14 .. or 2^-10 .. */
    }
}

static uint32_t add_tensor(net *n, const char *prefix, size_t format, const uint64_t dim[3])
{
    const uint32_t i = n->n_tensor++;
    const uint64_t n_row = dim[1] * dim[2];
    snprintf(n->tensor_name[i], sizeof n->tensor_name[i], "%s.%u", prefix, i);
    n->tensor[i] = (llrt_tensor_desc){n->tensor_name[i],
                                      formats[format].type,
                                      dim[2] > 1   ? 3
                                      : dim[1] > 1 ? 2
                                                   : 1,
                                      {dim[0], dim[1], dim[2], 1}};
    n->row_bytes[i] = dim[0] / formats[format].block * formats[format].bytes;
    n->data[i] = malloc(n->row_bytes[i] * n_row);
    for (size_t b = 0; b < dim[0] / formats[format].block * n_row; b++)
        fill_block(n->data[i] + b * formats[format].bytes, format, &n->seed);
    return i;
}

static uint32_t add_vector(net *n, uint64_t d)
{
    return add_tensor(n, "vector", 0, (const uint64_t[]){d, 1, 1});
}

/* A vector of numbers between two bounds. */
static uint32_t add_range(net *n, uint64_t d, float low, float high)
{
    const uint32_t i = add_vector(n, d);
    for (uint64_t j = 0; j < d; j++) {
        const float x = low + (high - low) * (0.5f + 0.5f * random_float(&n->seed));
        memcpy(n->data[i] + 4 * j, &x, sizeof x);
    }
    return i;
}

static uint32_t add_stack(net *n, uint64_t d_in, uint64_t d_out, uint64_t n_matrix)
{
    size_t format;
    do format = n->next_type++ % N_FORMAT;
    while (d_in % formats[format].block);
    return add_tensor(n, "matrix", n->is_float ? 0 : format,
                      (const uint64_t[]){d_in, d_out, n_matrix});
}

static uint32_t add_matrix(net *n, uint64_t d_in, uint64_t d_out)
{
    return add_stack(n, d_in, d_out, 1);
}

static uint32_t add_value(net *n, llrt_rows rows, uint32_t n_head, uint32_t width)
{
    n->value[n->program.n_value] = (llrt_value){rows, n_head, width};
    return n->program.n_value++;
}

/* An operator with a new value of the given shape; inputs end at LLRT_NONE. */
static llrt_op *add_op(net *n, llrt_op_kind kind, const uint32_t *in, uint32_t n_head,
                       uint32_t width)
{
    llrt_op *const op = &n->op[n->program.n_op++];
    memset(op, 0, sizeof *op);
    op->kind = kind;
    op->layer = n->layer;
    for (int i = 0; i < 6; i++) op->in[i] = LLRT_NONE;
    for (int i = 0; i < 8; i++) op->weight[i] = LLRT_NONE;
    for (; in && op->n_in < 6 && in[op->n_in] != LLRT_NONE; op->n_in++)
        op->in[op->n_in] = in[op->n_in];
    const llrt_rows rows = kind == LLRT_OP_GATHER ? LLRT_ROWS_OUT
                           : in                   ? n->value[in[0]].rows
                                                  : LLRT_ROWS_TOKEN;
    op->out = add_value(n, rows, n_head, width);
    return op;
}

#define INS(...)                                                                                   \
    (const uint32_t[])                                                                             \
    {                                                                                              \
        __VA_ARGS__, LLRT_NONE                                                                     \
    }

static uint32_t linear(net *n, uint32_t x, uint32_t n_head, uint32_t width, bool has_bias)
{
    const uint32_t d_in = n->value[x].n_head * n->value[x].width, d_out = n_head * width;
    llrt_op *const op = add_op(n, LLRT_OP_LINEAR, INS(x), n_head, width);
    op->weight[0] = add_matrix(n, d_in, d_out);
    if (has_bias) op->weight[1] = add_vector(n, d_out);
    return op->out;
}

static uint32_t norm(net *n, llrt_op_kind kind, uint32_t x, int n_weight, float offset)
{
    const llrt_value v = n->value[x];
    llrt_op *const op = add_op(n, kind, INS(x), v.n_head, v.width);
    for (int i = 0; i < n_weight; i++) op->weight[i] = add_vector(n, v.width);
    op->u.norm.eps = 1e-5f;
    op->u.norm.weight_offset = offset;
    return op->out;
}

/* With weights of its own for each head. */
static uint32_t norm_heads(net *n, llrt_op_kind kind, uint32_t x)
{
    const llrt_value v = n->value[x];
    llrt_op *const op = add_op(n, kind, INS(x), v.n_head, v.width);
    op->weight[0] = add_vector(n, (uint64_t)v.n_head * v.width);
    if (kind == LLRT_OP_LAYER_NORM) op->weight[1] = add_vector(n, (uint64_t)v.n_head * v.width);
    op->u.norm.eps = 1e-6f;
    op->u.norm.weight_offset = kind == LLRT_OP_RMS_NORM ? 1.0f : 0.0f;
    return op->out;
}

static uint32_t rope(net *n, uint32_t x, llrt_rope_pairs pairs, uint32_t n_rot, float magnitude)
{
    const llrt_value v = n->value[x];
    llrt_op *const op = add_op(n, LLRT_OP_ROPE, INS(x), v.n_head, v.width);
    op->u.rope.pairs = pairs;
    op->u.rope.n_rot = n_rot;
    op->u.rope.magnitude = magnitude;
    op->u.rope.inv_freq = n->inv_freq;
    return op->out;
}

typedef struct attention {
    uint32_t n_head, n_kv_head, k_dim, v_dim, window;
    float soft_cap;
    uint32_t group, v_in_k;
    llrt_mask mask;
    bool has_sinks, has_slopes;
} attention;

static uint32_t attend(net *n, uint32_t q, uint32_t k, uint32_t v, attention a)
{
    llrt_op *const op = add_op(n, LLRT_OP_ATTENTION, INS(q, k, v), a.n_head, a.v_dim);
    op->u.attention.kv = n->n_kv;
    op->u.attention.mask = a.mask;
    op->u.attention.scale = 1.0f / sqrtf((float)a.k_dim);
    op->u.attention.soft_cap = a.soft_cap;
    op->u.attention.window = a.window;
    if (a.has_slopes) op->u.attention.slope = n->slope;
    if (a.has_sinks) op->weight[0] = add_range(n, a.n_head, -2.0f, 2.0f);
    n->kv[n->n_kv++] = (llrt_kv_desc){a.n_kv_head, a.k_dim, a.v_dim, n->layer, a.group, a.v_in_k};
    return op->out;
}

static uint32_t binary(net *n, llrt_op_kind kind, uint32_t a, uint32_t b)
{
    return add_op(n, kind, INS(a, b), n->value[a].n_head, n->value[a].width)->out;
}

static uint32_t unary(net *n, llrt_op_kind kind, uint32_t x, float factor)
{
    llrt_op *const op = add_op(n, kind, INS(x), n->value[x].n_head, n->value[x].width);
    op->u.scale.factor = factor;
    return op->out;
}

static uint32_t activate(net *n, uint32_t a, uint32_t b, llrt_activation act)
{
    const uint32_t width = n->value[a].width;
    llrt_op *const op = b == LLRT_NONE ? add_op(n, LLRT_OP_ACTIVATE, INS(a), 1, width)
                                       : add_op(n, LLRT_OP_GLU, INS(a, b), 1, width);
    op->u.act.act = act;
    return op->out;
}

static uint32_t embed(net *n, uint32_t d_model, uint32_t *w)
{
    llrt_op *const op = add_op(n, LLRT_OP_EMBED, NULL, 1, d_model);
    *w = op->weight[0] = add_matrix(n, d_model, NET_VOCAB);
    op->u.scale.factor = 1.5f;
    return op->out;
}

static void finish(net *n, uint32_t x, uint32_t hidden, uint32_t w)
{
    const uint32_t d_model = n->value[x].width;
    const uint32_t wanted = add_op(n, LLRT_OP_GATHER, INS(x), 1, d_model)->out;
    llrt_op *const op = add_op(n, LLRT_OP_HEAD, INS(wanted), 1, NET_VOCAB);
    op->weight[0] = w == LLRT_NONE ? add_matrix(n, d_model, NET_VOCAB) : w;
    n->program.logits = op->out;
    n->output[n->program.n_output++] = op->out;
    n->output[n->program.n_output++] = hidden;
}

/*
 * Grouped queries, windows, soft caps, both pairings of rope, norms of heads, every gated
 * activation in turn.
 */
static void build_gated(net *n)
{
    static const attention kinds[3] = {
        {8, 2, 32, 32, 0, 0}, {6, 3, 40, 24, 20, 0}, {4, 4, 64, 64, 70, 5.0f}};
    uint32_t w, x = embed(n, 256, &w), hidden = x;
    for (n->layer = 0; n->layer < 3; n->layer++) {
        const attention a = kinds[n->layer];
        const uint32_t y = norm(n, LLRT_OP_RMS_NORM, x, 1, n->layer == 1 ? 1.0f : 0.0f);
        uint32_t q = linear(n, y, a.n_head, a.k_dim, n->layer == 1);
        uint32_t k = linear(n, y, a.n_kv_head, a.k_dim, false);
        const uint32_t v = linear(n, y, a.n_kv_head, a.v_dim, true);
        q = norm(n, LLRT_OP_RMS_NORM, q, n->layer == 2 ? 0 : 1, 0);
        k = norm(n, LLRT_OP_RMS_NORM, k, 1, 0);
        const llrt_rope_pairs pairs = n->layer % 2 ? LLRT_ROPE_ADJACENT : LLRT_ROPE_HALVES;
        q = rope(n, q, pairs, n->layer == 1 ? 24 : a.k_dim, 1.0f + 0.1f * (float)n->layer);
        k = rope(n, k, pairs, n->layer == 1 ? 24 : a.k_dim, 1.0f + 0.1f * (float)n->layer);
        x = binary(n, LLRT_OP_ADD, x, linear(n, attend(n, q, k, v, a), 1, 256, false));
        const uint32_t z = norm(n, LLRT_OP_RMS_NORM, x, 1, 0);
        const uint32_t gate = linear(n, z, 1, 256, false), up = linear(n, z, 1, 256, false);
        hidden = linear(n, activate(n, gate, up, n->layer), 1, 256, false);
        x = binary(n, LLRT_OP_ADD, x, hidden);
    }
    finish(n, norm(n, LLRT_OP_RMS_NORM, x, 1, 0), hidden, LLRT_NONE);
}

/* Learned positions, layer norms, one product for q, k and v that is sliced, a tied head. */
static void build_sliced(net *n)
{
    static const attention a = {4, 4, 24, 24, 0, 0};
    uint32_t w, x = embed(n, 96, &w), hidden = x;
    llrt_op *const op = add_op(n, LLRT_OP_POSITION, INS(x), 1, 96);
    op->weight[0] = add_matrix(n, 96, 210);
    op->u.position.offset = 2;
    x = op->out;
    for (n->layer = 0; n->layer < 4; n->layer++) {
        const uint32_t y = norm(n, LLRT_OP_LAYER_NORM, x, n->layer == 3 ? 0 : 2, 0);
        const uint32_t qkv = linear(n, y, 1, 3 * 96, true);
        uint32_t part[3];
        for (uint32_t i = 0; i < 3; i++) {
            llrt_op *const slice = add_op(n, LLRT_OP_SLICE, INS(qkv), 4, 24);
            slice->u.slice.begin = i * 96;
            part[i] = slice->out;
        }
        x = binary(n, LLRT_OP_ADD, x,
                   linear(n, attend(n, part[0], part[1], part[2], a), 1, 96, true));
        const uint32_t z = norm(n, LLRT_OP_LAYER_NORM, x, n->layer == 2 ? 1 : 2, 0);
        hidden = activate(n, linear(n, z, 1, 160, true), LLRT_NONE, n->layer + 1);
        x = binary(n, LLRT_OP_ADD, x, linear(n, hidden, 1, 96, true));
    }
    finish(n, norm(n, LLRT_OP_LAYER_NORM, x, 2, 0), hidden, w);
}

/* What no family of the other two uses. */
static void build_rest(net *n)
{
    uint32_t w, x = embed(n, 64, &w), y = linear(n, x, 1, 64, false);
    for (uint32_t i = 0; i < 8; i++) {
        y = binary(n, LLRT_OP_ADD, y, activate(n, y, LLRT_NONE, i));
        y = binary(n, LLRT_OP_ADD, y, activate(n, x, y, i));
    }
    y = binary(n, LLRT_OP_MUL, x, y);
    y = binary(n, LLRT_OP_SIGMOID_GATE, x, y);
    y = unary(n, LLRT_OP_SCALE, y, 0.37f);
    y = unary(n, LLRT_OP_SOFT_CAP, y, 1.25f);
    y = add_op(n, LLRT_OP_CONCAT, INS(x, y, x), 1, 192)->out;
    y = linear(n, y, 1, 96, true);
    finish(n, y, x, LLRT_NONE);
}

/* ---- Experts ---- */

typedef struct experts {
    uint32_t n_expert, n_used, d_ff;
    llrt_router router;
    uint32_t n_group, n_group_used, is_group_sum, is_normalized;
    float scale, limit, offset;
    llrt_activation act;
    bool has_gate, has_bias, has_choice_bias;
} experts;

/* Makes the router's first experts twins, or its first groups: equal scores for every token. */
static void add_twins(net *n, const llrt_op *router, const experts *e, uint32_t choice_bias)
{
    const uint32_t w = router->weight[0], size = e->n_group > 1 ? e->n_expert / e->n_group : 1;
    memcpy(n->data[w], n->data[w] + size * n->row_bytes[w], size * n->row_bytes[w]);
    const uint32_t bias[2] = {router->weight[1], choice_bias};
    for (int i = 0; i < 2; i++)
        if (bias[i] != LLRT_NONE) memcpy(n->data[bias[i]], n->data[bias[i]] + 4 * size, 4 * size);
}

static uint32_t mix(net *n, uint32_t x, const experts *e)
{
    const uint32_t d = n->value[x].width, logits = linear(n, x, 1, e->n_expert, e->has_bias);
    const llrt_op *const router = &n->op[n->program.n_op - 1];
    llrt_op *const op = add_op(n, LLRT_OP_EXPERTS, INS(x, logits), 1, d);
    if (e->has_gate) op->weight[0] = add_stack(n, d, e->d_ff, e->n_expert);
    op->weight[1] = add_stack(n, d, e->d_ff, e->n_expert);
    op->weight[2] = add_stack(n, e->d_ff, d, e->n_expert);
    if (e->has_bias) {
        if (e->has_gate)
            op->weight[3] = add_tensor(n, "bias", 0, (const uint64_t[]){e->d_ff, e->n_expert, 1});
        op->weight[4] = add_tensor(n, "bias", 0, (const uint64_t[]){e->d_ff, e->n_expert, 1});
        op->weight[5] = add_tensor(n, "bias", 0, (const uint64_t[]){d, e->n_expert, 1});
    }
    if (e->has_choice_bias) op->weight[6] = add_range(n, e->n_expert, -0.2f, 0.2f);
    add_twins(n, router, e, op->weight[6]);
    op->u.experts.n_used = e->n_used;
    op->u.experts.router = e->router;
    op->u.experts.n_group = e->n_group;
    op->u.experts.n_group_used = e->n_group_used;
    op->u.experts.is_group_sum = e->is_group_sum;
    op->u.experts.is_normalized = e->is_normalized;
    op->u.experts.scale = e->scale;
    op->u.experts.act = e->act;
    op->u.experts.limit = e->limit;
    op->u.experts.offset = e->offset;
    return op->out;
}

static uint32_t attend_to(net *n, uint32_t y, attention a)
{
    uint32_t q = linear(n, y, a.n_head, a.k_dim, true);
    uint32_t k = linear(n, y, a.n_kv_head, a.k_dim, false);
    const uint32_t v = linear(n, y, a.n_kv_head, a.v_dim, false);
    q = rope(n, q, LLRT_ROPE_HALVES, a.k_dim, 1.0f);
    k = rope(n, k, LLRT_ROPE_HALVES, a.k_dim, 1.0f);
    return linear(n, attend(n, q, k, v, a), 1, n->value[y].width, false);
}

static void build_experts(net *n)
{
    static const experts kinds[4] = {{.n_expert = 8,
                                      .n_used = 2,
                                      .d_ff = 64,
                                      .router = LLRT_ROUTER_SOFTMAX,
                                      .is_normalized = 1,
                                      .scale = 1.0f,
                                      .act = LLRT_ACT_SILU,
                                      .has_gate = true},
                                     {.n_expert = 6,
                                      .n_used = 4,
                                      .d_ff = 32,
                                      .router = LLRT_ROUTER_SOFTMAX_CHOSEN,
                                      .scale = 1.0f,
                                      .act = LLRT_ACT_GELU_QUICK,
                                      .limit = 0.5f,
                                      .offset = 1.0f,
                                      .has_gate = true,
                                      .has_bias = true},
                                     {.n_expert = 16,
                                      .n_used = 3,
                                      .d_ff = 256,
                                      .router = LLRT_ROUTER_SIGMOID,
                                      .n_group = 4,
                                      .n_group_used = 2,
                                      .is_group_sum = 1,
                                      .is_normalized = 1,
                                      .scale = 2.5f,
                                      .act = LLRT_ACT_GELU,
                                      .has_gate = true,
                                      .has_choice_bias = true},
                                     {.n_expert = 8,
                                      .n_used = 2,
                                      .d_ff = 32,
                                      .router = LLRT_ROUTER_SOFTMAX,
                                      .n_group = 4,
                                      .n_group_used = 1,
                                      .scale = 1.5f,
                                      .act = LLRT_ACT_RELU2,
                                      .has_bias = true}};
    static const attention attentions[3] = {
        {4, 2, 16, 16, 20, 0, .group = LLRT_KV_GROUP_WINDOW, .has_sinks = true},
        {4, 2, 16, 16, 0, 0, .has_sinks = true},
        {2, 2, 32, 16, 40, 30.0f, .group = LLRT_KV_GROUP_WINDOW}};
    uint32_t w, x = embed(n, 256, &w), hidden = x;
    for (n->layer = 0; n->layer < 3; n->layer++) {
        const uint32_t y = norm(n, LLRT_OP_RMS_NORM, x, 1, 1.0f);
        x = binary(n, LLRT_OP_ADD, x, attend_to(n, y, attentions[n->layer]));
        const uint32_t z = norm(n, LLRT_OP_RMS_NORM, x, 1, 1.0f);
        const uint32_t shared =
            activate(n, linear(n, z, 1, 64, false), linear(n, z, 1, 64, false), LLRT_ACT_SILU);
        n->op[n->program.n_op - 1].u.act.limit = 0.75f;
        n->op[n->program.n_op - 1].u.act.offset = n->layer == 1 ? 0.5f : 0.0f;
        hidden = mix(n, z, &kinds[n->layer]);
        x = binary(n, LLRT_OP_ADD, x,
                   binary(n, LLRT_OP_ADD, hidden, linear(n, shared, 1, 256, false)));
    }
    /* experts of the wanted rows only */
    const uint32_t wanted = add_op(n, LLRT_OP_GATHER, INS(x), 1, 256)->out;
    const uint32_t y = mix(n, norm(n, LLRT_OP_RMS_NORM, wanted, 1, 1.0f), &kinds[3]);
    llrt_op *const op = add_op(n, LLRT_OP_HEAD, INS(y), 1, NET_VOCAB);
    op->weight[0] = w;
    n->program.logits = op->out;
    n->output[n->program.n_output++] = op->out;
    n->output[n->program.n_output++] = hidden;
}

/* ---- Recurrent layers ---- */

static uint32_t add_state(net *n, uint32_t n_float)
{
    n->state[n->n_state] = (llrt_state_desc){n_float, n->layer};
    return n->n_state++;
}

static uint32_t convolve(net *n, uint32_t x, uint32_t n_tap, bool has_bias)
{
    const uint32_t width = n->value[x].width;
    llrt_op *const op = add_op(n, LLRT_OP_SHORT_CONV, INS(x), 1, width);
    op->weight[0] = add_tensor(n, "taps", 0, (const uint64_t[]){n_tap, width, 1});
    for (uint64_t i = 0; i < (uint64_t)n_tap * width; i++) {
        const float w = random_float(&n->seed);
        memcpy(n->data[op->weight[0]] + 4 * i, &w, sizeof w);
    }
    if (has_bias) op->weight[1] = add_vector(n, width);
    op->u.conv.state = add_state(n, (n_tap - 1) * width);
    return activate(n, op->out, LLRT_NONE, LLRT_ACT_SILU);
}

static uint32_t slice(net *n, uint32_t x, uint32_t begin, uint32_t n_head, uint32_t width)
{
    llrt_op *const op = add_op(n, LLRT_OP_SLICE, INS(x), n_head, width);
    op->u.slice.begin = begin;
    return op->out;
}

/* Two heads of q and k (16 wide), four of v (8 wide). */
static uint32_t apply_delta(net *n, uint32_t y, bool is_variant)
{
    const uint32_t qkv = convolve(n, linear(n, y, 1, 96, false), is_variant ? 2 : 4, !is_variant);
    uint32_t part[2];
    for (uint32_t i = 0; i < 2; i++) /* of length 1 */
        part[i] = unary(n, LLRT_OP_SCALE,
                        norm(n, LLRT_OP_RMS_NORM, slice(n, qkv, i * 32, 2, 16), 0, 0), 0.25f);
    const uint32_t v = slice(n, qkv, 64, 4, 8), a = linear(n, y, 1, 4, false);
    const uint32_t beta = activate(n, linear(n, y, 1, 4, true), LLRT_NONE, LLRT_ACT_SIGMOID);
    llrt_op *const op = add_op(n, LLRT_OP_GATED_DELTA, INS(part[0], part[1], v, a, beta), 4, 8);
    op->weight[0] = is_variant ? add_range(n, 4, -1.5f, -0.1f) : add_range(n, 4, -2.0f, 0.5f);
    op->weight[1] = add_vector(n, 4);
    op->u.scan.state = add_state(n, 4 * 16 * 8);
    op->u.scan.is_log_a = !is_variant;
    op->u.scan.is_tiled = is_variant;
    const uint32_t out = norm_heads(n, LLRT_OP_RMS_NORM, op->out);
    const uint32_t flat = slice(n, out, 0, 1, 32), gate = linear(n, y, 1, 32, false);
    return linear(n, binary(n, LLRT_OP_SIGMOID_GATE, flat, gate), 1, 64, false);
}

/* Four heads (16 wide), B and C in one or two groups (12 wide). */
static uint32_t apply_scan(net *n, uint32_t y, bool is_variant)
{
    const uint32_t n_group = is_variant ? 1 : 2, n_conv = 64 + 2 * n_group * 12;
    const uint32_t all = linear(n, y, 1, n_conv + 4, false);
    const uint32_t mixed = convolve(n, slice(n, all, 0, 1, n_conv), 3, is_variant);
    const uint32_t x = slice(n, mixed, 0, 4, 16), dt = slice(n, all, n_conv, 1, 4);
    const uint32_t b = slice(n, mixed, 64, n_group, 12);
    const uint32_t c = slice(n, mixed, 64 + n_group * 12, n_group, 12);
    llrt_op *const op = add_op(n, LLRT_OP_SSM_SCAN, INS(x, dt, b, c), 4, 16);
    op->weight[0] = is_variant ? add_range(n, 4, -1.5f, -0.1f) : add_range(n, 4, -2.0f, 0.5f);
    op->weight[1] = add_range(n, 4, -1.0f, 1.0f);
    op->weight[2] = add_range(n, 4, -2.0f, 1.0f);
    op->u.scan.state = add_state(n, 4 * 12 * 16);
    op->u.scan.is_log_a = !is_variant;
    op->u.scan.dt_min = is_variant ? 0.3f : 0.0f;
    op->u.scan.dt_max = is_variant ? 0.9f : INFINITY;
    return linear(n, slice(n, op->out, 0, 1, 64), 1, 64, false);
}

static void build_recurrent(net *n)
{
    static const attention a = {4, 2, 16, 16, 0, 0};
    uint32_t w, x = embed(n, 64, &w), hidden = x;
    for (n->layer = 0; n->layer < 5; n->layer++) {
        const uint32_t y = norm(n, LLRT_OP_RMS_NORM, x, 1, 1.0f);
        hidden = n->layer == 2       ? attend_to(n, y, a)
                 : n->layer % 2 == 0 ? apply_delta(n, y, n->layer == 4)
                                     : apply_scan(n, y, n->layer == 3);
        x = binary(n, LLRT_OP_ADD, x, hidden);
    }
    finish(n, norm(n, LLRT_OP_RMS_NORM, x, 1, 1.0f), hidden, w);
}

/* ---- Latent attention ---- */

static uint32_t head_linear(net *n, uint32_t x, uint32_t width)
{
    const llrt_value v = n->value[x];
    llrt_op *const op = add_op(n, LLRT_OP_HEAD_LINEAR, INS(x), v.n_head, width);
    op->weight[0] = add_stack(n, v.width, width, v.n_head);
    return op->out;
}

static void build_latent(net *n)
{
    static const attention kinds[4] = {
        {4, 1, 32, 24, 0, 0, .v_in_k = 1},
        {4, 2, 32, 20, 20, 0, .group = LLRT_KV_GROUP_WINDOW, .has_sinks = true},
        {4, 2, 32, 24, 0, 3.0f, .has_slopes = true},
        {4, 2, 40, 40, 40, 0, .group = LLRT_KV_GROUP_WINDOW, .v_in_k = 1, .has_sinks = true,
         .has_slopes = true}};
    uint32_t w, x = embed(n, 96, &w), hidden = x;
    for (n->layer = 0; n->layer < 4; n->layer++) {
        const attention a = kinds[n->layer];
        const uint32_t y = norm(n, LLRT_OP_RMS_NORM, x, 1, 1.0f);
        uint32_t q = head_linear(n, linear(n, y, a.n_head, 32, false), a.k_dim), v = LLRT_NONE;
        uint32_t k = linear(n, y, a.n_kv_head, a.k_dim, false);
        q = norm_heads(n, n->layer == 1 ? LLRT_OP_LAYER_NORM : LLRT_OP_RMS_NORM, q);
        k = norm_heads(n, LLRT_OP_RMS_NORM, k);
        if (n->layer < 2) {
            q = rope(n, q, n->layer ? LLRT_ROPE_HALVES : LLRT_ROPE_ADJACENT, 24, 1.0f);
            n->op[n->program.n_op - 1].u.rope.axis = n->axis;
            k = rope(n, k, n->layer ? LLRT_ROPE_HALVES : LLRT_ROPE_ADJACENT, 24, 1.0f);
            n->op[n->program.n_op - 1].u.rope.axis = n->axis;
        } else {
            q = rope(n, q, LLRT_ROPE_HALVES, 8, 1.0f);
            k = rope(n, k, LLRT_ROPE_HALVES, 8, 1.0f);
        }
        if (!a.v_in_k) v = linear(n, y, a.n_kv_head, a.v_dim, true);
        hidden = head_linear(n, attend(n, q, k, v, a), 16);
        x = binary(n, LLRT_OP_ADD, x, linear(n, hidden, 1, 96, false));
    }
    finish(n, norm(n, LLRT_OP_RMS_NORM, x, 1, 1.0f), hidden, LLRT_NONE);
}

/* ---- Encoder ---- */

static void build_encoder(net *n)
{
    static const attention kinds[3] = {
        {4, 4, 24, 24, 0, 0, .mask = LLRT_MASK_FULL},
        {4, 2, 24, 24, 31, 0, .mask = LLRT_MASK_FULL, .group = LLRT_KV_GROUP_WINDOW},
        {4, 4, 24, 16, 0, 8.0f, .mask = LLRT_MASK_FULL, .has_sinks = true, .has_slopes = true}};
    uint32_t w, x = embed(n, 96, &w), hidden = x;
    n->is_whole = true;
    llrt_op *op = add_op(n, LLRT_OP_POSITION, INS(x), 1, 96);
    op->weight[0] = add_matrix(n, 96, 80);
    op = add_op(n, LLRT_OP_TOKEN_TYPE, INS(op->out), 1, 96);
    op->weight[0] = add_matrix(n, 96, 3);
    x = norm(n, LLRT_OP_LAYER_NORM, op->out, 2, 0);
    for (n->layer = 0; n->layer < 3; n->layer++) {
        x = norm(n, LLRT_OP_LAYER_NORM, binary(n, LLRT_OP_ADD, x, attend_to(n, x, kinds[n->layer])),
                 2, 0);
        hidden = activate(n, linear(n, x, 1, 128, true), LLRT_NONE, LLRT_ACT_GELU);
        hidden = linear(n, hidden, 1, 96, true);
        x = norm(n, LLRT_OP_LAYER_NORM, binary(n, LLRT_OP_ADD, x, hidden), 2, 0);
    }
    finish(n, x, hidden, w);
}

net *net_create(uint32_t kind, bool is_float)
{
    static const struct {
        const char *name;
        void (*build)(net *n);
    } kinds[NET_KINDS] = {{"gated", build_gated},         {"sliced", build_sliced},
                          {"rest", build_rest},           {"experts", build_experts},
                          {"recurrent", build_recurrent}, {"latent", build_latent},
                          {"encoder", build_encoder}};
    net *const n = calloc(1, sizeof *n);
    n->name = kinds[kind].name;
    n->seed = 12345 + kind;
    n->next_type = kind;
    n->is_float = is_float;
    for (int i = 0; i < 64; i++) n->inv_freq[i] = (float)pow(10000.0, -(double)i / 16.0);
    for (int i = 0; i < 16; i++) n->slope[i] = (float)pow(2.0, -1.0 - i);
    for (int i = 0; i < 64; i++) n->axis[i] = (uint8_t)(i % 5 % 3);
    n->program.logits = LLRT_NONE;
    kinds[kind].build(n);
    n->program.value = n->value;
    n->program.op = n->op;
    n->program.output = n->output;
    return n;
}

uint64_t net_rows(const net *n, uint32_t tensor)
{
    const llrt_tensor_desc *const t = &n->tensor[tensor];
    return t->dim[1] * t->dim[2] * t->dim[3];
}

uint32_t net_window(const net *n, uint32_t group)
{
    uint32_t window = 0;
    for (uint32_t i = 0; i < n->program.n_op; i++) {
        const llrt_op *const op = &n->op[i];
        if (op->kind == LLRT_OP_ATTENTION && n->kv[op->u.attention.kv].group == group &&
            op->u.attention.window > window)
            window = op->u.attention.window;
    }
    return window;
}

void net_free(net *n)
{
    for (uint32_t i = 0; i < n->n_tensor; i++) free(n->data[i]);
    free(n);
}

llrt_model_desc net_desc(const net *n, llrt_type kv_type, llrt_precision precision)
{
    return (llrt_model_desc){.struct_size = sizeof(llrt_model_desc),
                             .n_tensor = n->n_tensor,
                             .n_program = 1,
                             .n_kv = n->n_kv,
                             .n_state = n->n_state,
                             .n_device = 1,
                             .tensor = n->tensor,
                             .program = &n->program,
                             .kv = n->kv,
                             .state = n->state,
                             .kv_type = kv_type,
                             .precision = precision};
}

size_t net_kv_bytes(llrt_type kv_type, size_t n)
{
    switch (kv_type) {
    case LLRT_TYPE_F32:
        return 4 * n;
    case LLRT_TYPE_Q8_0:
        return (n + 31) / 32 * 34;
    default:
        return 2 * n;
    }
}

/* ---- Host ---- */

static void *host_alloc(void *ctx, size_t size, size_t align, llrt_memory kind)
{
    counting_host *const c = ctx;
    void *p;
    if (++c->n_alloc == c->fail_at || posix_memalign(&p, align, size) != 0) return NULL;
    memset(p, 0xff, size);
    c->bytes[kind] += size;
    c->total += size;
    return p;
}

static void host_free(void *ctx, void *p, size_t size, size_t align, llrt_memory kind)
{
    counting_host *const c = ctx;
    c->bytes[kind] -= size;
    c->total -= size;
    free(p);
}

static void host_log(void *ctx, llrt_log_level level, const char *text)
{
    fprintf(stderr, "log %d: %s\n", level, text);
}

static void host_parallel_for(void *ctx, uint32_t n_task,
                              void (*task)(void *arg, uint32_t task, uint32_t worker), void *arg)
{
    const counting_host *const c = ctx;
    for (uint32_t i = n_task; i-- > 0;) task(arg, i, i % c->host.n_worker);
}

void counting_host_init(counting_host *c)
{
    memset(c, 0, sizeof *c);
    c->host = (llrt_host){sizeof c->host, 3, c, host_alloc, host_free, host_log, host_parallel_for};
}
