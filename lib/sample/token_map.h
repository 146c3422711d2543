/* SPDX-License-Identifier: MIT */
/*
 * A set of token ids with a number each, for the penalties: a dense list that can be handed out as
 * it is, and an open-addressing index into it. Linear probing with removal by shifting back, so it
 * never fills up with tombstones. Memory is the caller's; nothing is allocated. One thread at a
 * time.
 */
#ifndef LLRTI_TOKEN_MAP_H
#define LLRTI_TOKEN_MAP_H

#include <stddef.h>
#include <stdint.h>

typedef struct llrti_token_map {
    uint32_t n, mask; /* entries; slots - 1 */
    int32_t *token;   /* (n) */
    uint32_t *value;  /* (n) */
    uint32_t *slot;   /* (mask + 1) index of an entry + 1, 0 when free */
} llrti_token_map;

/** Slots for at most `capacity` entries: a power of two, at most half full. */
uint32_t llrti_token_map_slots(uint32_t capacity);
/** The entry of `token`, added with value 0 when it is not there (then there must be room). */
uint32_t *llrti_token_map_at(llrti_token_map *map, int32_t token);
void llrti_token_map_remove(llrti_token_map *map, int32_t token);
void llrti_token_map_clear(llrti_token_map *map);

#endif
