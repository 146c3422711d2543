/* SPDX-License-Identifier: MIT */
/*
 * The only place for compiler extensions outside kernels: attributes,
 * branch hints, static assertions. Everything degrades to nothing on a compiler
 * that has no equivalent.
 */
#ifndef LLRTI_COMPILER_H
#define LLRTI_COMPILER_H

#if defined(__GNUC__)
#if defined(__MINGW32__) && !defined(__clang__)
#define LLRTI_PRINTF(fmt, args) __attribute__((format(gnu_printf, fmt, args)))
#else
#define LLRTI_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#endif
#define LLRTI_LIKELY(x) __builtin_expect(!!(x), 1)
#define LLRTI_UNLIKELY(x) __builtin_expect(!!(x), 0)
#define LLRTI_NOINLINE __attribute__((noinline))
#define LLRTI_RESTRICT __restrict
#else
#define LLRTI_PRINTF(fmt, args)
#define LLRTI_LIKELY(x) (x)
#define LLRTI_UNLIKELY(x) (x)
#define LLRTI_NOINLINE
#define LLRTI_RESTRICT
#endif

#define LLRTI_COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define LLRTI_MIN(a, b) ((a) < (b) ? (a) : (b))
#define LLRTI_MAX(a, b) ((a) > (b) ? (a) : (b))

#endif
