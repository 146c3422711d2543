/* SPDX-License-Identifier: MIT */
/*
 * Element types of the hostile test backend: widening of every block format to float32, and
 * the rounding that stores keys and values.
 *
 * Written from the public descriptions of the formats. All products of a block scale and a small
 * integer are exact in float32, so the order of the multiplications does not matter; where a
 * minimum is subtracted there is exactly one rounding. Pure functions, any thread.
 */
#include "hostile.h"

#include <math.h>
#include <string.h>

static float from_bits(uint32_t u)
{
    float x;
    memcpy(&x, &u, sizeof x);
    return x;
}

static uint32_t to_bits(float x)
{
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    return u;
}

static uint16_t read_u16(const unsigned char *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}

static void write_u16(unsigned char *p, uint16_t x)
{
    p[0] = (unsigned char)(x & 255u);
    p[1] = (unsigned char)(x >> 8);
}

float hostile_f16_widen(uint16_t h)
{
    const int exponent = (h >> 10) & 31;
    const uint32_t mantissa = h & 1023u, sign = (uint32_t)(h >> 15) << 31;
    if (exponent == 31) return from_bits(sign | 0x7f800000u | mantissa << 13);
    if (exponent == 0) {
        const float x = ldexpf((float)mantissa, -24);
        return sign ? -x : x;
    }
    return from_bits(sign | (uint32_t)(exponent + 112) << 23 | mantissa << 13);
}

uint16_t hostile_f16_round(float x)
{
    const uint32_t sign = (to_bits(x) >> 16) & 0x8000u;
    const float a = fabsf(x);
    if (a != a) return (uint16_t)(sign | 0x7e00u | ((to_bits(x) >> 13) & 0x3ffu));
    if (a >= 65520.0f) return (uint16_t)(sign | 0x7c00u);
    if (a < 0x1p-14f) return (uint16_t)(sign | (uint32_t)lrintf(a * 0x1p24f));
    int exponent;
    const float fraction = frexpf(a, &exponent);             /* [0.5, 1) */
    const uint32_t m = (uint32_t)lrintf(fraction * 2048.0f); /* 1024 to 2048 */
    return (uint16_t)(sign | (((uint32_t)(exponent + 13) << 10) + m));
}

float hostile_bf16_widen(uint16_t h)
{
    return from_bits((uint32_t)h << 16);
}

uint16_t hostile_bf16_round(float x)
{
    const uint32_t u = to_bits(x), low = u & 0xffffu;
    uint32_t high = u >> 16;
    if (x != x) return (uint16_t)(high | 0x40u);
    if (low > 0x8000u || (low == 0x8000u && (high & 1u))) high++;
    return (uint16_t)high;
}

/* ---- Blocks ---- */

static void widen_f32(const unsigned char *b, float *y)
{
    y[0] = from_bits((uint32_t)read_u16(b) | (uint32_t)read_u16(b + 2) << 16);
}

static void widen_f16(const unsigned char *b, float *y)
{
    y[0] = hostile_f16_widen(read_u16(b));
}

static void widen_bf16(const unsigned char *b, float *y)
{
    y[0] = hostile_bf16_widen(read_u16(b));
}

/* Nibble i of 32: the low halves of 16 bytes, then the high halves. */
static int nibble(const unsigned char *q, int i)
{
    return i < 16 ? q[i] & 15 : q[i - 16] >> 4;
}

static int bit_of(const unsigned char *h, int i)
{
    return h[i / 8] >> (i % 8) & 1;
}

static void widen_q4_0(const unsigned char *b, float *y)
{
    const float d = hostile_f16_widen(read_u16(b));
    for (int i = 0; i < 32; i++) y[i] = (float)(nibble(b + 2, i) - 8) * d;
}

static void widen_q4_1(const unsigned char *b, float *y)
{
    const float d = hostile_f16_widen(read_u16(b)), m = hostile_f16_widen(read_u16(b + 2));
    for (int i = 0; i < 32; i++) y[i] = (float)nibble(b + 4, i) * d + m;
}

static void widen_q5_0(const unsigned char *b, float *y)
{
    const float d = hostile_f16_widen(read_u16(b));
    for (int i = 0; i < 32; i++)
        y[i] = (float)((nibble(b + 6, i) | bit_of(b + 2, i) << 4) - 16) * d;
}

static void widen_q5_1(const unsigned char *b, float *y)
{
    const float d = hostile_f16_widen(read_u16(b)), m = hostile_f16_widen(read_u16(b + 2));
    for (int i = 0; i < 32; i++) y[i] = (float)(nibble(b + 8, i) | bit_of(b + 4, i) << 4) * d + m;
}

static void widen_q8_0(const unsigned char *b, float *y)
{
    const float d = hostile_f16_widen(read_u16(b));
    for (int i = 0; i < 32; i++) y[i] = (float)(int8_t)b[2 + i] * d;
}

/*
 * 16 groups of 16: a byte with scale and minimum each; two bits per value, four strides of 32 per
 * 32 bytes.
 */
static void widen_q2_k(const unsigned char *b, float *y)
{
    const float d = hostile_f16_widen(read_u16(b + 80)), m = hostile_f16_widen(read_u16(b + 82));
    for (int i = 0; i < 256; i++) {
        const int scale = b[i / 16];
        const int q = b[16 + i / 128 * 32 + i % 32] >> (i / 32 % 4 * 2) & 3;
        y[i] = d * (float)(scale & 15) * (float)q - m * (float)(scale >> 4);
    }
}

static void widen_q3_k(const unsigned char *b, float *y)
{
    const unsigned char *const s = b + 96;
    const float d = hostile_f16_widen(read_u16(b + 108));
    for (int i = 0; i < 256; i++) {
        const int g = i / 16;
        const int low = g < 8 ? s[g] & 15 : s[g - 8] >> 4;
        const int scale = (low | ((s[8 + g % 4] >> (g / 4 * 2) & 3) << 4)) - 32;
        const int high = b[i % 32] >> (i / 32) & 1;
        const int q = b[32 + i / 128 * 32 + i % 32] >> (i / 32 % 4 * 2) & 3;
        y[i] = d * (float)scale * (float)(q - (high ? 0 : 4));
    }
}

/* Six-bit scale and minimum of group g of 8, out of 12 bytes. */
static void read_scale_min(const unsigned char *s, int g, int *scale, int *minimum)
{
    if (g < 4) {
        *scale = s[g] & 63;
        *minimum = s[g + 4] & 63;
    } else {
        *scale = (s[g + 4] & 15) | (s[g - 4] >> 6) << 4;
        *minimum = s[g + 4] >> 4 | (s[g] >> 6) << 4;
    }
}

static void widen_q4_k(const unsigned char *b, float *y)
{
    const float d = hostile_f16_widen(read_u16(b)), m = hostile_f16_widen(read_u16(b + 2));
    for (int i = 0; i < 256; i++) {
        int scale, minimum;
        read_scale_min(b + 4, i / 32, &scale, &minimum);
        const int byte = b[16 + i / 64 * 32 + i % 32];
        const int q = i / 32 % 2 ? byte >> 4 : byte & 15;
        y[i] = d * (float)scale * (float)q - m * (float)minimum;
    }
}

static void widen_q5_k(const unsigned char *b, float *y)
{
    const float d = hostile_f16_widen(read_u16(b)), m = hostile_f16_widen(read_u16(b + 2));
    for (int i = 0; i < 256; i++) {
        int scale, minimum;
        read_scale_min(b + 4, i / 32, &scale, &minimum);
        const int byte = b[48 + i / 64 * 32 + i % 32];
        const int q = (i / 32 % 2 ? byte >> 4 : byte & 15) | (b[16 + i % 32] >> (i / 32) & 1) << 4;
        y[i] = d * (float)scale * (float)q - m * (float)minimum;
    }
}

static void widen_q6_k(const unsigned char *b, float *y)
{
    const float d = hostile_f16_widen(read_u16(b + 208));
    for (int i = 0; i < 256; i++) {
        const int half = i / 128, part = i / 32 % 4;
        const int byte = b[half * 64 + part % 2 * 32 + i % 32];
        const int low = part / 2 ? byte >> 4 : byte & 15;
        const int high = b[128 + half * 32 + i % 32] >> (part * 2) & 3;
        y[i] = d * (float)(int8_t)b[192 + i / 16] * (float)((low | (high << 4)) - 32);
    }
}

static const int8_t iq4_values[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                      1,    13,   25,  38,  53,  69,  89,  113};

static void widen_iq4_nl(const unsigned char *b, float *y)
{
    const float d = hostile_f16_widen(read_u16(b));
    for (int i = 0; i < 32; i++) y[i] = d * (float)iq4_values[nibble(b + 2, i)];
}

static void widen_iq4_xs(const unsigned char *b, float *y)
{
    const float d = hostile_f16_widen(read_u16(b));
    const int high = read_u16(b + 2);
    for (int g = 0; g < 8; g++) {
        const int scale = ((b[4 + g / 2] >> (g % 2 * 4) & 15) | (high >> (2 * g) & 3) << 4) - 32;
        for (int i = 0; i < 32; i++)
            y[g * 32 + i] = d * (float)scale * (float)iq4_values[nibble(b + 8 + g * 16, i)];
    }
}

/*
 * Two-bit exponent, one-bit mantissa: 0 0.5 1 1.5 2 3 4 6, with a power of two as the block's
 * scale.
 */
static void widen_mxfp4(const unsigned char *b, float *y)
{
    static const int8_t twice[8] = {0, 1, 2, 3, 4, 6, 8, 12};
    for (int i = 0; i < 32; i++) {
        const int q = nibble(b + 1, i);
        const float x = ldexpf((float)twice[q & 7], (int)b[0] - 128);
        y[i] = q & 8 ? -x : x;
    }
}

static const hostile_type types[] = {
    {LLRT_TYPE_F32, 1, 4, "F32", widen_f32},
    {LLRT_TYPE_F16, 1, 2, "F16", widen_f16},
    {LLRT_TYPE_BF16, 1, 2, "BF16", widen_bf16},
    {LLRT_TYPE_Q4_0, 32, 18, "Q4_0", widen_q4_0},
    {LLRT_TYPE_Q4_1, 32, 20, "Q4_1", widen_q4_1},
    {LLRT_TYPE_Q5_0, 32, 22, "Q5_0", widen_q5_0},
    {LLRT_TYPE_Q5_1, 32, 24, "Q5_1", widen_q5_1},
    {LLRT_TYPE_Q8_0, 32, 34, "Q8_0", widen_q8_0},
    {LLRT_TYPE_Q2_K, 256, 84, "Q2_K", widen_q2_k},
    {LLRT_TYPE_Q3_K, 256, 110, "Q3_K", widen_q3_k},
    {LLRT_TYPE_Q4_K, 256, 144, "Q4_K", widen_q4_k},
    {LLRT_TYPE_Q5_K, 256, 176, "Q5_K", widen_q5_k},
    {LLRT_TYPE_Q6_K, 256, 210, "Q6_K", widen_q6_k},
    {LLRT_TYPE_IQ4_NL, 32, 18, "IQ4_NL", widen_iq4_nl},
    {LLRT_TYPE_IQ4_XS, 256, 136, "IQ4_XS", widen_iq4_xs},
    {LLRT_TYPE_MXFP4, 32, 17, "MXFP4", widen_mxfp4},
};

const hostile_type *hostile_type_find(uint32_t type)
{
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++)
        if (types[i].type == type) return &types[i];
    return NULL;
}

void hostile_row_widen(const hostile_type *type, const unsigned char *from, float *to, size_t n)
{
    for (size_t i = 0; i < n; i += type->block, from += type->block_bytes)
        type->widen(from, to + i);
}

/* ---- Keys and values ---- */

size_t hostile_kv_bytes(uint32_t kv_type, size_t n)
{
    switch (kv_type) {
    case LLRT_TYPE_F32:
        return n * 4;
    case LLRT_TYPE_F16:
    case LLRT_TYPE_BF16:
        return n * 2;
    default:
        return (n + 31) / 32 * 34;
    }
}

/*
 * Scale = largest magnitude / 127 as float16; values times the inverse of the unrounded scale, to
 * nearest even.
 */
static void store_q8_0(const float *x, unsigned char *to, size_t n)
{
    float largest = 0;
    for (size_t i = 0; i < n; i++)
        if (fabsf(x[i]) > largest) largest = fabsf(x[i]);
    const float d = largest / 127.0f;
    const float inverse = d > 0.0f ? 1.0f / d : 0.0f;
    write_u16(to, hostile_f16_round(d));
    for (size_t i = 0; i < 32; i++)
        to[2 + i] = i < n ? (unsigned char)to_bits(x[i] * inverse + 12582912.0f) : 0;
}

void hostile_kv_store(uint32_t kv_type, const float *from, unsigned char *to, size_t n)
{
    if (kv_type == LLRT_TYPE_Q8_0) {
        for (size_t i = 0; i < n; i += 32)
            store_q8_0(from + i, to + i / 32 * 34, n - i < 32 ? n - i : 32);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        if (kv_type == LLRT_TYPE_F32) {
            const uint32_t u = to_bits(from[i]);
            write_u16(to + 4 * i, (uint16_t)(u & 0xffffu));
            write_u16(to + 4 * i + 2, (uint16_t)(u >> 16));
        } else if (kv_type == LLRT_TYPE_F16) {
            write_u16(to + 2 * i, hostile_f16_round(from[i]));
        } else {
            write_u16(to + 2 * i, hostile_bf16_round(from[i]));
        }
    }
}

void hostile_kv_load(uint32_t kv_type, const unsigned char *from, float *to, size_t n)
{
    if (kv_type != LLRT_TYPE_Q8_0) {
        hostile_row_widen(hostile_type_find(kv_type), from, to, n);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        const unsigned char *const b = from + i / 32 * 34;
        to[i] = (float)(int8_t)b[2 + i % 32] * hostile_f16_widen(read_u16(b));
    }
}
