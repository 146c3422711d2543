/* SPDX-License-Identifier: MIT */
/*
 * Structs grow only at the end, so a caller built against another version is served by copying the
 * smaller of the two sizes; bytes beyond ours must be zero, since they would be options we don't
 * know.
 */
#include "sampler_options.h"

#include <string.h>

#include "error.h"

/* Twice any vocabulary in use; keeps sizes far from overflow. */
#define MAX_VOCAB (1u << 24)

/* No version will have larger options; more is a struct that was never initialised. */
#define MAX_STRUCT 4096

static const float infinity = (float)(1e300 * 1e300);

static llrt_sampler_options default_options(void)
{
    return (llrt_sampler_options){
        .struct_size = (uint32_t)sizeof(llrt_sampler_options),
        .temperature = 0.8f,
        .top_k = 40,
        .top_p = 0.95f,
        .min_p = 0.05f,
        .typical_p = 1.0f,
        .top_n_sigma = -1.0f,
        .xtc_threshold = 0.1f,
        .repetition_penalty = 1.0f,
        .penalty_last_n = 64,
        .dry_base = 1.75f,
        .dry_allowed_length = 2,
        .dry_last_n = -1,
        .mirostat_tau = 5.0f,
        .mirostat_eta = 0.1f,
        .n_min_keep = 1,
    };
}

void llrt_sampler_options_init(llrt_sampler_options *options, size_t struct_size)
{
    if (!options || struct_size < sizeof options->struct_size || struct_size > UINT32_MAX) return;
    const llrt_sampler_options defaults = default_options();
    memset(options, 0, struct_size);
    memcpy(options, &defaults, struct_size < sizeof defaults ? struct_size : sizeof defaults);
    options->struct_size = (uint32_t)struct_size;
}

static llrt_status check_float(const char *name, float value, float low, float high,
                               llrt_error *err)
{
    if (value >= low && value <= high) return LLRT_OK;
    if (high < 0x1.fffffep127f)
        return llrti_fail_field(err, LLRT_ERR_ARGUMENT, name, "%s is %g, expected %g to %g", name,
                                (double)value, (double)low, (double)high);
    return llrti_fail_field(err, LLRT_ERR_ARGUMENT, name,
                            "%s is %g, expected a finite number from %g on", name, (double)value,
                            (double)low);
}

static llrt_status check_int(const char *name, int64_t value, int64_t low, int64_t high,
                             llrt_error *err)
{
    if (value >= low && value <= high) return LLRT_OK;
    return llrti_fail_field(err, LLRT_ERR_ARGUMENT, name, "%s is %lld, expected %lld to %lld", name,
                            (long long)value, (long long)low, (long long)high);
}

static llrt_status check_numbers(const llrt_sampler_options *o, llrt_error *err)
{
    const float max = 0x1.fffffep127f;
    if (o->mirostat != 0 && o->mirostat != 2)
        return llrti_fail_field(err, LLRT_ERR_ARGUMENT, "mirostat",
                                "mirostat is %u, expected 0 or 2", o->mirostat);
    const struct {
        const char *name;
        float value, low, high;
    } floats[] = {
        {"temperature", o->temperature, 0.0f, max},
        {"top_p", o->top_p, 0.0f, 1.0f},
        {"min_p", o->min_p, 0.0f, 1.0f},
        {"typical_p", o->typical_p, 0.0f, 1.0f},
        {"top_n_sigma", o->top_n_sigma, -max, max},
        {"xtc_probability", o->xtc_probability, 0.0f, 1.0f},
        {"xtc_threshold", o->xtc_threshold, 0.0f, 1.0f},
        {"repetition_penalty", o->repetition_penalty, 0x1p-126f, max},
        {"frequency_penalty", o->frequency_penalty, -max, max},
        {"presence_penalty", o->presence_penalty, -max, max},
        {"dry_multiplier", o->dry_multiplier, 0.0f, max},
        {"dry_base", o->dry_base, 1.0f, max},
        {"mirostat_tau", o->mirostat_tau, 0.0f, max},
        {"mirostat_eta", o->mirostat_eta, 0.0f, max},
    };
    for (size_t i = 0; i < LLRTI_COUNT(floats); i++)
        LLRTI_TRY(check_float(floats[i].name, floats[i].value, floats[i].low, floats[i].high, err));
    LLRTI_TRY(check_int("top_k", o->top_k, 0, INT32_MAX, err));
    LLRTI_TRY(check_int("penalty_last_n", o->penalty_last_n, -1, LLRTI_SAMPLER_HISTORY, err));
    LLRTI_TRY(check_int("dry_last_n", o->dry_last_n, -1, LLRTI_SAMPLER_HISTORY, err));
    LLRTI_TRY(
        check_int("dry_allowed_length", o->dry_allowed_length, 0, LLRTI_SAMPLER_HISTORY, err));
    return check_int("n_logprobs", o->n_logprobs, 0, 1024, err);
}

static llrt_status check_token(const char *name, uint32_t index, int32_t token, uint32_t n_vocab,
                               llrt_error *err)
{
    if (token >= 0 && (uint32_t)token < n_vocab) return LLRT_OK;
    llrti_fail_field(err, LLRT_ERR_ARGUMENT, name, "entry %u of %s is token %ld, expected 0 to %lu",
                     index, name, (long)token, (unsigned long)n_vocab - 1);
    llrti_error_position(err, index);
    return LLRT_ERR_ARGUMENT;
}

static llrt_status check_lists(const llrt_sampler_options *o, uint32_t n_vocab, llrt_error *err)
{
    LLRTI_TRY(check_int("n_logit_bias", o->n_logit_bias, 0, n_vocab, err));
    LLRTI_TRY(check_int("n_dry_breaker", o->n_dry_breaker, 0, n_vocab, err));
    if (o->n_logit_bias && !o->logit_bias)
        return llrti_fail_field(err, LLRT_ERR_ARGUMENT, "logit_bias",
                                "logit_bias is NULL, expected %u entries", o->n_logit_bias);
    if (o->n_dry_breaker && !o->dry_breaker)
        return llrti_fail_field(err, LLRT_ERR_ARGUMENT, "dry_breaker",
                                "dry_breaker is NULL, expected %u entries", o->n_dry_breaker);
    for (uint32_t i = 0; i < o->n_logit_bias; i++) {
        LLRTI_TRY(check_token("logit_bias", i, o->logit_bias[i].token, n_vocab, err));
        const float bias = o->logit_bias[i].bias;
        if (bias < infinity) continue;
        llrti_fail_field(
            err, LLRT_ERR_ARGUMENT, "logit_bias",
            "entry %u of logit_bias has the bias %g, expected a finite number or -infinity", i,
            (double)bias);
        llrti_error_position(err, i);
        return LLRT_ERR_ARGUMENT;
    }
    for (uint32_t i = 0; i < o->n_dry_breaker; i++)
        LLRTI_TRY(check_token("dry_breaker", i, o->dry_breaker[i], n_vocab, err));
    return LLRT_OK;
}

llrt_status llrti_sampler_options_take(uint32_t n_vocab, const llrt_sampler_options *from,
                                       llrt_sampler_options *out, llrt_error *err)
{
    *out = default_options();
    if (from) {
        const uint32_t size = from->struct_size;
        if (size < sizeof size || size > MAX_STRUCT)
            return llrti_fail_field(err, LLRT_ERR_ARGUMENT, "struct_size",
                                    "struct_size is %u: call llrt_sampler_options_init first",
                                    size);
        for (size_t i = sizeof *out; i < size; i++)
            if (((const unsigned char *)from)[i] != 0)
                return llrti_fail_field(
                    err, LLRT_ERR_VERSION, "struct_size",
                    "byte %zu of the options is set, but this library knows only %zu bytes", i,
                    sizeof *out);
        memcpy(out, from, size < sizeof *out ? size : sizeof *out);
        out->struct_size = (uint32_t)sizeof *out;
    }
    LLRTI_TRY(check_int("n_vocab", n_vocab, 1, MAX_VOCAB, err));
    LLRTI_TRY(check_numbers(out, err));
    return check_lists(out, n_vocab, err);
}
