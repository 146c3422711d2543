/* SPDX-License-Identifier: MIT */
/*
 * RMS norm and layer norm for NEON. The code is norm_simd.h, compiled here with the vectors of simd_neon.h; it gives
 * the bits of the reference.
 */
#include "simd_neon.h"

#include "norm_simd.h"
