/* SPDX-License-Identifier: MIT */
/*
 * Tile configuration of the AMX kernels. A thread's tiles are configured at the start of a kernel and released at
 * its end, so that nothing of AMX is left in the host's threads between calls.
 */
#ifndef LLRTI_AMX_TILES_H
#define LLRTI_AMX_TILES_H

#include <immintrin.h>
#include <stdint.h>

/* The compiler may not move stores below: tile loads don't tell it what they read. */
#define LLRTK_TILE_FENCE() __asm__ volatile("" ::: "memory")

typedef struct llrtk_tile_config {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
} llrtk_tile_config;

/* Tile `i` as `rows` rows of `row_bytes`. */
static inline void llrtk_tile_shape(llrtk_tile_config *config, int i, uint32_t rows,
                                    uint32_t row_bytes)
{
    config->rows[i] = (uint8_t)rows;
    config->row_bytes[i] = (uint16_t)row_bytes;
}

#endif
