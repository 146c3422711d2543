/* SPDX-License-Identifier: MIT */
/*
 * 8-bit activations times Q8 or Q4 weights on NEON: the body shared by the plain and the dot-product files, which differ
 * in the dot product of four. Included once by a file that defines BITS (8 or 4) and
 *
 *   dot_add(dot, weights, v)   dot[i] += the products of 4 signed weights and 4 activations, 4 outputs
 *
 * Half a group (8 outputs) at a time: 12 dot products and 12 sums. Weights are made signed first.
 */
#ifndef LLRTI_GEMM_Q_NEON_H
#define LLRTI_GEMM_Q_NEON_H

enum {
    BLOCK_BYTES = BITS * 64,
    PAIR_BYTES = BITS == 8 ? LLRTI_GEMM_Q8_BYTES : LLRTI_GEMM_Q4_BYTES
};

static LLRTK_INLINE int8x16_t broadcast(const uint8_t *x)
{
    int32_t four;
    memcpy(&four, x, sizeof four);
    return vreinterpretq_s8_s32(vdupq_n_s32(four));
}

static LLRTK_INLINE float load_float(const uint8_t *x)
{
    float value;
    memcpy(&value, x, sizeof value);
    return value;
}

static LLRTK_INLINE void dot_block(int32x4_t dot[2][6], const uint8_t *w, const uint8_t *x,
                                   const int N)
{
    LLRTK_UNROLL for (int j = 0; j < N; j++) dot[0][j] = dot[1][j] = vdupq_n_s32(0);
#if BITS == 8
    const uint8x16_t flip = vdupq_n_u8(0x80);
    LLRTK_UNROLL for (int k = 0; k < 8; k++)
    {
        const int8x16_t q0 = vreinterpretq_s8_u8(veorq_u8(vld1q_u8(w + k * 64), flip));
        const int8x16_t q1 = vreinterpretq_s8_u8(veorq_u8(vld1q_u8(w + k * 64 + 16), flip));
        LLRTK_UNROLL for (int j = 0; j < N; j++)
        {
            const int8x16_t v = broadcast(x + 4 * (k * N + j));
            dot[0][j] = dot_add(dot[0][j], q0, v);
            dot[1][j] = dot_add(dot[1][j], q1, v);
        }
    }
#else
    const int8x16_t eight = vdupq_n_s8(8);
    LLRTK_UNROLL for (int k = 0; k < 4; k++)
    {
        const uint8x16_t both0 = vld1q_u8(w + k * 64), both1 = vld1q_u8(w + k * 64 + 16);
        const int8x16_t low0 =
            vsubq_s8(vreinterpretq_s8_u8(vandq_u8(both0, vdupq_n_u8(15))), eight);
        const int8x16_t low1 =
            vsubq_s8(vreinterpretq_s8_u8(vandq_u8(both1, vdupq_n_u8(15))), eight);
        const int8x16_t high0 = vsubq_s8(vreinterpretq_s8_u8(vshrq_n_u8(both0, 4)), eight);
        const int8x16_t high1 = vsubq_s8(vreinterpretq_s8_u8(vshrq_n_u8(both1, 4)), eight);
        LLRTK_UNROLL for (int j = 0; j < N; j++)
        {
            const int8x16_t v = broadcast(x + 4 * (2 * k * N + j));
            const int8x16_t u = broadcast(x + 4 * ((2 * k + 1) * N + j));
            dot[0][j] = dot_add(dot_add(dot[0][j], low0, v), high0, u);
            dot[1][j] = dot_add(dot_add(dot[1][j], low1, v), high1, u);
        }
    }
#endif
}

static LLRTK_INLINE float32x4_t load_scales(const uint8_t *p)
{
    return vcvt_f32_f16(vreinterpret_f16_u8(vld1_u8(p)));
}

static LLRTK_INLINE void half_tile(const llrti_gemm_args *a, const uint8_t *w, float *c,
                                   const int half, const int N)
{
    const uint8_t *x = a->x;
    float32x4_t sum[2][6];
    LLRTK_UNROLL for (int j = 0; j < N; j++)
    {
        const float *const from = c + (size_t)j * a->c_stride + half * 8;
        sum[0][j] = a->accumulate ? vld1q_f32(from) : vdupq_n_f32(0.0f);
        sum[1][j] = a->accumulate ? vld1q_f32(from + 4) : vdupq_n_f32(0.0f);
    }
    for (size_t pair = a->k / 64; pair; pair--) {
        for (int b = 0; b < 2; b++) {
            int32x4_t dot[2][6];
            dot_block(dot, w + b * BLOCK_BYTES + half * 32, x, N);
            const uint8_t *const scales = w + 2 * BLOCK_BYTES + b * 32 + half * 16;
            const float32x4_t d0 = load_scales(scales), d1 = load_scales(scales + 8);
            LLRTK_UNROLL for (int j = 0; j < N; j++)
            {
                const float32x4_t s = vdupq_n_f32(load_float(x + 32 * N + 4 * j));
                sum[0][j] = vfmaq_f32(sum[0][j], vmulq_f32(d0, s), vcvtq_f32_s32(dot[0][j]));
                sum[1][j] = vfmaq_f32(sum[1][j], vmulq_f32(d1, s), vcvtq_f32_s32(dot[1][j]));
            }
            x += LLRTI_GEMM_Q_ACT_BYTES * N;
        }
        w += PAIR_BYTES;
    }
    LLRTK_UNROLL for (int j = 0; j < N; j++)
    {
        float *const to = c + (size_t)j * a->c_stride + half * 8;
        vst1q_f32(to, sum[0][j]);
        vst1q_f32(to + 4, sum[1][j]);
    }
}

static LLRTK_INLINE void tile(const llrti_gemm_args *a, const uint8_t *w, float *c, const int G,
                              const int N)
{
    (void)G;
    half_tile(a, w, c, 0, N);
    half_tile(a, w, c, 1, N);
}

LLRTK_TILES(1)

#endif
