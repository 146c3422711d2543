/* SPDX-License-Identifier: MIT */
/*
 * The hostile test backend: what its files share. See hostile_backend.c for what it is.
 *
 * A model and a runtime are plain structs in host memory that the library only ever sees as
 * scrambled handles; what stands for device memory (weights, pages, values) is in regions that are
 * inaccessible except while a call or a step of this backend has them open.
 * Everything here is private to the plug-in.
 */
#ifndef HOSTILE_H
#define HOSTILE_H

#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>

#include <llrt/backend.h>

#define HOSTILE_BLOCK_MAX 256 /* values in the largest block of any type */

/* ---- Errors ---- */

/** Sets status and text; `err` may be NULL. Returns `status`. */
llrt_status hostile_fail(llrt_error *err, llrt_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/**
 * The library broke the contract of the table: LLRT_ERR_INTERNAL with "contract: " and the text.
 */
#define hostile_violation(err, ...) hostile_fail(err, LLRT_ERR_INTERNAL, "contract: " __VA_ARGS__)

#define HOSTILE_TRY(call)                                                                          \
    do {                                                                                           \
        const llrt_status hostile_status = (call);                                                 \
        if (hostile_status < 0) return hostile_status;                                             \
    } while (0)

/* ---- Device memory ---- */

/** Memory that faults on any access while nobody has it open. */
typedef struct hostile_region {
    unsigned char *base;
    size_t size; /* whole pages */
    llrt_memory kind;
    int n_open;
    pthread_mutex_t lock;
} hostile_region;

size_t hostile_region_round(size_t size);
/** Allocates (filled with poison) and closes the region. A size of 0 is legal. */
llrt_status hostile_region_create(const llrt_host *host, hostile_region *region, size_t size,
                                  llrt_memory kind, llrt_error *err);
void hostile_region_free(const llrt_host *host, hostile_region *region);
void hostile_region_open(hostile_region *region);
void hostile_region_close(hostile_region *region);

/** Fills with bytes that are a NaN as float32, float16 and bfloat16. */
void hostile_poison(void *to, size_t size);

/* ---- Element types (hostile_types.c) ---- */

typedef struct hostile_type {
    uint32_t type;
    uint32_t block, block_bytes;
    const char *name;
    void (*widen)(const unsigned char *from, float *to); /* one block */
} hostile_type;

/** NULL for types that can't be computed with. */
const hostile_type *hostile_type_find(uint32_t type);
/** One row of n values (a whole number of blocks) as float32. */
void hostile_row_widen(const hostile_type *type, const unsigned char *from, float *to, size_t n);
float hostile_f16_widen(uint16_t h);
uint16_t hostile_f16_round(float x);
float hostile_bf16_widen(uint16_t h);
uint16_t hostile_bf16_round(float x);

/** Bytes of one head of n elements in a page, as in the canonical layout. */
size_t hostile_kv_bytes(uint32_t kv_type, size_t n);
void hostile_kv_store(uint32_t kv_type, const float *from, unsigned char *to, size_t n);
void hostile_kv_load(uint32_t kv_type, const unsigned char *from, float *to, size_t n);

/* ---- Models ---- */

typedef struct hostile_tensor {
    llrt_tensor_desc desc; /* without the name */
    char name[96];
    const hostile_type *type;
    size_t row_bytes, n_row;
    size_t at;                   /* offset in the weights region, or unused when mapped */
    const unsigned char *mapped; /* host memory, borrowed */
    atomic_uchar *is_put;        /* (groups of LLRT_WEIGHT_ROWS rows) */
    bool is_adaptable;           /* LINEAR or HEAD names it */
    bool is_measured;            /* it has sums of squares */
    size_t adapter_at;           /* floats before it in an adapter slot, for each of its ranks */
    size_t squares_at, count_at; /* elements before its sums and counts */
} hostile_tensor;

typedef struct hostile_program {
    llrt_program p; /* every pointer into the model's own memory */
    llrt_value *value;
    llrt_op *op;
    uint32_t *input, *output;
} hostile_program;

typedef struct hostile_model {
    uint32_t magic;
    const llrt_host *host;
    size_t host_bytes; /* of this block */
    uint32_t n_tensor, n_program, n_kv, n_state, device;
    llrt_type kv_type;
    llrt_precision precision;
    llrt_weights weights;
    hostile_tensor *tensor;
    hostile_program *program;
    llrt_kv_desc *kv;
    size_t *kv_at;                        /* (n_kv): offset of the slot in a page of its group */
    uint32_t *kv_index;                   /* (n_kv): which slot of its group it is */
    uint32_t n_slot[LLRT_KV_GROUP_COUNT]; /* kv slots of a group */
    size_t page_bytes[LLRT_KV_GROUP_COUNT];
    llrt_state_desc *state;
    size_t *state_at;      /* (n_state): floats before it in a state slot */
    size_t state_floats;   /* of a state slot */
    size_t adapter_floats; /* of an adapter slot, for each rank */
    size_t n_square, n_count;
    size_t weights_bytes;
    size_t widest; /* longest weight row and value row, elements */
    hostile_region memory;
    atomic_int n_inside; /* calls in progress, except weight_put and weight_map */
    atomic_int n_runtime;
    atomic_bool is_finished, is_abandoned;
} hostile_model;

/** Row `row` of a tensor as float32; the weights region is open. */
void hostile_tensor_row(const hostile_model *model, uint32_t tensor, uint64_t row, float *to);

/** The bytes of row `row` of a tensor as in the file; the weights region is open. */
const unsigned char *hostile_tensor_bytes(const hostile_model *model, uint32_t tensor,
                                          uint64_t row);

/** Checks a description whole: types, shapes, order of values. */
llrt_status hostile_check_model(const llrt_model_desc *desc, llrt_error *err);

/* ---- Runtimes ---- */

/* IDLE -submit-> QUEUED -worker-> DONE -wait-> IDLE */
typedef enum hostile_state { HOSTILE_IDLE, HOSTILE_QUEUED, HOSTILE_DONE } hostile_state;

/* Device memory of a runtime. The first two are the pages of the groups. */
enum {
    HOSTILE_PAGES = 0,
    HOSTILE_STATES = LLRT_KV_GROUP_COUNT,
    HOSTILE_ADAPTERS,
    HOSTILE_SQUARES,
    HOSTILE_SCRATCH,
    HOSTILE_MEMORY_COUNT
};

/* What the state in a slot stands for, beside the position of the token that comes next. */
#define HOSTILE_STATE_ANY (-1)    /* it came through state_write */
#define HOSTILE_STATE_POISON (-2) /* nobody wrote it */

#define HOSTILE_TEMPORARY 8

typedef struct hostile_runtime {
    uint32_t magic;
    hostile_model *model;
    llrt_runtime_limits limits;
    size_t host_bytes;
    hostile_region memory[HOSTILE_MEMORY_COUNT];
    size_t *value_at;                 /* (values of all programs): offsets in scratch */
    size_t *value_base;               /* (n_program): first of a program in value_at */
    size_t row_at[HOSTILE_TEMPORARY]; /* float rows in scratch, for operators */
    size_t pick_at;                   /* uint32 ids, for select */
    /* by group: (n_page, slots of the group), a bit per position */
    uint64_t *written[LLRT_KV_GROUP_COUNT];
    int32_t *state_position; /* (n_state slots, states): position or HOSTILE_STATE_... */
    uint32_t *adapter_rank;  /* (n_adapter slots, tensors): 0: no part */
    atomic_int n_inside;

    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool has_thread, is_ending;
    hostile_state state;

    llrt_step_desc step; /* pointers are the library's: borrowed until step_wait returns */
    uint64_t checksum;
    llrt_status status;
    llrt_error err;
    bool has_values; /* the last step completed: value_read is legal */
    uint32_t done_program, done_row, done_out;
} hostile_runtime;

/* A step while it is executed. */
typedef struct hostile_run {
    hostile_runtime *r;
    const hostile_model *m;
    const llrt_program *p;
    const llrt_step_desc *s;
    llrt_error *err;
} hostile_run;

/** Executes the step of `runtime` on the calling thread (the worker). */
llrt_status hostile_step_run(hostile_runtime *runtime, llrt_error *err);
/** A hash over everything the step borrows, to notice that it changed in flight. */
uint64_t hostile_step_checksum(const hostile_runtime *runtime);
/** Computes the select entries of the completed step; the scratch region is open. */
llrt_status hostile_step_select(hostile_runtime *runtime, llrt_error *err);
float *hostile_value(const hostile_runtime *runtime, uint32_t program, uint32_t value);
float *hostile_temporary(const hostile_runtime *runtime, uint32_t i);
unsigned char *hostile_page(const hostile_runtime *runtime, uint32_t page, uint32_t kv);
/** Which positions of a page are written in a slot, a bit each. */
uint64_t *hostile_written(const hostile_runtime *runtime, uint32_t page, uint32_t kv);
/** State `state` of a slot. */
float *hostile_state_of(const hostile_runtime *runtime, uint32_t slot, uint32_t state);
/** The part of an adapter slot for a tensor: (rank, d_in), then (d_out, rank). */
float *hostile_adapter_of(const hostile_runtime *runtime, uint32_t slot, uint32_t tensor);
double *hostile_squares(const hostile_runtime *runtime, uint32_t tensor);
uint64_t *hostile_counts(const hostile_runtime *runtime, uint32_t tensor);
/** Bytes of one position of a slot: keys, and values (0 when they are in the keys). */
size_t hostile_k_bytes(const hostile_model *model, uint32_t kv);
size_t hostile_v_bytes(const hostile_model *model, uint32_t kv);

/** Entry of the calls that are legal between steps only; NULL: a violation. Pair with leave. */
hostile_runtime *hostile_enter_between(void *handle, llrt_error *err);
void hostile_leave(hostile_runtime *runtime);

/* ---- What lives between steps (hostile_slots.c): the table's functions ---- */

llrt_status hostile_page_copy(void *handle, uint32_t group, uint32_t to, uint32_t from,
                              uint32_t n_tok, llrt_error *err);
llrt_status hostile_page_read(void *handle, uint32_t group, uint32_t page, uint32_t n_tok, void *to,
                              size_t size, llrt_error *err);
llrt_status hostile_page_write(void *handle, uint32_t group, uint32_t page, uint32_t n_tok,
                               const void *from, size_t size, llrt_error *err);
llrt_status hostile_state_read(void *handle, uint32_t slot, float *to, size_t n, llrt_error *err);
llrt_status hostile_state_write(void *handle, uint32_t slot, const float *from, size_t n,
                                llrt_error *err);
llrt_status hostile_adapter_put(void *handle, uint32_t slot, const llrt_adapter_part *part,
                                uint32_t n_part, llrt_error *err);
llrt_status hostile_squares_read(void *handle, uint32_t tensor, double *sum, uint64_t *count,
                                 llrt_error *err);
void hostile_squares_reset(void *handle);

/* ---- Operators ---- */

bool hostile_is_cancelled(const hostile_run *x);
size_t hostile_rows(const hostile_run *x, uint32_t value);
/** Row `row` of a value. */
float *hostile_row(const hostile_run *x, uint32_t value, size_t row);
/** The sequence of a row of tokens. */
const llrt_step_seq *hostile_seq(const hostile_run *x, size_t row);

/** Executes one operator (hostile_ops.c). */
llrt_status hostile_op_run(const hostile_run *x, const llrt_op *op);
/**
 * Output row `row` of a weight, whose float32 values are `w`, times `in`, at the model's precision.
 */
float hostile_product(const hostile_run *x, uint32_t tensor, uint64_t row, const float *w,
                      const float *in);
/** Adds a row that a weight's matrix number `index` was given to its sums of squares. */
void hostile_measure(const hostile_run *x, uint32_t tensor, uint64_t index, const float *in);
/** EXPERTS (hostile_experts.c). */
llrt_status hostile_experts_run(const hostile_run *x, const llrt_op *op);
/** SHORT_CONV, GATED_DELTA, SSM_SCAN (hostile_scan.c). */
llrt_status hostile_scan_run(const hostile_run *x, const llrt_op *op);

static inline size_t hostile_width(const llrt_value *value)
{
    return (size_t)value->n_head * value->width;
}

/* ---- Arithmetic (hostile_math.c) ---- */

/*
 * The order of float operations is the one the CPU backend's reference kernels define, written down
 * again from that definition: the results are compared bit for bit.
 */
float hostile_exp(float x);
float hostile_tanh(float x);
float hostile_sigmoid(float x);
float hostile_activate(llrt_activation act, float x);
float hostile_softplus(float x);
float hostile_glu(llrt_activation act, float limit, float offset, float a, float b);
void hostile_rms_norm(const float *x, const float *w, float *out, size_t n, const llrt_op *op);
void hostile_layer_norm(const float *x, const float *w, const float *bias, float *out, size_t n,
                        float eps);
/** `position`: the token's three. */
void hostile_rope(const llrt_op *op, const float *x, float *out, size_t width,
                  const int32_t *position);
/** Product of a row of weights and a row of activations in float32. */
float hostile_dot(const float *w, const float *x, size_t k);
/**
 * The same with activations in blocks of 32 int8; `w` are the values of a Q8_0 or Q4_0 row at
 * `from`.
 */
float hostile_dot_int8(const hostile_type *type, const unsigned char *from, const float *x,
                       size_t k);
double hostile_log_sum_exp(const float *logit, size_t n);
/**
 * What a logit counts as in a selection: NaN is -infinity, +infinity the largest float, -0 is 0.
 */
float hostile_clean(float logit);

/* One query row of one head; tiles of LLRT_PAGE_TOK absolute positions come in ascending order. */
typedef struct hostile_attention {
    const llrt_op *op;
    const float *q; /* (k_dim) */
    float *out;     /* (v_dim) */
    size_t k_dim, v_dim;
    llrt_type kv_type;
    size_t k_stride, v_stride;  /* bytes from one position to the next */
    float *row, *tile;          /* temporary rows of at least k_dim and v_dim */
    const unsigned char *k, *v; /* of the tile's first position */
    uint32_t begin, end;        /* the visible positions of the tile */
    const float *slope, *sink;  /* of the head, or NULL */
    int32_t distance;           /* from the query to the tile's first position */
    bool has_tile;
    float max, sum; /* of the tiles so far; `out` holds their weighted values */
} hostile_attention;

void hostile_attention_begin(hostile_attention *a);
void hostile_attention_tile(hostile_attention *a);
void hostile_attention_end(hostile_attention *a);

#endif
