/* SPDX-License-Identifier: MIT */
/*
 * Rope in both pairings for AVX-512. The code is rope_simd.h, compiled here with the vectors of simd_avx512.h; it gives
 * the bits of the reference.
 */
#include "simd_avx512.h"

#include "rope_simd.h"
