/* SPDX-License-Identifier: MIT */
/*
 * The recurrent operators for AVX-512. The code is recurrent_simd.h, compiled here with the vectors of simd_avx512.h; it gives
 * the bits of the reference.
 */
#include "simd_avx512.h"

#include "recurrent_simd.h"
