/* SPDX-License-Identifier: MIT */
/*
 * Stores into KV tiles for AVX2. The code is kv_simd.h, compiled here with the vectors of simd_avx2.h; it gives
 * the bits of the reference.
 */
#include "simd_avx2.h"

#include "kv_simd.h"
