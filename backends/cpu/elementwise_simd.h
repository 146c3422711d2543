/* SPDX-License-Identifier: MIT */
/*
 * Element-by-element kernels in 16 lanes, the rest of fewer than 16 elements by the scalar functions. A file for one
 * ISA includes its simd_<isa>.h and this. A vector of inputs is read whole before its outputs are written, so y may be an input.
 */
#include "ops.h"
#include "simd_math.h"

void KERNEL(add_f32)(size_t n, const float *a, const float *b, float *y)
{
    size_t i = 0;
    for (; i + 16 <= n; i += 16) v_store(y + i, v_add(v_load(a + i), v_load(b + i)));
    for (; i < n; i++) y[i] = a[i] + b[i];
}

void KERNEL(mul_f32)(size_t n, const float *a, const float *b, float *y)
{
    size_t i = 0;
    for (; i + 16 <= n; i += 16) v_store(y + i, v_mul(v_load(a + i), v_load(b + i)));
    for (; i < n; i++) y[i] = a[i] * b[i];
}

void KERNEL(sigmoid_gate_f32)(size_t n, const float *a, const float *b, float *y)
{
    size_t i = 0;
    for (; i + 16 <= n; i += 16) v_store(y + i, v_mul(v_load(a + i), v_sigmoid(v_load(b + i))));
    for (; i < n; i++) y[i] = a[i] * llrti_math_sigmoid(b[i]);
}

void KERNEL(scale_f32)(size_t n, const float *x, float c, float *y)
{
    size_t i = 0;
    for (; i + 16 <= n; i += 16) v_store(y + i, v_mul(v_load(x + i), v_set(c)));
    for (; i < n; i++) y[i] = x[i] * c;
}

void KERNEL(soft_cap_f32)(size_t n, const float *x, float c, float *y)
{
    size_t i = 0;
    for (; i + 16 <= n; i += 16)
        v_store(y + i, v_mul(v_set(c), v_tanh(v_div(v_load(x + i), v_set(c)))));
    for (; i < n; i++) y[i] = c * llrti_math_tanh(x[i] / c);
}

void KERNEL(limit_f32)(size_t n, const float *a, const float *b, float limit, float offset,
                       float *ya, float *yb)
{
    /* no limit is one that nothing exceeds; adding no offset would lose the sign of zeros */
    const float high = limit != 0 ? limit : INFINITY;
    size_t i = 0;
    for (; i + 16 <= n; i += 16) {
        const v16 v = v_max(v_set(-high), v_min(v_set(high), v_load(b + i)));
        v_store(ya + i, v_min(v_set(high), v_load(a + i)));
        v_store(yb + i, offset != 0 ? v_add(v, v_set(offset)) : v);
    }
    for (; i < n; i++) {
        float v = b[i] > high ? high : b[i];
        v = v < -high ? -high : v;
        ya[i] = a[i] > high ? high : a[i];
        yb[i] = offset != 0 ? v + offset : v;
    }
}

#define ACTIVATION(act)                                                                            \
    void KERNEL(activate_##act##_f32)(size_t n, const float *x, float *y)                          \
    {                                                                                              \
        size_t i = 0;                                                                              \
        for (; i + 16 <= n; i += 16) v_store(y + i, v_##act(v_load(x + i)));                       \
        for (; i < n; i++) y[i] = llrti_math_##act(x[i]);                                          \
    }                                                                                              \
    void KERNEL(glu_##act##_f32)(size_t n, const float *a, const float *b, float *y)               \
    {                                                                                              \
        size_t i = 0;                                                                              \
        for (; i + 16 <= n; i += 16) v_store(y + i, v_mul(v_##act(v_load(a + i)), v_load(b + i))); \
        for (; i < n; i++) y[i] = llrti_math_##act(a[i]) * b[i];                                   \
    }

ACTIVATION(silu)
ACTIVATION(gelu)
ACTIVATION(gelu_tanh)
ACTIVATION(relu)
ACTIVATION(relu2)
ACTIVATION(gelu_quick)
ACTIVATION(sigmoid)
ACTIVATION(tanh)
