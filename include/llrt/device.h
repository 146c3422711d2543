/* SPDX-License-Identifier: MIT */
/*
 * Devices: what a model can be run on.
 */
#ifndef LLRT_DEVICE_H
#define LLRT_DEVICE_H

#include "status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef uint32_t llrt_device_kind;
enum { LLRT_DEVICE_CPU = 0, LLRT_DEVICE_GPU = 1, LLRT_DEVICE_OTHER = 2 };

typedef struct llrt_device_info {
    uint32_t struct_size;
    llrt_device_kind kind;
    char name[64];         /**< what a user writes to choose it: "cpu", "cuda:0" */
    char description[192]; /**< the hardware in words, with the ISA or architecture level */
    uint64_t memory_total; /**< bytes, 0 when unknown */
    uint64_t memory_free;
} llrt_device_info;

/**
 * Describes device number `index`, counted over all backends: those built in first, then those of
 * the plug-ins (files named libllrt-*) in `plugin_dir`.
 * @param plugin_dir borrowed; NULL: the folder libllrt lies in
 * @param info       set info->struct_size first
 * @return LLRT_OK; LLRT_ERR_NOT_FOUND when there are not that many devices: count up until then
 */
LLRT_API llrt_status llrt_device_get(const char *plugin_dir, uint32_t index, llrt_device_info *info,
                                     llrt_error *err);

#ifdef __cplusplus
}
#endif
#endif
