/* SPDX-License-Identifier: MIT */
/*
 * Floating-point environment of the calling thread: round to nearest, no flush to zero, no traps. A host may run
 * its threads with other settings, which would change results, so every entry that
 * computes saves, sets and restores it, and so does every task on a worker.
 */
#ifndef LLRTI_CPU_FPENV_H
#define LLRTI_CPU_FPENV_H

#include <stdint.h>

#if defined(__x86_64__) || defined(_M_X64)
#include <xmmintrin.h>

static inline uint64_t llrti_fpenv_enter(void)
{
    const uint32_t saved = _mm_getcsr();
    if ((saved & ~0x3fu) != 0x1f80u) _mm_setcsr(0x1f80u); /* all exceptions masked, nothing else */
    return saved;
}

static inline void llrti_fpenv_leave(uint64_t saved)
{
    if ((saved & ~0x3full) != 0x1f80u) _mm_setcsr((uint32_t)saved);
}
#elif defined(__aarch64__) && defined(__GNUC__)
static inline uint64_t llrti_fpenv_enter(void)
{
    uint64_t saved;
    __asm__ volatile("mrs %0, fpcr" : "=r"(saved));
    if (saved != 0) __asm__ volatile("msr fpcr, %0" : : "r"((uint64_t)0));
    return saved;
}

static inline void llrti_fpenv_leave(uint64_t saved)
{
    if (saved != 0) __asm__ volatile("msr fpcr, %0" : : "r"(saved));
}
#else
static inline uint64_t llrti_fpenv_enter(void)
{
    return 0;
}

static inline void llrti_fpenv_leave(uint64_t saved)
{
    (void)saved;
}
#endif

#endif
