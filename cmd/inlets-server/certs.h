/* certs.h: --tls-cert, --tls-key, --tls-dir: files with certificates and keys,
 * read at the start, on SIGHUP and when they have changed. */
#ifndef CMD_INLETS_SERVER_CERTS_H
#define CMD_INLETS_SERVER_CERTS_H

#include "common/logsink.h"
#include "common/problem.h"
#include <inlets/server.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CMD_CERTS_MAX 256u /* of one kind of flag */

/* All zero: none. */
struct cmd_certs {
    const char *certs[CMD_CERTS_MAX]; /* borrowed */
    const char *keys[CMD_CERTS_MAX];
    size_t ncerts, nkeys;
    const char *dir;      /* NAME.crt and NAME.key; borrowed; NULL: none */
    const char *fallback; /* of --tls-default; borrowed; NULL: none */
    const char *own;      /* of --auto-tls, borrowed: certificate and key */
    const char *own_file; /* where it is; borrowed */
};

bool cmd_certs_is_given(const struct cmd_certs *certs);
/* As many keys as certificates? 0 or -1. */
int cmd_certs_check(const struct cmd_certs *certs, struct cmd_problem *p);
/* Reads them all and gives them to the server, or changes nothing. *ret_n: how
 * many. What is odd about them, but no problem, is said to the log. 0, or -1
 * with a problem that names the file. */
int cmd_certs_load(const struct cmd_certs *certs, struct inlets_server *server,
                   struct cmd_log *log, size_t *ret_n, struct cmd_problem *p);
/* The files that will be read again; ends with NULL. */
#define CMD_CERTS_FILES (2 * CMD_CERTS_MAX + 2)
void cmd_certs_files(const struct cmd_certs *certs,
                     const char *ret_files[CMD_CERTS_FILES]);
/* Another number when a file was changed, added or removed. */
uint64_t cmd_certs_stamp(const struct cmd_certs *certs);

#endif
