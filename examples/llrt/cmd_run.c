/* SPDX-License-Identifier: MIT */
/*
 * llrt run: continues a prompt. Only the text goes to stdout; --stats writes to stderr.
 */
#include "common.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

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

static void print_stats(const llrt_generate_result *r)
{
    const double prompt_s = 1e-9 * (double)r->prompt_ns, generate_s = 1e-9 * (double)r->generate_ns;
    const double n = (double)(r->n_generated ? r->n_generated - 1 : 0);
    fprintf(stderr, "\nprompt:     %6llu tokens (%llu reused) in %.3f s, %.1f tokens/s\n",
            (unsigned long long)r->n_prompt, (unsigned long long)r->n_reused, prompt_s,
            prompt_s > 0 ? (double)r->n_prompt / prompt_s : 0);
    fprintf(stderr, "generation: %6llu tokens in %.3f s, %.1f tokens/s\n",
            (unsigned long long)r->n_generated, generate_s, generate_s > 0 ? n / generate_s : 0);
}

/*
 * The context that a prompt and n_tok more tokens need, when that is more than the model was trained for: who asks
 * for so many tokens gets them. 0: the default does.
 */
static uint32_t needed_context(const char *model, const char *prompt, size_t n_prompt,
                               int64_t n_tok)
{
    llrt_engine_options options;
    llrt_engine_options_init(&options, sizeof options);
    options.metadata_only = 1;
    llrt_engine *engine = open_engine(model, &options);
    llrt_error err = LLRT_ERROR_INIT;
    llrt_model_info info;
    memset(&info, 0, sizeof info);
    info.struct_size = sizeof info;
    if (llrt_engine_info(engine, &info, &err) < 0) die(&err);
    size_t n;
    free(encode(need_tokenizer(engine, model), prompt, n_prompt,
                LLRT_ENCODE_ADD_SPECIAL | LLRT_ENCODE_PARSE_SPECIAL, &n));
    llrt_engine_close(engine);
    const uint64_t needed = (uint64_t)n + (uint64_t)n_tok;
    return needed > info.n_ctx && needed < INT32_MAX ? (uint32_t)needed : 0;
}

int cmd_run(int argc, char **argv)
{
    int64_t n_tok = -1, top_k = 40, seed = 0;
    double temp = 0.8, top_p = 0.95, min_p = 0.05;
    int stats = 0;
    run_flags flags;
    const opt options[] = {
        {"-n", NULL, OPT_INT, &n_tok, "N",
         "most tokens to generate (default: until the model ends or the context is full)", -1,
         1 << 30},
        {"--temp", NULL, OPT_FLOAT, &temp, "T", "temperature, 0 is greedy (default 0.8)", 0, 100},
        {"--top-k", NULL, OPT_INT, &top_k, "K", "choose among the K best, 0: all (default 40)", 0,
         1 << 30},
        {"--top-p", NULL, OPT_FLOAT, &top_p, "P",
         "choose among the best that make up P (default 0.95)", 0, 1},
        {"--min-p", NULL, OPT_FLOAT, &min_p, "P",
         "choose among those with P of the best's probability (default 0.05)", 0, 1},
        {"--seed", NULL, OPT_INT, &seed, "S", "of the random choices (default 0)", 0, 0},
        {"--stats", NULL, OPT_FLAG, &stats, NULL, "print counts and speeds to stderr", 0, 0},
        {NULL, NULL, OPT_FLAG, NULL, NULL, NULL, 0, 0},
    };
    const command cmd = {
        "run", "MODEL [PROMPT]",
        "Continues PROMPT (or what comes on stdin, with -) and streams the text to stdout.\n"
        "MODEL is a .gguf file or a Hugging Face folder.",
        options, common_flags(&flags, KV_F16)};
    const char *args[2] = {NULL, ""};
    const int n_arg = parse_options(&cmd, argc, argv, args, 2);
    if (n_arg < 1) usage_error("run: a model is missing (see llrt run --help)");

    size_t n_prompt = strlen(args[1]);
    const char *prompt = args[1];
    if (!strcmp(prompt, "-")) prompt = read_file("-", &n_prompt);

    llrt_engine_options engine_opts = engine_options(&flags);
    if (engine_opts.n_ctx == 0 && n_tok > 0)
        engine_opts.n_ctx = needed_context(args[0], prompt, n_prompt, n_tok);
    llrt_engine *engine = open_engine(args[0], &engine_opts);
    need_tokenizer(engine, args[0]);
    llrt_error err = LLRT_ERROR_INIT;
    llrt_sampler *sampler = NULL;
    llrt_model_info info;
    memset(&info, 0, sizeof info);
    info.struct_size = sizeof info;
    llrt_sampler_options so;
    llrt_sampler_options_init(&so, sizeof so);
    so.temperature = (float)temp;
    so.top_k = (int32_t)top_k;
    so.top_p = (float)top_p;
    so.min_p = (float)min_p;
    so.seed = (uint64_t)seed;
    if (llrt_engine_info(engine, &info, &err) < 0 ||
        llrt_sampler_create(info.n_vocab, &so, &sampler, &err) < 0)
        die(&err);
    llrt_session *session = open_session(engine, &flags);
    interrupted_session = session;
    signal(SIGINT, on_interrupt);

    llrt_generate_options go;
    llrt_generate_options_init(&go, sizeof go);
    go.max_tok = n_tok > 0 ? (uint64_t)n_tok : 0;
    go.parse_special = 1;
    go.on_text = print_text;
    llrt_generate_result result;
    memset(&result, 0, sizeof result);
    result.struct_size = sizeof result;
    const llrt_status status =
        n_tok == 0 ? LLRT_OK
                   : llrt_generate(session, sampler, prompt, n_prompt, &go, &result, &err);
    interrupted_session = NULL;
    if (status < 0 && status != LLRT_ERR_CANCELLED) die(&err);
    if (stats) print_stats(&result);
    if (prompt != args[1]) free((void *)(uintptr_t)prompt);
    llrt_sampler_free(sampler);
    llrt_session_free(session);
    llrt_engine_close(engine);
    return status == LLRT_ERR_CANCELLED ? 130 : 0;
}
