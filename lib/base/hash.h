/* SPDX-License-Identifier: MIT */
/*
 * Two hashes. llrti_hasher is a 128-bit checksum, the same on every platform and for
 * every division of the input into updates: prefix index, fingerprints, session files. It
 * is not cryptographic, so whoever acts on a hit compares the data. llrti_hash_keyed is
 * SipHash-1-3, for tables whose keys come from files. Stateless functions; any thread.
 */
#ifndef LLRTI_HASH_H
#define LLRTI_HASH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct llrti_hash128 {
    uint64_t lo, hi;
} llrti_hash128;

typedef struct llrti_hasher {
    uint64_t lane[4], n_byte;
    uint8_t pending[32];
} llrti_hasher;

void llrti_hash_begin(llrti_hasher *hasher, uint64_t seed);
void llrti_hash_update(llrti_hasher *hasher, const void *data, size_t n);
/** Does not change the hasher: more updates may follow. */
llrti_hash128 llrti_hash_end(const llrti_hasher *hasher);

llrti_hash128 llrti_hash_bytes(const void *data, size_t n, uint64_t seed);
/** Little-endian, lo first. */
void llrti_hash_store(llrti_hash128 hash, uint8_t out[16]);
static inline bool llrti_hash_equal(llrti_hash128 a, llrti_hash128 b)
{
    return a.lo == b.lo && a.hi == b.hi;
}

uint64_t llrti_hash_keyed(const void *data, size_t n, const uint64_t key[2]);

#endif
