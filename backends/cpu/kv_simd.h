/* SPDX-License-Identifier: MIT */
/*
 * Kernels that write KV tiles, 16 elements of a token at a time. K is transposed: a token's elements are converted into
 * a small buffer and scattered down its column. A file for one ISA includes its simd_<isa>.h and this.
 */
#include <assert.h>
#include <string.h>

#include "ops.h"
#include "simd_math.h"

static inline void convert_f32(const float *x, size_t n, float *to)
{
    memcpy(to, x, n * sizeof *to);
}

static inline void convert_f16(const float *x, size_t n, uint16_t *to)
{
    size_t i = 0;
    for (; i + 16 <= n; i += 16) v_store_f16(to + i, v_load(x + i));
    for (; i < n; i++) to[i] = llrti_float_to_f16(x[i]);
}

static inline void convert_bf16(const float *x, size_t n, uint16_t *to)
{
    size_t i = 0;
    for (; i + 16 <= n; i += 16) v_store_bf16(to + i, v_load(x + i));
    for (; i < n; i++) to[i] = llrti_float_to_bf16(x[i]);
}

/* One block of n <= 32 values to int8; returns the scale. */
static inline uint16_t quantise_block(const float *x, size_t n, int8_t *to)
{
    float padded[LLRTI_KV_BLOCK] = {0};
    int8_t q[LLRTI_KV_BLOCK];
    if (n < LLRTI_KV_BLOCK) x = memcpy(padded, x, n * sizeof *x);
    const v16 a = v_load(x), b = v_load(x + 16);
    const float largest = v_largest(v_max(v_abs(b), v_max(v_abs(a), v_set(0))));
    const float d = largest / 127.0f, inv = d > 0.0f ? 1.0f / d : 0.0f;
    const v16 magic = v_set(LLRTI_MATH_MAGIC);
    i_store_bytes(q, v_bits(v_add(v_mul(a, v_set(inv)), magic)));
    i_store_bytes(q + 16, v_bits(v_add(v_mul(b, v_set(inv)), magic)));
    if (n < LLRTI_KV_BLOCK)
        memcpy(to, q, n);
    else
        memcpy(to, q, LLRTI_KV_BLOCK);
    return llrti_float_to_f16(d);
}

#define STORE(kind, type)                                                                          \
    /* Elements [d, d + n) of a token down the column `to`; n <= 32. */                            \
    static inline void scatter_##kind(const float *x, size_t n, type *to)                          \
    {                                                                                              \
        type buffer[32];                                                                           \
        convert_##kind(x, n, buffer);                                                              \
        for (size_t i = 0; i < n; i++) to[i * LLRT_PAGE_TOK] = buffer[i];                          \
    }                                                                                              \
    void KERNEL(kv_store_k_f32_##kind)(const float *x, size_t x_stride, size_t n_tok, size_t dim,  \
                                       size_t pos, void *data, void *scale)                        \
    {                                                                                              \
        assert(pos + n_tok <= LLRT_PAGE_TOK);                                                      \
        for (size_t t = 0; t < n_tok; t++) {                                                       \
            const float *const row = x + t * x_stride;                                             \
            type *const to = (type *)data + pos + t;                                               \
            size_t d = 0;                                                                          \
            for (; d + 32 <= dim; d += 32) scatter_##kind(row + d, 32, to + d * LLRT_PAGE_TOK);    \
            if (d < dim) scatter_##kind(row + d, dim - d, to + d * LLRT_PAGE_TOK);                 \
        }                                                                                          \
    }                                                                                              \
    void KERNEL(kv_store_v_f32_##kind)(const float *x, size_t x_stride, size_t n_tok, size_t dim,  \
                                       size_t pos, void *data, void *scale)                        \
    {                                                                                              \
        assert(pos + n_tok <= LLRT_PAGE_TOK);                                                      \
        for (size_t t = 0; t < n_tok; t++)                                                         \
            convert_##kind(x + t * x_stride, dim, (type *)data + (pos + t) * dim);                 \
    }

STORE(f32, float)
STORE(f16, uint16_t)
STORE(bf16, uint16_t)

void KERNEL(kv_store_k_f32_q8_0)(const float *x, size_t x_stride, size_t n_tok, size_t dim,
                                 size_t pos, void *data, void *scale)
{
    assert(pos + n_tok <= LLRT_PAGE_TOK);
    uint16_t *const scales = scale;
    for (size_t t = 0; t < n_tok; t++)
        for (size_t d = 0; d < dim; d += LLRTI_KV_BLOCK) {
            int8_t buffer[LLRTI_KV_BLOCK];
            const size_t n = dim - d < LLRTI_KV_BLOCK ? dim - d : LLRTI_KV_BLOCK;
            int8_t *const to = (int8_t *)data + d * LLRT_PAGE_TOK + pos + t;
            scales[d / LLRTI_KV_BLOCK * LLRT_PAGE_TOK + pos + t] =
                quantise_block(x + t * x_stride + d, n, buffer);
            for (size_t i = 0; i < n; i++) to[i * LLRT_PAGE_TOK] = buffer[i];
        }
}

void KERNEL(kv_store_v_f32_q8_0)(const float *x, size_t x_stride, size_t n_tok, size_t dim,
                                 size_t pos, void *data, void *scale)
{
    assert(pos + n_tok <= LLRT_PAGE_TOK);
    uint16_t *const scales = scale;
    const size_t n_block = (dim + LLRTI_KV_BLOCK - 1) / LLRTI_KV_BLOCK;
    for (size_t t = 0; t < n_tok; t++)
        for (size_t d = 0; d < dim; d += LLRTI_KV_BLOCK) {
            const size_t n = dim - d < LLRTI_KV_BLOCK ? dim - d : LLRTI_KV_BLOCK;
            scales[(pos + t) * n_block + d / LLRTI_KV_BLOCK] =
                quantise_block(x + t * x_stride + d, n, (int8_t *)data + (pos + t) * dim + d);
        }
}
