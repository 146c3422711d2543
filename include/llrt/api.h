/* SPDX-License-Identifier: MIT */
/*
 * All public functions in one table, for programs that load the library with dlopen: one symbol to
 * look up, llrt_get_api. Members are named like the functions without "llrt_" and do the same.
 *
 * The table only grows at its end; a member is there when its offset is below struct_size.
 * Constant, any thread, valid as long as the library is loaded.
 */
#ifndef LLRT_API_H
#define LLRT_API_H

#include "adapter.h"
#include "embedding.h"
#include "generate.h"
#include "quantize.h"
#include "imatrix.h"

#ifdef __cplusplus
extern "C" {
#endif

/** Version of the table's layout. */
#define LLRT_API_VERSION 1

typedef struct llrt_api {
    size_t struct_size; /**< of the table in the library */

    /* base.h */
    uint32_t (*version)(void);
    const char *(*build_info)(void);

    /* status.h */
    const char *(*status_name)(llrt_status status);
    const char *(*status_text)(llrt_status status);

    /* source.h */
    void (*source_init)(llrt_source *source, size_t struct_size);
    void (*source_init_fd)(llrt_source *source, size_t struct_size, int fd);
    void (*source_init_memory)(llrt_source *source, size_t struct_size, const llrt_blob *blob);

    /* device.h */
    llrt_status (*device_get)(const char *plugin_dir, uint32_t index, llrt_device_info *info,
                              llrt_error *err);

    /* tokenizer.h */
    void (*tokenizer_options_init)(llrt_tokenizer_options *options, size_t struct_size);
    llrt_status (*tokenizer_open)(const char *path, const llrt_tokenizer_options *options,
                                  llrt_tokenizer **out, llrt_error *err);
    llrt_status (*tokenizer_open_memory)(const void *data, size_t size,
                                         const llrt_tokenizer_options *options,
                                         llrt_tokenizer **out, llrt_error *err);
    llrt_status (*tokenizer_encode)(const llrt_tokenizer *tokenizer, const char *text,
                                    size_t n_text, llrt_encode_flags flags, int32_t *tokens,
                                    size_t capacity, size_t *n_token, llrt_error *err);
    llrt_status (*tokenizer_decode)(const llrt_tokenizer *tokenizer, const int32_t *tokens,
                                    size_t n_token, llrt_decode_flags flags, char *text,
                                    size_t capacity, size_t *n_text, llrt_error *err);
    uint32_t (*tokenizer_n_vocab)(const llrt_tokenizer *tokenizer);
    int32_t (*tokenizer_special)(const llrt_tokenizer *tokenizer, llrt_special which);
    int32_t (*tokenizer_find)(const llrt_tokenizer *tokenizer, const char *text, size_t n_text);
    llrt_status (*tokenizer_token_info)(const llrt_tokenizer *tokenizer, int32_t token,
                                        llrt_token_info *info, llrt_error *err);
    int (*tokenizer_is_end)(const llrt_tokenizer *tokenizer, int32_t token);
    const char *(*tokenizer_kind)(const llrt_tokenizer *tokenizer);
    void (*tokenizer_free)(llrt_tokenizer *tokenizer);
    llrt_status (*token_stream_create)(llrt_tokenizer *tokenizer, llrt_decode_flags flags,
                                       llrt_token_stream **out, llrt_error *err);
    llrt_status (*token_stream_push)(llrt_token_stream *stream, int32_t token, const char **text,
                                     size_t *n_text, llrt_error *err);
    llrt_status (*token_stream_flush)(llrt_token_stream *stream, const char **text, size_t *n_text,
                                      llrt_error *err);
    void (*token_stream_free)(llrt_token_stream *stream);

    /* sampler.h */
    void (*sampler_options_init)(llrt_sampler_options *options, size_t struct_size);
    llrt_status (*sampler_create)(uint32_t n_vocab, const llrt_sampler_options *options,
                                  llrt_sampler **out, llrt_error *err);
    llrt_status (*sampler_clone)(const llrt_sampler *sampler, llrt_sampler **out, llrt_error *err);
    llrt_status (*sampler_sample)(llrt_sampler *sampler, const float *logits, int32_t *token,
                                  llrt_error *err);
    llrt_status (*sampler_accept)(llrt_sampler *sampler, int32_t token, llrt_error *err);
    const llrt_logprob *(*sampler_logprobs)(const llrt_sampler *sampler, size_t *n);
    llrt_status (*sampler_distribution)(llrt_sampler *sampler, const float *logits,
                                        llrt_candidate *candidates, size_t *n, llrt_error *err);
    void (*sampler_reset)(llrt_sampler *sampler);
    void (*sampler_set_seed)(llrt_sampler *sampler, uint64_t seed);
    uint32_t (*sampler_n_vocab)(const llrt_sampler *sampler);
    void (*sampler_free)(llrt_sampler *sampler);

    /* engine.h */
    void (*engine_options_init)(llrt_engine_options *options, size_t struct_size);
    llrt_status (*engine_open)(const char *path, const llrt_engine_options *options,
                               llrt_engine **out, llrt_error *err);
    llrt_status (*engine_plan)(const char *path, const llrt_engine_options *options,
                               llrt_plan *plan, llrt_error *err);
    llrt_status (*engine_info)(const llrt_engine *engine, llrt_model_info *info, llrt_error *err);
    llrt_status (*engine_meta)(const llrt_engine *engine, uint32_t index, llrt_meta *meta,
                               llrt_error *err);
    llrt_status (*engine_tensor)(const llrt_engine *engine, uint32_t index, llrt_tensor_info *info,
                                 llrt_error *err);
    llrt_tokenizer *(*engine_tokenizer)(const llrt_engine *engine);
    llrt_status (*engine_get_stats)(const llrt_engine *engine, llrt_engine_stats *stats,
                                    llrt_error *err);
    void (*engine_close)(llrt_engine *engine);

    /* session.h */
    void (*session_options_init)(llrt_session_options *options, size_t struct_size);
    void (*input_init)(llrt_input *input, size_t struct_size);
    void (*step_entry_init)(llrt_step_entry *entry, size_t struct_size);
    llrt_status (*session_create)(llrt_engine *engine, const llrt_session_options *options,
                                  llrt_session **out, llrt_error *err);
    llrt_status (*session_append)(llrt_session *session, const int32_t *tokens, size_t n_tok,
                                  llrt_logits logits, llrt_error *err);
    llrt_status (*session_append_input)(llrt_session *session, const llrt_input *input,
                                        llrt_error *err);
    llrt_status (*session_sync)(llrt_session *session, const int32_t *tokens, size_t n_tok,
                                llrt_logits logits, size_t *n_reused, llrt_error *err);
    llrt_status (*session_logits)(llrt_session *session, int32_t row, const float **out,
                                  llrt_error *err);
    llrt_status (*session_hidden)(llrt_session *session, int32_t row, const float **out,
                                  llrt_error *err);
    size_t (*session_n_logits)(const llrt_session *session);
    llrt_status (*session_rewind)(llrt_session *session, size_t n_tok, llrt_error *err);
    llrt_status (*session_fork)(llrt_session *session, llrt_session **out, llrt_error *err);
    llrt_status (*session_save)(llrt_session *session, const char *path, llrt_error *err);
    llrt_status (*session_save_to)(llrt_session *session, llrt_write write, void *ctx,
                                   llrt_error *err);
    llrt_status (*session_load)(llrt_session *session, const char *path, llrt_error *err);
    llrt_status (*session_load_from)(llrt_session *session, llrt_read read, void *ctx,
                                     llrt_error *err);
    void (*session_cancel)(llrt_session *session);
    size_t (*session_n_tok)(const llrt_session *session);
    const int32_t *(*session_tokens)(const llrt_session *session);
    size_t (*session_n_ctx)(const llrt_session *session);
    llrt_engine *(*session_engine)(const llrt_session *session);
    void (*session_free)(llrt_session *session);
    llrt_status (*engine_step)(llrt_engine *engine, llrt_step_entry *entries, size_t n,
                               size_t entry_size, llrt_error *err);

    /* generate.h */
    void (*generate_options_init)(llrt_generate_options *options, size_t struct_size);
    llrt_status (*generate)(llrt_session *session, llrt_sampler *sampler, const char *prompt,
                            size_t n_prompt, const llrt_generate_options *options,
                            llrt_generate_result *result, llrt_error *err);

    /* quantize.h */
    void (*quantize_options_init)(llrt_quantize_options *options, size_t struct_size);
    llrt_status (*quantize)(const char *in_path, const char *out_path,
                            const llrt_quantize_options *options, llrt_error *err);
    /* adapter.h */
    void (*adapter_options_init)(llrt_adapter_options *options, size_t struct_size);
    llrt_status (*adapter_open)(llrt_engine *engine, const char *path,
                                const llrt_adapter_options *options, llrt_adapter **out,
                                llrt_error *err);
    llrt_status (*adapter_get_info)(const llrt_adapter *adapter, llrt_adapter_info *info,
                                    llrt_error *err);
    void (*adapter_close)(llrt_adapter *adapter);
    llrt_status (*session_set_adapters)(llrt_session *session, llrt_adapter *const *adapters,
                                        const float *scales, size_t n, llrt_error *err);

    /* imatrix.h */
    void (*imatrix_options_init)(llrt_imatrix_options *options, size_t struct_size);
    llrt_status (*engine_squares_info)(const llrt_engine *engine, uint32_t index,
                                       llrt_squares_info *info, llrt_error *err);
    llrt_status (*engine_squares)(llrt_engine *engine, uint32_t index, double *sum, size_t n_sum,
                                  uint64_t *count, size_t n_count, llrt_error *err);
    llrt_status (*engine_squares_reset)(llrt_engine *engine, llrt_error *err);
    llrt_status (*imatrix_save)(llrt_engine *engine, const char *path,
                                const llrt_imatrix_options *options, llrt_error *err);

    /* embedding.h, and of session.h what came later */
    void (*embedding_options_init)(llrt_embedding_options *options, size_t struct_size);
    llrt_status (*session_embed)(llrt_session *session, const int32_t *tokens, size_t n_tok,
                                 const llrt_embedding_options *options, float *out, size_t n,
                                 llrt_error *err);
    llrt_status (*session_score)(llrt_session *session, const int32_t *tokens, size_t n_tok,
                                 const llrt_embedding_options *options, float *out, size_t n,
                                 llrt_error *err);
    llrt_status (*session_tap)(llrt_session *session, uint32_t layer, int32_t row,
                               const float **out, llrt_error *err);
} llrt_api;

/** Type of llrt_get_api, for the result of dlsym. */
typedef const llrt_api *(*llrt_get_api_fn)(uint32_t version);

/**
 * The table of functions.
 * @param version LLRT_API_VERSION of the caller's header
 * @return NULL when the library does not know that version: it is older than the header
 */
LLRT_API const llrt_api *llrt_get_api(uint32_t version);

#ifdef __cplusplus
}
#endif
#endif
