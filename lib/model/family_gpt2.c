/* SPDX-License-Identifier: MIT */
/*
 * GPT-2: learned positions, layer norms, one product for q, k and v, a plain feed-forward part.
 * Its checkpoints hold matrices as (d_in rows of d_out); GGUF files have them turned round
 * already. The head is the embedding unless the file has one of its own.
 */
#include <math.h>

#include "decoder.h"
#include "families.h"

static const llrti_name name_embed = {"token_embd", "wte"};
static const llrti_name name_position = {"position_embd", "wpe"};
static const llrti_name name_norm = {"output_norm", "ln_f"};
static const llrti_name name_head = {"output", "/lm_head"};
static const llrti_name name_attn_norm = {"blk.#.attn_norm", "h.#.ln_1"};
static const llrti_name name_qkv = {"blk.#.attn_qkv", "h.#.attn.c_attn"};
static const llrti_name name_attn_out = {"blk.#.attn_output", "h.#.attn.c_proj"};
static const llrti_name name_ffn_norm = {"blk.#.ffn_norm", "h.#.ln_2"};
static const llrti_name name_up = {"blk.#.ffn_up", "h.#.mlp.c_fc"};
static const llrti_name name_down = {"blk.#.ffn_down", "h.#.mlp.c_proj"};

static const llrti_hparam scale_weights = {NULL, "scale_attn_weights", 0, 0};
static const llrti_hparam scale_by_layer = {NULL, "scale_attn_by_inverse_layer_idx", 0, 0};

static uint32_t normalise(llrti_builder *b, uint32_t x, const llrti_name *name, float eps)
{
    const uint32_t n = llrti_build_width(b, x);
    const uint32_t weight = llrti_build_vector(b, name, ".weight", n, 0);
    return llrti_build_layer_norm(b, x, weight, llrti_build_vector(b, name, ".bias", n, 0), eps);
}

static uint32_t project(llrti_builder *b, uint32_t x, const llrti_name *name, uint32_t d_out)
{
    const uint32_t weight =
        llrti_build_matrix(b, name, llrti_build_width(b, x), d_out, LLRTI_WEIGHT_HF_IN_OUT);
    return llrti_build_linear(b, x, weight, llrti_build_vector(b, name, ".bias", d_out, 0), 1,
                              d_out);
}

static void read_sizes(llrti_builder *b)
{
    llrti_hparams *const hp = &b->hp;
    llrti_model *const m = b->model;
    llrti_decoder_refuse(b);
    m->n_layer = llrti_hparams_u32(hp, LLRTI_HP(N_LAYER));
    m->d_model = llrti_hparams_u32(hp, LLRTI_HP(D_MODEL));
    m->n_head = m->n_kv_head = llrti_hparams_u32(hp, LLRTI_HP(N_HEAD));
    m->d_ff = llrti_hparams_u32_or(hp, LLRTI_HP(D_FF), 4 * m->d_model);
    m->head_dim = m->d_model / m->n_head;
    if (m->d_model % m->n_head)
        llrti_hparams_fail(hp, LLRT_ERR_FORMAT, LLRTI_HP(N_HEAD),
                           "found %u, expected a divisor of the embedding width %u",
                           (unsigned)m->n_head, (unsigned)m->d_model);
}

static uint32_t embed(llrti_builder *b)
{
    llrti_model *const m = b->model;
    const uint32_t n_vocab = b->hp.is_gguf ? 0 : llrti_hparams_u32(&b->hp, LLRTI_HP(N_VOCAB));
    const uint32_t n_position = b->hp.is_gguf ? 0 : llrti_hparams_u32(&b->hp, LLRTI_HP(N_CTX));
    const uint32_t tokens = llrti_build_matrix(b, &name_embed, m->d_model, n_vocab, 0);
    const uint32_t positions = llrti_build_matrix(b, &name_position, m->d_model, n_position, 0);
    m->n_vocab = llrti_build_rows_of(b, tokens);
    b->n_ctx_max = llrti_build_rows_of(b, positions);
    return llrti_build_position(b, llrti_build_embed(b, tokens, 1.0f), positions, 0);
}

void llrti_family_gpt2(llrti_builder *b)
{
    llrti_hparams *const hp = &b->hp;
    const llrti_model *const m = b->model;
    b->hf_prefix = "transformer.";
    read_sizes(b);
    const float eps = (float)llrti_hparams_f64_or(hp, LLRTI_HP(NORM_EPS), 1e-5);
    const llrt_activation act = llrti_decoder_activation(b, "gelu_new");
    const double scale =
        llrti_hparams_bool_or(hp, &scale_weights, true) ? 1.0 / sqrt((double)m->head_dim) : 1.0;
    const bool is_by_layer = llrti_hparams_bool_or(hp, &scale_by_layer, false);
    uint32_t x = embed(b);
    for (uint32_t i = 0; i < m->n_layer && llrti_build_ok(b); i++) {
        llrti_build_layer(b, i);
        const llrti_attention how = {.scale = (float)(is_by_layer ? scale / (i + 1.0) : scale)};
        const uint32_t qkv =
            project(b, normalise(b, x, &name_attn_norm, eps), &name_qkv, 3 * m->d_model);
        const uint32_t q = llrti_build_slice(b, qkv, 0, m->n_head, m->head_dim);
        const uint32_t k = llrti_build_slice(b, qkv, m->d_model, m->n_head, m->head_dim);
        const uint32_t v = llrti_build_slice(b, qkv, 2 * m->d_model, m->n_head, m->head_dim);
        const uint32_t attended = llrti_build_attention(b, q, k, v, &how);
        x = llrti_build_add(b, x, project(b, attended, &name_attn_out, m->d_model));
        const uint32_t up = project(b, normalise(b, x, &name_ffn_norm, eps), &name_up, m->d_ff);
        x = llrti_build_add(b, x,
                            project(b, llrti_build_activate(b, up, act), &name_down, m->d_model));
        llrti_build_layer_output(b, x);
    }
    const uint32_t hidden = normalise(b, llrti_build_gather(b, x), &name_norm, eps);
    const bool has_head = llrti_build_has(b, &name_head, ".weight");
    const bool is_tied = hp->is_gguf ? !has_head : llrti_hparams_bool_or(hp, LLRTI_HP(TIED), true);
    const uint32_t head =
        llrti_build_matrix(b, is_tied ? &name_embed : &name_head, m->d_model, m->n_vocab, 0);
    llrti_build_head(b, hidden, head, LLRT_NONE);
}
