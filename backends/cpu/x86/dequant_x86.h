/* SPDX-License-Identifier: MIT */
/*
 * Quantised weight formats to float32 on x86: the unpacking, on 256-bit vectors, shared by AVX2 and AVX-512, which differ in
 * how bytes become scaled floats. Included once by a file that defines
 *
 *   DEQUANT(format)                    the kernel's name
 *   scale_16(q, scale, to)             to[i] = q[i] * scale, 16 signed bytes
 *   affine_16(q, scale, offset, to)    to[i] = q[i] * scale + offset, two roundings
 *
 * Block layouts and the order of the float operations are those of blocks.c, so the bits are the same.
 */
#ifndef LLRTI_DEQUANT_X86_H
#define LLRTI_DEQUANT_X86_H

static LLRTK_INLINE float read_f16(const uint8_t *p)
{
    uint16_t half;
    memcpy(&half, p, sizeof half);
    return _cvtsh_ss(half);
}

static LLRTK_INLINE __m256i load_32(const uint8_t *p)
{
    return _mm256_loadu_si256((const void *)p);
}

/* 16 bytes: 32 nibbles, the low ones first. */
static LLRTK_INLINE __m256i nibbles(const uint8_t *p)
{
    const __m128i both = _mm_loadu_si128((const void *)p);
    return _mm256_and_si256(_mm256_set_m128i(_mm_srli_epi16(both, 4), both), _mm256_set1_epi8(15));
}

/* 32 bits to 32 bytes of 0 or 16. */
static LLRTK_INLINE __m256i fifth_bits(const uint8_t *p)
{
    int32_t bits;
    memcpy(&bits, p, sizeof bits);
    const __m256i which =
        _mm256_setr_epi64x(0, 0x0101010101010101, 0x0202020202020202, 0x0303030303030303);
    const __m256i spread = _mm256_shuffle_epi8(_mm256_set1_epi32(bits), which);
    const __m256i bit = _mm256_set1_epi64x((long long)0x8040201008040201ull);
    return _mm256_and_si256(_mm256_cmpeq_epi8(_mm256_and_si256(spread, bit), bit),
                            _mm256_set1_epi8(16));
}

static LLRTK_INLINE void scale_32(__m256i q, float scale, float *to)
{
    scale_16(_mm256_castsi256_si128(q), scale, to);
    scale_16(_mm256_extracti128_si256(q, 1), scale, to + 16);
}

static LLRTK_INLINE void affine_32(__m256i q, float scale, float offset, float *to)
{
    affine_16(_mm256_castsi256_si128(q), scale, offset, to);
    affine_16(_mm256_extracti128_si256(q, 1), scale, offset, to + 16);
}

void DEQUANT(q4_0)(const void *src, float *dst, size_t n)
{
    const uint8_t *p = src;
    for (; n; n -= 32, p += 18, dst += 32)
        scale_32(_mm256_sub_epi8(nibbles(p + 2), _mm256_set1_epi8(8)), read_f16(p), dst);
}

void DEQUANT(q4_1)(const void *src, float *dst, size_t n)
{
    const uint8_t *p = src;
    for (; n; n -= 32, p += 20, dst += 32)
        affine_32(nibbles(p + 4), read_f16(p), read_f16(p + 2), dst);
}

void DEQUANT(q5_0)(const void *src, float *dst, size_t n)
{
    const uint8_t *p = src;
    for (; n; n -= 32, p += 22, dst += 32) {
        const __m256i q = _mm256_or_si256(nibbles(p + 6), fifth_bits(p + 2));
        scale_32(_mm256_sub_epi8(q, _mm256_set1_epi8(16)), read_f16(p), dst);
    }
}

void DEQUANT(q5_1)(const void *src, float *dst, size_t n)
{
    const uint8_t *p = src;
    for (; n; n -= 32, p += 24, dst += 32)
        affine_32(_mm256_or_si256(nibbles(p + 8), fifth_bits(p + 4)), read_f16(p), read_f16(p + 2),
                  dst);
}

void DEQUANT(q8_0)(const void *src, float *dst, size_t n)
{
    const uint8_t *p = src;
    for (; n; n -= 32, p += 34, dst += 32) scale_32(load_32(p + 2), read_f16(p), dst);
}

void DEQUANT(q2_k)(const void *src, float *dst, size_t n)
{
    const uint8_t *p = src;
    for (; n; n -= 256, p += 84, dst += 256) {
        const float d = read_f16(p + 80), dmin = read_f16(p + 82);
        for (int s = 0; s < 16; s += 2) {
            const __m256i q = _mm256_and_si256(
                _mm256_srli_epi16(load_32(p + 16 + s / 8 * 32), s % 8), _mm256_set1_epi8(3));
            affine_16(_mm256_castsi256_si128(q), d * (float)(p[s] & 15),
                      -(dmin * (float)(p[s] >> 4)), dst + s * 16);
            affine_16(_mm256_extracti128_si256(q, 1), d * (float)(p[s + 1] & 15),
                      -(dmin * (float)(p[s + 1] >> 4)), dst + s * 16 + 16);
        }
    }
}

static LLRTK_INLINE float q3_scale(const uint8_t *scales, int s, float d)
{
    const int low = s < 8 ? scales[s] & 15 : scales[s - 8] >> 4;
    const int high = scales[8 + s % 4] >> s / 4 * 2 & 3;
    return d * (float)((low | high << 4) - 32);
}

void DEQUANT(q3_k)(const void *src, float *dst, size_t n)
{
    const uint8_t *p = src;
    const __m256i four = _mm256_set1_epi8(4);
    for (; n; n -= 256, p += 110, dst += 256) {
        const float d = read_f16(p + 108);
        const __m256i mask = load_32(p);
        for (int s = 0; s < 16; s += 2) {
            const __m256i bit = _mm256_set1_epi8((char)(1 << s / 2));
            const __m256i low = _mm256_and_si256(
                _mm256_srli_epi16(load_32(p + 32 + s / 8 * 32), s % 8), _mm256_set1_epi8(3));
            const __m256i is_set = _mm256_cmpeq_epi8(_mm256_and_si256(mask, bit), bit);
            const __m256i q = _mm256_sub_epi8(low, _mm256_andnot_si256(is_set, four));
            scale_16(_mm256_castsi256_si128(q), q3_scale(p + 96, s, d), dst + s * 16);
            scale_16(_mm256_extracti128_si256(q, 1), q3_scale(p + 96, s + 1, d), dst + s * 16 + 16);
        }
    }
}

/* The s-th pair of 6-bit scale and minimum of Q4_K and Q5_K. */
static LLRTK_INLINE void six_bits(const uint8_t *scales, int s, int *scale, int *min)
{
    if (s < 4) {
        *scale = scales[s] & 63;
        *min = scales[s + 4] & 63;
    } else {
        *scale = (scales[s + 4] & 15) | (scales[s - 4] >> 6) << 4;
        *min = scales[s + 4] >> 4 | (scales[s] >> 6) << 4;
    }
}

void DEQUANT(q4_k)(const void *src, float *dst, size_t n)
{
    const uint8_t *p = src;
    const __m256i low = _mm256_set1_epi8(15);
    for (; n; n -= 256, p += 144, dst += 256) {
        const float d = read_f16(p), dmin = read_f16(p + 2);
        for (int s = 0; s < 8; s++) {
            int scale, min;
            six_bits(p + 4, s, &scale, &min);
            const __m256i both = load_32(p + 16 + s / 2 * 32);
            const __m256i q = _mm256_and_si256(_mm256_srli_epi16(both, s % 2 * 4), low);
            affine_32(q, d * (float)scale, -(dmin * (float)min), dst + s * 32);
        }
    }
}

void DEQUANT(q5_k)(const void *src, float *dst, size_t n)
{
    const uint8_t *p = src;
    const __m256i low = _mm256_set1_epi8(15), one = _mm256_set1_epi8(1);
    for (; n; n -= 256, p += 176, dst += 256) {
        const float d = read_f16(p), dmin = read_f16(p + 2);
        const __m256i high = load_32(p + 16);
        for (int s = 0; s < 8; s++) {
            int scale, min;
            six_bits(p + 4, s, &scale, &min);
            const __m256i both = load_32(p + 48 + s / 2 * 32);
            const __m256i fifth = _mm256_and_si256(_mm256_srli_epi16(high, s), one);
            const __m256i q =
                _mm256_or_si256(_mm256_and_si256(_mm256_srli_epi16(both, s % 2 * 4), low),
                                _mm256_slli_epi16(fifth, 4));
            affine_32(q, d * (float)scale, -(dmin * (float)min), dst + s * 32);
        }
    }
}

void DEQUANT(q6_k)(const void *src, float *dst, size_t n)
{
    const uint8_t *p = src;
    const __m256i low = _mm256_set1_epi8(15), two_bits = _mm256_set1_epi8(3);
    for (; n; n -= 256, p += 210, dst += 256) {
        const float d = read_f16(p + 208);
        for (int s = 0; s < 16; s += 2) {
            const int half = s / 8, quarter = s % 8 / 2;
            const __m256i lower = _mm256_and_si256(
                _mm256_srli_epi16(load_32(p + half * 64 + quarter % 2 * 32), quarter / 2 * 4), low);
            const __m256i upper = _mm256_and_si256(
                _mm256_srli_epi16(load_32(p + 128 + half * 32), quarter * 2), two_bits);
            const __m256i q = _mm256_sub_epi8(_mm256_or_si256(lower, _mm256_slli_epi16(upper, 4)),
                                              _mm256_set1_epi8(32));
            scale_16(_mm256_castsi256_si128(q), d * (float)(int8_t)p[192 + s], dst + s * 16);
            scale_16(_mm256_extracti128_si256(q, 1), d * (float)(int8_t)p[193 + s],
                     dst + s * 16 + 16);
        }
    }
}

static LLRTK_INLINE __m256i look_up(__m256i q, const int8_t table[16])
{
    return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(_mm_loadu_si128((const void *)table)),
                               q);
}

static const int8_t iq4_values[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                      1,    13,   25,  38,  53,  69,  89,  113};

void DEQUANT(iq4_nl)(const void *src, float *dst, size_t n)
{
    const uint8_t *p = src;
    for (; n; n -= 32, p += 18, dst += 32)
        scale_32(look_up(nibbles(p + 2), iq4_values), read_f16(p), dst);
}

void DEQUANT(iq4_xs)(const void *src, float *dst, size_t n)
{
    const uint8_t *p = src;
    for (; n; n -= 256, p += 136, dst += 256) {
        const float d = read_f16(p);
        const int scales_high = p[2] | p[3] << 8;
        for (int s = 0; s < 8; s++) {
            const int low = p[4 + s / 2] >> s % 2 * 4 & 15, high = scales_high >> 2 * s & 3;
            const float scale = d * (float)((low | high << 4) - 32);
            scale_32(look_up(nibbles(p + 8 + s * 16), iq4_values), scale, dst + s * 32);
        }
    }
}

void DEQUANT(mxfp4)(const void *src, float *dst, size_t n)
{
    static const int8_t doubled[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};
    const uint8_t *p = src;
    for (; n; n -= 32, p += 17, dst += 32) {
        const uint32_t e = p[0], bits = e < 2 ? 0x00200000u << e : (e - 1) << 23;
        float d;
        memcpy(&d, &bits, sizeof d);
        scale_32(look_up(nibbles(p + 1), doubled), d, dst);
    }
}

#endif
