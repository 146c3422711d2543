/* SPDX-License-Identifier: MIT */
/*
 * bfloat16 product with tdpbf16ps, 64 outputs x 32 columns per call.
 *
 * A weight tile is 32 k of a group: 16 rows of 16 outputs x 2 k, which is just how groups lie in memory. An activation
 * tile is up to 16 columns x 32 k. A sum tile is up to 16 columns x 16 outputs and is loaded from and stored to c
 * directly. Two groups meet two activation tiles (4 sums); with one activation tile, up to 4 groups are in flight, since an
 * instruction takes 16 cycles but its result 52.
 *
 * K ascends in steps of 32; what happens inside a step is the processor's, the same for every number of columns.
 * tmm0-3: sums, tmm4-5: activations, tmm6-7 (5-7 with one activation tile): weights.
 */
#if !defined(__AMX_BF16__) && !defined(__AMXBF16__)
#error "compile with the flags of amx"
#endif
#include <assert.h>

#include "amx_tiles.h"
#include "gemm.h"

enum { STEP = 32, ROW = 64, WEIGHT_TILE = 1024 };

static void configure(uint32_t n_first, uint32_t n_second)
{
    llrtk_tile_config config = {.palette = 1};
    const uint32_t second = n_second ? n_second : n_first;
    for (int i = 0; i < 4; i++)
        llrtk_tile_shape(&config, i, n_second && i >= 2 ? second : n_first, ROW);
    llrtk_tile_shape(&config, 4, n_first, ROW);
    llrtk_tile_shape(&config, 5, n_second ? second : 16, ROW);
    llrtk_tile_shape(&config, 6, 16, ROW);
    llrtk_tile_shape(&config, 7, 16, ROW);
    LLRTK_TILE_FENCE();
    _tile_loadconfig(&config);
}

/* Up to 16 columns, 1 or 2 groups. */
static void one_by_two(const llrti_gemm_args *a, const uint8_t *w, float *c, int n_group)
{
    const uint8_t *x = a->x;
    const size_t c_bytes = a->c_stride * 4, x_step = (size_t)a->n_col * ROW;
    if (a->accumulate) {
        _tile_loadd(0, c, c_bytes);
        if (n_group > 1) _tile_loadd(1, c + 16, c_bytes);
    } else {
        _tile_zero(0);
        _tile_zero(1);
    }
    for (size_t k = 0; k < a->k; k += STEP, w += WEIGHT_TILE, x += x_step) {
        _tile_loadd(4, x, ROW);
        _tile_loadd(6, w, ROW);
        _tile_dpbf16ps(0, 4, 6);
        if (n_group > 1) {
            _tile_loadd(7, w + a->w_stride, ROW);
            _tile_dpbf16ps(1, 4, 7);
        }
    }
    _tile_stored(0, c, c_bytes);
    if (n_group > 1) _tile_stored(1, c + 16, c_bytes);
}

/* Up to 16 columns, 4 groups. */
static void one_by_four(const llrti_gemm_args *a, const uint8_t *w, float *c)
{
    const uint8_t *x = a->x;
    const size_t c_bytes = a->c_stride * 4, x_step = (size_t)a->n_col * ROW, stride = a->w_stride;
    if (a->accumulate) {
        _tile_loadd(0, c, c_bytes);
        _tile_loadd(1, c + 16, c_bytes);
        _tile_loadd(2, c + 32, c_bytes);
        _tile_loadd(3, c + 48, c_bytes);
    } else {
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
    }
    for (size_t k = 0; k < a->k; k += STEP, w += WEIGHT_TILE, x += x_step) {
        if (a->n_col == 1) { /* reading the weights is all there is: ask for the next ones */
            for (size_t g = 0; g < 4; g++) {
                for (size_t i = 0; i < WEIGHT_TILE; i += 64)
                    _mm_prefetch((const char *)w + g * stride + 4 * WEIGHT_TILE + i, _MM_HINT_T0);
            }
        }
        _tile_loadd(4, x, ROW);
        _tile_loadd(5, w, ROW);
        _tile_dpbf16ps(0, 4, 5);
        _tile_loadd(6, w + stride, ROW);
        _tile_dpbf16ps(1, 4, 6);
        _tile_loadd(7, w + 2 * stride, ROW);
        _tile_dpbf16ps(2, 4, 7);
        _tile_loadd(5, w + 3 * stride, ROW);
        _tile_dpbf16ps(3, 4, 5);
    }
    _tile_stored(0, c, c_bytes);
    _tile_stored(1, c + 16, c_bytes);
    _tile_stored(2, c + 32, c_bytes);
    _tile_stored(3, c + 48, c_bytes);
}

/* 17 to 32 columns, 1 or 2 groups. */
static void two_by_two(const llrti_gemm_args *a, const uint8_t *w, float *c, int n_group)
{
    const uint8_t *x = a->x;
    const size_t c_bytes = a->c_stride * 4, x_step = (size_t)a->n_col * ROW;
    float *const d = c + 16 * a->c_stride;
    if (a->accumulate) {
        _tile_loadd(0, c, c_bytes);
        _tile_loadd(2, d, c_bytes);
        if (n_group > 1) _tile_loadd(1, c + 16, c_bytes);
        if (n_group > 1) _tile_loadd(3, d + 16, c_bytes);
    } else {
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
    }
    for (size_t k = 0; k < a->k; k += STEP, w += WEIGHT_TILE, x += x_step) {
        _tile_loadd(6, w, ROW);
        _tile_loadd(4, x, ROW);
        _tile_dpbf16ps(0, 4, 6);
        _tile_loadd(5, x + 16 * ROW, ROW);
        _tile_dpbf16ps(2, 5, 6);
        if (n_group > 1) {
            _tile_loadd(7, w + a->w_stride, ROW);
            _tile_dpbf16ps(1, 4, 7);
            _tile_dpbf16ps(3, 5, 7);
        }
    }
    _tile_stored(0, c, c_bytes);
    _tile_stored(2, d, c_bytes);
    if (n_group > 1) _tile_stored(1, c + 16, c_bytes);
    if (n_group > 1) _tile_stored(3, d + 16, c_bytes);
}

void llrtk_gemm_bf16_bf16_f32_64x32_amx(const llrti_gemm_args *a)
{
    assert(a->n_group >= 1 && a->n_col >= 1 && a->n_col <= LLRTI_GEMM_AMX_NR && a->k % STEP == 0);
    const uint32_t n_first = a->n_col < 16 ? a->n_col : 16;
    configure(n_first, a->n_col - n_first);
    const uint8_t *w = a->w;
    float *c = a->c;
    for (uint32_t left = a->n_group; left;) {
        uint32_t done = left >= 2 ? 2 : 1;
        if (a->n_col > 16) {
            two_by_two(a, w, c, (int)done);
        } else if (left >= 4) {
            one_by_four(a, w, c);
            done = 4;
        } else {
            one_by_two(a, w, c, (int)done);
        }
        left -= done;
        w += done * a->w_stride;
        c += done * 16;
    }
    _tile_release();
}
