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
#undef X
}
