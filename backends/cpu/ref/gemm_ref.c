/* SPDX-License-Identifier: MIT */
/*
 * Matrix products in plain C: the specification of the four gemm slots (layouts and order in gemm.h).
 *
 * The bf16 product states what vdpbf16ps does to one lane: subnormal operands count as zero, then the odd and
 * the even product of a pair are added by two fused steps whose subnormal results become zero.
 * What a processor does inside a pair is its own business; kernels are held to a bound there, not to these bits.
 */
#include <assert.h>
#include <math.h>

#include "gemm.h"
#include "half.h"

enum { MR = LLRTI_GEMM_MR };

static float *output(const llrti_gemm_args *a, uint32_t group, uint32_t column)
{
    return a->c + column * a->c_stride + (size_t)group * MR;
}

static const uint8_t *weights(const llrti_gemm_args *a, uint32_t group)
{
    return (const uint8_t *)a->w + group * a->w_stride;
}

void llrtk_gemm_f32_f32_f32_ref(const llrti_gemm_args *a)
{
    const float *x = a->x;
    for (uint32_t g = 0; g < a->n_group; g++) {
        const float *w = (const float *)(const void *)weights(a, g);
        for (uint32_t j = 0; j < a->n_col; j++) {
            float *c = output(a, g, j);
            for (uint32_t i = 0; i < MR; i++) {
                float sum = a->accumulate ? c[i] : 0.0f;
                for (size_t k = 0; k < a->k; k++)
                    sum = fmaf(w[k * MR + i], x[k * a->n_col + j], sum);
                c[i] = sum;
            }
        }
    }
}

static float without_subnormal(float x)
{
    const uint32_t u = llrti_float_bits(x);
    return (u & 0x7f800000u) ? x : llrti_bits_float(u & 0x80000000u);
}

static float read_bf16(uint16_t h)
{
    return without_subnormal(llrti_bf16_to_float(h));
}

void llrtk_gemm_bf16_bf16_f32_ref(const llrti_gemm_args *a)
{
    const uint16_t *x = a->x;
    for (uint32_t g = 0; g < a->n_group; g++) {
        const uint16_t *w = (const uint16_t *)(const void *)weights(a, g);
        for (uint32_t j = 0; j < a->n_col; j++) {
            float *c = output(a, g, j);
            for (uint32_t i = 0; i < MR; i++) {
                float sum = a->accumulate ? without_subnormal(c[i]) : 0.0f;
                for (size_t k = 0; k < a->k / 2; k++) {
                    const uint16_t *const wk = w + (k * MR + i) * 2, *const xk =
                                                                         x + (k * a->n_col + j) * 2;
                    sum = without_subnormal(fmaf(read_bf16(wk[1]), read_bf16(xk[1]), sum));
                    sum = without_subnormal(fmaf(read_bf16(wk[0]), read_bf16(xk[0]), sum));
                }
                c[i] = sum;
            }
        }
    }
}

/* The value of weight k (< 32) of lane i in a block of 32 of Q8 or Q4. */
static int32_t q8_value(const uint8_t *block, uint32_t k, uint32_t i)
{
    return (int32_t)block[(k / 4 * MR + i) * 4 + k % 4] - 128;
}

static int32_t q4_value(const uint8_t *block, uint32_t k, uint32_t i)
{
    const uint8_t byte = block[(k / 8 * MR + i) * 4 + k % 4];
    return (int32_t)(k & 4 ? byte >> 4 : byte & 15) - 8;
}

static void gemm_q(const llrti_gemm_args *a, size_t block_bytes,
                   int32_t (*value)(const uint8_t *block, uint32_t k, uint32_t i))
{
    assert(a->k % 64 == 0);
    const size_t pair_bytes = 2 * block_bytes + 2 * MR * sizeof(uint16_t);
    for (uint32_t g = 0; g < a->n_group; g++) {
        for (uint32_t j = 0; j < a->n_col; j++) {
            float *c = output(a, g, j);
            for (uint32_t i = 0; i < MR; i++) {
                float sum = a->accumulate ? c[i] : 0.0f;
                for (size_t b = 0; b < a->k / 32; b++) {
                    const uint8_t *const pair = weights(a, g) + b / 2 * pair_bytes;
                    const uint16_t *const w_scale =
                        (const uint16_t *)(const void *)(pair + 2 * block_bytes) + b % 2 * MR;
                    const int8_t *const x =
                        (const int8_t *)a->x + b * a->n_col * LLRTI_GEMM_Q_ACT_BYTES;
                    const float *const x_scale =
                        (const float *)(const void *)(x + (size_t)32 * a->n_col);
                    int32_t dot = 0;
                    for (uint32_t k = 0; k < 32; k++)
                        dot += value(pair + b % 2 * block_bytes, k, i) *
                               x[(k / 4 * a->n_col + j) * 4 + k % 4];
                    sum = fmaf(llrti_f16_to_float(w_scale[i]) * x_scale[j], (float)dot, sum);
                }
                c[i] = sum;
            }
        }
    }
}

void llrtk_gemm_q8_q8_f32_ref(const llrti_gemm_args *a)
{
    gemm_q(a, 512, q8_value);
}

void llrtk_gemm_q8_q4_f32_ref(const llrti_gemm_args *a)
{
    gemm_q(a, 256, q4_value);
}
