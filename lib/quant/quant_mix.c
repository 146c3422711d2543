/* SPDX-License-Identifier: MIT */
/*
 * The rules of the mixtures. A tensor's role comes from its GGUF name. Rules speak of "the i-th of
 * n" tensors of a role in layer order; for models with experts i is the layer, because there may be
 * several tensors of a role in a layer.
 */
#include "quant_mix.h"

#include <string.h>

#include "compiler.h"
#include "sort.h"
#include "text.h"
#include "types.h"

/* The rules go by general.file_type. */
enum {
    FILE_F32 = 0,
    FILE_F16 = 1,
    FILE_Q4_0 = 2,
    FILE_Q4_1 = 3,
    FILE_Q8_0 = 7,
    FILE_Q5_0 = 8,
    FILE_Q5_1 = 9,
    FILE_Q2_K = 10,
    FILE_Q3_K_S = 11,
    FILE_Q3_K_M = 12,
    FILE_Q3_K_L = 13,
    FILE_Q4_K_S = 14,
    FILE_Q4_K_M = 15,
    FILE_Q5_K_S = 16,
    FILE_Q5_K_M = 17,
    FILE_Q6_K = 18,
    FILE_Q2_K_S = 21,
    FILE_IQ4_NL = 25,
    FILE_IQ4_XS = 30,
    FILE_BF16 = 32,
    FILE_MXFP4_MOE = 38
};

/* clang-format off */
#define MIX_MAP(X)                                       \
    X("F32",       LLRTI_TYPE_F32,    FILE_F32)          \
    X("F16",       LLRTI_TYPE_F16,    FILE_F16)          \
    X("BF16",      LLRTI_TYPE_BF16,   FILE_BF16)         \
    X("Q8_0",      LLRTI_TYPE_Q8_0,   FILE_Q8_0)         \
    X("Q4_0",      LLRTI_TYPE_Q4_0,   FILE_Q4_0)         \
    X("Q4_1",      LLRTI_TYPE_Q4_1,   FILE_Q4_1)         \
    X("Q5_0",      LLRTI_TYPE_Q5_0,   FILE_Q5_0)         \
    X("Q5_1",      LLRTI_TYPE_Q5_1,   FILE_Q5_1)         \
    X("Q2_K",      LLRTI_TYPE_Q2_K,   FILE_Q2_K)         \
    X("Q2_K_S",    LLRTI_TYPE_Q2_K,   FILE_Q2_K_S)       \
    X("Q3_K",      LLRTI_TYPE_Q3_K,   FILE_Q3_K_M)       \
    X("Q3_K_S",    LLRTI_TYPE_Q3_K,   FILE_Q3_K_S)       \
    X("Q3_K_M",    LLRTI_TYPE_Q3_K,   FILE_Q3_K_M)       \
    X("Q3_K_L",    LLRTI_TYPE_Q3_K,   FILE_Q3_K_L)       \
    X("Q4_K",      LLRTI_TYPE_Q4_K,   FILE_Q4_K_M)       \
    X("Q4_K_S",    LLRTI_TYPE_Q4_K,   FILE_Q4_K_S)       \
    X("Q4_K_M",    LLRTI_TYPE_Q4_K,   FILE_Q4_K_M)       \
    X("Q5_K",      LLRTI_TYPE_Q5_K,   FILE_Q5_K_M)       \
    X("Q5_K_S",    LLRTI_TYPE_Q5_K,   FILE_Q5_K_S)       \
    X("Q5_K_M",    LLRTI_TYPE_Q5_K,   FILE_Q5_K_M)       \
    X("Q6_K",      LLRTI_TYPE_Q6_K,   FILE_Q6_K)         \
    X("IQ4_NL",    LLRTI_TYPE_IQ4_NL, FILE_IQ4_NL)       \
    X("IQ4_XS",    LLRTI_TYPE_IQ4_XS, FILE_IQ4_XS)       \
    X("MXFP4",     LLRTI_TYPE_MXFP4,  FILE_MXFP4_MOE)    \
    X("MXFP4_MOE", LLRTI_TYPE_MXFP4,  FILE_MXFP4_MOE)
/* clang-format on */

#define ENTRY(name, type, file_type) {name, type, file_type},
#define NAME(name, type, file_type) " " name

static const llrti_quant_mix mixes[] = {MIX_MAP(ENTRY)};

const char *llrti_quant_mix_names(void)
{
    return &(MIX_MAP(NAME))[1];
}

static char upper(char c)
{
    return c >= 'a' && c <= 'z' ? (char)(c - 'a' + 'A') : c;
}

const llrti_quant_mix *llrti_quant_mix_find(const char *name, size_t n)
{
    for (size_t i = 0; i < LLRTI_COUNT(mixes); i++) {
        size_t k = 0;
        while (k < n && mixes[i].name[k] && upper(name[k]) == mixes[i].name[k]) k++;
        if (k == n && !mixes[i].name[k]) return &mixes[i];
    }
    return NULL;
}

/* ---- roles ---- */

typedef enum role {
    ROLE_OTHER,
    ROLE_HEAD,
    ROLE_EMBED,
    ROLE_ATTN_V,
    ROLE_ATTN_K,
    ROLE_ATTN_QKV,
    ROLE_ATTN_OUT,
    ROLE_FFN_DOWN
} role;

static bool contains(const char *name, const char *part)
{
    return strstr(name, part) != NULL;
}

static bool ends_with(const char *name, const char *end)
{
    const size_t n = strlen(name), n_end = strlen(end);
    return n >= n_end && memcmp(name + n - n_end, end, n_end) == 0;
}

bool llrti_quant_mix_is_matrix(const llrti_tensor *tensor)
{
    static const char *const kept[] = {"_norm.weight",
                                       "ffn_gate_inp", /* norms, routers */
                                       "altup",
                                       "laurel", /* tiny, or not too large to be kept */
                                       "ssm_conv1d",
                                       "shortconv.conv.weight",
                                       "per_layer_model_proj",
                                       "attn_rel_b.weight"};
    const char *const name = tensor->name;
    if (tensor->n_dim < 2 || !ends_with(name, "weight")) return false;
    if (tensor->dim[1] * tensor->dim[2] * tensor->dim[3] <= 1) return false;
    if (strcmp(name, "position_embd.weight") == 0 || strcmp(name, "token_types.weight") == 0)
        return false;
    for (size_t i = 0; i < LLRTI_COUNT(kept); i++)
        if (contains(name, kept[i])) return false;
    return true;
}

static role role_of(const char *name, bool has_head)
{
    static const struct {
        const char *part;
        role role;
    } parts[] = {{"attn_v.weight", ROLE_ATTN_V},
                 {"attn_k.weight", ROLE_ATTN_K},
                 {"ffn_down", ROLE_FFN_DOWN},
                 {"attn_output.weight", ROLE_ATTN_OUT},
                 {"attn_qkv.weight", ROLE_ATTN_QKV}};
    if (strcmp(name, "output.weight") == 0) return ROLE_HEAD;
    /* The rows of a tied embedding are the head's. */
    if (strcmp(name, "token_embd.weight") == 0) return has_head ? ROLE_EMBED : ROLE_HEAD;
    if (strcmp(name, "per_layer_token_embd.weight") == 0) return ROLE_EMBED;
    for (size_t i = 0; i < LLRTI_COUNT(parts); i++)
        if (contains(name, parts[i].part)) return parts[i].role;
    return ROLE_OTHER;
}

/* The number in "blk.<number>.", or -1. */
static int64_t layer_of(const char *name)
{
    const char *digits = strncmp(name, "blk.", 4) == 0 ? name + 4 : NULL;
    size_t n = 0;
    uint64_t layer;
    while (digits && digits[n] >= '0' && digits[n] <= '9') n++;
    if (!digits || digits[n] != '.' || !llrti_text_parse_uint64(digits, n, &layer)) return -1;
    return layer <= INT32_MAX ? (int64_t)layer : -1;
}

/* ---- rules ---- */

/* A tensor as the rules see it: the at-th of n of its role. */
typedef struct place {
    role role;
    int64_t at, n;
    const llrti_tensor *tensor;
} place;

/* The first and last eighth of the layers and every third of those between. */
static bool is_favoured(int64_t at, int64_t n)
{
    return at < n / 8 || at >= 7 * n / 8 || (at - n / 8) % 3 == 2;
}

static uint32_t type_of_v(const llrti_quant_mix *mix, const llrti_quant_shape *shape,
                          const place *p)
{
    uint32_t type = mix->type;
    const uint32_t group = shape->n_kv_head ? shape->n_head / shape->n_kv_head : 0;
    switch (mix->file_type) {
    case FILE_Q2_K:
        type = group >= 4 ? LLRTI_TYPE_Q4_K : LLRTI_TYPE_Q3_K;
        break;
    case FILE_Q2_K_S:
        if (group >= 4) type = LLRTI_TYPE_Q4_K;
        break;
    case FILE_IQ4_NL:
    case FILE_IQ4_XS:
        if (group >= 4) type = LLRTI_TYPE_Q5_K;
        break;
    case FILE_Q3_K_M:
        type = p->at < 2 ? LLRTI_TYPE_Q5_K : LLRTI_TYPE_Q4_K;
        break;
    case FILE_Q3_K_L:
        type = LLRTI_TYPE_Q5_K;
        break;
    case FILE_Q4_K_M:
    case FILE_Q5_K_M:
        if (is_favoured(p->at, p->n)) type = LLRTI_TYPE_Q6_K;
        break;
    case FILE_Q4_K_S:
        if (p->at < 4) type = LLRTI_TYPE_Q5_K;
        break;
    default:
        break;
    }
    /* With 80 layers and shared heads these are small beside the rest. */
    if (shape->n_layer == 80 && group > 1 && (type == LLRTI_TYPE_Q3_K || type == LLRTI_TYPE_Q4_K))
        type = LLRTI_TYPE_Q5_K;
    return shape->n_expert == 8 ? LLRTI_TYPE_Q8_0 : type;
}

static uint32_t type_of_down(const llrti_quant_mix *mix, const llrti_quant_shape *shape,
                             const place *p)
{
    const bool is_falcon = strcmp(shape->architecture, "falcon") == 0;
    const bool is_early = p->at < p->n / 8;
    switch (mix->file_type) {
    case FILE_Q2_K:
        return LLRTI_TYPE_Q3_K;
    case FILE_Q2_K_S:
        return is_early ? LLRTI_TYPE_Q4_K : mix->type;
    case FILE_Q3_K_M:
        if (p->at < p->n / 16) return LLRTI_TYPE_Q5_K;
        return !is_falcon || is_favoured(p->at, p->n) ? LLRTI_TYPE_Q4_K : LLRTI_TYPE_Q3_K;
    case FILE_Q3_K_L:
        return is_falcon ? LLRTI_TYPE_Q4_K : LLRTI_TYPE_Q5_K;
    case FILE_Q4_K_M:
        if (is_falcon && p->at < p->n / 16) return LLRTI_TYPE_Q6_K;
        if (!is_favoured(p->at, p->n)) return LLRTI_TYPE_Q4_K;
        return is_falcon ? LLRTI_TYPE_Q5_K : LLRTI_TYPE_Q6_K;
    case FILE_IQ4_NL:
    case FILE_IQ4_XS:
        return is_early && !shape->has_importance ? LLRTI_TYPE_Q5_K : mix->type;
    case FILE_Q5_K_M:
        return is_favoured(p->at, p->n) ? LLRTI_TYPE_Q6_K : mix->type;
    case FILE_Q4_K_S:
        return is_early && !is_falcon ? LLRTI_TYPE_Q5_K : mix->type;
    case FILE_Q4_0:
        return is_early && shape->has_importance ? LLRTI_TYPE_Q4_1 : mix->type;
    case FILE_Q5_0:
        return is_early && shape->has_importance ? LLRTI_TYPE_Q5_1 : mix->type;
    default:
        return mix->type;
    }
}

static uint32_t type_of_attn_out(const llrti_quant_mix *mix, const llrti_quant_shape *shape)
{
    if (strcmp(shape->architecture, "falcon") == 0)
        return mix->file_type == FILE_Q3_K_L ? LLRTI_TYPE_Q4_K : mix->type;
    if (shape->n_expert == 8) {
        switch (mix->file_type) {
        case FILE_Q2_K:
        case FILE_Q3_K_S:
        case FILE_Q3_K_M:
        case FILE_IQ4_NL:
        case FILE_IQ4_XS:
        case FILE_Q4_K_S:
        case FILE_Q4_K_M:
            return LLRTI_TYPE_Q5_K;
        default:
            return mix->type;
        }
    }
    switch (mix->file_type) {
    case FILE_Q2_K:
        return LLRTI_TYPE_Q3_K;
    case FILE_Q3_K_M:
        return LLRTI_TYPE_Q4_K;
    case FILE_Q3_K_L:
        return LLRTI_TYPE_Q5_K;
    default:
        return mix->type;
    }
}

static uint32_t type_of_head(const llrti_quant_mix *mix, const llrti_quant_shape *shape,
                             const llrti_tensor *tensor)
{
    const llrti_type_info *const info = llrti_type_find(mix->type);
    if (strcmp(shape->architecture, "falcon") == 0 || !info || tensor->dim[0] % info->block ||
        mix->file_type == FILE_MXFP4_MOE || mix->type == LLRTI_TYPE_Q8_0)
        return LLRTI_TYPE_Q8_0;
    return LLRTI_TYPE_Q6_K;
}

static uint32_t type_of(const llrti_quant_mix *mix, const llrti_quant_shape *shape, const place *p)
{
    if (p->role == ROLE_HEAD) return type_of_head(mix, shape, p->tensor);
    if (strcmp(mix->name, "MXFP4_MOE") == 0) /* made for experts; the rest is small there */
        return p->tensor->dim[2] > 1 ? LLRTI_TYPE_MXFP4 : LLRTI_TYPE_Q8_0;
    switch (p->role) {
    case ROLE_ATTN_V:
        return type_of_v(mix, shape, p);
    case ROLE_ATTN_K:
        return shape->n_expert == 8 ? LLRTI_TYPE_Q8_0 : mix->type;
    case ROLE_FFN_DOWN:
        return type_of_down(mix, shape, p);
    case ROLE_ATTN_OUT:
        return type_of_attn_out(mix, shape);
    case ROLE_ATTN_QKV:
        if (mix->file_type == FILE_Q3_K_M || mix->file_type == FILE_Q3_K_L) return LLRTI_TYPE_Q4_K;
        if (mix->file_type == FILE_Q4_K_M) return LLRTI_TYPE_Q5_K;
        return mix->file_type == FILE_Q5_K_M ? LLRTI_TYPE_Q6_K : mix->type;
    default:
        return mix->type;
    }
}

uint32_t llrti_quant_mix_fit(uint32_t type, uint64_t n)
{
    const llrti_type_info *info = llrti_type_find(type);
    if (!info || n % info->block == 0) return type;
    switch (type) {
    case LLRTI_TYPE_Q2_K:
    case LLRTI_TYPE_Q3_K:
        type = LLRTI_TYPE_Q4_0;
        break;
    case LLRTI_TYPE_IQ4_XS:
        type = LLRTI_TYPE_IQ4_NL;
        break;
    case LLRTI_TYPE_Q4_K:
        type = LLRTI_TYPE_Q5_0;
        break;
    case LLRTI_TYPE_Q5_K:
        type = LLRTI_TYPE_Q5_1;
        break;
    case LLRTI_TYPE_Q6_K:
        type = LLRTI_TYPE_Q8_0;
        break;
    default:
        return LLRTI_TYPE_F16;
    }
    info = llrti_type_find(type);
    return info && n % info->block == 0 ? type : LLRTI_TYPE_F16;
}

/* ---- all tensors of a file ---- */

static int by_layer(const void *a, const void *b, void *ctx)
{
    const llrti_tensor *const tensor = ctx;
    const size_t i = *(const size_t *)a, k = *(const size_t *)b;
    const int64_t left = layer_of(tensor[i].name), right = layer_of(tensor[k].name);
    if (left != right) return left < right ? -1 : 1;
    return strcmp(tensor[i].name, tensor[k].name);
}

llrt_status llrti_quant_mix_choose(llrti_mem *mem, const llrti_quant_mix *mix,
                                   const llrti_quant_shape *shape, bool is_pure,
                                   const llrti_tensor *tensor, size_t n, uint32_t *type,
                                   llrt_error *err)
{
    const llrti_type_info *const info = llrti_type_find(mix->type);
    const bool has_rules = !is_pure && info && info->block > 1;
    size_t *const order = llrti_calloc(mem, n ? n : 1, sizeof *order, LLRT_MEMORY_HOST);
    if (!order) return llrti_fail_nomem(err, "the order of tensors", n * sizeof *order);
    bool has_head = false;
    int64_t n_v = 0;
    for (size_t i = 0; i < n; i++) {
        order[i] = i;
        has_head |= strcmp(tensor[i].name, "output.weight") == 0;
        n_v += contains(tensor[i].name, "attn_v.weight") ||
               contains(tensor[i].name, "attn_qkv.weight") ||
               contains(tensor[i].name, "attn_kv_b.weight");
    }
    llrti_sort(order, n, sizeof *order, by_layer, (void *)(uintptr_t)tensor);
    int64_t at_v = 0, at_down = 0;
    for (size_t k = 0; k < n; k++) {
        const size_t i = order[k];
        type[i] = tensor[i].type;
        if (!llrti_quant_mix_is_matrix(&tensor[i])) continue;
        place p = {role_of(tensor[i].name, has_head), 0, n_v, &tensor[i]};
        if (p.role == ROLE_ATTN_V) p.at = at_v++;
        if (p.role == ROLE_FFN_DOWN) {
            p.n = shape->n_layer;
            p.at = shape->n_expert > 1 ? layer_of(tensor[i].name) : at_down;
            at_down++;
        }
        type[i] =
            llrti_quant_mix_fit(has_rules ? type_of(mix, shape, &p) : mix->type, tensor[i].dim[0]);
    }
    llrti_free(mem, order);
    return LLRT_OK;
}
