/* SPDX-License-Identifier: MIT */
/*
 * Pages of the KV pool between their own layout (ops.h) and the canonical one (<llrt/backend.h>).
 */
#ifndef LLRTI_CPU_PAGES_H
#define LLRTI_CPU_PAGES_H

#include "cpu_runtime.h"

llrt_status llrti_cpu_pages_copy(llrti_cpu_runtime *rt, uint32_t group, uint32_t to, uint32_t from,
                                 uint32_t n_tok, llrt_error *err);
llrt_status llrti_cpu_pages_read(llrti_cpu_runtime *rt, uint32_t group, uint32_t page,
                                 uint32_t n_tok, void *to, size_t size, llrt_error *err);
llrt_status llrti_cpu_pages_write(llrti_cpu_runtime *rt, uint32_t group, uint32_t page,
                                  uint32_t n_tok, const void *from, size_t size, llrt_error *err);

#endif
