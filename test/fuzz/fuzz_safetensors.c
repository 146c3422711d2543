/* SPDX-License-Identifier: MIT */
/*
 * The safetensors reader on any bytes: the input is one file, or a folder's files separated by
 * "\n#file\n": config.json, the index, two shards; or config.json, model.safetensors.
 */
#include "fuzz_model.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_parts parts;
    fuzz_divide(&parts, data, size);
    if (parts.n_part == 1) {
        parts.part[0].name = "x.safetensors";
        fuzz_open_model(&parts, "x.safetensors", true);
        return 0;
    }
    static const char *const sharded[FUZZ_MAX_PART] = {
        "m/config.json", "m/model.safetensors.index.json", "m/1.safetensors", "m/2.safetensors"};
    for (size_t i = 0; i < parts.n_part; i++) parts.part[i].name = sharded[i];
    if (parts.n_part == 2) parts.part[1].name = "m/model.safetensors";
    fuzz_open_model(&parts, "m", false);
    return 0;
}
