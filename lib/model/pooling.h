/* SPDX-License-Identifier: MIT */
/*
 * How the hidden states of a text become one vector, as the file says: the pooling_type of a GGUF,
 * or the configuration that sentence-transformers keeps in 1_Pooling beside a checkpoint.
 */
#ifndef LLRTI_POOLING_H
#define LLRTI_POOLING_H

#include "builder.h"

/** Sets the model's pooling; it stays NONE when the file does not say. Failures are sticky. */
void llrti_pooling_read(llrti_builder *b);

#endif
