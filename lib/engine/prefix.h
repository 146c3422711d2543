/* SPDX-License-Identifier: MIT */
/*
 * The prefix index: finds the page that holds given tokens after a given page, so that sessions with the
 * same beginning share its pages. Only full pages of tokens are in it (no embedding rows).
 *
 * The key is a 128-bit hash over (hash of the page before, salt, tokens). The hash is not cryptographic, so a
 * hit also needs equal token ids and the very same page before it, named by a uid that is never used
 * again: by induction all tokens from the beginning are equal. Called under the engine's lock.
 */
#ifndef LLRTI_PREFIX_H
#define LLRTI_PREFIX_H

#include "pool.h"

/**
 * The indexed page that continues `parent` (LLRTI_PAGE_NONE: the beginning) with these LLRT_PAGE_TOK tokens, or
 * LLRTI_PAGE_NONE. Takes no reference.
 */
uint32_t llrti_prefix_find(const llrti_pool *pool, uint32_t parent, uint64_t salt,
                           const int32_t *tokens);

/**
 * Indexes a full page, which its caller holds. When an equal one is there already that one is returned and nothing
 * changes: the caller takes it instead. A parent that is not indexed leaves the page out of the index.
 */
uint32_t llrti_prefix_add(llrti_pool *pool, uint32_t page, uint32_t parent, uint64_t salt,
                          const int32_t *tokens);

/** Takes a page out of the index; nothing happens when it isn't there. */
void llrti_prefix_remove(llrti_pool *pool, uint32_t page);

#endif
