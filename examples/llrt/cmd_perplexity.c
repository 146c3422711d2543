/* SPDX-License-Identifier: MIT */
/*
 * llrt perplexity: exp of the mean negative log-likelihood, over the second half of each window of n_ctx
 * tokens, windows side by side: the way perplexities of GGUF models are usually published. Each window begins with
 * bos where the model has one.
 */
#include "common.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* -log softmax(logits)[target], in double. */
static double negative_log_likelihood(const float *logits, uint32_t n_vocab, int32_t target)
{
    double max = logits[0], sum = 0;
    for (uint32_t i = 1; i < n_vocab; i++)
        if (logits[i] > max) max = logits[i];
    for (uint32_t i = 0; i < n_vocab; i++) sum += exp(logits[i] - max);
    return max + log(sum) - logits[target];
}

typedef struct totals {
    double sum, sum2;
    size_t n;
} totals;

static void score_window(llrt_session *session, const int32_t *tokens, size_t n_ctx,
                         uint32_t n_vocab, totals *t)
{
    llrt_error err = LLRT_ERROR_INIT;
    enum { CHUNK = 64 };
    const size_t first = n_ctx / 2;
    if (llrt_session_rewind(session, 0, &err) < 0) die(&err);
    if (llrt_session_append(session, tokens, first, LLRT_LOGITS_NONE, &err) < 0) die(&err);
    for (size_t i = first; i + 1 < n_ctx; i += CHUNK) {
        const size_t count = n_ctx - 1 - i < CHUNK ? n_ctx - 1 - i : CHUNK;
        if (llrt_session_append(session, tokens + i, count, LLRT_LOGITS_ALL, &err) < 0) die(&err);
        for (size_t row = 0; row < count; row++) {
            const float *logits;
            if (llrt_session_logits(session, (int32_t)row, &logits, &err) < 0) die(&err);
            const double nll = negative_log_likelihood(logits, n_vocab, tokens[i + row + 1]);
            t->sum += nll;
            t->sum2 += nll * nll;
            t->n++;
        }
    }
}

int cmd_perplexity(int argc, char **argv)
{
    const char *path = NULL;
    run_flags flags;
    const opt options[] = {
        {"-f", "--file", OPT_TEXT, &path, "TEXT", "the text, or - for stdin", 0, 0},
        {NULL, NULL, OPT_FLAG, NULL, NULL, NULL, 0, 0},
    };
    const command cmd = {
        "perplexity", "MODEL -f TEXT [-c 512]",
        "Cuts the text into windows of -c tokens (default 512) and scores the second half of each\n"
        "given what comes before it. KV cache and products are f32 by default, so that the figure\n"
        "is the file's; --precision auto gives that of the fast path.",
        options, common_flags(&flags, KV_F32)};
    flags.precision = (int)LLRT_PRECISION_F32;
    const char *args[1];
    if (parse_options(&cmd, argc, argv, args, 1) < 1 || !path)
        usage_error("perplexity: MODEL and -f are needed (see llrt perplexity --help)");
    if (flags.n_ctx == 0) flags.n_ctx = 512;
    if (flags.n_ctx < 8) usage_error("perplexity: -c: at least 8 tokens");
    size_t n_text, n;
    char *text = read_file(path, &n_text);
    llrt_engine_options eo = engine_options(&flags);
    llrt_engine *engine = open_engine(args[0], &eo);
    const llrt_tokenizer *tokenizer = need_tokenizer(engine, args[0]);
    llrt_session *session = open_session(engine, &flags);

    int32_t *tokens = encode(tokenizer, text, n_text, LLRT_ENCODE_ADD_SPECIAL, &n);
    const int32_t bos = llrt_tokenizer_special(tokenizer, LLRT_SPECIAL_BOS);
    const int add_bos = n > 0 && bos != LLRT_TOKEN_NONE && tokens[0] == bos;
    const size_t n_ctx = (size_t)flags.n_ctx, n_window = n / n_ctx;
    if (n_window == 0)
        usage_error("%s: %zu tokens are fewer than one window of %zu", path, n, n_ctx);
    totals t = {0, 0, 0};
    for (size_t w = 0; w < n_window; w++) {
        if (add_bos) tokens[w * n_ctx] = bos;
        score_window(session, tokens + w * n_ctx, n_ctx, llrt_tokenizer_n_vocab(tokenizer), &t);
        printf("%s[%zu]%.4f", w ? "," : "", w + 1, exp(t.sum / (double)t.n));
        fflush(stdout);
    }
    const double mean = t.sum / (double)t.n, variance = t.sum2 / (double)t.n - mean * mean;
    const double error = t.n > 1 ? exp(mean) * sqrt(variance / (double)(t.n - 1)) : 0;
    printf("\nperplexity %.4f +/- %.4f, mean nll %.6f over %zu tokens in %zu windows of %zu\n",
           exp(mean), error, mean, t.n, n_window, n_ctx);
    free(text);
    free(tokens);
    llrt_session_free(session);
    llrt_engine_close(engine);
    return 0;
}
