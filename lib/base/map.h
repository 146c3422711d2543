/* SPDX-License-Identifier: MIT */
/*
 * A hash map from byte strings to uint32_t: built by one thread, then read by any number. Open
 * addressing with a keyed hash whose key differs per map, so that a file cannot be made to
 * collide. Keys are borrowed: their bytes must stay in place as long as the map.
 */
#ifndef LLRTI_MAP_H
#define LLRTI_MAP_H

#include "alloc.h"

#include <llrt/status.h>

#define LLRTI_MAP_NONE UINT32_MAX

typedef struct llrti_map_slot {
    const void *key; /* NULL: empty */
    uint32_t n_key, value;
    uint32_t tag; /* upper hash bits, to skip most comparisons */
} llrti_map_slot;

typedef struct llrti_map {
    llrti_mem *mem;
    llrt_memory kind;
    uint32_t n, capacity; /* capacity: 0 or a power of two */
    llrti_map_slot *slots;
    uint64_t seed[2];
} llrti_map;

/** Allocates nothing; `{0}` after a free is not enough, a map must be initialised. */
void llrti_map_init(llrti_map *map, llrti_mem *mem, llrt_memory kind);
/** Room for n entries without growing. False when there is no memory. */
bool llrti_map_reserve(llrti_map *map, size_t n);
/**
 * Adds a key. When it is there already, its value stays and *is_new (may be NULL) is false.
 * @return LLRT_OK, LLRT_ERR_NOMEM (nothing changed)
 */
llrt_status llrti_map_put(llrti_map *map, const void *key, size_t n_key, uint32_t value,
                          bool *is_new);
/** The value, or LLRTI_MAP_NONE. */
uint32_t llrti_map_get(const llrti_map *map, const void *key, size_t n_key);
/** Bytes that a map reserved for n entries requests (with allocation header), for plans. */
size_t llrti_map_bytes(size_t n);
void llrti_map_free(llrti_map *map); /* may be used again afterwards */

#endif
