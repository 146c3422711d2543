/* SPDX-License-Identifier: MIT */
/*
 * What the gemm kernel files of every instruction set share: instances of one always-inlined tile function for each
 * number of groups and columns, and the loop that covers a call's groups with them.
 *
 * A file defines   static LLRTK_INLINE void tile(a, w, c, G, N)   for constant G (groups) and N (columns), whose
 * accumulators are local arrays touched only in fully unrolled loops, so that they live in registers; then
 * LLRTK_TILES(1) LLRTK_TILES(2) ... and a table of LLRTK_TILE_ROW.
 */
#ifndef LLRTI_TILE_H
#define LLRTI_TILE_H

#include "gemm.h"

#if defined(__clang__)
#define LLRTK_UNROLL _Pragma("clang loop unroll(full)")
#define LLRTK_INLINE inline __attribute__((always_inline))
#elif defined(__GNUC__)
#define LLRTK_UNROLL _Pragma("GCC unroll 16")
#define LLRTK_INLINE inline __attribute__((always_inline))
#else
#define LLRTK_UNROLL
#define LLRTK_INLINE inline
#endif

/* w: the first group's weights, c: its first output. */
typedef void llrtk_tile_fn(const llrti_gemm_args *a, const uint8_t *w, float *c);

#define LLRTK_TILE(G, N)                                                                           \
    static void tile_##G##x##N(const llrti_gemm_args *a, const uint8_t *w, float *c)               \
    {                                                                                              \
        tile(a, w, c, G, N);                                                                       \
    }
#define LLRTK_TILES3(G) LLRTK_TILE(G, 1) LLRTK_TILE(G, 2) LLRTK_TILE(G, 3)
#define LLRTK_TILES(G) LLRTK_TILES3(G) LLRTK_TILE(G, 4) LLRTK_TILE(G, 5) LLRTK_TILE(G, 6)

#define LLRTK_TILE_ROW(G)                                                                          \
    {                                                                                              \
        tile_##G##x1, tile_##G##x2, tile_##G##x3, tile_##G##x4, tile_##G##x5, tile_##G##x6         \
    }

/* Tiles by log2 of their groups, then columns - 1; NULL where there is none. One group always exists. */
typedef llrtk_tile_fn *const llrtk_tile_table[3][LLRTI_GEMM_NR];

static inline void llrtk_run_tiles(const llrti_gemm_args *a, llrtk_tile_table table)
{
    const uint8_t *w = a->w;
    float *c = a->c;
    for (uint32_t left = a->n_group; left;) {
        int size = left >= 4 ? 2 : left >= 2 ? 1 : 0;
        while (table[size][a->n_col - 1] == NULL) size--;
        table[size][a->n_col - 1](a, w, c);
        const uint32_t done = 1u << size;
        w += done * a->w_stride;
        c += done * LLRTI_GEMM_MR;
        left -= done;
    }
}

#endif
