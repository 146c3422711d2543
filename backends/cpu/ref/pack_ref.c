/* SPDX-License-Identifier: MIT */
/*
 * Packing in plain C: weights from one panel kind to another, rows of floats to weight panels, rows of
 * floats to activation panels. The specification of the expand, panel and act slots; layouts in gemm.h.
 *
 * An 8-bit activation block has scale = max|x| / 127 and q = x * (127 / max|x|) rounded to nearest even; a
 * block whose maximum is below 2^-100 is all zero, and one that holds an infinity or a NaN has the scale NaN, so
 * that the result shows it.
 */
#include <assert.h>
#include <string.h>

#include "gemm.h"
#include "half.h"

enum { MR = LLRTI_GEMM_MR };

void llrtk_expand_bf16_f32_ref(const void *src, void *dst, size_t k)
{
    const uint16_t *from = src;
    float *to = dst;
    for (size_t p = 0; p < k / 2; p++) {
        for (size_t i = 0; i < MR; i++) {
            to[2 * p * MR + i] = llrti_bf16_to_float(from[(p * MR + i) * 2]);
            to[(2 * p + 1) * MR + i] = llrti_bf16_to_float(from[(p * MR + i) * 2 + 1]);
        }
    }
}

void llrtk_expand_f16_f32_ref(const void *src, void *dst, size_t k)
{
    const uint16_t *from = src;
    float *to = dst;
    for (size_t i = 0; i < k * MR; i++) to[i] = llrti_f16_to_float(from[i]);
}

void llrtk_expand_f16_bf16_ref(const void *src, void *dst, size_t k)
{
    const uint16_t *from = src;
    uint16_t *to = dst;
    for (size_t p = 0; p < k / 2; p++) {
        for (size_t i = 0; i < MR; i++) {
            for (size_t h = 0; h < 2; h++)
                to[(p * MR + i) * 2 + h] =
                    llrti_float_to_bf16(llrti_f16_to_float(from[(2 * p + h) * MR + i]));
        }
    }
}

void llrtk_panel_f32_ref(const float *src, size_t src_stride, void *dst, size_t k)
{
    float *to = dst;
    for (size_t p = 0; p < k; p++) {
        for (size_t i = 0; i < MR; i++) to[p * MR + i] = src[i * src_stride + p];
    }
}

void llrtk_panel_bf16_ref(const float *src, size_t src_stride, void *dst, size_t k)
{
    uint16_t *to = dst;
    for (size_t p = 0; p < k / 2; p++) {
        for (size_t i = 0; i < MR; i++) {
            to[(p * MR + i) * 2] = llrti_float_to_bf16(src[i * src_stride + 2 * p]);
            to[(p * MR + i) * 2 + 1] = llrti_float_to_bf16(src[i * src_stride + 2 * p + 1]);
        }
    }
}

void llrtk_act_f32_ref(const float *x, size_t x_stride, size_t k, size_t k_pad, uint32_t n_col,
                       void *dst)
{
    float *to = dst;
    for (size_t p = 0; p < k_pad; p++) {
        for (size_t j = 0; j < n_col; j++) to[p * n_col + j] = p < k ? x[j * x_stride + p] : 0.0f;
    }
}

void llrtk_act_bf16_ref(const float *x, size_t x_stride, size_t k, size_t k_pad, uint32_t n_col,
                        void *dst)
{
    uint16_t *to = dst;
    for (size_t p = 0; p < k_pad; p++) {
        for (size_t j = 0; j < n_col; j++)
            to[(p / 2 * n_col + j) * 2 + p % 2] =
                p < k ? llrti_float_to_bf16(x[j * x_stride + p]) : 0;
    }
}

/* Nearest integer, ties to even, for |x| < 2^22. */
static int32_t round_even(float x)
{
    const volatile float shifted = x + 12582912.0f;
    return (int32_t)(shifted - 12582912.0f);
}

void llrtk_act_q8_ref(const float *x, size_t x_stride, size_t k, size_t k_pad, uint32_t n_col,
                      void *dst)
{
    assert(k_pad % 64 == 0);
    for (size_t b = 0; b < k_pad / 32; b++) {
        int8_t *const q = (int8_t *)dst + b * n_col * LLRTI_GEMM_Q_ACT_BYTES;
        float *const scale = (float *)(void *)(q + (size_t)32 * n_col);
        int32_t *const minus_sum = (int32_t *)(void *)(scale + n_col);
        const size_t n = k > b * 32 ? (k - b * 32 < 32 ? k - b * 32 : 32) : 0;
        for (size_t j = 0; j < n_col; j++) {
            float block[32] = {0};
            if (n) memcpy(block, x + j * x_stride + b * 32, n * sizeof *block);
            uint32_t max_bits = 0;
            for (size_t i = 0; i < 32; i++) {
                const uint32_t bits = llrti_float_bits(block[i]) & 0x7fffffffu;
                if (bits > max_bits) max_bits = bits;
            }
            const int is_finite = max_bits < 0x7f800000u;
            const int is_zero = max_bits < 0x0d800000u; /* 2^-100 */
            const float max = llrti_bits_float(max_bits);
            const float inverse = is_zero || !is_finite ? 0.0f : 127.0f / max;
            scale[j] = !is_finite ? llrti_bits_float(0x7fc00000u) : is_zero ? 0.0f : max / 127.0f;
            int32_t sum = 0;
            for (size_t i = 0; i < 32; i++) {
                const int32_t v = is_finite ? round_even(block[i] * inverse) : 0;
                q[(i / 4 * n_col + j) * 4 + i % 4] = (int8_t)v;
                sum += v;
            }
            minus_sum[j] = -sum;
        }
    }
}
