/* SPDX-License-Identifier: MIT */
/*
 * llrt_engine: a loaded model on one or more devices, with its weights, worker threads and the
 * pool of KV pages that its sessions share. Any thread may call any function at any time.
 * Sessions keep their engine alive, so closing in any order is legal: llrt_engine_close takes
 * effect when the last session is gone. After fork(2) the child gets LLRT_ERR_FORKED.
 *
 * Memory is decided at opening: llrt_engine_plan says beforehand, to the byte, what
 * llrt_engine_open with the same options will request.
 */
#ifndef LLRT_ENGINE_H
#define LLRT_ENGINE_H

#include "device.h"
#include "source.h"
#include "tensor.h"
#include "tokenizer.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct llrt_engine llrt_engine;

/**
 * Called while a model loads, from the opening thread, with the part done (0 to 1). Return not 0 to
 * cancel: LLRT_ERR_CANCELLED.
 */
typedef int (*llrt_progress)(void *ctx, double done);

/**
 * The host's own thread pool: runs body(arg, i) once for every i < n, on any threads, and returns
 * when all are done.
 */
typedef void (*llrt_parallel_for)(void *ctx, uint32_t n, void (*body)(void *arg, uint32_t index),
                                  void *arg);

/** A run of layers on one device. */
typedef struct llrt_placement {
    const char *device; /**< name as in llrt_device_info, borrowed during the call */
    /** how many layers; 0: the layers left over, shared evenly among the entries with 0 */
    uint32_t n_layer;
} llrt_placement;

typedef struct llrt_engine_options {
    uint32_t struct_size;
    /** most tokens of a session; default 0: what the model was trained for, 8192 at most */
    uint32_t n_ctx;
    /** tokens in the KV pool of all sessions; default 0: 2 * n_ctx, rounded up to whole pages */
    uint64_t kv_tok;
    uint64_t kv_bytes; /**< the same as bytes, instead of kv_tok; default 0 */
    /**
     * most tokens computed in one step; longer input is cut; default 0: 512, or n_ctx for a model
     * that reads its input as a whole (is_bidirectional)
     */
    uint32_t n_step_tok;
    uint32_t n_step_seq; /**< most sessions in one step; default 16 */
    uint32_t n_step_out; /**< most rows of logits in one step; default 16 */
    /** worker threads, the calling one included; default 0: the processors of the affinity mask */
    uint32_t n_thread;
    llrt_type kv_type;        /**< LLRT_TYPE_F32, F16 (default), BF16 or Q8_0 */
    llrt_precision precision; /**< default LLRT_PRECISION_AUTO */
    llrt_weights weights;     /**< default LLRT_WEIGHTS_REPACKED */
    /** 1: read headers and vocabulary, no weights; computing calls return LLRT_ERR_STATE */
    uint32_t metadata_only;
    /**
     * highest CPU instruction set level ("ref", "avx2", "avx512" ...), borrowed; default NULL: the
     * best
     */
    const char *isa;
    /** borrowed; default NULL: all layers on the first device ("cpu") */
    const llrt_placement *placement;
    uint32_t n_placement;
    uint32_t reserved; /**< 0 */
    /** where libllrt-<backend> plug-ins are, borrowed; default NULL: the folder libllrt lies in */
    const char *plugin_dir;
    /**
     * most bytes of host memory at any time, 0: only the machine's memory limits; exceeding it is
     * LLRT_ERR_BUDGET before anything is loaded
     */
    uint64_t memory_budget;
    /** how long the first of several threads waits for company in a step; default 0 */
    uint64_t merge_delay_ns;
    /** retained; default NULL: the engine starts its own threads */
    llrt_parallel_for parallel_for;
    void *parallel_ctx;
    llrt_progress progress; /**< default NULL */
    void *progress_ctx;
    /** borrowed (retained with LLRT_WEIGHTS_MAPPED); default NULL: the file system */
    const llrt_source *source;
    const llrt_allocator *allocator; /**< copied; default NULL: the default */
    const llrt_logger *logger;       /**< copied; default NULL: silent */
    /**
     * tokens that the pages of windowed layers hold, of all sessions; default 0: enough for
     * n_step_seq sessions and a step. Each session holds the window and up to two pages. No effect
     * on models without windows
     */
    uint64_t kv_window_tok;
    /**
     * recurrent states kept at the ends of pages, for rewinding and shared prefixes, beside two for
     * each of n_step_seq sessions and one; default 0: one per page, but 512 MiB at most (16 at
     * least). More sessions, each with one state, take of them. No effect on models without
     * recurrent layers
     */
    uint64_t n_snapshot;
    /** LoRA adapters that can be open at once (adapter.h), and their highest rank; default 0 */
    uint32_t n_adapter, adapter_rank;
    uint32_t with_squares; /**< 1: sum up the squares of all linears' inputs (imatrix.h) */
    /** layers whose output sessions can read (llrt_session_tap), ascending, borrowed; default none */
    uint32_t n_tap;
    const uint32_t *tap_layer;
} llrt_engine_options;

/** Bytes on one device. */
typedef struct llrt_plan_device {
    char name[64];
    uint64_t bytes[16];       /**< by llrt_memory class, after opening */
    uint64_t loading_peak;    /**< further bytes at the peak of opening */
    uint64_t driver_estimate; /**< what a driver is expected to take beside that */
} llrt_plan_device;

/** What an engine will request. On the CPU device the bytes come from the host's memory. */
typedef struct llrt_plan {
    uint32_t struct_size;
    uint32_t n_device;
    uint64_t host[16]; /**< by llrt_memory class: the library's own, beside the devices' */
    /** further bytes (LLRT_MEMORY_SESSION) for each session with default options */
    uint64_t session;
    uint64_t host_total; /**< host memory after opening, without sessions */
    uint64_t host_peak;  /**< host memory at the peak of opening */
    uint64_t kv_tok;     /**< tokens the KV pool holds */
    uint32_t n_ctx;      /**< context per session */
    uint32_t reserved;
    llrt_plan_device device[8];
    uint64_t kv_window_tok; /**< tokens the pages of windowed layers hold, 0: there are none */
    uint64_t n_state;       /**< recurrent states, of sessions and snapshots, 0: there are none */
} llrt_plan;

/** How the hidden states of a text's tokens become one vector (embedding.h). */
typedef uint32_t llrt_pooling;
enum {
    LLRT_POOLING_DEFAULT = 0, /**< what the model was made for */
    LLRT_POOLING_MEAN = 1,
    LLRT_POOLING_CLS = 2,  /**< the first token's */
    LLRT_POOLING_LAST = 3, /**< the last token's */
    LLRT_POOLING_MAX = 4   /**< the largest of each element */
};

/** What a model is. Strings live as long as the engine. */
typedef struct llrt_model_info {
    uint32_t struct_size;
    uint32_t n_ctx_train;     /**< context the model was trained for */
    const char *architecture; /**< "llama", "qwen3" ... */
    const char *name;         /**< from the metadata, "" when it has none */
    const char *type_name;    /**< the type most weights have, "Q4_K" */
    uint64_t n_parameter;
    uint64_t n_weight_byte; /**< in the file */
    uint32_t n_layer, n_head, n_kv_head, head_dim, d_model, d_ff, n_vocab;
    uint32_t n_ctx;     /**< context per session of this engine */
    uint64_t n_kv_byte; /**< bytes of KV per token, all layers, windowed ones included */
    uint32_t has_tokenizer;
    uint32_t can_generate; /**< 1: logits of the next token */
    uint32_t window;       /**< sliding window, 0: none */
    uint32_t reserved;
    uint64_t n_kv_window_byte; /**< part of n_kv_byte that is kept for the window only */
    uint64_t n_state_byte;     /**< bytes of a recurrent state, 0: none */
    uint32_t is_bidirectional; /**< 1: an input is read as a whole, in one step */
    uint32_t can_embed;        /**< 1: hidden states, and with them embeddings */
    llrt_pooling pooling;      /**< what LLRT_POOLING_DEFAULT stands for */
    uint32_t n_label;          /**< scores that llrt_session_score gives, 0: none */
    uint32_t n_token_type;     /**< token types the model knows, 0: none */
    uint32_t reserved2;
} llrt_model_info;

/** A metadata entry. Strings live as long as the engine. */
typedef struct llrt_meta {
    uint32_t struct_size;
    uint32_t n_element; /**< of an array, else 1 */
    const char *key;    /**< as in the file; for JSON files "config.json:hidden_size" */
    const char *type;   /**< "u32", "f32", "bool", "string", "array of string" ... */
    const char *value;  /**< as text; arrays are cut after a few elements */
} llrt_meta;

typedef struct llrt_tensor_info {
    uint32_t struct_size;
    uint32_t n_dim;
    const char *name; /**< lives as long as the engine */
    const char *type_name;
    llrt_type type;
    uint32_t file;   /**< which of the model's files, counted from 0 */
    uint64_t dim[4]; /**< dim[0] is contiguous */
    uint64_t offset; /**< of its first byte in that file */
    uint64_t n_byte;
} llrt_tensor_info;

typedef struct llrt_engine_stats {
    uint32_t struct_size;
    uint32_t n_session;      /**< open now */
    uint64_t n_step;         /**< steps since opening */
    uint64_t n_tok_computed; /**< rows of tokens computed */
    uint64_t n_tok_reused;   /**< tokens taken from pages that were there already */
    uint64_t n_page;         /**< pages in the KV pool */
    uint64_t n_page_used;    /**< held by sessions */
    uint64_t n_page_cached;  /**< held by nobody, kept for reuse */
    uint64_t live[16];       /**< host bytes requested and not yet freed, by llrt_memory class */
    uint64_t peak[16];       /**< the highest each was */
    uint64_t load_ns;        /**< time llrt_engine_open took */
    /** pages of windowed layers: all, held by sessions, kept for reuse, given up for lack of room */
    uint64_t n_window_page, n_window_page_used, n_window_page_cached, n_window_page_evicted;
    /** recurrent states: all, held by sessions, snapshots nobody holds, and those given up */
    uint64_t n_state, n_state_used, n_state_cached, n_state_evicted;
} llrt_engine_stats;

LLRT_API void llrt_engine_options_init(llrt_engine_options *options, size_t struct_size);

/**
 * Opens a model: a .gguf file (the first of a split one) or a Hugging Face folder with safetensors.
 * @param path    borrowed; a name in options->source or the file system
 * @param options borrowed, NULL: defaults
 * @param out     NULL on failure
 * @return LLRT_OK
 *   LLRT_ERR_NOT_FOUND, LLRT_ERR_IO: the file named in the error
 *   LLRT_ERR_FORMAT: the file is malformed; the error names file, field, found, expected
 *   LLRT_ERR_UNSUPPORTED: an architecture, tensor type or tokenizer this build does not have; the
 *   text lists what it has LLRT_ERR_ARGUMENT: an option is out of range; the error's field names it
 *   LLRT_ERR_BUDGET: the plan exceeds the budget or the machine's memory; the text gives both
 *   numbers. Lower n_ctx or kv_tok LLRT_ERR_NOMEM, LLRT_ERR_CANCELLED, LLRT_ERR_DEVICE
 */
LLRT_API llrt_status llrt_engine_open(const char *path, const llrt_engine_options *options,
                                      llrt_engine **out, llrt_error *err);

/**
 * Says what llrt_engine_open with the same arguments will request. Reads headers only.
 * @param plan set plan->struct_size first
 * @return as llrt_engine_open, but never LLRT_ERR_BUDGET
 */
LLRT_API llrt_status llrt_engine_plan(const char *path, const llrt_engine_options *options,
                                      llrt_plan *plan, llrt_error *err);

/** Describes the model; set info->struct_size first. Strings live as long as the engine. */
LLRT_API llrt_status llrt_engine_info(const llrt_engine *engine, llrt_model_info *info,
                                      llrt_error *err);

/** Metadata entry `index`; LLRT_ERR_NOT_FOUND past the last. Set meta->struct_size first. */
LLRT_API llrt_status llrt_engine_meta(const llrt_engine *engine, uint32_t index, llrt_meta *meta,
                                      llrt_error *err);

/** Tensor `index` of the file; LLRT_ERR_NOT_FOUND past the last. Set info->struct_size first. */
LLRT_API llrt_status llrt_engine_tensor(const llrt_engine *engine, uint32_t index,
                                        llrt_tensor_info *info, llrt_error *err);

/** The model's tokenizer, borrowed from the engine; NULL when the model has none. */
LLRT_API llrt_tokenizer *llrt_engine_tokenizer(const llrt_engine *engine);

/** Counters since opening; set stats->struct_size first. */
LLRT_API llrt_status llrt_engine_get_stats(const llrt_engine *engine, llrt_engine_stats *stats,
                                           llrt_error *err);

/** Ends the caller's use of the engine. NULL is fine. */
LLRT_API void llrt_engine_close(llrt_engine *engine);

#ifdef __cplusplus
}
#endif
#endif
