/* SPDX-License-Identifier: MIT */
/*
 * Conversions between float32 and the 16-bit kinds, in plain integer arithmetic
 * so that every platform gives the same bits. Round to nearest, ties to even;
 * NaN stays NaN; subnormals are kept.
 */
#ifndef LLRTI_HALF_H
#define LLRTI_HALF_H

#include <stdint.h>
#include <string.h>

static inline uint32_t llrti_float_bits(float x)
{
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    return u;
}

static inline float llrti_bits_float(uint32_t u)
{
    float x;
    memcpy(&x, &u, sizeof x);
    return x;
}

static inline float llrti_bf16_to_float(uint16_t h)
{
    return llrti_bits_float((uint32_t)h << 16);
}

static inline uint16_t llrti_float_to_bf16(float x)
{
    const uint32_t u = llrti_float_bits(x);
    if ((u & 0x7fffffffu) > 0x7f800000u) return (uint16_t)((u >> 16) | 0x40u);
    return (uint16_t)((u + 0x7fffu + ((u >> 16) & 1u)) >> 16);
}

static inline float llrti_f16_to_float(uint16_t h)
{
    const uint32_t sign = (uint32_t)(h & 0x8000u) << 16;
    uint32_t exponent = (h >> 10) & 31u, mantissa = h & 0x3ffu;
    if (exponent == 31u) return llrti_bits_float(sign | 0x7f800000u | mantissa << 13);
    if (exponent == 0) {
        if (mantissa == 0) return llrti_bits_float(sign);
        exponent = 113;
        while (!(mantissa & 0x400u)) {
            mantissa <<= 1;
            exponent--;
        }
        return llrti_bits_float(sign | exponent << 23 | (mantissa & 0x3ffu) << 13);
    }
    return llrti_bits_float(sign | (exponent + 112u) << 23 | mantissa << 13);
}

static inline uint16_t llrti_float_to_f16(float x)
{
    const uint32_t u = llrti_float_bits(x), sign = (u >> 16) & 0x8000u;
    const uint32_t magnitude = u & 0x7fffffffu;
    if (magnitude > 0x7f800000u) return (uint16_t)(sign | 0x7e00u | ((magnitude >> 13) & 0x3ffu));
    if (magnitude >= 0x477ff000u) return (uint16_t)(sign | 0x7c00u); /* rounds to infinity */
    if (magnitude < 0x38800000u) {                                   /* subnormal or zero */
        if (magnitude < 0x33000000u) return (uint16_t)sign;
        const uint32_t shift = 126u - (magnitude >> 23);
        const uint32_t mantissa = (magnitude & 0x7fffffu) | 0x800000u;
        const uint32_t half = 1u << (shift - 1u), rest = mantissa & ((1u << shift) - 1u);
        uint32_t value = mantissa >> shift;
        if (rest > half || (rest == half && (value & 1u))) value++;
        return (uint16_t)(sign | value);
    }
    const uint32_t rounded = magnitude + 0xfffu + ((magnitude >> 13) & 1u);
    return (uint16_t)(sign | ((rounded - 0x38000000u) >> 13));
}

#endif
