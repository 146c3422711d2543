/* SPDX-License-Identifier: MIT */
/*
 * Hyper-parameters from either kind of file. Both kinds are turned into one small tagged value
 * first (find_value, element_of), so that checks and error texts exist once.
 *
 * Bounds of the table are far beyond every published model and small enough that products of two
 * of them fit 64 bits; what is contradictory between parameters is for the families to say.
 */
#include "hparams.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "text.h"

const llrti_hparam llrti_hparam_table[LLRTI_HP_COUNT] = {
    [LLRTI_HP_N_LAYER] = {"block_count", "num_hidden_layers|n_layer|n_layers|num_layers", 1, 4096},
    [LLRTI_HP_D_MODEL] = {"embedding_length", "hidden_size|n_embd|d_model|n_embed", 1, 1 << 20},
    [LLRTI_HP_D_FF] = {"feed_forward_length", "intermediate_size|n_inner|ffn_hidden_size|ffn_dim",
                       1, 1 << 24},
    [LLRTI_HP_N_HEAD] = {"attention.head_count", "num_attention_heads|n_head|n_heads", 1, 1 << 14},
    [LLRTI_HP_N_KV_HEAD] = {"attention.head_count_kv", "num_key_value_heads|num_kv_heads|n_head_kv",
                            1, 1 << 14},
    [LLRTI_HP_HEAD_DIM] = {"attention.key_length", "head_dim", 1, 1 << 14},
    [LLRTI_HP_V_DIM] = {"attention.value_length", NULL, 1, 1 << 14},
    [LLRTI_HP_N_CTX] = {"context_length",
                        "max_position_embeddings|n_positions|n_ctx|max_sequence_length|seq_length",
                        1, 1 << 30},
    [LLRTI_HP_N_VOCAB] = {"vocab_size", "vocab_size", 1, 1 << 24},
    [LLRTI_HP_RMS_EPS] = {"attention.layer_norm_rms_epsilon", "rms_norm_eps", 0, 0.1},
    [LLRTI_HP_NORM_EPS] = {"attention.layer_norm_epsilon",
                           "layer_norm_epsilon|layer_norm_eps|norm_epsilon|norm_eps", 0, 0.1},
    [LLRTI_HP_WINDOW] = {"attention.sliding_window", "sliding_window", 0, 1 << 30},
    [LLRTI_HP_ACT] = {NULL, "hidden_act|hidden_activation|activation_function|activation", 0, 0},
    [LLRTI_HP_TIED] = {NULL, "tie_word_embeddings", 0, 0},
    [LLRTI_HP_ATTENTION_BIAS] = {NULL, "attention_bias", 0, 0},
    [LLRTI_HP_MLP_BIAS] = {NULL, "mlp_bias", 0, 0},
    [LLRTI_HP_ROPE_BASE] =
        {"rope.freq_base",
         "rope_parameters.rope_theta|rope_theta|rope_scaling.rope_theta|rotary_emb_base|"
         "global_rope_theta",
         1, 1e15},
    [LLRTI_HP_N_ROT] = {"rope.dimension_count", "rotary_dim", 1, 1 << 14},
    [LLRTI_HP_PARTIAL_ROTARY] =
        {NULL, "rope_parameters.partial_rotary_factor|partial_rotary_factor|rotary_pct", 0, 1},
};

typedef enum value_kind { ABSENT, INT, DOUBLE, BOOL, STRING, ARRAY, OBJECT } value_kind;

typedef struct value {
    value_kind kind;
    int64_t i;
    double f;
    bool b;
    llrti_string s;
    uint64_t n;             /* elements of an array */
    const llrti_meta *meta; /* of an array */
    const llrti_json *json;
} value;

static const char *const kind_name[] = {"nothing",  "an integer", "a number", "a boolean",
                                        "a string", "an array",   "an object"};

static value from_meta(const llrti_meta *meta)
{
    value v = {ABSENT};
    if (!meta) return v;
    switch (meta->type) {
    case LLRTI_META_U8:
    case LLRTI_META_U16:
    case LLRTI_META_U32:
    case LLRTI_META_U64:
        v.kind = meta->value.u <= INT64_MAX ? INT : DOUBLE;
        v.i = (int64_t)meta->value.u;
        v.f = (double)meta->value.u;
        break;
    case LLRTI_META_I8:
    case LLRTI_META_I16:
    case LLRTI_META_I32:
    case LLRTI_META_I64:
        v.kind = INT;
        v.i = meta->value.i;
        v.f = (double)v.i;
        break;
    case LLRTI_META_F32:
    case LLRTI_META_F64:
        v.kind = DOUBLE;
        v.f = meta->value.f;
        break;
    case LLRTI_META_BOOL:
        v.kind = BOOL;
        v.b = meta->value.u != 0;
        break;
    case LLRTI_META_STRING:
        v.kind = STRING;
        v.s = meta->value.s;
        break;
    case LLRTI_META_ARRAY:
        v.kind = ARRAY;
        v.n = meta->n;
        v.meta = meta;
        break;
    }
    return v;
}

static value from_json(const llrti_json *json)
{
    value v = {ABSENT};
    if (!json) return v;
    switch (json->type) {
    case LLRTI_JSON_NULL:
        v.json = json; /* absent, but said to be */
        break;
    case LLRTI_JSON_BOOL:
        v.kind = BOOL;
        v.b = json->value.b;
        break;
    case LLRTI_JSON_INT:
        v.kind = INT;
        v.i = json->value.i;
        v.f = (double)v.i;
        break;
    case LLRTI_JSON_DOUBLE:
        v.kind = DOUBLE;
        v.f = json->value.d;
        break;
    case LLRTI_JSON_STRING:
        v.kind = STRING;
        v.s.data = json->value.s;
        v.s.n = json->n;
        break;
    case LLRTI_JSON_ARRAY:
        v.kind = ARRAY;
        v.n = json->n;
        v.json = json;
        break;
    case LLRTI_JSON_OBJECT:
        v.kind = OBJECT;
        v.json = json;
        /* How transformers 5 writes what JSON has no number for. */
        if (strcmp(llrti_json_string(llrti_json_get(json, "__float__"), ""), "Infinity") == 0) {
            v.kind = DOUBLE;
            v.f = INFINITY;
        }
        break;
    }
    return v;
}

/* One path such as "rope_parameters.rope_theta", n bytes of it, from the top of the file. */
static const llrti_json *find_path(const llrti_hparams *hp, const char *path, size_t n)
{
    const llrti_json *node = hp->config;
    char name[128];
    while (node) {
        const char *const dot = memchr(path, '.', n);
        const size_t n_name = dot ? (size_t)(dot - path) : n;
        if (n_name >= sizeof name) return NULL;
        memcpy(name, path, n_name);
        name[n_name] = '\0';
        node = llrti_json_get(node, name);
        if (!dot) return node;
        if (node && hp->rope_section && strcmp(name, "rope_parameters") == 0) {
            const llrti_json *const section = llrti_json_get(node, hp->rope_section);
            if (section && section->type == LLRTI_JSON_OBJECT) node = section;
        }
        path += n_name + 1;
        n -= n_name + 1;
    }
    return NULL;
}

/*
 * The key for messages, spelled as in this file: of the alternatives in config.json the one that
 * is there, else the first whose enclosing object is there.
 */
static void full_key(const llrti_hparams *hp, const llrti_hparam *key, char *out, size_t n)
{
    if (hp->is_gguf) {
        llrti_text_format(out, n, "%s.%s", hp->architecture, key->gguf ? key->gguf : "?");
        return;
    }
    const char *best = key->hf ? key->hf : "?";
    size_t n_best = strcspn(best, "|");
    int rank = 0;
    for (const char *path = key->hf; path && rank < 2; path += *path == '|') {
        const size_t n_path = strcspn(path, "|");
        size_t n_parent = n_path;
        while (n_parent && path[n_parent - 1] != '.') n_parent--;
        const llrti_json *const parent = n_parent ? find_path(hp, path, n_parent - 1) : NULL;
        const int found = from_json(find_path(hp, path, n_path)).kind != ABSENT ? 2
                          : parent && parent->type == LLRTI_JSON_OBJECT         ? 1
                                                                                : 0;
        if (found > rank) {
            rank = found;
            best = path;
            n_best = n_path;
        }
        path += n_path;
        if (!*path) break;
    }
    llrti_text_format(out, n, "%.*s", (int)n_best, best);
}

void llrti_hparams_fail(llrti_hparams *hp, llrt_status status, const llrti_hparam *key,
                        const char *format, ...)
{
    if (hp->status < 0) return;
    char field[LLRT_ERROR_NAME_SIZE] = "", text[LLRT_ERROR_TEXT_SIZE];
    if (key) full_key(hp, key, field, sizeof field);
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (key)
        hp->status = llrti_fail_field(hp->err, status, field, "%s'%s': %s",
                                      hp->is_gguf ? "" : "config.json: ", field, text);
    else
        hp->status = llrti_fail(hp->err, status, "%s", text);
    if (key && !hp->is_gguf) llrti_model_file_blame(hp->file, "config.json", hp->err);
}

static value find_value(const llrti_hparams *hp, const llrti_hparam *key)
{
    value v = {ABSENT};
    if (hp->is_gguf) {
        char name[256];
        if (!key->gguf) return v;
        llrti_text_format(name, sizeof name, "%s.%s", hp->architecture, key->gguf);
        return from_meta(llrti_model_file_find_meta(hp->file, name));
    }
    const char *path = key->hf;
    while (path && v.kind == ABSENT) {
        const char *const bar = strchr(path, '|');
        v = from_json(find_path(hp, path, bar ? (size_t)(bar - path) : strlen(path)));
        path = bar ? bar + 1 : NULL;
    }
    return v;
}

static uint64_t load_le(const uint8_t *p, size_t n)
{
    uint64_t u = 0;
    for (size_t i = 0; i < n; i++) u |= (uint64_t)p[i] << (8 * i);
    return u;
}

/* Sign-extends the lowest n bytes. */
static int64_t extend(uint64_t u, size_t n)
{
    const uint64_t sign = (uint64_t)1 << (8 * n - 1);
    return n == 8 ? (int64_t)u : (int64_t)((u ^ sign) - sign);
}

static value element_of(const value *array, uint64_t index)
{
    if (array->kind != ARRAY || index >= array->n) return (value){ABSENT};
    if (array->json) return from_json(llrti_json_at(array->json, (uint32_t)index));
    const llrti_meta *const meta = array->meta;
    llrti_meta element = {
        .key = meta->key, .type = meta->element, .element = meta->element, .n = 1};
    static const uint8_t size_of[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
    if (meta->element == LLRTI_META_STRING) {
        element.value.s = ((const llrti_string *)meta->value.array)[index];
        return from_meta(&element);
    }
    if ((size_t)meta->element >= sizeof size_of || size_of[meta->element] == 0)
        return (value){ABSENT};
    const size_t size = size_of[meta->element];
    const uint64_t u = load_le((const uint8_t *)meta->value.array + index * size, size);
    switch (meta->element) {
    case LLRTI_META_I8:
    case LLRTI_META_I16:
    case LLRTI_META_I32:
    case LLRTI_META_I64:
        element.value.i = extend(u, size);
        break;
    case LLRTI_META_F32: {
        const uint32_t bits = (uint32_t)u;
        float f;
        memcpy(&f, &bits, sizeof f);
        element.value.f = f;
        break;
    }
    case LLRTI_META_F64:
        memcpy(&element.value.f, &u, sizeof u);
        break;
    default:
        element.value.u = u;
        break;
    }
    return from_meta(&element);
}

/* What was found, in words. */
static void describe(const value *v, char *out, size_t n)
{
    char text[LLRTI_TEXT_QUOTE_SIZE];
    switch (v->kind) {
    case INT:
        llrti_text_format(out, n, "%lld", (long long)v->i);
        break;
    case DOUBLE:
        llrti_text_print_double(text, v->f);
        llrti_text_format(out, n, "%s", text);
        break;
    case BOOL:
        llrti_text_format(out, n, "%s", v->b ? "true" : "false");
        break;
    case STRING:
        llrti_text_format(out, n, "%s", llrti_text_quote(text, sizeof text, v->s.data, v->s.n));
        break;
    default:
        llrti_text_format(out, n, "%s", kind_name[v->kind]);
        break;
    }
}

static void fail_found(llrti_hparams *hp, const llrti_hparam *key, const value *v,
                       const char *expected)
{
    char found[320];
    describe(v, found, sizeof found);
    llrti_hparams_fail(hp, LLRT_ERR_FORMAT, key, "found %s, expected %s", found, expected);
}

static void fail_missing(llrti_hparams *hp, const llrti_hparam *key, const char *expected)
{
    llrti_hparams_fail(hp, LLRT_ERR_FORMAT, key, "missing, expected %s", expected);
}

static bool check_number(llrti_hparams *hp, const llrti_hparam *key, const value *v,
                         bool is_integer)
{
    char expected[128];
    llrti_text_format(expected, sizeof expected, "%s from %.10g to %.10g",
                      is_integer ? "an integer" : "a number", key->min, key->max);
    const bool is_whole =
        v->kind == INT || (v->kind == DOUBLE && isfinite(v->f) && floor(v->f) == v->f);
    /* Infinity is within a range that says so. */
    const bool is_finite = isfinite(v->f) || (isinf(key->max) && v->f == INFINITY);
    const bool is_good = (is_integer ? is_whole : v->kind == INT || v->kind == DOUBLE) &&
                         is_finite && v->f >= key->min && v->f <= key->max;
    if (!is_good) fail_found(hp, key, v, expected);
    return is_good;
}

static uint32_t whole(const value *v)
{
    return v->kind == INT ? (uint32_t)v->i : (uint32_t)v->f;
}

/* An array whose elements are all equal stands for one number. */
static value one_for_all(llrti_hparams *hp, const llrti_hparam *key, const value *v)
{
    value first = element_of(v, 0);
    for (uint64_t i = 1; i < v->n; i++) {
        const value other = element_of(v, i);
        if (other.kind != first.kind || (other.kind == INT && other.i != first.i)) {
            llrti_hparams_fail(hp, LLRT_ERR_UNSUPPORTED, key,
                               "element %llu differs from the first: values that vary by layer are "
                               "not supported here",
                               (unsigned long long)i);
            return (value){ABSENT};
        }
    }
    return first;
}

static bool get_u32(llrti_hparams *hp, const llrti_hparam *key, uint32_t *out)
{
    value v = find_value(hp, key);
    if (v.kind == ARRAY && v.n > 0) v = one_for_all(hp, key, &v);
    if (hp->status < 0 || v.kind == ABSENT || !check_number(hp, key, &v, true)) return false;
    *out = whole(&v);
    return true;
}

uint32_t llrti_hparams_u32(llrti_hparams *hp, const llrti_hparam *key)
{
    uint32_t out = 1;
    if (hp->status < 0) return 1;
    if (!get_u32(hp, key, &out)) fail_missing(hp, key, "an integer");
    if (hp->status >= 0) llrti_facts_u32(hp->facts, key->gguf, out, true);
    return hp->status < 0 ? 1 : out;
}

uint32_t llrti_hparams_u32_or(llrti_hparams *hp, const llrti_hparam *key, uint32_t otherwise)
{
    uint32_t out = otherwise;
    const bool is_given = hp->status >= 0 && get_u32(hp, key, &out);
    /* A fall-back of 0 means that there is no such thing, which a GGUF says with silence. */
    if (hp->status >= 0 && (is_given || out)) llrti_facts_u32(hp->facts, key->gguf, out, is_given);
    return hp->status < 0 ? otherwise : out;
}

uint32_t llrti_hparams_u32_layer(llrti_hparams *hp, const llrti_hparam *key, uint32_t layer,
                                 uint32_t otherwise)
{
    if (hp->status < 0) return otherwise;
    value v = find_value(hp, key);
    if (v.kind == ARRAY) {
        const uint64_t n = v.n;
        v = element_of(&v, layer);
        if (v.kind == ABSENT) {
            llrti_hparams_fail(hp, LLRT_ERR_FORMAT, key,
                               "found %llu elements, expected one for each layer",
                               (unsigned long long)n);
            return otherwise;
        }
    }
    if (v.kind == ABSENT) {
        if (otherwise) llrti_facts_u32_layer(hp->facts, key->gguf, layer, otherwise);
        return otherwise;
    }
    if (!check_number(hp, key, &v, true)) return otherwise;
    llrti_facts_u32_layer(hp->facts, key->gguf, layer, whole(&v));
    return whole(&v);
}

double llrti_hparams_f64_or(llrti_hparams *hp, const llrti_hparam *key, double otherwise)
{
    if (hp->status < 0) return otherwise;
    const value v = find_value(hp, key);
    const bool is_given = v.kind != ABSENT;
    if (is_given && !check_number(hp, key, &v, false)) return otherwise;
    const double out = is_given ? v.f : otherwise;
    if (is_given || out != 0) llrti_facts_f64(hp->facts, key->gguf, out, is_given);
    return out;
}

double llrti_hparams_f64(llrti_hparams *hp, const llrti_hparam *key)
{
    if (hp->status < 0) return 1;
    if (!llrti_hparams_has(hp, key)) fail_missing(hp, key, "a number");
    return llrti_hparams_f64_or(hp, key, 1);
}

bool llrti_hparams_bool_or(llrti_hparams *hp, const llrti_hparam *key, bool otherwise)
{
    if (hp->status < 0) return otherwise;
    const value v = find_value(hp, key);
    if (v.kind == ABSENT) return otherwise;
    const bool is_number = v.kind == INT && (v.i == 0 || v.i == 1);
    if (!is_number && v.kind != BOOL) {
        fail_found(hp, key, &v, "a boolean");
        return otherwise;
    }
    const bool out = is_number ? v.i == 1 : v.b;
    llrti_facts_bool(hp->facts, key->gguf, out);
    return out;
}

llrti_string llrti_hparams_string_or(llrti_hparams *hp, const llrti_hparam *key,
                                     const char *otherwise)
{
    const llrti_string fallback = {otherwise, otherwise ? strlen(otherwise) : 0};
    if (hp->status < 0) return fallback;
    const value v = find_value(hp, key);
    if (v.kind == ABSENT) return fallback;
    if (v.kind != STRING) {
        fail_found(hp, key, &v, "a string");
        return fallback;
    }
    llrti_facts_string(hp->facts, key->gguf, v.s);
    return v.s;
}

bool llrti_hparams_has(llrti_hparams *hp, const llrti_hparam *key)
{
    return find_value(hp, key).kind != ABSENT;
}

bool llrti_hparams_is_null(llrti_hparams *hp, const llrti_hparam *key)
{
    const value v = find_value(hp, key);
    return v.kind == ABSENT && v.json;
}

uint32_t llrti_hparams_n_element(llrti_hparams *hp, const llrti_hparam *key)
{
    const value v = find_value(hp, key);
    return v.kind == ARRAY ? (uint32_t)LLRTI_MIN(v.n, UINT32_MAX) : 0;
}

double llrti_hparams_f64_at(llrti_hparams *hp, const llrti_hparam *key, uint32_t index)
{
    if (hp->status < 0) return 1;
    const value array = find_value(hp, key), v = element_of(&array, index);
    if (v.kind == ABSENT) {
        llrti_hparams_fail(hp, LLRT_ERR_FORMAT, key, "element %u is missing", (unsigned)index);
        return 1;
    }
    return check_number(hp, key, &v, false) ? v.f : 1;
}

bool llrti_hparams_bool_at(llrti_hparams *hp, const llrti_hparam *key, uint32_t index)
{
    if (hp->status < 0) return false;
    const value array = find_value(hp, key), v = element_of(&array, index);
    if (v.kind == BOOL) return v.b;
    if (v.kind == INT && (v.i == 0 || v.i == 1)) return v.i == 1;
    char found[320];
    describe(&v, found, sizeof found);
    llrti_hparams_fail(hp, LLRT_ERR_FORMAT, key, "element %u is %s, expected a boolean",
                       (unsigned)index, found);
    return false;
}

llrti_string llrti_hparams_string_at(llrti_hparams *hp, const llrti_hparam *key, uint32_t index)
{
    const llrti_string none = {"", 0};
    if (hp->status < 0) return none;
    const value array = find_value(hp, key), v = element_of(&array, index);
    if (v.kind != STRING) {
        llrti_hparams_fail(hp, LLRT_ERR_FORMAT, key, "element %u is %s, expected a string",
                           (unsigned)index, kind_name[v.kind]);
        return none;
    }
    return v.s;
}

bool llrti_string_is(llrti_string string, const char *text)
{
    return string.n == strlen(text) && memcmp(string.data, text, string.n) == 0;
}

static llrt_status read_architecture(llrti_hparams *hp, const llrti_model_file *file,
                                     llrt_error *err)
{
    const char *const field = hp->is_gguf ? "general.architecture" : "model_type";
    const char *const place = hp->is_gguf ? "" : "config.json: ";
    value v;
    if (hp->is_gguf) {
        v = from_meta(llrti_model_file_find_meta(file, field));
    } else {
        hp->config = llrti_model_file_json(file, "config.json");
        if (!hp->config)
            return hp->status =
                       llrti_fail_field(err, LLRT_ERR_NOT_FOUND, "config.json",
                                        "config.json is missing beside the safetensors files");
        if (hp->config->type != LLRTI_JSON_OBJECT)
            return hp->status = llrti_fail_field(err, LLRT_ERR_FORMAT, "config.json",
                                                 "config.json is not a JSON object");
        v = from_json(llrti_json_get(hp->config, field));
    }
    if (v.kind == ABSENT)
        return hp->status = llrti_fail_field(
                   err, LLRT_ERR_FORMAT, field,
                   "%s'%s': missing, expected the name of an architecture", place, field);
    char found[320];
    describe(&v, found, sizeof found);
    if (v.kind != STRING || v.s.n == 0 || v.s.n >= sizeof hp->architecture ||
        memchr(v.s.data, 0, v.s.n))
        return hp->status = llrti_fail_field(err, LLRT_ERR_FORMAT, field,
                                             "%s'%s': found %s, expected a name of 1 to 63 bytes",
                                             place, field, found);
    memcpy(hp->architecture, v.s.data, v.s.n);
    return LLRT_OK;
}

llrt_status llrti_hparams_init(llrti_hparams *hp, const llrti_model_file *file, llrt_error *err)
{
    memset(hp, 0, sizeof *hp);
    hp->file = file;
    hp->err = err;
    hp->is_gguf = llrti_model_file_kind(file) == LLRTI_FILE_GGUF;
    const llrt_status status = read_architecture(hp, file, err);
    if (status < 0 && !hp->is_gguf) llrti_model_file_blame(file, "config.json", err);
    return status;
}
