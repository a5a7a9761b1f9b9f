/* flags.c: see flags.h. getopt_long_only cuts the line into flags and values;
 * what it is lenient about (abbreviations) is refused here. */
#include "common/flags.h"

#include "common/address.h"
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FLAGS_MAX 64
/* Long options answer with this and their row: above any letter. */
#define ROW_BASE 256
#define MS_MAX (24u * 60 * 60 * 1000)
#define COUNT_MAX 1000000u

const char *const cmd_flag_log_levels[] = {"error", "warn", "info", "debug",
                                           NULL};
const char *const cmd_flag_log_formats[] = {"text", "json", NULL};

/* --- values ---------------------------------------------------------------*/

/* Digits only, up to `max`; *text moves behind them. */
static int parse_number(const char **text, uint32_t max, uint32_t *ret)
{
    uint64_t n = 0;
    const char *at = *text;

    for (; *at >= '0' && *at <= '9'; at++) {
        n = n * 10 + (uint64_t)(*at - '0');
        if (n > max) {
            return -1;
        }
    }
    if (at == *text) {
        return -1;
    }
    *text = at;
    *ret = (uint32_t)n;
    return 0;
}

static int parse_whole(const char *text, uint32_t max, uint32_t *ret)
{
    uint32_t n;

    if (parse_number(&text, max, &n) != 0 || *text != '\0') {
        return -1;
    }
    *ret = n;
    return 0;
}

/* The unit's milliseconds, or 0; *text moves behind it. */
static uint32_t parse_unit(const char **text)
{
    static const struct {
        const char *name;
        uint32_t ms;
    } units[] = {{"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}};

    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
        size_t len = strlen(units[i].name);

        if (strncmp(*text, units[i].name, len) == 0) {
            *text += len;
            return units[i].ms;
        }
    }
    return 0;
}

int cmd_flags_parse_ms(const char *text, uint32_t *ret_ms)
{
    uint64_t sum = 0;

    if (strcmp(text, "0") == 0) {
        *ret_ms = 0;
        return 0;
    }
    do {
        uint32_t n;
        uint32_t unit;

        if (parse_number(&text, MS_MAX, &n) != 0 ||
            (unit = parse_unit(&text)) == 0) {
            return -1;
        }
        sum += (uint64_t)n * unit;
        if (sum > MS_MAX) {
            return -1;
        }
    } while (*text != '\0');
    *ret_ms = (uint32_t)sum;
    return 0;
}

static int take_bool(const char *name, const char *text, bool *value,
                     struct cmd_problem *p)
{
    if (text == NULL || strcmp(text, "true") == 0 || strcmp(text, "1") == 0) {
        *value = true;
    } else if (strcmp(text, "false") == 0 || strcmp(text, "0") == 0) {
        *value = false;
    } else {
        return cmd_problem_set(p, "%s: '%s' is neither true nor false", name,
                               text);
    }
    return 0;
}

static int take_once(const char *name, const char *text, const char **value,
                     struct cmd_problem *p)
{
    if (*value != NULL) {
        return cmd_problem_set(p, "%s: given twice (or under two names)", name);
    }
    *value = text;
    return 0;
}

static int take_secret(const char *name, char *text, char **value,
                       struct cmd_problem *p)
{
    char *copy = strdup(text);

    explicit_bzero(text, strlen(text));
    if (copy == NULL) {
        return cmd_problem_set(p, "%s: out of memory", name);
    }
    if (*value != NULL) {
        explicit_bzero(copy, strlen(copy));
        free(copy);
        return cmd_problem_set(p, "%s: given twice", name);
    }
    *value = copy;
    return 0;
}

static int take_address(const char *name, const char *text, const char **value,
                        struct cmd_problem *p)
{
    if (!cmd_address_is_valid(text)) {
        return cmd_problem_set(p,
                               "%s: '%s' is not an address like 127.0.0.1 or "
                               "::1 (a name will not do)",
                               name, text);
    }
    *value = text;
    return 0;
}

static int take_port(const char *name, const char *text, int *value,
                     struct cmd_problem *p)
{
    uint32_t port;

    if (parse_whole(text, 65535, &port) != 0) {
        return cmd_problem_set(p, "%s: '%s' is not a port (0 to 65535)", name,
                               text);
    }
    *value = (int)port;
    return 0;
}

static int take_ms(const struct cmd_flag *f, const char *name, const char *text,
                   struct cmd_problem *p)
{
    uint32_t ms;

    if (cmd_flags_parse_ms(text, &ms) != 0 || ms < f->minimum) {
        return cmd_problem_set(
            p,
            "%s: '%s' is not a duration like 500ms, 10s or "
            "1m30s (%s, at most 24h)",
            name, text, f->minimum == 0 ? "0 for none" : "more than zero");
    }
    *(uint32_t *)f->value = ms;
    return 0;
}

static int take_count(const char *name, const char *text, uint32_t least,
                      uint32_t *value, struct cmd_problem *p)
{
    uint32_t n;

    if (parse_whole(text, COUNT_MAX, &n) != 0 || n < least) {
        return cmd_problem_set(p, "%s: '%s' is not a number from %u to 1000000",
                               name, text, (unsigned)least);
    }
    *value = n;
    return 0;
}

static int take_choice(const struct cmd_flag *f, const char *name,
                       const char *text, struct cmd_problem *p)
{
    char all[128] = "";
    size_t len = 0;

    for (int i = 0; f->choices[i] != NULL; i++) {
        if (strcmp(text, f->choices[i]) == 0) {
            *(int *)f->value = i;
            return 0;
        }
        if (len < sizeof(all)) {
            len += (size_t)snprintf(all + len, sizeof(all) - len, "%s%s",
                                    i == 0 ? "" : ", ", f->choices[i]);
        }
    }
    return cmd_problem_set(p, "%s: '%s' is not one of %s", name, text, all);
}

static int take_call(const struct cmd_flag *f, const char *name,
                     const char *text, struct cmd_problem *p)
{
    struct cmd_problem inner;

    if (f->take(text, f->value, &inner) != 0) {
        return cmd_problem_set(p, "%s: %.500s", name, inner.text);
    }
    return 0;
}

/* `name` is what the user wrote, for messages. */
static int take(const struct cmd_flag *f, const char *name, char *text,
                struct cmd_problem *p)
{
    switch (f->type) {
    case CMD_FLAG_STOP:
    case CMD_FLAG_BOOL:
        return take_bool(name, text, f->value, p);
    case CMD_FLAG_STRING:
        *(const char **)f->value = text;
        return 0;
    case CMD_FLAG_ONCE:
        return take_once(name, text, f->value, p);
    case CMD_FLAG_SECRET:
        return take_secret(name, text, f->value, p);
    case CMD_FLAG_ADDRESS:
        return take_address(name, text, f->value, p);
    case CMD_FLAG_PORT:
        return take_port(name, text, f->value, p);
    case CMD_FLAG_MS:
        return take_ms(f, name, text, p);
    case CMD_FLAG_COUNT:
        return take_count(name, text, 1, f->value, p);
    case CMD_FLAG_LIMIT:
        return take_count(name, text, 0, f->value, p);
    case CMD_FLAG_CHOICE:
        return take_choice(f, name, text, p);
    case CMD_FLAG_CALL:
        return take_call(f, name, text, p);
    }
    return -1;
}

/* --- the line -------------------------------------------------------------*/

struct line {
    const struct cmd_flag *flags;
    size_t nflags;
    struct option longs[FLAGS_MAX + 1];
    char letters[3 * FLAGS_MAX + 2];
    bool given[FLAGS_MAX];
};

static int argument_of(const struct cmd_flag *f)
{
    return f->type == CMD_FLAG_BOOL || f->type == CMD_FLAG_STOP
               ? optional_argument
               : required_argument;
}

static void prepare(struct line *l, const struct cmd_flag *flags)
{
    size_t at = 0;

    memset(l, 0, sizeof(*l));
    l->flags = flags;
    /* A missing value is told apart from an unknown flag. */
    l->letters[at++] = ':';
    for (size_t i = 0; i < FLAGS_MAX && flags[i].name != NULL; i++) {
        l->longs[i] = (struct option){.name = flags[i].name,
                                      .has_arg = argument_of(&flags[i]),
                                      .val = ROW_BASE + (int)i};
        if (flags[i].letter != 0) {
            l->letters[at++] = flags[i].letter;
            if (argument_of(&flags[i]) == required_argument) {
                l->letters[at++] = ':';
            }
        }
        l->nflags++;
    }
}

static size_t row_of_letter(const struct line *l, int letter)
{
    size_t i = 0;

    while (i < l->nflags && l->flags[i].letter != letter) {
        i++;
    }
    return i;
}

/* Repeats an argument only up to '=': behind it may be a secret. */
static int unknown_flag(const char *arg, struct cmd_problem *p)
{
    return cmd_problem_set(p, "unknown flag %.*s", (int)strcspn(arg, "="), arg);
}

/* The argument that getopt has just read a long flag from. */
static const char *current_argument(char **argv)
{
    bool apart = optarg != NULL && optarg == argv[optind - 1];

    return argv[optind - (apart ? 2 : 1)];
}

static bool is_whole_name(const char *arg, const char *expected)
{
    size_t len = strlen(expected);

    arg += strspn(arg, "-");
    return strncmp(arg, expected, len) == 0 &&
           (arg[len] == '\0' || arg[len] == '=');
}

static int missing_value(const struct line *l, struct cmd_problem *p)
{
    size_t row = optopt >= ROW_BASE ? (size_t)(optopt - ROW_BASE)
                                    : row_of_letter(l, optopt);

    return cmd_problem_set(p, "--%s needs a value",
                           row < l->nflags ? l->flags[row].name : "?");
}

static int take_row(struct line *l, size_t row, struct cmd_problem *p)
{
    char name[80];

    (void)snprintf(name, sizeof(name), "--%s", l->flags[row].name);
    l->given[row] = true;
    return take(&l->flags[row], name, optarg, p);
}

/* 0 to go on, 1 to stop here, -1 with a problem. */
static int read_one(struct line *l, char **argv, int got, struct cmd_problem *p)
{
    size_t row;

    if (got == ':') {
        return missing_value(l, p);
    }
    if (got == '?') {
        return unknown_flag(argv[optind - 1], p);
    }
    if (got < ROW_BASE) {
        row = row_of_letter(l, got);
    } else {
        row = (size_t)(got - ROW_BASE);
        if (!is_whole_name(current_argument(argv), l->flags[row].name)) {
            return unknown_flag(current_argument(argv), p);
        }
    }
    if (take_row(l, row, p) != 0) {
        return -1;
    }
    return l->flags[row].type == CMD_FLAG_STOP ? 1 : 0;
}

static int read_environment(const struct line *l, struct cmd_problem *p)
{
    for (size_t i = 0; i < l->nflags; i++) {
        const char *env = l->flags[i].env;
        char *text = env == NULL || l->given[i] ? NULL : getenv(env);
        char name[80];

        /* Set to nothing is how a compose file says "not set". */
        if (text == NULL || *text == '\0') {
            continue;
        }
        (void)snprintf(name, sizeof(name), "%s in the environment", env);
        if (take(&l->flags[i], name, text, p) != 0) {
            return -1;
        }
    }
    return 0;
}

int cmd_flags_parse(const struct cmd_flag *flags, int argc, char **argv,
                    struct cmd_problem *p)
{
    struct line l;
    int got;

    prepare(&l, flags);
    opterr = 0;
    optind = 0; /* start anew, in glibc's and musl's way */
    while ((got = getopt_long_only(argc, argv, l.letters, l.longs, NULL)) !=
           -1) {
        int rc = read_one(&l, argv, got, p);

        if (rc != 0) {
            return rc < 0 ? -1 : 0;
        }
    }
    if (optind < argc) {
        return cmd_problem_set(p, "'%.64s' is not a flag", argv[optind]);
    }
    return read_environment(&l, p);
}
