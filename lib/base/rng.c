/* SPDX-License-Identifier: MIT */
/*
 * xoshiro256** written from its published definition: output rotl(s1 * 5, 7) * 9, then the
 * linear step. test_rng.c compares it with the published outputs of both generators.
 */
#include "rng.h"

static uint64_t rotate_left(uint64_t x, unsigned n)
{
    return x << n | x >> (64 - n);
}

uint64_t llrti_rng_splitmix64(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

void llrti_rng_seed(llrti_rng *rng, uint64_t seed)
{
    /* Four consecutive outputs of a bijection of different inputs are never all zero. */
    for (int i = 0; i < 4; i++) rng->state[i] = llrti_rng_splitmix64(&seed);
}

uint64_t llrti_rng_next(llrti_rng *rng)
{
    uint64_t *s = rng->state;
    const uint64_t result = rotate_left(s[1] * 5, 7) * 9, shifted = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= shifted;
    s[3] = rotate_left(s[3], 45);
    return result;
}

double llrti_rng_uniform(llrti_rng *rng)
{
    return (double)(llrti_rng_next(rng) >> 11) * 0x1p-53;
}
