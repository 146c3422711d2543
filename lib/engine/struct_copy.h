/* SPDX-License-Identifier: MIT */
/*
 * Public structs that carry their size, across versions of the header. Reading takes the smaller of the two
 * sizes and refuses a longer struct whose extra bytes are not zero: the caller asks for something this
 * library does not know. Writing fills what the caller has room for and zeroes what it has beyond. Any thread.
 */
#ifndef LLRTI_STRUCT_COPY_H
#define LLRTI_STRUCT_COPY_H

#include <llrt/status.h>

/** Copies a caller's struct over the defaults in `to`; `what` names its type in the error. struct_size of `to` stays. */
llrt_status llrti_struct_copy_in(void *to, size_t to_size, const void *from, const char *what,
                                 llrt_error *err);

/** Fills a caller's struct, whose struct_size is set, from ours. */
llrt_status llrti_struct_copy_out(void *to, const void *from, size_t from_size, const char *what,
                                  llrt_error *err);

/** For an init function: copies `from` as far as the caller's struct reaches and sets its struct_size. NULL is fine. */
void llrti_struct_copy_init(void *to, size_t to_size, const void *from, size_t from_size);

#endif
