/* SPDX-License-Identifier: MIT */
/*
 * See flags.h. Values may follow their flag ("-n 5") or an equals sign ("--temp=0"). "--" ends the flags; "-"
 * alone is a positional argument. Numbers are parsed whole: "5x" is an error.
 */
#include "flags.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void usage_error(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fputs("llrt: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    exit(2);
}

static void print_options(const opt *o)
{
    for (; o->name; o++) {
        char left[64];
        snprintf(left, sizeof left, "%s%s%s%s%s", o->name, o->alias ? ", " : "",
                 o->alias ? o->alias : "", o->metavar ? " " : "", o->metavar ? o->metavar : "");
        printf("  %-26s %s\n", left, o->help);
    }
}

static void print_help(const command *cmd)
{
    printf("usage: llrt %s %s\n\n%s\n", cmd->name, cmd->usage, cmd->help);
    if (cmd->options && cmd->options->name) {
        puts("\noptions:");
        print_options(cmd->options);
    }
    if (cmd->common) {
        puts("\nhow the model is run:");
        print_options(cmd->common);
    }
}

static const opt *find_option(const opt *list, const char *text, size_t n)
{
    for (const opt *o = list; o && o->name; o++) {
        if (strlen(o->name) == n && !strncmp(o->name, text, n)) return o;
        if (o->alias && strlen(o->alias) == n && !strncmp(o->alias, text, n)) return o;
    }
    return NULL;
}

static void set_choice(const opt *o, const char *value)
{
    const char *word = o->metavar;
    for (int i = 0; *word; i++) {
        const size_t n = strcspn(word, "|");
        if (strlen(value) == n && !strncmp(word, value, n)) {
            *(int *)o->value = i;
            return;
        }
        word += n + (word[n] == '|');
    }
    usage_error("%s: '%s' is not one of %s", o->name, value, o->metavar);
}

static void set_number(const opt *o, const char *value)
{
    char *end;
    errno = 0;
    if (o->kind == OPT_INT) {
        const long long v = strtoll(value, &end, 10);
        if (end == value || *end || errno)
            usage_error("%s: '%s' is not a whole number", o->name, value);
        if (o->min < o->max && ((double)v < o->min || (double)v > o->max))
            usage_error("%s: %lld is outside %.0f to %.0f", o->name, v, o->min, o->max);
        *(int64_t *)o->value = v;
    } else {
        const double v = strtod(value, &end);
        if (end == value || *end || v != v) usage_error("%s: '%s' is not a number", o->name, value);
        if (o->min < o->max && (v < o->min || v > o->max))
            usage_error("%s: %g is outside %g to %g", o->name, v, o->min, o->max);
        *(double *)o->value = v;
    }
}

static void set_value(const opt *o, const char *value)
{
    switch (o->kind) {
    case OPT_FLAG:
        *(int *)o->value = 1;
        break;
    case OPT_TEXT:
        *(const char **)o->value = value;
        break;
    case OPT_TEXTS: {
        text_list *const list = o->value;
        if (list->n == MAX_TEXTS)
            usage_error("%s: given more than %d times", o->name, (int)MAX_TEXTS);
        list->text[list->n++] = value;
        break;
    }
    case OPT_CHOICE:
        set_choice(o, value);
        break;
    default:
        set_number(o, value);
    }
}

int parse_options(const command *cmd, int argc, char **argv, const char **args, int max_arg)
{
    int n_arg = 0, only_args = 0;
    for (int i = 1; i < argc; i++) {
        const char *a = argv[i];
        if (only_args || a[0] != '-' || !a[1]) {
            if (n_arg == max_arg)
                usage_error("%s: unexpected argument '%s' (see llrt %s --help)", cmd->name, a,
                            cmd->name);
            args[n_arg++] = a;
            continue;
        }
        if (!strcmp(a, "--")) {
            only_args = 1;
            continue;
        }
        if (!strcmp(a, "--help") || !strcmp(a, "-h")) {
            print_help(cmd);
            exit(0);
        }
        const size_t n = a[1] == '-' ? strcspn(a, "=") : strlen(a);
        const opt *o = find_option(cmd->options, a, n);
        if (!o) o = find_option(cmd->common, a, n);
        if (!o)
            usage_error("%s: unknown flag '%.*s' (see llrt %s --help)", cmd->name, (int)n, a,
                        cmd->name);
        if (o->kind == OPT_FLAG) {
            if (a[n]) usage_error("%s takes no value", o->name);
            set_value(o, NULL);
        } else if (a[n] == '=') {
            set_value(o, a + n + 1);
        } else if (i + 1 < argc) {
            set_value(o, argv[++i]);
        } else {
            usage_error("%s: a value is missing (%s)", o->name, o->metavar);
        }
    }
    return n_arg;
}
