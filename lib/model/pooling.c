/* SPDX-License-Identifier: MIT */
/*
 * Reading the kind of pooling; see pooling.h. Several modes at once, which sentence-transformers
 * concatenates, and weighted means are refused: no published model needs them and a wrong vector
 * can't be told from a right one.
 */
#include "pooling.h"

#include "json.h"

#define SIDE_FILE "1_Pooling/config.json"

static const llrti_hparam type = {"pooling_type", NULL, 0, 4};

static void read_gguf(llrti_builder *b)
{
    /* The numbers of the format; 4 stands for a score, made from the first token. */
    static const llrti_pooling known[] = {LLRTI_POOLING_NONE, LLRTI_POOLING_MEAN,
                                          LLRTI_POOLING_FIRST, LLRTI_POOLING_LAST,
                                          LLRTI_POOLING_FIRST};
    b->model->pooling = known[llrti_hparams_u32_or(&b->hp, &type, 0)];
}

static void take_modes(llrti_builder *b, const llrti_json *root)
{
    static const struct {
        const char *key;
        llrti_pooling pooling;
    } modes[] = {
        {"pooling_mode_cls_token", LLRTI_POOLING_FIRST},
        {"pooling_mode_mean_tokens", LLRTI_POOLING_MEAN},
        {"pooling_mode_max_tokens", LLRTI_POOLING_MAX},
        {"pooling_mode_lasttoken", LLRTI_POOLING_LAST},
        {"pooling_mode_mean_sqrt_len_tokens", LLRTI_POOLING_NONE},
        {"pooling_mode_weightedmean_tokens", LLRTI_POOLING_NONE},
    };
    uint32_t n = 0;
    for (size_t i = 0; i < LLRTI_COUNT(modes); i++) {
        const llrti_json *const mode = llrti_json_get(root, modes[i].key);
        if (!mode || mode->type != LLRTI_JSON_BOOL || !mode->value.b) continue;
        b->model->pooling = modes[i].pooling;
        if (modes[i].pooling == LLRTI_POOLING_NONE || ++n > 1) {
            llrti_build_fail(b, LLRT_ERR_UNSUPPORTED, modes[i].key,
                             SIDE_FILE ": '%s': expected one mode of cls_token, mean_tokens, "
                                       "max_tokens and lasttoken",
                             modes[i].key);
            return;
        }
    }
}

void llrti_pooling_read(llrti_builder *b)
{
    if (!llrti_build_ok(b)) return;
    if (b->hp.is_gguf) {
        read_gguf(b);
        return;
    }
    char *text = NULL;
    size_t n;
    llrti_json_doc *doc = NULL;
    llrt_error err = LLRT_ERROR_INIT;
    llrt_status status = llrti_model_file_read_side(b->hp.file, b->mem, SIDE_FILE, &text, &n, &err);
    if (status == LLRT_ERR_NOT_FOUND) return;
    if (status >= 0) status = llrti_json_parse(b->mem, text, n, &doc, &err);
    if (status >= 0)
        take_modes(b, llrti_json_root(doc));
    else
        llrti_build_fail(b, status, SIDE_FILE, SIDE_FILE ": %s", err.text);
    llrti_json_free(doc);
    llrti_free(b->mem, text);
}
