/* SPDX-License-Identifier: MIT */
/*
 * BERT, RoBERTa and XLM-RoBERTa: learned positions and token types, layer norms of sums, the whole
 * text seen at once. RoBERTa's positions begin after that of padding; GGUF files have lost the
 * rows before, and call all three "bert". With a head for classification the model gives scores.
 */
#include "encoder.h"
#include "families.h"

static void refuse_relative_positions(llrti_builder *b)
{
    static const llrti_hparam kind = {NULL, "position_embedding_type", 0, 0};
    static const llrti_hparam is_decoder = {NULL, "is_decoder", 0, 0};
    const llrti_string name = llrti_hparams_string_or(&b->hp, &kind, "absolute");
    if (!llrti_string_is(name, "absolute"))
        llrti_hparams_fail(&b->hp, LLRT_ERR_UNSUPPORTED, &kind,
                           "relative positions are not supported, expected \"absolute\"");
    llrti_decoder_refuse_unless(b, &is_decoder, false,
                                "this architecture is supported as an encoder only");
}

static void read(llrti_builder *b, llrti_decoder *d)
{
    static const char *const names[LLRTI_DECODER_COUNT] = {
        [LLRTI_DECODER_EMBED] = "embeddings.word_embeddings",
        [LLRTI_DECODER_EMBED_NORM] = "embeddings.LayerNorm",
        [LLRTI_DECODER_Q] = "encoder.layer.#.attention.self.query",
        [LLRTI_DECODER_K] = "encoder.layer.#.attention.self.key",
        [LLRTI_DECODER_V] = "encoder.layer.#.attention.self.value",
        [LLRTI_DECODER_ATTN_OUT] = "encoder.layer.#.attention.output.dense",
        [LLRTI_DECODER_ATTN_POST_NORM] = "encoder.layer.#.attention.output.LayerNorm",
        [LLRTI_DECODER_UP] = "encoder.layer.#.intermediate.dense",
        [LLRTI_DECODER_DOWN] = "encoder.layer.#.output.dense",
        [LLRTI_DECODER_MLP_POST_NORM] = "encoder.layer.#.output.LayerNorm",
    };
    static const llrti_decoder_defaults defaults = {.has_no_rope = true,
                                                    .is_encoder = true,
                                                    .is_layer_norm = true,
                                                    .norm_eps = 1e-12,
                                                    .act = "gelu"};
    llrti_decoder_read_as(b, d, &defaults);
    refuse_relative_positions(b);
    llrti_decoder_rename(d, names);
    d->name[LLRTI_DECODER_ATTN_POST_NORM].gguf = "blk.#.attn_output_norm";
    d->name[LLRTI_DECODER_MLP_POST_NORM].gguf = "blk.#.layer_output_norm";
    d->is_sum_normed = true;
    d->has_gate = false;
    d->qkv_bias = d->out_bias = d->mlp_bias = LLRTI_BIAS_REQUIRED;
    /* Some GGUF files have q, k and v in one. */
    if (b->hp.is_gguf && llrti_build_has(b, &d->name[LLRTI_DECODER_QKV], ".weight"))
        d->qkv = LLRTI_QKV_JOINED;
}

/*
 * The positions from row *first on. When facts are noted it is those alone, and *first 0: that is
 * the tensor of a GGUF.
 */
static uint32_t bind_positions(llrti_builder *b, const llrti_decoder *d, uint32_t *first)
{
    static const llrti_name position = {"position_embd", "embeddings.position_embeddings"};
    const uint32_t n = b->hp.is_gguf ? 0 : llrti_hparams_u32(&b->hp, LLRTI_HP(N_CTX));
    if (!b->hp.facts || n <= *first) return llrti_build_matrix(b, &position, d->d_model, n, 0);
    const llrti_part part = {.n = 1,
                             .d_in = d->d_model,
                             .d_out = n - *first,
                             .begin = *first,
                             .step = 1,
                             .n_row = n,
                             .n_col = d->d_model};
    llrti_facts_correct_u32(b->hp.facts, LLRTI_HP(N_CTX)->gguf, part.d_out);
    *first = 0;
    return llrti_build_part(b, &position, &part, LLRTI_WEIGHT_AS_MATRIX);
}

/* Tokens, positions from `first` on, types, and their norm. */
static uint32_t embed(llrti_builder *b, const llrti_decoder *d, uint32_t first)
{
    static const llrti_name token_type = {"token_types", "embeddings.token_type_embeddings"};
    llrti_model *const m = b->model;
    uint32_t x = llrti_decoder_embed(b, d);
    const uint32_t table = bind_positions(b, d, &first);
    const uint32_t n_row = llrti_build_rows_of(b, table);
    if (n_row <= first) {
        llrti_build_fail(b, LLRT_ERR_FORMAT, "pad_token_id",
                         "found %u positions, expected more than the %u that padding takes",
                         (unsigned)n_row, (unsigned)first);
        return LLRT_NONE;
    }
    b->n_ctx_max = n_row - first;
    m->n_ctx_train = LLRTI_MIN(m->n_ctx_train ? m->n_ctx_train : b->n_ctx_max, b->n_ctx_max);
    x = llrti_build_position(b, x, table, (int32_t)first);
    const uint32_t types = llrti_build_matrix(b, &token_type, d->d_model, 0, LLRTI_WEIGHT_OPTIONAL);
    if (types != LLRT_NONE) x = llrti_build_token_type(b, x, types);
    return llrti_decoder_norm(b, d, x, LLRTI_DECODER_EMBED_NORM);
}

void llrti_family_bert(llrti_builder *b)
{
    static const llrti_score_head head = {{"cls", "pooler.dense"},
                                          {NULL, NULL},
                                          {"cls.output", "/classifier"},
                                          LLRT_ACT_TANH,
                                          LLRTI_BIAS_REQUIRED};
    llrti_decoder d;
    b->hf_prefix = "bert.";
    read(b, &d);
    if (!llrti_build_ok(b)) return;
    llrti_encoder_finish(b, &d, llrti_decoder_layers(b, &d, embed(b, &d, 0)), false, &head);
}

void llrti_family_roberta(llrti_builder *b)
{
    static const llrti_score_head head = {{"cls", "/classifier.dense"},
                                          {NULL, NULL},
                                          {"cls.output", "/classifier.out_proj"},
                                          LLRT_ACT_TANH,
                                          LLRTI_BIAS_REQUIRED};
    static const llrti_hparam padding = {NULL, "pad_token_id", 0, 1 << 20};
    llrti_decoder d;
    b->hf_prefix = "roberta.";
    b->gguf_architecture = "bert";
    read(b, &d);
    const uint32_t first = llrti_hparams_u32_or(&b->hp, &padding, 1) + 1;
    if (!llrti_build_ok(b)) return;
    llrti_encoder_finish(b, &d, llrti_decoder_layers(b, &d, embed(b, &d, first)), false, &head);
}
