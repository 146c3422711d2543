/* SPDX-License-Identifier: MIT */
/*
 * Element-by-element operators and activations for AVX2. The code is elementwise_simd.h, compiled here with the vectors of simd_avx2.h; it gives
 * the bits of the reference.
 */
#include "simd_avx2.h"

#include "elementwise_simd.h"
