/* SPDX-License-Identifier: MIT */
/*
 * A model's metadata as text, for llrt_engine_meta: GGUF entries in the order of the file, or the JSON
 * files of a folder flattened ("config.json:rope_scaling.factor"). Built once, then constant.
 */
#ifndef LLRTI_META_TEXT_H
#define LLRTI_META_TEXT_H

#include <llrt/engine.h>

#include "arena.h"
#include "model_file.h"

typedef struct llrti_meta_text {
    llrti_arena arena;
    LLRTI_VEC(llrt_meta) entries;
} llrti_meta_text;

/** Fills a zeroed struct; memory of class HOST. LLRT_OK or LLRT_ERR_NOMEM. */
llrt_status llrti_meta_text_create(llrti_mem *mem, const llrti_model_file *file,
                                   llrti_meta_text *out, llrt_error *err);
void llrti_meta_text_free(llrti_mem *mem, llrti_meta_text *text); /* a zeroed one is fine */

#endif
