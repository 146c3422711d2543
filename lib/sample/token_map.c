/* SPDX-License-Identifier: MIT */
/*
 * See token_map.h. Removal keeps the list dense by moving its last entry into the gap, and the
 * index free of gaps by shifting back the entries of the probe run that may move.
 */
#include "token_map.h"

#include <string.h>

static uint32_t home_slot(const llrti_token_map *map, int32_t token)
{
    return (uint32_t)token * 2654435769u >> 7 & map->mask;
}

uint32_t llrti_token_map_slots(uint32_t capacity)
{
    uint32_t n = 16;
    while (n < 2 * capacity) n *= 2;
    return n;
}

/* The slot that holds the token, or the free one where it would go. */
static uint32_t find_slot(const llrti_token_map *map, int32_t token)
{
    uint32_t i = home_slot(map, token);
    while (map->slot[i] && map->token[map->slot[i] - 1] != token) i = (i + 1) & map->mask;
    return i;
}

uint32_t *llrti_token_map_at(llrti_token_map *map, int32_t token)
{
    const uint32_t i = find_slot(map, token);
    if (map->slot[i] == 0) {
        map->token[map->n] = token;
        map->value[map->n] = 0;
        map->slot[i] = ++map->n;
    }
    return &map->value[map->slot[i] - 1];
}

void llrti_token_map_remove(llrti_token_map *map, int32_t token)
{
    uint32_t gap = find_slot(map, token);
    if (map->slot[gap] == 0) return;
    const uint32_t entry = map->slot[gap] - 1, last = map->n - 1;
    if (entry != last) {
        map->slot[find_slot(map, map->token[last])] = entry + 1;
        map->token[entry] = map->token[last];
        map->value[entry] = map->value[last];
    }
    map->n = last;
    map->slot[gap] = 0;
    for (uint32_t i = (gap + 1) & map->mask; map->slot[i]; i = (i + 1) & map->mask) {
        const uint32_t home = home_slot(map, map->token[map->slot[i] - 1]);
        /* The entry may move when its home is not cyclically within (gap, i]. */
        if (((i - home) & map->mask) < ((i - gap) & map->mask)) continue;
        map->slot[gap] = map->slot[i];
        map->slot[i] = 0;
        gap = i;
    }
}

void llrti_token_map_clear(llrti_token_map *map)
{
    if (map->n < map->mask / 8) {
        while (map->n) llrti_token_map_remove(map, map->token[map->n - 1]);
    } else {
        memset(map->slot, 0, ((size_t)map->mask + 1) * sizeof *map->slot);
        map->n = 0;
    }
}
