/* SPDX-License-Identifier: MIT */
/*
 * From a Hugging Face folder to what a GGUF of the same model says. The model's family is asked
 * twice: reading the folder, it tells the GGUF name of every tensor and hyper-parameter it uses;
 * and the GGUF that comes out is given to it again and must describe the same program. So there is
 * no second table of names, and an architecture whose GGUF differs in a way that isn't known here
 * is refused instead of converted wrongly.
 */
#ifndef LLRTI_QUANT_CONVERT_H
#define LLRTI_QUANT_CONVERT_H

#include "quant_plan.h"

/** Fills an initialised plan. LLRT_ERR_UNSUPPORTED names the architecture and what is in the way. */
llrt_status llrti_quant_convert(llrti_mem *mem, const llrti_model_file *file,
                                llrti_quant_plan *plan, llrt_error *err);

#endif
