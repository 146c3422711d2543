/* SPDX-License-Identifier: MIT */
/*
 * llrt_adapter: a LoRA adapter, loaded for one engine. It changes some of the model's matrices by
 * products of two thin ones, without touching the weights: sessions with different adapters, or
 * none, compute in the same step.
 *
 * Immutable; any thread may call any function at any time, also while sessions compute. Sessions
 * keep the adapters they use, and adapters their engine, so closing in any order is legal. An
 * engine has room for as many adapters as its options say (n_adapter, adapter_rank); its plan
 * contains them.
 */
#ifndef LLRT_ADAPTER_H
#define LLRT_ADAPTER_H

#include "session.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct llrt_adapter llrt_adapter;

typedef struct llrt_adapter_options {
    uint32_t struct_size;
    uint32_t reserved; /**< 0 */
    /** borrowed during the call; default NULL: the file system */
    const llrt_source *source;
} llrt_adapter_options;

typedef struct llrt_adapter_info {
    uint32_t struct_size;
    uint32_t n_weight; /**< matrices of the model that it changes */
    uint32_t rank;     /**< the highest of its ranks */
    uint32_t reserved;
    uint64_t n_parameter; /**< elements of its own matrices */
} llrt_adapter_info;

LLRT_API void llrt_adapter_options_init(llrt_adapter_options *options, size_t struct_size);

/**
 * Loads an adapter: a PEFT folder (adapter_config.json, adapter_model.safetensors; the latter may
 * be named as well) or a GGUF adapter. Either goes with a model of either kind.
 * @param path    borrowed; a name in options->source or the file system
 * @param options borrowed, NULL: defaults
 * @param out     NULL on failure
 * @return LLRT_OK
 *   LLRT_ERR_STATE: the engine has no room: the error's field names the option to open it with
 *     (n_adapter, adapter_rank)
 *   LLRT_ERR_MISMATCH: the adapter is for another model: the text says which tensor or shape
 *   LLRT_ERR_UNSUPPORTED: DoRA, whole modules, biases, embeddings; or a backend without adapters
 *   LLRT_ERR_NOT_FOUND, LLRT_ERR_IO, LLRT_ERR_FORMAT: the error names file and field
 *   LLRT_ERR_ARGUMENT, LLRT_ERR_NOMEM, LLRT_ERR_DEVICE, LLRT_ERR_FORKED
 */
LLRT_API llrt_status llrt_adapter_open(llrt_engine *engine, const char *path,
                                       const llrt_adapter_options *options, llrt_adapter **out,
                                       llrt_error *err);

/** Describes the adapter; set info->struct_size first. */
LLRT_API llrt_status llrt_adapter_get_info(const llrt_adapter *adapter, llrt_adapter_info *info,
                                           llrt_error *err);

/**
 * Ends the caller's use of the adapter; its room is free again when no session uses it. NULL is
 * fine.
 */
LLRT_API void llrt_adapter_close(llrt_adapter *adapter);

/**
 * Sets the adapters that the session's tokens are computed with, instead of those it has; they
 * act together, in the order given. What a session holds was computed with one set, so the session
 * must be empty (a new one, or rewound to 0) unless the set stays the same. Forks inherit the
 * adapters; a saved session is loaded only into one with the same ones.
 * @param adapters (n) distinct adapters of the session's engine, retained while in use; n 0: none
 * @param scales   (n) factors, finite, borrowed; NULL: 1 for each
 * @return LLRT_OK
 *   LLRT_ERR_STATE: the session holds tokens; nothing changed
 *   LLRT_ERR_ARGUMENT: an adapter that is NULL, of another engine or there twice, or a scale that
 *     is not finite (position: its index); nothing changed
 *   LLRT_ERR_BUSY, LLRT_ERR_NOMEM, LLRT_ERR_FORKED
 */
LLRT_API llrt_status llrt_session_set_adapters(llrt_session *session, llrt_adapter *const *adapters,
                                               const float *scales, size_t n, llrt_error *err);

#ifdef __cplusplus
}
#endif
#endif
