/* SPDX-License-Identifier: MIT */
/*
 * Builds the networks of small_net.h. Matrices take the element types in turn, norms and biases are float32;
 * quantised blocks are pseudo-random bytes whose float16 scales are small positive numbers.
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

static uint32_t add_tensor(net *n, const char *prefix, size_t format, uint64_t d0, uint64_t d1)
{
    const uint32_t i = n->n_tensor++;
    snprintf(n->tensor_name[i], sizeof n->tensor_name[i], "%s.%u", prefix, i);
    n->tensor[i] =
        (llrt_tensor_desc){n->tensor_name[i], formats[format].type, d1 > 1 ? 2 : 1, {d0, d1, 1, 1}};
    n->row_bytes[i] = d0 / formats[format].block * formats[format].bytes;
    n->data[i] = malloc(n->row_bytes[i] * d1);
    for (size_t b = 0; b < d0 / formats[format].block * d1; b++)
        fill_block(n->data[i] + b * formats[format].bytes, format, &n->seed);
    return i;
}

static uint32_t add_vector(net *n, uint64_t d)
{
    return add_tensor(n, "vector", 0, d, 1);
}

static uint32_t add_matrix(net *n, uint64_t d_in, uint64_t d_out)
{
    size_t format;
    do format = n->next_type++ % N_FORMAT;
    while (d_in % formats[format].block);
    return add_tensor(n, "matrix", format, d_in, d_out);
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
} attention;

static uint32_t attend(net *n, uint32_t q, uint32_t k, uint32_t v, attention a)
{
    llrt_op *const op = add_op(n, LLRT_OP_ATTENTION, INS(q, k, v), a.n_head, a.v_dim);
    op->u.attention.kv = n->n_kv;
    op->u.attention.scale = 1.0f / sqrtf((float)a.k_dim);
    op->u.attention.soft_cap = a.soft_cap;
    op->u.attention.window = a.window;
    n->kv[n->n_kv++] = (llrt_kv_desc){a.n_kv_head, a.k_dim, a.v_dim, n->layer};
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

/* Grouped queries, windows, soft caps, both pairings of rope, norms of heads, every gated activation in turn. */
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
    op->weight[0] = add_matrix(n, 96, 140);
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

net *net_create(uint32_t kind)
{
    static const char *const names[NET_KINDS] = {"gated", "sliced", "rest"};
    net *const n = calloc(1, sizeof *n);
    n->name = names[kind];
    n->seed = 12345 + kind;
    n->next_type = kind;
    for (int i = 0; i < 64; i++) n->inv_freq[i] = (float)pow(10000.0, -(double)i / 16.0);
    n->program.logits = LLRT_NONE;
    if (kind == 0)
        build_gated(n);
    else if (kind == 1)
        build_sliced(n);
    else
        build_rest(n);
    n->program.value = n->value;
    n->program.op = n->op;
    n->program.output = n->output;
    return n;
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
                             .n_device = 1,
                             .tensor = n->tensor,
                             .program = &n->program,
                             .kv = n->kv,
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
