/* SPDX-License-Identifier: MIT */
/*
 * SentencePiece merging on random vocabularies against a naive reference: of all neighbouring
 * symbols whose joined text is a token, the leftmost with the best score merges first. Letters
 * are left out of the vocabulary, scores repeat and some tokens have spaces inside, so that helper
 * ids, ties and both ways of cutting text take part.
 */
#include "tokenizer_fixture.h"

#include "tokenizer_impl.h"

static gguf_writer writer;
static uint64_t rng_state = 11;

static uint32_t next_random(uint32_t below)
{
    rng_state = rng_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(rng_state >> 33) % below;
}

#define MAX_WORD 6
#define FIRST 257 /* ids of the words; before them <unk> and the bytes */

typedef struct words {
    char text[40][MAX_WORD + 1]; /* with plain spaces */
    float score[40];
    uint32_t n;
} words;

static int find_word(const words *w, const char *text, size_t n)
{
    for (uint32_t i = 0; i < w->n; i++)
        if (strlen(w->text[i]) == n && memcmp(w->text[i], text, n) == 0) return (int)i;
    return -1;
}

static void make_words(words *w, bool with_inner_spaces)
{
    w->n = 0;
    strcpy(w->text[w->n++], " ");
    while (w->n < 40) {
        char text[MAX_WORD + 1];
        const size_t n = 1 + next_random(MAX_WORD);
        for (size_t i = 0; i < n; i++)
            text[i] =
                i == 0 || with_inner_spaces ? " abcd"[next_random(5)] : "abcd"[next_random(4)];
        text[n] = 0;
        if (n == 1 && text[0] == 'd') continue; /* d is never a token of its own */
        if (find_word(w, text, n) < 0) strcpy(w->text[w->n++], text);
    }
    for (uint32_t i = 0; i < w->n; i++) w->score[i] = -(float)next_random(20);
}

static llrt_tokenizer *open_words(const words *w)
{
    const uint32_t n = FIRST + w->n;
    begin_gguf(&writer);
    put_text(&writer, "tokenizer.ggml.model", "llama");
    put_bool(&writer, "tokenizer.ggml.add_space_prefix", 0);
    put_array(&writer, "tokenizer.ggml.tokens", 8, n);
    put_string(&writer, "<unk>");
    for (unsigned byte = 0; byte < 256; byte++) {
        char name[16];
        snprintf(name, sizeof name, "<0x%02X>", byte);
        put_string(&writer, name);
    }
    for (uint32_t i = 0; i < w->n; i++) {
        char escaped[3 * MAX_WORD + 1] = "";
        for (const char *p = w->text[i]; *p; p++) {
            const char one[2] = {*p, 0};
            strcat(escaped, *p == ' ' ? "\xe2\x96\x81" : one);
        }
        put_string(&writer, escaped);
    }
    put_array(&writer, "tokenizer.ggml.scores", 6, n);
    for (uint32_t i = 0; i < n; i++) put_float(&writer, i < FIRST ? 0 : w->score[i - FIRST]);
    put_array(&writer, "tokenizer.ggml.token_type", 5, n);
    for (uint32_t i = 0; i < n; i++) put_int(&writer, i == 0 ? 2 : i < FIRST ? 6 : 1, 4);
    end_gguf(&writer);
    return open_bytes(writer.data, writer.n);
}

/* Ids by rescanning all neighbours for each merge. */
static size_t encode_naively(const words *w, const char *text, size_t n, int32_t *ids)
{
    size_t start[128], n_symbol = n, n_id = 0;
    for (size_t i = 0; i <= n; i++) start[i] = i;
    for (;;) {
        size_t best_at = 0;
        int best = -1;
        for (size_t i = 0; i + 1 < n_symbol; i++) {
            const int word = find_word(w, text + start[i], start[i + 2] - start[i]);
            if (word >= 0 && (best < 0 || w->score[word] > w->score[best])) {
                best = word;
                best_at = i;
            }
        }
        if (best < 0) break;
        memmove(start + best_at + 1, start + best_at + 2, (n_symbol - best_at - 1) * sizeof *start);
        n_symbol--;
    }
    for (size_t i = 0; i < n_symbol; i++) {
        const int word = find_word(w, text + start[i], start[i + 1] - start[i]);
        ids[n_id++] = word >= 0 ? FIRST + word : 1 + (uint8_t)text[start[i]];
    }
    return n_id;
}

static void compare(bool with_inner_spaces)
{
    for (int round = 0; round < 60; round++) {
        words w;
        make_words(&w, with_inner_spaces);
        llrt_tokenizer *const t = open_words(&w);
        if (!with_inner_spaces) assert_true(t->is_splitting_spaces);
        for (int k = 0; k < 60; k++) {
            char text[120];
            int32_t got[128], expected[128];
            const size_t n = next_random(120);
            size_t n_got;
            for (size_t i = 0; i < n; i++) text[i] = " aabbccddx"[next_random(10)];
            const size_t n_expected = encode_naively(&w, text, n, expected);
            assert_int_equal(llrt_tokenizer_encode(t, text, n, 0, got, 128, &n_got, NULL), 0);
            assert_int_equal(n_got, n_expected);
            assert_memory_equal(got, expected, n_got * sizeof *got);
        }
        llrt_tokenizer_free(t);
    }
}

static void test_words_cut_at_spaces(void **state)
{
    compare(false);
}

static void test_tokens_with_spaces_inside(void **state)
{
    compare(true);
}

static void test_byte_names(void **state)
{
    assert_int_equal(llrti_spm_byte("<0x0A>", 6), 10);
    assert_int_equal(llrti_spm_byte("<0xff>", 6), 255);
    assert_int_equal(llrti_spm_byte("<0x0G>", 6), -1);
    assert_int_equal(llrti_spm_byte("<0x0A", 5), -1);
    assert_int_equal(llrti_spm_byte("<0x0A]", 6), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_words_cut_at_spaces),
        cmocka_unit_test(test_tokens_with_spaces_inside),
        cmocka_unit_test(test_byte_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
