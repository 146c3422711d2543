/* SPDX-License-Identifier: MIT */
/*
 * Attention tiles and their merge for AVX-512. The code is attention_simd.h, compiled here with the vectors of simd_avx512.h; it gives
 * the bits of the reference.
 */
#include "simd_avx512.h"

#include "attention_simd.h"
