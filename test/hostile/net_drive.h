/* SPDX-License-Identifier: MIT */
/*
 * Drives small networks through backend tables as an engine would: weights in pieces, one or two
 * stages, two sequences in chunks of several sizes with page tables that forget, state slots that
 * alternate, adapters, and a rewind at the end. The same script runs on any number of sides, so
 * that they can be compared step by step.
 */
#ifndef NET_DRIVE_H
#define NET_DRIVE_H

#include "small_net.h"

#define DRIVE_ROWS 70 /* rows of a step */
#define DRIVE_TOKENS 256
#define DRIVE_PAGES 12 /* of the group that keeps all */
#define DRIVE_WINDOW 6 /* of the other */
#define DRIVE_STATES 12
#define DRIVE_ADAPTERS 3
#define DRIVE_RANK 4

/** The hostile plug-in, from LLRT_TEST_HOSTILE: set up and torn down by these two. */
extern llrt_backend drive_hostile;
extern void *drive_plug_in;
int drive_load(void **state);
int drive_unload(void **state);

/** One model and runtime, executing a part of a net's program. */
typedef struct stage {
    const llrt_backend *backend;
    void *model, *runtime;
    llrt_program program;
    uint32_t input[8], output[12];
} stage;

/** What stands for one backend in a comparison: a net in one or two stages. */
typedef struct side {
    const net *n;
    int n_stage;
    stage stage[2];
} side;

/**
 * Opens the net on `backend`, or cut before the first operator of layer `cut` (not 0) on two of
 * them, with `desc`'s types and the devices of `device`. Limits: the numbers above. A failure is
 * the test's.
 */
void side_open(side *s, const llrt_backend *const backend[2], const uint32_t device[2],
               const llrt_host *host, const net *n, const llrt_model_desc *desc, uint32_t cut);
void side_close(side *s);
/** Index of the stage that computes a value. */
int side_owner(const side *s, uint32_t value);
/**
 * Whether LINEAR or HEAD (or with is_any HEAD_LINEAR or EXPERTS) of a stage multiplies by a tensor.
 */
bool stage_multiplies(const stage *s, uint32_t tensor, bool is_any);
/** All weights of the net to a model, in pieces, last first. */
void put_weights(const llrt_backend *backend, void *model, const net *n);

/** Sums and counts of one tensor, zeros when nothing multiplies by it. */
void side_squares(const side *s, uint32_t tensor, double *sum, uint64_t *count);

typedef struct outcome {
    float *value[4];
    size_t size[4];
    int32_t token[2][64];
    float logit[2][64];
    llrt_select_result result[2];
} outcome;

void side_step(side *s, const llrt_step_desc *step, outcome *out);
void outcome_free(outcome *out);
/** Bit for bit. */
void outcome_compare(const net *n, const outcome *a, const outcome *b, const llrt_step_desc *step,
                     const char *what);

/**
 * The state of both slots and pages that the script uses, and squares, bit for bit; then swaps
 * them.
 */
typedef struct script script;
void side_compare(side *a, side *b, const script *x, llrt_type kv_type, const char *what);

/** One sequence: what its tokens are, and where it stands. */
typedef struct timeline {
    int32_t token[DRIVE_TOKENS];
    float *embedding; /* (tokens, width): of those that are -1 */
    int32_t position[3 * DRIVE_TOKENS];
    uint8_t type[DRIVE_TOKENS];
    uint32_t end[DRIVE_TOKENS]; /* what each token sees ends before this */
    uint32_t n;
    uint32_t page[LLRT_KV_GROUP_COUNT][4], table[LLRT_KV_GROUP_COUNT][4];
    uint32_t state, state_at[4], at[4];
    uint32_t adapter[2];
    float adapter_scale[2];
    uint32_t n_adapter;
} timeline;

struct script {
    const net *n;
    timeline t[2];
    uint32_t i_step;
    uint32_t first[2]; /* tokens of a sequence before the present step */
    /* the adapters' parts, by slot */
    uint32_t n_part[DRIVE_ADAPTERS];
    llrt_adapter_part part[DRIVE_ADAPTERS][NET_MAX];
    float *factors;
    /* of the present step */
    llrt_step_desc step;
    llrt_step_seq seq[2];
    int32_t token[DRIVE_ROWS], position[3 * DRIVE_ROWS];
    uint8_t type[DRIVE_ROWS];
    uint32_t out_row[DRIVE_ROWS];
    float *embedding;
    llrt_select select[2];
};

void script_create(script *s, const net *n);
/** The next step is in s->step, for side_step; false: that was the last one. */
bool script_next(script *s);
/** Whether the next step goes back in time, so that squares count rows twice from there. */
bool script_is_rewinding(const script *s);
void script_free(script *s);
/** Fills the adapter slots of a side. */
void side_adapt(side *s, const script *x);

#endif
