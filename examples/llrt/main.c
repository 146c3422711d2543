/* SPDX-License-Identifier: MIT */
/*
 * The llrt program: everything it does, it does through <llrt/llrt.h>. One file per subcommand.
 */
#include "common.h"

#include <string.h>

static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *help;
} commands[] = {
    {"run", cmd_run, "continue a prompt, the text streams to stdout"},
    {"chat", cmd_chat, "talk with a model in the terminal"},
    {"bench", cmd_bench, "measure prompt and generation speed"},
    {"perplexity", cmd_perplexity, "measure how well a model predicts a text"},
    {"embed", cmd_embed, "turn a text into a vector"},
    {"imatrix", cmd_imatrix, "write an importance matrix for quantising a model"},
    {"logits", cmd_logits, "write the logits of every position to a file"},
    {"tokenize", cmd_tokenize, "show how a text is cut into tokens"},
    {"quantize", cmd_quantize, "write a model as a GGUF file with smaller weights"},
    {"inspect", cmd_inspect, "show a model's metadata and tensors"},
    {"plan", cmd_plan, "show the memory a model will need, to the byte"},
    {"devices", cmd_devices, "list the devices models can run on"},
};

static void print_help(FILE *out)
{
    fputs("usage: llrt COMMAND ...\n\nRuns large language models from GGUF files and Hugging Face "
          "folders.\n\n",
          out);
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        fprintf(out, "  %-12s %s\n", commands[i].name, commands[i].help);
    fputs("\nllrt COMMAND --help explains a command; start with\n\n"
          "  llrt run examples/models/llrt-demo.gguf \"Once upon a time\"\n",
          out);
}

int main(int argc, char **argv)
{
    if (llrt_version() < LLRT_VERSION)
        usage_error("the installed libllrt is older than this program");
    if (argc < 2) {
        print_help(stderr);
        return 2;
    }
    if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") || !strcmp(argv[1], "help")) {
        print_help(stdout);
        return 0;
    }
    if (!strcmp(argv[1], "--version")) {
        puts(llrt_build_info());
        return 0;
    }
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        if (!strcmp(argv[1], commands[i].name)) return commands[i].run(argc - 1, argv + 1);
    usage_error("unknown command '%s' (see llrt --help)", argv[1]);
}
