/* SPDX-License-Identifier: MIT */
/*
 * Tokenizers from GGUF metadata, on files written in memory: SentencePiece merging by score
 * worked out by hand, byte fallback, flags, special ids, and what malformed metadata is answered
 * with.
 */
#include "tokenizer_fixture.h"

static gguf_writer writer; /* large: not on the stack */

static llrt_tokenizer *open_small(void)
{
    write_small_spm(&writer, &(small_options){.model = "llama"});
    end_gguf(&writer);
    return open_bytes(writer.data, writer.n);
}

static void test_merging_by_score(void **state)
{
    llrt_tokenizer *const t = open_small();
    assert_string_equal(llrt_tokenizer_kind(t), "spm");
    assert_int_equal(llrt_tokenizer_n_vocab(t), N_SMALL);
    CHECK_IDS(t, "ab", 0, TOKEN_SPACE_AB);
    CHECK_IDS(t, "b", 0, TOKEN_SPACE, TOKEN_B);
    CHECK_IDS(t, "aa", 0, TOKEN_SPACE_A, TOKEN_A);
    /* ab (-1) merges first, then the space joins it (-3) before ab + c (-4) can. */
    CHECK_IDS(t, "abc", 0, TOKEN_SPACE_AB, 3 + 'c');
    CHECK_IDS(t, "xabc", 0, TOKEN_SPACE, 3 + 'x', TOKEN_ABC);
    CHECK_IDS(t, "  ab", 0, TOKEN_SPACE, TOKEN_SPACE, TOKEN_SPACE_AB);
    CHECK_IDS(t, "a ab", 0, TOKEN_SPACE_A, TOKEN_SPACE_AB);
    CHECK_IDS(t, "", 0, -1);
    llrt_tokenizer_free(t);
}

static void test_byte_fallback(void **state)
{
    llrt_tokenizer *const t = open_small();
    CHECK_IDS(t, "\xc3\xa9", 0, TOKEN_SPACE, 3 + 0xc3, 3 + 0xa9);
    CHECK_IDS(t,
              "\xff"
              "ab\xe4",
              0, TOKEN_SPACE, 3 + 0xff, TOKEN_AB, 3 + 0xe4);
    CHECK_TEXT(t, 0, "\xc3\xa9", TOKEN_SPACE, 3 + 0xc3, 3 + 0xa9);
    llrt_tokenizer_free(t);
}

static void test_special_tokens(void **state)
{
    llrt_tokenizer *const t = open_small();
    CHECK_IDS(t, "a", LLRT_ENCODE_ADD_SPECIAL, 1, TOKEN_SPACE_A);
    CHECK_IDS(t, "a</s>b", LLRT_ENCODE_PARSE_SPECIAL, TOKEN_SPACE_A, 2, TOKEN_SPACE, TOKEN_B);
    CHECK_IDS(t, "a</s>", 0, TOKEN_SPACE_A, 3 + '<', 3 + '/', 3 + 's', 3 + '>');
    CHECK_IDS(t, "<user>b", 0, TOKEN_USER, TOKEN_SPACE, TOKEN_B); /* user-defined: always */
    CHECK_TEXT(t, 0, "a b", 1, TOKEN_SPACE_A, 2, TOKEN_SPACE, TOKEN_B);
    CHECK_TEXT(t, LLRT_DECODE_SPECIAL, "<s> a</s>", 1, TOKEN_SPACE_A, 2);
    CHECK_TEXT(t, LLRT_DECODE_CONTINUE, " a b", TOKEN_SPACE_A, TOKEN_SPACE, TOKEN_B);
    assert_int_equal(llrt_tokenizer_special(t, LLRT_SPECIAL_BOS), 1);
    assert_int_equal(llrt_tokenizer_special(t, LLRT_SPECIAL_EOS), 2);
    assert_int_equal(llrt_tokenizer_special(t, LLRT_SPECIAL_UNK), 0);
    assert_int_equal(llrt_tokenizer_special(t, LLRT_SPECIAL_PAD), LLRT_TOKEN_NONE);
    assert_int_equal(llrt_tokenizer_special(t, 99), LLRT_TOKEN_NONE);
    assert_true(llrt_tokenizer_is_end(t, 2));
    assert_false(llrt_tokenizer_is_end(t, 1));
    assert_false(llrt_tokenizer_is_end(t, -5));
    llrt_tokenizer_free(t);
}

static void test_metadata_switches(void **state)
{
    write_small_spm(&writer, &(small_options){.model = "llama", .bos = UINT32_MAX});
    put_bool(&writer, "tokenizer.ggml.add_space_prefix", 0);
    put_bool(&writer, "tokenizer.ggml.remove_extra_whitespaces", 1);
    put_bool(&writer, "tokenizer.ggml.add_eos_token", 1);
    put_u32(&writer, "tokenizer.ggml.eot_token_id", TOKEN_USER);
    end_gguf(&writer);
    llrt_tokenizer *const t = open_bytes(writer.data, writer.n);
    CHECK_IDS(t, "  a   ab ", LLRT_ENCODE_ADD_SPECIAL, 1, TOKEN_A, TOKEN_SPACE_AB, 2);
    CHECK_TEXT(t, 0, " a", TOKEN_SPACE_A); /* no space was put in front, so none is dropped */
    assert_int_equal(llrt_tokenizer_special(t, LLRT_SPECIAL_EOT), TOKEN_USER);
    assert_true(llrt_tokenizer_is_end(t, TOKEN_USER));
    llrt_tokenizer_free(t);
}

static void test_token_info(void **state)
{
    llrt_tokenizer *const t = open_small();
    llrt_token_info info = {.struct_size = sizeof info};
    assert_int_equal(llrt_tokenizer_token_info(t, TOKEN_SPACE_AB, &info, NULL), 0);
    assert_int_equal(info.type, LLRT_TOKEN_NORMAL);
    assert_true(info.score == -3.0f);
    assert_int_equal(info.n_text, 3);
    assert_memory_equal(info.text, " ab", 3);
    assert_int_equal(llrt_tokenizer_token_info(t, 3 + '\n', &info, NULL), 0);
    assert_int_equal(info.type, LLRT_TOKEN_BYTE);
    assert_memory_equal(info.text, "\n", 1);
    assert_int_equal(llrt_tokenizer_token_info(t, N_SMALL, &info, NULL), LLRT_ERR_ARGUMENT);
    info.struct_size = 2;
    assert_int_equal(llrt_tokenizer_token_info(t, 0, &info, NULL), LLRT_ERR_ARGUMENT);
    assert_int_equal(llrt_tokenizer_find(t, " ab", 3), TOKEN_SPACE_AB);
    assert_int_equal(llrt_tokenizer_find(t, "</s>", 4), 2);
    assert_int_equal(llrt_tokenizer_find(t, "\n", 1), 3 + '\n');
    assert_int_equal(llrt_tokenizer_find(t, "c", 1), 3 + 'c'); /* not the helper id */
    assert_int_equal(llrt_tokenizer_find(t, "zz", 2), LLRT_TOKEN_NONE);
    llrt_tokenizer_free(t);
}

static void check_refused(const small_options *options, llrt_status status, const char *field,
                          const char *text)
{
    llrt_tokenizer *t = (llrt_tokenizer *)&writer;
    llrt_error err = LLRT_ERROR_INIT;
    write_small_spm(&writer, options);
    end_gguf(&writer);
    assert_int_equal(llrt_tokenizer_open_memory(writer.data, writer.n, NULL, &t, &err), status);
    assert_null(t);
    assert_int_equal(err.status, status);
    assert_string_equal(err.field, field);
    if (!strstr(err.text, text)) fail_msg("\"%s\" lacks \"%s\"", err.text, text);
}

static void test_malformed_metadata(void **state)
{
    check_refused(&(small_options){0}, LLRT_ERR_NOT_FOUND, "tokenizer.ggml.model", "no tokenizer");
    check_refused(&(small_options){.model = "bert"}, LLRT_ERR_UNSUPPORTED, "tokenizer.ggml.model",
                  "\"bert\", known are llama and gpt2");
    check_refused(&(small_options){.model = "gpt2", .pre = "new-one"}, LLRT_ERR_UNSUPPORTED,
                  "tokenizer.ggml.pre", "\"new-one\", known are default, gpt-2, llama-bpe");
    check_refused(&(small_options){.model = "gpt2"}, LLRT_ERR_FORMAT, "tokenizer.ggml.merges",
                  "found none");
    check_refused(&(small_options){.model = "llama", .without_tokens = 1}, LLRT_ERR_FORMAT,
                  "tokenizer.ggml.tokens", "found none");
    check_refused(&(small_options){.model = "llama", .without_scores = 1}, LLRT_ERR_FORMAT,
                  "tokenizer.ggml.scores", "found none");
    check_refused(&(small_options){.model = "llama", .short_scores = 1}, LLRT_ERR_FORMAT,
                  "tokenizer.ggml.scores", "found 266 elements, expected 267");
    check_refused(&(small_options){.model = "llama", .nan_score = 1}, LLRT_ERR_FORMAT,
                  "tokenizer.ggml.scores", "token 260");
    check_refused(&(small_options){.model = "llama", .bad_type = 1}, LLRT_ERR_FORMAT,
                  "tokenizer.ggml.token_type", "found type 9 of token 260");
    check_refused(&(small_options){.model = "llama", .bos = N_SMALL}, LLRT_ERR_FORMAT,
                  "tokenizer.ggml.bos_token_id", "found 267, expected less than 267");
}

static void put_merge(gguf_writer *w, const char *merge)
{
    put_array(w, "tokenizer.ggml.merges", 8, 1);
    put_string(w, merge);
}

static void test_byte_level_file(void **state)
{
    static const char *const tokens[] = {"a", "b", "\xc4\xa0",
                                         "\xc4\xa0\x61", /* the last letter is an "a" */
                                         "<|im_end|>"};
    begin_gguf(&writer);
    put_text(&writer, "tokenizer.ggml.model", "gpt2");
    put_text(&writer, "tokenizer.ggml.pre", "llama-bpe");
    put_array(&writer, "tokenizer.ggml.tokens", 8, 5);
    for (size_t i = 0; i < 5; i++) put_string(&writer, tokens[i]);
    put_array(&writer, "tokenizer.ggml.token_type", 5, 5);
    for (size_t i = 0; i < 5; i++) put_int(&writer, i == 4 ? 3 : 1, 4);
    put_u32(&writer, "tokenizer.ggml.bos_token_id", 4);
    gguf_writer *const w = &writer;
    const size_t n = w->n;
    const uint64_t n_key = w->n_key;
    put_merge(w, "\xc4\xa0 a");
    end_gguf(w);
    llrt_tokenizer *const t = open_bytes(w->data, w->n);
    assert_string_equal(llrt_tokenizer_kind(t), "bpe llama-bpe");
    CHECK_IDS(t, "b a", LLRT_ENCODE_ADD_SPECIAL, 4, 1, 3); /* llama-bpe adds bos by default */
    CHECK_TEXT(t, 0, "b a", 1, 3);
    assert_true(llrt_tokenizer_is_end(t, 4));
    assert_int_equal(llrt_tokenizer_special(t, LLRT_SPECIAL_EOT), 4);
    llrt_tokenizer_free(t);

    llrt_error err = LLRT_ERROR_INIT;
    llrt_tokenizer *none;
    w->n = n;
    w->n_key = n_key;
    put_merge(w, "ab");
    end_gguf(w);
    assert_int_equal(llrt_tokenizer_open_memory(w->data, w->n, NULL, &none, &err), LLRT_ERR_FORMAT);
    assert_string_equal(err.text, "found merge 0 \"ab\", expected two tokens with a space between");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_merging_by_score), cmocka_unit_test(test_byte_fallback),
        cmocka_unit_test(test_special_tokens),   cmocka_unit_test(test_metadata_switches),
        cmocka_unit_test(test_token_info),       cmocka_unit_test(test_malformed_metadata),
        cmocka_unit_test(test_byte_level_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
