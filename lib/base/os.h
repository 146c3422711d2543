/* SPDX-License-Identifier: MIT */
/*
 * The operating system behind one small header: threads, clocks, files read by
 * position, page mappings, shared libraries. os_posix.c and os_win32.c
 * implement it; nothing else in the tree includes a system header for these things.
 * Threads made here block all signals and carry a name.
 */
#ifndef LLRTI_OS_H
#define LLRTI_OS_H

#include <stdbool.h>

#include <llrt/status.h>

#if defined(_WIN32)
#include <stdint.h>
typedef struct {
    void *p;
} llrti_mutex; /* SRWLOCK */
typedef struct {
    void *p;
} llrti_cond; /* CONDITION_VARIABLE */
typedef struct {
    void *h;
} llrti_thread;
#else
#include <pthread.h>
typedef struct {
    pthread_mutex_t m;
} llrti_mutex;
typedef struct {
    pthread_cond_t c;
} llrti_cond; /* monotonic clock */
typedef struct {
    pthread_t t;
} llrti_thread;
#endif

/** Mutexes and conditions allocate nothing; init can fail only for lack of system resources. */
bool llrti_mutex_init(llrti_mutex *mutex);
void llrti_mutex_free(llrti_mutex *mutex);
void llrti_mutex_lock(llrti_mutex *mutex);
void llrti_mutex_unlock(llrti_mutex *mutex);
bool llrti_cond_init(llrti_cond *cond);
void llrti_cond_free(llrti_cond *cond);
void llrti_cond_wait(llrti_cond *cond, llrti_mutex *mutex);
/** False when `timeout_ns` passed first. */
bool llrti_cond_wait_for(llrti_cond *cond, llrti_mutex *mutex, uint64_t timeout_ns);
void llrti_cond_signal(llrti_cond *cond);
void llrti_cond_broadcast(llrti_cond *cond);

/** Starts a thread with all signals blocked; the name is cut to what the system allows (15 bytes on Linux). */
bool llrti_thread_create(llrti_thread *thread, void (*run)(void *arg), void *arg, const char *name);
void llrti_thread_join(llrti_thread *thread);
void llrti_thread_yield(void);
/** A pause instruction for spin loops. */
void llrti_cpu_relax(void);
/** Processors in the calling thread's affinity mask, at least 1. */
uint32_t llrti_cpu_count(void);
/** Identifies the process, to notice a fork. */
uint64_t llrti_process_id(void);
/** Monotonic clock. */
uint64_t llrti_clock_ns(void);
/**
 * Bytes of memory that are free for certain, and in total; 0 when unknown. More than the free bytes can be had where the
 * system gives up caches.
 */
void llrti_memory_info(uint64_t *free_bytes, uint64_t *total_bytes);

/** A file opened for reading by position; safe from several threads. */
typedef struct llrti_file {
    intptr_t handle; /* -1 when closed */
} llrti_file;
llrt_status llrti_file_open(const char *path, llrti_file *out, uint64_t *size, llrt_error *err);
/** Reads exactly `n` bytes at `offset`; a short read is LLRT_ERR_IO. */
llrt_status llrti_file_read_at(llrti_file file, uint64_t offset, void *to, size_t n,
                               llrt_error *err);
void llrti_file_close(llrti_file *file);
/** A read-only mapping of the whole file. */
llrt_status llrti_file_map(llrti_file file, uint64_t size, const void **out, llrt_error *err);
void llrti_file_unmap(const void *base, uint64_t size);
/** A file behind a descriptor of the C library: borrowed, its position neither used nor moved. */
llrt_status llrti_file_borrow(int fd, llrti_file *out, uint64_t *size, llrt_error *err);
void llrti_file_return(llrti_file *file); /* ends a borrow; the descriptor stays open */
/** True when `path` is a directory. */
bool llrti_path_is_dir(const char *path);

/** A file written front to back; close reports what buffering hid. Replaces the target only when closed well. */
typedef struct llrti_out_file {
    intptr_t handle;
    char path[1024], temporary[1040];
} llrti_out_file;
llrt_status llrti_out_file_open(const char *path, llrti_out_file *out, llrt_error *err);
llrt_status llrti_out_file_write(llrti_out_file *file, const void *data, size_t n, llrt_error *err);
llrt_status llrti_out_file_commit(llrti_out_file *file, llrt_error *err);
void llrti_out_file_discard(llrti_out_file *file);

/** Loads a shared library; the path is used as it is. */
llrt_status llrti_library_open(const char *path, void **out, llrt_error *err);
void *llrti_library_symbol(void *library, const char *name);
void llrti_library_close(void *library);
/** The folder that the code of this library was loaded from, without a trailing slash. */
llrt_status llrti_library_folder(char *out, size_t capacity, llrt_error *err);

/**
 * Calls each(ctx, name) for every entry of a folder, in no order, until it returns not 0. Allocates nothing.
 * LLRT_ERR_NOT_FOUND when there is no such folder.
 */
llrt_status llrti_folder_each(const char *path, int (*each)(void *ctx, const char *name), void *ctx,
                              llrt_error *err);

/** malloc with an alignment (a power of two, at least 16). */
void *llrti_heap_alloc(size_t size, size_t align);
void llrti_heap_free(void *ptr);

/** Anonymous memory aligned to `align` with huge pages asked for; NULL when there is none. */
void *llrti_pages_alloc(size_t size, size_t align);
void llrti_pages_free(void *ptr, size_t size, size_t align);

#endif
