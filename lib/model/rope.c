/* SPDX-License-Identifier: MIT */
/*
 * Rotary position embedding; see rope.h for the kinds and where their formulas come from.
 *
 * The two kinds of file differ in what they state: config.json gives the options of the
 * training code, a GGUF gives either options (linear, yarn) or, for llama3 and longrope, tensors of
 * divisors already worked out. Both end in one llrti_rope_scaling, so the arithmetic exists once.
 */
#include "rope.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "half.h"
#include "text.h"

#define TWO_PI 6.283185307179586476925286766559

static double yarn_mscale(double factor, double mscale)
{
    return factor <= 1.0 ? 1.0 : 0.1 * mscale * log(factor) + 1.0;
}

/* The dimension (a pair counts as one) that makes `rotations` turns over the original context. */
static double yarn_dimension(const llrti_rope_scaling *s, double rotations, double n_ctx_original)
{
    return s->n_rot * log(n_ctx_original / (rotations * TWO_PI)) / (2.0 * log(s->base));
}

static void yarn_borders(const llrti_rope_scaling *s, double n_ctx_original, double *low,
                         double *high)
{
    *low = yarn_dimension(s, s->beta_fast, n_ctx_original);
    *high = yarn_dimension(s, s->beta_slow, n_ctx_original);
    if (s->truncate) {
        *low = floor(*low);
        *high = ceil(*high);
    }
    *low = fmax(*low, 0.0);
    *high = fmin(*high, s->n_rot - 1.0);
    if (*low == *high)
        *high += 0.001; /* no division by zero; the value is the one of the reference code */
}

static double yarn_frequency(const llrti_rope_scaling *s, double f, uint32_t i, double low,
                             double high)
{
    const double ramp = fmin(1.0, fmax(0.0, (i - low) / (high - low)));
    const double keep = (1.0 - ramp) * s->extrapolation;
    return f / s->factor * (1.0 - keep) + f * keep;
}

static double llama3_frequency(const llrti_rope_scaling *s, double f, double n_ctx_original)
{
    const double wave = TWO_PI / f;
    if (wave < n_ctx_original / s->high_freq) return f;
    if (wave > n_ctx_original / s->low_freq) return f / s->factor;
    const double smooth = (n_ctx_original / wave - s->low_freq) / (s->high_freq - s->low_freq);
    return (1.0 - smooth) * f / s->factor + smooth * f;
}

static double magnitude_of(const llrti_rope_scaling *s, double n_ctx_original)
{
    if (s->attention_factor > 0) return s->attention_factor * s->extra_factor;
    double magnitude = 1.0;
    if (s->kind == LLRTI_ROPE_YARN) {
        if (s->mscale != 0 && s->mscale_all_dim != 0)
            magnitude =
                yarn_mscale(s->factor, s->mscale) / yarn_mscale(s->factor, s->mscale_all_dim);
        else
            magnitude = yarn_mscale(s->factor, 1.0);
    } else if (s->kind == LLRTI_ROPE_LONG && s->factor > 1.0 && n_ctx_original > 1.0) {
        magnitude = sqrt(1.0 + log(s->factor) / log(n_ctx_original));
    }
    return magnitude * s->extra_factor;
}

static llrt_status check_scaling(const llrti_rope_scaling *s, double n_ctx_original,
                                 llrt_error *err)
{
    if (s->n_rot == 0 || s->n_rot % 2)
        return llrti_fail_field(
            err, LLRT_ERR_FORMAT, "n_rot",
            "rope: found %u rotated elements per head, expected an even number above 0",
            (unsigned)s->n_rot);
    if (!(s->base >= 1.0) || !isfinite(s->base))
        return llrti_fail_field(err, LLRT_ERR_FORMAT, "rope_theta",
                                "rope: found the base %g, expected a number of 1 or more", s->base);
    if (s->kind != LLRTI_ROPE_PLAIN && !(s->factor > 0.0 && isfinite(s->factor)))
        return llrti_fail_field(err, LLRT_ERR_FORMAT, "factor",
                                "rope: found the scaling factor %g, expected a number above 0",
                                s->factor);
    if ((s->kind == LLRTI_ROPE_LLAMA3 || s->kind == LLRTI_ROPE_YARN || s->kind == LLRTI_ROPE_LONG ||
         s->kind == LLRTI_ROPE_DYNAMIC) &&
        n_ctx_original < 1.0)
        return llrti_fail_field(
            err, LLRT_ERR_FORMAT, "original_max_position_embeddings",
            "rope: the scaling needs the original context length, and the file does not say it");
    if (s->kind == LLRTI_ROPE_LLAMA3 && !(s->low_freq > 0.0 && s->high_freq > s->low_freq))
        return llrti_fail_field(
            err, LLRT_ERR_FORMAT, "high_freq_factor",
            "rope: found high_freq_factor %g, expected more than low_freq_factor, which is %g",
            s->high_freq, s->low_freq);
    if (s->kind == LLRTI_ROPE_YARN && !(s->base > 1.0 && s->beta_fast > 0.0 && s->beta_slow > 0.0))
        return llrti_fail_field(
            err, LLRT_ERR_FORMAT, "beta_fast",
            "rope: found the base %g, beta_fast %g and beta_slow %g, expected a base above 1 and "
            "the others above 0 for yarn",
            s->base, s->beta_fast, s->beta_slow);
    return LLRT_OK;
}

llrt_status llrti_rope_compute(const llrti_rope_scaling *s, float *inv_freq, float *magnitude,
                               llrt_error *err)
{
    const double n_ctx_original = s->n_ctx_original ? s->n_ctx_original : s->n_ctx_train;
    LLRTI_TRY(check_scaling(s, n_ctx_original, err));
    double base = s->base, low = 0, high = 0;
    if (s->kind == LLRTI_ROPE_YARN) yarn_borders(s, n_ctx_original, &low, &high);
    if (s->kind == LLRTI_ROPE_DYNAMIC && s->n_ctx > n_ctx_original && s->n_rot > 2) {
        const double grow = s->factor * s->n_ctx / n_ctx_original - (s->factor - 1.0);
        base *= pow(grow, s->n_rot / (s->n_rot - 2.0));
    }
    const float *divisor = s->divisor;
    if (s->kind == LLRTI_ROPE_LONG && s->n_ctx > n_ctx_original && s->long_divisor)
        divisor = s->long_divisor;
    for (uint32_t i = 0; i < s->n_rot / 2; i++) {
        double f = pow(base, -2.0 * i / s->n_rot);
        if (divisor) f /= divisor[i];
        if (s->divide_all > 0) f /= s->divide_all;
        if (s->kind == LLRTI_ROPE_LINEAR) f /= s->factor;
        if (s->kind == LLRTI_ROPE_LLAMA3) f = llama3_frequency(s, f, n_ctx_original);
        if (s->kind == LLRTI_ROPE_YARN) f = yarn_frequency(s, f, i, low, high);
        if (!(fabs(f) <= FLT_MAX))
            return llrti_fail_field(err, LLRT_ERR_FORMAT, "rope",
                                    "rope: found %g as frequency %u, expected a finite number", f,
                                    (unsigned)i);
        inv_freq[i] = (float)f;
    }
    const double m = magnitude_of(s, n_ctx_original);
    if (!(m > 0.0 && m <= FLT_MAX))
        return llrti_fail_field(
            err, LLRT_ERR_FORMAT, "attention_factor",
            "rope: found %g as the factor on sine and cosine, expected a number "
            "above 0",
            m);
    *magnitude = (float)m;
    return LLRT_OK;
}

/* ---- Options in files ---- */

enum {
    TYPE,
    FACTOR,
    ORIGINAL,
    ATTENTION,
    BETA_FAST,
    BETA_SLOW,
    EXTRAPOLATION,
    LOG_MULTIPLIER,
    MSCALE,
    MSCALE_ALL,
    TRUNCATE,
    LOW_FREQ,
    HIGH_FREQ,
    SHORT_LIST,
    LONG_LIST,
    SCALE_LINEAR,
    LAYER_PARAMETERS,
    MROPE
};

/*
 * rope_parameters is the spelling of transformers 5, rope_scaling the one before; "type" came
 * before "rope_type".
 */
#define BOTH(name) "rope_parameters." name "|rope_scaling." name

static const llrti_hparam option[] = {
    [TYPE] = {"rope.scaling.type", BOTH("rope_type") "|" BOTH("type"), 0, 0},
    [FACTOR] = {"rope.scaling.factor", BOTH("factor"), 0, 1e6},
    [ORIGINAL] = {"rope.scaling.original_context_length",
                  BOTH("original_max_position_embeddings") "|original_max_position_embeddings", 1,
                  1 << 30},
    [ATTENTION] = {"rope.scaling.attn_factor", BOTH("attention_factor") "|" BOTH("attn_factor"), 0,
                   1e6},
    [BETA_FAST] = {"rope.scaling.yarn_beta_fast", BOTH("beta_fast"), 0, 1e9},
    [BETA_SLOW] = {"rope.scaling.yarn_beta_slow", BOTH("beta_slow"), 0, 1e9},
    [EXTRAPOLATION] = {"rope.scaling.yarn_ext_factor", NULL, -1, 1},
    [LOG_MULTIPLIER] = {"rope.scaling.yarn_log_multiplier", NULL, -1e6, 1e6},
    [MSCALE] = {NULL, BOTH("mscale"), 0, 1e6},
    [MSCALE_ALL] = {NULL, BOTH("mscale_all_dim"), 0, 1e6},
    [TRUNCATE] = {NULL, BOTH("truncate"), 0, 0},
    [LOW_FREQ] = {NULL, BOTH("low_freq_factor"), 0, 1e6},
    [HIGH_FREQ] = {NULL, BOTH("high_freq_factor"), 0, 1e6},
    [SHORT_LIST] = {NULL, BOTH("short_factor"), 1e-6, 1e9},
    [LONG_LIST] = {NULL, BOTH("long_factor"), 1e-6, 1e9},
    [SCALE_LINEAR] = {"rope.scale_linear", NULL, 0, 1e6},
    [LAYER_PARAMETERS] = {NULL, "rope_parameters.full_attention|rope_parameters.sliding_attention",
                          0, 0},
    [MROPE] = {"rope.dimension_sections", BOTH("mrope_section"), 0, 1 << 14},
};

static void read_kind(llrti_hparams *hp, llrti_rope_scaling *s)
{
    static const struct {
        const char *name;
        llrti_rope_kind kind;
        bool is_gguf, is_hf;
    } kinds[] = {
        {"none", LLRTI_ROPE_PLAIN, true, true},     {"default", LLRTI_ROPE_PLAIN, false, true},
        {"linear", LLRTI_ROPE_LINEAR, true, true},  {"dynamic", LLRTI_ROPE_DYNAMIC, false, true},
        {"llama3", LLRTI_ROPE_LLAMA3, false, true}, {"yarn", LLRTI_ROPE_YARN, true, true},
        {"longrope", LLRTI_ROPE_LONG, true, true},  {"su", LLRTI_ROPE_LONG, false, true},
    };
    /*
     * A GGUF with two tensors of divisors need not say that this is longrope. One that gives a
     * factor and no kind means linear, as the oldest files did.
     */
    if (hp->is_gguf && !llrti_hparams_has(hp, &option[TYPE]) &&
        llrti_model_file_find_tensor(hp->file, "rope_factors_long.weight")) {
        s->kind = LLRTI_ROPE_LONG;
        return;
    }
    const bool is_old =
        hp->is_gguf && !llrti_hparams_has(hp, &option[TYPE]) &&
        (llrti_hparams_has(hp, &option[FACTOR]) || llrti_hparams_has(hp, &option[SCALE_LINEAR]));
    const llrti_string name =
        llrti_hparams_string_or(hp, &option[TYPE], is_old ? "linear" : "none");
    for (size_t i = 0; i < LLRTI_COUNT(kinds); i++) {
        if ((hp->is_gguf ? kinds[i].is_gguf : kinds[i].is_hf) &&
            llrti_string_is(name, kinds[i].name)) {
            s->kind = kinds[i].kind;
            return;
        }
    }
    char quoted[LLRTI_TEXT_QUOTE_SIZE];
    llrti_hparams_fail(
        hp, LLRT_ERR_UNSUPPORTED, &option[TYPE],
        "rope scaling %s is unknown, expected none, linear, dynamic, llama3, yarn or longrope",
        llrti_text_quote(quoted, sizeof quoted, name.data, name.n));
}

/* The divisors in a small tensor; NULL when the file has none or something failed. */
static const float *read_divisors(llrti_hparams *hp, llrti_arena *arena, const char *name,
                                  uint32_t n)
{
    const llrti_tensor *const tensor = llrti_model_file_find_tensor(hp->file, name);
    if (!tensor || hp->status < 0) return NULL;
    if (tensor->type != LLRT_TYPE_F32 || tensor->dim[0] != n ||
        tensor->n_byte != (uint64_t)n * sizeof(float)) {
        hp->status = llrti_fail_field(
            hp->err, LLRT_ERR_FORMAT, name,
            "tensor '%s': found %llu values of type %u, expected %u values of type F32", name,
            (unsigned long long)tensor->dim[0], (unsigned)tensor->type, (unsigned)n);
        return NULL;
    }
    uint8_t *const raw = llrti_arena_alloc(arena, n * sizeof(float), 16);
    if (!raw) {
        hp->status = llrti_fail_nomem(hp->err, "rope factors", n * sizeof(float));
        return NULL;
    }
    hp->status = llrti_model_file_read(hp->file, tensor, 0, raw, n * sizeof(float), hp->err);
    if (hp->status < 0) return NULL;
    float *const values = (float *)(void *)raw;
    for (uint32_t i = 0; i < n; i++) {
        const uint8_t *const p = raw + 4 * (size_t)i;
        const float x = llrti_bits_float((uint32_t)p[0] | (uint32_t)p[1] << 8 |
                                         (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24);
        if (!(x >= 1e-6f && x <= 1e9f)) {
            hp->status =
                llrti_fail_field(hp->err, LLRT_ERR_FORMAT, name,
                                 "tensor '%s': value %u is %g, expected one from 1e-06 to 1e+09",
                                 name, (unsigned)i, (double)x);
            return NULL;
        }
        values[i] = x;
    }
    return values;
}

static const float *read_list(llrti_hparams *hp, llrti_arena *arena, const llrti_hparam *key,
                              uint32_t n)
{
    if (hp->status < 0) return NULL;
    const uint32_t found = llrti_hparams_n_element(hp, key);
    if (found != n) {
        llrti_hparams_fail(hp, LLRT_ERR_FORMAT, key, "found %u values, expected a list of %u",
                           (unsigned)found, (unsigned)n);
        return NULL;
    }
    float *const values = llrti_arena_alloc(arena, n * sizeof(float), 16);
    if (!values) {
        hp->status = llrti_fail_nomem(hp->err, "rope factors", n * sizeof(float));
        return NULL;
    }
    for (uint32_t i = 0; i < n; i++) values[i] = (float)llrti_hparams_f64_at(hp, key, i);
    return hp->status < 0 ? NULL : values;
}

/* Sections of the three axes; GGUF files have a fourth number, which nothing uses. */
static void read_sections(llrti_hparams *hp, llrti_rope_scaling *s)
{
    static const uint32_t otherwise[3] = {11, 11, 10};
    const uint32_t n = llrti_hparams_n_element(hp, &option[MROPE]);
    memcpy(s->section, otherwise, sizeof otherwise);
    if (!llrti_hparams_has(hp, &option[MROPE])) return;
    if (n != 3 && !(n == 4 && hp->is_gguf)) {
        llrti_hparams_fail(hp, LLRT_ERR_FORMAT, &option[MROPE],
                           "found %u values, expected a list of 3", (unsigned)n);
        return;
    }
    for (uint32_t i = 0; i < 3; i++)
        s->section[i] = (uint32_t)llrti_hparams_f64_at(hp, &option[MROPE], i);
}

/* What yarn does to the scores and leaves to sine and cosine. */
static void read_score_factor(llrti_hparams *hp, llrti_rope_scaling *s)
{
    s->score_factor = 1;
    if (s->kind == LLRTI_ROPE_PLAIN) return;
    /* The key of GGUF files holds a tenth of mscale_all_dim. */
    const double all =
        hp->is_gguf ? 10 * llrti_hparams_f64_or(hp, &option[LOG_MULTIPLIER], 0) : s->mscale_all_dim;
    const double mscale = all != 0 ? yarn_mscale(s->factor, all) : 1;
    s->score_factor = mscale * mscale;
    if (hp->is_gguf) s->attention_factor = 1;
}

static void read_gguf(llrti_hparams *hp, llrti_arena *arena, const llrti_rope_defaults *defaults,
                      llrti_rope_scaling *s)
{
    /* In old files the factor of linear scaling has a name of its own; 0 stands for "none". */
    s->factor = llrti_hparams_f64_or(hp, &option[FACTOR],
                                     llrti_hparams_f64_or(hp, &option[SCALE_LINEAR], 0));
    if (s->factor == 0) s->factor = 1;
    const double attention = llrti_hparams_f64_or(hp, &option[ATTENTION], 1);
    s->extra_factor = attention == 0 ? 1 : attention;
    if (s->kind == LLRTI_ROPE_LONG) {
        /*
         * Such files state the factor on sine and cosine in full; a factor divides all positions.
         */
        s->attention_factor = 1;
        s->divide_all = s->factor;
    }
    s->extrapolation = llrti_hparams_f64_or(hp, &option[EXTRAPOLATION], 1);
    if (s->extrapolation < 0) s->extrapolation = 1;
    s->truncate = !defaults->is_untruncated;
    if (s->kind == LLRTI_ROPE_YARN && !defaults->has_score_factor &&
        llrti_hparams_f64_or(hp, &option[LOG_MULTIPLIER], 0) != 0)
        llrti_hparams_fail(hp, LLRT_ERR_UNSUPPORTED, &option[LOG_MULTIPLIER],
                           "this yarn option is not supported for this architecture");
    s->divisor = read_divisors(hp, arena, "rope_freqs.weight", s->n_rot / 2);
    if (s->kind == LLRTI_ROPE_LONG) {
        const float *const few =
            read_divisors(hp, arena, "rope_factors_short.weight", s->n_rot / 2);
        s->long_divisor = read_divisors(hp, arena, "rope_factors_long.weight", s->n_rot / 2);
        if (few) s->divisor = few;
        if (!few || !s->long_divisor)
            llrti_hparams_fail(hp, LLRT_ERR_FORMAT, &option[TYPE],
                               "longrope needs tensors 'rope_factors_short.weight' and "
                               "'rope_factors_long.weight'");
    }
}

static void read_config(llrti_hparams *hp, llrti_arena *arena, const llrti_rope_defaults *defaults,
                        llrti_rope_scaling *s)
{
    if (!hp->rope_section && llrti_hparams_has(hp, &option[LAYER_PARAMETERS]))
        llrti_hparams_fail(hp, LLRT_ERR_UNSUPPORTED, &option[LAYER_PARAMETERS],
                           "rope parameters by layer type are not supported for this architecture");
    if (!defaults->has_sections && llrti_hparams_has(hp, &option[MROPE]))
        llrti_hparams_fail(hp, LLRT_ERR_UNSUPPORTED, &option[MROPE],
                           "positions of several sections are not supported for this architecture");
    const uint32_t original = s->n_ctx_original ? s->n_ctx_original : s->n_ctx_train;
    if (s->kind == LLRTI_ROPE_PLAIN) {
        s->factor = 1;
    } else if (llrti_hparams_has(hp, &option[FACTOR]) ||
               !(s->kind == LLRTI_ROPE_YARN || s->kind == LLRTI_ROPE_LONG) || original == 0) {
        s->factor = llrti_hparams_f64(hp, &option[FACTOR]);
    } else {
        s->factor = (double)s->n_ctx_train / original;
    }
    s->attention_factor = llrti_hparams_f64_or(hp, &option[ATTENTION], 0);
    s->mscale = llrti_hparams_f64_or(hp, &option[MSCALE], 0);
    s->mscale_all_dim = llrti_hparams_f64_or(hp, &option[MSCALE_ALL], 0);
    s->truncate = llrti_hparams_bool_or(hp, &option[TRUNCATE], true);
    if (s->kind == LLRTI_ROPE_LLAMA3) {
        s->low_freq = llrti_hparams_f64(hp, &option[LOW_FREQ]);
        s->high_freq = llrti_hparams_f64(hp, &option[HIGH_FREQ]);
    }
    if (s->kind == LLRTI_ROPE_LONG) {
        s->divisor = read_list(hp, arena, &option[SHORT_LIST], s->n_rot / 2);
        s->long_divisor = read_list(hp, arena, &option[LONG_LIST], s->n_rot / 2);
        /*
         * A checkpoint that states both lengths is scaled by their ratio, whatever factor it
         * repeats.
         */
        if (s->n_ctx_original && s->n_ctx_train)
            s->factor = (double)s->n_ctx_train / s->n_ctx_original;
    }
    /* The trained length is what dynamic scaling grows from. */
    if (s->kind == LLRTI_ROPE_DYNAMIC && s->n_ctx_train) s->n_ctx_original = s->n_ctx_train;
}

/* ---- What a GGUF says instead ---- */

static void note_string(llrti_facts *facts, const llrti_hparam *key, const char *text)
{
    llrti_facts_string(facts, key->gguf, (llrti_string){text, strlen(text)});
}

/* The divisors that llama3 scaling comes to. */
static void note_llama3(llrti_facts *facts, llrti_arena *arena, const llrti_rope_scaling *s)
{
    const double n_ctx_original = s->n_ctx_original ? s->n_ctx_original : s->n_ctx_train;
    float *const divisor = llrti_arena_alloc(arena, s->n_rot / 2 * sizeof *divisor, 16);
    if (!divisor || !(n_ctx_original > 0)) {
        facts->is_short |= !divisor;
        return;
    }
    for (uint32_t i = 0; i < s->n_rot / 2; i++) {
        const double f = pow(s->base, -2.0 * i / s->n_rot);
        divisor[i] = (float)(f / llama3_frequency(s, f, n_ctx_original));
    }
    llrti_facts_tensor(facts, "rope_freqs.weight", divisor, s->n_rot / 2);
}

static void note_yarn(llrti_facts *facts, const llrti_rope_defaults *defaults,
                      const llrti_rope_scaling *s)
{
    const double n_ctx_original = s->n_ctx_original ? s->n_ctx_original : s->n_ctx_train;
    note_string(facts, &option[TYPE], "yarn");
    llrti_facts_f64(facts, option[FACTOR].gguf, s->factor, true);
    llrti_facts_u32(facts, option[ORIGINAL].gguf, (uint32_t)n_ctx_original, true);
    llrti_facts_f64(facts, option[BETA_FAST].gguf, s->beta_fast, true);
    llrti_facts_f64(facts, option[BETA_SLOW].gguf, s->beta_slow, true);
    if (defaults->has_score_factor) {
        if (s->mscale_all_dim != 0)
            llrti_facts_f64(facts, option[LOG_MULTIPLIER].gguf, s->mscale_all_dim / 10, true);
        return;
    }
    /* There it is a factor on what the formula gives. */
    const double factor = magnitude_of(s, n_ctx_original) / yarn_mscale(s->factor, 1.0);
    if (fabs(factor - 1.0) > 1e-9) llrti_facts_f64(facts, option[ATTENTION].gguf, factor, true);
}

static void note_long(llrti_facts *facts, const llrti_rope_scaling *s)
{
    const double n_ctx_original = s->n_ctx_original ? s->n_ctx_original : s->n_ctx_train;
    note_string(facts, &option[TYPE], "longrope");
    llrti_facts_u32(facts, option[ORIGINAL].gguf, (uint32_t)n_ctx_original, true);
    llrti_facts_f64(facts, option[ATTENTION].gguf, magnitude_of(s, n_ctx_original), true);
    if (s->divisor)
        llrti_facts_tensor(facts, "rope_factors_short.weight", s->divisor, s->n_rot / 2);
    if (s->long_divisor)
        llrti_facts_tensor(facts, "rope_factors_long.weight", s->long_divisor, s->n_rot / 2);
}

static void note_scaling(llrti_facts *facts, llrti_arena *arena,
                         const llrti_rope_defaults *defaults, const llrti_rope_scaling *s)
{
    llrti_facts_f64(facts, LLRTI_HP(ROPE_BASE)->gguf, s->base, true);
    llrti_facts_u32(facts, LLRTI_HP(N_ROT)->gguf, s->n_rot, true);
    if (s->n_ctx_train) llrti_facts_u32(facts, LLRTI_HP(N_CTX)->gguf, s->n_ctx_train, true);
    for (uint32_t i = 0; defaults->has_sections && i < 4; i++)
        llrti_facts_u32_layer(facts, option[MROPE].gguf, i, i < 3 ? s->section[i] : 0);
    switch (s->kind) {
    case LLRTI_ROPE_LINEAR:
        note_string(facts, &option[TYPE], "linear");
        llrti_facts_f64(facts, option[FACTOR].gguf, s->factor, true);
        break;
    case LLRTI_ROPE_DYNAMIC:
        llrti_facts_problem(facts, "dynamic rope scaling");
        break;
    case LLRTI_ROPE_LLAMA3:
        note_llama3(facts, arena, s);
        break;
    case LLRTI_ROPE_YARN:
        note_yarn(facts, defaults, s);
        break;
    case LLRTI_ROPE_LONG:
        note_long(facts, s);
        break;
    default:
        break;
    }
}

static void read_scaling(llrti_hparams *hp, llrti_arena *arena, uint32_t head_dim, uint32_t n_ctx,
                         const llrti_rope_defaults *defaults, llrti_rope_scaling *out)
{
    llrti_rope_scaling s = {
        .n_ctx = n_ctx, .extrapolation = 1, .extra_factor = 1, .truncate = true};
    memset(out, 0, sizeof *out);
    llrti_facts *const facts = hp->facts; /* a GGUF says it in other words: see note_scaling */
    hp->facts = NULL;
    s.base = llrti_hparams_f64_or(hp, LLRTI_HP(ROPE_BASE),
                                  defaults->base > 0 ? defaults->base : 10000.0);
    const double part = llrti_hparams_f64_or(hp, LLRTI_HP(PARTIAL_ROTARY),
                                             defaults->part > 0 ? defaults->part : 1.0);
    s.n_rot = llrti_hparams_u32_or(hp, LLRTI_HP(N_ROT),
                                   hp->is_gguf ? head_dim : (uint32_t)(head_dim * part));
    if (hp->status >= 0 && (s.n_rot == 0 || s.n_rot % 2 || s.n_rot > head_dim))
        llrti_hparams_fail(
            hp, LLRT_ERR_FORMAT, hp->is_gguf ? LLRTI_HP(N_ROT) : LLRTI_HP(HEAD_DIM),
            "found %u rotated elements per head, expected an even number up to the head's %u",
            (unsigned)s.n_rot, (unsigned)head_dim);
    s.n_ctx_train = llrti_hparams_u32_or(hp, LLRTI_HP(N_CTX), 0);
    s.n_ctx_original = llrti_hparams_u32_or(hp, &option[ORIGINAL], 0);
    s.beta_fast = llrti_hparams_f64_or(hp, &option[BETA_FAST], 32);
    s.beta_slow = llrti_hparams_f64_or(hp, &option[BETA_SLOW], 1);
    read_kind(hp, &s);
    if (hp->status >= 0) {
        if (hp->is_gguf)
            read_gguf(hp, arena, defaults, &s);
        else
            read_config(hp, arena, defaults, &s);
        if (defaults->has_score_factor) read_score_factor(hp, &s);
        if (defaults->has_sections) read_sections(hp, &s);
    }
    hp->facts = facts;
    if (hp->status < 0) return;
    if (facts) note_scaling(facts, arena, defaults, &s);
    *out = s;
}

void llrti_rope_read_scaling(llrti_hparams *hp, llrti_arena *arena, uint32_t head_dim,
                             uint32_t n_ctx, llrti_rope_scaling *out)
{
    read_scaling(hp, arena, head_dim, n_ctx, &(llrti_rope_defaults){0}, out);
}

/*
 * The axis of each pair: the second and third axis have every third pair, as far as their sections
 * go, the first all others.
 */
static const uint8_t *make_axes(llrti_hparams *hp, llrti_arena *arena, const llrti_rope_scaling *s)
{
    const uint32_t n = s->n_rot / 2;
    uint8_t *const axis = llrti_arena_alloc(arena, n, 1);
    if (!axis) {
        hp->status = llrti_fail_nomem(hp->err, "rope axes", n);
        return NULL;
    }
    for (uint32_t i = 0; i < n; i++)
        axis[i] = i % 3 && i < 3 * s->section[i % 3] ? (uint8_t)(i % 3) : 0;
    return axis;
}

void llrti_rope_from_scaling(llrti_hparams *hp, llrti_arena *arena,
                             const llrti_rope_scaling *scaling, llrt_rope_pairs pairs,
                             llrti_rope *out)
{
    const size_t n_byte = scaling->n_rot / 2 * sizeof(float);
    memset(out, 0, sizeof *out);
    if (hp->status < 0) return;
    float *const inv_freq = llrti_arena_alloc(arena, n_byte, 16);
    if (!inv_freq) {
        hp->status = llrti_fail_nomem(hp->err, "rope frequencies", n_byte);
        return;
    }
    hp->status = llrti_rope_compute(scaling, inv_freq, &out->magnitude, hp->err);
    if (hp->status < 0 && !hp->is_gguf) llrti_model_file_blame(hp->file, "config.json", hp->err);
    out->inv_freq = inv_freq;
    out->n_rot = scaling->n_rot;
    out->pairs = pairs;
    out->score_factor = scaling->score_factor != 0 ? (float)scaling->score_factor : 1.0f;
    if (hp->status >= 0 && (scaling->section[0] || scaling->section[1] || scaling->section[2]))
        out->axis = make_axes(hp, arena, scaling);
}

void llrti_rope_make(llrti_hparams *hp, llrti_arena *arena, uint32_t n_rot, double base,
                     llrt_rope_pairs pairs, llrti_rope *out)
{
    const llrti_rope_scaling scaling = {
        .n_rot = n_rot, .base = base, .factor = 1, .extra_factor = 1};
    llrti_rope_from_scaling(hp, arena, &scaling, pairs, out);
}

void llrti_rope_read_as(llrti_hparams *hp, llrti_arena *arena, uint32_t head_dim, uint32_t n_ctx,
                        const llrti_rope_defaults *defaults, llrti_rope *out)
{
    llrti_rope_scaling scaling;
    read_scaling(hp, arena, head_dim, n_ctx, defaults, &scaling);
    llrti_rope_from_scaling(hp, arena, &scaling,
                            hp->is_gguf ? defaults->gguf_pairs : defaults->hf_pairs, out);
}

void llrti_rope_read(llrti_hparams *hp, llrti_arena *arena, uint32_t head_dim, uint32_t n_ctx,
                     llrt_rope_pairs gguf_pairs, llrti_rope *out)
{
    llrti_rope_read_as(
        hp, arena, head_dim, n_ctx,
        &(llrti_rope_defaults){.gguf_pairs = gguf_pairs, .hf_pairs = LLRT_ROPE_HALVES}, out);
}
