/* visitors.h: --visitors: the file with those who may visit. */
#ifndef CMD_INLETS_SERVER_VISITORS_H
#define CMD_INLETS_SERVER_VISITORS_H

#include "common/problem.h"
#include <inlets/visitors.h>

/* Reads the file and gives it to the server. *ret_n: how many rules. 0, or -1
 * with a problem that names the file; the server is what it was then. */
int cmd_visitors_load(const char *path, struct inlets_server *server,
                      size_t *ret_n, struct cmd_problem *p);

#endif
