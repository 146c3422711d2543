/* SPDX-License-Identifier: MIT */
/*
 * Incremental decoding: whole characters only, malformed bytes as U+FFFD, the space rule, the
 * life of the tokenizer, and that pieces always add up to what decode gives.
 */
#include "tokenizer_fixture.h"

#include "tokenizer_impl.h"
#include "utf8.h"

static gguf_writer writer;

static llrt_tokenizer *open_small(void)
{
    write_small_spm(&writer, &(small_options){.model = "llama"});
    end_gguf(&writer);
    return open_bytes(writer.data, writer.n);
}

static void check_push(llrt_token_stream *stream, int32_t token, const char *expected)
{
    const char *text;
    size_t n;
    assert_int_equal(llrt_token_stream_push(stream, token, &text, &n, NULL), 0);
    assert_int_equal(n, strlen(expected));
    assert_memory_equal(text, expected, n);
}

static void check_flush(llrt_token_stream *stream, const char *expected)
{
    const char *text;
    size_t n;
    assert_int_equal(llrt_token_stream_flush(stream, &text, &n, NULL), 0);
    assert_int_equal(n, strlen(expected));
    assert_memory_equal(text, expected, n);
}

static llrt_token_stream *create(llrt_tokenizer *t, llrt_decode_flags flags)
{
    llrt_token_stream *stream;
    assert_int_equal(llrt_token_stream_create(t, flags, &stream, NULL), 0);
    return stream;
}

static void test_characters_are_whole(void **state)
{
    llrt_tokenizer *const t = open_small();
    llrt_token_stream *const s = create(t, 0);
    check_push(s, TOKEN_SPACE_A, "a");
    check_push(s, 3 + 0xe4, "");
    check_push(s, 3 + 0xb8, "");
    check_push(s, 3 + 0xad, "\xe4\xb8\xad");
    check_push(s, 3 + 0xe4, "");
    check_push(s, 3 + 0xb8, "");
    check_push(s, TOKEN_AB,
               "\xef\xbf\xbd"
               "ab"); /* the broken part is one U+FFFD */
    check_push(s, 3 + 0xff, "\xef\xbf\xbd");
    check_push(s, 2, "");
    check_push(s, 3 + 0xc3, "");
    check_flush(s, "\xef\xbf\xbd");
    check_flush(s, "");
    llrt_token_stream_free(s);
    llrt_tokenizer_free(t);
}

static void test_space_at_the_start(void **state)
{
    llrt_tokenizer *const t = open_small();
    llrt_token_stream *s = create(t, 0);
    check_push(s, 1, "");
    check_push(s, TOKEN_SPACE_A, "a");
    check_push(s, TOKEN_SPACE_A, " a");
    check_flush(s, "");
    check_push(s, TOKEN_SPACE_A, "a"); /* a flush begins anew */
    llrt_token_stream_free(s);
    s = create(t, LLRT_DECODE_CONTINUE);
    check_push(s, TOKEN_SPACE_A, " a");
    llrt_token_stream_free(s);
    s = create(t, LLRT_DECODE_SPECIAL);
    check_push(s, 1, "<s>");
    check_push(s, TOKEN_SPACE_A, " a");
    llrt_token_stream_free(s);
    llrt_tokenizer_free(t);
}

static void test_wrong_token_changes_nothing(void **state)
{
    llrt_tokenizer *const t = open_small();
    llrt_token_stream *const s = create(t, 0);
    const char *text;
    size_t n;
    llrt_error err = LLRT_ERROR_INIT;
    check_push(s, 3 + 0xc3, "");
    assert_int_equal(llrt_token_stream_push(s, N_SMALL, &text, &n, &err), LLRT_ERR_ARGUMENT);
    assert_string_equal(err.text, "found token 267, expected 0 to 266");
    assert_int_equal(llrt_token_stream_push(s, -1, &text, &n, NULL), LLRT_ERR_ARGUMENT);
    check_push(s, 3 + 0xa9, "\xc3\xa9");
    llrt_token_stream_free(s);
    assert_int_equal(llrt_token_stream_create(t, 64, (llrt_token_stream *[]){NULL}, NULL),
                     LLRT_ERR_ARGUMENT);
    llrt_token_stream_free(NULL);
    llrt_tokenizer_free(t);
}

static void test_stream_keeps_the_tokenizer(void **state)
{
    llrt_tokenizer *const t = open_small();
    llrt_token_stream *const s = create(t, 0);
    llrt_tokenizer_free(t);
    check_push(s, TOKEN_AB, "ab");
    llrt_token_stream_free(s);
}

static void count_release(void *ctx)
{
    ++*(int *)ctx;
}

static void test_release_of_an_engines_tokenizer(void **state)
{
    write_small_spm(&writer, &(small_options){.model = "llama"});
    end_gguf(&writer);
    llrti_mem mem;
    llrt_source source;
    const llrt_blob blob = {writer.data, writer.n};
    llrti_model_file *file;
    llrt_tokenizer *t;
    int n_release = 0;
    llrti_mem_init(&mem, NULL);
    llrt_source_init_memory(&source, sizeof source, &blob);
    const llrti_model_file_options options = {&source, NULL, true};
    assert_int_equal(llrti_model_file_open(&mem, "x.gguf", &options, &file, NULL), 0);
    assert_int_equal(llrti_tokenizer_create(&mem, file, &t, NULL), 0);
    llrti_model_file_close(file);
    llrti_tokenizer_on_release(t, count_release, &n_release);
    llrt_token_stream *const s = create(t, 0);
    llrt_tokenizer_free(t); /* not the caller's to end */
    llrti_tokenizer_unref(t);
    assert_int_equal(n_release, 0);
    check_push(s, TOKEN_AB, "ab");
    llrt_token_stream_free(s);
    assert_int_equal(n_release, 1);
    assert_int_equal(llrti_mem_live(&mem, LLRT_MEMORY_HOST), 0);
}

/* Random ids, whatever they spell: the pieces are valid UTF-8 and equal decode where that is
 * valid. */
static void test_random_streams_equal_decode(void **state)
{
    llrt_tokenizer *const t = open_small();
    llrt_token_stream *const s = create(t, 0);
    uint64_t rng = 7;
    for (int round = 0; round < 3000; round++) {
        int32_t ids[24];
        char whole[256], pieces[1024];
        size_t n_whole, n_pieces = 0, n;
        const char *text;
        for (size_t i = 0; i < 24; i++) {
            rng = rng * 6364136223846793005u + 1442695040888963407u;
            const uint32_t r = (uint32_t)(rng >> 33);
            /* Mostly bytes of two-byte characters, so that valid text is common. */
            ids[i] = r % 3 ? (int32_t)(3 + (i % 2 ? 0x80 : 0xc4) + (r >> 8) % 16)
                           : (int32_t)((r >> 8) % (round % 2 ? N_SMALL : 130));
        }
        assert_int_equal(llrt_tokenizer_decode(t, ids, 24, 0, whole, sizeof whole, &n_whole, NULL),
                         0);
        for (size_t i = 0; i <= 24; i++) {
            assert_int_equal(i < 24 ? llrt_token_stream_push(s, ids[i], &text, &n, NULL)
                                    : llrt_token_stream_flush(s, &text, &n, NULL),
                             0);
            assert_true(llrti_utf8_is_valid(text, n));
            memcpy(pieces + n_pieces, text, n);
            n_pieces += n;
        }
        if (!llrti_utf8_is_valid(whole, n_whole)) continue;
        assert_int_equal(n_pieces, n_whole);
        assert_memory_equal(pieces, whole, n_whole);
    }
    llrt_token_stream_free(s);
    llrt_tokenizer_free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_characters_are_whole),
        cmocka_unit_test(test_space_at_the_start),
        cmocka_unit_test(test_wrong_token_changes_nothing),
        cmocka_unit_test(test_stream_keeps_the_tokenizer),
        cmocka_unit_test(test_release_of_an_engines_tokenizer),
        cmocka_unit_test(test_random_streams_equal_decode),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
