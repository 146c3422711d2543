/* SPDX-License-Identifier: MIT */
/*
 * The arithmetic of the hostile test backend.
 *
 * The CPU backend defines every result by an order of float operations, and this file carries that
 * definition out a second time, in scalar code that shares no line with it: fmaf where the
 * definition fuses, separate operations everywhere else, sums over 16 lanes where it says so,
 * attention in tiles of absolute positions merged from left to right. Constants are part of the
 * definition. Compiled without contraction; pure functions, any thread.
 */
#include "hostile.h"

#include <float.h>
#include <math.h>
#include <string.h>

static uint32_t to_bits(float x)
{
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    return u;
}

static float from_bits(uint32_t u)
{
    float x;
    memcpy(&x, &u, sizeof x);
    return x;
}

/* c[0] + c[1] x + ... by Horner's rule with fused operations. */
static float polynomial(const float *c, int n, float x)
{
    float p = c[n - 1];
    for (int i = n - 2; i >= 0; i--) p = fmaf(p, x, c[i]);
    return p;
}

static float power_of_two(int32_t n)
{
    return from_bits((uint32_t)(n + 127) << 23);
}

float hostile_exp(float x)
{
    static const float c[] = {1.0f,           1.0f,           0x1p-1f,        0x1.5554dcp-3f,
                              0x1.55551ap-5f, 0x1.120bacp-7f, 0x1.6d1146p-10f};
    if (x < -104.0f) x = -104.0f;
    if (x > 89.0f) x = 89.0f;
    if (x != x) return x;
    const float n = fmaf(x, 0x1.715476p+0f, 12582912.0f) - 12582912.0f;
    const float r = fmaf(n, -0x1.7f7d1cp-20f, fmaf(n, -0x1.62e400p-1f, x));
    const int32_t k = (int32_t)n;
    const int32_t half = k >= 0 ? k / 2 : -((1 - k) / 2);
    return polynomial(c, 7, r) * power_of_two(half) * power_of_two(k - half);
}

float hostile_sigmoid(float x)
{
    return 1.0f / (1.0f + hostile_exp(-x));
}

static float with_sign_of(float magnitude, float x)
{
    return from_bits(to_bits(magnitude) | (to_bits(x) & 0x80000000u));
}

float hostile_tanh(float x)
{
    static const float c[] = {-0x1.555556p-2f, 0x1.1110e4p-3f,  -0x1.ba0718p-5f,
                              0x1.648e8ep-6f,  -0x1.10bbf4p-7f, 0x1.2977d8p-9f};
    const float y = x * x;
    if (fabsf(x) < 0.625f) return fmaf(x * y, polynomial(c, 6, y), x);
    const float e = hostile_exp(-2.0f * fabsf(x));
    return with_sign_of((1.0f - e) / (1.0f + e), x);
}

static float compute_erf(float x)
{
    static const float low[] = {0x1.06eba8p-3f, -0x1.812742p-2f,  0x1.ce2ddap-4f, -0x1.b80a72p-6f,
                                0x1.549f5ep-8f, -0x1.a8d37ep-11f, 0x1.581b9ap-14f};
    static const float high[] = {-0x1.25709ep-11f, -0x1.2065acp+0f, -0x1.46cd08p-1f,
                                 -0x1.a97a64p-4f,  0x1.764058p-6f,  -0x1.c910c4p-9f,
                                 0x1.536cb8p-12f,  -0x1.c8f3cep-17f};
    if (fabsf(x) < 0.9375f) return fmaf(x, polynomial(low, 7, x * x), x);
    const float t = fabsf(x) > 4.0f ? 4.0f : fabsf(x);
    return with_sign_of(1.0f - hostile_exp(polynomial(high, 8, t)), x);
}

float hostile_activate(llrt_activation act, float x)
{
    const float h = 0.5f * x;
    switch (act) {
    case LLRT_ACT_SILU:
        return x / (1.0f + hostile_exp(-x));
    case LLRT_ACT_GELU:
        return fmaf(h, compute_erf(x * 0x1.6a09e6p-1f), h);
    case LLRT_ACT_GELU_TANH:
        return fmaf(h, hostile_tanh(x * 0x1.988454p-1f * fmaf(x * x, 0x1.6e4e26p-5f, 1.0f)), h);
    case LLRT_ACT_RELU:
        return x < 0.0f ? 0.0f : x;
    case LLRT_ACT_RELU2:
        return x < 0.0f ? 0.0f : x * x;
    case LLRT_ACT_GELU_QUICK:
        return x / (1.0f + hostile_exp(-(x * 0x1.b3b646p+0f)));
    case LLRT_ACT_SIGMOID:
        return hostile_sigmoid(x);
    default:
        return hostile_tanh(x);
    }
}

/* log(1 + exp(x)) = max(x, 0) + log1p(e), e = exp(-|x|), log1p(e) = 2 atanh(e / (2 + e)). */
float hostile_softplus(float x)
{
    static const float c[] = {2.0f,
                              (float)(2.0 / 3),
                              (float)(2.0 / 5),
                              (float)(2.0 / 7),
                              (float)(2.0 / 9),
                              (float)(2.0 / 11),
                              (float)(2.0 / 13),
                              (float)(2.0 / 15)};
    const float e = hostile_exp(-fabsf(x)), s = e / (2.0f + e);
    const float r = s * polynomial(c, 8, s * s);
    return x != x ? x : (x > 0.0f ? x : 0.0f) + r;
}

float hostile_glu(llrt_activation act, float limit, float offset, float a, float b)
{
    if (limit > 0.0f) {
        if (a > limit) a = limit;
        if (b > limit) b = limit;
        if (b < -limit) b = -limit;
    }
    if (offset != 0.0f) b += offset;
    return hostile_activate(act, a) * b;
}

/* Sum of 16 lanes: i with i + 8, then 4, 2, 1 apart. */
static float sum_lanes(float *lane)
{
    for (int n = 8; n > 0; n /= 2)
        for (int i = 0; i < n; i++) lane[i] += lane[i + n];
    return lane[0];
}

void hostile_rms_norm(const float *x, const float *w, float *out, size_t n, const llrt_op *op)
{
    float lane[16] = {0};
    for (size_t i = 0; i < n; i++) lane[i % 16] = fmaf(x[i], x[i], lane[i % 16]);
    const float scale = 1.0f / sqrtf(sum_lanes(lane) / (float)n + op->u.norm.eps);
    for (size_t i = 0; i < n; i++) {
        const float y = x[i] * scale;
        out[i] = w ? y * (w[i] + op->u.norm.weight_offset) : y;
    }
}

void hostile_layer_norm(const float *x, const float *w, const float *bias, float *out, size_t n,
                        float eps)
{
    float lane[16] = {0};
    for (size_t i = 0; i < n; i++) lane[i % 16] += x[i];
    const float mean = sum_lanes(lane) / (float)n;
    memset(lane, 0, sizeof lane);
    for (size_t i = 0; i < n; i++) lane[i % 16] = fmaf(x[i] - mean, x[i] - mean, lane[i % 16]);
    const float scale = 1.0f / sqrtf(sum_lanes(lane) / (float)n + eps);
    for (size_t i = 0; i < n; i++) {
        const float y = (x[i] - mean) * scale;
        if (w && bias)
            out[i] = fmaf(y, w[i], bias[i]);
        else
            out[i] = w ? y * w[i] : bias ? y + bias[i] : y;
    }
}

/*
 * Sine and cosine in double, each operation rounded: quarter turns off in three parts, then Taylor
 * series.
 */
static void compute_sincos(double angle, double *sine, double *cosine)
{
    static const double factorial[] = {
        1.0 / 6.0,        1.0 / 120.0,        1.0 / 5040.0,         1.0 / 362880.0,
        1.0 / 39916800.0, 1.0 / 6227020800.0, 1.0 / 1307674368000.0};
    static const double even[] = {
        1.0 / 24.0,        1.0 / 720.0,         1.0 / 40320.0,         1.0 / 3628800.0,
        1.0 / 479001600.0, 1.0 / 87178291200.0, 1.0 / 20922789888000.0};
    const double n = angle * 0x1.45f306dc9c883p-1 + 0x1.8p52 - 0x1.8p52;
    double r = angle - n * 0x1.921fb5440p+0;
    r -= n * 0x1.0b4611a60p-34;
    r -= n * 0x1.3198a2e037073p-69;
    const double y = r * r;
    double s = -factorial[6], c = even[6];
    for (int i = 5; i >= 0; i--) {
        s = (i % 2 ? factorial[i] : -factorial[i]) + y * s;
        c = (i % 2 ? -even[i] : even[i]) + y * c;
    }
    s = r + r * (y * s);
    c = 1.0 - 0.5 * y + y * y * c;
    const int quarter = (int)(((long long)n % 4 + 4) % 4);
    *sine = quarter == 0 ? s : quarter == 1 ? c : quarter == 2 ? -s : -c;
    *cosine = quarter == 0 ? c : quarter == 1 ? -s : quarter == 2 ? -c : s;
}

void hostile_rope(const llrt_op *op, const float *x, float *out, size_t width,
                  const int32_t *position)
{
    const uint8_t *const axis = op->u.rope.axis;
    const uint32_t half = op->u.rope.n_rot / 2;
    for (size_t i = op->u.rope.n_rot; i < width; i++) out[i] = x[i];
    for (uint32_t i = 0; i < half; i++) {
        const bool is_adjacent = op->u.rope.pairs == LLRT_ROPE_ADJACENT;
        const uint32_t a = is_adjacent ? 2 * i : i, b = is_adjacent ? 2 * i + 1 : i + half;
        double s, c;
        compute_sincos((double)position[axis ? axis[i] : 0] * (double)op->u.rope.inv_freq[i], &s,
                       &c);
        const float sine = (float)(s * (double)op->u.rope.magnitude);
        const float cosine = (float)(c * (double)op->u.rope.magnitude);
        const float xa = x[a], xb = x[b];
        const float sa = xa * sine, sb = xb * sine;
        out[a] = fmaf(xa, cosine, -sb);
        out[b] = fmaf(xb, cosine, sa);
    }
}

float hostile_dot(const float *w, const float *x, size_t k)
{
    float sum = 0;
    for (size_t i = 0; i < k; i++) sum = fmaf(w[i], x[i], sum);
    return sum;
}

float hostile_dot_int8(const hostile_type *type, const unsigned char *from, const float *x,
                       size_t k)
{
    float sum = 0;
    for (size_t b = 0; b < k / 32; b++, from += type->block_bytes, x += 32) {
        float largest = 0;
        bool is_finite = true;
        for (int i = 0; i < 32; i++) {
            is_finite = is_finite && isfinite(x[i]);
            if (fabsf(x[i]) > largest) largest = fabsf(x[i]);
        }
        const bool is_zero = !is_finite || largest < 0x1p-100f;
        const float scale = !is_finite ? NAN : is_zero ? 0.0f : largest / 127.0f;
        const float inverse = is_zero ? 0.0f : 127.0f / largest;
        const float weight_scale = hostile_f16_widen((uint16_t)(from[0] | from[1] << 8));
        int32_t dot = 0;
        for (int i = 0; i < 32; i++) {
            const int nibble = i < 16 ? from[2 + i] & 15 : from[2 + i - 16] >> 4;
            const int w = type->type == LLRT_TYPE_Q8_0 ? (int8_t)from[2 + i] : nibble - 8;
            dot += is_zero ? 0 : w * (int)(x[i] * inverse + 12582912.0f - 12582912.0f);
        }
        sum = fmaf(weight_scale * scale, (float)dot, sum);
    }
    return sum;
}

/* ---- Attention ---- */

void hostile_attention_begin(hostile_attention *a)
{
    a->has_tile = false;
    a->max = -INFINITY;
    a->sum = 0;
    for (size_t i = 0; i < a->v_dim; i++) a->out[i] = 0;
}

void hostile_attention_tile(hostile_attention *a)
{
    const float cap = a->op->u.attention.soft_cap;
    float score[LLRT_PAGE_TOK], max = -INFINITY, lane[16] = {0};
    for (uint32_t j = a->begin; j < a->end; j++) {
        hostile_kv_load(a->kv_type, a->k + j * a->k_stride, a->row, a->k_dim);
        score[j] = hostile_dot(a->row, a->q, a->k_dim) * a->op->u.attention.scale;
        if (cap > 0) score[j] = cap * hostile_tanh(score[j] / cap);
        if (a->slope) score[j] = fmaf(*a->slope, (float)(a->distance + (int32_t)j), score[j]);
        if (score[j] > max) max = score[j];
    }
    for (size_t i = 0; i < a->v_dim; i++) a->tile[i] = 0;
    for (uint32_t j = a->begin; j < a->end; j++) {
        const float p = hostile_exp(score[j] - max);
        lane[j % 16] += p;
        hostile_kv_load(a->kv_type, a->v + j * a->v_stride, a->row, a->v_dim);
        for (size_t i = 0; i < a->v_dim; i++) a->tile[i] = fmaf(p, a->row[i], a->tile[i]);
    }
    const float sum = sum_lanes(lane);
    if (!a->has_tile) {
        a->max = max;
        a->sum = sum;
        memcpy(a->out, a->tile, a->v_dim * sizeof *a->out);
        a->has_tile = true;
        return;
    }
    const float both = max > a->max ? max : a->max;
    const float left = hostile_exp(a->max - both), right = hostile_exp(max - both);
    a->sum = fmaf(a->sum, left, sum * right);
    for (size_t i = 0; i < a->v_dim; i++) a->out[i] = fmaf(a->out[i], left, a->tile[i] * right);
    a->max = both;
}

void hostile_attention_end(hostile_attention *a)
{
    float scale = 1.0f / a->sum;
    if (a->sink) { /* one more score, without a value */
        const float max = *a->sink > a->max ? *a->sink : a->max;
        const float left = hostile_exp(a->max - max), right = hostile_exp(*a->sink - max);
        scale = left / fmaf(a->sum, left, right);
    }
    for (size_t i = 0; i < a->v_dim; i++) a->out[i] *= scale;
}

/* ---- Selection ---- */

float hostile_clean(float logit)
{
    if (!(logit > -INFINITY)) return -INFINITY; /* NaN too */
    if (logit > FLT_MAX) return FLT_MAX;
    return logit == 0 ? 0.0f : logit;
}

/* Selection has an exponential of its own, without fused operations; x <= 0 here. */
static float compute_exp(float x)
{
    static const float c[] = {0x1.fffffcp-2f, 0x1.555492p-3f, 0x1.5558f4p-5f, 0x1.123a22p-7f,
                              0x1.6a23c2p-10f};
    if (x < -0x1.5d589ep6f) return 0;
    const float n = x * 0x1.715476p0f + 12582912.0f - 12582912.0f;
    const float r = x - n * 0.693359375f - n * -0x1.bd0106p-13f;
    float p = c[4];
    for (int i = 3; i >= 0; i--) p = p * r + c[i];
    p = 1.0f + (r + r * r * p);
    return from_bits(to_bits(p) + ((uint32_t)(int32_t)n << 23));
}

/* x = 2^k (1 + f), 1 + f around 1; with s = f / (2 + f) a series in s^2. x >= 1 here. */
static double compute_log(double x)
{
    int k;
    double m = frexp(x, &k); /* [1/2, 1) */
    if (m < 0x1.6a09e667f3bcdp-1) {
        m *= 2;
        k--;
    }
    const double f = m - 1.0, s = f / (2.0 + f), z = s * s;
    double p = 2.0 / 23;
    for (int i = 21; i >= 3; i -= 2) p = p * z + 2.0 / i;
    const double rest = s * (f - z * p);
    return k * 0x1.62e42feep-1 - ((rest - k * 0x1.a39ef35793c76p-33) - f);
}

double hostile_log_sum_exp(const float *logit, size_t n)
{
    float max = -INFINITY;
    double total[16] = {0};
    for (size_t i = 0; i < n; i++)
        if (logit[i] > max) max = logit[i];
    if (max == -INFINITY) return -INFINITY;
    for (size_t begin = 0; begin < n; begin += 1024) { /* lanes in float within a block */
        float lane[16] = {0};
        for (size_t i = begin; i < n && i < begin + 1024; i++)
            lane[i % 16] += compute_exp(logit[i] - max);
        for (int i = 0; i < 16; i++) total[i] += (double)lane[i];
    }
    for (int half = 8; half > 0; half /= 2)
        for (int i = 0; i < half; i++) total[i] += total[i + half];
    return (double)max + compute_log(total[0]);
}
