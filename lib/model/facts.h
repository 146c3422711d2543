/* SPDX-License-Identifier: MIT */
/*
 * What a GGUF file of a model would say, noted down while the model's family reads a Hugging Face
 * folder: hyper-parameters under their GGUF keys, and small tensors that only such files have.
 * Families need to do nothing for it: llrti_hparams_... and llrti_rope_... note what passes through
 * them when llrti_hparams.facts is set.
 *
 * Lack of memory is sticky (is_short); all functions accept NULL facts and do nothing then. One
 * thread.
 */
#ifndef LLRTI_FACTS_H
#define LLRTI_FACTS_H

#include "arena.h"
#include "model_file.h"

/** A hyper-parameter. */
typedef struct llrti_fact {
    const char *key;      /* after "<architecture>." */
    llrti_meta_type type; /* U32, F32, BOOL, STRING */
    bool is_given;        /* config.json has it; else it is a fall-back */
    uint32_t u;           /* U32, BOOL */
    double f;
    llrti_string s;
    LLRTI_VEC(uint32_t) layer; /* U32 that is a list, mostly by layer; n 0: it is not */
} llrti_fact;

typedef struct llrti_fact_tensor {
    const char *name;
    const float *value; /* (n) */
    uint32_t n;
} llrti_fact_tensor;

typedef struct llrti_facts {
    llrti_mem *mem;
    llrti_arena arena;
    LLRTI_VEC(llrti_fact) fact;
    LLRTI_VEC(llrti_fact_tensor) tensor;
    const char *architecture; /* as GGUF files call it; NULL: there are none known */
    char problem[256];        /* what a GGUF can't say; "" when nothing stands in the way */
    bool is_short;
} llrti_facts;

void llrti_facts_init(llrti_facts *facts, llrti_mem *mem);
void llrti_facts_free(llrti_facts *facts);

/** A value that is given replaces one that isn't; otherwise the first stays. */
void llrti_facts_u32(llrti_facts *facts, const char *key, uint32_t value, bool is_given);
void llrti_facts_f64(llrti_facts *facts, const char *key, double value, bool is_given);
void llrti_facts_bool(llrti_facts *facts, const char *key, bool value);
void llrti_facts_string(llrti_facts *facts, const char *key, llrti_string value);
void llrti_facts_u32_layer(llrti_facts *facts, const char *key, uint32_t layer, uint32_t value);
/** The value stands in place of whatever was noted. */
void llrti_facts_correct_u32(llrti_facts *facts, const char *key, uint32_t value);
/** A small F32 tensor; name and values are copied. */
void llrti_facts_tensor(llrti_facts *facts, const char *name, const float *value, uint32_t n);
/** Something a GGUF can't say; the first one counts. */
void llrti_facts_problem(llrti_facts *facts, const char *text);

#endif
