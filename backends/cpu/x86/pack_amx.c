/* SPDX-License-Identifier: MIT */
/*
 * Activations for the AMX kernels: in each block of 32 k the columns lie one after the other, 32 k of a column together,
 * which are the rows of a tile. A single column has the same form as for the other kernels, so each column's block is
 * made by packing it alone, and a block of several is put together from those. The same bits as ref in that order.
 */
#if !defined(__AVX512F__) || !defined(__AVX512BW__)
#error "compile with the flags of amx"
#endif
#include <assert.h>
#include <string.h>

#include "gemm.h"

enum { STRETCH = 256 }; /* values of K packed at once: the copy stays in L1 */

void llrtk_act_bf16_amx(const float *x, size_t x_stride, size_t k, size_t k_pad, uint32_t n_col,
                        void *dst)
{
    _Alignas(64) uint8_t alone[STRETCH * 2];
    assert(k_pad % 32 == 0);
    for (size_t p = 0; p < k_pad; p += STRETCH) {
        const size_t n_pad = k_pad - p < STRETCH ? k_pad - p : (size_t)STRETCH;
        const size_t n = k > p ? (k - p < n_pad ? k - p : n_pad) : 0;
        for (size_t j = 0; j < n_col; j++) {
            llrtk_act_bf16_avx2(x + j * x_stride + p, x_stride, n, n_pad, 1, alone);
            for (size_t b = 0; b < n_pad / 32; b++)
                memcpy((uint8_t *)dst + ((p / 32 + b) * n_col + j) * 64, alone + b * 64, 64);
        }
    }
}

void llrtk_act_q8_amx(const float *x, size_t x_stride, size_t k, size_t k_pad, uint32_t n_col,
                      void *dst)
{
    _Alignas(64) uint8_t alone[STRETCH / 32 * LLRTI_GEMM_Q_ACT_BYTES];
    assert(k_pad % 64 == 0);
    for (size_t p = 0; p < k_pad; p += STRETCH) {
        const size_t n_pad = k_pad - p < STRETCH ? k_pad - p : (size_t)STRETCH;
        const size_t n = k > p ? (k - p < n_pad ? k - p : n_pad) : 0;
        for (size_t j = 0; j < n_col; j++) {
            llrtk_act_q8_avx2(x + j * x_stride + p, x_stride, n, n_pad, 1, alone);
            for (size_t b = 0; b < n_pad / 32; b++) {
                uint8_t *const to = (uint8_t *)dst + (p / 32 + b) * n_col * LLRTI_GEMM_Q_ACT_BYTES;
                const uint8_t *const from = alone + b * LLRTI_GEMM_Q_ACT_BYTES;
                memcpy(to + j * 32, from, 32);
                memcpy(to + (size_t)n_col * 32 + j * 4, from + 32, 4);
                memcpy(to + (size_t)n_col * 36 + j * 4, from + 36, 4);
            }
        }
    }
}
