/* SPDX-License-Identifier: MIT */
/*
 * Sixteen float lanes in four NEON registers, for the kernels in *_simd.h. Every operation is exactly
 * the one named, lane by lane, so that a kernel gives the bits of its scalar reference.
 *
 *   v16 floats, i16 their bits as integers, m16 one mask per lane; r[i] has lanes 4 i to 4 i + 3
 *   v_max(a, b) is a > b ? a : b, v_min(a, b) is a < b ? a : b, also for NaN and zeros of either sign
 *   v_sum adds as llrti_math_sum16 does
 */
#ifndef LLRTI_SIMD_NEON_H
#define LLRTI_SIMD_NEON_H

#if !defined(__aarch64__) && !defined(_M_ARM64)
#error "for 64-bit ARM only"
#endif

#include <arm_neon.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define KERNEL(name) llrtk_##name##_neon

/* Lane groups of 16 (four registers) that a block of n_query rows keeps in registers: 24 of the 32 at most. */
#define SIMD_GROUPS(n_query) ((n_query) == 1 ? 4 : (n_query) == 2 ? 2 : 1)

typedef struct v16 {
    float32x4_t r0, r1, r2, r3;
} v16;
typedef struct i16 {
    uint32x4_t r0, r1, r2, r3;
} i16;
typedef i16 m16;

static inline v16 v_set(float x)
{
    const float32x4_t r = vdupq_n_f32(x);
    return (v16){r, r, r, r};
}
static inline v16 v_load(const float *p)
{
    return (v16){vld1q_f32(p), vld1q_f32(p + 4), vld1q_f32(p + 8), vld1q_f32(p + 12)};
}
static inline void v_store(float *p, v16 x)
{
    vst1q_f32(p, x.r0);
    vst1q_f32(p + 4, x.r1);
    vst1q_f32(p + 8, x.r2);
    vst1q_f32(p + 12, x.r3);
}
/* The first n < 16 floats, zeros above. */
static inline v16 v_load_part(const float *p, size_t n)
{
    float buffer[16] = {0};
    memcpy(buffer, p, n * sizeof *p);
    return v_load(buffer);
}

/* Functions of one and two vectors out of intrinsics of the same form. */
#define DEFINE_TWO(name, type, result, op)                                                         \
    static inline result name(type x, type y)                                                      \
    {                                                                                              \
        return (result){op(x.r0, y.r0), op(x.r1, y.r1), op(x.r2, y.r2), op(x.r3, y.r3)};           \
    }
#define DEFINE_ONE(name, type, result, op)                                                         \
    static inline result name(type x)                                                              \
    {                                                                                              \
        return (result){op(x.r0), op(x.r1), op(x.r2), op(x.r3)};                                   \
    }

static inline float32x4_t select_larger(float32x4_t x, float32x4_t y)
{
    return vbslq_f32(vcgtq_f32(x, y), x, y);
}
static inline float32x4_t select_smaller(float32x4_t x, float32x4_t y)
{
    return vbslq_f32(vcltq_f32(x, y), x, y);
}
static inline uint32x4_t shift_half(uint32x4_t x)
{
    return vreinterpretq_u32_s32(vshrq_n_s32(vreinterpretq_s32_u32(x), 1));
}
static inline uint32x4_t shift_23(uint32x4_t x)
{
    return vshlq_n_u32(x, 23);
}

DEFINE_TWO(v_add, v16, v16, vaddq_f32)
DEFINE_TWO(v_sub, v16, v16, vsubq_f32)
DEFINE_TWO(v_mul, v16, v16, vmulq_f32)
DEFINE_TWO(v_div, v16, v16, vdivq_f32)
DEFINE_TWO(v_max, v16, v16, select_larger)
DEFINE_TWO(v_min, v16, v16, select_smaller)
DEFINE_TWO(v_less, v16, m16, vcltq_f32)
DEFINE_TWO(i_add, i16, i16, vaddq_u32)
DEFINE_TWO(i_sub, i16, i16, vsubq_u32)
DEFINE_TWO(i_and, i16, i16, vandq_u32)
DEFINE_TWO(i_or, i16, i16, vorrq_u32)
DEFINE_ONE(i_half, i16, i16, shift_half)
DEFINE_ONE(i_shift_23, i16, i16, shift_23)
DEFINE_ONE(v_bits, v16, i16, vreinterpretq_u32_f32)
DEFINE_ONE(i_floats, i16, v16, vreinterpretq_f32_u32)
DEFINE_ONE(v_swap_pairs, v16, v16, vrev64q_f32)

static inline v16 v_fma(v16 x, v16 y, v16 z)
{
    return (v16){vfmaq_f32(z.r0, x.r0, y.r0), vfmaq_f32(z.r1, x.r1, y.r1),
                 vfmaq_f32(z.r2, x.r2, y.r2), vfmaq_f32(z.r3, x.r3, y.r3)};
}
static inline v16 v_fms(v16 x, v16 y, v16 z)
{
    const v16 minus = {vnegq_f32(z.r0), vnegq_f32(z.r1), vnegq_f32(z.r2), vnegq_f32(z.r3)};
    return v_fma(x, y, minus);
}
/* x * y - z in even lanes, x * y + z in odd ones. */
static inline v16 v_fmaddsub(v16 x, v16 y, v16 z)
{
    static const uint32_t signs[4] = {0x80000000u, 0, 0x80000000u, 0};
    const uint32x4_t sign = vld1q_u32(signs);
    const i16 u = v_bits(z);
    const i16 flipped = {veorq_u32(u.r0, sign), veorq_u32(u.r1, sign), veorq_u32(u.r2, sign),
                         veorq_u32(u.r3, sign)};
    return v_fma(x, y, i_floats(flipped));
}
static inline v16 v_select(m16 m, v16 x, v16 y)
{
    return (v16){vbslq_f32(m.r0, x.r0, y.r0), vbslq_f32(m.r1, x.r1, y.r1),
                 vbslq_f32(m.r2, x.r2, y.r2), vbslq_f32(m.r3, x.r3, y.r3)};
}
static inline i16 i_set(uint32_t x)
{
    const uint32x4_t r = vdupq_n_u32(x);
    return (i16){r, r, r, r};
}
static inline uint32x4_t mask_range(int first, int begin, int end)
{
    static const int32_t steps[4] = {0, 1, 2, 3};
    const int32x4_t lane = vaddq_s32(vld1q_s32(steps), vdupq_n_s32(first));
    return vandq_u32(vcgeq_s32(lane, vdupq_n_s32(begin)), vcltq_s32(lane, vdupq_n_s32(end)));
}
/* Lanes begin <= i < end; any numbers. */
static inline m16 m_range(int begin, int end)
{
    return (m16){mask_range(0, begin, end), mask_range(4, begin, end), mask_range(8, begin, end),
                 mask_range(12, begin, end)};
}
static inline float v_sum(v16 x)
{
    const float32x4_t c = vaddq_f32(vaddq_f32(x.r0, x.r2), vaddq_f32(x.r1, x.r3));
    const float32x2_t d = vadd_f32(vget_low_f32(c), vget_high_f32(c));
    return vget_lane_f32(d, 0) + vget_lane_f32(d, 1);
}
static inline float v_largest(v16 x)
{
    return vmaxvq_f32(vmaxq_f32(vmaxq_f32(x.r0, x.r1), vmaxq_f32(x.r2, x.r3)));
}
/* p[0] p[0] p[1] p[1] ... p[7] p[7] */
static inline v16 v_load_twice(const float *p)
{
    const float32x4_t x = vld1q_f32(p), y = vld1q_f32(p + 4);
    return (v16){vzip1q_f32(x, x), vzip2q_f32(x, x), vzip1q_f32(y, y), vzip2q_f32(y, y)};
}

/* ---- Sixteen elements of the KV types ---- */

static inline float f16_widen(uint16_t h)
{
    return vgetq_lane_f32(vcvt_f32_f16(vreinterpret_f16_u16(vdup_n_u16(h))), 0);
}
static inline v16 v_load_f16(const uint16_t *p)
{
    const uint16x8_t x = vld1q_u16(p), y = vld1q_u16(p + 8);
    return (v16){vcvt_f32_f16(vreinterpret_f16_u16(vget_low_u16(x))),
                 vcvt_f32_f16(vreinterpret_f16_u16(vget_high_u16(x))),
                 vcvt_f32_f16(vreinterpret_f16_u16(vget_low_u16(y))),
                 vcvt_f32_f16(vreinterpret_f16_u16(vget_high_u16(y)))};
}
static inline v16 v_load_bf16(const uint16_t *p)
{
    const uint16x8_t x = vld1q_u16(p), y = vld1q_u16(p + 8);
    const i16 u = {vshll_n_u16(vget_low_u16(x), 16), vshll_n_u16(vget_high_u16(x), 16),
                   vshll_n_u16(vget_low_u16(y), 16), vshll_n_u16(vget_high_u16(y), 16)};
    return i_floats(u);
}
static inline v16 v_load_i8(const int8_t *p)
{
    const int8x16_t x = vld1q_s8(p);
    const int16x8_t low = vmovl_s8(vget_low_s8(x)), high = vmovl_s8(vget_high_s8(x));
    return (v16){vcvtq_f32_s32(vmovl_s16(vget_low_s16(low))),
                 vcvtq_f32_s32(vmovl_s16(vget_high_s16(low))),
                 vcvtq_f32_s32(vmovl_s16(vget_low_s16(high))),
                 vcvtq_f32_s32(vmovl_s16(vget_high_s16(high)))};
}
static inline void v_store_f16(uint16_t *p, v16 x)
{
    vst1_u16(p, vreinterpret_u16_f16(vcvt_f16_f32(x.r0)));
    vst1_u16(p + 4, vreinterpret_u16_f16(vcvt_f16_f32(x.r1)));
    vst1_u16(p + 8, vreinterpret_u16_f16(vcvt_f16_f32(x.r2)));
    vst1_u16(p + 12, vreinterpret_u16_f16(vcvt_f16_f32(x.r3)));
}
static inline uint16x4_t round_to_bf16(float32x4_t x)
{
    const uint32x4_t u = vreinterpretq_u32_f32(x), high = vshrq_n_u32(u, 16);
    const uint32x4_t odd = vandq_u32(high, vdupq_n_u32(1));
    const uint32x4_t rounded = vshrq_n_u32(vaddq_u32(u, vaddq_u32(odd, vdupq_n_u32(0x7fff))), 16);
    const uint32x4_t quiet = vorrq_u32(high, vdupq_n_u32(0x40));
    return vmovn_u32(vbslq_u32(vceqq_f32(x, x), rounded, quiet));
}
static inline void v_store_bf16(uint16_t *p, v16 x)
{
    vst1_u16(p, round_to_bf16(x.r0));
    vst1_u16(p + 4, round_to_bf16(x.r1));
    vst1_u16(p + 8, round_to_bf16(x.r2));
    vst1_u16(p + 12, round_to_bf16(x.r3));
}
/* The low bytes of 16 integers. */
static inline void i_store_bytes(int8_t *p, i16 x)
{
    const uint16x8_t low = vcombine_u16(vmovn_u32(x.r0), vmovn_u32(x.r1));
    const uint16x8_t high = vcombine_u16(vmovn_u32(x.r2), vmovn_u32(x.r3));
    vst1q_s8(p, vreinterpretq_s8_u8(vcombine_u8(vmovn_u16(low), vmovn_u16(high))));
}

/* ---- Squares ---- */

/* to[j][i] = from[i][j] for i, j < 4. */
static inline void turn_4x4(const float *from, size_t from_stride, float *to, size_t to_stride)
{
    const float32x4_t r0 = vld1q_f32(from), r1 = vld1q_f32(from + from_stride);
    const float32x4_t r2 = vld1q_f32(from + 2 * from_stride),
                      r3 = vld1q_f32(from + 3 * from_stride);
    const float32x4_t a = vzip1q_f32(r0, r2), b = vzip1q_f32(r1, r3);
    const float32x4_t c = vzip2q_f32(r0, r2), d = vzip2q_f32(r1, r3);
    vst1q_f32(to, vzip1q_f32(a, b));
    vst1q_f32(to + to_stride, vzip2q_f32(a, b));
    vst1q_f32(to + 2 * to_stride, vzip1q_f32(c, d));
    vst1q_f32(to + 3 * to_stride, vzip2q_f32(c, d));
}
/* to[j][i] = from[i][j] for i, j < 8; strides in floats. The squares may not overlap. */
static inline void turn_8x8(const float *from, size_t from_stride, float *to, size_t to_stride)
{
    for (size_t i = 0; i < 8; i += 4)
        for (size_t j = 0; j < 8; j += 4)
            turn_4x4(from + i * from_stride + j, from_stride, to + j * to_stride + i, to_stride);
}

#endif
