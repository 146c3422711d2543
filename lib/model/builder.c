/* SPDX-License-Identifier: MIT */
/*
 * Binding weights: they are looked up in the file, checked, and land in a growing array. See
 * builder.h for the rules of failures; operators are in builder_ops.c.
 *
 * A weight is bound once, whoever asks for it: by_name maps the name of a tensor to the first
 * weight made of it, so a tied embedding is one weight with two users, and what is made of the
 * same tensor in another way is found by comparing. Array sizes follow what the file was seen to
 * contain, since no operator of a layer is added after a tensor of that layer was missing.
 */
#include "builder.h"

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

/* What is looked for: a name of one kind of file, and the number that '@' stands for. */
typedef struct wanted {
    const char *base, *suffix;
    uint32_t number;
} wanted;

/*
 * "prefix" + name + suffix with '#' replaced, and '@' unless its number is LLRT_NONE. False when it
 * does not fit.
 */
static bool expand(const llrti_builder *b, const char *prefix, const wanted *w, char *out)
{
    llrti_text text;
    llrti_text_init(&text, out, NAME_SIZE);
    llrti_text_add(&text, prefix);
    for (const char *p = w->base; *p; p++) {
        if (*p == '#')
            llrti_text_add_format(&text, "%u", (unsigned)b->layer);
        else if (*p == '@' && w->number != LLRT_NONE)
            llrti_text_add_format(&text, "%u", (unsigned)w->number);
        else
            llrti_text_add_n(&text, p, 1);
    }
    llrti_text_add(&text, w->suffix);
    return !text.is_cut;
}

/* The tensor, or NULL; `out` is the name it has or should have. */
static const llrti_tensor *find_tensor(const llrti_builder *b, const llrti_name *name,
                                       const char *suffix, uint32_t number, char out[NAME_SIZE])
{
    const char *const base = b->hp.is_gguf ? name->gguf : name->hf;
    out[0] = '\0';
    if (!base) return NULL;
    const bool is_rooted = base[0] == '/';
    const wanted w = {base + is_rooted, suffix, number};
    if (!expand(b, "", &w, out)) return NULL;
    const llrti_tensor *const tensor = llrti_model_file_find_tensor(b->hp.file, out);
    if (tensor || is_rooted || b->hp.is_gguf || !b->hf_prefix[0]) return tensor;
    if (!expand(b, b->hf_prefix, &w, out)) return NULL;
    return llrti_model_file_find_tensor(b->hp.file, out);
}

bool llrti_build_has(llrti_builder *b, const llrti_name *name, const char *suffix)
{
    char full[NAME_SIZE];
    return find_tensor(b, name, suffix, 0, full) != NULL;
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

/* The dimensions without those of 1 (but for the first), as files squeeze them away or not. */
static void squeeze(const llrti_tensor *tensor, uint64_t dim[4])
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < LLRTI_MIN(tensor->n_dim, 4u); i++)
        if (tensor->dim[i] != 1) dim[n++] = tensor->dim[i];
    while (n < 4) dim[n++] = 1;
}

/* dim[] is what is expected, in the file's order; 0 stands for any size. */
static bool check_shape(llrti_builder *b, const llrti_tensor *tensor, const uint64_t *dim,
                        uint32_t n_dim, llrti_weight_flags flags)
{
    bool is_same = true;
    uint64_t has[4];
    for (uint32_t i = 0; i < 4; i++) has[i] = i < tensor->n_dim ? tensor->dim[i] : 1;
    if (flags & LLRTI_WEIGHT_SQUEEZED) squeeze(tensor, has);
    for (uint32_t i = 0; i < 4; i++) {
        const uint64_t found = has[i];
        if (i < n_dim ? (dim[i] ? found != dim[i] : found == 0 || found > UINT32_MAX) : found != 1)
            is_same = false;
    }
    if (is_same) return true;
    char found[96], expected[96];
    describe_shape(tensor->dim, LLRTI_MIN(tensor->n_dim, 4u), found, sizeof found);
    describe_shape(dim, n_dim, expected, sizeof expected);
    llrti_build_fail(b, LLRT_ERR_FORMAT, tensor->name,
                     "tensor '%s': found shape %s, expected %s (row length first)", tensor->name,
                     found, expected);
    return false;
}

static bool check_type(llrti_builder *b, const llrti_tensor *tensor, bool is_plain,
                       const char *where)
{
    if (is_plain ? is_plain_type(tensor->type) : is_matrix_type(tensor->type)) return true;
    llrti_build_fail(b, LLRT_ERR_UNSUPPORTED, tensor->name,
                     "tensor '%s': element type %s is not supported%s", tensor->name,
                     llrti_type_name(tensor->type), where);
    return false;
}

/* Made of the same bytes in the same way. */
static bool is_same_weight(const llrti_model_weight *a, const llrti_model_weight *c)
{
    if (a->tensor != c->tensor || a->scales != c->scales || a->n_part != c->n_part ||
        a->is_transposed != c->is_transposed || a->slice_rows != c->slice_rows ||
        a->slice_step != c->slice_step || a->row_begin != c->row_begin ||
        a->row_step != c->row_step || a->col_begin != c->col_begin || a->col_step != c->col_step ||
        a->row_elements != c->row_elements)
        return false;
    for (uint32_t i = 0; i < 4; i++)
        if (a->desc.dim[i] != c->desc.dim[i]) return false;
    return true;
}

/* Marks the tensor as used by the weight at `index`. */
static bool mark_used(llrti_builder *b, const llrti_tensor *tensor, uint32_t index)
{
    const size_t n = strlen(tensor->name);
    if (llrti_map_get(&b->by_name, tensor->name, n) != LLRTI_MAP_NONE ||
        llrti_map_put(&b->by_name, tensor->name, n, index, NULL) >= 0)
        return true;
    fail_nomem(b, "weight table", sizeof *b->weight.data);
    return false;
}

/* A name in the arena; stays NULL when there is none, or it stands for many tensors. */
static bool keep_name(llrti_builder *b, const char *prefix, const char *base, const char *suffix,
                      const char **out)
{
    char full[NAME_SIZE];
    if (!base || strchr(base, '@') || !expand(b, prefix, &(wanted){base, suffix, 0}, full))
        return true;
    *out = llrti_arena_strndup(b->arena, full, strlen(full));
    if (!*out) fail_nomem(b, "tensor name", strlen(full));
    return *out != NULL;
}

/* The names that either kind of file has for it. */
static bool set_names(llrti_builder *b, llrti_model_weight *w, const llrti_name *name,
                      const char *suffix)
{
    const bool is_rooted = name->hf && name->hf[0] == '/';
    return keep_name(b, "", name->gguf, suffix, &w->gguf_name) &&
           keep_name(b, is_rooted ? "" : b->hf_prefix, is_rooted ? name->hf + 1 : name->hf, suffix,
                     &w->hf_name);
}

void llrti_build_arranged(llrti_builder *b, uint32_t weight, uint32_t n_permuted_head,
                          bool is_rearranged)
{
    if (b->hp.status < 0 || weight >= b->weight.n) return;
    b->weight.data[weight].n_permuted_head = n_permuted_head;
    b->weight.data[weight].is_rearranged = is_rearranged;
}

void llrti_build_gguf_form(llrti_builder *b, uint32_t weight, const llrti_gguf_form *form)
{
    if (b->hp.status < 0 || !b->hp.facts || weight >= b->weight.n) return;
    llrti_gguf_form *const copy = llrti_arena_alloc(b->arena, sizeof *copy, sizeof(void *));
    if (!copy) {
        fail_nomem(b, "form of a weight", sizeof *copy);
        return;
    }
    *copy = *form;
    b->weight.data[weight].form = copy;
}

uint32_t *llrti_build_order(llrti_builder *b, uint32_t n)
{
    if (b->hp.status < 0 || !b->hp.facts) return NULL;
    size_t n_byte = 0;
    uint32_t *const order = llrti_mul_size(n, sizeof *order, &n_byte)
                                ? llrti_arena_alloc(b->arena, n_byte, sizeof *order)
                                : NULL;
    if (!order) fail_nomem(b, "order of rows", n_byte);
    return order;
}

/* Adds the weight, or finds it when it has been added before. */
static uint32_t bind(llrti_builder *b, const llrti_model_weight *weight, const llrti_name *name,
                     const char *suffix)
{
    llrti_model_weight w = *weight;
    if (b->hp.status < 0) return LLRT_NONE;
    const uint32_t first = llrti_map_get(&b->by_name, w.tensor->name, strlen(w.tensor->name));
    for (size_t i = first; first != LLRTI_MAP_NONE && i < b->weight.n; i++)
        if (is_same_weight(&b->weight.data[i], &w)) return (uint32_t)i;
    if (!w.desc.name) w.desc.name = w.tensor->name;
    w.desc.type = w.scales ? LLRT_TYPE_MXFP4 : w.tensor->type;
    if (!set_names(b, &w, name, suffix)) return LLRT_NONE;
    if (!llrti_vec_reserve(b->mem, &b->weight, b->weight.n + 1, LLRT_MEMORY_HOST)) {
        fail_nomem(b, "weight table", sizeof *b->weight.data);
        return LLRT_NONE;
    }
    const uint32_t index = (uint32_t)b->weight.n;
    for (uint32_t i = 0; i < w.n_part; i++)
        if (!mark_used(b, w.part[i], index)) return LLRT_NONE;
    if (!mark_used(b, w.tensor, index) || (w.scales && !mark_used(b, w.scales, index)))
        return LLRT_NONE;
    b->weight.data[b->weight.n++] = w;
    return index;
}

/* A weight that is one tensor as it stands, of these dimensions. */
static llrti_model_weight whole_tensor(const llrti_tensor *tensor, uint32_t n_dim, uint64_t d0,
                                       uint64_t d1, uint64_t d2)
{
    llrti_model_weight w = {.tensor = tensor, .row_step = 1, .col_step = 1};
    w.desc.n_dim = n_dim;
    w.desc.dim[0] = d0;
    w.desc.dim[1] = d1;
    w.desc.dim[2] = d2;
    w.desc.dim[3] = 1;
    w.slice_rows = w.slice_step = d1 * d2;
    w.row_elements = d0;
    return w;
}

static const char *suffix_of(const char *suffix, llrti_weight_flags flags)
{
    return flags & LLRTI_WEIGHT_PLAIN ? "" : suffix;
}

static const llrti_tensor *need_tensor(llrti_builder *b, const llrti_name *name, const char *suffix,
                                       uint32_t number, const char *what, llrti_weight_flags flags)
{
    char full[NAME_SIZE];
    if (b->hp.status < 0) return NULL;
    const llrti_tensor *const tensor = find_tensor(b, name, suffix_of(suffix, flags), number, full);
    if (!tensor && !(flags & LLRTI_WEIGHT_OPTIONAL))
        llrti_build_fail(b, LLRT_ERR_FORMAT, full, "tensor '%s' is missing, expected a %s", full,
                         what);
    return tensor;
}

static bool is_transposed_here(const llrti_builder *b, llrti_weight_flags flags)
{
    return (flags & LLRTI_WEIGHT_TRANSPOSED) ||
           ((flags & LLRTI_WEIGHT_HF_IN_OUT) && !b->hp.is_gguf);
}

uint32_t llrti_build_matrix(llrti_builder *b, const llrti_name *name, uint32_t d_in, uint32_t d_out,
                            llrti_weight_flags flags)
{
    char what[96];
    const bool is_transposed = is_transposed_here(b, flags);
    llrti_text_format(what, sizeof what, d_out ? "matrix of %u x %u" : "matrix with rows of %u",
                      (unsigned)d_in, (unsigned)d_out);
    const llrti_tensor *const tensor = need_tensor(b, name, ".weight", 0, what, flags);
    if (!tensor) return LLRT_NONE;
    const uint64_t dim[2] = {is_transposed ? d_out : d_in, is_transposed ? d_in : d_out};
    if (!check_shape(b, tensor, dim, 2, flags) ||
        !check_type(b, tensor, is_transposed, is_transposed ? " in a transposed matrix" : ""))
        return LLRT_NONE;
    uint64_t has[4];
    for (uint32_t i = 0; i < 4; i++) has[i] = i < tensor->n_dim ? tensor->dim[i] : 1;
    if (flags & LLRTI_WEIGHT_SQUEEZED) squeeze(tensor, has);
    llrti_model_weight w = whole_tensor(tensor, 2, has[is_transposed], has[!is_transposed], 1);
    w.is_transposed = is_transposed;
    w.slice_step = has[1];
    w.row_elements = has[0];
    return bind(b, &w, name, suffix_of(".weight", flags));
}

uint32_t llrti_build_vector(llrti_builder *b, const llrti_name *name, const char *suffix,
                            uint32_t n, llrti_weight_flags flags)
{
    char what[64];
    llrti_text_format(what, sizeof what, "vector of %u", (unsigned)n);
    const llrti_tensor *const tensor = need_tensor(b, name, suffix, 0, what, flags);
    if (!tensor) return LLRT_NONE;
    const uint64_t dim[1] = {n};
    if ((flags & LLRTI_WEIGHT_FLAT) && n && tensor->dim[0] && n % tensor->dim[0] == 0) {
        const uint64_t rest[2] = {tensor->dim[0], n / tensor->dim[0]};
        if (!check_shape(b, tensor, rest, 2, 0)) return LLRT_NONE;
    } else if (!check_shape(b, tensor, dim, 1, flags)) {
        return LLRT_NONE;
    }
    if (!is_plain_type(tensor->type)) {
        llrti_build_fail(b, LLRT_ERR_UNSUPPORTED, tensor->name,
                         "tensor '%s': found element type %s, expected F32, F16 or BF16",
                         tensor->name, llrti_type_name(tensor->type));
        return LLRT_NONE;
    }
    const llrti_model_weight w = whole_tensor(tensor, 1, n ? n : tensor->dim[0], 1, 1);
    return bind(b, &w, name, suffix_of(suffix, flags));
}

/* Whether the name stands for many tensors. */
static bool is_numbered(const llrti_builder *b, const llrti_name *name)
{
    const char *const base = b->hp.is_gguf ? name->gguf : name->hf;
    return base && strchr(base, '@');
}

/* The name of all parts together: '@' stays. */
static const char *name_parts(llrti_builder *b, const llrti_name *name, const char *suffix,
                              const llrti_tensor *first)
{
    const char *const base = b->hp.is_gguf ? name->gguf : name->hf;
    const bool is_rooted = base[0] == '/';
    const bool has_prefix = !b->hp.is_gguf && !is_rooted &&
                            strncmp(first->name, b->hf_prefix, strlen(b->hf_prefix)) == 0;
    const wanted w = {base + is_rooted, suffix, LLRT_NONE};
    char full[NAME_SIZE];
    if (!expand(b, has_prefix ? b->hf_prefix : "", &w, full)) return first->name;
    const char *const copy = llrti_arena_strndup(b->arena, full, strlen(full));
    if (!copy) fail_nomem(b, "tensor name", strlen(full));
    return copy;
}

/* Finds the further tensors of a numbered name; all must be as the first. */
static bool find_parts(llrti_builder *b, const llrti_name *name, const char *suffix, uint32_t n,
                       llrti_model_weight *w)
{
    const llrti_tensor **const part = llrti_arena_alloc(b->arena, n * sizeof *part, sizeof(void *));
    if (!part) {
        fail_nomem(b, "tensor list", n * sizeof *part);
        return false;
    }
    const llrti_tensor *const first = part[0] = w->tensor;
    for (uint32_t i = 1; i < n; i++) {
        part[i] = need_tensor(b, name, suffix, i, "tensor for each expert", 0);
        if (!part[i] || !check_shape(b, part[i], first->dim, LLRTI_MIN(first->n_dim, 4u), 0))
            return false;
        if (part[i]->type == first->type) continue;
        llrti_build_fail(b, LLRT_ERR_UNSUPPORTED, part[i]->name,
                         "tensor '%s': found element type %s, expected %s as in '%s'",
                         part[i]->name, llrti_type_name(part[i]->type),
                         llrti_type_name(first->type), first->name);
        return false;
    }
    w->part = n > 1 ? part : NULL;
    w->n_part = n > 1 ? n : 0;
    w->desc.name = name_parts(b, name, suffix, first);
    return b->hp.status >= 0;
}

/* The description of a family asks for what can't be in the tensor it describes. */
static bool is_part_sound(llrti_builder *b, const llrti_name *name, const llrti_part *p,
                          bool is_transposed)
{
    const uint64_t last = p->begin + (uint64_t)(p->d_out - 1) * p->step;
    if (p->n && p->d_in && p->d_out && p->step &&
        (is_transposed ? last < p->n_col && p->d_in <= p->n_row
                       : last < p->n_row && p->d_in == p->n_col))
        return true;
    llrti_build_fail(b, LLRT_ERR_INTERNAL, b->hp.architecture,
                     "the parts of '%s' reach beyond it (a defect of this architecture's "
                     "description)",
                     b->hp.is_gguf ? name->gguf : name->hf);
    return false;
}

/* Gives the weight the shape of the slices. */
static void shape_slices(llrti_model_weight *w, const llrti_part *p, llrti_weight_flags flags)
{
    const bool is_matrix = flags & LLRTI_WEIGHT_AS_MATRIX;
    w->desc.n_dim = is_matrix ? 2 : 3;
    w->desc.dim[0] = p->d_in;
    w->desc.dim[1] = is_matrix ? (uint64_t)p->d_out * p->n : p->d_out;
    w->desc.dim[2] = is_matrix ? 1 : p->n;
    w->desc.dim[3] = 1;
    w->slice_rows = p->d_out;
    w->slice_step = p->n_row;
    w->row_begin = p->begin;
    w->row_step = p->step;
    w->col_step = 1;
    w->row_elements = p->n_col;
}

uint32_t llrti_build_part(llrti_builder *b, const llrti_name *name, const llrti_part *p,
                          llrti_weight_flags flags)
{
    char what[96];
    const char *const suffix = suffix_of(".weight", flags);
    const bool is_transposed = is_transposed_here(b, flags), is_many = is_numbered(b, name);
    if (b->hp.status < 0 || !is_part_sound(b, name, p, is_transposed)) return LLRT_NONE;
    llrti_text_format(what, sizeof what, "tensor of %u x %u x %u", (unsigned)p->n_col,
                      (unsigned)p->n_row, is_many ? 1 : (unsigned)p->n);
    const llrti_tensor *const tensor = need_tensor(b, name, ".weight", 0, what, flags);
    if (!tensor) return LLRT_NONE;
    /* Slices of one tensor are a dimension of their own or not. */
    const uint64_t n = is_many ? 1 : p->n;
    const uint64_t flat[2] = {p->n_col, p->n_row * n}, deep[3] = {p->n_col, p->n_row, n};
    if (!(tensor->n_dim <= 2 ? check_shape(b, tensor, flat, 2, 0)
                             : check_shape(b, tensor, deep, 3, 0)) ||
        !check_type(b, tensor, is_transposed, is_transposed ? " in a transposed matrix" : ""))
        return LLRT_NONE;
    llrti_model_weight w = {.tensor = tensor, .is_transposed = is_transposed};
    shape_slices(&w, p, flags);
    if (is_many && !find_parts(b, name, suffix, p->n, &w)) return LLRT_NONE;
    if (!w.part && !is_transposed && p->n_row == p->d_out && p->step == 1)
        w.slice_rows = w.slice_step = (uint64_t)p->d_out * p->n; /* it is whole */
    return bind(b, &w, name, suffix);
}

uint32_t llrti_build_stack(llrti_builder *b, const llrti_name *name, uint32_t n, uint32_t d_in,
                           uint32_t d_out, llrti_weight_flags flags)
{
    const bool is_transposed = is_transposed_here(b, flags);
    const llrti_part part = {.n = n,
                             .d_in = d_in,
                             .d_out = d_out,
                             .step = 1,
                             .n_row = is_transposed ? d_in : d_out,
                             .n_col = is_transposed ? d_out : d_in};
    return llrti_build_part(b, name, &part, flags);
}

uint32_t llrti_build_biases(llrti_builder *b, const llrti_name *name, const llrti_part *p,
                            llrti_weight_flags flags)
{
    char what[96];
    const char *const suffix = suffix_of(".bias", flags);
    const bool is_many = is_numbered(b, name);
    const llrti_part turned = {.n = p->n,
                               .d_in = 1,
                               .d_out = p->d_out,
                               .begin = p->begin,
                               .step = p->step,
                               .n_row = 1,
                               .n_col = p->n_col};
    if (b->hp.status < 0 || !is_part_sound(b, name, &turned, true)) return LLRT_NONE;
    llrti_text_format(what, sizeof what, "tensor of %u x %u", (unsigned)p->n_col,
                      is_many ? 1 : (unsigned)p->n);
    const llrti_tensor *const tensor = need_tensor(b, name, ".bias", 0, what, flags);
    if (!tensor) return LLRT_NONE;
    const uint64_t dim[2] = {p->n_col, is_many ? 1 : p->n};
    if (!check_shape(b, tensor, dim, 2, 0) || !check_type(b, tensor, true, " in a bias"))
        return LLRT_NONE;
    llrti_model_weight w = whole_tensor(tensor, 2, p->d_out, p->n, 1);
    w.row_elements = p->n_col;
    w.col_begin = p->begin;
    w.col_step = p->step;
    if (is_many) w.slice_rows = w.slice_step = 1;
    if (is_many && !find_parts(b, name, suffix, p->n, &w)) return LLRT_NONE;
    return bind(b, &w, name, suffix);
}

uint32_t llrti_build_mxfp4(llrti_builder *b, const llrti_name *blocks, const llrti_name *scales,
                           const llrti_part *p)
{
    const uint32_t n_block = p->d_in / 32;
    if (b->hp.status < 0 || !is_part_sound(b, blocks, p, false)) return LLRT_NONE;
    const llrti_tensor *const block =
        need_tensor(b, blocks, "", 0, "tensor of MXFP4 blocks", LLRTI_WEIGHT_PLAIN);
    const llrti_tensor *const scale =
        need_tensor(b, scales, "", 0, "tensor with a scale for each block", LLRTI_WEIGHT_PLAIN);
    if (!block || !scale) return LLRT_NONE;
    const llrti_tensor *const both[2] = {block, scale};
    for (int i = 0; i < 2; i++) {
        if (both[i]->type == LLRTI_TYPE_U8) continue;
        llrti_build_fail(b, LLRT_ERR_UNSUPPORTED, both[i]->name,
                         "tensor '%s': found element type %s, expected U8", both[i]->name,
                         llrti_type_name(both[i]->type));
        return LLRT_NONE;
    }
    if (p->d_in % 32) {
        llrti_build_fail(b, LLRT_ERR_FORMAT, block->name,
                         "tensor '%s': found rows of %u elements, expected a multiple of 32",
                         block->name, (unsigned)p->d_in);
        return LLRT_NONE;
    }
    const uint64_t block_dim[4] = {16, n_block, p->n_row, p->n};
    if (!check_shape(b, block, block_dim, 4, 0) || !check_shape(b, scale, block_dim + 1, 3, 0))
        return LLRT_NONE;
    llrti_model_weight w = {.tensor = block, .scales = scale};
    shape_slices(&w, p, 0);
    return bind(b, &w, blocks, "");
}

uint32_t llrti_build_rows_of(const llrti_builder *b, uint32_t weight)
{
    if (b->hp.status < 0 || weight >= b->weight.n) return 1;
    return (uint32_t)b->weight.data[weight].desc.dim[1];
}
