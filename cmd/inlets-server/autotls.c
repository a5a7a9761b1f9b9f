/* autotls.c: see autotls.h. */
#include "inlets-server/autotls.h"

#include "common/file.h"
#include "common/secret.h"
#include <errno.h>
#include <inlets/err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PEM_FILE_MAX 65536u
#define PATH_TEXT 1024
#define NAMES_TEXT 320

/* ---- where ------------------------------------------------------------ */

static int find_folder(const char *given, char dir[PATH_TEXT],
                       struct cmd_problem *p)
{
    const char *state = getenv("STATE_DIRECTORY"); /* systemd */
    const char *xdg = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
    int n = given != NULL    ? snprintf(dir, PATH_TEXT, "%s", given)
            : state != NULL  ? snprintf(dir, PATH_TEXT, "%s", state)
            : geteuid() == 0 ? snprintf(dir, PATH_TEXT, "/var/lib/inlets")
            : xdg != NULL    ? snprintf(dir, PATH_TEXT, "%s/inlets", xdg)
            : home != NULL
                ? snprintf(dir, PATH_TEXT, "%s/.local/state/inlets", home)
                : 0;

    return n > 0 && n < PATH_TEXT - 32
               ? 0
               : cmd_problem_set(p, "--auto-tls: there is no folder to keep a "
                                    "certificate in; --auto-tls-dir names one");
}

/* With those above it. */
static int make_folder(char dir[PATH_TEXT], struct cmd_problem *p)
{
    for (char *at = dir + 1;; at++) {
        char was = *at;

        if (was != '/' && was != '\0') {
            continue;
        }
        *at = '\0';
        if (mkdir(dir, 0700) != 0 && errno != EEXIST) {
            return cmd_problem_set(p, "cannot make the folder %s: %s", dir,
                                   strerror(errno));
        }
        *at = was;
        if (was == '\0') {
            return 0;
        }
    }
}

/* ---- making ----------------------------------------------------------- */

static int make(const struct cmd_autotls *a, const char *dir,
                struct cmd_problem *p)
{
    struct inlets_made_certificate made;
    char host[256] = "", names[NAMES_TEXT], authority[PATH_TEXT + 16];
    int err, rc;

    (void)gethostname(host, sizeof(host) - 1);
    (void)snprintf(names, sizeof(names), "localhost,127.0.0.1,::1,%s", host);
    err = inlets_certificate_make(names, &made);
    if (err == INLETS_EINVAL) { /* a host name that is none of DNS */
        err = inlets_certificate_make("localhost,127.0.0.1,::1", &made);
    }
    if (err != 0) {
        return cmd_problem_set(p, "cannot make a certificate: %s",
                               inlets_strerror(err));
    }
    (void)snprintf(authority, sizeof(authority), "%s/authority.crt", dir);
    rc = cmd_file_write(authority, 0644, (const char *[]){made.authority, NULL},
                        p);
    if (rc == 0) {
        rc = cmd_file_write(a->file, 0600,
                            (const char *[]){made.chain, made.key, NULL}, p);
    }
    inlets_made_certificate_fini(&made);
    return rc;
}

/* Of several that start at once in a fresh folder, one makes it. */
static int make_if_missing(struct cmd_autotls *a, const char *dir,
                           struct cmd_problem *p)
{
    int rc = 0, lock;

    if (access(a->file, F_OK) == 0 || errno != ENOENT) {
        return 0;
    }
    lock = cmd_file_lock(a->file, p);
    if (lock < 0) {
        return -1;
    }
    if (access(a->file, F_OK) != 0 && errno == ENOENT) {
        a->made = true;
        rc = make(a, dir, p);
    }
    (void)close(lock);
    return rc;
}

int cmd_autotls_load(struct cmd_autotls *a, const char *given,
                     struct cmd_problem *p)
{
    char dir[PATH_TEXT];
    size_t len;

    *a = (struct cmd_autotls){NULL, "", "", false};
    if (find_folder(given, dir, p) != 0 || make_folder(dir, p) != 0) {
        return -1;
    }
    (void)snprintf(a->file, sizeof(a->file), "%.990s/exit-node.pem", dir);
    if (make_if_missing(a, dir, p) != 0 ||
        cmd_file_read(a->file, PEM_FILE_MAX, &a->pem, &len, p) != 0) {
        return -1;
    }
    return inlets_certificate_fingerprint((struct inlets_slice){a->pem, len},
                                          a->fingerprint) == 0
               ? 0
               : cmd_problem_set(p,
                                 "%s is damaged; remove it for a new one, and "
                                 "give its fingerprint to the clients",
                                 a->file);
}

void cmd_autotls_fini(struct cmd_autotls *a)
{
    cmd_secret_free(a->pem);
    a->pem = NULL;
}
