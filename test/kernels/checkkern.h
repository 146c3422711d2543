/* SPDX-License-Identifier: MIT */
/*
 * Frame of checkkern: compares each kernel with its reference on every ISA this machine has, and times them.
 *
 *   checkkern [--isa LEVEL] [--kernel TEXT] [--seed N] [--bench]
 *
 * A check_<op>.c expands the .def lists of its operator into one check_case per kernel and calls check_kernel for each.
 * Buffers come from guarded blocks: what is written outside is found. Inputs come from the printed seed,
 * then from worst-case patterns. Kernels marked exact must equal ref bit for bit; others stay within
 * c * k * eps * sum|a*b|, computed in double by the case, with a warning at a tenth of it.
 */
#ifndef CHECKKERN_H
#define CHECKKERN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- The run -------------------------------------------------------------------------------- */

typedef struct check_run {
    uint32_t isa; /* flags of isa.h that may be used */
    uint64_t seed;
    bool is_bench;
    const char *filter; /* part of the kernel's name, or NULL */
    const char *kernel; /* the kernel being checked */
    uint64_t rng;
    uint32_t n_passed, n_failed, n_skipped, n_warned;
    bool has_failed, has_warned; /* of the kernel being checked */
} check_run;

/*
 * Runs body(run, ctx) for one kernel and prints one line: "ok", "warn", "FAIL" or, when the machine lacks the ISA, "skip".
 * `isa` is the kernel's flag, 0 for ref. The generator starts from the seed, so a kernel's inputs don't depend on others.
 */
void check_kernel(check_run *run, const char *name, uint32_t isa,
                  void (*body)(check_run *run, const void *ctx), const void *ctx);

/* Marks the kernel failed and says why (printf format). The first few texts of a kernel are printed. */
void check_fail(check_run *run, const char *format, ...);

/* ---- Buffers -------------------------------------------------------------------------------- */

/* `size` bytes at offset `skew` (0 to 63) from a 64-byte boundary, between guard bands, filled with 0xa5... NaN bytes. */
void *check_alloc(check_run *run, size_t size, size_t skew);
/* Verifies the guard bands and frees. */
void check_free(check_run *run, void *ptr);

/* ---- Inputs --------------------------------------------------------------------------------- */

uint32_t check_random(check_run *run); /* 32 uniform bits */
float check_uniform(check_run *run, float low, float high);
enum {
    CHECK_FILL_RANDOM,
    CHECK_FILL_ZERO,
    CHECK_FILL_LARGE,
    CHECK_FILL_TINY,
    CHECK_FILL_MIXED,
    CHECK_N_FILL
};
/* Uniform in [-1, 1]; zeros of both signs; +-1e4; subnormals; all magnitudes from 1e-6 to 1e3, with zeros between. */
void check_fill(check_run *run, int pattern, float *x, size_t n);

/* ---- Comparison ----------------------------------------------------------------------------- */

/* memcmp of two arrays of floats; prints the first difference. NaNs need only be NaN in both. */
void check_same(check_run *run, const float *expected, const float *found, size_t n,
                const char *what);
void check_same_bytes(check_run *run, const void *expected, const void *found, size_t n,
                      const char *what);
/* |found[i] - expected[i]| <= bound[i], all in double; a warning above a tenth of it. */
void check_close(check_run *run, const double *expected, const double *bound, const float *found,
                 size_t n, const char *what);

/* ---- Benchmarks ----------------------------------------------------------------------------- */

/* Times call(ctx) (several runs, the median) and prints nanoseconds, and `work` units per second with `unit`'s name. */
void check_bench(check_run *run, const char *shape, double work, const char *unit,
                 void (*call)(void *ctx), void *ctx);

/* ---- The operators: one function per check_<op>.c -------------------------------------------- */

void check_norm(check_run *run);
void check_elementwise(check_run *run);
void check_rope(check_run *run);
void check_kv(check_run *run);
void check_attention(check_run *run);
void check_vector(check_run *run);
void check_recurrent(check_run *run);
void check_gemm(check_run *run);
void check_pack(check_run *run);
void check_dequant(check_run *run);

#endif
