/* options.h: the command line of inlets-server. */
#ifndef CMD_INLETS_SERVER_OPTIONS_H
#define CMD_INLETS_SERVER_OPTIONS_H

#include "common/address.h"
#include "common/problem.h"
#include "inlets-server/autotls.h"
#include "inlets-server/certs.h"
#include "inlets-server/pages.h"
#include <inlets/server.h>

enum cmd_congestion { CMD_CONGESTION_BBR, CMD_CONGESTION_SYSTEM };

struct cmd_server_options {
    struct inlets_server_opts *server; /* borrowed; filled in */
    struct cmd_listen_options listen;
    struct cmd_listen_plan plan;
    char *token;               /* owned; NULL: none */
    const char *token_file;    /* of --token-from */
    const char *token_warning; /* NULL: none */
    const char *accounts;      /* a file; NULL: none */
    const char *visitors;      /* a file; NULL: none */
    const char *upstream;
    char *trusted_proxies; /* owned; NULL: none */
    char *upgrades;        /* owned; NULL: none */
    struct cmd_pages pages;
    struct cmd_certs certs;
    int tls_port; /* -1: none */
    bool control_tls;
    const char *client_ca; /* a file; NULL: clients need no certificate */
    bool redirect;         /* to https */
    bool auto_tls;
    const char *auto_tls_dir; /* NULL: the usual one */
    struct cmd_autotls own;   /* has its own fini: SIGHUP reads it again */
    bool print_token;
    bool allow_anyone;
    bool proxy_protocol;
    bool forwarded;
    bool no_wrapping;
    bool is_server;
    const char *run_as; /* of --user; NULL: not given */
    bool sandbox;
    bool help;
    bool version;
    int log_level;  /* enum inlets_log_level */
    int log_format; /* enum cmd_log_format */
    int congestion; /* enum cmd_congestion */
};

extern const char cmd_server_help[];

/* Reads the line. env_token (may be NULL) is taken over. With help or version
 * set, nothing else counts. 0 or -1; in both cases cmd_server_options_fini is
 * due. `server` has been initialised and outlives o. */
int cmd_server_options_parse(struct cmd_server_options *o,
                             struct inlets_server_opts *server, int argc,
                             char **argv, char *env_token,
                             struct cmd_problem *p);
void cmd_server_options_fini(struct cmd_server_options *o);

#endif
