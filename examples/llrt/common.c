/* SPDX-License-Identifier: MIT */
/*
 * See common.h.
 */
#include "common.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>
#if defined(_WIN32)
#include <io.h>
#define isatty _isatty
#define fileno _fileno
#else
#include <unistd.h>
#endif

double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

void die(const llrt_error *err)
{
    fprintf(stderr, "llrt: ");
    if (err->file[0]) fprintf(stderr, "%s: ", err->file);
    if (err->field[0]) fprintf(stderr, "%s: ", err->field);
    fprintf(stderr, "%s\n", err->text[0] ? err->text : llrt_status_text(err->status));
    const int is_input = err->status == LLRT_ERR_NOT_FOUND || err->status == LLRT_ERR_ARGUMENT ||
                         err->status == LLRT_ERR_FORMAT || err->status == LLRT_ERR_UNSUPPORTED;
    exit(is_input ? 2 : 1);
}

void *checked_alloc(size_t n)
{
    void *p = malloc(n ? n : 1);
    if (!p) {
        fprintf(stderr, "llrt: no memory for %zu bytes\n", n);
        exit(1);
    }
    return p;
}

const opt *common_flags(run_flags *flags, int kv_default)
{
    static opt list[11];
    memset(flags, 0, sizeof *flags);
    flags->kv = kv_default;
    flags->lora_scale = 1;
    flags->lora_rank = 64;
    const opt all[] = {
        {"-t", "--threads", OPT_INT, &flags->n_thread, "N",
         "worker threads (default: the processors available)", 1, 1024},
        {"-c", "--ctx", OPT_INT, &flags->n_ctx, "N",
         "context in tokens (default: the model's, 8192 at most)", 1, 1 << 30},
        {"--kv", NULL, OPT_CHOICE, &flags->kv, "f32|f16|bf16|q8_0", "type of the KV cache", 0, 0},
        {"--precision", NULL, OPT_CHOICE, &flags->precision, "auto|f32|portable",
         "arithmetic of the products (default auto)", 0, 0},
        {"--isa", NULL, OPT_TEXT, &flags->isa, "NAME",
         "highest CPU level to use: ref, avx2, avx512, neon ...", 0, 0},
        {"--weights", NULL, OPT_CHOICE, &flags->weights, "repacked|mapped",
         "read into a fast layout, or use the file in place", 0, 0},
        {"--device", NULL, OPT_TEXT, &flags->device, "NAME",
         "device, as llrt devices lists them (default cpu)", 0, 0},
        {"--lora", NULL, OPT_TEXT, &flags->lora, "ADAPTER", "LoRA adapter: a PEFT folder or a GGUF",
         0, 0},
        {"--lora-scale", NULL, OPT_FLOAT, &flags->lora_scale, "X",
         "factor of what the adapter adds (default 1)", -1e6, 1e6},
        {"--lora-rank", NULL, OPT_INT, &flags->lora_rank, "N",
         "highest rank there is room for (default 64)", 1, 4096},
        {NULL, NULL, OPT_FLAG, NULL, NULL, NULL, 0, 0},
    };
    memcpy(list, all, sizeof all);
    return list;
}

llrt_engine_options engine_options(const run_flags *flags)
{
    static const llrt_type kv_types[] = {LLRT_TYPE_F32, LLRT_TYPE_F16, LLRT_TYPE_BF16,
                                         LLRT_TYPE_Q8_0};
    static llrt_placement placement;
    llrt_engine_options o;
    llrt_engine_options_init(&o, sizeof o);
    o.kv_type = kv_types[flags->kv];
    o.precision = (llrt_precision)flags->precision;
    o.weights = (llrt_weights)flags->weights;
    o.isa = flags->isa;
    o.n_thread = (uint32_t)flags->n_thread;
    o.n_ctx = (uint32_t)flags->n_ctx;
    if (flags->lora) {
        o.n_adapter = 1;
        o.adapter_rank = (uint32_t)flags->lora_rank;
    }
    if (flags->device) {
        placement.device = flags->device;
        placement.n_layer = 0;
        o.placement = &placement;
        o.n_placement = 1;
    }
    return o;
}

llrt_session *open_session(llrt_engine *engine, const run_flags *flags)
{
    llrt_error err = LLRT_ERROR_INIT;
    llrt_session *session = NULL;
    llrt_adapter *adapter = NULL;
    const float scale = (float)flags->lora_scale;
    if (llrt_session_create(engine, NULL, &session, &err) < 0) die(&err);
    if (!flags->lora) return session;
    if (llrt_adapter_open(engine, flags->lora, NULL, &adapter, &err) < 0 ||
        llrt_session_set_adapters(session, &adapter, &scale, 1, &err) < 0)
        die(&err);
    llrt_adapter_close(adapter); /* the session keeps it */
    return session;
}

int show_progress(void *ctx, double done)
{
    progress_bar *bar = ctx;
    if (!bar->shown && seconds() - bar->start < 0.3) return 0;
    bar->shown = 1;
    char line[41];
    const int n = (int)(done * 40);
    for (int i = 0; i < 40; i++) line[i] = i < n ? '#' : '.';
    line[40] = 0;
    fprintf(stderr, "\r%s [%s] %3.0f %%", bar->what, line, done * 100);
    fflush(stderr);
    return 0;
}

void end_progress(progress_bar *bar)
{
    if (bar->shown) fprintf(stderr, "\r%70s\r", "");
    bar->shown = 0;
}

llrt_engine *open_engine(const char *path, llrt_engine_options *options)
{
    llrt_error err = LLRT_ERROR_INIT;
    llrt_engine *engine = NULL;
    progress_bar bar = {"loading", seconds(), 0};
    if (isatty(fileno(stderr))) {
        options->progress = show_progress;
        options->progress_ctx = &bar;
    }
    const llrt_status status = llrt_engine_open(path, options, &engine, &err);
    end_progress(&bar);
    if (status < 0) die(&err);
    return engine;
}

char *read_file(const char *path, size_t *n)
{
    FILE *f = strcmp(path, "-") ? fopen(path, "rb") : stdin;
    if (!f) usage_error("%s: no such file, or it can't be read", path);
    size_t capacity = 1 << 16;
    char *data = checked_alloc(capacity);
    *n = 0;
    for (;;) {
        const size_t got = fread(data + *n, 1, capacity - 1 - *n, f);
        *n += got;
        if (got == 0) break;
        if (*n == capacity - 1) {
            char *more = realloc(data, capacity *= 2);
            if (!more) usage_error("%s: no memory for %zu bytes", path, capacity);
            data = more;
        }
    }
    if (ferror(f)) usage_error("%s: reading failed", path);
    if (f != stdin) fclose(f);
    data[*n] = 0;
    return data;
}

int32_t *encode(const llrt_tokenizer *tokenizer, const char *text, size_t n_text,
                llrt_encode_flags flags, size_t *n)
{
    llrt_error err = LLRT_ERROR_INIT;
    const size_t capacity = n_text + 16;
    int32_t *tokens = checked_alloc(capacity * sizeof *tokens);
    if (llrt_tokenizer_encode(tokenizer, text, n_text, flags, tokens, capacity, n, &err) < 0)
        die(&err);
    return tokens;
}

llrt_tokenizer *need_tokenizer(const llrt_engine *engine, const char *path)
{
    llrt_tokenizer *tokenizer = llrt_engine_tokenizer(engine);
    if (!tokenizer)
        usage_error("%s: the model has no tokenizer, so text can't be used with it", path);
    return tokenizer;
}

/* Bytes of the valid UTF-8 character at s, 0 when there is none. */
static size_t utf8_length(const unsigned char *s, size_t n)
{
    const size_t want = s[0] < 0x80                   ? 1
                        : s[0] >= 0xc2 && s[0] < 0xe0 ? 2
                        : s[0] >= 0xe0 && s[0] < 0xf0 ? 3
                        : s[0] >= 0xf0 && s[0] < 0xf5 ? 4
                                                      : 0;
    if (want == 0 || want > n) return 0;
    for (size_t i = 1; i < want; i++)
        if ((s[i] & 0xc0) != 0x80) return 0;
    if (want == 3 && ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f))) return 0;
    if (want == 4 && ((s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f))) return 0;
    return want;
}

void json_string(FILE *out, const char *text, size_t n)
{
    const unsigned char *s = (const unsigned char *)text;
    fputc('"', out);
    while (n) {
        const size_t length = utf8_length(s, n);
        if (length == 0)
            fputs("\\ufffd", out);
        else if (s[0] == '"' || s[0] == '\\')
            fprintf(out, "\\%c", s[0]);
        else if (s[0] < 0x20)
            fprintf(out, "\\u%04x", s[0]);
        else
            fwrite(s, 1, length, out);
        s += length ? length : 1;
        n -= length ? length : 1;
    }
    fputc('"', out);
}
