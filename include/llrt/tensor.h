/* SPDX-License-Identifier: MIT */
/*
 * Element types and the numeric choices that engines and backends share.
 */
#ifndef LLRT_TENSOR_H
#define LLRT_TENSOR_H

#include "base.h"

/** Element types. The numbers are those of the GGUF format. */
typedef uint32_t llrt_type;
enum {
    LLRT_TYPE_F32 = 0,
    LLRT_TYPE_F16 = 1,
    LLRT_TYPE_Q4_0 = 2,
    LLRT_TYPE_Q4_1 = 3,
    LLRT_TYPE_Q5_0 = 6,
    LLRT_TYPE_Q5_1 = 7,
    LLRT_TYPE_Q8_0 = 8,
    LLRT_TYPE_Q2_K = 10,
    LLRT_TYPE_Q3_K = 11,
    LLRT_TYPE_Q4_K = 12,
    LLRT_TYPE_Q5_K = 13,
    LLRT_TYPE_Q6_K = 14,
    LLRT_TYPE_IQ4_NL = 20,
    LLRT_TYPE_IQ4_XS = 23,
    LLRT_TYPE_BF16 = 30,
    LLRT_TYPE_MXFP4 = 39
};

/** How products are computed. Whatever the choice, F32 tensors multiply in float32. */
typedef uint32_t llrt_precision;
enum {
    /** the fastest: 8-bit or bfloat16 activations where the weights' type allows */
    LLRT_PRECISION_AUTO = 0,
    LLRT_PRECISION_F32 = 1, /**< every product and sum in float32 */
    /** as AUTO, but only with arithmetic that gives the same bits on every ISA level */
    LLRT_PRECISION_PORTABLE = 2
};

/** Where weights live. */
typedef uint32_t llrt_weights;
enum {
    LLRT_WEIGHTS_REPACKED = 0, /**< read into the backend's own layout: the fastest */
    /**
     * used in place from a mapping of the file, rearranged tile by tile at every step: slower,
     * shares memory with other processes; an I/O error under the mapping is the host's to handle
     */
    LLRT_WEIGHTS_MAPPED = 1
};

#endif
