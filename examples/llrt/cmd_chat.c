/* SPDX-License-Identifier: MIT */
/*
 * llrt chat: several turns in a terminal, in ChatML form. The session keeps what was said, so each
 * turn costs only its own tokens. Ctrl-C ends the answer being written, Ctrl-D the program.
 */
#include "common.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

#if defined(HAVE_LIBEDIT)
#include <editline/readline.h>
#endif

static llrt_session *volatile interrupted_session;

static void on_interrupt(int sig)
{
    (void)sig;
    if (interrupted_session) llrt_session_cancel(interrupted_session);
}

static int print_text(void *ctx, const char *text, size_t n)
{
    (void)ctx;
    return fwrite(text, 1, n, stdout) != n || fflush(stdout) != 0;
}

/* A line without its newline in a block of malloc, NULL at the end of input. */
static char *read_line(const char *prompt)
{
#if defined(HAVE_LIBEDIT)
    char *line = readline(prompt);
    if (line && *line) add_history(line);
    return line;
#else
    size_t capacity = 256, n = 0;
    char *line = checked_alloc(capacity);
    fputs(prompt, stdout);
    fflush(stdout);
    for (int c; (c = getchar()) != EOF && c != '\n';) {
        if (n + 1 == capacity) line = realloc(line, capacity *= 2);
        if (!line) return NULL;
        line[n++] = (char)c;
    }
    if (n == 0 && feof(stdin)) {
        free(line);
        return NULL;
    }
    line[n] = 0;
    return line;
#endif
}

/* Appends "<|im_start|>role\ntext<|im_end|>\n" and the start of the answer; `text` may not speak control tokens. */
static int32_t *turn_tokens(const llrt_tokenizer *t, const char *before, const char *text,
                            const char *after, size_t *n)
{
    size_t n0, n1, n2;
    int32_t *a = encode(t, before, strlen(before), LLRT_ENCODE_PARSE_SPECIAL, &n0);
    int32_t *b = encode(t, text, strlen(text), 0, &n1);
    int32_t *c = encode(t, after, strlen(after), LLRT_ENCODE_PARSE_SPECIAL, &n2);
    int32_t *all = checked_alloc((n0 + n1 + n2) * sizeof *all);
    memcpy(all, a, n0 * sizeof *all);
    memcpy(all + n0, b, n1 * sizeof *all);
    memcpy(all + n0 + n1, c, n2 * sizeof *all);
    *n = n0 + n1 + n2;
    free(a);
    free(b);
    free(c);
    return all;
}

int cmd_chat(int argc, char **argv)
{
    double temp = 0.7;
    int64_t seed = 0;
    const char *system = NULL;
    run_flags flags;
    const opt options[] = {
        {"--temp", NULL, OPT_FLOAT, &temp, "T", "temperature, 0 is greedy (default 0.7)", 0, 100},
        {"--seed", NULL, OPT_INT, &seed, "S", "of the random choices (default 0)", 0, 0},
        {"--system", NULL, OPT_TEXT, &system, "TEXT", "a system message before the first turn", 0,
         0},
        {NULL, NULL, OPT_FLAG, NULL, NULL, NULL, 0, 0},
    };
    const command cmd = {
        "chat", "MODEL",
        "Talks with a model, one line a turn, in ChatML form (<|im_start|> ... <|im_end|>).\n"
        "Ctrl-C ends the answer being written, Ctrl-D or /exit the program, /new starts over.",
        options, common_flags(&flags, KV_F16)};
    const char *args[1];
    if (parse_options(&cmd, argc, argv, args, 1) < 1)
        usage_error("chat: a model is missing (see llrt chat --help)");
    llrt_engine_options engine_opts = engine_options(&flags);
    llrt_engine *engine = open_engine(args[0], &engine_opts);
    llrt_tokenizer *tokenizer = need_tokenizer(engine, args[0]);
    llrt_error err = LLRT_ERROR_INIT;
    llrt_sampler *sampler = NULL;
    llrt_sampler_options so;
    llrt_sampler_options_init(&so, sizeof so);
    so.temperature = (float)temp;
    so.seed = (uint64_t)seed;
    if (llrt_sampler_create(llrt_tokenizer_n_vocab(tokenizer), &so, &sampler, &err) < 0) die(&err);
    llrt_session *session = open_session(engine, &flags);
    signal(SIGINT, on_interrupt);
    const char *const stop[] = {"<|im_end|>", "<|im_start|>"};

    char *line;
    while ((line = read_line("> ")) && strcmp(line, "/exit")) {
        if (!strcmp(line, "/new")) {
            if (llrt_session_rewind(session, 0, &err) < 0) die(&err);
            free(line);
            continue;
        }
        const size_t n_before = llrt_session_n_tok(session);
        char before[4096];
        if (n_before == 0 && system)
            snprintf(before, sizeof before, "<|im_start|>system\n%s<|im_end|>\n<|im_start|>user\n",
                     system);
        else
            snprintf(before, sizeof before, "%s<|im_start|>user\n", n_before ? "<|im_end|>\n" : "");
        llrt_generate_options go;
        llrt_generate_options_init(&go, sizeof go);
        int32_t *tokens = turn_tokens(tokenizer, before, line,
                                      "<|im_end|>\n<|im_start|>assistant\n", &go.n_prompt_token);
        go.prompt_tokens = tokens;
        go.stop = stop;
        go.n_stop = 2;
        go.on_text = print_text;
        llrt_generate_result result;
        memset(&result, 0, sizeof result);
        result.struct_size = sizeof result;
        interrupted_session = session;
        const llrt_status status = llrt_generate(session, sampler, NULL, 0, &go, &result, &err);
        interrupted_session = NULL;
        putchar('\n');
        if (status == LLRT_ERR_CONTEXT_FULL || result.finish == LLRT_FINISH_CONTEXT)
            fprintf(stderr, "llrt: the context of %zu tokens is full; /new starts over\n",
                    llrt_session_n_ctx(session));
        else if (status < 0 && status != LLRT_ERR_CANCELLED)
            die(&err);
        free(tokens);
        free(line);
    }
    free(line);
    llrt_sampler_free(sampler);
    llrt_session_free(session);
    llrt_engine_close(engine);
    return 0;
}
