/* SPDX-License-Identifier: MIT */
/*
 * What the subcommands share: the flags that decide how a model is run, opening with a progress
 * bar, failing with one line, reading whole files, JSON strings.
 */
#ifndef COMMON_H
#define COMMON_H

#include <llrt/llrt.h>
#include <stdio.h>

#include "flags.h"

/** Values of the common flags; `common_flags` sets the defaults and returns the list for parse_options. */
typedef struct run_flags {
    int kv, precision, weights; /* indices of the choices */
    const char *isa, *device, *lora;
    int64_t n_thread, n_ctx, lora_rank;
    double lora_scale;
} run_flags;

enum { KV_F32, KV_F16, KV_BF16, KV_Q8_0 };

const opt *common_flags(run_flags *flags, int kv_default);

/** Engine options from the flags. */
llrt_engine_options engine_options(const run_flags *flags);

/** Opens or ends the program. Shows a progress bar on stderr when that is a terminal and the file is large. */
llrt_engine *open_engine(const char *path, llrt_engine_options *options);

/** A bar on stderr that appears only when something takes longer than a moment. */
typedef struct progress_bar {
    const char *what; /* "loading" */
    double start;
    int shown;
} progress_bar;

/** llrt_progress with a progress_bar as context. */
int show_progress(void *bar, double done);
void end_progress(progress_bar *bar);

/** A session with the adapter of the flags, if there is one; or ends the program. */
llrt_session *open_session(llrt_engine *engine, const run_flags *flags);

/** One line on stderr and status 1 (2 when the input does not exist or is wrong). */
#if defined(__GNUC__)
__attribute__((noreturn))
#endif
void die(const llrt_error *err);

void *checked_alloc(size_t n);

/** Reads a file ("-": stdin) whole, NUL added. Ends the program when it can't. */
char *read_file(const char *path, size_t *n);

/** The text's tokens in a new block. */
int32_t *encode(const llrt_tokenizer *tokenizer, const char *text, size_t n_text,
                llrt_encode_flags flags, size_t *n);

/** The engine's tokenizer; ends the program when the model has none. */
llrt_tokenizer *need_tokenizer(const llrt_engine *engine, const char *path);

/** Writes a JSON string with quotes; invalid UTF-8 is written as U+FFFD. */
void json_string(FILE *out, const char *text, size_t n);

double seconds(void);

int cmd_run(int argc, char **argv);
int cmd_chat(int argc, char **argv);
int cmd_bench(int argc, char **argv);
int cmd_perplexity(int argc, char **argv);
int cmd_embed(int argc, char **argv);
int cmd_imatrix(int argc, char **argv);
int cmd_logits(int argc, char **argv);
int cmd_tokenize(int argc, char **argv);
int cmd_quantize(int argc, char **argv);
int cmd_inspect(int argc, char **argv);
int cmd_plan(int argc, char **argv);
int cmd_devices(int argc, char **argv);

#endif
