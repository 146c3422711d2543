/* SPDX-License-Identifier: MIT */
/*
 * A list of chunks, each twice as large as the one before up to a bound, so that
 * a small tree costs one small allocation and a large one few. A block larger than a
 * quarter of a chunk gets a chunk of its own and leaves the current one in use.
 */
#include "arena.h"

#include <string.h>

#define FIRST_CHUNK ((size_t)1 << 10)
#define LARGEST_CHUNK ((size_t)1 << 20)
#define CHUNK_HEADER 64 /* keeps the payload aligned to 64 */

typedef struct arena_chunk {
    struct arena_chunk *next;
} arena_chunk;

void llrti_arena_init(llrti_arena *arena, llrti_mem *mem, llrt_memory kind)
{
    memset(arena, 0, sizeof *arena);
    arena->mem = mem;
    arena->kind = kind;
    arena->chunk_size = FIRST_CHUNK;
}

/* A new chunk in the list; its payload, or NULL. */
static char *add_chunk(llrti_arena *arena, size_t payload)
{
    size_t whole;
    if (!llrti_add_size(payload, CHUNK_HEADER, &whole)) return NULL;
    arena_chunk *chunk = llrti_alloc(arena->mem, whole, arena->kind);
    if (!chunk) return NULL;
    chunk->next = arena->chunks;
    arena->chunks = chunk;
    return (char *)chunk + CHUNK_HEADER;
}

void *llrti_arena_alloc(llrti_arena *arena, size_t size, size_t align)
{
    const size_t gap = (0 - (size_t)(uintptr_t)arena->next) & (align - 1);
    if (arena->next && gap <= arena->left && size <= arena->left - gap) {
        char *ptr = arena->next + gap;
        arena->next = ptr + size;
        arena->left -= gap + size;
        return ptr;
    }
    if (size > arena->chunk_size / 4) return add_chunk(arena, size);
    char *ptr = add_chunk(arena, arena->chunk_size);
    if (!ptr) return NULL;
    arena->next = ptr + size;
    arena->left = arena->chunk_size - size;
    if (arena->chunk_size < LARGEST_CHUNK) arena->chunk_size *= 2;
    return ptr;
}

char *llrti_arena_strndup(llrti_arena *arena, const char *text, size_t n)
{
    if (n == SIZE_MAX) return NULL;
    char *copy = llrti_arena_alloc(arena, n + 1, 1);
    if (!copy) return NULL;
    if (n) memcpy(copy, text, n);
    copy[n] = 0;
    return copy;
}

void llrti_arena_free(llrti_arena *arena)
{
    arena_chunk *chunk = arena->chunks;
    while (chunk) {
        arena_chunk *const next = chunk->next;
        llrti_free(arena->mem, chunk);
        chunk = next;
    }
    llrti_arena_init(arena, arena->mem, arena->kind);
}
