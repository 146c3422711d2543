/* SPDX-License-Identifier: MIT */
/*
 * Several sessions in one step: a program that keeps many conversations embeds one engine and advances all of them
 * together, so that the weights are read once for all.
 *
 *     embed_many MODEL
 */
#include <llrt/llrt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { N = 4, MAX_TOKENS = 24, MAX_PROMPT = 64 };

static void die(const llrt_error *err)
{
    fprintf(stderr, "%s\n", err->text);
    exit(1);
}

int main(int argc, char **argv)
{
    static const char *const prompts[N] = {"Once upon a time", "There was a brave fox",
                                           "One day a little bird", "In a green forest"};
    llrt_error err = LLRT_ERROR_INIT;
    llrt_engine *engine;
    llrt_session *session[N];
    llrt_sampler *sampler[N];
    llrt_token_stream *stream[N];
    llrt_step_entry entry[N];
    llrt_sampler_options options;
    int32_t token[N][MAX_PROMPT];
    char text[N][1024];
    int i, t;

    if (argc < 2) {
        fprintf(stderr, "usage: embed_many MODEL\n");
        return 2;
    }
    if (llrt_engine_open(argv[1], NULL, &engine, &err) < 0) die(&err);
    {
        llrt_tokenizer *tokenizer = llrt_engine_tokenizer(engine);
        llrt_sampler_options_init(&options, sizeof options);
        for (i = 0; i < N; i++) {
            size_t n;
            options.seed = (uint64_t)i;
            if (llrt_session_create(engine, NULL, &session[i], &err) < 0) die(&err);
            if (llrt_sampler_create(llrt_tokenizer_n_vocab(tokenizer), &options, &sampler[i],
                                    &err) < 0)
                die(&err);
            if (llrt_token_stream_create(tokenizer, 0, &stream[i], &err) < 0) die(&err);
            if (llrt_tokenizer_encode(tokenizer, prompts[i], strlen(prompts[i]),
                                      LLRT_ENCODE_ADD_SPECIAL, token[i], MAX_PROMPT, &n, &err) < 0)
                die(&err);
            llrt_step_entry_init(&entry[i], sizeof entry[i]);
            entry[i].session = session[i];
            entry[i].sampler = sampler[i];
            entry[i].input.tokens = token[i];
            entry[i].input.n_tok = n;
            strcpy(text[i], prompts[i]);
        }
    }
    for (t = 0; t < MAX_TOKENS;
         t++) { /* the first step computes the prompts, each further one a token of every session */
        if (llrt_engine_step(engine, entry, N, sizeof entry[0], &err) < 0) die(&err);
        for (i = 0; i < N; i++) {
            const char *piece;
            size_t n;
            if (llrt_token_stream_push(stream[i], entry[i].token, &piece, &n, &err) < 0) die(&err);
            strncat(text[i], piece, n < sizeof text[i] - strlen(text[i]) - 1 ? n : 0);
            token[i][0] = entry[i].token;
            entry[i].input.n_tok = 1;
        }
    }
    for (i = 0; i < N; i++) {
        printf("%d: %s ...\n", i, text[i]);
        llrt_token_stream_free(stream[i]);
        llrt_sampler_free(sampler[i]);
        llrt_session_free(session[i]);
    }
    llrt_engine_close(engine);
    return 0;
}
