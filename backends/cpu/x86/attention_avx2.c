/* SPDX-License-Identifier: MIT */
/*
 * Attention tiles and their merge for AVX2. The code is attention_simd.h, compiled here with the vectors of simd_avx2.h; it gives
 * the bits of the reference.
 */
#include "simd_avx2.h"

#include "attention_simd.h"
