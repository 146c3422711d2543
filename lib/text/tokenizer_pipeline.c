/* SPDX-License-Identifier: MIT */
/*
 * The parts of a tokenizer.json around the vocabulary: normalizer, pre_tokenizer,
 * decoder and post_processor. Together they decide the kind: one that maps text to bytes
 * (ByteLevel) or one that escapes spaces with U+2581 (SentencePiece).
 *
 * Only combinations whose meaning this build reproduces exactly are accepted; anything else is
 * LLRT_ERR_UNSUPPORTED with its name and the names that are known.
 */
#include "tokenizer_impl.h"

#include <string.h>

#include "error.h"
#include "text.h"

/* The list of parts: the members of a Sequence, or the part itself. */
typedef struct parts {
    const llrti_json *first;
    uint32_t n;
} parts;

static parts list_parts(const llrti_json *node, const char *sequence_key)
{
    if (!node || node->type != LLRTI_JSON_OBJECT) return (parts){NULL, 0};
    if (strcmp(llrti_json_string(llrti_json_get(node, "type"), ""), "Sequence") != 0)
        return (parts){node, 1};
    const llrti_json *const list = llrti_json_get(node, sequence_key);
    if (!list || list->type != LLRTI_JSON_ARRAY) return (parts){NULL, 0};
    return (parts){list->value.first, list->n};
}

static const char *type_of(const llrti_json *node)
{
    return llrti_json_string(llrti_json_get(node, "type"), "(none)");
}

static llrt_status fail_unknown(const char *field, const char *found, const char *known,
                                llrt_error *err)
{
    char quoted[LLRTI_TEXT_QUOTE_SIZE];
    return llrti_fail_field(err, LLRT_ERR_UNSUPPORTED, field, "found %s, known are %s",
                            llrti_text_quote(quoted, sizeof quoted, found, strlen(found)), known);
}

/* The same where what was found has no name: `found` is a description. */
static llrt_status fail_part(const char *field, const char *found, const char *expected,
                             llrt_error *err)
{
    return llrti_fail_field(err, LLRT_ERR_UNSUPPORTED, field, "found %s, expected %s", found,
                            expected);
}

static llrt_status read_replacement(llrt_tokenizer *t, const llrti_json *part, llrt_error *err)
{
    const llrti_json *const from = llrti_json_get(llrti_json_get(part, "pattern"), "String");
    const llrti_json *const to = llrti_json_get(part, "content");
    if (!from || from->type != LLRTI_JSON_STRING || from->n == 0 || !to ||
        to->type != LLRTI_JSON_STRING)
        return fail_part("normalizer.Replace", "a pattern or content that is no string", "strings",
                         err);
    return llrti_normalizer_add(&t->normalizer, LLRTI_NORMALIZE_REPLACE, from->value.s, from->n,
                                to->value.s, to->n, err);
}

/* True when a normalizer or pre-tokenizer writes spaces as U+2581. */
static bool is_escaping(const llrti_json *root)
{
    const parts pre = list_parts(llrti_json_get(root, "pre_tokenizer"), "pretokenizers");
    for (uint32_t i = 0; i < pre.n; i++)
        if (strcmp(type_of(&pre.first[i]), "Metaspace") == 0) return true;
    const parts normal = list_parts(llrti_json_get(root, "normalizer"), "normalizers");
    for (uint32_t i = 0; i < normal.n; i++) {
        const llrti_json *const part = &normal.first[i];
        const llrti_json *const from = llrti_json_get(llrti_json_get(part, "pattern"), "String");
        if (strcmp(llrti_json_string(from, ""), " ") == 0 &&
            strcmp(llrti_json_string(llrti_json_get(part, "content"), ""), "\xe2\x96\x81") == 0)
            return true;
    }
    return false;
}

static llrt_status read_normalizer(llrt_tokenizer *t, const llrti_json *root, llrt_error *err)
{
    static const struct {
        const char *name;
        llrti_normalizer_kind kind;
    } forms[] = {{"NFC", LLRTI_NORMALIZE_NFC},
                 {"NFD", LLRTI_NORMALIZE_NFD},
                 {"NFKC", LLRTI_NORMALIZE_NFKC},
                 {"NFKD", LLRTI_NORMALIZE_NFKD}};
    const parts list = list_parts(llrti_json_get(root, "normalizer"), "normalizers");
    for (uint32_t i = 0; i < list.n; i++) {
        const llrti_json *const part = &list.first[i];
        const char *const type = type_of(part);
        bool is_known = false;
        for (size_t k = 0; k < LLRTI_COUNT(forms); k++) {
            if (strcmp(type, forms[k].name) != 0) continue;
            LLRTI_TRY(llrti_normalizer_add(&t->normalizer, forms[k].kind, NULL, 0, NULL, 0, err));
            is_known = true;
        }
        if (strcmp(type, "Prepend") == 0) {
            const llrti_json *const text = llrti_json_get(part, "prepend");
            if (!text || text->type != LLRTI_JSON_STRING)
                return fail_part("normalizer.Prepend", "no string \"prepend\"", "one", err);
            LLRTI_TRY(llrti_normalizer_add(&t->normalizer, LLRTI_NORMALIZE_PREPEND, text->value.s,
                                           text->n, NULL, 0, err));
        } else if (strcmp(type, "Replace") == 0) {
            LLRTI_TRY(read_replacement(t, part, err));
        } else if (!is_known) {
            return fail_unknown("normalizer", type,
                                "Sequence, Prepend, Replace, NFC, NFD, NFKC and NFKD", err);
        }
    }
    return LLRT_OK;
}

static llrt_status read_split(llrt_tokenizer *t, const llrti_json *part, llrt_error *err)
{
    const llrti_json *const regex = llrti_json_get(llrti_json_get(part, "pattern"), "Regex");
    const char *const behavior = llrti_json_string(llrti_json_get(part, "behavior"), "");
    if (strcmp(behavior, "Isolated") != 0 || llrti_json_bool(llrti_json_get(part, "invert"), false))
        return fail_unknown("pre_tokenizer.Split.behavior", behavior, "Isolated", err);
    if (!regex || regex->type != LLRTI_JSON_STRING)
        return fail_unknown("pre_tokenizer.Split.pattern", "no Regex",
                            llrti_pretokenizer_regex_names(), err);
    if (!llrti_pretokenizer_add_regex(&t->pretokenizer, regex->value.s, regex->n))
        return fail_unknown("pre_tokenizer.Split.pattern", regex->value.s,
                            llrti_pretokenizer_regex_names(), err);
    return LLRT_OK;
}

static llrt_status read_byte_level(llrt_tokenizer *t, const llrti_json *part, uint32_t index,
                                   llrt_error *err)
{
    t->kind = &llrti_kind_bytelevel;
    if (llrti_json_bool(llrti_json_get(part, "add_prefix_space"), true)) {
        if (index != 0)
            return fail_part("pre_tokenizer.ByteLevel.add_prefix_space",
                             "true after another pre-tokenizer", "false", err);
        t->prefix_space = LLRTI_PREFIX_ALWAYS;
    }
    if (llrti_json_bool(llrti_json_get(part, "use_regex"), true) &&
        !llrti_pretokenizer_add_regex(&t->pretokenizer, llrti_pretokenizer_gpt2_regex,
                                      strlen(llrti_pretokenizer_gpt2_regex)))
        return fail_part("pre_tokenizer", "more than 8 stages", "at most 8", err);
    return LLRT_OK;
}

static llrt_status read_metaspace(llrt_tokenizer *t, const llrti_json *part, uint32_t n_part,
                                  llrt_error *err)
{
    if (n_part != 1)
        return fail_part("pre_tokenizer", "Metaspace with others", "Metaspace alone", err);
    if (strcmp(llrti_json_string(llrti_json_get(part, "replacement"), "\xe2\x96\x81"),
               "\xe2\x96\x81") != 0)
        return fail_part("pre_tokenizer.Metaspace.replacement", "another character", "U+2581", err);
    /* Older files say add_prefix_space instead of prepend_scheme. */
    const bool prefix = llrti_json_bool(llrti_json_get(part, "add_prefix_space"), true);
    const char *const scheme =
        llrti_json_string(llrti_json_get(part, "prepend_scheme"), prefix ? "always" : "never");
    if (strcmp(scheme, "always") == 0)
        t->prefix_space = LLRTI_PREFIX_ALWAYS;
    else if (strcmp(scheme, "first") == 0)
        t->prefix_space = LLRTI_PREFIX_FIRST;
    else if (strcmp(scheme, "never") != 0)
        return fail_unknown("pre_tokenizer.Metaspace.prepend_scheme", scheme,
                            "always, first and never", err);
    t->is_splitting_each_space = llrti_json_bool(llrti_json_get(part, "split"), true);
    return LLRT_OK;
}

static llrt_status read_pretokenizer(llrt_tokenizer *t, const llrti_json *root, llrt_error *err)
{
    const parts list = list_parts(llrti_json_get(root, "pre_tokenizer"), "pretokenizers");
    bool is_full = false;
    for (uint32_t i = 0; i < list.n && !is_full; i++) {
        const llrti_json *const part = &list.first[i];
        const char *const type = type_of(part);
        if (strcmp(type, "ByteLevel") == 0) {
            LLRTI_TRY(read_byte_level(t, part, i, err));
        } else if (strcmp(type, "Split") == 0) {
            LLRTI_TRY(read_split(t, part, err));
        } else if (strcmp(type, "Digits") == 0) {
            is_full = !llrti_pretokenizer_add_digits(
                &t->pretokenizer,
                llrti_json_bool(llrti_json_get(part, "individual_digits"), false));
        } else if (strcmp(type, "Punctuation") == 0) {
            const char *const behavior =
                llrti_json_string(llrti_json_get(part, "behavior"), "Isolated");
            const bool is_contiguous = strcmp(behavior, "Contiguous") == 0;
            if (!is_contiguous && strcmp(behavior, "Isolated") != 0)
                return fail_unknown("pre_tokenizer.Punctuation.behavior", behavior,
                                    "Isolated and Contiguous", err);
            is_full = !llrti_pretokenizer_add_punctuation(&t->pretokenizer, is_contiguous);
        } else if (strcmp(type, "Metaspace") == 0) {
            LLRTI_TRY(read_metaspace(t, part, list.n, err));
        } else {
            return fail_unknown("pre_tokenizer", type,
                                "Sequence, ByteLevel, Split, Digits, Punctuation and Metaspace",
                                err);
        }
    }
    if (is_full) return fail_part("pre_tokenizer", "more than 8 stages", "at most 8", err);
    return LLRT_OK;
}

static llrt_status read_decoder(llrt_tokenizer *t, const llrti_json *root, llrt_error *err)
{
    const parts list = list_parts(llrti_json_get(root, "decoder"), "decoders");
    for (uint32_t i = 0; i < list.n; i++) {
        const llrti_json *const part = &list.first[i];
        const char *const type = type_of(part);
        if (strcmp(type, "Strip") == 0) {
            if (strcmp(llrti_json_string(llrti_json_get(part, "content"), ""), " ") != 0 ||
                llrti_json_int(llrti_json_get(part, "start"), 0) > 1 ||
                llrti_json_int(llrti_json_get(part, "stop"), 0) != 0)
                return fail_part("decoder.Strip", "other content or counts",
                                 "at most one space at the start", err);
            t->is_stripping_space = llrti_json_int(llrti_json_get(part, "start"), 0) == 1;
        } else if (strcmp(type, "Metaspace") == 0) {
            t->is_stripping_space |= t->prefix_space != LLRTI_PREFIX_NEVER;
        } else if (strcmp(type, "Replace") == 0) {
            const llrti_json *const from =
                llrti_json_get(llrti_json_get(part, "pattern"), "String");
            if (strcmp(llrti_json_string(from, ""), "\xe2\x96\x81") != 0 ||
                strcmp(llrti_json_string(llrti_json_get(part, "content"), ""), " ") != 0)
                return fail_part("decoder.Replace", "another replacement", "U+2581 by a space",
                                 err);
        } else if (strcmp(type, "ByteLevel") != 0 && strcmp(type, "ByteFallback") != 0 &&
                   strcmp(type, "Fuse") != 0) {
            return fail_unknown("decoder", type,
                                "Sequence, ByteLevel, ByteFallback, Fuse, Metaspace, Replace and "
                                "Strip",
                                err);
        }
    }
    return LLRT_OK;
}

llrt_status llrti_tokenizer_read_pipeline(llrt_tokenizer *tokenizer, const llrti_json *root,
                                          llrt_error *err)
{
    llrt_tokenizer *const t = tokenizer;
    LLRTI_TRY(read_pretokenizer(t, root, err));
    if (!t->kind) {
        if (!is_escaping(root) || t->pretokenizer.n_stage != 0)
            return fail_part("pre_tokenizer", "neither ByteLevel nor spaces written as U+2581",
                             "one of the two", err);
        t->kind = &llrti_kind_spm;
        t->normalizer.is_folding_space = true;
    }
    LLRTI_TRY(read_normalizer(t, root, err));
    return read_decoder(t, root, err);
}

static llrt_status read_template(llrt_tokenizer *t, const llrti_json *post, llrt_error *err)
{
    const llrti_json *const single = llrti_json_get(post, "single");
    const llrti_json *const specials = llrti_json_get(post, "special_tokens");
    bool is_after = false;
    for (uint32_t i = 0; single && single->type == LLRTI_JSON_ARRAY && i < single->n; i++) {
        const llrti_json *const part = &single->value.first[i];
        const llrti_json *const special = llrti_json_get(part, "SpecialToken");
        if (!special) {
            if (!llrti_json_get(part, "Sequence") || is_after)
                return fail_part("post_processor.single", "another part",
                                 "one Sequence and SpecialTokens", err);
            is_after = true;
            continue;
        }
        const char *const name = llrti_json_string(llrti_json_get(special, "id"), "");
        const llrti_json *const ids = llrti_json_get(llrti_json_get(specials, name), "ids");
        for (uint32_t k = 0; ids && ids->type == LLRTI_JSON_ARRAY && k < ids->n; k++) {
            const int64_t id = llrti_json_int(&ids->value.first[k], -1);
            uint32_t *const n = is_after ? &t->n_after : &t->n_before;
            if (id < 0 || id >= t->vocab.n_vocab)
                return llrti_fail_field(err, LLRT_ERR_FORMAT, "post_processor.special_tokens",
                                        "found id %lld, expected 0 to %u", (long long)id,
                                        t->vocab.n_vocab - 1);
            if (*n == LLRTI_TOKENIZER_AFFIX)
                return fail_part("post_processor.single", "more special tokens",
                                 "at most 8 before and 8 after the text", err);
            (is_after ? t->after : t->before)[(*n)++] = (int32_t)id;
        }
    }
    return LLRT_OK;
}

llrt_status llrti_tokenizer_read_post(llrt_tokenizer *tokenizer, const llrti_json *root,
                                      llrt_error *err)
{
    const parts list = list_parts(llrti_json_get(root, "post_processor"), "processors");
    for (uint32_t i = 0; i < list.n; i++) {
        const char *const type = type_of(&list.first[i]);
        if (strcmp(type, "TemplateProcessing") == 0)
            LLRTI_TRY(read_template(tokenizer, &list.first[i], err));
        else if (strcmp(type, "ByteLevel") != 0)
            return fail_unknown("post_processor", type,
                                "Sequence, ByteLevel and TemplateProcessing", err);
    }
    return LLRT_OK;
}
