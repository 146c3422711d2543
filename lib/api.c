/* SPDX-License-Identifier: MIT */
/*
 * Version, build information and the table of all public functions: the part of the public API that
 * belongs to no handle. Everything here is constant and callable from any thread.
 */
#include <llrt/api.h>

#include <utf8proc.h>

#define TEXT_(x) #x
#define TEXT(x) TEXT_(x)

#if defined(__clang__)
#define COMPILER "clang " TEXT(__clang_major__)
#elif defined(__GNUC__)
#define COMPILER "gcc " TEXT(__GNUC__)
#else
#define COMPILER "an unknown compiler"
#endif

uint32_t llrt_version(void)
{
    return LLRT_VERSION;
}

/* The Unicode version of utf8proc's tables is known only to a running program: the build asks for it when it can
 * run one. */
#if !defined(LLRTI_UNICODE_VERSION)
#define LLRTI_UNICODE_VERSION "unknown"
#endif

/* clang-format off */
static const char build_info[] =
    "llrt " TEXT(LLRT_VERSION_MAJOR) "." TEXT(LLRT_VERSION_MINOR) "." TEXT(LLRT_VERSION_PATCH)
    ", backends: cpu, utf8proc " TEXT(UTF8PROC_VERSION_MAJOR) "." TEXT(UTF8PROC_VERSION_MINOR) "."
    TEXT(UTF8PROC_VERSION_PATCH) " (Unicode " LLRTI_UNICODE_VERSION "), built with " COMPILER;
/* clang-format on */

const char *llrt_build_info(void)
{
    return build_info;
}

static const llrt_api table = {
    .struct_size = sizeof(llrt_api),
    .version = llrt_version,
    .build_info = llrt_build_info,
    .status_name = llrt_status_name,
    .status_text = llrt_status_text,
    .source_init = llrt_source_init,
    .source_init_fd = llrt_source_init_fd,
    .source_init_memory = llrt_source_init_memory,
    .device_get = llrt_device_get,
    .tokenizer_options_init = llrt_tokenizer_options_init,
    .tokenizer_open = llrt_tokenizer_open,
    .tokenizer_open_memory = llrt_tokenizer_open_memory,
    .tokenizer_encode = llrt_tokenizer_encode,
    .tokenizer_decode = llrt_tokenizer_decode,
    .tokenizer_n_vocab = llrt_tokenizer_n_vocab,
    .tokenizer_special = llrt_tokenizer_special,
    .tokenizer_find = llrt_tokenizer_find,
    .tokenizer_token_info = llrt_tokenizer_token_info,
    .tokenizer_is_end = llrt_tokenizer_is_end,
    .tokenizer_kind = llrt_tokenizer_kind,
    .tokenizer_free = llrt_tokenizer_free,
    .token_stream_create = llrt_token_stream_create,
    .token_stream_push = llrt_token_stream_push,
    .token_stream_flush = llrt_token_stream_flush,
    .token_stream_free = llrt_token_stream_free,
    .sampler_options_init = llrt_sampler_options_init,
    .sampler_create = llrt_sampler_create,
    .sampler_clone = llrt_sampler_clone,
    .sampler_sample = llrt_sampler_sample,
    .sampler_accept = llrt_sampler_accept,
    .sampler_logprobs = llrt_sampler_logprobs,
    .sampler_distribution = llrt_sampler_distribution,
    .sampler_reset = llrt_sampler_reset,
    .sampler_set_seed = llrt_sampler_set_seed,
    .sampler_n_vocab = llrt_sampler_n_vocab,
    .sampler_free = llrt_sampler_free,
    .engine_options_init = llrt_engine_options_init,
    .engine_open = llrt_engine_open,
    .engine_plan = llrt_engine_plan,
    .engine_info = llrt_engine_info,
    .engine_meta = llrt_engine_meta,
    .engine_tensor = llrt_engine_tensor,
    .engine_tokenizer = llrt_engine_tokenizer,
    .engine_get_stats = llrt_engine_get_stats,
    .engine_close = llrt_engine_close,
    .session_options_init = llrt_session_options_init,
    .input_init = llrt_input_init,
    .step_entry_init = llrt_step_entry_init,
    .session_create = llrt_session_create,
    .session_append = llrt_session_append,
    .session_append_input = llrt_session_append_input,
    .session_sync = llrt_session_sync,
    .session_logits = llrt_session_logits,
    .session_hidden = llrt_session_hidden,
    .session_n_logits = llrt_session_n_logits,
    .session_rewind = llrt_session_rewind,
    .session_fork = llrt_session_fork,
    .session_save = llrt_session_save,
    .session_save_to = llrt_session_save_to,
    .session_load = llrt_session_load,
    .session_load_from = llrt_session_load_from,
    .session_cancel = llrt_session_cancel,
    .session_n_tok = llrt_session_n_tok,
    .session_tokens = llrt_session_tokens,
    .session_n_ctx = llrt_session_n_ctx,
    .session_engine = llrt_session_engine,
    .session_free = llrt_session_free,
    .engine_step = llrt_engine_step,
    .generate_options_init = llrt_generate_options_init,
    .generate = llrt_generate,
    .quantize_options_init = llrt_quantize_options_init,
    .quantize = llrt_quantize,
    .adapter_options_init = llrt_adapter_options_init,
    .adapter_open = llrt_adapter_open,
    .adapter_get_info = llrt_adapter_get_info,
    .adapter_close = llrt_adapter_close,
    .session_set_adapters = llrt_session_set_adapters,
    .imatrix_options_init = llrt_imatrix_options_init,
    .engine_squares_info = llrt_engine_squares_info,
    .engine_squares = llrt_engine_squares,
    .engine_squares_reset = llrt_engine_squares_reset,
    .imatrix_save = llrt_imatrix_save,
    .embedding_options_init = llrt_embedding_options_init,
    .session_embed = llrt_session_embed,
    .session_score = llrt_session_score,
    .session_tap = llrt_session_tap,
};

const llrt_api *llrt_get_api(uint32_t version)
{
    return version >= 1 && version <= LLRT_API_VERSION ? &table : NULL;
}
