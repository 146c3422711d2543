/* SPDX-License-Identifier: MIT */
/*
 * Looking through programs for products. See products.h.
 */
#include "products.h"

#include "compiler.h"

/* Biases and an expert layer's biases are no factors. */
static bool multiplies(const llrt_op *op, uint32_t weight)
{
    switch (op->kind) {
    case LLRT_OP_LINEAR:
    case LLRT_OP_HEAD:
    case LLRT_OP_HEAD_LINEAR:
        return op->weight[0] == weight;
    case LLRT_OP_EXPERTS:
        return op->weight[0] == weight || op->weight[1] == weight || op->weight[2] == weight;
    default:
        return false;
    }
}

static llrt_op_kind find_use(const llrt_program *program, uint32_t weight)
{
    for (uint32_t i = 0; i < program->n_op; i++)
        if (multiplies(&program->op[i], weight)) return program->op[i].kind;
    return 0;
}

llrt_op_kind llrti_products_use(const llrti_model *model, uint32_t weight)
{
    return find_use(&model->program[0], weight);
}

uint32_t llrti_products_tensor(const llrti_stage *stage, uint32_t weight)
{
    for (uint32_t i = 0; i < stage->n_weight; i++)
        if (stage->weight[i] == weight) return find_use(&stage->program[0], i) ? i : LLRT_NONE;
    return LLRT_NONE;
}

uint32_t llrti_products_head(const llrti_model *model)
{
    for (uint32_t i = model->program->n_op; i > 0; i--)
        if (model->program->op[i - 1].kind == LLRT_OP_HEAD)
            return model->program->op[i - 1].weight[0];
    return LLRT_NONE;
}
