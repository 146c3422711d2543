/* SPDX-License-Identifier: MIT */
/*
 * From a placement (device names and numbers of layers) to stages: finds the devices, cuts the
 * program, plans and creates what each backend keeps. Used by the thread that opens the engine;
 * afterwards constant.
 */
#include "placement.h"

#include <string.h>

#include "options.h"
#include "state.h"
#include "window.h"

size_t llrti_placement_kv_bytes(llrt_type kv_type, const llrt_kv_desc *kv, uint32_t n_tok)
{
    size_t head;
    const size_t v_dim = kv->v_in_k ? 0 : kv->v_dim;
    switch (kv_type) {
    case LLRT_TYPE_F32:
        head = (kv->k_dim + v_dim) * 4;
        break;
    case LLRT_TYPE_Q8_0:
        head = (((size_t)kv->k_dim + 31) / 32 + (v_dim + 31) / 32) * 34;
        break;
    default:
        head = (kv->k_dim + v_dim) * 2;
    }
    return head * kv->n_head * n_tok;
}

/*
 * Ends of the layers of each entry; entries with 0 share what is left evenly, the first ones one
 * more.
 */
static llrt_status share_layers(const llrt_engine *engine, uint32_t n, uint32_t *layer_end,
                                llrt_error *err)
{
    const llrt_placement *const placement = engine->options.placement;
    const uint32_t n_layer = engine->model->n_layer;
    uint64_t n_fixed = 0;
    uint32_t n_open = 0;
    for (uint32_t i = 0; i < n; i++) {
        n_fixed += placement[i].n_layer;
        n_open += placement[i].n_layer == 0;
    }
    const uint64_t rest = n_fixed < n_layer ? n_layer - n_fixed : 0;
    if (n_fixed > n_layer || (n_open == 0 && n_fixed != n_layer) ||
        n_open > rest + (n_layer == 0)) {
        return llrti_fail_field(err, LLRT_ERR_ARGUMENT, "placement",
                                "%llu layers are placed and %u entries share the rest, but the "
                                "model has %u",
                                (unsigned long long)n_fixed, n_open, n_layer);
    }
    uint32_t end = 0, k = 0;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t layers = placement[i].n_layer;
        if (layers == 0) {
            layers = (uint32_t)(rest / n_open + (k < rest % n_open));
            k++;
        }
        layer_end[i] = end += layers;
    }
    return LLRT_OK;
}

/* What a stage gives away must be what the next one takes, and the stages' parts of a page in order are the
 * model's: saved sessions rely on it. */
static llrt_status check_cuts(const llrt_engine *engine, llrt_error *err)
{
    uint32_t kv = 0, state = 0;
    for (uint32_t i = 0; i < engine->stages.n; i++) {
        const llrti_stage *const cut = &engine->stages.cut[i];
        for (uint32_t k = 0; k < cut->n_state; k++)
            if (cut->state_index[k] != state++)
                return llrti_fail(err, LLRT_ERR_INTERNAL, "stage %u: states out of order", i);
        for (uint32_t k = 0; k < cut->n_kv; k++)
            if (cut->kv_index[k] != kv++)
                return llrti_fail(err, LLRT_ERR_INTERNAL, "stage %u: kv slots out of order", i);
    }
    for (uint32_t i = 0; i + 1 < engine->stages.n; i++) {
        const llrt_program *const from = engine->stages.cut[i].program;
        const llrt_program *const to = engine->stages.cut[i + 1].program;
        bool is_same = from->n_output == to->n_input;
        for (uint32_t k = 0; is_same && k < to->n_input; k++) {
            const llrt_value *const a = &from->value[from->output[k]];
            const llrt_value *const b = &to->value[to->input[k]];
            is_same = a->rows == LLRT_ROWS_TOKEN && b->rows == LLRT_ROWS_TOKEN &&
                      a->n_head == b->n_head && a->width == b->width;
        }
        if (!is_same)
            return llrti_fail(err, LLRT_ERR_INTERNAL, "stages %u and %u do not fit", i, i + 1);
    }
    return LLRT_OK;
}

llrt_status llrti_placement_place(llrt_engine *engine, llrt_error *err)
{
    static const llrt_placement whole = {"cpu", 0};
    llrt_engine_options *const options = &engine->options;
    if (!options->n_placement) {
        options->placement = &whole;
        options->n_placement = 1;
    }
    const uint32_t n = options->n_placement;
    if (n > LLRTI_STAGE_MAX) {
        return llrti_fail_field(err, LLRT_ERR_ARGUMENT, "n_placement",
                                "found %u, expected at most %d", n, LLRTI_STAGE_MAX);
    }
    uint32_t layer_end[LLRTI_STAGE_MAX];
    for (uint32_t i = 0; i < n; i++) {
        llrti_engine_stage *const stage = &engine->stages.at[i];
        if (!options->placement[i].device) {
            return llrti_fail_field(err, LLRT_ERR_ARGUMENT, "placement", "entry %u has no device",
                                    i);
        }
        LLRTI_TRY(llrti_backends_find(&engine->backends, options->plugin_dir,
                                      options->placement[i].device, &stage->backend, &stage->device,
                                      &stage->info, err));
    }
    LLRTI_TRY(share_layers(engine, n, layer_end, err));
    LLRTI_TRY(llrti_model_cut(&engine->mem, engine->model, n, layer_end, &engine->stages.cut, err));
    engine->stages.n = n;
    for (uint32_t i = 0; i < n; i++) {
        const llrti_stage *const cut = &engine->stages.cut[i];
        llrti_engine_stage *const stage = &engine->stages.at[i];
        for (uint32_t k = 0; k < cut->n_kv; k++) {
            const size_t bytes =
                llrti_placement_kv_bytes(options->kv_type, &cut->kv[k], LLRT_PAGE_TOK);
            stage->page_bytes[cut->kv[k].group] += bytes;
            engine->page_bytes[cut->kv[k].group] += bytes;
        }
        for (uint32_t k = 0; k < cut->n_state; k++) {
            stage->n_state_float += cut->state[k].n_float;
            engine->n_state_float += cut->state[k].n_float;
        }
    }
    engine->window = engine->page_bytes[LLRT_KV_GROUP_WINDOW] ? engine->model->kv_window : 0;
    return check_cuts(engine, err);
}

void llrti_placement_describe(const llrt_engine *engine, uint32_t i, llrt_model_desc *desc)
{
    const llrti_stage *const cut = &engine->stages.cut[i];
    const llrti_engine_stage *const stage = &engine->stages.at[i];
    *desc = (llrt_model_desc){
        .struct_size = (uint32_t)sizeof *desc,
        .n_tensor = cut->n_weight,
        .n_program = cut->n_program,
        .n_kv = cut->n_kv,
        .n_state = cut->n_state,
        .n_device = 1,
        .tensor = cut->tensor,
        .program = cut->program,
        .kv = cut->kv,
        .state = cut->state,
        .device = &stage->device,
        .kv_type = engine->options.kv_type,
        .precision = engine->options.precision,
        .weights = engine->options.weights,
        .isa = stage->info.kind == LLRT_DEVICE_CPU ? engine->options.isa : NULL,
    };
}

/* ---- Sizes of the pools ---- */

static llrt_status size_windows(llrt_engine *engine, llrt_error *err)
{
    const llrt_engine_options *const o = &engine->options;
    engine->n_window_page = 0;
    if (!engine->window) return LLRT_OK;
    const uint32_t most = llrti_window_most(engine->window);
    const uint32_t n_step = llrti_session_pages(o->n_step_tok);
    /*
     * Those of the sessions of a step, a page that all of them share and copy, and what the rows of
     * a step need beside.
     */
    uint64_t n = (uint64_t)o->n_step_seq * most + 1 + n_step;
    const uint32_t least = LLRTI_MIN(most + 1, engine->n_page);
    if (o->kv_window_tok) {
        n = (o->kv_window_tok + LLRT_PAGE_TOK - 1) / LLRT_PAGE_TOK;
        if (n < least) {
            return llrti_fail_field(err, LLRT_ERR_ARGUMENT, "kv_window_tok",
                                    "found %llu, expected at least %u: a window of %u and a page",
                                    (unsigned long long)o->kv_window_tok, least * LLRT_PAGE_TOK,
                                    engine->window);
        }
    }
    engine->n_window_page = (uint32_t)LLRTI_MIN(n, engine->n_page);
    engine->n_window_spare = LLRTI_MIN(n_step, engine->n_window_page - least);
    return LLRT_OK;
}

static void size_states(llrt_engine *engine)
{
    const llrt_engine_options *const o = &engine->options;
    engine->n_state = 0;
    if (!engine->n_state_float) return;
    const uint64_t in_bytes = LLRTI_STATE_DEFAULT_BYTES / (engine->n_state_float * sizeof(float));
    uint64_t n = LLRTI_MIN(LLRTI_MAX(in_bytes, LLRTI_STATE_DEFAULT_LEAST), engine->n_page);
    if (o->n_snapshot) n = o->n_snapshot;
    /*
     * The one more is what a session that goes back has before. Spare: ends of pages that the rows
     * of a step can pass: each session one more than its share of the rows.
     */
    engine->n_state_spare =
        (uint32_t)LLRTI_MIN(n, llrti_session_pages(o->n_step_tok) + o->n_step_seq);
    engine->n_state = (uint32_t)n + LLRTI_STATE_LIVE * o->n_step_seq + 1;
}

static llrt_runtime_limits limits_of(const llrt_engine *engine)
{
    return (llrt_runtime_limits){
        .struct_size = (uint32_t)sizeof(llrt_runtime_limits),
        .n_row = engine->options.n_step_tok,
        .n_seq = engine->options.n_step_seq,
        .n_out = engine->options.n_step_out,
        .n_page = {engine->n_page, engine->n_window_page},
        .n_state = engine->n_state,
        .n_adapter = engine->options.n_adapter,
        .adapter_rank = engine->options.adapter_rank,
        .with_squares = engine->options.with_squares,
    };
}

llrt_status llrti_placement_plan(llrt_engine *engine, uint32_t n_page, llrt_error *err)
{
    engine->n_page = n_page;
    LLRTI_TRY(size_windows(engine, err));
    size_states(engine);
    const llrt_runtime_limits limits = limits_of(engine);
    for (uint32_t i = 0; i < engine->stages.n; i++) {
        llrti_engine_stage *const stage = &engine->stages.at[i];
        llrt_model_desc desc;
        llrti_placement_describe(engine, i, &desc);
        stage->model_use = stage->runtime_use =
            (llrt_memory_use){.struct_size = (uint32_t)sizeof(llrt_memory_use)};
        LLRTI_TRY(stage->backend->plan(&engine->host, &desc, &limits, &stage->model_use,
                                       &stage->runtime_use, err));
    }
    return LLRT_OK;
}

static uint64_t kv_bytes_planned(const llrt_engine *engine)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < engine->stages.n; i++)
        sum += engine->stages.at[i].runtime_use.bytes[LLRT_MEMORY_KV];
    return sum;
}

llrt_status llrti_placement_fit_pages(llrt_engine *engine, uint32_t most, llrt_error *err)
{
    const uint64_t kv_bytes = engine->options.kv_bytes;
    const size_t page_bytes = engine->page_bytes[LLRT_KV_GROUP_FULL];
    uint64_t low = 1, high = page_bytes ? kv_bytes / page_bytes : most;
    high = LLRTI_MIN(high, LLRTI_PAGE_MAX);
    LLRTI_TRY(llrti_placement_plan(engine, 1, err));
    if (kv_bytes_planned(engine) > kv_bytes || high < 1) {
        return llrti_fail_field(err, LLRT_ERR_ARGUMENT, "kv_bytes",
                                "found %llu, expected at least %llu, which one page needs",
                                (unsigned long long)kv_bytes,
                                (unsigned long long)kv_bytes_planned(engine));
    }
    while (low < high) {
        const uint64_t middle = low + (high - low + 1) / 2;
        LLRTI_TRY(llrti_placement_plan(engine, (uint32_t)middle, err));
        if (kv_bytes_planned(engine) <= kv_bytes)
            low = middle;
        else
            high = middle - 1;
    }
    return llrti_placement_plan(engine, (uint32_t)low, err);
}

/* ---- Values between stages ---- */

static size_t cross_floats(const llrt_engine *engine, uint32_t *n_value)
{
    size_t n = 0;
    *n_value = 0;
    for (uint32_t i = 0; i + 1 < engine->stages.n; i++) {
        const llrt_program *const program = engine->stages.cut[i].program;
        for (uint32_t k = 0; k < program->n_output; k++)
            n += llrti_placement_value_width(&program->value[program->output[k]]);
        *n_value += program->n_output;
    }
    return n * engine->options.n_step_tok;
}

void llrti_placement_cross_bytes(const llrt_engine *engine, size_t *scratch, size_t *host)
{
    uint32_t n_value;
    const size_t n = cross_floats(engine, &n_value);
    *scratch = n_value ? n * sizeof(float) + LLRTI_ALLOC_HEADER : 0;
    *host = n_value ? n_value * sizeof(float *) + LLRTI_ALLOC_HEADER : 0;
}

llrt_status llrti_placement_create_cross(llrt_engine *engine, llrt_error *err)
{
    llrti_placement *const stages = &engine->stages;
    uint32_t n_value;
    const size_t n = cross_floats(engine, &n_value);
    if (n_value == 0) return LLRT_OK;
    stages->cross_block = llrti_alloc(&engine->mem, n * sizeof(float), LLRT_MEMORY_SCRATCH);
    stages->cross_table = llrti_alloc(&engine->mem, n_value * sizeof(float *), LLRT_MEMORY_HOST);
    if (!stages->cross_block || !stages->cross_table)
        return llrti_fail_nomem(err, "values between stages", n * sizeof(float));
    float *next = stages->cross_block, **slot = stages->cross_table;
    for (uint32_t i = 0; i + 1 < stages->n; i++) {
        const llrt_program *const program = stages->cut[i].program;
        stages->at[i].cross = slot;
        for (uint32_t k = 0; k < program->n_output; k++) {
            *slot++ = next;
            next += llrti_placement_value_width(&program->value[program->output[k]]) *
                    engine->options.n_step_tok;
        }
    }
    return LLRT_OK;
}

llrt_status llrti_placement_create_runtimes(llrt_engine *engine, llrt_error *err)
{
    const llrt_runtime_limits limits = limits_of(engine);
    for (uint32_t i = 0; i < engine->stages.n; i++) {
        llrti_engine_stage *const stage = &engine->stages.at[i];
        LLRTI_TRY(stage->backend->runtime_create(stage->model, &limits, &stage->runtime, err));
    }
    return LLRT_OK;
}

void llrti_placement_free_all(llrt_engine *engine)
{
    llrti_placement *const stages = &engine->stages;
    for (uint32_t i = 0; i < LLRTI_STAGE_MAX; i++) {
        llrti_engine_stage *const stage = &stages->at[i];
        if (stage->runtime) stage->backend->runtime_free(stage->runtime);
        if (stage->model) stage->backend->model_free(stage->model);
        stage->runtime = stage->model = NULL;
    }
    llrti_free(&engine->mem, stages->cross_block);
    llrti_free(&engine->mem, stages->cross_table);
    if (stages->cut) llrti_stages_free(&engine->mem, stages->cut, stages->n);
    stages->cross_block = NULL;
    stages->cross_table = NULL;
    stages->cut = NULL;
}
