/* SPDX-License-Identifier: MIT */
/*
 * Attention tiles and their merge for NEON. The code is attention_simd.h, compiled here with the vectors of simd_neon.h; it gives
 * the bits of the reference.
 */
#include "simd_neon.h"

#include "attention_simd.h"
