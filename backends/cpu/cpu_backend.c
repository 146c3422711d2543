/* SPDX-License-Identifier: MIT */
/*
 * The table of the CPU backend: thin functions from the table's void pointers to the modules behind them.
 */
#include "cpu_backend.h"

#include <stddef.h>
#include <string.h>

#include "compiler.h"
#include "cpu_adapters.h"
#include "cpu_model.h"
#include "cpu_pages.h"
#include "cpu_recurrent.h"
#include "cpu_runtime.h"
#include "cpu_squares.h"
#include "cpu_step.h"
#include "error.h"
#include "os.h"

static llrt_status device_count(uint32_t *n, llrt_error *err)
{
    *n = 1;
    return LLRT_OK;
}

static void append_text(char *to, size_t size, const char *text)
{
    const size_t at = strlen(to), n = LLRTI_MIN(strlen(text), size - 1 - at);
    memcpy(to + at, text, n);
    to[at + n] = 0;
}

static llrt_status device_info(uint32_t device, llrt_device_info *info, llrt_error *err)
{
    if (device != 0)
        return llrti_fail(err, LLRT_ERR_ARGUMENT, "device %u, the CPU backend has only 0", device);
    if (!info || info->struct_size < sizeof *info)
        return llrti_fail(err, LLRT_ERR_ARGUMENT,
                          "the device information has size %u, expected %zu",
                          info ? info->struct_size : 0, sizeof *info);
    memset(info, 0, sizeof *info);
    info->struct_size = sizeof *info;
    info->kind = LLRT_DEVICE_CPU;
    append_text(info->name, sizeof info->name, "cpu");
    append_text(info->description, sizeof info->description, "CPU, levels");
    for (uint32_t i = 0; llrti_isa_level(i); i++) {
        append_text(info->description, sizeof info->description, " ");
        append_text(info->description, sizeof info->description, llrti_isa_level(i));
    }
    llrti_memory_info(&info->memory_free, &info->memory_total);
    return LLRT_OK;
}

static llrt_status plan(const llrt_host *host, const llrt_model_desc *desc,
                        const llrt_runtime_limits *limits, llrt_memory_use *model_use,
                        llrt_memory_use *runtime_use, llrt_error *err)
{
    llrti_cpu_model *model;
    llrti_cpu_layout layout;
    if (!model_use || !runtime_use || model_use->struct_size < sizeof *model_use ||
        runtime_use->struct_size < sizeof *runtime_use)
        return llrti_fail(err, LLRT_ERR_ARGUMENT,
                          "the tables of memory use are absent or too small");
    LLRTI_TRY(llrti_cpu_model_compile(host, desc, &model, err));
    const llrt_status status = llrti_cpu_runtime_measure(model, limits, &layout, model->place, err);
    if (status == LLRT_OK) {
        memset(model_use, 0, sizeof *model_use);
        memset(runtime_use, 0, sizeof *runtime_use);
        model_use->struct_size = runtime_use->struct_size = sizeof *model_use;
        model_use->bytes[LLRT_MEMORY_HOST] = model->host_bytes;
        model_use->bytes[LLRT_MEMORY_WEIGHTS] = model->weight_bytes;
        runtime_use->bytes[LLRT_MEMORY_HOST] = layout.host_bytes;
        runtime_use->bytes[LLRT_MEMORY_SCRATCH] = layout.scratch_bytes;
        runtime_use->bytes[LLRT_MEMORY_KV] = layout.kv_bytes;
        runtime_use->bytes[LLRT_MEMORY_STATE] = layout.state_bytes;
        runtime_use->bytes[LLRT_MEMORY_WEIGHTS] = layout.adapter_bytes;
    }
    llrti_cpu_model_free(model);
    return status;
}

static llrt_status model_create(const llrt_host *host, const llrt_model_desc *desc, void **out,
                                llrt_error *err)
{
    llrti_cpu_model *model;
    *out = NULL;
    LLRTI_TRY(llrti_cpu_model_compile(host, desc, &model, err));
    const llrt_status status = llrti_cpu_model_allocate(model, err);
    if (status < 0) {
        llrti_cpu_model_free(model);
        return status;
    }
    *out = model;
    return LLRT_OK;
}

static llrt_status weight_put(void *model, uint32_t tensor, uint64_t row_begin, uint64_t n_row,
                              const void *data, llrt_error *err)
{
    return llrti_cpu_model_put(model, tensor, row_begin, n_row, data, err);
}

static llrt_status weight_map(void *model, uint32_t tensor, const void *data, llrt_error *err)
{
    return llrti_cpu_model_map(model, tensor, data, err);
}

static llrt_status model_finish(void *model, llrt_error *err)
{
    return llrti_cpu_model_finish(model, err);
}

static void model_free(void *model)
{
    llrti_cpu_model_free(model);
}

static llrt_status runtime_create(void *model, const llrt_runtime_limits *limits, void **out,
                                  llrt_error *err)
{
    llrti_cpu_runtime *runtime;
    const llrt_status status = llrti_cpu_runtime_create(model, limits, &runtime, err);
    *out = runtime;
    return status;
}

static void runtime_free(void *runtime)
{
    llrti_cpu_runtime_free(runtime);
}

static llrt_status step_submit(void *runtime, const llrt_step_desc *step, llrt_error *err)
{
    return llrti_cpu_step_submit(runtime, step, err);
}

static llrt_status step_wait(void *runtime, llrt_error *err)
{
    return llrti_cpu_step_wait(runtime, err);
}

static llrt_status value_read(void *runtime, uint32_t value, uint32_t row_begin, uint32_t n_row,
                              float *to, llrt_error *err)
{
    return llrti_cpu_runtime_read(runtime, value, row_begin, n_row, to, err);
}

static llrt_status page_copy(void *runtime, uint32_t group, uint32_t to, uint32_t from,
                             uint32_t n_tok, llrt_error *err)
{
    return llrti_cpu_pages_copy(runtime, group, to, from, n_tok, err);
}

static llrt_status page_read(void *runtime, uint32_t group, uint32_t page, uint32_t n_tok, void *to,
                             size_t size, llrt_error *err)
{
    return llrti_cpu_pages_read(runtime, group, page, n_tok, to, size, err);
}

static llrt_status page_write(void *runtime, uint32_t group, uint32_t page, uint32_t n_tok,
                              const void *from, size_t size, llrt_error *err)
{
    return llrti_cpu_pages_write(runtime, group, page, n_tok, from, size, err);
}

static llrt_status state_read(void *runtime, uint32_t slot, float *to, size_t n, llrt_error *err)
{
    return llrti_cpu_recurrent_read(runtime, slot, to, n, err);
}

static llrt_status state_write(void *runtime, uint32_t slot, const float *from, size_t n,
                               llrt_error *err)
{
    return llrti_cpu_recurrent_write(runtime, slot, from, n, err);
}

static llrt_status adapter_put(void *runtime, uint32_t slot, const llrt_adapter_part *part,
                               uint32_t n_part, llrt_error *err)
{
    return llrti_cpu_adapters_put(runtime, slot, part, n_part, err);
}

static llrt_status squares_read(void *runtime, uint32_t tensor, double *sum, uint64_t *count,
                                llrt_error *err)
{
    return llrti_cpu_squares_read(runtime, tensor, sum, count, err);
}

static void squares_reset(void *runtime)
{
    llrti_cpu_squares_reset(runtime);
}

llrt_status llrti_cpu_backend_entry(uint32_t version, llrt_backend *table, llrt_error *err)
{
    static const llrt_backend filled = {
        .struct_size = LLRT_BACKEND_V1_SIZE,
        .version = LLRT_BACKEND_VERSION,
        .name = "cpu",
        .device_count = device_count,
        .device_info = device_info,
        .plan = plan,
        .model_create = model_create,
        .weight_put = weight_put,
        .weight_map = weight_map,
        .model_finish = model_finish,
        .model_free = model_free,
        .runtime_create = runtime_create,
        .runtime_free = runtime_free,
        .step_submit = step_submit,
        .step_wait = step_wait,
        .value_read = value_read,
        .page_copy = page_copy,
        .page_read = page_read,
        .page_write = page_write,
        .state_read = state_read,
        .state_write = state_write,
        .adapter_put = adapter_put,
        .squares_read = squares_read,
        .squares_reset = squares_reset,
    };
    if (version != LLRT_BACKEND_VERSION || !table || table->struct_size < LLRT_BACKEND_V1_SIZE)
        return llrti_fail(err, LLRT_ERR_VERSION,
                          "the CPU backend serves version %u, asked for was %u",
                          LLRT_BACKEND_VERSION, version);
    memcpy(table, &filled, LLRT_BACKEND_V1_SIZE);
    return LLRT_OK;
}
