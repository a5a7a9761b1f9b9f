/* secret.c: see secret.h. */
#include "common/secret.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

void cmd_secret_free(char *secret)
{
    if (secret != NULL) {
        explicit_bzero(secret, strlen(secret));
        free(secret);
    }
}

char *cmd_secret_from_environment(const char *name)
{
    char *value = getenv(name);
    char *copy = NULL;

    if (value != NULL) {
        copy = *value == '\0' ? NULL : strdup(value);
        /* The kernel shows these very bytes; unsetenv leaves them there. */
        explicit_bzero(value, strlen(value));
        unsetenv(name);
    }
    return copy;
}

/* It travels as one HTTP field value (RFC 9110 section 5.5). */
static int check(const char *where, const char *what, const char *text,
                 size_t len, struct cmd_problem *p)
{
    if (len == 0) {
        return cmd_problem_set(p, "%s: the %s is empty", where, what);
    }
    for (size_t i = 0; i < len; i++) {
        if (text[i] < 0x20 || text[i] > 0x7e) {
            return cmd_problem_set(p,
                                   "%s: byte %zu of the %s is not a printable "
                                   "ASCII character",
                                   where, i + 1, what);
        }
    }
    if (text[0] == ' ' || text[len - 1] == ' ') {
        return cmd_problem_set(p, "%s: the %s begins or ends with a space",
                               where, what);
    }
    return 0;
}

/* Reads at most `size` bytes; -1 on an error. */
static ssize_t read_all(int fd, char *buf, size_t size)
{
    size_t len = 0;

    while (len < size) {
        ssize_t n = read(fd, buf + len, size - len);

        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return -1;
        }
        if (n == 0) {
            break;
        }
        len += (size_t)n;
    }
    return (ssize_t)len;
}

/* systemd shows its credentials with the mode of an access list. */
static bool is_credential(const char *path)
{
    const char *dir = getenv("CREDENTIALS_DIRECTORY");

    return dir != NULL && *dir != '\0' && strncmp(path, dir, strlen(dir)) == 0;
}

static bool is_exposed(const struct stat *st, const char *path, mode_t others)
{
    return S_ISREG(st->st_mode) && !is_credential(path) &&
           (st->st_mode & others) != 0;
}

/* A group is how a key is shared with the service that needs it. */
const char *cmd_secret_warning_about_key(const char *path)
{
    struct stat st;

    if (stat(path, &st) != 0 || !is_exposed(&st, path, S_IROTH)) {
        return NULL;
    }
    return "every user of this machine may read the file with the private key; "
           "chmod o-r keeps it from them";
}

static const char *warning_about(int fd, const char *path)
{
    struct stat st;

    if (fstat(fd, &st) != 0 || !is_exposed(&st, path, S_IRGRP | S_IROTH)) {
        return NULL;
    }
    return "other users of this machine may read the file with the secret; "
           "chmod 600 keeps it to its owner";
}

/* buf has room for CMD_SECRET_MAX + 1 bytes. */
static int take_file(int fd, const char *path, const char *what, char *buf,
                     char **ret_secret, struct cmd_problem *p)
{
    ssize_t got = read_all(fd, buf, CMD_SECRET_MAX + 1);
    size_t len = got < 0 ? 0 : (size_t)got;

    if (got < 0) {
        return cmd_problem_set(p, "cannot read the %s file %s: %s", what, path,
                               strerror(errno));
    }
    if (len > CMD_SECRET_MAX) {
        return cmd_problem_set(p, "%s is over %d bytes: not a %s file", path,
                               CMD_SECRET_MAX, what);
    }
    while (len > 0 && (buf[len - 1] == '\n' || buf[len - 1] == '\r')) {
        len--;
    }
    if (check(path, what, buf, len, p) != 0) {
        return -1;
    }
    *ret_secret = strndup(buf, len);
    return *ret_secret != NULL ? 0 : cmd_problem_set(p, "out of memory");
}

int cmd_secret_from_file(const char *path, const char *what, char **ret_secret,
                         const char **ret_warning, struct cmd_problem *p)
{
    char buf[CMD_SECRET_MAX + 1];
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    int rc;

    if (fd < 0) {
        return cmd_problem_set(p, "cannot open the %s file %s: %s", what, path,
                               strerror(errno));
    }
    rc = take_file(fd, path, what, buf, ret_secret, p);
    if (rc == 0) {
        *ret_warning = warning_about(fd, path);
    }
    explicit_bzero(buf, sizeof(buf));
    (void)close(fd);
    return rc;
}

const struct cmd_secret_ways cmd_secret_token = {"token", "--token",
                                                 "--token-from", "TOKEN"};

/* The text of a flag, or of the environment. */
static int check_text(const struct cmd_secret_ways *ways, const char *where,
                      const char *text, struct cmd_problem *p)
{
    return text == NULL ? 0 : check(where, ways->what, text, strlen(text), p);
}

static int choose_one(const struct cmd_secret_ways *ways, char *from_flag,
                      const char *file, char *from_env, char **ret_secret,
                      const char **ret_warning, struct cmd_problem *p)
{
    const char *flag_name = from_flag != NULL ? ways->flag : ways->file_flag;
    char env_name[64] = "";

    if (from_flag != NULL && file != NULL) {
        return cmd_problem_set(p,
                               "two sources for one secret: %s and %s; keep "
                               "one",
                               ways->flag, ways->file_flag);
    }
    if (from_env != NULL) {
        (void)snprintf(env_name, sizeof(env_name), "%s in the environment",
                       ways->env);
    }
    if (from_env != NULL && (from_flag != NULL || file != NULL)) {
        return cmd_problem_set(p,
                               "two sources for one secret: %s and %s; keep "
                               "one",
                               flag_name, env_name);
    }
    if (file != NULL) {
        return cmd_secret_from_file(file, ways->what, ret_secret, ret_warning,
                                    p);
    }
    if (check_text(ways, ways->flag, from_flag, p) != 0 ||
        check_text(ways, env_name, from_env, p) != 0) {
        return -1;
    }
    *ret_secret = from_flag != NULL ? from_flag : from_env;
    return 0;
}

int cmd_secret_choose(const struct cmd_secret_ways *ways, char *from_flag,
                      const char *file, char *from_env, char **ret_secret,
                      const char **ret_warning, struct cmd_problem *p)
{
    *ret_secret = NULL;
    *ret_warning = NULL;
    if (choose_one(ways, from_flag, file, from_env, ret_secret, ret_warning,
                   p) != 0) {
        cmd_secret_free(from_flag);
        cmd_secret_free(from_env);
        return -1;
    }
    return 0;
}
