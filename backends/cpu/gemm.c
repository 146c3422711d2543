/* SPDX-License-Identifier: MIT */
/*
 * Dispatch of the matrix product kernels: expands gemm.def, pack.def and dequant.def into assignments in the order of the file,
 * so that the highest instruction set that `isa` allows wins. The ref lines fill every slot.
 */
#include "gemm.h"

void llrti_gemm_init(llrti_gemm_kernels *kernels, uint32_t isa)
{
    kernels->isa = isa;
#define LLRTI_GEMM_KERNEL(slot, symbol, needs, exact)                                              \
    if (((uint32_t)(needs) & ~isa) == 0) kernels->slot = symbol;
#include "gemm.def"
#include "pack.def"
#include "dequant.def"
#undef LLRTI_GEMM_KERNEL
}
