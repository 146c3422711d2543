/* SPDX-License-Identifier: MIT */
/*
 * The reader of LoRA adapters on any bytes: one part is a GGUF, or a safetensors file without its
 * configuration; two are adapter_config.json and adapter_model.safetensors of a folder. What opens has
 * pairs of matrices that fit each other, all of which can be read.
 */
#include <math.h>

#include "adapter_file.h"
#include "fuzz_support.h"

static void read_matrix(llrti_mem *mem, const llrti_adapter_file *file, const llrti_tensor *tensor)
{
    llrt_error err = LLRT_ERROR_INIT;
    const size_t n = (size_t)(tensor->dim[0] * tensor->dim[1]);
    float *const to = llrti_alloc(mem, n * sizeof *to, LLRT_MEMORY_LOADING);
    FUZZ_CHECK(to != NULL);
    FUZZ_CHECK(llrti_adapter_file_read(file, tensor, to, &err) == LLRT_OK);
    llrti_free(mem, to);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_parts parts;
    llrti_mem mem;
    llrt_source source;
    llrti_adapter_file *file;
    llrt_error err = LLRT_ERROR_INIT;
    fuzz_divide(&parts, data, size);
    parts.part[0].name = parts.n_part > 1 ? "l/adapter_config.json" : "l.gguf";
    if (parts.n_part > 1) parts.part[1].name = "l/adapter_model.safetensors";
    llrti_mem_init(&mem, NULL);
    fuzz_source(&parts, &source);
    const llrt_status status =
        llrti_adapter_file_open(&mem, parts.n_part > 1 ? "l" : "l.gguf", &source, &file, &err);
    FUZZ_CHECK((status == LLRT_OK) == (file != NULL));
    FUZZ_CHECK(status == LLRT_OK || (err.status == status && err.text[0] && err.file[0]));
    for (size_t i = 0; file && i < file->changes.n; i++) {
        const llrti_adapter_change *const c = &file->changes.data[i];
        FUZZ_CHECK(c->rank > 0 && c->a->dim[1] == c->rank && c->b->dim[0] == c->rank);
        FUZZ_CHECK(c->name[0] && isfinite(c->factor));
        read_matrix(&mem, file, c->a);
        read_matrix(&mem, file, c->b);
    }
    llrti_adapter_file_close(file);
    FUZZ_CHECK(parts.n_open == 0);
    FUZZ_CHECK(llrti_mem_live(&mem, LLRT_MEMORY_LOADING) == 0);
    FUZZ_CHECK(llrti_mem_live(&mem, LLRT_MEMORY_HOST) == 0);
    return 0;
}
