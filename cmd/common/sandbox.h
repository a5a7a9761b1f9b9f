/* sandbox.h: what a program may still do once it has started. Linux only.
 *
 * Two fences. A seccomp filter lists the system calls that are needed; every
 * other one fails with EPERM (clone3 with ENOSYS, so that libc uses clone), and
 * is in the audit log. No exec, no fork, no ptrace, no modules, no file opened
 * for writing, no sockets but TCP, UDP and UNIX. It fails calls rather than
 * kill: a libc that does something new after an update must not take the
 * exit node down. Landlock closes the file system but for what is named here,
 * and where the kernel knows how, TCP for a program that dials nobody. */
#ifndef CMD_COMMON_SANDBOX_H
#define CMD_COMMON_SANDBOX_H

#include "common/problem.h"
#include <stdbool.h>

struct cmd_sandbox {
    bool dials; /* resolves names and connects; else it only accepts */
    /* Files and folders whose directories stay readable; ends with NULL. NULL:
     * none. */
    const char *const *reread;
};

/* For this thread and those that it will start, for good. *ret_level is
 * landlock's ABI. 0, or -1 with a problem when either fence is missing: then
 * the program must end. */
int cmd_sandbox_enter(const struct cmd_sandbox *s, int *ret_level,
                      struct cmd_problem *p);

#endif
