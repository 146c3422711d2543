/* SPDX-License-Identifier: MIT */
/* Plans; see quant_plan.h. */
#include "quant_plan.h"

#include <string.h>

#include "error.h"
#include "hparams.h"
#include "quant_convert.h"
#include "text.h"

#define DEFAULT_ALIGNMENT 32

void llrti_quant_plan_init(llrti_quant_plan *plan, llrti_mem *mem)
{
    memset(plan, 0, sizeof *plan);
    plan->mem = mem;
    plan->alignment = DEFAULT_ALIGNMENT;
    llrti_arena_init(&plan->arena, mem, LLRT_MEMORY_HOST);
    llrti_quant_meta_init(&plan->meta, mem);
}

void llrti_quant_plan_free(llrti_quant_plan *plan)
{
    llrti_vec_free(plan->mem, &plan->tensor);
    llrti_vec_free(plan->mem, &plan->item);
    llrti_model_free(plan->model);
    llrti_quant_meta_free(&plan->meta);
    llrti_arena_free(&plan->arena);
}

llrt_status llrti_quant_plan_add(llrti_quant_plan *plan, const llrti_tensor *tensor,
                                 llrti_quant_item **item, llrt_error *err)
{
    const size_t n = plan->tensor.n + 1;
    *item = NULL;
    if (!llrti_vec_reserve(plan->mem, &plan->tensor, n, LLRT_MEMORY_HOST) ||
        !llrti_vec_reserve(plan->mem, &plan->item, n, LLRT_MEMORY_HOST))
        return llrti_fail_nomem(err, "the list of tensors", n * sizeof *tensor);
    plan->tensor.data[plan->tensor.n++] = *tensor;
    *item = &plan->item.data[plan->item.n++];
    memset(*item, 0, sizeof **item);
    return LLRT_OK;
}

/* ---- from a GGUF ---- */

/* Says how the input lay in files or was made; not true of the result. */
static bool is_dropped(const char *key)
{
    static const char *const prefixes[] = {"split.", "llrt.quantize.", "quantize.imatrix."};
    for (size_t i = 0; i < LLRTI_COUNT(prefixes); i++)
        if (strncmp(key, prefixes[i], strlen(prefixes[i])) == 0) return true;
    return false;
}

const llrti_model_weight *llrti_quant_plan_whole(llrti_quant_plan *plan, const llrti_tensor *tensor)
{
    llrti_model_weight *const w = llrti_arena_alloc(&plan->arena, sizeof *w, 16);
    if (!w) return NULL;
    *w = (llrti_model_weight){.tensor = tensor, .row_step = 1, .col_step = 1};
    w->desc =
        (llrt_tensor_desc){.name = tensor->name, .type = tensor->type, .n_dim = tensor->n_dim};
    memcpy(w->desc.dim, tensor->dim, sizeof w->desc.dim);
    w->slice_rows = w->slice_step = tensor->dim[1] * tensor->dim[2] * tensor->dim[3];
    w->row_elements = tensor->dim[0];
    return w;
}

static llrt_status copy_gguf(const llrti_model_file *file, llrti_quant_plan *plan, llrt_error *err)
{
    const uint32_t n_meta = llrti_model_file_n_meta(file);
    for (uint32_t i = 0; i < n_meta; i++) {
        const llrti_meta *const meta = llrti_model_file_meta(file, i);
        if (!is_dropped(meta->key)) llrti_quant_meta_add(&plan->meta, meta);
    }
    if (plan->meta.is_short) return llrti_fail_nomem(err, "metadata", sizeof(llrti_meta));
    const llrti_meta *const alignment = llrti_model_file_find_meta(file, "general.alignment");
    if (alignment) plan->alignment = (uint32_t)alignment->value.u; /* the reader has checked it */
    const uint32_t n_tensor = llrti_model_file_n_tensor(file);
    for (uint32_t i = 0; i < n_tensor; i++) {
        const llrti_tensor *const tensor = llrti_model_file_tensor(file, i);
        llrti_quant_item *item;
        LLRTI_TRY(llrti_quant_plan_add(plan, tensor, &item, err));
        item->weight = llrti_quant_plan_whole(plan, tensor);
        if (!item->weight) return llrti_fail_nomem(err, "a tensor", sizeof *item->weight);
    }
    return LLRT_OK;
}

/* ---- either ---- */

static llrt_status read_shape(const llrti_model_file *file, llrti_quant_plan *plan, llrt_error *err)
{
    static const llrti_hparam n_expert = {"expert_count",
                                          "num_local_experts|num_experts|n_routed_experts", 0, 1e6};
    llrti_hparams hp;
    LLRTI_TRY(llrti_hparams_init(&hp, file, err));
    llrti_text_format(plan->architecture, sizeof plan->architecture, "%s", hp.architecture);
    plan->shape.architecture = plan->architecture;
    plan->shape.n_layer = llrti_hparams_u32_or(&hp, LLRTI_HP(N_LAYER), 0);
    plan->shape.n_head = llrti_hparams_u32_layer(&hp, LLRTI_HP(N_HEAD), 0, 0);
    plan->shape.n_kv_head =
        llrti_hparams_u32_layer(&hp, LLRTI_HP(N_KV_HEAD), 0, plan->shape.n_head);
    plan->shape.n_expert = llrti_hparams_u32_or(&hp, &n_expert, 0);
    return hp.status;
}

llrt_status llrti_quant_plan_make(llrti_mem *mem, const llrti_model_file *file,
                                  llrti_quant_plan *plan, llrt_error *err)
{
    LLRTI_TRY(read_shape(file, plan, err));
    if (llrti_model_file_kind(file) == LLRTI_FILE_GGUF) return copy_gguf(file, plan, err);
    return llrti_quant_convert(mem, file, plan, err);
}
