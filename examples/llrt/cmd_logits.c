/* SPDX-License-Identifier: MIT */
/*
 * llrt logits: float32 logits of every position, row-major (n_tok, n_vocab), for comparing engines.
 */
#include "common.h"

#include <stdlib.h>
#include <string.h>

/* "1,2,3" or "@file" with ids separated by commas or white space. */
static int32_t *parse_tokens(const char *text, size_t *n)
{
    char *owned = NULL;
    size_t n_text = strlen(text);
    if (text[0] == '@') text = owned = read_file(text + 1, &n_text);
    int32_t *tokens = checked_alloc((n_text / 2 + 1) * sizeof *tokens);
    *n = 0;
    for (const char *s = text; *s;) {
        char *end;
        const long v = strtol(s, &end, 10);
        if (end == s || v < 0 || v > INT32_MAX)
            usage_error("logits: --tokens: '%.20s' is not a token id", s);
        tokens[(*n)++] = (int32_t)v;
        s = end + strspn(end, ", \t\r\n");
    }
    free(owned);
    if (*n == 0) usage_error("logits: --tokens names no token");
    return tokens;
}

int cmd_logits(int argc, char **argv)
{
    const char *list = NULL, *out = NULL;
    run_flags flags;
    const opt options[] = {
        {"--tokens", NULL, OPT_TEXT, &list, "IDS", "token ids separated by commas, or @FILE", 0, 0},
        {"-o", "--output", OPT_TEXT, &out, "FILE", "where the logits go", 0, 0},
        {NULL, NULL, OPT_FLAG, NULL, NULL, NULL, 0, 0},
    };
    const command cmd = {
        "logits", "MODEL --tokens 1,2,3 -o FILE",
        "Computes the tokens from an empty context and writes the logits of every position:\n"
        "float32, little-endian, row-major (n_tok, n_vocab). The KV cache is f32 by default.",
        options, common_flags(&flags, KV_F32)};
    const char *args[1];
    if (parse_options(&cmd, argc, argv, args, 1) < 1 || !list || !out)
        usage_error("logits: MODEL, --tokens and -o are needed (see llrt logits --help)");
    size_t n;
    int32_t *tokens = parse_tokens(list, &n);
    llrt_engine_options eo = engine_options(&flags);
    if (eo.n_ctx == 0) eo.n_ctx = (uint32_t)n;
    llrt_engine *engine = open_engine(args[0], &eo);
    llrt_error err = LLRT_ERROR_INIT;
    llrt_model_info info;
    memset(&info, 0, sizeof info);
    info.struct_size = sizeof info;
    if (llrt_engine_info(engine, &info, &err) < 0) die(&err);
    llrt_session *session = open_session(engine, &flags);
    FILE *f = fopen(out, "wb");
    if (!f) usage_error("%s: can't be written", out);
    enum { CHUNK = 64 };
    for (size_t i = 0; i < n; i += CHUNK) {
        const size_t count = n - i < CHUNK ? n - i : CHUNK;
        if (llrt_session_append(session, tokens + i, count, LLRT_LOGITS_ALL, &err) < 0) die(&err);
        for (size_t row = 0; row < count; row++) {
            const float *logits;
            if (llrt_session_logits(session, (int32_t)row, &logits, &err) < 0) die(&err);
            if (fwrite(logits, sizeof *logits, info.n_vocab, f) != info.n_vocab)
                usage_error("%s: writing failed", out);
        }
    }
    if (fclose(f)) usage_error("%s: writing failed", out);
    free(tokens);
    llrt_session_free(session);
    llrt_engine_close(engine);
    return 0;
}
