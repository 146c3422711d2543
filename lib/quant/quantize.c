/* SPDX-License-Identifier: MIT */
/*
 * llrt_quantize: opens the input, decides what the result is to contain (metadata, and for each
 * tensor a type and where its rows come from), then lets quant_run.c convert and gguf_write.c
 * write. Everything is decided and checked before the first byte is written.
 */
#include <llrt/quantize.h>

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "blocks.h"
#include "error.h"
#include "hparams.h"
#include "options.h"
#include "quant_imatrix.h"
#include "quant_meta.h"
#include "quant_mix.h"
#include "quant_plan.h"
#include "quant_run.h"
#include "struct_copy.h"
#include "text.h"
#include "types.h"

#define QUANTIZATION_VERSION 2 /* of the block formats; older ones are not written any more */

static const llrt_quantize_options defaults = {
    .struct_size = (uint32_t)sizeof(llrt_quantize_options),
    .target = "Q4_K_M",
};

void llrt_quantize_options_init(llrt_quantize_options *options, size_t struct_size)
{
    llrti_struct_copy_init(options, struct_size, &defaults, sizeof defaults);
}

/* Everything one call holds. */
typedef struct job {
    llrti_mem mem;
    llrt_quantize_options options;
    const llrti_quant_mix *mix;
    llrti_model_file *file;
    llrti_quant_imatrix *imatrix;
    llrti_quant_plan plan;
    llrti_workers *workers;
    uint32_t *type; /* (plan.tensor.n) */
    uint8_t *head;
    size_t n_head;
    llrt_error *err;
} job;

static void log_line(const job *j, llrt_log_level level, const char *format, ...)
    LLRTI_PRINTF(3, 4);

static void log_line(const job *j, llrt_log_level level, const char *format, ...)
{
    char line[512];
    const llrt_logger *const logger = j->options.logger;
    if (!logger || !logger->log || level > logger->max_level) return;
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    logger->log(logger->ctx, level, line);
}

/* ---- options ---- */

static llrt_status check_text(const char *field, const char *text, llrt_error *err)
{
    if (text && *text) return LLRT_OK;
    return llrti_fail_field(err, LLRT_ERR_ARGUMENT, field, "found none, expected a %s", field);
}

static llrt_status fail_type(const char *field, const char *found, const char *expected,
                             llrt_error *err)
{
    char quoted[LLRTI_TEXT_QUOTE_SIZE];
    return llrti_fail_field(err, LLRT_ERR_ARGUMENT, field, "found %s, expected one of: %s",
                            llrti_text_quote(quoted, sizeof quoted, found, strlen(found)),
                            expected);
}

/* A plain type by name: a mixture whose name is its type's. */
static const llrti_quant_mix *find_plain(const char *name)
{
    const llrti_quant_mix *const mix = llrti_quant_mix_find(name, strlen(name));
    return mix && strcmp(mix->name, llrti_type_name(mix->type)) == 0 ? mix : NULL;
}

static llrt_status read_options(job *j, const llrt_quantize_options *from)
{
    llrt_quantize_options *const o = &j->options;
    *o = defaults;
    if (from) LLRTI_TRY(llrti_struct_copy_in(o, sizeof *o, from, "llrt_quantize_options", j->err));
    LLRTI_TRY(check_text("target", o->target, j->err));
    j->mix = llrti_quant_mix_find(o->target, strlen(o->target));
    if (!j->mix) return fail_type("target", o->target, llrti_quant_mix_names(), j->err);
    if (o->n_thread > LLRTI_THREAD_MAX)
        return llrti_fail_field(j->err, LLRT_ERR_ARGUMENT, "n_thread", "found %u, expected 0 to %u",
                                o->n_thread, LLRTI_THREAD_MAX);
    if (o->pure > 1 || o->allow_requantize > 1 || o->reserved)
        return llrti_fail_field(j->err, LLRT_ERR_ARGUMENT,
                                o->reserved   ? "reserved"
                                : o->pure > 1 ? "pure"
                                              : "allow_requantize",
                                "found %u, expected %s",
                                o->reserved   ? o->reserved
                                : o->pure > 1 ? o->pure
                                              : o->allow_requantize,
                                o->reserved ? "0" : "0 or 1");
    if (o->n_override && !o->overrides)
        return llrti_fail_field(j->err, LLRT_ERR_ARGUMENT, "overrides",
                                "n_override is %u, but overrides is NULL", o->n_override);
    for (uint32_t i = 0; i < o->n_override; i++) {
        LLRTI_TRY(check_text("pattern", o->overrides[i].pattern, j->err));
        LLRTI_TRY(check_text("type", o->overrides[i].type, j->err));
        if (!find_plain(o->overrides[i].type))
            return fail_type("overrides", o->overrides[i].type,
                             "F32 F16 BF16 Q8_0 Q4_0 Q4_1 Q5_0 Q5_1 Q2_K Q3_K Q4_K Q5_K Q6_K "
                             "IQ4_NL IQ4_XS MXFP4",
                             j->err);
    }
    return LLRT_OK;
}

/* ---- types ---- */

/* '*' any characters, '?' one. Backtracks to the last star only, so it is quadratic at worst. */
static bool matches(const char *pattern, const char *text, size_t n)
{
    const char *star = NULL;
    size_t at = 0, star_at = 0;
    while (at < n) {
        if (*pattern == '*') {
            star = ++pattern;
            star_at = at;
        } else if (*pattern && (*pattern == '?' || *pattern == text[at])) {
            pattern++;
            at++;
        } else if (star) {
            pattern = star;
            at = ++star_at;
        } else {
            return false;
        }
    }
    while (*pattern == '*') pattern++;
    return !*pattern;
}

static bool matches_tensor(const char *pattern, const char *name)
{
    static const char suffix[] = ".weight";
    const size_t n = strlen(name), n_suffix = sizeof suffix - 1;
    if (matches(pattern, name, n)) return true;
    return n > n_suffix && strcmp(name + n - n_suffix, suffix) == 0 &&
           matches(pattern, name, n - n_suffix);
}

static llrt_status apply_overrides(job *j)
{
    for (uint32_t i = 0; i < j->options.n_override; i++) {
        const llrt_quantize_override *const o = &j->options.overrides[i];
        const uint32_t type = find_plain(o->type)->type;
        bool is_used = false;
        for (size_t t = 0; t < j->plan.tensor.n; t++) {
            const llrti_tensor *const tensor = &j->plan.tensor.data[t];
            size_t n_byte;
            if (!llrti_quant_mix_is_matrix(tensor) || !matches_tensor(o->pattern, tensor->name))
                continue;
            if (!llrti_type_row_bytes(type, tensor->dim[0], &n_byte))
                return llrti_fail_field(j->err, LLRT_ERR_ARGUMENT, tensor->name,
                                        "tensor '%s' has rows of %llu values, which is no multiple "
                                        "of the %u of a block of %s",
                                        tensor->name, (unsigned long long)tensor->dim[0],
                                        (unsigned)llrti_type_find(type)->block,
                                        llrti_type_name(type));
            j->type[t] = type;
            is_used = true;
        }
        if (is_used) continue;
        char quoted[LLRTI_TEXT_QUOTE_SIZE];
        return llrti_fail_field(
            j->err, LLRT_ERR_ARGUMENT, "overrides", "no matrix of the model matches %s",
            llrti_text_quote(quoted, sizeof quoted, o->pattern, strlen(o->pattern)));
    }
    return LLRT_OK;
}

/* The type a tensor's rows come in. */
static uint32_t type_before(const job *j, size_t t)
{
    const llrti_quant_item *const item = &j->plan.item.data[t];
    return item->weight ? item->weight->desc.type : LLRTI_TYPE_F32;
}

static llrt_status check_conversion(const job *j, size_t t)
{
    const llrti_tensor *const tensor = &j->plan.tensor.data[t];
    const uint32_t before = type_before(j, t), after = tensor->type;
    const llrti_type_info *const info = llrti_type_find(before);
    if (before == after) return LLRT_OK;
    if (!llrti_blocks_find(before))
        return llrti_fail_field(j->err, LLRT_ERR_UNSUPPORTED, tensor->name,
                                "tensor '%s' is of type %s, which can't be converted to %s",
                                tensor->name, llrti_type_name(before), llrti_type_name(after));
    if (info->block > 1 && !j->options.allow_requantize)
        return llrti_fail_field(j->err, LLRT_ERR_ARGUMENT, tensor->name,
                                "tensor '%s' is quantised already (%s): quantising the original "
                                "loses less; allow_requantize takes it nevertheless",
                                tensor->name, llrti_type_name(before));
    return LLRT_OK;
}

static llrt_status choose_types(job *j)
{
    llrti_quant_plan *const plan = &j->plan;
    plan->shape.has_importance = j->imatrix != NULL;
    j->type = llrti_calloc(&j->mem, plan->tensor.n + 1, sizeof *j->type, LLRT_MEMORY_LOADING);
    if (!j->type) return llrti_fail_nomem(j->err, "types of tensors", plan->tensor.n * 4);
    LLRTI_TRY(llrti_quant_mix_choose(&j->mem, j->mix, &plan->shape, j->options.pure != 0,
                                     plan->tensor.data, plan->tensor.n, j->type, j->err));
    LLRTI_TRY(apply_overrides(j));
    for (size_t t = 0; t < plan->tensor.n; t++) {
        plan->tensor.data[t].type = j->type[t];
        LLRTI_TRY(check_conversion(j, t));
    }
    return LLRT_OK;
}

/* ---- importance ---- */

static llrt_status find_importance(job *j)
{
    for (size_t t = 0; t < j->plan.tensor.n && j->imatrix; t++) {
        const llrti_tensor *const tensor = &j->plan.tensor.data[t];
        llrti_quant_item *const item = &j->plan.item.data[t];
        if (llrti_type_find(tensor->type)->block == 1) continue;
        const uint64_t expected = tensor->dim[0] * tensor->dim[2] * tensor->dim[3];
        item->importance = llrti_quant_imatrix_find(j->imatrix, tensor->name, &item->n_importance);
        if (!item->importance)
            log_line(j, LLRT_LOG_WARN, "%s: the importance matrix has no values", tensor->name);
        if (!item->importance || item->n_importance == expected) continue;
        return llrti_fail_field(j->err, LLRT_ERR_FORMAT, tensor->name,
                                "the importance matrix has %zu values for tensor '%s', expected "
                                "%llu: it belongs to another model",
                                item->n_importance, tensor->name, (unsigned long long)expected);
    }
    return LLRT_OK;
}

/* ---- metadata ---- */

static void add_hash(llrti_quant_meta *metas, const char *key, const uint8_t hash[16])
{
    char text[40];
    llrti_text out;
    llrti_text_init(&out, text, sizeof text);
    for (int i = 0; i < 16; i++) llrti_text_add_format(&out, "%02x", hash[i]);
    llrti_quant_meta_string(metas, key, text, out.n);
}

/* What decides the bytes beside the source: not threads, not paths. */
static llrt_status add_options(job *j)
{
    char text[1024];
    llrti_text out;
    llrti_text_init(&out, text, sizeof text);
    llrti_text_add(&out, j->mix->name);
    if (j->options.pure) llrti_text_add(&out, " pure");
    if (j->options.allow_requantize) llrti_text_add(&out, " requantize");
    for (uint32_t i = 0; i < j->options.n_override; i++)
        llrti_text_add_format(&out, " %s=%s", j->options.overrides[i].pattern,
                              find_plain(j->options.overrides[i].type)->name);
    llrti_quant_meta_string(&j->plan.meta, "llrt.quantize.options", text, out.n);
    return LLRT_OK;
}

static llrt_status add_provenance(job *j)
{
    llrti_quant_meta *const metas = &j->plan.meta;
    uint8_t hash[16];
    LLRTI_TRY(llrti_model_file_fingerprint(j->file, hash, j->err));
    llrti_quant_meta_u32(metas, "general.quantization_version", QUANTIZATION_VERSION);
    llrti_quant_meta_u32(metas, "general.file_type", j->mix->file_type);
    char version[32];
    const size_t n = llrti_text_format(version, sizeof version, "%d.%d.%d", LLRT_VERSION_MAJOR,
                                       LLRT_VERSION_MINOR, LLRT_VERSION_PATCH);
    llrti_quant_meta_string(metas, "llrt.quantize.version", version, n);
    add_hash(metas, "llrt.quantize.source", hash);
    LLRTI_TRY(add_options(j));
    if (j->imatrix) {
        llrti_hash_store(llrti_quant_imatrix_hash(j->imatrix), hash);
        add_hash(metas, "llrt.quantize.imatrix", hash);
        llrti_quant_meta_u32(metas, "quantize.imatrix.entries_count",
                             llrti_quant_imatrix_n_entry(j->imatrix));
        if (llrti_quant_imatrix_n_chunk(j->imatrix))
            llrti_quant_meta_u32(metas, "quantize.imatrix.chunks_count",
                                 llrti_quant_imatrix_n_chunk(j->imatrix));
    }
    if (metas->is_short) return llrti_fail_nomem(j->err, "metadata", sizeof(llrti_meta));
    return LLRT_OK;
}

/* ---- the whole ---- */

static llrt_status prepare(job *j, const char *in_path)
{
    const llrti_model_file_options how = {.source = j->options.source, .logger = j->options.logger};
    LLRTI_TRY(llrti_model_file_open(&j->mem, in_path, &how, &j->file, j->err));
    if (j->options.imatrix)
        LLRTI_TRY(llrti_quant_imatrix_open(&j->mem, j->options.imatrix, j->options.source,
                                           &j->imatrix, j->err));
    LLRTI_TRY(llrti_quant_plan_make(&j->mem, j->file, &j->plan, j->err));
    LLRTI_TRY(choose_types(j));
    LLRTI_TRY(find_importance(j));
    return add_provenance(j);
}

static void log_tensors(const job *j)
{
    for (size_t t = 0; t < j->plan.tensor.n; t++) {
        const llrti_tensor *const tensor = &j->plan.tensor.data[t];
        log_line(j, LLRT_LOG_INFO, "%s: %s -> %s", tensor->name, llrti_type_name(type_before(j, t)),
                 llrti_type_name(tensor->type));
    }
}

static llrt_status write_result(job *j, const char *out_path)
{
    const llrti_gguf_content content = {j->plan.meta.list.data, j->plan.meta.list.n,
                                        j->plan.tensor.data, j->plan.tensor.n, j->plan.alignment};
    llrti_gguf_writer writer;
    uint64_t n_all;
    LLRTI_TRY(llrti_gguf_write_head(&j->mem, &content, &j->head, &j->n_head, &n_all, j->err));
    log_tensors(j);
    LLRTI_TRY(llrti_workers_create(&j->mem, j->options.n_thread, NULL, NULL, &j->workers, j->err));
    LLRTI_TRY(llrti_gguf_write_open(&writer, out_path, &content, j->head, j->n_head, j->err));
    const llrt_status status =
        llrti_quant_run(&j->mem, j->file, j->workers, j->plan.item.data, &writer,
                        j->options.progress, j->options.progress_ctx, j->err);
    if (status < 0) {
        llrti_gguf_write_discard(&writer);
        return status;
    }
    return llrti_gguf_write_commit(&writer, j->err);
}

static void close_job(job *j)
{
    llrti_workers_free(j->workers);
    llrti_free(&j->mem, j->head);
    llrti_free(&j->mem, j->type);
    llrti_quant_plan_free(&j->plan);
    llrti_quant_imatrix_close(j->imatrix);
    llrti_model_file_close(j->file);
}

llrt_status llrt_quantize(const char *in_path, const char *out_path,
                          const llrt_quantize_options *options, llrt_error *err)
{
    job j;
    memset(&j, 0, sizeof j);
    j.err = err;
    if (!in_path || !*in_path)
        return llrti_fail_field(err, LLRT_ERR_ARGUMENT, "in_path", "found no path");
    if (!out_path || !*out_path)
        return llrti_fail_field(err, LLRT_ERR_ARGUMENT, "out_path", "found no path");
    LLRTI_TRY(read_options(&j, options));
    llrti_mem_init(&j.mem, j.options.allocator);
    llrti_quant_plan_init(&j.plan, &j.mem);
    llrt_status status = prepare(&j, in_path);
    if (status < 0)
        llrti_error_file(err, in_path);
    else
        status = write_result(&j, out_path);
    if (status < 0) llrti_error_file(err, status == LLRT_ERR_IO ? out_path : in_path);
    close_job(&j);
    return status;
}
