/* SPDX-License-Identifier: MIT */
/*
 * Small networks built by hand for tests of backends: programs that together use every operator, and weights of
 * every element type filled with pseudo-random values. Also a counting llrt_host.
 * A net owns all it points to.
 */
#ifndef SMALL_NET_H
#define SMALL_NET_H

#include <stdbool.h>

#include <llrt/backend.h>

#define NET_VOCAB 150
#define NET_MAX 128
#define NET_KINDS 3

typedef struct net {
    const char *name;
    uint32_t n_tensor, n_kv;
    llrt_tensor_desc tensor[NET_MAX];
    char tensor_name[NET_MAX][16];
    size_t row_bytes[NET_MAX];
    unsigned char *data[NET_MAX];
    llrt_value value[NET_MAX];
    llrt_op op[NET_MAX];
    uint32_t output[4];
    llrt_kv_desc kv[4];
    float inv_freq[64];
    llrt_program program;
    uint64_t seed;
    uint32_t next_type;
    uint32_t layer;
} net;

/** 0: normed, rotated, gated layers with grouped queries; 1: learned positions and layer norms; 2: the other operators. */
net *net_create(uint32_t kind);
void net_free(net *n);
/** `device` is left NULL; one device. Borrows from the net. */
llrt_model_desc net_desc(const net *n, llrt_type kv_type, llrt_precision precision);
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
