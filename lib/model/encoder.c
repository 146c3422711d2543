/* SPDX-License-Identifier: MIT */
/*
 * Ends of encoders; see encoder.h. A head is computed for every wanted row; it means something for
 * the first token of a text.
 */
#include "encoder.h"

#include <string.h>

bool llrti_encoder_has_score(llrti_builder *b, const llrti_score_head *head)
{
    static const llrti_hparam classes = {NULL, "architectures", 0, 0};
    static const char suffix[] = "ForSequenceClassification";
    if (b->hp.is_gguf)
        return llrti_build_has(b, &head->dense, ".weight") ||
               llrti_build_has(b, &head->out, ".weight");
    if (llrti_hparams_n_element(&b->hp, &classes) == 0) return false;
    const llrti_string name = llrti_hparams_string_at(&b->hp, &classes, 0);
    const size_t n = sizeof suffix - 1;
    return name.n >= n && memcmp(name.data + name.n - n, suffix, n) == 0;
}

static uint32_t score(llrti_builder *b, uint32_t x, const llrti_decoder *d,
                      const llrti_score_head *head)
{
    const bool is_gguf = b->hp.is_gguf;
    const llrti_weight_flags flags = is_gguf ? LLRTI_WEIGHT_OPTIONAL : 0;
    const uint32_t dense = llrti_build_matrix(b, &head->dense, d->d_model, d->d_model, flags);
    if (dense != LLRT_NONE) {
        const bool has_bias = is_gguf ? llrti_build_has(b, &head->dense, ".bias")
                                      : head->dense_bias == LLRTI_BIAS_REQUIRED;
        const uint32_t bias =
            has_bias ? llrti_build_vector(b, &head->dense, ".bias", d->d_model, 0) : LLRT_NONE;
        x = llrti_build_linear(b, x, dense, bias, 1, d->d_model);
        x = llrti_build_activate(b, x, head->act);
    }
    if (head->norm.gguf && (!is_gguf || llrti_build_has(b, &head->norm, ".weight"))) {
        const uint32_t weight = llrti_build_vector(b, &head->norm, ".weight", d->d_model, 0);
        const uint32_t bias =
            llrti_build_vector(b, &head->norm, ".bias", d->d_model, LLRTI_WEIGHT_OPTIONAL);
        x = llrti_build_layer_norm(b, x, weight, bias, d->norm_eps);
    }
    const uint32_t out = llrti_build_matrix(b, &head->out, d->d_model, 0, flags);
    if (out == LLRT_NONE) return x;
    const uint32_t n = llrti_build_rows_of(b, out);
    const uint32_t bias = llrti_build_vector(b, &head->out, ".bias", n, LLRTI_WEIGHT_OPTIONAL);
    return llrti_build_linear(b, x, out, bias, 1, n);
}

void llrti_encoder_finish(llrti_builder *b, const llrti_decoder *d, uint32_t x, bool norm,
                          const llrti_score_head *head)
{
    uint32_t hidden = llrti_build_gather(b, x);
    if (norm) hidden = llrti_decoder_norm(b, d, hidden, LLRTI_DECODER_NORM);
    llrti_build_hidden(b, hidden);
    if (llrti_build_ok(b) && llrti_encoder_has_score(b, head))
        llrti_build_score(b, score(b, hidden, d, head));
}
