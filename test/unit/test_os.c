/* SPDX-License-Identifier: MIT */
/*
 * The operating system's layer: files by position, files replaced only when complete, threads
 * with their name and signal mask, waiting with a time limit, mappings, bulk memory.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "test_support.h"

#if !defined(_WIN32)
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>
#endif

static void test_files_are_read_by_position(void **state)
{
    const char *path = "test_os_a.bin";
    llrt_error err = LLRT_ERROR_INIT;
    llrti_file file;
    uint64_t size;
    char buffer[16];
    assert_int_equal(test_write_file(path, "0123456789", 10), 0);
    assert_int_equal(llrti_file_open(path, &file, &size, &err), LLRT_OK);
    assert_int_equal(size, 10);
    assert_int_equal(llrti_file_read_at(file, 3, buffer, 4, &err), LLRT_OK);
    assert_memory_equal(buffer, "3456", 4);
    assert_int_equal(llrti_file_read_at(file, 0, buffer, 0, &err), LLRT_OK);
    assert_int_equal(llrti_file_read_at(file, 8, buffer, 4, &err), LLRT_ERR_IO);
    assert_non_null(strstr(err.text, "2 bytes, expected 4"));
    assert_int_equal(err.position, 10);
    assert_int_equal(llrti_file_read_at(file, UINT64_MAX - 2, buffer, 4, &err), LLRT_ERR_IO);
    const void *map;
    assert_int_equal(llrti_file_map(file, size, &map, &err), LLRT_OK);
    assert_memory_equal(map, "0123456789", 10);
    llrti_file_unmap(map, size);
    assert_int_equal(llrti_file_map(file, 0, &map, &err), LLRT_ERR_UNSUPPORTED);
    llrti_file_close(&file);
    llrti_file_close(&file);
    remove(path);
    assert_int_equal(llrti_file_open(path, &file, &size, &err), LLRT_ERR_NOT_FOUND);
    assert_string_equal(err.file, path);
    assert_int_equal(file.handle, -1);
    assert_int_equal(llrti_file_open(".", &file, &size, &err), LLRT_ERR_IO);
    assert_true(llrti_path_is_dir("."));
    assert_false(llrti_path_is_dir(path));
}

static void test_out_file_replaces_only_on_commit(void **state)
{
    const char *path = "test_os_b.bin";
    llrt_error err = LLRT_ERROR_INIT;
    llrti_out_file out;
    size_t n;
    assert_int_equal(test_write_file(path, "old", 3), 0);
    assert_int_equal(llrti_out_file_open(path, &out, &err), LLRT_OK);
    assert_int_equal(llrti_out_file_write(&out, "new text", 8, &err), LLRT_OK);
    llrti_out_file_discard(&out);
    llrti_out_file_discard(&out);
    char *text = test_read_file(path, &n);
    assert_string_equal(text, "old");
    free(text);
    assert_null(fopen(out.temporary, "rb"));
    assert_int_equal(llrti_out_file_open(path, &out, &err), LLRT_OK);
    assert_int_equal(llrti_out_file_write(&out, "new ", 4, &err), LLRT_OK);
    assert_int_equal(llrti_out_file_write(&out, "text", 4, &err), LLRT_OK);
    assert_int_equal(llrti_out_file_commit(&out, &err), LLRT_OK);
    text = test_read_file(path, &n);
    assert_string_equal(text, "new text");
    free(text);
    remove(path);
    assert_int_equal(llrti_out_file_open("no/such/folder/x", &out, &err), LLRT_ERR_NOT_FOUND);
    assert_string_equal(err.file, "no/such/folder/x");
    assert_int_equal(llrti_out_file_open("", &out, &err), LLRT_ERR_ARGUMENT);
    char longest[2000];
    memset(longest, 'a', sizeof longest - 1);
    longest[sizeof longest - 1] = 0;
    assert_int_equal(llrti_out_file_open(longest, &out, &err), LLRT_ERR_ARGUMENT);
}

typedef struct thread_check {
    llrti_mutex mutex;
    llrti_cond cond;
    int step;
    char name[32];
    int blocks_signals;
} thread_check;

static void thread_body(void *arg)
{
    thread_check *check = arg;
#if !defined(_WIN32)
    sigset_t now;
    pthread_sigmask(SIG_BLOCK, NULL, &now);
    check->blocks_signals = sigismember(&now, SIGINT) && sigismember(&now, SIGTERM) &&
                            sigismember(&now, SIGALRM) && sigismember(&now, SIGUSR1);
#endif
#if defined(__linux__)
    pthread_getname_np(pthread_self(), check->name, sizeof check->name);
#endif
    llrti_mutex_lock(&check->mutex);
    check->step = 1;
    llrti_cond_broadcast(&check->cond);
    while (check->step != 2) llrti_cond_wait(&check->cond, &check->mutex);
    check->step = 3;
    llrti_mutex_unlock(&check->mutex);
}

static void test_threads_have_name_and_mask(void **state)
{
    thread_check check = {.step = 0};
    llrti_thread thread;
    assert_true(llrti_mutex_init(&check.mutex));
    assert_true(llrti_cond_init(&check.cond));
    assert_true(llrti_thread_create(&thread, thread_body, &check, "a-very-long-thread-name"));
    llrti_mutex_lock(&check.mutex);
    while (check.step != 1) llrti_cond_wait(&check.cond, &check.mutex);
    check.step = 2;
    llrti_cond_signal(&check.cond);
    llrti_mutex_unlock(&check.mutex);
    llrti_thread_join(&thread);
    assert_int_equal(check.step, 3);
#if defined(__linux__)
    assert_string_equal(check.name, "a-very-long-thr");
    assert_true(check.blocks_signals);
#endif
    const uint64_t begin = llrti_clock_ns();
    llrti_mutex_lock(&check.mutex);
    assert_false(llrti_cond_wait_for(&check.cond, &check.mutex, 2000000));
    llrti_mutex_unlock(&check.mutex);
    assert_true(llrti_clock_ns() - begin >= 1900000);
    llrti_cond_free(&check.cond);
    llrti_mutex_free(&check.mutex);
}

static void test_machine_facts_are_plausible(void **state)
{
    uint64_t free_bytes, total_bytes;
    llrti_memory_info(&free_bytes, &total_bytes);
    assert_true(total_bytes > 64u << 20);
    assert_true(free_bytes > 0 && free_bytes <= total_bytes);
    assert_true(llrti_cpu_count() >= 1);
    assert_true(llrti_process_id() != 0);
    llrti_thread_yield();
    llrti_cpu_relax();
}

static void test_pages_are_aligned_and_whole(void **state)
{
    for (size_t size = 1; size < 9u << 20; size = size * 7 + 4095) {
        char *p = llrti_pages_alloc(size, LLRTI_BULK_ALIGN);
        assert_non_null(p);
        assert_int_equal((uintptr_t)p % LLRTI_BULK_ALIGN, 0);
        p[0] = p[size - 1] = 1;
        llrti_pages_free(p, size, LLRTI_BULK_ALIGN);
    }
    assert_null(llrti_pages_alloc(SIZE_MAX - 100, LLRTI_BULK_ALIGN));
    assert_null(llrti_pages_alloc((size_t)1 << 60, LLRTI_BULK_ALIGN));
}

static void test_missing_library_is_an_error(void **state)
{
    llrt_error err = LLRT_ERROR_INIT;
    void *library;
    assert_int_equal(llrti_library_open("./no-such-library.so", &library, &err),
                     LLRT_ERR_NOT_FOUND);
    assert_null(library);
    assert_string_equal(err.file, "./no-such-library.so");
#if defined(__linux__)
    assert_int_equal(llrti_library_open("libm.so.6", &library, &err), LLRT_OK);
    assert_non_null(llrti_library_symbol(library, "cos"));
    assert_null(llrti_library_symbol(library, "no_such_function_here"));
    llrti_library_close(library);
#endif
    llrti_library_close(NULL);
}

#if !defined(_WIN32)
static void test_pipes_do_not_block(void **state)
{
    llrt_error err = LLRT_ERROR_INIT;
    llrti_file file;
    uint64_t size;
    remove("test_os_pipe");
    assert_int_equal(mkfifo("test_os_pipe", 0600), 0);
    assert_int_equal(llrti_file_open("test_os_pipe", &file, &size, &err), LLRT_ERR_IO);
    assert_non_null(strstr(err.text, "pipe"));
    remove("test_os_pipe");
}

static void test_borrowed_descriptor_keeps_its_position(void **state)
{
    llrt_error err = LLRT_ERROR_INIT;
    llrti_file file;
    uint64_t size;
    char buffer[4];
    assert_int_equal(test_write_file("test_os_c.bin", "0123456789", 10), 0);
    const int fd = open("test_os_c.bin", O_RDONLY);
    assert_int_equal(lseek(fd, 2, SEEK_SET), 2);
    assert_int_equal(llrti_file_borrow(fd, &file, &size, &err), LLRT_OK);
    assert_int_equal(size, 10);
    assert_int_equal(llrti_file_read_at(file, 5, buffer, 4, &err), LLRT_OK);
    assert_memory_equal(buffer, "5678", 4);
    llrti_file_return(&file);
    assert_int_equal(lseek(fd, 0, SEEK_CUR), 2);
    close(fd);
    remove("test_os_c.bin");
    assert_int_equal(llrti_file_borrow(-1, &file, &size, &err), LLRT_ERR_IO);
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_files_are_read_by_position),
        cmocka_unit_test(test_out_file_replaces_only_on_commit),
        cmocka_unit_test(test_threads_have_name_and_mask),
        cmocka_unit_test(test_machine_facts_are_plausible),
        cmocka_unit_test(test_pages_are_aligned_and_whole),
        cmocka_unit_test(test_missing_library_is_an_error),
#if !defined(_WIN32)
        cmocka_unit_test(test_pipes_do_not_block),
        cmocka_unit_test(test_borrowed_descriptor_keeps_its_position),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
