/* SPDX-License-Identifier: MIT */
/*
 * With the history read backwards as s, the length of the repetition that ends k tokens before the
 * last one is the longest common prefix of s and s[k..]: the Z function, linear in n. s[k - 1] is
 * the token that followed it. Breakers only cap the lengths, so the prefix of s is cut before the
 * first one.
 */
#include "dry.h"

#include <stdbool.h>

static bool is_breaker(const llrti_dry_options *o, int32_t token)
{
    return o->breakers && (o->breakers[(uint32_t)token / 32] >> ((uint32_t)token % 32) & 1u);
}

/* multiplier * base^exponent by squaring, at most the largest float. */
static float find_penalty(const llrti_dry_options *o, uint32_t exponent)
{
    double power = 1.0, square = (double)o->base;
    for (; exponent; exponent /= 2) {
        if (exponent & 1u) power *= square;
        square *= square;
        /* More could only grow, and infinity times a multiplier of 0 is not wanted. */
        if (power > 0x1p200) power = 0x1p200;
        if (square > 0x1p400) square = 0x1p400;
    }
    const double penalty = (double)o->multiplier * power;
    return penalty < 0x1.fffffep127 ? (float)penalty : 0x1.fffffep127f;
}

void llrti_dry_find(const llrti_dry_options *options, const int32_t *history, uint32_t n,
                    uint32_t *lengths, llrti_token_map *map, float *penalties)
{
    llrti_token_map_clear(map);
    if (n <= options->allowed_length) return;
    const int32_t *const newest = history + n - 1; /* s[i] is newest[-i] */
    uint32_t limit = 0;
    while (limit < n && !is_breaker(options, newest[-(ptrdiff_t)limit])) limit++;
    if (limit < options->allowed_length) return;

    uint32_t left = 0, right = 0; /* the match [left, right) that reaches furthest */
    for (uint32_t k = 1; k < n; k++) {
        uint32_t length = 0;
        if (k < right) {
            length = lengths[k - left];
            if (length > right - k) length = right - k;
        }
        while (k + length < n && newest[-(ptrdiff_t)length] == newest[-(ptrdiff_t)(k + length)])
            length++;
        if (k + length > right) {
            left = k;
            right = k + length;
        }
        lengths[k] = length;
        if (length > limit) length = limit;
        const int32_t next = newest[-(ptrdiff_t)(k - 1)];
        if (length < options->allowed_length || is_breaker(options, next)) continue;
        uint32_t *const longest = llrti_token_map_at(map, next);
        if (length > *longest) *longest = length;
    }
    /* The oldest token follows nothing, which is a repetition of length 0. */
    if (options->allowed_length == 0 && !is_breaker(options, history[0]))
        llrti_token_map_at(map, history[0]);
    for (uint32_t i = 0; i < map->n; i++)
        penalties[i] = find_penalty(options, map->value[i] - options->allowed_length);
}
