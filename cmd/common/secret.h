/* secret.h: what a server and its clients share: one of a flag, a file and an
 * environment variable, never two. A secret is an owned string
 * that ends in cmd_secret_free. */
#ifndef CMD_COMMON_SECRET_H
#define CMD_COMMON_SECRET_H

#include "common/problem.h"

/* Longer than any token, shorter than a file given by mistake. */
#define CMD_SECRET_MAX 4096

/* Takes the variable out of the environment and of /proc/PID/environ. NULL:
 * it is not set, or set to nothing. Call it before anything else. */
char *cmd_secret_from_environment(const char *name);

/* Reads a file (or a pipe) without the newlines at its end. `what` it holds is
 * for people: "token". When others may read the file too, *ret_warning says
 * so; else it is NULL. 0 or -1. */
int cmd_secret_from_file(const char *path, const char *what, char **ret_secret,
                         const char **ret_warning, struct cmd_problem *p);

/* The same of a file with a private key, which a group may read. NULL: all is
 * well, or there is no such file. */
const char *cmd_secret_warning_about_key(const char *path);

/* Wipes and frees; NULL is ignored. */
void cmd_secret_free(char *secret);

/* Where a secret may come from, as people know it. */
struct cmd_secret_ways {
    const char *what;             /* "token" */
    const char *flag, *file_flag; /* "--token", "--token-from" */
    const char *env;              /* "TOKEN"; NULL: not from there */
};
extern const struct cmd_secret_ways cmd_secret_token;

/* All three may be NULL; from_flag and from_env are taken over, also on
 * failure. *ret_secret is NULL when there is none. 0 or -1. */
int cmd_secret_choose(const struct cmd_secret_ways *ways, char *from_flag,
                      const char *file, char *from_env, char **ret_secret,
                      const char **ret_warning, struct cmd_problem *p);

#endif
