/* SPDX-License-Identifier: MIT */
/*
 * Converting a folder. Two programs are compared: the one the family emits for the folder, and the
 * one it emits for the head of the GGUF that is about to be written (tensors without data are
 * enough for that). They must be the same operators over weights of corresponding names; two
 * differences are known and say what is to be done to a weight:
 *
 *   rope over halves, and over neighbours in the GGUF    the rows of each head are interleaved
 *   an offset on a norm's weights, none in the GGUF      it is added to the weights
 *
 * Where a weight is (turned round, in one tensor for each expert) the family says itself, and what
 * else is done to it (llrti_gguf_form). Anything else is refused.
 */
#include "quant_convert.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "error.h"
#include "facts.h"
#include "model.h"
#include "quant_rows.h"
#include "quant_vocab.h"
#include "source_impl.h"
#include "text.h"
#include "types.h"
#include "weight.h"

typedef struct job {
    llrti_mem *mem;
    const llrti_model_file *folder;
    llrti_quant_plan *plan;
    llrti_facts facts;
    const llrti_model *from; /* as the folder describes it; the plan's */
    llrti_model *to;         /* as the GGUF does */
    uint32_t *item_of;       /* (from->n_weight) of the plan; in its arena */
    llrti_model_file *gguf;
    uint8_t *head; /* of the GGUF */
    size_t n_head;
    uint64_t n_all;
    llrt_error *err;
} job;

static llrt_status refuse(const job *j, const char *format, ...) LLRTI_PRINTF(2, 3);

static llrt_status refuse(const job *j, const char *format, ...)
{
    char text[LLRT_ERROR_TEXT_SIZE];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return llrti_fail_field(j->err, LLRT_ERR_UNSUPPORTED, "model_type",
                            "architecture '%s' can't be converted to GGUF: %s",
                            j->from ? j->from->architecture : "?", text);
}

/* ---- metadata ---- */

static void add_fact(job *j, const llrti_fact *fact)
{
    char key[256];
    llrti_quant_meta *const metas = &j->plan->meta;
    llrti_text_format(key, sizeof key, "%s.%s", j->facts.architecture, fact->key);
    bool is_varying = false;
    for (size_t i = 1; i < fact->layer.n; i++)
        is_varying |= fact->layer.data[i] != fact->layer.data[0];
    if (is_varying) {
        uint8_t *const out = llrti_quant_meta_array(metas, key, LLRTI_META_U32, fact->layer.n);
        for (size_t i = 0; out && i < 4 * fact->layer.n; i++)
            out[i] = (uint8_t)(fact->layer.data[i / 4] >> 8 * (i % 4));
        return;
    }
    switch (fact->type) {
    case LLRTI_META_U32:
        llrti_quant_meta_u32(metas, key, fact->u);
        break;
    case LLRTI_META_F32:
        llrti_quant_meta_f32(metas, key, (float)fact->f);
        break;
    case LLRTI_META_BOOL:
        llrti_quant_meta_bool(metas, key, fact->u != 0);
        break;
    default:
        llrti_quant_meta_string(metas, key, fact->s.data, fact->s.n);
        break;
    }
}

static llrt_status add_metas(job *j)
{
    llrti_quant_meta *const metas = &j->plan->meta;
    const char *const architecture = j->facts.architecture;
    llrti_quant_meta_string(metas, "general.architecture", architecture, strlen(architecture));
    llrti_quant_meta_string(metas, "general.type", "model", 5);
    if (j->from->name[0])
        llrti_quant_meta_string(metas, "general.name", j->from->name, strlen(j->from->name));
    for (size_t i = 0; i < j->facts.fact.n; i++) add_fact(j, &j->facts.fact.data[i]);
    if (j->from->n_token_type) /* other readers ask for it; llrt looks at the tensor */
        llrti_quant_meta_u32(metas, "tokenizer.ggml.token_type_count", j->from->n_token_type);
    LLRTI_TRY(llrti_quant_vocab_add(j->mem, j->folder, metas, j->err));
    if (metas->is_short || j->facts.is_short)
        return llrti_fail_nomem(j->err, "metadata", sizeof(llrti_meta));
    return LLRT_OK;
}

/* ---- tensors ---- */

/* Another weight has the same name in a GGUF: both are parts of one tensor there. */
static bool is_shared(const job *j, uint32_t index)
{
    for (uint32_t i = 0; i < j->from->n_weight; i++)
        if (i != index && j->from->weight[i].gguf_name &&
            strcmp(j->from->weight[i].gguf_name, j->from->weight[index].gguf_name) == 0)
            return true;
    return false;
}

/* The item is all of a tensor that weights are parts of, and not the weight itself. */
static bool is_whole_of(const job *j, uint32_t weight)
{
    return j->plan->item.data[j->item_of[weight]].weight != &j->from->weight[weight];
}

static llrt_status add_weight(job *j, uint32_t index)
{
    const llrti_model_weight *const w = &j->from->weight[index];
    llrti_quant_plan *const plan = j->plan;
    if (!w->gguf_name) return refuse(j, "tensor '%s' has no name in GGUF files", w->desc.name);
    for (uint32_t i = 0; i < plan->tensor.n; i++) {
        if (strcmp(plan->tensor.data[i].name, w->gguf_name) != 0) continue;
        const llrti_model_weight *const other = plan->item.data[i].weight;
        j->item_of[index] = i;
        if (other->tensor == w->tensor && !w->form && !w->part && !w->scales && !w->is_transposed)
            return LLRT_OK;
        return refuse(j, "tensors '%s' and '%s' are one in a GGUF", w->desc.name, other->desc.name);
    }
    llrti_tensor tensor = {.name = w->gguf_name, .type = w->desc.type, .n_dim = w->desc.n_dim};
    memcpy(tensor.dim, w->desc.dim, sizeof tensor.dim);
    const llrti_model_weight *source = w;
    if (w->form && w->form->row_elements) {
        tensor.n_dim = 2;
        tensor.dim[0] = w->form->row_elements;
        tensor.dim[1] = w->desc.dim[0] / w->form->row_elements;
    }
    if (is_shared(j, index) && !w->form && !w->part && !w->scales && !w->is_transposed) {
        source = llrti_quant_plan_whole(plan, w->tensor);
        if (!source) return llrti_fail_nomem(j->err, "a tensor", sizeof *source);
        tensor.n_dim = w->tensor->n_dim;
        memcpy(tensor.dim, w->tensor->dim, sizeof tensor.dim);
    }
    /* What is no matrix costs little and is best kept exact. */
    if (!llrti_quant_mix_is_matrix(&tensor)) tensor.type = LLRTI_TYPE_F32;
    llrti_quant_item *item;
    LLRTI_TRY(llrti_quant_plan_add(plan, &tensor, &item, j->err));
    item->weight = source;
    j->item_of[index] = (uint32_t)plan->item.n - 1;
    return LLRT_OK;
}

static llrt_status add_tensors(job *j)
{
    const size_t n_byte = (j->from->n_weight + 1) * sizeof *j->item_of;
    j->item_of = llrti_arena_alloc(&j->plan->arena, n_byte, sizeof *j->item_of);
    if (!j->item_of) return llrti_fail_nomem(j->err, "the list of tensors", n_byte);
    for (uint32_t i = 0; i < j->from->n_weight; i++) LLRTI_TRY(add_weight(j, i));
    for (size_t i = 0; i < j->facts.tensor.n; i++) {
        const llrti_fact_tensor *const fact = &j->facts.tensor.data[i];
        llrti_tensor tensor = {.type = LLRTI_TYPE_F32, .n_dim = 1, .dim = {fact->n, 1, 1, 1}};
        float *const value = llrti_arena_alloc(&j->plan->arena, fact->n * sizeof *value, 16);
        tensor.name = llrti_arena_strndup(&j->plan->arena, fact->name, strlen(fact->name));
        if (!value || !tensor.name)
            return llrti_fail_nomem(j->err, "a tensor", fact->n * sizeof *value);
        memcpy(value, fact->value, fact->n * sizeof *value);
        llrti_quant_item *item;
        LLRTI_TRY(llrti_quant_plan_add(j->plan, &tensor, &item, j->err));
        item->value = value;
    }
    return LLRT_OK;
}

/* ---- the GGUF as a source: its head, values that are known, zeros for the rest ---- */

static const char gguf_path[] = "converted.gguf";

static llrt_status source_open(void *ctx, const char *name, void **file, uint64_t *size,
                               llrt_error *err)
{
    const job *const j = ctx;
    *file = NULL;
    *size = j->n_all;
    return strcmp(name, gguf_path) == 0 ? LLRT_OK
                                        : llrti_fail(err, LLRT_ERR_NOT_FOUND, "no such file");
}

/* Copies what [begin, begin + n_from) and [offset, offset + n) have in common. */
static void copy_overlap(const void *from, uint64_t begin, uint64_t n_from, uint64_t offset,
                         void *to, size_t n)
{
    const uint64_t first = LLRTI_MAX(begin, offset), end = LLRTI_MIN(begin + n_from, offset + n);
    if (first < end)
        memcpy((uint8_t *)to + (first - offset), (const uint8_t *)from + (first - begin),
               (size_t)(end - first));
}

static llrt_status source_read(void *ctx, void *file, uint64_t offset, void *to, size_t n,
                               llrt_error *err)
{
    const job *const j = ctx;
    const llrti_quant_plan *const plan = j->plan;
    memset(to, 0, n);
    copy_overlap(j->head, 0, j->n_head, offset, to, n);
    for (size_t i = 0; i < plan->tensor.n; i++) {
        const llrti_tensor *const tensor = &plan->tensor.data[i];
        const float *const value = plan->item.data[i].value;
        for (uint64_t k = 0; value && k < tensor->dim[0]; k++) {
            uint8_t bytes[4];
            llrti_quant_small_f32(&value[k], NULL, 1, bytes);
            copy_overlap(bytes, tensor->offset + 4 * k, 4, offset, to, n);
        }
    }
    return LLRT_OK;
}

static void source_close(void *ctx, void *file)
{
}

static llrt_status describe_gguf(job *j)
{
    const llrti_quant_plan *const plan = j->plan;
    const llrti_gguf_content content = {plan->meta.list.data, plan->meta.list.n, plan->tensor.data,
                                        plan->tensor.n, plan->alignment};
    LLRTI_TRY(llrti_gguf_write_head(j->mem, &content, &j->head, &j->n_head, &j->n_all, j->err));
    llrt_source source;
    llrt_source_init(&source, sizeof source);
    source.ctx = j;
    source.open = source_open;
    source.read_at = source_read;
    source.close = source_close;
    const llrti_model_file_options options = {.source = &source};
    LLRTI_TRY(llrti_model_file_open(j->mem, gguf_path, &options, &j->gguf, j->err));
    llrt_error why = LLRT_ERROR_INIT;
    const llrt_status status = llrti_model_create(j->mem, j->gguf, j->from->n_ctx, &j->to, &why);
    if (status == LLRT_OK) return LLRT_OK;
    if (status == LLRT_ERR_NOMEM) {
        llrti_error_copy(j->err, &why);
        return status;
    }
    return refuse(j, "%s", why.text);
}

/* ---- comparing the programs ---- */

static bool is_close(float a, float b)
{
    return fabsf(a - b) <= 1e-6f * fmaxf(fabsf(a), fabsf(b));
}

static bool is_same_rope(const llrt_op *a, const llrt_op *b)
{
    if (a->u.rope.n_rot != b->u.rope.n_rot || !is_close(a->u.rope.magnitude, b->u.rope.magnitude) ||
        !a->u.rope.axis != !b->u.rope.axis)
        return false;
    for (uint32_t i = 0; i < a->u.rope.n_rot / 2; i++)
        if (!is_close(a->u.rope.inv_freq[i], b->u.rope.inv_freq[i]) ||
            (a->u.rope.axis && a->u.rope.axis[i] != b->u.rope.axis[i]))
            return false;
    return true;
}

static bool is_same_attention(const job *j, const llrt_op *a, const llrt_op *b)
{
    const uint32_t n_head = j->from->program->value[a->in[0]].n_head;
    if (a->u.attention.kv != b->u.attention.kv || a->u.attention.mask != b->u.attention.mask ||
        a->u.attention.window != b->u.attention.window ||
        !is_close(a->u.attention.scale, b->u.attention.scale) ||
        !is_close(a->u.attention.soft_cap, b->u.attention.soft_cap) ||
        !a->u.attention.slope != !b->u.attention.slope)
        return false;
    for (uint32_t i = 0; a->u.attention.slope && i < n_head; i++)
        if (!is_close(a->u.attention.slope[i], b->u.attention.slope[i])) return false;
    return true;
}

/* Differences are those that the forms of weights answer. */
static bool is_same_scan(const job *j, const llrt_op *a, const llrt_op *b)
{
    const llrti_gguf_form *const form = j->from->weight[a->weight[0]].form;
    const llrt_value *const value = j->from->program->value;
    const bool has_exp = a->u.scan.is_log_a && !b->u.scan.is_log_a;
    const bool is_tiled = !a->u.scan.is_tiled && b->u.scan.is_tiled &&
                          value[a->in[0]].n_head != value[a->in[2]].n_head;
    return has_exp == (form && form->is_negated_exp) && is_tiled == (form && form->row) &&
           (has_exp || a->u.scan.is_log_a == b->u.scan.is_log_a) &&
           a->u.scan.is_tiled <= b->u.scan.is_tiled && a->u.scan.state == b->u.scan.state &&
           a->u.scan.dt_min == b->u.scan.dt_min && a->u.scan.dt_max == b->u.scan.dt_max;
}

/* Options but for the differences that are dealt with. */
static bool is_same_option(const job *j, const llrt_op *a, const llrt_op *b)
{
    switch (a->kind) {
    case LLRT_OP_ROPE:
        return is_same_rope(a, b);
    case LLRT_OP_ATTENTION:
        return is_same_attention(j, a, b);
    case LLRT_OP_RMS_NORM:
    case LLRT_OP_LAYER_NORM:
        return is_close(a->u.norm.eps, b->u.norm.eps);
    case LLRT_OP_GATED_DELTA:
    case LLRT_OP_SSM_SCAN:
        return is_same_scan(j, a, b);
    case LLRT_OP_EMBED:
    case LLRT_OP_SCALE:
    case LLRT_OP_SOFT_CAP:
        return is_close(a->u.scale.factor, b->u.scale.factor);
    default:
        return memcmp(&a->u, &b->u, sizeof a->u) == 0;
    }
}

/* The same rows and columns of their tensors. */
static bool is_same_part(const llrti_model_weight *a, const llrti_model_weight *b)
{
    return !b->part && !b->is_transposed && a->slice_rows == b->slice_rows &&
           a->slice_step == b->slice_step && a->row_begin == b->row_begin &&
           a->row_step == b->row_step && a->col_begin == b->col_begin &&
           a->col_step == b->col_step && a->row_elements == b->row_elements;
}

static bool is_same_weight(const job *j, uint32_t a, uint32_t b)
{
    if (a == LLRT_NONE || b == LLRT_NONE) return a == b;
    const llrti_model_weight *const from = &j->from->weight[a], *const to = &j->to->weight[b];
    return strcmp(from->gguf_name, to->tensor->name) == 0 &&
           memcmp(from->desc.dim, to->desc.dim, sizeof from->desc.dim) == 0 &&
           (is_whole_of(j, a) ? is_same_part(from, to) : llrti_weight_is_direct(to));
}

static bool is_same_op(const job *j, const llrt_op *a, const llrt_op *b)
{
    if (a->kind != b->kind || a->layer != b->layer || a->n_in != b->n_in || a->out != b->out)
        return false;
    for (uint32_t i = 0; i < LLRTI_COUNT(a->in); i++)
        if (a->in[i] != b->in[i]) return false;
    for (uint32_t i = 0; i < LLRTI_COUNT(a->weight); i++)
        if (!is_same_weight(j, a->weight[i], b->weight[i])) return false;
    return is_same_option(j, a, b);
}

static const char *kind_name(llrt_op_kind kind)
{
    static const char *const names[] = {[LLRT_OP_EMBED] = "embedding",
                                        [LLRT_OP_POSITION] = "position embedding",
                                        [LLRT_OP_TOKEN_TYPE] = "token type",
                                        [LLRT_OP_RMS_NORM] = "norm",
                                        [LLRT_OP_LAYER_NORM] = "norm",
                                        [LLRT_OP_LINEAR] = "product",
                                        [LLRT_OP_ROPE] = "rotation",
                                        [LLRT_OP_ATTENTION] = "attention",
                                        [LLRT_OP_GLU] = "activation",
                                        [LLRT_OP_ACTIVATE] = "activation",
                                        [LLRT_OP_HEAD] = "head",
                                        [LLRT_OP_EXPERTS] = "experts",
                                        [LLRT_OP_SHORT_CONV] = "convolution",
                                        [LLRT_OP_GATED_DELTA] = "delta rule",
                                        [LLRT_OP_SSM_SCAN] = "scan",
                                        [LLRT_OP_HEAD_LINEAR] = "product"};
    const char *const name = kind < LLRTI_COUNT(names) ? names[kind] : NULL;
    return name ? name : "operator";
}

/* ---- what is done to weights ---- */

static llrt_status interleave_weight(job *j, uint32_t weight, uint32_t head_dim, uint32_t n_rot)
{
    if (weight == LLRT_NONE) return LLRT_OK;
    llrti_quant_item *const item = &j->plan->item.data[j->item_of[weight]];
    if (is_whole_of(j, weight) || j->from->weight[weight].form ||
        (item->n_rot && (item->n_rot != n_rot || item->head_dim != head_dim)))
        return refuse(j, "tensor '%s' is rotated in two ways", j->from->weight[weight].desc.name);
    item->n_rot = n_rot;
    item->head_dim = head_dim;
    return LLRT_OK;
}

/* Interleaves the rows of whatever made a value that is rotated. */
static llrt_status interleave_value(job *j, uint32_t value, uint32_t n_rot)
{
    const llrt_program *const program = j->from->program;
    const uint32_t head_dim = program->value[value].width;
    for (uint32_t i = program->n_op; i-- > 0;) {
        const llrt_op *const op = &program->op[i];
        if (op->out != value) continue;
        const bool is_norm = op->kind == LLRT_OP_RMS_NORM || op->kind == LLRT_OP_LAYER_NORM;
        if (op->kind != LLRT_OP_LINEAR && !is_norm) break;
        LLRTI_TRY(interleave_weight(j, op->weight[0], head_dim, n_rot));
        LLRTI_TRY(interleave_weight(j, op->weight[1], head_dim, n_rot));
        if (!is_norm) return LLRT_OK;
        value = op->in[0];
    }
    return refuse(j, "what is rotated over halves there and over neighbours in a GGUF is no plain "
                     "product");
}

static llrt_status add_changes(job *j, const llrt_op *a, const llrt_op *b)
{
    if (a->kind == LLRT_OP_ROPE && a->u.rope.pairs != b->u.rope.pairs) {
        if (a->u.rope.pairs != LLRT_ROPE_HALVES || b->u.rope.pairs != LLRT_ROPE_ADJACENT)
            return refuse(j, "rotated pairs differ");
        return interleave_value(j, a->in[0], a->u.rope.n_rot);
    }
    const bool is_norm = a->kind == LLRT_OP_RMS_NORM || a->kind == LLRT_OP_LAYER_NORM;
    if (!is_norm || a->weight[0] == LLRT_NONE) return LLRT_OK;
    const float offset = a->u.norm.weight_offset - b->u.norm.weight_offset;
    if (offset != 0.0f && is_whole_of(j, a->weight[0]))
        return refuse(j, "tensor '%s' is used in parts", j->from->weight[a->weight[0]].desc.name);
    j->plan->item.data[j->item_of[a->weight[0]]].offset = offset;
    return LLRT_OK;
}

static llrt_status compare_programs(job *j)
{
    const llrt_program *const a = j->from->program, *const b = j->to->program;
    const uint32_t n = LLRTI_MIN(a->n_op, b->n_op);
    for (uint32_t i = 0; i < n; i++) {
        if (!is_same_op(j, &a->op[i], &b->op[i]))
            return refuse(j,
                          "its configuration has options that a GGUF doesn't say, or says "
                          "otherwise (the %s of layer %u, operator %u)",
                          kind_name(a->op[i].kind), (unsigned)a->op[i].layer, (unsigned)i);
        LLRTI_TRY(add_changes(j, &a->op[i], &b->op[i]));
    }
    if (a->n_op != b->n_op || a->n_value != b->n_value || j->from->n_kv != j->to->n_kv ||
        j->from->n_weight != j->to->n_weight || j->from->n_state != j->to->n_state ||
        (a->n_value && memcmp(a->value, b->value, a->n_value * sizeof *a->value)) ||
        (j->from->n_state &&
         memcmp(j->from->state, j->to->state, j->from->n_state * sizeof *j->from->state)) ||
        (j->from->n_kv && memcmp(j->from->kv, j->to->kv, j->from->n_kv * sizeof *j->from->kv)))
        return refuse(j, "it would be another program there (%u operators instead of %u)",
                      (unsigned)b->n_op, (unsigned)a->n_op);
    return LLRT_OK;
}

/* ---- the whole ---- */

static llrt_status convert(job *j)
{
    LLRTI_TRY(llrti_model_describe(j->mem, j->folder, &j->facts, &j->plan->model, j->err));
    j->from = j->plan->model;
    if (!j->facts.architecture) return refuse(j, "no GGUF architecture corresponds to it");
    if (j->facts.problem[0])
        return refuse(j, "it has %s, which a GGUF can't say", j->facts.problem);
    llrti_quant_plan *const plan = j->plan;
    llrti_text_format(plan->architecture, sizeof plan->architecture, "%s", j->facts.architecture);
    LLRTI_TRY(add_metas(j));
    LLRTI_TRY(add_tensors(j));
    LLRTI_TRY(describe_gguf(j));
    LLRTI_TRY(compare_programs(j));
    return llrti_quant_vocab_check(j->mem, j->folder, j->gguf, j->err);
}

llrt_status llrti_quant_convert(llrti_mem *mem, const llrti_model_file *file,
                                llrti_quant_plan *plan, llrt_error *err)
{
    job j = {.mem = mem, .folder = file, .plan = plan, .err = err};
    llrti_facts_init(&j.facts, mem);
    const llrt_status status = convert(&j);
    llrti_model_free(j.to);
    llrti_model_file_close(j.gguf);
    llrti_free(mem, j.head);
    llrti_facts_free(&j.facts);
    return status;
}
