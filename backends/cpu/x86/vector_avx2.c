/* SPDX-License-Identifier: MIT */
/*
 * Scaled sums and rows times a matrix for AVX2. The code is vector_simd.h, compiled here with the vectors of simd_avx2.h; it gives
 * the bits of the reference.
 */
#include "simd_avx2.h"

#include "vector_simd.h"
