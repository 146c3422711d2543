/* SPDX-License-Identifier: MIT */
/*
 * Small networks built by hand for tests of backends: programs that together use every operator,
 * and weights of every element type (or float32 alone) filled with pseudo-random values. Also a
 * counting llrt_host. A net owns all it points to.
 */
#ifndef SMALL_NET_H
#define SMALL_NET_H

#include <stdbool.h>

#include <llrt/backend.h>

#define NET_VOCAB 150
#define NET_MAX 160
#define NET_KINDS 7
#define NET_WIDTH 256 /* widest row of embeddings */

typedef struct net {
    const char *name;
    uint32_t n_tensor, n_kv, n_state;
    llrt_tensor_desc tensor[NET_MAX];
    char tensor_name[NET_MAX][16];
    size_t row_bytes[NET_MAX];
    unsigned char *data[NET_MAX];
    llrt_value value[NET_MAX];
    llrt_op op[NET_MAX];
    uint32_t output[4];
    llrt_kv_desc kv[8];
    llrt_state_desc state[8];
    float inv_freq[64], slope[16];
    uint8_t axis[64];
    bool is_float; /* no tensor but float32 */
    bool is_whole; /* a sequence is computed in one step */
    llrt_program program;
    uint64_t seed;
    uint32_t next_type;
    uint32_t layer;
} net;

/**
 * 0 gated: normed, rotated, gated layers with grouped queries; 1 sliced: learned positions and
 * layer norms; 2 rest: the other operators; 3 experts: routers of every kind, sinks, windowed
 * pages; 4 recurrent: convolutions, delta rule, scans; 5 latent: V in K, linears of heads, rope
 * over three positions, slopes; 6 encoder: full masks, token types.
 */
net *net_create(uint32_t kind, bool is_float);
void net_free(net *n);
/** `device` is left NULL; one device. Borrows from the net. */
llrt_model_desc net_desc(const net *n, llrt_type kv_type, llrt_precision precision);
/** Rows of a tensor, all dimensions counted through. */
uint64_t net_rows(const net *n, uint32_t tensor);
/** The largest window among the attentions of a group. */
uint32_t net_window(const net *n, uint32_t group);
uint64_t net_random(uint64_t *seed);
/** Bytes of one head of n elements in the canonical page layout. */
size_t net_kv_bytes(llrt_type kv_type, size_t n);

/** An llrt_host on malloc that counts bytes by class and can fail an allocation. */
typedef struct counting_host {
    llrt_host host;
    size_t bytes[LLRT_MEMORY_COUNT];
    size_t total;
    int n_alloc, fail_at; /* fail_at 0: never */
} counting_host;

void counting_host_init(counting_host *host);

#endif
