/* SPDX-License-Identifier: MIT */
/*
 * llrt embed: the embedding of a text as a line of JSON.
 */
#include "common.h"

#include <stdlib.h>
#include <string.h>

static const char *const pooling_names[] = {"default", "mean", "cls", "last", "max"};

static void print_vector(const float *x, size_t n)
{
    printf("[");
    for (size_t i = 0; i < n; i++) printf("%s%.9g", i ? "," : "", (double)x[i]);
    printf("]");
}

int cmd_embed(int argc, char **argv)
{
    const char *path = NULL;
    int64_t n_dim = 0;
    int pooling = 0, raw = 0;
    run_flags flags;
    const opt options[] = {
        {"-f", "--file", OPT_TEXT, &path, "TEXT", "read the text from a file, or - for stdin", 0,
         0},
        {"--pooling", NULL, OPT_CHOICE, &pooling, "default|mean|cls|last|max",
         "how the tokens' states become one vector (default: what the model was made for)", 0, 0},
        {"--dim", NULL, OPT_INT, &n_dim, "N", "only the first N elements, for models trained so", 1,
         1e6},
        {"--raw", NULL, OPT_FLAG, &raw, NULL, "don't divide the vector by its length", 0, 0},
        {NULL, NULL, OPT_FLAG, NULL, NULL, NULL, 0, 0},
    };
    const command cmd = {
        "embed", "MODEL [TEXT | -f FILE] [--pooling KIND] [--dim N]",
        "Prints the embedding of the text as JSON: {\"embedding\": [...], \"pooling\": ...,\n"
        "\"n_tok\": ...}. Works with encoders and with generation models.",
        options, common_flags(&flags, KV_F16)};
    const char *args[2];
    const int n_arg = parse_options(&cmd, argc, argv, args, 2);
    if (n_arg < 1 || (n_arg == 2) == (path != NULL))
        usage_error("embed: MODEL and either TEXT or -f are needed (see llrt embed --help)");
    size_t n_text = path ? 0 : strlen(args[1]), n_tok;
    char *const text = path ? read_file(path, &n_text) : NULL;
    llrt_engine_options eo = engine_options(&flags);
    eo.n_step_out = 64; /* states of all tokens are read */
    llrt_engine *engine = open_engine(args[0], &eo);
    const llrt_tokenizer *tokenizer = need_tokenizer(engine, args[0]);
    int32_t *const tokens =
        encode(tokenizer, text ? text : args[1], n_text, LLRT_ENCODE_ADD_SPECIAL, &n_tok);
    llrt_error err = LLRT_ERROR_INIT;
    llrt_model_info info = {.struct_size = sizeof info};
    llrt_embedding_options embedding;
    llrt_embedding_options_init(&embedding, sizeof embedding);
    embedding.pooling = (llrt_pooling)pooling;
    embedding.n_dim = (uint32_t)n_dim;
    embedding.is_normalized = !raw;
    if (llrt_engine_info(engine, &info, &err) < 0) die(&err);
    float *const out = checked_alloc(info.d_model * sizeof *out);
    llrt_session *session = open_session(engine, &flags);
    if (llrt_session_embed(session, tokens, n_tok, &embedding, out, info.d_model, &err) < 0)
        die(&err);
    printf("{\"embedding\":");
    print_vector(out, n_dim ? (size_t)n_dim : info.d_model);
    printf(",\"pooling\":\"%s\",\"n_tok\":%zu}\n",
           pooling_names[pooling ? (llrt_pooling)pooling : info.pooling], n_tok);
    free(out);
    free(tokens);
    free(text);
    llrt_session_free(session);
    llrt_engine_close(engine);
    return 0;
}
