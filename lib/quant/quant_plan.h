/* SPDX-License-Identifier: MIT */
/*
 * What a GGUF file made from a model is to contain, before types are chosen: metadata, and tensors
 * with the place their rows come from. A GGUF keeps its own; a Hugging Face folder is described by
 * its model family (see quant_convert.h). One thread.
 */
#ifndef LLRTI_QUANT_PLAN_H
#define LLRTI_QUANT_PLAN_H

#include "quant_meta.h"
#include "quant_mix.h"
#include "quant_run.h"

typedef struct llrti_quant_plan {
    llrti_mem *mem;
    llrti_arena arena; /* names, weights */
    llrti_quant_meta meta;
    LLRTI_VEC(llrti_tensor) tensor;   /* type: as read, or F32 for what is to be widened */
    LLRTI_VEC(llrti_quant_item) item; /* one for each tensor */
    uint32_t alignment;
    llrti_model *model; /* of a folder; weights of items are its */
    llrti_quant_shape shape;
    char architecture[64];
} llrti_quant_plan;

void llrti_quant_plan_init(llrti_quant_plan *plan, llrti_mem *mem);
void llrti_quant_plan_free(llrti_quant_plan *plan);

/** Fills it from either kind of model. `file` is retained. */
llrt_status llrti_quant_plan_make(llrti_mem *mem, const llrti_model_file *file,
                                  llrti_quant_plan *plan, llrt_error *err);

/** All rows of a tensor, as it is; in the plan's arena. NULL without memory. */
const llrti_model_weight *llrti_quant_plan_whole(llrti_quant_plan *plan,
                                                 const llrti_tensor *tensor);

/** Adds a tensor. *item, valid until the next call, is to be completed; NULL without memory. */
llrt_status llrti_quant_plan_add(llrti_quant_plan *plan, const llrti_tensor *tensor,
                                 llrti_quant_item **item, llrt_error *err);

#endif
