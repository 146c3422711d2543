/* SPDX-License-Identifier: MIT */
/*
 * The stages of an engine: runs of layers, each on a device of a backend. The program is cut at
 * layer boundaries; values that cross a cut are read from one runtime and given to the next as inputs.
 * A page of the pool has the same number in every stage's runtime.
 */
#ifndef LLRTI_PLACEMENT_H
#define LLRTI_PLACEMENT_H

#include "backends.h"
#include "model.h"

#define LLRTI_STAGE_MAX 8

typedef struct llrti_engine_stage {
    const llrt_backend *backend;
    uint32_t device;
    llrt_device_info info;
    void *model, *runtime;
    llrt_memory_use model_use, runtime_use;
    size_t page_bytes[LLRT_KV_GROUP_COUNT]; /* canonical bytes of this stage's part of a page */
    size_t n_state_float;                   /* numbers of this stage's part of a state */
    float **cross; /* (n_output) of every stage but the last: (n_step_tok, row width) each */
} llrti_engine_stage;

typedef struct llrti_placement {
    uint32_t n;
    llrti_stage *cut; /* (n) */
    llrti_engine_stage at[LLRTI_STAGE_MAX];
    float *cross_block; /* all crossing values, class SCRATCH */
    float **cross_table;
} llrti_placement;

struct llrt_engine;

/** Finds the devices of the placement and cuts the program. */
llrt_status llrti_placement_place(struct llrt_engine *engine, llrt_error *err);
/** Sizes the pools for n_page pages and asks every backend what it will need. */
llrt_status llrti_placement_plan(struct llrt_engine *engine, uint32_t n_page, llrt_error *err);
/**
 * The largest number of pages whose KV bytes are at most the option kv_bytes; `most` when pages cost nothing
 * beside their windowed parts. llrti_placement_plan was called for it last.
 */
llrt_status llrti_placement_fit_pages(struct llrt_engine *engine, uint32_t most, llrt_error *err);
/** Bytes llrti_placement_create_cross requests: class SCRATCH, and HOST for the table. */
void llrti_placement_cross_bytes(const struct llrt_engine *engine, size_t *scratch, size_t *host);
llrt_status llrti_placement_create_cross(struct llrt_engine *engine, llrt_error *err);
llrt_status llrti_placement_create_runtimes(struct llrt_engine *engine, llrt_error *err);
void llrti_placement_free_all(struct llrt_engine *engine);

/** The description of stage i for its backend. */
void llrti_placement_describe(const struct llrt_engine *engine, uint32_t i, llrt_model_desc *desc);

/** Canonical bytes of n_tok tokens of one kv slot. */
size_t llrti_placement_kv_bytes(llrt_type kv_type, const llrt_kv_desc *kv, uint32_t n_tok);
static inline size_t llrti_placement_value_width(const llrt_value *value)
{
    return (size_t)value->n_head * value->width;
}

#endif
