/* SPDX-License-Identifier: MIT */
/*
 * Kernels of every operator but the matrix products: types of the slots, exact semantics, and the table that
 * dispatch fills from norm.def, elementwise.def, rope.def, kv.def, attention.def, vector.def and recurrent.def.
 *
 * All kernels give the same bits on every ISA level: each output has one fixed sequence of float operations, written
 * down here and in ref/. "fma" is a fused multiply-add; what is not called fma is rounded after each operation.
 * Transcendental functions are those of cpu_math.h, lane by lane.
 *
 * sum16(e[0..n)) is the sum used by all reductions: 16 virtual lanes start at +0, element i goes to lane i % 16 in
 * ascending i, the lanes are added as in llrti_math_sum16 (i with i + 8, then 4, 2, 1).
 *
 * Pointers are aligned to 4 bytes only, except where a layout says more. Kernels read and write nothing outside
 * the ranges that are named. An output may be one of the inputs (the same pointer), but may not overlap otherwise.
 * Sizes may be any number from 1 on; n_row and n_tok too.
 */
#ifndef LLRTI_OPS_H
#define LLRTI_OPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <llrt/backend.h>

#include "isa.h"

/* ---- Norms: n_row contiguous rows of n. Heads with weights of their own are one call each ----- */

/*
 * s = sum16 with lane = fma(x[i], x[i], lane); inv = 1 / sqrt(s / n + eps);
 * y[i] = (x[i] * inv) * (w[i] + offset), or x[i] * inv when w is NULL. (float)n is the divisor.
 */
typedef void llrti_rms_norm_fn(size_t n_row, size_t n, const float *x, const float *w, float offset,
                               float eps, float *y);

/*
 * mean = sum16(x[i]) / n; d = x[i] - mean; s = sum16 with lane = fma(d, d, lane); inv = 1 / sqrt(s / n + eps); t = d * inv;
 * y[i] = fma(t, w[i], bias[i]), t * w[i] when bias is NULL, t + bias[i] when w is NULL, t when both are.
 */
typedef void llrti_layer_norm_fn(size_t n_row, size_t n, const float *x, const float *w,
                                 const float *bias, float eps, float *y);

/* ---- Element by element: n values. POSITION and TOKEN_TYPE add rows of their tables with `add` - */

typedef void llrti_unary_fn(size_t n, const float *x, float *y);                  /* y = f(x) */
typedef void llrti_binary_fn(size_t n, const float *a, const float *b, float *y); /* y = f(a, b) */
typedef void llrti_scale_fn(size_t n, const float *x, float c, float *y);

/*
 * What a gated unit does to its inputs before act(a) * b, when it has a limit or an offset (0: none). With a limit: ya = a > limit ?
 * limit : a, and b likewise from above, then b < -limit ? -limit : b; NaN stays. With an offset: yb = b + offset.
 */
typedef void llrti_limit_fn(size_t n, const float *a, const float *b, float limit, float offset,
                            float *ya, float *yb);

/* ---- Rope: one token's heads, n_head contiguous ones of `width` ------------------------------ */

/*
 * table: n_rot / 2 cosines, then n_rot / 2 sines, of the angles position * inv_freq. The position is the token's place in
 * its sequence, or with the step's own positions the one of its three that the pair's axis names. For each pair (p, q) of the first n_rot elements of a head:
 * y[p] = fma(x[p], c, -(x[q] * s)); y[q] = fma(x[q], c, x[p] * s). Elements from n_rot on are copied.
 */
typedef void llrti_rope_fn(size_t n_head, size_t width, size_t n_rot, const float *table,
                           const float *x, float *y);

/* ---- KV tiles ------------------------------------------------------------------------------- */

enum {
    LLRTI_KV_F32 = 0,
    LLRTI_KV_F16 = 1,
    LLRTI_KV_BF16 = 2,
    LLRTI_KV_Q8_0 = 3,
    LLRTI_KV_COUNT = 4
};

#define LLRTI_KV_BLOCK                                                                             \
    32 /* elements that share a scale in Q8_0; the last block of a head may be shorter */

/*
 * A tile: LLRT_PAGE_TOK positions of one head of one layer. All four parts are aligned to 64 bytes. When V is the beginning of
 * K (a latent cache), there are no v and v_scale: v[j][e] is then k[e][j] as it was stored.
 *
 *   k        [k_dim][64]                     a lane owns a position
 *   k_scale  [ceil(k_dim / 32)][64] float16  Q8_0 only
 *   v        [64][v_dim]                     a lane owns an element of the output
 *   v_scale  [64][ceil(v_dim / 32)] float16  Q8_0 only
 *
 * Elements are float, float16, bfloat16 or int8. A Q8_0 element is scale * int8.
 */
typedef struct llrti_kv_tile {
    void *k, *k_scale, *v, *v_scale;
} llrti_kv_tile;

/*
 * Writes n_tok tokens' values of one head, token t at x + t * x_stride, to positions pos + t of a tile (pos + n_tok <= 64).
 * `data`, `scale` are the tile's k and k_scale (kv_store_k) or v and v_scale (kv_store_v). float16 and bfloat16
 * round to nearest even. Q8_0, for each block of up to 32: a = max |x|; d = a / 127; scale = float16(d);
 * inv = d > 0 ? 1 / d : 0 (d after the division, not after rounding to float16);
 * int8 = low byte of the bits of (x * inv + 12582912), an add after a rounded multiply.
 */
typedef void llrti_kv_store_fn(const float *x, size_t x_stride, size_t n_tok, size_t dim,
                               size_t pos, void *data, void *scale);

/* ---- Attention ------------------------------------------------------------------------------ */

#define LLRTI_ATTENTION_MAX_QUERY 64

/*
 * One tile for several queries that share the KV head. Query i sees the tile's positions [begin[i], end[i]); when that is empty
 * the kernel writes nothing for it or anything; else, with j over the seen positions only (others
 * may be uninitialised and must not influence anything):
 *
 *   s[j]   = dot * scale, dot starting at +0, dot = fma(q[d], k[d][j], dot) for ascending d
 *   s[j]   = soft_cap * tanh(s[j] / soft_cap) when soft_cap is not 0
 *   s[j]   = fma(slope, (float)(position of j - position of the query), s[j]) when there are slopes
 *   max    = the largest s[j]
 *   p[j]   = exp(s[j] - max)
 *   sum    = sum16 of p[j], lane j % 16 (j counted from the tile's start)
 *   out[e] = starting at +0, fma(p[j], v[j][e], out[e]) for ascending j
 */
typedef struct llrti_attention_tile {
    llrti_kv_tile kv; /* read only */
    uint32_t k_dim, v_dim;
    uint32_t v_in_k;  /* 1: v[j][e] is k[e][j], e < v_dim <= k_dim */
    uint32_t n_query; /* 1 to LLRTI_ATTENTION_MAX_QUERY */
    float scale, soft_cap;
    const float *q;             /* (n_query, k_dim) */
    const float *slope;         /* (n_query), or NULL */
    const int32_t *distance;    /* (n_query) with slopes: the tile's first position - the query's */
    const uint8_t *begin, *end; /* (n_query), 0 to 64 */
    float *max, *sum;           /* (n_query) */
    float *out;                 /* (n_query, v_dim) */
    float *score;               /* scratch: (n_query, 64), aligned to 64 bytes */
    float *
        work; /* scratch: (64, larger of k_dim and v_dim), aligned to 64 bytes; for a converted tile */
} llrti_attention_tile;

typedef void llrti_attention_tile_fn(const llrti_attention_tile *tile);

/*
 * Adds the next tile's (max, sum, out) of one query to what has been merged so far, (*acc_max, *acc_sum, acc):
 *   m = max > *acc_max ? max : *acc_max;  a = exp(*acc_max - m);  b = exp(max - m);
 *   *acc_sum = fma(*acc_sum, a, sum * b);  acc[e] = fma(acc[e], a, out[e] * b);  *acc_max = m
 */
typedef void llrti_attention_merge_fn(size_t v_dim, float max, float sum, const float *out,
                                      float *acc_max, float *acc_sum, float *acc);

/*
 * A query's output is acc[e] * factor once its last tile is merged. factor = 1 / acc_sum; with a sink (a score without a value):
 *   m = sink > acc_max ? sink : acc_max;  a = exp(acc_max - m);  b = exp(sink - m);  factor = a / fma(acc_sum, a, b)
 *
 * Which positions a query at p of a sequence with rows [begin, end) of the step sees, as [from, to):
 *   causal                 from = window && p + 1 > window ? p + 1 - window : 0;  to = p + 1, bidirectional: end
 *   full                   from = 0;  to = end
 *   full with a window     from = max(0, p - window / 2);  to = min(end, p + window / 2 + 1)
 * Tiles are merged in ascending order; one of which the query sees nothing is skipped.
 */

/* ---- Vectors: mixing experts, adapters ------------------------------------------------------ */

/* y[i] = fma(c, x[i], y[i]) */
typedef void llrti_axpy_fn(size_t n, float c, const float *x, float *y);

/*
 * For each of n_row rows: y[j] = starting at +0, fma(x[i], w[i][j], y[j]) for ascending i; w (k, n). Rows of each are
 * `..._stride` floats apart. What lies between the rows of w may be read, up to the end of its last row.
 */
typedef struct llrti_rowmat_args {
    size_t n_row, k, n;
    const float *x, *w;
    float *y;
    size_t x_stride, w_stride, y_stride;
} llrti_rowmat_args;
typedef void llrti_rowmat_fn(const llrti_rowmat_args *args);

/* ---- Recurrent operators: tokens of one sequence in order, a lane owns a channel or column --- */

/*
 * Per head h of one token: A = is_log ? -exp(w[h]) : w[h]; decay[h] = exp(A * softplus(x[h] + bias[h])).
 */
typedef void llrti_delta_decay_fn(size_t n_head, const float *x, const float *w, const float *bias,
                                  bool is_log, float *decay);

/*
 * Per head h of one token: A as above; t = softplus(x[h] + bias[h]); t = t < t_min ? t_min : t; t = t > t_max ? t_max : t;
 * decay[h] = exp(t * A); t goes to t[h].
 */
typedef struct llrti_scan_step {
    const float *x, *w, *bias;
    bool is_log;
    float t_min, t_max;
    float *t, *decay;
} llrti_scan_step;
typedef void llrti_scan_decay_fn(size_t n_head, const llrti_scan_step *step);

/*
 * Convolution over the last n_tap tokens of each channel: out[t][c] starts at bias[c] (+0 without), then for ascending j
 * out = fma(w[j][c], x[t - n_tap + 1 + j][c], out). Rows before the first token are in `history`, (n_tap - 1) of them,
 * the oldest first. Rows are `..._stride` floats apart; out is none of the inputs.
 */
typedef struct llrti_conv_args {
    size_t n_tok, n_channel, n_tap;
    const float *w, *bias, *history, *x;
    float *out;
    size_t w_stride, history_stride, x_stride, out_stride;
} llrti_conv_args;
typedef void llrti_conv_fn(const llrti_conv_args *args);

/*
 * n_col columns of one head's state S (n_row, n_col), row i at state + i * state_stride; `in` is S before the first token, of the
 * same strides, and may be `state`, where S after each token goes. For each token, decay, beta, t and d being its numbers:
 *
 *   delta   S[i][e] = S[i][e] * decay
 *           kv[e] = starting at +0, fma(k[i], S[i][e], kv[e]) for ascending i;  delta[e] = (x[e] - kv[e]) * beta
 *           S[i][e] = fma(k[i], delta[e], S[i][e])
 *           out[e] = starting at +0, fma(q[i], S[i][e], out[e]) for ascending i
 *   scan    S[i][e] = fma(k[i], t * x[e], S[i][e] * decay)
 *           out[e] = starting at +0, fma(q[i], S[i][e], out[e]) for ascending i, then fma(d, x[e], out[e])
 *
 * The state-space scan calls B k and C q. Rows of tokens are `..._stride` floats apart; out is none of the inputs.
 */
typedef struct llrti_scan_args {
    size_t n_tok, n_row, n_col;
    const float *q, *k, *x; /* x: v of the delta rule */
    size_t qk_stride, x_stride;
    const float *decay; /* one per token */
    const float *gate;  /* one per token: beta, or t */
    size_t decay_stride, gate_stride;
    float d; /* scan */
    const float *in;
    float *state;
    size_t state_stride;
    float *out;
    size_t out_stride;
} llrti_scan_args;
typedef void llrti_scan_fn(const llrti_scan_args *args);

/* ---- The table ------------------------------------------------------------------------------ */

#define LLRTI_OPS_N_ACT 8 /* llrt_activation */

/* Every slot is filled. Constant after init. */
typedef struct llrti_ops {
    uint32_t isa; /* the flags it was made for */
    llrti_rms_norm_fn *rms_norm;
    llrti_layer_norm_fn *layer_norm;
    llrti_binary_fn *add;                      /* a + b */
    llrti_binary_fn *mul;                      /* a * b */
    llrti_binary_fn *sigmoid_gate;             /* a * sigmoid(b) */
    llrti_scale_fn *scale;                     /* x * c */
    llrti_scale_fn *soft_cap;                  /* c * tanh(x / c) */
    llrti_unary_fn *activate[LLRTI_OPS_N_ACT]; /* act(x) */
    llrti_binary_fn *glu[LLRTI_OPS_N_ACT];     /* act(a) * b */
    llrti_limit_fn *limit;                     /* before a glu with limits */
    llrti_rope_fn *rope[2];                    /* by llrt_rope_pairs */
    llrti_kv_store_fn *kv_store_k[LLRTI_KV_COUNT];
    llrti_kv_store_fn *kv_store_v[LLRTI_KV_COUNT];
    llrti_attention_tile_fn *attention_tile[LLRTI_KV_COUNT];
    llrti_attention_merge_fn *attention_merge;
    llrti_axpy_fn *axpy;
    llrti_rowmat_fn *rowmat;
    llrti_delta_decay_fn *delta_decay;
    llrti_scan_decay_fn *scan_decay;
    llrti_conv_fn *conv;
    llrti_scan_fn *delta;
    llrti_scan_fn *scan;
} llrti_ops;

/* Fills the table with ref, then with whatever `isa` (flags of isa.h, all present on this machine) allows. */
void llrti_ops_init(llrti_ops *ops, uint32_t isa);

/* The GLU operator for n elements: limits, then y = act(a) * b. y may be a or b. */
void llrti_ops_glu(const llrti_ops *ops, llrt_activation act, float limit, float offset, size_t n,
                   const float *a, const float *b, float *y);

/* Architectures whose .def lines are compiled in. */
#if defined(__x86_64__) || defined(_M_X64)
#define LLRTI_OPS_X86 1
#else
#define LLRTI_OPS_X86 0
#endif
#if defined(__aarch64__) || defined(_M_ARM64)
#define LLRTI_OPS_ARM 1
#else
#define LLRTI_OPS_ARM 0
#endif

/* Declares every kernel. Lines of the lists: X(type, slot, symbol, ISA, is_exact): llrti_<type>_fn, member of
 * llrti_ops, function, LLRTI_ISA_<ISA>, 1 when it must equal ref bit for bit. */
#define X(type, slot, symbol, isa, is_exact) llrti_##type##_fn symbol;
#include "norm.def"
#include "elementwise.def"
#include "rope.def"
#include "kv.def"
#include "attention.def"
#include "vector.def"
#include "recurrent.def"
#undef X

#endif
