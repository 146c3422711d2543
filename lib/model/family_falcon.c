/* SPDX-License-Identifier: MIT */
/*
 * Falcon: q, k and v in one matrix, both halves of a layer in parallel, layer norms. The newer
 * architecture ("new_decoder_architecture": 40B, 180B, 11B) has several kv heads, stored group by
 * group, and a norm for either half; the older one has one kv head (7B), or as many as query heads
 * and halves one after the other (1B). GGUF files hold all of q, then k, then v.
 */
#include <math.h>
#include <string.h>

#include "decoder.h"
#include "families.h"
#include "half.h"

static const llrti_hparam is_new = {NULL, "new_decoder_architecture", 0, 0};
static const llrti_hparam multi_query = {NULL, "multi_query", 0, 0};
static const llrti_hparam parallel = {NULL, "parallel_attn", 0, 0};
static const llrti_hparam n_norm = {NULL, "num_ln_in_parallel_attn", 1, 2};
static const llrti_hparam has_bias = {NULL, "bias", 0, 0};
static const llrti_hparam alibi = {NULL, "alibi", 0, 0};

/*
 * Positions by ALiBi in place of rotation. Scores are scaled with what ALiBi adds to them, and the
 * training code rounded the slopes to BF16.
 */
static void read_alibi(llrti_builder *b, llrti_decoder *d)
{
    if (!llrti_hparams_bool_or(&b->hp, &alibi, false)) return;
    float *const slope = llrti_decoder_alibi(b, d->n_head);
    if (!slope) return;
    for (uint32_t i = 0; i < d->n_head; i++)
        slope[i] =
            (float)(llrti_bf16_to_float(llrti_float_to_bf16(slope[i])) / sqrt((double)d->head_dim));
    d->slope = slope;
    memset(d->layer_rope, LLRTI_LAYER_ROPE_NONE, d->n_layer);
}

static const llrti_name second_norm = {"blk.#.attn_norm_2", NULL};

/* With two norms GGUF files call that of the attention the second. */
static void name_norms(llrti_decoder *d)
{
    d->name[LLRTI_DECODER_MLP_NORM].gguf = d->name[LLRTI_DECODER_ATTN_NORM].gguf;
    d->name[LLRTI_DECODER_ATTN_NORM].gguf = second_norm.gguf;
}

static void arrange_gguf(llrti_builder *b, llrti_decoder *d)
{
    d->qkv = LLRTI_QKV_JOINED;
    d->qkv_bias = d->out_bias = d->mlp_bias = LLRTI_BIAS_PRESENT;
    d->is_parallel = true;
    d->has_mlp_norm =
        llrti_build_has(b, &second_norm, ".weight") || llrti_build_has(b, &second_norm, ".bias");
    if (d->has_mlp_norm) name_norms(d);
}

static void arrange_folder(llrti_builder *b, llrti_decoder *d)
{
    llrti_hparams *const hp = &b->hp;
    const bool is_newer = llrti_hparams_bool_or(hp, &is_new, false);
    const bool is_parallel = llrti_hparams_bool_or(hp, &parallel, true);
    d->is_parallel = is_newer || is_parallel;
    d->has_mlp_norm =
        is_parallel ? is_newer && llrti_hparams_u32_or(hp, &n_norm, 2) == 2 : !is_newer;
    if (is_newer && !is_parallel)
        llrti_hparams_fail(hp, LLRT_ERR_UNSUPPORTED, &parallel,
                           "the new decoder architecture is supported with parallel parts only");
    if (d->is_parallel && d->has_mlp_norm) {
        d->name[LLRTI_DECODER_ATTN_NORM].hf = "h.#.ln_attn";
        d->name[LLRTI_DECODER_MLP_NORM].hf = "h.#.ln_mlp";
        name_norms(d);
    }
    if (llrti_hparams_bool_or(hp, &has_bias, false))
        d->qkv_bias = d->out_bias = d->mlp_bias = LLRTI_BIAS_REQUIRED;
    if (!is_newer) d->n_kv_head = llrti_hparams_bool_or(hp, &multi_query, true) ? 1 : d->n_head;
    b->model->n_kv_head = d->n_kv_head;
    llrti_facts_correct_u32(hp->facts, LLRTI_HP(N_KV_HEAD)->gguf, d->n_kv_head);
    d->qkv = LLRTI_QKV_GROUPED;
}

void llrti_family_falcon(llrti_builder *b)
{
    static const char *const names[LLRTI_DECODER_COUNT] = {
        [LLRTI_DECODER_EMBED] = "word_embeddings",
        [LLRTI_DECODER_NORM] = "ln_f",
        [LLRTI_DECODER_ATTN_NORM] = "h.#.input_layernorm",
        [LLRTI_DECODER_QKV] = "h.#.self_attention.query_key_value",
        [LLRTI_DECODER_ATTN_OUT] = "h.#.self_attention.dense",
        [LLRTI_DECODER_MLP_NORM] = "h.#.post_attention_layernorm",
        [LLRTI_DECODER_UP] = "h.#.mlp.dense_h_to_4h",
        [LLRTI_DECODER_DOWN] = "h.#.mlp.dense_4h_to_h",
    };
    static const llrti_decoder_defaults defaults = {.gguf_pairs = LLRT_ROPE_HALVES,
                                                    .hf_pairs = LLRT_ROPE_HALVES,
                                                    .is_layer_norm = true,
                                                    .norm_eps = 1e-5,
                                                    .act = "gelu",
                                                    .ff_factor = 4};
    llrti_decoder d;
    b->hf_prefix = "transformer.";
    llrti_decoder_read_as(b, &d, &defaults);
    if (!llrti_build_ok(b)) return;
    llrti_decoder_rename(&d, names);
    read_alibi(b, &d);
    d.is_tied = true;
    d.has_gate = false;
    if (b->hp.is_gguf)
        arrange_gguf(b, &d);
    else
        arrange_folder(b, &d);
    llrti_decoder_emit(b, &d);
}
