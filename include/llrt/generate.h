/* SPDX-License-Identifier: MIT */
/*
 * llrt_generate: the loop most programs want. Encodes a prompt, appends it to a session, samples
 * token after token and hands out whole UTF-8 text until the model ends, a stop string appears,
 * a limit is reached or the callback says stop.
 */
#ifndef LLRT_GENERATE_H
#define LLRT_GENERATE_H

#include "session.h"

#ifdef __cplusplus
extern "C" {
#endif

/**
 * Receives text: `n` bytes of whole UTF-8 characters, not NUL-terminated, valid during the call;
 * never part of a stop string. On the thread of llrt_generate, no lock held: it may use other
 * handles, and cancel this session.
 * @return 0 to go on, anything else to stop (finish reason LLRT_FINISH_CALLBACK)
 */
typedef int (*llrt_on_text)(void *ctx, const char *text, size_t n);

typedef int32_t llrt_finish;
enum {
    LLRT_FINISH_NONE = 0,
    LLRT_FINISH_END = 1,      /**< the model gave an end token */
    LLRT_FINISH_STOP = 2,     /**< a stop string appeared */
    LLRT_FINISH_LENGTH = 3,   /**< max_tok reached */
    LLRT_FINISH_CONTEXT = 4,  /**< the context is full */
    LLRT_FINISH_CALLBACK = 5, /**< the callback stopped it */
    LLRT_FINISH_CANCELLED = 6 /**< llrt_session_cancel */
};

typedef struct llrt_generate_options {
    uint32_t struct_size;
    uint32_t n_stop;              /**< at most 64 stop strings, each 1 to 1024 bytes */
    uint64_t max_tok;             /**< default 0: until the context is full */
    const char *const *stop;      /**< NUL-terminated, borrowed */
    const int32_t *prompt_tokens; /**< instead of the text prompt, borrowed; default NULL */
    size_t n_prompt_token;
    /** 1: control tokens in the prompt's text count as such; for trusted text */
    uint32_t parse_special;
    uint32_t ignore_end;   /**< 1: go on past end tokens */
    uint32_t show_special; /**< 1: control tokens appear in the text */
    uint32_t reserved;     /**< 0 */
    llrt_on_text on_text;  /**< may be NULL */
    void *ctx;
} llrt_generate_options;

typedef struct llrt_generate_result {
    uint32_t struct_size;
    llrt_finish finish;
    uint64_t n_prompt;    /**< tokens of the prompt */
    uint64_t n_generated; /**< tokens sampled, the end token included */
    uint64_t n_reused;    /**< prompt tokens that were found computed already */
    uint64_t prompt_ns;   /**< until the first token was sampled */
    uint64_t generate_ns; /**< after that */
    int32_t stop_index;   /**< which stop string, -1: none */
    uint32_t reserved;
} llrt_generate_result;

LLRT_API void llrt_generate_options_init(llrt_generate_options *options, size_t struct_size);

/**
 * Continues `session` with a prompt and the model's answer.
 * @param sampler  NULL: a default one with seed 0 is made for the call
 * @param prompt   n_prompt bytes, borrowed; bos is added as the model wants it when the session is
 *     empty. An empty prompt
 *                 on a session with tokens goes on from its end
 * @param options  borrowed, NULL: defaults
 * @param result   may be NULL; set result->struct_size first. Filled on failure and cancellation,
 *     too
 * @return LLRT_OK also for finish reasons CONTEXT and CALLBACK; LLRT_ERR_CANCELLED;
 *     LLRT_ERR_ARGUMENT (an empty prompt on an empty session of a model without bos); else as
 *     llrt_session_append
 * @note The session ends with the prompt and all sampled tokens but a last one that ended the
 *     generation; call again to go on.
 */
LLRT_API llrt_status llrt_generate(llrt_session *session, llrt_sampler *sampler, const char *prompt,
                                   size_t n_prompt, const llrt_generate_options *options,
                                   llrt_generate_result *result, llrt_error *err);

#ifdef __cplusplus
}
#endif
#endif
