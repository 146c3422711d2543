/* SPDX-License-Identifier: MIT */
/*
 * Double-precision meaning of small networks; see net_reference.h. Written for reading: each
 * operator is its formula over the rows of a sequence.
 */
#include "net_reference.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static size_t width_of(const net *n, uint32_t value)
{
    return (size_t)n->value[value].n_head * n->value[value].width;
}

static double weight_at(const net *n, uint32_t tensor, uint64_t row, uint64_t i)
{
    float x;
    memcpy(&x, n->data[tensor] + row * n->row_bytes[tensor] + 4 * i, sizeof x);
    return (double)x;
}

void reference_create(reference *r, const net *n)
{
    memset(r, 0, sizeof *r);
    r->n = n;
    for (uint32_t i = 0; i < n->n_tensor; i++) {
        const llrt_tensor_desc *const t = &n->tensor[i];
        r->square[i] = calloc(t->dim[0] * t->dim[2], sizeof(double));
        r->count[i] = calloc(t->dim[2], sizeof(uint64_t));
    }
}

void reference_free(reference *r)
{
    for (uint32_t i = 0; i < NET_MAX; i++) {
        free(r->value[i]);
        free(r->square[i]);
        free(r->count[i]);
    }
}

static double sigmoid(double x)
{
    return 1 / (1 + exp(-x));
}

static double activate(llrt_activation act, double x)
{
    switch (act) {
    case LLRT_ACT_SILU:
        return x * sigmoid(x);
    case LLRT_ACT_GELU:
        return x * (1 + erf(x / sqrt(2))) / 2;
    case LLRT_ACT_GELU_TANH:
        return x / 2 * (1 + tanh(sqrt(2 / acos(-1)) * (x + 0.044715 * x * x * x)));
    case LLRT_ACT_RELU:
        return fmax(x, 0);
    case LLRT_ACT_RELU2:
        return x > 0 ? x * x : 0;
    case LLRT_ACT_GELU_QUICK:
        return x * sigmoid(1.702 * x);
    case LLRT_ACT_SIGMOID:
        return sigmoid(x);
    default:
        return tanh(x);
    }
}

static double gate(llrt_activation act, double limit, double offset, double a, double b)
{
    if (limit == 0) return activate(act, a) * (b + offset);
    return activate(act, fmin(a, limit)) * (fmax(fmin(b, limit), -limit) + offset);
}

static double softplus(double x)
{
    return log1p(exp(x));
}

/* ---- Row by row ---- */

static void measure(reference *r, const llrt_op *op, uint32_t tensor, uint64_t index,
                    const double *x)
{
    const uint64_t k = r->n->tensor[tensor].dim[0];
    if (r->n->value[op->out].rows != LLRT_ROWS_TOKEN) return;
    for (uint64_t i = 0; i < k; i++) r->square[tensor][index * k + i] += x[i] * x[i];
    r->count[tensor][index]++;
}

/* Matrix `index` of a tensor times x. */
static void multiply(reference *r, const llrt_op *op, uint32_t tensor, uint64_t index,
                     const double *x, double *out)
{
    const llrt_tensor_desc *const t = &r->n->tensor[tensor];
    for (uint64_t o = 0; o < t->dim[1]; o++) {
        out[o] = 0;
        for (uint64_t i = 0; i < t->dim[0]; i++)
            out[o] += weight_at(r->n, tensor, index * t->dim[1] + o, i) * x[i];
    }
    measure(r, op, tensor, index, x);
}

static void linear(reference *r, const llrt_op *op, const reference_input *in, const double *x,
                   double *out)
{
    const net *const n = r->n;
    const uint64_t d_in = n->tensor[op->weight[0]].dim[0], d_out = n->tensor[op->weight[0]].dim[1];
    for (uint64_t h = 0; h < n->tensor[op->weight[0]].dim[2]; h++)
        multiply(r, op, op->weight[0], h, x + h * d_in, out + h * d_out);
    for (uint64_t o = 0; o < d_out && op->weight[1] != LLRT_NONE; o++)
        out[o] += weight_at(n, op->weight[1], 0, o);
    for (uint32_t i = 0; i < in->n_adapter; i++)
        for (uint32_t p = 0; p < in->adapter[i].n_part; p++) {
            const llrt_adapter_part *const part = &in->adapter[i].part[p];
            for (uint32_t k = 0; part->tensor == op->weight[0] && k < part->rank; k++) {
                double low = 0;
                for (uint64_t j = 0; j < d_in; j++) low += (double)part->a[k * d_in + j] * x[j];
                for (uint64_t o = 0; o < d_out; o++)
                    out[o] +=
                        (double)in->adapter[i].scale * low * (double)part->b[o * part->rank + k];
            }
        }
}

/* Experts in falling order of `by`, of those in the best groups. */
static void rank_experts(const llrt_op *op, const double *by, uint32_t n, uint32_t *order)
{
    const uint32_t n_group = op->u.experts.n_group > 1 ? op->u.experts.n_group : 1;
    const uint32_t size = n / n_group;
    double score[64];
    for (uint32_t g = 0; g < n_group; g++) {
        double best[2] = {-INFINITY, -INFINITY};
        for (uint32_t i = g * size; i < (g + 1) * size; i++) {
            if (by[i] > best[0]) {
                best[1] = best[0];
                best[0] = by[i];
            } else if (by[i] > best[1]) {
                best[1] = by[i];
            }
        }
        score[g] = op->u.experts.is_group_sum ? best[0] + best[1] : best[0];
    }
    uint32_t count = 0;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t better = 0;
        for (uint32_t g = 0; g < n_group; g++)
            better += score[g] > score[i / size] || (score[g] == score[i / size] && g < i / size);
        if (n_group > 1 && better >= op->u.experts.n_group_used) continue;
        uint32_t at = count++;
        for (; at > 0 && by[order[at - 1]] < by[i]; at--) order[at] = order[at - 1];
        order[at] = i;
    }
}

static void mix(reference *r, const llrt_op *op, const double *x, const double *logit, double *out)
{
    const net *const n = r->n;
    const uint32_t n_expert = (uint32_t)width_of(n, op->in[1]);
    const uint64_t d_ff = n->tensor[op->weight[1]].dim[1], d_out = n->tensor[op->weight[2]].dim[1];
    double score[64], by[64], weight[64], total = 0, kept = 0;
    uint32_t order[64] = {0};
    for (uint32_t i = 0; i < n_expert; i++) total += exp(logit[i]);
    for (uint32_t i = 0; i < n_expert; i++) {
        score[i] = op->u.experts.router == LLRT_ROUTER_SIGMOID   ? sigmoid(logit[i])
                   : op->u.experts.router == LLRT_ROUTER_SOFTMAX ? exp(logit[i]) / total
                                                                 : logit[i];
        by[i] = score[i] + (op->weight[6] == LLRT_NONE ? 0 : weight_at(n, op->weight[6], 0, i));
    }
    rank_experts(op, by, n_expert, order);
    for (uint32_t k = 0; k < op->u.experts.n_used; k++) {
        weight[k] = op->u.experts.router == LLRT_ROUTER_SOFTMAX_CHOSEN ? exp(score[order[k]])
                                                                       : score[order[k]];
        kept += weight[k];
    }
    double *const a = calloc(d_ff, sizeof *a), *const b = calloc(d_ff, sizeof *b);
    double *const y = calloc(d_out, sizeof *y);
    for (uint64_t o = 0; o < d_out; o++) out[o] = 0;
    for (uint32_t k = 0; k < op->u.experts.n_used; k++) {
        const uint32_t e = order[k];
        if (op->u.experts.is_normalized || op->u.experts.router == LLRT_ROUTER_SOFTMAX_CHOSEN)
            weight[k] /= kept;
        multiply(r, op, op->weight[1], e, x, b);
        if (op->weight[0] != LLRT_NONE) multiply(r, op, op->weight[0], e, x, a);
        for (uint64_t i = 0; i < d_ff; i++) {
            if (op->weight[3] != LLRT_NONE) a[i] += weight_at(n, op->weight[3], e, i);
            if (op->weight[4] != LLRT_NONE) b[i] += weight_at(n, op->weight[4], e, i);
            b[i] = op->weight[0] == LLRT_NONE ? activate(op->u.experts.act, b[i])
                                              : gate(op->u.experts.act, (double)op->u.experts.limit,
                                                     (double)op->u.experts.offset, a[i], b[i]);
        }
        multiply(r, op, op->weight[2], e, b, y);
        for (uint64_t o = 0; o < d_out; o++) {
            if (op->weight[5] != LLRT_NONE) y[o] += weight_at(n, op->weight[5], e, o);
            out[o] += (double)op->u.experts.scale * weight[k] * y[o];
        }
    }
    free(a);
    free(b);
    free(y);
}

static double norm_weight(const net *n, const llrt_op *op, uint32_t w, size_t i, size_t width,
                          double otherwise)
{
    if (op->weight[w] == LLRT_NONE) return otherwise;
    return weight_at(n, op->weight[w], 0, n->tensor[op->weight[w]].dim[0] == width ? i % width : i);
}

static void normalise(const net *n, const llrt_op *op, const double *x, double *out)
{
    const size_t width = n->value[op->out].width;
    const bool is_layer = op->kind == LLRT_OP_LAYER_NORM;
    for (size_t h = 0; h < n->value[op->out].n_head; h++) {
        double mean = 0, square = 0;
        for (size_t i = 0; i < width && is_layer; i++) mean += x[h * width + i] / (double)width;
        for (size_t i = h * width; i < (h + 1) * width; i++)
            square += (x[i] - mean) * (x[i] - mean) / (double)width;
        for (size_t i = h * width; i < (h + 1) * width; i++) {
            const double y = (x[i] - mean) / sqrt(square + (double)op->u.norm.eps);
            const double offset =
                is_layer || op->weight[0] == LLRT_NONE ? 0 : (double)op->u.norm.weight_offset;
            out[i] = y * (norm_weight(n, op, 0, i, width, 1) + offset);
            if (is_layer) out[i] += norm_weight(n, op, 1, i, width, 0);
        }
    }
}

static void rotate(const net *n, const llrt_op *op, const int32_t *position, const double *x,
                   double *out)
{
    const size_t width = n->value[op->out].width, half = op->u.rope.n_rot / 2;
    memcpy(out, x, width_of(n, op->out) * sizeof *out);
    for (size_t h = 0; h < n->value[op->out].n_head; h++)
        for (size_t i = 0; i < half; i++) {
            const bool is_adjacent = op->u.rope.pairs == LLRT_ROPE_ADJACENT;
            const size_t a = h * width + (is_adjacent ? 2 * i : i);
            const size_t b = is_adjacent ? a + 1 : a + half;
            const double angle =
                (double)op->u.rope.inv_freq[i] * position[op->u.rope.axis ? op->u.rope.axis[i] : 0];
            const double s = sin(angle) * (double)op->u.rope.magnitude;
            const double c = cos(angle) * (double)op->u.rope.magnitude;
            out[a] = x[a] * c - x[b] * s;
            out[b] = x[b] * c + x[a] * s;
        }
}

/* ---- Over the sequence ---- */

static bool is_visible(const llrt_op *op, const reference_input *in, uint32_t q, uint32_t k)
{
    const uint32_t window = op->u.attention.window;
    if (op->u.attention.mask == LLRT_MASK_FULL)
        return window == 0 || (k < q ? q - k : k - q) <= window / 2;
    return k < in->end[q] && (window == 0 || k + window > q);
}

static void attend(reference *r, const llrt_op *op, const reference_input *in, uint32_t t)
{
    const net *const n = r->n;
    const llrt_kv_desc *const kv = &n->kv[op->u.attention.kv];
    const uint32_t n_head = n->value[op->in[0]].n_head;
    double *const p = calloc(in->n, sizeof *p);
    for (uint32_t h = 0; h < n_head; h++) {
        const uint32_t g = h / (n_head / kv->n_head);
        const double *const q = r->value[op->in[0]] + ((size_t)t * n_head + h) * kv->k_dim;
        double *const out = r->value[op->out] + ((size_t)t * n_head + h) * kv->v_dim;
        double sum = op->weight[0] == LLRT_NONE ? 0 : exp(weight_at(n, op->weight[0], 0, h));
        memset(out, 0, kv->v_dim * sizeof *out);
        for (uint32_t j = 0; j < in->n; j++) {
            const double *const k = r->value[op->in[1]] + ((size_t)j * kv->n_head + g) * kv->k_dim;
            double score = 0;
            if (!is_visible(op, in, t, j)) continue;
            for (uint32_t i = 0; i < kv->k_dim; i++) score += q[i] * k[i];
            score *= (double)op->u.attention.scale;
            const double cap = (double)op->u.attention.soft_cap;
            if (cap > 0) score = cap * tanh(score / cap);
            if (op->u.attention.slope)
                score += (double)op->u.attention.slope[h] * ((double)j - (double)t);
            p[j] = exp(score);
            sum += p[j];
        }
        for (uint32_t j = 0; j < in->n; j++) {
            const double *const v =
                kv->v_in_k ? r->value[op->in[1]] + ((size_t)j * kv->n_head + g) * kv->k_dim
                           : r->value[op->in[2]] + ((size_t)j * kv->n_head + g) * kv->v_dim;
            if (!is_visible(op, in, t, j)) continue;
            for (uint32_t i = 0; i < kv->v_dim; i++) out[i] += p[j] / sum * v[i];
        }
    }
    free(p);
}

static void convolve(reference *r, const llrt_op *op, uint32_t t)
{
    const net *const n = r->n;
    const size_t width = width_of(n, op->out);
    const uint32_t n_tap = (uint32_t)n->tensor[op->weight[0]].dim[0];
    for (size_t c = 0; c < width; c++) {
        double sum = op->weight[1] == LLRT_NONE ? 0 : weight_at(n, op->weight[1], 0, c);
        for (uint32_t j = 0; j < n_tap; j++)
            if (t + 1 + j >= n_tap)
                sum += weight_at(n, op->weight[0], c, j) *
                       r->value[op->in[0]][(t + 1 + j - n_tap) * width + c];
        r->value[op->out][t * width + c] = sum;
    }
}

static double decay(const net *n, const llrt_op *op, uint32_t h)
{
    const double w = weight_at(n, op->weight[0], 0, h);
    return op->u.scan.is_log_a ? -exp(w) : w;
}

/* S' = g (I - beta k k^T) S + beta k v^T; out = q S'. `state` holds all heads. */
static void apply_delta(reference *r, const llrt_op *op, uint32_t t, double *state)
{
    const net *const n = r->n;
    const uint32_t n_k = n->value[op->in[0]].n_head, k_dim = n->value[op->in[0]].width;
    const uint32_t n_v = n->value[op->in[2]].n_head, v_dim = n->value[op->in[2]].width;
    for (uint32_t h = 0; h < n_v; h++, state += (size_t)k_dim * v_dim) {
        const uint32_t g = op->u.scan.is_tiled ? h % n_k : h / (n_v / n_k);
        const double *const q = r->value[op->in[0]] + ((size_t)t * n_k + g) * k_dim;
        const double *const k = r->value[op->in[1]] + ((size_t)t * n_k + g) * k_dim;
        const double *const v = r->value[op->in[2]] + ((size_t)t * n_v + h) * v_dim;
        const double beta = r->value[op->in[4]][(size_t)t * n_v + h];
        const double a = r->value[op->in[3]][(size_t)t * n_v + h];
        const double keep = exp(decay(n, op, h) * softplus(a + weight_at(n, op->weight[1], 0, h)));
        for (uint32_t e = 0; e < v_dim; e++) {
            double known = 0, out = 0;
            for (uint32_t d = 0; d < k_dim; d++) known += k[d] * keep * state[d * v_dim + e];
            for (uint32_t d = 0; d < k_dim; d++) {
                double *const s = &state[d * v_dim + e];
                *s = keep * *s + k[d] * beta * (v[e] - known);
                out += q[d] * *s;
            }
            r->value[op->out][((size_t)t * n_v + h) * v_dim + e] = out;
        }
    }
}

static void apply_scan(reference *r, const llrt_op *op, uint32_t t, double *state)
{
    const net *const n = r->n;
    const uint32_t n_head = n->value[op->in[0]].n_head, width = n->value[op->in[0]].width;
    const uint32_t n_group = n->value[op->in[2]].n_head, d_state = n->value[op->in[2]].width;
    for (uint32_t h = 0; h < n_head; h++, state += (size_t)d_state * width) {
        const uint32_t g = h / (n_head / n_group);
        const double *const x = r->value[op->in[0]] + ((size_t)t * n_head + h) * width;
        const double *const b = r->value[op->in[2]] + ((size_t)t * n_group + g) * d_state;
        const double *const c = r->value[op->in[3]] + ((size_t)t * n_group + g) * d_state;
        const double dt = fmin(fmax(softplus(r->value[op->in[1]][(size_t)t * n_head + h] +
                                             weight_at(n, op->weight[2], 0, h)),
                                    (double)op->u.scan.dt_min),
                               (double)op->u.scan.dt_max);
        for (uint32_t p = 0; p < width; p++) {
            double out = weight_at(n, op->weight[1], 0, h) * x[p];
            for (uint32_t i = 0; i < d_state; i++) {
                double *const s = &state[i * width + p];
                *s = *s * exp(dt * decay(n, op, h)) + b[i] * dt * x[p];
                out += c[i] * *s;
            }
            r->value[op->out][((size_t)t * n_head + h) * width + p] = out;
        }
    }
}

/* ---- Programs ---- */

static double element(const llrt_op *op, double a, double b)
{
    const double factor = (double)op->u.scale.factor;
    switch (op->kind) {
    case LLRT_OP_ADD:
        return a + b;
    case LLRT_OP_MUL:
        return a * b;
    case LLRT_OP_SIGMOID_GATE:
        return a * sigmoid(b);
    case LLRT_OP_SCALE:
        return a * factor;
    case LLRT_OP_SOFT_CAP:
        return factor * tanh(a / factor);
    case LLRT_OP_GLU:
        return gate(op->u.act.act, (double)op->u.act.limit, (double)op->u.act.offset, a, b);
    default:
        return activate(op->u.act.act, a);
    }
}

static void embed(const reference *r, const llrt_op *op, const reference_input *in, uint32_t t,
                  double *out)
{
    const size_t width = width_of(r->n, op->out);
    uint32_t given = 0;
    for (uint32_t i = 0; i < t; i++) given += in->token[i] < 0;
    for (size_t i = 0; i < width; i++)
        out[i] = in->token[t] < 0 ? (double)in->embedding[given * width + i]
                                  : weight_at(r->n, op->weight[0], (uint64_t)in->token[t], i) *
                                        (double)op->u.scale.factor;
}

static void run_row(reference *r, const llrt_op *op, const reference_input *in, uint32_t t,
                    double *state)
{
    const net *const n = r->n;
    const size_t width = width_of(n, op->out);
    double *const out = r->value[op->out] + t * width;
    const double *x[6] = {NULL};
    for (uint32_t i = 0; i < op->n_in; i++) x[i] = r->value[op->in[i]] + t * width_of(n, op->in[i]);
    switch (op->kind) {
    case LLRT_OP_EMBED:
        embed(r, op, in, t, out);
        return;
    case LLRT_OP_POSITION:
        for (size_t i = 0; i < width; i++)
            out[i] = x[0][i] +
                     weight_at(n, op->weight[0], (uint64_t)((int64_t)t + op->u.position.offset), i);
        return;
    case LLRT_OP_TOKEN_TYPE:
        for (size_t i = 0; i < width; i++)
            out[i] = x[0][i] + weight_at(n, op->weight[0], in->token_type[t], i);
        return;
    case LLRT_OP_GATHER:
        memcpy(out, x[0], width * sizeof *out);
        return;
    case LLRT_OP_SLICE:
        memcpy(out, x[0] + op->u.slice.begin, width * sizeof *out);
        return;
    case LLRT_OP_CONCAT:
        for (size_t i = 0, at = 0; i < op->n_in; at += width_of(n, op->in[i++]))
            memcpy(out + at, x[i], width_of(n, op->in[i]) * sizeof *out);
        return;
    case LLRT_OP_RMS_NORM:
    case LLRT_OP_LAYER_NORM:
        normalise(n, op, x[0], out);
        return;
    case LLRT_OP_LINEAR:
    case LLRT_OP_HEAD:
    case LLRT_OP_HEAD_LINEAR:
        linear(r, op, in, x[0], out);
        return;
    case LLRT_OP_ROPE:
        rotate(n, op, in->position + 3 * (size_t)t, x[0], out);
        return;
    case LLRT_OP_ATTENTION:
        attend(r, op, in, t);
        return;
    case LLRT_OP_EXPERTS:
        mix(r, op, x[0], x[1], out);
        return;
    case LLRT_OP_SHORT_CONV:
        convolve(r, op, t);
        return;
    case LLRT_OP_GATED_DELTA:
        apply_delta(r, op, t, state);
        return;
    case LLRT_OP_SSM_SCAN:
        apply_scan(r, op, t, state);
        return;
    default:
        for (size_t i = 0; i < width; i++) out[i] = element(op, x[0][i], x[1] ? x[1][i] : 0);
        return;
    }
}

void reference_run(reference *r, const reference_input *in)
{
    for (uint32_t i = 0; i < r->n->program.n_value; i++) {
        free(r->value[i]);
        r->value[i] = calloc(in->n * width_of(r->n, i), sizeof(double));
    }
    for (uint32_t i = 0; i < r->n->program.n_op; i++) {
        const llrt_op *const op = &r->n->op[i];
        const bool is_scan = op->kind == LLRT_OP_GATED_DELTA || op->kind == LLRT_OP_SSM_SCAN;
        double *const state =
            is_scan ? calloc(r->n->state[op->u.scan.state].n_float, sizeof *state) : NULL;
        for (uint32_t t = 0; t < in->n; t++) run_row(r, op, in, t, state);
        free(state);
    }
}
