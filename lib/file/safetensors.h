/* SPDX-License-Identifier: MIT */
/*
 * The safetensors reader: one file's header, and the index of a sharded model. A file is a
 * little-endian u64 length, that many bytes of JSON and the tensors, which fill the rest without
 * a gap. Shapes are turned around: dim[0] is the row length, as in GGUF. A shape of more than
 * four dimensions keeps its true n_dim and has the outer ones multiplied into dim[3]; a scalar
 * is one row of one value. Types that llrt does not compute with are kept; reading such a tensor
 * fails by name.
 */
#ifndef LLRTI_SAFETENSORS_H
#define LLRTI_SAFETENSORS_H

#include "directory.h"
#include "hash.h"
#include "source_impl.h"

/** True when the first 9 bytes of a file of that size can begin a safetensors file. */
bool llrti_safetensors_is_head(const uint8_t *head, size_t n, uint64_t size);

/**
 * Reads one file's header and adds its tensors.
 * @param wanted   of a sharded model: only tensors that this map gives `file_index`; NULL: all
 * @param n_other  out: tensors left out because of `wanted`
 * @param hash     out: of the header
 * @return LLRT_OK, LLRT_ERR_FORMAT, LLRT_ERR_UNSUPPORTED, LLRT_ERR_IO, LLRT_ERR_NOMEM
 */
llrt_status llrti_safetensors_read(const llrti_source_file *file, uint32_t file_index,
                                   const llrti_map *wanted, llrti_directory *directory,
                                   uint32_t *n_other, llrti_hash128 *hash, llrt_error *err);

/** The shards of an index file. Everything lives in `arena` and `doc`, which must stay as long as
 * this. */
typedef struct llrti_safetensors_index {
    llrti_json_doc *doc;
    llrti_map files;               /* shard name -> its number */
    llrti_map wanted;              /* tensor name -> number of its shard */
    LLRTI_VEC(const char *) names; /* of the shards, in order of first mention */
} llrti_safetensors_index;

/** Reads "weight_map" of an index file's text. Shard names are plain file names. */
llrt_status llrti_safetensors_index_parse(llrti_mem *mem, const char *text, size_t n,
                                          llrti_safetensors_index *out, llrt_error *err);
/** The error for a tensor of the index that none of the shards had; LLRT_OK when all were there. */
llrt_status llrti_safetensors_index_check(const llrti_safetensors_index *index,
                                          const llrti_directory *directory, llrt_error *err);
void llrti_safetensors_index_free(llrti_mem *mem, llrti_safetensors_index *index);

#endif
