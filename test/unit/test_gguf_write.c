/* SPDX-License-Identifier: MIT */
/*
 * Written GGUF files: what the reader finds in them is what was given, and a file appears whole or
 * not at all.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "gguf_write.h"
#include "test_support.h"

#define PATH "test_gguf_write.tmp.gguf"

static const llrti_string words[] = {{"one", 3}, {"", 0}, {"t\0o", 3}};
static const uint8_t i16s[] = {1, 0, 0xfe, 0xff};

/* Every type of value, scalar and array. */
static const llrti_meta metas[] = {
    {.key = "u8", .type = LLRTI_META_U8, .n = 1, .value.u = 200},
    {.key = "i8", .type = LLRTI_META_I8, .n = 1, .value.i = -3},
    {.key = "u16", .type = LLRTI_META_U16, .n = 1, .value.u = 65535},
    {.key = "i16", .type = LLRTI_META_I16, .n = 1, .value.i = -300},
    {.key = "u32", .type = LLRTI_META_U32, .n = 1, .value.u = 4000000000u},
    {.key = "i32", .type = LLRTI_META_I32, .n = 1, .value.i = -70000},
    {.key = "u64", .type = LLRTI_META_U64, .n = 1, .value.u = UINT64_C(1) << 63},
    {.key = "i64", .type = LLRTI_META_I64, .n = 1, .value.i = INT64_MIN},
    {.key = "f32", .type = LLRTI_META_F32, .n = 1, .value.f = 0.25},
    {.key = "f64", .type = LLRTI_META_F64, .n = 1, .value.f = 0.1},
    {.key = "bool", .type = LLRTI_META_BOOL, .n = 1, .value.u = 1},
    {.key = "string", .type = LLRTI_META_STRING, .n = 1, .value.s = {"a\0b", 3}},
    {.key = "i16s",
     .type = LLRTI_META_ARRAY,
     .element = LLRTI_META_I16,
     .n = 2,
     .value.array = i16s},
    {.key = "words",
     .type = LLRTI_META_ARRAY,
     .element = LLRTI_META_STRING,
     .n = 3,
     .value.array = words},
    {.key = "general.alignment", .type = LLRTI_META_U32, .n = 1, .value.u = 64},
};

static void make_tensors(llrti_tensor tensor[3])
{
    const llrti_tensor all[3] = {
        {.name = "a", .type = 0, .n_dim = 2, .dim = {3, 2, 1, 1}},
        {.name = "empty", .type = 1, .n_dim = 1, .dim = {0, 1, 1, 1}},
        {.name = "b", .type = 8, .n_dim = 3, .dim = {32, 1, 2, 1}},
    };
    memcpy(tensor, all, sizeof all);
}

typedef struct fixture {
    llrti_mem mem;
    test_heap heap;
    llrti_tensor tensor[3];
    llrti_gguf_content content;
    uint8_t *head;
    size_t n_head;
    uint64_t n_all;
} fixture;

static int set_up(void **state)
{
    fixture *const f = calloc(1, sizeof *f);
    test_mem_init(&f->mem, &f->heap);
    make_tensors(f->tensor);
    f->content = (llrti_gguf_content){metas, sizeof metas / sizeof *metas, f->tensor, 3, 64};
    remove(PATH);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    fixture *const f = *state;
    llrti_free(&f->mem, f->head);
    assert_int_equal(f->heap.n_live, 0);
    remove(PATH);
    free(f);
    return 0;
}

static void make_head(fixture *f)
{
    assert_int_equal(
        llrti_gguf_write_head(&f->mem, &f->content, &f->head, &f->n_head, &f->n_all, NULL),
        LLRT_OK);
}

static bool exists(const char *path)
{
    FILE *const file = fopen(path, "rb");
    if (file) fclose(file);
    return file != NULL;
}

static int count_temporary(void *ctx, const char *name)
{
    *(int *)ctx += strncmp(name, PATH ".", sizeof PATH) == 0;
    return 0;
}

/* Files that a writer may have left beside its target. */
static int n_temporary(void)
{
    int n = 0;
    assert_int_equal(llrti_folder_each(".", count_temporary, &n, NULL), LLRT_OK);
    return n;
}

static void check_values(const llrti_model_file *file)
{
    for (size_t i = 0; i < sizeof metas / sizeof *metas; i++) {
        const llrti_meta *const meta = llrti_model_file_find_meta(file, metas[i].key);
        assert_non_null(meta);
        assert_int_equal(meta->type, metas[i].type);
        assert_int_equal(meta->n, metas[i].n);
        if (meta->type == LLRTI_META_STRING) {
            assert_int_equal(meta->value.s.n, metas[i].value.s.n);
            assert_memory_equal(meta->value.s.data, metas[i].value.s.data, metas[i].value.s.n);
        } else if (meta->type != LLRTI_META_ARRAY) {
            assert_int_equal(meta->value.u, metas[i].value.u);
        }
    }
    const llrti_meta *const strings = llrti_model_file_find_meta(file, "words");
    for (size_t i = 0; i < 3; i++) {
        const llrti_string *const s = (const llrti_string *)strings->value.array + i;
        assert_int_equal(s->n, words[i].n);
        assert_memory_equal(s->data, words[i].data, words[i].n);
    }
    assert_memory_equal(llrti_model_file_find_meta(file, "i16s")->value.array, i16s, sizeof i16s);
}

static void test_everything_is_read_back(void **state)
{
    fixture *const f = *state;
    uint8_t a[24], b[68], back[68];
    for (size_t i = 0; i < sizeof a; i++) a[i] = (uint8_t)(i + 1);
    for (size_t i = 0; i < sizeof b; i++) b[i] = (uint8_t)(200 - i);
    make_head(f);
    llrti_gguf_writer writer;
    assert_int_equal(llrti_gguf_write_open(&writer, PATH, &f->content, f->head, f->n_head, NULL),
                     LLRT_OK);
    assert_int_equal(llrti_gguf_write_data(&writer, a, 5, NULL), LLRT_OK);
    uint8_t rest[19 + 68]; /* pieces need not end where tensors do */
    memcpy(rest, a + 5, 19);
    memcpy(rest + 19, b, 68);
    assert_int_equal(llrti_gguf_write_data(&writer, rest, sizeof rest, NULL), LLRT_OK);
    assert_false(exists(PATH));
    assert_int_equal(llrti_gguf_write_commit(&writer, NULL), LLRT_OK);
    assert_int_equal(n_temporary(), 0);
    size_t n;
    free(test_read_file(PATH, &n));
    assert_int_equal(n, f->n_all);

    llrti_model_file *file;
    /* The reader refuses tensors without elements, so that one is left out for it. */
    f->tensor[1] = f->tensor[2];
    f->content.n_tensor = 2;
    llrti_free(&f->mem, f->head);
    f->head = NULL;
    make_head(f);
    assert_int_equal(llrti_gguf_write_open(&writer, PATH, &f->content, f->head, f->n_head, NULL),
                     LLRT_OK);
    assert_int_equal(llrti_gguf_write_data(&writer, a, sizeof a, NULL), LLRT_OK);
    assert_int_equal(llrti_gguf_write_data(&writer, b, sizeof b, NULL), LLRT_OK);
    assert_int_equal(llrti_gguf_write_commit(&writer, NULL), LLRT_OK);
    const llrti_model_file_options options = {0};
    assert_int_equal(llrti_model_file_open(&f->mem, PATH, &options, &file, NULL), LLRT_OK);
    check_values(file);
    assert_int_equal(llrti_model_file_n_tensor(file), 2);
    const llrti_tensor *const tensor = llrti_model_file_find_tensor(file, "b");
    assert_non_null(tensor);
    assert_int_equal(tensor->n_dim, 3);
    assert_int_equal(tensor->offset % 64, 0);
    assert_int_equal(llrti_model_file_read(file, tensor, 0, back, sizeof back, NULL), LLRT_OK);
    assert_memory_equal(back, b, sizeof b);
    llrti_model_file_close(file);
}

static void test_an_unfinished_file_leaves_the_old_one(void **state)
{
    fixture *const f = *state;
    make_head(f);
    assert_int_equal(test_write_file(PATH, "old", 3), 0);
    llrti_gguf_writer writer;
    assert_int_equal(llrti_gguf_write_open(&writer, PATH, &f->content, f->head, f->n_head, NULL),
                     LLRT_OK);
    assert_int_equal(n_temporary(), 1);
    assert_int_equal(llrti_gguf_write_data(&writer, "12345", 5, NULL), LLRT_OK);
    llrt_error err = LLRT_ERROR_INIT;
    assert_int_equal(llrti_gguf_write_commit(&writer, &err), LLRT_ERR_INTERNAL);
    assert_string_equal(err.field, "a");
    llrti_gguf_write_discard(&writer); /* does nothing any more */
    assert_int_equal(n_temporary(), 0);
    size_t n;
    char *const old = test_read_file(PATH, &n);
    assert_string_equal(old, "old");
    free(old);
}

static void test_more_data_than_tensors_is_refused(void **state)
{
    fixture *const f = *state;
    const uint8_t data[24 + 68 + 1] = {0};
    make_head(f);
    llrti_gguf_writer writer;
    assert_int_equal(llrti_gguf_write_open(&writer, PATH, &f->content, f->head, f->n_head, NULL),
                     LLRT_OK);
    assert_int_equal(llrti_gguf_write_data(&writer, data, sizeof data, NULL), LLRT_ERR_INTERNAL);
    llrti_gguf_write_discard(&writer);
    assert_int_equal(n_temporary(), 0);
}

static void test_wrong_content_is_named(void **state)
{
    fixture *const f = *state;
    llrt_error err = LLRT_ERROR_INIT;
    f->tensor[2].name = "a";
    assert_int_equal(
        llrti_gguf_write_head(&f->mem, &f->content, &f->head, &f->n_head, &f->n_all, &err),
        LLRT_ERR_ARGUMENT);
    assert_string_equal(err.field, "a");
    make_tensors(f->tensor);
    f->tensor[2].dim[0] = 33; /* no whole block */
    assert_true(llrti_gguf_write_head(&f->mem, &f->content, &f->head, &f->n_head, &f->n_all, &err) <
                0);
    assert_string_equal(err.field, "b");
    make_tensors(f->tensor);
    f->tensor[0].n_dim = 5;
    assert_int_equal(
        llrti_gguf_write_head(&f->mem, &f->content, &f->head, &f->n_head, &f->n_all, &err),
        LLRT_ERR_ARGUMENT);
    make_tensors(f->tensor);
    const llrti_meta twice[] = {metas[0], metas[1], metas[0]};
    f->content.meta = twice;
    f->content.n_meta = 3;
    assert_int_equal(
        llrti_gguf_write_head(&f->mem, &f->content, &f->head, &f->n_head, &f->n_all, &err),
        LLRT_ERR_ARGUMENT);
    assert_string_equal(err.field, "u8");
    assert_null(f->head);
}

static void test_a_folder_that_is_not_there_is_named(void **state)
{
    fixture *const f = *state;
    llrti_gguf_writer writer;
    llrt_error err = LLRT_ERROR_INIT;
    make_head(f);
    assert_int_equal(llrti_gguf_write_open(&writer, "no/such/folder.gguf", &f->content, f->head,
                                           f->n_head, &err),
                     LLRT_ERR_NOT_FOUND);
    assert_string_equal(err.file, "no/such/folder.gguf");
}

static void test_lack_of_memory_leaks_nothing(void **state)
{
    fixture *const f = *state;
    llrt_status status = LLRT_ERR_NOMEM;
    for (size_t at = 1; status != LLRT_OK; at++) {
        assert_true(at < 100);
        f->heap.n_call = 0;
        f->heap.fail_at = at;
        status = llrti_gguf_write_head(&f->mem, &f->content, &f->head, &f->n_head, &f->n_all, NULL);
        if (status != LLRT_OK) {
            assert_int_equal(status, LLRT_ERR_NOMEM);
            assert_int_equal(f->heap.n_live, 0);
        }
    }
    f->heap.fail_at = 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_everything_is_read_back, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_an_unfinished_file_leaves_the_old_one, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_more_data_than_tensors_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_wrong_content_is_named, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_folder_that_is_not_there_is_named, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_lack_of_memory_leaks_nothing, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
