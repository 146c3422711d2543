/* SPDX-License-Identifier: MIT */
/*
 * The GGUF reader: header, metadata and tensor directory of one file, versions 2 and 3, little-
 * endian. Refused by name: version 1, byte-swapped files, the GGML formats before GGUF. The
 * format is described in docs/gguf.md of the ggml project.
 */
#ifndef LLRTI_GGUF_H
#define LLRTI_GGUF_H

#include "directory.h"
#include "hash.h"
#include "source_impl.h"

/** What a file begins with, from its first bytes. */
bool llrti_gguf_is_magic(const uint8_t *head, size_t n);

/** LLRT_ERR_UNSUPPORTED or LLRT_ERR_FORMAT with a sentence on what the file is instead of GGUF or
 * safetensors. */
llrt_status llrti_gguf_refuse(const uint8_t *head, size_t n, llrt_error *err);

typedef struct llrti_gguf_info {
    uint32_t version, alignment;
    uint64_t data_offset;                          /* where the tensors begin */
    uint64_t n_header_byte;                        /* header, metadata, directory */
    uint64_t split_no, split_count, split_tensors; /* split_count 0: the file is whole */
    llrti_hash128 hash;                            /* of the n_header_byte bytes */
} llrti_gguf_info;

/**
 * Reads one file. Metadata go to `metas`, tensors to `tensors` with `file_index`; the two
 * directories may be one.
 * @return LLRT_OK, LLRT_ERR_FORMAT, LLRT_ERR_UNSUPPORTED, LLRT_ERR_IO, LLRT_ERR_NOMEM; the
 * directories then hold
 *   parts and are only good to be freed
 */
llrt_status llrti_gguf_read(const llrti_source_file *file, uint32_t file_index,
                            llrti_directory *metas, llrti_directory *tensors, llrti_gguf_info *info,
                            llrt_error *err);

#endif
