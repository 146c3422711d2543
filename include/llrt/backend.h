/* SPDX-License-Identifier: MIT */
/*
 * The backend table: what a backend (CPU, CUDA, a plug-in) implements and the library calls.
 *
 * The library describes a model as a flat list of operators over values, the
 * *program*; a backend compiles it for its devices, takes the weights in, keeps the
 * pages of the KV pool and executes steps. Programs that only use llrt don't need this header.
 *
 *   model    weights in the backend's layout and the compiled programs
 *   runtime  of one model: scratch, the KV pages, states, adapters; everything that limits decide
 *   step     one pass over rows of tokens of several sequences
 *
 * Calls for one model or runtime come from one thread at a time, except where
 * "any thread" is said. A backend never ends the process; each failure is a status and a text.
 * All host memory comes from the llrt_host it is given. Pointers in descriptions are
 * borrowed until the call returns; a step's until step_wait returns.
 */
#ifndef LLRT_BACKEND_H
#define LLRT_BACKEND_H

#include "device.h"
#include "tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

#define LLRT_BACKEND_VERSION 1

/** "No value", "no weight", "no state". */
#define LLRT_NONE 0xffffffffu

/**
 * Tokens in a page of the KV pool; attention is computed in tiles of this many absolute positions.
 */
#define LLRT_PAGE_TOK 64

/** weight_put gets whole rows, from a multiple of this many. */
#define LLRT_WEIGHT_ROWS 64

/**
 * Page groups: kv slots whose pages live equally long. A page holds one group's slots; sequences
 * have a page table for each group, and pages of different groups are numbered apart.
 */
enum {
    LLRT_KV_GROUP_FULL = 0, /**< every position is kept */
    /** pages that end before every window are given up; the table then says LLRT_NONE */
    LLRT_KV_GROUP_WINDOW = 1,
    LLRT_KV_GROUP_COUNT = 2
};

/** Most candidates a select entry can ask for. */
#define LLRT_SELECT_MAX 1024

/* ---- What the library gives to a backend ---------------------------------------------------- */

/** Services of the library. Valid until the last model made with it is freed. */
typedef struct llrt_host {
    uint32_t struct_size;
    uint32_t n_worker; /**< workers that parallel_for uses, the calling thread included */
    void *ctx;
    /** As llrt_allocator's. Any thread. */
    void *(*alloc)(void *ctx, size_t size, size_t align, llrt_memory kind);
    void (*free)(void *ctx, void *ptr, size_t size, size_t align, llrt_memory kind);
    /** `level` as llrt_log_level. Any thread. */
    void (*log)(void *ctx, llrt_log_level level, const char *text);
    /**
     * Runs task(arg, i, w) for every i < n_task and returns when all are done. w < n_worker is
     * unique among the tasks that run at one moment. From the thread that called the backend only,
     * not nested.
     */
    void (*parallel_for)(void *ctx, uint32_t n_task,
                         void (*task)(void *arg, uint32_t task, uint32_t worker), void *arg);
} llrt_host;

/* ---- Programs ------------------------------------------------------------------------------- */

/** A weight as it is in the file. */
typedef struct llrt_tensor_desc {
    const char *name;
    llrt_type type;
    uint32_t n_dim; /**< 1 to 4 */
    /**
     * dim[0] is the row length, contiguous; a linear's weight is (d_in, d_out), of several experts
     * or heads (d_in, d_out, n); unused ones are 1
     */
    uint64_t dim[4];
} llrt_tensor_desc;

/** What the rows of a value stand for. */
typedef uint32_t llrt_rows;
enum {
    LLRT_ROWS_TOKEN = 0, /**< one row per token of the step */
    LLRT_ROWS_OUT = 1    /**< one row per wanted row (after LLRT_OP_GATHER) */
};

/** A value: (rows, n_head, width), float32, row-major. n_head is 1 for plain rows. */
typedef struct llrt_value {
    llrt_rows rows;
    uint32_t n_head;
    uint32_t width; /**< elements per head */
} llrt_value;

/**
 * One attention layer's part of every page of its group. K and V of one token: n_head x k_dim and
 * n_head x v_dim elements.
 */
typedef struct llrt_kv_desc {
    uint32_t n_head;
    uint32_t k_dim;
    uint32_t v_dim;
    uint32_t layer;
    uint32_t group; /**< LLRT_KV_GROUP_... */
    /** 1: V is the first v_dim elements of K and is not stored (a latent cache) */
    uint32_t v_in_k;
} llrt_kv_desc;

/**
 * The recurrent state of one operator: what it carries from one token of a sequence to the next, as
 * n_float numbers in the order the operator names. Kept as float32 whatever the KV type.
 */
typedef struct llrt_state_desc {
    uint32_t n_float;
    uint32_t layer;
} llrt_state_desc;

/**
 * Operators. The list is closed and numbered for ever. x, a, b are input values; w a weight
 * tensor, whose shape is named as dim[0] x dim[1] x dim[2].
 */
typedef uint32_t llrt_op_kind;
enum {
    /**
     * out = w[token] * u.scale.factor; w (d_model x n_vocab). Rows given as embeddings replace it
     * unscaled.
     */
    LLRT_OP_EMBED = 1,
    /** out = x + w[position + u.position.offset]; w (d_model x n_position) */
    LLRT_OP_POSITION = 2,
    /** out = x + w[token type]; w (d_model x n_type) */
    LLRT_OP_TOKEN_TYPE = 3,
    LLRT_OP_GATHER = 4, /**< out = the wanted rows of x; LLRT_ROWS_OUT */
    /** out = x[begin .. begin + width of out) of each row; may regroup into heads */
    LLRT_OP_SLICE = 5,
    /** out = in[0] | in[1] | ... of each row; if out has several heads, of each head, as all in */
    LLRT_OP_CONCAT = 6,
    LLRT_OP_ADD = 7,          /**< out = a + b */
    LLRT_OP_MUL = 8,          /**< out = a * b */
    LLRT_OP_SIGMOID_GATE = 9, /**< out = a * sigmoid(b) */
    LLRT_OP_SCALE = 10,       /**< out = x * u.scale.factor */
    LLRT_OP_SOFT_CAP = 11,    /**< out = c * tanh(x / c), c = u.scale.factor */
    /**
     * out = x / sqrt(mean(x^2) + eps) * (w + weight_offset), over each head's width; w optional,
     * (width), or (n_head * width) when every head has its own
     */
    LLRT_OP_RMS_NORM = 12,
    /** out = (x - mean) / sqrt(var + eps) * w + bias; w, bias optional, shaped as RMS_NORM's */
    LLRT_OP_LAYER_NORM = 13,
    /** out = x * w^T + bias; weight[0] = w (d_in x d_out), weight[1] = bias (d_out) or LLRT_NONE */
    LLRT_OP_LINEAR = 14,
    /** rotates pairs of the first n_rot elements of each head by position * inv_freq */
    LLRT_OP_ROPE = 15,
    /**
     * in: q, k, v (heads; no v when the slot has v_in_k); appends k, v to the KV pages, then
     * attends; out (n_head, v_dim). weight[0]: a sink per head (n_head) or LLRT_NONE: a score that
     * takes part in the softmax and has no value
     */
    LLRT_OP_ATTENTION = 16,
    /** out = act(min(a, limit)) * (clamp(b, -limit, limit) + offset); no limit: act(a) * b */
    LLRT_OP_GLU = 17,
    LLRT_OP_ACTIVATE = 18, /**< out = act(x) */
    /** a linear whose out are logits (rows, n_vocab); may share its weight with EMBED */
    LLRT_OP_HEAD = 19,
    /**
     * Mixture of experts. in: x (d_in), router logits (n_expert). Of each row u.experts.n_used
     * experts are chosen, best first (equal ones: the lower index first); out (d_out) starts at 0
     * and adds weight * down(glu(gate(x), up(x))) in that order. Weights: 0 gate (d_in x d_ff x
     * n_expert) or LLRT_NONE (then act(up(x))), 1 up, 2 down (d_ff x d_out x n_expert), 3 to 5 their
     * biases (d_ff x n_expert, d_out x n_expert) or LLRT_NONE, 6 a number per expert (n_expert) that
     * is added to the scores for choosing only, or LLRT_NONE
     */
    LLRT_OP_EXPERTS = 20,
    /**
     * Causal convolution over each channel's last K tokens: out[t][c] = bias[c] + sum over j < K of
     * w[c][j] * x[t - K + 1 + j][c], x before the sequence being 0. weight[0] (K x channels),
     * weight[1] bias (channels) or LLRT_NONE. State: (K - 1, channels), oldest row first
     */
    LLRT_OP_SHORT_CONV = 21,
    /**
     * Gated delta rule. in: q, k (n_k_head, k_dim), v (n_v_head, v_dim), a (n_v_head), beta
     * (n_v_head); out (n_v_head, v_dim). weight[0] A, weight[1] dt_bias, both (n_v_head). Per head,
     * S (k_dim, v_dim) being its state: S *= exp(A * softplus(a + dt_bias)), d = beta * (v - k S),
     * S += k^T d, out = q S. v's head h goes with head h / (n_v_head / n_k_head) of q and k, or with
     * h % n_k_head. State: (n_v_head, k_dim, v_dim)
     */
    LLRT_OP_GATED_DELTA = 22,
    /**
     * State-space scan (Mamba 2). in: x (n_head, width), dt (n_head), B, C (n_group, d_state); out
     * (n_head, width). weight[0] A, weight[1] D, weight[2] dt_bias, all (n_head). Per head, S
     * (d_state, width) being its state and g the group h / (n_head / n_group): t = clamp(softplus(dt +
     * dt_bias)), S = S * exp(t * A) + B[g]^T (t * x), out = C[g] S + D * x. State: (n_head, d_state,
     * width)
     */
    LLRT_OP_SSM_SCAN = 23,
    /** out[h] = x[h] * w[h]^T for each head; weight[0] (d_in x d_out x n_head) */
    LLRT_OP_HEAD_LINEAR = 24
};

typedef uint32_t llrt_activation;
enum {
    LLRT_ACT_SILU = 0,      /**< x * sigmoid(x) */
    LLRT_ACT_GELU = 1,      /**< x * Phi(x), with erf */
    LLRT_ACT_GELU_TANH = 2, /**< the tanh approximation */
    LLRT_ACT_RELU = 3,
    LLRT_ACT_RELU2 = 4,      /**< relu(x)^2 */
    LLRT_ACT_GELU_QUICK = 5, /**< x * sigmoid(1.702 x) */
    LLRT_ACT_SIGMOID = 6,
    LLRT_ACT_TANH = 7
};

typedef uint32_t llrt_rope_pairs;
enum {
    LLRT_ROPE_ADJACENT = 0, /**< pairs (2i, 2i + 1) */
    LLRT_ROPE_HALVES = 1    /**< pairs (i, i + n_rot / 2) */
};

typedef uint32_t llrt_mask;
enum {
    /**
     * a token sees itself and what is before it (the last `window` positions of that); in a
     * sequence with LLRT_SEQ_BIDIRECTIONAL also all rows of the step after it
     */
    LLRT_MASK_CAUSAL = 0,
    /**
     * a token sees the whole sequence, which is computed in one step; with a window only what is at
     * most window / 2 positions away on either side
     */
    LLRT_MASK_FULL = 1
};

/** How EXPERTS turns a row of router logits into scores and weights. */
typedef uint32_t llrt_router;
enum {
    /** scores: softmax over all logits; weights: the chosen ones' scores */
    LLRT_ROUTER_SOFTMAX = 0,
    /** scores: the logits; weights: softmax over the chosen ones */
    LLRT_ROUTER_SOFTMAX_CHOSEN = 1,
    /** scores: sigmoid of each logit; weights: the chosen ones' scores */
    LLRT_ROUTER_SIGMOID = 2
};

/**
 * An operator. `in`, `out` index the program's values, `weight` the model's tensors; unused ones
 * are LLRT_NONE.
 */
typedef struct llrt_op {
    llrt_op_kind kind;
    uint32_t layer; /**< ascending; the library cuts programs between layers */
    uint32_t n_in;
    uint32_t in[6];
    uint32_t out;
    uint32_t weight[8];
    union {
        struct {
            float factor;
        } scale; /**< EMBED, SCALE, SOFT_CAP */
        struct {
            int32_t offset;
        } position;
        struct {
            uint32_t begin;
        } slice; /**< element of the row, heads counted through */
        struct {
            float eps, weight_offset;
        } norm;
        struct {
            llrt_rope_pairs pairs;
            uint32_t n_rot;  /**< even, at most the head's width; the rest passes through */
            float magnitude; /**< multiplies sine and cosine (1 without scaling) */
            uint32_t reserved;
            /** (n_rot / 2): every kind of scaling is in here; copied by the backend */
            const float *inv_freq;
            /** (n_rot / 2): which of the token's three positions turns the pair; NULL: the first */
            const uint8_t *axis;
        } rope;
        struct {
            uint32_t kv; /**< index into the model's kv list */
            llrt_mask mask;
            float scale;    /**< multiplies q k^T */
            float soft_cap; /**< 0: none; else scores become c * tanh(score / c) */
            /** 0: none; else a token sees at most this many positions, itself included */
            uint32_t window;
            /**
             * (n_head) ALiBi: slope * (position of k - position of q) is added to the score, after
             * the soft cap; NULL: none; copied by the backend
             */
            const float *slope;
        } attention;
        struct {
            llrt_activation act;
            float limit, offset; /**< GLU: 0, 0 for none */
        } act;                   /**< GLU, ACTIVATE */
        struct {
            uint32_t n_used; /**< experts per row, 1 to 64 */
            llrt_router router;
            /**
             * 0 or 1: none; else the experts are in n_group equal groups, and only those of the
             * n_group_used best groups can be chosen; a group's score is its best member's, or with
             * is_group_sum the sum of its two best
             */
            uint32_t n_group, n_group_used, is_group_sum;
            uint32_t is_normalized; /**< 1: weights are divided by their sum */
            float scale;            /**< then multiplied by this */
            llrt_activation act;
            float limit, offset; /**< as GLU's */
        } experts;
        struct {
            uint32_t state; /**< index into the model's state list */
        } conv;
        struct {
            uint32_t state;
            uint32_t is_log_a;    /**< 1: weight[0] holds log(-A) */
            uint32_t is_tiled;    /**< GATED_DELTA: 1: v's head h goes with head h % n_k_head */
            float dt_min, dt_max; /**< SSM_SCAN: bounds of t */
        } scan;                   /**< GATED_DELTA, SSM_SCAN */
        uint8_t reserved[96];
    } u;
} llrt_op;

/**
 * A flat list of operators in order of execution; every value is written once, before it is read.
 */
typedef struct llrt_program {
    uint32_t n_value, n_op, n_input, n_output;
    const llrt_value *value;
    const llrt_op *op;
    const uint32_t *input;  /**< values the library writes before the step (of the stage before) */
    const uint32_t *output; /**< values that can be read after the step with value_read */
    uint32_t logits;        /**< the value select works on, or LLRT_NONE */
} llrt_program;

typedef struct llrt_model_desc {
    uint32_t struct_size;
    uint32_t n_tensor, n_program, n_kv, n_state, n_device;
    const llrt_tensor_desc *tensor;
    const llrt_program *program; /**< they share weights, kv slots and states */
    const llrt_kv_desc *kv;
    const llrt_state_desc *state;
    const uint32_t *device; /**< indices below device_count */
    llrt_type kv_type;      /**< F32, F16, BF16 or Q8_0 */
    llrt_precision precision;
    llrt_weights weights;
    /**
     * highest instruction set level to use, by the backend's name for it; NULL: the best there is
     */
    const char *isa;
} llrt_model_desc;

typedef struct llrt_runtime_limits {
    uint32_t struct_size;
    uint32_t n_row;                       /**< rows of tokens in a step */
    uint32_t n_seq;                       /**< sequences in a step */
    uint32_t n_out;                       /**< wanted rows in a step */
    uint32_t n_page[LLRT_KV_GROUP_COUNT]; /**< pages of each group */
    uint32_t n_state;                     /**< state slots, each with the state of every operator */
    uint32_t n_adapter;                   /**< adapter slots */
    uint32_t adapter_rank;                /**< highest rank in them */
    /** 1: sums of squares of what each linear is given can be read with squares_read */
    uint32_t with_squares;
} llrt_runtime_limits;

/** Bytes that will be requested from llrt_host (or the device), by llrt_memory class. */
typedef struct llrt_memory_use {
    uint32_t struct_size;
    uint32_t reserved;
    uint64_t bytes[16];       /**< indexed by llrt_memory, after opening */
    uint64_t loading_peak;    /**< further bytes needed at the peak of opening */
    uint64_t driver_estimate; /**< what a driver is expected to take beside that */
} llrt_memory_use;

/* ---- Steps ---------------------------------------------------------------------------------- */

/** What a select entry wants beside the candidates; each costs a pass over the logits. */
typedef uint32_t llrt_select_wants;
enum {
    LLRT_SELECT_LOG_SUM_EXP = 1,    /**< llrt_select_result.log_sum_exp */
    LLRT_SELECT_RAW_LOG_SUM_EXP = 2 /**< llrt_select_result.raw_log_sum_exp */
};

/** What to choose from a row of logits on the device. Work is done in this order. */
typedef struct llrt_select {
    uint32_t out_row; /**< index among the wanted rows */
    uint32_t n_best;  /**< 1 to LLRT_SELECT_MAX */
    uint32_t n_bias, n_penalty, n_subtract;
    float repetition, frequency, presence; /**< 1, 0, 0 without penalties */
    llrt_select_wants wants;
    uint32_t reserved;         /**< 0 */
    const int32_t *bias_token; /**< (n_bias) distinct ids, ascending: logit += bias */
    const float *bias;
    /** (n_penalty) distinct ids: logit is divided (above 0) or multiplied (else) by repetition, */
    const int32_t *penalty_token;
    const uint32_t *penalty_count; /**< then reduced by frequency * count + presence */
    const int32_t *subtract_token; /**< (n_subtract) distinct ids: logit -= subtract */
    const float *subtract;
    const uint32_t *allowed; /**< bit per id, others become -infinity; NULL: all */
} llrt_select;

typedef struct llrt_select_result {
    uint32_t n; /**< candidates, n_best at most */
    /** room for n_best, given by the caller; by logit descending, then id ascending */
    int32_t *token;
    float *logit; /**< after all modifications */
    /** over all modified logits; undefined when it was not wanted, as the next */
    double log_sum_exp;
    double raw_log_sum_exp; /**< over the logits as computed */
} llrt_select_result;

typedef uint32_t llrt_seq_flags;
enum {
    /** causal attention lets every row of the sequence see all its rows of this step */
    LLRT_SEQ_BIDIRECTIONAL = 1
};

/**
 * The rows of one sequence in a step: consecutive rows, consecutive positions.
 *
 * State slots are written once and then only read until they are given to another step: a step
 * reads the sequence's state in state_in and leaves what follows in other slots, so whatever
 * becomes of it, the state before is still there.
 */
typedef struct llrt_step_seq {
    uint32_t row_begin, n_row;
    int32_t pos_begin;    /**< absolute position of its first row; all before it is in the pages */
    llrt_seq_flags flags; /**< LLRT_SEQ_... */
    uint32_t n_page;      /**< entries of each table, enough for pos_begin + n_row positions */
    uint32_t n_adapter;
    /**
     * by group: page of positions [i * LLRT_PAGE_TOK, ...); those written to are not shared.
     * LLRT_NONE before the window; NULL for a group without slots
     */
    const uint32_t *page[LLRT_KV_GROUP_COUNT];
    uint32_t state_in;  /**< state before the first row; LLRT_NONE: all zeros */
    uint32_t state_out; /**< where the state after the last row goes */
    /**
     * (n_page) where the state at the end of a page goes, for each page end that lies in the rows;
     * LLRT_NONE: nowhere. May be NULL
     */
    const uint32_t *state_at;
    const uint32_t *adapter; /**< (n_adapter) distinct slots whose part is added, in this order */
    const float *adapter_scale; /**< (n_adapter) each multiplied by this */
} llrt_step_seq;

typedef struct llrt_step_desc {
    uint32_t struct_size;
    uint32_t program;
    uint32_t n_row, n_seq, n_out, n_select;
    const int32_t *token; /**< (n_row) ids; -1: the row comes from `embedding` */
    /** (number of rows with token -1, d_model), in row order; may be NULL */
    const float *embedding;
    /**
     * (n_row, 3) positions for rotation, instead of the place in the sequence; may be NULL. Masks
     * and ALiBi go by the place in the sequence
     */
    const int32_t *position;
    const uint8_t *token_type;  /**< (n_row) for TOKEN_TYPE; NULL: 0 */
    const llrt_step_seq *seq;   /**< (n_seq), covering all rows in order */
    const uint32_t *out_row;    /**< (n_out) rows wanted by GATHER, ascending */
    const float *const *input;  /**< (n_input of the program): (n_row, row width) each */
    const llrt_select *select;  /**< (n_select) */
    llrt_select_result *result; /**< (n_select), written by step_wait */
    /**
     * Polled, from any thread, at least every few milliseconds: not 0 ends the step with
     * LLRT_ERR_CANCELLED. May be NULL.
     */
    int (*poll_cancel)(void *ctx);
    void *poll_ctx;
} llrt_step_desc;

/* ---- Adapters ------------------------------------------------------------------------------- */

/** A low-rank change of one linear: out += scale * (x a^T) b^T, in float32. */
typedef struct llrt_adapter_part {
    uint32_t tensor; /**< the linear's weight, a matrix that LINEAR or HEAD names */
    uint32_t rank;   /**< at most the limit's adapter_rank */
    const float *a;  /**< (rank, d_in) */
    const float *b;  /**< (d_out, rank) */
} llrt_adapter_part;

/* ---- The table ------------------------------------------------------------------------------ */

typedef struct llrt_backend {
    uint32_t struct_size; /**< bytes the backend filled */
    uint32_t version;     /**< LLRT_BACKEND_VERSION it was built for */
    const char *name;     /**< "cpu"; device names begin with it */

    /**
     * Devices present. A backend whose driver is missing has 0 devices and says why in `err` with
     * LLRT_ERR_NOT_FOUND.
     */
    llrt_status (*device_count)(uint32_t *n, llrt_error *err);
    llrt_status (*device_info)(uint32_t device, llrt_device_info *info, llrt_error *err);

    /**
     * The bytes model_create to model_finish, and runtime_create, will request. Allocates nothing
     * that lasts.
     */
    llrt_status (*plan)(const llrt_host *host, const llrt_model_desc *desc,
                        const llrt_runtime_limits *limits, llrt_memory_use *model_use,
                        llrt_memory_use *runtime_use, llrt_error *err);

    /**
     * Compiles the programs, allocates the weights. Unsupported types, operators or levels:
     * LLRT_ERR_UNSUPPORTED, named.
     */
    llrt_status (*model_create)(const llrt_host *host, const llrt_model_desc *desc, void **model,
                                llrt_error *err);
    /**
     * Takes rows in the file's layout: `row_begin` a multiple of LLRT_WEIGHT_ROWS, n_row rows of
     * dim[0] elements (all further dimensions counted through). Any order, each row once; any
     * thread, several at once.
     */
    llrt_status (*weight_put)(void *model, uint32_t tensor, uint64_t row_begin, uint64_t n_row,
                              const void *data, llrt_error *err);
    /** LLRT_WEIGHTS_MAPPED: the whole tensor, valid until model_free. */
    llrt_status (*weight_map)(void *model, uint32_t tensor, const void *data, llrt_error *err);
    /** All weights are in. */
    llrt_status (*model_finish)(void *model, llrt_error *err);
    void (*model_free)(void *model);

    llrt_status (*runtime_create)(void *model, const llrt_runtime_limits *limits, void **runtime,
                                  llrt_error *err);
    void (*runtime_free)(void *runtime);

    /**
     * Starts a step; at most one is in flight per runtime. A backend may do the work in either
     * call.
     */
    llrt_status (*step_submit)(void *runtime, const llrt_step_desc *step, llrt_error *err);
    /**
     * Ends it: LLRT_OK, LLRT_ERR_CANCELLED, LLRT_ERR_NOMEM, LLRT_ERR_DEVICE ... On failure page
     * contents at the step's positions are undefined, all others are as before.
     */
    llrt_status (*step_wait)(void *runtime, llrt_error *err);
    /**
     * Rows [row_begin, row_begin + n_row) of an output value of the last completed step, (n_row,
     * row width) float32.
     */
    llrt_status (*value_read)(void *runtime, uint32_t value, uint32_t row_begin, uint32_t n_row,
                              float *to, llrt_error *err);

    /** Copies the first n_tok positions of a page, all slots of its group. Between steps. */
    llrt_status (*page_copy)(void *runtime, uint32_t group, uint32_t to, uint32_t from,
                             uint32_t n_tok, llrt_error *err);
    /**
     * Writes out or takes in the first n_tok positions of a page in the canonical layout: for each
     * kv slot of the group in order, K as (n_tok, n_head, k_dim), then V as (n_tok, n_head, v_dim)
     * unless it is in K, elements of kv_type, little-endian; for Q8_0 each head is ceil(dim / 32)
     * blocks of a float16 scale and 32 int8, the last padded with zeros.
     */
    llrt_status (*page_read)(void *runtime, uint32_t group, uint32_t page, uint32_t n_tok, void *to,
                             size_t size, llrt_error *err);
    llrt_status (*page_write)(void *runtime, uint32_t group, uint32_t page, uint32_t n_tok,
                              const void *from, size_t size, llrt_error *err);

    /** Writes out or takes in a state slot: the states in order, float32. Between steps. */
    llrt_status (*state_read)(void *runtime, uint32_t slot, float *to, size_t n, llrt_error *err);
    llrt_status (*state_write)(void *runtime, uint32_t slot, const float *from, size_t n,
                               llrt_error *err);

    /**
     * Fills an adapter slot with parts for distinct linears; n_part 0 empties it. Between steps.
     * Takes no memory beyond what the limits planned.
     */
    llrt_status (*adapter_put)(void *runtime, uint32_t slot, const llrt_adapter_part *part,
                               uint32_t n_part, llrt_error *err);

    /**
     * For a weight of LINEAR, HEAD, HEAD_LINEAR or EXPERTS: over all rows it has been given since
     * the runtime was made or squares_reset, sum[i][k] = sum of x[k]^2 (dim[2], dim[0]) and count[i]
     * = rows (dim[2]). Needs with_squares. Between steps.
     */
    llrt_status (*squares_read)(void *runtime, uint32_t tensor, double *sum, uint64_t *count,
                                llrt_error *err);
    void (*squares_reset)(void *runtime);
} llrt_backend;

#define LLRT_BACKEND_V1_SIZE (offsetof(llrt_backend, squares_reset) + sizeof(void (*)(void)))

/** Name of the function that a plug-in exports. */
#define LLRT_BACKEND_ENTRY "llrt_backend_entry"

/**
 * The plug-in's entry: fills `table` for `version` (the library's LLRT_BACKEND_VERSION), never
 * beyond table->struct_size bytes, and sets struct_size to what it filled. LLRT_ERR_VERSION when it
 * can't serve that version.
 */
typedef llrt_status (*llrt_backend_entry_fn)(uint32_t version, llrt_backend *table,
                                             llrt_error *err);

#ifdef __cplusplus
}
#endif
#endif
