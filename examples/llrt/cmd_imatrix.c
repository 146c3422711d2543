/* SPDX-License-Identifier: MIT */
/*
 * llrt imatrix: computes a text in pieces of -c tokens and writes the sums of squares of what every
 * matrix was multiplied with: the importance matrix that quantisers read. Each piece begins with
 * bos where the model has one.
 */
#include "common.h"

#include <stdlib.h>
#include <string.h>

static int has_suffix(const char *text, const char *suffix)
{
    const size_t n = strlen(text), n_suffix = strlen(suffix);
    return n >= n_suffix && strcmp(text + n - n_suffix, suffix) == 0;
}

/* Sessions of different salt share nothing: what was computed before is computed again. */
static void compute_chunk(llrt_engine *engine, const int32_t *tokens, size_t n, uint64_t salt)
{
    llrt_error err = LLRT_ERROR_INIT;
    llrt_session_options options;
    llrt_session *session = NULL;
    llrt_session_options_init(&options, sizeof options);
    options.salt = salt;
    if (llrt_session_create(engine, &options, &session, &err) < 0 ||
        llrt_session_append(session, tokens, n, LLRT_LOGITS_NONE, &err) < 0)
        die(&err);
    llrt_session_free(session);
}

int cmd_imatrix(int argc, char **argv)
{
    const char *path = NULL, *out = NULL;
    int64_t max_chunk = 0;
    run_flags flags;
    const opt options[] = {
        {"-f", "--file", OPT_TEXT, &path, "TEXT", "the text, or - for stdin", 0, 0},
        {"-o", "--output", OPT_TEXT, &out, "FILE",
         "where the matrix goes; a name that ends in .dat gets the format before GGUF", 0, 0},
        {"--chunks", NULL, OPT_INT, &max_chunk, "N", "pieces of the text at most (default: all)", 1,
         1e9},
        {NULL, NULL, OPT_FLAG, NULL, NULL, NULL, 0, 0},
    };
    const command cmd = {
        "imatrix", "MODEL -f TEXT -o FILE [-c 512] [--chunks N]",
        "Cuts the text into pieces of -c tokens (default 512), computes them and writes, for "
        "every\n"
        "matrix of the layers, how large its inputs were. Quantisers use it to keep what matters;\n"
        "the text should be of the kind the model is for. KV cache and products are f32 by "
        "default.",
        options, common_flags(&flags, KV_F32)};
    flags.precision = (int)LLRT_PRECISION_F32;
    const char *args[1];
    if (parse_options(&cmd, argc, argv, args, 1) < 1 || !path || !out)
        usage_error("imatrix: MODEL, -f and -o are needed (see llrt imatrix --help)");
    if (flags.n_ctx == 0) flags.n_ctx = 512;
    size_t n_text, n;
    char *text = read_file(path, &n_text);
    llrt_engine_options eo = engine_options(&flags);
    eo.with_squares = 1;
    llrt_engine *engine = open_engine(args[0], &eo);
    const llrt_tokenizer *tokenizer = need_tokenizer(engine, args[0]);
    int32_t *tokens = encode(tokenizer, text, n_text, LLRT_ENCODE_ADD_SPECIAL, &n);
    const int32_t bos = llrt_tokenizer_special(tokenizer, LLRT_SPECIAL_BOS);
    const int add_bos = n > 0 && bos != LLRT_TOKEN_NONE && tokens[0] == bos;
    const size_t n_ctx = (size_t)flags.n_ctx;
    size_t n_chunk = n / n_ctx;
    if (max_chunk && n_chunk > (size_t)max_chunk) n_chunk = (size_t)max_chunk;
    if (n_chunk == 0) usage_error("%s: %zu tokens are fewer than one piece of %zu", path, n, n_ctx);
    for (size_t i = 0; i < n_chunk; i++) {
        if (add_bos) tokens[i * n_ctx] = bos;
        compute_chunk(engine, tokens + i * n_ctx, n_ctx, i + 1);
    }
    llrt_error err = LLRT_ERROR_INIT;
    llrt_imatrix_options save;
    llrt_imatrix_options_init(&save, sizeof save);
    save.n_chunk = (uint32_t)n_chunk;
    save.chunk_size = (uint32_t)n_ctx;
    save.is_legacy = has_suffix(out, ".dat");
    save.dataset = path;
    if (llrt_imatrix_save(engine, out, &save, &err) < 0) die(&err);
    printf("%s: %zu pieces of %zu tokens\n", out, n_chunk, n_ctx);
    free(text);
    free(tokens);
    llrt_engine_close(engine);
    return 0;
}
