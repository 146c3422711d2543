/* SPDX-License-Identifier: MIT */
/*
 * The plan adds up: what parsing left allocated (counted, not computed), and what the functions that
 * create the rest say they will request. Opening runs in this order, which gives the peaks:
 *
 *   parse                        peak P (counted)
 *   workers, pool, step tables, values between stages
 *   loading buffers              held until the last model is finished
 *   model of stage 0, 1, ...     each with the backend's own loading peak on top
 *   (loading buffers freed, file released)
 *   runtime of stage 0, 1, ...
 *
 * Bytes on a GPU are its own; those of every other device are the host's, and so is class HOST of any device.
 */
#include "plan.h"

#include <string.h>

#include "adapter_impl.h"
#include "engine_impl.h"
#include "loader.h"
#include "session_impl.h"
#include "squares.h"

static bool is_on_host(const llrti_engine_stage *stage, int kind)
{
    return stage->info.kind != LLRT_DEVICE_GPU || kind == LLRT_MEMORY_HOST;
}

static uint64_t host_part(const llrti_engine_stage *stage, const llrt_memory_use *use)
{
    uint64_t sum = 0;
    for (int k = 0; k < LLRT_MEMORY_COUNT; k++)
        if (is_on_host(stage, k)) sum += use->bytes[k];
    return sum;
}

static llrt_status size_pool(llrt_engine *engine, llrt_error *err)
{
    const llrt_engine_options *const o = &engine->options;
    const uint64_t n_tok = o->kv_tok ? o->kv_tok : 2 * (uint64_t)engine->n_ctx;
    const uint32_t n_page = (uint32_t)((n_tok + LLRT_PAGE_TOK - 1) / LLRT_PAGE_TOK);
    if (o->kv_bytes) return llrti_placement_fit_pages(engine, n_page, err);
    return llrti_placement_plan(engine, n_page, err);
}

static size_t pool_bytes(const llrt_engine *engine)
{
    return llrti_pool_bytes(engine->n_page) +
           llrti_slots_bytes(engine->n_window_page, engine->n_page) +
           llrti_slots_bytes(engine->n_state, engine->n_page);
}

/* The device's entry in the plan; several stages may be on one device. */
static llrt_plan_device *device_of(llrt_plan *plan, const llrti_engine_stage *stage)
{
    for (uint32_t i = 0; i < plan->n_device; i++)
        if (strcmp(plan->device[i].name, stage->info.name) == 0) return &plan->device[i];
    llrt_plan_device *const device = &plan->device[plan->n_device++];
    memcpy(device->name, stage->info.name, sizeof device->name);
    return device;
}

llrt_status llrti_plan_make(llrt_engine *engine, llrt_error *err)
{
    llrt_plan *const plan = &engine->plan;
    memset(plan, 0, sizeof *plan);
    plan->struct_size = (uint32_t)sizeof *plan;
    plan->n_ctx = engine->n_ctx;
    const uint64_t parse_peak = atomic_load(&engine->mem.total_peak);
    const uint64_t with_file = atomic_load(&engine->mem.total_live);
    uint64_t own = 0, at_peak = 0;
    if (engine->options.metadata_only) {
        llrti_model_file_release(engine->file);
    } else {
        size_t cross, cross_host;
        LLRTI_TRY(size_pool(engine, err));
        llrti_placement_cross_bytes(engine, &cross, &cross_host);
        plan->host[LLRT_MEMORY_SCRATCH] = cross;
        plan->host[LLRT_MEMORY_HOST] = cross_host + llrti_workers_bytes(engine->options.n_thread) +
                                       pool_bytes(engine) + llrti_step_bytes(engine) +
                                       llrti_adapter_slot_bytes(engine) +
                                       llrti_squares_bytes(engine);
        own = plan->host[LLRT_MEMORY_SCRATCH] + plan->host[LLRT_MEMORY_HOST];
    }
    uint64_t models = 0;
    const uint64_t loading = engine->stages.n ? llrti_loader_bytes(engine) : 0;
    for (uint32_t i = 0; i < engine->stages.n; i++) {
        const llrti_engine_stage *const stage = &engine->stages.at[i];
        models += host_part(stage, &stage->model_use);
        const uint64_t extra =
            is_on_host(stage, LLRT_MEMORY_LOADING) ? stage->model_use.loading_peak : 0;
        const uint64_t now = with_file + own + loading + models + extra;
        if (now > at_peak) at_peak = now;
        llrt_plan_device *const device = device_of(plan, stage);
        for (int k = 0; k < LLRT_MEMORY_COUNT; k++)
            device->bytes[k] += stage->model_use.bytes[k] + stage->runtime_use.bytes[k];
        device->loading_peak =
            LLRTI_MAX(device->loading_peak,
                      LLRTI_MAX(stage->model_use.loading_peak, stage->runtime_use.loading_peak));
        device->driver_estimate +=
            stage->model_use.driver_estimate + stage->runtime_use.driver_estimate;
    }
    if (engine->is_planning && engine->options.weights == LLRT_WEIGHTS_REPACKED)
        llrti_model_file_release(engine->file);
    uint64_t total = own + models;
    for (int k = 0; k < LLRT_MEMORY_COUNT; k++) {
        plan->host[k] += llrti_mem_live(&engine->mem, k);
        total += llrti_mem_live(&engine->mem, k);
    }
    for (uint32_t i = 0; i < engine->stages.n; i++) {
        const llrti_engine_stage *const stage = &engine->stages.at[i];
        total += host_part(stage, &stage->runtime_use);
        const uint64_t now =
            total + (is_on_host(stage, LLRT_MEMORY_LOADING) ? stage->runtime_use.loading_peak : 0);
        if (now > at_peak) at_peak = now;
    }
    plan->host_total = total;
    plan->host_peak = LLRTI_MAX(LLRTI_MAX(parse_peak, at_peak), total);
    plan->kv_tok = (uint64_t)engine->n_page * LLRT_PAGE_TOK;
    plan->kv_window_tok = (uint64_t)engine->n_window_page * LLRT_PAGE_TOK;
    plan->n_state = engine->n_state;
    plan->session = engine->options.metadata_only ? 0 : llrti_session_default_bytes(engine);
    return LLRT_OK;
}

llrt_status llrti_plan_check(const llrt_engine *engine, llrt_error *err)
{
    const unsigned long long peak = engine->plan.host_peak;
    const uint64_t budget = engine->options.memory_budget;
    if (budget && peak > budget) {
        return llrti_fail_field(err, LLRT_ERR_BUDGET, "memory_budget",
                                "opening needs %llu bytes, the budget is %llu", peak,
                                (unsigned long long)budget);
    }
    uint64_t free_bytes, total_bytes;
    llrti_memory_info(&free_bytes, &total_bytes);
    /* What is free now says little, for caches yield; a model larger than the memory can only fail later and worse. */
    if (total_bytes && peak > total_bytes) {
        return llrti_fail(err, LLRT_ERR_BUDGET,
                          "opening needs %llu bytes, the machine has %llu (%llu free)", peak,
                          (unsigned long long)total_bytes, (unsigned long long)free_bytes);
    }
    return LLRT_OK;
}
