/* SPDX-License-Identifier: MIT */
/*
 * Model files of either kind made from a line of options and a line of tensors, all zeros, for
 * tests of the families: opened, or opened with something different about them.
 */
#ifndef FAMILY_FILES_H
#define FAMILY_FILES_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "gguf_writer.h"
#include "memory_files.h"
#include "model.h"
#include "test_support.h"

/*
 * A file: options "key=value key=value", where a later one replaces an earlier one and no value
 * takes it away; values are JSON, or for a GGUF u, f, b or s and the value, or a (l) and a list of
 * whole numbers (of booleans, 0 or 1). Tensors are "name:8x11", row length first; '#' stands for both layers, '@' for
 * four experts, ".weight" is added to names that don't end in ".bias" or '!', which is dropped. A
 * '?' in front says that the file may lack it, a 'u' behind that its elements are bytes, an 'h' that
 * they are BF16 (of a folder).
 */
typedef struct family_case {
    const char *title, *arch; /* model_type or general.architecture */
    bool is_gguf;
    const char *options, *tensors;
} family_case;

/* Options and tensors that many families share: width 8, 2 heads over 1, two layers. */
#define HF_SIZES                                                                                   \
    "vocab_size=11 hidden_size=8 intermediate_size=12 num_hidden_layers=2 num_attention_heads=2 "  \
    "max_position_embeddings=16 "
#define HF_GROUPED HF_SIZES "num_key_value_heads=1 "
#define GG_SIZES                                                                                   \
    "block_count=u2 context_length=u16 embedding_length=u8 feed_forward_length=u12 "               \
    "attention.head_count=u2 "
#define GG_RMS GG_SIZES "attention.head_count_kv=u1 attention.layer_norm_rms_epsilon=f1e-5 "
#define GG_LAYER GG_SIZES "attention.layer_norm_epsilon=f1e-5 "

#define HF_ENDS "model.embed_tokens:8x11 model.norm:8 ?lm_head:8x11 "
#define HF_QKVO                                                                                    \
    "model.layers.#.self_attn.q_proj:8x8 model.layers.#.self_attn.k_proj:8x4 "                     \
    "model.layers.#.self_attn.v_proj:8x4 model.layers.#.self_attn.o_proj:8x8 "
#define HF_QKV_BIAS                                                                                \
    "model.layers.#.self_attn.q_proj.bias:8 model.layers.#.self_attn.k_proj.bias:4 "               \
    "model.layers.#.self_attn.v_proj.bias:4 "
#define HF_DOWN "model.layers.#.mlp.down_proj:12x8 "
#define HF_GATED "model.layers.#.mlp.gate_proj:8x12 model.layers.#.mlp.up_proj:8x12 " HF_DOWN
#define HF_NORM_IN "model.layers.#.input_layernorm:8 "
#define HF_NORM_POST "model.layers.#.post_attention_layernorm:8 "
#define GG_ENDS "token_embd:8x11 output_norm:8 ?output:8x11 "
#define GG_OUT "blk.#.attn_output:8x8 "
#define GG_QKVO "blk.#.attn_q:8x8 blk.#.attn_k:8x4 blk.#.attn_v:8x4 " GG_OUT
#define GG_GATED "blk.#.ffn_gate:8x12 blk.#.ffn_up:8x12 blk.#.ffn_down:12x8 "
#define GG_PLAIN "blk.#.ffn_up:8x12 blk.#.ffn_down:12x8 "
#define GG_PLAIN_BIAS "blk.#.ffn_up.bias:12 blk.#.ffn_down.bias:8 "
#define GG_NORMS "blk.#.attn_norm:8 blk.#.ffn_norm:8 "
#define GG_NORM_BIAS "blk.#.attn_norm.bias:8 blk.#.ffn_norm.bias:8 output_norm.bias:8 "

typedef struct opened {
    llrti_mem mem;
    test_heap heap;
    memory_files files;
    llrt_source source;
    llrti_model_file *file;
    llrti_model *model;
    uint8_t *bytes;
    char config[2048];
    llrt_error err;
} opened;

/* What is to be different from the case. */
typedef struct change {
    const char *options; /* further ones */
    const char *drop;    /* full name of a tensor to leave out ... */
    const char *reshape; /* ... or whose rows are one element longer */
    const char *tensors; /* further ones */
    const char *side;    /* text of 1_Pooling/config.json */
} change;

/* The next word of a list; its length, 0 at the end. */
static inline size_t next_word(const char **at)
{
    *at += strspn(*at, " ");
    return strcspn(*at, " ");
}

/* The option is given again later in the list. */
static inline bool is_replaced(const char *rest, const char *word, size_t n)
{
    const size_t n_key = strcspn(word, "=") + 1;
    for (const char *p = rest; (n = next_word(&p)) > 0; p += n)
        if (n >= n_key && memcmp(p, word, n_key) == 0) return true;
    return false;
}

static inline void put_json(opened *o, const char *arch, const char *options)
{
    size_t at = (size_t)snprintf(o->config, sizeof o->config, "{\"model_type\":\"%s\"", arch), n;
    for (const char *p = options; (n = next_word(&p)) > 0; p += n) {
        const size_t n_key = strcspn(p, "=");
        if (n == n_key + 1 || is_replaced(p + n, p, n)) continue;
        at += (size_t)snprintf(o->config + at, sizeof o->config - at, ",\"%.*s\":%.*s", (int)n_key,
                               p, (int)(n - n_key - 1), p + n_key + 1);
    }
    snprintf(o->config + at, sizeof o->config - at, "}");
    for (char *c = o->config; *c; c++)
        if (*c == '\'') *c = '"';
}

static inline void put_list(gguf_writer *w, const char *key, const char *value, bool is_bool)
{
    uint32_t n = 1;
    for (const char *p = value; *p; p++) n += *p == ',';
    gw_array(w, key, is_bool ? 7 : 4, n);
    char *end = (char *)(uintptr_t)value;
    for (const char *p = value; n--; p = end + 1)
        gw_put_number(&w->metas, strtoul(p, &end, 10), is_bool ? 1 : 4);
}

static inline void put_metas(gguf_writer *w, const char *arch, const char *options)
{
    size_t n;
    gw_string(w, "general.architecture", arch);
    for (const char *p = options; (n = next_word(&p)) > 0; p += n) {
        char key[128], value[128];
        const size_t n_key = strcspn(p, "=");
        if (n == n_key + 1 || is_replaced(p + n, p, n)) continue;
        snprintf(key, sizeof key, "%s.%.*s", arch, (int)n_key, p);
        snprintf(value, sizeof value, "%.*s", (int)(n - n_key - 2), p + n_key + 2);
        const char kind = p[n_key + 1];
        if (kind == 'u') gw_u32(w, key, (uint32_t)strtoul(value, NULL, 10));
        if (kind == 'f') gw_f32(w, key, strtof(value, NULL));
        if (kind == 'b') gw_bool(w, key, value[0] == '1');
        if (kind == 's') gw_string(w, key, value);
        if (kind == 'a' || kind == 'l') put_list(w, key, value, kind == 'l');
    }
}

typedef struct shape {
    char name[128];
    uint64_t dim[4];
    uint32_t n_dim;
    bool is_optional, is_bytes, is_bf16;
} shape;

static inline size_t size_of_shape(const shape *s)
{
    return (size_t)(s->dim[0] * s->dim[1] * s->dim[2] * s->dim[3]) * (s->is_bytes  ? 1
                                                                      : s->is_bf16 ? 2
                                                                                   : sizeof(float));
}

/* The name with its numbers, and ".weight" where it belongs. */
static inline void expand_name(const char *name, int n_name, int layer, int expert, char out[128])
{
    size_t n = 0;
    const bool is_plain = name[n_name - 1] == '!';
    const bool is_bias = n_name > 5 && memcmp(name + n_name - 5, ".bias", 5) == 0;
    for (int i = 0; i < n_name - is_plain; i++) {
        if (name[i] == '#' || name[i] == '@')
            n += (size_t)snprintf(out + n, 128 - n, "%d", name[i] == '#' ? layer : expert);
        else
            out[n++] = name[i];
    }
    snprintf(out + n, 128 - n, "%s", is_plain || is_bias ? "" : ".weight");
}

/* The tensors of a list, both layers; their number. */
static inline size_t read_shapes(const char *list, shape *out, size_t room)
{
    size_t n_shape = 0, n;
    for (const char *p = list; (n = next_word(&p)) > 0; p += n) {
        const bool is_optional = *p == '?';
        const char *const name = p + is_optional, *const colon = memchr(p, ':', n);
        assert_non_null(colon);
        const int n_name = (int)(colon - name);
        const int n_layer = memchr(name, '#', (size_t)n_name) ? 2 : 1;
        const int n_expert = memchr(name, '@', (size_t)n_name) ? 4 : 1;
        for (int i = 0; i < n_layer * n_expert; i++) {
            shape *const s = &out[n_shape++];
            assert_true(n_shape <= room);
            *s = (shape){.dim = {1, 1, 1, 1}, .is_optional = is_optional};
            expand_name(name, n_name, i / n_expert, i % n_expert, s->name);
            char *end = (char *)(uintptr_t)colon;
            do s->dim[s->n_dim++] = strtoul(end + 1, &end, 10);
            while (*end == 'x' && s->n_dim < 4);
            s->is_bytes = *end == 'u';
            s->is_bf16 = *end == 'h';
        }
    }
    return n_shape;
}

static inline uint8_t *make_safetensors(const shape *s, size_t n, size_t *n_byte)
{
    static char header[32768];
    size_t at = 8, offset = 0;
    for (size_t i = 0; i < n; i++) {
        const size_t size = size_of_shape(&s[i]);
        char dims[64];
        for (uint32_t k = s[i].n_dim, n_dims = 0; k > 0; k--)
            n_dims += (uint32_t)snprintf(dims + n_dims, sizeof dims - n_dims, "%s%u",
                                         k == s[i].n_dim ? "" : ",", (unsigned)s[i].dim[k - 1]);
        at += (size_t)snprintf(header + at, sizeof header - at,
                               "%c\"%s\":{\"dtype\":\"%s\",\"shape\":[%s],\"data_offsets\":[%zu,"
                               "%zu]}",
                               i ? ',' : '{', s[i].name,
                               s[i].is_bytes  ? "U8"
                               : s[i].is_bf16 ? "BF16"
                                              : "F32",
                               dims, offset, offset + size);
        offset += size;
        assert_true(at + 1 < sizeof header);
    }
    header[at++] = '}';
    for (int i = 0; i < 8; i++) header[i] = (char)(((uint64_t)at - 8) >> 8 * i);
    uint8_t *const bytes = calloc(1, at + offset);
    assert_non_null(bytes);
    memcpy(bytes, header, at);
    *n_byte = at + offset;
    return bytes;
}

static inline uint8_t *make_gguf(const family_case *c, const char *options, const shape *s,
                                 size_t n, size_t *n_byte)
{
    static const uint8_t zeros[32768];
    gguf_writer w;
    gw_init(&w);
    put_metas(&w, c->arch, options);
    for (size_t i = 0; i < n; i++)
        gw_tensor(&w, s[i].name, 0, s[i].n_dim, s[i].dim, zeros, size_of_shape(&s[i]));
    return gw_finish(&w, n_byte);
}

static inline llrt_status open_case(opened *o, const family_case *c, const change *how)
{
    static const llrt_error no_error = LLRT_ERROR_INIT;
    static shape all[160];
    char options[1024];
    size_t n_byte, n_shape = read_shapes(c->tensors, all, LLRTI_COUNT(all));
    memset(o, 0, sizeof *o);
    if (how && how->tensors)
        n_shape += read_shapes(how->tensors, all + n_shape, LLRTI_COUNT(all) - n_shape);
    snprintf(options, sizeof options, "%s %s", c->options, how && how->options ? how->options : "");
    for (size_t i = 0; how && i < n_shape; i++) {
        if (how->reshape && strcmp(all[i].name, how->reshape) == 0) all[i].dim[0]++;
        if (!how->drop || strcmp(all[i].name, how->drop) != 0) continue;
        memmove(&all[i], &all[i + 1], (--n_shape - i) * sizeof *all);
    }
    memory_files_init(&o->files, &o->source);
    const char *const path = c->is_gguf ? "m/m.gguf" : "m/model.safetensors";
    if (c->is_gguf) {
        o->bytes = make_gguf(c, options, all, n_shape, &n_byte);
    } else {
        put_json(o, c->arch, options);
        memory_files_add_text(&o->files, "m/config.json", o->config);
        o->bytes = make_safetensors(all, n_shape, &n_byte);
    }
    if (how && how->side) memory_files_add_text(&o->files, "m/1_Pooling/config.json", how->side);
    memory_files_add(&o->files, path, o->bytes, n_byte);
    test_mem_init(&o->mem, &o->heap);
    o->err = no_error;
    const llrti_model_file_options file_options = {.source = &o->source};
    if (llrti_model_file_open(&o->mem, path, &file_options, &o->file, &o->err) < 0)
        fail_msg("%s: %s", c->title, o->err.text);
    return llrti_model_create(&o->mem, o->file, 0, &o->model, &o->err);
}

static inline void close_case(opened *o)
{
    llrti_model_free(o->model);
    llrti_model_file_close(o->file);
    assert_int_equal(o->heap.n_live, 0);
    assert_int_equal(o->files.n_open, 0);
    free(o->bytes);
}

/* ---- What holds for every case ---- */

/*
 * Leaves each tensor out in turn: it is missed, or the file may lack it. Where files name one thing in several ways the
 * name asked for may be another one's (is_by_name false).
 */
static inline void check_missing_tensors(const family_case *cases, size_t n_case, bool is_by_name)
{
    static shape all[160];
    for (size_t i = 0; i < n_case; i++) {
        const size_t n = read_shapes(cases[i].tensors, all, LLRTI_COUNT(all));
        for (size_t k = 0; k < n; k++) {
            opened o;
            const llrt_status status = open_case(&o, &cases[i], &(change){.drop = all[k].name});
            const bool is_named = status == LLRT_ERR_FORMAT && strstr(o.err.text, "missing") &&
                                  (!is_by_name || strstr(o.err.field, all[k].name));
            if (all[k].is_optional ? status < 0 : !is_named)
                fail_msg("%s without %s: %d '%s', %s", cases[i].title, all[k].name, status,
                         o.err.field, o.err.text);
            close_case(&o);
        }
    }
}

/* Lengthens each tensor in turn. */
static inline void check_misshapen_tensors(const family_case *cases, size_t n_case)
{
    static shape all[160];
    for (size_t i = 0; i < n_case; i++) {
        const size_t n = read_shapes(cases[i].tensors, all, LLRTI_COUNT(all));
        for (size_t k = 0; k < n; k++) {
            opened o;
            if (open_case(&o, &cases[i], &(change){.reshape = all[k].name}) != LLRT_ERR_FORMAT ||
                !strstr(o.err.field, all[k].name) || !strstr(o.err.text, "found shape"))
                fail_msg("%s, longer %s: '%s', %s", cases[i].title, all[k].name, o.err.field,
                         o.err.text);
            close_case(&o);
        }
    }
}

/* Fails the 1st, 2nd, 3rd ... allocation of building the model of an opened case. */
static inline void check_allocations(opened *o)
{
    llrti_model_free(o->model);
    o->model = NULL;
    const size_t n_live = o->heap.n_live;
    bool is_done = false;
    for (size_t n = 1; !is_done; n++) {
        llrti_model *model = NULL;
        o->heap.n_call = 0;
        o->heap.fail_at = n;
        const llrt_status status = llrti_model_create(&o->mem, o->file, 0, &model, &o->err);
        o->heap.fail_at = 0;
        is_done = status == LLRT_OK && o->heap.n_call < n;
        if (!is_done) assert_int_equal(status, LLRT_ERR_NOMEM);
        llrti_model_free(model);
        assert_int_equal(o->heap.n_live, n_live);
        assert_true(n < 1000);
    }
}

#endif
