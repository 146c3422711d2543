/* SPDX-License-Identifier: MIT */
/*
 * os.h for POSIX systems. Stateless: every function works on what it is given.
 *
 * A thread is started with all signals blocked in its creator, so that it inherits the
 * mask and no signal can slip in before its first instruction; what it shall run
 * lies on the creator's stack until the thread has picked it up, so starting one allocates nothing.
 * Free memory is what the kernel calls available (page cache counts as free), which only
 * /proc/meminfo tells; without it the free pages are taken.
 */
#if !defined(_WIN32)

#include "os.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#if defined(__linux__)
#include <sys/sysinfo.h>
#endif
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "error.h"

/* strerror is not thread-safe and follows the host's locale. */
static const char *describe(int code)
{
    switch (code) {
    case ENOENT:
        return "no such file";
    case ENOTDIR:
        return "a part of the path is no directory";
    case EACCES:
    case EPERM:
        return "permission denied";
    case EISDIR:
        return "it is a directory";
    case EMFILE:
    case ENFILE:
        return "too many open files";
    case ENAMETOOLONG:
        return "the name is too long";
    case ELOOP:
        return "too many symbolic links";
    case EIO:
        return "input/output error";
    case ENOSPC:
        return "no space left on the device";
    case EDQUOT:
        return "the disk quota is used up";
    case EFBIG:
        return "the file is too large";
    case EROFS:
        return "the file system is read-only";
    case EBADF:
        return "the descriptor is not open for this";
    case ENOMEM:
        return "no memory";
    case ENODEV:
        return "the file system can't do this";
    default:
        return "system error";
    }
}

/* ---- threads ---- */

bool llrti_mutex_init(llrti_mutex *mutex)
{
    return pthread_mutex_init(&mutex->m, NULL) == 0;
}

void llrti_mutex_free(llrti_mutex *mutex)
{
    pthread_mutex_destroy(&mutex->m);
}

void llrti_mutex_lock(llrti_mutex *mutex)
{
    pthread_mutex_lock(&mutex->m);
}

void llrti_mutex_unlock(llrti_mutex *mutex)
{
    pthread_mutex_unlock(&mutex->m);
}

bool llrti_cond_init(llrti_cond *cond)
{
#if defined(__APPLE__)
    return pthread_cond_init(&cond->c, NULL) == 0;
#else
    pthread_condattr_t attributes;
    if (pthread_condattr_init(&attributes)) return false;
    const bool ok = pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC) == 0 &&
                    pthread_cond_init(&cond->c, &attributes) == 0;
    pthread_condattr_destroy(&attributes);
    return ok;
#endif
}

void llrti_cond_free(llrti_cond *cond)
{
    pthread_cond_destroy(&cond->c);
}

void llrti_cond_wait(llrti_cond *cond, llrti_mutex *mutex)
{
    pthread_cond_wait(&cond->c, &mutex->m);
}

bool llrti_cond_wait_for(llrti_cond *cond, llrti_mutex *mutex, uint64_t timeout_ns)
{
    struct timespec until;
#if defined(__APPLE__)
    until.tv_sec = (time_t)(timeout_ns / 1000000000u);
    until.tv_nsec = (long)(timeout_ns % 1000000000u);
    return pthread_cond_timedwait_relative_np(&cond->c, &mutex->m, &until) != ETIMEDOUT;
#else
    clock_gettime(CLOCK_MONOTONIC, &until);
    const uint64_t ns = (uint64_t)until.tv_nsec + timeout_ns % 1000000000u;
    until.tv_sec += (time_t)(timeout_ns / 1000000000u + ns / 1000000000u);
    until.tv_nsec = (long)(ns % 1000000000u);
    return pthread_cond_timedwait(&cond->c, &mutex->m, &until) != ETIMEDOUT;
#endif
}

void llrti_cond_signal(llrti_cond *cond)
{
    pthread_cond_signal(&cond->c);
}

void llrti_cond_broadcast(llrti_cond *cond)
{
    pthread_cond_broadcast(&cond->c);
}

typedef struct thread_start {
    void (*run)(void *arg);
    void *arg;
    const char *name;
    pthread_mutex_t mutex;
    pthread_cond_t picked_up;
    bool is_picked_up;
} thread_start;

static void *thread_main(void *arg)
{
    thread_start *start = arg;
    void (*const run)(void *) = start->run;
    void *const run_arg = start->arg;
    char name[16];
    size_t n = start->name ? strlen(start->name) : 0;
    if (n > sizeof name - 1) n = sizeof name - 1;
    if (n) memcpy(name, start->name, n);
    name[n] = 0;
    pthread_mutex_lock(&start->mutex);
    start->is_picked_up = true;
    pthread_cond_signal(&start->picked_up);
    pthread_mutex_unlock(&start->mutex);
#if defined(__APPLE__)
    if (n) pthread_setname_np(name);
#elif defined(__linux__)
    if (n) pthread_setname_np(pthread_self(), name);
#endif
    run(run_arg);
    return NULL;
}

bool llrti_thread_create(llrti_thread *thread, void (*run)(void *arg), void *arg, const char *name)
{
    thread_start start = {.run = run, .arg = arg, .name = name};
    if (pthread_mutex_init(&start.mutex, NULL)) return false;
    if (pthread_cond_init(&start.picked_up, NULL)) {
        pthread_mutex_destroy(&start.mutex);
        return false;
    }
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    const bool ok = pthread_create(&thread->t, NULL, thread_main, &start) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (ok) {
        pthread_mutex_lock(&start.mutex);
        while (!start.is_picked_up) pthread_cond_wait(&start.picked_up, &start.mutex);
        pthread_mutex_unlock(&start.mutex);
    }
    pthread_cond_destroy(&start.picked_up);
    pthread_mutex_destroy(&start.mutex);
    return ok;
}

void llrti_thread_join(llrti_thread *thread)
{
    pthread_join(thread->t, NULL);
}

void llrti_thread_yield(void)
{
    sched_yield();
}

void llrti_cpu_relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

uint32_t llrti_cpu_count(void)
{
#if defined(__linux__)
    cpu_set_t sets[8]; /* 8192 processors */
    memset(sets, 0, sizeof sets);
    if (sched_getaffinity(0, sizeof sets, sets) == 0) {
        const int n = CPU_COUNT_S(sizeof sets, sets);
        if (n > 0) return (uint32_t)n;
    }
#endif
    const long n = sysconf(_SC_NPROCESSORS_ONLN);
    return n > 0 ? (uint32_t)n : 1;
}

uint64_t llrti_process_id(void)
{
    return (uint64_t)getpid();
}

uint64_t llrti_clock_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

void llrti_memory_info(uint64_t *free_bytes, uint64_t *total_bytes)
{
    *free_bytes = *total_bytes = 0;
#if defined(__linux__)
    /* By system call alone: the library opens no file it was not given, so what caches could yield is not known. */
    struct sysinfo info;
    if (sysinfo(&info) == 0) {
        *total_bytes = (uint64_t)info.totalram * info.mem_unit;
        *free_bytes = ((uint64_t)info.freeram + info.bufferram) * info.mem_unit;
    }
#elif defined(_SC_PHYS_PAGES)
    const long page = sysconf(_SC_PAGESIZE), all = sysconf(_SC_PHYS_PAGES);
    if (page > 0 && all > 0) *total_bytes = (uint64_t)page * (uint64_t)all;
#endif
}

/* ---- reading files ---- */

static llrt_status file_size(int fd, uint64_t *size, llrt_error *err)
{
    struct stat info;
    if (fstat(fd, &info)) {
        return llrti_fail(err, LLRT_ERR_IO, "can't get the file's size: %s", describe(errno));
    }
    if (!S_ISREG(info.st_mode)) {
        return llrti_fail(err, LLRT_ERR_IO, "found %s, expected a regular file",
                          S_ISDIR(info.st_mode) ? "a directory" : "a device or pipe");
    }
    *size = (uint64_t)info.st_size;
    return LLRT_OK;
}

llrt_status llrti_file_open(const char *path, llrti_file *out, uint64_t *size, llrt_error *err)
{
    out->handle = -1;
    *size = 0;
    int fd;
    do {
        /* Opening a pipe without O_NONBLOCK would wait for a writer. */
        fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    } while (fd < 0 && errno == EINTR);
    llrt_status status = LLRT_OK;
    if (fd < 0) {
        const llrt_status code =
            errno == ENOENT || errno == ENOTDIR ? LLRT_ERR_NOT_FOUND : LLRT_ERR_IO;
        status = llrti_fail(err, code, "can't open the file: %s", describe(errno));
    } else {
        status = file_size(fd, size, err);
        if (status < 0) {
            close(fd);
        } else {
            out->handle = fd;
        }
    }
    if (status < 0) llrti_error_file(err, path);
    return status;
}

llrt_status llrti_file_read_at(llrti_file file, uint64_t offset, void *to, size_t n,
                               llrt_error *err)
{
    if (offset > INT64_MAX || n > INT64_MAX - offset) {
        return llrti_fail(err, LLRT_ERR_IO, "can't read %zu bytes at an offset beyond 2^63", n);
    }
    size_t done = 0;
    while (done < n) {
        const size_t want = n - done < ((size_t)1 << 30) ? n - done : (size_t)1 << 30;
        const ssize_t got =
            pread((int)file.handle, (char *)to + done, want, (off_t)(offset + done));
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) {
            const int code = errno;
            const llrt_status status =
                got < 0 ? llrti_fail(err, LLRT_ERR_IO, "reading %zu bytes failed: %s", n,
                                     describe(code))
                        : llrti_fail(err, LLRT_ERR_IO,
                                     "found %zu bytes, expected %zu: the file ends early", done, n);
            llrti_error_position(err, (int64_t)(offset + done));
            return status;
        }
        done += (size_t)got;
    }
    return LLRT_OK;
}

void llrti_file_close(llrti_file *file)
{
    if (file->handle >= 0) close((int)file->handle);
    file->handle = -1;
}

llrt_status llrti_file_borrow(int fd, llrti_file *out, uint64_t *size, llrt_error *err)
{
    out->handle = -1;
    *size = 0;
    LLRTI_TRY(file_size(fd, size, err));
    out->handle = fd;
    return LLRT_OK;
}

void llrti_file_return(llrti_file *file)
{
    file->handle = -1;
}

llrt_status llrti_file_map(llrti_file file, uint64_t size, const void **out, llrt_error *err)
{
    *out = NULL;
    if (size == 0 || size > SIZE_MAX) {
        return llrti_fail(err, LLRT_ERR_UNSUPPORTED, "can't map a file of %llu bytes",
                          (unsigned long long)size);
    }
    void *base = mmap(NULL, (size_t)size, PROT_READ, MAP_SHARED, (int)file.handle, 0);
    if (base == MAP_FAILED) {
        const int code = errno;
        return llrti_fail(err, code == ENOMEM ? LLRT_ERR_NOMEM : LLRT_ERR_IO,
                          "mapping %llu bytes failed: %s", (unsigned long long)size,
                          describe(code));
    }
    *out = base;
    return LLRT_OK;
}

void llrti_file_unmap(const void *base, uint64_t size)
{
    if (base) munmap((void *)(uintptr_t)base, (size_t)size);
}

bool llrti_path_is_dir(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

/* ---- writing files ---- */

llrt_status llrti_out_file_open(const char *path, llrti_out_file *out, llrt_error *err)
{
    out->handle = -1;
    const size_t n = strlen(path);
    if (n == 0 || n >= sizeof out->path) {
        return llrti_fail(err, LLRT_ERR_ARGUMENT, "found a path of %zu bytes, expected 1 to %zu", n,
                          sizeof out->path - 1);
    }
    memcpy(out->path, path, n + 1);
    int fd = -1;
    uint32_t salt = (uint32_t)getpid() * 2654435761u ^ (uint32_t)llrti_clock_ns();
    for (int attempt = 0; attempt < 64 && fd < 0; attempt++) {
        snprintf(out->temporary, sizeof out->temporary, "%s.%08x.tmp", path, (unsigned)salt++);
        fd = open(out->temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (fd < 0 && errno != EEXIST && errno != EINTR) break;
    }
    if (fd < 0) {
        const int code = errno;
        const llrt_status status =
            llrti_fail(err, code == ENOENT ? LLRT_ERR_NOT_FOUND : LLRT_ERR_IO,
                       "can't create the file: %s", describe(code));
        llrti_error_file(err, path);
        return status;
    }
    out->handle = fd;
    return LLRT_OK;
}

static llrt_status out_file_fail(const llrti_out_file *file, int code, const char *what,
                                 llrt_error *err)
{
    const llrt_status status = llrti_fail(err, LLRT_ERR_IO, "%s failed: %s", what, describe(code));
    llrti_error_file(err, file->path);
    return status;
}

llrt_status llrti_out_file_write(llrti_out_file *file, const void *data, size_t n, llrt_error *err)
{
    size_t done = 0;
    while (done < n) {
        const size_t want = n - done < ((size_t)1 << 30) ? n - done : (size_t)1 << 30;
        const ssize_t put = write((int)file->handle, (const char *)data + done, want);
        if (put < 0 && errno == EINTR) continue;
        if (put <= 0) return out_file_fail(file, put < 0 ? errno : ENOSPC, "writing", err);
        done += (size_t)put;
    }
    return LLRT_OK;
}

llrt_status llrti_out_file_commit(llrti_out_file *file, llrt_error *err)
{
    const int fd = (int)file->handle;
    int code = fsync(fd) ? errno : 0;
    if (close(fd) && !code) code = errno;
    file->handle = -1;
    if (!code && rename(file->temporary, file->path)) code = errno;
    if (code) {
        unlink(file->temporary);
        return out_file_fail(file, code, "finishing the file", err);
    }
    return LLRT_OK;
}

void llrti_out_file_discard(llrti_out_file *file)
{
    if (file->handle < 0) return;
    close((int)file->handle);
    unlink(file->temporary);
    file->handle = -1;
}

/* ---- shared libraries, memory ---- */

llrt_status llrti_library_open(const char *path, void **out, llrt_error *err)
{
    *out = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (*out) return LLRT_OK;
    const char *reason = dlerror();
    const llrt_status status = llrti_fail(err, LLRT_ERR_NOT_FOUND, "can't load the library: %s",
                                          reason ? reason : "unknown reason");
    llrti_error_file(err, path);
    return status;
}

void *llrti_library_symbol(void *library, const char *name)
{
    return dlsym(library, name);
}

void llrti_library_close(void *library)
{
    if (library) dlclose(library);
}

llrt_status llrti_library_folder(char *out, size_t capacity, llrt_error *err)
{
    static const char here = 0; /* lies in this library */
    Dl_info info;
    if (capacity > 0 && dladdr(&here, &info) != 0 && info.dli_fname) {
        const char *const slash = strrchr(info.dli_fname, '/');
        const char *const folder = slash ? info.dli_fname : ".";
        const size_t n = slash ? (size_t)(slash - info.dli_fname) : 1;
        if (n < capacity) {
            memcpy(out, folder, n);
            out[n] = 0;
            return LLRT_OK;
        }
    }
    return llrti_fail(err, LLRT_ERR_NOT_FOUND, "can't tell which folder the library lies in");
}

#if defined(__linux__)
/* opendir allocates behind the hooks' back; the system call underneath does not. */
typedef struct folder_entry {
    uint64_t inode;
    int64_t next;
    uint16_t size;
    uint8_t type;
    char name[];
} folder_entry;

static int read_folder(int fd, int (*each)(void *ctx, const char *name), void *ctx)
{
    _Alignas(8) char buffer[8192];
    for (;;) {
        const long n = syscall(SYS_getdents64, fd, buffer, sizeof buffer);
        if (n <= 0) return (int)n;
        for (long at = 0; at < n;) {
            const folder_entry *const entry = (const folder_entry *)(const void *)(buffer + at);
            if (each(ctx, entry->name) != 0) return 0;
            at += entry->size;
        }
    }
}
#else
/* opendir allocates behind the hooks' back, and these systems have nothing below it. */
static int read_folder(int fd, int (*each)(void *ctx, const char *name), void *ctx)
{
    (void)fd, (void)each, (void)ctx;
    errno = ENODEV;
    return -1;
}
#endif

llrt_status llrti_folder_each(const char *path, int (*each)(void *ctx, const char *name), void *ctx,
                              llrt_error *err)
{
    const int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    const int code = fd < 0 ? errno : read_folder(fd, each, ctx) < 0 ? errno : 0;
    if (fd >= 0) close(fd);
    if (code == 0) return LLRT_OK;
    const llrt_status status = fd < 0 ? LLRT_ERR_NOT_FOUND : LLRT_ERR_IO;
    llrti_fail(err, status, "can't list the folder: %s", describe(code));
    llrti_error_file(err, path);
    return status;
}

void *llrti_heap_alloc(size_t size, size_t align)
{
    void *ptr = NULL;
    return posix_memalign(&ptr, align, size ? size : 1) == 0 ? ptr : NULL;
}

void llrti_heap_free(void *ptr)
{
    free(ptr);
}

static size_t whole_pages(size_t size)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    if (size == 0) size = 1;
    return size > SIZE_MAX - page ? 0 : (size + page - 1) / page * page;
}

void *llrti_pages_alloc(size_t size, size_t align)
{
    const size_t n = whole_pages(size);
    if (n == 0 || n > SIZE_MAX - align) return NULL;
    char *base = mmap(NULL, n + align, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base == MAP_FAILED) return NULL;
    const size_t before = (align - (size_t)(uintptr_t)base % align) % align;
    if (before) munmap(base, before);
    if (align > before) munmap(base + before + n, align - before);
#if defined(MADV_HUGEPAGE)
    (void)madvise(base + before, n, MADV_HUGEPAGE);
#endif
    return base + before;
}

void llrti_pages_free(void *ptr, size_t size, size_t align)
{
    (void)align;
    if (ptr) munmap(ptr, whole_pages(size));
}

#endif
