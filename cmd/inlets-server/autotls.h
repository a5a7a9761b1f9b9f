/* autotls.h: --auto-tls: a certificate for an exit node without a domain, made
 * once and kept in a folder: exit-node.pem (certificate, authority and key, for
 * its owner alone) and authority.crt (for browsers and --ca-file). */
#ifndef CMD_INLETS_SERVER_AUTOTLS_H
#define CMD_INLETS_SERVER_AUTOTLS_H

#include "common/problem.h"
#include <inlets/certificate.h>
#include <stdbool.h>

struct cmd_autotls {
    char *pem; /* owned, secret: certificate, authority, key */
    char fingerprint[INLETS_FINGERPRINT_SIZE];
    char file[1024];
    bool made; /* just now */
};

/* dir: NULL for the usual place ($STATE_DIRECTORY, /var/lib/inlets for root,
 * else below $XDG_STATE_HOME or ~/.local/state). Reads what is there or makes
 * it; a damaged file is a problem, never overwritten. 0 or -1; either way
 * cmd_autotls_fini is due. */
int cmd_autotls_load(struct cmd_autotls *a, const char *dir,
                     struct cmd_problem *p);
void cmd_autotls_fini(struct cmd_autotls *a);

#endif
