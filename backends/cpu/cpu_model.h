/* SPDX-License-Identifier: MIT */
/*
 * A model of the CPU backend: compiled programs and weights. Two blocks of memory: a HOST one with every
 * table (this struct first), a WEIGHTS one with all matrices and vectors.
 *
 * A tensor that a linear, HEAD or EMBED names is kept as a llrti_linear (once, also when several do). One that a norm, a
 * bias or POSITION names is kept as float32. Others are taken in and dropped.
 *
 * A tensor of EXPERTS or HEAD_LINEAR is kept as one matrix per slice of its third dimension, all of one format, one
 * after the other; each begins with a group of its own, so a slice is multiplied like any other matrix.
 *
 * Compiling checks everything a program says, so that execution needs no checks, and groups linears of the same
 * input: the first one, the leader, runs for up to LLRTI_LINEAR_MAX_WEIGHT of them.
 */
#ifndef LLRTI_CPU_MODEL_H
#define LLRTI_CPU_MODEL_H

#include <stdatomic.h>
#include <stdbool.h>

#include <llrt/backend.h>

#include "linear.h"
#include "ops.h"

enum {
    LLRTI_CPU_MAX_TRANSPOSED = 64, /* row length of a weight that is kept transposed */
    LLRTI_CPU_MAX_USED = 64        /* experts of a row */
};

typedef struct llrti_cpu_weight {
    const char *name;
    llrt_type type;
    uint64_t k, m;             /* row length, rows with all further dimensions counted through */
    uint64_t n_slice, slice_m; /* matrices of a third dimension, rows of each */
    bool is_matrix, is_vector, is_sliced;
    bool is_linear, is_product; /* of LINEAR or HEAD; of those, EXPERTS or HEAD_LINEAR */
    bool is_transposed;         /* is_vector: kept as (k, m), a lane owns a row */
    llrti_linear linear;        /* is_matrix, or of each slice when is_sliced */
    size_t slice_bytes;         /* is_sliced: from one to the next */
    size_t adapter_at; /* is_linear: elements of rank 1 before its own in an adapter slot */
    size_t square_at, count_at;          /* is_product: sums of squares and counts before its own */
    llrti_linear reader;                 /* is_vector: reads rows of the file's format */
    float *vector;                       /* is_vector: (m, k) */
    size_t matrix_offset, vector_offset; /* in the WEIGHTS block */
    _Atomic uint64_t n_put;              /* rows taken in */
} llrti_cpu_weight;

typedef struct llrti_cpu_value {
    llrt_rows rows;
    uint32_t n_head, width;
    size_t row_width; /* n_head * width */
    uint32_t first,
        last; /* time: op index of the writer and of the last reader; n_op for outputs */
} llrti_cpu_value;

#define LLRTI_CPU_N_AXIS 3 /* positions that a token has for rotation */

/* A set of rotation angles; ops with equal ones share it. */
typedef struct llrti_cpu_rope {
    uint32_t n_rot;
    float magnitude;
    const float *inv_freq; /* (n_rot / 2) */
    const uint8_t *axis;   /* (n_rot / 2) below LLRTI_CPU_N_AXIS, or NULL */
} llrti_cpu_rope;

typedef struct llrti_cpu_op {
    llrt_op op;
    uint32_t time;    /* index of the op that executes this one: its own or its leader's */
    uint32_t rope;    /* ROPE: index into the program's sets */
    uint32_t n_group; /* linears: ops executed here, 0 when a leader does it */
    uint32_t group[LLRTI_LINEAR_MAX_WEIGHT];
} llrti_cpu_op;

/* What the ATTENTION operators of a program need of a page group. */
typedef struct llrti_cpu_reach {
    bool is_used;
    uint32_t n_before; /* most positions before a token that it sees; UINT32_MAX: all */
} llrti_cpu_reach;

typedef struct llrti_cpu_program {
    uint32_t n_value, n_op, n_input, n_output, n_rope, logits;
    llrti_cpu_value *value;
    llrti_cpu_op *op;
    uint32_t *input, *output;
    llrti_cpu_rope *rope;
    float *number; /* copies of inv_freq and slopes */
    uint8_t *axis; /* copies of axis */
    llrti_cpu_reach reach[LLRT_KV_GROUP_COUNT];
    bool has_embed;
    bool has_full_mask;        /* sequences start at position 0 */
    uint64_t n_token;          /* token ids must be below */
    uint64_t n_token_type;     /* types must be below; 0: they are not used */
    int64_t pos_low, pos_high; /* positions must be in [low, high) */
    uint32_t d_embed;          /* row width of the EMBED output */
    size_t value_index;        /* of its first value among all programs' */
    uint8_t *has_state;        /* (n_state): 1 for those that an operator carries on */
    bool is_recurrent;         /* any of them */
} llrti_cpu_program;

/* Where one attention layer's tiles lie in a page. */
typedef struct llrti_cpu_kv {
    llrt_kv_desc desc;
    size_t offset; /* of head 0's tile in a page of its group */
    size_t tile_bytes;
    size_t k_scale, v, v_scale; /* offsets in a tile; k is at 0. V in K: v and v_scale are empty */
} llrti_cpu_kv;

/* Where one operator's state lies in a slot: floats. */
typedef struct llrti_cpu_state {
    size_t n_float, offset;
} llrti_cpu_state;

typedef struct llrti_cpu_model {
    const llrt_host *host;
    size_t host_bytes, weight_bytes;
    void *weight_block;
    llrti_gemm_kernels gemm;
    llrti_ops ops;
    uint32_t n_weight, n_program, n_kv, n_state;
    uint32_t kv_kind;                       /* LLRTI_KV_F32 ... */
    size_t page_bytes[LLRT_KV_GROUP_COUNT]; /* 0: no slots */
    size_t adapter_floats;    /* of a slot of rank 1: inputs and outputs of all linears */
    size_t n_square, n_count; /* sums of squares, one per input of each matrix, and their counts */
    size_t slot_floats;       /* of a state slot: every state begins on a multiple of 16 */
    size_t n_value;           /* of all programs */
    bool is_finished;
    llrti_cpu_weight *weight;
    llrti_cpu_program *program;
    llrti_cpu_kv *kv;
    llrti_cpu_state *state;
    size_t *place; /* (n_value): room for plan to work in */
} llrti_cpu_model;

/* Compiles without allocating the weights: what plan needs. Frees with llrti_cpu_model_free. */
llrt_status llrti_cpu_model_compile(const llrt_host *host, const llrt_model_desc *desc,
                                    llrti_cpu_model **out, llrt_error *err);
llrt_status llrti_cpu_model_allocate(llrti_cpu_model *model, llrt_error *err);
llrt_status llrti_cpu_model_put(llrti_cpu_model *model, uint32_t tensor, uint64_t row_begin,
                                uint64_t n_row, const void *data, llrt_error *err);
llrt_status llrti_cpu_model_map(llrti_cpu_model *model, uint32_t tensor, const void *data,
                                llrt_error *err);
llrt_status llrti_cpu_model_finish(llrti_cpu_model *model, llrt_error *err);
void llrti_cpu_model_free(llrti_cpu_model *model);

/* First row of slice i of a sliced weight, in the layout of w->linear. */
static inline const void *llrti_cpu_model_slice(const llrti_cpu_weight *w, size_t i)
{
    return (const char *)w->linear.data + i * w->slice_bytes;
}

/* Bytes of an element-wise tile part, without scales. */
static inline size_t llrti_cpu_kv_element(uint32_t kv_kind)
{
    return kv_kind == LLRTI_KV_F32 ? 4 : kv_kind == LLRTI_KV_Q8_0 ? 1 : 2;
}

#endif
