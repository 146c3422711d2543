/* SPDX-License-Identifier: MIT */
/*
 * One view of a model on disk, whichever format it has: metadata by key and
 * tensors by name. gguf.c and safetensors.c fill it, the model families read it.
 *
 * A file that has been opened is checked through: every offset lies inside
 * its file, no two tensors overlap, sizes fit types and shapes, names are unique. What a
 * tensor is called, and whether its values make sense for an architecture, is the
 * family's business. Nothing is allocated on the word of an unchecked number.
 * Immutable after opening; any thread may read tensor bytes.
 */
#ifndef LLRTI_MODEL_FILE_H
#define LLRTI_MODEL_FILE_H

#include <llrt/source.h>

#include "alloc.h"
#include "json.h"

typedef enum llrti_file_kind { LLRTI_FILE_GGUF, LLRTI_FILE_SAFETENSORS } llrti_file_kind;

/** GGUF metadata value types, by their number in the file. */
typedef enum llrti_meta_type {
    LLRTI_META_U8,
    LLRTI_META_I8,
    LLRTI_META_U16,
    LLRTI_META_I16,
    LLRTI_META_U32,
    LLRTI_META_I32,
    LLRTI_META_F32,
    LLRTI_META_BOOL,
    LLRTI_META_STRING,
    LLRTI_META_ARRAY,
    LLRTI_META_U64,
    LLRTI_META_I64,
    LLRTI_META_F64
} llrti_meta_type;

typedef struct llrti_string {
    const char *data; /* not NUL-terminated */
    size_t n;
} llrti_string;

typedef struct llrti_meta {
    const char *key;               /* NUL-terminated */
    llrti_meta_type type, element; /* element: of arrays, which are never nested */
    uint64_t n;                    /* elements of an array, else 1 */
    union {
        uint64_t u; /* U8..U64, BOOL */
        int64_t i;  /* I8..I64 */
        double f;   /* F32, F64 */
        llrti_string s;
        /* little-endian values as in the file, unaligned; for strings llrti_string[n] */
        const void *array;
    } value;
} llrti_meta;

typedef struct llrti_tensor {
    const char *name;
    uint32_t type;   /* llrt_type of backend.h */
    uint32_t n_dim;  /* 1..4 */
    uint64_t dim[4]; /* dim[0] is the row length (contiguous), unused ones are 1 */
    uint64_t n_byte;
    uint64_t offset; /* in file `file` */
    uint32_t file;
} llrti_tensor;

typedef struct llrti_model_file llrti_model_file;

typedef struct llrti_model_file_options {
    const llrt_source *source; /* NULL: the file system */
    const llrt_logger *logger; /* may be NULL */
    bool vocab_only;           /* a GGUF or folder without tensors is fine */
    bool is_inspecting; /* with vocab_only: the directory of those files that are there is read */
} llrti_model_file_options;

/**
 * Opens `path`: a .gguf (with its further splits) or a safetensors folder (or its .safetensors /
 * index file). All memory is of class HOST.
 */
llrt_status llrti_model_file_open(llrti_mem *mem, const char *path,
                                  const llrti_model_file_options *options, llrti_model_file **out,
                                  llrt_error *err);

/** A metadata type's name for messages: "u32", "string", "array" ...; "?" for other numbers. */
const char *llrti_meta_type_name(llrti_meta_type type);

/**
 * For errors in a file beside the model: adds the path of `name` ("config.json") as the error's
 * file when none is set.
 */
void llrti_model_file_blame(const llrti_model_file *file, const char *name, llrt_error *err);

llrti_file_kind llrti_model_file_kind(const llrti_model_file *file);
const char *llrti_model_file_path(const llrti_model_file *file);
/* GGUF entries; 0 for safetensors */
uint32_t llrti_model_file_n_meta(const llrti_model_file *file);
const llrti_meta *llrti_model_file_meta(const llrti_model_file *file, uint32_t index);
/* or NULL */
const llrti_meta *llrti_model_file_find_meta(const llrti_model_file *file, const char *key);
uint32_t llrti_model_file_n_tensor(const llrti_model_file *file);
const llrti_tensor *llrti_model_file_tensor(const llrti_model_file *file, uint32_t index);
/* or NULL */
const llrti_tensor *llrti_model_file_find_tensor(const llrti_model_file *file, const char *name);

/**
 * Parsed JSON of a Hugging Face folder: "config.json", "generation_config.json",
 * "tokenizer_config.json"; NULL when absent or for GGUF.
 */
const llrti_json *llrti_model_file_json(const llrti_model_file *file, const char *name);

/**
 * Raw bytes of a file beside the model ("tokenizer.json"), into a new HOST block with a NUL added;
 * LLRT_ERR_NOT_FOUND when absent.
 */
llrt_status llrti_model_file_read_side(const llrti_model_file *file, llrti_mem *mem,
                                       const char *name, char **out, size_t *n, llrt_error *err);

/** Reads n bytes at `offset` within a tensor's bytes. Any thread. */
llrt_status llrti_model_file_read(const llrti_model_file *file, const llrti_tensor *tensor,
                                  uint64_t offset, void *to, size_t n, llrt_error *err);
/**
 * The tensor's bytes in a mapping (made at the first call; not thread-safe), or
 * LLRT_ERR_UNSUPPORTED when the source has none.
 */
llrt_status llrti_model_file_map(llrti_model_file *file, const llrti_tensor *tensor,
                                 const void **out, llrt_error *err);
/**
 * Fingerprint of metadata, tensor directory and a little of each tensor's bytes, for session files.
 */
llrt_status llrti_model_file_fingerprint(const llrti_model_file *file, uint8_t out[16],
                                         llrt_error *err);
/** Closes the underlying file handles early (after loading); metadata and tensor directory stay. */
void llrti_model_file_release(llrti_model_file *file);
void llrti_model_file_close(llrti_model_file *file); /* NULL is fine */

#endif
