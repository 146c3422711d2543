/* SPDX-License-Identifier: MIT */
/*
 * Loads a tokenizer from GGUF metadata: tokenizer.ggml.model names the kind, .pre the
 * pre-tokenizer; .tokens, .token_type, .scores and .merges are the vocabulary, .*_token_id the
 * special tokens. What the files leave out follows from the kind.
 *
 * All arrays were checked by the reader to lie within the file; here their types and lengths
 * are checked against each other. Merges of tokens that the vocabulary lacks are dropped: some
 * converted files cut the vocabulary and not the merges.
 */
#include "tokenizer_impl.h"

#include <string.h>

#include "error.h"
#include "text.h"

#define KEY(name) "tokenizer.ggml." name

static llrt_status find_array(const llrti_model_file *file, const char *key,
                              llrti_meta_type element, const llrti_meta **out, llrt_error *err)
{
    const llrti_meta *const meta = llrti_model_file_find_meta(file, key);
    *out = meta;
    if (!meta) return LLRT_OK;
    const bool is_int = element == LLRTI_META_I32;
    if (meta->type == LLRTI_META_ARRAY &&
        (meta->element == element || (is_int && meta->element == LLRTI_META_U32)))
        return LLRT_OK;
    const bool is_array = meta->type == LLRTI_META_ARRAY;
    return llrti_fail_field(err, LLRT_ERR_FORMAT, key, "found %s%s, expected an array of %s",
                            is_array ? "an array of " : "a value of type ",
                            llrti_meta_type_name(is_array ? meta->element : meta->type),
                            llrti_meta_type_name(element));
}

static uint32_t read_u32(const void *array, uint64_t index)
{
    const uint8_t *const b = (const uint8_t *)array + index * 4;
    return (uint32_t)b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
}

static float read_f32(const void *array, uint64_t index)
{
    const uint32_t bits = read_u32(array, index);
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static llrt_status check_length(const llrti_meta *meta, uint64_t n, llrt_error *err)
{
    if (!meta || meta->n == n) return LLRT_OK;
    return llrti_fail_field(err, LLRT_ERR_FORMAT, meta->key,
                            "found %llu elements, expected %llu, one for each token",
                            (unsigned long long)meta->n, (unsigned long long)n);
}

/* Sets token `id`; `resolved` has room for its text. */
static llrt_status set_token(llrt_tokenizer *t, uint32_t id, llrti_string text,
                             llrt_token_type type, float score, char *resolved, llrt_error *err)
{
    size_t n = text.n;
    if (type < LLRT_TOKEN_NORMAL || type > LLRT_TOKEN_BYTE)
        return llrti_fail_field(err, LLRT_ERR_FORMAT, KEY("token_type"),
                                "found type %d of token %u, expected 1 to 6", (int)type, id);
    if (score != score)
        return llrti_fail_field(err, LLRT_ERR_FORMAT, KEY("scores"),
                                "found %g as the score of token %u, expected a number",
                                (double)score, id);
    const bool is_spm = t->kind == &llrti_kind_spm;
    if (!is_spm && type == LLRT_TOKEN_BYTE) type = LLRT_TOKEN_NORMAL;
    if (type == LLRT_TOKEN_BYTE) {
        const int byte = llrti_spm_byte(text.data, text.n);
        if (byte < 0) {
            char quoted[LLRTI_TEXT_QUOTE_SIZE];
            return llrti_fail_field(err, LLRT_ERR_FORMAT, KEY("tokens"),
                                    "found byte token %u %s, expected a name such as <0x0A>", id,
                                    llrti_text_quote(quoted, sizeof quoted, text.data, text.n));
        }
        resolved[0] = (char)byte;
        n = 1;
        if (t->vocab.byte_id[byte] == LLRT_TOKEN_NONE) t->vocab.byte_id[byte] = (int32_t)id;
    } else if (type == LLRT_TOKEN_NORMAL || type == LLRT_TOKEN_UNUSED) {
        n = is_spm ? llrti_normalizer_fold(text.data, text.n, resolved)
                   : llrti_bytelevel_decode(text.data, text.n, resolved);
    } else {
        memcpy(resolved, text.data, n);
    }
    llrti_vocab_set(&t->vocab, id, resolved, n, type, score);
    return LLRT_OK;
}

static llrt_status load_tokens(llrt_tokenizer *t, const llrti_model_file *file, llrt_error *err)
{
    const llrti_meta *tokens, *types, *scores;
    LLRTI_TRY(find_array(file, KEY("tokens"), LLRTI_META_STRING, &tokens, err));
    LLRTI_TRY(find_array(file, KEY("token_type"), LLRTI_META_I32, &types, err));
    LLRTI_TRY(find_array(file, KEY("scores"), LLRTI_META_F32, &scores, err));
    const bool is_spm = t->kind == &llrti_kind_spm;
    if (!tokens || (is_spm && !scores))
        return llrti_fail_field(err, LLRT_ERR_FORMAT, tokens ? KEY("scores") : KEY("tokens"),
                                "found none, expected one element for each token");
    if (tokens->n == 0 || tokens->n > LLRTI_VOCAB_MAX)
        return llrti_fail_field(err, LLRT_ERR_FORMAT, KEY("tokens"),
                                "found %llu tokens, expected 1 to %u",
                                (unsigned long long)tokens->n, LLRTI_VOCAB_MAX);
    LLRTI_TRY(check_length(types, tokens->n, err));
    LLRTI_TRY(check_length(scores, tokens->n, err));
    const llrti_string *const text = tokens->value.array;
    const uint32_t n = (uint32_t)tokens->n;
    size_t n_text = 0, longest = 1;
    for (uint32_t id = 0; id < n; id++) {
        if (!llrti_add_size(n_text, text[id].n, &n_text)) break;
        if (text[id].n > longest) longest = text[id].n;
    }
    LLRTI_TRY(llrti_vocab_reserve(&t->vocab, n, n_text, err));
    char *const resolved = llrti_alloc(t->mem, longest, LLRT_MEMORY_HOST);
    if (!resolved) return llrti_fail_nomem(err, "a token's text", longest);
    llrt_status status = LLRT_OK;
    for (uint32_t id = 0; id < n && status == LLRT_OK; id++) {
        const llrt_token_type type =
            types ? (llrt_token_type)read_u32(types->value.array, id) : LLRT_TOKEN_NORMAL;
        const float score = scores ? read_f32(scores->value.array, id) : 0.0f;
        if (text[id].n == 0 && type == LLRT_TOKEN_BYTE) continue;
        status = set_token(t, id, text[id], type, score, resolved, err);
    }
    llrti_free(t->mem, resolved);
    if (status < 0) return status;
    return llrti_vocab_index(&t->vocab, is_spm, err);
}

static llrt_status add_patterns(llrt_tokenizer *t, llrt_error *err)
{
    for (uint32_t id = 0; id < t->vocab.n_vocab; id++) {
        const llrti_vocab_entry *const entry = &t->vocab.entry[id];
        const bool is_special =
            entry->type == LLRT_TOKEN_CONTROL || entry->type == LLRT_TOKEN_UNKNOWN;
        if (!is_special && entry->type != LLRT_TOKEN_USER_DEFINED) continue;
        const llrti_added_token token = {t->vocab.text + entry->at, entry->n, (int32_t)id,
                                         is_special ? (uint32_t)LLRTI_ADDED_SPECIAL : 0};
        if (!llrti_added_tokens_add(&t->added, token))
            return llrti_fail_nomem(err, "the special tokens", sizeof token);
    }
    llrti_added_tokens_finish(&t->added);
    return LLRT_OK;
}

static llrt_status load_merges(llrt_tokenizer *t, const llrti_model_file *file, llrt_error *err)
{
    const llrti_meta *merges;
    LLRTI_TRY(find_array(file, KEY("merges"), LLRTI_META_STRING, &merges, err));
    if (!merges)
        return llrti_fail_field(err, LLRT_ERR_FORMAT, KEY("merges"),
                                "found none, expected the merges of a byte-level vocabulary");
    if (merges->n > UINT32_MAX / 4)
        return llrti_fail_field(err, LLRT_ERR_FORMAT, KEY("merges"), "found %llu merges",
                                (unsigned long long)merges->n);
    LLRTI_TRY(llrti_bpe_reserve(&t->bpe, (size_t)merges->n, err));
    const llrti_string *const merge = merges->value.array;
    LLRTI_VEC(char) text = {0};
    llrt_status status = LLRT_OK;
    for (uint32_t rank = 0; rank < merges->n; rank++) {
        const char *const line = merge[rank].data;
        const size_t n = merge[rank].n;
        /* The first character may itself be a space in files of other makers. */
        const char *const space = n > 2 ? memchr(line + 1, ' ', n - 1) : NULL;
        if (!space || space == line + n - 1) {
            char quoted[LLRTI_TEXT_QUOTE_SIZE];
            status = llrti_fail_field(err, LLRT_ERR_FORMAT, KEY("merges"),
                                      "found merge %u %s, expected two tokens with a space between",
                                      rank, llrti_text_quote(quoted, sizeof quoted, line, n));
            break;
        }
        if (!llrti_vec_reserve(t->mem, &text, n, LLRT_MEMORY_HOST)) {
            status = llrti_fail_nomem(err, "a merge", n);
            break;
        }
        const size_t n_left = llrti_bytelevel_decode(line, (size_t)(space - line), text.data);
        const size_t n_right =
            llrti_bytelevel_decode(space + 1, n - (size_t)(space - line) - 1, text.data + n_left);
        const int32_t left = llrti_vocab_find(&t->vocab, text.data, n_left);
        const int32_t right = llrti_vocab_find(&t->vocab, text.data + n_left, n_right);
        const int32_t id = llrti_vocab_find(&t->vocab, text.data, n_left + n_right);
        if (left != LLRT_TOKEN_NONE && right != LLRT_TOKEN_NONE && id != LLRT_TOKEN_NONE)
            llrti_bpe_add(&t->bpe, left, right, rank, id);
    }
    llrti_vec_free(t->mem, &text);
    return status;
}

/* A boolean key; `otherwise` when it is absent. */
static llrt_status read_bool(const llrti_model_file *file, const char *key, bool otherwise,
                             bool *out, llrt_error *err)
{
    const llrti_meta *const meta = llrti_model_file_find_meta(file, key);
    *out = otherwise;
    if (!meta) return LLRT_OK;
    if (meta->type != LLRTI_META_BOOL)
        return llrti_fail_field(err, LLRT_ERR_FORMAT, key,
                                "found a value of type %s, expected bool",
                                llrti_meta_type_name(meta->type));
    *out = meta->value.u != 0;
    return LLRT_OK;
}

/* A token id; LLRT_TOKEN_NONE when absent or, as some writers say none, 2^32 - 1 or -1. */
static llrt_status read_id(const llrt_tokenizer *t, const llrti_model_file *file, const char *key,
                           int32_t *out, llrt_error *err)
{
    const llrti_meta *const meta = llrti_model_file_find_meta(file, key);
    *out = LLRT_TOKEN_NONE;
    if (!meta) return LLRT_OK;
    uint64_t id;
    switch (meta->type) {
    case LLRTI_META_U8:
    case LLRTI_META_U16:
    case LLRTI_META_U32:
    case LLRTI_META_U64:
        id = meta->value.u;
        break;
    case LLRTI_META_I8:
    case LLRTI_META_I16:
    case LLRTI_META_I32:
    case LLRTI_META_I64:
        id = meta->value.i == -1 ? UINT32_MAX : (uint64_t)meta->value.i;
        break;
    default:
        return llrti_fail_field(err, LLRT_ERR_FORMAT, key,
                                "found a value of type %s, expected an integer",
                                llrti_meta_type_name(meta->type));
    }
    if (id == UINT32_MAX) return LLRT_OK;
    if (id >= t->vocab.n_vocab)
        return llrti_fail_field(err, LLRT_ERR_FORMAT, key, "found %llu, expected less than %u",
                                (unsigned long long)id, t->vocab.n_vocab);
    *out = (int32_t)id;
    return LLRT_OK;
}

static llrt_status load_specials(llrt_tokenizer *t, const llrti_model_file *file, llrt_error *err)
{
    static const struct {
        const char *key;
        llrt_special which;
    } keys[] = {
        {KEY("bos_token_id"), LLRT_SPECIAL_BOS},       {KEY("eos_token_id"), LLRT_SPECIAL_EOS},
        {KEY("eot_token_id"), LLRT_SPECIAL_EOT},       {KEY("unknown_token_id"), LLRT_SPECIAL_UNK},
        {KEY("seperator_token_id"), LLRT_SPECIAL_SEP}, /* so spelled in the files */
        {KEY("padding_token_id"), LLRT_SPECIAL_PAD},   {KEY("cls_token_id"), LLRT_SPECIAL_CLS},
        {KEY("mask_token_id"), LLRT_SPECIAL_MASK},
    };
    for (size_t i = 0; i < LLRTI_COUNT(keys); i++)
        LLRTI_TRY(read_id(t, file, keys[i].key, &t->special[keys[i].which], err));
    int32_t eom;
    LLRTI_TRY(read_id(t, file, KEY("eom_token_id"), &eom, err));
    if (eom != LLRT_TOKEN_NONE) t->vocab.entry[eom].is_end = 1;
    const bool is_spm = t->kind == &llrti_kind_spm;
    if (is_spm) { /* what SentencePiece numbers so by default */
        static const struct {
            llrt_special which;
            llrt_token_type type;
        } usual[3] = {{LLRT_SPECIAL_UNK, LLRT_TOKEN_UNKNOWN},
                      {LLRT_SPECIAL_BOS, LLRT_TOKEN_CONTROL},
                      {LLRT_SPECIAL_EOS, LLRT_TOKEN_CONTROL}};
        for (int32_t id = 0; id < 3 && (uint32_t)id < t->vocab.n_vocab; id++)
            if (t->special[usual[id].which] == LLRT_TOKEN_NONE &&
                t->vocab.entry[id].type == usual[id].type)
                t->special[usual[id].which] = id;
    }
    bool add_bos, add_eos;
    LLRTI_TRY(read_bool(file, KEY("add_bos_token"), is_spm || t->pretokenizer.is_adding_bos,
                        &add_bos, err));
    LLRTI_TRY(read_bool(file, KEY("add_eos_token"), false, &add_eos, err));
    if (add_bos && t->special[LLRT_SPECIAL_BOS] != LLRT_TOKEN_NONE)
        t->before[t->n_before++] = t->special[LLRT_SPECIAL_BOS];
    if (add_eos && t->special[LLRT_SPECIAL_EOS] != LLRT_TOKEN_NONE)
        t->after[t->n_after++] = t->special[LLRT_SPECIAL_EOS];
    return LLRT_OK;
}

static bool is_text(const llrti_meta *meta, const char *text)
{
    return meta->type == LLRTI_META_STRING && meta->value.s.n == strlen(text) &&
           memcmp(meta->value.s.data, text, meta->value.s.n) == 0;
}

/* The kind, from tokenizer.ggml.model, and its pre-tokenizer, from tokenizer.ggml.pre. */
static llrt_status choose_kind(llrt_tokenizer *t, const llrti_model_file *file, llrt_error *err)
{
    char quoted[LLRTI_TEXT_QUOTE_SIZE];
    const llrti_meta *const model = llrti_model_file_find_meta(file, KEY("model"));
    if (!model || is_text(model, "none") || is_text(model, "no_vocab"))
        return llrti_fail_field(err, LLRT_ERR_NOT_FOUND, KEY("model"), "the file has no tokenizer");
    if (model->type != LLRTI_META_STRING)
        return llrti_fail_field(err, LLRT_ERR_FORMAT, KEY("model"),
                                "found a value of type %s, expected string",
                                llrti_meta_type_name(model->type));
    if (is_text(model, "llama")) {
        t->kind = &llrti_kind_spm;
        t->has_byte_fallback = true;
        return LLRT_OK;
    }
    if (!is_text(model, "gpt2"))
        return llrti_fail_field(
            err, LLRT_ERR_UNSUPPORTED, KEY("model"), "found tokenizer %s, known are llama and gpt2",
            llrti_text_quote(quoted, sizeof quoted, model->value.s.data, model->value.s.n));
    t->kind = &llrti_kind_bytelevel;
    const llrti_meta *const pre = llrti_model_file_find_meta(file, KEY("pre"));
    if (pre && pre->type != LLRTI_META_STRING)
        return llrti_fail_field(err, LLRT_ERR_FORMAT, KEY("pre"),
                                "found a value of type %s, expected string",
                                llrti_meta_type_name(pre->type));
    const llrti_string name = pre ? pre->value.s : (llrti_string){"default", 7};
    if (llrti_pretokenizer_by_name(name.data, name.n, &t->pretokenizer)) return LLRT_OK;
    return llrti_fail_field(
        err, LLRT_ERR_UNSUPPORTED, KEY("pre"), "found pre-tokenizer %s, known are %s",
        llrti_text_quote(quoted, sizeof quoted, name.data, name.n), llrti_pretokenizer_names());
}

llrt_status llrti_tokenizer_load_gguf(llrt_tokenizer *tokenizer, const llrti_model_file *file,
                                      llrt_error *err)
{
    llrt_tokenizer *const t = tokenizer;
    LLRTI_TRY(choose_kind(t, file, err));
    const bool is_spm = t->kind == &llrti_kind_spm;
    t->normalizer.is_folding_space = is_spm;
    LLRTI_TRY(load_tokens(t, file, err));
    LLRTI_TRY(add_patterns(t, err));
    LLRTI_TRY(load_specials(t, file, err));
    bool add_space, trim;
    LLRTI_TRY(read_bool(file, KEY("add_space_prefix"), is_spm, &add_space, err));
    LLRTI_TRY(read_bool(file, KEY("remove_extra_whitespaces"), false, &trim, err));
    if (trim)
        LLRTI_TRY(llrti_normalizer_add(&t->normalizer, LLRTI_NORMALIZE_TRIM_SPACES, NULL, 0, NULL,
                                       0, err));
    if (is_spm) {
        LLRTI_TRY(llrti_spm_build_pairs(t, err));
        llrti_spm_examine(t);
        t->is_stripping_space = add_space;
        if (add_space)
            LLRTI_TRY(llrti_normalizer_add(&t->normalizer, LLRTI_NORMALIZE_PREPEND, " ", 1, NULL, 0,
                                           err));
    } else {
        llrti_bytelevel_find_bytes(t);
        if (add_space) t->prefix_space = LLRTI_PREFIX_ALWAYS;
        LLRTI_TRY(load_merges(t, file, err));
    }
    llrti_tokenizer_finish(t);
    return LLRT_OK;
}
