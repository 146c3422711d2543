/* SPDX-License-Identifier: MIT */
/*
 * The table of model families, made from the list in families.h. Constant; any thread. Names are
 * unique for each kind of file: the first entry that fits is the one that builds.
 */
#include "families.h"

#define ENTRY(name, is_gguf, is_hf, function, separator)                                           \
    {name, is_gguf, is_hf, llrti_family_##function},
#define NAME(name, is_gguf, is_hf, function, separator) separator name

const llrti_family llrti_families[] = {LLRTI_FAMILY_MAP(ENTRY){NULL, false, false, NULL}};

const char *llrti_model_known(void)
{
    return LLRTI_FAMILY_MAP(NAME);
}
