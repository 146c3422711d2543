/* SPDX-License-Identifier: MIT */
/*
 * Which weights are multiplied with, and where: adapters change the plain ones, sums of squares are
 * kept for all. Reads the programs of model and stages, which are constant after opening; any
 * thread.
 */
#ifndef LLRTI_PRODUCTS_H
#define LLRTI_PRODUCTS_H

#include "model.h"

/** LINEAR, HEAD, HEAD_LINEAR or EXPERTS, if such an operator of the model multiplies with it; or 0. */
llrt_op_kind llrti_products_use(const llrti_model *model, uint32_t weight);

/** The stage's number for a weight of the model that its program multiplies with, or LLRT_NONE. */
uint32_t llrti_products_tensor(const llrti_stage *stage, uint32_t weight);

/** The weight of the model's head, or LLRT_NONE. */
uint32_t llrti_products_head(const llrti_model *model);

/** LINEAR and HEAD: one matrix for all rows. */
static inline bool llrti_products_is_plain(llrt_op_kind kind)
{
    return kind == LLRT_OP_LINEAR || kind == LLRT_OP_HEAD;
}

#endif
