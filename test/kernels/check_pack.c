/* SPDX-License-Identifier: MIT */
/*
 * The packing kernels of pack.def against ref, byte for byte: panels from 16-bit panels and from rows of floats,
 * activation panels of 1 to 6 columns with padding. Ref itself is checked by reading its panels back by index.
 */
#include <string.h>

#include "checkkern.h"
#include "gemm.h"
#include "half.h"

enum { MR = LLRTI_GEMM_MR, NR = LLRTI_GEMM_NR };

typedef struct expand_case {
    llrti_expand_fn *run, *ref;
    int is_f16, to_bf16;
} expand_case;

static void check_expand(check_run *run, const void *ctx)
{
    static const size_t sizes[] = {2, 4, 6, 14, 16, 18, 34, 512};
    const expand_case *const ec = ctx;
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        const size_t k = sizes[s], bytes = k * MR * (ec->to_bf16 ? 2 : 4);
        uint16_t *const from = check_alloc(run, k * MR * 2, 0);
        uint8_t *const expected = check_alloc(run, bytes, 0), *const found =
                                                                  check_alloc(run, bytes, 0);
        for (size_t i = 0; i < k * MR; i++) {
            uint16_t h = (uint16_t)check_random(run);
            const uint16_t exponent = ec->is_f16 ? 0x7c00 : 0x7f80;
            if ((h & exponent) == exponent)
                h = (uint16_t)(h & 0x8000) | (i % 2 ? exponent : 0); /* no NaN */
            from[i] = h;
        }
        ec->ref(from, expected, k);
        ec->run(from, found, k);
        check_same_bytes(run, expected, found, bytes, "panel");
        if (!ec->to_bf16) {
            for (size_t i = 0; i < k * MR; i++) {
                const size_t at = ec->is_f16 ? i : (i / MR / 2 * MR + i % MR) * 2 + i / MR % 2;
                const float value =
                    ec->is_f16 ? llrti_f16_to_float(from[at]) : llrti_bf16_to_float(from[at]);
                check_same(run, &value, (const float *)(const void *)found + i, 1, "element");
            }
        }
        check_free(run, from);
        check_free(run, expected);
        check_free(run, found);
    }
}

typedef struct panel_case {
    llrti_panel_fn *run, *ref;
    int to_bf16;
} panel_case;

static void check_panel(check_run *run, const void *ctx)
{
    static const size_t sizes[] = {1, 2, 6, 7, 8, 9, 15, 16, 17, 18, 32, 34, 62, 512};
    const panel_case *const pc = ctx;
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        const size_t k = sizes[s], stride = k + 3, bytes = k * MR * (pc->to_bf16 ? 2 : 4);
        if (pc->to_bf16 && k % 2) continue;
        for (int fill = 0; fill < CHECK_N_FILL; fill++) {
            float *const from = check_alloc(run, stride * MR * 4, 4);
            uint8_t *const expected = check_alloc(run, bytes, 0), *const found =
                                                                      check_alloc(run, bytes, 0);
            check_fill(run, fill, from, stride * MR);
            pc->ref(from, stride, expected, k);
            pc->run(from, stride, found, k);
            check_same_bytes(run, expected, found, bytes, "panel");
            for (size_t i = 0; i < k * MR; i++) {
                const float value = from[i % MR * stride + i / MR];
                uint16_t half;
                if (pc->to_bf16) {
                    memcpy(&half, found + ((i / MR / 2 * MR + i % MR) * 2 + i / MR % 2) * 2, 2);
                    if (half != llrti_float_to_bf16(value))
                        check_fail(run, "element %zu of k %zu", i, k);
                } else {
                    check_same(run, &value, (const float *)(const void *)found + i, 1, "element");
                }
            }
            check_free(run, from);
            check_free(run, expected);
            check_free(run, found);
        }
    }
}

typedef struct act_case {
    llrti_act_fn *run, *ref;
    size_t unit, block,
        block_bytes; /* k_pad is a multiple of unit; a column's block values take block_bytes */
    int is_amx;      /* the columns of 32 k lie one after the other */
} act_case;

/* What an AMX panel must be: put together from the columns packed alone by ref. */
static void act_amx_expected(check_run *run, const act_case *ac, const float *x, size_t stride,
                             size_t k, size_t k_pad, uint32_t n_col, uint8_t *to)
{
    const size_t values = ac->block == 32 ? 32 : 64, block = 32 / ac->block * ac->block_bytes;
    uint8_t *const alone = check_alloc(run, k_pad / 32 * block, 0);
    for (size_t j = 0; j < n_col; j++) {
        ac->ref(x + j * stride, stride, k, k_pad, 1, alone);
        for (size_t b = 0; b < k_pad / 32; b++) {
            uint8_t *const at = to + b * n_col * block;
            memcpy(at + j * values, alone + b * block, values);
            for (size_t i = values; i < block; i += 4)
                memcpy(at + i * n_col + j * 4, alone + b * block + i, 4);
        }
    }
    check_free(run, alone);
}

static void check_act(check_run *run, const void *ctx)
{
    static const size_t sizes[] = {1, 2, 6, 8, 12, 17, 31, 32, 33, 63, 64, 65, 127, 320};
    const act_case *const ac = ctx;
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        const size_t k = sizes[s], k_pad = (k + ac->unit - 1) / ac->unit * ac->unit, stride = k + 5;
        const size_t column = k_pad / ac->block * ac->block_bytes;
        for (int fill = 0; fill < CHECK_N_FILL + 1; fill++) {
            float *const x = check_alloc(run, stride * LLRTI_GEMM_AMX_NR * 4, 4);
            check_fill(run, fill % CHECK_N_FILL, x, stride * LLRTI_GEMM_AMX_NR);
            if (fill == CHECK_N_FILL &&
                ac->block == 32) { /* what can't be quantised, and an exact tie */
                x[0] = llrti_bits_float(0x7f800000u);
                x[stride] = llrti_bits_float(0xffc00000u);
                x[2 * stride] = 127.0f;
                if (k > 2) x[2 * stride + 1] = 0.5f, x[2 * stride + 2] = 1.5f;
            }
            for (uint32_t n_col = 1; n_col <= (ac->is_amx ? (uint32_t)LLRTI_GEMM_AMX_NR : NR);
                 n_col++) {
                uint8_t *const expected = check_alloc(run, column * n_col, 4);
                uint8_t *const found = check_alloc(run, column * n_col, 8);
                if (ac->is_amx)
                    act_amx_expected(run, ac, x, stride, k, k_pad, n_col, expected);
                else
                    ac->ref(x, stride, k, k_pad, n_col, expected);
                ac->run(x, stride, k, k_pad, n_col, found);
                check_same_bytes(run, expected, found, column * n_col, "activations");
                check_free(run, expected);
                check_free(run, found);
            }
            check_free(run, x);
        }
    }
}

#define EXPAND(slot, is_f16, to_bf16)                                                              \
    static void case_##slot(check_run *run, const char *name, uint32_t isa, llrti_expand_fn *fn)   \
    {                                                                                              \
        const expand_case c = {fn, llrtk_##slot##_ref, is_f16, to_bf16};                           \
        check_kernel(run, name, isa, check_expand, &c);                                            \
    }
#define PANEL(slot, to_bf16)                                                                       \
    static void case_##slot(check_run *run, const char *name, uint32_t isa, llrti_panel_fn *fn)    \
    {                                                                                              \
        const panel_case c = {fn, llrtk_##slot##_ref, to_bf16};                                    \
        check_kernel(run, name, isa, check_panel, &c);                                             \
    }
#define ACT(slot, unit, block, bytes)                                                              \
    static void case_##slot(check_run *run, const char *name, uint32_t isa, llrti_act_fn *fn)      \
    {                                                                                              \
        const int is_amx = (isa & LLRTI_ISA_AMX) != 0;                                             \
        const act_case c = {                                                                       \
            fn, llrtk_##slot##_ref, is_amx && unit < 32 ? 32 : unit, block, bytes, is_amx};        \
        check_kernel(run, name, isa, check_act, &c);                                               \
    }
EXPAND(expand_bf16_f32, 0, 0)
EXPAND(expand_f16_f32, 1, 0)
EXPAND(expand_f16_bf16, 1, 1)
PANEL(panel_f32, 0)
PANEL(panel_bf16, 1)
ACT(act_f32, 1, 1, 4)
ACT(act_bf16, 2, 2, 4)
ACT(act_q8, 64, 32, LLRTI_GEMM_Q_ACT_BYTES)

void check_pack(check_run *run)
{
#define LLRTI_GEMM_KERNEL(slot, symbol, isa, exact) case_##slot(run, #symbol, isa, symbol);
#include "pack.def"
#undef LLRTI_GEMM_KERNEL
}
