/* SPDX-License-Identifier: MIT */
/*
 * llrt_quantize: writes a model as a GGUF file with its weights in another format, from a GGUF file
 * or from a Hugging Face folder. No handle, nothing stays open: one call does all of it. Any
 * thread; several calls may run at once.
 *
 * The result depends on the input, the importance matrix and the options alone: the same bytes for
 * any number of threads, on every platform. It says where it comes from (metadata
 * "llrt.quantize.*"). Weights are read, converted and written piece by piece, so memory stays far
 * below the size of the model.
 */
#ifndef LLRT_QUANTIZE_H
#define LLRT_QUANTIZE_H

#include "engine.h"

#ifdef __cplusplus
extern "C" {
#endif

/** One exception from the target. */
typedef struct llrt_quantize_override {
    /**
     * which tensors: their GGUF name, with or without ".weight"; '*' stands for any characters, '?'
     * for one ("blk.*.ffn_down")
     */
    const char *pattern;
    const char *type; /**< "F32", "Q8_0", "Q6_K" ..., in any case */
} llrt_quantize_override;

typedef struct llrt_quantize_options {
    uint32_t struct_size;
    /** worker threads, the calling one included; default 0: the processors of the affinity mask */
    uint32_t n_thread;
    /**
     * a type ("Q8_0") or a mixture of types ("Q4_K_M"): F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0,
     * Q5_1, Q2_K, Q2_K_S, Q3_K_S, Q3_K_M, Q3_K_L, Q4_K_S, Q4_K_M, Q5_K_S, Q5_K_M, Q6_K, IQ4_NL,
     * IQ4_XS, MXFP4, MXFP4_MOE; borrowed; default "Q4_K_M"
     */
    const char *target;
    /** file of column importances, GGUF or the older kind; borrowed; default NULL: none */
    const char *imatrix;
    /** borrowed; the last one that matches a tensor counts; default NULL */
    const llrt_quantize_override *overrides;
    uint32_t n_override;
    /** 1: the target's type for every matrix, without the exceptions that its mixture makes */
    uint32_t pure;
    /** 1: weights that are quantised already are taken; what they lost stays lost */
    uint32_t allow_requantize;
    uint32_t reserved; /**< 0 */
    /** on the calling thread; return not 0 to cancel; default NULL */
    llrt_progress progress;
    void *progress_ctx;
    /** where the input and the importance matrix are read from; borrowed; NULL: the file system */
    const llrt_source *source;
    const llrt_allocator *allocator; /**< borrowed; default NULL: the default */
    /** borrowed; default NULL: silent. One line for each tensor is of level LLRT_LOG_INFO. */
    const llrt_logger *logger;
} llrt_quantize_options;

/** Sets the defaults above. */
LLRT_API void llrt_quantize_options_init(llrt_quantize_options *options, size_t struct_size);

/**
 * Quantises a model.
 *
 * Matrices get the target's type; norms, biases and other vectors, routers and position tables stay
 * as they are (float32 from a folder). Rows that are no whole number of a type's blocks get the
 * next larger type that fits. A folder's tensors are renamed and rearranged as GGUF files have
 * them, with its tokenizer and hyper-parameters as metadata; that works for the architectures whose
 * result llrt can check, others are refused by name.
 *
 * The file is written under a temporary name beside out_path and renamed when it is complete; after
 * a failure, what was at out_path before is still there, and nothing else.
 *
 * @param in_path  a GGUF file (the first of a split one), or a folder or file as llrt_engine_open
 *   takes; borrowed
 * @param out_path the file to write, in a folder that exists; replaced if it exists; borrowed
 * @param options  borrowed; NULL: the defaults
 * @return LLRT_OK; LLRT_ERR_ARGUMENT (an unknown target, type or a pattern without a tensor, input
 *   that is quantised already); LLRT_ERR_NOT_FOUND; LLRT_ERR_FORMAT (a damaged file, a tensor with
 *   NaN or infinite values); LLRT_ERR_UNSUPPORTED (an architecture or type llrt can't convert);
 *   LLRT_ERR_IO; LLRT_ERR_NOMEM; LLRT_ERR_CANCELLED
 */
LLRT_API llrt_status llrt_quantize(const char *in_path, const char *out_path,
                                   const llrt_quantize_options *options, llrt_error *err);

#ifdef __cplusplus
}
#endif
#endif
