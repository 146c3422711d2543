/* SPDX-License-Identifier: MIT */
/*
 * Linear probing at a load of at most 7/8 over a power of two of slots; nothing is ever
 * removed, so there are no tombstones. The key of the hash is made from the map's address and
 * the clock: lookups do not depend on it, only the placement of slots does.
 */
#include "map.h"

#include <string.h>

#include "hash.h"
#include "os.h"

void llrti_map_init(llrti_map *map, llrti_mem *mem, llrt_memory kind)
{
    memset(map, 0, sizeof *map);
    map->mem = mem;
    map->kind = kind;
    const uint64_t material[3] = {(uint64_t)(uintptr_t)map, (uint64_t)(uintptr_t)mem,
                                  llrti_clock_ns()};
    const llrti_hash128 seed = llrti_hash_bytes(material, sizeof material, llrti_process_id());
    map->seed[0] = seed.lo;
    map->seed[1] = seed.hi;
}

/* Slots for n entries; 0 when that many can't be had. */
static uint32_t capacity_for(size_t n)
{
    if (n > (size_t)7 << 28) return 0;
    uint64_t capacity = 16;
    while (capacity / 8 * 7 < n) capacity *= 2;
    return capacity > (uint64_t)1 << 31 ? 0 : (uint32_t)capacity;
}

size_t llrti_map_bytes(size_t n)
{
    return n ? capacity_for(n) * sizeof(llrti_map_slot) + LLRTI_ALLOC_HEADER : 0;
}

static uint32_t tag_of(uint64_t hash)
{
    return (uint32_t)(hash >> 32);
}

/* The slot that holds the key, or the empty one where it belongs. */
static llrti_map_slot *probe(const llrti_map *map, const void *key, size_t n_key, uint64_t hash)
{
    const uint32_t mask = map->capacity - 1;
    for (uint32_t at = (uint32_t)hash & mask;; at = (at + 1) & mask) {
        llrti_map_slot *slot = &map->slots[at];
        if (!slot->key) return slot;
        if (slot->tag == tag_of(hash) && slot->n_key == n_key &&
            (n_key == 0 || memcmp(slot->key, key, n_key) == 0)) {
            return slot;
        }
    }
}

bool llrti_map_reserve(llrti_map *map, size_t n)
{
    const uint32_t capacity = capacity_for(n);
    if (capacity == 0) return false;
    if (capacity <= map->capacity) return true;
    llrti_map_slot *slots = llrti_calloc(map->mem, capacity, sizeof *slots, map->kind);
    if (!slots) return false;
    llrti_map_slot *const old = map->slots;
    const uint32_t n_old = map->capacity;
    map->slots = slots;
    map->capacity = capacity;
    for (uint32_t i = 0; i < n_old; i++) {
        if (!old[i].key) continue;
        const uint64_t hash = llrti_hash_keyed(old[i].key, old[i].n_key, map->seed);
        *probe(map, old[i].key, old[i].n_key, hash) = old[i];
    }
    llrti_free(map->mem, old);
    return true;
}

llrt_status llrti_map_put(llrti_map *map, const void *key, size_t n_key, uint32_t value,
                          bool *is_new)
{
    if (is_new) *is_new = false;
    if (n_key > UINT32_MAX || !llrti_map_reserve(map, (size_t)map->n + 1)) return LLRT_ERR_NOMEM;
    const uint64_t hash = llrti_hash_keyed(key, n_key, map->seed);
    llrti_map_slot *slot = probe(map, key, n_key, hash);
    if (slot->key) return LLRT_OK;
    slot->key = key ? key : "";
    slot->n_key = (uint32_t)n_key;
    slot->tag = tag_of(hash);
    slot->value = value;
    map->n++;
    if (is_new) *is_new = true;
    return LLRT_OK;
}

uint32_t llrti_map_get(const llrti_map *map, const void *key, size_t n_key)
{
    if (map->n == 0) return LLRTI_MAP_NONE;
    const llrti_map_slot *slot = probe(map, key, n_key, llrti_hash_keyed(key, n_key, map->seed));
    return slot->key ? slot->value : LLRTI_MAP_NONE;
}

void llrti_map_free(llrti_map *map)
{
    llrti_free(map->mem, map->slots);
    map->slots = NULL;
    map->n = map->capacity = 0;
}
