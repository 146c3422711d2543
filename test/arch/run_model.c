/* SPDX-License-Identifier: MIT */
/*
 * Running a model on a backend table, for tests; see run_model.h.
 *
 * Several stages run one after the other: the values that cross a cut are read from the
 * stage below and handed to the stage above, as an engine does it.
 */
#include "run_model.h"

#include <string.h>

#include "error.h"
#include "types.h"
#include "weight.h"

#define CHUNK_MAX 512

static void *host_alloc(void *ctx, size_t size, size_t align, llrt_memory kind)
{
    return llrti_bulk_alloc(&((run_model *)ctx)->mem, size, align, kind);
}

static void host_free(void *ctx, void *ptr, size_t size, size_t align, llrt_memory kind)
{
    llrti_bulk_free(&((run_model *)ctx)->mem, ptr, size, align, kind);
}

static void host_log(void *ctx, llrt_log_level level, const char *text)
{
    (void)ctx;
    (void)level;
    (void)text;
}

static void host_parallel_for(void *ctx, uint32_t n_task, void (*task)(void *, uint32_t, uint32_t),
                              void *arg)
{
    llrti_workers_run(((run_model *)ctx)->workers, n_task, task, arg);
}

static llrt_status load_weight(run_model *run, run_stage *s, uint32_t index, llrt_error *err)
{
    const llrti_model_weight *const w = &run->model->weight[s->stage->weight[index]];
    const llrt_tensor_desc *const desc = &s->stage->tensor[index];
    const uint64_t n_row = llrti_weight_rows(w), piece = 4 * LLRT_WEIGHT_ROWS;
    size_t row_bytes;
    if (!llrti_type_row_bytes(desc->type, desc->dim[0], &row_bytes))
        return llrti_fail(err, LLRT_ERR_INTERNAL, "tensor '%s' has no row size", desc->name);
    const size_t data_bytes = (size_t)LLRTI_MIN(piece, n_row) * row_bytes;
    const size_t bytes = data_bytes + llrti_weight_scratch(w, LLRTI_MIN(piece, n_row));
    uint8_t *const data = llrti_alloc(&run->mem, bytes, LLRT_MEMORY_LOADING);
    if (!data) return llrti_fail_nomem(err, "weight", bytes);
    llrt_status status = LLRT_OK;
    for (uint64_t row = 0; row < n_row; row += piece) {
        const uint64_t n = LLRTI_MIN(piece, n_row - row);
        LLRTI_TRY_GOTO(status,
                       llrti_weight_read(run->file, w, row, n, data, data + data_bytes, err));
        LLRTI_TRY_GOTO(status,
                       run->options.backend->weight_put(s->model, index, row, n, data, err));
    }
fail:
    llrti_free(&run->mem, data);
    return status;
}

static llrt_status open_stage(run_model *run, uint32_t i, llrt_error *err)
{
    run_stage *const s = &run->stage[i];
    const llrt_backend *const backend = run->options.backend;
    s->stage = &run->stages[i];
    const llrt_model_desc desc = {.struct_size = sizeof desc,
                                  .n_tensor = s->stage->n_weight,
                                  .n_program = 1,
                                  .n_kv = s->stage->n_kv,
                                  .n_state = s->stage->n_state,
                                  .n_device = 1,
                                  .tensor = s->stage->tensor,
                                  .program = s->stage->program,
                                  .kv = s->stage->kv,
                                  .state = s->stage->state,
                                  .device = &run->options.device[i],
                                  .kv_type = run->options.kv_type,
                                  .precision = run->options.precision,
                                  .weights = LLRT_WEIGHTS_REPACKED,
                                  .isa = run->options.isa};
    const uint32_t n_row = LLRTI_MIN(run->n_ctx, CHUNK_MAX);
    llrt_runtime_limits limits = {.struct_size = sizeof limits,
                                  .n_row = n_row,
                                  .n_seq = 1,
                                  .n_out = n_row,
                                  .n_state = s->stage->n_state ? 2 : 0};
    for (uint32_t k = 0; k < s->stage->n_kv; k++)
        limits.n_page[s->stage->kv[k].group] = (run->n_ctx + LLRT_PAGE_TOK - 1) / LLRT_PAGE_TOK;
    LLRTI_TRY(backend->model_create(&run->host, &desc, &s->model, err));
    for (uint32_t w = 0; w < s->stage->n_weight; w++) LLRTI_TRY(load_weight(run, s, w, err));
    LLRTI_TRY(backend->model_finish(s->model, err));
    return backend->runtime_create(s->model, &limits, &s->runtime, err);
}

llrt_status run_model_open(run_model *run, const run_options *options, llrt_error *err)
{
    memset(run, 0, sizeof *run);
    run->options = *options;
    if (!run->options.n_stage) run->options.n_stage = 1;
    llrti_mem_init(&run->mem, NULL);
    const llrti_model_file_options file_options = {.source = options->source};
    const uint32_t n_worker = options->n_worker ? options->n_worker : 1;
    uint32_t layer_end[RUN_STAGE_MAX];
    llrt_status status;
    LLRTI_TRY_GOTO(status,
                   llrti_workers_create(&run->mem, n_worker, NULL, NULL, &run->workers, err));
    run->host = (llrt_host){sizeof run->host, n_worker,         run, host_alloc, host_free,
                            host_log,         host_parallel_for};
    LLRTI_TRY_GOTO(status,
                   llrti_model_file_open(&run->mem, options->path, &file_options, &run->file, err));
    LLRTI_TRY_GOTO(status,
                   llrti_model_create(&run->mem, run->file, options->n_ctx, &run->model, err));
    run->n_ctx = run->model->n_ctx;
    for (uint32_t i = 0; i < run->options.n_stage; i++)
        layer_end[i] = (i + 1) * run->model->n_layer / run->options.n_stage;
    LLRTI_TRY_GOTO(status, llrti_model_cut(&run->mem, run->model, run->options.n_stage, layer_end,
                                           &run->stages, err));
    for (uint32_t i = 0; i < run->options.n_stage; i++)
        LLRTI_TRY_GOTO(status, open_stage(run, i, err));
    return LLRT_OK;
fail:
    run_model_close(run);
    return status;
}

/* Reads the outputs of a stage; values[] are new blocks. */
static llrt_status read_outputs(run_model *run, const run_stage *s, uint32_t n_row, float **values,
                                llrt_error *err)
{
    for (uint32_t i = 0; i < s->stage->program[0].n_output; i++) {
        const uint32_t index = s->stage->program[0].output[i];
        const llrt_value *const v = &s->stage->program[0].value[index];
        values[i] = llrti_calloc(&run->mem, (size_t)n_row * v->n_head * v->width, sizeof(float),
                                 LLRT_MEMORY_SCRATCH);
        if (!values[i]) return llrti_fail_nomem(err, "value", 0);
        LLRTI_TRY(run->options.backend->value_read(s->runtime, index, 0, n_row, values[i], err));
    }
    return LLRT_OK;
}

static void free_values(run_model *run, float **values)
{
    for (uint32_t i = 0; i < RUN_STAGE_MAX; i++) {
        llrti_free(&run->mem, values[i]);
        values[i] = NULL;
    }
}

uint32_t run_model_width(const run_model *run)
{
    const llrti_model *const m = run->model;
    return m->logits != LLRT_NONE ? m->n_vocab : m->d_model;
}

/*
 * Windows give up no pages here: what a backend does with tables that end before the window is the
 * business of other tests. The state of a sequence goes to and fro between two slots.
 */
static llrt_status run_chunk(run_model *run, const run_text *text, uint32_t begin, uint32_t n,
                             float *out, llrt_error *err)
{
    const llrt_backend *const backend = run->options.backend;
    uint32_t page[CHUNK_MAX], row[CHUNK_MAX];
    const uint32_t n_page = (begin + n + LLRT_PAGE_TOK - 1) / LLRT_PAGE_TOK;
    if (n_page > CHUNK_MAX || n > CHUNK_MAX || begin + n > run->n_ctx)
        return llrti_fail(err, LLRT_ERR_ARGUMENT, "too many tokens");
    for (uint32_t i = 0; i < n_page; i++) page[i] = i;
    for (uint32_t i = 0; i < n; i++) row[i] = i;
    const llrt_step_seq seq = {.n_row = n,
                               .pos_begin = (int32_t)begin,
                               .n_page = n_page,
                               .page = {page, page},
                               .state_in = begin && run->model->n_state ? run->state : LLRT_NONE,
                               .state_out = run->model->n_state ? !run->state : LLRT_NONE};
    float *value[2][RUN_STAGE_MAX] = {{0}};
    llrt_status status = LLRT_OK;
    for (uint32_t i = 0; i < run->options.n_stage; i++) {
        const run_stage *const s = &run->stage[i];
        const bool is_last = i + 1 == run->options.n_stage;
        const float *input[RUN_STAGE_MAX];
        for (uint32_t k = 0; k < RUN_STAGE_MAX; k++) input[k] = value[i % 2][k];
        const llrt_step_desc step = {.struct_size = sizeof step,
                                     .n_row = n,
                                     .n_seq = 1,
                                     .n_out = is_last ? n : 0,
                                     .token = text->token + begin,
                                     .token_type = text->type ? text->type + begin : NULL,
                                     .seq = &seq,
                                     .out_row = row,
                                     .input = input};
        LLRTI_TRY_GOTO(status, backend->step_submit(s->runtime, &step, err));
        LLRTI_TRY_GOTO(status, backend->step_wait(s->runtime, err));
        if (is_last) {
            const bool has_logits = s->stage->logits != LLRT_NONE;
            const uint32_t value_index = text->wants_score ? s->stage->score
                                         : has_logits      ? s->stage->logits
                                                           : s->stage->hidden;
            status = backend->value_read(s->runtime, value_index, 0, n, out, err);
            run->state = !run->state;
            goto fail;
        }
        free_values(run, value[(i + 1) % 2]);
        LLRTI_TRY_GOTO(status, read_outputs(run, s, n, value[(i + 1) % 2], err));
    }
fail:
    free_values(run, value[0]);
    free_values(run, value[1]);
    return status;
}

llrt_status run_model_run(run_model *run, const run_text *text, uint32_t chunk, float *out,
                          llrt_error *err)
{
    const size_t width = text->wants_score ? run->model->n_label : run_model_width(run);
    for (uint32_t begin = 0; begin < text->n_tok; begin += chunk)
        LLRTI_TRY(run_chunk(run, text, begin, LLRTI_MIN(chunk, text->n_tok - begin),
                            out + begin * width, err));
    return LLRT_OK;
}

llrt_status run_model_logits(run_model *run, const int32_t *token, uint32_t n_tok, uint32_t chunk,
                             float *logits, llrt_error *err)
{
    return run_model_run(run, &(run_text){.token = token, .n_tok = n_tok}, chunk, logits, err);
}

void run_model_close(run_model *run)
{
    for (uint32_t i = 0; i < RUN_STAGE_MAX; i++) {
        if (run->stage[i].runtime) run->options.backend->runtime_free(run->stage[i].runtime);
        if (run->stage[i].model) run->options.backend->model_free(run->stage[i].model);
    }
    llrti_stages_free(&run->mem, run->stages, run->options.n_stage);
    llrti_model_free(run->model);
    llrti_model_file_close(run->file);
    llrti_workers_free(run->workers);
    memset(run, 0, sizeof *run);
}
