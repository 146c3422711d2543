/* SPDX-License-Identifier: MIT */
/*
 * The same-bits matrix: on the CPU the logits of a token are a function of file, tokens, ISA level, precision and
 * KV type, and of nothing else. For every setting the logits of all positions are computed once, token by
 * token on one thread, and then must come out again, bit for bit, for
 *
 *   1 to 4 threads  x  prompts in chunks of 1, 7, 64, 512
 *   batches of 1 to 8 sessions in random mixes of chunks and single tokens, with small and large steps
 *   a host thread that has set flush-to-zero and denormals-are-zero
 *   another cut of the model into stages
 *   a fork and what it was forked from, a session that was rewound, saved and loaded, or synchronised
 *
 * Beside dense models there is one of each kind that the test data has: experts, latent attention,
 * windows, recurrent layers alone and between attention. Precision "portable" must also agree between
 * ISA levels. The hostile plug-in, whole and in stages, must agree with the reference kernels.
 *
 * Without arguments a subset that takes a minute; with "full" everything, and on the other models
 * every setting with a mix in each; "full NAME": only models whose names contain it. Exit status 0, 1
 * or 77.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#if defined(__x86_64__) || defined(_M_X64)
#include <xmmintrin.h>
#define CAN_FLUSH 1
#endif

#define print_message printf
#define print_error printf
#define fail() exit(1)
#define assert_true(x) ((x) ? (void)0 : exit(1))
#include "../unit/engine_support.h"

enum { N_MAX_TEXT = 200 };

typedef struct model {
    const char *name;
    const char *path;
    const llrt_source *source;
    size_t n_tok;
    bool is_large; /* too large for the reference kernels */
    bool is_thin;  /* every setting, but not every mix of threads, chunks and batches in each */
    uint32_t n_session;
} model;

typedef struct setting {
    const char *isa;
    llrt_precision precision;
    llrt_type kv_type;
    llrt_weights weights;
} setting;

typedef struct reference {
    uint32_t n_vocab;
    int32_t *text; /* (n_session, n_tok): session i begins at text[i * n_tok] */
    float *logits; /* (n_session, n_tok, n_vocab) */
} reference;

static int n_pass, n_fail, n_skip;
static const char *only; /* part of a model's name, or NULL */

static bool is_left_out(const char *name)
{
    return only && !strstr(name, only);
}

static void report(bool is_good, const model *m, const setting *s, const char *what, int a, int b)
{
    if (is_good) {
        n_pass++;
        return;
    }
    n_fail++;
    printf("FAIL %s isa %s precision %u kv %u weights %u: %s %d %d\n", m->name, s->isa,
           s->precision, s->kv_type, s->weights, what, a, b);
}

static llrt_engine_options options_of(const model *m, const setting *s)
{
    llrt_engine_options o;
    llrt_engine_options_init(&o, sizeof o);
    o.source = m->source;
    o.isa = s->isa;
    o.precision = s->precision;
    o.kv_type = s->kv_type;
    o.weights = s->weights;
    o.n_ctx = N_MAX_TEXT;
    o.kv_tok = 8 * 2 * N_MAX_TEXT;
    o.n_thread = 1;
    return o;
}

static llrt_engine *open_model(const model *m, const llrt_engine_options *o, bool *is_unsupported)
{
    llrt_engine *engine = NULL;
    llrt_error err = LLRT_ERROR_INIT;
    const llrt_status status = llrt_engine_open(m->path, o, &engine, &err);
    if (is_unsupported) *is_unsupported = status == LLRT_ERR_UNSUPPORTED;
    if (status < 0 && !(is_unsupported && *is_unsupported))
        printf("FAIL %s: %s\n", m->name, err.text);
    return engine;
}

static llrt_session *open_session(llrt_engine *engine, uint64_t salt)
{
    llrt_session_options o;
    llrt_session *s = NULL;
    llrt_session_options_init(&o, sizeof o);
    o.salt = salt;
    check(llrt_session_create(engine, &o, &s, &err));
    return s;
}

static const float *row_of(const reference *r, const model *m, size_t session, size_t position)
{
    return r->logits + (session * m->n_tok + position) * r->n_vocab;
}

static bool make_reference(const model *m, const setting *s, reference *r, bool *is_unsupported)
{
    const llrt_engine_options o = options_of(m, s);
    llrt_engine *const engine = open_model(m, &o, is_unsupported);
    if (!engine) return false;
    r->n_vocab = vocab_of(engine);
    r->text = malloc(m->n_session * m->n_tok * sizeof *r->text);
    r->logits = malloc(m->n_session * m->n_tok * r->n_vocab * sizeof *r->logits);
    for (size_t i = 0; i < m->n_session; i++) {
        make_text(i, r->text + i * m->n_tok, m->n_tok, r->n_vocab);
        llrt_session *const session = open_session(engine, i);
        for (size_t k = 0; k < m->n_tok; k++) {
            check(llrt_session_append(session, r->text + i * m->n_tok + k, 1, LLRT_LOGITS_LAST,
                                      &err));
            memcpy(r->logits + (i * m->n_tok + k) * r->n_vocab, last_logits(session),
                   r->n_vocab * sizeof *r->logits);
        }
        llrt_session_free(session);
    }
    llrt_engine_close(engine);
    return true;
}

static void free_reference(reference *r)
{
    free(r->text);
    free(r->logits);
}

/* One session, chunk by chunk, logits of all rows. */
static bool run_chunks(const model *m, const reference *r, llrt_engine *engine, size_t chunk,
                       size_t which)
{
    llrt_session *const s = open_session(engine, 100 + chunk);
    bool is_good = true;
    for (size_t at = 0; at < m->n_tok; at += chunk) {
        const size_t n = chunk < m->n_tok - at ? chunk : m->n_tok - at;
        check(llrt_session_append(s, r->text + which * m->n_tok + at, n, LLRT_LOGITS_ALL, &err));
        for (size_t k = 0; k < n; k++) {
            const float *row = NULL;
            check(llrt_session_logits(s, (int32_t)k, &row, &err));
            is_good = is_good && memcmp(row, row_of(r, m, which, at + k), r->n_vocab * 4) == 0;
        }
    }
    llrt_session_free(s);
    return is_good;
}

/* n sessions, each a random piece further in every step. */
static bool run_batch(const model *m, const reference *r, llrt_engine *engine, uint32_t n,
                      uint64_t seed)
{
    llrt_session *s[8];
    size_t at[8] = {0}, n_left = n;
    bool is_good = true;
    for (uint32_t i = 0; i < n; i++) s[i] = open_session(engine, 1000 + seed * 8 + i);
    while (n_left) {
        llrt_step_entry e[8];
        uint32_t who[8], k = 0;
        for (uint32_t i = 0; i < n; i++) {
            if (at[i] == m->n_tok || next_random(&seed) % 4 == 0) continue;
            size_t count = next_random(&seed) % 2 ? 1 : 1 + next_random(&seed) % 100;
            if (count > m->n_tok - at[i]) count = m->n_tok - at[i];
            llrt_step_entry_init(&e[k], sizeof e[k]);
            e[k].session = s[i];
            e[k].input.tokens = r->text + i * m->n_tok + at[i];
            e[k].input.n_tok = count;
            at[i] += count;
            n_left -= at[i] == m->n_tok;
            who[k++] = i;
        }
        check(llrt_engine_step(engine, e, k, sizeof e[0], &err));
        for (uint32_t i = 0; i < k; i++)
            is_good = is_good && memcmp(last_logits(s[who[i]]),
                                        row_of(r, m, who[i], at[who[i]] - 1), r->n_vocab * 4) == 0;
    }
    for (uint32_t i = 0; i < n; i++) llrt_session_free(s[i]);
    return is_good;
}

/* ---- What else can happen to a session ---- */

/* Appends the text from where the session is, in chunks, and compares every row. */
static bool follow(const model *m, const reference *r, llrt_session *s, size_t which, size_t chunk)
{
    bool is_good = true;
    for (size_t at = llrt_session_n_tok(s); at < m->n_tok; at += chunk) {
        const size_t n = chunk < m->n_tok - at ? chunk : m->n_tok - at;
        check(llrt_session_append(s, r->text + which * m->n_tok + at, n, LLRT_LOGITS_ALL, &err));
        for (size_t k = 0; k < n; k++) {
            const float *row = NULL;
            check(llrt_session_logits(s, (int32_t)k, &row, &err));
            is_good = is_good && memcmp(row, row_of(r, m, which, at + k), r->n_vocab * 4) == 0;
        }
    }
    return is_good;
}

static void begin_text(const model *m, const reference *r, llrt_session *s, size_t which, size_t n)
{
    check(llrt_session_append(s, r->text + which * m->n_tok, n, LLRT_LOGITS_NONE, &err));
}

static bool run_fork(const model *m, const reference *r, llrt_engine *engine, size_t n)
{
    llrt_session *const s = open_session(engine, 200 + n), *copy = NULL, *third = NULL;
    begin_text(m, r, s, 0, n);
    check(llrt_session_fork(s, &copy, &err));
    bool is_good = follow(m, r, s, 0, 7);
    check(llrt_session_fork(copy, &third, &err));
    llrt_session_free(s);
    is_good = follow(m, r, copy, 0, 64) && is_good;
    llrt_session_free(copy);
    is_good = follow(m, r, third, 0, 1) && is_good;
    llrt_session_free(third);
    return is_good;
}

/* Within a page and a window of its end a session can always be rewound; further back it says so, changes nothing, and
 * llrt_session_sync computes again what is gone. */
static bool run_rewind(const model *m, const reference *r, llrt_engine *engine)
{
    const size_t n = m->n_tok, back[] = {n - 1, n - 2, n - 40, n - 63, 65, 64, 63, 1, 0};
    llrt_session *const s = open_session(engine, 300);
    bool is_good = follow(m, r, s, 1, 50);
    for (size_t i = 0; i < sizeof back / sizeof back[0]; i++) {
        llrt_error why = LLRT_ERROR_INIT;
        const llrt_status status = llrt_session_rewind(s, back[i], &why);
        if (status == LLRT_ERR_STATE && back[i] + 64 < n) {
            size_t n_reused;
            is_good = is_good && llrt_session_n_tok(s) == n;
            check(
                llrt_session_sync(s, r->text + n, back[i] + 1, LLRT_LOGITS_LAST, &n_reused, &err));
            is_good =
                is_good && memcmp(last_logits(s), row_of(r, m, 1, back[i]), r->n_vocab * 4) == 0;
        } else if (status != LLRT_OK) {
            printf("rewind to %zu: %s\n", back[i], why.text);
            is_good = false;
        }
        is_good = follow(m, r, s, 1, i % 2 ? 7 : 33) && is_good;
    }
    llrt_session_free(s);
    return is_good;
}

/* A session that holds another text is led over to this one. */
static bool run_sync(const model *m, const reference *r, llrt_engine *engine)
{
    llrt_session *const s = open_session(engine, 400);
    int32_t *const other = malloc(m->n_tok * sizeof *other);
    memcpy(other, r->text, m->n_tok * sizeof *other);
    bool is_good = true;
    for (size_t same = 0; same < m->n_tok; same += 33) {
        size_t n_reused;
        for (size_t i = same; i < m->n_tok; i++) other[i] = (r->text[i] + 1) % (int32_t)r->n_vocab;
        check(llrt_session_sync(s, other, m->n_tok, LLRT_LOGITS_NONE, &n_reused, &err));
        check(llrt_session_sync(s, r->text, m->n_tok - 10, LLRT_LOGITS_LAST, &n_reused, &err));
        is_good = is_good && n_reused <= m->n_tok - 11 &&
                  memcmp(last_logits(s), row_of(r, m, 0, m->n_tok - 11), r->n_vocab * 4) == 0;
        is_good = follow(m, r, s, 0, 3) && is_good;
    }
    free(other);
    llrt_session_free(s);
    return is_good;
}

typedef struct memory_file {
    char *data;
    size_t n, at;
} memory_file;

static llrt_status write_memory(void *ctx, const void *data, size_t n, llrt_error *err)
{
    memory_file *const f = ctx;
    (void)err;
    f->data = realloc(f->data, f->n + n);
    memcpy(f->data + f->n, data, n);
    f->n += n;
    return LLRT_OK;
}

static llrt_status read_memory(void *ctx, void *data, size_t n, llrt_error *err)
{
    memory_file *const f = ctx;
    (void)err;
    if (n > f->n - f->at) return LLRT_ERR_FORMAT;
    memcpy(data, f->data + f->at, n);
    f->at += n;
    return LLRT_OK;
}

static bool run_save(const model *m, const reference *r, llrt_engine *engine, size_t n)
{
    memory_file file = {NULL, 0, 0};
    llrt_session *const s = open_session(engine, 500 + n), *const loaded =
                                                               open_session(engine, 600);
    begin_text(m, r, s, 2, n);
    check(llrt_session_save_to(s, write_memory, &file, &err));
    bool is_good = follow(m, r, s, 2, 9);
    check(llrt_session_load_from(loaded, read_memory, &file, &err));
    is_good = is_good && llrt_session_n_tok(loaded) == n;
    is_good = follow(m, r, loaded, 2, 20) && is_good;
    llrt_session_free(s);
    llrt_session_free(loaded);
    free(file.data);
    return is_good;
}

static void run_timeline(const model *m, const setting *s, const reference *r, llrt_engine *engine)
{
    report(run_fork(m, r, engine, 70), m, s, "fork at", 70, 0);
    report(run_fork(m, r, engine, 64), m, s, "fork at", 64, 0);
    report(run_rewind(m, r, engine), m, s, "rewind", 0, 0);
    report(run_sync(m, r, engine), m, s, "sync", 0, 0);
    report(run_save(m, r, engine, 100), m, s, "save at", 100, 0);
    report(run_save(m, r, engine, 128), m, s, "save at", 128, 0);
}

static void run_setting(const model *m, const setting *s, const reference *r, bool is_full)
{
    static const size_t chunks[] = {1, 7, 64, 512};
    for (uint32_t threads = 1; threads <= 4; threads++) {
        llrt_engine_options o = options_of(m, s);
        o.n_thread = threads;
        if (!is_full && s->isa && strcmp(s->isa, "ref") == 0 && threads % 3 == 1) continue;
        llrt_engine *engine = open_model(m, &o, NULL);
        if (!engine) {
            n_fail++;
            return;
        }
        for (uint32_t c = 0; c < 4; c++) {
            if (!is_full && c != threads - 1) continue;
            report(run_chunks(m, r, engine, chunks[c], threads - 1), m, s, "threads, chunk",
                   (int)threads, (int)chunks[c]);
        }
        for (uint32_t n = 1; n <= m->n_session; n++)
            if (is_full || n == threads)
                report(run_batch(m, r, engine, n, n), m, s, "threads, batch", (int)threads, (int)n);
#if defined(CAN_FLUSH)
        if (is_full || threads == 2) {
            const unsigned before = _mm_getcsr();
            _mm_setcsr(before | 0x8040u);
            const bool is_good = run_chunks(m, r, engine, 33, 3) && run_batch(m, r, engine, 3, 77);
            const bool is_kept = _mm_getcsr() >> 6 == (before | 0x8040u) >> 6;
            _mm_setcsr(before);
            report(is_good, m, s, "flush to zero, threads", (int)threads, 0);
            report(is_kept, m, s, "the caller's MXCSR, threads", (int)threads, 0);
        }
#endif
        if (is_full || threads == 2) run_timeline(m, s, r, engine);
        llrt_engine_close(engine);
        if (!is_full && threads != 3) continue;
        o.n_step_tok = 24; /* chunks of one call fall apart, and limits bite */
        o.n_step_seq = 3;
        o.n_step_out = 5;
        engine = open_model(m, &o, NULL);
        report(run_chunks(m, r, engine, 100, 2), m, s, "small steps, threads", (int)threads, 0);
        report(run_batch(m, r, engine, m->n_session, 5), m, s, "small steps, batch, threads",
               (int)threads, 0);
        llrt_engine_close(engine);
    }
}

static const char *const isas[] = {"ref", "avx2", "avx512", NULL};

/* All settings of a model; NULL as ISA is the best there is, and on ARM the only one beside "ref". */
static void run_model(const model *m, bool is_full)
{
    static const llrt_type kv[] = {LLRT_TYPE_F16, LLRT_TYPE_F32, LLRT_TYPE_BF16, LLRT_TYPE_Q8_0};
    if (is_left_out(m->name)) return;
    for (uint32_t p = 0; p < 3; p++) {
        for (uint32_t k = 0; k < 4; k++) {
            reference portable = {0, NULL, NULL};
            for (uint32_t i = 0; i < 4; i++) {
                for (uint32_t w = 0; w < 2; w++) {
                    const setting s = {isas[i], p, kv[k], w};
                    reference r = {0, NULL, NULL};
                    bool is_unsupported;
                    if ((m->is_large && i == 0) || (m->is_thin && w && k)) continue;
                    if (!is_full && (isas[i] == NULL || (p && k) || (w && (k || p)))) continue;
                    if (!make_reference(m, &s, &r, &is_unsupported)) {
                        n_skip += is_unsupported;
                        n_fail += !is_unsupported;
                        continue;
                    }
                    run_setting(m, &s, &r, is_full && !m->is_thin);
                    if (p == LLRT_PRECISION_PORTABLE && w == 0) {
                        const size_t n = m->n_session * m->n_tok * r.n_vocab;
                        if (portable.logits)
                            report(memcmp(portable.logits, r.logits, n * 4) == 0, m, &s,
                                   "portable, against another ISA level", 0, 0);
                        if (!portable.logits) {
                            portable = r;
                            continue;
                        }
                    }
                    free_reference(&r);
                }
            }
            free_reference(&portable);
        }
    }
    printf("%s: %d passed, %d failed, %d skipped so far\n", m->name, n_pass, n_fail, n_skip);
}

/* ---- The hostile plug-in ---- */

static void run_hostile(const model *m, const char *folder, uint32_t n_layer, uint32_t n_kv_type)
{
    static const llrt_type kv[] = {LLRT_TYPE_F32, LLRT_TYPE_F16, LLRT_TYPE_BF16, LLRT_TYPE_Q8_0};
    const llrt_placement cuts[][2] = {{{"hostile:0", 0}, {NULL, 0}},
                                      {{"hostile:0", 1}, {"hostile:0", n_layer - 1}},
                                      {{"cpu", 1}, {"hostile:0", n_layer - 1}},
                                      {{"hostile:0", n_layer - 1}, {"cpu", 1}},
                                      {{"cpu", 1}, {"cpu", n_layer - 1}}};
    if (is_left_out(m->name)) return;
    for (uint32_t k = 0; k < n_kv_type; k++) {
        const setting s = {"ref", LLRT_PRECISION_F32, kv[k], LLRT_WEIGHTS_REPACKED};
        reference r = {0, NULL, NULL};
        if (!make_reference(m, &s, &r, NULL)) {
            n_fail++;
            continue;
        }
        for (int c = 0; c < 5; c++) {
            llrt_engine_options o = options_of(m, &s);
            o.plugin_dir = folder;
            o.placement = cuts[c];
            o.n_placement = c ? 2 : 1;
            o.n_thread = 2;
            llrt_engine *const engine = open_model(m, &o, NULL);
            if (!engine) {
                n_fail++;
                continue;
            }
            report(run_chunks(m, &r, engine, 50, 2), m, &s, "hostile, cut", c, 0);
            report(run_batch(m, &r, engine, 4, 9), m, &s, "hostile batch, cut", c, 0);
            llrt_engine_close(engine);
        }
        free_reference(&r);
    }
    printf("hostile, %s: %d passed, %d failed, %d skipped so far\n", m->name, n_pass, n_fail,
           n_skip);
}

/* ---- One model of each kind ---- */

static uint32_t count_layers(const model *m)
{
    llrt_engine_options o;
    llrt_engine *engine = NULL;
    llrt_model_info info = {.struct_size = sizeof info};
    llrt_engine_options_init(&o, sizeof o);
    o.n_thread = 1;
    check(llrt_engine_open(m->path, &o, &engine, &err));
    check(llrt_engine_info(engine, &info, &err));
    llrt_engine_close(engine);
    return info.n_layer;
}

/* Two stages on the CPU, every cut. */
static void run_cuts(const model *m, const setting *s, const reference *r)
{
    llrt_engine_options o = options_of(m, s);
    llrt_engine *engine;
    const uint32_t n_layer = count_layers(m);
    for (uint32_t cut = 1; cut < n_layer; cut++) {
        const llrt_placement placement[2] = {{"cpu", cut}, {"cpu", 0}};
        o.placement = placement;
        o.n_placement = 2;
        o.n_thread = 2;
        engine = open_model(m, &o, NULL);
        if (!engine) {
            n_fail++;
            continue;
        }
        report(run_chunks(m, r, engine, 50, 1), m, s, "cut after layer", (int)cut, 0);
        report(run_batch(m, r, engine, m->n_session, cut), m, s, "batch, cut after layer", (int)cut,
               0);
        run_timeline(m, s, r, engine);
        llrt_engine_close(engine);
    }
}

static void run_kind(const model *m, bool is_full)
{
    static const setting settings[] = {
        {NULL, LLRT_PRECISION_AUTO, LLRT_TYPE_F16, LLRT_WEIGHTS_REPACKED},
        {"ref", LLRT_PRECISION_F32, LLRT_TYPE_Q8_0, LLRT_WEIGHTS_REPACKED},
    };
    const int pass_before = n_pass;
    if (is_left_out(m->name)) return;
    if (is_full) run_model(m, true);
    for (size_t i = 0; i < sizeof settings / sizeof settings[0]; i++) {
        reference r = {0, NULL, NULL};
        if (!make_reference(m, &settings[i], &r, NULL)) {
            n_fail++;
            return;
        }
        if (!is_full) run_setting(m, &settings[i], &r, false);
        if (is_full || i == 0) run_cuts(m, &settings[i], &r);
        free_reference(&r);
    }
    printf("%s: %d cases, %d passed, %d failed so far\n", m->name, n_pass - pass_before, n_pass,
           n_fail);
}

static void run_kinds(bool is_full, const char *hostile_folder)
{
    static const char *const names[] = {"mistral",     "gemma3",  "mixtral", "gpt_oss",
                                        "deepseek_v2", "qwen3_5", "mamba2"};
    const char *const data = getenv("LLRT_TEST_DATA");
    char path[512];
    if (!data || !llrti_path_is_dir(data)) {
        printf("skipped: models of each kind, LLRT_TEST_DATA is no folder\n");
        n_skip++;
        return;
    }
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        snprintf(path, sizeof path, "%s/numeric/architectures/%s", data, names[i]);
        const model m = {names[i], path, NULL, 140, false, true, 4};
        run_kind(&m, is_full);
        if (hostile_folder) run_hostile(&m, hostile_folder, count_layers(&m), is_full ? 4 : 1);
    }
}

/* ---- A model of many formats ---- */

/* Random blocks: scales are float16 numbers around 2^-6, the rest is any bits. */
static void add_blocks(gguf_writer *w, uint64_t *seed, const char *name, uint32_t type, uint64_t d0,
                       uint64_t d1)
{
    static const struct {
        uint32_t type, block, bytes, n_scale, scale[2];
    } kinds[] = {{0, 1, 4, 0, {0}},         {1, 1, 2, 0, {0}},        {30, 1, 2, 0, {0}},
                 {2, 32, 18, 1, {0}},       {3, 32, 20, 2, {0, 2}},   {6, 32, 22, 1, {0}},
                 {7, 32, 24, 2, {0, 2}},    {8, 32, 34, 1, {0}},      {12, 256, 144, 2, {0, 2}},
                 {13, 256, 176, 2, {0, 2}}, {14, 256, 210, 1, {208}}, {20, 32, 18, 1, {0}}};
    const uint64_t dim[2] = {d0, d1};
    size_t k = 0;
    while (kinds[k].type != type) k++;
    const size_t n = (size_t)(d0 * d1) / kinds[k].block * kinds[k].bytes;
    uint8_t *const data = malloc(n);
    for (size_t i = 0; i < n; i += kinds[k].bytes) {
        for (size_t b = 0; b < kinds[k].bytes; b++) data[i + b] = (uint8_t)next_random(seed);
        for (size_t c = 0; c < kinds[k].n_scale; c++) {
            uint8_t *const at = data + i + kinds[k].scale[c];
            const uint32_t base = type == 12 || type == 13 || type == 14 ? 0x0c00u : 0x1c00u;
            const uint32_t half = base | (next_random(seed) & 0x3ffu);
            at[0] = (uint8_t)half;
            at[1] = (uint8_t)(half >> 8);
        }
        if (type <= 1 || type == 30) {
            const float x =
                d1 == 1 ? 1.0f : ((float)(next_random(seed) >> 8) * 0x1p-23f - 1.0f) * 0.1f;
            uint32_t bits;
            memcpy(&bits, &x, 4);
            if (type == 0) memcpy(data + i, &bits, 4);
            if (type == 30) data[i] = (uint8_t)(bits >> 16), data[i + 1] = (uint8_t)(bits >> 24);
            if (type == 1) {
                const uint32_t half = (next_random(seed) & 0x83ffu) | 0x2c00u;
                data[i] = (uint8_t)half, data[i + 1] = (uint8_t)(half >> 8);
            }
        }
    }
    gw_tensor(w, name, type, d1 == 1 ? 1 : 2, dim, data, n);
    free(data);
}

static void *mixed_model(size_t *n)
{
    enum { D = 256, HEAD = 8, KV = 2, HEAD_DIM = 32, FF = 256, LAYER = 2, VOCAB = 131 };
    static const uint32_t types[LAYER][7] = {/* q, k, v, output, gate, up, down */
                                             {8, 2, 30, 1, 2, 8, 12},
                                             {13, 14, 3, 6, 7, 20, 8}};
    static const char *const names[] = {"attn_q",   "attn_k", "attn_v",  "attn_output",
                                        "ffn_gate", "ffn_up", "ffn_down"};
    static const uint32_t dims[7][2] = {{D, HEAD * HEAD_DIM},
                                        {D, KV * HEAD_DIM},
                                        {D, KV * HEAD_DIM},
                                        {HEAD * HEAD_DIM, D},
                                        {D, FF},
                                        {D, FF},
                                        {FF, D}};
    gguf_writer w;
    char name[64];
    uint64_t seed = 21;
    gw_init(&w);
    gw_string(&w, "general.architecture", "llama");
    gw_u32(&w, "llama.context_length", 512);
    gw_u32(&w, "llama.embedding_length", D);
    gw_u32(&w, "llama.block_count", LAYER);
    gw_u32(&w, "llama.feed_forward_length", FF);
    gw_u32(&w, "llama.attention.head_count", HEAD);
    gw_u32(&w, "llama.attention.head_count_kv", KV);
    gw_u32(&w, "llama.rope.dimension_count", HEAD_DIM);
    gw_u32(&w, "llama.vocab_size", VOCAB);
    gw_f32(&w, "llama.attention.layer_norm_rms_epsilon", 1e-5f);
    add_blocks(&w, &seed, "token_embd.weight", 8, D, VOCAB);
    add_blocks(&w, &seed, "output_norm.weight", 0, D, 1);
    for (int l = 0; l < LAYER; l++) {
        snprintf(name, sizeof name, "blk.%d.attn_norm.weight", l);
        add_blocks(&w, &seed, name, 0, D, 1);
        snprintf(name, sizeof name, "blk.%d.ffn_norm.weight", l);
        add_blocks(&w, &seed, name, 0, D, 1);
        for (int i = 0; i < 7; i++) {
            snprintf(name, sizeof name, "blk.%d.%s.weight", l, names[i]);
            add_blocks(&w, &seed, name, types[l][i], dims[i][0], dims[i][1]);
        }
    }
    return gw_finish(&w, n);
}

int main(int argc, char **argv)
{
    const bool is_full = argc > 1 && strcmp(argv[1], "full") == 0;
    only = argc > 2 ? argv[2] : NULL;
    char demo[512], stories[512], folder[1024];
    tiny_source tiny, mixed;
    setvbuf(stdout, NULL, _IOLBF, BUFSIZ);
    tiny_init(&tiny, 31);
    mixed.blob.data = mixed_model(&mixed.blob.size);
    llrt_source_init_memory(&mixed.source, sizeof mixed.source, &mixed.blob);
    const model m_tiny = {"tiny, F32", "tiny.gguf", &tiny.source,   140,
                          false,       false,       is_full ? 8 : 4};
    const model m_mixed = {"mixed formats", "mixed.gguf", &mixed.source,  is_full ? 140 : 70,
                           false,           true,         is_full ? 8 : 4};
    run_model(&m_tiny, is_full);
    run_model(&m_mixed, is_full);
    if (demo_path(demo, sizeof demo, "llrt-demo.gguf") && is_full) {
        const model m = {"demo", demo, NULL, 130, true, true, 8};
        run_model(&m, true);
    }
    const char *const data = getenv("LLRT_TEST_DATA");
    if (is_full && data && llrti_path_is_dir(data)) {
        snprintf(stories, sizeof stories, "%s/models/stories260K/stories260Ktok512.gguf", data);
        const model m = {"stories260K", stories, NULL, 130, false, true, 8};
        run_model(&m, true);
    }
    const char *const hostile = getenv("LLRT_TEST_HOSTILE");
    const char *const slash = hostile ? strrchr(hostile, '/') : NULL;
    if (slash) {
        snprintf(folder, sizeof folder, "%.*s", (int)(slash - hostile), hostile);
        run_hostile(&m_tiny, folder, 3, 4);
        run_hostile(&m_mixed, folder, 2, 4);
    } else {
        printf("skipped: the hostile plug-in (LLRT_TEST_HOSTILE)\n");
        n_skip++;
    }
    run_kinds(is_full, slash ? folder : NULL);
    tiny_free(&tiny);
    tiny_free(&mixed);
    printf("%d passed, %d failed, %d skipped\n", n_pass, n_fail, n_skip);
    return n_fail ? 1 : 0;
}
