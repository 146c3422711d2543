/* SPDX-License-Identifier: MIT */
/*
 * Cutting a model's program into stages (llrti_model_cut of model.h).
 *
 * A value crosses the cut before stage s when a stage below s writes it and stage s or a later
 * one reads it. What crosses a cut is output of the stage below and input of the stage above, in
 * ascending order of the value; a value that is read only further up passes through, being input
 * and output of a stage that does not touch it. Values, weights, kv slots and states are
 * renumbered per stage in the order in which they first appear.
 *
 * The program that ends at the hidden states is a prefix of the whole one, which only the last
 * stage notices: nothing after the hidden states crosses a cut, being rows of its own.
 */
#include <string.h>

#include "model.h"

/* Everything the cut of one model needs; arrays over the model's values. */
typedef struct cutter {
    llrti_mem *mem;
    const llrti_model *model;
    uint32_t n_stage;
    uint32_t *writer;    /* (n_value) stage that writes it */
    uint32_t *last_read; /* (n_value) last stage that reads it */
    uint32_t *op_end;    /* (n_stage) index behind its last operator */
    /* New index in the stage at work, or LLRT_NONE. */
    uint32_t *value_map, *weight_map, *kv_map, *state_map;
} cutter;

/* Numbers of what a stage has. */
typedef struct counts {
    uint32_t value, weight, kv, state;
} counts;

static bool crosses(const cutter *c, uint32_t value, uint32_t stage)
{
    return c->writer[value] != LLRT_NONE && c->writer[value] < stage &&
           c->last_read[value] >= stage;
}

static uint32_t count_crossing(const cutter *c, uint32_t stage)
{
    uint32_t n = 0;
    if (stage == 0 || stage >= c->n_stage) return 0;
    for (uint32_t v = 0; v < c->model->program->n_value; v++) n += crosses(c, v, stage);
    return n;
}

static llrt_status check_layers(const llrti_model *model, uint32_t n_stage,
                                const uint32_t *layer_end, llrt_error *err)
{
    if (n_stage == 0 || n_stage > model->n_layer)
        return llrti_fail_field(err, LLRT_ERR_ARGUMENT, "n_stage",
                                "found %u stages, expected 1 to %u, one layer each",
                                (unsigned)n_stage, (unsigned)model->n_layer);
    for (uint32_t i = 0; i < n_stage; i++)
        if (layer_end[i] <= (i ? layer_end[i - 1] : 0) || layer_end[i] > model->n_layer)
            return llrti_fail_field(
                err, LLRT_ERR_ARGUMENT, "layer_end",
                "stage %u ends at layer %u, expected ascending numbers up to %u", (unsigned)i,
                (unsigned)layer_end[i], (unsigned)model->n_layer);
    if (layer_end[n_stage - 1] != model->n_layer)
        return llrti_fail_field(err, LLRT_ERR_ARGUMENT, "layer_end",
                                "the last stage ends at layer %u, expected %u",
                                (unsigned)layer_end[n_stage - 1], (unsigned)model->n_layer);
    return LLRT_OK;
}

/* Who writes and who reads each value, and where the stages end. */
static llrt_status find_users(cutter *c, const uint32_t *layer_end, llrt_error *err)
{
    const llrt_program *const p = c->model->program;
    for (uint32_t v = 0; v < p->n_value; v++) {
        c->writer[v] = LLRT_NONE;
        c->last_read[v] = 0;
    }
    uint32_t stage = 0;
    for (uint32_t i = 0; i < p->n_op; i++) {
        const llrt_op *const op = &p->op[i];
        while (stage + 1 < c->n_stage && op->layer >= layer_end[stage]) c->op_end[stage++] = i;
        c->writer[op->out] = stage;
        for (uint32_t k = 0; k < op->n_in; k++) c->last_read[op->in[k]] = stage;
    }
    while (stage < c->n_stage) c->op_end[stage++] = p->n_op;
    for (uint32_t i = 0; i < p->n_output; i++) c->last_read[p->output[i]] = c->n_stage - 1;
    for (uint32_t v = 0; v < p->n_value; v++)
        if (p->value[v].rows != LLRT_ROWS_TOKEN && crosses(c, v, c->writer[v] + 1))
            return llrti_fail(err, LLRT_ERR_INTERNAL,
                              "value %u has rows of its own and crosses a cut", (unsigned)v);
    return LLRT_OK;
}

static uint32_t *new_indices(llrti_mem *mem, size_t n)
{
    uint32_t *const p = llrti_calloc(mem, n ? n : 1, sizeof *p, LLRT_MEMORY_HOST);
    if (p) memset(p, 0xff, n * sizeof *p);
    return p;
}

/* Where an operator names its state, or NULL. */
static uint32_t *state_of(llrt_op *op)
{
    switch (op->kind) {
    case LLRT_OP_SHORT_CONV:
        return &op->u.conv.state;
    case LLRT_OP_GATED_DELTA:
    case LLRT_OP_SSM_SCAN:
        return &op->u.scan.state;
    default:
        return NULL;
    }
}

static void give_index(uint32_t *map, uint32_t old, uint32_t *n)
{
    if (map[old] == LLRT_NONE) map[old] = (*n)++;
}

/* New indices of what the stage uses, and how many there are. */
static counts number_stage(cutter *c, uint32_t stage, uint32_t begin, uint32_t end)
{
    const llrt_program *const p = c->model->program;
    counts n = {0};
    memset(c->value_map, 0xff, p->n_value * sizeof *c->value_map);
    memset(c->weight_map, 0xff, c->model->n_weight * sizeof *c->weight_map);
    memset(c->kv_map, 0xff, c->model->n_kv * sizeof *c->kv_map);
    memset(c->state_map, 0xff, c->model->n_state * sizeof *c->state_map);
    for (uint32_t v = 0; stage > 0 && v < p->n_value; v++)
        if (crosses(c, v, stage)) c->value_map[v] = n.value++;
    for (uint32_t i = begin; i < end; i++) {
        llrt_op op = p->op[i];
        const uint32_t *const state = state_of(&op);
        give_index(c->value_map, op.out, &n.value);
        for (uint32_t k = 0; k < LLRTI_COUNT(op.weight); k++)
            if (op.weight[k] != LLRT_NONE) give_index(c->weight_map, op.weight[k], &n.weight);
        if (op.kind == LLRT_OP_ATTENTION) give_index(c->kv_map, op.u.attention.kv, &n.kv);
        if (state) give_index(c->state_map, *state, &n.state);
    }
    return n;
}

/* The arrays of a stage while they are filled. */
typedef struct stage_arrays {
    llrt_value *value;
    llrt_op *op;
    uint32_t *input, *output, *weight, *kv_index, *state_index, *tap;
    llrt_tensor_desc *tensor;
    llrt_kv_desc *kv;
    llrt_state_desc *state;
} stage_arrays;

static llrt_status allocate_stage(cutter *c, llrti_stage *s, stage_arrays *a, llrt_error *err)
{
    llrt_program *const p = &s->program[0];
    const size_t one = 1;
    /* Handed to the stage at once, so that llrti_stages_free finds whatever was allocated. */
    p->value = a->value =
        llrti_calloc(c->mem, LLRTI_MAX(one, p->n_value), sizeof *a->value, LLRT_MEMORY_HOST);
    p->op = a->op = llrti_calloc(c->mem, LLRTI_MAX(one, p->n_op), sizeof *a->op, LLRT_MEMORY_HOST);
    p->input = a->input = new_indices(c->mem, p->n_input);
    p->output = a->output = new_indices(c->mem, p->n_output);
    s->weight = a->weight = new_indices(c->mem, s->n_weight);
    s->tensor = a->tensor =
        llrti_calloc(c->mem, LLRTI_MAX(one, s->n_weight), sizeof *a->tensor, LLRT_MEMORY_HOST);
    s->kv = a->kv = llrti_calloc(c->mem, LLRTI_MAX(one, s->n_kv), sizeof *a->kv, LLRT_MEMORY_HOST);
    s->kv_index = a->kv_index = new_indices(c->mem, s->n_kv);
    s->state = a->state =
        llrti_calloc(c->mem, LLRTI_MAX(one, s->n_state), sizeof *a->state, LLRT_MEMORY_HOST);
    s->state_index = a->state_index = new_indices(c->mem, s->n_state);
    s->tap = a->tap = new_indices(c->mem, s->n_tap);
    if (!a->value || !a->op || !a->input || !a->output || !a->weight || !a->tensor || !a->kv ||
        !a->kv_index || !a->state || !a->state_index || !a->tap)
        return llrti_fail_nomem(err, "stage", p->n_op * sizeof *a->op);
    return LLRT_OK;
}

static void fill_ops(const cutter *c, stage_arrays *a, uint32_t begin, uint32_t end)
{
    for (uint32_t i = begin; i < end; i++) {
        llrt_op *const op = &a->op[i - begin];
        *op = c->model->program->op[i];
        op->out = c->value_map[op->out];
        for (uint32_t k = 0; k < op->n_in; k++) op->in[k] = c->value_map[op->in[k]];
        for (uint32_t k = 0; k < LLRTI_COUNT(op->weight); k++)
            if (op->weight[k] != LLRT_NONE) op->weight[k] = c->weight_map[op->weight[k]];
        if (op->kind == LLRT_OP_ATTENTION) op->u.attention.kv = c->kv_map[op->u.attention.kv];
        uint32_t *const state = state_of(op);
        if (state) *state = c->state_map[*state];
    }
}

static void fill_tables(const cutter *c, stage_arrays *a)
{
    const llrti_model *const m = c->model;
    for (uint32_t v = 0; v < m->program->n_value; v++)
        if (c->value_map[v] != LLRT_NONE) a->value[c->value_map[v]] = m->program->value[v];
    for (uint32_t w = 0; w < m->n_weight; w++) {
        if (c->weight_map[w] == LLRT_NONE) continue;
        a->weight[c->weight_map[w]] = w;
        a->tensor[c->weight_map[w]] = m->weight[w].desc;
    }
    for (uint32_t k = 0; k < m->n_kv; k++) {
        if (c->kv_map[k] == LLRT_NONE) continue;
        a->kv_index[c->kv_map[k]] = k;
        a->kv[c->kv_map[k]] = m->kv[k];
    }
    for (uint32_t k = 0; k < m->n_state; k++) {
        if (c->state_map[k] == LLRT_NONE) continue;
        a->state_index[c->state_map[k]] = k;
        a->state[c->state_map[k]] = m->state[k];
    }
}

static uint32_t map_value(const cutter *c, uint32_t value)
{
    return value == LLRT_NONE ? LLRT_NONE : c->value_map[value];
}

/* The model's outputs, which the last stage has. */
static void fill_ends(const cutter *c, llrti_stage *s, stage_arrays *a)
{
    const llrti_model *const m = c->model;
    const llrt_program *const p = m->program;
    for (uint32_t i = 0; i < p->n_output; i++) a->output[i] = c->value_map[p->output[i]];
    for (uint32_t i = 0; i < m->n_tap; i++) a->tap[i] = c->value_map[m->tap[i]];
    s->logits = map_value(c, m->logits);
    s->score = map_value(c, m->score);
    s->hidden = map_value(c, m->hidden);
    s->program[0].logits = s->logits;
}

/* The program that leaves out what comes after the hidden states. */
static void make_prefix(const cutter *c, llrti_stage *s, bool is_last)
{
    llrt_program *const p = &s->program[1];
    *p = s->program[0];
    s->n_program = c->model->n_program;
    if (!is_last || s->n_program < 2) return;
    const llrt_program *const whole = &c->model->program[0], *const part = &c->model->program[1];
    p->n_op -= whole->n_op - part->n_op;
    p->n_value -= whole->n_value - part->n_value; /* the last ones */
    p->n_output = part->n_output;
    p->output += whole->n_output - part->n_output;
    p->logits = LLRT_NONE;
}

static llrt_status make_stage(cutter *c, uint32_t stage, llrti_stage *s, llrt_error *err)
{
    const llrt_program *const p = c->model->program;
    const uint32_t begin = stage ? c->op_end[stage - 1] : 0, end = c->op_end[stage];
    const bool is_last = stage + 1 == c->n_stage;
    stage_arrays a;
    const counts n = number_stage(c, stage, begin, end);
    llrt_program *const own = &s->program[0];
    own->n_op = end - begin;
    own->n_value = n.value;
    own->n_input = count_crossing(c, stage);
    own->n_output = is_last ? p->n_output : count_crossing(c, stage + 1);
    own->logits = s->logits = s->hidden = s->score = LLRT_NONE;
    s->n_weight = n.weight;
    s->n_kv = n.kv;
    s->n_state = n.state;
    s->n_tap = is_last ? c->model->n_tap : 0;
    LLRTI_TRY(allocate_stage(c, s, &a, err));
    fill_ops(c, &a, begin, end);
    fill_tables(c, &a);
    uint32_t n_input = 0, n_output = 0;
    for (uint32_t v = 0; v < p->n_value; v++) {
        if (stage > 0 && crosses(c, v, stage)) a.input[n_input++] = c->value_map[v];
        if (!is_last && crosses(c, v, stage + 1)) a.output[n_output++] = c->value_map[v];
    }
    if (is_last) fill_ends(c, s, &a);
    make_prefix(c, s, is_last);
    return LLRT_OK;
}

llrt_status llrti_model_cut(llrti_mem *mem, const llrti_model *model, uint32_t n_stage,
                            const uint32_t *layer_end, llrti_stage **stages, llrt_error *err)
{
    *stages = NULL;
    LLRTI_TRY(check_layers(model, n_stage, layer_end, err));
    const llrt_program *const p = model->program;
    cutter c = {.mem = mem, .model = model, .n_stage = n_stage};
    llrt_status status = LLRT_OK;
    llrti_stage *const made = llrti_calloc(mem, n_stage, sizeof *made, LLRT_MEMORY_HOST);
    c.writer = new_indices(mem, p->n_value);
    c.last_read = new_indices(mem, p->n_value);
    c.op_end = new_indices(mem, n_stage);
    c.value_map = new_indices(mem, p->n_value);
    c.weight_map = new_indices(mem, model->n_weight);
    c.kv_map = new_indices(mem, model->n_kv);
    c.state_map = new_indices(mem, model->n_state);
    if (!made || !c.writer || !c.last_read || !c.op_end || !c.value_map || !c.weight_map ||
        !c.kv_map || !c.state_map) {
        status = llrti_fail_nomem(err, "stages", n_stage * sizeof *made);
        goto fail;
    }
    LLRTI_TRY_GOTO(status, find_users(&c, layer_end, err));
    for (uint32_t i = 0; i < n_stage; i++) LLRTI_TRY_GOTO(status, make_stage(&c, i, &made[i], err));
    *stages = made;
fail:
    if (status < 0) llrti_stages_free(mem, made, n_stage);
    llrti_free(mem, c.writer);
    llrti_free(mem, c.last_read);
    llrti_free(mem, c.op_end);
    llrti_free(mem, c.value_map);
    llrti_free(mem, c.weight_map);
    llrti_free(mem, c.kv_map);
    llrti_free(mem, c.state_map);
    return status;
}

void llrti_stages_free(llrti_mem *mem, llrti_stage *stages, uint32_t n_stage)
{
    if (!stages) return;
    for (uint32_t i = 0; i < n_stage; i++) {
        llrti_stage *const s = &stages[i];
        llrti_free(mem, (void *)s->program[0].value);
        llrti_free(mem, (void *)s->program[0].op);
        llrti_free(mem, (void *)s->program[0].input);
        llrti_free(mem, (void *)s->program[0].output);
        llrti_free(mem, (void *)s->weight);
        llrti_free(mem, (void *)s->tensor);
        llrti_free(mem, (void *)s->kv);
        llrti_free(mem, (void *)s->kv_index);
        llrti_free(mem, (void *)s->state);
        llrti_free(mem, (void *)s->state_index);
        llrti_free(mem, (void *)s->tap);
    }
    llrti_free(mem, stages);
}
