/* flags.h: a command line, read into variables by a table.
 *
 * A flag is written --name value, --name=value or, as the first inlets had
 * it, -name=value; some have a letter. Names are never abbreviated: a flag
 * that comes later must not change what an old command means. A row may name
 * an environment variable that is read when the flag is not given. */
#ifndef CMD_COMMON_FLAGS_H
#define CMD_COMMON_FLAGS_H

#include "common/problem.h"
#include <stdbool.h>
#include <stdint.h>

enum cmd_flag_type {
    CMD_FLAG_STOP,    /* bool: true, and nothing after it is read (--help) */
    CMD_FLAG_BOOL,    /* bool: --name, --name=true, --name=false */
    CMD_FLAG_STRING,  /* const char *, borrowed; the last one holds */
    CMD_FLAG_ONCE,    /* const char *, borrowed; given twice is an error */
    CMD_FLAG_SECRET,  /* char *, owned; wiped from the process list; once */
    CMD_FLAG_ADDRESS, /* const char *, borrowed: an IPv4 or IPv6 address */
    CMD_FLAG_PORT,    /* int: 0 to 65535 */
    CMD_FLAG_MS,      /* uint32_t, milliseconds: 500ms, 10s, 1m30s */
    CMD_FLAG_COUNT,   /* uint32_t: 1 to 1,000,000 */
    CMD_FLAG_LIMIT,   /* the same, or 0: none */
    CMD_FLAG_CHOICE,  /* int: the place in `choices` */
    CMD_FLAG_CALL     /* `take` is called with `value` for each one */
};

struct cmd_flag {
    const char *name;
    char letter; /* 0: none */
    enum cmd_flag_type type;
    void *value;      /* two rows with one value are names of one flag */
    const char *env;  /* NULL: none */
    uint32_t minimum; /* CMD_FLAG_MS */
    const char *const *choices; /* ends with NULL */
    int (*take)(const char *text, void *value, struct cmd_problem *p);
};

/* Reads argv[1...] and the environment by the table, which ends with a row
 * without name. 0, or -1 with a problem that names flag and value. Variables
 * keep what they held when their flag is not given. */
int cmd_flags_parse(const struct cmd_flag *flags, int argc, char **argv,
                    struct cmd_problem *p);

/* A duration: numbers with units h, m, s, ms; at most 24h. 0 or -1. */
int cmd_flags_parse_ms(const char *text, uint32_t *ret_ms);

/* --log-level by enum inlets_log_level; --log-format by cmd_log_format. */
extern const char *const cmd_flag_log_levels[];
extern const char *const cmd_flag_log_formats[];

#endif
