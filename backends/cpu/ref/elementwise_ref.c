/* SPDX-License-Identifier: MIT */
/*
 * Reference kernels that work element by element: one function of cpu_math.h per activation, alone and gated.
 */
#include "cpu_math.h"
#include "ops.h"

void llrtk_add_f32_ref(size_t n, const float *a, const float *b, float *y)
{
    for (size_t i = 0; i < n; i++) y[i] = a[i] + b[i];
}

void llrtk_mul_f32_ref(size_t n, const float *a, const float *b, float *y)
{
    for (size_t i = 0; i < n; i++) y[i] = a[i] * b[i];
}

void llrtk_sigmoid_gate_f32_ref(size_t n, const float *a, const float *b, float *y)
{
    for (size_t i = 0; i < n; i++) y[i] = a[i] * llrti_math_sigmoid(b[i]);
}

void llrtk_scale_f32_ref(size_t n, const float *x, float c, float *y)
{
    for (size_t i = 0; i < n; i++) y[i] = x[i] * c;
}

void llrtk_soft_cap_f32_ref(size_t n, const float *x, float c, float *y)
{
    for (size_t i = 0; i < n; i++) y[i] = c * llrti_math_tanh(x[i] / c);
}

void llrtk_limit_f32_ref(size_t n, const float *a, const float *b, float limit, float offset,
                         float *ya, float *yb)
{
    for (size_t i = 0; i < n; i++) {
        float u = a[i], v = b[i];
        if (limit != 0) {
            u = u > limit ? limit : u;
            v = v > limit ? limit : v;
            v = v < -limit ? -limit : v;
        }
        ya[i] = u;
        yb[i] = offset != 0 ? v + offset : v;
    }
}

#define ACTIVATION(act)                                                                            \
    void llrtk_activate_##act##_f32_ref(size_t n, const float *x, float *y)                        \
    {                                                                                              \
        for (size_t i = 0; i < n; i++) y[i] = llrti_math_##act(x[i]);                              \
    }                                                                                              \
    void llrtk_glu_##act##_f32_ref(size_t n, const float *a, const float *b, float *y)             \
    {                                                                                              \
        for (size_t i = 0; i < n; i++) y[i] = llrti_math_##act(a[i]) * b[i];                       \
    }

ACTIVATION(silu)
ACTIVATION(gelu)
ACTIVATION(gelu_tanh)
ACTIVATION(relu)
ACTIVATION(relu2)
ACTIVATION(gelu_quick)
ACTIVATION(sigmoid)
ACTIVATION(tanh)
