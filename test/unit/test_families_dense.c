/* SPDX-License-Identifier: MIT */
/*
 * Dense families and encoders from hand-made files of both kinds. For each of them: the file opens
 * and every tensor of it is used; without a tensor, or with one of another shape, it is refused by
 * that tensor's name; options that aren't built are refused by theirs. Then what the families do
 * with windows, rotations and factors. Tensors are zeros; arithmetic is the business of the
 * architecture fixtures.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "family_files.h"

#define BERT_LAYER(prefix)                                                                         \
    prefix "embeddings.word_embeddings:8x11 " prefix "embeddings.LayerNorm:8 " prefix              \
           "embeddings.LayerNorm.bias:8 " prefix "embeddings.position_embeddings:8x16 ?" prefix    \
           "embeddings.token_type_embeddings:8x2 " prefix                                          \
           "encoder.layer.#.attention.self.query:8x8 " prefix                                      \
           "encoder.layer.#.attention.self.query.bias:8 " prefix                                   \
           "encoder.layer.#.attention.self.key:8x8 " prefix                                        \
           "encoder.layer.#.attention.self.key.bias:8 " prefix                                     \
           "encoder.layer.#.attention.self.value:8x8 " prefix                                      \
           "encoder.layer.#.attention.self.value.bias:8 " prefix                                   \
           "encoder.layer.#.attention.output.dense:8x8 " prefix                                    \
           "encoder.layer.#.attention.output.dense.bias:8 " prefix                                 \
           "encoder.layer.#.attention.output.LayerNorm:8 " prefix                                  \
           "encoder.layer.#.attention.output.LayerNorm.bias:8 " prefix                             \
           "encoder.layer.#.intermediate.dense:8x12 " prefix                                       \
           "encoder.layer.#.intermediate.dense.bias:12 " prefix                                    \
           "encoder.layer.#.output.dense:12x8 " prefix                                             \
           "encoder.layer.#.output.dense.bias:8 " prefix                                           \
           "encoder.layer.#.output.LayerNorm:8 " prefix "encoder.layer.#.output.LayerNorm.bias:8 "

static const family_case cases[] = {
    {"gemma", "gemma", false, HF_GROUPED "head_dim=4",
     "model.embed_tokens:8x11 model.norm:8 " HF_NORM_IN HF_QKVO HF_NORM_POST HF_GATED},
    {"gemma.gguf", "gemma", true, GG_RMS,
     "token_embd:8x11 output_norm:8 " GG_NORMS GG_QKVO GG_GATED},
    {"gemma2", "gemma2", false, HF_GROUPED "head_dim=4 sliding_window=5",
     "model.embed_tokens:8x11 model.norm:8 model.layers.#.pre_feedforward_layernorm:8 "
     "model.layers.#.post_feedforward_layernorm:8 " HF_NORM_IN HF_QKVO HF_NORM_POST HF_GATED},
    {"gemma2.gguf", "gemma2", true, GG_RMS "attention.sliding_window=u5",
     "token_embd:8x11 output_norm:8 blk.#.post_attention_norm:8 "
     "blk.#.post_ffw_norm:8 " GG_NORMS GG_QKVO GG_GATED},
    {"gemma3", "gemma3_text", false,
     HF_GROUPED "head_dim=4 sliding_window=5 sliding_window_pattern=2",
     "model.embed_tokens:8x11 model.norm:8 model.layers.#.pre_feedforward_layernorm:8 "
     "model.layers.#.post_feedforward_layernorm:8 model.layers.#.self_attn.q_norm:4 "
     "model.layers.#.self_attn.k_norm:4 " HF_NORM_IN HF_QKVO HF_NORM_POST HF_GATED},
    {"gemma3.gguf", "gemma3", true, GG_RMS "attention.sliding_window=u5",
     "token_embd:8x11 output_norm:8 blk.#.post_attention_norm:8 blk.#.attn_q_norm:4 "
     "blk.#.attn_k_norm:4 blk.#.post_ffw_norm:8 " GG_NORMS GG_QKVO GG_GATED},
    {"phi", "phi", false, HF_GROUPED,
     "model.embed_tokens:8x11 model.final_layernorm:8 model.final_layernorm.bias:8 "
     "lm_head.bias:11 model.layers.#.input_layernorm.bias:8 model.layers.#.self_attn.q_proj:8x8 "
     "model.layers.#.self_attn.k_proj:8x4 model.layers.#.self_attn.v_proj:8x4 "
     "model.layers.#.self_attn.dense:8x8 model.layers.#.self_attn.dense.bias:8 "
     "model.layers.#.mlp.fc1:8x12 model.layers.#.mlp.fc1.bias:12 model.layers.#.mlp.fc2:12x8 "
     "model.layers.#.mlp.fc2.bias:8 ?lm_head:8x11 " HF_QKV_BIAS HF_NORM_IN},
    {"phi2.gguf", "phi2", true, GG_LAYER "attention.head_count_kv=u1 rope.dimension_count=u2",
     "token_embd:8x11 output_norm:8 output_norm.bias:8 ?output:8x11 output.bias:11 "
     "blk.#.attn_norm:8 blk.#.attn_norm.bias:8 blk.#.attn_q.bias:8 blk.#.attn_k.bias:4 "
     "blk.#.attn_v.bias:4 blk.#.attn_output.bias:8 " GG_QKVO GG_PLAIN GG_PLAIN_BIAS},
    {"phi3", "phi3", false, HF_GROUPED "sliding_window=5",
     HF_ENDS HF_NORM_IN HF_NORM_POST
     "model.layers.#.self_attn.qkv_proj:8x16 model.layers.#.self_attn.o_proj:8x8 "
     "model.layers.#.mlp.gate_up_proj:8x24 " HF_DOWN},
    {"phi3.gguf", "phi3", true, GG_RMS,
     GG_ENDS GG_NORMS GG_OUT "blk.#.attn_qkv:8x16 blk.#.ffn_up:8x24 blk.#.ffn_down:12x8 "},
    {"olmo2", "olmo2", false, HF_GROUPED,
     HF_ENDS HF_QKVO HF_NORM_POST HF_GATED
     "model.layers.#.self_attn.q_norm:8 model.layers.#.self_attn.k_norm:4 "
     "model.layers.#.post_feedforward_layernorm:8"},
    {"olmo2.gguf", "olmo2", true, GG_RMS,
     GG_ENDS GG_QKVO GG_GATED "blk.#.attn_q_norm:8 blk.#.attn_k_norm:4 "
                              "blk.#.post_attention_norm:8 blk.#.post_ffw_norm:8"},
    {"olmo3", "olmo3", false,
     HF_GROUPED "sliding_window=5 layer_types=['sliding_attention','full_attention']",
     HF_ENDS HF_QKVO HF_NORM_POST HF_GATED
     "model.layers.#.self_attn.q_norm:8 model.layers.#.self_attn.k_norm:4 "
     "model.layers.#.post_feedforward_layernorm:8"},
    {"starcoder2", "starcoder2", false, HF_GROUPED,
     "model.embed_tokens:8x11 model.norm:8 model.norm.bias:8 " HF_QKVO HF_QKV_BIAS HF_NORM_IN
         HF_NORM_POST
     "model.layers.#.input_layernorm.bias:8 model.layers.#.post_attention_layernorm.bias:8 "
     "model.layers.#.self_attn.o_proj.bias:8 model.layers.#.mlp.c_fc:8x12 "
     "model.layers.#.mlp.c_fc.bias:12 model.layers.#.mlp.c_proj:12x8 "
     "model.layers.#.mlp.c_proj.bias:8"},
    {"starcoder2.gguf", "starcoder2", true, GG_LAYER "attention.head_count_kv=u1",
     GG_ENDS GG_NORMS GG_NORM_BIAS GG_QKVO GG_PLAIN
     "?blk.#.attn_q.bias:8 ?blk.#.attn_output.bias:8 ?blk.#.ffn_up.bias:12"},
    {"falcon", "falcon", false, HF_SIZES,
     "transformer.word_embeddings:8x11 transformer.ln_f:8 transformer.ln_f.bias:8 "
     "transformer.h.#.input_layernorm:8 transformer.h.#.input_layernorm.bias:8 "
     "transformer.h.#.self_attention.query_key_value:8x16 "
     "transformer.h.#.self_attention.dense:8x8 transformer.h.#.mlp.dense_h_to_4h:8x12 "
     "transformer.h.#.mlp.dense_4h_to_h:12x8"},
    {"falcon new", "falcon", false, HF_SIZES "num_kv_heads=2 new_decoder_architecture=true",
     "transformer.word_embeddings:8x11 transformer.ln_f:8 transformer.ln_f.bias:8 "
     "transformer.h.#.ln_attn:8 transformer.h.#.ln_attn.bias:8 "
     "transformer.h.#.ln_mlp:8 transformer.h.#.ln_mlp.bias:8 "
     "transformer.h.#.self_attention.query_key_value:8x24 "
     "transformer.h.#.self_attention.dense:8x8 transformer.h.#.mlp.dense_h_to_4h:8x12 "
     "transformer.h.#.mlp.dense_4h_to_h:12x8"},
    {"falcon alibi", "falcon", false,
     HF_SIZES "multi_query=false parallel_attn=false alibi=true bias=true",
     "transformer.word_embeddings:8x11 transformer.ln_f:8 transformer.ln_f.bias:8 "
     "transformer.h.#.input_layernorm:8 transformer.h.#.input_layernorm.bias:8 "
     "transformer.h.#.post_attention_layernorm:8 transformer.h.#.post_attention_layernorm.bias:8 "
     "transformer.h.#.self_attention.query_key_value:8x24 "
     "transformer.h.#.self_attention.query_key_value.bias:24 "
     "transformer.h.#.self_attention.dense:8x8 transformer.h.#.self_attention.dense.bias:8 "
     "transformer.h.#.mlp.dense_h_to_4h:8x12 transformer.h.#.mlp.dense_h_to_4h.bias:12 "
     "transformer.h.#.mlp.dense_4h_to_h:12x8 transformer.h.#.mlp.dense_4h_to_h.bias:8"},
    {"falcon.gguf", "falcon", true, GG_LAYER "attention.head_count_kv=u1",
     GG_ENDS GG_OUT GG_PLAIN "output_norm.bias:8 blk.#.attn_norm:8 blk.#.attn_norm.bias:8 "
                             "blk.#.attn_qkv:8x16"},
    {"falcon new.gguf", "falcon", true, GG_LAYER "attention.head_count_kv=u2",
     GG_ENDS GG_OUT GG_PLAIN "output_norm.bias:8 blk.#.attn_norm:8 blk.#.attn_norm.bias:8 "
                             "blk.#.attn_norm_2.bias:8 blk.#.attn_norm_2:8 blk.#.attn_qkv:8x24"},
    {"granite", "granite", false, HF_GROUPED, HF_ENDS HF_NORM_IN HF_QKVO HF_NORM_POST HF_GATED},
    {"granite.gguf", "granite", true, GG_RMS, GG_ENDS GG_NORMS GG_QKVO GG_GATED},
    {"minicpm", "minicpm", false, HF_GROUPED,
     "model.embed_tokens:8x11 model.norm:8 " HF_NORM_IN HF_QKVO HF_NORM_POST HF_GATED},
    {"minicpm.gguf", "minicpm", true, GG_RMS, GG_ENDS GG_NORMS GG_QKVO GG_GATED},
    {"smollm3", "smollm3", false, HF_GROUPED "no_rope_layers=[1,0]",
     "model.embed_tokens:8x11 model.norm:8 " HF_NORM_IN HF_QKVO HF_NORM_POST HF_GATED},
    {"smollm3.gguf", "smollm3", true, GG_RMS, GG_ENDS GG_NORMS GG_QKVO GG_GATED},
    {"internlm2", "internlm2", false, HF_GROUPED "bias=false",
     "model.tok_embeddings:8x11 model.norm:8 ?output:8x11 model.layers.#.attention_norm:8 "
     "model.layers.#.attention.wqkv:8x16 model.layers.#.attention.wo:8x8 "
     "model.layers.#.ffn_norm:8 model.layers.#.feed_forward.w1:8x12 "
     "model.layers.#.feed_forward.w3:8x12 model.layers.#.feed_forward.w2:12x8"},
    {"internlm2.gguf", "internlm2", true, GG_RMS, GG_ENDS GG_NORMS GG_QKVO GG_GATED},
    {"glm", "glm", false, HF_GROUPED "head_dim=4",
     HF_ENDS HF_NORM_IN HF_QKVO HF_NORM_POST HF_DOWN "model.layers.#.mlp.gate_up_proj:8x24"},
    {"glm4", "glm4", false, HF_GROUPED "head_dim=4 attention_bias=true",
     HF_ENDS HF_NORM_IN HF_QKVO HF_QKV_BIAS HF_NORM_POST HF_DOWN
     "model.layers.#.mlp.gate_up_proj:8x24 model.layers.#.post_self_attn_layernorm:8 "
     "model.layers.#.post_mlp_layernorm:8"},
    {"glm4.gguf", "glm4", true, GG_RMS "rope.dimension_count=u2",
     GG_ENDS GG_NORMS GG_QKVO "blk.#.ffn_up:8x24 blk.#.ffn_down:12x8 "
                              "blk.#.post_attention_norm:8 blk.#.post_ffw_norm:8"},
    {"cohere", "cohere", false, HF_GROUPED,
     "model.embed_tokens:8x11 model.norm:8 " HF_NORM_IN HF_QKVO HF_GATED},
    {"cohere with norms", "cohere", false, HF_GROUPED "use_qk_norm=true",
     "model.embed_tokens:8x11 model.norm:8 model.layers.#.self_attn.q_norm:4x2 "
     "model.layers.#.self_attn.k_norm:4x1 " HF_NORM_IN HF_QKVO HF_GATED},
    {"command-r.gguf", "command-r", true, GG_LAYER "attention.head_count_kv=u1",
     "token_embd:8x11 output_norm:8 blk.#.attn_norm:8 " GG_QKVO GG_GATED},
    {"cohere2", "cohere2", false, HF_GROUPED "sliding_window=5 sliding_window_pattern=2",
     "model.embed_tokens:8x11 model.norm:8 " HF_NORM_IN HF_QKVO HF_GATED},
    {"cohere2.gguf", "cohere2", true,
     GG_LAYER "attention.head_count_kv=u1 attention.sliding_window=u5",
     "token_embd:8x11 output_norm:8 blk.#.attn_norm:8 " GG_QKVO GG_GATED},
    {"gptneox", "gpt_neox", false, HF_SIZES "rotary_pct=0.5",
     "gpt_neox.embed_in:8x11 gpt_neox.final_layer_norm:8 gpt_neox.final_layer_norm.bias:8 "
     "?embed_out:8x11 gpt_neox.layers.#.input_layernorm:8 gpt_neox.layers.#.input_layernorm.bias:8 "
     "gpt_neox.layers.#.post_attention_layernorm:8 "
     "gpt_neox.layers.#.post_attention_layernorm.bias:8 "
     "gpt_neox.layers.#.attention.query_key_value:8x24 "
     "gpt_neox.layers.#.attention.query_key_value.bias:24 gpt_neox.layers.#.attention.dense:8x8 "
     "gpt_neox.layers.#.attention.dense.bias:8 gpt_neox.layers.#.mlp.dense_h_to_4h:8x12 "
     "gpt_neox.layers.#.mlp.dense_h_to_4h.bias:12 gpt_neox.layers.#.mlp.dense_4h_to_h:12x8 "
     "gpt_neox.layers.#.mlp.dense_4h_to_h.bias:8"},
    {"gptneox.gguf", "gptneox", true, GG_LAYER "rope.dimension_count=u2",
     GG_ENDS GG_NORMS GG_NORM_BIAS GG_OUT GG_PLAIN GG_PLAIN_BIAS
     "blk.#.attn_qkv:8x24 blk.#.attn_qkv.bias:24 blk.#.attn_output.bias:8"},
    {"gptj", "gptj", false, "vocab_size=11 n_embd=8 n_layer=2 n_head=2 n_positions=16 rotary_dim=2",
     "transformer.wte:8x11 transformer.ln_f:8 transformer.ln_f.bias:8 ?lm_head:8x11 "
     "lm_head.bias:11 transformer.h.#.ln_1:8 transformer.h.#.ln_1.bias:8 "
     "transformer.h.#.attn.q_proj:8x8 transformer.h.#.attn.k_proj:8x8 "
     "transformer.h.#.attn.v_proj:8x8 transformer.h.#.attn.out_proj:8x8 "
     "transformer.h.#.mlp.fc_in:8x32 transformer.h.#.mlp.fc_in.bias:32 "
     "transformer.h.#.mlp.fc_out:32x8 transformer.h.#.mlp.fc_out.bias:8"},
    {"opt", "opt", false,
     "vocab_size=11 hidden_size=8 ffn_dim=12 num_hidden_layers=2 num_attention_heads=2 "
     "max_position_embeddings=16",
     "model.decoder.embed_tokens:8x11 model.decoder.embed_positions:8x18 "
     "model.decoder.final_layer_norm:8 model.decoder.final_layer_norm.bias:8 "
     "model.decoder.layers.#.self_attn_layer_norm:8 "
     "model.decoder.layers.#.self_attn_layer_norm.bias:8 "
     "model.decoder.layers.#.self_attn.q_proj:8x8 model.decoder.layers.#.self_attn.q_proj.bias:8 "
     "model.decoder.layers.#.self_attn.k_proj:8x8 model.decoder.layers.#.self_attn.k_proj.bias:8 "
     "model.decoder.layers.#.self_attn.v_proj:8x8 model.decoder.layers.#.self_attn.v_proj.bias:8 "
     "model.decoder.layers.#.self_attn.out_proj:8x8 "
     "model.decoder.layers.#.self_attn.out_proj.bias:8 model.decoder.layers.#.final_layer_norm:8 "
     "model.decoder.layers.#.final_layer_norm.bias:8 model.decoder.layers.#.fc1:8x12 "
     "model.decoder.layers.#.fc1.bias:12 model.decoder.layers.#.fc2:12x8 "
     "model.decoder.layers.#.fc2.bias:8"},
    {"stablelm", "stablelm", false, HF_GROUPED "partial_rotary_factor=0.5 use_qkv_bias=true",
     HF_ENDS HF_NORM_IN HF_QKVO HF_QKV_BIAS HF_NORM_POST HF_GATED
     "model.norm.bias:8 model.layers.#.input_layernorm.bias:8 "
     "model.layers.#.post_attention_layernorm.bias:8"},
    {"stablelm.gguf", "stablelm", true,
     GG_LAYER "attention.head_count_kv=u1 rope.dimension_count=u2",
     GG_ENDS GG_NORMS GG_NORM_BIAS GG_QKVO GG_GATED},
    {"bloom", "bloom", false, "vocab_size=11 hidden_size=8 n_layer=2 n_head=2 seq_length=16",
     "transformer.word_embeddings:8x11 transformer.word_embeddings_layernorm:8 "
     "transformer.word_embeddings_layernorm.bias:8 transformer.ln_f:8 transformer.ln_f.bias:8 "
     "transformer.h.#.input_layernorm:8 transformer.h.#.input_layernorm.bias:8 "
     "transformer.h.#.post_attention_layernorm:8 transformer.h.#.post_attention_layernorm.bias:8 "
     "transformer.h.#.self_attention.query_key_value:8x24 "
     "transformer.h.#.self_attention.query_key_value.bias:24 "
     "transformer.h.#.self_attention.dense:8x8 transformer.h.#.self_attention.dense.bias:8 "
     "transformer.h.#.mlp.dense_h_to_4h:8x32 transformer.h.#.mlp.dense_h_to_4h.bias:32 "
     "transformer.h.#.mlp.dense_4h_to_h:32x8 transformer.h.#.mlp.dense_4h_to_h.bias:8"},
    {"bloom.gguf", "bloom", true, GG_LAYER,
     GG_ENDS GG_NORMS GG_NORM_BIAS GG_OUT GG_PLAIN GG_PLAIN_BIAS
     "token_embd_norm:8 token_embd_norm.bias:8 blk.#.attn_qkv:8x24 blk.#.attn_qkv.bias:24 "
     "blk.#.attn_output.bias:8"},
    {"bert", "bert", false, HF_SIZES "architectures=['BertModel']", BERT_LAYER("")},
    {"bert with a score", "bert", false, HF_SIZES "architectures=['BertForSequenceClassification']",
     BERT_LAYER("bert.") "bert.pooler.dense:8x8 bert.pooler.dense.bias:8 classifier:8x3 "
                         "?classifier.bias:3"},
    {"bert.gguf", "bert", true, GG_LAYER "attention.causal=b0 pooling_type=u1",
     "token_embd:8x11 token_embd_norm:8 token_embd_norm.bias:8 position_embd:8x16 "
     "?token_types:8x2 blk.#.attn_q:8x8 blk.#.attn_k:8x8 blk.#.attn_v:8x8 blk.#.attn_q.bias:8 "
     "blk.#.attn_k.bias:8 blk.#.attn_v.bias:8 blk.#.attn_output.bias:8 blk.#.attn_output_norm:8 "
     "blk.#.attn_output_norm.bias:8 blk.#.layer_output_norm:8 "
     "blk.#.layer_output_norm.bias:8 " GG_OUT GG_PLAIN GG_PLAIN_BIAS},
    {"roberta with a score", "xlm-roberta", false,
     HF_SIZES "architectures=['XLMRobertaForSequenceClassification'] pad_token_id=1",
     BERT_LAYER("roberta.") "classifier.dense:8x8 classifier.dense.bias:8 classifier.out_proj:8x1 "
                            "?classifier.out_proj.bias:1"},
    {"modernbert", "modernbert", false,
     HF_SIZES "architectures=['ModernBertForSequenceClassification'] local_attention=4 "
              "global_attn_every_n_layers=2",
     "model.embeddings.tok_embeddings:8x11 model.embeddings.norm:8 model.final_norm:8 "
     "model.layers.1.attn_norm:8 model.layers.#.attn.Wqkv:8x24 model.layers.#.attn.Wo:8x8 "
     "model.layers.#.mlp_norm:8 model.layers.#.mlp.Wi:8x24 model.layers.#.mlp.Wo:12x8 "
     "head.dense:8x8 head.norm:8 classifier:8x2 ?classifier.bias:2"},
    {"modernbert.gguf", "modern-bert", true,
     GG_LAYER "attention.causal=b0 attention.sliding_window=u4 "
              "attention.sliding_window_pattern=u2",
     "token_embd:8x11 token_embd_norm:8 output_norm:8 blk.1.attn_norm:8 blk.#.attn_qkv:8x24 "
     "blk.#.ffn_norm:8 blk.#.ffn_up:8x24 blk.#.ffn_down:12x8 " GG_OUT},
};

/* ---- Cases by their titles ---- */

static const family_case *find_case(const char *title)
{
    for (size_t i = 0; i < LLRTI_COUNT(cases); i++)
        if (strcmp(cases[i].title, title) == 0) return &cases[i];
    fail_msg("no case '%s'", title);
    return NULL;
}

static const llrti_model *need(opened *o, const char *title, const change *how)
{
    if (open_case(o, find_case(title), how) < 0) fail_msg("%s: %s", title, o->err.text);
    return o->model;
}

/* ---- Every family ---- */

static void test_every_tensor_is_used(void **state)
{
    (void)state;
    static shape all[160];
    for (size_t i = 0; i < LLRTI_COUNT(cases); i++) {
        opened o;
        const llrti_model *const m = need(&o, cases[i].title, NULL);
        const size_t n = read_shapes(cases[i].tensors, all, LLRTI_COUNT(all));
        if (m->n_unused) fail_msg("%s: '%s' is not used", cases[i].title, m->unused);
        assert_int_equal(m->n_weight, n);
        assert_true(m->n_layer == 2 && m->d_model == 8 && m->n_head == 2 && m->head_dim == 4);
        assert_true(m->n_vocab == 11 && m->can_embed);
        assert_int_equal(m->can_generate, !m->is_bidirectional);
        close_case(&o);
    }
}

static void test_missing_tensors_are_named(void **state)
{
    (void)state;
    check_missing_tensors(cases, LLRTI_COUNT(cases), true);
}

static void test_misshapen_tensors_are_named(void **state)
{
    (void)state;
    check_misshapen_tensors(cases, LLRTI_COUNT(cases));
}

static void test_options_are_refused_by_name(void **state)
{
    (void)state;
    static const struct {
        const char *title, *options;
        llrt_status status;
        const char *field, *text;
    } refused[] = {
        {"gemma", "use_bidirectional_attention=true", LLRT_ERR_UNSUPPORTED,
         "use_bidirectional_attention", "not causal"},
        {"gemma", "hidden_activation='gelu_tanh_of_old'", LLRT_ERR_UNSUPPORTED, "hidden_activation",
         "\"gelu_tanh_of_old\" is not known"},
        {"gemma2", "query_pre_attn_scalar=0", LLRT_ERR_FORMAT, "query_pre_attn_scalar", "found 0"},
        {"gemma2", "attn_logit_softcapping=-1", LLRT_ERR_FORMAT, "attn_logit_softcapping",
         "found -1"},
        {"gemma2", "layer_types=['full_attention']", LLRT_ERR_FORMAT, "layer_types",
         "found 1 elements"},
        {"gemma2", "layer_types=['full_attention','odd_attention']", LLRT_ERR_UNSUPPORTED,
         "layer_types", "\"odd_attention\""},
        {"gemma3", "sliding_window_pattern=0", LLRT_ERR_FORMAT, "sliding_window_pattern",
         "found 0"},
        {"gemma3", "rope_local_base_freq=0", LLRT_ERR_FORMAT, "rope_local_base_freq", "found 0"},
        {"phi", "qk_layernorm=true", LLRT_ERR_UNSUPPORTED, "qk_layernorm", "not supported"},
        {"phi", "partial_rotary_factor=0.25", LLRT_ERR_FORMAT, "head_dim",
         "found 1 rotated elements"},
        {"phi", "partial_rotary_factor=1.5", LLRT_ERR_FORMAT, "partial_rotary_factor", "found 1.5"},
        {"phi3", "rope_scaling={'type':'longrope','short_factor':[1],'long_factor':[1,1]}",
         LLRT_ERR_FORMAT, "rope_scaling.short_factor", "found 1 values"},
        {"falcon", "new_decoder_architecture=true parallel_attn=false", LLRT_ERR_UNSUPPORTED,
         "parallel_attn", "parallel parts only"},
        {"granite", "logits_scaling=0", LLRT_ERR_FORMAT, "logits_scaling", "found 0"},
        {"granite", "num_local_experts=4", LLRT_ERR_UNSUPPORTED, "num_local_experts", "experts"},
        {"granite.gguf", "residual_scale=f0", LLRT_ERR_FORMAT, "granite.residual_scale", "found 0"},
        {"granite.gguf", "attention.layer_norm_rms_epsilon=", LLRT_ERR_FORMAT,
         "granite.attention.layer_norm_rms_epsilon", "missing"},
        {"minicpm", "dim_model_base=0", LLRT_ERR_FORMAT, "dim_model_base", "found 0"},
        {"smollm3", "no_rope_layers=[1]", LLRT_ERR_FORMAT, "no_rope_layers",
         "element 1 is missing"},
        {"smollm3", "no_rope_layers=[1,2]", LLRT_ERR_FORMAT, "no_rope_layers", "found 2"},
        {"smollm3", "no_rope_layers= use_sliding_window=true", LLRT_ERR_UNSUPPORTED,
         "use_sliding_window", "list of no_rope_layers"},
        {"cohere", "logit_scale=0", LLRT_ERR_FORMAT, "logit_scale", "found 0"},
        {"gptneox.gguf", "attention.layer_norm_epsilon=", LLRT_ERR_FORMAT,
         "gptneox.attention.layer_norm_epsilon", "missing"},
        {"gptj", "rotary_dim=6", LLRT_ERR_FORMAT, "head_dim", "found 6 rotated elements"},
        {"gptj", "activation_function='step'", LLRT_ERR_UNSUPPORTED, "activation_function",
         "\"step\" is not known"},
        {"opt", "do_layer_norm_before=false", LLRT_ERR_UNSUPPORTED, "do_layer_norm_before",
         "not supported"},
        {"opt", "word_embed_proj_dim=4", LLRT_ERR_UNSUPPORTED, "word_embed_proj_dim", "found 4"},
        {"opt", "_remove_final_layer_norm=true", LLRT_ERR_UNSUPPORTED, "_remove_final_layer_norm",
         "without last norm"},
        {"opt", "layer_norm_elementwise_affine=false", LLRT_ERR_UNSUPPORTED,
         "layer_norm_elementwise_affine", "without weights"},
        {"opt", "max_position_embeddings=", LLRT_ERR_FORMAT, "max_position_embeddings", "missing"},
        {"stablelm", "qk_layernorm=true", LLRT_ERR_UNSUPPORTED, "qk_layernorm", "not supported"},
        {"bloom", "apply_residual_connection_post_layernorm=true", LLRT_ERR_UNSUPPORTED,
         "apply_residual_connection_post_layernorm", "not supported"},
        {"bert", "position_embedding_type='relative_key'", LLRT_ERR_UNSUPPORTED,
         "position_embedding_type", "relative positions"},
        {"bert", "is_decoder=true", LLRT_ERR_UNSUPPORTED, "is_decoder", "encoder only"},
        {"bert", "max_position_embeddings=15", LLRT_ERR_FORMAT,
         "embeddings.position_embeddings.weight", "found shape 8 x 16, expected 8 x 15"},
        {"bert.gguf", "attention.causal=b1", LLRT_ERR_UNSUPPORTED, "bert.attention.causal",
         "that is causal"},
        {"bert.gguf", "pooling_type=u5", LLRT_ERR_FORMAT, "bert.pooling_type", "found 5"},
        {"roberta with a score", "pad_token_id=15", LLRT_ERR_FORMAT, "pad_token_id",
         "found 16 positions, expected more than the 16"},
        {"modernbert", "classifier_pooling='mean'", LLRT_ERR_UNSUPPORTED, "classifier_pooling",
         "mean of all tokens"},
        {"modernbert", "local_attention=1", LLRT_ERR_FORMAT, "local_attention", "found 1"},
        {"modernbert", "global_attn_every_n_layers=0", LLRT_ERR_FORMAT,
         "global_attn_every_n_layers", "found 0"},
        {"modernbert.gguf", "hidden_activation=sstep", LLRT_ERR_UNSUPPORTED,
         "modern-bert.hidden_activation", "\"step\" is not known"},
        {"modernbert.gguf", "attention.sliding_window_pattern=l0,1,1", LLRT_ERR_FORMAT,
         "modern-bert.attention.sliding_window_pattern", "found 3 elements"},
        {"olmo2.gguf", "attention.sliding_window=u5 attention.sliding_window_pattern=l1",
         LLRT_ERR_FORMAT, "olmo2.attention.sliding_window_pattern", "found 1 elements"},
        {"olmo2.gguf", "attention.sliding_window=u5 attention.sliding_window_pattern=a1,2",
         LLRT_ERR_FORMAT, "olmo2.attention.sliding_window_pattern",
         "element 1 is 2, expected a boolean"},
    };
    for (size_t i = 0; i < LLRTI_COUNT(refused); i++) {
        opened o;
        const llrt_status status =
            open_case(&o, find_case(refused[i].title), &(change){.options = refused[i].options});
        if (status != refused[i].status || strcmp(o.err.field, refused[i].field) != 0 ||
            !strstr(o.err.text, refused[i].text))
            fail_msg("%s, %s: %d, '%s', %s", refused[i].title, refused[i].options, status,
                     o.err.field, o.err.text);
        close_case(&o);
    }
}

/* ---- What they do ---- */

/* The number of operators of a kind in a layer, and the last of them. */
static size_t count_ops(const llrti_model *m, llrt_op_kind kind, uint32_t layer,
                        const llrt_op **last)
{
    size_t n = 0;
    for (uint32_t i = 0; i < m->program->n_op; i++) {
        const llrt_op *const op = &m->program->op[i];
        if (op->kind != kind || op->layer != layer) continue;
        n++;
        if (last) *last = op;
    }
    return n;
}

static void test_windows_and_rotations(void **state)
{
    (void)state;
    static const struct {
        const char *title, *options;
        uint32_t window[2];
        size_t n_rope[2];
        float second_frequency[2]; /* of the rotated pairs; 0: there is none */
        uint32_t pairs;
    } expected[] = {
        {"gemma2", "", {5, 0}, {2, 2}, {0.01f, 0.01f}, LLRT_ROPE_HALVES},
        {"gemma2.gguf", "", {5, 0}, {2, 2}, {0.01f, 0.01f}, LLRT_ROPE_HALVES},
        {"gemma2",
         "layer_types=['full_attention','sliding_attention']",
         {0, 5},
         {2, 2},
         {0.01f, 0.01f},
         LLRT_ROPE_HALVES},
        {"gemma3", "rope_theta=1e6", {5, 0}, {2, 2}, {0.01f, 0.001f}, LLRT_ROPE_HALVES},
        {"gemma3",
         "rope_local_base_freq=100 rope_scaling={'type':'linear','factor':8}",
         {5, 0},
         {2, 2},
         {0.1f, 0.000125f},
         LLRT_ROPE_HALVES},
        {"gemma3",
         "rope_parameters={'full_attention':{'rope_theta':1e6,'rope_type':'linear','factor':8},"
         "'sliding_attention':{'rope_theta':100,'rope_type':'default'}}",
         {5, 0},
         {2, 2},
         {0.1f, 0.000125f},
         LLRT_ROPE_HALVES},
        {"gemma3.gguf", "rope.freq_base=f1e6", {5, 5}, {2, 2}, {0.01f, 0.01f}, LLRT_ROPE_HALVES},
        {"phi3", "", {5, 5}, {2, 2}, {0.01f, 0.01f}, LLRT_ROPE_HALVES},
        {"phi3", "sliding_window=", {0, 0}, {2, 2}, {0.01f, 0.01f}, LLRT_ROPE_HALVES},
        {"olmo3",
         "rope_scaling={'type':'linear','factor':4}",
         {5, 0},
         {2, 2},
         {0.01f, 0.0025f},
         LLRT_ROPE_HALVES},
        {"olmo2.gguf",
         "attention.sliding_window=u5 attention.sliding_window_pattern=u2",
         {5, 0},
         {2, 2},
         {0.01f, 0.01f},
         LLRT_ROPE_HALVES},
        {"olmo2.gguf",
         "attention.sliding_window=u5 attention.sliding_window_pattern=l0,1 "
         "rope.scaling.type=slinear rope.scaling.factor=f4",
         {0, 5},
         {2, 2},
         {0.0025f, 0.01f},
         LLRT_ROPE_HALVES},
        {"olmo2.gguf",
         "attention.sliding_window=u5 attention.sliding_window_pattern=a1,1",
         {5, 5},
         {2, 2},
         {0.01f, 0.01f},
         LLRT_ROPE_HALVES},
        {"gemma3.gguf",
         "rope.freq_base=f1e6 attention.sliding_window_pattern=l0,1",
         {0, 5},
         {2, 2},
         {0.001f, 0.01f},
         LLRT_ROPE_HALVES},
        {"cohere2.gguf",
         "attention.sliding_window_pattern=l0,1",
         {0, 5},
         {0, 2},
         {0, 0.01f},
         LLRT_ROPE_ADJACENT},
        {"starcoder2", "sliding_window=6", {6, 6}, {2, 2}, {0.01f, 0.01f}, LLRT_ROPE_HALVES},
        {"smollm3", "rope_theta=10000", {0, 0}, {2, 0}, {0.01f, 0}, LLRT_ROPE_HALVES},
        {"smollm3",
         "rope_theta=10000 use_sliding_window=true sliding_window=3 "
         "layer_types=['sliding_attention','full_attention']",
         {3, 0},
         {2, 0},
         {0.01f, 0},
         LLRT_ROPE_HALVES},
        {"smollm3.gguf",
         "rope.freq_base=f10000",
         {0, 0},
         {2, 2},
         {0.01f, 0.01f},
         LLRT_ROPE_ADJACENT},
        {"cohere", "", {0, 0}, {2, 2}, {0.01f, 0.01f}, LLRT_ROPE_ADJACENT},
        {"command-r.gguf", "", {0, 0}, {2, 2}, {0.01f, 0.01f}, LLRT_ROPE_ADJACENT},
        {"cohere2", "", {5, 0}, {2, 0}, {0.01f, 0}, LLRT_ROPE_ADJACENT},
        {"cohere2.gguf",
         "attention.sliding_window_pattern=u2",
         {5, 0},
         {2, 0},
         {0.01f, 0},
         LLRT_ROPE_ADJACENT},
        {"internlm2", "", {0, 0}, {2, 2}, {0.01f, 0.01f}, LLRT_ROPE_HALVES},
        {"internlm2.gguf", "", {0, 0}, {2, 2}, {0.01f, 0.01f}, LLRT_ROPE_ADJACENT},
        {"bloom", "", {0, 0}, {0, 0}, {0, 0}, 0},
        {"falcon alibi", "", {0, 0}, {0, 0}, {0, 0}, 0},
        {"opt", "", {0, 0}, {0, 0}, {0, 0}, 0},
        {"modernbert",
         "global_rope_theta=1e6 local_rope_theta=100",
         {0, 4},
         {2, 2},
         {0.001f, 0.1f},
         LLRT_ROPE_HALVES},
        {"modernbert",
         "global_rope_theta=1e6 local_rope_theta=null",
         {0, 4},
         {2, 2},
         {0.001f, 0.001f},
         LLRT_ROPE_HALVES},
        {"modernbert.gguf",
         "rope.freq_base=f1e6 rope.freq_base_swa=f100",
         {0, 4},
         {2, 2},
         {0.001f, 0.1f},
         LLRT_ROPE_HALVES},
        {"modernbert.gguf",
         "rope.freq_base=f1e6 rope.freq_base_swa=f100 attention.sliding_window_pattern=l1,0",
         {4, 0},
         {2, 2},
         {0.1f, 0.001f},
         LLRT_ROPE_HALVES},
    };
    for (size_t i = 0; i < LLRTI_COUNT(expected); i++) {
        opened o;
        const llrti_model *const m =
            need(&o, expected[i].title, &(change){.options = expected[i].options});
        for (uint32_t layer = 0; layer < 2; layer++) {
            const llrt_op *attention = NULL, *rope = NULL;
            assert_int_equal(count_ops(m, LLRT_OP_ATTENTION, layer, &attention), 1);
            if (attention->u.attention.window != expected[i].window[layer])
                fail_msg("%s, layer %u: window %u", expected[i].title, layer,
                         attention->u.attention.window);
            assert_int_equal(count_ops(m, LLRT_OP_ROPE, layer, &rope), expected[i].n_rope[layer]);
            if (!rope) continue;
            assert_int_equal(rope->u.rope.pairs, expected[i].pairs);
            assert_float_equal(rope->u.rope.inv_freq[1], expected[i].second_frequency[layer],
                               1e-6f * expected[i].second_frequency[layer]);
        }
        close_case(&o);
    }
}

static void test_slopes(void **state)
{
    (void)state;
    /* Of two heads: 2^-4 and 2^-8; Falcon scales them like scores, by 1/2. */
    static const struct {
        const char *title;
        float factor;
    } expected[] = {{"bloom", 1.0f}, {"bloom.gguf", 1.0f}, {"falcon alibi", 0.5f}};
    for (size_t i = 0; i < LLRTI_COUNT(expected); i++) {
        opened o;
        const llrt_op *op = NULL;
        count_ops(need(&o, expected[i].title, NULL), LLRT_OP_ATTENTION, 1, &op);
        assert_non_null(op->u.attention.slope);
        assert_true(op->u.attention.slope[0] == 0.0625f * expected[i].factor);
        assert_true(op->u.attention.slope[1] == 0.00390625f * expected[i].factor);
        close_case(&o);
    }
}

static void test_factors_and_caps(void **state)
{
    (void)state;
    opened o;
    const llrt_op *op = NULL;
    const llrti_model *m = need(&o, "gemma2", &(change){.options = "query_pre_attn_scalar=16"});
    assert_int_equal(count_ops(m, LLRT_OP_EMBED, 0, &op), 1);
    assert_float_equal(op->u.scale.factor, 2.8284271f, 1e-6f);
    count_ops(m, LLRT_OP_ATTENTION, 1, &op);
    assert_true(op->u.attention.scale == 0.25f && op->u.attention.soft_cap == 50.0f);
    assert_int_equal(count_ops(m, LLRT_OP_SOFT_CAP, 1, &op), 1);
    assert_true(op->u.scale.factor == 30.0f && op->out == m->logits);
    count_ops(m, LLRT_OP_RMS_NORM, 0, &op);
    assert_true(op->u.norm.weight_offset == 1.0f);
    close_case(&o);
    m = need(&o, "gemma2",
             &(change){.options = "attn_logit_softcapping=null final_logit_softcapping=null"});
    count_ops(m, LLRT_OP_ATTENTION, 1, &op);
    assert_true(op->u.attention.soft_cap == 0.0f);
    assert_int_equal(count_ops(m, LLRT_OP_SOFT_CAP, 1, NULL), 0);
    close_case(&o);
    m = need(&o, "gemma2.gguf", &(change){.options = "final_logit_softcapping=f7"});
    count_ops(m, LLRT_OP_RMS_NORM, 0, &op);
    assert_true(op->u.norm.weight_offset == 0.0f);
    count_ops(m, LLRT_OP_ATTENTION, 1, &op);
    assert_true(op->u.attention.scale == 0.5f && op->u.attention.soft_cap == 0.0f);
    assert_int_equal(count_ops(m, LLRT_OP_SOFT_CAP, 1, &op), 1);
    assert_true(op->u.scale.factor == 7.0f);
    close_case(&o);
    m = need(&o, "gemma2.gguf", &(change){.options = "embedding_scale=f2.75"});
    count_ops(m, LLRT_OP_EMBED, 0, &op);
    assert_true(op->u.scale.factor == 2.75f);
    close_case(&o);
    m = need(&o, "granite",
             &(change){.options = "embedding_multiplier=12 residual_multiplier=0.5 "
                                  "logits_scaling=4 attention_multiplier=0.125"});
    count_ops(m, LLRT_OP_EMBED, 0, &op);
    assert_true(op->u.scale.factor == 12.0f);
    count_ops(m, LLRT_OP_ATTENTION, 0, &op);
    assert_true(op->u.attention.scale == 0.125f);
    assert_int_equal(count_ops(m, LLRT_OP_SCALE, 0, &op), 2);
    assert_true(op->u.scale.factor == 0.5f);
    assert_int_equal(count_ops(m, LLRT_OP_SCALE, 1, &op), 3);
    assert_true(op->u.scale.factor == 0.25f && op->out == m->logits);
    close_case(&o);
    m = need(&o, "granite.gguf", &(change){.options = "logit_scale=f4"});
    count_ops(m, LLRT_OP_ATTENTION, 0, &op);
    assert_true(op->u.attention.scale == 0.5f);
    assert_int_equal(count_ops(m, LLRT_OP_SCALE, 1, &op), 1);
    assert_true(op->u.scale.factor == 0.25f);
    close_case(&o);
    m = need(&o, "minicpm", &(change){.options = "scale_emb=12 scale_depth=2 dim_model_base=2"});
    assert_int_equal(count_ops(m, LLRT_OP_SCALE, 0, &op), 2);
    assert_float_equal(op->u.scale.factor, 1.4142135f, 1e-6f);
    assert_int_equal(count_ops(m, LLRT_OP_SCALE, 1, &op), 3);
    assert_true(op->u.scale.factor == 0.25f);
    close_case(&o);
}

static void test_activations_of_modernbert(void **state)
{
    static const struct {
        const char *options;
        llrt_activation act;
    } expected[] = {{"", LLRT_ACT_GELU},
                    {"hidden_activation=sgelu", LLRT_ACT_GELU},
                    {"hidden_activation=ssilu", LLRT_ACT_SILU}};
    for (size_t i = 0; i < LLRTI_COUNT(expected); i++) {
        opened o;
        const llrt_op *op = NULL;
        const llrti_model *const m =
            need(&o, "modernbert.gguf", &(change){.options = expected[i].options});
        assert_int_equal(count_ops(m, LLRT_OP_GLU, 1, &op), 1);
        assert_int_equal(op->u.act.act, expected[i].act);
        close_case(&o);
    }
}

static void test_encoders_say_what_they_give(void **state)
{
    (void)state;
    opened o;
    const llrti_model *m = need(&o, "bert", NULL);
    assert_true(m->is_bidirectional && m->logits == LLRT_NONE && m->score == LLRT_NONE);
    assert_true(m->n_program == 1 && m->n_token_type == 2 && m->n_label == 0);
    assert_true(m->pooling == LLRTI_POOLING_NONE && m->n_ctx_max == 16);
    close_case(&o);
    m = need(&o, "bert with a score", NULL);
    assert_true(m->n_program == 2 && m->n_label == 3 && m->score != LLRT_NONE);
    close_case(&o);
    /* A head for something else is no score. */
    m = need(&o, "bert with a score",
             &(change){.options = "architectures=['BertForTokenClassification']"});
    assert_true(m->score == LLRT_NONE && m->n_unused == 4);
    close_case(&o);
    m = need(&o, "roberta with a score", NULL);
    assert_true(m->n_label == 1 && m->n_ctx_max == 14 && m->n_ctx == 14 && m->n_ctx_train == 14);
    const llrt_op *op = NULL;
    assert_int_equal(count_ops(m, LLRT_OP_POSITION, 0, &op), 1);
    assert_int_equal(op->u.position.offset, 2);
    close_case(&o);
    m = need(&o, "bert.gguf",
             &(change){.tensors = "cls:8x8 cls.bias:8 cls.output:8x1 cls.output.bias:1"});
    assert_true(m->n_label == 1 && m->n_unused == 0 && m->pooling == LLRTI_POOLING_MEAN);
    close_case(&o);
    m = need(&o, "bert.gguf", &(change){.tensors = "cls.output:8x2", .options = "pooling_type=u4"});
    assert_true(m->n_label == 2 && m->pooling == LLRTI_POOLING_FIRST);
    close_case(&o);
    m = need(&o, "modernbert.gguf", &(change){.tensors = "cls:8x8 cls.norm:8 cls.output:8x1"});
    assert_true(m->n_label == 1 && m->n_unused == 0);
    close_case(&o);
}

static void test_pooling_beside_a_checkpoint(void **state)
{
    (void)state;
    static const struct {
        const char *side;
        llrt_status status;
        llrti_pooling pooling;
        const char *field;
    } sides[] = {
        {"{}", LLRT_OK, LLRTI_POOLING_NONE, NULL},
        {"{\"pooling_mode_cls_token\":true,\"pooling_mode_mean_tokens\":false}", LLRT_OK,
         LLRTI_POOLING_FIRST, NULL},
        {"{\"pooling_mode_mean_tokens\":true}", LLRT_OK, LLRTI_POOLING_MEAN, NULL},
        {"{\"pooling_mode_max_tokens\":true}", LLRT_OK, LLRTI_POOLING_MAX, NULL},
        {"{\"pooling_mode_lasttoken\":true}", LLRT_OK, LLRTI_POOLING_LAST, NULL},
        {"{\"pooling_mode_weightedmean_tokens\":true}", LLRT_ERR_UNSUPPORTED, 0,
         "pooling_mode_weightedmean_tokens"},
        {"{\"pooling_mode_cls_token\":true,\"pooling_mode_mean_tokens\":true}",
         LLRT_ERR_UNSUPPORTED, 0, "pooling_mode_mean_tokens"},
        {"{\"pooling_mode", LLRT_ERR_FORMAT, 0, "1_Pooling/config.json"},
    };
    for (size_t i = 0; i < LLRTI_COUNT(sides); i++) {
        opened o;
        assert_int_equal(open_case(&o, find_case("bert"), &(change){.side = sides[i].side}),
                         sides[i].status);
        if (sides[i].status == LLRT_OK)
            assert_int_equal(o.model->pooling, sides[i].pooling);
        else
            assert_string_equal(o.err.field, sides[i].field);
        close_case(&o);
    }
}

/* What came of either spelling of one thing. */
static void test_names_of_old_and_nested_checkpoints(void **state)
{
    (void)state;
    opened o;
    static const family_case nested = {
        "gemma3 with images", "gemma3", false,
        "text_config={'vocab_size':11,'hidden_size':8,'intermediate_size':12,'num_hidden_layers':2,"
        "'num_attention_heads':2,'num_key_value_heads':1,'head_dim':4,'sliding_window':5}",
        "language_model.model.embed_tokens:8x11 language_model.model.norm:8"};
    /* It gets as far as the first tensor of a layer, under the name it has there. */
    assert_int_equal(open_case(&o, &nested, NULL), LLRT_ERR_FORMAT);
    assert_string_equal(o.err.field, "language_model.model.layers.0.input_layernorm.weight");
    close_case(&o);
    /* Layer norms of the first BERTs have gamma and beta. */
    static const family_case old = {"old bert", "bert", false, HF_SIZES,
                                    "bert.embeddings.word_embeddings:8x11 "
                                    "bert.embeddings.position_embeddings:8x16 "
                                    "bert.embeddings.LayerNorm.beta.bias:8"};
    assert_int_equal(open_case(&o, &old, NULL), LLRT_ERR_FORMAT);
    assert_string_equal(o.err.field, "bert.embeddings.LayerNorm.weight");
    close_case(&o);
}

static void test_every_allocation_can_fail(void **state)
{
    (void)state;
    static const char *const titles[] = {"gemma3", "falcon alibi", "bert with a score"};
    for (size_t i = 0; i < LLRTI_COUNT(titles); i++) {
        opened o;
        need(&o, titles[i], &(change){.side = "{\"pooling_mode_cls_token\":true}"});
        check_allocations(&o);
        close_case(&o);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_tensor_is_used),
        cmocka_unit_test(test_missing_tensors_are_named),
        cmocka_unit_test(test_misshapen_tensors_are_named),
        cmocka_unit_test(test_options_are_refused_by_name),
        cmocka_unit_test(test_windows_and_rotations),
        cmocka_unit_test(test_slopes),
        cmocka_unit_test(test_factors_and_caps),
        cmocka_unit_test(test_activations_of_modernbert),
        cmocka_unit_test(test_encoders_say_what_they_give),
        cmocka_unit_test(test_pooling_beside_a_checkpoint),
        cmocka_unit_test(test_names_of_old_and_nested_checkpoints),
        cmocka_unit_test(test_every_allocation_can_fail),
    };
    return cmocka_run_group_tests_name("dense families", tests, NULL, NULL);
}
