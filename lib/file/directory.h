/* SPDX-License-Identifier: MIT */
/*
 * What a model's files say they hold: metadata by key, tensors by name. The parsers add entries,
 * which keeps names unique, and have the layout of each file checked. Names and values live in
 * the directory's arena. One thread while it is filled, any number afterwards.
 */
#ifndef LLRTI_DIRECTORY_H
#define LLRTI_DIRECTORY_H

#include "arena.h"
#include "error.h"
#include "map.h"
#include "model_file.h"

typedef struct llrti_directory {
    llrti_mem *mem;
    llrti_arena arena;
    LLRTI_VEC(llrti_meta) metas;
    LLRTI_VEC(llrti_tensor) tensors;
    llrti_map meta_map, tensor_map;
} llrti_directory;

void llrti_directory_init(llrti_directory *directory, llrti_mem *mem);
void llrti_directory_free(llrti_directory *directory);

/** Room for that many more entries; the caller has compared the counts with the file's size. */
llrt_status llrti_directory_reserve(llrti_directory *directory, size_t n_meta, size_t n_tensor,
                                    llrt_error *err);
/** Adds a copy of an entry whose names are in the arena; LLRT_ERR_FORMAT when the name is there
 * already. */
llrt_status llrti_directory_add_meta(llrti_directory *directory, const llrti_meta *meta,
                                     llrt_error *err);
llrt_status llrti_directory_add_tensor(llrti_directory *directory, const llrti_tensor *tensor,
                                       llrt_error *err);

const llrti_meta *llrti_directory_find_meta(const llrti_directory *directory, const char *key);
const llrti_tensor *llrti_directory_find_tensor(const llrti_directory *directory, const char *name);

/** Sets n_byte from type and dim; LLRT_ERR_FORMAT when the shape does not fit the type or the
 * size overflows. */
llrt_status llrti_directory_measure(llrti_tensor *tensor, llrt_error *err);

/**
 * Checks that the tensors lie within [begin, end) of one file without overlapping.
 * @param tensors  borrowed, any order
 * @param is_packed they must fill the range without a gap
 */
llrt_status llrti_directory_check_layout(llrti_mem *mem, const llrti_tensor *tensors, size_t n,
                                         uint64_t begin, uint64_t end, bool is_packed,
                                         llrt_error *err);

/** A name or key from a file, already copied: not empty, at most `limit` bytes, valid UTF-8
 * without NUL. */
llrt_status llrti_directory_check_name(const char *name, size_t n, size_t limit, const char *what,
                                       llrt_error *err);

#define LLRTI_NAME_LIMIT 255
#define LLRTI_KEY_LIMIT 65535

#endif
