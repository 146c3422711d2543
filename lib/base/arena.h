/* SPDX-License-Identifier: MIT */
/*
 * Many small blocks that are freed together. Chunks grow with the arena, so few
 * allocations serve a large tree. One thread at a time.
 */
#ifndef LLRTI_ARENA_H
#define LLRTI_ARENA_H

#include "alloc.h"

typedef struct llrti_arena {
    llrti_mem *mem;
    llrt_memory kind;
    void *chunks; /* list, newest first */
    char *next;
    size_t left, chunk_size;
} llrti_arena;

void llrti_arena_init(llrti_arena *arena, llrti_mem *mem, llrt_memory kind); /* allocates nothing */
/** Uninitialised; `align` is a power of two up to 64. NULL when there is no memory. */
void *llrti_arena_alloc(llrti_arena *arena, size_t size, size_t align);
char *llrti_arena_strndup(llrti_arena *arena, const char *text, size_t n); /* adds a NUL */
void llrti_arena_free(llrti_arena *arena);

#endif
