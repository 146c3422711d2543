/* SPDX-License-Identifier: MIT */
/*
 * DRY ("don't repeat yourself"): a token that would continue a repetition is penalised by
 * multiplier * base^(length - allowed_length), where length is that of the longest end of the
 * history, at least allowed_length and without a breaker token, that occurs earlier and was
 * followed there by the token. A breaker token itself is never penalised. Stateless; any thread.
 */
#ifndef LLRTI_DRY_H
#define LLRTI_DRY_H

#include "token_map.h"

typedef struct llrti_dry_options {
    float multiplier, base; /* base at least 1 */
    uint32_t allowed_length;
    const uint32_t *breakers; /* bit per token id; NULL: none */
} llrti_dry_options;

/**
 * Penalties for the token after history[0 .. n). `lengths` is scratch of n entries. The map is
 * emptied first and receives at most n tokens with their lengths; penalties[i] belongs to
 * map->token[i] and has room for n.
 */
void llrti_dry_find(const llrti_dry_options *options, const int32_t *history, uint32_t n,
                    uint32_t *lengths, llrti_token_map *map, float *penalties);

#endif
