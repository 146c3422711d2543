/* SPDX-License-Identifier: MIT */
/*
 * 8-bit activations times Q8 or Q4 weights with tdpbsud, 32 columns x 64 outputs per call: the body of
 * gemm_q8_amx.c and gemm_q4_amx.c. Included once by a file that defines BITS (8 or 4) and GEMM_ONE_COLUMN, the kernel that
 * takes a single column, whose packed form is the same for both.
 *
 * A block of 32 k of a group is a weight tile of 8 rows; 4-bit ones are unpacked for CHUNK blocks at a time and serve both
 * activation tiles from the cache. An activation tile is up to 16 columns x 32 k. The sums of a block (16 columns x 16
 * outputs, int32) go through memory to the vector unit, where -offset * sum(activations) is added and c = fma(w_scale *
 * x_scale, (float)dot, c) as in ref: the same bits. With 16 columns the float sums stay in 16 registers.
 *
 * A tile product takes 52 cycles and its store must retire before a load sees it, so a loop step starts block b + 2, stores
 * b + 1 and finishes b.
 */
#ifndef LLRTI_GEMM_Q_AMX_H
#define LLRTI_GEMM_Q_AMX_H

enum {
    BLOCK_BYTES = BITS * 64,
    PAIR_BYTES = BITS == 8 ? LLRTI_GEMM_Q8_BYTES : LLRTI_GEMM_Q4_BYTES,
    OFFSET_SHIFT = BITS == 8 ? 7 : 3,
    CHUNK = 16, /* blocks; unpacked they take 8 KiB, a sixth of L1 */
    TILE_BYTES = 512
};

static LLRTK_INLINE __m512 finish(__m512 sum, const int32_t *dot, int32_t start, __m512 d,
                                  float x_scale)
{
    const __m512i whole = _mm512_add_epi32(_mm512_load_si512(dot), _mm512_set1_epi32(start));
    return _mm512_fmadd_ps(_mm512_mul_ps(d, _mm512_set1_ps(x_scale)), _mm512_cvtepi32_ps(whole),
                           sum);
}

typedef struct chunk {
    const uint8_t *weights; /* packed pairs of blocks, for the scales */
    const uint8_t *q;       /* weight tiles: block b at q + tile_offset(b) */
    const uint8_t *x;       /* the panel's activations at the first block */
    size_t n_block;
    uint32_t n_col;    /* of the panel */
    uint32_t first, n; /* columns of this activation tile */
    float *c;          /* of the first column */
    size_t c_stride;
    uint32_t accumulate;
} chunk;

static LLRTK_INLINE const uint8_t *tile_of(const chunk *h, size_t b)
{
    return BITS == 8 ? h->q + b / 2 * PAIR_BYTES + b % 2 * BLOCK_BYTES : h->q + b * TILE_BYTES;
}

/* Starts the dot products of block b; even blocks use tmm0-2, odd ones tmm3-5. */
static LLRTK_INLINE void start_block(const chunk *h, size_t b)
{
    const uint8_t *const x = h->x + b * h->n_col * LLRTI_GEMM_Q_ACT_BYTES + h->first * 32;
    const uint8_t *const q = tile_of(h, b);
    if (b % 2) {
        _tile_loadd(4, x, 32);
        _tile_loadd(5, q, 64);
        _tile_zero(3);
        _tile_dpbsud(3, 4, 5);
    } else {
        _tile_loadd(1, x, 32);
        _tile_loadd(2, q, 64);
        _tile_zero(0);
        _tile_dpbsud(0, 1, 2);
    }
}

/* Writes block b's integer sums, (columns, 16 outputs). */
static LLRTK_INLINE void store_block(size_t b, int32_t *dot)
{
    if (b % 2)
        _tile_stored(3, dot, 64);
    else
        _tile_stored(0, dot, 64);
}

/* n is 16 in the instance whose sums live in registers. */
static LLRTK_INLINE void run_chunk(const chunk *h, const uint32_t n)
{
    _Alignas(64) int32_t dot[2][256];
    _Alignas(64) int32_t start[16];
    __m512 sum[16];
    LLRTK_UNROLL for (uint32_t t = 0; t < 16; t++) sum[t] =
        h->accumulate && t < n ? _mm512_loadu_ps(h->c + t * h->c_stride) : _mm512_setzero_ps();
    const __mmask16 columns = (__mmask16)((1u << n) - 1);
    start_block(h, 0);
    start_block(h, 1);
    store_block(0, dot[0]);
    for (size_t b = 0; b < h->n_block; b++) {
        const uint8_t *const x = h->x + b * h->n_col * LLRTI_GEMM_Q_ACT_BYTES;
        const int32_t *const result = dot[b % 2];
        if (b + 2 < h->n_block) start_block(h, b + 2);
        if (b + 1 < h->n_block) store_block(b + 1, dot[(b + 1) % 2]);
        const float *const x_scale =
            (const float *)(const void *)(x + 32 * (size_t)h->n_col) + h->first;
        const int32_t *const minus_sum =
            (const int32_t *)(const void *)(x + 36 * (size_t)h->n_col) + h->first;
        _mm512_store_si512(
            start, _mm512_slli_epi32(_mm512_maskz_loadu_epi32(columns, minus_sum), OFFSET_SHIFT));
        const uint8_t *const scales =
            h->weights + b / 2 * PAIR_BYTES + 2 * BLOCK_BYTES + b % 2 * 32;
        const __m512 d = _mm512_cvtph_ps(_mm256_loadu_si256((const void *)scales));
        LLRTK_UNROLL for (uint32_t t = 0; t < 16; t++)
        {
            if (t < n) sum[t] = finish(sum[t], result + t * 16, start[t], d, x_scale[t]);
        }
    }
    LLRTK_UNROLL for (uint32_t t = 0; t < 16; t++)
    {
        if (t < n) _mm512_storeu_ps(h->c + t * h->c_stride, sum[t]);
    }
}

static void run_16(const chunk *h)
{
    run_chunk(h, 16);
}

static void run_few(const chunk *h)
{
    run_chunk(h, h->n);
}

/* n blocks of 4-bit weights to tiles of bytes. */
static LLRTK_INLINE void unpack(const uint8_t *w, size_t n, uint8_t *q)
{
    const __m512i low = _mm512_set1_epi8(15);
    for (size_t b = 0; b < n; b++) {
        const uint8_t *const block = w + b / 2 * PAIR_BYTES + b % 2 * BLOCK_BYTES;
        for (size_t i = 0; i < 4; i++) {
            const __m512i both = _mm512_loadu_si512(block + i * 64);
            _mm512_store_si512(q + b * TILE_BYTES + i * 128, _mm512_and_si512(both, low));
            _mm512_store_si512(q + b * TILE_BYTES + i * 128 + 64,
                               _mm512_and_si512(_mm512_srli_epi16(both, 4), low));
        }
    }
}

static void configure(uint32_t n)
{
    llrtk_tile_config config = {.palette = 1};
    for (int i = 0; i < 6; i += 3) {
        llrtk_tile_shape(&config, i, n, 64);
        llrtk_tile_shape(&config, i + 1, n, 32);
        llrtk_tile_shape(&config, i + 2, 8, 64);
    }
    LLRTK_TILE_FENCE();
    _tile_loadconfig(&config);
}

/* All groups with columns [first, first + n) of the panel. */
static void run_columns(const llrti_gemm_args *a, uint32_t first, uint32_t n)
{
    _Alignas(64) uint8_t unpacked[BITS == 8 ? 64 : CHUNK * TILE_BYTES];
    configure(n);
    for (uint32_t g = 0; g < a->n_group; g++) {
        const uint8_t *w = (const uint8_t *)a->w + g * a->w_stride;
        chunk h = {.x = a->x,
                   .n_col = a->n_col,
                   .first = first,
                   .n = n,
                   .c_stride = a->c_stride,
                   .c = a->c + first * a->c_stride + g * 16,
                   .accumulate = a->accumulate};
        for (size_t left = a->k / 32; left; left -= h.n_block) {
            h.n_block = BITS == 8 || left < CHUNK ? left : (size_t)CHUNK;
            h.weights = h.q = w;
            if (BITS == 4) {
                unpack(w, h.n_block, unpacked);
                LLRTK_TILE_FENCE();
                h.q = unpacked;
            }
            if (n == 16)
                run_16(&h);
            else
                run_few(&h);
            h.accumulate = 1;
            h.x += h.n_block * a->n_col * LLRTI_GEMM_Q_ACT_BYTES;
            w += h.n_block / 2 * PAIR_BYTES;
        }
    }
}

static void run_amx(const llrti_gemm_args *a)
{
    assert(a->n_group >= 1 && a->n_col >= 1 && a->n_col <= LLRTI_GEMM_AMX_NR && a->k % 64 == 0);
    if (a->n_col == 1) {
        GEMM_ONE_COLUMN(a);
        return;
    }
    for (uint32_t first = 0; first < a->n_col; first += 16)
        run_columns(a, first, a->n_col - first < 16 ? a->n_col - first : 16);
    _tile_release();
}

#endif
