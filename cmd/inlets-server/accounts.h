/* accounts.h: --accounts: the file with those who may open tunnels. */
#ifndef CMD_INLETS_SERVER_ACCOUNTS_H
#define CMD_INLETS_SERVER_ACCOUNTS_H

#include "common/problem.h"
#include <inlets/accounts.h>
#include <stdbool.h>

/* may_be_new: a file that is not there has no accounts. *ret_accounts ends with
 * inlets_accounts_free. 0, or -1 with a problem that names the file. */
int cmd_accounts_read(const char *path, bool may_be_new,
                      struct inlets_accounts **ret_accounts,
                      struct cmd_problem *p);
/* Reads the file and gives it to the server. *ret_n: how many. */
int cmd_accounts_load(const char *path, struct inlets_server *server,
                      size_t *ret_n, struct cmd_problem *p);
int cmd_accounts_write(const char *path, const struct inlets_accounts *accounts,
                       struct cmd_problem *p);

/* inlets-server account ...: argv[1] is "account". Returns an exit status. */
int cmd_account_main(int argc, char **argv);

#endif
