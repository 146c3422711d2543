/* SPDX-License-Identifier: MIT */
/*
 * Pre-tokenizers on hand-made text: what each regular expression cuts, including the
 * places where alternatives compete (white space before words, contractions, digits) and bytes
 * that are not valid UTF-8. Pieces are written with | between them.
 */
#include "tokenizer_fixture.h"

#include "pretokenizer.h"
#include "unicode_class.h"

static size_t cut(const llrti_pretokenizer *p, uint32_t depth, const char *text, size_t n,
                  char *out)
{
    size_t n_out = 0;
    while (n > 0 && depth < p->n_stage) {
        const size_t piece = p->stage[depth].scan(text, n, p->stage[depth].arg);
        assert_in_range(piece, 1, n);
        n_out += cut(p, depth + 1, text, piece, out + n_out);
        text += piece;
        n -= piece;
    }
    if (depth == p->n_stage) {
        memcpy(out, text, n);
        out[n] = '|';
        return n + 1;
    }
    return n_out;
}

static void check_cut(const char *name, const char *text, const char *expected)
{
    llrti_pretokenizer p;
    char out[256];
    assert_true(llrti_pretokenizer_by_name(name, strlen(name), &p));
    out[cut(&p, 0, text, strlen(text), out)] = 0;
    assert_string_equal(out, expected);
}

static void test_gpt2(void **state)
{
    check_cut("gpt-2", "Hello world", "Hello| world|");
    check_cut("gpt-2", "it's we'LL", "it|'s| we|'|LL|");
    check_cut("gpt-2", "a   b", "a|  | b|");
    check_cut("gpt-2", "a\n\n b ", "a|\n\n| b| |");
    check_cut("gpt-2", "x12345 6", "x|12345| 6|");
    check_cut("gpt-2", "!?. ...", "!?.| ...|");
    check_cut("gpt-2", "\xc3\xa9t\xc3\xa9\xe2\x80\xa8", "\xc3\xa9t\xc3\xa9|\xe2\x80\xa8|");
    check_cut("gpt-2", " ", " |");
}

static void test_llama_bpe(void **state)
{
    check_cut("llama-bpe", "Hello world", "Hello| world|");
    check_cut("llama-bpe", "we'LL don'T 'S", "we|'LL| don|'T| '|S|");
    check_cut("llama-bpe", "12345678", "123|456|78|");
    check_cut("llama-bpe", "(abc) .\n\nx", "(abc|)| .\n\n|x|");
    check_cut("llama-bpe", "a \n \n  b", "a| \n \n| | b|");
    check_cut("llama-bpe", "\tx\t1", "\tx|\t|1|");
    check_cut("llama-bpe", "it'\xc5\xbf x", "it|'\xc5\xbf| x|"); /* long s folds to s */
    check_cut("llama3", "1 2", "1| |2|");
}

static void test_qwen2(void **state)
{
    check_cut("qwen2", "12 34", "1|2| |3|4|");
    check_cut("qwen2", "e\xcc\x81.", "e|\xcc\x81.|");
    check_cut("qwen35", "e\xcc\x81.", "e\xcc\x81|.|");
}

static void test_default(void **state)
{
    check_cut("default", "a,b 1234", "a|,|b| |123|4|");
    check_cut("default", "a`+", "a|`|+|");
}

static void test_invalid_bytes_are_symbols(void **state)
{
    check_cut("gpt-2",
              "a\xff\xfe"
              "b",
              "a|\xff\xfe|b|");
    check_cut("llama-bpe", "\xe4\xb8 a", "\xe4\xb8| a|");
    check_cut("llama-bpe",
              "\xe4"
              "ab",
              "\xe4"
              "ab|");
}

static void test_unknown_names_are_refused(void **state)
{
    llrti_pretokenizer p = {0};
    assert_false(llrti_pretokenizer_by_name("falcon", 6, &p));
    assert_false(llrti_pretokenizer_by_name("qwen", 4, &p));
    assert_false(llrti_pretokenizer_add_regex(&p, "\\s+", 3));
    for (int i = 0; i < LLRTI_PRETOKENIZER_STAGES; i++)
        assert_true(llrti_pretokenizer_add_digits(&p, false));
    assert_false(llrti_pretokenizer_add_punctuation(&p, false));
}

static void test_classes(void **state)
{
    assert_int_equal(llrti_unicode_class_of(0x4e2d) & LLRTI_CLASS_LETTER, LLRTI_CLASS_LETTER);
    assert_int_equal(llrti_unicode_class_of(0x0663) & LLRTI_CLASS_NUMBER, LLRTI_CLASS_NUMBER);
    assert_int_equal(llrti_unicode_class_of(0x00bd), LLRTI_CLASS_NUMBER);
    assert_int_equal(llrti_unicode_class_of(0x3000), LLRTI_CLASS_SPACE);
    assert_int_equal(llrti_unicode_class_of(0x0085), LLRTI_CLASS_SPACE);
    assert_int_equal(llrti_unicode_class_of(0x200b), 0); /* zero width space is no white space */
    assert_int_equal(llrti_unicode_class_of(0x0301), LLRTI_CLASS_MARK | LLRTI_CLASS_WORD);
    assert_int_equal(llrti_unicode_class_of(0x3002), LLRTI_CLASS_PUNCT);
    assert_int_equal(llrti_unicode_class_of(0x1f600), 0);
    size_t n;
    for (int c = 0; c < 128; c++) { /* the ASCII table agrees with the general rule */
        const char ch = (char)c;
        const uint32_t class = llrti_unicode_class_at(&ch, 1, &n);
        const uint32_t mask = LLRTI_CLASS_LETTER | LLRTI_CLASS_NUMBER | LLRTI_CLASS_PUNCT;
        assert_int_equal(class & mask, llrti_unicode_class_of((uint32_t)c) & mask);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gpt2),
        cmocka_unit_test(test_llama_bpe),
        cmocka_unit_test(test_qwen2),
        cmocka_unit_test(test_default),
        cmocka_unit_test(test_invalid_bytes_are_symbols),
        cmocka_unit_test(test_unknown_names_are_refused),
        cmocka_unit_test(test_classes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
