/* SPDX-License-Identifier: MIT */
/*
 * Every weight format of the files to float32, in plain C.
 *
 * A row is a sequence of blocks of 32 or 256 values. All numbers are little-endian, a block has no
 * alignment, scales are float16 unless said otherwise. Blocks, in the order of their bytes:
 *
 *   Q4_0   d, qs[16]                          d * (q - 8)
 *   Q4_1   d, m, qs[16]                       d * q + m
 *   Q5_0   d, qh[4], qs[16]                   d * (q - 16)
 *   Q5_1   d, m, qh[4], qs[16]                d * q + m
 *   Q8_0   d, qs[32] (signed)                 d * q
 *   Q2_K   scales[16], qs[64], d, dmin        d * s * q - dmin * t      s, t: 4 bits each, per 16 values
 *   Q3_K   hmask[32], qs[64], scales[12], d   d * (s - 32) * (q - 4)    s: 6 bits, per 16 values
 *   Q4_K   d, dmin, scales[12], qs[128]       d * s * q - dmin * t      s, t: 6 bits each, per 32 values
 *   Q5_K   d, dmin, scales[12], qh[32], qs[128]     the same
 *   Q6_K   ql[128], qh[64], scales[16] (signed), d  d * s * (q - 32)    per 16 values
 *   IQ4_NL d, qs[16]                          d * table[q]
 *   IQ4_XS d, sh (16 bits), sl[4], qs[128]    d * (s - 32) * table[q]   s: 6 bits, per 32 values
 *   MXFP4  e (8-bit exponent), qs[16]         2^(e - 128) * (2 * e2m1[q])
 *
 * The 32-value formats keep value i in the low and value i + 16 in the high half of qs[i]. Products are
 * rounded in the order they are written, left to right: files quantised elsewhere then give the same floats here.
 */
#include "blocks.h"

#include <assert.h>

#include "compiler.h"
#include "half.h"
#include "types.h"

static uint16_t read_u16(const uint8_t *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}

static uint32_t read_u32(const uint8_t *p)
{
    return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static float read_f16(const uint8_t *p)
{
    return llrti_f16_to_float(read_u16(p));
}

void llrti_blocks_widen_f32(const void *src, float *dst, size_t n)
{
    const uint8_t *p = src;
    for (size_t i = 0; i < n; i++) dst[i] = llrti_bits_float(read_u32(p + 4 * i));
}

void llrti_blocks_widen_f16(const void *src, float *dst, size_t n)
{
    const uint8_t *p = src;
    for (size_t i = 0; i < n; i++) dst[i] = read_f16(p + 2 * i);
}

void llrti_blocks_widen_bf16(const void *src, float *dst, size_t n)
{
    const uint8_t *p = src;
    for (size_t i = 0; i < n; i++) dst[i] = llrti_bf16_to_float(read_u16(p + 2 * i));
}

void llrti_blocks_widen_q4_0(const void *src, float *dst, size_t n)
{
    assert(n % 32 == 0);
    const uint8_t *p = src;
    for (; n; n -= 32, p += 18, dst += 32) {
        const float d = read_f16(p);
        for (int i = 0; i < 16; i++) {
            dst[i] = (float)((p[2 + i] & 15) - 8) * d;
            dst[i + 16] = (float)((p[2 + i] >> 4) - 8) * d;
        }
    }
}

void llrti_blocks_widen_q4_1(const void *src, float *dst, size_t n)
{
    assert(n % 32 == 0);
    const uint8_t *p = src;
    for (; n; n -= 32, p += 20, dst += 32) {
        const float d = read_f16(p), m = read_f16(p + 2);
        for (int i = 0; i < 16; i++) {
            dst[i] = (float)(p[4 + i] & 15) * d + m;
            dst[i + 16] = (float)(p[4 + i] >> 4) * d + m;
        }
    }
}

/* Value i (< 32) of a block whose fifth bits are `high` and whose low four are in qs. */
static int five_bits(const uint8_t *qs, uint32_t high, int i)
{
    const int low = i < 16 ? qs[i] & 15 : qs[i - 16] >> 4;
    return low | (int)(high >> i & 1u) << 4;
}

void llrti_blocks_widen_q5_0(const void *src, float *dst, size_t n)
{
    assert(n % 32 == 0);
    const uint8_t *p = src;
    for (; n; n -= 32, p += 22, dst += 32) {
        const float d = read_f16(p);
        const uint32_t high = read_u32(p + 2);
        for (int i = 0; i < 32; i++) dst[i] = (float)(five_bits(p + 6, high, i) - 16) * d;
    }
}

void llrti_blocks_widen_q5_1(const void *src, float *dst, size_t n)
{
    assert(n % 32 == 0);
    const uint8_t *p = src;
    for (; n; n -= 32, p += 24, dst += 32) {
        const float d = read_f16(p), m = read_f16(p + 2);
        const uint32_t high = read_u32(p + 4);
        for (int i = 0; i < 32; i++) dst[i] = (float)five_bits(p + 8, high, i) * d + m;
    }
}

void llrti_blocks_widen_q8_0(const void *src, float *dst, size_t n)
{
    assert(n % 32 == 0);
    const uint8_t *p = src;
    for (; n; n -= 32, p += 34, dst += 32) {
        const float d = read_f16(p);
        for (int i = 0; i < 32; i++) dst[i] = (float)(int8_t)p[2 + i] * d;
    }
}

void llrti_blocks_widen_q2_k(const void *src, float *dst, size_t n)
{
    assert(n % 256 == 0);
    const uint8_t *p = src;
    for (; n; n -= 256, p += 84, dst += 256) {
        const float d = read_f16(p + 80), dmin = read_f16(p + 82);
        for (int s = 0; s < 16;
             s++) { /* runs of 16: two per 2-bit plane, four planes per 32 bytes */
            const float scale = d * (float)(p[s] & 15), min = dmin * (float)(p[s] >> 4);
            const uint8_t *const q = p + 16 + s / 8 * 32 + s % 2 * 16;
            const int shift = s % 8 / 2 * 2;
            for (int i = 0; i < 16; i++) dst[s * 16 + i] = scale * (float)(q[i] >> shift & 3) - min;
        }
    }
}

void llrti_blocks_widen_q3_k(const void *src, float *dst, size_t n)
{
    assert(n % 256 == 0);
    const uint8_t *p = src;
    for (; n; n -= 256, p += 110, dst += 256) {
        const uint8_t *const scales = p + 96;
        const float d = read_f16(p + 108);
        for (int s = 0; s < 16; s++) {
            const int low = s < 8 ? scales[s] & 15 : scales[s - 8] >> 4;
            const int high = scales[8 + s % 4] >> s / 4 * 2 & 3;
            const float scale = d * (float)((low | high << 4) - 32);
            const uint8_t *const q = p + 32 + s / 8 * 32 + s % 2 * 16, *const mask = p + s % 2 * 16;
            const int shift = s % 8 / 2 * 2, bit = s / 2;
            for (int i = 0; i < 16; i++) {
                const int value = (q[i] >> shift & 3) - (mask[i] >> bit & 1 ? 0 : 4);
                dst[s * 16 + i] = scale * (float)value;
            }
        }
    }
}

/* The s-th (< 8) pair of 6-bit scale and minimum of Q4_K and Q5_K. */
static void six_bits(const uint8_t *scales, int s, int *scale, int *min)
{
    if (s < 4) {
        *scale = scales[s] & 63;
        *min = scales[s + 4] & 63;
    } else {
        *scale = (scales[s + 4] & 15) | (scales[s - 4] >> 6) << 4;
        *min = scales[s + 4] >> 4 | (scales[s] >> 6) << 4;
    }
}

void llrti_blocks_widen_q4_k(const void *src, float *dst, size_t n)
{
    assert(n % 256 == 0);
    const uint8_t *p = src;
    for (; n; n -= 256, p += 144, dst += 256) {
        const float d = read_f16(p), dmin = read_f16(p + 2);
        for (int s = 0; s < 8; s++) {
            int scale_bits, min_bits;
            six_bits(p + 4, s, &scale_bits, &min_bits);
            const float scale = d * (float)scale_bits, min = dmin * (float)min_bits;
            const uint8_t *const q = p + 16 + s / 2 * 32;
            const int shift = s % 2 * 4;
            for (int i = 0; i < 32; i++)
                dst[s * 32 + i] = scale * (float)(q[i] >> shift & 15) - min;
        }
    }
}

void llrti_blocks_widen_q5_k(const void *src, float *dst, size_t n)
{
    assert(n % 256 == 0);
    const uint8_t *p = src;
    for (; n; n -= 256, p += 176, dst += 256) {
        const float d = read_f16(p), dmin = read_f16(p + 2);
        for (int s = 0; s < 8; s++) {
            int scale_bits, min_bits;
            six_bits(p + 4, s, &scale_bits, &min_bits);
            const float scale = d * (float)scale_bits, min = dmin * (float)min_bits;
            const uint8_t *const q = p + 48 + s / 2 * 32, *const high = p + 16;
            const int shift = s % 2 * 4;
            for (int i = 0; i < 32; i++) {
                const int value = (q[i] >> shift & 15) | (high[i] >> s & 1) << 4;
                dst[s * 32 + i] = scale * (float)value - min;
            }
        }
    }
}

void llrti_blocks_widen_q6_k(const void *src, float *dst, size_t n)
{
    assert(n % 256 == 0);
    const uint8_t *p = src;
    for (; n; n -= 256, p += 210, dst += 256) {
        const float d = read_f16(p + 208);
        for (int s = 0; s < 16; s++) {
            const float scale = d * (float)(int8_t)p[192 + s];
            const int half = s / 8, quarter = s % 8 / 2, begin = s % 2 * 16;
            const uint8_t *const low = p + half * 64 + quarter % 2 * 32 + begin;
            const uint8_t *const high = p + 128 + half * 32 + begin;
            const int low_shift = quarter / 2 * 4, high_shift = quarter * 2;
            for (int i = 0; i < 16; i++) {
                const int value = (low[i] >> low_shift & 15) | (high[i] >> high_shift & 3) << 4;
                dst[s * 16 + i] = scale * (float)(value - 32);
            }
        }
    }
}

const int8_t llrti_blocks_iq4[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                     1,    13,   25,  38,  53,  69,  89,  113};

void llrti_blocks_widen_iq4_nl(const void *src, float *dst, size_t n)
{
    assert(n % 32 == 0);
    const uint8_t *p = src;
    for (; n; n -= 32, p += 18, dst += 32) {
        const float d = read_f16(p);
        for (int i = 0; i < 16; i++) {
            dst[i] = d * (float)llrti_blocks_iq4[p[2 + i] & 15];
            dst[i + 16] = d * (float)llrti_blocks_iq4[p[2 + i] >> 4];
        }
    }
}

void llrti_blocks_widen_iq4_xs(const void *src, float *dst, size_t n)
{
    assert(n % 256 == 0);
    const uint8_t *p = src;
    for (; n; n -= 256, p += 136, dst += 256) {
        const float d = read_f16(p);
        const uint32_t scales_high = read_u16(p + 2);
        for (int s = 0; s < 8; s++) {
            const int low = p[4 + s / 2] >> s % 2 * 4 & 15, high = (int)(scales_high >> 2 * s & 3u);
            const float scale = d * (float)((low | high << 4) - 32);
            const uint8_t *const q = p + 8 + s * 16;
            for (int i = 0; i < 16; i++) {
                dst[s * 32 + i] = scale * (float)llrti_blocks_iq4[q[i] & 15];
                dst[s * 32 + i + 16] = scale * (float)llrti_blocks_iq4[q[i] >> 4];
            }
        }
    }
}

const int8_t llrti_blocks_e2m1[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

void llrti_blocks_widen_mxfp4(const void *src, float *dst, size_t n)
{
    assert(n % 32 == 0);
    const uint8_t *p = src;
    for (; n; n -= 32, p += 17, dst += 32) {
        const uint32_t e = p[0]; /* 2^(e - 128); its two smallest are subnormal floats */
        const float d = llrti_bits_float(e < 2 ? 0x00200000u << e : (e - 1) << 23);
        for (int i = 0; i < 16; i++) {
            dst[i] = (float)llrti_blocks_e2m1[p[1 + i] & 15] * d;
            dst[i + 16] = (float)llrti_blocks_e2m1[p[1 + i] >> 4] * d;
        }
    }
}

llrti_blocks_widen llrti_blocks_find(uint32_t type)
{
    static const struct {
        uint32_t type;
        llrti_blocks_widen widen;
    } table[] = {
        {LLRTI_TYPE_F32, llrti_blocks_widen_f32},
        {LLRTI_TYPE_F16, llrti_blocks_widen_f16},
        {LLRTI_TYPE_BF16, llrti_blocks_widen_bf16},
        {LLRTI_TYPE_Q4_0, llrti_blocks_widen_q4_0},
        {LLRTI_TYPE_Q4_1, llrti_blocks_widen_q4_1},
        {LLRTI_TYPE_Q5_0, llrti_blocks_widen_q5_0},
        {LLRTI_TYPE_Q5_1, llrti_blocks_widen_q5_1},
        {LLRTI_TYPE_Q8_0, llrti_blocks_widen_q8_0},
        {LLRTI_TYPE_Q2_K, llrti_blocks_widen_q2_k},
        {LLRTI_TYPE_Q3_K, llrti_blocks_widen_q3_k},
        {LLRTI_TYPE_Q4_K, llrti_blocks_widen_q4_k},
        {LLRTI_TYPE_Q5_K, llrti_blocks_widen_q5_k},
        {LLRTI_TYPE_Q6_K, llrti_blocks_widen_q6_k},
        {LLRTI_TYPE_IQ4_NL, llrti_blocks_widen_iq4_nl},
        {LLRTI_TYPE_IQ4_XS, llrti_blocks_widen_iq4_xs},
        {LLRTI_TYPE_MXFP4, llrti_blocks_widen_mxfp4},
    };
    for (size_t i = 0; i < LLRTI_COUNT(table); i++)
        if (table[i].type == type) return table[i].widen;
    return NULL;
}
