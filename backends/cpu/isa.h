/* SPDX-License-Identifier: MIT */
/*
 * Instruction sets of this processor, and the levels a user can choose from.
 *
 * A level is named after the last set it allows; it stands for that set and all before it in
 * the list of its architecture:
 *
 *   x86-64   ref  avx2  avxvnni  avx512  avx512vnni  avx512bf16  amx
 *   arm64    ref  neon  dotprod
 *
 * "avx2" means AVX2, FMA, F16C and BMI2; "avx512" F, BW, DQ and VL; each is reported only when the
 * operating system saves its registers. Sets in the middle that a processor lacks are simply absent from the flags.
 * The first call caches the detection (idempotent, so any thread may make it).
 */
#ifndef LLRTI_ISA_H
#define LLRTI_ISA_H

#include <stdint.h>

#include <llrt/status.h>

enum {
    LLRTI_ISA_REF = 0,
    LLRTI_ISA_AVX2 = 1 << 0,
    LLRTI_ISA_AVXVNNI = 1 << 1,
    LLRTI_ISA_AVX512 = 1 << 2,
    LLRTI_ISA_AVX512VNNI = 1 << 3,
    LLRTI_ISA_AVX512BF16 = 1 << 4,
    LLRTI_ISA_AMX = 1 << 5, /* tile, int8 and bf16 */
    LLRTI_ISA_NEON = 1 << 8,
    LLRTI_ISA_DOTPROD = 1 << 9
};

/* Flags of everything this processor has. Any thread. */
uint32_t llrti_isa_detect(void);

/*
 * Flags to use for a level's name; NULL or "": everything there is. A name of no level, or a level whose own
 * set this processor lacks: LLRT_ERR_UNSUPPORTED with the levels that can be used here.
 */
llrt_status llrti_isa_select(const char *name, uint32_t *flags, llrt_error *err);

/* Name of the highest level in `flags`: "ref" for none. */
const char *llrti_isa_name(uint32_t flags);

/* The i-th level usable on this machine ("ref" is 0), NULL after the last. For tests and --help. */
const char *llrti_isa_level(uint32_t i);

#endif
