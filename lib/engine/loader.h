/* SPDX-License-Identifier: MIT */
/*
 * Brings the weights of an engine from the file into the models of its stages. See loader.c.
 */
#ifndef LLRTI_LOADER_H
#define LLRTI_LOADER_H

#include <llrt/status.h>

struct llrt_engine;

/** Bytes of class LOADING that llrti_loader_run holds while it runs: a function of options and tensors alone. */
size_t llrti_loader_bytes(const struct llrt_engine *engine);

/** Creates every stage's model, fills and finishes it. LLRT_ERR_CANCELLED when the progress callback says so. */
llrt_status llrti_loader_run(struct llrt_engine *engine, llrt_error *err);

#endif
