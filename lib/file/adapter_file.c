/* SPDX-License-Identifier: MIT */
/*
 * Reading LoRA adapters. The two kinds name their matrices so:
 *
 *   PEFT   base_model.model.<module>.lora_A.weight   (rank rows of d_in)
 *          base_model.model.<module>.lora_B.weight   (d_out rows of rank)
 *   GGUF   <tensor>.weight.lora_a, <tensor>.weight.lora_b, shaped alike
 *
 * Every tensor of the file must be one of these: an adapter that brings anything else would be
 * applied in part, which nobody can see in the output. For the same reason every option of
 * adapter_config.json that changes the arithmetic is refused unless it is done here.
 *
 * The factor is alpha / rank (alpha / sqrt(rank) with use_rslora); a GGUF with alpha 0 means 1.
 */
#include "adapter_file.h"

#include <math.h>
#include <string.h>

#include "blocks.h"
#include "gguf.h"
#include "json.h"
#include "os.h"
#include "safetensors.h"
#include "text.h"
#include "types.h"

#define MAX_PATH_BYTES 4096u
#define MAX_CONFIG ((size_t)1 << 24)
#define MAX_WIDTH ((uint64_t)1 << 28)
#define READ_BYTES ((size_t)1 << 18)

static const char model_name[] = "adapter_model.safetensors";
static const char config_name[] = "adapter_config.json";

static bool has_suffix(const char *text, size_t n, const char *suffix)
{
    const size_t n_suffix = strlen(suffix);
    return n >= n_suffix && memcmp(text + n - n_suffix, suffix, n_suffix) == 0;
}

static bool has_prefix(const char *text, const char *prefix)
{
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

/* ---- adapter_config.json ---- */

/* What of the configuration decides about the factors. */
typedef struct peft {
    const char *path;
    llrti_json_doc *doc;
    const llrti_json *root;
    uint32_t rank;
    double alpha;
    bool is_rslora;
} peft;

static llrt_status fail_value(const llrti_json *node, const char *key, const char *expected,
                              llrt_error *err)
{
    static const char *const types[] = {"null",   "a bool",   "an integer", "a number",
                                        "a text", "an array", "an object"};
    if (!node) {
        return llrti_fail_field(err, LLRT_ERR_FORMAT, key, "'%s' is missing, expected %s", key,
                                expected);
    }
    return llrti_fail_field(err, LLRT_ERR_FORMAT, key, "'%s': found %s, expected %s", key,
                            types[node->type], expected);
}

/* True for what an option holds when it is not used: absent, null, false, 0, "", [], {}. */
static bool is_unset(const llrti_json *node)
{
    if (!node) return true;
    switch (node->type) {
    case LLRTI_JSON_NULL:
        return true;
    case LLRTI_JSON_BOOL:
        return !node->value.b;
    case LLRTI_JSON_INT:
        return node->value.i == 0;
    case LLRTI_JSON_DOUBLE:
        return node->value.d == 0;
    default:
        return node->n == 0;
    }
}

static llrt_status refuse_options(const llrti_json *root, llrt_error *err)
{
    static const struct {
        const char *key, *what;
    } refused[] = {
        {"use_dora", "DoRA"},
        {"modules_to_save", "modules that are saved whole"},
        {"trainable_token_indices", "trained embeddings of tokens"},
        {"target_parameters", "adapters of bare parameters"},
        {"lora_bias", "biases of the adapter"},
        {"layer_replication", "replicated layers"},
        {"alora_invocation_tokens", "adapters that begin at invocation tokens"},
        {"use_qalora", "QA-LoRA"},
        {"use_bdlora", "block-diagonal adapters"},
        {"arrow_config", "routing among adapters"},
    };
    for (size_t i = 0; i < LLRTI_COUNT(refused); i++) {
        if (is_unset(llrti_json_get(root, refused[i].key))) continue;
        return llrti_fail_field(err, LLRT_ERR_UNSUPPORTED, refused[i].key,
                                "'%s' is set, but %s are not supported", refused[i].key,
                                refused[i].what);
    }
    const char *const bias = llrti_json_string(llrti_json_get(root, "bias"), "none");
    char quoted[LLRTI_TEXT_QUOTE_SIZE];
    if (strcmp(bias, "none") != 0) {
        return llrti_fail_field(err, LLRT_ERR_UNSUPPORTED, "bias",
                                "'bias': found %s, expected \"none\": trained biases are not "
                                "supported",
                                llrti_text_quote(quoted, sizeof quoted, bias, strlen(bias)));
    }
    /* These ways of starting change the base weights, so the adapter belongs to other ones. */
    static const char *const inits[] = {"pissa", "olora", "corda", "loftq", "lora_ga"};
    const char *const init = llrti_json_string(llrti_json_get(root, "init_lora_weights"), "");
    for (size_t i = 0; i < LLRTI_COUNT(inits); i++) {
        if (!has_prefix(init, inits[i])) continue;
        return llrti_fail_field(err, LLRT_ERR_UNSUPPORTED, "init_lora_weights",
                                "'init_lora_weights': found %s, which changes the model's own "
                                "weights; convert the adapter to a plain one first",
                                llrti_text_quote(quoted, sizeof quoted, init, strlen(init)));
    }
    return LLRT_OK;
}

static llrt_status take_rank(const llrti_json *node, const char *key, uint32_t *out,
                             llrt_error *err)
{
    if (!node || node->type != LLRTI_JSON_INT)
        return fail_value(node, key, "an integer from 1 on", err);
    if (node->value.i < 1 || node->value.i > INT32_MAX) {
        return llrti_fail_field(err, LLRT_ERR_FORMAT, key, "'%s': found %lld, expected 1 to %d",
                                key, (long long)node->value.i, INT32_MAX);
    }
    *out = (uint32_t)node->value.i;
    return LLRT_OK;
}

static llrt_status take_alpha(const llrti_json *node, const char *key, double *out, llrt_error *err)
{
    if (!node || (node->type != LLRTI_JSON_INT && node->type != LLRTI_JSON_DOUBLE))
        return fail_value(node, key, "a number", err);
    *out = llrti_json_double(node, 0);
    if (isfinite((float)*out)) return LLRT_OK;
    return llrti_fail_field(err, LLRT_ERR_FORMAT, key, "'%s': found a number out of range", key);
}

static llrt_status parse_config(peft *config, llrt_error *err)
{
    const llrti_json *const root = config->root;
    if (root->type != LLRTI_JSON_OBJECT) return fail_value(root, "", "an object", err);
    const llrti_json *const type = llrti_json_get(root, "peft_type");
    if (!type || type->type != LLRTI_JSON_STRING)
        return fail_value(type, "peft_type", "a text", err);
    if (strcmp(type->value.s, "LORA") != 0) {
        char quoted[LLRTI_TEXT_QUOTE_SIZE];
        return llrti_fail_field(err, LLRT_ERR_UNSUPPORTED, "peft_type",
                                "'peft_type': found %s, expected \"LORA\"",
                                llrti_text_quote(quoted, sizeof quoted, type->value.s, type->n));
    }
    LLRTI_TRY(refuse_options(root, err));
    LLRTI_TRY(take_rank(llrti_json_get(root, "r"), "r", &config->rank, err));
    LLRTI_TRY(take_alpha(llrti_json_get(root, "lora_alpha"), "lora_alpha", &config->alpha, err));
    config->is_rslora = llrti_json_bool(llrti_json_get(root, "use_rslora"), false);
    static const char *const patterns[] = {"rank_pattern", "alpha_pattern"};
    for (size_t i = 0; i < LLRTI_COUNT(patterns); i++) {
        const llrti_json *const node = llrti_json_get(root, patterns[i]);
        if (node && node->type != LLRTI_JSON_OBJECT && node->type != LLRTI_JSON_NULL)
            return fail_value(node, patterns[i], "an object", err);
    }
    return LLRT_OK;
}

/*
 * A pattern is a regular expression that must match the end of a module's name from a '.' on; what
 * PEFT writes by itself are plain names, in which '.' stands for any character and "\\." for a dot.
 * More of a pattern's language is not known here.
 */
static llrt_status matches(const char *field, const char *pattern, const char *module, bool *out,
                           llrt_error *err)
{
    const bool is_anchored = pattern[0] == '^';
    const char *const p = pattern + is_anchored;
    size_t n = 0;
    *out = false;
    for (size_t i = 0; p[i]; i++, n++) {
        if (p[i] == '\\' && p[i + 1] == '.') {
            i++;
        } else if (strchr("*+?[](){}|$^\\", p[i])) {
            char quoted[LLRTI_TEXT_QUOTE_SIZE];
            return llrti_fail_field(
                err, LLRT_ERR_UNSUPPORTED, field,
                "'%s': the pattern %s is not supported, expected the end of a module's name", field,
                llrti_text_quote(quoted, sizeof quoted, pattern, strlen(pattern)));
        }
    }
    const size_t n_module = strlen(module);
    if (n == 0 || n > n_module) return LLRT_OK;
    const char *at = module + n_module - n;
    if (is_anchored ? at != module : at != module && at[-1] != '.') return LLRT_OK;
    for (size_t i = 0; p[i]; i++, at++) {
        const bool is_escaped = p[i] == '\\';
        i += is_escaped;
        if (*at != p[i] && (is_escaped || p[i] != '.')) return LLRT_OK;
    }
    *out = true;
    return LLRT_OK;
}

/* The value of the first pattern that matches, or NULL. */
static llrt_status find_pattern(const peft *config, const char *field, const char *module,
                                const llrti_json **out, llrt_error *err)
{
    const llrti_json *const patterns = llrti_json_get(config->root, field);
    *out = NULL;
    for (uint32_t i = 0; patterns && i < patterns->n; i++) {
        const llrti_json *const member = &patterns->value.first[i];
        bool is_match;
        LLRTI_TRY(matches(field, member->key, module, &is_match, err));
        if (!is_match) continue;
        *out = member;
        return LLRT_OK;
    }
    return LLRT_OK;
}

static llrt_status apply_patterns(const peft *config, const char *module, uint32_t *rank,
                                  double *alpha, llrt_error *err)
{
    const llrti_json *found;
    llrt_status status = find_pattern(config, "rank_pattern", module, &found, err);
    if (status == LLRT_OK && found) status = take_rank(found, "rank_pattern", rank, err);
    if (status == LLRT_OK) status = find_pattern(config, "alpha_pattern", module, &found, err);
    if (status == LLRT_OK && found) status = take_alpha(found, "alpha_pattern", alpha, err);
    if (status < 0) llrti_error_file(err, config->path);
    return status;
}

static llrt_status set_peft_factor(const peft *config, llrti_adapter_change *change,
                                   llrt_error *err)
{
    uint32_t rank = config->rank;
    double alpha = config->alpha;
    LLRTI_TRY(apply_patterns(config, change->name, &rank, &alpha, err));
    if (rank != change->rank) {
        return llrti_fail_field(err, LLRT_ERR_FORMAT, change->a->name,
                                "tensor '%s': found rank %u, expected %u as %s says",
                                change->a->name, change->rank, rank, config_name);
    }
    change->factor = (float)(alpha / (config->is_rslora ? sqrt((double)rank) : (double)rank));
    return LLRT_OK;
}

/* ---- Names ---- */

static llrt_status refuse_tensor(const char *name, const char *what, llrt_error *err)
{
    return llrti_fail_field(err, LLRT_ERR_UNSUPPORTED, name, "tensor '%s': %s", name, what);
}

/* The weight's name within a tensor's name: [*begin, *begin + *n), and which of the two it is. */
static llrt_status split_peft_name(const char *name, const char **begin, size_t *n, bool *is_b,
                                   llrt_error *err)
{
    static const char prefix[] = "base_model.model.";
    static const struct {
        const char *suffix;
        bool is_b;
    } suffixes[] = {{".lora_A.weight", false},
                    {".lora_B.weight", true},
                    {".lora_A.default.weight", false},
                    {".lora_B.default.weight", true}};
    if (strstr(name, ".lora_embedding_"))
        return refuse_tensor(name, "adapters of embeddings are not supported", err);
    if (strstr(name, ".lora_magnitude_vector"))
        return refuse_tensor(name, "DoRA is not supported", err);
    const size_t n_name = strlen(name);
    for (size_t i = 0; i < LLRTI_COUNT(suffixes) && has_prefix(name, prefix); i++) {
        if (!has_suffix(name, n_name, suffixes[i].suffix)) continue;
        const size_t n_around = sizeof prefix - 1 + strlen(suffixes[i].suffix);
        if (n_name <= n_around) break;
        *begin = name + sizeof prefix - 1;
        *n = n_name - n_around;
        *is_b = suffixes[i].is_b;
        return LLRT_OK;
    }
    return refuse_tensor(
        name, "expected only base_model.model.<module>.lora_A.weight and lora_B.weight", err);
}

static llrt_status split_gguf_name(const char *name, const char **begin, size_t *n, bool *is_b,
                                   llrt_error *err)
{
    static const char *const suffixes[] = {".weight.lora_a", ".weight.lora_b"};
    const size_t n_name = strlen(name);
    if (has_prefix(name, "token_embd.") || has_prefix(name, "position_embd.") ||
        has_prefix(name, "token_types."))
        return refuse_tensor(name, "adapters of embeddings are not supported", err);
    for (int i = 0; i < 2; i++) {
        const size_t n_suffix = strlen(suffixes[i]);
        if (n_name <= n_suffix || !has_suffix(name, n_name, suffixes[i])) continue;
        *begin = name;
        *n = n_name - n_suffix;
        *is_b = i == 1;
        return LLRT_OK;
    }
    return refuse_tensor(name, "expected only <tensor>.weight.lora_a and .weight.lora_b", err);
}

/* ---- Changes ---- */

static llrt_status change_of(llrti_adapter_file *file, const char *name, size_t n,
                             llrti_adapter_change **out, llrt_error *err)
{
    uint32_t i = llrti_map_get(&file->by_name, name, n);
    if (i == LLRTI_MAP_NONE) {
        i = (uint32_t)file->changes.n;
        char *const copy = llrti_arena_strndup(&file->directory.arena, name, n);
        if (!copy ||
            !llrti_vec_reserve(file->mem, &file->changes, file->changes.n + 1,
                               LLRT_MEMORY_LOADING) ||
            llrti_map_put(&file->by_name, copy, n, i, NULL) < 0)
            return llrti_fail_nomem(err, "the list of an adapter's matrices", n);
        file->changes.data[file->changes.n++] = (llrti_adapter_change){.name = copy};
    }
    *out = &file->changes.data[i];
    return LLRT_OK;
}

static llrt_status check_matrix(const llrti_tensor *tensor, llrt_error *err)
{
    const uint64_t most = MAX_WIDTH;
    if (tensor->dim[2] != 1 || tensor->dim[3] != 1 || tensor->n_dim != 2) {
        return llrti_fail_field(err, LLRT_ERR_FORMAT, tensor->name,
                                "tensor '%s': found %u dimensions, expected a matrix", tensor->name,
                                tensor->n_dim);
    }
    for (int i = 0; i < 2; i++) {
        if (tensor->dim[i] >= 1 && tensor->dim[i] <= most) continue;
        return llrti_fail_field(err, LLRT_ERR_FORMAT, tensor->name,
                                "tensor '%s': found a dimension of %llu, expected 1 to %llu",
                                tensor->name, (unsigned long long)tensor->dim[i],
                                (unsigned long long)most);
    }
    if (llrti_blocks_find(tensor->type)) return LLRT_OK;
    return llrti_fail_field(err, LLRT_ERR_UNSUPPORTED, tensor->name,
                            "tensor '%s': element type %s is not supported", tensor->name,
                            llrti_type_name(tensor->type));
}

/* Both matrices are there and fit each other; sets the rank. */
static llrt_status check_change(const llrti_adapter_file *file, llrti_adapter_change *change,
                                llrt_error *err)
{
    const llrti_tensor *const a = change->a, *const b = change->b;
    if (!a || !b) {
        const bool is_gguf = file->kind == LLRTI_FILE_GGUF;
        const char *const missing = a         ? is_gguf ? "lora_b" : "lora_B"
                                    : is_gguf ? "lora_a"
                                              : "lora_A";
        return llrti_fail_field(err, LLRT_ERR_FORMAT, change->name,
                                "tensor '%s' has no %s beside it", a ? a->name : b->name, missing);
    }
    LLRTI_TRY(check_matrix(a, err));
    LLRTI_TRY(check_matrix(b, err));
    if (a->dim[1] != b->dim[0]) {
        return llrti_fail_field(err, LLRT_ERR_FORMAT, b->name,
                                "tensor '%s': found rank %llu, expected %llu, which '%s' has",
                                b->name, (unsigned long long)b->dim[0],
                                (unsigned long long)a->dim[1], a->name);
    }
    change->rank = (uint32_t)a->dim[1];
    return LLRT_OK;
}

static llrt_status pair_up(llrti_adapter_file *file, llrt_error *err)
{
    for (size_t i = 0; i < file->directory.tensors.n; i++) {
        const llrti_tensor *const tensor = &file->directory.tensors.data[i];
        const char *begin = NULL;
        size_t n = 0;
        bool is_b = false;
        llrti_adapter_change *change = NULL;
        if (file->kind == LLRTI_FILE_GGUF)
            LLRTI_TRY(split_gguf_name(tensor->name, &begin, &n, &is_b, err));
        else
            LLRTI_TRY(split_peft_name(tensor->name, &begin, &n, &is_b, err));
        LLRTI_TRY(change_of(file, begin, n, &change, err));
        const llrti_tensor **const slot = is_b ? &change->b : &change->a;
        if (*slot) {
            return llrti_fail_field(err, LLRT_ERR_FORMAT, tensor->name,
                                    "tensor '%s' is there again as '%s'", (*slot)->name,
                                    tensor->name);
        }
        *slot = tensor;
    }
    if (file->changes.n == 0)
        return llrti_fail_field(err, LLRT_ERR_FORMAT, "header", "found no tensors");
    for (size_t i = 0; i < file->changes.n; i++)
        LLRTI_TRY(check_change(file, &file->changes.data[i], err));
    return LLRT_OK;
}

/* ---- GGUF ---- */

static llrt_status expect_string(const llrti_adapter_file *file, const char *key,
                                 const char *expected, llrt_error *err)
{
    const llrti_meta *const meta = llrti_directory_find_meta(&file->directory, key);
    char quoted[LLRTI_TEXT_QUOTE_SIZE];
    if (!meta) {
        return llrti_fail_field(err, LLRT_ERR_FORMAT, key,
                                "'%s' is missing, expected \"%s\": this file is no adapter", key,
                                expected);
    }
    if (meta->type != LLRTI_META_STRING) {
        return llrti_fail_field(err, LLRT_ERR_FORMAT, key, "'%s': found %s, expected a string", key,
                                llrti_meta_type_name(meta->type));
    }
    if (meta->value.s.n == strlen(expected) &&
        memcmp(meta->value.s.data, expected, meta->value.s.n) == 0)
        return LLRT_OK;
    return llrti_fail_field(
        err, LLRT_ERR_UNSUPPORTED, key, "'%s': found %s, expected \"%s\"", key,
        llrti_text_quote(quoted, sizeof quoted, meta->value.s.data, meta->value.s.n), expected);
}

static llrt_status read_gguf(llrti_adapter_file *file, llrt_error *err)
{
    llrti_gguf_info info;
    file->kind = LLRTI_FILE_GGUF;
    LLRTI_TRY(llrti_gguf_read(&file->tensors, 0, &file->directory, &file->directory, &info, err));
    LLRTI_TRY(expect_string(file, "general.type", "adapter", err));
    LLRTI_TRY(expect_string(file, "adapter.type", "lora", err));
    if (info.split_count > 1)
        return llrti_fail_field(err, LLRT_ERR_UNSUPPORTED, "split.count",
                                "adapters split into several files are not supported");
    if (llrti_directory_find_meta(&file->directory, "adapter.alora.invocation_tokens")) {
        return llrti_fail_field(err, LLRT_ERR_UNSUPPORTED, "adapter.alora.invocation_tokens",
                                "adapters that begin at invocation tokens are not supported");
    }
    const llrti_meta *const name =
        llrti_directory_find_meta(&file->directory, "general.architecture");
    if (name && name->type == LLRTI_META_STRING) {
        file->architecture =
            llrti_arena_strndup(&file->directory.arena, name->value.s.data, name->value.s.n);
        if (!file->architecture) return llrti_fail_nomem(err, "a name", name->value.s.n);
    }
    static const char key[] = "adapter.lora.alpha";
    const llrti_meta *const alpha = llrti_directory_find_meta(&file->directory, key);
    if (!alpha || (alpha->type != LLRTI_META_F32 && alpha->type != LLRTI_META_F64)) {
        return llrti_fail_field(err, LLRT_ERR_FORMAT, key, "'%s': found %s, expected f32", key,
                                alpha ? llrti_meta_type_name(alpha->type) : "nothing");
    }
    if (!isfinite((float)alpha->value.f))
        return llrti_fail_field(err, LLRT_ERR_FORMAT, key, "'%s': found a number out of range",
                                key);
    LLRTI_TRY(pair_up(file, err));
    for (size_t i = 0; i < file->changes.n; i++) {
        llrti_adapter_change *const c = &file->changes.data[i];
        c->factor = alpha->value.f != 0 ? (float)(alpha->value.f / c->rank) : 1.0f;
    }
    return LLRT_OK;
}

/* ---- PEFT ---- */

static llrt_status read_config(llrti_adapter_file *file, peft *config, llrt_error *err)
{
    const char *const path = config->path;
    char *text;
    size_t n;
    LLRTI_TRY(llrti_source_read_whole(&file->source, file->mem, path, MAX_CONFIG, &text, &n, err));
    llrt_status status = llrti_json_parse(file->mem, text, n, &config->doc, err);
    llrti_free(file->mem, text);
    if (status == LLRT_OK) {
        config->root = llrti_json_root(config->doc);
        status = parse_config(config, err);
    }
    if (status < 0) llrti_error_file(err, path);
    return status;
}

static llrt_status read_peft(llrti_adapter_file *file, const char *config_path, llrt_error *err)
{
    peft config = {.path = config_path};
    llrti_hash128 hash;
    uint32_t n_other;
    file->kind = LLRTI_FILE_SAFETENSORS;
    llrt_status status = read_config(file, &config, err);
    if (status == LLRT_OK)
        status =
            llrti_safetensors_read(&file->tensors, 0, NULL, &file->directory, &n_other, &hash, err);
    if (status == LLRT_OK) status = pair_up(file, err);
    for (size_t i = 0; status == LLRT_OK && i < file->changes.n; i++)
        status = set_peft_factor(&config, &file->changes.data[i], err);
    llrti_json_free(config.doc);
    return status;
}

/* ---- Opening ---- */

static bool is_separator(char c)
{
#if defined(_WIN32)
    return c == '/' || c == '\\';
#else
    return c == '/';
#endif
}

/* The first n bytes of a path, and a name behind it. */
static llrt_status join(char *out, const char *folder, size_t n, const char *name, llrt_error *err)
{
    const char *const separator = n && !is_separator(folder[n - 1]) ? "/" : "";
    if (n + strlen(name) + 2 > MAX_PATH_BYTES) {
        return llrti_fail_field(err, LLRT_ERR_ARGUMENT, "path", "found a path longer than %u bytes",
                                MAX_PATH_BYTES);
    }
    llrti_text_format(out, MAX_PATH_BYTES, "%.*s%s%s", (int)n, folder, separator, name);
    return LLRT_OK;
}

static llrt_status open_tensors(llrti_adapter_file *file, const char *name, llrt_error *err)
{
    const char *const kept = llrti_arena_strndup(&file->directory.arena, name, strlen(name));
    if (!kept) return llrti_fail_nomem(err, "a file name", strlen(name) + 1);
    return llrti_source_open(&file->source, kept, &file->tensors, err);
}

static llrt_status read_folder(llrti_adapter_file *file, const char *path, llrt_error *err)
{
    char name[MAX_PATH_BYTES], config[MAX_PATH_BYTES];
    LLRTI_TRY(join(name, path, strlen(path), model_name, err));
    LLRTI_TRY(join(config, path, strlen(path), config_name, err));
    LLRTI_TRY(open_tensors(file, name, err));
    return read_peft(file, config, err);
}

static llrt_status read_adapter(llrti_adapter_file *file, const char *path, bool is_disk,
                                llrt_error *err)
{
    uint8_t head[16] = {0};
    llrt_error own = LLRT_ERROR_INIT;
    if (is_disk && llrti_path_is_dir(path)) return read_folder(file, path, err);
    const llrt_status status = open_tensors(file, path, &own);
    if (status == LLRT_ERR_NOT_FOUND && !is_disk) return read_folder(file, path, err);
    if (status < 0) {
        llrti_error_copy(err, &own);
        return status;
    }
    const size_t n = file->tensors.size < sizeof head ? (size_t)file->tensors.size : sizeof head;
    LLRTI_TRY(llrti_source_read(&file->tensors, 0, head, n, err));
    if (llrti_gguf_is_magic(head, n)) return read_gguf(file, err);
    if (llrti_safetensors_is_head(head, n, file->tensors.size)) {
        char config[MAX_PATH_BYTES];
        size_t n_folder = strlen(path);
        while (n_folder && !is_separator(path[n_folder - 1])) n_folder--;
        LLRTI_TRY(join(config, path, n_folder, config_name, err));
        return read_peft(file, config, err);
    }
    return llrti_gguf_refuse(head, n, err);
}

llrt_status llrti_adapter_file_open(llrti_mem *mem, const char *path, const llrt_source *source,
                                    llrti_adapter_file **out, llrt_error *err)
{
    *out = NULL;
    if (!path) return llrti_fail(err, LLRT_ERR_ARGUMENT, "path is NULL");
    llrti_adapter_file *const file = llrti_calloc(mem, 1, sizeof *file, LLRT_MEMORY_LOADING);
    if (!file) return llrti_fail_nomem(err, "an adapter", sizeof *file);
    file->mem = mem;
    file->architecture = "";
    llrti_directory_init(&file->directory, mem);
    llrti_map_init(&file->by_name, mem, LLRT_MEMORY_LOADING);
    llrt_status status;
    LLRTI_TRY_GOTO(status, llrti_source_copy(&file->source, source, mem, err));
    LLRTI_TRY_GOTO(status, read_adapter(file, path, source == NULL, err));
    *out = file;
    return LLRT_OK;
fail:
    llrti_error_file(err, file->tensors.name ? file->tensors.name : path);
    llrti_adapter_file_close(file);
    return status;
}

llrt_status llrti_adapter_file_read(const llrti_adapter_file *file, const llrti_tensor *tensor,
                                    float *to, llrt_error *err)
{
    const llrti_blocks_widen widen = llrti_blocks_find(tensor->type);
    const size_t n_k = (size_t)tensor->dim[0], n_row = (size_t)tensor->dim[1];
    size_t row_bytes;
    if (!widen || !llrti_type_row_bytes(tensor->type, n_k, &row_bytes) || row_bytes == 0)
        return llrti_fail_field(err, LLRT_ERR_UNSUPPORTED, tensor->name, "unknown element type");
    const size_t rows = row_bytes < READ_BYTES ? READ_BYTES / row_bytes : 1;
    void *const buffer =
        llrti_alloc(file->mem, LLRTI_MIN(rows, n_row) * row_bytes, LLRT_MEMORY_LOADING);
    if (!buffer) return llrti_fail_nomem(err, "a buffer for reading", rows * row_bytes);
    llrt_status status = LLRT_OK;
    for (size_t row = 0; row < n_row; row += rows) {
        const size_t n = LLRTI_MIN(rows, n_row - row);
        LLRTI_TRY_GOTO(status,
                       llrti_source_read(&file->tensors, tensor->offset + (uint64_t)row * row_bytes,
                                         buffer, n * row_bytes, err));
        widen(buffer, to + row * n_k, n * n_k);
    }
fail:
    llrti_free(file->mem, buffer);
    if (status < 0) llrti_error_field(err, tensor->name);
    return status;
}

void llrti_adapter_file_close(llrti_adapter_file *file)
{
    if (!file) return;
    if (file->tensors.source) llrti_source_close(&file->tensors);
    llrti_map_free(&file->by_name);
    llrti_vec_free(file->mem, &file->changes);
    llrti_directory_free(&file->directory);
    llrti_free(file->mem, file);
}
