/* SPDX-License-Identifier: MIT */
/*
 * The checksum walks the input in blocks of 32 bytes over four independent 64-bit lanes
 * (multiply, rotate, multiply: three cycles a word), and folds the lanes twice with different
 * constants into the two halves. The last block is padded with zeros and the length enters the
 * fold, so inputs of different length differ. Words are read little-endian everywhere.
 *
 * SipHash-1-3 is written from its paper (Aumasson and Bernstein, "SipHash: a fast short-input
 * PRF").
 */
#include "hash.h"

#include <string.h>

#define MULTIPLIER_A 0x9e3779b97f4a7c15u /* 2^64 / golden ratio */
#define MULTIPLIER_B 0xd6e8feb86659fd93u
#define MULTIPLIER_C 0xff51afd7ed558ccdu

static uint64_t rotate(uint64_t x, int n)
{
    return x << n | x >> (64 - n);
}

/* Little-endian; compilers make one load of it. */
static uint64_t load_u64(const uint8_t *p)
{
    return (uint64_t)p[0] | (uint64_t)p[1] << 8 | (uint64_t)p[2] << 16 | (uint64_t)p[3] << 24 |
           (uint64_t)p[4] << 32 | (uint64_t)p[5] << 40 | (uint64_t)p[6] << 48 |
           (uint64_t)p[7] << 56;
}

static uint64_t avalanche(uint64_t x)
{
    x = (x ^ x >> 32) * MULTIPLIER_B;
    x = (x ^ x >> 29) * MULTIPLIER_C;
    return x ^ x >> 32;
}

static void absorb(uint64_t lane[4], const uint8_t *block)
{
    for (int i = 0; i < 4; i++) {
        lane[i] = rotate(lane[i] + load_u64(block + 8 * i) * MULTIPLIER_B, 31) * MULTIPLIER_A;
    }
}

void llrti_hash_begin(llrti_hasher *hasher, uint64_t seed)
{
    memset(hasher, 0, sizeof *hasher);
    for (uint64_t i = 0; i < 4; i++) hasher->lane[i] = avalanche(seed + (i + 1) * MULTIPLIER_A);
}

void llrti_hash_update(llrti_hasher *hasher, const void *data, size_t n)
{
    const uint8_t *at = data;
    const size_t held = (size_t)(hasher->n_byte % 32);
    if (n == 0) return;
    hasher->n_byte += n;
    if (held) {
        const size_t take = n < 32 - held ? n : 32 - held;
        memcpy(hasher->pending + held, at, take);
        at += take;
        n -= take;
        if (held + take < 32) return;
        absorb(hasher->lane, hasher->pending);
    }
    for (; n >= 32; at += 32, n -= 32) absorb(hasher->lane, at);
    if (n) memcpy(hasher->pending, at, n);
}

llrti_hash128 llrti_hash_end(const llrti_hasher *hasher)
{
    uint64_t lane[4];
    memcpy(lane, hasher->lane, sizeof lane);
    const size_t held = (size_t)(hasher->n_byte % 32);
    if (held) {
        uint8_t last[32] = {0};
        memcpy(last, hasher->pending, held);
        absorb(lane, last);
    }
    uint64_t lo = avalanche(hasher->n_byte + MULTIPLIER_C), hi = avalanche(lo + MULTIPLIER_A);
    for (int i = 0; i < 4; i++) {
        lo = avalanche(lo * MULTIPLIER_A + lane[i]);
        hi = avalanche(rotate(hi, 23) * MULTIPLIER_C + rotate(lane[3 - i], 17));
    }
    const llrti_hash128 hash = {lo, hi};
    return hash;
}

llrti_hash128 llrti_hash_bytes(const void *data, size_t n, uint64_t seed)
{
    llrti_hasher hasher;
    llrti_hash_begin(&hasher, seed);
    llrti_hash_update(&hasher, data, n);
    return llrti_hash_end(&hasher);
}

void llrti_hash_store(llrti_hash128 hash, uint8_t out[16])
{
    for (int i = 0; i < 8; i++) {
        out[i] = (uint8_t)(hash.lo >> 8 * i);
        out[8 + i] = (uint8_t)(hash.hi >> 8 * i);
    }
}

static void sip_round(uint64_t v[4])
{
    v[0] += v[1];
    v[1] = rotate(v[1], 13) ^ v[0];
    v[0] = rotate(v[0], 32);
    v[2] += v[3];
    v[3] = rotate(v[3], 16) ^ v[2];
    v[0] += v[3];
    v[3] = rotate(v[3], 21) ^ v[0];
    v[2] += v[1];
    v[1] = rotate(v[1], 17) ^ v[2];
    v[2] = rotate(v[2], 32);
}

uint64_t llrti_hash_keyed(const void *data, size_t n, const uint64_t key[2])
{
    uint64_t v[4] = {key[0] ^ 0x736f6d6570736575u, key[1] ^ 0x646f72616e646f6du,
                     key[0] ^ 0x6c7967656e657261u, key[1] ^ 0x7465646279746573u};
    const uint8_t *at = data;
    size_t left = n;
    for (; left >= 8; at += 8, left -= 8) {
        const uint64_t word = load_u64(at);
        v[3] ^= word;
        sip_round(v);
        v[0] ^= word;
    }
    uint64_t last = (uint64_t)n << 56;
    for (size_t i = 0; i < left; i++) last |= (uint64_t)at[i] << 8 * i;
    v[3] ^= last;
    sip_round(v);
    v[0] ^= last;
    v[2] ^= 0xff;
    sip_round(v);
    sip_round(v);
    sip_round(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}
