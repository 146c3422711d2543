/* SPDX-License-Identifier: MIT */
/*
 * Tokenizers from tokenizer.json to GGUF metadata.
 *
 * Byte-level vocabularies keep their merges. SentencePiece vocabularies are told by scores instead,
 * which tokenizer.json does not have: since its merges are listed by falling score of what they
 * make, minus the place of a token's first merge is a score that gives the same merges. That an
 * added token takes the white space beside it with it (lstrip, rstrip) is lost: GGUF files can't
 * say so.
 */
#include "quant_vocab.h"

#include <string.h>

#include "error.h"
#include "half.h"
#include "json.h"
#include "map.h"
#include "text.h"
#include "tokenizer_impl.h"

#define KEY(name) "tokenizer.ggml." name

typedef struct vocab {
    llrti_mem *mem;
    llrti_quant_meta *metas;
    const llrt_tokenizer *tokenizer; /* of the folder */
    const llrti_json *root;          /* of tokenizer.json */
    llrti_string *token;             /* (n) in the metadata's arena */
    uint32_t n;
    llrt_error *err;
} vocab;

static bool is_spm(const vocab *v)
{
    return v->tokenizer->kind == &llrti_kind_spm;
}

static void set_string(vocab *v, const char *key, const char *text)
{
    llrti_quant_meta_string(v->metas, key, text, strlen(text));
}

/* A copy in the metadata's arena. */
static llrti_string copy(vocab *v, const char *text, size_t n)
{
    const llrti_string out = {llrti_arena_strndup(&v->metas->arena, text, n), n};
    if (out.data) return out;
    v->metas->is_short = true;
    return (llrti_string){"", 0};
}

static void store_u32(void *array, size_t at, uint32_t value)
{
    uint8_t *const p = (uint8_t *)array + 4 * at;
    for (int i = 0; i < 4; i++) p[i] = (uint8_t)(value >> 8 * i);
}

/* ---- tokens ---- */

/* The loader of the folder's tokenizer has checked ids and types of what is read here. */
static void add_tokens(vocab *v)
{
    const llrti_json *const names = llrti_json_get(llrti_json_get(v->root, "model"), "vocab");
    const llrti_json *const added = llrti_json_get(v->root, "added_tokens");
    v->token = llrti_quant_meta_array(v->metas, KEY("tokens"), LLRTI_META_STRING, v->n);
    uint8_t *const type = llrti_quant_meta_array(v->metas, KEY("token_type"), LLRTI_META_I32, v->n);
    if (!v->token || !type) return;
    memset(v->token, 0, v->n * sizeof *v->token);
    for (uint32_t i = 0; names && i < names->n; i++) {
        const llrti_json *const name = &names->value.first[i];
        const int64_t id = llrti_json_int(name, -1);
        if (id >= 0 && id < v->n) v->token[id] = copy(v, name->key, name->n_key);
    }
    for (uint32_t i = 0; added && added->type == LLRTI_JSON_ARRAY && i < added->n; i++) {
        const llrti_json *const token = &added->value.first[i];
        const llrti_json *const content = llrti_json_get(token, "content");
        const int64_t id = llrti_json_int(llrti_json_get(token, "id"), -1);
        if (content && content->type == LLRTI_JSON_STRING && id >= 0 && id < v->n)
            v->token[id] = copy(v, content->value.s, content->n);
    }
    for (uint32_t id = 0; id < v->n; id++) {
        uint32_t t = v->tokenizer->vocab.entry[id].type;
        if (!v->token[id].data) { /* a gap, or rows of the embedding beyond the vocabulary */
            char pad[32];
            const size_t n = llrti_text_format(pad, sizeof pad, "[PAD%u]", (unsigned)id);
            v->token[id] = copy(v, pad, n);
            t = LLRT_TOKEN_UNUSED;
        }
        store_u32(type, id, t);
    }
}

/* ---- merges and scores ---- */

/* The two parts of a merge, which is a pair or a text with a space. */
static bool merge_parts(const llrti_json *merge, llrti_string part[2])
{
    if (merge->type == LLRTI_JSON_ARRAY && merge->n == 2) {
        for (uint32_t k = 0; k < 2; k++) {
            const llrti_json *const side = llrti_json_at(merge, k);
            if (side->type != LLRTI_JSON_STRING) return false;
            part[k] = (llrti_string){side->value.s, side->n};
        }
        return true;
    }
    if (merge->type != LLRTI_JSON_STRING || merge->n < 3) return false;
    const char *const text = merge->value.s;
    const char *const space = memchr(text + 1, ' ', merge->n - 2);
    if (!space) return false;
    part[0] = (llrti_string){text, (size_t)(space - text)};
    part[1] = (llrti_string){space + 1, merge->n - (size_t)(space - text) - 1};
    return true;
}

static llrt_status fail_merge(const vocab *v, uint32_t rank)
{
    return llrti_fail_field(v->err, LLRT_ERR_UNSUPPORTED, "model.merges",
                            "merge %u has no form in a GGUF file", (unsigned)rank);
}

static llrt_status add_merges(vocab *v, const llrti_json *merges)
{
    llrti_string *const out =
        llrti_quant_meta_array(v->metas, KEY("merges"), LLRTI_META_STRING, merges->n);
    for (uint32_t i = 0; out && i < merges->n; i++) {
        llrti_string part[2];
        if (!merge_parts(llrti_json_at(merges, i), part) || memchr(part[0].data, ' ', part[0].n) ||
            memchr(part[1].data, ' ', part[1].n))
            return fail_merge(v, i);
        const size_t n = part[0].n + 1 + part[1].n;
        char *const text = llrti_arena_alloc(&v->metas->arena, n + 1, 1);
        if (!text) {
            v->metas->is_short = true;
            return LLRT_OK;
        }
        memcpy(text, part[0].data, part[0].n);
        text[part[0].n] = ' ';
        memcpy(text + part[0].n + 1, part[1].data, part[1].n);
        text[n] = '\0';
        out[i] = (llrti_string){text, n};
    }
    return LLRT_OK;
}

static llrt_status score_merges(vocab *v, const llrti_json *merges, const llrti_map *ids,
                                uint8_t *score, bool *is_made)
{
    LLRTI_VEC(char) text = {0};
    llrt_status status = LLRT_OK;
    for (uint32_t i = 0; i < merges->n && status == LLRT_OK; i++) {
        llrti_string part[2];
        if (!merge_parts(llrti_json_at(merges, i), part)) {
            status = fail_merge(v, i);
            break;
        }
        const size_t n = part[0].n + part[1].n;
        if (!llrti_vec_reserve(v->mem, &text, n, LLRT_MEMORY_HOST)) {
            status = llrti_fail_nomem(v->err, "a merge", n);
            break;
        }
        memcpy(text.data, part[0].data, part[0].n);
        memcpy(text.data + part[0].n, part[1].data, part[1].n);
        const uint32_t id = llrti_map_get(ids, text.data, n);
        if (id == LLRTI_MAP_NONE || is_made[id]) continue;
        is_made[id] = true;
        store_u32(score, id, llrti_float_bits(-(float)i));
    }
    llrti_vec_free(v->mem, &text);
    return status;
}

static llrt_status add_scores(vocab *v, const llrti_json *merges)
{
    uint8_t *const score = llrti_quant_meta_array(v->metas, KEY("scores"), LLRTI_META_F32, v->n);
    bool *const is_made = llrti_calloc(v->mem, v->n, sizeof *is_made, LLRT_MEMORY_HOST);
    llrti_map ids;
    llrti_map_init(&ids, v->mem, LLRT_MEMORY_HOST);
    llrt_status status = LLRT_OK;
    if (!score || !is_made || !llrti_map_reserve(&ids, v->n))
        status = llrti_fail_nomem(v->err, "scores of tokens", v->n);
    for (uint32_t id = 0; id < v->n && status == LLRT_OK; id++) {
        const uint32_t type = v->tokenizer->vocab.entry[id].type;
        /* Pieces that no merge makes are single characters: nothing depends on their scores. */
        const float alone = type == LLRT_TOKEN_NORMAL ? -(float)merges->n - (float)id : 0.0f;
        store_u32(score, id, llrti_float_bits(alone));
        if (type == LLRT_TOKEN_NORMAL)
            status = llrti_map_put(&ids, v->token[id].data, v->token[id].n, id, NULL);
        if (status < 0) status = llrti_fail_nomem(v->err, "scores of tokens", v->n);
    }
    if (status == LLRT_OK) status = score_merges(v, merges, &ids, score, is_made);
    llrti_map_free(&ids);
    llrti_free(v->mem, is_made);
    return status;
}

/* ---- specials ---- */

static bool begins_with_space(const llrt_tokenizer *t, llrt_error *err)
{
    int32_t token[16];
    size_t n = 0;
    if (llrt_tokenizer_encode(t, "the", 3, 0, token, 16, &n, err) < 0 || n == 0) return false;
    size_t n_text;
    const char *const text = llrti_vocab_text(&t->vocab, (uint32_t)token[0], &n_text);
    return n_text > 0 && text[0] == ' ';
}

static llrt_status add_specials(vocab *v)
{
    static const struct {
        llrt_special which;
        const char *key;
    } keys[] = {
        {LLRT_SPECIAL_BOS, KEY("bos_token_id")},       {LLRT_SPECIAL_EOS, KEY("eos_token_id")},
        {LLRT_SPECIAL_EOT, KEY("eot_token_id")},       {LLRT_SPECIAL_UNK, KEY("unknown_token_id")},
        {LLRT_SPECIAL_SEP, KEY("seperator_token_id")}, /* so spelled in the files */
        {LLRT_SPECIAL_PAD, KEY("padding_token_id")},   {LLRT_SPECIAL_CLS, KEY("cls_token_id")},
        {LLRT_SPECIAL_MASK, KEY("mask_token_id")},
    };
    const llrt_tokenizer *const t = v->tokenizer;
    int32_t special[LLRTI_COUNT(t->special)];
    memcpy(special, t->special, sizeof special);
    /* What is put around a text is bos and eos where nothing else is called so. */
    if (special[LLRT_SPECIAL_BOS] == LLRT_TOKEN_NONE && t->n_before == 1)
        special[LLRT_SPECIAL_BOS] = t->before[0];
    if (special[LLRT_SPECIAL_EOS] == LLRT_TOKEN_NONE && t->n_after == 1)
        special[LLRT_SPECIAL_EOS] = t->after[0];
    for (size_t i = 0; i < LLRTI_COUNT(keys); i++)
        if (special[keys[i].which] != LLRT_TOKEN_NONE)
            llrti_quant_meta_u32(v->metas, keys[i].key, (uint32_t)special[keys[i].which]);
    const bool add_bos = t->n_before == 1 && t->before[0] == special[LLRT_SPECIAL_BOS];
    const bool add_eos = t->n_after == 1 && t->after[0] == special[LLRT_SPECIAL_EOS];
    if ((t->n_before && !add_bos) || (t->n_after && !add_eos))
        return llrti_fail_field(v->err, LLRT_ERR_UNSUPPORTED, "post_processor",
                                "found %u tokens in front of a text and %u after it, expected bos "
                                "and eos at most, which is all a GGUF can say",
                                (unsigned)t->n_before, (unsigned)t->n_after);
    llrti_quant_meta_bool(v->metas, KEY("add_bos_token"), add_bos);
    llrti_quant_meta_bool(v->metas, KEY("add_eos_token"), add_eos);
    if (is_spm(v))
        llrti_quant_meta_bool(v->metas, KEY("add_space_prefix"), begins_with_space(t, v->err));
    return LLRT_OK;
}

static llrt_status add_chat_template(vocab *v, const llrti_model_file *folder)
{
    static const char key[] = "tokenizer.chat_template";
    const llrti_json *node =
        llrti_json_get(llrti_model_file_json(folder, "tokenizer_config.json"), "chat_template");
    if (node && node->type == LLRTI_JSON_ARRAY) { /* several by name */
        const llrti_json *const list = node;
        node = NULL;
        for (uint32_t i = 0; i < list->n; i++) {
            const llrti_json *const one = llrti_json_at(list, i);
            if (strcmp(llrti_json_string(llrti_json_get(one, "name"), ""), "default") == 0)
                node = llrti_json_get(one, "template");
        }
    }
    if (node && node->type == LLRTI_JSON_STRING) {
        llrti_quant_meta_string(v->metas, key, node->value.s, node->n);
        return LLRT_OK;
    }
    char *text = NULL;
    size_t n = 0;
    llrt_error ignored = LLRT_ERROR_INIT;
    const llrt_status status =
        llrti_model_file_read_side(folder, v->mem, "chat_template.jinja", &text, &n, &ignored);
    if (status == LLRT_OK) llrti_quant_meta_string(v->metas, key, text, n);
    llrti_free(v->mem, text);
    if (status == LLRT_OK || status == LLRT_ERR_NOT_FOUND) return LLRT_OK;
    llrti_error_copy(v->err, &ignored);
    return status;
}

/* ---- the whole ---- */

static llrt_status add_all(vocab *v, const llrti_model_file *folder)
{
    const llrti_json *const merges = llrti_json_get(llrti_json_get(v->root, "model"), "merges");
    if (!merges || merges->type != LLRTI_JSON_ARRAY)
        return llrti_fail_field(v->err, LLRT_ERR_FORMAT, "model.merges",
                                "found none, expected an array of merges");
    if (is_spm(v)) {
        set_string(v, KEY("model"), "llama");
        set_string(v, KEY("pre"), "default");
    } else {
        const char *const pre = v->tokenizer->pretokenizer.name;
        if (!*pre)
            return llrti_fail_field(v->err, LLRT_ERR_UNSUPPORTED, "pre_tokenizer",
                                    "a GGUF has no name for this chain of pre-tokenizers");
        set_string(v, KEY("model"), "gpt2");
        set_string(v, KEY("pre"), pre);
    }
    add_tokens(v);
    if (!v->metas->is_short) LLRTI_TRY(is_spm(v) ? add_scores(v, merges) : add_merges(v, merges));
    LLRTI_TRY(add_specials(v));
    LLRTI_TRY(add_chat_template(v, folder));
    if (v->metas->is_short) return llrti_fail_nomem(v->err, "the vocabulary", v->n);
    return LLRT_OK;
}

llrt_status llrti_quant_vocab_add(llrti_mem *mem, const llrti_model_file *folder,
                                  llrti_quant_meta *metas, llrt_error *err)
{
    static const char name[] = "tokenizer.json";
    char *text = NULL;
    size_t n = 0;
    llrt_error ignored = LLRT_ERROR_INIT;
    llrt_status status = llrti_model_file_read_side(folder, mem, name, &text, &n, &ignored);
    if (status == LLRT_ERR_NOT_FOUND) {
        llrti_quant_meta_string(metas, KEY("model"), "none", 4);
        return LLRT_OK;
    }
    if (status < 0) {
        llrti_error_copy(err, &ignored);
        return status;
    }
    llrti_json_doc *doc = NULL;
    llrt_tokenizer *tokenizer = NULL;
    status = llrti_tokenizer_create(mem, folder, &tokenizer, err);
    if (status == LLRT_OK) status = llrti_json_parse(mem, text, n, &doc, err);
    if (status == LLRT_OK) {
        vocab v = {.mem = mem,
                   .metas = metas,
                   .tokenizer = tokenizer,
                   .root = llrti_json_root(doc),
                   .n = tokenizer->vocab.n_vocab,
                   .err = err};
        status = add_all(&v, folder);
    }
    if (status < 0) llrti_model_file_blame(folder, name, err);
    llrti_json_free(doc);
    llrti_tokenizer_unref(tokenizer);
    llrti_free(mem, text);
    return status;
}

/* ---- the check ---- */

static llrt_status compare_tokens(const llrt_tokenizer *a, const llrt_tokenizer *b, llrt_error *err)
{
    if (a->vocab.n_vocab != b->vocab.n_vocab)
        return llrti_fail_field(err, LLRT_ERR_UNSUPPORTED, "tokenizer.json",
                                "the GGUF would have %u tokens instead of %u",
                                (unsigned)b->vocab.n_vocab, (unsigned)a->vocab.n_vocab);
    for (uint32_t id = 0; id < a->vocab.n_vocab; id++) {
        const uint32_t type = b->vocab.entry[id].type;
        size_t n[2];
        const char *const left = llrti_vocab_text(&a->vocab, id, &n[0]);
        const char *const right = llrti_vocab_text(&b->vocab, id, &n[1]);
        const bool is_pad = type == LLRT_TOKEN_UNUSED && n[0] == 0;
        if (is_pad ||
            (n[0] == n[1] && memcmp(left, right, n[0]) == 0 && a->vocab.entry[id].type == type))
            continue;
        char quoted[LLRTI_TEXT_QUOTE_SIZE];
        return llrti_fail_field(err, LLRT_ERR_UNSUPPORTED, "tokenizer.json",
                                "token %u %s would change in a GGUF", (unsigned)id,
                                llrti_text_quote(quoted, sizeof quoted, left, n[0]));
    }
    return LLRT_OK;
}

static llrt_status compare_encoding(const llrt_tokenizer *a, const llrt_tokenizer *b,
                                    llrt_error *err)
{
    /* Words, numbers, spaces, contractions, capitals, lines, other scripts, bytes. */
    static const char *const probes[] = {
        "Once upon a time, there was a little girl named Lily.",
        " It's 12345 and 3.14159; they'LL say DON'T (maybe) at 10:30pm!",
        "def f(x):\n    return x**2  # two  spaces\n\n\tif a != b { c += 1; }\r\n",
        "Gr\xc3\xbc\xc3\x9f"
        "e aus K\xc3\xb6ln, \xe6\x97\xa5\xe6\x9c\xac\xe8\xaa\x9e \xf0\x9f\x99\x82 "
        "\xd0\xbf\xd1\x80\xd0\xb8\xd0\xb2\xd0\xb5\xd1\x82",
        "",
        " ",
        "   x",
        "x   ",
        "\n",
        "a\x01z"};
    for (size_t i = 0; i < LLRTI_COUNT(probes); i++) {
        int32_t left[512], right[512];
        size_t n[2];
        const size_t n_text = strlen(probes[i]);
        LLRTI_TRY(llrt_tokenizer_encode(a, probes[i], n_text, LLRT_ENCODE_ADD_SPECIAL, left,
                                        LLRTI_COUNT(left), &n[0], err));
        LLRTI_TRY(llrt_tokenizer_encode(b, probes[i], n_text, LLRT_ENCODE_ADD_SPECIAL, right,
                                        LLRTI_COUNT(right), &n[1], err));
        if (n[0] == n[1] && memcmp(left, right, n[0] * sizeof *left) == 0) continue;
        char quoted[LLRTI_TEXT_QUOTE_SIZE];
        return llrti_fail_field(err, LLRT_ERR_UNSUPPORTED, "tokenizer.json",
                                "a GGUF's tokenizer would cut %s differently",
                                llrti_text_quote(quoted, sizeof quoted, probes[i], n_text));
    }
    return LLRT_OK;
}

llrt_status llrti_quant_vocab_check(llrti_mem *mem, const llrti_model_file *folder,
                                    const llrti_model_file *gguf, llrt_error *err)
{
    const llrti_meta *const model = llrti_model_file_find_meta(gguf, KEY("model"));
    llrt_tokenizer *a = NULL, *b = NULL;
    if (model && model->type == LLRTI_META_STRING && model->value.s.n == 4 &&
        memcmp(model->value.s.data, "none", 4) == 0)
        return LLRT_OK;
    llrt_status status = llrti_tokenizer_create(mem, folder, &a, err);
    if (status == LLRT_OK) status = llrti_tokenizer_create(mem, gguf, &b, err);
    if (status == LLRT_OK) status = compare_tokens(a, b, err);
    if (status == LLRT_OK) status = compare_encoding(a, b, err);
    llrti_tokenizer_unref(a);
    llrti_tokenizer_unref(b);
    return status;
}
