/* accounts.c: the accounts file, read and written; files with keys of issuers
 * that it names, read. */
#include "inlets-server/accounts.h"

#include "common/file.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* 4096 accounts of 4 KiB. */
#define ACCOUNTS_FILE_MAX (16u * 1024 * 1024)
/* 32 keys, and their certificates. */
#define KEYS_FILE_MAX (256u * 1024)

int cmd_accounts_read(const char *path, bool may_be_new,
                      struct inlets_accounts **ret_accounts,
                      struct cmd_problem *p)
{
    bool is_new = may_be_new && access(path, F_OK) != 0 && errno == ENOENT;
    char why[INLETS_WHY_SIZE] = "";
    char *text = NULL;
    size_t len = 0;
    int err;

    if (!is_new &&
        cmd_file_read(path, ACCOUNTS_FILE_MAX, &text, &len, p) != 0) {
        return -1;
    }
    err = inlets_accounts_parse(ret_accounts, (struct inlets_slice){text, len},
                                why);
    free(text);
    return err == 0
               ? 0
               : cmd_problem_set(p, "%s: %s", path,
                                 *why != '\0' ? why : inlets_strerror(err));
}

/* ---- with the files that it names --------------------------------------- */

static void forget_keys(struct cmd_accounts *a)
{
    for (size_t i = 0; i < a->nkeys; i++) {
        free(a->keys[i].file);
        free(a->keys[i].text);
    }
    a->nkeys = 0;
}

void cmd_accounts_fini(struct cmd_accounts *a)
{
    forget_keys(a);
}

static uint64_t stamp_keys(const struct cmd_accounts *a, uint64_t stamp)
{
    for (size_t i = 0; i < a->nkeys; i++) {
        stamp = cmd_file_stamp(stamp, a->keys[i].file);
    }
    return stamp;
}

bool cmd_accounts_have_changed(const struct cmd_accounts *a)
{
    return stamp_keys(a, cmd_file_stamp(0, a->path)) != a->stamp;
}

/* What is not absolute is beside the accounts file. NULL: out of memory. */
static char *beside(const char *path, const char *name)
{
    const char *slash = name[0] == '/' ? NULL : strrchr(path, '/');
    size_t folder = slash == NULL ? 0 : (size_t)(slash - path) + 1;
    size_t size = folder + strlen(name) + 1;
    char *whole = malloc(size);

    if (whole != NULL) {
        (void)snprintf(whole, size, "%.*s%s", (int)folder, path, name);
    }
    return whole;
}

/* A copy of what was good in that file; NULL: nothing. */
static char *last_text(const struct cmd_accounts *a, const char *file)
{
    for (size_t i = 0; i < a->nkeys; i++) {
        if (a->keys[i].text != NULL && strcmp(a->keys[i].file, file) == 0) {
            return strdup(a->keys[i].text);
        }
    }
    return NULL;
}

/* The files that are named now. */
static int name_keys(struct cmd_accounts *a,
                     const struct inlets_accounts *accounts,
                     struct cmd_problem *p)
{
    struct cmd_accounts old = *a;
    const char *name = inlets_accounts_keys_file(accounts, 0);
    int rc = 0;

    a->nkeys = 0;
    while (rc == 0 && name != NULL && a->nkeys < CMD_ACCOUNTS_KEYS) {
        char *file = beside(a->path, name);

        if (file == NULL) {
            rc = cmd_problem_set(p, "out of memory");
        } else {
            a->keys[a->nkeys].file = file;
            a->keys[a->nkeys++].text = last_text(&old, file);
            name = inlets_accounts_keys_file(accounts, a->nkeys);
        }
    }
    forget_keys(&old);
    return rc;
}

static int use_keys(const struct cmd_accounts *a, size_t i,
                    struct inlets_accounts *accounts, const char *text,
                    size_t len, struct cmd_problem *p)
{
    char why[INLETS_WHY_SIZE] = "";
    int err = inlets_accounts_load_keys(accounts, i,
                                        (struct inlets_slice){text, len}, why);

    return err == 0
               ? 0
               : cmd_problem_set(p, "%s: %s", a->keys[i].file,
                                 *why != '\0' ? why : inlets_strerror(err));
}

/* 0 also with the old keys: then there is a problem, too. */
static int read_keys(struct cmd_accounts *a, size_t i,
                     struct inlets_accounts *accounts, struct cmd_problem *p)
{
    char **old = &a->keys[i].text, *text = NULL;
    struct cmd_problem other;
    size_t len = 0;

    if (cmd_file_read(a->keys[i].file, KEYS_FILE_MAX, &text, &len, p) == 0 &&
        use_keys(a, i, accounts, text, len, p) == 0) {
        free(*old);
        *old = text;
        return 0;
    }
    free(text);
    return *old == NULL ? -1
                        : use_keys(a, i, accounts, *old, strlen(*old), &other);
}

static int read_all(struct cmd_accounts *a,
                    struct inlets_accounts **ret_accounts,
                    struct cmd_problem *p)
{
    /* Looked at before they are read: what changes meanwhile is read again. */
    uint64_t stamp = cmd_file_stamp(0, a->path);
    struct inlets_accounts *accounts = NULL;
    int rc = cmd_accounts_read(a->path, false, &accounts, p);

    if (rc == 0) {
        rc = name_keys(a, accounts, p);
    }
    a->stamp = stamp_keys(a, stamp);
    for (size_t i = 0; rc == 0 && i < a->nkeys; i++) {
        rc = read_keys(a, i, accounts, p);
    }
    if (rc != 0) {
        inlets_accounts_free(accounts);
        return -1;
    }
    *ret_accounts = accounts;
    return 0;
}

int cmd_accounts_load(struct cmd_accounts *a, struct inlets_server *server,
                      size_t *ret_n, struct cmd_problem *p)
{
    struct inlets_accounts *accounts;
    int err;

    p->text[0] = '\0';
    if (read_all(a, &accounts, p) != 0) {
        return -1;
    }
    *ret_n = inlets_accounts_count(accounts);
    err = inlets_server_set_accounts(server, accounts);
    if (err != 0) {
        inlets_accounts_free(accounts);
        return cmd_problem_set(p, "%s: %s", a->path, inlets_strerror(err));
    }
    return 0;
}

int cmd_accounts_write(const char *path, const struct inlets_accounts *accounts,
                       struct cmd_problem *p)
{
    char *text = inlets_accounts_print(accounts);
    int rc =
        text == NULL
            ? cmd_problem_set(p, "out of memory")
            : cmd_file_write(path, 0600, (const char *[]){text, "\n", NULL}, p);

    inlets_accounts_free_text(text);
    return rc;
}
