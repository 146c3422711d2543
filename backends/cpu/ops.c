/* SPDX-License-Identifier: MIT */
/*
 * Fills the kernel table: the lists name ref first, then each ISA in ascending order, and a later line
 * overrides an earlier one when its ISA is among the flags.
 */
#include "ops.h"

void llrti_ops_init(llrti_ops *ops, uint32_t isa)
{
    ops->isa = isa;
#define X(type, slot, symbol, set, is_exact)                                                       \
    if ((isa & LLRTI_ISA_##set) == LLRTI_ISA_##set) ops->slot = symbol;
#include "norm.def"
#include "elementwise.def"
#include "rope.def"
#include "kv.def"
#include "attention.def"
#include "vector.def"
#include "recurrent.def"
#undef X
}

void llrti_ops_glu(const llrti_ops *ops, llrt_activation act, float limit, float offset, size_t n,
                   const float *a, const float *b, float *y)
{
    enum { PART = 512 }; /* limited inputs stay in the first-level cache */
    float la[PART], lb[PART];
    if (limit == 0 && offset == 0) {
        ops->glu[act](n, a, b, y);
        return;
    }
    for (size_t i = 0; i < n; i += PART) {
        const size_t part = n - i < PART ? n - i : PART;
        ops->limit(part, a + i, b + i, limit, offset, la, lb);
        ops->glu[act](part, la, lb, y + i);
    }
}
