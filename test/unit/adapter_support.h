/* SPDX-License-Identifier: MIT */
/*
 * What the tests of adapters share: a tiny Llama as a table of float weights that is written as a GGUF
 * or as a Hugging Face folder (with q and k arranged as either has them), LoRA adapters of either
 * kind, and the same model with adapters multiplied into its weights. Include after cmocka.h.
 */
#ifndef ADAPTER_SUPPORT_H
#define ADAPTER_SUPPORT_H

#include <math.h>

#include "engine_support.h"
#include "memory_files.h"

enum {
    NET_D = 28,
    NET_HEAD = 4,
    NET_KV = 2,
    NET_HEAD_DIM = 6,
    NET_FF = 37,
    NET_LAYER = 3,
    NET_WEIGHTS = 3 + 9 * NET_LAYER,
    NET_CHANGES = 24
};

typedef struct net_weight {
    char gguf[64], hf[96]; /* with ".weight" */
    uint32_t d_in, d_out;  /* d_out 1: a vector */
    uint32_t n_head;       /* of q and k: GGUF files have the rows of each permuted; else 0 */
    float *data;           /* as safetensors files have it */
} net_weight;

typedef struct net {
    net_weight weight[NET_WEIGHTS];
} net;

static inline float next_float(uint64_t *seed, float range)
{
    return ((float)(next_random(seed) >> 8) * 0x1p-23f - 1.0f) * range;
}

static inline void net_init(net *m, uint64_t seed)
{
    static const struct {
        const char *gguf, *hf;
        uint32_t d_in, d_out, n_head;
    } layer[] = {{"attn_norm", "input_layernorm", NET_D, 1, 0},
                 {"attn_q", "self_attn.q_proj", NET_D, NET_HEAD * NET_HEAD_DIM, NET_HEAD},
                 {"attn_k", "self_attn.k_proj", NET_D, NET_KV * NET_HEAD_DIM, NET_KV},
                 {"attn_v", "self_attn.v_proj", NET_D, NET_KV * NET_HEAD_DIM, 0},
                 {"attn_output", "self_attn.o_proj", NET_HEAD * NET_HEAD_DIM, NET_D, 0},
                 {"ffn_norm", "post_attention_layernorm", NET_D, 1, 0},
                 {"ffn_gate", "mlp.gate_proj", NET_D, NET_FF, 0},
                 {"ffn_up", "mlp.up_proj", NET_D, NET_FF, 0},
                 {"ffn_down", "mlp.down_proj", NET_FF, NET_D, 0}};
    net_weight *w = m->weight;
    memset(m, 0, sizeof *m);
    *w++ = (net_weight){"token_embd.weight", "model.embed_tokens.weight", NET_D, TINY_VOCAB, 0, 0};
    *w++ = (net_weight){"output_norm.weight", "model.norm.weight", NET_D, 1, 0, 0};
    *w++ = (net_weight){"output.weight", "lm_head.weight", NET_D, TINY_VOCAB, 0, 0};
    for (int l = 0; l < NET_LAYER; l++) {
        for (size_t i = 0; i < sizeof layer / sizeof layer[0]; i++, w++) {
            snprintf(w->gguf, sizeof w->gguf, "blk.%d.%s.weight", l, layer[i].gguf);
            snprintf(w->hf, sizeof w->hf, "model.layers.%d.%s.weight", l, layer[i].hf);
            w->d_in = layer[i].d_in;
            w->d_out = layer[i].d_out;
            w->n_head = layer[i].n_head;
        }
    }
    for (size_t i = 0; i < NET_WEIGHTS; i++) {
        w = &m->weight[i];
        const size_t n = (size_t)w->d_in * w->d_out;
        w->data = malloc(n * sizeof *w->data);
        for (size_t k = 0; k < n; k++)
            w->data[k] = w->d_out == 1 ? 1.0f + next_float(&seed, 0.05f) : next_float(&seed, 0.4f);
    }
}

static inline void net_free(net *m)
{
    for (size_t i = 0; i < NET_WEIGHTS; i++) free(m->weight[i].data);
}

static inline net_weight *net_find(net *m, const char *gguf)
{
    for (size_t i = 0; i < NET_WEIGHTS; i++)
        if (strncmp(m->weight[i].gguf, gguf, strlen(gguf)) == 0 &&
            m->weight[i].gguf[strlen(gguf)] == '.')
            return &m->weight[i];
    fail();
    return NULL;
}

/* Rows as a GGUF has them; the caller frees. Row 2 i + j of a head is row i + j * n / 2. */
static inline float *gguf_rows(const float *rows, size_t n_row, size_t width, uint32_t n_head)
{
    float *const out = malloc(n_row * width * sizeof *out);
    const size_t n = n_head ? n_row / n_head : n_row;
    for (size_t r = 0; r < n_row; r++) {
        const size_t head = r / n, i = r % n / 2, j = r % 2;
        const size_t from = n_head ? head * n + i + j * (n / 2) : r;
        memcpy(out + r * width, rows + from * width, width * sizeof *out);
    }
    return out;
}

static inline void *net_gguf(const net *m, size_t *n)
{
    gguf_writer w;
    gw_init(&w);
    gw_string(&w, "general.architecture", "llama");
    gw_u32(&w, "llama.context_length", TINY_CTX);
    gw_u32(&w, "llama.embedding_length", NET_D);
    gw_u32(&w, "llama.block_count", NET_LAYER);
    gw_u32(&w, "llama.feed_forward_length", NET_FF);
    gw_u32(&w, "llama.attention.head_count", NET_HEAD);
    gw_u32(&w, "llama.attention.head_count_kv", NET_KV);
    gw_u32(&w, "llama.attention.key_length", NET_HEAD_DIM);
    gw_u32(&w, "llama.attention.value_length", NET_HEAD_DIM);
    gw_u32(&w, "llama.rope.dimension_count", NET_HEAD_DIM);
    gw_f32(&w, "llama.attention.layer_norm_rms_epsilon", 1e-5f);
    for (size_t i = 0; i < NET_WEIGHTS; i++) {
        const net_weight *const t = &m->weight[i];
        const uint64_t dim[2] = {t->d_in, t->d_out};
        float *const rows = gguf_rows(t->data, t->d_out, t->d_in, t->n_head);
        gw_tensor(&w, t->gguf, 0, t->d_out == 1 ? 1 : 2, dim, rows,
                  (size_t)t->d_in * t->d_out * sizeof *rows);
        free(rows);
    }
    return gw_finish(&w, n);
}

/* A safetensors file of float32 tensors that is put together one by one. */
typedef struct st_writer {
    gw_buffer header, data;
} st_writer;

static inline void st_add(st_writer *w, const char *name, uint32_t n_row, uint32_t width,
                          const float *data)
{
    char text[512];
    const size_t n_byte = (size_t)n_row * width * sizeof *data;
    char shape[48];
    if (n_row == 1)
        snprintf(shape, sizeof shape, "%u", width);
    else
        snprintf(shape, sizeof shape, "%u,%u", n_row, width);
    snprintf(text, sizeof text,
             "%c\"%s\":{\"dtype\":\"F32\",\"shape\":[%s],\"data_offsets\":[%zu,%zu]}",
             w->header.n ? ',' : '{', name, shape, w->data.n, w->data.n + n_byte);
    gw_put(&w->header, text, strlen(text));
    gw_put(&w->data, data, n_byte);
}

static inline void *st_finish(st_writer *w, size_t *n)
{
    gw_buffer out = {0};
    gw_put(&w->header, "}", 1);
    while (w->header.n % 8) gw_put(&w->header, " ", 1);
    gw_put_number(&out, w->header.n, 8);
    gw_put(&out, w->header.data, w->header.n);
    gw_put(&out, w->data.data, w->data.n);
    free(w->header.data);
    free(w->data.data);
    memset(w, 0, sizeof *w);
    *n = out.n;
    return out.data;
}

static inline void *net_safetensors(const net *m, size_t *n)
{
    st_writer w = {0};
    for (size_t i = 0; i < NET_WEIGHTS; i++)
        st_add(&w, m->weight[i].hf, m->weight[i].d_out, m->weight[i].d_in, m->weight[i].data);
    return st_finish(&w, n);
}

static const char net_config[] =
    "{\"model_type\":\"llama\",\"hidden_size\":28,\"intermediate_size\":37,"
    "\"num_attention_heads\":4,\"num_key_value_heads\":2,\"num_hidden_layers\":3,\"head_dim\":6,"
    "\"vocab_size\":61,\"max_position_embeddings\":512,\"rms_norm_eps\":1e-5,"
    "\"tie_word_embeddings\":false,\"hidden_act\":\"silu\"}";

/* ---- Adapters ---- */

typedef struct net_change {
    const net_weight *weight;
    uint32_t rank;
    float *a, *b; /* (rank, d_in); (d_out, rank) as safetensors files have the rows */
} net_change;

typedef struct net_lora {
    size_t n;
    float alpha;
    uint32_t rank;
    net_change change[NET_CHANGES];
} net_lora;

static inline void lora_add(net_lora *lora, net *m, const char *gguf, uint64_t *seed)
{
    net_change *const c = &lora->change[lora->n++];
    c->weight = net_find(m, gguf);
    c->rank = lora->rank;
    c->a = malloc((size_t)c->rank * c->weight->d_in * sizeof *c->a);
    c->b = malloc((size_t)c->rank * c->weight->d_out * sizeof *c->b);
    for (size_t i = 0; i < (size_t)c->rank * c->weight->d_in; i++) c->a[i] = next_float(seed, 0.3f);
    for (size_t i = 0; i < (size_t)c->rank * c->weight->d_out; i++)
        c->b[i] = next_float(seed, 0.3f);
}

/* Changes every kind of matrix, in all layers but the second, and the head. */
static inline void lora_init(net_lora *lora, net *m, uint64_t seed, uint32_t rank, float alpha)
{
    static const char *const names[] = {"attn_q",   "attn_k", "attn_v",  "attn_output",
                                        "ffn_gate", "ffn_up", "ffn_down"};
    memset(lora, 0, sizeof *lora);
    lora->rank = rank;
    lora->alpha = alpha;
    for (int layer = 0; layer < NET_LAYER; layer += 2) {
        for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
            char name[64];
            snprintf(name, sizeof name, "blk.%d.%s", layer, names[i]);
            lora_add(lora, m, name, &seed);
        }
    }
    lora_add(lora, m, "output", &seed);
}

static inline void lora_free(net_lora *lora)
{
    for (size_t i = 0; i < lora->n; i++) {
        free(lora->change[i].a);
        free(lora->change[i].b);
    }
}

/* Multiplies an adapter into the weights. */
static inline void lora_merge(const net_lora *lora, net *m, double scale)
{
    for (size_t i = 0; i < lora->n; i++) {
        const net_change *const c = &lora->change[i];
        char name[64];
        snprintf(name, sizeof name, "%.*s", (int)(strlen(c->weight->gguf) - 7), c->weight->gguf);
        net_weight *const w = net_find(m, name);
        for (uint32_t o = 0; o < w->d_out; o++) {
            for (uint32_t k = 0; k < w->d_in; k++) {
                double sum = 0;
                for (uint32_t r = 0; r < c->rank; r++)
                    sum += (double)c->b[o * c->rank + r] * c->a[r * w->d_in + k];
                w->data[o * w->d_in + k] += (float)(scale * lora->alpha / c->rank * sum);
            }
        }
    }
}

static inline void *lora_gguf(const net_lora *lora, const char *architecture, size_t *n)
{
    gguf_writer w;
    char name[96];
    gw_init(&w);
    gw_string(&w, "general.type", "adapter");
    gw_string(&w, "general.architecture", architecture);
    gw_string(&w, "adapter.type", "lora");
    gw_f32(&w, "adapter.lora.alpha", lora->alpha);
    for (size_t i = 0; i < lora->n; i++) {
        const net_change *const c = &lora->change[i];
        const uint64_t dim_a[2] = {c->weight->d_in, c->rank},
                       dim_b[2] = {c->rank, c->weight->d_out};
        float *const rows = gguf_rows(c->b, c->weight->d_out, c->rank, c->weight->n_head);
        snprintf(name, sizeof name, "%s.lora_a", c->weight->gguf);
        gw_tensor(&w, name, 0, 2, dim_a, c->a, (size_t)dim_a[0] * dim_a[1] * 4);
        snprintf(name, sizeof name, "%s.lora_b", c->weight->gguf);
        gw_tensor(&w, name, 0, 2, dim_b, rows, (size_t)dim_b[0] * dim_b[1] * 4);
        free(rows);
    }
    return gw_finish(&w, n);
}

static inline void *lora_safetensors(const net_lora *lora, size_t *n)
{
    st_writer w = {0};
    char name[160];
    for (size_t i = 0; i < lora->n; i++) {
        const net_change *const c = &lora->change[i];
        const int n_name = (int)strlen(c->weight->hf) - 7;
        snprintf(name, sizeof name, "base_model.model.%.*s.lora_A.weight", n_name, c->weight->hf);
        st_add(&w, name, c->rank, c->weight->d_in, c->a);
        snprintf(name, sizeof name, "base_model.model.%.*s.lora_B.weight", n_name, c->weight->hf);
        st_add(&w, name, c->weight->d_out, c->rank, c->b);
    }
    return st_finish(&w, n);
}

#endif
