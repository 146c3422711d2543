/* SPDX-License-Identifier: MIT */
/*
 * Mamba 2: no attention, every layer is a state-space scan.
 *
 *   z, xBC, dt = in( norm x );  xBC = silu( conv xBC )
 *   x += out( norm( scan( x, dt, B, C ) * silu(z) ) )
 *
 * The norm before the output is over the whole row as the checkpoints' own implementation has it;
 * GGUF files hold its weights by group and mean each group of heads. Their A is the negative number
 * itself, not its logarithm.
 */
#include <math.h>

#include "decoder.h"
#include "families.h"

static const llrti_name name_in = {"blk.#.ssm_in", "layers.#.mixer.in_proj"};
static const llrti_name name_conv = {"blk.#.ssm_conv1d", "layers.#.mixer.conv1d"};
static const llrti_name name_dt = {"blk.#.ssm_dt.bias", "layers.#.mixer.dt_bias"};
static const llrti_name name_a = {"blk.#.ssm_a", "layers.#.mixer.A_log"};
static const llrti_name name_d = {"blk.#.ssm_d", "layers.#.mixer.D"};
static const llrti_name name_inner_norm = {"blk.#.ssm_norm", "layers.#.mixer.norm"};
static const llrti_name name_out = {"blk.#.ssm_out", "layers.#.mixer.out_proj"};

static const llrti_hparam inner_size = {"ssm.inner_size", NULL, 1, 1 << 24};
static const llrti_hparam expand = {NULL, "expand", 0, 64};
static const llrti_hparam n_head = {"ssm.time_step_rank", "num_heads", 1, 1 << 14};
static const llrti_hparam head_dim = {NULL, "head_dim", 1, 1 << 14};
static const llrti_hparam n_group = {"ssm.group_count", "n_groups", 1, 1 << 14};
static const llrti_hparam d_state = {"ssm.state_size", "state_size", 1, 1 << 14};
static const llrti_hparam n_tap = {"ssm.conv_kernel", "conv_kernel", 2, 1 << 10};
static const llrti_hparam norm_eps = {"attention.layer_norm_rms_epsilon", "layer_norm_epsilon", 0,
                                      0.1};
static const llrti_hparam use_bias = {NULL, "use_bias", 0, 0};
static const llrti_hparam use_conv_bias = {NULL, "use_conv_bias", 0, 0};
static const llrti_hparam dt_limit = {NULL, "time_step_limit", 0, INFINITY};

typedef struct mamba {
    llrti_decoder d;
    uint32_t d_inner, n_head, head_dim, n_group, d_state, n_tap;
    llrti_bias bias, conv_bias;
    float dt_min, dt_max;
} mamba;

static void read_inner(llrti_builder *b, mamba *m)
{
    llrti_hparams *const hp = &b->hp;
    if (hp->is_gguf) {
        m->d_inner = llrti_hparams_u32(hp, &inner_size);
        m->n_head = llrti_hparams_u32(hp, &n_head);
        m->head_dim = m->d_inner / m->n_head;
        m->n_group = llrti_hparams_u32(hp, &n_group);
        m->d_state = llrti_hparams_u32(hp, &d_state);
        m->n_tap = llrti_hparams_u32(hp, &n_tap);
    } else {
        m->d_inner = (uint32_t)(llrti_hparams_f64_or(hp, &expand, 2) * m->d.d_model);
        m->n_head = llrti_hparams_u32_or(hp, &n_head, 128);
        m->head_dim = llrti_hparams_u32_or(hp, &head_dim, 64);
        m->n_group = llrti_hparams_u32_or(hp, &n_group, 8);
        m->d_state = llrti_hparams_u32_or(hp, &d_state, 128);
        m->n_tap = llrti_hparams_u32_or(hp, &n_tap, 4);
        llrti_facts_u32(hp->facts, inner_size.gguf, m->d_inner, true);
        if (m->n_group > 1)
            llrti_facts_problem(hp->facts, "a norm of several groups of heads together");
        /* Nothing limits the context, but a GGUF has to say one: this is what others write. */
        llrti_facts_u32(hp->facts, LLRTI_HP(N_CTX)->gguf, 1 << 20, false);
    }
    if (!llrti_build_ok(b)) return;
    if ((uint64_t)m->n_head * m->head_dim != m->d_inner)
        llrti_hparams_fail(hp, LLRT_ERR_FORMAT, &n_head,
                           "found %u heads of %u elements, expected %u elements together",
                           (unsigned)m->n_head, (unsigned)m->head_dim, (unsigned)m->d_inner);
    else if (m->n_head % m->n_group)
        llrti_hparams_fail(hp, LLRT_ERR_FORMAT, &n_group,
                           "found %u groups, expected a divisor of the %u heads",
                           (unsigned)m->n_group, (unsigned)m->n_head);
    else if ((uint64_t)m->n_group * m->d_state > 1 << 24 ||
             (uint64_t)m->d_inner * m->d_state > 1 << 28)
        llrti_hparams_fail(hp, LLRT_ERR_FORMAT, &d_state, "found %u, which is too large",
                           (unsigned)m->d_state);
}

static void read_options(llrti_builder *b, mamba *m)
{
    llrti_hparams *const hp = &b->hp;
    if (hp->is_gguf) {
        m->conv_bias = LLRTI_BIAS_PRESENT;
    } else {
        if (llrti_hparams_bool_or(hp, &use_bias, false)) m->bias = LLRTI_BIAS_REQUIRED;
        if (llrti_hparams_bool_or(hp, &use_conv_bias, true)) m->conv_bias = LLRTI_BIAS_REQUIRED;
    }
    m->dt_max = INFINITY;
    if (!llrti_hparams_has(hp, &dt_limit)) return;
    if (llrti_hparams_n_element(hp, &dt_limit) != 2) {
        llrti_hparams_fail(hp, LLRT_ERR_FORMAT, &dt_limit, "expected a list of 2 numbers");
        return;
    }
    m->dt_min = (float)llrti_hparams_f64_at(hp, &dt_limit, 0);
    m->dt_max = (float)llrti_hparams_f64_at(hp, &dt_limit, 1);
}

static void read_sizes(llrti_builder *b, mamba *m)
{
    llrti_hparams *const hp = &b->hp;
    llrti_model *const model = b->model;
    llrti_decoder *const d = &m->d;
    llrti_decoder_refuse(b);
    model->n_layer = d->n_layer = llrti_hparams_u32(hp, LLRTI_HP(N_LAYER));
    model->d_model = d->d_model = llrti_hparams_u32(hp, LLRTI_HP(D_MODEL));
    d->norm_eps = (float)(hp->is_gguf ? llrti_hparams_f64(hp, &norm_eps)
                                      : llrti_hparams_f64_or(hp, &norm_eps, 1e-5));
    d->act = llrti_decoder_activation(b, "silu");
    read_inner(b, m);
    read_options(b, m);
    if (!llrti_build_ok(b)) return;
    model->n_head = m->n_head;
    model->head_dim = m->head_dim;
}

static uint32_t bind_bias(llrti_builder *b, const llrti_name *name, llrti_bias bias, uint32_t n)
{
    if (bias == LLRTI_BIAS_NONE) return LLRT_NONE;
    return llrti_build_vector(b, name, ".bias", n,
                              bias == LLRTI_BIAS_PRESENT ? LLRTI_WEIGHT_OPTIONAL : 0);
}

static uint32_t project(llrti_builder *b, const mamba *m, uint32_t x, const llrti_name *name,
                        uint32_t d_out)
{
    const uint32_t weight = llrti_build_matrix(b, name, llrti_build_width(b, x), d_out, 0);
    return llrti_build_linear(b, x, weight, bind_bias(b, name, m->bias, d_out), 1, d_out);
}

static uint32_t mix(llrti_builder *b, const mamba *m, uint32_t x)
{
    const uint32_t n_bc = m->n_group * m->d_state, n_channel = m->d_inner + 2 * n_bc;
    const uint32_t all = project(b, m, x, &name_in, m->d_inner + n_channel + m->n_head);
    const uint32_t z = llrti_build_slice(b, all, 0, 1, m->d_inner);
    uint32_t xbc = llrti_build_slice(b, all, m->d_inner, 1, n_channel);
    const uint32_t taps =
        llrti_build_matrix(b, &name_conv, m->n_tap, n_channel, LLRTI_WEIGHT_SQUEEZED);
    xbc = llrti_build_short_conv(b, xbc, taps, bind_bias(b, &name_conv, m->conv_bias, n_channel));
    xbc = llrti_build_activate(b, xbc, m->d.act);
    const llrti_weight_flags flat = LLRTI_WEIGHT_PLAIN | LLRTI_WEIGHT_FLAT;
    const llrti_scan scan = {
        .in = {llrti_build_slice(b, xbc, 0, m->n_head, m->head_dim),
               llrti_build_slice(b, all, m->d_inner + n_channel, 1, m->n_head),
               llrti_build_slice(b, xbc, m->d_inner, m->n_group, m->d_state),
               llrti_build_slice(b, xbc, m->d_inner + n_bc, m->n_group, m->d_state)},
        .a = llrti_build_vector(b, &name_a, "", m->n_head, flat),
        .d = llrti_build_vector(b, &name_d, "", m->n_head, flat),
        .dt_bias = llrti_build_vector(b, &name_dt, "", m->n_head, LLRTI_WEIGHT_PLAIN),
        .is_log_a = !b->hp.is_gguf,
        .dt_min = m->dt_min,
        .dt_max = m->dt_max};
    llrti_build_gguf_form(b, scan.a, &(llrti_gguf_form){.row_elements = 1, .is_negated_exp = true});
    llrti_build_gguf_form(b, scan.d, &(llrti_gguf_form){.row_elements = 1});
    const uint32_t gated = llrti_build_glu(b, z, llrti_build_ssm_scan(b, &scan), LLRT_ACT_SILU);
    const uint32_t n_part = b->hp.is_gguf ? m->n_group : 1;
    const uint32_t parts = llrti_build_slice(b, gated, 0, n_part, m->d_inner / n_part);
    const uint32_t weight =
        llrti_build_vector(b, &name_inner_norm, ".weight", m->d_inner, LLRTI_WEIGHT_FLAT);
    llrti_build_gguf_form(b, weight, &(llrti_gguf_form){.row_elements = m->d_inner / m->n_group});
    return project(b, m, llrti_build_rms_norm(b, parts, weight, m->d.norm_eps, 0), &name_out,
                   m->d.d_model);
}

void llrti_family_mamba2(llrti_builder *b)
{
    mamba m = {.bias = LLRTI_BIAS_NONE};
    llrti_decoder *const d = &m.d;
    b->hf_prefix = "backbone.";
    llrti_decoder_init(d);
    d->name[LLRTI_DECODER_EMBED].hf = "embeddings";
    d->name[LLRTI_DECODER_NORM].hf = "norm_f";
    d->name[LLRTI_DECODER_ATTN_NORM].hf = "layers.#.norm";
    read_sizes(b, &m);
    const llrti_name *const name_norm = &d->name[LLRTI_DECODER_ATTN_NORM];
    uint32_t x = llrti_decoder_embed(b, d);
    for (uint32_t i = 0; i < d->n_layer && llrti_build_ok(b); i++) {
        llrti_build_layer(b, i);
        const uint32_t weight = llrti_build_vector(b, name_norm, ".weight", d->d_model, 0);
        x = llrti_build_add(b, x, mix(b, &m, llrti_build_rms_norm(b, x, weight, d->norm_eps, 0)));
        llrti_build_layer_output(b, x);
    }
    llrti_decoder_finish(b, d, x);
}
