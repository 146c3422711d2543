/* SPDX-License-Identifier: MIT */
/*
 * Defaults and ranges of engine and session options. See options.h.
 */
#include "options.h"

#include <string.h>

#include "error.h"
#include "os.h"
#include "struct_copy.h"

#define DEFAULT_STEP_TOK 512u

static const llrt_engine_options engine_defaults = {
    .struct_size = (uint32_t)sizeof(llrt_engine_options),
    .n_step_seq = 16,
    .n_step_out = 16,
    .kv_type = LLRT_TYPE_F16,
    .precision = LLRT_PRECISION_AUTO,
    .weights = LLRT_WEIGHTS_REPACKED,
};

static const llrt_session_options session_defaults = {
    .struct_size = (uint32_t)sizeof(llrt_session_options),
    .n_logits = 1,
};

void llrt_engine_options_init(llrt_engine_options *options, size_t struct_size)
{
    llrti_struct_copy_init(options, struct_size, &engine_defaults, sizeof engine_defaults);
}

void llrt_session_options_init(llrt_session_options *options, size_t struct_size)
{
    llrti_struct_copy_init(options, struct_size, &session_defaults, sizeof session_defaults);
}

static llrt_status check_range(const char *field, uint64_t found, uint64_t least, uint64_t most,
                               llrt_error *err)
{
    if (found >= least && found <= most) return LLRT_OK;
    return llrti_fail_field(err, LLRT_ERR_ARGUMENT, field, "found %llu, expected %llu to %llu",
                            (unsigned long long)found, (unsigned long long)least,
                            (unsigned long long)most);
}

static llrt_status check_kv_type(llrt_type type, llrt_error *err)
{
    if (type == LLRT_TYPE_F32 || type == LLRT_TYPE_F16 || type == LLRT_TYPE_BF16 ||
        type == LLRT_TYPE_Q8_0)
        return LLRT_OK;
    return llrti_fail_field(err, LLRT_ERR_ARGUMENT, "kv_type",
                            "found type %u, expected F32, F16, BF16 or Q8_0", type);
}

llrt_status llrti_options_engine(const llrt_engine_options *from, llrt_engine_options *out,
                                 llrt_error *err)
{
    llrt_engine_options o = engine_defaults;
    if (from) LLRTI_TRY(llrti_struct_copy_in(&o, sizeof o, from, "llrt_engine_options", err));
    LLRTI_TRY(check_range("n_ctx", o.n_ctx, 0, LLRTI_CTX_MAX, err));
    LLRTI_TRY(check_range("kv_tok", o.kv_tok, 0, (uint64_t)LLRTI_PAGE_MAX * LLRT_PAGE_TOK, err));
    if (o.kv_tok && o.kv_bytes) {
        return llrti_fail_field(err, LLRT_ERR_ARGUMENT, "kv_bytes",
                                "kv_tok and kv_bytes are both set, expected one of them");
    }
    LLRTI_TRY(check_range("n_step_tok", o.n_step_tok, 0, LLRTI_STEP_TOK_MAX, err));
    LLRTI_TRY(check_range("n_step_seq", o.n_step_seq, 1, LLRTI_STEP_SEQ_MAX, err));
    LLRTI_TRY(check_range("n_step_out", o.n_step_out, 1, LLRTI_STEP_TOK_MAX, err));
    LLRTI_TRY(check_range("n_thread", o.n_thread, 0, LLRTI_THREAD_MAX, err));
    LLRTI_TRY(check_kv_type(o.kv_type, err));
    LLRTI_TRY(check_range("precision", o.precision, 0, LLRT_PRECISION_PORTABLE, err));
    LLRTI_TRY(check_range("weights", o.weights, 0, LLRT_WEIGHTS_MAPPED, err));
    LLRTI_TRY(check_range("metadata_only", o.metadata_only, 0, 1, err));
    LLRTI_TRY(check_range("reserved", o.reserved, 0, 0, err));
    LLRTI_TRY(check_range("kv_window_tok", o.kv_window_tok, 0,
                          (uint64_t)LLRTI_PAGE_MAX * LLRT_PAGE_TOK, err));
    LLRTI_TRY(check_range("n_snapshot", o.n_snapshot, 0, LLRTI_PAGE_MAX, err));
    LLRTI_TRY(check_range("with_squares", o.with_squares, 0, 1, err));
    LLRTI_TRY(check_range("n_adapter", o.n_adapter, 0, LLRTI_ADAPTER_MAX, err));
    LLRTI_TRY(check_range("adapter_rank", o.adapter_rank, 0, LLRTI_ADAPTER_RANK_MAX, err));
    if (!o.n_adapter != !o.adapter_rank) {
        return llrti_fail_field(err, LLRT_ERR_ARGUMENT, o.n_adapter ? "adapter_rank" : "n_adapter",
                                "n_adapter is %u and adapter_rank %u, expected both or neither",
                                o.n_adapter, o.adapter_rank);
    }
    LLRTI_TRY(check_range("n_tap", o.n_tap, 0, LLRTI_TAP_MAX, err));
    if (o.n_tap && !o.tap_layer) {
        return llrti_fail_field(err, LLRT_ERR_ARGUMENT, "tap_layer",
                                "n_tap is %u, but tap_layer is NULL", o.n_tap);
    }
    if (o.n_placement && !o.placement) {
        return llrti_fail_field(err, LLRT_ERR_ARGUMENT, "placement",
                                "n_placement is %u, but placement is NULL", o.n_placement);
    }
    if (!o.n_placement) o.placement = NULL;
    if (o.n_thread == 0) {
        o.n_thread = llrti_cpu_count();
        if (o.n_thread > LLRTI_THREAD_MAX) o.n_thread = LLRTI_THREAD_MAX;
    }
    *out = o;
    return LLRT_OK;
}

llrt_status llrti_options_step(llrt_engine_options *o, bool is_whole, uint32_t n_ctx,
                               llrt_error *err)
{
    if (o->n_step_tok == 0) o->n_step_tok = is_whole ? n_ctx : DEFAULT_STEP_TOK;
    LLRTI_TRY(check_range("n_step_tok", o->n_step_tok, 1, LLRTI_STEP_TOK_MAX, err));
    /* A step has no use for more sequences or outputs than rows. */
    if (o->n_step_seq > o->n_step_tok) o->n_step_seq = o->n_step_tok;
    if (o->n_step_out > o->n_step_tok) o->n_step_out = o->n_step_tok;
    return LLRT_OK;
}

llrt_status llrti_options_session(const llrt_session_options *from, uint32_t engine_n_ctx,
                                  llrt_session_options *out, llrt_error *err)
{
    llrt_session_options o = session_defaults;
    if (from) LLRTI_TRY(llrti_struct_copy_in(&o, sizeof o, from, "llrt_session_options", err));
    LLRTI_TRY(check_range("n_ctx", o.n_ctx, 0, engine_n_ctx, err));
    LLRTI_TRY(check_range("n_logits", o.n_logits, 0, LLRTI_CTX_MAX, err));
    LLRTI_TRY(check_range("with_hidden", o.with_hidden, 0, 1, err));
    if (o.n_ctx == 0) o.n_ctx = engine_n_ctx;
    if (o.n_logits == 0) o.n_logits = 1;
    *out = o;
    return LLRT_OK;
}
