/* SPDX-License-Identifier: MIT */
/*
 * Element-by-element operators and activations for NEON. The code is elementwise_simd.h, compiled here with the vectors of simd_neon.h; it gives
 * the bits of the reference.
 */
#include "simd_neon.h"

#include "elementwise_simd.h"
