/* SPDX-License-Identifier: MIT */
/*
 * llrt tokenize: a text's tokens, one a line with id and text, or only the ids.
 */
#include "common.h"

#include <stdlib.h>
#include <string.h>

int cmd_tokenize(int argc, char **argv)
{
    const char *path = NULL;
    int ids = 0, no_special = 0, parse_special = 0;
    const opt options[] = {
        {"-f", "--file", OPT_TEXT, &path, "FILE", "take the text from a file, or - for stdin", 0,
         0},
        {"--ids", NULL, OPT_FLAG, &ids, NULL, "print only the ids, as 1,2,3", 0, 0},
        {"--no-special", NULL, OPT_FLAG, &no_special, NULL, "do not add bos and eos", 0, 0},
        {"--parse-special", NULL, OPT_FLAG, &parse_special, NULL,
         "text such as <|im_start|> counts as the control token", 0, 0},
        {NULL, NULL, OPT_FLAG, NULL, NULL, NULL, 0, 0},
    };
    const command cmd = {"tokenize", "MODEL [TEXT | -f FILE]",
                         "Shows how a text is cut into tokens. MODEL may also be a vocabulary-only "
                         ".gguf or a tokenizer.json.",
                         options, NULL};
    const char *args[2] = {NULL, NULL};
    const int n_arg = parse_options(&cmd, argc, argv, args, 2);
    if (n_arg < 1) usage_error("tokenize: a model is missing (see llrt tokenize --help)");
    if (path && args[1]) usage_error("tokenize: give TEXT or -f, not both");
    llrt_error err = LLRT_ERROR_INIT;
    llrt_tokenizer *tokenizer = NULL;
    if (llrt_tokenizer_open(args[0], NULL, &tokenizer, &err) < 0) die(&err);
    size_t n_text, n;
    char *owned = NULL;
    const char *text = args[1];
    if (text)
        n_text = strlen(text);
    else
        text = owned = read_file(path ? path : "-", &n_text);
    const llrt_encode_flags flags = (no_special ? 0 : LLRT_ENCODE_ADD_SPECIAL) |
                                    (parse_special ? LLRT_ENCODE_PARSE_SPECIAL : 0);
    int32_t *tokens = encode(tokenizer, text, n_text, flags, &n);
    for (size_t i = 0; i < n; i++) {
        if (ids) {
            printf("%s%d", i ? "," : "", tokens[i]);
            continue;
        }
        llrt_token_info info;
        memset(&info, 0, sizeof info);
        info.struct_size = sizeof info;
        if (llrt_tokenizer_token_info(tokenizer, tokens[i], &info, &err) < 0) die(&err);
        printf("%7d  ", tokens[i]);
        json_string(stdout, info.text, info.n_text);
        putchar('\n');
    }
    if (ids) putchar('\n');
    free(owned);
    free(tokens);
    llrt_tokenizer_free(tokenizer);
    return 0;
}
