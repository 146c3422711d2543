/* SPDX-License-Identifier: MIT */
/*
 * The recurrent operators for NEON. The code is recurrent_simd.h, compiled here with the vectors of simd_neon.h; it gives
 * the bits of the reference.
 */
#include "simd_neon.h"

#include "recurrent_simd.h"
