/* SPDX-License-Identifier: MIT */
/*
 * The dequantisation kernels of dequant.def against ref, bit for bit, on random blocks: every code and every scale,
 * without NaN and infinity in the float16 fields. (Ref itself is held to other implementations in test_dequant.)
 */
#include <string.h>

#include "checkkern.h"
#include "gemm.h"
#include "quant_blocks.h"

typedef struct dequant_case {
    llrti_dequant_fn *run, *ref;
    const quant_block *format;
} dequant_case;

static void check_one(check_run *run, const void *ctx)
{
    static const size_t counts[] = {1, 2, 3, 7, 8, 9, 17};
    const dequant_case *const dc = ctx;
    const quant_block *const f = dc->format;
    for (size_t c = 0; c < sizeof counts / sizeof *counts; c++) {
        const size_t n = counts[c] * f->values, bytes = counts[c] * f->bytes;
        for (size_t skew = 0; skew < 4; skew++) {
            uint8_t *const from = check_alloc(run, bytes, skew);
            float *const expected = check_alloc(run, n * 4, 0), *const found =
                                                                    check_alloc(run, n * 4, 4);
            for (size_t i = 0; i < bytes; i++) from[i] = (uint8_t)check_random(run);
            quant_block_tame(f, from, counts[c]);
            dc->ref(from, expected, n);
            dc->run(from, found, n);
            check_same(run, expected, found, n, "values");
            check_free(run, from);
            check_free(run, expected);
            check_free(run, found);
        }
    }
}

static void check_slot(check_run *run, const char *name, uint32_t isa, const dequant_case *c)
{
    check_kernel(run, name, isa, check_one, c);
}

void check_dequant(check_run *run)
{
#define LLRTI_GEMM_KERNEL(slot, symbol, isa, exact)                                                \
    check_slot(run, #symbol, isa,                                                                  \
               &(dequant_case){symbol, llrtk_##slot##_f32_ref, quant_block_find(&#slot[8])});
#include "dequant.def"
#undef LLRTI_GEMM_KERNEL
}
