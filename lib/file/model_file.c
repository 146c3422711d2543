/* SPDX-License-Identifier: MIT */
/*
 * Opening a model, whatever it consists of:
 *
 *   a folder               model.safetensors, or model.safetensors.index.json and its shards, with
 *                          the JSON files beside them
 *   x.safetensors,         the same, named directly; a Hugging Face folder is around it
 *   x.index.json
 *   anything else          by its first bytes: GGUF (and its further splits) or safetensors
 *
 * Names are joined as "<folder>/<name>", which is the whole contract with sources that are no file
 * system. Everything but the open files lives in the directory's arena or in blocks of its own, all
 * of class HOST. After opening, the structure changes only in llrti_model_file_map and
 * llrti_model_file_release.
 */
#include "model_file.h"

#include <string.h>

#include "directory.h"
#include "error.h"
#include "gguf.h"
#include "os.h"
#include "safetensors.h"
#include "source_impl.h"
#include "text.h"
#include "types.h"

#define MAX_JSON ((size_t)1 << 28)
#define MAX_SIDE ((size_t)1 << 29)
#define MAX_PATH_BYTES 4096u
#define N_JSON 3
#define SAMPLE 64 /* bytes of a tensor's begin, middle and end that enter the fingerprint */

static const char *const json_names[N_JSON] = {"config.json", "generation_config.json",
                                               "tokenizer_config.json"};

typedef struct opened_file {
    llrti_source_file file;
    llrti_hash128 header_hash;
    const void *mapping;
} opened_file;

struct llrti_model_file {
    llrti_mem *mem;
    llrti_file_kind kind;
    llrt_source source;
    llrt_logger logger;
    const char *path, *folder; /* folder: "" when the path has none */
    llrti_directory directory;
    LLRTI_VEC(opened_file) files;
    llrti_json_doc *jsons[N_JSON];
    bool is_inspecting, has_fingerprint;
    uint8_t fingerprint[16];
};

/* ---- names ---- */

static bool is_separator(char c)
{
#if defined(_WIN32)
    return c == '/' || c == '\\';
#else
    return c == '/';
#endif
}

static bool has_suffix(const char *text, const char *suffix)
{
    const size_t n = strlen(text), n_suffix = strlen(suffix);
    return n >= n_suffix && memcmp(text + n - n_suffix, suffix, n_suffix) == 0;
}

static const char *keep_text(llrti_model_file *m, const char *text, size_t n, llrt_error *err)
{
    const char *copy = llrti_arena_strndup(&m->directory.arena, text, n);
    if (!copy) llrti_fail_nomem(err, "a file name", n + 1);
    return copy;
}

/* "<folder>/<name>" in a buffer of MAX_PATH_BYTES. */
static llrt_status join_name(const llrti_model_file *m, const char *name, char *out,
                             llrt_error *err)
{
    const size_t n = strlen(m->folder);
    const char *separator = n && !is_separator(m->folder[n - 1]) ? "/" : "";
    if (n + strlen(name) + 2 > MAX_PATH_BYTES) {
        return llrti_fail(err, LLRT_ERR_ARGUMENT, "found a path longer than %u bytes",
                          MAX_PATH_BYTES);
    }
    llrti_text_format(out, MAX_PATH_BYTES, "%s%s%s", m->folder, separator, name);
    return LLRT_OK;
}

/* Sets path, and the folder to the part before the last separator. */
static llrt_status set_path(llrti_model_file *m, const char *path, llrt_error *err)
{
    const size_t n = strlen(path);
    if (n >= MAX_PATH_BYTES) {
        return llrti_fail_field(err, LLRT_ERR_ARGUMENT, "path", "found a path longer than %u bytes",
                                MAX_PATH_BYTES);
    }
    size_t n_folder = n;
    while (n_folder && !is_separator(path[n_folder - 1])) n_folder--;
    m->path = keep_text(m, path, n, err);
    m->folder = m->path ? keep_text(m, path, n_folder, err) : NULL;
    return m->folder ? LLRT_OK : LLRT_ERR_NOMEM;
}

/* ---- files ---- */

static llrt_status open_file(llrti_model_file *m, const char *name, uint32_t *index,
                             llrt_error *err)
{
    *index = (uint32_t)m->files.n;
    if (!llrti_vec_reserve(m->mem, &m->files, m->files.n + 1, LLRT_MEMORY_HOST)) {
        return llrti_fail_nomem(err, "the list of files", (m->files.n + 1) * sizeof(opened_file));
    }
    const char *kept = keep_text(m, name, strlen(name), err);
    if (!kept) return LLRT_ERR_NOMEM;
    opened_file *opened = &m->files.data[m->files.n];
    memset(opened, 0, sizeof *opened);
    LLRTI_TRY(llrti_source_open(&m->source, kept, &opened->file, err));
    m->files.n++;
    return LLRT_OK;
}

static llrt_status read_json(llrti_model_file *m, int which, bool is_required, llrt_error *err)
{
    char name[MAX_PATH_BYTES], *text;
    size_t n;
    llrt_error own = LLRT_ERROR_INIT;
    LLRTI_TRY(join_name(m, json_names[which], name, err));
    llrt_status status =
        llrti_source_read_whole(&m->source, m->mem, name, MAX_JSON, &text, &n, &own);
    if (status == LLRT_ERR_NOT_FOUND && !is_required) return LLRT_OK;
    if (status == LLRT_OK) {
        status = llrti_json_parse_python(m->mem, text, n, &m->jsons[which], &own);
        llrti_free(m->mem, text);
        if (status == LLRT_OK) return LLRT_OK;
        llrti_error_file(&own, name);
    }
    llrti_error_copy(err, &own);
    return status;
}

static llrt_status read_jsons(llrti_model_file *m, bool vocab_only, llrt_error *err)
{
    for (int i = 0; i < N_JSON; i++) LLRTI_TRY(read_json(m, i, i == 0 && !vocab_only, err));
    return LLRT_OK;
}

/* ---- GGUF ---- */

/* Where "-00001-of-00003.gguf" begins in the path; NULL when it does not end so. */
static const char *split_suffix(const char *path)
{
    static const char pattern[] = "-00000-of-00000.gguf";
    const size_t n = strlen(path), n_pattern = sizeof pattern - 1;
    if (n < n_pattern) return NULL;
    const char *at = path + n - n_pattern;
    for (size_t i = 0; i < n_pattern; i++) {
        if (pattern[i] == '0' ? at[i] < '0' || at[i] > '9' : at[i] != pattern[i]) return NULL;
    }
    return at;
}

static llrt_status split_name(const char *path, uint64_t number, uint64_t count, char *out,
                              llrt_error *err)
{
    const char *suffix = split_suffix(path);
    if (!suffix) {
        return llrti_fail_field(err, LLRT_ERR_FORMAT, "split.count",
                                "found a model split into %llu files, expected the first one's "
                                "name to end in -00001-of-%05llu.gguf",
                                (unsigned long long)count, (unsigned long long)count);
    }
    llrti_text_format(out, MAX_PATH_BYTES, "%.*s-%05llu-of-%05llu.gguf", (int)(suffix - path), path,
                      (unsigned long long)number + 1, (unsigned long long)count);
    return LLRT_OK;
}

static llrt_status read_split(llrti_model_file *m, uint64_t number, const llrti_gguf_info *first,
                              llrt_error *err)
{
    char name[MAX_PATH_BYTES];
    uint32_t index;
    llrti_gguf_info info;
    llrti_directory metas;
    LLRTI_TRY(split_name(m->path, number, first->split_count, name, err));
    LLRTI_TRY(open_file(m, name, &index, err));
    opened_file *opened = &m->files.data[index];
    llrti_directory_init(&metas, m->mem);
    llrt_status status = llrti_gguf_read(&opened->file, index, &metas, &m->directory, &info, err);
    llrti_directory_free(&metas);
    if (status < 0) return status;
    opened->header_hash = info.hash;
    if (info.split_no == number && info.split_count == first->split_count) return LLRT_OK;
    status = llrti_fail_field(
        err, LLRT_ERR_FORMAT, "split.no", "found split %llu of %llu, expected split %llu of %llu",
        (unsigned long long)info.split_no, (unsigned long long)info.split_count,
        (unsigned long long)number, (unsigned long long)first->split_count);
    llrti_error_file(err, opened->file.name);
    return status;
}

static llrt_status read_splits(llrti_model_file *m, const llrti_gguf_info *first, llrt_error *err)
{
    if (first->split_no != 0) {
        return llrti_fail_field(err, LLRT_ERR_ARGUMENT, "split.no",
                                "found split %llu of %llu: open the first file instead, whose "
                                "name ends in -00001-of-%05llu.gguf",
                                (unsigned long long)first->split_no,
                                (unsigned long long)first->split_count,
                                (unsigned long long)first->split_count);
    }
    for (uint64_t i = 1; i < first->split_count; i++) LLRTI_TRY(read_split(m, i, first, err));
    if (first->split_tensors && first->split_tensors != m->directory.tensors.n) {
        return llrti_fail_field(err, LLRT_ERR_FORMAT, "split.tensors.count",
                                "found %llu tensors in all splits, expected %llu",
                                (unsigned long long)m->directory.tensors.n,
                                (unsigned long long)first->split_tensors);
    }
    return LLRT_OK;
}

/* Somebody who only looks at a model may have a part of its files: missing ones, or a later split. */
static bool may_lack(llrt_status status)
{
    return status == LLRT_ERR_NOT_FOUND || status == LLRT_ERR_ARGUMENT;
}

static llrt_status read_gguf(llrti_model_file *m, uint32_t index, bool vocab_only, llrt_error *err)
{
    llrti_gguf_info info;
    m->kind = LLRTI_FILE_GGUF;
    LLRTI_TRY(llrti_gguf_read(&m->files.data[index].file, index, &m->directory, &m->directory,
                              &info, err));
    m->files.data[index].header_hash = info.hash;
    if (vocab_only && !m->is_inspecting) return LLRT_OK;
    if (info.split_count > 1) {
        llrt_error own = LLRT_ERROR_INIT;
        const llrt_status status = read_splits(m, &info, &own);
        if (status < 0 && !(vocab_only && may_lack(status))) {
            llrti_error_copy(err, &own);
            return status;
        }
    }
    if (m->directory.tensors.n || vocab_only) return LLRT_OK;
    return llrti_fail_field(
        err, LLRT_ERR_FORMAT, "tensor_count",
        "found no tensors, expected a model: this file has a vocabulary at most");
}

/* ---- safetensors ---- */

static llrt_status read_one_safetensors(llrti_model_file *m, uint32_t index,
                                        const llrti_map *wanted, llrt_error *err)
{
    uint32_t n_other;
    opened_file *opened = &m->files.data[index];
    LLRTI_TRY(llrti_safetensors_read(&opened->file, index, wanted, &m->directory, &n_other,
                                     &opened->header_hash, err));
    if (n_other && m->logger.log && m->logger.max_level >= LLRT_LOG_WARN) {
        char line[512];
        llrti_text_format(line, sizeof line,
                          "%s: %u tensors that the index does not place here were left out",
                          opened->file.name, (unsigned)n_other);
        m->logger.log(m->logger.ctx, LLRT_LOG_WARN, line);
    }
    return LLRT_OK;
}

static llrt_status read_index(llrti_model_file *m, const char *name, llrt_error *err)
{
    char *text, shard[MAX_PATH_BYTES];
    size_t n;
    llrti_safetensors_index index;
    LLRTI_TRY(llrti_source_read_whole(&m->source, m->mem, name, MAX_JSON, &text, &n, err));
    llrt_status status = llrti_safetensors_index_parse(m->mem, text, n, &index, err);
    llrti_free(m->mem, text);
    if (status < 0) {
        llrti_error_file(err, name);
        return status;
    }
    for (size_t i = 0; i < index.names.n; i++) {
        uint32_t number;
        LLRTI_TRY_GOTO(status, join_name(m, index.names.data[i], shard, err));
        LLRTI_TRY_GOTO(status, open_file(m, shard, &number, err));
        LLRTI_TRY_GOTO(status, read_one_safetensors(m, number, &index.wanted, err));
    }
    status = llrti_safetensors_index_check(&index, &m->directory, err);
    if (status < 0) llrti_error_file(err, name);

fail:
    llrti_safetensors_index_free(m->mem, &index);
    return status;
}

static llrt_status need_tensors(const llrti_model_file *m, bool vocab_only, llrt_error *err)
{
    if (vocab_only || m->directory.tensors.n) return LLRT_OK;
    return llrti_fail_field(err, LLRT_ERR_FORMAT, "header", "found no tensors, expected a model");
}

/* The weights of a folder. */
static llrt_status read_folder(llrti_model_file *m, bool vocab_only, llrt_error *err)
{
    char name[MAX_PATH_BYTES];
    uint32_t index;
    llrt_error own = LLRT_ERROR_INIT;
    m->kind = LLRTI_FILE_SAFETENSORS;
    LLRTI_TRY(read_jsons(m, vocab_only, err));
    if (vocab_only && !m->is_inspecting) return LLRT_OK;
    LLRTI_TRY(join_name(m, "model.safetensors", name, err));
    llrt_status status = open_file(m, name, &index, &own);
    if (status == LLRT_OK) {
        LLRTI_TRY(read_one_safetensors(m, index, NULL, err));
        return need_tensors(m, vocab_only, err);
    }
    if (status == LLRT_ERR_NOT_FOUND) {
        LLRTI_TRY(join_name(m, "model.safetensors.index.json", name, err));
        status = read_index(m, name, &own);
    }
    if (status == LLRT_ERR_NOT_FOUND && vocab_only) return LLRT_OK;
    if (status == LLRT_ERR_NOT_FOUND && strcmp(own.file, name) == 0) {
        return llrti_fail(err, LLRT_ERR_NOT_FOUND,
                          "found neither model.safetensors nor model.safetensors.index.json in "
                          "the folder");
    }
    if (status < 0) llrti_error_copy(err, &own);
    return status;
}

static llrt_status read_named_safetensors(llrti_model_file *m, uint32_t index, bool vocab_only,
                                          llrt_error *err)
{
    m->kind = LLRTI_FILE_SAFETENSORS;
    LLRTI_TRY(read_one_safetensors(m, index, NULL, err));
    LLRTI_TRY(need_tensors(m, vocab_only, err));
    return read_jsons(m, vocab_only, err);
}

/* ---- opening ---- */

/* A path that is no file: a folder of the source, when it has one of the files a model's folder
 * has. */
static llrt_status read_as_folder(llrti_model_file *m, bool vocab_only, llrt_error *err)
{
    const size_t n = strlen(m->path);
    size_t kept = n;
    while (kept > 1 && is_separator(m->path[kept - 1])) kept--;
    m->folder = keep_text(m, m->path, kept, err);
    if (!m->folder) return LLRT_ERR_NOMEM;
    return read_folder(m, vocab_only, err);
}

static llrt_status read_by_content(llrti_model_file *m, uint32_t index, bool vocab_only,
                                   llrt_error *err)
{
    const llrti_source_file *file = &m->files.data[index].file;
    uint8_t head[16] = {0};
    const size_t n = file->size < sizeof head ? (size_t)file->size : sizeof head;
    LLRTI_TRY(llrti_source_read(file, 0, head, n, err));
    if (llrti_gguf_is_magic(head, n)) return read_gguf(m, index, vocab_only, err);
    if (llrti_safetensors_is_head(head, n, file->size) || has_suffix(m->path, ".safetensors")) {
        return read_named_safetensors(m, index, vocab_only, err);
    }
    const llrt_status status = llrti_gguf_refuse(head, n, err);
    llrti_error_file(err, file->name);
    return status;
}

static llrt_status read_model(llrti_model_file *m, bool is_disk, bool vocab_only, llrt_error *err)
{
    uint32_t index;
    if (is_disk && llrti_path_is_dir(m->path)) return read_as_folder(m, vocab_only, err);
    if (has_suffix(m->path, ".index.json")) {
        m->kind = LLRTI_FILE_SAFETENSORS;
        LLRTI_TRY(read_jsons(m, vocab_only, err));
        return read_index(m, m->path, err);
    }
    llrt_error own = LLRT_ERROR_INIT;
    llrt_status status = open_file(m, m->path, &index, &own);
    if (status == LLRT_OK) return read_by_content(m, index, vocab_only, err);
    if (status == LLRT_ERR_NOT_FOUND && !is_disk) {
        llrt_error folder_error = LLRT_ERROR_INIT;
        status = read_as_folder(m, vocab_only, &folder_error);
        bool has_part = m->files.n != 0;
        for (int i = 0; i < N_JSON; i++) has_part |= m->jsons[i] != NULL;
        if (status == LLRT_OK && has_part) return LLRT_OK;
        if (status < 0 && (status != LLRT_ERR_NOT_FOUND || has_part)) {
            llrti_error_copy(err, &folder_error);
            return status;
        }
        return llrti_fail(err, LLRT_ERR_NOT_FOUND,
                          "found no file of this name, and no folder with a config.json");
    }
    llrti_error_copy(err, &own);
    return status;
}

llrt_status llrti_model_file_open(llrti_mem *mem, const char *path,
                                  const llrti_model_file_options *options, llrti_model_file **out,
                                  llrt_error *err)
{
    *out = NULL;
    if (!path) {
        return llrti_fail_field(err, LLRT_ERR_ARGUMENT, "path", "found NULL, expected a path");
    }
    llrti_model_file *m = llrti_calloc(mem, 1, sizeof *m, LLRT_MEMORY_HOST);
    if (!m) return llrti_fail_nomem(err, "a model file", sizeof *m);
    m->mem = mem;
    llrti_directory_init(&m->directory, mem);
    const llrt_source *source = options ? options->source : NULL;
    const bool vocab_only = options && options->vocab_only;
    m->is_inspecting = options && options->is_inspecting;
    if (options && options->logger) m->logger = *options->logger;
    llrt_status status;
    LLRTI_TRY_GOTO(status, llrti_source_copy(&m->source, source, mem, err));
    LLRTI_TRY_GOTO(status, set_path(m, path, err));
    LLRTI_TRY_GOTO(status, read_model(m, source == NULL, vocab_only, err));
    *out = m;
    return LLRT_OK;

fail:
    llrti_error_file(err, path);
    llrti_model_file_close(m);
    return status;
}

/* ---- reading what was opened ---- */

const char *llrti_meta_type_name(llrti_meta_type type)
{
    static const char *const names[] = {"u8",   "i8",     "u16",   "i16", "u32", "i32", "f32",
                                        "bool", "string", "array", "u64", "i64", "f64"};
    return (size_t)type < LLRTI_COUNT(names) ? names[type] : "?";
}

void llrti_model_file_blame(const llrti_model_file *file, const char *name, llrt_error *err)
{
    char path[MAX_PATH_BYTES];
    if (join_name(file, name, path, NULL) == LLRT_OK) llrti_error_file(err, path);
}

llrti_file_kind llrti_model_file_kind(const llrti_model_file *file)
{
    return file->kind;
}

const char *llrti_model_file_path(const llrti_model_file *file)
{
    return file->path;
}

uint32_t llrti_model_file_n_meta(const llrti_model_file *file)
{
    return (uint32_t)file->directory.metas.n;
}

const llrti_meta *llrti_model_file_meta(const llrti_model_file *file, uint32_t index)
{
    return index < file->directory.metas.n ? &file->directory.metas.data[index] : NULL;
}

const llrti_meta *llrti_model_file_find_meta(const llrti_model_file *file, const char *key)
{
    return llrti_directory_find_meta(&file->directory, key);
}

uint32_t llrti_model_file_n_tensor(const llrti_model_file *file)
{
    return (uint32_t)file->directory.tensors.n;
}

const llrti_tensor *llrti_model_file_tensor(const llrti_model_file *file, uint32_t index)
{
    return index < file->directory.tensors.n ? &file->directory.tensors.data[index] : NULL;
}

const llrti_tensor *llrti_model_file_find_tensor(const llrti_model_file *file, const char *name)
{
    return llrti_directory_find_tensor(&file->directory, name);
}

const llrti_json *llrti_model_file_json(const llrti_model_file *file, const char *name)
{
    for (int i = 0; i < N_JSON; i++) {
        if (strcmp(name, json_names[i]) == 0) return llrti_json_root(file->jsons[i]);
    }
    return NULL;
}

llrt_status llrti_model_file_read_side(const llrti_model_file *file, llrti_mem *mem,
                                       const char *name, char **out, size_t *n, llrt_error *err)
{
    char path[MAX_PATH_BYTES];
    *out = NULL;
    *n = 0;
    if (file->kind == LLRTI_FILE_GGUF) {
        return llrti_fail(err, LLRT_ERR_NOT_FOUND, "a GGUF model has no file %s beside it", name);
    }
    LLRTI_TRY(join_name(file, name, path, err));
    return llrti_source_read_whole(&file->source, mem, path, MAX_SIDE, out, n, err);
}

static llrt_status check_type(const llrti_tensor *tensor, llrt_error *err)
{
    if (llrti_type_is_supported(tensor->type)) return LLRT_OK;
    return llrti_fail_field(err, LLRT_ERR_UNSUPPORTED, tensor->name,
                            "found the tensor type %s, which llrt does not support",
                            llrti_type_name(tensor->type));
}

llrt_status llrti_model_file_read(const llrti_model_file *file, const llrti_tensor *tensor,
                                  uint64_t offset, void *to, size_t n, llrt_error *err)
{
    const opened_file *opened = &file->files.data[tensor->file];
    llrt_status status = check_type(tensor, err);
    if (status == LLRT_OK && (offset > tensor->n_byte || n > tensor->n_byte - offset)) {
        status = llrti_fail(
            err, LLRT_ERR_ARGUMENT, "asked for %llu bytes at offset %llu of a tensor of %llu bytes",
            (unsigned long long)n, (unsigned long long)offset, (unsigned long long)tensor->n_byte);
    }
    if (status == LLRT_OK) {
        status = llrti_source_read(&opened->file, tensor->offset + offset, to, n, err);
    }
    if (status < 0) {
        llrti_error_field(err, tensor->name);
        llrti_error_file(err, opened->file.name);
    }
    return status;
}

llrt_status llrti_model_file_map(llrti_model_file *file, const llrti_tensor *tensor,
                                 const void **out, llrt_error *err)
{
    opened_file *opened = &file->files.data[tensor->file];
    *out = NULL;
    llrt_status status = check_type(tensor, err);
    if (status == LLRT_OK && !opened->mapping) {
        status = llrti_source_map(&opened->file, &opened->mapping, err);
    }
    if (status < 0) {
        llrti_error_field(err, tensor->name);
        llrti_error_file(err, opened->file.name);
        return status;
    }
    *out = (const char *)opened->mapping + tensor->offset;
    return LLRT_OK;
}

/* ---- fingerprint ---- */

static void hash_number(llrti_hasher *hasher, uint64_t value)
{
    uint8_t bytes[8];
    for (int i = 0; i < 8; i++) bytes[i] = (uint8_t)(value >> 8 * i);
    llrti_hash_update(hasher, bytes, sizeof bytes);
}

static llrt_status hash_tensor(const llrti_model_file *file, const llrti_tensor *tensor,
                               llrti_hasher *hasher, llrt_error *err)
{
    const llrti_source_file *from = &file->files.data[tensor->file].file;
    const uint64_t n = LLRTI_MIN(tensor->n_byte, (uint64_t)SAMPLE);
    const uint64_t places[3] = {0, (tensor->n_byte - n) / 2, tensor->n_byte - n};
    llrti_hash_update(hasher, tensor->name, strlen(tensor->name) + 1);
    hash_number(hasher, tensor->type);
    for (int i = 0; i < 4; i++) hash_number(hasher, tensor->dim[i]);
    for (int i = 0; i < 3; i++) {
        uint8_t sample[SAMPLE];
        if (i && places[i] == places[i - 1]) continue;
        LLRTI_TRY(llrti_source_read(from, tensor->offset + places[i], sample, (size_t)n, err));
        llrti_hash_update(hasher, sample, (size_t)n);
    }
    return LLRT_OK;
}

/* A JSON value by its content, so that spelling and spaces do not matter. */
static void hash_json(const llrti_json *node, llrti_hasher *hasher)
{
    hash_number(hasher, (uint64_t)node->type << 32 | node->n);
    if (node->key) llrti_hash_update(hasher, node->key, node->n_key);
    switch (node->type) {
    case LLRTI_JSON_BOOL:
        hash_number(hasher, node->value.b);
        break;
    case LLRTI_JSON_INT:
        hash_number(hasher, (uint64_t)node->value.i);
        break;
    case LLRTI_JSON_DOUBLE: {
        uint64_t bits;
        memcpy(&bits, &node->value.d, sizeof bits);
        hash_number(hasher, bits);
        break;
    }
    case LLRTI_JSON_STRING:
        llrti_hash_update(hasher, node->value.s, node->n);
        break;
    case LLRTI_JSON_ARRAY:
    case LLRTI_JSON_OBJECT:
        for (uint32_t i = 0; i < node->n; i++) hash_json(&node->value.first[i], hasher);
        break;
    case LLRTI_JSON_NULL:
        break;
    }
}

llrt_status llrti_model_file_fingerprint(const llrti_model_file *file, uint8_t out[16],
                                         llrt_error *err)
{
    if (file->has_fingerprint) {
        memcpy(out, file->fingerprint, 16);
        return LLRT_OK;
    }
    memset(out, 0, 16);
    llrti_hasher hasher;
    llrti_hash_begin(&hasher, 1);
    for (size_t i = 0; i < file->files.n; i++) {
        uint8_t bytes[16];
        llrti_hash_store(file->files.data[i].header_hash, bytes);
        llrti_hash_update(&hasher, bytes, sizeof bytes);
    }
    if (file->jsons[0]) hash_json(llrti_json_root(file->jsons[0]), &hasher);
    for (size_t i = 0; i < file->directory.tensors.n; i++) {
        LLRTI_TRY(hash_tensor(file, &file->directory.tensors.data[i], &hasher, err));
    }
    llrti_hash_store(llrti_hash_end(&hasher), out);
    return LLRT_OK;
}

/* ---- closing ---- */

void llrti_model_file_release(llrti_model_file *file)
{
    if (!file->has_fingerprint) {
        file->has_fingerprint = llrti_model_file_fingerprint(file, file->fingerprint, NULL) == 0;
    }
    for (size_t i = 0; i < file->files.n; i++) {
        llrti_source_close(&file->files.data[i].file);
        file->files.data[i].mapping = NULL;
    }
}

void llrti_model_file_close(llrti_model_file *file)
{
    if (!file) return;
    for (size_t i = 0; i < file->files.n; i++) llrti_source_close(&file->files.data[i].file);
    for (int i = 0; i < N_JSON; i++) llrti_json_free(file->jsons[i]);
    llrti_vec_free(file->mem, &file->files);
    llrti_directory_free(&file->directory);
    llrti_free(file->mem, file);
}
