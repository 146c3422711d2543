/* SPDX-License-Identifier: MIT */
/*
 * The generator of the sampler: xoshiro256** (Blackman and Vigna, 2018), its state
 * filled from a 64-bit seed by splitmix64 as its authors advise. Integer arithmetic only, so every
 * platform draws the same numbers. The state is a plain value that may be copied; not for secrets.
 */
#ifndef LLRTI_RNG_H
#define LLRTI_RNG_H

#include <stdint.h>

typedef struct llrti_rng {
    uint64_t state[4]; /* not all zero */
} llrti_rng;

/** The next output of splitmix64, which advances *state. */
uint64_t llrti_rng_splitmix64(uint64_t *state);
void llrti_rng_seed(llrti_rng *rng, uint64_t seed);
uint64_t llrti_rng_next(llrti_rng *rng);
/** Uniform in [0, 1): the upper 53 bits of the next output. */
double llrti_rng_uniform(llrti_rng *rng);

#endif
