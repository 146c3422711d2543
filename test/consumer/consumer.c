/* SPDX-License-Identifier: MIT */
/*
 * A program outside the tree: compiled as C99 and as C++11 against the installed library, through
 * pkg-config and through CMake. Generates a few tokens from the model in argv[1].
 */
#include <llrt/llrt.h>
#include <stdio.h>
#include <string.h>

static int count_bytes(void *ctx, const char *text, size_t n)
{
    (void)text;
    *(size_t *)ctx += n;
    return 0;
}

int main(int argc, char **argv)
{
    llrt_error err = LLRT_ERROR_INIT;
    llrt_engine *engine = NULL;
    llrt_session *session = NULL;
    llrt_generate_options options;
    size_t n_byte = 0;
    const char *prompt = "Once upon a time";

    if (argc != 2 || llrt_version() != LLRT_VERSION) return 2;
    llrt_generate_options_init(&options, sizeof options);
    options.on_text = count_bytes;
    options.ctx = &n_byte;
    options.max_tok = 8;
    if (llrt_engine_open(argv[1], NULL, &engine, &err) < 0 ||
        llrt_session_create(engine, NULL, &session, &err) < 0 ||
        llrt_generate(session, NULL, prompt, strlen(prompt), &options, NULL, &err) < 0)
        fprintf(stderr, "%s: %s\n", llrt_status_name(err.status), err.text);
    llrt_engine_close(engine);
    llrt_session_free(session);
    printf("%lu bytes of text\n", (unsigned long)n_byte);
    return err.status < 0 || n_byte == 0;
}
