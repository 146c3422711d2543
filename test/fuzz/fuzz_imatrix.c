/* SPDX-License-Identifier: MIT */
/*
 * The reader of importance matrices on any bytes, of either kind. What it accepts is held to its
 * promise: every value is a number from 0 on, and is found by its name.
 */
#include "error.h"
#include "fuzz_support.h"
#include "quant_imatrix.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const names[] = {"blk.0.attn_q.weight", "blk.0.ffn_down_exps.weight"};
    fuzz_parts parts;
    llrti_mem mem;
    llrt_source source;
    llrti_quant_imatrix *imatrix;
    llrt_error err = LLRT_ERROR_INIT;
    fuzz_divide(&parts, data, size);
    parts.part[0].name = "imatrix";
    llrti_mem_init(&mem, NULL);
    fuzz_source(&parts, &source);
    const llrt_status status = llrti_quant_imatrix_open(&mem, "imatrix", &source, &imatrix, &err);
    FUZZ_CHECK((status == LLRT_OK) == (imatrix != NULL));
    if (status != LLRT_OK) {
        FUZZ_CHECK(status < 0 && err.status == status && err.text[0] && err.file[0]);
    } else {
        FUZZ_CHECK(llrti_quant_imatrix_n_entry(imatrix) > 0);
        for (size_t k = 0; k < 2; k++) {
            size_t n;
            const float *const value = llrti_quant_imatrix_find(imatrix, names[k], &n);
            FUZZ_CHECK((value != NULL) == (n != 0));
            for (size_t i = 0; i < n; i++) FUZZ_CHECK(value[i] >= 0.0f && value[i] <= 1e24f);
        }
        (void)llrti_quant_imatrix_hash(imatrix);
    }
    llrti_quant_imatrix_close(imatrix);
    FUZZ_CHECK(llrti_mem_live(&mem, LLRT_MEMORY_HOST) == 0);
    return 0;
}
