/* SPDX-License-Identifier: MIT */
/*
 * Scaled sums and rows times a matrix for NEON. The code is vector_simd.h, compiled here with the vectors of simd_neon.h; it gives
 * the bits of the reference.
 */
#include "simd_neon.h"

#include "vector_simd.h"
