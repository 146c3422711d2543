/* SPDX-License-Identifier: MIT */
/*
 * The JSON reader: the JSONTestSuite (Nicolas Seriot), values and their kinds, limits, messages,
 * and memory.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <math.h>

#include "json.h"
#include "test_support.h"

static llrt_status parse(const char *text, size_t n, llrt_error *err)
{
    llrti_mem mem;
    test_heap heap;
    llrti_json_doc *doc;
    char *copy = malloc(n ? n : 1); /* of its exact size, for the sanitizers */
    memcpy(copy, text, n);
    test_mem_init(&mem, &heap);
    const llrt_status status = llrti_json_parse(&mem, copy, n, &doc, err);
    assert_int_equal(doc != NULL, status == LLRT_OK);
    llrti_json_free(doc);
    free(copy);
    assert_int_equal(heap.n_live, 0);
    return status;
}

static void test_values_and_kinds(void **state)
{
    static const char text[] =
        " {\"int\": -12, \"big\": 9223372036854775807, \"bigger\": 9223372036854775808, \"d\": 1.0,"
        "\"e\": 25e-1, \"t\": true, \"f\": false, \"z\": null, \"s\": "
        "\"a\\n\\u00fc\\ud83d\\ude00\\u0000b\","
        "\"a\": [1, [2, 3], {}, []], \"\": {\"in\": 7}, \"k\\t\": 1} ";
    llrti_mem mem;
    llrti_json_doc *doc;
    llrti_mem_init(&mem, NULL);
    assert_int_equal(llrti_json_parse(&mem, text, strlen(text), &doc, NULL), LLRT_OK);
    const llrti_json *root = llrti_json_root(doc);
    assert_int_equal(root->type, LLRTI_JSON_OBJECT);
    assert_int_equal(root->n, 12);
    assert_int_equal(llrti_json_get(root, "int")->type, LLRTI_JSON_INT);
    assert_int_equal(llrti_json_int(llrti_json_get(root, "int"), 0), -12);
    assert_true(llrti_json_int(llrti_json_get(root, "big"), 0) == INT64_MAX);
    assert_int_equal(llrti_json_get(root, "bigger")->type, LLRTI_JSON_DOUBLE);
    assert_true(llrti_json_double(llrti_json_get(root, "bigger"), 0) == 9223372036854775808.0);
    assert_int_equal(llrti_json_get(root, "d")->type, LLRTI_JSON_DOUBLE);
    assert_int_equal(llrti_json_int(llrti_json_get(root, "d"), 5), 5);
    assert_true(llrti_json_double(llrti_json_get(root, "e"), 0) == 2.5);
    assert_true(llrti_json_double(llrti_json_get(root, "int"), 0) == -12);
    assert_true(llrti_json_bool(llrti_json_get(root, "t"), false));
    assert_false(llrti_json_bool(llrti_json_get(root, "f"), true));
    assert_true(llrti_json_bool(llrti_json_get(root, "z"), true));
    const llrti_json *s = llrti_json_get(root, "s");
    assert_int_equal(s->n, 10);
    assert_memory_equal(s->value.s, "a\n\xc3\xbc\xf0\x9f\x98\x80\0b", 11);
    const llrti_json *a = llrti_json_get(root, "a");
    assert_int_equal(a->n, 4);
    assert_int_equal(llrti_json_int(llrti_json_at(llrti_json_at(a, 1), 1), 0), 3);
    assert_int_equal(llrti_json_at(a, 2)->type, LLRTI_JSON_OBJECT);
    assert_int_equal(llrti_json_at(a, 3)->n, 0);
    assert_null(llrti_json_at(a, 4));
    assert_int_equal(llrti_json_int(llrti_json_get(llrti_json_get(root, ""), "in"), 0), 7);
    assert_non_null(llrti_json_get(root, "k\t"));
    assert_null(llrti_json_get(root, "absent"));
    assert_null(llrti_json_get(NULL, "x"));
    assert_null(llrti_json_get(a, "x"));
    assert_null(llrti_json_at(root, 0));
    assert_string_equal(llrti_json_string(NULL, "otherwise"), "otherwise");
    llrti_json_free(doc);
    llrti_json_free(NULL);
    assert_null(llrti_json_root(NULL));
    assert_int_equal(atomic_load(&mem.total_live), 0);
}

static void test_messages_name_place_and_expectation(void **state)
{
    static const struct {
        const char *text, *found;
        int64_t position;
    } cases[] = {
        {"", "line 1, column 1: found the end of the text, expected a value", 0},
        {"{\"a\": 1,\n  b}", "line 2, column 3: found \"b}\", expected a key", 11},
        {"[1 2]", "column 4: found \"2]\", expected \",\" or \"]\"", 3},
        {"{\"a\" 1}", "expected \":\"", 5},
        {"[1] x", "expected nothing behind", 4},
        {"\"abc", "closing quote", 4},
        {"\"a\\qb\"", "escape sequence", 2},
        {"\"\\ud800x\"", "surrogate pair", 1},
        {"\"\\udc00\"", "surrogate pair", 1},
        {"\"\\u12g4\"", "hexadecimal", 1},
        {"\"a\nb\"", "control characters", 2},
        {"\"\xff\"", "valid UTF-8", 1},
        {"[1e400]", "range of a double", 1},
        {"{\"k\":1,\"k\":2}", "\"k\" twice", 12},
        {"[-]", "expected a value", 1},
        {"[1.]", "a digit after the point", 3},
        {"[1e+]", "a digit in the exponent", 4},
        {"[nul]", "expected a value", 1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        llrt_error err = LLRT_ERROR_INIT;
        assert_int_equal(parse(cases[i].text, strlen(cases[i].text), &err), LLRT_ERR_FORMAT);
        if (!strstr(err.text, cases[i].found) || err.position != cases[i].position) {
            fail_msg("case %zu: found at %lld: %s", i, (long long)err.position, err.text);
        }
    }
}

/* RFC 8259 has no such numbers, but Python writes them into configurations. */
static void test_numbers_that_python_writes(void **state)
{
    static const char text[] = "[Infinity,-Infinity,NaN,-1,{\"a\":Infinity}]";
    static const char *const wrong[] = {"[Inf]", "[-NaN]", "[infinity]", "[+Infinity]", "[nan]"};
    (void)state;
    llrti_mem mem;
    llrti_json_doc *doc;
    llrt_error err = LLRT_ERROR_INIT;
    llrti_mem_init(&mem, NULL);
    assert_int_equal(llrti_json_parse(&mem, text, strlen(text), &doc, &err), LLRT_ERR_FORMAT);
    assert_int_equal(llrti_json_parse_python(&mem, text, strlen(text), &doc, &err), LLRT_OK);
    const llrti_json *const root = llrti_json_root(doc);
    assert_true(llrti_json_double(llrti_json_at(root, 0), 0) == INFINITY);
    assert_true(llrti_json_double(llrti_json_at(root, 1), 0) == -INFINITY);
    assert_true(isnan(llrti_json_double(llrti_json_at(root, 2), 0)));
    assert_int_equal(llrti_json_int(llrti_json_at(root, 3), 0), -1);
    const llrti_json *const object = llrti_json_at(root, 4);
    assert_true(llrti_json_double(llrti_json_get(object, "a"), 0) == INFINITY);
    llrti_json_free(doc);
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        assert_int_equal(llrti_json_parse_python(&mem, wrong[i], strlen(wrong[i]), &doc, &err),
                         LLRT_ERR_FORMAT);
    assert_int_equal(atomic_load(&mem.total_live), 0);
}

static void test_duplicate_keys_are_found_in_large_objects(void **state)
{
    char text[4000] = "{";
    llrt_error err = LLRT_ERROR_INIT;
    for (int i = 0; i < 200; i++) {
        snprintf(text + strlen(text), 32, "%s\"key%d\": %d", i ? "," : "", i, i);
    }
    char twice[4100];
    snprintf(twice, sizeof twice, "%s,\"key77\":0}", text);
    strcat(text, "}");
    assert_int_equal(parse(text, strlen(text), &err), LLRT_OK);
    assert_int_equal(parse(twice, strlen(twice), &err), LLRT_ERR_FORMAT);
    assert_string_equal(err.field, "key77");
}

static void test_limits(void **state)
{
    llrt_error err = LLRT_ERROR_INIT;
    static char deep[300000];
    for (size_t depth = 255; depth <= 258; depth++) {
        memset(deep, '[', depth);
        memset(deep + depth, ']', depth);
        assert_int_equal(parse(deep, 2 * depth, &err), depth <= 256 ? LLRT_OK : LLRT_ERR_FORMAT);
    }
    memset(deep, '[', sizeof deep);
    assert_int_equal(parse(deep, sizeof deep, &err), LLRT_ERR_FORMAT);
    assert_non_null(strstr(err.text, "levels of nesting"));
    llrti_mem mem;
    llrti_json_doc *doc;
    llrti_mem_init(&mem, NULL);
    assert_int_equal(llrti_json_parse(&mem, "1", (size_t)1 << 29, &doc, &err), LLRT_ERR_FORMAT);
}

static void test_truncation_at_every_byte(void **state)
{
    static const char text[] = "{\"a\":[1.5e3,\"x\\u00e9\",{\"b\":null}],\"c\":{\"d\":true}}";
    llrt_error err = LLRT_ERROR_INIT;
    assert_int_equal(parse(text, strlen(text), &err), LLRT_OK);
    for (size_t n = 0; n < strlen(text); n++) {
        assert_int_equal(parse(text, n, &err), LLRT_ERR_FORMAT);
    }
}

static void test_allocation_failures_are_errors(void **state)
{
    char text[6000] = "{\"big\":{";
    for (int i = 0; i < 100; i++) {
        snprintf(text + strlen(text), 64, "%s\"a rather long key %d\": [%d]", i ? "," : "", i, i);
    }
    strcat(text, "}}");
    llrt_status status = LLRT_ERR_NOMEM;
    size_t fail_at = 1;
    for (; status != LLRT_OK; fail_at++) {
        llrti_mem mem;
        test_heap heap;
        llrti_json_doc *doc;
        llrt_error err = LLRT_ERROR_INIT;
        test_mem_init(&mem, &heap);
        heap.fail_at = fail_at;
        status = llrti_json_parse(&mem, text, strlen(text), &doc, &err);
        if (status != LLRT_OK) assert_int_equal(err.status, LLRT_ERR_NOMEM);
        llrti_json_free(doc);
        assert_int_equal(heap.n_live, 0);
    }
    assert_true(fail_at > 10);
}

/* Two files of the suite must be accepted by a reader that allows duplicate keys; this one does
 * not. */
static bool is_duplicate_key_case(const char *name)
{
    return strcmp(name, "y_object_duplicated_key.json") == 0 ||
           strcmp(name, "y_object_duplicated_key_and_value.json") == 0;
}

static void test_json_test_suite(void **state)
{
    const char *folder = test_data_folder();
    if (!folder) skip();
    char command[2048];
    snprintf(command, sizeof command,
             "mkdir -p json_test_suite && zstd -qdc '%s/conformance/JSONTestSuite.tar.zst' | "
             "tar xf - -C json_test_suite",
             folder);
    if (system("zstd --version >/dev/null 2>&1") != 0) {
        print_message("skipped: the zstd program is not installed\n");
        skip();
    }
    assert_int_equal(system(command), 0);
    DIR *dir = opendir("json_test_suite/test_parsing");
    assert_non_null(dir);
    int n_yes = 0, n_no = 0, n_either = 0;
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        char path[512];
        size_t n;
        if (entry->d_name[0] == '.') continue;
        snprintf(path, sizeof path, "json_test_suite/test_parsing/%s", entry->d_name);
        char *text = test_read_file(path, &n);
        assert_non_null(text);
        llrt_error err = LLRT_ERROR_INIT;
        const llrt_status status = parse(text, n, &err);
        free(text);
        const char kind = entry->d_name[0];
        if (kind == 'y' && is_duplicate_key_case(entry->d_name)) {
            assert_int_equal(status, LLRT_ERR_FORMAT);
        } else if ((kind == 'y' && status != LLRT_OK) ||
                   (kind == 'n' && status != LLRT_ERR_FORMAT)) {
            fail_msg("%s: status %d: %s", entry->d_name, (int)status, err.text);
        }
        n_yes += kind == 'y';
        n_no += kind == 'n';
        n_either += kind == 'i';
    }
    closedir(dir);
    print_message("%d accepted, %d refused, %d either way\n", n_yes, n_no, n_either);
    assert_true(n_yes > 90 && n_no > 180 && n_either > 30);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values_and_kinds),
        cmocka_unit_test(test_messages_name_place_and_expectation),
        cmocka_unit_test(test_numbers_that_python_writes),
        cmocka_unit_test(test_duplicate_keys_are_found_in_large_objects),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_truncation_at_every_byte),
        cmocka_unit_test(test_allocation_failures_are_errors),
        cmocka_unit_test(test_json_test_suite),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
