/* SPDX-License-Identifier: MIT */
/*
 * The frame of checkkern, see checkkern.h. Each buffer is an own block: a header, a guard band, the
 * data, a guard band. Guard bytes and fresh data are 0xa5, as floats a harmless tiny negative number; check_alloc
 * fills float data with NaN patterns instead, so that reading what was never written shows.
 */
#include "checkkern.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "isa.h"
#include "os.h"

#define GUARD 256
#define GUARD_BYTE 0xa5
#define MAX_TEXTS 5 /* of a kernel, printed */

typedef struct block {
    size_t size, skew;
    unsigned char *base;
    unsigned char *data;
    struct block *next;
} block;

static block *find_blocks; /* live ones; a test program may keep it at file scope */

/* ---- Random numbers: splitmix64 ------------------------------------------------------------- */

uint32_t check_random(check_run *run)
{
    uint64_t z = run->rng += 0x9e3779b97f4a7c15ull;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return (uint32_t)((z ^ (z >> 31)) >> 32);
}

float check_uniform(check_run *run, float low, float high)
{
    return low + (high - low) * (float)((double)check_random(run) / 4294967296.0);
}

void check_fill(check_run *run, int pattern, float *x, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const float u = check_uniform(run, -1, 1);
        switch (pattern) {
        case CHECK_FILL_RANDOM:
            x[i] = u;
            break;
        case CHECK_FILL_ZERO:
            x[i] = u < 0 ? -0.0f : 0.0f;
            break;
        case CHECK_FILL_LARGE:
            x[i] = u < 0 ? -1e4f : 1e4f;
            break;
        case CHECK_FILL_TINY:
            x[i] = u * 1e-39f;
            break;
        default:
            x[i] = check_random(run) % 8 == 0 ? 0.0f : u * powf(10, check_uniform(run, -6, 3));
            break;
        }
    }
}

/* ---- Failures ------------------------------------------------------------------------------- */

static uint32_t n_texts;

void check_fail(check_run *run, const char *format, ...)
{
    va_list args;
    run->has_failed = true;
    if (n_texts++ >= MAX_TEXTS) return;
    printf("    ");
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    printf("\n");
}

void check_kernel(check_run *run, const char *name, uint32_t isa,
                  void (*body)(check_run *run, const void *ctx), const void *ctx)
{
    if (run->filter && !strstr(name, run->filter)) return;
    if ((run->isa & isa) != isa) {
        run->n_skipped++;
        printf("skip %s (not on this machine or level)\n", name);
        return;
    }
    run->kernel = name;
    run->rng = run->seed;
    run->has_failed = run->has_warned = false;
    n_texts = 0;
    body(run, ctx);
    while (find_blocks) check_free(run, find_blocks->data);
    if (run->has_failed)
        run->n_failed++;
    else
        run->n_passed++;
    if (run->has_warned) run->n_warned++;
    printf("%s %s\n", run->has_failed ? "FAIL" : run->has_warned ? "warn" : "ok  ", name);
    fflush(stdout);
}

/* ---- Buffers -------------------------------------------------------------------------------- */

void *check_alloc(check_run *run, size_t size, size_t skew)
{
    block *const b = malloc(sizeof *b);
    unsigned char *const base = malloc(size + 2 * GUARD + 128);
    if (!b || !base) {
        fprintf(stderr, "no memory for a buffer of %zu bytes\n", size);
        exit(1);
    }
    const size_t misfit = (size_t)((uintptr_t)(base + GUARD) % 64);
    *b = (block){size, skew, base, base + GUARD + (64 - misfit) % 64 + skew % 64, find_blocks};
    find_blocks = b;
    memset(base, GUARD_BYTE, size + 2 * GUARD + 128);
    memset(b->data, 0xff, size); /* NaN as float, float16 and bfloat16 */
    return b->data;
}

void check_free(check_run *run, void *ptr)
{
    block **at = &find_blocks;
    while (*at && (*at)->data != ptr) at = &(*at)->next;
    block *const b = *at;
    if (!b) {
        check_fail(run, "%s: a buffer is freed that wasn't allocated", run->kernel);
        return;
    }
    const unsigned char *const end = b->base + b->size + 2 * GUARD + 128;
    for (const unsigned char *p = b->base; p < end; p++) {
        if (p == b->data) p += b->size;
        if (p >= end) break;
        if (*p == GUARD_BYTE) continue;
        check_fail(run, "%s: wrote at byte %td of a buffer of %zu", run->kernel, p - b->data,
                   b->size);
        break;
    }
    *at = b->next;
    free(b->base);
    free(b);
}

/* ---- Comparison ----------------------------------------------------------------------------- */

void check_same(check_run *run, const float *expected, const float *found, size_t n,
                const char *what)
{
    for (size_t i = 0; i < n; i++) {
        uint32_t a, b;
        memcpy(&a, &expected[i], 4);
        memcpy(&b, &found[i], 4);
        if (a == b || (isnan(expected[i]) && isnan(found[i]))) continue;
        check_fail(run, "%s, %s: element %zu of %zu is %.9g (%08x), expected %.9g (%08x)",
                   run->kernel, what, i, n, (double)found[i], b, (double)expected[i], a);
        return;
    }
}

void check_same_bytes(check_run *run, const void *expected, const void *found, size_t n,
                      const char *what)
{
    const unsigned char *const a = expected, *const b = found;
    for (size_t i = 0; i < n; i++) {
        if (a[i] == b[i]) continue;
        check_fail(run, "%s, %s: byte %zu of %zu is %02x, expected %02x", run->kernel, what, i, n,
                   b[i], a[i]);
        return;
    }
}

void check_close(check_run *run, const double *expected, const double *bound, const float *found,
                 size_t n, const char *what)
{
    for (size_t i = 0; i < n; i++) {
        const double error = fabs((double)found[i] - expected[i]);
        if (error <= bound[i] * 0.1) continue;
        if (error <= bound[i]) {
            run->has_warned = true;
            continue;
        }
        check_fail(run, "%s, %s: element %zu of %zu is %.9g, expected %.9g within %.3g",
                   run->kernel, what, i, n, (double)found[i], expected[i], bound[i]);
        return;
    }
}

/* ---- Benchmarks ----------------------------------------------------------------------------- */

static int compare_double(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

void check_bench(check_run *run, const char *shape, double work, const char *unit,
                 void (*call)(void *ctx), void *ctx)
{
    enum { N_SAMPLE = 11 };
    const double target_ns = 5e6; /* of a sample: far above the clock's grain */
    double sample[N_SAMPLE];
    uint32_t n_call = 1;
    if (!run->is_bench) return;
    for (;;) {
        const uint64_t begin = llrti_clock_ns();
        for (uint32_t i = 0; i < n_call; i++) call(ctx);
        const double ns = (double)(llrti_clock_ns() - begin);
        if (ns >= target_ns || n_call >= 1u << 28) break;
        n_call = ns < target_ns / 16 ? n_call * 8 : n_call * 2;
    }
    for (int s = 0; s < N_SAMPLE; s++) {
        const uint64_t begin = llrti_clock_ns();
        for (uint32_t i = 0; i < n_call; i++) call(ctx);
        sample[s] = (double)(llrti_clock_ns() - begin) / n_call;
    }
    qsort(sample, N_SAMPLE, sizeof *sample, compare_double);
    const double ns = sample[N_SAMPLE / 2];
    printf("    %-48s %-28s %12.1f ns %10.3f G%s/s\n", run->kernel, shape, ns, work / ns, unit);
    fflush(stdout);
}

/* ---- The program ---------------------------------------------------------------------------- */

static const struct {
    const char *name;
    void (*check)(check_run *run);
} operators[] = {
#define CHECK(op) {#op, check_##op},
#include "checks.def"
#undef CHECK
};

static int usage(void)
{
    fprintf(stderr, "usage: checkkern [--isa LEVEL] [--kernel TEXT] [--seed N] [--bench]\n");
    return 2;
}

int main(int argc, char **argv)
{
    check_run run = {.isa = llrti_isa_detect(), .seed = 1};
    for (int i = 1; i < argc; i++) {
        const bool has_value = i + 1 < argc;
        llrt_error err = LLRT_ERROR_INIT;
        if (strcmp(argv[i], "--bench") == 0) {
            run.is_bench = true;
        } else if (strcmp(argv[i], "--kernel") == 0 && has_value) {
            run.filter = argv[++i];
        } else if (strcmp(argv[i], "--seed") == 0 && has_value) {
            run.seed = strtoull(argv[++i], NULL, 0);
        } else if (strcmp(argv[i], "--isa") == 0 && has_value) {
            if (llrti_isa_select(argv[++i], &run.isa, &err) < 0) {
                fprintf(stderr, "%s\n", err.text);
                return 77;
            }
        } else {
            return usage();
        }
    }
    printf("level %s, seed %llu\n", llrti_isa_name(run.isa), (unsigned long long)run.seed);
    for (size_t i = 0; i < sizeof operators / sizeof operators[0]; i++) operators[i].check(&run);
    printf("%u passed, %u failed, %u skipped (%u warned)\n", run.n_passed, run.n_failed,
           run.n_skipped, run.n_warned);
    return run.n_failed ? 1 : 0;
}
