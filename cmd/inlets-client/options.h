/* options.h: the command line of inlets-client. */
#ifndef CMD_INLETS_CLIENT_OPTIONS_H
#define CMD_INLETS_CLIENT_OPTIONS_H

#include "common/problem.h"
#include "common/upstreams.h"
#include "inlets-client/proxies.h"
#include <inlets/client.h>
#include <stdbool.h>
#include <stdint.h>

struct cmd_client_options {
    struct inlets_client_opts *client; /* borrowed; filled in */
    const char **urls;                 /* owned array of borrowed strings */
    struct cmd_upstreams upstreams;    /* owned; of the line alone */
    const char *upstreams_file;        /* of --upstreams-from; NULL: none */
    uint32_t connections;              /* 0: auto */
    bool all_addresses;
    int congestion;            /* the place in "system", "bbr" */
    char *token;               /* owned; NULL: none */
    const char *token_file;    /* of --token-from or --basic-auth-from */
    const char *token_warning; /* NULL: none */
    const char *name;          /* of --name; NULL: none */
    const char *key_warning;   /* NULL: none */
    bool is_basic;             /* the token is user:password */
    char *basic_auth;          /* until it is chosen as the token */
    const char *basic_file;
    struct cmd_proxies proxies;
    bool print_token;
    bool insecure;
    const char *ca_file;              /* NULL: the system's */
    char *ca;                         /* owned: what is in it */
    const char *cert_file, *key_file; /* NULL: none */
    char *cert, *key;                 /* owned: what is in them */
    bool skip_verify;
    bool strict_forwarding;
    bool no_wrapping;
    bool is_server;
    const char *run_as; /* of --user; NULL: not given */
    bool sandbox;
    bool help;
    bool version;
    int log_level;  /* enum inlets_log_level */
    int log_format; /* enum cmd_log_format */
};

extern const char cmd_client_help[];

/* Reads the line. env_token (may be NULL) is taken over; of env_proxies, the
 * list outlives o. With help or version
 * set, nothing else counts. 0 or -1; in both cases cmd_client_options_fini is
 * due. `client` has been initialised and outlives o. */
int cmd_client_options_parse(struct cmd_client_options *o,
                             struct inlets_client_opts *client, int argc,
                             char **argv, char *env_token,
                             const struct cmd_proxies_env *env_proxies,
                             struct cmd_problem *p);
/* What the library refused, in terms of the flag it came from. */
void cmd_client_explain_url(const char *url, int err, struct cmd_problem *p);
void cmd_client_explain_upstream(const struct cmd_client_options *o,
                                 const struct cmd_upstream *u, int err,
                                 struct cmd_problem *p);
/* What is to be served: the line's and the file's upstreams, the latter read
 * anew, and each of them fit for the library. ret is all zero before; 0, or -1
 * and nothing to free. */
int cmd_client_load_upstreams(const struct cmd_client_options *o,
                              struct cmd_upstreams *ret, struct cmd_problem *p);

/* Wipes the token and the proxies; the rest stays. */
void cmd_client_options_forget_secrets(struct cmd_client_options *o);
void cmd_client_options_fini(struct cmd_client_options *o);

#endif
