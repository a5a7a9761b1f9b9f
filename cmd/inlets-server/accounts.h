/* accounts.h: --accounts: the file with those who may open tunnels. */
#ifndef CMD_INLETS_SERVER_ACCOUNTS_H
#define CMD_INLETS_SERVER_ACCOUNTS_H

#include "common/problem.h"
#include <inlets/accounts.h>
#include <stdbool.h>
#include <stdint.h>

/* As many as there are issuers in a file. */
#define CMD_ACCOUNTS_KEYS 16u

/* The file, and those with keys of issuers that it names. */
struct cmd_accounts {
    const char *path; /* borrowed; NULL: none */
    struct cmd_accounts_keys {
        char *file,
            *text; /* owned; text is what was good in it; NULL: nothing */
    } keys[CMD_ACCOUNTS_KEYS];
    size_t nkeys;
    uint64_t stamp; /* of what was read last */
};

/* may_be_new: a file that is not there has no accounts. *ret_accounts ends with
 * inlets_accounts_free. 0, or -1 with a problem that names the file. */
int cmd_accounts_read(const char *path, bool may_be_new,
                      struct inlets_accounts **ret_accounts,
                      struct cmd_problem *p);
/* Reads them all and gives them to the server, or changes nothing there.
 * *ret_n: how many accounts. A file of keys that was good before and is not any
 * more keeps nobody from the rest, like an account that was removed: its old
 * keys stay, and *p names it although the answer is 0. Else *p has no text
 * then. */
int cmd_accounts_load(struct cmd_accounts *a, struct inlets_server *server,
                      size_t *ret_n, struct cmd_problem *p);
/* Was one of them changed, added or removed? */
bool cmd_accounts_have_changed(const struct cmd_accounts *a);
void cmd_accounts_fini(struct cmd_accounts *a);
int cmd_accounts_write(const char *path, const struct inlets_accounts *accounts,
                       struct cmd_problem *p);

/* inlets-server account ...: argv[1] is "account". Returns an exit status. */
int cmd_account_main(int argc, char **argv);

#endif
