/* SPDX-License-Identifier: MIT */
/*
 * Rope in both pairings for NEON. The code is rope_simd.h, compiled here with the vectors of simd_neon.h; it gives
 * the bits of the reference.
 */
#include "simd_neon.h"

#include "rope_simd.h"
