/* SPDX-License-Identifier: MIT */
/*
 * Loads a tokenizer from a tokenizer.json of Hugging Face's format: vocabulary and
 * merges of a BPE model, added tokens; and what config.json, generation_config.json and
 * tokenizer_config.json beside it say about special tokens. The pipeline around the
 * vocabulary is read by tokenizer_pipeline.c.
 *
 * Ids may have gaps, which become unused tokens, but no more than there are tokens and some.
 */
#include "tokenizer_impl.h"

#include <string.h>

#include "error.h"
#include "text.h"

#define MAX_GAP 65536 /* ids without a token that are accepted on the word of a file */

/* Writes what a token of the vocabulary decodes to; returns its length, at most n. */
static size_t resolve(const llrt_tokenizer *t, const char *text, size_t n, char *out)
{
    return t->kind == &llrti_kind_spm ? llrti_normalizer_fold(text, n, out)
                                      : llrti_bytelevel_decode(text, n, out);
}

static llrt_status fail_id(const char *field, const char *name, int64_t id, int64_t limit,
                           llrt_error *err)
{
    char quoted[LLRTI_TEXT_QUOTE_SIZE];
    return llrti_fail_field(
        err, LLRT_ERR_FORMAT, field,
        "found id %lld of token %s, expected an integer from 0 to %lld", (long long)id,
        llrti_text_quote(quoted, sizeof quoted, name, strlen(name)), (long long)limit - 1);
}

typedef struct source_lists {
    const llrti_json *vocab, *merges, *added;
} source_lists;

/* Checks the lists and reserves the vocabulary; *longest gets the size of the longest token. */
static llrt_status reserve_vocab(llrt_tokenizer *t, const source_lists *lists, size_t *longest,
                                 llrt_error *err)
{
    const llrti_json *const vocab = lists->vocab, *const added = lists->added;
    if (!vocab || vocab->type != LLRTI_JSON_OBJECT || vocab->n == 0)
        return llrti_fail_field(err, LLRT_ERR_FORMAT, "model.vocab",
                                "found none, expected an object of tokens and ids");
    const uint32_t n_added = added && added->type == LLRTI_JSON_ARRAY ? added->n : 0;
    const int64_t limit = (int64_t)vocab->n + n_added + MAX_GAP;
    int64_t last = 0;
    size_t n_text = 0;
    *longest = 1;
    for (uint32_t i = 0; i < vocab->n; i++) {
        const llrti_json *const token = &vocab->value.first[i];
        const int64_t id = llrti_json_int(token, -1);
        if (id < 0 || id >= limit) return fail_id("model.vocab", token->key, id, limit, err);
        last = LLRTI_MAX(last, id);
        n_text += token->n_key;
        *longest = LLRTI_MAX(*longest, (size_t)token->n_key);
    }
    for (uint32_t i = 0; i < n_added; i++) {
        const llrti_json *const token = &added->value.first[i];
        const llrti_json *const content = llrti_json_get(token, "content");
        const int64_t id = llrti_json_int(llrti_json_get(token, "id"), -1);
        if (!content || content->type != LLRTI_JSON_STRING)
            return llrti_fail_field(err, LLRT_ERR_FORMAT, "added_tokens",
                                    "found no content of entry %u, expected a string", i);
        if (id < 0 || id >= limit) return fail_id("added_tokens", content->value.s, id, limit, err);
        last = LLRTI_MAX(last, id);
        n_text += content->n;
    }
    return llrti_vocab_reserve(&t->vocab, (size_t)last + 1, n_text, err);
}

static llrt_status load_vocab(llrt_tokenizer *t, const source_lists *lists, const char *unknown,
                              llrt_error *err)
{
    size_t longest = 0; /* Set by reserve_vocab; gcc cannot see that a failure returns. */
    LLRTI_TRY(reserve_vocab(t, lists, &longest, err));
    char *const text = llrti_alloc(t->mem, longest, LLRT_MEMORY_HOST);
    if (!text) return llrti_fail_nomem(err, "a token's text", longest);
    llrt_status status = LLRT_OK;
    for (uint32_t i = 0; i < lists->vocab->n; i++) {
        const llrti_json *const token = &lists->vocab->value.first[i];
        const uint32_t id = (uint32_t)llrti_json_int(token, 0);
        if (t->vocab.entry[id].type != 0) {
            status = llrti_fail_field(err, LLRT_ERR_FORMAT, "model.vocab",
                                      "found id %u twice, expected different ids", id);
            break;
        }
        llrt_token_type type = LLRT_TOKEN_NORMAL;
        size_t n = resolve(t, token->key, token->n_key, text);
        const int byte = t->has_byte_fallback ? llrti_spm_byte(token->key, token->n_key) : -1;
        if (byte >= 0) {
            type = LLRT_TOKEN_BYTE;
            text[0] = (char)byte;
            n = 1;
            t->vocab.byte_id[byte] = (int32_t)id;
        }
        if (unknown && strcmp(unknown, token->key) == 0) {
            type = LLRT_TOKEN_UNKNOWN;
            t->special[LLRT_SPECIAL_UNK] = (int32_t)id;
        }
        llrti_vocab_set(&t->vocab, id, text, n, type, 0.0f);
    }
    llrti_free(t->mem, text);
    return status;
}

/* Adds a pattern for text after normalization, which it takes a normalized copy of. */
static llrt_status add_normalized(llrt_tokenizer *t, llrti_added_token token, llrt_error *err)
{
    llrti_normalizer_scratch scratch;
    llrti_normalizer_scratch_init(&scratch, t->mem);
    const char *text = token.text;
    size_t n = token.n;
    llrt_status status = llrti_normalizer_run(&t->normalizer, &scratch, &text, &n, err);
    if (status == LLRT_OK && n > 0) {
        char *const copy = llrti_strndup(t->mem, text, n, LLRT_MEMORY_HOST);
        token.text = copy;
        token.n = (uint32_t)n;
        if (!copy || !llrti_added_tokens_add(&t->added_normalized, token)) {
            llrti_free(t->mem, copy);
            status = llrti_fail_nomem(err, "an added token", n);
        }
    }
    llrti_normalizer_scratch_free(&scratch);
    return status;
}

static llrt_status load_added(llrt_tokenizer *t, const llrti_json *added, llrt_error *err)
{
    for (uint32_t i = 0; added && added->type == LLRTI_JSON_ARRAY && i < added->n; i++) {
        const llrti_json *const node = &added->value.first[i];
        const llrti_json *const content = llrti_json_get(node, "content");
        const uint32_t id = (uint32_t)llrti_json_int(llrti_json_get(node, "id"), 0);
        llrti_vocab_entry *const entry = &t->vocab.entry[id];
        const bool is_special = llrti_json_bool(llrti_json_get(node, "special"), false);
        const bool is_unknown = entry->type == LLRT_TOKEN_UNKNOWN;
        llrti_vocab_set(&t->vocab, id, content->value.s, content->n,
                        is_unknown   ? LLRT_TOKEN_UNKNOWN
                        : is_special ? LLRT_TOKEN_CONTROL
                                     : LLRT_TOKEN_USER_DEFINED,
                        0.0f);
        llrti_added_token token = {t->vocab.text + entry->at, entry->n, (int32_t)id, 0};
        static const struct {
            const char *key;
            uint32_t flag;
        } flags[] = {{"special", LLRTI_ADDED_SPECIAL},
                     {"lstrip", LLRTI_ADDED_LSTRIP},
                     {"rstrip", LLRTI_ADDED_RSTRIP},
                     {"single_word", LLRTI_ADDED_SINGLE_WORD}};
        for (size_t k = 0; k < LLRTI_COUNT(flags); k++)
            if (llrti_json_bool(llrti_json_get(node, flags[k].key), false))
                token.flags |= flags[k].flag;
        if (llrti_json_bool(llrti_json_get(node, "normalized"), !is_special))
            LLRTI_TRY(add_normalized(t, token, err));
        else if (!llrti_added_tokens_add(&t->added, token))
            return llrti_fail_nomem(err, "the added tokens", added->n * sizeof token);
    }
    llrti_added_tokens_finish(&t->added);
    llrti_added_tokens_finish(&t->added_normalized);
    return LLRT_OK;
}

/* Adds the merge of two tokens. False when the vocabulary lacks one of them or their merge. */
static bool add_merge(llrt_tokenizer *t, llrti_string left, llrti_string right, uint32_t rank,
                      char *text)
{
    const size_t n_left = resolve(t, left.data, left.n, text);
    const size_t n_right = resolve(t, right.data, right.n, text + n_left);
    const int32_t left_id = llrti_vocab_find(&t->vocab, text, n_left);
    const int32_t right_id = llrti_vocab_find(&t->vocab, text + n_left, n_right);
    const int32_t id = llrti_vocab_find(&t->vocab, text, n_left + n_right);
    if (left_id == LLRT_TOKEN_NONE || right_id == LLRT_TOKEN_NONE || id == LLRT_TOKEN_NONE)
        return false;
    llrti_bpe_add(&t->bpe, left_id, right_id, rank, id);
    return true;
}

/*
 * A merge is ["left", "right"] or "left right". Some writers lost what set other white space
 * apart, so of several spaces the first counts that leaves tokens on both sides.
 */
static llrt_status read_merge(llrt_tokenizer *t, const llrti_json *merge, uint32_t rank, char *text,
                              llrt_error *err)
{
    bool is_pair = false;
    if (merge->type == LLRTI_JSON_ARRAY && merge->n == 2) {
        const llrti_json *const part = merge->value.first;
        is_pair = part[0].type == LLRTI_JSON_STRING && part[1].type == LLRTI_JSON_STRING;
        if (is_pair && add_merge(t, (llrti_string){part[0].value.s, part[0].n},
                                 (llrti_string){part[1].value.s, part[1].n}, rank, text))
            return LLRT_OK;
    } else if (merge->type == LLRTI_JSON_STRING) {
        const char *const line = merge->value.s;
        uint32_t n_try = 0;
        for (uint32_t at = 1; at + 1 < merge->n && n_try < 16; at++) {
            if (line[at] != ' ') continue;
            n_try++;
            is_pair = true;
            if (add_merge(t, (llrti_string){line, at},
                          (llrti_string){line + at + 1, merge->n - at - 1}, rank, text))
                return LLRT_OK;
        }
    }
    char quoted[LLRTI_TEXT_QUOTE_SIZE];
    const char *const shown = merge->type == LLRTI_JSON_STRING ? merge->value.s : "of an array";
    return llrti_fail_field(err, LLRT_ERR_FORMAT, "model.merges", "found merge %u %s, expected %s",
                            rank, llrti_text_quote(quoted, sizeof quoted, shown, strlen(shown)),
                            is_pair ? "tokens of the vocabulary" : "two tokens");
}

/* Bytes of the longest merge, as room for its text. */
static size_t longest_merge(const llrti_json *merges)
{
    size_t longest = 1;
    for (uint32_t i = 0; i < merges->n; i++) {
        const llrti_json *const merge = &merges->value.first[i];
        size_t n = merge->type == LLRTI_JSON_STRING ? merge->n : 0;
        for (uint32_t k = 0; merge->type == LLRTI_JSON_ARRAY && k < merge->n; k++)
            if (merge->value.first[k].type == LLRTI_JSON_STRING) n += merge->value.first[k].n;
        longest = LLRTI_MAX(longest, n);
    }
    return longest;
}

static llrt_status load_merges(llrt_tokenizer *t, const llrti_json *merges, llrt_error *err)
{
    if (!merges || merges->type != LLRTI_JSON_ARRAY)
        return llrti_fail_field(err, LLRT_ERR_FORMAT, "model.merges",
                                "found none, expected an array of merges");
    LLRTI_TRY(llrti_bpe_reserve(&t->bpe, merges->n, err));
    const size_t longest = longest_merge(merges);
    char *const text = llrti_alloc(t->mem, longest, LLRT_MEMORY_HOST);
    if (!text) return llrti_fail_nomem(err, "a merge", longest);
    llrt_status status = LLRT_OK;
    for (uint32_t rank = 0; rank < merges->n && status == LLRT_OK; rank++)
        status = read_merge(t, &merges->value.first[rank], rank, text, err);
    llrti_free(t->mem, text);
    return status;
}

static llrt_status check_model(const llrti_json *model, llrt_error *err)
{
    static const char *const affixes[] = {"continuing_subword_prefix", "end_of_word_suffix"};
    const char *const type = llrti_json_string(llrti_json_get(model, "type"), "BPE");
    char quoted[LLRTI_TEXT_QUOTE_SIZE];
    if (!model || model->type != LLRTI_JSON_OBJECT)
        return llrti_fail_field(err, LLRT_ERR_FORMAT, "model", "found none, expected an object");
    if (strcmp(type, "BPE") != 0)
        return llrti_fail_field(err, LLRT_ERR_UNSUPPORTED, "model.type", "found %s, known is BPE",
                                llrti_text_quote(quoted, sizeof quoted, type, strlen(type)));
    for (size_t i = 0; i < LLRTI_COUNT(affixes); i++) {
        const char *const affix = llrti_json_string(llrti_json_get(model, affixes[i]), "");
        if (*affix)
            return llrti_fail_field(err, LLRT_ERR_UNSUPPORTED, "model",
                                    "found %s %s, known is none", affixes[i],
                                    llrti_text_quote(quoted, sizeof quoted, affix, strlen(affix)));
    }
    return LLRT_OK;
}

static llrt_status load_root(llrt_tokenizer *t, const llrti_json *root, llrt_error *err)
{
    const llrti_json *const model = llrti_json_get(root, "model");
    LLRTI_TRY(check_model(model, err));
    LLRTI_TRY(llrti_tokenizer_read_pipeline(t, root, err));
    const source_lists lists = {llrti_json_get(model, "vocab"), llrti_json_get(model, "merges"),
                                llrti_json_get(root, "added_tokens")};
    const bool is_spm = t->kind == &llrti_kind_spm;
    t->has_byte_fallback = is_spm && llrti_json_bool(llrti_json_get(model, "byte_fallback"), false);
    t->is_fusing_unknown = llrti_json_bool(llrti_json_get(model, "fuse_unk"), false);
    t->pretokenizer.is_ignoring_merges =
        llrti_json_bool(llrti_json_get(model, "ignore_merges"), false);
    const char *const unknown = llrti_json_string(llrti_json_get(model, "unk_token"), NULL);
    LLRTI_TRY(load_vocab(t, &lists, unknown, err));
    LLRTI_TRY(load_added(t, lists.added, err));
    LLRTI_TRY(llrti_vocab_index(&t->vocab, false, err));
    LLRTI_TRY(load_merges(t, lists.merges, err));
    if (is_spm)
        llrti_spm_examine(t);
    else
        llrti_bytelevel_find_bytes(t);
    LLRTI_TRY(llrti_tokenizer_read_post(t, root, err));
    return LLRT_OK;
}

/* Special ids by the names they usually have, where no file named them. */
static void guess_specials(llrt_tokenizer *t)
{
    static const struct {
        llrt_special which;
        const char *name;
    } usual[] = {
        {LLRT_SPECIAL_BOS, "<s>"},           {LLRT_SPECIAL_BOS, "<|begin_of_text|>"},
        {LLRT_SPECIAL_EOS, "</s>"},          {LLRT_SPECIAL_EOS, "<|end_of_text|>"},
        {LLRT_SPECIAL_EOS, "<|endoftext|>"},
    };
    for (size_t i = 0; i < LLRTI_COUNT(usual); i++)
        if (t->special[usual[i].which] == LLRT_TOKEN_NONE)
            t->special[usual[i].which] =
                llrti_tokenizer_find_added(t, usual[i].name, strlen(usual[i].name));
}

llrt_status llrti_tokenizer_load_json(llrt_tokenizer *tokenizer, const char *text, size_t n,
                                      llrt_error *err)
{
    llrti_json_doc *doc = NULL;
    llrt_status status = llrti_json_parse(tokenizer->mem, text, n, &doc, err);
    if (status == LLRT_OK) status = load_root(tokenizer, llrti_json_root(doc), err);
    llrti_json_free(doc);
    return status;
}

/* Extends the vocabulary to the rows that the model has, without text. */
static llrt_status extend_vocab(llrt_tokenizer *t, int64_t n_row, llrt_error *err)
{
    llrti_vocab *const vocab = &t->vocab;
    if (n_row <= vocab->n_vocab || n_row - vocab->n_vocab > MAX_GAP || vocab->n != vocab->n_vocab)
        return LLRT_OK;
    llrti_vocab_entry *const entry =
        llrti_realloc(t->mem, vocab->entry, (size_t)n_row * sizeof *entry, LLRT_MEMORY_HOST);
    if (!entry) return llrti_fail_nomem(err, "the vocabulary", (size_t)n_row * sizeof *entry);
    for (int64_t id = vocab->n_vocab; id < n_row; id++)
        entry[id] = (llrti_vocab_entry){.type = LLRT_TOKEN_UNUSED};
    vocab->entry = entry;
    vocab->n_vocab = vocab->n = vocab->n_entry = (uint32_t)n_row;
    return LLRT_OK;
}

/* The id that tokenizer_config.json means by "bos_token" and the like. */
static int32_t named_token(const llrt_tokenizer *t, const llrti_json *config, const char *key)
{
    const llrti_json *node = llrti_json_get(config, key);
    if (node && node->type == LLRTI_JSON_OBJECT) node = llrti_json_get(node, "content");
    if (!node || node->type != LLRTI_JSON_STRING) return LLRT_TOKEN_NONE;
    return llrt_tokenizer_find(t, node->value.s, node->n);
}

/* eos_token_id of a config: one id or a list. Marks all as ends, returns the first. */
static int32_t mark_ends(llrt_tokenizer *t, const llrti_json *config)
{
    const llrti_json *const node = llrti_json_get(config, "eos_token_id");
    int32_t first = LLRT_TOKEN_NONE;
    if (!node) return first;
    const bool is_list = node->type == LLRTI_JSON_ARRAY;
    const uint32_t n = is_list ? node->n : 1;
    for (uint32_t i = 0; i < n; i++) {
        const int64_t id = llrti_json_int(is_list ? &node->value.first[i] : node, -1);
        if (id < 0 || id >= t->vocab.n_vocab)
            continue; /* some files list ids beyond the vocabulary */
        t->vocab.entry[id].is_end = 1;
        if (first == LLRT_TOKEN_NONE) first = (int32_t)id;
    }
    return first;
}

llrt_status llrti_tokenizer_load_config(llrt_tokenizer *tokenizer, const llrti_json *config,
                                        const llrti_json *generation,
                                        const llrti_json *tokenizer_config, llrt_error *err)
{
    static const struct {
        const char *key;
        llrt_special which;
    } names[] = {{"bos_token", LLRT_SPECIAL_BOS},  {"eos_token", LLRT_SPECIAL_EOS},
                 {"unk_token", LLRT_SPECIAL_UNK},  {"sep_token", LLRT_SPECIAL_SEP},
                 {"pad_token", LLRT_SPECIAL_PAD},  {"cls_token", LLRT_SPECIAL_CLS},
                 {"mask_token", LLRT_SPECIAL_MASK}};
    llrt_tokenizer *const t = tokenizer;
    LLRTI_TRY(extend_vocab(t, llrti_json_int(llrti_json_get(config, "vocab_size"), 0), err));
    for (size_t i = 0; i < LLRTI_COUNT(names); i++) {
        const int32_t id = named_token(t, tokenizer_config, names[i].key);
        if (id != LLRT_TOKEN_NONE) t->special[names[i].which] = id;
    }
    const int32_t eos[2] = {mark_ends(t, generation), mark_ends(t, config)};
    for (size_t i = 0; i < 2; i++)
        if (t->special[LLRT_SPECIAL_EOS] == LLRT_TOKEN_NONE) t->special[LLRT_SPECIAL_EOS] = eos[i];
    const int64_t bos = llrti_json_int(llrti_json_get(config, "bos_token_id"), -1);
    if (t->special[LLRT_SPECIAL_BOS] == LLRT_TOKEN_NONE && bos >= 0 && bos < t->vocab.n_vocab)
        t->special[LLRT_SPECIAL_BOS] = (int32_t)bos;
    if (!config && !tokenizer_config) guess_specials(t);
    llrti_tokenizer_finish(t);
    return LLRT_OK;
}
