/* SPDX-License-Identifier: MIT */
/*
 * The weights that sums of squares are kept for: those that some operator multiplies with. See
 * squares.c.
 */
#ifndef LLRTI_SQUARES_H
#define LLRTI_SQUARES_H

#include <llrt/imatrix.h>

struct llrt_engine;

/** Bytes llrti_squares_create requests, of class HOST. */
size_t llrti_squares_bytes(const struct llrt_engine *engine);
llrt_status llrti_squares_create(struct llrt_engine *engine, llrt_error *err);
void llrti_squares_free(struct llrt_engine *engine);

#endif
