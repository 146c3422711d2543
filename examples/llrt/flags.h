/* SPDX-License-Identifier: MIT */
/*
 * A table-driven parser for the flags of a subcommand. A command lists its flags once; parsing,
 * range checks and --help come from that list. A wrong flag or value prints one line and ends with status 2.
 */
#ifndef FLAGS_H
#define FLAGS_H

#include <stddef.h>
#include <stdint.h>

typedef enum { OPT_FLAG, OPT_INT, OPT_FLOAT, OPT_TEXT, OPT_CHOICE, OPT_TEXTS } opt_kind;

/** Values of a flag that may be given several times. */
enum { MAX_TEXTS = 64 };
typedef struct text_list {
    const char *text[MAX_TEXTS];
    int n;
} text_list;

typedef struct opt {
    const char *name;  /* "-n", "--temp" */
    const char *alias; /* another spelling or NULL */
    opt_kind kind;
    void *value; /* int * (FLAG, CHOICE: index), int64_t *, double *, const char **, text_list * */
    const char *metavar; /* of the value in --help; CHOICE: the words, separated by | */
    const char *help;
    double min, max; /* INT, FLOAT; min == max: no limits */
} opt;

typedef struct command {
    const char *name;
    const char *usage;  /* what follows the name */
    const char *help;   /* paragraphs that teach */
    const opt *options; /* ends with a NULL name */
    const opt *common;  /* a second list, may be NULL */
} command;

/** Parses argv[1..]; positional arguments go to args (at most max_arg). Returns their number. Ends the program on --help and on errors. */
int parse_options(const command *cmd, int argc, char **argv, const char **args, int max_arg);

/** Prints "llrt: text" and ends with status 2. */
#if defined(__GNUC__)
__attribute__((format(printf, 1, 2), noreturn))
#endif
void usage_error(const char *format, ...);

#endif
