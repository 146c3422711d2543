/* SPDX-License-Identifier: MIT */
/*
 * CPU detection. On x86-64 CPUID tells what the processor has and XGETBV which registers the
 * operating system saves; a set counts only with both. AMX tile data also needs a permission of
 * the process on Linux, which is asked for here: it changes nothing for threads that don't use it.
 * On arm64 NEON is part of the baseline and the dot product is asked from the system where it tells.
 *
 * The cache is one atomic word, written with the same value by whoever comes first.
 */
#include "isa.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>

#include "compiler.h"
#include "error.h"

#if defined(__x86_64__)
#include <cpuid.h>
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif
#elif defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#endif

#define IS_DETECTED (1u << 31)

static _Atomic uint32_t detected;

typedef struct level {
    const char *name;
    uint32_t own;     /* the set the level is named after */
    uint32_t allowed; /* it and all before */
} level;

static const level levels[] = {
    {"ref", LLRTI_ISA_REF, LLRTI_ISA_REF},
#if defined(__x86_64__)
    {"avx2", LLRTI_ISA_AVX2, LLRTI_ISA_AVX2},
    {"avxvnni", LLRTI_ISA_AVXVNNI, LLRTI_ISA_AVX2 | LLRTI_ISA_AVXVNNI},
    {"avx512", LLRTI_ISA_AVX512, LLRTI_ISA_AVX2 | LLRTI_ISA_AVXVNNI | LLRTI_ISA_AVX512},
    {"avx512vnni", LLRTI_ISA_AVX512VNNI, 2 * LLRTI_ISA_AVX512VNNI - 1},
    {"avx512bf16", LLRTI_ISA_AVX512BF16, 2 * LLRTI_ISA_AVX512BF16 - 1},
    {"amx", LLRTI_ISA_AMX, 2 * LLRTI_ISA_AMX - 1},
#elif defined(__aarch64__)
    {"neon", LLRTI_ISA_NEON, LLRTI_ISA_NEON},
    {"dotprod", LLRTI_ISA_DOTPROD, LLRTI_ISA_NEON | LLRTI_ISA_DOTPROD},
#endif
};

#if defined(__x86_64__)
static uint64_t read_xcr0(void)
{
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (uint64_t)high << 32 | low;
}

static bool ask_for_amx(void)
{
#if defined(__linux__) && defined(SYS_arch_prctl)
    enum { ARCH_REQUEST_XCOMP_PERMISSION = 0x1023, TILE_DATA = 18 };
    return syscall(SYS_arch_prctl, ARCH_REQUEST_XCOMP_PERMISSION, TILE_DATA) == 0;
#else
    return false;
#endif
}

static bool has(uint32_t word, uint32_t bits)
{
    return (word & bits) == bits;
}

static uint32_t detect(void)
{
    uint32_t a, b, c, d, flags = 0;
    if (!__get_cpuid(1, &a, &b, &c, &d)) return 0;
    const uint32_t fma_avx_f16c_osxsave = 1u << 12 | 1u << 28 | 1u << 29 | 1u << 27;
    if (!has(c, fma_avx_f16c_osxsave)) return 0;
    const uint64_t xcr0 = read_xcr0();
    if ((xcr0 & 0x6) != 0x6) return 0;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return 0;
    const uint32_t leaf_max = a, b7 = b, c7 = c, d7 = d;
    if (!has(b7, 1u << 5 | 1u << 8)) return 0; /* AVX2, BMI2 */
    flags |= LLRTI_ISA_AVX2;
    uint32_t a71 = 0;
    if (leaf_max >= 1 && __get_cpuid_count(7, 1, &a, &b, &c, &d)) a71 = a;
    if (has(a71, 1u << 4)) flags |= LLRTI_ISA_AVXVNNI;
    const uint32_t f_dq_bw_vl = 1u << 16 | 1u << 17 | 1u << 30 | 1u << 31;
    if (!has(b7, f_dq_bw_vl) || (xcr0 & 0xe0) != 0xe0) return flags;
    flags |= LLRTI_ISA_AVX512;
    if (has(c7, 1u << 11)) flags |= LLRTI_ISA_AVX512VNNI;
    if (has(a71, 1u << 5)) flags |= LLRTI_ISA_AVX512BF16;
    const uint32_t amx_bf16_tile_int8 = 1u << 22 | 1u << 24 | 1u << 25;
    if (has(d7, amx_bf16_tile_int8) && (xcr0 & 0x60000) == 0x60000 && ask_for_amx())
        flags |= LLRTI_ISA_AMX;
    return flags;
}
#elif defined(__aarch64__)
static uint32_t detect(void)
{
    uint32_t flags = LLRTI_ISA_NEON;
#if defined(__linux__)
    const unsigned long has_dot_product = 1ul << 20; /* HWCAP_ASIMDDP */
    if (getauxval(AT_HWCAP) & has_dot_product) flags |= LLRTI_ISA_DOTPROD;
#elif defined(__ARM_FEATURE_DOTPROD)
    flags |= LLRTI_ISA_DOTPROD;
#endif
    return flags;
}
#else
static uint32_t detect(void)
{
    return 0;
}
#endif

uint32_t llrti_isa_detect(void)
{
    uint32_t flags = atomic_load_explicit(&detected, memory_order_relaxed);
    if (flags == 0) {
        flags = detect() | IS_DETECTED;
        atomic_store_explicit(&detected, flags, memory_order_relaxed);
    }
    return flags & ~IS_DETECTED;
}

static bool is_usable(const level *l, uint32_t present)
{
    return (l->own & ~present) == 0;
}

llrt_status llrti_isa_select(const char *name, uint32_t *flags, llrt_error *err)
{
    const uint32_t present = llrti_isa_detect();
    *flags = present;
    if (name == NULL || *name == '\0') return LLRT_OK;
    char list[128] = "";
    size_t n = 0;
    for (size_t i = 0; i < LLRTI_COUNT(levels); i++) {
        if (!is_usable(&levels[i], present)) continue;
        if (strcmp(levels[i].name, name) == 0) {
            *flags = levels[i].allowed & present;
            return LLRT_OK;
        }
        const size_t length = strlen(levels[i].name);
        list[n] = ' ';
        memcpy(list + n + 1, levels[i].name, length + 1);
        n += length + 1;
    }
    *flags = 0;
    return llrti_fail_field(err, LLRT_ERR_UNSUPPORTED, "isa",
                            "found instruction set level \"%.32s\", this processor has:%s", name,
                            list);
}

const char *llrti_isa_name(uint32_t flags)
{
    const char *name = levels[0].name;
    for (size_t i = 1; i < LLRTI_COUNT(levels); i++) {
        if (flags & levels[i].own) name = levels[i].name;
    }
    return name;
}

const char *llrti_isa_level(uint32_t i)
{
    const uint32_t present = llrti_isa_detect();
    for (size_t j = 0; j < LLRTI_COUNT(levels); j++) {
        if (is_usable(&levels[j], present) && i-- == 0) return levels[j].name;
    }
    return NULL;
}
