/* SPDX-License-Identifier: MIT */
/*
 * Reading rows of weights; see weight.h. A request is cut at the borders of slices; of a slice the
 * smallest run of the file that holds the rows is read, into place when the rows are as wanted,
 * else into the scratch and picked from there. Of transposed slices that is one strip of columns.
 *
 * The builder has checked that all of this lies inside the tensors, so nothing overflows here.
 */
#include "weight.h"

#include <string.h>

#include "types.h"

#define MXFP4_VALUES 32 /* per block: one scale, 16 bytes */
#define MXFP4_HALF (MXFP4_VALUES / 2)
#define MXFP4_BYTES (1 + MXFP4_HALF)

/* Rows of one slice. */
typedef struct piece {
    const llrti_model_weight *weight;
    const llrti_tensor *tensor, *scales;
    uint64_t slice_row; /* file row of the slice's beginning */
    uint64_t row;       /* first of them, in the slice */
    size_t n_row;
    unsigned char *to, *scratch;
} piece;

uint64_t llrti_weight_rows(const llrti_model_weight *weight)
{
    return weight->desc.dim[1] * weight->desc.dim[2] * weight->desc.dim[3];
}

static bool is_in_place(const llrti_model_weight *w)
{
    return !w->is_transposed && !w->scales && w->row_step == 1 && w->col_begin == 0 &&
           w->col_step == 1 && w->row_elements == w->desc.dim[0];
}

bool llrti_weight_is_direct(const llrti_model_weight *w)
{
    return is_in_place(w) && !w->part && w->row_begin == 0 && w->slice_rows == llrti_weight_rows(w);
}

/* File rows, or columns, from the first to the last of n_row rows. */
static uint64_t span(const llrti_model_weight *w, uint64_t n_row)
{
    return (n_row - 1) * w->row_step + 1;
}

/* Bytes of a row of the weight as the backend gets it, and of n elements of the tensor. */
static size_t row_bytes(const llrti_model_weight *w)
{
    size_t n = 0;
    llrti_type_row_bytes(w->desc.type, w->desc.dim[0], &n);
    return n;
}

static size_t bytes_of(const llrti_model_weight *w, uint64_t n)
{
    size_t bytes = 0;
    llrti_type_row_bytes(w->tensor->type, n, &bytes);
    return bytes;
}

size_t llrti_weight_scratch(const llrti_model_weight *w, uint64_t n_row)
{
    if (is_in_place(w)) return 0;
    const uint64_t n = span(w, LLRTI_MIN(n_row, w->slice_rows));
    if (w->scales) return (size_t)(n * (w->desc.dim[0] / MXFP4_VALUES)) * MXFP4_BYTES;
    if (w->is_transposed) return (size_t)w->desc.dim[0] * bytes_of(w, n);
    return (size_t)n * bytes_of(w, w->row_elements);
}

static llrt_status read_in_place(const llrti_model_file *file, const piece *p, llrt_error *err)
{
    const size_t bytes = row_bytes(p->weight);
    return llrti_model_file_read(file, p->tensor,
                                 (p->slice_row + p->weight->row_begin + p->row) * bytes, p->to,
                                 p->n_row * bytes, err);
}

static llrt_status read_picked(const llrti_model_file *file, const piece *p, llrt_error *err)
{
    const llrti_model_weight *const w = p->weight;
    const size_t n = (size_t)w->desc.dim[0], to_bytes = row_bytes(w);
    const size_t from_bytes = bytes_of(w, w->row_elements);
    const uint64_t first = p->slice_row + w->row_begin + p->row * w->row_step;
    LLRTI_TRY(llrti_model_file_read(file, p->tensor, first * from_bytes, p->scratch,
                                    (size_t)span(w, p->n_row) * from_bytes, err));
    const bool is_whole = w->col_begin == 0 && w->col_step == 1;
    const size_t element = is_whole ? to_bytes : bytes_of(w, 1);
    for (size_t r = 0; r < p->n_row; r++) {
        const unsigned char *const from =
            p->scratch + r * (size_t)w->row_step * from_bytes + (size_t)w->col_begin * element;
        for (size_t k = 0; k < (is_whole ? 1 : n); k++)
            memcpy(p->to + r * to_bytes + k * element, from + k * (size_t)w->col_step * element,
                   element);
    }
    return LLRT_OK;
}

/* The strip has a row of n columns for each k; row r of the result is every row_step-th of them. */
static void turn(const piece *p, size_t n, size_t n_k, size_t element)
{
    enum { TILE = 32 };
    const size_t step = (size_t)p->weight->row_step;
    for (size_t r0 = 0; r0 < p->n_row; r0 += TILE) {
        for (size_t k0 = 0; k0 < n_k; k0 += TILE) {
            const size_t r1 = LLRTI_MIN(r0 + TILE, p->n_row), k1 = LLRTI_MIN(k0 + TILE, n_k);
            for (size_t r = r0; r < r1; r++)
                for (size_t k = k0; k < k1; k++)
                    memcpy(p->to + (r * n_k + k) * element,
                           p->scratch + (k * n + r * step) * element, element);
        }
    }
}

static llrt_status read_transposed(const llrti_model_file *file, const piece *p, llrt_error *err)
{
    const llrti_model_weight *const w = p->weight;
    const size_t n_k = (size_t)w->desc.dim[0], element = bytes_of(w, 1);
    const size_t n = (size_t)span(w, p->n_row);
    const uint64_t column = w->row_begin + p->row * w->row_step;
    for (size_t k = 0; k < n_k; k++)
        LLRTI_TRY(llrti_model_file_read(file, p->tensor,
                                        ((p->slice_row + k) * w->row_elements + column) * element,
                                        p->scratch + k * n * element, n * element, err));
    turn(p, n, n_k, element);
    return LLRT_OK;
}

/*
 * Puts a scale and 16 bytes together as GGUF has them: the low halves are values 0 to 15, the high
 * ones 16 to 31. In the file byte j has values 2j and 2j + 1.
 */
static void join_block(unsigned char scale, const unsigned char *from, unsigned char *to)
{
    to[0] = scale;
    for (size_t j = 0; j < MXFP4_HALF; j++) {
        const size_t low = j, high = j + MXFP4_HALF;
        const unsigned a = from[low / 2] >> (low % 2 ? 4 : 0) & 15u;
        const unsigned b = from[high / 2] >> (high % 2 ? 4 : 0) & 15u;
        to[1 + j] = (unsigned char)(a | b << 4);
    }
}

static llrt_status read_blocks(const llrti_model_file *file, const piece *p, llrt_error *err)
{
    const llrti_model_weight *const w = p->weight;
    const size_t n_block = (size_t)w->desc.dim[0] / MXFP4_VALUES;
    const size_t n = (size_t)span(w, p->n_row) * n_block;
    const uint64_t first = (p->slice_row + w->row_begin + p->row * w->row_step) * n_block;
    unsigned char *const scale = p->scratch + n * MXFP4_HALF;
    LLRTI_TRY(llrti_model_file_read(file, p->tensor, first * MXFP4_HALF, p->scratch, n * MXFP4_HALF,
                                    err));
    LLRTI_TRY(llrti_model_file_read(file, p->scales, first, scale, n, err));
    for (size_t r = 0; r < p->n_row; r++) {
        const size_t from = r * (size_t)w->row_step * n_block;
        for (size_t i = 0; i < n_block; i++)
            join_block(scale[from + i], p->scratch + (from + i) * MXFP4_HALF,
                       p->to + (r * n_block + i) * MXFP4_BYTES);
    }
    return LLRT_OK;
}

llrt_status llrti_weight_read(const llrti_model_file *file, const llrti_model_weight *w,
                              uint64_t row, uint64_t n_row, void *to, void *scratch,
                              llrt_error *err)
{
    const size_t bytes = row_bytes(w);
    for (uint64_t done = 0; done < n_row;) {
        const uint64_t slice = (row + done) / w->slice_rows;
        piece p = {.weight = w,
                   .tensor = w->part ? w->part[slice] : w->tensor,
                   .scales = w->scales,
                   .slice_row = w->part ? 0 : slice * w->slice_step,
                   .row = (row + done) % w->slice_rows,
                   .to = (unsigned char *)to + (size_t)done * bytes,
                   .scratch = scratch};
        p.n_row = (size_t)LLRTI_MIN(w->slice_rows - p.row, n_row - done);
        if (is_in_place(w))
            LLRTI_TRY(read_in_place(file, &p, err));
        else if (w->scales)
            LLRTI_TRY(read_blocks(file, &p, err));
        else if (w->is_transposed)
            LLRTI_TRY(read_transposed(file, &p, err));
        else
            LLRTI_TRY(read_picked(file, &p, err));
        done += p.n_row;
    }
    return LLRT_OK;
}
