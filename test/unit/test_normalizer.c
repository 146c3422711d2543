/* SPDX-License-Identifier: MIT */
/*
 * Normalization steps, and the Unicode forms against Unicode's own NormalizationTest file
 * from the data folder (version 8, whose answers later versions keep).
 */
#include "tokenizer_fixture.h"

#include "normalizer.h"
#include "utf8.h"

typedef struct fixture {
    llrti_mem mem;
    llrti_normalizer normalizer;
    llrti_normalizer_scratch scratch;
} fixture;

static void set_up(fixture *f, bool is_folding)
{
    llrti_mem_init(&f->mem, NULL);
    llrti_normalizer_init(&f->normalizer, &f->mem);
    llrti_normalizer_scratch_init(&f->scratch, &f->mem);
    f->normalizer.is_folding_space = is_folding;
}

static void tear_down(fixture *f)
{
    llrti_normalizer_free(&f->normalizer);
    llrti_normalizer_scratch_free(&f->scratch);
    assert_int_equal(llrti_mem_live(&f->mem, LLRT_MEMORY_HOST), 0);
}

static void check_n(fixture *f, const char *text, size_t n, const char *expected, size_t n_expected)
{
    const char *out = text;
    assert_int_equal(llrti_normalizer_run(&f->normalizer, &f->scratch, &out, &n, NULL), 0);
    assert_int_equal(n, n_expected);
    if (n) assert_memory_equal(out, expected, n);
}

static void check(fixture *f, const char *text, const char *expected)
{
    check_n(f, text, strlen(text), expected, strlen(expected));
}

static void add(fixture *f, llrti_normalizer_kind kind, const char *a, const char *b)
{
    assert_int_equal(llrti_normalizer_add(&f->normalizer, kind, a, a ? strlen(a) : 0, b,
                                          b ? strlen(b) : 0, NULL),
                     0);
}

static void test_prepend_and_replace(void **state)
{
    fixture f;
    set_up(&f, false);
    add(&f, LLRTI_NORMALIZE_PREPEND, "_", NULL);
    add(&f, LLRTI_NORMALIZE_REPLACE, "ab", "xyz");
    check(&f, "", "");
    check(&f, "abcab", "_xyzcxyz");
    check(&f, "aab", "_axyz");
    tear_down(&f);
}

static void test_folding_makes_escaping_idle(void **state)
{
    fixture f;
    set_up(&f, true);
    add(&f, LLRTI_NORMALIZE_PREPEND, "\xe2\x96\x81", NULL);
    add(&f, LLRTI_NORMALIZE_REPLACE, " ", "\xe2\x96\x81");
    assert_int_equal(f.normalizer.n_step, 1);
    check(&f, "a \xe2\x96\x81 b", " a   b");
    check(&f, "\xe2\x96", " \xe2\x96");
    tear_down(&f);
}

static void test_trim_spaces(void **state)
{
    fixture f;
    set_up(&f, false);
    add(&f, LLRTI_NORMALIZE_TRIM_SPACES, NULL, NULL);
    check(&f, "   a  b c   ", "a b c");
    check(&f, "    ", "");
    tear_down(&f);
}

static void test_composition(void **state)
{
    fixture f;
    set_up(&f, false);
    add(&f, LLRTI_NORMALIZE_NFC, NULL, NULL);
    check(&f, "plain", "plain");
    check(&f, "e\xcc\x81", "\xc3\xa9");
    check(&f, "xe\xcc\x81y", "x\xc3\xa9y");
    check(&f,
          "a\xff"
          "e\xcc\x81\xe4\xb8",
          "a\xff\xc3\xa9\xe4\xb8"); /* invalid bytes stay */
    tear_down(&f);
}

static void test_many_marks_are_ordered(void **state)
{
    /* 2000 marks of two classes in turn: all of class 220 come first. */
    static char text[8001], expected[8001];
    fixture f;
    set_up(&f, false);
    add(&f, LLRTI_NORMALIZE_NFD, NULL, NULL);
    text[0] = expected[0] = 'q';
    for (size_t i = 0; i < 2000; i++) {
        memcpy(text + 1 + 4 * i, "\xcc\x81\xcc\xa3", 4);
        memcpy(expected + 1 + 2 * i, "\xcc\xa3", 2);
        memcpy(expected + 4001 + 2 * i, "\xcc\x81", 2);
    }
    check_n(&f, text, sizeof text, expected, sizeof expected);
    tear_down(&f);
}

/* Reads "0044 0307" up to a semicolon as UTF-8; moves past the semicolon. */
static size_t read_column(char **line, char *out)
{
    size_t n = 0;
    while (**line && **line != ';') {
        char *end;
        const uint32_t c = (uint32_t)strtoul(*line, &end, 16);
        if (end == *line) break;
        n += llrti_utf8_encode(c, out + n);
        *line = end;
    }
    if (**line) ++*line;
    return n;
}

static void test_unicode_conformance(void **state)
{
    char path[1024], line[2048];
    const char *const folder = getenv("LLRT_TEST_DATA");
    snprintf(path, sizeof path, "%s/text/unicode/NormalizationTest-8.0.0.txt",
             folder ? folder : "");
    FILE *const file = folder ? fopen(path, "r") : NULL;
    if (!file) {
        print_message("skipped: no text/unicode/NormalizationTest-8.0.0.txt in LLRT_TEST_DATA\n");
        skip();
    }
    static const llrti_normalizer_kind kinds[4] = {LLRTI_NORMALIZE_NFC, LLRTI_NORMALIZE_NFD,
                                                   LLRTI_NORMALIZE_NFKC, LLRTI_NORMALIZE_NFKD};
    fixture f[4];
    for (size_t k = 0; k < 4; k++) {
        set_up(&f[k], false);
        add(&f[k], kinds[k], NULL, NULL);
    }
    size_t n_case = 0;
    while (fgets(line, sizeof line, file)) {
        char column[5][512], *at = line;
        size_t n[5];
        if (line[0] == '#' || line[0] == '@') continue;
        for (size_t i = 0; i < 5; i++) n[i] = read_column(&at, column[i]);
        if (n[0] == 0) continue;
        for (size_t k = 0; k < 4; k++)
            for (size_t i = 0; i < (k < 2 ? 3u : 5u); i++)
                check_n(&f[k], column[i], n[i], column[k + 1], n[k + 1]);
        n_case++;
    }
    fclose(file);
    for (size_t k = 0; k < 4; k++) tear_down(&f[k]);
    assert_in_range(n_case, 10000, 100000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_prepend_and_replace),
        cmocka_unit_test(test_folding_makes_escaping_idle),
        cmocka_unit_test(test_trim_spaces),
        cmocka_unit_test(test_composition),
        cmocka_unit_test(test_many_marks_are_ordered),
        cmocka_unit_test(test_unicode_conformance),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
