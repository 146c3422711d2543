/* SPDX-License-Identifier: MIT */
/*
 * Tokenizers from tokenizer.json text: both kinds, added tokens with their flags, normalizers,
 * post-processors, forms of merges, and the sentences malformed or unknown parts are answered with.
 */
#include "tokenizer_fixture.h"

#define G "\xc4\xa0"     /* the byte alphabet's space */
#define U "\xe2\x96\x81" /* SentencePiece's space */
#define VOCAB "\"vocab\":{\"a\":0,\"b\":1,\"" G "\":2,\"ab\":3,\"" G "a\":4,\"c\":5}"
#define BYTE_LEVEL "\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false}"
#define MODEL "\"model\":{\"type\":\"BPE\"," VOCAB ",\"merges\":[\"a b\",\"" G " a\"]}"

static void test_byte_level(void **state)
{
    llrt_tokenizer *const t = open_json_text("{" BYTE_LEVEL "," MODEL "}");
    assert_string_equal(llrt_tokenizer_kind(t), "bpe gpt-2");
    CHECK_IDS(t, "ab ab a", 0, 3, 2, 3, 4);
    CHECK_IDS(t, "axa", 0, 0, 0); /* a byte without a token and no unknown token: nothing */
    CHECK_TEXT(t, 0, "ab a", 3, 4);
    CHECK_TEXT(t, 0, " a", 4); /* nothing is dropped at the start */
    llrt_tokenizer_free(t);
}

static void test_prefix_space_and_pairs(void **state)
{
    llrt_tokenizer *const t =
        open_json_text("{\"pre_tokenizer\":{\"type\":\"ByteLevel\"},\"model\":{" VOCAB
                       ",\"merges\":[[\"a\",\"b\"],[\"" G "\",\"a\"]],\"unk_token\":\"c\"}}");
    CHECK_IDS(t, "a", 0, 4);
    CHECK_IDS(t, " a", 0, 4);
    CHECK_IDS(t, "x", 0, 2, 5);
    assert_int_equal(llrt_tokenizer_special(t, LLRT_SPECIAL_UNK), 5);
    llrt_tokenizer_free(t);
}

#define TOKEN(id, text, more) "{\"id\":" #id ",\"content\":\"" text "\"" more "}"

static void test_added_tokens(void **state)
{
    llrt_tokenizer *const t = open_json_text("{" BYTE_LEVEL "," MODEL ",\"added_tokens\":[" TOKEN(
        6, "<|im_end|>",
        ",\"special\":true,\"normalized\":false") "," TOKEN(7, "<x>",
                                                            ",\"special\":false,\"lstrip\":"
                                                            "true") "," TOKEN(9, "bb",
                                                                              ",\"special\":"
                                                                              "false,\"single_"
                                                                              "word\":true,"
                                                                              "\"normalized\":"
                                                                              "false") "]}");
    assert_int_equal(llrt_tokenizer_n_vocab(t), 10); /* 8 is a gap */
    CHECK_IDS(t, "a<|im_end|>b", LLRT_ENCODE_PARSE_SPECIAL, 0, 6, 1);
    CHECK_IDS(t, "a<|im_end|>", 0, 0);
    CHECK_IDS(t, "a  <x> a", 0, 0, 7, 4);
    CHECK_IDS(t, "bb abb", 0, 9, 2, 3, 1);
    assert_true(llrt_tokenizer_is_end(t, 6));
    llrt_token_info info = {.struct_size = sizeof info};
    assert_int_equal(llrt_tokenizer_token_info(t, 6, &info, NULL), 0);
    assert_int_equal(info.type, LLRT_TOKEN_CONTROL);
    assert_int_equal(info.is_end, 1);
    assert_int_equal(llrt_tokenizer_token_info(t, 7, &info, NULL), 0);
    assert_int_equal(info.type, LLRT_TOKEN_USER_DEFINED);
    assert_int_equal(llrt_tokenizer_token_info(t, 8, &info, NULL), 0);
    assert_int_equal(info.type, LLRT_TOKEN_UNUSED);
    assert_int_equal(info.n_text, 0);
    CHECK_TEXT(t, 0, "a<x>", 0, 6, 7, 8);
    llrt_tokenizer_free(t);
}

#define SPM_MODEL(bytes)                                                                           \
    "\"model\":{\"type\":\"BPE\",\"unk_token\":\"<unk>\",\"fuse_unk\":true,\"byte_"                \
    "fallback\":" bytes ",\"vocab\":{\"<unk>\":0,\"<s>\":1,\"" U "\":2,\"a\":3,\"" U               \
    "a\":4,\"b\":5},\"merges\":[\"" U " a\"]}"
#define SPM_NORMALIZER                                                                             \
    "\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Prepend\",\"prepend\":"    \
    "\"" U "\"},{\"type\":\"Replace\",\"pattern\":{\"String\":\" \"},\"content\":\"" U "\"}]}"
#define SPM_DECODER                                                                                \
    "\"decoder\":{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"Fuse\"},{\"type\":\"Strip\","    \
    "\"content\":\" \",\"start\":1,\"stop\":0}]}"

static void test_sentence_piece(void **state)
{
    llrt_tokenizer *const t = open_json_text(
        "{" SPM_NORMALIZER "," SPM_DECODER "," SPM_MODEL("false") ",\"added_tokens\":[" TOKEN(
            0, "<unk>", ",\"special\":true") "," TOKEN(1, "<s>",
                                                       ",\"special\":true,\"normalized\":"
                                                       "true") "],\"post_processor\":{"
                                                               "\"type\":"
                                                               "\"TemplateProcessing\","
                                                               "\"single\":[{"
                                                               "\"SpecialToken\":{\"id\":\"<"
                                                               "s>\"}},"
                                                               "{\"Sequence\":{\"id\":\"A\"}"
                                                               "}],\"special_tokens\":{\"<s>"
                                                               "\":{\"ids\":[1]}}}}");
    assert_string_equal(llrt_tokenizer_kind(t), "spm");
    CHECK_IDS(t, "a ab", LLRT_ENCODE_ADD_SPECIAL, 1, 4, 4, 5);
    CHECK_IDS(t, "xyz a", 0, 2, 0, 4); /* unknown characters are fused */
    /* A normalized pattern gets the space in front as well and so matches only after one. */
    CHECK_IDS(t, "<s>a", LLRT_ENCODE_PARSE_SPECIAL, 1, 3);
    CHECK_IDS(t, "a<s>", LLRT_ENCODE_PARSE_SPECIAL, 4, 0);
    CHECK_TEXT(t, 0, "a b", 1, 4, 2, 5);
    assert_int_equal(llrt_tokenizer_special(t, LLRT_SPECIAL_BOS), 1);
    llrt_tokenizer_free(t);
}

static void test_normalized_tokens_of_equal_text(void **state)
{
    llrt_tokenizer *const t = open_json_text("{" BYTE_LEVEL "," MODEL ",\"added_tokens\":[" TOKEN(
        8, "<x>", ",\"normalized\":true") "," TOKEN(7, "<x>", ",\"normalized\":true") "]}");
    CHECK_IDS(t, "a<x>", 0, 0, 7); /* the lower id counts, and no text is left behind */
    llrt_tokenizer_free(t);
}

static void test_metaspace(void **state)
{
    llrt_tokenizer *const t = open_json_text(
        "{\"pre_tokenizer\":{\"type\":\"Metaspace\",\"replacement\":\"" U
        "\",\"prepend_scheme\":\"first\"}," SPM_MODEL("false") ",\"added_tokens\":[" TOKEN(
            1, "<s>",
            ",\"special\":true,\"normalized\":false") "],\"decoder\":{\"type\":\"Metaspace\"}}");
    CHECK_IDS(t, "a<s>a", LLRT_ENCODE_PARSE_SPECIAL, 4, 1, 3);
    CHECK_IDS(t, " a", 0, 4);
    CHECK_TEXT(t, 0, "a a", 4, 4);
    llrt_tokenizer_free(t);
}

static void test_composition_is_applied(void **state)
{
    llrt_tokenizer *const t = open_json_text(
        "{\"normalizer\":{\"type\":\"NFC\"}," BYTE_LEVEL
        ",\"model\":{\"vocab\":{\"\xc3\x83\":0,\"\xc2\xa9\":1,\"e\":2},\"merges\":[]}}");
    CHECK_IDS(t, "\xc3\xa9", 0, 0, 1);
    CHECK_IDS(t, "e\xcc\x81", 0, 0, 1);
    llrt_tokenizer_free(t);
}

static void check_refused(const char *json, llrt_status status, const char *field, const char *text)
{
    llrt_tokenizer *t;
    llrt_error err = LLRT_ERROR_INIT;
    assert_int_equal(llrt_tokenizer_open_memory(json, strlen(json), NULL, &t, &err), status);
    assert_null(t);
    if (strcmp(err.field, field) != 0) fail_msg("field \"%s\": %s", err.field, err.text);
    if (!strstr(err.text, text)) fail_msg("\"%s\" lacks \"%s\"", err.text, text);
}

static void test_malformed_files(void **state)
{
    const llrt_status format = LLRT_ERR_FORMAT, unsupported = LLRT_ERR_UNSUPPORTED;
    check_refused("{", format, "", "");
    check_refused("[]", format, "model", "expected an object");
    check_refused("{\"model\":{\"type\":\"Unigram\"}}", unsupported, "model.type",
                  "found \"Unigram\", known is BPE");
    check_refused("{\"model\":{" VOCAB ",\"merges\":[]}}", unsupported, "pre_tokenizer",
                  "neither ByteLevel nor");
    check_refused("{" BYTE_LEVEL ",\"model\":{\"merges\":[]}}", format, "model.vocab",
                  "found none");
    check_refused("{" BYTE_LEVEL ",\"model\":{" VOCAB "}}", format, "model.merges", "found none");
    check_refused("{" BYTE_LEVEL ",\"model\":{\"vocab\":{\"a\":-1},\"merges\":[]}}", format,
                  "model.vocab", "found id -1 of token \"a\"");
    check_refused("{" BYTE_LEVEL ",\"model\":{\"vocab\":{\"a\":4000000000},\"merges\":[]}}", format,
                  "model.vocab", "expected an integer from 0 to 65536");
    check_refused("{" BYTE_LEVEL ",\"model\":{\"vocab\":{\"a\":1,\"b\":1},\"merges\":[]}}", format,
                  "model.vocab", "found id 1 twice");
    check_refused("{" BYTE_LEVEL ",\"model\":{" VOCAB ",\"merges\":[\"a x\"]}}", format,
                  "model.merges", "found merge 0 \"a x\", expected tokens of the vocabulary");
    check_refused("{" BYTE_LEVEL ",\"model\":{" VOCAB ",\"merges\":[\"ab\"]}}", format,
                  "model.merges", "expected two tokens");
    check_refused("{" BYTE_LEVEL ",\"model\":{" VOCAB ",\"merges\":[7]}}", format, "model.merges",
                  "expected two tokens");
    check_refused("{\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"\\\\w+\"},"
                  "\"behavior\":\"Isolated\"}," MODEL "}",
                  unsupported, "pre_tokenizer.Split.pattern", "found \"\\w+\", known are");
    check_refused("{\"pre_tokenizer\":{\"type\":\"BertPreTokenizer\"}," MODEL "}", unsupported,
                  "pre_tokenizer", "found \"BertPreTokenizer\", known are Sequence");
    check_refused("{\"normalizer\":{\"type\":\"Lowercase\"}," BYTE_LEVEL "," MODEL "}", unsupported,
                  "normalizer", "found \"Lowercase\"");
    check_refused("{\"decoder\":{\"type\":\"CTC\"}," BYTE_LEVEL "," MODEL "}", unsupported,
                  "decoder", "found \"CTC\"");
    check_refused("{\"post_processor\":{\"type\":\"Other\"}," BYTE_LEVEL "," MODEL "}", unsupported,
                  "post_processor", "found \"Other\"");
    check_refused("{" BYTE_LEVEL "," MODEL ",\"added_tokens\":[{\"id\":1}]}", format,
                  "added_tokens", "no content of entry 0");
    check_refused("{" BYTE_LEVEL "," MODEL ",\"added_tokens\":[" TOKEN(90000, "x", "") "]}", format,
                  "added_tokens", "found id 90000 of token \"x\"");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_byte_level),
        cmocka_unit_test(test_prefix_space_and_pairs),
        cmocka_unit_test(test_added_tokens),
        cmocka_unit_test(test_sentence_piece),
        cmocka_unit_test(test_normalized_tokens_of_equal_text),
        cmocka_unit_test(test_metaspace),
        cmocka_unit_test(test_composition_is_applied),
        cmocka_unit_test(test_malformed_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
