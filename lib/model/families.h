/* SPDX-License-Identifier: MIT */
/*
 * The list of model families. A family is a file family_*.c that defines llrti_family_<function>,
 * and a line here: its name in general.architecture (GGUF) or model_type (config.json), which of
 * the two kinds of file it is known from, the function, and the separator before its name in the
 * text of all names.
 */
#ifndef LLRTI_FAMILIES_H
#define LLRTI_FAMILIES_H

#include "builder.h"

/* clang-format off */
/** X(name, in GGUF files, in config.json, function, separator) */
#define LLRTI_FAMILY_MAP(X)                   \
    X("llama",   true,  true, llama,   "")    \
    X("mistral", false, true, mistral, ", ")  \
    X("qwen2",   true,  true, qwen2,   ", ")  \
    X("qwen3",   true,  true, qwen3,   ", ")  \
    X("gpt2",    true,  true, gpt2,    ", ")  \
    X("gemma",   true,  true, gemma,   ", ")  \
    X("gemma2",  true,  true, gemma2,  ", ")  \
    X("gemma3",  true,  true, gemma3,  ", ")  \
    X("gemma3_text", false, true, gemma3, ", ") \
    X("phi2",    true,  false, phi,    ", ")  \
    X("phi",     false, true, phi,     ", ")  \
    X("phi3",    true,  true, phi3,    ", ")  \
    X("olmo2",   true,  true, olmo2,   ", ")  \
    X("olmo3",   false, true, olmo3,   ", ")  \
    X("starcoder2", true, true, starcoder2, ", ") \
    X("falcon",  true,  true, falcon,  ", ")  \
    X("granite", true,  true, granite, ", ")  \
    X("minicpm", true,  true, minicpm, ", ")  \
    X("smollm3", true,  true, smollm3, ", ")  \
    X("internlm2", true, true, internlm2, ", ") \
    X("glm",     false, true, glm,     ", ")  \
    X("glm4",    true,  true, glm4,    ", ")  \
    X("command-r", true, false, cohere, ", ") \
    X("cohere",  false, true, cohere,  ", ")  \
    X("cohere2", true,  true, cohere2, ", ")  \
    X("gptneox", true,  false, gptneox, ", ") \
    X("gpt_neox", false, true, gptneox, ", ") \
    X("gptj",    false, true, gptj,    ", ")  \
    X("opt",     false, true, opt,     ", ")  \
    X("stablelm", true, true, stablelm, ", ") \
    X("bloom",   true,  true, bloom,   ", ")  \
    X("bert",    true,  true, bert,    ", ")  \
    X("roberta", false, true, roberta, ", ")  \
    X("xlm-roberta", false, true, roberta, ", ") \
    X("modernbert", false, true, modernbert, ", ") \
    X("modern-bert", true, false, modernbert, ", ") \
    X("mixtral", false, true, mixtral, ", ")  \
    X("qwen2moe", true, false, qwen2_moe, ", ") \
    X("qwen2_moe", false, true, qwen2_moe, ", ") \
    X("qwen3moe", true, false, qwen3_moe, ", ") \
    X("qwen3_moe", false, true, qwen3_moe, ", ") \
    X("olmoe",   true,  true, olmoe,   ", ")  \
    X("gpt-oss", true,  false, gpt_oss, ", ") \
    X("gpt_oss", false, true, gpt_oss, ", ")  \
    X("deepseek2", true, false, deepseek2, ", ") \
    X("deepseek_v2", false, true, deepseek2, ", ") \
    X("deepseek_v3", false, true, deepseek3, ", ") \
    X("qwen3next", true, false, qwen3_next, ", ") \
    X("qwen3_next", false, true, qwen3_next, ", ") \
    X("qwen35",  true,  false, qwen3_5, ", ") \
    X("qwen3_5", false, true, qwen3_5, ", ")  \
    X("qwen3_5_text", false, true, qwen3_5, ", ") \
    X("qwen35moe", true, false, qwen3_5_moe, ", ") \
    X("qwen3_5_moe", false, true, qwen3_5_moe, ", ") \
    X("qwen3_5_moe_text", false, true, qwen3_5_moe, ", ") \
    X("mamba2",  true,  true, mamba2,  ", ")  \
    X("granitemoe", true, true, granitemoe, ", ")
/* clang-format on */

/* A function can serve several names, so declarations repeat, which C allows. */
#define LLRTI_FAMILY_DECLARE(name, is_gguf, is_hf, function, separator)                            \
    void llrti_family_##function(llrti_builder *b);
LLRTI_FAMILY_MAP(LLRTI_FAMILY_DECLARE)

/** All families; the last entry has no name. */
extern const llrti_family llrti_families[];

#endif
