/* SPDX-License-Identifier: MIT */
/*
 * llrt bench: prompt and generation speed, medians over repetitions, and what part of the memory bandwidth,
 * measured in the same minute, generation reaches. The json output has llama-bench's field names.
 */
#include "common.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#if defined(__linux__)
#include <sys/mman.h>
#endif
#if !defined(_WIN32)
#include <unistd.h>
#endif

typedef struct bench {
    llrt_engine *engine;
    llrt_session **session;
    int64_t n_prompt, n_gen, depth, reps, n_session;
    llrt_model_info info;
    const char *path;
    int64_t n_thread;
    const char *kv;
    double bandwidth; /* bytes per second */
} bench;

typedef struct result {
    int64_t n_prompt, n_gen;
    double *samples; /* (reps) seconds */
} result;

/* One test of `reps` timed passes after a warm-up. */
static void run_test(bench *b, int64_t n_prompt, int64_t n_gen, result *r)
{
    llrt_error err = LLRT_ERROR_INIT;
    const int64_t n_most = n_prompt > b->depth ? n_prompt : b->depth;
    int32_t *tokens = checked_alloc((size_t)(n_most + 1) * sizeof *tokens);
    llrt_step_entry *entries = checked_alloc((size_t)b->n_session * sizeof *entries);
    r->n_prompt = n_prompt;
    r->n_gen = n_gen;
    r->samples = checked_alloc((size_t)b->reps * sizeof *r->samples);
    uint64_t state = 42;
    for (int64_t rep = -1; rep < b->reps; rep++) {
        for (int64_t s = 0; s < b->n_session; s++) {
            if (llrt_session_rewind(b->session[s], 0, &err) < 0) die(&err);
            for (int64_t i = 0; i < b->depth; i++)
                tokens[i] =
                    (int32_t)((state = state * 6364136223846793005u + 1442695040888963407u) >> 33) %
                    (int32_t)b->info.n_vocab;
            if (b->depth > 0 && llrt_session_append(b->session[s], tokens, (size_t)b->depth,
                                                    LLRT_LOGITS_NONE, &err) < 0)
                die(&err);
        }
        /* Fresh tokens each time, so that no prefix of an earlier pass is found in the cache. */
        const int64_t n_pass = n_prompt ? 1 : rep < 0 ? 4 : n_gen;
        const int64_t n_tok = n_prompt ? n_prompt : 1;
        const double start = seconds();
        for (int64_t pass = 0; pass < n_pass; pass++) {
            for (int64_t i = 0; i < n_tok; i++)
                tokens[i] =
                    (int32_t)((state = state * 6364136223846793005u + 1442695040888963407u) >> 33) %
                    (int32_t)b->info.n_vocab;
            for (int64_t s = 0; s < b->n_session; s++) {
                llrt_step_entry_init(&entries[s], sizeof entries[s]);
                entries[s].session = b->session[s];
                entries[s].input.tokens = tokens;
                entries[s].input.n_tok = (size_t)n_tok;
            }
            if (llrt_engine_step(b->engine, entries, (size_t)b->n_session, sizeof *entries, &err) <
                0)
                die(&err);
        }
        if (rep >= 0) r->samples[rep] = seconds() - start;
    }
    free(entries);
    free(tokens);
}

/* The bandwidth probe: every thread sums its part of 1 GiB. */
typedef struct probe_part {
    const uint64_t *data;
    size_t n;
    uint64_t sum;
} probe_part;

static void *probe_run(void *arg)
{
    probe_part *p = arg;
    uint64_t s[8] = {0};
    for (size_t i = 0; i < p->n; i += 8)
        for (int j = 0; j < 8; j++) s[j] += p->data[i + (size_t)j];
    for (int j = 0; j < 8; j++) p->sum += s[j];
    return NULL;
}

static double measure_bandwidth(int64_t n_thread)
{
    const size_t size = (size_t)1 << 30;
    if (n_thread < 1) n_thread = 1;
    if (n_thread > 64) n_thread = 64;
#if defined(__linux__)
    uint64_t *data = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (data == MAP_FAILED) return 0;
    madvise(data, size, MADV_HUGEPAGE);
#else
    uint64_t *data = malloc(size);
    if (!data) return 0;
#endif
    memset(data, 1, size);
    double best = 0;
    for (int rep = 0; rep < 6; rep++) {
        pthread_t threads[64];
        probe_part parts[64];
        const size_t n = size / sizeof *data / (size_t)n_thread / 8 * 8;
        int64_t started = 0;
        const double start = seconds();
        for (int64_t t = 0; t < n_thread; t++) {
            parts[t] = (probe_part){data + (size_t)t * n, n, 0};
            if (t + 1 < n_thread &&
                pthread_create(&threads[started], NULL, probe_run, &parts[t]) == 0)
                started++;
            else
                probe_run(&parts[t]);
        }
        for (int64_t t = 0; t < started; t++) pthread_join(threads[t], NULL);
        const double rate = (double)(n * sizeof *data) * (double)n_thread / (seconds() - start);
        if (rate > best) best = rate;
    }
#if defined(__linux__)
    munmap(data, size);
#else
    free(data);
#endif
    return best;
}

static int compare_double(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

typedef struct summary {
    double mean, stddev, median, min, max; /* tokens per second */
    double fraction;                       /* of the bandwidth, generation only */
} summary;

static summary summarise(const bench *b, const result *r, double *rates)
{
    summary s = {0, 0, 0, 0, 0, 0};
    const double n_tok = (double)(r->n_prompt ? r->n_prompt : r->n_gen) * (double)b->n_session;
    for (int64_t i = 0; i < b->reps; i++) {
        rates[i] = n_tok / r->samples[i];
        s.mean += rates[i] / (double)b->reps;
    }
    for (int64_t i = 0; i < b->reps; i++) s.stddev += (rates[i] - s.mean) * (rates[i] - s.mean);
    s.stddev = b->reps > 1 ? sqrt(s.stddev / (double)(b->reps - 1)) : 0;
    double *sorted = checked_alloc((size_t)b->reps * sizeof *sorted);
    memcpy(sorted, rates, (size_t)b->reps * sizeof *sorted);
    qsort(sorted, (size_t)b->reps, sizeof *sorted, compare_double);
    s.min = sorted[0];
    s.max = sorted[b->reps - 1];
    s.median =
        b->reps % 2 ? sorted[b->reps / 2] : (sorted[b->reps / 2 - 1] + sorted[b->reps / 2]) / 2;
    free(sorted);
    if (r->n_gen && b->bandwidth > 0) {
        const double position = (double)b->depth + (double)r->n_gen / 2;
        const double bytes = (double)b->info.n_weight_byte +
                             (double)b->n_session * position * (double)b->info.n_kv_byte;
        s.fraction = s.median / (double)b->n_session * bytes / b->bandwidth;
    }
    return s;
}

enum { FORMAT_MD, FORMAT_JSON, FORMAT_CSV };

static void print_result(const bench *b, const result *r, int format, int index)
{
    double *rates = checked_alloc((size_t)b->reps * sizeof *rates);
    const summary s = summarise(b, r, rates);
    char test[64];
    if (r->n_prompt)
        snprintf(test, sizeof test, "pp%lld", (long long)r->n_prompt);
    else
        snprintf(test, sizeof test, "tg%lld", (long long)r->n_gen);
    if (b->depth)
        snprintf(test + strlen(test), sizeof test - strlen(test), " @ d%lld", (long long)b->depth);
    if (format == FORMAT_MD) {
        printf("| %-10s | %8lld | %-14s | %10.2f | %10.2f | %10.2f | %10.2f |", b->info.type_name,
               (long long)b->n_session, test, s.median, s.min, s.max, s.stddev);
        if (r->n_gen && s.fraction > 0)
            printf(" %5.1f %% of %.1f GB/s |\n", 100 * s.fraction, 1e-9 * b->bandwidth);
        else
            printf(" |\n");
    } else if (format == FORMAT_CSV) {
        printf("%s,%s,%lld,%lld,%lld,%lld,%.6f,%.6f,%.6f\n", b->path, b->info.type_name,
               (long long)r->n_prompt, (long long)r->n_gen, (long long)b->depth,
               (long long)b->n_session, s.mean, s.stddev, s.median);
    } else {
        printf("%s  {\n    \"build_info\": \"%s\",\n    \"model_filename\": ", index ? ",\n" : "",
               llrt_build_info());
        json_string(stdout, b->path, strlen(b->path));
        printf(",\n    \"model_type\": ");
        json_string(stdout, b->info.name, strlen(b->info.name));
        printf(",\n    \"model_size\": %llu,\n    \"model_n_params\": %llu,\n    \"n_threads\": "
               "%lld,\n    \"type_k\": \"%s\",\n    \"type_v\": \"%s\",\n",
               (unsigned long long)b->info.n_weight_byte, (unsigned long long)b->info.n_parameter,
               (long long)b->n_thread, b->kv, b->kv);
        printf("    \"n_prompt\": %lld,\n    \"n_gen\": %lld,\n    \"n_depth\": %lld,\n    "
               "\"n_session\": %lld,\n",
               (long long)r->n_prompt, (long long)r->n_gen, (long long)b->depth,
               (long long)b->n_session);
        double mean_s = 0, var_s = 0;
        for (int64_t i = 0; i < b->reps; i++) mean_s += r->samples[i] / (double)b->reps;
        for (int64_t i = 0; i < b->reps; i++)
            var_s += (r->samples[i] - mean_s) * (r->samples[i] - mean_s);
        printf("    \"avg_ns\": %.0f,\n    \"stddev_ns\": %.0f,\n    \"avg_ts\": %.6f,\n    "
               "\"stddev_ts\": %.6f,\n    \"median_ts\": %.6f,\n",
               1e9 * mean_s, b->reps > 1 ? 1e9 * sqrt(var_s / (double)(b->reps - 1)) : 0, s.mean,
               s.stddev, s.median);
        printf("    \"bandwidth\": %.0f,\n    \"bandwidth_fraction\": %.4f,\n    \"samples_ns\": [",
               b->bandwidth, s.fraction);
        for (int64_t i = 0; i < b->reps; i++) printf("%s%.0f", i ? ", " : "", 1e9 * r->samples[i]);
        printf("],\n    \"samples_ts\": [");
        for (int64_t i = 0; i < b->reps; i++) printf("%s%.4f", i ? ", " : "", rates[i]);
        printf("]\n  }");
    }
    free(rates);
}

int cmd_bench(int argc, char **argv)
{
    static const char *const kv_names[] = {"f32", "f16", "bf16", "q8_0"};
    bench b;
    memset(&b, 0, sizeof b);
    b.n_prompt = 512;
    b.n_gen = 128;
    b.reps = 5;
    b.n_session = 1;
    int format = FORMAT_MD;
    run_flags flags;
    const opt options[] = {
        {"-p", NULL, OPT_INT, &b.n_prompt, "N",
         "prompt tokens, 0 leaves the test out (default 512)", 0, 1 << 24},
        {"-n", NULL, OPT_INT, &b.n_gen, "N",
         "generated tokens, 0 leaves the test out (default 128)", 0, 1 << 24},
        {"-d", NULL, OPT_INT, &b.depth, "N", "tokens in the context before the test (default 0)", 0,
         1 << 24},
        {"-r", NULL, OPT_INT, &b.reps, "N", "repetitions (default 5)", 1, 10000},
        {"-b", NULL, OPT_INT, &b.n_session, "N", "sessions computed together (default 1)", 1, 1024},
        {"-o", NULL, OPT_CHOICE, &format, "md|json|csv", "form of the output", 0, 0},
        {NULL, NULL, OPT_FLAG, NULL, NULL, NULL, 0, 0},
    };
    const command cmd = {"bench", "MODEL [-p 512] [-n 128] [-d DEPTH] [-r REPS] [-b SESSIONS]",
                         "Measures tokens per second: a prompt of -p tokens, then -n tokens one by "
                         "one, each after -d tokens\n"
                         "of context. The median of -r runs, their spread, and generation's part "
                         "of the measured memory bandwidth.",
                         options, common_flags(&flags, KV_F16)};
    const char *args[1];
    if (parse_options(&cmd, argc, argv, args, 1) < 1)
        usage_error("bench: a model is missing (see llrt bench --help)");
    b.path = args[0];
    b.kv = kv_names[flags.kv];
    llrt_engine_options eo = engine_options(&flags);
    const int64_t most = b.depth + (b.n_prompt > b.n_gen ? b.n_prompt : b.n_gen) + 8;
    if (flags.n_ctx && flags.n_ctx < most)
        usage_error("bench: -c %lld is less than the %lld tokens the tests need",
                    (long long)flags.n_ctx, (long long)most);
    eo.n_ctx = (uint32_t)(flags.n_ctx ? flags.n_ctx : most);
    eo.kv_tok = (uint64_t)b.n_session * ((uint64_t)eo.n_ctx + 64);
    if (b.n_session > eo.n_step_seq) eo.n_step_seq = (uint32_t)b.n_session;
    if (eo.n_step_out < eo.n_step_seq) eo.n_step_out = eo.n_step_seq;
    b.engine = open_engine(args[0], &eo);
    llrt_error err = LLRT_ERROR_INIT;
    b.info.struct_size = sizeof b.info;
    if (llrt_engine_info(b.engine, &b.info, &err) < 0) die(&err);
    b.session = checked_alloc((size_t)b.n_session * sizeof *b.session);
    for (int64_t i = 0; i < b.n_session; i++) {
        llrt_session_options so;
        llrt_session_options_init(&so, sizeof so);
        so.salt = (uint64_t)i + 1; /* no sharing between the sessions: every one is computed */
        if (llrt_session_create(b.engine, &so, &b.session[i], &err) < 0) die(&err);
    }
    b.n_thread = flags.n_thread;
#if !defined(_WIN32)
    if (b.n_thread == 0) b.n_thread = (int64_t)sysconf(_SC_NPROCESSORS_ONLN);
#endif
    b.bandwidth = b.n_gen ? measure_bandwidth(b.n_thread) : 0;
    if (format == FORMAT_MD)
        puts("| weights    | sessions | test           | median t/s |        min |        max |    "
             " stddev | bandwidth |\n"
             "|------------|---------:|----------------|-----------:|-----------:|-----------:|----"
             "-------:|-----------|");
    else if (format == FORMAT_CSV)
        puts("model_filename,type,n_prompt,n_gen,n_depth,n_session,avg_ts,stddev_ts,median_ts");
    else
        puts("[");
    int index = 0;
    for (int test = 0; test < 2; test++) {
        result r;
        const int64_t n = test ? b.n_gen : b.n_prompt;
        if (n == 0) continue;
        run_test(&b, test ? 0 : n, test ? n : 0, &r);
        print_result(&b, &r, format, index++);
        fflush(stdout);
        free(r.samples);
    }
    if (format == FORMAT_JSON) puts("\n]");
    for (int64_t i = 0; i < b.n_session; i++) llrt_session_free(b.session[i]);
    free(b.session);
    llrt_engine_close(b.engine);
    return 0;
}
