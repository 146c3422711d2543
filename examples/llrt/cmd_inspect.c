/* SPDX-License-Identifier: MIT */
/*
 * llrt inspect, plan and devices: what a model is, what it will need and where it can run. None of them loads weights.
 */
#include "common.h"

#include <inttypes.h>
#include <string.h>

static const char *const class_names[LLRT_MEMORY_COUNT] = {"host",    "weights", "kv",     "state",
                                                           "scratch", "session", "loading"};

static void print_json_text(const char *key, const char *value)
{
    printf("\"%s\": ", key);
    json_string(stdout, value, strlen(value));
}

static void print_summary(const llrt_model_info *i, int json)
{
    if (json) {
        printf("{");
        print_json_text("architecture", i->architecture);
        printf(", ");
        print_json_text("name", i->name);
        printf(", ");
        print_json_text("type", i->type_name);
        printf(
            ", \"n_parameter\": %" PRIu64 ", \"n_weight_byte\": %" PRIu64
            ", \"n_layer\": %u, \"n_head\": %u, "
            "\"n_kv_head\": %u, \"head_dim\": %u, \"d_model\": %u, \"d_ff\": %u, \"n_vocab\": %u, "
            "\"n_ctx_train\": %u, \"window\": %u, \"has_tokenizer\": %s",
            i->n_parameter, i->n_weight_byte, i->n_layer, i->n_head, i->n_kv_head, i->head_dim,
            i->d_model, i->d_ff, i->n_vocab, i->n_ctx_train, i->window,
            i->has_tokenizer ? "true" : "false");
        return;
    }
    printf(
        "architecture  %s\nname          %s\nweights       %s, %.3f billion parameters, %.3f GB\n",
        i->architecture, i->name, i->type_name, 1e-9 * (double)i->n_parameter,
        1e-9 * (double)i->n_weight_byte);
    printf("shape         %u layers, width %u, %u heads over %u KV heads of %u, feed-forward %u\n",
           i->n_layer, i->d_model, i->n_head, i->n_kv_head, i->head_dim, i->d_ff);
    printf("context       %u tokens trained%s", i->n_ctx_train, i->window ? "" : "\n");
    if (i->window) printf(", sliding window of %u\n", i->window);
    printf("vocabulary    %u tokens%s\n", i->n_vocab,
           i->has_tokenizer ? "" : " (no tokenizer in the file)");
}

static void print_metadata(const llrt_engine *engine, int json)
{
    llrt_meta m;
    memset(&m, 0, sizeof m);
    m.struct_size = sizeof m;
    if (json)
        printf(", \"metadata\": [");
    else
        puts("\nmetadata");
    for (uint32_t i = 0; llrt_engine_meta(engine, i, &m, NULL) == LLRT_OK; i++) {
        if (json) {
            printf("%s{", i ? ", " : "");
            print_json_text("key", m.key);
            printf(", ");
            print_json_text("type", m.type);
            printf(", \"n\": %u, ", m.n_element);
            print_json_text("value", m.value);
            printf("}");
        } else {
            printf("  %-44s %-18s %.120s\n", m.key, m.type, m.value);
        }
    }
    if (json) printf("]");
}

static void print_tensors(const llrt_engine *engine, int json)
{
    llrt_tensor_info t;
    memset(&t, 0, sizeof t);
    t.struct_size = sizeof t;
    if (json)
        printf(", \"tensors\": [");
    else
        puts("\ntensors");
    for (uint32_t i = 0; llrt_engine_tensor(engine, i, &t, NULL) == LLRT_OK; i++) {
        if (json) {
            printf("%s{", i ? ", " : "");
            print_json_text("name", t.name);
            printf(", \"type\": \"%s\", \"shape\": [", t.type_name);
        } else {
            printf("  %-44s %-7s [", t.name, t.type_name);
        }
        for (uint32_t d = 0; d < t.n_dim; d++) printf("%s%" PRIu64, d ? ", " : "", t.dim[d]);
        if (json)
            printf("], \"file\": %u, \"offset\": %" PRIu64 ", \"n_byte\": %" PRIu64 "}", t.file,
                   t.offset, t.n_byte);
        else
            printf("]  %" PRIu64 " bytes\n", t.n_byte);
    }
    if (json) printf("]");
}

int cmd_inspect(int argc, char **argv)
{
    int tensors = 0, format = 0;
    const opt options[] = {
        {"--tensors", NULL, OPT_FLAG, &tensors, NULL, "list the tensors as well", 0, 0},
        {"-o", NULL, OPT_CHOICE, &format, "text|json", "form of the output", 0, 0},
        {NULL, NULL, OPT_FLAG, NULL, NULL, NULL, 0, 0},
    };
    const command cmd = {"inspect", "MODEL [--tensors] [-o json]",
                         "Shows a model's shape, metadata and tensors. Reads headers only.",
                         options, NULL};
    const char *args[1];
    if (parse_options(&cmd, argc, argv, args, 1) < 1)
        usage_error("inspect: a model is missing (see llrt inspect --help)");
    llrt_engine_options eo;
    llrt_engine_options_init(&eo, sizeof eo);
    eo.metadata_only = 1;
    llrt_engine *engine = open_engine(args[0], &eo);
    llrt_model_info info;
    memset(&info, 0, sizeof info);
    info.struct_size = sizeof info;
    llrt_error err = LLRT_ERROR_INIT;
    if (llrt_engine_info(engine, &info, &err) < 0) die(&err);
    print_summary(&info, format);
    print_metadata(engine, format);
    if (tensors) print_tensors(engine, format);
    if (format) puts("}");
    llrt_engine_close(engine);
    return 0;
}

static void print_plan_bytes(const char *name, const uint64_t bytes[16], int json)
{
    if (json) {
        printf("{");
        print_json_text("name", name);
        for (int c = 0; c < LLRT_MEMORY_LOADING; c++)
            printf(", \"%s\": %" PRIu64, class_names[c], bytes[c]);
        return;
    }
    printf("%s\n", name);
    for (int c = 0; c < LLRT_MEMORY_LOADING; c++)
        if (bytes[c]) printf("  %-10s %14" PRIu64 " bytes\n", class_names[c], bytes[c]);
}

int cmd_plan(int argc, char **argv)
{
    int format = 0;
    run_flags flags;
    const opt options[] = {
        {"-o", NULL, OPT_CHOICE, &format, "text|json", "form of the output", 0, 0},
        {NULL, NULL, OPT_FLAG, NULL, NULL, NULL, 0, 0},
    };
    const command cmd = {
        "plan", "MODEL [-c CTX] [-o json]",
        "Shows the memory that opening the model will request, to the byte, by device and class.\n"
        "Reads headers only.",
        options, common_flags(&flags, KV_F16)};
    const char *args[1];
    if (parse_options(&cmd, argc, argv, args, 1) < 1)
        usage_error("plan: a model is missing (see llrt plan --help)");
    const llrt_engine_options eo = engine_options(&flags);
    llrt_error err = LLRT_ERROR_INIT;
    llrt_plan p;
    memset(&p, 0, sizeof p);
    p.struct_size = sizeof p;
    if (llrt_engine_plan(args[0], &eo, &p, &err) < 0) die(&err);
    if (format)
        printf("{\"n_ctx\": %u, \"kv_tok\": %" PRIu64 ", \"session\": %" PRIu64
               ", \"host_total\": %" PRIu64 ", \"host_peak\": %" PRIu64 ", \"library\": ",
               p.n_ctx, p.kv_tok, p.session, p.host_total, p.host_peak);
    print_plan_bytes("library", p.host, format);
    if (format) printf("}, \"devices\": [");
    for (uint32_t i = 0; i < p.n_device; i++) {
        if (format && i) printf(", ");
        print_plan_bytes(p.device[i].name, p.device[i].bytes, format);
        if (format)
            printf(", \"loading_peak\": %" PRIu64 ", \"driver_estimate\": %" PRIu64 "}",
                   p.device[i].loading_peak, p.device[i].driver_estimate);
    }
    if (format) {
        puts("]}");
    } else {
        printf("each session %12" PRIu64 " bytes (context %u tokens; the KV pool holds %" PRIu64
               ")\n",
               p.session, p.n_ctx, p.kv_tok);
        printf("in all       %12" PRIu64 " bytes of host memory, %" PRIu64
               " at the peak of opening\n",
               p.host_total, p.host_peak);
    }
    return 0;
}

int cmd_devices(int argc, char **argv)
{
    const char *plugins = NULL;
    const opt options[] = {
        {"--plugins", NULL, OPT_TEXT, &plugins, "DIR", "look for backend plug-ins there", 0, 0},
        {NULL, NULL, OPT_FLAG, NULL, NULL, NULL, 0, 0},
    };
    const command cmd = {"devices", "", "Lists the devices models can run on.", options, NULL};
    parse_options(&cmd, argc, argv, NULL, 0);
    llrt_device_info d;
    memset(&d, 0, sizeof d);
    d.struct_size = sizeof d;
    for (uint32_t i = 0; llrt_device_get(plugins, i, &d, NULL) == LLRT_OK; i++)
        printf("%-10s %s, %.1f GiB memory, %.1f free\n", d.name, d.description,
               (double)d.memory_total / 0x1p30, (double)d.memory_free / 0x1p30);
    return 0;
}
