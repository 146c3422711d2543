/* SPDX-License-Identifier: MIT */
/*
 * Rows to groups of 16 and back. Every element moves as an integer, so no float rule (NaN, subnormal)
 * touches it. The loops run over short stretches of K with the 16 rows inside, so that both sides stay in the L1 cache.
 */
#include "pack.h"

#include <string.h>

#include "gemm.h"
#include "half.h"

enum { MR = LLRTI_GEMM_MR, STRETCH = 64 };

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* [n][16] 32-bit words of rows whose words are n_real long, zero beyond. */
static void interleave_u32(const llrti_pack_rows *rows, uint8_t *dst, size_t n_real, size_t n)
{
    for (size_t begin = 0; begin < n; begin += STRETCH) {
        const size_t end = smaller(begin + STRETCH, n), end_real = smaller(end, n_real);
        for (size_t i = 0; i < MR; i++) {
            size_t k = begin;
            if (i < rows->n_row) {
                const uint8_t *const row = rows->row + i * rows->stride;
                for (; k < end_real; k++) memcpy(dst + (k * MR + i) * 4, row + k * 4, 4);
            }
            for (; k < end; k++) memset(dst + (k * MR + i) * 4, 0, 4);
        }
    }
}

void llrti_pack_u32(const llrti_pack_rows *rows, void *dst, size_t k_pad)
{
    interleave_u32(rows, dst, rows->k, k_pad);
}

void llrti_pack_u16(const llrti_pack_rows *rows, void *dst, size_t k_pad)
{
    uint8_t *const to = dst;
    for (size_t begin = 0; begin < k_pad; begin += STRETCH) {
        const size_t end = smaller(begin + STRETCH, k_pad), end_real = smaller(end, rows->k);
        for (size_t i = 0; i < MR; i++) {
            size_t k = begin;
            if (i < rows->n_row) {
                const uint8_t *const row = rows->row + i * rows->stride;
                for (; k < end_real; k++) memcpy(to + (k * MR + i) * 2, row + k * 2, 2);
            }
            for (; k < end; k++) memset(to + (k * MR + i) * 2, 0, 2);
        }
    }
}

void llrti_pack_u16_pairs(const llrti_pack_rows *rows, void *dst, size_t k_pad)
{
    uint8_t *const to = dst;
    const size_t n_pair = rows->k / 2;
    interleave_u32(rows, to, n_pair, k_pad / 2);
    if (rows->k % 2 == 0) return;
    for (size_t i = 0; i < rows->n_row; i++) /* the last value has no partner */
        memcpy(to + (n_pair * MR + i) * 4, rows->row + i * rows->stride + n_pair * 4, 2);
}

void llrti_pack_q8(const llrti_pack_rows *rows, void *dst)
{
    uint8_t *to = dst;
    const size_t n_block = rows->k / 32;
    for (size_t b = 0; b < n_block + n_block % 2; b++) {
        uint8_t *const values = to + b / 2 * LLRTI_GEMM_Q8_BYTES + b % 2 * 512;
        uint8_t *const scales = to + b / 2 * LLRTI_GEMM_Q8_BYTES + 1024 + b % 2 * 32;
        for (size_t i = 0; i < MR; i++) {
            if (b >= n_block || i >= rows->n_row) {
                for (size_t k = 0; k < 8; k++) memset(values + (k * MR + i) * 4, 0x80, 4);
                memset(scales + i * 2, 0, 2);
                continue;
            }
            const uint8_t *const from = rows->row + i * rows->stride + b * 34;
            memcpy(scales + i * 2, from, 2);
            for (size_t k = 0; k < 8; k++) {
                uint32_t word;
                memcpy(&word, from + 2 + k * 4, 4);
                word ^= 0x80808080u;
                memcpy(values + (k * MR + i) * 4, &word, 4);
            }
        }
    }
}

void llrti_pack_q4(const llrti_pack_rows *rows, void *dst)
{
    uint8_t *to = dst;
    const size_t n_block = rows->k / 32;
    const uint32_t low = 0x0f0f0f0fu;
    for (size_t b = 0; b < n_block + n_block % 2; b++) {
        uint8_t *const values = to + b / 2 * LLRTI_GEMM_Q4_BYTES + b % 2 * 256;
        uint8_t *const scales = to + b / 2 * LLRTI_GEMM_Q4_BYTES + 512 + b % 2 * 32;
        for (size_t i = 0; i < MR; i++) {
            if (b >= n_block || i >= rows->n_row) {
                for (size_t k = 0; k < 4; k++) memset(values + (k * MR + i) * 4, 0x88, 4);
                memset(scales + i * 2, 0, 2);
                continue;
            }
            const uint8_t *const from = rows->row + i * rows->stride + b * 18;
            memcpy(scales + i * 2, from, 2);
            for (size_t k = 0; k < 2;
                 k++) { /* from[2 + j] holds values j (low) and j + 16 (high) */
                uint32_t first, second;
                memcpy(&first, from + 2 + k * 8, 4);
                memcpy(&second, from + 6 + k * 8, 4);
                const uint32_t lower = (first & low) | (second & low) << 4;
                const uint32_t upper = (first >> 4 & low) | (second & ~low);
                memcpy(values + (k * MR + i) * 4, &lower, 4);
                memcpy(values + ((k + 2) * MR + i) * 4, &upper, 4);
            }
        }
    }
}

void llrti_pack_get_f32(const void *group, uint32_t lane, size_t k, float *out)
{
    const uint8_t *const from = group;
    for (size_t i = 0; i < k; i++) memcpy(&out[i], from + (i * MR + lane) * 4, 4);
}

void llrti_pack_get_f16(const void *group, uint32_t lane, size_t k, float *out)
{
    const uint16_t *const from = group;
    for (size_t i = 0; i < k; i++) out[i] = llrti_f16_to_float(from[i * MR + lane]);
}

void llrti_pack_get_bf16(const void *group, uint32_t lane, size_t k, float *out)
{
    const uint16_t *const from = group;
    for (size_t i = 0; i < k; i++)
        out[i] = llrti_bf16_to_float(from[(i / 2 * MR + lane) * 2 + i % 2]);
}

void llrti_pack_get_q8(const void *group, uint32_t lane, size_t k, float *out)
{
    const uint8_t *const from = group;
    for (size_t b = 0; b < k / 32; b++) {
        const uint8_t *const pair = from + b / 2 * LLRTI_GEMM_Q8_BYTES, *const values =
                                                                            pair + b % 2 * 512;
        uint16_t half;
        memcpy(&half, pair + 1024 + b % 2 * 32 + lane * 2, 2);
        const float d = llrti_f16_to_float(half);
        for (size_t i = 0; i < 32; i++)
            out[b * 32 + i] = (float)((int)values[(i / 4 * MR + lane) * 4 + i % 4] - 128) * d;
    }
}

void llrti_pack_get_q4(const void *group, uint32_t lane, size_t k, float *out)
{
    const uint8_t *const from = group;
    for (size_t b = 0; b < k / 32; b++) {
        const uint8_t *const pair = from + b / 2 * LLRTI_GEMM_Q4_BYTES, *const values =
                                                                            pair + b % 2 * 256;
        uint16_t half;
        memcpy(&half, pair + 512 + b % 2 * 32 + lane * 2, 2);
        const float d = llrti_f16_to_float(half);
        for (size_t i = 0; i < 32; i++) {
            const uint8_t byte = values[(i / 8 * MR + lane) * 4 + i % 4];
            out[b * 32 + i] = (float)((i & 4 ? byte >> 4 : byte & 15) - 8) * d;
        }
    }
}
