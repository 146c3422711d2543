/* SPDX-License-Identifier: MIT */
/*
 * Compares the dequantisation of all formats with another library's, bit for bit, on random blocks and on blocks
 * made of one repeated byte. The library (libggml-base.so.0) is looked up at run time;
 * without it the program says so and exits with 77. peer_dequant.sh finds and starts it with the right loader.
 */
#include <dlfcn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gemm.h"
#include "quant_blocks.h"

/* The head of the record that ggml_get_type_traits returns. */
typedef struct peer_traits {
    const char *name;
    int64_t values, interleave;
    size_t bytes;
    bool is_quantised;
    void (*to_float)(const void *from, float *to, int64_t n);
} peer_traits;

enum { N_BLOCK = 4096, MAX_BYTES = 210, MAX_VALUES = 256 };

static uint32_t random_bits(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return (uint32_t)((z ^ z >> 31) >> 32);
}

static llrti_dequant_fn *kernel_of(const llrti_gemm_kernels *kernels, const char *format)
{
#define LLRTI_GEMM_KERNEL(slot, symbol, isa, exact)                                                \
    if (strcmp(format, &#slot[8]) == 0) return kernels->slot;
#include "dequant.def"
#undef LLRTI_GEMM_KERNEL
    return NULL;
}

int main(void)
{
    void *const library = dlopen("libggml-base.so.0", RTLD_NOW);
    if (library == NULL) {
        printf("peer_dequant skipped: %s\n", dlerror());
        return 77;
    }
    const peer_traits *(*traits_of)(int type) = NULL;
    void *const symbol = dlsym(library, "ggml_get_type_traits");
    memcpy(&traits_of, &symbol, sizeof symbol);
    if (traits_of == NULL) return 1;
    static uint8_t blocks[N_BLOCK * MAX_BYTES];
    static float ours[N_BLOCK * MAX_VALUES], theirs[N_BLOCK * MAX_VALUES];
    llrti_gemm_kernels ref, best;
    llrti_gemm_init(&ref, 0);
    llrti_gemm_init(&best, llrti_isa_detect());
    int n_failed = 0, n_passed = 0;
    for (size_t t = 0; t < N_QUANT_BLOCKS; t++) {
        const quant_block *const f = &quant_blocks[t];
        const peer_traits *const traits = traits_of((int)f->type);
        if (f->type == LLRT_TYPE_F32) continue;
        if (traits == NULL || traits->to_float == NULL || traits->bytes != f->bytes ||
            (size_t)traits->values != f->values) {
            printf("%s: not the peer's format\n", f->name);
            n_failed++;
            continue;
        }
        uint64_t state = t;
        bool same = true;
        for (int round = 0; round < 16 && same; round++) {
            for (size_t i = 0; i < N_BLOCK * f->bytes; i++)
                blocks[i] = (uint8_t)(round < 15 ? random_bits(&state) : i / f->bytes % 256);
            quant_block_tame(f, blocks, N_BLOCK);
            const size_t n = N_BLOCK * f->values;
            traits->to_float(blocks, theirs, (int64_t)n);
            for (int pass = 0; pass < 2; pass++) {
                kernel_of(pass ? &best : &ref, f->name)(blocks, ours, n);
                for (size_t i = 0; i < n && same; i++) {
                    same = memcmp(&ours[i], &theirs[i], 4) == 0 ||
                           (ours[i] != ours[i] && theirs[i] != theirs[i]);
                    if (!same)
                        printf("%s: value %zu is %a, the peer's %a\n", f->name, i, ours[i],
                               theirs[i]);
                }
            }
        }
        printf("%-7s %s\n", f->name, same ? "same bits" : "DIFFERENT");
        same ? n_passed++ : n_failed++;
    }
    printf("%d passed, %d failed\n", n_passed, n_failed);
    return n_failed != 0;
}
