/* certs.c: see certs.h. */
#include "inlets-server/certs.h"

#include "common/file.h"
#include "common/secret.h"
#include <dirent.h>
#include <inlets/certificate.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#define FILE_MAX (1024u * 1024)
#define PATH_TEXT 1024

/* Pairs of files, and what they hold. */
struct pairs {
    struct inlets_certificate *items; /* owned, as their texts are */
    char **names;                     /* of the certificates' files */
    size_t n;
};

bool cmd_certs_is_given(const struct cmd_certs *certs)
{
    return certs->ncerts > 0 || certs->nkeys > 0 || certs->dir != NULL ||
           certs->own != NULL;
}

int cmd_certs_check(const struct cmd_certs *certs, struct cmd_problem *p)
{
    if (certs->ncerts != certs->nkeys) {
        return cmd_problem_set(p,
                               "there are %zu --tls-cert and %zu --tls-key: "
                               "each certificate has its key, in the same "
                               "order",
                               certs->ncerts, certs->nkeys);
    }
    return 0;
}

/* ---- reading ---------------------------------------------------------- */

static char *text_of(struct inlets_slice s)
{
    return (char *)(uintptr_t)s.ptr;
}

static void pairs_fini(struct pairs *pairs)
{
    for (size_t i = 0; i < pairs->n; i++) {
        cmd_secret_free(text_of(pairs->items[i].chain));
        cmd_secret_free(text_of(pairs->items[i].key));
        free(pairs->names[i]);
    }
    free(pairs->items);
    free(pairs->names);
}

static int grow(struct pairs *pairs, struct cmd_problem *p)
{
    void *items = realloc(pairs->items, (pairs->n + 1) * sizeof(*pairs->items));
    void *names;

    if (items != NULL) {
        pairs->items = items;
    }
    names = realloc(pairs->names, (pairs->n + 1) * sizeof(*pairs->names));
    if (names != NULL) {
        pairs->names = names;
    }
    return items == NULL || names == NULL ? cmd_problem_set(p, "out of memory")
                                          : 0;
}

/* Takes over what it is given. */
static int append(struct pairs *pairs, const char *name, char *chain, char *key,
                  struct cmd_problem *p)
{
    char *kept = strdup(name);

    if (kept == NULL || chain == NULL || key == NULL || grow(pairs, p) != 0) {
        free(chain);
        cmd_secret_free(key);
        free(kept);
        return cmd_problem_set(p, "out of memory");
    }
    pairs->items[pairs->n] =
        (struct inlets_certificate){{chain, strlen(chain)}, {key, strlen(key)}};
    pairs->names[pairs->n++] = kept;
    return 0;
}

static int add(struct pairs *pairs, const char *cert, const char *key,
               struct cmd_problem *p)
{
    char *chain_text = NULL, *key_text = NULL;
    size_t len;

    if (cmd_file_read(cert, FILE_MAX, &chain_text, &len, p) != 0) {
        return -1;
    }
    if (cmd_file_read(key, FILE_MAX, &key_text, &len, p) != 0) {
        free(chain_text);
        return -1;
    }
    return append(pairs, cert, chain_text, key_text, p);
}

/* ---- the folder ------------------------------------------------------- */

static int is_cert(const struct dirent *entry)
{
    size_t len = strlen(entry->d_name);

    return entry->d_name[0] != '.' && len > 4 &&
           strcmp(entry->d_name + len - 4, ".crt") == 0;
}

/* Runs `each` for every pair, by name; the paths die with the call. */
static int for_each_in(const char *dir, struct cmd_problem *p,
                       int (*each)(const char *cert, const char *key,
                                   void *user, struct cmd_problem *p),
                       void *user)
{
    char cert[PATH_TEXT], key[PATH_TEXT];
    struct dirent **entries;
    int n = scandir(dir, &entries, is_cert, alphasort);
    int rc = n < 0 ? cmd_problem_set(p, "--tls-dir %s cannot be read", dir) : 0;

    for (int i = 0; i < n; i++) {
        int len = (int)strlen(entries[i]->d_name) - 4;

        (void)snprintf(cert, sizeof(cert), "%s/%s", dir, entries[i]->d_name);
        (void)snprintf(key, sizeof(key), "%s/%.*s.key", dir, len,
                       entries[i]->d_name);
        if (rc == 0) {
            rc = each(cert, key, user, p);
        }
        free(entries[i]);
    }
    if (n >= 0) {
        free(entries);
    }
    return rc;
}

static int for_each(const struct cmd_certs *certs, struct cmd_problem *p,
                    int (*each)(const char *cert, const char *key, void *user,
                                struct cmd_problem *p),
                    void *user)
{
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < certs->ncerts; i++) {
        rc = each(certs->certs[i], certs->keys[i], user, p);
    }
    return rc != 0 || certs->dir == NULL
               ? rc
               : for_each_in(certs->dir, p, each, user);
}

/* ---- all of them ------------------------------------------------------ */

static int add_pair(const char *cert, const char *key, void *user,
                    struct cmd_problem *p)
{
    return add(user, cert, key, p);
}

static void warn_of_key(struct cmd_log *log, const char *file)
{
    const char *warning = cmd_secret_warning_about_key(file);

    if (warning != NULL) {
        cmd_log_say(log, INLETS_LOG_WARN, warning, "file", file, NULL);
    }
}

static int warn_of_pair(const char *cert, const char *key, void *user,
                        struct cmd_problem *p)
{
    (void)cert;
    (void)p;
    warn_of_key(user, key);
    return 0;
}

/* Browsers and clients refuse it, and this log is where one looks for why. */
static void warn_of_dates(struct cmd_log *log, const struct pairs *pairs)
{
    char from[INLETS_DATE_SIZE], until[INLETS_DATE_SIZE];
    char now[INLETS_DATE_SIZE] = "";
    time_t seconds = time(NULL);
    struct tm utc;

    if (gmtime_r(&seconds, &utc) == NULL ||
        strftime(now, sizeof(now), "%Y-%m-%dT%H:%M:%SZ", &utc) == 0) {
        return;
    }
    for (size_t i = 0; i < pairs->n; i++) {
        if (inlets_certificate_dates(pairs->items[i].chain, from, until) != 0) {
            continue;
        }
        if (strcmp(until, now) < 0) {
            cmd_log_say(log, INLETS_LOG_WARN, "this certificate has expired",
                        "file", pairs->names[i], "at", until, NULL);
        } else if (strcmp(now, from) < 0) {
            cmd_log_say(log, INLETS_LOG_WARN,
                        "this certificate is not valid yet, or this clock is "
                        "wrong",
                        "file", pairs->names[i], "from", from, NULL);
        }
    }
}

int cmd_certs_load(const struct cmd_certs *certs, struct inlets_server *server,
                   struct cmd_log *log, size_t *ret_n, struct cmd_problem *p)
{
    struct pairs pairs = {NULL, NULL, 0};
    const char *why = "";
    size_t bad = 0;
    int rc = for_each(certs, p, add_pair, &pairs);

    if (rc == 0 && certs->own != NULL) {
        rc = append(&pairs, "--auto-tls", strdup(certs->own),
                    strdup(certs->own), p);
    }
    if (rc == 0 && pairs.n == 0) {
        rc = cmd_problem_set(p, "--tls-dir %s has no NAME.crt with a NAME.key",
                             certs->dir);
    }
    if (rc == 0 && inlets_server_set_certificates(server, pairs.items, pairs.n,
                                                  &bad, &why) != 0) {
        rc = bad < pairs.n ? cmd_problem_set(p, "%s: %s", pairs.names[bad], why)
                           : cmd_problem_set(p, "--tls-default %s: %s",
                                             certs->fallback, why);
    }
    if (rc == 0) {
        warn_of_dates(log, &pairs);
        (void)for_each(certs, p, warn_of_pair, log);
    }
    if (rc == 0 && certs->own != NULL) {
        warn_of_key(log, certs->own_file);
    }
    *ret_n = pairs.n;
    pairs_fini(&pairs);
    return rc;
}

void cmd_certs_files(const struct cmd_certs *certs,
                     const char *ret_files[CMD_CERTS_FILES])
{
    size_t n = 0;

    for (size_t i = 0; i < certs->ncerts; i++) {
        ret_files[n++] = certs->certs[i];
        ret_files[n++] = certs->keys[i];
    }
    if (certs->dir != NULL) {
        ret_files[n++] = certs->dir;
    }
    ret_files[n] = NULL;
}

static int mix_pair(const char *cert, const char *key, void *user,
                    struct cmd_problem *p)
{
    uint64_t *stamp = user;

    (void)p;
    *stamp = cmd_file_stamp(cmd_file_stamp(*stamp, cert), key);
    return 0;
}

uint64_t cmd_certs_stamp(const struct cmd_certs *certs)
{
    uint64_t stamp = 0;
    struct cmd_problem p;

    (void)for_each(certs, &p, mix_pair, &stamp);
    return stamp;
}
