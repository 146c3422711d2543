/* SPDX-License-Identifier: MIT */
/*
 * Stores into KV tiles for NEON. The code is kv_simd.h, compiled here with the vectors of simd_neon.h; it gives
 * the bits of the reference.
 */
#include "simd_neon.h"

#include "kv_simd.h"
