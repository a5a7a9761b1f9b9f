/* accounts.c: the accounts file, read and written. */
#include "inlets-server/accounts.h"

#include "common/file.h"
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

/* 4096 accounts of 4 KiB. */
#define ACCOUNTS_FILE_MAX (16u * 1024 * 1024)

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

int cmd_accounts_load(const char *path, struct inlets_server *server,
                      size_t *ret_n, struct cmd_problem *p)
{
    struct inlets_accounts *accounts;
    int err;

    if (cmd_accounts_read(path, false, &accounts, p) != 0) {
        return -1;
    }
    *ret_n = inlets_accounts_count(accounts);
    err = inlets_server_set_accounts(server, accounts);
    if (err != 0) {
        inlets_accounts_free(accounts);
        return cmd_problem_set(p, "%s: %s", path, inlets_strerror(err));
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
