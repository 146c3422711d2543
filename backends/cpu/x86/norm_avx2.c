/* SPDX-License-Identifier: MIT */
/*
 * RMS norm and layer norm for AVX2. The code is norm_simd.h, compiled here with the vectors of simd_avx2.h; it gives
 * the bits of the reference.
 */
#include "simd_avx2.h"

#include "norm_simd.h"
