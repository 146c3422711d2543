/* SPDX-License-Identifier: MIT */
/*
 * llrt runs large language models inside your program.
 *
 * Four handles: an engine is a loaded model; a session is one timeline of tokens; a tokenizer turns
 * text into ids and back; a sampler turns logits into the next token. Every call that can fail
 * returns a llrt_status and fills a llrt_error that you own. Nothing is global, nothing is printed,
 * the process is never ended.
 *
 *     #include <llrt/llrt.h>
 *     #include <stdio.h>
 *
 *     static int print(void *ctx, const char *text, size_t n)
 *     {
 *         return fwrite(text, 1, n, ctx) != n;
 *     }
 *
 *     int main(void)
 *     {
 *         llrt_error err = LLRT_ERROR_INIT;
 *         llrt_engine *engine = NULL;
 *         llrt_session *session = NULL;
 *         llrt_generate_options options;
 *         llrt_generate_options_init(&options, sizeof options);
 *         options.on_text = print;
 *         options.ctx = stdout;
 *         options.max_tok = 64;
 *         if (llrt_engine_open("model.gguf", NULL, &engine, &err) < 0 ||
 *             llrt_session_create(engine, NULL, &session, &err) < 0 ||
 *             llrt_generate(session, NULL, "Once upon a time", 16, &options, NULL, &err) < 0)
 *             fprintf(stderr, "%s\n", err.text);
 *         llrt_session_free(session);
 *         llrt_engine_close(engine);
 *         return err.status < 0;
 *     }
 *
 * Where to read on: engine.h, session.h, generate.h, tokenizer.h, sampler.h; adapter.h for LoRA;
 * embedding.h for vectors and scores; quantize.h and imatrix.h to make smaller files; api.h for
 * dlopen; backend.h to write a backend.
 */
#ifndef LLRT_H
#define LLRT_H

#include "adapter.h"
#include "api.h"
#include "base.h"
#include "device.h"
#include "embedding.h"
#include "engine.h"
#include "generate.h"
#include "quantize.h"
#include "imatrix.h"
#include "sampler.h"
#include "session.h"
#include "source.h"
#include "status.h"
#include "tensor.h"
#include "tokenizer.h"
#include "version.h"

#endif
