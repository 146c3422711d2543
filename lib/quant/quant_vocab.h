/* SPDX-License-Identifier: MIT */
/*
 * The tokenizer of a Hugging Face folder as the metadata a GGUF has it in. Names, merges and types
 * come from tokenizer.json, everything else from the tokenizer that llrt makes of the folder; the
 * tokenizer of the GGUF is then held against that one. One thread.
 */
#ifndef LLRTI_QUANT_VOCAB_H
#define LLRTI_QUANT_VOCAB_H

#include "quant_meta.h"

/**
 * Adds tokenizer.ggml.* and tokenizer.chat_template. A folder without tokenizer.json gives
 * tokenizer.ggml.model "none".
 * @return LLRT_OK, LLRT_ERR_UNSUPPORTED (a pre-tokenizer GGUF has no name for), errors of reading
 */
llrt_status llrti_quant_vocab_add(llrti_mem *mem, const llrti_model_file *folder,
                                  llrti_quant_meta *metas, llrt_error *err);

/** LLRT_ERR_UNSUPPORTED when the tokenizers of the two differ in a token or in how they cut text. */
llrt_status llrti_quant_vocab_check(llrti_mem *mem, const llrti_model_file *folder,
                                    const llrti_model_file *gguf, llrt_error *err);

#endif
