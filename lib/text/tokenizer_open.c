/* SPDX-License-Identifier: MIT */
/*
 * Opening a tokenizer: a GGUF, a tokenizer.json, a Hugging Face folder, bytes in
 * memory, or a model that an engine has open. Whatever the way, one loader fills the struct and
 * everything read for it is given back before the call returns.
 */
#include <string.h>

#include "error.h"
#include "source_impl.h"
#include "tokenizer_impl.h"

void llrt_tokenizer_options_init(llrt_tokenizer_options *options, size_t struct_size)
{
    if (!options || struct_size < sizeof options->struct_size) return;
    memset(options, 0, struct_size);
    options->struct_size = (uint32_t)struct_size;
}

/* The caller's options as a struct of today's size. */
static llrt_status read_options(const llrt_tokenizer_options *from, llrt_tokenizer_options *to,
                                llrt_error *err)
{
    llrt_tokenizer_options_init(to, sizeof *to);
    if (!from) return LLRT_OK;
    if (from->struct_size < sizeof from->struct_size || from->struct_size > 4096)
        return llrti_fail_field(err, LLRT_ERR_ARGUMENT, "struct_size", "found %u, expected %zu",
                                from->struct_size, sizeof *to);
    for (size_t i = sizeof *to; i < from->struct_size; i++)
        if (((const char *)from)[i] != 0)
            return llrti_fail_field(err, LLRT_ERR_VERSION, "struct_size",
                                    "found options that this version does not know");
    memcpy(to, from, LLRTI_MIN(from->struct_size, sizeof *to));
    if (to->reserved != 0)
        return llrti_fail_field(err, LLRT_ERR_ARGUMENT, "reserved", "found %u, expected 0",
                                to->reserved);
    return LLRT_OK;
}

static llrt_status load_folder(llrt_tokenizer *t, const llrti_model_file *file, llrt_error *err)
{
    char *text;
    size_t n;
    LLRTI_TRY(llrti_model_file_read_side(file, t->mem, "tokenizer.json", &text, &n, err));
    llrt_status status = llrti_tokenizer_load_json(t, text, n, err);
    llrti_free(t->mem, text);
    if (status < 0) {
        llrti_model_file_blame(file, "tokenizer.json", err);
        return status;
    }
    return llrti_tokenizer_load_config(t, llrti_model_file_json(file, "config.json"),
                                       llrti_model_file_json(file, "generation_config.json"),
                                       llrti_model_file_json(file, "tokenizer_config.json"), err);
}

static llrt_status load_model_file(llrt_tokenizer *t, const llrti_model_file *file, llrt_error *err)
{
    const llrt_status status = llrti_model_file_kind(file) == LLRTI_FILE_GGUF
                                   ? llrti_tokenizer_load_gguf(t, file, err)
                                   : load_folder(t, file, err);
    if (status < 0) llrti_error_file(err, llrti_model_file_path(file));
    return status;
}

llrt_status llrti_tokenizer_create(llrti_mem *mem, const llrti_model_file *file,
                                   llrt_tokenizer **out, llrt_error *err)
{
    llrt_tokenizer *t = NULL;
    *out = NULL;
    LLRTI_TRY(llrti_tokenizer_new(mem, NULL, &t, err));
    const llrt_status status = load_model_file(t, file, err);
    if (status < 0) {
        llrti_tokenizer_unref(t);
        return status;
    }
    *out = t;
    return LLRT_OK;
}

static llrt_status load_json_alone(llrt_tokenizer *t, const char *text, size_t n, llrt_error *err)
{
    LLRTI_TRY(llrti_tokenizer_load_json(t, text, n, err));
    return llrti_tokenizer_load_config(t, NULL, NULL, NULL, err);
}

/* No tokenizer.json is larger than this; the JSON reader has a limit of its own. */
#define MAX_JSON_BYTES ((size_t)1 << 28)

static llrt_status open_json(llrt_tokenizer *t, const char *path, const llrt_source *source,
                             llrt_error *err)
{
    llrt_source full;
    char *text = NULL;
    size_t n = 0;
    LLRTI_TRY(llrti_source_copy(&full, source, t->mem, err));
    LLRTI_TRY(llrti_source_read_whole(&full, t->mem, path, MAX_JSON_BYTES, &text, &n, err));
    const llrt_status status = load_json_alone(t, text, n, err);
    llrti_free(t->mem, text);
    return status;
}

static llrt_status open_model(llrt_tokenizer *t, const char *path, const llrt_source *source,
                              const llrt_logger *logger, llrt_error *err)
{
    const llrti_model_file_options options = {source, logger, true};
    llrti_model_file *file = NULL;
    LLRTI_TRY(llrti_model_file_open(t->mem, path, &options, &file, err));
    const llrt_status status = load_model_file(t, file, err);
    llrti_model_file_close(file);
    return status;
}

static bool ends_with(const char *text, const char *end)
{
    const size_t n = strlen(text), n_end = strlen(end);
    return n >= n_end && memcmp(text + n - n_end, end, n_end) == 0;
}

llrt_status llrt_tokenizer_open(const char *path, const llrt_tokenizer_options *options,
                                llrt_tokenizer **out, llrt_error *err)
{
    llrt_tokenizer_options full;
    llrt_tokenizer *t = NULL;
    if (!out) return llrti_fail(err, LLRT_ERR_ARGUMENT, "found a NULL pointer for out");
    *out = NULL;
    if (!path) return llrti_fail(err, LLRT_ERR_ARGUMENT, "found a NULL path");
    LLRTI_TRY(read_options(options, &full, err));
    LLRTI_TRY(llrti_tokenizer_new(NULL, full.allocator, &t, err));
    const llrt_status status = ends_with(path, ".json")
                                   ? open_json(t, path, full.source, err)
                                   : open_model(t, path, full.source, full.logger, err);
    if (status < 0) {
        llrti_error_file(err, path);
        llrti_tokenizer_unref(t);
        return status;
    }
    *out = t;
    return LLRT_OK;
}

llrt_status llrt_tokenizer_open_memory(const void *data, size_t size,
                                       const llrt_tokenizer_options *options, llrt_tokenizer **out,
                                       llrt_error *err)
{
    llrt_tokenizer_options full;
    llrt_tokenizer *t = NULL;
    if (!out) return llrti_fail(err, LLRT_ERR_ARGUMENT, "found a NULL pointer for out");
    *out = NULL;
    if (!data && size) return llrti_fail(err, LLRT_ERR_ARGUMENT, "found a NULL pointer for data");
    LLRTI_TRY(read_options(options, &full, err));
    LLRTI_TRY(llrti_tokenizer_new(NULL, full.allocator, &t, err));
    llrt_status status;
    if (size >= 4 && memcmp(data, "GGUF", 4) == 0) {
        llrt_source source;
        const llrt_blob blob = {data, size};
        llrt_source_init_memory(&source, sizeof source, &blob);
        status = open_model(t, "memory.gguf", &source, full.logger, err);
    } else {
        status = load_json_alone(t, data, size, err);
    }
    if (status < 0) {
        llrti_tokenizer_unref(t);
        return status;
    }
    *out = t;
    return LLRT_OK;
}
