/* SPDX-License-Identifier: MIT */
/*
 * Making a model: finds the family, lets it build, and turns what the builder collected into one
 * immutable llrti_model. The model owns the arrays and an arena with everything small; tensors
 * and names stay the file's.
 */
#include "model.h"

#include <string.h>

#include "builder.h"
#include "families.h"
#include "pooling.h"
#include "text.h"

#define N_CTX_DEFAULT 8192

/* A model with what it owns beyond the public fields. */
typedef struct storage {
    llrti_model model; /* first: a llrti_model * is a storage * */
    llrti_arena arena;
    llrt_program program[LLRTI_PROGRAM_MAX];
    llrti_model_weight *weight;
    llrt_kv_desc *kv;
    llrt_state_desc *state;
    llrt_value *value;
    llrt_op *op;
} storage;

static const llrti_family *find_family(const llrti_hparams *hp)
{
    for (const llrti_family *f = llrti_families; f->name; f++)
        if ((hp->is_gguf ? f->is_gguf : f->is_hf) && strcmp(f->name, hp->architecture) == 0)
            return f;
    return NULL;
}

static llrt_status fail_unknown(const llrti_hparams *hp)
{
    char quoted[LLRTI_TEXT_QUOTE_SIZE];
    const char *const field = hp->is_gguf ? "general.architecture" : "model_type";
    return llrti_fail_field(
        hp->err, LLRT_ERR_UNSUPPORTED, field, "%s'%s': found %s, expected one of: %s",
        hp->is_gguf ? "" : "config.json: ", field,
        llrti_text_quote(quoted, sizeof quoted, hp->architecture, strlen(hp->architecture)),
        llrti_model_known());
}

/* The name in the metadata, copied; "" when there is none. NULL without memory. */
static const char *copy_name(const llrti_hparams *hp, llrti_arena *arena)
{
    llrti_string name = {"", 0};
    if (hp->is_gguf) {
        const llrti_meta *const meta = llrti_model_file_find_meta(hp->file, "general.name");
        if (meta && meta->type == LLRTI_META_STRING) name = meta->value.s;
    } else {
        name.data = llrti_json_string(llrti_json_get(hp->config, "_name_or_path"), "");
        name.n = strlen(name.data);
    }
    return llrti_arena_strndup(arena, name.data, name.n);
}

/* The window all attention layers have, else 0. */
static uint32_t common_window(const llrti_builder *b)
{
    uint32_t window = 0;
    bool is_first = true;
    for (size_t i = 0; i < b->op.n; i++) {
        if (b->op.data[i].kind != LLRT_OP_ATTENTION) continue;
        if (!is_first && b->op.data[i].u.attention.window != window) return 0;
        window = b->op.data[i].u.attention.window;
        is_first = false;
    }
    return window;
}

/* What the attention operators say about the whole model. */
static void describe_attention(const llrti_builder *b, llrti_model *m)
{
    m->window = common_window(b);
    for (size_t i = 0; i < b->op.n; i++) {
        const llrt_op *const op = &b->op.data[i];
        if (op->kind != LLRT_OP_ATTENTION) continue;
        if (op->u.attention.mask == LLRT_MASK_FULL) m->is_bidirectional = true;
        if (b->kv.data[op->u.attention.kv].group == LLRT_KV_GROUP_WINDOW)
            m->kv_window = LLRTI_MAX(m->kv_window, op->u.attention.window);
    }
}

static void count_unused(const llrti_builder *b, llrti_model *m)
{
    const uint32_t n = llrti_model_file_n_tensor(b->hp.file);
    for (uint32_t i = 0; i < n; i++) {
        const char *const name = llrti_model_file_tensor(b->hp.file, i)->name;
        if (llrti_map_get(&b->by_name, name, strlen(name)) != LLRTI_MAP_NONE) continue;
        if (!m->unused) m->unused = name;
        m->n_unused++;
    }
}

/*
 * The outputs of the whole model; what is not in the program that ends at the hidden states comes
 * first. NULL without memory.
 */
static const uint32_t *list_outputs(const llrti_builder *b, uint32_t *n, uint32_t *n_before)
{
    const llrti_model *const m = b->model;
    uint32_t *const list = llrti_arena_alloc(b->arena, (3 + b->n_tap) * sizeof *list, sizeof *list);
    *n = 0;
    if (!list) return NULL;
    if (m->logits != LLRT_NONE) list[(*n)++] = m->logits;
    if (m->score != LLRT_NONE) list[(*n)++] = m->score;
    *n_before = *n;
    list[(*n)++] = m->hidden;
    for (uint32_t i = 0; i < b->n_tap; i++) list[(*n)++] = b->tap[i];
    return list;
}

static bool make_programs(storage *s, llrti_builder *b)
{
    llrti_model *const m = &s->model;
    uint32_t n_output, n_before = 0;
    const uint32_t *const output = list_outputs(b, &n_output, &n_before);
    if (!output) {
        b->hp.status = llrti_fail_nomem(b->hp.err, "list of outputs", sizeof *output);
        return false;
    }
    s->program[0] = (llrt_program){.n_value = (uint32_t)b->value.n,
                                   .n_op = (uint32_t)b->op.n,
                                   .n_output = n_output,
                                   .value = b->value.data,
                                   .op = b->op.data,
                                   .output = output,
                                   .logits = m->logits};
    m->n_program = 1;
    m->program = s->program;
    if (n_before == 0) return true;
    s->program[1] = s->program[0];
    s->program[1].n_op = (uint32_t)b->n_embed_op;
    s->program[1].n_value = (uint32_t)b->n_embed_op; /* every operator writes one */
    s->program[1].n_output = n_output - n_before;
    s->program[1].output = output + n_before;
    s->program[1].logits = LLRT_NONE;
    m->n_program = 2;
    return true;
}

/* Hands the arrays over to the model. */
static void take_over(storage *s, llrti_builder *b)
{
    llrti_model *const m = &s->model;
    if (!make_programs(s, b)) return;
    describe_attention(b, m);
    s->weight = b->weight.data;
    s->kv = b->kv.data;
    s->state = b->state.data;
    s->value = b->value.data;
    s->op = b->op.data;
    m->weight = s->weight;
    m->n_weight = (uint32_t)b->weight.n;
    m->kv = s->kv;
    m->n_kv = (uint32_t)b->kv.n;
    m->state = s->state;
    m->n_state = (uint32_t)b->state.n;
    m->tap = b->tap;
    m->n_tap = b->n_tap;
    m->n_ctx_max = b->n_ctx_max;
    m->can_generate = m->logits != LLRT_NONE;
    m->can_embed = m->hidden != LLRT_NONE;
    memset(&b->weight, 0, sizeof b->weight);
    memset(&b->kv, 0, sizeof b->kv);
    memset(&b->state, 0, sizeof b->state);
    memset(&b->value, 0, sizeof b->value);
    memset(&b->op, 0, sizeof b->op);
}

/* Layers whose output is wanted; what they leave is filled in as they are built. */
static void choose_taps(llrti_builder *b, const llrti_model_options *options)
{
    const size_t bytes = options->n_tap * sizeof *b->tap;
    if (!options->n_tap) return;
    b->n_tap = options->n_tap;
    b->tap_layer = options->tap_layer;
    b->tap = llrti_arena_alloc(b->arena, bytes, sizeof *b->tap);
    if (!b->tap) {
        b->hp.status = llrti_fail_nomem(b->hp.err, "taps", bytes);
        return;
    }
    memset(b->tap, 0xff, bytes);
}

static void choose_context(llrti_builder *b, uint32_t n_ctx)
{
    llrti_model *const m = b->model;
    m->n_ctx_train = llrti_hparams_u32_or(&b->hp, LLRTI_HP(N_CTX), 0);
    b->n_ctx =
        n_ctx ? n_ctx : LLRTI_MIN(m->n_ctx_train ? m->n_ctx_train : N_CTX_DEFAULT, N_CTX_DEFAULT);
    b->n_ctx_max = UINT32_MAX;
    m->n_ctx = b->n_ctx;
}

static void check_result(llrti_builder *b, uint32_t n_ctx)
{
    llrti_model *const m = b->model;
    if (!llrti_build_ok(b)) return;
    if (m->hidden == LLRT_NONE)
        llrti_build_fail(b, LLRT_ERR_INTERNAL, b->hp.architecture,
                         "the description of '%s' emits no hidden states", b->hp.architecture);
    if (n_ctx > b->n_ctx_max)
        llrti_build_fail(b, LLRT_ERR_ARGUMENT, "n_ctx",
                         "found a context of %u, expected at most %u: "
                         "the model has learned positions",
                         (unsigned)n_ctx, (unsigned)b->n_ctx_max);
    if (!n_ctx && m->n_ctx > b->n_ctx_max) m->n_ctx = b->n_ctx_max;
}

/* What GGUF files call the architecture, or NULL. */
static const char *gguf_name(const llrti_builder *b, const llrti_family *family)
{
    if (b->gguf_architecture || family->is_gguf)
        return b->gguf_architecture ? b->gguf_architecture : family->name;
    for (const llrti_family *f = llrti_families; f->name; f++)
        if (f->is_gguf && f->build == family->build) return f->name;
    return NULL;
}

static llrt_status build(storage *s, const llrti_model_file *file,
                         const llrti_model_options *options, llrti_facts *facts, llrt_error *err)
{
    const uint32_t n_ctx = options->n_ctx;
    llrti_builder b = {
        .mem = s->model.mem, .arena = &s->arena, .model = &s->model, .hf_prefix = ""};
    llrti_map_init(&b.by_name, b.mem, LLRT_MEMORY_HOST);
    if (llrti_hparams_init(&b.hp, file, err) < 0) goto done;
    const llrti_family *const family = find_family(&b.hp);
    if (!family) {
        b.hp.status = fail_unknown(&b.hp);
        if (!b.hp.is_gguf) llrti_model_file_blame(file, "config.json", err);
        goto done;
    }
    b.hp.facts = b.hp.is_gguf ? NULL : facts;
    s->model.architecture = family->name;
    s->model.name = copy_name(&b.hp, b.arena);
    if (!s->model.name) {
        b.hp.status = llrti_fail_nomem(err, "model name", 1);
        goto done;
    }
    choose_context(&b, n_ctx);
    choose_taps(&b, options);
    if (llrti_build_ok(&b)) family->build(&b);
    llrti_pooling_read(&b);
    if (b.hp.facts) b.hp.facts->architecture = gguf_name(&b, family);
    check_result(&b, n_ctx);
    if (llrti_build_ok(&b)) {
        count_unused(&b, &s->model);
        take_over(s, &b);
    }
done:
    llrti_map_free(&b.by_name);
    llrti_vec_free(b.mem, &b.weight);
    llrti_vec_free(b.mem, &b.kv);
    llrti_vec_free(b.mem, &b.state);
    llrti_vec_free(b.mem, &b.value);
    llrti_vec_free(b.mem, &b.op);
    return b.hp.status;
}

static llrt_status create(llrti_mem *mem, const llrti_model_file *file,
                          const llrti_model_options *options, llrti_facts *facts, llrti_model **out,
                          llrt_error *err)
{
    *out = NULL;
    storage *const s = llrti_calloc(mem, 1, sizeof *s, LLRT_MEMORY_HOST);
    if (!s) return llrti_fail_nomem(err, "model", sizeof *s);
    llrti_arena_init(&s->arena, mem, LLRT_MEMORY_HOST);
    s->model.mem = mem;
    s->model.logits = s->model.hidden = s->model.score = LLRT_NONE;
    const llrt_status status = build(s, file, options, facts, err);
    if (status < 0) {
        llrti_error_file(err, llrti_model_file_path(file));
        llrti_model_free(&s->model);
        return status;
    }
    *out = &s->model;
    return LLRT_OK;
}

llrt_status llrti_model_create_tapped(llrti_mem *mem, const llrti_model_file *file,
                                      const llrti_model_options *options, llrti_model **out,
                                      llrt_error *err)
{
    return create(mem, file, options, NULL, out, err);
}

llrt_status llrti_model_describe(llrti_mem *mem, const llrti_model_file *file, llrti_facts *facts,
                                 llrti_model **out, llrt_error *err)
{
    const llrti_model_options options = {0};
    return create(mem, file, &options, facts, out, err);
}

llrt_status llrti_model_create(llrti_mem *mem, const llrti_model_file *file, uint32_t n_ctx,
                               llrti_model **out, llrt_error *err)
{
    const llrti_model_options options = {.n_ctx = n_ctx};
    return llrti_model_create_tapped(mem, file, &options, out, err);
}

void llrti_model_free(llrti_model *model)
{
    if (!model) return;
    storage *const s = (storage *)model;
    llrti_mem *const mem = model->mem;
    llrti_free(mem, s->weight);
    llrti_free(mem, s->kv);
    llrti_free(mem, s->state);
    llrti_free(mem, s->value);
    llrti_free(mem, s->op);
    llrti_arena_free(&s->arena);
    llrti_free(mem, s);
}
