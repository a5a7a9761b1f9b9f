/* process.h: what is the program's and not the library's: signals, limits,
 * and words on the way out. */
#ifndef CMD_COMMON_PROCESS_H
#define CMD_COMMON_PROCESS_H

#include "common/logsink.h"
#include "common/problem.h"
#include <uv.h>

/* Exit statuses */
#define CMD_EXIT_OK 0     /* ended by a signal, as told */
#define CMD_EXIT_FAILED 1 /* could not do its job */
#define CMD_EXIT_USAGE 2  /* the command line */

/* Ignores SIGPIPE, raises RLIMIT_NOFILE to its hard limit, and makes sure
 * that descriptors 0 to 2 are open: a socket in the place of stderr would be
 * sent the log. */
void cmd_process_prepare(void);

/* No core files, and for other processes of this user no debugger and no
 * look into /proc/PID: all of them would show the token. INLETS_DEBUGGABLE=1 in
 * the environment leaves it undone, for engineers and tests. */
void cmd_process_hide(void);

/* The last step before strangers' bytes: no privileges, then the sandbox if it
 * is asked for, and cmd_process_hide. `user` as in cmd_privileges_drop; `s`
 * may be NULL. 0, or -1 with the reason said: the program must end. */
struct cmd_sandbox;
int cmd_process_confine(struct cmd_log *log, const char *program,
                        const char *user, const char *reread,
                        const struct cmd_sandbox *s);

/* "PROGRAM: the problem" and where help is; returns CMD_EXIT_USAGE. */
int cmd_process_usage(const char *program, const struct cmd_problem *p);

/* Says why the program ends: a sentence for people, an event for JSON. */
__attribute__((format(printf, 3, 4))) void cmd_process_fail(struct cmd_log *log,
                                                            const char *program,
                                                            const char *format,
                                                            ...);

/* "NAME VERSION" and the libraries, on stdout. */
void cmd_process_version(const char *program);

/* SIGTERM and SIGINT. on_signal is told how many have come: the first asks
 * to drain, the second to end now. */
struct cmd_signals {
    uv_signal_t handles[2];
    void (*on_signal)(int signum, unsigned count, void *user);
    void *user;
    unsigned count;
    unsigned nhandles;
};

/* 0 or a negative uv error. */
int cmd_signals_start(struct cmd_signals *s, uv_loop_t *loop,
                      void (*on_signal)(int signum, unsigned count, void *user),
                      void *user);
/* The next signal ends the process the system's way. Harmless twice. */
void cmd_signals_stop(struct cmd_signals *s);

#endif
