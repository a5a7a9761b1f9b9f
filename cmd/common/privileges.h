/* privileges.h: what a program started as root gives away before it reads a
 * byte of anybody: its user, its groups, its capabilities, for good. */
#ifndef CMD_COMMON_PRIVILEGES_H
#define CMD_COMMON_PRIVILEGES_H

#include "common/logsink.h"
#include "common/problem.h"
#include <stdbool.h>
#include <sys/types.h>

struct cmd_user {
    uid_t uid;
    gid_t gid;
    bool is_given; /* by --user; else it was chosen here */
    char name[64];
};

/* "NAME", "NAME:GROUP", names or numbers. NULL: "inlets" if there is such a
 * user, else "nobody". 0 or -1. */
int cmd_user_find(const char *text, struct cmd_user *ret,
                  struct cmd_problem *p);

/* Root becomes the user of --user (NULL: not given), and cannot come back:
 * that is tried. Who is not root only gives up what a later exec could bring.
 * For root, `--user root` keeps the user, and says so.
 *
 * `reread` (may be NULL) is a file that will be opened again later. When the
 * new user was not given and cannot read it, one capability is kept, to read
 * files; the log says so. When it was given, the log says that it cannot.
 *
 * Call it with one thread only, after ports and secrets are open. 0, or -1
 * with a problem: then the program must end. */
int cmd_privileges_drop(struct cmd_log *log, const char *user,
                        const char *reread, struct cmd_problem *p);

#endif
