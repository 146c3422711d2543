/* SPDX-License-Identifier: MIT */
/*
 * Linear layers: choice of layout, loading, blocking and the split into tasks.
 *
 * A task is a block of 16-row groups of one weight times a chunk of columns. Where the stored layout is
 * what the kernel multiplies, it is used in place ("direct"); else a tile of up to 4 groups x KB values of K is
 * converted into the worker's scratch and multiplied from there while it is in the cache. K is walked in ascending
 * blocks that continue the same accumulators, so blocking never shows in a result. The last group of a
 * weight whose m is no multiple of 16 goes through a small buffer, because kernels store whole groups.
 *
 * Scratch of a worker: the converted tile, rows of floats on their way to it, the buffer of the last group.
 */
#include "linear.h"

#include <assert.h>
#include <stdatomic.h>
#include <string.h>

#include "alloc.h"
#include "error.h"
#include "half.h"
#include "pack.h"
#include "types.h"

enum {
    MR = LLRTI_GEMM_MR,
    KB = 512,        /* values of K in a converted tile; a multiple of every block size */
    PACK_PANELS = 2, /* of activations per task */
    PACK_ROWS = 16,  /* up to so many are packed by the caller alone */
    MAX_CHUNK = 516, /* columns of a task, in whole panels of 6 or 32 */
    /* Bytes of weights that stay in L2 while the columns pass by: half of Zen 4's 1 MiB. */
    L2_BYTES = 512 << 10,
    TILE_BYTES = LLRTI_GEMM_MAX_GROUP * MR * KB * 4,
    KB_FEW = 256,         /* the same with one panel of columns: it stays in L1 */
    ROW_STRIDE = KB + 16, /* floats; no power of two, which would map rows to the same cache sets */
    ROWS_BYTES = MR * ROW_STRIDE * 4,
    TAIL_BYTES = MAX_CHUNK * MR * 4
};

/* ---- Choice --------------------------------------------------------------------------------- */

static size_t round_up(size_t n, size_t to)
{
    return (n + to - 1) / to * to;
}

static size_t act_k_pad(llrti_linear_act act, size_t k)
{
    return act == LLRTI_LINEAR_ACT_Q8     ? round_up(k, 64)
           : act == LLRTI_LINEAR_ACT_BF16 ? round_up(k, 32)
                                          : k;
}

/* Columns of a panel. */
static size_t panel_columns(const llrti_gemm_kernels *kernels, llrti_linear_act act)
{
    const bool is_amx = (kernels->isa & LLRTI_ISA_AMX) && act != LLRTI_LINEAR_ACT_F32;
    return is_amx ? LLRTI_GEMM_AMX_NR : LLRTI_GEMM_NR;
}

static size_t act_column_bytes(llrti_linear_act act, size_t k)
{
    const size_t k_pad = act_k_pad(act, k);
    if (act == LLRTI_LINEAR_ACT_Q8) return k_pad / 32 * LLRTI_GEMM_Q_ACT_BYTES;
    return k_pad * (act == LLRTI_LINEAR_ACT_BF16 ? 2 : 4);
}

/* Bytes of k values (a multiple of 64 for Q8 and Q4) of a group in a panel layout. */
static size_t panel_bytes(llrti_linear_storage storage, size_t k)
{
    switch (storage) {
    case LLRTI_LINEAR_F32:
        return k * MR * 4;
    case LLRTI_LINEAR_F16:
    case LLRTI_LINEAR_BF16:
        return k * MR * 2;
    case LLRTI_LINEAR_Q8:
        return k / 64 * LLRTI_GEMM_Q8_BYTES;
    case LLRTI_LINEAR_Q4:
        return k / 64 * LLRTI_GEMM_Q4_BYTES;
    default:
        return 0;
    }
}

static llrti_linear_act choose_act(const llrti_linear_desc *desc, uint32_t isa)
{
    if (desc->type == LLRT_TYPE_F32 || desc->precision == LLRT_PRECISION_F32)
        return LLRTI_LINEAR_ACT_F32;
    if (desc->type == LLRT_TYPE_Q8_0 || desc->type == LLRT_TYPE_Q4_0) return LLRTI_LINEAR_ACT_Q8;
    const bool has_bf16 = (isa & LLRTI_ISA_AVX512BF16) != 0;
    return has_bf16 && desc->precision == LLRT_PRECISION_AUTO ? LLRTI_LINEAR_ACT_BF16
                                                              : LLRTI_LINEAR_ACT_F32;
}

static llrti_linear_storage choose_storage(const llrti_linear_desc *desc, llrti_linear_act act)
{
    if (desc->weights == LLRT_WEIGHTS_MAPPED) return LLRTI_LINEAR_ROWS;
    switch (desc->type) {
    case LLRT_TYPE_F32:
        return LLRTI_LINEAR_F32;
    case LLRT_TYPE_F16:
        return LLRTI_LINEAR_F16;
    case LLRT_TYPE_BF16:
        return LLRTI_LINEAR_BF16;
    case LLRT_TYPE_Q8_0:
        return act == LLRTI_LINEAR_ACT_Q8 ? LLRTI_LINEAR_Q8 : LLRTI_LINEAR_ROWS;
    case LLRT_TYPE_Q4_0:
        return act == LLRTI_LINEAR_ACT_Q8 ? LLRTI_LINEAR_Q4 : LLRTI_LINEAR_ROWS;
    default:
        return LLRTI_LINEAR_ROWS;
    }
}

/* The panel layout the kernels of `linear->act` multiply. */
static llrti_linear_storage panel_of(const llrti_linear *linear)
{
    if (linear->act == LLRTI_LINEAR_ACT_F32) return LLRTI_LINEAR_F32;
    if (linear->act == LLRTI_LINEAR_ACT_BF16) return LLRTI_LINEAR_BF16;
    return linear->type == LLRT_TYPE_Q4_0 ? LLRTI_LINEAR_Q4 : LLRTI_LINEAR_Q8;
}

/* Types that a kernel exists for; others, such as integers, can be in a file but not in a product. */
static bool is_weight_type(llrt_type type)
{
    static const llrt_type types[] = {
        LLRT_TYPE_F32,  LLRT_TYPE_F16,    LLRT_TYPE_BF16,   LLRT_TYPE_Q4_0,
        LLRT_TYPE_Q4_1, LLRT_TYPE_Q5_0,   LLRT_TYPE_Q5_1,   LLRT_TYPE_Q8_0,
        LLRT_TYPE_Q2_K, LLRT_TYPE_Q3_K,   LLRT_TYPE_Q4_K,   LLRT_TYPE_Q5_K,
        LLRT_TYPE_Q6_K, LLRT_TYPE_IQ4_NL, LLRT_TYPE_IQ4_XS, LLRT_TYPE_MXFP4};
    for (size_t i = 0; i < LLRTI_COUNT(types); i++) {
        if (types[i] == type) return true;
    }
    return false;
}

llrt_status llrti_linear_init(llrti_linear *linear, const llrti_linear_desc *desc,
                              const llrti_gemm_kernels *kernels, llrt_error *err)
{
    memset(linear, 0, sizeof *linear);
    if (!is_weight_type(desc->type))
        return llrti_fail(err, LLRT_ERR_UNSUPPORTED,
                          "found weights of type %s (%u), which can't be multiplied",
                          llrti_type_name(desc->type), (unsigned)desc->type);
    size_t row_bytes, group_bytes, bytes;
    const size_t limit = SIZE_MAX / 64; /* so that padding below can't overflow */
    if (desc->k == 0 || desc->m == 0 || desc->k > limit || desc->m > limit ||
        !llrti_type_row_bytes(desc->type, desc->k, &row_bytes))
        return llrti_fail(err, LLRT_ERR_FORMAT,
                          "found a weight of %llu x %llu values of type %s, "
                          "expected whole blocks in every row",
                          (unsigned long long)desc->k, (unsigned long long)desc->m,
                          llrti_type_name(desc->type));
    linear->kernels = kernels;
    linear->type = desc->type;
    linear->act = choose_act(desc, kernels->isa);
    linear->storage = choose_storage(desc, linear->act);
    linear->is_mapped = desc->weights == LLRT_WEIGHTS_MAPPED;
    linear->k = (size_t)desc->k;
    linear->m = (size_t)desc->m;
    linear->k_pad = act_k_pad(linear->act, linear->k);
    linear->row_bytes = row_bytes;
    bool fits;
    if (linear->storage == LLRTI_LINEAR_ROWS) {
        fits = llrti_mul_size(row_bytes, MR, &group_bytes) &&
               llrti_mul_size(row_bytes, linear->m, &bytes);
    } else {
        const size_t k_stored = round_up(linear->k_pad, 2);
        size_t largest; /* bytes of floats bound the bytes of every layout */
        fits = llrti_mul_size(k_stored, MR * sizeof(float), &largest);
        group_bytes = fits ? panel_bytes(linear->storage, k_stored) : 0;
        fits = fits && llrti_mul_size(group_bytes, (linear->m + MR - 1) / MR, &bytes);
    }
    if (!fits)
        return llrti_fail(err, LLRT_ERR_FORMAT,
                          "found a weight of %llu x %llu values, which overflows",
                          (unsigned long long)desc->k, (unsigned long long)desc->m);
    linear->group_bytes = group_bytes;
    linear->bytes = linear->is_mapped ? 0 : bytes;
    return LLRT_OK;
}

/* ---- Storing and reading weights ------------------------------------------------------------ */

/* Up to 16 rows, k of each, as one group in the storage of `linear`. */
static void pack_group(const llrti_linear *linear, const llrti_pack_rows *rows, void *dst,
                       size_t k_stored)
{
    switch (linear->storage) {
    case LLRTI_LINEAR_F32:
        llrti_pack_u32(rows, dst, k_stored);
        break;
    case LLRTI_LINEAR_F16:
        llrti_pack_u16(rows, dst, k_stored);
        break;
    case LLRTI_LINEAR_BF16:
        llrti_pack_u16_pairs(rows, dst, k_stored);
        break;
    case LLRTI_LINEAR_Q8:
        llrti_pack_q8(rows, dst);
        break;
    default:
        llrti_pack_q4(rows, dst);
        break;
    }
}

/* Copies n lanes of `unit` bytes from the first to `lane` of each line of 16. */
static void copy_lanes(const uint8_t *from, uint8_t *to, size_t bytes, size_t unit, size_t lane,
                       size_t n)
{
    for (size_t i = 0; i < bytes; i += MR * unit) memcpy(to + i + lane * unit, from + i, n * unit);
}

/*
 * Part of a group: n_row rows to its lanes from `lane` on, no other lane being touched, as another thread may write
 * those. The weight's last row also fills the lanes that no row has. 64 values of K at a time are packed apart.
 */
static void put_lanes(const llrti_linear *linear, size_t row, size_t n_row, const uint8_t *from)
{
    _Alignas(64) uint8_t piece[64 * MR * sizeof(float)];
    const llrti_type_info *const info = llrti_type_find(linear->type);
    const size_t lane = row % MR, k_stored = round_up(linear->k_pad, 2);
    const size_t n = row + n_row == linear->m ? MR - lane : n_row;
    uint8_t *const group = (uint8_t *)linear->data + row / MR * linear->group_bytes;
    for (size_t k = 0; k < k_stored; k += 64) {
        const size_t n_k = LLRTI_MIN(k_stored - k, (size_t)64);
        const llrti_pack_rows rows = {from + k / info->block * info->block_bytes, linear->row_bytes,
                                      n_row, linear->k > k ? LLRTI_MIN(linear->k - k, n_k) : 0};
        const size_t bytes = panel_bytes(linear->storage, n_k);
        uint8_t *const to = group + panel_bytes(linear->storage, k);
        pack_group(linear, &rows, piece, n_k);
        if (linear->storage == LLRTI_LINEAR_Q8 || linear->storage == LLRTI_LINEAR_Q4) {
            const size_t scales = (size_t)2 * MR * sizeof(uint16_t);
            copy_lanes(piece, to, bytes - scales, 4, lane, n);
            copy_lanes(piece + bytes - scales, to + bytes - scales, scales, 2, lane, n);
        } else {
            copy_lanes(piece, to, bytes, linear->storage == LLRTI_LINEAR_F16 ? 2 : 4, lane, n);
        }
    }
}

void llrti_linear_put(const llrti_linear *linear, size_t row_begin, size_t n_row, const void *rows)
{
    assert(row_begin + n_row <= linear->m && !linear->is_mapped);
    const uint8_t *from = rows;
    uint8_t *const to = linear->data;
    if (linear->storage == LLRTI_LINEAR_ROWS) {
        memcpy(to + row_begin * linear->row_bytes, from, n_row * linear->row_bytes);
        return;
    }
    for (size_t row = row_begin, n; row < row_begin + n_row;
         row += n, from += n * linear->row_bytes) {
        n = LLRTI_MIN(row_begin + n_row - row, MR - row % MR);
        if (n < MR && (row % MR || row + n < linear->m)) {
            put_lanes(linear, row, n, from);
            continue;
        }
        const llrti_pack_rows group = {from, linear->row_bytes, n, linear->k};
        pack_group(linear, &group, to + row / MR * linear->group_bytes, round_up(linear->k_pad, 2));
    }
}

/* n values from value `begin` (a block boundary) of a row in the file's layout, to float. */
static void read_row(const llrti_linear *linear, const uint8_t *row, size_t begin, size_t n,
                     float *to)
{
    const llrti_gemm_kernels *const kernels = linear->kernels;
    const llrti_type_info *const info = llrti_type_find(linear->type);
    const uint8_t *const from = row + begin / info->block * info->block_bytes;
    switch (linear->type) {
    case LLRT_TYPE_F32:
        memcpy(to, from, n * sizeof *to);
        break;
    case LLRT_TYPE_F16:
        kernels->dequant_f16(from, to, n);
        break;
    case LLRT_TYPE_BF16:
        kernels->dequant_bf16(from, to, n);
        break;
    case LLRT_TYPE_Q4_0:
        kernels->dequant_q4_0(from, to, n);
        break;
    case LLRT_TYPE_Q4_1:
        kernels->dequant_q4_1(from, to, n);
        break;
    case LLRT_TYPE_Q5_0:
        kernels->dequant_q5_0(from, to, n);
        break;
    case LLRT_TYPE_Q5_1:
        kernels->dequant_q5_1(from, to, n);
        break;
    case LLRT_TYPE_Q8_0:
        kernels->dequant_q8_0(from, to, n);
        break;
    case LLRT_TYPE_Q2_K:
        kernels->dequant_q2_k(from, to, n);
        break;
    case LLRT_TYPE_Q3_K:
        kernels->dequant_q3_k(from, to, n);
        break;
    case LLRT_TYPE_Q4_K:
        kernels->dequant_q4_k(from, to, n);
        break;
    case LLRT_TYPE_Q5_K:
        kernels->dequant_q5_k(from, to, n);
        break;
    case LLRT_TYPE_Q6_K:
        kernels->dequant_q6_k(from, to, n);
        break;
    case LLRT_TYPE_IQ4_NL:
        kernels->dequant_iq4_nl(from, to, n);
        break;
    case LLRT_TYPE_IQ4_XS:
        kernels->dequant_iq4_xs(from, to, n);
        break;
    case LLRT_TYPE_MXFP4:
        kernels->dequant_mxfp4(from, to, n);
        break;
    default:
        assert(0);
        break; /* init accepts no other */
    }
}

void llrti_linear_get_row(const llrti_linear *linear, size_t row, float *out)
{
    assert(row < linear->m);
    const uint8_t *const data = linear->data;
    if (linear->storage == LLRTI_LINEAR_ROWS) {
        read_row(linear, data + row * linear->row_bytes, 0, linear->k, out);
        return;
    }
    const uint8_t *const group = data + row / MR * linear->group_bytes;
    const uint32_t lane = (uint32_t)(row % MR);
    switch (linear->storage) {
    case LLRTI_LINEAR_F32:
        llrti_pack_get_f32(group, lane, linear->k, out);
        break;
    case LLRTI_LINEAR_F16:
        llrti_pack_get_f16(group, lane, linear->k, out);
        break;
    case LLRTI_LINEAR_BF16:
        llrti_pack_get_bf16(group, lane, linear->k, out);
        break;
    case LLRTI_LINEAR_Q8:
        llrti_pack_get_q8(group, lane, linear->k, out);
        break;
    default:
        llrti_pack_get_q4(group, lane, linear->k, out);
        break;
    }
}

/* ---- Activations ---------------------------------------------------------------------------- */

size_t llrti_linear_act_bytes(llrti_linear_act act, size_t k, size_t n_row)
{
    return round_up(act_column_bytes(act, k) * n_row, 64);
}

size_t llrti_linear_act_columns(const llrti_gemm_kernels *kernels, llrti_linear_act act)
{
    return panel_columns(kernels, act);
}

size_t llrti_linear_act_offset(llrti_linear_act act, size_t k, size_t row)
{
    return act_column_bytes(act, k) * row;
}

size_t llrti_linear_act_panels(const llrti_linear_input *input)
{
    const size_t n_col_max = panel_columns(input->kernels, input->act);
    return (input->n_row + n_col_max - 1) / n_col_max;
}

void llrti_linear_act_pack(const llrti_linear_input *input, size_t panel_begin, size_t panel_end)
{
    const size_t n_col_max = panel_columns(input->kernels, input->act);
    const size_t column_bytes = act_column_bytes(input->act, input->k),
                 k_pad = act_k_pad(input->act, input->k);
    llrti_act_fn *const pack = input->act == LLRTI_LINEAR_ACT_F32    ? input->kernels->act_f32
                               : input->act == LLRTI_LINEAR_ACT_BF16 ? input->kernels->act_bf16
                                                                     : input->kernels->act_q8;
    for (size_t p = panel_begin; p < panel_end; p++) {
        const size_t row = p * n_col_max;
        const uint32_t n_col = (uint32_t)LLRTI_MIN(input->n_row - row, n_col_max);
        pack(input->x + row * input->x_stride, input->x_stride, input->k, k_pad, n_col,
             (uint8_t *)input->packed + row * column_bytes);
    }
}

static void pack_task(void *arg, uint32_t task, uint32_t worker)
{
    const llrti_linear_input *const input = arg;
    const size_t begin = (size_t)task * PACK_PANELS;
    llrti_linear_act_pack(input, begin,
                          LLRTI_MIN(begin + PACK_PANELS, llrti_linear_act_panels(input)));
}

void llrti_linear_act_pack_all(const llrt_host *host, const llrti_linear_input *input)
{
    const size_t n_panel = llrti_linear_act_panels(input);
    if (input->n_row <= PACK_ROWS) {
        llrti_linear_act_pack(input, 0, n_panel);
        return;
    }
    llrti_linear_input copy = *input;
    host->parallel_for(host->ctx, (uint32_t)((n_panel + PACK_PANELS - 1) / PACK_PANELS), pack_task,
                       &copy);
}

/* ---- Product -------------------------------------------------------------------------------- */

typedef struct run {
    const llrti_linear_batch *batch;
    uint32_t n_task;
    atomic_bool is_cancelled;
} run;

/* What a task works on: some groups, a range of columns, and where the outputs go. */
typedef struct block {
    const llrti_linear_item *item;
    const llrti_linear *linear;
    size_t group_begin, n_group;
    size_t col_begin, col_end, n_col_max;
    float *c; /* of (first group, col_begin) */
    size_t c_stride;
    uint8_t *scratch;
} block;

size_t llrti_linear_scratch_bytes(void)
{
    return TILE_BYTES + ROWS_BYTES + TAIL_BYTES;
}

static bool is_direct(const llrti_linear *linear)
{
    return linear->storage == panel_of(linear);
}

static bool poll(run *r)
{
    if (atomic_load_explicit(&r->is_cancelled, memory_order_relaxed)) return true;
    if (!r->batch->poll_cancel || r->batch->poll_cancel(r->batch->poll_ctx) == 0) return false;
    atomic_store_explicit(&r->is_cancelled, true, memory_order_relaxed);
    return true;
}

/* Rows of the file to a panel: n values of K from k_begin of one group. `rows` holds 16 x ROW_STRIDE floats. */
static void convert_rows(const block *b, size_t group, size_t k_begin, size_t n, float *rows,
                         uint8_t *dst)
{
    const llrti_linear *const linear = b->linear;
    const uint8_t *const data = (const uint8_t *)b->item->data + group * MR * linear->row_bytes;
    const size_t n_row = LLRTI_MIN(linear->m - group * MR, (size_t)MR);
    if (linear->act == LLRTI_LINEAR_ACT_Q8) {
        const size_t offset = k_begin / 32 * (linear->type == LLRT_TYPE_Q4_0 ? 18 : 34);
        const llrti_pack_rows from = {data + offset, linear->row_bytes, n_row,
                                      LLRTI_MIN(n, linear->k - k_begin)};
        if (linear->type == LLRT_TYPE_Q4_0)
            llrti_pack_q4(&from, dst);
        else
            llrti_pack_q8(&from, dst);
        return;
    }
    const size_t n_real = LLRTI_MIN(n, linear->k - k_begin);
    for (size_t i = 0; i < MR; i++) {
        if (i < n_row)
            read_row(linear, data + i * linear->row_bytes, k_begin, n_real, rows + i * ROW_STRIDE);
        else
            memset(rows + i * ROW_STRIDE, 0, n_real * sizeof *rows);
        for (size_t k = n_real; k < n; k++) rows[i * ROW_STRIDE + k] = 0.0f;
    }
    if (linear->act == LLRTI_LINEAR_ACT_BF16)
        linear->kernels->panel_bf16(rows, ROW_STRIDE, dst, n);
    else
        linear->kernels->panel_f32(rows, ROW_STRIDE, dst, n);
}

/* n values of K from k_begin of one group, from whatever storage to the panel the kernel multiplies. */
static void convert(const block *b, size_t group, size_t k_begin, size_t n, float *rows,
                    uint8_t *dst)
{
    const llrti_linear *const linear = b->linear;
    if (linear->storage == LLRTI_LINEAR_ROWS) {
        convert_rows(b, group, k_begin, n, rows, dst);
        return;
    }
    const uint8_t *const src = (const uint8_t *)b->item->data + group * linear->group_bytes +
                               panel_bytes(linear->storage, k_begin);
    const size_t even = round_up(n, 2); /* 16-bit panels are stored up to an even k */
    if (linear->storage == LLRTI_LINEAR_BF16)
        linear->kernels->expand_bf16_f32(src, dst, even);
    else if (linear->act == LLRTI_LINEAR_ACT_BF16)
        linear->kernels->expand_f16_bf16(src, dst, even);
    else
        linear->kernels->expand_f16_f32(src, dst, even);
}

static llrti_gemm_fn *kernel_of(const llrti_linear *linear)
{
    switch (panel_of(linear)) {
    case LLRTI_LINEAR_F32:
        return linear->kernels->gemm_f32;
    case LLRTI_LINEAR_BF16:
        return linear->kernels->gemm_bf16;
    case LLRTI_LINEAR_Q8:
        return linear->kernels->gemm_q8;
    default:
        return linear->kernels->gemm_q4;
    }
}

/* Multiplies columns from `col` on, one panel, with the groups of `args`; k_begin is a multiple of the padding. */
static bool multiply_panel(run *r, const block *b, llrti_gemm_args *args, size_t col,
                           size_t k_begin)
{
    args->n_col = (uint32_t)LLRTI_MIN(b->col_end - col, b->n_col_max);
    args->x = (const uint8_t *)b->item->packed +
              col * act_column_bytes(b->linear->act, b->linear->k) +
              act_column_bytes(b->linear->act, k_begin) * args->n_col;
    if (poll(r)) return false;
    kernel_of(b->linear)(args);
    return true;
}

static llrti_gemm_args group_args(const block *b, size_t g, size_t k, size_t n_k)
{
    llrti_gemm_args args = {0};
    args.n_group = (uint32_t)LLRTI_MIN(b->n_group - g, (size_t)LLRTI_GEMM_MAX_GROUP);
    args.k = n_k;
    args.c_stride = b->c_stride;
    args.accumulate = k != 0;
    return args;
}

static float *output_of(const block *b, size_t g, size_t col)
{
    return b->c + (col - b->col_begin) * b->c_stride + g * MR;
}

/* In place: a panel of columns meets all groups of the block while it is in L1, the block's weights stay in L2. */
static void multiply_direct(run *r, const block *b)
{
    const llrti_linear *const linear = b->linear;
    for (size_t k = 0; k < linear->k_pad; k += b->item->k_block) {
        const size_t n_k = LLRTI_MIN(linear->k_pad - k, b->item->k_block);
        for (size_t col = b->col_begin; col < b->col_end; col += b->n_col_max) {
            for (size_t g = 0; g < b->n_group; g += LLRTI_GEMM_MAX_GROUP) {
                llrti_gemm_args args = group_args(b, g, k, n_k);
                args.w_stride = linear->group_bytes;
                args.w = (const uint8_t *)b->item->data +
                         (b->group_begin + g) * linear->group_bytes +
                         panel_bytes(linear->storage, k);
                args.c = output_of(b, g, col);
                if (!multiply_panel(r, b, &args, col, k)) return;
            }
        }
    }
}

/* Through the scratch: a converted tile of up to 4 groups meets all columns. */
static void multiply_converted(run *r, const block *b)
{
    const llrti_linear *const linear = b->linear;
    const size_t k_block = b->item->k_block,
                 longest = round_up(LLRTI_MIN(k_block, linear->k_pad), 2);
    const size_t tile_stride = panel_bytes(panel_of(linear), longest);
    uint8_t *const tile = b->scratch;
    float *const rows = (float *)(void *)(b->scratch + TILE_BYTES);
    for (size_t k = 0; k < linear->k_pad; k += k_block) {
        for (size_t g = 0; g < b->n_group; g += LLRTI_GEMM_MAX_GROUP) {
            llrti_gemm_args args = group_args(b, g, k, LLRTI_MIN(linear->k_pad - k, k_block));
            if (poll(r)) return;
            for (uint32_t i = 0; i < args.n_group; i++)
                convert(b, b->group_begin + g + i, k, args.k, rows, tile + i * tile_stride);
            args.w = tile;
            args.w_stride = tile_stride;
            for (size_t col = b->col_begin; col < b->col_end; col += b->n_col_max) {
                args.c = output_of(b, g, col);
                if (!multiply_panel(r, b, &args, col, k)) return;
            }
        }
    }
}

static void multiply_block(run *r, const block *b)
{
    if (is_direct(b->linear))
        multiply_direct(r, b);
    else
        multiply_converted(r, b);
}

static void add_bias(const block *b, const float *bias)
{
    for (size_t col = 0; col < b->col_end - b->col_begin; col++) {
        float *const c = b->c + col * b->c_stride;
        for (size_t i = 0; i < b->n_group * MR; i++) c[i] += bias[i];
    }
}

/* The last group, of which only n_row rows exist: through the buffer. */
static void multiply_tail(run *r, const block *b, const float *bias, size_t n_row)
{
    block tail = *b;
    tail.c = (float *)(void *)(b->scratch + TILE_BYTES + ROWS_BYTES);
    tail.c_stride = MR;
    multiply_block(r, &tail);
    for (size_t col = 0; col < b->col_end - b->col_begin; col++) {
        float *const to = b->c + col * b->c_stride;
        const float *const from = tail.c + col * MR;
        for (size_t i = 0; i < n_row; i++) to[i] = bias ? from[i] + bias[i] : from[i];
    }
}

/* The item a task belongs to: the last one that begins at it or before. */
static const llrti_linear_item *find_item(const llrti_linear_batch *batch, uint32_t task)
{
    uint32_t low = 0, high = batch->n_item;
    while (high - low > 1) {
        const uint32_t middle = (low + high) / 2;
        if (batch->item[middle].task_begin <= task)
            low = middle;
        else
            high = middle;
    }
    return &batch->item[low];
}

static void run_task(void *arg, uint32_t task, uint32_t worker)
{
    run *const r = arg;
    if (atomic_load_explicit(&r->is_cancelled, memory_order_relaxed)) return;
    const llrti_linear_item *const item = find_item(r->batch, task);
    const uint32_t index = (task - item->task_begin) / item->n_chunk,
                   chunk = (task - item->task_begin) % item->n_chunk;
    const llrti_linear *const linear = item->weight;
    const size_t n_group = (linear->m + MR - 1) / MR, n_whole = linear->m / MR;
    const float *const bias = item->bias;

    block b = {.item = item, .linear = linear, .c_stride = item->out_stride};
    b.group_begin = (size_t)index * item->group_per_task;
    const size_t group_end = LLRTI_MIN(b.group_begin + item->group_per_task, n_group);
    b.n_col_max = panel_columns(linear->kernels, linear->act);
    b.col_begin = chunk * item->chunk;
    b.col_end = LLRTI_MIN(b.col_begin + item->chunk, item->n_row);
    b.c = item->out + b.col_begin * b.c_stride + b.group_begin * MR;
    b.scratch = (uint8_t *)r->batch->scratch + worker * llrti_linear_scratch_bytes();
    if (b.group_begin < n_whole) {
        b.n_group = LLRTI_MIN(group_end, n_whole) - b.group_begin;
        multiply_block(r, &b);
        if (bias) add_bias(&b, bias + b.group_begin * MR);
    }
    if (group_end > n_whole) {
        b.c += (n_whole - b.group_begin) * MR;
        b.group_begin = n_whole;
        b.n_group = 1;
        multiply_tail(r, &b, bias ? bias + n_whole * MR : NULL, linear->m - n_whole * MR);
    }
}

/* Tasks of one item, when all of the batch have n_block4 blocks of 4 groups: blocks of groups that fit L2. */
static uint32_t split_item(llrti_linear_item *item, size_t wanted, size_t n_block4)
{
    const llrti_linear *const linear = item->weight;
    const size_t n_col_max = panel_columns(linear->kernels, linear->act);
    const size_t n_panel = (item->n_row + n_col_max - 1) / n_col_max;
    const size_t n_group = (linear->m + MR - 1) / MR, max_panel = MAX_CHUNK / n_col_max;
    size_t n_chunk = (n_panel + max_panel - 1) / max_panel;
    item->n_chunk = 0;
    if (item->n_row == 0) return 0;
    /* Few outputs and many columns: cut the columns too, but leave some panels to each conversion of a tile. */
    if (n_block4 * n_chunk < wanted)
        n_chunk = LLRTI_MAX(n_chunk, LLRTI_MIN((wanted + n_block4 - 1) / n_block4,
                                               (n_panel * n_col_max + 47) / 48));
    item->chunk = (n_panel + n_chunk - 1) / n_chunk * n_col_max;
    item->n_chunk = (uint32_t)((item->n_row + item->chunk - 1) / item->chunk);
    size_t per_task = LLRTI_GEMM_MAX_GROUP;
    if (n_panel == 1) { /* bound by reading the weights: larger pieces, long sequential reads */
        per_task = round_up(n_block4 * 4 / wanted, LLRTI_GEMM_MAX_GROUP);
        per_task = LLRTI_MIN(LLRTI_MAX(per_task, (size_t)LLRTI_GEMM_MAX_GROUP), (size_t)64);
    } else if (is_direct(linear)) { /* the more rows, the less often the columns are read */
        per_task = round_up(n_block4 * 4 * n_chunk / LLRTI_MAX(wanted / 2, (size_t)1),
                            LLRTI_GEMM_MAX_GROUP);
        per_task = LLRTI_MIN(LLRTI_MAX(per_task, (size_t)LLRTI_GEMM_MAX_GROUP), (size_t)16);
    }
    item->group_per_task = (uint32_t)per_task;
    item->k_block = linear->k_pad;
    if (!is_direct(linear)) {
        item->k_block = n_panel > 1 ? KB : KB_FEW;
    } else if (n_panel > 1) {
        const size_t bytes = panel_bytes(linear->storage, round_up(linear->k, 64)) * per_task;
        const size_t n_pass = (bytes + L2_BYTES - 1) / L2_BYTES;
        item->k_block = round_up((linear->k_pad + n_pass - 1) / n_pass, 64);
    }
    return (uint32_t)((n_group + per_task - 1) / per_task) * item->n_chunk;
}

llrt_status llrti_linear_run_batch(const llrt_host *host, const llrti_linear_batch *batch)
{
    run r = {.batch = batch};
    /* About 8 tasks per worker where the work allows. */
    const size_t wanted = host->n_worker > 1 ? (size_t)host->n_worker * 8 : 1;
    size_t n_block4 = 0;
    atomic_init(&r.is_cancelled, false);
    for (uint32_t i = 0; i < batch->n_item; i++)
        if (batch->item[i].n_row) n_block4 += (batch->item[i].weight->m + 4 * MR - 1) / (4 * MR);
    for (uint32_t i = 0; i < batch->n_item; i++) {
        batch->item[i].task_begin = r.n_task;
        r.n_task += split_item(&batch->item[i], wanted, n_block4);
    }
    if (r.n_task == 1)
        run_task(&r, 0, 0);
    else if (r.n_task > 1)
        host->parallel_for(host->ctx, r.n_task, run_task, &r);
    return atomic_load(&r.is_cancelled) ? LLRT_ERR_CANCELLED : LLRT_OK;
}

llrt_status llrti_linear_run(const llrt_host *host, const llrti_linear_job *job)
{
    assert(job->n_weight >= 1 && job->n_weight <= LLRTI_LINEAR_MAX_WEIGHT);
    llrti_linear_item item[LLRTI_LINEAR_MAX_WEIGHT] = {0};
    for (uint32_t i = 0; i < job->n_weight; i++)
        item[i] = (llrti_linear_item){.weight = job->weight[i],
                                      .data = job->weight[i]->data,
                                      .bias = job->bias[i],
                                      .out = job->out[i],
                                      .out_stride = job->out_stride[i],
                                      .packed = job->packed,
                                      .n_row = job->n_row};
    const llrti_linear_batch batch = {.item = item,
                                      .n_item = job->n_weight,
                                      .scratch = job->scratch,
                                      .poll_cancel = job->poll_cancel,
                                      .poll_ctx = job->poll_ctx};
    return llrti_linear_run_batch(host, &batch);
}
