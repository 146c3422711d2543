/* SPDX-License-Identifier: MIT */
/*
 * Kernels of matrix products: types of the slots, and the table dispatch fills from gemm.def,
 * pack.def and dequant.def.
 *
 * Layouts. Weights lie in groups of 16 output rows, so that a vector lane owns an output; one group
 * after the other, each over the whole K. A kernel call covers a range of K, 1..max_group groups
 * and 1..6 columns. A column is a token.
 *
 *   F32   weights [k][16] float          activations [k][n_col] float
 *   BF16  weights [k/2][16][2] bf16      activations [k/2][n_col][2] bf16
 *   Q8    per 64 k: 2 x ([8][16][4] uint8, value + 128), then 2 x ([16] f16 scale)
 *   Q4    per 64 k: 2 x ([4][16][4] bytes: low nibbles k..k+3, high nibbles k+4..k+7, value + 8),
 *   then 2 x ([16] f16)
 *         activations for both, per 32 k: [8][n_col][4] int8, [n_col] float scale, [n_col] int32
 *         minus the sum of the int8
 *
 * With AMX (in the flags of llrti_gemm_kernels) BF16 and 8-bit activation panels have up to 32
 * columns and another order: per 32 k, [n_col][32] bf16 or int8, the latter then followed by scales
 * and sums as above. k is a multiple of 32 for BF16 then.
 *
 * Order of operations, the same for every tile shape of an ISA:
 *   F32   c = fma(w[k], x[k], c) for ascending k; the same bits on every ISA
 *   BF16  one vdpbf16ps per pair (AMX: tdpbf16ps per 32) of k, ascending; the same bits for one ISA
 *   Q8/Q4 c = fma(w_scale * x_scale, (float)(integer dot product of 32), c); the same bits on every
 *   ISA
 * Stopping at a k and resuming with `accumulate` changes nothing.
 *
 * Nothing is read outside the named ranges. Weight pointers and strides are multiples of 64 bytes
 * for panels (llrti_linear guarantees it), activations of 4; c has any alignment of float.
 */
#ifndef LLRTI_GEMM_H
#define LLRTI_GEMM_H

#include <stddef.h>
#include <stdint.h>

#include "isa.h"

enum {
    LLRTI_GEMM_MR = 16,     /* outputs per group */
    LLRTI_GEMM_NR = 6,      /* columns per activation panel */
    LLRTI_GEMM_AMX_NR = 32, /* the same of the AMX kernels */
    LLRTI_GEMM_MAX_GROUP = 4,
    LLRTI_GEMM_Q8_BYTES = 1088, /* 64 k of a group */
    LLRTI_GEMM_Q4_BYTES = 576,
    LLRTI_GEMM_Q_ACT_BYTES = 40 /* 32 k of a column */
};

typedef struct llrti_gemm_args {
    const void *w;   /* first group, at the first k of the range */
    size_t w_stride; /* bytes from one group to the next */
    const void *x;   /* packed activations of n_col columns at the first k */
    /* length of the range: a multiple of 1 (F32), 2 (BF16; AMX 32), 64 (Q8, Q4) */
    size_t k;
    float *c;            /* (n_col, 16 * n_group): c[column * c_stride + row] */
    size_t c_stride;     /* floats */
    uint32_t n_group;    /* 1 to LLRTI_GEMM_MAX_GROUP */
    uint32_t n_col;      /* 1 to LLRTI_GEMM_NR (AMX: LLRTI_GEMM_AMX_NR) */
    uint32_t accumulate; /* 0: start from zero, else from c */
} llrti_gemm_args;

typedef void llrti_gemm_fn(const llrti_gemm_args *args);

/*
 * A panel of another kind: `k` values of K (even; of one group) at src to [k/2][16][2] bf16 or
 * [k][16] float at dst.
 */
typedef void llrti_expand_fn(const void *src, void *dst, size_t k);

/*
 * 16 rows of floats, row i at src + i * src_stride (floats), k of each, to a panel. k is even for
 * bf16.
 */
typedef void llrti_panel_fn(const float *src, size_t src_stride, void *dst, size_t k);

/*
 * n values of a row of the format in the file at src (any alignment) to float; n is a number of
 * whole blocks.
 */
typedef void llrti_dequant_fn(const void *src, float *dst, size_t n);

/*
 * Packs n_col rows of k floats, row j at x + j * x_stride, as one activation panel; values from k
 * to k_pad are zero. k_pad is a multiple of 1, 2, 64 as in llrti_gemm_args.
 */
typedef void llrti_act_fn(const float *x, size_t x_stride, size_t k, size_t k_pad, uint32_t n_col,
                          void *dst);

/* Slots, by type. X(slot) */
#define LLRTI_GEMM_SLOTS(GEMM, EXPAND, PANEL, DEQUANT, ACT)                                        \
    GEMM(gemm_f32)                                                                                 \
    GEMM(gemm_bf16)                                                                                \
    GEMM(gemm_q8)                                                                                  \
    GEMM(gemm_q4)                                                                                  \
    EXPAND(expand_bf16_f32)                                                                        \
    EXPAND(expand_f16_f32)                                                                         \
    EXPAND(expand_f16_bf16)                                                                        \
    PANEL(panel_f32)                                                                               \
    PANEL(panel_bf16)                                                                              \
    DEQUANT(dequant_f16)                                                                           \
    DEQUANT(dequant_bf16)                                                                          \
    DEQUANT(dequant_q4_0)                                                                          \
    DEQUANT(dequant_q4_1)                                                                          \
    DEQUANT(dequant_q5_0)                                                                          \
    DEQUANT(dequant_q5_1)                                                                          \
    DEQUANT(dequant_q8_0)                                                                          \
    DEQUANT(dequant_q2_k)                                                                          \
    DEQUANT(dequant_q3_k)                                                                          \
    DEQUANT(dequant_q4_k)                                                                          \
    DEQUANT(dequant_q5_k)                                                                          \
    DEQUANT(dequant_q6_k)                                                                          \
    DEQUANT(dequant_iq4_nl)                                                                        \
    DEQUANT(dequant_iq4_xs)                                                                        \
    DEQUANT(dequant_mxfp4)                                                                         \
    ACT(act_f32)                                                                                   \
    ACT(act_bf16)                                                                                  \
    ACT(act_q8)

#define LLRTI_GEMM_SLOT_GEMM(slot) llrti_gemm_fn *slot;
#define LLRTI_GEMM_SLOT_EXPAND(slot) llrti_expand_fn *slot;
#define LLRTI_GEMM_SLOT_PANEL(slot) llrti_panel_fn *slot;
#define LLRTI_GEMM_SLOT_DEQUANT(slot) llrti_dequant_fn *slot;
#define LLRTI_GEMM_SLOT_ACT(slot) llrti_act_fn *slot;

/* The function type of each slot: llrti_type_<slot>. */
#define LLRTI_GEMM_TYPE_GEMM(slot) typedef llrti_gemm_fn llrti_type_##slot;
#define LLRTI_GEMM_TYPE_EXPAND(slot) typedef llrti_expand_fn llrti_type_##slot;
#define LLRTI_GEMM_TYPE_PANEL(slot) typedef llrti_panel_fn llrti_type_##slot;
#define LLRTI_GEMM_TYPE_DEQUANT(slot) typedef llrti_dequant_fn llrti_type_##slot;
#define LLRTI_GEMM_TYPE_ACT(slot) typedef llrti_act_fn llrti_type_##slot;
LLRTI_GEMM_SLOTS(LLRTI_GEMM_TYPE_GEMM, LLRTI_GEMM_TYPE_EXPAND, LLRTI_GEMM_TYPE_PANEL,
                 LLRTI_GEMM_TYPE_DEQUANT, LLRTI_GEMM_TYPE_ACT)

#define LLRTI_GEMM_KERNEL(slot, symbol, isa, exact) extern llrti_type_##slot symbol;
#include "gemm.def"
#include "pack.def"
#include "dequant.def"
#undef LLRTI_GEMM_KERNEL

/* Every slot is filled. Constant after init; it outlives the llrti_linear made with it. */
typedef struct llrti_gemm_kernels {
    uint32_t isa; /* the flags it was made for */
    LLRTI_GEMM_SLOTS(LLRTI_GEMM_SLOT_GEMM, LLRTI_GEMM_SLOT_EXPAND, LLRTI_GEMM_SLOT_PANEL,
                     LLRTI_GEMM_SLOT_DEQUANT, LLRTI_GEMM_SLOT_ACT)
} llrti_gemm_kernels;

/*
 * Fills the table with ref, then with whatever `isa` (flags of isa.h, all present on this machine)
 * allows.
 */
void llrti_gemm_init(llrti_gemm_kernels *kernels, uint32_t isa);

#endif
