/* SPDX-License-Identifier: MIT */
/*
 * A runtime of the CPU backend: one HOST block of tables, one SCRATCH block for a step's values and working areas, one
 * KV block with the pages, one STATE block with the slots of recurrent states, one WEIGHTS block with the adapters. All are sized by llrti_cpu_runtime_measure from compiled model and limits, which plan
 * calls as well. A step allocates nothing.
 *
 * Values share scratch by liveness: a value's place is free again after its last reader. Areas per worker are
 * indexed by the worker number that parallel_for gives.
 */
#ifndef LLRTI_CPU_RUNTIME_H
#define LLRTI_CPU_RUNTIME_H

#include "cpu_model.h"

/* What execution knows about a row of the step. */
typedef struct llrti_cpu_row {
    int32_t position;
    uint32_t seq;       /* index among the step's sequences */
    uint32_t embedding; /* index among the embedding rows, when its token is -1 */
} llrti_cpu_row;

/* Floats of a worker's attention area, by part; every part starts on a multiple of 16 floats. */
typedef struct llrti_cpu_attention_area {
    float *q, *out, *acc, *score, *work, *max, *sum, *acc_max, *acc_sum;
} llrti_cpu_attention_area;

/* Sizes and places; offsets count from the SCRATCH block's start. */
typedef struct llrti_cpu_layout {
    size_t host_bytes, scratch_bytes, kv_bytes, state_bytes, adapter_bytes;
    size_t group[LLRT_KV_GROUP_COUNT]; /* offsets of each group's pages in the KV block */
    size_t value_bytes;                /* values lie at the front */
    size_t packed, linear, rope, attention, slot, select;
    size_t area;          /* of the operator that runs: experts, scans, adapters */
    size_t square, count; /* sums of squares and their counts: not of a step, but of the runtime */
    size_t linear_bytes;  /* per worker */
    size_t attention_bytes; /* per worker */
    size_t slot_floats;     /* of one stored tile result: out, max, sum of MAX_QUERY queries */
    size_t n_slot;          /* for results of tiles computed apart */
    size_t
        n_acc; /* for accumulators of blocks whose tiles are computed apart; they come after the slots */
    size_t select_bytes;   /* per worker */
    size_t rope_floats;    /* between the tables of two sets */
    uint32_t k_dim, v_dim; /* largest of the kv list */
} llrti_cpu_layout;

typedef struct llrti_cpu_runtime {
    llrti_cpu_model *model;
    llrt_runtime_limits limits;
    llrti_cpu_layout layout;
    llrt_host host; /* the model's, with parallel_for that sets the floating-point environment */
    char *scratch;
    char *kv;
    float *state;           /* (limits.n_state, model->slot_floats) */
    uint8_t *slot_use;      /* (limits.n_state): work of a step's check */
    float *adapter;         /* (limits.n_adapter) slots of limits.adapter_rank */
    uint32_t *adapter_rank; /* (limits.n_adapter, n_weight): rank a slot has for a weight, or 0 */
    double *square;         /* with_squares: (model->n_square) */
    uint64_t *square_count; /* with_squares: (model->n_count) */
    size_t *value_offset;   /* (n_value of all programs) */
    llrti_cpu_row *row;     /* (limits.n_row) */
    uint32_t *seq_block;    /* (limits.n_seq + 1): running sum of attention blocks */

    /* the step being executed */
    const llrt_step_desc *step;
    const llrti_cpu_program *program;
    uint32_t packed_value; /* value whose packed form is in scratch, LLRT_NONE: none */
    llrti_linear_act packed_act;
    uint32_t max_adapter; /* most adapters that a sequence carries */
    atomic_int is_cancelled;

    /* the last one */
    bool is_in_flight, has_result;
    llrt_status status;
    uint32_t last_program, last_n_row, last_n_out;
} llrti_cpu_runtime;

/* Sizes for limits; fills value_offset (of all programs' values). Errors: limits that are 0 or overflow. */
llrt_status llrti_cpu_runtime_measure(const llrti_cpu_model *model,
                                      const llrt_runtime_limits *limits, llrti_cpu_layout *layout,
                                      size_t *value_offset, llrt_error *err);
llrt_status llrti_cpu_runtime_create(llrti_cpu_model *model, const llrt_runtime_limits *limits,
                                     llrti_cpu_runtime **out, llrt_error *err);
void llrti_cpu_runtime_free(llrti_cpu_runtime *runtime);
llrt_status llrti_cpu_runtime_read(llrti_cpu_runtime *runtime, uint32_t value, uint32_t row_begin,
                                   uint32_t n_row, float *to, llrt_error *err);

static inline float *llrti_cpu_runtime_value(const llrti_cpu_runtime *rt, uint32_t value)
{
    return (float *)(void *)(rt->scratch + rt->value_offset[rt->program->value_index + value]);
}

/* Rows of a value in the step being executed. */
static inline size_t llrti_cpu_runtime_rows(const llrti_cpu_runtime *rt, uint32_t value)
{
    return rt->program->value[value].rows == LLRT_ROWS_OUT ? rt->step->n_out : rt->step->n_row;
}

llrti_cpu_attention_area llrti_cpu_runtime_area(const llrti_cpu_runtime *rt, uint32_t worker);

/* True once the step is cancelled; asks poll_cancel. Any worker. */
bool llrti_cpu_runtime_poll(llrti_cpu_runtime *rt);

/*
 * Calls body for parts of [0, n) that cover it, on several workers when n * work (in elements or so) is worth it. Parts are
 * multiples of `grain`, but the last. After a cancel, parts may be left out.
 */
typedef void (*llrti_cpu_body)(llrti_cpu_runtime *rt, const void *arg, size_t begin, size_t end,
                               uint32_t worker);
void llrti_cpu_runtime_split(llrti_cpu_runtime *rt, size_t n, size_t grain, size_t work,
                             llrti_cpu_body body, const void *arg);

/* The tile of one head of a kv slot in a page. */
static inline llrti_kv_tile llrti_cpu_runtime_tile(const llrti_cpu_runtime *rt,
                                                   const llrti_cpu_kv *kv, uint32_t page,
                                                   uint32_t head)
{
    const uint32_t group = kv->desc.group;
    char *const tile = rt->kv + rt->layout.group[group] + page * rt->model->page_bytes[group] +
                       kv->offset + head * kv->tile_bytes;
    return (llrti_kv_tile){tile, tile + kv->k_scale, tile + kv->v, tile + kv->v_scale};
}

#endif
