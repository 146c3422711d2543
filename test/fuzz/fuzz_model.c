/* SPDX-License-Identifier: MIT */
/*
 * Building a model from any file: the input is a GGUF, or a config.json and a safetensors file
 * separated by "\n#file\n", and perhaps the configuration of a pooling. Whatever is built must be a
 * program that a backend may be given: indices in range, every value written once and before it is
 * read, stages that cover it.
 */
#include "fuzz_model.h"
#include "model.h"

static void check_program(llrti_mem *mem, const llrt_program *p, uint32_t n_weight, uint32_t n_kv)
{
    bool *const written = llrti_calloc(mem, p->n_value + 1, sizeof *written, LLRT_MEMORY_HOST);
    FUZZ_CHECK(written);
    for (uint32_t i = 0; i < p->n_input; i++) written[p->input[i]] = true;
    for (uint32_t i = 0; i < p->n_op; i++) {
        const llrt_op *const op = &p->op[i];
        FUZZ_CHECK(i == 0 || op->layer >= op[-1].layer);
        for (uint32_t k = 0; k < op->n_in; k++)
            FUZZ_CHECK(op->in[k] < p->n_value && written[op->in[k]]);
        for (uint32_t k = 0; k < 8; k++)
            FUZZ_CHECK(op->weight[k] == LLRT_NONE || op->weight[k] < n_weight);
        FUZZ_CHECK(op->out < p->n_value && !written[op->out]);
        if (op->kind == LLRT_OP_ATTENTION) FUZZ_CHECK(op->u.attention.kv < n_kv);
        written[op->out] = true;
    }
    for (uint32_t i = 0; i < p->n_output; i++)
        FUZZ_CHECK(p->output[i] < p->n_value && written[p->output[i]]);
    llrti_free(mem, written);
}

static void check_model(llrti_mem *mem, const llrti_model *m)
{
    for (uint32_t i = 0; i < m->n_program; i++)
        check_program(mem, &m->program[i], m->n_weight, m->n_kv);
    FUZZ_CHECK(m->program->logits == m->logits && m->hidden < m->program->n_value);
    FUZZ_CHECK(m->logits == LLRT_NONE || m->program->value[m->logits].width == m->n_vocab);
    FUZZ_CHECK(m->n_ctx > 0 && m->n_ctx <= m->n_ctx_max);
    const uint32_t n_stage = m->n_layer > 1 ? 2 : 1,
                   end[2] = {n_stage == 1 ? m->n_layer : 1, m->n_layer};
    llrti_stage *stages;
    FUZZ_CHECK(llrti_model_cut(mem, m, n_stage, end, &stages, NULL) == LLRT_OK);
    uint32_t n_op = 0;
    for (uint32_t i = 0; i < n_stage; i++) {
        for (uint32_t k = 0; k < stages[i].n_program; k++)
            check_program(mem, &stages[i].program[k], stages[i].n_weight, stages[i].n_kv);
        n_op += stages[i].program[0].n_op;
    }
    FUZZ_CHECK(n_op == m->program->n_op);
    llrti_stages_free(mem, stages, n_stage);
}

/* Fails request number fail_at. */
typedef struct failing_heap {
    size_t n_call, fail_at;
} failing_heap;

static void *take(void *ctx, size_t size, size_t align, llrt_memory kind)
{
    failing_heap *const heap = ctx;
    void *ptr = NULL;
    (void)kind;
    if (++heap->n_call == heap->fail_at) return NULL;
    return posix_memalign(&ptr, align, size ? size : 1) == 0 ? ptr : NULL;
}

static void give(void *ctx, void *ptr, size_t size, size_t align, llrt_memory kind)
{
    (void)ctx, (void)size, (void)align, (void)kind;
    free(ptr);
}

/* fail_at 0: never. Returns the number of requests for memory. */
static size_t open_model(fuzz_parts *parts, const char *path, size_t fail_at)
{
    failing_heap heap = {0, fail_at};
    const llrt_allocator hooks = {take, give, &heap};
    llrti_mem mem;
    llrt_source source;
    llrti_model_file *file;
    llrti_model *model;
    llrt_error err = LLRT_ERROR_INIT;
    llrti_mem_init(&mem, &hooks);
    fuzz_source(parts, &source);
    const llrti_model_file_options options = {.source = &source};
    if (llrti_model_file_open(&mem, path, &options, &file, &err) == LLRT_OK) {
        const llrt_status status = llrti_model_create(&mem, file, 0, &model, &err);
        FUZZ_CHECK((status == LLRT_OK) == (model != NULL));
        FUZZ_CHECK(status != LLRT_ERR_INTERNAL);
        if (model && !fail_at)
            check_model(&mem, model);
        else if (!model)
            FUZZ_CHECK(err.status == status && err.text[0] &&
                       (status == LLRT_ERR_NOMEM || err.file[0]));
        llrti_model_free(model);
        llrti_model_file_close(file);
    }
    FUZZ_CHECK(atomic_load(&mem.total_live) == 0 && parts->n_open == 0);
    return heap.n_call;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_parts parts;
    const bool is_gguf = size >= 4 && memcmp(data, "GGUF", 4) == 0;
    const char *const path = is_gguf ? "m.gguf" : "m/model.safetensors";
    fuzz_divide(&parts, data, size);
    parts.part[0].name = is_gguf ? path : "m/config.json";
    if (!is_gguf && parts.n_part > 1) parts.part[1].name = path;
    if (!is_gguf && parts.n_part > 2) parts.part[2].name = "m/1_Pooling/config.json";
    /* Then one allocation fails, another one for each size. */
    const size_t n_call = open_model(&parts, path, 0);
    if (n_call) open_model(&parts, path, 1 + size % n_call);
    return 0;
}
