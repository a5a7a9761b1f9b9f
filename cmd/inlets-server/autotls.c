/* autotls.c: see autotls.h. A file is written beside its place and then moved
 * there, so that whoever looks finds a whole one or none. */
#include "inlets-server/autotls.h"

#include "common/file.h"
#include "common/secret.h"
#include <errno.h>
#include <fcntl.h>
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

/* ---- writing ---------------------------------------------------------- */

static int write_all(int fd, const char *text)
{
    size_t n = strlen(text);

    while (n > 0) {
        ssize_t wrote = write(fd, text, n);

        if (wrote < 0 && errno == EINTR) {
            continue;
        }
        if (wrote <= 0) {
            return -1;
        }
        text += wrote;
        n -= (size_t)wrote;
    }
    return fsync(fd);
}

/* Texts one behind the other; the last is NULL. */
static int write_file(const char *path, mode_t mode, const char *const *texts,
                      struct cmd_problem *p)
{
    char new[PATH_TEXT + 8];
    int fd, rc = 0;

    (void)snprintf(new, sizeof(new), "%s.new", path);
    (void)unlink(new); /* of one that was killed */
    fd = open(new, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode);
    rc = fd < 0 ? -1 : 0;
    for (size_t i = 0; rc == 0 && texts[i] != NULL; i++) {
        rc = write_all(fd, texts[i]);
    }
    if (rc == 0) {
        rc = rename(new, path);
    }
    if (rc != 0) {
        rc = cmd_problem_set(p, "cannot write %s: %s", path, strerror(errno));
        (void)unlink(new);
    }
    if (fd >= 0) {
        (void)close(fd);
    }
    return rc;
}

static void sync_folder(const char *dir)
{
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd >= 0) {
        (void)fsync(fd);
        (void)close(fd);
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
    rc = write_file(authority, 0644, (const char *[]){made.authority, NULL}, p);
    if (rc == 0) {
        rc = write_file(a->file, 0600,
                        (const char *[]){made.chain, made.key, NULL}, p);
    }
    inlets_made_certificate_fini(&made);
    sync_folder(dir);
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
    if (access(a->file, F_OK) != 0 && errno == ENOENT) {
        a->made = true;
        if (make(a, dir, p) != 0) {
            return -1;
        }
    }
    if (cmd_file_read(a->file, PEM_FILE_MAX, &a->pem, &len, p) != 0) {
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
