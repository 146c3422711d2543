/* SPDX-License-Identifier: MIT */
/*
 * The smallest useful program: opens a model, continues a prompt, prints the text as it comes.
 *
 *     minimal MODEL [PROMPT]
 */
#include <llrt/llrt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void die(const llrt_error *err)
{
    fprintf(stderr, "%s: %s\n", err->file, err->text);
    exit(1);
}

static int print(void *ctx, const char *text, size_t n)
{
    return fwrite(text, 1, n, (FILE *)ctx) != n || fflush((FILE *)ctx) != 0;
}

int main(int argc, char **argv)
{
    const char *prompt = argc > 2 ? argv[2] : "Once upon a time";
    llrt_error err = LLRT_ERROR_INIT;
    llrt_engine *engine;
    llrt_session *session;
    llrt_generate_options options;

    if (argc < 2) {
        fprintf(stderr, "usage: minimal MODEL [PROMPT]\n");
        return 2;
    }
    if (llrt_version() < LLRT_VERSION) {
        fprintf(stderr, "the installed libllrt is older than this program\n");
        return 1;
    }
    if (llrt_engine_open(argv[1], NULL, &engine, &err) < 0) die(&err);
    if (llrt_session_create(engine, NULL, &session, &err) < 0) die(&err);

    llrt_generate_options_init(&options, sizeof options);
    options.on_text = print;
    options.ctx = stdout;
    options.max_tok = 128;
    if (llrt_generate(session, NULL, prompt, strlen(prompt), &options, NULL, &err) < 0) die(&err);
    putchar('\n');

    llrt_session_free(session);
    llrt_engine_close(engine);
    return 0;
}
