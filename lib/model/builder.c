/* SPDX-License-Identifier: MIT */
/*
 * Emitting a model: weights are looked up in the file and checked, operators are checked against
 * the shapes of their inputs, everything lands in growing arrays. See builder.h for the rules of
 * failures.
 *
 * A tensor is bound once, whoever asks for it: by_name maps its name to its place among the
 * weights, so a tied embedding is one weight with two users. Array sizes follow what the file was
 * seen to contain, since no operator of a layer is added after a tensor of that layer was
 * missing.
 */
#include "builder.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "text.h"
#include "types.h"

#define NAME_SIZE 256

void llrti_build_fail(llrti_builder *b, llrt_status status, const char *field, const char *format,
                      ...)
{
    if (b->hp.status < 0) return;
    char text[LLRT_ERROR_TEXT_SIZE];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    b->hp.status = llrti_fail_field(b->hp.err, status, field, "%s", text);
}

static void fail_nomem(llrti_builder *b, const char *what, size_t size)
{
    if (b->hp.status >= 0) b->hp.status = llrti_fail_nomem(b->hp.err, what, size);
}

void llrti_build_layer(llrti_builder *b, uint32_t layer)
{
    b->layer = layer;
}

/* ---- Weights ---- */

/* "prefix" + name + suffix with '#' replaced. False when it does not fit. */
static bool expand(const llrti_builder *b, const char *prefix, const char *name, const char *suffix,
                   char *out)
{
    llrti_text text;
    llrti_text_init(&text, out, NAME_SIZE);
    llrti_text_add(&text, prefix);
    for (const char *p = name; *p; p++) {
        if (*p == '#')
            llrti_text_add_format(&text, "%u", (unsigned)b->layer);
        else
            llrti_text_add_n(&text, p, 1);
    }
    llrti_text_add(&text, suffix);
    return !text.is_cut;
}

/* The tensor, or NULL; `out` is the name it has or should have. */
static const llrti_tensor *find_tensor(const llrti_builder *b, const llrti_name *name,
                                       const char *suffix, char out[NAME_SIZE])
{
    const char *const base = b->hp.is_gguf ? name->gguf : name->hf;
    out[0] = '\0';
    if (!base) return NULL;
    const bool is_rooted = base[0] == '/';
    if (!expand(b, "", base + is_rooted, suffix, out)) return NULL;
    const llrti_tensor *const tensor = llrti_model_file_find_tensor(b->hp.file, out);
    if (tensor || is_rooted || b->hp.is_gguf || !b->hf_prefix[0]) return tensor;
    if (!expand(b, b->hf_prefix, base, suffix, out)) return NULL;
    return llrti_model_file_find_tensor(b->hp.file, out);
}

bool llrti_build_has(llrti_builder *b, const llrti_name *name, const char *suffix)
{
    char full[NAME_SIZE];
    return find_tensor(b, name, suffix, full) != NULL;
}

static bool is_plain_type(uint32_t type)
{
    return type == LLRT_TYPE_F32 || type == LLRT_TYPE_F16 || type == LLRT_TYPE_BF16;
}

/* The element types matrices can be computed with: llrt_type of tensor.h. */
static bool is_matrix_type(uint32_t type)
{
    return llrti_type_is_supported(type) && type <= LLRT_TYPE_MXFP4 &&
           (type < LLRTI_TYPE_I8 || type > LLRTI_TYPE_F64);
}

static void describe_shape(const uint64_t *dim, uint32_t n_dim, char *out, size_t n)
{
    llrti_text text;
    llrti_text_init(&text, out, n);
    for (uint32_t i = 0; i < n_dim; i++)
        if (dim[i])
            llrti_text_add_format(&text, "%s%llu", i ? " x " : "", (unsigned long long)dim[i]);
        else
            llrti_text_add(&text, i ? " x any" : "any");
}

/* dim[] is what is expected, in the file's order; 0 stands for any size. */
static bool check_shape(llrti_builder *b, const llrti_tensor *tensor, const uint64_t dim[2],
                        uint32_t n_dim)
{
    bool is_same = true;
    for (uint32_t i = 0; i < 4; i++) {
        const uint64_t found = i < tensor->n_dim ? tensor->dim[i] : 1;
        if (i < n_dim ? (dim[i] ? found != dim[i] : found == 0 || found > UINT32_MAX) : found != 1)
            is_same = false;
    }
    if (is_same) return true;
    char found[96], expected[96];
    describe_shape(tensor->dim, LLRTI_MIN(tensor->n_dim, 4u), found, sizeof found);
    describe_shape(dim, n_dim, expected, sizeof expected);
    llrti_build_fail(b, LLRT_ERR_FORMAT, tensor->name, "tensor '%s': found shape %s, expected %s",
                     tensor->name, found, expected);
    return false;
}

/* Adds the tensor to the weights, or finds it there. */
static uint32_t bind_tensor(llrti_builder *b, const llrti_tensor *tensor, uint32_t n_dim,
                            bool is_transposed)
{
    const size_t n_name = strlen(tensor->name);
    const uint32_t known = llrti_map_get(&b->by_name, tensor->name, n_name);
    if (known != LLRTI_MAP_NONE) {
        if (b->weight.data[known].is_transposed == is_transposed) return known;
        llrti_build_fail(b, LLRT_ERR_INTERNAL, tensor->name, "tensor '%s' is used in two layouts",
                         tensor->name);
        return LLRT_NONE;
    }
    if (!llrti_vec_reserve(b->mem, &b->weight, b->weight.n + 1, LLRT_MEMORY_HOST) ||
        llrti_map_put(&b->by_name, tensor->name, n_name, (uint32_t)b->weight.n, NULL) < 0) {
        fail_nomem(b, "weight table", sizeof *b->weight.data);
        return LLRT_NONE;
    }
    llrti_model_weight *const w = &b->weight.data[b->weight.n];
    memset(w, 0, sizeof *w);
    w->tensor = tensor;
    w->is_transposed = is_transposed;
    w->desc.name = tensor->name;
    w->desc.type = tensor->type;
    w->desc.n_dim = n_dim;
    for (uint32_t i = 0; i < 4; i++) w->desc.dim[i] = i < n_dim ? tensor->dim[i] : 1;
    if (is_transposed) {
        w->desc.dim[0] = tensor->dim[1];
        w->desc.dim[1] = tensor->dim[0];
    }
    return (uint32_t)b->weight.n++;
}

static const llrti_tensor *need_tensor(llrti_builder *b, const llrti_name *name, const char *suffix,
                                       const char *what, llrti_weight_flags flags)
{
    char full[NAME_SIZE];
    if (b->hp.status < 0) return NULL;
    const llrti_tensor *const tensor =
        find_tensor(b, name, flags & LLRTI_WEIGHT_PLAIN ? "" : suffix, full);
    if (!tensor && !(flags & LLRTI_WEIGHT_OPTIONAL))
        llrti_build_fail(b, LLRT_ERR_FORMAT, full, "tensor '%s' is missing, expected a %s", full,
                         what);
    return tensor;
}

uint32_t llrti_build_matrix(llrti_builder *b, const llrti_name *name, uint32_t d_in, uint32_t d_out,
                            llrti_weight_flags flags)
{
    char what[96];
    const bool is_transposed = (flags & LLRTI_WEIGHT_HF_IN_OUT) && !b->hp.is_gguf;
    llrti_text_format(what, sizeof what, d_out ? "matrix of %u x %u" : "matrix with rows of %u",
                      (unsigned)d_in, (unsigned)d_out);
    const llrti_tensor *const tensor = need_tensor(b, name, ".weight", what, flags);
    if (!tensor) return LLRT_NONE;
    const uint64_t dim[2] = {is_transposed ? d_out : d_in, is_transposed ? d_in : d_out};
    if (!check_shape(b, tensor, dim, 2)) return LLRT_NONE;
    if (!is_matrix_type(tensor->type) || (is_transposed && !is_plain_type(tensor->type))) {
        llrti_build_fail(b, LLRT_ERR_UNSUPPORTED, tensor->name,
                         "tensor '%s': element type %s is not supported%s", tensor->name,
                         llrti_type_name(tensor->type),
                         is_transposed ? " in a transposed matrix" : "");
        return LLRT_NONE;
    }
    return bind_tensor(b, tensor, 2, is_transposed);
}

uint32_t llrti_build_vector(llrti_builder *b, const llrti_name *name, const char *suffix,
                            uint32_t n, llrti_weight_flags flags)
{
    char what[64];
    llrti_text_format(what, sizeof what, "vector of %u", (unsigned)n);
    const llrti_tensor *const tensor = need_tensor(b, name, suffix, what, flags);
    if (!tensor) return LLRT_NONE;
    const uint64_t dim[2] = {n, 1};
    if (!check_shape(b, tensor, dim, 1)) return LLRT_NONE;
    if (!is_plain_type(tensor->type)) {
        llrti_build_fail(b, LLRT_ERR_UNSUPPORTED, tensor->name,
                         "tensor '%s': found element type %s, expected F32, F16 or BF16",
                         tensor->name, llrti_type_name(tensor->type));
        return LLRT_NONE;
    }
    return bind_tensor(b, tensor, 1, false);
}

uint32_t llrti_build_rows_of(const llrti_builder *b, uint32_t weight)
{
    if (b->hp.status < 0 || weight >= b->weight.n) return 1;
    return (uint32_t)b->weight.data[weight].desc.dim[1];
}

/* ---- Values and operators ---- */

static const llrt_value *value_of(const llrti_builder *b, uint32_t value)
{
    return &b->value.data[value];
}

static bool defect(llrti_builder *b, llrt_op_kind kind, const char *what)
{
    llrti_build_fail(b, LLRT_ERR_INTERNAL, b->hp.architecture,
                     "program of '%s', layer %u, operator kind %u: %s (a defect of this "
                     "architecture's description)",
                     b->hp.architecture, (unsigned)b->layer, (unsigned)kind, what);
    return false;
}

uint32_t llrti_build_width(const llrti_builder *b, uint32_t value)
{
    if (b->hp.status < 0 || value >= b->value.n) return 0;
    return b->value.data[value].n_head * b->value.data[value].width;
}

/* False after a failure, also when an input or weight is no index; then nothing may be emitted. */
static bool is_ready(llrti_builder *b, llrt_op_kind kind, const uint32_t *in, uint32_t n_in)
{
    if (b->hp.status < 0) return false;
    for (uint32_t i = 0; i < n_in; i++)
        if (in[i] >= b->value.n) return defect(b, kind, "an input is no value");
    return true;
}

static bool is_weight(llrti_builder *b, llrt_op_kind kind, uint32_t weight, uint64_t dim0,
                      uint64_t dim1)
{
    if (b->hp.status < 0) return false;
    if (weight == LLRT_NONE) return true;
    if (weight >= b->weight.n) return defect(b, kind, "a weight is no index");
    const llrt_tensor_desc *const desc = &b->weight.data[weight].desc;
    if ((dim0 && desc->dim[0] != dim0) || (dim1 && desc->dim[1] != dim1))
        return defect(b, kind, "a weight does not fit the values");
    return true;
}

/* Appends an operator and its output value of the given shape; NULL after a failure. */
static llrt_op *emit(llrti_builder *b, llrt_op_kind kind, const uint32_t *in, uint32_t n_in,
                     llrt_value out)
{
    if (b->hp.status < 0) return NULL;
    if (out.n_head == 0 || out.width == 0 || (uint64_t)out.n_head * out.width > (uint64_t)1 << 28) {
        defect(b, kind, "the output has no sensible shape");
        return NULL;
    }
    if (!llrti_vec_reserve(b->mem, &b->value, b->value.n + 1, LLRT_MEMORY_HOST) ||
        !llrti_vec_reserve(b->mem, &b->op, b->op.n + 1, LLRT_MEMORY_HOST)) {
        fail_nomem(b, "operator list", sizeof *b->op.data);
        return NULL;
    }
    llrt_op *const op = &b->op.data[b->op.n];
    memset(op, 0, sizeof *op);
    op->kind = kind;
    op->layer = b->layer;
    op->n_in = n_in;
    for (uint32_t i = 0; i < LLRTI_COUNT(op->in); i++) op->in[i] = i < n_in ? in[i] : LLRT_NONE;
    for (uint32_t i = 0; i < LLRTI_COUNT(op->weight); i++) op->weight[i] = LLRT_NONE;
    op->out = (uint32_t)b->value.n;
    b->value.data[b->value.n++] = out;
    b->op.n++;
    return op;
}

static uint32_t out_of(const llrt_op *op)
{
    return op ? op->out : LLRT_NONE;
}

uint32_t llrti_build_embed(llrti_builder *b, uint32_t weight, float factor)
{
    if (!is_weight(b, LLRT_OP_EMBED, weight, 0, 0)) return LLRT_NONE;
    if (weight == LLRT_NONE) return defect(b, LLRT_OP_EMBED, "no weight"), LLRT_NONE;
    const llrt_value out = {LLRT_ROWS_TOKEN, 1, (uint32_t)b->weight.data[weight].desc.dim[0]};
    llrt_op *const op = emit(b, LLRT_OP_EMBED, NULL, 0, out);
    if (!op) return LLRT_NONE;
    op->weight[0] = weight;
    op->u.scale.factor = factor;
    return op->out;
}

uint32_t llrti_build_position(llrti_builder *b, uint32_t x, uint32_t weight, int32_t offset)
{
    if (!is_ready(b, LLRT_OP_POSITION, &x, 1)) return LLRT_NONE;
    if (weight == LLRT_NONE) return defect(b, LLRT_OP_POSITION, "no weight"), LLRT_NONE;
    if (!is_weight(b, LLRT_OP_POSITION, weight, llrti_build_width(b, x), 0)) return LLRT_NONE;
    if (value_of(b, x)->rows != LLRT_ROWS_TOKEN)
        return defect(b, LLRT_OP_POSITION, "rows"), LLRT_NONE;
    llrt_op *const op = emit(b, LLRT_OP_POSITION, &x, 1, *value_of(b, x));
    if (!op) return LLRT_NONE;
    op->weight[0] = weight;
    op->u.position.offset = offset;
    return op->out;
}

uint32_t llrti_build_gather(llrti_builder *b, uint32_t x)
{
    if (!is_ready(b, LLRT_OP_GATHER, &x, 1)) return LLRT_NONE;
    llrt_value out = *value_of(b, x);
    if (out.rows != LLRT_ROWS_TOKEN) return defect(b, LLRT_OP_GATHER, "rows"), LLRT_NONE;
    out.rows = LLRT_ROWS_OUT;
    return out_of(emit(b, LLRT_OP_GATHER, &x, 1, out));
}

uint32_t llrti_build_slice(llrti_builder *b, uint32_t x, uint32_t begin, uint32_t n_head,
                           uint32_t width)
{
    if (!is_ready(b, LLRT_OP_SLICE, &x, 1)) return LLRT_NONE;
    if ((uint64_t)begin + (uint64_t)n_head * width > llrti_build_width(b, x))
        return defect(b, LLRT_OP_SLICE, "a slice beyond the row"), LLRT_NONE;
    llrt_op *const op =
        emit(b, LLRT_OP_SLICE, &x, 1, (llrt_value){value_of(b, x)->rows, n_head, width});
    if (op) op->u.slice.begin = begin;
    return out_of(op);
}

uint32_t llrti_build_concat(llrti_builder *b, const uint32_t *x, uint32_t n)
{
    uint64_t width = 0;
    if (!is_ready(b, LLRT_OP_CONCAT, x, n)) return LLRT_NONE;
    if (n < 1 || n > 6) return defect(b, LLRT_OP_CONCAT, "1 to 6 inputs"), LLRT_NONE;
    for (uint32_t i = 0; i < n; i++) {
        width += llrti_build_width(b, x[i]);
        if (value_of(b, x[i])->rows != value_of(b, x[0])->rows)
            return defect(b, LLRT_OP_CONCAT, "rows differ"), LLRT_NONE;
    }
    if (width > UINT32_MAX) return defect(b, LLRT_OP_CONCAT, "too wide"), LLRT_NONE;
    return out_of(
        emit(b, LLRT_OP_CONCAT, x, n, (llrt_value){value_of(b, x[0])->rows, 1, (uint32_t)width}));
}

/* Operators on one or two values of the same shape, whose shape the result has. */
static llrt_op *emit_elementwise(llrti_builder *b, llrt_op_kind kind, uint32_t x, uint32_t y,
                                 uint32_t n_in)
{
    const uint32_t in[2] = {x, y};
    if (!is_ready(b, kind, in, n_in)) return NULL;
    const llrt_value *const a = value_of(b, x), *const c = value_of(b, n_in == 2 ? y : x);
    if (a->rows != c->rows || llrti_build_width(b, x) != (uint64_t)c->n_head * c->width) {
        defect(b, kind, "shapes differ");
        return NULL;
    }
    return emit(b, kind, in, n_in, *a);
}

uint32_t llrti_build_add(llrti_builder *b, uint32_t x, uint32_t y)
{
    return out_of(emit_elementwise(b, LLRT_OP_ADD, x, y, 2));
}

uint32_t llrti_build_mul(llrti_builder *b, uint32_t x, uint32_t y)
{
    return out_of(emit_elementwise(b, LLRT_OP_MUL, x, y, 2));
}

uint32_t llrti_build_sigmoid_gate(llrti_builder *b, uint32_t x, uint32_t gate)
{
    return out_of(emit_elementwise(b, LLRT_OP_SIGMOID_GATE, x, gate, 2));
}

uint32_t llrti_build_scale(llrti_builder *b, uint32_t x, float factor)
{
    llrt_op *const op = emit_elementwise(b, LLRT_OP_SCALE, x, x, 1);
    if (op) op->u.scale.factor = factor;
    return out_of(op);
}

uint32_t llrti_build_soft_cap(llrti_builder *b, uint32_t x, float cap)
{
    llrt_op *const op = emit_elementwise(b, LLRT_OP_SOFT_CAP, x, x, 1);
    if (op) op->u.scale.factor = cap;
    return out_of(op);
}

uint32_t llrti_build_rms_norm(llrti_builder *b, uint32_t x, uint32_t weight, float eps,
                              float weight_offset)
{
    if (!is_ready(b, LLRT_OP_RMS_NORM, &x, 1) ||
        !is_weight(b, LLRT_OP_RMS_NORM, weight, value_of(b, x)->width, 1))
        return LLRT_NONE;
    llrt_op *const op = emit_elementwise(b, LLRT_OP_RMS_NORM, x, x, 1);
    if (!op) return LLRT_NONE;
    op->weight[0] = weight;
    op->u.norm.eps = eps;
    op->u.norm.weight_offset = weight_offset;
    return op->out;
}

uint32_t llrti_build_layer_norm(llrti_builder *b, uint32_t x, uint32_t weight, uint32_t bias,
                                float eps)
{
    if (!is_ready(b, LLRT_OP_LAYER_NORM, &x, 1) ||
        !is_weight(b, LLRT_OP_LAYER_NORM, weight, value_of(b, x)->width, 1) ||
        !is_weight(b, LLRT_OP_LAYER_NORM, bias, value_of(b, x)->width, 1))
        return LLRT_NONE;
    llrt_op *const op = emit_elementwise(b, LLRT_OP_LAYER_NORM, x, x, 1);
    if (!op) return LLRT_NONE;
    op->weight[0] = weight;
    op->weight[1] = bias;
    op->u.norm.eps = eps;
    return op->out;
}

static llrt_op *emit_product(llrti_builder *b, llrt_op_kind kind, uint32_t x, uint32_t weight,
                             uint32_t bias, llrt_value out)
{
    const uint64_t d_out = (uint64_t)out.n_head * out.width;
    if (!is_ready(b, kind, &x, 1)) return NULL;
    if (weight == LLRT_NONE) return defect(b, kind, "no weight"), NULL;
    if (!is_weight(b, kind, weight, llrti_build_width(b, x), d_out) ||
        !is_weight(b, kind, bias, d_out, 1))
        return NULL;
    out.rows = value_of(b, x)->rows;
    llrt_op *const op = emit(b, kind, &x, 1, out);
    if (!op) return NULL;
    op->weight[0] = weight;
    op->weight[1] = bias;
    return op;
}

uint32_t llrti_build_linear(llrti_builder *b, uint32_t x, uint32_t weight, uint32_t bias,
                            uint32_t n_head, uint32_t width)
{
    return out_of(emit_product(b, LLRT_OP_LINEAR, x, weight, bias,
                               (llrt_value){LLRT_ROWS_TOKEN, n_head, width}));
}

uint32_t llrti_build_rope(llrti_builder *b, uint32_t x, const llrti_rope *rope)
{
    if (!is_ready(b, LLRT_OP_ROPE, &x, 1)) return LLRT_NONE;
    if (!rope->inv_freq || rope->n_rot % 2 || rope->n_rot > value_of(b, x)->width ||
        value_of(b, x)->rows != LLRT_ROWS_TOKEN)
        return defect(b, LLRT_OP_ROPE, "rotated elements"), LLRT_NONE;
    llrt_op *const op = emit_elementwise(b, LLRT_OP_ROPE, x, x, 1);
    if (!op) return LLRT_NONE;
    op->u.rope.pairs = rope->pairs;
    op->u.rope.n_rot = rope->n_rot;
    op->u.rope.magnitude = rope->magnitude;
    op->u.rope.inv_freq = rope->inv_freq;
    return op->out;
}

uint32_t llrti_build_attention(llrti_builder *b, uint32_t q, uint32_t k, uint32_t v,
                               const llrti_attention *how)
{
    const uint32_t in[3] = {q, k, v};
    if (!is_ready(b, LLRT_OP_ATTENTION, in, 3)) return LLRT_NONE;
    const llrt_value vq = *value_of(b, q), vk = *value_of(b, k), vv = *value_of(b, v);
    if (vq.width != vk.width || vk.n_head != vv.n_head || vq.n_head % vk.n_head ||
        vq.rows != LLRT_ROWS_TOKEN || vk.rows != LLRT_ROWS_TOKEN || vv.rows != LLRT_ROWS_TOKEN)
        return defect(b, LLRT_OP_ATTENTION, "shapes of q, k and v"), LLRT_NONE;
    if (!llrti_vec_reserve(b->mem, &b->kv, b->kv.n + 1, LLRT_MEMORY_HOST)) {
        fail_nomem(b, "kv list", sizeof *b->kv.data);
        return LLRT_NONE;
    }
    llrt_op *const op =
        emit(b, LLRT_OP_ATTENTION, in, 3, (llrt_value){LLRT_ROWS_TOKEN, vq.n_head, vv.width});
    if (!op) return LLRT_NONE;
    op->u.attention.kv = (uint32_t)b->kv.n;
    op->u.attention.mask = LLRT_MASK_CAUSAL;
    op->u.attention.scale = how->scale != 0 ? how->scale : (float)(1.0 / sqrt((double)vk.width));
    op->u.attention.soft_cap = how->soft_cap;
    op->u.attention.window = how->window;
    b->kv.data[b->kv.n++] = (llrt_kv_desc){vk.n_head, vk.width, vv.width, b->layer};
    return op->out;
}

uint32_t llrti_build_glu(llrti_builder *b, uint32_t gate, uint32_t up, llrt_activation act)
{
    llrt_op *const op = emit_elementwise(b, LLRT_OP_GLU, gate, up, 2);
    if (op) op->u.act.act = act;
    return out_of(op);
}

uint32_t llrti_build_activate(llrti_builder *b, uint32_t x, llrt_activation act)
{
    llrt_op *const op = emit_elementwise(b, LLRT_OP_ACTIVATE, x, x, 1);
    if (op) op->u.act.act = act;
    return out_of(op);
}

uint32_t llrti_build_head(llrti_builder *b, uint32_t hidden, uint32_t weight, uint32_t bias)
{
    const llrt_value out = {LLRT_ROWS_OUT, 1, llrti_build_rows_of(b, weight)};
    llrt_op *const op = emit_product(b, LLRT_OP_HEAD, hidden, weight, bias, out);
    if (!op) return LLRT_NONE;
    if (b->value.data[op->out].rows != LLRT_ROWS_OUT)
        return defect(b, LLRT_OP_HEAD, "gather the wanted rows first"), LLRT_NONE;
    b->model->logits = op->out;
    b->model->hidden = hidden;
    return op->out;
}
