/* SPDX-License-Identifier: MIT */
/*
 * What every other header needs: linkage, the memory hooks and the log hook.
 *
 * llrt keeps no global state. Memory and log lines go through the hooks of the
 * handle they belong to, so that engines with different hooks live side by
 * side in one process.
 */
#ifndef LLRT_BASE_H
#define LLRT_BASE_H

#include <stddef.h>
#include <stdint.h>

#include "version.h"

#if defined(_WIN32)
#if defined(LLRT_BUILD_SHARED)
#define LLRT_API __declspec(dllexport)
#elif defined(LLRT_STATIC)
#define LLRT_API
#else
#define LLRT_API __declspec(dllimport)
#endif
#elif defined(__GNUC__)
#define LLRT_API __attribute__((visibility("default")))
#else
#define LLRT_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

/**
 * What a block of memory is for. The memory plan and the statistics of an engine use the same
 * classes.
 */
typedef int32_t llrt_memory;
enum {
    LLRT_MEMORY_HOST = 0,    /**< tables, metadata, vocabulary, handles */
    LLRT_MEMORY_WEIGHTS = 1, /**< model weights in their final layout */
    LLRT_MEMORY_KV = 2,      /**< the pool of KV pages */
    LLRT_MEMORY_STATE = 3,   /**< recurrent state and its snapshots */
    LLRT_MEMORY_SCRATCH = 4, /**< intermediate values of a step */
    LLRT_MEMORY_SESSION = 5, /**< per session: tokens, page table, logits */
    LLRT_MEMORY_LOADING = 6  /**< held only while a model is being opened */
};
#define LLRT_MEMORY_COUNT 7

/**
 * Memory hooks. All memory of a handle comes from the hooks in its options.
 *
 * Both functions are called from any thread, several at once. `align` is a
 * power of two, at least 16; bulk data (weights, pages) asks for 2 MiB.
 * `alloc` returns NULL when there is no memory, and the call in progress then
 * returns LLRT_ERR_NOMEM. `free` gets the size, alignment and kind the block was
 * allocated with and never a NULL pointer. Neither may call back into llrt.
 */
typedef struct llrt_allocator {
    void *(*alloc)(void *ctx, size_t size, size_t align, llrt_memory kind);
    void (*free)(void *ctx, void *ptr, size_t size, size_t align, llrt_memory kind);
    void *ctx; /**< passed through */
} llrt_allocator;

typedef int32_t llrt_log_level;
enum { LLRT_LOG_ERROR = 0, LLRT_LOG_WARN = 1, LLRT_LOG_INFO = 2, LLRT_LOG_DEBUG = 3 };

/**
 * Log hook. Called with one line of UTF-8 without a newline, from any thread,
 * several at once. Without a hook nothing is logged; llrt never prints.
 */
typedef struct llrt_logger {
    void (*log)(void *ctx, llrt_log_level level, const char *text);
    void *ctx;                /**< passed through */
    llrt_log_level max_level; /**< lines above this level are not made */
} llrt_logger;

/** LLRT_VERSION of the library that is running. Any thread. */
LLRT_API uint32_t llrt_version(void);

/**
 * One line about how the library was built: version, backends, utf8proc and its Unicode version.
 * Any thread.
 */
LLRT_API const char *llrt_build_info(void);

#ifdef __cplusplus
}
#endif
#endif
