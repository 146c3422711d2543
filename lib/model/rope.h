/* SPDX-License-Identifier: MIT */
/*
 * Rotary position embedding: from a model's options to one vector of frequencies.
 *
 * Whatever scaling a model uses, an operator only needs inv_freq (n_rot / 2) and a factor on sine
 * and cosine. Both are computed here, in double precision, once: scalings that depend on length
 * are resolved for the context the model is opened with. Formulas:
 *   linear    f / factor                                       (Chen et al. 2023, interpolation)
 *   dynamic   base grows with n_ctx beyond the trained length      (NTK-aware, "dynamic NTK")
 *   llama3    long waves / factor, short ones kept, smooth between (Llama 3.1 report)
 *   yarn      ramp between f / factor and f over the dimensions  (Peng et al. 2023, eq. 17 to 23)
 *   longrope  one divisor per frequency, by length                 (Ding et al. 2024, LongRoPE)
 * llrti_rope_compute is pure arithmetic; llrti_rope_read_scaling finds the options in either kind
 * of file.
 */
#ifndef LLRTI_ROPE_H
#define LLRTI_ROPE_H

#include <llrt/backend.h>

#include "arena.h"
#include "hparams.h"

typedef enum llrti_rope_kind {
    LLRTI_ROPE_PLAIN,
    LLRTI_ROPE_LINEAR,
    LLRTI_ROPE_DYNAMIC,
    LLRTI_ROPE_LLAMA3,
    LLRTI_ROPE_YARN,
    LLRTI_ROPE_LONG
} llrti_rope_kind;

typedef struct llrti_rope_scaling {
    llrti_rope_kind kind;
    uint32_t n_rot;          /* even */
    uint32_t n_ctx;          /* positions the model is opened for */
    uint32_t n_ctx_train;    /* positions the checkpoint claims; 0: unknown */
    uint32_t n_ctx_original; /* positions before scaling; 0: n_ctx_train */
    double base, factor;
    double low_freq, high_freq;    /* llama3: factors on the wave length */
    double beta_fast, beta_slow;   /* yarn: rotations over n_ctx_original */
    double extrapolation;          /* yarn: weight of the ramp, 1 */
    double attention_factor;       /* factor on sine and cosine; 0: by the formula of the kind */
    double extra_factor;           /* multiplied to it, 1 */
    double mscale, mscale_all_dim; /* yarn: 0: not given */
    double score_factor;           /* 0: 1 */
    uint32_t section[3];           /* pairs of each axis, interleaved; all 0: one axis */
    bool truncate;                 /* yarn: ramp borders are whole numbers */
    double divide_all;             /* every frequency is divided by this as well; 0: by nothing */
    const float *divisor;      /* (n_rot / 2) each frequency is divided by this first; NULL: none */
    const float *long_divisor; /* longrope: instead of `divisor` when n_ctx > n_ctx_original */
} llrti_rope_scaling;

/** What the operator gets. */
typedef struct llrti_rope {
    llrt_rope_pairs pairs;
    uint32_t n_rot;
    float magnitude;
    const float *inv_freq; /* (n_rot / 2) in the builder's arena */
    /* (n_rot / 2) which of a token's three positions turns the pair, there too; NULL: the first */
    const uint8_t *axis;
    float score_factor; /* multiplies the scale of attention; 1 */
} llrti_rope;

/**
 * Fills inv_freq (n_rot / 2) and the factor on sine and cosine. LLRT_ERR_FORMAT, with the option
 * named, when the result is not finite or options contradict each other.
 */
llrt_status llrti_rope_compute(const llrti_rope_scaling *scaling, float *inv_freq, float *magnitude,
                               llrt_error *err);

/**
 * Reads base, n_rot and scaling of a model whose heads are `head_dim` wide: rope.* keys and the
 * rope_freqs.weight, rope_factors_long.weight and rope_factors_short.weight tensors of a GGUF;
 * rope_theta, rope_scaling and rope_parameters of config.json. Lists go into the arena. Failures
 * are sticky in `hp`.
 */
void llrti_rope_read_scaling(llrti_hparams *hp, llrti_arena *arena, uint32_t head_dim,
                             uint32_t n_ctx, llrti_rope_scaling *out);

/** What a family's files are like, and what holds where they don't say. */
typedef struct llrti_rope_defaults {
    llrt_rope_pairs gguf_pairs, hf_pairs;
    double base; /* 0: 10000 */
    double part; /* config.json: rotated part of a head; 0: all */
    /* Files may state sections of pairs that turn with positions of their own, interleaved. */
    bool has_sections;
    /* yarn: borders need not be whole numbers in GGUF files, which can't say so. */
    bool is_untruncated;
    /*
     * yarn: mscale_all_dim (in GGUF files yarn_log_multiplier) goes into the scores, score_factor,
     * and what is left into sine and cosine.
     */
    bool has_score_factor;
} llrti_rope_defaults;

/** Both of the above; inv_freq goes into the arena. */
void llrti_rope_read_as(llrti_hparams *hp, llrti_arena *arena, uint32_t head_dim, uint32_t n_ctx,
                        const llrti_rope_defaults *defaults, llrti_rope *out);
/** The rotation of these options. */
void llrti_rope_from_scaling(llrti_hparams *hp, llrti_arena *arena,
                             const llrti_rope_scaling *scaling, llrt_rope_pairs pairs,
                             llrti_rope *out);
/** A rotation without scaling: of `n_rot` elements, with this base. */
void llrti_rope_make(llrti_hparams *hp, llrti_arena *arena, uint32_t n_rot, double base,
                     llrt_rope_pairs pairs, llrti_rope *out);
/** As llrti_rope_read_as, all of a head, halves in safetensors files. */
void llrti_rope_read(llrti_hparams *hp, llrti_arena *arena, uint32_t head_dim, uint32_t n_ctx,
                     llrt_rope_pairs gguf_pairs, llrti_rope *out);

#endif
