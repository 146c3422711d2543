/* SPDX-License-Identifier: MIT */
/*
 * Reference kernels that write KV tiles: K transposed (a position per lane), V as rows.
 */
#include <assert.h>

#include "cpu_math.h"
#include "ops.h"

#define STORE(kind, type, convert)                                                                 \
    void llrtk_kv_store_k_f32_##kind##_ref(const float *x, size_t x_stride, size_t n_tok,          \
                                           size_t dim, size_t pos, void *data, void *scale)        \
    {                                                                                              \
        assert(pos + n_tok <= LLRT_PAGE_TOK);                                                      \
        type *const k = data;                                                                      \
        for (size_t t = 0; t < n_tok; t++)                                                         \
            for (size_t d = 0; d < dim; d++)                                                       \
                k[d * LLRT_PAGE_TOK + pos + t] = convert(x[t * x_stride + d]);                     \
    }                                                                                              \
    void llrtk_kv_store_v_f32_##kind##_ref(const float *x, size_t x_stride, size_t n_tok,          \
                                           size_t dim, size_t pos, void *data, void *scale)        \
    {                                                                                              \
        assert(pos + n_tok <= LLRT_PAGE_TOK);                                                      \
        type *const v = data;                                                                      \
        for (size_t t = 0; t < n_tok; t++)                                                         \
            for (size_t d = 0; d < dim; d++)                                                       \
                v[(pos + t) * dim + d] = convert(x[t * x_stride + d]);                             \
    }

#define KEEP(x) (x)
STORE(f32, float, KEEP)
STORE(f16, uint16_t, llrti_float_to_f16)
STORE(bf16, uint16_t, llrti_float_to_bf16)

/* One block of n <= 32 values to int8 at q, q + q_stride, ...; returns the scale. */
static uint16_t quantise_block(const float *x, size_t n, int8_t *q, size_t q_stride)
{
    float a = 0;
    for (size_t i = 0; i < n; i++) {
        const float magnitude = llrti_bits_float(llrti_float_bits(x[i]) & 0x7fffffffu);
        a = magnitude > a ? magnitude : a;
    }
    const float d = a / 127.0f, inv = d > 0.0f ? 1.0f / d : 0.0f;
    for (size_t i = 0; i < n; i++) {
        const float scaled = x[i] * inv;
        const uint8_t low = (uint8_t)llrti_float_bits(scaled + LLRTI_MATH_MAGIC);
        memcpy(q + i * q_stride, &low, 1);
    }
    return llrti_float_to_f16(d);
}

void llrtk_kv_store_k_f32_q8_0_ref(const float *x, size_t x_stride, size_t n_tok, size_t dim,
                                   size_t pos, void *data, void *scale)
{
    assert(pos + n_tok <= LLRT_PAGE_TOK);
    int8_t *const k = data;
    uint16_t *const scales = scale;
    for (size_t t = 0; t < n_tok; t++)
        for (size_t d = 0; d < dim; d += LLRTI_KV_BLOCK) {
            const size_t n = dim - d < LLRTI_KV_BLOCK ? dim - d : LLRTI_KV_BLOCK;
            scales[d / LLRTI_KV_BLOCK * LLRT_PAGE_TOK + pos + t] = quantise_block(
                x + t * x_stride + d, n, k + d * LLRT_PAGE_TOK + pos + t, LLRT_PAGE_TOK);
        }
}

void llrtk_kv_store_v_f32_q8_0_ref(const float *x, size_t x_stride, size_t n_tok, size_t dim,
                                   size_t pos, void *data, void *scale)
{
    assert(pos + n_tok <= LLRT_PAGE_TOK);
    int8_t *const v = data;
    uint16_t *const scales = scale;
    const size_t n_block = (dim + LLRTI_KV_BLOCK - 1) / LLRTI_KV_BLOCK;
    for (size_t t = 0; t < n_tok; t++)
        for (size_t d = 0; d < dim; d += LLRTI_KV_BLOCK) {
            const size_t n = dim - d < LLRTI_KV_BLOCK ? dim - d : LLRTI_KV_BLOCK;
            scales[(pos + t) * n_block + d / LLRTI_KV_BLOCK] =
                quantise_block(x + t * x_stride + d, n, v + (pos + t) * dim + d, 1);
        }
}
