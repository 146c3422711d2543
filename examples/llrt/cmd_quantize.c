/* SPDX-License-Identifier: MIT */
/*
 * llrt quantize: a model as a GGUF file with its weights in another format.
 */
#include "common.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Cuts "PATTERN=TYPE"; ends the program when it is no such thing. The text belongs to argv. */
static llrt_quantize_override parse_override(const char *text)
{
    const char *const sign = strrchr(text, '=');
    if (!sign || sign == text || !sign[1]) usage_error("--tensor: '%s' is not PATTERN=TYPE", text);
    char *const pattern = checked_alloc((size_t)(sign - text) + 1);
    memcpy(pattern, text, (size_t)(sign - text));
    pattern[sign - text] = 0;
    const llrt_quantize_override o = {pattern, sign + 1};
    return o;
}

static void print_line(void *ctx, llrt_log_level level, const char *text)
{
    end_progress(ctx);
    fprintf(stderr, "%s%s\n", level == LLRT_LOG_WARN ? "warning: " : "", text);
}

int cmd_quantize(int argc, char **argv)
{
    text_list tensors = {{NULL}, 0};
    int64_t n_thread = 0;
    int pure = 0, requantize = 0, verbose = 0;
    llrt_quantize_options o;
    llrt_quantize_options_init(&o, sizeof o);
    const opt options[] = {
        {"--imatrix", NULL, OPT_TEXT, &o.imatrix, "FILE",
         "importance of each column, from llrt imatrix or llama-imatrix", 0, 0},
        {"--tensor", NULL, OPT_TEXTS, &tensors, "PATTERN=TYPE",
         "type of the tensors whose name matches; may be repeated", 0, 0},
        {"--pure", NULL, OPT_FLAG, &pure, NULL, "one type for all matrices, no mixture", 0, 0},
        {"--allow-requantize", NULL, OPT_FLAG, &requantize, NULL,
         "take weights that are quantised already", 0, 0},
        {"-t", "--threads", OPT_INT, &n_thread, "N", "threads (default: all processors)", 1, 1024},
        {"-v", "--verbose", OPT_FLAG, &verbose, NULL, "one line for each tensor", 0, 0},
        {NULL, NULL, OPT_FLAG, NULL, NULL, NULL, 0, 0},
    };
    const command cmd = {
        "quantize", "IN OUT TYPE",
        "Writes the model IN, a .gguf or a Hugging Face folder, as the GGUF file OUT. TYPE is a\n"
        "type or a mixture: F16 BF16 Q8_0 Q6_K Q5_K_M Q4_K_M Q4_K_S Q4_0 IQ4_XS Q3_K_M Q2_K ...\n"
        "OUT depends on IN, TYPE and the flags alone, not on the number of threads. In a PATTERN\n"
        "'*' stands for any characters: --tensor 'blk.*.attn_v=Q8_0'.",
        options, NULL};
    const char *args[3];
    if (parse_options(&cmd, argc, argv, args, 3) < 3)
        usage_error("quantize: IN, OUT and TYPE are needed (see llrt quantize --help)");
    llrt_quantize_override overrides[MAX_TEXTS];
    for (int i = 0; i < tensors.n; i++) overrides[i] = parse_override(tensors.text[i]);
    progress_bar bar = {"quantising", seconds(), 0};
    const llrt_logger logger = {print_line, &bar, verbose ? LLRT_LOG_INFO : LLRT_LOG_WARN};
    o.target = args[2];
    o.overrides = tensors.n ? overrides : NULL;
    o.n_override = (uint32_t)tensors.n;
    o.pure = (uint32_t)pure;
    o.allow_requantize = (uint32_t)requantize;
    o.n_thread = (uint32_t)n_thread;
    o.logger = &logger;
    if (isatty(fileno(stderr))) {
        o.progress = show_progress;
        o.progress_ctx = &bar;
    }
    llrt_error err = LLRT_ERROR_INIT;
    const llrt_status status = llrt_quantize(args[0], args[1], &o, &err);
    end_progress(&bar);
    for (int i = 0; i < tensors.n; i++) free((char *)(uintptr_t)overrides[i].pattern);
    if (status < 0) die(&err);
    return 0;
}
