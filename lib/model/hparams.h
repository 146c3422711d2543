/* SPDX-License-Identifier: MIT */
/*
 * Hyper-parameters of a model, by one name for both kinds of file: metadata
 * "<architecture>.<key>" of a GGUF, members of config.json of a Hugging Face folder. A
 * llrti_hparam states both spellings and the range that makes sense, once; LLRTI_HP() names the
 * common ones.
 *
 * Errors are sticky, so that a family reads its parameters one after the other and looks at the
 * status once: the first failure is kept in `status` and `err`, later calls do nothing and return
 * their fall-back (1 for a required number, so that arithmetic on it stays defined). A missing,
 * mistyped, non-finite or out-of-range parameter is LLRT_ERR_FORMAT and names the key, what was
 * found and what was expected. Numbers that are whole count as integers whatever type the file
 * gives them. One thread at a time; everything is borrowed from the model file.
 */
#ifndef LLRTI_HPARAMS_H
#define LLRTI_HPARAMS_H

#include "error.h"
#include "facts.h"
#include "model_file.h"

typedef struct llrti_hparam {
    const char *gguf; /* key after "<architecture>."; NULL: GGUF files never have it */
    /* Keys in config.json, best first, separated by '|'; '.' descends into objects; NULL: none. */
    const char *hf;
    double min, max; /* both included; not used for strings and booleans */
} llrti_hparam;

enum {
    LLRTI_HP_N_LAYER,
    LLRTI_HP_D_MODEL,
    LLRTI_HP_D_FF,
    LLRTI_HP_N_HEAD,
    LLRTI_HP_N_KV_HEAD,
    LLRTI_HP_HEAD_DIM,
    LLRTI_HP_V_DIM,
    LLRTI_HP_N_CTX,
    LLRTI_HP_N_VOCAB,
    LLRTI_HP_RMS_EPS,
    LLRTI_HP_NORM_EPS,
    LLRTI_HP_WINDOW,
    LLRTI_HP_ACT,
    LLRTI_HP_TIED,
    LLRTI_HP_ATTENTION_BIAS,
    LLRTI_HP_MLP_BIAS,
    LLRTI_HP_ROPE_BASE,
    LLRTI_HP_N_ROT,
    LLRTI_HP_PARTIAL_ROTARY,
    LLRTI_HP_COUNT
};

/** The common parameters, indexed by LLRTI_HP_.... */
extern const llrti_hparam llrti_hparam_table[LLRTI_HP_COUNT];
#define LLRTI_HP(name) (&llrti_hparam_table[LLRTI_HP_##name])

typedef struct llrti_hparams {
    const llrti_model_file *file;
    bool is_gguf;
    char architecture[64];    /* general.architecture or model_type */
    const llrti_json *config; /* config.json, or the "text_config" a family chose; NULL for GGUF */
    /* Layer type whose member of rope_parameters is read in place of it, if it has one; or NULL. */
    const char *rope_section;
    llrt_status status; /* the first failure; LLRT_OK while there is none */
    llrt_error *err;
    llrti_facts *facts; /* notes what is read from config.json; NULL: nothing is noted */
} llrti_hparams;

/** Finds out the architecture. `file` and `err` are retained as long as the struct is in use. */
llrt_status llrti_hparams_init(llrti_hparams *hp, const llrti_model_file *file, llrt_error *err);

/** Records a failure unless there is one already. `key` may be NULL. */
void llrti_hparams_fail(llrti_hparams *hp, llrt_status status, const llrti_hparam *key,
                        const char *format, ...) LLRTI_PRINTF(4, 5);

/** The file has the parameter, and not as null. */
bool llrti_hparams_has(llrti_hparams *hp, const llrti_hparam *key);

/** config.json has it as null: absent by intention, where leaving it out means a default. */
bool llrti_hparams_is_null(llrti_hparams *hp, const llrti_hparam *key);

uint32_t llrti_hparams_u32(llrti_hparams *hp, const llrti_hparam *key); /* required */
uint32_t llrti_hparams_u32_or(llrti_hparams *hp, const llrti_hparam *key, uint32_t otherwise);
double llrti_hparams_f64(llrti_hparams *hp, const llrti_hparam *key); /* required */
double llrti_hparams_f64_or(llrti_hparams *hp, const llrti_hparam *key, double otherwise);
bool llrti_hparams_bool_or(llrti_hparams *hp, const llrti_hparam *key, bool otherwise);
/** `otherwise` may be NULL, which then comes back with n = 0. */
llrti_string llrti_hparams_string_or(llrti_hparams *hp, const llrti_hparam *key,
                                     const char *otherwise);

/**
 * A number that may differ by layer (an array in GGUF and in config.json): the value of `layer`,
 * or the one value of all. llrti_hparams_u32 takes an array too, when all its elements are equal.
 */
uint32_t llrti_hparams_u32_layer(llrti_hparams *hp, const llrti_hparam *key, uint32_t layer,
                                 uint32_t otherwise);

/** Number of elements when the parameter is an array, else 0. */
uint32_t llrti_hparams_n_element(llrti_hparams *hp, const llrti_hparam *key);
/**
 * Element of an array of numbers, of booleans (0 and 1 are such), or of strings. Outside the array or of another type: a failure.
 */
double llrti_hparams_f64_at(llrti_hparams *hp, const llrti_hparam *key, uint32_t index);
bool llrti_hparams_bool_at(llrti_hparams *hp, const llrti_hparam *key, uint32_t index);
llrti_string llrti_hparams_string_at(llrti_hparams *hp, const llrti_hparam *key, uint32_t index);

/** True when the strings are the same bytes. */
bool llrti_string_is(llrti_string string, const char *text);

#endif
