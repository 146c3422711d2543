/* SPDX-License-Identifier: MIT */
/*
 * Reading sums of squares from the backends. A weight is multiplied with in one stage only, since
 * stages are cut between layers; a tied embedding, which is in two, is a factor in the last. The
 * runtimes are asked between steps.
 */
#include "squares.h"

#include "engine_impl.h"
#include "products.h"
#include "struct_copy.h"

static uint32_t count_products(const llrti_model *model)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < model->n_weight; i++) n += llrti_products_use(model, i) != 0;
    return n;
}

size_t llrti_squares_bytes(const llrt_engine *engine)
{
    if (!engine->options.with_squares) return 0;
    return count_products(engine->model) * sizeof *engine->squared + LLRTI_ALLOC_HEADER;
}

llrt_status llrti_squares_create(llrt_engine *engine, llrt_error *err)
{
    const llrti_model *const model = engine->model;
    if (!engine->options.with_squares) return LLRT_OK;
    const size_t n = count_products(model);
    engine->squared = llrti_alloc(&engine->mem, n * sizeof *engine->squared, LLRT_MEMORY_HOST);
    if (!engine->squared)
        return llrti_fail_nomem(err, "a list of weights", n * sizeof *engine->squared);
    for (uint32_t i = 0; i < model->n_weight; i++)
        if (llrti_products_use(model, i)) engine->squared[engine->n_squared++] = i;
    return LLRT_OK;
}

void llrti_squares_free(llrt_engine *engine)
{
    llrti_free(&engine->mem, engine->squared);
    engine->squared = NULL;
}

static llrt_status find_weight(const llrt_engine *engine, uint32_t index, uint32_t *weight,
                               llrt_error *err)
{
    LLRTI_TRY(llrti_engine_check(engine, err));
    if (!engine->is_ready || !engine->options.with_squares) {
        return llrti_fail_field(err, LLRT_ERR_STATE, "with_squares",
                                "the engine keeps no sums of squares: open it with_squares");
    }
    if (index >= engine->n_squared)
        return llrti_fail(err, LLRT_ERR_NOT_FOUND, "weight %u of %u", index, engine->n_squared);
    *weight = engine->squared[index];
    return LLRT_OK;
}

llrt_status llrt_engine_squares_info(const llrt_engine *engine, uint32_t index,
                                     llrt_squares_info *info, llrt_error *err)
{
    uint32_t weight = 0;
    LLRTI_TRY(find_weight(engine, index, &weight, err));
    if (!info) return llrti_fail(err, LLRT_ERR_ARGUMENT, "info is NULL");
    const llrti_model_weight *const w = &engine->model->weight[weight];
    const llrt_squares_info own = {
        .struct_size = (uint32_t)sizeof own,
        .n_matrix = (uint32_t)w->desc.dim[2],
        .n_column = w->desc.dim[0],
        .name = w->gguf_name ? w->gguf_name : w->desc.name,
        .is_head = llrti_products_use(engine->model, weight) == LLRT_OP_HEAD,
    };
    return llrti_struct_copy_out(info, &own, sizeof own, "llrt_squares_info", err);
}

llrt_status llrt_engine_squares(llrt_engine *engine, uint32_t index, double *sum, size_t n_sum,
                                uint64_t *count, size_t n_count, llrt_error *err)
{
    uint32_t weight = 0;
    LLRTI_TRY(find_weight(engine, index, &weight, err));
    if (!sum || !count) return llrti_fail(err, LLRT_ERR_ARGUMENT, "sum or count is NULL");
    const llrt_tensor_desc *const desc = &engine->model->weight[weight].desc;
    const uint64_t all = desc->dim[2] * desc->dim[0];
    if (n_sum < all || n_count < desc->dim[2]) {
        return llrti_fail(err, LLRT_ERR_BUFFER,
                          "found room for %zu sums and %zu counts, expected %llu and %llu", n_sum,
                          n_count, (unsigned long long)all, (unsigned long long)desc->dim[2]);
    }
    for (uint32_t i = 0; i < engine->stages.n; i++) {
        const llrti_engine_stage *const stage = &engine->stages.at[i];
        const uint32_t tensor = llrti_products_tensor(&engine->stages.cut[i], weight);
        if (tensor == LLRT_NONE) continue;
        llrti_step_acquire(engine);
        const llrt_status status =
            stage->backend->squares_read(stage->runtime, tensor, sum, count, err);
        llrti_step_release(engine);
        if (status < 0) llrti_error_field(err, desc->name);
        return status;
    }
    return llrti_fail(err, LLRT_ERR_INTERNAL, "no stage multiplies with %s", desc->name);
}

llrt_status llrt_engine_squares_reset(llrt_engine *engine, llrt_error *err)
{
    uint32_t weight;
    LLRTI_TRY(find_weight(engine, 0, &weight, err));
    llrti_step_acquire(engine);
    for (uint32_t i = 0; i < engine->stages.n; i++)
        engine->stages.at[i].backend->squares_reset(engine->stages.at[i].runtime);
    llrti_step_release(engine);
    return LLRT_OK;
}
