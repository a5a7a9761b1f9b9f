/* sockets.h: what a service manager hands over in the environment (systemd's
 * protocols, sd_listen_fds(3) and sd_notify(3)): listening sockets that it
 * opened, and a socket to be told on how the program is. */
#ifndef CMD_COMMON_SOCKETS_H
#define CMD_COMMON_SOCKETS_H

#include "common/problem.h"
#include <stddef.h>

/* More is a mistake. */
#define CMD_SOCKETS_MAX 16

struct cmd_socket {
    int fd;
    unsigned what; /* INLETS_LISTEN_... */
};

struct cmd_sockets {
    struct cmd_socket items[CMD_SOCKETS_MAX];
    size_t count;
};

/* Takes the sockets that are meant for this process, and the variables out of
 * the environment. The names "visitors" and "control" say what a socket is
 * for; one socket of any other name is for both. None: 0 and a count of 0.
 * 0 or -1. Call it before anything opens a descriptor. */
int cmd_sockets_take(struct cmd_sockets *ret, struct cmd_problem *p);

/* A connected socket, or -1 when nobody wants to know. Takes the variable out
 * of the environment. */
int cmd_notify_open(void);
/* Ignores -1 and a manager that does not listen. */
void cmd_notify_ready(int fd);
void cmd_notify_reloading(int fd);
void cmd_notify_stopping(int fd);

#endif
