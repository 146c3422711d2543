/* SPDX-License-Identifier: MIT */
/*
 * The GGUF reader on any bytes: the input is one file, or the files of a split model
 * separated by "\n#file\n".
 */
#include "fuzz_model.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const names[FUZZ_MAX_PART] = {
        "m-00001-of-00003.gguf", "m-00002-of-00003.gguf", "m-00003-of-00003.gguf"};
    fuzz_parts parts;
    fuzz_divide(&parts, data, size);
    for (size_t i = 0; i < parts.n_part; i++) parts.part[i].name = names[i];
    fuzz_open_model(&parts, names[0], false);
    fuzz_open_model(&parts, names[0], true);
    return 0;
}
